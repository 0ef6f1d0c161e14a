//! Files and folders from a form, `multipart/form-data`, as the page of a folder sends it where JavaScript is off.
//! Called by `uploads`.
//!
//! The form is stored in an unnamed file while it arrives, and its files are copied from it when it is complete. So
//! each file is written twice, and no worker is held while the form arrives. (The page's script sends each file by a
//! PUT.)

use std::collections::HashSet;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use http::{StatusCode, header};
use rustix::io::Errno;

use super::super::free_space::Writer;
use super::super::open::OpenFolder;
use super::super::path::{self, FilePath};
use super::super::rights::Write;
use super::conditions::{announced_length, check_content_coding};
use super::responses::{error_of, named, redirect_to_folder, shown, taken};
use super::sender_limits::Held;
use super::target;
use super::writable::{Writable, check_place};
use super::{Arriving, UploadHandler, UploadRequest, WhileConnected, check_client, copy};
use crate::{BodyPlan, Error, FormData, FormDataLimits, Part, Response};

/// A browser sends a selected folder as one part per file.
const MAX_PARTS: usize = 10_000;
/// How many nested folders a name can create.
const MAX_DEPTH: usize = 64;
/// How many folders the names of a form can create in total.
const MAX_FOLDERS: usize = 1000;
/// This many files are stored, and this many bytes of the form read, without checking whether the client is still
/// connected: see `WhileConnected`.
const UNASKED: usize = 100;
const UNASKED_BYTES: u64 = 16 << 20;
const MAX_NAMED: usize = 10;
/// The field with the name of a folder to create.
const FOLDER: &str = "folder";

#[derive(Clone, Copy)]
struct Destination<'a> {
    asked: UploadRequest<'a>,
    folder: &'a [u8],
    held: &'a Held,
}

#[derive(Default)]
struct Done {
    /// How many files and folders are stored. `names` has the first of their names.
    stored: usize,
    names: Vec<String>,
    /// Folders that exist, below the root.
    folders: HashSet<Vec<u8>>,
}

