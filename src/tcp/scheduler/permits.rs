//! Permits to run code that may block, and the bounded queue of connections that wait for one.
//!
//! There are as many permits for handlers as a server has `workers`, one reserved for short work, and one reserved for
//! new clients. There is one worker more than permits, so there is always a worker outside code that may block.
//! Short work takes a handler's permit if one is free, and the reserved one otherwise, so handlers that are stuck do
//! not stop downloads. New clients are served even if a destructor is also stuck.
//!
//! The invariant, under the lock around this type: a connection waits for a permit only while all suitable permits are
//! in use. [`Permits::release`] keeps it by passing the permit to a waiting connection.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::time::Duration;

use super::super::sync::Instant;

/// The work for which a permit is needed, from the work with the fewest permits to the work with the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// A handler: it may run indefinitely. The wait for its permit is bounded in number and time.
    Handler,
    /// A handler that has sent a part of its response, or has waited for a call. It needs the same kind of permit, but
    /// the wait has no limit, so that a response is not lost because others are slow.
    Begun,
    /// Work that is expected to be short, but may block: an event, a destructor, a part of a file. The
    /// wait has no limit.
    Short,
    /// Calling the protocol for a new client (`Protocol::meet`). The wait has no limit.
    Meet,
}

/// The class of a permit: the first kind of work that it is suitable for. It is also suitable for all kinds after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class(Work);

impl Class {
    /// Returns whether a permit of this class is suitable for this work.
    pub fn allows(self, work: Work) -> bool {
        self.0 <= work
    }
}

/// The proof that the running code may block: its worker has a permit for this work, and other workers know of it. User
/// code, destructors of user values and disk reads need one, so they can't be reached without a permit.
///
/// It is valid for one turn. It isn't `Send`, so no value that outlives the turn can keep it.
#[derive(Clone, Copy, Debug)]
pub struct MayBlock {
    work: Work,
    of_this_thread: PhantomData<*const ()>,
}

impl MayBlock {
    /// Creates the proof. Called only if a permit is held.
    pub(super) fn granted(work: Work) -> MayBlock {
        MayBlock { work, of_this_thread: PhantomData }
    }

    /// Creates a proof for a thread that no other client waits for: that of a stream, or of a test without a server.
    pub fn on_own_thread() -> MayBlock {
        MayBlock::granted(Work::Handler)
    }

    /// Creates a proof for tests of the engine's parts.
    #[cfg(test)]
    pub fn pretended(work: Work) -> MayBlock {
        MayBlock::granted(work)
    }

    /// Returns whether it was given for this work, or for work with fewer permits.
    pub fn allows(self, work: Work) -> bool {
        self.work <= work
    }
}

const CLASSES: [Class; 4] = [Class(Work::Handler), Class(Work::Begun), Class(Work::Short), Class(Work::Meet)];
/// The number of permits of each class in addition to those for handlers.
const BESIDES: [usize; 4] = [0, 0, 1, 1];
/// The permits in addition to those for handlers.
pub const RESERVED: usize = BESIDES[Work::Short as usize] + BESIDES[Work::Meet as usize];

pub enum Admission<C> {
    /// A permit, and the connection that gets it, which is not always the connection that asked.
    Granted(C, Class),
    /// The connection waits. The worker that releases a permit continues with it.
    Queued,
    /// The queue for handlers is full. The second connection got the permit that was returned, if one did.
    Full(C, Option<(C, Class)>),
}

/// All permits, and the connections that wait for one. Protected by one lock.
pub struct Permits<C> {
    free: [usize; 4],                     // by class
    waiting: [VecDeque<(C, Instant)>; 4], // by work
    last: usize,                          // the queue served last: each queue that is not empty is served in turn
    total: usize,
    queue_limit: usize,
    queue_timeout: Option<Duration>,
    refused: u64,
    pace: Pace,
    // if more connections wait for handlers than the limit: when to check whether the queue has become shorter
    overfull_until: Option<Instant>,
}

