//! Bodies that arrive while their handler runs: they are streamed, or it is unknown whether the handler has a method.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use modest::{
    BodyPlan, Http, ProxyProtocol, Request, RequestHandler, Response, Result, TcpServer, before_body_fn, handler_fn,
};

use crate::cipher::{Cipher, HELLO, WELCOME, sealed};
use crate::server::{Client, PATIENCE, Running, eventually, has_addresses, is_plain, serve, shows_resets};
use crate::system::used_sockets_are_reset;

/// The path determines what the handler does with the body.
struct Streams {
    told: Mutex<Sender<String>>,
    progress: Arc<AtomicU64>,
}

fn streams() -> (Streams, Receiver<String>) {
    let (sender, receiver) = channel();
    (Streams { told: Mutex::new(sender), progress: Arc::default() }, receiver)
}

impl Streams {
    fn tell(&self, what: impl Into<String>) {
        self.told.lock().unwrap().send(what.into()).unwrap();
    }
}

impl RequestHandler for Streams {
    fn before_body(&self, _: &Request, plan: &mut BodyPlan) -> Result<()> {
        let progress = Arc::clone(&self.progress);
        plan.stream().limit(1 << 30).progress(move |bytes| progress.store(bytes, Relaxed));
        Ok(())
    }

    fn do_post(&self, request: &Request) -> Result<Response> {
        let mut reader = request.reader();
        match request.path() {
            "/pieces" => {
                let mut piece = [0; 1000];
                loop {
                    let count = reader.read(&mut piece).inspect_err(|err| self.tell(format!("{:?}", err.kind())))?;
                    self.tell(String::from_utf8_lossy(&piece[..count]));
                    if count == 0 {
                        return Ok(Response::text("whole"));
                    }
                }
            }
            "/count" => {
                let count = io::copy(&mut reader, &mut io::sink())?;
                Ok(Response::text(format!("{count} bytes")))
            }
            "/unread" => Ok(Response::text("unread")),
            "/three" => {
                let mut three = [0; 3];
                reader.read_exact(&mut three)?;
                Ok(Response::text(String::from_utf8_lossy(&three).into_owned()))
            }
            "/text" => {
                let text = request.text()?;
                assert_eq!(text, request.text()?, "the text stays available");
                assert_eq!(request.body().len(), text.len() as u64);
                Ok(Response::text(text.into_owned()))
            }
            "/late" => {
                _ = reader.read(&mut [0])?;
                let err = request.bytes().unwrap_err();
                Err(err)
            }
            "/form" => {
                let (mut form, mut seen) = (request.form_data()?, String::new());
                while let Some(part) = form.next_part()? {
                    self.tell(part.name());
                    seen.push_str(&part.text()?);
                }
                Ok(Response::text(seen))
            }
            "/panic" => {
                _ = reader.read(&mut [0])?;
                panic!("on purpose")
            }
            other => panic!("{other}"),
        }
    }
}

