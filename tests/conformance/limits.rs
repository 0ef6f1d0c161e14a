//! Limits, each with its rejection: RFC 9112, section 3; RFC 9110, sections 5.4, 15.5.14, 15.5.15; RFC 6585, section 5.

use crate::row::{Row, ask, get, head, is, last, row};
use crate::sites::Site::{App, Files, Full, Tight};

pub fn rows() -> Vec<Row> {
    // `GET ` and ` HTTP/1.1` are 13 bytes of a line.
    let target = |length: usize| format!("/mirror?{}", "a".repeat(length - 13 - 8));
    let field = |length: usize| get("/mirror").with(format!("X: {}", "a".repeat(length)));
    let fields = |number: usize| (1..number).fold(get("/mirror"), |ask, _| ask.with("X: y"));
    vec![
        row("9112 3 a line of 8,000 octets is accepted", App, get(&target(8000)), is(200)),
        row("9112 3 a line longer than is accepted", App, get(&target(9000)), last(414)),
        row("9110 15.5.15 a line far longer", App, get(&target(100_000)), last(414)),
        row("9110 15.5.15 by HEAD", App, head(&target(9000)), last(414)),
        row("9110 15.5.15 for a file", Files, get(&target(9000)), last(414)),
        row("9112 3 a line of the length that is set", Tight, get(&target(60)), is(200)),
        row("9112 3 a line one byte longer", Tight, get(&target(61)), last(414)),
        row("9112 3 a line that is not a request, and too long", Tight, "x".repeat(100), last(414)),
        row("9110 5.4 a field that is too long", Tight, field(200), last(431)),
        row("9110 5.4 a field that is long, and not too long", Tight, field(100), is(200)),
        row("9110 5.4 as many fields as are accepted", Tight, fields(5), is(200)),
        row("9110 5.4 one more field than is accepted", Tight, fields(6), last(431)),
        row("9110 5.4 a head of 16,000 octets is accepted", App, field(16_000), is(200)),
        row("9110 5.4 a head of 100,000 octets is not", App, field(100_000), last(431)),
        row("9110 5.4 100 fields are accepted", App, fields(100), is(200)),
        row("9110 5.4 101 fields are rejected", App, fields(101), last(431)),
        row("9110 5.4 by HEAD", Tight, head("/mirror").with(format!("X: {}", "a".repeat(200))), last(431)),
        row(
            "9110 15.5.14 a body of the length that is set",
            Tight,
            ask("POST", "/echo").body("x".repeat(20)),
            is(200).length(20),
        ),
        row("9110 15.5.14 a body one byte longer", Tight, ask("POST", "/echo").body("x".repeat(21)), last(413)),
        row(
            "9110 15.5.14 a body longer than body_memory, read whole",
            App,
            ask("POST", "/echo").body("x".repeat(150_000)),
            is(200).length(150_000),
        ),
        row("4918 11.5 no room for a body now", Full, ask("POST", "/echo").body("ab"), last(507)),
        row("4918 11.5 no room, and none wanted", Full, get("/bare"), is(200)),
    ]
}
