//! `StaticFileHandler`: serves a folder. Called by `http` like any handler, and by users' own handlers.
//! `find` looks the file up, `prepare` makes fields and content; preconditions, ranges and HEAD are applied by `http`.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use http::header::{ALLOW, RETRY_AFTER, VARY};
use http::{HeaderMap, Method, StatusCode};

use super::cache::{Cache, CacheLimits};
use super::codings::ContentCoding;
use super::find::{Finder, FoundFile, Lookup};
use super::folders::Folders;
use super::fresh::{Basis, Freshness};
use super::listing::Listings;
use super::open::{OpenError, Root};
use super::path::{self, FilePath, ResolvedPath};
use super::prepare::{FileContent, Preparer, Resource, Variant};
use crate::{BodyPlan, Error, Request, RequestHandler, Response, Result};

const ALLOWED: &str = "GET, HEAD, OPTIONS";

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
/// What is requested often is cached (see [`cache`](Self::cache)), and never used once it has changed: the kernel tells of
/// changes (see [`inotify`](Self::inotify)), or else the file system is asked before each use; requests that arrived together
/// share one question.
///
/// A file that changed within the last 20 ms is not cached. `Last-Modified` is sent once the second it names is over: so it
/// never names two contents. The `ETag` of a file that is held in memory is a hash of its content, the same on all machines;
/// that of a larger file is made of its size, mtime and ctime, and differs from machine to machine. A sidecar counts once it
/// has not been changed for two seconds.
///
/// A listing is read anew for each request, but once for all that arrived before it was read. Its `ETag` changes whenever a name, a
/// size or a date on it does; tags of one folder differ between processes. `?sort=name`, `size` or `time`, with a leading minus for
/// the reverse, sorts it; `Accept: application/json` or `?format=json` gives it as an array of objects with `name`, `kind`
/// (`file` or `folder`), `size` and `modified`.
///
/// If a file becomes shorter while it is sent, the connection is reset, so that no client takes a truncated body for a complete one.
#[doc(alias("SimpleHTTPRequestHandler", "send_from_directory"))]
#[derive(Debug)]
pub struct StaticFileHandler {
    pub(super) finder: Finder,
    pub(super) preparer: Preparer,
    pub(super) cache: Cache<Kept>,
    /// Paths that lead nowhere, by the same keys.
    pub(super) missing: Cache<Basis>,
    pub(super) listing: bool,
    pub(super) listings: Listings,
    /// Error pages by status: paths in the folder.
    pub(super) pages: Vec<(StatusCode, Vec<u8>)>,
    /// The path segments of the prefix.
    pub(super) mount: Vec<Vec<u8>>,
}

/// What is kept of a path.
#[derive(Debug)]
pub(super) struct Kept {
    what: What,
    basis: Basis,
}

#[derive(Debug)]
enum What {
    File(Resource),
    /// A folder whose index file is that at this path.
    Index(Vec<u8>),
}