fn post(path: &str, fields: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// Status and body of the next response, and whether the connection continues. A 100 counts as a response.
fn answer(client: &mut Client) -> (u16, String, bool) {
    let status = client.line().split(' ').nth(1).unwrap().parse().unwrap();
    let (mut length, mut kept) = (0, true);
    loop {
        let line = client.line().to_ascii_lowercase();
        if line == "\r\n" {
            break;
        }
        let (name, value) = line.trim().split_once(": ").unwrap();
        match name {
            "content-length" => length = value.parse().unwrap(),
            "connection" => kept = value != "close",
            _ => {}
        }
    }
    let mut body = vec![0; length];
    client.stream.read_exact(&mut body).unwrap();
    (status, String::from_utf8(body).unwrap(), kept)
}

fn said(text: &str) -> (u16, String, bool) {
    (200, text.to_owned(), true)
}

/// A mistake of a handler is not reported as one of the client.
#[test]
fn a_body_that_was_partly_read_can_be_nothing_else() {
    let streams = before_body_fn(|_: &Request, plan: &mut BodyPlan| {
        plan.stream();
        Ok(())
    });
    let handler = handler_fn(|request: &Request| {
        let (first, then) = request.path()[1..].split_once('/').expect("two parts");
        request.reader().take(first.parse().expect("a number")).read_to_end(&mut Vec::new())?;
        let result = match then {
            "bytes" => request.bytes().map(drop),
            "text" => request.text().map(drop),
            "form" => request.form().map(drop),
            "form_data" => request.form_data().and_then(|mut form| form.next_part().map(drop)),
            "twice" => request
                .form_data()
                .and_then(|mut form| form.next_part().map(drop))
                .and_then(|()| request.form_data().map(drop)),
            other => unreachable!("{other}"),
        };
        Ok(Response::text(result.map_or_else(|error| error.status().as_u16().to_string(), |()| "ok".to_owned())))
    });
    let server = serve(Http::new(handler.layer(streams)).access_log(None), |server| server);
    let part = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--\r\n";
    for (then, content_type, body) in [
        ("bytes", "text/plain", "text"),
        ("text", "text/plain", "text"),
        ("form", "application/x-www-form-urlencoded", "a=1&b=2"),
        ("form_data", "multipart/form-data; boundary=x", part),
    ] {
        for (first, expected) in [("0", "ok"), ("1", "500"), ("1000", "500")] {
            let got = sent(&server, &format!("/{first}/{then}"), content_type, body);
            assert_eq!(got, said(expected), "{first} bytes, then {then}");
        }
    }
    let got = sent(&server, "/0/twice", "multipart/form-data; boundary=x", part);
    assert_eq!(got, said("500"), "the first form has read ahead");
}

fn sent(server: &Running, path: &str, content_type: &str, body: &str) -> (u16, String, bool) {
    let mut client = server.client();
    let length = body.len();
    client.send(post(path, &format!("Content-Type: {content_type}\r\nContent-Length: {length}\r\n")) + body);
    answer(&mut client)
}

/// The next request is served.
fn goes_on(client: &mut Client) {
    client.send(post("/count", "Content-Length: 2\r\n") + "ab");
    assert_eq!(answer(client), said("2 bytes"));
}

#[test]
fn a_handler_reads_a_streamed_body_as_it_arrives() {
    let (app, told) = streams();
    let progress = Arc::clone(&app.progress);
    let server = serve(app, |server| server);
    let mut client = server.client();
    client.send(post("/pieces", "Content-Length: 6\r\n"));
    for piece in ["ab", "c", "def"] {
        client.send(piece);
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), piece);
    }
    assert_eq!((told.recv_timeout(PATIENCE).unwrap().as_str(), answer(&mut client)), ("", said("whole")));
    assert_eq!(progress.load(Relaxed), 6);

    client.send(post("/pieces", "Transfer-Encoding: chunked\r\n"));
    for (chunk, piece) in [("2\r\nab\r\n", "ab"), ("3\r\nc", "c"), ("de\r\n", "de"), ("0\r\n\r\n", "")] {
        client.send(chunk);
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), piece);
    }
    assert_eq!(answer(&mut client), said("whole"));
    goes_on(&mut client);
}

#[test]
fn requests_pipelined_behind_a_stream_are_served() {
    let (app, _told) = streams();
    let server = serve(app, |server| server);
    for cut in [1, 70, 71, 72, 75, 90] {
        let mut client = server.client();
        let chunks = post("/count", "Transfer-Encoding: chunked\r\n") + "5\r\nabcde\r\n0\r\n\r\n";
        let rest = post("/count", "Content-Length: 100000\r\n")
            + &"x".repeat(100_000)
            + &post("/text", "Content-Length: 1\r\n")
            + "y";
        let all = chunks + &rest;
        client.send(&all[..cut]);
        thread::yield_now();
        client.send(&all[cut..]);
        for text in ["5 bytes", "100000 bytes", "y"] {
            assert_eq!(answer(&mut client), said(text), "{cut}");
        }
    }
}

#[test]
fn a_hundred_megabyte_stream_needs_no_space() {
    let (app, _told) = streams();
    let server = serve(Http::new(app).body_quota(0).body_memory_quota(0), |server| server);
    let mut client = server.client();
    client.send(post("/count", "Content-Length: 104857600\r\n"));
    for _ in 0..100 {
        client.send(vec![b'x'; 1 << 20]);
    }
    assert_eq!(answer(&mut client), said("104857600 bytes"));
    goes_on_with_room(&server);
}

fn goes_on_with_room(server: &Running) {
    let mut client = server.client();
    client.send(post("/count", "Content-Length: 0\r\n"));
    assert_eq!(answer(&mut client), said("0 bytes"));
}

