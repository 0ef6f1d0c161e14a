//! The connections that are ready for a turn.
//! Those the poller found come first; those that another thread called (a broadcast may call ten thousand at once) get
//! every eighth draw while there are others, so that a broadcast makes nobody else wait.

use super::super::sync::{AtomicUsize, Ordering, Queue};
use super::permits::Class;

/// A connection that is ready, and the permit it was granted while it waited, if one was.
pub struct Ready<C> {
    pub connection: C,
    pub granted: Option<Class>,
}

/// See above. Any thread may push and pop.
pub struct ReadyQueue<C> {
    ready: Queue<Ready<C>>,
    called: Queue<Ready<C>>,
    /// How many in `called` may be popped: each is counted once it is there, and is popped by who has taken it off the
    /// count; so no worker looks for one that is not there. (Asking both queues costs 200 instructions a request.)
    calls: AtomicUsize,
}

/// One draw in so many is for those that were called.
const SHARE_OF_CALLED: u64 = 8;

impl<C> ReadyQueue<C> {
    pub fn new() -> ReadyQueue<C> {
        ReadyQueue { ready: Queue::new(), called: Queue::new(), calls: AtomicUsize::new(0) }
    }

    pub fn push(&self, connection: C, granted: Option<Class>) {
        self.ready.push(Ready { connection, granted });
    }

    pub fn push_called(&self, connection: C) {
        self.called.push(Ready { connection, granted: None });
        // Release, Acquire in `pop_called`: who takes one off the count sees its push. A SeqCst fence follows in
        // `Scheduler::call`, before it looks for whoever has to be woken.
        self.calls.fetch_add(1, Ordering::Release);
    }

    /// The next one; `draws`: how many the worker that asks has drawn so far.
    pub fn pop(&self, draws: u64) -> Option<Ready<C>> {
        let calls = self.calls();
        if calls > 0
            && draws.is_multiple_of(SHARE_OF_CALLED)
            && let Some(called) = self.pop_called()
        {
            return Some(called);
        }
        self.ready.pop().or_else(|| if calls > 0 { self.pop_called() } else { None })
    }

    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.calls() == 0
    }

    pub fn len(&self) -> usize {
        match self.ready.is_empty() {
            true => self.calls(),
            false => self.ready.len() + self.calls(),
        }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn pop_called(&self) -> Option<Ready<C>> {
        self.calls.fetch_update(Ordering::Acquire, Ordering::Relaxed, |calls| calls.checked_sub(1)).ok()?;
        self.called.pop()
    }
}
