//! One row a case: its name, what is sent, what must come back, what becomes of the connection. Tables are written with these
//! words; `run` sends each row down every road.

use crate::reader::{Asked, Framing};
use crate::sites::Site;

pub struct Row {
    /// RFC and section, then what is special: `9112 3.2 Host is missing`.
    pub name: &'static str,
    pub site: Site,
    pub steps: Vec<Step>,
    /// Only whole: the row is about time.
    pub whole_only: bool,
}

/// Bytes that are sent, and the answers to them.
pub struct Step {
    pub bytes: Vec<u8>,
    /// The client ends its side behind them.
    pub ends: bool,
    pub wants: Vec<Want>,
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Kept,
    /// It says `close`, and closes.
    Closed,
    /// It closes because the client has ended its side; it need not say so.
    Ended,
    /// The answer breaks off with a reset, so that nobody takes a part for the whole.
    Torn,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Any,
    Is(Vec<u8>),
    Holds(&'static str),
    Lacks(&'static str),
    /// So many bytes, whichever.
    Length(usize),
    /// The parts of a `multipart/byteranges`: `Content-Range` and bytes of each (RFC 9110, section 14.6).
    Parts(&'static [(&'static str, &'static str)]),
}

/// An answer as it must be.
#[derive(Clone, Debug)]
pub struct Want {
    pub status: u16,
    pub then: Then,
    pub asked: Asked,
    /// Fields, and the values they stand there with, a line each.
    pub fields: Vec<(&'static str, Vec<String>)>,
    pub body: Body,
    pub framing: Option<Framing>,
    /// Whether a `100 Continue` may come before it.
    pub maybe_continue: bool,
}

/// A request and its answer.
pub fn row(name: &'static str, site: Site, wire: impl Wire, want: Want) -> Row {
    talk(name, site, vec![say(wire, [want])])
}

/// Several requests, or one in several steps: each is answered before the next is sent.
pub fn talk(name: &'static str, site: Site, steps: Vec<Step>) -> Row {
    Row { name, site, steps, whole_only: false }
}

/// These bytes, and the answers to them in order.
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
    /// It is about time: it is sent whole.
    pub fn whole_only(mut self) -> Row {
        self.whole_only = true;
        self
    }

    pub fn then(&self) -> Then {
        self.steps.iter().flat_map(|step| &step.wants).next_back().map_or(Then::Ended, |want| want.then)
    }
}

impl Step {
    /// The client ends its side behind these bytes.
    pub fn and_end(mut self) -> Step {
        self.ends = true;
        self
    }
}

/// An answer of this status, and the connection lives on.
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

/// An answer of this status, and the connection is closed.
pub fn last(status: u16) -> Want {
    Want { then: Then::Closed, ..is(status) }
}

/// The interim answer that a client waits for.
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

    /// Lines of one field, in order.
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

    /// The connection ends because the client has ended its side.
    pub fn ended(self) -> Want {
        Want { then: Then::Ended, ..self }
    }

    pub fn torn(self) -> Want {
        Want { then: Then::Torn, ..self }
    }

    /// Of several answers: this one is to a HEAD.
    pub fn of_head(mut self) -> Want {
        self.asked.head = true;
        self
    }

    /// Of several answers: this one is to HTTP/1.0.
    pub fn of_old(mut self) -> Want {
        self.asked.old = true;
        self
    }

    /// A `100 Continue` may come before it: whether it does depends on how the bytes come.
    pub fn maybe_continue(self) -> Want {
        Want { maybe_continue: true, ..self }
    }
}

/// What can be sent.
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

/// A request that is sound unless a row makes it unsound.
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

/// This request line, behind which all is sound.
pub fn line(line: &str) -> Ask {
    Ask { line: line.into(), lines: "Host: a\r\n".into(), body: Vec::new() }
}

impl Ask {
    /// One more field line.
    pub fn with(mut self, line: impl AsRef<str>) -> Ask {
        self.lines += line.as_ref();
        self.lines += "\r\n";
        self
    }

    /// Without the Host that it was given.
    pub fn without_host(mut self) -> Ask {
        self.lines = self.lines.replacen("Host: a\r\n", "", 1);
        self
    }

    /// A body and its length.
    pub fn body(self, body: impl AsRef<[u8]>) -> Ask {
        let length = body.as_ref().len();
        self.with(format!("Content-Length: {length}")).raw(body)
    }

    /// Bytes behind the head, of which it says nothing.
    pub fn raw(mut self, body: impl AsRef<[u8]>) -> Ask {
        self.body.extend_from_slice(body.as_ref());
        self
    }

    /// A chunked body, as it stands on the wire.
    pub fn chunked(self, wire: impl AsRef<[u8]>) -> Ask {
        self.with("Transfer-Encoding: chunked").raw(wire)
    }

    /// And one more request behind it.
    pub fn then(self, next: impl Wire) -> Vec<u8> {
        [self.bytes(), next.bytes()].concat()
    }
}

impl Wire for Ask {
    fn bytes(self) -> Vec<u8> {
        [format!("{}\r\n{}\r\n", self.line, self.lines).as_bytes(), &self.body].concat()
    }
}