#[test]
fn the_first_read_sends_100_continue() {
    let (app, told) = streams();
    let server = serve(app, |server| server);
    let expecting = |path: &str| post(path, "Content-Length: 3\r\nExpect: 100-continue\r\n");
    let mut client = server.client();
    client.send(expecting("/pieces"));
    assert_eq!(answer(&mut client).0, 100);
    client.send("abc");
    assert_eq!((told.recv_timeout(PATIENCE).unwrap().as_str(), answer(&mut client)), ("abc", said("whole")));
    client.send(expecting("/text"));
    assert_eq!(answer(&mut client).0, 100);
    client.send("abc");
    assert_eq!(answer(&mut client), said("abc"));
    client.send(expecting("/unread"));
    assert_eq!(
        answer(&mut client),
        (200, "unread".into(), false),
        "the client can send the body or not, so the connection ends"
    );
    client.expect_end();
}

#[test]
fn a_short_unread_rest_is_discarded() {
    let (app, _told) = streams();
    let server = serve(app, |server| server);
    let long = "x".repeat(100_000);
    for (path, fields, first, second, kept) in [
        ("/unread", "Content-Length: 5\r\n", "", "abcde", true),
        ("/unread", "Content-Length: 5\r\n", "ab", "cde", true),
        ("/three", "Content-Length: 5\r\n", "abc", "de", true),
        ("/three", "Transfer-Encoding: chunked\r\n", "5\r\nabc", "de\r\n1\r\nx\r\n0\r\n\r\n", true),
        ("/three", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n", "0\r\n\r\n", true),
        ("/three", "Content-Length: 100000\r\n", "abc", &long[3..], false),
        ("/unread", "Content-Length: 100000\r\n", "", &long, false),
        ("/panic", "Content-Length: 5\r\n", "abc", "de", false),
    ] {
        let mut client = server.client();
        client.send(post(path, fields) + first);
        let text = if path == "/three" { "abc" } else { "unread" };
        let (status, found, goes) = answer(&mut client);
        assert_eq!((status, goes), (if path == "/panic" { 500 } else { 200 }, kept), "{path} {fields}");
        assert!(path == "/panic" || found == text, "{path} {fields}: {found}");
        client.send(second);
        if kept {
            goes_on(&mut client);
        } else {
            client.expect_end(); // and no reset
        }
    }
}

#[test]
fn the_whole_body_is_received_on_request() {
    let (app, _told) = streams();
    let server = serve(Http::new(app), |server| server);
    let mut client = server.client();
    for (fields, body) in
        [("Content-Length: 6\r\n", "abcdef"), ("Transfer-Encoding: chunked\r\n", "6\r\nabcdef\r\n0\r\n\r\n")]
    {
        client.send(post("/text", fields) + &body[..4]);
        client.send(&body[4..]);
        assert_eq!(answer(&mut client), said("abcdef"));
    }
    client.send(post("/late", "Content-Length: 6\r\n") + "abc");
    assert_eq!((answer(&mut client).0), 500, "a body that was partly read can't be returned whole");
}

#[test]
fn a_form_is_read_part_by_part() {
    let (app, told) = streams();
    let server = serve(app, |server| server);
    let mut client = server.client();
    let fields = "Content-Type: multipart/form-data; boundary=x\r\nTransfer-Encoding: chunked\r\n";
    client.send(post("/form", fields));
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    for name in ["a", "b"] {
        client.send(chunk(&format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{name}\r\n")));
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), name, "each part is read before the next one is sent");
    }
    client.send(chunk("--x--\r\n") + "0\r\n\r\n");
    assert_eq!(answer(&mut client), said("ab"));
    goes_on(&mut client);
}

#[test]
fn each_end_of_a_stream_has_its_error() {
    let (app, told) = streams();
    let slow = |server: modest::TcpServer| server.min_rate((1000, Duration::from_millis(300)));
    let server = serve(Http::new(app).body_limit(10), slow);
    let half: fn(&mut Client) = |client| client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    let nothing: fn(&mut Client) = |_| {};
    for (what, fields, body, then, kind, status) in [
        ("half-closed", "Content-Length: 6\r\n", "abc", half, "UnexpectedEof", 400),
        ("half-closed", "Transfer-Encoding: chunked\r\n", "6\r\nabc", half, "UnexpectedEof", 400),
        ("silent", "Content-Length: 6\r\n", "abc", nothing, "TimedOut", 408),
        ("malformed", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\nx\r\n", nothing, "InvalidData", 400),
        ("too large", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n7fffffff\r\n", nothing, "FileTooLarge", 413),
    ] {
        let mut client = server.client();
        client.send(post("/pieces", fields) + body);
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "abc");
        then(&mut client);
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), kind, "{what}");
        let (found, _, kept) = answer(&mut client);
        assert_eq!((found, kept), (status, false), "{what}");
        client.expect_end();
    }
    let mut client = server.client();
    client.send(post("/pieces", "Content-Length: 6\r\n") + "abc");
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "abc");
    socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), if shows_resets() { "ConnectionReset" } else { "UnexpectedEof" });
    let mut client = server.client();
    client.send(post("/count", "Content-Length: 1073741825\r\n"));
    assert_eq!(answer(&mut client).0, 413, "the request must be rejected from its head");
    server.wait_for("none is left", |stats| stats.connections == 1);
}

