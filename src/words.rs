//! Times and statuses in words, for messages. Any level can use it.

use std::time::Duration;

use http::StatusCode;

/// Returns a time in words, rounded up to its largest unit. Up to five minutes over a whole hour do not count.
pub(crate) fn in_words(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    let (number, unit) = match seconds {
        0..=119 => (seconds, "second"),
        3541..=3900 | 7200..=172_799 => ((seconds - 300).div_ceil(3600), "hour"),
        120..=7199 => (seconds.div_ceil(60), "minute"),
        _ => (seconds.div_ceil(86_400), "day"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

/// Returns the reason phrase of RFC 9110, even if older RFCs have another one.
pub(crate) fn reason(status: StatusCode) -> Option<&'static str> {
    match status.as_u16() {
        413 => Some("Content Too Large"),     // RFC 9110, section 15.5.14
        422 => Some("Unprocessable Content"), // RFC 9110, section 15.5.21
        _ => status.canonical_reason(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_words() {
        for (milliseconds, expected) in [
            (1, "1 second"),
            (1000, "1 second"),
            (119_001, "2 minutes"),
            (3_540_000, "59 minutes"),
            (3_599_000, "1 hour"),
            (3_600_000, "1 hour"),
            (3_750_000, "1 hour"), // 62.5 minutes
            (5_400_000, "90 minutes"),
            (7_200_000, "2 hours"),
            (7_501_000, "3 hours"),
            (86_400_000, "24 hours"),
            (172_800_000, "2 days"),
        ] {
            assert_eq!(in_words(Duration::from_millis(milliseconds)), expected);
        }
    }
}
