//! Page 9: one connection of the engine: its socket, its buffers, and its conversation. It never waits.

use std::io::{self, ErrorKind, Read, Write};
use std::mem::take;
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use mio::Token;
use mio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_secs(10); // without progress
const GOODBYE: Duration = Duration::from_secs(2); // for a client to close its side
const MAX_INPUT: usize = 65_536;

/// The data for one turn of a conversation.
pub struct Turn<'a> {
    pub input: &'a mut Vec<u8>,
    pub output: &'a mut Vec<u8>,
    pub event: Event,
    pub stopping: &'a AtomicBool, // can become true while a handler runs
}

/// The reason for a call of a conversation: bytes have arrived or the output is written (`Ready`); it may block
/// (`Permit`); it may not, since too many others wait (`NoPermit`).
#[derive(Clone, Copy, PartialEq)]
pub enum Event {
    Ready,
    Permit,
    NoPermit,
}

/// The event that a conversation waits for next. The output is written before that.
#[derive(Clone, Copy, PartialEq)]
pub enum Action {
    Read,   // more bytes
    Handle, // a turn that may block
    Again,  // another turn once the output is written
    Close,  // nothing
}

/// A protocol, for one client. A turn must not block, unless its event is `Permit`.
pub trait Conversation: Send {
    fn turn(&mut self, turn: Turn) -> Action;
}

/// The next step of a worker with a connection.
pub enum Then {
    Call,
    Permit,
    Later, // others first
    Park,
    Close,
}

pub struct Connection {
    pub token: Token,
    pub deadline: Instant,
    socket: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    next: Action,
    goodbye: bool, // the output has ended; we wait for the client to see it
    conversation: Box<dyn Conversation>,
}

impl Connection {
    pub fn new(token: Token, socket: TcpStream, conversation: Box<dyn Conversation>) -> Self {
        let (input, output, deadline) = (Vec::new(), Vec::new(), Instant::now() + TIMEOUT);
        Self { token, deadline, socket, input, output, next: Action::Read, goodbye: false, conversation }
    }

    /// Calls the conversation. A panic ends only this connection.
    pub fn call(&mut self, event: Event, stopping: &AtomicBool) {
        let length = self.input.len();
        let turn = Turn { input: &mut self.input, output: &mut self.output, event, stopping };
        let called = catch_unwind(AssertUnwindSafe(|| self.conversation.turn(turn)));
        self.next = called.unwrap_or(Action::Close);
        if self.input.len() < length || !self.output.is_empty() {
            self.deadline = Instant::now() + TIMEOUT;
        }
    }

    /// Whether it waits for a message that has not begun.
    pub fn is_idle(&self) -> bool {
        self.next == Action::Read && self.input.is_empty() && self.output.is_empty()
    }

    /// Does the work that does not need the conversation.
    pub fn proceed(&mut self) -> io::Result<Then> {
        if !self.write()? {
            return Ok(Then::Park);
        }
        match self.next {
            Action::Handle => Ok(Then::Permit),
            Action::Again => Ok(Then::Call),
            Action::Read => self.read(),
            Action::Close => self.part(),
        }
    }

    /// Reads once. If no byte has arrived, the connection is parked until one does.
    fn read(&mut self) -> io::Result<Then> {
        let mut buffer = [0; 16_384];
        match self.socket.read(&mut buffer) {
            Ok(0) => Ok(Then::Close),
            Ok(_) if self.input.len() >= MAX_INPUT => Ok(Then::Close), // the conversation should have rejected it
            Ok(length) => {
                self.input.extend_from_slice(&buffer[..length]);
                Ok(Then::Call)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Then::Park),
            Err(error) => Err(error),
        }
    }

    /// Writes until the kernel takes no more. Returns whether everything is written.
    fn write(&mut self) -> io::Result<bool> {
        let output = take(&mut self.output);
        let mut written = 0;
        while written < output.len() {
            match self.socket.write(&output[written..]) {
                Ok(length) => written += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.output = output[written..].to_vec();
        Ok(self.output.is_empty())
    }

    /// Ends our side, and drops what the client still sends until it ends its own (page 13).
    fn part(&mut self) -> io::Result<Then> {
        if !self.goodbye {
            self.goodbye = true;
            self.deadline = Instant::now() + GOODBYE;
            self.socket.shutdown(Shutdown::Write)?;
        }
        if Instant::now() > self.deadline {
            return Ok(Then::Close);
        }
        self.input.clear();
        Ok(match self.read()? {
            Then::Call => Then::Later, // a client that sends without a pause holds no worker
            then => then,
        })
    }
}
