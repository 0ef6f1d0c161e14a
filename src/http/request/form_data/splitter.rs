//! Finds the delimiters of a multipart body (RFC 2046, section 5.1.1) in the bytes of a reader, independent of the
//! sizes of its reads. Called by `form_data`. It finds delimiters and the end of a part's head, and does not parse
//! fields. It has one buffer: 16 KiB, and more only if the head of a part needs it. On one core of an AMD EPYC a part
//! of 500 MiB is split at 25 GB/s from memory, at 0.65 GB/s if it consists of beginnings of delimiters, and at 2.2 GB/s
//! into a file in memory.

use std::io::{self, ErrorKind, Read};

use http::StatusCode;
use memchr::memmem::{self, Finder};

use crate::http::error::Error;

/// Bytes read at a time.
const BUFFER: usize = 16 * 1024;

pub(super) struct Splitter<R> {
    pub(super) reader: R,
    /// `CRLF "--" boundary`: the line break before a boundary belongs to the delimiter, not to the part.
    delimiter: Finder<'static>,
    buffer: Vec<u8>,
    /// Bytes that were read and are not used yet: `start..end` of `buffer`.
    start: usize,
    end: usize,
    /// `start..clear` is content: no delimiter begins there. Only while content is read.
    clear: usize,
    /// Whether a delimiter begins at `clear`.
    found: bool,
}

pub(super) const ENDS_EARLY: &str = "the form ends before its last boundary";

impl<R: Read> Splitter<R> {
    pub(super) fn new(reader: R, boundary: &str) -> Splitter<R> {
        let delimiter = Finder::new(format!("\r\n--{boundary}").as_bytes()).into_owned();
        let mut buffer = vec![0; BUFFER];
        // The body may begin with the first boundary. After this line break, that boundary looks like all others.
        buffer[..2].copy_from_slice(b"\r\n");
        Splitter { reader, delimiter, buffer, start: 0, end: 2, clear: 0, found: false }
    }

    /// Returns the next bytes before the next delimiter, or none at the delimiter. Fails with the reader's error, or
    /// with `EndsEarly`.
    pub(super) fn content(&mut self) -> io::Result<&[u8]> {
        while self.clear == self.start && !self.found {
            // At the first call there may be bytes that arrived together with the part's head.
            if !self.search() && !self.fill()? {
                return Err(ends_early());
            }
        }
        Ok(&self.buffer[self.start..self.clear])
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
    }

    /// Skips the content before the next delimiter.
    pub(super) fn skip_content(&mut self) -> io::Result<()> {
        loop {
            match self.content()?.len() {
                0 => return Ok(()),
                count => self.consume(count),
            }
        }
    }

    /// Passes the delimiter that `content` has reached, to the end of its line. Returns whether it was the last.
    ///
    /// A line that begins with the boundary and continues differently from a delimiter is malformed. RFC 2046 defines
    /// it as a delimiter, some parsers treat it as content, and no well-behaved client sends it.
    pub(super) fn pass_delimiter(&mut self, limit: usize) -> io::Result<bool> {
        let junk = || malformed("the form has text after a boundary");
        let mut at = self.delimiter.needle().len();
        let limit = at + limit;
        let last = self.buffered(at + 2)? && self.unused()[at..].starts_with(b"--");
        if last {
            at += 2;
        }
        while self.buffered(at + 1)? {
            let byte = self.unused()[at];
            if matches!(byte, b' ' | b'\t') && at < limit {
                at += 1; // transport padding
            } else if byte == b'\r' && self.buffered(at + 2)? && self.unused()[at + 1] == b'\n' {
                self.use_up(at + 2);
                return Ok(last);
            } else {
                return Err(junk());
            }
        }
        if last { Ok(true) } else { Err(ends_early()) }
    }

    /// Returns the length of the head at the current position: its lines with their line breaks, without the empty line
    /// after them, which `limit` includes. Consumes nothing.
    pub(super) fn head(&mut self, limit: usize) -> io::Result<usize> {
        let too_long = || malformed("the head of a part of the form is too long");
        let mut searched = 0;
        let length = loop {
            let unused = self.unused();
            if unused.starts_with(b"\r\n") {
                break 0;
            }
            if let Some(at) = memmem::find(&unused[searched..], b"\r\n\r\n") {
                break searched + at + 2;
            }
            if unused.len() >= limit {
                return Err(too_long());
            }
            searched = unused.len().saturating_sub(3);
            if !self.fill()? {
                return Err(ends_early());
            }
        };
        if length + 2 > limit {
            return Err(too_long());
        }
        Ok(length)
    }

    pub(super) fn peek(&self, count: usize) -> &[u8] {
        &self.unused()[..count]
    }

    /// Passes a head of that length and the empty line.
    pub(super) fn pass_head(&mut self, length: usize) -> io::Result<()> {
        // In a part without content, the line break of the empty line can also be the beginning of the delimiter.
        if !self.buffered(length + self.delimiter.needle().len())? {
            return Err(ends_early());
        }
        let empty = self.unused()[length..].starts_with(self.delimiter.needle());
        self.use_up(if empty { length } else { length + 2 });
        Ok(())
    }

    /// Returns whether this line of a head begins like a delimiter.
    pub(super) fn is_delimiter(&self, line: &[u8]) -> bool {
        line.starts_with(&self.delimiter.needle()[2..])
    }

    fn unused(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn use_up(&mut self, count: usize) {
        self.start += count;
        self.clear = self.start;
        self.found = false;
    }

    /// Searches for a delimiter in the bytes that have not been searched. Returns false if it finds nothing new.
    fn search(&mut self) -> bool {
        let unknown = &self.buffer[self.clear..self.end];
        match self.delimiter.find(unknown) {
            Some(at) => {
                self.clear += at;
                self.found = true;
                true
            }
            // The last bytes may begin a delimiter.
            None => {
                let clear = unknown.len().saturating_sub(self.delimiter.needle().len() - 1);
                self.clear += clear;
                clear > 0
            }
        }
    }

    /// Reads until this many bytes are unused. Returns false if the body ends before.
    fn buffered(&mut self, count: usize) -> io::Result<bool> {
        while self.end - self.start < count {
            if !self.fill()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn fill(&mut self) -> io::Result<bool> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.clear -= self.start;
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(2 * self.end, 0); // the head of a part: the caller limits it
        }
        loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count > 0);
                }
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
    }
}

fn ends_early() -> io::Error {
    Error::new(StatusCode::BAD_REQUEST, ENDS_EARLY).into_io(ErrorKind::UnexpectedEof)
}

fn malformed(why: &str) -> io::Error {
    Error::new(StatusCode::BAD_REQUEST, why).into_io(ErrorKind::InvalidData)
}
