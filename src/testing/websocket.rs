//! A WebSocket client, for tests.

use std::io;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::Request as Handshake;
use tungstenite::{Message as Frame, WebSocket};

use super::{TestRequest, Within, value_of};
use crate::websocket::{Close, Message};

/// A WebSocket connection to a [`TestServer`](super::TestServer):
/// [`TestServer::websocket`](super::TestServer::websocket). Dropping it disconnects without a close.
pub struct TestWebSocket {
    socket: WebSocket<Within>,
    /// How the server has closed it.
    close: Option<Close>,
}

impl TestWebSocket {
    /// Opens a WebSocket, and also returns the fields of the response.
    pub(super) fn connect(
        url: &str,
        request: &TestRequest,
        mut stream: Within,
    ) -> Result<(TestWebSocket, HeaderMap), String> {
        stream.begin();
        let opened = tungstenite::client(handshake(url, request)?, stream);
        let (socket, response) = opened.map_err(|error| error.to_string())?;
        Ok((TestWebSocket { socket, close: None }, response.into_parts().0.headers))
    }

    /// Sends a message: a `&str`, a `String` or bytes.
    ///
    /// # Panics
    /// If the connection has ended, or the server reads nothing for 30 seconds.
    #[track_caller]
    pub fn send(&mut self, message: impl Into<Message>) {
        let frame = match message.into() {
            Message::Text(text) => Frame::text(text),
            Message::Binary(bytes) => Frame::binary(bytes),
        };
        value_of(self.socket.send(frame), format_args!("the message could not be sent"));
    }

    /// Waits for the next message. `None` if the server has closed the connection.
    ///
    /// # Panics
    /// If there is none within 30 seconds, or the connection breaks.
    #[track_caller]
    pub fn receive(&mut self) -> Option<Message> {
        value_of(self.read(), format_args!("no message"))
    }

    /// Waits until the server has closed the connection, and returns its close code and reason. Messages that arrive
    /// before that are dropped. The code is 1005 if the server has closed it without a code, and 1006 if the connection
    /// ended without a close.
    ///
    /// ```
    /// use modest::websocket::{self, Message, Socket, WebSocketHandler};
    /// use modest::{Result, handler_fn, testing};
    ///
    /// struct Door;
    ///
    /// impl WebSocketHandler for Door {
    ///     fn message(&mut self, _: Message, socket: &Socket) -> Result<()> {
    ///         Ok(socket.close(4001, "not today"))
    ///     }
    /// }
    ///
    /// let server = testing::serve(handler_fn(|request| websocket::accept(request, Door)));
    /// let mut socket = server.websocket("/");
    /// socket.send("let me in");
    /// let close = socket.end();
    /// assert_eq!((close.code, &*close.reason), (4001, "not today"));
    /// ```
    ///
    /// # Panics
    /// If that takes over 30 seconds after the last message.
    #[track_caller]
    pub fn end(&mut self) -> Close {
        let broken = |reason: String| Close { code: 1006, reason };
        loop {
            match self.read() {
                Ok(Some(_)) => {}
                Ok(None) => return self.close.clone().unwrap_or_else(|| broken(String::new())),
                Err(tungstenite::Error::Io(error)) if is_timeout(&error) => panic!("no close: {error}"),
                Err(error) => return broken(error.to_string()),
            }
        }
    }

    pub(super) fn within(&mut self) -> &mut Within {
        self.socket.get_mut()
    }

    fn read(&mut self) -> Result<Option<Message>, tungstenite::Error> {
        self.within().begin(); // a ping is not a message
        loop {
            match self.socket.read() {
                Ok(Frame::Text(text)) => return Ok(Some(Message::Text(text.as_str().to_owned()))),
                Ok(Frame::Binary(bytes)) => return Ok(Some(Message::Binary(bytes.to_vec()))),
                Ok(Frame::Close(frame)) => {
                    let (code, reason) = frame
                        .map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.as_str().to_owned()));
                    self.close.get_or_insert(Close { code, reason });
                }
                Ok(_) => {} // a ping, which was answered by a pong
                Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Closes the connection, and waits until the server has also closed it. Messages that arrive before that are
    /// dropped.
    ///
    /// # Panics
    /// If that takes over 30 seconds after the last message, or the connection breaks.
    #[track_caller]
    pub fn close(mut self) {
        let _ = self.socket.close(None);
        while self.receive().is_some() {}
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Adds the method and the fields of the request to those of a handshake.
fn handshake(url: &str, request: &TestRequest) -> Result<Handshake, String> {
    let mut handshake = url.into_client_request().map_err(|error| error.to_string())?;
    *handshake.method_mut() = request.method.clone();
    handshake.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
    for (name, value) in &request.fields {
        let invalid = |error: http::Error| format!("the field {name}: {error}");
        let name = HeaderName::try_from(name).map_err(|error| invalid(error.into()))?;
        let value = HeaderValue::try_from(value).map_err(|error| invalid(error.into()))?;
        if name == header::HOST {
            handshake.headers_mut().insert(name, value);
        } else {
            handshake.headers_mut().append(name, value);
        }
    }
    Ok(handshake)
}

opaque!(TestWebSocket);
