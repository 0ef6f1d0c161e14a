//! A reverse proxy between clients and a backend: all combinations of requests, responses, pieces, layers and clients,
//! chosen by a seed. Each client gets the response to its own request, complete or visibly broken. The backend gets no
//! request twice that it may have executed, and nothing is left in memory.
//!
//! `MODEST_PROXIED=2000 MODEST_SEED=7 cargo test --test serve proxied::` runs other cases.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use modest::layers::{Compress, Timeout};
use modest::testing::{self, FakeClient};
use modest::{Http, Next, Request, RequestHandler, ReverseProxy, Routes, layer_fn};

use crate::matrix::client::{Answer, parse};
use crate::matrix::{Random, number};
use crate::server::{Client, Gate, PATIENCE, Running, serve};

/// The number of connections without `MODEST_PROXIED`.
const CONNECTIONS: u64 = 160;
const MOST_REQUESTS: usize = 5;

/// The kinds of responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Length,
    Chunked,
    UntilClose,
    /// HTTP/1.0, with a length.
    Old,
    /// With a length and `Connection: close`.
    Close,
    NoContent,
    NotModified,
    NotFound,
    /// Two interim responses come first.
    Interim,
    /// The connection ends in the middle of the body.
    Cut,
    CutChunked,
    /// Not HTTP.
    Malformed,
    /// The connection ends in the middle of the head.
    HalfHead,
    /// The connection ends without a byte.
    Nothing,
}

const KINDS: [Kind; 14] = [
    Kind::Length,
    Kind::Chunked,
    Kind::UntilClose,
    Kind::Old,
    Kind::Close,
    Kind::NoContent,
    Kind::NotModified,
    Kind::NotFound,
    Kind::Interim,
    Kind::Cut,
    Kind::CutChunked,
    Kind::Malformed,
    Kind::HalfHead,
    Kind::Nothing,
];

/// The pieces in which a response is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pieces {
    One,
    /// The head, and after a pause the body.
    HeadFirst,
    /// The first bytes one at a time.
    Bytes,
    /// Quarters with pauses that are longer than a request waits without a thread.
    Quarters,
}

const PIECES: [Pieces; 4] = [Pieces::One, Pieces::HeadFirst, Pieces::Bytes, Pieces::Quarters];
const SIZES: [usize; 6] = [1, 100, 4_000, 32 * 1024, 40_000, 200_000];
const METHODS: [&str; 6] = ["GET", "GET", "HEAD", "OPTIONS", "POST", "PUT"];

/// The behaviour of a client on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Each request follows the response to the one before.
    InTurn,
    /// All requests at once.
    Pipelined,
    /// It closes its sending side after the last request.
    HalfClosing,
    /// It disconnects without reading the last response.
    Leaving,
}

#[derive(Clone, Debug)]
struct Exchange {
    id: String,
    method: &'static str,
    kind: Kind,
    pieces: Pieces,
    size: usize,
}

impl Exchange {
    fn new(id: String, random: &mut Random) -> Exchange {
        let (method, kind) = (random.of(&METHODS), random.of(&KINDS));
        // Most responses leave their connection usable. Otherwise none would be kept.
        let kind = if random.one_in(2) { random.of(&KINDS[..2]) } else { kind };
        Exchange { id, method, kind, pieces: random.of(&PIECES), size: random.of(&SIZES) }
    }

    fn wire(&self, random: &mut Random) -> Vec<u8> {
        let body = format!("{} ", self.id).repeat(100);
        let (fields, body) = match self.method {
            "POST" => (format!("Content-Length: {}\r\n", body.len()), body),
            "PUT" => ("Transfer-Encoding: chunked\r\n".into(), format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())),
            _ => (String::new(), String::new()),
        };
        let coding = if random.one_in(3) { "Accept-Encoding: gzip\r\n" } else { "" };
        let target = format!("/{}/{:?}/{:?}/{}", self.id, self.kind, self.pieces, self.size);
        format!("{} {target} HTTP/1.1\r\nHost: a.example\r\n{coding}{fields}\r\n{body}", self.method).into_bytes()
    }

    /// The content of its response.
    fn content(&self) -> Vec<u8> {
        self.id.bytes().cycle().take(self.size).collect()
    }

    /// The status that the client gets, if it gets a complete response, and whether that has the backend's content.
    /// `None`: the response is cut off.
    fn expected(&self) -> Option<(u16, bool)> {
        match self.kind {
            Kind::Malformed | Kind::HalfHead | Kind::Nothing => Some((502, false)),
            Kind::NoContent => Some((204, false)),
            Kind::NotModified => Some((304, false)),
            Kind::NotFound => Some((404, true)),
            Kind::Cut | Kind::CutChunked if self.method != "HEAD" => None,
            _ => Some((200, true)),
        }
    }

    /// The bytes that the backend sends, as head and body.
    fn response(&self) -> (String, Vec<u8>) {
        let content = self.content();
        let chunked = || [format!("{:x}\r\n", content.len()).as_bytes(), &content, b"\r\n0\r\n\r\n"].concat();
        let length = format!("Content-Length: {}\r\n\r\n", content.len());
        let (head, mut body) = match self.kind {
            Kind::Length | Kind::Cut => (format!("HTTP/1.1 200 OK\r\n{length}"), content),
            Kind::Chunked | Kind::CutChunked => {
                ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into(), chunked())
            }
            Kind::UntilClose => ("HTTP/1.1 200 OK\r\n\r\n".into(), content),
            Kind::Old => (format!("HTTP/1.0 200 OK\r\n{length}"), content),
            Kind::Close => (format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{length}"), content),
            Kind::NoContent => ("HTTP/1.1 204 No Content\r\n\r\n".into(), Vec::new()),
            Kind::NotModified => ("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n".into(), Vec::new()),
            Kind::NotFound => (format!("HTTP/1.1 404 Not Found\r\n{length}"), content),
            Kind::Interim => {
                let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(2);
                (format!("{interim}HTTP/1.1 200 OK\r\n{length}"), content)
            }
            Kind::Malformed => ("220 mail.example ESMTP\r\n".into(), Vec::new()),
            Kind::HalfHead => ("HTTP/1.1 200 OK\r\nContent-Le".into(), Vec::new()),
            Kind::Nothing => (String::new(), Vec::new()),
        };
        match self.kind {
            Kind::Cut => _ = body.pop(),
            Kind::CutChunked => body.truncate(body.len() - 1),
            _ => {}
        }
        if self.method == "HEAD" {
            body.clear();
        }
        (head, body)
    }

    fn ends_the_connection(&self) -> bool {
        !matches!(
            self.kind,
            Kind::Length | Kind::Chunked | Kind::NoContent | Kind::NotModified | Kind::NotFound | Kind::Interim
        )
    }
}

