//! What is called: the user's side of one client.

use super::message::{Close, Message};
use super::socket::Socket;
use crate::Result;

/// One client's handler: made for each client, with fields of its own.
///
/// To write: `message`. To change if you like: `opened`, `closed`, which do nothing.
///
/// `opened` and `message` may block: they run as request handlers do, with one of the permits that
/// [`TcpServer::workers`](crate::TcpServer::workers) counts, one at a time for each client and in order. If no permit is
/// to be had in time, the client is closed with 1013. An error closes with 1011, and the log hears why; a panic resets
/// the connection. While one of them runs, what it sends waits in the queue.
pub trait WebSocketHandler: Send + 'static {
    /// The client is there: what is sent from here on reaches it. Keep a clone of the socket to send from elsewhere.
    ///
    /// # Errors
    /// Close the connection, with 1011.
    fn opened(&mut self, socket: &Socket) -> Result<()> {
        let _ = socket;
        Ok(())
    }

    /// A message has come, whole.
    ///
    /// # Errors
    /// Close the connection, with 1011.
    fn message(&mut self, message: Message, socket: &Socket) -> Result<()>;

    /// The connection is over, for whatever reason: called once, after everything else, if `opened` was called.
    fn closed(&mut self, socket: &Socket, close: &Close) {
        let _ = (socket, close);
    }
}
