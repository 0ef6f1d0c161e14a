//! A request body while it is received: decoded and stored, in bounded steps.
//! Called by `connection` with the bytes that have arrived, and by `arriving`. Uses `decoder` to decode and `stored` to
//! store. It writes to disk only in `spool`, which `connection` calls in turns that may block.

use super::chunked::Step;
use super::decoder::BodyDecoder;
use super::framing::BodyLength;
use super::quotas::BodyLimits;
use super::stored::{BodyWriter, GivenWriter, StoredBody};
use crate::http::error::Error;
use crate::http::rejection::Rejection;

pub(crate) struct Incoming {
    decoder: BodyDecoder,
    writer: BodyWriter,
    finished: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Input,
    /// A call of `spool`, which may block, because memory is full, the last bytes must go to the file, or a handler's
    /// writer is to be ended.
    Spool,
    /// Nothing: the body is complete.
    Nothing,
}

impl Incoming {
    /// Creates a body that `spool` writes to this writer, if there is one. Rejects a body at once if its Content-Length
    /// exceeds a limit, or if there is no room for it.
    pub(crate) fn new(length: BodyLength, to: Option<GivenWriter>, limits: &BodyLimits) -> Result<Incoming, Rejection> {
        let writer = BodyWriter::new(length.known(), to, limits)?;
        Ok(Incoming { decoder: BodyDecoder::new(length), writer, finished: false })
    }

    /// Decodes and stores bytes, as far as there is room. Returns how many bytes of input were used, and what is needed
    /// next. Rejected bytes, and bytes after the body, are not used.
    pub(crate) fn feed(&mut self, bytes: &[u8], limits: &BodyLimits) -> Result<(usize, Need), Rejection> {
        let mut used = 0;
        while !self.finished {
            let (count, step) = self.decoder.step(&bytes[used..], self.writer.available(limits))?;
            let data = if let Step::Data(data) = &step { data.len() as u64 } else { 0 };
            self.writer.check_announced(self.decoder.announced().saturating_add(data), limits)?;
            match step {
                Step::NeedInput if self.writer.is_urgent => return Ok((used + count, Need::Spool)),
                Step::NeedInput => return Ok((used + count, Need::Input)),
                Step::End => self.finished = true,
                Step::Data([]) => return Ok((used + count, Need::Spool)), // more data, and no memory for it
                Step::Data(data) => self.writer.push(data, limits)?,
            }
            used += count;
        }
        Ok((used, if self.writer.must_spool() { Need::Spool } else { Need::Nothing }))
    }

    /// Writes the bytes in memory to the file, and ends a handler's writer after the last byte. May block.
    pub(crate) fn spool(&mut self, limits: &BodyLimits) -> Result<(), Error> {
        self.writer.spool(limits)?;
        if self.finished { self.writer.close() } else { Ok(()) }
    }

    pub(crate) fn received(&self) -> u64 {
        self.writer.received()
    }

    pub(crate) fn finish(self) -> StoredBody {
        self.writer.finish()
    }
}
