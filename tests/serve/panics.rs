//! Panics in unusual places: each costs one connection, and neither a worker nor the process.

use std::io::{self, Write};
use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use modest::raw::{
    Action, Codec, Conversation, Flow, Handover, Input, LineHandler, LineSender, Lines, Piece, Protocol, Raw, Stream,
    Turn,
};
use modest::websocket::{Message, Socket, WebSocket, WebSocketHandler};
use modest::{Client as Peer, Http, Request, Response, handler_fn};

use crate::server::{Gate, Running, alone, capture_the_log, eventually, is_plain, serve, set_a_logger_that_panics};

/// An echo of lines, with exceptions. `bomb` panics with a payload that panics when dropped, `bytes` panics with such
/// bytes in the output, `plain` is an ordinary panic. `drop` makes the conversation panic when it is dropped. `handle`
/// waits at the gate in a handler, `turn` outside a handler.
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
    alone("panics::a_logger_that_panics_costs_no_worker", || {
        set_a_logger_that_panics(log::LevelFilter::Error);
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

/// It counts its drops, and each of them panics.
#[derive(Clone)]
struct Counting(Arc<AtomicUsize>);

impl Drop for Counting {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
        panic!("dropped, for the test");
    }
}

/// Bytes of which 8 MB are unsent when the connection ends.
struct CountingBytes {
    bytes: Vec<u8>,
    _counting: Counting,
}

impl AsRef<[u8]> for CountingBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A conversation with parts that panic when they are dropped. The first bytes of the client name these parts.
struct Parts(Arc<AtomicUsize>);

struct Part {
    made: Arc<AtomicUsize>,
    _counting: Counting,
    is_last: bool,
}

impl Part {
    fn of(made: &Arc<AtomicUsize>, is_last: bool) -> Box<Part> {
        Box::new(Part { made: made.clone(), _counting: Counting(made.clone()), is_last })
    }
}

impl Protocol for Parts {
    fn meet(&self, _: &Peer) -> Option<Box<dyn Conversation>> {
        Some(Part::of(&self.0, false))
    }
}

impl Conversation for Part {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        let word = String::from_utf8_lossy(turn.input.bytes()).into_owned();
        turn.input.consume(word.len());
        if self.is_last || word.is_empty() {
            turn.output.bytes().extend_from_slice(word.as_bytes());
            return if turn.input.ended() { Action::Close } else { Action::Idle { within: None } };
        }
        let next = || Handover::to(Part::of(&self.made, true)).with_codec(Through(Counting(self.made.clone())));
        let bytes = || Arc::new(CountingBytes { bytes: vec![b'x'; 8 << 20], _counting: Counting(self.made.clone()) });
        match word.trim() {
            "pieces" => {
                for _ in 0..2 {
                    turn.output.push(Piece::Shared { bytes: bytes(), start: 0, end: 8 << 20 });
                }
                Action::Idle { within: None }
            }
            "layer" => {
                turn.output.bytes().extend_from_slice(b"layer\n");
                turn.hand_over(next())
            }
            "successor" => {
                turn.output.push(Piece::Owned(vec![b'x'; 16 << 20]));
                turn.hand_over(next())
            }
            "twice" => {
                let _ = turn.hand_over(next());
                turn.output.bytes().extend_from_slice(b"twice\n");
                turn.hand_over(next())
            }
            "panic" => {
                turn.output.push(Piece::Shared { bytes: bytes(), start: 0, end: 8 << 20 });
                turn.output.push(Piece::Shared { bytes: bytes(), start: 0, end: 8 << 20 });
                let _ = turn.hand_over(next());
                panic!("a turn panics with everything that it has made");
            }
            word => unreachable!("{word}"),
        }
    }
}

/// A layer that changes nothing.
struct Through(#[expect(dead_code, reason = "it is dropped")] Counting);

impl Codec for Through {
    fn open(&mut self, turn: &mut Turn<'_>, plain: &mut Input) -> Result<(), Action> {
        let bytes = turn.input.bytes().to_vec();
        plain.extend(&bytes);
        turn.input.consume(bytes.len());
        if turn.input.ended() {
            plain.end();
        }
        Ok(())
    }

    fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) {
        sealed.extend_from_slice(plain);
    }

    fn goodbye(&mut self, _: &mut Vec<u8>) {}
}

/// Each part of a connection is dropped, in each state and at each end, even if all others panic in the meantime.
#[test]
fn all_parts_of_a_connection_are_dropped_although_each_panics() {
    alone("panics::all_parts_of_a_connection_are_dropped_although_each_panics", || {
        for (word, parts) in [("pieces", 3), ("layer", 3), ("successor", 3), ("twice", 5), ("panic", 5)] {
            for end in ["leave", "shutdown", "shutdown_now"] {
                let dropped = Arc::new(AtomicUsize::new(0));
                let parts_of = Parts(dropped.clone());
                let mut server =
                    serve(Raw(parts_of), |server| server.workers(2).shutdown_timeout(Duration::from_millis(100)));
                let mut client = server.client();
                client.send(format!("{word}\n"));
                match word {
                    "panic" => drop(client.read_to_any_end()),
                    "twice" => drop(client.expect("twice\n").ask("through\n", "through\n")),
                    "layer" => drop(client.expect("layer\n").ask("through\n", "through\n")),
                    _ => drop(client.expect("x")),
                }
                match end {
                    "leave" => drop(client),
                    "shutdown" => server.handle.shutdown(),
                    _ => server.handle.shutdown_now(),
                }
                eventually(&format!("all of {word} at {end}"), || dropped.load(SeqCst) == parts);
                server.handle.shutdown();
                let result = server.result();
                assert!(matches!(result, Ok(Ok(()))), "{word}, {end}: {result:?}");
                assert_eq!(dropped.load(SeqCst), parts, "{word}, {end}");
            }
        }
    });
}

