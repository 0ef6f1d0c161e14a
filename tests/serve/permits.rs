//! More turns that may block than permits: they alternate, and each connection makes progress.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use modest::{Request, RequestHandler, Response, Result};

use crate::server::{Running, get, serve};

/// Endless streams, and short responses.
struct App;

/// Only a few bytes at a time, so that permits often change their worker.
struct Endless;

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = buffer.len().min(64);
        buffer[..count].fill(b'x');
        Ok(count)
    }
}

impl RequestHandler for App {
    fn do_get(&self, request: &Request) -> Result<Response> {
        match request.path() {
            "/stream" => Ok(Response::stream(Endless)),
            _ => Ok(Response::text("here")),
        }
    }
}

/// Reads an endless stream. Returns the reason if it ends too early.
fn take_in(server: &Running, unwanted: &AtomicBool) -> Option<String> {
    let mut client = server.client();
    client.send(get("/stream"));
    let mut buffer = [0; 16 * 1024];
    while !unwanted.load(Relaxed) {
        match client.stream.read(&mut buffer) {
            Ok(0) => return Some("the end of the stream".to_owned()),
            Ok(_) => {}
            Err(err) => return Some(err.to_string()),
        }
    }
    None
}

/// Sends one request after another on a connection. Returns an error, if there is one.
fn keep_asking(server: &Running, until: Instant) -> Option<String> {
    let mut client = server.client();
    for number in 0.. {
        if Instant::now() > until {
            break;
        }
        client.send(get("/"));
        match client.answer() {
            Ok(answer) if answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("here") => {}
            Ok(answer) => return Some(format!("request {number} was answered with {answer:?}")),
            Err((came, err)) => return Some(format!("request {number}: came {came:?} and then {err}")),
        }
    }
    None
}

#[test]
fn requests_beside_endless_streams_are_always_served() {
    // There are as many streams as permits, so each request waits for one while others are returned. The test looks for
    // a race of a few instructions, which only many attempts make likely.
    let server = serve(App, |server| server.workers(4));
    let unwanted = AtomicBool::new(false);
    let mut wrong = Vec::new();
    thread::scope(|threads| {
        let streams: Vec<_> = (0..4).map(|_| threads.spawn(|| take_in(&server, &unwanted))).collect();
        wrong.extend(keep_asking(&server, Instant::now() + Duration::from_secs(2)));
        unwanted.store(true, Relaxed);
        let ends = streams.into_iter().filter_map(|stream| stream.join().expect("no panic"));
        wrong.extend(ends.map(|end| format!("an endless stream came to {end}")));
    });
    let stats = server.wait_for("all are gone", |stats| stats.connections == 0);
    assert!(wrong.is_empty(), "{wrong:?}; without any client left the numbers are {stats:?}");
    server.wait_for("no permit is held", |stats| (stats.running, stats.waiting, stats.ready) == (0, 0, 0));
}
