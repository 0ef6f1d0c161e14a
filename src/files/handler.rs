//! `StaticFileHandler`: serves a folder. Called by `http` like any handler, and by users' own handlers.
//! `find` looks the file up, `prepare` makes fields and content; preconditions, ranges and HEAD are applied by `http`.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::header::{ALLOW, CONTENT_SECURITY_POLICY, RETRY_AFTER, VARY};
use http::{Method, StatusCode};

use super::cache::{Cache, CacheLimits, Cached};
use super::codings::ContentCoding;
use super::find::{Finder, FoundFile, Lookup};
use super::listing::Listings;
use super::open::{OpenError, Root};
use super::path::{self, FilePath, ResolvedPath};
use super::prepare::{FileContent, Preparer, Purpose, Resource, Variant};
use crate::{BodyPlan, Error, Request, RequestHandler, Response, Result};

const ALLOWED: &str = "GET, HEAD, OPTIONS";
/// A listing needs its inline style and nothing else; this disarms any script that a file name might inject.
const LISTING_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'";

/// Serves the files of a folder.
///
/// `/a/b.txt` is the file `b.txt` in the folder `a`. For a folder its `index.html` or `index.htm` is served, or else a listing.
/// The media type follows from the name, that of an unknown name from the content: text is `text/plain`. Text that is UTF-8, and
/// does not itself declare another encoding, has `charset=utf-8`. Every response has
/// `X-Content-Type-Options: nosniff` and `Cache-Control: no-cache`: clients keep their copy and revalidate it each time,
/// so that every edit shows at the next reload. `ETag` and `Last-Modified` make that a few bytes.
///
/// ```no_run
/// use modest::{StaticFileHandler, TcpServer};
///
/// TcpServer::bind("127.0.0.1:8000", StaticFileHandler::new("www")?)?.serve_forever()
/// # ; Ok::<(), std::io::Error>(())
/// ```
///
/// It stands beside routes of your own:
///
/// ```no_run
/// use modest::{Response, Routes, StaticFileHandler, TcpServer};
///
/// let app = Routes::new()
///     .get("/hello", |_, _| Ok(Response::text("Hello!\n")))
///     .fallback(StaticFileHandler::new("www")?)
///     .serve(());
/// TcpServer::bind("127.0.0.1:8000", app)?.serve_forever()
/// # ; Ok::<(), std::io::Error>(())
/// ```
///
/// # What is served
/// - Nothing outside the folder: the kernel checks each path in the call that opens it. Links are followed within the folder
///   unless [`symlinks`](Self::symlinks) is set, for index files, sidecars and listings alike.
/// - Regular files. FIFOs, sockets and devices are not found, and never opened.
/// - No name that begins with a dot, except `/.well-known/` (RFC 8615); see [`hidden`](Self::hidden). A link with another name is
///   served under that name.
/// - One path for each file: `//a`, `/./a` and `/b/../a` are redirected to `/a`, so a handler that restricts `/private/`
///   by [`Request::path`] restricts all of it. There is nothing above the root: `/..` is a 400.
/// - Files that the server may not read are a 403, missing ones a 404 with the `404.html` of the folder if there is one.
/// - GET and HEAD; OPTIONS lists them, other methods are a 405, unknown ones a 501, before their body is read.
/// - A file `x.br`, `x.zst` or `x.gz` beside `x` is sent to clients that accept it, unless it is older than `x`.
///
/// # Freshness
/// Files requested often are cached (see [`cache`](Self::cache)). Before a cached file is used the file system is asked whether it is
/// unchanged; only requests that arrived together share one check. A file that changed within the last 20 ms is neither cached nor
/// given validators, as its times could not tell a second change from the first.
/// A listing is read anew for each request, but once for all that arrived before it was read. Its `ETag` changes whenever a name, a
/// size or a date on it does; tags of one folder differ between processes.
/// If a file becomes shorter while it is sent, the connection is reset, so that no client takes a truncated body for a complete one.
#[doc(alias("SimpleHTTPRequestHandler", "send_from_directory"))]
#[derive(Debug)]
pub struct StaticFileHandler {
    pub(super) finder: Finder,
    pub(super) preparer: Preparer,
    pub(super) cache: Cache<Resource>,
    pub(super) listing: bool,
    pub(super) listings: Listings,
    /// Error pages by status: paths in the folder.
    pub(super) pages: Vec<(StatusCode, Vec<u8>)>,
    /// The path segments of the prefix.
    pub(super) mount: Vec<Vec<u8>>,
}

