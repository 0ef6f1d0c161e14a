//! The path of a request: decoded once, in its canonical form, and as the handlers of a mount see it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use http::{Method, StatusCode, header};

use super::Request;
use super::route_match::{Reach, without_names};
use super::target::{self, Target};
use crate::http::error::Error;
use crate::http::on_drop::OnDrop;
use crate::http::paths::encode_location;
use crate::http::rejection::Rejection;
use crate::http::url_path::{Fault, InvalidUrlPath, UrlPath, end_of_names, end_of_raw_names};

/// The decoded form of a path, if it differs from the path as sent. Most paths need no decoding.
#[derive(Default)]
pub(super) struct DecodedPath {
    decoded: OnceLock<Box<Decoded>>,
    /// Whether handlers get paths with repeated and encoded slashes.
    is_lenient: AtomicBool,
}

struct Decoded {
    path: Result<UrlPath<'static>, InvalidUrlPath>,
    text: Option<String>,
}

impl Decoded {
    fn of(raw: &str, is_lenient: bool) -> Decoded {
        let parse = if is_lenient { UrlPath::parse_leniently } else { UrlPath::parse };
        let path = parse(raw).map(UrlPath::into_owned);
        let text = path.as_ref().ok().map(|path| String::from_utf8_lossy(path.as_bytes()).into_owned());
        Decoded { path, text }
    }
}

impl Request {
    /// Returns the decoded path: `/a/b c`. Bytes that are not UTF-8 appear as U+FFFD.
    ///
    /// The path is canonical: no segment is empty, `.` or `..`, and none contains a slash or NUL. A request with any
    /// other form of the path gets a response before any handler is called; for GET, a redirect to the canonical path.
    ///
    /// Within a [`mount`](crate::Routes::mount) it begins after the mount's own path, so a handler sees the same paths
    /// at every mount. [`original_path`](Request::original_path) returns the whole path.
    pub fn path(&self) -> &str {
        without_names(self.original_path(), self.mounted(), end_of_names)
    }

    /// Returns the whole decoded path from the root of the server, even if the handler is mounted.
    ///
    /// For a request made by hand with a path that is not canonical, it is the path as given.
    pub fn original_path(&self) -> &str {
        let raw = self.head.path();
        match self.needs_decoding() {
            true => self.decoded(raw).text.as_deref().unwrap_or(raw),
            false => raw,
        }
    }

    /// Returns the path as sent, still percent-encoded. Within a [`mount`](crate::Routes::mount), the part after the
    /// mount's own path. For `http://host/a` it is `/a`, for `OPTIONS *` it is `*`.
    ///
    /// Decoded, with each run of slashes as one, it is [`path`](Request::path). Without
    /// [`strict_paths`](crate::Http::strict_paths) it can begin with an encoded slash.
    ///
    /// It never contains a control character, a space or a backslash, and every percent sign begins two hexadecimal
    /// digits.
    pub fn raw_path(&self) -> &str {
        without_names(self.head.path(), self.mounted(), end_of_raw_names)
    }

