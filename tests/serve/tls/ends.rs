//! Ends: goodbyes of both sides, streams that are cut off, shutdowns.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use modest::live::{Sender, Signal};
use modest::raw::{Action, Conversation, Protocol, Raw, Stage, Turn};
use modest::{Client as Peer, Http, ProxyProtocol, Request, Response, TcpServer, Tls, handler_fn};

use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::{Inside, Site};
use crate::server::{Client, Gate, PATIENCE, Running, eventually, get, has_addresses, serve};
use crate::transport::{Authority, config};

/// Notes how its clients end.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<Vec<&'static str>>>);

impl Protocol for Ends {
    fn meet(&self, _: &Peer) -> Option<Box<dyn Conversation>> {
        Some(Box::new(self.clone()))
    }
}

impl Conversation for Ends {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        turn.input.consume(turn.input.bytes().len());
        if turn.input.ended() {
            self.0.lock().unwrap().push(if turn.input.was_cut() { "cut" } else { "end" });
            return Action::Close;
        }
        Action::read(Stage(0), None)
    }
}

#[test]
fn a_goodbye_is_distinguished_from_a_cut() {
    let ends = Ends::default();
    let site = Site::new(Raw(ends.clone()));
    for (says_goodbye, noted) in [(true, "end"), (false, "cut"), (true, "end")] {
        let mut client = site.client();
        client.send("something");
        if says_goodbye {
            client.0.conn.send_close_notify();
            client.0.conn.complete_io(&mut client.0.sock).unwrap();
        }
        client.0.sock.shutdown(Shutdown::Write).unwrap();
        eventually("it is noted", || !ends.0.lock().unwrap().is_empty());
        assert_eq!(client.read_to_end().expect("a goodbye"), b"");
        assert_eq!(std::mem::take(&mut *ends.0.lock().unwrap()), [noted]);
    }
}

/// Bytes that a client sends after its goodbye are ignored.
#[test]
fn bytes_after_a_goodbye_are_ignored() {
    let ends = Ends::default();
    let site = Site::new(Raw(ends.clone()));
    let mut client = site.client();
    client.send("something");
    client.0.conn.send_close_notify();
    client.0.conn.complete_io(&mut client.0.sock).unwrap();
    io::Write::write_all(&mut client.0.sock, &[23, 3, 3, 0, 3, 1, 2, 3, 99, 99]).unwrap();
    assert_eq!(client.read_to_end().expect("a goodbye"), b"");
    assert_eq!(*ends.0.lock().unwrap(), ["end"]);
}

#[test]
fn a_response_ends_with_a_goodbye() {
    let site = Site::new(handler_fn(|_: &Request| Ok(Response::text("bye"))));
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let said = client.read_to_end().expect("a goodbye");
    assert!(said.ends_with(b"\r\n\r\nbye"), "{}", said.escape_ascii());
}

#[test]
fn an_idle_connection_ends_with_a_goodbye() {
    let app = handler_fn(|_: &Request| Ok(Response::text("hello")));
    let site = Site::new(Http::new(app).idle_timeout(Duration::from_secs(1)));
    let mut client = site.client();
    assert_eq!(client.text("/"), "hello");
    assert_eq!(client.read_to_end().expect("a goodbye"), b"");
    let mut silent = site.client();
    silent.shake_hands().unwrap();
    assert_eq!(silent.read_to_end().expect("a goodbye"), b"");
}

#[test]
fn a_broken_record_ends_the_connection_with_an_alert() {
    let site = Site::new(handler_fn(|_: &Request| Ok(Response::text("hello"))));
    let mut client = site.client();
    assert_eq!(client.text("/"), "hello");
    io::Write::write_all(
        &mut client.0.sock,
        &[23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0],
    )
    .unwrap();
    let err = client.read_to_end().expect_err("an alert").to_string();
    assert!(err.contains("BadRecordMac") || err.contains("DecryptError"), "{err}");
}

#[test]
fn a_stop_finishes_current_requests_and_sends_goodbyes() {
    let gate = Gate::default();
    let (inside, _opened) = (gate.clone(), gate.opened_at_end());
    let mut site = Site::new(handler_fn(move |request: &Request| {
        if request.path() == "/slow" {
            inside.pass();
        }
        Ok(Response::text("hello"))
    }));
    let mut slow = site.client();
    slow.send(get("/slow"));
    gate.wait_for_arrivals(1);
    let mut idle: Vec<_> = (0..10).map(|_| site.client()).collect();
    idle.iter_mut().for_each(|client| assert_eq!(client.text("/"), "hello"));
    let half = site.server.client();
    site.server.wait_for("all have come", |stats| stats.connections == 12);
    site.server.handle.shutdown();
    idle.iter_mut().for_each(|client| assert_eq!(client.read_to_end().expect("a goodbye"), b""));
    gate.open();
    let said = slow.read_to_end().expect("a goodbye");
    assert!(said.ends_with(b"hello"), "{}", said.escape_ascii());
    drop(half);
    assert!(site.server.wait_for_end() < PATIENCE);
}

