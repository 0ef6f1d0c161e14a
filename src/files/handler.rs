//! `StaticFileHandler`: serves a folder. Called by `http` like any handler, and by users' own handlers. `find` looks
//! the file up, `prepare` makes fields and content. `http` applies preconditions, ranges and HEAD.

mod changing; // methods that write
mod getting; // GET and HEAD
mod properties; // PROPFIND
mod folders; // listings and archives
mod pages; // responses without a file
mod caching; // the cache
mod open_files; // files that are kept open

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use http::header::{ALLOW, CACHE_CONTROL};
use http::{HeaderMap, Method, StatusCode};

#[cfg(feature = "archive")]
use super::archive::Archives;
use super::cache::{Cache, CacheLimits};
#[cfg(feature = "compress")]
use super::compressed::Compressed;
use super::find::Finder;
use super::folders::Folders;
use super::fresh::{Evidence, Freshness};
use super::listing::Listings;
use super::open::{Root, Symlinks};
use super::path::{self, FilePath};
use super::prepare::{FileContent, Preparer, Resource, Variant};
use super::rights::Rights;
use super::uploads::UploadHandler;
use crate::{BodyPlan, Error, Request, RequestHandler, Response, Result};
use open_files::OpenFiles;

const READING: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// Serves the files of a folder.
///
/// `/a/b.txt` is the file `b.txt` in the folder `a`. For a folder its `index.html` or `index.htm` is served, or
/// otherwise a listing. The media type follows from the name, or from the content for an unknown name: text is
/// `text/plain`. UTF-8 text that does not itself declare another encoding has `charset=utf-8`. Every response has
/// `X-Content-Type-Options: nosniff` and, except archives, `Cache-Control: no-cache`: clients keep their copy and
/// revalidate it each time, so every edit is visible at the next reload. `ETag` and `Last-Modified` make that a few
/// bytes.
///
/// ```no_run
/// use modest::{StaticFileHandler, TcpServer};
///
/// TcpServer::bind("127.0.0.1:8000", StaticFileHandler::new("www")?)?.serve_forever()
/// # ; Ok::<(), std::io::Error>(())
/// ```
///
/// It can be combined with routes of your own:
///
/// ```no_run
/// use modest::{Response, Routes, StaticFileHandler, TcpServer};
///
/// let app = Routes::new()
///     .get("/hello", |_, _| Ok(Response::text("Hello!\n")))
///     .fallback(StaticFileHandler::new("www")?)
///     .with_state(());
/// TcpServer::bind("127.0.0.1:8000", app)?.serve_forever()
/// # ; Ok::<(), std::io::Error>(())
/// ```
///
/// # What is served
/// - Nothing outside the folder: the kernel checks each path in the call that opens it. Links are followed within the
///   folder unless [`symlinks`](Self::symlinks) is set. This also applies to index files, sidecars and listings.
/// - Regular files. FIFOs, sockets and devices are a 404, and never opened.
/// - No name that begins with a dot, except `/.well-known/` (RFC 8615); see [`hidden`](Self::hidden). A link with
///   another name is served under that name.
/// - One path for each file: `//a`, `/./a` and `/b/../a` are redirected to `/a`, so a handler that restricts
///   `/private/` by [`Request::path`] restricts all of it. There is nothing above the root: `/..` is a 400.
/// - A file that the server cannot read gets a 403. A path without a file gets a 404, with the `404.html` of the folder
///   if there is one.
/// - GET and HEAD. OPTIONS lists them. Other methods get a 405 and unknown ones a 501, before their body is read.
/// - A file `x.br`, `x.zst` or `x.gz` beside `x` is sent for `x` to clients that accept it, unless it is older than
///   `x`, was changed within the last two seconds, or does not end with the length of `x`, as gzip does.
///
/// # Freshness
/// Content that is requested often is cached (see [`cache`](Self::cache)), and never used once it has changed: the
/// kernel reports changes (see [`inotify`](Self::inotify)), or the file system is checked before each use. Requests
/// that arrived together share one check.
///
/// A file that changed within the last 20 ms is not cached. `Last-Modified` is sent once the second that it names has
/// passed, so it names two contents only if a program sets the date of a file back. The `ETag` of a file in memory is a
/// hash of its content, the same on all machines. That of a larger file is made of its size, mtime and ctime, and
/// differs between machines. A sidecar counts once it has not been changed for two seconds.
///
/// A listing is read once for all requests that arrived before it was read, and cached until the kernel reports a
/// change (see [`listing_cache`](Self::listing_cache)). Its `ETag` changes whenever a name, a size or a date on it
/// changes; tags of one folder differ between processes. `?sort=name`, `size` or `time` sorts it, with a leading minus
/// in reverse. `Accept: application/json` or `?format=json` returns an array of objects with `name`, `kind` (`file` or
/// `folder`), `size` and `modified`.
///
/// If a file becomes shorter while it is sent, the connection is reset, so that no client mistakes an incomplete
/// body for a complete one.
#[doc(alias("SimpleHTTPRequestHandler", "send_from_directory"))]
#[derive(Debug)]
pub struct StaticFileHandler {
    pub(super) finder: Finder,
    pub(super) preparer: Preparer,
    pub(super) cache: Arc<Cache<CachedPath>>,
    open_files: OpenFiles,
    #[cfg(feature = "compress")]
    pub(super) compressed: Compressed,
    pub(super) listing: bool,
    pub(super) listings: Listings,
    /// Whether the error page of a missing path links to the nearest folder.
    pub(super) link_up: bool,
    /// Whether Markdown files are HTML for `?format=html`.
    #[cfg(feature = "markdown")]
    pub(super) markdown: bool,
    pub(super) finish_listing: FinishListing,
    #[cfg(feature = "archive")]
    pub(super) archives: Archives,
    /// Error pages: for each status, the cache key of the page's path.
    pub(super) pages: Vec<(StatusCode, Vec<u8>)>,
    /// The page for missing paths, of a single-page app.
    pub(super) app_page: Option<FilePath>,
    /// The name of the file, if the handler serves a single file.
    only: Option<Vec<u8>>,
    /// The decoded path at which the folder is served, without a trailing slash. `None`: the path where the handler is
    /// mounted.
    pub(super) mount: Option<Vec<u8>>,
    /// Uploads; `None`: not accepted.
    pub(super) upload_handler: Option<Box<UploadHandler>>,
    pub(super) webdav: bool,
    /// Paths at which other folders are served, decoded.
    pub(super) beside: Vec<String>,
}

