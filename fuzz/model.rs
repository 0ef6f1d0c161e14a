//! References for the fuzz targets: slow and simple, written from the RFCs without looking at the library.
#![allow(dead_code)] // each target uses its own part

/// The result of parsing a chunked body (RFC 9112, section 7.1) whose bytes have all arrived.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunked {
    /// The length of a complete body, and its content.
    Whole(usize, Vec<u8>),
    /// It is incomplete.
    Partial,
    Bad,
}

pub fn chunked(bytes: &[u8]) -> Chunked {
    let (mut at, mut body) = (0, Vec::new());
    loop {
        let Some(line) = line(&bytes[at..]) else { return Chunked::Partial };
        at += line.len() + 2;
        let digits: Vec<u8> = line.iter().copied().take_while(u8::is_ascii_hexdigit).collect();
        let Ok(size) = u64::from_str_radix(&String::from_utf8(digits.clone()).unwrap(), 16) else {
            return Chunked::Bad;
        };
        if !is_extensions(&line[digits.len()..]) {
            return Chunked::Bad;
        }
        if size == 0 {
            break;
        }
        let left = (bytes.len() - at) as u64;
        if left < size {
            return Chunked::Partial;
        }
        body.extend_from_slice(&bytes[at..at + size as usize]);
        at += size as usize;
        match &bytes[at..] {
            [b'\r', b'\n', ..] => at += 2,
            [] | [b'\r'] => return Chunked::Partial,
            _ => return Chunked::Bad,
        }
    }
    loop {
        let Some(line) = line(&bytes[at..]) else { return Chunked::Partial };
        at += line.len() + 2;
        if line.is_empty() {
            return Chunked::Whole(at, body);
        }
        if !is_field(line) {
            return Chunked::Bad;
        }
    }
}

/// The bytes before CRLF. The grammar of the line rejects a lone CR or LF, because no line may contain one.
fn line(bytes: &[u8]) -> Option<&[u8]> {
    bytes.windows(2).position(|two| two == b"\r\n").map(|end| &bytes[..end])
}

pub fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}

pub fn is_field(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|&byte| byte == b':') else { return false };
    colon > 0 && line[..colon].iter().all(|&byte| is_tchar(byte)) && line[colon + 1..].iter().all(|&byte| is_text(byte))
}

/// `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`, split at semicolons outside of quotes.
fn is_extensions(text: &[u8]) -> bool {
    let (mut members, mut quoted, mut escaped) = (vec![Vec::new()], false, false);
    for &byte in text {
        if !is_text(byte) {
            return false;
        }
        if byte == b';' && !quoted {
            members.push(Vec::new());
            continue;
        }
        members.last_mut().unwrap().push(byte);
        if escaped {
            escaped = false;
        } else if quoted && byte == b'\\' {
            escaped = true;
        } else if byte == b'"' {
            quoted = !quoted;
        }
    }
    // White space is allowed before the first semicolon, if there is one.
    let first = members.remove(0);
    if quoted || !first.iter().all(|byte| b" \t".contains(byte)) || members.is_empty() && !first.is_empty() {
        return false;
    }
    let last = members.len().saturating_sub(1);
    members.iter().enumerate().all(|(number, member)| is_extension(member, number == last))
}

fn is_extension(member: &[u8], last: bool) -> bool {
    // White space at the end belongs to the next semicolon, so the last member has none.
    if last && member.last().is_some_and(|byte| b" \t".contains(byte)) {
        return false;
    }
    let is_token = |text: &[u8]| !text.is_empty() && text.iter().all(|&byte| is_tchar(byte));
    let trimmed = trim(member);
    match trimmed.iter().position(|&byte| byte == b'=') {
        None => is_token(trimmed),
        Some(equals) => {
            let (name, value) = (trim(&trimmed[..equals]), trim(&trimmed[equals + 1..]));
            is_token(name) && (is_token(value) || is_quoted(value))
        }
    }
}

