//! A TCP and HTTP/1.1 server with the shape of Python's `socketserver` and `http.server`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod files;
mod http;
mod tcp;

pub use crate::http::{
    Answer, Body, BodyReader, Cookie, ETag, Error, Fields, Form, Http, LogRecord, Reply, Request, RequestHandler,
    Response, Result, SameSite, Validators, answer,
};
pub use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
pub use files::{StaticFileHandler, Symlinks};
pub use tcp::{
    Client, Conversation, Event, Input, IntoProtocol, Next, Output, Piece, Protocol, Raw, SharedBytes, Stage, Stats,
    Stopper, TcpServer, Turn,
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
}
