//! A response as it is sent, in parsed form, for tests with and without a socket.

use std::fmt;
use std::io::{self, BufRead, Read};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::error::Error;
use super::request::{BodyPlan, Request};
use super::responder::{Service, catch_panic, rewritten};
use super::sending::pushed::PushedProgress;
use super::sending::stream::StreamProgress;
use super::sending::{Checked, RestOfBody};
use super::status::ends_with_its_head;
use crate::tcp::{MayBlock, Output, Piece};

/// A response as a client gets it, returned by [`Http::respond`](crate::Http::respond) or [`testing`](crate::testing).
///
/// ```
/// use modest::{Http, Request, Response, handler_fn};
///
/// let http = Http::new(handler_fn(|_| Ok(Response::text("0123456789"))));
/// let sent = http.respond(&Request::get("/").with_header("range", "bytes=2-4"));
/// assert_eq!((sent.status().as_u16(), sent.text()), (206, "234"));
/// assert_eq!(sent.header("content-range"), Some("bytes 2-4/10"));
/// ```
#[derive(Clone)]
pub struct SentResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    asked: Option<String>,
}

impl SentResponse {
    /// Adds the request, for assertions to print.
    pub(crate) fn to(self, asked: String) -> SentResponse {
        SentResponse { asked: Some(asked), ..self }
    }

    /// Returns the request, if it is known.
    pub(crate) fn asked(&self) -> Option<&str> {
        self.asked.as_deref()
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns all fields, including the server's own.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the first field of that name, if it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
    }

    /// Returns the body, decoded from chunks.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns the body as text.
    ///
    /// # Panics
    /// If it is not UTF-8.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// Returns the body as JSON.
    ///
    /// # Panics
    /// If it is not JSON, or cannot be read as a `T`.
    #[cfg(feature = "json")]
    #[track_caller]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)),
        }
    }

    /// Reads a response to a request with this method.
    ///
    /// # Errors
    /// The errors of the reader; `InvalidData` if the response is malformed, `UnexpectedEof` if it is incomplete.
    pub(crate) fn read(from: &mut impl BufRead, method: &Method) -> io::Result<SentResponse> {
        let head = SentResponse::read_head(from)?;
        let body = read_body(from, method, head.status, &head.headers)?;
        Ok(SentResponse { body, ..head })
    }

    /// Reads the head of a response, and leaves its body unread.
    ///
    /// # Errors
    /// As [`read`](SentResponse::read).
    pub(crate) fn read_head(from: &mut impl BufRead) -> io::Result<SentResponse> {
        loop {
            let line = read_line(from)?;
            let mut words = line.splitn(3, ' ');
            let (version, code) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let status = code.parse().ok().filter(|_| version.starts_with("HTTP/1."));
            let status: StatusCode = status.ok_or_else(|| invalid(format!("no status line: {line:?}")))?;
            let headers = read_fields(from)?;
            if !status.is_informational() {
                return Ok(SentResponse { status, headers, body: Vec::new(), asked: None });
            } // 100 Continue and other interim responses
        }
    }
}

impl fmt::Debug for SentResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentResponse")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body", &String::from_utf8_lossy(&self.body))
            .finish()
    }
}

/// Returns the response to a request as it would be sent: see `Http::respond`. Each call handles the request as if it
/// had just arrived.
pub(crate) fn respond(service: &Service, request: &Request) -> SentResponse {
    let Some(rewrite) = &service.config.rewrite else { return respond_to(service, request) };
    let mut copy = request.copied().unwrap_or_else(|error| panic!("{request:?}: {error}"));
    match rewritten(&mut copy, &**rewrite, MayBlock::on_own_thread()) {
        Ok(()) => respond_to(service, &copy),
        Err(error) => respond_with(service, &copy, &error),
    }
}

fn respond_to(service: &Service, request: &Request) -> SentResponse {
    if !service.config.strict_paths {
        request.set_lenient_path();
    }
    request.asked.apart(|| respond_once(service, request))
}

fn respond_once(service: &Service, request: &Request) -> SentResponse {
    let may_block = MayBlock::on_own_thread;
    let response = if *request.method() == Method::CONNECT {
        // as in a connection
        let no_proxy = || Err(Error::new(StatusCode::NOT_IMPLEMENTED, "this server is not a proxy"));
        let connect = || service.config.on_connect.as_ref().map_or_else(no_proxy, |connect| connect(request));
        service.respond_by(request, connect, may_block())
    } else {
        if !request.body().is_empty() {
            let mut plan = BodyPlan::default();
            let write = || {
                service.accepts(request, &mut plan, may_block()); // as in a connection
                plan.write_form(request)
            };
            if let Err(error) = catch_panic(request, write).and_then(|written| written) {
                return respond_with(service, request, &error);
            }
        }
        service.respond(request, &|_| {}, may_block())
    };
    let mut response = response.unwrap_or_else(|panicked| service.page(Some(request), &panicked, request));
    assert!(
        response.take_instead().is_none(),
        "{:?}: only a connection can wait or change its protocol",
        request.line()
    );
    send(response, service, request)
}

/// Returns the page of an error for which no handler is called.
fn respond_with(service: &Service, request: &Request, error: &Error) -> SentResponse {
    send(service.page(Some(request), error, request), service, request)
}

