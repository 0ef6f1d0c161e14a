//! The fields in which proxies report their clients: `X-Forwarded-For`, `-Proto`, `-Host` and `Forwarded` (RFC 7239).
//! Used by `trusted_proxies`. Pure: it finds the relevant hop in lists of bytes.
//!
//! Each proxy appends one entry about its peer, so the trusted entries are at the end of the list. The list is read
//! from the right, as long as a trusted proxy has added the next entry.

use std::net::{IpAddr, SocketAddr};

use crate::Forwarded;
use crate::grammar::{is_token_byte, list_members};

/// Evaluates the `X-Forwarded` fields of a request from a trusted proxy. `is_trusted`: whether an address is that of a
/// trusted proxy.
///
/// `hops` is how many entries from the right count. The leftmost of these is about the client.
pub(super) fn from_x_forwarded<'a>(
    addresses: impl Iterator<Item = &'a [u8]>,
    schemes: impl Iterator<Item = &'a [u8]>,
    hosts: impl Iterator<Item = &'a [u8]>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Forwarded {
    let addresses: Vec<&[u8]> = entries(addresses);
    let mut forwarded = Forwarded::default();
    let mut hops = 0;
    for entry in addresses.iter().rev() {
        let Some(address) = address(entry) else { break };
        forwarded.client_ip = Some(address);
        hops += 1;
        if !is_trusted(address) {
            break;
        }
    }
    let hop = |values: Vec<&'a [u8]>| match values[..] {
        [only] => Some(only), // set by the outermost proxy only
        _ => values.len().checked_sub(hops.max(1)).map(|at| values[at]),
    };
    forwarded.scheme = hop(entries(schemes)).and_then(scheme);
    forwarded.host = hop(entries(hosts)).and_then(host);
    forwarded
}

/// Evaluates `Forwarded`, in which one entry has all values of a hop.
pub(super) fn from_forwarded<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Forwarded {
    let mut forwarded = Forwarded::default();
    let lines: Vec<&[u8]> = lines.collect();
    for element in lines.iter().rev().flat_map(|line| elements_from_the_right(line)) {
        let Some(element) = Element::parse(element) else { break };
        let client_ip = element.client.as_deref().and_then(node);
        // If the address of a hop is hidden or missing, its other parameters still count, because a trusted proxy has
        // added them.
        forwarded = Forwarded {
            client_ip: client_ip.or(forwarded.client_ip),
            scheme: element.scheme.as_deref().and_then(scheme),
            host: element.host.as_deref().and_then(host),
        };
        if !client_ip.is_some_and(&is_trusted) {
            break;
        }
    }
    forwarded
}

/// Returns the entries of a list that can have several lines, without empty ones (RFC 9110, section 5.6.1.2).
fn entries<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<&'a [u8]> {
    lines.flat_map(list_members).collect()
}

/// Parses an address: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn address(entry: &[u8]) -> Option<IpAddr> {
    // A zone belongs to the proxy's machine.
    let text = std::str::from_utf8(entry).ok().filter(|text| !text.contains('%'))?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = match bare {
        Some(bare) => IpAddr::V6(bare.parse().ok()?),
        None => text.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip())).ok()?,
    };
    Some(address.to_canonical())
}

