//! Encodes a response: preconditions, ranges, framing, head, body. Called by `connection` once per request. Uses
//! `preconditions` and `range` to choose what is sent, `head` for the head and `stream` for streams. It has no socket
//! and no clock: the time is in the `ResponseContext`.

mod byteranges; // multipart/byteranges (RFC 9110, section 14.6)
mod head; // status line and header fields
pub(crate) mod preconditions; // conditional requests (RFC 9110, section 13)
pub(crate) mod pushed; // a body that other threads push
pub(crate) mod range; // range requests (RFC 9110, section 14)
pub(crate) mod stream; // a body that is read while it is sent

pub use preconditions::Validators;

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};

use crate::grammar::is_token;
use crate::http::date;
use crate::http::error::Error;
use crate::http::etag::ETagRef;
use crate::http::request::Request;
use crate::http::response::body::ResponseBody;
use crate::http::response::{Continuation, OnSent, Response};
use crate::http::status::{ends_with_its_head, has_no_content};
use crate::tcp::{Output, Piece, SharedBytes};
use byteranges::Byteranges;
use head::{ResponseHead, ResponseLength};
use preconditions::{Evaluation, ValidatorsRef};
use pushed::PushedStream;
use range::RequestedRange;
use stream::{BodyStream, StreamFraming};

/// Bodies in memory up to this size are copied after the head, so that one write sends both.
const INLINE_LIMIT: usize = 4 * 1024;

/// The usual length of a head without prepared fields. It is reserved at once, so that the buffer does not grow in
/// steps.
const TYPICAL_HEAD: usize = 384;

/// The request, and everything else on which the response depends.
pub(crate) struct ResponseContext<'a> {
    pub(crate) request: &'a Request,
    pub(crate) keep_alive: bool,
    pub(crate) now: SystemTime,
    /// The value of the `Server` field, if it is sent.
    pub(crate) server: Option<&'a HeaderValue>,
    pub(crate) fields: &'a [(HeaderName, HeaderValue)],
    pub(crate) page: &'a dyn Fn(&Error) -> Checked,
}

/// The bytes to send after the head.
pub(crate) enum RestOfBody {
    Read(BodyStream),
    Pushed(PushedStream),
}

pub(crate) struct Encoded {
    pub(crate) status: StatusCode,
    /// The length of the body, in the output or in `rest`; 0 for a stream of unknown length.
    pub(crate) length: u64,
    pub(crate) keep_alive: bool,
    /// The rest of the body: it must be sent before the next response.
    pub(crate) rest: Option<RestOfBody>,
    /// Called when the response was sent, or can't be.
    pub(crate) on_sent: Option<OnSent>,
}

/// A response that can be sent: it has no stored error, a final status, and the right length.
pub(crate) struct Checked(Response);

impl Checked {
    /// # Errors
    /// If the response cannot be sent: it has a stored error, a status outside 200 to 599, or a wrong Content-Length.
    /// Then it is also returned.
    pub(crate) fn new(mut response: Response, request: &Request) -> Result<Checked, Box<(Error, Checked)>> {
        match response_fault(&mut response, request) {
            Some(error) => Err(Box::new((error, Checked(response)))),
            None => Ok(Checked(response)),
        }
    }

    /// Returns the page of an error that is sent in place of this response, which has passed all layers. The page keeps
    /// the response's fields that do not concern its content (`Access-Control-Allow-Origin`, `Vary`, cookies,
    /// policies), unless it has its own.
    pub(crate) fn replaced_by(&self, page: Checked) -> Checked {
        Checked(in_place_of(&self.0, page.0))
    }

    /// Wraps a response that is not sent, because its request waits.
    pub(crate) fn to_wait(mut response: Response) -> Checked {
        if let Some(on_sent) = response.take_on_sent() {
            on_sent.discard();
        }
        Checked(response)
    }

    /// Takes what happens instead of sending the response, if anything.
    pub(crate) fn take_instead(&mut self) -> Option<Continuation> {
        self.0.take_instead()
    }

