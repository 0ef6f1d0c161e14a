//! One request to the backend. The body of the request is complete before it starts.
//!
//! On a kept connection, the worker that handles the request sends it. The request then waits until the poller finds
//! that the response has arrived, and its worker reads it. Any other request has a thread, which connects, sends the
//! head and the body, reads the head of the response, notifies the handler, and sends the body to the client. Such a
//! thread also continues a response that is long, or does not arrive at once.
//!
//! The handler is called twice: when the request begins, and when there is a response or a failure. The pieces of a
//! response that arrive in between are received without it, through `BackendWait`.
//!
//! Ownership: the request owns the exchange through `Pending`, and ends it when the client has left or has received its
//! response. The exchange owns a kept connection; the thread owns its connection and its job. They share `State`.

use std::io;
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use http::header;

use super::connector::Connector;
use super::failure::Failure;
use super::fields;
use super::pool::ConnectionPool;
use super::upstream::Upstream;
use crate::http::backend_response::{BackendBody, BackendHead};
use crate::http::live::BackendWait;
use crate::http::{BodyStep, LivePlace, LogName};
use crate::live::{ChannelOptions, Sender, Signal, Ticket};
use crate::{Body, Method, Response, ServerHandle, StatusCode};

/// A client that has ended its side counts as disconnected when it gets nothing for this long.
const LEFT_AFTER: Duration = Duration::from_secs(10);

/// Up to this many bytes of a body, if they have arrived with the head, are sent together with it. They fit into the
/// queue of a channel.
const AT_ONCE: usize = 32 * 1024;

/// The longest head that is sent on a kept connection, without a thread. Each socket has at least this much room.
const LONGEST_SHARED: usize = 4 * 1024;

/// How long a request waits for the rest of a short body without a thread. Many backends send the head and the body
/// separately.
const REST_WITHIN: Duration = Duration::from_millis(5);

/// A request in progress.
pub(super) struct Exchange {
    /// Notified when there is a `BackendResponse`, or when bytes have arrived on a kept connection.
    arrived: Signal,
    state: Mutex<State>,
    asked: BackendRequest,
    server: ServerHandle,
    kept: Weak<ConnectionPool>,
    connector: Arc<Connector>,
    begun: Instant,
}

/// The request to the backend.
pub(super) struct BackendRequest {
    pub(super) method: Method,
    /// The name of the client's request in the log.
    pub(super) name: LogName<'static>,
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
    /// The connection of the thread, which the end of the exchange closes.
    stream: Option<Arc<TcpStream>>,
    /// The response on a kept connection.
    receiving: Option<Box<Receiving>>,
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
pub(super) struct Pending(Arc<Exchange>);

impl Pending {
    /// Returns the response, once.
    pub(super) fn take_answer(&self) -> Result<BackendResponse, Failure> {
        self.0.lock().answer.take().unwrap_or(Err(Failure::Repeated))
    }
}

impl BackendWait for Pending {
    fn advance(&self) -> Option<(Ticket, Option<Duration>)> {
        let ticket = self.0.arrived.ticket(); // taken before checking for a response, so that none is missed
        let within = self.0.receive();
        (!self.0.lock().is_answered).then_some((ticket, within))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A response on a kept connection, whose head or body is incomplete.
struct Receiving {
    upstream: Upstream,
    /// The head, and when it was complete.
    head: Option<(BackendHead, Instant)>,
    /// Until the response is complete.
    place: LivePlace,
    /// Whether the connection can be kept afterwards.
    may_keep: bool,
}

/// The next step with a response on a kept connection.
enum Step {
    /// More bytes are needed, within this time.
    Wait(Option<Duration>),
    /// The body is complete.
    Complete,
    /// A thread has to continue.
    Continue,
    /// A thread has to send the request again on another connection.
    Repeat,
}

/// A request for a thread. The exchange has failed if this is dropped before there is a response, as after a panic.
pub(super) struct Job {
    exchange: Arc<Exchange>,
    body: Body,
    /// Until the response is complete.
    place: Option<LivePlace>,
    /// Whether the connection can be kept.
    may_keep: bool,
    /// The connection of a response whose head was received without a thread.
    begun: Option<(Upstream, BackendHead)>,
    /// Whether the job runs on a thread.
    is_running: bool,
    /// Whether the backend may have executed the request before.
    was_sent: bool,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.fail(if self.is_running { Failure::Ended("the exchange failed".into()) } else { Failure::NoThread });
    }
}

impl Exchange {
    /// Sends the request on a kept connection, or starts it on a thread.
    pub(super) fn begin(
        asked: BackendRequest,
        body: Body,
        place: LivePlace,
        server: ServerHandle,
        kept: &Arc<ConnectionPool>,
        connector: &Arc<Connector>,
    ) -> Result<Pending, Failure> {
        // A shorter head fits into a socket that is empty.
        let may_share = asked.may_share && asked.head.len() <= LONGEST_SHARED;
        let (arrived, state, begun) = (Signal::new(), Mutex::default(), Instant::now());
        let connector = Arc::clone(connector);
        let mut exchange = Exchange { arrived, state, asked, server, kept: Arc::downgrade(kept), connector, begun };
        if !may_share {
            kept.close_oldest();
        }
        while may_share && let Some((mut upstream, arrived)) = kept.take(&exchange.server) {
            if upstream.send_head(&exchange.asked.head) {
                exchange.arrived = arrived;
                exchange.lock().receiving = Some(Box::new(Receiving { upstream, head: None, place, may_keep: true }));
                return Ok(Pending(Arc::new(exchange)));
            }
        }
        let exchange = Arc::new(exchange);
        let job = Job {
            exchange: Arc::clone(&exchange),
            body,
            place: Some(place),
            may_keep: may_share,
            begun: None,
            is_running: false,
            was_sent: false,
        };
        job.start().map(|()| Pending(exchange)).map_err(|_| Failure::NoThread)
    }

