//! The rate at which a client sends a message and reads its output.
//!
//! Only time in which the server waits for the client counts: from when its connection was parked until the poller sees
//! an event, but at most until its limits are due to be checked. If the process is stopped for longer, the rest of that
//! time does not count. Time in handlers, disks and queues does not count either. A connection that is never parked
//! with unsent output or within a message, such as one whose requests arrive in one piece, costs nothing here.
//!
//! Time is divided into windows of the length of the minimum rate's `over`. At the end of a window enough bytes must
//! have moved. Received bytes are counted when they are read. How much the client has read is harder to find out: see
//! `unacknowledged`. If the socket has accepted enough bytes, that suffices. Otherwise the kernel is asked at the
//! end of the window, and once near its beginning, after a delay so that it is not asked for fast clients.

use std::time::Duration;

use super::stage::Stage;
use super::sync::Instant;

#[derive(Clone, Copy, Debug)]
pub struct MinRate {
    pub bytes_per_second: u64,
    pub over: Duration,
}

/// The limits of a client that reads too slowly.
#[derive(Clone, Copy, Debug)]
pub struct SendLimits {
    pub min_rate: Option<MinRate>,
    pub write_timeout: Option<Duration>,
}

/// The pace of one client. Created when the client is first waited for, dropped when nothing is expected or unsent.
#[derive(Default)]
pub struct Pace {
    parked: Option<Parked>,
    stage: Option<Stage>, // the stage of the bytes in `received`
    received: Window,
    taken: Window,
    still: Duration,   // how long the client has been waited for since it was last seen to read
    looked: bool,      // the kernel was asked since the client was last seen to read
    seen: Option<u64>, // the kernel's result: how many bytes had arrived in all
    base: Option<(Duration, u64)>, // the first of these results in this window, and when it was obtained
}

struct Parked {
    since: Instant,
    receiving: bool,
    sending: bool,
    within: Option<Duration>, // when the limits are due to be checked: no longer wait counts
}

#[derive(Default)]
struct Window {
    waited: Duration,
    bytes: u64,
}

/// The kernel is first asked when a client has read nothing for this fraction of its limit.
const FIRST_LOOK: u32 = 16;

impl MinRate {
    fn is_met(&self, bytes: u64, time: Duration) -> bool {
        u128::from(bytes) * 1_000_000_000 >= u128::from(self.bytes_per_second) * time.as_nanos()
    }
}

impl SendLimits {
    /// Returns how long a client can read nothing before the kernel is asked for the first time.
    pub fn first_look(&self) -> Option<Duration> {
        let over = self.min_rate.map(|rate| rate.over);
        Some(over.into_iter().chain(self.write_timeout).min()? / FIRST_LOOK)
    }
}

impl Pace {
    /// Records that the server waits for the client from now on: for bytes of this stage, for the client to read, or
    /// both. Returns how long to wait until the limits are checked.
    pub fn park(
        &mut self,
        now: Instant,
        receiving: Option<Stage>,
        sending: bool,
        limits: SendLimits,
    ) -> Option<Duration> {
        if receiving.is_some() && receiving != self.stage {
            self.stage = receiving;
            self.received = Window::default();
        }
        let receive = receiving.and_then(|stage| Some(self.receive_time(stage, limits.min_rate?)));
        let send = if sending { self.send_time(limits) } else { None };
        let within = receive.into_iter().chain(send).min();
        self.parked = Some(Parked { since: now, receiving: receiving.is_some(), sending, within });
        within
    }

    /// Records that the server waited for the client until this time.
    pub fn resume(&mut self, until: Instant) {
        let Some(Parked { since, receiving, sending, within }) = self.parked.take() else { return };
        let waited = until.saturating_duration_since(since);
        let waited = within.map_or(waited, |within| within.min(waited));
        if receiving {
            self.received.waited += waited;
        }
        if sending {
            self.taken.waited += waited;
            self.still += waited;
        }
    }

    /// Counts bytes of the stage that have arrived.
    pub fn received(&mut self, count: usize) {
        self.received.bytes += count as u64;
    }

