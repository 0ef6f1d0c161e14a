//! Passes connections, permits and the poller between workers.
//!
//! Called by `workers` (the next task of a worker) and by `engine` (shutdown, calls from other threads). Generic over
//! connection, poller and poll waker. All its locks, atomics, parking and queues come from `sync`, so the model check
//! (`tests/laws.rs`) runs these files.
//!
//! `docs/engine.md` has the six invariants; comments here refer to them by number. Where they are kept: 1 and 3 in
//! [`table`]; 2 in [`idle`], [`worker`], [`poller_guard`], [`shards`] and here (each fence names its partners); 4 in
//! [`worker`]; 5 in [`permits`]; 6 in [`poller_guard`] and [`worker`].
//!
//! Each constant has a comment with its reason. If the comment has no measurement, other values were not compared.

mod worker; // how a worker gets its next task
mod poller_guard; // the poller, held by one worker
mod idle; // workers with nothing to do
mod shards; // the table of connections, their events and deadlines
mod table; // a shard of the table
mod link; // the state of a connection that other threads can access
mod token; // the key of a connection
mod load; // durations of turns
mod permits; // the limit of turns that can block at once
mod queue; // connections that are ready

use std::time::Duration;

use idle::{IdleWorkers, Parker};
pub use link::{Callee, Link, Waker};
use load::Load;
pub use permits::{Admission, Class, MayBlock, Permits, RESERVED, Work};
pub use poller_guard::{Patience, PollerGuard};
use queue::{Ready, ReadyQueue};
pub use shards::{Parked, ShardedTable};
pub use table::{Eviction, Readiness, Wait};
pub use token::Token;
pub use worker::{Task, Worker};

use super::sync::{
    self, AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Instant, Mutex, Ordering, fence, lock,
};

/// Wakes the worker that waits inside the poll.
pub trait PollWaker {
    fn wake(&self);
}

/// The scheduler, shared by all workers.
pub struct Scheduler<C, P, W> {
    queue: ReadyQueue<C>,
    poller: Padded<Mutex<Option<P>>>,
    poller_free: Padded<AtomicBool>, // no worker holds the poller
    polling: Padded<AtomicBool>,     // a worker waits inside the poll, or is about to
    waker: W,
    idle: Mutex<IdleWorkers>,
    workers: Vec<Padded<PerWorker>>,
    searching: Padded<AtomicBool>, // a worker was woken and has found nothing yet; at most one
    ticking: AtomicBool,           // the watchdog ticks
    calm: AtomicU32,               // ticks in a row that found nothing; written by the watchdog
    state: Padded<AtomicU8>,
    table: ShardedTable<C>,
    permits: Padded<Mutex<Permits<C>>>,
    wanted: Padded<AtomicUsize>, // how many connections wait for a permit; written under the lock of `permits`
    load: Padded<Load>,
    polls: Padded<AtomicU64>,
    wakes: AtomicU64, // how often threads were woken; a wake costs microseconds, so counting it is cheap
    polled: AtomicU64, // when the last poll ended, in ns of the clock
    waits_since: AtomicU64, // when the last wait inside the poll began, likewise
    awake: AtomicUsize, // workers neither idle nor waiting inside the poll
    cores: usize,
    compute_alone: bool, // see `set_compute_alone`
}

/// State that one worker writes and others read.
#[derive(Default)]
struct PerWorker {
    parker: Parker,
    draws: AtomicU64,
    running_since: AtomicU64, // since when code that may block runs here, in ns of the clock; 0: none
}

/// A value on its own cache lines, so that frequent writes do not invalidate lines that other workers read. (128 bytes,
/// because x86 also fetches the adjacent line.)
#[derive(Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T> std::ops::Deref for Padded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

const RUNNING: u8 = 0;
const SHUTTING_DOWN: u8 = 1;
const OVER: u8 = 2;

