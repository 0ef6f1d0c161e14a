//! WebSocket over real sockets: the client of `tungstenite`, and raw frames that `tungstenite` would not send.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use modest::live::SendError;
use modest::websocket::{Close, Message, Socket, WebSocket, WebSocketHandler, broadcast};
use modest::{Http, Request, Response, Result, Routes, TcpServer, handler_fn};
use tungstenite::protocol::frame::coding::CloseCode;

use crate::server::{Client, PATIENCE, Running, is_plain, serve};

/// A room in which all clients receive each message.
#[derive(Clone)]
struct House {
    settings: WebSocket,
    guests: Arc<Mutex<HashSet<Socket>>>,
    ends: Arc<Mutex<Vec<(u16, String)>>>,
    gate: Arc<Mutex<()>>,      // handlers of a message `wait` wait here
    waiting: Arc<AtomicUsize>, // the number of such handlers
}

struct Guest(House);

impl WebSocketHandler for Guest {
    fn opened(&mut self, socket: &Socket) -> Result<()> {
        self.0.guests.lock().unwrap().insert(socket.clone());
        Ok(socket.send("welcome")?)
    }

    fn message(&mut self, message: Message, socket: &Socket) -> Result<()> {
        match message.as_text() {
            Some("fail") => Err("as asked".into()),
            Some("panic") => panic!("as asked"),
            Some("leave") => {
                socket.send("goodbye")?;
                socket.close(4000, "as asked");
                Ok(())
            }
            Some("wait") => {
                self.0.waiting.fetch_add(1, SeqCst);
                drop(self.0.gate.lock().unwrap());
                Ok(socket.send("waited")?)
            }
            Some("protocol") => Ok(socket.send(socket.protocol().unwrap_or("none"))?),
            Some(text) if text.starts_with("all ") => {
                broadcast(&*self.0.guests.lock().unwrap(), text);
                Ok(())
            }
            _ => Ok(socket.send(message)?),
        }
    }

    fn closed(&mut self, socket: &Socket, close: &Close) {
        assert!(self.0.guests.lock().unwrap().remove(socket), "a socket that was opened");
        self.0.ends.lock().unwrap().push((close.code, close.reason.clone()));
    }
}

impl House {
    fn new(settings: WebSocket) -> House {
        House { settings, guests: Arc::default(), ends: Arc::default(), gate: Arc::default(), waiting: Arc::default() }
    }

