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
pub(super) const TIMESTAMP_TICK: Duration = Duration::from_millis(20);

/// How often a look-up that was disturbed by a rename somewhere is begun anew.
const MAX_RETRIES: usize = 32;

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
/// last one made, or a release that swaps a link, that one is opened instead: see [`Root::reopen_if_replaced`].
#[derive(Clone, Debug)]
pub(super) struct Root {
    location: Arc<RootLocation>,
    symlinks: Symlinks,
    path_check: PathCheck,
}

/// Where the folder stands, and what stands there.
#[derive(Debug)]
struct RootLocation {
    path: PathBuf,
    folder: RwLock<(Arc<OwnedFd>, Identity)>,
}

/// Device and inode.
type Identity = ((u32, u32), u64);

/// Who sees to it that a path stays beneath the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathCheck {
    /// The kernel, in the call that opens.
    Kernel,
    /// We do, folder by folder.
    Walk,
}

/// What stands at a path.
pub(super) enum Opened {
    File(File, FileStat),
    Folder,
}

/// Why nothing was opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// Nothing is there that could be served.
    NotFound,
    /// It is there, and we may not read it.
    Forbidden,
    /// Out of descriptors or memory: the same request may be answered in a moment.
    Busy(io::Error),
    /// Too much of the same is under way: later, perhaps.
    TooManyListings(io::Error),
    /// The disk failed.
    Io(io::Error),
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStat {
    pub kind: Kind,
    pub size: u64,
    pub modified: FileTime,
    /// The last change of anything, the inode too: no user sets it.
    pub changed: FileTime,
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
pub(super) struct FileTime {
    pub seconds: i64,
    pub nanos: u32,
}

impl Root {
    /// Open the folder.
    ///
    /// # Errors
    /// If it is missing, no folder, or may not be read; the error names it.
    pub fn open(root: &Path) -> io::Result<Root> {
        let (folder, identity) = open_root(root).map_err(|errno| root_error(root, errno))?;
        let probed = rustix::fs::openat2(&folder, ".", PATH_FLAGS, Mode::empty(), BENEATH);
        let path_check = if probed.is_ok() { PathCheck::Kernel } else { PathCheck::Walk };
        log::debug!(target: "modest::files", "{}: paths are checked by {path_check:?}", root.display());
        // The current folder may change; what was meant by a relative path does not.
        let path = std::path::absolute(root)?;
        let location = RootLocation { path, folder: RwLock::new((Arc::new(folder), identity)) };
        Ok(Root { location: Arc::new(location), symlinks: Symlinks::default(), path_check })
    }

    /// See whether the folder still stands in its place, and take the one that stands there now.
    /// Where none does, the old one is kept: it may be on its way.
    pub fn reopen_if_replaced(&self) {
        let Ok(found) = stat(CWD, self.location.path.as_os_str().as_bytes(), AtFlags::empty()) else { return };
        if found.identity() == self.location.folder.read().unwrap_or_else(PoisonError::into_inner).1 {
            return;
        }
        if let Ok((folder, identity)) = open_root(&self.location.path) {
            log::debug!(target: "modest::files", "{}: another folder stands there now", self.location.path.display());
            *self.location.folder.write().unwrap_or_else(PoisonError::into_inner) = (Arc::new(folder), identity);
        }
    }

    fn folder(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.location.folder.read().unwrap_or_else(PoisonError::into_inner).0)
    }

    pub fn set_symlinks(&mut self, which: Symlinks) {
        self.symlinks = which;
    }

    #[cfg(test)]
    pub fn set_path_check(&mut self, path_check: PathCheck) {
        self.path_check = path_check;
    }

    /// What stands at a path, by a mere look: quick, but somebody may have led it out of the folder by a link.
    /// It is enough to see that what was opened safely before is still what stands there, and to leave alone
    /// what must not be opened.
    pub fn stat_unchecked(&self, path: &[u8]) -> io::Result<FileStat> {
        let links = if self.symlinks == Symlinks::Deny { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() };
        Ok(stat(self.folder(), or_dot(path), links)?)
    }

    /// What stands at a path, safely: nothing is opened for reading.
    pub fn stat_checked(&self, path: &[u8]) -> Result<FileStat, OpenError> {
        let found = self.open_path(path, PATH_FLAGS)?;
        Ok(stat_of(&found)?)
    }

    /// Open a regular file for reading, or find a folder.
    pub fn open_at(&self, path: &[u8]) -> Result<Opened, OpenError> {
        // To open a FIFO sets its writer free and to open a device may do anything: look first. If it is swapped
        // for one after the look, it is opened without waiting, seen, and closed again.
        match self.stat_unchecked(path)?.kind {
            Kind::Folder if self.stat_checked(path)?.kind == Kind::Folder => return Ok(Opened::Folder),
            Kind::Folder | Kind::File => {}
            Kind::Link | Kind::Other => return Err(OpenError::NotFound),
        }
        let file = self.open_path(path, READ_FLAGS)?;
        let stat = stat_of(&file)?;
        match stat.kind {
            Kind::File => Ok(Opened::File(File::from(file), stat)),
            Kind::Folder => Ok(Opened::Folder),
            Kind::Link | Kind::Other => Err(OpenError::NotFound),
        }
    }

    /// Open a folder for reading its names.
    pub fn open_folder(&self, path: &[u8]) -> Result<OwnedFd, OpenError> {
        Ok(self.open_path(path, READ_FLAGS | OFlags::DIRECTORY)?)
    }

    /// Open what stands at a path, as far as links are followed at all.
    fn open_path(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        match self.symlinks {
            Symlinks::Deny => self.open_without_links(path, flags),
            Symlinks::WithinRoot => self.open_within_root(path, flags),
            Symlinks::Follow => rustix::fs::openat(self.folder(), or_dot(path), flags, Mode::empty()),
        }
    }

    /// Open it if every link on the way stays within the folder.
    fn open_within_root(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let found =
            self.try_openat2(path, flags, BENEATH).or_else(|errno| self.walk_if_unsupported(errno, path, flags));
        match found {
            Err(errno @ (Errno::XDEV | Errno::LOOP | Errno::NOTDIR)) => {
                let target = self.resolve(path).filter(|target| target != path).ok_or(errno)?;
                self.open_without_links(&target, flags)
            }
            found => found,
        }
    }

    /// Open it if no link stands on the way, and none at its end.
    fn open_without_links(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let found = self.try_openat2(path, flags, BENEATH.union(ResolveFlags::NO_SYMLINKS));
        found.or_else(|errno| self.walk_if_unsupported(errno, path, flags))
    }

    fn try_openat2(&self, path: &[u8], flags: OFlags, resolve: ResolveFlags) -> rustix::io::Result<OwnedFd> {
        if self.path_check == PathCheck::Walk {
            return Err(Errno::NOSYS);
        }
        let root = self.folder();
        let mut retries = 0;
        loop {
            // Any rename in the system may disturb a look-up beneath a folder: openat2(2), EAGAIN.
            match rustix::fs::openat2(&root, or_dot(path), flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) if retries < MAX_RETRIES => retries += 1,
                found => return found,
            }
        }
    }

    /// The kernel, or a sandbox that came after the start, does not know `openat2`: do what it would do.
    fn walk_if_unsupported(&self, errno: Errno, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
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
            folder = Some(open_entry(folder.as_ref().unwrap_or(&root), name, PATH_FLAGS | OFlags::DIRECTORY)?);
        }
        let found = open_entry(folder.as_ref().unwrap_or(&root), last, flags)?;
        // `O_PATH` opens a link itself.
        let is_link = flags.contains(OFlags::PATH) && stat_of(&found)?.kind == Kind::Link;
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