/// A client whose `is_proxy` panics is refused. The others, whose bytes the same poll has reported, are served.
#[test]
fn a_panic_in_is_proxy_costs_one_client() {
    struct Proxies(Fragile, AtomicUsize);
    impl Protocol for Proxies {
        fn meet(&self, client: &Peer) -> Option<Box<dyn Conversation>> {
            self.0.meet(client)
        }
        fn is_proxy(&self, _: &Peer) -> bool {
            assert!(self.1.fetch_add(1, SeqCst).is_multiple_of(2), "is_proxy panics, for the test");
            false
        }
    }
    if !is_plain() {
        return; // a proxy is not counted
    }
    let server = serve(Raw(Proxies(Fragile::default(), AtomicUsize::new(0))), |server| server.workers(1));
    for _ in 0..5 {
        server.client().ask("served\n", "served\n");
        let mut refused = server.client();
        let _ = refused.stream.write_all(b"refused\n");
        assert_eq!(refused.read_to_any_end().0, b"");
    }
}

/// `closed` and the handler itself both panic.
#[test]
fn a_handler_that_panics_in_closed_and_when_dropped_costs_one_connection() {
    struct Chat(#[expect(dead_code, reason = "it is dropped")] Counting);
    impl WebSocketHandler for Chat {
        fn message(&mut self, _: Message, _: &Socket) -> modest::Result<()> {
            Ok(())
        }
        fn closed(&mut self, _: &Socket, _: &modest::websocket::Close) {
            panic!("closed, for the test");
        }
    }
    struct Words(#[expect(dead_code, reason = "it is dropped")] Counting);
    impl LineHandler for Words {
        fn line(&mut self, line: &str, reply: &mut Vec<u8>) -> Flow {
            reply.extend_from_slice(format!("{line}\n").as_bytes());
            Flow::Continue
        }
        fn closed(&mut self, _: &LineSender) {
            panic!("closed, for the test");
        }
    }
    alone("panics::a_handler_that_panics_in_closed_and_when_dropped_costs_one_connection", || {
        let dropped = Arc::new(AtomicUsize::new(0));
        let counting = dropped.clone();
        let chat = handler_fn(move |request| WebSocket::new().accept(request, Chat(Counting(counting.clone()))));
        let chat = serve(chat, |server| server);
        let mut client = chat.client();
        client.send(UPGRADE).expect("HTTP/1.1 101 ");
        drop(client);
        eventually("the handler of the WebSocket is dropped", || dropped.load(SeqCst) == 1);
        let counting = dropped.clone();
        let lines = serve(Lines::per_client(move |_| Words(Counting(counting.clone()))), |server| server);
        let mut client = lines.client();
        client.ask("here\n", "here\n");
        drop(client);
        eventually("the handler of lines is dropped", || dropped.load(SeqCst) == 2);
        lines.client().ask("here\n", "here\n");
    });
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// An error whose text panics, and which panics again when it is dropped, costs one connection.
#[test]
fn errors_that_panic_twice_cost_one_connection() {
    #[derive(Debug)]
    struct Fault;
    impl std::fmt::Display for Fault {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("the text, for the test")
        }
    }
    impl std::error::Error for Fault {}
    impl Drop for Fault {
        fn drop(&mut self) {
            panic!("the drop, for the test")
        }
    }
    struct Faulty;
    impl io::Read for Faulty {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other(Fault))
        }
    }
    impl Write for Faulty {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other(Fault))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    struct App;
    impl modest::RequestHandler for App {
        fn before_body(&self, _: &Request, plan: &mut modest::BodyPlan) -> modest::Result<()> {
            plan.save_to(Faulty);
            Ok(())
        }
        fn do_get(&self, _: &Request) -> modest::Result<Response> {
            Ok(Response::stream(Faulty))
        }
        fn do_post(&self, _: &Request) -> modest::Result<Response> {
            Ok(Response::text("here"))
        }
    }
    alone("panics::errors_that_panic_twice_cost_one_connection", || {
        let server = serve(App, |server| server);
        for request in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"]
        {
            let mut client = server.client();
            client.send(request);
            let (bytes, _) = client.half_close().read_to_any_end();
            assert!(bytes.starts_with(b"HTTP/1.1 "), "{request:?}: {}", bytes.escape_ascii());
        }
        let fails = |stream: &mut Stream| {
            stream.write_all(b"whole")?;
            Err(io::Error::other(Fault))
        };
        let server = serve(modest::raw::streams(fails), |server| server);
        let mut client = server.client();
        assert_eq!(client.read_to_end(), b"whole", "what was written is whole");
    });
}
