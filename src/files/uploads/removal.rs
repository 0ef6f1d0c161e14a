//! Removal of entries that are replaced or deleted. Folders are bounded in depth and number of entries. The old entry is
//! first renamed, while no request can store a file in it, and then removed without locks. Called by `changes`, `moves`
//! and `trees`.

use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::LazyLock;

use rustix::fs::{Access, AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, statat, unlinkat};
use rustix::io::Errno;

use super::super::new_file::{Swept, draw_removable, is_removable, remove_tree};
use super::super::path;
use super::super::rights::{Granted, WriteAll};
use super::super::stat::{FileStat, FileTime, Kind, stat_in};
use super::super::sys::{self, Metadata};
use super::responses::{conflict, error_of};
use super::target::Target;
use super::writable::Whole;
use super::{UploadHandler, UploadRequest};
use crate::Error;

/// How many entries a tree can have, and how many levels below it.
pub(super) const MOST: usize = 10_000;
const DEEPEST: usize = 64;
/// The reply if the folder contains something that the system does not let this process remove.
const FIXED: &str =
    "The folder contains something that can't be removed: a mount, a protected file, or a file of another user.";

/// The rest of the limits.
pub(super) struct Remaining {
    depth: usize,
    entries: usize,
    /// How many entries there could be at first.
    most: usize,
}

impl Remaining {
    pub fn of(most: usize) -> Remaining {
        Remaining { depth: DEEPEST, entries: most, most }
    }

    /// The limits of a folder that is about to be removed: other requests may still be creating a copy of a folder in it.
    fn of_removable() -> Remaining {
        Remaining { depth: 2 * DEEPEST, ..Remaining::of(MOST) }
    }

    pub fn take_entry(&mut self) -> Result<(), Error> {
        let too_many = || too_many(self.most);
        self.entries = self.entries.checked_sub(1).ok_or_else(too_many)?;
        Ok(())
    }

    /// Calls the closure for a folder one level deeper.
    pub fn inside(&mut self, call: impl FnOnce(&mut Remaining) -> Result<(), Error>) -> Result<(), Error> {
        let too_deep = || conflict(format!("The folder is more than {DEEPEST} levels deep."));
        self.depth = self.depth.checked_sub(1).ok_or_else(too_deep)?;
        call(self)?;
        self.depth += 1;
        Ok(())
    }
}

impl UploadHandler {
    /// Moves aside what a new folder, or a file in place of a folder, will replace. The caller holds all locks.
    pub(super) fn set_aside<'t>(
        &'t self,
        target: &'t Target,
        stat: FileStat,
        granted: Granted<'_, WriteAll>,
        whole: Whole,
    ) -> Result<Way<'t>, Error> {
        let held = hold_from_sweeps(target.folder(), target.name());
        let name = target.set_aside(granted, whole).map_err(|errno| match errno {
            // A folder in the lower layer of an overlay.
            Errno::XDEV => conflict("The file system can't rename this folder. Delete its contents first."),
            errno => error_of(errno),
        })?;
        Ok(Way { target, aside: Some(name), stat, held, swept: &self.swept })
    }

    /// Removes the locks of what was moved aside. Called when the new entry has the name.
    pub(super) fn replaced<'t>(&self, way: Way<'t>) -> Result<Removable<'t>, Error> {
        self.forget_locks(way.target, way.stat)?;
        way.into_removable()
    }
}

/// A name that is reserved for something new. If the new entry does not get the name, the old entry gets it back.
pub(super) struct Way<'t> {
    target: &'t Target,
    /// The name of the old entry, which is never served.
    aside: Option<String>,
    stat: FileStat,
    held: Option<OwnedFd>,
    swept: &'t Swept,
}

