//! Responses to their end: slow readers, streams that wait, partial responses, and endless limits.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use modest::raw::{Action, Conversation, Event, Flow, Lines, Protocol, Raw, Stage, Stream, Turn, streams};
use modest::{Client as Peer, Http, RequestHandler, Response, ServerHandle, TcpServer, handler_fn};

use crate::script::Script;
use crate::server::{Client, Gate, PATIENCE, Running, get, is_plain, serve};

/// A client with a small receive window.
fn narrow(server: &Running) -> Client {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.connect(&server.address.into()).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Client { stream }
}

/// Sends a request and reads the response, 8 KiB at a time, with pauses that depend on the bytes read so far. Returns
/// the number of bytes.
fn read_slowly(mut client: Client, pace: impl Fn(usize) -> Duration, size: usize) -> usize {
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut buffer = [0; 8 * 1024];
    let mut all = 0;
    while all < size
        && let Ok(count @ 1..) = client.stream.read(&mut buffer)
    {
        all += count;
        std::thread::sleep(pace(all)); // the speed of the reader, not a wait for an event
    }
    all
}

fn big(size: usize) -> Http<impl RequestHandler> {
    let body = Arc::new(vec![b'x'; size]);
    Http::new(handler_fn(move |_| Ok(Response::shared(body.clone()))))
}

/// Different amounts are left in the kernel, because not every error truncates every size.
const SIZES: [usize; 6] = [600_000, 640_000, 680_000, 720_000, 760_000, 800_000];

#[test]
fn a_reader_slower_than_the_idle_timeout_gets_everything() {
    if !is_plain() {
        return; // its clients need their own socket options
    }
    std::thread::scope(|threads| {
        for size in SIZES {
            threads.spawn(move || {
                let server = serve(big(size).idle_timeout(Duration::from_millis(200)), |server| server);
                let all = read_slowly(narrow(&server), |_| Duration::from_millis(15), size);
                assert!(all >= size, "{all} bytes arrived of {size} and a head");
            });
        }
    });
}

#[test]
fn a_shutdown_waits_for_a_slow_reader() {
    if !is_plain() {
        return; // its clients need their own socket options
    }
    std::thread::scope(|threads| {
        for size in SIZES {
            threads.spawn(move || {
                let server = serve(big(size), |server| server.shutdown_timeout(PATIENCE));
                // More than half a second for each part that the server writes.
                let pace = |all| match all {
                    ..200_000 => Duration::from_millis(1),
                    _ => {
                        server.handle.shutdown();
                        Duration::from_millis(if all > size - 400_000 { 100 } else { 5 })
                    }
                };
                let all = read_slowly(narrow(&server), pace, size);
                assert!(all >= size, "{all} bytes arrived of {size} and a head");
            });
        }
    });
}

#[test]
fn an_incomplete_response_never_looks_complete() {
    // A response that ends with the connection is cut off by the shutdown timeout, and by a client that stops reading.
    let endless = || handler_fn(|_| Ok(Response::stream(io::repeat(b'x'))));
    let mut server = serve(endless(), |server| server.shutdown_timeout(Duration::from_millis(100)));
    let mut client = server.client();
    client.send("GET / HTTP/1.0\r\n\r\n").expect("HTTP/1.1 200 OK\r\n");
    server.handle.shutdown();
    server.wait_for_end();
    client.expect_reset();

    let server = serve(endless(), |server| server.write_timeout(Duration::from_millis(100)));
    let mut client = server.client();
    client.send("GET / HTTP/1.0\r\n\r\n").expect("HTTP/1.1 200 OK\r\n");
    server.wait_for("it is given up", |stats| stats.connections == 0);
    client.expect_reset();
}

