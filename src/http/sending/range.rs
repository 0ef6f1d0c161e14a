//! The `Range` field (RFC 9110, section 14).
//! Called by `sending`. Pure: it converts a field value and a length to ranges.

use std::ops::Range;

use crate::grammar::list_members;

/// Requests with more ranges get the whole body (section 14.2 lets a server ignore them).
const MAX_RANGES: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestedRange {
    /// The whole body: the field is malformed or ignored.
    Whole,
    /// These ranges, in the requested order. No range is empty or adjacent to another.
    Parts(Vec<Range<u64>>),
    /// No range is within the body: 416.
    Unsatisfiable,
}

pub(crate) fn parse(field: &[u8], length: u64) -> RequestedRange {
    let Some(set) = bytes_unit(field) else { return RequestedRange::Whole };
    let mut parts = Vec::new();
    let mut count = 0;
    for spec in list_members(set) {
        count += 1;
        match parse_spec(spec, length) {
            None => return RequestedRange::Whole,
            Some(part) if part.is_empty() => {}
            Some(part) => parts.push(part),
        }
        if count > MAX_RANGES {
            return RequestedRange::Whole;
        }
    }
    match () {
        () if count == 0 => RequestedRange::Whole,
        () if !parts.is_empty() => RequestedRange::Parts(coalesce(parts)),
        // A suffix of an empty body is satisfiable, but `Content-Range` cannot express it.
        () if length == 0 && has_nonempty_suffix(set) => RequestedRange::Whole,
        () => RequestedRange::Unsatisfiable,
    }
}

/// Returns the range set after `bytes=`. Range units are case-insensitive (section 14.1).
fn bytes_unit(field: &[u8]) -> Option<&[u8]> {
    let (unit, set) = field.split_at_checked(b"bytes=".len())?;
    unit.eq_ignore_ascii_case(b"bytes=").then_some(set)
}

/// Parses one range of a body of this length (section 14.1.2). It is empty if it is after the end, and `None` if it is
/// malformed.
fn parse_spec(spec: &[u8], length: u64) -> Option<Range<u64>> {
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

/// Parses a number that consists of digits only. Saturates at `u64::MAX`, which is larger than any body.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, byte| {
        byte.is_ascii_digit().then(|| number.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
    })
}

/// Returns whether one of the ranges is a suffix `-n` with n above 0 (all of them are well-formed).
fn has_nonempty_suffix(set: &[u8]) -> bool {
    list_members(set).any(|spec| spec.strip_prefix(b"-").is_some_and(|digits| digits.iter().any(|byte| *byte != b'0')))
}