/// How fast the queue for handlers is emptied: a queue full of requests with handlers of microseconds is not too long,
/// because workers without a permit can fill it faster than those with one empty it.
#[derive(Default)]
struct Pace {
    since: Option<Instant>,
    granted: u64, // permits granted in the current window
    before: u64,  // permits granted in an earlier window
}

/// The length of a window. It is longer than a pause of a busy or virtual machine in which no thread runs.
const WINDOW: Duration = Duration::from_millis(200);
/// With fewer permits granted in a window, the pace is unknown.
const LEAST: u64 = 16;
/// A queue that is emptied within this many windows is not full.
const WINDOWS: u64 = 5;

impl Pace {
    /// Returns whether a queue of this length will be empty soon.
    fn empties(&mut self, length: usize, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(*self.since.get_or_insert(now));
        if elapsed >= WINDOW {
            let windows = elapsed.as_nanos() as u64 / WINDOW.as_nanos() as u64;
            *self = Pace { since: Some(now), granted: 0, before: self.granted / windows };
        }
        let lately = self.before.max(self.granted);
        lately >= LEAST && lately * WINDOWS >= length as u64
    }
}

impl<C> Permits<C> {
    pub fn new(handlers: usize, queue_limit: usize, queue_timeout: Option<Duration>) -> Permits<C> {
        let mut free = BESIDES;
        free[Work::Handler as usize] = handlers;
        Permits {
            free,
            waiting: std::array::from_fn(|_| VecDeque::new()),
            last: 0,
            total: handlers + RESERVED,
            queue_limit,
            queue_timeout,
            refused: 0,
            pace: Pace::default(),
            overfull_until: None,
        }
    }

    pub fn try_acquire(&mut self, work: Work) -> Option<Class> {
        let class = CLASSES.into_iter().find(|class| class.allows(work) && self.free[class.0 as usize] > 0)?;
        self.free[class.0 as usize] -= 1;
        Some(class)
    }

    /// Releases the held permit, if any, and requests one for `connection`, atomically. The connection queues behind
    /// those that already wait, and the released permit goes to the first of them.
    pub fn exchange(&mut self, held: Option<Class>, connection: C, work: Work, now: Instant) -> Admission<C> {
        let next = held.and_then(|class| self.release(class));
        if next.is_none()
            && let Some(class) = self.try_acquire(work)
        {
            return Admission::Granted(connection, class);
        }
        if work == Work::Handler && self.handlers().len() >= self.queue_limit {
            if !self.may_be_overfull(now) {
                self.refused += 1;
                return Admission::Full(connection, next);
            }
            self.overfull_until.get_or_insert(now + WINDOW);
        }
        self.waiting[work as usize].push_back((connection, now));
        match next {
            Some((next, class)) => Admission::Granted(next, class),
            None => Admission::Queued,
        }
    }

    /// Returns a permit. The connection that waits for it longest gets it, if there is one.
    pub fn release(&mut self, class: Class) -> Option<(C, Class)> {
        for step in 1..=CLASSES.len() {
            let work = (self.last + step) % CLASSES.len();
            if class.0 as usize <= work
                && let Some((connection, _)) = self.waiting[work].pop_front()
            {
                self.last = work;
                self.pace.granted += u64::from(work == Work::Handler as usize);
                self.has_shrunk();
                return Some((connection, class));
            }
        }
        self.free[class.0 as usize] += 1;
        None
    }

    /// Returns how many connections wait, for any work.
    pub fn queued(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum()
    }

    /// Called when the queue for handlers has become shorter. Otherwise an outdated time would hide the deadline of the
    /// next connection in it.
    fn has_shrunk(&mut self) {
        if self.handlers().len() <= self.queue_limit {
            self.overfull_until = None;
        }
    }

    fn handlers(&self) -> &VecDeque<(C, Instant)> {
        &self.waiting[Work::Handler as usize]
    }

    /// Returns whether more connections than the limit can wait for handlers, because they have just arrived or will be
    /// handled soon.
    fn may_be_overfull(&mut self, now: Instant) -> bool {
        let length = self.handlers().len();
        let is_young = self.handlers().front().is_some_and(|(_, since)| now < *since + WINDOW);
        self.pace.empties(length, now) || is_young
    }

