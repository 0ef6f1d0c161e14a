//! Dates. Any accepted text is one of the three forms of its date, letter by letter, and all three forms are accepted.
//! Another implementation agrees. No time causes a panic.
#![no_main]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use modest::fuzzing;

const NOW: u64 = 1_795_132_800; // 2026
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

fuzz_target!(|data: &[u8]| {
    if let Some((offset, _)) = data.split_first_chunk::<8>() {
        writing(i64::from_le_bytes(*offset));
    }
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    let Some(second) = fuzzing::read_date(data, now) else {
        if let Ok(text) = std::str::from_utf8(data)
            && text.len() == 29
            && let Ok(time) = httpdate::parse_http_date(text)
        {
            // The other implementation accepts invalid texts, for example with the wrong weekday.
            assert_ne!(httpdate::fmt_http_date(time), text, "not read");
        }
        return;
    };
    let text = std::str::from_utf8(data).expect("dates are ASCII");
    // A leap second is the first second of the next minute. The last form writes a day below 10 with a space or a zero.
    let leap = text.contains(":60");
    let zero = text.get(8..9) == Some("0") && text.get(3..4) == Some(" ");
    let text = if zero { text.replacen(" 0", "  ", 1) } else { text.to_owned() };
    let written = forms(if leap { second - 1 } else { second });
    let written = written.map(|form| if leap { leap_second(&form) } else { form });
    assert!(written.contains(&text), "{text:?} was read as {written:?}");
});

/// Replaces the last `:59`, the seconds.
fn leap_second(form: &str) -> String {
    let at = form.rfind(":59").expect("the last second of a minute");
    format!("{}:60{}", &form[..at], &form[at + 3..])
}

fn time(second: i64) -> Option<SystemTime> {
    let distance = Duration::from_secs(second.unsigned_abs());
    if second < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
}

fn writing(offset: i64) {
    let _ = time(offset).and_then(fuzzing::write_date);
    let second = offset.rem_euclid(253_402_300_800 + 62_167_219_200) - 62_167_219_200; // the years 0 to 9999
    let now = time(second).unwrap(); // so that a year of two digits means this century
    for form in forms(second) {
        assert_eq!(fuzzing::read_date(form.as_bytes(), now), Some(second), "{form:?}");
    }
    if second >= 0 {
        assert_eq!(forms(second)[0], httpdate::fmt_http_date(time(second).unwrap()));
    }
}

/// The three forms of a date.
fn forms(second: i64) -> [String; 3] {
    let fixdate = fuzzing::write_date(time(second).unwrap()).expect("a year of four digits");
    let (weekday, day, month, year, clock) =
        (&fixdate[..3], &fixdate[5..7], &fixdate[8..11], &fixdate[12..16], &fixdate[17..25]);
    let long = DAYS.iter().find(|name| name.starts_with(weekday)).expect("a weekday");
    let padded = format!("{:2}", day.parse::<u8>().unwrap());
    [
        fixdate.clone(),
        format!("{long}, {day}-{month}-{} {clock} GMT", &year[2..]),
        format!("{weekday} {month} {padded} {clock} {year}"),
    ]
}
