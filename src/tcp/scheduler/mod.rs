//! Where workers hand connections and the poller to each other: the queue, the poller, the idle, permits and table.
//!
//! Called by `workers` (a worker's day) and by `server` (the stop). Generic over connection, poller and waker, and all
//! its locks, atomics, parking and the queue come from `sync`: the model check runs this very file.
//!
//! The laws it keeps:
//! 1. *One place.* A connection moves by value: parked in a seat, queued, in line for a permit, or in a worker's scheduler.
//! 2. *Someone is awake.* While the poller lies on the poller or the queue is not empty, there is somebody outside
//!    handlers who is awake, or woken, or ticking. Who goes to wait, asleep or inside the poll, says so first and then
//!    looks again at queue, poller, deadlines and stop; the waker reads that word.
//! 3. *No readiness is lost.* See [`ConnectionTable`].
//! 4. *Polls are never starved.* After 64 draws, or 1 ms without a poll, the poller goes first.
//! 5. *User code runs in a permit*, and none while the poller or a lock is guard. See [`Permits`].
//! 6. *Guards.* The poller is laid back when dropped, also in a panic.

mod idle;
mod table; // who waits for what, until when // workers with nothing to do

mod load; // how long turns take
mod permits; // at most so many turns may block

use std::time::{Duration, Instant};

use idle::{IdleWorkers, Parker};
use load::Load;
pub use permits::{Admission, Permits};
pub use table::{ConnectionTable, Parked, Readiness, Token, Wait};

use super::sync::{
    AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, PoisonError, Queue, current, fence,
};

/// Wakes whoever waits inside the poll.
pub trait PollWaker {
    fn wake(&self);
}

