//! Removal of entries that are replaced or deleted. Folders are bounded in depth and number of entries. The old entry
//! is first renamed, while no request can store a file in it, and then removed without locks. Called by `changes`,
//! `moves` and `trees`.

use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::LazyLock;

use rustix::fs::{Access, AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, statat, unlinkat};
use rustix::io::Errno;

use super::super::leftovers::{Swept, remove_tree};
use super::super::path;
use super::super::rights::{Granted, WriteAll};
use super::super::stat::{FileStat, FileTime, Kind, stat_in};
use super::super::sys;
use super::dav_locks::Spot;
use super::responses::{conflict, error_of};
use super::target::Target;
use super::writable::Whole;
use super::{UploadHandler, UploadRequest};
use crate::Error;
use crate::new_file::removable::{draw_removable, is_removable};

/// How many entries a tree can have, and how many levels below it.
pub(super) const MOST: usize = 10_000;
const DEEPEST: usize = 64;
/// The reply if the system does not let this process remove an entry, or something in it.
const FIXED: &str =
    "It is or contains something that can't be removed: a mount, a protected file, or a file of another user.";

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
        let (spot, held) = (self.locked_spot(target, Some(stat))?, hold_from_sweeps(target.folder(), target.name()));
        let name = target.set_aside(granted, whole).map_err(|errno| match errno {
            // A folder in the lower layer of an overlay.
            Errno::XDEV => conflict("The file system can't rename this folder. Delete its contents first."),
            errno => error_of(errno),
        })?;
        Ok(Way { target, aside: Some(name), kind: stat.kind, spot, held, swept: &self.swept })
    }

    /// Removes the locks of what was moved aside. Called when the new entry has the name.
    pub(super) fn replaced<'t>(&self, way: Way<'t>) -> Removable<'t> {
        self.forget_locks(way.target, way.spot.as_ref());
        way.into_removable()
    }
}

/// A name that is reserved for something new. If the new entry does not get the name, the old entry gets it back.
pub(super) struct Way<'t> {
    target: &'t Target,
    /// The name of the old entry, which is never served.
    aside: Option<String>,
    kind: Kind,
    spot: Option<Spot>,
    held: Option<OwnedFd>,
    swept: &'t Swept,
}

impl<'t> Way<'t> {
    /// Gives the old entry another spelling of its name. (Linux ignores a rename from one spelling to another.)
    /// `EXIST`: they are two names of one file.
    pub fn respell(mut self, to: &Target) -> rustix::io::Result<()> {
        if let Some(aside) = &self.aside {
            sys::rename_new(to.folder(), aside.as_bytes(), to.folder(), to.name())?;
        }
        self.aside = None;
        Ok(())
    }

    /// Gives the old entry a name under which it can be removed at any time.
    pub fn into_removable(mut self) -> Removable<'t> {
        let (target, folder) = (self.target, self.target.folder());
        let (aside, removable) = (self.aside.take().unwrap_or_default(), draw_removable());
        // If this fails, the entry is removed under the name that it has.
        let renamed = sys::rename_new(folder, aside.as_bytes(), folder, removable.as_bytes());
        let name = if renamed.is_ok() { removable } else { aside };
        Removable { target, name, is_folder: self.kind == Kind::Folder, _held: self.held.take(), swept: self.swept }
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

/// An entry that was replaced or deleted. It never gets its name again, even if its removal fails. It is removed
/// without locks, because that may take a long time. If the removal fails, or this process is killed before, a later
/// upload to its folder removes it (see `leftovers`).
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
        Kind::Link => Err(conflict("There is a broken link, or one that leads where links are not followed.")),
        Kind::Other => Err(conflict("There is something that is neither a file nor a folder.")),
    }
}

pub(super) fn names_of(folder: &OwnedFd, most: usize) -> Result<Vec<(Vec<u8>, Kind)>, Error> {
    names_that(folder, most, |_| true)
}

