//! Rejects requests that pages of other sites make a browser send (CSRF).

#[cfg(feature = "sessions")]
use std::io::Read;

#[cfg(feature = "sessions")]
use super::{Session, credentials::equal};
use crate::{BodyPlan, Error, Layer, Method, Next, Request, Response, Result};

/// Rejects requests that a page of another site makes the browser send, with the user's cookies and passwords, unless
/// their method changes nothing: 403 before the body is read.
///
/// GET, HEAD and OPTIONS pass, so handlers must not change anything for them. For other methods the browser names the
/// page's site in `Sec-Fetch-Site` (all browsers since 2023) or in `Origin` ([`Request::is_from_own_page`]). Programs
/// such as curl send neither field and pass without a session, because no page can make them send requests.
///
/// Old browsers that send neither field look like programs. If the request belongs to a [`Session`](super::Session)
/// (feature `sessions`), such a request must have the session's token
/// ([`Session::csrf_token`](super::Session::csrf_token)): in the form field `csrf_token` of an
/// `application/x-www-form-urlencoded` form of up to 1 MiB, or in the field `X-CSRF-Token`. The layer
/// [`Sessions`](super::Sessions) must be outside this one. Inside it, it rejects each request with a 500, because no
/// token would be checked.
///
/// ```
/// use modest::layers::Csrf;
/// use modest::{Http, Request, RequestHandler, Response, handler_fn};
///
/// let http = Http::new(handler_fn(|_| Ok(Response::text("changed\n"))).layer(Csrf::new()));
/// for (site, status) in [("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403)] {
///     let request = Request::post("/", "").with_header("sec-fetch-site", site);
///     assert_eq!(http.respond(&request).status(), status);
/// }
/// ```
#[must_use = "does nothing until it is passed to `layer`"]
#[derive(Default)]
pub struct Csrf {
    trusted: Vec<String>,
    exempt: Option<Box<Exempt>>,
}

type Exempt = dyn Fn(&Request) -> bool + Send + Sync;

impl Csrf {
    /// Creates a layer that accepts pages of this server only.
    pub fn new() -> Csrf {
        Csrf::default()
    }

    /// Also accepts pages of this origin, such as `https://app.example`. Default: none. Pages of that origin can then
    /// do everything that pages of this server can.
    ///
    /// # Panics
    /// If no page has this origin, for example because it has a path, or the default port of its scheme.
    pub fn trust(mut self, origin: impl Into<String>) -> Csrf {
        let origin = origin.into();
        let is_of_page = origin.starts_with("http://") || origin.starts_with("https://");
        assert!(is_of_page && Request::is_origin(&origin), "{origin:?} is not an origin, such as https://app.example");
        self.trusted.push(origin);
        self
    }

    /// Also accepts all requests for which this closure returns true. Default: none. Use it for paths whose clients
    /// authenticate in another way, such as webhooks.
    pub fn exempt(mut self, exempt: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Csrf {
        self.exempt = Some(Box::new(exempt));
        self
    }

    fn is_of_concern(&self, request: &Request) -> bool {
        let only_reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
        !only_reads && !self.exempt.as_ref().is_some_and(|exempt| exempt(request))
    }

    /// Returns whether a page of this server or of a trusted origin sent the request. `None` if the browser does not
    /// report it.
    fn is_own_page(&self, request: &Request) -> Option<bool> {
        let is_trusted = |origin: &[u8]| self.trusted.iter().any(|trusted| trusted.as_bytes() == origin);
        match request.only_line("origin") {
            Ok(Some(origin)) if is_trusted(origin) => Some(true),
            _ => request.is_from_own_page(),
        }
    }
}

impl Layer for Csrf {
    fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
        #[cfg(feature = "sessions")]
        if request.value::<Session>().is_none() {
            request.put(NoSessionOutside);
        }
        match self.is_own_page(request) {
            Some(false) if self.is_of_concern(request) => {
                Err(Error::new(403, "This request comes from a page of another site."))
            }
            _ => Ok(()),
        }
    }

    fn handle(&self, request: &Request, next: Next<'_>) -> Result<Response> {
        if self.is_own_page(request).is_none() && self.is_of_concern(request) {
            check_token(request)?;
        }
        next.run(request)
    }
}

