//! Requests whose handler is called before their body is there, because it asked for a stream. Called by `connection` in turns that
//! may block.

use super::{AfterResponse, Exchange, HttpConnection};
use crate::http::handler::RequestHandler;
use crate::http::request::BodyPlan;
use crate::http::request::arriving::{Arrival, ArrivingBody, ArrivingEnd, Rest};
use crate::http::request::discard::DiscardedBody;
use crate::http::request::framing::RequestFraming;
use crate::tcp::{BlockingInput, Next, Turn};

/// Whether the body is to be received while the handler runs. Nothing is gained by it once the body is there; and what is to
/// be written elsewhere comes before the handler.
pub(super) fn arrives_while_handled(
    plan: &BodyPlan,
    framing: &RequestFraming,
    head_length: usize,
    turn: &Turn<'_>,
) -> bool {
    let arrived = (turn.input.bytes().len() - head_length) as u64;
    let is_there = framing.body.known().is_some_and(|length| length <= arrived);
    plan.streamed && plan.writer.is_none() && !is_there
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
        let limits = plan.limits(&self.config().body);
        if let Err(rejection) = limits.check_length(framing.body) {
            return self.reject_request(exchange, rejection, turn);
        }
        turn.input.consume(head_length);
        let progress = plan.progress;
        let (unread, owes_continue) = (std::mem::take(turn.input), framing.expects_continue);
        let arrival = Arrival { input, unread, owes_continue, limits, progress };
        exchange.request.set_body(ArrivingBody::new(framing.body, arrival));
        self.call_handler(exchange, turn)
    }
}

/// The handler has returned: what follows its response.
pub(super) fn end_arriving_body(exchange: &mut Exchange, turn: &mut Turn<'_>) -> AfterResponse {
    let after = if exchange.keep_alive { AfterResponse::NextRequest } else { AfterResponse::Close };
    let Some(ArrivingEnd { unread, rest, .. }) = exchange.request.end_arriving_body() else { return after };
    *turn.input = unread;
    match rest {
        Rest::Nothing => after,
        Rest::Unread { decoder, awaits_continue } => {
            // A client that still waits for `100 Continue` may send the body or not.
            let is_certain = exchange.keep_alive && !awaits_continue;
            let rest = if is_certain { DiscardedBody::new(decoder) } else { None };
            rest.map_or(AfterResponse::Linger, |rest| AfterResponse::Discard(Box::new(rest)))
        }
        Rest::Failed => AfterResponse::Linger,
    }
}
