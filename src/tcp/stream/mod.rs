//! A connection that has left the engine: a blocking stream on a thread of its own. Created by `workers`. Nothing here
//! is polled, and the owner of a stream can wait for its client indefinitely.

mod paced; // a writer with the limits of a response
mod socket; // the socket as source and sink
mod writer; // the writing half

pub use paced::PacedWriter;
pub use writer::StreamWriter;

use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::handle::ServerHandle;
use super::pace::SendLimits;
use super::sync;
use super::sys::{self, Socket};
pub(super) use socket::SocketSink;
use socket::SocketSource;

/// A client's connection as a blocking stream: the argument of [`Conversation::take`](crate::raw::Conversation::take).
///
/// Reading begins with the bytes that arrived before and were not used. When the stream is dropped, it ends normally:
/// the client gets everything that was written, and the engine reads what the client still sends until it is silent for
/// 2 seconds, for up to 30 seconds in all, so that no reset destroys it (RFC 9112, section 9.6). It is reset when a
/// panic drops it, if `write_all` has failed or timed out, and if another thread still waits in a write: the output is
/// incomplete.
///
/// If the client's system no longer responds, TCP keepalive detects that, and reading and writing fail.
///
/// When the server shuts down, reading returns the bytes that have arrived, and then the end if the client had closed
/// its sending side. Otherwise it fails with [`ConnectionAborted`](io::ErrorKind::ConnectionAborted), so that half a
/// message does not look complete. Writing is possible until the shutdown timeout, when the stream is reset.
///
/// Inside another protocol (TLS) it reads and writes the inner bytes. If a client disconnects without the goodbye of
/// that protocol, reading returns [`UnexpectedEof`](io::ErrorKind::UnexpectedEof); if it violates the protocol,
/// [`InvalidData`](io::ErrorKind::InvalidData): see [`was_cut`](Stream::was_cut). The stream's own goodbye is sent when
/// it is dropped and by [`shutdown_write`](Stream::shutdown_write), never after a panic. Each write is one record, or
/// one system call for plain TCP: use a [`BufWriter`](io::BufWriter) for many small writes. One `write!` or `writeln!`
/// is one write.
pub struct Stream {
    pub(super) writer: StreamWriter,
    #[cfg(feature = "proxy")]
    socket: Arc<SocketSink>,
    source: Box<dyn Source>,
    line_limit: usize,
    ended: bool,
    is_reset: bool,
    end: StreamEnd, // last, so that it is dropped when the fields above have released the socket
}

/// The end of a stream, when it is dropped.
struct StreamEnd {
    client: Client,
    registration: Option<Box<dyn Registered>>, // until it is dropped
    /// The socket and the bytes that are still to be sent, if the engine is to end the connection.
    owed: Option<(Arc<Socket>, Vec<u8>)>,
}

/// The source of a stream's bytes: the socket, or a codec above another source. An empty buffer is the end.
pub trait Source: BufRead + Send {
    /// Returns whether it ended without a goodbye.
    fn was_cut(&self) -> bool {
        false
    }

    /// Sets how long a read can wait for the client, if it reads the socket more than once.
    fn set_timeout(&mut self, limit: Option<Duration>) {
        let _ = limit;
    }
}

/// The destination of a stream's bytes: the socket, or a codec above another sink. Several threads can use it at once.
pub trait Sink: Send + Sync {
    /// Sends some of these bytes: as many as fit, or at least one if it may wait.
    fn send_some(&self, bytes: &[u8], waits: bool) -> io::Result<usize>;

    /// Waits until all sent bytes are written.
    fn flush(&self) -> io::Result<()>;

    /// Sends the goodbye after everything else, and the end of the stream. It may wait for the client.
    fn end(&self) -> io::Result<()>;

    /// Sends these bytes and the goodbye, without waiting. Returns the bytes that the socket has not accepted. After an
    /// error there is no goodbye, because the output is incomplete.
    fn finish(&self, last: &[u8]) -> io::Result<Vec<u8>>;

    /// Called before the server ends the reading itself: this end does not count as a cut.
    fn end_reading(&self) {}

