//! Field lines: RFC 9112, section 5; RFC 9110, section 5.

use crate::row::{Row, get, is, last, row};
use crate::sites::Site::App;

pub fn rows() -> Vec<Row> {
    let with = |line: &str| get("/mirror").with(line);
    let bytes = |line: &[u8]| [b"GET /mirror HTTP/1.1\r\nHost: a\r\n", line, b"\r\n\r\n"].concat();
    vec![
        row("9112 5 name, colon, value", App, with("X: y"), is(200).holds("x y\n")),
        row("9112 5 no white space is needed", App, with("X:y"), is(200).holds("x y\n")),
        row(
            "9112 5 white space around a value is not part of it",
            App,
            with("X: \t y z \t "),
            is(200).holds("x y z\n"),
        ),
        row("9110 5.5 a value may be empty", App, with("X:"), is(200).holds("x \n")),
        row("9110 5.5 a value of white space is empty", App, with("X: \t "), is(200).holds("x \n")),
        row("9110 5.5 a tab within a value", App, with("X: a\tb"), is(200).holds("x a\\tb\n")),
        row("9110 5.5 bytes over 0x7F are opaque", App, bytes(b"X: caf\xe9 \xff"), is(200).holds("x caf\\xe9 \\xff\n")),
        row("9110 5.5 a colon in a value", App, with("X: a:b:"), is(200).holds("x a:b:\n")),
        row("9110 5.1 names are case-insensitive", App, with("x: a").with("X: b"), is(200).holds("x a|b\n")),
        row("9110 5.1 every character of a name", App, with("!#$%&'*+-.^_`|~aZ9: y"), is(200)),
        row("9110 5.1 an unknown field is ignored", App, with("Unheard-Of: y"), is(200)),
        row(
            "9110 5.3 several lines keep their order",
            App,
            with("X: a").with("Y: b").with("X: c"),
            is(200).holds("x a|c\n"),
        ),
        row("9112 5.1 a space before the colon", App, with("X : y"), last(400)),
        row("9112 5.1 a tab before the colon", App, with("X\t: y"), last(400)),
        row("9112 5.1 of a field that frames", App, with("Content-Length : 0"), last(400)),
        row(
            "9112 5.1 of Transfer-Encoding",
            App,
            get("/mirror").with("Transfer-Encoding : chunked").raw("0\r\n\r\n"),
            last(400),
        ),
        row("9112 5 no name", App, with(": y"), last(400)),
        row("9112 5 no colon", App, with("X"), last(400)),
        row("9112 5 a line of one space", App, with(" "), last(400)),
        row("9110 5.1 a space in a name", App, with("X Y: z"), last(400)),
        row("9110 5.1 a separator in a name", App, with("X(y): z"), last(400)),
        row("9110 5.1 a quoted name", App, with("\"X\": z"), last(400)),
        row("9110 5.1 a byte over 0x7F in a name", App, bytes(b"X\xe9: z"), last(400)),
        row("9110 5.1 a NUL in a name", App, bytes(b"X\0: z"), last(400)),
        row("9112 5.2 a line folded with a space", App, with("X: a\r\n b"), last(400)),
        row("9112 5.2 a line folded with a tab", App, with("X: a\r\n\tb"), last(400)),
        row("9112 5.2 the last line folded", App, with("X: a\r\n "), last(400)),
        row("9112 5.2 a Host that is folded", App, "GET /mirror HTTP/1.1\r\nHost:\r\n a\r\n\r\n", last(400)),
        row("9110 5.5 a NUL in a value", App, bytes(b"X: a\0b"), last(400)),
        row("9110 5.5 a bare CR in a value", App, with("X: a\rb"), last(400)),
        row("9110 5.5 a bare CR before the line end", App, with("X: a\r"), last(400)),
        row("9110 5.5 a bare LF in a value", App, with("X: a\nb"), last(400)),
        row("9110 5.5 a control character in a value", App, with("X: a\x01b"), last(400)),
        row("9110 5.5 an escape in a value", App, with("X: \x1b[2J"), last(400)),
        row("9110 5.5 DEL in a value", App, with("X: a\x7f"), last(400)),
        row("9110 5.5 a vertical tab before a value", App, with("X:\x0ba"), last(400)),
        row("9110 5.6.1 empty members of a list", App, with("Connection: ,, ,close, ,"), last(200)),
        row("9110 5.6.1 a list over several lines", App, with("Connection: x").with("Connection: close"), last(200)),
    ]
}
