//! The responses for bodies, parts of forms and files that cannot be written. Called by `stored`, `form_data` and
//! `reading`.

use std::io;
use std::path::Path;

use http::StatusCode;
use rustix::io::Errno;

use super::quotas::TOO_LARGE;
use crate::http::error::Error;
use crate::http::rejection::Rejection;
use crate::tcp::Contained;

pub(crate) const NO_SPACE: Rejection =
    Rejection::new(StatusCode::INSUFFICIENT_STORAGE, "no space for the body at the moment");
const NO_DESCRIPTOR: Rejection = Rejection::busy("too busy right now");
const BUSY: Rejection = Rejection::new(StatusCode::CONFLICT, "another request is using the destination of this body");
const TAKEN: Rejection = Rejection::new(StatusCode::CONFLICT, "that name is taken");
const FAILED: Rejection = Rejection::new(StatusCode::INTERNAL_SERVER_ERROR, "the body could not be stored");

/// Returns the response for an error of a handler's writer.
pub(crate) fn of_writer(err: io::Error) -> Error {
    let err = Contained::new("dropping the error of a writer", err);
    if let Some(error) = Error::of_io(&err) {
        return error;
    }
    match err.kind() {
        io::ErrorKind::FileTooLarge if err.raw_os_error().is_none() => TOO_LARGE, // the handler's limit
        io::ErrorKind::ResourceBusy => BUSY,
        _ => of_system(&err).unwrap_or_else(|rejection| {
            log::error!("the writer of a handler can't write a body: {}", *err);
            rejection
        }),
    }
    .into()
}

/// Returns the response for a body that cannot be written to this spool folder.
pub(crate) fn of_spool(err: &io::Error, folder: &Path) -> Error {
    log::error!("a body can't be stored in {}: {err}", folder.display());
    of_system(err).unwrap_or_else(|rejection| rejection).into()
}

/// Returns the response for a file that a handler saves.
pub(crate) fn of_file(err: io::Error) -> Error {
    match err.kind() {
        _ if err.get_ref().is_some() => Error::from(err), // an error of receiving the body
        io::ErrorKind::AlreadyExists => TAKEN.into(),
        _ => match of_system(&err) {
            Ok(rejection) => Error::from(rejection).with_cause(err),
            Err(_) => Error::from(err),
        },
    }
}

/// Returns the rejection for a lack of space or of descriptors. `Err`: the rejection for other errors.
fn of_system(err: &io::Error) -> Result<Rejection, Rejection> {
    const NO_FILE: [Errno; 3] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    match err.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Ok(NO_SPACE),
        _ if err.raw_os_error().is_some_and(|code| NO_FILE.map(Errno::raw_os_error).contains(&code)) => {
            Ok(NO_DESCRIPTOR)
        }
        _ => Err(FAILED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A full disk, or the system's file size limit, causes a different status than a limit of a handler's writer.
    #[test]
    fn write_errors_map_to_statuses() {
        type Case = (fn() -> io::Error, u16, u16, u16);
        let cases: [Case; 13] = [
            (|| io::Error::from(Errno::NOSPC), 507, 507, 507),
            (|| io::Error::from(Errno::DQUOT), 507, 507, 507),
            (|| io::Error::from(Errno::FBIG), 507, 507, 507),
            (|| io::Error::from(Errno::MFILE), 503, 503, 503),
            (|| io::Error::from(Errno::NFILE), 503, 503, 503),
            (|| io::Error::from(Errno::NOMEM), 503, 503, 503),
            (|| io::Error::from(Errno::IO), 500, 500, 500),
            (|| io::Error::from(Errno::EXIST), 500, 500, 409),
            (|| io::ErrorKind::StorageFull.into(), 507, 507, 507),
            (|| io::ErrorKind::FileTooLarge.into(), 413, 507, 507),
            (|| io::ErrorKind::ResourceBusy.into(), 409, 500, 500),
            (|| io::ErrorKind::AlreadyExists.into(), 500, 500, 409),
            (|| Error::new(418, "tea").into(), 418, 500, 418),
        ];
        for (error, writer, spool, file) in cases {
            let name = format!("{:?}", error());
            let found = [of_writer(error()), of_spool(&error(), Path::new("/tmp")), of_file(error())];
            for (found, expected) in found.iter().zip([writer, spool, file]) {
                assert_eq!(found.status().as_u16(), expected, "{name}: {found:?}");
                let is_for_later = found.headers().contains_key("retry-after");
                assert_eq!(is_for_later, matches!(expected, 503 | 507), "{name}: {found:?}");
            }
        }
    }
}
