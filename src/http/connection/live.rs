//! Connections that wait for something other than their client, without a worker: pushed bodies, long polls, other
//! protocols. Called only by `connection`.

use std::time::{Duration, SystemTime};

use http::{StatusCode, Version, header};

use super::{Exchange, HttpConnection, State, is_short};
use crate::http::error::Error;
use crate::http::live::{PassedOn, Registered, Wait};
use crate::http::rejection::Rejection;
use crate::http::request::Body;
use crate::http::request::arriving::CONTINUE;
use crate::http::responder::{catch_panic, log_fault, log_reason};
use crate::http::response::{NextConversation, Protocol, ServeStream};
use crate::http::sending::pushed::{PushedProgress, PushedStream};
use crate::http::sending::{Checked, encode_switch};
use crate::tcp::{Action, Handover, LiveKind, LiveRefusal, MayBlock, PacedWriter, Stage, Stream, Turn, catch};

pub(super) struct PushedResponse {
    pub(super) stream: PushedStream,
    pub(super) exchange: Box<Exchange>,
    pub(super) status: StatusCode,
}

/// A request that waits for a signal and is then handled again.
pub(super) struct WaitingRequest {
    pub(super) exchange: Box<Exchange>,
    wait: Wait,
    /// Whether the client has closed its sending side, and was sent an interim response to find out whether it still
    /// reads.
    is_probed: bool,
    registered: Option<Registered>,
}

/// A connection that will be a stream of another protocol as soon as a thread is free.
pub(super) struct Upgrading {
    pub(super) exchange: Box<Exchange>,
    /// The response with this head, for the page in its place if there is no thread.
    pub(super) response: Checked,
    head: Vec<u8>,
    serve: ServeStream,
}

impl Exchange {
    /// Returns the error for a lack of permits, threads or memory. A client would repeat a request that gets a 503, so
    /// one that a backend may have executed gets a 502.
    pub(super) fn busy(&self) -> Error {
        match self.request.value::<PassedOn>() {
            None => Rejection::busy("too busy right now").into(),
            Some(_) => Error::new(StatusCode::BAD_GATEWAY, "The response can't be passed on: too busy right now."),
        }
    }

    /// Drops the received part of a body that no handler reads. If the body is too long or malformed, logs that as the
    /// reason for the reset, and returns true.
    fn has_too_much_unread(&mut self, turn: &mut Turn<'_>) -> bool {
        let has_too_much = !self.drop_unread(turn);
        if has_too_much {
            let why = "the connection was reset: the rest of the body is too long or malformed";
            log_reason(&self.request, &Error::new(StatusCode::PAYLOAD_TOO_LARGE, why));
        }
        has_too_much
    }

    fn hand_over_to(mut self: Box<Exchange>, conversation: NextConversation, turn: &mut Turn<'_>) -> Action {
        let place = self.live.take();
        self.end();
        turn.hand_over(Handover::to(conversation.into_inner()).with_place(place))
    }

    /// Counts the connection among those that wait for something other than their client, if the limit allows it. A
    /// request that a backend may have executed is not refused, because its client would send it again. The proxy
    /// limits the number of such requests.
    fn wait_live(&mut self, kind: LiveKind, turn: &Turn<'_>) -> Result<(), Error> {
        if let Some(place) = &mut self.live {
            place.set_kind(kind); // the request has waited for a signal before
            return Ok(());
        }
        let (status, why) = match turn.live_place(kind, self.request.client_ip()) {
            Ok(place) => {
                self.live = place;
                return Ok(());
            }
            Err(_) if self.request.value::<PassedOn>().is_some() => return Ok(()),
            Err(LiveRefusal::Full) => (StatusCode::SERVICE_UNAVAILABLE, "too many connections are already waiting"),
            Err(LiveRefusal::FullForAddress) => {
                (StatusCode::TOO_MANY_REQUESTS, "too many connections from this address are already waiting")
            }
        };
        let error = Error::new(status, why);
        // The handler has already run.
        Err(if self.request.method().is_safe() { error.with_header(header::RETRY_AFTER, "5") } else { error })
    }
}

impl HttpConnection {
    /// Begins a response with a pushed body, if the limit of such connections allows it.
    pub(super) fn begin_live(&mut self, mut exchange: Box<Exchange>, response: Checked, turn: &mut Turn<'_>) -> Action {
        let response = match exchange.wait_live(LiveKind::Listener, turn) {
            Ok(()) => response,
            Err(refused) => self.page_in_place(&exchange.request, &refused, &response),
        };
        self.send_response(exchange, response, turn)
    }

