//! What all workers of one server share: the hand-overs, the protocol, the settings, the counts.
//! Made by `server`, used by `workers`.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io};

use mio::net::TcpStream;
use mio::{Interest, Registry, Waker};

use super::connection::{Connection, EngineContext, Registered};
use super::poller::Poller;
use super::protocol::{Protocol, ServerState};
use super::scheduler::{Permits, PollerGuard, Scheduler, Token};

/// A connection as it moves from place to place.
pub type BoxedConnection = Box<Connection<Registration>>;
/// The poller in a worker's scheduler.
pub type EnginePoller<'a> = PollerGuard<'a, BoxedConnection, Poller, Waker>;

/// What all workers share.
pub struct Engine {
    pub scheduler: Scheduler<BoxedConnection, Poller, Waker>,
    protocol: Arc<dyn Protocol>,
    registry: Registry,
    write_timeout: Option<Duration>,
    max_connections: usize,
    connections: AtomicUsize,
    accepted: AtomicU64,
    room_wanted: AtomicBool, // nobody is let in for want of descriptors
    room_freed: AtomicBool,  // since then one was freed
    closing: Mutex<Closing>,
    progress: Condvar, // of the stop
}

/// What the engine is built with.
pub struct Plan {
    pub workers: usize,
    pub cores: usize,
    pub queue_limit: usize,
    pub queue_timeout: Option<Duration>,
    pub write_timeout: Option<Duration>,
    pub max_connections: usize,
}

/// How far a stop has come.
#[derive(Default)]
struct Closing {
    shutdown_begun: bool,
    working: usize,
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
    /// Connections that wait for a permit.
    pub waiting: usize,
    /// Handlers that are running (permits taken).
    pub running: usize,
    /// Connections refused so far for want of a permit.
    pub refused: u64,
}

impl Engine {
    pub fn new(room: Poller, waker: Waker, protocol: Arc<dyn Protocol>, plan: &Plan) -> io::Result<Engine> {
        let registry = room.registry()?;
        let permits = Permits::new(plan.workers, plan.queue_limit, plan.queue_timeout);
        // One thread more than permits: someone is always at the acceptor.
        let threads = plan.workers + 1;
        Ok(Engine {
            scheduler: Scheduler::new(room, waker, threads, plan.cores, permits),
            protocol,
            registry,
            write_timeout: plan.write_timeout,
            max_connections: plan.max_connections,
            connections: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            room_wanted: AtomicBool::new(false),
            room_freed: AtomicBool::new(false),
            closing: Mutex::new(Closing { shutdown_begun: false, working: threads }),
            progress: Condvar::new(),
        })
    }

    /// What a turn needs to know.
    pub fn context(&self) -> EngineContext<'_> {
        EngineContext {
            protocol: &*self.protocol,
            registry: &self.registry,
            write_timeout: self.write_timeout,
            server: self,
        }
    }

    /// A seat for a newcomer, with the poller shutdown_seen.
    pub fn register(self: &Arc<Self>, mut stream: TcpStream) -> io::Result<(TcpStream, Registration)> {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.connections.fetch_add(1, Ordering::SeqCst);
        let registration = Registration { engine: self.clone(), token: self.scheduler.table().take() };
        self.registry.register(&mut stream, mio::Token(registration.token.to_usize()), Interest::READABLE)?;
        Ok((stream, registration))
    }

    /// As many are connected as may be.
    pub fn is_full(&self) -> bool {
        self.connections.load(Ordering::Relaxed) >= self.max_connections
    }

    /// From now on, whoever leaves says so.
    pub fn want_room(&self) {
        self.room_wanted.store(true, Ordering::SeqCst);
    }

    /// Whether somebody left since room was wanted. To be asked after [`PollerGuard::about_to_wait`].
    pub fn room_was_freed(&self) -> bool {
        self.room_freed.load(Ordering::SeqCst) && self.room_freed.swap(false, Ordering::SeqCst)
    }

    /// The acceptor is closed and everybody has heard of the stop.
    pub fn shutdown_begun(&self) {
        self.closing().shutdown_begun = true;
        self.progress.notify_all();
    }

    /// A worker went home.
    pub fn left(&self) {
        self.closing().working -= 1;
        self.progress.notify_all();
    }

    /// Wait until the acceptor is closed and nobody is connected any more; `shutdown_timeout`: how long at most after a stop began, if there is a limit.
    pub fn wait_until_empty(&self, shutdown_began: impl Fn() -> Option<Instant>, shutdown_timeout: Option<Duration>) {
        let mut closing = self.closing();
        loop {
            if self.scheduler.is_over() || closing.shutdown_begun && self.connections.load(Ordering::SeqCst) == 0 {
                return;
            }
            let deadline = shutdown_began().and_then(|began| began.checked_add(shutdown_timeout?));
            closing = match deadline {
                None => self.progress.wait(closing).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return;
                    }
                    self.progress.wait_timeout(closing, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Wait until all workers went home; `patience`: how long at most.
    pub fn wait_until_left(&self, patience: Duration) -> bool {
        let closing = self.closing();
        let (closing, _) = self
            .progress
            .wait_timeout_while(closing, patience, |closing| closing.working > 0)
            .unwrap_or_else(PoisonError::into_inner);
        closing.working == 0
    }

    /// Begin to stop, and let whoever waits for the end know.
    pub fn stop(&self) {
        self.scheduler.stop();
        let _closing = self.closing();
        self.progress.notify_all();
    }

    /// End without waiting for anybody.
    pub fn end(&self) {
        self.scheduler.end();
        let _closing = self.closing();
        self.progress.notify_all();
    }

    /// For the end: drop all connections that no worker holds, and the poller. So their table let go of the engine.
    /// Tells how many were cut off.
    pub fn clear_out(&self) -> usize {
        let (left, _room) = self.scheduler.clear_out();
        left.iter().for_each(|connection| connection.cut_off());
        left.len()
    }

    pub fn stats(&self) -> Stats {
        let permits = self.scheduler.permits();
        let (waiting, running, refused) = (permits.waiting(), permits.taken(), permits.refused());
        drop(permits);
        Stats {
            accepted: self.accepted.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::SeqCst),
            parked: self.scheduler.table().parked(),
            ready: self.scheduler.ready(),
            waiting,
            running,
            refused,
        }
    }

    fn closing(&self) -> MutexGuard<'_, Closing> {
        self.closing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerState for Engine {
    fn is_shutting_down(&self) -> bool {
        self.scheduler.is_shutting_down()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// A seat that is taken; dropped, it is given back.
pub struct Registration {
    engine: Arc<Engine>,
    token: Token,
}

impl Registered for Registration {
    fn token(&self) -> Token {
        self.token
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let engine = &self.engine;
        engine.scheduler.table().leave(self.token);
        let left = engine.connections.fetch_sub(1, Ordering::SeqCst) - 1;
        if engine.room_wanted.swap(false, Ordering::SeqCst) {
            engine.room_freed.store(true, Ordering::SeqCst);
            engine.scheduler.wake_poller();
        }
        if left == 0 && engine.scheduler.is_shutting_down() {
            let _closing = engine.closing();
            engine.progress.notify_all();
        }
    }
}
