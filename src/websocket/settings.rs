//! The settings of a WebSocket, and `accept`, which creates a WebSocket. Called by users' handlers; uses `handshake`,
//! and creates the `session` that continues the connection.

use std::time::Duration;

use super::handler::WebSocketHandler;
use super::handshake::{self, Origins};
use super::session::{Limits, Session};
use super::socket::Socket;
use crate::grammar::is_token;
use crate::{Request, Response, Result};

/// Settings of a WebSocket. [`accept`] uses the default settings.
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

/// Turns this request's connection into a WebSocket, with the default settings of [`WebSocket`]: the response is a 101,
/// and afterwards the handler is called.
///
/// # Errors
/// The errors of [`WebSocket::accept`].
pub fn accept(request: &Request, handler: impl WebSocketHandler) -> Result<Response> {
    WebSocket::new().accept(request, handler)
}

default_is_new!(WebSocket);

impl WebSocket {
    /// Creates the default settings.
    pub fn new() -> WebSocket {
        let limits = Limits {
            message: 1024 * 1024,
            ping: Some(Duration::from_secs(30)),
            idle: None,
            close: Duration::from_secs(5),
        };
        WebSocket { limits, queue: 256 * 1024, protocols: Vec::new(), origins: Origins::Same(Vec::new()) }
    }

    /// Sets the maximum length of a client's message in bytes, whole or in fragments; beyond it the client is closed
    /// with 1009. Default: 1 MiB. This happens as soon as the length is known.
    ///
    /// A message must arrive at the server's minimum rate ([`TcpServer::min_rate`](crate::TcpServer::min_rate)), also
    /// in fragments. Otherwise the client is closed with 1008.
    pub fn max_message(mut self, bytes: usize) -> WebSocket {
        self.limits.message = bytes;
        self
    }

    /// Sets how many bytes can be queued for a client; then the connection is reset. Default: 256 KiB. An empty queue
    /// also accepts a longer message. The connection's output can have up to 64 KiB and one whole message more.
    pub fn queue(mut self, bytes: usize) -> WebSocket {
        self.queue = bytes;
        self
    }

    /// Sets after how much silence a ping is sent to the client; after the same time again without a byte, the
    /// connection is reset. Default: 30 seconds; `None`: never.
    pub fn ping_interval(mut self, every: impl Into<Option<Duration>>) -> WebSocket {
        self.limits.ping = every.into();
        self
    }

    /// Sets how long a client can send no message before its connection is closed with 1001. Default: no limit. Clients
    /// that only listen send nothing. The time is counted from the end of the handler's last call: of `opened`, of
    /// `message` or of `drained`.
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> WebSocket {
        self.limits.idle = limit.into();
        self
    }

    /// Sets how long the server waits for the client's close after its own, even in a shutdown; then the connection is
    /// closed. Default: 5 seconds.
    pub fn close_timeout(mut self, limit: Duration) -> WebSocket {
        self.limits.close = limit;
        self
    }

    /// Sets the supported subprotocols, in order of preference; the first that the client also offers is used. Default:
    /// none. [`Socket::protocol`] returns it. If the client offers none of them, none is used, and browsers close the
    /// connection.
    ///
    /// # Panics
    /// If one is not a token (RFC 9110, section 5.6.2).
    pub fn protocols<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> WebSocket {
        self.protocols = names.into_iter().map(str::to_owned).collect();
        for name in &self.protocols {
            assert!(is_token(name.as_bytes()), "{name:?} is not a valid protocol name");
        }
        self
    }

    /// Allows pages of this origin to connect, in addition to the server's own and those added before; others get 403.
    /// Default: only pages of its own origin. The origin is compared byte by byte with the browser's `Origin`:
    /// `https://app.example`.
    ///
    /// # The default
    /// A browser lets a page of any site connect to any server, with the user's cookies, and read its messages. CORS
    /// does not prevent that. So a server that uses cookies, or is on a private network, must check origins. By default
    /// only pages of its own origin can connect: `Origin`, if it is sent, must have the host and port of `Host`.
    /// Clients other than browsers send no `Origin`, and can connect. Behind a proxy that changes `Host`, add the
    /// server's origin.
    ///
    /// # Panics
    /// If no browser sends such an origin, for example because it has a path, or the default port of its scheme.
    pub fn origin(mut self, origin: impl Into<String>) -> WebSocket {
        let origin = origin.into();
        assert!(Request::is_origin(&origin), "{origin:?} is not an origin, such as https://app.example");
        match &mut self.origins {
            Origins::Same(more) => more.push(origin),
            Origins::Any => {}
        }
        self
    }

    /// Allows pages of any site to connect, for public services. Default: only pages of its own origin. Such pages can
    /// do everything that the user's cookies and network allow.
    pub fn any_origin(mut self) -> WebSocket {
        self.origins = Origins::Any;
        self
    }

    /// Turns this request's connection into a WebSocket. Fields for the 101 can be added to the response.
    ///
    /// # Errors
    /// 405 if it is not a GET, 426 if it does not ask for a WebSocket with version 13, 400 if its key is invalid, 403
    /// if it comes from a page of another origin.
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
