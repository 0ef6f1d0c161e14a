//! The body of a response in all its forms. Part of a `response`; read by `sending`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::http::live::{PushedBody, PushedEnd, Taken, Tee};
use crate::tcp::{Contained, SharedBytes};

pub(crate) enum ResponseBody {
    Bytes(Vec<u8>),
    Shared(Contained<SharedBytes>),
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
    /// Creates a stream from a reader, which is user code.
    pub(super) fn stream(read: impl Read + Send + 'static, length: Option<u64>) -> ResponseBody {
        ResponseBody::Stream { read: Box::new(Contained::new("dropping the reader of a body", read)), length }
    }

    pub(super) fn shared(bytes: SharedBytes) -> ResponseBody {
        ResponseBody::Shared(Contained::new("dropping the shared bytes of a body", bytes))
    }

    pub(crate) fn in_memory(&self) -> Option<&[u8]> {
        match self {
            ResponseBody::Bytes(bytes) => Some(bytes),
            ResponseBody::Shared(bytes) => Some(bytes.as_ref()),
            ResponseBody::File { .. } | ResponseBody::Stream { .. } | ResponseBody::Pushed(_) => None,
        }
    }

    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            ResponseBody::File { length, .. } => Some(*length),
            ResponseBody::Stream { length, .. } => *length,
            body => body.in_memory().map(|bytes| bytes.len() as u64),
        }
    }

    /// Turns owned bytes into shared ones, so that ranges of them need no copy.
    pub(crate) fn into_shared(self) -> ResponseBody {
        match self {
            ResponseBody::Bytes(bytes) => ResponseBody::shared(Arc::new(bytes)),
            body => body,
        }
    }

    /// Returns a reader of the whole body; of a stream, of the `declared` number of bytes, if given. Reading fails if
    /// there are fewer.
    ///
    /// # Errors
    /// Returns a body that other threads push, because it has no reader.
    pub(crate) fn into_reader(self, declared: Option<u64>) -> Result<Box<dyn Read + Send>, PushedBody> {
        Ok(match self {
            ResponseBody::Pushed(body) => return Err(body),
            ResponseBody::Bytes(bytes) => Box::new(io::Cursor::new(bytes)),
            ResponseBody::Shared(bytes) => Box::new(io::Cursor::new(bytes)),
            ResponseBody::File { file, start, length } => {
                Box::new(ExactReader { read: FileReader { file, at: start }, left: length })
            }
            ResponseBody::Stream { read, length } => match length.or(declared) {
                Some(left) => Box::new(ExactReader { read, left }),
                None => read,
            },
        })
    }

    /// Calls the tee with the bytes of the body: at once for a body in memory, and while it is sent for others.
    pub(crate) fn with_tee(self, mut tee: Tee, declared: Option<u64>) -> ResponseBody {
        if let Some(bytes) = self.in_memory() {
            tee.copy(bytes);
            tee.complete();
            return self;
        }
        let length = self.length().or(declared);
        match self.into_reader(length) {
            Ok(read) => ResponseBody::stream(TeeReader::new(read, tee, length), length),
            Err(mut body) => {
                body.tees.push(tee);
                ResponseBody::Pushed(body)
            }
        }
    }

    /// Reads the whole body; of a stream, the `declared` number of bytes, if given. Memory grows while they are read,
    /// because the length may be wrong.
    pub(crate) fn read(self, declared: Option<u64>) -> io::Result<Vec<u8>> {
        if let ResponseBody::Bytes(bytes) = self {
            return Ok(bytes);
        }
        let mut bytes = Vec::new();
        match self.into_reader(declared) {
            Ok(mut read) => read.read_to_end(&mut bytes).map(|_| bytes),
            Err(mut body) => match body.take(usize::MAX) {
                Taken { pieces, end: Some(PushedEnd::Complete), .. } => Ok(pieces.concat()),
                Taken { end: Some(PushedEnd::Broken), .. } => Err(io::ErrorKind::UnexpectedEof.into()),
                Taken { end: None, .. } => Err(ResponseBody::is_not_there()),
            },
        }
    }

    pub(crate) fn is_not_there() -> io::Error {
        io::Error::new(io::ErrorKind::Unsupported, "only a connection can wait for the body of this response")
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ResponseBody::Bytes(_) => "bytes",
            ResponseBody::Shared(_) => "shared bytes",
            ResponseBody::File { .. } => "a file",
            ResponseBody::Stream { .. } => "a stream",
            ResponseBody::Pushed(_) => "pushed bytes",
        })
    }
}

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
    /// The number of bytes that follow, if it is known. A body of a known length is not read to its end.
    left: Option<u64>,
}

impl TeeReader {
    fn new(read: Box<dyn Read + Send>, tee: Tee, length: Option<u64>) -> TeeReader {
        if length == Some(0) {
            tee.complete();
        }
        TeeReader { read, tee, left: length }
    }
}

impl Read for TeeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read.read(buffer)?;
        self.tee.copy(&buffer[..count]);
        self.left = self.left.map(|left| left - count as u64);
        if self.left == Some(0) || self.left.is_none() && count == 0 && !buffer.is_empty() {
            self.tee.complete();
        }
        Ok(count)
    }
}

/// Reads a file at its own offset, without using the file's shared position.
struct FileReader {
    file: Arc<File>,
    at: u64,
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl AsRef<[u8]> for Contained<SharedBytes> {
    fn as_ref(&self) -> &[u8] {
        (***self).as_ref()
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
