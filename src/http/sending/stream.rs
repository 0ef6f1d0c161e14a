//! A response body that is read while it is sent. Created by `sending`; read by `connection` in turns that may block,
//! once all earlier output is written. A body shorter than its Content-Length is an error.

use std::io::{self, Read};

use crate::tcp::{MayBlock, Output};

/// The maximum length of a chunk including its framing, so that the chunk size has at most four digits.
const MAX_READ: usize = 64 * 1024;
/// The size of the first read. It doubles each time a read is filled, so a few bytes do not cost a large buffer.
const INITIAL_READ: usize = 8 * 1024;
/// Four hex digits and CRLF.
const CHUNK_HEAD: usize = 6;

/// The part of a response body that is not read yet.
pub(crate) struct BodyStream {
    read: Box<dyn Read + Send>,
    framing: StreamFraming,
    read_size: usize,
    /// How many bytes of the body were appended to the output so far.
    pub(crate) sent: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamFraming {
    /// This many bytes of the Content-Length remain.
    Remaining(u64),
    /// The chunked transfer coding (RFC 9112, section 7.1).
    Chunked,
    /// The body ends when the connection is closed (RFC 9112, section 6.3).
    UntilClose,
}

#[derive(Debug)]
pub(crate) enum StreamProgress {
    More,
    Done,
    /// The body cannot be completed: abort the connection.
    Failed(io::Error),
}

impl BodyStream {
    pub(crate) fn new(read: Box<dyn Read + Send>, framing: StreamFraming) -> BodyStream {
        BodyStream { read, framing, read_size: INITIAL_READ, sent: 0 }
    }

    /// Reads once, up to 64 KiB, and appends the bytes to the output in the framing that the head announced.
    pub(crate) fn read_some(&mut self, output: &mut Output, _: MayBlock) -> StreamProgress {
        let mut tail = Tail::of(output.bytes());
        let (start, buffer) = (tail.kept, &mut *tail.buffer);
        let before = if self.framing == StreamFraming::Chunked { CHUNK_HEAD } else { 0 };
        let size = match self.framing {
            StreamFraming::Remaining(left) => left.min(self.read_size as u64) as usize,
            _ => self.read_size,
        };
        buffer.resize(start + before + size, 0);
        let result = read_once(&mut self.read, &mut buffer[start + before..]);
        let count = *result.as_ref().unwrap_or(&0);
        tail.kept = start + before + count;
        drop(tail);
        let buffer = output.bytes();
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

    fn after_sized_read(&mut self, count: u64, left: u64) -> StreamProgress {
        self.framing = StreamFraming::Remaining(left - count);
        match (count, left) {
            (count, left) if count == left => StreamProgress::Done,
            (0, left) => StreamProgress::Failed(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the body ended {left} bytes too early"),
            )),
            _ => StreamProgress::More,
        }
    }
}

/// A buffer that a read fills. When it is dropped, even by a panic, it is cut to the bytes that were read.
struct Tail<'a> {
    buffer: &'a mut Vec<u8>,
    kept: usize,
}

impl Tail<'_> {
    fn of(buffer: &mut Vec<u8>) -> Tail<'_> {
        Tail { kept: buffer.len(), buffer }
    }
}

impl Drop for Tail<'_> {
    fn drop(&mut self) {
        self.buffer.truncate(self.kept);
    }
}

/// Frames the last `count` bytes as a chunk. The space for the chunk size begins at `start`. A chunk without bytes is
/// the last chunk.
fn frame_chunk(buffer: &mut Vec<u8>, start: usize, count: usize) -> StreamProgress {
    if count == 0 {
        buffer.truncate(start);
        buffer.extend_from_slice(b"0\r\n\r\n");
        return StreamProgress::Done;
    }
    let size = format!("{count:x}\r\n");
    // A chunk size has no leading zeros. If it has fewer digits, the bytes are moved forward.
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
            // A `Read` that returns a larger number than the buffer's length would break the framing.
            Ok(count) if count > buffer.len() => {
                return Err(io::Error::other("the reader of a body reported more bytes than its buffer can hold"));
            }
            result => return result,
        }
    }
}
