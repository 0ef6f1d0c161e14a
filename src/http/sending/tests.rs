//! Encoded responses. The name of a row begins with the section that it checks: of RFC 9110, or of RFC 9112 if it
//! begins with 9112.

mod bodies; // streams, chunks, files by their paths
mod conditions; // preconditions and ranges

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
        let progress = stream.read_some(&mut output, MayBlock::on_own_thread());
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
    crate::http::sent::drain(output, &mut wire).unwrap();
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
fn the_framing_follows_from_request_and_response() {
    let chunked = "a\r\n0123456789\r\n0\r\n\r\n";
    // status, length or coding, and whether the connection ends
    type Row = (&'static str, Request, Response, &'static str, &'static str);
    let rows: Vec<Row> = vec![
        ("8.6 text", get(), Response::text(BODY), "200 10", BODY),
        ("8.6 bytes", get(), Response::bytes(BODY), "200 10", BODY),
        ("8.6 shared", get(), Response::shared(Arc::new(BODY)), "200 10", BODY),
        ("8.6 a file", get(), file_of(BODY.as_bytes()), "200 10", BODY),
        ("8.6 nothing", get(), Response::new(200), "200 0", ""),
        ("8.6 a sized stream", get(), Response::sized_stream(BODY.as_bytes(), 10), "200 10", BODY),
        ("8.6 an empty sized stream", get(), Response::sized_stream(io::empty(), 0), "200 0", ""),
        (
            "8.6 a stream with a length that the handler sets",
            get(),
            stream().with_header("Content-Length", "10"),
            "200 10",
            BODY,
        ),
        ("8.6 a correct length", get(), Response::text(BODY).with_header("Content-Length", "10"), "200 10", BODY),
        ("9112 7.1 a stream", get(), stream(), "200 chunked", chunked),
        ("9112 7.1 an empty stream", get(), Response::stream(io::empty()), "200 chunked", "0\r\n\r\n"),
        ("9112 6.3 a stream to 1.0", http10("GET"), stream(), "200 - close", BODY),
        ("9112 6.3 a sized stream to 1.0", http10("GET"), Response::sized_stream(BODY.as_bytes(), 10), "200 10", BODY),
        ("9.3.2 head", of("HEAD"), Response::text(BODY), "200 10", ""),
        ("9.3.2 head of a file", of("HEAD"), file_of(BODY.as_bytes()), "200 10", ""),
        ("9.3.2 head of a stream", of("HEAD"), stream(), "200 chunked", ""),
        ("9.3.2 head of a stream to 1.0", http10("HEAD"), stream(), "200 -", ""),
        ("9.3.2 head of an error", of("HEAD"), Response::text("no").with_status(404), "404 2", ""),
        (
            "8.6 the length in a response to HEAD",
            of("HEAD"),
            Response::new(200).with_header("Content-Length", "77"),
            "200 77",
            "",
        ),
        ("15.3.5 no content", get(), Response::no_content(), "204 -", ""),
        (
            "15.3.5 no content, although the handler gives some",
            get(),
            Response::text(BODY).with_status(204),
            "204 -",
            "",
        ),
        ("15.3.5 no content, although the handler streams some", get(), stream().with_status(204), "204 -", ""),
        ("15.3.5 no content to 1.0", http10("GET"), stream().with_status(204), "204 -", ""),
        (
            "15.3.5 no content, with a length",
            get(),
            Response::no_content().with_header("Content-Length", "5"),
            "204 -",
            "",
        ),
        ("15.3.6 reset content", get(), Response::text(BODY).with_status(205), "205 0", ""),
        ("15.4.5 a 304 that the handler returns", get(), Response::text(BODY).with_status(304), "304 -", ""),
        ("15.5.5 not found", get(), Response::text("no").with_status(404), "404 2", "no"),
        ("15 a status without a standard meaning", get(), Response::text("no").with_status(599), "599 2", "no"),
    ];
    for (row, request, response, expected, body) in rows {
        let sent = send(response, &request);
        let framing = [sent.field("Content-Length"), sent.field("Transfer-Encoding")];
        let framing = framing.into_iter().flatten().collect::<Vec<_>>().join(" and ");
        let framing = if framing.is_empty() { "-" } else { &framing };
        let end = if sent.keep_alive { "" } else { " close" };
        assert_eq!(format!("{} {framing}{end}", sent.status), expected, "{row}: {sent:?}");
        assert_eq!(sent.text(), body, "{row}: {sent:?}");
        assert!(sent.failure.is_none(), "{row}: {sent:?}");
    }
}

#[test]
fn the_connection_field_follows_from_request_and_response() {
    for (row, response, request, could, connection) in [
        ("9112 9.3 stays open", Response::new(200), get(), true, None),
        ("9112 9.6 could not stay open", Response::new(200), get(), false, Some("close")),
        ("9112 9.6 the handler ends it", Response::new(200).with_close(), get(), true, Some("close")),
        (
            "9112 9.6 the handler ends it, by field",
            Response::new(200).with_header("connection", "Close"),
            get(),
            true,
            Some("close"),
        ),
        (
            "9112 9.3 a 1.0 client that asked for keep-alive",
            Response::new(200),
            http10("GET"),
            true,
            Some("keep-alive"),
        ),
        ("9112 9.3 a 1.0 client that did not", Response::new(200), http10("GET"), false, Some("close")),
        ("9112 6.3 a body that ends with the connection", stream(), http10("GET"), true, Some("close")),
        (
            "7.6.1 other connection options can't be set by the handler",
            Response::new(200).with_header("connection", "upgrade"),
            get(),
            true,
            None,
        ),
        (
            "13.1.1 a 412 keeps Connection: close",
            Response::text("a").with_close(),
            get().with_header("if-match", "\"x\""),
            true,
            Some("close"),
        ),
    ] {
        let context = ResponseContext { keep_alive: could, ..context(&request, None) };
        let mut output = Output::new();
        let encoded = encode(checked(response, context.request), &context, &mut output);
        let head = String::from_utf8(written(&mut output)).unwrap();
        let found = head.lines().find_map(|line| line.strip_prefix("Connection: "));
        assert_eq!((found, encoded.keep_alive), (connection, connection != Some("close")), "{row}: {head}");
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
