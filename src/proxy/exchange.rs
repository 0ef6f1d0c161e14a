//! One request to the backend, on a thread. The thread connects, sends the head and the body, reads the head of the
//! response, notifies the handler, and sends the body to the client. The body of the request is complete before it
//! starts. If the connection is kept, the worker of a later request sends the head on it, and the thread goes on with
//! the response.
//!
//! Ownership: the thread owns the connection (`Upstream`) and the job. The request owns the exchange through `Pending`,
//! and ends it when the client has left or has received its response. They share `State`.

use std::mem;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use http::header;

use super::failure::Failure;
use super::fields;
use super::pool::{ConnectionPool, Waiting};
use super::threads::Threads;
use super::upstream::Upstream;
use crate::http::backend_response::{BackendBody, BackendHead};
use crate::http::{BodyStep, LivePlace};
use crate::live::{ChannelOptions, Sender, Signal};
use crate::{Body, Method, Response, StatusCode};

/// A client that has ended its side counts as disconnected when it gets nothing for this long.
const LEFT_AFTER: Duration = Duration::from_secs(10);

/// Up to this many bytes of a body, if they have arrived with the head, are sent together with it. They fit into the
/// queue of a channel.
const AT_ONCE: usize = 32 * 1024;

/// A request in progress.
pub(super) struct Exchange {
    /// Notified when there is a `BackendResponse`.
    pub(super) arrived: Signal,
    state: Mutex<State>,
    asked: BackendRequest,
}

/// The request to the backend.
pub(super) struct BackendRequest {
    pub(super) method: Method,
    /// The protocol that the client asks to switch to.
    pub(super) upgrade: Option<String>,
    pub(super) head: Vec<u8>,
    /// How long the response may take to begin.
    pub(super) limit: Option<Duration>,
    /// Whether it can be sent on a kept connection, and its connection can be kept. If not, its connection has no other
    /// request.
    pub(super) may_share: bool,
}

#[derive(Default)]
struct State {
    /// The connection, which the end of the exchange closes.
    stream: Option<Arc<TcpStream>>,
    answer: Option<Result<BackendResponse, Failure>>,
    /// Whether there was a `BackendResponse`. A second one is dropped.
    is_answered: bool,
    /// Whether the client has disconnected, or its response is complete.
    is_over: bool,
}

/// The backend's response.
pub(super) enum BackendResponse {
    /// A response without a body.
    Whole(BackendHead),
    /// A response with a body that the thread sends.
    Streamed(BackendHead, Response),
    /// The connection continues as another protocol.
    Switched(BackendHead, Upstream),
}

/// Ends the exchange when it is dropped with its request, because the client has disconnected or received its response.
pub(super) struct Pending(pub(super) Arc<Exchange>);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A request for a thread. The exchange has failed if this is dropped before there is a response, as after a panic.
pub(super) struct Job {
    exchange: Arc<Exchange>,
    body: Body,
    /// Until the response is complete.
    place: Option<LivePlace>,
    begun: Instant,
    /// Whether the connection can be kept.
    may_keep: bool,
}

/// A kept connection and its next request.
type Next = (Upstream, Waiting<Job>);

impl Drop for Job {
    fn drop(&mut self) {
        self.exchange.answer(Err(Failure::Ended("the exchange failed".into())));
    }
}

impl Exchange {
    /// Sends the request on a kept connection, or starts it on a thread.
    pub(super) fn begin<C>(
        asked: BackendRequest,
        body: Body,
        place: LivePlace,
        connector: impl FnOnce() -> C,
        threads: &Threads,
        kept: &Arc<ConnectionPool<Job>>,
    ) -> Result<Pending, Failure>
    where
        C: Fn() -> Result<TcpStream, Failure> + Send + 'static,
    {
        let exchange = Arc::new(Exchange { arrived: Signal::new(), state: Mutex::default(), asked });
        let (may_keep, begun, place) = (exchange.asked.may_share, Instant::now(), Some(place));
        let mut job = Job { exchange: Arc::clone(&exchange), body, place, begun, may_keep };
        if may_keep {
            match kept.send(job, Job::begin_on) {
                Ok(()) => return Ok(Pending(exchange)),
                Err(unsent) => job = unsent,
            }
        } else {
            kept.close_oldest();
        }
        let (connect, kept) = (connector(), Arc::downgrade(kept));
        let begun = threads.run(move || work(job, &connect, &kept));
        begun.map(|()| Pending(exchange)).map_err(|_| Failure::Full)
    }

