//! Responses: framing by status, method and version; fields that handlers must not write; errors. RFC 9112, sections 4,
//! 6 and 11.1; RFC 9110, sections 6.4.1, 6.6.1, 8.6, 10.2 and 15.

use crate::reader::Framing;
use crate::row::{Row, ask, ask_old, get, head, is, last, row};
use crate::sites::Site::{App, Files};

pub fn rows() -> Vec<Row> {
    let broken = || is(500).lacks("X-A").lacks("X-B").lacks("X-C").hides("0123456789");
    let ten = || is(200).body("0123456789");
    let status = |status: u16| get(&format!("/status/{status}"));
    vec![
        // The framing of a response
        row("9112 6.2 a known length is sent", App, get("/bare"), ten().has("Content-Length", "10")),
        row("9112 6.2 a length of zero is sent", App, get("/empty"), is(200).has("Content-Length", "0").body("")),
        row("9112 6.2 an empty file", Files, get("/empty.txt"), is(200).has("Content-Length", "0").body("")),
        row("9112 6.2 a large body", App, get("/large"), is(200).length(300_000).framed(Framing::Length)),
        row("9112 6.2 a large file", Files, get("/large.txt"), is(200).length(200_000).framed(Framing::Length)),
        row("9112 6.1 a stream is chunked", App, get("/stream"), is(200).body("streamed").framed(Framing::Chunked)),
        row(
            "9112 6.1 a stream of several pieces",
            App,
            get("/stream/pieces"),
            is(200).body("abcabcabc").framed(Framing::Chunked),
        ),
        row("9112 6.1 an empty stream", App, get("/stream/empty"), is(200).body("").framed(Framing::Chunked)),
        row(
            "9112 6.1 a stream to 1.0 ends with the connection",
            App,
            ask_old("GET", "/stream"),
            last(200).body("streamed").framed(Framing::UntilClose),
        ),
        row(
            "9112 6.1 a stream to 1.0 with keep-alive",
            App,
            ask_old("GET", "/stream").with("Connection: keep-alive"),
            last(200).body("streamed").framed(Framing::UntilClose),
        ),
        row(
            "9112 6.1 an empty stream to 1.0",
            App,
            ask_old("GET", "/stream/empty"),
            last(200).body("").framed(Framing::UntilClose),
        ),
        row(
            "9112 6.1 HEAD of a stream by 1.0",
            App,
            ask_old("HEAD", "/stream").with("Connection: keep-alive"),
            is(200).lacks("Transfer-Encoding").lacks("Content-Length"),
        ),
        row(
            "9112 6.2 a stream whose length is known",
            App,
            get("/stream/sized"),
            is(200).body("streamed").framed(Framing::Length),
        ),
        row(
            "9112 6.2 a stream whose Content-Length is set",
            App,
            get("/stream/claimed"),
            is(200).body("streamed").framed(Framing::Length),
        ),
        row(
            "9112 6.2 a stream whose length is known, to 1.0",
            App,
            ask_old("GET", "/stream/sized").with("Connection: keep-alive"),
            is(200).body("streamed"),
        ),
        row("9112 6.3 a stream with more bytes than announced", App, get("/stream/longer"), is(200).body("streamed")),
        row("9112 8 a stream with fewer bytes than announced", App, get("/stream/shorter"), is(200).torn()),
        row("9112 8 an interrupted stream", App, get("/stream/broken"), is(200).torn()),
        row("9112 8 an interrupted stream to 1.0", App, ask_old("GET", "/stream/broken"), is(200).torn()),
        row("9112 6.3 a length that is not the body's", App, get("/wronglength"), broken()),
        // Statuses that determine the framing
        row(
            "9110 15.3.5 204 has neither body nor length",
            App,
            status(204),
            is(204).lacks("Content-Length").lacks("Transfer-Encoding"),
        ),
        row("9110 15.3.6 205 has a body of no bytes", App, status(205), is(205).body("").has("Content-Length", "0")),
        row("9110 15.4.5 304 has no body", App, status(304), is(304)),
        row("9110 15.2 an interim status is not a response", App, status(103), is(500)),
        row("9110 15.2.2 a 101 without an upgrade is not a response", App, status(101), is(500)),
        row("9110 15 an unknown status", App, status(299), is(299).body("a body")),
        row("9110 15 a number that is not a status", App, status(99), is(500)),
        row("9110 15 a status over 599", App, status(600), is(500)),
        row("9110 15.5.1 a body with an error", App, status(400), is(400).body("a body")),
        // Fields
        row("9112 11.1 a line break in a value", App, get("/split/value"), broken()),
        row("9112 11.1 a bare CR in a value", App, get("/split/bare"), broken()),
        row("9112 11.1 a NUL in a value", App, get("/split/nul"), broken()),
        row("9112 11.1 a line break in a name", App, get("/split/name"), broken()),
        row("9112 11.1 a line break in a response written in steps", App, get("/split/reply"), broken()),
        row(
            "9112 11.1 a line break in a location",
            App,
            get("/redirect?to=/a%0D%0AX-A:%20b"),
            is(303).has("Location", "/a%0D%0AX-A:%20b").lacks("X-A"),
        ),
        row(
            "9110 7.6.1 fields of a connection are not the handler's",
            App,
            get("/hops"),
            ten().lacks("TE").lacks("Upgrade").lacks("Trailer").lacks("Keep-Alive").lacks("Transfer-Encoding"),
        ),
        row(
            "9112 7.1 chunks framed by a handler are an error",
            App,
            get("/framed"),
            is(500).lacks("Transfer-Encoding"),
        ),
        row(
            "9110 6.6.1 the Date of a gateway stays",
            App,
            get("/date"),
            ten().has("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ),
        row("9110 10.2.4 Server", App, get("/bare"), ten().has("Server", "modest")),
        row(
            "9110 10.2.4 a handler's own Server",
            App,
            get("/date"),
            ten().has("Server", "mine").has("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ),
        row(
            "9110 5.3 fields that come more than once",
            App,
            get("/cookies"),
            ten().each("Set-Cookie", ["a=1", "b=2"].map(String::from)),
        ),
        row(
            "9110 10.2.2 a location that is a path",
            App,
            get("/redirect?to=/a?b%23c"),
            is(303).has("Location", "/a?b#c").body(""),
        ),
        row(
            "9110 10.2.2 a location outside ASCII",
            App,
            get("/redirect?to=/caf%C3%A9"),
            is(303).has("Location", "/caf%C3%A9"),
        ),
        // Errors
        row("9110 15.5.4 an error with a status", App, get("/forbidden"), is(403).holds("not &lt;you&gt;")),
        row(
            "9110 15.5.16 a form of another type",
            App,
            ask("POST", "/form").with("Content-Type: text/plain").body("a=b"),
            is(415),
        ),
        row(
            "9110 15.5.16 a form",
            App,
            ask("POST", "/form").with("Content-Type: application/x-www-form-urlencoded").body("a=b%20c"),
            is(200).body("b c"),
        ),
        row(
            "9110 15.5.16 a text in another charset",
            App,
            ask("POST", "/text").with("Content-Type: text/plain; charset=koi8-r").body("ab"),
            is(415),
        ),
        row(
            "9110 15.5.1 a text that is not UTF-8",
            App,
            ask("POST", "/text").with("Content-Type: text/plain").body(b"\xff"),
            is(400),
        ),
        row("9110 15.5.2 a challenge", App, get("/unauthorized"), is(401).has("WWW-Authenticate", "Basic realm=\"a\"")),
        row(
            "9110 15.6.1 an error without a status does not reveal its text",
            App,
            get("/error"),
            is(500).hides("secret").has("Content-Type", "text/html; charset=utf-8"),
        ),
        row("9110 15.6.1 a panic costs one connection", App, get("/panic"), last(500).hides("as the row asks")),
        row("9110 15.6.1 a panic in a HEAD request", App, head("/panic"), last(500)),
        row("9110 15.5.1 a rejection of HEAD has no body", App, head("/<"), last(400)),
        row("9110 15.5.1 a rejection does not echo the request", App, get("/<script>"), last(400).hides("script>")),
        row(
            "9110 15.5.5 a page of an error does not echo the path",
            Files,
            get("/dir/&%3Cscript%3E"),
            is(404).hides("script>"),
        ),
    ]
}
