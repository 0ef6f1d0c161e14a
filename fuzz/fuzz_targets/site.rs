//! A file requested with any fields: conditions, ranges, codings. The body is the part of the file that the response
//! says. HEAD has the fields of GET without ranges. An existing file has only the statuses of RFC 9110, and a simple
//! evaluation of conditions finds the same one.
#![no_main]

#[path = "../model.rs"]
mod model;
#[path = "../../tests/talk/peer.rs"]
#[allow(dead_code, reason = "shared with the tests, which use the rest of it")]
mod peer;

use std::fs::{self, File};
use std::ops::RangeInclusive;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use model::Evaluation;
use modest::{Http, LogRecord, Request, RequestHandler, Response, Result, StaticFileHandler, fuzzing};
use peer::{Answer, NOW, Peer};

const SMALL: usize = 300;
const LARGE: usize = 100_000; // sent from the file; the other one is sent from memory

fuzz_target!(|fields: &[u8]| {
    let (name, length) = if fields.len() % 2 == 0 { ("small", SMALL) } else { ("large", LARGE) };
    let end = fields.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(fields.len());
    let fields = &fields[..end];
    if fields.starts_with(b"\r\n") {
        return; // the end of the head, and another request after it
    }
    let fields = &with_validators(fields, name);
    let Some(got) = ask("GET", name, fields) else { return };
    let whole: Vec<u8> = match got.field("content-encoding") {
        Some("gzip") => coded(length),
        None => plain(length),
        other => panic!("coded by {other:?}"),
    };
    let mut sent = Vec::new();
    match got.status {
        200 => assert_eq!(got.body, whole),
        206 => sent = parts(&got, &whole),
        304 => assert!(got.body.is_empty() && got.field("etag").is_some()),
        416 => assert!(got.field("content-range").is_some_and(|range| range.starts_with("bytes */"))),
        400 | 406 | 408 | 411 | 412 | 413 | 414 | 417 | 431 | 501 => {}
        status => panic!("{status} for a file that is there"),
    }
    if matches!(got.status, 200 | 206 | 304) && got.field("vary").is_none_or(|vary| !vary.contains("Accept-Encoding")) {
        assert_eq!(name, "large", "a file with a sidecar must have Vary");
    }
    if matches!(got.status, 200 | 206 | 304 | 412 | 416) {
        let base = ask("GET", name, &model::without(fields, &CONDITIONS)).expect("a request without conditions");
        if let Some(expected) = expected(fields, &base) {
            assert_eq!((got.status, sent), expected, "{:?}", String::from_utf8_lossy(fields));
        }
    }
    let Some(head) = ask("HEAD", name, fields) else { panic!("GET is answered, HEAD is not") };
    if !matches!(got.status, 400 | 431) {
        // Ranges are for GET only (RFC 9110, section 14.2).
        let got = match got.status {
            206 | 416 => ask("GET", name, &model::without(fields, &["range"])).expect("a request without ranges"),
            _ => got,
        };
        assert_eq!((head.status, &head.fields), (got.status, &got.fields));
    }
});

/// The fields that change the response to a file, other than the codings.
const CONDITIONS: [&str; 6] =
    ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range"];

/// The bytes 1 to 3, which are in no valid field, stand for the validators of the file: otherwise no run would find
/// them.
fn with_validators(fields: &[u8], name: &str) -> Vec<u8> {
    let known = if name == "small" { &SITE.small } else { &SITE.large };
    let text = |byte: u8| known.get(usize::from(byte).wrapping_sub(1)).cloned();
    fields.iter().flat_map(|&byte| text(byte).map_or(vec![byte], String::into_bytes)).collect()
}

/// The status and the parts to send, for a file that has this response without conditions and ranges. `None`: the model
/// does not cover these fields.
fn expected(fields: &[u8], base: &Answer) -> Option<(u16, Vec<RangeInclusive<usize>>)> {
    assert_eq!(base.status, 200);
    let (etag, modified) = (base.field("etag"), base.field("last-modified"));
    match model::conditions(fields, etag, modified)? {
        Evaluation::Failed => return Some((412, Vec::new())),
        Evaluation::NotModified => return Some((304, Vec::new())),
        Evaluation::Proceed => {}
    }
    let ranges = model::values(fields, "range");
    let [range] = &ranges[..] else { return Some((200, Vec::new())) };
    if !model::if_range(fields, etag, modified)? {
        return Some((200, Vec::new()));
    }
    // The target `range` checks this function.
    Some(match fuzzing::range(range, base.body.len() as u64) {
        None => (200, Vec::new()),
        Some(parts) if parts.is_empty() => (416, Vec::new()),
        Some(parts) => (206, parts.iter().map(|part| part.start as usize..=part.end as usize - 1).collect()),
    })
}

