//! Copies of files and whole folders, for WebDAV (COPY: RFC 4918, section 9.8). Called by `uploads`.
//!
//! They are bounded in depth and number of entries. A copy is made under a name that is never served. When it is
//! complete, it gets its own name atomically, if that is still allowed. Only then is the replaced file or folder
//! removed.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use http::StatusCode;

use super::super::dav::{self, Depth};
use super::super::leftovers::remove_tree;
use super::super::open::{OpenError, Opened};
use super::super::path;
use super::super::rights::{List, Read, Rights, Write, WriteAll};
use super::super::stat::{FileStat, Kind, stat_of};
use super::conditions::{check_no_body, lines};
use super::removal::{self, Digest, MOST, Remaining, Removable, check_removable, names_that};
use super::responses::{
    busy, check_size, conflict, created_or_replaced, error_of, io_error, location_of, named, taken,
};
use super::sender_limits::Owner;
use super::target::{self, Target};
use super::{Policy, UploadHandler, UploadRequest, WhileConnected, check_client, moves};
use crate::new_file::without_rights_beyond;
use crate::{Error, Response, Validators};

/// Copying a larger file, or a folder, takes a slot.
const SMALL: u64 = 1 << 20;

#[derive(Clone, Copy)]
struct Copying<'a> {
    upload_handler: &'a UploadHandler,
    asked: UploadRequest<'a>,
    /// The rights of the request, without entries that no request reaches.
    rights: &'a Rights,
}

impl UploadHandler {
    /// Copies a file, or a folder with everything in it that the request can read. `Depth: 0` copies only the folder.
    pub(super) fn copy_to(&self, asked: UploadRequest<'_>) -> Result<Response, Error> {
        check_no_body(asked.request)?;
        let depth = dav::depth(asked.request)?;
        let (path, to_path) = (target::resolve(asked)?, moves::destination(asked)?);
        let rights = asked.rights();
        let written = rights.ask::<WriteAll>(&to_path)?;
        let rights = rights.within_reach(asked.request, asked.mount, &path.bytes);
        if asked.finder.is_hidden(&path.bytes) {
            return Err(Error::no_such_name());
        }
        let from = asked.finder.root.open_at(&rights.ask::<Read>(&path.bytes)?).map_err(unread)?;
        let to = Target::find(asked, written.into())?;
        let copying = Copying { upload_handler: self, asked, rights: &rights };
        let is_folder = matches!(from, Opened::Folder);
        if is_folder && depth == Some(Depth::Entries) || !is_folder && path.trailing_slash {
            let wrong = || Error::new(StatusCode::BAD_REQUEST, "The Depth of a copy must be 0 or infinity.");
            return Err(if is_folder { wrong() } else { Error::no_such_name() });
        }
        copying.check_conditions(&from, &path.bytes)?;
        copying.check_apart(&path.bytes, &to)?;
        let judged = {
            let _guard = self.hold_name(&to)?;
            copying.judge(&to, is_folder)?
        };
        let replaced = match judged {
            Some(stat) => Some((stat, check_removable(asked, &to, stat)?.1)),
            None => None,
        };
        // A copy keeps its worker until it is complete.
        let is_small = matches!(&from, Opened::File(_, stat) if stat.size <= SMALL);
        let slot = if is_small { None } else { self.uploads.copies.take() };
        if !is_small && slot.is_none() {
            return Err(busy("Too many copies are in progress right now.", 10));
        }
        match from {
            Opened::File(file, stat) => copying.file(file, stat, &to, replaced)?,
            Opened::Folder => copying.folder(&path.bytes, &to, replaced, depth != Some(Depth::Itself))?,
        }
        self.sync_folder(to.folder())?;
        let location = location_of(asked, to.path(), is_folder);
        Ok(created_or_replaced(location, replaced.is_none()))
    }
}

/// A new folder under a name that is never served, with what was copied to it. It is removed unless it gets its final
/// name.
struct Part<'a> {
    upload_handler: &'a UploadHandler,
    target: Target,
    stored: Vec<Stored>,
    is_complete: bool,
    _held: OwnedFd,
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        let (folder, name) = (self.target.folder(), self.target.name());
        if !self.is_complete {
            let Err(errno) = remove_tree(folder, name) else { return };
            self.upload_handler.swept.forget(folder);
            let name = String::from_utf8_lossy(name);
            log::error!(target: "modest::files", "can't remove {name} of a failed copy: {errno}");
        }
        self.stored.iter().for_each(Stored::keep); // entries that are still there count
    }
}