#[test]
fn only_waiting_counts_towards_the_body_timeout() {
    struct Slow;
    impl RequestHandler for Slow {
        fn before_body(&self, _: &Request, plan: &mut BodyPlan) -> Result<()> {
            plan.stream().timeout(Duration::from_millis(250));
            Ok(())
        }
        fn do_post(&self, request: &Request) -> Result<Response> {
            thread::sleep(Duration::from_millis(400)); // as long as a handler may take
            let count = io::copy(&mut request.reader(), &mut io::sink())?;
            Ok(Response::text(format!("{count}")))
        }
    }
    let server = serve(Slow, |server| server);
    let mut client = server.client();
    client.send(post("/", "Content-Length: 3\r\n") + "ab");
    thread::sleep(Duration::from_millis(300));
    client.send("c");
    assert_eq!(answer(&mut client), said("3"));
    client.send(post("/", "Content-Length: 3\r\n"));
    thread::spawn({
        let mut stream = client.stream.try_clone().unwrap();
        move || {
            for byte in [b"a", b"b"] {
                thread::sleep(Duration::from_millis(500));
                _ = io::Write::write(&mut stream, byte);
            }
        }
    });
    assert_eq!(answer(&mut client).0, 408, "single bytes must not renew the deadline");
}

/// Reads its body with two readers, which have separate positions.
struct Unknown;

struct GetOnly;

impl RequestHandler for GetOnly {
    fn do_get(&self, _: &Request) -> Result<Response> {
        Ok(Response::text("got"))
    }
}

/// A long, chunked or held-back body does not occupy a worker, even for the first request of its method. The server
/// does not call a handler to find out whether it has the method.
#[test]
fn the_first_body_of_a_method_holds_no_worker() {
    let server = serve(GetOnly, |server| server.workers(1));
    let mut waiting = Vec::new();
    for method in ["POST", "PUT", "PROPFIND", "MKCOL", "DELETE"] {
        for fields in ["Content-Length: 10485760\r\n", "Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n"] {
            for (expects, begun) in [("", ""), ("", "3"), ("Expect: 100-continue\r\n", "")] {
                let mut client = server.client();
                client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}{expects}\r\n{begun}"));
                if !expects.is_empty() {
                    assert_eq!(answer(&mut client).0, 100, "{method} {fields}");
                }
                let mut other = server.client();
                other.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                assert_eq!(answer(&mut other), said("got"), "beside {method} {fields}{expects}");
                waiting.push(client);
            }
        }
    }
}

impl RequestHandler for Unknown {
    fn do_post(&self, request: &Request) -> Result<Response> {
        let (mut one, mut two, mut sums) = (request.reader(), request.body().reader(), [0u64; 2]);
        let mut piece = [0; 1000];
        one.read_exact(&mut piece[..10])?;
        sums[0] += piece[..10].iter().map(|byte| u64::from(*byte)).sum::<u64>();
        for (reader, sum) in [(&mut two, 1), (&mut one, 0)] {
            loop {
                match reader.read(&mut piece)? {
                    0 => break,
                    count => sums[sum] += piece[..count].iter().map(|byte| u64::from(*byte)).sum::<u64>(),
                }
            }
        }
        assert_eq!(sums[0], sums[1]);
        assert_eq!(request.bytes()?.len() as u64, request.body().len());
        Ok(Response::text(format!("{:?} {}", request.body(), sums[0])))
    }
}

