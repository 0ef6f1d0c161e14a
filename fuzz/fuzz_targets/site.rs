//! A file requested with any fields: conditions, ranges, codings. The body is the part of the file that the response
//! says. HEAD has the fields of GET. An existing file has only the statuses of RFC 9110.
#![no_main]

#[path = "../../tests/talk/peer.rs"]
#[allow(dead_code, reason = "shared with the tests, which use the rest of it")]
mod peer;

use std::fs;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use modest::{Http, LogRecord, Request, RequestHandler, Response, Result, StaticFileHandler};
use peer::{Answer, Peer};

const SMALL: usize = 300;
const LARGE: usize = 100_000; // sent from the file; the other one is sent from memory

fuzz_target!(|fields: &[u8]| {
    let (name, length) = if fields.len() % 2 == 0 { ("small", SMALL) } else { ("large", LARGE) };
    let end = fields.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(fields.len());
    let fields = &fields[..end];
    if fields.starts_with(b"\r\n") {
        return; // the end of the head, and another request after it
    }
    let Some(got) = ask("GET", name, fields) else { return };
    let whole: Vec<u8> = match got.field("content-encoding") {
        Some("gzip") => coded(length),
        None => plain(length),
        other => panic!("coded by {other:?}"),
    };
    match got.status {
        200 => assert_eq!(got.body, whole),
        206 => parts(&got, &whole),
        304 => assert!(got.body.is_empty() && got.field("etag").is_some()),
        416 => assert!(got.field("content-range").is_some_and(|range| range.starts_with("bytes */"))),
        400 | 406 | 408 | 411 | 412 | 413 | 414 | 417 | 431 | 501 => {}
        status => panic!("{status} for a file that is there"),
    }
    if matches!(got.status, 200 | 206 | 304) && got.field("vary").is_none_or(|vary| !vary.contains("Accept-Encoding")) {
        assert_eq!(name, "large", "a file with a sidecar must have Vary");
    }
    let ranged = fields.to_ascii_lowercase().windows(5).any(|five| five == b"range");
    let Some(head) = ask("HEAD", name, fields) else { panic!("GET is answered, HEAD is not") };
    if !ranged && !matches!(got.status, 400 | 431) {
        assert_eq!((head.status, &head.fields), (got.status, &got.fields));
    }
});

fn plain(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// A sidecar for a file of this length: other bytes, which begin and end as a gzip file does.
fn coded(length: usize) -> Vec<u8> {
    let inside: Vec<u8> = plain(length / 2).into_iter().rev().collect();
    [&[0x1f, 0x8b], &inside[..], &(length as u32).to_le_bytes()].concat()
}

/// Checks a single part, or several parts with a boundary.
fn parts(got: &Answer, whole: &[u8]) {
    let kind = got.field("content-type").expect("a type");
    let Some(boundary) = kind.strip_prefix("multipart/byteranges; boundary=") else {
        return part(got.field("content-range").expect("which part it is"), &got.body, whole);
    };
    let boundary = boundary.trim_matches('"');
    let end = format!("\r\n--{boundary}--\r\n");
    let body = got.body.strip_suffix(end.as_bytes()).expect("an end");
    let between = format!("\r\n--{boundary}\r\n");
    let mut rest = body.strip_prefix(between.as_bytes());
    let mut count = 0;
    while let Some(here) = rest {
        let next = here.windows(between.len()).position(|window| window == between.as_bytes());
        let (one, after) = next.map_or((here, None), |at| (&here[..at], Some(&here[at + between.len()..])));
        let split = one.windows(4).position(|four| four == b"\r\n\r\n").expect("a part has a head");
        let head = String::from_utf8(one[..split].to_vec()).expect("ASCII");
        let said =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-range: ").map(str::to_owned));
        part(&said.expect("which part it is"), &one[split + 4..], whole);
        count += 1;
        rest = after;
    }
    assert!(count > 1, "several parts, or no multipart");
}

/// Checks that `bytes 0-4/300` are these bytes.
fn part(said: &str, bytes: &[u8], whole: &[u8]) {
    let (range, length) = said.strip_prefix("bytes ").and_then(|said| said.split_once('/')).expect("a Content-Range");
    let (first, last) = range.split_once('-').expect("first and last");
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    assert_eq!(length.parse(), Ok(whole.len()), "{said}");
    assert_eq!(bytes, &whole[first..=last], "{said}");
}

struct Quiet(StaticFileHandler);

impl RequestHandler for Quiet {
    fn do_get(&self, request: &Request) -> Result<Response> {
        self.0.do_get(request)
    }

    fn log_request(&self, _: &LogRecord<'_>) {}
}

struct Site {
    _folder: tempfile::TempDir,
    http: Http<Quiet>,
}

static SITE: LazyLock<Site> = LazyLock::new(|| {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::write(folder.path().join("small"), plain(SMALL)).unwrap();
    fs::write(folder.path().join("small.gz"), coded(SMALL)).unwrap();
    fs::write(folder.path().join("large"), plain(LARGE)).unwrap();
    std::thread::sleep(Duration::from_millis(2100)); // so that sidecars are accepted, and files have a date
    let http = Http::new(Quiet(StaticFileHandler::new(folder.path()).unwrap()));
    Site { _folder: folder, http }
});

/// The only response to this request. `None`: the request is incomplete, or these fields contain another one.
fn ask(method: &str, name: &str, fields: &[u8]) -> Option<Answer> {
    let mut peer = Peer::new(&SITE.http);
    peer.send([format!("{method} /{name} HTTP/1.1\r\nHost: a\r\n").as_bytes(), fields, b"\r\n\r\n"].concat());
    let heads: &[usize] = if method == "HEAD" { &[0] } else { &[] };
    let mut answers = Answer::all(&peer.said, heads);
    if answers.len() == 1 { answers.pop() } else { None }
}
