//! A response becomes bytes: conditions, ranges, framing, head, body.
//! Called by `conversation` once a request; uses `conditions` and `range` to judge, `heading` to write the head,
//! `source` for streams. It knows no socket and no clock: what time it is stands in what was asked.

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderValue, Method, StatusCode, Version, header};

use super::conditions::{self, State, Verdict};
use super::content::Content;
use super::date;
use super::error::Error;
use super::etag::Tag;
use super::heading::{Heading, Length};
use super::multipart::{self, Multipart};
use super::range;
use super::request::Request;
use super::response::Response;
use super::source::Source;
use crate::tcp::{Output, Piece, SharedBytes};

/// Bodies in memory up to here are copied behind their head, so that one write sends both.
const SMALL: usize = 4 * 1024;

/// Room for what most heads hold besides prepared fields, so that they are written without growing the buffer step by step.
const USUAL_HEAD: usize = 384;

/// What is being answered, and how.
pub(crate) struct Asked<'a> {
    pub(crate) request: &'a Request,
    /// Whether the connection could go on.
    pub(crate) keep_alive: bool,
    /// What time it is.
    pub(crate) wall: SystemTime,
    /// The `Server` field, if any.
    pub(crate) server: Option<&'a HeaderValue>,
}

/// What was answered.
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    /// Body bytes laid into the output or promised by `rest`; of a stream whose length is not known none are counted.
    pub(crate) length: u64,
    /// Whether the connection goes on.
    pub(crate) keep_alive: bool,
    /// What must be pulled before anything else is said.
    pub(crate) rest: Option<Source>,
}

/// Lay the answer into the output.
///
/// A response with a fault is answered as a 500 with the plain page: ask [`fault`] before, for a page of the handler's.
pub(crate) fn answer(mut response: Response, asked: &Asked<'_>, output: &mut Output) -> Answered {
    if let Some(fault) = fault(&mut response, asked.request) {
        log::error!("{} {}: {fault}", asked.request.method(), asked.request.target());
        response = Response::from(&fault);
    }
    let (response, parts) = judged(response, asked);
    let length = length_of(&response, &parts, asked.request);
    let has_body = *asked.request.method() != Method::HEAD && may_have_body(response.status);
    let keep_alive = asked.keep_alive && !response.close && !(has_body && length == Length::UntilClose);
    let heading = Heading {
        response: &response,
        server: asked.server,
        wall: asked.wall,
        length,
        connection: connection(keep_alive, asked.request.version()),
        accept_ranges: offers_ranges(&response),
    };
    let out = output.bytes();
    out.reserve(
        USUAL_HEAD + response.prepared.as_ref().map_or(0, |fields| fields.lines().len()) + small(&response.content),
    );
    heading.write(out);
    let mut answered = Answered { status: response.status, length: 0, keep_alive, rest: None };
    if has_body {
        if let Length::Known(length) = length {
            answered.length = length;
        }
        answered.rest = lay(response.content, parts, length, output);
    }
    answered
}

/// What makes a response one that can't be sent: what it remembered, a status that is no answer, a length that is not the body's.
pub(crate) fn fault(response: &mut Response, request: &Request) -> Option<Error> {
    if let Some(fault) = response.take_fault() {
        return Some(fault);
    }
    let status = response.status;
    if !(200..600).contains(&status.as_u16()) {
        return Some(Error::from(format!("{} is not the status of an answer", status.as_str())));
    }
    if status.is_success() && *request.method() == Method::CONNECT {
        return Some(Error::from("a tunnel can't be granted"));
    }
    let (claimed, length) = (response.claimed?, response.content.length()?);
    // A `do_head` of one's own may say how long the body would be.
    let describes = *request.method() == Method::HEAD && length == 0;
    (claimed != length && !describes && may_have_body(status))
        .then(|| Error::from(format!("the response promises {claimed} bytes and has {length}")))
}

/// Which bytes of the content are sent.
enum Parts {
    Whole,
    One(Range<u64>),
    Many(Multipart),
}

