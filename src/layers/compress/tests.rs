//! Tests which responses `Compress` compresses for which clients, and the effect on other fields.

use std::fs::File;
use std::io::Read;
use std::sync::{Arc, mpsc};

use flate2::read::GzDecoder;

use super::*;
use crate::{ETag, Error, Http, RequestHandler, Routes, SentResponse, Validators, is_compressible, testing};

const TEXT: &str = "All work and no play makes Jack a dull boy.\n";

fn long() -> String {
    TEXT.repeat(100)
}

fn file() -> Response {
    let mut file = tempfile::NamedTempFile::new().unwrap().into_file();
    file.write_all(long().as_bytes()).unwrap();
    Response::open_file(Arc::<File>::new(file), 4400).with_content_type("text/css")
}

/// Returns bytes that no coding can shorten.
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
        .get("/old", |_, _| Ok(Response::text(long()).with_last_modified(std::time::UNIX_EPOCH)))
        .get("/json", |_, _| Ok(Response::bytes(long()).with_content_type("application/problem+JSON; charset=utf-8")))
        .get("/length", |_, _| Ok(Response::text(long()).with_header("content-length", 4400)))
        .get("/file", |_, _| Ok(file()))
        .get("/stream", |_, _| Ok(Response::stream(io::Cursor::new(long())).with_content_type("text/plain")))
        .get("/sized", |_, _| Ok(Response::sized_stream(io::Cursor::new(long()), 4400).with_content_type("text/plain")))
        .get("/pushed", |_, _| {
            let (sender, response) = Response::channel();
            sender.send(long())?;
            Ok(response.with_content_type("text/plain"))
        })
        .get("/shared", |_, _| Ok(Response::shared(Arc::new(long())).with_content_type("text/html")))
        .get("/made", |_, _| Ok(Response::text(long()).with_status(201)))
        .get("/page", |_, _| Ok(Response::text(long()).with_status(404)))
        .get("/empty", |_, _| Ok(Response::text("")))
        .get("/short", |_, _| Ok(Response::text(TEXT).with_last_modified(std::time::UNIX_EPOCH)))
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
        .get("/same", |_, request| {
            request.check_preconditions(Some(&Validators::new().with_etag(ETag::strong("a")?)))?;
            Ok(Response::text(long()))
        })
        .get("/unchanged", |_, _| Ok(Response::new(304)))
        .get("/unchanged-tag", |_, _| Ok(Response::new(304).with_etag(ETag::strong("a")?)))
        .get("/unchanged-error", |_, _| Err(Error::new(304, "").with_header("vary", "Accept-Encoding")))
        .get("/unchanged-image", |_, _| Ok(Response::new(304).with_content_type("image/png")))
        .get("/unchanged-fixed", |_, _| Ok(Response::new(304).with_header("cache-control", "no-transform")))
        .mount("/own", OwnHead);
    Http::new(routes.with_state(()).layer(layer))
}

fn ask(target: &str, fields: &[(&str, &str)]) -> SentResponse {
    let request = fields.iter().fold(Request::get(target), |request, (name, value)| request.with_header(name, value));
    app(Compress::new()).respond(&request)
}

fn unzip(bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut content).unwrap();
    content
}

const GZIP: (&str, &str) = ("accept-encoding", "gzip");

