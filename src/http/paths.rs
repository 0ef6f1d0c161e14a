//! Paths in URLs. Used by `files` and `layers`, and by handlers that make links.

use std::ops::Range;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

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

/// Returns whether this is a control character or a formatting character of bidirectional text (Unicode Standard Annex
/// #9, section 2): with them a name or
/// a line could look like another one.
pub(crate) fn is_misleading(character: char) -> bool {
    const MARKS: [Range<char>; 4] =
        ['\u{61c}'..'\u{61d}', '\u{200e}'..'\u{2010}', '\u{202a}'..'\u{202f}', '\u{2066}'..'\u{206a}'];
    character.is_control() || MARKS.iter().any(|marks| marks.contains(&character))
}
