//! Opening beneath the folder: nothing outside is ever opened, and only regular files and folders are. Called by `find`,
//! `prepare` and `listing`; it calls the kernel, and never decides what is hidden or how a thing is answered.
//!
//! Check and open are one act: `openat2` with `RESOLVE_BENEATH` resolves the path and refuses a way out in one call,
//! so that no swap of a name in between wins anything. Where the kernel or a sandbox refuses that call
//! (Linux before 5.6, old container profiles) the path is walked folder by folder with `O_NOFOLLOW`.
//!
//! A link that the kernel does not follow beneath the folder may still lead to something in it: an absolute one,
//! and in the walk every one. Such a link is resolved by name, which proves nothing, and the name it
//! leads to is opened without following any link, which does.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::io::Errno;

/// How far apart two changes must be for their times to differ, at most, where times have nanoseconds.
pub(super) const TICK: Duration = Duration::from_millis(20);

/// How often a look-up that was disturbed by a rename somewhere is begun anew.
const TRIES: usize = 32;

/// Which symbolic links are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Symlinks {
    /// None: whatever has a link on its way is missing.
    Deny,
    /// Those that lead to something within the folder; all others are missing.
    #[default]
    WithinRoot,
    /// All of them, wherever they lead.
    Follow,
}

/// The folder, held open. If another stands in its place, as after each build that begins by removing what the
/// last one made, or a release that swaps a link, that one is opened instead: see [`Root::keep_up`].
#[derive(Clone, Debug)]
pub(super) struct Root {
    place: Arc<Place>,
    symlinks: Symlinks,
    way: Way,
}

/// Where the folder stands, and what stands there.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    folder: RwLock<(Arc<OwnedFd>, Identity)>,
}

/// Device and inode.
type Identity = ((u32, u32), u64);

/// Who sees to it that a path stays beneath the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The kernel, in the call that opens.
    Kernel,
    /// We do, folder by folder.
    Walk,
}

/// What stands at a path.
pub(super) enum Opened {
    File(File, Stamp),
    Folder,
}

/// Why nothing was opened.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Nothing is there that could be served.
    Missing,
    /// It is there, and we may not read it.
    Forbidden,
    /// Out of descriptors or memory: the same request may be answered in a moment.
    Busy(io::Error),
    /// Too much of the same is under way: later, perhaps.
    Crowded(io::Error),
    /// The disk failed.
    Broken(io::Error),
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub kind: Kind,
    pub size: u64,
    pub modified: Time,
    /// The last change of anything, the inode too: no user sets it.
    pub changed: Time,
    device: (u32, u32),
    inode: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
    /// FIFOs, sockets, devices.
    Other,
}

/// Seconds since 1970, and nanoseconds forward from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time {
    pub seconds: i64,
    pub nanos: u32,
}

impl Root {
    /// Open the folder.
    ///
    /// # Errors
    /// If it is missing, no folder, or may not be read; the error names it.
    pub fn open(root: &Path) -> io::Result<Root> {
        let (folder, identity) = open_root(root).map_err(|errno| unusable(root, errno))?;
        let asked = rustix::fs::openat2(&folder, ".", FIND, Mode::empty(), BENEATH);
        let way = if asked.is_ok() { Way::Kernel } else { Way::Walk };
        log::debug!(target: "modest::files", "{}: paths are checked by {way:?}", root.display());
        // The current folder may change; what was meant by a relative path does not.
        let path = std::path::absolute(root)?;
        let place = Place { path, folder: RwLock::new((Arc::new(folder), identity)) };
        Ok(Root { place: Arc::new(place), symlinks: Symlinks::default(), way })
    }

    /// See whether the folder still stands in its place, and take the one that stands there now.
    /// Where none does, the old one is kept: it may be on its way.
    pub fn keep_up(&self) {
        let Ok(found) = stat(CWD, self.place.path.as_os_str().as_bytes(), AtFlags::empty()) else { return };
        if found.identity() == self.place.folder.read().unwrap_or_else(PoisonError::into_inner).1 {
            return;
        }
        if let Ok((folder, identity)) = open_root(&self.place.path) {
            log::debug!(target: "modest::files", "{}: another folder stands there now", self.place.path.display());
            *self.place.folder.write().unwrap_or_else(PoisonError::into_inner) = (Arc::new(folder), identity);
        }
    }

