//! Limits how often the log gets a line that clients can cause at any rate. Any level can use it.

use std::mem;
use std::ops::Sub;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// When such a line was last logged, and the number of events since. `I` is an instant. When it is dropped, it logs the
/// rest of the events.
pub(crate) struct LogLimit<I> {
    between: Duration,
    last: Option<I>,
    events: u64,
    what: Option<&'static str>,
}

impl<I: Copy + Sub<Output = Duration>> LogLimit<I> {
    /// The minimum time between two lines.
    pub const fn new(between: Duration) -> LogLimit<I> {
        LogLimit { between, last: None, events: 0, what: None }
    }

    /// Sets the beginning of the line about the rest of the events. Default: there is no such line.
    pub const fn of(mut self, what: &'static str) -> LogLimit<I> {
        self.what = Some(what);
        self
    }

    pub fn count(&mut self, events: u64) {
        self.events += events;
    }

    /// Returns the number of events since the last line, if a line is due.
    pub fn due(&mut self, now: I) -> Option<u64> {
        let is_due = self.events > 0 && self.last.is_none_or(|last| now - last >= self.between);
        is_due.then(|| {
            self.last = Some(now);
            self.take()
        })
    }

    pub fn take(&mut self) -> u64 {
        mem::take(&mut self.events)
    }
}

impl<I> Drop for LogLimit<I> {
    fn drop(&mut self) {
        let LogLimit { what: Some(what), events: 1.., .. } = self else { return };
        let warn = || log::warn!("{what}: {} more since the last such line", self.events);
        // The logger can panic, and so can the destructor of the payload.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(warn)) {
            mem::forget(payload);
        }
    }
}

/// Returns what a line about one event says of the others: the empty string, or ` and 4 others`.
pub(crate) fn and_others(events: u64) -> String {
    if events > 1 { format!(" and {} others", events - 1) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_due_at_once_and_then_after_a_while() {
        let (mut limit, start) = (LogLimit::new(Duration::from_secs(10)), std::time::Instant::now());
        for (seconds, events, line) in [
            (0, 0, None),
            (1, 1, Some(1)),
            (2, 1, None),
            (10, 2, None),
            (11, 1, Some(4)),
            (20, 1, None),
            (21, 0, Some(1)),
            (99, 0, None),
            (99, 5, Some(5)),
            (99, 3, None),
        ] {
            limit.count(events);
            assert_eq!(limit.due(start + Duration::from_secs(seconds)), line, "after {seconds} s");
        }
        assert_eq!((limit.take(), limit.take()), (3, 0));
    }
}
