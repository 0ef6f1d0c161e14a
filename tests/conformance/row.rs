//! One row for each case: its name, the bytes to send, the expected response and the state of the connection after it.
//! The tables use these functions; `run` sends each row in all ways.

use crate::reader::{Asked, Framing};
use crate::sites::Site;

pub struct Row {
    /// RFC, section and topic: `9112 3.2 Host is missing`.
    pub name: &'static str,
    pub site: Site,
    pub steps: Vec<Step>,
    /// Sent only in one piece, because the row is about time.
    pub whole_only: bool,
}

/// Bytes to send, and the expected responses.
pub struct Step {
    pub bytes: Vec<u8>,
    /// The client closes its sending side after the bytes.
    pub ends: bool,
    pub wants: Vec<Want>,
}

/// The state of the connection after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Kept,
    /// The response has `close`, and the connection is closed.
    Closed,
    /// The server closes because the client has closed its sending side. `close` is optional.
    Ended,
    /// The response ends with a reset, so that a part does not look complete.
    Torn,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Any,
    Is(Vec<u8>),
    Holds(&'static str),
    Lacks(&'static str),
    /// Any bytes, of this number.
    Length(usize),
    /// The parts of a `multipart/byteranges`: `Content-Range` and bytes of each (RFC 9110, section 14.6).
    Parts(&'static [(&'static str, &'static str)]),
}

/// An expected response.
#[derive(Clone, Debug)]
pub struct Want {
    pub status: u16,
    pub then: Then,
    pub asked: Asked,
    /// Fields and their values, one per line.
    pub fields: Vec<(&'static str, Vec<String>)>,
    pub body: Body,
    pub framing: Option<Framing>,
    /// Whether a `100 Continue` may come before the response.
    pub maybe_continue: bool,
}

/// A request and its response.
pub fn row(name: &'static str, site: Site, wire: impl Wire, want: Want) -> Row {
    talk(name, site, vec![say(wire, [want])])
}

/// Several requests, or one in several steps. Each step waits for its responses.
pub fn talk(name: &'static str, site: Site, steps: Vec<Step>) -> Row {
    Row { name, site, steps, whole_only: false }
}

/// These bytes, and the responses to them in order.
pub fn say(wire: impl Wire, wants: impl IntoIterator<Item = Want>) -> Step {
    let bytes = wire.bytes();
    let mut wants: Vec<Want> = wants.into_iter().collect();
    if let [want] = &mut wants[..] {
        let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
        want.asked.head |= line.starts_with(b"HEAD ");
        want.asked.old |= line.ends_with(b" HTTP/1.0");
    }
    Step { bytes, ends: false, wants }
}

impl Row {
    /// The row is about time, so it is sent in one piece.
    pub fn whole_only(mut self) -> Row {
        self.whole_only = true;
        self
    }

    pub fn then(&self) -> Then {
        self.steps.iter().flat_map(|step| &step.wants).next_back().map_or(Then::Ended, |want| want.then)
    }
}

impl Step {
    /// The client closes its sending side after these bytes.
    pub fn and_end(mut self) -> Step {
        self.ends = true;
        self
    }
}

/// A response with this status, and the connection stays open.
pub fn is(status: u16) -> Want {
    Want {
        status,
        then: Then::Kept,
        asked: Asked::default(),
        fields: Vec::new(),
        body: Body::Any,
        framing: None,
        maybe_continue: false,
    }
}

/// A response with this status, and the connection is closed.
pub fn last(status: u16) -> Want {
    Want { then: Then::Closed, ..is(status) }
}

/// The interim response for which a client waits.
pub fn go_on() -> Want {
    is(100)
}

impl Want {
    pub fn has(self, name: &'static str, value: impl Into<String>) -> Want {
        self.each(name, [value.into()])
    }

    pub fn lacks(self, name: &'static str) -> Want {
        self.each(name, [])
    }

    /// The values of one field, in order.
    pub fn each(mut self, name: &'static str, values: impl IntoIterator<Item = String>) -> Want {
        self.asked.own_date |= name == "Date";
        self.fields.push((name, values.into_iter().collect()));
        self
    }

    pub fn body(self, body: impl Into<Vec<u8>>) -> Want {
        Want { body: Body::Is(body.into()), ..self }
    }

    pub fn holds(self, part: &'static str) -> Want {
        Want { body: Body::Holds(part), ..self }
    }

    pub fn hides(self, part: &'static str) -> Want {
        Want { body: Body::Lacks(part), ..self }
    }

    pub fn length(self, length: usize) -> Want {
        Want { body: Body::Length(length), ..self }
    }

    pub fn parts(self, parts: &'static [(&'static str, &'static str)]) -> Want {
        Want { body: Body::Parts(parts), ..self }
    }

    pub fn framed(self, framing: Framing) -> Want {
        Want { framing: Some(framing), ..self }
    }

    /// The connection ends because the client has closed its sending side.
    pub fn ended(self) -> Want {
        Want { then: Then::Ended, ..self }
    }

    pub fn torn(self) -> Want {
        Want { then: Then::Torn, ..self }
    }

    /// Marks the response to a HEAD among several.
    pub fn of_head(mut self) -> Want {
        self.asked.head = true;
        self
    }

    /// Marks the response to HTTP/1.0 among several.
    pub fn of_old(mut self) -> Want {
        self.asked.old = true;
        self
    }

    /// A `100 Continue` may come before it, depending on how the bytes arrive.
    pub fn maybe_continue(self) -> Want {
        Want { maybe_continue: true, ..self }
    }
}

/// Bytes that a row can send.
pub trait Wire {
    fn bytes(self) -> Vec<u8>;
}

impl Wire for &str {
    fn bytes(self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

impl Wire for String {
    fn bytes(self) -> Vec<u8> {
        self.into_bytes()
    }
}

impl Wire for Vec<u8> {
    fn bytes(self) -> Vec<u8> {
        self
    }
}

impl<const N: usize> Wire for &[u8; N] {
    fn bytes(self) -> Vec<u8> {
        self.to_vec()
    }
}

/// A valid request, except for the changes of a row.
#[derive(Clone)]
pub struct Ask {
    line: String,
    lines: String,
    body: Vec<u8>,
}

/// A request for this target, in HTTP/1.1, with a Host.
pub fn ask(method: &str, target: &str) -> Ask {
    Ask { line: format!("{method} {target} HTTP/1.1"), lines: "Host: a\r\n".into(), body: Vec::new() }
}

/// The same in HTTP/1.0, without a Host.
pub fn ask_old(method: &str, target: &str) -> Ask {
    Ask { line: format!("{method} {target} HTTP/1.0"), lines: String::new(), body: Vec::new() }
}

pub fn get(target: &str) -> Ask {
    ask("GET", target)
}

pub fn head(target: &str) -> Ask {
    ask("HEAD", target)
}

/// A request with this request line and a valid rest.
pub fn line(line: &str) -> Ask {
    Ask { line: line.into(), lines: "Host: a\r\n".into(), body: Vec::new() }
}

impl Ask {
    /// Adds a field line.
    pub fn with(mut self, line: impl AsRef<str>) -> Ask {
        self.lines += line.as_ref();
        self.lines += "\r\n";
        self
    }

    /// Removes the Host.
    pub fn without_host(mut self) -> Ask {
        self.lines = self.lines.replacen("Host: a\r\n", "", 1);
        self
    }

    /// Adds a body and its length.
    pub fn body(self, body: impl AsRef<[u8]>) -> Ask {
        let length = body.as_ref().len();
        self.with(format!("Content-Length: {length}")).raw(body)
    }

    /// Adds bytes after the head without a length.
    pub fn raw(mut self, body: impl AsRef<[u8]>) -> Ask {
        self.body.extend_from_slice(body.as_ref());
        self
    }

    /// Adds a chunked body in its encoded form.
    pub fn chunked(self, wire: impl AsRef<[u8]>) -> Ask {
        self.with("Transfer-Encoding: chunked").raw(wire)
    }

    /// Adds another request after this one.
    pub fn then(self, next: impl Wire) -> Vec<u8> {
        [self.bytes(), next.bytes()].concat()
    }
}

impl Wire for Ask {
    fn bytes(self) -> Vec<u8> {
        [format!("{}\r\n{}\r\n", self.line, self.lines).as_bytes(), &self.body].concat()
    }
}
