//! The writing half of a stream. The stream itself writes through one.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::net::Shutdown;
use std::sync::Arc;

use super::Sink;
use crate::tcp::sync::{AtomicBool, Mutex, Ordering, lock, try_lock, yield_now};
#[cfg(feature = "proxy")]
use crate::tcp::sys;
use crate::tcp::sys::Socket;

/// How often the owner of a stream yields to other threads that are in a write.
const PATIENCE: usize = 1000;

/// The writing half of a [`Stream`](super::Stream), for a thread other than the reading thread.
///
/// The bytes of one call (`write_all`, `write!`, `writeln!`) arrive together, even if other threads write.
#[derive(Clone)]
pub struct StreamWriter {
    pub(in crate::tcp) socket: Arc<Socket>,
    pub(super) sink: Arc<dyn Sink>,
    whole: Arc<Mutex<()>>, // held for each write, so that two writers do not interleave
    /// Whether the last write has failed.
    has_failed: Arc<AtomicBool>,
    /// Whether a write of several bytes has failed, of which some may be written.
    is_incomplete: Arc<AtomicBool>,
}

impl StreamWriter {
    pub(super) fn new(socket: Arc<Socket>, sink: Arc<dyn Sink>) -> StreamWriter {
        let [has_failed, is_incomplete] = std::array::from_fn(|_| Arc::default());
        StreamWriter { sink, socket, whole: Arc::default(), has_failed, is_incomplete }
    }

    /// Returns whether the last write has failed. If it was `write`, all bytes before it are written.
    pub(in crate::tcp) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::SeqCst)
    }

    /// Returns whether the output ends at an unknown place: a write has failed, or another thread is still in one,
    /// because its client does not read.
    pub(super) fn is_incomplete(&self) -> bool {
        !self.writes_are_over() || self.is_incomplete.load(Ordering::SeqCst)
    }

    /// Returns whether there are other writers.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.whole) > 1
    }

    /// Lets other threads end writes that do not wait for the client. Returns whether none is left.
    fn writes_are_over(&self) -> bool {
        (0..PATIENCE).any(|_| {
            try_lock(&self.whole).is_some() || {
                yield_now();
                false
            }
        })
    }

    fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.sink.send_some(bytes, true) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    fn noted<T>(&self, written: io::Result<T>) -> io::Result<T> {
        self.has_failed.store(written.is_err(), Ordering::SeqCst);
        written
    }

    /// Ends the connection in one direction or both, like [`TcpStream::shutdown`](std::net::TcpStream::shutdown).
    /// `Write` sends the end of the stream, and reading is still possible (inside TLS it may wait for the client, like
    /// a write). After `Read`, the [`Stream`](super::Stream) reads only bytes that have already arrived. `Both` does
    /// not wait.
    ///
    /// # Errors
    /// If the client has disconnected.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if how == Shutdown::Write {
            return self.sink.end();
        }
        self.sink.end_reading();
        if how == Shutdown::Both {
            let _ = self.sink.finish(&[]); // on an error, the client sees that it was cut off
        }
        self.socket.shutdown(how)
    }
}

#[cfg(feature = "proxy")]
impl StreamWriter {
    /// Resets the connection at once, so that the client sees that it was cut off. Threads that read or write stop.
    pub(crate) fn cut_off(&self) {
        self.sink.end_reading();
        sys::cut_off(&self.socket);
    }
}

/// Each of these is one write, because each is one segment for a client, and one record for TLS.
impl Write for StreamWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _whole = lock(&self.whole);
        self.noted(self.sink.send_some(bytes, true))
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let _whole = lock(&self.whole);
        let written = self.noted(self.send_all(bytes));
        self.is_incomplete.fetch_or(written.is_err(), Ordering::SeqCst);
        written
    }

    fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        self.write_all(formatted(text)?.as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

fn formatted(text: fmt::Arguments<'_>) -> io::Result<Cow<'static, str>> {
    if let Some(text) = text.as_str() {
        return Ok(text.into());
    }
    let mut formatted = String::new();
    fmt::write(&mut formatted, text).map_err(|_| io::Error::other("a value can't be formatted"))?;
    Ok(formatted.into())
}

opaque!(StreamWriter);
