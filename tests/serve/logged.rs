//! The access log has one line per request, however its connection ends, even if values panic when they are dropped.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use modest::live::{ChannelOptions, Signal};
use modest::raw::{Action, Conversation, Turn};
use modest::{BodyPlan, Error, Http, LogRecord, Request, RequestHandler, Response, Result, Stats};

use crate::server::{
    Client, Gate, Running, alone, eventually, get, is_plain, serve, set_a_logger_that_panics, shows_resets,
};
use crate::tls::Site;

/// Panics when it is dropped.
struct Fragile;

impl Fragile {
    /// Makes a closure keep it.
    fn stay(&self) {}
}

impl Drop for Fragile {
    fn drop(&mut self) {
        panic!("dropped, for the test");
    }
}

impl Read for Fragile {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
}

impl Write for Fragile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for Fragile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("fragile")
    }
}

impl std::fmt::Display for Fragile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("fragile")
    }
}

impl std::error::Error for Fragile {}

impl Conversation for Fragile {
    fn turn(&mut self, _: &mut Turn<'_>) -> Action {
        Action::Close
    }
}

/// A body whose error panics when it is displayed.
struct Unreadable;

impl Read for Unreadable {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        #[derive(Debug)]
        struct Mute;
        impl std::fmt::Display for Mute {
            fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                panic!("the text of an error panics, for the test")
            }
        }
        impl std::error::Error for Mute {}
        Err(io::Error::other(Mute))
    }
}

/// Shared bytes that panic when they are dropped. They panic in `as_ref` once they have been looked at `looks` times.
struct FragileBytes {
    bytes: Vec<u8>,
    looks: AtomicUsize,
    _fragile: Option<Fragile>,
}

impl FragileBytes {
    fn response(length: usize, looks: usize, fragile: Option<Fragile>) -> Response {
        let bytes = [b"here", &vec![b'x'; length - 4][..]].concat();
        Response::shared(Arc::new(FragileBytes { bytes, looks: looks.into(), _fragile: fragile }))
    }
}

impl AsRef<[u8]> for FragileBytes {
    fn as_ref(&self) -> &[u8] {
        let left = self.looks.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        assert!(left.is_ok(), "as_ref panics, for the test");
        &self.bytes
    }
}

#[derive(Clone, Default)]
struct App {
    lines: Arc<Mutex<Vec<String>>>,
    gate: Gate,
    changed: Signal,
    /// A head has arrived.
    begun: Arc<AtomicBool>,
    /// A handler reads its body.
    reads: Arc<AtomicBool>,
}

