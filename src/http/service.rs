//! `Http`: a handler and its configuration, as a `Protocol` for `TcpServer::bind`. It creates an `HttpConnection` for
//! each client.

use std::any::Any;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderValue;

use super::config::HttpConfig;
use super::connection::HttpConnection;
use super::date;
use super::handler::{Depth, LogFormat, RequestHandler};
use super::request::Request;
use super::request::quotas::{Medium, memory_quota};
use super::responder::Service;
use super::response::fields::common_field;
use super::response::{Response, Result};
use super::sent::{self, SentResponse};
use crate::tcp::{Client, Conversation, IntoProtocol, Protocol};

/// A request handler with settings, for [`TcpServer::bind`](crate::TcpServer::bind). If a handler itself is passed
/// there, it is served with the default settings. Connections, workers, the queue and the shutdown are settings of
/// [`TcpServer`](crate::TcpServer).
///
/// ```
/// use std::time::Duration;
/// use modest::{Http, Response, handler_fn};
///
/// let http = Http::new(handler_fn(|_| Ok(Response::text("Hello, World!\n"))))
///     .idle_timeout(Duration::from_secs(5))
///     .body_limit(1 << 20);
/// ```
#[must_use = "serves no client until it is passed to `TcpServer::bind`"]
pub struct Http<H>(Arc<Service>, PhantomData<fn() -> H>);

/// The maximum of the limits for heads: a head stays in the input until it is complete, and up to 64 KiB are read
/// ahead.
const MAX_HEAD: usize = 60 * 1024;

/// The response to a client that does not use TLS at a port that requires it, after its status line and its date.
const WITHOUT_TLS: &str = "content-type: text/plain; charset=utf-8\r\n\
    content-length: 49\r\ncache-control: no-store\r\nconnection: close\r\n\r\n\
    This port serves HTTPS: use a URL with https://.\n";

impl<H: RequestHandler> Http<H> {
    /// Creates a service of this handler with default settings.
    pub fn new(handler: H) -> Http<H> {
        Http(Arc::new(Service::new(handler)), PhantomData)
    }

    /// Sets the maximum length of the request line in bytes; a longer one gets 414. Default: 8 KiB; maximum: 60 KiB.
    pub fn request_line_limit(self, bytes: usize) -> Http<H> {
        self.with(|config| config.head.line = bytes.min(MAX_HEAD))
    }

    /// Sets the maximum length of the head (request line and fields) in bytes; a longer one gets 431. Default: 32 KiB;
    /// maximum: 60 KiB.
    pub fn head_limit(self, bytes: usize) -> Http<H> {
        self.with(|config| config.head.head = bytes.min(MAX_HEAD))
    }

    /// Sets the maximum number of field lines; a request with more gets 431. Default: 100.
    pub fn max_fields(self, number: usize) -> Http<H> {
        self.with(|config| config.head.fields = number)
    }

    /// Sets the maximum length of a body in bytes; a longer one gets 413, before it is read if the head has its length.
    /// Default: 16 MiB; `None`: no limit except [`body_quota`](Http::body_quota).
    pub fn body_limit(self, bytes: impl Into<Option<u64>>) -> Http<H> {
        self.with(|config| config.body.body = bytes.into().unwrap_or(u64::MAX))
    }

    /// Sets how many bytes of a body are kept in memory; a longer body is written to an unnamed temporary file.
    /// Default: 64 KiB. Handlers see no difference.
    pub fn body_memory(self, bytes: usize) -> Http<H> {
        self.with(|config| config.body.memory = bytes)
    }

    /// Sets the folder of temporary files for bodies. Default: `/var/tmp`. Do not use a file system in memory.
    pub fn body_folder(self, folder: impl Into<PathBuf>) -> Http<H> {
        self.with(|config| config.body.folder = Arc::new(folder.into()))
    }