    /// Stores the connection, for the end of the exchange. Returns false if the exchange has already ended.
    fn hold(&self, stream: &Arc<TcpStream>) -> bool {
        let mut state = self.lock();
        state.stream = Some(Arc::clone(stream)).filter(|_| !state.is_over);
        !state.is_over
    }

    /// Leaves the connection open at the end of the exchange. Returns false if the exchange has already ended.
    fn release(&self) -> bool {
        let mut state = self.lock();
        state.stream = None;
        !state.is_over
    }

    fn is_over(&self) -> bool {
        self.lock().is_over
    }

    fn answer(&self, answer: Result<BackendResponse, Failure>) {
        let mut state = self.lock();
        if !state.is_answered && !state.is_over {
            state.is_answered = true;
            state.answer = Some(answer);
            drop(state);
            self.arrived.notify();
        }
    }

    pub(super) fn take_answer(&self) -> Option<Result<BackendResponse, Failure>> {
        let mut state = self.lock();
        state.answer.take().or_else(|| state.is_answered.then_some(Err(Failure::Repeated)))
    }

    /// Ends the exchange: the connection is closed unless the exchange has let it go, and the thread ends.
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

/// Does the work of a thread: a request, and those after it on the same connection.
fn work(mut job: Job, connect: &impl Fn() -> Result<TcpStream, Failure>, kept: &Weak<ConnectionPool<Job>>) {
    let mut sent_on = None;
    loop {
        let (upstream, mut waiting) = match job.run(sent_on.take(), connect, kept) {
            Ok(Some(next)) => next,
            Ok(None) => return,
            Err(failure) => {
                job.place = None; // the client's next request finds it
                return job.exchange.answer(Err(failure));
            }
        };
        let period = job.exchange.asked.limit;
        drop(job);
        let Some(next) = waiting.next(period) else { return };
        (job, sent_on) = (next, Some(upstream));
    }
}

impl Job {
    /// Called before the request is sent on a kept connection. Returns its bytes.
    fn begin_on<'a>(&'a self, stream: &Arc<TcpStream>) -> &'a [u8] {
        self.exchange.hold(stream);
        &self.exchange.asked.head
    }

    /// Passes the response on. Sends the request before that, unless it was sent on a kept connection.
    fn run(
        &mut self,
        sent_on: Option<Upstream>,
        connect: &impl Fn() -> Result<TcpStream, Failure>,
        kept: &Weak<ConnectionPool<Job>>,
    ) -> Result<Option<Next>, Failure> {
        if let Some(mut upstream) = sent_on {
            upstream.begin(self.begun);
            let head = self.read_head(&mut upstream);
            if !is_stale(&upstream, &head) {
                return self.pass_on(upstream, head?, kept);
            }
        }
        let mut upstream = self.connect(connect)?;
        let head = self.read_head(&mut upstream)?;
        self.pass_on(upstream, head, kept)
    }

    fn connect(&mut self, connect: &impl Fn() -> Result<TcpStream, Failure>) -> Result<Upstream, Failure> {
        let gone = || Failure::Ended("the client has left".into());
        let stream = Arc::new(if self.exchange.is_over() { Err(gone()) } else { connect() }?);
        if !self.exchange.hold(&stream) {
            return Err(gone());
        }
        let upstream = Upstream::new(stream, self.exchange.asked.head.clone(), mem::take(&mut self.body));
        upstream.map_err(|error| Failure::Ended(error.to_string()))
    }

    /// Passes on a response whose head was read.
    fn pass_on(
        &mut self,
        mut upstream: Upstream,
        head: BackendHead,
        kept: &Weak<ConnectionPool<Job>>,
    ) -> Result<Option<Next>, Failure> {
        let exchange = Arc::clone(&self.exchange);
        let asked = &exchange.asked;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            if !asked.upgrade.as_ref().is_some_and(|asked| fields::is_offered(asked, &fields::protocol(&head))) {
                return Err(Failure::Invalid("it switches to a protocol that was not requested"));
            }
            exchange.release(); // the tunnel outlives the request, whose end must not close it
            upstream.place = self.place.take();
            exchange.answer(Ok(BackendResponse::Switched(head, upstream)));
            return Ok(None);
        }
        let body = head.body(&asked.method).map_err(Failure::Invalid)?;
        self.may_keep &= head.keeps_connection(&asked.method);
        if body.is_empty() {
            let next = self.finish(upstream, kept);
            exchange.answer(Ok(BackendResponse::Whole(head)));
            return Ok(next);
        }
        let is_events = head.values(&header::CONTENT_TYPE).any(|kind| kind.starts_with(b"text/event-stream"));
        let channel =
            ChannelOptions::new().idle_timeout(None).half_close_timeout(LEFT_AFTER).ends_at_shutdown(is_events);
        let (sender, response) = Response::channel_with(channel);
        let answer = Ok(BackendResponse::Streamed(head, response));
        if body.is_within(upstream.bytes().len().min(AT_ONCE)) {
            let next = self.send(upstream, body, sender, kept); // the client gets it with the head
            exchange.answer(answer);
            return Ok(next);
        }
        exchange.answer(answer);
        Ok(self.send(upstream, body, sender, kept))
    }

    /// Keeps the connection, or closes it. Called before the end of the response is passed on, so that the client's next
    /// request finds the connection and a place.
    fn finish(&mut self, upstream: Upstream, kept: &Weak<ConnectionPool<Job>>) -> Option<Next> {
        let is_usable = self.exchange.release() && self.may_keep && upstream.is_at_end();
        self.place = None;
        let waiting = kept.upgrade().filter(|_| is_usable)?.keep(&upstream.stream)?;
        Some((upstream, waiting))
    }

    /// Reads until the head of a final response is complete.
    fn read_head(&mut self, upstream: &mut Upstream) -> Result<BackendHead, Failure> {
        loop {
            match BackendHead::parse(upstream.bytes()).map_err(Failure::Invalid)? {
                Some((used, head)) => {
                    upstream.consume(used);
                    if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                        return Ok(head);
                    }
                    self.may_keep = false; // it may wait for a body, after a 100
                }
                None => match upstream.fill(self.exchange.asked.limit)? {
                    0 if upstream.bytes().is_empty() => return Err(Failure::Ended("it sent nothing".into())),
                    0 => return Err(Failure::Invalid("its head is incomplete")),
                    _ => {}
                },
            }
        }
    }

    /// Sends the body to the client, at the client's pace.
    fn send(
        &mut self,
        mut upstream: Upstream,
        body: BackendBody,
        sender: Sender,
        kept: &Weak<ConnectionPool<Job>>,
    ) -> Option<Next> {
        match copy(&mut upstream, body, &sender) {
            Ok(()) => {
                let next = self.finish(upstream, kept);
                sender.finish();
                next
            }
            Err(why) => {
                if !self.exchange.is_over() {
                    let line = self.exchange.asked.head.split(|&byte| byte == b'\r').next().unwrap_or_default();
                    log::warn!("proxy: the response to {:?} was cut off: {why}", String::from_utf8_lossy(line));
                }
                sender.abort();
                None
            }
        }
    }
}

