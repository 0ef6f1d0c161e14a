//! Limits how many hashes are computed at once, so that a flood of wrong passwords takes these slots and no other
//! workers.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::mutex::lock;

/// Slots, and the requests that wait for one.
pub struct HashSlots {
    most: usize,
    /// How many can wait, each holding a worker.
    may_wait: usize,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    taken: usize,
    waiting: usize,
}

pub struct HashSlot<'a>(&'a HashSlots);

const LONGEST_WAIT: Duration = Duration::from_secs(2);

impl HashSlots {
    pub fn new(most: usize, may_wait: usize) -> HashSlots {
        HashSlots { most, may_wait, state: Mutex::default(), freed: Condvar::new() }
    }

    /// Waits for a slot. `None` if too many requests are waiting, or after `LONGEST_WAIT`.
    pub fn take(&self) -> Option<HashSlot<'_>> {
        let mut state = lock(&self.state);
        let are_taken = |state: &mut State| state.taken >= self.most;
        if are_taken(&mut state) && state.waiting < self.may_wait {
            state.waiting += 1;
            let waited = self.freed.wait_timeout_while(state, LONGEST_WAIT, are_taken);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
        if are_taken(&mut state) {
            return None;
        }
        state.taken += 1;
        Some(HashSlot(self))
    }

    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        lock(&self.state).waiting
    }
}

impl Drop for HashSlot<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).taken -= 1;
        self.0.freed.notify_one();
    }
}
