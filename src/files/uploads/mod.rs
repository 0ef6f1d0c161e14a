//! Changes of a folder: uploads by PUT and by forms, new folders, deletions. Called by `handler`, which has the
//! settings.
//!
//! A body is written to an unnamed file in the target folder while it arrives (`new_file`), so no worker is held and no
//! byte is written twice. A request is rejected before its body is read where possible. Two checks are made twice:
//! whether a file of that name exists, and the conditions of the request. The first time is before the body arrives, so
//! that no client sends it needlessly. The second time is after it, with a lock on the name, so that the second of two
//! simultaneous requests sees the result of the first.

mod resuming; // resumable uploads

mod partial; // the received parts of resumable uploads

mod locking; // LOCK and UNLOCK

mod form; // files and folders from a form

mod trees; // copies of files and of whole folders

#[cfg(feature = "webdav")]
mod properties; // PROPPATCH

mod moves; // renaming

mod links; // links that are moved

mod changes; // new folders, and deletions

mod removal; // what is replaced or deleted

mod target; // a path to a folder and a name in it

mod writable; // the check of every path that is written

mod settings; // the settings

mod locks; // one change of a name at a time

mod dav_locks; // WebDAV locks

mod sender_limits; // quotas of users

mod errors; // responses for errors

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, MutexGuard};
use std::time::SystemTime;

use http::{StatusCode, header};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::dav;
use super::find::Finder;
use super::listing::Accepts;
use super::new_file::{NewFile, Swept, Unnamed, Writer, may_add};
use super::open::Opened;
use super::path;
use super::prepare::Preparer;
use super::rights::{Granted, Read as MayRead, Rights, Write as MayWrite};
use super::stat::{FileStat, Kind};
use crate::{BodyPlan, Error, Request, Response, Validators};
use dav_locks::IfLists;
use errors::{conflict, error_of, gone_on, io_error, no_room, taken, too_large};
use partial::Partials;
#[cfg(feature = "webdav")]
pub(super) use properties::of as properties_of;
use sender_limits::{ChargedBytes, Held, Owner, SenderLimits, UploadSlot};
use settings::Overwrite as Policy;
pub use settings::{Overwrite, Uploads};
use target::Target;

/// The action that only pages of this server can request, for the error message.
const CHANGE: &str = "change files here";
/// The fields of RFC 9110 with conditions.
const CONDITIONS: [&str; 4] = ["if-match", "if-none-match", "if-unmodified-since", "if-modified-since"];
/// How often a free name is searched for again if another request has taken it.
const MAX_TRIES: usize = 100;

/// The changes that a folder accepts.
#[derive(Debug)]
pub(super) struct UploadHandler {
    uploads: Uploads,
    swept: Swept,
    /// Resumable uploads; `None`: uploads are not resumable.
    partials: Option<Partials>,
    shares: SenderLimits,
    unnamed: Unnamed,
}

/// The folder of an upload.
#[derive(Clone, Copy)]
pub(super) struct UploadFolder<'a> {
    pub finder: &'a Finder,
    pub preparer: &'a Preparer,
    /// The tag of files of up to this many bytes is a hash of their content.
    pub held: usize,
    /// The path at which it is served, decoded, without a slash at its end.
    pub mount: &'a [u8],
    /// Whether PROPFIND is supported.
    pub webdav: bool,
}

/// A body that is being written to a file. It is created when the head arrives, and found in the request when the body
/// is complete.
struct Arriving {
    file: Arc<NewFile>,
    held: Arc<Held>,
    _slot: Option<UploadSlot>,
}

/// The result of storing a file.
#[derive(Clone, Debug)]
struct Stored {
    path: Vec<u8>,
    is_new: bool,
    tag: Option<crate::ETag>,
}

