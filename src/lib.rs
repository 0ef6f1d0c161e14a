//! A TCP and HTTP/1.1 server with the shape of Python's `socketserver` and `http.server`.
//!
//! A [`TcpServer`] owns its listeners and dispatches connections to a fixed pool of workers. A [`RequestHandler`] that
//! you implement (`do_get`, `do_post`, ...) responds to requests. A [`StaticFileHandler`] serves a folder. Handlers are
//! plain blocking Rust. A client that is slow to send or to read holds no worker, unless a handler asks for its body as
//! a stream ([`BodyPlan::stream`]) or takes its connection ([`raw::streams`]).
//!
//! # A handler
//!
//! ```no_run
//! use modest::{Request, RequestHandler, Response, Result, TcpServer};
//!
//! struct Hello;
//!
//! impl RequestHandler for Hello {
//!     fn do_get(&self, request: &Request) -> Result<Response> {
//!         Ok(Response::text(format!("Hello, {}!\n", request.param("name").unwrap_or("World".into()))))
//!     }
//! }
//!
//! TcpServer::bind("127.0.0.1:8000", Hello)?.serve_forever()?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Methods that you don't implement respond with 501. HEAD calls `do_get`, and the body is left out. State is in the
//! handler's fields: every worker has `&self`. Handlers are combined by [`RequestHandler::delegate`], by [`Layer`]s and
//! by [`Routes`].
//!
//! # A closure, and errors
//!
//! ```no_run
//! use modest::{Http, OrStatus, Response, TcpServer, handler_fn};
//!
//! let app = handler_fn(|request| {
//!     let count: usize = request.parse_param("count")?; // missing or not a number: 400, with the reason
//!     let text = std::fs::read_to_string("text.txt")?; // an error: 500, and the reason is logged
//!     Ok(Response::text(text.get(..count).or_status(404)?))
//! });
//! TcpServer::bind("127.0.0.1:8000", Http::new(app).body_limit(64 * 1024))?.serve_forever()?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Routes beside a folder
//!
//! ```no_run
//! use modest::{Request, Response, Result, Routes, StaticFileHandler, TcpServer};
//!
//! struct Clock;
//!
//! impl Clock {
//!     fn now(&self, request: &Request) -> Result<Response> {
//!         Ok(Response::text(format!("{:?}\n", request.now())))
//!     }
//! }
//!
//! let app = Routes::new().get("/now", Clock::now).fallback(StaticFileHandler::new("www")?).with_state(Clock);
//! TcpServer::bind("127.0.0.1:8000", app)?.serve_forever()?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # A folder that takes files from known users, over TLS
//!
//! ```no_run
//! # #[cfg(all(feature = "archive", feature = "tls", feature = "users"))] {
//! use modest::layers::{BasicAuth, PathRights, UserFile};
//! use modest::{RequestHandler, StaticFileHandler, TcpServer, Tls, Uploads};
//!
//! let folder = StaticFileHandler::new("inbox")?.uploads(Uploads::new()).archives(true);
//! let rights = PathRights::new().allow("/=*:read,list".parse()?).allow("/=@users:all".parse()?);
//! let users = BasicAuth::new("inbox").users(UserFile::open("users")?).optional(true);
//! let tls = Tls::from_pem_files("fullchain.pem", "privkey.pem")?;
//! TcpServer::bind("0.0.0.0:443", tls.protect(folder.layer(rights).layer(users)))?.serve_forever()?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`layers`] contains more layers, such as [`layers::Metrics`] for Prometheus.
//!
//! # A handler without a socket, for tests
//!
//! ```
//! use modest::{Http, Request, Response, handler_fn};
//!
//! let http = Http::new(handler_fn(|request| Ok(Response::text(request.path().to_uppercase()))));
//! let response = http.respond(&Request::get("/a"));
//! assert_eq!((response.status().as_u16(), response.text()), (200, "/A"));
//! ```
//!
//! # A protocol of lines
//!
//! ```no_run
//! use modest::raw::{Flow, Lines};
//! use modest::TcpServer;
//!
//! let shout = Lines::new(|line, reply| {
//!     reply.extend_from_slice(format!("{}\r\n", line.to_uppercase()).as_bytes());
//!     Flow::Continue
//! });
//! TcpServer::bind("127.0.0.1:7000", shout)?.serve_forever()?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # A protocol without HTTP
//!
//! ```no_run
//! use modest::raw::{Action, Conversation, Protocol, Raw, Turn};
//! use modest::{Client, TcpServer};
//!
//! struct Echo;
//!
//! impl Protocol for Echo {
//!     fn meet(&self, _client: &Client) -> Option<Box<dyn Conversation>> {
//!         Some(Box::new(Echo))
//!     }
//! }
//!
//! impl Conversation for Echo {
//!     fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
//!         turn.output.bytes().extend_from_slice(turn.input.bytes());
//!         turn.input.consume(turn.input.bytes().len());
//!         Action::Idle { within: None }
//!     }
//! }
//!
//! TcpServer::bind("127.0.0.1:8080", Raw(Echo))?.serve_forever()?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Datagrams
//!
//! ```no_run
//! use modest::{Datagram, UdpServer};
//!
//! let shout = |datagram: &Datagram| datagram.reply(datagram.bytes().to_ascii_uppercase());
//! UdpServer::bind("127.0.0.1:9999", shout)?.serve_forever()?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What the library does not have
//!
//! - No async runtime: handlers run on workers, where they may block.
//! - No thread for accepting, polling or timers: a worker with nothing else to do does all three. Only streams
//!   ([`raw::StreamHandler`], [`Response::upgrade`], [`Response::tunnel`], upgraded connections through a
//!   `ReverseProxy`) and [`keep_thread`] have a thread per connection.
//! - No macros to learn. All state belongs to a server, except the logger and the handlers of signals, which are those
//!   of the process.
//! - No HTTP/2 and no HTTP/3: put nginx or Caddy in front for these.
//! - No `unsafe`.
//!
//! # Features
//!
//! `json` and `metrics` are on by default; `full` turns on all of these: `json` ([`Request::json`], [`Response::json`],
//! [`layers::JsonErrors`]), `compress` ([`layers::Compress`], [`StaticFileHandler::compress`]), `cookies`
//! ([`CookieKey`]), `etags` ([`layers::ETags`]), `sessions` ([`layers::Sessions`]), `users` ([`layers::UserFile`]),
//! `metrics` ([`layers::Metrics`]), `websocket`, `proxy` ([`ReverseProxy`]), `markdown`
//! ([`StaticFileHandler::markdown`]), `tls` ([`Tls`]), `self-signed` ([`Identity::self_signed`]), `webdav` (LOCK and
//! PROPPATCH for [`StaticFileHandler::webdav`]), `archive` ([`StaticFileHandler::archives`]), `unicode` (listings sort
//! composed and decomposed names alike, and locks hold for both) and `signals` ([`ServerHandle::shutdown_on_signals`]).
//!
//! Runs on Linux. Compiles for macOS and FreeBSD, where it has not been run yet. [`system_services`] returns the system
//! calls that it uses.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))] // pages name the feature that an item needs
#![cfg_attr(not(feature = "full"), allow(rustdoc::broken_intra_doc_links))] // links to items of other features
#![deny(missing_docs)]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("modest runs only on 64-bit machines: a table entry's number and generation share one of epoll's words");

