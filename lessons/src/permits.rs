//! Page 9: the right to run code that may block, and the bounded queue of connections that wait for it. `C` is a
//! connection.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::table::lock;

pub const PERMITS: usize = 4;
pub const QUEUE: usize = 16;

pub struct Permits<C>(Mutex<State<C>>);

struct State<C> {
    free: usize,
    waiting: VecDeque<C>, // empty while a permit is free
}

/// The result of a request for a permit.
pub enum Admission<C> {
    Granted(C),
    Waits,
    Full(C),
}

impl<C> Default for Permits<C> {
    fn default() -> Self {
        Self(Mutex::new(State { free: PERMITS, waiting: VecDeque::new() }))
    }
}

impl<C> Permits<C> {
    pub fn acquire(&self, connection: C) -> Admission<C> {
        let mut state = lock(&self.0);
        if state.free > 0 {
            state.free -= 1;
            Admission::Granted(connection)
        } else if state.waiting.len() < QUEUE {
            state.waiting.push_back(connection);
            Admission::Waits
        } else {
            Admission::Full(connection)
        }
    }

    /// Returns a permit. It passes to the connection that has waited longest, if there is one.
    pub fn release(&self) -> Option<C> {
        let mut state = lock(&self.0);
        let heir = state.waiting.pop_front();
        state.free += usize::from(heir.is_none());
        heir
    }
}