impl UploadFolder<'_> {
    /// Returns the rights of a request here.
    fn rights(self, request: &Request) -> Rights {
        Rights::of(request, || self.mount)
    }

    /// Returns the tag of a file that the request may read, as returned by GET.
    fn tag(self, read: &Granted<'_, MayRead>) -> Option<crate::ETag> {
        match self.finder.root.open_at(read).ok()? {
            Opened::File(file, _) if !self.finder.is_hidden(read.path()) => self.tag_of(file),
            _ => None,
        }
    }

    /// Returns the current tag of an open file, as returned by GET.
    fn tag_of(self, file: File) -> Option<crate::ETag> {
        self.preparer.tag(file, self.held, SystemTime::now())
    }

    /// Returns the name at this path, for something new that the request may write there.
    fn target(self, request: &Request, path: &[u8]) -> Result<Target, Error> {
        Target::find(self, request, self.rights(request).ask::<MayWrite>(path)?)
    }
}

impl UploadHandler {
    pub fn new(uploads: Uploads) -> UploadHandler {
        let swept = Swept::default();
        let partials = uploads.resumable.map(|(most, age)| Partials::new(most, age));
        let shares = uploads.shares();
        UploadHandler { uploads, swept, partials, shares, unnamed: Unnamed::IfThereAre }
    }

