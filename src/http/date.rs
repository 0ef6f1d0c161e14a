//! HTTP dates (RFC 9110, section 5.6.7): writes IMF-fixdate, parses all three forms. Called by `sending`, `fields`,
//! `cookie` and the access log. It reads no clock, and does not panic for any year.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;

const DAY: i64 = 86_400;
const DAY_NAMES: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];
const LONG_DAY_NAMES: [&[u8]; 7] =
    [b"Sunday", b"Monday", b"Tuesday", b"Wednesday", b"Thursday", b"Friday", b"Saturday"];
const MONTH_NAMES: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// Formats a time as `Sun, 06 Nov 1994 08:49:37 GMT`, rounded down to the second. `None` before the year 0 and after
/// 9999.
pub(crate) fn write(time: SystemTime) -> Option<[u8; 29]> {
    let seconds = seconds(time)?;
    let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    if !(0..=9999).contains(&year) {
        return None;
    }
    let mut text = *b"Day, 00 Mon 0000 00:00:00 GMT";
    text[..3].copy_from_slice(DAY_NAMES[weekday(days)]);
    two(&mut text[5..7], day);
    text[8..11].copy_from_slice(MONTH_NAMES[month as usize - 1]);
    two(&mut text[12..14], year / 100);
    two(&mut text[14..16], year % 100);
    two(&mut text[17..19], second / 3600);
    two(&mut text[20..22], second / 60 % 60);
    two(&mut text[23..25], second % 60);
    Some(text)
}

/// Formats the current time. The result is reused for a second in each thread, which saves 260 instructions per request
/// (`benches/instructions.py`).
pub(crate) fn write_now(now: SystemTime) -> Option<[u8; 29]> {
    thread_local! {
        static LAST: Cell<(i64, [u8; 29])> = const { Cell::new((i64::MIN, [0; 29])) };
    }
    let second = seconds(now)?;
    let (last, text) = LAST.get();
    if last == second {
        return Some(text);
    }
    let text = write(now)?;
    LAST.set((second, text));
    Some(text)
}

pub(crate) fn text(time: SystemTime) -> Option<String> {
    write(time).map(|text| text.iter().copied().map(char::from).collect())
}

pub(crate) fn value(time: SystemTime) -> Option<HeaderValue> {
    HeaderValue::from_bytes(&write(time)?).ok()
}

/// Parses a date in any of the three forms. `now` determines the century of an rfc850-date.
pub(crate) fn parse(text: &[u8], now: SystemTime) -> Option<SystemTime> {
    parse_fixdate(text).or_else(|| parse_rfc850(text, now)).or_else(|| parse_asctime(text))
}

/// Parses IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT`, the only form that may be sent.
pub(crate) fn parse_fixdate(text: &[u8]) -> Option<SystemTime> {
    let text: &[u8; 29] = text.try_into().ok()?;
    let weekday = short_weekday(&text[..3])?;
    spaced(text, &[(3, b", "), (7, b" "), (11, b" "), (16, b" "), (25, b" GMT")])?;
    moment(weekday, digits(&text[12..16])?, month(&text[8..11])?, digits(&text[5..7])?, clock(&text[17..25])?)
}

/// Parses rfc850-date, `Sunday, 06-Nov-94 08:49:37 GMT`.
fn parse_rfc850(text: &[u8], now: SystemTime) -> Option<SystemTime> {
    let comma = text.iter().position(|byte| *byte == b',')?;
    let weekday = LONG_DAY_NAMES.iter().position(|name| *name == &text[..comma])?;
    let text: &[u8; 24] = text[comma..].try_into().ok()?;
    spaced(text, &[(0, b", "), (4, b"-"), (8, b"-"), (11, b" "), (20, b" GMT")])?;
    let (month, day, second) = (month(&text[5..8])?, digits(&text[2..4])?, clock(&text[12..20])?);
    let now = seconds(now)?;
    let (this_year, this_month, today) = civil(now.div_euclid(DAY));
    // "MUST interpret a timestamp that appears to be more than 50 years in the future as the most recent year in the
    // past". The comparison is exact to the second, because a day of the fiftieth year may already be too far ahead.
    let mut year = this_year - this_year.rem_euclid(100) + digits(&text[9..11])?;
    if (year - 50, month, day, second) > (this_year, this_month, today, now.rem_euclid(DAY)) {
        year -= 100;
    }
    moment(weekday, year, month, day, second)
}

