//! One client's conversation in HTTP: read a head, read the body, ask the handler, lay the answer, say what comes next.
//! Started by `config` for each client, called by floor 1 once a turn; it calls `head`, `framing` and `incoming` for
//! what comes in, the handler in a slot, `encode` for what goes out.
//! It never waits and never blocks outside a slot, and between requests it holds no buffer.

mod events; // what else can happen

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::{Method, StatusCode};

use super::body_stream::{BodyStream, StreamProgress};
use super::config::{HttpConfig, Service};
use super::encode::{ResponseContext, encode, response_error};
use super::error::Error;
use super::framing::{self, BodyLength, RequestFraming};
use super::handler::{LogRecord, RequestHandler};
use super::head::{Head, HeadParser};
use super::incoming::{Incoming, Need};
use super::rejection::Rejection;
use super::request::Request;
use super::response::Response;
use crate::tcp::{Conversation, Event, Next, Stage, Turn};

/// A client and what is under way with it.
pub(crate) struct HttpConnection<H> {
    service: Arc<Service<H>>,
    /// The stage last named. Each new one gets a new number, so that its clock starts afresh.
    stage: u32,
    state: State,
}

/// What is under way. What is big is boxed: most clients rest.
enum State {
    /// Nothing: before a request.
    Idle,
    /// A head is arriving. Its bytes stay in the input until it is whole.
    ReadingHead(Box<HeadParser>),
    /// A head with a body is whole, and still in the input; `before_body` is to judge it, in a slot.
    BeforeBody(Box<PartialRequest>),
    /// A body is arriving.
    ReadingBody(Box<PartialRequest>),
    /// A stretch of body is to be written to disk, in a slot.
    SpoolingBody(Box<PartialRequest>),
    /// A request is whole; the handler is to answer it, in a slot.
    Handling(Box<Exchange>),
    /// An answer is being read and sent, in slots.
    Streaming(Box<StreamingResponse>),
    /// So many bytes are still to come of a request that nobody wants.
    DiscardingBody(u64),
}

/// A request and what its head says of the connection.
struct Exchange {
    request: Request,
    keep_alive: bool,
}

/// A request whose body is not whole yet.
struct PartialRequest {
    exchange: Exchange,
    incoming: Incoming,
    framing: RequestFraming,
    /// How long the head is that still stands in the input: 0 once it is used up.
    head_length: usize,
    /// How much of the body was there when its present stage began.
    stage_start: u64,
}

/// An answer whose body is not laid out yet.
struct StreamingResponse {
    stream: BodyStream,
    line: String,
    status: StatusCode,
    after: AfterResponse,
}

/// What becomes of the connection once an answer is complete.
#[derive(Clone, Copy)]
enum AfterResponse {
    NextRequest,
    Discard(u64),
    Close,
}

/// A body names a new stage whenever so much of it has come: its least rate.
const BODY_STAGE: u64 = 64 * 1024;

/// A body that was declined is read and dropped up to this length; for a longer one the connection is closed.
const MAX_DISCARDED: u64 = 64 * 1024;

impl<H: RequestHandler> Conversation for HttpConnection<H> {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Next {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => self.next_request(turn.poll, turn),
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
            Event::NoSlot => self.on_overload(state, turn),
            Event::Stopping => self.on_shutdown(state),
            Event::SendFailed => self.on_send_failed(state, turn),
        }
    }
}

impl<H> HttpConnection<H> {
    pub(crate) fn new(service: Arc<Service<H>>) -> HttpConnection<H> {
        HttpConnection { service, stage: 0, state: State::Idle }
    }
}

/// The walk of a request.
impl<H: RequestHandler> HttpConnection<H> {
    fn config(&self) -> &HttpConfig {
        &self.service.config
    }

    /// Nothing is under way: begin with what is there. `poll` brought these bytes.
    fn next_request(&mut self, poll: Option<u64>, turn: &mut Turn<'_>) -> Next {
        if turn.input.is_empty() {
            return if turn.input.ended() { Next::Close } else { Next::Rest { within: self.config().idle_timeout } };
        }
        // The whole head is mostly there at once: then nothing is boxed.
        let mut parser = HeadParser::default();
        match self.parse_head(&mut parser, poll, turn) {
            Some(next) => next,
            None => {
                self.stage = self.stage.wrapping_add(1);
                self.wait_for_head(Box::new(parser))
            }
        }
    }

    fn read_head(&mut self, mut parser: Box<HeadParser>, turn: &mut Turn<'_>) -> Next {
        match self.parse_head(&mut parser, turn.poll, turn) {
            Some(next) => next,
            None => self.wait_for_head(parser),
        }
    }

    fn wait_for_head(&mut self, parser: Box<HeadParser>) -> Next {
        self.state = State::ReadingHead(parser);
        self.wait_for_input(self.config().head_timeout)
    }

    fn wait_for_input(&self, within: Option<std::time::Duration>) -> Next {
        Next::Read { stage: Stage(self.stage), within }
    }

