//! Compresses a body with gzip while it is read. Used by `compress`.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::slots::Slot;

/// How much of a stream is read at once.
const READ: usize = 16 * 1024;

/// A body that is compressed while it is read. The compressed form of each read is returned completely, so that nothing
/// is delayed.
pub(super) struct GzipReader {
    body: Box<dyn Read + Send>,
    level: u32,
    buffer: Vec<u8>,
    /// Created at the first read, because the body of a HEAD is never read. Dropped at the end.
    encoder: Option<GzEncoder<Vec<u8>>>,
    has_ended: bool,
    /// Compressed bytes that are not passed on yet.
    ready: Vec<u8>,
    passed_on: usize,
    _slot: Slot,
}

impl GzipReader {
    pub(super) fn new(body: Box<dyn Read + Send>, level: u32, slot: Slot) -> GzipReader {
        GzipReader {
            body,
            level,
            buffer: Vec::new(),
            encoder: None,
            has_ended: false,
            ready: Vec::new(),
            passed_on: 0,
            _slot: slot,
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        self.buffer.resize(READ, 0);
        let count = self.body.read(&mut self.buffer)?;
        let (ready, level) = (&mut self.ready, Compression::new(self.level));
        ready.clear();
        self.passed_on = 0;
        let encoder = self.encoder.get_or_insert_with(|| GzEncoder::new(Vec::new(), level));
        if count == 0 {
            self.has_ended = true;
            *ready = self.encoder.take().map_or(Ok(Vec::new()), GzEncoder::finish)?;
            return Ok(());
        }
        let bytes = self
            .buffer
            .get(..count)
            .ok_or_else(|| io::Error::other("the reader of a body reported more bytes than its buffer can hold"))?;
        encoder.write_all(bytes)?;
        encoder.flush()?;
        std::mem::swap(ready, encoder.get_mut());
        Ok(())
    }
}

impl Read for GzipReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.passed_on == self.ready.len() && !self.has_ended {
            self.refill()?;
        }
        let count = (&self.ready[self.passed_on..]).read(buffer)?;
        self.passed_on += count;
        Ok(count)
    }
}