    /// Reads the response if it arrives on a kept connection. Returns how long to wait for more.
    fn receive(self: &Arc<Self>) -> Option<Duration> {
        let mut receiving = self.lock().receiving.take()?;
        let step = receiving.step(self);
        if let Ok(Step::Wait(limit)) = step {
            self.lock().receiving = Some(receiving);
            return limit;
        }
        let Receiving { mut upstream, head, place, may_keep } = *receiving;
        let head = head.map(|(head, _)| head);
        let exchange = Arc::clone(self);
        let (body, place, begun) = (Body::default(), Some(place), None);
        let mut job = Job { exchange, body, place, may_keep, begun, is_running: false, was_sent: true };
        let result = match (step, head) {
            (Ok(Step::Complete), Some(head)) => job.pass_on(upstream, head),
            (Ok(Step::Continue), Some(head)) => {
                upstream.watch = None;
                self.hold(&upstream.stream);
                job.begun = Some((upstream, head));
                let _ = job.start();
                return None;
            }
            (Ok(_), _) => {
                let _ = job.start(); // an error: the job, which was dropped, has reported it
                return None;
            }
            (Err(failure), _) => Err(failure),
        };
        if let Err(failure) = result {
            job.fail(failure);
        }
        None
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

    /// Ends the exchange: the connection is closed unless the exchange has let it go, and the thread ends.
    fn end(&self) {
        let mut state = self.lock();
        state.is_over = true;
        let left = (state.answer.take(), state.receiving.take());
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

impl Receiving {
    /// Reads what has arrived, until the response is complete or has to be continued on a thread.
    fn step(&mut self, exchange: &Exchange) -> Result<Step, Failure> {
        loop {
            let upstream = &mut self.upstream;
            if self.head.is_none() {
                self.head = next_head(upstream, &mut self.may_keep)?.map(|head| (head, Instant::now()));
            }
            let left = match &self.head {
                None => exchange.asked.limit.map(|limit| limit.saturating_sub(exchange.begun.elapsed())),
                Some((head, _)) if is_timed_out(head) => return Ok(Step::Repeat),
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
                return Ok(Step::Wait(left));
            }
            let has_begun = upstream.has_received();
            match (upstream.receive(), &self.head) {
                (Ok(Some(1..)), _) => {}
                // After the read: the whole process may have been stopped, and the response may have arrived meanwhile.
                (Ok(None), None) if is_late => return Err(Failure::Late),
                (Ok(None), Some(_)) if is_late => return Ok(Step::Continue),
                (Ok(None), _) => return Ok(Step::Wait(left)),
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

/// Some backends send a 408 when a connection was idle for too long.
fn is_timed_out(head: &BackendHead) -> bool {
    head.status == StatusCode::REQUEST_TIMEOUT
}

/// Returns whether parts of the body are of use before its end.
fn is_stream(head: &BackendHead, body: &BackendBody) -> bool {
    is_events(head) || matches!(body, BackendBody::UntilClose)
}

fn is_events(head: &BackendHead) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    head.values(&header::CONTENT_TYPE)
        .any(|kind| kind.get(..EVENTS.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(EVENTS)))
}

/// Takes the head of a final response from the bytes that were received. `None`: more bytes are needed.
fn next_head(upstream: &mut Upstream, may_keep: &mut bool) -> Result<Option<BackendHead>, Failure> {
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

impl Job {
    /// Continues on a thread.
    fn start(self) -> io::Result<()> {
        let connector = Arc::clone(&self.exchange.connector);
        connector.run(move || self.run())
    }

    /// Does the work of a thread.
    fn run(mut self) {
        self.is_running = true;
        if let Err(failure) = self.receive() {
            self.fail(failure);
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.place = None; // the client's next request finds it
        self.exchange.answer(Err(if self.was_sent { failure.after_sending() } else { failure }));
    }

    fn receive(&mut self) -> Result<(), Failure> {
        let (upstream, head) = match self.begun.take() {
            Some(begun) => begun,
            None => {
                let mut upstream = self.connect()?;
                let head = self.read_head(&mut upstream)?;
                (upstream, head)
            }
        };
        self.pass_on(upstream, head)
    }

    fn connect(&mut self) -> Result<Upstream, Failure> {
        let gone = || Failure::Ended("the client has left".into());
        let stream = Arc::new(if self.exchange.is_over() { Err(gone()) } else { self.exchange.connector.connect() }?);
        if !self.exchange.hold(&stream) {
            return Err(gone());
        }
        let upstream = Upstream::new(stream, self.exchange.asked.head.clone(), mem::take(&mut self.body));
        upstream.map_err(|error| Failure::Ended(error.to_string()))
    }

    /// Passes on a response whose head was received.
    fn pass_on(&mut self, mut upstream: Upstream, head: BackendHead) -> Result<(), Failure> {
        let exchange = Arc::clone(&self.exchange);
        let asked = &exchange.asked;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            if !asked.upgrade.as_ref().is_some_and(|asked| fields::is_offered(asked, &fields::protocol(&head))) {
                return Err(Failure::Invalid("it switches to a protocol that was not requested"));
            }
            exchange.release(); // the tunnel outlives the request, whose end must not close it
            upstream.place = self.place.take();
            exchange.answer(Ok(BackendResponse::Switched(head, upstream)));
            return Ok(());
        }
        let body = head.body(&asked.method).map_err(Failure::Invalid)?;
        self.may_keep &= head.keeps_connection(&asked.method);
        if body.is_empty() {
            self.finish(upstream);
            exchange.answer(Ok(BackendResponse::Whole(head)));
            return Ok(());
        }
        let channel = ChannelOptions::new().idle_timeout(None).half_close_timeout(LEFT_AFTER);
        let channel = channel.ends_at_shutdown(is_events(&head));
        let (sender, response) = Response::channel_with(channel);
        let answer = Ok(BackendResponse::Streamed(head, response));
        let bytes = upstream.bytes();
        if body.clone().ends_within(&bytes[..bytes.len().min(AT_ONCE)]) {
            self.send(upstream, body, sender); // the client gets it with the head
            exchange.answer(answer);
        } else {
            exchange.answer(answer);
            self.send(upstream, body, sender);
        }
        Ok(())
    }

    /// Keeps the connection, or closes it. Called before the end of the response is passed on, so that the client's next
    /// request finds the connection and a place. A client that counts the bytes of a long body can be faster: the place
    /// is also the limit of threads, so it is kept until the last bytes are in the channel.
    fn finish(&mut self, upstream: Upstream) {
        let is_usable = self.exchange.release() && self.may_keep && upstream.is_at_end();
        self.place = None;
        if let Some(kept) = self.exchange.kept.upgrade().filter(|_| is_usable) {
            kept.keep(upstream, &self.exchange.server);
        }
    }

    /// Receives until the head of a final response is complete.
    fn read_head(&mut self, upstream: &mut Upstream) -> Result<BackendHead, Failure> {
        let mut limit_reached = false;
        loop {
            if let Some(head) = next_head(upstream, &mut self.may_keep)? {
                return Ok(head);
            }
            if limit_reached {
                return Err(Failure::Late); // it sends its head too slowly
            }
            match upstream.fill(self.exchange.asked.limit)? {
                0 if upstream.bytes().is_empty() => return Err(Failure::Ended("it sent nothing".into())),
                0 => return Err(Failure::Invalid("its head is incomplete")),
                _ if upstream.is_late(self.exchange.asked.limit) => limit_reached = true,
                _ => {}
            }
        }
    }

    /// Sends the body to the client, at the client's pace.
    fn send(&mut self, mut upstream: Upstream, body: BackendBody, sender: Sender) {
        match copy(&mut upstream, body, &sender) {
            Ok(()) => {
                self.finish(upstream);
                sender.finish();
            }
            Err(why) => {
                if !self.exchange.is_over() {
                    log::warn!("{}: the response was cut off: {why}", self.exchange.asked.name);
                }
                sender.abort();
            }
        }
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
