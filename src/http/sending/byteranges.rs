//! Several ranges in one response: `multipart/byteranges` (RFC 9110, section 14.6).
//! Called by `sending`.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;

use http::HeaderValue;

/// The delimiters and part headers around several ranges.
pub(crate) struct Byteranges {
    boundary: String,
    /// Each range, after the bytes that precede it.
    pub(crate) parts: Vec<(Vec<u8>, Range<u64>)>,
    pub(crate) end: Vec<u8>,
}

impl Byteranges {
    /// Returns the delimiters for these ranges of a body of `length` bytes and this type.
    pub(crate) fn new(parts: Vec<Range<u64>>, length: u64, content_type: Option<&HeaderValue>) -> Byteranges {
        let boundary = boundary();
        // The first delimiter also begins with CRLF, as in nginx and Apache: the CRLF belongs to the delimiter (RFC
        // 2046, section 5.1.1), and clients such as zsync expect it.
        let introduced = |part: Range<u64>| {
            let mut lines = format!("\r\n--{boundary}\r\n").into_bytes();
            if let Some(content_type) = content_type {
                lines.extend_from_slice(b"Content-Type: ");
                lines.extend_from_slice(content_type.as_bytes());
                lines.extend_from_slice(b"\r\n");
            }
            lines.extend_from_slice(format!("Content-Range: {}\r\n\r\n", content_range(&part, length)).as_bytes());
            (lines, part)
        };
        let parts = parts.into_iter().map(introduced).collect();
        let end = format!("\r\n--{boundary}--\r\n").into_bytes();
        Byteranges { boundary, parts, end }
    }

    pub(crate) fn content_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    pub(crate) fn length(&self) -> u64 {
        let one = |(lines, part): &(Vec<u8>, Range<u64>)| (part.end - part.start).saturating_add(lines.len() as u64);
        self.parts.iter().map(one).fold(self.end.len() as u64, u64::saturating_add)
    }
}

/// Returns the value of Content-Range (section 14.4).
pub(crate) fn content_range(part: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", part.start, part.end - 1)
}

/// Returns 128 unpredictable bits, so that no body can contain the boundary on purpose. `RandomState` has keys from the
/// system.
fn boundary() -> String {
    let draw = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", draw(), draw())
}
