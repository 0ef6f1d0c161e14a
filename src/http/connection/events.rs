//! Responses and cleanup without the handler: rejections, timeouts, overload, shutdown, disconnected clients. Called
//! only by `connection`, even in turns that must not block. So user code called from here must not block.

use http::{Method, StatusCode};

use super::{Exchange, HttpConnection, PartialRequest, State};
use crate::http::error::Error;
use crate::http::handler::{Completed, LogRecord};
use crate::http::rejection::Rejection;
use crate::http::request::Request;
use crate::http::request::discard::UnreadBody;
use crate::http::request::head::MAX_EMPTY_LINES;
use crate::http::responder::{log_fault, log_reason};
use crate::http::sending::Checked;
use crate::tcp::{Action, Event, MayBlock, Turn};

impl HttpConnection {
    pub(super) fn on_timeout(&mut self, state: State, may_block: MayBlock, turn: &mut Turn<'_>) -> Action {
        let timeout = |message| Rejection::new(StatusCode::REQUEST_TIMEOUT, message);
        match state {
            State::ReadingHead(parser) if parser.has_begun(turn.input.bytes()) => {
                self.reject(timeout("the head took too long"), turn)
            }
            State::ReadingBody(partial) => {
                self.close_partial(*partial, &timeout("the body arrived too slowly").into(), may_block, turn)
            }
            State::Pushed(pushed) => self.beat(pushed, turn),
            State::Waiting(waiting) => self.end_wait(waiting, turn),
            _ => Action::Close,
        }
    }

    pub(super) fn on_overload(
        &mut self,
        what: Event,
        state: State,
        may_block: MayBlock,
        turn: &mut Turn<'_>,
    ) -> Action {
        match state {
            State::Handling(mut exchange) => {
                // No handler is called for a pipelined request after this, and no connection without memory is kept.
                exchange.keep_alive &= what == Event::NoPermit && turn.input.is_empty();
                let page = self.page(&exchange.request, &exchange.busy());
                self.send_response(exchange, page, turn)
            }
            State::BeforeBody(unaccepted) => self.close_busy(unaccepted.exchange, turn),
            State::ReadingHead(_) => self.reject(Rejection::busy("too busy right now"), turn),
            State::Waiting(waiting) => self.close_busy(waiting.exchange, turn),
            State::ReadingBody(partial) => {
                let busy = partial.exchange.busy();
                self.close_partial(*partial, &busy, may_block, turn)
            }
            State::Upgrading(upgrading) => {
                let busy = upgrading.exchange.busy();
                self.close_in_place(upgrading.exchange, &upgrading.response, &busy, turn)
            }
            State::Streaming(streaming) => {
                log_fault(&streaming.exchange.request, format_args!("the response was cut off: too busy"));
                self.log(&streaming.exchange, streaming.status, streaming.stream.sent, turn);
                Action::Abort
            }
            State::Pushed(pushed) | State::CallingSender(pushed) => {
                log_fault(&pushed.exchange.request, format_args!("the response was cut off: too busy"));
                self.break_off_pushed(pushed, turn)
            }
            State::Finished(mut finished) => {
                finished.exchange.keep_alive = false;
                self.finish(*finished, may_block, turn)
            }
            State::PushedEnd(mut pushed) => {
                pushed.exchange.keep_alive = false;
                self.after_pushed(*pushed, may_block, turn)
            }
            State::Rejecting(rejected) => {
                let (partial, error) = *rejected;
                self.close_partial(partial, &error, may_block, turn)
            }
            State::Switching(_) => Action::Abort,
            _ => Action::Close,
        }
    }

    fn close_busy(&mut self, exchange: Box<Exchange>, turn: &mut Turn<'_>) -> Action {
        let busy = exchange.busy();
        self.close_with(exchange, &busy, turn)
    }

    /// Handles a shutdown: a body is received to its end.
    pub(super) fn on_shutdown(&mut self, state: State, _: MayBlock, turn: &mut Turn<'_>) -> Action {
        match state {
            State::ReadingBody(_) => self.wait_on(state),
            State::Pushed(pushed) => self.end_pushed(pushed, turn),
            State::Waiting(waiting) => self.end_waiting(waiting),
            _ => Action::Close,
        }
    }

