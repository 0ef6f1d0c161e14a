//! The state machine of an HTTP connection: it reads a head and a body, calls the handler, encodes the response, and
//! repeats. Created by `service` for each client, and called by `tcp` once per turn. It uses `head`, `framing` and
//! `incoming` for input and `sending` for output. It never waits, blocks only in turns that may block, and holds no
//! buffer between requests.

mod events; // timeouts, overload, shutdown, rejected requests
mod receiving; // bodies of requests: accepted, received, spooled, dropped
mod arriving; // streamed bodies of requests
mod responding; // responses: encoding, streaming, and the next state
mod live; // waiting for something other than the client

use std::cell::Cell;
use std::sync::Arc;
use std::time::SystemTime;

use http::{Method, StatusCode};

use super::config::HttpConfig;
use super::error::Error;
use super::handler::{Completed, Depth, LogRecord};
use super::rejection::Rejection;
use super::request::arriving::Progress;
use super::request::decoder::BodyDecoder;
use super::request::discard::UnreadBody;
use super::request::framing::{self, BodyLength};
use super::request::head::{Head, HeadParser};
use super::request::{Body, Request};
use super::responder::{Service, rewritten};
use super::response::{Continuation, NextConversation, OnSent};
use super::sending::Checked;
use crate::tcp::{Action, Conversation, Event, Instant, LivePlace, MayBlock, Stage, Stream, Turn, Waker, contain};
use arriving::end_arriving_body;
use live::{PushedResponse, Upgrading, WaitingRequest};
use receiving::{PartialRequest, UnacceptedRequest};
use responding::{FinishedResponse, StreamingResponse};

pub(crate) struct HttpConnection {
    service: Arc<Service>,
    /// The current stage. A new stage gets a new number, which restarts its timeout.
    stage: u32,
    requests: u32,
    first_request: Option<Instant>,
    state: State,
}

/// Large states are boxed, as most connections are idle.
enum State {
    /// Before a request. The connection's waker is kept for the next request, because creating one increments a
    /// reference count on a cache line that other workers read.
    Idle(Option<Waker>),
    /// A head is being received. Its bytes stay in the input until it is complete.
    ReadingHead(Box<HeadParser>),
    /// The head of a request with a body is complete, and still in the input; `before_body` is to be called (with a
    /// permit).
    BeforeBody(Box<UnacceptedRequest>),
    /// A body is being received. Part of it may have to be written to disk (with a permit).
    ReadingBody(Box<PartialRequest>),
    /// A request is complete; the handler is to be called (with a permit).
    Handling(Box<Exchange>),
    /// A response is being encoded. A turn ends in this state only if its shared bytes panic.
    Encoding(Box<Exchange>),
    /// A response body is being read and sent (each read with a permit).
    Streaming(Box<StreamingResponse>),
    /// The body of the response is pushed by other threads.
    Pushed(Box<PushedResponse>),
    /// The body of the response is pushed, and there is room again: its sender is to be called (with a permit).
    CallingSender(Box<PushedResponse>),
    /// A request waits for a signal.
    Waiting(Box<WaitingRequest>),
    /// The connection becomes a stream of another protocol.
    Upgrading(Box<Upgrading>),
    /// A 101 was sent; its `on_sent` function is to be called (with a permit), and then the conversation takes over.
    Switching(Box<(Box<Exchange>, NextConversation)>),
    /// A body cannot be received: the rejection is sent, and the received part is dropped (with a permit).
    Rejecting(Box<(PartialRequest, Error)>),
    /// A response is completely in the output. When it is sent, it is logged, its `on_sent` function is called, and its
    /// request is dropped (with a permit).
    Finished(Box<FinishedResponse>),
    /// A pushed response was sent, and is to be dropped with its request (with a permit).
    PushedEnd(Box<PushedResponse>),
    /// The connection is about to be aborted. Its state is dropped with it, because dropping it may block.
    Closing { _kept: Box<State> },
    /// The rest of a declined request is received and dropped.
    DiscardingBody(Box<UnreadBody>),
}

/// A request, and data about its connection.
struct Exchange {
    request: Request,
    /// Whether the client allows another request on this connection.
    keep_alive: bool,
    /// Whether the next request has arrived with this one, has the same head, and is safe.
    is_repeated: bool,
    /// When the request first waited for a signal.
    waits_since: Option<Instant>,
    /// Counts the connection among those that wait for something other than their client.
    live: Option<LivePlace>,
    /// The rest of the body, if no handler reads it.
    unread: Option<Box<UnreadBody>>,
    progress: Option<Progress>,
    /// Called when the response was sent, or can't be.
    on_sent: Option<OnSent>,
    /// Whether the access log has its line. Each request has one, however its connection ends.
    is_logged: Cell<bool>,
}

