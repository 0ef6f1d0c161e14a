//! Where workers hand connections, permits and the poller to each other.
//!
//! Called by `workers` (what a worker does next) and by `engine` (shutdown, calls from other threads). Generic over
//! connection, poller and poll waker, and all its locks, atomics, parking and queues come from `sync`: the model check
//! (`tests/laws.rs`) runs these very files.
//!
//! The invariants:
//! 1. *One place.* A connection moves by value: parked in the table, ready in the queue, waiting for a permit, or in a
//!    worker's hands.
//! 2. *A worker is awake.* While the poller is free or the ready queue is not empty, some worker outside code that may
//!    block is awake, or was woken, or is the watchdog. A worker that is about to wait, idle or inside the poll, first
//!    publishes that it does (`IdleWorkers`, or `polling = true`), then a SeqCst fence, then looks once more at queue,
//!    poller, deadlines and state; whoever makes work stores it first, then a SeqCst fence, then reads those words.
//! 3. *No readiness is lost.* See [`ConnectionTable`].
//! 4. *Polls are never starved.* A worker that has drawn 64 times since the last poll, or finds it older than 1 ms,
//!    polls first.
//! 5. *Code that may block runs with a permit*, and none of it while the poller or a lock is held. See [`Permits`].
//! 6. *Guards.* The poller and a permit are given back when dropped, also in a panic.

mod idle; // workers with nothing to do
mod table; // which connection waits for what, until when

mod link; // a connection from wherever it is looked at
mod load; // how long turns take
mod permits; // at most so many turns may block
mod queue; // connections that are ready

use std::time::{Duration, Instant};

use idle::{IdleWorkers, Parker};
pub use link::{Callee, Link, Waker};
use load::Load;
pub use permits::{Admission, Class, Permits, RESERVED, Work};
use queue::{Ready, ReadyQueue};
pub use table::{ConnectionTable, Eviction, Parked, Readiness, Token, Wait};

use super::sync::{
    self, AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, PoisonError, current, fence,
};

/// Wakes whoever waits inside the poll.
pub trait PollWaker {
    fn wake(&self);
}

/// What a worker does next.
pub enum Task<'a, C, P, W: PollWaker> {
    /// Take a turn with this connection.
    Serve(C),
    /// Wait with the poller until somebody is ready, and give it back by dropping the guard.
    Poll(PollerGuard<'a, C, P, W>),
    /// Poll without waiting, and keep none of the catch.
    PollNow(PollerGuard<'a, C, P, W>),
    /// The server is over.
    Exit,
}

/// What one worker keeps between turns; made by [`Scheduler::arrive`].
pub struct Worker<'a, C, P, W: PollWaker> {
    me: usize,
    scheduler: &'a Scheduler<C, P, W>,
    /// A permit stays with its worker from turn to turn, while nobody waits for one: taking and giving it back for each
    /// turn costs two locks, which contend with those of other workers.
    permit: Option<Permit<'a, C, P, W>>,
    woken: bool,
    rested: bool, // stopped ticking as the watchdog, and was not woken since
    turns: u32,
    draws: u64,
    draws_at_poll: u64, // `draws` when this worker last saw that a poll had ended
    polls_seen: u64,
}

/// The scheduler, shared by all workers.
pub struct Scheduler<C, P, W> {
    queue: ReadyQueue<C>,
    poller: Padded<Mutex<Option<P>>>,
    poller_free: Padded<AtomicBool>, // nobody holds the poller
    polling: Padded<AtomicBool>,     // somebody waits inside the poll, or is about to
    waker: W,
    idle: Mutex<IdleWorkers>,
    workers: Vec<Padded<PerWorker>>,
    searching: Padded<AtomicBool>, // somebody was woken and has found nothing yet: one at a time
    ticking: AtomicBool,           // the watchdog ticks
    state: Padded<AtomicU8>,
    table: Padded<Mutex<ConnectionTable<C>>>,
    permits: Padded<Mutex<Permits<C>>>,
    wanted: Padded<AtomicUsize>, // how many connections wait for a permit; written under the lock of `permits`
    load: Padded<Load>,
    beginning: Instant,
    polls: Padded<AtomicU64>,
    polled: AtomicU64,  // when the last poll ended, in ns since the beginning
    awake: AtomicUsize, // workers neither idle nor waiting inside the poll
    cores: usize,
}