impl<'t> Way<'t> {
    /// Gives the old entry a name under which it can be removed at any time.
    pub fn into_removable(mut self) -> Result<Removable<'t>, Error> {
        let (target, name, folder) = (self.target, draw_removable(), self.target.folder());
        if let Some(aside) = &self.aside {
            sys::rename_new(folder, aside.as_bytes(), folder, name.as_bytes()).map_err(error_of)?;
        }
        self.aside = None;
        let is_folder = self.stat.kind == Kind::Folder;
        Ok(Removable { target, name, is_folder, _held: self.held.take(), swept: self.swept })
    }
}

impl Drop for Way<'_> {
    fn drop(&mut self) {
        if let Some(aside) = &self.aside {
            let (folder, name) = (self.target.folder(), self.target.name());
            if let Err(errno) = sys::rename_new(folder, aside.as_bytes(), folder, name) {
                let name = String::from_utf8_lossy(name);
                log::error!(target: "modest::files", "a change of {name:?} failed, and the entry that had this name is now called {aside}: {errno}");
            }
        }
    }
}

/// An entry that was replaced or deleted. It never gets its name again, even if its removal fails. It is removed without
/// locks, which may take long. If the removal fails, or this process is killed before, a later upload to its folder
/// removes it (see `new_file`).
pub(super) struct Removable<'t> {
    target: &'t Target,
    name: String,
    is_folder: bool,
    _held: Option<OwnedFd>,
    swept: &'t Swept,
}

impl Removable<'_> {
    pub fn remove(self) {
        let (folder, name) = (self.target.folder(), self.name.as_bytes());
        let removed = match self.is_folder {
            true => remove_tree(folder, name),
            false => unlinkat(folder, name, AtFlags::empty()),
        };
        if let Err(errno) = removed
            && errno != Errno::NOENT
        {
            self.swept.forget(folder);
            log::error!(target: "modest::files", "can't remove {}, which was deleted or replaced: {errno}", self.name);
        }
    }
}

/// Checks that an entry can be deleted or replaced, because it is served.
///
/// # Errors
/// 409 for hidden names, links that are not followed, and everything that is neither a file nor a folder.
pub(super) fn check_served(asked: UploadRequest<'_>, path: &[u8], kind: Kind) -> Result<(), Error> {
    let is_followed = || {
        let found = asked.finder.root.stat_checked(path);
        found.is_ok_and(|found| matches!(found.kind, Kind::File | Kind::Folder))
    };
    match kind {
        _ if asked.finder.is_hidden(path) => Err(conflict("The folder contains hidden files.")),
        Kind::File | Kind::Folder => Ok(()),
        Kind::Link if is_followed() => Ok(()),
        Kind::Link => Err(conflict("There is a link to nothing, or to a place to which links are not followed.")),
        Kind::Other => Err(conflict("There is something that is neither a file nor a folder.")),
    }
}

/// Returns the names in a folder, and their kinds.
pub(super) fn names_of(folder: &OwnedFd, most: usize) -> Result<Vec<(Vec<u8>, Kind)>, Error> {
    let names = names_in(folder, most).map_err(error_of)?;
    if names.len() > most { Err(too_many(most)) } else { Ok(names) }
}

