//! A reverse proxy as a handler: another HTTP/1.1 server responds to its requests. It is on the same level as `files`
//! and `layers`. A connection to that server is used again only if nothing of an earlier exchange can be left on it,
//! so no response can reach the wrong client. Each module uses only those below it.

mod tunnel; // bytes in both directions after a 101
mod paths; // the paths of one side on the other
mod exchange; // one request to the backend
mod connector; // new connections, and their threads
mod pool; // connections for further requests
mod upstream; // a connection to the backend
mod events; // the events of a pooled connection
mod failure; // the reasons for a missing response
mod fields; // the fields that each side gets
mod backend; // the address of a backend

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::header;

use crate::http::live::{BackendWait, PassedOn, Wait};
use crate::http::{Live, LiveKind};
use crate::log_limit::LogLimit;
use crate::mutex::lock;
use crate::{
    BodyPlan, Error, HeaderName, HeaderValue, Method, Request, RequestHandler, Response, Result, StatusCode, UrlPath,
};
use backend::Backend;
use connector::Connector;
use exchange::{BackendRequest, BackendResponse, Exchange, Pending};
use failure::Failure;
use pool::ConnectionPool;

/// A reverse proxy: a handler that passes requests on to another HTTP/1.1 server, the backend. Use it during
/// development, or for an application beside a folder.
///
/// The body of a request is received completely before the request is sent to the backend. It is stored in memory or in
/// an unnamed file, up to [`body_limit`](ReverseProxy::body_limit) and within
/// [`Http::body_quota`](crate::Http::body_quota). The body of a response is passed on as it arrives. No worker is held
/// by a client that sends slowly, or by a backend that computes, sends slowly, does not read, or is silent in an event
/// stream. A request on a connection of its own has a thread. One on a pooled connection has a thread only while it
/// continues a response that is longer than 32 KiB, is an event stream, or is not complete 5 to 20 ms after its head.
/// WebSockets and other upgrades are connections with two threads
/// ([`TcpServer::max_streams`](crate::TcpServer::max_streams)).
///
/// - *Path*: the backend gets the whole path, so `/api/x` stays `/api/x`. If the backend's URL has a path, it
///   replaces that of the [mount](crate::Routes::mount): with `http://127.0.0.1:3000/`, `/api/x` becomes `/x`.
/// - *Host*: the backend gets the client's `Host`, so that its redirects and its checks of origins and names use the
///   address that the client uses. An empty `Host` stays empty.
/// - *Fields* that concern one connection (RFC 9110, section 7.6.1) are left out. `Forwarded`, `X-Forwarded-For`,
///   `X-Forwarded-Host`, `X-Forwarded-Proto` and `X-Real-IP` are set from the data of this server (see
///   [`TrustedProxies`](crate::layers::TrustedProxies)). The client's values are dropped, not extended, as are all
///   other `X-Forwarded-*`, `Proxy`, `X-Client-IP`, `X-Original-URL` and similar fields. `Via` is added.
/// - *Conditions*: the backend evaluates `If-None-Match`, `Range` and the like. Its response is not changed because of
///   them.
/// - *Ambiguous paths*: a segment with a backslash, or one that begins with `;`, `.;` or `..;`, is a 404, because some
///   servers remove `;` with the rest of the segment, or treat a backslash as a slash.
/// - *Methods* are passed on unchanged. A backend should not treat `get` as `GET`, because for rights these are two
///   methods. `X-HTTP-Method-Override`, `X-HTTP-Method`, `X-Method-Override` and `X-Method` are passed on with POST
///   only. `PathRights` also checks the methods in these fields.
/// - *Destination* (WebDAV) is rewritten like the path. A destination outside the mount is a 502.
/// - *Location* and *Content-Location* of a response are rewritten to paths of this server, if they are paths, or URLs
///   of the client's `Host` or of the backend. A path that begins with the mount's path is left unchanged, unless the
///   path in the backend's URL is longer than that of the mount. `Set-Cookie` is left unchanged.
/// - *Other sites*: if [`Authorization`](ReverseProxy::authorization) is not passed on, a request that changes
///   something, or a WebSocket, gets 403 if a page of another site sent it. The same holds for users that another layer
///   has identified, such as those of a session.
/// - *Upgraded connections*: a client that reads too slowly is disconnected, as with a response
///   ([`TcpServer::write_timeout`](crate::TcpServer::write_timeout), [`min_rate`](crate::TcpServer::min_rate)).
/// - *Disconnected clients*: the request to the backend is ended. A client that has only closed its sending side can
///   read the rest of a response, unless the backend sends nothing for 10 seconds.
/// - *Errors*: 502 if the backend does not accept connections, ends without a response, or sends something that is not
///   a valid response of HTTP/1.1 or 1.0; 504 if it takes too long; 503 if too many requests are in progress, or if
///   there is no descriptor for a connection, or no thread; 429 if too many of these are from one address. If the
///   backend ends in the middle of a response, or pauses there for too long, the client's connection is reset.
/// - *Several proxies*: a request is passed on only once. A handler that passes it to a second `ReverseProxy`, or to
///   the same one after its response, gets an error that becomes a 500. A handler that passes on a request that it has
///   created itself (such as [`Request::post`]) gets the same error, and so does
///   [`Http::respond`](crate::Http::respond): no connection can wait for the response there.
/// - *Framing*: a response with two different lengths, an unknown transfer coding or lines that do not end in CRLF is a
///   502, so that this server and its clients never see different ends of a body. A response after more than 256 KiB of
///   interim responses (1xx) is also a 502.
/// - *Connections*: only GET, HEAD and OPTIONS share connections to the backend: without a body, an upgrade, an
///   `Authorization` other than Basic, Bearer and Digest, or a head of over 4 KiB. The connection is kept if the
///   response is HTTP/1.1, without `Connection: close` and `WWW-Authenticate`, its status is 2xx, 3xx or 404, its own
///   fields determine where it ends, and no byte follows it. Any other request has a connection of its own. A request
///   that fails on a pooled connection before the first byte of its response is sent once more, on a new one.
///
/// ```no_run
/// use modest::{ReverseProxy, Routes, StaticFileHandler, TcpServer};
///
/// let app = Routes::new()
///     .mount("/api", ReverseProxy::new("http://127.0.0.1:3000")?)
///     .fallback(StaticFileHandler::new("dist")?)
///     .with_state(());
/// TcpServer::bind("127.0.0.1:8000", app)?.serve_forever()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct ReverseProxy {
    connector: Arc<Connector>,
    response_timeout: Option<Duration>,
    pause_timeout: Option<Duration>,
    half_close_timeout: Option<Duration>,
    body_limit: Option<u64>,
    places: Arc<Live>,
    kept: Arc<ConnectionPool>,
    /// `None`: unless a layer of this server has checked it.
    passes_authorization: Option<bool>,
    prefix: String,
    /// The log of requests that got 503, which can be many per second.
    overload: Mutex<LogLimit<Instant>>,
}

