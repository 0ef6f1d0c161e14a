//! A folder, served: find, judge, answer. Called by `http` as any handler is, and by users' own handlers.
//! What is there is `find`'s to say, what is sent `prepare`'s; conditions, ranges and HEAD are floor 2's, as for any response.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use http::header::{ALLOW, CONTENT_SECURITY_POLICY, RETRY_AFTER, VARY};
use http::{Method, StatusCode};

use super::cache::{Cache, Kept, Limits};
use super::find::{Finder, Found, FoundFile};
use super::listing;
use super::names::Room;
use super::negotiate::{self, Choice};
use super::open::{Refusal, Root};
use super::path::{self, Asked, FilePath};
use super::prepare::{Content, Preparer, Purpose, Resource, Variant};
use crate::{Error, Request, RequestHandler, Response, Result};

const ALLOWED: &str = "GET, HEAD, OPTIONS";
/// A listing needs its own style and nothing else, whatever its names try.
const LISTING_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'";

/// Serves the files of a folder.
///
/// `/a/b.txt` is the file `b.txt` in the folder `a`. For a folder its `index.html` is served, and where there is
/// none, a listing. Content has its type by its name, text is UTF-8, and everything goes with
/// `X-Content-Type-Options: nosniff` and `Cache-Control: no-cache`: clients keep what they got and ask each time whether it changed,
/// so that every edit shows at the next reload. `ETag` and `Last-Modified` answer that in a few bytes.
///
/// ```no_run
/// use modest::{StaticFileHandler, TcpServer};
///
/// TcpServer::bind("127.0.0.1:8000", StaticFileHandler::new("www")?)?.serve_forever()
/// # ; Ok::<(), std::io::Error>(())
/// ```
///
/// It stands beside routes of one's own: call [`do_get`](RequestHandler::do_get) where none of them is meant.
/// ```
/// use modest::{Request, RequestHandler, Response, Result, StaticFileHandler};
///
/// struct App {
///     files: StaticFileHandler,
/// }
///
/// impl RequestHandler for App {
///     fn do_get(&self, request: &Request) -> Result<Response> {
///         match request.path() {
///             "/hello" => Ok(Response::text("Hello!\n")),
///             _ => self.files.do_get(request),
///         }
///     }
/// }
/// ```
///
/// # What is served
/// - Nothing outside the folder: the kernel checks each path in the call that opens it. Links are followed within the folder
///   unless [`symlinks`](Self::symlinks) says otherwise, for index files, sidecars and listings alike.
/// - Regular files. FIFOs, sockets and devices are missing, and never opened.
/// - No name that begins with a dot, but `/.well-known/` (RFC 8615); see [`hidden`](Self::hidden). A link that has another name is
///   served under that.
/// - Each thing has one name: `//a`, `/./a` and `/b/../a` are redirected to `/a`, so a handler that keeps `/private/` to some
///   by looking at [`Request::path`] keeps all of it. Above the top there is nothing: `/..` is a 400.
/// - What the server may not read is a 403, what is missing a 404 with the `404.html` of the folder if there is one.
/// - GET and HEAD; OPTIONS tells so, other methods are a 405, unknown ones a 501, before their body is read.
/// - A file `x.br`, `x.zst` or `x.gz` beside `x` goes to clients that accept it, if it is not older than `x`.
///
/// # How fresh it is
/// Files that are asked for often are kept (see [`cache`](Self::cache)). Before one is used the disk is asked whether it is still
/// the same; only requests that arrived together share an answer. A file that changed within the last 20 ms is neither kept nor
/// given validators, since a second change could not be told from the first by its times.
/// A file that becomes shorter while it is sent resets the connection, so that nobody takes the torso for the whole.
#[derive(Debug)]
pub struct StaticFileHandler {
    pub(super) finder: Finder,
    pub(super) preparer: Preparer,
    pub(super) cache: Cache<Resource>,
    pub(super) listing: bool,
    /// What listings on their way hold.
    pub(super) names: Room,
    /// The page for a status: a path in the folder.
    pub(super) pages: Vec<(StatusCode, Vec<u8>)>,
    /// The segments before the folder.
    pub(super) mount: Vec<Vec<u8>>,
}