/// Checks whether the folder of a [`StaticFileHandler`] is still at its path: see
/// [`folder_check`](StaticFileHandler::folder_check).
#[derive(Clone, Debug)]
pub struct FolderCheck(Root);

impl FolderCheck {
    /// Checks the path. If another folder is there now, it is opened and served from now on.
    ///
    /// # Errors
    /// If the path is not a folder that can be opened: it was removed, or cannot be read, as under Landlock. The
    /// message contains the path. The previous folder is served until the path is a folder again.
    pub fn check(&self) -> io::Result<()> {
        self.0.location.check().map(drop)
    }
}

/// The function of [`StaticFileHandler::finish_listing`].
///
/// A panic in it costs one response. It cannot leave the handler in an inconsistent state, because it changes nothing
/// in it.
pub(super) struct FinishListing(pub Option<AssertUnwindSafe<FinishFn>>);

type FinishFn = Box<dyn Fn(&Request, Response) -> Response + Send + Sync>;

impl fmt::Debug for FinishListing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FinishListing").field(&self.0.is_some()).finish()
    }
}

/// A request, its rights, and when it was polled: cached data must have been valid then or later.
#[derive(Clone, Copy)]
struct FileRequest<'a> {
    request: &'a Request,
    rights: &'a Rights,
    polled: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct CachedPath {
    what: What,
    basis: Evidence,
}

impl CachedPath {
    /// Returns the bytes in memory, and the number of open files.
    fn size(&self) -> (usize, usize) {
        match &self.what {
            What::File(resource) => resource.held(),
            What::Index(path) => (path.len(), 0),
            What::Missing => (0, 0),
        }
    }
}

#[derive(Debug)]
enum What {
    File(Resource),
    /// A folder with the index file at this path.
    Index(Vec<u8>),
    Missing,
}

/// Larger files are opened for each request: a deleted file frees its space, and opening is cheap compared to sending
/// it.
const MAX_KEPT_OPEN: u64 = 1 << 20;

