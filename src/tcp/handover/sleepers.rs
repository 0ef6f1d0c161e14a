//! Workers with nothing to do: who sleeps, who is woken, and who stands by.
//! A part of [`Hands`]; a wake is what costs (3 to 8 µs each), so there is one at a time, and only for need.

use std::time::{Duration, Instant};

use super::super::sync::{AtomicBool, Mutex, Ordering, Thread, fence, park, park_timeout};
use super::pace::LONG;
use super::{Bell, Hands, Worker, lock};

/// Who sleeps.
#[derive(Default)]
pub struct Sleepers {
    asleep: Vec<usize>, // the latest to lie down is the first to be woken: its caches are warm
    standby: Option<usize>,
}

/// Where a worker sleeps.
#[derive(Default)]
pub struct Berth {
    pub thread: Mutex<Option<Thread>>,
    pub woken: AtomicBool,
}

const TICK: Duration = Duration::from_millis(1);
const QUIET_TICKS: u32 = 4;

impl<C, P, B: Bell> Hands<C, P, B> {
    /// Wake somebody if what waits in the queue is worth it.
    pub fn wake_for_need(&self) {
        if !self.queue.is_empty() && self.needs_a_hand(self.queue.len()) {
            self.wake_one();
        }
    }

    pub(super) fn needs_a_hand(&self, waiting: usize) -> bool {
        // Handlers that burn CPU gain nothing from more threads than cores; then only the tick wakes.
        self.pace.is_worth_a_wake(waiting)
            && (self.awake.load(Ordering::Relaxed) < self.cores + self.pace.running_long() || self.pace.blocks())
    }

    /// Wake one sleeper, or else whoever waits in the poll. One at a time.
    pub(super) fn wake_one(&self) {
        if self.searching.swap(true, Ordering::SeqCst) {
            return;
        }
        match self.next_sleeper() {
            Some(sleeper) => self.wake(sleeper),
            None => {
                self.searching.store(false, Ordering::SeqCst);
                self.ring_if_polling();
            }
        }
    }

    /// The sleeper to be woken first, off the list; the standby last.
    pub(super) fn next_sleeper(&self) -> Option<usize> {
        let mut sleepers = lock(&self.sleepers);
        sleepers.asleep.pop().or_else(|| {
            self.ticking.store(false, Ordering::SeqCst);
            sleepers.standby.take()
        })
    }

    pub(super) fn wake(&self, sleeper: usize) {
        let berth = &self.berths[sleeper];
        berth.woken.store(true, Ordering::SeqCst);
        if let Some(thread) = &*lock(&berth.thread) {
            thread.unpark();
        }
    }

    /// Something waits for a worker: what a sleeper looks at once more after it said that it sleeps.
    fn something_waits(&self) -> bool {
        fence(Ordering::SeqCst);
        self.racked.load(Ordering::SeqCst) || !self.queue.is_empty() || self.is_over()
    }

    pub(super) fn sleep(&self, worker: &mut Worker) {
        if std::mem::take(&mut worker.woken) {
            self.searching.store(false, Ordering::SeqCst);
        }
        self.berths[worker.me].woken.store(false, Ordering::SeqCst);
        let ticks = {
            let mut sleepers = lock(&self.sleepers);
            let ticks = !worker.rested && sleepers.standby.is_none();
            if ticks {
                sleepers.standby = Some(worker.me);
                self.ticking.store(true, Ordering::SeqCst);
            } else {
                sleepers.asleep.push(worker.me);
            }
            ticks
        };
        self.awake.fetch_sub(1, Ordering::SeqCst);
        if ticks && !self.something_waits() {
            self.stand_by(worker);
        } else if !self.something_waits() {
            self.lie_until_woken(worker.me);
        }
        self.get_up(worker);
        self.awake.fetch_add(1, Ordering::SeqCst);
    }

    fn lie_until_woken(&self, me: usize) {
        while !self.berths[me].woken.load(Ordering::SeqCst) {
            park();
        }
    }

    /// Sleep by the tick, and go to work where the poller has lain, or the queue has stood, since the last one:
    /// then a handler is blocking. After some quiet ticks: sleep soundly.
    fn stand_by(&self, worker: &mut Worker) {
        let mut seen = self.progress();
        let mut quiet = 0;
        while quiet < QUIET_TICKS {
            park_timeout(TICK);
            if self.berths[worker.me].woken.load(Ordering::SeqCst) {
                return;
            }
            self.pace.count_long(lock(&self.slots).longer_than(LONG, Instant::now()));
            let progress = self.progress();
            let poller_lay = self.racked.load(Ordering::SeqCst) && progress.0 == seen.0;
            let queue_stood = !self.queue.is_empty() && progress.1 == seen.1;
            if poller_lay || queue_stood || self.is_over() {
                return;
            }
            quiet = if progress == seen { quiet + 1 } else { 0 };
            seen = progress;
        }
        worker.rested = true;
        {
            let mut sleepers = lock(&self.sleepers);
            if sleepers.standby != Some(worker.me) {
                return; // woken this moment
            }
            sleepers.standby = None;
            self.ticking.store(false, Ordering::SeqCst);
            sleepers.asleep.push(worker.me);
        }
        if !self.something_waits() {
            self.lie_until_woken(worker.me);
        }
    }

    /// Strike oneself off the list; whoever is no longer on it was woken, and searches.
    fn get_up(&self, worker: &mut Worker) {
        let mut sleepers = lock(&self.sleepers);
        if sleepers.standby == Some(worker.me) {
            sleepers.standby = None;
            self.ticking.store(false, Ordering::SeqCst);
        } else if let Some(at) = sleepers.asleep.iter().position(|sleeper| *sleeper == worker.me) {
            sleepers.asleep.remove(at);
        } else {
            worker.woken = true;
            worker.rested = false;
        }
    }

    fn progress(&self) -> (u64, u64) {
        (self.polls.load(Ordering::Relaxed), self.draws.load(Ordering::Relaxed))
    }
}
