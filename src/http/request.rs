//! What was asked: method, target, fields, body, and who asks. Made by `conversation`; read by handlers.
//! It looks things up in the head as it stands and decodes when asked, so that a request costs no map.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::SystemTime;

use http::{HeaderMap, Method, StatusCode, Version};

use super::body::{Body, BodyReader};
use super::error::Error;
use super::form::Form;
use super::head::{Head, HeadLimits, HeadParser};
use crate::tcp::Client;

/// A request: what was asked, and by whom.
///
/// The body is whole when a handler sees the request. For tests, and for calling a handler without a socket,
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
    /// Made at first use.
    path: OnceLock<String>,
    /// Made at first use.
    headers: OnceLock<Box<HeaderMap>>,
    body: Body,
    client: Client,
    poll: Option<u64>,
    now: SystemTime,
}

impl Request {
    pub(crate) fn from_head(head: Head, client: Client, poll: Option<u64>, now: SystemTime) -> Request {
        let body = Body::default();
        Request { head, path: OnceLock::new(), headers: OnceLock::new(), body, client, poll, now }
    }

    pub(crate) fn set_body(&mut self, body: Body) {
        self.body = body;
    }

    /// The turn in which it is handled. A poll vouches for it only if that poll brought it.
    pub(crate) fn set_turn(&mut self, poll: Option<u64>, now: SystemTime) {
        self.poll = self.poll.filter(|_| self.poll == poll);
        self.now = now;
    }

    /// The request line as it was sent: method, target and version.
    pub(crate) fn line(&self) -> &str {
        self.head.line()
    }

    /// The method. It is case-sensitive.
    pub fn method(&self) -> &Method {
        self.head.method()
    }

    /// HTTP/1.1 or HTTP/1.0. A later 1.x is met as 1.1.
    pub fn version(&self) -> Version {
        self.head.version()
    }

    /// The target as it was sent (Python's `path`, with the query).
    pub fn target(&self) -> &str {
        self.head.target()
    }

    /// The path as it was sent, still percent-encoded. Of `http://host/a` it is `/a`; of `OPTIONS *` it is `*`.
    /// It never holds a control character, a space or a back-slash, and every percent sign begins two hex digits.
    pub fn raw_path(&self) -> &str {
        self.head.path()
    }

    /// The path, percent-decoded once. Bytes that are not UTF-8 appear as U+FFFD; what was decoded may be any character,
    /// also `/`, `\` or NUL: to open files use [`StaticFileHandler`](crate::StaticFileHandler), which knows.
    pub fn path(&self) -> &str {
        if !self.head.parsed_target().percent_encoded {
            return self.raw_path();
        }
        self.path.get_or_init(|| percent_encoding::percent_decode_str(self.raw_path()).decode_utf8_lossy().into_owned())
    }

    /// What stands behind the question mark, as it was sent.
    pub fn query(&self) -> Option<&str> {
        self.head.query()
    }

    /// The first parameter of that name in the query, decoded.
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        self.params().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    /// All parameters of the query, decoded, in order. What is not UTF-8 appears as U+FFFD.
    pub fn params(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(self.query().unwrap_or_default().as_bytes())
    }

