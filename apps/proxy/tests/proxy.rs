//! The proxy between real clients and a real upstream, over sockets.

#[path = "../../../tests/built/mod.rs"]
mod built;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use built::{Answer, Built, PATIENCE, read_until};
use modest::live::{Broadcast, ServerEvent};
use modest::websocket::{self, Message, Socket, WebSocketHandler};
use modest::{Http, IntoProtocol, Request, RequestHandler, Response, Result, ServerHandle, TcpServer, handler_fn};

fn proxy(upstream: impl ToString) -> Built {
    let words = ["127.0.0.1:0", &upstream.to_string(), "1"];
    Built::start(Command::new(env!("CARGO_BIN_EXE_proxy")).args(words))
}

/// The upstream responds with the request that it received.
struct Shown;

impl RequestHandler for Shown {
    fn do_get(&self, request: &Request) -> Result<Response> {
        match request.path() {
            "/missing" => Ok(Response::text("no\n").with_status(404)),
            "/moved" => Ok(Response::redirect("/there")),
            "/endless" => Ok(Response::chunks(std::iter::repeat("x".repeat(10_000)))),
            "/fields" => Ok(Response::text("fields\n")
                .with_header("x-kept", "yes")
                .with_added_header("set-cookie", "a=1")
                .with_added_header("set-cookie", "b=2")),
            _ => {
                let mut text = format!("{} {}\n", request.method(), request.target());
                for (name, value) in request.headers() {
                    text += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
                }
                Ok(Response::text(text))
            }
        }
    }

    fn do_post(&self, request: &Request) -> Result<Response> {
        Ok(Response::text(format!("{} bytes", request.bytes()?.len())))
    }
}

/// A server in this process, until the end of the test.
struct Upstream {
    address: SocketAddr,
    handle: ServerHandle,
}

impl Upstream {
    fn serve(handler: impl IntoProtocol) -> Upstream {
        let server = TcpServer::bind("127.0.0.1:0", handler).unwrap();
        let (address, handle) = (server.local_addr(), server.handle());
        std::thread::spawn(move || server.serve_forever().unwrap());
        Upstream { address, handle }
    }

    #[track_caller]
    fn wait_until_all_have_left(&self) {
        let start = Instant::now();
        while self.handle.stats().connections > 0 {
            assert!(start.elapsed() < PATIENCE, "somebody is left: {:?}", self.handle.stats());
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.handle.shutdown_now();
    }
}

fn upstream() -> Upstream {
    Upstream::serve(Http::new(Shown).body_limit(None))
}

#[test]
fn requests_and_responses_are_forwarded() {
    let upstream = upstream();
    let proxy = proxy(upstream.address);
    let sent =
        ["Connection: close, X-Secret", "X-Secret: 7", "TE: trailers", "Keep-Alive: 5", "X-Kept: 7", "X-Kept: 8"];
    let shown = proxy.ask("GET", "/a%20b?c=%7e&d", &sent, "");
    assert_eq!(shown.status, 200, "{shown:?}");
    for line in [
        "GET /a%20b?c=%7e&d",
        "host: test",
        "x-kept: 7",
        "x-kept: 8",
        "via: 1.1 modest",
        "x-forwarded-for: 127.0.0.1",
        "forwarded: for=127.0.0.1;host=\"test\";proto=http",
    ] {
        assert!(shown.body.lines().any(|shown| shown == line), "{line}, in {}", shown.body);
    }
    for name in ["x-secret", "te", "connection", "keep-alive", "transfer-encoding", "user-agent", "accept"] {
        assert!(!shown.body.contains(&format!("\n{name}: ")), "{name}, in {}", shown.body);
    }
    for (method, target, status, body) in [
        ("GET", "/missing", 404, "no\n"),
        ("GET", "/moved", 303, ""),
        ("HEAD", "/fields", 200, ""),
        ("GET", "/fields", 200, "fields\n"),
        ("DELETE", "/", 501, "501"),
        ("SPAM", "/", 501, "501"),
        ("POST", "/", 200, "0 bytes"),
    ] {
        let answer = proxy.ask(method, target, &[], "");
        assert!(answer.status == status && answer.body.contains(body), "{method} {target}: {answer:?}");
        assert_eq!(answer.field("via"), Some("1.1 modest"), "{method} {target}: {answer:?}");
    }
    let answer = proxy.ask("HEAD", "/fields", &[], "");
    assert_eq!((answer.field("content-length"), answer.field("x-kept")), (Some("7"), Some("yes")), "{answer:?}");
    assert_eq!(answer.head.to_lowercase().matches("set-cookie: ").count(), 2, "{answer:?}");
    assert_eq!(proxy.get("/moved").field("location"), Some("/there"));
    assert!(proxy.stop().0.success(), "SIGTERM ends it");
}

/// An upstream that the test controls: it gets the head and the stream of each connection.
fn by_hand() -> (String, Receiver<(String, TcpStream)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, (sender, receiver)) = (listener.local_addr().unwrap().to_string(), channel());
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            let head = String::from_utf8(read_until(&mut client, b"\r\n\r\n").unwrap()).unwrap();
            if sender.send((head, client)).is_err() {
                return;
            }
        }
    });
    (address, receiver)
}