    /// Sets how long a write can wait for the client, if it writes to the socket more than once.
    fn set_timeout(&self, limit: Option<Duration>) {
        let _ = limit;
    }
}

/// A stream's place among the connections of its server, released when it is dropped.
pub trait Registered: Send {
    fn is_shutting_down(&self) -> bool;

    fn server(&self) -> ServerHandle;

    /// Returns the limits of a client that reads too slowly.
    fn send_limits(&self) -> SendLimits;

    /// Called when the stream has ended. `owed` is still to be sent to its client, which may still be sending. Without
    /// such bytes, the stream is already half-closed. Only writers of other threads still have the socket.
    fn linger(self: Box<Self>, socket: Arc<Socket>, client: Client, owed: Vec<u8>);
}

/// The default maximum length of a line.
const LINE_LIMIT: usize = 1024 * 1024;
/// The shortest timeout of a socket: a shorter one would mean no timeout.
pub(super) const LEAST_TIMEOUT: Duration = Duration::from_micros(1);

impl Stream {
    pub(super) fn new(
        sink: Arc<SocketSink>,
        client: Client,
        unread: Vec<u8>,
        ended: bool,
        registration: Box<dyn Registered>,
    ) -> Stream {
        let socket = sink.socket().clone();
        let source = Box::new(SocketSource::new(Arc::clone(&sink), unread, ended));
        let end = StreamEnd { client, registration: Some(registration), owed: None };
        Stream {
            writer: StreamWriter::new(socket, Arc::clone(&sink) as Arc<dyn Sink>),
            #[cfg(feature = "proxy")]
            socket: sink,
            source,
            line_limit: LINE_LIMIT,
            ended: false,
            is_reset: false,
            end,
        }
    }

    /// Returns the client.
    pub fn client(&self) -> &Client {
        &self.end.client
    }

    fn registration(&self) -> Option<&dyn Registered> {
        self.end.registration.as_deref()
    }

    /// Returns this stream with a codec above its source and its sink.
    pub(super) fn through(
        mut self,
        codec: impl FnOnce(Box<dyn Source>, Arc<dyn Sink>, &Arc<Socket>) -> (Box<dyn Source>, Arc<dyn Sink>),
    ) -> Stream {
        let source = std::mem::replace(&mut self.source, Box::new(io::empty()));
        (self.source, self.writer.sink) = codec(source, self.writer.sink.clone(), &self.writer.socket);
        self
    }

