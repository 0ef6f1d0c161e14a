//! `--proxy`: on which connections the backend gets its requests. The test plays the backend: it gets each request with
//! the number of its connection.

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use rustix::process::Signal;

use crate::built::{Answer, Built, PATIENCE, folder, modest, read_answer, read_until};

/// An event at the backend.
#[derive(Debug)]
enum Seen {
    /// A head, on the connection with this number.
    Head(usize, String, TcpStream),
    /// The end of the connection.
    End(usize),
}

struct Backend {
    address: SocketAddr,
    seen: Receiver<Seen>,
}

impl Backend {
    fn new() -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, (sender, seen)) = (listener.local_addr().unwrap(), channel());
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let (stream, sender) = (stream.unwrap(), sender.clone());
                std::thread::spawn(move || read_heads(number, stream, &sender));
            }
        });
        Backend { address, seen }
    }

    #[track_caller]
    fn next(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("an event of the backend")
    }

    /// The next head, with its connection.
    #[track_caller]
    fn head(&self) -> (usize, String, TcpStream) {
        loop {
            if let Seen::Head(number, head, stream) = self.next() {
                return (number, head, stream);
            }
        }
    }

    /// Waits until this connection has ended. No request may come before that.
    #[track_caller]
    fn wait_for_end(&self, number: usize) {
        loop {
            match self.next() {
                Seen::End(ended) if ended == number => return,
                Seen::End(_) => {}
                Seen::Head(on, head, _) => panic!("on connection {on}: {head}"),
            }
        }
    }
}

/// Reads heads, and the bodies that they announce, until the end.
fn read_heads(number: usize, mut stream: TcpStream, sender: &Sender<Seen>) {
    while let Ok(head) = read_until(&mut stream, b"\r\n\r\n") {
        let head = String::from_utf8(head).unwrap();
        let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        stream.read_exact(&mut vec![0; length.unwrap_or(0)]).unwrap();
        let _ = sender.send(Seen::Head(number, head, stream.try_clone().unwrap())); // the test may have ended
    }
    let _ = sender.send(Seen::End(number));
}

/// The program, and its folder.
struct Started(Built, tempfile::TempDir);

fn start(backend: SocketAddr, words: &[&str]) -> Started {
    let files = folder(&[("a.txt", "a file")]);
    let proxy = format!("/api=http://{backend}");
    let built = Built::start(modest(["-p", "0", "--proxy", &proxy]).args(words).current_dir(files.path()));
    Started(built, files)
}

/// A head with these lines.
fn lines(text: &str) -> String {
    format!("{}\r\n\r\n", text.replace('|', "\r\n"))
}

/// Sends a request. `text` has its lines, and then its body.
fn send(started: &Started, text: &str) -> TcpStream {
    let mut client = started.0.connect();
    let (head, body) = text.split_once("||").unwrap_or((text, ""));
    let (first, rest) = head.split_once('|').unwrap_or((head, "X: y"));
    let bytes = lines(&format!("{first} HTTP/1.1|Host: a|{rest}")) + &body.replace('|', "\r\n");
    client.write_all(bytes.as_bytes()).unwrap();
    client
}

fn respond(stream: &mut TcpStream, text: &str) {
    let (head, body) = text.split_once("||").unwrap_or((text, ""));
    stream.write_all((lines(&format!("HTTP/{head}")) + &body.replace('|', "\r\n")).as_bytes()).unwrap();
}

/// The whole response to a client that does not wait for its end.
fn status(client: &mut TcpStream) -> u16 {
    let head = String::from_utf8(read_until(client, b"\r\n\r\n").unwrap()).unwrap();
    Answer::read(&head).status
}

const OK: &str = "1.1 200 OK|Content-Length: 2||ok";

/// Sends a GET whose path has this name, answers it with that name, and checks that it arrives. Returns the number of
/// the connection.
#[track_caller]
fn get(started: &Started, backend: &Backend, name: &str) -> usize {
    let mut client = send(started, &format!("GET /api/{name}"));
    let (number, head, mut stream) = backend.head();
    assert!(head.starts_with(&format!("GET /api/{name} ")), "{name}: {head}");
    respond(&mut stream, &format!("1.1 200 OK|Content-Length: {}||{name}", name.len()));
    let answer = read_answer(&mut client);
    assert_eq!((answer.status, answer.body.as_str()), (200, name));
    number
}