/// What one worker writes and others read.
#[derive(Default)]
struct PerWorker {
    parker: Parker,
    draws: AtomicU64,
    running_since: AtomicU64, // code that may block runs here since then, in ns since the beginning; 0: none
}

/// On cache lines of its own: what one worker writes often does not invalidate what others read.
/// (128 bytes: the adjacent line is fetched along on x86.)
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

const DRAWS_BETWEEN_POLLS: u64 = 64;
const TIME_BETWEEN_POLLS: Duration = Duration::from_millis(1);

impl<C, P, W: PollWaker> Scheduler<C, P, W> {
    /// A scheduler for so many workers, on so many cores, with the poller free.
    pub fn new(poller: P, waker: W, workers: usize, cores: usize, permits: Permits<C>) -> Scheduler<C, P, W> {
        let beginning = sync::now();
        Scheduler {
            queue: ReadyQueue::new(),
            poller: Padded(Mutex::new(Some(poller))),
            poller_free: Padded(AtomicBool::new(true)),
            polling: Padded(AtomicBool::new(false)),
            waker,
            idle: Mutex::new(IdleWorkers::default()),
            workers: (0..workers).map(|_| Padded::default()).collect(),
            searching: Padded(AtomicBool::new(false)),
            ticking: AtomicBool::new(false),
            state: Padded(AtomicU8::new(RUNNING)),
            table: Padded(Mutex::new(ConnectionTable::new(beginning))),
            permits: Padded(Mutex::new(permits)),
            wanted: Padded(AtomicUsize::new(0)),
            load: Padded(Load::default()),
            beginning,
            polls: Padded(AtomicU64::new(0)),
            polled: AtomicU64::new(0),
            awake: AtomicUsize::new(workers),
            cores,
        }
    }