impl Exchange {
    /// Drops what is not needed while the client reads the response, which can take long: the body, and the place of a
    /// request that has waited for a signal.
    fn drop_unneeded(&mut self) {
        self.request.body = Body::default();
        self.live = None;
    }

    /// Drops the request after its response. If a value that a handler has stored in it panics, the panic is logged,
    /// and the response is sent.
    fn end(self: Box<Exchange>) {
        contain("dropping a value of a request", || drop(self));
    }
}

impl Conversation for HttpConnection {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        if let State::Idle(_) = self.state {
            return self.next_request(turn.polled, turn);
        }
        match (self.take_state(), turn.may_block()) {
            (State::Idle(_), _) => unreachable!("handled above"),
            (State::ReadingHead(parser), _) => self.read_head(parser, turn),
            (State::ReadingBody(partial), _) => {
                partial.exchange.request.asked.set_old(true);
                self.receive_body(partial, turn)
            }
            (State::DiscardingBody(body), _) => self.discard_body(body, turn),
            (State::Pushed(pushed), _) => self.send_pushed(pushed, turn),
            (State::Waiting(waiting), _) => self.go_on_waiting(waiting, turn),
            (State::Closing { .. } | State::Encoding(_), _) => Action::Close,
            (State::Upgrading(_), _) => Action::Close, // the connection only waits for a thread
            (State::BeforeBody(unaccepted), Some(may_block)) => self.before_body(*unaccepted, may_block, turn),
            (State::Handling(exchange), Some(may_block)) => self.call_handler(exchange, may_block, turn),
            (State::Streaming(streaming), Some(may_block)) => self.stream_body(streaming, may_block, turn),
            (State::CallingSender(pushed), Some(may_block)) => self.call_sender(pushed, may_block, turn),
            (State::Rejecting(rejected), Some(may_block)) => {
                let (partial, error) = *rejected;
                self.close_partial(partial, &error, may_block, turn)
            }
            (State::Finished(finished), Some(may_block)) => self.finish(*finished, may_block, turn),
            (State::PushedEnd(pushed), Some(may_block)) => self.after_pushed(*pushed, may_block, turn),
            (State::Switching(switching), Some(may_block)) => self.switched(*switching, may_block, turn),
            (state, None) => self.ask_for_permit(state),
        }
    }

    fn event(&mut self, what: Event, turn: &mut Turn<'_>) -> Action {
        let Some(may_block) = turn.may_block() else { return Action::Abort }; // every event has a permit
        let state = self.take_state();
        match what {
            Event::Late(_) => self.on_timeout(state, may_block, turn),
            Event::NoPermit | Event::NoThread | Event::NoMemory => self.on_overload(what, state, may_block, turn),
            Event::ShuttingDown => self.on_shutdown(state, may_block, turn),
            Event::SendFailed => self.on_send_failed(state, may_block, turn),
            Event::Called => self.on_call(state, turn),
        }
    }

    fn take(mut self: Box<Self>, stream: Stream) {
        match self.take_state() {
            State::Upgrading(upgrading) => {
                let scope = upgrading.exchange.request.log_scope();
                scope.run(|| self.take_over(*upgrading, stream));
            }
            _ => drop(stream),
        }
    }

    fn cut_off(&mut self, unsent: u64) {
        self.log_unanswered(unsent);
    }

    fn kept(&self) -> usize {
        match &self.state {
            State::ReadingHead(parser) => parser.kept(),
            State::Finished(_) | State::PushedEnd(_) => 0, // the request has its response
            _ => self.state.exchange().map_or(0, |exchange| exchange.request.head.kept()),
        }
    }

    fn drop_may_block(&self) -> bool {
        // A request can have values stored by a handler, or a large body in a file: dropping them can block.
        !matches!(self.state, State::Idle(_) | State::ReadingHead(_) | State::DiscardingBody(_))
    }
}

