//! A server with handlers to abuse, in a separate process: this program with the argument `serve`.

use std::io::{self, Read};
use std::process::Command;
use std::sync::{Arc, Mutex};

use modest::live::Broadcast;
use modest::raw::{Action, Conversation, Event, Protocol, Raw, Turn, Waker};
use modest::{Client, Http, Request, RequestHandler, Response, Result, Routes, TcpServer};

use crate::built::Built;

pub fn start() -> Built {
    start_with(&[])
}

/// Like `start`, with these variables in its environment.
pub fn start_with(variables: &[(&str, &str)]) -> Built {
    let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
    command.arg("serve").envs(variables.iter().copied());
    Built::start_with(&mut command, std::process::Stdio::null())
}

/// The size of body memory in bytes, in place of the default.
pub const BODY_MEMORY: &str = "SOAK_BODY_MEMORY";

/// Set: the server has the protocol of `News` in place of HTTP.
pub const NEWS: &str = "SOAK_NEWS";

/// An address: the server there has events and ordinary requests.
pub const LIVE: &str = "SOAK_LIVE";

pub fn serve() {
    if let Ok(address) = std::env::var(LIVE) {
        return serve_live(&address);
    }
    if std::env::var_os(NEWS).is_some() {
        return serve_forever(TcpServer::bind("127.0.0.1:0", Raw(News::default())).expect("a free port").workers(4));
    }
    std::panic::set_hook(Box::new(|_| {})); // there are many, on purpose
    let memory = std::env::var(BODY_MEMORY).ok().and_then(|bytes| bytes.parse().ok());
    let http = Http::new(Abused);
    let http = if let Some(bytes) = memory { http.body_memory(bytes) } else { http };
    serve_forever(TcpServer::bind("127.0.0.1:0", http).expect("a free port"));
}

/// With four workers: `/events`, `/say` (one event), `/flood` (sixteen events of 1 KB), `/ask`, and `/numbers` of the
/// server.
fn serve_live(address: &str) {
    let news = Broadcast::new().heartbeat(None).max_listeners(20_000);
    let routes = Routes::new()
        .get("/events", |news: &Broadcast, request| Ok(Response::events(news.listen(request)?)))
        .get("/ask", |_, _| Ok(Response::text("ok\n")))
        .get("/numbers", |_, request| {
            let stats = request.server().stats();
            Ok(Response::text(format!("{} {}", stats.connections, stats.event_listeners)))
        })
        .post("/say", |news, request| {
            news.send(request.text()?);
            Ok(Response::no_content())
        })
        .post("/flood", |news, _| {
            for _ in 0..16 {
                news.send("x".repeat(1000));
            }
            Ok(Response::no_content())
        })
        .with_state(news);
    let server = TcpServer::bind(address, Http::new(routes).access_log(None)).expect("a free port").workers(4);
    server.handle().shutdown_on_signals().expect("signals");
    serve_forever(server);
}

fn serve_forever(server: TcpServer) {
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.serve_forever().expect("the serving process");
}

struct Abused;

impl RequestHandler for Abused {
    fn do_get(&self, request: &Request) -> Result<Response> {
        match request.path() {
            "/endless" => Ok(Response::stream(Endless)),
            "/panic" => panic!("as requested"),
            _ => Ok(Response::text("here\n")),
        }
    }

    fn do_post(&self, request: &Request) -> Result<Response> {
        Ok(Response::bytes(request.bytes()?.into_owned()))
    }
}

struct Endless;

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        buffer.fill(b'x');
        Ok(buffer.len())
    }
}

/// `listen`: receive news from now on. `ask`: get a reply. `say`: send news to all listeners.
#[derive(Clone, Default)]
struct News(Arc<Mutex<Vec<Waker>>>);

struct Listener(News);

impl Protocol for News {
    fn meet(&self, _: &Client) -> Option<Box<dyn Conversation>> {
        Some(Box::new(Listener(self.clone())))
    }
}

impl Conversation for Listener {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        let line = turn.input.bytes().split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default().to_vec();
        if line.ends_with(b"\n") {
            turn.input.consume(line.len());
            let listeners = &self.0.0;
            match &line[..] {
                b"listen\n" => listeners.lock().expect("no panic").push(turn.waker()),
                b"say\n" => drop(Waker::wake_all(&listeners.lock().expect("no panic").clone())),
                _ => {}
            }
            turn.output.bytes().extend_from_slice(b"ok\n");
        }
        if turn.input.ended() { Action::Close } else { Action::Idle { within: None } }
    }

    fn event(&mut self, what: Event, turn: &mut Turn<'_>) -> Action {
        match what {
            Event::Called => {
                turn.output.bytes().extend_from_slice(b"news\n");
                Action::Idle { within: None }
            }
            _ => Action::Close,
        }
    }
}
