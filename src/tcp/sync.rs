//! Locks, atomics, threads, the clock and the queue, under one name each. The engine uses only these, so that its files
//! can be run with replacements in the model checks (`tests/laws.rs`, `tests/orders.rs`) and in the simulation
//! (`tests/simulation`).

use std::io;
pub use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
pub use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
pub use std::thread::{Thread, current, panicking, park, park_timeout, sleep, yield_now};
use std::time::{self, Duration};

pub use super::clock::Instant;
pub use super::sys::{ThreadId, thread_id};
pub use crate::cores::cores;
pub(crate) use crate::mutex::{lock, try_lock, wait};
use rustix::time::{ClockId, clock_gettime};

/// How many locks the table of connections has, so that two workers rarely need the same one: with 16, two workers that
/// do nothing else take 25 ns more per hand-over.
pub const SHARDS: usize = 64;

pub fn now() -> Instant {
    Instant::from_nanos(super::sys::monotonic_nanos())
}

/// Converts a time for users.
pub fn to_std(at: Instant) -> time::Instant {
    let (same, as_std) = same_time();
    match as_std.checked_add(at - same) {
        Some(later) if at >= same => later,
        _ => as_std.checked_sub(same - at).unwrap_or(as_std),
    }
}

/// Converts a user's time.
pub fn from_std(at: time::Instant) -> Instant {
    let (same, as_std) = same_time();
    match at.checked_duration_since(as_std) {
        Some(later) => same + later,
        None => Instant::from_nanos(
            same.nanos().saturating_sub(u64::try_from((as_std - at).as_nanos()).unwrap_or(u64::MAX)),
        ),
    }
}

/// Returns one moment by both clocks. They are the same clock, but `std` does not reveal its start. Both are read a
/// hundred times, and the quickest pair is used, so that pre-emption does no harm.
///
/// `std` is read last, so the result of [`to_std`] is too late by the time between the two (about 20 ns). So a file
/// check that seems to be after a poll really is. The result of [`from_std`] is too early by the same amount, so
/// converting there and back changes nothing.
fn same_time() -> (Instant, time::Instant) {
    static SAME: OnceLock<(Instant, time::Instant)> = OnceLock::new();
    let ask = || {
        let same = (now(), time::Instant::now());
        (now() - same.0, same)
    };
    *SAME.get_or_init(|| (0..100).map(|_| ask()).min().expect("at least one measurement").1)
}

/// Returns how much processor time this thread has used.
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Starts a detached thread with a stack of this size. `None`: the default of `std`.
pub fn spawn(name: String, stack: Option<usize>, code: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new().name(name);
    let thread = match stack {
        Some(bytes) => thread.stack_size(bytes),
        None => thread,
    };
    thread.spawn(code).map(drop)
}

/// A queue for pushing and popping from any thread.
pub struct Queue<T> {
    sender: crossbeam_channel::Sender<T>,
    receiver: crossbeam_channel::Receiver<T>,
}

impl<T> Queue<T> {
    pub fn new() -> Queue<T> {
        let (sender, receiver) = crossbeam_channel::unbounded();
        Queue { sender, receiver }
    }

    pub fn push(&self, item: T) {
        // Never fails: the receiver is in the same value as the sender.
        let _ = self.sender.send(item);
    }

    pub fn pop(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

/// Runs the part of a unit test that uses atomics. (In a model check, such code must run inside the checker.)
#[cfg(test)]
pub fn test(code: impl Fn() + Send + Sync + 'static) {
    code();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_convert_to_and_from_std() {
        let (before, at, after) = (time::Instant::now(), now(), time::Instant::now());
        assert!(before <= to_std(at), "{before:?}, {:?}", to_std(at));
        assert!(
            from_std(before) <= at && from_std(after) <= now(),
            "a converted time must not be later than the original"
        );
        for hours in [0, 1, 24 * 366 * 100] {
            let later = Duration::from_secs(hours * 3600);
            assert_eq!(to_std(at + later), to_std(at) + later, "{hours} hours later");
            assert_eq!(from_std(to_std(at + later)), at + later, "{hours} hours later");
        }
        let (same, as_std) = same_time();
        let earlier = Instant::from_nanos(same.nanos() - 7);
        assert_eq!(to_std(earlier), as_std - Duration::from_nanos(7));
        assert_eq!(from_std(to_std(earlier)), earlier);
    }
}
