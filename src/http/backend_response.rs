//! The head of another server's response, and where its body ends (RFC 9112, sections 4 and 6.3). Used by `proxy`.
//! Pure: it takes bytes and returns a decision. A response is rejected if two programs could disagree about where it
//! ends.

use http::{HeaderName, HeaderValue, Method, StatusCode};
use memchr::{memchr_iter, memmem};

use super::request::chunked::Step;
use super::request::decoder::BodyDecoder;
use super::request::framing::BodyLength;
use super::request::head::{check_field, is_field_value};
use super::status::ends_with_its_head;
use crate::grammar::list_members;

/// The maximum length of a head in bytes. `MAX_FIELDS`: of fields.
const MAX_HEAD: usize = 64 * 1024;
const MAX_FIELDS: usize = 256;

#[derive(Debug)]
pub(crate) struct BackendHead {
    pub(crate) status: StatusCode,
    pub(crate) fields: Vec<(HeaderName, HeaderValue)>,
    pub(crate) is_http10: bool,
    is_chunked: bool,
    length: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) enum BackendBody {
    Framed(BodyDecoder),
    UntilClose,
}

impl BackendHead {
    /// Parses everything that has arrived. `Ok(None)`: more bytes are needed. `Ok(Some((used, head)))`: the body begins
    /// at `used`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(usize, BackendHead)>, &'static str> {
        let begin = bytes.len().min(b"HTTP/1.".len());
        if bytes[..begin] != b"HTTP/1."[..begin] {
            return Err("the response is not HTTP/1.1");
        }
        let within = &bytes[..bytes.len().min(MAX_HEAD)];
        match memmem::find(within, b"\r\n\r\n") {
            Some(end) => parse_lines(&bytes[..end]).map(|head| Some((end + 4, head))),
            None if within.len() == MAX_HEAD => Err("the head of the response is too long"),
            None if has_bare_line_end(within) => Err("a line of the response does not end with CRLF"),
            None => Ok(None),
        }
    }

    pub(crate) fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_bytes())
    }

    /// Returns where the body of this response to a request with this method ends (section 6.3).
    pub(crate) fn body(&self, method: &Method) -> Result<BackendBody, &'static str> {
        let length = match (self.is_chunked, self.length) {
            (true, Some(_)) => return Err("the response has both Transfer-Encoding and Content-Length"),
            _ if ends_with_its_head(method, self.status) => BodyLength::None,
            (true, None) => BodyLength::Chunked,
            (false, Some(0)) => BodyLength::None,
            (false, Some(length)) => BodyLength::Known(length),
            (false, None) => return Ok(BackendBody::UntilClose),
        };
        Ok(BackendBody::Framed(BodyDecoder::new(length)))
    }

    /// Returns whether another request can follow on the connection after this response to a request with that method.
    /// It can't if the connection must end (RFC 9112, section 9.3), or if the backend may read or write more than this
    /// server: the status is about an unexpected request, the user belongs to the connection (RFC 4559), or the fields
    /// alone do not give the end of the body. Some servers send a body where none is allowed.
    pub(crate) fn keeps_connection(&self, method: &Method) -> bool {
        let is_usual = self.status.is_success() || self.status.is_redirection() || self.status == StatusCode::NOT_FOUND;
        let mut words = self.values(&http::header::CONNECTION).flat_map(list_members);
        let ends = self.is_http10 || words.any(|word| word.eq_ignore_ascii_case(b"close"));
        let has_user = self.values(&http::header::WWW_AUTHENTICATE).next().is_some();
        let may_have_body = !ends_with_its_head(method, self.status);
        let has_end = match (self.is_chunked, self.length) {
            (true, None) => may_have_body,
            (false, Some(length)) => may_have_body || length == 0,
            _ => false,
        };
        is_usual && !ends && !has_user && has_end
    }

    pub(crate) fn content_length(&self) -> Option<u64> {
        self.length
    }

    /// Reads `Transfer-Encoding`, and returns whether the body is chunked.
    fn transfer_coding(&self) -> Result<bool, &'static str> {
        let codings: Vec<&[u8]> = self.values(&http::header::TRANSFER_ENCODING).collect();
        match codings[..] {
            [] => Ok(false),
            _ if self.is_http10 => Err("the response is HTTP/1.0 and has a Transfer-Encoding"),
            [only] if only.eq_ignore_ascii_case(b"chunked") => Ok(true),
            _ => Err("the response has an unknown Transfer-Encoding"),
        }
    }

    /// Reads `Content-Length`. Repeated values must be equal.
    fn length_in_fields(&self) -> Result<Option<u64>, &'static str> {
        let mut length = None;
        let values = self.values(&http::header::CONTENT_LENGTH).flat_map(|line| line.split(|&byte| byte == b','));
        for value in values.map(<[u8]>::trim_ascii) {
            let digits = Some(value).filter(|value| !value.is_empty() && value.iter().all(u8::is_ascii_digit));
            let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
            let number = number.ok_or("the response has an invalid Content-Length")?;
            if length.replace(number).is_some_and(|before| before != number) {
                return Err("the response has two lengths");
            }
        }
        Ok(length)
    }
}

