//! Stores files: PUT, and the name of each complete file, however it was sent. Called by `uploads`.

use std::sync::Arc;

use rustix::io::Errno;

use super::super::stat::FileStat;
use super::conditions::{announced_length, check_conditions, check_content_coding, check_stated_length};
use super::responses::{created, error_of, io_error, location_of, taken, with_tag};
use super::sender_limits::Held;
use super::target::{self, Target};
use super::{Arriving, Policy, UploadHandler, UploadRequest, copy};
use crate::new_file::NewFile;
use crate::{BodyPlan, Error, Request, Response};

/// How often a free name is searched for again if another request has taken it.
const MAX_TRIES: usize = 100;

#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    path: Vec<u8>,
    is_new: bool,
    tag: Option<crate::ETag>,
}

impl UploadHandler {
    pub(super) fn before_put(&self, asked: UploadRequest<'_>, plan: &mut BodyPlan) -> Result<(), Error> {
        let target = self.put_target(asked)?;
        let length = announced_length(asked.request)?;
        check_stated_length(asked.request, length)?;
        self.check_target(asked, &target)?;
        self.begin(asked.request, target.folder(), length, plan, || self.hold_whole(asked, length))
    }

    /// Checks whether the request can store a file at this target. Returns what already exists there.
    pub(super) fn check_target(&self, asked: UploadRequest<'_>, target: &Target) -> Result<Option<FileStat>, Error> {
        let renames = self.policy(asked.request) == Policy::Rename;
        let existing = if renames { target.existing()? } else { target.existing_file()? };
        check_conditions(asked, target, existing)?;
        match existing {
            // The existing entry, of any kind, is left unchanged, so its lock does not apply.
            Some(_) if renames => self.check_if(asked)?,
            _ => self.check_locks(asked, target, existing)?,
        }
        match self.policy(asked.request) {
            Policy::Refuse if existing.is_some() => Err(taken()),
            // A request with `If-Match` is for an existing file.
            Policy::Rename if asked.conditions.header("if-match").is_some() => Err(taken()),
            _ => Ok(existing),
        }
    }

    fn put_target(&self, asked: UploadRequest<'_>) -> Result<Target, Error> {
        let path = target::of_file(asked)?;
        check_content_coding(asked.request)?;
        asked.target(&path)
    }

    pub(super) fn put(&self, asked: UploadRequest<'_>) -> Result<Response, Error> {
        let target = self.put_target(asked)?;
        let body_length = asked.request.body().whole_len()?;
        let (file, held) = match asked.request.value_for::<Arriving>(self) {
            Some(arriving) => (Arc::clone(&arriving.file), Arc::clone(&arriving.held)),
            None => {
                let length = Some(body_length);
                (self.new_file(target.folder(), length)?, self.hold(asked.request, length)?)
            }
        };
        // A request built by hand carries its body.
        if file.written() < body_length {
            copy(&mut asked.request.reader(), &mut self.writer(&file, &held))?;
        }
        check_stated_length(asked.request, Some(file.written()))?;
        let stored = self.store(asked, target, &file, &held)?;
        self.note(asked, file.written(), &stored)?;
        Ok(stored_response(asked, stored))
    }

    pub(super) fn store(
        &self,
        asked: UploadRequest<'_>,
        target: Target,
        file: &NewFile,
        held: &Held,
    ) -> Result<Stored, Error> {
        let (target, is_new) = self.name(asked, target, file)?;
        self.stored(asked, &target, is_new, file, held)
    }

    /// Gives a complete file its name, if all checks pass. Returns the name, and whether it is new. If this fails, the
    /// file has no name.
    pub(super) fn name(
        &self,
        asked: UploadRequest<'_>,
        target: Target,
        file: &NewFile,
    ) -> Result<(Target, bool), Error> {
        if self.uploads.fsync {
            file.sync().map_err(io_error)?;
        }
        let _lock = self.hold_name(&target)?;
        let existing = self.check_target(asked, &target)?;
        match (existing, self.policy(asked.request)) {
            (Some(existing), Policy::Replace) => {
                #[cfg(feature = "webdav")]
                if asked.webdav
                    && let Ok(before) = target.open_for_properties()
                {
                    super::properties::copy(before, file.file());
                }
                target.replace_by(file, existing).map_err(error_of)?;
                Ok((target, false))
            }
            (_, Policy::Rename) => Ok((self.name_freely(asked, target, file)?, true)),
            _ => {
                target.give_to(file).map_err(error_of)?; // `EXIST`: another program has just created it
                Ok((target, true))
            }
        }
    }

    pub(super) fn stored(
        &self,
        asked: UploadRequest<'_>,
        target: &Target,
        is_new: bool,
        file: &NewFile,
        held: &Held,
    ) -> Result<Stored, Error> {
        held.keep(file.written());
        self.sync_folder(target.folder())?;
        let tag = asked.tag_in(file.file(), &[]);
        Ok(Stored { path: target.path().to_vec(), is_new, tag })
    }

    /// Gives a file the first free name of `photo.jpg`, `photo (1).jpg`, `photo (2).jpg` and so on.
    fn name_freely(&self, asked: UploadRequest<'_>, mut target: Target, file: &NewFile) -> Result<Target, Error> {
        let name = target.name().to_vec();
        for _ in 0..MAX_TRIES {
            match target.give_to(file) {
                Ok(()) => return Ok(target),
                Err(Errno::EXIST) => target = target.free(asked, &name)?,
                Err(errno) => return Err(error_of(errno)),
            }
            self.check_lock_at(asked, &target, None)?;
        }
        Err(taken())
    }

    /// Returns what happens if the name of an upload is taken. A request can choose a free name (`?overwrite=rename`).
    fn policy(&self, request: &Request) -> Policy {
        if renames(request) { Policy::Rename } else { self.uploads.overwrite }
    }
}

pub(super) fn stored_response(asked: UploadRequest<'_>, stored: Stored) -> Response {
    let location = location_of(asked, &stored.path, false);
    let response = match stored.is_new {
        true => created(location),
        false => Response::no_content(),
    };
    with_tag(response, stored.tag)
}

/// Returns whether the request chooses a free name if its own is taken.
pub(super) fn renames(request: &Request) -> bool {
    request.param("overwrite").as_deref() == Some("rename")
}
