//! Panics in unusual places: each costs one connection, and neither a worker nor the process.

use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use modest::raw::{Action, Conversation, Piece, Protocol, Raw, Stream, Turn};
use modest::websocket::{Message, Socket, WebSocket, WebSocketHandler};
use modest::{Client as Peer, Http, Request, Response, handler_fn};

use crate::server::{Gate, Running, alone, capture_the_log, eventually, serve};

/// An echo of lines, with exceptions. `bomb` panics with a payload that panics when dropped, `bytes` panics with such
/// bytes in the output, `plain` is an ordinary panic. `drop` makes the conversation panic when it is dropped. `handle`
/// waits at the gate in a handler, `turn` outside of one.
#[derive(Clone, Default)]
struct Fragile {
    gate: Gate,
    dropped: Arc<AtomicUsize>, // conversations that panicked when dropped
}

struct Line {
    all: Fragile,
    handling: bool,
    drop_panics: bool,
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("what a panic left behind panics when dropped");
    }
}

impl AsRef<[u8]> for Bomb {
    fn as_ref(&self) -> &[u8] {
        b"bytes"
    }
}

impl Protocol for Fragile {
    fn meet(&self, _: &Peer) -> Option<Box<dyn Conversation>> {
        Some(Box::new(Line { all: self.clone(), handling: false, drop_panics: false }))
    }
}

impl Conversation for Line {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        if std::mem::take(&mut self.handling) {
            self.all.gate.pass();
            turn.output.bytes().extend_from_slice(b"done\n");
        }
        let line = turn.input.bytes().to_vec();
        turn.input.consume(line.len());
        match &line[..] {
            b"bomb\n" => panic_any(Bomb),
            b"bytes\n" => {
                turn.output.push(Piece::Shared { bytes: Arc::new(Bomb), start: 0, end: 5 });
                panic!("a turn panics with bytes in its output");
            }
            b"plain\n" => panic!("a turn panics"),
            b"turn\n" => self.all.gate.pass(),
            b"drop\n" => self.drop_panics = true,
            b"handle\n" => {
                self.handling = true;
                return Action::Handle;
            }
            _ => {}
        }
        turn.output.bytes().extend_from_slice(&line);
        Action::Idle { within: None }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.drop_panics {
            self.all.dropped.fetch_add(1, SeqCst);
            panic!("a conversation panics when dropped");
        }
    }
}

/// This many clients whose conversations will panic when dropped.
fn with_panics_to_come(count: usize) -> (Fragile, Running, Vec<crate::server::Client>) {
    let fragile = Fragile::default();
    let server = serve(Raw(fragile.clone()), |server| server.workers(2));
    let mut clients = Vec::from_iter((0..count).map(|_| server.client()));
    clients.iter_mut().for_each(|client| {
        client.ask("drop\n", "drop\n");
    });
    server.wait_for("all rest", |stats| stats.parked == count);
    (fragile, server, clients)
}

#[test]
fn panicking_destructors_at_a_stop_all_run_and_abort_nothing() {
    alone("panics::panicking_destructors_at_a_stop_all_run_and_abort_nothing", || {
        let (fragile, mut server, _clients) = with_panics_to_come(8);
        server.handle.shutdown_now();
        let result = server.result();
        assert!(matches!(result, Ok(Ok(()))), "serve_forever: {result:?}");
        eventually("all eight conversations are dropped", || fragile.dropped.load(SeqCst) == 8);
    });
}

#[test]
fn a_panicking_destructor_does_not_fail_serve_forever() {
    // All three workers are blocked, so that none can drop the conversation.
    let (fragile, mut server, _clients) = with_panics_to_come(1);
    let _end = fragile.gate.opened_at_end();
    let mut held_up = [server.client(), server.client(), server.client()];
    // In this order: a worker can still hold a permit in a turn that needs none.
    for (number, (client, line)) in held_up.iter_mut().zip(["handle\n", "handle\n", "turn\n"]).enumerate() {
        client.send(line);
        fragile.gate.wait_for_arrivals(number + 1);
    }
    server.handle.shutdown_now();
    let result = server.result();
    assert!(matches!(result, Ok(Ok(()))), "serve_forever: {result:?}");
    eventually("the conversation is dropped", || fragile.dropped.load(SeqCst) == 1);
}

/// The server still has its two permits, and another worker.
fn the_pool_is_whole(server: &Running, fragile: &Fragile) {
    let _end = fragile.gate.opened_at_end();
    server.client().ask("first\n", "first\n");
    let mut handled = [server.client(), server.client()];
    handled.iter_mut().for_each(|client| {
        client.send("handle\n");
    });
    fragile.gate.wait_for_arrivals(2);
    server.client().ask("beside two handlers\n", "beside two handlers\n");
    fragile.gate.open();
    handled.iter_mut().for_each(|client| {
        client.expect("done\n");
    });
}

