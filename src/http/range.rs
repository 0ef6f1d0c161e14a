//! Ranges (RFC 9110, section 14): which parts of a body are asked for.
//! Called by `answer`. Pure: a field's value and a length in, parts out.

use std::ops::Range;

/// More ranges than this in one request are answered with the whole (section 14.2 lets a server ignore them).
const MOST: usize = 100;

/// What a `Range` field asks of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nothing that is understood: the whole.
    Whole,
    /// These, in the order they were asked for, none empty, none touching another.
    Parts(Vec<Range<u64>>),
    /// Nothing that is there: 416.
    Unsatisfiable,
}

/// Read a `Range` field for a body of this length.
pub(crate) fn parse(field: &[u8], length: u64) -> Asked {
    let Some(set) = bytes_unit(field) else { return Asked::Whole };
    let mut parts = Vec::new();
    let mut count = 0;
    for spec in set.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|spec| !spec.is_empty()) {
        count += 1;
        match part(spec, length) {
            None => return Asked::Whole,
            Some(part) if part.is_empty() => {}
            Some(part) => parts.push(part),
        }
        if count > MOST {
            return Asked::Whole;
        }
    }
    match () {
        () if count == 0 => Asked::Whole,
        () if !parts.is_empty() => Asked::Parts(joined(parts)),
        // The last bytes of nothing are nothing: that can be had, but not said in a `Content-Range`.
        () if length == 0 && asks_for_the_end(set) => Asked::Whole,
        () => Asked::Unsatisfiable,
    }
}

/// What stands behind `bytes=`. Names of units know no case (section 14.1).
fn bytes_unit(field: &[u8]) -> Option<&[u8]> {
    let (unit, set) = field.split_at_checked(b"bytes=".len())?;
    unit.eq_ignore_ascii_case(b"bytes=").then_some(set)
}

/// Section 14.1.2: one range of a body of this length, empty if nothing of it is there; `None` if it is none.
fn part(spec: &[u8], length: u64) -> Option<Range<u64>> {
    let dash = spec.iter().position(|byte| *byte == b'-')?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    if first.is_empty() {
        return Some(length.saturating_sub(number(last)?)..length);
    }
    let first = number(first)?;
    if last.is_empty() {
        return Some(first.min(length)..length);
    }
    let last = number(last)?;
    (first <= last).then(|| first.min(length)..last.saturating_add(1).min(length))
}

/// Digits only; what is too large for us is larger than any body.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, byte| {
        byte.is_ascii_digit().then(|| number.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
    })
}

/// Whether one of the ranges is `-n` with n above 0 (all of them are well-formed).
fn asks_for_the_end(set: &[u8]) -> bool {
    set.split(|byte| *byte == b',')
        .any(|spec| spec.trim_ascii().strip_prefix(b"-").is_some_and(|digits| digits.iter().any(|byte| *byte != b'0')))
}

/// Join what overlaps or touches (section 15.3.7.2), at the place of the first that asked for it.
fn joined(parts: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut placed: Vec<(usize, Range<u64>)> = parts.into_iter().enumerate().collect();
    placed.sort_by_key(|(_, part)| part.start);
    placed.dedup_by(|(next_place, next), (place, part)| {
        let touches = next.start <= part.end;
        if touches {
            part.end = part.end.max(next.end);
            *place = (*place).min(*next_place);
        }
        touches
    });
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, part)| part).collect()
}