#[test]
fn the_head_of_a_stream_does_not_wait_for_its_body() {
    struct Waiting(Mutex<mpsc::Receiver<&'static [u8]>>);
    impl Read for Waiting {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let bytes = self.0.get_mut().unwrap().recv().unwrap_or_default();
            buffer[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        }
    }
    let (say, said) = mpsc::channel();
    let said = Mutex::new(Some(said));
    let app = handler_fn(move |_| {
        let said = said.lock().unwrap().take().expect("a response that is taken once");
        Ok(Response::stream(Waiting(Mutex::new(said))).with_content_type("text/event-stream"))
    });
    let server = serve(app, |server| server.workers(1));
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.stream.read_exact(&mut byte).expect("the head comes before the first event");
        head.push(byte[0]);
    }
    say.send(b"data: 1\n\n").unwrap();
    client.expect("9\r\ndata: 1\n\n\r\n");
    drop(say);
    client.expect("0\r\n\r\n");
}

/// A close with unread bytes is a reset, which destroys bytes that the client has not read yet.
#[test]
fn bytes_received_during_a_handler_do_not_truncate_the_response() {
    const SIZE: usize = 150_000;
    let request = |more: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{more}\r\n");
    for (what, first, then, stops) in [
        ("a stray end of a line", request("Connection: close\r\n"), "\r\n".to_owned(), false),
        ("a request after the last", request("Connection: close\r\n"), request(""), false),
        ("a request at a shutdown", request(""), request(""), true),
        ("a stray end of a line after HTTP/1.0", "GET / HTTP/1.0\r\n\r\n".to_owned(), "\r\n".to_owned(), false),
    ] {
        let gate = Gate::default();
        let inside = gate.clone();
        let app = handler_fn(move |_| {
            inside.pass();
            Ok(Response::bytes(vec![b'x'; SIZE]))
        });
        let server = serve(app, |server| server);
        let _opened = gate.opened_at_end();
        let mut client = server.client();
        client.send(first);
        gate.wait_for_arrivals(1);
        client.send(then);
        if stops {
            server.handle.shutdown();
        }
        gate.open();
        // The test reads only after the server has closed or half-closed the connection.
        server.wait_for("it is done with the client", |stats| stats.running == 0 && stats.parked == stats.connections);
        let (came, end) = client.read_to_any_end();
        assert!(came.len() > SIZE && end.is_none(), "{what}: {} bytes, and then {end:?}", came.len());
    }
}

/// The kernel has all of a response, and its client has not read it. The server ends before the half-closed connection.
#[test]
fn a_complete_response_arrives_after_its_server_has_ended() {
    const SIZE: usize = 70_000; // too much for an end at once
    if !is_plain() {
        return; // its clients need their own socket options
    }
    for shut_down in [ServerHandle::shutdown_now, ServerHandle::shutdown] {
        let gate = Gate::default();
        let inside = gate.clone();
        let app = handler_fn(move |_| {
            inside.pass();
            Ok(Response::bytes(vec![b'x'; SIZE]))
        });
        let mut server = serve(app, |server| server.shutdown_timeout(Duration::from_millis(100)));
        let mut client = narrow(&server);
        client.send("GET / HTTP/1.0\r\n\r\n");
        gate.wait_for_arrivals(1);
        gate.open();
        server.wait_for("it is half-closed", |stats| stats.running == 0 && stats.parked == 1);
        shut_down(&server.handle);
        server.wait_for_end();
        let (came, end) = client.read_to_any_end();
        assert!(came.len() > SIZE && end.is_none(), "{} bytes, and then {end:?}", came.len());
    }
}

/// This holds for any protocol.
#[test]
fn bytes_received_during_a_line_do_not_truncate_the_reply() {
    const SIZE: usize = 150_000;
    let gate = Gate::default();
    let inside = gate.clone();
    let lines = Lines::new(move |_, reply| {
        inside.pass();
        reply.resize(SIZE, b'x');
        Flow::Close
    });
    let server = serve(lines, |server| server);
    let _opened = gate.opened_at_end();
    let mut client = server.client();
    client.send("a line\n");
    gate.wait_for_arrivals(1);
    client.send("another\n");
    gate.open();
    server.wait_for("it is done with the client", |stats| stats.running == 0 && stats.parked == stats.connections);
    let (came, end) = client.read_to_any_end();
    assert!(came.len() == SIZE && end.is_none(), "{} bytes, and then {end:?}", came.len());
}

