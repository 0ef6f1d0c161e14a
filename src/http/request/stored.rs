//! A stored body: in memory up to a limit, and otherwise in an unnamed temporary file. Written by `incoming` through a
//! `BodyWriter`, read through `body`. Memory is allocated for received bytes, never for an announced length. `decoder`
//! handles framing.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::CWD;
use rustix::io::Errno;

use super::quotas::{BodyLimits, Medium, Reservation, TOO_LARGE};
use super::saved_file::{SavePath, SavedFile};
use super::write_errors::{self, NO_SPACE};
use crate::http::error::Error;
use crate::http::rejection::Rejection;
use crate::new_file::sys::link_unnamed;
use crate::tcp::Contained;

/// A complete body. Several readers can read it concurrently.
#[derive(Default)]
pub(crate) struct StoredBody {
    storage: Storage,
    /// Released when the body is dropped.
    reservation: Option<Arc<Reservation>>,
}

enum Storage {
    Memory(Vec<u8>),
    Spooled {
        file: File,
        length: u64,
    },
    /// The body was written to the handler's writer.
    Elsewhere {
        length: u64,
    },
}

impl Default for Storage {
    fn default() -> Storage {
        Storage::Memory(Vec::new())
    }
}

impl StoredBody {
    pub(crate) fn len(&self) -> u64 {
        match &self.storage {
            Storage::Memory(bytes) => bytes.len() as u64,
            Storage::Spooled { length, .. } | Storage::Elsewhere { length } => *length,
        }
    }

    /// Returns a second handle of the body. Bytes in memory are copied; a temporary file is shared, including its
    /// reservation.
    pub(crate) fn try_clone(&self) -> io::Result<StoredBody> {
        let storage = match &self.storage {
            Storage::Memory(bytes) => Storage::Memory(bytes.clone()),
            Storage::Spooled { file, length } => Storage::Spooled { file: file.try_clone()?, length: *length },
            Storage::Elsewhere { length } => Storage::Elsewhere { length: *length },
        };
        Ok(StoredBody { storage, reservation: self.reservation.clone() })
    }

    /// Returns all bytes: borrowed if they are in memory, else read from the temporary file.
    pub(crate) fn bytes(&self) -> io::Result<Cow<'_, [u8]>> {
        match &self.storage {
            Storage::Memory(bytes) => Ok(Cow::Borrowed(bytes)),
            Storage::Spooled { length, .. } => {
                let mut all = Vec::with_capacity(*length as usize); // it has arrived, so it is within the limits
                self.copy_to(&mut all)?;
                Ok(Cow::Owned(all))
            }
            Storage::Elsewhere { length: 0 } => Ok(Cow::Borrowed(&[])),
            Storage::Elsewhere { .. } => Err(elsewhere()),
        }
    }

    pub(crate) fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        match &self.storage {
            Storage::Memory(bytes) => (&bytes[at as usize..]).read(buffer),
            Storage::Spooled { file, length } => {
                let max = usize::try_from(length - at).unwrap_or(usize::MAX).min(buffer.len());
                match file.read_at(&mut buffer[..max], at)? {
                    0 if max > 0 => {
                        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the temporary file of the body is too short"))
                    }
                    count => Ok(count),
                }
            }
            Storage::Elsewhere { length } if at < *length => Err(elsewhere()),
            Storage::Elsewhere { .. } => Ok(0),
        }
    }

    /// Gives the body a name. A temporary file is linked. If that is not possible, or if the body is in memory, a new
    /// file is written.
    pub(crate) fn persist(&self, path: &Path) -> io::Result<()> {
        if let Storage::Spooled { file, .. } = &self.storage {
            match link_unnamed(file, CWD, path) {
                Ok(()) => return Ok(()),
                Err(Errno::EXIST) => return Err(Errno::EXIST.into()),
                // Linking fails across file systems (EXDEV), on systems and file systems without links or unnamed
                // files, and without /proc. Then the file is copied. If that also fails, the error of copying is
                // returned, because it is clearer.
                Err(err) => log::debug!("a body is copied to {}, as it can't be linked: {err}", path.display()),
            }
        }
        let copy = SavedFile::create(SavePath::at(path.to_owned())?)?;
        self.copy_to(&mut &copy.file)?;
        copy.complete().map(drop)
    }

    fn copy_to(&self, to: &mut impl Write) -> io::Result<()> {
        let (mut piece, mut at) = (vec![0; SPOOL_SIZE.min(self.len() as usize)], 0);
        loop {
            let count = self.read_at(&mut piece, at)?;
            if count == 0 {
                return Ok(());
            }
            to.write_all(&piece[..count])?;
            at += count as u64;
        }
    }

    pub(crate) fn from_bytes(bytes: Vec<u8>) -> StoredBody {
        StoredBody { storage: Storage::Memory(bytes), reservation: None }
    }
}

