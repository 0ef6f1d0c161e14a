//! The connections that are kept for further requests. The poller of the server watches each of them, so a request can
//! wait for its response without a thread, and the end of an idle connection or bytes without a request are noticed at
//! once. Called by `exchange`.

use std::io;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use super::events::{Events, Watch};
use super::upstream::Upstream;
use crate::ServerHandle;
use crate::http::SocketWatcher;
use crate::live::Signal;
use crate::mutex::lock;
use crate::raw::Waker;

/// The pooled connections of a proxy. They are closed when this is dropped.
pub(super) struct ConnectionPool {
    /// The maximum number of them.
    pub(super) most: usize,
    /// How long one is kept without a request.
    pub(super) limit: Option<Duration>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last one is taken first, so that those that are not needed grow old.
    idle: Vec<(Instant, Upstream)>,
    /// The servers that will call the pool when their oldest idle connection may have to be closed.
    timed: Vec<ServerHandle>,
}

impl State {
    /// Notes that this server will call the pool. Returns false if it will in any case.
    fn begin_timer(&mut self, server: &ServerHandle) -> bool {
        let is_first = !self.timed.iter().any(|timed| timed.is_same(server));
        if is_first {
            self.timed.push(server.clone());
        }
        is_first
    }
}

/// A call that a server will make for the pool, or drop when it ends.
struct Timer {
    pool: Weak<ConnectionPool>,
    server: ServerHandle,
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            lock(&pool.state).timed.retain(|timed| !timed.is_same(&self.server));
        }
    }
}

struct Watcher {
    pool: Weak<ConnectionPool>,
    events: Arc<Events>,
}

impl SocketWatcher for Watcher {
    fn ready(&self, is_closed: bool) -> Vec<Waker> {
        if self.events.record(is_closed)
            && let Some(pool) = self.pool.upgrade()
        {
            pool.check(&self.events);
        }
        self.events.arrived.take_waiting()
    }

    fn server_ended(&self) {
        self.ready(true);
    }
}

impl ConnectionPool {
    pub(super) fn new(most: usize, limit: Option<Duration>) -> Arc<ConnectionPool> {
        Arc::new(ConnectionPool { most, limit, state: Mutex::default() })
    }

    /// Takes a connection that this server watches, and on which the backend has sent nothing. Also returns the signal
    /// that is notified when bytes or the end may have arrived.
    pub(super) fn take(&self, server: &ServerHandle) -> Option<(Upstream, Signal)> {
        loop {
            let mut state = lock(&self.state);
            let at = state.idle.iter().rposition(|(_, upstream)| is_of(upstream, server))?;
            let (_, upstream) = state.idle.remove(at);
            drop(state);
            let Some(Watch { events, .. }) = &upstream.watch else { continue };
            events.end_idle();
            if is_silent(&upstream.stream) {
                let arrived = events.arrived.clone();
                return Some((upstream, arrived));
            }
        }
    }

    /// Keeps a connection on which nothing is left to be read or sent. It is closed if there are too many, or if the
    /// server can't watch it.
    pub(super) fn keep(self: &Arc<Self>, mut upstream: Upstream, server: &ServerHandle) {
        if lock(&self.state).idle.len() >= self.most {
            return;
        }
        if upstream.watch.is_none() {
            upstream.watch = self.watch(&upstream.stream, server);
        }
        let Some(events) = upstream.watch.as_ref().map(|watch| Arc::clone(&watch.events)) else { return };
        let mut state = lock(&self.state);
        if state.idle.len() >= self.most {
            drop(state);
            return drop(upstream); // without the lock
        }
        state.idle.push((Instant::now(), upstream));
        let is_ready = events.begin_idle();
        let limit = self.limit.filter(|_| state.begin_timer(server));
        drop(state);
        if is_ready {
            self.check(&events);
        }
        if let Some(limit) = limit {
            self.close_old_after(limit, server);
        }
    }

    fn watch(self: &Arc<Self>, stream: &Arc<TcpStream>, server: &ServerHandle) -> Option<Watch> {
        let events = Arc::<Events>::default();
        let watcher = Watcher { pool: Arc::downgrade(self), events: Arc::clone(&events) };
        let registration = server.watch(stream, Arc::new(watcher))?;
        events.record(false); // bytes may have arrived before
        Some(Watch { events, registration })
    }

    /// Closes an idle connection if the backend has sent something or has ended it.
    fn check(&self, events: &Events) {
        let mut state = lock(&self.state);
        let is_it = |watch: &Watch| std::ptr::eq(&*watch.events, events);
        let is_over = |upstream: &Upstream| events.is_closed() || !is_silent(&upstream.stream);
        let mut idle = state.idle.iter();
        let closed = idle.position(|(_, upstream)| upstream.watch.as_ref().is_some_and(is_it) && is_over(upstream));
        let closed = closed.map(|at| state.idle.remove(at));
        drop(state);
        drop(closed); // without the lock
    }

    /// Has the server close connections that have been idle for too long, after this time and whenever the next one can
    /// be too old.
    fn close_old_after(self: &Arc<Self>, delay: Duration, server: &ServerHandle) {
        let timer = Timer { pool: Arc::downgrade(self), server: server.clone() };
        let close = move || {
            let (pool, server) = (timer.pool.upgrade(), timer.server.clone());
            let Some(pool) = pool else { return };
            let limit = pool.limit.unwrap_or(Duration::MAX);
            let is_old =
                |(since, upstream): &mut (Instant, Upstream)| since.elapsed() >= limit && is_of(upstream, &server);
            let old: Vec<_> = lock(&pool.state).idle.extract_if(.., is_old).collect();
            drop(old); // without the lock
            drop(timer); // a connection that is kept from now on has a timer, or is found below
            let mut state = lock(&pool.state);
            let next = state.idle.iter().find(|(_, upstream)| is_of(upstream, &server));
            let next = next.map(|(since, _)| limit.saturating_sub(since.elapsed()));
            let next = next.filter(|_| state.begin_timer(&server));
            drop(state);
            if let Some(next) = next {
                pool.close_old_after(next, &server);
            }
        };
        server.call_after(delay, Box::new(close));
    }

    /// Closes the connection that has waited longest. A backend that serves one connection at a time reads no other one
    /// before that.
    pub(super) fn close_oldest(&self) {
        let mut state = lock(&self.state);
        let oldest = (!state.idle.is_empty()).then(|| state.idle.remove(0));
        drop(state);
        drop(oldest); // without the lock
    }
}

/// Returns whether this server watches the connection.
fn is_of(upstream: &Upstream, server: &ServerHandle) -> bool {
    upstream.watch.as_ref().is_some_and(|watch| watch.registration.is_of(server))
}

/// Returns whether the backend has sent nothing, and has not ended the connection.
fn is_silent(stream: &TcpStream) -> bool {
    stream.peek(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
