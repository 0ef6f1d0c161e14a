//! The simulated machine: its clock, its random numbers, the waiting threads, and the failure of a run.
//!
//! All threads of a run are coroutines of one thread of the test, so shared data is in a thread-local, and switches
//! happen only at [`switch`] and [`wait`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::client::Awaiting;
use crate::net::Net;
use crate::plan::Plan;
use crate::tcp::Instant;

/// The event for which a thread waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Only the time.
    Time,
    Lock(usize),
    Condvar(usize),
    /// Its own `unpark`.
    Park(usize),
    Poll,
    /// An event of this connection, on the client's side.
    Socket(usize),
    /// An event of this connection, for a blocking stream of the server.
    Stream(usize),
    Backlog,
    /// A change of the run's counts: clients that have ended, responses, workers.
    Counts,
}

struct Waiting {
    thread: usize,
    key: Key,
    until: u64,
    waker: Waker,
    woken: Rc<Cell<bool>>,
}

/// The machine of one run.
pub struct Machine {
    pub chance: Chance,
    pub plan: Plan,
    pub net: Net,
    pub counts: Counts,
    /// The response for which each client waits.
    pub awaiting: Vec<Option<Awaiting>>,
    nanos: u64,
    waiting: Vec<Waiting>,
    /// Threads that were unparked before they parked.
    pub tokens: Vec<bool>,
    /// Locks taken since the last wait or action of the network.
    pub locks: usize,
    log: Option<VecDeque<String>>,
    pub over: bool,
    /// The process was stopped and continues: the thread that waits inside the poll gets this first.
    pub continued: bool,
    pub has_stopped: bool,
}

/// Counts of a run, some of which must be zero at the end.
#[derive(Default)]
pub struct Counts {
    pub clients_left: usize,
    /// The number of responses that each client has read.
    pub answers: Vec<usize>,
    pub workers: usize,
    pub deaths: usize,
    /// Threads that wait in user code.
    pub blocked: usize,
    /// Running handlers.
    pub handling: usize,
    /// Streams with a thread.
    pub streams: usize,
    /// Threads in the blocking logger.
    pub logging: usize,
    /// Threads that sleep in the engine because they can't continue.
    pub engine_sleeps: usize,
    /// The number of times that workers have yielded their core.
    pub yields: usize,
    pub conversations: usize,
    pub shared_bytes: usize,
    /// The number of news that callers have announced to subscribers.
    pub news: u64,
    pub refused: usize,
    pub shutdown: bool,
    pub shutdown_now: bool,
    /// The end of the shutdown timeout.
    pub cut_off_at: Option<u64>,
    /// Threads that still call subscribers.
    pub callers: usize,
    /// `serve_forever` has returned. `failed`: an error.
    pub served: bool,
    pub failed: bool,
}

pub const FOR_EVER: u64 = u64::MAX;

