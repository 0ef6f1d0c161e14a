//! Validators for small responses without one, so that clients with a current copy get 304.

use sha2::{Digest, Sha256};

use crate::grammar::has_member;
use crate::{ETag, Layer, Method, Next, Request, Response, Result, StatusCode};

/// Gives small 200 responses to GET and HEAD an `ETag` of their content, if they have no validator. A client that sends
/// it in `If-None-Match` and has the same content gets a `304 Not Modified` without a body.
///
/// The handler still creates the whole response each time: only the transfer is saved. The layer applies to bodies in
/// memory, but not to files, streams, and responses with `Cache-Control: no-store`.
///
/// The tag is strong: the first 128 bits of the SHA-256 of the content (and of its coding, type and language). With a
/// short checksum, users who choose contents could find two contents with the same tag within seconds, and a cache
/// would confuse them. With this hash that takes 2^64 attempts. The same content has the same tag on all servers and
/// after each start.
///
/// ```
/// use modest::layers::ETags;
/// use modest::{Http, Request, RequestHandler, Response, handler_fn};
///
/// let http = Http::new(handler_fn(|_| Ok(Response::text("hello\n"))).layer(ETags::new()));
/// let sent = http.respond(&Request::get("/"));
/// let again = Request::get("/").with_header("if-none-match", sent.header("etag").unwrap());
/// assert_eq!(http.respond(&again).status(), 304);
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "does nothing until it is passed to `layer`"]
pub struct ETags {
    limit: usize,
}

impl ETags {
    /// Creates a layer for bodies up to 64 KiB.
    pub fn new() -> ETags {
        ETags { limit: 64 * 1024 }
    }

    /// Sets the maximum length of a body. Default: 64 KiB, which take 0.04 to 0.2 milliseconds to hash.
    pub fn limit(mut self, bytes: usize) -> ETags {
        self.limit = bytes;
        self
    }
}

default_is_new!(ETags);

impl Layer for ETags {
    fn handle(&self, request: &Request, next: Next<'_>) -> Result<Response> {
        let response = next.run(request)?;
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let is_stored = !has_member(response.headers(), "cache-control", b"no-store");
        if !is_read || response.status() != StatusCode::OK || has_validator(&response) || !is_stored {
            return Ok(response);
        }
        // For an empty body nothing would be saved, and it may be the result of a `do_head`.
        match response
            .body_in_memory()
            .filter(|body| (1..=self.limit).contains(&body.len()))
            .map(|body| tag(body, &response))
        {
            Some(tag) => Ok(response.with_etag(tag?)),
            None => Ok(response),
        }
    }
}

fn has_validator(response: &Response) -> bool {
    response.headers().contains_key("etag") || response.headers().contains_key("last-modified")
}

/// Returns a hash of everything that identifies this representation: its bytes, coding, type and language.
fn tag(body: &[u8], response: &Response) -> Result<ETag> {
    let mut hash = Sha256::new();
    for name in ["content-encoding", "content-type", "content-language"] {
        for value in response.headers().get_all(name) {
            hash.update(value.as_bytes());
            hash.update(b",");
        }
        hash.update(b"\n");
    }
    hash.update(body);
    let digest = hash.finalize();
    ETag::strong(digest[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, Http, RequestHandler, Routes};

    fn app() -> Http<impl RequestHandler> {
        let small = |_: &(), _: &Request| Ok(Response::text("hello\n"));
        let routes = Routes::new()
            .get("/small", small)
            .post("/small", small)
            .get("/other", |_, _| Ok(Response::text("hello!")))
            .get("/html", |_, _| Ok(Response::html("hello\n")))
            .get("/empty", |_, _| Ok(Response::text("")))
            .get("/limit", |_, _| Ok(Response::bytes(vec![0; 100])))
            .get("/large", |_, _| Ok(Response::bytes(vec![0; 101])))
            .get("/stream", |_, _| Ok(Response::stream(&b"x"[..])))
            .get("/made", |_, _| Ok(Response::text("x").with_status(201)))
            .get("/error", |_, _| Err(Error::new(404, "x")))
            .get("/own", |_, _| Ok(Response::text("x").with_etag(ETag::weak("own")?)))
            .get("/dated", |_, request| Ok(Response::text("x").with_last_modified(request.now())))
            .get("/secret", |_, _| Ok(Response::text("x").with_header("cache-control", "private, No-Store")))
            .get("/shared", |_, _| Ok(Response::shared(std::sync::Arc::new("x"))));
        Http::new(routes.with_state(()).layer(ETags::new().limit(100)))
    }

    #[test]
    fn suitable_responses_get_an_etag() {
        let http = app();
        for (target, has) in [
            ("/small", true),
            ("/html", true),
            ("/limit", true),
            ("/shared", true),
            ("/large", false),
            ("/empty", false),
            ("/stream", false),
            ("/made", false),
            ("/error", false),
            ("/dated", false),
            ("/secret", false),
        ] {
            for method in [Method::GET, Method::HEAD] {
                let sent = http.respond(&Request::new(method.clone(), target).unwrap());
                assert_eq!(sent.header("etag").is_some(), has, "{method} {target}");
            }
        }
        assert_eq!(http.respond(&Request::get("/own")).header("etag"), Some("W/\"own\""));
        assert_eq!(http.respond(&Request::post("/small", "")).header("etag"), None);
    }

    #[test]
    fn the_etag_depends_on_content_and_media_type() {
        let tag = |target| app().respond(&Request::get(target)).header("etag").unwrap().to_owned();
        assert_eq!(tag("/small"), tag("/small"));
        assert_eq!(tag("/small").len(), 34);
        assert_ne!(tag("/small"), tag("/other"));
        assert_ne!(tag("/small"), tag("/html"));
    }

    #[test]
    fn conditions_are_evaluated_with_the_etag() {
        let http = app();
        let tag = http.respond(&Request::get("/small")).header("etag").unwrap().to_owned();
        for (name, value, status) in [
            ("if-none-match", tag.as_str(), 304),
            ("if-none-match", "\"other\"", 200),
            ("if-match", tag.as_str(), 200),
            ("if-match", "\"other\"", 412),
            ("range", "bytes=0-1", 206),
        ] {
            let sent = http.respond(&Request::get("/small").with_header(name, value));
            assert_eq!(sent.status().as_u16(), status, "{name}: {value}");
        }
    }
}
