//! CORS: lets pages of other sites read responses (the Fetch standard, section 3.3).

use std::time::Duration;

use super::vary::with_vary;
use crate::{BodyPlan, Error, HeaderName, HeaderValue, Layer, Method, Request, Response, Result, StatusCode};

/// Allows pages of other origins to read responses.
///
/// A preflight is the `OPTIONS` that a browser sends before requests that a plain form could not send. The layer
/// responds to it before the body is read, for any path: 204 for an allowed origin, 403 for others. All other responses
/// to requests whose head can be read, including errors, get the CORS fields. With named origins, all of them have
/// `Vary: Origin`. With [any](Cors::any_origin) origin, all of them have the same fields, whether or not the request
/// has an origin. Put this layer outside authentication, because a preflight has no credentials.
///
/// Requests of origins that are not allowed are also served, but the browser does not show the response to the page. So
/// this layer only grants rights. It does not protect against requests that other sites make a browser send (CSRF).
///
/// ```
/// use modest::layers::Cors;
/// use modest::{Http, Request, RequestHandler, Response, handler_fn};
///
/// let app = handler_fn(|_| Ok(Response::text("hello\n"))).layer(Cors::new().origin("https://app.example"));
/// let http = Http::new(app);
/// let sent = http.respond(&Request::get("/").with_header("origin", "https://app.example"));
/// assert_eq!(sent.header("access-control-allow-origin"), Some("https://app.example"));
/// let sent = http.respond(&Request::get("/").with_header("origin", "https://elsewhere.example"));
/// assert_eq!(sent.header("access-control-allow-origin"), None);
/// ```
#[derive(Clone, Debug)]
#[must_use = "does nothing until it is passed to `layer`"]
pub struct Cors {
    origins: Origins,
    methods: HeaderValue,
    headers: HeaderValue,
    exposed: Option<HeaderValue>,
    credentials: bool,
    max_age: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Origins {
    Any,
    Listed(Vec<HeaderValue>),
}

impl Cors {
    /// Creates a layer that allows no origin.
    pub fn new() -> Cors {
        Cors {
            origins: Origins::Listed(Vec::new()),
            methods: HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE"),
            headers: HeaderValue::from_static("content-type"),
            exposed: None,
            credentials: false,
            max_age: None,
        }
    }

    /// Allows pages of this origin, in addition to those added before. Default: none. It is compared byte by byte with
    /// the browser's `Origin`, which is in lower case: scheme, host, and the port unless it is the scheme's default.
    ///
    /// # Panics
    /// If no browser sends such an origin (`https://app.example/` with a slash, `app.example`, upper case), or if it is
    /// `null`, which any site can send.
    pub fn origin(mut self, origin: &str) -> Cors {
        assert!(
            Request::is_origin(origin),
            "{origin:?} is not an origin, such as https://app.example or http://localhost:3000"
        );
        let value = HeaderValue::from_str(origin).unwrap_or_else(|error| panic!("{origin:?}: {error}"));
        match &mut self.origins {
            Origins::Listed(origins) => origins.push(value),
            Origins::Any => {}
        }
        self
    }

    /// Allows pages of any origin, without [credentials](Cors::credentials): for public data. Default: not allowed. Do
    /// not use it for a server on a private network that trusts every client: any page could read from it through its
    /// user's browser.
    ///
    /// # Panics
    /// If credentials are allowed.
    pub fn any_origin(mut self) -> Cors {
        self.origins = Origins::Any;
        self.checked()
    }

    /// Sets the methods that such pages can use. Default: GET, HEAD, POST, PUT, PATCH and DELETE.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Cors {
        let names: Vec<String> = methods.into_iter().map(|method| method.to_string()).collect();
        self.methods = list(&names);
        self
    }

    /// Sets the request fields that such pages can send, in addition to those of every form. Default: `Content-Type`.
    ///
    /// # Panics
    /// If a name is not a valid field name. (`*` is valid, and means all but `Authorization`. With credentials it has
    /// no special meaning.)
    pub fn headers<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Cors {
        self.headers = list(&field_names(names));
        self
    }