impl RequestHandler for App {
    fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
        self.begun.store(true, Relaxed);
        let path = request.path();
        if path == "/streamed" {
            plan.stream();
        }
        if path.starts_with("/writer") {
            plan.save_to(Fragile);
        }
        if path.starts_with("/progress") {
            let fragile = Fragile;
            plan.progress(move |_| fragile.stay());
        }
        if path.ends_with("-and-value") {
            request.put(Fragile);
        }
        assert!(!path.ends_with("-and-panic"), "before_body panics, for the test");
        if path.ends_with("-and-error") { Err(Error::new(403, "")) } else { Ok(()) }
    }

    fn do_get(&self, request: &Request) -> Result<Response> {
        Ok(match request.path() {
            "/handler" => {
                self.gate.pass();
                Response::text("here")
            }
            "/poll" if !request.is_late() => Response::wait_for(self.changed.ticket(), Duration::from_secs(60))
                .on_sent(|_| unreachable!("no response")),
            "/stubborn" => Response::wait_for(self.changed.ticket(), Duration::from_millis(1)),
            "/stream" => Response::stream(io::repeat(b'x')),
            "/blocks" => {
                let gate = self.gate.clone();
                Response::stream(io::repeat(b'x')).on_sent(move |_| gate.pass())
            }
            "/channel" => {
                let (sender, response) = Response::channel_with(ChannelOptions::new().queue(1 << 24));
                sender.send(vec![b'x'; 5]).expect("room");
                request.put(Mutex::new(sender)); // until the request is dropped
                response
            }
            "/shared" => FragileBytes::response(4, usize::MAX, Some(Fragile)),
            "/long-shared" => FragileBytes::response(200_000, usize::MAX, Some(Fragile)),
            path if path.starts_with("/looks/") => {
                let mut numbers = path.split('/').skip(2).map(|number| number.parse().unwrap());
                FragileBytes::response(numbers.next().unwrap(), numbers.next().unwrap(), None)
            }
            "/cause" => return Err(Error::new(403, "here").with_cause(Fragile)),
            "/unasked-switch" => Response::switch_to("x", Fragile),
            "/display" => Response::stream(Unreadable),
            "/unasked-upgrade" => {
                let fragile = Fragile;
                Response::upgrade("x", move |_| fragile.stay())
            }
            "/reader" => Response::sized_stream(Fragile, 0),
            "/long-reader" => Response::sized_stream(Fragile.chain(&b"here"[..]), 4),
            "/value" => {
                request.put(Fragile);
                Response::text("here")
            }
            "/two-values" => {
                struct Second(Fragile);
                request.put(Fragile);
                request.put(Second(Fragile));
                Response::text("here")
            }
            "/poll-with-on-sent" if !request.is_late() => {
                let fragile = Fragile;
                Response::wait_for(self.changed.ticket(), Duration::from_millis(10)).on_sent(move |_| fragile.stay())
            }
            "/tee" => {
                let fragile = Fragile;
                Response::stream(&b"here"[..]).tee(move |_| fragile.stay())
            }
            "/tee-in-memory" => {
                let fragile = Fragile;
                Response::text("here").tee(move |_| fragile.stay())
            }
            "/on-sent" => {
                let fragile = Fragile;
                Response::text("here").on_sent(move |_| fragile.stay())
            }
            path @ ("/on-drain" | "/channel-tee" | "/failing-tee") => {
                let (fragile, (sender, response)) = (Fragile, Response::channel());
                sender.send("here").expect("room");
                if path == "/on-drain" {
                    sender.on_drain(move || fragile.stay());
                    sender.finish();
                    return Ok(response);
                }
                sender.finish();
                let fails = path == "/failing-tee";
                response.tee(move |_| {
                    fragile.stay();
                    assert!(!fails, "the tee panics, for the test");
                })
            }
            _ => Response::text("here"),
        })
    }

    fn do_post(&self, request: &Request) -> Result<Response> {
        if request.path() == "/streamed" {
            self.reads.store(true, Relaxed);
            request.bytes()?;
        }
        Ok(Response::text("here"))
    }

    fn log_request(&self, record: &LogRecord<'_>) {
        let path = record.request().map_or("", Request::path);
        self.lines.lock().unwrap().push(format!("{path} {}", record.status().as_u16()));
    }
}

impl App {
    #[track_caller]
    fn expect(&self, lines: &[String], what: &str) {
        eventually(&format!("{what}: it is logged"), || !self.lines.lock().unwrap().is_empty());
        assert_eq!(*self.lines.lock().unwrap(), lines, "{what}");
    }
}

fn half(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
}

#[test]
fn each_request_is_logged_once_however_its_connection_ends() {
    type End = fn(Client, &mut Running);
    let resets: End = |client, _| {
        socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    };
    let half_closes: End = |mut client, _| {
        client.half_close().read_to_any_end();
    };
    let shutdown: End = |mut client, running| {
        running.handle.shutdown();
        running.wait_for_end();
        client.read_to_any_end();
    };
    let polls = |stats: &Stats| stats.long_polls == 1;
    let pushes = |stats: &Stats| stats.event_listeners == 1;
    let any = |_: &Stats| true;
    type Fact = fn(&Stats) -> bool;
    let runs = |stats: &Stats| stats.running == 1;
    let cases: [(&str, Fact, &str, End, u16); 13] = [
        ("/half", any, "reset", resets, 400),
        ("/half", any, "half-closed", half_closes, 400),
        ("/half", any, "shutdown", shutdown, 503),
        ("/streamed", runs, "reset", resets, 400),
        ("/streamed", runs, "half-closed", half_closes, 400),
        ("/streamed", runs, "shutdown", shutdown, 503),
        ("/poll", polls, "reset", resets, 400),
        ("/poll", polls, "shutdown", shutdown, 200),
        ("/stubborn", any, "half-closed", half_closes, 500),
        ("/stream", any, "reset", resets, 200),
        ("/stream", any, "shutdown", shutdown, 200),
        ("/channel", pushes, "reset", resets, 200),
        ("/channel", pushes, "shutdown", shutdown, 200),
    ];
    for (path, has_begun, end, then, status) in cases {
        let app = App::default();
        let http = Http::new(app.clone()).access_log(None);
        let mut running = serve(http, |server| server.workers(2).shutdown_timeout(Duration::from_millis(200)));
        let mut client = running.client();
        client.send(if ["/half", "/streamed"].contains(&path) { half(path) } else { get(path) });
        if path == "/stream" {
            client.expect("HTTP/1.1 200 OK\r\n");
        }
        eventually("it has begun", || app.begun.load(Relaxed) && has_begun(&running.handle.stats()));
        then(client, &mut running);
        app.expect(&[format!("{path} {status}")], &format!("{path}, {end}"));
    }
}