    /// A worker begins, on its own thread; also one that replaces a worker that died.
    pub fn arrive(&self, me: usize) -> Worker<'_, C, P, W> {
        *lock(&self.workers[me].parker.thread) = Some(current());
        self.workers[me].running_since.store(0, Ordering::Relaxed);
        Worker {
            me,
            scheduler: self,
            permit: None,
            woken: false,
            rested: false,
            turns: 0,
            draws: 0,
            draws_at_poll: 0,
            polls_seen: 0,
        }
    }

    /// Push a connection that is ready. Whoever does so is a worker that is awake, and will draw from the queue or see
    /// to it that another does ([`Worker::begin_blocking`]).
    pub fn push(&self, connection: C) {
        self.queue.push(connection, None);
    }

    /// Another thread calls these connections: those that are parked are ready, for the others it is noted.
    /// Tells each that is ready what was noted for it.
    pub fn call(&self, tokens: &mut dyn Iterator<Item = Token>, saw: impl Fn(&mut C, Readiness)) {
        let mut called = Vec::new();
        {
            let mut table = self.table();
            called.extend(tokens.filter_map(|token| table.call(token)));
        }
        if called.is_empty() {
            return;
        }
        for (mut connection, readiness) in called {
            saw(&mut connection, readiness);
            self.queue.push_called(connection);
        }
        self.pushed_from_outside();
    }

    /// Push a connection that is ready, from a thread that is no worker.
    pub fn push_from_outside(&self, connection: C) {
        self.queue.push(connection, None);
        self.pushed_from_outside();
    }

    fn pushed_from_outside(&self) {
        // By the fence in `wake_poller`: a worker that did not see the push is seen waiting. Where nobody polls,
        // invariant 2 holds: a worker is awake, or the watchdog ticks.
        self.wake_poller();
        self.wake_for_need();
    }

    /// The table of connections, locked.
    pub fn table(&self) -> MutexGuard<'_, ConnectionTable<C>> {
        lock(&self.table)
    }

    /// Park a connection; what came for it meanwhile comes back with it.
    pub fn park(&self, token: Token, connection: C, wait: Wait) -> Option<(C, Readiness)> {
        let parked = self.table().park(token, connection, wait);
        match parked {
            Parked::Parked { wake: false } => None,
            Parked::Parked { wake: true } => {
                self.waker.wake();
                None
            }
            Parked::Ready(connection, readiness) => Some((connection, readiness)),
        }
    }

    /// Those that have waited too long for a permit.
    pub fn late_for_permit(&self, now: Instant) -> Vec<C> {
        if self.wanted.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        self.with_permits(|permits| permits.late(now))
    }

    /// How many connections were refused for want of a permit.
    pub fn refused(&self) -> u64 {
        lock(&self.permits).refused()
    }

    /// How many connections wait for a permit.
    pub fn waiting(&self) -> usize {
        self.wanted.load(Ordering::Relaxed)
    }

    /// How many permits are taken: a worker may keep one between turns. (The model check asks.)
    pub fn permits_taken(&self) -> usize {
        lock(&self.permits).taken()
    }

    /// How many workers run code that may block.
    pub fn running(&self) -> usize {
        self.workers.iter().filter(|worker| worker.running_since.load(Ordering::Relaxed) != 0).count()
    }

    /// All changes of the permits go this way, so that `wanted` is what the queue says.
    fn with_permits<R>(&self, change: impl FnOnce(&mut Permits<C>) -> R) -> R {
        let mut permits = lock(&self.permits);
        let result = change(&mut permits);
        self.wanted.store(permits.queued(), Ordering::Relaxed);
        result
    }

    fn release(&self, class: Class) -> Option<(C, Class)> {
        self.with_permits(|permits| permits.release(class))
    }

    /// A turn took so long; `blocked`: how much of it was not spent on the processor, where that was measured.
    pub fn turn_took(&self, wall: Duration, blocked: Option<Duration>) {
        self.load.turn_took(wall, blocked);
    }

    /// If a worker waits inside the poll, it returns.
    pub fn wake_poller(&self) {
        fence(Ordering::SeqCst); // partner: `Polling::begin`
        if self.polling.load(Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    /// Begin to shut down: whoever polls next sees it. From any thread, at any time.
    pub fn begin_shutdown(&self) {
        let _ = self.state.compare_exchange(RUNNING, SHUTTING_DOWN, Ordering::SeqCst, Ordering::SeqCst);
        self.wake_poller();
        self.wake_one();
    }

    /// All workers exit, as soon as they are free.
    pub fn end(&self) {
        self.state.store(OVER, Ordering::SeqCst);
        self.wake_poller();
        while let Some(worker) = self.next_idle() {
            self.wake(worker);
        }
    }

    /// The server is shutting down, or is over.
    pub fn is_shutting_down(&self) -> bool {
        self.state.load(Ordering::SeqCst) != RUNNING
    }

    /// All workers are to exit.
    pub fn is_over(&self) -> bool {
        self.state.load(Ordering::SeqCst) == OVER
    }

    /// All connections that no worker holds, and the poller, if it is free: for the end.
    pub fn drain(&self) -> (Vec<C>, Option<P>) {
        let mut left = self.table().drain();
        left.extend(self.with_permits(Permits::drain));
        while let Some(Ready { connection, granted }) = self.queue.pop(0) {
            left.push(connection);
            left.extend(granted.and_then(|class| self.release(class)).map(|(connection, _)| connection));
        }
        (left, lock(&self.poller).take())
    }

    /// How often the poller was asked so far.
    pub fn polls(&self) -> u64 {
        self.polls.load(Ordering::Relaxed)
    }

    /// Whether a worker besides the one that asks, which waits inside the poll or is about to, may be in a handler, or
    /// begin one without this worker seeing it: one is awake, or was woken and has found nothing yet.
    pub fn others_are_awake(&self) -> bool {
        self.awake.load(Ordering::SeqCst) > 0 || self.searching.load(Ordering::SeqCst)
    }

    /// How many connections are ready.
    pub fn ready(&self) -> usize {
        self.queue.len()
    }

    fn take_poller(&self) -> Option<PollerGuard<'_, C, P, W>> {
        if !self.poller_free.load(Ordering::SeqCst) {
            return None;
        }
        let mut poller = lock(&self.poller);
        let poller = poller.take()?;
        self.poller_free.store(false, Ordering::SeqCst);
        Some(PollerGuard { poller: Some(poller), scheduler: self })
    }

    fn nanos(&self, when: Instant) -> u64 {
        when.saturating_duration_since(self.beginning).as_nanos() as u64
    }
}

