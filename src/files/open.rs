//! Opens files beneath the folder, never outside it, and only regular files and folders. Called by `find`,
//! `prepare` and `listing`; it does not decide what is hidden or how a file is sent.
//!
//! Check and open are one system call: `openat2` with `RESOLVE_BENEATH` resolves the path and fails if it leads outside,
//! so that no race with a rename can be won. Where the kernel or a sandbox does not support it
//! (Linux before 5.6, old container profiles) the path is walked folder by folder with `O_NOFOLLOW`.
//!
//! A link that `openat2` does not follow beneath the folder may still lead into it: an absolute one,
//! and in the walk any link. Such a link is resolved by name, which proves nothing, and the resulting path
//! is opened without following any link, which proves that it lies beneath the folder.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::io::Errno;

/// The longest time in which two changes may get the same timestamp, where timestamps have nanoseconds.
pub(super) const TIMESTAMP_TICK: Duration = Duration::from_millis(20);

/// How often a look-up is retried that was disturbed by a concurrent rename.
const MAX_RETRIES: usize = 32;

/// Which symbolic links are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Symlinks {
    /// None: a path with a link is not found.
    Deny,
    /// Those that lead to something within the folder; others are not found.
    #[default]
    WithinRoot,
    /// All of them, wherever they lead.
    Follow,
}

/// The root folder, held open. If another folder replaces it, as after a build that deletes and recreates its output,
/// or a release that swaps a link, that one is opened instead: see [`Root::reopen_if_replaced`].
#[derive(Clone, Debug)]
pub(super) struct Root {
    location: Arc<RootLocation>,
    symlinks: Symlinks,
    path_check: PathCheck,
}

/// The path of the root folder, and the folder that is open.
#[derive(Debug)]
struct RootLocation {
    path: PathBuf,
    folder: RwLock<(Arc<OwnedFd>, Identity)>,
}

/// Device and inode.
type Identity = ((u32, u32), u64);

/// How it is ensured that a path stays beneath the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathCheck {
    /// By `openat2`, in the call that opens.
    Kernel,
    /// By a walk, folder by folder.
    Walk,
}

/// What a path leads to.
pub(super) enum Opened {
    File(File, FileStat),
    Folder,
}

/// Why nothing was opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// There is nothing, or nothing that can be served.
    NotFound,
    /// It exists, but may not be read.
    Forbidden,
    /// Out of descriptors or memory: the same request may succeed in a moment.
    Busy(io::Error),
    /// Too many large listings are being sent: retry later.
    TooManyListings(io::Error),
    /// An I/O error.
    Io(io::Error),
}

