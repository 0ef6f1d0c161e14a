//! The state machine of one HTTP connection: read a head and a body, call the handler, encode the response, repeat.
//! Created by `service` for each client and called by `tcp` once a turn. It uses `head`, `framing` and `incoming` for
//! input and `encode` for output.
//! It never waits, blocks only in turns that may block, and holds no buffer between requests.

mod events; // timeouts, overload, shutdown, rejected requests

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};

use crate::http::config::{HttpConfig, Service};
use crate::http::error::Error;
use crate::http::handler::{LogRecord, RequestHandler};
use crate::http::rejection::Rejection;
use crate::http::request::Request;
use crate::http::request::framing::{self, BodyLength, RequestFraming};
use crate::http::request::head::{Head, HeadParser};
use crate::http::request::incoming::{Incoming, Need};
use crate::http::response::Response;
use crate::http::sending::stream::{BodyStream, StreamProgress};
use crate::http::sending::{ResponseContext, encode, response_error};
use crate::tcp::{Conversation, Event, Next, Stage, Turn};

/// One HTTP connection.
pub(crate) struct HttpConnection<H> {
    service: Arc<Service<H>>,
    /// The current stage. A new stage gets a new number, which restarts its timeout.
    stage: u32,
    /// How many requests it has had.
    requests: u32,
    /// When it had its first one.
    first_request: Option<Instant>,
    state: State,
}

/// Large states are boxed, as most connections are idle.
enum State {
    /// Before a request.
    Idle,
    /// A head is being received. Its bytes stay in the input until it is complete.
    ReadingHead(Box<HeadParser>),
    /// The head of a request with a body is complete, and still in the input; `before_body` is to be called (may block).
    BeforeBody(Box<PartialRequest>),
    /// A body is being received.
    ReadingBody(Box<PartialRequest>),
    /// Part of a body is to be written to disk (may block).
    SpoolingBody(Box<PartialRequest>),
    /// A request is complete; the handler is to be called (may block).
    Handling(Box<Exchange>),
    /// A response body is being read and sent (each read may block).
    Streaming(Box<StreamingResponse>),
    /// This many bytes of a declined request are still to be received and dropped.
    DiscardingBody(u64),
}

/// A request, and whether its connection is kept afterwards.
struct Exchange {
    request: Request,
    keep_alive: bool,
}

/// A request whose body is incomplete.
struct PartialRequest {
    exchange: Exchange,
    incoming: Incoming,
    framing: RequestFraming,
    /// The length of the head while it is still in the input; then 0.
    head_length: usize,
}

/// A response whose body is not all in the output yet.
struct StreamingResponse {
    stream: BodyStream,
    line: String,
    status: StatusCode,
    after: AfterResponse,
}

/// What follows a complete response.
#[derive(Clone, Copy)]
enum AfterResponse {
    NextRequest,
    Discard(u64),
    Close,
}

/// The longest declined request body that is read and dropped; beyond it the connection is closed.
const MAX_DISCARDED: u64 = 64 * 1024;

impl<H: RequestHandler> Conversation for HttpConnection<H> {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Next {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => self.next_request(turn.polled, turn),
            State::ReadingHead(parser) => self.read_head(parser, turn),
            State::BeforeBody(partial) => self.before_body(partial, turn),
            State::ReadingBody(partial) => self.receive_body(partial, false, turn),
            State::SpoolingBody(partial) => self.spool_body(partial, turn),
            State::Handling(exchange) => self.call_handler(exchange, turn),
            State::Streaming(streaming) => self.stream_body(streaming, turn),
            State::DiscardingBody(left) => self.discard_body(left, turn),
        }
    }

    fn event(&mut self, what: Event, turn: &mut Turn<'_>) -> Next {
        let state = std::mem::replace(&mut self.state, State::Idle);
        match what {
            Event::Late(_) => self.on_timeout(state, turn),
            Event::NoPermit | Event::NoThread => self.on_overload(state, turn),
            Event::ShuttingDown => self.on_shutdown(state),
            Event::SendFailed => self.on_send_failed(state, turn),
            Event::Called => self.on_call(state),
        }
    }

    fn drop_may_block(&self) -> bool {
        // What a handler made, and what may be a large file.
        matches!(
            self.state,
            State::Streaming(_)
                | State::Handling(_)
                | State::BeforeBody(_)
                | State::ReadingBody(_)
                | State::SpoolingBody(_)
        )
    }
}