const HEADER: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 4321 443\r\n";

/// The parts that a client sends, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Header,
    Hello,
    /// The end of the handshake.
    Finished,
    Request,
}

/// The ways to a request.
const WAYS: [&[Part]; 4] = [
    &[Part::Request],
    &[Part::Header, Part::Request],
    &[Part::Hello, Part::Finished, Part::Request],
    &[Part::Header, Part::Hello, Part::Finished, Part::Request],
];

/// A client that sends one part at a time, and waits for the reply of the server in between.
struct Visit {
    client: Client,
    tls: ClientConnection,
    is_encrypted: bool,
}

impl Visit {
    fn new(server: &Running, config: &Arc<ClientConfig>, way: &[Part]) -> Visit {
        let tls = ClientConnection::new(config.clone(), "a.example".try_into().unwrap()).unwrap();
        Visit { client: server.client(), tls, is_encrypted: way.contains(&Part::Hello) }
    }

    /// The bytes of this part, after the reply to the one before.
    fn bytes(&mut self, part: Part) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match part {
            Part::Header => return Ok(HEADER.to_vec()),
            Part::Hello => {}
            Part::Finished => {
                while self.tls.is_handshaking() {
                    self.receive()?;
                }
            }
            Part::Request if self.is_encrypted => {
                self.receive()?; // tickets, so the server has completed the handshake
                self.tls.writer().write_all(get("/").as_bytes())?;
            }
            Part::Request => return Ok(get("/").into_bytes()),
        }
        self.tls.write_tls(&mut bytes).map(|_| bytes)
    }

    fn receive(&mut self) -> io::Result<()> {
        if self.tls.read_tls(&mut self.client.stream)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.tls.process_new_packets().map(drop).map_err(io::Error::other)
    }

    /// Sends the parts from this place on, each up to this many bytes.
    fn send(&mut self, parts: &[Part], most: usize) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        for part in parts {
            let bytes = self.bytes(*part)?;
            let (now, later) = bytes.split_at(most.min(bytes.len()));
            self.client.stream.write_all(now)?;
            rest = later.to_vec();
        }
        Ok(rest)
    }

    fn response(self) -> io::Result<String> {
        let Visit { mut client, tls, is_encrypted } = self;
        let bytes = match is_encrypted {
            true => Inside(StreamOwned::new(tls, client.stream)).read_to_end()?,
            false => match client.read_to_any_end() {
                (bytes, None) => bytes,
                (_, Some(kind)) => return Err(kind.into()),
            },
        };
        Ok(String::from_utf8(bytes).expect("text"))
    }
}

/// Serves "hello" to clients that come this way.
fn serve_way(way: &[Part], authority: &Authority) -> Running {
    let app = || handler_fn(|_: &Request| Ok(Response::text("hello")));
    let protect = || Tls::new(authority.identity(&["a.example"])).unwrap().protect(app());
    let trusted = "127.0.0.0/8".parse().unwrap();
    let settings = |server: TcpServer| server.workers(2).shutdown_timeout(PATIENCE);
    match (way.contains(&Part::Header), way.contains(&Part::Hello)) {
        (false, false) => serve(app(), settings),
        (false, true) => serve(protect(), settings),
        (true, true) => serve(ProxyProtocol::new(protect()).trust(trusted), settings),
        (true, false) => serve(ProxyProtocol::new(app()).trust(trusted), settings),
    }
}

/// Returns the ways that are possible with this transport: without addresses no client is trusted.
fn ways() -> impl Iterator<Item = &'static [Part]> {
    WAYS.into_iter().filter(|way| has_addresses() || !way.contains(&Part::Header))
}

/// A client that has connected before a shutdown can send one request, whatever comes before it on the connection and
/// however much of that the server has received.
#[test]
fn a_new_connection_can_send_one_request_at_shutdown() {
    let authority = Authority::new();
    let config = Arc::new(config(&authority, &[&rustls::version::TLS13]));
    for way in ways() {
        for (at, part) in way.iter().enumerate() {
            for most in [0, 1, 25, usize::MAX] {
                let what = format!("{way:?}, {most} bytes of {part:?}");
                let served = || -> io::Result<String> {
                    let mut server = serve_way(way, &authority);
                    let mut visit = Visit::new(&server, &config, way);
                    visit.send(&way[..at], usize::MAX)?;
                    let rest = visit.send(&[*part], most)?;
                    server.wait_for("it waits", |stats| stats.parked == 1);
                    server.handle.shutdown();
                    // It has begun when no client can connect. One whose SYN was dropped does not try again.
                    while TcpStream::connect_timeout(&server.address, Duration::from_millis(50)).is_ok() {}
                    server.wait_for("it has seen that", |stats| stats.parked == stats.connections);
                    visit.client.stream.write_all(&rest)?;
                    visit.send(&way[at + 1..], usize::MAX)?;
                    let response = visit.response()?;
                    server.wait_for_end();
                    Ok(response)
                };
                // The client has half a second, so a machine that hangs longer needs another round.
                let is_served = (0..5).any(|_| match served() {
                    Ok(response) if response.ends_with("\r\n\r\nhello") => true,
                    result => {
                        println!("{what}: {result:?}");
                        false
                    }
                });
                assert!(is_served, "{what}");
            }
        }
    }
}

