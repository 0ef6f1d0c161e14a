//! `Http`: a handler and its configuration, as a `Protocol` for `TcpServer::bind`. It creates an `HttpConnection` for
//! each client.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::config::HttpConfig;
use super::connection::HttpConnection;
use super::handler::{Chain, LogFormat, RequestHandler};
use super::request::Request;
use super::request::room::Place;
use super::responder::Service;
use super::response::fields::common_field;
use super::sent::{self, SentResponse};
use crate::tcp::{Client, Conversation, IntoProtocol, Protocol};

/// A request handler with settings, for [`TcpServer::bind`](crate::TcpServer::bind).
/// A handler passed there by itself is served with the defaults.
///
/// ```
/// use std::time::Duration;
/// use modest::{Http, Response, handler_fn};
///
/// let http = Http::new(handler_fn(|_| Ok(Response::text("Hello, World!\n"))))
///     .idle_timeout(Duration::from_secs(5))
///     .body_limit(1 << 20);
/// ```
#[must_use = "serves nobody until it is given to `TcpServer::bind`"]
pub struct Http<H>(Arc<Service<H>>);

/// A head stays in the input until it is complete, and at most 64 KiB are read ahead.
const MAX_HEAD: usize = 60 * 1024;

impl<H: RequestHandler> Http<H> {
    /// This handler, with default settings.
    pub fn new(handler: H) -> Http<H> {
        Http(Arc::new(Service::new(handler)))
    }

    /// The longest request line, in bytes. Default: 8 KiB; at most 60 KiB. Beyond it: 414.
    pub fn request_line_limit(self, bytes: usize) -> Http<H> {
        self.with(|config| config.head.line = bytes.min(MAX_HEAD))
    }

    /// The longest head, request line and fields, in bytes. Default: 32 KiB; at most 60 KiB.
    /// Beyond it: 431.
    pub fn head_limit(self, bytes: usize) -> Http<H> {
        self.with(|config| config.head.head = bytes.min(MAX_HEAD))
    }

    /// The largest number of field lines. Default: 100. Beyond it: 431.
    pub fn field_limit(self, number: usize) -> Http<H> {
        self.with(|config| config.head.fields = number)
    }

    /// The longest body, in bytes. Default: 16 MiB; `None`: no limit but
    /// [`body_quota`](Http::body_quota). Beyond it: 413, from the head if that has the length.
    pub fn body_limit(self, bytes: impl Into<Option<u64>>) -> Http<H> {
        let bytes = bytes.into().unwrap_or(u64::MAX);
        self.with(|config| config.body.body = bytes)
    }

    /// How much of a body is kept in memory, in bytes. Default: 64 KiB. A longer body is written, whole, to an unnamed
    /// temporary file, which handlers do not notice.
    pub fn body_memory(self, bytes: usize) -> Http<H> {
        self.with(|config| config.body.memory = bytes)
    }

    /// The folder of those temporary files. Default: `/var/tmp`. Preferably not a file system in memory.
    pub fn body_folder(self, folder: impl Into<PathBuf>) -> Http<H> {
        let folder = folder.into();
        self.with(|config| config.body.folder = Arc::new(folder))
    }

    /// How much memory all bodies of this server that are kept in memory may use together, in bytes. Default: 256 MiB;
    /// `None`: no limit. When it is full, further bodies go to temporary files, however short they are.
    ///
    /// A body has its room until its request is answered: all of its Content-Length from when it is accepted, or else as
    /// much as has come.
    pub fn body_memory_quota(self, bytes: impl Into<Option<u64>>) -> Http<H> {
        let bytes = bytes.into().unwrap_or(u64::MAX);
        self.with(|config| config.body.rooms = config.body.rooms.with_limit(Place::Memory, bytes))
    }

    /// How much all bodies of this server in temporary files may use together, in bytes. Default: 1 GiB; `None`: no
    /// limit. Beyond it the response is 507, with `Retry-After`: from the head if that has the length, for then there is
    /// room for all of it or it is not accepted. Bodies in memory have a room of their own:
    /// [`body_memory_quota`](Http::body_memory_quota).
    ///
    /// The largest body should be a small part of it, as a client that sends one slowly has its room all the while.
    pub fn body_quota(self, bytes: impl Into<Option<u64>>) -> Http<H> {
        let bytes = bytes.into().unwrap_or(u64::MAX);
        self.with(|config| config.body.rooms = config.body.rooms.with_limit(Place::File, bytes))
    }

