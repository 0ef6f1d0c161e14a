//! What is allowed on a WebSocket, and the way to one: `accept`. Called by users' handlers; asks `handshake`, and makes
//! the `session` that takes over.

use std::time::Duration;

use super::handler::WebSocketHandler;
use super::handshake::{self, Origins};
use super::session::{Limits, Session};
use super::socket::Socket;
use crate::{Request, Response, Result};

/// Settings of a WebSocket; [`accept`] has the default ones.
///
/// ```
/// # use modest::websocket::{Message, Socket, WebSocket, WebSocketHandler};
/// # use modest::{Request, Response, Result};
/// # struct Guest;
/// # impl WebSocketHandler for Guest {
/// #     fn message(&mut self, _: Message, _: &Socket) -> Result<()> { Ok(()) }
/// # }
/// fn chat(request: &Request) -> Result<Response> {
///     let settings = WebSocket::new().max_message(4096).protocols(["chat.v2", "chat.v1"]);
///     settings.origin("https://app.example").accept(request, Guest)
/// }
/// # let _ = chat;
/// ```
#[derive(Clone, Debug)]
#[must_use = "does nothing until it accepts a request"]
pub struct WebSocket {
    limits: Limits,
    queue: usize,
    protocols: Vec<String>,
    origins: Origins,
}

/// Make a WebSocket of this request's connection, with the default settings of [`WebSocket`]: the answer is a 101, and
/// from then on the handler is called.
///
/// # Errors
/// What [`WebSocket::accept`] says.
pub fn accept(request: &Request, handler: impl WebSocketHandler) -> Result<Response> {
    WebSocket::new().accept(request, handler)
}

impl Default for WebSocket {
    fn default() -> WebSocket {
        WebSocket::new()
    }
}

impl WebSocket {
    /// The default settings.
    pub fn new() -> WebSocket {
        let limits = Limits {
            message: 1024 * 1024,
            ping: Some(Duration::from_secs(30)),
            idle: None,
            close: Duration::from_secs(5),
        };
        WebSocket { limits, queue: 256 * 1024, protocols: Vec::new(), origins: Origins::Same(Vec::new()) }
    }

    /// The largest message that a client may send, in bytes, whole or in fragments: 1 MiB unless set. One that is larger
    /// is refused as soon as its length is known: the client is closed with 1009.
    ///
    /// A message that has begun must come at the server's least rate ([`TcpServer::min_rate`](crate::TcpServer::min_rate)),
    /// also where it comes in fragments; else the client is closed with 1008.
    pub fn max_message(mut self, bytes: usize) -> WebSocket {
        self.limits.message = bytes;
        self
    }

    /// How many bytes may wait for one client that reads slowly: 256 KiB unless set. An empty queue takes a longer
    /// message, too. One that is full is given up, and the connection is reset. Up to 64 KiB more are on their way.
    pub fn queue(mut self, bytes: usize) -> WebSocket {
        self.queue = bytes;
        self
    }

    /// After so long without a byte of the client it is pinged; after as long again without one its connection is reset,
    /// as it must be gone. 30 seconds unless set; `None`: never.
    pub fn ping_interval(mut self, every: impl Into<Option<Duration>>) -> WebSocket {
        self.limits.ping = every.into();
        self
    }

    /// How long a client may send no message, counted from the opening or from when its last one was handled. Past that
    /// it is closed with 1001. No limit unless set: who listens has nothing to say.
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> WebSocket {
        self.limits.idle = limit.into();
        self
    }

    /// How long a client has to answer when the server closes: 5 seconds unless set. A shutdown waits for that, too.
    pub fn close_timeout(mut self, limit: Duration) -> WebSocket {
        self.limits.close = limit;
        self
    }

    /// The subprotocols that are spoken here, the best first: the first of them that the client offers is agreed on
    /// ([`Socket::protocol`]). If it offers none of them, none is agreed on; browsers then close.
    ///
    /// # Panics
    /// If one is no token (RFC 9110, section 5.6.2).
    pub fn protocols<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> WebSocket {
        self.protocols = names.into_iter().map(str::to_owned).collect();
        for name in &self.protocols {
            assert!(handshake::is_token(name), "{name:?} is no name of a protocol");
        }
        self
    }

    /// Pages of this origin may connect, too, besides those of the server's own and those that were named before. It is
    /// compared byte by byte with what browsers send: `https://app.example`.
    ///
    /// # The default
    /// Browsers let a page of any site connect to any server, with the reader's cookies, and let it read what comes: this
    /// is not held back by CORS. So a server that goes by cookies, or is on a private network, must look at who asks.
    /// By default only pages of its own origin may connect: `Origin`, if it is sent, must name the host and port of
    /// `Host`. Programs send none, and may connect. Behind a proxy that changes `Host` name the origin.
    pub fn origin(mut self, origin: impl Into<String>) -> WebSocket {
        match &mut self.origins {
            Origins::Same(more) => more.push(origin.into()),
            Origins::Any => {}
        }
        self
    }

    /// Pages of any site may connect, and do there whatever the reader's cookies and network allow: for what the whole
    /// world may do.
    pub fn any_origin(mut self) -> WebSocket {
        self.origins = Origins::Any;
        self
    }

    /// Make a WebSocket of this request's connection. Fields for the 101 are added to the response as to any other.
    ///
    /// # Errors
    /// 405 if it is no GET, 426 if it does not ask for a WebSocket or not for version 13, 400 if its key is none, 403 if it
    /// comes from a page of another origin.
    pub fn accept(&self, request: &Request, handler: impl WebSocketHandler) -> Result<Response> {
        let key = handshake::key_of(request)?;
        self.origins.check(request)?;
        let protocol = handshake::agree(request, &self.protocols);
        let socket = Socket::new(request.client().clone(), protocol.clone(), self.queue);
        let session = Session::new(handler, socket, self.limits, format!("WebSocket {}", request.raw_path()));
        let mut response = Response::switch_to("websocket", session).with_header("sec-websocket-accept", key);
        if let Some(protocol) = protocol {
            response = response.with_header("sec-websocket-protocol", protocol);
        }
        Ok(response)
    }
}
