//! Types of files: RFC 9110, section 8.3, as current browsers expect them; and that no client guesses another type.

use crate::row::{Row, get, head, is, row};
use crate::sites::Site::{App, Files};

/// Extension, type, and the name of the row. `tree` writes a file for each.
pub const EXTENSIONS: [(&str, &str); 26] = [
    ("html", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("wasm", "application/wasm"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("webp", "image/webp"),
    ("avif", "image/avif"),
    ("ico", "image/x-icon"),
    ("woff2", "font/woff2"),
    ("ttf", "font/ttf"),
    ("webmanifest", "application/manifest+json"),
    ("pdf", "application/pdf"),
    ("md", "text/markdown; charset=utf-8"),
    ("mp4", "video/mp4"),
    ("webm", "video/webm"),
    ("m4a", "audio/mp4"),
    ("wav", "audio/wav"),
    ("vtt", "text/vtt; charset=utf-8"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("xml", "text/xml; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("unheard", "text/plain; charset=utf-8"),
];

pub fn rows() -> Vec<Row> {
    let of = |path: &str, media_type: &str| {
        (get(path), is(200).has("Content-Type", media_type).has("X-Content-Type-Options", "nosniff"))
    };
    let mut rows: Vec<Row> = EXTENSIONS
        .iter()
        .map(|(extension, media_type)| {
            let (ask, want) = of(&format!("/type.{extension}"), media_type);
            row(format!("9110 8.3 .{extension}").leak(), Files, ask, want)
        })
        .collect();
    let (readme, readme_want) = of("/README", "text/plain; charset=utf-8");
    let (last, last_want) = of("/page.html.unheard", "text/plain; charset=utf-8");
    let (binary, binary_want) = of("/binary.unheard", "application/octet-stream");
    let (latin, latin_want) = of("/latin.txt", "text/plain");
    rows.extend([
        row("9110 8.3 a file without an extension, by its name", Files, readme, readme_want),
        row("9110 8.3 the last extension counts", Files, last, last_want),
        row("9110 8.3 a file that is not text", Files, binary, binary_want),
        row("9110 8.3 no charset for text that is not UTF-8", Files, latin, latin_want),
        row("9110 8.3 HEAD of a file", Files, head("/type.png"), is(200).has("Content-Type", "image/png")),
        row(
            "9110 8.3 a listing",
            Files,
            get("/dir/"),
            is(200).has("Content-Type", "text/html; charset=utf-8").has("X-Content-Type-Options", "nosniff"),
        ),
        row(
            "9110 8.3 a missing file",
            Files,
            get("/nowhere"),
            is(404).has("Content-Type", "text/html; charset=utf-8").has("X-Content-Type-Options", "nosniff"),
        ),
        row(
            "9110 8.3 a text of a handler",
            App,
            get("/bare"),
            is(200).has("Content-Type", "text/plain; charset=utf-8"),
        ),
        row("9110 8.3 a stream without a type", App, get("/stream/empty"), is(200).lacks("Content-Type")),
        row(
            "9110 8.3 a rejection",
            App,
            get("/<"),
            crate::row::last(400).has("Content-Type", "text/html; charset=utf-8"),
        ),
    ]);
    rows
}