    /// How long a connection may be idle before a request. Default: 60 seconds; `None`: for ever.
    /// From when it was accepted, or from the last byte of a response, to the first byte of the next request.
    /// Then it is closed without a response.
    pub fn idle_timeout(self, limit: impl Into<Option<Duration>>) -> Http<H> {
        let limit = limit.into();
        self.with(|config| config.idle_timeout = limit)
    }

    /// How long a head may take, from its first byte to its last. Default: 10 seconds; `None`: no limit.
    /// Then the response is 408.
    pub fn head_timeout(self, limit: impl Into<Option<Duration>>) -> Http<H> {
        let limit = limit.into();
        self.with(|config| config.head_timeout = limit)
    }

    /// How long a whole body may take. Default: no limit but [`TcpServer::min_rate`](crate::TcpServer::min_rate), so
    /// that slow clients may send long ones. Then the response is 408.
    pub fn body_timeout(self, limit: impl Into<Option<Duration>>) -> Http<H> {
        let limit = limit.into();
        self.with(|config| config.body_timeout = limit)
    }

    /// Whether bodies in chunked transfer coding, of unknown length, are accepted. Default: yes.
    /// Otherwise the response is 411.
    pub fn chunked_bodies(self, take: bool) -> Http<H> {
        self.with(|config| config.chunked_bodies = take)
    }

    /// Whether a path with repeated slashes (`/a//b`) or an encoded slash (`/a%2Fb`) is redirected or rejected before a handler is
    /// called. Default: yes. With `false` handlers are called: [`Request::path`] has each of them as one slash (`/a/b`), so routes, mounts
    /// and rights apply to that path, and [`Request::raw_path`] is the path as sent. Dot segments are redirected in any case.
    ///
    /// ```
    /// use modest::{Http, Request, Response, handler_fn};
    ///
    /// let http = Http::new(handler_fn(|request| Ok(Response::text(request.path())))).strict_paths(false);
    /// assert_eq!(http.respond(&Request::get("/a//b%2Fc")).text(), "/a/b/c");
    /// assert_eq!(http.respond(&Request::get("/a/../b")).status(), 301);
    /// ```
    pub fn strict_paths(self, strict: bool) -> Http<H> {
        self.with(|config| config.strict_paths = strict)
    }

    /// Whether connections persist for further requests, where the client allows it. Default: yes.
    pub fn keep_alive(self, keep: bool) -> Http<H> {
        self.with(|config| config.keep_alive = keep)
    }

    /// How many requests a connection may have. Default: no limit. The last response says `Connection: close`.
    ///
    /// # Panics
    /// If it is 0.
    pub fn max_requests(self, number: impl Into<Option<u32>>) -> Http<H> {
        let number = number.into();
        assert!(number != Some(0), "a connection needs at least one request");
        self.with(|config| config.max_requests = number)
    }

    /// How old a connection may grow, from its first request on. Default: no limit. The first response after that says
    /// `Connection: close`: so clients spread anew over servers behind one address. A connection without requests is
    /// ended by [`idle_timeout`](Http::idle_timeout) alone, as a request may be on its way.
    pub fn max_connection_age(self, limit: impl Into<Option<Duration>>) -> Http<H> {
        let limit = limit.into();
        self.with(|config| config.max_connection_age = limit)
    }

