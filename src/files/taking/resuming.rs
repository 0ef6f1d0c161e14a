//! Uploads that go on where they broke off, in two ways. Called by `taking`, if that is wanted.
//!
//! *By ranges* (RFC 9110, section 14.5), as curl's `-C` sends them: `PUT` with `Content-Range: bytes 0-99/200` begins, and what
//! follows what has come goes on. It is answered with 202, and what has come in `Range`, until it is whole; a range that does
//! not follow is a 409, and `bytes */200` without a body asks. Each of these requests has a secret that the client has drawn, `?upload=`:
//! two clients behind one address would otherwise write to one file.
//!
//! *By the draft of the IETF* (draft-ietf-httpbis-resumable-upload): `PUT` or `POST` with `Upload-Complete: ?0` begins one, whose
//! URL is in `Location`; `PATCH` there goes on, `HEAD` asks, `DELETE` ends it. It has no `104`: a client begins with an empty body
//! and then knows where to go on.

use std::sync::Arc;

use http::{Method, StatusCode, header};

use super::super::new_file::has_room;
use super::super::rights::Write;
use super::partial::{Appender, Key, Partial};
use super::shares::{Owner, Slot};
use super::target;
use super::{
    Place, Taking, announced_length, check_conditions, check_content_coding, copy, draw_key, gone_on, location_of,
    no_room, too_large,
};
use crate::{BodyPlan, Error, Request, Response};

const COMPLETE: &str = "upload-complete";
const OFFSET: &str = "upload-offset";
const LENGTH: &str = "upload-length";
/// How long the secret of a client is, in bytes.
const SHORTEST_SECRET: usize = 16;
const LONGEST_SECRET: usize = 128;
const PART: &str = "application/partial-upload";

/// What a request is of an upload that may go on.
enum Step {
    /// A range: its first byte, the one behind its last, and how many there are in all.
    Range(u64, u64, u64),
    /// What has come of so many?
    Ask(u64),
    Begin,
    /// From this byte on.
    GoOn(u64),
}

/// A part on its way to its file, put into the request from its head.
struct Appending {
    key: Key,
    partial: Arc<Partial>,
    turn: u64,
    /// Where the file is as long as it will be.
    end: Option<u64>,
    /// Bytes there were before.
    before: u64,
    is_range: bool,
    _slot: Slot,
}

impl Taking {
    /// Whether this request is one of an upload that may go on.
    pub(super) fn is_step(&self, request: &Request) -> bool {
        self.partials.is_some() && (is_ranged(request) || begins(request) || *request.method() == Method::PATCH)
    }

    /// Whether it asks for, or ends, an upload that was begun.
    pub fn is_about_upload(&self, request: &Request) -> bool {
        self.partials.is_some()
            && matches!(*request.method(), Method::HEAD | Method::DELETE)
            && request.param("upload").is_some()
    }

    /// From the head: which upload it is, whether this follows what has come of it, and where the body goes.
    pub(super) fn before_step(&self, place: Place<'_>, request: &Request, plan: &mut BodyPlan) -> Result<(), Error> {
        check_content_coding(request)?;
        let length = announced_length(request)?;
        let step = step(request)?;
        let slot = self.shares.begin(Owner::of(request))?;
        let (key, partial) = self.begun(place, request, &step, length)?;
        let (before, turn) = partial.take_turn().ok_or_else(unknown)?;
        let behind = |length: Option<u64>| length.map(|length| before.saturating_add(length));
        let (first, end) = match step {
            Step::Range(first, end, _) => (first, Some(end)),
            Step::Ask(_) => (before, Some(before)),
            Step::Begin => (before, behind(length)),
            Step::GoOn(first) => (first, behind(length)),
        };
        if first != before {
            return Err(with_offset(
                Error::new(StatusCode::CONFLICT, "The range does not continue the bytes already received."),
                before,
            ));
        }
        if length.is_some() && end != behind(length) {
            return Err(Error::new(StatusCode::BAD_REQUEST, "The length of the range differs from that of the body."));
        }
        let is_range = matches!(step, Step::Range(..) | Step::Ask(_));
        let whole = partial.length.or(self.uploads.max_size);
        let most = end.filter(|_| is_range).or(whole);
        if whole.zip(end).is_some_and(|(whole, end)| end > whole) {
            return Err(Error::new(StatusCode::PAYLOAD_TOO_LARGE, too_large(whole)));
        }
        if !has_room(partial.file.file(), length.unwrap_or_default(), self.uploads.reserve) {
            return Err(no_room());
        }
        partial.held.have(end.unwrap_or(before))?;
        plan.limit(most.map(|most| most.saturating_sub(before))).save_to(self.appender(&partial, turn));
        request.put(Appending { key, partial, turn, end, before, is_range, _slot: slot });
        Ok(())
    }