impl BackendBody {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, BackendBody::Framed(BodyDecoder::Sized(0)))
    }

    /// Returns whether the announced length of the body exceeds this.
    pub(crate) fn exceeds(&self, bytes: usize) -> bool {
        matches!(self, BackendBody::Framed(BodyDecoder::Sized(left)) if *left > bytes as u64)
    }

    /// Returns whether the body ends within these bytes. A malformed one does not.
    pub(crate) fn ends_within(mut self, mut bytes: &[u8]) -> bool {
        loop {
            match self.step(bytes) {
                Ok((_, Step::End)) => return true,
                Ok((used, Step::Data(_))) => bytes = &bytes[used..],
                Ok((_, Step::NeedInput)) | Err(_) => return false,
            }
        }
    }

    /// Returns how many bytes of input are used, and what they are.
    pub(crate) fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<(usize, Step<'a>), &'static str> {
        match self {
            BackendBody::Framed(decoder) => decoder.step(bytes, usize::MAX).map_err(|fault| fault.message),
            BackendBody::UntilClose if bytes.is_empty() => Ok((0, Step::NeedInput)),
            BackendBody::UntilClose => Ok((bytes.len(), Step::Data(bytes))),
        }
    }
}

/// Returns whether there is a CR or LF alone, so that the end of the head may never be found.
fn has_bare_line_end(bytes: &[u8]) -> bool {
    let is_bare = |pair: &[u8]| (pair[0] == b'\r') != (pair[1] == b'\n');
    bytes.windows(2).any(is_bare)
}

/// Parses the lines before the empty line.
fn parse_lines(head: &[u8]) -> Result<BackendHead, &'static str> {
    let mut rest = head;
    let (status, is_http10) = status_line(next_line(&mut rest).unwrap_or_default())?;
    let mut fields = Vec::new();
    while let Some(line) = next_line(&mut rest) {
        check_field(line).map_err(|fault| fault.message)?;
        if fields.len() == MAX_FIELDS {
            return Err("the response has too many fields");
        }
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or_default();
        let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| "a field has no valid name")?;
        let value =
            HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).map_err(|_| "a field has no valid value")?;
        fields.push((name, value));
    }
    let mut head = BackendHead { status, fields, is_http10, is_chunked: false, length: None };
    (head.is_chunked, head.length) = (head.transfer_coding()?, head.length_in_fields()?);
    Ok(head)
}