fn open_entry(folder: &OwnedFd, name: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    if matches!(name, b"" | b"." | b"..") {
        return Err(Errno::NOENT);
    }
    rustix::fs::openat(folder, name, flags | OFlags::NOFOLLOW, Mode::empty())
}

fn open_root(path: &Path) -> rustix::io::Result<(OwnedFd, Identity)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    let identity = stat_of(&folder)?.identity();
    Ok((folder, identity))
}

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);
/// Only find it. `openat2` takes no flag beside this one that speaks of reading.
const PATH_FLAGS: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
/// Never wait in an open, and never take a terminal.
const READ_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

impl FileStat {
    fn identity(&self) -> Identity {
        (self.device, self.inode)
    }

    /// Whether the last change was so shortly before `now` that another could follow and look the same:
    /// clocks of file systems tick every 4 to 10 ms, and those without nanoseconds every second or two.
    pub fn is_recent(&self, now: SystemTime) -> bool {
        let tick = if self.changed.nanos == 0 { Duration::from_secs(2) } else { TIMESTAMP_TICK };
        FileTime::from(now) < self.changed.plus(tick)
    }
}

impl FileTime {
    /// As the library's clock has it, if it goes that far.
    pub fn to_system_time(self) -> Option<SystemTime> {
        let whole = Duration::from_secs(self.seconds.unsigned_abs());
        let start = if self.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
        start?.checked_add(Duration::from_nanos(u64::from(self.nanos)))
    }

