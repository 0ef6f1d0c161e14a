//! A file that is written new: nothing is overwritten, and what fails on the way is removed again.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use http::StatusCode;

use crate::http::error::Error;

/// Have it filled. Removed again if that fails, also by a panic. What is there is not overwritten, nor is a symbolic
/// link followed.
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

/// What a client is told of a file that can't be written.
pub(crate) fn error_of(err: io::Error) -> Error {
    match err.kind() {
        _ if err.get_ref().is_some() => Error::from(err), // of the body, while it comes
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
            log::error!("a file that was not finished stays in {}: {err}", self.0.display());
        }
    }
}
