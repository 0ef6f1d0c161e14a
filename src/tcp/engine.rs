//! The state that all workers of one server share: the scheduler, the protocol, the settings, the counts. Created by
//! `server`, used by `workers`.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use log::{Level, warn};

use super::address::Address;
use super::client::Client;
use super::connection::{Connection, Leftover, Registered, SendLimits, TurnSettings};
use super::contain::{catch, contain};
use super::handle::{Control, ServerHandle};
use super::input_memory::InputMemory;
use super::lifecycle::Lifecycle;
use super::live::{Live, LiveKind};
use super::per_address::{CountedConnection, PerAddress};
use super::poller::Poller;
use super::protocol::{Protocol, ServerState};
use super::scheduler::{Callee, Link, Permits, PollerGuard, RESERVED, Scheduler, Token, Waker};
use super::slow_handlers::SlowHandlers;
use super::spares::Spares;
use super::stats::{ListenerStats, Stats};
use super::sync::{self, AtomicBool, AtomicU64, AtomicUsize, Instant, Mutex, OnceLock, Ordering, lock};
use super::sys::{self, ClientStream, Interest, Registry};
use super::taken::Taken;
use super::timers::{Call, Timers};
use super::watched_sockets::WatchedSockets;
use crate::log_limit::{LogLimit, and_others};

/// A connection. It is boxed, so that moving it is cheap.
pub type BoxedConnection = Box<Connection<Registration>>;
/// The poller, held by a worker.
pub type EnginePoller<'a> = PollerGuard<'a, BoxedConnection, Box<Poller>, sys::Waker>;

pub type Protocols = Arc<[Arc<dyn Protocol>]>;

/// The shortest time between warnings about connections that got no permit.
const WITHOUT_PERMIT: Duration = Duration::from_secs(10);

/// The state that all workers share.
pub struct Engine {
    /// The poller is boxed because it moves from worker to worker.
    pub scheduler: Scheduler<BoxedConnection, Box<Poller>, sys::Waker>,
    pub lifecycle: Arc<Lifecycle>,
    pub taken: Taken<BoxedConnection>,
    handle: ServerHandle,
    pub per_address: Arc<PerAddress>,
    pub slow_handlers: SlowHandlers,
    pub timers: Timers,
    pub watched: Arc<WatchedSockets>,
    pub spares: Spares<AtWork>,
    kept: AtomicUsize,           // how many handlers' threads are not in the pool
    kept_functions: AtomicUsize, // how many functions of kept threads have not ended
    cut_off: AtomicUsize,        // how many connections in use were cut off at the end
    input_memory: Arc<InputMemory>,
    live: Arc<Live>,
    /// Workers have a reference of their own, and this one is released at the end. So a thread that uses the engine for
    /// a moment, such as a caller of `stats`, can drop the engine after `serve_forever` has returned, but not the
    /// handlers.
    protocols: Mutex<Protocols>,
    registry: Registry,
    pub send_limits: SendLimits,
    stack_size: Option<usize>,
    max_connections: usize,
    connections: AtomicUsize,
    accepted: AtomicU64,
    evicted: AtomicU64,
    unsent: AtomicU64,
    without_permit: Mutex<LogLimit<Instant>>,
    listeners: Vec<(Address, Arc<AtomicU64>)>,
    room_wanted: AtomicBool,                 // clients wait because there are no descriptors
    room_freed: AtomicBool,                  // a descriptor was freed since then
    last_responses: AtomicUsize,             // how many connections still have to end with their next response
    drains: AtomicBool,                      // every connection is to end with its next response
    callee: OnceLock<Arc<Weak<dyn Callee>>>, // a reference to this engine, shared by all links
}

/// The settings that the engine is built with.
pub struct Plan {
    pub settings: Settings,
    pub cores: usize,
    pub max_connections: usize,
    pub input_quota: Option<u64>,
    pub max_live: usize,
}

/// The settings that depend on nothing else.
#[derive(Clone, Copy)]
pub struct Settings {
    pub handlers: usize,
    pub queue_limit: usize,
    pub queue_timeout: Option<Duration>,
    pub send_limits: SendLimits,
    pub max_streams: usize,
    pub max_per_address: Option<usize>,
    pub max_live_per_address: Option<usize>,
    pub slow_handler: Option<Duration>,
    pub stack_size: Option<usize>,
}