/// Encodes a response, and parses it as a client does.
fn send(response: Checked, service: &Service, request: &Request) -> SentResponse {
    let mut output = Output::new();
    let mut encoded = service.encode(response, request, true, request.now(), &mut output);
    let mut wire = Vec::new();
    let mut broken = drain(&mut output, &mut wire).is_err();
    while let Some(RestOfBody::Pushed(pushed)) = encoded.rest.as_mut().filter(|_| !broken) {
        let progress = pushed.write_now(&mut output);
        broken |= drain(&mut output, &mut wire).is_err();
        match progress {
            PushedProgress::Done => break,
            PushedProgress::Broken => broken = true,
            PushedProgress::More => {}
            PushedProgress::Room => pushed.body.call_for_more(MayBlock::on_own_thread()),
            PushedProgress::Waiting => {
                panic!("{:?}: only a connection can wait for a body that other threads push", request.line())
            }
        }
    }
    while let Some(RestOfBody::Read(stream)) = encoded.rest.as_mut().filter(|_| !broken) {
        let progress = stream.read_some(&mut output, MayBlock::on_own_thread());
        broken |= drain(&mut output, &mut wire).is_err() || matches!(progress, StreamProgress::Failed(_));
        if matches!(progress, StreamProgress::Done) {
            break;
        }
    }
    match SentResponse::read(&mut &wire[..], request.method()) {
        Ok(sent) if !broken => {
            if let Some(on_sent) = encoded.on_sent {
                on_sent.sent(MayBlock::on_own_thread());
            }
            sent
        }
        _ => panic!("the response to {:?} was cut off", request.line()),
    }
}

/// Appends the bytes of the output, in memory or in a file, to `wire`.
pub(crate) fn drain(output: &mut Output, wire: &mut Vec<u8>) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    for piece in output.pieces() {
        match piece {
            Piece::Owned(bytes) => wire.extend_from_slice(bytes),
            Piece::Shared { bytes, start, end } => wire.extend_from_slice(&(**bytes).as_ref()[*start..*end]),
            Piece::File { file, start, length } => {
                let at = wire.len();
                wire.resize(at + *length as usize, 0);
                file.read_exact_at(&mut wire[at..], *start)?;
            }
        }
    }
    output.clear();
    Ok(())
}

pub(crate) fn read_line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line)?;
    match line.strip_suffix(b"\r\n") {
        Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
        None if line.ends_with(b"\n") => Err(invalid("a line that ends without CR")),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn read_fields(from: &mut impl BufRead) -> io::Result<HeaderMap> {
    let mut fields = HeaderMap::new();
    loop {
        let line = read_line(from)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let pair = line.split_once(": ").and_then(|(name, value)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
        });
        let (name, value) = pair.ok_or_else(|| invalid(format!("no field: {line:?}")))?;
        fields.append(name, value);
    }
}

/// Reads the body of a response (RFC 9112, section 6.3).
fn read_body(from: &mut impl BufRead, method: &Method, status: StatusCode, headers: &HeaderMap) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if ends_with_its_head(method, status) {
        return Ok(body);
    }
    if headers.get("transfer-encoding").is_some_and(|coding| coding.as_bytes() == b"chunked") {
        Chunks::new(from, true).read_to_end(&mut body)?;
    } else if let Some(length) = headers.get("content-length") {
        read_exactly(from, size(length.to_str().unwrap_or_default(), 10)?, &mut body)?;
    } else {
        from.read_to_end(&mut body)?;
    }
    Ok(body)
}

/// A body while it arrives: chunked, or until the connection ends.
#[derive(Debug)]
pub(crate) struct Chunks<R> {
    from: R,
    left: Left,
}

#[derive(Debug)]
enum Left {
    /// The line with the size of the next chunk.
    BeforeChunk,
    /// This many bytes, and a line end.
    InChunk(u64),
    UntilEnd,
    Nothing,
}

impl<R: BufRead> Chunks<R> {
    pub(crate) fn new(from: R, is_chunked: bool) -> Chunks<R> {
        Chunks { from, left: if is_chunked { Left::BeforeChunk } else { Left::UntilEnd } }
    }

    pub(crate) fn get_mut(&mut self) -> &mut R {
        &mut self.from
    }
}

impl<R: BufRead> Read for Chunks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.left {
                Left::Nothing => return Ok(0),
                Left::UntilEnd => return self.from.read(buffer),
                Left::InChunk(0) => {
                    read_line(&mut self.from)?;
                    self.left = Left::BeforeChunk;
                }
                Left::InChunk(left) => {
                    let count = (&mut self.from).take(left).read(buffer)?;
                    if count == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.left = Left::InChunk(left - count as u64);
                    return Ok(count);
                }
                Left::BeforeChunk => {
                    let line = read_line(&mut self.from)?;
                    self.left = match size(line.split(';').next().unwrap_or_default().trim(), 16)? {
                        0 => read_fields(&mut self.from).map(|_| Left::Nothing)?,
                        size => Left::InChunk(size),
                    };
                }
            }
        }
    }
}

fn size(text: &str, radix: u32) -> io::Result<u64> {
    u64::from_str_radix(text, radix).map_err(|_| invalid(format!("no size: {text:?}")))
}

pub(crate) fn read_exactly(from: &mut impl Read, count: u64, to: &mut Vec<u8>) -> io::Result<()> {
    let found = from.take(count).read_to_end(to)?;
    if found as u64 == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
