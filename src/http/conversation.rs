//! One client's conversation in HTTP: read a head, read the body, ask the handler, lay the answer, say what comes next.
//! Started by `settings` for each client, called by floor 1 once a turn; it calls `head`, `framing` and `incoming` for
//! what comes in, the handler in a slot, `answer` for what goes out.
//! It never waits and never blocks outside a slot, and between requests it holds no buffer.

mod mishaps; // what else can happen

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::{Method, StatusCode};

use super::answer::{Asked, answer, fault};
use super::error::Error;
use super::framing::{self, BodyLength, Framing};
use super::handler::{LogRecord, RequestHandler};
use super::head::{Head, Parser};
use super::incoming::{Incoming, Need};
use super::refusal::Refusal;
use super::request::Request;
use super::response::Response;
use super::settings::{Settings, Shared};
use super::source::{Pulled, Source};
use crate::tcp::{Conversation, Event, Next, Stage, Turn};

/// A client and what is under way with it.
pub(crate) struct Talk<H> {
    shared: Arc<Shared<H>>,
    /// The stage last named. Each new one gets a new number, so that its clock starts afresh.
    stage: u32,
    state: State,
}

/// What is under way. What is big is boxed: most clients rest.
enum State {
    /// Nothing: before a request.
    Resting,
    /// A head is arriving. Its bytes stay in the input until it is whole.
    Head(Box<Parser>),
    /// A head with a body is whole, and still in the input; `before_body` is to judge it, in a slot.
    Judging(Box<Receiving>),
    /// A body is arriving.
    Body(Box<Receiving>),
    /// A stretch of body is to be written to disk, in a slot.
    Spilling(Box<Receiving>),
    /// A request is whole; the handler is to answer it, in a slot.
    Handling(Box<Exchange>),
    /// An answer is being read and sent, in slots.
    Streaming(Box<Streaming>),
    /// So many bytes are still to come of a request that nobody wants.
    Draining(u64),
}

/// A request and what its head says of the connection.
struct Exchange {
    request: Request,
    keep_alive: bool,
}

/// A request whose body is not whole yet.
struct Receiving {
    exchange: Exchange,
    incoming: Incoming,
    framing: Framing,
    /// How long the head is that still stands in the input: 0 once it is used up.
    head_length: usize,
    /// How much of the body was there when its present stage began.
    stage_began_at: u64,
}

/// An answer whose body is not laid out yet.
struct Streaming {
    source: Source,
    line: String,
    status: StatusCode,
    after: After,
}

/// What becomes of the connection once an answer is complete.
#[derive(Clone, Copy)]
enum After {
    NextRequest,
    Drain(u64),
    Close,
}

/// A body names a new stage whenever so much of it has come: its least rate.
const BODY_STAGE: u64 = 64 * 1024;

/// A body that was declined is read and dropped up to this length; for a longer one the connection is closed.
const MOST_DRAINED: u64 = 64 * 1024;

impl<H: RequestHandler> Conversation for Talk<H> {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Next {
        match std::mem::replace(&mut self.state, State::Resting) {
            State::Resting => self.rest(turn.poll, turn),
            State::Head(parser) => self.read_head(parser, turn),
            State::Judging(receiving) => self.judge(receiving, turn),
            State::Body(receiving) => self.receive(receiving, false, turn),
            State::Spilling(receiving) => self.spill(receiving, turn),
            State::Handling(exchange) => self.handle(exchange, turn),
            State::Streaming(streaming) => self.stream(streaming, turn),
            State::Draining(left) => self.drain(left, turn),
        }
    }

    fn event(&mut self, what: Event, turn: &mut Turn<'_>) -> Next {
        let state = std::mem::replace(&mut self.state, State::Resting);
        match what {
            Event::Late(_) => self.late(state, turn),
            Event::NoPermit => self.no_slot(state, turn),
            Event::ShuttingDown => self.stopping(state),
            Event::SendFailed => self.send_failed(state, turn),
        }
    }
}

