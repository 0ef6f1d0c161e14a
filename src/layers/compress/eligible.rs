//! Decides which responses can be compressed, and for which requests. Pure. Used by `compress`.

use memchr::memmem;

use crate::grammar::has_member;
use crate::{ETag, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Validators, is_compressible};

/// Returns whether the response is text, its body can be read here, and no field describes its exact bytes. The type of
/// a 304 is unknown unless a field names it.
pub(super) fn may_be_encoded(response: &Response) -> bool {
    let fields = response.headers();
    let is_empty = matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
    // The bodies of another server are pushed, and its 304 is for a 200 that was not compressed here.
    let is_readable = !response.is_pushed() && !response.is_evaluated();
    // Fields that describe the exact bytes: their coding or digest.
    let said_of_bytes = ["content-encoding", "content-digest", "repr-digest", "digest", "content-md5"];
    let is_fixed = said_of_bytes.iter().any(|name| fields.contains_key(*name));
    let no_transform = has_member(fields, "cache-control", b"no-transform");
    let media_type = fields.get("content-type").and_then(|value| value.to_str().ok());
    let is_text = media_type.map_or(response.status() == StatusCode::NOT_MODIFIED, is_compressible);
    !is_empty && is_readable && !is_fixed && !no_transform && is_text
}

/// Returns whether the handler sends this in place of a 200. It has the 200's `Vary` (RFC 9110, sections 15.3.7 and
/// 15.4.5), and no body that could be compressed.
pub(super) fn replaces_200(status: StatusCode) -> bool {
    matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Returns the weak form of a strong `ETag`.
pub(super) fn weak_tag(fields: &HeaderMap) -> Option<HeaderValue> {
    let strong = fields.get("etag").map(HeaderValue::as_bytes).filter(|tag| tag.starts_with(b"\""))?;
    HeaderValue::from_bytes(&[b"W/", strong].concat()).ok()
}

/// Returns the tag for a 304 of the handler if it confirms a compressed copy: the client names its weak tag. With the
/// handler's strong tag, the client would take the compressed bytes for the uncompressed ones, and could join parts of
/// both (RFC 9110, section 15.4.5).
pub(super) fn tag_of_compressed(request: &Request, status: StatusCode, fields: &HeaderMap) -> Option<HeaderValue> {
    let weak = weak_tag(fields).filter(|_| status == StatusCode::NOT_MODIFIED)?;
    // A tag contains no quotes, so it is found only as a whole.
    let is_named = request.header_all("if-none-match").any(|line| memmem::find(line, weak.as_bytes()).is_some());
    let accepts_gzip = || matches!(request.choose_coding(&["gzip"]), Ok(Some(_)));
    (is_named && accepts_gzip()).then_some(weak)
}

/// Returns whether a range is requested. It refers to the uncompressed bytes.
pub(super) fn wants_range(request: &Request) -> bool {
    request.header_all("range").next().is_some()
}

/// Returns whether `If-Range` could make the client join parts of the compressed and the uncompressed bytes. It could
/// with a date, which both have in common (RFC 9110, section 8.8.1), but not with a strong tag.
pub(super) fn may_join(request: &Request) -> bool {
    wants_range(request) && request.header_all("if-range").any(|condition| !condition.starts_with(b"\""))
}

/// Returns whether the response will become a 304. Then nothing is compressed.
pub(super) fn would_be_304(response: &Response, request: &Request) -> bool {
    let Some(tag) = response.headers().get("etag").and_then(|tag| tag.to_str().ok()) else { return false };
    if response.status() != StatusCode::OK || !matches!(*request.method(), Method::GET | Method::HEAD) {
        return false;
    }
    // Compared with the tag that is sent, which is weak.
    let opaque = tag.strip_prefix("W/").unwrap_or(tag).strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    let Some(Ok(etag)) = opaque.map(ETag::weak) else { return false };
    let current = Validators { etag: Some(etag), last_modified: None };
    request.check_preconditions(Some(&current)).is_err_and(|error| error.status() == StatusCode::NOT_MODIFIED)
}