/// There are two permits and three workers. Each time this line costs one connection, and no worker.
fn the_pool_survives(line: &str) {
    let fragile = Fragile::default();
    let server = serve(Raw(fragile.clone()), |server| server.workers(2));
    for _ in 0..3 {
        let mut client = server.client();
        client.send(line);
        let (came, _) = client.read_to_any_end();
        assert_eq!(came.escape_ascii().to_string(), "", "answer to {line:?}");
    }
    the_pool_is_whole(&server, &fragile);
}

#[test]
fn a_panic_whose_payload_panics_costs_no_worker() {
    the_pool_survives("bomb\n");
}

#[test]
fn a_panic_whose_output_panics_costs_no_worker() {
    the_pool_survives("bytes\n");
}

#[test]
fn a_logger_that_panics_costs_no_worker() {
    struct Logger;
    impl log::Log for Logger {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            panic!("the logger panics at {:?}", record.args().to_string());
        }
        fn flush(&self) {}
    }
    alone("panics::a_logger_that_panics_costs_no_worker", || {
        log::set_logger(&Logger).expect("the only logger of this process");
        log::set_max_level(log::LevelFilter::Error);
        the_pool_survives("plain\n");
    });
}

/// It panics as soon as it is open.
struct Falls;

impl WebSocketHandler for Falls {
    fn opened(&mut self, _: &Socket) -> modest::Result<()> {
        panic!("as asked");
    }

    fn message(&mut self, _: Message, _: &Socket) -> modest::Result<()> {
        Ok(())
    }
}

/// A payload that panics when dropped changes nothing: the client gets its response or a 500, and the access log a line.
#[test]
fn a_payload_that_panics_costs_no_response() {
    let lines: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    struct Panics(Arc<std::sync::Mutex<Vec<String>>>);
    impl modest::RequestHandler for Panics {
        fn before_body(&self, request: &Request, _: &mut modest::BodyPlan) -> modest::Result<()> {
            if request.path() == "/before" { panic_any(Bomb) } else { Ok(()) }
        }

        fn do_get(&self, request: &Request) -> modest::Result<Response> {
            match request.path() {
                "/handler" => panic_any(Bomb),
                "/sent" => Ok(Response::text("here").on_sent(|_| panic_any(Bomb))),
                _ => Ok(Response::text("here")),
            }
        }

        fn log_request(&self, record: &modest::LogRecord<'_>) {
            let line = record.request().map(|request| request.path().to_owned()).unwrap_or_default();
            self.0.lock().unwrap().push(format!("{line} {}", record.status().as_u16()));
            if line == "/log" {
                panic_any(Bomb);
            }
        }
    }
    let server = serve(Http::new(Panics(lines.clone())), |server| server);
    for (path, status) in [("/before", 500), ("/handler", 500), ("/sent", 200), ("/log", 200)] {
        let answer = server.client().fetch(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        eventually("it is logged", || *lines.lock().unwrap() == [format!("{path} {status}")]);
        lines.lock().unwrap().clear();
    }
    server.wait_for("nobody works", |stats| stats.running == 0);
}

#[test]
fn panics_after_an_upgrade_are_logged_with_the_request() {
    let app = handler_fn(|request: &Request| match request.path() {
        "/chat" => WebSocket::new().accept(request, Falls),
        _ => Ok(Response::upgrade("shout", |_: Stream| panic!("as asked"))),
    });
    alone("panics::panics_after_an_upgrade_are_logged_with_the_request", || {
        let lines = capture_the_log(|record| (record.level() == log::Level::Error).then(|| record.args().to_string()));
        log::set_max_level(log::LevelFilter::Error);
        let server = serve(Http::new(app).access_log(None), |server| server);
        let fields = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
        for (path, protocol) in [("/chat", "websocket"), ("/shout", "shout")] {
            let asks = format!("Host: a\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n{fields}");
            let mut client = server.client();
            client.send(format!("GET {path} HTTP/1.1\r\n{asks}\r\n"));
            let _ = std::io::Read::read_to_end(&mut client.stream, &mut Vec::new()); // a reset
            eventually("the panic is logged", || !lines.lock().unwrap().is_empty());
            let line = std::mem::take(&mut *lines.lock().unwrap()).concat();
            assert!(
                line.contains(path) && line.contains("127.0.0.1:") && line.ends_with("panicked: as asked"),
                "{line}"
            );
        }
    });
}
