//! With four blocking handlers and five hundred slow clients, all other clients are still served.

use std::collections::HashSet;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use modest::{Http, Request, RequestHandler, Response, Result, handler_fn};

use crate::server::{Client, Gate, PATIENCE, serve};

/// `/at/X` waits until the gate X is open; everything else gets a response at once.
#[derive(Clone, Default)]
struct Gates(Arc<(Mutex<HashSet<String>>, Condvar)>);

impl Gates {
    fn open(&self, gate: &str) {
        self.0.0.lock().unwrap().insert(gate.to_owned());
        self.0.1.notify_all();
    }
}

impl RequestHandler for Gates {
    fn do_get(&self, request: &Request) -> Result<Response> {
        if let Some(gate) = request.path().strip_prefix("/at/") {
            drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |open| !open.contains(gate)).unwrap());
        }
        Ok(Response::text("here"))
    }
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// Responses to equal requests are written together only if their handlers are short.
#[test]
fn a_response_does_not_wait_for_a_handler_after_a_long_one() {
    let (gate, calls) = (Gate::default(), AtomicU64::new(0));
    let at_gate = gate.clone();
    let app = handler_fn(move |_| {
        match calls.fetch_add(1, SeqCst) {
            0 => thread::sleep(Duration::from_millis(5)),
            _ => at_gate.pass(),
        }
        Ok(Response::text("done\n"))
    });
    let server = serve(app, |server| server);
    let _opened = gate.opened_at_end();
    let mut client = server.client();
    client.send(get("/").repeat(3));
    let (mut received, mut piece) = (String::new(), [0; 1000]);
    while !received.ends_with("done\n") {
        let count = client.stream.read(&mut piece).expect("a response before the next handler returns");
        received.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    gate.wait_for_arrivals(1);
}

#[test]
fn four_sleeping_handlers_do_not_block_other_clients() {
    let gates = Gates::default();
    let http = Http::new(gates.clone()).head_timeout(Duration::from_secs(2));
    let mut server = serve(http, |server| server.workers(4).shutdown_timeout(PATIENCE));
    let mut halves: Vec<Client> = (0..500).map(|_| server.client()).collect();
    halves.iter_mut().for_each(|client| {
        client.send("GET / HTTP/1.1\r\nHo");
    });
    server.client().send(get("/")).expect("HTTP/1.1 200 OK\r\n");

    let mut asleep: Vec<Client> = (0..4).map(|_| server.client()).collect();
    asleep.iter_mut().for_each(|client| {
        client.send(get("/at/first"));
    });
    server.wait_for("four handlers run", |stats| stats.running == 4);
    server.client().send("GET  / HTTP/1.1\r\n\r\n").expect("HTTP/1.1 400 Bad Request\r\n");
    let mut fifth = server.client();
    fifth.send(get("/"));
    server.wait_for("the fifth waits for a permit", |stats| stats.waiting == 1);
    halves.iter_mut().for_each(|client| {
        client.expect("HTTP/1.1 408 Request Timeout\r\n");
    });
    gates.open("first");
    for client in asleep.iter_mut().chain([&mut fifth]) {
        client.expect("HTTP/1.1 200 OK\r\n");
    }

    // A shutdown loses no request.
    let mut last: Vec<Client> = (0..5).map(|_| server.client()).collect();
    last.iter_mut().for_each(|client| {
        client.send(get("/at/second"));
    });
    server.wait_for("four run, one waits for a permit", |stats| (stats.running, stats.waiting) == (4, 1));
    server.handle.shutdown();
    gates.open("second");
    for client in &mut last {
        let answer = String::from_utf8(client.read_to_end()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("here"), "{answer:?}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer:?}");
    }
    drop((asleep, fifth));
    server.wait_for_end();
}

/// There are more workers than permits. Those without a permit fill the queue faster than the others empty it.
#[test]
fn fast_handlers_do_not_cause_rejections() {
    const CLIENTS: usize = 1000;
    const ROUNDS: usize = 20;
    let app = modest::handler_fn(|_: &modest::Request| Ok(modest::Response::text("here")));
    let server = serve(app, |server| server.workers(2).queue_limit(100));
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.client()).collect();
    // If the state of threads is unknown, a handler that has not run for a while counts as waiting.
    let most = if super::system::way_of("state of threads") == "/proc" { 0 } else { usize::MAX };
    let (mut refused, machine) = (0, Machine::watched());
    for round in 0..ROUNDS {
        let before = refused;
        machine.begin();
        for client in &mut clients {
            client.send(get("/"));
        }
        for client in &mut clients {
            let answer = client.answer().unwrap();
            refused += usize::from(answer.starts_with("HTTP/1.1 503 "));
            let is_expected = answer.starts_with("HTTP/1.1 200 ") || answer.starts_with("HTTP/1.1 503 ");
            assert!(is_expected, "round {round}: {answer}, {:?}", server.handle.stats());
        }
        if machine.was_elsewhere() {
            refused = before; // other programs had the cores, so rejections are expected
        }
    }
    assert!(refused <= most, "{refused} of {} were refused: {:?}", ROUNDS * CLIENTS, server.handle.stats());
}

/// Checks whether the machine runs the threads of this process, with a thread that repeatedly sleeps for a moment.
struct Machine(Arc<AtomicU64>);

/// The longest wait, in ms, of a thread that can run, on a machine without other work.
const KEPT_WAITING: u64 = 20;

impl Machine {
    fn watched() -> Machine {
        let longest = Arc::new(AtomicU64::new(0));
        let seen = Arc::downgrade(&longest);
        thread::spawn(move || {
            while let Some(longest) = seen.upgrade() {
                let start = Instant::now();
                thread::sleep(Duration::from_millis(2));
                longest.fetch_max(start.elapsed().as_millis() as u64, SeqCst);
            }
        });
        Machine(longest)
    }

    fn begin(&self) {
        self.0.store(0, SeqCst);
    }

    /// Whether a thread had to wait since `begin`.
    fn was_elsewhere(&self) -> bool {
        self.0.load(SeqCst) > KEPT_WAITING
    }
}

/// Handlers have been short so far, so the responses to equal requests are written together. A different request can
/// have a slower handler.
#[test]
fn a_response_does_not_wait_for_the_handler_of_another_request() {
    let gates = Gates::default();
    let server = serve(Http::new(gates.clone()), |server| server.workers(2).shutdown_timeout(PATIENCE));
    for (gate, before) in [("one", 1), ("two", 2), ("three", 16)] {
        let mut client = server.client();
        let mut expect = |count: usize, sent: String| {
            client.send(&sent);
            for number in 0..count {
                let answer = client.answer();
                assert!(
                    answer.as_ref().is_ok_and(|answer| answer.ends_with("here")),
                    "{number} of {sent:?}: {answer:?}"
                );
            }
        };
        expect(500, get("/").repeat(500));
        expect(before, get("/").repeat(before) + &get(&format!("/at/{gate}")));
        gates.open(gate);
        expect(1, String::new());
    }
}
