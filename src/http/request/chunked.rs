//! Decoder of the chunked transfer coding (RFC 9112, section 7.1), incremental.
//! Called by `decoder`; uses the field grammar of `head` for trailers. It stores nothing: data is returned as slices of
//! the input. Chunk extensions and trailers are checked, counted and dropped.

use http::StatusCode;
use memchr::memchr;

use super::head;
use crate::grammar::is_token_byte;
use crate::http::rejection::Rejection;

/// The maximum length of a chunk-size line with its extensions, or of a trailer line, in bytes.
const MAX_LINE: usize = 4 * 1024;
/// The maximum length of all chunk extensions of a body together, in bytes.
const MAX_EXTENSIONS: usize = 16 * 1024;
/// The maximum length of all trailers of a body together, in bytes, and their maximum number.
const MAX_TRAILERS: usize = 16 * 1024;
const MAX_TRAILER_FIELDS: usize = 100;

#[derive(Clone, Debug)]
pub(crate) struct ChunkedDecoder {
    state: State,
    extensions: usize,
    trailers: usize,
    trailer_fields: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailer,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    NeedInput,
    Data(&'a [u8]),
    End,
}

impl ChunkedDecoder {
    pub(crate) fn new() -> ChunkedDecoder {
        ChunkedDecoder { state: State::Size, extensions: 0, trailers: 0, trailer_fields: 0 }
    }

    /// Returns how many bytes of the current chunk have not arrived.
    pub(crate) fn remaining(&self) -> u64 {
        match self.state {
            State::Data(left) => left,
            _ => 0,
        }
    }

    /// Returns how many bytes of input are used, and what they are: up to `max` bytes of the body at a time. The bytes
    /// of an incomplete line stay unused.
    pub(crate) fn step<'a>(&mut self, bytes: &'a [u8], max: usize) -> Result<(usize, Step<'a>), Rejection> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            match self.state {
                State::Size => {
                    let Some(line) = line(rest)? else { return Ok((used, Step::NeedInput)) };
                    used += line.len() + 2;
                    self.state = match self.size(line)? {
                        0 => State::Trailer,
                        size => State::Data(size),
                    };
                }
                State::Data(_) if rest.is_empty() => return Ok((used, Step::NeedInput)),
                State::Data(left) => {
                    let count = left.min(rest.len() as u64).min(max as u64);
                    let left = left - count;
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    let count = count as usize;
                    return Ok((used + count, Step::Data(&rest[..count])));
                }
                State::DataEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        used += 2;
                        self.state = State::Size;
                    }
                    [] | [b'\r'] => return Ok((used, Step::NeedInput)),
                    _ => return Err(Rejection::bad_request("a chunk is longer than its size")),
                },
                State::Trailer => {
                    let Some(line) = line(rest)? else { return Ok((used, Step::NeedInput)) };
                    used += line.len() + 2;
                    if line.is_empty() {
                        return Ok((used, Step::End));
                    }
                    self.trailer(line)?;
                }
            }
        }
    }

    // chunk-size [ chunk-ext ]; chunk-size = 1*HEXDIG
    fn size(&mut self, line: &[u8]) -> Result<u64, Rejection> {
        let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
        if digits == 0 {
            return Err(Rejection::bad_request("a chunk has no size"));
        }
        let mut size = 0u64;
        for &digit in &line[..digits] {
            if size >> 60 != 0 {
                return Err(Rejection::bad_request("the size of a chunk is too large"));
            }
            size = size << 4 | u64::from((digit as char).to_digit(16).unwrap_or_default());
        }
        let extensions = &line[digits..];
        self.extensions += extensions.len();
        if !is_chunk_ext(extensions) || self.extensions > MAX_EXTENSIONS {
            return Err(Rejection::bad_request("the extensions of a chunk are malformed, or too many"));
        }
        Ok(size)
    }

    fn trailer(&mut self, line: &[u8]) -> Result<(), Rejection> {
        self.trailers += line.len() + 2;
        self.trailer_fields += 1;
        if self.trailers > MAX_TRAILERS || self.trailer_fields > MAX_TRAILER_FIELDS {
            return Err(Rejection::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many trailers"));
        }
        head::check_field(line)
    }
}

/// Returns the next line without its CRLF, if it is complete. A bare LF does not end a line.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, Rejection> {
    let within = &bytes[..bytes.len().min(MAX_LINE)];
    match memchr(b'\n', within) {
        Some(end) if end > 0 && within[end - 1] == b'\r' => Ok(Some(&within[..end - 1])),
        Some(_) => Err(Rejection::bad_request("a line of a chunked body ends in a bare line feed")),
        None if within.len() == MAX_LINE => Err(Rejection::bad_request("a line of a chunked body is too long")),
        None => Ok(None),
    }
}

// chunk-ext = *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ) (section 7.1.1)
fn is_chunk_ext(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(after) = after_ows_and(rest, b';') else { return false };
        let Some(after) = token(skip_ows(after)) else { return false };
        rest = after;
        if let Some(after) = after_ows_and(rest, b'=') {
            let value = skip_ows(after);
            let Some(after) = token(value).or_else(|| quoted(value)) else { return false };
            rest = after;
        }
    }
    true
}

fn skip_ows(bytes: &[u8]) -> &[u8] {
    let count = bytes.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(bytes.len());
    &bytes[count..]
}

fn after_ows_and(bytes: &[u8], wanted: u8) -> Option<&[u8]> {
    skip_ows(bytes).split_first().filter(|&(&first, _)| first == wanted).map(|(_, rest)| rest)
}

fn token(bytes: &[u8]) -> Option<&[u8]> {
    let count = bytes.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(bytes.len());
    (count > 0).then(|| &bytes[count..])
}

// quoted-string (RFC 9110, section 5.6.4): qdtext and quoted-pair.
fn quoted(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.strip_prefix(b"\"")?;
    loop {
        rest = match rest {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', byte, rest @ ..] if head::is_field_value(&[*byte]) => rest,
            [byte, rest @ ..] if head::is_field_value(&[*byte]) => rest,
            _ => return None,
        }
    }
}
