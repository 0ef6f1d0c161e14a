//! One request to the backend, on a thread of its own. The thread connects, sends the head and the body, reads the head
//! of the response, notifies the handler, and sends the body to the client. The body of the request has arrived
//! completely before the thread starts.
//!
//! Ownership: the thread owns the connection (`Upstream`). The request owns the exchange through `Pending`, and ends it
//! when the client has disconnected or received its response. They share `State`.

use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header;

use super::failure::Failure;
use super::fields;
use super::threads::Threads;
use super::upstream::Upstream;
use crate::http::answer::{AnswerBody, AnswerHead};
use crate::http::{BodyStep, LivePlace};
use crate::live::{Channel, Sender, Signal};
use crate::{Body, Method, Response, StatusCode};

/// A client that has ended its side counts as disconnected when it gets nothing for this long.
const LEFT_AFTER: Duration = Duration::from_secs(10);

/// If bytes of a body have arrived with the head, up to this many are sent together with the head. They fit into the
/// queue of a channel.
const AT_ONCE: usize = 32 * 1024;

/// A request in progress.
pub(super) struct Exchange {
    /// Notified when there is an `Answer`.
    pub(super) arrived: Signal,
    state: Mutex<State>,
    asked: Asked,
}

/// The request to the backend.
pub(super) struct Asked {
    pub(super) method: Method,
    /// The protocol that the client asks to switch to.
    pub(super) upgrade: Option<String>,
    pub(super) head: Vec<u8>,
    /// How long the response may take to begin.
    pub(super) limit: Option<Duration>,
}

#[derive(Default)]
struct State {
    /// The connection, which the end of the exchange closes.
    stream: Option<Arc<TcpStream>>,
    answer: Option<Result<Answer, Failure>>,
    /// Whether there was an `Answer`. A second one is dropped.
    is_answered: bool,
    /// Whether the client has disconnected, or its response is complete.
    is_over: bool,
}

/// The backend's response.
pub(super) enum Answer {
    /// A response without a body.
    Whole(AnswerHead),
    /// A response with a body that the thread sends.
    Streamed(AnswerHead, Response),
    /// The connection continues as another protocol.
    Switched(AnswerHead, Upstream),
}

/// Ends the exchange when it is dropped with its request, because the client has disconnected or received its response.
pub(super) struct Pending(pub(super) Arc<Exchange>);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Stores a failure as the `Answer` when the thread ends without one, after a panic.
struct Answered<'a>(&'a Exchange);

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        self.0.answer(Err(Failure::Ended("the exchange failed".into())));
    }
}

impl Exchange {
    /// Starts an exchange on a thread, which keeps the place while it is connected.
    pub(super) fn begin(
        asked: Asked,
        body: Body,
        place: LivePlace,
        connect: impl FnOnce() -> Result<TcpStream, Failure> + Send + 'static,
        threads: &Threads,
    ) -> Result<Pending, Failure> {
        let exchange = Arc::new(Exchange { arrived: Signal::new(), state: Mutex::default(), asked });
        let own = Arc::clone(&exchange);
        let begun = threads.run(move || {
            let _answered = Answered(&own);
            if let Err(failure) = connect().and_then(|stream| own.exchange(stream, body, place)) {
                own.answer(Err(failure));
            }
        });
        begun.map(|()| Pending(exchange)).map_err(|_| Failure::Full)
    }

