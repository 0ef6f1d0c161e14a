//! The response of a handler: status, fields, body. Created by handlers, sent by `sending`. It describes what is sent.
//! `sending` adds framing, ranges, HEAD and the connection's fields.

mod live; // responses that wait
mod making; // responses of each kind
mod on_sent; // a call when it was sent
mod page; // the pages of errors
mod switch; // changes of the protocol
mod writer; // Python's interface for building a `Response`

pub(crate) mod body; // the body
mod cookie; // Set-Cookie
#[cfg(feature = "cookies")]
mod cookie_key; // signed and encrypted cookies

mod prepared; // header fields prepared before their response

pub(crate) mod fields; // header fields

pub use cookie::{Cookie, SameSite};
#[cfg(feature = "cookies")]
pub use cookie_key::CookieKey;
pub use fields::Fields;
pub(crate) use on_sent::OnSent;
pub(crate) use switch::Protocol;
pub use writer::ResponseWriter;

use std::cell::OnceCell;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::http::date;
use crate::http::error::{Error, parse_field};
use crate::http::etag::ETag;
use crate::http::live::Wait;
use body::ResponseBody;
use fields::FieldList;
use prepared::PreparedFields;

/// What a handler returns: a [`Response`], or an [`Error`] from which the response is made.
pub type Result<T = Response, E = Error> = std::result::Result<T, E>;

/// A response: status, fields and body.
///
/// HEAD, preconditions and ranges are applied to it when it is sent, for any handler. With a validator
/// ([`with_etag`](Response::with_etag), [`with_last_modified`](Response::with_last_modified)) clients whose copy is
/// current get `304 Not Modified`. Ranges work for a body in memory or in a file.
///
/// ```
/// use modest::Response;
///
/// let response = Response::text("No such note.\n").with_status(404).with_header("cache-control", "no-store");
/// assert_eq!(response.status(), 404);
/// assert_eq!(response.length(), Some(14));
/// ```
///
/// Creating a response never fails. An error is stored and becomes the response when it is sent: an invalid name or
/// value (for example, with a line break), a value that is not JSON, a missing file.
///
/// The server controls framing. Of the fields that a handler can set, `Connection: close` acts as
/// [`with_close`](Response::with_close). `Content-Length` is checked against the body: a wrong one makes the response a
/// 500; for a [`stream`](Response::stream) it sets the length. Other `Connection` options, and `Keep-Alive`,
/// `Proxy-Connection`, `TE`, `Trailer`, and `Upgrade` except in a 426, are left out. `Transfer-Encoding` is an error: a
/// body that a handler frames in chunks itself would arrive as content. A handler's `Date` and `Server` replace the
/// server's.
#[doc(alias("send_response", "HttpResponse"))]
#[must_use = "is sent only if it is returned"]
pub struct Response {
    pub(crate) status: StatusCode,
    pub(crate) prepared: Option<PreparedFields>,
    pub(crate) own: FieldList,
    pub(crate) body: ResponseBody,
    /// The Content-Length that the handler set.
    pub(crate) declared_length: Option<u64>,
    pub(crate) close: bool,
    /// Whether it shows nothing that needs the right to read. Then users who can only write at this path may also see
    /// it.
    pub(crate) is_for_writers: bool,
    pub(crate) deferred_error: Option<Error>,
    /// Parts that few responses have.
    rare: Option<Box<Rare>>,
    map: OnceCell<Box<HeaderMap>>,
}

impl Response {
    /// Creates a response with an empty body.
    ///
    /// A number that is not a final status (below 200, above 599: RFC 9110, section 15) is an error: the response is
    /// sent as a 500.
    pub fn new<S>(status: S) -> Response
    where
        S: TryInto<StatusCode>,
        S::Error: Into<http::Error>,
    {
        Response::of(ResponseBody::Static(b"")).with_status(status)
    }

    /// Sets the body. The fields are kept.
    pub fn with_body(mut self, bytes: impl Into<Vec<u8>>) -> Response {
        self.body = ResponseBody::Bytes(bytes.into());
        self
    }

    /// Sets the status.
    pub fn with_status<S>(mut self, status: S) -> Response
    where
        S: TryInto<StatusCode>,
        S::Error: Into<http::Error>,
    {
        if let Some(rare) = &mut self.rare {
            rare.reason = None;
        }
        match status.try_into() {
            Ok(status) => self.status = status,
            Err(error) => self.record_error(error.into().into()),
        }
        self
    }

