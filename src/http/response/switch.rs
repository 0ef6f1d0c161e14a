//! Responses that change the protocol of their connection (RFC 9110, section 7.8).

use http::StatusCode;

use super::{Instead, Response};
use crate::tcp::{Conversation, Stream};

/// What a connection becomes.
pub(crate) enum Protocol {
    /// A blocking stream, on a thread of its own.
    Stream { name: String, serve: Box<dyn FnOnce(Stream) + Send> },
    /// A conversation, without a thread.
    Conversation { name: String, conversation: Box<dyn Conversation> },
}

impl Protocol {
    pub(crate) fn name(&self) -> &str {
        match self {
            Protocol::Stream { name, .. } | Protocol::Conversation { name, .. } => name,
        }
    }
}

/// Leaving HTTP.
impl Response {
    /// 101 Switching Protocols: the closure takes over the connection, as a blocking [`Stream`](crate::raw::Stream) on
    /// a thread of its own. There are up to [`TcpServer::max_streams`](crate::TcpServer::max_streams) such threads. If
    /// none is free, the response is a 503. Add the fields of the protocol with `with_header`.
    ///
    /// If the request did not ask for this protocol (`Upgrade` and `Connection: upgrade`, RFC 9110, section 7.8), the
    /// response is a 426.
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
        Response::switching(Protocol::Stream { name: protocol.into(), serve: Box::new(serve) })
    }

    /// 101 Switching Protocols to a [`Conversation`](crate::raw::Conversation), which needs no thread of its own. Its
    /// first turn comes when the 101 has been written.
    pub fn switch_to(protocol: impl Into<String>, conversation: impl Conversation + 'static) -> Response {
        Response::switching(Protocol::Conversation { name: protocol.into(), conversation: Box::new(conversation) })
    }

    fn switching(protocol: Protocol) -> Response {
        let mut response = Response::new(StatusCode::SWITCHING_PROTOCOLS);
        response.rare().instead = Some(Instead::Switch(protocol));
        response
    }
}
