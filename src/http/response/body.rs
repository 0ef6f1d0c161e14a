//! The body of a response in all its forms. Part of a `response`; read by `sending`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::http::live::{PushedBody, Tee};
use crate::tcp::SharedBytes;

/// The body of a response.
pub(crate) enum ResponseBody {
    Static(&'static [u8]),
    Bytes(Vec<u8>),
    Shared(SharedBytes),
    /// This many bytes of a file from `start` on.
    File {
        file: Arc<File>,
        start: u64,
        length: u64,
    },
    Stream {
        read: Box<dyn Read + Send>,
        length: Option<u64>,
    },
    Pushed(PushedBody),
}

impl ResponseBody {
    /// Returns the length in bytes, if it is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            ResponseBody::Static(bytes) => Some(bytes.len() as u64),
            ResponseBody::Bytes(bytes) => Some(bytes.len() as u64),
            ResponseBody::Shared(bytes) => Some((**bytes).as_ref().len() as u64),
            ResponseBody::File { length, .. } => Some(*length),
            ResponseBody::Stream { length, .. } => *length,
            ResponseBody::Pushed(_) => None,
        }
    }

    /// Turns owned bytes into shared ones, so that ranges of them need no copy.
    pub(crate) fn into_shared(self) -> ResponseBody {
        match self {
            ResponseBody::Bytes(bytes) => ResponseBody::Shared(Arc::new(bytes)),
            body => body,
        }
    }

    /// Returns a reader of the whole body; of a stream, of the `declared` number of bytes, if given. Reading fails if
    /// there are fewer.
    ///
    /// # Errors
    /// Returns the body itself if it is pushed by other threads, because it has no reader.
    pub(crate) fn into_reader(self, declared: Option<u64>) -> Result<Box<dyn Read + Send>, ResponseBody> {
        Ok(match self {
            ResponseBody::Pushed(_) => return Err(self),
            ResponseBody::Static(bytes) => Box::new(bytes),
            ResponseBody::Bytes(bytes) => Box::new(io::Cursor::new(bytes)),
            ResponseBody::Shared(bytes) => Box::new(SharedReader { bytes, at: 0 }),
            ResponseBody::File { file, start, length } => {
                Box::new(ExactReader { read: OpenFileReader { file, at: start }, left: length })
            }
            ResponseBody::Stream { read, length } => match length.or(declared) {
                Some(left) => Box::new(ExactReader { read, left }),
                None => read,
            },
        })
    }

    /// Calls the tee with the bytes of the body: at once for a body in memory, and while it is sent for others.
    pub(crate) fn with_tee(self, mut tee: Tee, declared: Option<u64>) -> ResponseBody {
        match self {
            ResponseBody::Pushed(mut body) => {
                body.set_tee(tee);
                ResponseBody::Pushed(body)
            }
            ResponseBody::File { .. } | ResponseBody::Stream { .. } => {
                let length = self.length().or(declared);
                match self.into_reader(length) {
                    Ok(read) => ResponseBody::Stream { read: Box::new(TeeReader { read, tee }), length },
                    Err(body) => body,
                }
            }
            ResponseBody::Static(bytes) => {
                tee(bytes);
                self
            }
            ResponseBody::Bytes(ref bytes) => {
                tee(bytes);
                self
            }
            ResponseBody::Shared(ref bytes) => {
                tee((**bytes).as_ref());
                self
            }
        }
    }

    /// Reads the whole body; of a stream, the `expected` number of bytes, if given.
    pub(crate) fn read(self, expected: Option<u64>) -> io::Result<Vec<u8>> {
        match self {
            ResponseBody::Static(bytes) => Ok(bytes.to_vec()),
            ResponseBody::Bytes(bytes) => Ok(bytes),
            ResponseBody::Shared(bytes) => Ok((*bytes).as_ref().to_vec()),
            ResponseBody::File { file, start, length } => read_exactly(length, FileReader { file: &file, at: start }),
            // Only the queued bytes: a test does not wait for more.
            ResponseBody::Pushed(mut body) => Ok(body.take(usize::MAX).pieces.concat()),
            ResponseBody::Stream { mut read, .. } => match expected {
                Some(length) => read_exactly(length, read),
                None => {
                    let mut bytes = Vec::new();
                    read.read_to_end(&mut bytes).map(|_| bytes)
                }
            },
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ResponseBody::Static(_) | ResponseBody::Bytes(_) => "bytes",
            ResponseBody::Shared(_) => "shared bytes",
            ResponseBody::File { .. } => "a file",
            ResponseBody::Stream { .. } => "a stream",
            ResponseBody::Pushed(_) => "pushed bytes",
        })
    }
}

/// Reads the items of an iterator, one after another.
pub(super) struct Pieces<I> {
    pieces: I,
    piece: Vec<u8>,
    at: usize,
}

impl<I> Pieces<I> {
    pub(super) fn new(pieces: I) -> Pieces<I> {
        Pieces { pieces, piece: Vec::new(), at: 0 }
    }
}

impl<I: Iterator<Item = Vec<u8>>> Read for Pieces<I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.pieces.next() {
                Some(piece) => (self.piece, self.at) = (piece, 0),
                None => return Ok(0),
            }
        }
        let count = (&self.piece[self.at..]).read(buffer)?;
        self.at += count;
        Ok(count)
    }
}

/// Calls the tee with the bytes that are read.
struct TeeReader {
    read: Box<dyn Read + Send>,
    tee: Tee,
}

impl Read for TeeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read.read(buffer)?;
        (self.tee)(&buffer[..count]);
        Ok(count)
    }
}

/// Reads exactly this many bytes. Memory grows while they are read, because the length may be wrong.
fn read_exactly(length: u64, read: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    read.take(length).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
}

/// Reads a file at its own offset, without using the file's shared position.
struct FileReader<'a> {
    file: &'a File,
    at: u64,
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Reads a file that it owns, at its own offset.
struct OpenFileReader {
    file: Arc<File>,
    at: u64,
}

impl Read for OpenFileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = FileReader { file: &self.file, at: self.at }.read(buffer)?;
        self.at += count as u64;
        Ok(count)
    }
}

struct SharedReader {
    bytes: SharedBytes,
    at: usize,
}

impl Read for SharedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (&(*self.bytes).as_ref()[self.at..]).read(buffer)?;
        self.at += count;
        Ok(count)
    }
}

/// Reads exactly this many bytes, and fails if there are fewer.
struct ExactReader<R> {
    read: R,
    left: u64,
}

impl<R: Read> Read for ExactReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if room == 0 {
            return Ok(0);
        }
        match self.read.read(&mut buffer[..room])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            // A `Read` that returns a larger number than it had room for is invalid; the caller checks that.
            count => {
                self.left = self.left.saturating_sub(count as u64);
                Ok(count)
            }
        }
    }
}