/// How many missing paths are remembered.
pub(super) const MISSING: CacheLimits = CacheLimits { files: 1024, bytes_each: 0, bytes_in_all: 1 << 20, open: 0 };
/// Larger files are opened for each request: a deleted file frees its space, and opening is cheap compared with sending it.
const MAX_KEPT_OPEN: u64 = 1 << 20;

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
                freshness: Freshness::new(true),
                folders: Folders::new(),
                hidden: false,
                index: vec![b"index.html".to_vec(), b"index.htm".to_vec()],
                sidecars: true,
            },
            preparer: Preparer::default(),
            cache: Cache::new(CacheLimits::default()),
            missing: Cache::new(MISSING),
            listing: true,
            listings: Listings::default(),
            pages: vec![(StatusCode::NOT_FOUND, b"404.html".to_vec())],
            mount: Vec::new(),
        })
    }

    /// What is kept of a path, if it is still fresh.
    fn kept(&self, key: &[u8], request: &Request) -> Option<Arc<Kept>> {
        let kept = self.cache.get(key)?;
        let holds = self.finder.freshness.holds(&kept.basis, &self.finder.root, request.polled());
        if self.finder.freshness.is_time_to_drop(request.polled()) {
            self.cache.retain(|kept| !kept.basis.has_ended()); // files that were deleted give their space back
        }
        holds.then_some(kept)
    }

    /// The response for a path of which everything needed is kept.
    fn cached_response(&self, key: &[u8], request: &Request) -> Option<Result<Response>> {
        let kept = self.kept(key, request)?;
        match &kept.what {
            What::File(resource) => Some(self.negotiate(request, resource)),
            What::Index(path) => match &self.kept(path, request)?.what {
                What::File(resource) => Some(self.negotiate(request, resource)),
                What::Index(_) => None, // a folder has taken the file's place
            },
        }
    }

    fn is_known_missing(&self, key: &[u8], request: &Request) -> bool {
        let known = self.missing.get(key);
        known.is_some_and(|basis| self.finder.freshness.holds(&basis, &self.finder.root, request.polled()))
    }

    fn serve(&self, request: &Request, path: &FilePath) -> Result<Response> {
        let key = path.key();
        if let Some(response) = self.cached_response(&key, request) {
            return response;
        }
        if self.is_known_missing(&key, request) {
            return self.error_response(request, OpenError::NotFound);
        }
        let now = SystemTime::now();
        let found = self.retry_after_clearing_cache(|| self.finder.find(path, request.polled(), now));
        if !matches!(found, Ok(Lookup::File(_))) {
            self.cache.forget(&key);
        }
        match found {
            Ok(Lookup::File(found)) => {
                let kept = self.keep(&key, found, request, now)?;
                match &kept.what {
                    What::File(resource) => self.negotiate(request, resource),
                    What::Index(_) => Err(self.error(StatusCode::INTERNAL_SERVER_ERROR, "")), // `keep` makes files
                }
            }
            Ok(Lookup::NeedsSlash) => Ok(self.redirect(request, &self.location(path, true))),
            Ok(Lookup::Folder) if self.listing => {
                self.list(request, path).or_else(|error| self.error_response(request, error))
            }
            Ok(Lookup::Folder) => self.error_response(request, OpenError::NotFound),
            Ok(Lookup::Missing(basis)) => {
                self.keep_missing(&key, basis, request, now);
                self.error_response(request, OpenError::NotFound)
            }
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

    /// Prepare a file, and keep it by its path if it is old enough; and by `key`, where that is a folder's, that it is its
    /// index file.
    fn keep(&self, key: &[u8], mut found: FoundFile, request: &Request, now: SystemTime) -> io::Result<Arc<Kept>> {
        let path = found.path.clone();
        let keeps = !found.basis.is_recent(now);
        found.basis.found_at(request.polled());
        if path != key && keeps {
            let basis = found.basis.of_folder();
            let index = Kept { what: What::Index(path.clone()), basis };
            self.cache.put(key, Arc::new(index), (path.len(), 0));
            found.basis.set_names(vec![path::name(&path).to_vec()]);
        }
        let (resource, basis) = self.preparer.prepare(found, self.cache.limits().bytes_each, now)?;
        let kept = Arc::new(Kept { what: What::File(resource), basis });
        self.put(&path, &kept, keeps);
        Ok(kept)
    }

    fn put(&self, key: &[u8], kept: &Arc<Kept>, keeps: bool) {
        if let What::File(resource) = &kept.what
            && keeps
            && resource.longest() <= MAX_KEPT_OPEN
        {
            self.cache.put(key, Arc::clone(kept), resource.held());
        }
    }

    fn keep_missing(&self, key: &[u8], mut basis: Basis, request: &Request, now: SystemTime) {
        if !basis.is_recent(now) {
            basis.found_at(request.polled());
            self.missing.put(key, Arc::new(basis), (0, 0));
        }
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
        let root = path::location(self.mount.iter().map(Vec::as_slice), true);
        let root = percent_encoding::percent_decode_str(&root).decode_utf8_lossy();
        let listing = || self.listings.respond(&self.finder, &root, &path.bytes, request);
        Ok(with_fields(self.retry_after_clearing_cache(listing)?, &self.preparer.added_fields()))
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
        match self.custom_page(request, status).as_deref() {
            Some(Kept { what: What::File(page), .. }) => Ok(response(page.identity()).with_status(status)),
            _ => Err(self.error(status, message)),
        }
    }

    /// The custom page for a status, if it exists.
    fn custom_page(&self, request: &Request, status: StatusCode) -> Option<Arc<Kept>> {
        let (_, path) = self.pages.iter().rev().find(|(known, _)| *known == status)?;
        let key = [b"\0", &path[..]].concat(); // no path of a request has a NUL
        if let Some(page) = self.kept(&key, request) {
            return Some(page);
        }
        if self.is_known_missing(&key, request) {
            return None;
        }
        let now = SystemTime::now();
        match self.finder.find_page(path).ok()? {
            Lookup::File(mut found) => {
                let keeps = !found.basis.is_recent(now);
                found.basis.found_at(request.polled());
                let (resource, basis) = self.preparer.prepare_page(found, self.cache.limits().bytes_each).ok()?;
                let kept = Arc::new(Kept { what: What::File(resource), basis });
                self.put(&key, &kept, keeps);
                Some(kept)
            }
            Lookup::Missing(basis) => {
                self.keep_missing(&key, basis, request, now);
                None
            }
            Lookup::Folder | Lookup::NeedsSlash => None,
        }
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
        with_fields(response, &self.preparer.default_fields())
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
        if let Some(key) = path::plain(raw, &self.mount)
            && let Some(response) = self.cached_response(key, request)
        {
            return response;
        }
        match path::resolve(raw, &self.mount) {
            ResolvedPath::Path(path) => self.serve(request, &path),
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

fn with_fields(response: Response, fields: &HeaderMap) -> Response {
    fields.iter().fold(response, |response, (name, value)| response.with_added_header(name, value.clone()))
}

fn response(variant: &Variant) -> Response {
    let response = match &variant.content {
        FileContent::InMemory(bytes) => Response::shared(Arc::clone(bytes)),
        FileContent::OnDisk(file, length) => Response::open_file(Arc::clone(file), *length),
    };
    response.with_fields(Arc::clone(&variant.fields))
}
