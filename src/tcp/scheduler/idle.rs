//! Idle workers: their sleep, the choice of the worker to wake, and the watchdog. Part of [`Scheduler`]. A wake costs 3
//! to 8 µs, so workers are woken one at a time, and only if needed.

use std::time::Duration;

use super::super::sync::{self, AtomicBool, Instant, Mutex, Ordering, Thread, ThreadId, fence, park, park_timeout};
use super::load::LONG;
use super::{Padded, PerWorker, PollWaker, Scheduler, Worker, lock};

/// The sleeping workers.
#[derive(Default)]
pub struct IdleWorkers {
    asleep: Vec<usize>, // the last to fall asleep is woken first: its caches are warm
    watchdog: Option<usize>,
}

impl IdleWorkers {
    fn is_empty(&self) -> bool {
        self.asleep.is_empty() && self.watchdog.is_none()
    }
}

/// Lets a worker sleep, and wakes it.
#[derive(Default)]
pub struct Parker {
    pub thread: Mutex<Option<(Thread, ThreadId)>>,
    pub woken: AtomicBool,
}

/// A worker that began to wait inside the poll less than this ago counts as awake. Its clients are about to send again,
/// and on two cores a third worker would only take over connections of the two busy workers. CPU time for 64 clients of
/// `hello`: 0.88 together with the order of polls and draws in `Worker::next`, 1.01 without that order.
const LATELY: Duration = Duration::from_millis(2);
/// The time between two checks of the watchdog: a connection behind a blocked worker waits up to this long. Shorter
/// ticks would cost more (see `CALM_AFTER`).
const TICK: Duration = Duration::from_millis(1);
/// After this many ticks in a row without progress and without work the watchdog sleeps until it is woken. So an idle
/// server makes no system calls, and a short pause between requests does not end the ticks.
const QUIET_TICKS: u32 = 4;
/// After this many ticks in a row in which no handler was blocked and the watchdog did not step in, ticks last
/// `CALM_TICK` until either happens. A tick is a timer, two context switches and 10 to 20 µs of CPU time. At a thousand
/// ticks per second that was a quarter of the CPU time of a download at 450 MiB/s.
const CALM_AFTER: u32 = 64;
/// The length of a tick after `CALM_AFTER`: the first blocked worker is then found up to 3 ms later than with `TICK`.
const CALM_TICK: Duration = Duration::from_millis(4);
/// After a standstill of this many ticks, the watchdog becomes an ordinary worker even if no core is idle. Otherwise
/// connections could wait as long as other workers compute.
const LONG_STANDSTILL: u32 = 8;
/// The watchdog reads the kernel's state of up to this many long handlers, and counts the others as blocked. Each costs
/// about 5 µs, so a tick stays below 50 µs.
const ASKED_AT_MOST: usize = 8;

/// The watchdog's observations, tick by tick.
#[derive(Default)]
struct Watch {
    quiet: u32,   // ticks in a row without a standstill and without progress
    stalled: u32, // ticks in a row with a standstill
}

impl Watch {
    /// Records a tick. Returns whether the watchdog has to become an ordinary worker.
    fn steps_in(&mut self, is_stalled: bool, goes_on: bool, a_core_is_idle: bool) -> bool {
        self.quiet = if is_stalled || goes_on { 0 } else { self.quiet + 1 };
        self.stalled = if is_stalled { self.stalled + 1 } else { 0 };
        is_stalled && a_core_is_idle || self.stalled >= LONG_STANDSTILL
    }

    fn is_quiet(&self) -> bool {
        self.quiet >= QUIET_TICKS
    }
}

fn tick(calm: u32) -> Duration {
    if calm < CALM_AFTER { TICK } else { CALM_TICK }
}

/// Returns whether there is a standstill: between two counts of polls and draws, the poller was free, or no connection
/// was taken from a non-empty queue.
fn is_stalled(poller_free: bool, ready: bool, before: (u64, u64), after: (u64, u64)) -> bool {
    poller_free && before.0 == after.0 || ready && before.1 == after.1
}

/// Returns whether fewer workers than cores are running or runnable. If not, one more worker would serve no connection
/// sooner, and would take CPU time from clients on the same machine.
fn a_core_is_idle(awake: usize, cores: usize, blocked: usize) -> bool {
    awake < cores + blocked
}

