//! The output of a connection, in pieces: its own bytes, shared bytes, parts of files. Filled by a conversation,
//! written by `connection`.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::contain::contain;
use super::scheduler::MayBlock;

/// Bytes shared by many responses: anything that can be viewed as a slice and outlives the response.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// One piece of output.
#[non_exhaustive]
pub enum Piece {
    /// Bytes of this output.
    Owned(Vec<u8>),
    /// Shared bytes: `bytes[start..end]`.
    Shared {
        /// All shared bytes.
        bytes: SharedBytes,
        /// The first byte to send.
        start: usize,
        /// The first byte not to send.
        end: usize,
    },
    /// Part of a file, sent by the kernel. Exactly this many bytes are sent, or the connection is reset.
    File {
        /// The open file. Its own position is not used.
        file: Arc<File>,
        /// The first byte to send.
        start: u64,
        /// How many bytes to send.
        length: u64,
    },
}

/// The unsent output, in order.
#[derive(Default)]
pub struct Output {
    pieces: VecDeque<Piece>,
    written: usize, // how many bytes of the first piece are written, if it is in memory
    spare: Vec<u8>, // a buffer to reuse
    /// Shared pieces that are completely written. Their destructors may block.
    spent: Vec<Piece>,
}

/// A spare buffer that has grown beyond this size is freed.
const SPARE: usize = 64 * 1024;
/// Room for this many pieces is kept.
const PIECES: usize = 64;

impl Output {
    /// Creates an empty output.
    pub fn new() -> Output {
        Output::default()
    }

    /// Returns the bytes at the end of the output, to append to.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        if !matches!(self.pieces.back(), Some(Piece::Owned(_))) {
            self.pieces.push_back(Piece::Owned(std::mem::take(&mut self.spare)));
        }
        match self.pieces.back_mut() {
            Some(Piece::Owned(bytes)) => bytes,
            _ => unreachable!("the last piece is owned"),
        }
    }

    /// Appends one piece. An empty piece is left out.
    pub fn push(&mut self, piece: Piece) {
        match piece.length() {
            0 => drop_piece(piece),
            _ => self.pieces.push_back(piece),
        }
    }

    /// Returns the number of unsent bytes.
    pub fn owed(&self) -> u64 {
        let length = match self.pieces.len() {
            0 => return 0,
            1 => self.pieces[0].length(), // without a loop, because most outputs have one piece
            _ => self.pieces.iter().map(Piece::length).sum(),
        };
        length - self.written as u64
    }

    /// Returns how many of the unsent bytes are in memory of this output, neither shared nor in a file.
    pub(super) fn owed_memory(&self) -> u64 {
        let own = |piece: &Piece| if let Piece::Owned(bytes) = piece { bytes.len() as u64 } else { 0 };
        self.pieces.iter().map(own).sum::<u64>().saturating_sub(self.written as u64)
    }

    /// Returns whether nothing is unsent.
    pub fn is_empty(&self) -> bool {
        // Most outputs have no piece, or a first one that is unsent.
        let is_spent = |first: &Piece| first.length() == self.written as u64 && self.owed() == 0;
        self.pieces.front().is_none_or(is_spent)
    }

    /// Returns the pieces, first to last. Tests read the output with it.
    pub fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter()
    }

    /// Returns the first unsent bytes in memory, as far as they are contiguous. Empty if nothing is unsent, or if [part
    /// of a file](Output::begins_with_file) comes first.
    ///
    /// With this, [`consume`](Output::consume) and [`load_file`](Output::load_file), a test reads what a conversation
    /// sends.
    pub fn front(&mut self) -> &[u8] {
        self.drop_spent();
        self.pieces.front().map_or(&[], |piece| &piece.memory()[self.written..])
    }

    /// Removes `count` bytes of [`front`](Output::front).
    ///
    /// # Panics
    /// If there are not that many.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.front().len(), "consumed more bytes than are available");
        self.advance(count);
    }

    /// Returns whether part of a file comes first.
    pub fn begins_with_file(&self) -> bool {
        let mut pieces = self.pieces.iter();
        let mut written = self.written as u64;
        let first = pieces.find(|piece| piece.length() > std::mem::take(&mut written));
        matches!(first, Some(Piece::File { .. }))
    }

    /// If the output begins with part of a file, reads up to `most` bytes of it into memory, for
    /// [`front`](Output::front). It waits for the disk, so call it in a turn that may block: see
    /// [`Action::Brief`](crate::raw::Action::Brief).
    ///
    /// # Errors
    /// The errors of reading, and `UnexpectedEof` if the file is shorter than announced. Then nothing is read, and the
    /// output is incomplete ([`Action::Abort`](crate::raw::Action::Abort)).
    pub fn load_file(&mut self, most: usize) -> io::Result<()> {
        self.drop_spent();
        let Some(Piece::File { file, start, length }) = self.pieces.front_mut() else { return Ok(()) };
        let count = usize::try_from(*length).unwrap_or(usize::MAX).min(most);
        let mut bytes = std::mem::take(&mut self.spare);
        bytes.resize(count, 0);
        file.read_exact_at(&mut bytes, *start)?;
        *start += count as u64;
        *length -= count as u64;
        self.pieces.push_front(Piece::Owned(bytes));
        Ok(())
    }

    /// [`load_file`](Output::load_file), as the engine calls it.
    pub(super) fn load_part(&mut self, most: usize, _: MayBlock) -> io::Result<()> {
        self.load_file(most)
    }

    /// Drops all output. The destructors of shared bytes and of files may block.
    pub fn clear(&mut self) {
        while self.pieces.front().is_some() {
            self.drop_first();
        }
        self.pieces.shrink_to(PIECES);
        self.spent.drain(..).for_each(drop_piece);
    }

    /// Clears an output that has only bytes of its own. Otherwise takes it, because dropping the rest may block.
    pub(super) fn clear_or_take(&mut self) -> Option<Output> {
        if self.has_others() {
            return Some(std::mem::take(self));
        }
        self.clear();
        None
    }

    /// Returns whether shared pieces are written and still to be dropped ([`drop_of_others`](Output::drop_of_others)).
    pub(super) fn has_spent(&self) -> bool {
        !self.spent.is_empty()
    }

    /// Returns whether there are shared pieces or parts of files.
    pub(super) fn has_others(&self) -> bool {
        self.has_spent() || self.pieces.iter().any(|piece| !matches!(piece, Piece::Owned(_)))
    }

    /// Drops the shared pieces and files that are written.
    pub(super) fn drop_of_others(&mut self, _: MayBlock) {
        self.spent.drain(..).for_each(drop_piece); // keeps the capacity
    }

    /// Moves all pieces in memory to the end of these bytes.
    pub(super) fn append_to(&mut self, bytes: &mut Vec<u8>) {
        while !self.front().is_empty() {
            let count = self.front().len();
            bytes.extend_from_slice(self.front());
            self.consume(count);
        }
    }

    /// Returns the next bytes to write: contiguous bytes from memory, or part of a file.
    pub(super) fn first(&mut self) -> First<'_> {
        self.drop_spent();
        let skip = self.written;
        let mut pieces = self.pieces.iter_mut();
        let first = match pieces.next() {
            None => return First::Nothing,
            Some(Piece::File { file, start, length }) => return First::File { file, start, length },
            Some(piece) => &piece.memory()[skip..],
        };
        match pieces.next() {
            None => First::Bytes { bytes: first, file_follows: 0 },
            Some(Piece::File { length, .. }) => First::Bytes { bytes: first, file_follows: *length },
            Some(second) => {
                let mut slices = Vec::with_capacity(SLICES);
                slices.push(IoSlice::new(first));
                slices.push(IoSlice::new(second.memory()));
                let more = pieces.take(SLICES - 2).take_while(|piece| !matches!(piece, Piece::File { .. }));
                slices.extend(more.map(|piece| IoSlice::new(piece.memory())));
                First::Slices(slices)
            }
        }
    }

    /// Marks this many bytes from memory as written.
    pub(super) fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let Some(piece) = self.pieces.front_mut() else { return };
            let length = piece.length() as usize - self.written;
            if count >= length {
                count -= length;
                self.drop_first();
                continue;
            }
            match piece {
                Piece::Owned(_) => self.written += count,
                Piece::Shared { start, .. } => *start += count,
                Piece::File { .. } => unreachable!("parts of files are counted when they are sent"),
            }
            return;
        }
    }

    fn drop_spent(&mut self) {
        while self.pieces.front().is_some_and(|piece| piece.length() == self.written as u64) {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        self.written = 0;
        match self.pieces.pop_front() {
            Some(Piece::Owned(mut bytes)) if bytes.capacity() <= SPARE => {
                bytes.clear();
                self.spare = bytes;
            }
            Some(Piece::Owned(_)) | None => {}
            Some(of_others) => self.spent.push(of_others),
        }
    }

    /// Frees the spare buffer and the room for more pieces: nothing is kept for a waiting client.
    pub(super) fn shrink(&mut self) {
        self.spare = Vec::new();
        self.pieces.shrink_to(PIECES);
        self.spent.shrink_to_fit();
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.pieces.drain(..).chain(self.spent.drain(..)).for_each(drop_piece);
    }
}

