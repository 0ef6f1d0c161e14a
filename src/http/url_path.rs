//! The path of a URL in its canonical form: split at its slashes, each name decoded once. No other code decodes a path.
//! Used by `request` for the path of each request, and by `files` and `layers` for all other paths written by clients
//! or users: `Destination`, rules, prefixes.

use std::borrow::Cow;
use std::fmt;

use super::paths::encode_path;

/// The path of a URL on this server, decoded: `/a/b c`.
///
/// It begins with a slash. No name in it is empty, `.` or `..`, and none contains a slash or NUL, so splitting it at
/// its slashes returns the names that the client meant. A slash can follow the last name.
///
/// ```
/// use modest::UrlPath;
///
/// let path = UrlPath::parse("/my%20photos/a.jpg")?;
/// assert_eq!(path.as_bytes(), b"/my photos/a.jpg");
/// assert_eq!(path.names().count(), 2);
/// for other in ["photos", "/a/../b", "/a//b", "/a%2Fb", "/%00", "/100%"] {
///     assert!(UrlPath::parse(other).is_err(), "{other}");
/// }
/// # Ok::<(), modest::InvalidUrlPath>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UrlPath<'a>(Cow<'a, [u8]>);

/// The reason why a text is not a [`UrlPath`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidUrlPath(pub(crate) Fault);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does not begin with a slash, leads above the root, or contains NUL or a percent sign without two hexadecimal
    /// digits.
    Malformed,
    /// A name contains an encoded slash: no file can have such a name.
    NoSuchName,
    /// The text is another form of this path, with empty or dot segments.
    SpellingOf(UrlPath<'static>),
}

impl<'a> UrlPath<'a> {
    /// The root: `/`.
    pub const ROOT: UrlPath<'static> = UrlPath(Cow::Borrowed(b"/"));

    /// Parses the path of a URL. Characters that are not percent-encoded are taken literally.
    ///
    /// # Errors
    /// If the text is not a path, or is not in canonical form. In the second case the error contains the canonical
    /// path.
    pub fn parse(text: &'a str) -> Result<UrlPath<'a>, InvalidUrlPath> {
        if is_plain(text.as_bytes()) {
            return Ok(UrlPath(Cow::Borrowed(text.as_bytes())));
        }
        decode(text.as_bytes()).map(|decoded| UrlPath(Cow::Owned(decoded))).map_err(InvalidUrlPath)
    }

    /// Parses the path of a URL. Repeated slashes count as one, and an encoded slash as a slash. A path with dot
    /// segments, even between encoded slashes, is still not canonical.
    pub(crate) fn parse_leniently(text: &'a str) -> Result<UrlPath<'a>, InvalidUrlPath> {
        match UrlPath::parse(text) {
            Err(InvalidUrlPath(fault @ (Fault::NoSuchName | Fault::SpellingOf(_)))) => {
                let merged = merge(text.as_bytes()).map(|path| UrlPath(Cow::Owned(path)));
                merged.ok_or(InvalidUrlPath(fault))
            }
            result => result,
        }
    }

    /// Returns a decoded path that the program has set as a `UrlPath`.
    ///
    /// # Panics
    /// If it is not in canonical form: a rule for another path could allow too much.
    #[track_caller]
    pub(crate) fn configured(path: &'a str) -> UrlPath<'a> {
        let expected = "expected a path that begins with a slash, without empty, `.` or `..` segments";
        UrlPath::from_decoded(path.as_bytes()).unwrap_or_else(|| panic!("{path:?} is not a path: {expected}"))
    }

    /// Returns a decoded path as a `UrlPath`, or `None` if it is not in canonical form.
    pub fn from_decoded(path: &'a [u8]) -> Option<UrlPath<'a>> {
        let names = path.strip_prefix(b"/")?;
        let names = names.strip_suffix(b"/").unwrap_or(names);
        let is_name = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
        let are_names = path == b"/" || names.split(|&byte| byte == b'/').all(is_name);
        are_names.then_some(UrlPath(Cow::Borrowed(path)))
    }

    /// Returns the path, decoded, with its slashes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the names between the slashes.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
    }

    /// Returns whether a slash follows the last name, as in the path of a folder.
    pub fn has_trailing_slash(&self) -> bool {
        self.0.ends_with(b"/")
    }

    /// Returns the rest of this path after another path, or `None` if this path is not below the other. The other path
    /// is decoded, without a slash at its end, such as [`Request::mount_path`](crate::Request::mount_path). For `/a/b`
    /// and `/a` the rest is `/b`; for `/a` and `/a` it is empty.
    pub fn beneath(&self, other: &[u8]) -> Option<&[u8]> {
        self.0.strip_prefix(other).filter(|rest| rest.is_empty() || rest.starts_with(b"/"))
    }

    /// Wraps a path that [`is_plain`].
    pub(crate) fn plain(path: &'a [u8]) -> UrlPath<'a> {
        UrlPath(Cow::Borrowed(path))
    }

    pub(crate) fn borrowed(&self) -> UrlPath<'_> {
        UrlPath(Cow::Borrowed(&self.0))
    }

    /// Returns the path with its own copy of borrowed bytes.
    pub fn into_owned(self) -> UrlPath<'static> {
        UrlPath(Cow::Owned(self.0.into_owned()))
    }
}

/// Displays the path percent-encoded, as in a URL.
impl fmt::Display for UrlPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode_path(&self.0))
    }
}

