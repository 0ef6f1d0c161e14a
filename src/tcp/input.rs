//! Bytes that arrived and were not used yet. Filled by `connection`, used up by a conversation.

use std::io;

/// The bytes a conversation has not used yet.
///
/// It is read no further than 64 KiB ahead of what the conversation uses: use bytes up, for who wants more with that much unused is reset.
#[derive(Debug, Default)]
pub struct Input {
    buffer: Vec<u8>, // as long as it may ever be filled; the unused bytes are `start..end`
    start: usize,
    end: usize,
    ended: bool,
    cut: bool, // it ended, and not where its protocol ends
}

/// No more than this is read ahead.
pub(crate) const READ_AHEAD: usize = 64 * 1024;

impl Input {
    /// An empty one.
    pub fn new() -> Input {
        Input::default()
    }

    /// All that is there.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// `count` bytes are used up.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.end - self.start, "more consumed than there is");
        self.start += count;
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether the client has sent all it will ever send. It may still be reading.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Whether what the client sent was cut off: the bytes ended, but without the goodbye of the protocol that carried
    /// them (TLS: without `close_notify`), so that there may have been more. A message that ends only with the stream
    /// is then not to be taken for whole. Never so for plain TCP, which tells no such thing.
    pub fn was_cut(&self) -> bool {
        self.cut
    }

    /// Bytes arrived: how a test, or a conversation around another, feeds a conversation.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.move_to_front();
        if self.buffer.len() < self.end + bytes.len() {
            self.buffer.resize(self.end + bytes.len(), 0);
        }
        self.buffer[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// The client has sent its last byte, and no more is missing: how a test, or a conversation around another, ends a
    /// conversation.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Nothing more comes, and something may be missing: it has [ended](Input::ended), and it [was
    /// cut](Input::was_cut).
    pub fn cut(&mut self) {
        self.ended = true;
        self.cut = true;
    }

    /// Let `read` fill the room that is left, once; tells how many bytes came and whether the room was filled.
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

    /// Whether no more may be read ahead.
    pub(super) fn is_full(&self) -> bool {
        self.end - self.start >= READ_AHEAD
    }

    /// Begin with another client's unused bytes.
    pub(super) fn begin(&mut self, unused: &[u8], ended: bool) {
        self.clear();
        if !unused.is_empty() {
            self.extend(unused);
        }
        self.ended = ended;
    }

    /// Forget everything but the buffer.
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
