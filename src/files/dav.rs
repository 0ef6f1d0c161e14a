//! WebDAV for reading: PROPFIND (RFC 4918, section 9.1), by which file managers list a folder. Called by `handler`,
//! which looks paths up; `listing` reads folders.
//!
//! The XML of a request is checked and not evaluated: see `listing::multistatus`.

use http::StatusCode;

use super::listing::multistatus::{self, XML};
use crate::{Error, Request, Response};

/// How many levels below a folder are requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    Itself,
    Entries,
}

/// Returns the requested depth (RFC 4918, section 10.2). `None`: infinity, which is also the default.
///
/// # Errors
/// 400 if it is malformed or repeated.
pub(super) fn depth(request: &Request) -> Result<Option<Depth>, Error> {
    match request.single_header("depth")? {
        Some("0") => Ok(Some(Depth::Itself)),
        Some("1") => Ok(Some(Depth::Entries)),
        None => Ok(None),
        Some(word) if word.eq_ignore_ascii_case("infinity") => Ok(None),
        Some(_) => Err(Error::new(StatusCode::BAD_REQUEST, "Depth must be 0, 1 or infinity.")),
    }
}

/// Returns the response that rejects `Depth: infinity` as WebDAV clients expect it (RFC 4918, section 9.1.1).
pub(super) fn refusal() -> Response {
    multistatus::refusal(StatusCode::FORBIDDEN, "propfind-finite-depth")
}

/// Returns a 207 response with these properties.
pub(super) fn multistatus(text: String) -> Response {
    Response::bytes(text).with_status(StatusCode::MULTI_STATUS).with_content_type(XML)
}
