//! What is said and done where the handler has no word: refusals, lateness, overload, a stop, a client that is gone.
//! Called by `conversation` only. It runs outside a slot too, so that it never blocks and asks no user code but the log.

use http::{Method, StatusCode};

use super::{After, State, Talk};
use crate::http::answer::{Asked, answer};
use crate::http::error::Error;
use crate::http::handler::RequestHandler;
use crate::http::head::MOST_EMPTY_LINES;
use crate::http::refusal::Refusal;
use crate::http::request::Request;
use crate::http::response::Response;
use crate::tcp::{Next, Turn};

impl<H: RequestHandler> Talk<H> {
    pub(super) fn late(&mut self, state: State, turn: &mut Turn<'_>) -> Next {
        let late = |why| Refusal::new(StatusCode::REQUEST_TIMEOUT, why);
        match state {
            State::Head(parser) if parser.has_begun(turn.input.bytes()) => {
                self.refuse(late("the head took too long"), turn)
            }
            State::Body(receiving) => {
                self.refuse_request(&receiving.exchange.request, late("the body took too long"), turn)
            }
            _ => Next::Close,
        }
    }

    pub(super) fn no_slot(&mut self, state: State, turn: &mut Turn<'_>) -> Next {
        let busy = Error::new(StatusCode::SERVICE_UNAVAILABLE, "too busy at present").header("retry-after", "1");
        match state {
            State::Handling(exchange) => {
                let after = if exchange.keep_alive { After::NextRequest } else { After::Close };
                self.lay(&exchange.request, Response::from(&busy), after, turn)
            }
            State::Judging(receiving) | State::Spilling(receiving) => {
                self.lay(&receiving.exchange.request, Response::from(&busy), After::Close, turn)
            }
            State::Streaming(streaming) => {
                log::error!("{:?}: the answer broke off: too busy", streaming.line);
                self.log(&streaming.line, streaming.status, streaming.source.sent(), turn);
                Next::Abort
            }
            _ => Next::Close,
        }
    }

    /// What was begun is finished; half a head is not a beginning.
    pub(super) fn stopping(&mut self, state: State) -> Next {
        match state {
            State::Body(receiving) => {
                self.state = State::Body(receiving);
                self.read_on(self.settings().body_timeout)
            }
            _ => Next::Close,
        }
    }

    pub(super) fn send_failed(&mut self, state: State, turn: &mut Turn<'_>) -> Next {
        match state {
            State::Streaming(streaming) => {
                self.log(&streaming.line, streaming.status, streaming.source.sent(), turn);
            }
            // Gone amid its body: the log hears what a client that only stopped sending would be told.
            State::Judging(receiving) | State::Body(receiving) | State::Spilling(receiving) => {
                self.log(receiving.exchange.request.line(), StatusCode::BAD_REQUEST, 0, turn);
            }
            _ => {}
        }
        Next::Close
    }

    /// Refuse what is no whole request.
    pub(super) fn refuse(&mut self, refusal: Refusal, turn: &mut Turn<'_>) -> Next {
        let line = first_line(turn.input.bytes());
        let method = if is_head(turn.input.bytes()) { Method::HEAD } else { Method::GET };
        // What is answered is not asked for much: the page is the same for all.
        let stand_in = Request::new(method, "/").expect("a slash is a target");
        let response = Response::from(&Error::new(refusal.status, refusal.why));
        let server = self.settings().server.as_ref();
        let asked = Asked { request: &stand_in, keep_alive: false, wall: turn.wall, server };
        let answered = answer(response, &asked, turn.output);
        self.log(&line, answered.status, answered.length, turn);
        Next::Close
    }

    /// Refuse a request whose head is whole. It may be said outside a slot: no word of the handler's is asked for.
    pub(super) fn refuse_request(&mut self, request: &Request, refusal: Refusal, turn: &mut Turn<'_>) -> Next {
        let response = Response::from(&Error::new(refusal.status, refusal.why));
        self.lay(request, response, After::Close, turn)
    }
}

/// Whether a HEAD is refused: its answer has no body. It begins where the parser would let it begin, so that the
/// answer is the same however the bytes came.
fn is_head(mut bytes: &[u8]) -> bool {
    for _ in 0..MOST_EMPTY_LINES {
        bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    }
    bytes.starts_with(b"HEAD ")
}

/// What stands where a request line should, for the log; empty lines before it are skipped.
fn first_line(mut bytes: &[u8]) -> String {
    while let Some(rest) = bytes.strip_prefix(b"\r\n") {
        bytes = rest;
    }
    let end = bytes.iter().position(|byte| b"\r\n".contains(byte)).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end.min(LONGEST_LOGGED)]).into_owned()
}

const LONGEST_LOGGED: usize = 1024;