impl<H> HttpConnection<H> {
    pub(crate) fn new(service: Arc<Service<H>>) -> HttpConnection<H> {
        HttpConnection { service, stage: 0, requests: 0, first_request: None, state: State::Idle }
    }
}

/// The states, in the order of a request.
impl<H: RequestHandler> HttpConnection<H> {
    fn config(&self) -> &HttpConfig {
        &self.service.config
    }

    /// Between requests: start with the input there is. `polled`: when the poll that brought it returned.
    fn next_request(&mut self, polled: Option<Instant>, turn: &mut Turn<'_>) -> Next {
        if turn.input.is_empty() {
            return if turn.input.ended() { Next::Close } else { Next::Idle { within: self.config().idle_timeout } };
        }
        // Usually the whole head is there at once: then no parser is boxed.
        let mut parser = HeadParser::default();
        match self.parse_head(&mut parser, polled, turn) {
            Some(next) => next,
            None => {
                self.stage = self.stage.wrapping_add(1);
                self.wait_for_head(Box::new(parser))
            }
        }
    }

    fn read_head(&mut self, mut parser: Box<HeadParser>, turn: &mut Turn<'_>) -> Next {
        match self.parse_head(&mut parser, turn.polled, turn) {
            Some(next) => next,
            None => self.wait_for_head(parser),
        }
    }

    fn wait_for_head(&mut self, parser: Box<HeadParser>) -> Next {
        self.state = State::ReadingHead(parser);
        // Half a head is nothing yet: it may give way to another client.
        Next::Read { stage: Stage(self.stage), within: self.config().head_timeout, evictable: true, at_min_rate: false }
    }

    /// `None`: the head is incomplete, and more may come.
    fn parse_head(&mut self, parser: &mut HeadParser, polled: Option<Instant>, turn: &mut Turn<'_>) -> Option<Next> {
        let bytes = turn.input.bytes();
        match parser.parse(bytes, &self.config().head) {
            Ok(Some((length, head))) => Some(self.start_request(length, head, polled, turn)),
            Ok(None) if turn.input.ended() && parser.has_begun(bytes) => {
                Some(self.reject(Rejection::bad_request("the head is cut short"), turn))
            }
            Ok(None) if turn.input.ended() || turn.is_shutting_down() => Some(Next::Close),
            Ok(None) => None,
            Err(rejection) => Some(self.reject(rejection, turn)),
        }
    }

    /// A head is complete. If a body follows, the head stays in the input until the body is accepted: input that is left
    /// tells `tcp` that the client may still be sending.
    fn start_request(&mut self, length: usize, head: Head, polled: Option<Instant>, turn: &mut Turn<'_>) -> Next {
        let framing = match framing::parse(&head) {
            Ok(framing) => framing,
            Err(rejection) => return self.reject(rejection, turn),
        };
        if *head.method() == Method::CONNECT {
            return self.reject(Rejection::new(StatusCode::NOT_IMPLEMENTED, "this is no proxy"), turn);
        }
        self.requests = self.requests.saturating_add(1);
        self.first_request.get_or_insert(turn.now);
        let keep_alive = framing.keep_alive && self.config().keep_alive;
        let request = Request::from_head(head, turn.client.clone(), polled, turn.wall, turn.waker());
        let exchange = Exchange { request, keep_alive };
        if framing.body == BodyLength::None {
            turn.input.consume(length);
            self.state = State::Handling(Box::new(exchange));
            return Next::Handle;
        }
        if framing.body == BodyLength::Chunked && !self.config().chunked_bodies {
            let rejection = Rejection::new(StatusCode::LENGTH_REQUIRED, "say how long the body is: Content-Length");
            return self.reject_request(&exchange.request, rejection, turn);
        }
        match Incoming::new(framing.body, &self.config().body) {
            Ok(incoming) => {
                let head_length = length;
                let partial = PartialRequest { exchange, incoming, framing, head_length };
                self.state = State::BeforeBody(Box::new(partial));
                Next::Handle
            }
            Err(rejection) => self.reject_request(&exchange.request, rejection, turn),
        }
    }