impl<H> Talk<H> {
    pub(crate) fn new(shared: Arc<Shared<H>>) -> Talk<H> {
        Talk { shared, stage: 0, state: State::Resting }
    }
}

/// The walk of a request.
impl<H: RequestHandler> Talk<H> {
    fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Nothing is under way: begin with what is there. `poll` brought these bytes.
    fn rest(&mut self, poll: Option<u64>, turn: &mut Turn<'_>) -> Next {
        if turn.input.is_empty() {
            return if turn.input.ended() { Next::Close } else { Next::Idle { within: self.settings().idle_timeout } };
        }
        // The whole head is mostly there at once: then nothing is boxed.
        let mut parser = Parser::default();
        match self.parse(&mut parser, poll, turn) {
            Some(next) => next,
            None => {
                self.stage = self.stage.wrapping_add(1);
                self.await_head(Box::new(parser))
            }
        }
    }

    fn read_head(&mut self, mut parser: Box<Parser>, turn: &mut Turn<'_>) -> Next {
        match self.parse(&mut parser, turn.poll, turn) {
            Some(next) => next,
            None => self.await_head(parser),
        }
    }

    fn await_head(&mut self, parser: Box<Parser>) -> Next {
        self.state = State::Head(parser);
        self.read_on(self.settings().head_timeout)
    }

    fn read_on(&self, within: Option<std::time::Duration>) -> Next {
        Next::Read { stage: Stage(self.stage), within }
    }

    /// `None`: the head is not whole, and more may come.
    fn parse(&mut self, parser: &mut Parser, poll: Option<u64>, turn: &mut Turn<'_>) -> Option<Next> {
        let bytes = turn.input.bytes();
        match parser.parse(bytes, &self.settings().head) {
            Ok(Some((length, head))) => Some(self.begin(length, head, poll, turn)),
            Ok(None) if turn.input.ended() && parser.has_begun(bytes) => {
                Some(self.refuse(Refusal::bad("the head is cut short"), turn))
            }
            Ok(None) if turn.input.ended() || turn.is_shutting_down() => Some(Next::Close),
            Ok(None) => None,
            Err(refusal) => Some(self.refuse(refusal, turn)),
        }
    }

    /// A head is whole: what does it announce? It leaves the input only when its body is welcome, for what is
    /// left there tells floor 1 that the client is still sending.
    fn begin(&mut self, length: usize, head: Head, poll: Option<u64>, turn: &mut Turn<'_>) -> Next {
        let framing = match framing::read(&head) {
            Ok(framing) => framing,
            Err(refusal) => return self.refuse(refusal, turn),
        };
        if *head.method() == Method::CONNECT {
            return self.refuse(Refusal::new(StatusCode::NOT_IMPLEMENTED, "this is no proxy"), turn);
        }
        let keep_alive = framing.keep_alive && self.settings().keep_alive;
        let request = Request::from_head(head, turn.client.clone(), poll, turn.wall);
        let exchange = Exchange { request, keep_alive };
        if framing.body == BodyLength::None {
            turn.input.consume(length);
            self.state = State::Handling(Box::new(exchange));
            return Next::Handle;
        }
        if framing.body == BodyLength::Chunked && !self.settings().chunked_bodies {
            let refusal = Refusal::new(StatusCode::LENGTH_REQUIRED, "say how long the body is: Content-Length");
            return self.refuse_request(&exchange.request, refusal, turn);
        }
        match Incoming::new(framing.body, &self.settings().body) {
            Ok(incoming) => {
                let head_length = length;
                let receiving = Receiving { exchange, incoming, framing, head_length, stage_began_at: 0 };
                self.state = State::Judging(Box::new(receiving));
                Next::Handle
            }
            Err(refusal) => self.refuse_request(&exchange.request, refusal, turn),
        }
    }

