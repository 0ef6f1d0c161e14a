//! `--proxy`: the built program between clients and backends, with and without faults on both sides.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Deref;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::Signal;

use crate::built::{self, Answer, Built, PATIENCE, folder, modest, read_until, run};
use crate::is_rejected_by_the_system;

/// A backend that the test controls: it gets the head and the stream of each request.
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
        assert!(self.requests.try_recv().is_err(), "the backend received an unexpected request");
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

/// A request as the backend receives it.
#[test]
fn heads_pass_without_what_belongs_to_one_connection() {
    let backend = ByHand::new();
    let with_path = format!("/v={}/v1/", backend.url);
    let modest = to(&backend, &["--proxy", &with_path]);
    for (target, fields, wanted, unwanted) in [
        ("/api", "", &["GET /api HTTP/1.1", "Host: test", "Via: 1.1 modest"][..], &["upgrade", "connection:"][..]),
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
            "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Host: evil\r\nForwarded: for=evil\r\nX-Real-IP: 10.0.0.1\r\nX_Forwarded_For: 10.0.0.1\r\n\
             X-Forwarded-User: evil\r\nX_Forwarded-Anything: evil\r\nX-Forwarded: evil\r\nProxy: evil\r\nX-Original-URL: /evil\r\n\
             X-Rewrite-URL: /evil\r\nX-Original-Host: evil\r\nX-Client-IP: 10.0.0.1\r\nTrue-Client-IP: 10.0.0.1\r\n\
             Front-End-Https: evil\r\nRemote-User: evil\r\nRemote_User: evil\r\nX-Remote-User: evil\r\nx_remote_user: evil\r\n",
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
            &["Via: 1.1 modest"],
            &["upgrade", "http2", "connection:"],
        ),
        ("/api/", "Upgrade: websocket\r\n", &[], &["upgrade", "connection:"]),
        // Several lines are one list (RFC 9110, section 5.3). `h2c` is not offered.
        (
            "/api/",
            "Connection: upgrade\r\nUpgrade: foo\r\nUpgrade: websocket, bar/1\r\n",
            &["Connection: upgrade", "Upgrade: foo, websocket, bar/1"],
            &[],
        ),
        (
            "/api/",
            "Connection: upgrade\r\nUpgrade: H2C, websocket\r\nContent-Length: 0\r\n",
            &["Connection: upgrade", "Upgrade: websocket", "Content-Length: 0"],
            &["h2c"],
        ),
        // Other protocols in which further requests could be sent are not offered either.
        (
            "/api/",
            "Connection: upgrade\r\nUpgrade: HTTP/2.0, TLS/1.0 , websocket, h2, Tls, http / 3, https\r\n",
            &["Connection: upgrade", "Upgrade: websocket"],
            &["http/2", "tls", "h2"],
        ),
        (
            "/api/",
            "Connection: upgrade\r\nUpgrade: TLS/1.2\r\nUpgrade: HTTP/1.1\r\n",
            &["Via: 1.1 modest"],
            &["upgrade", "connection:"],
        ),
        ("/api/", "Connection: upgrade\r\nUpgrade: ,\r\n", &[], &["upgrade", "connection:"]),
        ("/api/", "Max-Forwards: 5\r\n", &["Max-Forwards: 5"], &[]), // counts for OPTIONS only
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
    assert_eq!(modest.get("/a.txt").body, "a file", "the folder next to the proxy is served");
    assert_eq!(modest.get("/apis").status, 404, "a path that only begins like the proxied one is not passed on");
    backend.asked_nothing();
}

#[test]
fn responses_pass() {
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
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc", 200, &["content-length: 3"], "abc"),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3, 3\r\n\r\nabc",
            200,
            &["content-length: 3"],
            "abc",
        ),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\n", 200, &["content-length: 3"], ""),
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
        assert!(!head.contains("x-b: 7"), "a hop-by-hop field was passed on: {head}");
    }
    assert_eq!(modest.ask("TRACE", "/api/", &[], "").status, 501);
    backend.asked_nothing();
}

/// An invalid response becomes a readable page, and a truncated response is visibly incomplete.
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