    /// Waits until this many handlers wait at the gate.
    fn wait_for(&self, count: usize) {
        let started = Instant::now();
        while self.waiting.load(SeqCst) < count {
            assert!(started.elapsed() < PATIENCE, "{} wait, not {count}", self.waiting.load(SeqCst));
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    fn enter(&self, request: &Request) -> Result<Response> {
        self.settings.accept(request, Guest(self.clone()))
    }

    fn serve(&self) -> Running {
        self.serve_with(|server| server.workers(4))
    }

    fn serve_with(&self, settings: impl FnOnce(TcpServer) -> TcpServer) -> Running {
        let routes = Routes::new().get("/ws", House::enter).post("/ws", House::enter);
        serve(Http::new(routes.with_state(self.clone())).access_log(None), settings)
    }

    /// Waits until this many clients have disconnected, and returns their codes.
    fn ends(&self, count: usize) -> Vec<(u16, String)> {
        let start = Instant::now();
        while self.ends.lock().unwrap().len() < count {
            assert!(start.elapsed() < PATIENCE, "{:?}", self.ends.lock().unwrap());
            thread::sleep(Duration::from_micros(100));
        }
        self.ends.lock().unwrap().clone()
    }

    fn any_guest(&self) -> Socket {
        self.guests.lock().unwrap().iter().next().cloned().expect("a connected client")
    }
}

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const ASK: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n";
const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";

/// A raw client after its handshake.
fn raw(running: &Running) -> Client {
    let mut client = running.client();
    client.send(format!("GET /ws HTTP/1.1\r\nHost: a\r\n{ASK}{VERSION}{KEY}\r\n"));
    let mut line = client.line();
    assert!(line.starts_with("HTTP/1.1 101 "), "{line}");
    while line != "\r\n" {
        line = client.line();
    }
    client.expect(b"\x81\x07welcome");
    client
}

/// A frame of a client, with a mask.
fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let (payload, mask) = (payload.as_ref(), [1, 2, 3, 4]);
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..65_536 => bytes.extend([&[0xfe][..], &(length as u16).to_be_bytes()].concat()),
        length => bytes.extend([&[0xff][..], &(length as u64).to_be_bytes()].concat()),
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// The next frame of the server, of at most 65,535 bytes: its first byte, and its payload.
fn next_frame(client: &mut Client) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    client.stream.read_exact(&mut head).expect("a frame");
    let mut length = usize::from(head[1]);
    if length == 126 {
        let mut long = [0; 2];
        client.stream.read_exact(&mut long).expect("a length");
        length = u16::from_be_bytes(long).into();
    }
    assert!(length < 127 || head[1] == 126, "a frame must have no mask and the shortest length: {head:?}");
    let mut payload = vec![0; length];
    client.stream.read_exact(&mut payload).expect("a payload");
    (head[0], payload)
}

#[track_caller]
fn expect_close(client: &mut Client, code: u16) {
    let (first, payload) = next_frame(client);
    assert_eq!((first, payload.get(..2)), (0x88, Some(&code.to_be_bytes()[..])), "{payload:?}");
}

type Polite = tungstenite::WebSocket<TcpStream>;

fn polite(running: &Running) -> Polite {
    let stream = running.client().stream;
    let (mut client, _) =
        tungstenite::client(format!("ws://{}/ws", running.address), stream).expect("an accepted handshake");
    assert_eq!(text(&mut client), "welcome");
    client
}

fn text(client: &mut Polite) -> String {
    client.read().unwrap().to_text().expect("text").to_owned()
}

#[test]
fn invalid_handshakes_are_rejected() {
    let house = House::new(WebSocket::new().protocols(["chat.v2", "chat.v1"]).origin("https://app.example"));
    let running = house.serve();
    let version = |number: &str| format!("{ASK}{KEY}Sec-WebSocket-Version: {number}\r\n");
    let with = |field: &str| format!("{ASK}{VERSION}{KEY}{field}\r\n");
    for (method, fields, status, part) in [
        ("GET", with("X: y"), 101, "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"),
        ("GET", with("X: y"), 101, "connection: upgrade\r\n"),
        ("GET", with("X: y"), 101, "upgrade: websocket\r\n"),
        ("POST", with("Content-Length: 0"), 405, "allow: get\r\n"),
        ("GET", String::new(), 426, "upgrade: websocket\r\n"),
        ("GET", format!("{VERSION}{KEY}Upgrade: websocket\r\n"), 426, "upgrade: websocket\r\n"),
        ("GET", format!("{VERSION}{KEY}Connection: upgrade\r\nUpgrade: h2c\r\n"), 426, "upgrade: websocket\r\n"),
        ("GET", version("12"), 426, "sec-websocket-version: 13\r\n"),
        ("GET", format!("{ASK}{KEY}"), 426, "sec-websocket-version: 13\r\n"),
        ("GET", format!("{ASK}{VERSION}"), 400, "16 bytes"),
        ("GET", format!("{ASK}{VERSION}{KEY}{KEY}"), 400, "16 bytes"),
        ("GET", format!("{ASK}{VERSION}Sec-WebSocket-Key: abc\r\n"), 400, "16 bytes"),
        ("GET", with("Origin: https://a"), 101, ""), // over TCP also: a proxy may have ended TLS
        ("GET", with("Origin: https://app.example"), 101, ""),
        ("GET", with("Origin: https://b"), 403, "origin"),
        ("GET", with("Origin: null"), 403, "origin"),
        ("GET", with("Origin: http://a\r\nOrigin: http://a"), 403, "origin"),
        ("GET", with("Sec-WebSocket-Protocol: chat.v1, chat.v2"), 101, "sec-websocket-protocol: chat.v2\r\n"),
        ("GET", with("Sec-WebSocket-Protocol: chat.v1"), 101, "sec-websocket-protocol: chat.v1\r\n"),
    ] {
        let mut client = running.client();
        let request = format!("{method} /ws HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        client.send(&request);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head += &client.line().to_lowercase();
        }
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{request}{head}");
        if status == 101 {
            client.expect(b"\x81\x07welcome");
        } else {
            drop(client.stream.shutdown(std::net::Shutdown::Write));
            head += &String::from_utf8(client.read_to_end()).unwrap().to_lowercase();
        }
        assert!(head.contains(part), "{request}{head}");
        assert!(!head.contains("extensions"), "no extension must be accepted: {head}");
    }
}

#[test]
fn any_origin_accepts_pages_of_every_site() {
    let house = House::new(WebSocket::new().any_origin());
    let running = house.serve();
    let mut client = running.client();
    client.send(format!("GET /ws HTTP/1.1\r\nHost: a\r\nOrigin: https://b\r\n{ASK}{VERSION}{KEY}\r\n"));
    assert!(client.line().starts_with("HTTP/1.1 101 "));
}

/// Frames in, frames out: each on a new connection, at once and byte by byte.
#[test]
fn frames_are_answered_or_close_the_connection() {
    let house = House::new(WebSocket::new().max_message(70_000));
    let running = house.serve();
    let closed = |code: u16, reason: &str| frame(0x88, [&code.to_be_bytes()[..], reason.as_bytes()].concat());
    let join = |frames: &[Vec<u8>]| frames.concat();
    let long = "x".repeat(1000);
    let unmasked = vec![0x81, 1, b'a'];
    let huge = [&[0x82, 0xff][..], &(1u64 << 62).to_be_bytes(), &[0; 4]].concat();
    let above = [&[0x82, 0xff][..], &70_001u64.to_be_bytes(), &[0; 4]].concat();
    // The frames to send, the frames before the end, and the code of the server's close (0: it does not close).
    let rows: Vec<(&str, Vec<u8>, &[u8], u16)> = vec![
        ("text", frame(0x81, "a"), b"\x81\x01a", 0),
        ("nothing", frame(0x81, ""), b"\x81\x00", 0),
        ("bytes", frame(0x82, [0xff, 0]), b"\x82\x02\xff\x00", 0),
        ("two at once", join(&[frame(0x81, "a"), frame(0x81, "b")]), b"\x81\x01a\x81\x01b", 0),
        ("fragments", join(&[frame(1, "a"), frame(0, "b"), frame(0x80, "c")]), b"\x81\x03abc", 0),
        (
            "a ping between fragments",
            join(&[frame(1, "a"), frame(0x89, "p"), frame(0x80, "c")]),
            b"\x8a\x01p\x81\x02ac",
            0,
        ),
        ("a letter cut in two", join(&[frame(1, [0xc3]), frame(0x80, [0xa9])]), b"\x81\x02\xc3\xa9", 0),
        ("a ping", frame(0x89, "hi"), b"\x8a\x02hi", 0),
        ("two pings", join(&[frame(0x89, "a"), frame(0x89, "b")]), b"\x8a\x01a\x8a\x01b", 0),
        ("a pong nobody asked for", join(&[frame(0x8a, "a"), frame(0x81, "b")]), b"\x81\x01b", 0),
        ("a close", closed(1000, "done"), b"", 1000),
        ("a close with a code of its own", closed(3999, ""), b"", 3999),
        ("a message after a close", join(&[closed(1000, ""), frame(0x81, "a")]), b"", 1000),
        ("a close with an invalid code", closed(999, ""), b"", 1002),
        ("a close with a code for no frame", closed(1006, ""), b"", 1002),
        ("a close of one byte", frame(0x88, [3]), b"", 1002),
        ("a close with a reason that is not text", frame(0x88, [3, 0xe8, 0xff]), b"", 1007),
        ("an error of the handler", frame(0x81, "fail"), b"", 1011),
        ("closed by the handler", frame(0x81, "leave"), b"\x81\x07goodbye", 4000),
        ("no mask", unmasked, b"", 1002),
        ("a bit of an extension", frame(0xc1, "a"), b"", 1002),
        ("an unknown kind", frame(0x83, "a"), b"", 1002),
        ("an unknown kind of control", frame(0x8b, "a"), b"", 1002),
        ("a ping in fragments", frame(9, "a"), b"", 1002),
        ("a ping that is too long", frame(0x89, &long[..126]), b"", 1002),
        ("an end of nothing", frame(0x80, "a"), b"", 1002),
        ("a beginning within a message", join(&[frame(1, "a"), frame(0x81, "b")]), b"", 1002),
        ("text that is not UTF-8", frame(0x81, [b'a', 0xff]), b"", 1007),
        ("text that is cut off", frame(0x81, [0xc3]), b"", 1007),
        ("text that is not UTF-8, in fragments", join(&[frame(1, "a"), frame(0x80, [0xff])]), b"", 1007),
        ("too long by its head", above, b"", 1009),
        ("longer than anything", huge, b"", 1009),
        ("too long in fragments", join(&[frame(2, vec![0; 50_000]), frame(0x80, vec![0; 50_000])]), b"", 1009),
    ];
    for (name, sent, wanted, code) in &rows {
        for step in [sent.len(), 1] {
            if sent.len() > 1000 && step == 1 {
                continue;
            }
            let mut client = raw(&running);
            for piece in sent.chunks(step) {
                if client.stream.write_all(piece).is_err() {
                    break; // the server has rejected it already
                }
            }
            let mut came = Vec::new();
            while came.len() < wanted.len() {
                let (first, payload) = next_frame(&mut client);
                came.extend([first, payload.len() as u8]);
                came.extend(payload);
            }
            assert_eq!(
                came.escape_ascii().to_string(),
                wanted.escape_ascii().to_string(),
                "{name}, {step} bytes at a time"
            );
            if *code == 0 {
                client.send(closed(1000, ""));
            }
            let (first, payload) = next_frame(&mut client);
            let code = if *code == 0 { 1000 } else { *code };
            assert_eq!((first, payload.get(..2)), (0x88, Some(&code.to_be_bytes()[..])), "{name}: {payload:?}");
            if matches!(*name, "an error of the handler" | "closed by the handler") {
                client.send(closed(code, ""));
            }
            client.expect_end();
        }
    }
    drop(running);
}

#[test]
fn the_handler_gets_the_close_code_and_reason() {
    let house = House::new(WebSocket::new());
    let running = house.serve();
    let mut ends = 0;
    for (sent, code, reason) in [
        (frame(0x88, b"\x03\xe9tired"), 1001, "tired"),
        (frame(0x88, ""), 1005, ""),
        (frame(0x80, ""), 1002, "Continue frame but nothing to continue"),
        (frame(0x81, "leave"), 4000, "as asked"),
        (frame(0x81, "fail"), 1011, "an error of the server"),
        (frame(0x81, "panic"), 1006, ""),
        (vec![0x81], 1006, ""),
    ] {
        let mut client = raw(&running);
        client.send(&sent);
        drop(client.stream.shutdown(std::net::Shutdown::Write));
        let _ = client.stream.read_to_end(&mut Vec::new());
        drop(client);
        ends += 1;
        assert_eq!(house.ends(ends).pop(), Some((code, reason.to_owned())), "{}", sent.escape_ascii());
    }
    assert!(house.guests.lock().unwrap().is_empty());
}

#[test]
fn long_messages_both_ways() {
    let house = House::new(WebSocket::new());
    let running = house.serve();
    let mut client = polite(&running);
    for length in [125, 126, 65_535, 65_536, 300_000, 1_048_576] {
        let text = "x".repeat(length);
        client.send(text.clone().into()).unwrap();
        assert!(self::text(&mut client) == text, "{length} bytes of text");
        client.send(vec![7u8; length].into()).unwrap();
        assert!(client.read().unwrap().into_data() == vec![7u8; length], "{length} bytes");
    }
    client.close(None).unwrap();
    while client.read().is_ok() {}
    assert_eq!(house.ends(1), [(1005, String::new())]);
}

#[test]
fn a_thousand_clients_get_a_broadcast_without_holding_workers() {
    let house = House::new(WebSocket::new().ping_interval(None)); // connecting takes some time on a busy machine
    let running = house.serve();
    let count = if is_plain() { 1000 } else { 200 }; // TLS handshakes take some time
    let mut clients: Vec<Client> = (0..count).map(|_| raw(&running)).collect();
    running
        .wait_for("all wait without a worker", |stats| (stats.parked, stats.running, stats.waiting) == (count, 0, 0));
    clients[7].send(frame(0x81, "all read this"));
    for client in &mut clients {
        client.expect(b"\x81\x0dall read this");
    }
    // From a thread without a handler, and in order.
    let guests: Vec<Socket> = house.guests.lock().unwrap().iter().cloned().collect();
    for number in 0..10 {
        assert_eq!(broadcast(&guests, format!("number {number}")), count);
    }
    for client in &mut clients {
        for number in 0..10u8 {
            client.expect([&b"\x81\x08number "[..], &[b'0' + number]].concat());
        }
    }
    drop(clients);
    house.ends(count);
    assert_eq!(broadcast(&guests, "to nobody"), 0);
    running.wait_for("they are gone", |stats| stats.connections == 0);
}

#[test]
fn blocking_handlers_delay_no_other_client() {
    let house = House::new(WebSocket::new());
    let running = house.serve();
    let mut blocked: Vec<Polite> = (0..2).map(|_| polite(&running)).collect();
    let mut other = polite(&running);
    let gate = house.gate.lock().unwrap();
    for client in &mut blocked {
        client.send("wait".into()).unwrap();
        client.send("after".into()).unwrap();
    }
    house.wait_for(2);
    other.send("hello".into()).unwrap();
    assert_eq!(text(&mut other), "hello");
    drop(gate);
    for client in &mut blocked {
        assert_eq!(text(client), "waited");
        assert_eq!(text(client), "after", "messages must arrive in order");
    }
}

#[test]
fn a_client_without_a_permit_is_closed_with_try_again_later() {
    let house = House::new(WebSocket::new());
    let running = house.serve_with(|server| server.workers(1).queue_timeout(Duration::from_millis(500)));
    let (mut blocked, mut other) = (raw(&running), raw(&running));
    let gate = house.gate.lock().unwrap();
    blocked.send(frame(0x81, "wait"));
    house.wait_for(1);
    other.send(frame(0x81, "hello"));
    running.wait_for("the other waits for a permit", |stats| stats.waiting == 1);
    // Messages accepted in the meantime are sent before the close.
    for number in 0..3 {
        let guests = house.guests.lock().unwrap();
        assert_eq!(broadcast(&*guests, format!("tick{number}")), 2, "{number}");
    }
    for number in 0..3 {
        assert_eq!(next_frame(&mut other), (0x81, format!("tick{number}").into_bytes()));
    }
    expect_close(&mut other, 1013);
    drop(gate);
    blocked.expect(b"\x81\x05tick0\x81\x05tick1\x81\x05tick2\x81\x06waited");
}

/// A message that waits for a worker counts as unused input.
#[test]
fn messages_that_wait_for_a_worker_need_memory() {
    const LENGTH: usize = 60_000;
    let house = House::new(WebSocket::new());
    let running = house.serve_with(|server| server.workers(1).input_quota(LENGTH as u64 + 10_000));
    let [mut blocked, mut waits, mut other] = [(); 3].map(|()| raw(&running));
    let gate = house.gate.lock().unwrap();
    blocked.send(frame(0x81, "wait"));
    house.wait_for(1);
    waits.send(frame(0x82, [b'x'; LENGTH]));
    let stats = running.wait_for("a message waits for a permit", |stats| stats.waiting == 1);
    assert!(stats.input >= LENGTH, "{stats:?}");
    other.send(frame(0x82, [b'x'; LENGTH]));
    expect_close(&mut other, 1013);
    drop(gate);
    blocked.expect(b"\x81\x06waited");
    assert_eq!(next_frame(&mut waits), (0x82, vec![b'x'; LENGTH]));
    running.wait_for("its memory is free", |stats| stats.input == 0);
}

/// A close of the client that has already arrived when the server closes ends the connection at once.
#[test]
fn a_close_that_has_arrived_is_not_waited_for() {
    let house = House::new(WebSocket::new().close_timeout(PATIENCE));
    let running = house.serve();
    for (said, code) in [("leave", 4000), ("fail", 1011)] {
        let begun = Instant::now();
        let mut client = raw(&running);
        client.send([frame(0x81, said), frame(0x81, "more"), frame(0x88, [3, 232])].concat());
        if said == "leave" {
            client.expect(b"\x81\x07goodbye");
        }
        expect_close(&mut client, code);
        client.expect_end();
        assert!(begun.elapsed() < PATIENCE / 2, "{said}: {:?}", begun.elapsed());
    }
}

/// Its client requests more messages than fit in the queue.
struct Generous {
    left: usize,
    most: Arc<Mutex<usize>>,
}

impl Generous {
    /// Sends until the queue is full.
    fn go_on(&mut self, socket: &Socket) {
        let mut at_once = 0;
        while self.left > 0 && socket.try_send(vec![b'x'; 10_000]).is_ok() {
            (self.left, at_once) = (self.left - 1, at_once + 1);
        }
        if self.left > 0 {
            // The queue is full for other threads as well, because nothing is sent while this handler runs.
            let other = || socket.send_timeout(vec![b'x'; 10_000], Duration::ZERO);
            let sent = thread::scope(|threads| threads.spawn(other).join().unwrap());
            assert_eq!(sent, Err(SendError::Full));
        }
        let mut most = self.most.lock().unwrap();
        *most = at_once.max(*most);
    }
}

impl WebSocketHandler for Generous {
    fn opened(&mut self, socket: &Socket) -> Result<()> {
        Ok(socket.send("welcome")?)
    }

