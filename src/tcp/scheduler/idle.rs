//! Workers with nothing to do: who sleeps, who is woken, and who stands by.
//! A part of [`Scheduler`]; a wake is what costs (3 to 8 µs each), so there is one at a time, and only for need.

use std::time::{Duration, Instant};

use super::super::sync::{AtomicBool, Mutex, Ordering, Thread, fence, park, park_timeout};
use super::load::LONG;
use super::{PollWaker, Scheduler, Worker, lock};

/// Who sleeps.
#[derive(Default)]
pub struct IdleWorkers {
    asleep: Vec<usize>, // the latest to lie down is the first to be woken: its caches are warm
    watchdog: Option<usize>,
}

/// Where a worker sleeps.
#[derive(Default)]
pub struct Parker {
    pub thread: Mutex<Option<Thread>>,
    pub woken: AtomicBool,
}

const TICK: Duration = Duration::from_millis(1);
const QUIET_TICKS: u32 = 4;

impl<C, P, B: PollWaker> Scheduler<C, P, B> {
    /// Wake somebody if what waits in the queue is worth it.
    pub fn wake_for_need(&self) {
        if !self.queue.is_empty() && self.needs_a_hand(self.queue.len()) {
            self.wake_one();
        }
    }

    pub(super) fn needs_a_hand(&self, waiting: usize) -> bool {
        // Handlers that burn CPU gain nothing from more threads than cores; then only the tick wakes.
        self.load.is_worth_a_wake(waiting)
            && (self.awake.load(Ordering::Relaxed) < self.cores + self.load.running_long() || self.load.blocks())
    }

    /// Wake one worker, or else whoever waits in the poll. One at a time.
    pub(super) fn wake_one(&self) {
        if self.searching.swap(true, Ordering::SeqCst) {
            return;
        }
        match self.next_idle() {
            Some(worker) => self.wake(worker),
            None => {
                self.searching.store(false, Ordering::SeqCst);
                self.wake_poller();
            }
        }
    }

    /// The worker to be woken first, off the list; the watchdog last.
    pub(super) fn next_idle(&self) -> Option<usize> {
        let mut idle = lock(&self.idle);
        idle.asleep.pop().or_else(|| {
            self.ticking.store(false, Ordering::SeqCst);
            idle.watchdog.take()
        })
    }

    pub(super) fn wake(&self, worker: usize) {
        let parker = &self.parkers[worker];
        parker.woken.store(true, Ordering::SeqCst);
        if let Some(thread) = &*lock(&parker.thread) {
            thread.unpark();
        }
    }

    /// Something waits for a worker: what a worker looks at once more after it said that it sleeps.
    fn something_waits(&self) -> bool {
        fence(Ordering::SeqCst);
        self.poller_free.load(Ordering::SeqCst) || !self.queue.is_empty() || self.is_over()
    }

    pub(super) fn sleep(&self, worker: &mut Worker) {
        if std::mem::take(&mut worker.woken) {
            self.searching.store(false, Ordering::SeqCst);
        }
        self.parkers[worker.me].woken.store(false, Ordering::SeqCst);
        let ticks = {
            let mut idle = lock(&self.idle);
            let ticks = !worker.rested && idle.watchdog.is_none();
            if ticks {
                idle.watchdog = Some(worker.me);
                self.ticking.store(true, Ordering::SeqCst);
            } else {
                idle.asleep.push(worker.me);
            }
            ticks
        };
        self.awake.fetch_sub(1, Ordering::SeqCst);
        if ticks && !self.something_waits() {
            self.watch(worker);
        } else if !self.something_waits() {
            self.lie_until_woken(worker.me);
        }
        self.get_up(worker);
        self.awake.fetch_add(1, Ordering::SeqCst);
    }

    fn lie_until_woken(&self, me: usize) {
        while !self.parkers[me].woken.load(Ordering::SeqCst) {
            park();
        }
    }

    /// Sleep by the tick, and go to work where the poller has lain, or the queue has stood, since the last one:
    /// then a handler is blocking. After some quiet ticks: sleep soundly.
    fn watch(&self, worker: &mut Worker) {
        let mut seen = self.progress();
        let mut quiet = 0;
        while quiet < QUIET_TICKS {
            park_timeout(TICK);
            if self.parkers[worker.me].woken.load(Ordering::SeqCst) {
                return;
            }
            self.load.count_long(lock(&self.permits).longer_than(LONG, Instant::now()));
            let progress = self.progress();
            let poller_lay = self.poller_free.load(Ordering::SeqCst) && progress.0 == seen.0;
            let queue_stood = !self.queue.is_empty() && progress.1 == seen.1;
            if poller_lay || queue_stood || self.is_over() {
                return;
            }
            quiet = if progress == seen { quiet + 1 } else { 0 };
            seen = progress;
        }
        worker.rested = true;
        {
            let mut idle = lock(&self.idle);
            if idle.watchdog != Some(worker.me) {
                return; // woken this moment
            }
            idle.watchdog = None;
            self.ticking.store(false, Ordering::SeqCst);
            idle.asleep.push(worker.me);
        }
        if !self.something_waits() {
            self.lie_until_woken(worker.me);
        }
    }

    /// Strike oneself off the list; whoever is no longer on it was woken, and searches.
    fn get_up(&self, worker: &mut Worker) {
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

    fn progress(&self) -> (u64, u64) {
        (self.polls.load(Ordering::Relaxed), self.draws.load(Ordering::Relaxed))
    }
}