/// Returns how many of the long handlers are blocked.
fn count_blocked<T>(long: impl Iterator<Item = T>, is_runnable: impl Fn(T) -> bool) -> usize {
    long.enumerate()
        .filter_map(|(asked, worker)| (asked >= ASKED_AT_MOST || !is_runnable(worker)).then_some(()))
        .count()
}

impl<C, P, W: PollWaker> Scheduler<C, P, W> {
    /// Wakes a worker if the queued work is worth it.
    pub fn wake_for_need(&self, now: Instant) {
        if self.needs_another(false, now) {
            self.wake_one();
        }
    }

    pub(super) fn needs_another(&self, unpolled: bool, now: Instant) -> bool {
        // Handlers that use the CPU gain nothing from more threads than cores. For them, only the watchdog wakes
        // workers. The length of the queue is checked last, because it takes the locks of all non-empty queues.
        (a_core_is_idle(self.busy(now), self.cores, self.load.stuck()) || self.load.blocks())
            && self.load.is_worth_a_wake(self.queue.len(), unpolled)
    }

    /// Returns how many workers are awake, including a worker that has just begun to wait inside the poll.
    fn busy(&self, now: Instant) -> usize {
        let lately = now.nanos().saturating_sub(LATELY.as_nanos() as u64);
        let polls = self.polling.load(Ordering::Relaxed) && self.waits_since.load(Ordering::Relaxed) > lately;
        self.awake.load(Ordering::Relaxed) + usize::from(polls)
    }

    /// Wakes one idle worker, or otherwise the worker that waits inside the poll. Only one worker is woken at a time.
    pub(super) fn wake_one(&self) {
        if self.searching.load(Ordering::SeqCst) {
            return;
        }
        let mut idle = lock(&self.idle);
        if idle.is_empty() {
            drop(idle);
            return self.wake_poller();
        }
        // Set only if there is a worker to wake, under the lock: a thread that sees this flag wakes no worker, and
        // relies on the worker that is searching.
        if self.searching.swap(true, Ordering::SeqCst) {
            return;
        }
        let worker = self.next_of(&mut idle);
        drop(idle);
        worker.into_iter().for_each(|worker| self.wake(worker));
    }

    /// Removes the idle worker to be woken first from the list.
    pub(super) fn next_idle(&self) -> Option<usize> {
        self.next_of(&mut lock(&self.idle))
    }

    /// Removes an idle worker from the list. The watchdog is taken last.
    fn next_of(&self, idle: &mut IdleWorkers) -> Option<usize> {
        idle.asleep.pop().or_else(|| {
            self.ticking.store(false, Ordering::SeqCst);
            idle.watchdog.take()
        })
    }

    pub(super) fn wake(&self, worker: usize) {
        let parker = &self.workers[worker].parker;
        parker.woken.store(true, Ordering::SeqCst);
        if let Some((thread, _)) = &*lock(&parker.thread) {
            self.wakes.fetch_add(1, Ordering::Relaxed);
            thread.unpark();
        }
    }

    /// Returns whether there is work. An idle worker checks this again after it has published that it is idle.
    fn something_waits(&self) -> bool {
        fence(Ordering::SeqCst); // partner: `Worker::begin`; the end is signalled under the lock of `idle`
        self.poller_free.load(Ordering::SeqCst) || !self.queue.is_empty() || self.is_over()
    }

    pub(super) fn sleep(&self, worker: &mut Worker<'_, C, P, W>) {
        if std::mem::take(&mut worker.woken) {
            self.searching.store(false, Ordering::SeqCst);
        }
        let ticks = self.enter_idle(worker);
        self.awake.fetch_sub(1, Ordering::SeqCst);
        // Checked only once: if two checks had different results, the watchdog could sleep while all other workers rely
        // on its ticks.
        let something_waits = self.something_waits();
        match ticks {
            _ if something_waits => {}
            true => self.watch(worker),
            false => self.park_until_woken(worker.me),
        }
        self.leave_idle(worker);
        self.awake.fetch_add(1, Ordering::SeqCst);
    }

