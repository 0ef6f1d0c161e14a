//! A connection that has left the engine: a blocking stream on a thread of its own.
//! Made by `workers`; nothing here is polled, and whoever holds a stream may wait for its client as long as it likes.

use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::input::READ_AHEAD;
use super::sync;
use super::sys::{SendFlags, Socket};

/// A client's connection as a blocking stream: what [`Conversation::take`](crate::raw::Conversation::take) is given.
///
/// Reading begins with what had arrived and was not used before. Dropped, the stream ends properly: the client gets all
/// that was written, and the engine reads what it still sends for up to 2 seconds, so that no reset destroys it
/// (RFC 9112, section 9.6, tells why); dropped by a panic, it is reset.
///
/// When the server shuts down, reading comes to the end of the stream, and writing goes on until the shutdown timeout, at
/// which the stream is reset: what was cut off does not look like an end.
pub struct Stream {
    socket: Arc<Socket>,
    client: Client,
    buffer: Vec<u8>,
    start: usize, // what is before this has been read
    ended: bool,
    registration: Option<Box<dyn Registered>>, // until it is dropped
}

/// The other half of a [`Stream`]: for writing on another thread than that which reads.
pub struct StreamWriter {
    socket: Arc<Socket>,
}

/// A stream's place among the connections of its server, given up when it is dropped.
pub trait Registered: Send {
    fn is_shutting_down(&self) -> bool;

    /// The stream is over, and half-closed: its client may still be sending.
    fn linger(self: Box<Self>, socket: &Socket, client: Client);
}

const BUFFER: usize = 16 * 1024;

impl Stream {
    pub(super) fn new(
        socket: Arc<Socket>,
        client: Client,
        unread: Vec<u8>,
        ended: bool,
        registration: Box<dyn Registered>,
    ) -> Stream {
        Stream { socket, client, buffer: unread, start: 0, ended, registration: Some(registration) }
    }

    /// Who it is.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The same stream of another client: a proxy has named it.
    pub(super) fn with_client(mut self, client: Client) -> Stream {
        self.client = client;
        self
    }

    /// How long a read, and how long a write, may wait for the client: for ever unless set. Past it the error is
    /// [`io::ErrorKind::WouldBlock`] or [`io::ErrorKind::TimedOut`], as `std`'s sockets have it.
    ///
    /// # Errors
    /// If it is zero.
    pub fn set_timeout(&mut self, limit: impl Into<Option<Duration>>) -> io::Result<()> {
        let limit = limit.into();
        self.socket.set_read_timeout(limit)?;
        self.socket.set_write_timeout(limit)
    }

    /// Whether the server is shutting down: say goodbye soon.
    pub fn is_shutting_down(&self) -> bool {
        self.registration.as_ref().is_some_and(|registration| registration.is_shutting_down())
    }

    /// For writing on another thread. It ends with the connection: to be waited for before this stream is dropped.
    pub fn writer(&self) -> StreamWriter {
        StreamWriter { socket: self.socket.clone() }
    }

    /// Send the end of the stream; reading goes on.
    ///
    /// # Errors
    /// If the client is gone.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.start == self.buffer.len() && bytes.len() >= BUFFER && !self.ended {
            return retry(|| (&*self.socket).read(bytes)); // straight into a large buffer
        }
        let count = self.fill_buf()?.read(bytes)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.buffer.len() && !self.ended {
            self.buffer.resize(self.buffer.capacity().clamp(BUFFER, READ_AHEAD), 0);
            self.start = self.buffer.len(); // nothing, should the read fail
            let count = retry(|| (&*self.socket).read(&mut self.buffer))?;
            self.buffer.truncate(count);
            self.start = 0;
            self.ended = count == 0;
        }
        Ok(&self.buffer[self.start..])
    }

    fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.buffer.len());
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        retry(|| self.socket.send_with_flags(bytes, NO_SIGNAL))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StreamWriter {
    /// End the connection in one direction or both, as [`TcpStream::shutdown`](std::net::TcpStream::shutdown): `Write` sends
    /// the end of the stream, and reading goes on; `Read` lets the [`Stream`] read no more than has come.
    ///
    /// # Errors
    /// If the client is gone.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }
}

impl Write for StreamWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        retry(|| self.socket.send_with_flags(bytes, NO_SIGNAL))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A client that is gone is an error of the write, not a signal to the process.
const NO_SIGNAL: i32 = SendFlags::NOSIGNAL.bits() as i32;

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if sync::panicking() {
            let _ = self.socket.set_linger(Some(Duration::ZERO)); // fails only where the connection is gone already
        } else if self.socket.shutdown(Shutdown::Write).is_ok()
            && !self.ended
            && let Some(registration) = self.registration.take()
        {
            registration.linger(&self.socket, self.client.clone());
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("client", &self.client).finish_non_exhaustive()
    }
}

impl fmt::Debug for StreamWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamWriter").finish_non_exhaustive()
    }
}