impl State {
    fn exchange(&self) -> Option<&Exchange> {
        match self {
            State::BeforeBody(unaccepted) => Some(&unaccepted.exchange),
            State::ReadingBody(partial) => Some(&partial.exchange),
            State::Rejecting(rejected) => Some(&rejected.0.exchange),
            State::Handling(exchange) | State::Encoding(exchange) => Some(exchange),
            State::Streaming(streaming) => Some(&streaming.exchange),
            State::Finished(finished) => Some(&finished.exchange),
            State::Pushed(pushed) | State::CallingSender(pushed) | State::PushedEnd(pushed) => Some(&pushed.exchange),
            State::Waiting(waiting) => Some(&waiting.exchange),
            State::Switching(switching) => Some(&switching.0),
            State::Upgrading(upgrading) => Some(&upgrading.exchange),
            State::Idle(_) | State::ReadingHead(_) | State::DiscardingBody(_) | State::Closing { .. } => None,
        }
    }

    /// Returns the status of the response and the length of its body in the output so far, if it has begun.
    fn begun_response(&self) -> Option<(StatusCode, u64)> {
        match self {
            State::Streaming(streaming) => Some((streaming.status, streaming.stream.sent)),
            State::Finished(finished) => Some((finished.status, finished.length)),
            State::Pushed(pushed) | State::CallingSender(pushed) | State::PushedEnd(pushed) => {
                Some((pushed.status, pushed.stream.sent))
            }
            State::Rejecting(rejected) => Some((rejected.1.status(), 0)),
            State::Encoding(_) => Some((StatusCode::INTERNAL_SERVER_ERROR, 0)),
            _ => None,
        }
    }
}

impl HttpConnection {
    /// Asks for a turn that may block, in which this state continues.
    fn ask_for_permit(&mut self, state: State) -> Action {
        self.state = state;
        match self.state {
            State::CallingSender(_)
            | State::Rejecting(_)
            | State::Finished(_)
            | State::PushedEnd(_)
            | State::Switching(_) => Action::Brief,
            _ => Action::Handle,
        }
    }

    /// Waits on in this state, with its time limit.
    fn wait_on(&mut self, state: State) -> Action {
        self.state = state;
        Action::Unchanged
    }

    fn take_state(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Idle(None))
    }

    pub(crate) fn new(service: Arc<Service>) -> HttpConnection {
        HttpConnection { service, stage: 0, requests: 0, first_request: None, state: State::Idle(None) }
    }
}

/// A response is logged before it is sent if at most this much output is unsent. A socket usually takes that at once,
/// and another turn for each short response would cost more than it shows.
const LOGGED_UNSENT: u64 = 64 * 1024;

/// Returns whether a response that is completely in the output is logged at once.
fn is_short(turn: &Turn<'_>) -> bool {
    turn.output.owed() <= LOGGED_UNSENT
}

/// Returns a rejection if a request with an authority in its target is not for this connection, because it is for a
/// proxy or requires a secure connection.
fn misdirected(request: &Request, config: &HttpConfig) -> Option<Rejection> {
    if *request.method() == Method::CONNECT && config.on_connect.is_some() {
        return None;
    }
    if *request.method() == Method::CONNECT {
        return Some(Rejection::new(StatusCode::NOT_IMPLEMENTED, "this server is not a proxy"));
    }
    // "A request for an "https" resource MUST be rejected unless it has been received over a connection that has been
    // secured" (RFC 9110, section 7.4). A TLS proxy in front of this server sends the origin form.
    let is_unsecured = request.head.parsed_target().https && request.client().tls().is_none();
    is_unsecured.then(|| {
        Rejection::new(StatusCode::MISDIRECTED_REQUEST, "a request for an https URL needs a connection with TLS")
    })
}

/// The states, in the order of a request.
impl HttpConnection {
    fn config(&self) -> &HttpConfig {
        &self.service.config
    }

    /// Handles the input between requests. `polled`: when the poll that reported it returned.
    fn next_request(&mut self, polled: Option<Instant>, turn: &mut Turn<'_>) -> Action {
        if turn.input.is_empty() {
            return if turn.input.ended() {
                Action::Close
            } else {
                Action::Idle { within: self.config().idle_timeout }
            };
        }
        // The whole head has usually arrived, so no parser is boxed.
        let mut parser = HeadParser::default();
        match self.parse_head(&mut parser, polled, turn) {
            Some(next) => next,
            None => {
                self.stage = self.stage.wrapping_add(1);
                self.wait_for_head(Box::new(parser))
            }
        }
    }

    fn read_head(&mut self, mut parser: Box<HeadParser>, turn: &mut Turn<'_>) -> Action {
        match self.parse_head(&mut parser, turn.polled, turn) {
            Some(next) => next,
            None => self.wait_for_head(parser),
        }
    }