impl InvalidUrlPath {
    /// Returns the path that the text means, if it is only not in canonical form: `/b` for `/a/../b`.
    pub fn canonical(&self) -> Option<&UrlPath<'static>> {
        match &self.0 {
            Fault::SpellingOf(path) => Some(path),
            Fault::Malformed | Fault::NoSuchName => None,
        }
    }
}

impl fmt::Display for InvalidUrlPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Fault::Malformed => f.write_str(
                "expected a path that begins with a slash, stays below the root and has two hexadecimal digits after each %",
            ),
            Fault::NoSuchName => f.write_str("a name in the path contains an encoded slash"),
            Fault::SpellingOf(path) => write!(f, "this path is another spelling of {path}"),
        }
    }
}

impl std::error::Error for InvalidUrlPath {}

/// Returns whether a path is canonical as sent: it needs no decoding, and no name is empty or consists of dots.
pub(crate) fn is_plain(path: &[u8]) -> bool {
    let mut before = b' ';
    for &byte in path {
        if matches!(byte, b'%' | 0) || before == b'/' && matches!(byte, b'/' | b'.') {
            return false;
        }
        before = byte;
    }
    path.first() == Some(&b'/')
}

/// Returns the position after the first `count` names of a path, before the slash that follows.
pub(crate) fn end_of_names(path: &[u8], count: u32) -> usize {
    let mut slashes = memchr::memchr_iter(b'/', path);
    slashes.nth(count as usize).unwrap_or(path.len())
}

/// Returns where the first names of a path as sent end: before the slash after them. Slashes can be repeated or
/// encoded, as in [`UrlPath::parse_leniently`], so that these are the same names as in the decoded path.
pub(crate) fn end_of_raw_names(path: &[u8], count: u32) -> usize {
    let slash = |at: usize| match &path[at..] {
        [b'/', ..] => 1,
        [b'%', b'2', b'F' | b'f', ..] => 3,
        _ => 0,
    };
    let mut at = 0;
    for _ in 0..count {
        while slash(at) > 0 {
            at += slash(at);
        }
        while at < path.len() && slash(at) == 0 {
            at += 1;
        }
    }
    at
}

/// Removes dot segments (RFC 3986, section 5.2.4) and empty ones, and decodes each name once.
fn decode(raw: &[u8]) -> Result<Vec<u8>, Fault> {
    let rest = raw.strip_prefix(b"/").ok_or(Fault::Malformed)?;
    let mut decoded = Vec::with_capacity(raw.len());
    let (mut other_spelling, mut no_such_name, mut is_folder) = (false, None, true);
    let mut segments = rest.split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        let start = decoded.len();
        decoded.push(b'/');
        decode_name(segment, &mut decoded)?;
        let name = &decoded[start + 1..];
        is_folder = matches!(name, b"" | b"." | b"..");
        match name {
            b"" | b"." => {
                other_spelling |= !(is_last && name.is_empty());
                decoded.truncate(start);
            }
            b".." => {
                other_spelling = true;
                let parent = memchr::memrchr(b'/', &decoded[..start]).ok_or(Fault::Malformed)?;
                decoded.truncate(parent);
                no_such_name = no_such_name.filter(|&at| at < parent);
            }
            _ if name.contains(&b'/') => {
                // A later `..` removes the name anyway, so the slash must not count as a separator.
                decoded.truncate(start + 1);
                no_such_name = no_such_name.or(Some(start));
            }
            _ => {}
        }
    }
    if is_folder {
        decoded.push(b'/');
    }
    match other_spelling {
        _ if no_such_name.is_some() => Err(Fault::NoSuchName),
        true => Err(Fault::SpellingOf(UrlPath(Cow::Owned(decoded)))),
        false => Ok(decoded),
    }
}