/// A worker's walk from task to task.
impl<'a, C, P, W: PollWaker> Worker<'a, C, P, W> {
    /// What this worker does next; it sleeps while there is nothing. `now` is moved on by a sleep: a turn that began
    /// with the time before it would take whoever it serves for late.
    pub fn next(&mut self, now: &mut Instant) -> Task<'a, C, P, W> {
        let scheduler = self.scheduler;
        let mut overdue = self.poll_is_overdue(*now);
        loop {
            if scheduler.is_over() {
                return Task::Exit;
            }
            if overdue && let Some(guard) = scheduler.take_poller() {
                self.found();
                return Task::PollNow(guard);
            }
            if let Some(connection) = self.draw().or_else(|| self.release_permit()) {
                self.found();
                return Task::Serve(connection);
            }
            if let Some(guard) = scheduler.take_poller() {
                self.found();
                return Task::Poll(guard);
            }
            scheduler.sleep(self);
            *now = sync::now();
            overdue = false;
        }
    }

    fn draw(&mut self) -> Option<C> {
        let scheduler = self.scheduler;
        let Ready { connection, granted } = scheduler.queue.pop(self.draws)?;
        self.draws += 1;
        scheduler.workers[self.me].draws.store(self.draws, Ordering::Relaxed);
        if let Some(class) = granted {
            let granted = Permit { class: Some(class), scheduler };
            match &self.permit {
                Some(held) if held.is_good_for(Work::Handler) => drop(granted),
                _ => self.permit = Some(granted), // the one that was held is released
            }
        }
        Some(connection)
    }

    fn poll_is_overdue(&mut self, now: Instant) -> bool {
        let scheduler = self.scheduler;
        if !scheduler.poller_free.load(Ordering::Relaxed) || scheduler.queue.is_empty() {
            return false; // somebody polls, or nothing would be put before the poll
        }
        let polls = scheduler.polls.load(Ordering::Relaxed);
        if polls != self.polls_seen {
            (self.polls_seen, self.draws_at_poll) = (polls, self.draws);
        }
        let polled = scheduler.beginning + Duration::from_nanos(scheduler.polled.load(Ordering::Relaxed));
        self.draws - self.draws_at_poll >= DRAWS_BETWEEN_POLLS
            || now.saturating_duration_since(polled) > TIME_BETWEEN_POLLS
    }

    /// Have a permit for this work, if the one that is held is good for it or another is free.
    pub fn acquire_permit(&mut self, work: Work) -> bool {
        if self.permit.as_ref().is_some_and(|permit| permit.is_good_for(work)) {
            return true;
        }
        let scheduler = self.scheduler;
        let Some(class) = scheduler.with_permits(|permits| permits.try_acquire(work)) else { return false };
        self.permit = Some(Permit { class: Some(class), scheduler }); // one that is not good enough is released
        true
    }

    /// Whether others wait for a permit: then who has used one gives it back before it uses it again.
    pub fn others_want_permits(&self) -> bool {
        self.scheduler.wanted.load(Ordering::Relaxed) > 0
    }

    /// Ask for a permit for this connection, behind all who wait already, and give back the one that is held, in one
    /// step. Whoever comes out of it has one and is to be served; a connection that is refused comes first.
    pub fn await_permit(&mut self, connection: C, work: Work, now: Instant) -> (Option<C>, Option<C>) {
        let scheduler = self.scheduler;
        let held = self.permit.take().and_then(|mut permit| permit.class.take());
        let mut must_wake = false;
        let admission = scheduler.with_permits(|permits| {
            let before = permits.deadline();
            let admission = permits.exchange(held, connection, work, now);
            must_wake = before.is_none() && permits.deadline().is_some();
            admission
        });
        if must_wake {
            scheduler.wake_poller(); // the queue's deadline may be earlier than the one waited for
        }
        let (refused, granted) = match admission {
            Admission::Granted(next, class) => (None, Some((next, class))),
            Admission::Queued => (None, None),
            Admission::Full(connection, next) => (Some(connection), next),
        };
        let next = granted.map(|(next, class)| {
            self.permit = Some(Permit { class: Some(class), scheduler });
            next
        });
        (refused, next)
    }

    /// Between turns: if others wait for a permit, the one that is held goes to the first of them, which is returned.
    pub fn pass_on_permit(&mut self) -> Option<C> {
        if self.permit.is_none() || !self.others_want_permits() {
            return None;
        }
        self.release_permit()
    }

    /// Give the permit back; the connection that waited for it longest has it now and is returned.
    fn release_permit(&mut self) -> Option<C> {
        let (next, permit) = self.permit.take()?.release()?;
        self.permit = Some(permit);
        Some(next)
    }

    /// To be said before code that may block: what waits must not wait for it.
    pub fn begin_blocking(&self, now: Instant) {
        let scheduler = self.scheduler;
        scheduler.workers[self.me].running_since.store(scheduler.nanos(now).max(1), Ordering::Relaxed);
        // Partners: `something_waits` and `Polling::begin`. What this worker pushed is seen by whoever
        // goes to wait after this, and whoever waits already is seen here.
        fence(Ordering::SeqCst);
        let poller_free = scheduler.poller_free.load(Ordering::SeqCst);
        let ready = scheduler.queue.len();
        if !poller_free && ready == 0 {
            return;
        }
        let watched = scheduler.ticking.load(Ordering::SeqCst) || scheduler.searching.load(Ordering::SeqCst);
        if !watched || scheduler.needs_another(ready + usize::from(poller_free)) {
            scheduler.wake_one();
        }
    }

    /// It no longer blocks.
    pub fn end_blocking(&self) {
        let running = &self.scheduler.workers[self.me].running_since;
        if running.load(Ordering::Relaxed) != 0 {
            running.store(0, Ordering::Relaxed);
        }
    }

    /// Whether to measure how much of this turn is blocked: one in eight, and only while turns are long.
    /// (Each time it costs two system calls: on a busy machine, where turns seem long, 7 % of a small request.)
    pub fn measures_blocking(&mut self) -> bool {
        self.turns = self.turns.wrapping_add(1);
        self.turns.is_multiple_of(8) && self.scheduler.load.is_measured()
    }

    /// Who was woken has found something: the next may be woken, while there is need.
    fn found(&mut self) {
        self.rested = false;
        if std::mem::take(&mut self.woken) {
            self.scheduler.searching.store(false, Ordering::SeqCst);
            self.scheduler.wake_for_need();
        }
    }
}

