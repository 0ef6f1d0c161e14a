//! The duties of an origin server to caches: RFC 9111, sections 3, 4.3 and 5; validators of files: RFC 9110, section
//! 8.8.

use crate::row::{Row, ask, get, head, is, row};
use crate::sites::Site::{App, Files, Open};

pub fn rows() -> Vec<Row> {
    let coded = |coding: &str| get("/all.css").with(format!("Accept-Encoding: {coding}"));
    let no_cache = |status: u16| is(status).has("Cache-Control", "no-cache");
    vec![
        row("9111 5.2.2.4 a file may be stored and is revalidated each time", Files, get("/ten.txt"), no_cache(200)),
        row("9111 5.2.2.4 a listing", Files, get("/dir/"), no_cache(200)),
        row("9111 5.2.2.4 a redirect", Files, get("/dir"), no_cache(301)),
        row("9111 5.2.2.4 a missing file", Files, get("/nowhere"), no_cache(404)),
        row("9111 5.2.2.4 a malformed request", Files, get("/.."), no_cache(400)),
        row("9111 5.2.2.4 a method that is not allowed", Files, ask("POST", "/ten.txt"), no_cache(405)),
        row("9111 5.2.2.4 a part", Files, get("/ten.txt").with("Range: bytes=0-1"), no_cache(206)),
        row("9111 5.2.2.1 a rule by pattern", Open, get("/all.css"), is(200).has("Cache-Control", "max-age=60")),
        row("9111 5.2.2.5 a rule by folder", Open, get("/dir/a.txt"), is(200).has("Cache-Control", "no-store")),
        row(
            "9111 4.3.4 a 304 has Cache-Control",
            Open,
            get("/all.css").with("If-None-Match: *"),
            is(304).has("Cache-Control", "max-age=60"),
        ),
        row("9111 5.2.2 a field of the owner", Open, get("/ten.txt"), no_cache(200).has("X-Served-By", "the tests")),
        row(
            "9111 5.2.1 a request's Cache-Control is ignored",
            Files,
            get("/ten.txt").with("Cache-Control: only-if-cached, max-age=9"),
            is(200).body("0123456789"),
        ),
        row("9111 5.4 Pragma is ignored", Files, get("/ten.txt").with("Pragma: no-cache"), is(200).lacks("Pragma")),
        row(
            "9111 4.1 Vary is sent without Accept-Encoding",
            Files,
            get("/all.css"),
            is(200).has("Vary", "Accept-Encoding"),
        ),
        row(
            "9111 4.1 a 406 has Vary",
            Files,
            get("/all.css").with("Accept-Encoding: *;q=0"),
            is(406).has("Vary", "Accept-Encoding"),
        ),
        row(
            "9111 4.2.2 a response without validators or rules",
            App,
            get("/bare"),
            is(200).lacks("ETag").lacks("Last-Modified").lacks("Cache-Control"),
        ),
        row(
            "9110 8.8.3 the tag of a file is its content's",
            Files,
            get("/ten.txt"),
            is(200).has("ETag", "\"e353667619ec664b49655fc9692165fb\""),
        ),
        row(
            "9110 8.8.3 the tag of a file of 1969 is its content's",
            Files,
            head("/old.txt"),
            is(200).has("ETag", "\"1bcbfc1be90c1b300f3ca07a8cc8bf40\""),
        ),
        row(
            "9110 8.8.3.3 the tag of a file that has codings",
            Files,
            head("/all.css"),
            is(200).has("ETag", "\"d1abdb249339a98e1f0dc959ee0b5f59\""),
        ),
        row(
            "9110 8.8.3.3 the br coding has its own tag",
            Files,
            coded("br"),
            is(200).has("ETag", "\"51e9e1ef08f48fc9b5a9d12174ec4dd9-br\""),
        ),
        row(
            "9110 8.8.3.3 the gzip coding has its own tag",
            Files,
            coded("gzip"),
            is(200).has("ETag", "\"79c568d12e30498f3203a5869d87f5bd-gzip\""),
        ),
        row(
            "9110 13.1.2 the tag of the coding that would be sent",
            Files,
            coded("br").with("If-None-Match: \"51e9e1ef08f48fc9b5a9d12174ec4dd9-br\""),
            is(304).has("ETag", "\"51e9e1ef08f48fc9b5a9d12174ec4dd9-br\"").has("Vary", "Accept-Encoding"),
        ),
        row(
            "9110 13.1.2 the tag of another coding",
            Files,
            coded("gzip").with("If-None-Match: \"51e9e1ef08f48fc9b5a9d12174ec4dd9-br\""),
            is(200).holds("gzip"),
        ),
        row(
            "9110 13.1.2 the tag of the file without a coding",
            Files,
            coded("br").with("If-None-Match: \"d1abdb249339a98e1f0dc959ee0b5f59\""),
            is(200).body("brotli"),
        ),
        row(
            "9110 13.1.5 a part of another coding",
            Files,
            coded("br").with("Range: bytes=0-1").with("If-Range: \"d1abdb249339a98e1f0dc959ee0b5f59\""),
            is(200).body("brotli"),
        ),
        row(
            "9110 13.1.5 a part of the same coding",
            Files,
            coded("br").with("Range: bytes=0-1").with("If-Range: \"51e9e1ef08f48fc9b5a9d12174ec4dd9-br\""),
            is(206).body("br"),
        ),
        row(
            "9110 15.5.17 a range past the end of the coded content",
            Files,
            coded("br").with("Range: bytes=6-"),
            is(416).has("Content-Range", "bytes */6").has("Vary", "Accept-Encoding").lacks("Content-Encoding"),
        ),
        row(
            "9110 8.8.3 by its tag a file is not modified",
            Files,
            get("/ten.txt").with("If-None-Match: \"e353667619ec664b49655fc9692165fb\""),
            is(304).has("ETag", "\"e353667619ec664b49655fc9692165fb\""),
        ),
        row(
            "9110 8.8.3 by the weak form of its tag a file is not modified",
            Files,
            get("/ten.txt").with("If-None-Match: W/\"e353667619ec664b49655fc9692165fb\""),
            is(304),
        ),
        row(
            "9110 13.1.5 by its tag a part fits",
            Files,
            get("/ten.txt").with("Range: bytes=2-4").with("If-Range: \"e353667619ec664b49655fc9692165fb\""),
            is(206).body("234"),
        ),
    ]
}
