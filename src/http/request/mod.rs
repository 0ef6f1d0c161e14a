//! A request: method, target, fields, body and client. Created by `connection`; read by handlers.
//! Fields are looked up in the received head and decoded on demand, so that a request costs no map.

pub(crate) mod plan; // what is to become of a body
pub(crate) mod unwritten; // which handlers lack which methods

mod accept_encoding; // content codings that the client takes
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

pub(crate) mod route_match; // what routers made of the path
pub(crate) mod target; // request targets
mod values; // values carried along

pub use body::{Body, BodyReader};
pub use form::Form;
pub use form_data::{FormData, FormDataLimits, Part};
pub use plan::BodyPlan;
pub use values::{Forwarded, RequestId, User};

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use http::{HeaderMap, Method, StatusCode, Version};

use crate::http::error::Error;
use crate::tcp::{Address, Client, ServerHandle, Waker};
use arriving::ArrivingEnd;
use head::{Head, HeadLimits, HeadParser};
use route_match::RouteMatches;
use stored::StoredBody;
use unwritten::UnknownMethod;
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
    path: OnceLock<String>,
    /// Built at first use.
    headers: OnceLock<Box<HeaderMap>>,
    body: Body,
    client: Client,
    polled: Option<Instant>,
    received: SystemTime,
    now: SystemTime,
    waker: Option<Waker>,
    values: Values,
    routes: RouteMatches,
    late: bool,
    /// How many handlers of the chain were asked to accept it.
    reached: AtomicU32,
    /// The method that is to answer it, if it is not known whether there is one.
    unknown_method: Option<Box<UnknownMethod>>,
}

impl Request {
    pub(crate) fn from_head(
        head: Head,
        client: Client,
        polled: Option<Instant>,
        now: SystemTime,
        waker: impl Into<Option<Waker>>,
    ) -> Request {
        let (body, waker, values) = (Body::default(), waker.into(), Values::default());
        Request {
            head,
            path: OnceLock::new(),
            headers: OnceLock::new(),
            body,
            client,
            polled,
            received: now,
            now,
            waker,
            values,
            routes: RouteMatches::default(),
            late: false,
            reached: AtomicU32::new(0),
            unknown_method: None,
        }
    }

    pub(crate) fn set_body(&mut self, body: impl Into<Body>) {
        self.body = body.into();
    }

    /// The handler has returned: of a body that was received meanwhile, what is left.
    pub(crate) fn end_arriving_body(&mut self) -> Option<ArrivingEnd> {
        self.body.end_live()
    }

    pub(crate) fn set_unknown_method(&mut self, method: Option<UnknownMethod>) {
        self.unknown_method = method.map(Box::new);
    }

    pub(crate) fn unknown_method(&self) -> Option<&UnknownMethod> {
        self.unknown_method.as_deref()
    }