    /// Sends the pushed bytes, or waits for more. A body that never waits learns of a shutdown here.
    pub(super) fn send_pushed(&mut self, mut pushed: Box<PushedResponse>, turn: &mut Turn<'_>) -> Action {
        if turn.server_is_shutting_down() && pushed.stream.body.begin_shutdown() {
            pushed = match self.end_early(pushed, turn) {
                Ok(next) => return next,
                Err(pushed) => pushed,
            };
        }
        if turn.input.was_cut() || pushed.exchange.has_too_much_unread(turn) {
            return self.break_off_pushed(pushed, turn);
        }
        if turn.input.ended() {
            pushed.stream.probe(turn.output);
        }
        match pushed.stream.write(turn.output) {
            PushedProgress::More => {
                self.state = State::Pushed(pushed);
                Action::Again
            }
            PushedProgress::Room => self.ask_for_permit(State::CallingSender(pushed)),
            PushedProgress::Waiting => {
                self.stage = self.stage.wrapping_add(1);
                let within = pushed.stream.silence();
                self.state = State::Pushed(pushed);
                Action::Wait { stage: Stage(self.stage), within }
            }
            PushedProgress::Done => {
                self.log_short(&pushed, turn);
                self.ask_for_permit(State::PushedEnd(pushed))
            }
            PushedProgress::Broken => self.break_off_pushed(pushed, turn),
        }
    }

    pub(super) fn call_sender(
        &mut self,
        pushed: Box<PushedResponse>,
        may_block: MayBlock,
        turn: &mut Turn<'_>,
    ) -> Action {
        if turn.server_is_over() {
            return self.break_off_pushed(pushed, turn);
        }
        match catch_panic(&pushed.exchange.request, || pushed.stream.body.call_for_more(may_block)) {
            Ok(()) => self.send_pushed(pushed, turn),
            Err(_) => self.break_off_pushed(pushed, turn),
        }
    }

    pub(super) fn after_pushed(&mut self, pushed: PushedResponse, may_block: MayBlock, turn: &mut Turn<'_>) -> Action {
        self.log_pushed(&pushed, turn);
        let PushedResponse { stream, exchange, .. } = pushed;
        drop(stream);
        self.was_sent(exchange, may_block, turn)
    }

    pub(super) fn break_off_pushed(&mut self, pushed: Box<PushedResponse>, turn: &mut Turn<'_>) -> Action {
        self.log_pushed(&pushed, turn);
        if let Some(fault) = &pushed.stream.fault {
            log_fault(&pushed.exchange.request, format_args!("the response was cut off: {fault}"));
        }
        self.state = State::Closing { _kept: Box::new(State::Pushed(pushed)) };
        Action::Abort
    }

    /// Called when nothing was pushed for the heartbeat interval: sends a heartbeat to check whether the connection is
    /// alive, or ends the response.
    pub(super) fn beat(&mut self, mut pushed: Box<PushedResponse>, turn: &mut Turn<'_>) -> Action {
        if !pushed.stream.write_heartbeat(turn.output) {
            return self.break_off_pushed(pushed, turn);
        }
        self.state = State::Pushed(pushed);
        Action::Again
    }

    /// Called when the server shuts down: the body ends here, or when its sender ends it.
    pub(super) fn end_pushed(&mut self, pushed: Box<PushedResponse>, turn: &mut Turn<'_>) -> Action {
        pushed.stream.body.begin_shutdown();
        self.end_early(pushed, turn).unwrap_or_else(|pushed| self.wait_on(State::Pushed(pushed)))
    }

    /// Ends a body at a shutdown. Returns the body as an error if only its sender can end it.
    fn end_early(
        &mut self,
        mut pushed: Box<PushedResponse>,
        turn: &mut Turn<'_>,
    ) -> Result<Action, Box<PushedResponse>> {
        match pushed.stream.write_farewell(turn.output) {
            PushedProgress::Done => {
                pushed.exchange.keep_alive = false;
                self.log_short(&pushed, turn);
                Ok(self.ask_for_permit(State::PushedEnd(pushed)))
            }
            PushedProgress::Broken => Ok(self.break_off_pushed(pushed, turn)),
            PushedProgress::More | PushedProgress::Room | PushedProgress::Waiting => Err(pushed),
        }
    }

