//! Opens regular files and folders below the root folder, and nothing outside it. Called by `find`, `prepare` and
//! `listing`, which decide what is hidden and how a file is sent.
//!
//! Check and open are one system call: `openat2` with `RESOLVE_BENEATH` resolves the path and fails if it leads
//! outside, so an attacker cannot exploit a race with a rename. If the system or a sandbox does not support it (Linux
//! before 5.6, old container profiles, macOS, FreeBSD), the path is walked folder by folder with `O_NOFOLLOW`.
//!
//! A link that is not followed may still lead into the folder: for `openat2` an absolute link, for the walk any link.
//! It is resolved by name, which proves nothing. The resulting path is then opened without following any link, which
//! proves that it is below the folder.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::path;
use super::rights::{Granted, Opens, Write};
use super::root::{Identified, RootLocation};
use super::stat::{FileStat, Identity, Kind, stat, stat_in, stat_of};
use super::sys::{self, Links};

/// How often a lookup is retried if concurrent renames disturb it.
const MAX_RETRIES: usize = 32;

/// How many links a path can lead through, as in the kernel (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// How many segments a path can have, including those of its links.
const MAX_STEPS: usize = 1024;

/// Which symbolic links are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Symlinks {
    /// No links are followed: a path with a link is a 404.
    Deny,
    /// Links to a target within the folder are followed; others are a 404.
    #[default]
    WithinRoot,
    /// All links are followed, also out of the folder.
    Follow,
}

/// The root folder, and how paths below it are opened.
#[derive(Clone, Debug)]
pub(super) struct Root {
    pub location: Arc<RootLocation>,
    pub symlinks: Symlinks,
    path_check: PathCheck,
}

/// How a path is kept below the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathCheck {
    /// By `openat2`, in the call that opens.
    Kernel,
    /// By a walk, folder by folder.
    Walk,
}

pub(super) enum Opened {
    File(File, FileStat),
    Folder,
}

/// A folder in which something changes.
#[derive(Debug)]
pub(super) enum OpenFolder {
    Root(Arc<Identified>),
    Below(OwnedFd),
}

impl OpenFolder {
    pub fn identity(&self) -> rustix::io::Result<Identity> {
        match self {
            OpenFolder::Root(root) => Ok(root.identity),
            OpenFolder::Below(folder) => Ok(stat_of(folder)?.identity()),
        }
    }
}

impl AsFd for OpenFolder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        (**self).as_fd()
    }
}

impl Deref for OpenFolder {
    type Target = OwnedFd;

    fn deref(&self) -> &OwnedFd {
        match self {
            OpenFolder::Root(root) => &root.folder,
            OpenFolder::Below(folder) => folder,
        }
    }
}

/// The reason why a path was not opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// It does not exist, or cannot be served.
    NotFound,
    /// It exists, but cannot be read.
    Forbidden,
    /// No descriptors or no memory: the request may succeed if it is repeated.
    Busy(io::Error),
    /// Too many large listings are being sent: retry later.
    TooManyListings(io::Error),
    /// An I/O error.
    Io(io::Error),
}

impl Root {
    /// Opens the root folder.
    ///
    /// # Errors
    /// If it is missing, not a folder, or cannot be read; the message contains its path.
    pub fn open(root: &Path) -> io::Result<Root> {
        let location = RootLocation::open(root)?;
        let probed = sys::open_beneath(&location.now().folder, b".", sys::PASS, Links::Beneath);
        let path_check = if probed.is_ok() { PathCheck::Kernel } else { PathCheck::Walk };
        log::debug!(target: "modest::files", "{}: paths are checked by {path_check:?}", root.display());
        Ok(Root { location: Arc::new(location), symlinks: Symlinks::default(), path_check })
    }

    /// Opens the folder that is now at the root's path, if it was replaced. Returns whether it was.
    pub fn reopen_if_replaced(&self) -> bool {
        self.location.reopen_if_replaced()
    }

    /// Returns a root that stays at the folder now at its path, even if another folder replaces it.
    #[cfg(feature = "archive")]
    pub fn pinned(&self) -> Root {
        Root { location: Arc::new(self.location.pinned()), ..self.clone() }
    }

    pub fn now(&self) -> Arc<Identified> {
        self.location.now()
    }

    #[cfg(test)]
    pub fn set_path_check(&mut self, path_check: PathCheck) {
        self.path_check = path_check;
    }

