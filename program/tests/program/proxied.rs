//! `--proxy`: the built program between clients and servers that behave, and servers that don't.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Deref;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::built::{self, Answer, Built, PATIENCE, folder, modest, read_until, run};

/// A backend by hand: the head of each request is sent to the test, with its connection.
struct ByHand {
    url: String,
    requests: Receiver<(String, TcpStream)>,
}

impl ByHand {
    fn new() -> ByHand {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = channel();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                let head = read_until(&mut client, b"\r\n\r\n").unwrap_or_default();
                if sender.send((String::from_utf8_lossy(&head).into_owned(), client)).is_err() {
                    return;
                }
            }
        });
        ByHand { url, requests }
    }

    #[track_caller]
    fn next(&self) -> (String, TcpStream) {
        self.requests.recv_timeout(PATIENCE).expect("a request")
    }

    #[track_caller]
    fn asked_nothing(&self) {
        assert!(self.requests.try_recv().is_err(), "the backend got a request");
    }
}

/// The program, and its folder.
struct Started(Built, tempfile::TempDir);

impl Deref for Started {
    type Target = Built;

    fn deref(&self) -> &Built {
        &self.0
    }
}

fn start(words: &[&str]) -> Started {
    let files = folder(&[
        ("www/a.txt", "a file"),
        ("users", "ada:$2y$04$Ti8MrsUBsO06.Fz01VkTeuEv1SjaO4Ul8ySiWXZlaqj0.ea/oWxm2\n"),
    ]);
    let built = Built::start(modest(["-p", "0"]).args(words).current_dir(files.path().join("www")));
    Started(built, files)
}

fn to(backend: &ByHand, words: &[&str]) -> Started {
    start(&[&["--proxy", &format!("/api={}", backend.url)], words].concat())
}

fn send(modest: &Built, request: &str) -> TcpStream {
    let mut client = modest.connect();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    client
}

fn all(mut client: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let end = client.read_to_end(&mut bytes);
    assert!(end.is_ok(), "{end:?} after {:?}", String::from_utf8_lossy(&bytes));
    Answer::read(&String::from_utf8_lossy(&bytes))
}

const AS_ADA: &str = "Authorization: Basic YWRhOmEgbG9uZyBzZWNyZXQ=\r\n";

