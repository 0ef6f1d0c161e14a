//! Clients that send or read too slowly are dropped. Clients that are fast enough on average are not, nor clients that
//! wait for the server.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use modest::raw::{Action, Conversation, Event, Protocol, Raw, Stage, Turn};
use modest::{BodyPlan, Http, Request, RequestHandler, Response, Result, TcpServer, handler_fn};

use crate::server::{Client, Gate, PATIENCE, Running, get, serve};

const OVER: Duration = Duration::from_millis(500);

/// A minimum of this many bytes per second, over half a second.
fn at_least(bytes_per_second: u64) -> impl FnOnce(TcpServer) -> TcpServer {
    move |server| server.min_rate((bytes_per_second, OVER))
}

/// A response that is larger than the kernel's buffers.
fn big(size: usize) -> Http<impl RequestHandler> {
    let body = Arc::new(vec![b'x'; size]);
    Http::new(handler_fn(move |_| Ok(Response::shared(body.clone()))))
}

/// A client with a small window, as over a network, so that unread bytes stay in the server.
fn narrow(server: &Running) -> Client {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.set_tcp_mss(1400).unwrap(); // on loopback a segment would be 64 KiB, and the window opens by whole segments
    socket.connect(&server.address.into()).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Client { stream }
}

/// Reads at this rate, for this time or until the end. Returns the end, if there was one.
fn read_at(client: &mut Client, bytes_per_second: u32, time: Duration) -> Option<ErrorKind> {
    let start = Instant::now();
    let mut buffer = [0; 4 * 1024];
    let mut all = 0;
    while start.elapsed() < time {
        match client.stream.read(&mut buffer) {
            Ok(0) => return Some(ErrorKind::UnexpectedEof),
            Ok(count) => all += count as u32,
            Err(err) => return Some(err.kind()),
        }
        let due = Duration::from_secs(1) * all / bytes_per_second;
        thread::sleep(due.saturating_sub(start.elapsed())); // the speed of the reader, not a wait for an event
    }
    None
}

#[test]
fn a_client_that_reads_below_the_minimum_rate_is_dropped() {
    if !super::system::are_unsent_bytes_counted() {
        return; // any progress within a window suffices there
    }
    // The client always makes progress; only its average is too low.
    let server = serve(big(50_000_000), at_least(2_000_000));
    let mut client = narrow(&server);
    client.send(get("/"));
    assert_eq!(read_at(&mut client, 400_000, PATIENCE), Some(ErrorKind::ConnectionReset));
}

#[test]
fn a_client_that_reads_in_large_steps_is_not_dropped() {
    // The client's window opens by about 30 KB, every 750 ms at this rate. The server's socket becomes writable after
    // 64 KiB, every 1.6 s. Only the kernel knows about the progress in between.
    let over = Duration::from_millis(1200);
    let server = serve(big(50_000_000), |server| server.min_rate((10_000, over)).write_timeout(over));
    let mut client = narrow(&server);
    client.send(get("/"));
    assert_eq!(read_at(&mut client, 40_000, Duration::from_secs(5)), None);
}

#[test]
fn reading_in_bursts_is_fast_enough() {
    const SIZE: usize = 20_000_000;
    let server = serve(big(SIZE), |server| server.min_rate((100_000, Duration::from_secs(2))));
    let mut client = narrow(&server);
    client.send("GET / HTTP/1.0\r\n\r\n");
    for _ in 0..2 {
        thread::sleep(Duration::from_millis(1200)); // most of a window
        let mut half = vec![0; SIZE / 2];
        client.stream.read_exact(&mut half).expect("half of the response");
    }
    assert!(client.read_to_end().len() < 1000, "only as many bytes are left as the head is long");
}

#[test]
fn waiting_for_a_slow_response_does_not_count_as_slow() {
    struct Slow(usize);
    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            thread::sleep(OVER / 2);
            self.0 += 1;
            let count = if self.0 < 6 { 10 } else { 0 };
            buffer[..count].fill(b'x');
            Ok(count)
        }
    }
    let server = serve(handler_fn(|_| Ok(Response::stream(Slow(0)))), at_least(1_000_000));
    let mut client = server.client();
    let came = client.send("GET / HTTP/1.0\r\n\r\n").read_to_end();
    assert!(came.ends_with(&[b'x'; 50]), "{}", came.escape_ascii());
    // Small responses on one connection, with a pause before each request.
    let server = serve(handler_fn(|_| Ok(Response::text("here"))), at_least(1_000_000));
    let mut client = server.client();
    for _ in 0..3 {
        assert!(client.fetch(get("/")).ends_with("here"));
        thread::sleep(OVER);
    }
    assert!(client.fetch(get("/")).ends_with("here"));
}

/// Responds with the length of the body; `/stuck` waits at a gate.
#[derive(Clone, Default)]
struct Lengths(Gate);

impl RequestHandler for Lengths {
    fn do_get(&self, _: &Request) -> Result<Response> {
        self.0.pass();
        Ok(Response::text("here"))
    }

    fn do_post(&self, request: &Request) -> Result<Response> {
        Ok(Response::text(format!("{} bytes", request.body().len())))
    }
}