impl<C, P, W: PollWaker> Scheduler<C, P, W> {
    /// Creates a scheduler for this many workers and cores, with the poller free.
    pub fn new(poller: P, waker: W, workers: usize, cores: usize, permits: Permits<C>) -> Scheduler<C, P, W> {
        Scheduler {
            queue: ReadyQueue::new(workers),
            poller: Padded(Mutex::new(Some(poller))),
            poller_free: Padded(AtomicBool::new(true)),
            polling: Padded(AtomicBool::new(false)),
            waker,
            idle: Mutex::new(IdleWorkers::default()),
            workers: (0..workers).map(|_| Padded::default()).collect(),
            searching: Padded(AtomicBool::new(false)),
            ticking: AtomicBool::new(false),
            calm: AtomicU32::new(0),
            state: Padded(AtomicU8::new(RUNNING)),
            table: ShardedTable::new(),
            permits: Padded(Mutex::new(permits)),
            wanted: Padded(AtomicUsize::new(0)),
            load: Padded(Load::default()),
            polls: Padded(AtomicU64::new(0)),
            wakes: AtomicU64::new(0),
            polled: AtomicU64::new(sync::now().nanos()),
            waits_since: AtomicU64::new(0),
            awake: AtomicUsize::new(workers),
            cores,
            compute_alone: false,
        }
    }

    /// Sets whether handlers share a lock, so that no more of them than there are cores can compute at once. Workers
    /// beyond that number then sleep, even if other workers have connections.
    pub fn set_compute_alone(&mut self, alone: bool) {
        self.compute_alone = alone;
    }

    /// Pushes a connection that is ready. Called by a worker that is awake, which later draws from the queue or wakes
    /// another worker for it ([`Worker::begin_blocking`]).
    pub fn push(&self, connection: C) {
        self.queue.push(connection, None);
    }

    /// Pushes the connections that a worker has polled. Any other worker can take them from its queue.
    pub fn push_polled(&self, worker: usize, connections: impl ExactSizeIterator<Item = C>) {
        if connections.len() > 0 {
            self.queue.push_polled(worker, connections);
        }
    }

    /// Calls these connections, from another thread. Parked connections become ready, with their recorded events. For
    /// others, the call is recorded. Returns connections as [`push_from_outside`](Scheduler::push_from_outside) does.
    #[must_use = "the caller owns these connections"]
    pub fn call(&self, tokens: &mut dyn Iterator<Item = Token>, saw: impl Fn(&mut C, Readiness)) -> Vec<C> {
        let mut some = false;
        for (mut connection, readiness) in tokens.filter_map(|token| self.table.call(token)) {
            saw(&mut connection, readiness);
            self.queue.push_called(connection);
            some = true;
        }
        if some { self.pushed_from_outside() } else { Vec::new() }
    }

    /// Pushes a connection that is ready, from a thread that is not a worker. After the server has exited no worker
    /// takes it from the queue, so it is returned, together with all others in the queue.
    #[must_use = "the caller owns these connections"]
    pub fn push_from_outside(&self, connection: C) -> Vec<C> {
        self.queue.push(connection, None);
        self.pushed_from_outside()
    }

    fn pushed_from_outside(&self) -> Vec<C> {
        // By the fence in `wake_poller`, a worker that did not see the push is seen waiting. If no worker polls,
        // invariant 2 holds: a worker is awake, or the watchdog ticks. When the server exits, either the draining
        // thread has found the pushed connection, or this thread sees the end.
        self.wake_poller();
        if self.is_over() {
            return self.drain_queue();
        }
        self.wake_for_need(sync::now());
        Vec::new()
    }

    pub fn table(&self) -> &ShardedTable<C> {
        &self.table
    }

    /// Parks a connection. If an event has been recorded in the meantime, returns the connection with it.
    pub fn park(&self, token: Token, connection: C, wait: Wait) -> Option<(C, Readiness)> {
        let parked = self.table().park(token, connection, wait);
        match parked {
            Parked::Parked { wake: false } => None,
            Parked::Parked { wake: true } => {
                self.wakes.fetch_add(1, Ordering::Relaxed);
                self.waker.wake();
                None
            }
            Parked::Ready(connection, readiness) => Some((connection, readiness)),
        }
    }

    /// Removes and returns the connections that have waited too long for a permit.
    pub fn late_for_permit(&self, now: Instant) -> Vec<C> {
        if self.wanted.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        self.with_permits(|permits| permits.late(now))
    }

