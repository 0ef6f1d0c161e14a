//! Handlers that outlast the server, and connections that wait when it ends: what is complete arrives and ends normally,
//! and what is cut off ends in a reset, or inside TLS without a goodbye.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use modest::live::{Broadcast, Sender, Signal};
use modest::raw::{Flow, LineHandler, LineSender, Lines, Stream, streams};
use modest::websocket::{Message, Socket, WebSocket, WebSocketHandler};
use modest::{Http, IntoProtocol, Request, Response, Result, ServerHandle, handler_fn};

use crate::server::{Client, Gate, get, serve, shows_resets};
use crate::system::used_sockets_are_reset;

/// How a response or a conversation ends for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It ends with these bytes, and then normally.
    Whole(&'static str),
    Cut,
}
use End::{Cut, Whole};

impl End {
    #[track_caller]
    fn check(self, what: &str, client: &mut Client) {
        let (came, error) = client.read_to_any_end();
        let is_as_expected = match self {
            Whole(tail) => came.ends_with(tail.as_bytes()) && error.is_none(),
            Cut => error == Some(io::ErrorKind::ConnectionReset) || !shows_resets(),
        };
        let tail = came[came.len().saturating_sub(200)..].escape_ascii();
        assert!(is_as_expected, "{what}: {} bytes, \"{tail}\", and then {error:?}, not {self:?}", came.len());
    }
}

struct Greets;

impl WebSocketHandler for Greets {
    fn opened(&mut self, socket: &Socket) -> Result<()> {
        Ok(socket.send("welcome")?)
    }

    fn message(&mut self, _: Message, _: &Socket) -> Result<()> {
        Ok(())
    }
}

/// More than the engine writes in one turn.
const MUCH: usize = 8 << 20;

/// Each form of response, behind a gate.
fn responses(gate: &Gate) -> impl IntoProtocol {
    let (gate, news, signal) = (gate.clone(), Broadcast::new(), Signal::new());
    let open = Mutex::new(Vec::<Sender>::new());
    let respond = move |request: &Request| {
        gate.pass();
        Ok(match request.path() {
            "/text" => Response::text("the text"),
            "/fails" => return Err("for the test".into()),
            "/panics" => panic!("for the test"),
            "/much" => Response::bytes(vec![b'x'; MUCH]),
            "/stream" => Response::stream(io::repeat(b'x').take(100_000)),
            "/sized" => Response::sized_stream(io::repeat(b'x').take(100_000), 100_000),
            "/channel" => {
                let (sender, response) = Response::channel();
                sender.send("all of it").expect("room for it");
                sender.finish();
                response
            }
            "/open" => {
                let (sender, response) = Response::channel();
                sender.send("a part").expect("room for it");
                open.lock().unwrap().push(sender);
                response
            }
            "/events" => Response::events(news.listen(request)?),
            "/wait" if request.is_late() => Response::text("nothing new"),
            "/wait" => Response::wait_for(signal.ticket(), None),
            "/upgrade" => Response::upgrade("x", |mut stream: Stream| drop(stream.write_all(b"a part"))),
            _ => WebSocket::new().accept(request, Greets)?,
        })
    };
    Http::new(handler_fn(respond))
}

const UPGRADE: &str = "Connection: upgrade\r\nUpgrade: x\r\n\r\n";
const WEBSOCKET: &str = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A conversation of lines, behind a gate.
struct Talk(Gate, Option<LineSender>);

impl LineHandler for Talk {
    fn opened(&mut self, sender: &LineSender) {
        self.1 = Some(sender.clone());
    }

    fn line(&mut self, line: &str, reply: &mut Vec<u8>) -> Flow {
        self.0.pass();
        match line {
            "much" => reply.resize(MUCH, b'x'),
            "panic" => panic!("for the test"),
            "push" => self.1.iter().for_each(|sender| sender.send("pushed\n").expect("room for it")),
            _ => reply.extend_from_slice(format!("{line}\n").as_bytes()),
        }
        if line == "quit" { Flow::Close } else { Flow::Continue }
    }
}

fn lines(gate: &Gate) -> impl IntoProtocol {
    let gate = gate.clone();
    Lines::per_client(move |_| Talk(gate.clone(), None))
}

/// Serves one request whose handler returns after the server has ended.
fn outlast(app: impl IntoProtocol, gate: &Gate, sent: &str, end: End) {
    let mut server = serve(app, |server| server.workers(1));
    let _opened = gate.opened_at_end();
    let mut client = server.client();
    client.send(sent);
    gate.wait_for_arrivals(1);
    server.handle.shutdown_now();
    server.wait_for_end();
    gate.open();
    end.check(sent, &mut client);
}