/// The backend: each request names the response that it gets.
fn serve_backend(client: &mut FakeClient<'_>, plan: &HashMap<String, Exchange>) {
    while let Some(request) = client.request() {
        let exchange = request.line().split('/').nth(1).and_then(|id| plan.get(id));
        let exchange = exchange.unwrap_or_else(|| panic!("an unknown request: {request:?}"));
        let (head, body) = exchange.response();
        let all = [head.as_bytes(), &body].concat();
        let (first, pause) = match exchange.pieces {
            Pieces::One => (all.len(), Duration::ZERO),
            Pieces::HeadFirst => (head.len(), Duration::from_millis(1)),
            Pieces::Bytes => (1, Duration::ZERO),
            Pieces::Quarters => (all.len() / 4, Duration::from_millis(6)),
        };
        let mut rest = &all[..];
        for _ in 0..60 {
            let size = first.clamp(1, rest.len().max(1)).min(rest.len());
            client.send(&rest[..size]);
            rest = &rest[size..];
            if rest.is_empty() {
                break;
            }
            client.pause(pause);
        }
        client.send(rest);
        if exchange.ends_the_connection() {
            return;
        }
    }
}

/// A client on one connection. Panics if a response is not the expected one.
fn talk(server: &Running, exchanges: &[Exchange], manner: Manner, random: &mut Random) {
    let mut client = server.client();
    let mut read = Vec::new();
    let requests: Vec<Vec<u8>> = exchanges.iter().map(|exchange| exchange.wire(random)).collect();
    if manner == Manner::Pipelined {
        client.send(requests.concat());
    }
    for (at, (exchange, request)) in exchanges.iter().zip(&requests).enumerate() {
        if manner != Manner::Pipelined {
            client.send(request);
        }
        let is_last = at + 1 == exchanges.len();
        match manner {
            Manner::Leaving if is_last => return,
            Manner::HalfClosing if is_last => _ = client.half_close(),
            _ => {}
        }
        let answer = next_answer(&mut client, &mut read, exchange);
        let got = answer.as_ref().map(|answer| (answer.status, answer.body == exchange.content()));
        let expected =
            exchange.expected().map(|(status, has_content)| (status, has_content && exchange.method != "HEAD"));
        assert_eq!(got, expected, "left: the response; right: as expected. {exchange:?}, {manner:?}: {answer:?}");
        if answer.is_none_or(|answer| answer.says_close()) {
            return;
        }
    }
}

/// Reads the next final response. `None`: the connection ended before the response was complete.
fn next_answer(client: &mut Client, read: &mut Vec<u8>, exchange: &Exchange) -> Option<Answer> {
    let mut buffer = [0; 16 * 1024];
    let mut has_ended = false;
    loop {
        while let Some((answer, used)) = parse(read, has_ended, exchange.method == "HEAD") {
            read.drain(..used);
            if answer.status >= 200 {
                return Some(answer);
            }
        }
        if has_ended {
            return None;
        }
        match client.stream.read(&mut buffer) {
            Ok(0) => has_ended = true,
            Ok(count) => read.extend_from_slice(&buffer[..count]),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) if err.kind() == io::ErrorKind::ConnectionReset => return None,
            Err(err) => panic!("{exchange:?}: {err} after {:?}", String::from_utf8_lossy(read)),
        }
    }
}