#[test]
fn a_method_gets_the_same_body_on_first_and_later_calls() {
    let body: Vec<u8> = (0..300_000u32).map(|number| (number % 251) as u8).collect();
    let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
    for chunked in [false, true] {
        for expects in [false, true] {
            let server = serve(Unknown, |server| server);
            let mut client = server.client();
            for round in 0..3 {
                let length = if chunked { "Transfer-Encoding: chunked\r\n" } else { "Content-Length: 300000\r\n" };
                client.send(post("/", &format!("{length}{}", if expects { "Expect: 100-continue\r\n" } else { "" })));
                if expects {
                    assert_eq!(answer(&mut client).0, 100);
                }
                for piece in body.chunks(7000) {
                    if chunked {
                        client.send(format!("{:x}\r\n", piece.len()));
                    }
                    client.send(piece);
                    if chunked {
                        client.send("\r\n");
                    }
                }
                if chunked {
                    client.send("0\r\n\r\n");
                }
                let text = format!("Body(300000 bytes, in a file) {sum}");
                assert_eq!(answer(&mut client), said(&text), "{chunked} {expects} {round}");
            }
        }
    }
}

/// If the body never becomes complete, the handler's response is not sent.
#[test]
fn a_truncated_first_body_is_always_rejected() {
    struct Lengths;
    impl RequestHandler for Lengths {
        fn do_post(&self, request: &Request) -> Result<Response> {
            Ok(Response::text(format!("{}", request.body().len())))
        }
    }
    for (body, status) in [("3\r\nabc\r\n", 400), ("3\r\nabc\r\nx\r\n", 400), ("fffffff\r\n", 413)] {
        let server = serve(Http::new(Lengths).body_limit(100_000), |server| server);
        let mut client = server.client();
        client.send(post("/", "Transfer-Encoding: chunked\r\n") + body);
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        let (found, _, kept) = answer(&mut client);
        assert_eq!((found, kept), (status, false));
    }
    let server = serve(Lengths, |server| server);
    let mut client = server.client();
    client.send(post("/", "Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n");
    client.send("0\r\n\r\n");
    assert_eq!(answer(&mut client), said("3"));
}

/// A client can disconnect at any byte and in any way, and nothing is left of it.
#[test]
fn disconnected_clients_leave_nothing_behind() {
    let (app, _told) = streams();
    let server = serve(app, |server| server.workers(2));
    let wire = post("/count", "Transfer-Encoding: chunked\r\n") + "5\r\nabcde\r\n0\r\n\r\n";
    let wire =
        wire + &post("/three", "Content-Length: 5\r\n") + "abcde" + &post("/text", "Content-Length: 2\r\n") + "ab";
    goes_on_with_room(&server);
    server.wait_for("all are gone", |stats| stats.connections == 0);
    for cut in 0..wire.len() {
        for how in 0..3 {
            let mut client = server.client();
            client.send(&wire[..cut]);
            match how {
                0 => socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap(),
                1 => _ = client.half_close().read_to_any_end(),
                _ => {}
            }
        }
    }
    server.wait_for("all are gone", |stats| stats.connections == 0 && stats.permits == 0 && stats.running == 0);
    goes_on_with_room(&server);
}

/// Behind a proxy with the PROXY protocol the bytes are unchanged; inside a cipher they are not.
#[test]
fn streaming_works_inside_other_protocols() {
    if !has_addresses() {
        return; // no client is trusted
    }
    let (app, told) = streams();
    let proxied = ProxyProtocol::new(app).trust("127.0.0.0/8".parse().unwrap());
    let server = serve(proxied, |server| server);
    let mut client = server.client();
    client.send("PROXY TCP4 1.2.3.4 5.6.7.8 1000 80\r\n").send(post("/pieces", "Content-Length: 4\r\n"));
    for piece in ["ab", "cd"] {
        client.send(piece);
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), piece);
    }
    assert_eq!(answer(&mut client), said("whole"));
    goes_on(&mut client);

    let (app, told) = streams();
    let server = serve(Cipher::new(app), |server| server);
    let mut client = server.client();
    client.send(HELLO).expect(WELCOME);
    client.send(sealed((post("/pieces", "Content-Length: 4\r\n") + "ab").as_bytes(), 1000));
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "ab");
    client.send(sealed(b"cd", 1000));
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "cd", "bytes are read as they arrive");
}

