//! The root folder: the open one, and the one at its path now, which may be another. Used by `open`, and by `watch`,
//! which lets the kernel report that the path may have changed.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{
    AtomicI32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, PoisonError, RwLock};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::stat::{Identity, stat, stat_of};
use super::sys;

/// How many links the path of the root can lead through, as in the kernel (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The root folder, held open. If another folder replaces it, the new one is opened: a build may delete and recreate
/// its output, or a release may swap a link. See [`RootLocation::reopen_if_replaced`].
#[derive(Debug)]
pub(super) struct RootLocation {
    /// The working folder when the root was opened, for a relative path. It may be renamed or replaced later.
    base: Option<OwnedFd>,
    path: PathBuf,
    now: RwLock<Arc<Identified>>,
    /// How often another folder was found at the path.
    replaced: AtomicU64,
    /// The last logged reason why the path no longer leads to the open folder: the number of an error, negative if
    /// something else is there, or 0.
    warned_of: AtomicI32,
}

/// The folder that is open.
#[derive(Debug)]
pub(super) struct Identified {
    pub folder: OwnedFd,
    pub identity: Identity,
    /// Its path when it was opened: absolute, without links, without a slash at its end.
    pub path: Vec<u8>,
}

impl Identified {
    /// Converts an absolute path without links to a path below this folder; `None` if it is outside.
    pub fn beneath(&self, path: &[u8]) -> Option<Vec<u8>> {
        match path.strip_prefix(&*self.path)? {
            [b'/', rest @ ..] => Some(rest.to_vec()),
            [] => Some(Vec::new()),
            _ => None,
        }
    }
}

impl RootLocation {
    /// # Errors
    /// If it is missing, not a folder, or cannot be read; the message contains its path.
    pub fn open(path: &Path) -> io::Result<RootLocation> {
        let failed = |errno| error_with_path(path, errno, false);
        let base = match path.is_absolute() {
            true => None,
            false => Some(open_folder(CWD, Path::new("."), sys::PASS).map_err(failed)?),
        };
        let opened = identified(base.as_ref(), path).map_err(failed)?;
        Ok(RootLocation::at(base, path, Arc::new(opened)))
    }

    fn at(base: Option<OwnedFd>, path: &Path, opened: Arc<Identified>) -> RootLocation {
        RootLocation {
            base,
            path: path.to_owned(),
            now: RwLock::new(opened),
            replaced: AtomicU64::new(0),
            warned_of: AtomicI32::new(0),
        }
    }

    /// Returns the folder that is open.
    pub fn now(&self) -> Arc<Identified> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the open folder, even if it has been replaced.
    #[cfg(feature = "archive")]
    pub fn pinned(&self) -> RootLocation {
        RootLocation::at(None, &self.path, self.now())
    }

    /// Opens the folder that is now at the path, if it is another one. Returns whether it is. If no folder can be
    /// opened, the old one is kept, because a new one may be about to replace it, and a warning is logged.
    pub fn reopen_if_replaced(&self) -> bool {
        self.check().unwrap_or(false)
    }

    /// Opens the folder that is now at the path, or returns the error.
    ///
    /// # Errors
    /// If the path leads to no folder that can be opened.
    pub fn check(&self) -> io::Result<bool> {
        let found = match &self.base {
            Some(base) => stat(base, self.path.as_os_str().as_bytes(), true),
            None => stat(CWD, self.path.as_os_str().as_bytes(), true),
        };
        if found.as_ref().is_ok_and(|found| found.identity() == self.now().identity) {
            self.is_reachable();
            return Ok(false);
        }
        let opened =
            identified(self.base.as_ref(), &self.path).map_err(|errno| self.unreachable(errno, found.is_ok()))?;
        self.is_reachable();
        log::debug!(target: "modest::files", "{}: another folder is at this path now", self.path.display());
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(opened);
        self.replaced.fetch_add(1, Release);
        Ok(true)
    }

