//! A request: method, target, fields, body and client. Created by `connection`; read by handlers.
//! Fields are looked up in the received head and decoded on demand, so that no map is built for each request.

pub(crate) mod plan; // the plan of a body
mod path; // the path, and the part of it that mounts have removed
mod cookies; // cookies
mod from_client; // its client
mod login_links; // the links to log in
mod origin; // whether a URL is of this server
mod chain_progress; // which handlers have been called
mod accept; // media types by `Accept`
mod accept_encoding; // content codings by `Accept-Encoding`
mod builder; // requests created by programs and tests
mod log_name; // the name of a request in the log
mod log_scope; // the request for which a thread works
mod reading; // the body as text, bytes, JSON or a form
#[cfg(feature = "json")]
mod typed; // queries, forms, paths and JSON as values of a type
mod params; // parameters of the query and of the path
mod form; // application/x-www-form-urlencoded
mod expected; // words for clients about values
mod form_data; // multipart/form-data
mod body; // the body
pub(crate) mod arriving; // a streamed body, which is received while its handler runs
pub(crate) mod incoming; // a stored body, which is received before its handler runs
mod stored; // a stored body, in memory or in a file
mod saved_files; // the files of a form, until the handler takes them
mod saved_file; // a file that a handler saves
mod file_name; // safe names and free names of files
mod write_errors; // responses for bodies and files that can't be written
pub(crate) mod quotas; // quotas for bodies
pub(crate) mod discard; // the rest of a body, received and dropped
pub(crate) mod decoder; // the framing of a body
pub(crate) mod chunked; // decoder of the chunked transfer coding (RFC 9112, section 7.1)
pub(crate) mod framing; // the length of the body (RFC 9112, section 6)
pub(crate) mod head; // request line and header fields
mod charset; // the charset of a media type
pub(crate) mod route_match; // the match of a route
pub(crate) mod target; // request targets
mod values; // values of layers

pub use body::{Body, BodyReader, IntoReader};
pub use form::Form;
pub use form_data::{FormData, FormDataLimits, Part, PartHead, PartPlan, SavedPart};
#[cfg(feature = "proxy")]
pub(crate) use log_name::LogName;
pub use log_scope::LogScope;
pub use plan::BodyPlan;
pub(crate) use route_match::Reach;
pub use values::{Access, Forwarded, Permissions, RequestId, User};

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{self, Duration, SystemTime};

use http::{HeaderMap, Method, StatusCode, Version};

use crate::grammar::{SeveralLines, list_members};
use crate::http::error::Error;
use crate::tcp::{self, Client, Instant, Waker};
use chain_progress::ChainProgress;
use head::Head;
use path::DecodedPath;
use route_match::RouteMatches;
use values::Values;

/// A request, and the client that sent it.
///
/// Its body is complete when a handler gets it, unless the handler asked for a stream ([`BodyPlan::stream`]). For
/// tests, and for calling a handler without a socket, create one by hand:
///
/// ```
/// use modest::Request;
///
/// let request = Request::get("/caf%C3%A9?day=monday&day=friday").with_header("cookie", "a=1; b=2");
/// assert_eq!(request.path(), "/café");
/// assert_eq!(request.param("day").as_deref(), Some("monday"));
/// assert_eq!(request.cookie("b"), Some("2"));
/// ```
pub struct Request {
    pub(crate) head: Head,
    /// The path, decoded at first use.
    path: DecodedPath,
    /// How many segments of the path the mounts around the handler have removed.
    mounted: AtomicU32,
    /// All fields as a map, built at first use.
    headers: OnceLock<Box<HeaderMap>>,
    pub(crate) body: Body,
    client: Client,
    polled: Option<Instant>,
    polled_is_taken: AtomicBool,
    /// When the head was complete.
    pub(crate) begun: Instant,
    now: SystemTime,
    pub(crate) waker: Option<Waker>,
    values: Values,
    /// The host of the `Forwarded` value.
    forwarded_host: OnceLock<String>,
    pub(crate) routes: RouteMatches,
    pub(crate) late: bool,
    /// Whether `Http::rewrite` has been called.
    is_rewritten: bool,
    pub(crate) asked: ChainProgress,
}

impl Request {
    pub(crate) fn from_head(
        head: Head,
        client: Client,
        polled: Option<Instant>,
        begun: Instant,
        now: SystemTime,
        waker: impl Into<Option<Waker>>,
    ) -> Request {
        let (body, waker, values) = (Body::default(), waker.into(), Values::default());
        Request {
            head,
            path: DecodedPath::default(),
            mounted: AtomicU32::new(0),
            headers: OnceLock::new(),
            body,
            client,
            polled,
            polled_is_taken: AtomicBool::new(false),
            begun,
            now,
            waker,
            values,
            forwarded_host: OnceLock::new(),
            routes: RouteMatches::default(),
            late: false,
            is_rewritten: false,
            asked: ChainProgress::default(),
        }
    }

