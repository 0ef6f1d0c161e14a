//! Encoded responses. The name of a row begins with the section that it checks: of RFC 9110, or of RFC 9112 if it
//! begins with 9112.

mod bodies; // streams, chunks, files by their paths

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::http::request::head::{HeadLimits, HeadParser};
use crate::http::sending::stream::StreamProgress;
use crate::http::{Cookie, ETag, Fields, ResponseWriter};
use crate::tcp::{Client, MayBlock};

const NOW: &str = "Fri, 20 Nov 2026 00:00:00 GMT";
const BODY: &str = "0123456789";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_132_800)
}

/// A response, with its stream read to the end.
#[derive(Debug)]
struct Sent {
    status: u16,
    head: String,
    body: Vec<u8>,
    keep_alive: bool,
    length: u64,
    failure: Option<io::Error>,
}

impl Sent {
    fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.head.lines().filter_map(|line| line.split_once(": ")).filter(|(known, _)| *known == name);
        let first = found.next().map(|(_, value)| value);
        assert!(found.next().is_none(), "{name} twice: {}", self.head);
        first
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

fn send(response: Response, request: &Request) -> Sent {
    let server = HeaderValue::from_static("modest");
    let context = context(request, Some(&server));
    let mut output = Output::new();
    let mut encoded = encode(checked(response, context.request), &context, &mut output);
    let mut failure = None;
    let mut wire = written(&mut output);
    while let Some(RestOfBody::Read(stream)) = &mut encoded.rest {
        let progress = stream.read_some(&mut output, MayBlock::without_a_server());
        assert!(output.owed() <= 64 * 1024, "{} bytes in one pull", output.owed());
        wire.extend(written(&mut output));
        match progress {
            StreamProgress::More => continue,
            StreamProgress::Done => {}
            StreamProgress::Failed(error) => failure = Some(error),
        }
        break;
    }
    let end = wire.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let body = wire.split_off(end);
    Sent {
        status: encoded.status.as_u16(),
        head: String::from_utf8(wire).unwrap(),
        body,
        keep_alive: encoded.keep_alive,
        length: encoded.length,
        failure,
    }
}

/// Returns the bytes that a connection would write.
fn written(output: &mut Output) -> Vec<u8> {
    let mut wire = Vec::new();
    for piece in output.pieces() {
        match piece {
            Piece::Owned(bytes) => wire.extend_from_slice(bytes),
            Piece::Shared { bytes, start, end } => wire.extend_from_slice(&(**bytes).as_ref()[*start..*end]),
            Piece::File { file, start, length } => {
                let mut bytes = vec![0; *length as usize];
                file.read_exact_at(&mut bytes, *start).unwrap();
                wire.extend(bytes);
            }
        }
    }
    output.clear();
    wire
}

fn context<'a>(request: &'a Request, server: Option<&'a HeaderValue>) -> ResponseContext<'a> {
    ResponseContext {
        request,
        keep_alive: true,
        now: now(),
        server,
        fields: &[],
        page: &|error| Checked(Response::from(error)),
    }
}

/// Converts a response as `connection` does: an invalid one becomes a 500.
fn checked(response: Response, request: &Request) -> Checked {
    Checked::new(response, request).unwrap_or_else(|_| Checked::internal_error())
}

fn get() -> Request {
    Request::get("/")
}

fn of(method: &str) -> Request {
    Request::new(Method::from_bytes(method.as_bytes()).unwrap(), "/").unwrap()
}

fn http10(method: &str) -> Request {
    let bytes = format!("{method} / HTTP/1.0\r\n\r\n").into_bytes();
    let limits = HeadLimits { line: 100, head: 100, fields: 1, bare_lf: false };
    let (_, head) = HeadParser::default().parse(&bytes, &limits).expect("good").expect("whole");
    Request::from_head(head, Client::new(SocketAddr::from(([127, 0, 0, 1], 0))), None, crate::tcp::now(), now(), None)
}

fn file_of(bytes: &[u8]) -> Response {
    let mut file = tempfile::NamedTempFile::new().unwrap().into_file();
    file.write_all(bytes).unwrap();
    Response::open_file(Arc::new(file), bytes.len() as u64)
}

fn stream() -> Response {
    Response::stream(BODY.as_bytes())
}

#[test]
fn a_complete_response_is_written() {
    let sent = send(Response::text("Hello, World!"), &get());
    let expected = format!(
        "HTTP/1.1 200 OK\r\nServer: modest\r\nDate: {NOW}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 13\r\n\r\n"
    );
    assert_eq!((sent.head, &sent.body[..], sent.keep_alive, sent.length), (expected, &b"Hello, World!"[..], true, 13));
}

#[test]
fn framing() {
    let chunked = "a\r\n0123456789\r\n0\r\n\r\n";
    type Row = (&'static str, Request, Response, u16, Option<&'static str>, Option<&'static str>, &'static str, bool);
    let rows: Vec<Row> = vec![
        ("8.6 text", get(), Response::text(BODY), 200, Some("10"), None, BODY, true),
        ("8.6 bytes", get(), Response::bytes(BODY), 200, Some("10"), None, BODY, true),
        ("8.6 shared", get(), Response::shared(Arc::new(BODY)), 200, Some("10"), None, BODY, true),
        ("8.6 a file", get(), file_of(BODY.as_bytes()), 200, Some("10"), None, BODY, true),
        ("8.6 nothing", get(), Response::new(200), 200, Some("0"), None, "", true),
        ("8.6 a sized stream", get(), Response::sized_stream(BODY.as_bytes(), 10), 200, Some("10"), None, BODY, true),
        ("8.6 an empty sized stream", get(), Response::sized_stream(io::empty(), 0), 200, Some("0"), None, "", true),
        (
            "8.6 a stream with a length that the handler sets",
            get(),
            stream().with_header("Content-Length", "10"),
            200,
            Some("10"),
            None,
            BODY,
            true,
        ),
        (
            "8.6 a correct length",
            get(),
            Response::text(BODY).with_header("Content-Length", "10"),
            200,
            Some("10"),
            None,
            BODY,
            true,
        ),
        ("9112 7.1 a stream", get(), stream(), 200, None, Some("chunked"), chunked, true),
        (
            "9112 7.1 an empty stream",
            get(),
            Response::stream(io::empty()),
            200,
            None,
            Some("chunked"),
            "0\r\n\r\n",
            true,
        ),
        ("9112 6.3 a stream to 1.0", http10("GET"), stream(), 200, None, None, BODY, false),
        (
            "9112 6.3 a sized stream to 1.0",
            http10("GET"),
            Response::sized_stream(BODY.as_bytes(), 10),
            200,
            Some("10"),
            None,
            BODY,
            true,
        ),
        ("9.3.2 head", of("HEAD"), Response::text(BODY), 200, Some("10"), None, "", true),
        ("9.3.2 head of a file", of("HEAD"), file_of(BODY.as_bytes()), 200, Some("10"), None, "", true),
        ("9.3.2 head of a stream", of("HEAD"), stream(), 200, None, Some("chunked"), "", true),
        ("9.3.2 head of a stream to 1.0", http10("HEAD"), stream(), 200, None, None, "", true),
        ("9.3.2 head of an error", of("HEAD"), Response::text("no").with_status(404), 404, Some("2"), None, "", true),
        (
            "8.6 the length in a response to HEAD",
            of("HEAD"),
            Response::new(200).with_header("Content-Length", "77"),
            200,
            Some("77"),
            None,
            "",
            true,
        ),
        ("15.3.5 no content", get(), Response::no_content(), 204, None, None, "", true),
        (
            "15.3.5 no content, although the handler gives some",
            get(),
            Response::text(BODY).with_status(204),
            204,
            None,
            None,
            "",
            true,
        ),
        (
            "15.3.5 no content, although the handler streams some",
            get(),
            stream().with_status(204),
            204,
            None,
            None,
            "",
            true,
        ),
        ("15.3.5 no content to 1.0", http10("GET"), stream().with_status(204), 204, None, None, "", true),
        (
            "15.3.5 no content, with a length",
            get(),
            Response::no_content().with_header("Content-Length", "5"),
            204,
            None,
            None,
            "",
            true,
        ),
        ("15.3.6 reset content", get(), Response::text(BODY).with_status(205), 205, Some("0"), None, "", true),
        (
            "15.4.5 a 304 that the handler returns",
            get(),
            Response::text(BODY).with_status(304),
            304,
            None,
            None,
            "",
            true,
        ),
        ("15.5.5 not found", get(), Response::text("no").with_status(404), 404, Some("2"), None, "no", true),
        (
            "15 a status without a standard meaning",
            get(),
            Response::text("no").with_status(599),
            599,
            Some("2"),
            None,
            "no",
            true,
        ),
    ];
    for (row, request, response, status, length, coding, body, keep_alive) in rows {
        let sent = send(response, &request);
        assert_eq!(sent.status, status, "{row}: {sent:?}");
        assert_eq!(sent.field("Content-Length"), length, "{row}: {sent:?}");
        assert_eq!(sent.field("Transfer-Encoding"), coding, "{row}: {sent:?}");
        assert_eq!(sent.text(), body, "{row}: {sent:?}");
        assert_eq!(sent.keep_alive, keep_alive, "{row}: {sent:?}");
        assert!(sent.failure.is_none(), "{row}: {sent:?}");
    }
}

#[test]
fn connections() {
    for (row, response, request, could, connection, keep_alive) in [
        ("9112 9.3 stays open", Response::new(200), get(), true, None, true),
        ("9112 9.6 could not stay open", Response::new(200), get(), false, Some("close"), false),
        ("9112 9.6 the handler ends it", Response::new(200).with_close(), get(), true, Some("close"), false),
        (
            "9112 9.6 the handler ends it, by field",
            Response::new(200).with_header("connection", "Close"),
            get(),
            true,
            Some("close"),
            false,
        ),
        (
            "9112 9.3 a 1.0 client that asked for keep-alive",
            Response::new(200),
            http10("GET"),
            true,
            Some("keep-alive"),
            true,
        ),
        ("9112 9.3 a 1.0 client that did not", Response::new(200), http10("GET"), false, Some("close"), false),
        ("9112 6.3 a body that ends with the connection", stream(), http10("GET"), true, Some("close"), false),
        (
            "7.6.1 other connection options can't be set by the handler",
            Response::new(200).with_header("connection", "upgrade"),
            get(),
            true,
            None,
            true,
        ),
        (
            "13.1.1 a 412 keeps Connection: close",
            Response::text("a").with_close(),
            get().with_header("if-match", "\"x\""),
            true,
            Some("close"),
            false,
        ),
    ] {
        let context = ResponseContext { keep_alive: could, ..context(&request, None) };
        let mut output = Output::new();
        let encoded = encode(checked(response, context.request), &context, &mut output);
        let head = String::from_utf8(written(&mut output)).unwrap();
        let found = head.lines().find_map(|line| line.strip_prefix("Connection: "));
        assert_eq!((found, encoded.keep_alive), (connection, keep_alive), "{row}: {head}");
        assert!(!head.contains("Server:"), "{row}: the Server field is turned off");
    }
}

#[test]
fn fields_of_the_handler() {
    let sent = send(
        Response::text(BODY)
            .with_header("date", "Thu, 01 Jan 1970 00:00:00 GMT")
            .with_header("server", "mine")
            .with_header("x-one", "1")
            .with_header("X-One", "2")
            .with_added_header("x-one-more", "3")
            .with_added_header("x-one-more", "4")
            .with_header("www-authenticate", "Basic")
            .with_header("etag", "\"a\"")
            .with_cookie(Cookie::new("a", "1"))
            .with_cookie(Cookie::new("b", "2"))
            .with_forwarded_header("transfer-encoding", "chunked")
            .with_header("trailer", "x")
            .with_header("te", "x")
            .with_header("upgrade", "x")
            .with_header("keep-alive", "x")
            .with_header("proxy-connection", "x"),
        &get(),
    );
    let expected = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
         Server: mine\r\nX-One: 2\r\nX-One-More: 3\r\nX-One-More: 4\r\nWWW-Authenticate: Basic\r\nETag: \"a\"\r\n\
         Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nAccept-Ranges: bytes\r\nContent-Length: 10\r\n\r\n";
    assert_eq!(sent.head, expected);
}

#[test]
fn an_invalid_response_is_a_500() {
    for (row, method, response) in [
        ("framed by hand", "GET", Response::text("4\r\nbody\r\n0\r\n\r\n").with_header("Transfer-Encoding", "chunked")),
        ("5.5 CR LF in a value", "GET", Response::text(BODY).with_header("x", "a\r\nSet-Cookie: b=c")),
        ("5.5 LF in a value", "GET", Response::text(BODY).with_header("x", "a\nb")),
        ("5.5 NUL in a value", "GET", Response::text(BODY).with_added_header("x", "a\0b")),
        ("5.1 a blank in a name", "GET", Response::text(BODY).with_header("a b", "c")),
        ("5.1 a line break in a name", "GET", Response::text(BODY).with_header("a\r\nb", "c")),
        ("5.1 no name", "GET", Response::text(BODY).with_header("", "c")),
        ("5.5 prepared", "GET", Response::text(BODY).with_fields(Arc::new(Fields::new().with_header("x", "\n")))),
        (
            "5.5 a prepared field that is then changed",
            "GET",
            Response::text(BODY)
                .with_fields(Arc::new(Fields::new().with_header("a", "b").with_header("x", "\n")))
                .with_header("a", "c"),
        ),
        ("5.5 in a type", "GET", Response::text(BODY).with_content_type("text/plain\r\nx: y")),
        ("8.8.3 in a cookie", "GET", Response::text(BODY).with_cookie(Cookie::new("a", "b; Domain=evil.example"))),
        ("15.2 an interim status", "GET", Response::new(100)),
        ("15.2 an interim status, switching", "GET", Response::new(101)),
        ("15 a status above 599", "GET", Response::new(600)),
        ("15 an invalid status", "GET", Response::new(99)),
        ("8.6 announces too much", "GET", Response::text(BODY).with_header("content-length", "11")),
        ("8.6 announces too little", "GET", Response::text(BODY).with_header("content-length", "9")),
        ("8.6 announces too much, HEAD", "HEAD", Response::text(BODY).with_header("content-length", "11")),
        (
            "8.6 a stream with two different lengths",
            "GET",
            Response::sized_stream(BODY.as_bytes(), 10).with_header("content-length", "11"),
        ),
        ("8.6 an invalid length", "GET", Response::text(BODY).with_header("content-length", "+10")),
        ("8.6 a list of lengths", "GET", stream().with_header("content-length", "10, 10")),
        ("8.6 larger than any", "GET", stream().with_header("content-length", "99999999999999999999")),
        ("9.3.6 a tunnel", "CONNECT", Response::new(200)),
        ("a reply without status", "GET", ResponseWriter::new().into()),
    ] {
        let request =
            if method == "CONNECT" { Request::new(Method::CONNECT, "example.com:80").unwrap() } else { of(method) };
        let sent = send(response, &request);
        assert_eq!(sent.status, 500, "{row}: {sent:?}");
        assert!(sent.head.starts_with("HTTP/1.1 500 Internal Server Error\r\n"), "{row}: {sent:?}");
        assert!(!sent.head.contains("Set-Cookie") && !sent.head.contains("x: y"), "{row}: {sent:?}");
        assert_eq!(sent.field("Content-Type"), Some("text/html; charset=utf-8"), "{row}");
    }
}

#[test]
fn an_accepted_field_value_is_one_line() {
    for byte in 0..=255u8 {
        let sent = {
            let server = HeaderValue::from_static("modest");
            let (request, value) = (get(), [b'a', byte, b'b']);
            let context = context(&request, Some(&server));
            let mut output = Output::new();
            encode(checked(Response::new(204).with_header("x", &value[..]), &request), &context, &mut output);
            let wire = written(&mut output);
            let end = wire.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
            wire[..end].to_vec()
        };
        assert!(sent.split(|byte| *byte == b'\n').all(|line| !line.trim_ascii_end().contains(&b'\r')), "byte {byte}");
        assert!(!sent.contains(&0), "byte {byte}");
        let refused = sent.starts_with(b"HTTP/1.1 500");
        assert_eq!(refused, (byte < 0x20 && byte != b'\t') || byte == 0x7f, "byte {byte}");
    }
}

type Make = fn() -> Response;

/// Returns a response with validators, with each kind of body.
fn validated() -> Vec<(&'static str, Make)> {
    fn with(response: Response) -> Response {
        let then = UNIX_EPOCH + Duration::from_secs(784_111_777);
        response.with_content_type("text/plain").with_etag(ETag::strong("a").unwrap()).with_last_modified(then)
    }
    vec![
        ("static", || with(Response::text(BODY))),
        ("bytes", || with(Response::bytes(BODY))),
        ("shared", || with(Response::shared(Arc::new(BODY)))),
        ("a file", || with(file_of(BODY.as_bytes()))),
        ("prepared", || {
            let then = UNIX_EPOCH + Duration::from_secs(784_111_777);
            let fields = Fields::new().with_header("content-type", "text/plain").with_etag(ETag::strong("a").unwrap());
            Response::shared(Arc::new(BODY)).with_fields(Arc::new(fields.with_last_modified(then)))
        }),
    ]
}

#[test]
fn conditions_and_ranges_together() {
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    type Row =
        (&'static str, &'static str, &'static [(&'static str, &'static str)], u16, Option<&'static str>, &'static str);
    let rows: &[Row] = &[
        ("14.2 nothing asked", "GET", &[], 200, None, BODY),
        ("14.2 one", "GET", &[("range", "bytes=2-4")], 206, Some("bytes 2-4/10"), "234"),
        ("14.2 all", "GET", &[("range", "bytes=0-")], 206, Some("bytes 0-9/10"), BODY),
        ("14.2 the last", "GET", &[("range", "bytes=-2")], 206, Some("bytes 8-9/10"), "89"),
        ("14.2 on head", "HEAD", &[("range", "bytes=2-4")], 200, None, ""),
        ("14.2 on head, unsatisfiable", "HEAD", &[("range", "bytes=20-")], 200, None, ""),
        ("14.2 on post", "POST", &[("range", "bytes=2-4")], 200, None, BODY),
        ("14.2 two fields", "GET", &[("range", "bytes=2-4"), ("range", "bytes=6-7")], 200, None, BODY),
        ("14.2 another unit", "GET", &[("range", "lines=2-4")], 200, None, BODY),
        ("14.2 malformed", "GET", &[("range", "bytes=4-2")], 200, None, BODY),
        ("13.1.5 the tag", "GET", &[("range", "bytes=2-4"), ("if-range", "\"a\"")], 206, Some("bytes 2-4/10"), "234"),
        ("13.1.5 another tag", "GET", &[("range", "bytes=2-4"), ("if-range", "\"b\"")], 200, None, BODY),
        ("13.1.5 another tag, unsatisfiable", "GET", &[("range", "bytes=20-"), ("if-range", "\"b\"")], 200, None, BODY),
        ("13.1.5 the date", "GET", &[("range", "bytes=2-4"), ("if-range", THEN)], 206, Some("bytes 2-4/10"), "234"),
        ("13.1.5 without a range", "GET", &[("if-range", "\"b\"")], 200, None, BODY),
        ("13.2.2 before ranges", "GET", &[("range", "bytes=2-4"), ("if-none-match", "\"a\"")], 304, None, ""),
        ("13.2.2 before bad ranges", "GET", &[("range", "bytes=20-"), ("if-none-match", "\"a\"")], 304, None, ""),
        (
            "13.2.2 a condition that holds, then a range",
            "GET",
            &[("range", "bytes=2-4"), ("if-match", "\"a\"")],
            206,
            Some("bytes 2-4/10"),
            "234",
        ),
        ("13.1.2 the client has it", "GET", &[("if-none-match", "\"a\"")], 304, None, ""),
        ("13.1.2 head", "HEAD", &[("if-none-match", "\"a\"")], 304, None, ""),
        ("13.1.3 the client has it", "GET", &[("if-modified-since", THEN)], 304, None, ""),
        ("13.1.2 on post, done already", "POST", &[("if-none-match", "\"a\"")], 200, None, BODY),
    ];
    for (how, response) in validated() {
        for (row, method, fields, status, content_range, body) in rows {
            let request = fields.iter().fold(of(method), |request, (name, value)| request.with_header(name, value));
            let sent = send(response(), &request);
            assert_eq!((sent.status, sent.text()), (*status, *body), "{row}, {how}: {sent:?}");
            assert_eq!(sent.field("Content-Range"), *content_range, "{row}, {how}: {sent:?}");
            let length = if *method == "HEAD" { 10 } else { body.len() };
            let length = (*status != 304).then(|| length.to_string());
            assert_eq!(sent.field("Content-Length"), length.as_deref(), "{row}, {how}: {sent:?}");
            assert_eq!(sent.field("ETag"), Some("\"a\""), "{row}, {how}: {sent:?}");
            let described = (*status != 304).then_some("text/plain");
            assert_eq!(sent.field("Content-Type"), described, "{row}, {how}: {sent:?}");
            assert_eq!(sent.field("Accept-Ranges"), described.map(|_| "bytes"), "{row}, {how}: {sent:?}");
        }
        for (row, field, status, range) in [
            ("13.1.1", ("if-match", "\"b\""), 412, None),
            ("13.1.4", ("if-unmodified-since", "Sun, 06 Nov 1994 08:49:36 GMT"), 412, None),
            ("14.4", ("range", "bytes=10-"), 416, Some("bytes */10")),
        ] {
            for method in ["GET", "HEAD"] {
                let kept = response()
                    .with_header("access-control-allow-origin", "*")
                    .with_header("cache-control", "max-age=60");
                let sent = send(kept, &of(method).with_header(field.0, field.1));
                if (method, status) == ("HEAD", 416) {
                    assert_eq!(sent.status, 200, "14.2: HEAD gets no 416");
                    continue;
                }
                assert_eq!((sent.status, sent.field("Content-Range")), (status, range), "{row}, {how}: {sent:?}");
                assert_eq!(sent.field("Content-Type"), Some("text/html; charset=utf-8"), "{row}, {how}: {sent:?}");
                assert_eq!(sent.field("Access-Control-Allow-Origin"), Some("*"), "{row}, {how}: {sent:?}");
                assert_eq!(sent.field("ETag").or(sent.field("Cache-Control")), None, "{row}, {how}: {sent:?}");
                assert_eq!(sent.body.is_empty(), method == "HEAD", "{row}, {how}: {sent:?}");
            }
        }
    }
}

#[test]
fn ranges_apply_only_to_a_200() {
    let request = get().with_header("range", "bytes=2-4").with_header("if-none-match", "*");
    for status in [201, 203, 404, 500] {
        assert_eq!(send(Response::text(BODY).with_status(status), &request).status, status, "14.2: {status}");
    }
    for (row, response, body) in [
        ("a stream", Response::sized_stream(BODY.as_bytes(), 10), BODY),
        ("refused by the handler", Response::text(BODY).with_header("accept-ranges", "none"), BODY),
        (
            "refused in prepared fields",
            Response::text(BODY).with_fields(Arc::new(Fields::new().with_header("Accept-Ranges", "None"))),
            BODY,
        ),
        ("empty, from the end", Response::new(200), ""),
    ] {
        let request = get().with_header("range", if row.starts_with("empty") { "bytes=-5" } else { "bytes=2-4" });
        let sent = send(response, &request);
        assert_eq!((sent.status, sent.text()), (200, body), "14.2 {row}: {sent:?}");
    }
    let empty = send(Response::new(200), &get().with_header("range", "bytes=0-"));
    assert_eq!(
        (empty.status, empty.field("Content-Range")),
        (416, Some("bytes */0")),
        "14.1.2: a range of an empty body"
    );
}

#[test]
fn many_parts() {
    for (how, response) in validated() {
        let sent = send(response(), &get().with_header("range", "bytes=8-, 0-1, 4-4, 20-30"));
        let boundary = sent.field("Content-Type").unwrap().strip_prefix("multipart/byteranges; boundary=").unwrap();
        let part = |range: &str, bytes: &str| {
            format!("\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes {range}/10\r\n\r\n{bytes}")
        };
        let expected = format!("{}{}{}\r\n--{boundary}--\r\n", part("8-9", "89"), part("0-1", "01"), part("4-4", "4"));
        assert_eq!((sent.status, sent.text()), (206, &expected[..]), "14.6, {how}");
        assert_eq!(sent.field("Content-Length"), Some(&*expected.len().to_string()), "14.6, {how}");
        assert_eq!(sent.field("Content-Range"), None, "15.3.7.2, {how}");
        assert_eq!(sent.length, expected.len() as u64, "{how}");
    }
    let untyped = send(Response::shared(Arc::new(BODY)), &get().with_header("range", "bytes=0-0,2-2"));
    assert!(!untyped.text().contains("Content-Type"), "14.6: parts of a response without a type have no type");
    let joined = send(Response::text(BODY), &get().with_header("range", "bytes=0-4,5-9"));
    assert_eq!(
        (joined.status, joined.field("Content-Range"), joined.text()),
        (206, Some("bytes 0-9/10"), BODY),
        "15.3.7.2"
    );
    let many: String = (0..101).map(|n| format!("{n}-{n},")).collect();
    let whole = send(Response::text(BODY), &get().with_header("range", format!("bytes={many}")));
    assert_eq!((whole.status, whole.text()), (200, BODY), "14.2: more than 100 ranges");
}

#[test]
fn above_4_gib() {
    let file = tempfile::NamedTempFile::new().unwrap().into_file();
    file.set_len(5_000_000_000).unwrap();
    file.write_all_at(b"end", 4_999_999_997).unwrap();
    let response = || Response::open_file(Arc::new(file.try_clone().unwrap()), 5_000_000_000);
    let sent = send(response(), &get().with_header("range", "bytes=-3"));
    assert_eq!(sent.field("Content-Range"), Some("bytes 4999999997-4999999999/5000000000"));
    assert_eq!(sent.text(), "end");
    assert_eq!(send(response(), &of("HEAD")).field("Content-Length"), Some("5000000000"));
}

#[test]
fn last_modified_is_never_in_the_future() {
    let later = now() + Duration::from_secs(3600);
    let prepared = Arc::new(Fields::new().with_header("x", "y").with_last_modified(later));
    for (how, response) in [
        ("own", Response::text(BODY).with_last_modified(later)),
        ("by field", Response::text(BODY).with_header("last-modified", date::text(later).unwrap())),
        ("prepared", Response::text(BODY).with_fields(prepared.clone())),
    ] {
        let sent = send(response, &get());
        assert_eq!(sent.field("Last-Modified"), Some(NOW), "8.8.2.1, {how}: {sent:?}");
    }
    // The condition is compared with the real modification time, not with the date that was sent. So the client asks
    // again until that time has come.
    let request = get().with_header("if-modified-since", NOW);
    assert_eq!(send(Response::text(BODY).with_fields(prepared), &request).status, 200);
    for time in [UNIX_EPOCH - Duration::from_secs(1 << 40), UNIX_EPOCH + Duration::from_secs(1 << 40)] {
        assert_eq!(
            send(Response::text(BODY).with_last_modified(time), &get()).field("Last-Modified"),
            None,
            "{time:?}"
        );
    }
    let old = send(Response::text(BODY).with_last_modified(UNIX_EPOCH - Duration::from_millis(1)), &get());
    assert_eq!(old.field("Last-Modified"), Some("Wed, 31 Dec 1969 23:59:59 GMT"));
}

#[test]
fn a_304_has_the_fields_of_a_200() {
    let response = Response::text(BODY)
        .with_etag(ETag::weak("a").unwrap())
        .with_header("cache-control", "no-cache")
        .with_header("content-location", "/x")
        .with_header("expires", NOW)
        .with_header("vary", "accept-encoding")
        .with_header("content-language", "en")
        .with_header("content-encoding", "gzip")
        .with_header("content-security-policy", "default-src 'none'");
    let sent = send(response, &get().with_header("if-none-match", "\"a\""));
    let expected = format!(
        "HTTP/1.1 304 Not Modified\r\nServer: modest\r\nDate: {NOW}\r\nETag: W/\"a\"\r\nCache-Control: no-cache\r\n\
         Content-Location: /x\r\nExpires: {NOW}\r\nVary: accept-encoding\r\nContent-Security-Policy: default-src 'none'\r\n\r\n"
    );
    assert_eq!((sent.head, sent.length), (expected, 0), "15.4.5");
}
