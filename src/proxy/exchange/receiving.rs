//! The response on a pooled connection, received by workers when the poller finds that bytes have arrived.

use std::time::{Duration, Instant};

use http::header;

use super::super::failure::Failure;
use super::super::upstream::Upstream;
use super::Exchange;
use crate::StatusCode;
use crate::http::LivePlace;
use crate::http::backend_response::{BackendBody, BackendHead};

/// Up to this many bytes of a body, if they have arrived with the head, are sent together with it. They fit into the
/// queue of a channel.
pub(super) const AT_ONCE: usize = 32 * 1024;

/// How long a request waits for the rest of a short body without a thread. Many backends send the head and the body
/// separately.
const REST_WITHIN: Duration = Duration::from_millis(5);

/// A response on a pooled connection, whose head or body is incomplete.
pub(super) struct Receiving {
    pub(super) upstream: Upstream,
    /// The head, and when it was complete.
    pub(super) head: Option<(BackendHead, Instant)>,
    /// Until the response is complete.
    pub(super) place: LivePlace,
    /// Whether the connection can be kept afterwards.
    pub(super) may_keep: bool,
}

/// The next step with a response on a pooled connection.
pub(super) enum Step {
    /// More bytes are needed, within this time.
    Wait(Option<Duration>),
    Complete,
    /// A thread has to continue.
    Continue,
    /// A thread has to send the request again on another connection.
    Repeat,
}

impl Receiving {
    pub(super) fn new(upstream: Upstream, place: LivePlace) -> Receiving {
        Receiving { upstream, head: None, place, may_keep: true }
    }

    /// Reads what has arrived, until the response is complete or has to be continued on a thread.
    pub(super) fn step(&mut self, exchange: &Exchange) -> Result<Step, Failure> {
        loop {
            let upstream = &mut self.upstream;
            if self.head.is_none() {
                self.head = next_head(upstream, &mut self.may_keep)?.map(|head| (head, Instant::now()));
            }
            let left = match &self.head {
                None => exchange.asked.limit.map(|limit| limit.saturating_sub(exchange.begun.elapsed())),
                // Some backends send it when a connection was idle for too long.
                Some((head, _)) if head.status == StatusCode::REQUEST_TIMEOUT => return Ok(Step::Repeat),
                Some((head, since)) => {
                    let body = head.body(&exchange.asked.method).map_err(Failure::Invalid)?;
                    let bytes = upstream.bytes();
                    if body.clone().ends_within(&bytes[..bytes.len().min(AT_ONCE)]) {
                        return Ok(Step::Complete);
                    }
                    if body.exceeds(AT_ONCE) || bytes.len() > AT_ONCE || is_stream(head, &body) {
                        return Ok(Step::Continue);
                    }
                    Some(REST_WITHIN.saturating_sub(since.elapsed()))
                }
            };
            let is_late = left == Some(Duration::ZERO);
            if !is_late && !upstream.is_ready() {
                upstream.acknowledge();
                return Ok(Step::Wait(left));
            }
            let has_begun = upstream.has_received;
            match (upstream.receive(), &self.head) {
                (Ok(Some(1..)), _) => {}
                // After the read: the whole process may have been stopped, and the response may have arrived by now.
                (Ok(None), None) if is_late => return Err(Failure::Late),
                (Ok(None), Some(_)) if is_late => return Ok(Step::Continue),
                (Ok(None), _) => {
                    upstream.acknowledge();
                    return Ok(Step::Wait(left));
                }
                (Ok(Some(0)), Some(_)) => return Ok(Step::Continue), // the thread finds the end again
                // The backend has ended the connection before the request arrived (RFC 9112, section 9.3.1).
                (Ok(Some(0)) | Err(_), None) if !has_begun => return Ok(Step::Repeat),
                (Ok(Some(0)), None) => return Err(Failure::Invalid("its head is incomplete")),
                // Nothing was passed on yet. The kernel reports an error only once.
                (Err(error), _) => return Err(Failure::Ended(error.to_string())),
            }
        }
    }
}

/// Returns whether parts of the body are of use before its end.
fn is_stream(head: &BackendHead, body: &BackendBody) -> bool {
    is_events(head) || matches!(body, BackendBody::UntilClose)
}

pub(super) fn is_events(head: &BackendHead) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    head.values(&header::CONTENT_TYPE)
        .any(|kind| kind.get(..EVENTS.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(EVENTS)))
}

/// Takes the head of a final response from the bytes that were received. `None`: more bytes are needed.
pub(super) fn next_head(upstream: &mut Upstream, may_keep: &mut bool) -> Result<Option<BackendHead>, Failure> {
    while let Some((used, head)) = BackendHead::parse(upstream.bytes()).map_err(Failure::Invalid)? {
        if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
            upstream.consume(used);
            return Ok(Some(head));
        }
        if !upstream.consume_interim(used) {
            return Err(Failure::Invalid("its interim responses are longer than 256 KiB"));
        }
        *may_keep = false; // it may wait for a body, after a 100
    }
    Ok(None)
}