    /// Sets how many bytes all bodies in memory can use together; then even short bodies go to temporary files.
    /// Default: an eighth of the [memory](Http::memory), at most 256 MiB; `None`: no limit.
    ///
    /// Bodies in files are then written without delay.
    ///
    /// A body counts from when it is accepted until its response is sent, with its Content-Length. Without a
    /// Content-Length, the bytes that have arrived count.
    pub fn body_memory_quota(self, bytes: impl Into<Option<u64>>) -> Http<H> {
        let bytes = bytes.into().unwrap_or(u64::MAX);
        self.with(|config| config.body.quotas = config.body.quotas.with_limit(Medium::Memory, bytes))
    }

    /// Sets how many bytes all bodies in temporary files can use together; then further requests get 507 with
    /// `Retry-After`. Default: 1 GiB; `None`: no limit.
    ///
    /// If the head contains the length of the body, and there is no room for all of it, the request is rejected before
    /// the body is read. Otherwise the first 16 MiB are reserved at once, and the rest as it arrives. Bodies in memory
    /// have a quota of their own: [`body_memory_quota`](Http::body_memory_quota).
    ///
    /// Set the maximum body length to a small part of the quota, because a client that sends a body slowly keeps its
    /// reservation for that time.
    pub fn body_quota(self, bytes: impl Into<Option<u64>>) -> Http<H> {
        let bytes = bytes.into().unwrap_or(u64::MAX);
        self.with(|config| config.body.quotas = config.body.quotas.with_limit(Medium::File, bytes))
    }

    /// Sets the memory, in bytes, from which the default of [`body_memory_quota`](Http::body_memory_quota) is computed.
    /// Default: [`available_memory()`](crate::available_memory). This also sets that quota, so call it before
    /// `body_memory_quota`.
    pub fn memory(self, bytes: u64) -> Http<H> {
        self.body_memory_quota(memory_quota(bytes))
    }

    /// Sets how long a connection can be idle before a request; then it is closed without a response. Default: 60
    /// seconds; `None`: no limit. The time is counted from the accept or from the last byte of a response to the first
    /// byte of the next request.
    pub fn idle_timeout(self, limit: impl Into<Option<Duration>>) -> Http<H> {
        self.with(|config| config.idle_timeout = limit.into())
    }

    /// Sets how long a head can take, from its first byte to its last; then the client gets 408. Default: 10 seconds;
    /// `None`: no limit.
    pub fn head_timeout(self, limit: impl Into<Option<Duration>>) -> Http<H> {
        self.with(|config| config.head_timeout = limit.into())
    }

    /// Sets how long a whole body can take; then the client gets 408. Default: no limit except
    /// [`TcpServer::min_rate`](crate::TcpServer::min_rate). Slow clients can then send long bodies.
    pub fn body_timeout(self, limit: impl Into<Option<Duration>>) -> Http<H> {
        self.with(|config| config.body_timeout = limit.into())
    }

    /// Sets whether bodies in chunked transfer coding, of unknown length, are accepted; otherwise they get 411.
    /// Default: true.
    pub fn chunked_bodies(self, take: bool) -> Http<H> {
        self.with(|config| config.chunked_bodies = take)
    }

    /// Sets whether lines of a head can end in LF without CR; otherwise such a request gets 400. Default: false. RFC
    /// 9112, section 2.2, permits this for simple clients. Chunks and their trailers always need CRLF. Leave it off
    /// behind a proxy: if the two disagree about the end of a head, an attacker can make them disagree about where a
    /// request begins.
    pub fn accept_bare_lf(self, accept: bool) -> Http<H> {
        self.with(|config| config.head.bare_lf = accept)
    }