/// Decodes a path and removes its empty segments. `None`: it has dot segments.
fn merge(raw: &[u8]) -> Option<Vec<u8>> {
    let (mut decoded, mut merged) = (Vec::new(), Vec::new());
    decode_name(raw, &mut decoded).ok()?;
    for name in decoded.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
        if matches!(name, b"." | b"..") {
            return None;
        }
        merged.push(b'/');
        merged.extend_from_slice(name);
    }
    if decoded.ends_with(b"/") {
        merged.push(b'/');
    }
    Some(merged)
}

fn decode_name(segment: &[u8], to: &mut Vec<u8>) -> Result<(), Fault> {
    let mut bytes = segment.iter();
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16).map(|digit| digit as u8);
    while let Some(&byte) = bytes.next() {
        let byte = match byte {
            b'%' => match (digit(bytes.next()), digit(bytes.next())) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(Fault::Malformed),
            },
            byte => byte,
        };
        if byte == 0 {
            return Err(Fault::Malformed);
        }
        to.push(byte);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::http::request::target;

    fn shown(text: &str) -> String {
        match UrlPath::parse(text) {
            Ok(path) => String::from_utf8_lossy(path.as_bytes()).into_owned(),
            Err(InvalidUrlPath(Fault::SpellingOf(path))) => format!("-> {path}"),
            Err(InvalidUrlPath(fault)) => format!("{fault:?}"),
        }
    }

    #[test]
    fn paths_are_decoded_to_the_canonical_form() {
        for (text, expected) in [
            ("/", "/"),
            ("/a", "/a"),
            ("/a/", "/a/"),
            ("/a/b.txt", "/a/b.txt"),
            ("/a%20b", "/a b"),
            ("/a b", "/a b"),
            ("/%61", "/a"),
            ("/%2561", "/%61"),
            ("/ü", "/ü"),
            ("/%C3%bc", "/ü"),
            ("/.a", "/.a"),
            ("/...", "/..."),
            ("/..a/b..", "/..a/b.."),
            ("/.well-known/x", "/.well-known/x"),
            // not in canonical form
            ("//", "-> /"),
            ("//a", "-> /a"),
            ("/a//", "-> /a/"),
            ("/a//b", "-> /a/b"),
            ("/.", "-> /"),
            ("/./a", "-> /a"),
            ("/a/.", "-> /a/"),
            ("/a/..", "-> /"),
            ("/a/../", "-> /"),
            ("/a/../b", "-> /b"),
            ("/a/%2e%2E/b", "-> /b"),
            ("/a/.%2e/b", "-> /b"),
            ("/a/%2e/b c", "-> /a/b%20c"),
            ("/a%2Fb/../c", "-> /c"),
            ("/a/b%2Fc/../../d", "-> /d"),
            // no file can have these names
            ("/a%2Fb", "NoSuchName"),
            ("/a%2fb/", "NoSuchName"),
            ("/%2F", "NoSuchName"),
            ("/a/../b%2Fc", "NoSuchName"),
            ("/a%2Fb/c/..", "NoSuchName"),
            ("/a%2Fb/c%2Fd/..", "NoSuchName"),
            ("/..%2F..%2Fetc/passwd", "NoSuchName"),
            ("/x%2f..%2f..", "NoSuchName"),
            // not a path
            ("", "Malformed"),
            ("*", "Malformed"),
            ("a", "Malformed"),
            ("/..", "Malformed"),
            ("/../a", "Malformed"),
            ("/a/../../b", "Malformed"),
            ("/%2F/../../a", "Malformed"),
            ("/%2e%2e/etc/passwd", "Malformed"),
            ("/%", "Malformed"),
            ("/%a", "Malformed"),
            ("/%zz", "Malformed"),
            ("/%+1", "Malformed"),
            ("/%00", "Malformed"),
            ("/a\0b", "Malformed"),
            ("/a%2Fb/%00", "Malformed"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn decoded_paths_are_checked() {
        for (path, expected) in [
            ("/", Some((true, 0))),
            ("/a", Some((false, 1))),
            ("/a/%2e/", Some((true, 2))),
            ("/..a/...", Some((false, 2))),
            ("", None),
            ("a", None),
            ("//", None),
            ("/a//", None),
            ("/a//b", None),
            ("/.", None),
            ("/a/./b", None),
            ("/a/..", None),
            ("/../", None),
            ("/a\0", None),
        ] {
            let found = UrlPath::from_decoded(path.as_bytes());
            assert_eq!(found.map(|path| (path.has_trailing_slash(), path.names().count())), expected, "{path}");
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (text, canonical, why) in [
            ("/a/../b c", Some("/b%20c"), "another spelling of /b%20c"),
            ("/a%2Fb", None, "an encoded slash"),
            ("/%", None, "two hexadecimal digits"),
        ] {
            let error = UrlPath::parse(text).expect_err(text);
            assert_eq!(error.canonical().map(UrlPath::to_string).as_deref(), canonical, "{text}");
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn lenient_paths() {
        for (text, expected) in [
            ("/", "/"),
            ("//", "/"),
            ("//a//b//", "/a/b/"),
            ("/a%2Fb", "/a/b"),
            ("/%2f", "/"),
            ("/a%2F%2f%2Fb%20c/", "/a/b c/"),
            ("/a//.b", "/a/.b"),
            // dot segments as in strict paths
            ("//a/./b", "-> /a/b"),
            ("/a//../b", "-> /b"),
            ("/a%2F..%2Fb", "NoSuchName"),
            ("/..%2F", "NoSuchName"),
            ("/../a", "Malformed"),
            ("a//b", "Malformed"),
            ("/a//%00", "Malformed"),
        ] {
            let found = match UrlPath::parse_leniently(text) {
                Ok(path) => {
                    assert!(UrlPath::from_decoded(path.as_bytes()).is_some(), "{text}: {path:?}");
                    String::from_utf8_lossy(path.as_bytes()).into_owned()
                }
                Err(InvalidUrlPath(Fault::SpellingOf(path))) => format!("-> {path}"),
                Err(InvalidUrlPath(fault)) => format!("{fault:?}"),
            };
            assert_eq!(found, expected, "{text}");
        }
    }

    /// For any bytes: an accepted path has the canonical form, and is accepted unchanged as the target of a redirect.
    #[test]
    fn every_result_is_canonical() {
        let letters: Vec<&str> = vec!["/", ".", "a", "%2e", "%2F", "%61", "%00", "%", "é", " "];
        let mut texts = vec![String::from("/")];
        for _ in 0..5 {
            texts = texts.iter().flat_map(|text| letters.iter().map(move |letter| format!("{text}{letter}"))).collect();
            for text in &texts {
                // The parser of targets has the same result as `is_plain`.
                if let Ok(target) = target::parse(text.as_bytes(), &Method::GET) {
                    assert_eq!(target.needs_decoding, !is_plain(text.as_bytes()), "{text}");
                }
                let path = match UrlPath::parse(text) {
                    Ok(path) => path,
                    Err(InvalidUrlPath(Fault::SpellingOf(path))) => {
                        let encoded = path.to_string();
                        assert_eq!(UrlPath::parse(&encoded), Ok(path.clone()), "{text}");
                        path
                    }
                    Err(_) => continue,
                };
                assert!(UrlPath::from_decoded(path.as_bytes()).is_some(), "{text}: {path:?}");
            }
        }
    }

    #[test]
    fn beneath_returns_the_rest_of_the_path() {
        for (path, other, expected) in [
            ("/a/b", "/a", Some("/b")),
            ("/a", "/a", Some("")),
            ("/a/", "/a", Some("/")),
            ("/ab", "/a", None),
            ("/b", "/a", None),
            ("/b", "", Some("/b")),
        ] {
            let found = UrlPath::parse(path).unwrap();
            assert_eq!(found.beneath(other.as_bytes()), expected.map(str::as_bytes), "{path} {other}");
        }
    }
}