impl Plan {
    /// Returns the number of workers: one per permit, and one more, so that one worker is always outside code that may
    /// block.
    pub fn workers(&self) -> usize {
        self.settings.handlers + RESERVED + 1
    }
}

impl Engine {
    pub fn new(
        mut poller: Poller,
        waker: sys::Waker,
        protocols: Vec<Arc<dyn Protocol>>,
        handle: ServerHandle,
        plan: &Plan,
    ) -> io::Result<Engine> {
        let registry = poller.registry()?;
        let listeners = poller.acceptor().counts();
        let settings = plan.settings;
        let permits = |most| Permits::new(most, settings.queue_limit, settings.queue_timeout);
        Ok(Engine {
            scheduler: Scheduler::new(Box::new(poller), waker, plan.workers(), plan.cores, permits(settings.handlers)),
            lifecycle: Arc::default(),
            taken: Taken::new(permits(settings.max_streams)),
            handle,
            per_address: PerAddress::new(settings.max_per_address),
            input_memory: InputMemory::new(plan.input_quota),
            live: Live::new(plan.max_live, settings.max_live_per_address),
            slow_handlers: SlowHandlers::new(settings.slow_handler, plan.workers()),
            timers: Timers::new(),
            watched: Arc::default(),
            spares: Spares::new(),
            kept: AtomicUsize::new(0),
            kept_functions: AtomicUsize::new(0),
            cut_off: AtomicUsize::new(0),
            protocols: Mutex::new(protocols.into()),
            registry,
            send_limits: settings.send_limits,
            stack_size: settings.stack_size,
            max_connections: plan.max_connections,
            connections: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
            without_permit: Mutex::new(log_of_refusals()),
            listeners,
            room_wanted: AtomicBool::new(false),
            room_freed: AtomicBool::new(false),
            drains: AtomicBool::new(false),
            last_responses: AtomicUsize::new(0),
            callee: OnceLock::new(),
        })
    }

    pub fn handle(&self) -> &ServerHandle {
        &self.handle
    }

    /// Returns the registry at which clients are registered with the poller.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns the protocols, one for each handler.
    pub fn protocols(&self) -> Protocols {
        lock(&self.protocols).clone()
    }

    /// Called at the end.
    pub fn release_protocols(&self) {
        let protocols = std::mem::take(&mut *lock(&self.protocols));
        drop(protocols); // without the lock
    }

    pub fn turn_settings<'a>(&'a self, worker: usize, protocols: &'a Protocols) -> TurnSettings<'a> {
        let current = self.slow_handlers.current(worker);
        TurnSettings { protocols, registry: &self.registry, send_limits: &self.send_limits, server: self, current }
    }

    /// Counts a connection for its client's address. A proxy is not counted: see `Registration::recount`.
    ///
    /// # Errors
    /// If the address has reached its limit, or the protocol has panicked: the reason, and the level at which it is
    /// logged.
    pub fn admit(&self, client: &Client, protocol: &dyn Protocol) -> Result<CountedConnection, (Level, String)> {
        let is_proxy = || protocol.is_proxy(client);
        let counted = match client.ip() {
            Some(ip) => {
                let is_proxy =
                    catch("Protocol::is_proxy", is_proxy).map_err(|panicked| (Level::Error, panicked.text()));
                (!is_proxy?).then_some(ip)
            }
            None => None,
        };
        let full = || (Level::Debug, "its address has the maximum number of connections".to_owned());
        self.per_address.admit(counted).ok_or_else(full)
    }

    /// Creates a table entry for a new connection, and registers it with the poller.
    pub fn register(
        self: &Arc<Self>,
        mut stream: ClientStream,
        place: CountedConnection,
    ) -> io::Result<(ClientStream, Registration)> {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.connections.fetch_add(1, Ordering::SeqCst);
        let callee = self.callee.get_or_init(|| {
            let weak: Weak<Engine> = Arc::downgrade(self);
            Arc::new(weak)
        });
        let link = self.scheduler.table().insert(|token| Arc::new(Link::new(token, Some(callee.clone()))));
        let registration = Registration { engine: self.clone(), link, place };
        let token = sys::Token(registration.link.token().to_usize());
        self.registry.register(&mut stream, token, Interest::READABLE)?;
        Ok((stream, registration))
    }

