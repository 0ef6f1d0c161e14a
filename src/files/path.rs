//! Paths below the folder, their paths on the server, and hidden names. Called by `handler`. It never accesses the
//! disk; `find` determines whether a file exists and can be read. Paths of requests are already decoded and canonical
//! here.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::misleading::{begins_with_dot, fold};
use crate::new_file::PREFIX;
pub(super) use crate::numbered::MAX_NAME; // of new names; FUSE has longer names, of files to read
use crate::{Request, UrlPath, encode_path};

/// All characters except unreserved ones (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) const MAX_PATH: usize = 4095; // PATH_MAX without its NUL

/// The path of a request, seen from the folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ResolvedPath {
    /// A path below the folder.
    Path(FilePath),
    /// The folder itself, requested without the slash at its end.
    NeedsSlash,
    /// A path that no file can have, or that is not below the folder.
    NotFound,
}

/// A path below the folder, in the bytes of the file system.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FilePath {
    /// The segments joined by slashes; empty for the folder itself. No segment is empty, `.` or `..`,
    /// or contains a slash or NUL.
    pub bytes: Vec<u8>,
    /// Whether a slash followed the last segment, as for a folder.
    pub trailing_slash: bool,
}

impl FilePath {
    /// `None` if no file system has such a path.
    fn of(beneath: &[u8]) -> Option<FilePath> {
        let bytes = beneath.strip_suffix(b"/").unwrap_or(beneath);
        (bytes.len() < MAX_PATH).then(|| FilePath {
            bytes: bytes.to_vec(),
            trailing_slash: beneath.is_empty() || bytes.len() < beneath.len(),
        })
    }

    /// Returns the path with its slash, except for the folder itself. It is the cache key for all spellings.
    pub fn key(&self) -> Cow<'_, [u8]> {
        match self.trailing_slash && !self.bytes.is_empty() {
            true => Cow::Owned([&self.bytes, &b"/"[..]].concat()),
            false => Cow::Borrowed(&self.bytes),
        }
    }
}

/// Converts the path of a request to a path below the folder. `mount`: the path at which the folder is served, without
/// a slash at its end.
pub(super) fn resolve(path: &UrlPath<'_>, mount: &[u8]) -> ResolvedPath {
    match path.beneath(mount) {
        None => ResolvedPath::NotFound,
        Some([]) => ResolvedPath::NeedsSlash,
        Some(rest) => FilePath::of(&rest[1..]).map_or(ResolvedPath::NotFound, ResolvedPath::Path),
    }
}

/// Returns the key of a request's path in caches.
pub(super) fn key<'a>(path: &'a UrlPath<'_>, mount: &[u8]) -> Option<&'a [u8]> {
    path.beneath(mount)?.strip_prefix(b"/")
}

/// Returns whether a segment is hidden: it begins with a dot, or with one after characters that some file systems
/// ignore. `.well-known` at the top is not hidden (RFC 8615).
pub(super) fn is_hidden(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/')
        .enumerate()
        .any(|(depth, name)| begins_with_dot(name) && !(depth == 0 && name == b".well-known"))
}

/// Returns whether a segment is the name of an incomplete file, which is never served, in any spelling.
pub(super) fn is_upload(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').any(|name| begins_with_dot(name) && fold(name).starts_with(PREFIX))
}

/// Returns the last segment.
pub(super) fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

pub(super) fn parent(path: &[u8]) -> &[u8] {
    match memchr::memrchr(b'/', path) {
        Some(slash) => &path[..slash],
        None => b"",
    }
}

/// Returns the paths of the folders that contain a path, starting with the topmost one, which is empty.
pub(super) fn folders_above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::once(0).chain(memchr::memchr_iter(b'/', path)).map(move |end| &path[..end])
}

pub(super) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, name].join(&b'/') }
}

/// Returns the decoded path on the server of a path below the folder: `/mount/a/b`.
pub(super) fn on_server(mount: &[u8], path: &[u8]) -> Vec<u8> {
    [mount, b"/", path].concat()
}

/// Returns the path of a folder on the server, with a slash at its end.
pub(super) fn folder_on_server(mount: &[u8], path: &[u8]) -> Vec<u8> {
    if path.is_empty() { on_server(mount, b"") } else { on_server(mount, &[path, b"/"].concat()) }
}

/// Appends a link to an entry of a folder. All characters except unreserved ones are encoded. A path could contain `'`,
/// `&`, `;` and `(` unencoded, but clients that extract links with patterns (lftp, shell scripts) would misread the
/// name. A link with a colon then needs no `./` before it (section 4.2).
pub(super) fn push_link(to: &mut String, name: &[u8]) {
    to.extend(percent_encode(name, RESERVED));
}

