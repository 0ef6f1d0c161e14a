//! gzip for text, as it is asked for by `Accept-Encoding`.

mod eligible; // what may be compressed
mod gzip; // a body, compressed while it is read

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::vary::with_vary;
use crate::{HeaderValue, Layer, Method, Next, Request, Response, Result};
use eligible::{may_be_encoded, may_join, wants_range, would_be_304};
use gzip::{GzipReader, Permit};

/// Compresses text by gzip for clients that take it (RFC 9110, section 12.5.3): HTML, CSS, JavaScript, JSON, XML, SVG and
/// the like, of 1 KiB and more.
///
/// - A body in memory is compressed whole, if that makes it smaller; a file or a stream as it goes, and each piece as
///   soon as it is read, so that events are not held back.
/// - `Vary: Accept-Encoding` is set wherever another client would get another coding. A strong `ETag` becomes a weak one,
///   as these bytes are not those it stood for: 304 still follows, while `If-Match` does not hold for it, so leave out
///   what clients edit by it.
/// - Left as they are: what has a `Content-Encoding`, a `Content-Range` or a digest, what says `Cache-Control: no-transform`,
///   answers to requests for ranges (the whole, where `If-Range` has a date, which names the compressed bytes as well), what is pushed
///   ([`Response::events`], [`Response::channel`]), and errors that the handler returned as such.
/// - HEAD is answered as GET would be.
///
/// Files of a [`StaticFileHandler`](crate::StaticFileHandler) are better compressed once, into a `.gz` or `.br` beside
/// them, or by [`StaticFileHandler::compress`](crate::StaticFileHandler::compress): those cost no time, and have ranges.
///
/// **BREACH**: where one answer holds a secret (a token against forged requests, say) and also something that another site
/// can choose (a word searched for), the length of the compressed answer tells the other site, request by request, what
/// the secret is. TLS does not help. Leave such answers out by `Cache-Control: no-transform`, or mask the secret anew each
/// time.
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
#[must_use = "does nothing until it is given to `layer`"]
pub struct Compress {
    level: u32,
    min_size: usize,
    max_streams: usize,
    streams: Arc<AtomicUsize>,
}

impl Compress {
    /// At level 6, from 1 KiB on, 256 streams at once.
    pub fn new() -> Compress {
        Compress { level: 6, min_size: 1024, max_streams: 256, streams: Arc::default() }
    }

    /// How hard to try, from 1, fastest, to 9. Default: 6, which takes some 25 milliseconds for a megabyte; 1 takes 10.
    ///
    /// # Panics
    /// If it is another number.
    pub fn level(mut self, level: u32) -> Compress {
        assert!((1..=9).contains(&level), "the level is from 1 to 9");
        self.level = level;
        self
    }

    /// The smallest body that is compressed, in bytes. Default: 1,024: what fits into one packet gains nothing. A stream
    /// of unknown length is compressed however short it is.
    pub fn min_size(mut self, bytes: usize) -> Compress {
        self.min_size = bytes;
        self
    }

    /// How many files and streams are compressed at once; further ones are sent as they are. Default: 256. Each takes
    /// about 350 KB until it has ended, however slowly its client reads.
    pub fn max_streams(mut self, number: usize) -> Compress {
        self.max_streams = number;
        self
    }

    /// An answer as this layer would pass it on: for handlers that compress some of theirs.
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
        if !may_be_encoded(&response) || !self.is_worth_it(request, &response) {
            return response;
        }
        let mut response = with_vary(response, "Accept-Encoding");
        if may_join(request) {
            response = response.with_header("accept-ranges", "none");
        }
        // A client that takes neither gets what there is: that is of more use to it than a 406.
        match request.choose_coding(&["gzip"]) {
            // The length that it may promise is not that of the compressed body.
            Ok(Some(_)) if is_bare_head(request, &response) => {
                response.map_body(|_| io::empty()).map_or_else(|same| same, with_weak_tag)
            }
            Ok(Some(_)) if !wants_range(request) || may_join(request) => self.gzip(request, response),
            _ => response,
        }
    }

    fn gzip(&self, request: &Request, response: Response) -> Response {
        if would_be_304(&response, request) {
            return encoded(response); // its body is not sent
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
        match Permit::take(&self.streams, self.max_streams) {
            Some(permit) => {
                response.map_body(|body| GzipReader::new(body, self.level, permit)).map_or_else(|same| same, encoded)
            }
            None => response,
        }
    }

    fn is_worth_it(&self, request: &Request, response: &Response) -> bool {
        is_bare_head(request, response) || response.length().is_none_or(|length| length >= self.min_size as u64)
    }
}

impl Default for Compress {
    fn default() -> Compress {
        Compress::new()
    }
}

impl Layer for Compress {
    fn handle(&self, request: &Request, next: Next<'_>) -> Result<Response> {
        Ok(self.compress(request, next.run(request)?))
    }
}

/// Whether it is what a `do_head` of its own returns: fields without a body.
fn is_bare_head(request: &Request, response: &Response) -> bool {
    *request.method() == Method::HEAD && response.body_in_memory().is_some_and(<[u8]>::is_empty)
}

/// The response with what its compressed body makes of its fields. Ranges would be parts of other bytes each time.
fn encoded(response: Response) -> Response {
    with_weak_tag(response.with_header("content-encoding", "gzip").with_header("accept-ranges", "none"))
}

fn with_weak_tag(response: Response) -> Response {
    let tag = response.headers().get("etag").map(|tag| tag.as_bytes()).filter(|tag| tag.starts_with(b"\""));
    match tag.map(|strong| HeaderValue::from_bytes(&[b"W/", strong].concat())) {
        Some(Ok(weak)) => response.with_header("etag", weak),
        _ => response,
    }
}

#[cfg(test)]
mod tests;