#[test]
fn requests_are_passed_on_whole_and_responses_as_they_arrive() {
    let (address, upstreams) = by_hand();
    let proxy = proxy(address);
    let piece = "x".repeat(100_000);
    for (framing, first, second) in [
        ("Content-Length: 200000", piece.clone(), piece.clone()),
        ("Transfer-Encoding: chunked", format!("186a0\r\n{piece}\r\n"), format!("186a0\r\n{piece}\r\n0\r\n\r\n")),
    ] {
        let mut client = proxy.connect();
        write!(client, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{framing}\r\n\r\n{first}").unwrap();
        assert!(upstreams.try_recv().is_err(), "{framing}: passed on before it was complete");
        client.write_all(second.as_bytes()).unwrap();
        let (head, mut upstream) = upstreams.recv_timeout(PATIENCE).unwrap();
        assert!(head.to_lowercase().contains("\r\ncontent-length: 200000\r\n"), "{framing}: {head}");
        upstream.read_exact(&mut vec![0; 200_000]).unwrap();
        // The beginning of a response is passed on before the rest arrives.
        upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf").unwrap();
        let answer = Answer::read(&String::from_utf8(read_until(&mut client, b"\r\n\r\nhalf").unwrap()).unwrap());
        assert_eq!((answer.status, answer.field("content-length")), (200, Some("8")), "{framing}: {answer:?}");
        upstream.write_all(b"rest").unwrap();
        read_until(&mut client, b"rest").unwrap();
        assert!(built::ended(&mut client), "{framing}");
    }
}

#[test]
fn large_bodies_are_forwarded() {
    let upstream = upstream();
    let proxy = proxy(upstream.address);
    let answer = proxy.ask("POST", "/", &[], &"x".repeat(30_000_000));
    assert_eq!((answer.status, answer.body.as_str()), (200, "30000000 bytes"), "{}", answer.head);
    // The proxy reads an endless response only as fast as the client does, and stops when the client disconnects.
    let mut client = proxy.connect();
    client.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    read_until(&mut client, b"\r\n\r\n").unwrap();
    client.read_exact(&mut vec![0; 3_000_000]).unwrap();
    drop(client);
    drop(proxy); // the connections were idle, and kept for the next request
    upstream.wait_until_all_have_left();
}

#[test]
fn upstream_failures_become_502_or_504() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(); // closed again
    let (silent, _heads) = by_hand();
    for (address, wanted) in [(nobody.to_string(), 502), (silent, 504)] {
        let proxy = proxy(&address);
        assert_eq!(proxy.get("/").status, wanted, "{address}");
        let upgrade = ["Connection: Upgrade", "Upgrade: websocket"];
        assert_eq!(proxy.ask("GET", "/", &upgrade, "").status, wanted, "{address}, a WebSocket");
    }
    let (address, upstreams) = by_hand();
    let proxy = proxy(address);
    for (answer, wanted) in [("", 502), ("nothing of HTTP\r\n\r\n", 502), ("HTTP/1.1 200 OK\r\nConten", 502)] {
        let mut client = proxy.connect();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let (_, mut upstream) = upstreams.recv_timeout(PATIENCE).unwrap();
        upstream.write_all(answer.as_bytes()).unwrap();
        drop(upstream);
        let mut came = String::new();
        client.read_to_string(&mut came).unwrap();
        assert_eq!(Answer::read(&came).status, wanted, "{answer:?}: {came}");
    }
    // A truncated response must not look complete.
    let mut client = proxy.connect();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let (_, mut upstream) = upstreams.recv_timeout(PATIENCE).unwrap();
    upstream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n").unwrap();
    drop(upstream);
    let mut came = Vec::new();
    let end = client.read_to_end(&mut came);
    assert!(end.is_err() && !came.ends_with(b"0\r\n\r\n"), "{end:?} after {:?}", String::from_utf8_lossy(&came));
}

struct Echo;

impl WebSocketHandler for Echo {
    fn opened(&mut self, socket: &Socket) -> Result<()> {
        Ok(socket.send("welcome")?) // this may arrive right after the 101
    }