/// What the backend gets of a request.
#[test]
fn heads_pass_without_what_belongs_to_one_connection() {
    let backend = ByHand::new();
    let with_path = format!("/v={}/v1/", backend.url);
    let modest = to(&backend, &["--proxy", &with_path]);
    for (target, fields, wanted, unwanted) in [
        (
            "/api",
            "",
            &["GET /api HTTP/1.1", "Host: test", "Connection: close", "Via: 1.1 modest"][..],
            &["upgrade"][..],
        ),
        (
            "/api/a%20b%2Bc?d=%7e&e",
            "",
            &["GET /api/a%20b%2Bc?d=%7e&e HTTP/1.1"],
            &["content-length", "transfer-encoding"],
        ),
        ("/v", "", &["GET /v1 HTTP/1.1"], &[]),
        ("/v/", "", &["GET /v1/ HTTP/1.1"], &[]),
        ("/v/a/b?c", "", &["GET /v1/a/b?c HTTP/1.1"], &[]),
        ("/%76/a", "", &["GET /v1/a HTTP/1.1"], &[]),
        ("http://test/api/x?y", "", &["GET /api/x?y HTTP/1.1", "Host: test"], &[]),
        (
            "/api/",
            "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Host: evil\r\nForwarded: for=evil\r\nX-Real-IP: 10.0.0.1\r\nX_Forwarded_For: 10.0.0.1\r\n",
            &[
                "X-Forwarded-For: 127.0.0.1",
                "X-Forwarded-Host: test",
                "X-Forwarded-Proto: http",
                "Forwarded: for=127.0.0.1;host=\"test\";proto=http",
            ],
            &["evil", "10.0.0.1"],
        ),
        (
            "/api/",
            "Connection: close, X-Secret\r\nX-Secret: 7\r\nTE: trailers\r\nKeep-Alive: 5\r\nX-Kept: 7\r\nX-Kept: 8\r\nCookie: a=b\r\n",
            &["X-Kept: 7", "X-Kept: 8", "Cookie: a=b"],
            &["x-secret", "te:", "keep-alive"],
        ),
        ("/api/", AS_ADA, &["Authorization: Basic YWRhOmEgbG9uZyBzZWNyZXQ="], &[]),
        (
            "/api/",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n",
            &["Connection: close"],
            &["upgrade", "http2"],
        ),
        ("/api/", "Upgrade: websocket\r\n", &["Connection: close"], &["upgrade"]),
    ] {
        let client = send(&modest, &format!("GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
        let (head, mut upstream) = backend.next();
        let lines: Vec<&str> = head.lines().collect();
        for line in wanted {
            assert!(lines.contains(line), "{target} {fields}: {line} is missing in {head}");
        }
        for name in unwanted {
            assert!(!head.to_lowercase().contains(name), "{target} {fields}: {name} in {head}");
        }
        upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        drop((client, upstream));
    }
    assert_eq!(modest.get("/a.txt").body, "a file", "the folder is beside it");
    assert_eq!(modest.get("/apis").status, 404, "a name that only begins like it");
    backend.asked_nothing();
}

#[test]
fn answers_pass() {
    let backend = ByHand::new();
    let modest = to(&backend, &[]);
    for (method, answer, status, fields, body) in [
        (
            "GET",
            "HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nX-A: 1\r\nX-A: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nETag: W/x\r\n\r\nok",
            200,
            &["x-a: 1", "x-a: 2", "set-cookie: a=1", "set-cookie: b=2", "content-length: 2", "via: 1.1 modest"][..],
            "ok",
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\no\r\n1\r\nk\r\n0\r\nT: x\r\n\r\n",
            200,
            &["transfer-encoding: chunked"],
            "ok",
        ),
        ("GET", "HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, &[], "until the end"),
        ("GET", "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", 404, &[], "no"),
        (
            "GET",
            "HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n",
            302,
            &["location: /there", "content-length: 0"],
            "",
        ),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", 304, &["etag: \"x\""], ""),
        ("GET", "HTTP/1.1 204 No\r\n\r\n", 204, &[], ""),
        (
            "GET",
            "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n",
            401,
            &["www-authenticate: basic realm=\"x\""],
            "",
        ),
        (
            "GET",
            "HTTP/1.1 500 Oh\r\nContent-Type: text/html\r\nContent-Length: 3\r\nConnection: X-B, close\r\nX-B: 7\r\n\r\n<p>",
            500,
            &["content-type: text/html"],
            "<p>",
        ),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", 200, &["content-length: 7"], ""),
        ("SPAM", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, &[], "ok"),
        ("OPTIONS", "HTTP/1.1 200 OK\r\nAllow: SPAM\r\nContent-Length: 0\r\n\r\n", 200, &["allow: spam"], ""),
    ] {
        let client = send(&modest, &format!("{method} /api/ HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"));
        let (_, mut upstream) = backend.next();
        upstream.write_all(answer.as_bytes()).unwrap();
        drop(upstream);
        let got = all(client);
        let head = got.head.to_lowercase();
        let got_body = if head.contains("chunked") { got.unchunked() } else { got.body.clone() };
        assert_eq!((got.status, got_body.as_str()), (status, body), "{method} {answer:?}: {got:?}");
        for line in fields {
            assert!(head.lines().any(|shown| shown == *line), "{answer:?}: {line} is missing in {head}");
        }
        assert!(!head.contains("x-b: 7"), "a field of the connection: {head}");
    }
    assert_eq!(modest.ask("TRACE", "/api/", &[], "").status, 501);
    backend.asked_nothing();
}

/// What is no response in HTTP/1.1 becomes a page in plain words, and what breaks off is visible.
#[test]
fn backends_that_misbehave() {
    let backend = ByHand::new();
    let modest = to(&backend, &["--proxy-timeout", "300ms"]);
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    for (answer, status, text) in [
        ("", 502, "ended the connection without a response"),
        ("nothing of HTTP\r\n\r\n", 502, "not valid HTTP/1.1"),
        ("HTTP/1.1 200 OK\r\nConten", 502, "not valid HTTP/1.1"),
        ("HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", 502, "not valid HTTP/1.1"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 502, "not valid HTTP/1.1"),
        ("HTTP/1.1 200 OK\r\nA: b\n\nGET / HTTP/1.1\r\n\r\n", 502, "not valid HTTP/1.1"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 502, "not valid HTTP/1.1"),
        (both, 502, "not valid HTTP/1.1"),
    ] {
        let client = send(&modest, "GET /api/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let (_, mut upstream) = backend.next();
        upstream.write_all(answer.as_bytes()).unwrap();
        drop(upstream);
        let got = all(client);
        assert!(got.status == status && got.body.contains(text), "{answer:?}: {got:?}");
    }
    for request in ["GET /api/", "POST /api/"] {
        let body = if request.starts_with("POST") { "Content-Length: 2\r\n\r\nab" } else { "\r\n" };
        let client = send(&modest, &format!("{request} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{body}"));
        let silent = backend.next();
        let got = all(client);
        assert!(got.status == 504 && got.body.contains("did not respond in time"), "{request}: {got:?}");
        drop(silent);
    }
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nx\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
    ] {
        let mut client = send(&modest, "GET /api/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let (_, mut upstream) = backend.next();
        upstream.write_all(answer.as_bytes()).unwrap();
        drop(upstream);
        let mut came = Vec::new();
        let end = client.read_to_end(&mut came);
        assert!(end.is_err(), "{answer:?}: {end:?} after {:?}", String::from_utf8_lossy(&came));
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(); // closed again
    let modest = start(&["--proxy", &format!("/api=http://{nobody}")]);
    for method in ["GET", "POST"] {
        let got = modest.ask(method, "/api/x", &[], "body");
        assert!(got.status == 502 && got.body.contains("The application for this path is not running."), "{got:?}");
    }
}

/// No byte of one request becomes another one.
#[test]
fn requests_are_not_smuggled() {
    let backend = ByHand::new();
    let modest = to(&backend, &["--allow", "/=*:all", "--allow", "/api/admin=*:none"]);
    for (request, status) in [
        ("POST /api/ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST /api/ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", 400),
        ("POST /api/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        ("POST /api/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST /api/ HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd", 400),
        ("GET /api/ HTTP/1.1\r\nHost: a\r\nX: y\n\nGET /api/admin HTTP/1.1\r\n\r\n", 400),
        ("GET /api/x\r\n HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /api/admin/x HTTP/1.1\r\nHost: a\r\n\r\n", 403),
        ("GET /api/%61dmin/x HTTP/1.1\r\nHost: a\r\n\r\n", 403),
        ("GET /api/a/../admin/x HTTP/1.1\r\nHost: a\r\n\r\n", 301),
        ("GET /api/a/%2e%2e/admin/x HTTP/1.1\r\nHost: a\r\n\r\n", 301),
        ("GET /api//admin/x HTTP/1.1\r\nHost: a\r\n\r\n", 301),
        ("GET /api/a%2f..%2fadmin/x HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET /api\\admin HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ] {
        let mut client = send(&modest, request);
        let head = String::from_utf8(read_until(&mut client, b"\r\n\r\n").unwrap()).unwrap();
        assert_eq!(Answer::read(&head).status, status, "{request:?}: {head}");
        backend.asked_nothing();
    }
    // A body whose bytes look like a request arrives as a body, on a connection of its own.
    let inner = "GET /api/admin HTTP/1.1\r\nHost: a\r\n\r\n";
    let request = format!(
        "POST /api/ HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{inner}GET /a.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        inner.len()
    );
    let client = send(&modest, &request);
    let (head, mut upstream) = backend.next();
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", inner.len())), "{head}");
    read_until(&mut upstream, inner.as_bytes()).unwrap();
    // What follows the response on its connection belongs to nobody.
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        .unwrap();
    let got = all(client);
    assert!(got.head.starts_with("HTTP/1.1 200") && got.body.starts_with("ok"), "{got:?}");
    assert!(got.body.ends_with("a file") && !got.body.contains("evil"), "{got:?}");
    backend.asked_nothing();
}

#[test]
fn bodies_are_streamed_both_ways() {
    let backend = ByHand::new();
    let modest = to(&backend, &[]);
    let piece = "x".repeat(100_000);
    for (framing, first, second, last) in [
        ("Content-Length: 200000", piece.clone(), piece.clone(), ""),
        (
            "Transfer-Encoding: chunked",
            format!("186a0\r\n{piece}\r\n"),
            format!("186a0\r\n{piece}\r\n0\r\n\r\n"),
            "\r\n0\r\n\r\n",
        ),
    ] {
        let head = format!("POST /api/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{framing}\r\n\r\n");
        let mut client = send(&modest, &(head + &first));
        let (head, mut upstream) = backend.next();
        assert!(head.contains(&format!("\r\n{framing}\r\n")), "{framing}: {head}");
        upstream.read_exact(&mut [0; 64 << 10]).unwrap(); // the rest is not sent yet
        client.write_all(second.as_bytes()).unwrap();
        match last {
            "" => upstream.read_exact(&mut vec![0; 200_000 - (64 << 10)]).unwrap(),
            last => drop(read_until(&mut upstream, last.as_bytes()).unwrap()),
        }
        // Half a response is passed on before there is more.
        upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf").unwrap();
        read_until(&mut client, b"\r\n\r\nhalf").unwrap();
        upstream.write_all(b"rest").unwrap();
        read_until(&mut client, b"rest").unwrap();
        assert!(built::ended(&mut client), "{framing}");
    }
}

/// 64 MB each way, none of it stored, with `--body-limit` and `--body-quota` of a few bytes.
#[test]
fn large_bodies_are_forwarded() {
    let backend = ByHand::new();
    let modest = to(&backend, &["--body-limit", "1k", "--body-quota", "1k"]);
    let size = 64_000_000;
    let mut client =
        send(&modest, &format!("PUT /api/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"));
    let mut sending = client.try_clone().unwrap();
    std::thread::spawn(move || sending.write_all(&vec![b'x'; size]).unwrap());
    let (_, mut upstream) = backend.next();
    let mut count = 0;
    let mut piece = vec![0; 1 << 20];
    while count < size {
        count += upstream.read(&mut piece).unwrap();
    }
    std::thread::spawn(move || {
        write!(upstream, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").unwrap();
        upstream.write_all(&vec![b'y'; size]).unwrap();
    });
    let head = read_until(&mut client, b"\r\n\r\n").unwrap();
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert!(rest.len() == size && rest.iter().all(|byte| *byte == b'y'), "{} bytes", rest.len());
}

/// A backend that answers before it has read everything: the client gets that answer.
#[test]
fn an_early_answer_passes() {
    let backend = ByHand::new();
    let modest = to(&backend, &[]);
    let mut client =
        send(&modest, "PUT /api/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n");
    let (_, mut upstream) = backend.next();
    upstream.write_all(b"HTTP/1.1 413 Too much\r\nContent-Length: 3\r\n\r\nbig").unwrap();
    upstream.shutdown(Shutdown::Write).unwrap();
    client.write_all(&vec![b'x'; 1_000_000]).unwrap();
    let got = all(client);
    assert_eq!((got.status, got.body.as_str()), (413, "big"), "{got:?}");
}

/// More silent streams, and requests that wait, than there are workers.
#[test]
fn who_waits_holds_no_worker() {
    let backend = ByHand::new();
    let modest = to(&backend, &["--workers", "2"]);
    let mut streams = Vec::new();
    for number in 0..12 {
        let mut client = send(&modest, "GET /api/events HTTP/1.1\r\nHost: a\r\n\r\n");
        let (_, mut upstream) = backend.next();
        if number % 2 == 0 {
            upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n").unwrap();
            read_until(&mut client, b"data: 1\n\n").unwrap();
        }
        streams.push((client, upstream));
    }
    assert_eq!(modest.get("/a.txt").body, "a file", "beside 12 that wait");
    for (number, (client, upstream)) in streams.iter_mut().enumerate() {
        if number % 2 == 0 {
            upstream.write_all(b"data: 2\n\n").unwrap();
            read_until(client, b"data: 2\n\n").unwrap();
        }
    }
    // A client that leaves ends the request at the backend, and an end of the backend ends the stream.
    let (client, mut upstream) = streams.swap_remove(0);
    client.shutdown(Shutdown::Both).unwrap();
    drop(client);
    upstream.set_read_timeout(Some(Duration::from_secs(100))).unwrap();
    while upstream.write_all(b"data: 3\n\n").is_ok() {
        std::thread::yield_now();
    }
    let (mut client, upstream) = streams.swap_remove(2);
    drop(upstream);
    read_until(&mut client, b"0\r\n\r\n").unwrap();
    // A shutdown does not wait for streams of events.
    let Started(modest, _files) = modest;
    let (status, ..) = modest.stop();
    assert!(status.success(), "{status}");
}

#[test]
fn other_protocols_pass() {
    let backend = ByHand::new();
    let modest = to(&backend, &[]);
    let request = "GET /api/ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";
    for upstream_first in [true, false] {
        let mut client = send(&modest, request);
        let (head, mut upstream) = backend.next();
        for line in ["Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: k", "X-Forwarded-For: 127.0.0.1"]
        {
            assert!(head.lines().any(|shown| shown == line), "{line} is missing in {head}");
        }
        upstream.write_all(b"HTTP/1.1 101 Well\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: z\r\n\r\nfirst").unwrap();
        let came = String::from_utf8(read_until(&mut client, b"\r\n\r\nfirst").unwrap()).unwrap().to_lowercase();
        assert!(came.starts_with("http/1.1 101 ") && came.contains("\r\nsec-websocket-accept: z\r\n"), "{came}");
        let large = vec![b'z'; 1_000_000];
        let mut sending = client.try_clone().unwrap();
        let echoing = std::thread::spawn(move || sending.write_all(&[b'z'; 1_000_000]).unwrap());
        let mut got = vec![0; large.len()];
        upstream.read_exact(&mut got).unwrap();
        echoing.join().unwrap();
        assert!(got == large);
        let (one, other) = if upstream_first { (&mut upstream, &mut client) } else { (&mut client, &mut upstream) };
        one.write_all(b"the last").unwrap();
        one.shutdown(Shutdown::Write).unwrap();
        let mut came = String::new();
        other.read_to_string(&mut came).unwrap();
        assert_eq!(came, "the last", "and its end; the backend first: {upstream_first}");
        other.write_all(b"not yet").unwrap();
        read_until(one, b"not yet").unwrap();
        other.shutdown(Shutdown::Write).unwrap();
        assert!(built::ended(one), "the backend first: {upstream_first}");
    }
    // A backend may refuse.
    let client = send(&modest, &request.replace("keep-alive, ", "close, "));
    let (_, mut upstream) = backend.next();
    upstream.write_all(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno").unwrap();
    let got = all(client);
    assert_eq!((got.status, got.body.as_str()), (403, "no"), "{got:?}");
}

/// With `--auth`, `--prefix`, `--allow` and other paths.
#[test]
fn beside_other_options() {
    let backend = ByHand::new();
    let modest = to(&backend, &["--auth", "../users"]);
    assert_eq!(modest.get("/api/x").status, 401);
    assert_eq!(modest.ask("POST", "/api/x", &[], "body").status, 401);
    backend.asked_nothing();
    let client = send(
        &modest,
        &format!("POST /api/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{AS_ADA}Content-Length: 2\r\n\r\nab"),
    );
    let (head, mut upstream) = backend.next();
    assert!(!head.to_lowercase().contains("authorization"), "{head}");
    upstream.write_all(b"HTTP/1.1 201 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert_eq!(all(client).status, 201);

    for (words, target, expected) in [
        (&["--prefix", "/pre"][..], "/pre/api/x?y", "GET /api/x?y HTTP/1.1\r\n"),
        (&["--prefix", "/a/b"], "/a/b/api", "GET /api HTTP/1.1\r\n"),
    ] {
        let modest = to(&backend, words);
        let client = send(&modest, &format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        let (head, mut upstream) = backend.next();
        let prefix = format!("\r\nX-Forwarded-Prefix: {}\r\n", words[1]);
        assert!(head.starts_with(expected) && head.contains(&prefix), "{words:?} {target}: {head}");
        upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        assert_eq!(all(client).status, 200);
        assert_eq!(modest.get("/api/x").status, 404, "{words:?}");
    }
    // A right to write alone shows nothing of the backend.
    let modest = to(&backend, &["--allow", "/=*:read", "--allow", "/api=*:write"]);
    assert_eq!(modest.ask("GET", "/api/", &["Accept: text/html"], "").status, 403);
    assert_eq!(modest.get("/api/").status, 403);
    backend.asked_nothing();
    // All that no folder has.
    let files = folder(&[("a.txt", "a file")]);
    let words = [format!("/files={}", files.path().display()), "--proxy".into(), format!("/={}", backend.url)];
    let modest = Built::start(&mut modest_of(&words));
    assert_eq!(modest.get("/files/a.txt").body, "a file");
    let client = send(&modest, "GET /files.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let (head, mut upstream) = backend.next();
    assert!(head.starts_with("GET /files.txt HTTP/1.1\r\n"), "{head}");
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert_eq!(all(client).status, 200);
}

fn modest_of(words: &[String]) -> std::process::Command {
    let mut command = modest(["-p", "0"]);
    command.args(words);
    command
}

#[test]
fn wrong_values_are_explained() {
    for (words, expected) in [
        (&["--proxy", "/api"][..], "expected two words with '=' between them, such as /api=http://127.0.0.1:3000"),
        (&["--proxy", "/api=127.0.0.1:3000"], "expected the URL of a server, such as http://127.0.0.1:3000"),
        (&["--proxy", "/api=https://a"], "the connection to the other server is not encrypted"),
        (&["--proxy", "api=http://a"], "expected a path that starts with a slash"),
        (&["--proxy", "/api=http://a", "--proxy", "/api/=http://b"], "/api/ was given twice"),
        (&["/api=.", "--proxy", "/api=http://a"], "a folder is served at /api/ already"),
        (&[".", "--proxy", "/=http://a"], "a folder is served at / already"),
        (&["--proxy-timeout", "3s"], "--proxy-timeout has no effect without --proxy"),
        (&["--confine", "--proxy", "/api=http://backend:3000"], "a confined server can't look up the names of hosts"),
    ] {
        let (status, _, said) = run(modest(["-p", "0"]).args(words));
        assert!(status == Some(2) && said.contains(expected), "{words:?}: {said}");
    }
}