    /// Sets the turn in which the request is handled. The time of a poll is kept only if that poll reported the
    /// request.
    pub(crate) fn set_turn(&mut self, polled: Option<Instant>, now: SystemTime) {
        self.polled = self.polled.filter(|_| self.polled == polled);
        self.now = now;
    }

    /// Returns the request line as sent: method, target and version.
    pub(crate) fn line(&self) -> &str {
        self.head.line()
    }

    /// Returns the method. It is case-sensitive.
    #[doc(alias = "command")]
    pub fn method(&self) -> &Method {
        self.head.method()
    }

    /// Returns HTTP/1.1 or HTTP/1.0. A later 1.x is treated as 1.1.
    #[doc(alias = "request_version")]
    pub fn version(&self) -> Version {
        self.head.version()
    }

    /// Returns the target as sent (Python's `path`, with the query), except that a quote, an angle bracket and bytes
    /// over 0x7F in the query are percent-encoded. A path that contains them is rejected with 400.
    #[doc(alias = "requestline")]
    pub fn target(&self) -> &str {
        self.head.target()
    }

    /// Returns whether the request is `OPTIONS *`, which concerns the whole server.
    pub(crate) fn is_asterisk(&self) -> bool {
        let target = self.head.parsed_target();
        target.asterisk && target.path.is_none()
    }

    /// Returns the query as sent, after the question mark, except that a quote, an angle bracket and bytes over 0x7F
    /// are percent-encoded: `?q=é` is `q=%C3%A9`. So the query is valid in a `Location` or in a request to another
    /// server.
    pub fn query(&self) -> Option<&str> {
        self.head.query()
    }

