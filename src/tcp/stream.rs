//! A connection that has left the engine: a blocking stream on a thread of its own. Made by `workers`. Nothing here is
//! polled, and the owner of a stream can wait for its client as long as it likes.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::handle::ServerHandle;
use super::input::READ_AHEAD;
use super::sync::{self, Mutex, MutexGuard, PoisonError};
use super::sys::{NO_SIGNAL, SendFlags, Socket};

/// A client's connection as a blocking stream: the argument of [`Conversation::take`](crate::raw::Conversation::take).
///
/// Reading begins with the bytes that arrived before and were not used. When the stream is dropped, it ends normally:
/// the client gets everything that was written, and the engine reads what the client still sends for up to 2 seconds,
/// so that no reset destroys it (RFC 9112, section 9.6). When a panic drops it, it is reset.
///
/// TCP keepalive finds a client whose system no longer responds. Reading and writing then fail.
///
/// When the server shuts down, reading returns the end of the stream, and writing is possible until the shutdown
/// timeout, when the stream is reset.
///
/// Inside another protocol (TLS) it reads and writes the inner bytes. If a client leaves without the goodbye of that
/// protocol, reading returns [`UnexpectedEof`](io::ErrorKind::UnexpectedEof); if it breaks the protocol,
/// [`InvalidData`](io::ErrorKind::InvalidData): see [`was_cut`](Stream::was_cut). The stream's own goodbye is sent when
/// it is dropped and by [`shutdown_write`](Stream::shutdown_write), never after a panic. Each write is one record, or
/// one system call for plain TCP: use a [`BufWriter`](io::BufWriter) for many small writes. One `write!` or `writeln!`
/// is one write.
pub struct Stream {
    pub(super) socket: Arc<Socket>,
    client: Client,
    source: Box<dyn Source>,
    sink: Arc<dyn Sink>,
    whole: Arc<Mutex<()>>, // held for each write, so that two writers do not interleave
    line_limit: usize,
    ended: bool,
    is_reset: bool,
    registration: Option<Box<dyn Registered>>, // until it is dropped
}

/// The writing half of a [`Stream`], for another thread than the one that reads.
///
/// The bytes of one call (`write_all`, `write!`, `writeln!`) arrive together, even if other threads write.
pub struct StreamWriter {
    socket: Arc<Socket>,
    sink: Arc<dyn Sink>,
    whole: Arc<Mutex<()>>,
}

/// The source of a stream's bytes: the socket, or a layer above another source. An empty buffer is the end.
pub trait Source: BufRead + Send {
    /// Whether it ended without a goodbye.
    fn was_cut(&self) -> bool {
        false
    }

    /// Sets how long a read can wait for the client, if it reads the socket more than once.
    fn set_timeout(&mut self, limit: Option<Duration>) {
        let _ = limit;
    }
}

/// The destination of a stream's bytes: the socket, or a layer above another sink. Several threads can use it at once.
pub trait Sink: Send + Sync {
    /// Sends some of these bytes: as many as fit, or at least one if it may wait.
    fn send_some(&self, bytes: &[u8], waits: bool) -> io::Result<usize>;

    /// Waits until no sent bytes are kept here.
    fn flush(&self) -> io::Result<()>;

    /// Sends the goodbye after everything else, and the end of the stream. It may wait for the client.
    fn end(&self) -> io::Result<()>;

    /// Sends these bytes and the goodbye, without waiting. Returns the bytes that the socket has not accepted. After an
    /// error there is no goodbye, because the output is incomplete.
    fn finish(&self, last: &[u8]) -> io::Result<Vec<u8>>;

    /// The socket will be read to an end that the server causes, which is not a cut.
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

    /// The stream is over. These bytes are still to be sent to its client, which may still be sending. If there are
    /// none, it is half-closed.
    fn linger(self: Box<Self>, socket: &Socket, client: Client, owed: Vec<u8>);
}