fn plain(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// A sidecar for a file of this length: other bytes, which begin and end as a gzip file does.
fn coded(length: usize) -> Vec<u8> {
    let inside: Vec<u8> = plain(length / 2).into_iter().rev().collect();
    [&[0x1f, 0x8b], &inside[..], &(length as u32).to_le_bytes()].concat()
}

/// Checks a single part, or several parts with a boundary. Returns their positions.
fn parts(got: &Answer, whole: &[u8]) -> Vec<RangeInclusive<usize>> {
    let kind = got.field("content-type").expect("a type");
    let Some(boundary) = kind.strip_prefix("multipart/byteranges; boundary=") else {
        return vec![part(got.field("content-range").expect("which part it is"), &got.body, whole)];
    };
    let boundary = boundary.trim_matches('"');
    let end = format!("\r\n--{boundary}--\r\n");
    let body = got.body.strip_suffix(end.as_bytes()).expect("an end");
    let between = format!("\r\n--{boundary}\r\n");
    let mut rest = body.strip_prefix(between.as_bytes());
    let mut sent = Vec::new();
    while let Some(here) = rest {
        let next = here.windows(between.len()).position(|window| window == between.as_bytes());
        let (one, after) = next.map_or((here, None), |at| (&here[..at], Some(&here[at + between.len()..])));
        let split = one.windows(4).position(|four| four == b"\r\n\r\n").expect("a part has a head");
        let head = String::from_utf8(one[..split].to_vec()).expect("ASCII");
        let said =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-range: ").map(str::to_owned));
        sent.push(part(&said.expect("which part it is"), &one[split + 4..], whole));
        rest = after;
    }
    assert!(sent.len() > 1, "several parts, or no multipart");
    sent
}

/// Checks that `bytes 0-4/300` are these bytes.
fn part(said: &str, bytes: &[u8], whole: &[u8]) -> RangeInclusive<usize> {
    let (range, length) = said.strip_prefix("bytes ").and_then(|said| said.split_once('/')).expect("a Content-Range");
    let (first, last) = range.split_once('-').expect("first and last");
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    assert_eq!(length.parse(), Ok(whole.len()), "{said}");
    assert_eq!(bytes, &whole[first..=last], "{said}");
    first..=last
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
    /// The validators of a file: its tag, that of its sidecar, and its date.
    small: [String; 3],
    large: [String; 3],
}

static SITE: LazyLock<Site> = LazyLock::new(|| {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    for (name, bytes) in [("small", plain(SMALL)), ("small.gz", coded(SMALL)), ("large", plain(LARGE))] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        // An hour before all requests, so that the date is a strong validator.
        File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH + NOW - Duration::from_secs(3600)).unwrap();
    }
    std::thread::sleep(Duration::from_millis(2100)); // so that sidecars are accepted, and files have a date
    let http = Http::new(Quiet(StaticFileHandler::new(folder.path()).unwrap()));
    let validator = |name: &str, fields: &str, validator: &str| {
        let answer = ask_of(&http, "GET", name, fields.as_bytes()).expect("a response");
        answer.field(validator).unwrap_or_else(|| panic!("no {validator}: {answer:?}")).to_owned()
    };
    let known = |name: &str| {
        let coded = validator(name, "Accept-Encoding: gzip", "etag");
        [validator(name, "A: b", "etag"), coded, validator(name, "A: b", "last-modified")]
    };
    let (small, large) = (known("small"), known("large"));
    Site { _folder: folder, http, small, large }
});

/// The only response to this request. `None`: the request is incomplete, or these fields contain another one.
fn ask(method: &str, name: &str, fields: &[u8]) -> Option<Answer> {
    ask_of(&SITE.http, method, name, fields)
}

fn ask_of(http: &Http<Quiet>, method: &str, name: &str, fields: &[u8]) -> Option<Answer> {
    let mut peer = Peer::new(http);
    peer.send([format!("{method} /{name} HTTP/1.1\r\nHost: a\r\n").as_bytes(), fields, b"\r\n\r\n"].concat());
    let heads: &[usize] = if method == "HEAD" { &[0] } else { &[] };
    let mut answers = Answer::all(&peer.said, heads);
    if answers.len() == 1 { answers.pop() } else { None }
}