/// Implements methods of a handler by one function.
macro_rules! all_call {
    ($function:ident: $($method:ident)*) => {$(
        fn $method(&self, request: &Request) -> Result<Response> {
            self.$function(request)
        }
    )*};
}

/// Implements `Default` by `new`.
macro_rules! default_is_new {
    ($name:ident) => {
        impl Default for $name {
            fn default() -> $name {
                $name::new()
            }
        }
    };
}

/// Implements `IntoProtocol` for a type that is a protocol itself.
macro_rules! into_itself {
    ($name:ident $(<$handler:ident: $bound:ident>)?) => {
        impl$(<$handler: $bound>)? IntoProtocol for $name$(<$handler>)? {
            type Protocol = $name$(<$handler>)?;

            fn into_protocol(self) -> Self::Protocol {
                self
            }
        }
    };
}

#[macro_use]
mod opaque; // `Debug`
mod cores;
mod defaults;
mod files;
mod grammar;
mod http;
pub mod layers;
mod log_limit;
mod logging;
mod metadata;
mod misleading;
mod mutex;
mod new_file;
mod numbered;
#[cfg(feature = "proxy")]
mod proxy;
mod random;
mod renamed;
mod slots;
mod tcp;
pub mod testing;
#[cfg(feature = "tls")]
mod tls;
mod udp;
#[cfg(feature = "websocket")]
pub mod websocket;
mod words;

