//! The fields of proxies: a reference parser agrees, and nothing that a client sends changes what a trusted proxy has
//! added.
#![no_main]

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use modest::layers::TrustedProxies;
use modest::{Client, Forwarded, Http, Request, RequestHandler, Response, handler_fn};

// One line each: `X-Forwarded-For`, `-Proto`, `-Host`, then lines of `Forwarded`.
fuzz_target!(|bytes: &[u8]| {
    let lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).collect();
    if lines.iter().any(|line| line.iter().any(|&byte| byte == 0x7f || (byte < b' ' && byte != b'\t'))) {
        return; // field values cannot contain such bytes
    }
    let line = |at: usize| lines.get(at).copied().unwrap_or_default();
    let fields = lines.get(3..).unwrap_or_default();

    let told = believed(&[line(0)], &[line(1)], &[line(2)], fields);
    assert_eq!(told.0, x_forwarded(line(0), line(1), line(2)), "{:?}", shown(&lines));
    if let Some(elements) = fields.iter().map(|line| grammar(line)).collect::<Option<Vec<_>>>() {
        let elements: Vec<Element> = elements.into_iter().flatten().collect();
        assert_eq!(told.1, rfc_7239(&elements), "{:?}", shown(&lines));
    }

    // In the same line, or in a separate one.
    let added = |line: &[u8], added: &[u8]| [line, b", ", added].concat();
    let one = added(line(0), b"192.0.2.7, 10.0.0.2");
    let more =
        believed(&[&one], &[], &[], &[&added(line(3), b"for=192.0.2.7;proto=https, for=10.0.0.2;by=\"a,\\\"b\"")]);
    let apart =
        believed(&[line(0), b"192.0.2.7, 10.0.0.2"], &[], &[], &[line(3), b"for=192.0.2.7;proto=https, for=10.0.0.2"]);
    for (x_forwarded, forwarded) in [more, apart] {
        let client = Some(IpAddr::from([192, 0, 2, 7]));
        assert_eq!(x_forwarded, Told { client, ..Told::default() }, "{:?}", shown(&lines));
        assert_eq!(forwarded, Told { client, scheme: Some("https".into()), host: None }, "{:?}", shown(&lines));
    }
});

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    client: Option<IpAddr>,
    scheme: Option<String>,
    host: Option<String>,
}

fn shown(lines: &[&[u8]]) -> Vec<String> {
    lines.iter().map(|line| line.escape_ascii().to_string()).collect()
}

fn is_trusted(address: IpAddr) -> bool {
    matches!(address.to_canonical(), IpAddr::V4(address) if address.octets()[0] == 10)
}

/// The layer's results for these lines: for `X-Forwarded-*`, and for `Forwarded`.
fn believed(addresses: &[&[u8]], schemes: &[&[u8]], hosts: &[&[u8]], fields: &[&[u8]]) -> (Told, Told) {
    let layer = || TrustedProxies::new(["10.0.0.0/8".parse().unwrap()]);
    let seen = |layer: TrustedProxies| {
        let (sender, told) = std::sync::mpsc::channel();
        let app = handler_fn(move |request| {
            let Forwarded { client_ip, scheme, host, .. } = (*request.value::<Forwarded>().ok_or("nothing")?).clone();
            sender.send(Told { client: client_ip, scheme, host })?;
            Ok(Response::no_content())
        });
        let proxy = Client::new(SocketAddr::from(([10, 0, 0, 1], 40000)));
        let mut request = Request::get("/").with_client(proxy);
        for (name, lines) in [
            ("x-forwarded-for", addresses),
            ("x-forwarded-proto", schemes),
            ("x-forwarded-host", hosts),
            ("forwarded", fields),
        ] {
            request = lines.iter().fold(request, |request, line| request.with_header(name, line));
        }
        assert_eq!(Http::new(app.layer(layer)).respond(&request).status(), 204);
        told.recv().unwrap()
    };
    (seen(layer().scheme(true).host(true)), seen(layer().rfc7239()))
}

fn x_forwarded(addresses: &[u8], schemes: &[u8], hosts: &[u8]) -> Told {
    let list = |line: &[u8]| -> Vec<Vec<u8>> {
        let entries = line.split(|&byte| byte == b',').map(|entry| entry.trim_ascii().to_vec());
        entries.filter(|entry| !entry.is_empty()).collect()
    };
    // From the last proxy on, as long as the entry comes from a trusted proxy.
    let mut believed = Vec::new();
    for entry in list(addresses).iter().rev() {
        let Some(address) = address(entry) else { break };
        believed.push(address);
        if !is_trusted(address) {
            break;
        }
    }
    let beside_it = |values: Vec<Vec<u8>>| match values.len() {
        1 => values.first().cloned(),
        length => length.checked_sub(believed.len().max(1)).map(|at| values[at].clone()),
    };
    Told {
        client: believed.last().copied(),
        scheme: beside_it(list(schemes)).and_then(|value| scheme(&value)),
        host: beside_it(list(hosts)).and_then(|value| host(&value)),
    }
}