#[test]
fn a_shutdown_waits_for_a_stream() {
    let (app, told) = streams();
    let mut server = serve(app, |server| server);
    let mut client = server.client();
    client.send(post("/pieces", "Content-Length: 4\r\n") + "ab");
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "ab");
    server.handle.shutdown();
    client.send("cd");
    assert_eq!(answer(&mut client), (200, "whole".into(), false));
    client.expect_end();
    server.wait_for_end();
}

/// When the server exits, no thread continues to wait for a client, even if its handler reads the body.
#[test]
fn the_shutdown_timeout_applies_to_a_client_that_is_silent_within_its_body() {
    for request in ["/pieces", "/text", "/count"] {
        let (app, told) = streams();
        let progress = Arc::clone(&app.progress);
        let settings = |server: TcpServer| server.workers(1).shutdown_timeout(Duration::from_millis(200));
        let mut server = serve(app, settings);
        let mut client = server.client();
        client.send(post(request, "Content-Length: 4\r\n") + "ab");
        eventually("the handler reads", || progress.load(Relaxed) == 2);
        if request == "/pieces" {
            assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "ab");
        }
        server.handle.shutdown();
        server.wait_for_end();
        let (said, end) = client.read_to_any_end();
        assert!(said.is_empty(), "{request}: {said:?}");
        let is_reset = end.is_some() || !shows_resets() || !used_sockets_are_reset();
        assert!(is_reset, "{request}: an interrupted exchange ends in a reset");
        if request == "/pieces" {
            let error = told.recv_timeout(PATIENCE).expect("the read ends");
            assert_ne!(error, "", "the end of the body was reported");
        }
        let over = told.recv_timeout(PATIENCE);
        assert_eq!(over, Err(RecvTimeoutError::Disconnected), "{request}: the handler is dropped with its last worker");
    }
}

/// Bodies of all sizes and framings, sent in pieces of all sizes, read in pieces of all sizes, with two requests in
/// advance: each checksum is right, and none is missing.
#[test]
fn streams_of_all_kinds_arrive_completely() {
    struct Sums;
    impl RequestHandler for Sums {
        fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
            if request.param("whole").is_none() {
                plan.stream();
            }
            Ok(())
        }
        fn do_post(&self, request: &Request) -> Result<Response> {
            let mut piece = vec![0; request.parse_param("size")?];
            let (mut reader, mut sum) = (request.reader(), (0u64, 0u64));
            loop {
                let count = reader.read(&mut piece)?;
                sum = piece[..count].iter().fold(sum, |(at, sum), byte| (at + 1, sum + at * u64::from(*byte)));
                if count == 0 {
                    return Ok(Response::text(format!("{sum:?}")));
                }
            }
        }
    }
    let server = serve(Sums, |server| server.workers(4));
    thread::scope(|scope| {
        for seed in 1..=6u64 {
            let server = &server;
            scope.spawn(move || {
                let mut state = seed;
                let mut chance = |most: u64| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 33) % most
                };
                let (mut client, mut sums) = (server.client(), Vec::new());
                for round in 0..60 {
                    let length = match chance(4) {
                        0 => chance(10),
                        1 => chance(70_000),
                        _ => chance(200_000),
                    };
                    let body: Vec<u8> = (0..length).map(|at| (at * seed % 253) as u8).collect();
                    sums.push((0..length).fold((0, 0), |(_, sum), at| (at + 1, sum + at * (at * seed % 253))));
                    let whole = if chance(3) == 0 { "&whole=1" } else { "" };
                    let most = 1 + chance(100_000);
                    let path = format!("/?size={}{whole}", 100 + chance(most));
                    let mut wire = Vec::new();
                    if chance(2) == 0 {
                        wire.extend(post(&path, "Transfer-Encoding: chunked\r\n").bytes());
                        for chunk in body.chunks(1 + chance(50_000) as usize) {
                            wire.extend(format!("{:x}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()));
                            wire.extend(b"\r\n");
                        }
                        wire.extend(b"0\r\n\r\n");
                    } else {
                        wire.extend(post(&path, &format!("Content-Length: {length}\r\n")).bytes().chain(body));
                    }
                    for piece in wire.chunks(1 + chance(60_000).max(100) as usize) {
                        client.send(piece);
                        if chance(20) == 0 {
                            // the speed of the client, not a wait for an event
                            thread::sleep(Duration::from_micros(chance(500)));
                        }
                    }
                    if round % 3 == 2 {
                        for sum in sums.drain(..) {
                            assert_eq!(answer(&mut client), said(&format!("{sum:?}")), "seed {seed}, round {round}");
                        }
                    }
                }
            });
        }
    });
}