    /// May block: let the handler accept or decline the body.
    fn before_body(&mut self, mut partial: Box<PartialRequest>, turn: &mut Turn<'_>) -> Next {
        let request = &partial.exchange.request;
        let service = self.service.clone();
        turn.handler_begins(request.line_bytes());
        let declined = catch_panic(request, || match service.handler.before_body(request) {
            Ok(()) => None,
            Err(error) => Some(error_response(&service.handler, request, &error)),
        });
        match declined {
            Ok(None) => {}
            Ok(Some(response)) => return self.decline_body(partial, response, turn),
            Err(response) => {
                return self.send_response(&partial.exchange.request, response, AfterResponse::Close, turn);
            }
        }
        turn.input.consume(std::mem::take(&mut partial.head_length));
        // RFC 9110, section 10.1.1: no 100 if the body has begun to arrive.
        if partial.framing.expects_continue && turn.input.is_empty() && !turn.input.ended() {
            turn.output.bytes().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.stage = self.stage.wrapping_add(1);
        self.receive_body(partial, true, turn)
    }

    /// Decline a body. If it is short and certain to be sent, it is dropped and the connection kept. A client that waits
    /// for `100 Continue` may send it or not, so that connection must be closed.
    fn decline_body(&mut self, partial: Box<PartialRequest>, response: Response, turn: &mut Turn<'_>) -> Next {
        let PartialRequest { exchange, framing, head_length, .. } = *partial;
        let after = match framing.body {
            BodyLength::Known(length)
                if !framing.expects_continue && exchange.keep_alive && length <= MAX_DISCARDED =>
            {
                AfterResponse::Discard(head_length as u64 + length)
            }
            _ => AfterResponse::Close,
        };
        self.send_response(&exchange.request, response, after, turn)
    }

    /// Decode the part of the body that has arrived.
    fn receive_body(&mut self, mut partial: Box<PartialRequest>, may_block: bool, turn: &mut Turn<'_>) -> Next {
        loop {
            let (used, need) = match partial.incoming.feed(turn.input.bytes(), &self.config().body) {
                Ok(fed) => fed,
                Err(rejection) => return self.reject_request(&partial.exchange.request, rejection, turn),
            };
            turn.input.consume(used);
            match need {
                Need::Input => return self.wait_for_body(partial, turn),
                Need::Spool if !may_block => {
                    self.state = State::SpoolingBody(partial);
                    return Next::Handle;
                }
                Need::Spool => {
                    if let Err(rejection) = partial.incoming.spool(&self.config().body) {
                        return self.reject_request(&partial.exchange.request, rejection, turn);
                    }
                }
                Need::Nothing => {
                    let PartialRequest { mut exchange, incoming, .. } = *partial;
                    exchange.request.set_body(incoming.finish());
                    if may_block {
                        return self.call_handler(Box::new(exchange), turn);
                    }
                    self.state = State::Handling(Box::new(exchange));
                    return Next::Handle;
                }
            }
        }
    }

    fn wait_for_body(&mut self, partial: Box<PartialRequest>, turn: &mut Turn<'_>) -> Next {
        if turn.input.ended() {
            return self.reject_request(
                &partial.exchange.request,
                Rejection::bad_request("the body is cut short"),
                turn,
            );
        }
        self.state = State::ReadingBody(partial);
        Next::read_at_min_rate(Stage(self.stage), self.config().body_timeout)
    }

    /// May block: write part of the body to disk, then go on with the input.
    fn spool_body(&mut self, mut partial: Box<PartialRequest>, turn: &mut Turn<'_>) -> Next {
        match partial.incoming.spool(&self.config().body) {
            Ok(()) => self.receive_body(partial, true, turn),
            Err(rejection) => self.reject_request(&partial.exchange.request, rejection, turn),
        }
    }

    /// May block: call the handler.
    fn call_handler(&mut self, mut exchange: Box<Exchange>, turn: &mut Turn<'_>) -> Next {
        exchange.request.set_turn(turn.polled, turn.wall);
        let request = &exchange.request;
        let handler = &self.service.handler;
        turn.handler_begins(request.line_bytes());
        let result = catch_panic(request, || {
            if request.is_asterisk() {
                return Response::no_content(); // RFC 9110, section 9.3.7: a "ping"
            }
            let checked = |mut response| match response_error(&mut response, request) {
                Some(error) => Err(error),
                None => Ok(response),
            };
            handler.handle(request).and_then(checked).unwrap_or_else(|error| error_response(handler, request, &error))
        });
        match result {
            Ok(response) if exchange.keep_alive => {
                self.send_response(request, response, AfterResponse::NextRequest, turn)
            }
            Ok(response) => self.send_response(request, response, AfterResponse::Close, turn),
            Err(response) => self.send_response(request, response, AfterResponse::Close, turn),
        }
    }

    /// Encode a response into the output; its body too, unless that is a stream.
    fn send_response(
        &mut self,
        request: &Request,
        response: Response,
        after: AfterResponse,
        turn: &mut Turn<'_>,
    ) -> Next {
        let keep_alive =
            !matches!(after, AfterResponse::Close) && !turn.is_shutting_down() && !self.is_used_up(turn.now);
        let server = self.config().server.as_ref();
        let encoded = encode(response, &ResponseContext { request, keep_alive, now: turn.wall, server }, turn.output);
        let after = if encoded.keep_alive { after } else { AfterResponse::Close };
        match encoded.stream {
            None => {
                self.log(request.line(), encoded.status, encoded.length, turn);
                self.after_response(after, turn)
            }
            Some(stream) => {
                let (line, status) = (request.line().to_owned(), encoded.status);
                self.state = State::Streaming(Box::new(StreamingResponse { stream, line, status, after }));
                Next::Handle // the head goes out first: the body may take its time
            }
        }
    }

    /// Whether the connection has had as many requests, or is as old, as is allowed.
    fn is_used_up(&self, now: Instant) -> bool {
        let config = self.config();
        let age = || self.first_request.map_or(Duration::ZERO, |first| now.saturating_duration_since(first));
        config.max_requests.is_some_and(|most| self.requests >= most)
            || config.max_connection_age.is_some_and(|limit| age() >= limit)
    }

    /// May block: read and send the next part of a response body.
    fn stream_body(&mut self, mut streaming: Box<StreamingResponse>, turn: &mut Turn<'_>) -> Next {
        let progress = catch_unwind(AssertUnwindSafe(|| streaming.stream.read_some(turn.output)));
        let failure = match progress {
            Ok(StreamProgress::More) => {
                self.state = State::Streaming(streaming);
                return Next::Handle;
            }
            Ok(StreamProgress::Done) => None,
            Ok(StreamProgress::Failed(err)) => Some(err.to_string()),
            Err(panic) => Some(panic_message(&*panic).to_owned()),
        };
        self.log(&streaming.line, streaming.status, streaming.stream.sent(), turn);
        match failure {
            None => self.after_response(streaming.after, turn),
            Some(message) => {
                log::error!("{:?}: the answer broke off: {message}", streaming.line);
                Next::Abort
            }
        }
    }

    /// A response is complete.
    fn after_response(&mut self, after: AfterResponse, turn: &mut Turn<'_>) -> Next {
        match after {
            // These bytes arrived before the response was sent, so a file system check made after their poll proves nothing.
            AfterResponse::NextRequest => self.next_request(None, turn),
            AfterResponse::Discard(left) => {
                self.stage = self.stage.wrapping_add(1);
                self.discard_body(left, turn)
            }
            AfterResponse::Close => Next::Close,
        }
    }

    fn discard_body(&mut self, left: u64, turn: &mut Turn<'_>) -> Next {
        let count = left.min(turn.input.bytes().len() as u64);
        turn.input.consume(count as usize);
        match left - count {
            0 => self.next_request(None, turn),
            _ if turn.input.ended() => Next::Close,
            left => {
                self.state = State::DiscardingBody(left);
                Next::read_at_min_rate(Stage(self.stage), self.config().body_timeout)
            }
        }
    }

    fn log(&self, line: &str, status: StatusCode, bytes: u64, turn: &Turn<'_>) {
        self.service.handler.log_request(&LogRecord::new(turn.client, line, status, bytes, turn.wall));
    }
}

/// The handler's response to an error; the cause is logged.
fn error_response<H: RequestHandler>(handler: &H, request: &Request, error: &Error) -> Response {
    if error.cause().is_some() {
        log::error!("{:?}: {error}", request.line());
    }
    handler.send_error(request, error)
}

/// Call user code: a panic in it becomes a 500 and closes this one connection.
fn catch_panic<T>(request: &Request, work: impl FnOnce() -> T) -> Result<T, Response> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        log::error!("{:?}: the handler panicked: {}", request.line(), panic_message(&*panic));
        Response::from(&Error::new(StatusCode::INTERNAL_SERVER_ERROR, ""))
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
