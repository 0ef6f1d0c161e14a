//! The connections that are ready for a turn.
//!
//! Those that a poll has found lie with the worker that polled, in a queue for each, so that two workers that both have
//! something to do don't meet at it. A worker that has nothing else, or finds others blocked, takes half of another's: nothing
//! waits for one that is blocked, and where a connection lies says nothing about who serves it.
//! The others come through channels that all workers share: newcomers, those whose share is used up, those that were granted
//! a permit, and, apart from them, those that another thread called (a broadcast may call ten thousand at once). Of eight
//! draws two look there first, and one at the called: a broadcast makes nobody else wait, nor do clients that talk all day.

use std::collections::VecDeque;

use super::super::sync::{AtomicUsize, Mutex, Ordering, Queue};
use super::permits::Class;
use super::{Padded, lock};

/// A connection that is ready, and the permit it was granted while it waited, if one was.
pub struct Ready<C> {
    pub connection: C,
    pub granted: Option<Class>,
}

/// See above. Any thread may push and pop.
pub struct ReadyQueue<C> {
    polled: Vec<Padded<Mutex<VecDeque<C>>>>, // of each worker; of several, where there are more workers than bits
    /// A bit for each of these that is not empty, written under its lock. Relaxed: that lock publishes the connections, and
    /// who looks here before it waits or blocks has a SeqCst fence in front of that look.
    filled: Padded<AtomicUsize>,
    ready: Queue<Ready<C>>,
    called: Queue<Ready<C>>,
    /// How many in `called` may be popped: each is counted once it is there, and is popped by who has taken it off the
    /// count; so no worker looks for one that is not there. (Asking both queues costs 200 instructions a request.)
    calls: AtomicUsize,
}

/// One draw in so many is for those that were called, two are for what else the workers share.
const ROUND: u64 = 8;
/// One draw in so many is from another worker's queue, although there is something in one's own.
const ROUND_OF_OTHERS: u64 = 64;

impl<C> ReadyQueue<C> {
    pub fn new(workers: usize) -> ReadyQueue<C> {
        ReadyQueue {
            polled: (0..workers.clamp(1, usize::BITS as usize)).map(|_| Padded::default()).collect(),
            filled: Padded::default(),
            ready: Queue::new(),
            called: Queue::new(),
            calls: AtomicUsize::new(0),
        }
    }

    pub fn push(&self, connection: C, granted: Option<Class>) {
        self.ready.push(Ready { connection, granted });
    }

    /// Push what this worker has polled: one at least.
    pub fn push_polled(&self, worker: usize, connections: impl Iterator<Item = C>) {
        let own = self.own(worker);
        let mut queue = lock(&self.polled[own]);
        let was_empty = queue.is_empty();
        queue.extend(connections);
        if was_empty {
            self.filled.fetch_or(1 << own, Ordering::Relaxed);
        }
    }

    pub fn push_called(&self, connection: C) {
        self.called.push(Ready { connection, granted: None });
        // Release, Acquire in `pop_called`: who takes one off the count sees its push. A SeqCst fence follows in
        // `Scheduler::call`, before it looks for whoever has to be woken.
        self.calls.fetch_add(1, Ordering::Release);
    }

    /// The next one for this worker, of what it has polled and what all share; `draws`: how many it has drawn so far.
    pub fn pop(&self, worker: usize, draws: u64) -> Option<Ready<C>> {
        let preferred = match draws % ROUND {
            0 => self.pop_called(),
            2 | 6 => self.ready.pop(),
            _ if draws % ROUND_OF_OTHERS == ROUND_OF_OTHERS - 1 => self.pop_of_others(worker),
            _ => None,
        };
        preferred.or_else(|| self.pop_own(worker)).or_else(|| self.ready.pop()).or_else(|| self.pop_called())
    }

    /// The next one of another worker whose queue is filled; half of the others there come along.
    pub fn pop_of_others(&self, worker: usize) -> Option<Ready<C>> {
        let own = self.own(worker);
        let mut filled = self.filled.load(Ordering::Relaxed) & !(1 << own);
        while filled != 0 {
            let at = (own + filled.rotate_right(own as u32).trailing_zeros() as usize) % usize::BITS as usize;
            if let Some(connection) = self.take_half(at, own) {
                return Some(Ready { connection, granted: None });
            }
            filled &= !(1 << at); // others were faster
        }
        None
    }

    pub fn is_empty(&self) -> bool {
        self.filled.load(Ordering::Relaxed) == 0 && self.ready.is_empty() && self.calls() == 0
    }

    pub fn len(&self) -> usize {
        let mut length = self.calls();
        if !self.ready.is_empty() {
            length += self.ready.len();
        }
        let mut filled = self.filled.load(Ordering::Relaxed);
        while filled != 0 {
            length += lock(&self.polled[filled.trailing_zeros() as usize]).len();
            filled &= filled - 1; // without this bit
        }
        length
    }

    fn own(&self, worker: usize) -> usize {
        worker % self.polled.len()
    }

    fn pop_own(&self, worker: usize) -> Option<Ready<C>> {
        let own = self.own(worker);
        if self.filled.load(Ordering::Relaxed) & 1 << own == 0 {
            return None;
        }
        let mut queue = lock(&self.polled[own]);
        let connection = queue.pop_front()?;
        self.note_if_empty(own, &queue);
        Some(Ready { connection, granted: None })
    }

    /// The first of this queue, and half of the others into one's own. Between the two locks they are in this worker's hands.
    fn take_half(&self, from: usize, own: usize) -> Option<C> {
        let mut taken = {
            let mut queue = lock(&self.polled[from]);
            let half = queue.len().div_ceil(2);
            let taken: Vec<C> = queue.drain(..half).collect();
            self.note_if_empty(from, &queue);
            taken.into_iter()
        };
        let connection = taken.next()?;
        if taken.len() > 0 {
            self.push_polled(own, taken);
        }
        Some(connection)
    }

    fn note_if_empty(&self, at: usize, queue: &VecDeque<C>) {
        if queue.is_empty() {
            self.filled.fetch_and(!(1 << at), Ordering::Relaxed);
        }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn pop_called(&self) -> Option<Ready<C>> {
        if self.calls() == 0 {
            return None;
        }
        self.calls.fetch_update(Ordering::Acquire, Ordering::Relaxed, |calls| calls.checked_sub(1)).ok()?;
        self.called.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::sync;
    use super::*;

    #[test]
    fn of_others_is_not_ones_own() {
        sync::test(|| {
            for (worker, next) in [(0, [2, 3]), (1, [3, 1]), (2, [1, 2])] {
                let queue = ReadyQueue::new(3);
                (0..3).for_each(|of| queue.push_polled(of, std::iter::once(of + 1)));
                let popped = [(); 3].map(|()| queue.pop_of_others(worker).map(|ready| ready.connection));
                assert_eq!(popped, [Some(next[0]), Some(next[1]), None], "worker {worker}");
                assert_eq!(queue.pop(worker, 1).map(|ready| ready.connection), Some(worker + 1), "its own is left");
            }
        });
    }
}
