//! `log_to_stderr` in a program: this program starts a copy of itself for each case, and reads what the copy has
//! written.

use std::io::{self, Read};
use std::panic::AssertUnwindSafe;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use modest::layers::{MemorySessions, RequestIds, Session, SessionStore, Sessions};
use modest::live::Signal;
use modest::testing::TestRequest;
use modest::websocket::{self, Close, Message, Socket, WebSocketHandler};
use modest::{
    Error, Http, Layer, LogFormat, LogRecord, LogScope, Logger, Method, Request, RequestHandler, Response,
    ReverseProxy, Routes, TcpServer, before_body_fn, handler_fn, raw, testing,
};

/// The case that a copy of this program runs. Without it, this is not a copy.
const CASE: &str = "MODEST_STDERR_CASE";

/// A store of sessions on a disk that can be full.
struct Full(MemorySessions, AtomicBool);

impl SessionStore for Full {
    fn load(&self, key: &str) -> io::Result<Option<Vec<u8>>> {
        self.0.load(key)
    }

    fn save(&self, key: &str, bytes: &[u8], expires: SystemTime) -> io::Result<()> {
        if self.1.load(Relaxed) { Err(io::Error::other("disk full")) } else { self.0.save(key, bytes, expires) }
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        self.0.remove(key)
    }
}

/// A body that can't be read.
struct Breaks;

impl Read for Breaks {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("no more"))
    }
}

/// Writes the access log, except for health checks.
struct AllButHealth;

impl Layer for AllButHealth {
    fn log_request(&self, record: &LogRecord<'_>) {
        if record.request().is_none_or(|request| request.path() != "/health") {
            log::info!(target: "modest::access", "{record}");
        }
    }
}