    /// Returns the supported methods, without those that read.
    pub fn methods(&self, webdav: bool) -> Vec<&'static str> {
        let groups: [(&[&str], bool); 5] = [
            (&["POST", "PUT", "MKCOL"], true),
            (&["DELETE", "MOVE"], self.uploads.delete),
            (&["COPY"], webdav),
            (&["PATCH"], self.partials.is_some()),
            (&["LOCK", "UNLOCK", "PROPPATCH"], self.offers_locks(webdav)),
        ];
        groups.into_iter().filter(|(_, are_there)| *are_there).flat_map(|(methods, _)| methods).copied().collect()
    }

    /// Returns what a page offers.
    pub fn accepts(&self, place: UploadFolder<'_>) -> Accepts {
        let Uploads { overwrite, max_size: largest, delete: deletes, .. } = self.uploads;
        Accepts {
            deletes,
            deletes_trees: deletes && place.webdav,
            hidden_names: place.finder.hidden,
            resumes: self.partials.is_some(),
            at_once: self.shares.each(),
            largest,
            overwrite: overwrite.word(),
        }
    }

    /// Returns whether this folder supports the method of a request.
    pub fn takes(&self, webdav: bool, request: &Request) -> bool {
        match request.method().as_str() {
            "GET" => false,
            "HEAD" => resuming::is_about_upload(request),
            method => self.methods(webdav).contains(&method) || resuming::is_about_upload(request),
        }
    }

    /// Rejects from the head what can be rejected, and plans where the body goes.
    pub fn before_body(&self, place: UploadFolder<'_>, request: &Request, plan: &mut BodyPlan) -> Result<(), Error> {
        self.check_fields(request)?;
        match request.method().as_str() {
            _ if self.is_step(request) => self.before_step(place, request, plan),
            "PUT" => self.before_put(place, request, plan),
            "POST" => self.before_form(place, request, plan),
            "LOCK" | "PROPPATCH" => self.before_lock(place, request, plan),
            _ => changes::check_no_body(request),
        }
    }

    /// Handles one of [`methods`](UploadHandler::methods).
    pub fn respond(&self, place: UploadFolder<'_>, request: &Request) -> Result<Response, Error> {
        if request.value_for::<Arriving>(self).is_none() {
            self.check_fields(request)?; // the head may not have been checked
        }
        match request.method().as_str() {
            _ if self.is_step(request) => self.take_step(place, request),
            _ if resuming::is_about_upload(request) => self.about_upload(place, request),
            "PUT" => self.put(place, request),
            "POST" => self.take_form(place, request),
            "MKCOL" => self.make_folder(place, request),
            "MOVE" => self.move_to(place, request),
            "COPY" => self.copy_to(place, request),
            "LOCK" => self.lock(place, request),
            #[cfg(feature = "webdav")]
            "PROPPATCH" => self.change_properties(place, request),
            "UNLOCK" => self.unlock(place, request),
            _ => self.delete(place, request),
        }
    }

    /// Rejects a request of another site, and one with a field that limits the change and can't be read: it must not
    /// count as missing, with any method.
    fn check_fields(&self, request: &Request) -> Result<(), Error> {
        request.check_own_page(CHANGE)?;
        self.check_is_whole(request)?;
        dav::depth(request)?;
        IfLists::of(request).map(drop)
    }

    fn before_put(&self, place: UploadFolder<'_>, request: &Request, plan: &mut BodyPlan) -> Result<(), Error> {
        let target = self.put_target(place, request)?;
        let length = announced_length(request)?;
        self.check_target(place, request, &target)?;
        self.begin(request, target.folder(), length, plan, || self.begin_whole(place, request))
    }

    /// Checks whether the request can store a file at this target. Returns what already exists there.
    fn check_target(
        &self,
        place: UploadFolder<'_>,
        request: &Request,
        target: &Target,
    ) -> Result<Option<FileStat>, Error> {
        let renames = self.policy(request) == Policy::Rename;
        let existing = if renames { target.existing()? } else { target.existing_file()? };
        check_conditions(place, request, target, existing)?;
        match existing {
            // It is left unchanged, whatever it is, so its lock does not apply.
            Some(_) if renames => self.check_if(place, request)?,
            _ => self.check_locks(place, request, target, existing)?,
        }
        match self.policy(request) {
            Policy::Refuse if existing.is_some() => Err(taken()),
            // A request with `If-Match` is for an existing file.
            Policy::Rename if request.header("if-match").is_some() => Err(taken()),
            _ => Ok(existing),
        }
    }

    /// Creates a file in this folder for a body of this length, and plans that the body is written to it. `replaces` is
    /// called before that, to end what the body replaces, whose share of the quota is then free.
    fn begin(
        &self,
        request: &Request,
        folder: &OwnedFd,
        length: Option<u64>,
        plan: &mut BodyPlan,
        replaces: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        if length.zip(self.uploads.max_size).is_some_and(|(length, most)| length > most) {
            return Err(Error::new(StatusCode::PAYLOAD_TOO_LARGE, too_large(self.uploads.max_size)));
        }
        let slot = self.shares.begin(Owner::of(request))?;
        replaces()?;
        let held = self.hold(request, length)?;
        let file = self.new_file(folder, length)?;
        plan.limit(self.uploads.max_size).save_to(self.writer(request, &file, &held));
        request.put_for(self, Arriving { file, held, _slot: Some(slot) });
        Ok(())
    }

    /// Prevents all other changes of this name, and checks that it is still in the folder at its path.
    fn hold_name(&self, target: &Target) -> Result<MutexGuard<'_, ()>, Error> {
        let guard = self.uploads.locks.hold(&target.at()?);
        target.check_folder()?;
        Ok(guard)
    }

    /// Prevents all other changes, and checks that these names are still in the folders at their paths.
    fn hold_all_names(&self, targets: &[&Target]) -> Result<Vec<MutexGuard<'_, ()>>, Error> {
        let guards = self.uploads.locks.hold_all();
        targets.iter().try_for_each(|target| target.check_folder())?;
        Ok(guards)
    }

    /// Reserves this many bytes for a file in the sender's share.
    fn hold(&self, request: &Request, length: Option<u64>) -> Result<Arc<Held>, Error> {
        // Expired parts no longer count.
        self.partials.iter().for_each(Partials::drop_late);
        Ok(Arc::new(self.shares.hold(Owner::of(request), length.unwrap_or_default())?))
    }

    fn new_file(&self, folder: &OwnedFd, length: Option<u64>) -> Result<Arc<NewFile>, Error> {
        self.swept.sweep(folder);
        let file = NewFile::create(folder, self.unnamed).map_err(error_of)?;
        self.check_room(file.file(), length.unwrap_or_default())?;
        Ok(Arc::new(file))
    }

    /// Checks whether the file system has room for one more file or folder of this many bytes, in addition to the
    /// reserve.
    fn check_room(&self, on: impl AsFd, bytes: u64) -> Result<(), Error> {
        if may_add(on, bytes, self.uploads.reserve) { Ok(()) } else { Err(no_room()) }
    }

    fn writer(&self, request: &Request, file: &Arc<NewFile>, held: &Arc<Held>) -> ChargedBytes {
        let to = Writer { to: Arc::clone(file), reserve: self.uploads.reserve };
        ChargedBytes::new(request, held, to)
    }

    fn put_target(&self, place: UploadFolder<'_>, request: &Request) -> Result<Target, Error> {
        let path = target::of_file(place, request)?;
        check_content_coding(request)?;
        place.target(request, &path)
    }

    fn put(&self, place: UploadFolder<'_>, request: &Request) -> Result<Response, Error> {
        let target = self.put_target(place, request)?;
        let (file, held) = match request.value_for::<Arriving>(self) {
            Some(arriving) => (Arc::clone(&arriving.file), Arc::clone(&arriving.held)),
            None => {
                let length = Some(request.body().len());
                (self.new_file(target.folder(), length)?, self.hold(request, length)?)
            }
        };
        // A request built by hand carries its body.
        if file.written() < request.body().len() {
            copy(&mut request.reader(), &mut self.writer(request, &file, &held))?;
        }
        let stored = self.store(place, request, target, &file, &held)?;
        self.note(place, request, file.written(), &stored)?;
        Ok(stored_response(place, stored))
    }

    /// Stores a complete file, if all checks pass.
    fn store(
        &self,
        place: UploadFolder<'_>,
        request: &Request,
        target: Target,
        file: &NewFile,
        held: &Held,
    ) -> Result<Stored, Error> {
        let (target, is_new) = self.name(place, request, target, file)?;
        self.stored(place, &target, is_new, file, held)
    }

    /// Gives a complete file its name, if all checks pass. Returns the name, and whether it is new. If this fails, the
    /// file has no name.
    fn name(
        &self,
        place: UploadFolder<'_>,
        request: &Request,
        target: Target,
        file: &NewFile,
    ) -> Result<(Target, bool), Error> {
        if self.uploads.fsync {
            file.sync().map_err(io_error)?;
        }
        let _lock = self.hold_name(&target)?;
        let existing = self.check_target(place, request, &target)?;
        match (existing, self.policy(request)) {
            (Some(_), Policy::Replace) => {
                #[cfg(feature = "webdav")]
                if place.webdav
                    && let Ok(before) = target.open_for_properties()
                {
                    properties::copy(before, file.file());
                }
                target.replace_by(file).map_err(error_of)?;
                Ok((target, false))
            }
            (_, Policy::Rename) => Ok((self.name_freely(place, request, target, file)?, true)),
            _ => {
                target.give_to(file).map_err(error_of)?; // `EXIST`: another program has just created it
                Ok((target, true))
            }
        }
    }

    /// Counts a file that has its name.
    fn stored(
        &self,
        place: UploadFolder<'_>,
        target: &Target,
        is_new: bool,
        file: &NewFile,
        held: &Held,
    ) -> Result<Stored, Error> {
        held.keep(file.written());
        self.sync_folder(target.folder())?;
        let tag = file.file().try_clone().ok().and_then(|file| place.tag_of(file));
        Ok(Stored { path: target.path().to_vec(), is_new, tag })
    }

    /// Gives a file the first free name of `photo.jpg`, `photo (1).jpg`, `photo (2).jpg` and so on.
    fn name_freely(
        &self,
        place: UploadFolder<'_>,
        request: &Request,
        mut target: Target,
        file: &NewFile,
    ) -> Result<Target, Error> {
        let name = target.name().to_vec();
        for _ in 0..MAX_TRIES {
            match target.give_to(file) {
                Ok(()) => return Ok(target),
                Err(Errno::EXIST) => target = target.free(place, request, &name)?,
                Err(errno) => return Err(error_of(errno)),
            }
            self.check_lock_at(request, &target, None)?;
        }
        Err(taken())
    }

    /// Returns what happens if the name of an upload is taken. A request can choose a free name (`?overwrite=rename`).
    fn policy(&self, request: &Request) -> Policy {
        if renames(request) { Policy::Rename } else { self.uploads.overwrite }
    }

    fn sync_folder(&self, folder: &OwnedFd) -> Result<(), Error> {
        if !self.uploads.fsync {
            return Ok(());
        }
        // A descriptor opened with `O_PATH` cannot be synced.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = rustix::fs::openat(folder, ".", flags, Mode::empty()).map_err(error_of)?;
        rustix::fs::fsync(open.as_fd()).map_err(error_of)
    }
}

