//! GET and HEAD: responds to a path with a file in the coding that the client accepts, a listing, a redirect or an
//! error page.

use std::time::SystemTime;

use http::StatusCode;
use http::header::VARY;

use super::{CachedPath, FileRequest, StaticFileHandler, What, response};
use crate::files::codings::ContentCoding;
use crate::files::find::Lookup;
#[cfg(feature = "markdown")]
use crate::files::markdown;
use crate::files::open::OpenError;
use crate::files::path::{self, FilePath, ResolvedPath};
use crate::files::prepare::{Readable, Resource};
use crate::files::rights::{List, Read};
use crate::{Error, Request, Response, Result};

impl StaticFileHandler {
    pub(super) fn get(&self, asked: FileRequest<'_>) -> Result<Response> {
        let (path, mount) = (asked.request.url_path()?, self.mount(asked.request));
        if let Some(key) = path::key(&path, mount) {
            self.may_read(asked, key)?;
            let is_one_address = !(self.finder.clean_urls && key.ends_with(b".html"));
            if let Some(kept) = self.kept_file(key, asked).filter(|_| is_one_address) {
                return self.respond(&kept, asked);
            }
        }
        match path::resolve(&path, mount) {
            ResolvedPath::Path(path) => self.serve(asked, &path),
            ResolvedPath::NeedsSlash => Ok(self.redirect(asked.request, path::location(mount, b"", true))),
            ResolvedPath::NotFound => self.error_response(asked, OpenError::NotFound),
        }
    }

    fn serve(&self, asked: FileRequest<'_>, path: &FilePath) -> Result<Response> {
        let only = match &self.only {
            Some(name) if path.bytes.is_empty() || path.bytes == *name && !path.trailing_slash => {
                Some(FilePath { bytes: name.clone(), trailing_slash: false })
            }
            Some(_) => return self.error_response(asked, OpenError::NotFound),
            None => None,
        };
        let path = only.as_ref().unwrap_or(path);
        self.may_read(asked, &path.bytes)?;
        if let Some(clean) = self.finder.clean(path, asked.polled, SystemTime::now()) {
            return Ok(self.redirect(asked.request, self.location(asked.request, &clean, clean.trailing_slash)));
        }
        let key = path.key();
        if let Some(kept) = self.kept_file(&key, asked) {
            return self.respond(&kept, asked);
        }
        let now = SystemTime::now();
        let found = self.retry_after_clearing_cache(|| self.finder.find(path, asked.polled, now));
        if !matches!(found, Ok(Lookup::File(_) | Lookup::Missing(_))) {
            self.cache.forget(&key);
        }
        if matches!(found, Ok(Lookup::Missing(_)) | Err(OpenError::NotFound | OpenError::Forbidden)) {
            self.log_why_not_served(asked.request, path);
        }
        if matches!(found, Ok(Lookup::NeedsSlash | Lookup::Folder))
            && let Some(page) = self.app_response_to_folder(asked, path)
        {
            return page;
        }
        match found {
            Ok(Lookup::File(found)) => self.respond(&*self.keep(&key, found, asked, now)?, asked),
            Ok(Lookup::NeedsSlash) => Ok(self.redirect(asked.request, self.location(asked.request, path, true))),
            Ok(Lookup::Folder) if self.listing => {
                // Only here it is certain that this is a folder without an index.
                let listed = asked.rights.ask::<List>(&path.bytes).map_err(|error| self.refusal(error))?;
                #[cfg(feature = "archive")]
                let format = self.archives.format_of(asked.request);
                #[cfg(feature = "archive")]
                if let Some(format) = format.map_err(|error| error.with_headers(self.preparer.default_fields()))? {
                    return self.archive(asked, listed, format);
                }
                self.list(asked, listed).or_else(|error| self.error_response(asked, error))
            }
            Ok(Lookup::Folder) => self.error_response(asked, OpenError::NotFound),
            Ok(Lookup::Missing(basis)) => self.respond(&self.put(&key, What::Missing, basis, asked, now), asked),
            Err(error) => self.error_response(asked, error),
        }
    }

    pub(super) fn respond(&self, kept: &CachedPath, asked: FileRequest<'_>) -> Result<Response> {
        match &kept.what {
            What::File(resource) => self.negotiate(asked, resource),
            What::Index(_) | What::Missing => self.error_response(asked, OpenError::NotFound),
        }
    }

    fn log_why_not_served(&self, request: &Request, path: &FilePath) {
        if log::log_enabled!(target: "modest::files", log::Level::Debug)
            && let Some(why) = self.finder.why_not_served(path)
        {
            log::debug!(target: "modest::files", "{} is not served: {why}", request.raw_path());
        }
    }

    /// Called before anything is looked up, so that a rejection does not reveal whether the path exists.
    fn may_read(&self, asked: FileRequest<'_>, path: &[u8]) -> Result<()> {
        match asked.rights.grant::<Read>(path) {
            Some(_) => Ok(()),
            None => Err(self.refused(asked)),
        }
    }

    #[cold]
    fn refused(&self, asked: FileRequest<'_>) -> Error {
        self.refusal(asked.rights.refusal())
    }

    fn negotiate(&self, asked: FileRequest<'_>, resource: &Resource) -> Result<Response> {
        let Some(file) = resource.of(asked.rights) else { return Err(self.refused(asked)) };
        #[cfg(feature = "markdown")]
        if self.markdown && asked.request.query().is_some() && markdown::is_asked(asked.request, file.path_and_length())
        {
            let source = response(file.identity());
            let fields = source.headers().clone();
            if let Some(text) = markdown::text_of(&source.into_bytes()?) {
                return Ok(markdown::with_fields(self.held(text)?, &fields));
            }
        }
        if !file.is_coded() {
            return Ok(response(file.identity()));
        }
        let by_preference =
            ContentCoding::ALL.into_iter().filter(|coding| file.codings().any(|known| known == *coding));
        let names: Vec<&str> = by_preference.clone().map(ContentCoding::name).collect();
        let coding_of = |name: &str| by_preference.clone().find(|coding| coding.name() == name);
        match asked.request.choose_coding(&names) {
            Ok(name) => Ok(match name.and_then(coding_of) {
                Some(coding) => self.coded(&file, coding),
                None => response(file.identity()),
            }),
            Err(_) => {
                let codings: Vec<&str> = file.codings().map(ContentCoding::name).collect();
                let why = match codings[..] {
                    [] => "Available content codings: identity.".to_owned(),
                    _ => format!("Available content codings: identity, {}.", codings.join(", ")),
                };
                Err(self.error(StatusCode::NOT_ACCEPTABLE, &why).with_header(VARY, "Accept-Encoding"))
            }
        }
    }

    fn coded(&self, resource: &Readable<'_>, coding: ContentCoding) -> Response {
        if let Some(sidecar) = resource.coded(coding) {
            return response(sidecar);
        }
        #[cfg(feature = "compress")]
        if let Some(response) = self.compressed.of(resource, response) {
            return response;
        }
        response(resource.identity())
    }
}
