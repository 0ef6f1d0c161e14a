//! The responses of a `StaticFileHandler` without a file: a page of the folder, the page of an app, or an error, which
//! can link to the nearest folder. Called by `handler`.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use http::StatusCode;
use http::header::{LINK, RETRY_AFTER, VARY};

use super::super::find::Lookup;
use super::super::listing::View;
use super::super::open::OpenError;
use super::super::path::{self, FilePath, ResolvedPath};
use super::{CachedPath, FileRequest, StaticFileHandler, What, response};
use crate::{Error, Request, Response, Result};

impl StaticFileHandler {
    pub(super) fn error_response(&self, asked: FileRequest<'_>, error: OpenError) -> Result<Response> {
        match error {
            OpenError::NotFound => {
                if let Some(response) = self.app_response(asked) {
                    return response;
                }
                self.page_or(asked, StatusCode::NOT_FOUND, || self.preparer.not_found())
            }
            OpenError::Forbidden => self.page_or(asked, StatusCode::FORBIDDEN, || {
                self.error(StatusCode::FORBIDDEN, "The server has no permission to read this.")
            }),
            OpenError::Busy(cause) => Err(self.busy("Too many files are open right now.", cause)),
            OpenError::TooManyListings(cause) => {
                Err(self.busy("Too many large folders are being listed right now.", cause))
            }
            OpenError::Io(cause) => Err(self.error(StatusCode::INTERNAL_SERVER_ERROR, "").with_cause(cause)),
        }
    }

    /// Returns a page that was made for one request. Its memory counts like that of listings in progress, because a
    /// slow client keeps it there.
    #[cfg(feature = "markdown")]
    pub(super) fn held(&self, text: String) -> Result<Response> {
        let page = self.listings.held(text);
        page.map_err(|cause| self.busy("Too many large pages are being sent right now.", cause))
    }

    /// Returns the page of an app, for paths that may be its own.
    fn app_response(&self, asked: FileRequest<'_>) -> Option<Result<Response>> {
        let page = self.app_page.as_ref()?;
        let FileRequest { request, .. } = asked;
        let path = request.path();
        let has_extension = path::name(path.as_bytes()).contains(&b'.');
        if path::is_hidden(path.trim_start_matches('/').as_bytes()) || has_extension && !accepts_html(request) {
            return None;
        }
        let page = self.file_response(asked, page)?;
        // At other paths the page is the same for all clients.
        Some(page.map(|page| if has_extension { page.with_added_header(VARY, "Accept") } else { page }))
    }

    /// Returns the page of an app for a folder without an index, unless its listing or an archive is requested
    /// explicitly. Other values of `format` and `archive` are the app's own.
    pub(super) fn app_response_to_folder(&self, asked: FileRequest<'_>, path: &FilePath) -> Option<Result<Response>> {
        self.app_page.as_ref()?;
        let is_asked_for = View::is_named(asked.request) || self.is_archive_named(asked.request);
        let inside = FilePath { bytes: path.bytes.clone(), trailing_slash: true };
        let has_index = || matches!(self.finder.find(&inside, asked.polled, SystemTime::now()), Ok(Lookup::File(_)));
        if is_asked_for || has_index() { None } else { self.app_response(asked) }
    }

    /// Returns a file of the folder as it is sent at its own path.
    fn file_response(&self, asked: FileRequest<'_>, path: &FilePath) -> Option<Result<Response>> {
        let key = path.key();
        let find = || {
            let now = SystemTime::now();
            let Ok(Lookup::File(found)) = self.finder.find(path, asked.polled, now) else { return None };
            Some(self.keep(&key, found, asked, now))
        };
        match self.kept_file(&key, asked).map(Ok).or_else(find)? {
            Ok(kept) if matches!(kept.what, What::Missing) => None,
            Ok(kept) => Some(self.respond(&kept, asked)),
            Err(error) => Some(Err(error.into())),
        }
    }

    /// Returns the folder's own page for a status, if it can be read, or an error.
    pub(super) fn page_or(
        &self,
        asked: FileRequest<'_>,
        status: StatusCode,
        error: impl FnOnce() -> Error,
    ) -> Result<Response> {
        let kept = self.page(asked, status);
        let page = kept.as_deref().and_then(|kept| match &kept.what {
            What::File(page) => page.of(asked.rights),
            What::Index(_) | What::Missing => None,
        });
        match page {
            Some(page) => Ok(response(page.identity()).with_status(status)),
            None if self.link_up => Err(self.with_link_up(asked, error())),
            None => Err(error()),
        }
    }

    /// Adds a link, for clients that show the error page to people. Cold, so that plain errors pay nothing for it.
    #[cold]
    fn with_link_up(&self, asked: FileRequest<'_>, error: Error) -> Error {
        if self.only.is_some() || !accepts_html(asked.request) {
            return error;
        }
        let FileRequest { request, rights, polled } = asked;
        let mount = self.mount(request);
        let nearest = match request.url_path().map(|path| path::resolve(&path, mount)) {
            Ok(ResolvedPath::Path(path)) => self.finder.nearest_folder(&path, self.listing, rights, polled),
            _ => None,
        };
        match nearest {
            Some(folder) => error.with_added_header(LINK, format!("<{folder}>; rel=\"up\"")),
            None => error,
        }
    }

    /// Returns the custom page for a status, or that it is missing.
    fn page(&self, asked: FileRequest<'_>, status: StatusCode) -> Option<Arc<CachedPath>> {
        let (_, key) = self.pages.iter().rev().find(|(known, _)| *known == status)?;
        if let Some(page) = self.kept(key, asked) {
            return Some(page);
        }
        let now = SystemTime::now();
        let (what, basis) = match self.finder.find_page(&key[1..]).ok()? {
            Lookup::File(mut found) => {
                if let Some(before) = self.cache.get(key) {
                    found.basis.take_over(&before.basis);
                }
                let (page, basis) = self.preparer.prepare_page(found, self.cache.limits.bytes_each).ok()?;
                (What::File(page), basis)
            }
            Lookup::Missing(basis) => (What::Missing, basis),
            Lookup::Folder | Lookup::NeedsSlash => return None,
        };
        Some(self.put(key, what, basis, asked, now))
    }

    fn busy(&self, message: &str, cause: io::Error) -> Error {
        self.error(StatusCode::SERVICE_UNAVAILABLE, message).with_header(RETRY_AFTER, "1").with_cause(cause)
    }
}

/// Returns whether a client names HTML, as browsers do.
pub(super) fn accepts_html(request: &Request) -> bool {
    request.accept_weight(&["text/html"]).is_some_and(|weight| weight > 0)
}
