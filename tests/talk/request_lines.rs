//! Methods, targets and versions: RFC 9112, sections 2.2, 2.3 and 3; RFC 3986.

use crate::tables::Then::{Closed, Kept, KeptWith, Refused, Wants};
use crate::tables::{check, check_with, mirror};

#[test]
fn malformed_request_lines_are_rejected() {
    for (name, line, then) in [
        // Methods (section 3.1)
        ("a GET", "GET / HTTP/1.1", Kept("")),
        ("a HEAD has the fields alone", "HEAD / HTTP/1.1", KeptWith(200)),
        ("a method of the handler's own", "BREW /pot HTTP/1.1", Kept("")),
        ("every character of a token", "!#$%&'*+-.^_`|~aZ9 / HTTP/1.1", Kept("")),
        ("methods are case-sensitive", "get / HTTP/1.1", Kept("")),
        ("a known method that is not written", "PATCH / HTTP/1.1", KeptWith(501)),
        ("TRACE is refused", "TRACE / HTTP/1.1", KeptWith(501)),
        ("CONNECT is refused", "CONNECT example.org:443 HTTP/1.1", Refused(501)),
        ("CONNECT without a port", "CONNECT example.org HTTP/1.1", Refused(400)),
        ("CONNECT with an empty port", "CONNECT example.org: HTTP/1.1", Refused(400)),
        ("CONNECT of a path", "CONNECT / HTTP/1.1", Refused(400)),
        ("no method", " / HTTP/1.1", Refused(400)),
        ("a method in brackets", "(GET) / HTTP/1.1", Refused(400)),
        ("a method with a letter over 0x7F", "GÉT / HTTP/1.1", Refused(400)),
        ("a method with a NUL", "G\0T / HTTP/1.1", Refused(400)),
        // Spaces (section 3)
        ("two spaces before the target", "GET  / HTTP/1.1", Refused(400)),
        ("two spaces behind the target", "GET /  HTTP/1.1", Refused(400)),
        ("a tab for a space", "GET\t/ HTTP/1.1", Refused(400)),
        ("a tab behind the target", "GET /\tHTTP/1.1", Refused(400)),
        ("a space at the end", "GET / HTTP/1.1 ", Refused(400)),
        ("a space in the target", "GET /a b HTTP/1.1", Refused(400)),
        ("white space before a HEAD, which then is not one", " HEAD / HTTP/1.1", Refused(400)),
        ("white space at the beginning", "\tGET / HTTP/1.1", Refused(400)),
        ("white space before a HEAD, which is not one", " HEAD / HTTP/1.1", Refused(400)),
        ("a bare line end before a HEAD, which is not one", "\rHEAD / HTTP/1.1", Refused(400)),
        // Versions (section 2.3)
        ("a later 1.x", "GET / HTTP/1.2", Kept("")),
        ("HTTP/1.9", "GET / HTTP/1.9", Kept("")),
        ("HTTP/2.0", "GET / HTTP/2.0", Refused(505)),
        ("HTTP/9.9", "GET / HTTP/9.9", Refused(505)),
        ("the preface of HTTP/2", "PRI * HTTP/2.0", Refused(505)),
        ("HTTP/0.9 by name", "GET / HTTP/0.9", Refused(400)),
        ("HTTP/0.9 as it was", "GET /", Refused(400)),
        ("HTTP/0.9 with a space", "GET / ", Refused(400)),
        ("a method alone", "GET", Refused(400)),
        ("lower case", "GET / http/1.1", Refused(400)),
        ("two digits", "GET / HTTP/1.10", Refused(400)),
        ("one digit", "GET / HTTP/1", Refused(400)),
        ("another protocol", "GET / ICAP/1.0", Refused(400)),
        ("letters", "GET / HTTP/a.b", Refused(400)),
        // Origin form (section 3.2.1)
        ("a query", "GET /a?b=c&d HTTP/1.1", Kept("")),
        ("an empty query", "GET /? HTTP/1.1", Kept("")),
        ("a question mark in a query", "GET /a?b?c HTTP/1.1", Kept("")),
        ("every character of a path", "GET /a-._~!$&'()*+,;=:@%20/b HTTP/1.1", Kept("")),
        ("what browsers leave as it is in a path", "GET /[a]|^ HTTP/1.1", Kept("")),
        ("what browsers leave as it is in a query", "GET /?a[]={1}|`^\\&b=100% HTTP/1.1", Kept("")),
        ("no slash first", "GET a HTTP/1.1", Refused(400)),
        ("a fragment", "GET /a#b HTTP/1.1", Refused(400)),
        ("a fragment behind a query", "GET /a?b#c HTTP/1.1", Refused(400)),
        ("a broken percent-encoding", "GET /%4 HTTP/1.1", Refused(400)),
        ("a percent sign at the end", "GET /% HTTP/1.1", Refused(400)),
        ("a percent-encoding with a letter beyond F", "GET /%4G HTTP/1.1", Refused(400)),
        ("a back-slash in the path", "GET /a\\b HTTP/1.1", Refused(400)),
        ("a quote", "GET /\"a\" HTTP/1.1", Refused(400)),
        ("an angle bracket", "GET /<a> HTTP/1.1", Refused(400)),
        ("an angle bracket in the query, encoded on arrival", "GET /?<a> HTTP/1.1", Kept("")),
        ("a brace in the path", "GET /{a} HTTP/1.1", Refused(400)),
        ("a letter over 0x7F", "GET /café HTTP/1.1", Refused(400)),
        ("a letter over 0x7F in the query, encoded on arrival", "GET /?café HTTP/1.1", Kept("")),
        ("a space in the query", "GET /?a b HTTP/1.1", Refused(400)),
        ("a control character in the query", "GET /?a\x1b HTTP/1.1", Refused(400)),
        ("a carriage return in the query", "GET /?a\rb HTTP/1.1", Refused(400)),
        ("a NUL", "GET /\0 HTTP/1.1", Refused(400)),
        ("a control character", "GET /\x1b HTTP/1.1", Refused(400)),
        ("DEL", "GET /\x7f HTTP/1.1", Refused(400)),
        ("a carriage return", "GET /a\rb HTTP/1.1", Refused(400)),
        // Absolute form (section 3.2.2)
        ("a URL", "GET http://example.org/a?b HTTP/1.1", Kept("")),
        ("its scheme in any case", "GET HTTP://example.org:8080/ HTTP/1.1", Kept("")),
        ("https, which is not spoken here (RFC 9110, 7.4)", "GET https://example.org/ HTTP/1.1", Refused(421)),
        ("https without a host", "GET https:///a HTTP/1.1", Refused(400)),
        ("an empty path", "GET http://example.org HTTP/1.1", Kept("")),
        ("an empty path and a query", "GET http://example.org?q HTTP/1.1", Kept("")),
        ("an IPv6 address", "GET http://[::1]:80/ HTTP/1.1", Kept("")),
        ("no host", "GET http:///a HTTP/1.1", Refused(400)),
        ("a port without a host", "GET http://:80/a HTTP/1.1", Refused(400)),
        ("a user", "GET http://a@example.org/ HTTP/1.1", Refused(400)),
        ("a port that is not a number", "GET http://example.org:http/ HTTP/1.1", Refused(400)),
        ("a port beyond all ports", "GET http://example.org:65536/ HTTP/1.1", Refused(400)),
        ("half an IPv6 address", "GET http://[::1/ HTTP/1.1", Refused(400)),
        ("a fragment in a URL", "GET http://example.org/#a HTTP/1.1", Refused(400)),
        ("a fragment behind the host", "GET http://example.org#a HTTP/1.1", Refused(400)),
        ("another scheme", "GET ftp://example.org/ HTTP/1.1", Refused(400)),
        ("a scheme alone", "GET http: HTTP/1.1", Refused(400)),
        // Authority and asterisk form (sections 3.2.3 and 3.2.4)
        ("an authority for a GET", "GET example.org:80 HTTP/1.1", Refused(400)),
        ("an asterisk for OPTIONS", "OPTIONS * HTTP/1.1", KeptWith(204)),
        ("a URL without a path for OPTIONS", "OPTIONS http://example.org HTTP/1.1", KeptWith(204)),
        ("an asterisk for a GET", "GET * HTTP/1.1", Refused(400)),
        ("an asterisk and more", "OPTIONS *a HTTP/1.1", Refused(400)),
        ("OPTIONS of a path nobody wrote", "OPTIONS /a HTTP/1.1", KeptWith(501)),
    ] {
        check(name, format!("{line}\r\nHost: a\r\n\r\n"), then);
    }
}