    /// Lets a worker without connections of its own sleep, although others have some, if more handlers run than can
    /// compute at once and none of them is blocked. Returns whether it slept.
    pub(super) fn sleep_as_surplus(&self, worker: &mut Worker<'_, C, P, W>, now: Instant) -> bool {
        let awake = self.awake.load(Ordering::Relaxed);
        if awake <= self.cores + self.load.stuck() || self.load.blocks() {
            return false;
        }
        let enough = self.cores + self.load.stuck() + self.computing_long(now);
        if awake <= enough {
            return false;
        }
        let ticks = self.enter_idle(worker);
        // Others go on: two workers that sleep at the same moment both see it if fewer would be awake.
        let sleeps = self.awake.fetch_sub(1, Ordering::SeqCst) > enough && !self.is_over();
        match ticks {
            _ if !sleeps => {}
            true => self.watch(worker),
            false => self.park_until_woken(worker.me),
        }
        self.leave_idle(worker);
        self.awake.fetch_add(1, Ordering::SeqCst);
        sleeps
    }

    /// Adds a worker to the list of idle workers. Returns whether it is the watchdog.
    fn enter_idle(&self, worker: &Worker<'_, C, P, W>) -> bool {
        self.workers[worker.me].parker.woken.store(false, Ordering::SeqCst);
        let mut idle = lock(&self.idle);
        let ticks = !worker.rested && idle.watchdog.is_none();
        if ticks {
            idle.watchdog = Some(worker.me);
            self.ticking.store(true, Ordering::SeqCst);
        } else {
            idle.asleep.push(worker.me);
        }
        ticks
    }

    fn park_until_woken(&self, me: usize) {
        while !self.workers[me].parker.woken.load(Ordering::SeqCst) {
            park();
        }
    }

    /// Runs the loop of the watchdog, which sleeps for a tick at a time. The watchdog becomes an ordinary worker if
    /// nothing progressed since the last tick because workers are blocked. After some quiet ticks it sleeps until it is
    /// woken.
    fn watch(&self, worker: &mut Worker<'_, C, P, W>) {
        let mut seen = self.progress();
        let mut watch = Watch::default();
        while !watch.is_quiet() {
            let calm = self.calm.load(Ordering::Relaxed);
            park_timeout(tick(calm));
            if self.workers[worker.me].parker.woken.load(Ordering::SeqCst) {
                return;
            }
            let now = sync::now();
            let blocked = self.blocked_longer_than(LONG, now);
            self.load.count_stuck(blocked);
            let progress = self.progress();
            let (poller_free, ready) = (self.poller_free.load(Ordering::SeqCst), !self.queue.is_empty());
            let is_stalled = is_stalled(poller_free, ready, seen, progress);
            if watch.steps_in(is_stalled, progress != seen, a_core_is_idle(self.busy(now), self.cores, blocked)) {
                self.calm.store(0, Ordering::Relaxed);
                return;
            }
            self.calm.store(if blocked == 0 { calm.saturating_add(1) } else { 0 }, Ordering::Relaxed);
            seen = progress;
        }
        worker.rested = true;
        {
            let mut idle = lock(&self.idle);
            if idle.watchdog != Some(worker.me) {
                return; // woken a moment ago
            }
            idle.watchdog = None;
            self.ticking.store(false, Ordering::SeqCst);
            idle.asleep.push(worker.me);
        }
        if !self.something_waits() {
            self.park_until_woken(worker.me);
        }
    }

    /// Leaves the list of idle workers. A worker that is not in the list has been woken, and searches.
    fn leave_idle(&self, worker: &mut Worker<'_, C, P, W>) {
        let mut idle = lock(&self.idle);
        if idle.watchdog == Some(worker.me) {
            idle.watchdog = None;
            self.ticking.store(false, Ordering::SeqCst);
        } else if let Some(at) = idle.asleep.iter().position(|idle| *idle == worker.me) {
            idle.asleep.remove(at);
        } else {
            worker.woken = true;
            worker.rested = false;
        }
    }

    /// Returns how many handlers are expected to have computed for longer than the watchdog lets connections wait. For
    /// each there is another worker, or that worker would sleep after each turn until the watchdog steps in again.
    fn computing_long(&self, now: Instant) -> usize {
        let long = self.running_longer_than(TICK * LONG_STANDSTILL, now).count();
        long.saturating_sub(self.load.stuck()).min(self.cores) // no more than that compute, and others wait for the lock
    }

    fn running_longer_than(&self, limit: Duration, now: Instant) -> impl Iterator<Item = &Padded<PerWorker>> {
        let before = now.nanos().saturating_sub(limit.as_nanos() as u64);
        self.workers.iter().filter(move |worker| (1..before).contains(&worker.running_since.load(Ordering::Relaxed)))
    }

