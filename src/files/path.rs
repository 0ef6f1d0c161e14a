//! Turns the path of a request into a path beneath the folder: split, decoded once, resolved. Called by `handler`.
//! It never accesses the disk; whether a file exists, and may be read, is found by `find`.
//!
//! A file has one path: any other spelling (`/a/../b`, `//b`, `/./b`) is redirected to it,
//! so that whoever restricts `/private/` by [`Request::path`](crate::Request::path) restricts all of it.

use std::borrow::Cow;
use std::ops::Range;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::encode_path;

/// All but unreserved characters (RFC 3986, section 2.3).
pub(super) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) const MAX_NAME: usize = 255; // NAME_MAX: no Linux file system has longer names
pub(super) const MAX_PATH: usize = 4095; // PATH_MAX without its NUL

/// What names of files begin with that are not whole yet: they are never served.
pub(super) const UPLOAD: &str = ".modest-upload-";

/// The result of resolving a request path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ResolvedPath {
    /// A path beneath the folder.
    Path(FilePath),
    /// The canonical path of the same file, percent-encoded, from the root of the server.
    Redirect(String),
    /// A path that no file can have.
    NotFound,
    /// Not a valid path: 400.
    Malformed,
}

/// A path beneath the folder, in the bytes of the file system.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FilePath {
    /// The segments joined by slashes; empty for the folder itself. No segment is empty, `.` or `..`,
    /// or contains a slash or NUL.
    pub bytes: Vec<u8>,
    /// Whether a slash followed the last segment, as for a folder.
    pub trailing_slash: bool,
}

impl FilePath {
    /// The path with its slash, but for the folder itself: what is kept of it is kept by this, however it is spelled.
    pub fn key(&self) -> Cow<'_, [u8]> {
        match self.trailing_slash && !self.bytes.is_empty() {
            true => Cow::Owned([&self.bytes, &b"/"[..]].concat()),
            false => Cow::Borrowed(&self.bytes),
        }
    }
}

/// The key of a path that is spelled as its bytes are: with nothing to decode, resolve or redirect. `None`: it may be
/// another spelling.
pub(super) fn plain<'a>(raw: &'a str, mount: &[Vec<u8>]) -> Option<&'a [u8]> {
    let mut rest = raw.as_bytes();
    for segment in mount {
        rest = rest.strip_prefix(b"/")?.strip_prefix(&segment[..])?;
    }
    let key = rest.strip_prefix(b"/")?;
    let mut before = b'/';
    for &byte in key {
        if byte == b'%' || before == b'/' && matches!(byte, b'/' | b'.') {
            return None;
        }
        before = byte;
    }
    Some(key)
}

/// Parse and resolve the path of a request. `mount` are the segments of the prefix.
pub(super) fn resolve(raw: &str, mount: &[Vec<u8>]) -> ResolvedPath {
    let Some(rest) = raw.strip_prefix('/') else { return ResolvedPath::Malformed };
    let mut builder = PathBuilder::default();
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        match builder.step(segment, segments.peek().is_none()) {
            Step::Continue => {}
            Step::Malformed => return ResolvedPath::Malformed,
            Step::NotFound => builder.not_found = true, // a later segment may still be malformed
        }
    }
    builder.end(mount)
}

/// Whether a segment is hidden: it begins with a dot.
/// `.well-known` at the top is not hidden (RFC 8615).
pub(super) fn is_hidden(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/')
        .enumerate()
        .any(|(depth, name)| name.starts_with(b".") && !(depth == 0 && name == b".well-known"))
}

/// Whether a segment is the name of a file that is not whole yet.
pub(super) fn is_upload(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').any(|name| name.starts_with(UPLOAD.as_bytes()))
}

/// Control characters, and the formatting characters of bidirectional text (Unicode Standard Annex #9, section 2): with
/// them a name might look like another one.
pub(super) fn is_misleading(character: char) -> bool {
    const MARKS: [Range<char>; 4] =
        ['\u{61c}'..'\u{61d}', '\u{200e}'..'\u{2010}', '\u{202a}'..'\u{202f}', '\u{2066}'..'\u{206a}'];
    character.is_control() || MARKS.iter().any(|marks| marks.contains(&character))
}

/// The last segment.
pub(super) fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

/// The path of the containing folder.
pub(super) fn parent(path: &[u8]) -> &[u8] {
    match memchr::memrchr(b'/', path) {
        Some(slash) => &path[..slash],
        None => b"",
    }
}

/// The path of an entry of a folder.
pub(super) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, name].join(&b'/') }
}

/// A path beneath the folder as that of the server, decoded: `/mount/a/b`.
pub(super) fn on_server(mount: &[Vec<u8>], path: &[u8]) -> Vec<u8> {
    [&of_mount(mount), &b"/"[..], path].concat()
}

