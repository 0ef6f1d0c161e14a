//! Chooses the next task of a worker, and keeps its permit from turn to turn. Called by `workers`; a part of
//! [`Scheduler`].

use std::time::Duration;

use super::super::sync::{self, Instant, Ordering, current, fence, thread_id};
use super::queue::Ready;
use super::{Admission, Class, MayBlock, PollWaker, PollerGuard, Scheduler, Work, lock};

pub enum Task<'a, C, P, W: PollWaker> {
    /// Take a turn with this connection.
    Serve(C),
    /// Wait inside the poll until a connection is ready, and return the poller by dropping the guard.
    Poll(PollerGuard<'a, C, P, W>),
    /// Poll without waiting, and queue everything.
    PollNow(PollerGuard<'a, C, P, W>),
    Exit,
}

/// The state that one worker keeps between turns. Created by [`Scheduler::arrive`].
pub struct Worker<'a, C, P, W: PollWaker> {
    pub(super) me: usize,
    scheduler: &'a Scheduler<C, P, W>,
    /// The worker keeps its permit from turn to turn while no connection waits for one. Releasing and acquiring it for
    /// each turn would cost two contended locks.
    permit: Option<Permit<'a, C, P, W>>,
    pub(super) woken: bool,
    pub(super) rested: bool, // it stopped ticking as the watchdog, and has not been woken since
    found_nothing: bool,     // its last poll found nothing, so connections of other workers come first, once
    turns: u32,
    draws: u64,
    draws_at_poll: u64, // `draws` when this worker last noticed that a poll had ended
    polls_seen: u64,
}

/// A poll is overdue after this many draws of a worker, or after `TIME_BETWEEN_POLLS` (invariant 4). Without these
/// limits a queue that never empties would keep parked and new clients waiting.
const DRAWS_BETWEEN_POLLS: u64 = 64;
const TIME_BETWEEN_POLLS: Duration = Duration::from_millis(1);

impl<C, P, W: PollWaker> Scheduler<C, P, W> {
    /// Registers a worker, on its own thread. Also called for the replacement of a worker that died.
    pub fn arrive(&self, me: usize) -> Worker<'_, C, P, W> {
        *lock(&self.workers[me].parker.thread) = Some((current(), thread_id()));
        self.workers[me].running_since.store(0, Ordering::Relaxed);
        Worker {
            me,
            scheduler: self,
            permit: None,
            woken: false,
            rested: false,
            found_nothing: false,
            turns: 0,
            draws: 0,
            draws_at_poll: 0,
            polls_seen: 0,
        }
    }
}