/// A connection is used again only if nothing of the exchange can be left on it, and nothing depends on it.
#[test]
fn connections_are_kept_after_exchanges_that_leave_nothing() {
    let backend = Backend::new();
    for (request, response, is_kept) in [
        ("GET /api/", OK, true),
        ("GET /api/", "1.1 200 OK|Content-Length: 0", true),
        ("GET /api/", "1.1 200 OK|Transfer-Encoding: chunked||2|ok|0||", true),
        ("GET /api/", "1.1 200 OK|Transfer-Encoding: chunked||2;a=\"b\"|ok|0;c|T: x||", true),
        ("GET /api/", "1.1 404 No|Content-Length: 2||no", true),
        ("GET /api/", "1.1 302 Found|Content-Length: 0", true),
        ("GET /api/", "1.1 200 OK|Connection: keep-alive|Content-Length: 2||ok", true),
        ("OPTIONS /api/", OK, true),
        ("HEAD /api/", "1.1 200 OK|Content-Length: 0", true),
        ("GET /api/|Authorization: Basic YTpi", OK, true),
        ("GET /api/|Authorization: bearer abc", OK, true),
        ("GET /api/|Cookie: a=b|Expect: 100-continue|TE: trailers", OK, true),
        ("GET /api/|Connection: Upgrade, HTTP2-Settings|Upgrade: h2c|HTTP2-Settings: AA", OK, true),
        // Fields of the client about its own connection.
        ("GET /api/|Connection: close", OK, true),
        // Requests that are more than a head, or that a backend can take for it.
        ("GET /api/|Content-Length: 2||ab", OK, false),
        ("GET /api/|Content-Length: 0", OK, false),
        ("GET /api/|Transfer-Encoding: chunked||2|ab|0||", OK, false),
        ("POST /api/|Content-Length: 2||ab", OK, false),
        ("POST /api/|Content-Length: 0", OK, false),
        ("PUT /api/|Content-Length: 42||GET /api/hidden HTTP/1.1|Host: hidden||", OK, false),
        ("DELETE /api/", OK, false),
        ("SPAM /api/", OK, false),
        ("get /api/", OK, false),
        ("GET /api/|Connection: upgrade|Upgrade: websocket", OK, false),
        // Users of the connection.
        ("GET /api/|Authorization: NTLM TlRMTVNTUAAB", OK, false),
        ("GET /api/|Authorization: Negotiate YII", OK, false),
        ("GET /api/|Authorization: negotiate YII", OK, false),
        ("GET /api/|Authorization: Own abc", OK, false),
        ("GET /api/|Authorization:", OK, false),
        ("GET /api/", "1.1 401 No|WWW-Authenticate: NTLM|Content-Length: 2||no", false),
        (
            "GET /api/",
            "1.1 401 No|WWW-Authenticate: Basic realm=a|WWW-Authenticate: Negotiate|Content-Length: 0",
            false,
        ),
        ("GET /api/", "1.1 200 OK|WWW-Authenticate: Negotiate oYH1|Content-Length: 2||ok", false),
        // Responses whose end is not certain, or is the end of the connection.
        ("GET /api/", "1.1 200 OK|Connection: close|Content-Length: 2||ok", false),
        ("GET /api/", "1.1 200 OK|Connection: x, Close|Content-Length: 2||ok", false),
        ("GET /api/", "1.0 200 OK|Connection: keep-alive|Content-Length: 2||ok", false),
        ("GET /api/", "1.1 204 No", false),
        ("GET /api/", "1.1 304 Same|ETag: \"a\"", false),
        ("GET /api/", "1.1 304 Same|Content-Length: 2", false),
        ("HEAD /api/", "1.1 200 OK|Content-Length: 2", false),
        ("HEAD /api/", "1.1 200 OK|Content-Length: 2||ok", false),
        ("HEAD /api/", "1.1 200 OK|Transfer-Encoding: chunked", false),
        ("GET /api/", "1.1 103 Early|Link: x||HTTP/1.1 200 OK|Content-Length: 2||ok", false),
        ("GET /api/", "1.1 100 Continue||HTTP/1.1 200 OK|Content-Length: 2||ok", false),
        ("GET /api/", "1.1 400 No|Content-Length: 2||no", false),
        ("GET /api/", "1.1 408 No|Content-Length: 2||no", false),
        ("GET /api/", "1.1 500 No|Content-Length: 2||no", false),
        ("GET /api/", "1.1 200 OK|Content-Length: 2|Transfer-Encoding: chunked||0||", false),
        ("GET /api/", "1.1 200 OK|Content-Length: 2|Content-Length: 3||abc", false),
        ("GET /api/", "1.1 200 OK|Transfer-Encoding: gzip, chunked||0||", false),
        // Bytes after the end.
        ("GET /api/", "1.1 200 OK|Content-Length: 2||okx", false),
        ("GET /api/", "1.1 200 OK|Content-Length: 0||HTTP/1.1 200 OK|Content-Length: 6||hidden", false),
        ("GET /api/", "1.1 200 OK|Transfer-Encoding: chunked||2|ok|0|||", false),
        ("GET /api/", "1.1 204 No||hidden", false),
    ] {
        let started = start(backend.address, &["--proxy-idle-timeout", "none"]);
        let what = format!("{request} {response}");
        let mut client = send(&started, request);
        let (first, head, mut stream) = backend.head();
        let may_share = !head.contains("\r\nConnection: ");
        assert!(may_share || !is_kept, "{what}: {head}");
        respond(&mut stream, response);
        // The connection is kept before the end of the response is passed on, but not before its head.
        let head = String::from_utf8(read_until(&mut client, b"\r\n\r\n").unwrap()).unwrap();
        if is_kept {
            let body = response.split_once("||").map_or("", |(_, body)| body);
            let end = if head.contains("chunked") { "\r\n0\r\n\r\n" } else { body };
            read_until(&mut client, end.as_bytes()).unwrap();
        } else {
            backend.wait_for_end(first);
        }
        let second = get(&started, &backend, "next");
        assert_eq!(first == second, is_kept, "{what}");
        drop((client, started));
        backend.wait_for_end(second);
    }
}

