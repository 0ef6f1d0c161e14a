//! What all workers of one server share: the scheduler, the protocol, the settings, the counts.
//! Made by `server`, used by `workers`.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Waker};

use super::connection::{Connection, Registered, TurnSettings};
use super::contain::contain;
use super::lifecycle::Lifecycle;
use super::poller::Poller;
use super::protocol::{Protocol, ServerState};
use super::scheduler::{Callee, Link, Permits, PollerGuard, RESERVED, Scheduler, Token};

/// A connection as it moves from place to place.
pub type BoxedConnection = Box<Connection<Registration>>;
/// The poller in a worker's hands.
pub type EnginePoller<'a> = PollerGuard<'a, BoxedConnection, Poller, Waker>;

/// What all workers share.
pub struct Engine {
    pub scheduler: Scheduler<BoxedConnection, Poller, Waker>,
    pub lifecycle: Lifecycle,
    protocol: Arc<dyn Protocol>,
    registry: Registry,
    write_timeout: Option<Duration>,
    max_connections: usize,
    connections: AtomicUsize,
    accepted: AtomicU64,
    room_wanted: AtomicBool, // nobody is accepted for want of descriptors
    room_freed: AtomicBool,  // since then one was freed
}

/// What the engine is built with.
pub struct Plan {
    pub handlers: usize,
    pub cores: usize,
    pub queue_limit: usize,
    pub queue_timeout: Option<Duration>,
    pub write_timeout: Option<Duration>,
    pub max_connections: usize,
}

impl Plan {
    /// A worker for each permit, and one more: so a worker is always outside code that may block.
    pub fn workers(&self) -> usize {
        self.handlers + RESERVED + 1
    }
}

/// What a server is doing at this moment, and has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Clients accepted so far.
    pub accepted: u64,
    /// Clients connected now.
    pub connections: usize,
    /// Connections that wait for their client.
    pub parked: usize,
    /// Connections that are ready and wait for a worker.
    pub ready: usize,
    /// Connections that wait for a permit, nearly all of them because all workers are in handlers.
    pub waiting: usize,
    /// Workers that are in a handler, or in other code that may block.
    pub running: usize,
    /// Requests refused so far because all workers were in handlers for too long.
    pub refused: u64,
    /// Permits that are taken, by workers that run something or are about to. None is while nothing happens.
    pub permits: usize,
    /// How often the kernel was asked who is ready.
    pub polls: u64,
}

impl Engine {
    pub fn new(poller: Poller, waker: Waker, protocol: Arc<dyn Protocol>, plan: &Plan) -> io::Result<Engine> {
        let registry = poller.registry()?;
        let permits = Permits::new(plan.handlers, plan.queue_limit, plan.queue_timeout);
        Ok(Engine {
            scheduler: Scheduler::new(poller, waker, plan.workers(), plan.cores, permits),
            lifecycle: Lifecycle::default(),
            protocol,
            registry,
            write_timeout: plan.write_timeout,
            max_connections: plan.max_connections,
            connections: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            room_wanted: AtomicBool::new(false),
            room_freed: AtomicBool::new(false),
        })
    }

    /// What a turn needs to know.
    pub fn turn_settings(&self) -> TurnSettings<'_> {
        let write_timeout = self.write_timeout;
        TurnSettings { protocol: &*self.protocol, registry: &self.registry, write_timeout, server: self }
    }

    /// A table entry for a new connection, with the poller told.
    pub fn register(self: &Arc<Self>, stream: OwnedFd) -> io::Result<(OwnedFd, Registration)> {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.connections.fetch_add(1, Ordering::SeqCst);
        let weak: Weak<Engine> = Arc::downgrade(self);
        let link = self.scheduler.table().insert(|token| Arc::new(Link::new(token, Some(weak))));
        let registration = Registration { engine: self.clone(), link };
        let token = mio::Token(registration.link.token().to_usize());
        self.registry.register(&mut SourceFd(&stream.as_raw_fd()), token, Interest::READABLE)?;
        Ok((stream, registration))
    }

    /// As many are connected as may be.
    pub fn is_full(&self) -> bool {
        self.connections.load(Ordering::Relaxed) >= self.max_connections
    }

    /// From now on, who leaves says so.
    pub fn want_room(&self) {
        self.room_wanted.store(true, Ordering::SeqCst);
    }

    /// Whether somebody left since room was wanted. To be asked inside the poll's wait or after it.
    pub fn room_was_freed(&self) -> bool {
        self.room_freed.load(Ordering::SeqCst) && self.room_freed.swap(false, Ordering::SeqCst)
    }

    /// Whether no client is connected.
    pub fn is_empty(&self) -> bool {
        self.connections.load(Ordering::SeqCst) == 0
    }

    /// Begin to shut down, and let whoever waits for the end know.
    pub fn begin_shutdown(&self) {
        self.scheduler.begin_shutdown();
        self.lifecycle.shutdown_begins();
    }

    /// End without waiting for anybody.
    pub fn end(&self) {
        self.scheduler.end();
        self.lifecycle.notify();
    }

    /// For the end: drop all connections that no worker holds, and the poller, so that nothing holds the engine.
    /// Tells how many were cut off.
    pub fn drain(&self) -> usize {
        let (left, _poller) = self.scheduler.drain();
        let count = left.len();
        for connection in left {
            connection.cut_off();
            contain("a conversation, while it was dropped", || drop(connection));
        }
        count
    }

    pub fn stats(&self) -> Stats {
        Stats {
            accepted: self.accepted.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::SeqCst),
            parked: self.scheduler.table().parked(),
            ready: self.scheduler.ready(),
            waiting: self.scheduler.waiting(),
            running: self.scheduler.running(),
            refused: self.scheduler.refused(),
            permits: self.scheduler.permits_taken(),
            polls: self.scheduler.polls(),
        }
    }
}

impl ServerState for Engine {
    fn is_shutting_down(&self) -> bool {
        self.scheduler.is_shutting_down()
    }
}

impl Callee for Engine {
    fn call(&self, tokens: &mut dyn Iterator<Item = Token>) {
        self.scheduler.call(tokens, |connection, readiness| connection.saw(readiness));
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// A connection's table entry, and its place among those that are counted; dropped, both are given up.
pub struct Registration {
    engine: Arc<Engine>,
    link: Arc<Link>,
}

impl Registered for Registration {
    fn link(&self) -> &Arc<Link> {
        &self.link
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let engine = &self.engine;
        self.link.end();
        engine.scheduler.table().remove(self.link.token());
        let left = engine.connections.fetch_sub(1, Ordering::SeqCst) - 1;
        if engine.room_wanted.swap(false, Ordering::SeqCst) {
            engine.room_freed.store(true, Ordering::SeqCst);
            engine.scheduler.wake_poller();
        }
        if left == 0 && engine.scheduler.is_shutting_down() {
            engine.lifecycle.notify();
        }
    }
}