    pub(crate) fn take_on_sent(&mut self) -> Option<OnSent> {
        self.0.take_on_sent()
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Returns whether its body is pushed by other threads.
    pub(crate) fn is_pushed(&self) -> bool {
        self.0.is_pushed()
    }

    /// Returns whether its body is sent with its head. No other body follows a head that could not be read.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.0.body.in_memory().is_some()
    }

    /// Returns the default page of an error.
    pub(crate) fn of(error: &Error) -> Checked {
        Checked(Response::from(error))
    }

    /// Returns the default page of a 500, for the case that the page of an error is itself invalid.
    pub(crate) fn internal_error() -> Checked {
        Checked(Response::from(&Error::new(StatusCode::INTERNAL_SERVER_ERROR, "")))
    }
}

pub(crate) fn encode(response: Checked, context: &ResponseContext<'_>, output: &mut Output) -> Encoded {
    let (mut response, selection) = apply_conditions(response.0, context);
    let length = response_length(&response, &selection, context.request);
    let has_body = *context.request.method() != Method::HEAD && !has_no_content(response.status);
    let keep_alive = context.keep_alive && !response.close && !(has_body && length == ResponseLength::UntilClose);
    let head = ResponseHead {
        response: &response,
        server: context.server,
        fields: context.fields,
        now: context.now,
        length,
        connection: connection_option(keep_alive, context.request.version(), &response),
        accept_ranges: advertises_ranges(&response),
    };
    let out = output.bytes();
    out.reserve(
        TYPICAL_HEAD
            + response.prepared.as_ref().map_or(0, |fields| fields.lines().len())
            + inline_length(&response.body),
    );
    head.write(out);
    let on_sent = response.take_on_sent(); // after `apply_conditions`, which may have replaced the response
    let mut encoded = Encoded { status: response.status, length: 0, keep_alive, rest: None, on_sent };
    if has_body {
        if let ResponseLength::Known(length) = length {
            encoded.length = length;
        }
        encoded.rest = encode_body(response.body, selection, length, output);
    }
    encoded
}

fn response_fault(response: &mut Response, request: &Request) -> Option<Error> {
    if let Some(error) = response.take_deferred_error() {
        return Some(error);
    }
    let status = response.status;
    match response.instead() {
        Some(Continuation::Wait(_)) => return None,
        Some(Continuation::Switch(protocol)) => {
            return switch_fault(request, protocol.name()).or_else(|| switch_status_fault(status, protocol.name()));
        }
        None => {}
    }
    if !(200..600).contains(&status.as_u16()) {
        return Some(Error::from(format!("{} is not a valid status of a response", status.as_str())));
    }
    if status.is_success() && *request.method() == Method::CONNECT {
        return Some(Error::from("a response to CONNECT must not be a success, unless it is a tunnel"));
    }
    let (declared_length, length) = (response.declared_length()?, response.body.length()?);
    // A handler's own `do_head` can set the length that the body would have.
    let describes_get = *request.method() == Method::HEAD && length == 0;
    (declared_length != length && !describes_get && !has_no_content(status))
        .then(|| Error::from(format!("the Content-Length is {declared_length}, and the body has {length} bytes")))
}

/// Returns why the connection cannot switch to this protocol: it is not the name of one, the client has not asked for
/// it, or the client's version of HTTP does not support it (RFC 9110, section 7.8).
fn switch_fault(request: &Request, protocol: Option<&str>) -> Option<Error> {
    let Some(protocol) = protocol else {
        let is_tunnel = *request.method() == Method::CONNECT;
        return (!is_tunnel).then(|| Error::from("a tunnel is for CONNECT only"));
    };
    // The name of a protocol is a token, which "/" and a version can follow (RFC 9110, section 7.8).
    let (name, version) = protocol.split_once('/').map_or((protocol, None), |(name, version)| (name, Some(version)));
    if ![name, version.unwrap_or(name)].iter().all(|word| is_token(word.as_bytes())) {
        return Some(Error::from(format!("{protocol:?} is not the name of a protocol")));
    }
    let is_asked_for = request.version() == Version::HTTP_11
        && request.lists("connection", "upgrade")
        && request.lists("upgrade", protocol);
    (!is_asked_for).then(|| {
        let error = Error::new(StatusCode::UPGRADE_REQUIRED, format!("Expected an upgrade to {protocol}."));
        error.with_header(header::UPGRADE, protocol)
    })
}

