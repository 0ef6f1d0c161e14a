//! A body that is read while it is sent.
//! Made by `answer`; pulled by `conversation` in turns that may block, when all before it is written.
//! A promise of length is kept exactly, or broken aloud.

use std::io::{self, Read};

use crate::tcp::Output;

/// A chunk with its frame is no longer than this, so that its size has at most four digits.
const PULL: usize = 64 * 1024;
/// The first read; it doubles while reads are filled, so that a few bytes don't cost a large buffer.
const FIRST_PULL: usize = 8 * 1024;
/// Four digits and a line's end.
const FRAME: usize = 6;

/// What is left to read of an answer's body.
pub(crate) struct Source {
    read: Box<dyn Read + Send>,
    framing: Framing,
    room: usize,
    sent: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// So many bytes are still owed.
    Exactly(u64),
    /// RFC 9112, section 7.1.
    Chunked,
    /// Until the connection ends.
    UntilClose,
}

/// What came of one pull.
#[derive(Debug)]
pub(crate) enum Pulled {
    /// There is, or may be, more.
    More,
    /// All of it is in the output.
    Done,
    /// The promise can't be kept: abort.
    Broken(io::Error),
}

impl Source {
    pub(crate) fn exactly(read: Box<dyn Read + Send>, length: u64) -> Source {
        Source::with(read, Framing::Exactly(length))
    }

    pub(crate) fn chunked(read: Box<dyn Read + Send>) -> Source {
        Source::with(read, Framing::Chunked)
    }

    pub(crate) fn until_close(read: Box<dyn Read + Send>) -> Source {
        Source::with(read, Framing::UntilClose)
    }

    /// Read once, at most 64 KiB, into the output, framed as the head promised. It may block.
    pub(crate) fn pull(&mut self, output: &mut Output) -> Pulled {
        let buffer = output.bytes();
        let start = buffer.len();
        let before = if self.framing == Framing::Chunked { FRAME } else { 0 };
        let room = match self.framing {
            Framing::Exactly(left) => left.min(self.room as u64) as usize,
            _ => self.room,
        };
        buffer.resize(start + before + room, 0);
        let outcome = read_once(&mut self.read, &mut buffer[start + before..]);
        let count = *outcome.as_ref().unwrap_or(&0);
        buffer.truncate(start + before + count);
        if count == room {
            self.room = (self.room * 2).min(PULL - FRAME - 2);
        }
        self.sent += count as u64;
        match (outcome, self.framing) {
            (Err(error), _) => {
                buffer.truncate(start);
                Pulled::Broken(error)
            }
            (Ok(count), Framing::Exactly(left)) => self.counted(count as u64, left),
            (Ok(0), Framing::UntilClose) => Pulled::Done,
            (Ok(_), Framing::UntilClose) => Pulled::More,
            (Ok(count), Framing::Chunked) => frame(buffer, start, count),
        }
    }

    /// How many bytes of the body went into the output so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    fn counted(&mut self, count: u64, left: u64) -> Pulled {
        self.framing = Framing::Exactly(left - count);
        match (count, left) {
            (count, left) if count == left => Pulled::Done,
            (0, left) => Pulled::Broken(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the body ended {left} bytes before its length"),
            )),
            _ => Pulled::More,
        }
    }

    fn with(read: Box<dyn Read + Send>, framing: Framing) -> Source {
        Source { read, framing, room: FIRST_PULL, sent: 0 }
    }
}

/// Put the frame of a chunk around the last `count` bytes, before which room was left from `start`. No bytes: the last chunk.
fn frame(buffer: &mut Vec<u8>, start: usize, count: usize) -> Pulled {
    if count == 0 {
        buffer.truncate(start);
        buffer.extend_from_slice(b"0\r\n\r\n");
        return Pulled::Done;
    }
    let size = format!("{count:x}\r\n");
    // A size has no leading zeros: behind a shorter one the bytes move up.
    buffer.copy_within(start + FRAME.., start + size.len());
    buffer.truncate(start + size.len() + count);
    buffer[start..start + size.len()].copy_from_slice(size.as_bytes());
    buffer.extend_from_slice(b"\r\n");
    Pulled::More
}

fn read_once(read: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match read.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A `Read` that claims more than it was given room for would break the promise.
            Ok(count) if count > buffer.len() => {
                return Err(io::Error::other("a body claims to have read more than it could"));
            }
            outcome => return outcome,
        }
    }
}
