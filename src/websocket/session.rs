//! One client's conversation: it reads a message, calls the handler, sends the queued messages, waits, and closes.
//! Created by `settings`, called by the engine. It holds no worker while it waits, and keeps no buffer between
//! messages.

use std::time::{Duration, Instant};

use super::codec::{Codec, PING, Received};
use super::handler::WebSocketHandler;
use super::message::{Close, Message};
use super::socket::{Queued, Socket};
use crate::contain;
use crate::live::SendError;
use crate::raw::{Action, Conversation, Event, Stage, Turn};
use crate::{Error, LogScope};

pub(super) struct Session<H: WebSocketHandler> {
    handler: H,
    socket: Socket,
    limits: Limits,
    /// The name of the handler in the log.
    name: String,
    /// The request of the handshake.
    scope: LogScope,
    state: State,
    /// The codec, while a message or the close is in progress.
    codec: Option<Codec>,
    close: Option<Close>,
    clock: Clock,
    was_opened: bool,
    /// Whether the handler is called next, because there is room again.
    is_draining: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The maximum length of a message in bytes.
    pub(super) message: usize,
    pub(super) ping: Option<Duration>,
    pub(super) idle: Option<Duration>,
    pub(super) close: Duration,
}

/// The number of the first stage. HTTP does not use numbers this high, so it differs from HTTP's last stage, which the
/// engine may still have.
const STAGES: u32 = 1 << 31;

/// The times from which the limits count.
struct Clock {
    stage: u32,
    /// When this stage began: at the client's last bytes, or at the ping after them.
    since: Instant,
    last_message: Instant,
    /// Whether a ping was sent after the client's last bytes.
    has_pinged: bool,
    /// Whether an incomplete message is in progress.
    is_midway: bool,
}

enum State {
    /// The 101 has just been written.
    New,
    /// The next turn has a permit, for `opened`.
    Opening,
    Open,
    /// The next turn has a permit, for this message.
    Handling(Message),
    /// The next turn has a permit, for `drained`.
    Drained,
    Handled,
    /// The server has closed, and waits for the client's close.
    Closing,
    Over,
}

impl<H: WebSocketHandler> Session<H> {
    pub(super) fn new(handler: H, socket: Socket, limits: Limits, name: String) -> Session<H> {
        let now = Instant::now();
        let clock = Clock { stage: STAGES, since: now, last_message: now, has_pinged: false, is_midway: false };
        Session {
            handler,
            socket,
            limits,
            name,
            scope: LogScope::current(),
            state: State::New,
            codec: None,
            close: None,
            clock,
            was_opened: false,
            is_draining: false,
        }
    }
}

impl<H: WebSocketHandler> Conversation for Session<H> {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        match std::mem::replace(&mut self.state, State::Over) {
            State::New => {
                self.socket.attach(turn.waker());
                self.state = State::Opening;
                Action::Handle
            }
            State::Opening => {
                self.was_opened = true;
                self.handle(turn, |handler, socket| handler.opened(socket))
            }
            State::Handling(message) => self.handle(turn, |handler, socket| handler.message(message, socket)),
            State::Drained => self.handle(turn, |handler, socket| handler.drained(socket)),
            State::Handled => {
                self.clock.last_message = turn.now();
                self.clock.begin(turn.now());
                self.go_on(turn)
            }
            State::Open => {
                if !self.clock.is_midway {
                    self.clock.begin(turn.now()); // the client has sent or read something
                }
                self.go_on(turn)
            }
            State::Closing => self.await_close(turn),
            State::Over => Action::Close,
        }
    }

    fn event(&mut self, what: Event, turn: &mut Turn<'_>) -> Action {
        match (what, &self.state) {
            (Event::SendFailed, _) if self.socket.is_too_slow() => self.over(Close::too_slow(), Action::Abort),
            (Event::SendFailed, _) => self.over(Close::abnormal(), Action::Close),
            (Event::Called | Event::ShuttingDown, State::Open) => self.go_on(turn),
            (Event::Late(_), State::Open) => self.be_late(turn),
            (Event::NoPermit | Event::NoMemory, _) => self.fail(Close::new(1013, "the server is busy"), turn),
            (Event::Called | Event::ShuttingDown, State::Closing) => {
                Action::read(Stage(self.clock.stage), self.limits.close)
            }
            _ => self.over(Close::abnormal(), Action::Close),
        }
    }

    fn kept(&self) -> usize {
        let waits = if let State::Handling(message) = &self.state { message.as_bytes().len() } else { 0 };
        waits + self.codec.as_ref().map_or(0, |codec| codec.held)
    }
}

