//! A WebSocket client, for tests.

use std::net::TcpStream;

use tungstenite::{Message as Frame, WebSocket};

use super::PATIENCE;
use crate::websocket::Message;

/// A WebSocket connection to a [`TestServer`](super::TestServer):
/// [`TestServer::websocket`](super::TestServer::websocket). Dropping it disconnects without a close.
pub struct TestWebSocket(WebSocket<TcpStream>);

impl TestWebSocket {
    pub(super) fn connect(url: &str, stream: TcpStream) -> Result<TestWebSocket, String> {
        let _ = (stream.set_read_timeout(Some(PATIENCE)), stream.set_write_timeout(Some(PATIENCE)));
        tungstenite::client(url, stream).map(|(socket, _)| TestWebSocket(socket)).map_err(|error| error.to_string())
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

opaque!(TestWebSocket);