impl Copying<'_> {
    /// Rejects a copy to itself with 403, and a copy of a folder into itself, or over a folder that contains it, with
    /// 409.
    fn check_apart(self, from: &[u8], to: &Target) -> Result<(), Error> {
        let root = &self.asked.finder.root;
        let Ok(source) = root.stat_checked(from) else { return Err(Error::no_such_name()) };
        moves::check_other_name(self.asked, from, root.stat_itself(from)?, to)?;
        let existing = to.existing()?.map(|found| found.identity());
        let real = root.resolve(from).unwrap_or_default();
        let above = path::folders_above(from).skip(1).chain(path::folders_above(&real).skip(1));
        let mut above = above.filter_map(|folder| root.stat_checked(folder).ok());
        let is_above = above.any(|folder| Some(folder.identity()) == existing);
        match is_above || source.kind == Kind::Folder && to.folders().contains(&source.identity()) {
            true => Err(conflict("A folder can't be copied into itself, or replace a folder that contains it.")),
            false => Ok(()),
        }
    }

    /// Checks the conditions of the request, which apply to the original.
    fn check_conditions(self, from: &Opened, path: &[u8]) -> Result<(), Error> {
        let (etag, dated) = match from {
            Opened::File(file, stat) => (self.asked.tag_in(file, &lines(self.asked.request)), Some(stat.dated())),
            Opened::Folder => (None, self.asked.finder.root.stat_checked(path).ok().map(|stat| stat.dated())),
        };
        let validators = Validators { etag, last_modified: dated.and_then(|dated| dated.to_system_time()) };
        self.asked.request.check_preconditions(Some(&validators))
    }

    /// Returns what a copy to this name would replace, if it is allowed. The caller holds a lock on the name.
    fn judge(self, to: &Target, is_folder: bool) -> Result<Option<FileStat>, Error> {
        let Copying { upload_handler, asked, .. } = self;
        let existing = to.existing()?;
        upload_handler.check_if(asked)?;
        upload_handler.check_lock_at(asked, to, existing)?;
        let Some(stat) = existing else { return Ok(None) };
        if upload_handler.uploads.overwrite != Policy::Replace || moves::forbids_overwrite(asked.request) {
            return Err(Error::new(StatusCode::PRECONDITION_FAILED, "That name is taken."));
        }
        removal::check_served(asked, to.path(), stat.kind)?;
        if (is_folder || stat.kind != Kind::File) && !upload_handler.uploads.delete {
            return Err(Error::new(StatusCode::FORBIDDEN, "Nothing can be deleted here."));
        }
        Ok(existing)
    }

    /// Gives a complete copy its name, if that is still allowed and the entry that it replaces is unchanged.
    fn finish(
        self,
        to: &Target,
        judged: Option<(FileStat, Digest)>,
        is_folder: bool,
        give: impl FnOnce(Option<FileStat>) -> rustix::io::Result<()>,
    ) -> Result<(), Error> {
        let Copying { upload_handler, asked, .. } = self;
        let is_file = |stat: &FileStat| !is_folder && stat.kind == Kind::File;
        let guards = match judged.filter(|(stat, _)| !is_file(stat)) {
            Some(_) => upload_handler.hold_all_names(&[to])?,
            None => vec![upload_handler.hold_name(to)?],
        };
        let existing = self.judge(to, is_folder)?;
        let now = existing.map(|stat| check_removable(asked, to, stat)).transpose()?;
        if now.as_ref().map(|(_, digest)| *digest) != judged.map(|(_, digest)| digest) {
            return Err(conflict("The destination has changed in the meantime."));
        }
        let way = match existing.zip(now).filter(|(stat, _)| !is_file(stat)) {
            Some((stat, (whole, _))) => {
                let granted = asked.rights().ask::<WriteAll>(to.path())?;
                Some(upload_handler.set_aside(to, stat, granted, whole)?)
            }
            None => None,
        };
        give(existing.filter(|_| way.is_none())).map_err(error_of)?;
        let replaced = way.map(|way| upload_handler.replaced(way));
        drop(guards);
        replaced.into_iter().for_each(Removable::remove);
        Ok(())
    }

    fn file(self, from: File, stat: FileStat, to: &Target, replaced: Option<(FileStat, Digest)>) -> Result<(), Error> {
        let stored = self.copy_file(from, stat, to, |give| self.finish(to, replaced, false, give))?;
        stored.keep();
        Ok(())
    }

    /// Copies a file. `finish` gives the complete copy its name. No user of the machine can read the copy who can't
    /// read the original.
    fn copy_file(
        self,
        from: File,
        FileStat { size, mode, modified, .. }: FileStat,
        to: &Target,
        finish: impl FnOnce(&mut dyn FnMut(Option<FileStat>) -> rustix::io::Result<()>) -> Result<(), Error>,
    ) -> Result<Stored, Error> {
        let Copying { upload_handler, asked, .. } = self;
        let request = asked.request;
        check_size(Some(size), upload_handler.uploads.max_size)?;
        let _slot = upload_handler.shares.begin(Owner::of(request))?;
        let held = upload_handler.hold(request, Some(size))?;
        let file = upload_handler.new_file(to.folder(), Some(size))?;
        let mut whole = WhileConnected { request, from: &from, unasked: 0 }.take(size);
        super::copy(&mut whole, &mut upload_handler.writer(&file, &held))?;
        if stat_of(&from).map(|now| (now.size, now.modified)) != Ok((size, modified)) {
            return Err(conflict("The file changed while it was being copied."));
        }
        #[cfg(feature = "webdav")]
        super::properties::copy(from, file.file());
        file.restrict(mode);
        if upload_handler.uploads.fsync {
            file.sync().map_err(io_error)?;
        }
        finish(&mut |replaced| match replaced {
            Some(mut existing) => {
                existing.mode = without_rights_beyond(existing.mode, mode);
                to.replace_by(&file, existing)
            }
            None => to.give_to(&file),
        })?;
        Ok(Stored { held, bytes: file.written() })
    }

    /// Copies a folder, which gets its name when the copy is complete.
    fn folder(
        self,
        from: &[u8],
        to: &Target,
        replaced: Option<(FileStat, Digest)>,
        is_whole: bool,
    ) -> Result<(), Error> {
        let Copying { upload_handler, asked, .. } = self;
        to.check_as_folder(asked)?;
        let held = upload_handler.hold(asked.request, None)?;
        upload_handler.check_room(to.folder(), 0)?;
        let (target, _held) = to.make_part().map_err(error_of)?;
        let stored = vec![Stored { held, bytes: 0 }];
        self.restrict_folder(from, &target);
        let mut part = Part { upload_handler, target, stored, is_complete: false, _held };
        if is_whole {
            self.contents(from, &part.target, &mut Remaining::of(MOST), &mut part.stored)?;
        }
        self.finish(to, replaced, true, |_| part.target.complete())?;
        part.is_complete = true;
        Ok(())
    }

    /// Gives the users of the machine no more rights to the copy of a folder than to the original.
    fn restrict_folder(self, from: &[u8], to: &Target) {
        if let Ok(stat) = self.asked.finder.root.stat_checked(from) {
            to.restrict(stat.mode);
        }
    }

    /// Copies the entries of a folder to a new one, which is not served yet.
    fn contents(self, from: &[u8], to: &Target, room: &mut Remaining, stored: &mut Vec<Stored>) -> Result<(), Error> {
        let Copying { asked, rights, .. } = self;
        let written = asked.rights();
        let folder = asked.finder.root.open_folder(&rights.ask::<List>(from)?).map_err(unread)?;
        let is_copied = |path: &[u8]| rights.grant::<Read>(path).is_some() && !asked.finder.is_hidden(path);
        let names = names_that(&folder, MOST, |name| is_copied(&path::join(from, name)))?;
        for (name, kind) in names {
            let path = path::join(from, &name);
            let read = rights.ask::<Read>(&path)?;
            room.take_entry()?;
            check_client(asked.request)?;
            let named = |error| named(&String::from_utf8_lossy(&path), error);
            let copy = || to.inside(asked, written.ask::<Write>(&path::join(to.path(), &name))?).map_err(named);
            match asked.finder.root.open_at(&read) {
                Ok(Opened::File(file, stat)) => {
                    let copy = copy()?;
                    let finish = |give: &mut dyn FnMut(Option<FileStat>) -> _| self.finish(&copy, None, false, give);
                    stored.push(self.copy_file(file, stat, &copy, finish).map_err(named)?);
                }
                Ok(Opened::Folder) if rights.grant::<List>(&path).is_some() => {
                    let copy = copy()?;
                    room.inside(|room| {
                        // The conditions of the request apply to the original.
                        let held = self.upload_handler.make_for_now(asked, &copy, || Ok(()))?.ok_or_else(taken)?;
                        stored.push(Stored { held, bytes: 0 });
                        self.restrict_folder(&path, &copy);
                        self.contents(&path, &copy, room, stored)
                    })?;
                }
                Err(OpenError::NotFound) if matches!(kind, Kind::File | Kind::Folder) => {
                    return Err(conflict("The folder changed while it was being copied."));
                }
                Ok(Opened::Folder) | Err(OpenError::NotFound | OpenError::Forbidden) => {}
                Err(error) => return Err(unread(error)),
            }
        }
        Ok(())
    }
}

/// A complete copy of a file or a folder, which counts towards the quota once the whole copy is complete.
struct Stored {
    held: Arc<super::Held>,
    bytes: u64,
}

impl Stored {
    fn keep(&self) {
        self.held.keep(self.bytes);
    }
}

fn unread(error: OpenError) -> Error {
    match error {
        OpenError::NotFound => Error::no_such_name(),
        OpenError::Forbidden => Error::new(StatusCode::FORBIDDEN, "The server has no permission to read it."),
        OpenError::Io(cause) | OpenError::Busy(cause) | OpenError::TooManyListings(cause) => Error::from(cause),
    }
}