    /// Counts bytes that the socket has accepted.
    pub fn took(&mut self, count: u64) {
        self.taken.bytes += count;
        self.still = Duration::ZERO;
        self.looked = false;
    }

    /// Returns how long to wait until the sending rate is checked.
    pub fn receive_time(&self, stage: Stage, rate: MinRate) -> Duration {
        let waited = if self.stage == Some(stage) { self.received.waited } else { Duration::ZERO };
        rate.over.saturating_sub(waited)
    }

    /// Returns whether the client sends too slowly. If not, and the window has passed, begins a new window.
    pub fn sends_too_slowly(&mut self, stage: Stage, rate: MinRate) -> bool {
        if !self.receive_time(stage, rate).is_zero() {
            return false;
        }
        let window = std::mem::take(&mut self.received);
        !rate.is_met(window.bytes, window.waited)
    }

    /// Returns how long to wait until the reading rate is checked.
    pub fn send_time(&self, limits: SendLimits) -> Option<Duration> {
        let window = limits.min_rate.map(|rate| rate.over.saturating_sub(self.taken.waited));
        let still = limits.write_timeout.map(|limit| limit.saturating_sub(self.still));
        let look = limits.first_look().filter(|_| !self.looked).map(|look| look.saturating_sub(self.still));
        [window, still, look].into_iter().flatten().min()
    }

    /// Returns whether the client reads too slowly. `arrived` returns how many bytes have arrived in all, if the kernel
    /// knows.
    pub fn takes_too_little(&mut self, limits: SendLimits, arrived: impl FnOnce() -> Option<u64>) -> bool {
        if self.send_time(limits).is_none_or(|time| !time.is_zero()) {
            return false;
        }
        let is_still = limits.write_timeout.is_some_and(|limit| self.still >= limit);
        let ended = limits.min_rate.filter(|rate| self.taken.waited >= rate.over);
        if let Some(rate) = ended
            && !is_still
            && rate.is_met(self.taken.bytes, self.taken.waited)
        {
            self.begin_window(None); // the socket has accepted enough: the kernel need not be asked
            return false;
        }
        self.looked = true;
        let Some(arrived) = arrived() else {
            // Only the socket's count is known: any progress within a window suffices.
            let is_slow = is_still || ended.is_some() && self.taken.bytes == 0;
            if ended.is_some() {
                self.begin_window(None);
            }
            return is_slow;
        };
        let moved = self.seen.replace(arrived).is_none_or(|seen| arrived > seen);
        if moved {
            self.still = Duration::ZERO;
        }
        let too_little = match (ended, self.base) {
            (Some(rate), Some((at, base))) => {
                !rate.is_met(arrived.saturating_sub(base), self.taken.waited.saturating_sub(at))
            }
            _ => false,
        };
        match ended {
            Some(_) => self.begin_window(Some(arrived)),
            None => _ = self.base.get_or_insert((self.taken.waited, arrived)),
        }
        too_little || is_still && !moved
    }