    /// Sets the reason phrase, in place of the one that the status implies. Setting a status afterwards removes it.
    /// Clients should ignore it (RFC 9112, section 4); it is for gateways that received it from an application.
    #[doc(alias = "send_response")]
    pub fn with_reason(mut self, reason: impl AsRef<[u8]>) -> Response {
        match HeaderValue::from_bytes(reason.as_ref()) {
            Ok(_) => self.rare().reason = Some(reason.as_ref().to_vec()),
            Err(_) => self.record_error(Error::from("a reason phrase has a control character")),
        }
        self
    }

    /// Sets a field, and replaces any of that name.
    #[doc(alias = "send_header")]
    pub fn with_header<N, V>(self, name: N, value: V) -> Response
    where
        N: TryInto<HeaderName>,
        N::Error: Into<http::Error>,
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        self.insert(fields::parse_checked(name, value), true)
    }

    /// Adds a field beside others of that name. A field that a response has only once (`Content-Type`, `ETag`,
    /// `Location`) is replaced.
    pub fn with_added_header<N, V>(self, name: N, value: V) -> Response
    where
        N: TryInto<HeaderName>,
        N::Error: Into<http::Error>,
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        self.insert(fields::parse_checked(name, value), false)
    }

    /// Adds a field as [`with_added_header`](Response::with_added_header) does, but also sends an `ETag`, `Date` or
    /// `Last-Modified` with an invalid value: for gateways, which forward the fields of an application.
    pub fn with_forwarded_header<N, V>(self, name: N, value: V) -> Response
    where
        N: TryInto<HeaderName>,
        N::Error: Into<http::Error>,
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        self.insert(parse_field(name, value), false)
    }

    /// Removes the fields of that name, also the effect of `Connection: close` and `Content-Length`.
    pub fn without_header(mut self, name: &str) -> Response {
        if let Ok(name) = HeaderName::try_from(name) {
            self.remove(&name);
        }
        self
    }

    fn remove(&mut self, name: &HeaderName) {
        self.map.take();
        match *name {
            header::CONNECTION => self.close = false,
            header::CONTENT_LENGTH => self.declared_length = None,
            _ => {}
        }
        self.unshare(name);
        self.own.remove(name);
    }

    /// Sets `Content-Type`.
    pub fn with_content_type(self, media_type: &str) -> Response {
        self.with_header(header::CONTENT_TYPE, media_type)
    }

    /// Adds a cookie, beside others.
    pub fn with_cookie(self, cookie: Cookie) -> Response {
        let field = cookie.into_value().map(|value| (header::SET_COOKIE, value));
        self.insert(field, false)
    }

    /// Sets `ETag`: the preconditions of GET and HEAD are then evaluated.
    pub fn with_etag(self, tag: ETag) -> Response {
        self.with_header(header::ETAG, tag)
    }

    /// Sets `Last-Modified`, rounded down to the second: the preconditions of GET and HEAD are then evaluated.
    ///
    /// A time later than the response is sent as the time of the response. A time before the year 0
    /// or after 9999 is left out.
    pub fn with_last_modified(self, time: SystemTime) -> Response {
        match date::value(time) {
            Some(value) => self.set_field(header::LAST_MODIFIED, value),
            None => self,
        }
    }

    /// Uses prepared fields, which replace any of their names.
    pub fn with_fields(mut self, fields: Arc<Fields>) -> Response {
        self.map.take();
        if let Some(before) = self.prepared.take() {
            let mut own = before.list().clone();
            self.own.iter().for_each(|(name, value)| own.append(name.clone(), value.clone()));
            self.own = own;
        }
        if !self.own.is_empty() {
            fields.list().iter().for_each(|(name, _)| self.own.remove(name));
        }
        self.prepared = Some(PreparedFields::Shared(fields));
        self
    }

    /// Takes the status and the fields of an error, which replace any of their names: for error pages of your own.
    pub fn with_error(mut self, error: &Error) -> Response {
        for name in error.headers().keys() {
            self.remove(name);
            for value in error.headers().get_all(name) {
                self = self.with_added_header(name, value);
            }
        }
        self.with_status(error.status())
    }

    /// Closes the connection after this response.
    #[doc(alias = "close_connection")]
    pub fn with_close(mut self) -> Response {
        self.close = true;
        self
    }

    /// Calls this once when it is known whether the client got the response: with `true` when all of it was written to
    /// the client's socket, and with `false` if the connection ended before, or another response was sent in its place.
    /// A later function replaces an earlier one. Uses: counting complete downloads, removing a file after it was sent,
    /// caching only complete responses. It should be short.
    ///
    /// A response to HEAD, a 304 and a 206 also count as whole. Bytes that the socket has accepted can still be lost in
    /// the network.
    ///
    /// ```
    /// use modest::{Http, Request, Response, handler_fn};
    ///
    /// let app = handler_fn(|_| Ok(Response::text("once").on_sent(|whole| println!("sent whole: {whole}"))));
    /// Http::new(app).respond(&Request::get("/")); // prints "sent whole: true"
    /// ```
    pub fn on_sent(mut self, call: impl FnOnce(bool) + Send + 'static) -> Response {
        self.rare().on_sent = Some(OnSent::new(call));
        self
    }

    /// Calls this with the bytes of the body as they are sent, without changing the body. Unlike
    /// [`map_body`](Response::map_body) it also applies to bodies that other threads push. Use it to copy a response;
    /// [`on_sent`](Response::on_sent) reports whether the copy is complete. It should be short, and
    /// must not wait: for a body that other threads push, it is called on a worker that has no permit to block.
    ///
    /// A body in memory is passed to it at once. A file is then read by this process, and has no ranges, like a stream.
    /// Nothing of a stream is read for HEAD.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use modest::{Http, Request, Response, handler_fn};
    ///
    /// let copy = Arc::new(Mutex::new(Vec::new()));
    /// let to = copy.clone();
    /// let app = handler_fn(move |_| {
    ///     let to = to.clone();
    ///     Ok(Response::chunks(["a", "b"]).tee(move |bytes| to.lock().unwrap().extend_from_slice(bytes)))
    /// });
    /// Http::new(app).respond(&Request::get("/"));
    /// assert_eq!(*copy.lock().unwrap(), b"ab");
    /// ```
    pub fn tee(mut self, tee: impl FnMut(&[u8]) + Send + 'static) -> Response {
        let body = std::mem::replace(&mut self.body, ResponseBody::Static(b""));
        self.body = body.with_tee(Box::new(tee), self.declared_length);
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The fields set so far, without those that the server adds (`Date`, `Content-Length` and the like).
    pub fn headers(&self) -> &HeaderMap {
        self.map.get_or_init(|| {
            let prepared = self.prepared.iter().flat_map(|fields| fields.iter());
            let mut map = HeaderMap::new();
            for (name, value) in prepared.chain(self.own.iter()) {
                map.append(name.clone(), value.clone());
            }
            Box::new(map)
        })
    }

    /// The first field of that name, if it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_value(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
    }

    pub(crate) fn header_value(&self, name: &str) -> Option<&HeaderValue> {
        self.prepared.as_ref().and_then(|fields| fields.get(name)).or_else(|| self.own.get(name))
    }

    /// The length of the body in bytes, if it is known before it is sent.
    pub fn length(&self) -> Option<u64> {
        match &self.body {
            ResponseBody::Stream { length, .. } => length.or(self.declared_length),
            body => body.length(),
        }
    }

    /// The body, if all of it is in memory.
    pub fn body_in_memory(&self) -> Option<&[u8]> {
        match &self.body {
            ResponseBody::Static(bytes) => Some(bytes),
            ResponseBody::Bytes(bytes) => Some(bytes),
            ResponseBody::Shared(bytes) => Some((**bytes).as_ref()),
            ResponseBody::File { .. } | ResponseBody::Stream { .. } | ResponseBody::Pushed(_) => None,
        }
    }

    /// Replaces the body by a stream that `change` makes of a reader of this body: for layers that encode bodies. Its
    /// length is unknown. If the body is shorter than its length, the reader fails. A handler's `Content-Length` is
    /// removed.
    ///
    /// ```
    /// use modest::Response;
    /// use std::io::Read;
    ///
    /// let response = Response::text("0123456789").map_body(|body| body.take(4)).unwrap();
    /// assert_eq!(response.into_bytes()?, b"0123");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns the response unchanged if its body cannot be read: it is pushed by other threads
    /// ([`channel`](Response::channel), [`events`](Response::events)), or there is no response yet
    /// ([`wait_for`](Response::wait_for)).
    pub fn map_body<R, F>(mut self, change: F) -> Result<Response, Response>
    where
        R: Read + Send + 'static,
        F: FnOnce(Box<dyn Read + Send>) -> R,
    {
        if self.instead().is_some() {
            return Err(self);
        }
        let body = std::mem::replace(&mut self.body, ResponseBody::Static(b""));
        match body.into_reader(self.declared_length) {
            Ok(read) => {
                self.declared_length = None;
                self.body = ResponseBody::Stream { read: Box::new(change(read)), length: None };
                Ok(self)
            }
            Err(body) => {
                self.body = body;
                Err(self)
            }
        }
    }

    /// Reads the whole body into memory: for tests, and for handlers that change another handler's response.
    ///
    /// # Errors
    /// Errors of reading the file or the stream; `UnexpectedEof` if it is shorter than its length.
    pub fn into_bytes(self) -> io::Result<Vec<u8>> {
        let length = self.length();
        self.body.read(length)
    }

    /// What happens instead of sending it.
    pub(crate) fn instead(&self) -> Option<&Instead> {
        self.rare.as_ref()?.instead.as_ref()
    }

    pub(crate) fn take_on_sent(&mut self) -> Option<OnSent> {
        self.rare.as_mut()?.on_sent.take()
    }

    pub(crate) fn take_instead(&mut self) -> Option<Instead> {
        self.rare.as_mut()?.instead.take()
    }

    /// The reason phrase, if it is not the one that the status implies.
    pub(crate) fn reason(&self) -> Option<&[u8]> {
        self.rare.as_ref()?.reason.as_deref()
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Skips the preconditions and the range of the request: another server has already evaluated them, and it knows
    /// the resource (RFC 9110, section 13.2.1).
    #[cfg(feature = "proxy")]
    pub(crate) fn evaluated(mut self) -> Response {
        self.rare().is_evaluated = true;
        self
    }

    pub(crate) fn is_evaluated(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.is_evaluated)
    }

    pub(crate) fn is_to_wait(&self) -> bool {
        matches!(self.instead(), Some(Instead::Wait(_)))
    }

    /// The first error made while it was built, if any. Then it must not be sent.
    pub(crate) fn take_deferred_error(&mut self) -> Option<Error> {
        let prepared = self
            .prepared
            .as_ref()
            .and_then(|fields| fields.deferred_error())
            .map(|error| Error::from(error.to_string()));
        self.deferred_error.take().or(prepared)
    }

    fn of(body: ResponseBody) -> Response {
        Response {
            status: StatusCode::OK,
            prepared: None,
            own: FieldList::default(),
            body,
            declared_length: None,
            close: false,
            is_for_writers: false,
            deferred_error: None,
            rare: None,
            map: OnceCell::new(),
        }
    }

    /// Returns the response, marked as visible to users who can write at its path but not read.
    pub(crate) fn for_writers(self) -> Response {
        Response { is_for_writers: true, ..self }
    }

    /// Sets a field that is known to be valid.
    fn set_field(mut self, name: HeaderName, value: HeaderValue) -> Response {
        self.map.take();
        self.unshare(&name);
        self.own.set(name, value);
        self
    }

    fn insert(mut self, field: Result<(HeaderName, HeaderValue), Error>, replace: bool) -> Response {
        match field {
            Err(error) => self.record_error(error),
            // RFC 9110, section 15.5.22: a 426 names the protocol.
            Ok((name, value)) if name == header::UPGRADE => return self.set_field(name, value),
            Ok((name, value)) if fields::is_server_managed(&name) => self.apply_managed(&name, &value),
            Ok((name, value)) if replace || fields::is_singleton(&name) => return self.set_field(name, value),
            Ok((name, value)) => {
                self.map.take();
                self.own.append(name, value);
            }
        }
        self
    }

    /// `Connection: close` and `Content-Length` are not sent as set, but have an effect.
    fn apply_managed(&mut self, name: &HeaderName, value: &HeaderValue) {
        if *name == header::CONNECTION {
            let close = value
                .as_bytes()
                .split(|byte| *byte == b',')
                .any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"));
            self.close |= close;
        } else if *name == header::CONTENT_LENGTH {
            match value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())).map(str::parse) {
                Some(Ok(length)) => self.declared_length = Some(length),
                _ => {
                    self.record_error(Error::from(format!("the response's Content-Length is not a length: {value:?}")))
                }
            }
        }
    }

    /// If the prepared fields have one of that name, copies the others into this response's own.
    fn unshare(&mut self, name: &HeaderName) {
        if let Some(fields) = self.prepared.take_if(|fields| fields.list().has(name)) {
            let mut own = FieldList::default();
            let others = fields.iter().filter(|(other, _)| *other != name);
            others.for_each(|(other, value)| own.append(other.clone(), value.clone()));
            self.own.iter().for_each(|(name, value)| own.append(name.clone(), value.clone()));
            self.own = own;
            if let Some(error) = fields.deferred_error() {
                self.record_error(Error::from(error.to_string()));
            }
        }
    }

    /// A response that could not be created: the error is returned when it is sent.
    fn failed(error: Error) -> Response {
        let mut response = Response::new(error.status());
        response.record_error(error);
        response
    }

    /// The first error is reported.
    fn record_error(&mut self, error: Error) {
        self.deferred_error.get_or_insert(error);
    }
}

