//! Connections: RFC 9112, section 9; RFC 9110, sections 7.6.1 and 7.8.

use crate::reader::Framing;
use crate::row::{Row, Step, ask, ask_old, get, head, is, last, row, say, talk};
use crate::sites::Site::{App, Files, Hasty, Idle, Once};

pub fn rows() -> Vec<Row> {
    let mut rows = persistence();
    rows.extend(pipelines());
    rows.extend(ends());
    rows
}

fn persistence() -> Vec<Row> {
    let with = |line: &str| get("/bare").with(line);
    let old = |line: &str| ask_old("GET", "/bare").with(line);
    vec![
        row("9112 9.3 1.1 stays open", App, get("/bare"), is(200).lacks("Connection")),
        row("9112 9.3 1.1 with Connection: close", App, with("Connection: close"), last(200).length(10)),
        row("9110 7.6.1 options are case-insensitive", App, with("connection: CLOSE"), last(200)),
        row("9112 9.3 close in a list", App, with("Connection: x, close"), last(200)),
        row("9112 9.3 close wins over keep-alive", App, with("Connection: keep-alive, close"), last(200)),
        row("9112 9.3 close on another line", App, with("Connection: keep-alive").with("Connection: close"), last(200)),
        row("9112 9.3 a word that only begins so", App, with("Connection: closed"), is(200)),
        row("9112 9.3 1.1 stays open with keep-alive", App, with("Connection: keep-alive"), is(200)),
        row("9112 9.3 1.0 closes", App, ask_old("GET", "/bare"), last(200).length(10)),
        row("9112 9.3 1.0 stays open with keep-alive", App, old("Connection: keep-alive"), is(200).length(10)),
        row("9112 9.3 1.0 in any case", App, old("Connection: Keep-Alive"), is(200)),
        row("9112 9.3 1.0 with both words", App, old("Connection: keep-alive, close"), last(200)),
        row("9112 9.3 1.0 closes in spite of Proxy-Connection", App, old("Proxy-Connection: keep-alive"), last(200)),
        row("9112 9.3 1.0 closes in spite of Keep-Alive", App, old("Keep-Alive: timeout=5"), last(200)),
        row(
            "9112 9.3 1.0 HEAD",
            App,
            ask_old("HEAD", "/bare").with("Connection: keep-alive"),
            is(200).has("Content-Length", "10"),
        ),
        row(
            "9112 9.3 1.0 for a file",
            Files,
            ask_old("GET", "/ten.txt").with("Connection: keep-alive"),
            is(200).body("0123456789"),
        ),
        row("9112 9.3 a later 1.x stays open", App, "GET /bare HTTP/1.3\r\nHost: a\r\n\r\n", is(200)),
        row("9112 9.3 an error by a handler does not close the connection", App, get("/nowhere"), is(404)),
        row("9112 9.3 a 500 by a handler does not close the connection", App, get("/error"), is(500)),
        row("9112 9.6 a server without keep-alive sends close", Once, get("/bare"), last(200).length(10)),
        row("9112 9.6 a server without keep-alive, asked for it", Once, old("Connection: keep-alive"), last(200)),
        row(
            "9112 9.6 a stream with Connection: close",
            App,
            get("/stream").with("Connection: close"),
            last(200).body("streamed").framed(Framing::Chunked),
        ),
        row("9112 9.6 a 204 with Connection: close", App, ask("DELETE", "/ten").with("Connection: close"), last(204)),
        row(
            "9112 9.3 1.0 stays open after a 304",
            App,
            ask_old("GET", "/ten").with("If-None-Match: *").with("Connection: keep-alive"),
            is(304),
        ),
        row(
            "9112 9.3 1.0 stays open after a 404",
            Files,
            ask_old("GET", "/nowhere").with("Connection: keep-alive"),
            is(404),
        ),
        row("9112 9.6 a handler that ends it", App, get("/closing"), last(200).length(10)),
        row("9112 9.6 a handler that ends it by a field", App, get("/closing/field"), last(200).length(10)),
        row(
            "9110 7.6.1 fields that Connection names do not reach the handler",
            App,
            with("Connection: x").with("X: y"),
            is(200),
        ),
        row(
            "9110 7.8 an upgrade is ignored",
            App,
            with("Connection: upgrade").with("Upgrade: websocket"),
            is(200).length(10),
        ),
        row(
            "9110 7.8 an upgrade to h2c is ignored",
            App,
            with("Connection: Upgrade, HTTP2-Settings")
                .with("Upgrade: h2c")
                .with("HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"),
            is(200),
        ),
        row(
            "9110 7.8 an upgrade in HTTP/1.0 is ignored",
            App,
            old("Upgrade: h2c").with("Connection: upgrade"),
            last(200),
        ),
        row(
            "9110 7.8 an upgrade with a body is ignored",
            App,
            ask("POST", "/echo").with("Connection: upgrade").with("Upgrade: TLS/1.3").body("ab"),
            is(200).body("ab"),
        ),
        row("9110 7.6.2 Max-Forwards is for proxies", App, ask("OPTIONS", "*").with("Max-Forwards: 0"), is(204)),
        row("9110 7.6.3 Via changes nothing", App, with("Via: 1.0 fred, 1.1 p.example.net"), is(200)),
    ]
}