    /// Returns whether the maximum number of clients is connected.
    pub fn is_full(&self) -> bool {
        self.connections.load(Ordering::Relaxed) >= self.max_connections
    }

    pub fn has_one_client(&self) -> bool {
        self.connections.load(Ordering::Relaxed) <= 1
    }

    /// Adds to the number of evicted connections.
    pub fn evict(&self, count: usize) {
        self.evicted.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Sets how many connections have to end, each with its next response.
    pub fn want_last_responses(&self, count: usize) {
        self.last_responses.store(count, Ordering::Relaxed);
    }

    /// Makes all connections end, each with its next response.
    pub fn give_last_responses(&self) {
        self.drains.store(true, Ordering::Relaxed);
    }

    /// Returns whether all connections have to end with their next response.
    pub fn gives_last_responses(&self) -> bool {
        self.drains.load(Ordering::Relaxed)
    }

    /// Makes each connection that ends from now on report that there is room.
    pub fn want_room(&self) {
        self.room_wanted.store(true, Ordering::SeqCst);
    }

    /// Returns whether a connection has ended since room was needed, and forgets it. A worker whose poll may wait calls
    /// this after it has published that it waits, because `wake_poller` has no effect before that.
    pub fn room_was_freed(&self) -> bool {
        self.room_freed.load(Ordering::SeqCst) && self.room_freed.swap(false, Ordering::SeqCst)
    }

    pub fn is_empty(&self) -> bool {
        self.connections.load(Ordering::SeqCst) == 0
    }

    /// Returns whether there is nothing that a shutdown waits for: no client is connected, and each function of a kept
    /// thread has ended. A function is counted before the request that it belongs to has ended.
    pub fn is_finished(&self) -> bool {
        self.is_empty() && self.kept_functions() == 0
    }

    /// Returns how many functions have not ended for which handlers keep their threads.
    pub fn kept_functions(&self) -> usize {
        self.kept_functions.load(Ordering::SeqCst)
    }

    /// Makes a shutdown wait until the value is dropped.
    pub fn add_kept_function(self: &Arc<Self>) -> KeptFunction {
        self.kept_functions.fetch_add(1, Ordering::SeqCst);
        KeptFunction(self.clone())
    }

    /// Called at the end. Closes all connections that no worker holds, and the poller, so that nothing references the
    /// engine. The caller drops the rest of connections that were cut off where blocking is allowed.
    pub fn drain(&self) -> Vec<Leftover> {
        let (mut left, _poller) = self.scheduler.drain();
        left.extend(self.taken.end());
        self.watched.end();
        cut_off(left)
    }

    /// Drops the rest of connections that were cut off. That may block and must not delay the caller or each other, so
    /// it runs on threads of its own, which are waited for like workers. Their messages are logged before. If no thread
    /// can be started, all is dropped here.
    pub fn drop_elsewhere(self: &Arc<Self>, mut left: Vec<Leftover>) {
        if left.is_empty() {
            return;
        }
        let in_use = left.iter().filter(|left| left.is_reset()).count();
        self.cut_off.fetch_add(in_use, Ordering::Relaxed);
        let at_work = self.begin_work(None);
        let _ = self.spawn("modest-end".to_owned(), move || {
            left.iter_mut().for_each(Leftover::notify);
            let (count, left) = (left.len(), Arc::new(Mutex::new(left)));
            let drop_all = |at_work: AtWork, left: Arc<Mutex<Vec<Leftover>>>| {
                move || {
                    let _at_work = at_work;
                    while let Some(one) = { lock(&left).pop() } {
                        drop(one);
                    }
                }
            };
            for _ in 1..count.min(DROPPING) {
                let more = drop_all(at_work.engine.begin_work(None), Arc::clone(&left));
                let _ = at_work.engine.spawn("modest-end".to_owned(), more);
            }
            drop_all(at_work, left)();
        });
    }

    /// Starts a detached thread that can run code of handlers.
    pub fn spawn(&self, name: String, code: impl FnOnce() + Send + 'static) -> io::Result<()> {
        sync::spawn(name, self.stack_size, code)
    }

    /// Calls a connection for the polling worker. Returns the connection if it was parked: this worker takes it up
    /// itself.
    pub fn take_called(self: &Arc<Self>, waker: &Waker) -> Option<BoxedConnection> {
        let token = waker.note_call_by(Arc::as_ptr(self))?;
        let (mut connection, readiness) = self.scheduler.table().call(token)?;
        connection.saw(readiness);
        Some(connection)
    }

    /// Called at the end. Logs how many connections were cut off, and how many got no permit since the last line about
    /// them.
    pub fn end_log(&self) {
        let cut_off = self.cut_off.load(Ordering::Relaxed);
        if cut_off > 0 {
            contain("a logger", || warn!("the server ends and cuts off connections in use: {cut_off}"));
        }
        let rest = std::mem::replace(&mut *lock(&self.without_permit), log_of_refusals());
        drop(rest); // without the lock
    }

    /// Calls the function of a handler that has kept its thread.
    pub fn count_kept(&self, work: impl FnOnce() -> Option<()>) {
        self.kept.fetch_add(1, Ordering::Relaxed);
        work();
        self.kept.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns how many workers the exiting server does not wait for, because they may be in their handlers for any
    /// time.
    pub fn stuck(&self) -> usize {
        let is_freed = |me: &usize| self.slow_handlers.current(*me).is_freed.load(Ordering::SeqCst);
        self.scheduler.running_workers().filter(|me| !is_freed(me)).count() + self.kept()
    }

    pub fn kept(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    /// Registers a thread that works for this engine. `me` is its number, if it is a worker.
    pub fn begin_work(self: &Arc<Self>, me: Option<usize>) -> AtWork {
        self.lifecycle.worker_begins();
        AtWork { engine: self.clone(), me, _end: WorkerEnd { lifecycle: self.lifecycle.clone(), me } }
    }
}

fn log_of_refusals() -> LogLimit<Instant> {
    LogLimit::new(WITHOUT_PERMIT)
        .of("clients are rejected, because all workers are in handlers (queue_timeout, queue_limit)")
}

/// How many threads drop connections at the end.
const DROPPING: usize = 8;

/// The registration of a working thread. Dropped when the thread ends, or could not be started.
pub struct AtWork {
    pub engine: Arc<Engine>,
    pub me: Option<usize>,
    _end: WorkerEnd, // last: a server that no longer waits for this thread can drop its handlers
}

struct WorkerEnd {
    lifecycle: Arc<Lifecycle>,
    me: Option<usize>,
}

impl Drop for WorkerEnd {
    fn drop(&mut self) {
        self.lifecycle.worker_ended(self.me, sync::panicking());
    }
}

/// A function for which a handler keeps its thread. Dropped when it has ended, or is not needed.
pub struct KeptFunction(Arc<Engine>);

impl Drop for KeptFunction {
    fn drop(&mut self) {
        let left = self.0.kept_functions.fetch_sub(1, Ordering::SeqCst) - 1;
        if left == 0 && self.0.scheduler.is_shutting_down() {
            self.0.lifecycle.notify();
        }
    }
}

/// Cuts off these connections at the end. Drops nothing that may block: the caller drops the result where blocking is
/// allowed.
pub fn cut_off(connections: Vec<BoxedConnection>) -> Vec<Leftover> {
    connections.into_iter().map(|connection| connection.cut_off()).collect()
}

impl Control for Engine {
    fn drain(&self) {
        self.lifecycle.notify();
    }

    fn begin_shutdown(&self) {
        self.lifecycle.shutdown_begins(); // first, because the server may end as soon as the scheduler is notified
        self.scheduler.begin_shutdown();
        self.taken.begin_shutdown();
    }

    fn call_after(&self, delay: Duration, call: Call) {
        self.timers.add(sync::now() + delay, call);
        self.scheduler.wake_poller();
    }

    fn end(&self) {
        self.lifecycle.shutdown_begins();
        self.scheduler.end();
        self.taken.begin_shutdown();
        self.spares.end();
        self.lifecycle.notify();
    }

    fn stats(&self) -> Stats {
        Stats {
            accepted: self.accepted.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::SeqCst),
            parked: self.scheduler.table().parked(),
            ready: self.scheduler.ready(),
            waiting: self.scheduler.waiting(),
            running: self.scheduler.running(),
            streams: self.taken.count() + self.kept(),
            waiting_streams: self.taken.waiting(),
            event_listeners: self.live.count(LiveKind::Listener),
            long_polls: self.live.count(LiveKind::Poll),
            websockets: self.live.count(LiveKind::Switched),
            refused: self.scheduler.refused(),
            refused_per_address: self.per_address.refused(),
            refused_live: self.live.refused(),
            refused_input: self.input_memory.refused(),
            refused_streams: self.taken.refused(),
            input: self.input_memory.used(),
            permits: self.scheduler.permits_taken(),
            polls: self.scheduler.polls(),
            wakes: self.scheduler.wakes(),
            evicted: self.evicted.load(Ordering::Relaxed),
            unsent: self.unsent.load(Ordering::Relaxed),
            background: 0, // the handle counts them
        }
    }

    fn listeners(&self) -> Vec<ListenerStats> {
        let stats = |(address, accepted): &(Address, Arc<AtomicU64>)| ListenerStats {
            address: address.clone(),
            accepted: accepted.load(Ordering::Relaxed),
        };
        self.listeners.iter().map(stats).collect()
    }
}

impl ServerState for Engine {
    fn is_shutting_down(&self) -> bool {
        self.scheduler.is_shutting_down()
    }

    fn is_over(&self) -> bool {
        self.scheduler.is_over()
    }

    fn takes_last_response(&self) -> bool {
        let one_less = |count: usize| count.checked_sub(1);
        self.gives_last_responses()
            || self.last_responses.load(Ordering::Relaxed) > 0
                && self.last_responses.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }

    fn count_without_permit(&self, now: Instant) -> Option<String> {
        let mut without_permit = lock(&self.without_permit);
        without_permit.count(1);
        without_permit.due(now).map(and_others)
    }

    fn live(&self) -> &Arc<Live> {
        &self.live
    }

    fn input_memory(&self) -> &Arc<InputMemory> {
        &self.input_memory
    }

    fn watched(&self) -> &Arc<WatchedSockets> {
        &self.watched
    }
}

impl Waker {
    /// Returns the server of this connection, while it serves.
    pub(crate) fn server(&self) -> Option<ServerHandle> {
        let engine = self.callee()?.downcast::<Engine>().ok()?;
        Some(engine.handle.clone())
    }
}

impl Callee for Engine {
    fn call(self: Arc<Self>, tokens: &mut dyn Iterator<Item = Token>) {
        let left = self.scheduler.call(tokens, |connection, readiness| connection.saw(readiness));
        // Mostly empty: connections are returned only after the end. They are dropped elsewhere, because their
        // destructors may wait for something that the caller holds.
        self.drop_elsewhere(cut_off(left));
    }
}

opaque!(Engine { stats() });

/// A connection's table entry and its place in the counts. Dropping it releases both.
pub struct Registration {
    engine: Arc<Engine>,
    link: Arc<Link>,
    place: CountedConnection,
}

impl Registered for Registration {
    fn recount(&mut self, client: &Client) -> bool {
        match self.engine.per_address.exchange(&mut self.place, client.ip()) {
            true => true,
            false => {
                log::debug!("rejected {client}: its address has the maximum number of connections");
                false
            }
        }
    }

    fn link(&self) -> &Arc<Link> {
        &self.link
    }

    fn left_unsent(&self, bytes: u64) {
        self.engine.unsent.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let engine = &self.engine;
        self.link.end();
        engine.scheduler.table().remove(self.link.token());
        let left = engine.connections.fetch_sub(1, Ordering::SeqCst) - 1;
        if engine.room_wanted.swap(false, Ordering::SeqCst) {
            engine.last_responses.store(0, Ordering::Relaxed);
            engine.room_freed.store(true, Ordering::SeqCst);
            engine.scheduler.wake_poller();
        }
        if left == 0 && engine.scheduler.is_shutting_down() {
            engine.lifecycle.notify();
        }
    }
}
