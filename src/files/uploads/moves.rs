//! Renames (MOVE: RFC 4918, section 9.9), if files can be deleted. Called by `uploads`.

use http::StatusCode;
use rustix::io::Errno;

use super::super::dav;
use super::super::rights::{ListAll, Move, Read, WriteAll};
use super::super::stat::{FileStat, Kind};
use super::conditions::{check_conditions, check_no_body};
use super::removal::{Removable, check_removable, check_served};
use super::responses::{busy, conflict, created_or_replaced, error_of, location_of, with_tag};
use super::target::{self, Target};
use super::{Policy, UploadHandler, UploadRequest, changes, links};
use crate::{Error, Request, Response};

impl UploadHandler {
    /// Moves a file, or a folder with everything in it, atomically. Replaces an existing target only if `Overwrite`
    /// allows it: a file by a file, and with WebDAV also folders.
    pub(super) fn move_to(&self, asked: UploadRequest<'_>) -> Result<Response, Error> {
        check_no_body(asked.request)?;
        let (path, to_path) = (changes::existing_path(asked)?, destination(asked)?);
        let rights = asked.rights();
        let (moved, written) = (rights.ask::<Move>(&path.bytes)?, rights.ask::<WriteAll>(&to_path)?);
        let from = changes::existing_target(asked, &path, moved)?;
        let to = Target::find(asked, written.into())?;
        let may_replace = self.uploads.overwrite == Policy::Replace && !forbids_overwrite(asked.request);
        let is_taken = || Error::new(StatusCode::PRECONDITION_FAILED, "That name is taken.");
        let mut plain = Some(self.uploads.locks.hold_links());
        let seen = changes::existing(asked, &from)?;
        if seen.kind == Kind::Folder && dav::depth(asked.request)?.is_some() {
            let why = "A folder can only be moved with everything in it (Depth: infinity).";
            return Err(Error::new(StatusCode::BAD_REQUEST, why));
        }
        let is_respelled = is_respelled(&from, seen, &to)?;
        if !is_respelled {
            check_other_name(asked, from.path(), seen, &to)?;
            if !may_replace && to.existing()?.is_some() {
                return Err(is_taken());
            }
        }
        let mut links = links::of(&from, seen)?;
        let mut alone = None;
        if !links.is_empty() {
            plain = None;
            alone =
                Some(self.uploads.locks.hold_moves().ok_or_else(|| busy("Other files are being moved right now.", 1))?);
            links = links::of(&from, seen)?;
        }
        links::check(asked, &from, &to, seen, &links)?;
        let locks = self.hold_all_names(&[&from, &to])?;
        let stat = changes::existing(asked, &from)?;
        if stat.identity() != seen.identity() {
            return Err(conflict("The file or folder was replaced while this request was in progress."));
        }
        // A link can lead to a folder, now or later.
        if stat.kind != Kind::File {
            rights.ask::<ListAll>(from.path())?;
        }
        let (whole_from, whole_to) = (from.whole(asked, stat)?, to.whole(asked, stat)?);
        check_conditions(asked, &from, Some(stat))?;
        self.check_locks(asked, &from, Some(stat))?;
        let spot = self.locked_spot(&from, Some(stat))?;
        let existing = if is_respelled { None } else { to.existing()? };
        self.check_lock_at(asked, &to, existing)?;
        let are_files = existing.is_some_and(|found| (found.kind, stat.kind) == (Kind::File, Kind::File));
        let way = match existing {
            None => None,
            Some(_) if may_replace && are_files => None,
            Some(found) if may_replace && asked.webdav => {
                check_served(asked, to.path(), found.kind)?;
                check_apart(&from, stat, &to, found)?;
                let (whole, _) = check_removable(asked, &to, found)?;
                Some(self.set_aside(&to, found, written, whole)?)
            }
            Some(_) => return Err(is_taken()),
        };
        let renamed = match is_respelled {
            true => self.set_aside(&from, stat, rights.ask(from.path())?, whole_from)?.respell(&to),
            false => from.rename((moved, whole_from), (&to, written, whole_to), are_files),
        };
        renamed.map_err(|errno| match errno {
            Errno::INVAL => conflict("A folder can't be moved into itself."),
            Errno::XDEV => {
                conflict("The target is on another file system, or the server has no permission to move it there.")
            }
            errno => error_of(errno),
        })?;
        let replaced = way.map(|way| self.replaced(way));
        self.forget_locks(&from, spot.as_ref());
        drop((locks, alone, plain));
        replaced.into_iter().for_each(Removable::remove);
        self.sync_folder(to.folder())?;
        self.sync_folder(from.folder())?;
        let location = location_of(asked, to.path(), stat.kind == Kind::Folder);
        let read = rights.grant::<Read>(to.path()).filter(|_| stat.kind == Kind::File);
        let tag = read.and_then(|read| asked.tag_in(&to.open_to_read(read)?, &[]));
        Ok(with_tag(created_or_replaced(location, existing.is_none()), tag))
    }
}

/// Returns whether a move changes only the spelling of a name (its letter case), in a folder that takes both spellings
/// for one name.
fn is_respelled(from: &Target, moved: FileStat, to: &Target) -> Result<bool, Error> {
    let is_one_name = from.name() != to.name() && from.at()? == to.at()?;
    Ok(is_one_name && to.existing()?.is_some_and(|found| found.identity() == moved.identity()))
}

/// Rejects a move or a copy of an entry, or of a link, to the name of the same file.
pub(super) fn check_other_name(
    asked: UploadRequest<'_>,
    from: &[u8],
    itself: FileStat,
    to: &Target,
) -> Result<(), Error> {
    let Some(existing) = to.existing()? else { return Ok(()) };
    let is_target = || asked.finder.root.stat_checked(from).is_ok_and(|it| it.identity() == existing.identity());
    match existing.identity() == itself.identity() || itself.kind == Kind::Link && is_target() {
        true => Err(Error::new(StatusCode::FORBIDDEN, "The source and the destination are the same.")),
        false => Ok(()),
    }
}

/// Rejects with 409 if one of two folders contains the other.
fn check_apart(from: &Target, moved: FileStat, to: &Target, found: FileStat) -> Result<(), Error> {
    match to.folders().contains(&moved.identity()) || from.folders().contains(&found.identity()) {
        true => Err(conflict("A folder can't be moved into itself, or replace a folder that contains it.")),
        false => Ok(()),
    }
}

/// Returns whether `Overwrite` is present and is not `T` (RFC 4918, section 10.6), so that a value that cannot be read
/// never allows anything to be replaced.
pub(super) fn forbids_overwrite(request: &Request) -> bool {
    request.header_all("overwrite").any(|word| !word.trim_ascii().eq_ignore_ascii_case(b"t"))
}

/// Parses `Destination` (RFC 4918, section 10.3), a URL of this server or a path. Returns the path below the folder.
pub(super) fn destination(asked: UploadRequest<'_>) -> Result<Vec<u8>, Error> {
    let missing = || Error::new(StatusCode::BAD_REQUEST, "Expected one Destination field, with the new path.");
    let path = asked.request.destination()?.ok_or_else(missing)?;
    Ok(target::named(asked, &path)?.bytes)
}