thread_local! {
    static MACHINE: RefCell<Option<Machine>> = const { RefCell::new(None) };
    static FAILURE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Accesses the machine without a switch.
pub fn with<R>(action: impl FnOnce(&mut Machine) -> R) -> R {
    MACHINE.with(|machine| action(machine.borrow_mut().as_mut().expect("a run in progress")))
}

/// Wakes the threads that wait for this event, if a run is in progress.
pub fn wake(key: Key) {
    if_under_way(|machine| machine.wake(key));
}

/// Creates the machine of a new run.
pub fn begin(plan: Plan, mut chance: Chance, log: bool) {
    let net = Net::new(&plan, &mut chance);
    let awaiting = vec![None; plan.clients.len()];
    let counts = Counts { answers: vec![0; plan.clients.len()], clients_left: plan.clients.len(), ..Counts::default() };
    let machine = Machine {
        chance,
        plan,
        net,
        counts,
        awaiting,
        nanos: 0,
        waiting: Vec::new(),
        tokens: vec![false; 64],
        locks: 0,
        log: log.then(VecDeque::new),
        over: false,
        continued: false,
        has_stopped: false,
    };
    MACHINE.with(|slot| *slot.borrow_mut() = Some(machine));
}

/// The log of the last run, if there is one.
pub fn log_of_failure() -> Vec<String> {
    MACHINE.with(|machine| {
        let mut machine = machine.borrow_mut();
        machine.as_mut().and_then(|machine| machine.log.take()).map_or(Vec::new(), Vec::from)
    })
}

/// The failure of the run, if there is one. The scheduler reads it, because a panic could be caught by `contain`.
pub fn failure() -> Option<String> {
    FAILURE.with(|failure| failure.borrow_mut().take())
}

/// Fails the run. The first reason is reported.
pub fn fail(why: String) {
    FAILURE.with(|failure| {
        failure.borrow_mut().get_or_insert(why);
    });
}

/// Adds a line to the log of a replayed run.
macro_rules! note {
    ($($what:tt)*) => {
        $crate::machine::with(|machine| machine.note(|| format!($($what)*)))
    };
}
pub(crate) use note;

impl Machine {
    pub fn note(&mut self, what: impl FnOnce() -> String) {
        let nanos = self.nanos;
        if let Some(log) = &mut self.log {
            if log.len() == 4000 {
                log.pop_front();
            }
            log.push_back(format!("{:>12.6} [{}] {}", nanos as f64 / 1e9, me(), what()));
        }
    }

    /// Wakes the threads that wait for this event.
    pub fn wake(&mut self, key: Key) {
        self.wake_if(|waiting| waiting.key == key);
    }

    /// Wakes the blocking streams, which then check again.
    pub fn wake_streams(&mut self) {
        self.wake_if(|waiting| matches!(waiting.key, Key::Stream(_)));
    }

    fn wake_if(&mut self, who: impl Fn(&Waiting) -> bool) {
        self.waiting.retain(|waiting| {
            let wakes = who(waiting);
            if wakes {
                waiting.woken.set(true);
                waiting.waker.wake_by_ref();
            }
            !wakes
        });
    }

    pub fn nanos(&self) -> u64 {
        self.nanos
    }

    /// Advances the time, and wakes the threads whose time has come.
    pub fn advance(&mut self, nanos: u64) {
        self.nanos = self.nanos.max(nanos);
        let now = self.nanos;
        self.wake_if(|waiting| waiting.until <= now);
        if self.net.time_passes(now) {
            self.wake(Key::Poll);
        }
        self.wake_streams();
    }

    /// Stops the process for this time (SIGSTOP, the lid of a laptop). Bytes that clients have sent before are there
    /// when it continues. Clients that have sent nothing may be dropped.
    pub fn stop_for(&mut self, nanos: u64) {
        self.note(|| format!("the process is stopped for {nanos} ns"));
        for socket in &mut self.net.sockets {
            socket.facts.may_close |= socket.up.is_empty();
        }
        (self.continued, self.has_stopped) = (true, true);
        self.plan.stops = false;
        self.advance(self.nanos + nanos);
    }

    /// The next time at which a thread or event is due.
    pub fn next_due(&self) -> Option<u64> {
        let until = self.waiting.iter().map(|waiting| waiting.until).chain(self.net.next_due()).min();
        until.filter(|until| *until != FOR_EVER)
    }

    /// Whether this thread does not wait.
    pub fn is_runnable(&self, thread: usize) -> bool {
        self.waiting.iter().all(|waiting| waiting.thread != thread)
    }

    /// The waiting threads and their events, for a report.
    pub fn describe_waiting_tasks(&self) -> String {
        let keys: Vec<String> = self.waiting.iter().map(|waiting| format!("{:?}", waiting.key)).collect();
        keys.join(", ")
    }

    /// Whether connections may have been evicted for new ones so far.
    pub fn room_was_short(&self) -> bool {
        self.net.accept_trouble_until > 0 || self.net.sockets.len() > self.plan.capacity()
    }

    /// Whether there is room for another connection now, and accepting does not fail.
    pub fn has_room(&self) -> bool {
        let open = self.net.sockets.iter().filter(|socket| socket.server_open).count();
        open < self.plan.max_connections && self.net.descriptors > 0 && self.net.accept_trouble_until <= self.nanos
    }

    /// Whether the shutdown timeout has passed.
    pub fn is_cut_off(&self) -> bool {
        self.counts.cut_off_at.is_some_and(|at| at <= self.nanos)
    }

    /// The number of threads that are parked without a timeout.
    pub fn asleep(&self) -> usize {
        let sleeps = |waiting: &&Waiting| matches!(waiting.key, Key::Park(_)) && waiting.until == FOR_EVER;
        self.waiting.iter().filter(sleeps).count()
    }

    /// Whether an event of this probability (per mille) happens now.
    pub fn happens(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.chance.below(1000) < u64::from(per_mille)
    }
}

/// The number of the running thread.
pub fn me() -> usize {
    shuttle::current::get_current_task().map_or(0, usize::from)
}

/// Whether this thread is part of a run: the engine's own unit tests are also compiled here, and are not.
fn is_under_way() -> bool {
    MACHINE.with(|machine| machine.try_borrow().is_ok_and(|machine| machine.is_some()))
}

/// Accesses the machine, if a run is in progress.
pub fn if_under_way<R>(action: impl FnOnce(&mut Machine) -> R) -> Option<R> {
    is_under_way().then(|| with(action))
}

/// Another thread may run here. Not while a panic unwinds, because the other threads would seem to panic.
pub fn switch() {
    if !std::thread::panicking() && is_under_way() {
        shuttle::thread::sleep(Duration::ZERO);
    }
}

/// This many locks in a row, without any wait or network action, mean that a thread searches for work endlessly.
const MOST_LOCKS: usize = 2000;

/// Counts a lock that is taken.
pub fn count_lock() {
    if is_under_way() {
        let locks = with(|machine| {
            machine.locks += 1;
            machine.locks
        });
        if locks > MOST_LOCKS {
            fail("somebody goes round in circles".to_owned());
        }
    }
}

/// Waits once, until this event or this time. An event after the caller's last check is not missed.
pub fn wait(key: Key, until: u64) {
    with(|machine| machine.locks = 0);
    let woken = Rc::new(Cell::new(false));
    let mut waits = false;
    shuttle::future::block_on(poll_fn(|context| {
        if !std::mem::replace(&mut waits, true) {
            with(|machine| {
                let (waker, woken) = (context.waker().clone(), woken.clone());
                machine.waiting.push(Waiting { thread: me(), key, until, waker, woken });
            });
        }
        if woken.get() { Poll::Ready(()) } else { Poll::Pending }
    }));
}

/// Waits until `look` returns a result. `None`: there was none until this time.
pub fn wait_for<R>(key: Key, until: u64, mut look: impl FnMut(&mut Machine) -> Option<R>) -> Option<R> {
    loop {
        let (found, now) = with(|machine| (look(machine), machine.nanos));
        if found.is_some() || until <= now {
            return found;
        }
        wait(key, until);
    }
}

/// Sleeps for this time.
pub fn sleep(limit: Duration) {
    let until = after(limit);
    wait_for(Key::Time, until, |_| None::<()>);
}

/// The time after this duration.
pub fn after(limit: Duration) -> u64 {
    with(|machine| machine.nanos.saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(FOR_EVER)))
}

/// The simulated time in the engine's type: the machine has run for an hour.
pub fn instant(nanos: u64) -> Instant {
    const UP: u64 = 3_600_000_000_000;
    Instant::from_nanos(UP.saturating_add(nanos))
}

/// Pseudorandom numbers from a seed (SplitMix64).
#[derive(Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below this one.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// From `least` to `most`.
    pub fn between(&mut self, least: usize, most: usize) -> usize {
        least + self.below((most - least + 1) as u64) as usize
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize].clone()
    }
}