/// Returns the names that this closure accepts. Only these count.
pub(super) fn names_that(
    folder: &OwnedFd,
    most: usize,
    accepts: impl Fn(&[u8]) -> bool,
) -> Result<Vec<(Vec<u8>, Kind)>, Error> {
    let names = names_in(folder, most, accepts).map_err(error_of)?;
    if names.len() > most { Err(too_many(most)) } else { Ok(names) }
}

/// Returns up to one more name than `most`.
fn names_in(
    folder: &OwnedFd,
    most: usize,
    accepts: impl Fn(&[u8]) -> bool,
) -> rustix::io::Result<Vec<(Vec<u8>, Kind)>> {
    let mut names = Vec::new();
    sys::for_each_entry(folder, |(name, kind)| {
        if !accepts(name.to_bytes()) {
            return Ok(ControlFlow::Continue(()));
        }
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

/// Returns whether a folder contains only what killed processes have left there, so that it is empty for clients.
pub(super) fn has_only_leftovers(target: &Target) -> bool {
    let names = open_folder(target.folder(), target.name()).and_then(|folder| names_of(&folder, MOST));
    names.is_ok_and(|names| names.iter().all(|(name, _)| is_removable(name)))
}

/// Checks that something can be removed: a folder with everything in it. Returns a digest of its metadata.
pub(super) fn check_removable(
    asked: UploadRequest<'_>,
    target: &Target,
    stat: FileStat,
) -> Result<(Whole, Digest), Error> {
    let whole = target.whole(asked, stat)?;
    let above = fstat(target.folder()).map_err(error_of)?;
    check_free(target.folder(), &above, target.name())?;
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
/// folder was left behind by a killed process, or is about to be removed. Such a folder is also removed, but is not
/// served.
fn check_tree(
    asked: UploadRequest<'_>,
    folder: &OwnedFd,
    path: &[u8],
    is_left: bool,
    room: &mut Remaining,
    digest: &mut Digest,
) -> Result<(), Error> {
    let itself = fstat(folder).map_err(error_of)?;
    let names = match names_in(folder, MOST, |_| true) {
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
        let Some(entry) = check_free(folder, &itself, &name)? else { continue }; // as above
        if !is_left {
            digest.add(&path, FileStat::from(entry));
        }
        if kind != Kind::Folder {
            continue;
        }
        let inner = match open_itself(folder, &name, OFlags::DIRECTORY) {
            Err(Errno::NOENT) => continue,
            inner => inner.map_err(error_of)?,
        };
        let mut check = |room: &mut Remaining| check_tree(asked, &inner, &path, is_left, room, digest);
        // Other requests may still be creating a copy of a folder in one that is about to be removed.
        let twice = || Remaining { depth: 2 * DEEPEST, ..Remaining::of(MOST) };
        if is_removable { check(&mut twice()) } else { room.inside(check) }?;
    }
    Ok(())
}

/// Checks that this process can unlink an entry of a folder: nothing is mounted there, it is not protected, and it is
/// not of another user in a sticky folder. Returns its metadata. `None`: it is gone.
fn check_free(folder: &OwnedFd, itself: &Stat, name: &[u8]) -> Result<Option<Stat>, Error> {
    let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    let (entry, is_fixed) = match found.and_then(|found| Ok((found, sys::is_fixed(folder, name)?))) {
        Err(Errno::NOENT) => return Ok(None),
        found => found.map_err(error_of)?,
    };
    let is_folder = FileType::from_raw_mode(entry.st_mode) == FileType::Directory;
    let is_elsewhere = is_folder && entry.st_dev != itself.st_dev;
    match is_fixed || is_elsewhere || sys::is_sticky_for(itself, &entry) {
        true => Err(conflict(FIXED)),
        false => Ok(Some(entry)),
    }
}

pub(super) fn open_folder(at: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Error> {
    open_itself(at, name, OFlags::DIRECTORY).map_err(error_of)
}

/// Keeps sweeps from removing an entry under another name (see `leftovers`), until it is closed.
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