    /// Sets the closure that responds to CONNECT, for a program that is a proxy. Default: 501. It returns
    /// [`Response::tunnel`](crate::Response::tunnel) or an error. [`Request::host`](crate::Request::host) is the
    /// destination, with its port. No handler and no layer gets CONNECT, so the closure must check which clients can
    /// connect to which destinations: an unrestricted proxy opens its network to everyone. The closure may block.
    ///
    /// ```
    /// use std::io;
    /// use std::net::TcpStream;
    /// use std::thread;
    /// use modest::{Error, Http, OrStatus, Response, handler_fn};
    ///
    /// let http = Http::new(handler_fn(|_| Err(Error::new(404, "only CONNECT")))).on_connect(|request| {
    ///     let destination = request.host().filter(|host| *host == "example.org:443").or_status(403)?;
    ///     let to = TcpStream::connect(destination).and_then(|to| Ok((to.try_clone()?, to)));
    ///     let (mut to, mut from) = to.or_status(502)?;
    ///     Ok(Response::tunnel(move |mut stream| {
    ///         let mut back = stream.writer();
    ///         let answers = thread::spawn(move || {
    ///             io::copy(&mut from, &mut back).and_then(|_| back.shutdown(std::net::Shutdown::Both))
    ///         });
    ///         let _ = io::copy(&mut stream, &mut to).and_then(|_| to.shutdown(std::net::Shutdown::Write));
    ///         let _ = answers.join(); // the stream ends after its writer
    ///     }))
    /// });
    /// # let _ = http;
    /// ```
    pub fn on_connect<F>(self, connect: F) -> Http<H>
    where
        F: Fn(&Request) -> Result<Response> + Send + Sync + 'static,
    {
        self.with(|config| config.on_connect = Some(Arc::new(connect)))
    }

    /// Sets whether a path with repeated slashes (`/a//b`) is redirected, and one with an encoded slash (`/a%2Fb`) gets
    /// 404, before a handler is called. Default: true.
    ///
    /// With `false`, handlers are called for such paths. [`Request::path`] has a single slash in each of these places
    /// (`/a/b`), so routes, mounts and rights apply to that path. [`Request::raw_path`] is the path as sent. Dot
    /// segments are still redirected.
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

    /// Sets a closure that can replace the path (and query) of a request before any handler or layer is called.
    /// Default: none. The new path is parsed like a received one. Rights, routes and mounts apply to the new path only.
    ///
    /// The closure may block. [`Request::target`] and the access log keep the target as sent. A new path that is not
    /// canonical is redirected or rejected like a received one. If the result is not a path, the response is a 500, and
    /// the cause is logged. The closure is not called for `OPTIONS *`.
    ///
    /// ```
    /// use modest::{Http, Request, Response, handler_fn};
    ///
    /// let app = handler_fn(|request| Ok(Response::text(format!("{} {:?}", request.path(), request.param("lang")))));
    /// let http = Http::new(app).rewrite(|request| {
    ///     let rest = request.raw_path().strip_prefix("/de/")?;
    ///     Some(format!("/{rest}?lang=de"))
    /// });
    /// assert_eq!(http.respond(&Request::get("/de/notes")).text(), r#"/notes Some("de")"#);
    /// assert_eq!(http.respond(&Request::get("/notes")).text(), "/notes None");
    /// ```
    pub fn rewrite(self, rewrite: impl Fn(&Request) -> Option<String> + Send + Sync + 'static) -> Http<H> {
        self.with(|config| config.rewrite = Some(Arc::new(rewrite)))
    }

    /// Sets whether connections are kept for further requests if the client allows it. Default: true.
    pub fn keep_alive(self, keep: bool) -> Http<H> {
        self.with(|config| config.keep_alive = keep)
    }

    /// Sets how many requests a connection can have; the last response has `Connection: close`. Default: no limit.
    ///
    /// # Panics
    /// If it is 0.
    pub fn max_requests(self, number: impl Into<Option<u32>>) -> Http<H> {
        let number = number.into();
        assert!(number != Some(0), "a connection needs at least one request");
        self.with(|config| config.max_requests = number)
    }

    /// Sets the maximum age of a connection, counted from its first request; the next response has `Connection: close`.
    /// Default: no limit. Clients then reconnect and are distributed over the servers behind one address. The age does
    /// not end a connection without requests, because a request may be on its way;
    /// [`idle_timeout`](Http::idle_timeout) does.
    pub fn max_connection_age(self, limit: impl Into<Option<Duration>>) -> Http<H> {
        self.with(|config| config.max_connection_age = limit.into())
    }

