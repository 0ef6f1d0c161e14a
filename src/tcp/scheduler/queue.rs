//! The connections that are ready for a turn.
//!
//! Connections found by a poll are in a queue of the polling worker, so that two busy workers do not compete for one
//! queue. A worker without work, or a worker that finds others blocked, takes half of another worker's queue. So no
//! connection waits for a blocked worker, and any worker can serve any connection. Other connections come through
//! channels that all workers share: new ones, those whose share is used up, those with a granted permit, and, in a
//! separate channel, those that another thread called (a broadcast may call ten thousand at once). Of eight draws, two
//! check the shared channel first and one the channel of called connections, so neither a broadcast nor busy clients
//! delay other connections.

use std::collections::VecDeque;

use super::super::sync::{AtomicUsize, Mutex, Ordering, Queue};
use super::permits::Class;
use super::{Padded, lock};

/// A connection that is ready, and the permit that it was granted while it waited, if any.
pub struct Ready<C> {
    pub connection: C,
    pub granted: Option<Class>,
}

/// The queue of ready connections, described above. Any thread can push and pop.
pub struct ReadyQueue<C> {
    // One per worker, or per several workers if there are more workers than bits.
    polled: Vec<Padded<Mutex<VecDeque<C>>>>,
    /// A bit for each non-empty queue in `polled`, written under the queue's lock. Relaxed: the lock publishes the
    /// connections, and a thread that checks the bits before it waits or blocks executes a SeqCst fence first.
    filled: Padded<AtomicUsize>,
    ready: Channel<C>,
    called: Channel<C>,
}

/// A channel that all workers share.
struct Channel<C> {
    queue: Queue<Ready<C>>,
    /// How many connections can be popped. A thread counts a connection after pushing it, and decrements the count
    /// before popping, so no worker searches in an empty queue. (Without the count, a request needs over 100
    /// instructions more for each channel.)
    count: AtomicUsize,
}

/// In a round of this many draws, one draw checks the called connections first, and two draws check the other shared
/// channel first. Otherwise a channel that never empties would keep the connections of the other one waiting.
const ROUND: u64 = 8;
/// One of this many draws checks another worker's queue first, even if the worker's own queue is not empty. Otherwise
/// the queue of a worker that computes for a long time would wait for an idle worker, and there may be none.
const ROUND_OF_OTHERS: u64 = 64;

impl<C> ReadyQueue<C> {
    pub fn new(workers: usize) -> ReadyQueue<C> {
        ReadyQueue {
            polled: (0..workers.clamp(1, usize::BITS as usize)).map(|_| Padded::default()).collect(),
            filled: Padded::default(),
            ready: Channel::new(),
            called: Channel::new(),
        }
    }

    pub fn push(&self, connection: C, granted: Option<Class>) {
        self.ready.push(Ready { connection, granted });
    }

    /// Pushes the connections that this worker has polled: at least one.
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
    }

    /// Takes the next connection for this worker, from its own queue and the shared channels. `draws` is how many it
    /// has drawn so far.
    pub fn pop(&self, worker: usize, draws: u64) -> Option<Ready<C>> {
        let preferred = match draws % ROUND {
            0 => self.called.pop(),
            2 | 6 => self.ready.pop(),
            _ if draws % ROUND_OF_OTHERS == ROUND_OF_OTHERS - 1 => self.pop_of_others(worker),
            _ => None,
        };
        preferred.or_else(|| self.pop_own(worker)).or_else(|| self.ready.pop()).or_else(|| self.called.pop())
    }

    /// Takes the next connection from another worker's non-empty queue, and moves half of that queue to this worker's.
    pub fn pop_of_others(&self, worker: usize) -> Option<Ready<C>> {
        let own = self.own(worker);
        let mut filled = self.filled.load(Ordering::Relaxed) & !(1 << own);
        while filled != 0 {
            let at = (own + filled.rotate_right(own as u32).trailing_zeros() as usize) % usize::BITS as usize;
            if let Some(connection) = self.take_half(at, own) {
                return Some(Ready { connection, granted: None });
            }
            filled &= !(1 << at); // other workers were faster
        }
        None
    }

    pub fn is_empty(&self) -> bool {
        self.filled.load(Ordering::Relaxed) == 0 && self.ready.len() == 0 && self.called.len() == 0
    }

    pub fn len(&self) -> usize {
        let mut length = self.ready.len() + self.called.len();
        let mut filled = self.filled.load(Ordering::Relaxed);
        while filled != 0 {
            length += lock(&self.polled[filled.trailing_zeros() as usize]).len();
            filled &= filled - 1; // clears the lowest bit
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

    /// Takes the first connection of this queue, and moves half of the rest into the worker's own queue. Between the
    /// two locks this worker holds the moved connections.
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
}

impl<C> Channel<C> {
    fn new() -> Channel<C> {
        Channel { queue: Queue::new(), count: AtomicUsize::new(0) }
    }

    fn push(&self, ready: Ready<C>) {
        self.queue.push(ready);
        // Release, Acquire in `take`: the thread that decrements the count sees the push. The thread that pushes
        // executes a SeqCst fence before it checks which worker to wake, as a worker does before it checks the count
        // and waits.
        self.count.fetch_add(1, Ordering::Release);
    }

    #[inline]
    fn pop(&self) -> Option<Ready<C>> {
        if self.len() == 0 { None } else { self.take() }
    }

    fn take(&self) -> Option<Ready<C>> {
        self.count.fetch_update(Ordering::Acquire, Ordering::Relaxed, |count| count.checked_sub(1)).ok()?;
        self.queue.pop()
    }

    fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::sync;
    use super::*;

    #[test]
    fn stealing_skips_the_workers_own_queue() {
        sync::test(|| {
            for (worker, next) in [(0, [2, 3]), (1, [3, 1]), (2, [1, 2])] {
                let queue = ReadyQueue::new(3);
                (0..3).for_each(|of| queue.push_polled(of, std::iter::once(of + 1)));
                let popped = [(); 3].map(|()| queue.pop_of_others(worker).map(|ready| ready.connection));
                assert_eq!(popped, [Some(next[0]), Some(next[1]), None], "worker {worker}");
                assert_eq!(
                    queue.pop(worker, 1).map(|ready| ready.connection),
                    Some(worker + 1),
                    "the worker's own connection is still queued"
                );
            }
        });
    }
}
