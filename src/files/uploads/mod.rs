//! Changes of a folder: uploads by PUT and by forms, new folders, deletions. Called by `handler`, which has the
//! settings.
//!
//! A body is written to an unnamed file in the target folder while it arrives (`new_file`), so no worker is held and no
//! byte is written twice. A request is rejected before its body is read where possible. Two checks are made twice:
//! whether a file of that name exists, and the conditions of the request. The first time is before the body arrives, so
//! that no client sends it needlessly. The second time is after it, with a lock on the name, so that the second of two
//! simultaneous requests sees the result of the first.

mod resuming; // resumable uploads
mod steps; // the fields of resumable uploads
mod partial; // the received parts of resumable uploads
mod lock_requests; // LOCK and UNLOCK
mod form; // files and folders from a form
mod storing; // PUT, and the names of complete files
mod trees; // copies of files and of whole folders
#[cfg(feature = "webdav")]
mod properties; // PROPPATCH
mod moves; // renaming
mod links; // links that are moved
mod changes; // new folders, and deletions
mod removal; // removing replaced and deleted entries
mod conditions; // the conditions of a request
mod target; // a path to a folder and a name in it
mod writable; // the check of every path that is written
mod settings; // the settings
mod name_locks; // one change of a name at a time
mod dav_locks; // WebDAV locks
mod sender_limits; // quotas of users
mod responses; // responses to changes, including those that fail

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, MutexGuard};
use std::time::SystemTime;

use http::StatusCode;
use rustix::fs::{Mode, OFlags};

use super::dav;
use super::find::Finder;
use super::free_space::{Writer, may_add};
use super::leftovers::Swept;
use super::listing::Accepts;
use super::open::{OpenFolder, Opened};
use super::prepare::Preparer;
use super::rights::{Granted, Read as MayRead, Rights, Write as MayWrite};
use crate::new_file::{NewFile, Unnamed};
use crate::{BodyPlan, Error, Request, Response};
use conditions::check_no_body;
use dav_locks::IfLists;
use partial::Partials;
#[cfg(feature = "webdav")]
pub(super) use properties::of as properties_of;
use responses::{check_size, error_of, io_error, no_room_beyond};
use sender_limits::{ChargedBytes, Held, Owner, SenderLimits, UploadSlot};
use settings::Overwrite as Policy;
pub use settings::{Overwrite, Uploads};
use target::Target;

/// The action that only pages of this server can request, for the error message.
const CHANGE: &str = "change files here";

#[derive(Debug)]
pub(super) struct UploadHandler {
    uploads: Uploads,
    swept: Swept,
    /// Resumable uploads; `None`: uploads are not resumable.
    partials: Option<Partials>,
    shares: SenderLimits,
    unnamed: Unnamed,
}

/// A request for a change, and the folder that it changes.
#[derive(Clone, Copy)]
pub(super) struct UploadRequest<'a> {
    pub request: &'a Request,
    /// The request with the conditions: this one, or an earlier one of a resumable upload.
    pub conditions: &'a Request,
    pub finder: &'a Finder,
    pub preparer: &'a Preparer,
    /// The tag of files of up to this many bytes is a hash of their content.
    pub held: usize,
    /// The path at which it is served, decoded, without a slash at its end.
    pub mount: &'a [u8],
    pub webdav: bool,
}

/// A body that is being written to a file. It is created when the head arrives, and found in the request when the body
/// is complete.
struct Arriving {
    file: Arc<NewFile>,
    held: Arc<Held>,
    _slot: Option<UploadSlot>,
}

impl<'a> UploadRequest<'a> {
    fn rights(self) -> Rights {
        Rights::of(self.request, || self.mount)
    }

    /// Returns the tag of a file that the request may read, as in [`tag_in`](UploadRequest::tag_in).
    fn tag(self, read: &Granted<'_, MayRead>, condition: &[u8]) -> Option<crate::ETag> {
        match self.finder.root.open_at(read).ok()? {
            Opened::File(file, _) if !self.finder.is_hidden(read.path()) => self.tag_in(&file, &[condition]),
            _ => None,
        }
    }

    /// Returns a current tag of an open file: if one of these conditions names a compressed form of it, that of the
    /// form.
    fn tag_in(self, file: &File, conditions: &[&[u8]]) -> Option<crate::ETag> {
        self.preparer.tag(file, self.held, SystemTime::now(), conditions)
    }