/// A client that violates TLS within a request is logged like one that disconnects.
#[test]
fn a_request_with_a_violation_of_tls_is_logged() {
    if !is_plain() {
        return; // TLS in another transport
    }
    let invalid_record = [0xff; 64];
    let malformed_alert = [0x15, 3, 3, 0, 2, 2, 80];
    for (what, request) in
        [("a body", half("/half")), ("a body for a handler", half("/streamed")), ("a wait", get("/poll"))]
    {
        for bytes in [&invalid_record[..], &malformed_alert] {
            let app = App::default();
            let site = Site::new(Http::new(app.clone()).access_log(None));
            let mut client = site.client();
            client.send(&request);
            eventually("it has begun", || app.begun.load(Relaxed));
            client.0.sock.write_all(bytes).unwrap();
            drop(client); // otherwise it can still read an alert for a while, and the line waits for that
            let path = request.split(' ').nth(1).unwrap();
            app.expect(&[format!("{path} 400")], &format!("within {what}: {}", bytes.escape_ascii()));
        }
    }
}

/// The line of a response that is reset, because its client sends more than the server keeps, has the bytes that were
/// sent.
#[test]
fn a_response_without_memory_for_its_client_is_logged_without_unsent_bytes() {
    for path in Long::PATHS {
        let app = Long::new();
        let lines = app.lines.clone();
        let running = serve(Http::new(app).access_log(None), |server| server.workers(2).input_quota(2000));
        let mut client = running.client();
        client.send(get(path) + &"x".repeat(30_000));
        eventually(&format!("{path}: it is logged"), || !lines.lock().unwrap().is_empty());
        let lines = lines.lock().unwrap().clone();
        let [(logged, 200, bytes)] = &lines[..] else { panic!("{path}: {lines:?}") };
        assert_eq!(logged, path);
        assert!(*bytes < LONG, "{path}: {bytes}");
    }
}

/// A logger that panics costs no response.
#[test]
fn a_logger_that_panics_costs_no_response() {
    alone("logged::a_logger_that_panics_costs_no_response", || {
        set_a_logger_that_panics(log::LevelFilter::Info);
        let app = App::default();
        let running = serve(app.clone(), |server| server.workers(2));
        for request in [get("/"), half("/half") + "cde", get("/long-reader")] {
            let mut client = running.client();
            client.send(&request).expect("HTTP/1.1 200 OK\r\n").half_close();
            let (bytes, end) = client.read_to_any_end();
            assert!(bytes.ends_with(b"here") && end.is_none(), "{request:?}: {}, {end:?}", bytes.escape_ascii());
            let path = request.split(' ').nth(1).unwrap();
            app.expect(&[format!("{path} 200")], &request);
            app.lines.lock().unwrap().clear();
        }
    });
}

/// A request whose handler reads its body is logged before the server has ended.
#[test]
fn a_body_that_the_end_cuts_is_logged_before_the_end() {
    for round in 0..10 {
        let app = App::default();
        let http = Http::new(app.clone()).access_log(None);
        let mut running = serve(http, |server| server.workers(2).shutdown_timeout(Duration::from_millis(10)));
        let mut client = running.client();
        client.send(half("/streamed"));
        eventually("its handler reads", || app.reads.load(Relaxed));
        running.handle.shutdown();
        running.wait_for_end();
        assert_eq!(*app.lines.lock().unwrap(), ["/streamed 503"], "round {round}");
    }
}

/// Code that blocks after the server has exited delays no line of another request.
#[test]
fn all_that_the_end_cuts_off_is_logged_before_the_end() {
    let app = App::default();
    let http = Http::new(app.clone()).access_log(None);
    let mut running = serve(http, |server| server.workers(2).shutdown_timeout(Duration::from_millis(50)));
    let _end = app.gate.opened_at_end();
    let mut clients: Vec<_> = (0..20).map(|_| running.client()).collect();
    for client in &mut clients {
        client.send(get("/blocks")).expect("HTTP/1.1 200 OK\r\n");
    }
    running.wait_for("none is read", |stats| stats.parked == 20);
    running.handle.shutdown();
    running.wait_for_end();
    app.gate.wait_for_arrivals(8); // at once
    assert_eq!(*app.lines.lock().unwrap(), vec!["/blocks 200"; 20]);
}

