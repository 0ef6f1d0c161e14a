//! Permits to run code that may block, and the bounded queue of connections that wait for one.
//!
//! There are `limit` permits for handlers and one reserved for short work, and one worker more than all of them: so
//! there is always a worker outside code that may block. Short work takes a handler's permit where one is free and
//! the reserved one otherwise, so that handlers that are stuck stop neither downloads nor newcomers.
//!
//! Invariants, under the one lock around this: a connection waits for a handler only while all `limit` permits are
//! taken, and for short work only while the reserved one is taken, too. [`Permits::release`] keeps them by giving what
//! it frees to whoever waits for it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What a permit is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A handler: it may run as long as it likes. The wait for its permit is bounded in number and time.
    Handler,
    /// What is expected to be short, and may block all the same: meeting a client, an event, a destructor, a stretch
    /// of a file. The wait has no limit.
    Short,
}

/// Which permit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// One of those for handlers; good for short work, too.
    Handler,
    /// The one reserved for short work.
    Reserved,
}

impl Class {
    /// Whether a permit of this class is good for this work.
    pub fn allows(self, work: Work) -> bool {
        self == Class::Handler || work == Work::Short
    }
}

/// What became of a request for a permit.
pub enum Admission<C> {
    /// Here is one, for this connection: not always the one that asked.
    Granted(C, Class),
    /// The connection waits; whoever releases a permit goes on with it.
    Queued,
    /// The queue for handlers is full. The second connection got the permit that was given back, if one did.
    Full(C, Option<(C, Class)>),
}

/// All permits, and who waits for one. One lock around it.
pub struct Permits<C> {
    limit: usize,
    handlers: usize, // permits for handlers that are taken
    reserved: bool,  // the reserved permit is taken
    waiting: VecDeque<(C, Instant)>,
    short: VecDeque<C>,
    short_was_last: bool, // of two queues that both want what is released, each gets every other
    queue_limit: usize,
    queue_timeout: Option<Duration>,
    refused: u64,
}

impl<C> Permits<C> {
    pub fn new(limit: usize, queue_limit: usize, queue_timeout: Option<Duration>) -> Permits<C> {
        Permits {
            limit,
            handlers: 0,
            reserved: false,
            waiting: VecDeque::new(),
            short: VecDeque::new(),
            short_was_last: false,
            queue_limit,
            queue_timeout,
            refused: 0,
        }
    }

    /// Take a permit, if one is free.
    pub fn try_acquire(&mut self, work: Work) -> Option<Class> {
        if self.handlers < self.limit {
            self.handlers += 1;
            Some(Class::Handler)
        } else if work == Work::Short && !self.reserved {
            self.reserved = true;
            Some(Class::Reserved)
        } else {
            None
        }
    }

    /// Give back the permit that is held, if any, and ask for one for `connection`, as one step: it queues behind
    /// those who wait already, and what was given back goes to whoever is first then.
    pub fn exchange(&mut self, held: Option<Class>, connection: C, work: Work, now: Instant) -> Admission<C> {
        let next = held.and_then(|class| self.release(class));
        if next.is_none()
            && let Some(class) = self.try_acquire(work)
        {
            return Admission::Granted(connection, class);
        }
        match work {
            Work::Short => self.short.push_back(connection),
            Work::Handler if self.waiting.len() < self.queue_limit => self.waiting.push_back((connection, now)),
            Work::Handler => {
                self.refused += 1;
                return Admission::Full(connection, next);
            }
        }
        match next {
            Some((next, class)) => Admission::Granted(next, class),
            None => Admission::Queued,
        }
    }

    /// A permit is given back: the connection that waits for it longest has it now, if one does.
    pub fn release(&mut self, class: Class) -> Option<(C, Class)> {
        let next = match class {
            Class::Reserved => self.short.pop_front(),
            Class::Handler if self.short_was_last && !self.waiting.is_empty() => self.pop_waiting(),
            Class::Handler => {
                self.short_was_last = !self.short.is_empty();
                self.short.pop_front().or_else(|| self.pop_waiting())
            }
        };
        match (&next, class) {
            (Some(_), _) => {}
            (None, Class::Handler) => self.handlers -= 1,
            (None, Class::Reserved) => self.reserved = false,
        }
        next.map(|next| (next, class))
    }

    fn pop_waiting(&mut self) -> Option<C> {
        self.short_was_last = false;
        self.waiting.pop_front().map(|(connection, _)| connection)
    }

    /// How many connections wait, for any work.
    pub fn queued(&self) -> usize {
        self.waiting.len() + self.short.len()
    }

    /// When the connection that waits longest for a handler has waited too long.
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting.front()?.1.checked_add(self.queue_timeout?)
    }

    /// Those that have waited too long for a handler.
    pub fn late(&mut self, now: Instant) -> Vec<C> {
        let mut late = Vec::new();
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            late.extend(self.waiting.pop_front().map(|(connection, _)| connection));
        }
        self.refused += late.len() as u64;
        late
    }

    /// All who wait.
    pub fn drain(&mut self) -> Vec<C> {
        self.waiting.drain(..).map(|(connection, _)| connection).chain(self.short.drain(..)).collect()
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.handlers + usize::from(self.reserved)
    }

    /// How many found no place in the queue, or waited there too long.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(limit: usize) -> Permits<u32> {
        Permits::new(limit, 2, None)
    }

    #[test]
    fn handlers_leave_one_permit_to_short_work() {
        let mut permits = permits(2);
        assert_eq!(permits.try_acquire(Work::Short), Some(Class::Handler));
        assert_eq!(permits.try_acquire(Work::Handler), Some(Class::Handler));
        assert_eq!(permits.try_acquire(Work::Handler), None);
        assert_eq!(permits.try_acquire(Work::Short), Some(Class::Reserved));
        assert_eq!(permits.try_acquire(Work::Short), None);
    }

    #[test]
    fn what_is_given_back_goes_to_the_first_who_waits_in_the_same_step() {
        let now = Instant::now();
        let mut permits = permits(1);
        let held = permits.try_acquire(Work::Handler);
        assert!(matches!(permits.exchange(None, 1, Work::Handler, now), Admission::Queued));
        assert!(matches!(permits.exchange(held, 2, Work::Handler, now), Admission::Granted(1, Class::Handler)));
        assert!(matches!(permits.release(Class::Handler), Some((2, Class::Handler))));
        assert!(permits.release(Class::Handler).is_none());
        assert!(matches!(permits.exchange(None, 3, Work::Handler, now), Admission::Granted(3, Class::Handler)));
    }

    #[test]
    fn two_queues_take_turns_and_a_full_one_refuses() {
        let now = Instant::now();
        let mut permits = permits(1);
        assert!(permits.try_acquire(Work::Handler).is_some() && permits.try_acquire(Work::Short).is_some());
        for connection in [10, 11] {
            assert!(matches!(permits.exchange(None, connection, Work::Handler, now), Admission::Queued));
        }
        for connection in [20, 21, 22] {
            assert!(matches!(permits.exchange(None, connection, Work::Short, now), Admission::Queued));
        }
        assert!(matches!(permits.exchange(None, 12, Work::Handler, now), Admission::Full(12, None)));
        let order: Vec<u32> =
            std::iter::from_fn(|| permits.release(Class::Handler)).map(|(connection, _)| connection).collect();
        assert_eq!(order, [20, 10, 21, 11, 22]);
        assert!(permits.release(Class::Reserved).is_none());
    }
}
