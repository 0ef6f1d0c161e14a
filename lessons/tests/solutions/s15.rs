//! Page 15.
//!
//! "Break it": `./measure spawning` reads a clock with ticks of 10 ms, because the threads have ended and their own
//! clocks with them. Over 3,000 requests a tick is 3.3 µs per request, so 17, 23, 30 and 53 are all that is seen near
//! them, and 17 µs can be 14 or 20. It also has one round for each program, always in the same order. That a thread costs
//! more than the request survives all this. That a pool costs 1.8 times as much as no pool does not: only that it costs more.
//!
//! Exercise 1: it does not interleave, and it has one round. Alternate rounds of all three cases, and take the
//! median of each. The conclusion remains: the cases differ by a factor of three and more, while noise changes a time
//! by about ten percent.

use std::time::Duration;

/// Exercise 2: the time within which this share had its response. Of ten measurements the 99th percentile is the
/// largest: it is worth as much as a single measurement.
fn percentile(sorted: &[Duration], share: f64) -> Option<Duration> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// Exercise 3: when each request of the schedule gets its response, if each takes no time but the server hangs. In ms.
fn delays(run: u64, hang: std::ops::Range<u64>) -> Vec<u64> {
    (0..run).map(|due| if hang.contains(&due) { hang.end - due } else { 0 }).collect()
}

#[test]
fn percentiles_are_nearest_ranks() {
    let times: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
    for (count, share, expected) in [
        (1, 0.5, 1),
        (1, 1.0, 1),
        (2, 0.5, 1),
        (2, 0.51, 2),
        (2, 1.0, 2),
        (10, 0.99, 10),
        (100, 0.99, 99),
        (100, 0.0, 1),
    ] {
        assert_eq!(percentile(&times[..count], share), Some(Duration::from_millis(expected)), "{count} times, {share}");
    }
    assert_eq!(percentile(&[], 0.5), None);
}

/// A fifth of the requests is late, by 150 ms in the middle; so of all requests, 99 % take up to 285 ms.
#[test]
fn a_hang_delays_a_fifth_of_the_requests() {
    let mut delays = delays(1500, 500..800);
    delays.sort();
    let late: Vec<_> = delays.iter().copied().filter(|delay| *delay > 0).collect();
    assert_eq!((late.len(), late[late.len() / 2]), (300, 151));
    let sorted: Vec<_> = delays.into_iter().map(Duration::from_millis).collect();
    assert_eq!(percentile(&sorted, 0.99), Some(Duration::from_millis(285)));
}