/// The shutdown timeout ends a request that waits for a worker, before the handler of another one returns.
#[test]
fn a_request_in_the_queue_at_the_end_is_logged() {
    let app = App::default();
    let http = Http::new(app.clone()).access_log(None);
    let mut running = serve(http, |server| server.workers(1).shutdown_timeout(Duration::from_millis(200)));
    let _end = app.gate.opened_at_end();
    let (mut first, mut second) = (running.client(), running.client());
    first.send(get("/handler"));
    app.gate.wait_for_arrivals(1);
    second.send(get("/queued"));
    running.wait_for("it waits", |stats| stats.waiting == 1);
    running.handle.shutdown();
    running.wait_for_end();
    app.expect(&["/queued 503".into()], "the one in the queue");
    app.gate.open();
    eventually("the other one is logged", || app.lines.lock().unwrap().len() == 2);
    assert_eq!(app.lines.lock().unwrap()[1], "/handler 200");
}

/// A value that panics when it is dropped changes no response.
#[test]
fn destructors_that_panic_cost_no_response() {
    let app = App::default();
    let running = serve(Http::new(app.clone()).access_log(None).body_limit(10), |server| server.workers(2));
    let head = |path: &str| get(path).replacen("GET", "HEAD", 1);
    let ranged = |path: &str| get(path).replacen("\r\n\r\n", "\r\nRange: bytes=0-1\r\n\r\n", 1);
    let post =
        |path: &str, body: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let cases = [
        (get("/shared"), 200, "here"),
        (head("/shared"), 200, ""),
        (ranged("/shared"), 206, "he"),
        (get("/long-shared"), 200, "here"),
        (head("/long-shared"), 200, ""),
        (ranged("/long-shared"), 206, "he"),
        (get("/cause"), 403, "here"),
        (get("/unasked-upgrade"), 426, ""),
        (get("/unasked-switch"), 426, ""),
        (get("/reader"), 200, ""),
        (head("/reader"), 200, ""),
        (head("/long-reader"), 200, ""),
        (get("/long-reader"), 200, "here"),
        (get("/value"), 200, "here"),
        (get("/two-values"), 200, "here"),
        (get("/poll-with-on-sent"), 200, "here"),
        (get("/writer"), 200, "here"),
        (head("/progress"), 200, ""),
        (get("/tee"), 200, "here"),
        (get("/tee-in-memory"), 200, "here"),
        (head("/tee"), 200, ""),
        (get("/on-sent"), 200, "here"),
        (head("/on-sent"), 200, ""),
        (get("/on-drain"), 200, "here"),
        (head("/on-drain"), 200, ""),
        (get("/channel-tee"), 200, "here"),
        (head("/channel-tee"), 200, ""),
        (post("/writer", "2\r\nab\r\n0\r\n\r\n"), 200, "here"),
        (post("/writer", "b\r\n01234567890\r\n0\r\n\r\n"), 413, ""),
        (post("/writer", "x\r\n"), 400, ""),
        (post("/progress", "2\r\nab\r\n0\r\n\r\n"), 200, "here"),
        (post("/progress", "x\r\n"), 400, ""),
        (post("/progress-and-value", "x\r\n"), 400, ""),
        (post("/progress-and-error", "2\r\nab\r\n0\r\n\r\n"), 403, ""),
        (post("/progress-and-panic", "2\r\nab\r\n0\r\n\r\n"), 500, ""),
        (post("/writer-and-value", "x\r\n"), 400, ""),
        (post("/writer-and-error", "2\r\nab\r\n0\r\n\r\n"), 403, ""),
        (post("/writer-and-panic", "2\r\nab\r\n0\r\n\r\n"), 500, ""),
        ("POST /writer HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n01234567890".into(), 413, ""),
        ("POST /progress HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n01234567890".into(), 413, ""),
    ];
    for (request, status, body) in cases {
        let mut client = running.client();
        client.send(&request).half_close();
        let (bytes, end) = client.read_to_any_end();
        let answer = String::from_utf8_lossy(&bytes);
        let answer = answer.trim_start_matches("HTTP/1.1 100 Continue\r\n\r\n"); // a probe, while the request waits
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer:?}, {end:?}");
        assert!(answer.contains(body) && end.is_none(), "{request:?}: {answer:?}, {end:?}");
        let path = request.split(' ').nth(1).unwrap();
        app.expect(&[format!("{path} {status}")], &request);
        app.lines.lock().unwrap().clear();
    }
    let mut client = running.client();
    client.send(get("/failing-tee")).expect_reset();
    app.expect(&["/failing-tee 200".into()], "a tee that panics");
    app.lines.lock().unwrap().clear();
    running.client().send(get("/display")).expect("HTTP/1.1 200 OK\r\n");
    app.expect(&["/display 200".into()], "an error whose text panics");
    running.wait_for("nobody works", |stats| stats.running == 0);
}

