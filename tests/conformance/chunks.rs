//! The chunked coding: RFC 9112, sections 7.1 and 7.1.1 to 7.1.3; RFC 9110, section 6.5.

use crate::row::{Row, ask, is, last, row, say, talk};
use crate::sites::Site::{App, Lengths, Tight};

pub fn rows() -> Vec<Row> {
    let sent = |wire: &str| ask("POST", "/echo").chunked(wire);
    let trailed = |trailers: &str| ask("POST", "/mirror").chunked(format!("2\r\nab\r\n0\r\n{trailers}\r\n"));
    let echoed = || is(200).body("ab");
    vec![
        row("9112 7.1 several chunks", App, sent("1\r\na\r\n1\r\nb\r\n0\r\n\r\n"), echoed()),
        row("9112 7.1 no chunk", App, sent("0\r\n\r\n"), is(200).body("")),
        row(
            "9112 7.1 sizes in either case",
            App,
            sent("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"),
            is(200).length(20),
        ),
        row("9112 7.1 leading zeros", App, sent("0000000000000000000000002\r\nab\r\n000\r\n\r\n"), echoed()),
        row(
            "9112 7.1 line ends within a chunk",
            App,
            sent("6\r\n\r\n0\r\n\r\r\n0\r\n\r\n"),
            is(200).body("\r\n0\r\n\r"),
        ),
        row(
            "9112 7.1 a chunk that looks like a request",
            App,
            sent("1c\r\nGET / HTTP/1.1\r\nHost: ab\r\n\r\n\r\n0\r\n\r\n"),
            is(200).length(28),
        ),
        row("9112 7.1 no size", App, sent("\r\nab\r\n0\r\n\r\n"), last(400)),
        row("9112 7.1 an invalid size", App, sent("g\r\nab\r\n0\r\n\r\n"), last(400)),
        row("9112 7.1 a size with a prefix", App, sent("0x2\r\nab\r\n0\r\n\r\n"), last(400)),
        row("9112 7.1 a size with a sign", App, sent("+2\r\nab\r\n0\r\n\r\n"), last(400)),
        row("9112 7.1 a size below zero", App, sent("-2\r\nab\r\n0\r\n\r\n"), last(400)),
        row("9112 7.1 a size with an underscore", App, sent("0_2\r\nab\r\n0\r\n\r\n"), last(400)),
        row("9112 7.1 a space before the size", App, sent(" 2\r\nab\r\n0\r\n\r\n"), last(400)),
        row("9112 7.1 a space after the size", App, sent("2 \r\nab\r\n0\r\n\r\n"), last(400)),
        row("9112 7.1 two sizes", App, sent("2 2\r\nab\r\n0\r\n\r\n"), last(400)),
        row("9112 7.1 a size of more than 64 bits", App, sent("10000000000000002\r\nab\r\n0\r\n\r\n"), last(400)),
        row("9112 7.1 a size of 64 bits", App, sent("ffffffffffffffff\r\nab\r\n0\r\n\r\n"), last(413)),
        row("9112 7.1 a bare LF after the size", App, sent("2\nab\r\n0\r\n\r\n"), last(400)),
        row("9112 7.1 a bare CR after the size", App, sent("2\rab\r\n0\r\n\r\n"), last(400)),
        row("9112 7.1 a bare LF after the data", App, sent("2\r\nab\n0\r\n\r\n"), last(400)),
        row("9112 7.1 nothing after the data", App, sent("2\r\nab0\r\n\r\n"), last(400)),
        row("9112 7.1 a chunk longer than its size", App, sent("1\r\nab\r\n0\r\n\r\n"), last(400)),
        row("9112 7.1 a chunk shorter than its size", App, sent("3\r\nab\r\n0\r\n\r\n"), last(400)),
        row("9112 7.1 a bare LF for the last empty line", App, sent("2\r\nab\r\n0\r\n\n"), last(400)),
        // 7.1.1: extensions have no meaning here
        row("9112 7.1.1 an extension is ignored", App, sent("2;a=b\r\nab\r\n0;c\r\n\r\n"), echoed()),
        row("9112 7.1.1 a quoted one", App, sent("2;a=\"b;\\\" c\"\r\nab\r\n0\r\n\r\n"), echoed()),
        row("9112 7.1.1 white space around its signs", App, sent("2 ; a = b\t;c\r\nab\r\n0\r\n\r\n"), echoed()),
        row("9112 7.1.1 one without a name", App, sent("2;\r\nab\r\n0\r\n\r\n"), last(400)),
        row("9112 7.1.1 one without a value", App, sent("2;a=\r\nab\r\n0\r\n\r\n"), last(400)),
        row("9112 7.1.1 one whose quote has no end", App, sent("2;a=\"b\r\nab\r\n0\r\n\r\n"), last(400)),
        row("9112 7.1.1 a bare LF in one", App, sent("2;a\nb\r\nab\r\n0\r\n\r\n"), last(400)),
        row("9112 7.1.1 a bare CR in one", App, sent("2;a\rb\r\nab\r\n0\r\n\r\n"), last(400)),
        row(
            "9112 7.1.1 their length is bounded",
            App,
            sent(&format!("2;{}\r\nab\r\n0\r\n\r\n", "a".repeat(20_000))),
            last(400),
        ),
        row(
            "9112 7.1.1 all together",
            App,
            sent(&(format!("1;{}\r\na\r\n", "a".repeat(2000)).repeat(12) + "0\r\n\r\n")),
            last(400),
        ),
        // 7.1.2: trailers
        row("9112 7.1.2 a trailer", App, trailed("Trailed: yes\r\n"), is(200).holds("body ab")),
        row(
            "9110 6.5.1 a trailer is not a field of the head",
            App,
            trailed("Trailed: yes\r\n"),
            is(200).holds("trailer none\n"),
        ),
        row(
            "9110 6.5.1 a trailer can't change the framing",
            App,
            trailed("Content-Length: 99\r\nTransfer-Encoding: x\r\nHost: b\r\n"),
            is(200).holds("host a\n"),
        ),
        row("9112 7.1.2 a trailer without a colon", App, trailed("Trailed\r\n"), last(400)),
        row("9112 7.1.2 a trailer with a space before the colon", App, trailed("Trailed : yes\r\n"), last(400)),
        row("9112 7.1.2 a trailer that is folded", App, trailed("Trailed: yes\r\n no\r\n"), last(400)),
        row("9112 7.1.2 a NUL in a trailer", App, trailed("Trailed: \0\r\n"), last(400)),
        row("9112 7.1.2 a bare LF after a trailer", App, trailed("Trailed: yes\n"), last(400)),
        row("9110 5.4 too many trailers", App, trailed(&"A: b\r\n".repeat(200)), last(431)),
        row("9110 5.4 trailers too long", App, trailed(&format!("A: {}\r\n", "b".repeat(1000)).repeat(20)), last(431)),
        // Lengths that were not announced
        row(
            "9110 15.5.14 chunks over the limit",
            Tight,
            sent("a\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n"),
            last(413),
        ),
        row("9110 15.5.14 a size over the limit", Tight, sent("ffff\r\nab"), last(413)),
        row("9110 15.5.12 a length is required", Lengths, sent("2\r\nab\r\n0\r\n\r\n"), last(411)),
        row("9110 15.5.12 a body with a length is accepted", Lengths, ask("POST", "/echo").body("ab"), echoed()),
        talk(
            "9112 7.1 after the last chunk the next request begins",
            App,
            vec![say(
                sent("2\r\nab\r\n0\r\nT: t\r\n\r\n").then(ask("POST", "/echo").body("cd")),
                [echoed(), is(200).body("cd")],
            )],
        ),
    ]
}