/// Parses asctime-date, `Sun Nov 6 08:49:37 1994`.
fn parse_asctime(text: &[u8]) -> Option<SystemTime> {
    let text: &[u8; 24] = text.try_into().ok()?;
    spaced(text, &[(3, b" "), (7, b" "), (10, b" "), (19, b" ")])?;
    let day = if text[8] == b' ' { digits(&text[9..10])? } else { digits(&text[8..10])? };
    moment(short_weekday(&text[..3])?, digits(&text[20..])?, month(&text[4..7])?, day, clock(&text[11..19])?)
}

/// Returns the time of a valid date. 31 April, hour 24 and a wrong weekday are invalid.
fn moment(weekday_said: usize, year: i64, month: i64, day: i64, second: i64) -> Option<SystemTime> {
    let days = days(year, month, day);
    if civil(days) != (year, month, day) || weekday(days) != weekday_said {
        return None;
    }
    let seconds = days * DAY + second;
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
}

/// Parses `08:49:37` into seconds. A leap second (`23:59:60`) is the first second of the next minute.
fn clock(text: &[u8]) -> Option<i64> {
    spaced(text, &[(2, b":"), (5, b":")])?;
    let (hour, minute, second) = (digits(&text[..2])?, digits(&text[3..5])?, digits(&text[6..8])?);
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

fn spaced(text: &[u8], marks: &[(usize, &[u8])]) -> Option<()> {
    marks.iter().all(|(at, mark)| text[*at..].starts_with(mark)).then_some(())
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

fn month(text: &[u8]) -> Option<i64> {
    MONTH_NAMES.iter().position(|name| *name == text).map(|index| index as i64 + 1)
}

fn short_weekday(text: &[u8]) -> Option<usize> {
    DAY_NAMES.iter().position(|name| *name == text)
}

fn two(place: &mut [u8], number: i64) {
    place[0] = b'0' + (number / 10) as u8;
    place[1] = b'0' + (number % 10) as u8;
}

/// Returns the whole seconds since 1970, rounded down.
pub(crate) fn seconds(time: SystemTime) -> Option<i64> {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).ok(),
        Err(before) => {
            let before = before.duration();
            i64::try_from(before.as_secs()).ok()?.checked_neg()?.checked_sub(i64::from(before.subsec_nanos() > 0))
        }
    }
}

/// Returns the weekday of a number of days since 1970-01-01, which was a Thursday.
fn weekday(days: i64) -> usize {
    (days + 4).rem_euclid(7) as usize
}

