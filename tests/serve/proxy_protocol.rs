//! The PROXY protocol over real sockets: trusted addresses, and clients that send no valid header. (The headers are
//! tested in `src/tcp/proxy_protocol/header`.)

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use modest::raw::Raw;
use modest::{Http, IntoProtocol, LogRecord, ProxyProtocol, Request, RequestHandler, Response, Result};

use crate::cipher::{Cipher, HELLO, WELCOME, opened, sealed};
use crate::script::Script;
use crate::server::{Running, alone, capture_the_log, eventually, get, serve};

const V1: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 4321 443\r\n";
const V1_UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\xcb\0\x71\x07\xc0\0\x02\x01\x10\xe1\x01\xbb\x04\0\0";
const V2_IPV6: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24\
    \x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x10\xe1\x01\xbb";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// Sends clients their addresses, and keeps those of the access log.
#[derive(Clone, Default)]
struct Whoami(Arc<Mutex<Vec<String>>>);

impl RequestHandler for Whoami {
    fn do_get(&self, request: &Request) -> Result<Response> {
        Ok(Response::text(request.client_address().to_string()))
    }

    fn log_request(&self, record: &LogRecord<'_>) {
        self.0.lock().unwrap().push(format!("{} {}", record.client(), record.status().as_u16()));
    }
}

fn trusting(inner: impl IntoProtocol) -> ProxyProtocol {
    ProxyProtocol::new(inner).trust("127.0.0.0/8".parse().unwrap())
}

fn mistrusting(inner: impl IntoProtocol) -> ProxyProtocol {
    ProxyProtocol::new(inner).trust("10.0.0.0/8".parse().unwrap())
}

fn serve_plainly(protocol: impl IntoProtocol) -> Running {
    serve(protocol, |server| server)
}

#[test]
fn handlers_and_the_log_see_the_client_that_the_proxy_names() {
    let app = Whoami::default();
    let server = serve_plainly(trusting(app.clone()));
    for (header, named) in [
        (V1, Some("203.0.113.7:4321")),
        (V2, Some("203.0.113.7:4321")),
        (V2_IPV6, Some("[2001:db8::1]:4321")),
        (V1_UNKNOWN, None),
        (V2_LOCAL, None),
    ] {
        for in_bytes in [false, true] {
            let mut client = server.client();
            let named = named.map_or_else(|| client.stream.local_addr().unwrap().to_string(), str::to_owned);
            let wire = [header, get("/").as_bytes()].concat();
            wire.chunks(if in_bytes { 1 } else { 1000 }).for_each(|bytes| {
                client.send(bytes);
            });
            let (first, second) = (client.answer().unwrap(), client.fetch(get("/")));
            let wanted = format!("\r\n\r\n{named}");
            assert!(first.ends_with(&wanted) && second.ends_with(&wanted), "{}: {first}", header.escape_ascii());
            let log = std::mem::take(&mut *app.0.lock().unwrap());
            assert_eq!(log, [format!("{named} 200"), format!("{named} 200")]);
        }
    }
}

#[test]
fn every_protocol_works_behind_a_proxy() {
    let http = serve_plainly(trusting(Http::new(Whoami::default()).keep_alive(false)));
    let mut client = http.client();
    client.send(V1).send(get("/"));
    assert!(client.read_to_end().ends_with(b"203.0.113.7:4321"));

    let raw = serve_plainly(trusting(Raw(Script { greeting: Some("welcome\n"), ..Script::default() })));
    let mut client = raw.client();
    client.send(&V1[..V1.len() - 1]);
    raw.wait_for("half a header has come", |stats| stats.parked == 1);
    client.stream.set_nonblocking(true).unwrap();
    assert!(client.stream.peek(&mut [0]).is_err(), "nothing must be sent before the header is complete");
    client.stream.set_nonblocking(false).unwrap();
    client.send("\nsay me\nbig 1000000\nfile 1000 1000\nread 50\n").expect("welcome\nme\n");
    let rest = client.read_to_end();
    assert_eq!(rest.len(), 1_000_000 + 1005 + "late\n".len());

    let inside = serve_plainly(trusting(Cipher::new(Whoami::default())));
    let mut client = inside.client();
    client.send(V2).send(HELLO).expect(WELCOME);
    client.send(sealed(b"GET / HTTP/1.0\r\n\r\n", 5));
    assert!(
        opened(&client.read_to_end()).0.ends_with(b"10.9.8.7:1234"),
        "the encrypted stream must name the client of the header"
    );

    let away = serve_plainly(trusting(Raw(Script { turns_away: true, ..Script::default() })));
    away.client().send(V1).expect_end();
}