#[cfg(feature = "cookies")]
pub use crate::http::CookieKey;
pub use crate::http::{
    Access, BeforeBodyFn, Body, BodyPlan, BodyReader, Cookie, ETag, Error, FieldError, Fields, Form, FormData,
    FormDataLimits, Forwarded, HandlerFn, Http, IntoReader, InvalidUrlPath, Layer, LayerFn, Layered, ListedRoute,
    LogFormat, LogRecord, LogScope, Next, OrStatus, Part, PartHead, PartPlan, Permissions, Request, RequestHandler,
    RequestId, Response, ResponseWriter, Result, Router, Routes, SameSite, SavedPart, SentResponse, UrlPath, User,
    Validators, before_body_fn, encode_path, encode_segment, escape_html, handler_fn, is_compressible, layer_fn,
    media_type_of,
};
pub use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
pub use defaults::DefaultLimits;
pub use files::{FolderCheck, Overview, Overwrite, StaticFileHandler, Symlinks, Uploads};
pub use logging::{LogFile, Logger, StderrLog, StderrWriter, log_to_stderr};
#[cfg(feature = "proxy")]
pub use proxy::ReverseProxy;
#[cfg(feature = "websocket")]
use tcp::contain;
pub use tcp::{
    Address, Client, IntoProtocol, InvalidNetwork, IpNetwork, Listen, ListenerStats, ProxyProtocol, ServerHandle,
    SharedBytes, Stats, TcpServer, TlsInfo, available_memory, keep_thread, keep_thread_if, waited_for_lock,
};
#[cfg(feature = "tls")]
pub use tls::{Certificates, ClientCertificates, Identity, Protected, Tls};
pub use udp::{Datagram, DatagramHandler, UdpServer};

/// Responses that wait for something other than their client and hold no worker: server-sent events
/// ([`Broadcast`](live::Broadcast)), long polls ([`Signal`](live::Signal)), bytes from other threads
/// ([`Sender`](live::Sender)).
pub mod live {
    pub use crate::http::live::{
        Broadcast, ChannelOptions, Listener, Overflow, SendError, Sender, ServerEvent, Signal, Signals, Ticket, Unsent,
    };
    #[allow(deprecated, reason = "an old name")]
    #[doc(hidden)]
    pub use crate::renamed::Channel;
}

/// Background work: threads that a server counts, stops at its shutdown and waits for
/// ([`TcpServer::background`]), and jobs for them.
pub mod background {
    pub use crate::tcp::{Jobs, OnStop, Refused, Stop};
}

/// Protocols other than HTTP: lines ([`Lines`](raw::Lines)), blocking streams ([`streams`](raw::streams()))
/// or bytes as they arrive ([`Conversation`](raw::Conversation)).
pub mod raw {
    #[allow(deprecated, reason = "an old name")]
    #[doc(hidden)]
    pub use crate::renamed::Next;
    pub use crate::tcp::{
        Action, Codec, Conversation, Event, Flow, Handover, Input, LineHandler, LineSender, Lines, Output, Piece,
        Protocol, Raw, Refusal, Stage, Stream, StreamHandler, StreamWriter, Turn, Waker, streams,
    };
}

/// Returns the system calls that are used for each purpose, determined by trying them: pairs such as `("paths below a
/// folder", "openat2")`. Log them at startup, because the same program uses other calls on another system, or in a
/// sandbox that forbids some. The documented behaviour does not depend on them: for example, if the system does not
/// report changed files, the disk is checked.
///
/// ```
/// for (service, way) in modest::system_services() {
///     println!("{service}: {way}");
/// }
/// ```
pub fn system_services() -> Vec<(&'static str, &'static str)> {
    let services = [tcp::WAYS.to_vec(), files::system_services()].concat();
    #[cfg(feature = "metrics")]
    let services = [services, vec![layers::SYSTEM_SERVICE]].concat();
    services
}

/// Serves this closure at this address until the process ends or the server is shut down by [`Request::server`].
/// [`TcpServer::bind`] has the options.
///
/// ```no_run
/// modest::serve("127.0.0.1:8000", |request| Ok(modest::Response::text(format!("Hello, {}!\n", request.path()))))
/// # ; Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// The errors of [`TcpServer::bind`] and [`TcpServer::serve_forever`].
pub fn serve<F>(address: impl Into<Listen>, handler: F) -> std::io::Result<()>
where
    F: Fn(&Request) -> Result<Response> + Send + Sync + 'static,
{
    TcpServer::bind(address, handler_fn(handler))?.serve_forever()
}