/// The default maximum length of a line.
const LINE_LIMIT: usize = 1024 * 1024;
const BUFFER: usize = 16 * 1024;
/// The shortest timeout of a socket: a shorter one would mean no timeout.
pub(super) const LEAST_TIMEOUT: Duration = Duration::from_micros(1);

impl Stream {
    pub(super) fn new(
        socket: Arc<Socket>,
        client: Client,
        unread: Vec<u8>,
        ended: bool,
        registration: Box<dyn Registered>,
    ) -> Stream {
        let source = Box::new(SocketSource { socket: socket.clone(), buffer: unread, start: 0, ended });
        let registration = Some(registration);
        let (sink, whole, line_limit) = (socket.clone(), Arc::new(Mutex::new(())), LINE_LIMIT);
        Stream { sink, socket, client, source, whole, line_limit, ended: false, is_reset: false, registration }
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The same stream with a layer above its source and its sink.
    pub(super) fn through(
        mut self,
        layer: impl FnOnce(Box<dyn Source>, Arc<dyn Sink>, &Arc<Socket>) -> (Box<dyn Source>, Arc<dyn Sink>),
    ) -> Stream {
        let source = std::mem::replace(&mut self.source, Box::new(io::empty()));
        (self.source, self.sink) = layer(source, self.sink.clone(), &self.socket);
        self
    }

    /// Sets how long a read, and how long a write, can wait for the client. Then they fail with
    /// [`io::ErrorKind::WouldBlock`] or [`io::ErrorKind::TimedOut`], as with the sockets of `std`. Default: no limit; a
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
        self.socket.set_read_timeout(limit)?;
        self.socket.set_write_timeout(limit)?;
        self.source.set_timeout(limit);
        self.sink.set_timeout(limit);
        Ok(())
    }

    /// Sets the maximum length of a line for `read_line`, `read_until` and `lines`, in bytes, with its end. A longer
    /// line is the error [`io::ErrorKind::FileTooLarge`]. Default: 1 MiB; `None`: no limit, so that a client decides
    /// how much memory its line takes.
    pub fn set_line_limit(&mut self, bytes: impl Into<Option<usize>>) {
        self.line_limit = bytes.into().unwrap_or(usize::MAX);
    }

    /// Whether the server is shutting down: end soon.
    pub fn is_shutting_down(&self) -> bool {
        self.registration.as_ref().is_some_and(|registration| registration.is_shutting_down())
    }

    /// The server: to shut it down, or to read its statistics (Python's `self.server`).
    pub fn server(&self) -> ServerHandle {
        self.registration.as_ref().map_or_else(ServerHandle::default, |registration| registration.server())
    }

    /// Whether the client's bytes were cut off: they ended without the goodbye of the outer protocol (TLS: without
    /// `close_notify`), or broke that protocol, so more may have been sent. Reading has returned an error. Always false
    /// for plain TCP, which has no goodbye, and after an end by the server's shutdown.
    pub fn was_cut(&self) -> bool {
        self.source.was_cut() && !self.is_shutting_down()
    }

    /// Returns a writer for another thread. It ends with the connection, so wait for that thread before you drop this
    /// stream.
    pub fn writer(&self) -> StreamWriter {
        StreamWriter { socket: self.socket.clone(), sink: self.sink.clone(), whole: self.whole.clone() }
    }

    /// Sends the end of the stream. Reading is still possible. Inside TLS it may wait for the client, like a write.
    ///
    /// # Errors
    /// If the client has disconnected.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.sink.end()
    }

    /// Resets the connection when the stream is dropped: the client sees that what it got is incomplete.
    pub fn reset(&mut self) {
        self.is_reset = true;
    }

    /// An empty buffer, or a read of 0 bytes: the end, unless the stream was cut.
    fn end(&mut self) -> io::Result<()> {
        self.ended = true;
        match self.was_cut() {
            true => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the client left without a goodbye")),
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
        *line = String::from_utf8(bytes).expect("text behind text");
        result.and_then(|count| added.map(|()| count))
    }
}