impl StaticFileHandler {
    /// A handler for this folder. It is opened now and stays open; if another folder, or link to one, is put in its place, the
    /// next request sees that one.
    ///
    /// # Errors
    /// If there is no such folder or it may not be read. The message names it.
    pub fn new(root: impl AsRef<Path>) -> io::Result<StaticFileHandler> {
        Ok(StaticFileHandler {
            finder: Finder {
                root: Root::open(root.as_ref())?,
                hidden: false,
                index: vec![b"index.html".to_vec()],
                sidecars: true,
            },
            preparer: Preparer::default(),
            cache: Cache::new(Limits::default()),
            listing: true,
            names: Room::default(),
            pages: vec![(StatusCode::NOT_FOUND, b"404.html".to_vec())],
            mount: Vec::new(),
        })
    }

    /// What was kept for that very path, if it is still so. If not, it stays until something takes its place:
    /// what comes next may bear the same second.
    fn remembered(&self, key: &[u8], poll: Option<u64>) -> Option<Arc<Kept<Resource>>> {
        self.cache.get(key).filter(|kept| kept.is_fresh(&self.finder.root, poll))
    }

    fn serve(&self, request: &Request, path: &FilePath) -> Result<Response> {
        let now = SystemTime::now();
        let key = path.usual.then(|| request.raw_path().as_bytes());
        let found = self.with_room(|| self.finder.find(path));
        if let (Some(key), Err(_) | Ok(Found::WantsSlash | Found::Folder)) = (key, &found) {
            self.cache.forget(key);
        }
        match found {
            Ok(Found::File(found)) => {
                let kept = self.prepare(found, Purpose::Answer, key, request.poll(), now)?;
                self.respond(request, &kept.thing)
            }
            Ok(Found::WantsSlash) => Ok(self.redirect(request, &self.location(path, true))),
            Ok(Found::Folder) if self.listing => self.list(path).or_else(|refusal| self.refuse(request, refusal)),
            Ok(Found::Folder) => self.refuse(request, Refusal::Missing),
            Err(refusal) => self.refuse(request, refusal),
        }
    }

    /// Out of descriptors, those that are kept are let go, once.
    fn with_room<T>(&self, find: impl Fn() -> Result<T, Refusal>) -> Result<T, Refusal> {
        find().or_else(|refusal| match refusal {
            Refusal::Busy(_) => {
                self.cache.clear();
                find()
            }
            refusal => Err(refusal),
        })
    }

    /// Prepare a file, and keep it under a key if it is one that lasts.
    fn prepare(
        &self,
        found: FoundFile,
        purpose: Purpose,
        key: Option<&[u8]>,
        poll: Option<u64>,
        now: SystemTime,
    ) -> io::Result<Arc<Kept<Resource>>> {
        let before = key.and_then(|key| self.cache.get(key));
        let before = before.as_ref().map(|kept| &kept.thing);
        let prepared = self.preparer.prepare(found, purpose, before, self.cache.limits(), poll, now)?;
        if let Some(key) = key.filter(|_| prepared.lasting) {
            self.cache.put(key, Arc::clone(&prepared.kept));
        }
        Ok(prepared.kept)
    }

    fn respond(&self, request: &Request, resource: &Resource) -> Result<Response> {
        if resource.codings.is_empty() {
            return Ok(response(resource.plain()));
        }
        match negotiate::choose(request.header_all("accept-encoding"), &resource.codings) {
            Choice::Identity => Ok(response(resource.plain())),
            Choice::Coded(coding) => Ok(response(resource.coded(coding))),
            Choice::Nothing => {
                let codings: Vec<&str> = resource.codings.iter().map(|coding| coding.name()).collect();
                let why = format!("This can be had uncoded, or in {}.", codings.join(", "));
                Err(self.error(StatusCode::NOT_ACCEPTABLE, &why).header(VARY, "Accept-Encoding"))
            }
        }
    }

    fn list(&self, path: &FilePath) -> Result<Response, Refusal> {
        let location = self.location(path, true);
        let title = percent_encoding::percent_decode_str(&location).decode_utf8_lossy();
        let page = self.with_room(|| listing::page(&self.finder, &self.names, &path.bytes, &title))?;
        Ok(self.dress(page.header(CONTENT_SECURITY_POLICY, LISTING_POLICY)))
    }

    /// A path of the folder as the path of a target.
    fn location(&self, path: &FilePath, slash: bool) -> String {
        let beneath = path.bytes.split(|&byte| byte == b'/').filter(|segment| !segment.is_empty());
        path::location(self.mount.iter().map(Vec::as_slice).chain(beneath), slash)
    }

    /// Send the client to another path, with its query. The path is all that is said:
    /// a host and port would be wrong behind whatever maps them.
    fn redirect(&self, request: &Request, location: &str) -> Response {
        let query = request.query().map(|query| format!("?{query}")).unwrap_or_default();
        self.dress(Response::redirect_with(StatusCode::MOVED_PERMANENTLY, &format!("{location}{query}")))
    }

