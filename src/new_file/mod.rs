//! New files: written without a name, and named when they are complete. Any level can use it: `files` stores
//! uploads with it, and `http` stores the bodies and parts of forms that a handler saves.
//!
//! A file is visible only when it is complete: until then it is unnamed (`O_TMPFILE`). One system call (`linkat`) gives
//! it a name, and fails if the name exists, even as a link. On a file system without unnamed files it first gets a name
//! that begins with [`PREFIX`], and only its owner has rights. Such files are never served, and are removed if the file
//! is not completed. A file is replaced by a rename: readers see the old one or the new one.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, fchmod, flock, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::mutex::lock;

pub(crate) mod removable;
pub(crate) mod sys;

pub(crate) const PREFIX: &str = ".modest-upload-";
/// The mode of any new file: the umask applies.
pub(crate) const MODE: Mode = Mode::from_raw_mode(0o666);
/// The mode of a file with a temporary name.
const PRIVATE: Mode = Mode::from_raw_mode(0o600);
/// How often an unused name is drawn, and how often a folder in which something is created is removed. If a sweep that
/// never pauses removes two of three files first, one creation in 10¹¹ fails.
pub(crate) const MAX_DRAWS: usize = 64;

#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    /// Its temporary name, on a file system without unnamed files.
    named: Mutex<Option<TemporaryName>>,
    written: AtomicU64,
}

#[derive(Debug)]
struct TemporaryName {
    folder: OwnedFd,
    name: String,
    /// The mode that the file gets with its own name.
    mode: Mode,
}

/// Returns the rights in `own` without those of group and others that `mode` doesn't have.
pub(crate) fn without_rights_beyond(own: Mode, mode: Mode) -> Mode {
    own & (mode | Mode::RWXU)
}

/// Whether unnamed files are used. Tests disable them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unnamed {
    IfThereAre,
    #[cfg(test)]
    Never,
}

impl NewFile {
    /// Creates an unnamed file in this folder. It can also be read.
    pub fn create(folder: &OwnedFd, unnamed: Unnamed) -> rustix::io::Result<NewFile> {
        let made = match unnamed {
            Unnamed::IfThereAre => sys::open_unnamed(folder, MODE),
            #[cfg(test)]
            Unnamed::Never => Err(Errno::OPNOTSUPP),
        };
        match made {
            Ok(file) => Ok(NewFile { file: file.into(), named: Mutex::new(None), written: AtomicU64::new(0) }),
            Err(Errno::OPNOTSUPP) => NewFile::create_named(folder),
            Err(errno) => Err(errno),
        }
    }

