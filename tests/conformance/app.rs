//! A handler as a user might write it: constants with and without validators, streams, echoes, and wrong responses that
//! the server has to correct.

use std::io::{self, Cursor, Read};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use modest::{
    BodyPlan, Cookie, ETag, Error, Method, Request, RequestHandler, Response, ResponseWriter, Result, Validators,
    Version,
};

/// Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110's examples.
pub fn long_ago() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(784_111_777)
}

/// It implements neither `do_patch` nor `do_options`.
pub struct App;

impl RequestHandler for App {
    fn do_get(&self, request: &Request) -> Result<Response> {
        let ten = || Response::text("0123456789");
        Ok(match request.path() {
            "/probe.txt" => Response::text("probe"),
            "/mirror" | "/" => mirror(request),
            // Validators and parts
            "/ten" => ten().with_etag(ETag::strong("v1")?).with_last_modified(long_ago()),
            "/tagged" => ten().with_etag(ETag::strong("v1")?),
            "/weak" => ten().with_etag(ETag::weak("v1")?),
            "/dated" => ten().with_last_modified(long_ago()),
            "/bare" => ten(),
            "/fresh" => ten().with_last_modified(SystemTime::now()),
            "/future" => ten().with_last_modified(SystemTime::now() + Duration::from_secs(86_400)),
            "/noranges" => ten().with_etag(ETag::strong("v1")?).with_header("accept-ranges", "none"),
            "/empty" => Response::text("").with_etag(ETag::strong("v1")?),
            "/dressed" => dressed(ten().with_etag(ETag::strong("v1")?).with_last_modified(long_ago())),
            "/missing" => ten().with_status(404).with_etag(ETag::strong("v1")?).with_last_modified(long_ago()),
            // Bodies of other kinds
            "/stream" => Response::stream(Cursor::new("streamed")).with_content_type("text/plain"),
            "/stream/tagged" => Response::stream(Cursor::new("streamed")).with_etag(ETag::strong("v1")?),
            "/stream/empty" => Response::stream(io::empty()),
            "/stream/sized" => Response::sized_stream(Cursor::new("streamed"), 8),
            "/stream/claimed" => Response::stream(Cursor::new("streamed")).with_header("content-length", "8"),
            "/stream/longer" => Response::sized_stream(Cursor::new("streamed and more"), 8),
            "/stream/shorter" => Response::sized_stream(Cursor::new("stre"), 8),
            "/stream/broken" => Response::stream(Cursor::new("stre").chain(Broken)),
            "/stream/pieces" => Response::stream(Pieces(3)),
            "/file" => Response::file(request.query().unwrap_or_default()),
            "/large" => Response::bytes(vec![b'x'; 300_000]),
            // Fields and statuses that the server has to check
            "/closing" => ten().with_close(),
            "/closing/field" => ten().with_header("connection", "close"),
            "/hops" => hops(ten()),
            "/split/value" => ten().with_header("x-a", "a\r\nx-b: b"),
            "/split/bare" => ten().with_header("x-a", "a\rb"),
            "/split/nul" => ten().with_header("x-a", "a\0b"),
            "/split/name" => ten().with_header("x-a: b\r\nx-c", "a"),
            "/split/reply" => reply(),
            "/wronglength" => ten().with_header("content-length", "11"),
            "/date" => ten().with_header("date", "Sun, 06 Nov 1994 08:49:37 GMT").with_header("server", "mine"),
            "/cookies" => ten().with_cookie(Cookie::new("a", "1")).with_cookie(Cookie::new("b", "2")),
            "/redirect" => Response::redirect(request.param("to").unwrap_or_default()),
            "/panic" => panic!("as the row asks"),
            "/error" => return Err("the secret of the log".into()),
            "/forbidden" => return Err(Error::new(403, "not <you>")),
            "/unauthorized" => return Err(Error::new(401, "who?").with_header("www-authenticate", "Basic realm=\"a\"")),
            path => match path.strip_prefix("/status/").and_then(|status| status.parse::<u16>().ok()) {
                Some(status) => Response::text("a body").with_status(status),
                None => return Err(Error::new(404, "there is nothing by that name")),
            },
        })
    }

