//! The one check of every path that a request writes, whether the client or the server chose it. Called by `target`,
//! which creates and changes nothing without its result.

use http::StatusCode;

use super::super::path;
use super::super::rights::{Granted, Write};
use super::super::stat::{FileStat, Kind};
use super::UploadRequest;
use super::responses::conflict;
use crate::misleading::fold;
use crate::{Error, UrlPath};

/// A path below the root that a request may write: it has the right, requests for the path reach this folder, and the
/// path is not reserved. Only [`check`](Writable::check) creates such a value.
#[derive(Clone, Debug)]
pub(super) struct Writable(Vec<u8>);

/// The proof that requests for everything at and below a path reach this folder. Only [`check`](Whole::check) creates
/// one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole(());

impl Writable {
    /// # Errors
    /// 403 for a reserved path, 409 if another route or mount serves it.
    pub fn check(asked: UploadRequest<'_>, granted: Granted<'_, Write>) -> Result<Writable, Error> {
        let path = granted.path();
        check_place(asked, path)?;
        check_that(asked, path, |path| asked.request.leads_here(path))?;
        Ok(Writable(path.to_vec()))
    }

    pub fn path(&self) -> &[u8] {
        &self.0
    }

    /// # Errors
    /// 409 if another route or mount serves the folder with this path, whose path ends with a slash.
    pub fn check_as_folder(&self, asked: UploadRequest<'_>) -> Result<(), Error> {
        check_that(asked, &[&self.0, &b"/"[..]].concat(), |path| asked.request.leads_here(path))
    }
}

impl Whole {
    /// Checks the path of something that is moved there, or away. A link counts as a folder: it can lead to one later.
    ///
    /// # Errors
    /// 409 if another route or mount serves a path below it.
    pub fn check(asked: UploadRequest<'_>, at: &Writable, moved: FileStat) -> Result<Whole, Error> {
        match moved.kind {
            Kind::File => Ok(Whole(())),
            _ => match check_that(asked, &at.0, |path| asked.request.leads_here_whole(path)) {
                Ok(()) => Ok(Whole(())),
                Err(_) => Err(conflict("Something else is served below that path.")),
            },
        }
    }
}

fn check_that(
    asked: UploadRequest<'_>,
    path: &[u8],
    leads_here: impl FnOnce(&UrlPath<'_>) -> bool,
) -> Result<(), Error> {
    let on_server = path::on_server(asked.mount, path);
    match UrlPath::from_decoded(&on_server).is_some_and(|path| leads_here(&path)) {
        true => Ok(()),
        false => Err(conflict("Something else is served at that path.")),
    }
}

/// Returns a 403 for names that are not served, and for `/.well-known/`, where a certificate authority looks for proof
/// of control over the host (RFC 8555, section 8.3) and others for policies (RFC 8615).
pub(super) fn check_place(asked: UploadRequest<'_>, path: &[u8]) -> Result<(), Error> {
    let refused = |what| Err(Error::new(StatusCode::FORBIDDEN, what));
    if path::is_upload(path) {
        return refused("Names that start with .modest-upload- are reserved.");
    }
    if asked.finder.is_hidden(path) {
        return refused("Names can't start with a dot here.");
    }
    match is_well_known(asked.mount) || is_well_known(path) {
        true => Err(well_known_is_reserved()),
        false => Ok(()),
    }
}

/// Returns whether a path leads through a folder of this name. In any folder, because another place can serve that one
/// as its top.
pub(super) fn is_well_known(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').any(|name| name.len() >= 11 && fold(name) == ".well-known")
}

pub(super) fn well_known_is_reserved() -> Error {
    Error::new(StatusCode::FORBIDDEN, "Uploads to /.well-known/ are not allowed.")
}