/// Parts that few responses have. They are boxed, because responses are moved.
#[derive(Default)]
struct Rare {
    instead: Option<Instead>,
    reason: Option<Vec<u8>>,
    on_sent: Option<OnSent>,
    /// Another server has evaluated the preconditions and the range of the request.
    is_evaluated: bool,
}

/// What happens to a response instead of sending it.
pub(crate) enum Instead {
    Wait(Wait),
    Switch(Protocol),
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", self.headers())
            .field("body", &self.body)
            .field("length", &self.length())
            .field("deferred_error", &self.deferred_error)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(response: &Response) -> Vec<String> {
        response.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn prepared_fields_are_copied_when_changed() {
        let fields = Arc::new(Fields::new().with_header("a", "1").with_header("b", "2"));
        for (row, response, expected) in [
            ("as they are", Response::new(200).with_fields(fields.clone()), vec!["a: 1", "b: 2"]),
            (
                "one more",
                Response::new(200).with_fields(fields.clone()).with_header("c", "3"),
                vec!["a: 1", "b: 2", "c: 3"],
            ),
            (
                "one replaced",
                Response::new(200).with_fields(fields.clone()).with_header("A", "3"),
                vec!["b: 2", "a: 3"],
            ),
            (
                "one appended",
                Response::new(200).with_fields(fields.clone()).with_added_header("a", "3"),
                vec!["a: 1", "a: 3", "b: 2"],
            ),
            ("one taken out", Response::new(200).with_fields(fields.clone()).without_header("A"), vec!["b: 2"]),
            (
                "over one of the response's",
                Response::new(200).with_header("a", "0").with_fields(fields.clone()),
                vec!["a: 1", "b: 2"],
            ),
            (
                "over others",
                Response::new(200)
                    .with_fields(Arc::new(Fields::new().with_header("b", "0").with_header("c", "3")))
                    .with_fields(fields.clone()),
                vec!["a: 1", "b: 2", "c: 3"],
            ),
        ] {
            let (mut found, mut expected) = (shown(&response), expected);
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{row}");
        }
        assert_eq!(fields.iter().count(), 2);
    }

    #[test]
    fn a_default_media_type_can_be_overridden() {
        type Make = fn() -> Response;
        let kinds: [(Make, &str); 3] = [
            (|| Response::text("a"), "text/plain; charset=utf-8"),
            (|| Response::html("a"), "text/html; charset=utf-8"),
            (|| Response::bytes("a"), "application/octet-stream"),
        ];
        for (make, media_type) in kinds {
            let fields = || Arc::new(Fields::new().with_header("content-type", "a/b").with_header("x", "1"));
            for (row, response, expected) in [
                ("as it is", make(), vec![format!("content-type: {media_type}")]),
                (
                    "beside another",
                    make().with_header("x", "1"),
                    vec![format!("content-type: {media_type}"), "x: 1".into()],
                ),
                (
                    "replaced",
                    make().with_header("x", "1").with_content_type("a/b"),
                    vec!["content-type: a/b".into(), "x: 1".into()],
                ),
                ("added to", make().with_added_header("content-type", "a/b"), vec!["content-type: a/b".into()]),
                ("removed", make().without_header("Content-Type"), vec![]),
                ("below prepared ones", make().with_fields(fields()), vec!["content-type: a/b".into(), "x: 1".into()]),
                ("of nobody else", make(), vec![format!("content-type: {media_type}")]),
            ] {
                let mut found = shown(&response);
                found.sort();
                assert_eq!(found, expected, "{media_type}, {row}");
            }
        }
    }

    #[test]
    fn the_header_map_reflects_changes() {
        let response = Response::text("a");
        assert_eq!(response.headers().len(), 1);
        let response = response.with_header("x", "1");
        assert_eq!(response.headers()["x"], "1");
        let response = response.with_added_header("x", "2").without_header("content-type");
        assert_eq!(shown(&response), ["x: 1", "x: 2"]);
    }

    #[test]
    fn redirects() {
        for (location, sent) in [
            ("/a?b=c&d=%20#e", "/a?b=c&d=%20#e"),
            ("/caf\u{e9} \u{1f600}", "/caf%C3%A9%20%F0%9F%98%80"),
            ("/a\r\nSet-Cookie: b=c", "/a%0D%0ASet-Cookie:%20b=c"),
            ("/\\evil.example", "/%5Cevil.example"),
            ("http://[::1]:8000/", "http://[::1]:8000/"),
        ] {
            let response = Response::redirect(location);
            assert_eq!(response.header_value("location").unwrap(), sent, "{location:?}");
            assert!(response.deferred_error.is_none() && response.status() == 303);
        }
    }
}