    fn begin_window(&mut self, arrived: Option<u64>) {
        self.taken = Window::default();
        self.base = arrived.map(|arrived| (Duration::ZERO, arrived));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const RATE: MinRate = MinRate { bytes_per_second: 500, over: Duration::from_secs(30) };
    const LIMITS: SendLimits = SendLimits { min_rate: Some(RATE), write_timeout: Some(Duration::from_secs(30)) };

    /// Waits for a client to read for this time, and checks the limits when they are due. Returns whether the client
    /// reads too slowly before the end of this time.
    fn wait(pace: &mut Pace, now: Instant, limits: SendLimits, time: Duration, arrived: Option<u64>) -> bool {
        let mut left = time;
        loop {
            let waits = pace.park(now, None, true, limits).unwrap_or(left).min(left);
            pace.resume(now + waits);
            left -= waits;
            if left.is_zero() {
                return false;
            }
            if pace.takes_too_little(limits, || arrived) {
                return true;
            }
        }
    }

    /// Simulates a client that reads this many bytes per second for 600 seconds, with a socket that shows progress in
    /// steps of `steps` bytes. Returns after how many seconds of waiting it is dropped. `told`: whether the kernel
    /// reports acknowledged bytes.
    fn given_up(per_second: u64, steps: u64, told: bool) -> Option<u64> {
        let (mut pace, start) = (Pace::default(), Instant::SOME);
        let mut shown = 0;
        for second in 0..600 {
            let now = start + SECOND * second * 100; // the server is busy between two waits
            let before = told.then_some(per_second * u64::from(second));
            assert!(!wait(&mut pace, now, LIMITS, SECOND, before), "before the end of a second");
            let taken = per_second * u64::from(second + 1);
            if taken >= shown + steps {
                pace.took(taken / steps * steps - shown);
                shown = taken / steps * steps;
            }
            if pace.takes_too_little(LIMITS, || told.then_some(taken)) {
                return Some(u64::from(second) + 1);
            }
        }
        None
    }

    #[test]
    fn acknowledged_bytes_count_where_the_kernel_reports_them() {
        for (per_second, steps, told, wanted) in [
            (0, 1, true, Some(30)),
            (450, 100, true, Some(60)), // the first window began before the kernel was asked
            (450, 65_536, true, Some(30)),
            (600, 100, true, None),
            (600, 65_536, true, None),
            (100_000, 65_536, true, None),
            // Otherwise any progress in a window is enough.
            (0, 1, false, Some(30)),
            (450, 1_000, false, None),
            (5_000, 65_536, false, None),
            (600, 65_536, false, Some(30)),
        ] {
            assert_eq!(
                given_up(per_second, steps, told),
                wanted,
                "{per_second} bytes per second in steps of {steps}, reported: {told}"
            );
        }
    }

    #[test]
    fn the_kernel_is_not_queried_when_the_socket_shows_enough() {
        let mut pace = Pace::default();
        for second in 0..30 {
            wait(&mut pace, Instant::SOME, LIMITS, SECOND, None);
            if second < 29 {
                pace.took(518); // 15,022 bytes
            }
        }
        assert!(!pace.takes_too_little(LIMITS, || panic!("the kernel is asked")));
    }

    #[test]
    fn a_fast_client_cannot_pause_longer_than_others() {
        let limits = SendLimits { write_timeout: Some(10 * SECOND), ..LIMITS };
        let mut pace = Pace::default();
        for (waited, took, gives_up) in [(5, 100_000, false), (9, 0, false), (1, 0, true)] {
            assert!(!wait(&mut pace, Instant::SOME, limits, SECOND * waited, None));
            if took > 0 {
                pace.took(took);
            }
            assert_eq!(pace.takes_too_little(limits, || None), gives_up, "{waited} s, {took} bytes");
        }
    }

    /// Only a client that reads nothing until the next check is slow, and only if its limit has passed then.
    #[test]
    fn a_long_stop_of_the_process_counts_until_the_next_check() {
        for told in [None, Some(7)] {
            let mut pace = Pace::default();
            for gives_up in [false, true] {
                let start = Instant::SOME;
                pace.park(start, None, true, LIMITS);
                pace.resume(start + 600 * SECOND);
                assert_eq!(pace.takes_too_little(LIMITS, || told), gives_up, "reported: {told:?}");
            }
        }
    }

    #[test]
    fn each_stage_has_its_own_windows_and_counts_only_waiting() {
        let (mut pace, start) = (Pace::default(), Instant::SOME);
        for (stage, bytes, too_slow) in [(1, 15_000, false), (1, 14_999, true), (2, 15_000, false)] {
            let stage = Stage(stage);
            for half in 0..2 {
                let now = start + 1000 * SECOND * half;
                pace.park(now, Some(stage), false, LIMITS);
                assert_eq!(pace.receive_time(stage, RATE), SECOND * (30 - 15 * half));
                pace.resume(now + 15 * SECOND);
                pace.received(bytes / 2 + bytes % 2 * half as usize);
            }
            assert_eq!(pace.sends_too_slowly(stage, RATE), too_slow, "{bytes} bytes");
        }
    }

    #[test]
    fn without_limits_the_clock_is_not_read() {
        let none = SendLimits { min_rate: None, write_timeout: None };
        let mut pace = Pace::default();
        assert_eq!(pace.send_time(none), None);
        assert!(!pace.takes_too_little(none, || panic!("the kernel is asked")));
    }
}