/// Bytes that come after the response has been passed on.
#[test]
fn bytes_without_a_request_end_a_kept_connection() {
    let backend = Backend::new();
    let started = start(backend.address, &["--proxy-idle-timeout", "none"]);
    for junk in ["x", "\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden", "HTTP/1.1 408 Late\r\n\r\n"] {
        let mut client = send(&started, "GET /api/");
        let (first, _, mut stream) = backend.head();
        respond(&mut stream, OK);
        assert_eq!(read_answer(&mut client).body, "ok");
        stream.write_all(junk.as_bytes()).unwrap();
        backend.wait_for_end(first); // even without a further request
        assert_ne!(get(&started, &backend, "next"), first, "{junk:?}");
    }
}

/// The second request of a connection fails before there is a byte of its response: it is sent once more. A request
/// with a connection of its own, or with a first byte of its response, is not sent again.
#[test]
fn requests_are_repeated_if_a_kept_connection_has_ended() {
    let backend = Backend::new();
    for (request, response, expected) in [
        ("GET /api/again", Some(""), 200),
        ("HEAD /api/again", Some(""), 200),
        ("OPTIONS /api/again", Some(""), 200),
        ("GET /api/again", Some("HTTP/1.1 408 Late\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"), 200),
        ("GET /api/again", Some("HTTP/1.1 200"), 502),
        ("GET /api/again", Some("HTTP/1.1 100 Continue\r\n\r\n"), 502),
        ("GET /api/again", Some("nothing of HTTP\r\n\r\n"), 502),
        ("POST /api/again", None, 200),
        ("GET /api/again|Content-Length: 2||ab", None, 200),
        ("GET /api/again|Authorization: NTLM a", None, 200),
        ("GET /api/again|Connection: upgrade|Upgrade: x", None, 200),
    ] {
        let started = start(backend.address, &["--proxy-idle-timeout", "none"]);
        let kept = get(&started, &backend, "first");
        let mut client = send(&started, request);
        if let Some(response) = response {
            let (number, _, mut stream) = backend.head();
            assert_eq!(number, kept, "{request}");
            stream.write_all(response.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Both).unwrap();
        }
        if expected == 200 {
            let (number, head, mut stream) = backend.head();
            assert_ne!(number, kept, "{request}: {head}");
            respond(&mut stream, "1.1 200 OK|Content-Length: 0");
        }
        assert_eq!(status(&mut client), expected, "{request} {response:?}");
    }
    // Only once, and never on a new connection.
    let started = start(backend.address, &["--proxy-idle-timeout", "none"]);
    get(&started, &backend, "first");
    let mut client = send(&started, "GET /api/again");
    for _ in 0..2 {
        backend.head().2.shutdown(Shutdown::Both).unwrap();
    }
    assert_eq!(status(&mut client), 502);
    drop(started);
    while let Ok(seen) = backend.seen.try_recv() {
        assert!(matches!(seen, Seen::End(_)), "{seen:?}");
    }
}