fn stored_response(place: UploadFolder<'_>, stored: Stored) -> Response {
    let location = location_of(place, &stored.path, false);
    let response = match stored.is_new {
        true => created(location),
        false => Response::no_content(),
    };
    with_tag(response, stored.tag)
}

/// Returns the response to a request that has created something at this path.
fn created(location: String) -> Response {
    Response::text(format!("{location}\n")).with_status(StatusCode::CREATED).with_header(header::LOCATION, location)
}

/// Returns the response to a move or a copy to this path.
fn created_or_replaced(location: String, is_new: bool) -> Response {
    match is_new {
        true => Response::new(StatusCode::CREATED).with_header(header::LOCATION, location),
        false => Response::no_content(),
    }
}

/// With the tag, a client can make sure that it changes the same file again.
fn with_tag(response: Response, tag: Option<crate::ETag>) -> Response {
    tag.into_iter().fold(response, |response, tag| response.with_header(header::ETAG, tag))
}

/// Checks the preconditions (RFC 9110, section 13.2.2) against the validators that GET returns for the existing file.
/// Conditions on its tag or date require the right to read: otherwise a 412 would confirm a guess of its content.
fn check_conditions(
    place: UploadFolder<'_>,
    request: &Request,
    target: &Target,
    existing: Option<FileStat>,
) -> Result<(), Error> {
    let lines: Vec<&[u8]> = CONDITIONS.iter().flat_map(|name| request.header_all(name)).collect();
    if lines.is_empty() {
        return Ok(());
    }
    if lines.iter().all(|line| line.trim_ascii() == b"*") {
        return request.check_preconditions(existing.map(|_| Validators::default()).as_ref());
    }
    let read = place.rights(request).ask::<MayRead>(target.path())?;
    let Some(stat) = existing else { return request.check_preconditions(None) };
    // Opening a pipe or a device would have effects.
    let file = (stat.kind == Kind::File).then(|| target.open_to_read(read)).flatten();
    let etag = file.and_then(|file| place.tag_of(file));
    // The date is used even within its second, unlike in responses: an edit within this second is newer than any date
    // sent before.
    request.check_preconditions(Some(&Validators { etag, last_modified: stat.dated().to_system_time() }))
}