    fn create_named(folder: &OwnedFd) -> rustix::io::Result<NewFile> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let at = rustix::io::fcntl_dupfd_cloexec(folder, 0)?;
        let create = |mode| create_held(draw_name, |name| openat(folder, name, flags, mode));
        let (mut file, mut name) = create(MODE)?;
        let mode = mode_of(&file)?;
        if mode.intersects(Mode::RWXG | Mode::RWXO) {
            // Other users must not read what may replace a private file, and may already have opened this one. It was
            // needed for the mode of new files, which depends on the umask and the folder.
            drop(file);
            let _ = unlinkat(folder, &name, AtFlags::empty());
            (file, name) = create(PRIVATE)?;
        }
        let named = TemporaryName { folder: at, name, mode };
        Ok(NewFile { file: file.into(), named: Mutex::new(Some(named)), written: AtomicU64::new(0) })
    }

    #[cfg(test)]
    pub fn temporary_name(&self) -> Option<String> {
        lock(&self.named).as_ref().map(|named| named.name.clone())
    }

    pub fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Returns the file, to read what was written.
    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Gives it this name in this folder, on the same file system.
    ///
    /// # Errors
    /// `EXIST`: the name exists.
    pub fn name(&self, folder: impl AsFd + Copy, name: &[u8]) -> rustix::io::Result<()> {
        let mut named = lock(&self.named);
        match &*named {
            None => sys::link_unnamed(&self.file, folder, name),
            Some(temporary) => {
                // A file system without modes rejects this.
                let _ = fchmod(&self.file, temporary.mode);
                sys::rename_new(&temporary.folder, temporary.name.as_bytes(), folder, name)
                    .inspect_err(|_| _ = fchmod(&self.file, PRIVATE))?;
                *named = None;
                Ok(())
            }
        }
    }

    /// Takes the rights from group and others that they don't have with this mode. A file system without modes rejects
    /// it, and does not need it.
    pub fn restrict(&self, mode: Mode) {
        match &mut *lock(&self.named) {
            Some(temporary) => temporary.mode = without_rights_beyond(temporary.mode, mode),
            None => {
                let Ok(own) = mode_of(&self.file) else { return };
                let _ = fchmod(&self.file, without_rights_beyond(own, mode));
            }
        }
    }

    /// Replaces the file of that name, and takes over its mode: `chmod 640` survives an upload.
    pub fn replace(&self, folder: &OwnedFd, name: &[u8], mode: Option<Mode>) -> rustix::io::Result<()> {
        let mut named = lock(&self.named);
        let own = named.as_ref().map(|temporary| temporary.mode);
        if let Some(mode) = mode.map(|mode| mode & Mode::from_raw_mode(0o777)).or(own) {
            // Set before the file has a name. A file system without modes rejects the call, and does not need it.
            let _ = fchmod(&self.file, mode);
        }
        if let Some(temporary) = &*named {
            renameat(&temporary.folder, &temporary.name, folder, name)?;
            *named = None;
            return Ok(());
        }
        let _ = flock(&self.file, FlockOperation::NonBlockingLockExclusive); // a sweep leaves it alone
        let temporary = draw_name();
        sys::link_unnamed(&self.file, folder, &temporary)?;
        renameat(folder, &temporary, folder, name).inspect_err(|_| {
            // It keeps the temporary name, by which it can be renamed later. It is removed with this value.
            let at = rustix::io::fcntl_dupfd_cloexec(folder, 0).and_then(|folder| Ok((folder, mode_of(&self.file)?)));
            *named = at.ok().map(|(folder, mode)| TemporaryName { folder, name: temporary.clone(), mode });
            if named.is_none() {
                let _ = unlinkat(folder, &temporary, AtFlags::empty());
            }
        })
    }
}

fn mode_of(file: impl AsFd) -> rustix::io::Result<Mode> {
    Ok(Mode::from_raw_mode(rustix::fs::fstat(file)?.st_mode))
}

/// Removes the file if it is incomplete.
impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(TemporaryName { folder, name, .. }) =
            self.named.get_mut().unwrap_or_else(PoisonError::into_inner).take()
            && let Err(errno) = unlinkat(folder, &name, AtFlags::empty())
            && errno != Errno::NOENT
        {
            log::error!("can't remove the incomplete file {name}: {errno}");
        }
    }
}

impl Write for &NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = (&self.file).write(bytes)?;
        self.written.fetch_add(count as u64, Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Creates an entry with a hidden name, and locks it against sweeps. If a sweep has found it first, another is created.
pub(crate) fn create_held(
    draw: fn() -> String,
    create: impl Fn(&str) -> rustix::io::Result<OwnedFd>,
) -> rustix::io::Result<(OwnedFd, String)> {
    for _ in 0..MAX_DRAWS {
        let name = draw();
        let held = match create(&name) {
            Err(Errno::EXIST) => continue,
            held => held?,
        };
        match flock(&held, FlockOperation::NonBlockingLockExclusive) {
            // A sweep has locked it first, and removes it.
            Err(Errno::WOULDBLOCK) => {}
            // The sweep has removed it.
            _ if rustix::fs::fstat(&held).is_ok_and(|stat| stat.st_nlink == 0) => {}
            _ => return Ok((held, name)), // on a file system without locks there are no sweeps (see `sweep`)
        }
    }
    Err(Errno::EXIST)
}

/// Returns a random name, which is almost certainly unused and never served.
pub(crate) fn draw_name() -> String {
    format!("{PREFIX}{}", draw())
}

pub(crate) fn draw() -> String {
    format!("{:016x}", RandomState::new().hash_one(()))
}

#[cfg(test)]
pub(crate) mod tests;
