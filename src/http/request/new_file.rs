//! Creates a file with new content. Nothing is overwritten, and a file that cannot be completed is removed.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use http::StatusCode;

use crate::http::error::Error;

/// Calls `fill` with a new file, and removes the file if `fill` fails or panics. An existing file is not overwritten,
/// and a symbolic link is not followed.
pub(crate) fn create<T, E>(
    path: &Path,
    cannot_create: impl FnOnce(io::Error) -> E,
    fill: impl FnOnce(&mut File) -> Result<T, E>,
) -> Result<T, E> {
    let mut file = File::create_new(path).map_err(cannot_create)?;
    let unfinished = Unfinished(path);
    let filled = fill(&mut file)?;
    std::mem::forget(unfinished);
    Ok(filled)
}

/// Returns the response for a file that cannot be written.
pub(crate) fn error_of(err: io::Error) -> Error {
    match err.kind() {
        _ if err.get_ref().is_some() => Error::from(err), // an error of receiving the body
        io::ErrorKind::AlreadyExists => Error::new(StatusCode::CONFLICT, "that name is taken"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Error::new(StatusCode::INSUFFICIENT_STORAGE, "there is not enough disk space for the file").with_cause(err)
        }
        _ => Error::from(err),
    }
}

struct Unfinished<'a>(&'a Path);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Err(err) = fs::remove_file(self.0) {
            log::error!("can't remove the incomplete file {}: {err}", self.0.display());
        }
    }
}