impl StaticFileHandler {
    /// Creates a handler for this folder. It is opened now and stays open. If another folder, or a link to one,
    /// replaces it, the next request uses that one.
    ///
    /// # Errors
    /// If there is no such folder or it cannot be read. The message contains its path.
    pub fn new(root: impl AsRef<Path>) -> io::Result<StaticFileHandler> {
        Ok(StaticFileHandler {
            finder: Finder {
                root: Root::open(root.as_ref())?,
                freshness: Freshness::new(true),
                folders: Folders::new(),
                hidden: false,
                index: vec![b"index.html".to_vec(), b"index.htm".to_vec()],
                sidecars: true,
                clean_urls: false,
            },
            preparer: Preparer::default(),
            cache: Arc::new(Cache::new(CacheLimits::default())),
            open_files: OpenFiles::default(),
            #[cfg(feature = "compress")]
            compressed: Compressed::default(),
            listing: true,
            listings: Listings::default(),
            link_up: false,
            #[cfg(feature = "markdown")]
            markdown: false,
            finish_listing: FinishListing(None),
            #[cfg(feature = "archive")]
            archives: Archives::default(),
            pages: vec![(StatusCode::NOT_FOUND, page_key(b"404.html"))],
            app_page: None,
            only: None,
            mount: None,
            upload_handler: None,
            webdav: false,
            beside: Vec::new(),
        })
    }

    /// Creates a handler for this one file: it is served at `/`, and at `/` with its name. Nothing else of its folder
    /// is served, except its sidecars. Links are followed. A file that replaces it is served starting with the next
    /// request.
    ///
    /// # Errors
    /// If there is no such file, it is not a regular file, or its folder cannot be read. The message contains its path.
    pub fn of_file(path: impl AsRef<Path>) -> io::Result<StaticFileHandler> {
        let path = path.as_ref();
        let failed = |kind, why: &str| io::Error::new(kind, format!("{}: {why}", path.display()));
        let name = path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput, "not a file name"))?;
        let metadata = path.metadata().map_err(|error| failed(error.kind(), &error.to_string()))?;
        if !metadata.is_file() {
            return Err(failed(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut handler = StaticFileHandler::new(folder)?.symlinks(Symlinks::Follow).hidden(true);
        handler.only = Some(name.as_bytes().to_vec());
        handler.pages.clear();
        Ok(handler)
    }

    /// Returns a check whether the folder is still at its path, for health checks.
    ///
    /// ```no_run
    /// use modest::{Error, Response, Routes, StaticFileHandler};
    ///
    /// let files = StaticFileHandler::new("www")?;
    /// let folder = files.folder_check();
    /// let health = move |_: &(), _: &_| match folder.check() {
    ///     Ok(()) => Ok(Response::text("ok\n")),
    ///     Err(error) => Ok(Response::text(format!("{error}\n")).with_status(503)),
    /// };
    /// let app = Routes::new().get("/health", health).fallback(files).with_state(());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn folder_check(&self) -> FolderCheck {
        FolderCheck(self.finder.root.clone())
    }

    /// Returns the decoded path at which the folder is served, without a trailing slash.
    pub(super) fn mount<'a>(&'a self, request: &'a Request) -> &'a [u8] {
        self.mount.as_deref().unwrap_or(request.mount_path())
    }

    fn rights(&self, request: &Request) -> Rights {
        Rights::of(request, || self.mount(request))
    }

    /// Returns the URL path of a path in the folder.
    fn location(&self, request: &Request, path: &FilePath, is_folder: bool) -> String {
        path::location(self.mount(request), &path.bytes, is_folder)
    }

    /// Redirects to another path, with the query. Only the path is sent: host and port would be wrong behind a proxy
    /// that maps them.
    fn redirect(&self, request: &Request, location: String) -> Response {
        let location = path::with_query(location, request);
        self.with_default_fields(Response::redirect_with(StatusCode::MOVED_PERMANENTLY, location))
    }

    fn error(&self, status: StatusCode, message: &str) -> Error {
        self.preparer.error(status, message)
    }

    /// Adds the default fields to a response that is not a file.
    fn with_default_fields(&self, response: Response) -> Response {
        with_fields(response, &self.preparer.default_fields())
    }

    fn unsupported_method(&self, request: &Request) -> Error {
        let known = [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::CONNECT, Method::TRACE];
        if known.contains(request.method()) {
            let why = match self.accepted() {
                Some(_) => "This folder does not accept this method.",
                None => "Files here can only be read.",
            };
            self.error(StatusCode::METHOD_NOT_ALLOWED, why).with_header(ALLOW, self.allowed())
        } else {
            self.error(StatusCode::NOT_IMPLEMENTED, &format!("Unsupported method ({})", request.method()))
        }
    }
}