#[test]
fn proxy_headers_of_untrusted_clients_are_rejected() {
    for protocol in [mistrusting(Whoami::default()), ProxyProtocol::new(Whoami::default())] {
        serve_plainly(protocol).client().expect_end();
    }

    let app = Whoami::default();
    let server = serve_plainly(mistrusting(app.clone()).serve_untrusted(true));
    let mut client = server.client();
    let named = client.stream.local_addr().unwrap().to_string();
    assert!(client.fetch(get("/")).ends_with(&named), "the client must be served under its own address");
    for header in [V1, V2] {
        let mut liar = server.client();
        liar.send(header).send(get("/"));
        let named = liar.stream.local_addr().unwrap().to_string();
        let answers = String::from_utf8(liar.half_close().read_to_end()).unwrap();
        assert!(answers.starts_with("HTTP/1.1 400 ") && !answers.contains("203.0.113.7"), "{answers}");
        assert_eq!(app.0.lock().unwrap().last(), Some(&format!("{named} 400")));
    }
}

#[test]
fn an_invalid_proxy_header_gets_a_reset() {
    let server = serve_plainly(trusting(Whoami::default()).header_timeout(Duration::from_millis(100)));
    for wire in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"PROXY TCP4 1.2.3.4\r\n", b"\r\n\r\nGET / HTTP/1.1\r\n"] {
        assert_eq!(server.client().send(wire).expect_reset(), 0, "{}", wire.escape_ascii());
    }
    for cut in [1, V1.len() - 1] {
        assert_eq!(
            server.client().send(&V1[..cut]).half_close().expect_reset(),
            0,
            "a header that is cut short must be reset"
        );
        let start = Instant::now();
        assert_eq!(server.client().send(&V1[..cut]).expect_reset(), 0, "late");
        assert!(start.elapsed() >= Duration::from_millis(100), "{:?}", start.elapsed());
    }
    server.client().half_close().expect_end(); // a health check
}

#[test]
fn a_slow_header_does_not_extend_its_deadline() {
    let server = serve_plainly(trusting(Whoami::default()).header_timeout(Duration::from_millis(200)));
    let mut client = server.client();
    let is_cut_off = V1.iter().any(|byte| {
        std::thread::sleep(Duration::from_millis(50)); // the speed of the sender, not a wait for an event
        std::io::Write::write_all(&mut client.stream, &[*byte]).is_err()
    });
    assert!(is_cut_off, "an incomplete header was accepted");
    server.wait_for("it is gone", |stats| stats.connections == 0);
}

#[test]
fn a_shutdown_ends_clients_with_and_without_a_header() {
    let mut server = serve_plainly(trusting(Whoami::default()));
    let (mut silent, mut half, mut idle) = (server.client(), server.client(), server.client());
    half.send(&V1[..10]);
    idle.send(V1);
    server.wait_for("all wait", |stats| stats.parked == 3);
    server.handle.shutdown();
    silent.expect_end();
    half.expect_end();
    idle.expect_end();
    server.wait_for_end();
}

#[test]
fn proxy_header_errors_are_logged() {
    alone("proxy_protocol::proxy_header_errors_are_logged", || {
        let lines = capture_the_log(|record| {
            record.target().contains("proxy").then(|| format!("{} {}", record.level(), record.args()))
        });
        log::set_max_level(log::LevelFilter::Trace);
        let mistrusting = serve_plainly(mistrusting(Whoami::default()));
        let trusting = serve_plainly(trusting(Whoami::default()));
        for (server, sent, why) in [
            (&mistrusting, "", "is rejected: it is not a trusted proxy"),
            (&trusting, "x", "sent no PROXY header: it begins with neither PROXY nor the signature of version 2"),
        ] {
            let mut client = server.client();
            let wanted = format!("DEBUG {} {why}", client.stream.local_addr().unwrap());
            client.send(sent).read_to_any_end();
            eventually("it is logged", || !lines.lock().unwrap().is_empty());
            assert_eq!(std::mem::take(&mut *lines.lock().unwrap()), [wanted]);
        }
    });
}
