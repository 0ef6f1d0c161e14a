//! The connections that are kept for further requests. The poller of the server watches each of them, so a request can
//! wait for its response without a thread, and the end of an idle connection or bytes without a request are noticed at
//! once. Called by `exchange`.

use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use super::upstream::Upstream;
use crate::ServerHandle;
use crate::live::Signal;
use crate::mutex::lock;
use crate::tcp::{SocketWatcher, Waker, WatchedSocket};

/// The kept connections of a proxy. They are closed when this is dropped.
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
    idle: Vec<KeptConnection>,
    /// Whether the server will call the pool when the oldest one may have to be closed.
    is_timed: bool,
}

/// A connection to the backend that is watched.
pub(super) struct KeptConnection {
    pub(super) upstream: Upstream,
    watch: Watch,
    idle_since: Instant,
}

/// The watch of a connection. Dropped before the connection is closed.
struct Watch {
    events: Arc<Events>,
    registration: WatchedSocket,
}

/// The events of a watched connection.
struct Events {
    pool: Weak<ConnectionPool>,
    /// Notified when bytes or the end may have arrived. The request on the connection waits for it.
    arrived: Signal,
    /// Whether there was an event since the last read began.
    is_ready: AtomicBool,
    /// Whether the backend has ended the connection.
    is_closed: AtomicBool,
    is_idle: AtomicBool,
}

impl Events {
    /// Returns whether bytes or the end may have arrived since the last read. One event can be for both, and a read
    /// then returns the bytes first.
    fn has_news(&self) -> bool {
        self.is_ready.load(Ordering::SeqCst) || self.is_closed.load(Ordering::SeqCst)
    }
}

impl SocketWatcher for Events {
    /// `is_idle` is read after the event is recorded, and written before the records are read: see `keep`.
    fn ready(&self, is_closed: bool) -> Vec<Waker> {
        self.is_ready.store(true, Ordering::SeqCst);
        self.is_closed.fetch_or(is_closed, Ordering::SeqCst);
        if self.is_idle.load(Ordering::SeqCst)
            && let Some(pool) = self.pool.upgrade()
        {
            pool.check(self);
        }
        self.arrived.take_waiting()
    }
}

impl ConnectionPool {
    pub(super) fn new(most: usize, limit: Option<Duration>) -> Arc<ConnectionPool> {
        Arc::new(ConnectionPool { most, limit, state: Mutex::default() })
    }

    /// Returns whether any connection is kept.
    pub(super) fn is_on(&self) -> bool {
        self.most > 0 && self.limit != Some(Duration::ZERO)
    }

    /// Takes a connection that this server watches, and on which the backend has sent nothing.
    pub(super) fn take(&self, server: &ServerHandle) -> Option<KeptConnection> {
        loop {
            let connection = lock(&self.state).idle.pop()?;
            connection.watch.events.is_idle.store(false, Ordering::SeqCst);
            connection.watch.events.is_ready.store(false, Ordering::SeqCst);
            if connection.watch.registration.is_of(server) && is_silent(&connection.upstream.stream) {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection on which nothing is left to be read or sent.
    pub(super) fn keep(self: &Arc<Self>, upstream: Upstream, server: &ServerHandle) {
        let events = Arc::new(Events {
            pool: Arc::downgrade(self),
            arrived: Signal::new(),
            is_ready: AtomicBool::new(true), // what arrived before is unknown
            is_closed: AtomicBool::new(false),
            is_idle: AtomicBool::new(false),
        });
        let registration = server.watch(&upstream.stream, Arc::clone(&events) as Arc<dyn SocketWatcher>);
        // An error: the server is over, or the system can't watch another socket.
        let Ok(registration) = registration else { return };
        self.keep_again(KeptConnection { upstream, watch: Watch { events, registration }, idle_since: Instant::now() });
    }

    /// Keeps a connection that was taken.
    pub(super) fn keep_again(self: &Arc<Self>, mut connection: KeptConnection) {
        connection.idle_since = Instant::now();
        let events = Arc::clone(&connection.watch.events);
        let server = self.limit.map(|_| connection.watch.registration.server().clone());
        let mut state = lock(&self.state);
        if state.idle.len() >= self.most {
            drop(state);
            return drop(connection);
        }
        state.idle.push(connection);
        events.is_idle.store(true, Ordering::SeqCst);
        let has_timer = std::mem::replace(&mut state.is_timed, true);
        drop(state);
        if events.has_news() {
            self.check(&events);
        }
        if let (false, Some(server), Some(limit)) = (has_timer, server, self.limit) {
            self.close_old_after(limit, server);
        }
    }

    /// Closes an idle connection if the backend has sent something or has ended it.
    fn check(&self, events: &Events) {
        let mut state = lock(&self.state);
        let is_it = |connection: &KeptConnection| std::ptr::eq(&*connection.watch.events, events);
        let closed = state
            .idle
            .iter()
            .position(is_it)
            .filter(|&at| events.is_closed.load(Ordering::SeqCst) || !is_silent(&state.idle[at].upstream.stream));
        let closed = closed.map(|at| state.idle.remove(at));
        drop(state);
        drop(closed); // without the lock
    }

    /// Closes connections after they were idle for too long.
    fn close_old_after(self: &Arc<Self>, delay: Duration, server: ServerHandle) {
        let (pool, again) = (Arc::downgrade(self), server.clone());
        let close = move || {
            let Some(pool) = pool.upgrade() else { return };
            let limit = pool.limit.unwrap_or(Duration::MAX);
            let mut state = lock(&pool.state);
            let old = state.idle.iter().take_while(|connection| connection.idle_since.elapsed() >= limit).count();
            let old: Vec<_> = state.idle.drain(..old).collect();
            let next = state.idle.first().map(|oldest| limit.saturating_sub(oldest.idle_since.elapsed()));
            state.is_timed = next.is_some();
            drop(state);
            drop(old); // without the lock
            if let Some(next) = next {
                pool.close_old_after(next, again);
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

impl KeptConnection {
    /// Returns the signal that is notified when bytes or the end may have arrived.
    pub(super) fn arrived(&self) -> &Signal {
        &self.watch.events.arrived
    }

    /// Returns whether there may be something to receive.
    pub(super) fn is_ready(&self) -> bool {
        self.watch.events.has_news()
    }

    /// Reads bytes that have arrived. `None`: there are none. 0: the end.
    pub(super) fn receive(&mut self) -> io::Result<Option<usize>> {
        self.watch.events.is_ready.store(false, Ordering::SeqCst);
        self.upstream.receive()
    }

    /// Ends the watch.
    pub(super) fn into_upstream(self) -> Upstream {
        self.upstream
    }
}

/// Returns whether the backend has sent nothing, and has not ended the connection.
fn is_silent(stream: &TcpStream) -> bool {
    stream.peek(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
