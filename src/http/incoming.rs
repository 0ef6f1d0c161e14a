//! A body on its way in: its framing taken off, its bytes collected, one bounded step at a time.
//! Called by `conversation` with what has arrived; uses `chunked` for the coding and `body` for the keeping.
//! It never touches the disk but in `spill`, which the conversation calls where it may block.

use super::body::{Body, BodyLimits, Collector};
use super::chunked::{Decoder, Step};
use super::framing::BodyLength;
use super::refusal::Refusal;

/// A body being read.
pub(crate) struct Incoming {
    coding: Coding,
    collector: Collector,
    /// Bytes of the body so far.
    received: u64,
    over: bool,
}

enum Coding {
    /// So many bytes are still to come.
    Known(u64),
    Chunked(Decoder),
}

/// What the body needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// More bytes from the client.
    Bytes,
    /// A turn that may block: memory is full, or the last stretch must go to the file.
    Spill,
    /// Nothing: it is whole.
    Nothing,
}

impl Incoming {
    /// Refused at once if it is announced longer than may be.
    pub(crate) fn new(length: BodyLength, limits: &BodyLimits) -> Result<Incoming, Refusal> {
        let (coding, announced) = match length {
            BodyLength::None => (Coding::Known(0), Some(0)),
            BodyLength::Known(length) => (Coding::Known(length), Some(length)),
            BodyLength::Chunked => (Coding::Chunked(Decoder::new()), None),
        };
        Ok(Incoming { coding, collector: Collector::new(announced, limits)?, received: 0, over: false })
    }

    /// Bytes of the body so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Take what can be taken: how many bytes were used, and what is needed now.
    /// What is refused, and what comes behind the body, stays unused.
    pub(crate) fn take(&mut self, bytes: &[u8], limits: &BodyLimits) -> Result<(usize, Need), Refusal> {
        let mut used = 0;
        while !self.over {
            let space = self.collector.space(limits);
            let rest = &bytes[used..];
            let (count, step) = match &mut self.coding {
                Coding::Known(0) => (0, Step::End),
                Coding::Known(_) if rest.is_empty() => (0, Step::Want),
                Coding::Known(left) => {
                    let count = (*left).min(rest.len() as u64).min(space as u64) as usize;
                    *left -= count as u64;
                    (count, Step::Data(&rest[..count]))
                }
                Coding::Chunked(decoder) => decoder.step(rest, space)?,
            };
            if let Coding::Chunked(decoder) = &self.coding {
                let data = if let Step::Data(data) = &step { data.len() as u64 } else { 0 };
                self.collector.expect(decoder.announced().saturating_add(data), limits)?;
            }
            match step {
                Step::Want => return Ok((used + count, Need::Bytes)),
                Step::End => self.over = true,
                Step::Data([]) => return Ok((used + count, Need::Spill)), // there is more, and no space for it
                Step::Data(data) => {
                    self.collector.push(data, limits)?;
                    self.received += data.len() as u64;
                }
            }
            used += count;
        }
        Ok((used, if self.collector.must_spill() { Need::Spill } else { Need::Nothing }))
    }

    /// Write to the file what is in memory. It touches the disk.
    pub(crate) fn spill(&mut self, limits: &BodyLimits) -> Result<(), Refusal> {
        self.collector.spill(limits)
    }

    pub(crate) fn finish(self) -> Body {
        self.collector.finish()
    }
}
