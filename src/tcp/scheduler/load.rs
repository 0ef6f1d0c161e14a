//! How long turns take, and what that says about waking.
//! Fed by `workers` with each turn; asked by [`Scheduler`](super::Scheduler) whenever somebody might be woken.

use std::time::Duration;

use super::super::sync::{AtomicU64, AtomicUsize, Ordering};

/// How long turns take, and what that says about waking: the time that a wake would save decides it.
#[derive(Default)]
pub struct Load {
    mean: AtomicU64,    // of a turn, in ns, moving by 1/64
    handler: AtomicU64, // of a handler, likewise
    blocked: AtomicU64, // of the part of a turn spent off the processor, likewise
    stuck: AtomicUsize, // handlers that had been blocked for over 1 ms at the last tick
}

/// A wake costs 3 to 8 µs. Measured at 8 connections, CPU a request by this limit: 0 or 10 µs 7.1 µs; 25: 6.0; 50 to 300: 5.8.
/// Where 8 turns come to 50 µs by themselves, that limit woke somebody for nothing: 1.01 x nginx, and 0.93 x at 100.
const WORTH_A_WAKE: Duration = Duration::from_micros(100);
const LONGEST_COUNTED: Duration = Duration::from_millis(10);
const LEAP: u64 = 8;
const FIRST_LEAP: Duration = Duration::from_micros(100);
const MEASURED_OVER: Duration = Duration::from_micros(20);
/// A handler that runs longer is waiting for something, or has much to compute.
pub const LONG: Duration = Duration::from_millis(1);

impl Load {
    /// A turn took so long; `blocked`: how much of it was not spent on the processor, where that was measured.
    pub fn turn_took(&self, wall: Duration, blocked: Option<Duration>) {
        follow(&self.mean, wall);
        if let Some(blocked) = blocked {
            approach(&self.blocked, blocked);
        }
    }

    /// A handler took so long.
    pub fn handler_took(&self, wall: Duration) {
        follow(&self.handler, wall);
    }

    /// Whether turns are so long that it may matter how much of them is blocked.
    pub fn is_measured(&self) -> bool {
        self.mean.load(Ordering::Relaxed) > MEASURED_OVER.as_nanos() as u64
    }

    /// Whether so many waiting turns are worth a wake. With a handler ahead and nobody at the poller (`unpolled`), that
    /// counts as one more that waits, for as long as a handler takes.
    pub fn is_worth_a_wake(&self, waiting: usize, unpolled: bool) -> bool {
        let waiting = self.mean.load(Ordering::Relaxed).saturating_mul(waiting as u64);
        let unpolled = if unpolled { self.handler.load(Ordering::Relaxed) } else { 0 };
        waiting.saturating_add(unpolled) > WORTH_A_WAKE.as_nanos() as u64
    }

    /// Whether handlers wait for something rather than compute: more than half of a turn. Beside a client on the same two
    /// cores a computing handler waits for its core a third of the time; at a quarter that passed for waiting, and
    /// 8 clients of handlers that compute for 50 µs had a p99 of 1.8 ms instead of 0.5.
    pub fn blocks(&self) -> bool {
        let mean = self.mean.load(Ordering::Relaxed);
        self.is_measured() && self.blocked.load(Ordering::Relaxed) > mean / 2
    }

    /// Handlers that had been blocked for over 1 ms at the last tick.
    pub fn stuck(&self) -> usize {
        self.stuck.load(Ordering::Relaxed)
    }

    /// So many handlers have been blocked for over 1 ms.
    pub fn count_stuck(&self, count: usize) {
        self.stuck.store(count, Ordering::Relaxed);
    }
}

/// On a busy machine one turn in a hundred is pre-empted for milliseconds, and would stand for many: a mean follows what
/// is new by leaps of bounded width, and is there within a hundred turns if it lasts.
fn follow(mean: &AtomicU64, wall: Duration) {
    let leap = Duration::from_nanos(mean.load(Ordering::Relaxed).saturating_mul(LEAP)).max(FIRST_LEAP);
    approach(mean, wall.min(leap));
}

/// Two workers may overwrite each other here: a mean of 64 does not mind.
fn approach(mean: &AtomicU64, value: Duration) {
    let value = value.min(LONGEST_COUNTED).as_nanos() as i64;
    let old = mean.load(Ordering::Relaxed) as i64;
    mean.store((old + (value - old) / 64) as u64, Ordering::Relaxed);
}