/// Returns whether the backend ended a kept connection before the request arrived (RFC 9112, section 9.3.1). Some
/// backends send a 408 when a connection was idle for too long.
fn is_stale(upstream: &Upstream, head: &Result<BackendHead, Failure>) -> bool {
    match head {
        Ok(head) => head.status == StatusCode::REQUEST_TIMEOUT,
        Err(failure) => matches!(failure, Failure::Ended(_)) && !upstream.has_received(),
    }
}

/// Sends the body until its end. The error is the reason why it is incomplete.
fn copy(upstream: &mut Upstream, mut body: BackendBody, sender: &Sender) -> Result<(), String> {
    loop {
        let (used, step) = body.step(upstream.bytes())?;
        match step {
            BodyStep::Data(piece) => sender.send_shared(Arc::from(piece), None).map_err(|error| error.to_string())?,
            BodyStep::End => {
                upstream.consume(used);
                return Ok(());
            }
            BodyStep::NeedInput => {
                upstream.consume(used);
                // A response may pause without a limit.
                match upstream.fill(None).map_err(|failure| format!("{failure:?}"))? {
                    0 if matches!(body, BackendBody::UntilClose) => return Ok(()),
                    0 => return Err("the connection ended before the response did".into()),
                    _ => continue,
                }
            }
        }
        upstream.consume(used);
    }
}