    /// The request without its body, for the log.
    pub(crate) fn drop_body(&mut self) {
        self.body = Body::default();
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

    /// The path as sent, still percent-encoded. Of `http://host/a` it is `/a`; of `OPTIONS *` it is `*`.
    /// It never contains a control character, a space or a backslash, and every percent sign begins two hex digits.
    pub fn raw_path(&self) -> &str {
        self.head.path()
    }

    /// Whether it is about the server as a whole: `OPTIONS *`.
    pub(crate) fn is_asterisk(&self) -> bool {
        let target = self.head.parsed_target();
        target.asterisk && target.path.is_none()
    }

    /// The path, percent-decoded once. Bytes that are not UTF-8 appear as U+FFFD; decoded characters may be any,
    /// also `/`, `\` or NUL: to open files use [`StaticFileHandler`](crate::StaticFileHandler), which handles these.
    pub fn path(&self) -> &str {
        if !self.head.parsed_target().percent_encoded {
            return self.raw_path();
        }
        self.path.get_or_init(|| percent_encoding::percent_decode_str(self.raw_path()).decode_utf8_lossy().into_owned())
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

    /// The host (and port, if present) of the request: from the target if it is a URL, else from the Host field.
    /// `None` if both are absent, as HTTP/1.0 allows.
    pub fn host(&self) -> Option<&str> {
        self.head.authority().or_else(|| self.header("host")).filter(|host| !host.is_empty())
    }

    /// The body.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The body's bytes: borrowed while they are in memory, else read from the temporary file.
    ///
    /// # Errors
    /// 500 if the temporary file cannot be read. Of a stream, which is received whole first, those of
    /// [`BodyPlan::stream`], and 507 if there is no room for it.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, Error> {
        Ok(self.body.bytes()?)
    }

    /// The body as text.
    ///
    /// # Errors
    /// 415 if its Content-Type has a charset other than UTF-8 (or ASCII), 400 if it is not valid UTF-8.
    pub fn text(&self) -> Result<Cow<'_, str>, Error> {
        if let Some(charset) = self.header("content-type").and_then(charset)
            && !["utf-8", "utf8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known))
        {
            return Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "text is taken in UTF-8 only"));
        }
        let text = match self.bytes()? {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).ok(),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).ok(),
        };
        text.ok_or_else(|| Error::new(StatusCode::BAD_REQUEST, "the body is not UTF-8"))
    }

    /// Keep the body: give it a name on the disk, and return its length in bytes. What is spooled there already is linked
    /// and not copied: see [`Body::persist`].
    ///
    /// ```
    /// use modest::{Request, Response, Result};
    ///
    /// fn upload(request: &Request) -> Result<Response> {
    ///     request.persist(std::env::temp_dir().join("a-name-of-your-own"))?; // 409 if there is one
    ///     Ok(Response::new(201))
    /// }
    /// # let name = std::env::temp_dir().join("a-name-of-your-own");
    /// # _ = std::fs::remove_file(&name);
    /// # assert_eq!(upload(&Request::post("/", "hello"))?.status(), 201);
    /// # assert_eq!(upload(&Request::post("/", "hello")).unwrap_err().status(), 409);
    /// # std::fs::remove_file(&name)?;
    /// # Ok::<(), modest::Error>(())
    /// ```
    ///
    /// # Errors
    /// 409 if there is something of that name, 507 if the disk is full, 500 if the file can't be written.
    pub fn persist(&self, path: impl AsRef<Path>) -> Result<u64, Error> {
        self.body.persist(path).map_err(new_file::error_of)?;
        Ok(self.body.len())
    }

    /// A reader of the body from its first byte on (Python's `rfile`). Of a stream it waits for the client: see
    /// [`BodyPlan::stream`].
    #[doc(alias = "rfile")]
    pub fn reader(&self) -> BodyReader<'_> {
        self.body.reader()
    }

    /// Whether the body is said to have this media type, whatever its parameters: for handlers that take several.
    ///
    /// ```
    /// use modest::Request;
    ///
    /// let request = Request::post("/", "a=b").with_header("content-type", "Application/JSON; charset=utf-8");
    /// assert!(request.has_media_type("application/json"));
    /// ```
    pub fn has_media_type(&self, media_type: &str) -> bool {
        self.media_type().is_some_and(|found| found.eq_ignore_ascii_case(media_type))
    }

    /// The body as an HTML form, `application/x-www-form-urlencoded`.
    ///
    /// # Errors
    /// 415 if it has another type, 400 if it is malformed, 413 if it has more than 10,000 fields.
    pub fn form(&self) -> Result<Form, Error> {
        if !self.has_media_type("application/x-www-form-urlencoded") {
            let wanted = "a form is wanted: application/x-www-form-urlencoded";
            return Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, wanted));
        }
        Form::decode(&self.bytes()?)
    }

    /// The body as an HTML form with files, `multipart/form-data`, part by part. Each call begins with the first part.
    /// For other limits than the default ones: [`FormData::new`] on the [`reader`](Request::reader).
    ///
    /// ```
    /// use modest::{Request, Response, Result};
    ///
    /// fn upload(request: &Request) -> Result<Response> {
    ///     let mut form = request.form_data()?;
    ///     while let Some(mut part) = form.next_part()? {
    ///         match (part.name(), part.safe_file_name()) {
    ///             ("title", None) => println!("{}", part.text()?), // at most 64 KiB
    ///             ("photo", Some(name)) => {
    ///                 part.save(std::env::temp_dir().join(name))?; // 409 if there is one
    ///             }
    ///             _ => {} // skipped
    ///         }
    ///     }
    ///     Ok(Response::text("Thank you.\n"))
    /// }
    ///
    /// let body = "--x\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nA day\r\n--x--\r\n";
    /// let request = Request::post("/", body).with_header("content-type", "multipart/form-data; boundary=x");
    /// assert_eq!(upload(&request)?.status(), 200);
    /// # Ok::<(), modest::Error>(())
    /// ```
    ///
    /// # Errors
    /// 415 if it has another type, 400 if its boundary is missing or malformed; what is wrong further on is told by
    /// [`next_part`](FormData::next_part).
    pub fn form_data(&self) -> Result<FormData<BodyReader<'_>>, Error> {
        let content_type = self.header("content-type").unwrap_or_default();
        FormData::new(self.reader(), content_type, FormDataLimits::default())
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// 415 if its Content-Type is not `application/json` or `…+json`, or there is none: a page of another site can have a
    /// browser send any bytes without a type, and with cookies, but not as JSON. 400 (with the reason) if it is malformed
    /// or does not fit `T`.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        let is_json = |media_type: &str| {
            media_type.eq_ignore_ascii_case("application/json")
                || media_type.len() > 5 && media_type.as_bytes()[media_type.len() - 5..].eq_ignore_ascii_case(b"+json")
        };
        if !self.media_type().is_some_and(is_json) {
            return Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "JSON is wanted: application/json"));
        }
        serde_json::from_slice(&self.bytes()?).map_err(|err| Error::new(StatusCode::BAD_REQUEST, err.to_string()))
    }

    /// The part of the path that stands in the place of `{name}` in the pattern of its route, decoded.
    ///
    /// Decoded, a segment may be `..`, hold slashes and NUL, and what a `{*name}` stands for may begin with a slash: never
    /// join it to a path of the file system. [`StaticFileHandler`](crate::StaticFileHandler) is for that. In a layer around
    /// the routes nothing is matched yet when its `before_body` is called.
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

    /// The handler at this depth of the chain is asked to accept it.
    pub(crate) fn reach(&self, depth: u32) {
        self.reached.fetch_max(depth + 1, Relaxed); // one thread handles a request at a time
    }

    /// Whether the handler at this depth of the chain was asked to accept it.
    pub(crate) fn has_reached(&self, depth: u32) -> bool {
        self.reached.load(Relaxed) > depth
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
        self.values.put(value);
    }

    /// The value of this type that was [put](Request::put) into the request.
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
    pub fn polled(&self) -> Option<Instant> {
        self.polled
    }

    /// The wall-clock time at which the request's turn began.
    pub fn now(&self) -> SystemTime {
        self.now
    }

    /// When its head was complete. From then on it may have waited for its body, and for a worker.
    pub fn received(&self) -> SystemTime {
        self.received
    }

    fn media_type(&self) -> Option<&str> {
        self.header("content-type").map(|value| value.split(';').next().unwrap_or_default().trim())
    }
}