/// No byte of a request is parsed as another one.
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
        ("GET /api/%5cadmin HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET /api/a%5c..%5cadmin HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET /api/a/..;/admin HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET /api/a/%2e%2e;b=c/admin HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET /api/a/..%3Bb/admin HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET /api/.;/b HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET /api/;a/b HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET /api/admin;a=b/x HTTP/1.1\r\nHost: a\r\n\r\n", 403),
        ("POST /api/;a/b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", 404),
    ] {
        let mut client = send(&modest, request);
        let head = String::from_utf8(read_until(&mut client, b"\r\n\r\n").unwrap()).unwrap();
        assert_eq!(Answer::read(&head).status, status, "{request:?}: {head}");
        backend.asked_nothing();
    }
    // A body that looks like a request arrives as a body, on a separate connection.
    let inner = "GET /api/admin HTTP/1.1\r\nHost: a\r\n\r\n";
    let request = format!(
        "POST /api/ HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{inner}GET /a.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        inner.len()
    );
    let client = send(&modest, &request);
    let (head, mut upstream) = backend.next();
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", inner.len())), "{head}");
    read_until(&mut upstream, inner.as_bytes()).unwrap();
    // Bytes after the response on its connection are dropped.
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        .unwrap();
    let got = all(client);
    assert!(got.head.starts_with("HTTP/1.1 200") && got.body.starts_with("ok"), "{got:?}");
    assert!(got.body.ends_with("a file") && !got.body.contains("evil"), "{got:?}");
    backend.asked_nothing();
}

/// A request's body arrives whole, with its length. A response's body is passed on as it arrives.
#[test]
fn bodies_pass() {
    let backend = ByHand::new();
    let modest = to(&backend, &[]);
    let piece = "x".repeat(100_000);
    for (framing, first, second) in [
        ("Content-Length: 200000", piece.clone(), piece.clone()),
        ("Transfer-Encoding: chunked", format!("186a0\r\n{piece}\r\n"), format!("186a0\r\n{piece}\r\n0\r\n\r\n")),
    ] {
        let head = format!("POST /api/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{framing}\r\n\r\n");
        let mut client = send(&modest, &(head + &first));
        assert_eq!(modest.get("/a.txt").body, "a file");
        backend.asked_nothing(); // a slow client does not occupy the backend
        client.write_all(second.as_bytes()).unwrap();
        let (head, mut upstream) = backend.next();
        let head_lower = head.to_lowercase();
        assert!(
            head.contains("\r\nContent-Length: 200000\r\n") && !head_lower.contains("transfer-enc"),
            "{framing}: {head}"
        );
        let mut body = vec![0; 200_000];
        upstream.read_exact(&mut body).unwrap();
        assert!(body.iter().all(|byte| *byte == b'x'), "{framing}");
        // The beginning of a response is passed on before the rest arrives.
        upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf").unwrap();
        read_until(&mut client, b"\r\n\r\nhalf").unwrap();
        upstream.write_all(b"rest").unwrap();
        read_until(&mut client, b"rest").unwrap();
        assert!(built::ended(&mut client), "{framing}");
    }
    for (framing, expected) in [("Content-Length: 0", Some("Content-Length: 0")), ("X: y", None)] {
        let client =
            send(&modest, &format!("POST /api/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{framing}\r\n\r\n"));
        let (head, mut upstream) = backend.next();
        assert_eq!(head.lines().find(|line| line.starts_with("Content-Length")), expected, "{framing}: {head}");
        upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        assert_eq!(all(client).status, 200, "{framing}");
    }
}