    /// Sets how long a read, and how long a write, can wait for the client. After that they fail with
    /// [`io::ErrorKind::WouldBlock`] or [`io::ErrorKind::TimedOut`], like the sockets of `std`. Default: no limit; a
    /// [`StreamHandler`](crate::raw::StreamHandler::timeout) sets 60 seconds.
    ///
    /// # Errors
    /// If it is zero.
    pub fn set_timeout(&mut self, limit: impl Into<Option<Duration>>) -> io::Result<()> {
        let limit = limit.into();
        if limit == Some(Duration::ZERO) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a timeout must not be zero; `None` turns it off"));
        }
        let limit = limit.map(|limit| limit.max(LEAST_TIMEOUT));
        self.writer.socket.set_read_timeout(limit)?;
        self.writer.socket.set_write_timeout(limit)?;
        self.source.set_timeout(limit);
        self.writer.sink.set_timeout(limit);
        Ok(())
    }

    /// Sets the maximum length of a line for `read_line`, `read_until` and `lines`, in bytes, with its end. A longer
    /// line is the error [`io::ErrorKind::FileTooLarge`]. Default: 1 MiB; `None`: no limit, so that clients can use any
    /// amount of memory.
    pub fn set_line_limit(&mut self, bytes: impl Into<Option<usize>>) {
        self.line_limit = bytes.into().unwrap_or(usize::MAX);
    }

    /// Returns whether the server is shutting down. The handler should then end soon.
    pub fn is_shutting_down(&self) -> bool {
        self.registration().is_some_and(|registration| registration.is_shutting_down())
    }

    /// Returns the server: to shut it down, or to read its statistics (Python's `self.server`).
    pub fn server(&self) -> ServerHandle {
        self.registration().map_or_else(ServerHandle::default, |registration| registration.server())
    }

    /// Returns whether the client's bytes were cut off: they ended without the goodbye of the outer protocol (TLS:
    /// without `close_notify`), or broke that protocol, so more may have been sent. Reading has returned an error.
    /// Always false for plain TCP, which has no goodbye. Not set by the server's shutdown.
    pub fn was_cut(&self) -> bool {
        self.source.was_cut()
    }

    /// Returns a writer for another thread. Dropping this stream ends the connection, so wait for that thread first.
    pub fn writer(&self) -> StreamWriter {
        self.writer.clone()
    }

    /// Sends the end of the stream. Reading is still possible. Inside TLS it may wait for the client, like a write.
    ///
    /// # Errors
    /// If the client has disconnected.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.writer.sink.end()
    }

    /// Resets the connection when the stream is dropped, so that the client sees that the output is incomplete.
    pub fn reset(&mut self) {
        self.is_reset = true;
    }

    /// Lets a shutdown of the server end neither reading nor writing, before the shutdown timeout.
    #[cfg(feature = "proxy")]
    pub(crate) fn outlive_shutdown(&self) {
        self.socket.keep();
    }

    /// Called for an empty buffer or a read of 0 bytes: this is the end, or an error if the stream was cut.
    fn end(&mut self) -> io::Result<()> {
        self.ended = true;
        match self.was_cut() {
            true => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the client disconnected without `close_notify`")),
            false => Ok(()),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(bytes)?;
        if count == 0 && !bytes.is_empty() {
            self.end()?;
        }
        Ok(count)
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.source.fill_buf()?.is_empty() {
            self.end()?;
            return Ok(&[]);
        }
        self.source.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.source.consume(count);
    }

    fn read_until(&mut self, end: u8, line: &mut Vec<u8>) -> io::Result<usize> {
        let before = line.len();
        loop {
            let limit = self.line_limit;
            let bytes = match self.fill_buf() {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                bytes => bytes?,
            };
            let found = memchr::memchr(end, bytes);
            let count = found.map_or(bytes.len(), |at| at + 1);
            if line.len() - before + count > limit {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("a line of more than {limit} bytes")));
            }
            line.extend_from_slice(&bytes[..count]);
            self.consume(count);
            if found.is_some() || count == 0 {
                return Ok(line.len() - before);
            }
        }
    }

    fn read_line(&mut self, line: &mut String) -> io::Result<usize> {
        let (before, mut bytes) = (line.len(), std::mem::take(line).into_bytes());
        let result = self.read_until(b'\n', &mut bytes);
        let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "a line that is not UTF-8");
        // Bytes before an error stay if they are text, because the rest of the line may come later.
        let added = str::from_utf8(&bytes[before..]).map(drop).map_err(not_text);
        bytes.truncate(if added.is_ok() { bytes.len() } else { before });
        *line = String::from_utf8(bytes).expect("a line that was UTF-8 is still UTF-8");
        result.and_then(|count| added.map(|()| count))
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)
    }

    fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        self.writer.write_fmt(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if sync::panicking() || self.is_reset || self.writer.is_incomplete() {
            // The output is incomplete. Closing the socket shows it to the client, but a writer in another thread must
            // not keep the connection open.
            return match self.writer.is_shared() {
                true => sys::cut_off(&*self.writer.socket),
                false => sys::reset(&*self.writer.socket),
            };
        }
        let owed = self.writer.sink.finish(&[]).unwrap_or_default();
        if owed.is_empty() {
            let _ = self.writer.socket.set_linger(None); // fails only if the connection is already broken
        }
        // The engine writes unsent bytes, because it needs no thread to wait for the client.
        if !owed.is_empty() || self.writer.socket.shutdown(Shutdown::Write).is_ok() && !self.ended {
            self.end.owed = Some((self.writer.socket.clone(), owed));
        }
    }
}

impl Drop for StreamEnd {
    fn drop(&mut self) {
        if let (Some(registration), Some((socket, owed))) = (self.registration.take(), self.owed.take()) {
            registration.linger(socket, self.client.clone(), owed);
        }
    }
}

opaque!(Stream { client() });