/// Appends the query of a request to the location of a redirect: a layer may need it, such as a token.
pub(super) fn with_query(location: String, request: &Request) -> String {
    match request.query() {
        Some(query) => location + "?" + query,
        None => location,
    }
}

/// Returns the URL path of a file or folder. It has exactly one slash at the start, because two would begin the name of
/// another host (RFC 3986, section 4.2). A backslash is encoded, because browsers treat it as a slash. Reserved
/// characters are not encoded: scripts compare `location.pathname` with `/@user/` and `/wiki/A_(b)/`.
pub(super) fn location(mount: &[u8], path: &[u8], is_folder: bool) -> String {
    let mut location = encode_path(on_server(mount, path));
    if is_folder && !path.is_empty() {
        location.push('/');
    }
    location
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str, mount: &str) -> String {
        match resolve(&UrlPath::parse(path).unwrap(), mount.as_bytes()) {
            ResolvedPath::Path(path) => {
                let slash = if path.trailing_slash { "/" } else { "" };
                String::from_utf8_lossy(&path.bytes).into_owned() + slash
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn paths_below_the_mount_are_resolved() {
        let (long, longest) = ("x".repeat(256), "/d".repeat(MAX_PATH / 2));
        for (path, mount, expected) in [
            ("/", "", "/"),
            ("/a", "", "a"),
            ("/a/", "", "a/"),
            ("/a/b.txt", "", "a/b.txt"),
            (&format!("/{}", &long[1..]), "", &long[1..]),
            (&format!("/{long}"), "", &long), // FUSE
            (&longest, "", &longest[1..]),
            (&format!("{longest}/"), "", &format!("{}/", &longest[1..])),
            (&format!("{longest}xx"), "", "NotFound"),
            ("/static/a", "/static", "a"),
            ("/static/", "/static", "/"),
            ("/static", "/static", "NeedsSlash"),
            ("/static2/a", "/static", "NotFound"),
            ("/", "/static", "NotFound"),
            ("/s/t/a", "/s/t", "a"),
            ("/s/t", "/s/t", "NeedsSlash"),
            ("/s", "/s/t", "NotFound"),
        ] {
            assert_eq!(shown(path, mount), expected, "{path} at {mount}");
            let path = UrlPath::parse(path).unwrap();
            if let ResolvedPath::Path(found) = resolve(&path, mount.as_bytes()) {
                assert_eq!(Some(&*found.key()), key(&path, mount.as_bytes()), "{path} at {mount}");
            }
        }
    }

    #[test]
    fn locations_are_encoded() {
        for (mount, path, is_folder, expected) in [
            ("", "", true, "/"),
            ("", "a b", false, "/a%20b"),
            ("", "a/b", true, "/a/b/"),
            ("/é", "", true, "/%C3%A9/"),
            ("/m", "\\evil", true, "/m/%5Cevil/"),
        ] {
            assert_eq!(location(mount.as_bytes(), path.as_bytes(), is_folder), expected);
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
            (".Well-Known", true),
            ("a/.well-known/x", true),
            ("\u{200b}.a", true),
            ("a/\u{feff}\u{200d}.b/c", true),
            ("\u{200b}.well-known", true),
            ("\u{e9}.a", false),
            ("\u{200b}a", false),
        ] {
            assert_eq!(is_hidden(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn parts_of_paths() {
        for (path, parent_of_it, last, above, on_server) in [
            ("", "", "", &[""][..], "/m/"),
            ("a", "", "a", &[""], "/m/a/"),
            ("a/b/c", "a/b", "c", &["", "a", "a/b"], "/m/a/b/c/"),
        ] {
            let bytes = path.as_bytes();
            assert_eq!((parent(bytes), name(bytes)), (parent_of_it.as_bytes(), last.as_bytes()), "{path}");
            assert!(folders_above(bytes).eq(above.iter().map(|folder| folder.as_bytes())), "{path}");
            assert_eq!(folder_on_server(b"/m", bytes), on_server.as_bytes(), "{path}");
        }
        let mut link = String::from("/m/");
        push_link(&mut link, b"a b&'-._~.txt");
        assert_eq!(link, "/m/a%20b%26%27-._~.txt");
    }

    #[test]
    fn names_of_incomplete_files() {
        let upper = PREFIX.to_uppercase();
        for (path, expected) in [
            ("", false),
            (&PREFIX[1..], false),
            (&format!("a{PREFIX}"), false),
            (&format!("{PREFIX}a"), true),
            (&format!("{PREFIX}a/b/c"), true),
            (&format!("a/{PREFIX}b/c"), true),
            (&format!("a/b/{PREFIX}c"), true),
            (&upper, true),
            (&format!("\u{200b}{PREFIX}"), true),
            (".a/b", false),
        ] {
            assert_eq!(is_upload(path.as_bytes()), expected, "{path}");
        }
    }
}
