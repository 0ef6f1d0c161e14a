//! Page 10.

use std::sync::Arc;

use lessons::head::Rejection;
use lessons::http::{Handler, Response};

use crate::served;

/// Exercise 1: sizes with extensions, and fields after the last chunk, both of a bounded length.
fn chunked(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Rejection> {
    let (mut body, mut rest) = (Vec::new(), bytes);
    loop {
        let Some((line, after)) = line(rest)? else { return Ok(None) };
        let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(size).map_err(|_| (400, "not a size"))?;
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err((400, "not a size"));
        }
        let size = usize::from_str_radix(size, 16).map_err(|_| (413, "the body is too long"))?;
        if size == 0 {
            let trailers = trailers(after)?;
            return Ok(trailers.map(|rest| (body, bytes.len() - rest.len())));
        }
        if size > 32_768 - body.len() {
            return Err((413, "the body is too long"));
        }
        match after.get(size..size + 2) {
            None => return Ok(None),
            Some(b"\r\n") => {}
            Some(_) => return Err((400, "a chunk is longer than its size")),
        }
        body.extend_from_slice(&after[..size]);
        rest = &after[size + 2..];
    }
}

type LineAndRest<'a> = (&'a [u8], &'a [u8]);

/// A line of up to 100 bytes, and the rest.
fn line(bytes: &[u8]) -> Result<Option<LineAndRest<'_>>, Rejection> {
    match bytes.windows(2).position(|window| window == b"\r\n") {
        Some(end) if end <= 100 => Ok(Some((&bytes[..end], &bytes[end + 2..]))),
        None if bytes.len() <= 101 => Ok(None),
        _ => Err((400, "a line of the body is too long")),
    }
}

/// Skips up to ten fields and the empty line after them. Returns the rest.
fn trailers(mut rest: &[u8]) -> Result<Option<&[u8]>, Rejection> {
    for _ in 0..=10 {
        let Some((field, after)) = line(rest)? else { return Ok(None) };
        if field.is_empty() {
            return Ok(Some(after));
        }
        rest = after;
    }
    Err((400, "too many trailers"))
}

/// Exercise 2: 1.1 stays open unless `close` is among the options, 1.0 closes unless `keep-alive` is. `close` wins.
fn keep_alive(is_http11: bool, connection: &str) -> bool {
    let has = |option: &str| connection.split(',').any(|one| one.trim().eq_ignore_ascii_case(option));
    !has("close") && (is_http11 || has("keep-alive"))
}

#[test]
fn chunked_bodies_are_parsed_strictly() {
    for (bytes, expected) in [
        ("0\r\n\r\n", Ok(Some(""))),
        ("4\r\nname\r\n3\r\n=me\r\n0\r\n\r\n", Ok(Some("name=me"))),
        ("4;a=b\r\nname\r\n0;c\r\nExpires: never\r\n\r\n", Ok(Some("name"))),
        ("4\r\nna", Ok(None)),
        ("0\r\nA: b\r\n", Ok(None)),
        ("+4\r\nname\r\n0\r\n\r\n", Err(400)),
        ("\r\n", Err(400)),
        ("3\r\nname\r\n", Err(400)),
        ("fffffffffffffffffffffff\r\n", Err(413)),
    ] {
        let got = chunked(bytes.as_bytes()).map(|found| found.map(|(body, _)| String::from_utf8(body).unwrap()));
        assert_eq!(got.map_err(|(status, _)| status), expected.map(|body| body.map(str::to_owned)), "{bytes:?}");
    }
    assert!(chunked(&[b'1'; 200]).is_err() && chunked("0\r\n".to_owned().as_bytes()).is_ok());
    assert!(chunked(format!("0\r\n{}", "A: b\r\n".repeat(11)).as_bytes()).is_err());
}

#[test]
fn keep_alive_by_version_and_connection_field() {
    for (is_http11, connection, expected) in [
        (true, "", true),
        (true, "close", false),
        (true, "Upgrade, Close", false),
        (false, "", false),
        (false, "Keep-Alive", true),
        (false, "keep-alive, close", false),
    ] {
        assert_eq!(keep_alive(is_http11, connection), expected, "{is_http11} {connection:?}");
    }
}

/// Exercise 3.
#[test]
fn cuts_change_nothing() {
    let handler: Handler = Arc::new(|request| Ok(Response::new(200, "text/plain", request.body.clone())));
    let stream = b"GET / HTTP/1.1\r\nHost: me\r\n\r\nPOST / HTTP/1.1\r\nHost: me\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n\
                   POST / HTTP/1.1\r\nHost: me\r\nContent-Length: 2\r\nConnection: close\r\n\r\nho";
    let whole = served(&handler, &[stream]);
    assert_eq!(whole.windows(4).filter(|window| window == b"HTTP").count(), 3);
    for cut in 0..=stream.len() {
        let (one, two) = stream.split_at(cut);
        assert_eq!(served(&handler, &[one, two]), whole, "cut at {cut}");
    }
}
