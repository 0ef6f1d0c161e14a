//! Request targets in their four forms (RFC 9112, section 3.2; RFC 3986), and hosts.
//! Called by `head` for the request line and by `framing` for the Host field. It decodes nothing.

use std::net::Ipv6Addr;

use http::Method;

use crate::http::rejection::Rejection;

/// A range of bytes in a head. A head is far shorter than 4 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }

    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.range()]
    }

    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Returns a span with the same start, and an end `by` bytes later.
    pub(crate) fn lengthened(self, by: usize) -> Span {
        Span { end: self.end + by as u32, ..self }
    }

    /// Returns the span moved by `by` bytes, for bytes that begin earlier.
    pub(crate) fn shifted(self, by: usize) -> Span {
        Span { start: self.start + by as u32, end: self.end + by as u32 }
    }
}

/// The components of a target, as spans of the bytes it was parsed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// Host and port of an absolute form, or of CONNECT.
    pub authority: Option<Span>,
    /// The path; `None` if it is empty.
    pub path: Option<Span>,
    /// The part after the question mark.
    pub query: Option<Span>,
    /// Whether the target is `*`, the whole server instead of a path (`OPTIONS *`).
    pub asterisk: bool,
    /// Whether it is the URL of an `https` resource.
    pub https: bool,
    /// Whether the path can differ from its decoded form. The rule is the same as in `url_path::is_plain`.
    pub needs_decoding: bool,
    /// Whether the query has bytes that are not allowed in a URI but that clients send, as in `?q=é` and `?q="a"`.
    pub has_raw_query: bool,
}

impl Target {
    /// Returns the components with their positions increased by `by`, for a text in which the target begins there.
    pub(crate) fn shifted(self, by: usize) -> Target {
        let shift = |span: Option<Span>| span.map(|span| span.shifted(by));
        Target { authority: shift(self.authority), path: shift(self.path), query: shift(self.query), ..self }
    }
}

/// Parses a target. CONNECT has a form of its own, and `*` is allowed only for OPTIONS.
pub(crate) fn parse(bytes: &[u8], method: &Method) -> Result<Target, Rejection> {
    if *method == Method::CONNECT {
        return authority_form(bytes);
    }
    match bytes {
        [b'/', ..] => origin_form(bytes, 0, Target::default()),
        b"*" if *method == Method::OPTIONS => Ok(Target { asterisk: true, ..Target::default() }),
        _ => absolute_form(bytes, method),
    }
}

// authority-form = uri-host ":" port; both are required.
fn authority_form(bytes: &[u8]) -> Result<Target, Rejection> {
    let has_port = bytes.last().is_some_and(u8::is_ascii_digit) && bytes.contains(&b':');
    if has_port && is_host(bytes) && !bytes.is_empty() {
        return Ok(Target { authority: Some(Span::new(0, bytes.len())), ..Target::default() });
    }
    Err(Rejection::bad_request("the target of CONNECT is not a host and a port"))
}

// absolute-form = absolute-URI; here only with the schemes http and https.
fn absolute_form(bytes: &[u8], method: &Method) -> Result<Target, Rejection> {
    let is_of =
        |scheme: &str| bytes.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()));
    let start = match () {
        () if is_of("http://") => "http://".len(),
        () if is_of("https://") => "https://".len(),
        () => return Err(Rejection::bad_request("the target is neither a path nor a URL")),
    };
    let length = bytes[start..].iter().position(|byte| b"/?#".contains(byte));
    let end = length.map_or(bytes.len(), |length| start + length);
    // An empty host is an error in an http URI (RFC 9110, section 4.2.1), and so is user information (4.2.4).
    if start == end || !is_host(&bytes[start..end]) {
        return Err(Rejection::bad_request("the host in the target is not valid"));
    }
    let target = Target { authority: Some(Span::new(start, end)), https: is_of("https://"), ..Target::default() };
    if end == bytes.len() {
        // The asterisk form as a proxy would have forwarded it (RFC 9112, section 3.2.4).
        return Ok(Target { asterisk: *method == Method::OPTIONS, ..target });
    }
    origin_form(bytes, end, target)
}

// absolute-path [ "?" query ], from `start` on. A fragment is not part of a target.
fn origin_form(bytes: &[u8], start: usize, target: Target) -> Result<Target, Rejection> {
    let mut at = start;
    let mut needs_decoding = false;
    while let Some(&byte) = bytes.get(at) {
        match CLASS[byte as usize] {
            REG_NAME => at += 1,
            PATH => {
                needs_decoding |= byte == b'/' && matches!(bytes.get(at + 1), Some(b'/' | b'.'));
                at += 1;
            }
            PERCENT => {
                needs_decoding = true;
                at += 3;
                if !is_percent_encoded(&bytes[at - 3..]) {
                    return Err(Rejection::bad_request("the path contains an invalid percent-encoding"));
                }
            }
            _ if byte == b'?' => break,
            _ => return Err(Rejection::bad_request("the path contains a character that must be percent-encoded")),
        }
    }
    let path = (at > start).then(|| Span::new(start, at));
    if at == bytes.len() {
        return Ok(Target { path, needs_decoding, ..target });
    }
    let mut has_raw_query = false;
    for &byte in &bytes[at + 1..] {
        match CLASS[byte as usize] {
            NONE => return Err(Rejection::bad_request("the query contains a character that must be percent-encoded")),
            class => has_raw_query |= class == RAW,
        }
    }
    Ok(Target { path, query: Some(Span::new(at + 1, bytes.len())), needs_decoding, has_raw_query, ..target })
}

