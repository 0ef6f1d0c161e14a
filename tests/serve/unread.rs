//! Bodies that their handler does not read, with each kind of response. The unread bytes are never parsed as another
//! request or as bytes of a new protocol, and truncate no response.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use modest::live::{Sender, Signal};
use modest::raw::{Action, Conversation, Stream, Turn};
use modest::{BodyPlan, Http, Request, RequestHandler, Response, Result};

use crate::server::{Client, Running, is_plain, serve};

/// The query has the number of bytes of a body that its handlers read, and the path the kind of the response.
#[derive(Clone, Default)]
struct Careless {
    senders: Arc<Mutex<Vec<Sender>>>,
    changed: Signal,
    is_changed: Arc<AtomicBool>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl RequestHandler for Careless {
    fn before_body(&self, _: &Request, plan: &mut BodyPlan) -> Result<()> {
        plan.stream().limit(1 << 30);
        Ok(())
    }

    fn do_get(&self, request: &Request) -> Result<Response> {
        self.heard.lock().unwrap().push(request.path().to_owned());
        Ok(Response::text(format!("got {}\n", request.path())))
    }

    fn do_post(&self, request: &Request) -> Result<Response> {
        let mut some = vec![0; request.parse_optional_param("read")?.unwrap_or(0)];
        let is_changed = self.is_changed.load(SeqCst);
        if !is_changed {
            std::io::Read::read_exact(&mut request.reader(), &mut some)?;
        }
        match request.path() {
            "/bytes" => Ok(Response::text("done\n")),
            "/stream" => Ok(Response::stream(&b"done\n"[..])),
            "/wait" if is_changed => {
                let left = request.bytes().map(|bytes| bytes.len());
                Ok(Response::text(if matches!(left, Ok(0)) { "an empty body: done\n" } else { "done\n" }))
            }
            "/wait" => Ok(Response::wait_for(self.changed.ticket(), Duration::from_secs(60))),
            "/channel" => {
                let (sender, response) = Response::channel();
                self.senders.lock().unwrap().push(sender);
                Ok(response)
            }
            "/upgrade" => Ok(Response::upgrade("loud", |mut stream: Stream| stream.write_all(b"loud").unwrap())),
            "/switch" => Ok(Response::switch_to("echo", Echo)),
            other => panic!("{other}"),
        }
    }
}

struct Echo;

impl Conversation for Echo {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        let bytes = turn.input.bytes().to_vec();
        turn.input.consume(bytes.len());
        turn.output.bytes().extend_from_slice(&bytes);
        if turn.input.ended() { Action::Close } else { Action::Idle { within: None } }
    }
}

fn post(path: &str, fields: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: loud, echo\r\n{fields}\r\n")
}

const SECRET: &str = "GET /secret HTTP/1.1\r\nHost: a\r\n\r\n";

fn start() -> (Careless, Running) {
    let careless = Careless::default();
    let running = serve(Http::new(careless.clone()).access_log(None), |server| server.workers(4));
    (careless, running)
}

impl Careless {
    /// Waits until a long poll waits, and changes its state.
    fn change(&self, running: &Running) {
        running.wait_for("it waits", |stats| stats.long_polls == 1);
        self.is_changed.store(true, SeqCst);
        self.changed.notify();
    }

    /// Sends the rest of a channel and finishes it, after the handler has returned.
    fn finish(&self, running: &Running) {
        running.wait_for("the handler has returned", |stats| stats.running == 0 && stats.event_listeners == 1);
        let sender = self.senders.lock().unwrap().pop().expect("a sender");
        sender.send("done\n").unwrap();
        sender.finish();
    }

    /// Lets the response of this path continue.
    fn go_on(&self, path: &str, running: &Running) {
        match path {
            "/wait" => self.change(running),
            "/channel" => self.finish(running),
            _ => {}
        }
    }
}

/// The response: its head, and its body until `done`.
fn answer(client: &mut Client) -> String {
    let mut text = String::new();
    while !text.contains("done\n") && !text.starts_with("HTTP/1.1 400") {
        text += &client.line();
    }
    text
}

/// A body that looks like a request: with the head, in pieces, and with both framings.
#[test]
fn unread_body_bytes_are_not_parsed_as_a_request() {
    let length = SECRET.len();
    let framings = [
        (format!("Content-Length: {length}\r\n"), SECRET.to_owned()),
        ("Transfer-Encoding: chunked\r\n".to_owned(), format!("{length:x}\r\n{SECRET}\r\n0\r\n\r\n")),
    ];
    for path in ["/bytes", "/stream", "/wait", "/channel"] {
        for (fields, body) in &framings {
            for (query, sent_first) in
                [("", body.len()), ("", 0), ("", 9), ("?read=5", 20), ("?read=5", body.len() - 1)]
            {
                let (careless, running) = start();
                let mut client = running.client();
                let target = format!("{path}{query}");
                let (first, rest) = body.split_at(sent_first);
                client.send(post(&target, fields) + first);
                if path == "/wait" {
                    running.wait_for("it waits", |stats| stats.long_polls == 1);
                }
                client.send(rest.to_owned() + &SECRET.replace("secret", "next"));
                careless.go_on(path, &running);
                let said = answer(&mut client);
                let is_right = said.starts_with("HTTP/1.1 200") && !said.contains("empty");
                assert!(is_right, "{target}, {fields}, {sent_first} bytes first: {said}");
                let mut after = String::new();
                while !after.ends_with("got /next\n") {
                    after += &client.line();
                }
                let heard = careless.heard.lock().unwrap().clone();
                assert_eq!(heard, ["/next"], "{target}, {fields}, {sent_first} bytes first");
            }
        }
    }
}

