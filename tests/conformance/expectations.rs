//! Expect: RFC 9110, section 10.1.1; and the interim response: section 15.2.

use crate::row::{Row, Wire, ask, ask_old, get, go_on, is, last, row, say, talk};
use crate::sites::Site::{App, Files, Tight};

pub fn rows() -> Vec<Row> {
    let post = || ask("POST", "/echo").with("Expect: 100-continue");
    let head = |length: &str| post().with(format!("Content-Length: {length}"));
    let echoed = || is(200).body("ab");
    vec![
        talk("9110 10.1.1 an Expect, then the body", App, vec![say(head("2"), [go_on()]), say("ab", [echoed()])]),
        talk(
            "9110 10.1.1 100 before a chunked body",
            App,
            vec![say(post().with("Transfer-Encoding: chunked"), [go_on()]), say("2\r\nab\r\n0\r\n\r\n", [echoed()])],
        ),
        talk(
            "9110 10.1.1 an Expect of a later 1.x",
            App,
            vec![
                say("POST /echo HTTP/1.2\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n", [go_on()]),
                say("ab", [echoed()]),
            ],
        ),
        talk(
            "9110 10.1.1 100 twice on one connection",
            App,
            vec![say(head("2"), [go_on()]), say("ab", [echoed()]), say(head("2"), [go_on()]), say("ab", [echoed()])],
        ),
        talk(
            "9110 10.1.1 an Expect with Connection: close",
            App,
            vec![say(head("2").with("Connection: close"), [go_on()]), say("ab", [last(200).body("ab")])],
        ),
        row("9110 10.1.1 an Expect together with the body", App, head("2").raw("ab"), echoed().maybe_continue()),
        row(
            "9110 10.1.1 in any case",
            App,
            ask("POST", "/echo").with("Expect: 100-CONTINUE").body("ab"),
            echoed().maybe_continue(),
        ),
        row(
            "9110 10.1.1 among empty members",
            App,
            ask("POST", "/echo").with("Expect: ,100-continue,").body("ab"),
            echoed().maybe_continue(),
        ),
        row(
            "9110 10.1.1 without a body there is nothing to wait for",
            App,
            get("/bare").with("Expect: 100-continue"),
            is(200).length(10),
        ),
        row("9110 10.1.1 with a body of no bytes there is nothing to wait for", App, head("0"), is(200).body("")),
        row(
            "9110 10.1.1 in HTTP/1.0 it is ignored",
            App,
            ask_old("POST", "/echo").with("Expect: 100-continue").body("ab"),
            last(200).body("ab"),
        ),
        row(
            "9110 10.1.1 in HTTP/1.0 any other expectation is ignored",
            App,
            ask_old("POST", "/echo").with("Expect: cake").body("ab"),
            last(200).body("ab"),
        ),
        row("9110 10.1.1 another expectation", App, ask("POST", "/echo").with("Expect: cake").body("ab"), last(417)),
        row(
            "9110 10.1.1 another expectation next to it",
            App,
            ask("POST", "/echo").with("Expect: 100-continue, cake").body("ab"),
            last(417),
        ),
        row("9110 10.1.1 another expectation without a body", App, get("/bare").with("Expect: cake"), last(417)),
        row(
            "9110 10.1.1 one with a value",
            App,
            ask("POST", "/echo").with("Expect: 100-continue=yes").body("ab"),
            last(417),
        ),
        row(
            "9110 10.1.1 rejected from the head by a handler",
            App,
            ask("POST", "/declined").with("Expect: 100-continue").with("Content-Length: 2"),
            last(403),
        ),
        row(
            "9110 10.1.1 rejected from the head by a folder",
            Files,
            ask("PUT", "/ten.txt").with("Expect: 100-continue").with("Content-Length: 2"),
            last(405),
        ),
        row("9110 10.1.1 rejected for its length", Tight, head("21"), last(413)),
        talk(
            "9110 10.1.1 an Expect, then a malformed body",
            App,
            vec![say(post().with("Transfer-Encoding: chunked"), [go_on()]), say("x\r\n", [last(400)])],
        ),
        talk(
            "9110 10.1.1 an Expect with GET",
            App,
            vec![
                say(get("/mirror").with("Expect: 100-continue").with("Content-Length: 2"), [go_on()]),
                say("ab", [is(200).holds("body ab")]),
            ],
        ),
        talk(
            "9110 10.1.1 an Expect, then the client disconnects",
            App,
            vec![say(head("2"), [go_on()]), say("a", [last(400)]).and_end()],
        ),
        row(
            "9110 10.1.1 rejected, and the body comes anyway",
            App,
            ask("POST", "/declined").with("Expect: 100-continue").body("GET /bare HTTP/1.1\r\nHost: a\r\n\r\n"),
            last(403),
        ),
        row("9110 10.1.1 a malformed request gets no 100", App, head("x"), last(400)),
        talk(
            "9110 15.2 100 Continue after the response to an earlier request",
            App,
            vec![say(get("/bare").then(head("2").bytes()), [is(200), go_on()]), say("ab", [echoed()])],
        ),
    ]
}