/// Percent-encodes the bytes of a query that are not allowed in a URI.
pub(crate) fn encode_raw_query(query: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(query.len() * 3);
    for &byte in query {
        match CLASS[byte as usize] {
            RAW => encoded.extend_from_slice(percent_encoding::percent_encode_byte(byte).as_bytes()),
            _ => encoded.push(byte),
        }
    }
    encoded
}

fn is_percent_encoded(bytes: &[u8]) -> bool {
    matches!(bytes, [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
}

/// Never allowed.
const NONE: u8 = 0;
/// unreserved or sub-delims (RFC 3986, section 2): allowed in the name of a host, in a path and in a query.
const REG_NAME: u8 = 1;
/// The rest of pchar and the slash (section 3.3), and `[`, `]`, `|`, `^`, which browsers send unencoded.
const PATH: u8 = 2;
/// Allowed in a query only: the question mark, and the characters that browsers leave unencoded there: `{`, `}`, `` `
/// ``, `\`.
const QUERY: u8 = 3;
/// The percent sign. In a query, hexadecimal digits need not follow it, because browsers send it without them.
const PERCENT: u8 = 4;
/// Allowed in a query only, and percent-encoded on arrival: quotes, angle brackets and all bytes over 0x7F, because
/// curl and browsers can send them. Control characters, spaces and `#` are never accepted.
const RAW: u8 = 5;

static CLASS: [u8; 256] = {
    let mut table = [NONE; 256];
    let mut byte = 0;
    while byte < 256 {
        if (byte as u8).is_ascii_alphanumeric() {
            table[byte] = REG_NAME;
        } else if byte > 0x7f {
            table[byte] = RAW;
        }
        byte += 1;
    }
    let others: [(u8, &[u8]); 5] =
        [(REG_NAME, b"-._~!$&'()*+,;="), (PATH, b":@/[]|^"), (QUERY, b"?{}`\\"), (PERCENT, b"%"), (RAW, b"\"<>")];
    let mut class = 0;
    while class < others.len() {
        let mut at = 0;
        while at < others[class].1.len() {
            table[others[class].1[at] as usize] = others[class].0;
            at += 1;
        }
        class += 1;
    }
    table
};

/// Returns whether this is uri-host [ ":" port ] (RFC 9110, section 7.2; RFC 3986, section 3.2.2), or empty: an empty
/// Host means that the target has no authority. Anything else, such as user information, a space or a path, is invalid.
pub(crate) fn is_host(bytes: &[u8]) -> bool {
    if bytes.is_empty() {
        return true;
    }
    let after = match bytes {
        [b'[', inside @ ..] => match inside.iter().position(|&byte| byte == b']') {
            Some(end) if is_ip_literal(&inside[..end]) => &inside[end + 1..],
            _ => return false,
        },
        _ => match reg_name_length(bytes) {
            0 => return false,
            length => &bytes[length..],
        },
    };
    match after {
        [] => true,
        [b':', port @ ..] => is_port(port),
        _ => false,
    }
}

// port = *DIGIT, at most 65535.
fn is_port(digits: &[u8]) -> bool {
    let mut port = 0u32;
    digits.iter().all(|byte| {
        port = port.saturating_mul(10).saturating_add(u32::from(byte.wrapping_sub(b'0')));
        byte.is_ascii_digit() && port <= 65_535
    })
}

// The length of the reg-name = *( unreserved / pct-encoded / sub-delims ) at the start. IPv4 addresses are also of this
// form.
fn reg_name_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        at += rest.iter().position(|&byte| CLASS[byte as usize] != REG_NAME).unwrap_or(rest.len());
        if !is_percent_encoded(&bytes[at..]) {
            return at;
        }
        at += 3;
    }
}

// IPv6address / IPvFuture: "v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" )
fn is_ip_literal(inside: &[u8]) -> bool {
    if let [b'v' | b'V', rest @ ..] = inside {
        let Some(dot) = rest.iter().position(|&byte| byte == b'.') else { return false };
        let (version, address) = (&rest[..dot], &rest[dot + 1..]);
        return !version.is_empty()
            && version.iter().all(u8::is_ascii_hexdigit)
            && !address.is_empty()
            && address
                .split(|&byte| byte == b':')
                .all(|part| !part.contains(&b'%') && reg_name_length(part) == part.len());
    }
    std::str::from_utf8(inside).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}