    /// The upload that a request is about, by its key: one that was begun, or is now.
    fn begun(
        &self,
        place: Place<'_>,
        request: &Request,
        step: &Step,
        length: Option<u64>,
    ) -> Result<(Key, Arc<Partial>), Error> {
        let Some(partials) = &self.partials else { return Err(unknown()) };
        let (key, total) = match step {
            Step::Range(_, _, total) | Step::Ask(total) => (key_of(place, request, secret(request)?)?, Some(*total)),
            Step::Begin => (key_of(place, request, draw_key()?)?, number(request, LENGTH)),
            Step::GoOn(_) => (key_of(place, request, said_key(request))?, None),
        };
        if !matches!(step, Step::Begin | Step::Range(0, ..)) {
            let is_it = |partial: &Arc<Partial>| total.is_none() || partial.length == total;
            let partial = partials.find(&key).filter(is_it).ok_or_else(unknown)?;
            return Ok((key, partial));
        }
        if total.zip(self.uploads.max_size).is_some_and(|(total, most)| total > most) {
            return Err(Error::new(StatusCode::PAYLOAD_TOO_LARGE, too_large(self.uploads.max_size)));
        }
        let target = place.target(request, &key.path)?;
        let existing = target.existing_file()?;
        check_conditions(place, request, &target, existing)?;
        self.check_locks(place, request, &target, existing)?;
        self.check_policy(request, existing)?;
        partials.drop_one(&key); // it begins anew
        let held = self.hold(request, total.or(length))?;
        let file = self.new_file(target.folder(), total.or(length))?;
        match partials.begin(key.clone(), Partial::new(file, total, Owner::of(request), held)) {
            Some(partial) => Ok((key, partial)),
            None => {
                let error = Error::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Too many uploads are waiting to be continued right now.",
                );
                Err(error.with_header(header::RETRY_AFTER, "60"))
            }
        }
    }

    pub(super) fn take_step(&self, place: Place<'_>, request: &Request) -> Result<Response, Error> {
        if request.value::<Appending>().is_none() {
            self.before_step(place, request, &mut BodyPlan::default())?; // one that was made by hand
        }
        let (Some(appending), Some(partials)) = (request.value::<Appending>(), &self.partials) else {
            return Err(unknown());
        };
        let Appending { key, partial, turn, end, before, is_range, .. } = &*appending;
        if partial.file.written() < before + request.body().len() {
            copy(&mut request.reader(), &mut self.appender(partial, *turn))?;
        }
        let written = partial.file.written();
        let is_whole = match is_range {
            true => end.is_some_and(|end| Some(end) == partial.length),
            false => *request.method() == Method::PATCH && is_complete(request),
        };
        if is_whole {
            if partial.length.is_some_and(|length| length != written) {
                return Err(with_offset(
                    Error::new(StatusCode::BAD_REQUEST, "The length differs from the announced length."),
                    written,
                ));
            }
            // By whoever has it: it may have been ended, or stored, while this request waited.
            if !partials.end(key, partial, *turn) {
                return Err(gone_on());
            }
            let target = place.target(request, &key.path)?;
            let stored = self.store(place, request, target, &partial.file, &partial.held)?;
            let response = super::stored_response(place, stored);
            return Ok(match is_range {
                true => response,
                false => response.with_header(OFFSET, written).with_header(COMPLETE, "?1"),
            });
        }
        if *is_range {
            return Ok(with_range(Response::new(StatusCode::ACCEPTED), written));
        }
        let response = match *request.method() {
            Method::PATCH => Response::no_content(),
            _ => {
                let location = format!("{}?upload={}", location_of(place, &key.path, false), key.secret);
                Response::new(StatusCode::CREATED).with_header(header::LOCATION, location)
            }
        };
        Ok(response.with_header(OFFSET, written).with_header(COMPLETE, "?0"))
    }

    /// HEAD and DELETE of an upload that was begun.
    pub fn about_upload(&self, place: Place<'_>, request: &Request) -> Result<Response, Error> {
        let Some(partials) = &self.partials else { return Err(unknown()) };
        let key = key_of(place, request, said_key(request))?;
        let partial = partials.find(&key).ok_or_else(unknown)?;
        if *request.method() == Method::DELETE {
            partials.drop_one(&key);
            return Ok(Response::no_content());
        }
        let (offset, _) = partial.take_turn().ok_or_else(unknown)?;
        let response = Response::no_content().with_header(OFFSET, offset).with_header(COMPLETE, "?0");
        let response = response.with_header(header::CACHE_CONTROL, "no-store").for_writers();
        Ok(match partial.length {
            Some(length) => response.with_header(LENGTH, length),
            None => response,
        })
    }

    fn appender(&self, partial: &Arc<Partial>, turn: u64) -> Appender {
        let to = self.writer(&partial.file, &partial.held);
        Appender { partial: Arc::clone(partial), turn, to }
    }
}