    fn folder(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.place.folder.read().unwrap_or_else(PoisonError::into_inner).0)
    }

    pub fn set_symlinks(&mut self, which: Symlinks) {
        self.symlinks = which;
    }

    #[cfg(test)]
    pub fn set_way(&mut self, way: Way) {
        self.way = way;
    }

    /// What stands at a path, by a mere look: quick, but somebody may have led it out of the folder by a link.
    /// It is enough to see that what was opened safely before is still what stands there, and to leave alone
    /// what must not be opened.
    pub fn look(&self, path: &[u8]) -> io::Result<Stamp> {
        let links = if self.symlinks == Symlinks::Deny { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() };
        Ok(stat(self.folder(), or_dot(path), links)?)
    }

    /// What stands at a path, safely: nothing is opened for reading.
    pub fn probe(&self, path: &[u8]) -> Result<Stamp, Refusal> {
        let found = self.reach(path, FIND)?;
        Ok(stamp_of(&found)?)
    }

    /// Open a regular file for reading, or find a folder.
    pub fn open_at(&self, path: &[u8]) -> Result<Opened, Refusal> {
        // To open a FIFO sets its writer free and to open a device may do anything: look first. If it is swapped
        // for one after the look, it is opened without waiting, seen, and closed again.
        match self.look(path)?.kind {
            Kind::Folder if self.probe(path)?.kind == Kind::Folder => return Ok(Opened::Folder),
            Kind::Folder | Kind::File => {}
            Kind::Link | Kind::Other => return Err(Refusal::Missing),
        }
        let file = self.reach(path, READ)?;
        let stamp = stamp_of(&file)?;
        match stamp.kind {
            Kind::File => Ok(Opened::File(File::from(file), stamp)),
            Kind::Folder => Ok(Opened::Folder),
            Kind::Link | Kind::Other => Err(Refusal::Missing),
        }
    }

    /// Open a folder for reading its names.
    pub fn open_folder(&self, path: &[u8]) -> Result<OwnedFd, Refusal> {
        Ok(self.reach(path, READ | OFlags::DIRECTORY)?)
    }

    /// Open what stands at a path, as far as links are followed at all.
    fn reach(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        match self.symlinks {
            Symlinks::Deny => self.strictly(path, flags),
            Symlinks::WithinRoot => self.within(path, flags),
            Symlinks::Follow => rustix::fs::openat(self.folder(), or_dot(path), flags, Mode::empty()),
        }
    }

    /// Open it if every link on the way stays within the folder.
    fn within(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let found = self.ask_kernel(path, flags, BENEATH).or_else(|errno| self.walk_if_refused(errno, path, flags));
        match found {
            Err(errno @ (Errno::XDEV | Errno::LOOP | Errno::NOTDIR)) => {
                let target = self.resolve(path).filter(|target| target != path).ok_or(errno)?;
                self.strictly(&target, flags)
            }
            found => found,
        }
    }

    /// Open it if no link stands on the way, and none at its end.
    fn strictly(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let found = self.ask_kernel(path, flags, BENEATH.union(ResolveFlags::NO_SYMLINKS));
        found.or_else(|errno| self.walk_if_refused(errno, path, flags))
    }

    fn ask_kernel(&self, path: &[u8], flags: OFlags, resolve: ResolveFlags) -> rustix::io::Result<OwnedFd> {
        if self.way == Way::Walk {
            return Err(Errno::NOSYS);
        }
        let root = self.folder();
        let mut tries = 0;
        loop {
            // Any rename in the system may disturb a look-up beneath a folder: openat2(2), EAGAIN.
            match rustix::fs::openat2(&root, or_dot(path), flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) if tries < TRIES => tries += 1,
                found => return found,
            }
        }
    }

    /// The kernel, or a sandbox that came after the start, does not know `openat2`: do what it would do.
    fn walk_if_refused(&self, errno: Errno, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        if matches!(errno, Errno::NOSYS | Errno::PERM) { self.walk(path, flags) } else { Err(errno) }
    }

    /// From folder to folder, following no link.
    fn walk(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let root = self.folder();
        if path.is_empty() {
            return rustix::fs::openat(&root, ".", flags, Mode::empty());
        }
        let mut names = path.split(|&byte| byte == b'/');
        let last = names.next_back().unwrap_or_default();
        let mut folder = None;
        for name in names {
            folder = Some(enter(folder.as_ref().unwrap_or(&root), name, FIND | OFlags::DIRECTORY)?);
        }
        let found = enter(folder.as_ref().unwrap_or(&root), last, flags)?;
        // `O_PATH` opens a link itself.
        let is_link = flags.contains(OFlags::PATH) && stamp_of(&found)?.kind == Kind::Link;
        if is_link { Err(Errno::LOOP) } else { Ok(found) }
    }

    /// Where a path leads through its links, as a path beneath the folder. By the time it is used it may be wrong.
    fn resolve(&self, path: &[u8]) -> Option<Vec<u8>> {
        let root = std::fs::read_link(format!("/proc/self/fd/{}", self.folder().as_raw_fd())).ok()?;
        let target = std::fs::canonicalize(root.join(std::ffi::OsStr::from_bytes(path))).ok()?;
        let beneath = target.strip_prefix(&root).ok()?;
        Some(beneath.as_os_str().to_owned().into_vec())
    }
}