    /// The first field of that name, where it is UTF-8. It is looked up in the head as it stands.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.fields();
        let found = fields.find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()));
        found.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// Every field of that name, in order, as bytes.
    pub fn header_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.head.values(name)
    }

    /// The name of every field, as it was sent.
    pub(crate) fn field_names(&self) -> impl Iterator<Item = &[u8]> {
        self.head.fields().map(|(name, _)| name)
    }

    /// All fields as a map, made at first use.
    pub fn headers(&self) -> &HeaderMap {
        self.headers.get_or_init(|| Box::new(self.head.map()))
    }

    /// The cookie of that name, as it was sent; the first, if there are more.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.header_all("cookie")
            .filter_map(|line| std::str::from_utf8(line).ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.split_once('='))
            .find(|(found, _)| found.trim() == name)
            .map(|(_, value)| unquoted(value.trim()))
    }

    /// The host (and port, if one was named) that the request is for: from the target if it is a URL, else from the
    /// Host field. `None` if neither says; an HTTP/1.0 client need not.
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
    /// 500 if the temporary file can't be read.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, Error> {
        Ok(self.body.bytes()?)
    }

    /// The body as text.
    ///
    /// # Errors
    /// 415 if its Content-Type names a charset other than UTF-8 (or ASCII), 400 if it is not UTF-8 after all.
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

    /// Reads the body from its first byte on (Python's `rfile`).
    pub fn reader(&self) -> BodyReader<'_> {
        self.body.reader()
    }

    /// The body as a form, `application/x-www-form-urlencoded`, as a browser sends it.
    ///
    /// # Errors
    /// 415 if it is of another type, 400 if it is malformed, 413 if it has more than 10,000 fields.
    pub fn form(&self) -> Result<Form, Error> {
        if !self.has_media_type(|media_type| media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded")) {
            let wanted = "a form is wanted: application/x-www-form-urlencoded";
            return Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, wanted));
        }
        Form::parse(&self.bytes()?)
    }

    /// The body as JSON. A body without a Content-Type is taken for JSON.
    ///
    /// # Errors
    /// 415 if it is of a type other than `application/json` and `…+json`, 400 (and why) if it is malformed or not
    /// what `T` wants.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        let is_json = |media_type: &str| {
            media_type.eq_ignore_ascii_case("application/json")
                || media_type.len() > 5 && media_type.as_bytes()[media_type.len() - 5..].eq_ignore_ascii_case(b"+json")
        };
        if self.header_all("content-type").next().is_some() && !self.has_media_type(is_json) {
            return Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "JSON is wanted: application/json"));
        }
        serde_json::from_slice(&self.bytes()?).map_err(|err| Error::new(StatusCode::BAD_REQUEST, err.to_string()))
    }

    /// Who asks.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The address and port of who asks (Python's `client_address`).
    pub fn client_address(&self) -> SocketAddr {
        self.client.address()
    }

    /// See [`Turn::poll`](crate::Turn::poll): for caches that look at the disk once a poll.
    pub fn poll(&self) -> Option<u64> {
        self.poll
    }

    /// What time it was when the request's turn began, by the wall clock.
    pub fn now(&self) -> SystemTime {
        self.now
    }

    fn has_media_type(&self, wanted: impl Fn(&str) -> bool) -> bool {
        self.header("content-type").is_some_and(|value| wanted(value.split(';').next().unwrap_or_default().trim()))
    }
}

/// Requests made by hand, for tests and for calling a handler without a socket.
impl Request {
    /// A GET of this target, as `127.0.0.1` would send it, with the Host `localhost`.
    ///
    /// # Panics
    /// If a client could not send that target: see [`Request::new`], which says so instead.
    pub fn get(target: &str) -> Request {
        Request::new(Method::GET, target).unwrap_or_else(|err| panic!("{target:?} is no target: {err}"))
    }

    /// A request with this method and target, as `127.0.0.1` would send it, with the Host `localhost`.
    ///
    /// # Errors
    /// What a client would be answered, mostly 400, if it sent that target.
    pub fn new(method: Method, target: &str) -> Result<Request, Error> {
        let bytes = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes();
        let limits = HeadLimits { line: bytes.len(), head: bytes.len(), fields: 1 };
        let parsed = HeadParser::default().parse(&bytes, &limits);
        match parsed.map_err(|rejection| Error::new(rejection.status, rejection.message))? {
            Some((used, head)) if used == bytes.len() => {
                let client = Client::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
                Ok(Request::from_head(head, client, None, SystemTime::now()))
            }
            _ => Err(Error::new(StatusCode::BAD_REQUEST, "a line break in the target")),
        }
    }

    /// The same with one more field. A second Host takes the place of the first.
    ///
    /// # Panics
    /// If a client could not send such a field.
    pub fn with_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Request {
        if name.eq_ignore_ascii_case("host") {
            self.head.remove(name);
        }
        assert!(self.head.append(name, value.as_ref().trim_ascii()), "not a field that could be sent: {name:?}");
        self.headers.take();
        self
    }

    /// The same with this body, and with the Content-Length that goes with it.
    pub fn with_body(mut self, bytes: impl Into<Vec<u8>>) -> Request {
        self.body = Body::from_bytes(bytes.into());
        self.head.remove("content-length");
        let length = self.body.len().to_string();
        self.with_header("content-length", length)
    }

    /// The same, as if these bytes came with that poll: see [`Request::poll`].
    pub fn with_poll(mut self, poll: Option<u64>) -> Request {
        self.poll = poll;
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
        // Fields may hold secrets: only their names are shown.
        let names: Vec<_> = self.head.fields().map(|(name, _)| String::from_utf8_lossy(name)).collect();
        f.debug_struct("Request").field("line", &self.line()).field("fields", &names).field("body", &self.body).finish()
    }
}

/// A cookie's value may stand in double quotes (RFC 6265, section 4.1.1).
fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

fn charset(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| unquoted(value.trim()))
    })
}
