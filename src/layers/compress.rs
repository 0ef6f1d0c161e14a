//! gzip for text, as it is asked for by `Accept-Encoding`.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::vary::with_vary;
use crate::{ETag, HeaderValue, Layer, Method, Next, Request, Response, Result, StatusCode, Validators};

/// So much of a stream is read at once.
const READ: usize = 16 * 1024;

/// Compresses text by gzip for clients that take it (RFC 9110, section 12.5.3): HTML, CSS, JavaScript, JSON, XML, SVG and
/// the like, of 1 KiB and more.
///
/// - A body in memory is compressed whole, if that makes it smaller; a file or a stream as it goes, and each piece as
///   soon as it is read, so that events are not held back.
/// - `Vary: Accept-Encoding` is set wherever another client would get another coding. A strong `ETag` becomes a weak one,
///   as these bytes are not those it stood for: 304 still follows, while `If-Match` does not hold for it, so leave out
///   what clients edit by it.
/// - Left as they are: what has a `Content-Encoding`, a `Content-Range` or a digest, what says `Cache-Control: no-transform`,
///   answers to requests for ranges, what is pushed
///   ([`Response::events`], [`Response::channel`]), and errors that the handler returned as such.
/// - HEAD is answered as GET would be.
///
/// Files of a [`StaticFileHandler`](crate::StaticFileHandler) are better compressed once, into a `.gz` or `.br` beside
/// them: those cost no time, and have ranges.
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

    fn compress(&self, response: Response, request: &Request) -> Response {
        if would_be_304(&response, request) {
            return encoded(response); // its body is not sent
        }
        let Some(bytes) = response.body_in_memory() else { return self.compress_stream(response) };
        let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::new(self.level));
        let compressed = encoder.write_all(bytes).and_then(|()| encoder.finish());
        match compressed {
            Ok(compressed) if compressed.len() < bytes.len() => {
                encoded(response.without_header("content-length").with_body(compressed))
            }
            _ => response,
        }
    }

    fn compress_stream(&self, response: Response) -> Response {
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
        let response = next.run(request)?;
        if !may_be_encoded(&response) || !self.is_worth_it(request, &response) {
            return Ok(response);
        }
        let response = with_vary(response, "Accept-Encoding");
        // A client that takes neither gets what there is: that is of more use to it than a 406.
        match request.choose_coding(&["gzip"]) {
            // The length that it may promise is not that of the compressed body.
            Ok(Some(_)) if is_bare_head(request, &response) => {
                Ok(response.map_body(|_| io::empty()).map_or_else(|same| same, with_weak_tag))
            }
            Ok(Some(_)) if !wants_range(request) => Ok(self.compress(response, request)),
            _ => Ok(response),
        }
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

fn may_be_encoded(response: &Response) -> bool {
    let fields = response.headers();
    let has_body = !matches!(
        response.status(),
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED
    );
    // What is said of these very bytes: their coding, their place, their digest.
    let said_of_bytes = ["content-encoding", "content-range", "content-digest", "repr-digest", "digest", "content-md5"];
    let is_fixed = said_of_bytes.iter().any(|name| fields.contains_key(*name));
    let no_transform = fields.get_all("cache-control").iter().any(|line| {
        line.as_bytes().split(|&byte| byte == b',').any(|word| word.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
    });
    let media_type = fields.get("content-type").and_then(|value| value.to_str().ok());
    has_body && !is_fixed && !no_transform && media_type.is_some_and(is_text)
}

/// Whether content of this media type is text, or as compressible.
fn is_text(media_type: &str) -> bool {
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type.starts_with("text/")
        || ["+json", "+xml", "+text", "+yaml"].iter().any(|suffix| media_type.ends_with(suffix))
        || matches!(
            media_type.as_str(),
            "application/json"
                | "application/x-ndjson"
                | "application/javascript"
                | "application/x-javascript"
                | "application/xml"
                | "application/xml-dtd"
                | "application/yaml"
                | "application/toml"
                | "application/sql"
                | "application/rtf"
                | "application/graphql"
                | "application/wasm"
                | "image/bmp"
                | "image/x-icon"
                | "image/vnd.microsoft.icon"
                | "font/ttf"
                | "font/otf"
        )
}

/// A part is taken of the bytes as they are. One that goes on with what the client has by a date, or by a weak tag, may go
/// on with other bytes: then it gets the whole, for it is compressed and has no ranges.
fn wants_range(request: &Request) -> bool {
    let is_asked = request.header_all("range").next().is_some();
    is_asked && request.header_all("if-range").all(|condition| condition.starts_with(b"\""))
}

/// Whether the response will become a 304: then nothing is compressed for it.
fn would_be_304(response: &Response, request: &Request) -> bool {
    let Some(tag) = response.headers().get("etag").and_then(|tag| tag.to_str().ok()) else { return false };
    if response.status() != StatusCode::OK || !matches!(*request.method(), Method::GET | Method::HEAD) {
        return false;
    }
    // With the tag that it is sent with, which is weak.
    let opaque = tag.strip_prefix("W/").unwrap_or(tag).strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    let Some(Ok(etag)) = opaque.map(ETag::weak) else { return false };
    let current = Validators { etag: Some(etag), last_modified: None };
    request.check_preconditions(Some(&current)).is_err_and(|error| error.status() == StatusCode::NOT_MODIFIED)
}

/// One of so many streams at once.
struct Permit(Arc<AtomicUsize>);

impl Permit {
    fn take(taken: &Arc<AtomicUsize>, most: usize) -> Option<Permit> {
        let one_more = |taken: usize| (taken < most).then_some(taken + 1);
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Permit(Arc::clone(taken)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body, compressed while it is read. What each read of it gives is passed on whole.
struct GzipReader {
    body: Box<dyn Read + Send>,
    level: u32,
    buffer: Vec<u8>,
    /// Made at the first read, as HEAD has none; gone at the end.
    encoder: Option<GzEncoder<Vec<u8>>>,
    has_ended: bool,
    /// Compressed, and not yet passed on.
    ready: Vec<u8>,
    passed_on: usize,
    _permit: Permit,
}

impl GzipReader {
    fn new(body: Box<dyn Read + Send>, level: u32, permit: Permit) -> GzipReader {
        GzipReader {
            body,
            level,
            buffer: Vec::new(),
            encoder: None,
            has_ended: false,
            ready: Vec::new(),
            passed_on: 0,
            _permit: permit,
        }
    }

    /// Read the body once.
    fn refill(&mut self) -> io::Result<()> {
        self.buffer.resize(READ, 0);
        let count = self.body.read(&mut self.buffer)?;
        let (ready, level) = (&mut self.ready, Compression::new(self.level));
        ready.clear();
        self.passed_on = 0;
        let encoder = self.encoder.get_or_insert_with(|| GzEncoder::new(Vec::new(), level));
        if count == 0 {
            self.has_ended = true;
            *ready = self.encoder.take().map_or(Ok(Vec::new()), GzEncoder::finish)?;
            return Ok(());
        }
        let bytes =
            self.buffer.get(..count).ok_or_else(|| io::Error::other("a body claims more than it could read"))?;
        encoder.write_all(bytes)?;
        encoder.flush()?;
        std::mem::swap(ready, encoder.get_mut());
        Ok(())
    }
}

impl Read for GzipReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.passed_on == self.ready.len() && !self.has_ended {
            self.refill()?;
        }
        let count = (&self.ready[self.passed_on..]).read(buffer)?;
        self.passed_on += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Http, RequestHandler, Routes, SentResponse, testing};
    use flate2::read::GzDecoder;
    use std::fs::File;
    use std::sync::mpsc;

    const TEXT: &str = "All work and no play makes Jack a dull boy.\n";

    fn long() -> String {
        TEXT.repeat(100)
    }

    fn file() -> Response {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(long().as_bytes()).unwrap();
        Response::open_file(Arc::<File>::new(file), 4400).with_content_type("text/css")
    }

    /// Bytes that no coding makes shorter.
    fn noise() -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        };
        std::iter::repeat_with(&mut next).take(4400).collect()
    }

    struct OwnHead;

    impl RequestHandler for OwnHead {
        fn do_get(&self, _: &Request) -> Result<Response> {
            Ok(Response::text(long()).with_etag(ETag::strong("a")?))
        }
        fn do_head(&self, _: &Request) -> Result<Response> {
            Ok(Response::text("").with_header("content-length", 4400).with_etag(ETag::strong("a")?))
        }
    }

    fn app(layer: Compress) -> Http<impl RequestHandler> {
        let routes = Routes::new()
            .get("/text", |_, _| Ok(Response::text(long())))
            .get("/tagged", |_, _| Ok(Response::text(long()).with_etag(ETag::strong("a")?)))
            .get("/dated", |_, request| Ok(Response::text(long()).with_last_modified(request.now())))
            .get("/json", |_, _| {
                Ok(Response::bytes(long()).with_content_type("application/problem+JSON; charset=utf-8"))
            })
            .get("/length", |_, _| Ok(Response::text(long()).with_header("content-length", 4400)))
            .get("/file", |_, _| Ok(file()))
            .get("/stream", |_, _| Ok(Response::stream(io::Cursor::new(long())).with_content_type("text/plain")))
            .get("/sized", |_, _| {
                Ok(Response::sized_stream(io::Cursor::new(long()), 4400).with_content_type("text/plain"))
            })
            .get("/pushed", |_, _| {
                let (sender, response) = Response::channel();
                sender.send(long())?;
                Ok(response.with_content_type("text/plain"))
            })
            .get("/shared", |_, _| Ok(Response::shared(Arc::new(long())).with_content_type("text/html")))
            .get("/made", |_, _| Ok(Response::text(long()).with_status(201)))
            .get("/page", |_, _| Ok(Response::text(long()).with_status(404)))
            .get("/short", |_, _| Ok(Response::text(TEXT)))
            .get("/noise", |_, _| Ok(Response::bytes(noise()).with_content_type("text/plain")))
            .get("/bytes", |_, _| Ok(Response::bytes(long())))
            .get("/image", |_, _| Ok(Response::bytes(long()).with_content_type("image/png")))
            .get("/coded", |_, _| Ok(Response::text(long()).with_header("content-encoding", "br")))
            .get("/digest", |_, _| Ok(Response::text(long()).with_header("repr-digest", "sha-256=:AAAA:")))
            .get("/accent", |_, _| Ok(Response::text(long()).with_etag(ETag::strong("é")?)))
            .get("/fixed", |_, _| Ok(Response::text(long()).with_header("cache-control", "private, No-Transform")))
            .get("/part", |_, _| {
                Ok(Response::text(long()).with_status(206).with_header("content-range", "bytes 0-4399/9000"))
            })
            .mount("/own", OwnHead);
        Http::new(routes.serve(()).layer(layer))
    }

    fn ask(target: &str, fields: &[(&str, &str)]) -> SentResponse {
        let request =
            fields.iter().fold(Request::get(target), |request, (name, value)| request.with_header(name, value));
        app(Compress::new()).respond(&request)
    }

    fn unzip(bytes: &[u8]) -> Vec<u8> {
        let mut content = Vec::new();
        GzDecoder::new(bytes).read_to_end(&mut content).unwrap();
        content
    }

    const GZIP: (&str, &str) = ("accept-encoding", "gzip");

    #[test]
    fn what_is_compressed() {
        for (target, is_compressed, varies) in [
            ("/text", true, true),
            ("/tagged", true, true),
            ("/dated", true, true),
            ("/json", true, true),
            ("/length", true, true),
            ("/file", true, true),
            ("/stream", true, true),
            ("/sized", true, true),
            ("/shared", true, true),
            ("/made", true, true),
            ("/page", true, true),
            ("/noise", false, true),
            ("/pushed", false, true),
            ("/short", false, false),
            ("/bytes", false, false),
            ("/image", false, false),
            ("/coded", false, false),
            ("/fixed", false, false),
            ("/digest", false, false),
            ("/part", false, false),
        ] {
            let plain = ask(target, &[]);
            let sent = ask(target, &[GZIP]);
            assert_eq!(sent.status(), plain.status(), "{target}");
            let coding = sent.header("content-encoding").filter(|coding| *coding == "gzip");
            assert_eq!(coding.is_some(), is_compressed, "{target}");
            for sent in [&plain, &sent] {
                assert_eq!(sent.header("vary"), varies.then_some("Accept-Encoding"), "{target}");
            }
            let body = if is_compressed { unzip(sent.body()) } else { sent.body().to_vec() };
            assert_eq!(body, plain.body(), "{target}");
            assert!(!is_compressed || sent.body().len() < 300, "{target}: {}", sent.body().len());
            assert_eq!(plain.header("content-encoding"), (target == "/coded").then_some("br"), "{target}");
        }
    }

    #[test]
    fn who_gets_it() {
        for (field, is_compressed) in [
            ("gzip", true),
            ("x-gzip", true),
            ("br, gzip;q=0.1", true),
            ("*", true),
            ("gzip;q=0", false),
            ("br", false),
            ("", false),
            ("identity, gzip;q=0.5", false),
            ("identity;q=0, gzip;q=0", false), // neither: what there is
        ] {
            let sent = ask("/text", &[("accept-encoding", field)]);
            assert_eq!(sent.header("content-encoding").is_some(), is_compressed, "{field:?}");
            assert_eq!(sent.status(), 200, "{field:?}");
        }
    }

    #[test]
    fn validators_and_ranges() {
        for (target, fields, status, coding, tag) in [
            ("/tagged", &[][..], 200, None, Some("\"a\"")),
            ("/tagged", &[GZIP], 200, Some("gzip"), Some("W/\"a\"")),
            ("/tagged", &[GZIP, ("if-none-match", "W/\"a\"")], 304, None, Some("W/\"a\"")),
            ("/tagged", &[GZIP, ("if-none-match", "\"a\"")], 304, None, Some("W/\"a\"")),
            ("/tagged", &[GZIP, ("if-none-match", "\"b\"")], 200, Some("gzip"), Some("W/\"a\"")),
            ("/tagged", &[("if-none-match", "W/\"a\"")], 304, None, Some("\"a\"")),
            ("/tagged", &[GZIP, ("range", "bytes=0-2")], 206, None, Some("\"a\"")),
            ("/tagged", &[GZIP, ("range", "bytes=9999-")], 416, None, None),
            ("/tagged", &[GZIP, ("range", "bytes=0-2"), ("if-range", "\"a\"")], 206, None, Some("\"a\"")),
            ("/tagged", &[GZIP, ("range", "bytes=0-2"), ("if-range", "\"b\"")], 200, None, Some("\"a\"")),
            ("/tagged", &[GZIP, ("range", "bytes=0-2"), ("if-range", "W/\"a\"")], 200, Some("gzip"), Some("W/\"a\"")),
            (
                "/dated",
                &[GZIP, ("range", "bytes=0-2"), ("if-range", "Thu, 16 Jun 2022 06:34:59 GMT")],
                200,
                Some("gzip"),
                None,
            ),
        ] {
            let sent = ask(target, fields);
            let found = (sent.status().as_u16(), sent.header("content-encoding"), sent.header("etag"));
            assert_eq!(found, (status, coding, tag), "{target} {fields:?}");
            let ranges = sent.header("accept-ranges");
            assert!(coding.is_none() || ranges == Some("none"), "{target} {fields:?}: {ranges:?}");
        }
    }

    #[test]
    fn a_tag_that_is_not_ascii() {
        let sent = ask("/accent", &[GZIP]);
        assert_eq!((sent.header("content-encoding"), sent.header("etag")), (Some("gzip"), Some("W/\"é\"")));
    }

    #[test]
    fn head_as_get() {
        for (target, has_length) in
            [("/text", true), ("/tagged", true), ("/short", true), ("/stream", false), ("/image", true)]
        {
            let get = ask(target, &[GZIP]);
            let head = Request::new(Method::HEAD, target).unwrap().with_header(GZIP.0, GZIP.1);
            let head = app(Compress::new()).respond(&head);
            for name in ["content-length", "content-encoding", "vary", "etag", "accept-ranges", "transfer-encoding"] {
                assert_eq!(head.header(name), get.header(name), "{target} {name}");
            }
            assert_eq!((head.header("content-length").is_some(), head.body()), (has_length, &b""[..]), "{target}");
        }
        // Nothing that GET would not say.
        let head = Request::new(Method::HEAD, "/own").unwrap().with_header(GZIP.0, GZIP.1);
        let head = app(Compress::new()).respond(&head);
        assert_eq!((head.header("content-length"), head.header("etag")), (None, Some("W/\"a\"")));
        let plain = app(Compress::new()).respond(&Request::new(Method::HEAD, "/own").unwrap());
        assert_eq!((plain.header("content-length"), plain.header("etag")), (Some("4400"), Some("\"a\"")));
    }

    #[test]
    fn so_many_streams() {
        let http = app(Compress::new().max_streams(0));
        for (target, is_compressed) in [("/stream", false), ("/file", false), ("/text", true)] {
            let sent = http.respond(&Request::get(target).with_header(GZIP.0, GZIP.1));
            assert_eq!(sent.header("content-encoding").is_some(), is_compressed, "{target}");
        }
        let layer = Compress::new().max_streams(1);
        let http = app(layer.clone());
        for _ in 0..3 {
            let sent = http.respond(&Request::get("/stream").with_header(GZIP.0, GZIP.1));
            assert_eq!(sent.header("content-encoding"), Some("gzip")); // the one before has ended
        }
        assert_eq!(layer.streams.load(Ordering::Relaxed), 0);
    }

    /// With a tag of the content, on both sides.
    #[cfg(feature = "etags")]
    #[test]
    fn around_etags() {
        let app =
            crate::handler_fn(|_| Ok(Response::text(long()))).layer(crate::layers::ETags::new()).layer(Compress::new());
        let http = Http::new(app);
        let sent = http.respond(&Request::get("/").with_header(GZIP.0, GZIP.1));
        let tag = sent.header("etag").unwrap();
        assert!(tag.starts_with("W/\""), "{tag}");
        for fields in [&[GZIP][..], &[]] {
            let request =
                fields.iter().fold(Request::get("/"), |request, (name, value)| request.with_header(name, value));
            assert_eq!(http.respond(&request.with_header("if-none-match", tag)).status(), 304, "{fields:?}");
        }
    }

    /// Each event can be read before the next one is made.
    #[test]
    fn events_are_not_held_back() {
        struct Events(mpsc::Receiver<Vec<u8>>);
        impl Read for Events {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let Ok(event) = self.0.recv() else { return Ok(0) };
                buffer[..event.len()].copy_from_slice(&event);
                Ok(event.len())
            }
        }
        let (make, events) = mpsc::channel();
        let permit = Permit::take(&Arc::default(), 1).unwrap();
        let mut reader = Some(GzipReader::new(Box::new(Events(events)), 6, permit));
        let mut decoder = None;
        for number in 0..100 {
            let event = format!("data: {number}\n\n");
            make.send(event.clone().into_bytes()).unwrap();
            let mut found = vec![0; event.len()];
            // It reads the head of the coding when it is made.
            let decoder = decoder.get_or_insert_with(|| GzDecoder::new(reader.take().unwrap()));
            decoder.read_exact(&mut found).unwrap();
            assert_eq!(found, event.as_bytes());
        }
        drop(make);
        assert_eq!(decoder.unwrap().read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn a_body_that_breaks_off() {
        let server = testing::serve(
            crate::handler_fn(|request| match request.path() {
                "/short" => Ok(Response::sized_stream(io::Cursor::new(long()), 9000).with_content_type("text/plain")),
                _ => Ok(Response::stream(io::Cursor::new(long().repeat(100))).with_content_type("text/plain")),
            })
            .layer(Compress::new()),
        );
        let request = |target| testing::TestRequest::new(Method::GET, target).with_header(GZIP.0, GZIP.1);
        let whole = server.send(request("/"));
        assert_eq!(unzip(whole.body()), long().repeat(100).as_bytes());
        let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.send(request("/short"))));
        assert!(broken.is_err(), "a body that is cut short must not look whole");
    }

    #[test]
    fn media_types() {
        for (media_type, is) in [
            ("text/html; charset=utf-8", true),
            ("TEXT/HTML", true),
            ("text/event-stream", true),
            ("application/json", true),
            ("application/ld+json ;x=y", true),
            ("image/svg+xml", true),
            ("application/octet-stream", false),
            ("application/zip", false),
            ("image/png", false),
            ("video/mp4", false),
            ("font/woff2", false),
            ("", false),
        ] {
            assert_eq!(is_text(media_type), is, "{media_type:?}");
        }
    }
}