/// The metadata that tells one version of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStat {
    pub kind: Kind,
    pub size: u64,
    pub modified: FileTime,
    /// ctime: the last change of content or inode; users cannot set it.
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
    /// Open the root folder.
    ///
    /// # Errors
    /// If it is missing, not a folder, or may not be read; the message contains its path.
    pub fn open(root: &Path) -> io::Result<Root> {
        let (folder, identity) = open_root(root).map_err(|errno| root_error(root, errno))?;
        let probed = rustix::fs::openat2(&folder, ".", PATH_FLAGS, Mode::empty(), BENEATH);
        let path_check = if probed.is_ok() { PathCheck::Kernel } else { PathCheck::Walk };
        log::debug!(target: "modest::files", "{}: paths are checked by {path_check:?}", root.display());
        // The current folder may change; a relative path keeps its meaning.
        let path = std::path::absolute(root)?;
        let location = RootLocation { path, folder: RwLock::new((Arc::new(folder), identity)) };
        Ok(Root { location: Arc::new(location), symlinks: Symlinks::default(), path_check })
    }

    /// Open the folder that is now at the root's path, if it was replaced.
    /// If there is none, the old one is kept: it may be about to be replaced.
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

    /// Metadata by an unchecked `statx`: fast, but a link may have led outside the folder.
    /// Sufficient to see that a path opened safely before is unchanged, and to avoid opening
    /// what must not be opened.
    pub fn stat_unchecked(&self, path: &[u8]) -> io::Result<FileStat> {
        let links = if self.symlinks == Symlinks::Deny { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() };
        Ok(stat(self.folder(), or_dot(path), links)?)
    }

    /// Metadata by a checked open with `O_PATH`: nothing is opened for reading.
    pub fn stat_checked(&self, path: &[u8]) -> Result<FileStat, OpenError> {
        let found = self.open_path(path, PATH_FLAGS)?;
        Ok(stat_of(&found)?)
    }

    /// Open a regular file for reading, or find a folder.
    pub fn open_at(&self, path: &[u8]) -> Result<Opened, OpenError> {
        // Opening a FIFO releases its writer and opening a device may do anything, so look first. If the file is replaced
        // by one in between, it is opened without blocking, recognized, and closed again.
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

    /// Open a folder to read its entries.
    pub fn open_folder(&self, path: &[u8]) -> Result<OwnedFd, OpenError> {
        Ok(self.open_path(path, READ_FLAGS | OFlags::DIRECTORY)?)
    }

    /// Open a path, following links as configured.
    fn open_path(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        match self.symlinks {
            Symlinks::Deny => self.open_without_links(path, flags),
            Symlinks::WithinRoot => self.open_within_root(path, flags),
            Symlinks::Follow => rustix::fs::openat(self.folder(), or_dot(path), flags, Mode::empty()),
        }
    }

    /// Open it if every link on the path stays within the folder.
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

    /// Open it if no component of the path is a link.
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
            // A concurrent rename anywhere may disturb a look-up beneath a folder: openat2(2), EAGAIN.
            match rustix::fs::openat2(&root, or_dot(path), flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) if retries < MAX_RETRIES => retries += 1,
                found => return found,
            }
        }
    }

    /// `openat2` is unsupported, or blocked by a sandbox that was set up after the start: walk instead.
    fn walk_if_unsupported(&self, errno: Errno, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        if matches!(errno, Errno::NOSYS | Errno::PERM) { self.walk(path, flags) } else { Err(errno) }
    }

    /// Open folder by folder, following no link.
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
        // `O_PATH` opens the link itself.
        let is_link = flags.contains(OFlags::PATH) && stat_of(&found)?.kind == Kind::Link;
        if is_link { Err(Errno::LOOP) } else { Ok(found) }
    }

    /// The path beneath the folder that a path leads to through its links. It may be outdated when it is used.
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
/// To find it only. With `O_PATH`, `openat2` accepts no flags for reading.
const PATH_FLAGS: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
/// Never block in an open, and never get a controlling terminal.
const READ_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

impl FileStat {
    fn identity(&self) -> Identity {
        (self.device, self.inode)
    }

    /// Whether the last change was so shortly before `now` that another one could follow with the same timestamps:
    /// file system clocks tick every 4 to 10 ms, those without nanoseconds every second or two.
    pub fn is_recent(&self, now: SystemTime) -> bool {
        let tick = if self.changed.nanos == 0 { Duration::from_secs(2) } else { TIMESTAMP_TICK };
        FileTime::from(now) < self.changed.plus(tick)
    }
}

impl FileTime {
    /// As a `SystemTime`, if in its range.
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
            // Not there, outside, a loop, a socket, a name that no file system allows ..
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

/// The metadata of an open file.
pub(super) fn stat_of(file: impl std::os::fd::AsFd) -> rustix::io::Result<FileStat> {
    stat(file, c"", AtFlags::EMPTY_PATH)
}

/// The metadata of a name in an open folder, without following a link.
pub(super) fn stat_in(folder: &OwnedFd, name: &CStr) -> rustix::io::Result<FileStat> {
    stat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
}

fn stat(at: impl std::os::fd::AsFd, path: impl rustix::path::Arg, flags: AtFlags) -> rustix::io::Result<FileStat> {
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
