//! The relay between clients and two backends, over sockets.

#[path = "../../../tests/built/mod.rs"]
mod built;

use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use built::{Built, read_until};
use modest::live::Broadcast;
use modest::testing::{self, TestServer};
use modest::websocket::{self, Message, Socket, WebSocketHandler};
use modest::{Response, handler_fn};

fn relay(first: &TestServer, second: &TestServer) -> Built {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
    Built::start(command.args(["127.0.0.1:0", &first.url(""), &second.url("")]))
}

/// Responds with the number of requests so far. The path determines `Cache-Control`.
fn counting() -> (TestServer, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let server = testing::serve(handler_fn(move |request| {
        let number = count.fetch_add(1, SeqCst) + 1;
        let control: &[&str] = match request.path().rsplit('/').next().unwrap_or_default() {
            "private" => &["private, max-age=60"],
            "both" => &["public, private, max-age=60"],
            "capitals" => &["public, No-Store, max-age=60"],
            "other-word" => &["max-age=60, publicity"],
            "two-lines" => &["public, max-age=60", "no-store"],
            "private-line" => &["public, max-age=60", "private"],
            "private-field" => &["public, max-age=60, private=\"set-cookie, x\""],
            "shared-lines" => &["Public", "MAX-AGE=0, s-maxage = 60"],
            "expired" => &["public, max-age=0"],
            "broken" => {
                return Ok(Response::sized_stream(&b"half"[..], 10).with_header("cache-control", "public, max-age=60"));
            }
            _ => &["public, max-age=60"],
        };
        let response = Response::text(format!("{} {number}", request.target()));
        let response =
            control.iter().fold(response, |response, line| response.with_added_header("cache-control", *line));
        Ok(if request.path().ends_with("vary") { response.with_header("vary", "accept-language") } else { response })
    }));
    (server, asked)
}

#[test]
fn shared_responses_come_from_the_cache_and_others_do_not() {
    let ((first, asked), (second, others)) = (counting(), counting());
    let relay = relay(&first, &second);
    for (target, again) in [
        ("/api/shared", true),
        ("/api/shared?a=b", true),
        ("/page", true),
        ("/api/shared-lines", true),
        ("/api/private", false),
        ("/api/both", false),
        ("/api/capitals", false),
        ("/api/other-word", false),
        ("/api/two-lines", false),
        ("/api/private-line", false),
        ("/api/private-field", false),
        ("/api/expired", false),
        ("/api/vary", false),
    ] {
        let answers = [relay.get(target), relay.get(target)];
        assert_eq!(answers[0].body == answers[1].body, again, "{target}: {answers:?}");
        assert_eq!(answers[1].field("age").is_some(), again, "{target}: {answers:?}");
        assert!(answers[0].body.starts_with(target), "{answers:?}");
    }
    assert_eq!((asked.load(SeqCst), others.load(SeqCst)), (21, 1));
    for (method, field) in [
        ("POST", "X: y"),
        ("GET", "Authorization: a b"),
        ("GET", "Range: bytes=0-1"),
        ("GET", "Cache-Control: no-cache"),
    ] {
        let before = asked.load(SeqCst);
        relay.ask(method, "/api/shared", &[field], "");
        assert_eq!(asked.load(SeqCst), before + 1, "{method} {field}");
    }
}

/// A response that the client or the backend cut off is not kept.
#[test]
fn only_whole_responses_are_kept() {
    let ((first, asked), (second, _)) = (counting(), counting());
    let relay = relay(&first, &second);
    for count in 1..3 {
        let mut client = relay.connect();
        client.write_all(b"GET /api/broken HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        assert!(std::io::Read::read_to_end(&mut client, &mut Vec::new()).is_err(), "the relay passes the end on");
        assert_eq!(asked.load(SeqCst), count);
    }
}

#[derive(Clone)]
struct Echo;

impl WebSocketHandler for Echo {
    fn message(&mut self, message: Message, socket: &Socket) -> modest::Result<()> {
        Ok(socket.send(message)?)
    }
}

#[test]
fn event_streams_and_websockets_pass_through_while_others_are_served() {
    let news = Broadcast::new();
    let channel = news.clone();
    let live = testing::serve(handler_fn(move |request| match request.path() {
        "/api/socket" => websocket::accept(request, Echo),
        _ => Ok(Response::events(channel.listen(request)?)),
    }));
    let (pages, _) = counting();
    let relay = relay(&live, &pages);
    let mut listeners: Vec<_> = (0..60).map(|_| relay.connect()).collect(); // far more than there are workers
    for listener in &mut listeners {
        listener.write_all(b"GET /api/news HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        read_until(listener, b"\r\n\r\n").unwrap();
    }
    live.wait_until("all listen", |stats| stats.event_listeners == 60);
    assert_eq!(relay.get("/page").status, 200, "no listener holds a worker");
    news.send("hello");
    listeners.iter_mut().for_each(|listener| _ = read_until(listener, b"data: hello\n\n").unwrap());
    let url = format!("ws://{}/api/socket", relay.address);
    let (mut socket, _) = tungstenite::client(url, relay.connect()).unwrap();
    socket.send("hello".into()).unwrap();
    assert_eq!(socket.read().unwrap().into_text().unwrap().as_str(), "hello");
}
