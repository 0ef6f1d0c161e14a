//! What is owed to a client, in pieces: bytes of our own, shared bytes, parts of files.
//! Filled by a conversation, written by `connection`.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::sync::Arc;

/// Bytes shared by many answers: whatever can be seen as a slice and outlives the answer.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// One stretch of output.
pub enum Piece {
    /// Bytes that belong to this answer.
    Owned(Vec<u8>),
    /// Bytes that belong to many: `bytes[start..end]`.
    Shared {
        /// The whole.
        bytes: SharedBytes,
        /// The first byte to send.
        start: usize,
        /// The first byte not to send.
        end: usize,
    },
    /// Part of a file, sent by the kernel. Exactly this much is sent, or the connection is reset.
    File {
        /// The open file; its own position is not used.
        file: Arc<File>,
        /// The first byte to send.
        start: u64,
        /// How many bytes.
        length: u64,
    },
}

/// What is owed to a client, in order.
#[derive(Default)]
pub struct Output {
    pieces: VecDeque<Piece>,
}

impl Output {
    /// Nothing owed.
    pub fn new() -> Output {
        Output::default()
    }

    /// The bytes at the end of the output, to append to.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        if !matches!(self.pieces.back(), Some(Piece::Owned(_))) {
            self.pieces.push_back(Piece::Owned(Vec::new()));
        }
        match self.pieces.back_mut() {
            Some(Piece::Owned(bytes)) => bytes,
            _ => unreachable!("just laid there"),
        }
    }

    /// Append one piece; an empty one is left out.
    pub fn push(&mut self, piece: Piece) {
        if piece.length() > 0 {
            self.pieces.push_back(piece);
        }
    }

    /// How many bytes are owed.
    pub fn owed(&self) -> u64 {
        self.pieces.iter().map(Piece::length).sum()
    }

    /// Whether nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.pieces.iter().all(|piece| piece.length() == 0)
    }

    /// The pieces, first to last (also how a test reads what a conversation said).
    pub fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter()
    }

    /// Forget all of it.
    pub fn clear(&mut self) {
        self.pieces.clear();
    }
}

impl Piece {
    /// How many bytes it stands for.
    pub fn length(&self) -> u64 {
        match self {
            Piece::Owned(bytes) => bytes.len() as u64,
            Piece::Shared { start, end, .. } => (end - start) as u64,
            Piece::File { length, .. } => *length,
        }
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Piece::Owned(bytes) => write!(f, "Owned({} bytes)", bytes.len()),
            Piece::Shared { start, end, .. } => write!(f, "Shared({start}..{end})"),
            Piece::File { start, length, .. } => write!(f, "File({start}, {length} bytes)"),
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.pieces).finish()
    }
}
