//! `Expect: 100-continue`, and bodies that the server does not want: RFC 9110, section 10.1.1.

use modest::raw::Action;
use modest::{BodyPlan, Error, Http, LogRecord, Method, Request, RequestHandler, Response, Result};

use crate::peer::{Answer, Peer};
use crate::tables::Then::{Closed, Kept, Refused};
use crate::tables::{check, mirror};

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")
}

#[test]
fn unknown_expectations_are_rejected() {
    for (name, fields, body, then) in [
        ("asked", "Expect: 100-continue\r\nContent-Length: 3\r\n", "abc", Kept("abc")),
        ("in any case", "expect: 100-Continue\r\nContent-Length: 3\r\n", "abc", Kept("abc")),
        ("for chunks", "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", "1\r\na\r\n0\r\n\r\n", Kept("a")),
        ("for no body", "Expect: 100-continue\r\n", "", Kept("")),
        ("unknown", "Expect: a-miracle\r\n", "", Refused(417)),
        ("unknown beside the known", "Expect: 100-continue, a-miracle\r\nContent-Length: 3\r\n", "abc", Refused(417)),
        ("the known with a value", "Expect: 100-continue=1\r\nContent-Length: 3\r\n", "abc", Refused(417)),
        ("a body too large", "Expect: 100-continue\r\nContent-Length: 99999999999\r\n", "", Refused(413)),
    ] {
        check(name, post(fields, body), then);
    }
    for (name, fields) in [("ignored in 1.0", "Expect: 100-continue\r\n"), ("any of them", "Expect: a-miracle\r\n")] {
        check(name, format!("POST / HTTP/1.0\r\n{fields}Content-Length: 2\r\n\r\nab"), Closed("ab"));
    }
}

#[test]
fn continue_is_sent_when_needed() {
    let asks = "Expect: 100-continue\r\nContent-Length: 3\r\n";
    for (name, first, said) in [
        ("the body waits", post(asks, ""), CONTINUE),
        ("the body has begun", post(asks, "a"), ""),
        ("nobody asked", post("Content-Length: 3\r\n", ""), ""),
        ("1.0", "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n".into(), ""),
        (
            "too large",
            post("Expect: 100-continue\r\nContent-Length: 99999999999\r\n", ""),
            "HTTP/1.1 413 Content Too Large\r\n",
        ),
    ] {
        let mut peer = Peer::new(&mirror());
        peer.send(first);
        assert!(peer.text().starts_with(said) && (!said.is_empty() || peer.said.is_empty()), "{name}: {}", peer.text());
    }
    let mut peer = Peer::new(&mirror());
    peer.send(post(asks, "")).send("abc");
    let answers = Answer::all(&peer.said, &[]);
    assert_eq!((answers.len(), answers[0].text().as_str()), (1, "POST /\nabc"));
    assert!(peer.text().matches("100 Continue").count() == 1 && peer.is_open());
}

/// Accepts no body.
struct Declines;

impl RequestHandler for Declines {
    fn do_get(&self, request: &Request) -> Result<Response> {
        Ok(Response::text(request.target().to_owned()))
    }

    fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
        assert!(request.body().is_empty(), "`before_body` runs without a body");
        match request.path() {
            _ if *request.method() == Method::GET => Ok(()),
            "/panic" => panic!("in before_body"),
            _ => Err(Error::new(403, "not yours to write")),
        }
    }

    fn log_request(&self, _: &LogRecord<'_>) {}
}

#[test]
fn a_declined_body_is_dropped_or_the_connection_ends() {
    let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    let short = format!("GET /{} HTTP/1.1\r\n", "x".repeat(40)); // would be a request
    let length = short.len();
    for (name, fields, body, open) in [
        ("a short body", format!("Content-Length: {length}\r\n"), short.clone(), true),
        ("a long body", "Content-Length: 70000\r\n".into(), "x".repeat(70_000), false),
        ("chunks", "Transfer-Encoding: chunked\r\n".into(), "1\r\na\r\n0\r\n\r\n".into(), true),
        (
            "long chunks",
            "Transfer-Encoding: chunked\r\n".into(),
            format!("{:x}\r\n{}\r\n0\r\n\r\n", 200_000, "x".repeat(200_000)),
            false,
        ),
        ("no chunks", "Transfer-Encoding: chunked\r\n".into(), "1\r\nabc0\r\n\r\n".into(), false),
        ("a client that waits", format!("Expect: 100-continue\r\nContent-Length: {length}\r\n"), short.clone(), false),
        ("a close", format!("Connection: close\r\nContent-Length: {length}\r\n"), short, false),
    ] {
        for cut in [0, 1, body.len() / 2, body.len()] {
            let mut peer = Peer::new(&Http::new(Declines));
            peer.send(post(&fields, &body[..cut]));
            assert!(peer.text().starts_with("HTTP/1.1 403"), "before the body is whole: {name}: {}", peer.text());
            // The length of chunks that have not arrived is known only after the response was sent.
            let is_known = !matches!(name, "long chunks" | "no chunks") || cut > 1;
            assert_eq!(
                !is_known || peer.text().contains("connection: close") || peer.text().contains("Connection: close"),
                !is_known || !open,
                "{name}: {}",
                peer.text()
            );
            peer.send(format!("{}{next}", &body[cut..]));
            let texts: Vec<String> = Answer::all(&peer.said, &[]).iter().map(Answer::text).collect();
            assert_eq!(texts.get(1).map(String::as_str), open.then_some("/next"), "{name}, {cut}");
            assert_eq!(peer.is_open(), open, "{name}, {cut}");
            let lingers = peer.unused() > 0 || peer.next == Action::Linger;
            assert!(open || !is_known || lingers, "a rejected request must linger: {name}, {cut}");
        }
    }
}

#[test]
fn a_declined_body_that_never_arrives_closes_the_connection() {
    let mut peer = Peer::new(&Http::new(Declines));
    peer.send(post("Content-Length: 3\r\n", "a")).late();
    assert_eq!((peer.next, Answer::all(&peer.said, &[]).len()), (Action::Close, 1));
    let mut peer = Peer::new(&Http::new(Declines));
    peer.send(post("Content-Length: 3\r\n", "a")).end();
    assert_eq!(peer.next, Action::Close);
}

#[test]
fn a_panic_before_the_body_is_a_500_and_the_end() {
    let mut peer = Peer::new(&Http::new(Declines));
    peer.send("PUT /panic HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert!(peer.text().starts_with("HTTP/1.1 500") && peer.next == Action::Linger, "{}", peer.text());
}
