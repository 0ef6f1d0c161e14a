//! Media types: by file name, with the user's types before the library's. If the name is not enough, the beginning of
//! the file decides. Called by `prepare`, which reads it.
//!
//! Text that is UTF-8 gets `charset=utf-8`. Text of unknown type is `text/plain` and never anything that a browser
//! would run: content does not make a file a page.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use http::HeaderValue;

use super::text::Beginning;

/// The type of unknown files that are not text.
const UNKNOWN: &str = "application/octet-stream";
const PLAIN: &str = "text/plain; charset=utf-8";
/// The parameter of UTF-8 text. The library's own types have it.
const UTF_8: &str = "; charset=utf-8";
pub(super) const MAX_EXTENSION: usize = 16;

/// Types by name: the user's own, and the built-in ones.
#[derive(Debug, Default)]
pub(super) struct MediaTypes {
    added: HashMap<String, HeaderValue>,
    /// The type of unknown files.
    pub default: Option<HeaderValue>,
}

impl MediaTypes {
    /// Sets the type of an extension (without its dot, in any case).
    pub fn add(&mut self, extension: &str, media_type: HeaderValue) {
        self.added.insert(extension.to_lowercase(), media_type);
    }

    /// Returns the type of a file with this name. `look` returns its beginning, and is called for text and for unknown
    /// names.
    pub fn of<'a>(&self, name: &[u8], look: impl FnOnce() -> Beginning<'a>) -> HeaderValue {
        let extension = Path::new(OsStr::from_bytes(name)).extension().and_then(OsStr::to_str).map(str::to_lowercase);
        if let Some(added) = extension.as_ref().and_then(|extension| self.added.get(extension)) {
            return with_charset(added, look);
        }
        match (crate::media_type_of(name), &self.default) {
            // TypeScript, or an MPEG transport stream.
            (Some(film), _) if extension.as_deref() == Some("ts") => known_text(look(), film),
            (Some(known), _) => match known.strip_suffix(UTF_8) {
                Some(bare) if !look().is_utf_8(bare) => HeaderValue::from_static(bare),
                _ => HeaderValue::from_static(known),
            },
            (None, Some(default)) => with_charset(default, look),
            (None, None) => known_text(look(), UNKNOWN),
        }
    }
}

/// Returns `text/plain`, or another type for content that is not text.
fn known_text(beginning: Beginning<'_>, otherwise: &'static str) -> HeaderValue {
    const BARE: &str = "text/plain";
    HeaderValue::from_static(match beginning.is_text() {
        true if beginning.is_utf_8(BARE) => PLAIN,
        true => BARE,
        false => otherwise,
    })
}

/// Returns a type that the user set. Text in UTF-8 gets `charset=utf-8` if the type has no charset.
fn with_charset<'a>(media_type: &HeaderValue, look: impl FnOnce() -> Beginning<'a>) -> HeaderValue {
    let lower = media_type.as_bytes().to_ascii_lowercase();
    let silent = lower.starts_with(b"text/") && memchr::memmem::find(&lower, b"charset=").is_none();
    let bare = lower.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii_end();
    let bare = str::from_utf8(bare).unwrap_or_default();
    let whole = || HeaderValue::from_bytes(&[media_type.as_bytes(), UTF_8.as_bytes()].concat()).ok();
    let whole = if silent && look().is_utf_8(bare) { whole() } else { None };
    whole.unwrap_or_else(|| media_type.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_follow_the_extension_and_the_settings() {
        let mut types = MediaTypes::default();
        let binary = || Beginning { bytes: b"\0", is_all: true };
        types.add("Foo", HeaderValue::from_static("text/foo"));
        types.add("md", HeaderValue::from_static("text/markdown; charset=latin1"));
        types.add("ü", HeaderValue::from_static("application/x-u"));
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
            assert_eq!(types.of(name.as_bytes(), binary), expected, "{name}");
        }
        assert_eq!(types.of(b"\xff.txt", binary), PLAIN);
        assert_eq!(types.of(b"a.\xff", binary), UNKNOWN);
        types.default = Some(HeaderValue::from_static("text/plain"));
        assert_eq!(types.of(b"unheard", binary), PLAIN);
    }
}