impl fmt::Debug for StoredBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.storage {
            Storage::Memory(_) => "in memory",
            Storage::Spooled { .. } => "in a file",
            Storage::Elsewhere { .. } => "written as they arrived",
        };
        write!(f, "Body({} bytes, {place})", self.len())
    }
}

/// Creates a file without a name. On a file system without unnamed files, it removes the name at once. Errors come
/// directly from the kernel, so that callers can recognize a lack of descriptors. (Errors of `NamedTempFile` have no
/// error number.)
fn unnamed_file(folder: &Path) -> io::Result<File> {
    let open = |path: &Path| File::options().read(true).write(true).create_new(true).mode(0o600).open(path);
    let named = || Ok(tempfile::Builder::new().make_in(folder, open)?.into_file());
    tempfile::tempfile_in(folder).or_else(|_| named())
}

fn elsewhere() -> io::Error {
    io::Error::other("the body was written while it arrived (`BodyPlan::save_to`), so the request does not have it")
}

/// Stores a body that is being received: in memory, and from there in a file.
pub(crate) struct BodyWriter {
    /// Bytes received since the last write to the file.
    memory: Vec<u8>,
    sink: Sink,
    /// How many bytes were written to the sink.
    spooled: u64,
    /// How many bytes are reserved: received bytes, and announced ones up to [`AHEAD`]. `u64::MAX` if the body does not
    /// use the server's quotas.
    reserved: u64,
    reservation: Reservation,
    /// Whether bytes must be written before more are accepted, because the memory quota has no room.
    pub(crate) is_urgent: bool,
}

/// A writer of a handler, which gets all bytes of a body.
pub(crate) trait Destination: Write + Send {
    /// Called after the last byte.
    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The writer of a handler, whose destructor can panic.
pub(crate) type GivenWriter = Contained<Box<dyn Destination>>;

/// A writer that needs no call after the last byte.
pub(crate) struct Endless<W>(pub W);

impl<W: Write> Write for Endless<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write + Send> Destination for Endless<W> {}

enum Sink {
    None,
    File(File),
    /// The handler's writer, which gets all bytes.
    Given(GivenWriter),
    /// The handler's writer got all bytes, and was dropped.
    Closed,
}

impl BodyWriter {
    /// Creates a writer. `announced`: the Content-Length, if there is one. Rejects the body at once if it exceeds the
    /// limit, or if there is no room for this many bytes. The first [`AHEAD`] bytes are reserved now. Later bytes, and
    /// the bytes of a body without a length, are reserved as they arrive. `given`: gets all bytes, which then do not
    /// use the server's quotas.
    pub(crate) fn new(
        announced: Option<u64>,
        given: Option<GivenWriter>,
        limits: &BodyLimits,
    ) -> Result<BodyWriter, Rejection> {
        let mut reservation = Reservation::new(&limits.quotas);
        let length = announced.unwrap_or(0);
        if length > limits.body {
            return Err(TOO_LARGE);
        }
        let ahead = length.min(AHEAD.max(limits.memory as u64));
        let (sink, reserved, has_room) = match given {
            Some(writer) => (Sink::Given(writer), u64::MAX, true),
            None if length <= limits.memory as u64 => (Sink::None, ahead, reservation.grow(ahead)),
            None => {
                let has_room = limits.quotas.have_room_in_files(length) && reservation.move_to_file(ahead);
                (Sink::None, ahead, has_room)
            }
        };
        if !has_room {
            return Err(NO_SPACE);
        }
        Ok(BodyWriter { memory: Vec::new(), sink, spooled: 0, reserved, reservation, is_urgent: false })
    }

    /// Returns how many more bytes fit in memory before they must be written to the file.
    pub(crate) fn available(&self, limits: &BodyLimits) -> usize {
        // Even if no memory is allowed, each piece of a body passes through it.
        let capacity = match self.reservation.place {
            _ if !matches!(self.sink, Sink::None) => SPOOL_SIZE,
            Medium::File => limits.memory.min(SPOOL_SIZE),
            Medium::Memory => limits.memory,
        };
        capacity.saturating_sub(self.memory.len())
    }

    /// Rejects the body if it exceeds a limit with `more` announced bytes after the received ones.
    pub(crate) fn check_announced(&self, more: u64, limits: &BodyLimits) -> Result<(), Rejection> {
        let length = self.received().saturating_add(more);
        if length > limits.body {
            return Err(TOO_LARGE);
        }
        if !limits.quotas.allow(length.saturating_sub(self.reserved)) {
            return Err(NO_SPACE);
        }
        Ok(())
    }

