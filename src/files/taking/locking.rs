//! LOCK and UNLOCK (RFC 4918, sections 9.10 and 9.11), if files can be replaced, and the effect of locks and `If` on
//! changes. Called by `taking`; `dav_locks` stores the locks.
//!
//! The XML of a LOCK is only searched for `exclusive`. Its `owner` is not stored, so no XML of a client is sent to
//! others.

use http::{StatusCode, header};

use super::super::path;
use super::super::rights::{Read, Write};
use super::super::stat::{FileStat, Identity, Kind};
use super::dav_locks::{DavLock, IfLists};
use super::locks::Named;
use super::target::{self, Target};
use super::{Place, Policy, Taking, check_conditions, draw_key, error_of, location_of, tag_of};
use crate::{BodyPlan, Error, Request, Response, UrlPath};

/// The maximum length of a LOCK's XML, in bytes.
const MAX_BODY: u64 = 64 << 10;
const SUPPORTED: &str = "<D:supportedlock><D:lockentry><D:lockscope><D:exclusive/></D:lockscope>\
     <D:locktype><D:write/></D:locktype></D:lockentry></D:supportedlock>";

impl Taking {
    /// Whether files can be locked: a lock is only useful for replacing a file.
    pub fn offers_locks(&self, webdav: bool) -> bool {
        webdav && self.uploads.overwrite == Policy::Replace
    }

    pub(super) fn before_lock(&self, plan: &mut BodyPlan) {
        plan.limit(MAX_BODY);
    }

    /// 412 if `If` does not hold, 423 if it is locked by others.
    pub(super) fn check_locks(
        &self,
        place: Place<'_>,
        request: &Request,
        target: &Target,
        existing: Option<FileStat>,
    ) -> Result<(), Error> {
        if self.offers_locks(place.webdav) {
            self.check_if(place, request, target, existing)?;
        }
        self.check_lock_at(place, request, target, existing)
    }

    /// Checks the locks of another name than the request's, which `If` does not cover by itself. A lock that was
    /// created where the folder is served with locks also applies where it is served without.
    pub(super) fn check_lock_at(
        &self,
        place: Place<'_>,
        request: &Request,
        target: &Target,
        existing: Option<FileStat>,
    ) -> Result<(), Error> {
        let lists = if self.offers_locks(place.webdav) { IfLists::of(request)? } else { IfLists::default() };
        self.uploads.locks.dav.check(&target.at()?, folder(existing), &lists.tokens(), request)
    }

    /// Removes the locks of something that is gone, and of everything below it.
    pub(super) fn forget_locks(&self, target: &Target, gone: FileStat) -> Result<(), Error> {
        self.uploads.locks.dav.forget(&target.at()?, folder(Some(gone)));
        Ok(())
    }

    /// Checks `If`, and returns its tokens.
    fn check_if(
        &self,
        place: Place<'_>,
        request: &Request,
        target: &Target,
        existing: Option<FileStat>,
    ) -> Result<Vec<String>, Error> {
        let lists = IfLists::of(request)?;
        let own = target::resolve(place, request)?.bytes;
        let changed = target.at()?;
        let rights = place.rights(request);
        // As in `check_conditions`.
        let read = if lists.have_tags() { Some(rights.ask::<Read>(target.path())?) } else { None };
        let holds = lists.hold(|resource, is_token, value| {
            let path = match resource {
                None => Some(own.clone()),
                Some(url) => {
                    let path = UrlPath::from_url(url.as_bytes());
                    path.and_then(|path| target::named(place, request, &path)).ok().map(|path| path.bytes)
                }
            };
            let Some(at) = path.and_then(|path| at(place, &path)) else { return false };
            match (is_token, read) {
                (true, _) => self.uploads.locks.dav.find(&at).is_some_and(|lock| lock.token == value),
                (false, Some(read)) if at == changed && existing.is_some() => {
                    tag_of(place, target, read).is_some_and(|tag| tag.to_string() == value)
                }
                (false, _) => false,
            }
        });
        match holds {
            true => Ok(lists.tokens()),
            false => Err(Error::new(StatusCode::PRECONDITION_FAILED, "The condition in the If field does not hold.")),
        }
    }