/// 64 MB in each direction at the same time, with a `--body-limit` of a few bytes.
#[test]
fn large_bodies_are_forwarded() {
    let backend = ByHand::new();
    let modest = to(&backend, &["--body-limit", "1k"]);
    let size = 64_000_000;
    let mut client =
        send(&modest, &format!("PUT /api/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"));
    let mut sending = client.try_clone().unwrap();
    std::thread::spawn(move || sending.write_all(&vec![b'x'; size]).unwrap());
    let (_, mut upstream) = backend.next();
    // An echo: the response begins before the whole request has arrived.
    std::thread::spawn(move || {
        write!(upstream, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").unwrap();
        let mut piece = vec![0; 1 << 20];
        let mut left = size;
        while left > 0 {
            let count = upstream.read(&mut piece).unwrap();
            assert!(count > 0 && piece[..count].iter().all(|byte| *byte == b'x'), "{left} bytes are missing");
            upstream.write_all(&piece[..count]).unwrap();
            left -= count;
        }
    });
    let head = read_until(&mut client, b"\r\n\r\n").unwrap();
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert!(rest.len() == size && rest.iter().all(|byte| *byte == b'x'), "{} bytes", rest.len());
}

/// A body that is too long for this server does not reach the backend.
#[test]
fn bodies_are_limited() {
    let backend = ByHand::new();
    for (words, framing, status) in [
        (&["--proxy-body-limit", "1k"][..], "Content-Length: 2000", 413),
        (&["--proxy-body-limit", "1k"], "Transfer-Encoding: chunked", 413),
        (&["--proxy-body-limit", "none", "--body-quota", "100k"], "Content-Length: 200000", 507),
    ] {
        let modest = to(&backend, words);
        let request = format!("POST /api/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{framing}\r\n\r\n");
        let body = format!("7d0\r\n{}\r\n0\r\n\r\n", "x".repeat(2000));
        let client = send(&modest, &(request + if framing.contains("chunked") { &body } else { "" }));
        let got = all(client);
        assert_eq!(got.status, status, "{words:?} {framing}: {got:?}");
        backend.asked_nothing();
    }
}

/// A backend can respond before it has read everything: the client gets this response, whether or not the backend
/// closes its side.
#[test]
fn an_early_response_passes() {
    let backend = ByHand::new();
    let modest = to(&backend, &[]);
    let size = 30_000_000; // more than sockets hold
    for ends in [true, false] {
        let mut client = send(
            &modest,
            &format!("PUT /api/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"),
        );
        client.write_all(&vec![b'x'; size]).unwrap();
        let (_, mut upstream) = backend.next();
        upstream.write_all(b"HTTP/1.1 413 Too much\r\nContent-Length: 3\r\n\r\nbig").unwrap();
        if ends {
            upstream.shutdown(Shutdown::Both).unwrap();
        }
        let got = all(client);
        assert_eq!((got.status, got.body.as_str()), (413, "big"), "{ends}: {got:?}");
    }
}

/// There are more uploads than workers, to a backend that does not read. Everything else is still served, and a client
/// that disconnects frees its place.
#[test]
fn uploads_that_are_not_read_hold_no_worker() {
    let backend = ByHand::new();
    let modest = to(&backend, &["--workers", "2", "--proxy-at-once", "32"]);
    let size = 8_000_000; // more than sockets hold
    let upload = || {
        let request = format!("POST /api/ HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
        let mut client = send(&modest, &request);
        client.write_all(&vec![b'x'; size]).unwrap();
        let upstream = backend.next();
        (client, upstream)
    };
    let held: Vec<_> = (0..8).map(|_| upload()).collect();
    assert_eq!(
        modest.get("/a.txt").body,
        "a file",
        "a file is served while 8 uploads wait for a backend that does not read"
    );
    let full = modest.get("/api/x");
    assert!(full.status == 429 && full.body.contains("Too many requests from this address"), "{full:?}");
    backend.asked_nothing();
    // The requests of disconnected clients end at the backend, and their places are free.
    let (clients, upstreams): (Vec<_>, Vec<_>) = held.into_iter().unzip();
    drop(clients);
    let next: Vec<_> = (0..8).map(|_| admitted(&modest, &backend)).collect();
    for (_, mut upstream) in upstreams {
        let mut rest = Vec::new();
        let _ = upstream.read_to_end(&mut rest); // a reset is an end as well
        assert!(rest.len() < size, "the backend must see an incomplete request");
    }
    for (client, mut upstream) in next {
        upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        assert_eq!(all(client).status, 200);
    }
}

/// A request that the backend has, as soon as there is a place for it.
fn admitted(modest: &Built, backend: &ByHand) -> (TcpStream, TcpStream) {
    loop {
        let client = send(modest, "GET /api/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.set_nonblocking(true).unwrap();
        while client.peek(&mut [0]).is_err() {
            if let Ok((_, upstream)) = backend.requests.try_recv() {
                client.set_nonblocking(false).unwrap();
                return (client, upstream);
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

/// Clients that do not send their bodies are not counted as requests in progress.
#[test]
fn unsent_bodies_hold_no_place() {
    let backend = ByHand::new();
    let modest = to(&backend, &["--proxy-at-once", "4"]);
    let idle: Vec<_> = (0..64)
        .map(|_| send(&modest, "POST /api/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegin"))
        .collect();
    assert_eq!(modest.get("/a.txt").body, "a file");
    let client = send(&modest, "GET /api/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let (head, mut upstream) = backend.next();
    assert!(head.starts_with("GET /api/x "), "{head}");
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert_eq!(all(client).status, 200);
    drop(idle);
    backend.asked_nothing();
}

/// One address can have a quarter of the places, and four addresses have all of them. The address is the one that a
/// trusted proxy reports.
#[test]
fn an_address_has_a_quarter_of_the_places() {
    let backend = ByHand::new();
    let modest = to(&backend, &["--proxy-at-once", "8", "--trusted-proxy", "127.0.0.1"]);
    let ask = |number: usize| {
        let from = format!("X-Forwarded-For: 192.0.2.{number}");
        send(&modest, &format!("GET /api/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{from}\r\n\r\n"))
    };
    let mut held: Vec<_> = [1, 1, 2, 2, 3, 3, 4].map(|number| (ask(number), backend.next())).into();
    assert_eq!(all(ask(1)).status, 429);
    held.push((ask(5), backend.next()));
    let full = all(ask(6));
    assert!(full.status == 503 && full.head.to_lowercase().contains("retry-after: 5"), "{full:?}");
    backend.asked_nothing();
}

/// Rights are checked for the path in `Destination`, and the backend gets it as it gets the path of the request.
#[test]
fn destinations_are_paths_of_the_backend() {
    let backend = ByHand::new();
    let places =
        [format!("/api={}/", backend.url), format!("/dav={}/in/", backend.url), format!("/same={}", backend.url)];
    let words = ["--auth", "../users", "--allow", "/=@users:all", "--allow", "/api/priv=@users:read"];
    let words: Vec<&str> = words.into_iter().chain(places.iter().flat_map(|place| ["--proxy", place])).collect();
    let modest = start(&words);
    let host = modest.address.to_string();
    for (method, target, destination, expected) in [
        ("COPY", "/api/f", format!("http://{host}/api/g"), Ok("COPY /f http://HOST/g")),
        ("MOVE", "/api/f", "/api/g%20h".to_owned(), Ok("MOVE /f http://HOST/g%20h")),
        ("COPY", "/dav/f", "/dav/g".to_owned(), Ok("COPY /in/f http://HOST/in/g")),
        ("COPY", "/dav/a%3bb", format!("http://{host}/dav/c%3b%41[d]"), Ok("COPY /in/a%3bb http://HOST/in/c%3b%41[d]")),
        ("COPY", "/same/f", "g%3bh".to_owned(), Ok("COPY /same/f http://HOST/same/g;h")), // resolved here
        ("COPY", "/same/f", "/same/g".to_owned(), Ok("COPY /same/f http://HOST/same/g")),
        ("copy", "/api/f", "/api/g".to_owned(), Ok("copy /f http://HOST/g")),
        ("COPY", "/api/f", "/api/priv/x".to_owned(), Err(403)),
        ("COPY", "/api/f", format!("http://{host}/api/priv/x"), Err(403)),
        ("copy", "/api/f", "/api/priv/x".to_owned(), Err(403)),
        ("COPY", "/api/f", "/priv/x".to_owned(), Err(502)),
        ("copy", "/api/f", "/dav/x".to_owned(), Err(502)),
        ("COPY", "/api/f", "http://other.example/api/x".to_owned(), Err(502)),
        ("COPY", "/api/f", "/api/../x".to_owned(), Err(400)),
        ("COPY", "/api/f", "/api/..;/x".to_owned(), Err(404)),
    ] {
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{AS_ADA}Connection: close\r\nDestination: {destination}\r\n\r\n"
        );
        let client = send(&modest, &request);
        match expected {
            Ok(wanted) => {
                let (head, mut upstream) = backend.next();
                upstream.write_all(b"HTTP/1.1 204 Done\r\n\r\n").unwrap();
                let line = head.lines().next().unwrap().strip_suffix(" HTTP/1.1").unwrap();
                let field = head.lines().filter_map(|line| line.strip_prefix("Destination: ")).collect::<Vec<_>>();
                assert_eq!(format!("{line} {}", field.concat()).replace(&host, "HOST"), wanted, "{head}");
                assert_eq!(all(client).status, 204);
            }
            Err(status) => assert_eq!(all(client).status, status, "{method} {destination}"),
        }
    }
    backend.asked_nothing();
}

/// The backend's redirects lead to its own paths, and a client gets the paths on this server.
#[test]
fn locations_are_paths_of_this_server() {
    let backend = ByHand::new();
    let url = &backend.url;
    let places = [format!("/b={url}/d"), format!("/api={url}/"), format!("/same={url}"), format!("/v={url}/v/1")];
    let words: Vec<&str> = places.iter().flat_map(|place| ["--proxy", place]).collect();
    let (modest, below) = (start(&words), start(&[&words[..], &["--prefix", "/p q"]].concat()));
    let root = start(&["--proxy", &format!("/={url}/d")]);
    for (modest, target, sent, expected) in [
        (&modest, "/b", "Location: /d/", "/b/"),
        (&modest, "/b", "Location: /d", "/b"),
        (&modest, "/b/x", "Content-Location: /d/a%20b?c=/d#e", "/b/a%20b?c=/d#e"),
        (&modest, "/b", "Location: http://HOST/d/x", "http://HOST/b/x"),
        (&modest, "/b", "Location: HTTPS://host/d/x", "HTTPS://host/b/x"),
        (&modest, "/b", "Location: //HOST/d/x", "//HOST/b/x"),
        (&modest, "/b", "Location: BACKEND/d/x?y", "/b/x?y"),
        (&modest, "/b", "Location: BACKEND/d", "/b"),
        // An empty path is `/`, and dot segments are resolved, as the client would do (RFC 9110, section 4.2.3).
        (&modest, "/api/x", "Location: BACKEND", "/api/"),
        (&modest, "/api/x", "Location: BACKEND?q", "/api/?q"),
        (&modest, "/api/x", "Location: BACKEND#f", "/api/#f"),
        (&modest, "/api/x", "Location: http://HOST", "http://HOST/api/"),
        (&modest, "/api/x", "Content-Location: BACKEND/a/../b?q", "/api/b?q"),
        (&modest, "/api/x", "Location: BACKEND/%2e/b/.", "/api/b/"),
        (&modest, "/b", "Location: BACKEND/e/../d/x", "/b/x"),
        (&modest, "/same/x", "Location: BACKEND/same/./y", "/same/y"),
        (&modest, "/b", "Location: BACKEND", "BACKEND"),
        // Unchanged: paths outside that of the backend, URLs of other servers, relative URLs, and URLs without a path.
        (&modest, "/b", "Location: /dd/x", "/dd/x"),
        (&modest, "/b", "Location: /login?to=http://HOST/d/", "/login?to=http://HOST/d/"),
        (&modest, "/b", "Location: BACKEND/e", "BACKEND/e"),
        (&modest, "/b", "Location: http://other.example/d/", "http://other.example/d/"),
        (&modest, "/b", "Location: d/x", "d/x"),
        (&modest, "/b", "Location: ?a=/d/", "?a=/d/"),
        (&modest, "/b", "Location: /d/../x", "/d/../x"),
        (&modest, "/b", "Location: mailto:ada@HOST/d/", "mailto:ada@HOST/d/"),
        (&modest, "/b", "Set-Cookie: a=b; Path=/d", "a=b; Path=/d"),
        // A backend that knows where it is mounted.
        (&modest, "/b", "Location: /b/x", "/b/x"),
        (&modest, "/api/x", "Location: /y", "/api/y"),
        (&modest, "/api/x", "Location: /api/y", "/api/y"),
        (&modest, "/api/x", "Location: /apis", "/api/apis"),
        (&modest, "/v/x", "Location: /v/1/y", "/v/y"),
        (&modest, "/v/x", "Location: /v/y", "/v/y"),
        (&modest, "/same/x", "Location: /same/y", "/same/y"),
        (&modest, "/same/x", "Location: /elsewhere", "/elsewhere"),
        (&modest, "/same/x", "Location: BACKEND/same/y", "/same/y"),
        (&modest, "/same/x", "Location: BACKEND/elsewhere", "BACKEND/elsewhere"),
        (&modest, "/b", "Location: /d/\u{e9}", "/b/\u{e9}"),
        (&modest, "/b", "Location: HOST/d/x", "HOST/d/x"),
        (&root, "/x", "Location: /d", "/"),
        (&root, "/x", "Location: /d?q=1", "/?q=1"),
        (&root, "/x", "Location: /d#f", "/#f"),
        // Browsers read a backslash as a slash, and drop tabs.
        (&root, "/x", "Location: /d/\\evil.example", "/d/\\evil.example"),
        (&root, "/x", "Location: /d/\t/evil.example", "/d/\t/evil.example"),
        (&root, "/x", "Location: BACKEND/d/\\evil.example", "BACKEND/d/\\evil.example"),
        (&root, "/x", "Location: BACKEND/\\evil.example", "BACKEND/\\evil.example"),
        (&root, "/x", "Location: BACKEND//evil.example", "BACKEND//evil.example"),
        (&root, "/x", "Location: BACKEND//d/evil.example", "BACKEND//d/evil.example"),
        (&root, "/x", "Location: /d//evil.example", "/d//evil.example"),
        (&below, "/p%20q/b", "Location: /d/", "/p%20q/b/"),
        (&below, "/p%20q/same/x", "Location: /same/y", "/p%20q/same/y"),
        (&below, "/p%20q/same/x", "Location: /p%20q/same/y", "/p%20q/same/y"),
        (&below, "/p%20q/same/x", "Location: BACKEND/same/y", "/p%20q/same/y"),
    ] {
        let host = modest.address.to_string();
        let real = |text: &str| text.replace("HOST", &host).replace("host", &host).replace("BACKEND", url);
        let client = send(modest, &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        let (_, mut upstream) = backend.next();
        upstream.write_all(format!("HTTP/1.1 302 No\r\n{}\r\n\r\n", real(sent)).as_bytes()).unwrap();
        drop(upstream);
        let got = all(client);
        assert_eq!(got.field(sent.split(':').next().unwrap()), Some(&*real(expected)), "{target} {sent}");
    }
}

/// With the passwords of this server, pages of other sites can't change anything in the application.
#[test]
fn pages_of_other_sites_change_nothing_with_passwords() {
    let backend = ByHand::new();
    let with_users = to(&backend, &["--auth", "../users"]);
    let open = to(&backend, &[]);
    let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    for (server, method, fields, passes) in [
        (&with_users, "POST", "Sec-Fetch-Site: cross-site\r\n", false),
        (&with_users, "POST", "Origin: https://evil.example\r\n", false),
        (&with_users, "post", "Origin: https://evil.example\r\n", false),
        (&with_users, "GET", &*format!("Origin: https://evil.example\r\n{upgrade}"), false),
        (&with_users, "GET", "Sec-Fetch-Site: cross-site\r\n", true),
        (&with_users, "POST", "Sec-Fetch-Site: same-origin\r\n", true),
        (&with_users, "POST", "", true),
        (&open, "POST", "Origin: https://evil.example\r\n", true), // for the application to judge
    ] {
        let close = if fields.contains("upgrade") { "" } else { "Connection: close\r\n" };
        let client = send(
            server,
            &format!("{method} /api/x HTTP/1.1\r\nHost: a\r\n{AS_ADA}{close}{fields}Content-Length: 0\r\n\r\n")
                .replace(if method == "GET" { "Content-Length: 0\r\n" } else { "" }, ""),
        );
        if passes {
            backend.next().1.write_all(b"HTTP/1.1 204 Done\r\n\r\n").unwrap();
            assert_eq!(all(client).status, 204, "{method} {fields}");
        } else {
            let mut client = client;
            let head = String::from_utf8(read_until(&mut client, b"\r\n\r\n").unwrap()).unwrap();
            assert!(head.starts_with("HTTP/1.1 403"), "{method} {fields}: {head}");
        }
    }
    backend.asked_nothing();
}

/// A 401 of the application does not ask for the password of this server.
#[test]
fn refusals_of_the_application_ask_for_no_password() {
    let backend = ByHand::new();
    let modest = to(&backend, &["--auth", "../users"]);
    let client = send(&modest, &format!("GET /api/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{AS_ADA}\r\n"));
    let answer = b"HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\n\r\n";
    backend.next().1.write_all(answer).unwrap();
    let got = all(client);
    assert!(got.status == 401 && !got.head.to_lowercase().contains("www-authenticate"), "{got:?}");
    let nobody = all(send(&modest, "GET /api/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    assert!(nobody.status == 401 && nobody.head.contains("Basic realm"), "{nobody:?}");
}

/// A client that has closed its sending side and acknowledges nothing counts as disconnected, with or without a
/// complete request.
#[test]
fn clients_that_leave_a_silent_response_give_up_their_place() {
    let backend = ByHand::new();
    let modest = to(&backend, &["--proxy-at-once", "1"]);
    let mut client = send(&modest, "GET /api/ HTTP/1.1\r\nHost: a\r\n\r\n");
    let (_, mut upstream) = backend.next();
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n").unwrap();
    read_until(&mut client, b"data: 1").unwrap();
    client.shutdown(Shutdown::Write).unwrap(); // as a browser's socket does, whose system still acknowledges probes
    let ended = upstream.read(&mut [0; 1]);
    assert!(matches!(ended, Ok(0)), "{ended:?}");
}

/// The backend evaluates conditions and ranges of the client.
#[test]
fn conditions_and_ranges_are_the_backends() {
    let backend = ByHand::new();
    let modest = to(&backend, &[]);
    let answer = "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nLast-Modified: Sun, 22 Nov 2020 09:00:00 GMT\r\nAccept-Ranges: bytes\r\nContent-Length: 3\r\n\r\n";
    for method in ["GET", "HEAD"] {
        for field in [
            "If-None-Match: \"a\"",
            "If-None-Match: *",
            "If-Match: \"x\"",
            "If-Modified-Since: Sun, 22 Nov 2026 09:00:00 GMT",
            "If-Unmodified-Since: Sun, 22 Nov 2015 09:00:00 GMT",
            "Range: bytes=0-0",
            "Range: bytes=7-",
        ] {
            let request = format!("{method} /api/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{field}\r\n\r\n");
            let client = send(&modest, &request);
            let (head, mut upstream) = backend.next();
            assert!(head.lines().any(|line| line == field), "{field} is missing in {head}");
            let body = if method == "HEAD" { "" } else { "abc" };
            upstream.write_all((answer.to_owned() + body).as_bytes()).unwrap();
            let got = all(client);
            assert_eq!((got.status, got.body.as_str()), (200, body), "{method} {field}: {got:?}");
            assert!(got.head.to_lowercase().contains("\r\netag: \"a\"\r\n"), "{method} {field}: {got:?}");
        }
    }
}

/// There are more silent streams and waiting requests than workers.
#[test]
fn waiting_requests_hold_no_worker() {
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
    assert_eq!(modest.get("/a.txt").body, "a file", "a file is served while 12 requests wait");
    for (number, (client, upstream)) in streams.iter_mut().enumerate() {
        if number % 2 == 0 {
            upstream.write_all(b"data: 2\n\n").unwrap();
            read_until(client, b"data: 2\n\n").unwrap();
        }
    }
    // A disconnect of the client ends the request at the backend, and an end of the backend ends the stream.
    let (client, mut upstream) = streams.swap_remove(0);
    client.shutdown(Shutdown::Both).unwrap();
    drop(client);
    upstream.set_read_timeout(Some(Duration::from_secs(100))).unwrap();
    while upstream.write_all(b"data: 3\n\n").is_ok() {
        std::thread::sleep(Duration::from_micros(100));
    }
    let (mut client, upstream) = streams.swap_remove(2);
    drop(upstream);
    read_until(&mut client, b"0\r\n\r\n").unwrap();
    // A shutdown does not wait for event streams.
    let Started(modest, _files) = modest;
    let (status, ..) = modest.stop();
    assert!(status.success(), "{status}");
}

/// An event stream that begins after the shutdown has begun also ends.
#[test]
fn events_that_begin_during_a_shutdown_end() {
    let backend = ByHand::new();
    let Started(modest, _files) = to(&backend, &["--shutdown-timeout", "100s"]);
    let mut client = send(&modest, "GET /api/events HTTP/1.1\r\nHost: a\r\n\r\n");
    let (_, mut upstream) = backend.next();
    let address = modest.address;
    let stopping = std::thread::spawn(move || modest.stop());
    while TcpStream::connect(address).is_ok() {
        std::thread::sleep(Duration::from_micros(100)); // until the shutdown has begun
    }
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n").unwrap();
    // Only the backend knows whether the events are complete, so they must not look complete.
    let mut came = Vec::new();
    let end = client.read_to_end(&mut came);
    assert!(end.is_err() && !came.ends_with(b"0\r\n\r\n"), "{}", came.escape_ascii());
    let (status, ..) = stopping.join().unwrap();
    assert!(status.success(), "{status}");
}

/// Requests that the backend has when the shutdown begins get their responses in any order, with any number of workers.
/// A request without a response is cut off at the end of the shutdown.
#[test]
fn requests_that_wait_during_a_shutdown_hold_no_worker() {
    let backend = ByHand::new();
    let Started(modest, _files) = to(&backend, &["--shutdown-timeout", "5s", "--workers", "1"]);
    let mut waiting = Vec::new();
    for number in 0..5 {
        let client = send(&modest, &format!("GET /api/{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
        waiting.push((client, backend.next().1));
    }
    let address = modest.address;
    let stopping = std::thread::spawn(move || modest.stop());
    while TcpStream::connect(address).is_ok() {
        std::thread::sleep(Duration::from_micros(100)); // until the shutdown has begun
    }
    for (number, (client, upstream)) in waiting.iter_mut().enumerate().skip(1).rev() {
        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}");
        upstream.write_all(response.as_bytes()).unwrap();
        let came = String::from_utf8(read_until(client, format!("\r\n\r\n{number}").as_bytes()).unwrap()).unwrap();
        assert!(came.starts_with("HTTP/1.1 200"), "{came}");
    }
    let (mut first, _upstream) = waiting.swap_remove(0);
    let broken = first.read(&mut [0; 1]);
    assert!(broken.is_err(), "{broken:?}");
    stopping.join().unwrap();
}

/// RFC 9110, section 7.6.2.
#[test]
fn options_are_forwarded_a_limited_number_of_times() {
    let backend = ByHand::new();
    let modest = to(&backend, &[]);
    for (sent, forwarded) in [("1", "0"), ("10", "9"), ("007", "6"), ("99999999999999999999", "18446744073709551614")] {
        let head = format!("OPTIONS /api/x HTTP/1.1\r\nHost: a\r\nMax-Forwards: {sent}\r\nConnection: close\r\n\r\n");
        let client = send(&modest, &head);
        let (head, mut upstream) = backend.next();
        assert!(head.lines().any(|line| line == format!("Max-Forwards: {forwarded}")), "{sent}: {head}");
        upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        assert_eq!(all(client).status, 200, "{sent}");
    }
    for sent in ["0", "000"] {
        let head = format!("OPTIONS /api/x HTTP/1.1\r\nHost: a\r\nMax-Forwards: {sent}\r\nConnection: close\r\n\r\n");
        assert_eq!(all(send(&modest, &head)).status, 204, "{sent}");
    }
    backend.asked_nothing();
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
        let echoing = std::thread::spawn(move || sending.write_all(&vec![b'z'; 1_000_000]).unwrap());
        let mut got = vec![0; large.len()];
        upstream.read_exact(&mut got).unwrap();
        echoing.join().unwrap();
        assert!(got == large);
        let (one, other) = if upstream_first { (&mut upstream, &mut client) } else { (&mut client, &mut upstream) };
        one.write_all(b"the last").unwrap();
        one.shutdown(Shutdown::Write).unwrap();
        let mut came = String::new();
        other.read_to_string(&mut came).unwrap();
        assert_eq!(
            came, "the last",
            "the last bytes and the end must arrive; the backend ends first: {upstream_first}"
        );
        other.write_all(b"not yet").unwrap();
        read_until(one, b"not yet").unwrap();
        other.shutdown(Shutdown::Write).unwrap();
        assert!(built::ended(one), "the other side must see the end; the backend ends first: {upstream_first}");
    }
    // The backend can reject the upgrade.
    let client = send(&modest, &request.replace("keep-alive, ", "close, "));
    let (_, mut upstream) = backend.next();
    upstream.write_all(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno").unwrap();
    let got = all(client);
    assert_eq!((got.status, got.body.as_str()), (403, "no"), "{got:?}");
    // In HTTP/1.0 the field has no meaning (RFC 9110, section 7.8).
    let client = send(&modest, &request.replace("HTTP/1.1", "HTTP/1.0").replace("keep-alive, ", "close, "));
    let (head, mut upstream) = backend.next();
    assert!(!head.to_lowercase().contains("upgrade"), "{head}");
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    let got = all(client);
    assert_eq!((got.status, got.body.as_str()), (200, "ok"), "{got:?}");
}

/// A response that arrives in time counts, even if the program has been stopped until after the timeout.
#[test]
fn a_stopped_program_reads_before_it_looks_at_the_clock() {
    let backend = ByHand::new();
    let modest = to(&backend, &["--proxy-timeout", "1s"]);
    let client = send(&modest, "GET /api/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let (_, mut upstream) = backend.next();
    modest.signal(Signal::STOP);
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    std::thread::sleep(Duration::from_millis(1500)); // longer than the timeout
    modest.signal(Signal::CONT);
    let got = all(client);
    assert_eq!((got.status, got.body.as_str()), (200, "ok"), "{got:?}");
}

/// `--proxy` together with `--auth`, `--prefix`, `--allow` and other paths.
#[test]
fn proxy_works_with_other_options() {
    let backend = ByHand::new();
    let modest = to(&backend, &["--auth", "../users"]);
    assert_eq!(modest.get("/api/x").status, 401);
    assert_eq!(modest.ask("POST", "/api/x", &[], "body").status, 401);
    backend.asked_nothing();
    let client = send(
        &modest,
        &format!(
            "POST /api/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{AS_ADA}X-Forwarded-User: bob\r\nContent-Length: 2\r\n\r\nab"
        ),
    );
    let (head, mut upstream) = backend.next();
    assert!(!head.to_lowercase().contains("authorization"), "{head}");
    assert!(head.contains("\r\nX-Forwarded-User: ada\r\n"), "{head}");
    // The client's answer to the backend's challenge would not reach it, so the client gets a challenge of this server.
    upstream.write_all(b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"b\"\r\nContent-Length: 0\r\n\r\n").unwrap();
    let got = all(client);
    assert!(got.status == 401 && !got.head.contains("realm=\"b\""), "{got:?}");

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
    // A user who may only write learns nothing about the backend.
    let modest = to(&backend, &["--allow", "/=*:read", "--allow", "/api=*:write"]);
    assert_eq!(modest.ask("GET", "/api/", &["Accept: text/html"], "").status, 403);
    assert_eq!(modest.get("/api/").status, 403);
    backend.asked_nothing();
    // The backend gets all paths that no folder has.
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
        (&["--proxy", "/api=https://a"], "the connection to the backend is not encrypted"),
        (&["--proxy", "api=http://a"], "expected a path that starts with a slash"),
        (&["--proxy", "/api=http://a", "--proxy", "/api/=http://b"], "/api/ was given twice"),
        (&["/api=.", "--proxy", "/api=http://a"], "a folder is served at /api/ already"),
        (&[".", "--proxy", "/=http://a"], "a folder is served at / already"),
        (&["--proxy-timeout", "3s"], "--proxy-timeout has no effect without --proxy"),
        (&["--proxy-at-once", "3"], "--proxy-at-once has no effect without --proxy"),
        (&["--proxy-body-limit", "3k"], "--proxy-body-limit has no effect without --proxy"),
        (
            &["--proxy", "/api=http://a", "--proxy-body-limit", "2k", "--body-quota", "1k"],
            "--proxy-body-limit and --body-quota contradict each other",
        ),
        (&["--confine", "--proxy", "/api=http://127.0.0.1:3000"], "--body-folder is needed"),
        (
            &["--confine", "--body-folder", "/tmp", "--proxy", "/api=http://backend:3000"],
            "a confined server can't look up the names of hosts",
        ),
    ] {
        if is_rejected_by_the_system(words) {
            continue;
        }
        let (status, _, said) = run(modest(["-p", "0"]).args(words));
        assert!(status == Some(2) && said.contains(expected), "{words:?}: {said}");
    }
}