    fn do_head(&self, request: &Request) -> Result<Response> {
        match request.path() {
            // A response with a description in place of its body.
            "/described" => {
                Ok(Response::new(200).with_header("content-length", "12345").with_content_type("text/plain"))
            }
            _ => self.do_get(request),
        }
    }

    fn do_post(&self, request: &Request) -> Result<Response> {
        match request.path() {
            "/echo" => Ok(Response::bytes(request.bytes()?)),
            "/form" => Ok(Response::text(request.form()?.get("a").unwrap_or_default().to_owned())),
            "/text" => Ok(Response::text(request.text()?.into_owned())),
            "/created" => Ok(Response::new(201).with_header("location", "/notes/1")),
            _ => Ok(mirror(request)),
        }
    }

    /// The resource `/ten` exists and `/new` does not.
    fn do_put(&self, request: &Request) -> Result<Response> {
        let here = Validators::new().with_etag(ETag::strong("v1")?).with_last_modified(long_ago());
        let there = request.path() == "/ten";
        request.check_preconditions(there.then_some(&here))?;
        Ok(if there { Response::no_content() } else { Response::new(201) })
    }

    fn do_delete(&self, _: &Request) -> Result<Response> {
        Ok(Response::no_content())
    }

    fn do_other(&self, request: &Request) -> Result<Response> {
        match request.method().as_str() {
            "TRACE" | "PROPFIND" | "get" => Err(Error::new(501, "not here")),
            _ => Ok(mirror(request)),
        }
    }

    fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
        match request.path() {
            "/declined" if request.method() != Method::GET => Err(Error::new(403, "no bodies here")),
            _ => Ok(()),
        }
    }

    fn log_request(&self, _: &modest::LogRecord<'_>) {}
}

/// The parsed request, one property per line. HEAD is shown as GET, because its fields must be equal.
fn mirror(request: &Request) -> Response {
    let version = if request.version() == Version::HTTP_10 { "1.0" } else { "1.1" };
    let method = if request.method() == Method::HEAD { "GET" } else { request.method().as_str() };
    let body = request.bytes().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let fields: Vec<String> = request.header_all("x").map(|value| value.escape_ascii().to_string()).collect();
    let shown = [
        format!("{method} {version}"),
        format!("path {}", request.path()),
        format!("query {}", request.query().unwrap_or("none")),
        format!("host {}", request.host().unwrap_or("none")),
        format!("x {}", fields.join("|")),
        format!("trailer {}", request.header("trailed").unwrap_or("none")),
        format!("body {body}"),
    ];
    Response::text(shown.join("\n"))
}

/// All fields that a 304 and a 206 must repeat, and some that a 304 should not.
fn dressed(response: Response) -> Response {
    response
        .with_header("cache-control", "max-age=60")
        .with_header("expires", "Thu, 01 Dec 1994 16:00:00 GMT")
        .with_header("content-location", "/ten.txt")
        .with_header("vary", "Accept-Language")
        .with_header("content-language", "en")
}

/// Fields about a connection or the framing of a message, which handlers must not send.
fn hops(response: Response) -> Response {
    ["keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"]
        .into_iter()
        .fold(response, |response, name| response.with_added_header(name, "x"))
}

/// A response that is written step by step, with a line break in a value.
fn reply() -> Response {
    let mut reply = ResponseWriter::new();
    reply.send_response(200);
    reply.send_header("x-a", "a\nx-b: b");
    reply.end_headers();
    reply.into()
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("as the row asks"))
    }
}

/// This many pieces of three bytes.
struct Pieces(u8);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Ok(0);
        }
        self.0 -= 1;
        buffer[..3].copy_from_slice(b"abc");
        Ok(3)
    }
}