impl RequestHandler for StaticFileHandler {
    fn do_get(&self, request: &Request) -> Result<Response> {
        let rights = self.rights(request);
        let asked = FileRequest { request, rights: &rights, polled: request.take_polled() };
        let Finder { freshness, root, .. } = &self.finder;
        let now = asked.polled.unwrap_or_else(Instant::now);
        if freshness.is_time_to_drop(root, now) {
            self.drop_ended(now);
        }
        match self.get(asked) {
            Err(error) if matches!(error.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                self.box_page(asked).ok_or(error)
            }
            result => result,
        }
    }

    fn do_head(&self, request: &Request) -> Result<Response> {
        match self.upload_handler(request) {
            Some(_) => self.change(request), // for an upload that has begun
            None => self.do_get(request),
        }
    }

    fn do_options(&self, _: &Request) -> Result<Response> {
        let response = self.with_default_fields(Response::no_content().with_header(ALLOW, self.allowed()));
        // RFC 4918, sections 10.1 and 18.1. Windows expects the second field.
        let locks = self.accepted().is_some_and(|uploads| uploads.offers_locks(self.webdav));
        let class = if locks { "1, 2" } else { "1" };
        let classes = [("dav", class), ("ms-author-via", "DAV")].into_iter().filter(|_| self.webdav);
        Ok(classes.fold(response, |response, (name, value)| response.with_header(name, value)))
    }

    all_call!(change: do_post do_put do_delete do_patch do_other);

    /// For the upload page and the progress of uploads. Everything else is checked with `Rights`.
    fn serves_writers(&self) -> bool {
        true
    }

    fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
        if let Method::GET | Method::HEAD | Method::OPTIONS = *request.method() {
            return Ok(());
        }
        if self.webdav && request.method().as_str() == "PROPFIND" {
            plan.limit(super::MAX_XML);
            return Ok(());
        }
        match self.upload_handler(request) {
            Some(upload_handler) => upload_handler
                .before_body(self.upload_request(request), plan)
                .map_err(|error| self.refusal_of_change(request, error)),
            None => Err(self.unsupported_method(request)),
        }
    }
}

/// Returns the cache key of an error page at this path. No path of a request has a NUL.
pub(super) fn page_key(path: &[u8]) -> Vec<u8> {
    [b"\0", path].concat()
}

fn with_fields(response: Response, fields: &HeaderMap) -> Response {
    let has_policy = response.header_value(CACHE_CONTROL.as_str()).is_some(); // `headers` would make a map of all
    let added = fields.iter().filter(|(name, _)| !has_policy || **name != CACHE_CONTROL);
    added.fold(response, |response, (name, value)| response.with_added_header(name, value.clone()))
}

fn response(variant: &Variant) -> Response {
    let response = match &variant.content {
        FileContent::InMemory(bytes) => Response::shared(Arc::clone(bytes)),
        FileContent::OnDisk(file, length) => Response::open_file(Arc::clone(file), *length),
    };
    response.with_fields(Arc::clone(&variant.fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the disk is checked at the fifth request cannot be tested from outside.
    #[test]
    fn frequently_requested_files_are_watched() {
        if !crate::files::sys::are_changes_reported() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        for (name, length) in [("small", 10), ("large", 100_000)] {
            std::fs::write(folder.path().join(name), vec![b'x'; length]).unwrap();
        }
        let handler = StaticFileHandler::new(folder.path()).unwrap();
        let is_watched = |key: &[u8]| handler.cache.get(key).is_some_and(|kept| kept.basis.is_watched());
        for path in ["small", "large"] {
            let started = Instant::now();
            while !is_watched(path.as_bytes()) {
                assert!(started.elapsed() < std::time::Duration::from_secs(5), "/{path} is not watched");
                let request = Request::get(&format!("/{path}")).with_polled(Some(Instant::now()));
                assert_eq!(handler.do_get(&request).map(|response| response.status()).ok(), Some(StatusCode::OK));
            }
        }
    }
}
