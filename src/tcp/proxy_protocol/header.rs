//! The header of the PROXY protocol, versions 1 (a line of text) and 2 (binary), as defined in HAProxy's
//! `proxy-protocol.txt` (sections 2.1 and 2.2). A header that is not allowed there is rejected as soon as possible.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub length: usize,
    /// The client. `None` for a connection of the proxy itself (a health check), and for clients that do not use TCP
    /// over IP.
    pub source: Option<SocketAddr>,
}

/// The reason why a header is malformed.
pub type Malformed = &'static str;

/// The maximum length of a line of version 1, with its end.
const LONGEST_LINE: usize = 107;
/// The maximum length of a header of version 2. The addresses need up to 232 bytes. Data after them (TLVs) can have any
/// size and is not used. nginx has the same limit.
const LONGEST_BINARY: usize = 4096;

const START_OF_LINE: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The part of a binary header that contains the length of the rest.
const FIXED: usize = 16;

/// Returns the header at the beginning of these bytes; `None` if it is incomplete.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    if begins_with(bytes, START_OF_LINE) {
        parse_line(bytes)
    } else if begins_with(bytes, SIGNATURE) {
        parse_binary(bytes)
    } else {
        Err("it begins with neither PROXY nor the signature of version 2")
    }
}

/// Returns whether the bytes, as far as they have arrived, are equal to the beginning of `start`.
fn begins_with(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(byte, wanted)| byte == wanted)
}

fn parse_line(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let seen = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = seen.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if bytes.len() < LONGEST_LINE - 1 { Ok(None) } else { Err("the line is longer than 107 bytes") };
    };
    match seen[end..] {
        [b'\r'] if end + 1 < LONGEST_LINE => return Ok(None),
        [b'\r', b'\n', ..] => {}
        _ => return Err("the line does not end with CR LF"),
    }
    let length = end + 2;
    let Some(line) = seen[..end].strip_prefix(START_OF_LINE) else { return Err("the line is cut short") };
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(Some(Header { length, source: None })); // any data may follow
    }
    let line = std::str::from_utf8(line).map_err(|_| "the line is not ASCII")?;
    let words: Vec<&str> = line.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = words[..] else {
        return Err("the line does not consist of six words with one space between them");
    };
    let address = |text: &str| -> Result<IpAddr, Malformed> {
        match family {
            "TCP4" => text.parse().map(IpAddr::V4).map_err(|_| "not an IPv4 address"),
            "TCP6" => text.parse().map(IpAddr::V6).map_err(|_| "not an IPv6 address"),
            _ => Err("neither TCP4 nor TCP6 nor UNKNOWN"),
        }
    };
    let source = SocketAddr::new(address(source)?, port(source_port)?);
    address(destination)?;
    port(destination_port)?;
    Ok(Some(Header { length, source: Some(source) }))
}

/// Returns a decimal number without a sign and without leading zeros.
fn port(text: &str) -> Result<u16, Malformed> {
    let is_canonical = text == "0" || text.starts_with(|c: char| matches!(c, '1'..='9'));
    text.parse().ok().filter(|_| is_canonical).ok_or("not a port")
}

fn parse_binary(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let command = match bytes.get(12) {
        None => return Ok(None),
        Some(0x20) => Command::Local,
        Some(0x21) => Command::Proxy,
        Some(0x22..=0x2f) => return Err("the command is neither LOCAL nor PROXY"),
        Some(_) => return Err("the version is not 2"),
    };
    let Some(kind) = bytes.get(13) else { return Ok(None) };
    if command == Command::Proxy && (kind >> 4 > 3 || kind & 0x0f > 2) {
        return Err("unknown address family or transport protocol");
    }
    let Some([high, low]) = bytes.get(14..FIXED) else { return Ok(None) };
    let rest = usize::from(u16::from_be_bytes([*high, *low]));
    let length = FIXED + rest;
    if length > LONGEST_BINARY {
        return Err("it is longer than 4096 bytes");
    }
    let needed = match (command, kind >> 4) {
        (Command::Local, _) | (_, 0) => 0,
        (_, 1) => 2 * 4 + 2 * 2,
        (_, 2) => 2 * 16 + 2 * 2,
        _ => 2 * 108,
    };
    if rest < needed {
        return Err("it is too short for its addresses");
    }
    let Some(block) = bytes.get(FIXED..length) else { return Ok(None) };
    let source = match (command, kind) {
        (Command::Proxy, 0x11) => ip_v4(block),
        (Command::Proxy, 0x21) => ip_v6(block),
        // A connection of the proxy itself, or without an IP address: the connection's own address is used.
        _ => None,
    };
    Ok(Some(Header { length, source }))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Command {
    Local,
    Proxy,
}

/// Parses the source, the destination, and the ports of both.
fn ip_v4(block: &[u8]) -> Option<SocketAddr> {
    let (address, rest) = block.split_first_chunk::<4>()?;
    let port = rest.get(4..)?.first_chunk::<2>()?;
    Some(SocketAddr::new(Ipv4Addr::from(*address).into(), u16::from_be_bytes(*port)))
}

fn ip_v6(block: &[u8]) -> Option<SocketAddr> {
    let (address, rest) = block.split_first_chunk::<16>()?;
    let port = rest.get(16..)?.first_chunk::<2>()?;
    Some(SocketAddr::new(Ipv6Addr::from(*address).into(), u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests;
