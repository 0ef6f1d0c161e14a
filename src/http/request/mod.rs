//! A request: method, target, fields, body and client. Created by `connection`; read by handlers.
//! Fields are looked up in the received head and decoded on demand, so that a request costs no map.

pub(crate) mod plan; // what is to become of a body

mod path; // the path, and what of it mounts have taken

mod origin; // whether a URL is of this server

mod asked; // which handlers were asked to accept it

mod accept; // media types that the client asks for
mod accept_encoding; // content codings that it takes
mod in_log; // what it is called in the log
mod made; // requests made by hand
mod reading; // the body in each form in which it is wanted

mod form; // application/x-www-form-urlencoded
mod form_data; // multipart/form-data

mod body; // the body
pub(crate) mod discard; // a declined body, received and dropped

pub(crate) mod arriving; // a body that is received while its handler runs

pub(crate) mod incoming; // a body while it is received
mod stored; // a body that is kept, in memory or in a file

mod new_file; // files that are written new
pub(crate) mod room; // how much room there is for bodies

pub(crate) mod decoder; // where a body ends

pub(crate) mod chunked; // decoder of the chunked transfer coding (RFC 9112, section 7.1)
pub(crate) mod framing; // the length of the body (RFC 9112, section 6)

pub(crate) mod head; // request line and header fields

mod parameters; // parameters of a media type
pub(crate) mod route_match; // what routers made of the path
pub(crate) mod target; // request targets
mod values; // values carried along

pub use body::{Body, BodyReader, IntoReader};
pub use form::Form;
pub use form_data::{FormData, FormDataLimits, Part};
pub use plan::BodyPlan;
pub use values::{Access, Forwarded, Permissions, RequestId, User};

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{self, Duration, SystemTime};

use http::{HeaderMap, Method, StatusCode, Version};

use crate::http::error::Error;
use crate::tcp::{self, Address, Client, Instant, ServerHandle, Waker};
use arriving::ArrivingEnd;
use asked::Asked;
use head::Head;
use path::DecodedPath;
use route_match::RouteMatches;
use values::Values;