fn enter(folder: &OwnedFd, name: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    if matches!(name, b"" | b"." | b"..") {
        return Err(Errno::NOENT);
    }
    rustix::fs::openat(folder, name, flags | OFlags::NOFOLLOW, Mode::empty())
}

fn open_root(path: &Path) -> rustix::io::Result<(OwnedFd, Identity)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    let identity = stamp_of(&folder)?.identity();
    Ok((folder, identity))
}

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);
/// Only find it. `openat2` takes no flag beside this one that speaks of reading.
const FIND: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
/// Never wait in an open, and never take a terminal.
const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

impl Stamp {
    fn identity(&self) -> Identity {
        (self.device, self.inode)
    }

    /// Whether the last change was so shortly before `now` that another could follow and look the same:
    /// clocks of file systems tick every 4 to 10 ms, and those without nanoseconds every second or two.
    pub fn is_young(&self, now: SystemTime) -> bool {
        let tick = if self.changed.nanos == 0 { Duration::from_secs(2) } else { TICK };
        Time::from(now) < self.changed.later(tick)
    }
}

impl Time {
    /// As the library's clock has it, if it goes that far.
    pub fn system(self) -> Option<SystemTime> {
        let whole = Duration::from_secs(self.seconds.unsigned_abs());
        let start = if self.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
        start?.checked_add(Duration::from_nanos(u64::from(self.nanos)))
    }

    fn later(self, by: Duration) -> Time {
        let nanos = self.nanos + by.subsec_nanos();
        let seconds = self.seconds.saturating_add(by.as_secs() as i64).saturating_add(i64::from(nanos / 1_000_000_000));
        Time { seconds, nanos: nanos % 1_000_000_000 }
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Time {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => Time { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() },
            Err(_) => Time { seconds: 0, nanos: 0 }, // a clock before 1970 is wrong anyway
        }
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Refusal {
        match errno {
            Errno::ACCESS | Errno::PERM => Refusal::Forbidden,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN => Refusal::Busy(errno.into()),
            Errno::IO | Errno::NOTCONN | Errno::TIMEDOUT => Refusal::Broken(errno.into()),
            // Not there, a way out, a loop, a socket, a name no file system takes ..
            _ => Refusal::Missing,
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        match Errno::from_io_error(&error) {
            Some(errno) => Refusal::from(errno),
            None => Refusal::Broken(error),
        }
    }
}

/// What an open file is.
pub(super) fn stamp_of(file: impl std::os::fd::AsFd) -> rustix::io::Result<Stamp> {
    stat(file, b"", AtFlags::EMPTY_PATH)
}

/// What a name in an open folder is; a link is a link.
pub(super) fn stamp_in(folder: &OwnedFd, name: &[u8]) -> rustix::io::Result<Stamp> {
    stat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
}

fn stat(at: impl std::os::fd::AsFd, path: &[u8], flags: AtFlags) -> rustix::io::Result<Stamp> {
    let found = rustix::fs::statx(at, path, flags | AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS)?;
    Ok(Stamp::from(found))
}

impl From<Statx> for Stamp {
    fn from(found: Statx) -> Stamp {
        let kind = match FileType::from_raw_mode(u32::from(found.stx_mode)) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Link,
            _ => Kind::Other,
        };
        Stamp {
            kind,
            size: found.stx_size,
            modified: Time { seconds: found.stx_mtime.tv_sec, nanos: found.stx_mtime.tv_nsec },
            changed: Time { seconds: found.stx_ctime.tv_sec, nanos: found.stx_ctime.tv_nsec },
            device: (found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
        }
    }
}

fn or_dot(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

fn unusable(root: &Path, errno: Errno) -> io::Error {
    let error = io::Error::from(errno);
    let reason = match errno {
        Errno::NOENT => "no such folder".to_owned(),
        Errno::NOTDIR => "not a folder".to_owned(),
        Errno::ACCESS | Errno::PERM => "the folder may not be read".to_owned(),
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("{}: {reason}", root.display()))
}

#[cfg(test)]
mod tests;