/// The body of the next response, with or without a length.
fn read_body(client: &mut TcpStream) -> String {
    let head = String::from_utf8(read_until(client, b"\r\n\r\n").unwrap()).unwrap();
    let mut answer = Answer::read(&head);
    if let Some(length) = answer.field("content-length").and_then(|length| length.parse().ok()) {
        let mut body = vec![0; length];
        client.read_exact(&mut body).unwrap();
        return String::from_utf8(body).unwrap();
    }
    answer.body = String::from_utf8(read_until(client, b"0\r\n\r\n").unwrap()).unwrap();
    answer.unchunked()
}

/// A response arrives in two parts, one right after the other, or so late that a thread continues it.
#[test]
fn responses_on_kept_connections_arrive_in_parts() {
    let backend = Backend::new();
    let started = start(backend.address, &["--proxy-idle-timeout", "none"]);
    let kept = get(&started, &backend, "first");
    let mut client = started.0.connect();
    for response in [
        "1.1 200 OK|Content-Length: 12||Hello, World",
        "1.1 200 OK|Transfer-Encoding: chunked||7|Hello, |5;x=y|World|0|T: x||",
        "1.1 404 No|Content-Length: 0",
    ] {
        let (head, body) = response.split_once("||").unwrap_or((response, ""));
        let bytes = lines(&format!("HTTP/{head}")) + &body.replace('|', "\r\n");
        for cut in 1..bytes.len() {
            client.write_all(lines("GET /api/ HTTP/1.1|Host: a").as_bytes()).unwrap();
            let (number, _, mut stream) = backend.head();
            assert_eq!(number, kept, "{cut} of {bytes:?}");
            let (first, second) = bytes.split_at(cut);
            stream.write_all(first.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis([0, 1, 15][cut % 3]));
            stream.write_all(second.as_bytes()).unwrap();
            let expected = if body.is_empty() { "" } else { "Hello, World" };
            assert_eq!(read_body(&mut client), expected, "{cut} of {bytes:?}");
        }
    }
}

/// A reset is not treated as the end of a body without a length, whether a thread continues the response or not.
#[test]
fn responses_that_are_reset_on_kept_connections_are_incomplete() {
    let backend = Backend::new();
    let started = start(backend.address, &["--proxy-idle-timeout", "none"]);
    for delay in [0, 0, 1, 2, 4, 8, 20] {
        for response in ["HTTP/1.1 200 OK\r\n\r\npart", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart"] {
            let kept = get(&started, &backend, "first");
            let mut client = send(&started, "GET /api/|Connection: close");
            let (number, _, mut stream) = backend.head();
            assert_eq!(number, kept);
            stream.write_all(response.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(delay));
            set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
            stream.shutdown(Shutdown::Read).unwrap(); // ends the thread that reads from it
            drop(stream);
            let mut received = Vec::new();
            let end = client.read_to_end(&mut received);
            let text = String::from_utf8_lossy(&received);
            let is_reset = end.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
            let is_failure = text.starts_with("HTTP/1.1 502 ") && end.is_ok();
            assert!(is_failure || is_reset, "after {delay} ms, {response:?}: {text:?}, {end:?}");
        }
    }
}

