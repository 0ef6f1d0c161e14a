//! The body of a request: in memory up to a limit, beyond it in an unnamed temporary file.
//! Written by `incoming` through a `BodyWriter`, read by handlers through `Request`.
//! Memory is allocated for bytes received, never for a length announced. Message framing is handled elsewhere.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

use crate::http::rejection::Rejection;

/// The complete body of a request. Several readers may read it concurrently.
#[derive(Default)]
pub struct Body {
    storage: Storage,
    /// Released when the body is dropped.
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

    /// Whether it has no bytes, or there was none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A reader from the first byte on. Each reader has its own position.
    pub fn reader(&self) -> BodyReader<'_> {
        BodyReader { body: self, at: 0 }
    }

    /// All bytes: borrowed if they are in memory, else read from the temporary file.
    ///
    /// # Errors
    /// If the temporary file cannot be read.
    pub fn bytes(&self) -> io::Result<Cow<'_, [u8]>> {
        match &self.storage {
            Storage::Memory(bytes) => Ok(Cow::Borrowed(bytes)),
            Storage::Spooled { length, .. } => {
                let mut all = Vec::with_capacity(*length as usize); // received, so within the limits
                self.reader().read_to_end(&mut all)?;
                Ok(Cow::Owned(all))
            }
        }
    }

    /// A body from bytes, for requests made by hand.
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

/// Reads a body from its first byte (Python's `rfile`, but it ends where the body ends).
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

/// Limits on request bodies.
#[derive(Clone, Debug)]
pub(crate) struct BodyLimits {
    /// Bytes of one body: beyond them 413.
    pub body: u64,
    /// Bytes of one body that stay in memory: a longer one goes to a file.
    pub memory: usize,
    /// The folder of that file.
    pub folder: Arc<Path>,
    /// Bytes of all bodies together: beyond them 507.
    pub quota: BodyQuota,
}

impl Default for BodyLimits {
    fn default() -> BodyLimits {
        const MIB: u64 = 1024 * 1024;
        BodyLimits {
            body: 16 * MIB,
            memory: 64 * 1024,
            folder: Arc::from(Path::new("/var/tmp")),
            quota: BodyQuota::new(1024 * MIB),
        }
    }
}

/// The bytes that all bodies of one server together may use, in memory and on disk. Clones share it.
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

    /// Bytes in use.
    pub(crate) fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Without a limit this is always true, whatever is in use.
    fn allows(&self, bytes: u64) -> bool {
        self.0.limit == u64::MAX || bytes <= self.0.limit.saturating_sub(self.used())
    }
}

/// The share of the quota that one body uses; released on drop.
struct QuotaReservation {
    quota: BodyQuota,
    bytes: u64,
}

impl QuotaReservation {
    fn grow(&mut self, bytes: u64) -> bool {
        // Relaxed: no other memory is synchronized by this counter.
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
const NO_DESCRIPTOR: Rejection = Rejection::busy("too busy at present");
const SPOOL_FAILED: Rejection = Rejection::new(StatusCode::INTERNAL_SERVER_ERROR, "the body could not be kept");

/// Receives a body: into memory, and from there into a file.
pub(crate) struct BodyWriter {
    /// Bytes received since the last write to the file.
    memory: Vec<u8>,
    file: Option<File>,
    /// Bytes in the file.
    spooled: u64,
    reservation: QuotaReservation,
}

impl BodyWriter {
    /// `announced`: the Content-Length, if there is one. Rejected at once if it exceeds a limit.
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

    /// How many more bytes memory takes before they must be written to the file.
    pub(crate) fn available(&self, limits: &BodyLimits) -> usize {
        // Even if no memory is allowed, each piece of a body passes through it.
        let capacity = if self.file.is_some() { SPOOL_SIZE } else { limits.memory };
        capacity.saturating_sub(self.memory.len())
    }

    /// `more`: bytes announced beyond those received. Rejected at once if they exceed a limit.
    pub(crate) fn check_announced(&self, more: u64, limits: &BodyLimits) -> Result<(), Rejection> {
        if (self.spooled + self.memory.len() as u64).saturating_add(more) > limits.body {
            return Err(TOO_LARGE);
        }
        if !limits.quota.allows(more) {
            return Err(NO_SPACE);
        }
        Ok(())
    }

    /// Bytes received so far.
    pub(crate) fn received(&self) -> u64 {
        self.spooled + self.memory.len() as u64
    }

    /// Whether bytes in memory are still to be written to the file.
    pub(crate) fn must_spool(&self) -> bool {
        self.file.is_some() && !self.memory.is_empty()
    }

    /// Append received bytes. No disk access.
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

    /// Write the bytes in memory to the file. May block on the disk.
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

/// Bytes written to the file at a time.
const SPOOL_SIZE: usize = 64 * 1024;

fn spool_error(err: &io::Error, limits: &BodyLimits) -> Rejection {
    log::error!("a body can't be kept in {}: {err}", limits.folder.display());
    match err.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => NO_SPACE,
        _ if is_about_room(err) => NO_DESCRIPTOR,
        _ => SPOOL_FAILED,
    }
}

/// Out of descriptors or of memory for one more.
fn is_about_room(err: &io::Error) -> bool {
    use rustix::io::Errno;
    err.raw_os_error()
        .is_some_and(|code| [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error).contains(&code))
}