/// Stored in a request that has no session when `Csrf` is called. If `Sessions` is inside `Csrf`, it finds this and
/// rejects the request.
#[cfg(feature = "sessions")]
pub(super) struct NoSessionOutside;

/// Checks the token of a session, for requests of old browsers and of programs that use a session.
#[cfg(feature = "sessions")]
fn check_token(request: &Request) -> Result<()> {
    let Some(session) = request.value::<Session>().filter(|session| session.exists()) else { return Ok(()) };
    let sent = match request.header("x-csrf-token") {
        Some(token) => Some(token.to_owned()),
        None => token_in_form(request),
    };
    let known = session.known_csrf_token();
    match (known, sent) {
        (Some(known), Some(sent)) if equal(known.as_bytes(), sent.as_bytes()) => Ok(()),
        _ => Err(Error::new(
            403,
            "This form is too old. Go back, reload the page, and send it once more. A program with a session must send its token in X-CSRF-Token.",
        )),
    }
}

/// The longest form in which a token is found, in bytes. The form is in memory while it is read.
#[cfg(feature = "sessions")]
const LONGEST_FORM: u64 = 1 << 20;

#[cfg(feature = "sessions")]
fn token_in_form(request: &Request) -> Option<String> {
    const FORM: &str = "application/x-www-form-urlencoded";
    if !request.has_media_type(FORM) || request.body().len() > LONGEST_FORM {
        return None;
    }
    let mut text = Vec::new();
    let length = request.reader().take(LONGEST_FORM + 1).read_to_end(&mut text).ok()?;
    if length as u64 > LONGEST_FORM {
        return None;
    }
    let form = Request::post("/", text).with_header("content-type", FORM).form();
    form.ok()?.get("csrf_token").map(str::to_owned)
}

#[cfg(not(feature = "sessions"))]
fn check_token(_: &Request) -> Result<()> {
    Ok(())
}

opaque!(Csrf { trusted });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestRequest;
    use crate::{Http, RequestHandler, handler_fn, testing};

    #[test]
    fn own_and_foreign_pages_are_distinguished() {
        let csrf = Csrf::new().trust("https://app.example").exempt(|request| request.path() == "/hook");
        let http = Http::new(handler_fn(|_| Ok(Response::no_content())).layer(csrf));
        for (fields, accepted) in [
            (&[][..], true),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-origin"), ("origin", "http://localhost")], true),
            (&[("sec-fetch-site", "cross-site"), ("origin", "http://localhost")], false),
            (&[("sec-fetch-site", "cross-site"), ("origin", "https://app.example")], true),
            (&[("origin", "https://app.example")], true),
            (&[("origin", "http://app.example")], false),
            (&[("origin", "https://app.example.evil")], false),
            (&[("origin", "https://app.example"), ("origin", "https://evil.example")], false),
            (&[("origin", "http://localhost")], true),
        ] {
            for (method, path, concerns) in [
                ("POST", "/", true),
                ("PUT", "/", true),
                ("DELETE", "/", true),
                ("BREW", "/", true),
                ("GET", "/", false),
                ("HEAD", "/", false),
                ("OPTIONS", "/", false),
                ("POST", "/hook", false),
            ] {
                let request = Request::new(method.parse().unwrap(), path).unwrap();
                let request = fields.iter().fold(request, |request, (name, value)| request.with_header(name, value));
                let status = if accepted || !concerns { 204 } else { 403 };
                assert_eq!(http.respond(&request).status(), status, "{method} {path} {fields:?}");
            }
        }
    }

    #[test]
    fn requests_are_rejected_from_the_head() {
        let server = testing::serve(handler_fn(|_| Ok(Response::no_content())).layer(Csrf::new()));
        let request = TestRequest::new(Method::PUT, "/").with_header("sec-fetch-site", "cross-site");
        let sent = server.send(request.with_header("content-length", "1000000")); // never sent
        assert_eq!(sent.status(), 403, "{sent:?}");
    }

    #[test]
    fn invalid_origins_are_recognized() {
        for origin in [
            "",
            "app.example",
            "https://app.example/",
            "ftp://a",
            "https://",
            "https://A",
            "https://u@a",
            "https://a:443",
        ] {
            assert!(std::panic::catch_unwind(|| Csrf::new().trust(origin)).is_err(), "{origin}");
        }
    }
}