impl<C, P, W: PollWaker> Drop for Worker<'_, C, P, W> {
    /// A worker that was woken and dies before it found anything must not keep others from being woken.
    fn drop(&mut self) {
        self.end_blocking();
        if self.woken {
            self.scheduler.searching.store(false, Ordering::SeqCst);
        }
    }
}

/// A permit in a worker's hands. It can't be copied, and dropped it is given back: who waits for it longest has it then,
/// in the ready queue.
struct Permit<'a, C, P, W: PollWaker> {
    class: Option<Class>, // until it is released
    scheduler: &'a Scheduler<C, P, W>,
}

impl<'a, C, P, W: PollWaker> Permit<'a, C, P, W> {
    fn is_good_for(&self, work: Work) -> bool {
        self.class.is_some_and(|class| class.allows(work))
    }

    /// Give it back; the connection that waited for it longest has it now.
    fn release(mut self) -> Option<(C, Permit<'a, C, P, W>)> {
        let (next, class) = self.scheduler.release(self.class.take()?)?;
        Some((next, Permit { class: Some(class), scheduler: self.scheduler }))
    }
}

impl<C, P, W: PollWaker> Drop for Permit<'_, C, P, W> {
    fn drop(&mut self) {
        if let Some((next, class)) = self.class.take().and_then(|class| self.scheduler.release(class)) {
            self.scheduler.queue.push(next, Some(class));
        }
    }
}