/// Returns why the connection cannot switch with this status. After any other status a client expects HTTP (RFC 9110,
/// sections 7.8 and 9.3.6).
fn switch_status_fault(status: StatusCode, protocol: Option<&str>) -> Option<Error> {
    let expected = if protocol.is_some() { StatusCode::SWITCHING_PROTOCOLS } else { StatusCode::OK };
    let fault = || Error::from(format!("the connection changes its protocol with {status}; expected {expected}"));
    (status != expected).then(fault)
}

/// Encodes the head of a 101, after which the connection uses this protocol, or of a 200, after which it is a tunnel.
pub(crate) fn encode_switch(
    response: &Checked,
    protocol: Option<&str>,
    server: Option<&HeaderValue>,
    fields: &[(HeaderName, HeaderValue)],
    now: SystemTime,
    to: &mut Vec<u8>,
) {
    let (response, length) = (&response.0, ResponseLength::Omitted);
    let head = ResponseHead {
        response,
        server,
        fields,
        now,
        length,
        connection: protocol.map(|_| "upgrade"),
        accept_ranges: false,
    };
    head.write_with(protocol, to);
}

enum Selection {
    Whole,
    Single(Range<u64>),
    Multiple(Byteranges),
}

/// Applies the request's preconditions (RFC 9110, section 13.2.2) and ranges (section 14.2) to a response.
fn apply_conditions(response: Response, context: &ResponseContext<'_>) -> (Response, Selection) {
    let request = context.request;
    let is_content = response.status == StatusCode::OK && matches!(*request.method(), Method::GET | Method::HEAD);
    let conditions_apply = is_content && !response.is_evaluated();
    if !conditions_apply || !request.field_names().any(preconditions::is_conditional_or_range) {
        return (response, Selection::Whole);
    }
    let validators = validators_of(&response);
    match preconditions::evaluate(request, Some(validators), context.now) {
        Evaluation::Proceed => {}
        Evaluation::Failed => {
            return (in_place_of(&response, (context.page)(&preconditions::precondition_failed()).0), Selection::Whole);
        }
        Evaluation::NotModified => {
            return (response.with_status(StatusCode::NOT_MODIFIED), Selection::Whole);
        }
    }
    match requested_range(&response, validators, context) {
        RequestedRange::Whole => (response, Selection::Whole),
        RequestedRange::Parts(parts) => partial_content(response, parts),
        RequestedRange::Unsatisfiable => {
            (in_place_of(&response, (context.page)(&range_not_satisfiable(&response)).0), Selection::Whole)
        }
    }
}

fn validators_of(response: &Response) -> ValidatorsRef<'_> {
    let etag = response.header_value("etag").and_then(|value| ETagRef::parse(value.as_bytes()));
    let prepared = response.prepared.as_ref().and_then(|fields| fields.last_modified_time());
    let modified =
        prepared.or_else(|| response.own.get("last-modified").and_then(|value| date::parse_fixdate(value.as_bytes())));
    ValidatorsRef { etag, modified: modified.and_then(date::seconds) }
}

/// Returns the requested range. Ranges are defined for GET only, and apply only if If-Range matches (section 14.2).
fn requested_range(
    response: &Response,
    validators: ValidatorsRef<'_>,
    context: &ResponseContext<'_>,
) -> RequestedRange {
    match (context.request.only_line("range"), response.body.length()) {
        (Ok(Some(field)), Some(length))
            if *context.request.method() == Method::GET
                && supports_ranges(response)
                && preconditions::check_if_range(context.request, validators, context.now) =>
        {
            range::parse(field, length)
        }
        _ => RequestedRange::Whole,
    }
}

fn partial_content(mut response: Response, parts: Vec<Range<u64>>) -> (Response, Selection) {
    let length = response.body.length().unwrap_or_default();
    response = response.with_status(StatusCode::PARTIAL_CONTENT);
    if let [part] = &parts[..] {
        let part = part.clone();
        return (
            response.with_header(header::CONTENT_RANGE, byteranges::content_range(&part, length)),
            Selection::Single(part),
        );
    }
    let parts = Byteranges::new(parts, length, response.header_value("content-type"));
    let response = response.without_header("content-range"); // each part has a type of its own
    (response.with_header(header::CONTENT_TYPE, parts.content_type()), Selection::Multiple(parts))
}