    fn message(&mut self, message: Message, socket: &Socket) -> Result<()> {
        match message.as_text() {
            Some("twice") => (0..2).try_for_each(|_| socket.send(vec![b'x'; 200_000]))?,
            Some("pull") => self.go_on(socket),
            Some("thread") => {
                let socket = socket.clone();
                thread::spawn(move || {
                    for _ in 0..300 {
                        socket.send_timeout(vec![b'x'; 10_000], PATIENCE).unwrap();
                    }
                    socket.send_timeout("done", None).unwrap();
                });
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    }

    fn drained(&mut self, socket: &Socket) -> Result<()> {
        self.go_on(socket);
        Ok(())
    }
}

#[test]
fn a_client_that_reads_is_sent_more_than_the_queue_holds() {
    let most = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&most);
    let enter = handler_fn(move |request: &Request| {
        WebSocket::new().queue(100_000).accept(request, Generous { left: 1000, most: counted.clone() })
    });
    let running = serve(Http::new(enter).access_log(None), |server| server.workers(4));
    let mut client = polite(&running);
    for (asks, messages, length) in [("twice", 2, 200_000), ("pull", 1000, 10_000), ("thread", 300, 10_000)] {
        client.send(asks.into()).unwrap();
        for number in 0..messages {
            assert_eq!(client.read().unwrap().into_data().len(), length, "{asks}: {number}");
        }
        if asks == "thread" {
            assert_eq!(text(&mut client), "done");
        }
    }
    let most = *most.lock().unwrap();
    assert!((1..=10).contains(&most), "{most} messages of 10,000 bytes in a queue of 100,000");
}

#[test]
fn a_slow_client_is_closed_and_delays_no_other() {
    let house = House::new(WebSocket::new().queue(10_000));
    let running = house.serve();
    let mut slow = raw(&running);
    let to_slow = house.any_guest();
    let mut quick = polite(&running);
    let piece = vec![0u8; 5000];
    let start = Instant::now();
    let mut sent = 0;
    let error = loop {
        assert!(start.elapsed() < PATIENCE, "{sent} bytes are kept for a client that reads nothing");
        match to_slow.send(&piece[..]) {
            Ok(()) => sent += piece.len(),
            Err(error) => break error,
        }
        quick.send("hello".into()).unwrap();
        assert_eq!(text(&mut quick), "hello");
    };
    assert_eq!((error, to_slow.send("more")), (SendError::Full, Err(SendError::Gone)));
    assert!(to_slow.is_gone());
    running.wait_for("it is gone, although it has read nothing", |stats| stats.connections == 1);
    let read = slow.expect_reset();
    assert!(read < sent, "{read} of {sent}");
    assert_eq!(house.ends(1), [(1008, "read too slowly".to_owned())]);
}

#[test]
fn silent_clients_are_pinged_and_dropped_without_a_pong() {
    // Long enough for this test to answer in time on a busy machine.
    let house = House::new(WebSocket::new().ping_interval(Duration::from_secs(1)));
    let running = house.serve();
    let (mut alive, mut dead) = (raw(&running), raw(&running));
    for _ in 0..2 {
        alive.expect(b"\x89\x00");
        alive.send(frame(0x8a, ""));
    }
    dead.expect(b"\x89\x00").expect_reset();
    assert_eq!(house.ends(1), [(1006, String::new())]);
    alive.expect(b"\x89\x00");
}

#[test]
fn an_idle_client_is_closed_after_its_timeout() {
    let settings = WebSocket::new().idle_timeout(Duration::from_millis(400)).ping_interval(Duration::from_millis(150));
    let house = House::new(settings.close_timeout(Duration::from_millis(100)));
    let running = house.serve();
    let mut client = raw(&running);
    let start = Instant::now();
    client.send(frame(0x81, "a")).expect(b"\x81\x01a");
    loop {
        match next_frame(&mut client) {
            (0x89, _) => drop(client.send(frame(0x8a, ""))), // pongs are not messages
            (0x88, payload) => break assert_eq!(payload[..2], 1001u16.to_be_bytes()),
            other => panic!("{other:?}"),
        }
    }
    assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
    client.expect_end(); // although the client never answers
}

#[test]
fn a_message_that_arrives_too_slowly_is_rejected() {
    let house = House::new(WebSocket::new());
    let running = house.serve_with(|server| server.workers(2).min_rate((500, Duration::from_millis(200))));
    for begun in [&frame(0x81, "half a message")[..7], &frame(1, "a fragment")] {
        let mut client = raw(&running);
        client.send(begun);
        expect_close(&mut client, 1008);
    }
    let mut silent = raw(&running); // this one has no unfinished message
    let mut client = raw(&running);
    client.send(frame(1, "a")).send(frame(0x80, "b")).expect(b"\x81\x02ab");
    house.ends(2);
    silent.send(frame(0x81, "c")).expect(b"\x81\x01c");
}

/// The longest duration means no limit, in each setting.
#[test]
fn limits_of_any_length_are_accepted() {
    let most = Duration::MAX;
    let house = House::new(WebSocket::new().idle_timeout(most).ping_interval(most).close_timeout(most));
    let running = house.serve();
    let mut client = polite(&running);
    client.send("hello".into()).unwrap();
    assert_eq!(text(&mut client), "hello");
    running.handle.shutdown();
    client.send("late".into()).unwrap(); // before or after the close of the server
    while client.read().is_ok() {}
    assert_eq!(house.ends(1)[0].0, 1001);
}

#[test]
fn a_shutdown_sends_close_frames() {
    let house = House::new(WebSocket::new());
    let mut running = house.serve();
    let mut clients: Vec<Polite> = (0..20).map(|_| polite(&running)).collect();
    let gate = house.gate.lock().unwrap();
    clients[0].send("wait".into()).unwrap();
    house.wait_for(1);
    running.wait_for("the others are parked", |stats| stats.parked == 19);
    running.handle.shutdown();
    drop(gate);
    assert_eq!(text(&mut clients[0]), "waited", "a handler in progress can finish");
    for client in &mut clients {
        match client.read().unwrap() {
            tungstenite::Message::Close(Some(close)) => assert_eq!(close.code, CloseCode::Away),
            other => panic!("{other:?}"),
        }
        while client.read().is_ok() {}
    }
    let took = running.wait_for_end();
    assert!(took < Duration::from_secs(4), "all clients have answered, but the stop took {took:?}");
    assert!(house.ends(20).iter().all(|(code, _)| *code == 1001));
}

#[test]
fn a_shutdown_waits_only_for_the_close_timeout() {
    let house = House::new(WebSocket::new().close_timeout(Duration::from_millis(200)));
    let mut running = house.serve();
    let mut client = raw(&running);
    running.handle.shutdown();
    expect_close(&mut client, 1001);
    client.send(frame(0x81, "too late")).expect_end();
    running.wait_for_end();
}

/// A handler that outlasts the shutdown timeout gets no clean end for its client: messages are missing.
#[test]
fn a_client_whose_handler_outlasts_the_shutdown_is_reset() {
    let house = House::new(WebSocket::new());
    let mut running = house.serve();
    let mut client = raw(&running);
    let gate = house.gate.clone();
    let closed = gate.lock().unwrap();
    client.send(frame(0x81, "wait"));
    house.wait_for(1);
    running.handle.shutdown_now();
    running.wait_for_end();
    drop(closed);
    client.expect_reset();
    assert_eq!(house.ends(1), [(1006, String::new())]);
}

/// Sends whenever there is room, and reports what arrives.
struct Fills(Option<Sender<String>>);

impl Fills {
    fn tell(&self, what: String) {
        self.0.iter().for_each(|told| told.send(what.clone()).unwrap());
    }
}

impl WebSocketHandler for Fills {
    fn opened(&mut self, socket: &Socket) -> Result<()> {
        self.drained(socket)
    }

