//! A WebSocket client, for tests.

use std::net::TcpStream;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::Request as Handshake;
use tungstenite::{Message as Frame, WebSocket};

use super::{PATIENCE, TestRequest};
use crate::websocket::Message;

/// A WebSocket connection to a [`TestServer`](super::TestServer):
/// [`TestServer::websocket`](super::TestServer::websocket). Dropping it disconnects without a close.
pub struct TestWebSocket(WebSocket<TcpStream>);

impl TestWebSocket {
    /// Opens a WebSocket, and also returns the fields of the response.
    pub(super) fn connect(
        url: &str,
        request: &TestRequest,
        stream: TcpStream,
    ) -> Result<(TestWebSocket, HeaderMap), String> {
        let _ = (stream.set_read_timeout(Some(PATIENCE)), stream.set_write_timeout(Some(PATIENCE)));
        let opened = tungstenite::client(handshake(url, request)?, stream);
        let (socket, response) = opened.map_err(|error| error.to_string())?;
        Ok((TestWebSocket(socket), response.into_parts().0.headers))
    }

    /// Sends a message: a `&str`, a `String` or bytes.
    ///
    /// # Panics
    /// If the connection has ended.
    pub fn send(&mut self, message: impl Into<Message>) {
        let frame = match message.into() {
            Message::Text(text) => Frame::text(text),
            Message::Binary(bytes) => Frame::binary(bytes),
        };
        self.0.send(frame).unwrap_or_else(|error| panic!("the message could not be sent: {error}"));
    }

    /// Waits for the next message. `None` if the server has closed the connection.
    ///
    /// # Panics
    /// If there is none within 30 seconds, or the connection breaks.
    pub fn receive(&mut self) -> Option<Message> {
        loop {
            match self.0.read() {
                Ok(Frame::Text(text)) => return Some(Message::Text(text.as_str().to_owned())),
                Ok(Frame::Binary(bytes)) => return Some(Message::Binary(bytes.to_vec())),
                Ok(_) => {} // a ping (already answered by a pong), or a close (the next read fails)
                Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => return None,
                Err(error) => panic!("no message: {error}"),
            }
        }
    }

    /// Closes the connection, and waits until the server has also closed it. Messages that arrive before that are
    /// dropped.
    ///
    /// # Panics
    /// If that takes over 30 seconds.
    pub fn close(mut self) {
        let _ = self.0.close(None);
        while self.receive().is_some() {}
    }
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
