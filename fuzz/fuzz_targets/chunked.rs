//! A chunked body: any split gives the same body as the reference parser.
#![no_main]

#[path = "../model.rs"]
mod model;

use libfuzzer_sys::fuzz_target;
use model::Chunked;
use modest::fuzzing;

fuzz_target!(|bytes: &[u8]| {
    let whole = fuzzing::chunked(bytes, [bytes.len()], 64 * 1024);
    assert_eq!(fuzzing::chunked(bytes, 0..=bytes.len(), 64 * 1024), whole, "byte by byte");
    assert_eq!(fuzzing::chunked(bytes, model::cuts(bytes), 7), whole, "in pieces, and to a file");
    match (whole, model::chunked(bytes)) {
        (Ok(Some((used, body))), expected) => assert_eq!(Chunked::Whole(used, body), expected),
        (Err(status), Chunked::Whole(..)) => assert!(is_long(bytes), "refused with {status}"),
        // A size above the limit of these bodies is rejected before its bytes arrive.
        (Ok(None), expected) => assert!(expected != Chunked::Bad || has_bare_end(bytes), "{expected:?}"),
        (Err(_), Chunked::Bad | Chunked::Partial) => {}
    }
});

/// Whether a limit may have been reached.
fn is_long(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    lines.any(|line| line.len() > 4000)
        || bytes.windows(2).filter(|two| two == b"\r\n").count() > 100
        || bytes.len() > 16_000
}

/// The reference rejects a line once it is complete, and so does the parser. So only incomplete lines may differ.
fn has_bare_end(bytes: &[u8]) -> bool {
    !bytes.ends_with(b"\r\n")
}