/// A request and its client.
///
/// Its body is complete when a handler gets it, unless that asked for a stream
/// ([`BodyPlan::stream`]). For tests, and for calling a handler without a socket,
/// make one by hand:
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
    head: Head,
    /// Decoded at first use.
    path: DecodedPath,
    /// How many names of the path the mounts around the handler have taken.
    mounted: AtomicU32,
    /// Built at first use.
    headers: OnceLock<Box<HeaderMap>>,
    body: Body,
    client: Client,
    polled: Option<Instant>,
    polled_is_taken: AtomicBool,
    /// When its head was complete.
    begun: Instant,
    now: SystemTime,
    waker: Option<Waker>,
    values: Values,
    /// Of the `Forwarded` among them.
    forwarded_host: OnceLock<String>,
    routes: RouteMatches,
    late: bool,
    /// Which handlers of the chain were asked to accept it.
    asked: Asked,
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
            asked: Asked::default(),
        }
    }

    pub(crate) fn set_body(&mut self, body: impl Into<Body>) {
        self.body = body.into();
    }

    /// The handler has returned: of a body that was received meanwhile, what is left.
    pub(crate) fn end_arriving_body(&mut self) -> Option<ArrivingEnd> {
        self.body.end_live()
    }

    /// The request without its body, for the log.
    pub(crate) fn drop_body(&mut self) {
        self.body = Body::default();
    }

    /// What calls its connection, for the next request there.
    pub(crate) fn take_waker(&mut self) -> Option<Waker> {
        self.waker.take()
    }

    /// The turn in which it is handled. The time of a poll is kept only if that poll brought the request.
    pub(crate) fn set_turn(&mut self, polled: Option<Instant>, now: SystemTime) {
        self.polled = self.polled.filter(|_| self.polled == polled);
        self.now = now;
    }

    /// The request line as sent: method, target and version.
    pub(crate) fn line(&self) -> &str {
        self.head.line()
    }

    /// The same, as bytes.
    pub(crate) fn line_bytes(&self) -> &[u8] {
        self.head.line_bytes()
    }

    /// The method. It is case-sensitive.
    #[doc(alias = "command")]
    pub fn method(&self) -> &Method {
        self.head.method()
    }

    /// HTTP/1.1 or HTTP/1.0. A later 1.x is treated as 1.1.
    #[doc(alias = "request_version")]
    pub fn version(&self) -> Version {
        self.head.version()
    }

    /// The target as sent (Python's `path`, with the query).
    #[doc(alias = "requestline")]
    pub fn target(&self) -> &str {
        self.head.target()
    }

    /// Whether its target names a host.
    pub(crate) fn has_authority(&self) -> bool {
        self.head.parsed_target().authority.is_some()
    }

    /// Whether its target is the URL of an `https` resource.
    pub(crate) fn names_https(&self) -> bool {
        self.head.parsed_target().https
    }

    /// Whether it is about the server as a whole: `OPTIONS *`.
    pub(crate) fn is_asterisk(&self) -> bool {
        let target = self.head.parsed_target();
        target.asterisk && target.path.is_none()
    }

    /// The query as sent: what follows the question mark.
    pub fn query(&self) -> Option<&str> {
        self.head.query()
    }

    /// The first query parameter of that name, decoded.
    #[doc(alias = "parse_qs")]
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        self.params().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    /// All query parameters, decoded, in order. Bytes that are not UTF-8 appear as U+FFFD.
    pub fn params(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(self.query().unwrap_or_default().as_bytes())
    }

    /// The first field of that name, if it is UTF-8. It is looked up in the received head.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.fields();
        let found = fields.find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()));
        found.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// The values of all fields of that name, in order, as bytes.
    pub fn header_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.head.values(name)
    }

    /// All fields in order, each with its name as sent and its value, which can be any bytes but control characters.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.head.fields()
    }

    /// The name of every field, as sent.
    pub(crate) fn field_names(&self) -> impl Iterator<Item = &[u8]> {
        self.head.fields().map(|(name, _)| name)
    }

    /// All fields as a map, built at first use.
    pub fn headers(&self) -> &HeaderMap {
        self.headers.get_or_init(|| Box::new(self.head.map()))
    }

    /// The value of the first cookie of that name, as sent. A cookie that is not UTF-8 is passed over.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.header_all("cookie")
            .flat_map(|line| line.split(|byte| *byte == b';'))
            .filter_map(|pair| std::str::from_utf8(pair).ok()?.split_once('='))
            .find(|(found, _)| found.trim() == name)
            .map(|(_, value)| unquoted(value.trim()))
    }

    /// The host (and port, if present) that the client asked for: the one that a trusted proxy has told, if it is trusted
    /// with it ([`TrustedProxies::host`](crate::layers::TrustedProxies::host)), else from the target if it is a URL, else from
    /// the Host field. `None` if all are absent, as HTTP/1.0 allows.
    pub fn host(&self) -> Option<&str> {
        let forwarded = self.forwarded_host.get().map(String::as_str);
        forwarded.or_else(|| self.head.authority()).or_else(|| self.header("host")).filter(|host| !host.is_empty())
    }

    /// The body.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The part of the path that stands in the place of `{name}` in the pattern of its route, decoded.
    ///
    /// A value is never empty, `.` or `..`, and only that of a `{*name}` contains slashes. In a layer around the routes nothing is
    /// matched yet when its `before_body` is called.
    ///
    /// # Errors
    /// 404 if it does not fit `T`: such a path names nothing. 500 if the pattern has no such name, which is a mistake in
    /// the program.
    ///
    /// ```
    /// use modest::{Http, Request, Response, Routes};
    ///
    /// let notes = Routes::new().get("/notes/{number}", |_, request| {
    ///     let number: u64 = request.path_param("number")?;
    ///     Ok(Response::text(format!("note {number}\n")))
    /// });
    /// let http = Http::new(notes.serve(()));
    /// assert_eq!(http.respond(&Request::get("/notes/7")).text(), "note 7\n");
    /// assert_eq!(http.respond(&Request::get("/notes/seven")).status(), 404);
    /// ```
    pub fn path_param<T: FromStr>(&self, name: &str) -> Result<T, Error> {
        let value = self.routes.param(name).ok_or_else(|| format!("no route of this request has a {{{name}}}"))?;
        value.parse().map_err(|_| Error::new(StatusCode::NOT_FOUND, ""))
    }

    /// The first query parameter of that name, parsed.
    ///
    /// # Errors
    /// 400, and which parameter it is about, if there is none or if it does not fit `T`.
    ///
    /// ```
    /// use modest::Request;
    ///
    /// let request = Request::get("/?count=3&page=one");
    /// assert_eq!(request.parse::<u32>("count")?, 3);
    /// assert_eq!(request.parse::<u32>("page").unwrap_err().status(), 400);
    /// assert_eq!(request.parse::<u32>("size").unwrap_err().message(), Some("the query has no `size`"));
    /// # Ok::<(), modest::Error>(())
    /// ```
    pub fn parse<T>(&self, name: &str) -> Result<T, Error>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let wrong = |message| Error::new(StatusCode::BAD_REQUEST, message);
        let value = self.param(name).ok_or_else(|| wrong(format!("the query has no `{name}`")))?;
        value.parse().map_err(|error: T::Err| wrong(format!("`{name}` in the query: {error}")))
    }

    /// Whether this request waited ([`Response::wait_for`](crate::Response::wait_for)) and nothing came in time, or the
    /// server shuts down: now is the time to say so.
    pub fn is_late(&self) -> bool {
        self.late
    }

    pub(crate) fn set_late(&mut self) {
        self.late = true;
    }

    /// Which handlers of the chain were asked to accept it.
    pub(crate) fn asked(&self) -> &Asked {
        &self.asked
    }

    /// The same for a parameter that may be left out: `None` if there is none.
    ///
    /// ```
    /// use modest::Request;
    ///
    /// let request = Request::get("/?page=3");
    /// assert_eq!(request.parse_optional::<u32>("page")?.unwrap_or(1), 3);
    /// assert_eq!(request.parse_optional::<u32>("size")?.unwrap_or(20), 20);
    /// # Ok::<(), modest::Error>(())
    /// ```
    ///
    /// # Errors
    /// 400, and which parameter it is about, if it does not fit `T`.
    pub fn parse_optional<T>(&self, name: &str) -> Result<Option<T>, Error>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.param(name).is_some().then(|| self.parse(name)).transpose()
    }

    pub(crate) fn routes(&self) -> &RouteMatches {
        &self.routes
    }

    /// Put a value into the request, in the place of any other of its type: for a layer that has something to tell to
    /// handlers (who asks, which tenant is meant).
    pub fn put<T: Any + Send + Sync>(&self, value: T) {
        let forwarded = (&value as &dyn Any).downcast_ref::<Forwarded>();
        if let Some(host) = forwarded.and_then(|forwarded| forwarded.host.clone()) {
            let _ = self.forwarded_host.set(host); // the first holds: `host` may have been answered with it
        }
        self.values.put(value);
    }

    /// The value of this type that was [put](Request::put) into the request.
    #[inline]
    pub fn value<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.values.get()
    }

    /// Who asks, if a layer that authenticates has put a [`User`] into the request.
    ///
    /// ```
    /// use modest::layers::BearerAuth;
    /// use modest::{OrStatus, RequestHandler, Response, User, handler_fn};
    ///
    /// let app = handler_fn(|request| Ok(Response::text(format!("Hello, {}!\n", request.user().or_status(401)?))))
    ///     .layer(BearerAuth::new("api").token("a-long-random-string", User("ada".into())));
    /// ```
    pub fn user(&self) -> Option<String> {
        self.value::<User>().map(|user| user.0.clone())
    }

    /// Its id, if a layer has put a [`RequestId`] into it.
    pub fn id(&self) -> Option<String> {
        self.value::<RequestId>().map(|id| id.0.clone())
    }

    /// Whether whoever asks may do this with what stands at this path, decoded, from the root of the server: `/a/b c`. True
    /// where no layer has said otherwise, as [`PathRights`](crate::layers::PathRights) does.
    ///
    /// That layer has judged the path of the request. This is for what else a handler shows or changes: the entries of
    /// a listing, say.
    pub fn permits(&self, access: Access, path: &[u8]) -> bool {
        self.value::<Permissions>().is_none_or(|permissions| permissions.permit(access, path))
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The address of the client (Python's `client_address`): IP address and port, unless it came by a Unix socket.
    pub fn client_address(&self) -> &Address {
        self.client.address()
    }

    /// The IP address of the client: the one that [trusted proxies](crate::layers::TrustedProxies) have told, if that
    /// layer stands around this handler, else that of the connection. `None`: it came by a Unix socket.
    pub fn client_ip(&self) -> Option<IpAddr> {
        let told = self.value::<Forwarded>().and_then(|forwarded| forwarded.client_ip);
        told.or_else(|| self.client.ip())
    }

    /// Whether the request came encrypted: over TLS that ends here ([`Client::tls`]), or so a proxy has told that is trusted
    /// with it ([`TrustedProxies::scheme`](crate::layers::TrustedProxies::scheme)), whose word counts for more.
    pub fn is_secure(&self) -> bool {
        match self.value::<Forwarded>().and_then(|forwarded| forwarded.scheme.clone()) {
            Some(scheme) => scheme == "https",
            None => self.client.tls().is_some(),
        }
    }

    /// `https` if the request [is secure](Request::is_secure), else `http`.
    pub fn scheme(&self) -> &'static str {
        if self.is_secure() { "https" } else { "http" }
    }

    /// Whether the client has closed its side of the connection, or the connection is broken: a handler that takes long
    /// may give up. It costs one atomic load, and is so a moment after the client left, while the handler runs.
    ///
    /// A client that has sent its last byte and still reads (it shut down its sending side) counts as gone, too: the two
    /// look alike until something is sent. A request that was made by a test is never gone.
    ///
    /// ```
    /// # use modest::{Request, Response, Result, Error};
    /// fn wait_for_news(request: &Request) -> Result<Response> {
    ///     while !request.client_is_gone() {
    ///         // look for news; answer if there are any
    /// #       break;
    ///     }
    ///     Err(Error::new(503, "nobody is listening any more"))
    /// }
    /// # assert!(wait_for_news(&Request::get("/")).is_err());
    /// ```
    pub fn client_is_gone(&self) -> bool {
        self.waker.as_ref().is_some_and(Waker::client_is_gone)
    }

    /// The server that is asked: its figures, and the way to shut it down (Python's `self.server`). A request that was
    /// made by a test has one that never serves.
    ///
    /// ```no_run
    /// # use modest::{Request, Response, Result};
    /// fn stop(request: &Request) -> Result<Response> {
    ///     request.server().shutdown(); // this request is answered
    ///     Ok(Response::text("Goodbye.\n"))
    /// }
    /// ```
    pub fn server(&self) -> ServerHandle {
        self.waker.as_ref().and_then(Waker::server).unwrap_or_default()
    }

    /// When the poll that brought the request returned, if it is known: see [`Turn::polled`](crate::raw::Turn::polled). For
    /// caches: a look at the file system since then is as fresh as a new one.
    pub fn polled(&self) -> Option<time::Instant> {
        self.polled.map(tcp::to_std)
    }

    /// The same for who asks first, and then `None`: a handler that asks once more has perhaps changed what it asks about, such
    /// as a file that it made because it was missing.
    pub fn take_polled(&self) -> Option<time::Instant> {
        let polled = self.polled.filter(|_| !self.polled_is_taken.load(Relaxed));
        self.polled_is_taken.store(true, Relaxed);
        polled.map(tcp::to_std)
    }

    /// The wall-clock time at which the request's turn began.
    pub fn now(&self) -> SystemTime {
        self.now
    }

    /// How long ago its head was complete, by a clock that nobody sets. Since then it may have waited for its body, and for
    /// a worker. Each call reads the clock.
    pub fn elapsed(&self) -> Duration {
        tcp::now().saturating_duration_since(self.begun)
    }

    /// When its head was complete.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Field values may be secret: only the names are shown.
        let names: Vec<_> = self.head.fields().map(|(name, _)| String::from_utf8_lossy(name)).collect();
        f.debug_struct("Request").field("line", &self.line()).field("fields", &names).field("body", &self.body).finish()
    }
}

/// A cookie value may be quoted (RFC 6265, section 4.1.1).
fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}
