//! Bytes that arrived and were not used yet. Filled by `connection`, used up by a conversation.

/// The bytes a conversation has not used yet.
///
/// It is read no further than 64 KiB ahead of what the conversation uses: use bytes up, or nothing more comes.
#[derive(Debug, Default)]
pub struct Input {
    buffer: Vec<u8>,
    used: usize,
    ended: bool,
}

impl Input {
    /// An empty one.
    pub fn new() -> Input {
        Input::default()
    }

    /// All that is there.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    /// `count` bytes are used up; they are gone at the next turn.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.buffer.len() - self.used, "more consumed than there is");
        self.used += count;
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.used == self.buffer.len()
    }

    /// Whether the client has sent all it will ever send. It may still be reading.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Bytes arrived (also how a test feeds a conversation).
    pub fn extend(&mut self, bytes: &[u8]) {
        self.forget_used();
        self.buffer.extend_from_slice(bytes);
    }

    /// The client has sent its last byte.
    pub fn end(&mut self) {
        self.ended = true;
    }

    fn forget_used(&mut self) {
        if self.used == self.buffer.len() {
            self.buffer.clear();
        } else if self.used > 0 {
            self.buffer.drain(..self.used);
        }
        self.used = 0;
    }
}