fn is_ranged(request: &Request) -> bool {
    *request.method() == Method::PUT && request.header("content-range").is_some()
}

fn begins(request: &Request) -> bool {
    let is_file = !request.raw_path().ends_with('/');
    matches!(*request.method(), Method::PUT | Method::POST) && is_file && word(request, COMPLETE) == Some("?0")
}

fn is_complete(request: &Request) -> bool {
    word(request, COMPLETE) == Some("?1")
}

fn word<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.header(name).map(str::trim)
}

fn number(request: &Request, name: &str) -> Option<u64> {
    word(request, name).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

fn step(request: &Request) -> Result<Step, Error> {
    let wrong = |status, what| Err(Error::new(status, what));
    if is_ranged(request) {
        return match range(request).filter(|_| request.header_all("content-range").count() == 1) {
            Some(step) => Ok(step),
            None => wrong(StatusCode::BAD_REQUEST, "Content-Range must be bytes FIRST-LAST/LENGTH or bytes */LENGTH."),
        };
    }
    if *request.method() != Method::PATCH {
        return Ok(Step::Begin);
    }
    // Clients of earlier drafts send none.
    if request.header("content-type").is_some() && !request.has_media_type(PART) {
        return wrong(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The media type of a part must be application/partial-upload.",
        );
    }
    match (request.param("upload"), number(request, OFFSET), word(request, COMPLETE)) {
        (None, ..) => Err(unknown()),
        (Some(_), Some(first), Some("?0" | "?1")) => Ok(Step::GoOn(first)),
        _ => wrong(StatusCode::BAD_REQUEST, "Expected Upload-Offset (a number) and Upload-Complete (?0 or ?1)."),
    }
}

/// RFC 9110, section 14.4.
fn range(request: &Request) -> Option<Step> {
    let digits = |text: &str| -> Option<u64> {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
    };
    let (range, total) = word(request, "content-range")?.strip_prefix("bytes ")?.trim().split_once('/')?;
    let total = digits(total)?;
    if range == "*" {
        return Some(Step::Ask(total));
    }
    let (first, last) = range.split_once('-')?;
    let (first, last) = (digits(first)?, digits(last)?);
    (first <= last && last < total).then_some(Step::Range(first, last + 1, total))
}

/// The upload of whoever has this secret to a path that the request may write.
fn key_of(place: Place<'_>, request: &Request, secret: String) -> Result<Key, Error> {
    let path = target::resolve(place, request)?.bytes;
    place.rights(request).ask::<Write>(&path)?;
    Ok(Key { secret, user: request.user(), path })
}

/// The key in the URL.
fn said_key(request: &Request) -> String {
    request.param("upload").unwrap_or_default().into_owned()
}

/// The same of an upload by ranges, whose client draws it.
fn secret(request: &Request) -> Result<String, Error> {
    let secret = said_key(request);
    if (SHORTEST_SECRET..=LONGEST_SECRET).contains(&secret.len()) {
        return Ok(secret);
    }
    let wanted =
        "To send a file in ranges, use ?upload=SECRET, with 16 to 128 random characters chosen for this upload.";
    Err(Error::new(StatusCode::BAD_REQUEST, wanted))
}

fn unknown() -> Error {
    Error::new(StatusCode::NOT_FOUND, "There is no such upload, or it has expired. Start again.")
}

fn with_offset(error: Error, offset: u64) -> Error {
    let error = error.with_header(OFFSET, offset);
    if offset > 0 { error.with_header(header::RANGE, format!("bytes=0-{}", offset - 1)) } else { error }
}

fn with_range(response: Response, offset: u64) -> Response {
    if offset > 0 { response.with_header(header::RANGE, format!("bytes=0-{}", offset - 1)) } else { response }
}
