//! The body of a request: in memory while it is small, in an unnamed temporary file past that.
//! Filled through a `BodyWriter` by `incoming`, read by handlers through `Request`.
//! It allocates for what has arrived, never for what was announced, and knows nothing of framing.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

use super::rejection::Rejection;

/// The body of a request, whole. Many readers may read it, at the same time too.
#[derive(Default)]
pub struct Body {
    storage: Storage,
    /// Given back when the body is dropped.
    _reservation: Option<QuotaReservation>,
}

enum Storage {
    Memory(Vec<u8>),
    Spooled { file: File, length: u64 },
}

impl Default for Storage {
    fn default() -> Storage {
        Storage::Memory(Vec::new())
    }
}

impl Body {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        match &self.storage {
            Storage::Memory(bytes) => bytes.len() as u64,
            Storage::Spooled { length, .. } => *length,
        }
    }

    /// Whether there is none, or one of no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads it from its first byte on. Each reader has a place of its own.
    pub fn reader(&self) -> BodyReader<'_> {
        BodyReader { body: self, at: 0 }
    }

    /// All of it: borrowed if it is in memory, else read from the temporary file.
    ///
    /// # Errors
    /// If the temporary file can't be read.
    pub fn bytes(&self) -> io::Result<Cow<'_, [u8]>> {
        match &self.storage {
            Storage::Memory(bytes) => Ok(Cow::Borrowed(bytes)),
            Storage::Spooled { length, .. } => {
                let mut all = Vec::with_capacity(*length as usize); // it has arrived, so it is within the limits
                self.reader().read_to_end(&mut all)?;
                Ok(Cow::Owned(all))
            }
        }
    }

    /// Bytes made by hand.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Body {
        Body { storage: Storage::Memory(bytes), _reservation: None }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if matches!(self.storage, Storage::Memory(_)) { "in memory" } else { "in a file" };
        write!(f, "Body({} bytes, {place})", self.len())
    }
}

/// Reads a body from its first byte on (Python's `rfile`, but it ends where the body ends).
#[derive(Clone, Debug)]
pub struct BodyReader<'a> {
    body: &'a Body,
    at: u64,
}

impl Read for BodyReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &self.body.storage {
            Storage::Memory(bytes) => (&bytes[self.at as usize..]).read(buffer)?,
            Storage::Spooled { file, length } => {
                let max = usize::try_from(length - self.at).unwrap_or(usize::MAX).min(buffer.len());
                match file.read_at(&mut buffer[..max], self.at)? {
                    0 if max > 0 => {
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the spooled body is cut short"));
                    }
                    count => count,
                }
            }
        };
        self.at += count as u64;
        Ok(count)
    }
}

/// How much bodies may take.
#[derive(Clone, Debug)]
pub(crate) struct BodyLimits {
    /// Bytes of one body: past it 413.
    pub body: u64,
    /// Bytes of one body that stay in memory: past it the body goes to a file.
    pub memory: usize,
    /// Where that file is made.
    pub folder: PathBuf,
    /// Bytes of all bodies together: past it 507.
    pub quota: BodyQuota,
}

/// What all bodies of one server together may take. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct BodyQuota(Arc<QuotaState>);

#[derive(Debug)]
struct QuotaState {
    limit: u64,
    used: AtomicU64,
}

impl BodyQuota {
    pub(crate) fn new(limit: u64) -> BodyQuota {
        BodyQuota(Arc::new(QuotaState { limit, used: AtomicU64::new(0) }))
    }

    /// Bytes taken now.
    pub(crate) fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Where there is no limit, whatever others took leaves room.
    fn allows(&self, bytes: u64) -> bool {
        self.0.limit == u64::MAX || bytes <= self.0.limit.saturating_sub(self.used())
    }
}

/// Room taken by one body; given back on drop.
struct QuotaReservation {
    quota: BodyQuota,
    bytes: u64,
}