/// Returns year, month and day for a number of days since 1970. It computes with years that begin in March, so that the
/// leap day comes last, and with eras of 400 years.
pub(crate) fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // from 0000-03-01
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // 0 is March
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// Returns the number of days since 1970 for a year, month and day: the inverse of `civil`.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = if month > 2 { month - 3 } else { month + 9 };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> SystemTime {
        let distance = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
    }

    /// 20 November 2026.
    fn now() -> SystemTime {
        at(1_795_132_800)
    }

    #[test]
    fn dates_are_written_for_years_0_to_9999() {
        for (time, expected) in [
            (at(784_111_777), Some("Sun, 06 Nov 1994 08:49:37 GMT")),
            (at(784_111_777) + Duration::from_millis(999), Some("Sun, 06 Nov 1994 08:49:37 GMT")),
            (at(0), Some("Thu, 01 Jan 1970 00:00:00 GMT")),
            (at(-1), Some("Wed, 31 Dec 1969 23:59:59 GMT")),
            (at(0) - Duration::from_millis(1), Some("Wed, 31 Dec 1969 23:59:59 GMT")),
            (at(951_782_400), Some("Tue, 29 Feb 2000 00:00:00 GMT")),
            (at(-62_167_219_200), Some("Sat, 01 Jan 0000 00:00:00 GMT")),
            (at(-62_167_219_201), None),
            (at(253_402_300_799), Some("Fri, 31 Dec 9999 23:59:59 GMT")),
            (at(253_402_300_800), None),
            (at(i64::MAX / 2), None),
            (at(i64::MIN / 2), None),
        ] {
            assert_eq!(text(time).as_deref(), expected, "{time:?}");
        }
    }

    #[test]
    fn all_three_formats_are_read() {
        for (section, text, expected) in [
            ("5.6.7 IMF-fixdate", "Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("5.6.7 rfc850-date", "Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("5.6.7 asctime-date", "Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            ("5.6.7 asctime-date, two digits", "Wed Nov 16 08:49:37 1994", Some(784_975_777)),
            ("5.6.7 two digits, within 50 years", "Friday, 20-Nov-76 00:00:00 GMT", Some(3_373_056_000)),
            ("5.6.7 two digits, more than 50 years on", "Sunday, 20-Nov-77 00:00:00 GMT", Some(248_832_000)),
            ("5.6.7 two digits, a second too far", "Saturday, 20-Nov-76 00:00:01 GMT", Some(217_296_001)),
            ("5.6.7 two digits, some days too far", "Monday, 22-Nov-76 00:00:00 GMT", Some(217_468_800)),
            ("5.6.7 two digits, this century", "Friday, 20-Nov-26 00:00:00 GMT", Some(1_795_132_800)),
            ("5.6.7 before 1970", "Wed, 31 Dec 1969 23:59:59 GMT", Some(-1)),
            ("5.6.7 a leap second", "Sat, 31 Dec 2016 23:59:60 GMT", Some(1_483_228_800)),
            ("5.6.7 29 February", "Tue, 29 Feb 2000 00:00:00 GMT", Some(951_782_400)),
            ("5.6.7 no such 29 February", "Thu, 29 Feb 1900 00:00:00 GMT", None),
            ("5.6.7 no such day", "Sun, 31 Apr 1994 08:49:37 GMT", None),
            ("5.6.7 day 0", "Sun, 00 Nov 1994 08:49:37 GMT", None),
            ("5.6.7 hour 24", "Sun, 06 Nov 1994 24:00:00 GMT", None),
            ("5.6.7 minute 60", "Sun, 06 Nov 1994 08:60:37 GMT", None),
            ("5.6.7 second 61", "Sun, 06 Nov 1994 08:49:61 GMT", None),
            ("5.6.7 the wrong weekday", "Mon, 06 Nov 1994 08:49:37 GMT", None),
            ("5.6.7 case matters", "sun, 06 nov 1994 08:49:37 GMT", None),
            ("5.6.7 another zone", "Sun, 06 Nov 1994 08:49:37 CET", None),
            ("5.6.7 an offset", "Sun, 06 Nov 1994 08:49:37 +0000", None),
            ("5.6.7 one digit", "Sun, 6 Nov 1994 08:49:37 GMT", None),
            ("5.6.7 a sign", "Sun, +6 Nov 1994 08:49:37 GMT", None),
            ("5.6.7 two dates", "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT", None),
            ("5.6.7 a long year", "Sun, 06 Nov 19940 08:49:37 GMT", None),
            ("5.6.7 not ASCII", "Sün, 06 Nov 1994 08:49:37 GMT", None),
            ("5.6.7 words", "yesterday", None),
            ("5.6.7 a comma", ",", None),
            ("5.6.7 nothing", "", None),
        ] {
            assert_eq!(parse(text.as_bytes(), now()).and_then(seconds), expected, "{section}: {text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn written_content_is_read_back(second in -62_167_219_200i64..253_402_300_800) {
            let text = write(at(second)).unwrap();
            prop_assert_eq!(parse(&text, now()).and_then(seconds), Some(second));
        }

        #[test]
        fn httpdate_writes_the_same_text(second in 0i64..253_402_300_800) {
            prop_assert_eq!(text(at(second)).unwrap(), httpdate::fmt_http_date(at(second)));
        }

        #[test]
        fn httpdate_reads_the_same_time(text in "(Sun|Mon|Tue|Sunday|Monday),? [0-3][0-9]?[- ](Jan|Feb|Nov)[- ](19|20)?[0-9][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9] GMT") {
            // This parser determines the century by `now`. For httpdate, 70 to 99 are always in the 20th century.
            if let (Some(ours), Ok(other)) = (parse(text.as_bytes(), now()), httpdate::parse_http_date(&text)) {
                prop_assert_eq!(seconds(ours).unwrap().rem_euclid(100), seconds(other).unwrap().rem_euclid(100));
            }
        }

        #[test]
        fn arbitrary_input_is_handled_safely(text: Vec<u8>, offset: i64) {
            let _ = parse(&text, now());
            if let Some(time) = UNIX_EPOCH.checked_add(Duration::from_secs(offset.unsigned_abs())) {
                let _ = write(time);
            }
        }
    }
}
