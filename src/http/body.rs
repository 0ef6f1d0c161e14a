//! The body of a request: in memory while it is small, in an unnamed temporary file past that.
//! Filled through a `Collector` by `incoming`, read by handlers through `Request`.
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

use super::refusal::Refusal;

/// The body of a request, whole. Many readers may read it, at the same time too.
#[derive(Default)]
pub struct Body {
    bytes: Bytes,
    /// Given back when the body is dropped.
    _room: Option<Taken>,
}

enum Bytes {
    Memory(Vec<u8>),
    Spooled { file: File, length: u64 },
}

impl Default for Bytes {
    fn default() -> Bytes {
        Bytes::Memory(Vec::new())
    }
}

impl Body {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        match &self.bytes {
            Bytes::Memory(bytes) => bytes.len() as u64,
            Bytes::Spooled { length, .. } => *length,
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
        match &self.bytes {
            Bytes::Memory(bytes) => Ok(Cow::Borrowed(bytes)),
            Bytes::Spooled { length, .. } => {
                let mut all = Vec::with_capacity(*length as usize); // it has arrived, so it is within the limits
                self.reader().read_to_end(&mut all)?;
                Ok(Cow::Owned(all))
            }
        }
    }

    /// Bytes made by hand.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Body {
        Body { bytes: Bytes::Memory(bytes), _room: None }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if matches!(self.bytes, Bytes::Memory(_)) { "in memory" } else { "in a file" };
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
        let count = match &self.body.bytes {
            Bytes::Memory(bytes) => (&bytes[self.at as usize..]).read(buffer)?,
            Bytes::Spooled { file, length } => {
                let most = usize::try_from(length - self.at).unwrap_or(usize::MAX).min(buffer.len());
                match file.read_at(&mut buffer[..most], self.at)? {
                    0 if most > 0 => {
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
    pub room: Room,
}

/// What all bodies of one server together may take. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Room(Arc<RoomState>);

#[derive(Debug)]
struct RoomState {
    most: u64,
    taken: AtomicU64,
}

impl Room {
    pub(crate) fn new(most: u64) -> Room {
        Room(Arc::new(RoomState { most, taken: AtomicU64::new(0) }))
    }

    /// Bytes taken now.
    pub(crate) fn taken(&self) -> u64 {
        self.0.taken.load(Ordering::Relaxed)
    }

    /// Where there is no limit, whatever others took leaves room.
    fn has(&self, bytes: u64) -> bool {
        self.0.most == u64::MAX || bytes <= self.0.most.saturating_sub(self.taken())
    }
}

/// Room taken by one body; given back on drop.
struct Taken {
    room: Room,
    bytes: u64,
}

impl Taken {
    fn more(&mut self, bytes: u64) -> bool {
        // A plain counter: no other memory hangs on its value.
        let before = self.room.0.taken.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        before.saturating_add(bytes) <= self.room.0.most
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.0.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

const TOO_LARGE: Refusal = Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
const NO_ROOM: Refusal = Refusal::new(StatusCode::INSUFFICIENT_STORAGE, "no room for the body at present");
const NOT_KEPT: Refusal = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the body could not be kept");

/// A body on its way in.
pub(crate) struct Collector {
    /// What came since the last spill.
    memory: Vec<u8>,
    file: Option<File>,
    /// Bytes in the file.
    spilled: u64,
    taken: Taken,
}

impl Collector {
    /// `announced`: as long as the head says, if it says. Refused at once if that is more than may be.
    pub(crate) fn new(announced: Option<u64>, limits: &BodyLimits) -> Result<Collector, Refusal> {
        let announced = announced.unwrap_or(0);
        if announced > limits.body {
            return Err(TOO_LARGE);
        }
        if !limits.room.has(announced) {
            return Err(NO_ROOM);
        }
        let taken = Taken { room: limits.room.clone(), bytes: 0 };
        Ok(Collector { memory: Vec::new(), file: None, spilled: 0, taken })
    }

    /// How many more bytes fit into memory before some must be spilled.
    pub(crate) fn space(&self, limits: &BodyLimits) -> usize {
        // With no memory allowed a body still passes through it, a stretch at a time.
        let stretch = if self.file.is_some() { SPILL } else { limits.memory };
        stretch.saturating_sub(self.memory.len())
    }

    /// So many bytes more are announced: refused at once if that is more than may be.
    pub(crate) fn expect(&self, more: u64, limits: &BodyLimits) -> Result<(), Refusal> {
        if (self.spilled + self.memory.len() as u64).saturating_add(more) > limits.body {
            return Err(TOO_LARGE);
        }
        if !limits.room.has(more) {
            return Err(NO_ROOM);
        }
        Ok(())
    }

    /// Whether something waits in memory for the file.
    pub(crate) fn must_spill(&self) -> bool {
        self.file.is_some() && !self.memory.is_empty()
    }

    /// More of the body. It only touches memory.
    pub(crate) fn push(&mut self, bytes: &[u8], limits: &BodyLimits) -> Result<(), Refusal> {
        let length = bytes.len() as u64;
        if self.spilled + self.memory.len() as u64 + length > limits.body {
            return Err(TOO_LARGE);
        }
        if !self.taken.more(length) {
            return Err(NO_ROOM);
        }
        self.memory.extend_from_slice(bytes);
        Ok(())
    }

    /// Write to the file what is in memory. It touches the disk: only in a turn that may block.
    pub(crate) fn spill(&mut self, limits: &BodyLimits) -> Result<(), Refusal> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(&limits.folder).map_err(|err| not_kept(&err, limits))?),
        };
        file.write_all(&self.memory).map_err(|err| not_kept(&err, limits))?;
        self.spilled += self.memory.len() as u64;
        self.memory = Vec::new();
        Ok(())
    }

    pub(crate) fn finish(self) -> Body {
        let bytes = match self.file {
            Some(file) => Bytes::Spooled { file, length: self.spilled },
            None => Bytes::Memory(self.memory),
        };
        Body { bytes, _room: Some(self.taken) }
    }
}

/// How much is written to the file at a time.
const SPILL: usize = 64 * 1024;

fn not_kept(err: &io::Error, limits: &BodyLimits) -> Refusal {
    log::error!("a body can't be kept in {}: {err}", limits.folder.display());
    match err.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => NO_ROOM,
        _ => NOT_KEPT,
    }
}
