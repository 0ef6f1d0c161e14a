//! Ends: goodbyes of both sides, streams that are cut off, shutdowns.

use std::io::{self, Write};
use std::net::Shutdown;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use modest::live::{Sender, Signal};
use modest::raw::{Action, Conversation, Protocol, Raw, Stage, Turn};
use modest::{Client as Peer, Http, ProxyProtocol, Request, Response, Tls, handler_fn};

use rustls::StreamOwned;

use super::{Inside, Site, hello};
use crate::server::{Gate, PATIENCE, eventually, get, has_addresses, serve};
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

/// As over plain TCP, a client that has just connected can send one request, whatever comes before it on the connection.
#[test]
fn a_new_connection_can_begin_at_shutdown() {
    const HEADER: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 4321 443\r\n";
    let app = || handler_fn(|_: &Request| Ok(Response::text("hello")));
    let authority = Authority::new();
    let client_config = Arc::new(config(&authority, &[&rustls::version::TLS13]));
    let protect = || Tls::new(authority.identity(&["a.example"])).unwrap().protect(app());
    // How many bytes of the header, and of the hello, come before the shutdown begins.
    for (name, is_proxied, of_header, is_encrypted, of_hello) in [
        ("TLS", false, 0, true, 0),
        ("TLS, with half a hello", false, 0, true, 50),
        ("TLS, with a hello", false, 0, true, usize::MAX),
        ("PROXY and TLS", true, 0, true, 0),
        ("PROXY, with the header, and TLS", true, HEADER.len(), true, 0),
        ("PROXY, with the header, and TLS, with half a hello", true, HEADER.len(), true, 50),
        ("PROXY, with the header, and TLS, with a hello", true, HEADER.len(), true, usize::MAX),
        ("PROXY", true, 0, false, 0),
        ("PROXY, with half the header", true, 10, false, 0),
        ("PROXY, with the header", true, HEADER.len(), false, 0),
    ] {
        if is_proxied && !has_addresses() {
            continue; // no client is trusted
        }
        let trusted = "127.0.0.0/8".parse().unwrap();
        // The client has half a second, so a machine that hangs longer needs another round.
        let served = (0..5).any(|_| {
            let mut server = match (is_proxied, is_encrypted) {
                (false, _) => serve(protect(), |server| server),
                (true, true) => serve(ProxyProtocol::new(protect()).trust(trusted), |server| server),
                (true, false) => serve(ProxyProtocol::new(app()).trust(trusted), |server| server),
            };
            let (mut client, mut silent) = (server.client(), server.client());
            let (secured, hello) = hello(&client_config);
            let of_hello = of_hello.min(hello.len());
            client.send(&HEADER[..of_header]).send(&hello[..of_hello]);
            let header = if is_proxied { HEADER } else { b"" };
            let (mut early, mut late) = (server.client(), server.client());
            if is_encrypted {
                early.send(header).send(&hello); // and then nothing
            }
            server.wait_for("all have come", |stats| stats.parked == 4);
            let begun = Instant::now();
            server.handle.shutdown();
            server.wait_for("they have seen the shutdown", |stats| stats.parked == 4);
            let _ = silent.stream.write_all(if is_proxied { b"P" } else { b"\x16" }); // and then nothing
            if is_encrypted {
                let _ = late.stream.write_all(&[header, &hello].concat()); // and then nothing
            }
            if is_proxied {
                let _ = client.stream.write_all(&HEADER[of_header..]);
            }
            let received = match is_encrypted {
                true => {
                    let _ = client.stream.write_all(&hello[of_hello..]);
                    Inside(StreamOwned::new(secured, client.stream)).try_fetch(get("/"))
                }
                false => {
                    let _ = client.stream.write_all(get("/").as_bytes());
                    Ok(client.read_to_any_end().0)
                }
            };
            [silent, early, late].iter_mut().for_each(|client| drop(client.read_to_any_end()));
            server.wait_for_end();
            assert!(begun.elapsed() < Duration::from_secs(5), "{name}: a silent client delays the shutdown");
            received.is_ok_and(|received| received.ends_with(b"hello"))
        });
        assert!(served, "{name}");
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