/// A layer and a handler that both read a stream get the same bytes, no matter when these arrive.
#[test]
fn a_stream_is_read_once_however_it_arrives() {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let app = handler_fn(move |request| {
        counted.fetch_add(1, Relaxed);
        let described = |read: io::Result<String>| read.unwrap_or_else(|error| format!("error: {error}"));
        let read = |most: u64| {
            let mut text = String::new();
            described(request.reader().take(most).read_to_string(&mut text).map(|_| text))
        };
        Ok(Response::text(match request.path() {
            "/peek" => [read(3), read(100), read(100)].join("|"),
            "/bytes" => [described(request.body().bytes().map(|bytes| format!("{bytes:?}"))), read(100)].join("|"),
            _ => [read(3), described(request.body().bytes().map(|bytes| format!("{bytes:?}")))].join("|"),
        }))
    })
    .layer(before_body_fn(|_, plan| {
        plan.stream();
        Ok(())
    }));
    let server = serve(app, |server| server);
    for path in ["/peek", "/bytes", "/peek-bytes"] {
        for fields in ["Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n"] {
            let body = if fields.starts_with('C') { "0123456789" } else { "4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n" };
            let head = post(path, fields);
            let content = |answer: &str| answer.split_once("\r\n\r\n").expect("a head").1.to_owned();
            let at_once = content(&server.client().fetch(format!("{head}{body}")));
            for split in [0, 1, body.len() / 2, body.len() - 1] {
                let mut client = server.client();
                let before = calls.load(Relaxed);
                client.send(format!("{head}{}", &body[..split]));
                eventually("the handler is called", || calls.load(Relaxed) > before);
                let apart = content(&client.fetch(&body[split..]));
                assert_eq!(apart, at_once, "{path}, {fields:?}, {split}");
            }
        }
    }
}

struct Length;

impl RequestHandler for Length {
    fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
        if request.path() == "/streamed" {
            plan.stream();
        }
        Ok(())
    }

    fn do_post(&self, request: &Request) -> Result<Response> {
        Ok(Response::text(format!("{}.", io::copy(&mut request.reader(), &mut io::sink())?)))
    }
}

/// The client's system holds back the next part of a request until the last one is acknowledged, which the server's
/// system delays by 40 ms, if the connection was used before. Of a hundred requests, one is without this delay even on a
/// busy machine.
#[cfg(all(target_os = "linux", not(modest_portable)))]
#[test]
fn no_acknowledgement_is_delayed() {
    use std::io::Write;
    use std::net::TcpStream;
    use std::time::Instant;

    if !is_plain() {
        return;
    }
    let server = modest::testing::serve(Length);
    for (path, rest, parts) in [
        ("/", "Content-Length: 5\r\n\r\n", &["hello"][..]),
        ("/streamed", "Content-Length: 5\r\n\r\n", &["hello"]),
        ("/", "Transfer-Encoding: chunked\r\n\r\n", &["5\r\nhel", "lo\r\n0\r\n\r\n"]),
        ("/", "", &["Content-Length: 5\r\n\r\n", "hello"]),
    ] {
        let mut client = TcpStream::connect(server.address()).unwrap(); // does not set TCP_NODELAY
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut send = || {
            let begun = Instant::now();
            let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\n{rest}");
            for part in [&*head].iter().chain(parts) {
                client.write_all(part.as_bytes()).unwrap();
            }
            let mut response = Vec::new();
            while !response.ends_with(b"5.") {
                let mut piece = [0; 1000];
                let count = client.read(&mut piece).unwrap();
                assert!(count > 0, "{path} {parts:?}: {:?}", String::from_utf8_lossy(&response));
                response.extend_from_slice(&piece[..count]);
            }
            begun.elapsed()
        };
        send(); // a new connection has no delay
        let is_fast = (0..100).any(|_| send() < Duration::from_millis(35));
        assert!(is_fast, "{path} {rest:?} {parts:?}: a hundred requests were delayed");
    }
}