/// A client that sends nothing more at a shutdown has half a second. Then HTTP rejects half a head, and TLS says
/// goodbye after a handshake.
#[test]
fn silent_clients_do_not_delay_a_shutdown() {
    let authority = Authority::new();
    let config = Arc::new(config(&authority, &[&rustls::version::TLS13]));
    for way in ways() {
        let mut server = serve_way(way, &authority);
        let mut visits = Vec::new();
        for (at, part) in way.iter().enumerate() {
            for most in [0, 1, 25] {
                let mut visit = Visit::new(&server, &config, way);
                visit.send(&way[..at], usize::MAX).unwrap();
                visit.send(&[*part], most).unwrap();
                visits.push((part, most, visit));
            }
        }
        server.wait_for("all wait", |stats| stats.parked == visits.len());
        // One that sends a byte from time to time has no more time than a silent one.
        let mut trickling = Visit::new(&server, &config, way);
        trickling.send(&way[..way.len() - 1], usize::MAX).unwrap();
        let bytes = trickling.bytes(Part::Request).unwrap();
        trickling.client.send(&bytes[..1]);
        let mut stream = trickling.client.stream.try_clone().unwrap();
        let trickle = thread::spawn(move || {
            for byte in &bytes[1..] {
                thread::sleep(Duration::from_millis(200));
                if stream.write_all(&[*byte]).is_err() {
                    break;
                }
            }
        });
        server.handle.shutdown();
        let took = server.wait_for_end();
        trickle.join().unwrap();
        assert!(took < Duration::from_secs(3), "{way:?}: {took:?}"); // 500 ms for each part, and to linger
        for (part, most, visit) in visits {
            let what = format!("{way:?}, {most} bytes of {part:?}");
            let is_encrypted = visit.is_encrypted;
            let response = visit.response();
            match (part, most) {
                (Part::Request, 1..) if !is_encrypted => {
                    assert!(response.unwrap().starts_with("HTTP/1.1 408 "), "{what}");
                }
                (Part::Request, _) => assert_eq!(response.expect("a goodbye"), "", "{what}"),
                (Part::Header, _) if !is_encrypted => {} // an end or a reset
                _ => assert!(response.is_err(), "{what}: {response:?}"),
            }
        }
    }
}

/// `close_notify` ends one direction (RFC 8446, section 6.1): after sending it a client can still read.
#[test]
fn a_client_that_sends_a_goodbye_gets_its_response() {
    let (signal, senders) = (Signal::new(), Arc::new(Mutex::new(Vec::new())));
    let (changed, kept) = (signal.clone(), senders.clone());
    let app = handler_fn(move |request: &Request| match request.path() {
        "/pushed" => {
            let (sender, response) = Response::channel();
            kept.lock().unwrap().push(sender);
            Ok(response)
        }
        _ if changed.ticket().is_over() || request.is_late() => Ok(Response::text("done")),
        _ => Ok(Response::wait_for(changed.ticket(), Duration::from_millis(300))),
    });
    let site = Site::new(Http::new(app));
    for (path, also_closes) in [("/pushed", false), ("/pushed", true), ("/poll", false), ("/poll", true)] {
        let mut client = site.client();
        client.send(format!("GET {path} HTTP/1.0\r\n\r\n"));
        site.server.wait_for("it waits", |stats| stats.event_listeners + stats.long_polls == 1);
        client.0.conn.send_close_notify();
        client.0.conn.complete_io(&mut client.0.sock).unwrap();
        if also_closes {
            client.0.sock.shutdown(Shutdown::Write).unwrap();
        }
        let sender: Option<Sender> = senders.lock().unwrap().pop();
        if let Some(sender) = sender {
            sender.send("do").unwrap();
            sender.send("ne").unwrap();
            sender.finish();
        }
        let said = client.read_to_end().expect("a goodbye");
        assert!(said.ends_with(b"\r\n\r\ndone"), "{path}, {also_closes}: {}", said.escape_ascii());
    }
    // Without a goodbye the connection was cut off, which the client can see.
    let mut client = site.client();
    client.send("GET /pushed HTTP/1.0\r\n\r\n");
    site.server.wait_for("it waits", |stats| stats.event_listeners == 1);
    client.0.sock.shutdown(Shutdown::Write).unwrap();
    client.read_to_end().expect_err("no goodbye");
}