/// Takes the next line. Only CRLF ends a line: a bare CR or LF is a control character in it, which is rejected later.
fn next_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    if rest.is_empty() {
        return None;
    }
    let is_crlf = |&at: &usize| at > 0 && rest[at - 1] == b'\r';
    let end = memchr_iter(b'\n', rest).find(is_crlf).map_or(rest.len(), |at| at - 1);
    let line = &rest[..end];
    *rest = rest.get(end + 2..).unwrap_or_default();
    Some(line)
}

// status-line = HTTP-version SP status-code SP [ reason-phrase ] (section 4). The last space may be missing.
fn status_line(line: &[u8]) -> Result<(StatusCode, bool), &'static str> {
    let wrong = "the response has no valid status line";
    let is_http10 = match line.get(..9) {
        Some(b"HTTP/1.1 ") => false,
        Some(b"HTTP/1.0 ") => true,
        _ => return Err(wrong),
    };
    let (code, reason) = line[9..].split_at(line[9..].len().min(3));
    let status = StatusCode::from_bytes(code).ok().filter(|status| status.as_u16() < 600).ok_or(wrong)?;
    let is_line = reason.first().is_none_or(|&byte| byte == b' ') && is_field_value(reason);
    is_line.then_some((status, is_http10)).ok_or(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the framing of the body, or the reason for the rejection.
    fn framing(head: &str, method: Method) -> String {
        match BackendHead::parse(head.as_bytes()) {
            Ok(None) => "incomplete".into(),
            Err(why) => why.into(),
            Ok(Some((used, head_read))) => {
                assert_eq!(used, head.len(), "{head:?}");
                match head_read.body(&method) {
                    Ok(BackendBody::Framed(BodyDecoder::Sized(length))) => format!("{length} bytes"),
                    Ok(BackendBody::Framed(BodyDecoder::Chunked(_))) => "chunked".into(),
                    Ok(BackendBody::UntilClose) => "until close".into(),
                    Err(why) => why.into(),
                }
            }
        }
    }

    #[test]
    fn heads_and_their_bodies() {
        for (head, expected) in [
            ("", "incomplete"),
            ("HT", "incomplete"),
            ("HTTP/1.1 200 OK\r\nA: b\r\n", "incomplete"),
            ("HTTP/1.1 200 OK\r\n\r\n", "until close"),
            ("HTTP/1.0 200\r\n\r\n", "until close"),
            ("HTTP/1.1 200 \r\nContent-Length: 7\r\n\r\n", "7 bytes"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 7, 7\r\nContent-Length: 7\r\n\r\n", "7 bytes"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", "chunked"),
            ("HTTP/1.1 204 OK\r\n\r\n", "0 bytes"),
            ("HTTP/1.1 304 OK\r\nContent-Length: 7\r\n\r\n", "0 bytes"),
            ("HTTP/1.1 101 Go\r\n\r\n", "0 bytes"),
            ("HTTP/1.1 200 OK\r\nA: b\r", "incomplete"),
            // Its end might never be found.
            ("HTTP/1.1 200 OK\nA: b\n\nx", "a line of the response does not end with CRLF"),
            ("HTTP/1.1 200 OK\rA: b\r\rx", "a line of the response does not end with CRLF"),
            ("HTTP/1.1 200 OK\r\nA: b\r\n\n", "a line of the response does not end with CRLF"),
            ("HTTP/1.1 200 OK\r\nA: b\r\r\n", "a line of the response does not end with CRLF"),
            ("nothing", "the response is not HTTP/1.1"),
            ("HTTP/2 200 OK\r\n\r\n", "the response is not HTTP/1.1"),
            ("HTTP/1.1 20 OK\r\n\r\n", "the response has no valid status line"),
            ("HTTP/1.1 2000 OK\r\n\r\n", "the response has no valid status line"),
            ("HTTP/1.1 700 OK\r\n\r\n", "the response has no valid status line"),
            ("HTTP/1.1  200 OK\r\n\r\n", "the response has no valid status line"),
            ("HTTP/1.1 200 OK\nA: b\r\n\r\n", "the response has no valid status line"),
            ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "a field has no valid name"),
            ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "a field has no valid name"),
            ("HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", "a field value contains a control character"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 8\r\n\r\n", "the response has two lengths"),
            ("HTTP/1.1 200 OK\r\nContent-Length: +7\r\n\r\n", "the response has an invalid Content-Length"),
            ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", "the response has an invalid Content-Length"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
                "the response has an invalid Content-Length",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n",
                "the response has both Transfer-Encoding and Content-Length",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                "the response has an unknown Transfer-Encoding",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                "the response has an unknown Transfer-Encoding",
            ),
            (
                "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "the response is HTTP/1.0 and has a Transfer-Encoding",
            ),
        ] {
            assert_eq!(framing(head, Method::GET), expected, "{head:?}");
        }
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", Method::HEAD), "0 bytes");
        let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(MAX_HEAD));
        assert_eq!(framing(&long, Method::GET), "the head of the response is too long");
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(MAX_FIELDS + 1));
        assert_eq!(framing(&many, Method::GET), "the response has too many fields");
    }

    #[test]
    fn connections_that_can_be_kept() {
        for (method, head, expected) in [
            ("GET", "1.1 200 OK|Content-Length: 7", true),
            ("GET", "1.1 200 OK|Content-Length: 0", true),
            ("GET", "1.1 200 OK|Transfer-Encoding: chunked", true),
            ("GET", "1.1 200 OK|Content-Length: 7|Connection: keep-alive, Upgrade", true),
            ("OPTIONS", "1.1 204 OK|Content-Length: 0", true),
            ("HEAD", "1.1 200 OK|Content-Length: 0", true),
            ("GET", "1.1 304 OK|Content-Length: 0", true),
            ("GET", "1.1 302 Found|Content-Length: 0", true),
            ("GET", "1.1 404 No|Content-Length: 7", true),
            ("GET", "1.1 200 OK", false),
            ("GET", "1.0 200 OK|Content-Length: 7", false),
            ("GET", "1.0 200 OK|Content-Length: 7|Connection: keep-alive", false),
            ("GET", "1.1 200 OK|Content-Length: 7|Connection: close", false),
            ("GET", "1.1 200 OK|Content-Length: 7|Connection: x|Connection: Keep-Alive,Close", false),
            ("GET", "1.1 200 OK|Content-Length: 7|Transfer-Encoding: chunked", false),
            ("GET", "1.1 200 OK|Content-Length: 7|Content-Length: 8", false),
            ("GET", "1.1 200 OK|Transfer-Encoding: gzip, chunked", false),
            ("HEAD", "1.1 200 OK|Content-Length: 7", false),
            ("HEAD", "1.1 200 OK|Transfer-Encoding: chunked", false),
            ("HEAD", "1.1 200 OK", false),
            ("GET", "1.1 204 OK", false),
            ("GET", "1.1 304 OK", false),
            ("GET", "1.1 304 OK|Content-Length: 7", false),
            ("GET", "1.1 101 Go|Content-Length: 0", false),
            ("GET", "1.1 200 OK|Content-Length: 7|WWW-Authenticate: Negotiate oYH1", false),
            ("GET", "1.1 401 No|Content-Length: 7|WWW-Authenticate: NTLM", false),
            ("GET", "1.1 400 No|Content-Length: 7", false),
            ("GET", "1.1 408 No|Content-Length: 7", false),
            ("GET", "1.1 431 No|Content-Length: 7", false),
            ("GET", "1.1 500 No|Content-Length: 7", false),
        ] {
            let lines = format!("HTTP/{}\r\n\r\n", head.replace('|', "\r\n"));
            let parsed = BackendHead::parse(lines.as_bytes()).map(|parsed| parsed.unwrap().1);
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let keeps = parsed.is_ok_and(|parsed| parsed.keeps_connection(&method)); // an error ends the connection
            assert_eq!(keeps, expected, "{method} {head}");
        }
    }
}