fn is_quoted(value: &[u8]) -> bool {
    let [b'"', inside @ .., b'"'] = value else { return false };
    let mut escaped = false;
    for &byte in inside {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return false,
            _ => {}
        }
    }
    !escaped
}

pub fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// One request at the start of these bytes: its head, its whole length, and its body.
pub struct Whole {
    pub head: Vec<u8>,
    pub used: usize,
    pub body: Vec<u8>,
}

/// By the framing of RFC 9112, section 6.3, for an accepted head. `None`: the request is incomplete or invalid.
pub fn request(bytes: &[u8]) -> Option<Whole> {
    let mut start = 0;
    while bytes[start..].starts_with(b"\r\n") {
        start += 2;
    }
    let rest = &bytes[start..];
    let end = rest.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let (head, behind) = rest.split_at(end);
    let text: Vec<char> = head.iter().map(|&byte| char::from(byte)).collect();
    let text: String = text.into_iter().collect();
    let values = |wanted: &str| -> Vec<String> {
        let fields = text.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        let named = fields.filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        named.map(|(_, value)| value.trim_matches([' ', '\t']).to_ascii_lowercase()).collect()
    };
    let (codings, lengths) = (values("transfer-encoding"), values("content-length"));
    let whole =
        |used: usize, body: &[u8]| Some(Whole { head: head.to_vec(), used: start + end + used, body: body.to_vec() });
    match (&codings[..], &lengths[..]) {
        ([], []) => whole(0, b""),
        ([], [length]) => {
            let length: usize = length.bytes().all(|byte| byte.is_ascii_digit()).then(|| length.parse().ok())??;
            whole(length, behind.get(..length)?)
        }
        (codings, []) => {
            let list = codings.join(",");
            let named: Vec<&str> =
                list.split(',').map(|name| name.trim_matches([' ', '\t'])).filter(|name| !name.is_empty()).collect();
            match (&named[..], chunked(behind)) {
                (["chunked"], Chunked::Whole(used, body)) => whole(used, &body),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Split, decoded once, dots resolved (RFC 3986, section 5.2.4); `None`: invalid, or above the top.
pub fn names(raw: &str) -> Option<Vec<Vec<u8>>> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    for segment in raw.strip_prefix('/')?.split('/') {
        let mut name = Vec::new();
        let mut rest = segment.as_bytes();
        while let [first, after @ ..] = rest {
            rest = after;
            if *first != b'%' {
                name.push(*first);
                continue;
            }
            let digits = rest.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
            name.push(u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap());
            rest = &rest[2..];
        }
        if name.contains(&0) {
            return None;
        }
        match &name[..] {
            b"" | b"." => {}
            b".." => drop(names.pop()?),
            _ => names.push(name),
        }
    }
    Some(names)
}

/// Whether each name of the path is written once and without a slash, and no segment is empty or consists of dots.
pub fn is_canonical(raw: &str) -> bool {
    let Some(names) = names(raw) else { return false };
    let written = raw.split('/').skip(1).filter(|segment| !segment.is_empty()).count();
    let slashes = raw.bytes().filter(|&byte| byte == b'/').count();
    let needed = if names.is_empty() { 1 } else { names.len() + usize::from(raw.ends_with('/')) };
    written == names.len() && slashes == needed && !names.iter().any(|name| name.contains(&b'/'))
}

/// The path of a request target: what follows the authority of a URL, without the query.
pub fn path_of(target: &str) -> &str {
    let target = target.split(['?', '#']).next().unwrap_or_default();
    match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => rest.find('/').map_or("/", |start| &rest[start..]),
        _ => target,
    }
}

/// Places to split at, equal for equal bytes, so that a finding can be repeated.
pub fn cuts(bytes: &[u8]) -> Vec<usize> {
    let mut seed = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    let mut ends: Vec<usize> = (0..5)
        .map(|_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as usize % (bytes.len() + 1)
        })
        .chain([bytes.len()])
        .collect();
    ends.sort_unstable();
    ends.dedup();
    ends
}
