//! Responses to changes, and to changes that fail. Used by all of `uploads`.

use std::io;

use http::{StatusCode, header};
use rustix::io::Errno;

use super::super::listing::push_size;
use super::super::path;
use super::UploadRequest;
use crate::{ETag, Error, Response};

const MAX_SHOWN: usize = 200;

/// Returns the response to a request that has created something at this path.
pub(super) fn created(location: String) -> Response {
    Response::text(format!("{location}\n")).with_status(StatusCode::CREATED).with_header(header::LOCATION, location)
}

/// Returns the response to a move or a copy to this path.
pub(super) fn created_or_replaced(location: String, is_new: bool) -> Response {
    match is_new {
        true => Response::new(StatusCode::CREATED).with_header(header::LOCATION, location),
        false => Response::no_content(),
    }
}

/// With the tag, a client can make sure that it changes the same file again.
pub(super) fn with_tag(response: Response, tag: Option<ETag>) -> Response {
    tag.into_iter().fold(response, |response, tag| response.with_header(header::ETAG, tag))
}

pub(super) fn location_of(asked: UploadRequest<'_>, path: &[u8], trailing_slash: bool) -> String {
    path::location(asked.mount, path, trailing_slash)
}

/// Redirects to the page of a folder.
pub(super) fn redirect_to_folder(asked: UploadRequest<'_>, path: &[u8], status: StatusCode) -> Response {
    Response::redirect_with(status, path::with_query(location_of(asked, path, true), asked.request))
}

pub(super) fn conflict(why: impl Into<String>) -> Error {
    Error::new(StatusCode::CONFLICT, why)
}

/// The same request can succeed in this many seconds.
pub(super) fn busy(why: &str, retry_after: u64) -> Error {
    Error::new(StatusCode::SERVICE_UNAVAILABLE, why).with_header(header::RETRY_AFTER, retry_after)
}

pub(super) fn taken() -> Error {
    Error::new(StatusCode::CONFLICT, "That name is taken.")
}

pub(super) fn gone_on() -> Error {
    Error::new(StatusCode::CONFLICT, "Another request has continued or ended this upload.")
}

/// There is no disk space beyond the reserve (`Uploads::reserve`), which can be 0.
pub(super) fn no_room_beyond(reserve: u64) -> Error {
    if reserve == 0 {
        return no_room();
    }
    let why = "There is not enough disk space for uploads: the rest is reserved.";
    Error::new(StatusCode::INSUFFICIENT_STORAGE, why)
}

pub(super) fn no_room() -> Error {
    Error::new(StatusCode::INSUFFICIENT_STORAGE, "There is not enough disk space.")
}

/// Rejects a length that is over the limit. `None`: it is unknown, or there is no limit.
pub(super) fn check_size(length: Option<u64>, most: Option<u64>) -> Result<(), Error> {
    match length.zip(most) {
        Some((length, most)) if length > most => {
            Err(Error::new(StatusCode::PAYLOAD_TOO_LARGE, format!("Too large: at most {}.", in_units(most))))
        }
        _ => Ok(()),
    }
}

/// Returns a size as in listings: `200 MiB`.
pub(super) fn in_units(bytes: u64) -> String {
    let mut text = String::new();
    push_size(&mut text, bytes);
    text
}

pub(super) fn io_error(error: io::Error) -> Error {
    match (error.kind(), Errno::from_io_error(&error)) {
        (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, _) => no_room(),
        (_, Some(errno)) => error_of(errno),
        (_, None) => Error::from(error),
    }
}

/// Returns the response for a system call that failed.
pub(super) fn error_of(errno: Errno) -> Error {
    let error = |status, what: &str| Error::new(status, what);
    match errno {
        Errno::ACCESS | Errno::PERM => error(StatusCode::FORBIDDEN, "The server has no permission to write here."),
        Errno::ROFS => error(StatusCode::FORBIDDEN, "The file system is read-only."),
        Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP | Errno::STALE => {
            error(StatusCode::CONFLICT, "The folder no longer exists.")
        }
        Errno::EXIST => taken(),
        Errno::BUSY => conflict("Another file system is mounted there."),
        Errno::ISDIR => error(StatusCode::CONFLICT, "There is a folder with that name."),
        Errno::NOSPC | Errno::DQUOT => no_room(),
        Errno::FBIG => error(StatusCode::INSUFFICIENT_STORAGE, "The file is too large for this file system."),
        Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ => {
            error(StatusCode::BAD_REQUEST, "The file system does not accept that name.")
        }
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN => {
            busy("Too many files are open right now.", 1).with_cause(io::Error::from(errno))
        }
        errno => error(StatusCode::INTERNAL_SERVER_ERROR, "").with_cause(io::Error::from(errno)),
    }
}

pub(super) fn named(name: &str, error: Error) -> Error {
    let message = format!("{}: {}", shown(name), error.message_or_reason());
    error.with_message(message)
}

/// Returns a name for people, shortened if it is long.
pub(super) fn shown(name: &str) -> String {
    let name = name.replace(crate::misleading::is_misleading, "\u{fffd}");
    match name.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name,
    }
}
