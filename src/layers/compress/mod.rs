//! gzip for text, by `Accept-Encoding`.

mod eligible; // responses that can be compressed
mod gzip; // a body, compressed while it is read

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::vary::{vary, with_vary};
use crate::slots::Slots;
use crate::{Layer, Method, Next, Request, Response, Result};
use eligible::{may_be_encoded, may_join, replaces_200, tag_of_compressed, wants_range, weak_tag, would_be_304};
use gzip::GzipReader;

/// Compresses text with gzip for clients that accept it (RFC 9110, section 12.5.3): HTML, CSS, JavaScript, JSON, XML,
/// SVG and similar types, of 1 KiB and more.
///
/// - A body in memory is compressed as a whole, if that makes it smaller. A file or a stream is compressed while it is
///   sent, each piece as soon as it is read, so events are not delayed.
/// - `Vary: Accept-Encoding` is set if the coding depends on the client, even in a 206 or a 304 of the handler. A
///   strong `ETag` becomes weak, because the bytes differ. A 304 is still possible, but `If-Match` never matches. So
///   exclude content that clients edit.
/// - Not compressed: responses with a `Content-Encoding` or a digest; responses with `Cache-Control: no-transform`;
///   responses to requests for ranges; pushed responses ([`Response::events`], [`Response::channel`]) and those of
///   other servers (`ReverseProxy`); errors of the handler. A request for a range with a date in `If-Range` gets the
///   whole body, because the compressed bytes also have that date.
/// - HEAD gets the fields of GET.
///
/// For files of a [`StaticFileHandler`](crate::StaticFileHandler) it is better to compress them once, into a `.gz` or
/// `.br` beside them, or by [`StaticFileHandler::compress`](crate::StaticFileHandler::compress). That costs no time per
/// request, and allows ranges.
///
/// **BREACH**: if a response contains both a secret (such as a token against forged requests) and text that another
/// site can choose (such as a search term), the length of the compressed response reveals the secret to the other site,
/// request by request. TLS does not prevent it. Exclude such responses with `Cache-Control: no-transform`, or mask the
/// secret differently each time.
///
/// ```
/// use modest::layers::Compress;
/// use modest::{Http, Request, RequestHandler, Response, handler_fn};
///
/// let http = Http::new(handler_fn(|_| Ok(Response::text("hello\n".repeat(1000)))).layer(Compress::new()));
/// let sent = http.respond(&Request::get("/").with_header("accept-encoding", "gzip, br"));
/// assert_eq!(sent.header("content-encoding"), Some("gzip"));
/// assert!(sent.body().len() < 200);
/// ```
#[derive(Clone, Debug)]
#[must_use = "does nothing until it is passed to `layer`"]
pub struct Compress {
    level: u32,
    min_size: usize,
    streams: Slots,
}

impl Compress {
    /// Creates a layer with level 6, for bodies from 1 KiB, and 256 streams at once.
    pub fn new() -> Compress {
        Compress { level: 6, min_size: 1024, streams: Slots::new(256) }
    }

    /// Sets the level, from 1 (fastest) to 9 (smallest). Default: 6, which takes about 25 milliseconds per megabyte; 1
    /// takes 10.
    ///
    /// # Panics
    /// If it is another number.
    pub fn level(mut self, level: u32) -> Compress {
        assert!((1..=9).contains(&level), "the level must be from 1 to 9");
        self.level = level;
        self
    }

    /// Sets the smallest body that is compressed, in bytes. Default: 1,024, because a response that fits into one
    /// packet gains nothing. A stream of unknown length is always compressed.
    pub fn min_size(mut self, bytes: usize) -> Compress {
        self.min_size = bytes;
        self
    }

    /// Sets how many files and streams are compressed at once. Further files and streams are sent uncompressed.
    /// Default: 256. Each takes about 380 KiB of memory until its client has read it.
    pub fn max_streams(mut self, number: usize) -> Compress {
        self.streams = Slots::new(number);
        self
    }

