//! Files and folders from a form, `multipart/form-data`, as the page of a folder has one that works without a script. Called by
//! `taking`.
//!
//! The form is written to a file without a name as it comes, and its files are copied out of that when it is whole: so they
//! are written twice, and no worker is held while they come. (The page's script sends each file by a PUT.)

use std::io::{Seek, SeekFrom};
use std::sync::Arc;

use http::{StatusCode, header};
use rustix::io::Errno;

use super::super::new_file::Writer;
use super::super::path::{self, FilePath};
use super::target::{self, Target};
use super::{
    Arriving, Held, Place, Taking, announced_length, check_content_fields, check_right, copy, error_of, location_of,
    taken,
};
use crate::{BodyPlan, Error, FormData, FormDataLimits, Part, Request, Response};

/// A folder that is chosen in a browser is sent as a part for each file.
const MAX_PARTS: usize = 10_000;
/// How many folders within each other a name may make.
const MAX_DEPTH: usize = 64;
/// The field that holds the name of a folder to make.
const FOLDER: &str = "folder";

/// Where the files of a form go.
#[derive(Clone, Copy)]
struct Destination<'a> {
    place: Place<'a>,
    request: &'a Request,
    folder: &'a [u8],
    held: &'a Held,
}

impl Taking {
    pub(super) fn before_form(&self, place: Place<'_>, request: &Request, plan: &mut BodyPlan) -> Result<(), Error> {
        let path = self.form_folder(place, request)?;
        if !request.has_media_type("multipart/form-data") {
            let wanted = "A form with files is wanted: multipart/form-data.";
            return Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, wanted));
        }
        let length = announced_length(request)?;
        let folder = place.finder.root.folder_to_change(&path).map_err(error_of)?;
        self.begin(request, &folder, length, plan)
    }

    /// All of its files, in order. If one can't be stored those before it stay, and the answer says which they are.
    pub(super) fn take_form(&self, place: Place<'_>, request: &Request) -> Result<Response, Error> {
        let path = self.form_folder(place, request)?;
        let content_type = request.header("content-type").unwrap_or_default();
        let limits = FormDataLimits::default().parts(MAX_PARTS).field(path::MAX_NAME);
        let mut stored = Vec::new();
        let arriving = request.value::<Arriving>();
        let held = match &arriving {
            Some(arriving) => Arc::clone(&arriving.held),
            None => self.hold(request, None)?,
        };
        let to = Destination { place, request, folder: &path, held: &held };
        let taken = match arriving.filter(|arriving| arriving.file.written() > 0) {
            Some(arriving) => {
                let mut file = arriving.file.file();
                file.seek(SeekFrom::Start(0))?;
                FormData::new(file, content_type, limits).and_then(|form| self.take_parts(to, form, &mut stored))
            }
            None => FormData::new(request.reader(), content_type, limits)
                .and_then(|form| self.take_parts(to, form, &mut stored)),
        };
        match taken {
            // To the page of the folder, by a GET: to load it again sends nothing again.
            Ok(()) => {
                let location = location_of(place, &path, true);
                Ok(Response::redirect_with(StatusCode::SEE_OTHER, &location))
            }
            Err(error) if stored.is_empty() => Err(error),
            Err(error) => {
                let message = format!("{} Stored before: {}.", error.message_or_reason(), stored.join(", "));
                Err(error.with_message(message))
            }
        }
    }

    fn take_parts<R: std::io::Read>(
        &self,
        to: Destination<'_>,
        mut form: FormData<R>,
        stored: &mut Vec<String>,
    ) -> Result<(), Error> {
        while let Some(mut part) = form.next_part()? {
            let Some(name) = part.file_name().map(str::to_owned) else {
                if part.name() == FOLDER {
                    let name = part.text()?;
                    if !name.is_empty() {
                        self.make_one(to, &name).map_err(|error| named(&name, error))?;
                        stored.push(name);
                    }
                }
                continue;
            };
            // Where no file was chosen a browser sends an empty name.
            if !name.is_empty() {
                self.take_file(to, &name, &mut part).map_err(|error| named(&name, error))?;
                stored.push(name);
            }
        }
        Ok(())
    }

    fn make_one(&self, to: Destination<'_>, name: &str) -> Result<(), Error> {
        target::check_name(name.as_bytes())?;
        let path = path::join(to.folder, name.as_bytes());
        check_right(to.place, to.request, &path)?;
        match self.make(to.place, to.request, &Target::find(to.place.finder, &path)?)? {
            true => Ok(()),
            false => Err(taken()),
        }
    }

    /// A file by its path in the folder: browsers send one of what was chosen as a whole folder.
    fn take_file<R: std::io::Read>(
        &self,
        to: Destination<'_>,
        name: &str,
        part: &mut Part<'_, R>,
    ) -> Result<(), Error> {
        let Destination { place, request, folder, held } = to;
        if name.split('/').count() > MAX_DEPTH {
            return Err(Error::new(StatusCode::BAD_REQUEST, "A name has at most 63 folders in it."));
        }
        let mut path = folder.to_vec();
        let mut names = name.split('/').peekable();
        while let Some(name) = names.next() {
            path = path::join(&path, name.as_bytes());
            let target = Target::find(place.finder, &path)?; // each name, so none is `..`
            check_right(place, request, &path)?;
            if names.peek().is_some() {
                self.make(place, request, &target)?;
                continue; // if there was something that is no folder, the next name finds none
            }
            let existing = target.existing_file()?;
            self.check_policy(request, existing)?;
            let file = self.new_file(&target.folder, None)?;
            copy(part, &mut Writer { to: Arc::clone(&file), reserve: self.uploads.reserve })?;
            held.have(file.written())?; // it is a part of what is held for the form, but for what is less than a block
            self.store(place, request, target, &file, held)?;
        }
        Ok(())
    }

    /// The folder that the form is for: one that is there.
    fn form_folder(&self, place: Place<'_>, request: &Request) -> Result<Vec<u8>, Error> {
        let FilePath { bytes: path, trailing_slash } = target::resolve(place, request)?;
        check_content_fields(request)?;
        target::check_hidden(place.finder, &path)?;
        place.finder.root.folder_to_change(&path).map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP => {
                Error::new(StatusCode::NOT_FOUND, "There is no such folder here.")
            }
            errno => error_of(errno),
        })?;
        if !trailing_slash {
            let location = location_of(place, &path, true);
            let error = Error::new(StatusCode::PERMANENT_REDIRECT, "A folder's path ends with a slash.");
            return Err(error.with_header(header::LOCATION, location));
        }
        Ok(path)
    }
}

/// The same about this name.
fn named(name: &str, error: Error) -> Error {
    let message = format!("{}: {}", name.replace(path::is_misleading, "\u{fffd}"), error.message_or_reason());
    error.with_message(message)
}