    pub(crate) fn received(&self) -> u64 {
        self.spooled + self.memory.len() as u64
    }

    /// Returns whether a complete body needs another call of `spool`, because bytes are still to be written or the
    /// handler's writer is to be dropped.
    pub(crate) fn must_spool(&self) -> bool {
        self.is_written() && !self.memory.is_empty() || matches!(self.sink, Sink::Given(_))
    }

    /// Ends and drops the handler's writer after all bytes were written. May block.
    pub(crate) fn close(&mut self) -> Result<(), Error> {
        match std::mem::replace(&mut self.sink, Sink::Closed) {
            Sink::Given(mut writer) => writer.end().map_err(write_errors::of_writer),
            other => {
                self.sink = other;
                Ok(())
            }
        }
    }

    fn is_written(&self) -> bool {
        self.reservation.place == Medium::File || matches!(self.sink, Sink::Given(_))
    }

    /// Appends received bytes in memory. Does not access the disk.
    pub(crate) fn push(&mut self, bytes: &[u8], limits: &BodyLimits) -> Result<(), Rejection> {
        let length = bytes.len() as u64;
        let received = self.received() + length;
        if received > limits.body {
            return Err(TOO_LARGE);
        }
        if received > self.reserved {
            if !self.reservation.grow(received - self.reserved) {
                return Err(NO_SPACE);
            }
            self.reserved = received;
        }
        self.memory.extend_from_slice(bytes);
        if self.is_written() {
            self.is_urgent |= !self.reservation.pend(length);
        }
        Ok(())
    }

    /// Writes the bytes in memory to the file. May block on the disk.
    pub(crate) fn spool(&mut self, limits: &BodyLimits) -> Result<(), Error> {
        if let Sink::Given(writer) = &mut self.sink {
            let written = writer.write_all(&self.memory).and_then(|()| writer.flush());
            written.map_err(write_errors::of_writer)?;
        } else {
            if self.reservation.place == Medium::Memory && !self.reservation.move_to_file(0) {
                return Err(NO_SPACE.into());
            }
            self.write_to_file(limits).map_err(|err| write_errors::of_spool(&err, &limits.folder))?;
        }
        self.spooled += self.memory.len() as u64;
        self.memory = Vec::new();
        self.reservation.end_pending();
        self.is_urgent = false;
        Ok(())
    }

    fn write_to_file(&mut self, limits: &BodyLimits) -> io::Result<()> {
        if let Sink::None = self.sink {
            self.sink = Sink::File(unnamed_file(&limits.folder)?);
        }
        match &mut self.sink {
            Sink::File(file) => file.write_all(&self.memory),
            Sink::Given(_) | Sink::Closed | Sink::None => Ok(()), // the body is in a file now
        }
    }

    pub(crate) fn finish(self) -> StoredBody {
        let storage = match self.sink {
            Sink::File(file) => Storage::Spooled { file, length: self.spooled },
            Sink::Given(_) | Sink::Closed => Storage::Elsewhere { length: self.spooled },
            Sink::None => Storage::Memory(self.memory),
        };
        StoredBody { storage, reservation: Some(Arc::new(self.reservation)) }
    }
}

/// How many announced bytes are reserved before they arrive. So bodies of usual size are not rejected half-way, and a
/// client that announces long bodies without sending them uses little of the quota.
const AHEAD: u64 = 16 << 20;

/// How many bytes are written to the file at a time.
const SPOOL_SIZE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::super::quotas::BodyQuotas;
    use super::*;

    /// A client that announces a long body and sends little uses little of the quota.
    #[test]
    fn announced_bytes_are_reserved_only_for_a_while() {
        const MIB: u64 = 1 << 20;
        let limits = BodyLimits { body: 512 * MIB, quotas: BodyQuotas::new(MIB, 64 * MIB), ..BodyLimits::default() };
        let new = |length: u64| BodyWriter::new(Some(length), None, &limits);
        assert!(new(65 * MIB).is_err_and(|rejection| rejection.status == 507), "a body over the quota gets 507");
        let mut long = new(60 * MIB).unwrap();
        let others: Vec<_> = (0..3).map(|_| new(16 * MIB).unwrap()).collect();
        assert!(new(MIB).is_err_and(|rejection| rejection.status == 507));
        let piece = vec![b'x'; MIB as usize];
        let mut push = |count: usize| {
            (0..count).try_for_each(|_| {
                long.push(&piece, &limits)?;
                long.memory.clear(); // as if it had been written
                long.spooled += MIB;
                Ok::<_, Rejection>(())
            })
        };
        assert!(push(16).is_ok(), "reserved");
        assert!(push(1).is_err_and(|rejection| rejection.status == 507), "a quota that others have used up gives 507");
        drop(others);
        assert!(push(44).is_ok());
    }
}
