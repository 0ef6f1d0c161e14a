//! The `RequestHandler` trait, which users implement, and the access log record.
//! Called by `connection`, in turns that may block where the methods may.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};

use super::date;
use super::error::Error;
use super::request::Request;
use super::response::{Response, Result};
use crate::tcp::Client;

/// Handles requests (Python's `BaseHTTPRequestHandler`). One value serves all clients, on all workers at once:
/// shared state is in its fields.
///
/// Required: the `do_` methods you serve; the others respond with 501.
/// Optional: `before_body`, `verify_request`, `send_error`, `log_request`, and `handle`, which calls the
/// `do_` method of the request's method.
///
/// The `do_` methods, `handle`, `before_body` and `send_error` may block: `TcpServer::workers` of
/// them run at once. `verify_request` and `log_request` must not block: they run outside that limit.
///
/// ```
/// use modest::{Request, RequestHandler, Response, Result};
///
/// struct Hello;
///
/// impl RequestHandler for Hello {
///     fn do_get(&self, request: &Request) -> Result<Response> {
///         Ok(Response::text(format!("Hello, {}!\n", request.param("name").unwrap_or("World".into()))))
///     }
/// }
///
/// let response = Hello.handle(&Request::get("/?name=Ada")).unwrap();
/// assert_eq!(response.into_bytes().unwrap(), b"Hello, Ada!\n");
/// ```
pub trait RequestHandler: Send + Sync + 'static {
    /// Handles GET. Default: 501.
    fn do_get(&self, request: &Request) -> Result<Response> {
        not_implemented(request)
    }

    /// Handles HEAD. Default: as GET; the body is left out when the response is sent.
    fn do_head(&self, request: &Request) -> Result<Response> {
        self.do_get(request)
    }

    /// Handles POST. Default: 501.
    fn do_post(&self, request: &Request) -> Result<Response> {
        not_implemented(request)
    }

    /// Handles PUT. Default: 501.
    fn do_put(&self, request: &Request) -> Result<Response> {
        not_implemented(request)
    }

    /// Handles DELETE. Default: 501.
    fn do_delete(&self, request: &Request) -> Result<Response> {
        not_implemented(request)
    }

    /// Handles PATCH. Default: 501.
    fn do_patch(&self, request: &Request) -> Result<Response> {
        not_implemented(request)
    }

    /// Handles OPTIONS of a path. Default: 501. `OPTIONS *` is answered by the server itself.
    fn do_options(&self, request: &Request) -> Result<Response> {
        not_implemented(request)
    }

    /// Handles any other method, unregistered ones too. Default: 501. CONNECT is never passed to it.
    fn do_other(&self, request: &Request) -> Result<Response> {
        not_implemented(request)
    }

    /// Calls the `do_` method of the request's method. Methods are case-sensitive: `get` is not `GET`.
    ///
    /// If you implement it, it gets HEAD as well: treat it as GET, the body is left out when the response is sent.
    fn handle(&self, request: &Request) -> Result<Response> {
        match *request.method() {
            Method::GET => self.do_get(request),
            Method::HEAD => self.do_head(request),
            Method::POST => self.do_post(request),
            Method::PUT => self.do_put(request),
            Method::DELETE => self.do_delete(request),
            Method::PATCH => self.do_patch(request),
            Method::OPTIONS => self.do_options(request),
            _ => self.do_other(request),
        }
    }

    /// Accepts or declines a request that has a body by its head alone, before the body is read and before
    /// `100 Continue` is sent (Python's `handle_expect_100`). An error becomes the response. Default: accept.
    fn before_body(&self, request: &Request) -> Result<(), Error> {
        let _ = request;
        Ok(())
    }

    /// Whether to serve this client; called before a byte is read. It must not block.
    fn verify_request(&self, client: &Client) -> bool {
        let _ = client;
        true
    }

    /// The response to a request that failed. Default: a small page with the status and the error's message.
    /// Requests that are rejected before they are complete always get that page.
    fn send_error(&self, request: &Request, error: &Error) -> Response {
        let _ = request;
        Response::from(error)
    }

    /// Called for each response once it is encoded, for a stream once it has ended. Default: logs the record to
    /// `modest::access`. The record holds how many bytes were to be sent, not how many the client received.
    ///
    /// It must not block, nor should the logger behind `log`: one that writes directly to stderr waits for its reader.
    fn log_request(&self, record: &LogRecord<'_>) {
        log::info!(target: "modest::access", "{record}");
    }
}

fn not_implemented(request: &Request) -> Result<Response> {
    Err(Error::new(StatusCode::NOT_IMPLEMENTED, format!("Unsupported method ({})", request.method())))
}

