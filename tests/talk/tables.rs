//! One row for each case, and a function that tries it: on a new and on a used connection, whole, byte by byte, split
//! at every byte, and with another request behind it. The response must always be the same.

use modest::{Http, Request, RequestHandler, Response, Result};

use crate::around;
use crate::cipher::{self, End};
use crate::peer::{Answer, Peer, Road};

/// Responds with the request, so that a body that is parsed as a request would show.
pub struct Mirror;

impl Mirror {
    fn show(request: &Request) -> Result<Response> {
        let head = format!("{} {}", request.method(), request.target());
        let body = request.bytes()?;
        Ok(Response::bytes([head.as_bytes(), b"\n", &body[..]].concat()))
    }
}

impl RequestHandler for Mirror {
    fn do_get(&self, request: &Request) -> Result<Response> {
        Mirror::show(request)
    }

    fn do_post(&self, request: &Request) -> Result<Response> {
        Mirror::show(request)
    }

    fn do_put(&self, request: &Request) -> Result<Response> {
        Mirror::show(request)
    }

    fn do_other(&self, request: &Request) -> Result<Response> {
        match request.method().as_str() {
            "TRACE" => Err(modest::Error::new(501, "no traces")),
            _ => Mirror::show(request),
        }
    }

    fn log_request(&self, _: &modest::LogRecord<'_>) {}
}

pub fn mirror() -> Http<Mirror> {
    Http::new(Mirror)
}

/// The expected outcome of a row.
#[derive(Clone, Copy, Debug)]
pub enum Then {
    /// 200 with this text after the line, and the connection stays open.
    Kept(&'static str),
    /// 200 with this text after the line, and the connection is closed.
    Closed(&'static str),
    /// This status, and the connection stays open.
    KeptWith(u16),
    /// This status, and the connection is closed.
    Refused(u16),
    /// The request is incomplete.
    Wants,
}

pub fn check(name: &str, wire: impl AsRef<[u8]>, then: Then) {
    check_with(&mirror(), name, wire, then);
}

pub fn check_with<H: RequestHandler>(http: &Http<H>, name: &str, wire: impl AsRef<[u8]>, then: Then) {
    let wire = wire.as_ref();
    let (_, reference) = travel(http, &[], wire, Road::Whole, &[]);
    judge(name, wire, &reference, then);
    let (before, _) = travel(http, FIRST, &[], Road::Whole, &[]);
    for road in roads(wire.len()) {
        let shown = || format!("{name}, {road:?}: {:?}", Shown(wire));
        let (_, fresh) = travel(http, &[], wire, road, &[]);
        assert_eq!(fresh, reference, "on a fresh connection: {}", shown());
        let (first, kept) = travel(http, FIRST, wire, road, &[]);
        assert_eq!((first, &kept), (before.clone(), &reference), "on a kept connection: {}", shown());
        if matches!(then, Then::Wants) {
            continue;
        }
        let (_, followed) = travel(http, &[], wire, road, NEXT);
        let mut expected = reference.clone();
        if reference.open {
            expected.said.extend(travel(http, &[], NEXT, Road::Whole, &[]).1.said);
        }
        assert_eq!(followed, expected, "with the next request behind it: {}", shown());
    }
    let roads = roads(wire.len()).filter(|road| !matches!(road, Road::Cut(at) if at % 7 != 3));
    for road in roads.filter(|_| wire.len() < 10_000) {
        for record in [1, 7, 10_000] {
            let inside = travel_inside(http, wire, road, record);
            assert_eq!(inside, reference, "in records of {record} bytes, {name}, {road:?}: {:?}", Shown(wire));
        }
    }
}

/// The same request inside a cipher.
fn travel_inside<H: RequestHandler>(http: &Http<H>, wire: &[u8], road: Road, record: usize) -> Outcome {
    let mut peer = around::in_memory(http);
    road.send(&cipher::sealed(wire, record), &mut peer);
    let (said, end) = cipher::opened(&peer.said);
    let wanted = if peer.is_open() { End::None } else { End::Goodbye };
    assert_eq!(end, wanted, "{:?}", Shown(wire));
    Outcome { said: strip_continue(&said), open: peer.is_open() }
}

/// A long row is split at its beginning, at its end, and at some places in between.
fn roads(length: usize) -> impl Iterator<Item = Road> {
    Road::all(length).filter(move |road| match road {
        Road::ByteByByte => length < 40_000,
        Road::Cut(at) => length < 400 || *at < 40 || length - at < 40 || at % 509 == 0,
        Road::Whole => true,
    })
}

const FIRST: &[u8] = b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n";
const NEXT: &[u8] = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n";

#[derive(Clone, PartialEq, Eq)]
struct Outcome {
    said: Vec<u8>,
    open: bool,
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", if self.open { "open" } else { "closed" }, String::from_utf8_lossy(&self.said))
    }
}

struct Shown<'a>(&'a [u8]);

impl std::fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy(&self.0[..self.0.len().min(300)]);
        write!(f, "{text:?}")
    }
}

fn travel<H: RequestHandler>(
    http: &Http<H>,
    before: &[u8],
    wire: &[u8],
    road: Road,
    behind: &[u8],
) -> (Vec<u8>, Outcome) {
    let mut peer = Peer::new(http);
    if !before.is_empty() {
        peer.send(before);
    }
    let first = std::mem::take(&mut peer.said);
    match behind {
        [] => road.send(wire, &mut peer),
        behind => road.send(&[wire, behind].concat(), &mut peer),
    }
    let said = strip_continue(&peer.said);
    (first, Outcome { said, open: peer.is_open() })
}

/// Removes `100 Continue`, which depends on the way in which the bytes arrive. The final response must not.
fn strip_continue(said: &[u8]) -> Vec<u8> {
    said.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(said).to_vec()
}

fn judge(name: &str, wire: &[u8], outcome: &Outcome, then: Then) {
    let shown = || format!("{name}: {:?} was answered: {outcome:?}", Shown(wire));
    let answers = Answer::all(&outcome.said, if wire.starts_with(b"HEAD") { &[0] } else { &[] });
    let (status, open, body) = match then {
        Then::Wants => {
            assert!(outcome.open && outcome.said.is_empty(), "{}", shown());
            return;
        }
        Then::Kept(body) => (200, true, Some(body)),
        Then::Closed(body) => (200, false, Some(body)),
        Then::KeptWith(status) => (status, true, None),
        Then::Refused(status) => (status, false, None),
    };
    assert_eq!(answers.len(), 1, "one answer: {}", shown());
    assert_eq!(answers[0].status, status, "{}", shown());
    assert_eq!(outcome.open, open, "{}", shown());
    let says_close = answers[0].field("connection") == Some("close");
    assert_eq!(says_close, !open, "what it says of the connection: {}", shown());
    assert!(answers[0].field("date").is_some() && answers[0].field("server").is_some(), "{}", shown());
    if let Some(body) = body {
        let text = answers[0].text();
        assert_eq!(text.split_once('\n').map(|(_, rest)| rest), Some(body), "{}", shown());
    }
}