    fn plus(self, by: Duration) -> FileTime {
        let nanos = self.nanos + by.subsec_nanos();
        let seconds = self.seconds.saturating_add(by.as_secs() as i64).saturating_add(i64::from(nanos / 1_000_000_000));
        FileTime { seconds, nanos: nanos % 1_000_000_000 }
    }
}

impl From<SystemTime> for FileTime {
    fn from(time: SystemTime) -> FileTime {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => FileTime { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() },
            Err(_) => FileTime { seconds: 0, nanos: 0 }, // a clock before 1970 is wrong anyway
        }
    }
}

impl From<Errno> for OpenError {
    fn from(errno: Errno) -> OpenError {
        match errno {
            Errno::ACCESS | Errno::PERM => OpenError::Forbidden,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN => OpenError::Busy(errno.into()),
            Errno::IO | Errno::NOTCONN | Errno::TIMEDOUT => OpenError::Io(errno.into()),
            // Not there, a way out, a loop, a socket, a name no file system takes ..
            _ => OpenError::NotFound,
        }
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> OpenError {
        match Errno::from_io_error(&error) {
            Some(errno) => OpenError::from(errno),
            None => OpenError::Io(error),
        }
    }
}

/// What an open file is.
pub(super) fn stat_of(file: impl std::os::fd::AsFd) -> rustix::io::Result<FileStat> {
    stat(file, b"", AtFlags::EMPTY_PATH)
}

/// What a name in an open folder is; a link is a link.
pub(super) fn stat_in(folder: &OwnedFd, name: &[u8]) -> rustix::io::Result<FileStat> {
    stat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
}

fn stat(at: impl std::os::fd::AsFd, path: &[u8], flags: AtFlags) -> rustix::io::Result<FileStat> {
    let found = rustix::fs::statx(at, path, flags | AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS)?;
    Ok(FileStat::from(found))
}

impl From<Statx> for FileStat {
    fn from(found: Statx) -> FileStat {
        let kind = match FileType::from_raw_mode(u32::from(found.stx_mode)) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Link,
            _ => Kind::Other,
        };
        FileStat {
            kind,
            size: found.stx_size,
            modified: FileTime { seconds: found.stx_mtime.tv_sec, nanos: found.stx_mtime.tv_nsec },
            changed: FileTime { seconds: found.stx_ctime.tv_sec, nanos: found.stx_ctime.tv_nsec },
            device: (found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
        }
    }
}

fn or_dot(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

fn root_error(root: &Path, errno: Errno) -> io::Error {
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
