//! Compression on request: the files, the clients, the tags, and the number of compressions.

use std::fs;
use std::io::Read;
use std::time::Duration;

use flate2::read::GzDecoder;
use modest::{Http, Method, Request, RequestHandler, SentResponse, StaticFileHandler};

use super::{Folder, STILL, wait_for_age};

const AGE: Duration = Duration::from_millis(30);

fn text(size: usize) -> String {
    let mut text: String = (0..size / 20).map(|number| format!("line {number} of a text of {size} bytes\n")).collect();
    text.truncate(size);
    assert_eq!(text.len(), size);
    text
}

fn http(handler: StaticFileHandler) -> Http<StaticFileHandler> {
    Http::new(handler).access_log(None)
}

fn ask(http: &Http<StaticFileHandler>, target: &str, fields: &[(&str, &str)]) -> SentResponse {
    let request = Request::get(target).with_header("accept-encoding", "br, gzip");
    http.respond(&fields.iter().fold(request, |request, (name, value)| request.with_header(name, value)))
}

fn gunzip(bytes: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn suitable_files_are_compressed_for_clients_that_accept_gzip() {
    let folder = Folder::new(&[]);
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from_u32(0x4e00 + (state >> 33) as u32 % 20_000).unwrap()
    };
    for (name, content) in [
        ("small.txt", text(1023)),
        ("text.txt", text(1024)),
        ("memory.css", text(65_536)),
        ("disk.js", text(65_537)),
        ("open.svg", text(1 << 20)),
        ("each.html", text(2 << 20)),
        ("large.txt", text((4 << 20) + 1)),
        ("picture.png", text(10_000)),
        ("no.transform", text(10_000)),
        ("unknown", text(10_000)),
        ("random.txt", (0..10_000).map(|_| noise()).collect()),
        ("sided.txt", text(10_000)),
        ("text.txt.br", "another".into()),
    ] {
        folder.write(name, content);
    }
    folder.write_coded("sided.txt.gz", "a sidecar");
    wait_for_age(folder.as_ref(), STILL);
    let handler = folder.handler().compress(true).cache_control("no.transform", "max-age=5, no-transform").unwrap();
    let http = http(handler);
    for (name, coding, varies) in [
        ("small.txt", None, false),
        ("text.txt", Some("br"), true), // a sidecar is preferred
        ("memory.css", Some("gzip"), true),
        ("disk.js", Some("gzip"), true),
        ("open.svg", Some("gzip"), true),
        ("each.html", Some("gzip"), true),
        ("large.txt", None, false),
        ("picture.png", None, false),
        ("no.transform", None, false),
        ("unknown", Some("gzip"), true),    // recognized by its content
        ("random.txt", Some("gzip"), true), // three bytes each, two of them random
        ("sided.txt", Some("gzip"), true),
    ] {
        for round in 0..3 {
            let target = format!("/{name}");
            let sent = ask(&http, &target, &[]);
            assert_eq!(sent.header("content-encoding"), coding, "{name}, {round}");
            assert_eq!(sent.header("vary").is_some(), varies, "{name}");
            let plain = http.respond(&Request::get(&target));
            assert_eq!(plain.header("content-encoding"), None, "{name}");
            assert_eq!(plain.header("vary"), sent.header("vary"), "{name}");
            assert_eq!(plain.header("etag") == sent.header("etag"), coding.is_none(), "{name}");
            assert_eq!(plain.header("content-type"), sent.header("content-type"), "{name}");
            assert_eq!(plain.body(), fs::read(folder.path(name)).unwrap(), "{name}");
            match (name, coding) {
                ("sided.txt", _) => assert_eq!(sent.body(), fs::read(folder.path("sided.txt.gz")).unwrap()),
                (_, Some("gzip")) => {
                    assert_eq!(gunzip(sent.body()).as_bytes(), plain.body(), "{name}, {round}");
                    assert!(sent.body().len() < plain.body().len());
                }
                _ => {}
            }
        }
    }
    let gzip_only = Request::get("/text.txt").with_header("accept-encoding", "gzip");
    assert_eq!(gunzip(http.respond(&gzip_only).body()), text(1024), "a client that accepts only gzip");
    let off = self::http(folder.handler());
    assert_eq!(ask(&off, "/disk.js", &[]).header("content-encoding"), None, "compression is off by default");
    assert_eq!(ask(&off, "/disk.js", &[]).header("vary"), None);
}

/// A file that hardly becomes smaller is sent uncompressed, with its usual tag.
#[test]
fn incompressible_files_are_sent_unchanged() {
    let folder = Folder::new(&[]);
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8 | 0x80 // no control characters, so that it looks like text
    };
    folder.write("a.txt", (0..5000).map(|_| noise()).collect::<Vec<u8>>());
    wait_for_age(folder.as_ref(), AGE);
    let http = http(folder.handler().compress(true));
    for _ in 0..3 {
        let (sent, plain) = (ask(&http, "/a.txt", &[]), http.respond(&Request::get("/a.txt")));
        assert!(sent.body() == plain.body() || sent.body().len() < 4700, "{} bytes", sent.body().len());
    }
}

