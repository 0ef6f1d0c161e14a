//! Destructors that block, of shared bodies and of values in requests. They delay no other client.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use modest::live::{Broadcast, ChannelOptions, Signal};
use modest::{BodyPlan, Http, Request, RequestHandler, Response, Result, Stats};

use crate::server::{Client, Gate, Running, get, serve};

/// A value whose destructor waits at a gate.
struct Blocks(Gate, Vec<u8>);

impl AsRef<[u8]> for Blocks {
    fn as_ref(&self) -> &[u8] {
        &self.1
    }
}

/// Writing a body to it takes no time.
impl Write for Blocks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        self.0.pass();
    }
}

struct App {
    gate: Gate,
    has_begun: Arc<AtomicBool>, // the request that blocks
    changed: Signal,
    news: Broadcast,
}

impl RequestHandler for App {
    fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
        self.has_begun.fetch_or(request.path() != "/", Ordering::SeqCst);
        match (request.method().as_str(), request.path()) {
            ("POST", "/saved") => drop(plan.save_to(Blocks(self.gate.clone(), Vec::new()))),
            ("POST", "/watched") => {
                let blocks = Blocks(self.gate.clone(), Vec::new());
                plan.progress(move |_| assert!(!blocks.1.is_empty(), "this callback panics on purpose"));
            }
            ("POST", _) => request.put(Blocks(self.gate.clone(), Vec::new())),
            _ => {}
        }
        Ok(())
    }

    fn do_get(&self, request: &Request) -> Result<Response> {
        match request.path() {
            "/" => return Ok(Response::text("here")),
            "/shared" => return Ok(Response::shared(Arc::new(Blocks(self.gate.clone(), vec![b'x'; 8_000_000])))),
            "/pushed" => return self.pushed(),
            _ => request.put(Blocks(self.gate.clone(), Vec::new())),
        }
        match request.path() {
            "/long" => Ok(Response::bytes(vec![b'x'; 8_000_000])),
            "/events" => Ok(Response::events(self.news.listen(request)?)),
            _ => Ok(Response::wait_for(self.changed.ticket(), Duration::from_secs(60))),
        }
    }

    fn do_post(&self, _: &Request) -> Result<Response> {
        Ok(Response::text("posted"))
    }
}

impl App {
    /// A response that is complete, and longer than what the kernel takes in the handler's turn.
    fn pushed(&self) -> Result<Response> {
        let (sender, response) = Response::channel_with(ChannelOptions::new().queue(1 << 24));
        let blocks = Blocks(self.gate.clone(), Vec::new());
        sender.on_drain(move || assert!(blocks.1.is_empty()));
        for _ in 0..100 {
            sender.send(vec![b'x'; 100_000]).expect("space in the queue");
        }
        sender.finish();
        Ok(response)
    }
}

#[test]
fn a_blocking_destructor_delays_no_other_client() {
    type Then = fn(&mut Client, &Running);
    let takes_all: Then = |client, running| {
        let mut left = 8_000_000;
        let mut buffer = vec![0; 100_000];
        while left > 0 {
            let count = std::io::Read::read(&mut client.stream, &mut buffer[..left.min(100_000)]);
            left -= count.unwrap_or_else(|err| panic!("{left} bytes are missing: {err}, {:?}", running.handle.stats()));
        }
    };
    let sends_more: Then = |client, running| {
        running.wait_for("it waits", |stats| stats.parked == 1 && stats.running == 0);
        client.send("a");
    };
    let reads_on: Then = |client, _| {
        std::io::Read::read_exact(&mut client.stream, &mut vec![0; 10_000_000]).expect("a head and ten megabytes");
    };
    let leaves: Then = |client, running| {
        running.wait_for("it waits", |stats| stats.parked == 1 && stats.running == 0);
        let _ = client.stream.shutdown(std::net::Shutdown::Both);
        socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
        *client = running.client(); // closes the first one
    };
    let ends: Then = |client, running| {
        running.wait_for("it waits", |stats| stats.parked == 1 && stats.running == 0);
        client.send("0\r\n\r\n");
    };
    let saved = "POST /saved HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let watched = "POST /watched HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    let half = "POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab";
    for (what, request, then) in [
        ("a shared body that is taken in pieces", get("/shared"), takes_all),
        ("a value of a request whose long response is read", get("/long"), takes_all),
        ("a long poll whose client leaves", get("/poll"), leaves),
        ("an event stream whose client leaves", get("/events"), leaves),
        ("the caller of a channel that is complete", get("/pushed"), reads_on),
        ("a body whose progress panics", watched.to_owned(), sends_more),
        ("half a body", half.to_owned(), leaves),
        ("a body that was saved, and whose end comes alone", saved.to_owned(), ends),
        ("half of one that is saved", format!("{saved}5\r\nab"), leaves),
    ] {
        let gate = Gate::default();
        let has_begun = Arc::new(AtomicBool::new(false));
        let app =
            App { gate: gate.clone(), has_begun: has_begun.clone(), changed: Signal::new(), news: Broadcast::new() };
        let running = serve(Http::new(app).access_log(None), |server| server.workers(4));
        let _opened = gate.opened_at_end();
        let mut client = running.client();
        client.send(request);
        running.wait_for("the request has arrived", |_| has_begun.load(Ordering::SeqCst));
        then(&mut client, &running);
        gate.wait_for_arrivals(1);
        for _ in 0..20 {
            assert!(running.client().fetch(get("/")).ends_with("here"), "{what}");
        }
        // All other workers are idle.
        let blocks_alone =
            |stats: &Stats| (stats.connections - stats.parked, stats.running) == (1, 1) && stats.permits >= 1;
        running.wait_for("it alone blocks, with a permit", blocks_alone);
    }
}

/// A signal keeps one entry for a connection that polls repeatedly, not one per poll.
#[test]
fn a_finished_poll_leaves_nothing_behind() {
    let changed = Signal::new();
    let polled = changed.clone();
    let app = modest::handler_fn(move |request: &Request| match request.is_late() {
        true => Ok(Response::text("late")),
        false => Ok(Response::wait_for(polled.ticket(), Duration::from_millis(1))),
    });
    let running = serve(Http::new(app).access_log(None), |server| server);
    let mut client = running.client();
    for _ in 0..50 {
        assert!(client.fetch(get("/")).ends_with("late"));
        assert_eq!(changed.waiting(), 0);
    }
}