/// Coalesces ranges that overlap or touch (section 15.3.7.2), at the position of the first one requested.
fn coalesce(parts: Vec<Range<u64>>) -> Vec<Range<u64>> {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::RequestedRange::{Parts, Unsatisfiable, Whole};
    use super::*;

    #[test]
    #[allow(clippy::single_range_in_vec_init)]
    fn rows() {
        let huge = u64::MAX;
        for (section, field, length, expected) in [
            ("14.1.2 both ends", "bytes=0-4", 10, Parts(vec![0..5])),
            ("14.1.2 one byte", "bytes=9-9", 10, Parts(vec![9..10])),
            ("14.1.2 past the end", "bytes=5-99", 10, Parts(vec![5..10])),
            ("14.1.2 open", "bytes=7-", 10, Parts(vec![7..10])),
            ("14.1.2 all, asked as players do", "bytes=0-", 10, Parts(vec![0..10])),
            ("14.1.2 the last", "bytes=-3", 10, Parts(vec![7..10])),
            ("14.1.2 the last, more than there are", "bytes=-30", 10, Parts(vec![0..10])),
            ("14.1.2 behind the end", "bytes=10-", 10, Unsatisfiable),
            ("14.1.2 the last none", "bytes=-0", 10, Unsatisfiable),
            ("14.1.2 of nothing", "bytes=0-", 0, Unsatisfiable),
            ("14.1.2 of nothing, the last none", "bytes=-0", 0, Unsatisfiable),
            ("14.1.2 of nothing, the last some", "bytes=-5", 0, Whole),
            ("14.1.2 of nothing, both", "bytes=0-1, -05", 0, Whole),
            (
                "14.1.2 above 4 GiB",
                "bytes=5000000000-5000000001",
                6_000_000_000,
                Parts(vec![5_000_000_000..5_000_000_002]),
            ),
            ("14.1.2 the largest", "bytes=0-18446744073709551615", huge, Parts(vec![0..huge])),
            ("14.1.2 larger than any", "bytes=99999999999999999999999-", 10, Unsatisfiable),
            ("14.1.2 ends larger than any", "bytes=1-99999999999999999999999", 10, Parts(vec![1..10])),
            ("14.1.2 last larger than any", "bytes=-99999999999999999999999", 10, Parts(vec![0..10])),
            ("14.1.2 many", "bytes=0-1,4-5", 10, Parts(vec![0..2, 4..6])),
            ("14.1.2 many, some not there", "bytes=20-30, 4-5", 10, Parts(vec![4..6])),
            ("14.1.2 many, none there", "bytes=20-30, 40-", 10, Unsatisfiable),
            ("15.3.7.2 in the order asked for", "bytes=8-9,0-1", 10, Parts(vec![8..10, 0..2])),
            ("15.3.7.2 overlapping", "bytes=0-5,3-8", 10, Parts(vec![0..9])),
            ("15.3.7.2 touching", "bytes=0-4,5-6", 10, Parts(vec![0..7])),
            ("15.3.7.2 within another", "bytes=0-8,3-4", 10, Parts(vec![0..9])),
            ("15.3.7.2 joined by a third", "bytes=8-9,0-1,2-7", 10, Parts(vec![0..10])),
            ("15.3.7.2 the same again", "bytes=0-,0-,0-", 10, Parts(vec![0..10])),
            ("5.6.1 blanks", "bytes= 0-1 ,\t4-5 ", 10, Parts(vec![0..2, 4..6])),
            ("5.6.1 empty members", "bytes=,0-1,,", 10, Parts(vec![0..2])),
            ("5.6.1 nothing but empty members", "bytes=, ,", 10, Whole),
            ("14.1 the unit knows no case", "Bytes=0-1", 10, Parts(vec![0..2])),
            ("14.2 another unit", "seconds=0-1", 10, Whole),
            ("14.2 no unit", "0-1", 10, Whole),
            ("14.2 no set", "bytes=", 10, Whole),
            ("14.2 no equals", "bytes 0-1", 10, Whole),
            ("14.2 a blank before equals", "bytes =0-1", 10, Whole),
            ("14.2 empty", "", 10, Whole),
            ("14.2 backwards", "bytes=5-4", 10, Whole),
            ("14.2 backwards behind the end", "bytes=50-40", 10, Whole),
            ("14.2 no number", "bytes=-", 10, Whole),
            ("14.2 no dash", "bytes=5", 10, Whole),
            ("14.2 two dashes", "bytes=1--5", 10, Whole),
            ("14.2 a sign", "bytes=+1-5", 10, Whole),
            ("14.2 hex", "bytes=0x1-5", 10, Whole),
            ("14.2 blanks within", "bytes=1 - 5", 10, Whole),
            ("14.2 one of many malformed", "bytes=0-1,x", 10, Whole),
        ] {
            assert_eq!(parse(field.as_bytes(), length), expected, "{section}: {field:?} of {length}");
        }
    }

    #[test]
    fn too_many_ranges_get_the_whole_body() {
        let many = |count: u64| format!("bytes={}", (0..count).map(|n| format!("{0}-{0},", n * 2)).collect::<String>());
        assert!(matches!(parse(many(100).as_bytes(), 1000), Parts(parts) if parts.len() == 100));
        assert_eq!(parse(many(101).as_bytes(), 1000), Whole);
        assert_eq!(parse(many(101).as_bytes(), 0), Whole, "more than 100 ranges of an empty body");
    }

    /// Returns one range as a set of positions.
    fn model(spec: (Option<u64>, Option<u64>), length: u64) -> BTreeSet<u64> {
        let positions = 0..length;
        match spec {
            (Some(first), Some(last)) => positions.filter(|at| (first..=last).contains(at)).collect(),
            (Some(first), None) => positions.filter(|at| *at >= first).collect(),
            (None, Some(count)) => positions.filter(|at| length - at <= count).collect(),
            (None, None) => unreachable!(),
        }
    }

    fn spec() -> impl Strategy<Value = (Option<u64>, Option<u64>)> {
        prop_oneof![
            (0u64..60, 0u64..60).prop_map(|(a, b)| (Some(a.min(b)), Some(a.max(b)))),
            (0u64..60).prop_map(|first| (Some(first), None)),
            (0u64..60).prop_map(|count| (None, Some(count))),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn ranges_agree_with_a_number_line_model(specs in prop::collection::vec(spec(), 1..6), length in 0u64..50) {
            let show = |end: Option<u64>| end.map(|end| end.to_string()).unwrap_or_default();
            let list: Vec<_> = specs.iter().map(|(first, last)| format!("{}-{}", show(*first), show(*last))).collect();
            let field = format!("bytes={}", list.join(","));
            let wanted: Vec<BTreeSet<u64>> = specs.iter().map(|spec| model(*spec, length)).collect();
            let all: BTreeSet<u64> = wanted.iter().flatten().copied().collect();
            match parse(field.as_bytes(), length) {
                Parts(parts) => {
                    let given: BTreeSet<u64> = parts.iter().cloned().flatten().collect();
                    prop_assert_eq!(&given, &all, "{} of {}", field, length);
                    prop_assert_eq!(parts.iter().map(|part| part.end - part.start).sum::<u64>(), all.len() as u64, "a byte twice: {}", field);
                    prop_assert!(parts.iter().all(|part| !part.is_empty() && !all.contains(&part.end)), "could be joined: {}", field);
                    let place = |part: &Range<u64>| wanted.iter().position(|bytes| bytes.iter().any(|at| part.contains(at)));
                    prop_assert!(parts.windows(2).all(|pair| place(&pair[0]) < place(&pair[1])), "out of order: {}", field);
                }
                Unsatisfiable => prop_assert!(all.is_empty(), "{field} of {length}"),
                Whole => prop_assert!(length == 0 && specs.iter().any(|spec| matches!(spec, (None, Some(1..)))), "{field} of {length}"),
            }
        }

        #[test]
        fn arbitrary_input_is_handled_safely(field in prop_oneof![any::<Vec<u8>>(), "bytes=[-0-9, ]{0,40}".prop_map(String::into_bytes)], length: u64) {
            if let Parts(parts) = parse(&field, length) {
                prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= length));
            }
        }
    }
}
