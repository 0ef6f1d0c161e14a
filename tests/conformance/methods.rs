//! Methods: RFC 9110, section 9, and the statuses of unsupported methods: 15.5.6 and 15.6.2.

use crate::reader::Framing;
use crate::row::{Row, ask, get, head, is, row};
use crate::sites::Site::{App, Files};

const ALLOWED: &str = "GET, HEAD, OPTIONS";

pub fn rows() -> Vec<Row> {
    let not_allowed = || is(405).has("Allow", ALLOWED);
    vec![
        row("9110 9.1 GET", App, get("/bare"), is(200).body("0123456789").framed(Framing::Length)),
        row("9110 9.1 GET of a file", Files, get("/ten.txt"), is(200).body("0123456789").framed(Framing::Length)),
        row("9110 9.1 methods are case-sensitive", App, ask("get", "/bare"), is(501)),
        row("9110 9.1 methods are case-sensitive, for a file", Files, ask("Get", "/ten.txt"), is(501)),
        row(
            "9110 9.3.2 HEAD has the fields of GET",
            App,
            head("/ten"),
            is(200).has("Content-Length", "10").has("ETag", "\"v1\"").has("Content-Type", "text/plain; charset=utf-8"),
        ),
        row(
            "9110 9.3.2 HEAD of a file",
            Files,
            head("/ten.txt"),
            is(200)
                .has("Content-Length", "10")
                .has("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")
                .has("Accept-Ranges", "bytes"),
        ),
        row(
            "9110 9.3.2 HEAD of a listing",
            Files,
            head("/dir/"),
            is(200).has("Content-Type", "text/html; charset=utf-8"),
        ),
        row("9110 9.3.2 HEAD of a missing file", Files, head("/nowhere"), is(404)),
        row("9110 9.3.2 HEAD of a redirect", Files, head("/dir"), is(301).has("Location", "/dir/")),
        row("9110 9.3.2 HEAD of an error", App, head("/forbidden"), is(403)),
        row("9110 9.3.2 HEAD of a failure", App, head("/error"), is(500)),
        row("9110 9.3.2 HEAD of a stream", App, head("/stream"), is(200).has("Transfer-Encoding", "chunked")),
        row(
            "9110 9.3.2 HEAD of a stream whose length is known",
            App,
            head("/stream/sized"),
            is(200).has("Content-Length", "8"),
        ),
        row("9110 9.3.2 HEAD of a large body", App, head("/large"), is(200).has("Content-Length", "300000")),
        row(
            "9110 9.3.2 HEAD that a handler answers itself",
            App,
            head("/described"),
            is(200).has("Content-Length", "12345"),
        ),
        row("9110 9.3.2 HEAD of no content", App, head("/status/204"), is(204).lacks("Content-Length")),
        row(
            "9110 9.3.3 POST that creates",
            App,
            ask("POST", "/created").body("ab"),
            is(201).has("Location", "/notes/1").has("Content-Length", "0"),
        ),
        row("9110 9.3.4 PUT of an existing file", App, ask("PUT", "/ten").body("ab"), is(204)),
        row("9110 9.3.4 PUT of a new file", App, ask("PUT", "/new").body("ab"), is(201)),
        row("9110 9.3.5 DELETE", App, ask("DELETE", "/ten"), is(204).lacks("Content-Type")),
        row(
            "9110 9.3.7 OPTIONS of a file lists its methods",
            Files,
            ask("OPTIONS", "/ten.txt"),
            is(204).has("Allow", ALLOWED),
        ),
        row("9110 9.3.7 OPTIONS of a folder", Files, ask("OPTIONS", "/dir/"), is(204).has("Allow", ALLOWED)),
        row("9110 9.3.7 OPTIONS without a handler", App, ask("OPTIONS", "/bare"), is(501)),
        row(
            "9110 13.2.1 OPTIONS heeds no condition",
            Files,
            ask("OPTIONS", "/ten.txt").with("If-Match: \"x\""),
            is(204),
        ),
        row("9110 9.3.7 OPTIONS with a body", Files, ask("OPTIONS", "/ten.txt").body("ab"), is(204)),
        row(
            "9110 9.3.8 TRACE is not served",
            App,
            ask("TRACE", "/bare").with("Cookie: secret"),
            is(501).hides("secret"),
        ),
        row(
            "9110 9.3.8 TRACE of a file is not allowed",
            Files,
            ask("TRACE", "/ten.txt").with("Cookie: secret"),
            not_allowed().hides("secret"),
        ),
        row("9110 15.5.6 POST to a file", Files, ask("POST", "/ten.txt"), not_allowed()),
        row("9110 15.5.6 PUT to a file", Files, ask("PUT", "/ten.txt").body("ab"), not_allowed()),
        row("9110 15.5.6 DELETE of a file", Files, ask("DELETE", "/ten.txt"), not_allowed()),
        row("9110 15.5.6 PATCH of a file", Files, ask("PATCH", "/ten.txt").body("ab"), not_allowed()),
        row("9110 15.5.6 POST to a missing file", Files, ask("POST", "/nowhere"), not_allowed()),
        row(
            "9110 14.5 PUT of a part of a file",
            Files,
            ask("PUT", "/ten.txt").with("Content-Range: bytes 0-1/10").body("ab"),
            not_allowed(),
        ),
        row("9110 15.6.2 a method without a handler", App, ask("PATCH", "/bare"), is(501)),
        row("9110 15.6.2 an unknown method", Files, ask("BREW", "/ten.txt"), is(501)),
        row("9110 15.6.2 a method of another protocol", Files, ask("PROPFIND", "/dir/").with("Depth: 1"), is(501)),
        row("9110 9.1 a custom method", App, ask("BREW", "/mirror"), is(200).holds("BREW 1.1\n")),
    ]
}
