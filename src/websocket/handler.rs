//! The user's handler of one client.

use super::message::{Close, Message};
use super::socket::Socket;
use crate::Result;

/// Handles one client. Each client has its own handler, with its own fields.
///
/// Required: `message`. Optional: `opened`, `drained` and `closed`, which do nothing by default.
///
/// `opened`, `message` and `drained` may block. They run like request handlers, with one of the permits that
/// [`TcpServer::workers`](crate::TcpServer::workers) sets, one at a time per client and in order. If there is no permit
/// in time, the connection is closed with 1013. An error closes it with 1011, and is logged. A panic resets the
/// connection. Messages sent while one of them runs wait in the queue.
pub trait WebSocketHandler: Send + 'static {
    /// Called when the connection is open and messages can be sent. Keep a clone of the socket to send from other
    /// threads.
    ///
    /// # Errors
    /// Close the connection, with 1011.
    fn opened(&mut self, socket: &Socket) -> Result<()> {
        let _ = socket;
        Ok(())
    }

    /// Called with each complete message.
    ///
    /// # Errors
    /// Close the connection, with 1011.
    fn message(&mut self, message: Message, socket: &Socket) -> Result<()>;

    /// Called when the queue is empty again after a [`try_send`](Socket::try_send) was refused. Send the next messages
    /// here, so that the client sets the pace.
    ///
    /// # Errors
    /// Close the connection, with 1011.
    fn drained(&mut self, socket: &Socket) -> Result<()> {
        let _ = socket;
        Ok(())
    }

    /// Called once and last, when the connection has ended, for any reason, if `opened` was called.
    fn closed(&mut self, socket: &Socket, close: &Close) {
        let _ = (socket, close);
    }
}