    /// `None`: the head is not whole, and more may come.
    fn parse_head(&mut self, parser: &mut HeadParser, poll: Option<u64>, turn: &mut Turn<'_>) -> Option<Next> {
        let bytes = turn.input.bytes();
        match parser.parse(bytes, &self.config().head) {
            Ok(Some((length, head))) => Some(self.start_request(length, head, poll, turn)),
            Ok(None) if turn.input.ended() && parser.has_begun(bytes) => {
                Some(self.reject(Rejection::bad_request("the head is cut short"), turn))
            }
            Ok(None) if turn.input.ended() || turn.is_stopping() => Some(Next::Close),
            Ok(None) => None,
            Err(rejection) => Some(self.reject(rejection, turn)),
        }
    }

    /// A head is whole: what does it announce? It leaves the input only when its body is welcome, for what is
    /// left there tells floor 1 that the client is still sending.
    fn start_request(&mut self, length: usize, head: Head, poll: Option<u64>, turn: &mut Turn<'_>) -> Next {
        let framing = match framing::parse(&head) {
            Ok(framing) => framing,
            Err(rejection) => return self.reject(rejection, turn),
        };
        if *head.method() == Method::CONNECT {
            return self.reject(Rejection::new(StatusCode::NOT_IMPLEMENTED, "this is no proxy"), turn);
        }
        let keep_alive = framing.keep_alive && self.config().keep_alive;
        let request = Request::from_head(head, turn.client.clone(), poll, turn.wall);
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
                let partial = PartialRequest { exchange, incoming, framing, head_length, stage_start: 0 };
                self.state = State::BeforeBody(Box::new(partial));
                Next::Handle
            }
            Err(rejection) => self.reject_request(&exchange.request, rejection, turn),
        }
    }

    /// In a slot: is the body welcome?
    fn before_body(&mut self, mut partial: Box<PartialRequest>, turn: &mut Turn<'_>) -> Next {
        let request = &partial.exchange.request;
        let service = self.service.clone();
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
        // RFC 9110, section 10.1.1: not if the body has begun to arrive without.
        if partial.framing.expects_continue && turn.input.is_empty() && !turn.input.ended() {
            turn.output.bytes().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.stage = self.stage.wrapping_add(1);
        self.receive_body(partial, true, turn)
    }

    /// The body is not welcome. If it is short and sure to come it is dropped and the connection lives on;
    /// a client that waits for `100 Continue` may send it or not, so that there the connection must end.
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

    /// Take in what has come of the body.
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

    fn wait_for_body(&mut self, mut partial: Box<PartialRequest>, turn: &mut Turn<'_>) -> Next {
        if turn.input.ended() {
            return self.reject_request(
                &partial.exchange.request,
                Rejection::bad_request("the body is cut short"),
                turn,
            );
        }
        let received = partial.incoming.received();
        if received - partial.stage_start >= BODY_STAGE {
            partial.stage_start = received;
            self.stage = self.stage.wrapping_add(1);
        }
        self.state = State::ReadingBody(partial);
        self.wait_for_input(self.config().body_timeout)
    }

    /// In a slot: write a stretch of body to disk, then go on as far as it goes.
    fn spool_body(&mut self, mut partial: Box<PartialRequest>, turn: &mut Turn<'_>) -> Next {
        match partial.incoming.spool(&self.config().body) {
            Ok(()) => self.receive_body(partial, true, turn),
            Err(rejection) => self.reject_request(&partial.exchange.request, rejection, turn),
        }
    }

    /// In a slot: let the handler answer.
    fn call_handler(&mut self, mut exchange: Box<Exchange>, turn: &mut Turn<'_>) -> Next {
        exchange.request.set_turn(turn.poll, turn.wall);
        let request = &exchange.request;
        let handler = &self.service.handler;
        let result = catch_panic(request, || {
            if request.raw_path() == "*" {
                return Response::no_content(); // RFC 9110, section 9.3.7: a ping
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

    /// Lay an answer into the output, as much of it as is there.
    fn send_response(
        &mut self,
        request: &Request,
        response: Response,
        after: AfterResponse,
        turn: &mut Turn<'_>,
    ) -> Next {
        let keep_alive = !matches!(after, AfterResponse::Close) && !turn.is_stopping();
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

    /// In a slot: read and send a stretch of an answer.
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

    /// An answer is complete.
    fn after_response(&mut self, after: AfterResponse, turn: &mut Turn<'_>) -> Next {
        match after {
            // These bytes came before the last answer: no poll vouches for what is looked up for them.
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
                self.wait_for_input(self.config().body_timeout)
            }
        }
    }

    fn log(&self, line: &str, status: StatusCode, bytes: u64, turn: &Turn<'_>) {
        self.service.handler.log_request(&LogRecord::new(turn.client, line, status, bytes, turn.wall));
    }
}

/// The handler's answer to an error; what is behind it goes to the log.
fn error_response<H: RequestHandler>(handler: &H, request: &Request, error: &Error) -> Response {
    if error.cause().is_some() {
        log::error!("{:?}: {error}", request.line());
    }
    handler.send_error(request, error)
}

/// Run what a user wrote: a panic in it is a 500, and the end of one connection.
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
