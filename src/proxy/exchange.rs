//! One request to the backend. The body of the request is complete before the exchange starts.
//!
//! On a pooled connection, the worker that handles the request sends it. The request then waits until the poller finds
//! that the response has arrived, and its worker reads it. Any other request has a thread, which connects, sends the
//! head and the body, reads the head of the response, notifies the handler, and sends the body to the client. Such a
//! thread also continues a response that is long, or does not arrive at once.
//!
//! The handler is called twice: when the request begins, and when there is a response or a failure. The pieces of a
//! response that arrive in between are received without it, through `BackendWait`.
//!
//! Ownership: the request owns the exchange through `Pending`, and ends it when the client has left or has received its
//! response. The exchange owns a pooled connection; the thread owns its connection and its job. They share `State`.

use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use self::job::Job;
use self::receiving::{Receiving, Step};
use super::connector::Connector;
use super::failure::Failure;
use super::pool::ConnectionPool;
use super::upstream::Upstream;
use crate::http::backend_response::BackendHead;
use crate::http::live::BackendWait;
use crate::http::{LivePlace, LogName};
use crate::live::{Signal, Ticket};
use crate::mutex::lock;
use crate::{Body, Method, Response, ServerHandle};

mod job;
mod receiving;

/// The longest head that is sent on a pooled connection, without a thread. Each socket has at least this much room.
const LONGEST_SHARED: usize = 4 * 1024;

pub(super) struct Exchange {
    /// Notified when there is a `BackendResponse`, or when bytes have arrived on a pooled connection.
    arrived: Signal,
    state: Mutex<State>,
    asked: BackendRequest,
    server: ServerHandle,
    kept: Weak<ConnectionPool>,
    connector: Arc<Connector>,
    begun: Instant,
}

pub(super) struct BackendRequest {
    pub(super) method: Method,
    /// The name of the client's request in the log.
    pub(super) name: LogName<'static>,
    /// The protocol that the client asks to switch to.
    pub(super) upgrade: Option<String>,
    pub(super) head: Vec<u8>,
    /// How long the response may take to begin.
    pub(super) limit: Option<Duration>,
    /// How long the response may pause after its beginning.
    pub(super) pause: Option<Duration>,
    /// Whether it can be sent on a pooled connection, and its connection can be kept. If not, its connection has no
    /// other request.
    pub(super) may_share: bool,
}

#[derive(Default)]
struct State {
    /// The connection of the thread, which the end of the exchange closes.
    stream: Option<Arc<TcpStream>>,
    /// The response on a pooled connection.
    receiving: Option<Box<Receiving>>,
    answer: Option<Result<BackendResponse, Failure>>,
    /// Whether there was a `BackendResponse`. A second one is dropped.
    is_answered: bool,
    /// Whether the client has disconnected, or its response is complete.
    is_over: bool,
}

pub(super) enum BackendResponse {
    Whole(BackendHead),
    /// A response with a body that the thread sends.
    Streamed(BackendHead, Response),
    /// The connection continues as another protocol.
    Switched(BackendHead, Upstream),
}

/// Ends the exchange when it is dropped with its request, because the client has disconnected or received its response.
pub(super) struct Pending(Arc<Exchange>);

impl Pending {
    pub(super) fn take_answer(&self) -> Result<BackendResponse, Failure> {
        lock(&self.0.state).answer.take().unwrap_or(Err(Failure::Repeated))
    }
}

impl BackendWait for Pending {
    fn advance(&self) -> Option<(Ticket, Option<Duration>)> {
        let ticket = self.0.arrived.ticket(); // taken before checking for a response, so that none is missed
        let within = self.0.receive();
        (!lock(&self.0.state).is_answered).then_some((ticket, within))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Exchange {
    /// Sends the request on a pooled connection, or starts it on a thread.
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
                lock(&exchange.state).receiving = Some(Box::new(Receiving::new(upstream, place)));
                return Ok(Pending(Arc::new(exchange)));
            }
        }
        let exchange = Arc::new(exchange);
        Job::new(Arc::clone(&exchange), body, place, may_share)
            .start()
            .map(|()| Pending(exchange))
            .map_err(|_| Failure::NoThread)
    }

    /// Reads the response if it arrives on a pooled connection. Returns how long to wait for more.
    fn receive(self: &Arc<Self>) -> Option<Duration> {
        let mut receiving = lock(&self.state).receiving.take()?;
        let step = receiving.step(self);
        if let Ok(Step::Wait(limit)) = step {
            lock(&self.state).receiving = Some(receiving);
            return limit;
        }
        let Receiving { mut upstream, head, place, may_keep } = *receiving;
        let head = head.map(|(head, _)| head);
        let mut job = Job::new(Arc::clone(self), Body::default(), place, may_keep);
        job.was_sent = true;
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
        let mut state = lock(&self.state);
        state.stream = Some(Arc::clone(stream)).filter(|_| !state.is_over);
        !state.is_over
    }

    /// Leaves the connection open at the end of the exchange. Returns false if the exchange has already ended.
    fn release(&self) -> bool {
        let mut state = lock(&self.state);
        state.stream = None;
        !state.is_over
    }

    fn is_over(&self) -> bool {
        lock(&self.state).is_over
    }

    fn answer(&self, answer: Result<BackendResponse, Failure>) {
        let mut state = lock(&self.state);
        if !state.is_answered && !state.is_over {
            state.is_answered = true;
            state.answer = Some(answer);
            drop(state);
            self.arrived.notify();
        }
    }

    /// Ends the exchange: the connection is closed unless the exchange has let it go, and the thread ends.
    fn end(&self) {
        let mut state = lock(&self.state);
        state.is_over = true;
        let left = (state.answer.take(), state.receiving.take());
        if let Some(stream) = state.stream.take() {
            let _ = stream.shutdown(Shutdown::Both); // it may already be closed
        }
        drop(state);
        drop(left);
    }
}
