//! The body of a request: accepted or declined when the head has arrived, received, spooled, or dropped. Called by
//! `connection`; some functions need a turn that may block.

use std::time::Duration;

use super::{Exchange, HttpConnection, State};
use crate::http::error::Error;
use crate::http::rejection::Rejection;
use crate::http::request::arriving::CONTINUE;
use crate::http::request::discard::{DiscardProgress, UnreadBody};
use crate::http::request::framing::RequestFraming;
use crate::http::request::incoming::{Incoming, Need};
use crate::http::request::quotas::BodyLimits;
use crate::http::request::{Body, BodyPlan};
use crate::http::responder::catch_panic;
use crate::tcp::{Action, MayBlock, Stage, Turn};

pub(super) struct UnacceptedRequest {
    pub(super) exchange: Box<Exchange>,
    pub(super) framing: RequestFraming,
    /// The length of the head, which is still in the input.
    pub(super) head_length: usize,
}

pub(super) struct PartialRequest {
    pub(super) exchange: Box<Exchange>,
    pub(super) incoming: Incoming,
    pub(super) limits: BodyLimits,
    pub(super) timeout: Option<Duration>,
}

impl PartialRequest {
    /// Writes the part in memory to the disk, or to the handler's writer. A panic of the writer is an error.
    fn spool(&mut self, _: MayBlock) -> Result<(), Error> {
        catch_panic(&self.exchange.request, || self.incoming.spool(&self.limits))?
    }
}

impl HttpConnection {
    /// Lets the handler accept or decline the body.
    pub(super) fn before_body(
        &mut self,
        unaccepted: UnacceptedRequest,
        may_block: MayBlock,
        turn: &mut Turn<'_>,
    ) -> Action {
        let UnacceptedRequest { mut exchange, framing, head_length } = unaccepted;
        turn.handler_begins(exchange.request.head.line_bytes());
        if let Err(error) = self.rewrite(&mut exchange.request, may_block) {
            return self.close_with(exchange, &error, turn);
        }
        let service = &self.service;
        let mut plan = BodyPlan::default();
        let accepts = match catch_panic(&exchange.request, || service.accepts(&exchange.request, &mut plan, may_block))
        {
            Ok(accepts) => accepts,
            Err(panicked) => return self.close_with(exchange, &panicked, turn),
        };
        if !plan.is_to_be_received(accepts, framing.body.known()) {
            return self.decline_body(exchange, head_length, may_block, turn);
        }
        let timeout = plan.timeout.unwrap_or(self.config().body_timeout);
        // Even if all of the body has arrived, so that the handler sees no difference. Without a socket (in a test) the
        // body is received before the handler.
        if plan.streamed
            && plan.writer.is_none()
            && framing.body.known() != Some(0)
            && let Some(input) = turn.blocking_input(timeout)
        {
            let accepted = UnacceptedRequest { exchange, framing, head_length };
            return self.handle_arriving(accepted, plan, input, may_block, turn);
        }
        let limits = plan.limits(&self.config().body);
        let incoming = match Incoming::new(framing.body, plan.writer.take(), &limits) {
            Ok(incoming) => incoming,
            Err(rejection) => return self.close_with(exchange, &rejection.into(), turn),
        };
        exchange.unread = None; // the body is received
        turn.input.consume(head_length);
        // RFC 9110, section 10.1.1: no 100 is sent if the body has begun to arrive.
        if framing.expects_continue && turn.input.is_empty() && !turn.input.ended() {
            turn.output.bytes().extend_from_slice(CONTINUE);
        }
        self.stage = self.stage.wrapping_add(1);
        exchange.progress = plan.progress;
        self.receive_body(Box::new(PartialRequest { exchange, incoming, limits, timeout }), turn)
    }

    /// Responds without receiving a declined body. If the body is short and the client certainly sends it, it is
    /// received and dropped, and the connection is kept. A client that waits for `100 Continue` may or may not send the
    /// body, so its connection must be closed.
    fn decline_body(
        &mut self,
        mut exchange: Box<Exchange>,
        head_length: usize,
        may_block: MayBlock,
        turn: &mut Turn<'_>,
    ) -> Action {
        turn.input.consume(head_length);
        exchange.request.body = Body::declined();
        let responded = self.responded(&exchange.request, may_block, turn);
        self.send_responded(exchange, responded, turn)
    }

    /// Decodes the part of the body that has arrived. If it must be written to disk, the next turn, which has a permit,
    /// continues here.
    pub(super) fn receive_body(&mut self, mut partial: Box<PartialRequest>, turn: &mut Turn<'_>) -> Action {
        loop {
            let (used, need) = match partial.incoming.feed(turn.input.bytes(), &partial.limits) {
                Ok(fed) => fed,
                Err(rejection) => return self.reject_with_permit(*partial, rejection.into()),
            };
            turn.input.consume(used);
            if let Some(progress) = &partial.exchange.progress
                && used > 0
            {
                let told = catch_panic(&partial.exchange.request, || progress(partial.incoming.received()));
                if let Err(panicked) = told {
                    return self.reject_with_permit(*partial, panicked);
                }
            }
            match (need, turn.may_block()) {
                (Need::Input, _) => return self.wait_for_body(partial, turn),
                (Need::Spool, None) => return self.ask_for_permit(State::ReadingBody(partial)),
                (Need::Spool, Some(may_block)) => {
                    if let Err(error) = partial.spool(may_block) {
                        return self.close_partial(*partial, &error, may_block, turn);
                    }
                }
                (Need::Nothing, may_block) => {
                    let PartialRequest { mut exchange, incoming, .. } = *partial;
                    exchange.request.body = incoming.finish().into();
                    return match may_block {
                        Some(may_block) => self.call_handler(exchange, may_block, turn),
                        None => self.ask_for_permit(State::Handling(exchange)),
                    };
                }
            }
        }
    }

    /// Rejects a request with a permit, because dropping the received part of its body, and values that handlers stored
    /// in it, can block.
    fn reject_with_permit(&mut self, partial: PartialRequest, error: Error) -> Action {
        self.ask_for_permit(State::Rejecting(Box::new((partial, error))))
    }

    fn wait_for_body(&mut self, partial: Box<PartialRequest>, turn: &mut Turn<'_>) -> Action {
        if turn.input.ended() {
            return self.reject_with_permit(*partial, Rejection::bad_request("the body is incomplete").into());
        }
        let within = partial.timeout;
        self.state = State::ReadingBody(partial);
        Action::read_at_min_rate(Stage(self.stage), within)
    }

    pub(super) fn discard_body(&mut self, mut body: Box<UnreadBody>, turn: &mut Turn<'_>) -> Action {
        match body.drop_before_the_next(turn.input) {
            DiscardProgress::Done => self.next_request(None, turn),
            DiscardProgress::More if !turn.input.ended() => {
                self.state = State::DiscardingBody(body);
                // The request has its response, so the connection can be evicted.
                let (stage, within) = (Stage(self.stage), self.config().body_timeout);
                Action::Read { stage, within, evictable: true, at_min_rate: true }
            }
            DiscardProgress::More => Action::Close,
            DiscardProgress::TooMuch => Action::Linger,
        }
    }
}
