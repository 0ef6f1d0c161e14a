//! The connections that are ready for a turn.
//! Those the poller found come first; those that another thread called (a broadcast may call ten thousand at once) get
//! every eighth draw while there are others, so that a broadcast makes nobody else wait.

use super::super::sync::Queue;
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
}

/// One draw in so many is for those that were called.
const SHARE_OF_CALLED: u64 = 8;

impl<C> ReadyQueue<C> {
    pub fn new() -> ReadyQueue<C> {
        ReadyQueue { ready: Queue::new(), called: Queue::new() }
    }

    pub fn push(&self, connection: C, granted: Option<Class>) {
        self.ready.push(Ready { connection, granted });
    }

    pub fn push_called(&self, connection: C) {
        self.called.push(Ready { connection, granted: None });
    }

    /// The next one; `draws`: how many the worker that asks has drawn so far.
    pub fn pop(&self, draws: u64) -> Option<Ready<C>> {
        if draws.is_multiple_of(SHARE_OF_CALLED)
            && let Some(called) = self.called.pop()
        {
            return Some(called);
        }
        self.ready.pop().or_else(|| self.called.pop())
    }

    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.called.is_empty()
    }

    pub fn len(&self) -> usize {
        self.ready.len() + self.called.len()
    }
}