impl UploadHandler {
    pub(super) fn before_form(&self, asked: UploadRequest<'_>, plan: &mut BodyPlan) -> Result<(), Error> {
        let (_, folder) = self.form_folder(asked)?;
        if !asked.request.has_media_type("multipart/form-data") {
            let wanted = "Expected a form with files: multipart/form-data.";
            return Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, wanted));
        }
        self.check_if(asked)?;
        let length = announced_length(asked.request)?;
        self.begin(asked.request, &folder, length, plan, || self.hold(asked.request, length))
    }

    /// Stores all files in order. If one cannot be stored, those before it stay, and the response lists them.
    pub(super) fn take_form(&self, asked: UploadRequest<'_>) -> Result<Response, Error> {
        let (path, _) = self.form_folder(asked)?;
        self.check_if(asked)?;
        let content_type = asked.request.header("content-type").unwrap_or_default();
        let limits = FormDataLimits::default().parts(MAX_PARTS).field(path::MAX_NAME);
        let mut done = Done::default();
        let arriving = asked.request.value_for::<Arriving>(self);
        let held = match &arriving {
            Some(arriving) => Arc::clone(&arriving.held),
            None => self.hold(asked.request, None)?,
        };
        let to = Destination { asked, folder: &path, held: &held };
        let from: Box<dyn Read> = match arriving.as_ref().filter(|arriving| arriving.file.written() > 0) {
            Some(arriving) => {
                let mut file = arriving.file.file();
                file.seek(SeekFrom::Start(0))?;
                Box::new(file)
            }
            None => Box::new(asked.request.reader()),
        };
        let from = WhileConnected { request: asked.request, from, unasked: UNASKED_BYTES };
        let taken = FormData::new(from, content_type, limits).and_then(|form| self.take_parts(to, form, &mut done));
        match taken {
            // Redirect to the page of the folder by a GET, so that a reload sends nothing again.
            Ok(()) => Ok(redirect_to_folder(asked, &path, StatusCode::SEE_OTHER)),
            Err(error) => Err(done.named(error)),
        }
    }

    fn take_parts<R: Read>(&self, to: Destination<'_>, mut form: FormData<R>, done: &mut Done) -> Result<(), Error> {
        while let Some(mut part) = form.next_part()? {
            if done.stored >= UNASKED {
                check_client(to.asked.request)?;
            }
            let Some(name) = part.file_name().map(str::to_owned) else {
                if part.name() == FOLDER {
                    let name = part.text()?;
                    if !name.is_empty() {
                        self.make_one(to, &name).map_err(|error| named(&name, error))?;
                        done.store(name);
                    }
                }
                continue;
            };
            // If no file was selected, a browser sends an empty name and no content.
            if !name.is_empty() {
                self.take_file(to, &name, &mut part, done).map_err(|error| named(&name, error))?;
                done.store(name);
            } else if part.read(&mut [0])? > 0 {
                return Err(Error::new(StatusCode::BAD_REQUEST, "A file in the form has no name."));
            }
        }
        Ok(())
    }

    fn make_one(&self, to: Destination<'_>, name: &str) -> Result<(), Error> {
        target::check_name(name.as_bytes())?;
        let path = path::join(to.folder, name.as_bytes());
        match self.make(to.asked, &to.asked.target(&path)?)? {
            true => Ok(()),
            false => Err(taken()),
        }
    }

    /// Stores a file at its path in the folder: browsers send a path if a whole folder was selected.
    fn take_file<R: Read>(
        &self,
        to: Destination<'_>,
        name: &str,
        part: &mut Part<'_, R>,
        done: &mut Done,
    ) -> Result<(), Error> {
        let Destination { asked, held, .. } = to;
        let path = self.make_folders(to, name, done)?;
        let target = asked.target(&path)?;
        self.check_target(asked, &target)?;
        let file = self.new_file(target.folder(), None)?;
        copy(part, &mut Writer { to: Arc::clone(&file), reserve: self.uploads.reserve })?;
        held.have(file.written())?; // the form's share already includes the file, except for the rest of its last block
        self.store(asked, target, &file, held)?;
        Ok(())
    }

    /// Creates the folders of a file's path, if the whole path is allowed. Returns the path of the file.
    fn make_folders(&self, to: Destination<'_>, name: &str, done: &mut Done) -> Result<Vec<u8>, Error> {
        if name.split('/').count() > MAX_DEPTH {
            return Err(Error::new(StatusCode::BAD_REQUEST, "A name can contain at most 63 folders."));
        }
        let (mut path, mut folders) = (to.folder.to_vec(), Vec::new());
        let mut names = name.split('/').peekable();
        let rights = to.asked.rights();
        while let Some(name) = names.next() {
            path = path::join(&path, name.as_bytes());
            let is_folder = names.peek().is_some();
            if is_folder && done.folders.contains(&path) || !is_folder && folders.is_empty() {
                continue; // the file's own name is checked when it is stored
            }
            target::check_name(name.as_bytes())?;
            Writable::check(to.asked, rights.ask(&path)?)?;
            if is_folder {
                folders.push(path.clone());
            }
        }
        if done.folders.len() + folders.len() > MAX_FOLDERS {
            let why = format!("A form can have files in at most {MAX_FOLDERS} folders.");
            return Err(Error::new(StatusCode::PAYLOAD_TOO_LARGE, why));
        }
        for folder in folders {
            // If something else exists, the next name fails.
            self.make(to.asked, &to.asked.target(&folder)?)?;
            done.folders.insert(folder);
        }
        Ok(path)
    }

    pub fn form_folder(&self, asked: UploadRequest<'_>) -> Result<(Vec<u8>, OpenFolder), Error> {
        let FilePath { bytes: path, trailing_slash } = target::resolve(asked)?;
        check_content_coding(asked.request)?;
        check_place(asked, &path)?;
        let rights = asked.rights();
        asked.finder.freshness.ask_for_root(&asked.finder.root);
        let folder =
            asked.finder.root.folder_to_change(&path, rights.ask::<Write>(&path)?).map_err(|errno| match errno {
                Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP => {
                    Error::new(StatusCode::NOT_FOUND, "There is no such folder here.")
                }
                errno => error_of(errno),
            })?;
        if !trailing_slash {
            let redirect = redirect_to_folder(asked, &path, StatusCode::PERMANENT_REDIRECT);
            let error = Error::new(StatusCode::PERMANENT_REDIRECT, "The path of a folder ends with a slash.");
            let location = redirect.header("location").unwrap_or_default().to_owned();
            return Err(error.with_header(header::LOCATION, location));
        }
        Ok((path, folder))
    }
}

impl Done {
    fn store(&mut self, name: String) {
        self.stored += 1;
        if self.names.len() < MAX_NAMED {
            self.names.push(shown(&name));
        }
    }

    /// Adds the names of the files that were stored to an error.
    fn named(&self, error: Error) -> Error {
        let more = match self.stored - self.names.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let message = format!("{} Stored before: {}{more}.", error.message_or_reason(), self.names.join(", "));
        if self.stored == 0 { error } else { error.with_message(message) }
    }
}
