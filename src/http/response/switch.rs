//! Responses that change the protocol of their connection (RFC 9110, section 7.8).

use http::StatusCode;

use super::{Continuation, Response};
use crate::tcp::{Contained, Conversation, Stream};

pub(crate) type ServeStream = Contained<Box<dyn FnOnce(Stream) + Send>>;

pub(crate) type NextConversation = Contained<Box<dyn Conversation>>;

fn contained(serve: impl FnOnce(Stream) + Send + 'static) -> ServeStream {
    Contained::new("dropping the closure of a stream", Box::new(serve))
}

pub(crate) enum Protocol {
    /// A blocking stream, on a thread of its own.
    Stream {
        name: String,
        serve: ServeStream,
    },
    /// The closure of a tunnel, which runs in a separate thread (RFC 9110, section 9.3.6).
    Tunnel {
        serve: ServeStream,
    },
    Conversation {
        name: String,
        conversation: NextConversation,
    },
}

impl Protocol {
    /// `None` for a tunnel.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Protocol::Stream { name, .. } | Protocol::Conversation { name, .. } => Some(name),
            Protocol::Tunnel { .. } => None,
        }
    }
}

/// Leaving HTTP.
impl Response {
    /// Creates a 101 Switching Protocols: the closure takes over the connection, as a blocking
    /// [`Stream`](crate::raw::Stream) on a thread of its own. There are up to
    /// [`TcpServer::max_streams`](crate::TcpServer::max_streams) such threads. If none is free within the
    /// [`queue_timeout`](crate::TcpServer::queue_timeout), the response is a 503. Add the fields of the protocol with
    /// `with_header`. The stream has no timeout until the closure [sets](crate::raw::Stream::set_timeout) one, so a
    /// silent client keeps its thread.
    ///
    /// If the request did not ask for this protocol (`Upgrade` and `Connection: upgrade`, RFC 9110, section 7.8), the
    /// response is a 426. If this is not the name of a protocol (a token, with a version after a slash or without), it
    /// is a 500.
    ///
    /// ```
    /// use std::io::{BufRead, Write};
    /// use modest::{Response, handler_fn};
    ///
    /// let app = handler_fn(|_| {
    ///     Ok(Response::upgrade("shout", |mut stream| {
    ///         let mut line = String::new();
    ///         while stream.read_line(&mut line).is_ok_and(|count| count > 0) {
    ///             if stream.write_all(line.to_uppercase().as_bytes()).is_err() {
    ///                 break;
    ///             }
    ///             line.clear();
    ///         }
    ///     }))
    /// });
    /// # let _ = app;
    /// ```
    pub fn upgrade(protocol: impl Into<String>, serve: impl FnOnce(Stream) + Send + 'static) -> Response {
        Response::switching(Protocol::Stream { name: protocol.into(), serve: contained(serve) })
    }

    /// Creates a 101 Switching Protocols to a [`Conversation`](crate::raw::Conversation), which needs no thread of its
    /// own. Its first turn comes when the 101 has been written.
    pub fn switch_to(protocol: impl Into<String>, conversation: impl Conversation + 'static) -> Response {
        let conversation = Contained::new("dropping a conversation", Box::new(conversation) as _);
        Response::switching(Protocol::Conversation { name: protocol.into(), conversation })
    }

    /// Creates a 200 to CONNECT: the closure takes over the connection as the client's end of the tunnel, as a blocking
    /// [`Stream`](crate::raw::Stream) on a thread of its own, like [`upgrade`](Response::upgrade). As the response to
    /// any other request it becomes a 500. See [`Http::on_connect`](crate::Http::on_connect).
    pub fn tunnel(serve: impl FnOnce(Stream) + Send + 'static) -> Response {
        Response::switching(Protocol::Tunnel { serve: contained(serve) })
    }

    fn switching(protocol: Protocol) -> Response {
        let status = if protocol.name().is_some() { StatusCode::SWITCHING_PROTOCOLS } else { StatusCode::OK };
        let mut response = Response::new(status);
        response.rare().instead = Some(Continuation::Switch(protocol));
        response
    }
}