#[test]
fn line_ends() {
    for (name, wire, then) in [
        ("CRLF before a request (section 2.2)", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Kept("")),
        ("three of them", "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Kept("")),
        ("a bare LF before a request", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
        ("a bare CR before a request", "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
        ("a bare LF behind the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", Refused(400)),
        ("a bare LF behind a field", "GET / HTTP/1.1\r\nHost: a\n\r\n", Refused(400)),
        ("a bare LF as the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n", Refused(400)),
        ("bare LFs throughout", "GET / HTTP/1.1\nHost: a\n\n", Refused(400)),
        ("a bare CR in the middle of a line", "GET / HTTP/1.1\rHost: a\r\n\r\n", Refused(400)),
        ("CR CR LF", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", Refused(400)),
        ("nothing but CRLF", "\r\n\r\n", Wants),
        ("TLS", "\x16\x03\x01\x02", Refused(400)),
        ("HTTP/1.0 needs no Host", "GET / HTTP/1.0\r\n\r\n", Closed("")),
    ] {
        check(name, wire, then);
    }
    check("as many as are skipped", "\r\n".repeat(16) + "GET / HTTP/1.1\r\nHost: a\r\n\r\n", Kept(""));
    check("and a HEAD behind them", "\r\n".repeat(17) + "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400));
    check("empty lines without end", "\r\n".repeat(17) + "GET / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400));
}

#[test]
fn lines_and_heads_over_the_limits_are_rejected() {
    let http = mirror().request_line_limit(40).head_limit(120).max_fields(3);
    let line = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(length - 14));
    let head = |length: usize| {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{start}{}\r\n\r\n", "x".repeat(length - start.len() - 4))
    };
    let fields = |number: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(number - 1));
    for (name, wire, then) in [
        ("a line of the limit", line(40), Kept("")),
        ("a line over the limit", line(41), Refused(414)),
        ("a line far over the limit", line(300), Refused(414)),
        ("a line that never ends", "GET /".to_owned() + &"a".repeat(36), Wants),
        ("a line that never ends, and is over the limit", "GET /".to_owned() + &"a".repeat(37), Refused(414)),
        ("a head of the limit", head(120), Kept("")),
        ("a head over the limit", head(121), Refused(431)),
        ("a head far over the limit", head(500), Refused(431)),
        ("as many fields as may be", fields(3), Kept("")),
        ("more fields", fields(4), Refused(431)),
        (
            "the maximum number of field lines, and a body",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab".into(),
            Kept("ab"),
        ),
    ] {
        check_with(&http, name, wire, then);
    }
    check("a method nobody can know", "G".repeat(65) + " / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(501));
    check("a line of 8 KiB", line(8 * 1024), Kept(""));
    check("a line over 8 KiB", line(8 * 1024 + 1), Refused(414));
    check("a head over 32 KiB", head(32 * 1024 + 1), Refused(431));
    check("a head of 32 KiB", head(32 * 1024), Kept(""));
    check("100 fields", fields(100), Kept(""));
    check("101 fields", fields(101), Refused(431));
}
