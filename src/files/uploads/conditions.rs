//! The conditions of a request: fields of RFC 9110, `If` (RFC 4918, section 10.4), the locks of other clients, and the
//! fields about its body. Called by `uploads` before a change.

use http::{StatusCode, header};

use super::super::rights::Read;
use super::super::stat::{FileStat, Kind};
use super::dav_locks::{IfLists, Spot};
use super::target::{self, Target};
use super::{UploadHandler, UploadRequest};
use crate::{Error, Request, Validators};

const TAGS: [&str; 2] = ["if-match", "if-none-match"];
const DATES: [&str; 2] = ["if-unmodified-since", "if-modified-since"];
/// How many bytes of conditions a resumable upload keeps. There can be many uploads.
const MOST_KEPT: usize = 2048;
/// The field with the length of a whole upload, of the draft of resumable uploads.
pub(super) const LENGTH: &str = "upload-length";

impl UploadHandler {
    /// Rejects with 412 if `If` does not hold, and with 423 if another client has locked the name.
    pub(super) fn check_locks(
        &self,
        asked: UploadRequest<'_>,
        target: &Target,
        existing: Option<FileStat>,
    ) -> Result<(), Error> {
        self.check_if(asked)?;
        self.check_lock_at(asked, target, existing)
    }

    /// Rejects with 412 if `If` does not hold, even if there are no locks: a client that names a lock expects that
    /// nothing changes once that lock is gone.
    pub(super) fn check_if(&self, asked: UploadRequest<'_>) -> Result<(), Error> {
        self.tokens_of_if(asked).map(drop)
    }

    /// Checks the locks of a name other than the request's, to which an `If` without a URL does not apply. A lock also
    /// holds for requests to another handler of the same folder that does not support LOCK.
    pub(super) fn check_lock_at(
        &self,
        asked: UploadRequest<'_>,
        target: &Target,
        existing: Option<FileStat>,
    ) -> Result<(), Error> {
        match self.locked_spot(target, existing)? {
            Some(spot) => self.uploads.locks.dav.check(&spot, &IfLists::of(asked.conditions)?.tokens(), asked.request),
            None => Ok(()),
        }
    }

    /// Returns the spot of a name whose locks are checked, or forgotten after a change that the caller then makes.
    /// `None`: nothing is locked.
    pub(super) fn locked_spot(&self, target: &Target, existing: Option<FileStat>) -> Result<Option<Spot>, Error> {
        match self.uploads.locks.dav.are_none() {
            true => Ok(None), // nothing to check; to find the spot, every folder above it must be opened
            false => target.spot(existing).map(Some),
        }
    }

    pub(super) fn tokens_of_if(&self, asked: UploadRequest<'_>) -> Result<Vec<String>, Error> {
        let lists = IfLists::of(asked.conditions)?;
        if lists.are_none() {
            return Ok(Vec::new());
        }
        let own = target::resolve(asked)?.bytes;
        let rights = asked.rights();
        if lists.have_tags() {
            rights.ask::<Read>(&own)?; // reading the tags needs the right to read, as in `check_conditions`
        }
        let holds = lists.hold(|resource, is_token, value| {
            let url = resource.and_then(|url| asked.request.path_of_url(url.as_bytes()).ok());
            let path = match resource {
                None => Some(own.clone()),
                Some(_) => url.as_ref().and_then(|url| Some(target::named(asked, url).ok()?.bytes)),
            };
            if is_token {
                let locks = &self.uploads.locks.dav;
                let found = path
                    .and_then(|path| target::spot_at(asked, &path))
                    .map(|spot| locks.find(&spot))
                    .unwrap_or_default();
                return found.iter().any(|lock| lock.wanted.token == value)
                    || url.is_some_and(|url| locks.has_at(&url, value));
            }
            let Some(path) = path else { return false };
            let tag = rights.grant::<Read>(&path).and_then(|read| asked.tag(&read, value.as_bytes()));
            tag.is_some_and(|tag| tag.to_string() == value)
        });
        match holds {
            true => Ok(lists.tokens()),
            false => Err(Error::new(StatusCode::PRECONDITION_FAILED, "The condition in the If field does not hold.")),
        }
    }
}

/// Checks the preconditions (RFC 9110, section 13.2.2) against the validators that GET returns for the existing file.
/// Conditions on its tag or date require the right to read: otherwise a 412 would confirm a guess of its content.
pub(super) fn check_conditions(
    asked: UploadRequest<'_>,
    target: &Target,
    existing: Option<FileStat>,
) -> Result<(), Error> {
    let conditions = asked.conditions;
    let lines = lines(conditions);
    if lines.is_empty() {
        return Ok(());
    }
    if lines.iter().all(|line| line.trim_ascii() == b"*") {
        return conditions.check_preconditions(existing.map(|_| Validators::default()).as_ref());
    }
    let read = asked.rights().ask::<Read>(target.path())?;
    let Some(stat) = existing else { return conditions.check_preconditions(None) };
    // Opening a pipe or a device would have effects.
    let file = (stat.kind == Kind::File).then(|| target.open_to_read(read)).flatten();
    let etag = file.and_then(|file| asked.tag_in(&file, &lines));
    // The date is used even within its second, unlike in responses: an edit within this second is newer than any date
    // sent before.
    conditions.check_preconditions(Some(&Validators { etag, last_modified: stat.dated().to_system_time() }))
}

