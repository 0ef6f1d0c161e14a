//! The response of a handler: status, fields, body. Created by handlers, sent by `sending`. It describes what is sent.
//! `sending` adds framing, ranges, HEAD and the connection's fields.

mod constructors; // responses of each kind
mod header_methods; // setting header fields
mod live; // responses that wait
mod on_sent; // a function that is called when the response was sent
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
pub(crate) use switch::{NextConversation, Protocol, ServeStream};
pub use writer::ResponseWriter;

use std::cell::OnceCell;
use std::fmt;
use std::io::{self, Read};

use http::{HeaderMap, HeaderValue, StatusCode};

use crate::http::error::Error;
use crate::http::live::{HasAll, Tee, Wait};
use body::ResponseBody;
use fields::FieldList;
use prepared::PreparedFields;

/// The result of a handler: a [`Response`], or an [`Error`] that is turned into a response.
pub type Result<T = Response, E = Error> = std::result::Result<T, E>;

/// A response: status, fields and body.
///
/// When a response is sent, HEAD, preconditions and ranges are applied to it, for any handler. With a validator
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
    declared: Option<Box<(u64, HeaderValue)>>,
    pub(crate) close: bool,
    /// Whether it shows nothing that needs the right to read, so that users who can only write at this path may also
    /// see it.
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
    pub fn new(status: impl TryInto<StatusCode, Error: Into<http::Error>>) -> Response {
        Response::of(ResponseBody::Bytes(Vec::new())).with_status(status)
    }

    /// Sets the body. The fields are kept.
    pub fn with_body(mut self, bytes: impl Into<Vec<u8>>) -> Response {
        self.body = ResponseBody::Bytes(bytes.into());
        self
    }

    /// Sets the status.
    pub fn with_status(mut self, status: impl TryInto<StatusCode, Error: Into<http::Error>>) -> Response {
        if let Some(rare) = &mut self.rare {
            rare.reason = None;
        }
        match status.try_into() {
            Ok(status) => self.status = status,
            Err(error) => self.record_error(error.into().into()),
        }
        self
    }

    /// Sets a reason phrase other than the usual one of the status. Setting a status afterwards removes it. Clients
    /// should ignore it (RFC 9112, section 4). It is for gateways that received it from an application.
    #[doc(alias = "send_response")]
    pub fn with_reason(mut self, reason: impl AsRef<[u8]>) -> Response {
        match HeaderValue::from_bytes(reason.as_ref()) {
            Ok(_) => self.rare().reason = Some(reason.as_ref().to_vec()),
            Err(_) => self.record_error(Error::from("a reason phrase has a control character")),
        }
        self
    }

    /// Closes the connection after this response.
    #[doc(alias = "close_connection")]
    pub fn with_close(mut self) -> Response {
        self.close = true;
        self
    }

    /// Sets a function that is called once: with `true` when the whole response was written to the client's socket, and
    /// with `false` if the connection ended before that, or another response was sent in its place. Several functions,
    /// such as those of a handler and of the layers around it, are called in the order in which they were set. A
    /// function of a response that [waits](Response::wait_for) is not called. Use it to count complete downloads, to
    /// remove a file after it was sent, or to cache only complete responses. The function should be short.
    ///
    /// A response to HEAD, a 304 and a 206 also count as complete. If the response has a [`tee`](Response::tee), `true`
    /// also means that the tee has copied the whole body: it has not for HEAD and 304, unless the body is in memory.
    /// Bytes that the socket has accepted can still be lost in the network.
    ///
    /// ```
    /// use modest::{Http, Request, Response, handler_fn};
    ///
    /// let app = handler_fn(|_| Ok(Response::text("once").on_sent(|whole| println!("sent whole: {whole}"))));
    /// Http::new(app).respond(&Request::get("/")); // prints "sent whole: true"
    /// ```
    pub fn on_sent(mut self, call: impl FnOnce(bool) + Send + 'static) -> Response {
        self.rare().on_sent.get_or_insert_default().add(call);
        self
    }

    /// Sets a function that is called with the bytes of the body as they are sent. It does not change the body. Unlike
    /// [`map_body`](Response::map_body), it also works for bodies that other threads push. Use it to copy a response;
    /// [`on_sent`](Response::on_sent) reports whether the copy is complete. The function should be short and must not
    /// wait, because for pushed bodies it is called on a worker without a permit to block.
    ///
    /// A body in memory is passed to it at once. A file is read like a stream, without `sendfile` and without ranges.
    /// For HEAD and 304, a stream is not read.
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
        let tee = Tee::new(tee);
        self.rare().copies.push(tee.has_all());
        let body = std::mem::replace(&mut self.body, ResponseBody::Bytes(Vec::new()));
        self.body = body.with_tee(tee, self.declared_length());
        self
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the fields set so far, without those that the server adds (`Date`, `Content-Length` and the like).
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

    /// Returns the first field of that name, if it is UTF-8. `content-length` is the length that was set, which
    /// [`headers`](Response::headers) does not contain: fields that are copied to another response must not frame it.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_value(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
    }

    pub(crate) fn header_value(&self, name: &str) -> Option<&HeaderValue> {
        let declared = || self.declared.as_deref().filter(|_| name.eq_ignore_ascii_case("content-length"));
        let field = self.prepared.as_ref().and_then(|fields| fields.get(name)).or_else(|| self.own.get(name));
        field.or_else(|| declared().map(|(_, value)| value))
    }

    /// Returns the Content-Length that the handler set.
    pub(crate) fn declared_length(&self) -> Option<u64> {
        self.declared.as_ref().map(|declared| declared.0)
    }

    /// Returns the length of the body in bytes, if it is known before it is sent.
    pub fn length(&self) -> Option<u64> {
        match &self.body {
            ResponseBody::Stream { length, .. } => length.or(self.declared_length()),
            body => body.length(),
        }
    }

    /// Returns the body, if all of it is in memory.
    pub fn body_in_memory(&self) -> Option<&[u8]> {
        self.body.in_memory()
    }

    /// Replaces the body by a stream. `change` gets a reader of this body and returns the reader of the new one, as in
    /// layers that encode bodies. The new length is unknown, and a handler's `Content-Length` is removed. If the body
    /// is shorter than its length, its reader fails.
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
        let body = std::mem::replace(&mut self.body, ResponseBody::Bytes(Vec::new()));
        match body.into_reader(self.declared_length()) {
            Ok(read) => {
                self.declared = None;
                self.body = ResponseBody::stream(change(read), None);
                Ok(self)
            }
            Err(body) => {
                self.body = ResponseBody::Pushed(body);
                Err(self)
            }
        }
    }

    /// Reads the whole body into memory: for tests, and for handlers that change another handler's response.
    ///
    /// # Errors
    /// Errors of reading the file or the stream; `UnexpectedEof` if it is shorter than its length. `Unsupported` if
    /// only a connection can wait for the body: other threads push it and have not ended it, or the response
    /// [waits](Response::wait_for) or changes the protocol.
    pub fn into_bytes(self) -> io::Result<Vec<u8>> {
        if self.instead().is_some() {
            return Err(ResponseBody::is_not_there());
        }
        let length = self.declared_length();
        self.body.read(length)
    }

    /// Returns what happens instead of sending the response, if anything.
    pub(crate) fn instead(&self) -> Option<&Continuation> {
        self.rare.as_ref()?.instead.as_ref()
    }

    pub(crate) fn take_on_sent(&mut self) -> Option<OnSent> {
        let rare = self.rare.as_mut()?;
        let copies = std::mem::take(&mut rare.copies);
        Some(rare.on_sent.take()?.with_copies(copies))
    }

    pub(crate) fn take_instead(&mut self) -> Option<Continuation> {
        self.rare.as_mut()?.instead.take()
    }

    /// Returns the reason phrase, if it is not the usual one of the status.
    pub(crate) fn reason(&self) -> Option<&[u8]> {
        self.rare.as_ref()?.reason.as_deref()
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Skips the preconditions and the range of the request, because another server, which knows the resource, has
    /// already evaluated them (RFC 9110, section 13.2.1).
    #[cfg(feature = "proxy")]
    pub(crate) fn evaluated(mut self) -> Response {
        self.rare().is_evaluated = true;
        self
    }

    pub(crate) fn is_evaluated(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.is_evaluated)
    }

    pub(crate) fn is_to_wait(&self) -> bool {
        matches!(self.instead(), Some(Continuation::Wait(_)))
    }

    /// Returns the first error that occurred while the response was built. If there is one, the response must not be
    /// sent.
    pub(crate) fn take_deferred_error(&mut self) -> Option<Error> {
        let prepared = self.prepared.as_ref().and_then(|fields| fields.deferred_error()).cloned();
        self.deferred_error.take().or(prepared)
    }

    fn of(body: ResponseBody) -> Response {
        Response {
            status: StatusCode::OK,
            prepared: None,
            own: FieldList::default(),
            body,
            declared: None,
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

    /// Creates a placeholder for an error, which is returned when the response is sent.
    fn failed(error: Error) -> Response {
        let mut response = Response::new(error.status());
        response.record_error(error);
        response
    }

    /// Stores an error, unless there is an earlier one.
    fn record_error(&mut self, error: Error) {
        self.deferred_error.get_or_insert(error);
    }
}

/// Parts that few responses have. Boxed, because responses are moved often.
#[derive(Default)]
struct Rare {
    instead: Option<Continuation>,
    reason: Option<Vec<u8>>,
    on_sent: Option<OnSent>,
    /// Whether each tee has the whole body.
    copies: Vec<HasAll>,
    /// Whether another server has evaluated the preconditions and the range of the request.
    is_evaluated: bool,
}

/// An action in place of sending the response.
pub(crate) enum Continuation {
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

    #[test]
    fn locations_of_redirects_are_encoded() {
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