/// The path of the folder itself on the server, decoded, without a slash at the end.
pub(super) fn of_mount(mount: &[Vec<u8>]) -> Vec<u8> {
    mount.iter().flat_map(|segment| [b"/", &segment[..]].concat()).collect()
}

/// Append a link to an entry of a folder. All but unreserved characters are encoded: a path may contain `'`, `&`, `;` and
/// `(`, but they end a name or change it for clients that take links out of a page by patterns (lftp, shell scripts);
/// and a link with a colon needs no `./` in front (section 4.2).
pub(super) fn push_link(to: &mut String, name: &[u8]) {
    to.extend(percent_encode(name, RESERVED));
}

/// The URL path of a file or folder: exactly one slash at the start, as two would begin
/// the name of another host (RFC 3986, section 4.2); a backslash is encoded, as browsers take it for a slash.
/// Reserved characters stay as they are: scripts compare `location.pathname` with `/@user/` and `/wiki/A_(b)/`.
pub(super) fn location<'a>(segments: impl IntoIterator<Item = &'a [u8]>, trailing_slash: bool) -> String {
    let mut location = String::new();
    for segment in segments {
        location.push('/');
        location.push_str(&encode_path(segment));
    }
    if trailing_slash || location.is_empty() {
        location.push('/');
    }
    location
}

/// Collects the segments of a path.
#[derive(Default)]
struct PathBuilder {
    segments: Vec<Vec<u8>>,
    trailing_slash: bool,
    needs_redirect: bool,
    not_found: bool,
}

enum Step {
    Continue,
    NotFound,
    Malformed,
}

impl PathBuilder {
    fn step(&mut self, segment: &str, last: bool) -> Step {
        let Some(name) = decode(segment) else { return Step::Malformed };
        match &name[..] {
            b"" => {
                self.trailing_slash |= last;
                self.needs_redirect |= !last;
            }
            b"." | b".." => {
                if name.len() == 2 && self.segments.pop().is_none() {
                    return Step::Malformed;
                }
                self.trailing_slash |= last;
                self.needs_redirect = true;
            }
            // An encoded slash is part of a name, and no file has such a name.
            _ => {
                let valid = name.len() <= MAX_NAME && !name.contains(&b'/');
                self.segments.push(name); // a later `..` removes it all the same
                return if valid { Step::Continue } else { Step::NotFound };
            }
        }
        Step::Continue
    }

    fn end(self, mount: &[Vec<u8>]) -> ResolvedPath {
        let length: usize = self.segments.iter().map(|segment| segment.len() + 1).sum();
        if self.not_found || length > MAX_PATH || !self.segments.starts_with(mount) {
            return ResolvedPath::NotFound;
        }
        let beneath = &self.segments[mount.len()..];
        let trailing_slash = self.trailing_slash && !self.segments.is_empty();
        if self.needs_redirect || (beneath.is_empty() && !self.trailing_slash) {
            return ResolvedPath::Redirect(location(
                self.segments.iter().map(Vec::as_slice),
                trailing_slash || beneath.is_empty(),
            ));
        }
        ResolvedPath::Path(FilePath { bytes: beneath.join(&b'/'), trailing_slash: self.trailing_slash })
    }
}

fn decode(segment: &str) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'%' => decode_escape(bytes.next()?, bytes.next()?)?,
            0 => return None,
            _ => byte,
        });
    }
    Some(name)
}