    /// Returns metadata by an unchecked lookup, which is fast, but may follow a link out of the folder. It suffices to
    /// see that a path opened safely before is unchanged, and to avoid opening special files.
    pub fn stat_unchecked(&self, path: &[u8]) -> io::Result<FileStat> {
        Ok(stat(&self.now().folder, or_dot(path), self.symlinks != Symlinks::Deny)?)
    }

    /// Returns the metadata of the name itself; for a link, of the link. It must not decide what is served.
    pub fn stat_itself(&self, path: &[u8]) -> io::Result<FileStat> {
        Ok(stat_in(&self.now().folder, or_dot(path))?)
    }

    /// Returns metadata by a checked lookup. Nothing is opened for reading.
    pub fn stat_checked(&self, path: &[u8]) -> Result<FileStat, OpenError> {
        Ok(self.reach(path, &Look)?)
    }

    /// Opens a regular file for reading, or finds a folder.
    pub fn open_at(&self, at: &impl Opens) -> Result<Opened, OpenError> {
        let path = at.path();
        // Opening a FIFO releases its writer, and opening a device can have any effect, so the path is checked first.
        // A FIFO or device that replaces the file in between is opened without blocking, recognized, and closed again.
        match self.stat_unchecked(path) {
            Ok(FileStat { kind: Kind::Folder, .. }) if self.stat_checked(path)?.kind == Kind::Folder => {
                return Ok(Opened::Folder);
            }
            Ok(FileStat { kind: Kind::Folder | Kind::File, .. }) => {}
            Ok(FileStat { kind: Kind::Link | Kind::Other, .. }) => return Err(OpenError::NotFound),
            Err(error) => match OpenError::from(error) {
                // The path may lead out of the root, and whether it exists there must not be revealed. This check
                // follows no such link.
                error @ (OpenError::Forbidden | OpenError::Io(_)) => {
                    return Err(self.stat_checked(path).err().unwrap_or(error));
                }
                error => return Err(error),
            },
        }
        self.open_file(at)
    }

    /// Opens a path that was a regular file a moment ago, without checking first.
    pub fn open_file(&self, at: &impl Opens) -> Result<Opened, OpenError> {
        let file = self.reach(at.path(), &Open(sys::READ))?;
        let stat = stat_of(&file)?;
        match stat.kind {
            Kind::File if sys::hides_size(&file, stat.size) => Err(OpenError::NotFound),
            Kind::File => Ok(Opened::File(File::from(file), stat)),
            Kind::Folder => Ok(Opened::Folder),
            Kind::Link | Kind::Other => Err(OpenError::NotFound),
        }
    }

    /// Returns whether this is a file whose size is unknown, so that no response can announce it.
    pub fn hides_size(&self, path: &[u8]) -> bool {
        self.reach(path, &Open(sys::READ)).is_ok_and(|file| sys::hides_size(&file, 0))
    }

    /// Returns whether the folder does not contain this name, not even as a link, and is reached without a link. So the
    /// result can only change if the folder changes.
    pub fn is_absent(&self, path: &[u8]) -> bool {
        matches!(self.stat_without_links(path), Err(Errno::NOENT))
    }

    pub fn stat_without_links(&self, path: &[u8]) -> rustix::io::Result<FileStat> {
        self.reach_without_links(path, &Look)
    }

    /// Finds a path without following any link, so that it can be watched.
    pub fn find_without_links(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let found = self.reach_without_links(path, &Open(sys::FIND))?;
        // A walk finds a link itself, not its target.
        if stat_of(&found)?.kind == Kind::Link { Err(Errno::LOOP) } else { Ok(found) }
    }

    pub fn open_folder(&self, at: &impl Opens) -> Result<OwnedFd, OpenError> {
        Ok(self.reach(at.path(), &Open(sys::READ | OFlags::DIRECTORY))?)
    }

    /// Finds the folder for a change: the folder that contains the name, or the folder that is itself changed. It is
    /// below the root, even if links out of the root are followed for reading.
    pub fn folder_to_change(&self, path: &[u8], _: Granted<'_, Write>) -> rustix::io::Result<OpenFolder> {
        if path.is_empty() {
            return Ok(OpenFolder::Root(self.now()));
        }
        let folder = match self.symlinks {
            Symlinks::Deny => self.reach_without_links(path, &Open(sys::PASS)),
            Symlinks::WithinRoot | Symlinks::Follow => self.reach_within_root(path, &Open(sys::PASS)),
        };
        folder.map(OpenFolder::Below)
    }

