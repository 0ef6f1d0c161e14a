//! Random requests, cut at random places, against a model that knows the right status. `cargo run -q --bin step14 [repaired]`

use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use lessons::engine::{Action, Event, Turn};
use lessons::http::{Handler, Http, Response};
use lessons::message::REPAIRED;

const RUNS: usize = 20_000;

/// Numbers that look random and are the same in each run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// A number as a client may write it, and whether it is one: sometimes with a character before it.
fn number(random: &mut Random, value: String) -> (String, bool) {
    match random.below(4) {
        0 => {
            let before = random.pick(&['0', '+', '-', '_', '.', 'x', ',', ';']);
            (format!("{before}{value}"), before == '0')
        }
        _ => (value, true),
    }
}

/// A request, and the status that it must get.
fn request(random: &mut Random) -> (String, u16) {
    let (target, target_fits) =
        random.pick(&[("/", true), ("/a?b", true), ("/%41", true), ("a", false), ("/a b", false)]);
    let (field, field_fits) = random.pick(&[
        ("A: b", true),
        ("A:b\t", true),
        ("A : b", false),
        (" A: b", false),
        ("A: \u{1}", false),
        ("A", false),
    ]);
    let body = "x".repeat(random.below(20));
    let (framing, body, framing_fits) = match random.below(3) {
        0 => ("B: c".into(), String::new(), true),
        1 => {
            let (length, fits) = number(random, body.len().to_string());
            (format!("Content-Length: {length}"), body, fits)
        }
        _ => {
            let (size, fits) = number(random, format!("{:x}", body.len() + 1));
            ("Transfer-Encoding: chunked".into(), format!("{size}\r\n{body}y\r\n0\r\n\r\n"), fits)
        }
    };
    let fits = target_fits && field_fits && framing_fits;
    (format!("POST {target} HTTP/1.1\r\nHost: me\r\n{field}\r\n{framing}\r\n\r\n{body}"), if fits { 200 } else { 400 })
}

/// Returns the bytes that the server sends if these pieces arrive one after the other: the loop of the engine, without
/// sockets and threads.
fn served(handler: &Handler, pieces: &[&str]) -> String {
    let (mut http, mut input, mut output) = (Http::meet(handler), Vec::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece.as_bytes());
        let mut event = Event::Ready;
        loop {
            let turn = Turn { input: &mut input, output: &mut output, event, stopping: &AtomicBool::new(false) };
            event = match http.turn(turn) {
                Action::Read => break,
                Action::Again => Event::Ready,
                Action::Handle => Event::Permit,
                Action::Close => return String::from_utf8_lossy(&output).into(),
            }
        }
    }
    String::from_utf8_lossy(&output).into()
}

fn check(run: usize, what: &str, stream: &str, expected: &str, got: &str) {
    if expected != got {
        println!("run {run}: {what}\nsent     {stream:?}\nexpected {expected:?}\ngot      {got:?}");
        exit(1);
    }
}

fn main() {
    REPAIRED.store(std::env::args().any(|argument| argument == "repaired"), Relaxed);
    let handler: Handler = Arc::new(|request| Ok(Response::text(200, &request.body.len().to_string())));
    let mut random = Random(2026);
    for run in 0..RUNS {
        let ((first, status), (second, _)) = (request(&mut random), request(&mut random));
        let stream = first + &second;
        let whole = served(&handler, &[&stream]);
        let got = whole.get(9..12).unwrap_or_default();
        check(run, "the first request has the wrong status", &stream, &status.to_string(), got);
        let (one, two) = stream.split_at(random.below(stream.len()));
        let (two, three) = two.split_at(random.below(two.len()));
        check(run, "the cuts change the responses", &stream, &whole, &served(&handler, &[one, two, three]));
    }
    println!("{RUNS} pairs of requests: no contradiction");
}
