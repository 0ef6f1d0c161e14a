//! Requests with a streamed body: their handler is called before the body has arrived. Called by `connection` in turns
//! that may block.

use super::{Exchange, HttpConnection, UnacceptedRequest};
use crate::http::request::BodyPlan;
use crate::http::request::arriving::{Arrival, ArrivingBody, ArrivingEnd};
use crate::http::request::discard::DiscardProgress;
use crate::tcp::{Action, BlockingInput, MayBlock, Turn};

impl HttpConnection {
    /// Calls the handler of a request, which can receive the body from this connection.
    pub(super) fn handle_arriving(
        &mut self,
        accepted: UnacceptedRequest,
        plan: BodyPlan,
        input: Box<dyn BlockingInput>,
        may_block: MayBlock,
        turn: &mut Turn<'_>,
    ) -> Action {
        let UnacceptedRequest { mut exchange, framing, head_length } = accepted;
        let limits = plan.limits(&self.config().body);
        if let Err(rejection) = limits.check_length(framing.body) {
            return self.close_with(exchange, &rejection.into(), turn);
        }
        exchange.unread = None; // the handler has received the body, or its rest is known
        turn.input.consume(head_length);
        let progress = plan.progress;
        let (unread, owes_continue) = (std::mem::take(turn.input), framing.expects_continue);
        let arrival = Arrival { input, unread, owes_continue, limits, progress };
        exchange.request.body = ArrivingBody::new(framing.body, arrival).into();
        self.call_handler(exchange, may_block, turn)
    }
}

/// Called after the handler has returned: the exchange owns the unread part of the body again.
pub(super) fn end_arriving_body(exchange: &mut Exchange, turn: &mut Turn<'_>) {
    let Some(ArrivingEnd { unread, rest, .. }) = exchange.request.body.end_live() else { return };
    *turn.input = unread;
    exchange.unread = rest.map(Box::new);
    let _ = exchange.drop_unread(turn); // a body that is too long is detected later
}

impl Exchange {
    /// Returns whether the next request can follow this one on its connection. Called before the response is sent,
    /// because the response reports this (RFC 9112, section 9.6), and because the chunks that have arrived can already
    /// show that the rest is too long.
    pub(super) fn keeps_the_connection(&mut self, turn: &mut Turn<'_>) -> bool {
        let keeps = |exchange: &Exchange| exchange.unread.as_ref().is_none_or(|rest| rest.keeps_the_connection());
        self.keep_alive && keeps(self) && self.drop_unread(turn) && keeps(self)
    }

    /// Drops the received part of a body that no handler reads. Returns false if the body is too long or malformed.
    pub(super) fn drop_unread(&mut self, turn: &mut Turn<'_>) -> bool {
        let Some(rest) = &mut self.unread else { return true };
        let progress = rest.drop_meanwhile(turn.input);
        if progress == DiscardProgress::Done {
            self.unread = None;
        }
        progress != DiscardProgress::TooMuch
    }
}