    fn is_reachable(&self) {
        // The load comes first: without a write, the cache line stays shared by all workers.
        if self.warned_of.load(Relaxed) != 0 && self.warned_of.swap(0, Relaxed) != 0 {
            log::warn!(target: "modest::files", "{}: the folder is at its path again", self.path.display());
        }
    }

    /// Logs why the path cannot be opened, once per reason. `is_another`: something else is at the path. A lack of
    /// descriptors or memory is not logged, because it says nothing about the path.
    fn unreachable(&self, errno: Errno, is_another: bool) -> io::Error {
        let is_of_path = !matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR);
        let error = error_with_path(&self.path, errno, is_another);
        let number = if is_another { -errno.raw_os_error() } else { errno.raw_os_error() };
        if is_of_path && self.warned_of.swap(number, Relaxed) != number {
            log::warn!(target: "modest::files", "{error}; the previous folder is still served");
        }
        error
    }

    /// Returns how often another folder was found at the path.
    pub fn replaced(&self) -> u64 {
        self.replaced.load(Acquire)
    }

    /// Visits each name on the way to the folder, including links and their targets, with the folder that contains the
    /// name.
    ///
    /// # Errors
    /// If the path cannot be walked, or leads to a folder other than the open one.
    pub fn walk(&self, mut visit: impl FnMut(&OwnedFd, &[u8]) -> rustix::io::Result<()>) -> rustix::io::Result<()> {
        let names = |path: &[u8]| path.split(|&byte| byte == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>();
        let root = || open_folder(CWD, Path::new("/"), sys::PASS);
        let mut folder = match &self.base {
            Some(base) => open_folder(base, Path::new("."), sys::PASS)?,
            None => root()?,
        };
        let mut ahead = VecDeque::from(names(self.path.as_os_str().as_bytes()));
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            if matches!(&name[..], b"" | b".") {
                continue;
            }
            visit(&folder, &name)?;
            let target = match rustix::fs::readlinkat(&folder, &name[..], Vec::new()) {
                Err(Errno::INVAL) => {
                    folder = sys::open_entry(&folder, &name, sys::PASS)?;
                    continue;
                }
                target => target?.into_bytes(),
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP);
            }
            if target.starts_with(b"/") {
                folder = root()?;
            }
            names(&target).into_iter().rev().for_each(|name| ahead.push_front(name));
        }
        if stat_of(&folder)?.identity() == self.now().identity { Ok(()) } else { Err(Errno::STALE) }
    }
}

fn identified(base: Option<&OwnedFd>, path: &Path) -> rustix::io::Result<Identified> {
    let folder = match base {
        Some(base) => open_folder(base, path, OFlags::RDONLY)?,
        None => open_folder(CWD, path, OFlags::RDONLY)?,
    };
    let identity = stat_of(&folder)?.identity();
    // On systems that do not report the path of an open folder, a relative path is outdated after the working folder
    // was renamed. Absolute links into the folder are then not followed.
    let canonical = || Some(std::fs::canonicalize(path).ok()?.into_os_string().into_vec());
    let mut path = sys::with_path_of(&folder, <[u8]>::to_vec).or_else(canonical).unwrap_or_default();
    if path == b"/" {
        path.clear();
    }
    Ok(Identified { folder, identity, path })
}

fn open_folder(at: impl std::os::fd::AsFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(at, path, flags | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn error_with_path(root: &Path, errno: Errno, is_another: bool) -> io::Error {
    let error = io::Error::from(errno);
    let reason = match errno {
        Errno::NOENT => "no such folder".to_owned(),
        Errno::NOTDIR => "not a folder".to_owned(),
        // Landlock forbids opening a folder, and permits its metadata.
        Errno::ACCESS | Errno::PERM if is_another => {
            "another folder is at this path now, and there is no permission to read it (a confined process needs a \
             restart)"
                .to_owned()
        }
        Errno::ACCESS | Errno::PERM => "no permission to read the folder".to_owned(),
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("{}: {reason}", root.display()))
}
