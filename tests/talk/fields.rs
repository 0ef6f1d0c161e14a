//! Field lines and Host: RFC 9112, sections 3.2 and 5; RFC 9110, sections 5 and 7.2.

use crate::tables::Then::{Closed, Kept, Refused};
use crate::tables::check;

#[test]
fn field_lines() {
    for (name, line, then) in [
        ("a field", "X: y", Kept("")),
        ("no white space", "X:y", Kept("")),
        ("white space around a value", "X: \t y \t ", Kept("")),
        ("an empty value", "X:", Kept("")),
        ("every character of a name", "!#$%&'*+-.^_`|~aZ9: y", Kept("")),
        ("tabs and spaces in a value", "X: a\tb c", Kept("")),
        ("bytes over 0x7F in a value", "X: caf\u{e9}", Kept("")),
        ("a colon in a value", "X: a:b", Kept("")),
        ("white space before the colon (5.1)", "X : y", Refused(400)),
        ("a tab before the colon", "X\t: y", Refused(400)),
        ("no name", ": y", Refused(400)),
        ("no colon", "X", Refused(400)),
        ("a name with a space", "X y: z", Refused(400)),
        ("a name with brackets", "X(y): z", Refused(400)),
        ("a name with a letter over 0x7F", "\u{e9}: z", Refused(400)),
        ("a folded line (5.2)", "X: a\r\n b", Refused(400)),
        ("a line folded with a tab", "X: a\r\n\tb", Refused(400)),
        ("a NUL in a value", "X: a\0b", Refused(400)),
        ("a control character in a value", "X: a\x01b", Refused(400)),
        ("DEL in a value", "X: a\x7fb", Refused(400)),
        ("a bare CR in a value", "X: a\rb", Refused(400)),
        ("a NUL in a name", "X\0: a", Refused(400)),
        ("an upgrade is ignored", "Connection: upgrade\r\nUpgrade: h2c", Kept("")),
        ("a name as long as Host", "From: a b", Kept("")),
        ("a name as long as Expect", "Accept: x", Kept("")),
        ("a name as long as Connection", "User-Agent: close", Kept("")),
        ("a name as long as Content-Length", "Accept-Charset: x", Kept("")),
        ("a name as long as Transfer-Encoding", "If-Modified-Since: chunked", Kept("")),
    ] {
        check(name, format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n"), then);
    }
    check("white space behind the request line (2.2)", "GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n", Refused(400));
}

#[test]
fn exactly_one_valid_host_is_required() {
    for (name, lines, then) in [
        ("a name", "Host: example.org\r\n", Kept("")),
        ("a name and a port", "Host: example.org:8000\r\n", Kept("")),
        ("an empty port", "Host: example.org:\r\n", Kept("")),
        ("an empty host", "Host:\r\n", Kept("")),
        ("an IPv4 address", "Host: 127.0.0.1:80\r\n", Kept("")),
        ("an IPv6 address", "Host: [::1]:80\r\n", Kept("")),
        ("an address of the future", "Host: [v1.a:b]\r\n", Kept("")),
        ("a percent-encoded name", "Host: caf%C3%A9.example\r\n", Kept("")),
        ("an underscore", "Host: my_host\r\n", Kept("")),
        ("the name of the field in any case", "hOST: a\r\n", Kept("")),
        ("missing", "", Refused(400)),
        ("twice", "Host: a\r\nHost: a\r\n", Refused(400)),
        ("a user", "Host: a@b\r\n", Refused(400)),
        ("a space", "Host: a b\r\n", Refused(400)),
        ("a path", "Host: a/b\r\n", Refused(400)),
        ("a list", "Host: a, b\r\n", Refused(400)),
        ("a query", "Host: a?b\r\n", Refused(400)),
        ("a back-slash", "Host: a\\b\r\n", Refused(400)),
        ("a port that is not a number", "Host: a:b\r\n", Refused(400)),
        ("a port with a sign", "Host: a:+80\r\n", Refused(400)),
        ("a port beyond all ports", "Host: a:99999\r\n", Refused(400)),
        ("a port without a host", "Host: :80\r\n", Refused(400)),
        ("two ports", "Host: a:80:80\r\n", Refused(400)),
        ("an IPv6 address without brackets", "Host: ::1\r\n", Refused(400)),
        ("half an IPv6 address", "Host: [::1\r\n", Refused(400)),
        ("no IPv6 address", "Host: [a]\r\n", Refused(400)),
        ("an IPv6 address and more", "Host: [::1]a\r\n", Refused(400)),
        ("a broken percent-encoding", "Host: a%4\r\n", Refused(400)),
        ("a letter over 0x7F", "Host: caf\u{e9}\r\n", Refused(400)),
        ("a URL", "Host: http://a\r\n", Refused(400)),
    ] {
        check(name, format!("GET / HTTP/1.1\r\n{lines}\r\n"), then);
        // Even if the target has another host, the field must be valid (3.2.2).
        check(name, format!("GET http://b/ HTTP/1.1\r\n{lines}\r\n"), then);
    }
    for (name, lines, then) in [
        ("1.0 with a Host", "Host: a\r\n", Closed("")),
        ("1.0 with two", "Host: a\r\nHost: b\r\n", Refused(400)),
        ("1.0 with a malformed one", "Host: a@b\r\n", Refused(400)),
    ] {
        check(name, format!("GET / HTTP/1.0\r\n{lines}\r\n"), then);
    }
}
