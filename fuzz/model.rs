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

/// `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`, split at semicolons outside quotes.
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

/// Decoded once; a percent sign without two digits is kept.
pub fn decoded(text: &str) -> Vec<u8> {
    let (mut decoded, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).filter(|digits| *first == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let byte = digits.map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap());
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    decoded
}

/// The path of a request target: what follows the authority of a URL, without the query.
pub fn path_of(target: &str) -> &str {
    let target = target.split(['?', '#']).next().unwrap_or_default();
    match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => rest.find('/').map_or("/", |start| &rest[start..]),
        _ => target,
    }
}

/// The fields without those of these names.
pub fn without(fields: &[u8], names: &[&str]) -> Vec<u8> {
    let lines = lines(fields).into_iter().filter(|line| !names.iter().any(|name| value(line, name).is_some()));
    let mut rest = lines.collect::<Vec<_>>().join(&b"\r\n"[..]);
    if rest.is_empty() {
        rest.extend(b"A: b"); // no empty line, which would end the head
    }
    rest
}

/// The values of a field, without the white space around them.
pub fn values<'a>(fields: &'a [u8], name: &str) -> Vec<&'a [u8]> {
    lines(fields).into_iter().filter_map(|line| value(line, name)).collect()
}

fn lines(fields: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut rest) = (Vec::new(), fields);
    while let Some(line) = line(rest) {
        lines.push(line);
        rest = &rest[line.len() + 2..];
    }
    lines.push(rest);
    lines
}

fn value<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    found.eq_ignore_ascii_case(name.as_bytes()).then(|| value.strip_prefix(b":"))?.map(trim)
}

/// The result of the conditions of a GET (RFC 9110, section 13.2.2, steps 1 to 4).
pub enum Evaluation {
    Proceed,
    NotModified,
    Failed,
}

/// Evaluates the conditions against these validators. `None`: a field is malformed or occurs too often.
pub fn conditions(fields: &[u8], etag: Option<&str>, modified: Option<&str>) -> Option<Evaluation> {
    let modified = modified.and_then(date);
    let (matches, unmodified) = (values(fields, "if-match"), values(fields, "if-unmodified-since"));
    let (none_match, since) = (values(fields, "if-none-match"), values(fields, "if-modified-since"));
    let single_date = |values: &[&[u8]]| match values {
        [value] => date(std::str::from_utf8(value).ok()?),
        _ => None,
    };
    let failed = match &matches[..] {
        [] if unmodified.is_empty() => false,
        [] => {
            let since = single_date(&unmodified)?;
            modified.is_some_and(|modified| modified > since)
        }
        matches => !is_listed(matches, etag.filter(|etag| !etag.starts_with("W/")), false)?,
    };
    let unchanged = match &none_match[..] {
        [] if since.is_empty() => false,
        [] => {
            let since = single_date(&since)?;
            modified.is_some_and(|modified| modified <= since)
        }
        none_match => is_listed(none_match, etag.map(|etag| etag.trim_start_matches("W/")), true)?,
    };
    Some(match (failed, unchanged) {
        (true, _) => Evaluation::Failed,
        (false, true) => Evaluation::NotModified,
        (false, false) => Evaluation::Proceed,
    })
}

/// Whether ranges apply (RFC 9110, section 13.1.5), for validators that are strong. `None`: the field is malformed or
/// occurs too often.
pub fn if_range(fields: &[u8], etag: Option<&str>, modified: Option<&str>) -> Option<bool> {
    match &values(fields, "if-range")[..] {
        [] => Some(true),
        [value] if value.starts_with(b"\"") => Some(etag.is_some_and(|etag| etag.as_bytes() == *value)),
        [value] if value.starts_with(b"W/") => Some(false),
        [value] => {
            let said = date(std::str::from_utf8(value).ok()?)?;
            Some(modified.and_then(date) == Some(said))
        }
        _ => None,
    }
}

/// A date in the preferred format (section 5.6.7).
fn date(text: &str) -> Option<std::time::SystemTime> {
    httpdate::parse_http_date(text).ok().filter(|time| httpdate::fmt_http_date(*time) == text)
}

/// Whether a list of tags, or `*`, contains this one. `None`: it is not a list of tags.
fn is_listed(values: &[&[u8]], etag: Option<&str>, weakly: bool) -> Option<bool> {
    if let [b"*"] = values {
        return Some(true);
    }
    let list = values.join(&b","[..]);
    let (mut rest, mut found) = (&list[..], false);
    loop {
        rest = trim(rest);
        if let Some(after) = rest.strip_prefix(b",") {
            rest = after;
            continue;
        }
        if rest.is_empty() {
            return Some(found);
        }
        let (is_weak, quoted) = rest.strip_prefix(b"W/").map_or((false, rest), |quoted| (true, quoted));
        let inside = quoted.strip_prefix(b"\"")?;
        let end = inside.iter().position(|&byte| byte == b'"')?;
        if inside[..end].iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
            return None;
        }
        let tag = [b"\"", &inside[..end], b"\""].concat();
        found |= (weakly || !is_weak) && etag.is_some_and(|etag| etag.as_bytes() == tag);
        rest = trim(&inside[end + 1..]);
        if !rest.is_empty() && !rest.starts_with(b",") {
            return None;
        }
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