/// More bytes are in the socket than one read takes, and no further event comes for them.
#[test]
fn a_burst_of_interim_responses_is_read_to_its_end() {
    let backend = Backend::new();
    let words = ["--proxy-idle-timeout", "none", "--proxy-timeout", "none"];
    let started = start(backend.address, &words);
    let interim = lines(&format!("HTTP/1.1 103 Early Hints|Link: </{}>", "x".repeat(930)));
    for kib in [40, 64, 80, 100] {
        get(&started, &backend, "first");
        let mut client = started.0.connect();
        client.write_all(lines("GET /api/ HTTP/1.1|Host: a").as_bytes()).unwrap();
        let (_, _, mut stream) = backend.head();
        let long = "x".repeat(20_000_000); // so that the system's buffers grow
        let sending = std::thread::spawn(move || {
            respond(&mut stream, &format!("1.1 200 OK|Content-Length: {}||{long}", long.len()));
        });
        assert_eq!(read_body(&mut client).len(), 20_000_000);
        sending.join().unwrap();
        client.write_all(lines("GET /api/ HTTP/1.1|Host: a").as_bytes()).unwrap();
        let (_, _, mut stream) = backend.head();
        started.0.signal(Signal::STOP);
        let bytes = interim.repeat(kib * 1024 / interim.len() + 1) + &lines("HTTP/1.1 200 OK|Content-Length: 2") + "ok";
        let sending = std::thread::spawn(move || stream.write_all(bytes.as_bytes()).map(|()| stream));
        std::thread::sleep(Duration::from_millis(100)); // until all of it has arrived
        started.0.signal(Signal::CONT);
        assert_eq!(read_body(&mut client), "ok", "{kib} KiB");
        sending.join().unwrap().unwrap();
    }
}

/// Bodies of many lengths, in each form, on one connection.
#[test]
fn long_responses_pass_on_kept_connections() {
    let backend = Backend::new();
    let started = start(backend.address, &["--proxy-idle-timeout", "none"]);
    let kept = get(&started, &backend, "first");
    let mut client = started.0.connect();
    for length in [0, 1, 1000, 32_767, 32_768, 32_769, 65_536, 70_000, 1_000_000] {
        for is_chunked in [false, true] {
            let body: String = ('a'..='z').cycle().take(length).collect();
            client.write_all(lines("GET /api/ HTTP/1.1|Host: a").as_bytes()).unwrap();
            let (number, _, mut stream) = backend.head();
            assert_eq!(number, kept, "{length}");
            let bytes = if is_chunked {
                let chunks = body.as_bytes().chunks(10_000).map(|chunk| String::from_utf8_lossy(chunk));
                let chunks: String = chunks.map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
                lines("HTTP/1.1 200 OK|Transfer-Encoding: chunked") + &chunks + "0\r\n\r\n"
            } else {
                lines(&format!("HTTP/1.1 200 OK|Content-Length: {length}")) + &body
            };
            let sending = std::thread::spawn(move || stream.write_all(bytes.as_bytes()));
            assert!(read_body(&mut client) == body, "{length}, chunked: {is_chunked}");
            sending.join().unwrap().unwrap();
        }
    }
    client.write_all(lines("GET /api/ HTTP/1.1|Host: a").as_bytes()).unwrap();
    let (number, _, mut stream) = backend.head();
    assert_eq!(number, kept);
    respond(&mut stream, "1.1 200 OK||until the end");
    stream.shutdown(Shutdown::Both).unwrap();
    assert_eq!(read_body(&mut client), "until the end");
}

/// Requests that wait for a response on pooled connections hold neither a thread nor a worker, also during a shutdown.
#[test]
fn requests_on_kept_connections_wait_without_threads() {
    const REQUESTS: usize = 40;
    let backend = Backend::new();
    let words = ["--proxy-idle-timeout", "none", "--workers", "1", "--shutdown-timeout", "20s"];
    let started = start(backend.address, &words);
    let ask = || -> Vec<_> { (0..REQUESTS).map(|_| (send(&started, "GET /api/"), backend.head())).collect() };
    let first = ask();
    let kept: HashSet<_> = first.iter().map(|(_, (number, ..))| *number).collect();
    for (mut client, (_, _, mut stream)) in first {
        respond(&mut stream, OK);
        assert_eq!(read_answer(&mut client).body, "ok");
    }
    let folder = format!("/proc/{}/task", started.0.pid().as_raw_nonzero());
    let threads = || {
        let tasks = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let names = tasks.map(|task| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default());
        names.filter(|name| name.trim() == "proxy").count()
    };
    let begun = Instant::now();
    while threads() > 0 {
        assert!(begun.elapsed() < PATIENCE, "{} threads are left", threads());
        std::thread::sleep(Duration::from_millis(100)); // they end after 10 seconds without a request
    }
    let waiting = ask();
    assert!(waiting.iter().all(|(_, (number, ..))| kept.contains(number)));
    assert_eq!(threads(), 0);
    let Started(modest, _files) = started;
    let address = modest.address;
    let stopping = std::thread::spawn(move || modest.stop());
    while TcpStream::connect(address).is_ok() {
        std::thread::sleep(Duration::from_micros(100)); // until the shutdown has begun
    }
    for (mut client, (_, _, mut stream)) in waiting {
        respond(&mut stream, OK);
        assert_eq!(read_answer(&mut client).body, "ok");
    }
    let (status, ..) = stopping.join().unwrap();
    assert!(status.success(), "{status}");
}