    /// Returns how many workers have been in code that may block for longer than this, and wait for something other
    /// than a core. (If clients use the same cores, a worker that computes for microseconds is often not scheduled for
    /// milliseconds.)
    fn blocked_longer_than(&self, limit: Duration, now: Instant) -> usize {
        let is_runnable =
            |worker: &Padded<PerWorker>| matches!(&*lock(&worker.parker.thread), Some((_, id)) if id.is_runnable());
        count_blocked(self.running_longer_than(limit, now), is_runnable)
    }

    /// Returns the number of polls and of draws so far.
    fn progress(&self) -> (u64, u64) {
        let draws = self.workers.iter().map(|worker| worker.draws.load(Ordering::Relaxed));
        (self.polls.load(Ordering::Relaxed), draws.fold(0, u64::wrapping_add))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row is a tick. Its inputs: whether there is a standstill, progress, an idle core. Its results: whether the
    /// watchdog becomes a worker, and whether it is quiet.
    #[test]
    fn the_watchdog_steps_in_for_an_idle_core_or_after_eight_ticks() {
        type Row = ((bool, bool, bool), (bool, bool));
        let quiet = ((false, false, true), (false, false));
        let is_stalled: Row = ((true, true, false), (false, false));
        let rows: [(&str, Vec<Row>); 5] = [
            ("nothing to do", vec![quiet, quiet, quiet, ((false, false, true), (false, true))]),
            ("quiet in a row", vec![quiet, quiet, quiet, ((false, true, true), (false, false)), quiet]),
            ("a core is idle", vec![quiet, quiet, quiet, is_stalled, quiet, ((true, false, true), (true, false))]),
            ("none is", [vec![is_stalled; 7], vec![((true, false, false), (true, false))]].concat()),
            (
                "none is, not in a row",
                [vec![is_stalled; 7], vec![((false, true, false), (false, false)), is_stalled]].concat(),
            ),
        ];
        for (what, ticks) in rows {
            let mut watch = Watch::default();
            for (tick, ((is_stalled, goes_on, a_core_is_idle), seen)) in ticks.into_iter().enumerate() {
                let steps_in = watch.steps_in(is_stalled, goes_on, a_core_is_idle);
                assert_eq!((steps_in, watch.is_quiet()), seen, "{what}, tick {tick}");
            }
        }
    }

    #[test]
    fn ticks_slow_down_when_quiet() {
        assert_eq!([0, 63, 64, u32::MAX].map(|calm| tick(calm).as_millis()), [1, 1, 4, 4]);
    }

    #[test]
    fn a_core_is_idle_unless_enough_workers_are_runnable() {
        for (awake, cores, blocked, idle) in
            [(1, 2, 0, true), (2, 2, 0, false), (3, 2, 0, false), (2, 2, 1, true), (3, 2, 1, false), (4, 2, 1, false)]
        {
            assert_eq!(a_core_is_idle(awake, cores, blocked), idle, "{awake} awake, {blocked} blocked, {cores} cores");
        }
    }

    #[test]
    fn workers_not_sampled_count_as_blocked() {
        for (long, runnable, blocked) in [(0, 0, 0), (3, 0, 3), (3, 2, 1), (8, 8, 0), (9, 9, 1), (12, 12, 4)] {
            let asked = std::cell::Cell::new(0);
            let is_runnable = |number| {
                asked.set(asked.get() + 1);
                number < runnable
            };
            assert_eq!(count_blocked(0..long, is_runnable), blocked, "{runnable} of {long}");
            assert_eq!(asked.get(), long.min(8));
        }
    }

    #[test]
    fn stalled_work_is_detected() {
        for (poller_free, ready, after, expected) in [
            (true, false, (1, 2), true),
            (true, false, (1, 3), true),
            (true, false, (2, 2), false),
            (false, true, (1, 2), true),
            (false, true, (2, 2), true),
            (false, true, (1, 3), false),
            (true, true, (2, 3), false),
            (false, false, (1, 2), false),
        ] {
            let row = format!("free: {poller_free}, ready: {ready}, {after:?}");
            assert_eq!(is_stalled(poller_free, ready, (1, 2), after), expected, "{row}");
        }
    }
}