fn decode_escape(high: u8, low: u8) -> Option<u8> {
    let byte = (char::from(high).to_digit(16)? * 16 + char::from(low).to_digit(16)?) as u8;
    (byte != 0).then_some(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(raw: &str, mount: &[&str]) -> String {
        let mount: Vec<Vec<u8>> = mount.iter().map(|segment| segment.as_bytes().to_vec()).collect();
        match resolve(raw, &mount) {
            ResolvedPath::Path(path) => {
                format!("{}{}", path.bytes.escape_ascii(), if path.trailing_slash { "/" } else { "" },)
            }
            ResolvedPath::Redirect(location) => format!("-> {location}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn paths() {
        let long = "a".repeat(256);
        let deep = "/a".repeat(2048);
        for (raw, expected) in [
            ("/", "/"),
            ("/a", "a"),
            ("/a/", "a/"),
            ("/a/b.txt", "a/b.txt"),
            ("/a%20b", "a b"),
            ("/%61", "a"),
            ("/%c3%bc", "\\xc3\\xbc"),
            ("/%C3%BC", "\\xc3\\xbc"),
            ("/%FF", "\\xff"),
            ("/%2541", "%41"),
            ("/a%5Cb", "a\\\\b"),
            ("/a\\b", "a\\\\b"),
            ("/a+b", "a+b"),
            ("/...", "..."),
            ("/a/...", "a/..."),
            ("/.a", ".a"),
            // one canonical path
            ("//", "-> /"),
            ("//a", "-> /a"),
            ("//evil.example/..", "-> /"),
            ("//evil.example/../sub", "-> /sub"),
            ("//evil.example/sub/", "-> /evil.example/sub/"),
            ("/\\evil.example/x/..", "-> /%5Cevil.example/"),
            ("/./%5Cevil.example", "-> /%5Cevil.example"),
            ("/./\\evil.example", "-> /%5Cevil.example"),
            ("/a//b", "-> /a/b"),
            ("/a//", "-> /a/"),
            ("/a/./b", "-> /a/b"),
            ("/a/%2e/b", "-> /a/b"),
            ("/a/../b", "-> /b"),
            ("/a/%2e%2E/b", "-> /b"),
            ("/a/.%2e/b", "-> /b"),
            ("/a/..", "-> /"),
            ("/a/b/..", "-> /a/"),
            ("/a/.", "-> /a/"),
            ("/.", "-> /"),
            ("/a/%0D%0Ax/../b%0D%0A", "-> /a/b%0D%0A"),
            ("/a/./ü", "-> /a/%C3%BC"),
            // malformed
            ("", "Malformed"),
            ("*", "Malformed"),
            ("a", "Malformed"),
            ("/..", "Malformed"),
            ("/../a", "Malformed"),
            ("/a/../../b", "Malformed"),
            ("/%2e%2e/etc/passwd", "Malformed"),
            ("/%", "Malformed"),
            ("/%a", "Malformed"),
            ("/%zz", "Malformed"),
            ("/%+1", "Malformed"),
            ("/%00", "Malformed"),
            ("/a%00b", "Malformed"),
            ("/a\0b", "Malformed"),
            ("/a%2Fb/%00", "Malformed"),
            // no file can have these
            ("/a%2Fb", "NotFound"),
            ("/%2F", "NotFound"),
            ("/%2F/../a", "NotFound"),
            ("/%2F/../../a", "Malformed"),
            ("/..%2F..%2Fetc/passwd", "NotFound"),
            (&format!("/{long}"), "NotFound"),
            (&deep, "NotFound"),
        ] {
            assert_eq!(shown(raw, &[]), expected, "{raw}");
        }
    }

    /// The key of a spelling is that of the path it leads to.
    #[test]
    fn plain_spellings() {
        for (raw, mount, expected) in [
            ("/", &[][..], Some("")),
            ("/a", &[], Some("a")),
            ("/a/b.txt", &[], Some("a/b.txt")),
            ("/a/", &[], Some("a/")),
            ("/\u{fc}", &[], Some("\u{fc}")),
            ("/a%20b", &[], None),
            ("//a", &[], None),
            ("/a//b", &[], None),
            ("/a/./b", &[], None),
            ("/a/..", &[], None),
            ("/.a", &[], None),
            ("a", &[], None),
            ("", &[], None),
            ("/static/a", &["static"], Some("a")),
            ("/static/", &["static"], Some("")),
            ("/static", &["static"], None),
            ("/statica/b", &["static"], None),
            ("/x/static/a", &["static"], None),
            ("/s/t/a", &["s", "t"], Some("a")),
        ] {
            let mount: Vec<Vec<u8>> = mount.iter().map(|segment: &&str| segment.as_bytes().to_vec()).collect();
            let key = plain(raw, &mount);
            assert_eq!(key, expected.map(str::as_bytes), "{raw}");
            if let Some(key) = key {
                let ResolvedPath::Path(path) = resolve(raw, &mount) else { panic!("{raw} is no path") };
                assert_eq!(*path.key(), *key, "{raw}");
            }
        }
    }

    #[test]
    fn paths_behind_a_mount() {
        for (raw, expected) in [
            ("/static/a", "a"),
            ("/static/", "/"),
            ("/static", "-> /static/"),
            ("/%73tatic/a", "a"),
            ("//static/a", "-> /static/a"),
            ("/static//a", "-> /static/a"),
            ("/static/..", "NotFound"),
            ("/static/../a", "NotFound"),
            ("/x/../static/a", "-> /static/a"),
            ("/static2/a", "NotFound"),
            ("/", "NotFound"),
            ("/a", "NotFound"),
        ] {
            assert_eq!(shown(raw, &["static"]), expected, "{raw}");
        }
    }

    #[test]
    fn hidden_names() {
        for (path, expected) in [
            ("", false),
            ("a", false),
            (".a", true),
            ("a/.b/c", true),
            ("a/b.c", false),
            (".well-known", false),
            (".well-known/acme-challenge/x", false),
            (".well-known/.x", true),
            (".well-known2", true),
            ("a/.well-known/x", true),
        ] {
            assert_eq!(is_hidden(path.as_bytes()), expected, "{path}");
        }
    }
}
