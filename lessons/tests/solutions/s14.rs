//! Page 14.
//!
//! Exercise 3: an example. Without `if size > MAX_BODY - body.len()` in `chunked`, no run fails, since no body of the
//! generator is longer than 20 bytes. A long body is missing; with it, `size + 2` can overflow.

use lessons::head::{Head, MAX_HEAD, Rejection, parse};
use lessons::message::request;

/// Exercise 1: the bound holds for a head that is complete as well.
fn bounded(bytes: &[u8]) -> Parsed {
    match parse(bytes)? {
        Some((_, length)) if length > MAX_HEAD => Err((431, "the head is too long")),
        None if bytes.len() >= MAX_HEAD => Err((431, "the head is too long")),
        found => Ok(found),
    }
}

type Parsed = Result<Option<(Head, usize)>, Rejection>;

/// Exercise 2: removes stretches of characters as long as it still fails. Single characters are not enough: a field
/// without its name, or without its colon, is another failure, so a line can only be removed as a whole.
fn shrink(mut input: String, fails: impl Fn(&str) -> bool) -> String {
    for length in (1..=20).rev().chain(1..=20) {
        let mut at = 0;
        while at + length <= input.len() {
            let shorter = format!("{}{}", &input[..at], &input[at + length..]);
            if fails(&shorter) { input = shorter } else { at += 1 }
        }
    }
    input
}

fn status<T>(result: Result<Option<T>, Rejection>) -> Option<u16> {
    result.map_or_else(|(status, _)| Some(status), |found| found.map(|_| 200))
}

/// In any order of arrival: once a decision is made, more bytes do not change it, and a cut does not change the last
/// one.
#[test]
fn a_cut_does_not_change_the_result_for_long_heads() {
    let head = |length: usize| format!("GET / HTTP/1.1\r\nHost: me\r\nX: {}\r\n\r\n", "x".repeat(length));
    let mut differs = false;
    for length in (8100..8250).chain([9000]) {
        let text = head(length);
        let decide = |parse: fn(&[u8]) -> Parsed| {
            let first = status(parse(&text.as_bytes()[..text.len() - 1]));
            (first.or_else(|| status(parse(text.as_bytes()))), status(parse(text.as_bytes())))
        };
        let (cut, whole) = decide(bounded);
        assert_eq!(cut, whole, "{length}");
        differs |= decide(parse).0 != decide(parse).1;
    }
    assert!(differs, "these lengths find the defect in `parse`");
}

#[test]
fn a_failing_request_is_shrunk_to_a_minimum() {
    let found = "POST / HTTP/1.1\r\nHost: me\r\nA:b\t\r\nContent-Length: +4\r\n\r\nxxxx";
    let fails = |text: &str| match request(text.as_bytes()) {
        Ok(Some((request, _))) => request.head.only("content-length").is_some_and(|length| length.starts_with('+')),
        _ => false,
    };
    assert_eq!(shrink(found.into(), fails), "T / HTTP/1.1\r\nHost:\r\nContent-Length:+4\r\n\r\nxxxx");
}