/// Shared bytes that panic at any look cost at most their own response, which is still logged.
#[test]
fn bytes_that_panic_leave_one_line() {
    let app = App::default();
    let running = serve(Http::new(app.clone()).access_log(None), |server| server.workers(2));
    for (length, looks) in [4, 200_000].into_iter().flat_map(|length| (0..8).map(move |looks| (length, looks))) {
        let path = format!("/looks/{length}/{looks}");
        for (method, field) in [("GET", ""), ("HEAD", ""), ("GET", "Range: bytes=0-1\r\n")] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{field}\r\n");
            let mut client = running.client();
            client.send(&request);
            let (bytes, end) = client.read_to_any_end();
            eventually("it is logged", || !app.lines.lock().unwrap().is_empty());
            running.wait_for("nobody works", |stats| stats.running == 0);
            let lines = std::mem::take(&mut *app.lines.lock().unwrap());
            assert_eq!(lines.len(), 1, "{request:?}: {lines:?}");
            let answer = String::from_utf8_lossy(&bytes);
            let expected = if field.is_empty() { "here" } else { "he" };
            let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
            let is_whole = body.is_some_and(|body| method == "HEAD" || body.starts_with(expected));
            let is_cut_off = end.is_some() || !shows_resets();
            assert!(is_whole || is_cut_off || lines[0].ends_with(" 500"), "{request:?}: {answer:?}");
        }
    }
    running.client().send(get("/")).expect("HTTP/1.1 200 OK\r\n");
}

/// Each hook that logs is called, even if others panic.
#[test]
fn a_hook_that_panics_does_not_silence_the_others() {
    struct Noisy(App);
    impl modest::Layer for Noisy {
        fn log_request(&self, record: &LogRecord<'_>) {
            self.0.log_request(record);
            panic!("log_request panics, for the test");
        }
    }
    struct Falls;
    impl RequestHandler for Falls {
        fn delegate<'a>(&'a self, request: &Request) -> Option<&'a dyn RequestHandler> {
            assert!(request.param("delegate").is_none(), "delegate panics, for the test");
            None
        }
        fn do_get(&self, _: &Request) -> Result<Response> {
            Ok(Response::text("here"))
        }
        fn log_request(&self, _: &LogRecord<'_>) {
            panic!("log_request panics, for the test");
        }
    }
    let app = App::default();
    let noisy = || Noisy(app.clone());
    let routes = modest::Routes::new().mount("/a", Falls.layer(noisy())).layer(noisy()).with_state(());
    let running = serve(Http::new(routes.layer(noisy()).layer(noisy())).access_log(None), |server| server);
    for (target, status, count) in [("/a/b", 200, 4), ("/a/b?delegate", 500, 4), ("/none", 404, 2)] {
        running.client().send(get(target)).expect(format!("HTTP/1.1 {status} "));
        eventually("all are logged", || app.lines.lock().unwrap().len() >= count);
        running.wait_for("nobody works", |stats| stats.running == 0);
        let lines = std::mem::take(&mut *app.lines.lock().unwrap());
        let ends = |line: &String| line.ends_with(&format!(" {status}"));
        assert!(lines.len() == count && lines.iter().all(ends), "{target}: {lines:?}");
    }
}

