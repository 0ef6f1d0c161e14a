//! The socket of a stream, as its source and its sink.

use std::io::{self, BufRead, Read};
use std::net::Shutdown;
use std::sync::Arc;

use super::{Sink, Source};
use crate::tcp::input::READ_AHEAD;
use crate::tcp::sys::{NO_SIGNAL, SendFlags, Socket, was_reset};

const BUFFER: usize = 16 * 1024;

/// Reads the bytes that had arrived and were not used, then the socket.
pub(super) struct SocketSource {
    socket: Arc<Socket>,
    buffer: Vec<u8>,
    start: usize, // the bytes before this have been read
    ended: bool,
}

impl SocketSource {
    pub(super) fn new(socket: Arc<Socket>, buffer: Vec<u8>, ended: bool) -> SocketSource {
        SocketSource { socket, buffer, start: 0, ended }
    }
}

impl Source for SocketSource {}

/// A placeholder for the source of a stream while a layer is put above it.
impl Source for io::Empty {}

impl Read for SocketSource {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.start == self.buffer.len() && bytes.len() >= BUFFER && !self.ended {
            let count = receive(&self.socket, bytes)?; // directly into a large buffer
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
            let count = receive(&self.socket, &mut self.buffer)?;
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

fn receive(mut socket: &Socket, bytes: &mut [u8]) -> io::Result<usize> {
    match retry(|| socket.read(bytes))? {
        0 if !bytes.is_empty() && was_reset(socket) => Err(io::ErrorKind::ConnectionReset.into()),
        count => Ok(count),
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