fn range_not_satisfiable(response: &Response) -> Error {
    let length = response.body.length().unwrap_or_default();
    Error::new(StatusCode::RANGE_NOT_SATISFIABLE, format!("None of the requested ranges is within the {length} bytes."))
        .with_header(header::CONTENT_RANGE, format!("bytes */{length}"))
}

/// See [`Checked::replaced_by`].
fn in_place_of(response: &Response, mut page: Response) -> Response {
    page.close |= response.close;
    let own: Vec<_> = page.headers().keys().cloned().collect();
    for (name, value) in response.headers() {
        // Lists and cookies are added: a cache must know each field on which the response depends.
        let adds_up = *name == header::VARY || *name == header::SET_COOKIE;
        if *name == header::CACHE_CONTROL && is_for_one_user(value) {
            // The page has this user's cookies.
            if !page.headers().get_all(name).iter().any(is_for_one_user) {
                page = page.with_header(name, value);
            }
        } else if !describes_content(name) && (adds_up || !own.contains(name)) {
            page = page.with_added_header(name, value);
        }
    }
    page
}

/// Returns whether `Cache-Control` keeps a response out of the caches that several users share.
fn is_for_one_user(value: &HeaderValue) -> bool {
    [&b"private"[..], b"no-store"].iter().any(|word| memchr::memmem::find(value.as_bytes(), word).is_some())
}

/// Returns whether a field concerns the content of the replaced response, or the protocol that would have followed it:
/// representation metadata (RFC 9110, section 8), instructions for caches, framing, an upgrade.
fn describes_content(name: &HeaderName) -> bool {
    [
        header::CONTENT_TYPE,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::UPGRADE,
        header::SEC_WEBSOCKET_ACCEPT,
        header::SEC_WEBSOCKET_EXTENSIONS,
        header::SEC_WEBSOCKET_PROTOCOL,
        header::CONTENT_ENCODING,
        header::CONTENT_LANGUAGE,
        header::CONTENT_LOCATION,
        header::CONTENT_RANGE,
        header::CONTENT_DISPOSITION,
        header::ETAG,
        header::LAST_MODIFIED,
        header::CACHE_CONTROL,
        header::EXPIRES,
        header::AGE,
        header::ACCEPT_RANGES,
    ]
    .contains(name)
        || ["content-md5", "content-digest", "repr-digest", "digest"].contains(&name.as_str())
}

/// Returns whether ranges of the body can be read without the bytes before them, and the handler has not disabled
/// ranges.
fn supports_ranges(response: &Response) -> bool {
    !matches!(response.body, ResponseBody::Stream { .. } | ResponseBody::Pushed(_))
        && response.header_value("accept-ranges").is_none_or(|value| !value.as_bytes().eq_ignore_ascii_case(b"none"))
}

/// Returns whether to send Accept-Ranges: only with a validator, by which clients know that two ranges are of one
/// representation.
fn advertises_ranges(response: &Response) -> bool {
    matches!(response.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT)
        && !matches!(response.body, ResponseBody::Stream { .. } | ResponseBody::Pushed(_))
        && matches!(response.flags(), flags if flags.validator && !flags.accept_ranges)
}

/// Determines how the length of the body is sent (RFC 9110, section 8.6, and RFC 9112, section 6).
fn response_length(response: &Response, selection: &Selection, request: &Request) -> ResponseLength {
    match (response.status, selection) {
        (status, _) if ends_with_its_head(&Method::GET, status) => ResponseLength::Omitted,
        (status, _) if has_no_content(status) => ResponseLength::Known(0),
        (_, Selection::Single(part)) => ResponseLength::Known(part.end - part.start),
        (_, Selection::Multiple(parts)) => ResponseLength::Known(parts.length()),
        // If both are known they are equal, except for HEAD without a body (see `response_fault`).
        (_, Selection::Whole) => match response.declared_length().or(response.body.length()) {
            Some(length) => ResponseLength::Known(length),
            None if request.version() == Version::HTTP_10 => ResponseLength::UntilClose,
            None => ResponseLength::Chunked,
        },
    }
}