/// The page of a malformed head is whole, although its handler gives a page whose body would follow.
#[test]
fn the_page_of_a_malformed_head_is_whole() {
    struct Streams(App);
    impl RequestHandler for Streams {
        fn error_response(&self, _: Option<&Request>, error: &Error) -> Option<Response> {
            Some(Response::stream(&b"a page that is read"[..]).with_status(error.status()))
        }
        fn log_request(&self, record: &LogRecord<'_>) {
            self.0.log_request(record);
        }
    }
    let app = App::default();
    let running = serve(Http::new(Streams(app.clone())).access_log(None), |server| server);
    let answer = running.client().fetch("GET nowhere\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 400 ") && !head.to_lowercase().contains("transfer-encoding"), "{answer}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())) && !body.is_empty(), "{answer}");
    app.expect(&[" 400".into()], "a malformed head");
}

const LONG: u64 = 24 << 20; // more than the buffers of a connection hold

type Lines = Arc<Mutex<Vec<(String, u16, u64)>>>;

/// Long responses of each kind, and their lines: path, status and bytes.
struct Long {
    lines: Lines,
    file: tempfile::NamedTempFile,
}

impl Long {
    const PATHS: [&str; 5] = ["/bytes", "/file", "/stream", "/pushed", "/on-sent"];

    fn new() -> Long {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(LONG).unwrap();
        Long { lines: Lines::default(), file }
    }
}

impl RequestHandler for Long {
    fn do_get(&self, request: &Request) -> Result<Response> {
        let response = match request.path() {
            "/bytes" => Response::shared(Arc::new(vec![b'x'; LONG as usize])),
            "/file" => Response::open_file(Arc::new(self.file.reopen().unwrap()), LONG),
            "/pushed" => {
                let (sender, response) = Response::channel_with(ChannelOptions::new().queue(1 << 26));
                sender.send(vec![b'x'; LONG as usize]).expect("room");
                sender.finish();
                response
            }
            "/stream" => Response::sized_stream(io::repeat(b'x').take(LONG), LONG),
            _ => Response::bytes(vec![b'x'; LONG as usize]).on_sent(|_| ()),
        };
        Ok(response)
    }

    fn log_request(&self, record: &LogRecord<'_>) {
        let path = record.request().map_or("", Request::path).to_owned();
        self.lines.lock().unwrap().push((path, record.status().as_u16(), record.bytes()));
    }
}

/// The line of a long response is written when it was sent, or cut off, and has the bytes that were sent.
#[test]
fn the_line_of_a_long_response_has_the_bytes_that_were_sent() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum End {
        ReadsAll,
        Resets,
        Stalls,
        ShutsDown,
        Truncates,
    }
    for path in Long::PATHS {
        for end in [End::ReadsAll, End::Resets, End::Stalls, End::ShutsDown, End::Truncates] {
            for close in [false, true] {
                if end == End::Truncates && path != "/file" {
                    continue;
                }
                let app = Long::new();
                let (lines, file) = (app.lines.clone(), app.file.reopen().unwrap());
                let http = Http::new(app).access_log(None);
                let within = Duration::from_millis(if end == End::Stalls { 300 } else { 60_000 });
                let mut running = serve(http, |server| {
                    server.workers(2).write_timeout(within).shutdown_timeout(Duration::from_millis(300))
                });
                let mut client = running.client();
                let field = if close { "Connection: close\r\n" } else { "" };
                client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{field}\r\n")).expect("HTTP/1.1 200 OK\r\n");
                let what = format!("{path}, {end:?}, close: {close}");
                match end {
                    End::ReadsAll => {
                        let read = io::copy(&mut (&client.stream).take(LONG), &mut io::sink()).unwrap();
                        assert_eq!(read, LONG, "{what}");
                        client.half_close().read_to_any_end();
                    }
                    End::Resets => {
                        socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
                        drop(client);
                    }
                    End::Stalls => {}
                    End::ShutsDown => {
                        running.handle.shutdown();
                        running.wait_for_end();
                    }
                    End::Truncates => {
                        file.set_len(16 << 20).unwrap();
                        client.read_to_any_end();
                    }
                }
                eventually(&format!("{what}: it is logged"), || !lines.lock().unwrap().is_empty());
                let lines = lines.lock().unwrap().clone();
                let [(logged, 200, bytes)] = &lines[..] else { panic!("{what}: {lines:?}") };
                assert_eq!(logged, path, "{what}");
                match end {
                    End::ReadsAll => assert_eq!(*bytes, LONG, "{what}"),
                    End::Truncates => assert!(*bytes <= 16 << 20, "{what}: {bytes}"),
                    _ => assert!(*bytes < LONG, "{what}: {bytes}"),
                }
            }
        }
    }
}
