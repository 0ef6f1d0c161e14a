//! The simulated machine: its clock, its chance, who waits for what, and what of a run went wrong.
//!
//! All threads of a run are coroutines of one thread of the test, so what they share lies in a thread-local, and nothing
//! is switched but at [`switch`] and [`wait`].

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

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Nothing but the time.
    Time,
    Lock(usize),
    Condvar(usize),
    /// Its own `unpark`.
    Park(usize),
    Poll,
    /// Something about this connection, as its client sees it.
    Socket(usize),
    /// Something about this connection, as a stream of the server that blocks sees it.
    Stream(usize),
    Backlog,
    /// A count of the run: clients that have ended, answers, workers.
    Counts,
}

struct Waiting {
    thread: usize,
    key: Key,
    until: u64,
    waker: Waker,
    woken: Rc<Cell<bool>>,
}

/// One run's machine.
pub struct Machine {
    pub chance: Chance,
    pub plan: Plan,
    pub net: Net,
    pub counts: Counts,
    /// What each client waits for.
    pub awaiting: Vec<Option<Awaiting>>,
    nanos: u64,
    waiting: Vec<Waiting>,
    /// Who was unparked before it parked.
    pub tokens: Vec<bool>,
    /// Locks taken since anybody waited, or did something with the network.
    pub locks: usize,
    log: Option<VecDeque<String>>,
    pub over: bool,
    /// The process was stopped, and goes on: whoever waits inside the poll is to hear of that first.
    pub continued: bool,
    pub has_stopped: bool,
}

/// What is counted of a run, and must come out even.
#[derive(Default)]
pub struct Counts {
    pub clients_left: usize,
    /// Answers each client has read.
    pub answers: Vec<usize>,
    pub workers: usize,
    pub deaths: usize,
    /// Threads inside code of the user that waits for something.
    pub blocked: usize,
    /// Handlers that run.
    pub handling: usize,
    /// Streams that have a thread.
    pub streams: usize,
    /// Threads inside the logger that blocks.
    pub logging: usize,
    /// Threads inside the engine that sleep for want of something better to do.
    pub engine_sleeps: usize,
    /// How often a worker has yielded its core.
    pub yields: usize,
    pub conversations: usize,
    pub shared_bytes: usize,
    /// What callers have written so far, and told the subscribers.
    pub news: u64,
    pub refused: usize,
    pub shutdown: bool,
    pub shutdown_now: bool,
    /// When the shutdown timeout has passed.
    pub cut_off_at: Option<u64>,
    /// Threads that still call subscribers.
    pub callers: usize,
    /// `serve_forever` has returned, with an error.
    pub served: bool,
    pub failed: bool,
}

pub const FOR_EVER: u64 = u64::MAX;