/// The server cannot know whether such a client sends its body at all.
#[test]
fn a_withheld_body_closes_the_connection() {
    for path in ["/bytes", "/stream", "/wait", "/channel"] {
        let (careless, running) = start();
        let mut client = running.client();
        client.send(post(path, &format!("Content-Length: {}\r\nExpect: 100-continue\r\n", SECRET.len())));
        careless.go_on(path, &running);
        let head = answer(&mut client);
        assert!(head.contains("Connection: close") && !head.contains("100 Continue"), "{path}: {head}");
        client.send(SECRET).half_close().read_to_end();
        assert_eq!(careless.heard.lock().unwrap().len(), 0, "{path}");
    }
}

#[test]
fn a_long_unread_body_does_not_truncate_the_response() {
    const LENGTH: usize = 5_000_000;
    for path in ["/bytes", "/stream", "/wait", "/channel"] {
        for fields in [format!("Content-Length: {LENGTH}\r\n"), "Transfer-Encoding: chunked\r\n".to_owned()] {
            let (careless, running) = start();
            let mut client = running.client();
            client.send(post(path, &fields));
            let mut sending = client.stream.try_clone().unwrap();
            let is_chunked = fields.starts_with('T');
            let sender = std::thread::spawn(move || {
                for _ in 0..LENGTH / 10_000 {
                    let piece =
                        if is_chunked { format!("2710\r\n{}\r\n", "x".repeat(10_000)) } else { "x".repeat(10_000) };
                    if sending.write_all(piece.as_bytes()).is_err() {
                        return; // the response has arrived
                    }
                }
            });
            careless.go_on(path, &running);
            let said = answer(&mut client);
            assert!(said.starts_with("HTTP/1.1 200"), "{path}, {fields}: {said}");
            drop(client);
            drop(running);
            sender.join().unwrap();
        }
    }
}

#[test]
fn unread_body_bytes_do_not_reach_an_upgraded_protocol() {
    for path in ["/upgrade", "/switch"] {
        for (fields, body, status) in [
            ("Content-Length: 6\r\n", "secret", "101"), // the body has arrived, and is dropped
            ("Content-Length: 6\r\n", "sec", "400"),
            ("Content-Length: 600000\r\n", "sec", "400"),
            ("Content-Length: 6\r\nExpect: 100-continue\r\n", "", "400"),
            ("Transfer-Encoding: chunked\r\n", "6\r\nsecret\r\n0\r\n\r\n", "101"),
            ("Transfer-Encoding: chunked\r\n", "6\r\nsecret\r\n", "400"),
        ] {
            let (_, running) = start();
            let mut client = running.client();
            client.send(post(path, fields) + body);
            let head = client.line();
            assert!(head.contains(status), "{path}, {fields}{body}: {head}");
            if status == "101" {
                while client.line() != "\r\n" {}
                client.send("hi").half_close();
                let wanted = if path == "/switch" { "hi" } else { "loud" };
                assert_eq!(client.read_to_end().escape_ascii().to_string(), wanted, "{path}, {fields}{body}");
            }
        }
    }
}

/// The number of bytes that the server has read and that the sockets hold.
fn taken(client: &mut Client, most: usize) -> usize {
    let piece = vec![b'x'; 64 * 1024];
    let mut count = 0;
    while count < most
        && let Ok(sent) = client.stream.write(&piece[..piece.len().min(most - count)])
    {
        count += sent;
    }
    count
}

/// The server reads a bounded number of bytes of a rejected client, but enough that the client gets the response.
#[test]
fn reading_from_a_rejected_client_is_bounded() {
    if !is_plain() {
        return; // a bridge reads more bytes than its server
    }
    const MUCH: usize = 400_000_000;
    for (what, head, length, wanted, most) in [
        ("a head", "GET  / HTTP/1.1\r\n\r\n", MUCH, "400", 32_000_000),
        (
            "a body that is too long",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000000\r\n\r\n",
            MUCH,
            "413",
            128_000_000,
        ),
        (
            "a body that is too long, and is sent to its end",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n",
            20_000_000,
            "413",
            20_000_000,
        ),
    ] {
        let app = modest::handler_fn(|_: &Request| Ok(Response::text("taken")));
        let running = serve(Http::new(app).access_log(None).body_limit(1_000_000), |server| server);
        let mut client = running.client();
        let count = taken(client.send(head), length);
        assert!(count <= most && (length == MUCH || count == length), "{what}: {count} bytes were received");
        if length < MUCH {
            let said = client.line();
            assert!(said.contains(wanted), "{what}: {said}");
        }
    }
}