macro_rules! forward {
    ($($pointer:ident),*) => {$(
        impl<H: RequestHandler + ?Sized> RequestHandler for $pointer<H> {
            fn do_get(&self, request: &Request) -> Result<Response> {
                (**self).do_get(request)
            }
            fn do_head(&self, request: &Request) -> Result<Response> {
                (**self).do_head(request)
            }
            fn do_post(&self, request: &Request) -> Result<Response> {
                (**self).do_post(request)
            }
            fn do_put(&self, request: &Request) -> Result<Response> {
                (**self).do_put(request)
            }
            fn do_delete(&self, request: &Request) -> Result<Response> {
                (**self).do_delete(request)
            }
            fn do_patch(&self, request: &Request) -> Result<Response> {
                (**self).do_patch(request)
            }
            fn do_options(&self, request: &Request) -> Result<Response> {
                (**self).do_options(request)
            }
            fn do_other(&self, request: &Request) -> Result<Response> {
                (**self).do_other(request)
            }
            fn handle(&self, request: &Request) -> Result<Response> {
                (**self).handle(request)
            }
            fn before_body(&self, request: &Request) -> Result<(), Error> {
                (**self).before_body(request)
            }
            fn verify_request(&self, client: &Client) -> bool {
                (**self).verify_request(client)
            }
            fn send_error(&self, request: &Request, error: &Error) -> Response {
                (**self).send_error(request, error)
            }
            fn log_request(&self, record: &LogRecord<'_>) {
                (**self).log_request(record)
            }
        }
    )*};
}

forward!(Arc, Box);

/// A closure as a handler: see [`handler_fn`].
#[derive(Clone, Copy)]
#[must_use = "serves nobody until it is given to `TcpServer::bind`"]
pub struct HandlerFn<F>(F);

impl<F> fmt::Debug for HandlerFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandlerFn(..)")
    }
}

/// A handler that calls this closure for every method but CONNECT and TRACE, which are rejected.
///
/// ```no_run
/// use modest::{Response, handler_fn};
///
/// let handler = handler_fn(|request| Ok(Response::text(format!("You asked for {}\n", request.path()))));
/// ```
pub fn handler_fn<F>(closure: F) -> HandlerFn<F>
where
    F: Fn(&Request) -> Result<Response> + Send + Sync + 'static,
{
    HandlerFn(closure)
}

impl<F> RequestHandler for HandlerFn<F>
where
    F: Fn(&Request) -> Result<Response> + Send + Sync + 'static,
{
    fn handle(&self, request: &Request) -> Result<Response> {
        match *request.method() {
            Method::TRACE => not_implemented(request),
            _ => (self.0)(request),
        }
    }
}

/// The record of a response in the access log. Displayed as Python's log line:
/// `127.0.0.1 - - [16/Jun/2022 06:34:59] "GET / HTTP/1.1" 200 -`, in UTC unless an offset is given; with `unix:` in the
/// place of the IP address if the client came by a Unix socket.
///
/// Control characters, quotes and backslashes sent by the client are displayed as `\xNN`, against log injection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogRecord<'a> {
    /// The client.
    pub client: &'a Client,
    /// The request line as sent; U+FFFD for what is not UTF-8; empty if there was none.
    pub request_line: &'a str,
    /// The status of the response.
    pub status: StatusCode,
    /// The length of its body.
    pub bytes: u64,
    /// When the response was begun.
    pub time: SystemTime,
    /// Seconds east of UTC, for display.
    offset: i32,
}

impl<'a> LogRecord<'a> {
    pub(crate) fn new(
        client: &'a Client,
        request_line: &'a str,
        status: StatusCode,
        bytes: u64,
        time: SystemTime,
    ) -> LogRecord<'a> {
        LogRecord { client, request_line, status, bytes, time, offset: 0 }
    }

    /// The same record, displayed in a time zone this many seconds east of UTC.
    pub fn with_offset(mut self, seconds: i32) -> LogRecord<'a> {
        self.offset = seconds;
        self
    }
}

impl fmt::Display for LogRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = Duration::from_secs(self.offset.unsigned_abs().into());
        let local = if self.offset < 0 { self.time.checked_sub(offset) } else { self.time.checked_add(offset) };
        // Cut from `Thu, 16 Jun 2022 06:34:59 GMT`.
        let date = local.and_then(date::write);
        let date = date.as_ref().and_then(|date| std::str::from_utf8(date).ok());
        let date = date.unwrap_or("Thu, 01 Jan 1970 00:00:00 GMT");
        let (day, month, year, time) = (&date[5..7], &date[8..11], &date[12..16], &date[17..25]);
        match self.client.ip() {
            Some(ip) => ip.fmt(f)?,
            None => f.write_str("unix:")?, // as nginx has it
        }
        write!(f, " - - [{day}/{month}/{year} {time}] \"")?;
        write_escaped(f, self.request_line)?;
        write!(f, "\" {} -", self.status.as_u16())
    }
}

/// Escapes C0, DEL, C1, quote and backslash.
fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mut rest = text;
    while let Some(at) = rest.find(|letter: char| letter.is_control() || matches!(letter, '"' | '\\')) {
        f.write_str(&rest[..at])?;
        let letter = rest[at..].chars().next().unwrap_or_default();
        write!(f, "\\x{:02x}", u32::from(letter))?;
        rest = &rest[at + letter.len_utf8()..];
    }
    f.write_str(rest)
}