/// The minimum time between two lines about an overload.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

impl ReverseProxy {
    /// Creates a proxy to the server at this URL, such as `http://127.0.0.1:3000`. Requests make the connections.
    ///
    /// # Errors
    /// If the URL is not `http://HOST[:PORT][/PATH]`.
    pub fn new(url: &str) -> io::Result<ReverseProxy> {
        let backend = Backend::parse(url).map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
        Ok(ReverseProxy {
            connector: Arc::new(Connector::new(backend, Duration::from_secs(5))),
            response_timeout: Some(Duration::from_secs(60)),
            pause_timeout: Some(Duration::from_secs(600)),
            half_close_timeout: Some(Duration::from_secs(60)),
            body_limit: Some(256 << 20),
            places: places(256),
            kept: ConnectionPool::new(64, Some(Duration::from_secs(4))),
            passes_authorization: None,
            prefix: String::new(),
            overload: Mutex::new(LogLimit::new(BETWEEN_LINES).of("requests for a backend got 503")),
        })
    }

    /// Sets how long an attempt to connect to each of the backend's addresses can take. If the attempt at the last one
    /// takes longer, the client gets 504. Default: 5 seconds. The lookup of the backend's name has no limit.
    pub fn connect_timeout(mut self, limit: Duration) -> ReverseProxy {
        let backend = self.backend().clone();
        self.connector = Arc::new(Connector::new(backend, limit.max(Duration::from_millis(1))));
        self
    }

    /// Sets how long the backend can read nothing of the request while it is sent, and how long it can take to send the
    /// head of its response after reading the last bytes; then the client gets 504. Default: 60 seconds; `None`: no
    /// limit. An interim response (1xx) does not count.
    pub fn response_timeout(mut self, limit: impl Into<Option<Duration>>) -> ReverseProxy {
        self.response_timeout = limit.into().map(|limit: Duration| limit.max(Duration::from_millis(1)));
        self
    }

    /// Sets how long a response that has begun can pause; then the client's connection is reset. Default: 10 minutes;
    /// `None`: no limit. It also applies to event streams: a backend that has no event for longer than this sends a
    /// comment in between. The time in which the client accepts no more of the response does not count.
    pub fn pause_timeout(mut self, limit: impl Into<Option<Duration>>) -> ReverseProxy {
        self.pause_timeout = limit.into().map(|limit: Duration| limit.max(Duration::from_millis(1)));
        self
    }

