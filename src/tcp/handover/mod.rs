//! Where workers hand connections and the poller to each other: the queue, the rack, the sleepers, slots and seats.
//!
//! Called by `workers` (a worker's day) and by `server` (the stop). Generic over connection, poller and bell, and all
//! its locks, atomics, parking and the queue come from `sync`: the model check runs this very file.
//!
//! The laws it keeps:
//! 1. *One place.* A connection moves by value: parked in a seat, queued, in line for a slot, or in a worker's hands.
//! 2. *Someone is awake.* While the poller lies on the rack or the queue is not empty, there is somebody outside
//!    handlers who is awake, or woken, or ticking. Who goes to wait, asleep or inside the poll, says so first and then
//!    looks again at queue, rack, deadlines and stop; the bell reads that word.
//! 3. *No readiness is lost.* See [`Seats`].
//! 4. *Polls are never starved.* After 64 draws, or 1 ms without a poll, the poller goes first.
//! 5. *User code runs in a slot*, and none while the poller or a lock is held. See [`Slots`].
//! 6. *Guards.* The poller is laid back when dropped, also in a panic.

mod seats; // who waits for what, until when
mod sleepers; // workers with nothing to do

mod pace; // how long turns take
mod slots; // at most so many turns may block

use std::time::{Duration, Instant};

use pace::Pace;
pub use seats::{Mark, Parked, Seats, Token, Wish};
use sleepers::{Berth, Sleepers};
pub use slots::{Entry, Slots};

use super::sync::{
    AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, PoisonError, Queue, current, fence,
};

/// Wakes whoever waits inside the poll.
pub trait Bell {
    fn ring(&self);
}

