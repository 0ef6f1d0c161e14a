//! A TCP and HTTP/1.1 server with the shape of Python's `socketserver` and `http.server`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod tcp;

pub use tcp::{
    Client, Conversation, Event, Input, IntoProtocol, Next, Output, Piece, Protocol, Raw, SharedBytes, Stage, Stats,
    Stopper, TcpServer, Turn,
};