/// Returns the value of `Connection`. HTTP/1.1 connections persist by default, HTTP/1.0 connections do not (RFC 9112,
/// section 9.3). A sender of `Upgrade` lists it in `Connection` (RFC 9110, section 7.8).
fn connection_option(keep_alive: bool, version: Version, response: &Response) -> Option<&'static str> {
    let offers_upgrade = response.status == StatusCode::UPGRADE_REQUIRED && response.header_value("upgrade").is_some();
    match (keep_alive, version) {
        (false, _) if offers_upgrade => Some("close, upgrade"),
        (false, _) => Some("close"),
        (true, Version::HTTP_10) if offers_upgrade => Some("keep-alive, upgrade"),
        (true, Version::HTTP_10) => Some("keep-alive"),
        (true, _) if offers_upgrade => Some("upgrade"),
        (true, _) => None,
    }
}

/// Returns how many bytes of the body are copied after the head.
fn inline_length(body: &ResponseBody) -> usize {
    match body.length() {
        Some(length) if length <= INLINE_LIMIT as u64 => length as usize,
        _ => 0,
    }
}

/// Appends the body to the output, or returns the stream that it must be read from.
fn encode_body(
    body: ResponseBody,
    selection: Selection,
    length: ResponseLength,
    output: &mut Output,
) -> Option<RestOfBody> {
    match selection {
        Selection::Whole => return encode_whole(body, length, output),
        Selection::Single(part) => encode_part(&body.into_shared(), part, output),
        Selection::Multiple(Byteranges { parts, end, .. }) => {
            let body = body.into_shared();
            for (lines, part) in parts {
                output.bytes().extend_from_slice(&lines);
                encode_part(&body, part, output);
            }
            output.bytes().extend_from_slice(&end);
        }
    }
    None
}

fn encode_whole(body: ResponseBody, length: ResponseLength, output: &mut Output) -> Option<RestOfBody> {
    let framing = match length {
        ResponseLength::Known(length) => StreamFraming::Remaining(length),
        ResponseLength::Chunked => StreamFraming::Chunked,
        ResponseLength::UntilClose | ResponseLength::Omitted => StreamFraming::UntilClose,
    };
    match body {
        ResponseBody::Bytes(bytes) if bytes.len() <= INLINE_LIMIT => output.bytes().extend_from_slice(&bytes),
        ResponseBody::Bytes(bytes) => output.push(Piece::Owned(bytes)),
        ResponseBody::Stream { .. } if framing == StreamFraming::Remaining(0) => {}
        ResponseBody::Stream { read, .. } => return Some(RestOfBody::Read(BodyStream::new(read, framing))),
        ResponseBody::Pushed(body) => return Some(RestOfBody::Pushed(PushedStream::new(body, framing))),
        body => {
            let whole = 0..body.length().unwrap_or_default();
            encode_part(&body, whole, output);
        }
    }
    None
}

/// Appends a range of the body, which must be within the body. The length of a body in memory fits in a `usize`.
fn encode_part(body: &ResponseBody, part: Range<u64>, output: &mut Output) {
    let (start, end) = (part.start as usize, part.end as usize);
    match body {
        ResponseBody::Shared(bytes) if end - start <= INLINE_LIMIT => {
            output.bytes().extend_from_slice(&bytes.as_ref()[start..end]);
        }
        ResponseBody::Shared(bytes) => output.push(Piece::Shared { bytes: SharedBytes::clone(bytes), start, end }),
        ResponseBody::File { file, start, .. } => {
            let length = part.end - part.start;
            output.push(Piece::File { file: Arc::clone(file), start: start + part.start, length });
        }
        ResponseBody::Bytes(_) | ResponseBody::Stream { .. } | ResponseBody::Pushed(_) => {
            unreachable!("bodies in memory were shared before, and streams have no parts")
        }
    }
}

#[cfg(test)]
mod tests;