/// What a worker does next.
pub enum Task<'a, C, P, B: Bell> {
    /// Take a turn with this connection.
    Serve(C),
    /// Wait with the poller until somebody is ready, and lay it back by dropping it.
    Wait(Held<'a, C, P, B>),
    /// Poll without waiting, and keep none of the catch.
    Look(Held<'a, C, P, B>),
    /// The day is over.
    Leave,
}

/// One worker's own notes; made by [`Hands::arrive`].
pub struct Worker {
    me: usize,
    woken: bool,
    rested: bool, // went dormant after its ticks, and was not woken since
    turns: u32,
}

/// The hand-overs. Shared by all workers.
pub struct Hands<C, P, B> {
    queue: Queue<C>,
    rack: Mutex<Option<P>>,
    racked: AtomicBool,  // a poller lies on the rack
    polling: AtomicBool, // somebody waits inside the poll, or is about to
    bell: B,
    sleepers: Mutex<Sleepers>,
    berths: Vec<Berth>,
    searching: AtomicBool, // somebody was woken and has found nothing yet: one at a time
    ticking: AtomicBool,   // the standby ticks
    state: AtomicU8,
    seats: Mutex<Seats<C>>,
    slots: Mutex<Slots<C>>,
    pace: Pace,
    beginning: Instant,
    polls: AtomicU64,
    polled: AtomicU64, // when the last poll ended, in ns since the beginning
    draws: AtomicU64,
    draws_at_poll: AtomicU64,
    awake: AtomicUsize, // workers neither asleep nor waiting inside the poll
    cores: usize,
}

const RUNNING: u8 = 0;
const STOPPING: u8 = 1;
const OVER: u8 = 2;

const DRAWS_BETWEEN_POLLS: u64 = 64;
const TIME_BETWEEN_POLLS: Duration = Duration::from_millis(1);

impl<C, P, B: Bell> Hands<C, P, B> {
    /// Hands for so many workers, on so many cores, with the poller on the rack.
    pub fn new(poller: P, bell: B, workers: usize, cores: usize, slots: Slots<C>) -> Hands<C, P, B> {
        let beginning = Instant::now();
        Hands {
            queue: Queue::new(),
            rack: Mutex::new(Some(poller)),
            racked: AtomicBool::new(true),
            polling: AtomicBool::new(false),
            bell,
            sleepers: Mutex::new(Sleepers::default()),
            berths: (0..workers).map(|_| Berth::default()).collect(),
            searching: AtomicBool::new(false),
            ticking: AtomicBool::new(false),
            state: AtomicU8::new(RUNNING),
            seats: Mutex::new(Seats::new(beginning)),
            slots: Mutex::new(slots),
            pace: Pace::default(),
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
        *lock(&self.berths[me].thread) = Some(current());
        Worker { me, woken: false, rested: false, turns: 0 }
    }

    /// What this worker does next; sleeps while there is nothing. `now` is moved on by a sleep: a turn that began
    /// with the time of lying down would take whoever it serves for late.
    pub fn next(&self, worker: &mut Worker, now: &mut Instant) -> Task<'_, C, P, B> {
        let mut overdue = self.poll_is_overdue(*now);
        loop {
            if self.is_over() {
                return Task::Leave;
            }
            if overdue && let Some(held) = self.pick_up() {
                self.found(worker);
                return Task::Look(held);
            }
            if let Some(connection) = self.draw() {
                self.found(worker);
                return Task::Serve(connection);
            }
            if let Some(held) = self.pick_up() {
                self.found(worker);
                return Task::Wait(held);
            }
            self.sleep(worker);
            *now = Instant::now();
            overdue = false;
        }
    }

    /// Lay a connection into the queue. Whoever does so is awake, and will draw from it or see to it
    /// that somebody does ([`Hands::before_handler`]).
    pub fn queue(&self, connection: C) {
        self.queue.push(connection);
    }

    /// The seats, locked.
    pub fn seats(&self) -> MutexGuard<'_, Seats<C>> {
        lock(&self.seats)
    }

    /// Park a connection in its seat; what came meanwhile comes back with it.
    pub fn park(&self, token: Token, connection: C, wish: Wish) -> Option<(C, Mark)> {
        match self.seats().park(token, connection, wish) {
            Parked::Sits { ring: false } => None,
            Parked::Sits { ring: true } => {
                self.bell.ring();
                None
            }
            Parked::GoOn(connection, mark) => Some((connection, mark)),
        }
    }

    /// Ask for a slot. In line, the connection is somebody else's to go on with.
    pub fn enter(&self, connection: C, now: Instant) -> Entry<C> {
        let mut slots = lock(&self.slots);
        let first = !slots.has_line();
        let entry = slots.enter(connection, now);
        drop(slots);
        if first && matches!(entry, Entry::InLine) {
            self.ring_if_polling(); // the line's deadline may be earlier than the one waited for
        }
        entry
    }

    /// Give a slot back; whoever stood first in line has it now and is yours to serve.
    pub fn give_back(&self, slot: usize, now: Instant) -> Option<C> {
        lock(&self.slots).give_back(slot, now)
    }

    /// The slots, locked.
    pub fn slots(&self) -> MutexGuard<'_, Slots<C>> {
        lock(&self.slots)
    }

    /// Said before a handler starts: what waits must not wait for it.
    pub fn before_handler(&self) {
        fence(Ordering::SeqCst);
        let racked = self.racked.load(Ordering::SeqCst);
        let queued = self.queue.len();
        if !racked && queued == 0 {
            return;
        }
        let watched = self.ticking.load(Ordering::SeqCst) || self.searching.load(Ordering::SeqCst);
        if !watched || self.needs_a_hand(queued + usize::from(racked)) {
            self.wake_one();
        }
    }

    /// A turn took so long; `blocked`: how much of it was not spent on the processor, where that was measured.
    pub fn turn_took(&self, wall: Duration, blocked: Option<Duration>) {
        self.pace.turn_took(wall, blocked);
    }

    /// Whether to measure how much of this turn is blocked: one in eight, and only while turns are long.
    /// (Each time it costs two system calls: on a busy machine, where turns seem long, 7 % of a small request.)
    pub fn measures_blocking(&self, worker: &mut Worker) -> bool {
        worker.turns = worker.turns.wrapping_add(1);
        worker.turns.is_multiple_of(8) && self.pace.is_measured()
    }

    /// A descriptor is free again, or somebody else wants the poller to look up: if somebody waits in it, it rings.
    pub fn ring_if_polling(&self) {
        fence(Ordering::SeqCst);
        if self.polling.load(Ordering::SeqCst) {
            self.bell.ring();
        }
    }

    /// Begin to stop: whoever polls next sees it. From any thread, at any time.
    pub fn stop(&self) {
        let _ = self.state.compare_exchange(RUNNING, STOPPING, Ordering::SeqCst, Ordering::SeqCst);
        self.ring_if_polling();
        self.wake_one();
    }

    /// Everybody leaves, as soon as they are free.
    pub fn end(&self) {
        self.state.store(OVER, Ordering::SeqCst);
        self.ring_if_polling();
        while let Some(sleeper) = self.next_sleeper() {
            self.wake(sleeper);
        }
    }

    /// The server is stopping, or has stopped.
    pub fn is_stopping(&self) -> bool {
        self.state.load(Ordering::SeqCst) != RUNNING
    }

    /// Everybody is to leave.
    pub fn is_over(&self) -> bool {
        self.state.load(Ordering::SeqCst) == OVER
    }

    /// All connections that no worker holds, and the poller, if it lies on the rack: for the end.
    pub fn clear_out(&self) -> (Vec<C>, Option<P>) {
        let mut left = self.seats().empty_out();
        left.extend(self.slots().empty_out());
        left.extend(std::iter::from_fn(|| self.queue.pop()));
        (left, lock(&self.rack).take())
    }

    /// How many connections lie in the queue.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    fn draw(&self) -> Option<C> {
        let connection = self.queue.pop()?;
        self.draws.fetch_add(1, Ordering::Relaxed);
        Some(connection)
    }

    fn poll_is_overdue(&self, now: Instant) -> bool {
        if !self.racked.load(Ordering::Relaxed) || self.queue.is_empty() {
            return false; // somebody polls, or nothing would be put before the poll
        }
        let drawn = self.draws.load(Ordering::Relaxed).wrapping_sub(self.draws_at_poll.load(Ordering::Relaxed));
        let polled = self.beginning + Duration::from_nanos(self.polled.load(Ordering::Relaxed));
        drawn >= DRAWS_BETWEEN_POLLS || now.saturating_duration_since(polled) > TIME_BETWEEN_POLLS
    }

    fn pick_up(&self) -> Option<Held<'_, C, P, B>> {
        if !self.racked.load(Ordering::SeqCst) {
            return None;
        }
        let mut rack = lock(&self.rack);
        let poller = rack.take()?;
        self.racked.store(false, Ordering::SeqCst);
        Some(Held { poller: Some(poller), hands: self })
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

