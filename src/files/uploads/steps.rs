//! The fields and the parameter of a resumable upload, by both protocols of `resuming`.

use http::{Method, StatusCode, header};

use super::conditions::{digits, item, number};
use crate::{Error, Request};

pub(super) const COMPLETE: &str = "upload-complete";
/// The field of drafts before the third.
pub(super) const INCOMPLETE: &str = "upload-incomplete";
pub(super) const OFFSET: &str = "upload-offset";
/// The shortest and the longest secret of a client, in bytes.
const SHORTEST_SECRET: usize = 16;
const LONGEST_SECRET: usize = 128;
const PART: &str = "application/partial-upload";

pub(super) enum Step {
    /// A range: its first byte, the end after its last byte, and the total length.
    Range(u64, u64, u64),
    /// A query for the state of an upload of this length.
    Ask(u64),
    Begin,
    /// Bytes from this offset.
    GoOn(u64),
}

/// Returns whether the request queries or cancels an upload in progress. Such a request is never about the file itself,
/// even if uploads are not resumable: a client would delete a file that it has never sent.
pub(super) fn is_about_upload(request: &Request) -> bool {
    matches!(*request.method(), Method::HEAD | Method::DELETE) && request.param("upload").is_some()
}

pub(super) fn is_ranged(request: &Request) -> bool {
    *request.method() == Method::PUT && has_range(request)
}

pub(super) fn has_range(request: &Request) -> bool {
    request.header_all("content-range").next().is_some()
}

pub(super) fn begins(request: &Request) -> bool {
    let is_file = !request.raw_path().ends_with('/');
    let begins = matches!(completes(request), Ok(Some(false))); // an error was reported by `check_is_whole`
    matches!(*request.method(), Method::PUT | Method::POST) && is_file && begins
}

/// Returns whether the upload is complete with this body. `None`: the request is not about a resumable upload.
pub(super) fn completes(request: &Request) -> Result<Option<bool>, Error> {
    match item(request, COMPLETE)? {
        None => Ok(None),
        Some("?0") => Ok(Some(false)),
        Some("?1") => Ok(Some(true)),
        Some(_) => Err(Error::new(StatusCode::BAD_REQUEST, "Upload-Complete must be ?0 or ?1.")),
    }
}

pub(super) fn step(request: &Request) -> Result<Step, Error> {
    let wrong = |status, what| Err(Error::new(status, what));
    if is_ranged(request) {
        return match request.single_header("content-range")?.and_then(range) {
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
    if request.param("upload").is_none() {
        return Err(unknown());
    }
    match (number(request, OFFSET)?, completes(request)?) {
        (Some(first), Some(_)) => Ok(Step::GoOn(first)),
        _ => wrong(StatusCode::BAD_REQUEST, "Expected Upload-Offset (a number) and Upload-Complete (?0 or ?1)."),
    }
}

/// Parses `Content-Range` (RFC 9110, section 14.4). The unit is in any letter case (section 14.1).
fn range(line: &str) -> Option<Step> {
    let (_, range) = line.split_once(' ').filter(|(unit, _)| unit.eq_ignore_ascii_case("bytes"))?;
    let (range, total) = range.trim().split_once('/')?;
    let total = digits(total)?;
    if range == "*" {
        return Some(Step::Ask(total));
    }
    let (first, last) = range.split_once('-')?;
    let (first, last) = (digits(first)?, digits(last)?);
    (first <= last && last < total).then_some(Step::Range(first, last + 1, total))
}

pub(super) fn requested_key(request: &Request) -> String {
    request.param("upload").unwrap_or_default().into_owned()
}

/// Returns the client's secret of an upload by ranges.
pub(super) fn secret(request: &Request) -> Result<String, Error> {
    let secret = requested_key(request);
    if (SHORTEST_SECRET..=LONGEST_SECRET).contains(&secret.len()) {
        return Ok(secret);
    }
    let wanted =
        "To send a file in ranges, use ?upload=SECRET, with 16 to 128 random characters chosen for this upload.";
    Err(Error::new(StatusCode::BAD_REQUEST, wanted))
}

pub(super) fn unknown() -> Error {
    Error::new(StatusCode::NOT_FOUND, "There is no such upload, or it has expired. Start again.")
}

pub(super) fn discontinuous(offset: u64) -> Error {
    with_offset(Error::new(StatusCode::CONFLICT, "The range does not continue the bytes already received."), offset)
}

pub(super) fn with_offset(error: Error, offset: u64) -> Error {
    let error = error.with_header(OFFSET, offset);
    if offset > 0 { error.with_header(header::RANGE, format!("bytes=0-{}", offset - 1)) } else { error }
}
