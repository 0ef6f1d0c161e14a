//! A head: the parser accepts exactly the heads that the grammar accepts, and the result is the same for any pieces.
#![no_main]

#[path = "../../tests/talk/grammar.rs"]
mod grammar;
#[path = "../model.rs"]
mod model;

use libfuzzer_sys::fuzz_target;
use modest::fuzzing::{self, Head};

fuzz_target!(|bytes: &[u8]| {
    let whole = fuzzing::head(bytes, [bytes.len()]);
    assert_eq!(fuzzing::head(bytes, 0..=bytes.len()), whole, "byte by byte");
    assert_eq!(fuzzing::head(bytes, model::cuts(bytes)), whole, "in pieces");
    match &whole {
        Ok(Some(head)) => check(head, bytes),
        // The parser accepts what the grammar accepts within the limits.
        _ => assert!(bytes.len() > 1000 || !is_plain(bytes) || !model_takes(bytes), "refused: {whole:?}"),
    }
});

/// A single head of a kind that the reference supports, with fewer fields than the limit.
fn is_plain(bytes: &[u8]) -> bool {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let method = bytes.iter().position(|&byte| byte == b' ').unwrap_or_default();
    end == bytes.len().checked_sub(4)
        && method <= 64
        && !bytes.starts_with(b"CONNECT ")
        && bytes.windows(2).filter(|two| two == b"\r\n").count() < 20
}

/// Whether the grammar accepts the head. It has no URLs with `https`, which a connection without TLS rejects after the head
/// is parsed.
fn model_takes(bytes: &[u8]) -> bool {
    let target = bytes.iter().position(|&byte| byte == b' ').map_or(0, |space| space + 1);
    let is_https = bytes[target..].get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https://"));
    match is_https {
        true => grammar::model_takes(&[&bytes[..target + 4], &bytes[target + 5..]].concat()),
        false => grammar::model_takes(bytes),
    }
}

fn check(head: &Head, bytes: &[u8]) {
    let mut wire = &bytes[..head.length];
    while let Some(rest) = wire.strip_prefix(b"\r\n") {
        wire = rest;
    }
    assert!(wire.ends_with(b"\r\n\r\n"));
    assert!(head.path.starts_with('/') || head.path == "*" && head.method == "OPTIONS", "{head:?}");
    for (name, value) in &head.fields {
        assert!(model::is_field(&[name, &b":"[..], value].concat()), "{head:?}");
        assert_eq!(model::trim(value), value, "{head:?}");
    }
    let taken = model_takes(wire);
    let of_its_own = head.method == "CONNECT" || head.target == "*";
    match &head.framing {
        Ok(framing) => {
            assert!(taken || of_its_own, "taken: {head:?}");
            let count =
                |wanted: &[u8]| head.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).count();
            let (codings, lengths) = (count(b"transfer-encoding"), count(b"content-length"));
            assert!(lengths <= 1 && (codings == 0 || lengths == 0), "{head:?}");
            assert_eq!(framing.body.is_none(), codings > 0, "{head:?}");
            assert!(lengths == 1 || framing.body.unwrap_or_default() == 0, "{head:?}");
        }
        Err(status) => {
            let framed = ["transfer-encoding", "content-length", "expect"];
            let is_framed = head
                .fields
                .iter()
                .any(|(name, _)| framed.iter().any(|framed| name.eq_ignore_ascii_case(framed.as_bytes())));
            assert!(!taken || is_framed, "refused with {status}: {head:?}");
        }
    }
}