#[test]
fn an_uploading_client_gets_the_rejection() {
    let server = serve(Raw(Script::default()), |server| server);
    let mut client = server.client();
    client.send("refuse\n");
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2500) {
        client.send([b'b'; 16 * 1024]); // fails once the server has stopped reading
        std::thread::sleep(Duration::from_millis(50)); // the speed of the upload, not a wait for an event
    }
    client.half_close().expect("refused\n").expect_end();
}

#[test]
fn lateness_can_be_reported_repeatedly() {
    struct Nagging;
    impl Protocol for Nagging {
        fn meet(&self, _: &Peer) -> Option<Box<dyn Conversation>> {
            Some(Box::new(Nagging))
        }
    }
    const LINE: Action =
        Action::Read { stage: Stage(1), within: Some(Duration::from_millis(50)), evictable: false, at_min_rate: false };
    impl Conversation for Nagging {
        fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
            if turn.input.ended() { Action::Close } else { LINE }
        }

        fn event(&mut self, _: Event, turn: &mut Turn<'_>) -> Action {
            turn.output.bytes().push(b'?');
            LINE
        }
    }
    let server = serve(Raw(Nagging), |server| server);
    let mut client = server.client();
    let start = Instant::now();
    client.expect("????");
    assert!(start.elapsed() >= Duration::from_millis(200), "asked four times in {:?}", start.elapsed());
}

#[test]
fn infinite_limits_are_accepted() {
    let script = Script::default();
    let mut server = serve(Raw(script.clone()), |server| {
        server
            .workers(1)
            .queue_limit(8)
            .queue_timeout(Duration::MAX)
            .write_timeout(Duration::MAX)
            .shutdown_timeout(Duration::MAX)
    });
    let (mut first, mut second) = (server.client(), server.client());
    first.send("block gate\n");
    server.wait_for("it runs", |stats| stats.running == 1);
    second.send("block gate\n");
    server.wait_for("the other waits for a permit", |stats| stats.waiting == 1);
    server.client().send("say me\n").expect("me\n");
    server.handle.shutdown();
    script.open("gate");
    first.expect("done\n");
    second.expect("done\n");
    drop((first, second));
    server.wait_for_end();
}

#[test]
fn a_handler_that_holds_a_server_handle_is_dropped() {
    struct App(Mutex<Option<ServerHandle>>, mpsc::Sender<()>);
    impl RequestHandler for App {}
    impl Drop for App {
        fn drop(&mut self) {
            self.1.send(()).unwrap();
        }
    }
    let (gone, is_gone) = mpsc::channel();
    let app = Arc::new(App(Mutex::new(None), gone));
    let server = TcpServer::bind("127.0.0.1:0", Arc::clone(&app)).unwrap();
    let handle = server.handle();
    *app.0.lock().unwrap() = Some(handle.clone());
    drop(app);
    let address = server.local_addr();
    let serving = std::thread::spawn(move || server.serve_forever());
    TcpStream::connect(address).unwrap().write_all(b"x").unwrap();
    while handle.stats().accepted == 0 {
        std::thread::sleep(Duration::from_micros(100));
    }
    handle.shutdown();
    serving.join().unwrap().unwrap();
    is_gone.recv_timeout(PATIENCE).expect("the handler is dropped with its server");
    assert_eq!(handle.stats().accepted, 1, "the last counters stay readable");
}

