//! Host: RFC 9112, section 3.2; RFC 9110, section 7.2; RFC 3986, section 3.2.2.

use crate::row::{Row, ask_old, get, is, last, row};
use crate::sites::Site::{App, Files};

pub fn rows() -> Vec<Row> {
    let host = |value: &str| get("/mirror").without_host().with(format!("Host:{value}"));
    vec![
        row("9112 3.2 Host is missing", App, get("/mirror").without_host(), last(400)),
        row("9112 3.2 Host is missing, for a file", Files, get("/ten.txt").without_host(), last(400)),
        row("9112 3.2 Host appears twice", App, get("/mirror").with("Host: b"), last(400)),
        row("9112 3.2 Host appears twice and is the same", App, get("/mirror").with("Host: a"), last(400)),
        row("9112 3.2 Host appears twice, once empty", App, get("/mirror").with("Host:"), last(400)),
        row("9112 3.2 Host appears twice, in another case", App, get("/mirror").with("hOsT: a"), last(400)),
        row("9112 3.2 Host may be empty", App, host(""), is(200).holds("host none\n")),
        row("9112 3.2 Host is a list", App, host(" a, b"), last(400)),
        row("9112 3.2 Host is a URL", App, host(" http://a"), last(400)),
        row("9112 3.2 Host contains a user", App, host(" a@b"), last(400)),
        row("9112 3.2 Host contains a path", App, host(" a/b"), last(400)),
        row("9112 3.2 Host contains a query", App, host(" a?b"), last(400)),
        row("9112 3.2 Host contains a fragment", App, host(" a#b"), last(400)),
        row("9112 3.2 Host contains a space", App, host(" a b"), last(400)),
        row("9112 3.2 Host contains a tab", App, host(" a\tb"), last(400)),
        row("9112 3.2 Host contains a backslash", App, host(" a\\b"), last(400)),
        row("9112 3.2 Host contains a quote", App, host(" \"a\""), last(400)),
        row("9112 3.2 Host contains a letter over 0x7F", App, host(" café"), last(400)),
        row("9110 7.2 Host with a port", App, host(" a.example:8000"), is(200).holds("host a.example:8000\n")),
        row("9110 7.2 Host without white space", App, host("a.example"), is(200).holds("host a.example\n")),
        row("9110 7.2 Host with white space after it", App, host("  a.example \t"), is(200).holds("host a.example\n")),
        row("3986 3.2.3 Host with an empty port", App, host(" a.example:"), is(200)),
        row("3986 3.2.3 Host with a port in letters", App, host(" a:b"), last(400)),
        row("3986 3.2.3 Host with a port with a sign", App, host(" a:-80"), last(400)),
        row("3986 3.2.3 Host with a port over 65535", App, host(" a:99999"), last(400)),
        row("3986 3.2.3 Host with two ports", App, host(" a:80:80"), last(400)),
        row("9110 4.2.1 Host with a port and no host", App, host(" :80"), last(400)),
        row("3986 3.2.2 Host is an IPv4 address", App, host(" 192.0.2.1:80"), is(200)),
        row("3986 3.2.2 Host is an IPv6 address", App, host(" [2001:db8::1]:80"), is(200)),
        row("3986 3.2.2 Host is an IPv6 address with IPv4 in it", App, host(" [::ffff:192.0.2.1]"), is(200)),
        row("3986 3.2.2 Host is an address of the future", App, host(" [v7.a:b]"), is(200)),
        row("3986 3.2.2 Host is an IPv6 address without brackets", App, host(" 2001:db8::1"), last(400)),
        row("3986 3.2.2 Host is half an IPv6 address", App, host(" [2001:db8::1"), last(400)),
        row("3986 3.2.2 Host is not an IPv6 address", App, host(" [2001:db8]"), last(400)),
        row("3986 3.2.2 Host is an IPv6 address with a zone", App, host(" [fe80::1%25eth0]"), last(400)),
        row("3986 3.2.2 Host is an IPv6 address and a letter", App, host(" [::1]a"), last(400)),
        row("3986 3.2.2 Host is percent-encoded", App, host(" caf%C3%A9.example"), is(200)),
        row("3986 3.2.2 Host is badly percent-encoded", App, host(" caf%C3%A.example"), last(400)),
        row("3986 3.2.2 Host is a name of any characters", App, host(" a_b-c~d!$&'()*+;="), is(200)),
        row("9112 3.2 HTTP/1.0 needs none", App, ask_old("GET", "/mirror"), last(200).holds("host none\n")),
        row(
            "9112 3.2 HTTP/1.0 may have one",
            App,
            ask_old("GET", "/mirror").with("Host: b"),
            last(200).holds("host b\n"),
        ),
        row("9112 3.2 HTTP/1.0 with two", App, ask_old("GET", "/mirror").with("Host: b").with("Host: b"), last(400)),
        row("9112 3.2 HTTP/1.0 with a malformed one", App, ask_old("GET", "/mirror").with("Host: a@b"), last(400)),
    ]
}