/// Returns the length of the body from the head. `None`: it is chunked.
fn announced_length(request: &Request) -> Result<Option<u64>, Error> {
    // A request without a body must not create an empty file by mistake.
    request.announced_length().ok_or_else(|| Error::new(StatusCode::LENGTH_REQUIRED, "Expected a Content-Length."))
}

/// Returns whether the request chooses a free name if its own is taken.
fn renames(request: &Request) -> bool {
    request.param("overwrite").as_deref() == Some("rename")
}

/// Rejects an encoded body, because the body is stored unchanged.
fn check_content_coding(request: &Request) -> Result<(), Error> {
    let coding = request.header_all("content-encoding").find(|coding| !coding.eq_ignore_ascii_case(b"identity"));
    if coding.is_some() {
        let error = Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Files must be sent without Content-Encoding.");
        return Err(error.with_header(header::ACCEPT_ENCODING, "identity"));
    }
    Ok(())
}

fn location_of(place: UploadFolder<'_>, path: &[u8], trailing_slash: bool) -> String {
    path::location(place.mount, path, trailing_slash)
}

/// Copies everything, one buffer at a time.
fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<(), Error> {
    let mut piece = vec![0; 64 << 10];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            // Reading a part of a form returns these errors if the form is incomplete or malformed.
            Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) => {
                return Err(Error::new(StatusCode::BAD_REQUEST, error.to_string()));
            }
            Err(error) => return Err(Error::from(error)),
            Ok(count) => to.write_all(&piece[..count]).map_err(io_error)?,
        }
    }
}

/// Returns a key that cannot be guessed.
fn draw_key() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::from)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