impl<H: WebSocketHandler> Session<H> {
    /// Writes queued messages, reads, or waits. A connection that never waits learns of a shutdown here. After the
    /// shutdown timeout nothing is sent, so it is no accident of timing whether a client gets a close frame.
    fn go_on(&mut self, turn: &mut Turn<'_>) -> Action {
        if turn.server_is_over() {
            return self.over(Close::abnormal(), Action::Abort);
        }
        self.state = State::Open;
        if turn.is_shutting_down() {
            self.socket.close(1001, "the server shuts down"); // after the messages that were queued before
        }
        match self.socket.write_to(turn.output) {
            Queued::Empty => {}
            Queued::More => return Action::Again, // no message is read while the client does not read
            Queued::Close(close) => return self.close(close, turn),
            Queued::TooSlow => return self.over(Close::too_slow(), Action::Abort),
        }
        match self.receive(turn) {
            Received::Message(message) => {
                self.clock.is_midway = false;
                self.state = State::Handling(message);
                Action::Handle
            }
            Received::Nothing if turn.input.ended() => self.over(Close::abnormal(), Action::Close),
            Received::Nothing if self.socket.awaits_room() => self.drain(turn),
            Received::Nothing => self.wait(turn),
            Received::Closed(close) => self.over(close, Action::Close),
            Received::Broken(close) => self.fail(close, turn),
        }
    }

    /// Calls the handler for more messages. Before that the connection waits for a call of its own, so that messages of
    /// the client are read, even if the handler always has more.
    fn drain(&mut self, turn: &mut Turn<'_>) -> Action {
        if !std::mem::replace(&mut self.is_draining, true) {
            turn.waker().wake();
            return self.wait(turn);
        }
        self.is_draining = false;
        self.socket.take_room();
        self.state = State::Drained;
        Action::Handle
    }

    fn receive(&mut self, turn: &mut Turn<'_>) -> Received {
        if self.codec.is_none() && turn.input.is_empty() {
            return Received::Nothing;
        }
        let codec = self.codec.get_or_insert_with(|| Codec::new(self.limits.message));
        codec.receive(turn.input, turn.output)
    }

    fn handle(&mut self, turn: &mut Turn<'_>, call: impl FnOnce(&mut H, &Socket) -> Result<(), Error>) -> Action {
        turn.handler_begins(&self.name);
        let result = self.scope.run(|| self.socket.handling(|| call(&mut self.handler, &self.socket)));
        self.state = State::Handled;
        // If the client has disconnected, the next turn finds that out.
        let is_gone = |err: &Error| self.socket.is_gone() && err.cause().is_some_and(|cause| cause.is::<SendError>());
        if let Some(err) = result.err().filter(|err| !is_gone(err)) {
            self.scope.run(|| log::error!("{}: {}: {err}", turn.client, self.name));
            self.socket.close(1011, "an error of the server"); // after the messages that were queued before
        }
        Action::Again // output is sent before more is read
    }

    /// Called when there is nothing to do: waits for bytes, or for a call.
    fn wait(&mut self, turn: &mut Turn<'_>) -> Action {
        let is_midway = !turn.input.is_empty() || self.codec.as_ref().is_some_and(Codec::is_midway);
        if is_midway != self.clock.is_midway {
            self.clock.begin(turn.now());
            self.clock.is_midway = is_midway;
        }
        if is_midway {
            return Action::read_at_min_rate(Stage(self.clock.stage), None);
        }
        self.codec = None;
        Action::read(Stage(self.clock.stage), self.clock.within(&self.limits))
    }

