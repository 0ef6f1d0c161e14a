//! The responses of a `StaticFileHandler` for a folder without an index: its listing, or an archive. Called by
//! `handler`; `listing` and `archive` read folders.

#[cfg(feature = "archive")]
use http::header::{CACHE_CONTROL, RETRY_AFTER};
#[cfg(feature = "archive")]
use http::{HeaderValue, StatusCode};

#[cfg(feature = "archive")]
use super::super::archive::Format;
use super::super::listing::Controls;
use super::super::open::OpenError;
use super::super::path;
use super::super::prepare::is_fixed;
use super::super::rights::{Granted, List, Write};
use super::super::taking::Taking;
use super::{Asked, StaticFileHandler, with_fields};
#[cfg(feature = "archive")]
use crate::Result;
use crate::{Request, Response};

impl StaticFileHandler {
    pub(super) fn list(&self, asked: Asked<'_>, folder: Granted<'_, List>) -> Result<Response, OpenError> {
        let taking = self.taking.as_deref().filter(|_| asked.rights.might::<Write>(folder.path()));
        let controls = match taking.map(Taking::deletes) {
            None => Controls::None,
            Some(false) => Controls::Upload,
            Some(true) => Controls::UploadAndDelete,
        };
        let mount = self.shown_mount(asked.request);
        let root = (&*mount, controls);
        let fields = self.preparer.added_fields();
        let by = (asked.request, asked.rights, asked.polled);
        let listing = || self.listings.respond(&self.finder, root, folder, by, is_fixed(&fields));
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
    pub(super) fn archive(&self, asked: Asked<'_>, folder: Granted<'_, List>, format: Format) -> Result<Response> {
        let Asked { request, rights, .. } = asked;
        match self.archives.respond(&self.finder, &self.shown_mount(request), folder, format, (request, rights)) {
            Some(response) => {
                let mut fields = self.preparer.added_fields();
                fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                Ok(with_fields(response, &fields))
            }
            None => {
                let why = "Too many archives are being made right now.";
                Err(self.error(StatusCode::SERVICE_UNAVAILABLE, why).with_header(RETRY_AFTER, "10"))
            }
        }
    }

    /// The decoded path of the topmost folder, with both slashes.
    fn shown_mount(&self, request: &Request) -> String {
        String::from_utf8_lossy(&path::on_server(self.mount(request), b"")).into_owned()
    }
}
