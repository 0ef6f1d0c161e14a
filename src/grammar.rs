//! Tokens and lists in fields of HTTP (RFC 9110, sections 5.6.1 and 5.6.2). Any level can use it.

use http::HeaderMap;

/// Returns whether this is a token = 1*tchar (RFC 9110, section 5.6.2).
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

pub(crate) fn has_member(fields: &HeaderMap, name: &str, word: &[u8]) -> bool {
    let mut members = fields.get_all(name).iter().flat_map(|line| list_members(line.as_bytes()));
    members.any(|member| member.eq_ignore_ascii_case(word))
}

/// Returns the members of a comma-separated list, without empty ones (RFC 9110, section 5.6.1).
pub(crate) fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Returns the name of a field as CGI, WSGI and PHP may read it: with `-` for each character except letters and digits.
pub(crate) fn canonical_name(name: &[u8]) -> impl Iterator<Item = u8> + '_ {
    name.iter().map(|byte| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' })
}

/// Fields with which a POST asks some servers for another method.
pub(crate) const METHOD_OVERRIDES: [&str; 4] =
    ["x-http-method", "x-http-method-override", "x-method", "x-method-override"];

/// A field that may occur only once has several lines.
pub(crate) struct SeveralLines;

pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};
