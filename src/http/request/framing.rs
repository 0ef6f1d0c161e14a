//! The framing of a request: the length of the body, connection persistence, expectations
//! (RFC 9112, sections 3.2, 6 and 9.3; RFC 9110, section 10.1.1). Called by `connection` once a head is complete.
//! Ambiguous framing is rejected, to prevent request smuggling.

use http::{StatusCode, Version};

use super::head::Head;
use super::{Request, target};
use crate::grammar::list_members;
use crate::http::rejection::Rejection;

/// The fields that control the message and its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestFraming {
    pub body: BodyLength,
    /// Whether the client allows the connection to persist.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyLength {
    /// There is no body, or an empty one.
    None,
    /// This many bytes, at least one.
    Known(u64),
    Chunked,
}

impl BodyLength {
    /// Returns the length of the body in bytes, if the head contains it.
    pub(crate) fn known(self) -> Option<u64> {
        match self {
            BodyLength::None => Some(0),
            BodyLength::Known(length) => Some(length),
            BodyLength::Chunked => None,
        }
    }
}

impl Request {
    /// Returns the length of the body that the head announces. `None`: it announces no body, not even an empty one.
    /// `Some(None)`: the length is unknown, because the body is chunked.
    pub(crate) fn announced_length(&self) -> Option<Option<u64>> {
        match self.header_all("transfer-encoding").next() {
            Some(_) => Some(None),
            None => self.header("content-length").map(|length| Some(length.trim().parse().unwrap_or(u64::MAX))),
        }
    }

    /// Returns whether the head announces a body that is not empty.
    pub(crate) fn announces_body(&self) -> bool {
        self.announced_length().is_some_and(|length| length != Some(0))
    }
}

/// Determines the framing in one pass over the fields.
pub(crate) fn parse(head: &Head) -> Result<RequestFraming, Rejection> {
    let mut fields = FramingFields::default();
    for (name, value) in head.fields() {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => fields.host(value)?,
            6 if name.eq_ignore_ascii_case(b"expect") => fields.expect(value),
            10 if name.eq_ignore_ascii_case(b"connection") => fields.connection(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => fields.content_length(value)?,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => fields.transfer_encoding(value)?,
            _ => {}
        }
    }
    let is_http11 = head.version() == Version::HTTP_11;
    if is_http11 && !fields.has_host {
        return Err(Rejection::bad_request("an HTTP/1.1 request needs a Host field"));
    }
    // An expectation in HTTP/1.0 is ignored (RFC 9110, section 10.1.1).
    if is_http11 && fields.expects_unknown {
        return Err(Rejection::new(StatusCode::EXPECTATION_FAILED, "the only supported expectation is 100-continue"));
    }
    let body = fields.body_length(is_http11)?;
    let keep_alive = !fields.close && (is_http11 || fields.keep_alive);
    Ok(RequestFraming {
        body,
        keep_alive,
        expects_continue: is_http11 && fields.expects_continue && body != BodyLength::None,
    })
}

#[derive(Default)]
struct FramingFields {
    has_host: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    expects_unknown: bool,
    content_length: Option<u64>,
    transfer_encoding: bool,
    chunked: bool,
    unknown_coding: bool,
}

impl FramingFields {
    // RFC 9112, section 3.2: a repeated or malformed Host is a 400, for all versions and all forms of the target.
    fn host(&mut self, value: &[u8]) -> Result<(), Rejection> {
        if std::mem::replace(&mut self.has_host, true) {
            return Err(Rejection::bad_request("there is more than one Host field"));
        }
        if !target::is_host(value) {
            return Err(Rejection::bad_request("the Host field is not valid"));
        }
        Ok(())
    }

    fn expect(&mut self, value: &[u8]) {
        for member in list_members(value) {
            match member.eq_ignore_ascii_case(b"100-continue") {
                true => self.expects_continue = true,
                false => self.expects_unknown = true,
            }
        }
    }

    // RFC 9112, section 9.3: `close` overrides `keep-alive`.
    fn connection(&mut self, value: &[u8]) {
        for member in list_members(value) {
            self.close |= member.eq_ignore_ascii_case(b"close");
            self.keep_alive |= member.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    // 1*DIGIT, once. A list of equal values is also rejected, as RFC 9110, section 8.6, allows.
    fn content_length(&mut self, value: &[u8]) -> Result<(), Rejection> {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        if !digits || self.content_length.is_some() {
            return Err(Rejection::bad_request("the Content-Length is not a single number"));
        }
        // Saturates at `u64::MAX`, which exceeds every limit.
        let length = value.iter().fold(0u64, |sum, byte| sum.saturating_mul(10).saturating_add(u64::from(byte - b'0')));
        self.content_length = Some(length);
        Ok(())
    }

    // One list over all field lines, in order. Only `chunked` is known, and only without parameters.
    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Rejection> {
        self.transfer_encoding = true;
        for coding in list_members(value) {
            if self.chunked {
                return Err(Rejection::bad_request("chunked is not the last transfer coding"));
            }
            match coding.eq_ignore_ascii_case(b"chunked") {
                true => self.chunked = true,
                false => self.unknown_coding = true,
            }
        }
        Ok(())
    }

    // The length of a request body, RFC 9112, section 6.3:
    // (1, 2, 8) concern responses; (3) both fields: reject; (4) Transfer-Encoding, chunked last: chunked, else
    // reject; (5) an invalid Content-Length: rejected above; (6) a valid one: that many bytes; (7) neither: no body.
    fn body_length(&self, is_http11: bool) -> Result<BodyLength, Rejection> {
        if self.transfer_encoding {
            if self.content_length.is_some() {
                return Err(Rejection::bad_request("both Transfer-Encoding and Content-Length"));
            }
            if !is_http11 {
                return Err(Rejection::bad_request("a Transfer-Encoding in HTTP/1.0")); // section 6.1: faulty framing
            }
            // If chunked is not the final coding, the length is unknown. The 400 for that is a MUST, so it precedes the
            // 501 of section 6.1, a SHOULD.
            if !self.chunked {
                return Err(Rejection::bad_request("chunked is not the last transfer coding"));
            }
            return if self.unknown_coding { Err(UNKNOWN_CODING) } else { Ok(BodyLength::Chunked) };
        }
        Ok(match self.content_length {
            None | Some(0) => BodyLength::None,
            Some(length) => BodyLength::Known(length),
        })
    }
}

const UNKNOWN_CODING: Rejection =
    Rejection::new(StatusCode::NOT_IMPLEMENTED, "the only supported transfer coding is chunked");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announced_bodies() {
        for (fields, announced, is_body) in [
            (&[][..], None, false),
            (&[("content-length", "0")], Some(Some(0)), false),
            (&[("content-length", "00")], Some(Some(0)), false),
            (&[("content-length", "007")], Some(Some(7)), true),
            (&[("content-length", "99999999999999999999")], Some(Some(u64::MAX)), true),
            (&[("transfer-encoding", "chunked")], Some(None), true),
        ] {
            let request = Request::get("/");
            let request = fields.iter().fold(request, |request, (name, value)| request.with_header(name, value));
            assert_eq!((request.announced_length(), request.announces_body()), (announced, is_body), "{fields:?}");
        }
    }
}