/// Each of these is one write, because each is one segment for a client, and one record for TLS.
impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _whole = lock(&self.whole);
        self.sink.send_some(bytes, true)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        send_all(&*self.sink, &self.whole, bytes)
    }

    fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        self.write_all(formatted(text)?.as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

impl StreamWriter {
    /// Ends the connection in one direction or both, like [`TcpStream::shutdown`](std::net::TcpStream::shutdown).
    /// `Write` sends the end of the stream, and reading is still possible (inside TLS it may wait for the client, like
    /// a write). `Read` lets the [`Stream`] read only what has arrived. `Both` does not wait.
    ///
    /// # Errors
    /// If the client has disconnected.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if how == Shutdown::Write {
            return self.sink.end();
        }
        self.sink.end_reading();
        if how == Shutdown::Both {
            let _ = self.sink.finish(&[]); // without it the client sees that it was cut off
        }
        self.socket.shutdown(how)
    }
}

impl Write for StreamWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _whole = lock(&self.whole);
        self.sink.send_some(bytes, true)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        send_all(&*self.sink, &self.whole, bytes)
    }

    fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        self.write_all(formatted(text)?.as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Sends all bytes together, even if other threads write.
fn send_all(sink: &dyn Sink, whole: &Mutex<()>, mut bytes: &[u8]) -> io::Result<()> {
    let _whole = lock(whole);
    while !bytes.is_empty() {
        match sink.send_some(bytes, true) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

fn formatted(text: fmt::Arguments<'_>) -> io::Result<Cow<'static, str>> {
    if let Some(text) = text.as_str() {
        return Ok(text.into());
    }
    let mut formatted = String::new();
    fmt::write(&mut formatted, text).map_err(|_| io::Error::other("a value can't be formatted"))?;
    Ok(formatted.into())
}

fn lock(whole: &Mutex<()>) -> MutexGuard<'_, ()> {
    whole.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The socket itself, after the bytes that had arrived and were not used.
struct SocketSource {
    socket: Arc<Socket>,
    buffer: Vec<u8>,
    start: usize, // the bytes before this have been read
    ended: bool,
}

impl Source for SocketSource {}

/// The source of a stream while a layer is put above it.
impl Source for io::Empty {}

impl Read for SocketSource {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.start == self.buffer.len() && bytes.len() >= BUFFER && !self.ended {
            let count = retry(|| (&*self.socket).read(bytes))?; // directly into a large buffer
            self.ended = count == 0;
            return Ok(count);
        }
        let count = self.fill_buf()?.read(bytes)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for SocketSource {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.buffer.len() && !self.ended {
            self.buffer.resize(self.buffer.capacity().clamp(BUFFER, READ_AHEAD), 0);
            self.start = self.buffer.len(); // empty if the read fails
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

impl Sink for Socket {
    fn send_some(&self, bytes: &[u8], waits: bool) -> io::Result<usize> {
        // A client that has disconnected causes an error, not a signal to the process.
        let flags = if waits { NO_SIGNAL } else { NO_SIGNAL | SendFlags::DONTWAIT };
        retry(|| self.send_with_flags(bytes, flags.bits() as i32))
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn finish(&self, mut last: &[u8]) -> io::Result<Vec<u8>> {
        while !last.is_empty() {
            match self.send_some(last, false) {
                Ok(count) => last = &last[count..],
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => break,
                Err(err) => return Err(err),
            }
        }
        Ok(last.to_vec())
    }
}

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
        if sync::panicking() || self.is_reset {
            return; // without an end it is reset
        }
        let owed = self.sink.finish(&[]).unwrap_or_default();
        if owed.is_empty() {
            let _ = self.socket.set_linger(None); // fails only if the connection is already broken
        }
        // The engine writes what is unsent, because its clients wait without a thread.
        if (!owed.is_empty() || self.socket.shutdown(Shutdown::Write).is_ok() && !self.ended)
            && let Some(registration) = self.registration.take()
        {
            registration.linger(&self.socket, self.client.clone(), owed);
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
