//! The responses of a `StaticFileHandler` for a folder without an index: its listing, or an archive. Called by
//! `handler`; `listing` and `archive` read folders.

use http::StatusCode;
use http::header::VARY;
#[cfg(feature = "archive")]
use http::header::{CACHE_CONTROL, RETRY_AFTER};

#[cfg(feature = "archive")]
use super::super::archive::Format;
use super::super::listing::{Account, Controls, Frame, without_entries};
use super::super::open::OpenError;
use super::super::overview::beside;
use super::super::path::{self, ResolvedPath};
use super::super::prepare::is_fixed;
use super::super::rights::{Granted, List, Write};
use super::pages::accepts_html;
use super::{FileRequest, StaticFileHandler, with_fields};
#[cfg(feature = "archive")]
use crate::Result;
use crate::{Request, Response};

impl StaticFileHandler {
    pub(super) fn list(&self, asked: FileRequest<'_>, folder: Granted<'_, List>) -> Result<Response, OpenError> {
        let controls = self.controls(asked, folder.path(), false);
        let on_server = path::folder_on_server(self.mount(asked.request), folder.path());
        let beside = beside(asked.request, self.beside.iter(), &on_server);
        let mount = self.shown_mount(asked.request);
        let top = (&*mount, &controls, &beside[..]);
        let fields = self.preparer.added_fields();
        let rights = asked.rights.within_reach(asked.request, self.mount(asked.request), folder.path());
        let by = (asked.request, &rights, asked.polled);
        let listing = || self.listings.respond(&self.finder, top, folder, by, is_fixed(&fields));
        Ok(self.finished(asked.request, with_fields(self.retry_after_clearing_cache(listing)?, &fields)))
    }

    fn finished(&self, request: &Request, response: Response) -> Response {
        match &self.finish_listing.0 {
            Some(finish) => finish.0(request, response),
            None => response,
        }
    }

    /// Returns the upload page, for users who can write here but not list the folder. `None` if the request is not for
    /// it.
    #[cold]
    pub(super) fn box_page(&self, asked: FileRequest<'_>) -> Option<Response> {
        let FileRequest { request, rights, .. } = asked;
        let upload_handler = self.accepted().filter(|_| self.listing && accepts_html(request))?;
        let path = match path::resolve(&request.url_path().ok()?, self.mount(request)) {
            ResolvedPath::Path(path) => path.bytes,
            _ => Vec::new(),
        };
        if rights.grant::<List>(&path).is_some() {
            return None;
        }
        match upload_handler.form_folder(self.upload_request(request)) {
            Ok(_) => {}
            Err(error) if error.status() == StatusCode::PERMANENT_REDIRECT => {
                let location = path::location(self.mount(request), &path, true);
                return Some(self.redirect(request, location).with_header(VARY, "Accept").for_writers());
            }
            Err(_) => return None,
        }
        let controls = self.controls(asked, &path, true);
        let root = self.shown_mount(request);
        let order = Default::default();
        let frame = Frame { root: &root, path: &path, order, controls: &controls, beside: &[], offers_archives: false };
        let page = controls.protect(Response::html(without_entries(&frame)));
        Some(self.finished(request, self.with_default_fields(page.with_header(VARY, "Accept"))).for_writers())
    }

    /// Returns the controls for this user on the page of a folder.
    fn controls(&self, asked: FileRequest<'_>, folder: &[u8], is_box: bool) -> Controls {
        let FileRequest { request, rights, .. } = asked;
        let upload_handler = self.upload_handler.as_deref();
        let (may_write, might_write) = (rights.grant::<Write>(folder).is_some(), rights.might::<Write>(folder));
        let page = path::folder_on_server(self.mount(request), folder);
        let account = request.log_in_links(&page).map(|links| Account {
            links,
            user: request.user(),
            is_for_uploads: upload_handler.is_some() && !may_write && might_write,
        });
        // If there is no other way to log in, the upload itself asks for the password.
        let may_write = may_write || account.is_none() && might_write;
        // A link that is followed for reading can lead out of the folder, where nothing is written.
        let is_inside = |granted| self.finder.root.folder_to_change(folder, granted).is_ok();
        let accepts = upload_handler
            .filter(|_| may_write && rights.grant::<Write>(folder).is_none_or(is_inside))
            .map(|upload_handler| upload_handler.accepts(self.upload_request(request)));
        Controls { accepts, is_box, shows_boxes: upload_handler.is_some(), account }
    }

    #[cfg(feature = "archive")]
    pub(super) fn is_archive_named(&self, request: &Request) -> bool {
        self.archives.format_of(request).is_ok_and(|format| format.is_some())
    }

    #[cfg(not(feature = "archive"))]
    pub(super) fn is_archive_named(&self, _: &Request) -> bool {
        false
    }

    #[cfg(feature = "archive")]
    pub(super) fn archive(
        &self,
        asked: FileRequest<'_>,
        folder: Granted<'_, List>,
        format: Format,
    ) -> Result<Response> {
        let request = asked.request;
        let rights = asked.rights.within_reach(request, self.mount(request), folder.path());
        match self.archives.respond(&self.finder, &self.shown_mount(request), folder, format, (request, &rights)) {
            Some(response) => {
                Ok(with_fields(response.with_header(CACHE_CONTROL, "no-store"), &self.preparer.added_fields()))
            }
            None => {
                let why = "Too many archives are being made right now.";
                Err(self.error(StatusCode::SERVICE_UNAVAILABLE, why).with_header(RETRY_AFTER, "10"))
            }
        }
    }

    /// Returns the decoded path of the topmost folder, with both slashes.
    fn shown_mount(&self, request: &Request) -> String {
        String::from_utf8_lossy(&path::on_server(self.mount(request), b"")).into_owned()
    }
}
