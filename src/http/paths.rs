//! Paths in URLs, and the locations of redirects. Used by `files` and `layers`, and by handlers that make links.

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_encode, utf8_percent_encode};

/// All characters that must be encoded in a path (RFC 3986, section 3.3: all but pchar and slashes).
const NOT_IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'/');
const NOT_IN_SEGMENT: &AsciiSet = &NOT_IN_PATH.add(b'/');
/// Characters that RFC 3986 excludes from a URI. `%` is allowed, so encoded text is not encoded again.
const NOT_IN_URI: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// Encodes a path for a URL, for links and redirects (Python's `urllib.parse.quote`): every character that is not
/// allowed in a path is percent-encoded, byte by byte. Slashes stay. A query or a fragment is not part of a path: `?`
/// and `#` are encoded.
///
/// ```
/// assert_eq!(modest::encode_path("/café/100%?.txt"), "/caf%C3%A9/100%25%3F.txt");
/// assert_eq!(modest::encode_path(b"\xff"), "%FF"); // any file name of Linux
/// ```
///
/// A path that begins with two slashes would name another host (RFC 3986, section 4.2). The caller must prevent that.
#[doc(alias("quote", "urllib.parse.quote", "encodeURI"))]
pub fn encode_path(path: impl AsRef<[u8]>) -> String {
    percent_encode(path.as_ref(), NOT_IN_PATH).to_string()
}

/// Encodes one segment of a path for a URL (Python's `quote(name, safe="")`): as [`encode_path`] does, and also its
/// slashes. So a name that a client has chosen stays one name.
///
/// ```
/// assert_eq!(modest::encode_segment("a/b ü"), "a%2Fb%20%C3%BC");
/// ```
///
/// By default, this server responds with 404 to a path with an encoded slash. If names can contain slashes, put them
/// into the query.
#[doc(alias("quote", "urllib.parse.quote", "encodeURIComponent"))]
pub fn encode_segment(segment: impl AsRef<[u8]>) -> String {
    percent_encode(segment.as_ref(), NOT_IN_SEGMENT).to_string()
}

/// Encodes a URI reference for the field `Location`. Encoded characters are not encoded again.
pub(crate) fn encode_location(location: &str) -> String {
    utf8_percent_encode(location, NOT_IN_URI).to_string()
}