/// What the client's conditions (RFC 9110, section 13.2.2) and ranges (section 14.2) make of a response.
fn judged(mut response: Response, asked: &Asked<'_>) -> (Response, Parts) {
    let request = asked.request;
    let judges = response.status == StatusCode::OK && matches!(*request.method(), Method::GET | Method::HEAD);
    if !judges || !request.field_names().any(conditions::matters) {
        return (response, Parts::Whole);
    }
    let state = state_of(&response);
    match conditions::judge(request, Some(state), asked.wall) {
        Verdict::Go => {}
        Verdict::Failed => return (refused(&response, &conditions::failed()), Parts::Whole),
        Verdict::NotModified => {
            response.status = StatusCode::NOT_MODIFIED;
            return (response, Parts::Whole);
        }
    }
    match ranges(&response, state, asked) {
        range::Asked::Whole => (response, Parts::Whole),
        range::Asked::Parts(parts) => in_parts(response, parts),
        range::Asked::Unsatisfiable => (refused(&response, &unsatisfiable(&response)), Parts::Whole),
    }
}

fn state_of(response: &Response) -> State<'_> {
    let etag = response.header_value("etag").and_then(|value| Tag::parse(value.as_bytes()));
    let prepared = response.prepared.as_ref().and_then(|fields| fields.last_modified_time());
    let modified =
        prepared.or_else(|| response.own.get("last-modified").and_then(|value| date::parse_fixdate(value.as_bytes())));
    State { etag, modified: modified.and_then(date::seconds) }
}

/// Section 14.2: ranges are defined for GET only, and heeded only if the part belongs to what is here.
fn ranges(response: &Response, state: State<'_>, asked: &Asked<'_>) -> range::Asked {
    let mut lines = asked.request.header_all("range");
    match (lines.next(), lines.next(), response.content.length()) {
        (Some(field), None, Some(length))
            if *asked.request.method() == Method::GET
                && has_parts(response)
                && conditions::range_holds(asked.request, state, asked.wall) =>
        {
            range::parse(field, length)
        }
        _ => range::Asked::Whole,
    }
}

fn in_parts(mut response: Response, parts: Vec<Range<u64>>) -> (Response, Parts) {
    let length = response.content.length().unwrap_or_default();
    response.status = StatusCode::PARTIAL_CONTENT;
    if let [part] = &parts[..] {
        let part = part.clone();
        return (response.header(header::CONTENT_RANGE, multipart::content_range(&part, length)), Parts::One(part));
    }
    let parts = Multipart::new(parts, length, response.header_value("content-type"));
    (response.header(header::CONTENT_TYPE, parts.content_type()), Parts::Many(parts))
}

fn unsatisfiable(response: &Response) -> Error {
    let length = response.content.length().unwrap_or_default();
    Error::new(
        StatusCode::RANGE_NOT_SATISFIABLE,
        format!("There are {length} bytes; none of those asked for is among them."),
    )
    .header(header::CONTENT_RANGE, format!("bytes */{length}"))
}

/// The page of a refusal in the place of a response. What speaks of the body goes; what speaks of the exchange
/// (`Access-Control-Allow-Origin`, `Vary`, cookies) stays.
fn refused(response: &Response, error: &Error) -> Response {
    let mut page = Response::from(error);
    page.close = response.close;
    for (name, value) in response.headers() {
        let of_the_body = name.as_str().starts_with("content-")
            || [header::ETAG, header::LAST_MODIFIED, header::CACHE_CONTROL, header::EXPIRES, header::ACCEPT_RANGES]
                .contains(name);
        if !of_the_body {
            page = page.append_header(name, value);
        }
    }
    page
}

/// Whether parts of the content can be had without reading what lies before them, and the handler does not mind.
fn has_parts(response: &Response) -> bool {
    !matches!(response.content, Content::Stream { .. })
        && response.header_value("accept-ranges").is_none_or(|said| !said.as_bytes().eq_ignore_ascii_case(b"none"))
}

/// Parts are offered where the client could tell that two of them belong together.
fn offers_ranges(response: &Response) -> bool {
    matches!(response.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT)
        && !matches!(response.content, Content::Stream { .. })
        && matches!(response.marks(), marks if marks.validator && !marks.accept_ranges)
}

