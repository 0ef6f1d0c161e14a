//! A body on its way in: its framing taken off, its bytes collected, one bounded step at a time.
//! Called by `conversation` with what has arrived; uses `chunked` for the coding and `body` for the keeping.
//! It never touches the disk but in `spool`, which the conversation calls where it may block.

use super::body::{Body, BodyLimits, BodyWriter};
use super::chunked::{ChunkedDecoder, Step};
use super::framing::BodyLength;
use super::rejection::Rejection;

/// A body being read.
pub(crate) struct Incoming {
    decoder: BodyDecoder,
    writer: BodyWriter,
    /// Bytes of the body so far.
    received: u64,
    finished: bool,
}

enum BodyDecoder {
    /// So many bytes are still to come.
    Sized(u64),
    Chunked(ChunkedDecoder),
}

/// What the body needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// More bytes from the client.
    Input,
    /// A turn that may block: memory is full, or the last stretch must go to the file.
    Spool,
    /// Nothing: it is whole.
    Nothing,
}

impl Incoming {
    /// Refused at once if it is announced longer than may be.
    pub(crate) fn new(length: BodyLength, limits: &BodyLimits) -> Result<Incoming, Rejection> {
        let (decoder, announced) = match length {
            BodyLength::None => (BodyDecoder::Sized(0), Some(0)),
            BodyLength::Known(length) => (BodyDecoder::Sized(length), Some(length)),
            BodyLength::Chunked => (BodyDecoder::Chunked(ChunkedDecoder::new()), None),
        };
        Ok(Incoming { decoder, writer: BodyWriter::new(announced, limits)?, received: 0, finished: false })
    }

    /// Bytes of the body so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Take what can be taken: how many bytes were used, and what is needed now.
    /// What is refused, and what comes behind the body, stays unused.
    pub(crate) fn feed(&mut self, bytes: &[u8], limits: &BodyLimits) -> Result<(usize, Need), Rejection> {
        let mut used = 0;
        while !self.finished {
            let available = self.writer.available(limits);
            let rest = &bytes[used..];
            let (count, step) = match &mut self.decoder {
                BodyDecoder::Sized(0) => (0, Step::End),
                BodyDecoder::Sized(_) if rest.is_empty() => (0, Step::NeedInput),
                BodyDecoder::Sized(left) => {
                    let count = (*left).min(rest.len() as u64).min(available as u64) as usize;
                    *left -= count as u64;
                    (count, Step::Data(&rest[..count]))
                }
                BodyDecoder::Chunked(decoder) => decoder.step(rest, available)?,
            };
            if let BodyDecoder::Chunked(decoder) = &self.decoder {
                let data = if let Step::Data(data) = &step { data.len() as u64 } else { 0 };
                self.writer.check_announced(decoder.remaining().saturating_add(data), limits)?;
            }
            match step {
                Step::NeedInput => return Ok((used + count, Need::Input)),
                Step::End => self.finished = true,
                Step::Data([]) => return Ok((used + count, Need::Spool)), // there is more, and no space for it
                Step::Data(data) => {
                    self.writer.push(data, limits)?;
                    self.received += data.len() as u64;
                }
            }
            used += count;
        }
        Ok((used, if self.writer.must_spool() { Need::Spool } else { Need::Nothing }))
    }

    /// Write to the file what is in memory. It touches the disk.
    pub(crate) fn spool(&mut self, limits: &BodyLimits) -> Result<(), Rejection> {
        self.writer.spool(limits)
    }

    pub(crate) fn finish(self) -> Body {
        self.writer.finish()
    }
}