    pub(super) fn log_pushed(&self, pushed: &PushedResponse, turn: &Turn<'_>) {
        let sent = pushed.stream.sent.saturating_sub(turn.output.owed());
        self.log(&pushed.exchange, pushed.status, sent, turn);
    }

    /// Logs a pushed response that is completely in the output, if it is logged before it is sent.
    fn log_short(&self, pushed: &PushedResponse, turn: &Turn<'_>) {
        if is_short(turn) {
            self.log(&pushed.exchange, pushed.status, pushed.stream.sent, turn);
        }
    }

    /// Called when the handler has no response before a signal is notified, or the time of the wait has passed.
    pub(super) fn wait_for(&mut self, mut exchange: Box<Exchange>, wait: Wait, turn: &mut Turn<'_>) -> Action {
        let left = match wait.backend {
            Some(_) => wait.within,
            None if exchange.request.is_late() => {
                log_fault(&exchange.request, format_args!("the handler waits again although its time is up"));
                return self.close_with(exchange, &Error::new(StatusCode::INTERNAL_SERVER_ERROR, ""), turn);
            }
            // All waits of a request count together. Otherwise a busy signal could make it wait forever.
            None => {
                let since = *exchange.waits_since.get_or_insert(turn.now);
                let left = wait.within.map(|within| within.saturating_sub(turn.now.saturating_duration_since(since)));
                if turn.is_shutting_down() || left == Some(Duration::ZERO) {
                    return self.handle_late(exchange);
                }
                left
            }
        };
        if let Err(refused) = exchange.wait_live(LiveKind::Poll, turn) {
            let page = self.page(&exchange.request, &refused);
            return self.send_response(exchange, page, turn);
        }
        self.begin_wait(Box::new(WaitingRequest { exchange, wait, is_probed: false, registered: None }), left, turn)
    }

    fn begin_wait(&mut self, mut waiting: Box<WaitingRequest>, within: Option<Duration>, turn: &Turn<'_>) -> Action {
        waiting.registered = waiting.wait.ticket.register(turn.waker());
        if waiting.registered.is_none() {
            turn.waker().wake(); // it was already notified
        }
        self.stage = self.stage.wrapping_add(1);
        self.state = State::Waiting(waiting);
        Action::Wait { stage: Stage(self.stage), within }
    }

    /// Called when the server shuts down.
    pub(super) fn end_waiting(&mut self, waiting: Box<WaitingRequest>) -> Action {
        if waiting.wait.backend.is_none() {
            return self.handle_late(waiting.exchange);
        }
        self.wait_on(State::Waiting(waiting))
    }

    /// Called when bytes, or their end, arrive while a request waits.
    pub(super) fn go_on_waiting(&mut self, mut waiting: Box<WaitingRequest>, turn: &mut Turn<'_>) -> Action {
        if turn.input.was_cut() || waiting.exchange.has_too_much_unread(turn) {
            self.log(&waiting.exchange, StatusCode::BAD_REQUEST, 0, turn); // the client has disconnected
            self.state = State::Closing { _kept: Box::new(State::Waiting(waiting)) };
            return Action::Abort;
        }
        // The client may still read the response, or may have disconnected. An interim response distinguishes the two:
        // the system of a client that has disconnected answers it with a reset. (Any number of interim responses is
        // allowed: RFC 9110, section 15.2.)
        if turn.input.ended()
            && waiting.exchange.request.version() == Version::HTTP_11
            && !std::mem::replace(&mut waiting.is_probed, true)
        {
            turn.output.bytes().extend_from_slice(CONTINUE);
        }
        self.wait_on(State::Waiting(waiting))
    }

    /// Called when the request was notified. The notification may belong to an earlier wait.
    pub(super) fn on_signal(&mut self, waiting: Box<WaitingRequest>, turn: &Turn<'_>) -> Action {
        match waiting.wait.ticket.is_over() {
            true => self.resume(waiting, turn),
            false => self.wait_on(State::Waiting(waiting)),
        }
    }

    /// Called when the signal was not notified in time.
    pub(super) fn end_wait(&mut self, waiting: Box<WaitingRequest>, turn: &Turn<'_>) -> Action {
        match waiting.wait.backend {
            Some(_) => self.resume(waiting, turn),
            None => self.handle_late(waiting.exchange),
        }
    }