    /// Returns when the queue for handlers has to be checked: when its first connection has waited too long, or when
    /// the queue has been longer than its limit for too long.
    pub fn deadline(&self) -> Option<Instant> {
        self.time_limit().into_iter().chain(self.overfull_until).min()
    }

    fn time_limit(&self) -> Option<Instant> {
        self.handlers().front()?.1.checked_add(self.queue_timeout?)
    }

    /// Returns the connections that have waited too long for a handler, and those beyond the limit.
    pub fn late(&mut self, now: Instant) -> Vec<C> {
        let mut late = Vec::new();
        while self.time_limit().is_some_and(|limit| limit <= now) {
            late.extend(self.waiting[Work::Handler as usize].pop_front().map(|(connection, _)| connection));
        }
        self.has_shrunk();
        if self.overfull_until.take_if(|until| *until <= now).is_some() {
            if self.pace.empties(self.handlers().len(), now) {
                self.overfull_until = Some(now + WINDOW);
            } else {
                let beyond = self.waiting[Work::Handler as usize].split_off(self.queue_limit);
                late.extend(beyond.into_iter().map(|(connection, _)| connection));
            }
        }
        self.refused += late.len() as u64;
        late
    }

    pub fn drain(&mut self) -> Vec<C> {
        let all = self.waiting.iter_mut().flat_map(|queue| queue.drain(..)).map(|(connection, _)| connection).collect();
        self.has_shrunk();
        all
    }

    pub fn taken(&self) -> usize {
        self.total - self.free.iter().sum::<usize>()
    }

    /// Returns how many connections found no place in the queue, or waited there too long.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDLER: Class = Class(Work::Handler);

    fn permits(handlers: usize) -> Permits<u32> {
        Permits::new(handlers, 2, None)
    }

    #[test]
    fn one_permit_is_reserved_for_short_work_and_one_for_new_clients() {
        let mut permits = permits(2);
        for (work, class) in [
            (Work::Short, Some(Work::Handler)),
            (Work::Begun, Some(Work::Handler)),
            (Work::Handler, None),
            (Work::Begun, None),
            (Work::Short, Some(Work::Short)),
            (Work::Short, None),
            (Work::Meet, Some(Work::Meet)),
            (Work::Meet, None),
        ] {
            assert_eq!(permits.try_acquire(work), class.map(Class), "{work:?}, {:?} free", permits.free);
        }
        assert_eq!(permits.taken(), 4);
    }

    #[test]
    fn a_proof_is_good_for_its_work_and_for_work_with_more_permits() {
        let all = CLASSES.map(|class| class.0);
        for (number, given) in all.into_iter().enumerate() {
            for (other, work) in all.into_iter().enumerate() {
                assert_eq!(MayBlock::pretended(given).allows(work), other >= number, "{given:?} for {work:?}");
            }
        }
    }

    #[test]
    fn a_released_permit_goes_to_the_first_waiter_at_once() {
        let now = Instant::SOME;
        let mut permits = permits(1);
        let held = permits.try_acquire(Work::Handler);
        assert!(matches!(permits.exchange(None, 1, Work::Handler, now), Admission::Queued));
        assert!(matches!(permits.exchange(held, 2, Work::Handler, now), Admission::Granted(1, HANDLER)));
        assert!(matches!(permits.release(HANDLER), Some((2, HANDLER))));
        assert!(permits.release(HANDLER).is_none());
        assert!(matches!(permits.exchange(None, 3, Work::Handler, now), Admission::Granted(3, HANDLER)));
    }

