//! Responses and cleanup without the handler: rejections, timeouts, overload, shutdown, a client that is gone.
//! Called by `connection` only, also in turns that must not block: of user code it calls nothing but `log_request`.

use http::{Method, StatusCode, header};

use super::{AfterResponse, HttpConnection, State};
use crate::http::error::Error;
use crate::http::handler::RequestHandler;
use crate::http::rejection::Rejection;
use crate::http::request::Request;
use crate::http::request::head::MAX_EMPTY_LINES;
use crate::http::response::Response;
use crate::http::sending::{ResponseContext, encode};
use crate::tcp::{Next, Stage, Turn};

impl<H: RequestHandler> HttpConnection<H> {
    pub(super) fn on_timeout(&mut self, state: State, turn: &mut Turn<'_>) -> Next {
        let timeout = |message| Rejection::new(StatusCode::REQUEST_TIMEOUT, message);
        match state {
            State::ReadingHead(parser) if parser.has_begun(turn.input.bytes()) => {
                self.reject(timeout("the head took too long"), turn)
            }
            State::ReadingBody(partial) => {
                self.reject_request(&partial.exchange.request, timeout("the body came too slowly"), turn)
            }
            _ => Next::Close,
        }
    }

    pub(super) fn on_overload(&mut self, state: State, turn: &mut Turn<'_>) -> Next {
        let busy = Response::from(&error_of(Rejection::busy("too busy at present")));
        match state {
            State::Handling(exchange) => {
                let after = if exchange.keep_alive { AfterResponse::NextRequest } else { AfterResponse::Close };
                self.send_response(&exchange.request, busy, after, turn)
            }
            State::BeforeBody(partial) | State::SpoolingBody(partial) => {
                self.send_response(&partial.exchange.request, busy, AfterResponse::Close, turn)
            }
            State::Streaming(streaming) => {
                log::error!("{:?}: the answer broke off: too busy", streaming.line);
                self.log(&streaming.line, streaming.status, streaming.stream.sent(), turn);
                Next::Abort
            }
            _ => Next::Close,
        }
    }

    /// A body is received to its end; an incomplete head is dropped.
    pub(super) fn on_shutdown(&mut self, state: State) -> Next {
        match state {
            State::ReadingBody(partial) => {
                self.state = State::ReadingBody(partial);
                Next::read_at_min_rate(Stage(self.stage), self.config().body_timeout)
            }
            _ => Next::Close,
        }
    }

    /// Nobody calls yet: what was under way goes on.
    pub(super) fn on_call(&mut self, state: State) -> Next {
        let stage = Stage(self.stage);
        let config = self.config();
        let next = match &state {
            State::Idle => Next::Idle { within: config.idle_timeout },
            State::ReadingHead(_) => {
                Next::Read { stage, within: config.head_timeout, evictable: true, at_min_rate: false }
            }
            State::ReadingBody(_) | State::DiscardingBody(_) => Next::read_at_min_rate(stage, config.body_timeout),
            State::BeforeBody(_) | State::SpoolingBody(_) | State::Handling(_) | State::Streaming(_) => Next::Handle,
        };
        self.state = state;
        next
    }

    pub(super) fn on_send_failed(&mut self, state: State, turn: &mut Turn<'_>) -> Next {
        match state {
            State::Streaming(streaming) => {
                self.log(&streaming.line, streaming.status, streaming.stream.sent(), turn);
            }
            // Disconnected within the body: logged with the status that a client would get that only stopped sending.
            State::BeforeBody(partial) | State::ReadingBody(partial) | State::SpoolingBody(partial) => {
                self.log(partial.exchange.request.line(), StatusCode::BAD_REQUEST, 0, turn);
            }
            _ => {}
        }
        Next::Close
    }

    /// Reject what is not a complete request head.
    pub(super) fn reject(&mut self, rejection: Rejection, turn: &mut Turn<'_>) -> Next {
        let line = first_line(turn.input.bytes());
        let method = if is_head(turn.input.bytes()) { Method::HEAD } else { Method::GET };
        // The request is unknown but for HEAD: the error page depends on nothing else.
        let placeholder = Request::new(method, "/").expect("a slash is a target");
        let response = Response::from(&error_of(rejection));
        let server = self.config().server.as_ref();
        let context = ResponseContext { request: &placeholder, keep_alive: false, now: turn.wall, server };
        let encoded = encode(response, &context, turn.output);
        self.log(&line, encoded.status, encoded.length, turn);
        Next::Close
    }

    /// Reject a request whose head is complete. It may run in a turn that must not block: it calls no handler method.
    pub(super) fn reject_request(&mut self, request: &Request, rejection: Rejection, turn: &mut Turn<'_>) -> Next {
        let response = Response::from(&error_of(rejection));
        self.send_response(request, response, AfterResponse::Close, turn)
    }
}

/// The error page of a rejection; of one for want of room it says when to come again.
fn error_of(rejection: Rejection) -> Error {
    let error = Error::new(rejection.status, rejection.message);
    if rejection.is_for_want_of_room() { error.with_header(header::RETRY_AFTER, "1") } else { error }
}

/// Whether the rejected request is a HEAD, whose response has no body. It skips empty lines as the parser does, so
/// the response does not depend on how the bytes were split.
fn is_head(mut bytes: &[u8]) -> bool {
    for _ in 0..MAX_EMPTY_LINES {
        bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    }
    bytes.starts_with(b"HEAD ")
}

/// The line in place of the request line, for the log; empty lines before it are skipped.
fn first_line(mut bytes: &[u8]) -> String {
    while let Some(rest) = bytes.strip_prefix(b"\r\n") {
        bytes = rest;
    }
    let end = bytes.iter().position(|byte| b"\r\n".contains(byte)).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end.min(MAX_LOGGED_LINE)]).into_owned()
}

const MAX_LOGGED_LINE: usize = 1024;