    /// Called when nothing has arrived for too long.
    fn be_late(&mut self, turn: &mut Turn<'_>) -> Action {
        let is_idle = self
            .limits
            .idle
            .is_some_and(|limit| turn.now().saturating_duration_since(self.clock.last_message) >= limit);
        if self.clock.is_midway {
            self.fail(Close::new(1008, "the message arrives too slowly"), turn)
        } else if is_idle {
            self.close(Close::new(1001, "silent for too long"), turn)
        } else if self.clock.has_pinged {
            self.over(Close::abnormal(), Action::Abort)
        } else {
            turn.output.bytes().extend_from_slice(&PING);
            self.clock.begin(turn.now());
            self.clock.has_pinged = true;
            self.wait(turn)
        }
    }
}

impl<H: WebSocketHandler> Session<H> {
    /// Begins the closing handshake: the client has to close as well.
    fn close(&mut self, close: Close, turn: &mut Turn<'_>) -> Action {
        self.send_close(&close, turn);
        self.clock.begin(turn.now());
        let _ = self.over(close, Action::Close);
        self.await_close(turn) // the client's close may have arrived
    }

    /// Reads until the client has closed, after the server has closed.
    fn await_close(&mut self, turn: &mut Turn<'_>) -> Action {
        loop {
            match self.receive(turn) {
                // A client that sends without a pause is never found waiting.
                Received::Message(_) if turn.now().saturating_duration_since(self.clock.since) >= self.limits.close => {
                    return Action::Close;
                }
                Received::Message(_) => {} // the client sent it before it got the close
                Received::Nothing if turn.input.ended() => return Action::Close,
                Received::Nothing => {
                    self.state = State::Closing;
                    return Action::read(Stage(self.clock.stage), self.limits.close);
                }
                Received::Closed(_) => return Action::Close,
                Received::Broken(_) => return Action::Linger,
            }
        }
    }

    /// Ends the connection of a client that violated the protocol or cannot be served, after sending the reason (RFC
    /// 6455, section 7.1.7).
    fn fail(&mut self, close: Close, turn: &mut Turn<'_>) -> Action {
        log::debug!("{}: {}: closed with {}: {}", turn.client, self.name, close.code, close.reason);
        self.send_close(&close, turn);
        self.over(close, Action::Linger)
    }

    /// Sends the messages that were accepted, and then the close.
    fn send_close(&mut self, close: &Close, turn: &mut Turn<'_>) {
        self.socket.end_and_write(turn.output);
        let codec = self.codec.get_or_insert_with(|| Codec::new(self.limits.message));
        codec.close(close, turn.input, turn.output);
    }

    /// Ends the connection. The handler gets the first reason.
    fn over(&mut self, close: Close, next: Action) -> Action {
        self.state = State::Over;
        self.close.get_or_insert(close);
        self.socket.end();
        next
    }
}

impl Clock {
    fn begin(&mut self, now: Instant) {
        self.stage = self.stage.wrapping_add(1);
        self.since = now;
        self.has_pinged = false;
    }

    /// Returns how long this stage can take: until a ping is due, or the client has been silent for too long.
    fn within(&self, limits: &Limits) -> Option<Duration> {
        let before = self.since.saturating_duration_since(self.last_message);
        let idle = limits.idle.map(|limit| limit.saturating_sub(before));
        limits.ping.into_iter().chain(idle).min()
    }
}

/// Calls `closed`. Runs with a permit, because `drop_may_block` is true.
impl<H: WebSocketHandler> Drop for Session<H> {
    fn drop(&mut self) {
        self.socket.end();
        if self.was_opened {
            let close = self.close.take().unwrap_or_else(Close::abnormal);
            // The handler is dropped next, and can panic as well, for the same reason: two panics at once would abort.
            let closed = || self.handler.closed(&self.socket, &close);
            self.scope.run(|| contain("WebSocketHandler::closed", closed));
        }
    }
}
