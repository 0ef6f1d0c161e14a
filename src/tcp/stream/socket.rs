//! The socket of a stream, as its source and its sink.

use std::io::{self, BufRead, Read};
use std::net::Shutdown;
use std::sync::Arc;

use super::{Sink, Source};
use crate::tcp::input::READ_AHEAD;
use crate::tcp::sync::{AtomicBool, OnceLock, Ordering, yield_now};
use crate::tcp::sys::{NO_SIGNAL, SendFlags, Socket, cut_off, error_was_taken, has_ended};

const BUFFER: usize = 16 * 1024;

/// Reads the bytes that had arrived and were not used, then the socket.
pub(super) struct SocketSource {
    sink: Arc<SocketSink>,
    buffer: Vec<u8>,
    start: usize, // the bytes before this have been read
    ended: bool,
}

impl SocketSource {
    pub(super) fn new(sink: Arc<SocketSink>, buffer: Vec<u8>, ended: bool) -> SocketSource {
        SocketSource { sink, buffer, start: 0, ended }
    }
}

pub struct SocketSink {
    socket: Arc<Socket>,
    /// Whether this side has ended a direction.
    has_ended: AtomicBool,
    /// The error that a write has received.
    failed: OnceLock<io::ErrorKind>,
    /// Whether a shutdown, or the server when it ended, has ended the reading before the client closed its sending
    /// side.
    is_cut: AtomicBool,
    /// Whether a shutdown does not end the reading.
    is_kept: AtomicBool,
    /// Whether the shutdown began before the stream. It ends the reading at the first read, unless the stream is kept.
    is_due: AtomicBool,
}

impl SocketSink {
    pub fn new(socket: Arc<Socket>) -> SocketSink {
        let [has_ended, is_cut, is_kept, is_due] = std::array::from_fn(|_| AtomicBool::new(false));
        SocketSink { socket, has_ended, failed: OnceLock::new(), is_cut, is_kept, is_due }
    }

    pub fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }

    /// Called when the server shuts down. Reads return what has arrived, and then the end if the client has closed its
    /// sending side by now, or an error: more could have followed.
    pub fn shut_down(&self) {
        if self.is_kept.load(Ordering::SeqCst) {
            return;
        }
        if !has_ended(&self.socket) {
            self.is_cut.store(true, Ordering::SeqCst);
        }
        let _ = self.socket.shutdown(Shutdown::Read); // fails only if the client has disconnected
    }

    /// Called when the stream begins during a shutdown.
    pub fn shut_down_soon(&self) {
        self.is_due.store(true, Ordering::SeqCst);
    }

    /// Called when the server ends. Reads and writes fail from now on.
    pub fn cut_off(&self) {
        self.is_cut.store(true, Ordering::SeqCst); // first: the reset wakes a thread that reads this
        cut_off(&self.socket);
    }

    /// Reads on during a shutdown.
    #[cfg(feature = "proxy")]
    pub fn keep(&self) {
        self.is_kept.store(true, Ordering::SeqCst);
    }

    /// Reads once. The kernel reports a reset only once. If a write has received that error, perhaps just now in
    /// another thread, a read of zero bytes is a reset and not the end of the stream. If the client closed its sending
    /// side before the reset, the error is a different one, and the read has found the end.
    fn receive(&self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.is_due.load(Ordering::Relaxed) && self.is_due.swap(false, Ordering::SeqCst) {
            self.shut_down();
        }
        match retry(|| (&*self.socket).read(bytes)) {
            Err(_) if self.is_cut.load(Ordering::SeqCst) => return Err(cut()), // the error of this side's shutdown
            Ok(0) if !bytes.is_empty() => {}
            result => return result,
        }
        let was_taken = !self.has_ended.load(Ordering::SeqCst) && error_was_taken(&self.socket);
        if was_taken {
            (0..PATIENCE).take_while(|_| self.failed.get().is_none()).for_each(|_| yield_now());
        }
        if self.is_cut.load(Ordering::SeqCst) {
            return Err(cut());
        }
        match self.failed.get() {
            Some(io::ErrorKind::ConnectionReset) => Err(io::ErrorKind::ConnectionReset.into()),
            None if was_taken => Err(io::ErrorKind::ConnectionReset.into()),
            _ => Ok(0),
        }
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the server is shutting down")
}

/// How often a thread that has read an end yields to one whose write returns with an error.
const PATIENCE: usize = 1000;

impl Source for SocketSource {}

/// A placeholder for the source of a stream while a codec is put above it.
impl Source for io::Empty {}

impl Read for SocketSource {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.start == self.buffer.len() && bytes.len() >= BUFFER && !self.ended {
            let count = self.sink.receive(bytes)?; // directly into a large buffer
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
            let count = self.sink.receive(&mut self.buffer)?;
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

impl Sink for SocketSink {
    fn send_some(&self, bytes: &[u8], waits: bool) -> io::Result<usize> {
        // A client that has disconnected causes an error, not a signal to the process.
        let flags = if waits { NO_SIGNAL } else { NO_SIGNAL | SendFlags::DONTWAIT };
        let sent = retry(|| self.socket.send_with_flags(bytes, flags.bits() as i32));
        if let Err(error) = &sent
            && error.kind() != io::ErrorKind::WouldBlock
        {
            let _ = self.failed.set(error.kind()); // the first one counts
        }
        sent
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn end(&self) -> io::Result<()> {
        self.end_reading();
        self.socket.shutdown(Shutdown::Write)
    }

    fn end_reading(&self) {
        self.has_ended.store(true, Ordering::SeqCst);
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