/// Serves until this closure returns a value with its response, sends that response, and returns the value (Python's
/// `handle_request`). Use it in a program that is not a server, for example for the redirect at the end of an OAuth
/// login. Other requests, such as for an icon, are also served, and connections without a request are ignored. Returns
/// `None` after the time limit.
///
/// ```
/// use std::net::TcpListener;
/// use std::time::Duration;
/// use modest::{OrStatus, Response};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?; // a free port, for the URL
/// let address = listener.local_addr()?;
/// # let client = std::thread::spawn(move || {
/// #     use std::io::{Read, Write};
/// #     let mut stream = std::net::TcpStream::connect(address).unwrap();
/// #     stream.write_all(b"GET /callback?code=7f3a&state=x HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
/// #     let mut response = String::new();
/// #     stream.read_to_string(&mut response).unwrap();
/// #     response
/// # });
/// println!("Open https://login.example/?redirect_uri=http://{address}/callback&state=x");
/// let code = modest::serve_one(listener, Duration::from_secs(300), |request| {
///     request.param("state").filter(|state| state == "x").or_status(404)?;
///     let code = request.param("code").or_status(400)?.into_owned();
///     Ok((Response::text("You are logged in, and can close this page.\n"), Some(code)))
/// })?;
/// assert_eq!(code.as_deref(), Some("7f3a"));
/// # assert!(client.join().unwrap().contains("close this page"));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// The errors of [`TcpServer::bind`] and [`TcpServer::serve_forever`].
pub fn serve_one<T, F>(
    address: impl Into<Listen>,
    within: impl Into<Option<std::time::Duration>>,
    handler: F,
) -> std::io::Result<Option<T>>
where
    T: Send + 'static,
    F: Fn(&Request) -> Result<(Response, Option<T>)> + Send + Sync + 'static,
{
    let (sender, value) = std::sync::mpsc::sync_channel(1);
    let app = handler_fn(move |request| {
        if request.server().is_shutting_down() {
            return Err(Error::new(StatusCode::SERVICE_UNAVAILABLE, "this server has ended"));
        }
        let (response, value) = handler(request)?;
        if let Some(value) = value {
            let _ = sender.try_send(value); // fails for a second value: the first is returned
            request.server().shutdown(); // when this response is sent
        }
        Ok(response)
    });
    let mut server = TcpServer::bind(address, app)?;
    if let Some(within) = within.into() {
        let handle = server.handle();
        server = server.background("serve_one", move |stop| {
            if stop.wait(within) {
                handle.shutdown();
            }
        });
    }
    server.serve_forever()?;
    Ok(value.try_recv().ok())
}

/// Private modules for fuzz targets, which set `--cfg fuzzing`. Not part of the public API.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::http::fuzzing::*;
}

/// The code in the documents compiles and works.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[cfg(feature = "sessions")]
    #[doc = include_str!("../docs/handlers.md")]
    struct Handlers;
    #[doc = include_str!("../docs/uploads.md")]
    struct Uploads;
    #[doc = include_str!("../docs/upload-folders.md")]
    struct UploadFolders;
    #[doc = include_str!("../docs/options.md")]
    struct Options;
    #[cfg(feature = "tls")]
    #[doc = include_str!("../docs/tls.md")]
    struct Tls;
    #[doc = include_str!("../docs/listeners.md")]
    struct Listeners;
    #[doc = include_str!("../docs/pages.md")]
    struct Pages;
    #[doc = include_str!("../docs/protocols.md")]
    struct Protocols;
    #[cfg(feature = "sessions")]
    #[doc = include_str!("../docs/layers.md")]
    struct Layers;
    #[cfg(feature = "users")]
    #[doc = include_str!("../docs/users.md")]
    struct Users;
    #[cfg(feature = "metrics")]
    #[doc = include_str!("../docs/metrics.md")]
    struct Metrics;
    #[cfg(all(feature = "json", feature = "signals"))]
    #[doc = include_str!("../docs/from-python.md")]
    struct FromPython;
    #[cfg(feature = "proxy")]
    #[doc = include_str!("../docs/proxy.md")]
    struct Proxy;
    #[cfg(feature = "websocket")]
    #[doc = include_str!("../docs/live.md")]
    struct Live;
}
