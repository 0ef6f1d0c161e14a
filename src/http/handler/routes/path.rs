//! Paths and patterns as they are matched: decoded, but for what would be taken for a slash. Pure. Used by `routes`.

use std::borrow::Cow;

/// In paths that are matched `%` and `/` within a segment stay encoded.
pub(super) fn escaped(pattern: &str) -> String {
    pattern.replace('%', "%25")
}

/// A path in which only `%2F` and `%25` are still encoded, so that a segment with a slash in it is one segment.
pub(super) fn decoded_but_slashes(raw: &str) -> Cow<'_, str> {
    if !raw.contains('%') {
        return Cow::Borrowed(raw);
    }
    let mut path = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let escape = rest.get(..3).filter(|_| byte == b'%');
        match escape.and_then(|escape| percent_encoding::percent_decode(escape).next()) {
            Some(decoded) => {
                match decoded {
                    b'/' => path.extend_from_slice(b"%2F"),
                    b'%' => path.extend_from_slice(b"%25"),
                    decoded => path.push(decoded),
                }
                rest = &rest[3..];
            }
            None => {
                path.push(byte);
                rest = behind;
            }
        }
    }
    Cow::Owned(String::from_utf8(path).unwrap_or_else(|err| String::from_utf8_lossy(err.as_bytes()).into_owned()))
}