/// An address, optionally with a port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let is_port =
        |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let found = if let Some(rest) = text.strip_prefix('[') {
        let (inside, port) = rest.split_once(']')?;
        let good = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        IpAddr::V6(inside.parse::<Ipv6Addr>().ok().filter(|_| good)?)
    } else if text.bytes().filter(|&byte| byte == b':').count() == 1 {
        let (inside, port) = text.split_once(':')?;
        IpAddr::V4(inside.parse().ok().filter(|_| is_port(port))?)
    } else {
        text.parse().ok()?
    };
    Some(found.to_canonical())
}

fn scheme(text: &[u8]) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    (lower == b"http" || lower == b"https").then(|| String::from_utf8(lower).unwrap())
}

/// Letters, digits, `-`, `.`, `_`, or an IPv6 address in brackets; optionally a port.
fn host(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= 260)?;
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (text, None),
    };
    let inside = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_name = match inside {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    (is_name && port.is_none_or(is_port)).then(|| text.to_owned())
}

/// The parameters of one element, names in lower case.
type Element = Vec<(Vec<u8>, Vec<u8>)>;

/// RFC 7239, section 4, read from the left; `None` if the line is invalid. Semicolons may have white space around them.
fn grammar(line: &[u8]) -> Option<Vec<Element>> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let (mut at, mut elements, mut element) = (0, Vec::new(), Element::new());
    let blanks = |mut at: usize| {
        while matches!(line.get(at), Some(b' ' | b'\t')) {
            at += 1;
        }
        at
    };
    loop {
        at = blanks(at);
        match line.get(at) {
            None | Some(b',') => {
                elements.push(std::mem::take(&mut element));
                if at == line.len() {
                    return Some(elements.into_iter().filter(|element| !element.is_empty()).collect());
                }
                at += 1;
            }
            Some(b';') => {
                // Empty elements are skipped. An element that consists of semicolons is not empty.
                if element.is_empty() {
                    return None;
                }
                at += 1;
            }
            Some(_) => {
                let start = at;
                while line.get(at).is_some_and(|&byte| is_token(byte)) {
                    at += 1;
                }
                let name = line[start..at].to_ascii_lowercase();
                if name.is_empty() || line.get(at) != Some(&b'=') {
                    return None;
                }
                at += 1;
                let mut value = Vec::new();
                if line.get(at) == Some(&b'"') {
                    at += 1;
                    loop {
                        match *line.get(at)? {
                            b'"' => break,
                            b'\\' => {
                                value.push(*line.get(at + 1)?);
                                at += 2;
                            }
                            byte => {
                                value.push(byte);
                                at += 1;
                            }
                        }
                    }
                    at += 1;
                } else {
                    let start = at;
                    while line.get(at).is_some_and(|&byte| is_token(byte)) {
                        at += 1;
                    }
                    if start == at {
                        return None;
                    }
                    value = line[start..at].to_vec();
                }
                element.push((name, value));
                at = blanks(at);
                if !matches!(line.get(at), None | Some(b',' | b';')) {
                    return None;
                }
            }
        }
    }
}

fn rfc_7239(elements: &[Element]) -> Told {
    let mut told = Told::default();
    for element in elements.iter().rev() {
        let all = |wanted: &str| -> Vec<&Vec<u8>> {
            element.iter().filter(|(name, _)| name == wanted.as_bytes()).map(|(_, value)| value).collect()
        };
        if ["for", "proto", "host"].iter().any(|name| all(name).len() > 1) {
            break;
        }
        let one = |name: &str| all(name).first().map(|value| value.to_vec());
        let client = one("for").and_then(|value| node(&value));
        told = Told {
            client: client.or(told.client),
            scheme: one("proto").and_then(|value| scheme(&value)),
            host: one("host").and_then(|value| host(&value)),
        };
        if !client.is_some_and(is_trusted) {
            break;
        }
    }
    told
}

/// RFC 7239, section 6.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let (address, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inside, port) = rest.split_once(']')?;
            (IpAddr::V6(inside.parse().ok()?), port)
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            (IpAddr::V4(text[..end].parse().ok()?), &text[end..])
        }
    };
    let is_hidden = |port: &str| {
        let letters = port.strip_prefix('_').unwrap_or_default();
        !letters.is_empty() && letters.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    let is_number = |port: &str| (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| is_hidden(port) || is_number(port));
    is_port.then(|| address.to_canonical())
}