    /// Sets the response fields that such pages can read, in addition to `Content-Type` and similar ones. Default:
    /// none.
    ///
    /// # Panics
    /// If a name is not a valid field name.
    pub fn expose<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Cors {
        self.exposed = Some(list(&field_names(names))).filter(|list| !list.is_empty());
        self
    }

    /// Sets whether such pages can make requests with the user's cookies for this server, and read the responses.
    /// Default: false.
    ///
    /// # Panics
    /// If any origin is allowed: every site could then read the user's data.
    pub fn credentials(mut self, allow: bool) -> Cors {
        self.credentials = allow;
        self.checked()
    }

    /// Sets how long a browser can cache the response to a preflight, in whole seconds. Default: the browser's default,
    /// which is 5 seconds. Browsers cache it for up to a day.
    pub fn max_age(mut self, age: Duration) -> Cors {
        self.max_age = Some(age);
        self
    }

    fn checked(self) -> Cors {
        let for_all = self.credentials && self.origins == Origins::Any;
        assert!(!for_all, "credentials can't be allowed for any origin: name the origins");
        self
    }

    /// Returns the value of Access-Control-Allow-Origin for this request. `*` is also sent without an Origin: a cache
    /// may keep the response and return it to a page that sends one (the Fetch standard, "CORS protocol and HTTP
    /// caches").
    fn allowed(&self, request: &Request) -> Option<HeaderValue> {
        let Origins::Listed(origins) = &self.origins else { return Some(HeaderValue::from_static("*")) };
        let origin = request.only_line("origin").ok()??;
        origins.iter().find(|known| known.as_bytes() == origin).cloned()
    }

    fn preflight(&self, request: &Request) -> Error {
        let Some(origin) = self.allowed(request) else {
            return Error::new(StatusCode::FORBIDDEN, "requests from pages of this origin are not allowed");
        };
        let mut answer = Error::new(StatusCode::NO_CONTENT, "")
            .with_header("access-control-allow-origin", origin)
            .with_header("access-control-allow-methods", self.methods.clone());
        if !self.headers.is_empty() {
            answer = answer.with_header("access-control-allow-headers", self.headers.clone());
        }
        if let Some(age) = self.max_age {
            answer = answer.with_header("access-control-max-age", age.as_secs());
        }
        answer
    }
}

default_is_new!(Cors);

impl Layer for Cors {
    fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
        if is_preflight(request) { Err(self.preflight(request)) } else { Ok(()) }
    }

    fn finish_response(&self, request: &Request, mut response: Response) -> Response {
        if let Some(origin) = self.allowed(request) {
            response = response.with_header("access-control-allow-origin", origin);
            if self.credentials {
                response = response.with_header("access-control-allow-credentials", "true");
            }
            if let Some(exposed) = &self.exposed
                && !is_preflight(request)
            {
                response = response.with_header("access-control-expose-headers", exposed.clone());
            }
        }
        match self.origins {
            Origins::Any => response,
            Origins::Listed(_) => with_vary(response, "Origin"),
        }
    }
}

/// Returns whether this is a CORS-preflight request (the Fetch standard, section 3.3.2).
fn is_preflight(request: &Request) -> bool {
    *request.method() == Method::OPTIONS
        && request.header_all("origin").next().is_some()
        && request.header_all("access-control-request-method").next().is_some()
}

fn field_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let checked = |name: &str| match HeaderName::try_from(name) {
        Ok(name) => name.to_string(),
        Err(_) => panic!("{name:?} is not a valid field name"),
    };
    names.into_iter().map(checked).collect()
}