    fn drained(&mut self, socket: &Socket) -> Result<()> {
        while socket.try_send(vec![b'x'; 1000]).is_ok() {}
        Ok(())
    }

    fn message(&mut self, message: Message, _: &Socket) -> Result<()> {
        self.tell(format!("{message:?}"));
        Ok(())
    }

    fn closed(&mut self, _: &Socket, close: &Close) {
        self.tell(close.code.to_string());
    }
}

/// A client that sends without a pause, and a handler that sends whenever there is room, get the close of a shutdown.
#[test]
fn a_shutdown_closes_clients_that_never_wait() {
    struct Reads;
    impl WebSocketHandler for Reads {
        fn message(&mut self, _: Message, _: &Socket) -> Result<()> {
            Ok(())
        }
    }
    let enter = handler_fn(|request: &Request| match request.path() {
        "/sends" => {
            WebSocket::new().queue(10_000).close_timeout(Duration::from_millis(200)).accept(request, Fills(None))
        }
        _ => WebSocket::new().close_timeout(Duration::from_millis(200)).accept(request, Reads),
    });
    let enter = Arc::new(enter);
    for path in ["/sends", "/reads"] {
        let mut running = serve(Http::new(enter.clone()).access_log(None), |server| server.workers(1));
        let mut client = running.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{ASK}{VERSION}{KEY}\r\n"));
        client.stream.read_exact(&mut [0; 100]).unwrap();
        let mut flood = client.stream.try_clone().unwrap();
        let (handle, is_flood) = (running.handle.clone(), path == "/reads");
        let (received, took) = thread::scope(|scope| {
            scope.spawn(move || {
                let mut sent = 0;
                while is_flood && flood.write_all(&frame(0x82, "x")).is_ok() {
                    sent += 1;
                    if sent == 1000 {
                        handle.shutdown();
                    }
                }
                handle.shutdown();
            });
            let reads = scope.spawn(move || client.read_to_any_end().0);
            let took = running.wait_for_end();
            (reads.join().unwrap(), took)
        });
        assert!(received.windows(4).any(|bytes| matches!(bytes, [0x88, _, 0x03, 0xE9])), "{path}: no close with 1001");
        assert!(took < Duration::from_secs(4), "{path}: {took:?}");
    }
}

/// A handler that sends whenever there is room does not keep messages, pings and the close of its client from being read.
#[test]
fn a_client_is_read_while_its_handler_always_sends() {
    for queue in [2_000, 100_000, 3_000_000] {
        let (tell, told) = channel();
        let tell = Mutex::new(tell);
        let enter = handler_fn(move |request: &Request| {
            WebSocket::new().queue(queue).accept(request, Fills(Some(tell.lock().unwrap().clone())))
        });
        let running = serve(Http::new(enter).access_log(None), |server| server.workers(1));
        let (mut client, _) = tungstenite::client("ws://a/", running.client().stream).unwrap();
        for message in [tungstenite::Message::from("hello"), tungstenite::Message::Ping("ping".into())] {
            client.send(message).unwrap();
        }
        let pong = loop {
            if let tungstenite::Message::Pong(pong) = client.read().unwrap() {
                break pong;
            }
        };
        assert_eq!((&pong[..], &*told.recv_timeout(PATIENCE).unwrap()), (&b"ping"[..], "Text(\"hello\")"), "{queue}");
        client.close(None).unwrap();
        while client.read().is_ok() {}
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "1005", "{queue}");
    }
}

/// Sends more than one write can take, and fails.
struct Fails;

impl WebSocketHandler for Fails {
    fn message(&mut self, _: Message, socket: &Socket) -> Result<()> {
        (0..10).try_for_each(|_| socket.send(vec![b'x'; 50_000]))?;
        Err(modest::Error::new(500, "on purpose"))
    }
}

#[test]
fn messages_sent_before_an_error_arrive_before_the_close() {
    let enter = handler_fn(|request: &Request| WebSocket::new().accept(request, Fails));
    let running = serve(Http::new(enter).access_log(None), |server| server.workers(2));
    let (mut client, _) = tungstenite::client("ws://a/ws", running.client().stream).unwrap();
    client.send("go".into()).unwrap();
    for number in 0..10 {
        assert_eq!(client.read().unwrap().into_data().len(), 50_000, "{number}");
    }
    let tungstenite::Message::Close(Some(close)) = client.read().unwrap() else { panic!("no close") };
    assert_eq!(u16::from(close.code), 1011);
}

/// The error of a send closes only its own client, which has disconnected. If another client has disconnected, or the
/// queue is full, it is an error of the handler.
#[test]
fn an_error_of_sending_to_another_client_is_an_error_of_the_handler() {
    struct Relays(Arc<Mutex<Option<Socket>>>);
    impl WebSocketHandler for Relays {
        fn message(&mut self, message: Message, socket: &Socket) -> Result<()> {
            match message.as_text() {
                Some("keep") => *self.0.lock().unwrap() = Some(socket.clone()),
                Some("relay") => self.0.lock().unwrap().as_ref().expect("a kept socket").send("relayed")?,
                _ => (0..100).try_for_each(|_| socket.try_send(vec![0; 100_000]))?,
            }
            Ok(socket.send("done")?)
        }
    }
    let kept: Arc<Mutex<Option<Socket>>> = Arc::default();
    let for_handlers = kept.clone();
    let enter = handler_fn(move |request: &Request| WebSocket::new().accept(request, Relays(for_handlers.clone())));
    let running = serve(Http::new(enter).access_log(None), |server| server);
    let connect = || tungstenite::client("ws://a/ws", running.client().stream).unwrap().0;
    let mut first = connect();
    first.send("keep".into()).unwrap();
    assert_eq!(text(&mut first), "done");
    drop(first);
    running.wait_for("it has disconnected", |stats| stats.connections == 0);
    for (asked, before) in [("relay", 0), ("many", 2)] {
        let mut client = connect();
        client.send(asked.into()).unwrap();
        let mut received = 0;
        let code = loop {
            match client.read().unwrap() {
                tungstenite::Message::Close(close) => break close.map(|close| u16::from(close.code)),
                message => received += usize::from(message.len() > 10_000),
            }
        };
        assert!(received >= before, "{asked}: {received} messages");
        assert_eq!(code, Some(1011), "{asked}");
    }
}

#[test]
fn a_close_ends_a_blocked_send() {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = Mutex::new(tell);
    let enter = handler_fn(move |request: &Request| {
        let handler = Opens(tell.lock().unwrap().clone());
        WebSocket::new().queue(10_000).accept(request, handler)
    });
    let running = serve(Http::new(enter).access_log(None), |server| server.workers(2));
    let (_client, _) = tungstenite::client("ws://a/ws", running.client().stream).unwrap();
    let socket: Socket = told.recv_timeout(PATIENCE).unwrap();
    let waiting = socket.clone();
    let waits = thread::spawn(move || {
        loop {
            if let Err(error) = waiting.send_timeout(vec![b'x'; 100_000], None) {
                return error;
            }
        }
    });
    // The other thread waits when another message does not fit.
    while socket.try_send("x").is_ok() {}
    socket.close(1000, "enough");
    let since = Instant::now();
    assert_eq!(waits.join().unwrap(), SendError::Gone);
    assert!(since.elapsed() < PATIENCE / 4, "{:?}", since.elapsed());
}

/// Passes its socket to the test.
struct Opens(std::sync::mpsc::Sender<Socket>);

impl WebSocketHandler for Opens {
    fn opened(&mut self, socket: &Socket) -> Result<()> {
        self.0.send(socket.clone()).unwrap();
        Ok(())
    }

    fn message(&mut self, _: Message, _: &Socket) -> Result<()> {
        Ok(())
    }
}