    /// Returns the name at this path, for something new that the request may write there.
    fn target(self, path: &[u8]) -> Result<Target, Error> {
        Target::find(self, self.rights().ask::<MayWrite>(path)?)
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

    pub fn accepts(&self, asked: UploadRequest<'_>) -> Accepts {
        let Uploads { overwrite, max_size: largest, delete: deletes, .. } = self.uploads;
        Accepts {
            deletes,
            deletes_trees: deletes && asked.webdav,
            hidden_names: asked.finder.hidden,
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
            "HEAD" => steps::is_about_upload(request),
            method => self.methods(webdav).contains(&method) || steps::is_about_upload(request),
        }
    }

    /// Rejects a request that can be rejected from its head, and plans where the body is stored.
    pub fn before_body(&self, asked: UploadRequest<'_>, plan: &mut BodyPlan) -> Result<(), Error> {
        self.check_fields(asked.request)?;
        match asked.request.method().as_str() {
            _ if self.is_step(asked.request) => self.before_step(asked, plan),
            "PUT" => self.before_put(asked, plan),
            "POST" => self.before_form(asked, plan),
            "LOCK" | "PROPPATCH" => self.before_lock(asked, plan),
            _ => check_no_body(asked.request),
        }
    }

    /// Handles one of [`methods`](UploadHandler::methods).
    pub fn respond(&self, asked: UploadRequest<'_>) -> Result<Response, Error> {
        if asked.request.value_for::<Arriving>(self).is_none() {
            self.check_fields(asked.request)?; // the head may not have been checked
        }
        match asked.request.method().as_str() {
            _ if self.is_step(asked.request) => self.take_step(asked),
            _ if steps::is_about_upload(asked.request) => self.about_upload(asked),
            "PUT" => self.put(asked),
            "POST" => self.take_form(asked),
            "MKCOL" => self.make_folder(asked),
            "MOVE" => self.move_to(asked),
            "COPY" => self.copy_to(asked),
            "LOCK" => self.lock(asked),
            #[cfg(feature = "webdav")]
            "PROPPATCH" => self.change_properties(asked),
            "UNLOCK" => self.unlock(asked),
            _ => self.delete(asked),
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

    /// Creates a file in this folder for a body of this length, and plans that the body is written to it. `hold`
    /// reserves its bytes in the sender's share.
    fn begin(
        &self,
        request: &Request,
        folder: &OpenFolder,
        length: Option<u64>,
        plan: &mut BodyPlan,
        hold: impl FnOnce() -> Result<Arc<Held>, Error>,
    ) -> Result<(), Error> {
        check_size(length, self.uploads.max_size)?;
        let slot = self.shares.begin(Owner::of(request))?;
        let file = self.new_file(folder, length)?; // first: if it fails, an earlier part stays
        let held = hold()?;
        plan.limit(self.uploads.max_size).save_to(self.writer(&file, &held));
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

    fn new_file(&self, folder: &OpenFolder, length: Option<u64>) -> Result<Arc<NewFile>, Error> {
        self.swept.sweep(folder);
        let file = NewFile::create(folder, self.unnamed).map_err(error_of)?;
        self.check_room(file.file(), length.unwrap_or_default())?;
        Ok(Arc::new(file))
    }

    /// Checks whether the file system has room for one more file or folder of this many bytes, in addition to the
    /// reserve.
    fn check_room(&self, on: impl AsFd, bytes: u64) -> Result<(), Error> {
        let reserve = self.uploads.reserve;
        if may_add(on, bytes, reserve) { Ok(()) } else { Err(no_room_beyond(reserve)) }
    }

    fn writer(&self, file: &Arc<NewFile>, held: &Arc<Held>) -> ChargedBytes {
        let to = Writer { to: Arc::clone(file), reserve: self.uploads.reserve };
        ChargedBytes { held: Arc::clone(held), to }
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

/// A reader that fails once the client has disconnected, but not within its first `unasked` bytes: a client that has
/// only closed its sending side looks disconnected.
struct WhileConnected<'a, R> {
    request: &'a Request,
    from: R,
    unasked: u64,
}

impl<R: Read> Read for WhileConnected<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.unasked == 0 {
            check_client(self.request)?;
        }
        let count = self.from.read(buffer)?;
        self.unasked = self.unasked.saturating_sub(count as u64);
        Ok(count)
    }
}

/// Rejects a request whose client has disconnected.
fn check_client(request: &Request) -> Result<(), Error> {
    match request.client_is_gone() {
        true => Err(Error::new(StatusCode::BAD_REQUEST, "The client disconnected before everything was stored.")),
        false => Ok(()),
    }
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<(), Error> {
    let mut piece = vec![0; 64 << 10];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(()),
            count => to.write_all(&piece[..count]).map_err(io_error)?,
        }
    }
}