    fn message(&mut self, message: Message, socket: &Socket) -> Result<()> {
        Ok(socket.send(message)?)
    }
}

#[test]
fn websockets_are_forwarded() {
    let upstream = Upstream::serve(handler_fn(|request| websocket::accept(request, Echo)));
    let proxy = proxy(upstream.address);
    let url = format!("ws://{}/", proxy.address);
    let mut clients: Vec<_> = (0..20).map(|_| tungstenite::client(&url, proxy.connect()).unwrap().0).collect();
    for client in &mut clients {
        assert_eq!(client.read().unwrap().to_text().unwrap(), "welcome");
    }
    for text in ["hello".to_owned(), "x".repeat(500_000)] {
        for client in &mut clients {
            client.send(text.as_str().into()).unwrap();
            assert!(client.read().unwrap().to_text().unwrap() == text, "{} bytes", text.len());
        }
    }
    let mut last = clients.pop().unwrap();
    last.close(None).unwrap();
    while last.read().is_ok() {}
    drop(clients); // they disconnect without a close
    upstream.wait_until_all_have_left();
    assert_eq!(proxy.get("/").status, 426, "the status of the upstream is passed on");
    let refused = proxy.ask("GET", "/", &["Connection: Upgrade", "Upgrade: websocket"], "");
    assert_eq!(refused.status, 426, "a handshake without a version must be rejected: {refused:?}");
}

#[test]
fn closing_one_direction_leaves_the_other_open() {
    let (address, upstreams) = by_hand();
    let proxy = proxy(address);
    for upstream_first in [true, false] {
        let mut client = proxy.connect();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n").unwrap();
        let (head, mut upstream) = upstreams.recv_timeout(PATIENCE).unwrap();
        let head = head.to_lowercase();
        assert!(head.contains("upgrade: x\r\n") && head.contains("x-forwarded-for: 127.0.0.1\r\n"), "{head}");
        upstream.write_all(b"HTTP/1.1 101 Well\r\nConnection: Upgrade\r\nUpgrade: x\r\nX-Y: z\r\n\r\nfirst").unwrap();
        let came = String::from_utf8(read_until(&mut client, b"\r\n\r\nfirst").unwrap()).unwrap();
        assert!(came.starts_with("HTTP/1.1 101 ") && came.to_lowercase().contains("\r\nx-y: z\r\n"), "{came}");
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (one, other) = if upstream_first { (&mut upstream, &mut client) } else { (&mut client, &mut upstream) };
        one.write_all(b"the last").unwrap();
        one.shutdown(Shutdown::Write).unwrap();
        let mut came = String::new();
        other.read_to_string(&mut came).unwrap();
        assert_eq!(
            came, "the last",
            "the last bytes and the end must arrive; the upstream ends first: {upstream_first}"
        );
        other.write_all(b"not yet").unwrap();
        read_until(one, b"not yet").unwrap();
        other.shutdown(Shutdown::Write).unwrap();
        assert!(built::ended(one), "the other side must see the end; the upstream ends first: {upstream_first}");
    }
}

#[test]
fn a_request_with_a_body_and_an_upgrade_is_sent_once() {
    let posts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&posts);
    let upstream = Upstream::serve(handler_fn(move |request: &Request| {
        counted.fetch_add(1, SeqCst);
        Ok(Response::text(request.text()?.into_owned()))
    }));
    let proxy = proxy(upstream.address);
    for protocol in ["h2c", "websocket", "x"] {
        let upgrade = format!("Upgrade: {protocol}");
        let answer = proxy.ask(
            "POST",
            "/",
            &["Connection: Upgrade, HTTP2-Settings", &upgrade, "HTTP2-Settings: AAMAAABk"],
            "a=1",
        );
        assert_eq!((answer.status, answer.body.as_str()), (200, "a=1"), "{protocol}");
    }
    assert_eq!(posts.load(SeqCst), 3);
}

#[test]
fn silent_event_streams_hold_no_worker() {
    let news = Broadcast::new();
    let listened = news.clone();
    let upstream = Upstream::serve(handler_fn(move |request: &Request| match request.path() {
        "/news" => Ok(Response::events(listened.listen(request)?)),
        _ => Ok(Response::text("here")),
    }));
    let proxy = proxy(upstream.address);
    let mut clients: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut client = proxy.connect();
            client.write_all(b"GET /news HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            read_until(&mut client, b"\r\n\r\n").unwrap();
            client
        })
        .collect();
    assert_eq!(
        proxy.get("/").body,
        "here",
        "a page must be served although more streams are open than there are workers"
    );
    news.send(ServerEvent::new("hello"));
    for client in &mut clients {
        read_until(client, b"data: hello\n\n").unwrap();
    }
}