    /// Handles the request again, unless it waits for a backend whose response has not begun.
    fn resume(&mut self, mut waiting: Box<WaitingRequest>, turn: &Turn<'_>) -> Action {
        waiting.registered = None; // this connection now handles the request, so it needs no call
        let Some((ticket, within)) = waiting.wait.backend.as_ref().and_then(|backend| backend.advance()) else {
            // A backend may have executed the request, so it can no longer be rejected.
            waiting.exchange.request.asked.set_old(waiting.wait.backend.is_none());
            return self.ask_for_permit(State::Handling(waiting.exchange));
        };
        waiting.wait.ticket = ticket;
        self.begin_wait(waiting, within, turn)
    }

    pub(super) fn handle_late(&mut self, mut exchange: Box<Exchange>) -> Action {
        exchange.request.late = true;
        exchange.request.asked.set_old(true);
        self.ask_for_permit(State::Handling(exchange))
    }

    pub(super) fn switch_to(
        &mut self,
        mut exchange: Box<Exchange>,
        mut response: Checked,
        protocol: Protocol,
        turn: &mut Turn<'_>,
    ) -> Action {
        // The bytes after the response head belong to the new protocol, so no part of the request must be left before
        // them (RFC 9110, section 7.8: the response follows the complete request).
        if exchange.unread.is_some() {
            log_fault(&exchange.request, format_args!("the handler upgrades without having read the body"));
            let unread = Error::new(StatusCode::BAD_REQUEST, "this upgrade does not accept a body");
            return self.close_in_place(exchange, &response, &unread, turn);
        }
        exchange.request.body = Body::default();
        if let Protocol::Conversation { .. } = protocol
            && let Err(refused) = exchange.wait_live(LiveKind::Switched, turn)
        {
            let page = self.page_in_place(&exchange.request, &refused, &response);
            return self.send_response(exchange, page, turn);
        }
        exchange.on_sent = response.take_on_sent();
        let mut head = Vec::new();
        let (server, fields) = (self.config().server.as_ref(), &self.config().fields[..]);
        turn.read_wall_clock();
        encode_switch(&response, protocol.name(), server, fields, turn.wall, &mut head);
        match protocol {
            Protocol::Stream { serve, .. } | Protocol::Tunnel { serve } => {
                self.state = State::Upgrading(Box::new(Upgrading { exchange, response, head, serve }));
                Action::Take
            }
            Protocol::Conversation { conversation, .. } => {
                turn.output.bytes().extend_from_slice(&head);
                self.log(&exchange, StatusCode::SWITCHING_PROTOCOLS, 0, turn);
                match exchange.on_sent {
                    None => exchange.hand_over_to(conversation, turn),
                    Some(_) => self.ask_for_permit(State::Switching(Box::new((exchange, conversation)))),
                }
            }
        }
    }

    /// Calls the `on_sent` function of a 101, and hands the connection over.
    pub(super) fn switched(
        &mut self,
        (mut exchange, conversation): (Box<Exchange>, NextConversation),
        may_block: MayBlock,
        turn: &mut Turn<'_>,
    ) -> Action {
        if let Some(on_sent) = exchange.on_sent.take() {
            on_sent.sent(may_block);
        }
        exchange.hand_over_to(conversation, turn)
    }

    /// Sends the head, then calls the handler of the stream. Runs on the stream's own thread.
    pub(super) fn take_over(&mut self, upgrading: Upgrading, mut stream: Stream) {
        use std::io::Write;
        let client = stream.client().clone();
        let Upgrading { mut exchange, response, head, serve } = upgrading;
        self.log_at(SystemTime::now(), &exchange, response.status(), 0);
        let on_sent = exchange.on_sent.take();
        let line = exchange.request.for_log().to_string();
        exchange.end(); // the stream may live for a long time
        // Earlier responses may have filled the socket.
        let write = |mut writer: PacedWriter| writer.write_all(&head).and_then(|()| writer.flush());
        if let Err(err) = stream.paced_writer().and_then(write) {
            stream.reset(); // the response is incomplete
            return log::debug!("{client}: disconnected before the upgrade: {err}");
        }
        if let Some(on_sent) = on_sent {
            on_sent.sent(MayBlock::on_own_thread());
        }
        if let Err(panicked) = catch("the handler of a stream", || (serve.into_inner())(stream)) {
            panicked.of(&client, Some(line)).log();
        }
    }
}