/// A backend ends its connection right after each response, a little later, or when it is restarted.
#[test]
fn ends_of_the_backend_cost_no_request() {
    let backend = Backend::new();
    let started = start(backend.address, &["--proxy-idle-timeout", "none"]);
    for round in 0..200 {
        let name = round.to_string();
        let mut client = send(&started, &format!("GET /api/{name}"));
        let (_, _, mut stream) = backend.head();
        respond(&mut stream, &format!("1.1 200 OK|Content-Length: {}||{name}", name.len()));
        if round % 2 == 0 {
            stream.shutdown(Shutdown::Both).unwrap();
        }
        assert_eq!(read_answer(&mut client).body, name);
        stream.shutdown(Shutdown::Write).unwrap_or_default(); // after the client has the response
    }
    let serve = |listener: TcpListener| {
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        let head = read_until(&mut stream, b"\r\n\r\n").unwrap();
        respond(&mut stream, OK);
        (stream, head)
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let started = start(address, &["--proxy-idle-timeout", "none"]);
    let mut listener = Some(listener);
    for _ in 0..3 {
        let listener = listener.take().unwrap_or_else(|| TcpListener::bind(address).unwrap());
        let mut client = send(&started, "GET /api/");
        let (stream, _) = serve(listener);
        assert_eq!(read_answer(&mut client).body, "ok");
        drop(stream); // the connection and the listener have ended
    }
}

/// A client that leaves before the end of its response takes the connection with it.
#[test]
fn clients_that_leave_end_their_connection() {
    let backend = Backend::new();
    let started = start(backend.address, &["--proxy-idle-timeout", "none"]);
    for (response, is_begun) in [
        ("", false),
        ("1.1 200 OK|Content-Length: 9||some", true),
        ("1.1 200 OK|Transfer-Encoding: chunked||4|some|", true),
    ] {
        for is_first in [true, false] {
            let kept = if is_first { None } else { Some(get(&started, &backend, "before")) };
            let mut client = send(&started, "GET /api/");
            let (first, _, mut stream) = backend.head();
            assert!(kept.is_none_or(|kept| kept == first), "{response}");
            if is_begun {
                respond(&mut stream, response);
                read_until(&mut client, b"\r\n\r\n").unwrap();
                client.peek(&mut [0]).unwrap(); // closed with unread bytes: a reset
            }
            drop(client);
            backend.wait_for_end(first);
            assert_ne!(get(&started, &backend, "next"), first, "{response}, the first of its connection: {is_first}");
            // A POST closes the oldest kept connection, so none is left for the next round.
            let mut client = send(&started, "POST /api/");
            respond(&mut backend.head().2, OK);
            status(&mut client);
        }
    }
}

/// A silent backend causes a 504 in time, even on a connection that has served requests before, and the connection ends.
#[test]
fn silent_backends_are_late_on_a_kept_connection() {
    let backend = Backend::new();
    let started = start(backend.address, &["--proxy-idle-timeout", "none", "--proxy-timeout", "300ms"]);
    let kept = get(&started, &backend, "first");
    let mut client = send(&started, "GET /api/silent");
    let (number, ..) = backend.head();
    assert_eq!((number, status(&mut client)), (kept, 504));
    assert_ne!(get(&started, &backend, "next"), kept);
    // A slow response is not late.
    let mut client = send(&started, "GET /api/slow");
    let (_, _, mut stream) = backend.head();
    respond(&mut stream, "1.1 200 OK|Content-Length: 8||slow");
    read_until(&mut client, b"slow").unwrap();
    assert_eq!(get(&started, &backend, "beside"), kept + 2);
    stream.write_all(b"slow").unwrap();
    read_until(&mut client, b"slow").unwrap();
}

#[test]
fn idle_connections_are_limited() {
    let backend = Backend::new();
    let ask = |started: &Started, number: usize| {
        let mut clients: Vec<_> = (0..number).map(|_| (send(started, "GET /api/"), backend.head())).collect();
        for (client, (_, _, stream)) in &mut clients {
            respond(stream, OK);
            assert_eq!(read_answer(client).body, "ok");
        }
        clients.into_iter().map(|(_, (number, ..))| number).collect::<HashSet<_>>()
    };
    for (words, kept) in [
        (&["--proxy-idle-connections", "0"][..], 0),
        (&["--proxy-idle-connections", "1", "--proxy-idle-timeout", "none"], 1),
        (&["--proxy-idle-connections", "3", "--proxy-idle-timeout", "none"], 3),
        (&["--proxy-idle-timeout", "none"], 4),
    ] {
        let started = start(backend.address, words);
        let first = ask(&started, 4);
        let second = ask(&started, 4);
        assert_eq!(first.intersection(&second).count(), kept, "{words:?}: {first:?}, {second:?}");
    }
    let started = start(backend.address, &["--proxy-idle-timeout", "200ms"]);
    let old = get(&started, &backend, "first");
    backend.wait_for_end(old);
    assert_ne!(get(&started, &backend, "next"), old);
    // A shutdown neither waits for pooled connections nor leaves them open.
    let Started(built, _files) = start(backend.address, &["--proxy-idle-timeout", "none"]);
    let mut client = built.connect();
    client.write_all(lines("GET /api/ HTTP/1.1|Host: a").as_bytes()).unwrap();
    let (kept, _, mut stream) = backend.head();
    respond(&mut stream, OK);
    assert_eq!(read_answer(&mut client).body, "ok");
    let (status, ..) = built.stop();
    assert!(status.success(), "{status}");
    backend.wait_for_end(kept);
}

/// A backend that serves one connection at a time gets a request that needs a new connection, because a kept one is
/// closed for it.
#[test]
fn a_kept_connection_makes_room_for_a_new_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            while let Ok(head) = read_until(&mut stream, b"\r\n\r\n") {
                respond(&mut stream, OK);
                if String::from_utf8_lossy(&head).contains("Connection: close") {
                    break;
                }
            }
        }
    });
    let started = start(address, &["--proxy-idle-timeout", "none"]);
    for request in ["GET /api/", "POST /api/", "GET /api/", "GET /api/", "DELETE /api/", "OPTIONS /api/"] {
        assert_eq!(read_answer(&mut send(&started, request)).body, "ok", "{request}");
    }
}

