//! Bytes that have arrived and were not used. Filled by `connection`, consumed by a conversation.

use std::io;

/// The bytes that a conversation has not used.
///
/// Up to 64 KiB are read ahead. If a conversation asks for more with that many bytes unused, its connection is reset.
/// If it waits for something else ([`Action::Wait`](crate::raw::Action::Wait)), further bytes are read when some of
/// these are used.
#[derive(Debug, Default)]
pub struct Input {
    buffer: Vec<u8>, // allocated up to `READ_AHEAD`; the unused bytes are `start..end`
    start: usize,
    end: usize,
    ended: bool,
    cut: bool, // it ended without the goodbye of its protocol
}

/// The maximum number of bytes that are read ahead.
pub(crate) const READ_AHEAD: usize = 64 * 1024;

impl Input {
    /// Creates an empty input.
    pub fn new() -> Input {
        Input::default()
    }

    /// Returns all unused bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Marks `count` bytes as used.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.end - self.start, "consumed more bytes than are available");
        self.start += count;
    }

    /// Returns whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Returns whether the client has sent its last byte. It may still be reading.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Returns whether the client's bytes were cut off: they ended without the goodbye of the outer protocol (TLS:
    /// without `close_notify`), so more may have been sent. A message that ends only with the stream must then not be
    /// taken as complete. Always false for plain TCP, which has no goodbye.
    pub fn was_cut(&self) -> bool {
        self.cut
    }

    /// Appends bytes, for tests and for conversations around another.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.move_to_front();
        if self.buffer.len() < self.end + bytes.len() {
            self.buffer.resize(self.end + bytes.len(), 0);
        }
        self.buffer[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Marks the end: the client has sent its last byte, and nothing is missing. For tests, and for conversations that
    /// contain another one.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Marks an end after which bytes may be missing: the input has [ended](Input::ended), and [was
    /// cut](Input::was_cut).
    pub fn cut(&mut self) {
        self.ended = true;
        self.cut = true;
    }

    /// Lets `read` fill the free room once. Returns how many bytes arrived and whether the room was filled.
    pub(crate) fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<(usize, bool)> {
        if self.buffer.len() < READ_AHEAD {
            self.buffer.resize(READ_AHEAD, 0);
        }
        self.move_to_front();
        let room = &mut self.buffer[self.end..];
        let length = room.len();
        let count = read(room)?;
        self.end += count;
        Ok((count, count == length))
    }

    pub(super) fn is_full(&self) -> bool {
        self.end - self.start >= READ_AHEAD
    }

    /// Begins with the unused bytes of another client.
    pub(super) fn begin(&mut self, unused: &[u8], ended: bool) {
        self.clear();
        if !unused.is_empty() {
            self.extend(unused);
        }
        self.ended = ended;
    }

    pub(super) fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
        self.ended = false;
        self.cut = false;
    }

    fn move_to_front(&mut self) {
        if self.start == self.end {
            self.end = 0;
        } else if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
        }
        self.start = 0;
    }
}