/// The poller, in the hands of one worker; dropped, it is free again.
pub struct PollerGuard<'a, C, P, W: PollWaker> {
    poller: Option<P>,
    scheduler: &'a Scheduler<C, P, W>,
}

/// How long the poller may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Not at all: something is there.
    None,
    /// Until then; `None`: for ever.
    Until(Option<Instant>),
}

impl<C, P, W: PollWaker> PollerGuard<'_, C, P, W> {
    /// Wait inside the poll, by `poll`, which is told for how long: others see it, and wake it for what they bring.
    pub fn wait<R>(&mut self, poll: impl FnOnce(&mut P, Patience) -> R) -> R {
        let scheduler = self.scheduler;
        let polling = Polling::begin(scheduler);
        let deadline = scheduler.table().begin_wait();
        let queue = match scheduler.wanted.load(Ordering::Relaxed) {
            0 => None, // who queues after this sees `polling`, and wakes the poller
            _ => lock(&scheduler.permits).deadline(),
        };
        let patience = if !scheduler.queue.is_empty() || scheduler.is_over() {
            Patience::None
        } else {
            Patience::Until(deadline.into_iter().chain(queue).min())
        };
        let result = poll(self.poller(), patience);
        drop(polling);
        result
    }

    /// A poll is over, at this time: the catch lies in the queue.
    pub fn polled(&self, now: Instant) {
        let scheduler = self.scheduler;
        scheduler.polled.store(scheduler.nanos(now), Ordering::Relaxed);
        scheduler.polls.fetch_add(1, Ordering::Relaxed);
    }

    /// The poller itself.
    pub fn poller(&mut self) -> &mut P {
        self.poller.as_mut().expect("held until dropped")
    }
}

impl<C, P, W: PollWaker> Drop for PollerGuard<'_, C, P, W> {
    fn drop(&mut self) {
        // Under the lock: stored after it, `poller_free` could be true while the poller is taken again, and workers
        // that look for something to do would find no rest.
        let mut poller = lock(&self.scheduler.poller);
        *poller = self.poller.take();
        self.scheduler.poller_free.store(true, Ordering::SeqCst);
    }
}

/// A worker waits inside the poll, until this is dropped.
struct Polling<'a, C, P, W: PollWaker>(&'a Scheduler<C, P, W>);

impl<'a, C, P, W: PollWaker> Polling<'a, C, P, W> {
    fn begin(scheduler: &'a Scheduler<C, P, W>) -> Self {
        scheduler.polling.store(true, Ordering::SeqCst);
        scheduler.awake.fetch_sub(1, Ordering::Relaxed);
        fence(Ordering::SeqCst); // partners: `wake_poller`, `begin_blocking`; what is looked at follows
        Polling(scheduler)
    }
}

impl<C, P, W: PollWaker> Drop for Polling<'_, C, P, W> {
    fn drop(&mut self) {
        self.0.polling.store(false, Ordering::SeqCst);
        self.0.awake.fetch_add(1, Ordering::Relaxed);
        self.0.table().end_wait();
    }
}

/// A panic under a lock can't leave these halfway: each is changed by steps that don't panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