    pub(super) fn lock_file(&self, place: Place<'_>, request: &Request) -> Result<Response, Error> {
        let path = target::resolve(place, request)?;
        if !matches!(request.header("depth").map(str::trim), None | Some("0" | "infinity" | "Infinity")) {
            return Err(Error::new(StatusCode::BAD_REQUEST, "The Depth of a lock must be 0 or infinity."));
        }
        if path.trailing_slash || path.bytes.is_empty() {
            return Err(Error::new(StatusCode::FORBIDDEN, "Only files can be locked, not folders."));
        }
        let target = place.target(request, &path.bytes)?;
        let at = target.at()?;
        let (locks, guard) = (&self.uploads.locks.dav, self.uploads.locks.hold([at.clone()]));
        let existing = target.existing_file()?;
        check_conditions(place, request, &target, existing)?;
        let tokens = self.check_if(place, request, &target, existing)?;
        let body = request.body().bytes()?;
        if body.is_empty() {
            let lock = locks.refresh(&at, &tokens, request);
            let lock = lock.ok_or_else(|| Error::new(StatusCode::PRECONDITION_FAILED, "There is no such lock."))?;
            return Ok(described(place, target.path(), &lock));
        }
        if memchr::memmem::find(&body, b"exclusive").is_none() {
            return Err(Error::new(StatusCode::FORBIDDEN, "Only exclusive locks are supported."));
        }
        let lock = locks.take(&at, target.folders(), format!("urn:uuid:{}", draw_uuid()?), request)?;
        let is_new = existing.is_none();
        if is_new && let Err(error) = self.make_empty(request, &target) {
            locks.forget(&at, None);
            return Err(error);
        }
        drop(guard);
        let response = described(place, target.path(), &lock);
        let response = if is_new { response.with_status(StatusCode::CREATED) } else { response };
        Ok(response.with_header("lock-token", format!("<{}>", lock.token)))
    }

    /// Section 7.3: locking a free name creates an empty file.
    fn make_empty(&self, request: &Request, target: &Target) -> Result<(), Error> {
        let held = self.hold(request, None)?;
        target.give_to(&*self.new_file(target.folder(), None)?).map_err(error_of)?;
        held.keep(0);
        self.sync_folder(target.folder())
    }

    pub(super) fn unlock_file(&self, place: Place<'_>, request: &Request) -> Result<Response, Error> {
        let path = target::resolve(place, request)?.bytes;
        place.rights(request).ask::<Write>(&path)?;
        let token = request.header("lock-token").map(str::trim);
        let token = token.and_then(|token| token.strip_prefix('<')?.strip_suffix('>'));
        let token =
            token.ok_or_else(|| Error::new(StatusCode::BAD_REQUEST, "Expected the lock in a Lock-Token field."))?;
        match at(place, &path).is_some_and(|at| self.uploads.locks.dav.release(&at, token.to_owned(), request)) {
            true => Ok(Response::no_content()),
            false => Err(Error::new(StatusCode::CONFLICT, "There is no such lock.")),
        }
    }

    /// The locks of a file for PROPFIND. A client that has the lock gets its token.
    pub fn lock_properties(&self, place: Place<'_>, request: &Request, path: &[u8]) -> String {
        if !self.offers_locks(place.webdav) {
            return String::new();
        }
        let lock = at(place, path).and_then(|at| self.uploads.locks.dav.find(&at));
        let active = lock.map(|lock| active_lock(place, path, &lock, lock.is_of(request))).unwrap_or_default();
        format!("{SUPPORTED}<D:lockdiscovery>{active}</D:lockdiscovery>")
    }
}

/// The key of a file's lock, independent of links to its folder. `None`: there is no such folder.
fn at(place: Place<'_>, path: &[u8]) -> Option<Named> {
    let folder = place.finder.root.stat_checked(path::parent(path)).ok()?;
    Some(Named { folder: folder.identity(), name: path::name(path).to_vec() })
}

/// The folder that was found, if it is one.
fn folder(found: Option<FileStat>) -> Option<Identity> {
    found.filter(|found| found.kind == Kind::Folder).map(|found| found.identity())
}

fn described(place: Place<'_>, path: &[u8], lock: &DavLock) -> Response {
    let active = active_lock(place, path, lock, true);
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <D:prop xmlns:D=\"DAV:\"><D:lockdiscovery>{active}</D:lockdiscovery></D:prop>\n"
    );
    Response::bytes(text)
        .with_content_type("application/xml; charset=utf-8")
        .with_header(header::CACHE_CONTROL, "no-store")
}

/// Section 14.1. The path is percent-encoded, so it contains nothing that is special in XML.
fn active_lock(place: Place<'_>, path: &[u8], lock: &DavLock, with_token: bool) -> String {
    let token = match with_token {
        true => format!("<D:locktoken><D:href>{}</D:href></D:locktoken>", lock.token),
        false => String::new(),
    };
    format!(
        "<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope><D:exclusive/></D:lockscope><D:depth>0</D:depth>\
         <D:timeout>Second-{}</D:timeout>{token}<D:lockroot><D:href>{}</D:href></D:lockroot></D:activelock>",
        lock.seconds(),
        crate::escape_html(&location_of(place, path, false))
    )
}

/// A UUID of version 4 (RFC 9562, section 5.4).
fn draw_uuid() -> Result<String, Error> {
    let drawn = draw_key()?;
    let (a, b, c, d) = (&drawn[..8], &drawn[8..12], &drawn[13..16], &drawn[17..20]);
    Ok(format!("{a}-{b}-4{c}-8{d}-{}", &drawn[20..]))
}