    /// Returns the whole path from the root of the server, as bytes.
    ///
    /// # Errors
    /// Only for a request made by hand with a path that is not canonical: the response that a client would get.
    pub fn url_path(&self) -> Result<UrlPath<'_>, Error> {
        if !self.needs_decoding() {
            return Ok(UrlPath::plain(self.head.path_bytes()));
        }
        match &self.decoded(self.head.path()).path {
            Ok(path) => Ok(path.borrowed()),
            Err(InvalidUrlPath(fault)) => Err(self.path_error().unwrap_or_else(|| rejection(fault))),
        }
    }

    /// Returns the path at which the handler is [mounted](crate::Routes::mount), decoded, without a trailing slash.
    /// Empty if it is not mounted (WSGI's `SCRIPT_NAME`).
    pub fn mount_path(&self) -> &[u8] {
        let count = self.mounted();
        if count == 0 {
            return b"";
        }
        let path = match self.needs_decoding() {
            true => self.decoded(self.head.path()).path.as_ref().map_or(b"".as_slice(), UrlPath::as_bytes),
            false => self.head.path_bytes(),
        };
        &path[..end_of_names(path, count)]
    }

    /// Returns whether a request for this path would reach the same handler as this request. False for paths of another
    /// route or mount, and for all paths outside the mount.
    pub fn leads_here(&self, path: &UrlPath<'_>) -> bool {
        self.reach().contains(path)
    }

    /// Returns whether requests for this path and for every path below it would reach the same handler as this request.
    pub fn leads_here_whole(&self, path: &UrlPath<'_>) -> bool {
        self.reach().contains_all(path)
    }

    /// Returns which paths reach the current handler.
    pub(crate) fn reach(&self) -> Reach {
        Reach::new(&self.routes, self.mount_path())
    }

    /// Parses a URL of this server, or a path, from fields such as `Destination` (RFC 4918, section 10.3). It is parsed
    /// like the target of a request. A path without a slash at its beginning, such as `../b`, is relative to the path
    /// of the request (RFC 3986, section 5.2), which works even behind a proxy that removes a prefix from paths.
    ///
    /// # Errors
    /// 400 if it is neither a URL nor a path, or has a query; 502 if it is a URL of another server.
    pub fn path_of_url(&self, url: &[u8]) -> Result<UrlPath<'static>, Error> {
        if is_relative(url) {
            return self.resolve(url);
        }
        let target = parse(url)?;
        if let Some(authority) = target.authority.map(|span| span.of(url))
            && !self.is_own_authority(authority, if target.https { "443" } else { "80" })
        {
            return Err(Error::new(StatusCode::BAD_GATEWAY, "This is a URL of another server."));
        }
        UrlPath::from_url(url)
    }

    /// Returns the path in the field `Destination`.
    ///
    /// # Errors
    /// 400 if there are several such fields, and those of [`path_of_url`](Request::path_of_url).
    pub(crate) fn destination(&self) -> Result<Option<UrlPath<'static>>, Error> {
        match self.only_line("destination") {
            Ok(line) => line.map(|line| self.path_of_url(line)).transpose(),
            Err(_) => Err(Error::new(StatusCode::BAD_REQUEST, "Expected one Destination field.")),
        }
    }

    /// Resolves a relative path, and removes its dot segments.
    fn resolve(&self, relative: &[u8]) -> Result<UrlPath<'static>, Error> {
        let base = self.head.path_bytes();
        let folder = &base[..memchr::memrchr(b'/', base).map_or(0, |slash| slash + 1)];
        let joined = [folder, relative].concat();
        parse(&joined)?;
        let joined = std::str::from_utf8(&joined).map_err(|_| no_url())?;
        match UrlPath::parse(joined) {
            Ok(path) | Err(InvalidUrlPath(Fault::SpellingOf(path))) => Ok(path.into_owned()),
            Err(InvalidUrlPath(fault)) => Err(rejection(&fault)),
        }
    }

    /// Returns the response to a request whose path is not canonical. It is a redirect for methods that only read (RFC
    /// 9110, section 15.4.2), and an error for others, so that no client sends a body twice.
    pub(crate) fn path_error(&self) -> Option<Error> {
        if !self.needs_decoding() || self.is_asterisk() {
            return None;
        }
        let InvalidUrlPath(fault) = self.decoded(self.head.path()).path.as_ref().err()?;
        Some(match fault {
            Fault::SpellingOf(path) if matches!(self.method().as_str(), "GET" | "HEAD" | "PROPFIND") => {
                let query = self.query().map(|query| format!("?{query}")).unwrap_or_default();
                Error::new(StatusCode::MOVED_PERMANENTLY, "")
                    .with_header(header::LOCATION, encode_location(&format!("{path}{query}")))
                    .with_header(header::CACHE_CONTROL, "no-cache")
            }
            fault => rejection(fault),
        })
    }

    /// Passes paths with repeated and encoded slashes to handlers ([`Http::strict_paths`](crate::Http::strict_paths)).
    pub(crate) fn set_lenient_path(&self) {
        self.path.is_lenient.store(true, Relaxed);
    }

    /// Calls a mounted handler, which sees the path after its first segments.
    pub(crate) fn within_mount<T>(&self, names: u32, call: impl FnOnce() -> T) -> T {
        let earlier = self.mounted.swap(names, Relaxed);
        let _leave = OnDrop(|| self.mounted.store(earlier, Relaxed));
        call()
    }

    /// Sets this path and query, as if they had been received.
    pub(crate) fn rewrite(&mut self, target: &str) -> Result<(), Rejection> {
        self.head.rewrite(target)?;
        self.path.decoded.take();
        Ok(())
    }

    /// Returns true if `Http::rewrite` has not been called for this request yet. It is called once per request, even if
    /// the handler is called again after a wait.
    pub(crate) fn begin_rewrite(&mut self) -> bool {
        !std::mem::replace(&mut self.is_rewritten, true) && !self.is_asterisk()
    }

    /// Returns how many segments of the path the mounts around the handler have taken.
    pub(crate) fn mounted(&self) -> u32 {
        self.mounted.load(Relaxed)
    }

    fn needs_decoding(&self) -> bool {
        self.head.parsed_target().needs_decoding
    }

    fn decoded(&self, raw: &str) -> &Decoded {
        self.path.decoded.get_or_init(|| Box::new(Decoded::of(raw, self.path.is_lenient.load(Relaxed))))
    }
}

impl UrlPath<'static> {
    /// Parses a URL with any host, or a path.
    ///
    /// # Errors
    /// 400 if it is neither a URL nor a path, or has a query.
    pub fn from_url(url: &[u8]) -> Result<UrlPath<'static>, Error> {
        let path = parse(url)?.path.map_or(&b"/"[..], |span| span.of(url));
        let path = std::str::from_utf8(path).map_err(|_| no_url())?;
        UrlPath::parse(path).map(UrlPath::into_owned).map_err(|InvalidUrlPath(fault)| rejection(&fault))
    }
}

/// Parses a URL. A query is an error, because no file has one.
fn parse(url: &[u8]) -> Result<Target, Error> {
    let target = target::parse(url, &Method::GET).map_err(|_| no_url())?;
    match target.query {
        Some(_) => Err(Error::new(StatusCode::BAD_REQUEST, "Expected a URL without a query.")),
        None => Ok(target),
    }
}

/// Returns whether this is a relative-path reference (RFC 3986, section 4.2). A colon in the first segment would end a
/// scheme.
fn is_relative(url: &[u8]) -> bool {
    let first = url.split(|&byte| byte == b'/').next().unwrap_or_default();
    !first.is_empty() && !first.contains(&b':')
}

fn no_url() -> Error {
    Error::new(StatusCode::BAD_REQUEST, "Expected a URL of this server, or a path.")
}

fn rejection(fault: &Fault) -> Error {
    let invalid = |message: &str| Error::new(StatusCode::BAD_REQUEST, message);
    let error = match fault {
        Fault::Malformed => invalid("This path is not valid: it leads above the root, or contains NUL."),
        Fault::NoSuchName => Error::no_such_name(),
        Fault::SpellingOf(path) => {
            invalid(&format!("This path is another spelling of {path}. Send the request there."))
        }
    };
    error.with_header(header::CACHE_CONTROL, "no-cache")
}
