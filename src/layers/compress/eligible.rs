//! Decides which responses can be compressed, and for which requests. Pure. Used by `compress`.

use crate::{ETag, Method, Request, Response, StatusCode, Validators, is_compressible};

/// Returns whether a response is complete text, and no field describes its exact bytes.
pub(super) fn may_be_encoded(response: &Response) -> bool {
    let fields = response.headers();
    let has_body = !matches!(
        response.status(),
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED
    );
    // Fields that describe the exact bytes: their coding, range or digest.
    let said_of_bytes = ["content-encoding", "content-range", "content-digest", "repr-digest", "digest", "content-md5"];
    let is_fixed = said_of_bytes.iter().any(|name| fields.contains_key(*name));
    let no_transform = fields.get_all("cache-control").iter().any(|line| {
        line.as_bytes().split(|&byte| byte == b',').any(|word| word.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
    });
    let media_type = fields.get("content-type").and_then(|value| value.to_str().ok());
    has_body && !is_fixed && !no_transform && media_type.is_some_and(is_compressible)
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
