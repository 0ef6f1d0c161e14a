//! The path for logging in and out, for pages with buttons for it. `layers::BasicAuth` stores it in requests, `files`
//! and `layers::ErrorPages` read it.
//!
//! The script `logout.js` is part of pages with the button for logging out, and contains no comments. It makes a
//! browser forget the password without a dialog: Chromium after a 401 with another scheme, Firefox after a request with
//! another password. The request for the page comes last, because other browsers forget it then.

use super::Request;
use crate::http::paths::encode_path;
use crate::http::url_path::UrlPath;

/// The path for logging in and out: a folder, decoded, with both slashes.
struct LogIn(Vec<u8>);

impl Request {
    /// Sets the path at which users log in and out.
    pub(crate) fn put_log_in(&self, root: &str) {
        self.put(LogIn(root.into()));
    }

    /// Returns the link from the page at this path to the path for logging in, and a text that describes the way back.
    /// Both are relative, because a proxy may serve this server at other paths.
    pub(crate) fn log_in_links(&self, page: &[u8]) -> Option<(String, String)> {
        let log_in = self.value::<LogIn>()?;
        let beneath = page.strip_prefix(&log_in.0[..])?;
        let above = "../".repeat(memchr::memchr_iter(b'/', beneath).count());
        Some((if above.is_empty() { "./".to_owned() } else { above }, encode_path(beneath)))
    }

    /// Returns the link back to the page, from the way back of [`log_in_links`](Request::log_in_links). It never leads
    /// to another site.
    pub(crate) fn link_back(way: &str) -> String {
        let path = format!("/{way}");
        match UrlPath::parse(&path) {
            Ok(path) => format!(".{}", encode_path(path.as_bytes())),
            Err(_) => "./".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_links_lead_back_to_the_page() {
        for (root, page, expected) in [
            ("/", "/", Some(("./", ""))),
            ("/", "/a b/c/", Some(("../../", "a%20b/c/"))),
            ("/pre/", "/pre/a/", Some(("../", "a/"))),
            ("/pre/", "/other/", None),
        ] {
            let request = Request::get("/");
            assert!(request.log_in_links(page.as_bytes()).is_none());
            request.put_log_in(root);
            let found = request.log_in_links(page.as_bytes());
            let found = found.as_ref().map(|(root, way)| (&root[..], &way[..]));
            assert_eq!(found, expected, "{root} {page}");
            if let Some((_, way)) = found {
                assert_eq!(Request::link_back(way), format!("./{way}"), "{root} {page}");
            }
        }
        for way in ["/evil.example", "//evil.example/", "../x", "a/../../x", "%2e%2e/x", "a%0d%0ab", "%00", "\\evil"] {
            let back = Request::link_back(way);
            assert!(back.starts_with("./") && !back[2..].starts_with(['/', '\\']), "{way}: {back}");
            assert!(!back[2..].contains("..") && back.is_ascii() && !back.contains(char::is_control), "{way}: {back}");
        }
    }
}