    /// Sets the `Server` field of every response. Default: `modest`; `None` leaves it out.
    ///
    /// ```
    /// use modest::{Http, Request, Response, handler_fn};
    ///
    /// let hello = handler_fn(|_| Ok(Response::text("Hello")));
    /// let http = Http::new(hello).server_header("Mine");
    /// assert_eq!(http.respond(&Request::get("/")).header("server"), Some("Mine"));
    /// assert_eq!(http.server_header(None).respond(&Request::get("/")).header("server"), None);
    /// ```
    ///
    /// # Panics
    /// If the value contains a control character.
    #[doc(alias = "server_version")]
    pub fn server_header<'a>(self, name: impl Into<Option<&'a str>>) -> Http<H> {
        let name = name.into().map(|name| match HeaderValue::from_str(name) {
            Ok(value) => value,
            Err(_) => panic!("{name:?} can't be the value of a field"),
        });
        self.with(|config| config.server = name)
    }

    /// Adds a field to every response: of handlers, of layers, and of the server itself, including rejections of
    /// invalid heads. Default: none. A response that has its own field of that name keeps it, except that
    /// `Content-Security-Policy` (also `-Report-Only`), `Link`, `Set-Cookie` and `Vary` are sent in addition. A second
    /// call with the same name adds another value. The 400 to a client that does not use TLS at a port that requires it
    /// has neither these fields nor `Server`.
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
    /// If the field is invalid, or depends on each response, as `Content-Type` and `Content-Length` do.
    pub fn header(self, name: &str, value: &str) -> io::Result<Http<H>> {
        let field = common_field(name, value)?;
        Ok(self.with(|config| config.fields.push(field)))
    }

    /// Sets the format of the access log ([`LogFormat`]), one line per request. Default: the format of the
    /// [`Logger`](crate::Logger), or else [`LogFormat::Python`]; `None`: no access log. The lines have the `log` target
    /// `modest::access` and the level `Info`. For a line of your own use
    /// [`RequestHandler::log_request`](crate::RequestHandler::log_request), which is called in any case.
    pub fn access_log(self, format: impl Into<Option<LogFormat>>) -> Http<H> {
        let format = format.into();
        self.with(|config| config.access_log = format.into())
    }

    /// Returns the response to a request as it would be sent, without a socket: with error pages, conditions and
    /// ranges, and the server's own fields. For tests. [`testing`](crate::testing) has a server with a socket.
    ///
    /// The limits on the request's body do not apply.
    /// [`RequestHandler::verify_client`](crate::RequestHandler::verify_client) is not called, and there is no access
    /// log. A stream is read to its end; of an event stream, the queued events are returned.
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
    /// If a stream fails, which would reset the connection. If the handler waits, changes the protocol, or returns a
    /// body that other threads push and have not ended: these need a connection.
    pub fn respond(&self, request: &Request) -> SentResponse {
        sent::respond(&self.0, request)
    }

    /// Changes a setting. There are no connections yet, so the settings are not shared.
    fn with(mut self, change: impl FnOnce(&mut HttpConfig)) -> Http<H> {
        if let Some(service) = Arc::get_mut(&mut self.0) {
            change(&mut service.config);
        }
        self
    }
}

impl<H: RequestHandler> Protocol for Http<H> {
    fn meet(&self, client: &Client) -> Option<Box<dyn Conversation>> {
        let is_accepted = self.0.handler.chain_verify_client(client, Depth::OUTERMOST);
        is_accepted.then(|| Box::new(HttpConnection::new(self.0.clone())) as Box<dyn Conversation>)
    }

    fn application_protocols(&self) -> &'static [&'static str] {
        &["http/1.1", "http/1.0"]
    }

    /// The request is not read, because it may be incomplete. Methods are in capitals.
    fn response_without_tls(&self, first: u8, now: SystemTime) -> Option<Vec<u8>> {
        let date = date::text(now).map(|date| format!("date: {date}\r\n")).unwrap_or_default();
        first.is_ascii_uppercase().then(|| format!("HTTP/1.1 400 Bad Request\r\n{date}{WITHOUT_TLS}").into_bytes())
    }

    fn shared_settings(&self) -> Option<&(dyn Any + Send + Sync)> {
        Some(&self.0.config.access_log)
    }

    fn take_over(&self, settings: &(dyn Any + Send + Sync)) {
        if let Some(access_log) = settings.downcast_ref() {
            self.0.config.access_log.take_over(access_log);
        }
    }
}

into_itself!(Http<H: RequestHandler>);

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