/// Tag, ranges, conditions and HEAD all belong to the compressed bytes.
#[test]
fn compressed_responses_agree_on_tag_ranges_and_head() {
    let folder = Folder::new(&[("memory.txt", &text(20_000)), ("disk.txt", &text(300_000))]);
    wait_for_age(folder.as_ref(), Duration::from_millis(2100)); // old enough to have a date
    let http = http(folder.handler().compress(true));
    for target in ["/memory.txt", "/disk.txt"] {
        let whole = ask(&http, target, &[]);
        let tag = whole.header("etag").unwrap();
        assert!(tag.starts_with('"') && tag.ends_with("-gzip\""), "{tag}");
        assert_eq!(whole.header("accept-ranges"), Some("bytes"), "{target}");
        let date = http.respond(&Request::get(target)).header("last-modified").unwrap().to_owned();
        assert_eq!(whole.header("last-modified"), None, "{target}: a date would also identify the uncompressed bytes");
        let joined = ask(&http, target, &[("range", "bytes=100-199"), ("if-range", &date)]);
        assert_eq!(
            joined.status(),
            200,
            "{target}: a range of the compressed bytes must not be joined with the uncompressed file"
        );
        let part = ask(&http, target, &[("range", "bytes=100-199"), ("if-range", tag)]);
        assert_eq!((part.status().as_u16(), part.body()), (206, &whole.body()[100..200]), "{target}");
        assert_eq!((part.header("etag"), part.header("content-encoding")), (Some(tag), Some("gzip")));
        assert_eq!(part.header("content-range").unwrap(), format!("bytes 100-199/{}", whole.body().len()));
        for (name, value, status) in [
            ("if-none-match", tag, 304),
            ("if-modified-since", &date, 200),
            ("if-match", tag, 200),
            ("if-match", "\"x\"", 412),
            ("if-none-match", "\"x\"", 200),
        ] {
            let sent = ask(&http, target, &[(name, value)]);
            assert_eq!(sent.status(), status, "{target}, {name}: {value}");
            assert_eq!(sent.header("vary"), Some("Accept-Encoding"), "{target}, {name}");
        }
        let plain = http.respond(&Request::get(target).with_header("if-none-match", tag));
        assert_eq!(plain.status(), 200, "the tag of the compressed file must not match the uncompressed one");
        let head = Request::new(Method::HEAD, target).unwrap().with_header("accept-encoding", "gzip");
        let head = http.respond(&head);
        for name in ["content-length", "etag", "content-encoding", "vary", "content-type"] {
            assert_eq!(head.header(name), whole.header(name), "{target}, {name} of HEAD");
        }
        assert!(head.body().is_empty());
    }
}

#[test]
fn an_edit_shows_at_once() {
    let folder = Folder::new(&[]);
    for size in [2_000, 100_000, 1_500_000] {
        folder.write("a.txt", text(size));
        wait_for_age(folder.as_ref(), AGE);
        let http = http(folder.handler().compress(true));
        let before = ask(&http, "/a.txt", &[]);
        assert_eq!(gunzip(before.body()), text(size));
        let edited = text(size).replace("text", "edit");
        folder.write("a.txt", &edited);
        let after = ask(&http, "/a.txt", &[]);
        let found = match after.header("content-encoding") {
            Some(_) => gunzip(after.body()),
            None => String::from_utf8(after.body().to_vec()).unwrap(), // too new to be compressed
        };
        assert!(found == edited, "{size}");
        wait_for_age(folder.as_ref(), AGE);
        assert!(gunzip(ask(&http, "/a.txt", &[]).body()) == edited, "{size}");
    }
}

#[test]
fn compression_respects_its_limits() {
    let folder = Folder::new(&[("a.txt", &text(20_000)), ("b.txt", &text(30_000))]);
    wait_for_age(folder.as_ref(), AGE);
    let coding = |handler: StaticFileHandler, target: &str| {
        ask(&http(handler), target, &[]).header("content-encoding").map(str::to_owned)
    };
    let handler = || folder.handler().compress(true);
    assert_eq!(coding(handler().compressed_at_once(0), "/a.txt"), None, "no compression is allowed");
    assert_eq!(coding(handler().compressed_sizes(1..=20_000), "/b.txt"), None);
    assert_eq!(coding(handler().compressed_sizes(30_000..=40_000), "/a.txt"), None);
    assert_eq!(coding(handler().compressed_sizes(30_000..=40_000), "/b.txt").as_deref(), Some("gzip"));
    assert_eq!(coding(handler().compressed_cache(0), "/a.txt").as_deref(), Some("gzip"), "compressed without a cache");
    assert_eq!(coding(handler().compress(false), "/a.txt"), None);
}

/// Many requests at once: one compresses the file, and the others get either form.
#[test]
fn concurrent_requests_share_one_compression() {
    let folder = Folder::new(&[("a.txt", &text(3 << 20))]);
    wait_for_age(folder.as_ref(), AGE);
    let handler = folder.handler().compress(true);
    let plain = text(3 << 20);
    let codings: Vec<bool> = std::thread::scope(|scope| {
        let ask = || {
            let request = Request::get("/a.txt").with_header("accept-encoding", "gzip");
            let response = handler.do_get(&request).unwrap();
            let is_coded = response.headers().contains_key("content-encoding");
            let bytes = response.into_bytes().unwrap();
            assert!(if is_coded { gunzip(&bytes) == plain } else { bytes == plain.as_bytes() });
            is_coded
        };
        let asking: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(codings.contains(&true), "no response was compressed");
}