    /// Returns whether [`folder_to_change`](Root::folder_to_change) would find this folder.
    pub fn is_folder_to_change(&self, path: &[u8], folder: Identity) -> bool {
        let found = match self.symlinks {
            Symlinks::Deny => self.reach_without_links(path, &Look),
            Symlinks::WithinRoot | Symlinks::Follow => self.reach_within_root(path, &Look),
        };
        found.is_ok_and(|found| found.identity() == folder)
    }

    /// Applies the operation to the end of a path, following links as configured.
    fn reach<E: End>(&self, path: &[u8], end: &E) -> rustix::io::Result<E::Found> {
        match self.symlinks {
            Symlinks::Deny => self.reach_without_links(path, end),
            Symlinks::WithinRoot => self.reach_within_root(path, end),
            Symlinks::Follow => end.anywhere(&self.now().folder, or_dot(path)),
        }
    }

    /// Applies the operation if every link on the path stays within the folder.
    fn reach_within_root<E: End>(&self, path: &[u8], end: &E) -> rustix::io::Result<E::Found> {
        match self.reach_beneath(path, end, Links::Beneath) {
            Err(errno @ (Errno::XDEV | Errno::LOOP | Errno::NOTDIR)) => {
                let target = self.resolve(path).filter(|target| target != path).ok_or(errno)?;
                self.reach_without_links(&target, end)
            }
            found => found,
        }
    }

    /// Applies the operation if no component of the path is a link.
    fn reach_without_links<E: End>(&self, path: &[u8], end: &E) -> rustix::io::Result<E::Found> {
        self.reach_beneath(path, end, Links::None)
    }

    /// Applies the operation with the kernel's check. If the call does not exist, or a sandbox that was set up after
    /// the start forbids it, the path is walked without following any link.
    fn reach_beneath<E: End>(&self, path: &[u8], end: &E, links: Links) -> rustix::io::Result<E::Found> {
        let root = self.now();
        if self.path_check == PathCheck::Walk {
            return walk(&root.folder, path, end);
        }
        let mut retries = 0;
        loop {
            // A concurrent rename anywhere can disturb a lookup below a folder: openat2(2), EAGAIN.
            match end.beneath(&root.folder, or_dot(path), links) {
                Err(Errno::AGAIN | Errno::INTR) if retries < MAX_RETRIES => retries += 1,
                Err(Errno::NOSYS | Errno::PERM) => return walk(&root.folder, path, end),
                found => return found,
            }
        }
    }

    /// Resolves the links of a path by name. Returns the resulting path below the folder, which may be outdated when it
    /// is used.
    pub fn resolve(&self, path: &[u8]) -> Option<Vec<u8>> {
        let end = self.resolve_in(path, &|path| Some(path.to_vec()))?;
        if end.missing.is_empty() { self.now().beneath(&end.path) } else { None }
    }

    /// Resolves the links of a path by name, as far as it exists. The path can be that of an entry after a planned
    /// change: for such a path, below the folder, `now` returns the current path of the entry.
    ///
    /// Nothing outside the folder is looked up. A path that leaves the folder must name it to return, as `../www/x` in
    /// `www` does.
    pub fn resolve_in(&self, path: &[u8], now: &dyn Fn(&[u8]) -> Option<Vec<u8>>) -> Option<PathEnd> {
        let root = self.now();
        let split = |path: &[u8]| path.split(|&byte| byte == b'/').map(<[u8]>::to_vec).rev().collect::<Vec<_>>();
        let mut resolved = root.path.to_vec(); // absolute, and within the folder without a link
        let mut ahead = split(path); // the next segment is the last
        // A file with a slash after it leads nowhere, as in the kernel.
        let is_folder = |resolved: &[u8]| {
            let is_folder = |path: Vec<u8>| self.stat_without_links(&path).is_ok_and(|stat| stat.kind == Kind::Folder);
            root.beneath(resolved).is_none_or(|path| now(&path).is_some_and(is_folder))
        };
        let (mut links, mut steps) = (0, 0);
        while let Some(name) = ahead.pop() {
            steps += 1;
            if steps > MAX_STEPS {
                return None;
            }
            match &name[..] {
                b"" | b"." | b".." if !is_folder(&resolved) => {
                    ahead.push(name);
                    break;
                }
                b"" | b"." => continue,
                b".." => {
                    resolved.truncate(memchr::memrchr(b'/', &resolved)?);
                    continue;
                }
                _ => {}
            }
            let parent = resolved.len();
            resolved.push(b'/');
            resolved.extend_from_slice(&name);
            let Some(path) = root.beneath(&resolved).filter(|path| !path.is_empty()) else { continue };
            let read = |path: Vec<u8>| {
                let folder = self.reach_without_links(path::parent(&path), &Open(sys::PASS))?;
                rustix::fs::readlinkat(&folder, path::name(&path), Vec::new())
            };
            match now(&path).map_or(Err(Errno::NOENT), read) {
                Ok(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return None;
                    }
                    resolved.truncate(if target.as_bytes().starts_with(b"/") { 0 } else { parent });
                    ahead.extend(split(target.as_bytes()));
                }
                Err(Errno::INVAL) => {} // not a link
                Err(_) => {
                    resolved.truncate(parent);
                    ahead.push(name);
                    break;
                }
            }
        }
        Some(PathEnd { path: resolved, missing: ahead })
    }
}

