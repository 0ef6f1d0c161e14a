//! Page 10: HTTP as a conversation of the engine: a request, a handler, a response, and the next request.

use std::fs::File;
use std::io::{Read, Take};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::engine::{Action, Conversation, Event, Turn};
use crate::head::{Rejection, reason};
use crate::message::{Request, request};

pub struct Response {
    pub status: u16,
    pub fields: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub file: Option<Take<File>>, // page 11: a part of a file, in place of `body`
}

impl Response {
    pub fn new(status: u16, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, fields: vec![("Content-Type", media_type.into())], body: body.into(), file: None }
    }

    pub fn text(status: u16, text: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", text)
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// The bytes of this response. A response to HEAD has the fields and no body; 304 has no body either.
    fn encode(&self, close: bool, is_head: bool) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.fields {
            assert!(!value.contains(['\r', '\n', '\0']), "a line break in the field {name}"); // a handler's mistake
            head += &format!("{name}: {value}\r\n");
        }
        if self.status != 304 {
            let length = self.file.as_ref().map_or(self.body.len() as u64, Take::limit);
            head += &format!("Content-Length: {length}\r\n");
        }
        head += if close { "Connection: close\r\n\r\n" } else { "\r\n" };
        let body = if is_head || self.status == 304 { &[][..] } else { &self.body };
        [head.as_bytes(), body].concat()
    }
}

/// A handler, which programs provide: a function from a request to a response. It may block.
pub type Handler = Arc<dyn Fn(&Request) -> Result<Response, Rejection> + Send + Sync>;

/// One client.
pub struct Http {
    handler: Handler,
    pending: Option<Request>,    // complete, and waiting for a permit
    sending: Option<Take<File>>, // the rest of a response
    close: bool,
}

impl Http {
    pub fn meet(handler: &Handler) -> Box<dyn Conversation> {
        Box::new(Self { handler: Arc::clone(handler), pending: None, sending: None, close: false })
    }

    /// Appends a response, and returns what comes after it.
    fn respond(&mut self, turn: &mut Turn, response: Response, is_head: bool) -> Action {
        self.close |= turn.stopping.load(Relaxed);
        turn.output.extend_from_slice(&response.encode(self.close, is_head));
        self.sending = response.file.filter(|_| !is_head);
        if self.close && self.sending.is_none() { Action::Close } else { Action::Again }
    }

    fn reject(&mut self, turn: &mut Turn, (status, reason): Rejection) -> Action {
        self.close = true;
        self.respond(turn, Response::text(status, reason), false)
    }

    /// Takes the next request from the input.
    fn receive(&mut self, turn: &mut Turn) -> Action {
        match request(turn.input) {
            Ok(None) => Action::Read,
            Ok(Some((request, length))) => {
                turn.input.drain(..length); // the next request begins exactly here
                self.close = !request.keep_alive;
                self.pending = Some(request);
                Action::Handle
            }
            Err(rejection) => self.reject(turn, rejection),
        }
    }

    /// Sends the next 64 KiB of a file. If it has become shorter, the connection ends, and the client sees that bytes are missing.
    fn send(&mut self, turn: &mut Turn, mut file: Take<File>) -> Action {
        match file.by_ref().take(65_536).read_to_end(turn.output) {
            Ok(length) if length > 0 && file.limit() > 0 => self.sending = Some(file),
            Ok(_) if file.limit() == 0 => return if self.close { Action::Close } else { Action::Again },
            _ => return Action::Close,
        }
        Action::Again
    }
}

impl Conversation for Http {
    fn turn(&mut self, mut turn: Turn) -> Action {
        match (turn.event, self.sending.take(), self.pending.take()) {
            (Event::Ready, None, None) => self.receive(&mut turn),
            (Event::Ready, file, request) => {
                (self.sending, self.pending) = (file, request);
                Action::Handle // reading from a disk may block as well
            }
            (Event::Permit, Some(file), _) => self.send(&mut turn, file),
            (Event::Permit, None, Some(request)) => {
                let response =
                    (self.handler)(&request).unwrap_or_else(|(status, reason)| Response::text(status, reason));
                self.respond(&mut turn, response, request.head.method == "HEAD")
            }
            (Event::NoPermit, None, _) => self.reject(&mut turn, (503, "busy\n")),
            _ => Action::Close, // the response is too short, which the client can see
        }
    }
}
