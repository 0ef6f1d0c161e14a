//! The durations of turns, and whether they justify a wake. `workers` records each turn;
//! [`Scheduler`](super::Scheduler) reads the result before a wake.

use std::time::Duration;

use super::super::sync::{AtomicU64, AtomicUsize, Ordering};

/// The durations of turns, as moving means. They show how much time a wake would save.
#[derive(Default)]
pub struct Load {
    mean: AtomicU64,    // of a turn, in ns, moving by 1/64
    handler: AtomicU64, // of a handler, likewise
    blocked: AtomicU64, // of the part of a turn spent off the processor, likewise
    stuck: AtomicUsize, // handlers that had been blocked for over 1 ms at the last tick
}

/// A wake must save more waiting time than this. A wake costs 3 to 8 µs. CPU time per request with 8 connections, by
/// this limit: 0 or 10 µs: 7.1 µs; 25 µs: 6.0 µs; 50 to 300 µs: 5.8 µs. If 8 turns take 50 µs, a limit of 50 µs wakes
/// workers needlessly: 1.01 of the CPU time of nginx, compared with 0.93 for 100 µs.
const WORTH_A_WAKE: Duration = Duration::from_micros(100);
/// A longer duration counts as this long in a mean. Otherwise a turn of a few seconds would dominate the mean for
/// hundreds of turns.
const LONGEST_COUNTED: Duration = Duration::from_millis(10);
/// A duration counts as at most this many times the mean, or as `FIRST_LEAP` if that is more: see `follow`.
const LEAP: u64 = 8;
/// The minimum of that limit, without which a mean of 0 could never rise.
const FIRST_LEAP: Duration = Duration::from_micros(100);
/// The blocked part of a turn is measured only while the mean is longer than this: the two system calls of a
/// measurement would be a large part of a shorter turn.
const MEASURED_OVER: Duration = Duration::from_micros(20);
/// The watchdog checks whether a handler that runs longer than this is computing or waiting.
pub const LONG: Duration = Duration::from_millis(1);

impl Load {
    /// Records the duration of a turn; `blocked` is the part not spent on the processor, if it was measured.
    pub fn turn_took(&self, wall: Duration, blocked: Option<Duration>) {
        follow(&self.mean, wall);
        if let Some(blocked) = blocked {
            approach(&self.blocked, blocked);
        }
    }

    pub fn handler_took(&self, wall: Duration) {
        follow(&self.handler, wall);
    }

    /// Returns whether turns are long enough that their blocked part matters.
    pub fn is_measured(&self) -> bool {
        self.mean.load(Ordering::Relaxed) > MEASURED_OVER.as_nanos() as u64
    }

    /// Returns whether this many waiting turns are worth a wake. If a handler is about to run and no worker polls
    /// (`unpolled`), that counts as one more waiting turn with the duration of a handler.
    pub fn is_worth_a_wake(&self, waiting: usize, unpolled: bool) -> bool {
        let waiting = self.mean.load(Ordering::Relaxed).saturating_mul(waiting as u64);
        let unpolled = if unpolled { self.handler.load(Ordering::Relaxed) } else { 0 };
        waiting.saturating_add(unpolled) > WORTH_A_WAKE.as_nanos() as u64
    }

    /// Returns whether handlers mostly wait, for more than half of a turn. If clients use the same two cores, a
    /// computing handler waits for its core a third of the time. With a limit of a quarter, that counted as waiting,
    /// and 8 clients of handlers that compute for 50 µs had a p99 of 1.8 ms instead of 0.5 ms.
    pub fn blocks(&self) -> bool {
        let mean = self.mean.load(Ordering::Relaxed);
        self.is_measured() && self.blocked.load(Ordering::Relaxed) > mean / 2
    }

    /// Handlers that had been blocked for over 1 ms at the last tick.
    pub fn stuck(&self) -> usize {
        self.stuck.load(Ordering::Relaxed)
    }

