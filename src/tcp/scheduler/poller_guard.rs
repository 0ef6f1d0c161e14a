//! The poller, which one worker at a time holds, and the flags that are published while that worker waits inside the
//! poll. Part of [`Scheduler`]; used by `workers`.

use super::super::sync::{Instant, Ordering, fence};
use super::{PollWaker, Scheduler, lock};

/// The poller, held by one worker. Dropping it makes the poller free again.
pub struct PollerGuard<'a, C, P, W: PollWaker> {
    poller: Option<P>,
    scheduler: &'a Scheduler<C, P, W>,
}

/// How long the poller may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// The poll must not wait, because there is work.
    None,
    /// The poll can wait until this time. `None`: forever.
    Until(Option<Instant>),
}

impl<C, P, W: PollWaker> PollerGuard<'_, C, P, W> {
    /// Calls `poll` with the time that it can wait. Meanwhile other threads see that this worker waits, and wake it for
    /// new work.
    pub fn wait<R>(&mut self, now: Instant, poll: impl FnOnce(&mut P, Patience) -> R) -> R {
        let scheduler = self.scheduler;
        scheduler.waits_since.store(now.nanos(), Ordering::Relaxed);
        let polling = Polling::begin(scheduler);
        let deadline = scheduler.table.deadline();
        let queue = match scheduler.wanted.load(Ordering::Relaxed) {
            0 => None, // a connection that queues after this sees `polling`, and wakes the poller
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

    /// Records the end of a poll, after its connections have been queued.
    pub fn polled(&self, now: Instant) {
        let scheduler = self.scheduler;
        scheduler.polled.store(now.nanos(), Ordering::Relaxed);
        scheduler.polls.fetch_add(1, Ordering::Relaxed);
    }

    pub fn poller(&mut self) -> &mut P {
        self.poller.as_mut().expect("held until dropped")
    }
}

impl<C, P, W: PollWaker> Drop for PollerGuard<'_, C, P, W> {
    fn drop(&mut self) {
        // `poller_free` is stored under the lock. If it were stored later, it could be true after the poller was taken
        // again, and workers that look for work would spin.
        let mut poller = lock(&self.scheduler.poller);
        *poller = self.poller.take();
        self.scheduler.poller_free.store(true, Ordering::SeqCst);
    }
}

/// Publishes that a worker waits inside the poll, until this is dropped.
struct Polling<'a, C, P, W: PollWaker>(&'a Scheduler<C, P, W>);

impl<'a, C, P, W: PollWaker> Polling<'a, C, P, W> {
    fn begin(scheduler: &'a Scheduler<C, P, W>) -> Self {
        scheduler.polling.store(true, Ordering::SeqCst);
        scheduler.table.begin_wait();
        scheduler.awake.fetch_sub(1, Ordering::Relaxed);
        fence(Ordering::SeqCst); // partners: `wake_poller`, `begin`, `ShardedTable::park`; the checks follow
        Polling(scheduler)
    }
}

impl<C, P, W: PollWaker> Drop for Polling<'_, C, P, W> {
    fn drop(&mut self) {
        self.0.polling.store(false, Ordering::SeqCst);
        self.0.awake.fetch_add(1, Ordering::Relaxed);
        self.0.table.end_wait();
    }
}

impl<C, P, W: PollWaker> Scheduler<C, P, W> {
    pub(super) fn take_poller(&self) -> Option<PollerGuard<'_, C, P, W>> {
        if !self.poller_free.load(Ordering::SeqCst) {
            return None;
        }
        let mut poller = lock(&self.poller);
        let poller = poller.take()?;
        self.poller_free.store(false, Ordering::SeqCst);
        Some(PollerGuard { poller: Some(poller), scheduler: self })
    }
}
