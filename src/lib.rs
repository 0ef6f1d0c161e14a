//! A TCP and HTTP/1.1 server with the shape of Python's `socketserver` and `http.server`.
//!
//! A [`TcpServer`] owns its listeners and gives each client to a fixed pool of workers; a [`RequestHandler`] of yours
//! (`do_get`, `do_post`, ...) answers requests; a [`StaticFileHandler`] serves a folder. Handlers are plain blocking
//! Rust, and no client, however slow to speak, to send or to read, ever holds a worker.
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
//! What is not written answers 501, and HEAD is `do_get` without its body. State is a field: every worker has `&self`.
//!
//! # A closure, and errors
//!
//! ```no_run
//! use modest::{Error, Http, Response, TcpServer, answer};
//!
//! let app = answer(|request| {
//!     let count: u64 = request.param("count").ok_or(Error::new(400, "how many?"))?.parse()?; // or a 500, and the log hears why
//!     Ok(Response::text("x".repeat(count.min(1000) as usize)))
//! });
//! TcpServer::bind("127.0.0.1:8000", Http::new(app).body_limit(64 * 1024))?.serve_forever()?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # A folder beside routes of one's own
//!
//! ```no_run
//! use modest::{Request, RequestHandler, Response, Result, StaticFileHandler, TcpServer};
//!
//! struct Site {
//!     files: StaticFileHandler,
//! }
//!
//! impl RequestHandler for Site {
//!     fn do_get(&self, request: &Request) -> Result<Response> {
//!         match request.path() {
//!             "/now" => Ok(Response::text(format!("{:?}\n", request.now()))),
//!             _ => self.files.do_get(request),
//!         }
//!     }
//! }
//!
//! TcpServer::bind("127.0.0.1:8000", Site { files: StaticFileHandler::new("www")? })?.serve_forever()?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # A handler without a socket, for tests
//!
//! ```
//! use modest::{Request, RequestHandler, Response, answer};
//!
//! let app = answer(|request| Ok(Response::text(request.path().to_uppercase())));
//! let response = app.handle(&Request::get("/a")).unwrap();
//! assert_eq!((response.status_code().as_u16(), response.into_bytes().unwrap()), (200, b"/A".to_vec()));
//! ```
//!
//! # A protocol of lines
//!
//! ```no_run
//! use modest::{Flow, Lines, TcpServer};
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
//! use modest::{Client, Conversation, Next, Protocol, Raw, TcpServer, Turn};
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
//!     fn turn(&mut self, turn: &mut Turn<'_>) -> Next {
//!         turn.output.bytes().extend_from_slice(turn.input.bytes());
//!         turn.input.consume(turn.input.bytes().len());
//!         Next::Idle { within: None }
//!     }
//! }
//!
//! TcpServer::bind("127.0.0.1:8080", Raw(Echo))?.serve_forever()?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What is not here
//!
//! - No async runtime: a handler blocks as it likes, for that is what workers are for.
//! - No thread per client, and none for accepting, polling or timers: a worker with nothing to do looks after all
//!   three.
//! - No router, no macro, no global: `match request.path()` goes far, and state is a field.
//! - No TLS and no HTTP/2 yet; there is room for both in [`Conversation`], which takes bytes and gives bytes, and in
//!   [`Inner`], a conversation inside another.
//! - No `unsafe`.
//!
//! Features: `json` ([`Request::json`], [`Response::json`]), `signals` ([`ServerHandle::shutdown_on_signals`]) and `cli`
//! (what only the program `modest` needs), all on unless `default-features = false`. Linux only, for now: the engine stands on `epoll`, `openat2` and `sendfile`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(not(target_os = "linux"))]
compile_error!("modest runs on Linux: it stands on epoll, openat2, statx and sendfile");
#[cfg(not(target_pointer_width = "64"))]
compile_error!("modest runs on 64-bit machines: a table entry's number and generation share one of epoll's words");

mod files;
mod http;
mod tcp;

pub use crate::http::{
    Answer, Body, BodyReader, Cookie, ETag, Error, Fields, Form, FormData, FormDataLimits, Http, LogRecord, Part,
    Reply, Request, RequestHandler, Response, Result, SameSite, Validators, answer,
};
pub use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
pub use files::{StaticFileHandler, Symlinks};
pub use tcp::{
    Address, Client, Conversation, Event, Flow, Inner, Input, IntoProtocol, InvalidNetwork, IpNetwork, Layer,
    LineHandler, Lines, Listen, Next, Output, Piece, Protocol, ProxyProtocol, Raw, Refusal, ServerHandle, SharedBytes,
    Stage, Stats, Stream, StreamHandler, StreamWriter, TcpServer, Turn, Waker, streams,
};

/// The way in for fuzz targets, which set `--cfg fuzzing`: rooms that no user sees.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::files::fuzzing::*;
    pub use crate::http::fuzzing::*;
}

/// The code in the documents compiles, and does what it says.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/handlers.md")]
    struct Handlers;
    #[doc = include_str!("../docs/options.md")]
    struct Options;
    #[doc = include_str!("../docs/listeners.md")]
    struct Listeners;
}
