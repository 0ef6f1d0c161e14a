//! Paths as they stand in URLs. Used by `files` and `layers`, and by handlers that make links.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// All but what may stand in a path without encoding (RFC 3986, section 3.3: pchar, and slashes).
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

/// A path as it stands in a URL, for links and redirects (Python's `urllib.parse.quote`): all but what may stand in a path is
/// percent-encoded, byte by byte; slashes stay. A query or a fragment is no part of a path: `?` and `#` are encoded.
///
/// ```
/// assert_eq!(modest::encode_path("/café/100%?.txt"), "/caf%C3%A9/100%25%3F.txt");
/// assert_eq!(modest::encode_path(b"\xff"), "%FF"); // a name as Linux has it
/// ```
///
/// A path that begins with two slashes would be the name of another host (RFC 3986, section 4.2): that it does not is the caller's to see to.
#[doc(alias("quote", "urllib.parse.quote", "encodeURI"))]
pub fn encode_path(path: impl AsRef<[u8]>) -> String {
    percent_encode(path.as_ref(), NOT_IN_PATH).to_string()
}