fn list(names: &[String]) -> HeaderValue {
    // Names of methods and of fields are tokens, which are valid in a value.
    HeaderValue::try_from(names.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Http, RequestHandler, SentResponse, handler_fn, testing};

    const APP: &str = "https://app.example";

    fn app() -> impl RequestHandler {
        handler_fn(|request| match request.path() {
            "/missing" => Err(Error::new(404, "")),
            "/star" => Ok(Response::text("x").with_header("access-control-allow-origin", "*")),
            "/tagged" => Ok(Response::text("x").with_etag(crate::ETag::strong("a")?)),
            "/panic" => panic!("as asked"),
            _ => Ok(Response::text("x").with_header("vary", "Cookie")),
        })
    }

    fn ask(cors: &Cors, target: &str, fields: &[(&str, &str)]) -> SentResponse {
        let http = Http::new(app().layer(cors.clone()));
        http.respond(
            &fields.iter().fold(Request::get(target), |request, (name, value)| request.with_header(name, value)),
        )
    }

    fn preflight(origin: &str, method: &str) -> Request {
        Request::new(Method::OPTIONS, "/any/path")
            .unwrap()
            .with_header("origin", origin)
            .with_header("access-control-request-method", method)
    }

    #[test]
    fn only_allowed_origins_can_read() {
        let listed = Cors::new().origin(APP).origin("http://localhost:3000");
        let any = Cors::new().any_origin();
        for (cors, origins, allowed) in [
            (&listed, &[APP][..], Some(APP)),
            (&listed, &["http://localhost:3000"], Some("http://localhost:3000")),
            (&listed, &[], None),
            (&listed, &["null"], None),
            (&listed, &[""], None),
            (&listed, &["*"], None),
            (&listed, &["https://app.example.evil.example"], None),
            (&listed, &["https://evilapp.example"], None),
            (&listed, &["https://app.example:8443"], None),
            (&listed, &["https://app.example:443"], None),
            (&listed, &["http://app.example"], None),
            (&listed, &["HTTPS://app.example"], None),
            (&listed, &["https://app.example/"], None),
            (&listed, &["https://app.example, https://evil.example"], None),
            (&listed, &["https://app.example https://evil.example"], None),
            (&listed, &[APP, "https://evil.example"], None),
            (&listed, &[APP, APP], None),
            (&listed, &["http://localhost:30000"], None),
            (&any, &["https://evil.example"], Some("*")),
            (&any, &["null"], Some("*")),
            (&any, &[], Some("*")), // a cache may return it to a page that sends an Origin
        ] {
            let fields: Vec<_> = origins.iter().map(|origin| ("origin", *origin)).collect();
            let sent = ask(cors, "/", &fields);
            assert_eq!(sent.header("access-control-allow-origin"), allowed, "{origins:?}");
            assert_eq!(sent.header("access-control-allow-credentials"), None, "{origins:?}");
            let vary = if *cors.origins_for_test() == Origins::Any { "Cookie" } else { "Cookie, Origin" };
            assert_eq!((sent.status().as_u16(), sent.header("vary")), (200, Some(vary)), "{origins:?}");
        }
    }

    impl Cors {
        fn origins_for_test(&self) -> &Origins {
            &self.origins
        }
    }

    #[test]
    fn errors_have_cors_fields() {
        let cors = Cors::new().origin(APP).credentials(true).expose(["X-Total"]);
        for (target, field, status) in [
            ("/", ("accept", "*/*"), 200),
            ("/missing", ("accept", "*/*"), 404),
            ("/tagged", ("if-none-match", "\"a\""), 304),
            ("/tagged", ("if-match", "\"b\""), 412),
            ("/tagged", ("range", "bytes=7-"), 416),
            ("/tagged", ("range", "bytes=0-0"), 206),
            ("/star", ("accept", "*/*"), 200),
            ("/panic", ("accept", "*/*"), 500),
        ] {
            let sent = ask(&cors, target, &[("origin", APP), field]);
            assert_eq!(sent.status().as_u16(), status, "{target} {field:?}");
            let found: Vec<_> = sent.headers().get_all("access-control-allow-origin").iter().collect();
            assert_eq!(found, [APP], "{target} {field:?}");
            assert_eq!(sent.header("access-control-allow-credentials"), Some("true"), "{target} {field:?}");
            assert_eq!(sent.header("access-control-expose-headers"), Some("x-total"), "{target} {field:?}");
            assert!(sent.header("vary").unwrap().contains("Origin"), "{target} {field:?}");
        }
    }

    #[test]
    fn preflights_get_the_allowed_methods_and_fields() {
        let cors = Cors::new()
            .origin(APP)
            .methods([Method::GET, Method::PUT])
            .headers(["Content-Type", "Authorization"])
            .expose(["X-Total"])
            .credentials(true)
            .max_age(Duration::from_secs(600));
        // A handler without `do_options` that renders all error pages.
        struct Picky;
        impl RequestHandler for Picky {
            fn error_response(&self, _: Option<&Request>, error: &Error) -> Option<Response> {
                Some(Response::text("an error").with_error(error))
            }
        }
        let http = Http::new(Picky.layer(cors));
        let sent = http.respond(&preflight(APP, "PUT"));
        assert_eq!((sent.status().as_u16(), sent.body()), (204, &b""[..]));
        for (name, value) in [
            ("access-control-allow-origin", Some(APP)),
            ("access-control-allow-methods", Some("GET, PUT")),
            ("access-control-allow-headers", Some("content-type, authorization")),
            ("access-control-allow-credentials", Some("true")),
            ("access-control-expose-headers", None),
            ("access-control-max-age", Some("600")),
            ("vary", Some("Origin")),
            ("content-type", None),
        ] {
            assert_eq!(sent.header(name), value, "{name}");
            assert!(sent.headers().get_all(name).iter().count() <= 1, "{name}");
        }
        let sent = http.respond(&preflight("https://evil.example", "PUT"));
        assert_eq!((sent.status().as_u16(), sent.header("vary")), (403, Some("Origin")));
        assert!(sent.headers().keys().all(|name| !name.as_str().starts_with("access-control")), "{sent:?}");
        // An OPTIONS request that is not a preflight goes to the handler.
        let plain = Request::new(Method::OPTIONS, "/").unwrap().with_header("origin", APP);
        assert_eq!(http.respond(&plain).status(), 501);
    }

    #[test]
    fn a_preflight_does_not_wait_for_the_body() {
        let server = testing::serve(app().layer(Cors::new().origin(APP)));
        let request = testing::TestRequest::new(Method::OPTIONS, "/")
            .with_header("origin", APP)
            .with_header("access-control-request-method", "POST")
            .with_header("content-length", "1000000"); // never sent
        assert_eq!(server.send(request).status(), 204);
    }

    #[test]
    fn invalid_origins_are_recognized() {
        for (text, is) in [
            (APP, true),
            ("http://localhost:3000", true),
            ("http://[::1]:3000", true),
            ("http://[::80]", true),
            ("https://xn--bcher-kva.example", true),
            ("chrome-extension://abcdefghijklmnop", true),
            ("null", false),
            ("*", false),
            ("", false),
            ("app.example", false),
            ("https://", false),
            ("://app.example", false),
            ("https://app.example/", false),
            ("https://App.example", false),
            ("https://app.example:443", false),
            ("http://app.example:80", false),
            ("http://[::1]:80", false),
            ("https://*.example", false),
            ("https://a.example,https://b.example", false),
            ("https://app.example\r\nx: y", false),
            ("https://user@app.example", false),
        ] {
            assert_eq!(Request::is_origin(text), is, "{text:?}");
        }
    }

    #[test]
    #[should_panic = "name the origins"]
    fn credentials_after_any_origin_panic() {
        let _ = Cors::new().any_origin().credentials(true);
    }

    #[test]
    #[should_panic = "name the origins"]
    fn any_origin_after_credentials_panics() {
        let _ = Cors::new().credentials(true).any_origin();
    }
}
