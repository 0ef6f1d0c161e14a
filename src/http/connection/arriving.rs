//! Requests whose handler is called before their body is there: because it asked for a stream, or because it is not known
//! yet whether it has a method for them at all. Called by `connection` in turns that may block.

use super::{Exchange, HttpConnection};
use crate::http::handler::RequestHandler;
use crate::http::rejection::Rejection;
use crate::http::request::arriving::{Arrival, ArrivingBody, ArrivingEnd, Rest};
use crate::http::request::discard::{DiscardProgress, UnreadBody};
use crate::http::request::framing::{BodyLength, RequestFraming};
use crate::http::request::incoming::Incoming;
use crate::http::request::unwritten::UnknownMethod;
use crate::http::request::{BodyPlan, Request};
use crate::tcp::{BlockingInput, Next, Turn};

/// A longer body is not received before it is known whether its handler has a method for it, nor is one of unknown
/// length, nor one that the client holds back.
const LONG: u64 = 64 * 1024;

/// Whether the body is to be received while the handler runs. Nothing is gained by it once the body is there; and what is to
/// be written elsewhere comes before the handler.
pub(super) fn arrives_while_handled(
    plan: &mut BodyPlan,
    request: &Request,
    framing: &RequestFraming,
    head_length: usize,
    turn: &Turn<'_>,
) -> bool {
    let arrived = (turn.input.bytes().len() - head_length) as u64;
    let (is_there, is_long) = match framing.body {
        BodyLength::Known(length) => (length <= arrived, length > LONG),
        BodyLength::Chunked => (false, true),
        BodyLength::None => (true, false),
    };
    if is_there || plan.writer.is_some() {
        return false;
    }
    // `OPTIONS *` reaches no method.
    let may_be_unwritten = (is_long || framing.expects_continue) && !request.is_asterisk();
    let tries = may_be_unwritten && plan.unknown.as_mut().is_some_and(UnknownMethod::try_it);
    plan.streamed || tries
}

impl<H: RequestHandler> HttpConnection<H> {
    /// May block: call the handler of a request whose body it can receive from here.
    pub(super) fn handle_arriving(
        &mut self,
        mut exchange: Box<Exchange>,
        framing: &RequestFraming,
        head_length: usize,
        plan: BodyPlan,
        input: Box<dyn BlockingInput>,
        turn: &mut Turn<'_>,
    ) -> Next {
        // A stream needs no room; what the handler did not ask for as one is kept as any body is.
        let limits = plan.limits(&self.config().body);
        let incoming = match plan.streamed {
            true => limits.check_length(framing.body).map(|()| None),
            false => Incoming::new(framing.body, &limits).map(Some),
        };
        let incoming = match incoming {
            Ok(incoming) => incoming,
            Err(rejection) => return self.reject_request(exchange, rejection, turn),
        };
        exchange.unread = None; // it is received, or known what is left of it
        turn.input.consume(head_length);
        let BodyPlan { progress, unknown, .. } = plan;
        let (unread, owes_continue) = (std::mem::take(turn.input), framing.expects_continue);
        let arrival = Arrival { input, unread, owes_continue, limits, progress };
        exchange.request.set_unknown_method(unknown);
        exchange.request.set_body(ArrivingBody::new(framing.body, incoming, arrival));
        self.call_handler(exchange, turn)
    }
}

/// The handler has returned. What it left of the body is the exchange's from here on; told is the rejection that takes the
/// place of its response if the body, which it took for whole, could not be received.
pub(super) fn end_arriving_body(exchange: &mut Exchange, turn: &mut Turn<'_>) -> Option<Rejection> {
    let ArrivingEnd { unread, rest, limit, .. } = exchange.request.end_arriving_body()?;
    *turn.input = unread;
    let (rest, rejected) = match rest {
        Rest::Nothing => return None,
        Rest::Unread { decoder, awaits_continue } => (UnreadBody::new(decoder, !awaits_continue, limit), None),
        Rest::Failed { answer } => (UnreadBody::without_end(limit), answer),
    };
    exchange.unread = Some(Box::new(rest));
    let _ = exchange.drop_unread(turn); // too much of it is found later, too
    rejected
}

impl Exchange {
    /// Whether the next request can follow this one on its connection.
    pub(super) fn keeps_the_connection(&self) -> bool {
        self.keep_alive && self.unread.as_ref().is_none_or(|rest| rest.keeps_the_connection())
    }

    /// Drop what has come of a body that nobody reads. False: it is too long, or not well-formed.
    pub(super) fn drop_unread(&mut self, turn: &mut Turn<'_>) -> bool {
        let Some(rest) = &mut self.unread else { return true };
        let progress = rest.drop_meanwhile(turn.input);
        if progress == DiscardProgress::Done {
            self.unread = None;
        }
        progress != DiscardProgress::TooMuch
    }
}
