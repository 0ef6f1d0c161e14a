//! Handlers that run for a long time are logged while they run. This costs nothing while the server is idle.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use modest::layers::RequestIds;
use modest::raw::{Flow, Lines};
use modest::{Request, RequestHandler, Response, Result, TcpServer};

use crate::server::{Client, Gate, OpenedAtEnd, alone, eventually, get, serve};

const LIMIT: Duration = Duration::from_millis(100);

fn with_limit(server: TcpServer) -> TcpServer {
    server.workers(3).slow_handler(LIMIT)
}

/// `/stuck` and bodies for it wait at a gate.
#[derive(Clone, Default)]
struct App(Gate);

impl App {
    fn opened_at_end(&self) -> OpenedAtEnd {
        self.0.opened_at_end()
    }
}

impl RequestHandler for App {
    fn do_get(&self, request: &Request) -> Result<Response> {
        if request.path() == "/stuck" {
            self.0.pass();
        }
        if request.path() == "/stream" {
            return Ok(Response::stream(Slow(false)));
        }
        Ok(Response::text("here"))
    }
}

/// A body whose last read waits for five times the limit.
struct Slow(bool);

impl std::io::Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if std::mem::replace(&mut self.0, true) {
            return Ok(0);
        }
        thread::sleep(5 * LIMIT);
        buffer[0] = b'x';
        Ok(1)
    }
}

/// Keeps warnings. Before each one it sends a request to the server, which would hang if logging blocked the poller.
#[derive(Default)]
struct Log {
    warnings: Mutex<Vec<String>>,
    server: Mutex<Option<SocketAddr>>,
}

static LOG: Log = Log { warnings: Mutex::new(Vec::new()), server: Mutex::new(None) };

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let server = *self.server.lock().unwrap();
            if let Some(server) = server {
                assert!(Client::new(server).fetch(get("/")).ends_with("here"));
            }
            self.warnings.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

fn warnings() -> Vec<String> {
    LOG.warnings.lock().unwrap().clone()
}

fn listen(server: SocketAddr) {
    *LOG.server.lock().unwrap() = Some(server);
    log::set_logger(&LOG).expect("the first logger of this process");
    log::set_max_level(log::LevelFilter::Warn);
}

#[test]
fn a_slow_handler_is_logged_once_while_it_runs() {
    alone("slow::a_slow_handler_is_logged_once_while_it_runs", || {
        let app = App::default();
        let server = serve(app.clone(), with_limit);
        listen(server.address);
        let _end = app.opened_at_end();
        let mut stuck = server.client();
        stuck.send(get("/stuck?why=\u{1b}").replace('\u{1b}', "%1b"));
        app.0.wait_for_arrivals(1);
        eventually("it is named", || !warnings().is_empty());
        let name = format!("GET /stuck?why=%1b HTTP/1.1 from {} has", stuck.stream.local_addr().unwrap());
        assert!(warnings()[0].starts_with(&name), "{:?}, not {name:?}", warnings());
        thread::sleep(5 * LIMIT); // enough time to log it again
        assert_eq!(warnings().len(), 1, "{:?}", warnings());
        let mut other = server.client();
        other.send(get("/stuck"));
        eventually("the other is also named", || warnings().len() == 2);
    });
}

/// With and without a body: the id is known before the handler is called, or only then.
#[test]
fn a_slow_handler_is_logged_with_its_request_id() {
    alone("slow::a_slow_handler_is_logged_with_its_request_id", || {
        let app = App::default();
        let ids = RequestIds::new().trust("127.0.0.1".parse().unwrap());
        let server = serve(app.clone().layer(ids), with_limit);
        listen(server.address);
        let _end = app.opened_at_end();
        let long = "x".repeat(300);
        let mut clients = Vec::new();
        for (id, fields, body) in [("get-1", "", ""), ("post-2", "Content-Length: 1\r\n", "x")] {
            let mut stuck = server.client();
            let line = format!("GET /stuck?{long} HTTP/1.1");
            stuck.send(format!("{line}\r\nHost: a\r\nX-Request-Id: {id}\r\n{fields}\r\n{body}"));
            clients.push(stuck);
            eventually("it is named", || warnings().len() == clients.len());
            let expected = format!("x [{id}] from 127.0.0.1:");
            assert!(warnings().last().is_some_and(|line| line.contains(&expected)), "{expected} in {:?}", warnings());
        }
    });
}

#[test]
fn work_after_a_handler_is_not_logged_as_slow() {
    alone("slow::work_after_a_handler_is_not_logged_as_slow", || {
        let server = serve(App::default(), with_limit);
        listen(server.address);
        let mut client = server.client();
        assert!(client.fetch(get("/")).ends_with("here"));
        client.send(get("/stream")).expect("HTTP/1.1 200 OK\r\n");
        let answer = client.send("GET / HTTP/1.0\r\n\r\n").read_to_end();
        assert!(answer.ends_with(b"here"));
        assert_eq!(warnings(), [""; 0]);
    });
}

#[test]
fn an_idle_server_does_not_wake_up() {
    let app = App::default();
    let server = serve(app.clone(), |server| server.workers(2).slow_handler(Duration::from_millis(20)));
    let _end = app.opened_at_end();
    let mut clients: Vec<Client> = (0..4).map(|_| server.client()).collect();
    for client in &mut clients {
        assert!(client.fetch(get("/")).ends_with("here"));
    }
    server.wait_for("all are idle", |stats| stats.parked == 4);
    thread::sleep(Duration::from_millis(100)); // one check may be due for the worker that fell asleep last
    let before = server.handle.stats().polls;
    thread::sleep(Duration::from_millis(500)); // 25 times the limit
    assert_eq!(server.handle.stats().polls - before, 0, "an idle server must not poll");
}

#[test]
fn a_slow_line_handler_is_logged_with_its_first_word() {
    alone("slow::a_slow_line_handler_is_logged_with_its_first_word", || {
        let gate = Gate::default();
        let at_gate = gate.clone();
        let lines = Lines::new(move |line, _| {
            if line.starts_with("login") {
                at_gate.pass();
            }
            Flow::Continue
        });
        let server = serve(lines, with_limit);
        log::set_logger(&LOG).expect("the first logger of this process");
        log::set_max_level(log::LevelFilter::Warn);
        let _end = gate.opened_at_end();
        let mut client = server.client();
        client.send("hello\nlogin secret\n");
        eventually("it is named", || !warnings().is_empty());
        let name = format!("login from {} has", client.stream.local_addr().unwrap());
        assert!(warnings()[0].starts_with(&name), "{:?}, not {name:?}", warnings());
    });
}