/// Many clients, and a backend that ends connections at any time: each client gets the response to its request.
#[test]
fn each_client_gets_its_own_response() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Arc::new(Mutex::new(0));
    let most = Arc::clone(&shared);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (stream, most) = (stream.unwrap(), Arc::clone(&most));
            std::thread::spawn(move || echo(stream, number, &most));
        }
    });
    let started = start(address, &["--proxy-at-once", "1000"]);
    std::thread::scope(|scope| {
        for client in 0..16 {
            let started = &started;
            scope.spawn(move || {
                let mut stream = started.0.connect();
                for round in 0..200 {
                    let name = format!("{client}-{round}");
                    let method = if round % 7 == 0 { "POST" } else { "GET" };
                    stream.write_all(lines(&format!("{method} /api/{name} HTTP/1.1|Host: a")).as_bytes()).unwrap();
                    let answer = read_answer(&mut stream);
                    assert_eq!((answer.status, answer.body.as_str()), (200, &*name));
                }
            });
        }
    });
    assert!(*shared.lock().unwrap() > 1, "no connection was used twice");
}

/// Responds with the name in the path. The number decides when the connection ends: before, in or after a request.
fn echo(mut stream: TcpStream, number: usize, most: &Mutex<usize>) {
    for count in 1.. {
        let Ok(head) = read_until(&mut stream, b"\r\n\r\n") else { return };
        let head = String::from_utf8(head).unwrap();
        let mut on_most = most.lock().unwrap();
        *on_most = count.max(*on_most);
        drop(on_most);
        if count > 1 && number % 3 == 1 && count > number % 5 {
            return; // without a response
        }
        let name = head.split([' ', '/']).nth(3).unwrap();
        respond(&mut stream, &format!("1.1 200 OK|Content-Length: {}||{name}", name.len()));
        if number.is_multiple_of(3) && count > number % 7 {
            return; // after it
        }
    }
}