    /// Sets how long one side of a WebSocket or another upgraded connection can be silent after the other side has
    /// ended; then both connections are closed. Default: 60 seconds; `None`: no limit. The side that ended gets a
    /// reset, so that it does not mistake a part for the whole.
    pub fn half_close_timeout(mut self, limit: impl Into<Option<Duration>>) -> ReverseProxy {
        self.half_close_timeout = limit.into();
        self
    }

    /// Sets the maximum length of a request's body in bytes; a longer one gets 413. Default: 256 MiB; `None`: no limit
    /// except [`Http::body_quota`](crate::Http::body_quota). It replaces [`Http::body_limit`](crate::Http::body_limit).
    pub fn body_limit(mut self, bytes: impl Into<Option<u64>>) -> ReverseProxy {
        self.body_limit = bytes.into();
        self
    }

    /// Sets how many requests to the backend can be in progress, a quarter of them from one address; further requests
    /// get 503, or 429 for one address, with `Retry-After`. Default: 256. WebSockets also count. Each request can hold
    /// a thread. One address, or one IPv6 network of 64 bits, can have a quarter of them, but at least one.
    pub fn at_once(mut self, number: usize) -> ReverseProxy {
        self.places = places(number);
        self
    }

    /// Sets how many connections to the backend are kept open for further requests. Default: 64; 0: none is kept, and
    /// each request has a connection of its own. Set it to 0 for a backend that serves one connection at a time.
    pub fn idle_connections(mut self, number: usize) -> ReverseProxy {
        self.kept = ConnectionPool::new(number, self.kept.limit);
        self
    }

    /// Sets how long a connection to the backend is kept open without a request. Default: 4 seconds; zero: none is
    /// kept; `None`: no limit. Node.js, Apache and uvicorn end theirs after 5 seconds.
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> ReverseProxy {
        self.kept = ConnectionPool::new(self.kept.most, limit.into());
        self
    }

    /// Sets whether `Authorization` is passed on to the backend. Default: unless
    /// [`BasicAuth`](crate::layers::BasicAuth) or [`BearerAuth`](crate::layers::BearerAuth) has used it to accept the
    /// request, because it is then for this server. Turn it off if a layer of your own checks it. If it is not passed
    /// on, the backend's `WWW-Authenticate` is also left out, because the backend would not receive the client's reply
    /// to it.
    pub fn authorization(mut self, is_passed_on: bool) -> ReverseProxy {
        self.passes_authorization = Some(is_passed_on);
        self
    }

    fn passes_authorization(&self, request: &Request) -> bool {
        self.passes_authorization.unwrap_or(!request.authorization_is_used())
    }

    /// Removes this prefix from paths, if the backend's URL has no path, and sends it in `X-Forwarded-Prefix`. Default:
    /// none. Use it if the whole site is served below a prefix that the backend does not know.
    ///
    /// # Panics
    /// If the prefix is not empty, and is not a path: it begins with a slash, and has no empty, `.` or `..` segments.
    #[track_caller]
    pub fn without_prefix(mut self, path: &str) -> ReverseProxy {
        if !path.is_empty() {
            UrlPath::configured(path);
        }
        self.prefix = path.trim_end_matches('/').to_owned();
        self
    }

    /// Passes a request on, or returns its response, for which it has waited.
    fn pass(&self, request: &Request) -> Result<Response> {
        if fields::max_forwards(request) == Some(0) {
            return Ok(Response::no_content()); // this server is the last recipient
        }
        let pass = || {
            let pending = self.pending(request)?;
            match pending.advance() {
                Some((ticket, within)) => Ok(Response::of_wait(Wait { ticket, within, backend: Some(pending) })),
                None => Ok(self.respond(request, pending.take_answer()?)),
            }
        };
        pass().map_err(|error: Error| self.logged_at_times(error, Instant::now()))
    }

    /// Limits the log lines of an overload, which would otherwise have one per request: removes the cause of the error,
    /// except once per `BETWEEN_LINES`. Then the cause includes the number of requests that were not logged.
    fn logged_at_times(&self, error: Error, now: Instant) -> Error {
        let Some(cause) = error.cause().filter(|_| error.status() == StatusCode::SERVICE_UNAVAILABLE) else {
            return error;
        };
        let mut overload = lock(&self.overload);
        overload.count(1);
        match overload.due(now) {
            None => error.without_cause(),
            Some(1) => error,
            Some(count) => {
                let cause = format!("{cause}; {} more since the last such line", count - 1);
                error.with_cause(cause)
            }
        }
    }