/// Parses a node (RFC 7239, section 6) that is an address. IPv6 addresses are in brackets, and a port can be
/// obfuscated.
fn node(text: &[u8]) -> Option<IpAddr> {
    let (host, port) = match text {
        [b'[', ..] => text.split_at(text.iter().position(|&byte| byte == b']')? + 1),
        _ => text.split_at(text.iter().position(|&byte| byte == b':').unwrap_or(text.len())),
    };
    let is_port = match port {
        [] => true,
        [b':', b'_', hidden @ ..] => !hidden.is_empty() && hidden.iter().all(|byte| is_hidden(*byte)),
        [b':', digits @ ..] => (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    address(host).filter(|_| is_port)
}

fn is_hidden(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

fn scheme(text: &[u8]) -> Option<String> {
    let known = ["http", "https"].into_iter().find(|known| text.eq_ignore_ascii_case(known.as_bytes()));
    known.map(str::to_owned)
}

/// Accepts a host with an optional port: a name, an IPv4 address, or an IPv6 address in brackets, in characters that
/// are harmless in a link.
fn host(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= 260)?;
    let name_end = match text.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (name, port) = text.split_at(name_end);
    let is_host_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_name = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(is_host_letter),
    };
    let is_port = match port.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    (is_name && is_port).then(|| text.to_owned())
}

#[derive(Debug, Default)]
struct Element {
    client: Option<Vec<u8>>,
    scheme: Option<Vec<u8>>,
    host: Option<Vec<u8>>,
}

/// Returns the elements of a line, the last first, without empty ones.
///
/// They are split from the right. The client's part is to the left of what proxies have added, so an unterminated quote
/// in it must not hide the rest.
fn elements_from_the_right(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    let elements = std::iter::from_fn(move || {
        let line = rest?;
        let comma = last_comma(line);
        rest = comma.map(|at| &line[..at]);
        Some(line[comma.map_or(0, |at| at + 1)..].trim_ascii())
    });
    elements.filter(|element| !element.is_empty())
}

/// Returns the last comma outside quotes.
fn last_comma(line: &[u8]) -> Option<usize> {
    let mut is_quoted = false;
    for (at, &byte) in line.iter().enumerate().rev() {
        match byte {
            b'"' => {
                let backslashes = line[..at].iter().rev().take_while(|&&byte| byte == b'\\').count();
                let is_escaped = is_quoted && backslashes % 2 == 1;
                is_quoted ^= !is_escaped;
            }
            b',' if !is_quoted => return Some(at),
            _ => {}
        }
    }
    None
}

impl Element {
    /// Parses pairs with semicolons between them (RFC 7239, section 4).
    fn parse(mut rest: &[u8]) -> Option<Element> {
        let mut element = Element::default();
        loop {
            if !matches!(rest, [] | [b';', ..]) {
                let equals = rest.iter().position(|&byte| byte == b'=')?;
                let (name, value) = (&rest[..equals], &rest[equals + 1..]);
                if name.is_empty() || !name.iter().all(|&byte| is_token_byte(byte)) {
                    return None;
                }
                let (value, behind) = parse_value(value)?;
                let place = match name {
                    name if name.eq_ignore_ascii_case(b"for") => Some(&mut element.client),
                    name if name.eq_ignore_ascii_case(b"proto") => Some(&mut element.scheme),
                    name if name.eq_ignore_ascii_case(b"host") => Some(&mut element.host),
                    _ => None,
                };
                if let Some(place) = place
                    && place.replace(value).is_some()
                {
                    return None; // "each parameter MUST NOT occur more than once"
                }
                rest = behind.trim_ascii_start();
            }
            match rest {
                [] => return Some(element),
                [b';', behind @ ..] => rest = behind.trim_ascii_start(),
                _ => return None,
            }
        }
    }
}

/// Returns a token or a quoted string, and the rest after it.
fn parse_value(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_vec(), &text[end..]));
    };
    let mut value = Vec::new();
    let mut bytes = quoted.iter().enumerate();
    while let Some((at, &byte)) = bytes.next() {
        match byte {
            b'"' => return Some((value, &quoted[at + 1..])),
            b'\\' => value.push(*bytes.next()?.1),
            byte => value.push(byte),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_trusted(address: IpAddr) -> bool {
        ["10.0.0.0/8", "fd00::/8"].iter().any(|network| network.parse::<crate::IpNetwork>().unwrap().contains(address))
    }

    fn bytes<'a>(lines: &'a [&'a str]) -> impl Iterator<Item = &'a [u8]> {
        lines.iter().map(|line| line.as_bytes())
    }

    #[test]
    fn x_forwarded_for() {
        for (lines, client) in [
            (&[][..], None),
            (&[""], None),
            (&["1.2.3.4"], Some("1.2.3.4")),
            (&[" 1.2.3.4 "], Some("1.2.3.4")),
            (&["1.2.3.4:5678"], Some("1.2.3.4")),
            (&["2001:db8::1"], Some("2001:db8::1")),
            (&["[2001:db8::1]"], Some("2001:db8::1")),
            (&["[2001:db8::1]:80"], Some("2001:db8::1")),
            (&["::ffff:1.2.3.4"], Some("1.2.3.4")),
            // The rightmost address that is not trusted. The client may have invented those before it.
            (&["6.6.6.6, 1.2.3.4"], Some("1.2.3.4")),
            (&["6.6.6.6", "1.2.3.4"], Some("1.2.3.4")),
            (&["1.2.3.4, 10.0.0.1"], Some("1.2.3.4")),
            (&["6.6.6.6, 1.2.3.4, 10.0.0.1, fd00::7"], Some("1.2.3.4")),
            (&["10.6.6.6, 1.2.3.4, 10.0.0.1"], Some("1.2.3.4")),
            (&["1.2.3.4,,10.0.0.1,"], Some("1.2.3.4")),
            // All are trusted: the leftmost is the client.
            (&["10.0.0.2, 10.0.0.1"], Some("10.0.0.2")),
            (&["::ffff:10.0.0.2, ::ffff:10.0.0.1"], Some("10.0.0.2")),
            // Reading stops at an entry that is not an address.
            (&["unknown"], None),
            (&["1.2.3.4, unknown"], None),
            (&["1.2.3.4, 10.0.0.1.evil"], None),
            (&["1.2.3.4, unknown, 10.0.0.1"], Some("10.0.0.1")),
            (&["1.2.3"], None),
            (&["01.2.3.4"], None),
            (&["1.2.3.4/8"], None),
            (&["1.2.3.4:"], None),
            (&["1.2.3.4:99999"], None),
            (&["[1.2.3.4]"], None),
            (&["[2001:db8::1"], None),
            (&["fe80::1%eth0"], None),
            (&["[fe80::1%1]"], None),
            (&["[fe80::1%1]:80"], None),
            (&["\"1.2.3.4\""], None),
            (&["1.2.3.4 10.0.0.1"], None),
            (&["1.2.3.4\t,\t10.0.0.1"], Some("1.2.3.4")),
            (&["é"], None),
        ] {
            let forwarded = from_x_forwarded(bytes(lines), bytes(&[]), bytes(&[]), is_trusted);
            assert_eq!(forwarded.client_ip.map(|ip| ip.to_string()).as_deref(), client, "{lines:?}");
            assert_eq!((forwarded.scheme, forwarded.host), (None, None), "{lines:?}");
        }
    }

    #[test]
    fn x_forwarded_proto_and_host() {
        for (addresses, values, scheme) in [
            ("1.2.3.4", "https", Some("https")),
            ("1.2.3.4", "HTTP", Some("http")),
            ("", "https", Some("https")),
            ("1.2.3.4", "", None),
            ("1.2.3.4", "ftp", None),
            ("1.2.3.4", "https\"", None),
            ("1.2.3.4", "https, http", Some("http")), // the client's value is before the proxy's
            ("1.2.3.4, 10.0.0.1", "https, http", Some("https")),
            ("1.2.3.4, 10.0.0.1", "https", Some("https")),
            ("6.6.6.6, 1.2.3.4, 10.0.0.1", "gopher, https, http", Some("https")),
            ("1.2.3.4, 10.0.0.1, 10.0.0.2", "https, http", None), // it is unknown which of the proxies set the values
            ("", "https, http", Some("http")),
        ] {
            let forwarded = from_x_forwarded(bytes(&[addresses]), bytes(&[values]), bytes(&[]), is_trusted);
            assert_eq!(forwarded.scheme.as_deref(), scheme, "{addresses:?} {values:?}");
        }
        for (text, is) in [
            ("app.example", true),
            ("app.example:8443", true),
            ("APP_1.example", true),
            ("192.0.2.1:80", true),
            ("[2001:db8::1]", true),
            ("[2001:db8::1]:443", true),
            ("", false),
            (":80", false),
            ("app.example:", false),
            ("app.example:99999", false),
            ("app.example:+80", false),
            ("app.example:80:80", false),
            ("[2001:db8::1", false),
            ("[app.example]", false),
            ("[::1]x", false),
            ("a b", false),
            ("a/b", false),
            ("user@app.example", false),
            ("app.example\"><script>", false),
            ("app.example\u{e9}", false),
            ("app.example%00", false),
            ("https://app.example", false),
        ] {
            let forwarded = from_x_forwarded(bytes(&["1.2.3.4"]), bytes(&[]), bytes(&[text]), is_trusted);
            assert_eq!(forwarded.host.as_deref(), is.then_some(text), "{text:?}");
        }
    }

    #[test]
    fn rfc_7239() {
        let none = (None, None, None);
        for (lines, (client, scheme, host)) in [
            (&[][..], none),
            (&["for=1.2.3.4"], (Some("1.2.3.4"), None, None)),
            (
                &["For=\"[2001:db8::1]:4711\";Proto=HTTPS;HOST=\"a.example:81\";by=x"],
                (Some("2001:db8::1"), Some("https"), Some("a.example:81")),
            ),
            (&["for=\"1.2.3.4:_gazonk\""], (Some("1.2.3.4"), None, None)),
            (&["for=1.2.3.4 ; proto=http"], (Some("1.2.3.4"), Some("http"), None)),
            (&["for=\"1\\.2.3.4\""], (Some("1.2.3.4"), None, None)),
            (&["for=6.6.6.6, for=1.2.3.4"], (Some("1.2.3.4"), None, None)),
            (&["for=6.6.6.6", "for=1.2.3.4"], (Some("1.2.3.4"), None, None)),
            (
                &["for=1.2.3.4;proto=https;host=a.example, for=10.0.0.1;proto=http;host=inner"],
                (Some("1.2.3.4"), Some("https"), Some("a.example")),
            ),
            (&["for=6.6.6.6;proto=https, for=1.2.3.4, for=10.0.0.1;proto=http"], (Some("1.2.3.4"), None, None)),
            (&["for=6.6.6.6, proto=https, for=10.0.0.1"], (Some("10.0.0.1"), Some("https"), None)),
            (&["for=6.6.6.6, for=unknown;proto=https"], (None, Some("https"), None)),
            (&["for=6.6.6.6, for=_hidden"], none),
            (&["proto=https"], (None, Some("https"), None)),
            (&["proto=ftp;host=\"a b\""], none),
            (&[", for=1.2.3.4 ,"], (Some("1.2.3.4"), None, None)),
            // An IPv6 address is in quotes and brackets.
            (&["for=2001:db8::1"], none),
            (&["for=\"2001:db8::1\""], none),
            // An unterminated quote in the client's part hides nothing.
            (&["for=\"6.6.6.6, for=1.2.3.4"], (Some("1.2.3.4"), None, None)),
            (&["for=\"x", "for=1.2.3.4"], (Some("1.2.3.4"), None, None)),
            (&["for=\"6.6.6.6\\, for=\"[2001:db8::1]\""], (Some("2001:db8::1"), None, None)),
            (&["for=6.6.6.6;x=\", for=1.2.3.4;by=\"a,b\""], (Some("1.2.3.4"), None, None)),
            (&["for=1.2.3.4;by=\"a\\\", for=6.6.6.6;x=\\\"\""], (Some("1.2.3.4"), None, None)),
            (&["for=1.2.3.4;by=\"a\\\\\""], (Some("1.2.3.4"), None, None)),
            // Reading stops at a malformed entry.
            (&["for=6.6.6.6, for=1.2.3.4;for=5.6.7.8, for=10.0.0.1"], (Some("10.0.0.1"), None, None)),
            (&["for=1.2.3.4;for=5.6.7.8"], none),
            (&["for"], none),
            (&["for="], none),
            (&["for =1.2.3.4"], none),
            (&["for= 1.2.3.4"], none),
            (&["=1.2.3.4"], none),
            (&["for=1.2.3.4 for=5.6.7.8"], none),
            (&["for=1.2.3.4\"x\""], none),
            (&["for=\"1.2.3.4\"x"], none),
            (&["f@r=1.2.3.4"], none),
        ] {
            let forwarded = from_forwarded(bytes(lines), is_trusted);
            let found =
                (forwarded.client_ip.map(|ip| ip.to_string()), forwarded.scheme.as_deref(), forwarded.host.as_deref());
            assert_eq!((found.0.as_deref(), found.1, found.2), (client, scheme, host), "{lines:?}");
        }
    }

    proptest::proptest! {
        /// No bytes that a client sends change the result, because they are to the left of the proxy's entry.
        #[test]
        fn forged_forwarding_fields_do_not_change_the_client(sent in "[ -~\t]{0,60}", more in proptest::bool::ANY) {
            let hostile = |added: &str| if more { vec![sent.clone(), added.to_owned()] } else { vec![format!("{sent}, {added}")] };
            for added in ["1.2.3.4", "1.2.3.4:80", "1.2.3.4, 10.0.0.1"] {
                let lines = hostile(added);
                let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                let forwarded = from_x_forwarded(bytes(&lines), bytes(&[]), bytes(&[]), is_trusted);
                proptest::prop_assert_eq!(forwarded.client_ip, Some("1.2.3.4".parse().unwrap()));
            }
            for added in [
                "for=1.2.3.4;proto=https",
                "for=\"1.2.3.4:80\";host=\"a\\\"b,c\";proto=https",
                "for=1.2.3.4;proto=https, for=10.0.0.1;by=\"[::1]\"",
            ] {
                let lines = hostile(added);
                let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                let forwarded = from_forwarded(bytes(&lines), is_trusted);
                let found = (forwarded.client_ip, forwarded.scheme.as_deref(), forwarded.host);
                proptest::prop_assert_eq!(found, (Some("1.2.3.4".parse().unwrap()), Some("https"), None));
            }
        }
    }
}