    fn wait_for_head(&mut self, parser: Box<HeadParser>) -> Action {
        self.state = State::ReadingHead(parser);
        // The connection can be evicted for another client while the head is incomplete.
        Action::Read {
            stage: Stage(self.stage),
            within: self.config().head_timeout,
            evictable: true,
            at_min_rate: false,
        }
    }

    /// Returns `None` if the head is incomplete and more may arrive.
    fn parse_head(&mut self, parser: &mut HeadParser, polled: Option<Instant>, turn: &mut Turn<'_>) -> Option<Action> {
        let bytes = turn.input.bytes();
        match parser.parse(bytes, &self.config().head) {
            Ok(Some((length, head))) => {
                // Empty lines before the request are not part of it. The poll may have reported only these lines,
                // before the request arrived.
                let polled = polled.filter(|_| !matches!(bytes.first(), Some(b'\r' | b'\n')));
                Some(self.start_request(length, head, polled, turn))
            }
            Ok(None) if turn.input.ended() && parser.has_begun(bytes) => {
                Some(self.reject(Rejection::bad_request("the head is incomplete"), turn))
            }
            Ok(None) if turn.input.ended() => Some(Action::Close),
            Ok(None) => None,
            Err(rejection) => Some(self.reject(rejection, turn)),
        }
    }

    /// Called when a head is complete. If a body follows, the head stays in the input until the body is accepted,
    /// because a nonempty input shows `tcp` that the client may still be sending.
    fn start_request(&mut self, length: usize, head: Head, polled: Option<Instant>, turn: &mut Turn<'_>) -> Action {
        let framing = framing::parse(&head);
        let waker = match &mut self.state {
            State::Idle(waker) => waker.take(),
            _ => None,
        };
        let waker = waker.unwrap_or_else(|| turn.waker());
        let mut exchange = Box::new(Exchange {
            request: Request::from_head(head, turn.client.clone(), polled, turn.now, turn.wall, waker),
            keep_alive: false,
            is_repeated: false,
            waits_since: None,
            live: None,
            unread: None,
            progress: None,
            on_sent: None,
            is_logged: Cell::new(false),
        });
        if !self.config().strict_paths {
            exchange.request.set_lenient_path();
        }
        let framing = match framing {
            Ok(framing) => framing,
            Err(rejection) => return self.close_with(exchange, &rejection.into(), turn),
        };
        if exchange.request.head.parsed_target().authority.is_some()
            && let Some(rejection) = misdirected(&exchange.request, self.config())
        {
            return self.close_with(exchange, &rejection.into(), turn);
        }
        self.requests = self.requests.saturating_add(1);
        self.first_request.get_or_insert(turn.now);
        exchange.keep_alive = framing.keep_alive && self.config().keep_alive;
        if framing.body == BodyLength::None {
            let (head, rest) = turn.input.bytes().split_at(length);
            exchange.is_repeated = rest.starts_with(head) && exchange.request.method().is_safe();
            turn.input.consume(length);
            return self.ask_for_permit(State::Handling(exchange));
        }
        let rest = UnreadBody::new(BodyDecoder::new(framing.body), !framing.expects_continue, 0);
        exchange.unread = Some(Box::new(rest)); // until the body is accepted
        if *exchange.request.method() == Method::CONNECT {
            // RFC 9110, section 9.3.6: a body in CONNECT has no meaning.
            return self.close_with(exchange, &Rejection::bad_request("CONNECT with a body").into(), turn);
        }
        if framing.body == BodyLength::Chunked && !self.config().chunked_bodies {
            let rejection = Rejection::new(StatusCode::LENGTH_REQUIRED, "expected a Content-Length");
            return self.close_with(exchange, &rejection.into(), turn);
        }
        let unaccepted = UnacceptedRequest { exchange, framing, head_length: length };
        self.ask_for_permit(State::BeforeBody(Box::new(unaccepted)))
    }

    fn call_handler(&mut self, mut exchange: Box<Exchange>, may_block: MayBlock, turn: &mut Turn<'_>) -> Action {
        exchange.request.set_turn(turn.polled, turn.wall);
        turn.handler_begins(exchange.request.head.line_bytes());
        if *exchange.request.method() == Method::CONNECT {
            return self.connect(exchange, may_block, turn);
        }
        if let Err(error) = self.rewrite(&mut exchange.request, may_block) {
            return self.close_with(exchange, &error, turn);
        }
        let responded = self.responded(&exchange.request, may_block, turn);
        end_arriving_body(&mut exchange, turn);
        self.send_responded(exchange, responded, turn)
    }