    /// Returns how many connections were rejected because there was no permit.
    pub fn refused(&self) -> u64 {
        lock(&self.permits).refused()
    }

    pub fn waiting(&self) -> usize {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Returns how many permits are in use: a worker may keep one between turns. (Used by the model check.)
    pub fn permits_taken(&self) -> usize {
        lock(&self.permits).taken()
    }

    /// Returns how many workers run code that may block.
    pub fn running(&self) -> usize {
        self.running_workers().count()
    }

    /// Returns the numbers of these workers.
    pub fn running_workers(&self) -> impl Iterator<Item = usize> {
        let is_running = |me: &usize| self.workers[*me].running_since.load(Ordering::Relaxed) != 0;
        (0..self.workers.len()).filter(is_running)
    }

    /// Makes a change of the permits. There is no other way, so `wanted` always matches the queue.
    fn with_permits<R>(&self, change: impl FnOnce(&mut Permits<C>) -> R) -> R {
        let mut permits = lock(&self.permits);
        let result = change(&mut permits);
        self.wanted.store(permits.queued(), Ordering::Relaxed);
        result
    }

    fn release(&self, class: Class) -> Option<(C, Class)> {
        self.with_permits(|permits| permits.release(class))
    }

    /// Records the duration of a turn; `blocked` is the part not spent on the processor, if it was measured.
    pub fn turn_took(&self, wall: Duration, blocked: Option<Duration>) {
        self.load.turn_took(wall, blocked);
    }

    /// If a worker waits inside the poll, makes it return.
    pub fn wake_poller(&self) {
        fence(Ordering::SeqCst); // partner: `Polling::begin`
        if self.polling.load(Ordering::SeqCst) {
            self.wakes.fetch_add(1, Ordering::Relaxed);
            self.waker.wake();
        }
    }

    /// Begins the shutdown: the next worker that polls sees it. Can be called from any thread, at any time.
    pub fn begin_shutdown(&self) {
        let _ = self.state.compare_exchange(RUNNING, SHUTTING_DOWN, Ordering::SeqCst, Ordering::SeqCst);
        self.wake_poller();
        self.wake_one();
    }

    /// Makes all workers exit as soon as they are free.
    pub fn end(&self) {
        self.state.store(OVER, Ordering::SeqCst);
        self.wake_poller();
        while let Some(worker) = self.next_idle() {
            self.wake(worker);
        }
    }

    /// Returns whether the server is shutting down, or has ended.
    pub fn is_shutting_down(&self) -> bool {
        self.state.load(Ordering::SeqCst) != RUNNING
    }

    /// Returns whether all workers are to exit.
    pub fn is_over(&self) -> bool {
        self.state.load(Ordering::SeqCst) == OVER
    }

    /// Removes and returns all connections that no worker holds, and the poller if it is free. Called when the server
    /// exits.
    pub fn drain(&self) -> (Vec<C>, Option<P>) {
        let mut left = self.table().drain();
        left.extend(self.with_permits(Permits::drain));
        left.extend(self.drain_queue());
        (left, lock(&self.poller).take())
    }

    fn drain_queue(&self) -> Vec<C> {
        let mut left = Vec::new();
        while let Some(Ready { connection, granted }) = self.queue.pop(0, 0).or_else(|| self.queue.pop_of_others(0)) {
            left.push(connection);
            left.extend(granted.and_then(|class| self.release(class)).map(|(connection, _)| connection));
        }
        left
    }

    pub fn polls(&self) -> u64 {
        self.polls.load(Ordering::Relaxed)
    }

    /// Returns how often a worker was woken so far, from its sleep or from the poll.
    pub fn wakes(&self) -> u64 {
        self.wakes.load(Ordering::Relaxed)
    }

    /// Returns whether a worker other than the caller, which is about to wait inside the poll, may be in a handler or
    /// enter one unnoticed. That is so if another worker is awake, or was woken and has found nothing yet.
    pub fn others_are_awake(&self) -> bool {
        self.awake.load(Ordering::SeqCst) > 0 || self.searching.load(Ordering::SeqCst)
    }

    pub fn ready(&self) -> usize {
        self.queue.len()
    }
}
