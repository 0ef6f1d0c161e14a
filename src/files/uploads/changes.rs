//! Creates folders (MKCOL: RFC 4918, section 9.3), and deletes. Called by `uploads`.

use std::sync::Arc;

use http::StatusCode;
use rustix::io::Errno;

use super::super::dav;
use super::super::path::FilePath;
use super::super::rights::{Granted, Kind as Access, Write, WriteAll};
use super::super::stat::{FileStat, Kind};
use super::conditions::{check_conditions, check_no_body};
use super::removal::{Removable, check_removable, check_served, has_only_leftovers};
use super::responses::{conflict, created, error_of, location_of};
use super::sender_limits::Held;
use super::target::{self, Target};
use super::{UploadHandler, UploadRequest};
use crate::{Error, Response};

impl UploadHandler {
    pub(super) fn make_folder(&self, asked: UploadRequest<'_>) -> Result<Response, Error> {
        check_no_body(asked.request)?;
        let path = target::resolve(asked)?;
        let exists = || Error::new(StatusCode::METHOD_NOT_ALLOWED, "That name is taken.");
        if path.bytes.is_empty() {
            return Err(exists());
        }
        let target = asked.target(&path.bytes)?;
        self.check_if(asked)?;
        if !self.make(asked, &target)? {
            return Err(exists());
        }
        Ok(created(location_of(asked, target.path(), true)))
    }

    /// Creates a folder with this name, if the conditions of the request hold. Returns whether the name was free.
    pub(super) fn make(&self, asked: UploadRequest<'_>, target: &Target) -> Result<bool, Error> {
        let made = self.make_for_now(asked, target, || check_conditions(asked, target, None))?;
        made.iter().for_each(|held| held.keep(0));
        Ok(made.is_some())
    }

    /// Creates a folder that counts towards the quota only once the caller keeps it. `None` if the name is taken.
    pub(super) fn make_for_now(
        &self,
        asked: UploadRequest<'_>,
        target: &Target,
        check: impl FnOnce() -> Result<(), Error>,
    ) -> Result<Option<Arc<Held>>, Error> {
        let _guard = self.hold_name(target)?;
        if target.existing()?.is_some() {
            return Ok(None);
        }
        check()?;
        target.check_as_folder(asked)?;
        self.check_lock_at(asked, target, None)?; // for a file that other requests have removed
        let held = self.hold(asked.request, None)?;
        self.check_room(target.folder(), 0)?;
        match target.make_folder() {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(None), // another program has just created it
            Err(errno) => return Err(error_of(errno)),
        }
        // If syncing fails, the folder exists nevertheless.
        let _ = self.sync_folder(target.folder());
        Ok(Some(held))
    }

    /// Deletes a file, a link itself, or an empty folder. With WebDAV, a folder is deleted with everything in it (RFC
    /// 4918, section 9.6.1), unless a client asks for the empty folder by `Depth: 0`, as the page does.
    pub(super) fn delete(&self, asked: UploadRequest<'_>) -> Result<Response, Error> {
        check_no_body(asked.request)?;
        let path = existing_path(asked)?;
        let granted = asked.rights().ask::<WriteAll>(&path.bytes)?;
        let target = existing_target(asked, &path, granted)?;
        let seen = existing(asked, &target)?;
        let locks = match seen.kind {
            Kind::File => vec![self.hold_name(&target)?], // freeing a large file takes time
            _ => self.hold_all_names(&[&target])?,
        };
        let stat = existing(asked, &target)?;
        if stat.kind != seen.kind {
            return Err(conflict("The file or folder was replaced while this request was in progress."));
        }
        let is_folder = stat.kind == Kind::Folder;
        check_conditions(asked, &target, Some(stat))?;
        self.check_locks(asked, &target, Some(stat))?;
        let spot = self.locked_spot(&target, Some(stat))?;
        let removable = match target.remove(is_folder, granted) {
            Err(Errno::NOTEMPTY | Errno::EXIST)
                if asked.webdav && dav::depth(asked.request)?.is_none() || has_only_leftovers(&target) =>
            {
                let (whole, _) = check_removable(asked, &target, stat)?;
                Some(self.set_aside(&target, stat, granted, whole)?.into_removable())
            }
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                let why = "The folder is not empty. Delete its contents first.";
                return Err(Error::new(StatusCode::CONFLICT, why));
            }
            Err(Errno::NOENT) => return Err(Error::no_such_name()),
            removed => removed.map(|()| None).map_err(error_of)?,
        };
        self.forget_locks(&target, spot.as_ref());
        drop(locks);
        removable.into_iter().for_each(Removable::remove);
        self.sync_folder(target.folder())?;
        Ok(Response::no_content())
    }
}

/// Returns the path of a request for something below the topmost folder.
pub(super) fn existing_path(asked: UploadRequest<'_>) -> Result<FilePath, Error> {
    let path = target::resolve(asked)?;
    if path.bytes.is_empty() {
        return Err(Error::new(StatusCode::FORBIDDEN, "The top folder can't be moved or deleted."));
    }
    Ok(path)
}

/// Returns the target of something that may exist.
pub(super) fn existing_target<'p, A: Access>(
    asked: UploadRequest<'_>,
    path: &FilePath,
    granted: Granted<'p, A>,
) -> Result<Target, Error>
where
    Granted<'p, Write>: From<Granted<'p, A>>,
{
    let target = Target::open(asked, granted.into())
        .map_err(|error| if error.status() == StatusCode::CONFLICT { Error::no_such_name() } else { error })?;
    // `file/` is not `file`. A listing shows a link to a folder with a slash.
    let is_folder = |stat: FileStat| match stat.kind {
        Kind::Link => asked.finder.root.stat_checked(&path.bytes).is_ok_and(|found| found.kind == Kind::Folder),
        kind => kind == Kind::Folder,
    };
    match target.existing()? {
        Some(stat) if path.trailing_slash && !is_folder(stat) => Err(Error::no_such_name()),
        _ => Ok(target),
    }
}

/// Returns the existing entry, if it is served. For any other entry the response is the same as for a missing one.
pub(super) fn existing(asked: UploadRequest<'_>, target: &Target) -> Result<FileStat, Error> {
    let stat = target.existing()?.ok_or_else(Error::no_such_name)?;
    check_served(asked, target.path(), stat.kind).map(|()| stat).map_err(|_| Error::no_such_name())
}
