//! Limits how many hashes are computed at once, so that a flood of wrong passwords takes these slots and no other
//! workers.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::mutex::{lock, wait};

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

/// A slot, returned when it is dropped.
pub struct HashSlot<'a>(&'a HashSlots);

const LONGEST_WAIT: Duration = Duration::from_secs(2);

impl HashSlots {
    pub fn new(most: usize, may_wait: usize) -> HashSlots {
        HashSlots { most, may_wait, state: Mutex::default(), freed: Condvar::new() }
    }

    /// Waits for a slot. `None` if too many requests are waiting, or after `LONGEST_WAIT`.
    pub fn take(&self) -> Option<HashSlot<'_>> {
        let mut state = lock(&self.state);
        if state.taken >= self.most {
            if state.waiting >= self.may_wait {
                return None;
            }
            let until = Instant::now() + LONGEST_WAIT;
            state.waiting += 1;
            while state.taken >= self.most {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    state.waiting -= 1;
                    return None;
                }
                state = wait(&self.freed, state, Some(left));
            }
            state.waiting -= 1;
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