    /// Sends the request, and passes the response on.
    fn exchange(&self, stream: TcpStream, body: Body, place: LivePlace) -> Result<(), Failure> {
        let stream = Arc::new(stream);
        if !self.keep(&stream) {
            return Ok(());
        }
        let upstream = Upstream::new(stream, self.asked.head.clone(), body, place);
        let mut upstream = upstream.map_err(|error| Failure::Ended(error.to_string()))?;
        let head = self.read_head(&mut upstream)?;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            if !self.asked.upgrade.as_ref().is_some_and(|asked| fields::is_offered(asked, &fields::protocol(&head))) {
                return Err(Failure::Invalid("it switches to a protocol that was not requested"));
            }
            self.lock().stream = None; // the tunnel outlives the request, and the end of the request must not close it
            self.answer(Ok(Answer::Switched(head, upstream)));
            return Ok(());
        }
        let body = head.body(&self.asked.method).map_err(Failure::Invalid)?;
        if body.is_empty() {
            self.answer(Ok(Answer::Whole(head)));
            return Ok(());
        }
        let is_events = head.values(&header::CONTENT_TYPE).any(|kind| kind.starts_with(b"text/event-stream"));
        let channel = Channel::new().idle_timeout(None).half_close_timeout(LEFT_AFTER).ends_at_shutdown(is_events);
        let (sender, response) = Response::channel_with(channel);
        let answer = Ok(Answer::Streamed(head, response));
        if body.is_within(upstream.bytes().len().min(AT_ONCE)) {
            self.send(upstream, body, sender); // the client gets the body with the head
            self.answer(answer);
        } else {
            self.answer(answer);
            self.send(upstream, body, sender);
        }
        Ok(())
    }

    /// Stores the connection, so that the end of the exchange closes it. Returns false if the exchange has already
    /// ended.
    fn keep(&self, stream: &Arc<TcpStream>) -> bool {
        let mut state = self.lock();
        state.stream = Some(Arc::clone(stream)).filter(|_| !state.is_over);
        !state.is_over
    }

    /// Reads until the head of a final response is complete.
    fn read_head(&self, upstream: &mut Upstream) -> Result<AnswerHead, Failure> {
        loop {
            match AnswerHead::parse(upstream.bytes()).map_err(Failure::Invalid)? {
                Some((used, head)) => {
                    upstream.consume(used);
                    if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                        return Ok(head);
                    }
                }
                None => match upstream.fill(self.asked.limit)? {
                    0 if upstream.bytes().is_empty() => return Err(Failure::Ended("it sent nothing".into())),
                    0 => return Err(Failure::Invalid("its head is incomplete")),
                    _ => {}
                },
            }
        }
    }

    /// Sends the body to the client, at the client's pace.
    fn send(&self, mut upstream: Upstream, body: AnswerBody, sender: Sender) {
        match copy(&mut upstream, body, &sender) {
            Ok(()) => sender.finish(),
            Err(why) => {
                if !self.lock().is_over {
                    let line = self.asked.head.split(|&byte| byte == b'\r').next().unwrap_or_default();
                    log::warn!("proxy: the response to {:?} was cut off: {why}", String::from_utf8_lossy(line));
                }
                sender.abort();
            }
        }
    }

    fn answer(&self, answer: Result<Answer, Failure>) {
        let mut state = self.lock();
        if !state.is_answered && !state.is_over {
            state.is_answered = true;
            state.answer = Some(answer);
            drop(state);
            self.arrived.notify();
        }
    }

    pub(super) fn take_answer(&self) -> Option<Result<Answer, Failure>> {
        self.lock().answer.take()
    }

    /// Ends the exchange: the connection is closed, and the thread ends.
    fn end(&self) {
        let mut state = self.lock();
        state.is_over = true;
        let left = state.answer.take();
        if let Some(stream) = state.stream.take() {
            let _ = stream.shutdown(Shutdown::Both); // it may be closed already
        }
        drop(state);
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends the body until its end. The error is the reason why it is incomplete.
fn copy(upstream: &mut Upstream, mut body: AnswerBody, sender: &Sender) -> Result<(), String> {
    loop {
        let (used, step) = body.step(upstream.bytes())?;
        match step {
            BodyStep::Data(piece) => sender.send_timeout(piece, None).map_err(|error| error.to_string())?,
            BodyStep::End => return Ok(()),
            BodyStep::NeedInput => {
                upstream.consume(used);
                // A response may pause without a limit.
                match upstream.fill(None).map_err(|failure| format!("{failure:?}"))? {
                    0 if matches!(body, AnswerBody::UntilClose) => return Ok(()),
                    0 => return Err("the connection ended before the response did".into()),
                    _ => continue,
                }
            }
        }
        upstream.consume(used);
    }
}