/// Nothing of a server is left when it is dropped after `serve_forever`, even if its streams were cut off, and other
/// threads shut it down and read its statistics at that moment.
#[test]
fn handlers_are_dropped_with_their_server() {
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    for run in 0..30 {
        for kind in ["GET", "upgrade", "stream"] {
            let dropped = Arc::new(AtomicUsize::new(0));
            let value = Dropped(dropped.clone());
            let goodbye = move |mut stream: Stream| {
                let _ = stream.read_to_end(&mut Vec::new());
                std::thread::sleep(Duration::from_millis(2)); // its last work
            };
            let server = match kind {
                "stream" => TcpServer::bind(
                    "127.0.0.1:0",
                    streams(move |stream: &mut Stream| {
                        let _value = &value;
                        stream.write_all(b"HTTP/1.1 ")?;
                        stream.read_to_end(&mut Vec::new())?;
                        Ok(())
                    }),
                ),
                _ => TcpServer::bind(
                    "127.0.0.1:0",
                    handler_fn(move |request| {
                        let _value = &value;
                        Ok(match request.path() {
                            "/upgrade" => Response::upgrade("upgrade", goodbye),
                            _ => Response::text("a"),
                        })
                    }),
                ),
            };
            let server = server.unwrap();
            let (handle, mut client) = (server.handle(), TcpStream::connect(server.local_addr()).unwrap());
            let head = format!("GET /{kind} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: upgrade\r\n\r\n");
            client.write_all(head.as_bytes()).unwrap();
            let is_over = AtomicBool::new(false);
            let at_return = std::thread::scope(|scope| {
                let serving = scope.spawn(|| {
                    server.serve_forever().unwrap();
                    drop(server);
                    is_over.store(true, Relaxed);
                    dropped.load(Relaxed)
                });
                let mut begun = [0; 9];
                client.read_exact(&mut begun).unwrap();
                scope.spawn(|| {
                    while !is_over.load(Relaxed) {
                        handle.stats();
                    }
                });
                while handle.stats().running > 0 {
                    std::thread::sleep(Duration::from_micros(100)); // the end does not wait for handlers
                }
                handle.shutdown_now();
                serving.join().unwrap()
            });
            assert_eq!(at_return, 1, "{kind}, run {run}");
        }
    }
}

#[test]
fn a_destructor_that_panics_costs_one_connection() {
    struct Body;
    impl Read for Body {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            buffer.fill(b'x');
            Ok(buffer.len())
        }
    }
    impl Drop for Body {
        fn drop(&mut self) {
            panic!("a destructor panics, for the test");
        }
    }
    let app = handler_fn(|request| match request.path() {
        "/stream" => Ok(Response::stream(Body)),
        _ => Ok(Response::text("still here")),
    });
    let server = serve(app, |server| server.workers(1));
    let mut bystander = server.client();
    for _ in 0..20 {
        let mut client = server.client();
        client.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n").expect("HTTP/1.1 200 OK\r\n");
    }
    server.wait_for("those who left are gone", |stats| stats.connections == 1 && stats.accepted == 21);
    // The worker returns its permit a moment after the connection is gone. A lost permit would never be returned.
    server.wait_for("no permit is lost", |stats| stats.running == 0);
    bystander.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("HTTP/1.1 200 OK\r\n");
}

/// A connection ends when its last byte is sent, even if another worker is inside the poll. (Linux 6.18: the poll can
/// hold the socket, and close(2) takes effect when the poll returns.)
#[test]
fn no_end_waits_for_a_poll() {
    let requests = if is_plain() { 20_000 } else { 200 }; // all transports have the same poll
    let gate = Gate::default();
    let (at_gate, calls) = (gate.clone(), AtomicUsize::new(0));
    let app = handler_fn(move |request| {
        if request.path() == "/wait" {
            at_gate.pass();
        }
        // About as long as another worker takes to wake and poll.
        let (begun, number) = (Instant::now(), calls.fetch_add(1, Relaxed) as u64);
        while begun.elapsed() < Duration::from_micros(40 + number * 7 % 200) {}
        Ok(Response::text("ok"))
    });
    let server = serve(Http::new(app), |server| server.workers(4));
    let _opened = gate.opened_at_end();
    let mut waiting: Vec<Client> = (0..3).map(|_| server.client()).collect();
    for client in &mut waiting {
        client.send(get("/wait"));
    }
    gate.wait_for_arrivals(3);
    let begun = Instant::now();
    for number in 0..requests {
        let mut client = server.client();
        let sent = Instant::now();
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let (bytes, end) = client.read_to_any_end();
        let took = sent.elapsed();
        assert!(bytes.ends_with(b"ok") && end.is_none(), "{:?}, {end:?}", bytes.escape_ascii().to_string());
        assert!(took < Duration::from_secs(2), "request {number} ended after {took:?}");
        if begun.elapsed() > Duration::from_secs(8) {
            break; // a busy machine
        }
    }
}
