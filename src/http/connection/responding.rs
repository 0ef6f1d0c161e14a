//! A response: encoding it, streaming its body, and the next state. Called by `connection` and its other modules.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use http::StatusCode;

use super::live::PushedResponse;
use super::{Exchange, HttpConnection, State, is_short};
use crate::http::request::Body;
use crate::http::responder::log_fault;
use crate::http::sending::stream::{BodyStream, StreamProgress};
use crate::http::sending::{Checked, RestOfBody};
use crate::tcp::{Action, Instant, MayBlock, Turn, text_of};

/// A response whose body is not completely in the output yet.
pub(super) struct StreamingResponse {
    pub(super) stream: BodyStream,
    pub(super) exchange: Box<Exchange>,
    pub(super) status: StatusCode,
}

/// A response that is completely in the output.
pub(super) struct FinishedResponse {
    pub(super) exchange: Box<Exchange>,
    pub(super) status: StatusCode,
    pub(super) length: u64,
}

impl HttpConnection {
    /// Encodes a response into the output, including its body unless that is a stream.
    pub(super) fn send_response(
        &mut self,
        mut exchange: Box<Exchange>,
        response: Checked,
        turn: &mut Turn<'_>,
    ) -> Action {
        turn.read_wall_clock(); // a handler can take long (`Date`: RFC 9110, section 6.6.1)
        let keep_alive = exchange.keeps_the_connection(turn) && !turn.is_shutting_down() && !self.is_used_up(turn.now);
        self.state = State::Encoding(exchange);
        let State::Encoding(exchange) = &self.state else { return Action::Abort };
        let encoded = self.service.encode(response, &exchange.request, keep_alive, turn.wall, turn.output);
        let State::Encoding(mut exchange) = self.take_state() else { return Action::Abort };
        (exchange.keep_alive, exchange.on_sent) = (encoded.keep_alive, encoded.on_sent);
        let status = encoded.status;
        match encoded.rest {
            None => self.end_response(exchange, status, encoded.length, turn),
            Some(RestOfBody::Pushed(stream)) => {
                exchange.request.body = Body::default();
                stream.body.attach(turn.waker());
                self.send_pushed(Box::new(PushedResponse { stream, exchange, status }), turn)
            }
            Some(RestOfBody::Read(stream)) => {
                exchange.drop_unneeded();
                self.state = State::Streaming(Box::new(StreamingResponse { stream, exchange, status }));
                Action::Handle // the head is sent first, because reading the body may take a long time
            }
        }
    }

    /// Returns whether the connection has reached its limit of requests or its maximum age.
    fn is_used_up(&self, now: Instant) -> bool {
        let config = self.config();
        let age = || self.first_request.map_or(Duration::ZERO, |first| now.saturating_duration_since(first));
        config.max_requests.is_some_and(|most| self.requests >= most)
            || config.max_connection_age.is_some_and(|limit| age() >= limit)
    }

    /// Reads and sends the next part of a response body.
    pub(super) fn stream_body(
        &mut self,
        mut streaming: Box<StreamingResponse>,
        may_block: MayBlock,
        turn: &mut Turn<'_>,
    ) -> Action {
        // `None`: there is more to read. The text of an error is user code.
        let read = || match streaming.stream.read_some(turn.output, may_block) {
            StreamProgress::More => None,
            StreamProgress::Done => Some(Ok(())),
            StreamProgress::Failed(err) => Some(Err(text_of(err))),
        };
        let read = streaming.exchange.request.log_scope().run(|| catch_unwind(AssertUnwindSafe(read)));
        let Some(end) = read.unwrap_or_else(|panic| Some(Err(crate::tcp::message_of(panic)))) else {
            self.state = State::Streaming(streaming);
            return Action::Handle;
        };
        match end {
            Ok(()) => {
                let sent = streaming.stream.sent;
                self.end_response(streaming.exchange, streaming.status, sent, turn)
            }
            Err(message) => {
                self.log(&streaming.exchange, streaming.status, streaming.stream.sent, turn);
                log_fault(&streaming.exchange.request, format_args!("the response was cut off: {message}"));
                Action::Abort
            }
        }
    }

    /// Called when all of a response is in the output. If it is logged when it is sent, or has an `on_sent` function,
    /// that is done in the next turn.
    #[inline]
    fn end_response(
        &mut self,
        mut exchange: Box<Exchange>,
        status: StatusCode,
        length: u64,
        turn: &mut Turn<'_>,
    ) -> Action {
        let is_short = is_short(turn);
        if is_short {
            self.log(&exchange, status, length, turn);
        }
        if is_short && exchange.on_sent.is_none() {
            return self.after_response(exchange, turn);
        }
        exchange.drop_unneeded();
        self.ask_for_permit(State::Finished(Box::new(FinishedResponse { exchange, status, length })))
    }

    /// Called when a finished response was sent, or can't be.
    pub(super) fn finish(&mut self, finished: FinishedResponse, may_block: MayBlock, turn: &mut Turn<'_>) -> Action {
        self.log(&finished.exchange, finished.status, finished.length.saturating_sub(turn.output.owed()), turn);
        self.was_sent(finished.exchange, may_block, turn)
    }

    /// Calls the `on_sent` function of a response that was sent.
    pub(super) fn was_sent(&mut self, mut exchange: Box<Exchange>, may_block: MayBlock, turn: &mut Turn<'_>) -> Action {
        if let Some(on_sent) = exchange.on_sent.take() {
            on_sent.sent(may_block);
        }
        self.after_response(exchange, turn)
    }

    /// Called when a response of any kind is complete. No byte of the request's body must be read as the next request.
    pub(super) fn after_response(&mut self, mut exchange: Box<Exchange>, turn: &mut Turn<'_>) -> Action {
        self.state = State::Idle(exchange.request.waker.take());
        let (keep_alive, unread) = (exchange.keep_alive, exchange.unread.take());
        if exchange.is_repeated {
            turn.let_output_wait(); // for the next response
        }
        exchange.end();
        match unread {
            // These bytes arrived before the response was sent. So their poll is too old to prove that cached files are
            // current.
            None if keep_alive => self.next_request(None, turn),
            Some(rest) if keep_alive => {
                self.stage = self.stage.wrapping_add(1);
                self.discard_body(rest, turn)
            }
            Some(_) if !turn.input.ended() => Action::Linger, // the client may still send bytes that are not read
            _ => Action::Close,
        }
    }
}