    /// Returns the exchange of the request, which the first call starts. A request has only one: the response of
    /// another proxy's backend must not be used as that of this one.
    fn pending(&self, request: &Request) -> Result<Arc<Pending>> {
        if request.waker.is_none() || request.asked.is_apart() {
            return Err(Failure::NotReceived.into()); // no connection waits for the response
        }
        if request.value::<PassedOn>().is_none() {
            request.put_for(self, self.begin(request)?);
            request.put(PassedOn);
        }
        Ok(request.value_for::<Pending>(self).ok_or(Failure::Repeated)?)
    }

    fn begin(&self, request: &Request) -> Result<Pending> {
        let target = self.target(request)?;
        let place = self.places.admit(LiveKind::Poll, request.client_ip()).map_err(Failure::from)?;
        let host = request.host().or_else(|| request.header("host")).unwrap_or(&self.backend().authority);
        let mut head = Vec::with_capacity(1024);
        let mut add = |parts: &[&str]| parts.iter().for_each(|part| head.extend_from_slice(part.as_bytes()));
        add(&[request.method().as_str(), " ", &target, " HTTP/1.1\r\nHost: ", host, "\r\n"]);
        if let Some(destination) = self.destination(request)? {
            add(&["Destination: http://", host, &destination, "\r\n"]);
        }
        let passes_authorization = self.passes_authorization(request);
        let keeps = self.kept.most > 0 && self.kept.limit != Some(Duration::ZERO);
        let may_share = keeps && fields::may_share(request, passes_authorization);
        let body = request.body().try_clone()?; // receives a stream completely, so the length is known afterwards
        let length = request.announced_length().map(|_| body.len());
        fields::of_request(&mut head, request, length, &self.prefix, passes_authorization, !may_share);
        let (method, upgrade) = (request.method().clone(), fields::upgrade(request));
        let (limit, pause, name) = (self.response_timeout, self.pause_timeout, request.for_log().into_owned());
        let asked = BackendRequest { method, name, upgrade, head, limit, pause, may_share };
        Ok(Exchange::begin(asked, body, place, request.server(), &self.kept, &self.connector)?)
    }

    fn backend(&self) -> &Backend {
        &self.connector.backend
    }

    fn respond(&self, request: &Request, answer: BackendResponse) -> Response {
        let (head, response) = match answer {
            // A body that other threads send, as for GET, so that layers treat both alike.
            BackendResponse::Whole(head) if *request.method() == Method::HEAD => (head, Response::channel().1),
            BackendResponse::Whole(head) => (head, Response::no_content()),
            BackendResponse::Streamed(head, response) => (head, response),
            BackendResponse::Switched(head, upstream) => {
                let (protocol, patience, server) = (fields::protocol(&head), self.half_close_timeout, request.server());
                (head, Response::upgrade(protocol, move |stream| tunnel::join(stream, upstream, patience, &server)))
            }
        };
        let response = response.with_status(head.status).evaluated();
        let add = |response: Response, (name, value): (HeaderName, HeaderValue)| {
            let is_url = [header::LOCATION, header::CONTENT_LOCATION].contains(&name);
            let url = std::str::from_utf8(value.as_bytes()).ok().filter(|_| is_url);
            let here = url.and_then(|url| HeaderValue::try_from(self.url_here(request, url)?.into_bytes()).ok());
            response.with_forwarded_header(name, here.unwrap_or(value))
        };
        let via = HeaderValue::from_static(if head.is_http10 { "1.0 modest" } else { "1.1 modest" });
        fields::of_response(head, self.passes_authorization(request))
            .fold(response, add)
            .with_added_header(header::VIA, via)
    }
}

/// Returns the places for requests. One address can have a quarter of them.
fn places(number: usize) -> Arc<Live> {
    Live::new(number, Some((number / 4).max(1)))
}

opaque!(ReverseProxy { backend() });

/// Handles every method that a client can send, except TRACE, which would return this server's own request.
impl RequestHandler for ReverseProxy {
    fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
        // If this server has identified the user, by a password or a session that the backend does not see, the backend
        // cannot detect that a page of another site sent the request.
        let passes = self.passes_authorization(request);
        let is_unseen = !passes || !request.authorization_is_used() && request.user().is_some();
        if is_unseen && (!fields::only_reads(request) || fields::upgrade(request).is_some()) {
            request.check_own_page("use this application")?;
        }
        plan.limit(self.body_limit);
        Ok(())
    }

    all_call!(pass: do_get do_post do_put do_delete do_patch do_options);

    fn do_other(&self, request: &Request) -> Result<Response> {
        match *request.method() {
            Method::TRACE => Err(Error::new(StatusCode::NOT_IMPLEMENTED, "TRACE is not passed on.")),
            _ => self.pass(request),
        }
    }
}

#[cfg(test)]
mod tests;