/// RFC 9110, section 6.4.1: an answer to HEAD has none either, but the same fields as the answer to GET.
fn may_have_body(status: StatusCode) -> bool {
    !matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

/// RFC 9110, section 8.6, and RFC 9112, section 6.
fn length_of(response: &Response, parts: &Parts, request: &Request) -> Length {
    match (response.status, parts) {
        (StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED, _) => Length::Unsaid,
        (StatusCode::RESET_CONTENT, _) => Length::Known(0),
        (_, Parts::One(part)) => Length::Known(part.end - part.start),
        (_, Parts::Many(parts)) => Length::Known(parts.length()),
        // Where both are known they are the same, but for the HEAD that describes a body it has not (see `fault`).
        (_, Parts::Whole) => match response.claimed.or(response.content.length()) {
            Some(length) => Length::Known(length),
            None if request.version() == Version::HTTP_10 => Length::UntilClose,
            None => Length::Chunked,
        },
    }
}

/// RFC 9112, section 9.3: staying is what 1.1 does unless told, leaving what 1.0 does unless told.
fn connection(keep_alive: bool, version: Version) -> Option<&'static str> {
    match (keep_alive, version) {
        (false, _) => Some("close"),
        (true, Version::HTTP_10) => Some("keep-alive"),
        (true, _) => None,
    }
}

/// How much of the body will be copied behind its head.
fn small(content: &Content) -> usize {
    match content.length() {
        Some(length) if length <= SMALL as u64 => length as usize,
        _ => 0,
    }
}

/// Lay the body behind its head, or hand back what must be read first.
fn lay(content: Content, parts: Parts, length: Length, output: &mut Output) -> Option<Source> {
    match parts {
        Parts::Whole => return lay_whole(content, length, output),
        Parts::One(part) => lay_part(&content.shareable(), part, output),
        Parts::Many(Multipart { parts, end, .. }) => {
            let content = content.shareable();
            for (lines, part) in parts {
                output.bytes().extend_from_slice(&lines);
                lay_part(&content, part, output);
            }
            output.bytes().extend_from_slice(&end);
        }
    }
    None
}

fn lay_whole(content: Content, length: Length, output: &mut Output) -> Option<Source> {
    match (content, length) {
        (Content::Bytes(bytes), _) if bytes.len() <= SMALL => output.bytes().extend_from_slice(&bytes),
        (Content::Bytes(bytes), _) => output.push(Piece::Owned(bytes)),
        (Content::Stream { .. }, Length::Known(0)) => {}
        (Content::Stream { read, .. }, Length::Known(length)) => return Some(Source::exactly(read, length)),
        (Content::Stream { read, .. }, Length::Chunked) => return Some(Source::chunked(read)),
        (Content::Stream { read, .. }, _) => return Some(Source::until_close(read)),
        (content, _) => {
            let whole = 0..content.length().unwrap_or_default();
            lay_part(&content, whole, output);
        }
    }
    None
}

/// The part lies within the content, and what lies in memory can be counted in `usize`.
fn lay_part(content: &Content, part: Range<u64>, output: &mut Output) {
    let (start, end) = (part.start as usize, part.end as usize);
    match content {
        Content::Static(bytes) if end - start <= SMALL => output.bytes().extend_from_slice(&bytes[start..end]),
        Content::Static(bytes) => output.push(Piece::Shared { bytes: Arc::new(*bytes), start, end }),
        Content::Shared(bytes) if end - start <= SMALL => {
            output.bytes().extend_from_slice(&(**bytes).as_ref()[start..end]);
        }
        Content::Shared(bytes) => output.push(Piece::Shared { bytes: SharedBytes::clone(bytes), start, end }),
        Content::File { file, .. } => {
            output.push(Piece::File { file: Arc::clone(file), start: part.start, length: part.end - part.start });
        }
        Content::Bytes(_) | Content::Stream { .. } => unreachable!("shared before, or never in parts"),
    }
}

#[cfg(test)]
mod tests;