/// Requests made by hand, for tests and for calling a handler without a socket.
impl Request {
    /// A GET of this target from `127.0.0.1`, with the Host `localhost`.
    ///
    /// # Panics
    /// If the target is invalid: [`Request::new`] returns an error instead.
    pub fn get(target: &str) -> Request {
        Request::new(Method::GET, target).unwrap_or_else(|err| panic!("{target:?} is no target: {err}"))
    }

    /// A POST to this target with this body, as [`get`](Request::get).
    ///
    /// # Panics
    /// If the target is invalid.
    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Request {
        let request = Request::new(Method::POST, target).unwrap_or_else(|err| panic!("{target:?} is no target: {err}"));
        request.with_body(body)
    }

    /// A POST to this target with this value as JSON.
    ///
    /// # Panics
    /// If the target is invalid, or the value can't be serialized.
    #[cfg(feature = "json")]
    pub fn post_json<T: serde::Serialize + ?Sized>(target: &str, value: &T) -> Request {
        let body = serde_json::to_vec(value).expect("the value is JSON");
        Request::post(target, body).with_header("content-type", "application/json")
    }

    /// A request with this method and target from `127.0.0.1`, with the Host `localhost`.
    ///
    /// # Errors
    /// The error a client would get for that target, mostly 400.
    pub fn new(method: Method, target: &str) -> Result<Request, Error> {
        let bytes = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes();
        let limits = HeadLimits { line: bytes.len(), head: bytes.len(), fields: 1 };
        let parsed = HeadParser::default().parse(&bytes, &limits);
        match parsed.map_err(|rejection| Error::new(rejection.status, rejection.message))? {
            Some((used, head)) if used == bytes.len() => {
                let client = Client::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
                Ok(Request::from_head(head, client, None, SystemTime::now(), None))
            }
            _ => Err(Error::new(StatusCode::BAD_REQUEST, "a line break in the target")),
        }
    }

    /// The same with one more field. A second Host replaces the first.
    ///
    /// # Panics
    /// If the field is invalid.
    pub fn with_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Request {
        if name.eq_ignore_ascii_case("host") {
            self.head.remove(name);
        }
        assert!(self.head.append(name, value.as_ref().trim_ascii()), "not a field that could be sent: {name:?}");
        self.headers.take();
        self
    }

    /// The same with this body and its Content-Length.
    pub fn with_body(mut self, bytes: impl Into<Vec<u8>>) -> Request {
        self.body = StoredBody::from_bytes(bytes.into()).into();
        self.head.remove("content-length");
        let length = self.body.len().to_string();
        self.with_header("content-length", length)
    }

    /// The same, as if a poll that returned then had brought it: see [`Request::polled`].
    pub fn with_polled(mut self, polled: Option<Instant>) -> Request {
        self.polled = polled;
        self
    }

    /// The same from another client.
    pub fn with_client(mut self, client: Client) -> Request {
        self.client = client;
        self
    }

    /// The same at another time.
    pub fn with_now(mut self, now: SystemTime) -> Request {
        self.now = now;
        self
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

/// The parameter `charset` of a media type (RFC 9110, section 8.3.1).
fn charset(content_type: &str) -> Option<String> {
    let mut rest = content_type.split_once(';')?.1;
    loop {
        let (name, value, behind) = parameter(rest)?;
        if name.eq_ignore_ascii_case("charset") {
            return Some(value);
        }
        rest = behind;
    }
}

/// The first parameter, its value without quotes (RFC 9110, sections 5.6.4 and 5.6.6), and what follows it.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let text = text.trim_start_matches([' ', '\t', ';']);
    let end_of_name = text.find(['=', ';'])?;
    let (name, text) = (&text[..end_of_name], &text[end_of_name..]);
    let Some(text) = text.strip_prefix('=') else { return Some((name.trim(), String::new(), text)) };
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return Some((name.trim(), text[..end].trim().to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((name.trim(), value, &quoted[at + 1..])),
            '\\' => value.push(letters.next()?.1),
            letter => value.push(letter),
        }
    }
    None // the quotes do not end
}
