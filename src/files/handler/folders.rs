//! What a `StaticFileHandler` shows of a folder that has no index: its listing, or all of it as an archive. Called by `handler`;
//! `listing` and `archive` read folders.

#[cfg(feature = "archive")]
use http::HeaderValue;
use http::StatusCode;
#[cfg(feature = "archive")]
use http::header::{CACHE_CONTROL, RETRY_AFTER};

#[cfg(feature = "archive")]
use super::super::archive::Format;
use super::super::listing::Controls;
use super::super::open::OpenError;
use super::super::path::{self, FilePath};
use super::super::prepare::is_fixed;
use super::super::taking::Taking;
use super::{Asked, StaticFileHandler, with_fields};
use crate::{Access, Permissions, Request, Response, Result};

impl StaticFileHandler {
    /// Whether whoever asks may see what this folder holds: that it is a folder without an index shows only here.
    pub(super) fn may_list(&self, request: &Request, path: &FilePath) -> Result<()> {
        let Some(permissions) = request.value::<Permissions>() else { return Ok(()) };
        match permissions.permit(Access::List, &path::on_server(self.mount(request), &path.bytes)) {
            true => Ok(()),
            false => Err(permissions.refusal().with_headers(self.preparer.default_fields())),
        }
    }

    /// Whether whoever asks may write here, or might once it is known who that is.
    fn might_write(&self, request: &Request, path: &FilePath) -> bool {
        request.value::<Permissions>().is_none_or(|permissions| {
            permissions.permit(Access::Write, &path::on_server(self.mount(request), &path.bytes))
                || permissions.refusal().status() == StatusCode::UNAUTHORIZED
        })
    }

    pub(super) fn list(&self, asked: Asked<'_>, path: &FilePath) -> Result<Response, OpenError> {
        let taking = self.taking.as_deref().filter(|_| self.might_write(asked.request, path));
        let controls = match taking.map(Taking::deletes) {
            None => Controls::None,
            Some(false) => Controls::Upload,
            Some(true) => Controls::UploadAndDelete,
        };
        let mount = self.shown_mount(asked.request);
        let root = (&*mount, controls);
        let fields = self.preparer.added_fields();
        let by = (asked.request, asked.polled);
        let listing = || self.listings.respond(&self.finder, root, &path.bytes, by, is_fixed(&fields));
        let response = with_fields(self.retry_after_clearing_cache(listing)?, &fields);
        Ok(match &self.finish_listing.0 {
            Some(finish) => finish.0(asked.request, response),
            None => response,
        })
    }

    #[cfg(feature = "archive")]
    pub(super) fn archive_format(&self, request: &Request) -> Result<Option<Format>> {
        self.archives.format_of(request).map_err(|error| error.with_headers(self.preparer.default_fields()))
    }

    #[cfg(feature = "archive")]
    pub(super) fn archive(&self, request: &Request, path: &FilePath, format: Format) -> Result<Response> {
        match self.archives.respond(&self.finder, &self.shown_mount(request), &path.bytes, format, request) {
            Some(response) => {
                let mut fields = self.preparer.added_fields();
                fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                Ok(with_fields(response, &fields))
            }
            None => {
                let why = "As many archives as may be are being made just now.";
                Err(self.error(StatusCode::SERVICE_UNAVAILABLE, why).with_header(RETRY_AFTER, "10"))
            }
        }
    }

    /// The path of the topmost folder, decoded, with both slashes.
    fn shown_mount(&self, request: &Request) -> String {
        String::from_utf8_lossy(&path::on_server(self.mount(request), b"")).into_owned()
    }
}