#[test]
fn a_handler_that_outlasts_the_server_completes_its_response_or_is_cut_off() {
    for (path, end, end_of_http10) in [
        ("text", Whole("the text"), Whole("the text")),
        ("fails", Whole("</html>\n"), Whole("</html>\n")),
        ("panics", Whole("</html>\n"), Whole("</html>\n")),
        ("channel", Whole("all of it\r\n0\r\n\r\n"), Whole("all of it")),
        ("events", Whole("\r\n0\r\n\r\n"), Whole("\n\n")),
        ("much", Cut, Cut),
        ("stream", Cut, Cut),
        ("sized", Cut, Cut),
        ("open", Cut, Cut),
        ("wait", Cut, Cut),
    ] {
        for (version, end) in [("1.1", end), ("1.0", end_of_http10)] {
            let gate = Gate::default();
            outlast(responses(&gate), &gate, &format!("GET /{path} HTTP/{version}\r\nHost: a\r\n\r\n"), end);
        }
    }
    for (sent, end) in [
        (get("/text").repeat(2), Whole("Connection: close\r\n\r\nthe text")),
        ("GET /text HTTP/1.0\r\n\r\nunread".to_owned(), Whole("the text")),
        (format!("GET /upgrade HTTP/1.1\r\nHost: a\r\n{UPGRADE}"), Cut),
        (format!("GET /websocket HTTP/1.1\r\nHost: a\r\n{WEBSOCKET}"), Cut),
    ] {
        if sent.contains("/upgrade") && !used_sockets_are_reset() {
            continue;
        }
        let gate = Gate::default();
        outlast(responses(&gate), &gate, &sent, end);
    }
    for (sent, end) in [
        ("a\n", Whole("a\n")),
        ("a\nhalf", Whole("a\n")),
        ("quit\n", Whole("quit\n")),
        ("push\n", Whole("pushed\n")),
        (&"a\n".repeat(100), Cut), // more than are handled in one turn
        ("much\n", Cut),
        ("panic\n", Cut),
    ] {
        let gate = Gate::default();
        outlast(lines(&gate), &gate, sent, end);
    }
    let gate = Gate::default();
    let inside = gate.clone();
    let talks = move |stream: &mut Stream| {
        stream.write_all(b"a part")?;
        inside.pass();
        stream.write_all(b", and the rest")
    };
    if used_sockets_are_reset() {
        outlast(streams(talks), &gate, "x", Cut);
    }
}

/// Sends this, reads this first part of the response, and then what is left when the server has ended.
fn wait(app: impl IntoProtocol, sent: &str, first: &str, shut_down: fn(&ServerHandle), end: End) {
    let mut server = serve(app, |server| server.workers(1).shutdown_timeout(Duration::from_millis(100)));
    let mut client = server.client();
    client.send(sent);
    let mut came = Vec::new();
    while !came.ends_with(first.as_bytes()) {
        let mut byte = [0];
        client.stream.read_exact(&mut byte).unwrap_or_else(|err| panic!("{sent}: {}: {err}", came.escape_ascii()));
        came.extend(byte);
    }
    server.wait_for("it waits", |stats| stats.parked == 1);
    shut_down(&server.handle);
    server.wait_for_end();
    end.check(sent, &mut client);
}

#[test]
fn connections_that_wait_when_the_server_ends_are_complete_or_cut_off() {
    let gate = Gate::default();
    gate.open();
    let old = |path| format!("GET /{path} HTTP/1.0\r\n\r\n");
    let post = "POST /text HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n".to_owned();
    // The request, the part of the response that has come, and the ends by `shutdown_now` and by the shutdown timeout.
    for (sent, first, now, late) in [
        (get("/text"), "the text", Whole(""), Whole("")),
        (post, "100 Continue\r\n\r\n", Cut, Cut),
        (get("/much"), "\r\n\r\n", Cut, Cut),
        (old("much"), "\r\n\r\n", Cut, Cut),
        (get("/open"), "a part\r\n", Cut, Cut),
        (old("open"), "a part", Cut, Cut),
        (get("/events"), "\r\n\r\n", Cut, Whole("\r\n0\r\n\r\n")),
        (old("events"), "\r\n\r\n", Cut, Whole("")),
        (format!("GET /websocket HTTP/1.1\r\nHost: a\r\n{WEBSOCKET}"), "welcome", Cut, Cut), // after a close frame
    ] {
        wait(responses(&gate), &sent, first, ServerHandle::shutdown_now, now);
        wait(responses(&gate), &sent, first, ServerHandle::shutdown, late);
    }
    for (sent, first, end) in [("a\n", "a\n", Whole("")), ("a\nhalf", "a\n", Cut)] {
        wait(lines(&gate), sent, first, ServerHandle::shutdown_now, end);
        wait(lines(&gate), sent, first, ServerHandle::shutdown, end);
    }
}

/// A client that waits is sent a line while the only worker is in a handler. It gets the line, or sees that something is
/// missing.
#[test]
fn accepted_lines_are_sent_or_visibly_cut_off() {
    struct Listens(Gate, Arc<Mutex<Vec<LineSender>>>);
    impl LineHandler for Listens {
        fn opened(&mut self, sender: &LineSender) {
            self.1.lock().unwrap().push(sender.clone());
        }

        fn line(&mut self, line: &str, reply: &mut Vec<u8>) -> Flow {
            if line == "wait" {
                self.0.pass();
            }
            reply.extend_from_slice(b"ok\n");
            Flow::Continue
        }
    }
    for _ in 0..5 {
        let (gate, senders) = (Gate::default(), Arc::default());
        let (at_gate, known) = (gate.clone(), Arc::clone(&senders));
        let app = Lines::per_client(move |_| Listens(at_gate.clone(), Arc::clone(&known)));
        let mut server = serve(app, |server| server.workers(1));
        let _opened = gate.opened_at_end();
        let (mut idle, mut busy) = (server.client(), server.client());
        idle.send("a\n").expect("ok\n");
        busy.send("wait\n");
        gate.wait_for_arrivals(1);
        senders.lock().unwrap().iter().for_each(|sender| sender.send("accepted\n").expect("room for it"));
        server.handle.shutdown_now();
        server.wait_for_end();
        let (came, error) = idle.read_to_any_end();
        assert!(came == b"accepted\n" || error.is_some() || !shows_resets(), "{:?}", came.escape_ascii().to_string());
        gate.open();
        Whole("ok\naccepted\n").check("the line of the handler", &mut busy);
    }
}
