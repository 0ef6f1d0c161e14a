//! The socket of a stream, as its source and its sink.

use std::io::{self, BufRead, Read};
use std::net::Shutdown;
use std::sync::Arc;

use super::{Sink, Source};
use crate::tcp::input::READ_AHEAD;
use crate::tcp::sync::{AtomicBool, Ordering};
use crate::tcp::sys::{NO_SIGNAL, SendFlags, Socket, was_reset};

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

/// Writes to the socket.
pub struct SocketSink {
    socket: Arc<Socket>,
    /// Whether this side has ended a direction.
    has_ended: AtomicBool,
}

impl SocketSink {
    pub fn new(socket: Arc<Socket>) -> SocketSink {
        SocketSink { socket, has_ended: AtomicBool::new(false) }
    }

    /// Reads once. An end is a reset if the socket has no peer any more. If this side has ended a direction, the socket
    /// also has none when both sides have ended theirs.
    fn receive(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match retry(|| (&*self.socket).read(bytes))? {
            0 if !bytes.is_empty() && !self.has_ended.load(Ordering::SeqCst) && was_reset(&self.socket) => {
                Err(io::ErrorKind::ConnectionReset.into())
            }
            count => Ok(count),
        }
    }
}

impl Source for SocketSource {}

/// A placeholder for the source of a stream while a layer is put above it.
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
        retry(|| self.socket.send_with_flags(bytes, flags.bits() as i32))
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