    /// Returns the first field of that name, if it is UTF-8. It is looked up in the received head.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.fields();
        let found = fields.find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()));
        found.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// Returns the value of a field that occurs at most once, without white space around it. For fields that limit a
    /// change: a field that cannot be read must not count as missing.
    ///
    /// # Errors
    /// 400 if there are several such fields, or if the value is not UTF-8.
    pub(crate) fn single_header<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, Error> {
        let wrong = || Error::new(StatusCode::BAD_REQUEST, format!("Expected one {name} field, in UTF-8."));
        let Some(line) = self.only_line(name).map_err(|SeveralLines| wrong())? else { return Ok(None) };
        std::str::from_utf8(line).map(|line| Some(line.trim())).map_err(|_| wrong())
    }

    /// Returns the value of a field that may occur only once, as bytes.
    ///
    /// # Errors
    /// If there are several such fields.
    pub(crate) fn only_line<'a>(&'a self, name: &'a str) -> Result<Option<&'a [u8]>, SeveralLines> {
        let mut lines = self.header_all(name);
        match (lines.next(), lines.next()) {
            (line, None) => Ok(line),
            _ => Err(SeveralLines),
        }
    }

    /// Returns the values of all fields of that name, in order, as bytes.
    pub fn header_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.head.values(name)
    }

    /// Returns whether this word is a member of a list in these fields.
    pub(crate) fn lists(&self, name: &str, word: &str) -> bool {
        self.header_all(name).flat_map(list_members).any(|member| member.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Iterates over all fields in order: the name as sent, and the value, which can contain any bytes except control
    /// characters other than the tab.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.head.fields()
    }

    /// Returns the name of every field, as sent.
    pub(crate) fn field_names(&self) -> impl Iterator<Item = &[u8]> {
        self.head.fields().map(|(name, _)| name)
    }

    /// Returns all fields as a map, built at first use.
    pub fn headers(&self) -> &HeaderMap {
        self.headers.get_or_init(|| Box::new(self.head.map()))
    }

    /// Returns the host (and port, if present) that the client requested: as reported by a trusted proxy
    /// ([`TrustedProxies::host`](crate::layers::TrustedProxies::host)), otherwise from the target if that is a URL,
    /// otherwise from the Host field. `None` if there is none of these, which HTTP/1.0 allows.
    pub fn host(&self) -> Option<&str> {
        let forwarded = self.forwarded_host.get().map(String::as_str);
        forwarded.or_else(|| self.head.authority()).or_else(|| self.header("host")).filter(|host| !host.is_empty())
    }

    /// Returns the body.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Returns whether this request has waited ([`Response::wait_for`](crate::Response::wait_for)) and its time is up,
    /// or the server is shutting down. The handler has to return a response now.
    pub fn is_late(&self) -> bool {
        self.late
    }

    /// Stores a value in the request, in place of any other of its type. A layer uses it to pass a value to handlers
    /// (the user, the tenant). If several layers store the same type, the handler gets the value of the innermost.
    ///
    /// For a request with the method PUT, call [`Request::new`].
    pub fn put<T: Any + Send + Sync>(&self, value: T) {
        let forwarded = (&value as &dyn Any).downcast_ref::<Forwarded>();
        if let Some(host) = forwarded.and_then(|forwarded| forwarded.host.clone()) {
            let _ = self.forwarded_host.set(host); // the first value stays, because `host` may have returned it
        }
        if let Some(id) = (&value as &dyn Any).downcast_ref::<RequestId>() {
            LogScope::set_id(id);
        }
        self.values.put(value);
    }

    /// Returns the scope for lines that are logged while the handler is called.
    pub(crate) fn log_scope(&self) -> LogScope {
        LogScope::new(self.value::<RequestId>())
    }

    /// Returns the stored value of this type: see [`put`](Request::put).
    #[inline]
    pub fn value<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.values.get()
    }

    /// Records that a layer of this server has accepted the request by its `Authorization`.
    pub(crate) fn use_authorization(&self) {
        self.put(values::UsedAuthorization);
    }

    /// Returns whether a layer has accepted the request by its `Authorization`, which is then not for a backend.
    #[cfg(feature = "proxy")]
    pub(crate) fn authorization_is_used(&self) -> bool {
        self.value::<values::UsedAuthorization>().is_some()
    }

    /// Stores a value that only this layer or handler gets, by [`value_for`](Request::value_for).
    pub(crate) fn put_for<T: Any + Send + Sync>(&self, owner: &impl Sized, value: T) {
        self.values.put_for(owner, value);
    }

    /// Returns the value of this type that this layer or handler has stored for itself.
    pub(crate) fn value_for<T: Any + Send + Sync>(&self, owner: &impl Sized) -> Option<Arc<T>> {
        self.values.get_for(owner)
    }

    /// Returns the name of the user, if an authenticating layer has stored a [`User`] in the request.
    ///
    /// ```
    /// use modest::layers::BearerAuth;
    /// use modest::{OrStatus, RequestHandler, Response, User, handler_fn};
    ///
    /// let app = handler_fn(|request| Ok(Response::text(format!("Hello, {}!\n", request.user().or_status(401)?))))
    ///     .layer(BearerAuth::new("api").token("a-long-random-string", User::new("ada")));
    /// ```
    pub fn user(&self) -> Option<String> {
        self.value::<User>().map(|user| user.name().to_owned())
    }

    /// Sets the field in which backends get the id of this request.
    #[cfg(feature = "proxy")]
    pub(crate) fn set_id_field(&self, name: http::HeaderName) {
        self.put(values::IdField(name));
    }

    /// Returns the field in which backends get the id of this request, and the id.
    #[cfg(feature = "proxy")]
    pub(crate) fn id_field(&self) -> Option<(http::HeaderName, Arc<RequestId>)> {
        Some((self.value::<values::IdField>()?.0.clone(), self.value()?))
    }

    /// Returns the id, if a layer has stored a [`RequestId`] in the request.
    pub fn id(&self) -> Option<String> {
        self.value::<RequestId>().map(|id| id.0.clone())
    }

    /// Returns whether the client has this access to a path. The path is decoded, from the root of the server: `/a/b
    /// c`. The result is true unless a layer such as [`PathRights`](crate::layers::PathRights) denies the access.
    ///
    /// That layer has already checked the path of the request. Use this for other paths that a handler shows or
    /// changes, such as the entries of a listing.
    pub fn permits(&self, access: Access, path: &[u8]) -> bool {
        self.value::<Permissions>().is_none_or(|permissions| permissions.permit(access, path))
    }

    /// Returns when the poll that reported the request ended, if known: see [`Turn::polled`](crate::raw::Turn::polled).
    /// Caches use it: a check of the file system made after that time is as good as a new one.
    #[doc(hidden)]
    pub fn polled(&self) -> Option<time::Instant> {
        self.polled.map(tcp::to_std)
    }

    /// Returns [`polled`](Request::polled) at the first call, and `None` afterwards, because by then the handler itself
    /// may have changed files.
    #[doc(hidden)]
    pub fn take_polled(&self) -> Option<time::Instant> {
        let polled = self.polled.filter(|_| !self.polled_is_taken.load(Relaxed));
        self.polled_is_taken.store(true, Relaxed);
        polled.map(tcp::to_std)
    }

    /// Returns the wall-clock time at which the request's turn began.
    pub fn now(&self) -> SystemTime {
        self.now
    }

    /// Returns how long ago the head was complete, by the monotonic clock. Since then the request may have waited for
    /// its body and for a worker. Each call reads the clock.
    pub fn elapsed(&self) -> Duration {
        tcp::now().saturating_duration_since(self.begun)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only the names are shown, because field values may be secret.
        let names: Vec<_> = self.head.fields().map(|(name, _)| String::from_utf8_lossy(name)).collect();
        f.debug_struct("Request").field("line", &self.line()).field("fields", &names).field("body", &self.body).finish()
    }
}