/// Returns up to one more name than `most`.
fn names_in(folder: &OwnedFd, most: usize) -> rustix::io::Result<Vec<(Vec<u8>, Kind)>> {
    let mut names = Vec::new();
    sys::for_each_entry(folder, |(name, kind)| {
        let kind = match kind {
            FileType::Unknown => stat_in(folder, name).map_or(Kind::Other, |stat| stat.kind),
            kind => kind.into(),
        };
        names.push((name.to_bytes().to_vec(), kind));
        Ok::<_, Errno>(if names.len() > most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(names)
}

fn too_many(most: usize) -> Error {
    conflict(format!("The folder has more than {most} entries."))
}

/// Checks that something can be removed: a folder with everything in it. Returns a digest of its metadata.
pub(super) fn check_removable(
    asked: UploadRequest<'_>,
    target: &Target,
    stat: FileStat,
) -> Result<(Whole, Digest), Error> {
    let whole = target.whole(asked, stat)?;
    let mut digest = Digest::of(target.path(), stat);
    if stat.kind == Kind::Folder {
        let folder = open_folder(target.folder(), target.name())?;
        check_tree(asked, &folder, target.path(), false, &mut Remaining::of(MOST), &mut digest)?;
    }
    Ok((whole, digest))
}

/// Distinguishes one state of an entry, with everything in it, from another. Independent of the order of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest(u64);

impl Digest {
    fn of(path: &[u8], stat: FileStat) -> Digest {
        static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let FileTime { seconds, nanos } = stat.modified;
        Digest(KEYS.hash_one((path, stat.identity(), stat.kind as u8, stat.size, seconds, nanos)))
    }

    fn add(&mut self, path: &[u8], stat: FileStat) {
        self.0 = self.0.wrapping_add(Digest::of(path, stat).0);
    }
}

/// Checks that everything in a folder is served and can be removed, so that no removal fails halfway. `is_left`: the
/// folder was left behind by a killed process, or is about to be removed. It is removed too, but not served.
fn check_tree(
    asked: UploadRequest<'_>,
    folder: &OwnedFd,
    path: &[u8],
    is_left: bool,
    room: &mut Remaining,
    digest: &mut Digest,
) -> Result<(), Error> {
    let itself = fstat(folder).map_err(error_of)?;
    let names = match names_in(folder, MOST) {
        Err(Errno::NOENT) => return Ok(()), // another request or program has just removed it
        names => names.map_err(error_of)?,
    };
    let writable = rustix::fs::accessat(folder, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
    if let Err(errno @ (Errno::ACCESS | Errno::PERM | Errno::ROFS)) = writable
        && !names.is_empty()
    {
        return Err(error_of(errno));
    }
    for (name, kind) in names {
        room.take_entry()?;
        let (path, is_removable) = (path::join(path, &name), is_removable(&name));
        let is_left = is_left || is_removable;
        if !is_left {
            check_served(asked, &path, kind)?;
        }
        let found = statat(folder, &*name, AtFlags::SYMLINK_NOFOLLOW);
        let found = found.and_then(|found| Ok((found, sys::is_fixed(folder, &name)?)));
        let (entry, is_kept) = match found {
            Err(Errno::NOENT) => continue, // as above
            found => found.map_err(error_of)?,
        };
        if is_kept || is_fixed(&itself, &entry) {
            return Err(conflict(FIXED));
        }
        if !is_left {
            digest.add(&path, FileStat::from(Metadata::from(entry)));
        }
        if kind != Kind::Folder {
            continue;
        }
        let inner = match open_itself(folder, &name, OFlags::DIRECTORY) {
            Err(Errno::NOENT) => continue,
            inner => inner.map_err(error_of)?,
        };
        let mut check = |room: &mut Remaining| check_tree(asked, &inner, &path, is_left, room, digest);
        if is_removable { check(&mut Remaining::of_removable()) } else { room.inside(check) }?;
    }
    Ok(())
}

/// Returns whether this process can't unlink an entry of a folder: it is on another file system, or of another user in
/// a sticky folder.
fn is_fixed(folder: &Stat, entry: &Stat) -> bool {
    let is_folder = FileType::from_raw_mode(entry.st_mode) == FileType::Directory;
    is_folder && entry.st_dev != folder.st_dev || sys::is_sticky_for(folder, entry)
}

pub(super) fn open_folder(at: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Error> {
    open_itself(at, name, OFlags::DIRECTORY).map_err(error_of)
}

/// Keeps sweeps from removing an entry under another name (see `new_file`), until it is closed.
pub(super) fn hold_from_sweeps(at: &OwnedFd, name: &[u8]) -> Option<OwnedFd> {
    let held = open_itself(at, name, OFlags::NONBLOCK).ok()?;
    let _ = flock(&held, FlockOperation::NonBlockingLockExclusive);
    Some(held)
}

/// Opens an entry itself, never the target of a link.
fn open_itself(at: &OwnedFd, name: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}
