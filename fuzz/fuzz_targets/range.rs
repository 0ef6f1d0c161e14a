//! Ranges: for short bodies a byte-by-byte reference agrees; for long ones no ranges overlap or leave the body.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use modest::fuzzing;

fuzz_target!(|data: &[u8]| {
    let Some((length, field)) = data.split_first_chunk::<8>() else { return };
    if !field.iter().all(|&byte| byte == b'\t' || byte >= b' ' && byte != 0x7f) {
        return; // such bytes are not in a valid field value
    }
    let length = u64::from_le_bytes(*length);
    check(field, length);
    check(field, length % 50);
});

fn check(field: &[u8], length: u64) {
    let asked = fuzzing::range(field, length);
    let specs = specs(field);
    let Some(parts) = asked else {
        let short = |specs: &Vec<_>| !specs.is_empty() && specs.len() <= 100;
        let empty_tail = |specs: &Vec<(Option<u128>, Option<u128>)>| {
            length == 0 && specs.iter().any(|spec| matches!(spec, (None, Some(1..))))
        };
        assert!(
            specs.as_ref().is_none_or(|specs| !short(specs) || empty_tail(specs)),
            "the whole of {length}: {specs:?}"
        );
        return;
    };
    let specs = specs.expect("what is heeded is well-formed");
    assert!(!specs.is_empty() && specs.len() <= 101);
    let mut sorted = parts.clone();
    sorted.sort_by_key(|part| part.start);
    assert!(parts.iter().all(|part| part.start < part.end && part.end <= length), "{parts:?} of {length}");
    assert!(sorted.windows(2).all(|pair| pair[0].end < pair[1].start), "they touch: {parts:?}");
    let asked_for = |at: u64| specs.iter().any(|spec| holds(spec, at, length));
    if length < 50 {
        let all: BTreeSet<u64> = (0..length).filter(|&at| asked_for(at)).collect();
        let given: BTreeSet<u64> = parts.iter().cloned().flatten().collect();
        assert_eq!(given, all, "{specs:?} of {length}");
    } else {
        for part in &parts {
            assert!(asked_for(part.start) && asked_for(part.end - 1), "{parts:?}, {specs:?} of {length}");
            assert!(part.end == length || !asked_for(part.end), "cut short: {parts:?}, {specs:?}");
            assert!(part.start == 0 || !asked_for(part.start - 1), "cut short: {parts:?}, {specs:?}");
        }
    }
    let place = |at: u64| specs.iter().position(|spec| holds(spec, at, length));
    let first = |part: &std::ops::Range<u64>| {
        specs
            .iter()
            .position(|spec| ends(spec, length).is_some_and(|(from, to)| from < part.end && to > part.start))
            .or(place(part.start))
    };
    assert!(parts.windows(2).all(|pair| first(&pair[0]) < first(&pair[1])), "out of order: {parts:?}, {specs:?}");
}

/// RFC 9110, section 14.1.2: `first-last`, `first-`, `-count`; `None` if a range has another form.
fn specs(field: &[u8]) -> Option<Vec<(Option<u128>, Option<u128>)>> {
    let text: String = field.iter().map(|&byte| char::from(byte)).collect();
    let (unit, set) = text.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let members = set.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty());
    members
        .map(|member| {
            let (first, last) = member.split_once('-')?;
            let (first, last) = (number(first)?, number(last)?);
            let backwards = matches!((first, last), (Some(first), Some(last)) if first > last);
            (!backwards && (first, last) != (None, None)).then_some((first, last))
        })
        .collect()
}

/// The outer `None`: not a number; the inner: empty.
fn number(digits: &str) -> Option<Option<u128>> {
    if digits.is_empty() {
        return Some(None);
    }
    let digits = digits.chars().all(|digit| digit.is_ascii_digit()).then_some(digits)?;
    // Numbers larger than any body are equal to the largest one.
    let largest = u128::from(u64::MAX);
    Some(Some(digits.bytes().fold(0, |sum: u128, digit| (sum * 10 + u128::from(digit - b'0')).min(largest))))
}

/// The first byte, and the one after the last; `None` if the range is empty.
fn ends((first, last): &(Option<u128>, Option<u128>), length: u64) -> Option<(u64, u64)> {
    let length = u128::from(length);
    let (from, to) = match (first, last) {
        (Some(first), Some(last)) => (*first, last.saturating_add(1).min(length)),
        (Some(first), None) => (*first, length),
        (None, Some(count)) => (length.saturating_sub(*count), length),
        (None, None) => return None,
    };
    (from < to).then_some((from as u64, to as u64))
}

fn holds(spec: &(Option<u128>, Option<u128>), at: u64, length: u64) -> bool {
    ends(spec, length).is_some_and(|(from, to)| (from..to).contains(&at))
}
