//! A body that is read while it is sent.
//! Made by `answer`; pulled by `conversation` in turns that may block, when all before it is written.
//! A promise of length is kept exactly, or broken aloud.

use std::io::{self, Read};

use crate::tcp::Output;

/// A chunk with its frame is no longer than this, so that its size has at most four digits.
const MAX_READ: usize = 64 * 1024;
/// The first read; it doubles while reads are filled, so that a few bytes don't cost a large buffer.
const INITIAL_READ: usize = 8 * 1024;
/// Four digits and a line's end.
const CHUNK_HEAD: usize = 6;

/// What is left to read of an answer's body.
pub(crate) struct BodyStream {
    read: Box<dyn Read + Send>,
    framing: StreamFraming,
    read_size: usize,
    sent: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamFraming {
    /// So many bytes are still owed.
    Remaining(u64),
    /// RFC 9112, section 7.1.
    Chunked,
    /// Until the connection ends.
    UntilClose,
}

/// What came of one pull.
#[derive(Debug)]
pub(crate) enum StreamProgress {
    /// There is, or may be, more.
    More,
    /// All of it is in the output.
    Done,
    /// The promise can't be kept: abort.
    Failed(io::Error),
}

impl BodyStream {
    pub(crate) fn sized(read: Box<dyn Read + Send>, length: u64) -> BodyStream {
        BodyStream::with(read, StreamFraming::Remaining(length))
    }

    pub(crate) fn chunked(read: Box<dyn Read + Send>) -> BodyStream {
        BodyStream::with(read, StreamFraming::Chunked)
    }

    pub(crate) fn until_close(read: Box<dyn Read + Send>) -> BodyStream {
        BodyStream::with(read, StreamFraming::UntilClose)
    }

    /// Read once, at most 64 KiB, into the output, framed as the head promised. It may block.
    pub(crate) fn read_some(&mut self, output: &mut Output) -> StreamProgress {
        let buffer = output.bytes();
        let start = buffer.len();
        let before = if self.framing == StreamFraming::Chunked { CHUNK_HEAD } else { 0 };
        let size = match self.framing {
            StreamFraming::Remaining(left) => left.min(self.read_size as u64) as usize,
            _ => self.read_size,
        };
        buffer.resize(start + before + size, 0);
        let result = read_once(&mut self.read, &mut buffer[start + before..]);
        let count = *result.as_ref().unwrap_or(&0);
        buffer.truncate(start + before + count);
        if count == size {
            self.read_size = (self.read_size * 2).min(MAX_READ - CHUNK_HEAD - 2);
        }
        self.sent += count as u64;
        match (result, self.framing) {
            (Err(error), _) => {
                buffer.truncate(start);
                StreamProgress::Failed(error)
            }
            (Ok(count), StreamFraming::Remaining(left)) => self.after_sized_read(count as u64, left),
            (Ok(0), StreamFraming::UntilClose) => StreamProgress::Done,
            (Ok(_), StreamFraming::UntilClose) => StreamProgress::More,
            (Ok(count), StreamFraming::Chunked) => frame_chunk(buffer, start, count),
        }
    }

    /// How many bytes of the body went into the output so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    fn after_sized_read(&mut self, count: u64, left: u64) -> StreamProgress {
        self.framing = StreamFraming::Remaining(left - count);
        match (count, left) {
            (count, left) if count == left => StreamProgress::Done,
            (0, left) => StreamProgress::Failed(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the body ended {left} bytes before its length"),
            )),
            _ => StreamProgress::More,
        }
    }

    fn with(read: Box<dyn Read + Send>, framing: StreamFraming) -> BodyStream {
        BodyStream { read, framing, read_size: INITIAL_READ, sent: 0 }
    }
}

/// Put the frame of a chunk around the last `count` bytes, before which room was left from `start`. No bytes: the last chunk.
fn frame_chunk(buffer: &mut Vec<u8>, start: usize, count: usize) -> StreamProgress {
    if count == 0 {
        buffer.truncate(start);
        buffer.extend_from_slice(b"0\r\n\r\n");
        return StreamProgress::Done;
    }
    let size = format!("{count:x}\r\n");
    // A size has no leading zeros: behind a shorter one the bytes move up.
    buffer.copy_within(start + CHUNK_HEAD.., start + size.len());
    buffer.truncate(start + size.len() + count);
    buffer[start..start + size.len()].copy_from_slice(size.as_bytes());
    buffer.extend_from_slice(b"\r\n");
    StreamProgress::More
}

fn read_once(read: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match read.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A `Read` that claims more than it was given room for would break the promise.
            Ok(count) if count > buffer.len() => {
                return Err(io::Error::other("a body claims to have read more than it could"));
            }
            result => return result,
        }
    }
}