fn pipelines() -> Vec<Row> {
    let ten = || is(200).length(10);
    let many: Vec<u8> =
        (0..60).fold(Vec::new(), |all, number| [all, ask("POST", "/echo").body(number.to_string()).then("")].concat());
    let close = get("/bare").with("Connection: close");
    vec![
        talk(
            "9112 9.3.2 two requests at once",
            App,
            vec![say(get("/bare").then(get("/mirror")), [ten(), is(200).holds("path /mirror")])],
        ),
        talk(
            "9112 9.3.2 many, answered in order",
            App,
            vec![say(many, (0..60).map(|number: i32| is(200).body(number.to_string())))],
        ),
        talk(
            "9112 9.3.2 of different kinds",
            App,
            vec![say(
                [head("/bare").then(ask("POST", "/echo").body("ab")), get("/stream").then(ask("DELETE", "/bare"))]
                    .concat(),
                [is(200).of_head(), is(200).body("ab"), is(200).body("streamed"), is(204)],
            )],
        ),
        talk(
            "9112 9.3.2 of HTTP/1.0",
            App,
            vec![say(
                ask_old("GET", "/bare").with("Connection: keep-alive").then(ask_old("GET", "/mirror")),
                [is(200).of_old().length(10), last(200).of_old().holds("GET 1.0")],
            )],
        ),
        talk(
            "9112 9.3.2 files",
            Files,
            vec![say(
                get("/ten.txt").then(get("/large.txt").then(get("/empty.txt"))),
                [is(200).body("0123456789"), is(200).length(200_000), is(200).body("")],
            )],
        ),
        // If the rest were sent separately, the connection could be closed already: a client that announces its last
        // request sends no more.
        talk("9112 9.6 after close nothing is answered", App, vec![say(close.then(get("/bare")), [last(200)])])
            .whole_only(),
        talk(
            "9112 9.6 earlier requests get their responses",
            App,
            vec![say(get("/bare").then(get("/bare").with("Connection: close")), [ten(), last(200)])],
        ),
        talk(
            "9112 9.3.2 a bad request after a good one",
            App,
            vec![say(get("/bare").then("GET  / HTTP/1.1\r\n\r\n"), [ten(), last(400)])],
        ),
        talk("9112 9.3.2 an error among them", App, vec![say(get("/nowhere").then(get("/bare")), [is(404), ten()])]),
        talk(
            "9112 9.3.2 half a request after a whole one",
            App,
            vec![say(get("/bare").then("GET /ba"), [ten()]), say("re HTTP/1.1\r\nHost: a\r\n\r\n", [ten()])],
        ),
        talk(
            "9112 9.3 one after another",
            App,
            vec![
                say(get("/bare"), [ten()]),
                say(ask("POST", "/echo").body("ab"), [is(200).body("ab")]),
                say(head("/bare"), [is(200)]),
            ],
        ),
        talk(
            "9112 9.3 1.0 after 1.1",
            App,
            vec![say(get("/bare"), [ten()]), say(ask_old("GET", "/bare"), [last(200)])],
        ),
    ]
}

fn ends() -> Vec<Row> {
    let ended = |wire| vec![say(wire, [is(200).ended()]).and_end()];
    let late = |wire: &str| -> Vec<Step> { vec![say(wire, [last(408)])] };
    let nothing = || -> Vec<Step> { vec![say("", []).and_end()] };
    vec![
        talk("9112 9.6 a client that has ended its side gets its response", App, ended(get("/bare"))),
        talk("9112 9.6 also a long one", App, vec![say(get("/large"), [is(200).length(300_000).ended()]).and_end()]),
        talk("9112 9.6 also a file", Files, vec![say(get("/large.txt"), [is(200).length(200_000).ended()]).and_end()]),
        talk("9112 9.6 also a stream", App, vec![say(get("/stream"), [is(200).body("streamed").ended()]).and_end()]),
        talk(
            "9112 9.6 also several",
            App,
            vec![say(get("/bare").then(get("/bare")), [is(200), is(200).ended()]).and_end()],
        ),
        talk("9112 9.6 a client that disconnects without a request gets no response", App, nothing()),
        talk(
            "9112 9.6 a rejection reaches a client that is still sending",
            App,
            vec![say(get("/a b").raw("x".repeat(300_000)), [last(400)])],
        ),
        talk(
            "9112 9.6 also one that sends more than is accepted",
            App,
            vec![say(ask("POST", "/echo").with("Content-Length: 99999999").raw("x".repeat(300_000)), [last(413)])],
        ),
        talk("9112 9.5 the connection of a silent client ends without a response", Idle, vec![say("", [])])
            .whole_only(),
        talk("9112 9.5 silence after a response closes it", Idle, vec![say(get("/bare"), [is(200).ended()])])
            .whole_only(),
        talk("9110 15.5.9 a head that never ends", Hasty, late("GET / HTTP/1.1\r\nHost: a\r\n")).whole_only(),
        talk(
            "9110 15.5.9 a body that never ends",
            Hasty,
            late("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab"),
        )
        .whole_only(),
        talk(
            "9110 15.5.9 chunks that never end",
            Hasty,
            late("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n"),
        )
        .whole_only(),
    ]
}