/// Returns the lines of the request's conditions of RFC 9110.
pub(super) fn lines(request: &Request) -> Vec<&[u8]> {
    TAGS.iter().chain(&DATES).flat_map(|name| request.header_all(name)).collect()
}

/// The conditions of a resumable upload, which hold from the request that sends them until the file is stored: those of
/// RFC 9110 and `If`. A later request replaces either by its own.
#[derive(Clone, Debug, Default)]
pub(super) struct KeptConditions([Vec<(String, Vec<u8>)>; 2]);

impl KeptConditions {
    /// Returns the conditions of a request. Those that are ignored (RFC 9110, section 13.1) are left out.
    ///
    /// # Errors
    /// 431 if they are longer than an upload keeps.
    pub fn of(request: &Request) -> Result<KeptConditions, Error> {
        let of = |names: &[&str]| -> Vec<(String, Vec<u8>)> {
            let lines = names.iter().flat_map(|name| request.header_all(name).map(move |line| (*name, line)));
            lines.map(|(name, line)| (name.to_owned(), line.to_vec())).collect()
        };
        let mut fields = of(&TAGS);
        if request.has_date("if-unmodified-since") {
            fields.extend(of(&["if-unmodified-since"]));
        }
        let kept = KeptConditions([fields, of(&["if"])]);
        let length = kept.0.iter().flatten().map(|(name, line)| name.len() + line.len()).sum::<usize>();
        if length > MOST_KEPT {
            let message = "The conditions of an upload that can be resumed are limited to 2 KiB.";
            return Err(Error::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, message));
        }
        Ok(kept)
    }

    pub fn are_none(&self) -> bool {
        self.0.iter().all(Vec::is_empty)
    }

    /// Returns these conditions with those of a later request.
    pub fn with(&self, later: &KeptConditions) -> KeptConditions {
        let latest = |at: usize| if later.0[at].is_empty() { self.0[at].clone() } else { later.0[at].clone() };
        KeptConditions([latest(0), latest(1)])
    }

    /// Returns a request with them.
    pub fn request(&self) -> Result<Request, Error> {
        let request = Request::new(http::Method::PUT, "/")?;
        Ok(self.0.iter().flatten().fold(request, |request, (name, line)| request.with_header(name, line)))
    }
}

/// Returns the length of the body according to the head. `None`: it is chunked.
pub(super) fn announced_length(request: &Request) -> Result<Option<u64>, Error> {
    // A request without a body must not create an empty file by mistake.
    request.announced_length().ok_or_else(|| Error::new(StatusCode::LENGTH_REQUIRED, "Expected a Content-Length."))
}

/// Rejects an encoded body, because the body is stored unchanged.
pub(super) fn check_content_coding(request: &Request) -> Result<(), Error> {
    let coding = request.header_all("content-encoding").find(|coding| !coding.eq_ignore_ascii_case(b"identity"));
    if coding.is_some() {
        let error = Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Files must be sent without Content-Encoding.");
        return Err(error.with_header(header::ACCEPT_ENCODING, "identity"));
    }
    Ok(())
}

/// Rejects a request with a body: RFC 4918, section 9.3, requires 415, because a body has no meaning for these methods.
pub(super) fn check_no_body(request: &Request) -> Result<(), Error> {
    match request.announces_body() {
        true => Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "This method does not accept a body.")),
        false => Ok(()),
    }
}

/// Rejects a file that is sent whole if its length differs from the stated one (draft, section 4.1.3). `None`: its
/// length is not known yet.
pub(super) fn check_stated_length(request: &Request, length: Option<u64>) -> Result<(), Error> {
    match number(request, LENGTH)?.zip(length) {
        Some((stated, length)) if stated != length => Err(other_length()),
        _ => Ok(()),
    }
}

pub(super) fn other_length() -> Error {
    Error::new(StatusCode::BAD_REQUEST, "The length differs from the announced length.")
}

pub(super) fn number(request: &Request, name: &str) -> Result<Option<u64>, Error> {
    let Some(text) = item(request, name)? else { return Ok(None) };
    let wrong = || Error::new(StatusCode::BAD_REQUEST, format!("{name} must be a number."));
    digits(text).map(Some).ok_or_else(wrong)
}

/// Parses digits only. (`parse` would also accept "+80".)
pub(super) fn digits(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Returns an item (RFC 9651, section 3.3) without its parameters.
pub(super) fn item<'a>(request: &'a Request, name: &'a str) -> Result<Option<&'a str>, Error> {
    let line = request.single_header(name)?;
    Ok(line.map(|line| line.split(';').next().unwrap_or_default().trim_end()))
}