    /// In a slot: is the body welcome?
    fn judge(&mut self, mut receiving: Box<Receiving>, turn: &mut Turn<'_>) -> Next {
        let request = &receiving.exchange.request;
        let shared = self.shared.clone();
        let verdict = caught(request, || match shared.handler.before_body(request) {
            Ok(()) => None,
            Err(error) => Some(error_answer(&shared.handler, request, &error)),
        });
        match verdict {
            Ok(None) => {}
            Ok(Some(response)) => return self.decline(receiving, response, turn),
            Err(panicked) => return self.lay(&receiving.exchange.request, panicked, After::Close, turn),
        }
        turn.input.consume(std::mem::take(&mut receiving.head_length));
        // RFC 9110, section 10.1.1: not if the body has begun to arrive without.
        if receiving.framing.expects_continue && turn.input.is_empty() && !turn.input.ended() {
            turn.output.bytes().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.stage = self.stage.wrapping_add(1);
        self.receive(receiving, true, turn)
    }

    /// The body is not welcome. If it is short and sure to come it is dropped and the connection lives on;
    /// a client that waits for `100 Continue` may send it or not, so that there the connection must end.
    fn decline(&mut self, receiving: Box<Receiving>, response: Response, turn: &mut Turn<'_>) -> Next {
        let Receiving { exchange, framing, head_length, .. } = *receiving;
        let after = match framing.body {
            BodyLength::Known(length) if !framing.expects_continue && exchange.keep_alive && length <= MOST_DRAINED => {
                After::Drain(head_length as u64 + length)
            }
            _ => After::Close,
        };
        self.lay(&exchange.request, response, after, turn)
    }

    /// Take in what has come of the body.
    fn receive(&mut self, mut receiving: Box<Receiving>, in_slot: bool, turn: &mut Turn<'_>) -> Next {
        loop {
            let (used, need) = match receiving.incoming.take(turn.input.bytes(), &self.settings().body) {
                Ok(taken) => taken,
                Err(refusal) => return self.refuse_request(&receiving.exchange.request, refusal, turn),
            };
            turn.input.consume(used);
            match need {
                Need::Bytes => return self.await_body(receiving, turn),
                Need::Spill if !in_slot => {
                    self.state = State::Spilling(receiving);
                    return Next::Handle;
                }
                Need::Spill => {
                    if let Err(refusal) = receiving.incoming.spill(&self.settings().body) {
                        return self.refuse_request(&receiving.exchange.request, refusal, turn);
                    }
                }
                Need::Nothing => {
                    let Receiving { mut exchange, incoming, .. } = *receiving;
                    exchange.request.set_body(incoming.finish());
                    if in_slot {
                        return self.handle(Box::new(exchange), turn);
                    }
                    self.state = State::Handling(Box::new(exchange));
                    return Next::Handle;
                }
            }
        }
    }

    fn await_body(&mut self, mut receiving: Box<Receiving>, turn: &mut Turn<'_>) -> Next {
        if turn.input.ended() {
            return self.refuse_request(&receiving.exchange.request, Refusal::bad("the body is cut short"), turn);
        }
        let received = receiving.incoming.received();
        if received - receiving.stage_began_at >= BODY_STAGE {
            receiving.stage_began_at = received;
            self.stage = self.stage.wrapping_add(1);
        }
        self.state = State::Body(receiving);
        self.read_on(self.settings().body_timeout)
    }

    /// In a slot: write a stretch of body to disk, then go on as far as it goes.
    fn spill(&mut self, mut receiving: Box<Receiving>, turn: &mut Turn<'_>) -> Next {
        match receiving.incoming.spill(&self.settings().body) {
            Ok(()) => self.receive(receiving, true, turn),
            Err(refusal) => self.refuse_request(&receiving.exchange.request, refusal, turn),
        }
    }

    /// In a slot: let the handler answer.
    fn handle(&mut self, mut exchange: Box<Exchange>, turn: &mut Turn<'_>) -> Next {
        exchange.request.set_turn(turn.poll, turn.wall);
        let request = &exchange.request;
        let handler = &self.shared.handler;
        let outcome = caught(request, || {
            if request.raw_path() == "*" {
                return Response::no_content(); // RFC 9110, section 9.3.7: a ping
            }
            let sound = |mut response| match fault(&mut response, request) {
                Some(fault) => Err(fault),
                None => Ok(response),
            };
            handler.handle(request).and_then(sound).unwrap_or_else(|error| error_answer(handler, request, &error))
        });
        match outcome {
            Ok(response) if exchange.keep_alive => self.lay(request, response, After::NextRequest, turn),
            Ok(response) => self.lay(request, response, After::Close, turn),
            Err(panicked) => self.lay(request, panicked, After::Close, turn),
        }
    }

    /// Lay an answer into the output, as much of it as is there.
    fn lay(&mut self, request: &Request, response: Response, after: After, turn: &mut Turn<'_>) -> Next {
        let keep_alive = !matches!(after, After::Close) && !turn.is_shutting_down();
        let server = self.settings().server.as_ref();
        let answered = answer(response, &Asked { request, keep_alive, wall: turn.wall, server }, turn.output);
        let after = if answered.keep_alive { after } else { After::Close };
        match answered.rest {
            None => {
                self.log(request.line(), answered.status, answered.length, turn);
                self.go_on(after, turn)
            }
            Some(source) => {
                let (line, status) = (request.line().to_owned(), answered.status);
                self.state = State::Streaming(Box::new(Streaming { source, line, status, after }));
                Next::Handle // the head goes out first: the body may take its time
            }
        }
    }

    /// In a slot: read and send a stretch of an answer.
    fn stream(&mut self, mut streaming: Box<Streaming>, turn: &mut Turn<'_>) -> Next {
        let pulled = catch_unwind(AssertUnwindSafe(|| streaming.source.pull(turn.output)));
        let broken = match pulled {
            Ok(Pulled::More) => {
                self.state = State::Streaming(streaming);
                return Next::Handle;
            }
            Ok(Pulled::Done) => None,
            Ok(Pulled::Broken(err)) => Some(err.to_string()),
            Err(panic) => Some(message_of(&*panic).to_owned()),
        };
        self.log(&streaming.line, streaming.status, streaming.source.sent(), turn);
        match broken {
            None => self.go_on(streaming.after, turn),
            Some(why) => {
                log::error!("{:?}: the answer broke off: {why}", streaming.line);
                Next::Abort
            }
        }
    }

    /// An answer is complete.
    fn go_on(&mut self, after: After, turn: &mut Turn<'_>) -> Next {
        match after {
            // These bytes came before the last answer: no poll vouches for what is looked up for them.
            After::NextRequest => self.rest(None, turn),
            After::Drain(left) => {
                self.stage = self.stage.wrapping_add(1);
                self.drain(left, turn)
            }
            After::Close => Next::Close,
        }
    }

    fn drain(&mut self, left: u64, turn: &mut Turn<'_>) -> Next {
        let count = left.min(turn.input.bytes().len() as u64);
        turn.input.consume(count as usize);
        match left - count {
            0 => self.rest(None, turn),
            _ if turn.input.ended() => Next::Close,
            left => {
                self.state = State::Draining(left);
                self.read_on(self.settings().body_timeout)
            }
        }
    }

    fn log(&self, line: &str, status: StatusCode, bytes: u64, turn: &Turn<'_>) {
        self.shared.handler.log_request(&LogRecord::new(turn.client, line, status, bytes, turn.wall));
    }
}

/// The handler's answer to an error; what is behind it goes to the log.
fn error_answer<H: RequestHandler>(handler: &H, request: &Request, error: &Error) -> Response {
    if error.cause().is_some() {
        log::error!("{:?}: {error}", request.line());
    }
    handler.send_error(request, error)
}

/// Run what a user wrote: a panic in it is a 500, and the end of one connection.
fn caught<T>(request: &Request, work: impl FnOnce() -> T) -> Result<T, Response> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        log::error!("{:?}: the handler panicked: {}", request.line(), message_of(&*panic));
        Response::from(&Error::new(StatusCode::INTERNAL_SERVER_ERROR, ""))
    })
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