thread_local! {
    static MACHINE: RefCell<Option<Machine>> = const { RefCell::new(None) };
    static FAILURE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Do something with the machine, at once.
pub fn with<R>(action: impl FnOnce(&mut Machine) -> R) -> R {
    MACHINE.with(|machine| action(machine.borrow_mut().as_mut().expect("a run is under way")))
}

/// Who waits for this goes on, if a run is under way.
pub fn wake(key: Key) {
    if_under_way(|machine| machine.wake(key));
}

/// The machine of a new run.
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

/// The log of the last run, if one was kept.
pub fn log_of_failure() -> Vec<String> {
    MACHINE.with(|machine| {
        let mut machine = machine.borrow_mut();
        machine.as_mut().and_then(|machine| machine.log.take()).map_or(Vec::new(), Vec::from)
    })
}

/// What the run is to fail for, if it is: seen by the scheduler, for a panic may end in a `contain`.
pub fn failure() -> Option<String> {
    FAILURE.with(|failure| failure.borrow_mut().take())
}

/// The run fails; the first reason is told.
pub fn fail(why: String) {
    FAILURE.with(|failure| {
        failure.borrow_mut().get_or_insert(why);
    });
}

/// Something for the log of a run that is replayed.
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

    /// Who waits for this goes on.
    pub fn wake(&mut self, key: Key) {
        self.wake_if(|waiting| waiting.key == key);
    }

    /// Streams that block look again.
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

    /// Time passes; who waited until then goes on.
    pub fn advance(&mut self, nanos: u64) {
        self.nanos = self.nanos.max(nanos);
        let now = self.nanos;
        self.wake_if(|waiting| waiting.until <= now);
        if self.net.time_passes(now) {
            self.wake(Key::Poll);
        }
        self.wake_streams();
    }

    /// The process is stopped for so long (SIGSTOP, a laptop's lid), and its clients wait: what they have sent is there when it
    /// goes on. Whoever has sent nothing, or reads nothing, may be given up.
    pub fn stop_for(&mut self, nanos: u64) {
        self.note(|| format!("the process is stopped for {nanos} ns"));
        for socket in &mut self.net.sockets {
            socket.facts.may_close |= socket.up.is_empty();
            socket.facts.may_break |= !socket.down.is_empty();
        }
        (self.continued, self.has_stopped) = (true, true);
        self.plan.stops = false;
        self.advance(self.nanos + nanos);
    }

    /// When somebody or something is due next.
    pub fn next_due(&self) -> Option<u64> {
        let until = self.waiting.iter().map(|waiting| waiting.until).chain(self.net.next_due()).min();
        until.filter(|until| *until != FOR_EVER)
    }

    /// Whether this thread waits for nothing.
    pub fn is_runnable(&self, thread: usize) -> bool {
        self.waiting.iter().all(|waiting| waiting.thread != thread)
    }

    /// Who waits for what, for a report.
    pub fn describe_waiting_tasks(&self) -> String {
        let keys: Vec<String> = self.waiting.iter().map(|waiting| format!("{:?}", waiting.key)).collect();
        keys.join(", ")
    }

    /// Some may have been evicted for others so far.
    pub fn room_was_short(&self) -> bool {
        self.net.accept_trouble_until > 0 || self.net.sockets.len() > self.plan.capacity()
    }

    /// There is room for one more at this moment, and accepting does not fail.
    pub fn has_room(&self) -> bool {
        let open = self.net.sockets.iter().filter(|socket| socket.server_open).count();
        open < self.plan.max_connections && self.net.descriptors > 0 && self.net.accept_trouble_until <= self.nanos
    }

    /// The shutdown timeout has passed.
    pub fn is_cut_off(&self) -> bool {
        self.counts.cut_off_at.is_some_and(|at| at <= self.nanos)
    }

    /// How many threads are parked until somebody unparks them.
    pub fn asleep(&self) -> usize {
        let sleeps = |waiting: &&Waiting| matches!(waiting.key, Key::Park(_)) && waiting.until == FOR_EVER;
        self.waiting.iter().filter(sleeps).count()
    }

    /// Something that happens so many times in a thousand.
    pub fn happens(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.chance.below(1000) < u64::from(per_mille)
    }
}

/// The number of the running thread.
pub fn me() -> usize {
    shuttle::current::get_current_task().map_or(0, usize::from)
}

/// Whether this thread is part of a run: the engine's own unit tests are compiled here, too, and are not.
fn is_under_way() -> bool {
    MACHINE.with(|machine| machine.try_borrow().is_ok_and(|machine| machine.is_some()))
}

/// Do something with the machine, if a run is under way.
pub fn if_under_way<R>(action: impl FnOnce(&mut Machine) -> R) -> Option<R> {
    is_under_way().then(|| with(action))
}

/// Another thread may run here. Not while a panic unwinds: then others would seem to panic.
pub fn switch() {
    if !std::thread::panicking() && is_under_way() {
        shuttle::thread::sleep(Duration::ZERO);
    }
}

/// So many locks one after the other, with nobody waiting and nothing done with the network, are taken by somebody who
/// looks for work without rest.
const MOST_LOCKS: usize = 2000;

/// A lock is taken.
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

/// Wait, once, until this happens or that time comes. Whoever looked right before it misses nothing.
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

/// Wait until there is an answer; `None`: not until then.
pub fn wait_for<R>(key: Key, until: u64, mut look: impl FnMut(&mut Machine) -> Option<R>) -> Option<R> {
    loop {
        let (found, now) = with(|machine| (look(machine), machine.nanos));
        if found.is_some() || until <= now {
            return found;
        }
        wait(key, until);
    }
}

/// Do nothing for so long.
pub fn sleep(limit: Duration) {
    let until = after(limit);
    wait_for(Key::Time, until, |_| None::<()>);
}

/// The time so long from now.
pub fn after(limit: Duration) -> u64 {
    with(|machine| machine.nanos.saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(FOR_EVER)))
}

/// The simulated time as the engine sees it: the machine has been up for an hour.
pub fn instant(nanos: u64) -> Instant {
    const UP: u64 = 3_600_000_000_000;
    Instant::from_nanos(UP.saturating_add(nanos))
}

/// Chance, from a seed (SplitMix64).
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