    /// Compresses a response as this layer would: for handlers that compress some of their responses.
    ///
    /// ```
    /// use modest::layers::Compress;
    /// use modest::{Request, Response};
    ///
    /// let request = Request::get("/").with_header("accept-encoding", "gzip");
    /// let response = Compress::new().compress(&request, Response::text("hello\n".repeat(1000)));
    /// assert_eq!(response.headers()["content-encoding"], "gzip");
    /// ```
    pub fn compress(&self, request: &Request, response: Response) -> Response {
        let replaces_200 = replaces_200(response.status());
        if !may_be_encoded(&response) || !(replaces_200 || self.is_worth_it(request, &response)) {
            return response;
        }
        let mut response = with_vary(response, "Accept-Encoding");
        if replaces_200 {
            return match tag_of_compressed(request, response.status(), response.headers()) {
                Some(weak) => response.with_header("etag", weak),
                None => response,
            };
        }
        if may_join(request) {
            response = response.with_header("accept-ranges", "none");
        }
        // A client that accepts neither gets the uncompressed content, which is more useful than a 406.
        match request.choose_coding(&["gzip"]) {
            // The length that the handler set is not that of the compressed body.
            Ok(Some(_)) if is_bare_head(request, &response) => {
                response.map_body(|_| io::empty()).map_or_else(|same| same, with_weak_tag)
            }
            Ok(Some(_)) if !wants_range(request) || may_join(request) => self.gzip(request, response),
            _ => response,
        }
    }

    fn gzip(&self, request: &Request, response: Response) -> Response {
        if would_be_304(&response, request) {
            return encoded(response); // the body of a HEAD is not sent
        }
        let Some(bytes) = response.body_in_memory() else { return self.gzip_stream(response) };
        let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::new(self.level));
        let compressed = encoder.write_all(bytes).and_then(|()| encoder.finish());
        match compressed {
            Ok(compressed) if compressed.len() < bytes.len() => {
                encoded(response.without_header("content-length").with_body(compressed))
            }
            _ => response,
        }
    }

    fn gzip_stream(&self, response: Response) -> Response {
        match self.streams.take() {
            Some(slot) => {
                response.map_body(|body| GzipReader::new(body, self.level, slot)).map_or_else(|same| same, encoded)
            }
            None => response,
        }
    }

    fn is_worth_it(&self, request: &Request, response: &Response) -> bool {
        let length = match is_bare_head(request, response) {
            true => response.header("content-length").and_then(|length| length.parse().ok()), // that of a GET
            false => response.length(),
        };
        length.is_none_or(|length: u64| length >= self.min_size as u64)
    }
}

default_is_new!(Compress);

impl Layer for Compress {
    fn handle(&self, request: &Request, next: Next<'_>) -> Result<Response> {
        match next.run(request) {
            Ok(response) => Ok(self.compress(request, response)),
            // From `Request::check_preconditions`.
            Err(error) if replaces_200(error.status()) => {
                let names = vary(error.headers(), "Accept-Encoding");
                let weak = tag_of_compressed(request, error.status(), error.headers());
                let error = error.with_header("vary", names);
                Err(match weak {
                    Some(weak) => error.with_header("etag", weak),
                    None => error,
                })
            }
            Err(error) => Err(error),
        }
    }
}

/// Returns whether this is the result of the handler's own `do_head`: the length of a body without the body.
fn is_bare_head(request: &Request, response: &Response) -> bool {
    *request.method() == Method::HEAD
        && response.body_in_memory().is_some_and(<[u8]>::is_empty)
        && response.header("content-length").is_some_and(|length| length != "0")
}

/// Returns the response with the fields of its compressed body, without ranges: the compressed bytes can differ each
/// time.
fn encoded(response: Response) -> Response {
    with_weak_tag(response.with_header("content-encoding", "gzip").with_header("accept-ranges", "none"))
}

fn with_weak_tag(response: Response) -> Response {
    match weak_tag(response.headers()) {
        Some(weak) => response.with_header("etag", weak),
        None => response,
    }
}

#[cfg(test)]
mod tests;