fn start(case: &str) -> Child {
    let program = std::env::current_exe().unwrap();
    Command::new(program)
        .args(["--exact", "copy", "--nocapture"])
        .env(CASE, case)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn copy() {
    match std::env::var(CASE).as_deref() {
        Ok("serve") => {
            let _log = modest::log_to_stderr();
            let _again = modest::log_to_stderr(); // does nothing
            log::debug!("nobody wants to know");
            log::info!("ready");
            let app = handler_fn(|request| match request.path() {
                "/" => Ok(Response::text("hello\n")),
                _ => Err(format!("no table\nfor {}", request.path()).into()),
            });
            let server = testing::serve(app);
            assert_eq!(server.get("/").status(), 200);
            assert_eq!(server.get("/sums").status(), 500);
            assert!(!server.get("/sums").text().contains("table"));
        }
        Ok(case @ ("ids" | "ids in json")) => {
            let _log = match case {
                "ids" => modest::log_to_stderr(),
                _ => Logger::new().format(LogFormat::Json).start(),
            };
            let app = handler_fn(|request| match request.path() {
                "/panic" => panic!("at /panic"),
                "/broken" => Ok(Response::stream(Breaks)),
                "/page" => Ok(Response::text("a").with_header("a b", "c")),
                _ => Err("no table".into()),
            });
            let backend = testing::fake_server(|client| {
                client.request();
                client.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
            });
            let proxy = ReverseProxy::new(&backend.url("/")).unwrap();
            let app = Routes::new().mount("/proxied", proxy).fallback(app).with_state(());
            let ids = RequestIds::new().trust("127.0.0.1".parse().unwrap());
            let server = testing::serve(app.layer(ids));
            for (id, path) in [("sums-1", "/sums"), ("panic-2", "/panic"), ("page-3", "/page")] {
                let request = TestRequest::new(Method::GET, path).with_header("x-request-id", id);
                assert_eq!(server.send(request).status(), 500);
            }
            for (id, path) in [("broken-4", "/broken"), ("proxied-5", "/proxied")] {
                let request = TestRequest::new(Method::GET, path).with_header("x-request-id", id);
                std::panic::catch_unwind(AssertUnwindSafe(|| server.send(request))).expect_err("it is cut short");
            }
            assert_eq!(server.send(TestRequest::new(Method::GET, "/sums")).status(), 500);
        }
        Ok("scopes") => {
            let _log = Logger::new().levels_from_env().start();
            let app = handler_fn(|request| {
                log::info!("asked for {}", request.path());
                let scope = LogScope::current();
                let passed_on = move || scope.run(|| log::info!("on another thread"));
                std::thread::spawn(passed_on).join().unwrap();
                std::thread::spawn(|| log::info!("on a thread of its own")).join().unwrap();
                match request.path() {
                    "/quiet" => Ok(Response::text("")),
                    _ => Err(Error::new(403, "not for you")),
                }
            });
            let rejects = before_body_fn(|_, _| {
                log::info!("in a layer");
                Ok(())
            });
            let ids = RequestIds::new().trust("127.0.0.1".parse().unwrap());
            let server = testing::serve(app.layer(rejects).layer(ids));
            for (method, path, id) in [(Method::GET, "/secret", "get-1"), (Method::POST, "/quiet", "post-2")] {
                server.send(TestRequest::new(method, path).with_header("x-request-id", id).with_body("body"));
            }
            server.send(TestRequest::new(Method::GET, "/").with_header("host", "a b"));
            server.send(TestRequest::new(Method::GET, "/a b"));
        }
        Ok("later scopes") => {
            let _log = Logger::new().levels("modest=info").format(LogFormat::Json).start();
            struct Logs;
            impl Read for Logs {
                fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                    log::info!("in a body");
                    Ok(0)
                }
            }
            impl WebSocketHandler for Logs {
                fn opened(&mut self, _: &Socket) -> modest::Result<()> {
                    log::info!("in a socket");
                    Ok(())
                }
                fn message(&mut self, _: Message, _: &Socket) -> modest::Result<()> {
                    Err("no message".into())
                }
                fn closed(&mut self, _: &Socket, _: &Close) {
                    log::info!("after a socket");
                }
            }
            let signal = Signal::new();
            let (sender, pushed) = Response::channel();
            let pushed = Mutex::new(Some(pushed));
            let app = handler_fn(move |request| match request.path() {
                "/pushed" => Ok(pushed.lock().unwrap().take().unwrap()),
                "/wait" => Ok(Response::wait_for(signal.ticket(), Duration::from_secs(60))),
                "/body" => Ok(Response::stream(Logs).on_sent(|_| log::info!("sent"))),
                "/upgrade" => Ok(Response::upgrade("x", |_| {
                    log::info!("in a stream");
                    panic!("in a stream");
                })),
                _ => websocket::accept(request, Logs),
            });
            let ids = RequestIds::new().trust("127.0.0.1".parse().unwrap());
            let streamed = before_body_fn(|_, plan| {
                plan.stream().limit(1000);
                Ok(())
            });
            let server = testing::serve(app.layer(streamed).layer(ids));
            for path in ["/pushed", "/wait"] {
                let mut client = std::net::TcpStream::connect(server.address()).unwrap();
                let fields = "Host: a\r\nX-Request-Id: the-id\r\nTransfer-Encoding: chunked\r\n";
                let head = format!("POST {path} HTTP/1.1\r\n{fields}\r\n");
                std::io::Write::write_all(&mut client, head.as_bytes()).unwrap();
                let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
                while std::io::Write::write_all(&mut client, chunk.as_bytes()).is_ok() {}
            }
            drop(sender);
            server.send(TestRequest::new(Method::GET, "/body").with_header("x-request-id", "the-id"));
            for (path, upgrade, sent) in [("/upgrade", "x", &[][..]), ("/socket", "websocket", b"\x81\x80mask")] {
                let mut client = std::net::TcpStream::connect(server.address()).unwrap();
                let head = format!(
                    "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: {upgrade}\r\nX-Request-Id: the-id\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                );
                let bytes = [head.as_bytes(), sent, b"\x88\x80mask"].concat();
                std::io::Write::write_all(&mut client, &bytes).unwrap();
                let _ = client.read_to_end(&mut Vec::new());
            }
        }
        Ok("json") => {
            let _log = Logger::new().format(LogFormat::Json).levels("modest=info").start();
            let server = testing::serve(handler_fn(|_| Err(Error::new(404, "no \"a\""))).layer(RequestIds::new()));
            server.get("/");
            log::warn!("the\nend");
        }
        Ok("panics") => {
            let _log = modest::log_to_stderr();
            let shout = raw::streams(|_: &mut raw::Stream| -> std::io::Result<()> { panic!("in a\nstream") });
            let server = testing::serve(shout);
            let mut client = std::net::TcpStream::connect(server.address()).unwrap();
            assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
            let line = format!("client {}\n", client.local_addr().unwrap());
            // one write, so that the message of the panic does not split it
            std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
            let words = raw::Lines::new(|_, _| panic!("in {}", "a line"));
            let server = testing::serve(words);
            let mut client = std::net::TcpStream::connect(server.address()).unwrap();
            std::io::Write::write_all(&mut client, b"word\n").unwrap();
            assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
        }
        Ok("sessions") => {
            let _log = modest::log_to_stderr();
            let app = |layer: Sessions| {
                let app = handler_fn(|request| match request.path() {
                    "/in" => Session::of(request)?.insert("a", "1").map(|()| Response::text("")),
                    _ => Ok(Response::text("")),
                });
                Http::new(app.layer(layer))
            };
            for name in ["__Host-a", "__secure-b", "c"] {
                let http = app(Sessions::new(MemorySessions::new()).cookie_name(name));
                (0..3).for_each(|_| _ = http.respond(&Request::get("/in")).assert_status(200));
            }
            let store = Arc::new(Full(MemorySessions::new(), AtomicBool::new(false)));
            let http = app(Sessions::new(Arc::clone(&store)));
            let sent = http.respond(&Request::get("/in"));
            let cookie = sent.header("set-cookie").unwrap().split(';').next().unwrap();
            store.1.store(true, Relaxed);
            for minutes in [0, 2, 3, 4] {
                let now = SystemTime::now() + Duration::from_secs(60 * minutes);
                http.respond(&Request::get("/").with_header("cookie", cookie).with_now(now)).assert_status(200);
            }
        }
        Ok("flood") => {
            let log = modest::log_to_stderr();
            let line = "x".repeat(1000);
            (0..20_000).for_each(|_| log::error!("{line}"));
            drop(log); // waits for at most a second
        }
        Ok("chosen lines") => {
            let _log = Logger::new().levels("info").format(LogFormat::Json).start();
            let app = handler_fn(|_| Ok(Response::text("ok"))).layer(AllButHealth);
            let http = Http::new(app).access_log(None);
            let server = testing::start(TcpServer::bind("127.0.0.1:0", http).unwrap());
            for path in ["/health", "/notes"] {
                server.get(path).assert_status(200);
            }
        }
        Ok("logger") => {
            struct Deaf;
            impl log::Log for Deaf {
                fn enabled(&self, _: &log::Metadata<'_>) -> bool {
                    false
                }
                fn log(&self, _: &log::Record<'_>) {}
                fn flush(&self) {}
            }
            log::set_logger(&Deaf).unwrap();
            log::set_max_level(log::LevelFilter::Warn);
            let _log = modest::log_to_stderr();
            log::error!("unheard");
            assert_eq!(log::max_level(), log::LevelFilter::Warn);
        }
        _ => {}
    }
}

#[test]
fn causes_and_access_lines() {
    let output = start("serve").wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    for (part, count) in [
        ("\"GET / HTTP/1.1\" 200 -\n", 1),
        ("\"GET /sums HTTP/1.1\" 500 -\n", 2),
        ("[ERROR] [", 2),
        ("no table\\nfor /sums\n", 2),
        ("nobody wants to know", 0),
        ("[INFO] [", 1),
        ("] ready\n", 1),
    ] {
        assert_eq!(text.matches(part).count(), count, "{part:?} in {text}");
    }
}

/// All lines about a request can be found by its id, which is also in the response and in the access log.
#[test]
fn errors_name_their_request_by_its_id() {
    let output = start("ids").wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    for part in [
        "\"GET /sums HTTP/1.1\" [sums-1]: 500 Internal Server Error: no table\n",
        "\"GET /panic HTTP/1.1\" [panic-2]: the handler panicked: at /panic\n",
        "\"GET /page HTTP/1.1\" [page-3]: 500 Internal Server Error: a response field",
        "\"GET /broken HTTP/1.1\" [broken-4]: the response was cut off: no more\n",
        "\"GET /proxied HTTP/1.1\" [proxied-5]: the response was cut off: ",
    ] {
        assert_eq!(text.matches(part).count(), 1, "{part:?} in {text}");
    }
}

/// A line whose message names a request by its id has the id as a member.
#[test]
fn errors_in_json_have_the_id_of_their_request() {
    let text = output_of("ids in json", "");
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let errors: Vec<_> = lines.filter(|line| line["level"] == "ERROR" || line["level"] == "WARN").collect();
    for id in ["sums-1", "panic-2", "page-3", "broken-4", "proxied-5"] {
        let named = errors.iter().filter(|line| line["message"].as_str().unwrap().contains(&format!("[{id}]")));
        assert_eq!(named.map(|line| &line["id"]).collect::<Vec<_>>(), [id], "{text}");
    }
}

/// Lines that are logged for a request after its handler has returned also have its id: lines of its body, of its
/// `on_sent` function, and of the handlers of its stream or WebSocket.
#[test]
fn lines_after_the_handler_have_the_id_of_their_request() {
    let text = output_of("later scopes", "");
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let lines: Vec<_> = lines.filter(|line| line["message"].is_string()).collect();
    let too_long = "413 Payload Too Large: the connection was reset: the rest of the body is too long or malformed";
    assert_eq!(lines.iter().filter(|line| line["message"].as_str().unwrap().ends_with(too_long)).count(), 2, "{text}");
    for part in [
        too_long,
        "in a body",
        "sent",
        "in a stream",
        "panicked: in a stream",
        "in a socket",
        "no message",
        "after a socket",
    ] {
        let found = lines.iter().filter(|line| line["message"].as_str().unwrap().ends_with(part));
        let found: Vec<_> = found.map(|line| &line["id"]).collect();
        assert!(!found.is_empty() && found.iter().all(|id| *id == "the-id"), "{part}: {text}");
    }
}

fn output_of(case: &str, levels: &str) -> String {
    let program = std::env::current_exe().unwrap();
    let mut copy = Command::new(program);
    copy.args(["--exact", "copy", "--nocapture"]).env(CASE, case).env("RUST_LOG", levels).stdout(Stdio::null());
    let output = copy.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{case} {levels}: {text}");
    text
}

/// Each line that is logged for a request has its id, including those in layers and on threads with the scope. The reason of a 4xx
/// is logged at level `info`. `RUST_LOG` sets the levels.
#[test]
fn lines_of_a_request_have_its_id() {
    for (levels, counts) in [
        ("", [1, 1, 1, 1, 2, 2, 0, 0, 0, 4]),
        ("modest=info", [1, 1, 1, 1, 2, 2, 1, 1, 1, 4]),
        ("warn,modest::access=info,loud", [0, 0, 0, 0, 0, 0, 0, 0, 0, 4]),
        ("off", [0; 10]),
    ] {
        let text = output_of("scopes", levels);
        let parts = [
            "] [get-1] asked for /secret\n",
            "] [get-1] in a layer\n",
            "] [post-2] in a layer\n",
            "] [post-2] on another thread\n",
            "] on a thread of its own\n",
            "] asked for /",
            "] 127.0.0.1 \"GET /secret HTTP/1.1\" [get-1]: 403 Forbidden: not for you\n",
            "] 127.0.0.1 \"GET / HTTP/1.1\"",
            "] 127.0.0.1 \"GET /a b HTTP/1.1\": 400 Bad Request: ",
            " HTTP/1.1\" ",
        ];
        let found: Vec<_> = parts
            .iter()
            .map(|part| match *part {
                " HTTP/1.1\" " => text.lines().filter(|line| line.starts_with("127.0.0.1 - - ")).count(),
                part => text.matches(part).count(),
            })
            .collect();
        assert_eq!(found, counts, "{levels:?}: {parts:#?} in {text}");
        assert_eq!(text.contains("\"loud\" is not a log level"), levels.contains("loud"), "{text}");
    }
}

#[test]
fn all_lines_are_json() {
    let text = output_of("json", "");
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let of = |member: &str| lines.iter().map(|line| line[member].as_str().unwrap_or("-")).collect::<Vec<_>>();
    assert_eq!(of("level"), ["INFO", "-", "WARN"], "{text}");
    assert_eq!(of("message")[2], "the\nend", "{text}");
    assert_eq!(of("message")[0], format!("127.0.0.1 \"GET / HTTP/1.1\" [{}]: 404 Not Found: no \"a\"", of("id")[0]));
    assert_eq!((of("id")[0] == of("id")[1], of("id")[0].len() > 8), (true, true), "{text}");
}

#[test]
fn a_record_has_the_format_of_the_logger() {
    let text = output_of("chosen lines", "");
    let line: serde_json::Value = serde_json::from_str(&text).expect(&text);
    assert_eq!(line["target"], "/notes", "{text}");
}

#[test]
fn panics_name_client_and_message() {
    let text = output_of("panics", "");
    let client = text.lines().find_map(|line| line.strip_prefix("client ")).unwrap();
    assert!(text.contains(&format!("] a conversation with {client} panicked: in a\\nstream\n")), "{text}");
    assert!(text.contains("panicked: in a line\n"), "{text}");
}

/// A time of use that can't be stored is logged at times, and a cookie that browsers ignore is logged once.
#[test]
fn faults_of_sessions_are_logged() {
    let text = output_of("sessions", "warn");
    for (part, count) in [
        ("[WARN] [", 2),
        ("the cookie __Host-a was sent without TLS", 1),
        ("the cookie __secure-b was sent without TLS", 1),
        ("[ERROR] [", 1),
        ("the last use of a session can't be stored: disk full; 0 more since the last such line\n", 1),
    ] {
        assert_eq!(text.matches(part).count(), count, "{part:?} in {text}");
    }
}

/// Logs 20 MB that are not read before the program has ended.
#[test]
fn a_sleeping_reader_blocks_nothing() {
    let begun = Instant::now();
    let mut copy = start("flood");
    assert!(copy.wait().unwrap().success());
    assert!(begun.elapsed() < Duration::from_secs(20));
    let mut text = Vec::new();
    copy.stderr.take().unwrap().read_to_end(&mut text).unwrap();
    assert!(text.len() < 1 << 20, "{}", text.len());
}

#[test]
fn a_custom_logger_is_kept() {
    let output = start("logger").wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(!String::from_utf8_lossy(&output.stderr).contains("unheard"));
}