/// Clients on several connections at once, which share those to the backend.
fn run<H: RequestHandler>(around: impl FnOnce(ReverseProxy) -> H, first: u64, count: u64) {
    let mut connections = Vec::new();
    let mut plan = HashMap::new();
    for seed in first..first + count {
        let mut random = Random(seed);
        let manner =
            random.of(&[Manner::InTurn, Manner::InTurn, Manner::Pipelined, Manner::HalfClosing, Manner::Leaving]);
        let number = 1 + random.below(MOST_REQUESTS);
        let exchanges: Vec<_> = (0..number).map(|at| Exchange::new(format!("{seed}-{at}"), &mut random)).collect();
        plan.extend(exchanges.iter().map(|exchange| (exchange.id.clone(), exchange.clone())));
        connections.push((exchanges, manner, random));
    }
    let plan = Arc::new(plan);
    let planned = Arc::clone(&plan);
    let backend = testing::fake_server(move |client| serve_backend(client, &planned));
    let calls: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let counted = Arc::clone(&calls);
    let count_calls = layer_fn(move |request: &Request, next: Next<'_>| {
        let id = request.path().split('/').nth(1).unwrap_or_default().to_owned();
        *counted.lock().unwrap().entry(id).or_default() += 1;
        next.run(request)
    });
    let proxy = ReverseProxy::new(&backend.url("")).expect("the URL of the backend");
    let http = Http::new(around(proxy).layer(count_calls)).access_log(None);
    let server = serve(http, |server| server.workers(4).shutdown_timeout(PATIENCE));
    let connections = Mutex::new(connections);
    thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                while let Some((exchanges, manner, mut random)) = { connections.lock().unwrap().pop() } {
                    talk(&server, &exchanges, manner, &mut random);
                }
            });
        }
    });
    server.wait_for("all have ended", |stats| {
        stats.connections == 0 && stats.running == 0 && stats.long_polls == 0 && stats.streams == 0
    });
    for (id, calls) in &*calls.lock().unwrap() {
        assert!(*calls <= 2, "{calls} calls of the handler for {:?}", plan[id]);
    }
    let mut sent: HashMap<String, usize> = HashMap::new();
    for request in backend.requests() {
        *sent.entry(request.line().split('/').nth(1).unwrap_or_default().to_owned()).or_default() += 1;
    }
    for (id, times) in sent {
        let most = if ["POST", "PUT"].contains(&plan[&id].method) { 1 } else { 2 };
        assert!(times <= most, "the backend got {:?} {times} times", plan[&id]);
    }
}

#[test]
fn each_client_gets_its_own_response() {
    let first = number("MODEST_SEED").unwrap_or(1);
    let count = number("MODEST_PROXIED").unwrap_or(CONNECTIONS) / 4;
    run(|proxy| proxy, first, count);
    run(|proxy| proxy.layer(Compress::new()), first + count, count);
    run(|proxy| proxy.layer(Timeout::new(PATIENCE)), first + 2 * count, count);
    run(|proxy| Routes::new().fallback(proxy).with_state(()), first + 3 * count, count);
}

/// A WebSocket that the backend accepts only during the shutdown continues until it ends.
#[test]
fn an_upgrade_during_a_shutdown_goes_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, accept) = (Gate::default(), Gate::default());
    let _end = [asked.opened_at_end(), accept.opened_at_end()];
    let gates = (asked.clone(), accept.clone());
    let backend = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        gates.0.open();
        gates.1.pass();
        stream.write_all(b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello").unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all.to_ascii_uppercase()).unwrap();
    });
    let proxy = ReverseProxy::new(&format!("http://{address}")).unwrap();
    let mut server = serve(proxy, |server| server.workers(2).shutdown_timeout(PATIENCE));
    let (mut client, mut idle) = (server.client(), server.client());
    client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    asked.pass();
    server.handle.shutdown();
    idle.expect_end(); // the shutdown has begun
    accept.open();
    client.expect("HTTP/1.1 101 Switching Protocols\r\n");
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head += &client.line();
    }
    client.expect("hello").send("more").half_close().expect("MORE").expect_end();
    server.wait_for_end();
    backend.join().unwrap();
}

/// A backend that pauses for too long cuts its client off during a shutdown also, which then ends.
#[test]
fn a_pause_ends_a_response_during_a_shutdown() {
    let backend = testing::fake_server(|client| {
        let request = client.request().expect("a request");
        let fields = match request.line().split(' ').nth(1).unwrap_or_default() {
            "/length" => "Content-Length: 9\r\n\r\n",
            "/chunks" => "Transfer-Encoding: chunked\r\n\r\n1\r\n",
            _ => "\r\n",
        };
        client.send(format!("HTTP/1.1 200 OK\r\n{fields}x"));
        client.stall();
    });
    let proxy = ReverseProxy::new(&backend.url("/")).unwrap().pause_timeout(Duration::from_secs(1));
    let mut server = serve(proxy, |server| server.shutdown_timeout(None));
    let clients = ["/length", "/chunks", "/close"].map(|path| {
        let mut client = server.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).expect("HTTP/1.1 200 OK\r\n");
        client
    });
    server.handle.shutdown();
    for mut client in clients {
        client.expect_reset();
    }
    server.wait_for_end();
}