    /// Sets how many handlers have been blocked for over 1 ms.
    pub fn count_stuck(&self, count: usize) {
        self.stuck.store(count, Ordering::Relaxed);
    }
}

/// Updates a mean by limited steps. On a busy machine one turn in a hundred is pre-empted for milliseconds, and would
/// outweigh many others. A mean reaches a lasting value within a hundred turns.
fn follow(mean: &AtomicU64, wall: Duration) {
    let leap = Duration::from_nanos(mean.load(Ordering::Relaxed).saturating_mul(LEAP)).max(FIRST_LEAP);
    approach(mean, wall.min(leap));
}

/// Moves a mean towards a value. Two workers may overwrite each other's result, which does not matter for a mean over
/// 64 values.
fn approach(mean: &AtomicU64, value: Duration) {
    let value = value.min(LONGEST_COUNTED).as_nanos() as i64;
    let old = mean.load(Ordering::Relaxed) as i64;
    mean.store((old + (value - old) / 64) as u64, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::super::super::sync;
    use super::*;

    fn load(mean: u64, handler: u64, blocked: u64) -> Load {
        let load = Load::default();
        for (word, value) in [(&load.mean, mean), (&load.handler, handler), (&load.blocked, blocked)] {
            word.store(value, Ordering::Relaxed);
        }
        load
    }

    fn means(load: &Load) -> [u64; 3] {
        [&load.mean, &load.handler, &load.blocked].map(|word| word.load(Ordering::Relaxed))
    }

    #[test]
    fn the_mean_moves_by_a_64th_in_bounded_steps() {
        sync::test(|| {
            const MS: u64 = 1_000_000;
            for (what, mean, took, then) in [
                ("a turn", 0, 6_400, 100),
                ("a long one is cut to the first leap", 0, 10 * MS, 1_562),
                ("and later to eight times the mean", MS, 1000 * MS, 1_109_375),
                ("and to what is counted at most", 5 * MS, 1000 * MS, 5_078_125),
                ("a short one", MS, 0, 984_375),
            ] {
                let (turns, handlers) = (load(mean, 1, 2), load(1, mean, 2));
                turns.turn_took(Duration::from_nanos(took), None);
                handlers.handler_took(Duration::from_nanos(took));
                assert_eq!((means(&turns), means(&handlers)), ([then, 1, 2], [1, then, 2]), "{what}");
            }
            let load = load(0, 0, 0);
            load.turn_took(Duration::ZERO, Some(Duration::from_micros(6_400)));
            assert_eq!(means(&load), [0, 0, 100_000], "time spent blocked is not capped, because it is part of a turn");
        });
    }

    #[test]
    fn load_thresholds_are_exact_to_the_nanosecond() {
        sync::test(|| {
            for (mean, measured) in [(0, false), (20_000, false), (20_001, true)] {
                assert_eq!(load(mean, 0, 0).is_measured(), measured, "{mean} ns");
            }
            for (mean, handler, waiting, unpolled, worth) in [
                (50_000, 0, 2, false, false),
                (50_001, 0, 2, false, true),
                (0, 100_000, 0, true, false),
                (0, 100_001, 0, true, true),
                (0, 100_001, 0, false, false),
                (50_000, 1, 2, true, true),
                (u64::MAX, u64::MAX, 2, true, true),
            ] {
                let load = load(mean, handler, 0);
                let row = format!("{mean} ns, a handler {handler}, {waiting} wait, unpolled: {unpolled}");
                assert_eq!(load.is_worth_a_wake(waiting, unpolled), worth, "{row}");
            }
            for (mean, blocked, blocks) in
                [(30_000, 0, false), (30_000, 15_000, false), (30_000, 15_001, true), (20_000, 20_000, false)]
            {
                assert_eq!(load(mean, 0, blocked).blocks(), blocks, "{blocked} ns blocked of a mean turn of {mean} ns");
            }
            let load = Load::default();
            load.count_stuck(3);
            assert_eq!(load.stuck(), 3);
        });
    }
}