/// What a worker does next.
pub enum Task<'a, C, P, B: PollWaker> {
    /// Take a turn with this connection.
    Serve(C),
    /// Wait with the poller until somebody is ready, and lay it back by dropping it.
    Poll(PollerGuard<'a, C, P, B>),
    /// Poll without waiting, and keep none of the catch.
    PollNow(PollerGuard<'a, C, P, B>),
    /// The day is over.
    Exit,
}

/// One worker's own notes; made by [`Scheduler::arrive`].
pub struct Worker {
    me: usize,
    woken: bool,
    rested: bool, // went dormant after its ticks, and was not woken since
    turns: u32,
}

/// The hand-overs. Shared by all workers.
pub struct Scheduler<C, P, B> {
    queue: Queue<C>,
    poller: Mutex<Option<P>>,
    poller_free: AtomicBool, // a poller lies on the poller
    polling: AtomicBool,     // somebody waits inside the poll, or is about to
    waker: B,
    idle: Mutex<IdleWorkers>,
    parkers: Vec<Parker>,
    searching: AtomicBool, // somebody was woken and has found nothing yet: one at a time
    ticking: AtomicBool,   // the watchdog ticks
    state: AtomicU8,
    table: Mutex<ConnectionTable<C>>,
    permits: Mutex<Permits<C>>,
    load: Load,
    beginning: Instant,
    polls: AtomicU64,
    polled: AtomicU64, // when the last poll ended, in ns since the beginning
    draws: AtomicU64,
    draws_at_poll: AtomicU64,
    awake: AtomicUsize, // workers neither asleep nor waiting inside the poll
    cores: usize,
}

const RUNNING: u8 = 0;
const SHUTTING_DOWN: u8 = 1;
const OVER: u8 = 2;

const DRAWS_BETWEEN_POLLS: u64 = 64;
const TIME_BETWEEN_POLLS: Duration = Duration::from_millis(1);

impl<C, P, B: PollWaker> Scheduler<C, P, B> {
    /// Scheduler for so many workers, on so many cores, with the poller on the poller.
    pub fn new(poller: P, waker: B, workers: usize, cores: usize, permits: Permits<C>) -> Scheduler<C, P, B> {
        let beginning = Instant::now();
        Scheduler {
            queue: Queue::new(),
            poller: Mutex::new(Some(poller)),
            poller_free: AtomicBool::new(true),
            polling: AtomicBool::new(false),
            waker,
            idle: Mutex::new(IdleWorkers::default()),
            parkers: (0..workers).map(|_| Parker::default()).collect(),
            searching: AtomicBool::new(false),
            ticking: AtomicBool::new(false),
            state: AtomicU8::new(RUNNING),
            table: Mutex::new(ConnectionTable::new(beginning)),
            permits: Mutex::new(permits),
            load: Load::default(),
            beginning,
            polls: AtomicU64::new(0),
            polled: AtomicU64::new(0),
            draws: AtomicU64::new(0),
            draws_at_poll: AtomicU64::new(0),
            awake: AtomicUsize::new(workers),
            cores,
        }
    }

    /// A worker comes to work, on its own thread.
    pub fn arrive(&self, me: usize) -> Worker {
        *lock(&self.parkers[me].thread) = Some(current());
        Worker { me, woken: false, rested: false, turns: 0 }
    }

    /// What this worker does next; sleeps while there is nothing. `now` is moved on by a sleep: a turn that began
    /// with the time of lying down would take whoever it serves for late.
    pub fn next(&self, worker: &mut Worker, now: &mut Instant) -> Task<'_, C, P, B> {
        let mut overdue = self.poll_is_overdue(*now);
        loop {
            if self.is_over() {
                return Task::Exit;
            }
            if overdue && let Some(guard) = self.take_poller() {
                self.found(worker);
                return Task::PollNow(guard);
            }
            if let Some(connection) = self.draw() {
                self.found(worker);
                return Task::Serve(connection);
            }
            if let Some(guard) = self.take_poller() {
                self.found(worker);
                return Task::Poll(guard);
            }
            self.sleep(worker);
            *now = Instant::now();
            overdue = false;
        }
    }

    /// Lay a connection into the queue. Whoever does so is awake, and will draw from it or see to it
    /// that somebody does ([`Scheduler::before_handler`]).
    pub fn queue(&self, connection: C) {
        self.queue.push(connection);
    }

    /// The table, locked.
    pub fn table(&self) -> MutexGuard<'_, ConnectionTable<C>> {
        lock(&self.table)
    }

    /// Park a connection in its seat; what came meanwhile comes back with it.
    pub fn park(&self, token: Token, connection: C, wait: Wait) -> Option<(C, Readiness)> {
        match self.table().park(token, connection, wait) {
            Parked::Sits { ring: false } => None,
            Parked::Sits { ring: true } => {
                self.waker.wake();
                None
            }
            Parked::GoOn(connection, readiness) => Some((connection, readiness)),
        }
    }

    /// Ask for a permit. In line, the connection is somebody else's to go on with.
    pub fn enter(&self, connection: C, now: Instant) -> Admission<C> {
        let mut permits = lock(&self.permits);
        let first = !permits.has_waiters();
        let entry = permits.enter(connection, now);
        drop(permits);
        if first && matches!(entry, Admission::Queued) {
            self.wake_poller(); // the line's deadline may be earlier than the one waited for
        }
        entry
    }

    /// Give a permit back; whoever stood first in line has it now and is yours to serve.
    pub fn give_back(&self, permit: usize, now: Instant) -> Option<C> {
        lock(&self.permits).give_back(permit, now)
    }

    /// The permits, locked.
    pub fn permits(&self) -> MutexGuard<'_, Permits<C>> {
        lock(&self.permits)
    }

    /// Said before a handler starts: what waits must not wait for it.
    pub fn before_handler(&self) {
        fence(Ordering::SeqCst);
        let poller_free = self.poller_free.load(Ordering::SeqCst);
        let queued = self.queue.len();
        if !poller_free && queued == 0 {
            return;
        }
        let watched = self.ticking.load(Ordering::SeqCst) || self.searching.load(Ordering::SeqCst);
        if !watched || self.needs_a_hand(queued + usize::from(poller_free)) {
            self.wake_one();
        }
    }

    /// A turn took so long; `blocked`: how much of it was not spent on the processor, where that was measured.
    pub fn turn_took(&self, wall: Duration, blocked: Option<Duration>) {
        self.load.turn_took(wall, blocked);
    }

    /// Whether to measure how much of this turn is blocked: one in eight, and only while turns are long.
    /// (Each time it costs two system calls: on a busy machine, where turns seem long, 7 % of a small request.)
    pub fn measures_blocking(&self, worker: &mut Worker) -> bool {
        worker.turns = worker.turns.wrapping_add(1);
        worker.turns.is_multiple_of(8) && self.load.is_measured()
    }

    /// A descriptor is free again, or somebody else wants the poller to look up: if somebody waits in it, it rings.
    pub fn wake_poller(&self) {
        fence(Ordering::SeqCst);
        if self.polling.load(Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    /// Begin to stop: whoever polls next sees it. From any thread, at any time.
    pub fn stop(&self) {
        let _ = self.state.compare_exchange(RUNNING, SHUTTING_DOWN, Ordering::SeqCst, Ordering::SeqCst);
        self.wake_poller();
        self.wake_one();
    }

    /// Everybody leaves, as soon as they are free.
    pub fn end(&self) {
        self.state.store(OVER, Ordering::SeqCst);
        self.wake_poller();
        while let Some(worker) = self.next_idle() {
            self.wake(worker);
        }
    }

    /// The server is stopping, or has stopped.
    pub fn is_shutting_down(&self) -> bool {
        self.state.load(Ordering::SeqCst) != RUNNING
    }

    /// Everybody is to leave.
    pub fn is_over(&self) -> bool {
        self.state.load(Ordering::SeqCst) == OVER
    }

    /// All connections that no worker holds, and the poller, if it lies on the poller: for the end.
    pub fn clear_out(&self) -> (Vec<C>, Option<P>) {
        let mut left = self.table().empty_out();
        left.extend(self.permits().empty_out());
        left.extend(std::iter::from_fn(|| self.queue.pop()));
        (left, lock(&self.poller).take())
    }

    /// How many connections lie in the queue.
    pub fn ready(&self) -> usize {
        self.queue.len()
    }

    fn draw(&self) -> Option<C> {
        let connection = self.queue.pop()?;
        self.draws.fetch_add(1, Ordering::Relaxed);
        Some(connection)
    }

    fn poll_is_overdue(&self, now: Instant) -> bool {
        if !self.poller_free.load(Ordering::Relaxed) || self.queue.is_empty() {
            return false; // somebody polls, or nothing would be put before the poll
        }
        let drawn = self.draws.load(Ordering::Relaxed).wrapping_sub(self.draws_at_poll.load(Ordering::Relaxed));
        let polled = self.beginning + Duration::from_nanos(self.polled.load(Ordering::Relaxed));
        drawn >= DRAWS_BETWEEN_POLLS || now.saturating_duration_since(polled) > TIME_BETWEEN_POLLS
    }

    fn take_poller(&self) -> Option<PollerGuard<'_, C, P, B>> {
        if !self.poller_free.load(Ordering::SeqCst) {
            return None;
        }
        let mut poller = lock(&self.poller);
        let poller = poller.take()?;
        self.poller_free.store(false, Ordering::SeqCst);
        Some(PollerGuard { poller: Some(poller), scheduler: self })
    }

    /// Somebody who was woken has found something: the next may be woken, while there is need.
    fn found(&self, worker: &mut Worker) {
        worker.rested = false;
        if std::mem::take(&mut worker.woken) {
            self.searching.store(false, Ordering::SeqCst);
            self.wake_for_need();
        }
    }
}