/// The poller, in the hands of one worker; dropped, it lies on the rack again.
pub struct Held<'a, C, P, B: Bell> {
    poller: Option<P>,
    hands: &'a Hands<C, P, B>,
}

/// How long the poller may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Not at all: something is there.
    None,
    /// Until then; `None`: for ever.
    Until(Option<Instant>),
}

impl<C, P, B: Bell> Held<'_, C, P, B> {
    /// Say that one is about to wait inside the poll, and look once more.
    /// [`Held::waited`] must follow, whatever the answer.
    pub fn about_to_wait(&self) -> Patience {
        let hands = self.hands;
        hands.polling.store(true, Ordering::SeqCst);
        hands.awake.fetch_sub(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let deadline = hands.seats().wait_for();
        let line = hands.slots().deadline();
        if !hands.queue.is_empty() || hands.is_over() {
            return Patience::None;
        }
        Patience::Until(deadline.into_iter().chain(line).min())
    }

    /// One waits no longer.
    pub fn waited(&self) {
        self.hands.polling.store(false, Ordering::SeqCst);
        self.hands.awake.fetch_add(1, Ordering::Relaxed);
        self.hands.seats().waited();
    }

    /// A poll is over, at this time: the catch lies in the queue. Tells the number of this poll.
    pub fn polled(&self, now: Instant) -> u64 {
        let hands = self.hands;
        hands.polled.store(now.saturating_duration_since(hands.beginning).as_nanos() as u64, Ordering::Relaxed);
        hands.draws_at_poll.store(hands.draws.load(Ordering::Relaxed), Ordering::Relaxed);
        hands.polls.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The poller itself.
    pub fn poller(&mut self) -> &mut P {
        self.poller.as_mut().expect("held until dropped")
    }
}

impl<C, P, B: Bell> Drop for Held<'_, C, P, B> {
    fn drop(&mut self) {
        // Under the lock: a word given later could outlive the poller's next departure, and sleepers would find no rest.
        let mut rack = lock(&self.hands.rack);
        *rack = self.poller.take();
        self.hands.racked.store(true, Ordering::SeqCst);
    }
}

/// A panic under a lock can't leave these halfway: each is changed by steps that don't panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