/// Drops a piece. If the destructor of shared bytes panics, the panic is logged, and the other pieces are also dropped.
fn drop_piece(piece: Piece) {
    if let Piece::Shared { .. } = piece {
        contain("dropping shared bytes", || drop(piece));
    }
}

pub(super) enum First<'a> {
    Nothing,
    /// Contiguous bytes, and how many bytes of a file follow them.
    Bytes {
        bytes: &'a [u8],
        file_follows: u64,
    },
    Slices(Vec<IoSlice<'a>>),
    /// Part of a file. Both numbers advance as it is sent.
    File {
        file: &'a File,
        start: &'a mut u64,
        length: &'a mut u64,
    },
}

/// How many pieces go into one system call.
const SLICES: usize = 16;

impl Piece {
    /// Returns the length of the piece in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Piece::Owned(bytes) => bytes.len() as u64,
            Piece::Shared { start, end, .. } => (end - start) as u64,
            Piece::File { length, .. } => *length,
        }
    }

    fn memory(&self) -> &[u8] {
        match self {
            Piece::Owned(bytes) => bytes,
            Piece::Shared { bytes, start, end } => &(**bytes).as_ref()[*start..*end],
            Piece::File { .. } => &[],
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grown_buffers_are_released() {
        let mut output = Output::new();
        for _ in 0..1000 {
            output.push(Piece::Owned(vec![b'x'; 100_000]));
        }
        output.clear();
        assert!(output.pieces.capacity() <= 2 * PIECES && output.spare.capacity() <= SPARE);
        output.bytes().extend_from_slice(&[b'x'; 2 * SPARE]);
        output.clear();
        assert!(output.spare.capacity() <= SPARE, "{} bytes are kept", output.spare.capacity());
        output.bytes().push(b'x');
        (0..1000).for_each(|_| output.push(Piece::Owned(vec![b'x'])));
        output.advance(1000);
        output.shrink();
        assert!(output.pieces.capacity() <= 2 * PIECES && output.spare.capacity() == 0);
    }
}
