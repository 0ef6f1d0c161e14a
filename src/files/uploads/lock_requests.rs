//! LOCK and UNLOCK (RFC 4918, sections 9.10 and 9.11), which are supported if files can be replaced. Called by
//! `uploads`; `dav_locks` stores the locks.
//!
//! The owner that a LOCK states is XML. It is serialized again from the parsed form before other clients get it.

use http::{StatusCode, header};

use super::super::dav::{self, Depth};
use super::super::path;
use super::super::rights::{Read, Rights, Write, WriteAll};
use super::super::stat::{Kind, stat_in};
#[cfg(feature = "webdav")]
use super::super::xml;
use super::conditions::check_conditions;
use super::dav_locks::{DavLock, Spot, Wanted};
use super::responses::{error_of, location_of};
use super::target::{self, Target};
use super::{Policy, UploadHandler, UploadRequest};
use crate::{BodyPlan, Error, Request, Response, random};

const SUPPORTED: &str = "<D:supportedlock><D:lockentry><D:lockscope><D:exclusive/></D:lockscope>\
     <D:locktype><D:write/></D:locktype></D:lockentry><D:lockentry><D:lockscope><D:shared/></D:lockscope>\
     <D:locktype><D:write/></D:locktype></D:lockentry></D:supportedlock>";
/// The maximum length of a stored owner, in bytes.
#[cfg(feature = "webdav")]
const LONGEST_OWNER: usize = 1024;

impl UploadHandler {
    /// Returns whether files can be locked. A lock is useful only if files can be replaced. LOCK has an XML body, which
    /// needs the feature `webdav`.
    pub fn offers_locks(&self, webdav: bool) -> bool {
        cfg!(feature = "webdav") && webdav && self.uploads.overwrite == Policy::Replace
    }

    pub(super) fn before_lock(&self, asked: UploadRequest<'_>, plan: &mut BodyPlan) -> Result<(), Error> {
        plan.limit(crate::files::MAX_XML);
        self.check_if(asked)
    }

    /// Removes the locks of something that was deleted, and of everything below it. `gone`: its `locked_spot` before.
    pub(super) fn forget_locks(&self, target: &Target, gone: Option<&Spot>) {
        let exists = |spelling: &[u8]| stat_in(target.folder(), spelling).is_ok();
        gone.into_iter().for_each(|gone| self.uploads.locks.dav.forget(gone, exists));
    }

    pub(super) fn lock(&self, asked: UploadRequest<'_>) -> Result<Response, Error> {
        let path = target::resolve(asked)?;
        if path.bytes.is_empty() {
            return Err(Error::new(StatusCode::FORBIDDEN, "The top folder can't be locked."));
        }
        if dav::depth(asked.request)? == Some(Depth::Entries) {
            return Err(Error::new(StatusCode::BAD_REQUEST, "The Depth of a lock must be 0 or infinity."));
        }
        let target = asked.target(&path.bytes)?;
        let body = asked.request.body().bytes()?;
        let wanted = if body.is_empty() { None } else { Some(wanted(&body, asked, &target)?) };
        if wanted.is_some() && target.existing()?.is_none() {
            self.swept.sweep(target.folder()); // it can take a long time, and `make_empty` has all locks
        }
        let (locks, guard) = (&self.uploads.locks.dav, self.hold_all_names(&[&target])?);
        let existing = target.existing()?;
        let is_folder = existing.is_some_and(|found| found.kind == Kind::Folder);
        match is_folder {
            true => check_folder_lock(asked, &path.bytes)?,
            false if path.trailing_slash => return Err(Error::new(StatusCode::CONFLICT, "There is no such folder.")),
            false => drop(target.existing_file()?),
        }
        check_conditions(asked, &target, existing)?;
        let tokens = self.tokens_of_if(asked)?;
        let spot = target.spot(existing)?;
        let Some(wanted) = wanted else {
            let lock = locks.refresh(&spot, &tokens, asked.request);
            let lock = lock.ok_or_else(|| Error::new(StatusCode::PRECONDITION_FAILED, "There is no such lock."))?;
            return Ok(described(asked, &path.bytes, &lock));
        };
        let lock = locks.take(spot.clone(), wanted, asked.request)?;
        let is_new = existing.is_none();
        if is_new && let Err(error) = self.make_empty(asked.request, &target) {
            locks.release(&spot, lock.wanted.token, asked.request);
            return Err(error);
        }
        drop(guard);
        if is_new {
            self.sync_folder(target.folder())?;
        }
        let response = described(asked, &path.bytes, &lock);
        let response = if is_new { response.with_status(StatusCode::CREATED) } else { response };
        Ok(response.with_header("lock-token", format!("<{}>", lock.wanted.token)))
    }

    /// Creates an empty file when a free name is locked (section 7.3).
    fn make_empty(&self, request: &Request, target: &Target) -> Result<(), Error> {
        let held = self.hold(request, None)?;
        target.give_to(&*self.new_file(target.folder(), None)?).map_err(error_of)?;
        held.keep(0);
        Ok(())
    }

    pub(super) fn unlock(&self, asked: UploadRequest<'_>) -> Result<Response, Error> {
        let path = target::resolve(asked)?.bytes;
        asked.rights().ask::<Write>(&path)?;
        self.check_if(asked)?;
        let token = asked.request.single_header("lock-token")?;
        let token = token.and_then(|token| token.strip_prefix('<')?.strip_suffix('>'));
        let token =
            token.ok_or_else(|| Error::new(StatusCode::BAD_REQUEST, "Expected the lock in a Lock-Token field."))?;
        match target::spot_at(asked, &path)
            .is_some_and(|at| self.uploads.locks.dav.release(&at, token.to_owned(), asked.request))
        {
            true => Ok(Response::no_content()),
            false => Err(Error::new(StatusCode::CONFLICT, "There is no such lock.")),
        }
    }

