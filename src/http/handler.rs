//! What a user writes: the handler of requests, and what is told to its access log.
//! Called by `conversation`, inside a slot where it says so; uses `request`, `response` and `error` as its words.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};

use super::date;
use super::error::Error;
use super::request::Request;
use super::response::{Response, Result};
use crate::tcp::Client;

/// Answers requests (Python's `BaseHTTPRequestHandler`). One value serves all clients, on all workers at once:
/// what it shares stands in its fields.
///
/// To write: the `do_` methods you serve; the others answer 501.
/// To change if you like: `before_body`, `verify_request`, `send_error`, `log_request`, and `handle`, which calls the
/// right `do_` method.
///
/// The `do_` methods, `handle`, `before_body` and `send_error` may block: they hold one of the server's slots
/// while they run. `verify_request` and `log_request` must not: they run without one.
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
    /// Answers GET. 501 unless written.
    fn do_get(&self, request: &Request) -> Result<Response> {
        not_implemented(request)
    }

    /// Answers HEAD: as GET unless written; the body is left out when the answer is sent.
    fn do_head(&self, request: &Request) -> Result<Response> {
        self.do_get(request)
    }

    /// Answers POST. 501 unless written.
    fn do_post(&self, request: &Request) -> Result<Response> {
        not_implemented(request)
    }

    /// Answers PUT. 501 unless written.
    fn do_put(&self, request: &Request) -> Result<Response> {
        not_implemented(request)
    }

    /// Answers DELETE. 501 unless written.
    fn do_delete(&self, request: &Request) -> Result<Response> {
        not_implemented(request)
    }

    /// Answers PATCH. 501 unless written.
    fn do_patch(&self, request: &Request) -> Result<Response> {
        not_implemented(request)
    }

    /// Answers OPTIONS of a path. 501 unless written. `OPTIONS *` is answered by the server itself.
    fn do_options(&self, request: &Request) -> Result<Response> {
        not_implemented(request)
    }

    /// Answers any other method, also those nobody has heard of. 501 unless written. CONNECT never comes here.
    fn do_other(&self, request: &Request) -> Result<Response> {
        not_implemented(request)
    }

    /// Calls the `do_` method for the request's method. Methods are case-sensitive: `get` is another method.
    ///
    /// Written by yourself, it gets HEAD as well: treat it as GET, the body is left out when the answer is sent.
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

    /// Judges a request that has a body from its head alone, before the body is taken in and before
    /// `100 Continue` is sent (Python's `handle_expect_100`). An error is the answer. All are taken unless written.
    fn before_body(&self, request: &Request) -> Result<(), Error> {
        let _ = request;
        Ok(())
    }

    /// Whether to talk with this client at all; asked before a byte is read. It must not block.
    fn verify_request(&self, client: &Client) -> bool {
        let _ = client;
        true
    }

    /// The answer to a request that failed: a small page with the status and the error's message unless written.
    /// Requests that are refused before they are whole are answered with that page whatever is written here.
    fn send_error(&self, request: &Request, error: &Error) -> Response {
        let _ = request;
        Response::from(error)
    }

    /// Told of each answer once it is laid out to be sent, of a stream once it has ended: logs the record to
    /// `modest::access` unless written. How many bytes were to be sent it says; whether the client took them it can't know.
    ///
    /// It must not block, nor should the logger behind `log`: one that writes straight to stderr waits for whoever reads that.
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

/// A closure as a handler: see [`answer`].
#[derive(Clone, Copy)]
#[must_use = "serves nobody until it is given to `TcpServer::bind`"]
pub struct Answer<F>(F);

impl<F> fmt::Debug for Answer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer(..)")
    }
}

/// A handler that answers every method (but CONNECT, and TRACE, which is refused) with this closure.
///
/// ```no_run
/// use modest::{Response, answer};
///
/// let handler = answer(|request| Ok(Response::text(format!("You asked for {}\n", request.path()))));
/// ```
pub fn answer<F>(closure: F) -> Answer<F>
where
    F: Fn(&Request) -> Result<Response> + Send + Sync + 'static,
{
    Answer(closure)
}

impl<F> RequestHandler for Answer<F>
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

/// What the access log is told of an answer. Displayed it is Python's line:
/// `127.0.0.1 - - [16/Jun/2022 06:34:59] "GET / HTTP/1.1" 200 -`, the time in UTC unless an offset is given.
///
/// Control characters, quotes and back-slashes in what the client sent are displayed as `\xNN`: no line can be forged.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogRecord<'a> {
    /// Who asked.
    pub client: &'a Client,
    /// The request line as it was sent; U+FFFD for what is not UTF-8; empty if nothing like one came.
    pub request_line: &'a str,
    /// The answer's status.
    pub status: StatusCode,
    /// How many bytes of body it had.
    pub bytes: u64,
    /// When the answer was begun.
    pub time: SystemTime,
    /// Seconds east of UTC, for the time displayed.
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

    /// The same, its time displayed so many seconds east of UTC.
    pub fn with_offset(mut self, seconds: i32) -> LogRecord<'a> {
        self.offset = seconds;
        self
    }
}

impl fmt::Display for LogRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = Duration::from_secs(self.offset.unsigned_abs().into());
        let local = if self.offset < 0 { self.time.checked_sub(offset) } else { self.time.checked_add(offset) };
        // `Thu, 16 Jun 2022 06:34:59 GMT` holds all that is wanted.
        let date = local.and_then(date::write);
        let date = date.as_ref().and_then(|date| std::str::from_utf8(date).ok());
        let date = date.unwrap_or("Thu, 01 Jan 1970 00:00:00 GMT");
        let (day, month, year, time) = (&date[5..7], &date[8..11], &date[12..16], &date[17..25]);
        write!(f, "{} - - [{day}/{month}/{year} {time}] \"", self.client.ip())?;
        write_escaped(f, self.request_line)?;
        write!(f, "\" {} -", self.status.as_u16())
    }
}

/// C0, DEL, C1, quote and back-slash are not shown as they are.
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