impl StaticFileHandler {
    /// A handler for this folder. It is opened now and stays open; if another folder, or a link to one, replaces it, the
    /// next request gets that one.
    ///
    /// # Errors
    /// If there is no such folder or it may not be read. The message contains its path.
    pub fn new(root: impl AsRef<Path>) -> io::Result<StaticFileHandler> {
        Ok(StaticFileHandler {
            finder: Finder {
                root: Root::open(root.as_ref())?,
                hidden: false,
                index: vec![b"index.html".to_vec(), b"index.htm".to_vec()],
                sidecars: true,
            },
            preparer: Preparer::default(),
            cache: Cache::new(CacheLimits::default()),
            listing: true,
            listings: Listings::default(),
            pages: vec![(StatusCode::NOT_FOUND, b"404.html".to_vec())],
            mount: Vec::new(),
        })
    }

    /// The cached file of a path, if still fresh. A stale one stays until it is replaced: its version tells whether
    /// the next one was modified within the same second.
    fn fresh_from_cache(&self, key: &[u8], polled: Option<Instant>) -> Option<Arc<Cached<Resource>>> {
        self.cache.get(key).filter(|cached| cached.is_fresh(&self.finder.root, polled))
    }

    fn serve(&self, request: &Request, path: &FilePath) -> Result<Response> {
        let now = SystemTime::now();
        let key = path.normalized.then(|| request.raw_path().as_bytes());
        let found = self.retry_after_clearing_cache(|| self.finder.find(path));
        if let (Some(key), Err(_) | Ok(Lookup::NeedsSlash | Lookup::Folder)) = (key, &found) {
            self.cache.forget(key);
        }
        match found {
            Ok(Lookup::File(found)) => {
                let cached = self.prepare(found, Purpose::Requested, key, request.polled(), now)?;
                self.negotiate(request, &cached.value)
            }
            Ok(Lookup::NeedsSlash) => Ok(self.redirect(request, &self.location(path, true))),
            Ok(Lookup::Folder) if self.listing => {
                self.list(request, path).or_else(|error| self.error_response(request, error))
            }
            Ok(Lookup::Folder) => self.error_response(request, OpenError::NotFound),
            Err(error) => self.error_response(request, error),
        }
    }

    /// Out of descriptors, close the cached files and retry once.
    fn retry_after_clearing_cache<T>(&self, find: impl Fn() -> Result<T, OpenError>) -> Result<T, OpenError> {
        find().or_else(|error| match error {
            OpenError::Busy(_) => {
                self.cache.clear();
                find()
            }
            error => Err(error),
        })
    }

    /// Prepare a file, and cache it under `key` if possible.
    fn prepare(
        &self,
        found: FoundFile,
        purpose: Purpose,
        key: Option<&[u8]>,
        polled: Option<Instant>,
        now: SystemTime,
    ) -> io::Result<Arc<Cached<Resource>>> {
        let before = key.and_then(|key| self.cache.get(key));
        let before = before.as_ref().map(|cached| &cached.value);
        let prepared = self.preparer.prepare(found, purpose, before, self.cache.limits(), polled, now)?;
        if let Some(key) = key.filter(|_| prepared.cacheable) {
            self.cache.put(key, Arc::clone(&prepared.cached));
        }
        Ok(prepared.cached)
    }

    fn negotiate(&self, request: &Request, resource: &Resource) -> Result<Response> {
        if resource.codings.is_empty() {
            return Ok(response(resource.identity()));
        }
        let by_preference = ContentCoding::ALL.into_iter().filter(|coding| resource.codings.contains(coding));
        let names: Vec<&str> = by_preference.clone().map(ContentCoding::name).collect();
        let coding_of = |name: &str| by_preference.clone().find(|coding| coding.name() == name);
        match request.choose_coding(&names) {
            Ok(name) => {
                Ok(response(name.and_then(coding_of).map_or(resource.identity(), |coding| resource.coded(coding))))
            }
            Err(_) => {
                let codings: Vec<&str> = resource.codings.iter().map(|coding| coding.name()).collect();
                let why = format!("This can be had uncoded, or in {}.", codings.join(", "));
                Err(self.error(StatusCode::NOT_ACCEPTABLE, &why).with_header(VARY, "Accept-Encoding"))
            }
        }
    }

    fn list(&self, request: &Request, path: &FilePath) -> Result<Response, OpenError> {
        let location = self.location(path, true);
        let title = percent_encoding::percent_decode_str(&location).decode_utf8_lossy();
        let page = || self.listings.page(&self.finder, &path.bytes, &title, request.polled());
        let page = self.retry_after_clearing_cache(page)?;
        Ok(self.with_default_fields(page.with_header(CONTENT_SECURITY_POLICY, LISTING_POLICY)))
    }

    /// The URL path of a path in the folder.
    fn location(&self, path: &FilePath, trailing_slash: bool) -> String {
        let beneath = path.bytes.split(|&byte| byte == b'/').filter(|segment| !segment.is_empty());
        path::location(self.mount.iter().map(Vec::as_slice).chain(beneath), trailing_slash)
    }

    /// Redirect to another path, with the query. Only the path is sent:
    /// host and port would be wrong behind a proxy that maps them.
    fn redirect(&self, request: &Request, location: &str) -> Response {
        let query = request.query().map(|query| format!("?{query}")).unwrap_or_default();
        self.with_default_fields(Response::redirect_with(StatusCode::MOVED_PERMANENTLY, &format!("{location}{query}")))
    }