    /// Handles a call of another thread: bytes were pushed, or a signal was notified. A late call changes nothing.
    pub(super) fn on_call(&mut self, state: State, turn: &mut Turn<'_>) -> Action {
        match state {
            State::Pushed(pushed) => self.send_pushed(pushed, turn),
            State::Waiting(waiting) => self.on_signal(waiting, turn),
            state => self.wait_on(state),
        }
    }

    pub(super) fn on_send_failed(&mut self, state: State, _: MayBlock, turn: &mut Turn<'_>) -> Action {
        // A client that disconnects before its response is logged with 400, as if it had closed only its sending side
        // within the body.
        self.log_end(&state, StatusCode::BAD_REQUEST, turn.output.owed(), turn.wall);
        Action::Close
    }

    /// Rejects a request whose head is incomplete or malformed.
    pub(super) fn reject(&mut self, rejection: Rejection, turn: &mut Turn<'_>) -> Action {
        let line = first_line(turn.input.bytes());
        let method = if is_head(turn.input.bytes()) { Method::HEAD } else { Method::GET };
        // The error page depends only on whether the method is HEAD.
        let placeholder = Request::new(method, "/").expect("a slash is a valid target");
        let error = Error::from(rejection);
        log::info!("{} {line:?}: {error}", turn.client.ip().map_or("unix:".to_owned(), |ip| ip.to_string()));
        let page = self.service.page(None, &error, &placeholder);
        let page = if page.is_in_memory() { page } else { Checked::of(&error) };
        let encoded = self.service.encode(page, &placeholder, false, turn.wall, turn.output);
        let (status, bytes) = (encoded.status, encoded.length);
        let completed = Completed { status, bytes, time: turn.wall, begun: turn.now };
        self.log_record(&LogRecord::of_line(turn.client, &line, &completed));
        Action::Close
    }

    /// Ends a request within its body, with this error.
    pub(super) fn close_partial(
        &mut self,
        partial: PartialRequest,
        error: &Error,
        _: MayBlock,
        turn: &mut Turn<'_>,
    ) -> Action {
        let PartialRequest { mut exchange, limits, .. } = partial;
        exchange.unread = Some(Box::new(UnreadBody::without_end(limits.body)));
        self.close_with(exchange, error, turn)
    }

    /// Sends the page of an error. No further request follows.
    pub(super) fn close_with(&mut self, mut exchange: Box<Exchange>, error: &Error, turn: &mut Turn<'_>) -> Action {
        log_reason(&exchange.request, error);
        let page = self.page(&exchange.request, error);
        exchange.keep_alive = false;
        self.send_response(exchange, page, turn)
    }

    /// Sends the page of an error in place of this response. No further request follows.
    pub(super) fn close_in_place(
        &mut self,
        mut exchange: Box<Exchange>,
        response: &Checked,
        error: &Error,
        turn: &mut Turn<'_>,
    ) -> Action {
        log_reason(&exchange.request, error);
        let page = self.page_in_place(&exchange.request, error, response);
        exchange.keep_alive = false;
        self.send_response(exchange, page, turn)
    }
}

/// Returns whether the rejected request is a HEAD, whose response has no body. Skips empty lines as the parser does, so
/// the response does not depend on how the bytes were split.
fn is_head(mut bytes: &[u8]) -> bool {
    for _ in 0..MAX_EMPTY_LINES {
        bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    }
    bytes.starts_with(b"HEAD ")
}

/// Returns the first line that is not empty. The log shows it in place of the request line.
fn first_line(mut bytes: &[u8]) -> String {
    while let Some(rest) = bytes.strip_prefix(b"\r\n") {
        bytes = rest;
    }
    let end = bytes.iter().position(|byte| b"\r\n".contains(byte)).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end.min(MAX_LOGGED_LINE)]).into_owned()
}

const MAX_LOGGED_LINE: usize = 1024;
