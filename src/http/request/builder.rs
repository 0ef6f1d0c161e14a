//! Requests made by hand, for tests and for calling a handler without a socket.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::time::{self, SystemTime};

use http::{Method, StatusCode};

use super::Request;
use super::head::{HeadLimits, HeadParser};
use super::stored::StoredBody;
use crate::http::error::Error;
use crate::tcp::{self, Client};

/// Requests made by hand, for tests and for calling a handler without a socket.
impl Request {
    /// Creates a GET of this target from `127.0.0.1`, with `Host: localhost`.
    ///
    /// # Panics
    /// If the target is invalid: [`Request::new`] returns an error instead.
    #[track_caller]
    pub fn get(target: &str) -> Request {
        Request::of(Method::GET, target)
    }

    /// Creates a POST to this target with this body. Everything else is as in [`get`](Request::get).
    ///
    /// # Panics
    /// If the target is invalid.
    #[track_caller]
    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Request {
        Request::of(Method::POST, target).with_body(body)
    }

    /// Creates a DELETE of this target. Everything else is as in [`get`](Request::get).
    ///
    /// # Panics
    /// If the target is invalid.
    #[track_caller]
    pub fn delete(target: &str) -> Request {
        Request::of(Method::DELETE, target)
    }

    #[track_caller]
    fn of(method: Method, target: &str) -> Request {
        match Request::new(method, target) {
            Ok(request) => request,
            Err(err) => panic!("{target:?} is not a valid target: {err}"),
        }
    }

    /// Creates a POST to this target with this value as JSON.
    ///
    /// # Panics
    /// If the target is invalid, or the value cannot be serialized.
    #[cfg(feature = "json")]
    #[track_caller]
    pub fn post_json<T: serde::Serialize + ?Sized>(target: &str, value: &T) -> Request {
        Request::post(target, "").with_json(value)
    }

    /// Creates a request with this method and target from `127.0.0.1`, with `Host: localhost`. For methods other than
    /// GET, POST and DELETE, and for targets that may be invalid.
    ///
    /// # Errors
    /// If the target is invalid: the error that a client would get, mostly 400.
    pub fn new(method: Method, target: &str) -> Result<Request, Error> {
        let bytes = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes();
        let limits = HeadLimits { line: bytes.len(), head: bytes.len(), fields: 1, bare_lf: false };
        let parsed = HeadParser::default().parse(&bytes, &limits);
        match parsed.map_err(|rejection| Error::new(rejection.status, rejection.message))? {
            Some((used, head)) if used == bytes.len() => {
                let client = Client::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
                Ok(Request::from_head(head, client, None, tcp::now(), SystemTime::now(), None))
            }
            _ => Err(Error::new(StatusCode::BAD_REQUEST, "a line break in the target")),
        }
    }

    /// Adds a field. A second Host replaces the first.
    ///
    /// # Panics
    /// If the field is invalid.
    #[track_caller]
    pub fn with_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Request {
        if name.eq_ignore_ascii_case("host") {
            self.head.remove(name);
        }
        assert!(self.head.append(name, value.as_ref().trim_ascii()), "not a valid field: {name:?}");
        self.headers.take();
        self
    }

    /// Sets the body and its Content-Length.
    pub fn with_body(mut self, bytes: impl Into<Vec<u8>>) -> Request {
        self.body = StoredBody::from_bytes(bytes.into()).into();
        self.head.remove("content-length");
        let length = self.body.len().to_string();
        self.with_header("content-length", length)
    }

    /// Sets the body to this value as JSON, and its Content-Type: for any method.
    ///
    /// ```
    /// use modest::{Method, Request};
    ///
    /// let request = Request::new(Method::PUT, "/notes/7")?.with_json(&["milk"]);
    /// assert_eq!(request.json::<Vec<String>>()?, ["milk"]);
    /// # Ok::<(), modest::Error>(())
    /// ```
    ///
    /// # Panics
    /// If the value cannot be serialized.
    #[cfg(feature = "json")]
    #[track_caller]
    pub fn with_json<T: serde::Serialize + ?Sized>(mut self, value: &T) -> Request {
        self.head.remove("content-type");
        let body = serde_json::to_vec(value).expect("the value is JSON");
        self.with_header("content-type", "application/json").with_body(body)
    }

    /// Copies the request with its values, for `respond`, which must not change the caller's request.
    pub(crate) fn copied(&self) -> Result<Request, Error> {
        let (head, client) = (self.head.clone(), self.client.clone());
        let mut copy = Request::from_head(head, client, self.polled, self.begun, self.now, self.waker.clone());
        (copy.body, copy.values, copy.late) = (self.body.try_clone()?, self.values.copied(), self.late);
        Ok(copy)
    }

    /// Sets the time of the poll that reported the request: see [`Request::polled`].
    #[doc(hidden)]
    pub fn with_polled(mut self, polled: Option<time::Instant>) -> Request {
        self.polled = polled.map(tcp::from_std);
        self.polled_is_taken = AtomicBool::new(false);
        self
    }

    /// Sets the client.
    pub fn with_client(mut self, client: Client) -> Request {
        self.client = client;
        self
    }

    /// Marks the request as one whose long poll has timed out, for tests: see [`is_late`](Request::is_late).
    pub fn as_late(mut self) -> Request {
        self.late = true;
        self
    }

    /// Sets the time.
    pub fn with_now(mut self, now: SystemTime) -> Request {
        self.now = now;
        self
    }
}
