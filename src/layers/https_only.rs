//! Redirects plain HTTP to HTTPS.

use std::time::Duration;

use super::early::redirect;
use crate::{BodyPlan, Error, HeaderValue, Layer, Method, Request, Response, Result};

/// Serves nothing over plain HTTP: GET and HEAD are redirected to `https` with 308, and other methods rejected with
/// 403, before a body is read. [Secure](Request::is_secure) requests pass.
///
/// The redirect is not cached (`Cache-Control: no-cache`). To make browsers use `https` from the start, enable
/// [HSTS](HttpsOnly::hsts), which is off by default.
///
/// ```
/// use modest::layers::HttpsOnly;
/// use modest::{Client, Http, Request, RequestHandler, Response, TlsInfo, handler_fn};
/// use std::time::Duration;
///
/// let app = handler_fn(|_| Ok(Response::text("hello\n"))).layer(HttpsOnly::new().hsts(Duration::from_secs(3600)));
/// let http = Http::new(app);
///
/// let sent = http.respond(&Request::get("/a?b").with_header("host", "a.example:8000"));
/// assert_eq!((sent.status().as_u16(), sent.header("location")), (308, Some("https://a.example/a?b")));
///
/// let secure = Request::get("/").client().clone().with_tls(TlsInfo::new("TLSv1.3"));
/// let sent = http.respond(&Request::get("/").with_client(secure));
/// assert_eq!(sent.header("strict-transport-security"), Some("max-age=3600"));
/// ```
#[derive(Clone, Debug)]
#[must_use = "does nothing until it is passed to `layer`"]
pub struct HttpsOnly {
    port: Option<u16>,
    hsts: Option<HeaderValue>,
}

impl HttpsOnly {
    /// Creates a layer that redirects to port 443, without HSTS.
    pub fn new() -> HttpsOnly {
        HttpsOnly { port: Some(443), hsts: None }
    }

    /// Sets the port to redirect to. Default: 443, which is left out of the URL; `None`: the port of the request, for a
    /// port that [accepts both](crate::Tls::plain).
    pub fn port(mut self, port: impl Into<Option<u16>>) -> HttpsOnly {
        self.port = port.into();
        self
    }

    /// Sends `Strict-Transport-Security` (RFC 6797): after each response, browsers use only `https` for this host for
    /// this long, in whole seconds. Zero ends it. Default: not sent. A host that sends it cannot go back to HTTP before
    /// that time has passed.
    pub fn hsts(mut self, age: impl Into<Option<Duration>>) -> HttpsOnly {
        let field = |age: Duration| HeaderValue::try_from(format!("max-age={}", age.as_secs()));
        self.hsts = age.into().and_then(|age| field(age).ok());
        self
    }

    /// Returns the URL to redirect to; `None` if the client has sent no host.
    fn address(&self, request: &Request) -> Option<String> {
        let host = request.host()?;
        // A colon after the bracket of an IPv6 address, or the only one.
        let end = host.rfind(']').map_or(0, |end| end + 1);
        let (name, asked) = host.split_at(host[end..].find(':').map_or(host.len(), |colon| end + colon));
        let port = match self.port {
            None => asked.to_owned(),
            Some(443) => String::new(),
            Some(port) => format!(":{port}"),
        };
        let target = request.target();
        let path = match target.split_once("://") {
            Some((_, rest)) if !target.starts_with('/') => rest.find(['/', '?']).map_or("", |at| &rest[at..]),
            _ => target,
        };
        Some(format!("https://{name}{port}{path}"))
    }
}

default_is_new!(HttpsOnly);

impl Layer for HttpsOnly {
    fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
        if request.is_secure() {
            return Ok(());
        }
        let refused = |status: u16| Error::new(status, "This is served only over TLS. Use https.");
        Err(match [Method::GET, Method::HEAD].contains(request.method()) {
            true => self.address(request).map_or_else(|| refused(400), |address| redirect(308, &address)),
            false => refused(403),
        })
    }

    fn finish_response(&self, request: &Request, response: Response) -> Response {
        match self.hsts.as_ref().filter(|_| request.is_secure()) {
            Some(hsts) => response.with_header("strict-transport-security", hsts),
            None => response, // RFC 6797, section 7.2: never over HTTP
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Forwarded, Http, RequestHandler, TlsInfo, handler_fn};

    #[test]
    fn requests_are_redirected_to_https() {
        let http = |port| {
            Http::new(
                handler_fn(|_| Ok(Response::text("x")))
                    .layer(HttpsOnly::new().port(Some(port).filter(|port| *port > 0))),
            )
        };
        for (port, host, target, wanted) in [
            (0, "a.example:8443", "/", "https://a.example:8443/"),
            (0, "a.example", "/", "https://a.example/"),
            (443, "a.example", "/", "https://a.example/"),
            (443, "a.example:80", "/b?c=d", "https://a.example/b?c=d"),
            (8443, "a.example:80", "/b%20c", "https://a.example:8443/b%20c"),
            (8443, "[::1]:80", "/", "https://[::1]:8443/"),
            (443, "[::1]", "/", "https://[::1]/"),
            (443, "a.example", "/?to=http://b/", "https://a.example/?to=http://b/"),
            (443, "a.example", "http://b.example:80/c?d", "https://b.example/c?d"),
            (443, "a.example", "http://b.example", "https://b.example"),
        ] {
            let request = Request::new(Method::GET, target).unwrap().with_header("host", host);
            let sent = http(port).respond(&request);
            assert_eq!((sent.status().as_u16(), sent.header("location")), (308, Some(wanted)), "{host} {target}");
            assert_eq!(sent.header("cache-control"), Some("no-cache"));
        }
    }

    #[test]
    fn plain_posts_are_rejected_and_secure_requests_pass() {
        let http =
            Http::new(handler_fn(|_| Ok(Response::text("x"))).layer(HttpsOnly::new().hsts(Duration::from_secs(60))));
        let secure = |request: Request| {
            let client = request.client().clone().with_tls(TlsInfo::new("TLSv1.2"));
            request.with_client(client)
        };
        let told = |request: Request, scheme: &str| {
            request.put(Forwarded { scheme: Some(scheme.into()), ..Forwarded::default() });
            request
        };
        for (name, request, status, hsts) in [
            ("post", Request::post("/", "a"), 403, None),
            ("secure get", secure(Request::get("/")), 200, Some("max-age=60")),
            ("secure post", secure(Request::post("/", "a")), 200, Some("max-age=60")),
            ("a proxy's word", told(Request::get("/"), "https"), 200, Some("max-age=60")),
            ("a proxy's word of HTTP, over TLS", told(secure(Request::get("/")), "http"), 308, None),
        ] {
            let sent = http.respond(&request);
            assert_eq!((sent.status().as_u16(), sent.header("strict-transport-security")), (status, hsts), "{name}");
        }
    }
}
