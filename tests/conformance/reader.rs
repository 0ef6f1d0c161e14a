//! A strict client: it reads a response byte by byte. Anything that RFC 9112 forbids a server to send, or that RFC 9110
//! requires and that is missing, is an error. Called by `run` for each response.

use std::io;
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::transport;

/// The properties of the request. Without them the end of a response can't be found (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// The request was a HEAD, so the response has fields and no body.
    pub head: bool,
    /// The request was HTTP/1.0, so the response has no chunks.
    pub old: bool,
    /// The handler writes its own `Date`.
    pub own_date: bool,
}

/// A longer line would be a body where none is allowed.
const LONGEST_LINE: usize = 64 * 1024;

/// The framing of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body, because of the method or status.
    None,
    Length,
    Chunked,
    UntilClose,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub framing: Framing,
    pub body: Vec<u8>,
}

/// A stream, and the bytes that were read but not used.
pub struct Reader {
    stream: TcpStream,
    held: Vec<u8>,
}

impl Reader {
    pub fn new(stream: TcpStream) -> Reader {
        Reader { stream, held: Vec::new() }
    }

    /// The next response, with its body.
    pub fn answer(&mut self, asked: Asked) -> Result<Answer, String> {
        let mut answer = self.head()?;
        answer.framing = framing(&answer, asked)?;
        check(&answer, asked)?;
        match answer.framing {
            Framing::None => {}
            Framing::Length => answer.body = self.exactly(answer.length()?)?,
            Framing::Chunked => answer.body = self.chunks()?,
            Framing::UntilClose => {
                while self.more()? {}
                answer.body = std::mem::take(&mut self.held);
            }
        }
        Ok(answer)
    }

    /// Status line and fields.
    pub fn head(&mut self) -> Result<Answer, String> {
        let status = status_line(&self.line()?)?;
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Answer { status, fields, framing: Framing::None, body: Vec::new() });
            }
            fields.push(field_line(&line)?);
        }
    }

    /// Expects the end of the stream and no further byte.
    pub fn end(&mut self) -> Result<(), String> {
        match self.more()? || !self.held.is_empty() {
            false => Ok(()),
            true => Err(format!("the end was expected, and {:?} came", self.held.escape_ascii().to_string())),
        }
    }

    /// Expects a reset after any bytes.
    pub fn reset(&mut self) -> Result<(), String> {
        loop {
            let mut bytes = [0; 4096];
            match transport::read(&mut self.stream, &mut bytes) {
                Ok(0) if !transport::shows_resets() => return Ok(()),
                Ok(0) => return Err("a clean end instead of a reset".into()),
                Ok(count) => self.held.extend_from_slice(&bytes[..count]),
                Err(err) if err.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                Err(err) => return Err(format!("waiting for a reset: {err}")),
            }
        }
    }

    fn line(&mut self) -> Result<Vec<u8>, String> {
        loop {
            if let Some(end) = self.held.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.held[..end].to_vec();
                self.held.drain(..end + 2);
                return Ok(line);
            }
            if self.held.len() > LONGEST_LINE {
                return Err(format!("no line: {:?} …", self.held[..200].escape_ascii().to_string()));
            }
            if !self.more()? {
                return Err(format!("the stream ended after {:?}", self.held.escape_ascii().to_string()));
            }
        }
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, String> {
        while self.held.len() < length {
            if !self.more()? {
                return Err(format!("the stream ended after {} of {length} bytes", self.held.len()));
            }
        }
        Ok(self.held.drain(..length).collect())
    }

    /// RFC 9112, section 7.1. Responses have no extensions and no trailers.
    fn chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let digits =
                std::str::from_utf8(&line).ok().filter(|line| line.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let size = digits.and_then(|digits| usize::from_str_radix(digits, 16).ok());
            let size = size.ok_or_else(|| format!("no size of a chunk: {:?}", line.escape_ascii().to_string()))?;
            body.extend(self.exactly(size)?);
            let end = self.line()?;
            if !end.is_empty() {
                return Err(format!("{:?} behind a chunk", end.escape_ascii().to_string()));
            }
            if size == 0 {
                return Ok(body);
            }
        }
    }

    /// Reads more bytes. `false`: the stream has ended.
    fn more(&mut self) -> Result<bool, String> {
        let mut bytes = [0; 16 * 1024];
        let count = transport::read(&mut self.stream, &mut bytes).map_err(|err| {
            let held = &self.held[..self.held.len().min(200)];
            format!("after {:?}: {err}", held.escape_ascii().to_string())
        })?;
        self.held.extend_from_slice(&bytes[..count]);
        Ok(count > 0)
    }
}