/// The poller, in the scheduler of one worker; dropped, it lies on the poller again.
pub struct PollerGuard<'a, C, P, B: PollWaker> {
    poller: Option<P>,
    scheduler: &'a Scheduler<C, P, B>,
}

/// How long the poller may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Not at all: something is there.
    None,
    /// Until then; `None`: for ever.
    Until(Option<Instant>),
}

impl<C, P, B: PollWaker> PollerGuard<'_, C, P, B> {
    /// Say that one is about to wait inside the poll, and look once more.
    /// [`PollerGuard::waited`] must follow, whatever the answer.
    pub fn about_to_wait(&self) -> Patience {
        let scheduler = self.scheduler;
        scheduler.polling.store(true, Ordering::SeqCst);
        scheduler.awake.fetch_sub(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let deadline = scheduler.table().wait_for();
        let line = scheduler.permits().deadline();
        if !scheduler.queue.is_empty() || scheduler.is_over() {
            return Patience::None;
        }
        Patience::Until(deadline.into_iter().chain(line).min())
    }

    /// One waits no longer.
    pub fn waited(&self) {
        self.scheduler.polling.store(false, Ordering::SeqCst);
        self.scheduler.awake.fetch_add(1, Ordering::Relaxed);
        self.scheduler.table().waited();
    }

    /// A poll is over, at this time: the catch lies in the queue. Tells the number of this poll.
    pub fn polled(&self, now: Instant) -> u64 {
        let scheduler = self.scheduler;
        scheduler.polled.store(now.saturating_duration_since(scheduler.beginning).as_nanos() as u64, Ordering::Relaxed);
        scheduler.draws_at_poll.store(scheduler.draws.load(Ordering::Relaxed), Ordering::Relaxed);
        scheduler.polls.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The poller itself.
    pub fn poller(&mut self) -> &mut P {
        self.poller.as_mut().expect("guard until dropped")
    }
}

impl<C, P, B: PollWaker> Drop for PollerGuard<'_, C, P, B> {
    fn drop(&mut self) {
        // Under the lock: a word given later could outlive the poller's next departure, and idle would find no rest.
        let mut poller = lock(&self.scheduler.poller);
        *poller = self.poller.take();
        self.scheduler.poller_free.store(true, Ordering::SeqCst);
    }
}

/// A panic under a lock can't leave these halfway: each is changed by steps that don't panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
