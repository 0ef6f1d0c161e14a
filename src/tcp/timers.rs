//! Functions to be called at a later time, for code that releases a resource after some time without use. Handlers add
//! them through a `ServerHandle`. The worker that polls takes those that are due, and calls them with a permit for
//! short work after it has released the poller.

use std::time::Duration;

use super::sync::{AtomicU64, Instant, Mutex, Ordering, lock};

pub type Call = Box<dyn FnOnce() + Send>;

/// After this time, calls that found no permit are tried again.
const AGAIN: Duration = Duration::from_secs(1);
const NEVER: u64 = u64::MAX;

/// All calls of a server that are not due yet. There are few of them, and they change rarely.
pub struct Timers {
    calls: Mutex<Vec<(Instant, Call)>>,
    /// When the first call is due, in ns of the clock; written under the lock.
    first: AtomicU64,
}

impl Timers {
    pub fn new() -> Timers {
        Timers { calls: Mutex::default(), first: AtomicU64::new(NEVER) }
    }

    /// Adds a call. The caller then wakes the poller, which may wait for longer.
    pub fn add(&self, at: Instant, call: Call) {
        let mut calls = lock(&self.calls);
        calls.push((at, call));
        self.set_first(&calls);
    }

    pub fn first(&self) -> Option<Instant> {
        match self.first.load(Ordering::SeqCst) {
            NEVER => None,
            nanos => Some(Instant::from_nanos(nanos)),
        }
    }

    pub fn take_due(&self, now: Instant) -> Vec<Call> {
        if self.first.load(Ordering::Relaxed) > now.nanos() {
            return Vec::new();
        }
        let mut calls = lock(&self.calls);
        let (due, later) = std::mem::take(&mut *calls).into_iter().partition(|(at, _)| *at <= now);
        *calls = later;
        self.set_first(&calls);
        let due: Vec<(Instant, Call)> = due;
        due.into_iter().map(|(_, call)| call).collect()
    }

    /// Postpones these calls, because no permit was free.
    pub fn put_off(&self, due: Vec<Call>, now: Instant) {
        let mut calls = lock(&self.calls);
        calls.extend(due.into_iter().map(|call| (now + AGAIN, call)));
        self.set_first(&calls);
    }

    fn set_first(&self, calls: &[(Instant, Call)]) {
        let first = calls.iter().map(|(at, _)| at.nanos()).min();
        self.first.store(first.unwrap_or(NEVER), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn calls_are_taken_when_they_are_due() {
        let timers = Timers::new();
        let called = Arc::<Mutex<Vec<u64>>>::default();
        let at = |seconds| Instant::from_nanos(seconds * 1_000_000_000);
        for seconds in [5, 3, 4] {
            let called = called.clone();
            timers.add(at(seconds), Box::new(move || called.lock().unwrap().push(seconds)));
        }
        for (now, first, due, next) in [(2, 3, vec![], 3), (4, 3, vec![3, 4], 5), (9, 5, vec![5], 0)] {
            assert_eq!(timers.first(), Some(at(first)), "at {now}");
            called.lock().unwrap().clear();
            timers.take_due(at(now)).into_iter().for_each(|call| call());
            let mut seen = called.lock().unwrap().clone();
            seen.sort_unstable();
            assert_eq!(seen, due, "at {now}");
            assert_eq!(timers.first(), (next > 0).then(|| at(next)), "after {now}");
        }
        timers.put_off(vec![Box::new(|| {})], at(9));
        assert_eq!(timers.first(), Some(at(10)));
    }
}