    /// The `Server` field of every response. Default: `modest`; `None` leaves it out.
    ///
    /// ```
    /// use modest::{Http, Request, Response, handler_fn};
    ///
    /// let hello = handler_fn(|_| Ok(Response::text("Hello")));
    /// let http = Http::new(hello).server("Mine");
    /// assert_eq!(http.respond(&Request::get("/")).header("server"), Some("Mine"));
    /// assert_eq!(http.server(None).respond(&Request::get("/")).header("server"), None);
    /// ```
    ///
    /// # Panics
    /// If no field can have that value: if it holds a control character.
    #[doc(alias = "server_version")]
    pub fn server<'a>(self, name: impl Into<Option<&'a str>>) -> Http<H> {
        let name = name.into().map(|name| match HeaderValue::from_str(name) {
            Ok(value) => value,
            Err(_) => panic!("{name:?} can't be the value of a field"),
        });
        self.with(|config| config.server = name)
    }

    /// A field for every response: of handlers, of layers, and of the server itself, for heads that could not be read, too. A
    /// response that has a field of that name itself keeps its own; but `Content-Security-Policy` (also `-Report-Only`), `Link`,
    /// `Set-Cookie` and `Vary` are sent beside it. A second one of the same name is added to the first.
    ///
    /// ```
    /// use modest::{Http, Request, Response, handler_fn};
    ///
    /// let http = Http::new(handler_fn(|_| Ok(Response::text("Hello")))).header("X-Frame-Options", "DENY")?;
    /// assert_eq!(http.respond(&Request::get("/")).header("x-frame-options"), Some("DENY"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// If it is invalid, or derived from each response, as `Content-Type` and `Content-Length` are.
    pub fn header(self, name: &str, value: &str) -> io::Result<Http<H>> {
        let field = common_field(name, value)?;
        Ok(self.with(|config| config.fields.push(field)))
    }

    /// How responses are logged: a line each, to the `log` target `modest::access`, at level `Info`. Default:
    /// [`LogFormat::Python`]; `None`: not at all. A line of one's own is written by
    /// [`RequestHandler::log_request`](crate::RequestHandler::log_request).
    pub fn access_log(self, format: impl Into<Option<LogFormat>>) -> Http<H> {
        let format = format.into();
        self.with(|config| config.access_log = format)
    }

    /// The response to a request, as it would be sent but without a socket: with error pages, conditions and ranges, and
    /// the server's own fields. For tests; see also [`testing`](crate::testing), which does have a socket.
    ///
    /// A body that the request has is taken as it is, whatever the limits. Nobody is asked about the client
    /// ([`RequestHandler::verify_client`](crate::RequestHandler::verify_client)), and nothing is logged as an access. A stream is
    /// read to its end.
    ///
    /// ```
    /// use modest::{Error, Http, Request, Response, handler_fn};
    ///
    /// let http = Http::new(handler_fn(|request| match request.path() {
    ///     "/" => Ok(Response::text("hello\n")),
    ///     _ => Err(Error::new(404, "nothing is at this path")),
    /// }));
    /// assert_eq!(http.respond(&Request::get("/")).text(), "hello\n");
    /// assert_eq!(http.respond(&Request::get("/a")).status(), 404);
    /// ```
    ///
    /// # Panics
    /// If a stream breaks off, as the response would.
    pub fn respond(&self, request: &Request) -> SentResponse {
        if !self.0.config.strict_paths {
            request.set_lenient_path();
        }
        sent::respond(&self.0.responder(), &self.0.config, request)
    }

    /// Settings are changed before there are connections: nothing shares them yet.
    fn with(mut self, change: impl FnOnce(&mut HttpConfig)) -> Http<H> {
        if let Some(service) = Arc::get_mut(&mut self.0) {
            change(&mut service.config);
        }
        self
    }
}

impl<H: RequestHandler> Protocol for Http<H> {
    fn meet(&self, client: &Client) -> Option<Box<dyn Conversation>> {
        Chain(&self.0.handler)
            .verify_client(client)
            .then(|| Box::new(HttpConnection::new(self.0.clone())) as Box<dyn Conversation>)
    }
}

impl<H: RequestHandler> IntoProtocol for Http<H> {
    type Protocol = Http<H>;

    fn into_protocol(self) -> Http<H> {
        self
    }
}

impl<H: RequestHandler> IntoProtocol for H {
    type Protocol = Http<H>;

    fn into_protocol(self) -> Http<H> {
        Http::new(self)
    }
}

impl<H> fmt::Debug for Http<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("head", &self.0.config.head).field("body", &self.0.config.body).finish()
    }
}
