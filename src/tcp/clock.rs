//! A point in time, in one word.

use std::num::NonZeroU64;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A time of the monotonic clock, in nanoseconds since its start.
///
/// [`std::time::Instant`] has seconds and nanoseconds in 16 bytes, and needs about 30 instructions per difference. A
/// request needs a dozen differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(NonZeroU64);

impl Instant {
    /// Returns the time this many nanoseconds after the clock's start. 0 becomes 1, so that an `Option<Instant>` has
    /// the same size.
    pub const fn from_nanos(nanos: u64) -> Instant {
        match NonZeroU64::new(nanos) {
            Some(nanos) => Instant(nanos),
            None => Instant(NonZeroU64::MIN),
        }
    }

    /// Nanoseconds since the clock's start.
    pub fn nanos(self) -> u64 {
        self.0.get()
    }

    /// Returns a later time, or `None` if it is after the 584 years that can be represented.
    pub fn checked_add(self, time: Duration) -> Option<Instant> {
        self.0.checked_add(u64::try_from(time.as_nanos()).ok()?).map(Instant)
    }

    /// Returns the time since `earlier`, or zero if that is later.
    pub fn saturating_duration_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.nanos().saturating_sub(earlier.nanos()))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Saturates at the last time that can be represented.
    fn add(self, time: Duration) -> Instant {
        self.checked_add(time).unwrap_or(Instant(NonZeroU64::MAX))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    /// Does what [`Instant::saturating_duration_since`] does.
    fn sub(self, earlier: Instant) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

#[cfg(test)]
impl Instant {
    /// A time for tests, a thousand seconds after the clock began.
    pub const SOME: Instant = Instant::from_nanos(1_000_000_000_000);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_added_and_subtracted() {
        const SECOND: Duration = Duration::from_secs(1);
        let at = Instant::from_nanos;
        assert_eq!((at(0), at(1).nanos(), at(2) > at(1)), (at(1), 1, true), "time 0 is stored as 1");
        assert_eq!(size_of::<Option<Instant>>(), 8);
        for (since, time, then) in [
            (1, SECOND, Some(1_000_000_001)),
            (1, Duration::ZERO, Some(1)),
            (u64::MAX - 1, Duration::from_nanos(1), Some(u64::MAX)),
            (u64::MAX, Duration::from_nanos(1), None),
            (1, Duration::from_nanos(u64::MAX), None),
            (1, Duration::MAX, None),
        ] {
            assert_eq!(at(since).checked_add(time), then.map(at), "{since} and {time:?}");
            assert_eq!(at(since) + time, at(then.unwrap_or(u64::MAX)), "{since} and {time:?}");
        }
        for (later, earlier, between) in [(3, 1, 2), (1, 1, 0), (1, 3, 0)] {
            let between = Duration::from_nanos(between);
            assert_eq!(at(later).saturating_duration_since(at(earlier)), between, "{later} since {earlier}");
            assert_eq!(at(later) - at(earlier), between, "{later} since {earlier}");
        }
    }
}
