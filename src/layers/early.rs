//! Redirects that layers return before the body is read.

use crate::{Error, Response};

/// Returns a redirect that caches do not store, so that it can be withdrawn.
pub(super) fn redirect(status: u16, location: &str) -> Error {
    let response = Response::redirect_with(status, location).with_header("cache-control", "no-cache");
    Error::new(status, "").with_headers(response.headers().clone())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::layers::{AllowedHosts, BasicAuth, BearerAuth, Cors, Csrf, ErrorPages, HttpsOnly, PathRights};
    use crate::layers::{RateLimit, Redirects};
    use crate::testing::TestRequest;
    use crate::{Error, Http, Method, Request, RequestHandler, Response, handler_fn, testing};

    type Handler = Box<dyn RequestHandler>;
    type Around = fn(Handler) -> Handler;

    /// Layers that each reject a request with a status of their own: for GET and HEAD, for OPTIONS, and for other
    /// methods. `RateLimit` rejects the second request.
    const ROWS: [(&str, Around, [Option<u16>; 3]); 8] = [
        ("https", |inner| Box::new(inner.layer(HttpsOnly::new())), [Some(308), Some(403), Some(403)]),
        ("redirects", |inner| Box::new(inner.layer(Redirects::parse("/* /new/* 307").unwrap())), [Some(307); 3]),
        ("hosts", |inner| Box::new(inner.layer(AllowedHosts::new(["a.example"]))), [Some(421); 3]),
        ("basic", |inner| Box::new(inner.layer(BasicAuth::new("r").user("ada", "secret"))), [Some(401); 3]),
        ("bearer", |inner| Box::new(inner.layer(BearerAuth::new("r"))), [Some(401); 3]),
        ("rights", |inner| Box::new(inner.layer(PathRights::new())), [Some(403); 3]),
        ("rate", |inner| Box::new(inner.layer(RateLimit::new(1, Duration::from_secs(3600)))), [Some(429); 3]),
        ("csrf", |inner| Box::new(inner.layer(Csrf::new())), [None, None, Some(403)]),
    ];

    fn hello() -> Handler {
        Box::new(handler_fn(|_| Ok(Response::text("x"))))
    }

    /// If two layers would reject a request, the outer one does, even before the body has arrived.
    #[test]
    fn the_outermost_layer_decides_first() {
        for (inner, around_inner, of_inner) in ROWS {
            for (outer, around_outer, of_outer) in ROWS {
                let server = testing::serve(around_outer(around_inner(hello())));
                for (method, kind) in
                    [(Method::GET, 0), (Method::HEAD, 0), (Method::POST, 2), (Method::PUT, 2), (Method::OPTIONS, 1)]
                {
                    let status = of_outer[kind].or(of_inner[kind]).unwrap_or(200);
                    let row = format!("{outer} around {inner}: {method}");
                    let request = TestRequest::new(method.clone(), "/x").with_header("host", "b.example");
                    let request = request.with_header("sec-fetch-site", "cross-site");
                    // No byte of the body is sent.
                    let request = if kind == 2 { request.with_header("content-length", "1000000") } else { request };
                    server.send(request.clone());
                    let sent = server.send(request);
                    assert_eq!(sent.status(), status, "{row}: {sent:?}");
                    assert_eq!(sent.header("location").is_some(), (300..400).contains(&status), "{row}: {sent:?}");
                    let challenged = sent.header("www-authenticate").is_some();
                    assert_eq!(challenged, status == 401, "{row}: {sent:?}");
                }
            }
        }
    }

    /// An early response below 400 has no error page. It is sent unchanged, except by `finish_response` of the outer
    /// layers.
    #[test]
    fn responses_from_the_head_are_not_errors() {
        let refused = handler_fn(|request| match request.path() {
            "/gone" => Err(Error::new(410, "")),
            "/not-modified" => {
                let stored = Error::new(304, "").with_header("content-security-policy", "sandbox");
                Err(stored.with_header("vary", "Cookie").with_header("etag", "\"a\""))
            }
            _ => Err(Error::new(204, "")),
        });
        let http = Http::new(
            refused.layer(Redirects::parse("/old /new").unwrap()).layer(Cors::new().any_origin()).layer(ErrorPages),
        );
        for (path, status, fields) in [
            ("/old", 301, [None, None, None]),
            ("/not-modified", 304, [Some("sandbox"), Some("Cookie"), None]),
            ("/empty", 204, [None, None, None]),
            ("/gone", 410, [Some("default-src 'none'"), Some("Accept"), Some("text/html; charset=utf-8")]),
        ] {
            let sent = http.respond(&Request::get(path).with_header("accept", "text/html"));
            let names = ["content-security-policy", "vary", "content-type"];
            let found = names.map(|name| sent.header(name).map(|value| value.split(';').next().unwrap().to_owned()));
            let fields = fields.map(|value| value.map(|value| value.split(';').next().unwrap().to_owned()));
            assert_eq!((sent.status().as_u16(), found), (status, fields), "{path}: {sent:?}");
            assert_eq!(sent.body().is_empty(), status < 400, "{path}: {sent:?}");
            assert_eq!(sent.header("access-control-allow-origin"), Some("*"), "{path}: {sent:?}");
        }
    }
}