impl QuotaReservation {
    fn grow(&mut self, bytes: u64) -> bool {
        // A plain counter: no other memory hangs on its value.
        let before = self.quota.0.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        before.saturating_add(bytes) <= self.quota.0.limit
    }
}

impl Drop for QuotaReservation {
    fn drop(&mut self) {
        self.quota.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

const TOO_LARGE: Rejection = Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
const NO_SPACE: Rejection = Rejection::new(StatusCode::INSUFFICIENT_STORAGE, "no room for the body at present");
const SPOOL_FAILED: Rejection = Rejection::new(StatusCode::INTERNAL_SERVER_ERROR, "the body could not be kept");

/// A body on its way in.
pub(crate) struct BodyWriter {
    /// What came since the last spill.
    memory: Vec<u8>,
    file: Option<File>,
    /// Bytes in the file.
    spooled: u64,
    reservation: QuotaReservation,
}

impl BodyWriter {
    /// `announced`: as long as the head says, if it says. Refused at once if that is more than may be.
    pub(crate) fn new(announced: Option<u64>, limits: &BodyLimits) -> Result<BodyWriter, Rejection> {
        let announced = announced.unwrap_or(0);
        if announced > limits.body {
            return Err(TOO_LARGE);
        }
        if !limits.quota.allows(announced) {
            return Err(NO_SPACE);
        }
        let reservation = QuotaReservation { quota: limits.quota.clone(), bytes: 0 };
        Ok(BodyWriter { memory: Vec::new(), file: None, spooled: 0, reservation })
    }

    /// How many more bytes fit into memory before some must be spilled.
    pub(crate) fn available(&self, limits: &BodyLimits) -> usize {
        // With no memory allowed a body still passes through it, a stretch at a time.
        let capacity = if self.file.is_some() { SPOOL_SIZE } else { limits.memory };
        capacity.saturating_sub(self.memory.len())
    }

    /// So many bytes more are announced: refused at once if that is more than may be.
    pub(crate) fn check_announced(&self, more: u64, limits: &BodyLimits) -> Result<(), Rejection> {
        if (self.spooled + self.memory.len() as u64).saturating_add(more) > limits.body {
            return Err(TOO_LARGE);
        }
        if !limits.quota.allows(more) {
            return Err(NO_SPACE);
        }
        Ok(())
    }

    /// Whether something waits in memory for the file.
    pub(crate) fn must_spool(&self) -> bool {
        self.file.is_some() && !self.memory.is_empty()
    }

    /// More of the body. It only touches memory.
    pub(crate) fn push(&mut self, bytes: &[u8], limits: &BodyLimits) -> Result<(), Rejection> {
        let length = bytes.len() as u64;
        if self.spooled + self.memory.len() as u64 + length > limits.body {
            return Err(TOO_LARGE);
        }
        if !self.reservation.grow(length) {
            return Err(NO_SPACE);
        }
        self.memory.extend_from_slice(bytes);
        Ok(())
    }

    /// Write to the file what is in memory. It touches the disk: only in a turn that may block.
    pub(crate) fn spool(&mut self, limits: &BodyLimits) -> Result<(), Rejection> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(&limits.folder).map_err(|err| spool_error(&err, limits))?),
        };
        file.write_all(&self.memory).map_err(|err| spool_error(&err, limits))?;
        self.spooled += self.memory.len() as u64;
        self.memory = Vec::new();
        Ok(())
    }

    pub(crate) fn finish(self) -> Body {
        let storage = match self.file {
            Some(file) => Storage::Spooled { file, length: self.spooled },
            None => Storage::Memory(self.memory),
        };
        Body { storage, _reservation: Some(self.reservation) }
    }
}

/// How much is written to the file at a time.
const SPOOL_SIZE: usize = 64 * 1024;

fn spool_error(err: &io::Error, limits: &BodyLimits) -> Rejection {
    log::error!("a body can't be kept in {}: {err}", limits.folder.display());
    match err.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => NO_SPACE,
        _ => SPOOL_FAILED,
    }
}