/// The end of a path whose links were resolved by name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PathEnd {
    /// Its absolute path as far as it exists, without links below the folder.
    pub path: Vec<u8>,
    /// The segments after that, in reverse order.
    missing: Vec<Vec<u8>>,
}

/// Opens the path folder by folder, following no link.
fn walk<E: End>(root: &OwnedFd, path: &[u8], end: &E) -> rustix::io::Result<E::Found> {
    if path.is_empty() {
        return end.entry(root, b".");
    }
    let names = || path.split(|&byte| byte == b'/');
    if names().any(|name| matches!(name, b"" | b"." | b"..")) {
        return Err(Errno::NOENT);
    }
    let mut folder = None;
    for name in names().take(names().count() - 1) {
        folder = Some(sys::open_entry(folder.as_ref().unwrap_or(root), name, sys::PASS)?);
    }
    end.entry(folder.as_ref().unwrap_or(root), path::name(path))
}

/// The operation at the end of a path.
trait End {
    type Found;

    /// Applies to the target of a path, following links anywhere.
    fn anywhere(&self, root: &OwnedFd, path: &[u8]) -> rustix::io::Result<Self::Found>;

    /// Uses a call that fails if the path leads outside.
    fn beneath(&self, root: &OwnedFd, path: &[u8], links: Links) -> rustix::io::Result<Self::Found>;

    /// Applies to a name in a folder, and never to the target of a link.
    fn entry(&self, folder: &OwnedFd, name: &[u8]) -> rustix::io::Result<Self::Found>;
}

/// Opens the file with these flags.
struct Open(OFlags);

impl End for Open {
    type Found = OwnedFd;

    fn anywhere(&self, root: &OwnedFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        rustix::fs::openat(root, path, self.0, Mode::empty())
    }

    fn beneath(&self, root: &OwnedFd, path: &[u8], links: Links) -> rustix::io::Result<OwnedFd> {
        sys::open_beneath(root, path, self.0, links)
    }

    fn entry(&self, folder: &OwnedFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
        sys::open_entry(folder, name, self.0)
    }
}

/// Reads its metadata.
struct Look;

impl End for Look {
    type Found = FileStat;

    fn anywhere(&self, root: &OwnedFd, path: &[u8]) -> rustix::io::Result<FileStat> {
        stat(root, path, true)
    }

    fn beneath(&self, root: &OwnedFd, path: &[u8], links: Links) -> rustix::io::Result<FileStat> {
        stat_of(sys::open_beneath(root, path, sys::FIND, links)?)
    }

    fn entry(&self, folder: &OwnedFd, name: &[u8]) -> rustix::io::Result<FileStat> {
        let found = stat_in(folder, name)?;
        if found.kind == Kind::Link { Err(Errno::LOOP) } else { Ok(found) }
    }
}

impl From<Errno> for OpenError {
    fn from(errno: Errno) -> OpenError {
        match errno {
            Errno::ACCESS | Errno::PERM => OpenError::Forbidden,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN => OpenError::Busy(errno.into()),
            Errno::IO | Errno::NOTCONN | Errno::TIMEDOUT => OpenError::Io(errno.into()),
            // The file does not exist or is outside the folder, or the path is a loop of links, a socket, an invalid
            // name and so on.
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

fn or_dot(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

#[cfg(test)]
mod tests;