    /// Responds to CONNECT, which no handler gets.
    fn connect(&mut self, mut exchange: Box<Exchange>, may_block: MayBlock, turn: &mut Turn<'_>) -> Action {
        // The client may already have sent bytes for the tunnel. After a rejection, these bytes must not be read as its
        // next request.
        exchange.keep_alive = false;
        let request = &exchange.request;
        let connect = || match &self.config().on_connect {
            Some(connect) => connect(request),
            None => Err(Error::new(StatusCode::NOT_IMPLEMENTED, "")), // `misdirected` has rejected it
        };
        let responded = self.service.respond_by(request, connect, may_block);
        self.send_responded(exchange, responded, turn)
    }

    /// Calls the program's function that can replace the path of a request, before any handler is called.
    fn rewrite(&self, request: &mut Request, may_block: MayBlock) -> Result<(), Error> {
        match &self.config().rewrite {
            Some(rewrite) => rewritten(request, &**rewrite, may_block),
            None => Ok(()),
        }
    }

    /// Calls the handler. Returns its response, or `Err` if it panicked. (Inlined like the next function, because
    /// moving a response is expensive.)
    #[inline]
    fn responded(&self, request: &Request, may_block: MayBlock, turn: &Turn<'_>) -> Result<Checked, Error> {
        let begins = |request: &Request| {
            if let Some(name) = request.work_with_id() {
                turn.handler_begins(name);
            }
        };
        self.service.respond(request, &begins, may_block)
    }

    #[inline]
    fn send_responded(
        &mut self,
        exchange: Box<Exchange>,
        responded: Result<Checked, Error>,
        turn: &mut Turn<'_>,
    ) -> Action {
        match responded {
            Ok(mut response) => match response.take_instead() {
                None if response.is_pushed() => self.begin_live(exchange, response, turn),
                None => self.send_response(exchange, response, turn),
                Some(Continuation::Wait(wait)) => self.wait_for(exchange, wait, turn),
                Some(Continuation::Switch(protocol)) => self.switch_to(exchange, response, protocol, turn),
            },
            Err(panicked) => self.close_with(exchange, &panicked, turn),
        }
    }
}

impl HttpConnection {
    /// Returns the page of an error that did not come from the handler.
    fn page(&self, request: &Request, error: &Error) -> Checked {
        self.service.page(Some(request), error, request)
    }

    fn page_in_place(&self, request: &Request, error: &Error, response: &Checked) -> Checked {
        response.replaced_by(self.service.page_in_place(request, error))
    }

    /// Logs a response that is complete, or ends here.
    fn log(&self, exchange: &Exchange, status: StatusCode, bytes: u64, turn: &Turn<'_>) {
        self.log_at(turn.wall, exchange, status, bytes);
    }

    fn log_at(&self, time: SystemTime, exchange: &Exchange, status: StatusCode, bytes: u64) {
        if exchange.is_logged.replace(true) {
            return;
        }
        let completed = Completed { status, bytes, time, begun: exchange.request.begun };
        self.log_record(&LogRecord::of_request(exchange.request.client(), &exchange.request, &completed));
    }

    /// Logs a request whose connection ends in this state, with this status if no response has begun. `unsent`: how
    /// many bytes of the output are not sent.
    fn log_end(&self, state: &State, unanswered: StatusCode, unsent: u64, time: SystemTime) {
        if let Some(exchange) = state.exchange() {
            let (status, bytes) = state.begun_response().unwrap_or((unanswered, 0));
            self.log_at(time, exchange, status, bytes.saturating_sub(unsent));
        }
    }

    fn log_record(&self, record: &LogRecord<'_>) {
        if let Some(format) = self.config().access_log.format() {
            let line = record.clone().with_format(format);
            record.contain("the logger of the access log", || log::info!(target: "modest::access", "{line}"));
        }
        self.service.handler.chain_log_request(record, Depth::OUTERMOST);
    }
}

impl HttpConnection {
    /// Logs a request that is left without a response, or within it: when the server exits, or because of a client that
    /// has violated the protocol of a layer such as TLS. `unsent`: how many bytes of the output are not sent.
    fn log_unanswered(&self, unsent: u64) {
        let Some(exchange) = self.state.exchange().filter(|exchange| !exchange.is_logged.get()) else { return };
        let status =
            if exchange.request.server_ends() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_REQUEST };
        self.log_end(&self.state, status, unsent, SystemTime::now());
    }
}

impl Drop for HttpConnection {
    fn drop(&mut self) {
        self.log_unanswered(0);
    }
}