/// Choosing tasks.
impl<'a, C, P, W: PollWaker> Worker<'a, C, P, W> {
    /// Returns the next task of this worker. It sleeps while there is none. A sleep updates `now`, because a turn with
    /// the earlier time would judge deadlines wrongly.
    pub fn next(&mut self, now: &mut Instant) -> Task<'a, C, P, W> {
        let scheduler = self.scheduler;
        let mut overdue = self.poll_is_overdue(*now);
        let mut sleeps_as_surplus = scheduler.compute_alone; // not again after it has been woken
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
            if sleeps_as_surplus && scheduler.sleep_as_surplus(self, *now) {
                (sleeps_as_surplus, overdue, *now) = (false, false, sync::now());
                continue;
            }
            // A poll comes before connections that another worker has polled, unless workers are blocked. So each of
            // two busy workers polls for itself, and neither goes idle just to be woken again. (64 clients of `hello`
            // on two cores: 0.88 of the CPU time of the opposite order.)
            let found_nothing = std::mem::take(&mut self.found_nothing);
            let others_first = others_come_first(found_nothing, scheduler.load.stuck(), scheduler.load.blocks());
            if !others_first && let Some(guard) = scheduler.take_poller() {
                self.found();
                return Task::Poll(guard);
            }
            if let Some(connection) = self.draw_of_others() {
                self.found();
                return Task::Serve(connection);
            }
            if others_first && let Some(guard) = scheduler.take_poller() {
                self.found();
                return Task::Poll(guard);
            }
            scheduler.sleep(self);
            (sleeps_as_surplus, overdue, *now) = (false, false, sync::now());
        }
    }

    /// Records how many connections its poll has found.
    pub fn polled(&mut self, caught: usize) {
        self.found_nothing = caught == 0;
    }

    fn draw(&mut self) -> Option<C> {
        let ready = self.scheduler.queue.pop(self.me, self.draws)?;
        Some(self.drawn(ready))
    }

    fn draw_of_others(&mut self) -> Option<C> {
        let ready = self.scheduler.queue.pop_of_others(self.me)?;
        Some(self.drawn(ready))
    }

    fn drawn(&mut self, Ready { connection, granted }: Ready<C>) -> C {
        let scheduler = self.scheduler;
        self.draws += 1;
        scheduler.workers[self.me].draws.store(self.draws, Ordering::Relaxed);
        if let Some(class) = granted {
            let granted = Permit { class: Some(class), scheduler };
            match &self.permit {
                Some(held) if held.is_good_for(Work::Handler) => drop(granted),
                _ => self.permit = Some(granted), // the held permit is released
            }
        }
        connection
    }

    fn poll_is_overdue(&mut self, now: Instant) -> bool {
        let scheduler = self.scheduler;
        if !scheduler.poller_free.load(Ordering::Relaxed) {
            return false; // another worker polls
        }
        let polls = scheduler.polls.load(Ordering::Relaxed);
        if polls != self.polls_seen {
            (self.polls_seen, self.draws_at_poll) = (polls, self.draws);
        }
        let polled = Instant::from_nanos(scheduler.polled.load(Ordering::Relaxed));
        let is_due = self.draws - self.draws_at_poll >= DRAWS_BETWEEN_POLLS
            || now.saturating_duration_since(polled) > TIME_BETWEEN_POLLS;
        is_due && !scheduler.queue.is_empty() // with an empty queue, the poll comes next anyway
    }

    /// Acquires a permit for this work, if the one it holds is suitable or another is free.
    pub fn acquire_permit(&mut self, work: Work) -> Option<MayBlock> {
        if !self.permit.as_ref().is_some_and(|permit| permit.is_good_for(work)) {
            let scheduler = self.scheduler;
            let class = scheduler.with_permits(|permits| permits.try_acquire(work))?;
            self.permit = Some(Permit { class: Some(class), scheduler }); // an unsuitable permit is released
        }
        Some(MayBlock::granted(work))
    }

    /// Returns whether connections wait for permits. Then a worker releases a permit that it has used instead of using
    /// it again.
    pub fn others_want_permits(&self) -> bool {
        self.scheduler.wanted.load(Ordering::Relaxed) > 0
    }

    /// Queues this connection for a permit behind the waiting ones, and releases the held permit, atomically. Returns
    /// a connection that was rejected, and a connection that now has a permit and is to be served.
    pub fn await_permit(&mut self, connection: C, work: Work, now: Instant) -> (Option<C>, Option<C>) {
        let scheduler = self.scheduler;
        let held = self.permit.take().and_then(|mut permit| permit.class.take());
        let mut must_wake = false;
        let admission = scheduler.with_permits(|permits| {
            let before = permits.deadline();
            let admission = permits.exchange(held, connection, work, now);
            let after = permits.deadline();
            must_wake = after.is_some_and(|after| before.is_none_or(|before| after < before));
            admission
        });
        if must_wake {
            scheduler.wake_poller(); // the queue's deadline may be earlier than the poller's
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

    /// If connections wait for a permit, passes the held permit to the first of them, and returns that. Called between
    /// turns.
    pub fn pass_on_permit(&mut self) -> Option<C> {
        if self.permit.is_none() || !self.others_want_permits() {
            return None;
        }
        self.release_permit()
    }

    /// Releases the permit. Returns the connection that gets it: the connection that has waited longest.
    fn release_permit(&mut self) -> Option<C> {
        let (next, permit) = self.permit.take()?.release()?;
        self.permit = Some(permit);
        Some(next)
    }

    /// Called before code that may block, so that waiting connections do not wait for it.
    pub fn begin_blocking(&self, now: Instant) {
        self.begin(now, true);
    }

    /// Called before code that is expected to be short. While the watchdog ticks, it wakes no worker if only the poller
    /// is free: new events, which are rare, wait for the rest of this turn or for a tick. (Otherwise, during the
    /// download of a 100 MiB file, two workers would alternately wake each other, with 0.9 `futex` calls per MiB.)
    pub fn begin_short(&self, now: Instant) {
        self.begin(now, false);
    }

    fn begin(&self, now: Instant, long: bool) {
        let scheduler = self.scheduler;
        scheduler.workers[self.me].running_since.store(now.nanos(), Ordering::Relaxed);
        // Partners: `something_waits` and `Polling::begin`. A worker that begins to wait after this sees the pushed
        // connection. A worker that already waits is seen here.
        fence(Ordering::SeqCst);
        if scheduler.awake.load(Ordering::SeqCst) >= scheduler.workers.len() {
            return; // no idle worker is left to wake
        }
        let poller_free = scheduler.poller_free.load(Ordering::SeqCst);
        if !poller_free && scheduler.queue.is_empty() {
            return;
        }
        let watched = scheduler.ticking.load(Ordering::SeqCst) || scheduler.searching.load(Ordering::SeqCst);
        if !watched || scheduler.needs_another(poller_free && long, now) {
            scheduler.wake_one();
        }
    }

    pub fn handler_took(&self, wall: Duration) {
        self.scheduler.load.handler_took(wall);
    }

    /// Returns whether handlers are so short that waking another worker is not worth it.
    pub fn handlers_are_short(&self) -> bool {
        !self.scheduler.load.is_worth_a_wake(0, true)
    }

    /// Called when the code that may block has ended.
    pub fn end_blocking(&self) {
        let running = &self.scheduler.workers[self.me].running_since;
        if running.load(Ordering::Relaxed) != 0 {
            running.store(0, Ordering::Relaxed);
        }
    }

    /// Returns whether to measure how much of this turn is blocked: in one turn of eight, and only while turns are
    /// long. (A measurement costs two system calls. On a busy machine, where turns seem long, that is 7 % of a small
    /// request.)
    pub fn measures_blocking(&mut self) -> bool {
        self.turns = self.turns.wrapping_add(1);
        self.turns.is_multiple_of(8) && self.scheduler.load.is_measured()
    }

    /// Called when a woken worker has found a task: now another worker can be woken if needed.
    fn found(&mut self) {
        self.rested = false;
        if std::mem::take(&mut self.woken) {
            self.scheduler.searching.store(false, Ordering::SeqCst);
            self.scheduler.wake_for_need(sync::now());
        }
    }
}

impl<C, P, W: PollWaker> Drop for Worker<'_, C, P, W> {
    /// If a woken worker dies before it finds anything, other workers must be woken again.
    fn drop(&mut self) {
        self.end_blocking();
        if self.woken {
            self.scheduler.searching.store(false, Ordering::SeqCst);
        }
    }
}

/// A permit held by a worker. It cannot be copied. Dropping it releases it: the connection that has waited longest gets
/// it and is pushed into the ready queue.
struct Permit<'a, C, P, W: PollWaker> {
    class: Option<Class>, // until it is released
    scheduler: &'a Scheduler<C, P, W>,
}

impl<'a, C, P, W: PollWaker> Permit<'a, C, P, W> {
    fn is_good_for(&self, work: Work) -> bool {
        self.class.is_some_and(|class| class.allows(work))
    }

    /// Releases the permit. Returns the connection that has waited longest, with its permit.
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

/// Returns whether connections of other workers come before a poll. They do if the last poll found nothing, if handlers
/// are stuck, or if handlers mostly block.
fn others_come_first(found_nothing: bool, stuck: usize, blocks: bool) -> bool {
    found_nothing || stuck > 0 || blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_connections_come_first_for_any_reason() {
        for (found_nothing, stuck, blocks, first) in
            [(false, 0, false, false), (true, 0, false, true), (false, 1, false, true), (false, 0, true, true)]
        {
            assert_eq!(others_come_first(found_nothing, stuck, blocks), first, "{found_nothing}, {stuck}, {blocks}");
        }
    }
}