    fn refuse(&self, request: &Request, refusal: Refusal) -> Result<Response> {
        match refusal {
            Refusal::Missing => self.fail(request, StatusCode::NOT_FOUND, "There is nothing here by that name."),
            Refusal::Forbidden => self.fail(request, StatusCode::FORBIDDEN, "The server may not read this."),
            Refusal::Busy(cause) => Err(self.busy("Too many files are open just now.", cause)),
            Refusal::Crowded(cause) => Err(self.busy("Too many large folders are being listed just now.", cause)),
            Refusal::Broken(cause) => Err(self.error(StatusCode::INTERNAL_SERVER_ERROR, "").with_cause(cause)),
        }
    }

    /// The folder's own page for a status, or an error.
    fn fail(&self, request: &Request, status: StatusCode, message: &str) -> Result<Response> {
        match self.page(request, status) {
            Some(page) => Ok(response(page.thing.plain()).status(status)),
            None => Err(self.error(status, message)),
        }
    }

    /// The page for a status, if it is there. Its key begins with no slash, so it is never that of a request.
    fn page(&self, request: &Request, status: StatusCode) -> Option<Arc<Kept<Resource>>> {
        let (_, path) = self.pages.iter().rev().find(|(known, _)| *known == status)?;
        self.remembered(path, request.poll()).or_else(|| {
            let now = SystemTime::now();
            let found = self.finder.find_page(path).ok()?;
            self.prepare(found, Purpose::ErrorPage, Some(path), request.poll(), now).ok()
        })
    }

    fn busy(&self, message: &str, cause: io::Error) -> Error {
        self.error(StatusCode::SERVICE_UNAVAILABLE, message).header(RETRY_AFTER, "1").with_cause(cause)
    }

    fn error(&self, status: StatusCode, message: &str) -> Error {
        let error = Error::new(status, message);
        self.preparer.other_fields().iter().fold(error, |error, (name, value)| error.header(name, value.clone()))
    }

    /// Give an answer that is no file the fields that all have.
    fn dress(&self, response: Response) -> Response {
        let fields = self.preparer.other_fields();
        fields.iter().fold(response, |response, (name, value)| response.append_header(name, value.clone()))
    }

    fn not_served(&self, request: &Request) -> Error {
        let known = [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::CONNECT, Method::TRACE];
        if known.contains(request.method()) {
            self.error(StatusCode::METHOD_NOT_ALLOWED, "Files are only read here.").header(ALLOW, ALLOWED)
        } else {
            self.error(StatusCode::NOT_IMPLEMENTED, &format!("Unsupported method ({})", request.method()))
        }
    }
}

impl RequestHandler for StaticFileHandler {
    fn do_get(&self, request: &Request) -> Result<Response> {
        let raw = request.raw_path();
        if let Some(kept) = self.remembered(raw.as_bytes(), request.poll()) {
            return self.respond(request, &kept.thing);
        }
        match path::resolve(raw, &self.mount) {
            Asked::Path(path) => {
                self.finder.root.keep_up();
                self.serve(request, &path)
            }
            Asked::Moved(location) => Ok(self.redirect(request, &location)),
            Asked::Missing => self.refuse(request, Refusal::Missing),
            Asked::Malformed => self.fail(request, StatusCode::BAD_REQUEST, "That is no path."),
        }
    }

    fn do_options(&self, _: &Request) -> Result<Response> {
        Ok(self.dress(Response::no_content().header(ALLOW, ALLOWED)))
    }

    fn do_post(&self, request: &Request) -> Result<Response> {
        Err(self.not_served(request))
    }

    fn do_put(&self, request: &Request) -> Result<Response> {
        Err(self.not_served(request))
    }

    fn do_delete(&self, request: &Request) -> Result<Response> {
        Err(self.not_served(request))
    }

    fn do_patch(&self, request: &Request) -> Result<Response> {
        Err(self.not_served(request))
    }

    fn do_other(&self, request: &Request) -> Result<Response> {
        Err(self.not_served(request))
    }

    fn before_body(&self, request: &Request) -> Result<(), Error> {
        match *request.method() {
            Method::GET | Method::HEAD | Method::OPTIONS => Ok(()),
            _ => Err(self.not_served(request)),
        }
    }
}

fn response(variant: &Variant) -> Response {
    let response = match &variant.content {
        Content::Small(bytes) => Response::shared(Arc::clone(bytes)),
        Content::Large(file, length) => Response::open_file(Arc::clone(file), *length),
    };
    response.fields(Arc::clone(&variant.fields))
}