/// Sends a body of this size at this rate, and returns the response.
fn upload(server: &Running, size: usize, bytes_per_second: u32) -> String {
    let mut client = server.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"));
    let start = Instant::now();
    let step = (bytes_per_second / 50).max(1); // 20 ms
    let mut sent = 0;
    client.stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    while sent < size {
        let count = (size - sent).min(step as usize);
        if client.stream.write_all(&vec![b'b'; count]).is_err() || client.stream.peek(&mut [0]).is_ok() {
            break; // there is a response already
        }
        sent += count;
        let due = Duration::from_secs(1) * sent as u32 / bytes_per_second;
        thread::sleep(due.saturating_sub(start.elapsed())); // the speed of the sender, not a wait for an event
    }
    client.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    client.answer().unwrap_or_else(|(came, err)| panic!("after {sent} bytes of {size}: {came:?}, {err}"))
}

#[test]
fn a_body_below_the_minimum_rate_is_rejected() {
    let server = serve(Lengths::default(), at_least(10_000));
    let start = Instant::now();
    let answer = upload(&server, 100_000, 2_500);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
    assert!(start.elapsed() >= OVER, "refused after {:?}", start.elapsed());
}

#[test]
fn a_body_above_the_minimum_rate_can_take_any_time() {
    let server = serve(Lengths::default(), at_least(10_000));
    assert!(upload(&server, 100_000, 40_000).ends_with("100000 bytes")); // five windows
    let any = serve(Lengths::default(), |server| server.min_rate(None));
    assert!(upload(&any, 1_000, 500).ends_with("1000 bytes"));
}

#[test]
fn a_body_delayed_by_the_server_is_not_late() {
    // The first bytes of the body have to go to a file, and for a while no worker is free for that. Meanwhile the
    // client can't continue: it can send less in advance than the minimum for a window.
    const SIZE: usize = 15_000_000;
    let app = Lengths::default();
    let http = Http::new(app.clone()).body_limit(None).body_memory(1000);
    let server = serve(http, |server| server.workers(1).min_rate((20_000_000, OVER)));
    let _end = app.0.opened_at_end();
    // The first POST needs a worker, which finds out whether there is a `do_post`. So it is sent before.
    assert!(upload(&server, 1, 1_000_000).ends_with("1 bytes"));
    server.wait_for("the first client is gone", |stats| stats.connections == 0);
    let mut client = server.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"));
    server.wait_for("it waits for the body", |stats| stats.parked == 1 && stats.running == 0);
    server.client().send(get("/stuck"));
    app.0.wait_for_arrivals(1);
    let mut sending = client.stream.try_clone().unwrap();
    let sender = thread::spawn(move || sending.write_all(&vec![b'b'; SIZE]));
    server.wait_for("it waits for a worker", |stats| stats.waiting == 1);
    thread::sleep(3 * OVER); // longer than a window
    app.0.open();
    let answer = client.answer();
    assert!(answer.as_ref().is_ok_and(|answer| answer.ends_with("15000000 bytes")), "{answer:?}");
    sender.join().expect("no panic").expect("the server received everything");
}

/// The time of a stage begins once the code that began it has returned: code that takes longer than the stage may last
/// makes no client late.
#[test]
fn slow_code_makes_no_client_late() {
    const LIMIT: Duration = Duration::from_millis(250);
    /// The time that the code takes; no test can wait for its end, because bytes must arrive before that.
    fn work() {
        thread::sleep(2 * LIMIT);
    }

    struct Checked(Gate);
    impl RequestHandler for Checked {
        fn before_body(&self, _: &Request, _: &mut BodyPlan) -> Result<()> {
            self.0.pass();
            work();
            Ok(())
        }
        fn do_post(&self, request: &Request) -> Result<Response> {
            Ok(Response::text(request.text()?))
        }
    }
    let gate = Gate::default();
    let server = serve(Http::new(Checked(gate.clone())).body_timeout(LIMIT), |server| server);
    let mut client = server.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\nab");
    gate.wait_for_arrivals(1);
    client.send("cd");
    gate.open();
    let response = String::from_utf8_lossy(&client.read_to_end()).into_owned();
    assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("abcd"), "before_body: {response}");

    /// `meet` is slow, or the event after a first stage without a byte.
    struct Slow {
        meets_slowly: bool,
        gate: Gate,
    }
    struct Line(Gate);
    fn read(stage: u32) -> Action {
        Action::Read { stage: Stage(stage), within: Some(LIMIT), evictable: false, at_min_rate: false }
    }
    impl Protocol for Slow {
        fn meet(&self, _: &modest::Client) -> Option<Box<dyn Conversation>> {
            if self.meets_slowly {
                self.gate.pass();
                work();
            }
            Some(Box::new(Line(self.gate.clone())))
        }
    }
    impl Conversation for Line {
        fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
            if turn.input.bytes().is_empty() {
                return read(1);
            }
            turn.output.bytes().extend_from_slice(turn.input.bytes());
            Action::Close
        }
        fn event(&mut self, event: Event, turn: &mut Turn<'_>) -> Action {
            if event == Event::Late(Stage(1)) {
                self.0.pass();
                work();
                return read(2);
            }
            turn.output.bytes().extend_from_slice(b"late");
            Action::Close
        }
    }
    for meets_slowly in [true, false] {
        let gate = Gate::default();
        let server = serve(Raw(Slow { meets_slowly, gate: gate.clone() }), |server| server);
        let mut client = server.client();
        gate.wait_for_arrivals(1);
        client.send("in time");
        gate.open();
        assert_eq!(String::from_utf8_lossy(&client.read_to_end()), "in time", "{meets_slowly}");
    }
}
