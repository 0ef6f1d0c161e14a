//! Page 6: one client whose socket never blocks. Keeps what has arrived and what is still to be sent.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use crate::head::{Head, parse, response};

/// A client, with a buffer for each direction.
pub struct Client<S> {
    pub socket: S,
    pub deadline: Instant,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl<S: Read + Write> Client<S> {
    pub fn new(socket: S, within: Duration) -> Self {
        Self { socket, deadline: Instant::now() + within, input: Vec::new(), output: Vec::new() }
    }

    /// Reads and writes without waiting. Returns false if the connection is to be closed.
    pub fn turn(&mut self, handle: impl Fn(&Head) -> String) -> io::Result<bool> {
        if self.output.is_empty() && !self.read(handle)? {
            return Ok(false);
        }
        self.write()
    }

    /// Reads until a head is complete or nothing more has arrived. Returns false if the client has closed its side.
    fn read(&mut self, handle: impl Fn(&Head) -> String) -> io::Result<bool> {
        let mut buffer = [0; 1024];
        while self.output.is_empty() {
            match self.socket.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(length) => self.input.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true), // the rest will come later
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            match parse(&self.input) {
                Ok(None) => {}
                Ok(Some((head, _))) => self.output = handle(&head).into(),
                Err((status, reason)) => self.output = response(status, &format!("{reason}\n")).into(),
            }
        }
        Ok(true)
    }

    /// Writes until everything is sent or the kernel accepts no more. Returns false if everything is sent.
    fn write(&mut self) -> io::Result<bool> {
        while !self.output.is_empty() {
            match self.socket.write(&self.output) {
                Ok(length) => drop(self.output.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.output.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The handler of pages 6 to 9: `/big` is large, `/slow` takes ten seconds, everything else gets a greeting.
pub fn handle(head: &Head) -> String {
    match head.target.as_str() {
        "/big" => response(200, &"a long book\n".repeat(1_000_000)),
        "/slow" => {
            std::thread::sleep(Duration::from_secs(10)); // a database, a disk, another server
            response(200, "finally\n")
        }
        target => response(200, &format!("Hello, {target}!\n")),
    }
}
