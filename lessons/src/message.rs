//! Page 10: a whole request, with its body, and where it ends (RFC 9112, sections 6 and 7). Takes bytes and returns a decision.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::head::{Head, Rejection, parse};

pub const MAX_BODY: usize = 32_768;

pub struct Request {
    pub head: Head,
    pub body: Vec<u8>,
    pub keep_alive: bool,
}

impl Head {
    /// All values of a field, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The value of a field that occurs at most once.
    pub fn only<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }
}

/// Page 14 repairs `number`. Pages 10 to 13 use its first version.
pub static REPAIRED: AtomicBool = AtomicBool::new(false);

/// Reads a number that a client sent.
fn number(text: &str, radix: u32) -> Option<usize> {
    if REPAIRED.load(Relaxed) && !text.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    usize::from_str_radix(text, radix).ok()
}

/// The way in which the end of a body is found.
#[derive(Debug, PartialEq)]
pub enum Length {
    Known(usize),
    Chunked,
}

/// The only function that decides about the length of a body (RFC 9112, section 6.3). It rejects ambiguous heads.
pub fn body_length(head: &Head) -> Result<Length, Rejection> {
    let codings: Vec<&str> = head.all("transfer-encoding").collect();
    let lengths: Vec<&str> = head.all("content-length").collect();
    match (&codings[..], &lengths[..]) {
        ([], []) => Ok(Length::Known(0)),
        ([coding], []) if coding.eq_ignore_ascii_case("chunked") => Ok(Length::Chunked),
        ([_, ..], []) => Err((501, "expected the coding chunked, once")),
        ([], [length]) => match number(length, 10) {
            Some(length) if length > MAX_BODY => Err((413, "the body is too long")),
            Some(length) => Ok(Length::Known(length)),
            None => Err((400, "Content-Length is not a number")),
        },
        ([], _) => Err((400, "more than one Content-Length")),
        _ => Err((400, "both Content-Length and Transfer-Encoding")),
    }
}

/// A line up to `\r\n`, and what follows it. `None` if its end has not arrived.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|window| window == b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

/// A chunked body and its length in bytes, or `None` while its end has not arrived (RFC 9112, section 7.1).
pub fn chunked(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Rejection> {
    let (mut body, mut rest) = (Vec::new(), bytes);
    loop {
        let Some((size, after)) = line(rest) else {
            return if rest.len() < 100 { Ok(None) } else { Err((400, "the size of a chunk is too long")) };
        };
        let size = std::str::from_utf8(size).ok().and_then(|size| number(size, 16));
        let size = size.ok_or((400, "the size of a chunk is not a number"))?;
        if size > MAX_BODY - body.len() {
            return Err((413, "the body is too long"));
        }
        match after.get(size..size + 2) {
            None => return Ok(None),
            Some(b"\r\n") => {}
            Some(_) => return Err((400, "a chunk is longer than its size")),
        }
        body.extend_from_slice(&after[..size]);
        rest = &after[size + 2..];
        if size == 0 {
            return Ok(Some((body, bytes.len() - rest.len())));
        }
    }
}

/// Whether the connection stays open after the response.
fn keep_alive(head: &Head) -> bool {
    !head.all("connection").flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case("close"))
}

/// A whole request and its length in bytes, or `None` while its end has not arrived.
pub fn request(bytes: &[u8]) -> Result<Option<(Request, usize)>, Rejection> {
    let Some((head, head_length)) = parse(bytes)? else { return Ok(None) };
    let rest = &bytes[head_length..];
    let body = match body_length(&head)? {
        Length::Known(length) => rest.get(..length).map(|body| (body.to_vec(), length)),
        Length::Chunked => chunked(rest)?,
    };
    let keep_alive = keep_alive(&head);
    Ok(body.map(|(body, length)| (Request { head, body, keep_alive }, head_length + length)))
}