    /// Returns the locks of a file or a folder for PROPFIND. The user who holds a lock gets its token. An anonymous
    /// client gets no token, because others can share its address.
    pub fn lock_properties(&self, asked: UploadRequest<'_>, path: &[u8]) -> String {
        if !self.offers_locks(asked.webdav) {
            return String::new();
        }
        let locks = target::spot_at(asked, path).map(|at| self.uploads.locks.dav.find(&at)).unwrap_or_default();
        let active = |lock: &DavLock| active_lock(lock, &root_of(asked, path, lock), lock.is_of_user(asked.request));
        let active: String = locks.iter().map(active).collect();
        format!("{SUPPORTED}<D:lockdiscovery>{active}</D:lockdiscovery>")
    }
}

/// Checks whether the client may lock a folder. The lock covers everything in it and keeps all other clients out, so
/// only users who are logged in and can write everything in it may lock it.
fn check_folder_lock(asked: UploadRequest<'_>, path: &[u8]) -> Result<(), Error> {
    let refused = |why| Err(Error::new(StatusCode::FORBIDDEN, why));
    if asked.request.user().is_none() {
        return refused("Only users who are logged in can lock folders.");
    }
    asked.rights().ask::<WriteAll>(path)?;
    match dav::depth(asked.request)? {
        None => Ok(()),
        Some(_) => refused("A folder can only be locked with everything in it (Depth: infinity)."),
    }
}

fn wanted(body: &[u8], asked: UploadRequest<'_>, target: &Target) -> Result<Wanted, Error> {
    let (is_shared, about) = requested(body)?;
    let (path, mount) = (target.path().to_vec(), asked.mount.to_vec());
    Ok(Wanted { token: format!("urn:uuid:{}", draw_uuid()?), is_shared, path, mount, about })
}

/// Parses the body. Returns whether a shared lock was requested, and the owner that the client named.
#[cfg(feature = "webdav")]
fn requested(body: &[u8]) -> Result<(bool, String), Error> {
    let document = xml::parse(body)?;
    let info = document.root_element();
    let scope = xml::child(info, "lockscope").filter(|_| xml::is_dav(info, "lockinfo"));
    let is_shared = match scope.map(|scope| (xml::child(scope, "exclusive"), xml::child(scope, "shared"))) {
        Some((Some(_), None)) => false,
        Some((None, Some(_))) => true,
        _ => return Err(Error::new(StatusCode::BAD_REQUEST, "Expected a lockinfo element with a lockscope.")),
    };
    let mut about = String::new();
    if let Some(owner) = xml::child(info, "owner") {
        xml::write_contents(owner, xml::write, &mut about);
    }
    Ok((is_shared, Some(about).filter(|about| about.len() <= LONGEST_OWNER).unwrap_or_default()))
}

/// Without XML there are no locks: see `offers_locks`.
#[cfg(not(feature = "webdav"))]
fn requested(_: &[u8]) -> Result<(bool, String), Error> {
    Err(Error::new(StatusCode::NOT_IMPLEMENTED, "There are no locks here."))
}

/// Returns the URL path by which the resource was locked, which can be in another handler for the same files. A client
/// that may not read that path gets its own.
fn root_of(asked: UploadRequest<'_>, path: &[u8], lock: &DavLock) -> String {
    let Wanted { mount, path: locked, .. } = &lock.wanted;
    match Rights::of(asked.request, || mount).grant::<Read>(locked) {
        Some(_) => path::location(mount, locked, lock.is_of_folder()),
        None => location_of(asked, path, asked.finder.root.stat_checked(path).is_ok_and(|it| it.kind == Kind::Folder)),
    }
}

fn described(asked: UploadRequest<'_>, path: &[u8], lock: &DavLock) -> Response {
    let active = active_lock(lock, &root_of(asked, path, lock), true);
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <D:prop xmlns:D=\"DAV:\"><D:lockdiscovery>{active}</D:lockdiscovery></D:prop>\n"
    );
    Response::bytes(text)
        .with_content_type("application/xml; charset=utf-8")
        .with_header(header::CACHE_CONTROL, "no-store")
}

/// Returns the `activelock` element (section 14.1).
fn active_lock(lock: &DavLock, root: &str, with_token: bool) -> String {
    let Wanted { token, is_shared, about, .. } = &lock.wanted;
    let token = match with_token {
        true => format!("<D:locktoken><D:href>{token}</D:href></D:locktoken>"),
        false => String::new(),
    };
    let scope = if *is_shared { "<D:shared/>" } else { "<D:exclusive/>" };
    let depth = if lock.is_of_folder() { "infinity" } else { "0" };
    let owner = if about.is_empty() { String::new() } else { format!("<D:owner>{about}</D:owner>") };
    format!(
        "<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope>{scope}</D:lockscope><D:depth>{depth}</D:depth>\
         {owner}<D:timeout>Second-{}</D:timeout>{token}<D:lockroot><D:href>{}</D:href></D:lockroot></D:activelock>",
        lock.seconds(),
        crate::escape_html(root)
    )
}

/// Returns a UUID of version 4 (RFC 9562, section 5.4).
fn draw_uuid() -> Result<String, Error> {
    let drawn = random::id()?;
    let (a, b, c, d) = (&drawn[..8], &drawn[8..12], &drawn[13..16], &drawn[17..20]);
    Ok(format!("{a}-{b}-4{c}-8{d}-{}", &drawn[20..]))
}