    fn error_response(&self, request: &Request, error: OpenError) -> Result<Response> {
        match error {
            OpenError::NotFound => {
                self.page_or_error(request, StatusCode::NOT_FOUND, "There is nothing here by that name.")
            }
            OpenError::Forbidden => self.page_or_error(request, StatusCode::FORBIDDEN, "The server may not read this."),
            OpenError::Busy(cause) => Err(self.busy("Too many files are open just now.", cause)),
            OpenError::TooManyListings(cause) => {
                Err(self.busy("Too many large folders are being listed just now.", cause))
            }
            OpenError::Io(cause) => Err(self.error(StatusCode::INTERNAL_SERVER_ERROR, "").with_cause(cause)),
        }
    }

    /// The folder's own page for a status, or an error.
    fn page_or_error(&self, request: &Request, status: StatusCode, message: &str) -> Result<Response> {
        match self.custom_page(request, status) {
            Some(page) => Ok(response(page.value.identity()).with_status(status)),
            None => Err(self.error(status, message)),
        }
    }

    /// The custom page for a status, if it exists. Its cache key has no leading slash, so it never equals a request path.
    fn custom_page(&self, request: &Request, status: StatusCode) -> Option<Arc<Cached<Resource>>> {
        let (_, path) = self.pages.iter().rev().find(|(known, _)| *known == status)?;
        self.fresh_from_cache(path, request.polled()).or_else(|| {
            let now = SystemTime::now();
            let found = self.finder.find_page(path).ok()?;
            self.prepare(found, Purpose::ErrorPage, Some(path), request.polled(), now).ok()
        })
    }

    fn busy(&self, message: &str, cause: io::Error) -> Error {
        self.error(StatusCode::SERVICE_UNAVAILABLE, message).with_header(RETRY_AFTER, "1").with_cause(cause)
    }

    fn error(&self, status: StatusCode, message: &str) -> Error {
        let error = Error::new(status, message);
        self.preparer.default_fields().iter().fold(error, |error, (name, value)| error.with_header(name, value.clone()))
    }

    /// Add the default fields to a response that is not a file.
    fn with_default_fields(&self, response: Response) -> Response {
        let fields = self.preparer.default_fields();
        fields.iter().fold(response, |response, (name, value)| response.with_added_header(name, value.clone()))
    }

    fn unsupported_method(&self, request: &Request) -> Error {
        let known = [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::CONNECT, Method::TRACE];
        if known.contains(request.method()) {
            self.error(StatusCode::METHOD_NOT_ALLOWED, "Files are only read here.").with_header(ALLOW, ALLOWED)
        } else {
            self.error(StatusCode::NOT_IMPLEMENTED, &format!("Unsupported method ({})", request.method()))
        }
    }
}

impl RequestHandler for StaticFileHandler {
    fn do_get(&self, request: &Request) -> Result<Response> {
        let raw = request.raw_path();
        if let Some(cached) = self.fresh_from_cache(raw.as_bytes(), request.polled()) {
            return self.negotiate(request, &cached.value);
        }
        match path::resolve(raw, &self.mount) {
            ResolvedPath::Path(path) => {
                self.finder.root.reopen_if_replaced();
                self.serve(request, &path)
            }
            ResolvedPath::Redirect(location) => Ok(self.redirect(request, &location)),
            ResolvedPath::NotFound => self.error_response(request, OpenError::NotFound),
            ResolvedPath::Malformed => self.page_or_error(request, StatusCode::BAD_REQUEST, "That is no path."),
        }
    }

    fn do_options(&self, _: &Request) -> Result<Response> {
        Ok(self.with_default_fields(Response::no_content().with_header(ALLOW, ALLOWED)))
    }

    fn do_post(&self, request: &Request) -> Result<Response> {
        Err(self.unsupported_method(request))
    }

    fn do_put(&self, request: &Request) -> Result<Response> {
        Err(self.unsupported_method(request))
    }

    fn do_delete(&self, request: &Request) -> Result<Response> {
        Err(self.unsupported_method(request))
    }

    fn do_patch(&self, request: &Request) -> Result<Response> {
        Err(self.unsupported_method(request))
    }

    fn do_other(&self, request: &Request) -> Result<Response> {
        Err(self.unsupported_method(request))
    }

    fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
        match *request.method() {
            Method::GET | Method::HEAD | Method::OPTIONS => Ok(()),
            _ => Err(self.unsupported_method(request)),
        }
    }
}

fn response(variant: &Variant) -> Response {
    let response = match &variant.content {
        FileContent::InMemory(bytes) => Response::shared(Arc::clone(bytes)),
        FileContent::OnDisk(file, length) => Response::open_file(Arc::clone(file), *length),
    };
    response.with_fields(Arc::clone(&variant.fields))
}
