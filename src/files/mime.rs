//! Media types by file name: those the user added, then the library's. Called by `prepare`; it never reads a file.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The type of unknown files.
const UNKNOWN: &str = "application/octet-stream";
pub(super) const MAX_EXTENSION: usize = 16;

/// Types by name: the user's own, and those known to all.
#[derive(Debug, Default)]
pub(super) struct MediaTypes {
    added: HashMap<String, String>,
    default: Option<String>,
}

impl MediaTypes {
    /// Set the type of an extension (without its dot, in any case).
    pub fn add(&mut self, extension: &str, media_type: &str) {
        self.added.insert(extension.to_lowercase(), with_charset(media_type));
    }

    /// Set the type of unknown files.
    pub fn set_default(&mut self, media_type: &str) {
        self.default = Some(with_charset(media_type));
    }

    /// The type of a file with this name.
    pub fn of(&self, name: &[u8]) -> &str {
        let extension = Path::new(OsStr::from_bytes(name)).extension().and_then(OsStr::to_str).map(str::to_lowercase);
        let added = extension.and_then(|extension| self.added.get(&extension)).map(String::as_str);
        added.or_else(|| crate::media_type_of(name)).or(self.default.as_deref()).unwrap_or(UNKNOWN)
    }
}

/// Adds UTF-8 to a text type without charset.
fn with_charset(media_type: &str) -> String {
    let lower = media_type.to_ascii_lowercase();
    let silent = lower.starts_with("text/") && !lower.contains("charset=");
    if silent { format!("{media_type}; charset=utf-8") } else { media_type.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "text/plain; charset=utf-8";

    #[test]
    fn types() {
        let mut types = MediaTypes::default();
        types.add("Foo", "text/foo");
        types.add("md", "text/markdown; charset=latin1");
        types.add("ü", "application/x-u");
        for (name, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("INDEX.HTM", "text/html; charset=utf-8"),
            ("app.js", "text/javascript; charset=utf-8"),
            ("app.mjs", "text/javascript; charset=utf-8"),
            ("style.css", "text/css; charset=utf-8"),
            ("app.wasm", "application/wasm"),
            ("a.webp", "image/webp"),
            ("a.avif", "image/avif"),
            ("a.svg", "image/svg+xml"),
            ("favicon.ico", "image/x-icon"),
            ("a.woff2", "font/woff2"),
            ("a.ttf", "font/ttf"),
            ("app.webmanifest", "application/manifest+json"),
            ("data.json", "application/json"),
            ("a.pdf", "application/pdf"),
            ("a.mp4", "video/mp4"),
            ("a.m4a", "audio/mp4"),
            ("a.wav", "audio/wav"),
            ("a.vtt", "text/vtt; charset=utf-8"),
            ("a.m3u8", "application/vnd.apple.mpegurl"),
            ("a.ts", "video/mp2t"),
            ("a.txt", PLAIN),
            ("a.csv", "text/csv; charset=utf-8"),
            ("a.tar.gz", "application/gzip"),
            ("a.foo", "text/foo; charset=utf-8"),
            ("a.FOO", "text/foo; charset=utf-8"),
            ("a.md", "text/markdown; charset=latin1"),
            ("a.ü", "application/x-u"),
            ("a.Ü", "application/x-u"),
            ("README", PLAIN),
            ("Makefile", PLAIN),
            ("LICENSE.gz", "application/gzip"),
            ("apple-app-site-association", "application/json"),
            ("html", UNKNOWN),
            (".html", UNKNOWN),
            ("a.", UNKNOWN),
            ("a.html ", UNKNOWN),
            ("a.html.unheard", UNKNOWN),
            ("", UNKNOWN),
            ("ü.txt", PLAIN),
        ] {
            assert_eq!(types.of(name.as_bytes()), expected, "{name}");
        }
        assert_eq!(types.of(b"\xff.txt"), PLAIN);
        assert_eq!(types.of(b"a.\xff"), UNKNOWN);
        types.set_default("text/plain");
        assert_eq!(types.of(b"unheard"), PLAIN);
    }
}