    #[test]
    fn permit_queues_take_turns_and_a_full_one_rejects() {
        let now = Instant::SOME;
        let mut permits = permits(1);
        let reserved = [Work::Handler, Work::Short, Work::Meet].map(|work| permits.try_acquire(work))[1];
        for (connection, work) in [
            (10, Work::Handler),
            (11, Work::Handler),
            (20, Work::Short),
            (21, Work::Short),
            (22, Work::Short),
            (30, Work::Meet),
            (40, Work::Begun),
            (41, Work::Begun),
            (42, Work::Begun),
        ] {
            assert!(matches!(permits.exchange(None, connection, work, now), Admission::Queued));
        }
        assert_eq!(permits.refused(), 0);
        let later = now + WINDOW;
        assert!(matches!(permits.exchange(None, 12, Work::Handler, later), Admission::Full(12, None)));
        assert_eq!(permits.refused(), 1);
        let order: Vec<u32> =
            std::iter::from_fn(|| permits.release(HANDLER)).map(|(connection, _)| connection).collect();
        assert_eq!(order, [40, 20, 30, 10, 41, 21, 11, 42, 22]);
        assert!(permits.release(reserved.expect("a free permit")).is_none());
        assert_eq!(permits.taken(), 1);
    }

    #[test]
    fn waits_for_a_handler_time_out_but_begun_responses_do_not() {
        let now = Instant::SOME;
        let mut permits = Permits::new(1, 2, Some(Duration::from_secs(1)));
        assert!(permits.try_acquire(Work::Handler).is_some());
        assert!(matches!(permits.exchange(None, 1, Work::Begun, now), Admission::Queued));
        assert_eq!(permits.deadline(), None);
        assert!(matches!(permits.exchange(None, 2, Work::Handler, now), Admission::Queued));
        let late = permits.late(now + Duration::from_secs(1));
        assert_eq!((late, permits.queued(), permits.refused()), (vec![2], 1, 1));
        assert_eq!((permits.drain(), permits.queued()), (vec![1], 0));
    }

    #[test]
    fn a_long_queue_is_allowed_while_it_drains_quickly() {
        for (granted, admitted) in [(0, false), (LEAST - 1, false), (LEAST, true), (100, true)] {
            let now = Instant::SOME;
            let mut permits = Permits::new(1, 2, None);
            let held = permits.try_acquire(Work::Handler).expect("a free permit");
            for number in 0..5 {
                assert!(
                    matches!(permits.exchange(None, number, Work::Handler, now), Admission::Queued),
                    "a request that has just arrived must be queued"
                );
            }
            for number in 0..granted {
                assert!(matches!(permits.exchange(None, 5 + number, Work::Handler, now), Admission::Queued));
                assert!(permits.release(held).is_some());
            }
            let then = permits.deadline().expect("a deadline for the next check");
            assert_eq!(then, now + WINDOW);
            let late = permits.late(then);
            assert_eq!((late.len(), permits.queued()), if admitted { (0, 5) } else { (3, 2) }, "{granted} granted");
            assert_eq!(permits.deadline(), admitted.then_some(then + WINDOW));
            let more = permits.exchange(None, 1000, Work::Handler, then);
            assert_eq!(matches!(more, Admission::Queued), admitted, "{granted} granted");
        }
    }

    /// Otherwise the next waiting connection would not count as the first with a deadline, and the poller would not be
    /// woken for it.
    #[test]
    fn a_queue_that_is_no_longer_too_long_has_only_the_deadline_of_its_first_connection() {
        let (now, second) = (Instant::SOME, Duration::from_secs(1));
        type End = fn(&mut Permits<u32>, Class);
        let ends: [(&str, End); 3] = [
            ("granted", |permits, held| while permits.release(held).is_some() {}),
            ("late", |permits, _| assert_eq!(permits.late(Instant::SOME + Duration::from_secs(1)).len(), 4)),
            ("drained", |permits, _| assert_eq!(permits.drain().len(), 4)),
        ];
        for (what, end) in ends {
            let mut permits = Permits::new(1, 2, Some(second));
            let held = permits.try_acquire(Work::Handler).expect("a free permit");
            for number in 0..4 {
                assert!(matches!(permits.exchange(None, number, Work::Handler, now), Admission::Queued));
            }
            assert_eq!(permits.deadline(), Some(now + WINDOW), "{what}");
            end(&mut permits, held);
            assert_eq!(permits.deadline(), None, "{what}");
            permits.try_acquire(Work::Handler);
            assert!(matches!(permits.exchange(None, 9, Work::Handler, now + second), Admission::Queued));
            assert_eq!(permits.deadline(), Some(now + second * 2), "{what}");
        }
    }
}
