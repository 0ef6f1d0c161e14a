//! Request line, version and line ends: RFC 9112, sections 2.2, 2.3, 3 and 3.1.

use crate::row::{Row, ask, is, last, line, row, say, talk};
use crate::sites::Site::App;

pub fn rows() -> Vec<Row> {
    let rest = "\r\nHost: a\r\n\r\n";
    vec![
        // 2.2: parsing a message
        row(
            "9112 2.2 a CRLF before the request is skipped",
            App,
            format!("\r\nGET /bare HTTP/1.1{rest}"),
            is(200).length(10),
        ),
        row(
            "9112 2.2 several CRLFs before the request are skipped",
            App,
            format!("\r\n\r\n\r\nGET /bare HTTP/1.1{rest}"),
            is(200).length(10),
        ),
        talk(
            "9112 2.2 a CRLF after a body, as old clients send it, is skipped",
            App,
            vec![say(
                ask("POST", "/echo").body("ab").then(format!("\r\nGET /bare HTTP/1.1{rest}")),
                [is(200).body("ab"), is(200).length(10)],
            )],
        ),
        row(
            "9112 2.2 CRLFs before the request are skipped up to a limit",
            App,
            "\r\n".repeat(40) + "GET / HTTP/1.1" + rest,
            last(400),
        ),
        row("9112 2.2 a bare LF before the request", App, format!("\nGET / HTTP/1.1{rest}"), last(400)),
        row("9112 2.2 a bare CR before the request", App, format!("\rGET / HTTP/1.1{rest}"), last(400)),
        row("9112 2.2 a bare LF after the request line", App, "GET / HTTP/1.1\nHost: a\r\n\r\n", last(400)),
        row("9112 2.2 a bare LF after a field", App, "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", last(400)),
        row("9112 2.2 a bare LF as the empty line", App, "GET / HTTP/1.1\r\nHost: a\r\n\n", last(400)),
        row("9112 2.2 a bare CR within the request line", App, "GET /a\rb HTTP/1.1\r\nHost: a\r\n\r\n", last(400)),
        row("9112 2.2 a bare CR for a line end", App, "GET / HTTP/1.1\rHost: a\r\n\r\n", last(400)),
        row("9112 2.2 CR CR LF", App, "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", last(400)),
        row(
            "9112 2.2 white space before the first field",
            App,
            "GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n",
            last(400),
        ),
        row(
            "9112 2.2 a line of white space before the fields",
            App,
            "GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n",
            last(400),
        ),
        row("9112 2.2 bytes that are not HTTP: TLS", App, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", last(400)),
        row("9112 2.2 bytes that are not HTTP: a response", App, "HTTP/1.1 200 OK\r\n\r\n", last(400)),
        row("9112 2.2 bytes that are not HTTP: SMTP", App, "EHLO example.org\r\n\r\n", last(400)),
        row("9112 2.2 a NUL in the request line", App, b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", last(400)),
        row("9112 2.2 a message in UTF-16", App, b"\xff\xfeG\0E\0T\0 \0/\0", last(400)),
        // 2.3: the version
        row(
            "9112 2.3 a 1.0 request gets a 1.1 response",
            App,
            "GET /mirror HTTP/1.0\r\n\r\n",
            last(200).holds("GET 1.0"),
        ),
        row("9112 2.3 a later 1.x is treated as 1.1", App, line("GET /mirror HTTP/1.2"), is(200).holds("GET 1.1")),
        row("9112 2.3 1.9", App, line("GET /mirror HTTP/1.9"), is(200).holds("GET 1.1")),
        row("9112 2.3 the name of the protocol is case-sensitive", App, line("GET / http/1.1"), last(400)),
        row("9112 2.3 one digit after the dot", App, line("GET / HTTP/1.10"), last(400)),
        row("9112 2.3 a digit after the dot", App, line("GET / HTTP/1."), last(400)),
        row("9112 2.3 a digit before the dot", App, line("GET / HTTP/.1"), last(400)),
        row("9112 2.3 one digit before the dot", App, line("GET / HTTP/01.1"), last(400)),
        row("9112 2.3 no dot", App, line("GET / HTTP/1"), last(400)),
        row("9112 2.3 a comma for the dot", App, line("GET / HTTP/1,1"), last(400)),
        row("9112 2.3 a letter for a digit", App, line("GET / HTTP/1.x"), last(400)),
        row("9112 2.3 another protocol", App, line("GET / ICAP/1.0"), last(400)),
        row("9110 15.6.6 another major version", App, line("GET / HTTP/3.0"), last(505).holds("HTTP/1.1")),
        row("9110 15.6.6 the preface of HTTP/2", App, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", last(505)),
        row("9110 2.5 HTTP/0.9 by name", App, line("GET / HTTP/0.9"), last(400)),
        row("9112 3 a request of HTTP/0.9", App, "GET /\r\n\r\n", last(400)),
        // 3: the request line
        row("9112 3 no target", App, line("GET HTTP/1.1"), last(400)),
        row("9112 3 an empty target", App, line("GET  HTTP/1.1"), last(400)),
        row("9112 3 two spaces before the target", App, line("GET  / HTTP/1.1"), last(400)),
        row("9112 3 two spaces before the version", App, line("GET /  HTTP/1.1"), last(400)),
        row("9112 3 a space at the end", App, line("GET / HTTP/1.1 "), last(400)),
        row("9112 3 a space at the beginning", App, line(" GET / HTTP/1.1"), last(400)),
        row("9112 3 a space before HEAD", App, line(" HEAD / HTTP/1.1"), last(400).holds("400")),
        row("9112 3 a tab for a space", App, line("GET\t/ HTTP/1.1"), last(400)),
        row("9112 3 a vertical tab for a space", App, line("GET /\x0bHTTP/1.1"), last(400)),
        row("9112 3 a form feed for a space", App, line("GET / HTTP/1.1\x0c"), last(400)),
        row("9112 3 a space in the target", App, line("GET /a b HTTP/1.1"), last(400)),
        row("9112 3 more after the version", App, line("GET / HTTP/1.1 HTTP/1.1"), last(400)),
        // 3.1: the method
        row(
            "9112 3.1 every character of a token",
            App,
            line("!#$%&'*+-.^_`|~aZ9 /mirror HTTP/1.1"),
            is(200).holds("!#$%&'*+-.^_`|~aZ9 1.1"),
        ),
        row("9112 3.1 no method", App, line(" / HTTP/1.1"), last(400)),
        row("9112 3.1 a separator in the method", App, line("GE(T / HTTP/1.1"), last(400)),
        row("9112 3.1 a quoted method", App, line("\"GET\" / HTTP/1.1"), last(400)),
        row("9112 3.1 a colon in the method", App, line("GET: / HTTP/1.1"), last(400)),
        row("9112 3.1 a byte over 0x7F in the method", App, line("GÉT / HTTP/1.1"), last(400)),
        row("9112 3.1 a NUL in the method", App, line("G\0T / HTTP/1.1"), last(400)),
        row(
            "9110 9.1 an unknown method, by its length",
            App,
            line(&format!("{} / HTTP/1.1", "G".repeat(200))),
            last(501),
        ),
    ]
}