#[test]
fn suitable_responses_are_compressed() {
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
        ("/part", false, true),
        ("/pushed", false, false),
        ("/short", false, false),
        ("/bytes", false, false),
        ("/image", false, false),
        ("/coded", false, false),
        ("/fixed", false, false),
        ("/digest", false, false),
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

/// RFC 9110, section 15.4.5: a 304 has the `Vary` of the 200.
#[test]
fn a_304_of_the_handler_varies() {
    for (target, varies) in [
        ("/same", true),
        ("/tagged", true),
        ("/unchanged", true),
        ("/unchanged-error", true),
        ("/unchanged-image", false),
        ("/unchanged-fixed", false),
    ] {
        for fields in [&[("if-none-match", "\"a\"")][..], &[("if-none-match", "\"a\""), GZIP]] {
            let sent = ask(target, fields);
            let found = (sent.status().as_u16(), sent.header("vary"), sent.header("content-encoding"));
            assert_eq!(found, (304, varies.then_some("Accept-Encoding"), None), "{target} {fields:?}");
            assert_eq!(sent.headers().get_all("vary").iter().count(), usize::from(varies), "{target} {fields:?}");
        }
    }
}

#[test]
fn accept_encoding_selects_gzip() {
    for (field, is_compressed) in [
        ("gzip", true),
        ("x-gzip", true),
        ("br, gzip;q=0.1", true),
        ("*", true),
        ("gzip;q=0", false),
        ("br", false),
        ("", false),
        ("identity, gzip;q=0.5", false),
        ("identity;q=0, gzip;q=0", false), // neither is allowed: the response stays unchanged
    ] {
        let sent = ask("/text", &[("accept-encoding", field)]);
        assert_eq!(sent.header("content-encoding").is_some(), is_compressed, "{field:?}");
        assert_eq!(sent.status(), 200, "{field:?}");
    }
}

const EPOCH: &str = "Thu, 01 Jan 1970 00:00:00 GMT";

#[test]
fn validators_and_ranges() {
    for (target, fields, status, coding, tag) in [
        ("/tagged", &[][..], 200, None, Some("\"a\"")),
        ("/tagged", &[GZIP], 200, Some("gzip"), Some("W/\"a\"")),
        ("/tagged", &[GZIP, ("if-none-match", "W/\"a\"")], 304, None, Some("W/\"a\"")),
        ("/tagged", &[GZIP, ("if-none-match", "\"a\"")], 304, None, Some("W/\"a\"")),
        ("/tagged", &[GZIP, ("if-none-match", "\"b\"")], 200, Some("gzip"), Some("W/\"a\"")),
        ("/tagged", &[("if-none-match", "W/\"a\"")], 304, None, Some("\"a\"")),
        ("/same", &[GZIP, ("if-none-match", "W/\"a\"")], 304, None, Some("W/\"a\"")),
        ("/same", &[GZIP, ("if-none-match", "\"b\",W/\"a\"")], 304, None, Some("W/\"a\"")),
        ("/same", &[GZIP, ("if-none-match", "\"a\"")], 304, None, Some("\"a\"")),
        ("/same", &[("if-none-match", "W/\"a\"")], 304, None, Some("\"a\"")),
        ("/unchanged-tag", &[GZIP, ("if-none-match", "W/\"a\"")], 304, None, Some("W/\"a\"")),
        ("/unchanged-tag", &[GZIP, ("if-none-match", "*")], 304, None, Some("\"a\"")),
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
        ("/old", &[GZIP, ("range", "bytes=0-2"), ("if-range", EPOCH)], 200, Some("gzip"), None),
        // the client may have a part of the compressed body
        ("/old", &[("range", "bytes=0-2"), ("if-range", EPOCH)], 200, None, None),
        ("/old", &[("range", "bytes=0-2")], 206, None, None),
        ("/short", &[("range", "bytes=0-2"), ("if-range", EPOCH)], 206, None, None), // never compressed
    ] {
        let sent = ask(target, fields);
        let found = (sent.status().as_u16(), sent.header("content-encoding"), sent.header("etag"));
        assert_eq!(found, (status, coding, tag), "{target} {fields:?}");
        let ranges = sent.header("accept-ranges");
        assert!(coding.is_none() || ranges == Some("none"), "{target} {fields:?}: {ranges:?}");
    }
}

#[test]
fn a_non_ascii_etag_is_weakened() {
    let sent = ask("/accent", &[GZIP]);
    assert_eq!((sent.header("content-encoding"), sent.header("etag")), (Some("gzip"), Some("W/\"é\"")));
}

#[test]
fn head_as_get() {
    for (target, has_length) in
        [("/text", true), ("/tagged", true), ("/short", true), ("/empty", true), ("/stream", false), ("/image", true)]
    {
        let get = ask(target, &[GZIP]);
        let head = Request::new(Method::HEAD, target).unwrap().with_header(GZIP.0, GZIP.1);
        let head = app(Compress::new()).respond(&head);
        for name in ["content-length", "content-encoding", "vary", "etag", "accept-ranges", "transfer-encoding"] {
            assert_eq!(head.header(name), get.header(name), "{target} {name}");
        }
        assert_eq!((head.header("content-length").is_some(), head.body()), (has_length, &b""[..]), "{target}");
    }
    // HEAD has no fields that GET would not have.
    let head = Request::new(Method::HEAD, "/own").unwrap().with_header(GZIP.0, GZIP.1);
    let head = app(Compress::new()).respond(&head);
    assert_eq!((head.header("content-length"), head.header("etag")), (None, Some("W/\"a\"")));
    let plain = app(Compress::new()).respond(&Request::new(Method::HEAD, "/own").unwrap());
    assert_eq!((plain.header("content-length"), plain.header("etag")), (Some("4400"), Some("\"a\"")));
}

/// A handler's own `do_head` sets the length of the body that a GET would have.
#[test]
fn head_of_a_short_body_is_not_that_of_a_compressed_one() {
    let head = Request::new(Method::HEAD, "/").unwrap().with_header(GZIP.0, GZIP.1);
    let compress = Compress::new().min_size(1024);
    for (length, is_compressed) in [(10, false), (1023, false), (1024, true)] {
        let own = Response::text("").with_header("content-length", length).with_header("etag", "\"v\"");
        let sent = compress.compress(&head, own);
        let found = (sent.header("vary").is_some(), sent.header("etag") == Some("W/\"v\""));
        assert_eq!(found, (is_compressed, is_compressed), "{length}: {sent:?}");
    }
}

#[test]
fn concurrent_streams_are_limited() {
    let http = app(Compress::new().max_streams(0));
    for (target, is_compressed) in [("/stream", false), ("/file", false), ("/text", true)] {
        let sent = http.respond(&Request::get(target).with_header(GZIP.0, GZIP.1));
        assert_eq!(sent.header("content-encoding").is_some(), is_compressed, "{target}");
    }
    let layer = Compress::new().max_streams(1);
    let http = app(layer.clone());
    for _ in 0..3 {
        let sent = http.respond(&Request::get("/stream").with_header(GZIP.0, GZIP.1));
        assert_eq!(sent.header("content-encoding"), Some("gzip")); // the previous one has ended
    }
    assert!(layer.streams.take().is_some());
}

/// The tag of the content is correct in either order of the two layers.
#[cfg(feature = "etags")]
#[test]
fn compression_works_around_the_etags_layer() {
    let app =
        crate::handler_fn(|_| Ok(Response::text(long()))).layer(crate::layers::ETags::new()).layer(Compress::new());
    let http = Http::new(app);
    let sent = http.respond(&Request::get("/").with_header(GZIP.0, GZIP.1));
    let tag = sent.header("etag").unwrap();
    assert!(tag.starts_with("W/\""), "{tag}");
    for fields in [&[GZIP][..], &[]] {
        let request = fields.iter().fold(Request::get("/"), |request, (name, value)| request.with_header(name, value));
        assert_eq!(http.respond(&request.with_header("if-none-match", tag)).status(), 304, "{fields:?}");
    }
}

/// Each event can be read before the next one is created.
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
    let slot = Slots::new(1).take().unwrap();
    let mut reader = Some(GzipReader::new(Box::new(Events(events)), 6, slot));
    let mut decoder = None;
    for number in 0..100 {
        let event = format!("data: {number}\n\n");
        make.send(event.clone().into_bytes()).unwrap();
        let mut found = vec![0; event.len()];
        // The decoder reads the header when it is created.
        let decoder = decoder.get_or_insert_with(|| GzDecoder::new(reader.take().unwrap()));
        decoder.read_exact(&mut found).unwrap();
        assert_eq!(found, event.as_bytes());
    }
    drop(make);
    assert_eq!(decoder.unwrap().read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn a_truncated_body_does_not_look_complete() {
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
        assert_eq!(is_compressible(media_type), is, "{media_type:?}");
    }
}
