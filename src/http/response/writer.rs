//! A builder of a `Response` with the methods of Python's `http.server`, for ported code. Used by handlers only.

use std::io::{self, Write};

use http::{HeaderName, HeaderValue, StatusCode};

use super::Response;
use crate::http::error::Error;

/// A response built step by step, as in Python: `send_response`, `send_header`, `end_headers`, then write (`wfile`).
///
/// Nothing is sent before the writer is returned and converted into a [`Response`]. So the response is never sent
/// incomplete, and its length is known.
///
/// ```
/// use std::io::Write;
/// use modest::{ResponseWriter, Request, Response, Result};
///
/// fn do_get(request: &Request) -> Result<Response> {
///     let mut reply = ResponseWriter::new();
///     reply.send_response(200);
///     reply.send_header("Content-Type", "text/plain; charset=utf-8");
///     reply.end_headers();
///     write!(reply, "You asked for {}\n", request.path())?;
///     Ok(reply.into())
/// }
/// ```
///
/// Calls in the wrong order (no status, a field after `end_headers`, a body before it) do not panic:
/// the response becomes a 500, and the cause is logged. Python's `send_error` is `return Err(Error::new(404, "why"))`.
#[derive(Debug)]
#[doc(alias("wfile", "Reply"))]
pub struct ResponseWriter {
    status: Option<StatusCode>,
    response: Response,
    body: Vec<u8>,
    in_body: bool,
    deferred_error: Option<Error>,
}

impl ResponseWriter {
    /// Creates a writer without a status.
    pub fn new() -> ResponseWriter {
        ResponseWriter {
            status: None,
            response: Response::new(StatusCode::OK),
            body: Vec::new(),
            in_body: false,
            deferred_error: None,
        }
    }

    /// Sets the status.
    pub fn send_response(&mut self, status: impl TryInto<StatusCode, Error: Into<http::Error>>) {
        match status.try_into() {
            _ if self.status.is_some() => self.record_error("send_response was called twice"),
            Ok(status) => self.status = Some(status),
            Err(error) => self.deferred_error = Some(error.into().into()),
        }
    }

    /// Adds a field. Fields with the same name are kept.
    pub fn send_header(
        &mut self,
        name: impl TryInto<HeaderName, Error: Into<http::Error>>,
        value: impl TryInto<HeaderValue, Error: Into<http::Error>>,
    ) {
        if self.in_body {
            return self.record_error("send_header was called after end_headers");
        }
        let response = std::mem::replace(&mut self.response, Response::new(StatusCode::OK));
        self.response = response.with_added_header(name, value);
    }

    /// Ends the fields. Everything written afterwards is the body.
    pub fn end_headers(&mut self) {
        if self.status.is_none() {
            self.record_error("end_headers was called before send_response");
        }
        self.in_body = true;
    }

    fn record_error(&mut self, why: &str) {
        self.deferred_error.get_or_insert_with(|| Error::from(why));
    }
}

default_is_new!(ResponseWriter);

/// Writes the body (Python's `wfile`). It stays in memory until the handler returns the response.
impl Write for ResponseWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.in_body {
            return Err(io::Error::other("the body was written before end_headers"));
        }
        self.body.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<ResponseWriter> for Response {
    fn from(mut reply: ResponseWriter) -> Response {
        if !reply.in_body {
            reply.record_error("end_headers was not called");
        }
        let mut response = reply.response.with_status(reply.status.unwrap_or(StatusCode::OK)).with_body(reply.body);
        if let Some(error) = reply.deferred_error {
            response.deferred_error.get_or_insert(error);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(steps: impl Fn(&mut ResponseWriter)) -> Response {
        let mut reply = ResponseWriter::new();
        steps(&mut reply);
        reply.into()
    }

    #[test]
    fn calls_in_order_build_a_response() {
        let response = build(|reply| {
            reply.send_response(404);
            reply.send_header("Content-Type", "text/plain");
            reply.send_header("Set-Cookie", "a=1");
            reply.send_header("Set-Cookie", "b=2");
            reply.send_header("Content-Length", 5);
            reply.end_headers();
            reply.write_all(b"hello").unwrap();
        });
        assert!(response.deferred_error.is_none(), "{response:?}");
        assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
        assert_eq!((response.status().as_u16(), response.into_bytes().unwrap()), (404, b"hello".to_vec()));
    }

    #[test]
    fn calls_out_of_order_are_errors() {
        type Row = (&'static str, fn(&mut ResponseWriter));
        let rows: [Row; 6] = [
            ("nothing", |_| ()),
            ("no end of headers", |reply| reply.send_response(200)),
            ("no status", |reply| reply.end_headers()),
            ("twice", |reply| {
                reply.send_response(200);
                reply.send_response(200);
                reply.end_headers();
            }),
            ("a field too late", |reply| {
                reply.send_response(200);
                reply.end_headers();
                reply.send_header("a", "b");
            }),
            ("no field", |reply| {
                reply.send_response(200);
                reply.send_header("a", "b\r\nc");
                reply.end_headers();
            }),
        ];
        for (row, steps) in rows {
            assert!(build(steps).deferred_error.is_some(), "{row}");
        }
        assert!(ResponseWriter::new().write(b"x").is_err(), "a body was accepted before the end of the headers");
    }
}