impl Answer {
    /// The only field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn says_close(&self) -> bool {
        self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    fn length(&self) -> Result<usize, String> {
        let value = self.field("content-length").unwrap_or_default();
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        value.parse().ok().filter(|_| digits).ok_or_else(|| format!("no length: {value:?}"))
    }
}

// status-line = HTTP-version SP status-code SP [ reason-phrase ] (RFC 9112, section 4)
fn status_line(line: &[u8]) -> Result<u16, String> {
    let wrong = || format!("no status line: {:?}", line.escape_ascii().to_string());
    let rest = line.strip_prefix(b"HTTP/1.1 ").ok_or_else(wrong)?;
    let (digits, reason) = rest.split_at_checked(3).ok_or_else(wrong)?;
    let sound =
        digits.iter().all(u8::is_ascii_digit) && reason.first() == Some(&b' ') && reason[1..].iter().all(is_text);
    let status = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    status.filter(|status| sound && (100..600).contains(status)).ok_or_else(wrong)
}

// field-line = field-name ":" OWS field-value OWS (RFC 9112, section 5); here with one space and no other.
fn field_line(line: &[u8]) -> Result<(String, String), String> {
    let wrong = || format!("no field line: {:?}", line.escape_ascii().to_string());
    let colon = line.iter().position(|byte| *byte == b':').ok_or_else(wrong)?;
    let (name, value) = (&line[..colon], line[colon + 1..].strip_prefix(b" ").ok_or_else(wrong)?);
    let token =
        !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte));
    if !token || value.trim_ascii() != value || !value.iter().all(is_text) {
        return Err(wrong());
    }
    Ok((String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned()))
}

fn is_text(byte: &u8) -> bool {
    *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f)
}

/// RFC 9112, section 6.3, for responses.
fn framing(answer: &Answer, asked: Asked) -> Result<Framing, String> {
    let (length, coding) = (answer.field("content-length"), answer.field("transfer-encoding"));
    if length.is_some() {
        answer.length()?;
    }
    match (length, coding) {
        (Some(_), Some(_)) => return Err("both Content-Length and Transfer-Encoding (RFC 9112, 6.2)".into()),
        (_, Some(_)) if asked.old => return Err("a Transfer-Encoding for HTTP/1.0 (RFC 9112, 6.1)".into()),
        (_, Some(coding)) if coding != "chunked" => return Err(format!("a coding unasked for: {coding}")),
        (None, None) => {}
        _ if answer.status < 200 || answer.status == 204 => {
            return Err(format!("a length for a {} (RFC 9110, 8.6; RFC 9112, 6.1)", answer.status));
        }
        _ => {}
    }
    Ok(match (answer.status, length, coding) {
        _ if asked.head => Framing::None,
        (..200 | 204 | 304, _, _) => Framing::None,
        (_, Some(_), _) => Framing::Length,
        (_, _, Some(_)) => Framing::Chunked,
        _ => Framing::UntilClose,
    })
}

