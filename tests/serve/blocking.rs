//! User code that blocks in the wrong place: it blocks its own worker, never the server.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use modest::raw::{Action, Conversation, Event, Protocol, Raw, Stage, Turn};
use modest::{Client as Peer, Request, RequestHandler, Response, Result};

use crate::server::{Gate, Running, get, serve};

/// A worker that has just worked ticks four more times, a millisecond apart, and takes over connections that wait. Only
/// then do all workers sleep except the polling one. Nothing else shows that this state is reached.
const ALL_ASLEEP: Duration = Duration::from_millis(50);

/// An echo whose code waits at a gate: in `meet` for the first client, in `event` for a client that was late, in a
/// handler after `handle`, in `drop` after `drop`.
#[derive(Clone, Default)]
struct Echo {
    gate: Gate,
    handlers: Gate,
    meeting: Arc<AtomicBool>, // the next client is the first one, and waits
}

struct Line {
    echo: Echo,
    handling: bool,
    drop_waits: bool,
}

impl Protocol for Echo {
    fn meet(&self, _: &Peer) -> Option<Box<dyn Conversation>> {
        if self.meeting.swap(false, Relaxed) {
            self.gate.pass();
        }
        Some(Box::new(Line { echo: self.clone(), handling: false, drop_waits: false }))
    }
}

impl Conversation for Line {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        if std::mem::take(&mut self.handling) {
            self.echo.handlers.pass();
        }
        if turn.input.bytes() == b"handle\n" {
            turn.input.consume(7);
            self.handling = true;
            return Action::Handle;
        }
        self.drop_waits |= turn.input.bytes() == b"drop\n";
        let late = turn.input.bytes() == b"late\n";
        turn.output.bytes().extend_from_slice(turn.input.bytes());
        turn.input.consume(turn.input.bytes().len());
        match late {
            true => Action::Read {
                stage: Stage(1),
                within: Some(Duration::from_millis(20)),
                evictable: false,
                at_min_rate: false,
            },
            false => Action::Idle { within: None },
        }
    }

    fn event(&mut self, _: Event, _: &mut Turn<'_>) -> Action {
        self.echo.gate.pass();
        Action::Close
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.drop_waits {
            self.echo.gate.pass();
        }
    }
}

/// An earlier client and a new one are served.
fn others_are_served(server: &Running, bystander: &mut crate::server::Client) {
    bystander.ask("still here\n", "still here\n");
    server.client().ask("just come\n", "just come\n");
}

#[test]
fn a_blocking_drop_delays_no_other_client() {
    let echo = Echo::default();
    let server = serve(Raw(echo.clone()), |server| server.workers(4));
    let _end = echo.gate.opened_at_end();
    let (mut bystander, mut leaving) = (server.client(), server.client());
    bystander.ask("here\n", "here\n");
    leaving.ask("drop\n", "drop\n");
    server.wait_for("both rest", |stats| stats.parked == 2);
    thread::sleep(ALL_ASLEEP);
    drop(leaving);
    echo.gate.wait_for_arrivals(1);
    others_are_served(&server, &mut bystander);
}

#[test]
fn a_blocking_meeting_delays_no_other_client() {
    let echo = Echo::default();
    let server = serve(Raw(echo.clone()), |server| server.workers(4));
    let _end = echo.gate.opened_at_end();
    let mut bystander = server.client();
    bystander.ask("here\n", "here\n");
    server.wait_for("it rests", |stats| stats.parked == 1);
    thread::sleep(ALL_ASLEEP);
    echo.meeting.store(true, Relaxed);
    let _waiting = server.client();
    echo.gate.wait_for_arrivals(1);
    others_are_served(&server, &mut bystander);
}

#[test]
fn a_blocking_event_delays_no_other_client() {
    let echo = Echo::default();
    let server = serve(Raw(echo.clone()), |server| server.workers(4));
    let _end = echo.gate.opened_at_end();
    let (mut bystander, mut late) = (server.client(), server.client());
    bystander.ask("here\n", "here\n");
    late.ask("late\n", "late\n");
    echo.gate.wait_for_arrivals(1);
    others_are_served(&server, &mut bystander);
}

#[test]
fn a_blocking_drop_beside_full_handlers_delays_no_other_client() {
    let echo = Echo::default();
    let server = serve(Raw(echo.clone()), |server| server.workers(2));
    let _end = (echo.gate.opened_at_end(), echo.handlers.opened_at_end());
    let (mut bystander, mut leaving) = (server.client(), server.client());
    bystander.ask("here\n", "here\n");
    leaving.ask("drop\n", "drop\n");
    let mut handled = [server.client(), server.client()];
    handled.iter_mut().for_each(|client| {
        client.send("handle\n");
    });
    echo.handlers.wait_for_arrivals(2);
    server.wait_for("the others rest", |stats| stats.parked == 2);
    drop(leaving);
    echo.gate.wait_for_arrivals(1);
    others_are_served(&server, &mut bystander);
}

/// An endless body whose `drop` waits at a gate.
struct Reader(Gate);

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        buffer.fill(b'x');
        Ok(buffer.len())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.pass();
    }
}

#[test]
fn a_stream_with_a_blocking_drop_delays_no_other_client() {
    struct App(Gate);
    impl RequestHandler for App {
        fn do_get(&self, request: &Request) -> Result<Response> {
            match request.path() {
                "/stream" => Ok(Response::stream(Reader(self.0.clone()))),
                _ => Ok(Response::text("here")),
            }
        }
    }
    let gate = Gate::default();
    let server = serve(App(gate.clone()), |server| server.workers(4));
    let _end = gate.opened_at_end();
    let (mut bystander, mut leaving) = (server.client(), server.client());
    bystander.fetch(get("/"));
    leaving.ask(get("/stream"), "HTTP/1.1 200 OK\r\n");
    server.wait_for("one rests, one takes no more", |stats| stats.parked == 2);
    thread::sleep(ALL_ASLEEP);
    drop(leaving);
    gate.wait_for_arrivals(1);
    let answer = bystander.fetch(get("/"));
    assert!(answer.ends_with("\r\n\r\nhere"), "{answer:?}");
    let answer = server.client().fetch(get("/"));
    assert!(answer.ends_with("\r\n\r\nhere"), "{answer:?}");
}