/// Rules for each response to any request.
fn check(answer: &Answer, asked: Asked) -> Result<(), String> {
    once_each(answer)?;
    if answer.status < 200 {
        return if asked.old { Err("an interim answer for HTTP/1.0 (RFC 9110, 15.2)".into()) } else { Ok(()) };
    }
    dates(answer, asked)?;
    let has = |name| answer.field(name).is_some();
    let several = answer.field("content-type").is_some_and(|value| value.starts_with("multipart/byteranges"));
    for (broken, rule) in [
        (answer.status == 401 && !has("www-authenticate"), "a 401 without a challenge (RFC 9110, 15.5.2)"),
        (answer.status == 405 && !has("allow"), "a 405 without Allow (RFC 9110, 15.5.6)"),
        (
            answer.status == 206 && has("content-range") == several,
            "a 206 states its range once: in its head or in its parts (15.3.7)",
        ),
        (answer.status == 416 && !has("content-range"), "a 416 without Content-Range (RFC 9110, 15.5.17)"),
        (has("content-range") && ![206, 416].contains(&answer.status), "a Content-Range with no meaning (14.4)"),
        (answer.status == 426 && !has("upgrade"), "a 426 without Upgrade (RFC 9110, 15.5.22)"),
        (has("age"), "an Age from an origin (RFC 9111, 5.1)"),
        (has("keep-alive") || has("proxy-connection"), "a field of one connection, unannounced (RFC 9110, 7.6.1)"),
        (has("trailer") || has("upgrade") || has("te"), "a promise of trailers or of an upgrade"),
        (answer.status >= 400 && !has("content-type"), "the page of an error has no type (RFC 9110, 8.3)"),
        (
            answer.framing == Framing::UntilClose && !answer.says_close(),
            "the body ends with the connection, without Connection: close (9112, 9.6)",
        ),
        (answer.field("etag").is_some_and(|tag| !is_tag(tag)), "an invalid ETag (RFC 9110, 8.8.3)"),
        (!has("server"), "no Server (RFC 9110, 10.2.4)"),
    ] {
        if broken {
            return Err(rule.into());
        }
    }
    match answer.field("connection") {
        None | Some("close") => Ok(()),
        Some("keep-alive") if asked.old => Ok(()),
        Some(other) => Err(format!("Connection: {other}")),
    }
}

/// Fields that are not lists occur once (RFC 9110, section 5.3).
fn once_each(answer: &Answer) -> Result<(), String> {
    for name in [
        "accept-ranges",
        "connection",
        "content-length",
        "content-location",
        "content-range",
        "content-type",
        "date",
        "etag",
        "expires",
        "last-modified",
        "location",
        "retry-after",
        "server",
        "transfer-encoding",
        "x-content-type-options",
    ] {
        if answer.all(name).count() > 1 {
            return Err(format!("{name} occurs twice"));
        }
    }
    Ok(())
}

/// RFC 9110, sections 6.6.1, 5.6.7 and 8.8.2.1.
fn dates(answer: &Answer, asked: Asked) -> Result<(), String> {
    let date = imf_date(answer.field("date").ok_or("no Date")?)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|err| err.to_string())?.as_secs() as i64;
    if (now - date).abs() > 120 && !asked.own_date {
        return Err(format!("the Date is off by {} s", now - date));
    }
    if let Some(modified) = answer.field("last-modified")
        && imf_date(modified)? > date
    {
        return Err("Last-Modified is in the future".into());
    }
    Ok(())
}

/// IMF-fixdate and no other form, as seconds since 1970, possibly negative. The days are counted one year and one month
/// at a time.
fn imf_date(text: &str) -> Result<i64, String> {
    let wrong = || format!("no IMF-fixdate: {text}");
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        digits.and_then(|digits| digits.parse::<i64>().ok()).ok_or_else(wrong)
    };
    let (day, year, hour, minute, second) =
        (number(5, 7)?, number(12, 16)?, number(17, 19)?, number(20, 22)?, number(23, 25)?);
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|month| text.get(8..11) == Some(month)).ok_or_else(wrong)?;
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = |month: usize| [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month];
    let years = |from: i64, to: i64| (from..to).map(|year| 365 + i64::from(leap(year))).sum::<i64>();
    let days = years(1970, year) - years(year, 1970) + (0..month).map(length).sum::<i64>() + day - 1;
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][days.rem_euclid(7) as usize];
    let written = format!("{weekday}, {day:02} {} {year:04} {hour:02}:{minute:02}:{second:02} GMT", months[month]);
    let sound = (1..=length(month)).contains(&day) && hour < 24 && minute < 60 && second < 60 && written == text;
    if sound { Ok(((days * 24 + hour) * 60 + minute) * 60 + second) } else { Err(wrong()) }
}

fn is_tag(tag: &str) -> bool {
    let opaque = tag.strip_prefix("W/").unwrap_or(tag).strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    opaque.is_some_and(|opaque| opaque.bytes().all(|byte| byte > b' ' && byte != b'"' && byte != 0x7f))
}
