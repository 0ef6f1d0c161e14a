//! Handlers that contain other handlers: each of their methods is called, and all errors have one format.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use modest::{
    BodyPlan, Client, Error, Http, Layer, LogRecord, Method, Next, Request, RequestHandler, Response, Result, Routes,
    StaticFileHandler, User, handler_fn, layer_fn, testing,
};

use crate::peer::{Answer, Peer};

/// Notes each of its calls, and has its own result for each.
#[derive(Clone)]
struct Told {
    name: &'static str,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Told {
    fn hear(&self, what: &str) {
        self.heard.lock().unwrap().push(format!("{} {what}", self.name));
    }
}

impl RequestHandler for Told {
    fn do_get(&self, request: &Request) -> Result<Response> {
        self.hear("get");
        match request.path() {
            "/error" => Err(Error::new(418, "")),
            _ => Ok(Response::text(self.name)),
        }
    }

    fn do_post(&self, _: &Request) -> Result<Response> {
        self.hear("post");
        Ok(Response::text(self.name))
    }

    fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
        self.hear("before_body");
        match request.header("x-key") {
            Some("wrong") => Err(Error::new(403, "")),
            _ => Ok(()),
        }
    }

    fn verify_client(&self, _: &Client) -> bool {
        self.hear("verify_client");
        true
    }

    fn error_response(&self, _: Option<&Request>, error: &Error) -> Option<Response> {
        self.hear("error_response");
        Some(Response::text(format!("{}'s page", self.name)).with_error(error))
    }

    fn finish_response(&self, _: &Request, response: Response) -> Response {
        self.hear("finish_response");
        response.with_added_header("x-finished", self.name)
    }

    fn log_request(&self, _: &LogRecord<'_>) {
        self.hear("log_request");
    }
}

impl Layer for Told {
    fn before_body(&self, _: &Request, _: &mut BodyPlan) -> Result<()> {
        self.hear("before_body");
        Ok(())
    }

    fn handle(&self, request: &Request, next: Next<'_>) -> Result<Response> {
        self.hear("handle");
        next.run(request)
    }

    fn verify_client(&self, _: &Client) -> bool {
        self.hear("verify_client");
        true
    }

    fn error_response(&self, _: Option<&Request>, _: &Error) -> Option<Response> {
        self.hear("error_response");
        None
    }

    fn finish_response(&self, _: &Request, response: Response) -> Response {
        self.hear("finish_response");
        response.with_added_header("x-finished", self.name)
    }

    fn log_request(&self, _: &LogRecord<'_>) {
        self.hear("log_request");
    }
}

/// Delegates everything to another handler.
struct Leaves<H>(H);

impl<H: RequestHandler> RequestHandler for Leaves<H> {
    fn delegate(&self, _: &Request) -> Option<&dyn RequestHandler> {
        Some(&self.0)
    }
}

type Serve = fn(Told, Told) -> Box<dyn Fn() -> Peer>;

/// Ways to wrap a handler.
const WAYS: [(&str, Serve); 6] = [
    ("by itself", |inner, _| serve(inner)),
    ("delegated to", |inner, _| serve(Leaves(Leaves(inner)))),
    ("layered", |inner, outer| serve(RequestHandler::layer(inner, outer))),
    ("a fallback of routes", |inner, _| {
        serve(Routes::new().get("/x", |_, _| Ok(Response::text("x"))).fallback(inner).with_state(()))
    }),
    ("mounted", |inner, _| serve(Routes::<()>::new().mount("/a", inner.clone()).fallback(inner).with_state(()))),
    ("boxed", |inner, _| serve(Box::new(Arc::new(inner)) as Box<dyn RequestHandler>)),
];

fn serve(handler: impl RequestHandler) -> Box<dyn Fn() -> Peer> {
    let http = Http::new(handler);
    Box::new(move || Peer::new(&http))
}

fn told(name: &'static str) -> (Told, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::default();
    (Told { name, heard: Arc::clone(&heard) }, heard)
}

#[test]
fn all_hooks_run_through_any_wrapper() {
    for (way, around) in WAYS {
        for (target, wire, status, expected) in [
            ("/", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, "before_body get finish_response log_request"),
            ("/a/b", "GET /a/b HTTP/1.1\r\nHost: a\r\n\r\n", 200, "before_body get finish_response log_request"),
            (
                "/error",
                "GET /error HTTP/1.1\r\nHost: a\r\n\r\n",
                418,
                "before_body get error_response finish_response log_request",
            ),
            (
                "/ with a body",
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
                200,
                "before_body post finish_response log_request",
            ),
            (
                "/ declined from the head",
                "POST / HTTP/1.1\r\nHost: a\r\nX-Key: wrong\r\nContent-Length: 9999999\r\n\r\n",
                403,
                "before_body error_response finish_response log_request",
            ),
        ] {
            let ((inner, heard), (outer, _)) = (told("inner"), told("outer"));
            let mut peer = around(inner, outer)();
            peer.send(wire);
            let answers = Answer::all(&peer.said, &[]);
            assert_eq!(answers.first().map(|answer| answer.status), Some(status), "{way}, {target}: {}", peer.text());
            assert!(peer.text().to_lowercase().contains("x-finished: inner"), "{way}, {target}: {}", peer.text());
            let heard = heard.lock().unwrap();
            let heard: Vec<&str> = heard.iter().filter_map(|line| line.strip_prefix("inner ")).collect();
            let without_verify: Vec<&str> = heard.iter().copied().filter(|what| *what != "verify_client").collect();
            assert_eq!(without_verify.join(" "), expected, "{way}, {target}");
            assert!(heard.contains(&"verify_client"), "{way}, {target}: {heard:?}");
        }
    }
}

/// The outermost layer comes first. If the request has a body, all of them decide from the head before any handles the
/// request.
#[test]
fn layers_are_called_from_the_outside_in() {
    const VERIFIED: &str = "outer verify_client, middle verify_client, inner verify_client";
    const AFTER: &str = "inner error_response, inner finish_response, middle finish_response, outer finish_response, \
        inner log_request, middle log_request, outer log_request";
    for (wire, expected) in [
        (
            "GET /error HTTP/1.1\r\nHost: a\r\n\r\n",
            "outer before_body, outer handle, middle before_body, middle handle, inner before_body, inner get",
        ),
        (
            "GET /error HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
            "outer before_body, middle before_body, inner before_body, outer handle, middle handle, inner get",
        ),
        (
            "GET /error HTTP/1.1\r\nHost: a\r\nX-Key: wrong\r\nContent-Length: 1\r\n\r\nx",
            "outer before_body, middle before_body, inner before_body, outer handle, middle handle",
        ),
    ] {
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let named = |name| Told { name, heard: Arc::clone(&heard) };
        let app = RequestHandler::layer(named("inner"), named("middle")).layer(named("outer"));
        Peer::new(&Http::new(app)).send(wire);
        assert_eq!(heard.lock().unwrap().join(", "), format!("{VERIFIED}, {expected}, {AFTER}"), "{wire}");
    }
}

#[test]
fn a_delegate_can_reject_a_client() {
    struct Picky;
    impl RequestHandler for Picky {
        fn verify_client(&self, client: &Client) -> bool {
            client.address().port() != Some(4711)
        }
    }
    let http = Http::new(Leaves(Picky));
    assert!(Peer::new(&http).send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").text().starts_with("HTTP/1.1 403 "));
}

/// An API with errors in JSON, which any page may read.
struct Api;

impl RequestHandler for Api {
    fn do_get(&self, request: &Request) -> Result<Response> {
        match request.path() {
            "/panic" => panic!("in the handler"),
            "/missing" => Err(Error::new(404, "no")),
            "/file" => Ok(Response::file("/no/such/file")),
            "/broken" => Ok(Response::text("a").with_header("x", "a\nb")),
            _ => Ok(Response::text("0123456789").with_etag(modest::ETag::strong("t")?)),
        }
    }

    fn error_response(&self, _: Option<&Request>, error: &Error) -> Option<Response> {
        let body = format!("{{\"error\":{}}}", error.status().as_u16());
        let page = Response::bytes(body).with_content_type("application/json").with_error(error);
        Some(page.with_header("access-control-allow-origin", "*"))
    }
}

#[test]
fn all_errors_use_the_custom_page() {
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(9000));
    let fields = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(101));
    for (what, wire, status) in [
        ("no such path", "GET /missing HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("a file that is not there", "GET /file HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("a field that can't be sent", "GET /broken HTTP/1.1\r\nHost: a\r\n\r\n", 500),
        ("a panic", "GET /panic HTTP/1.1\r\nHost: a\r\n\r\n", 500),
        ("unknown method", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        ("a condition", "GET / HTTP/1.1\r\nHost: a\r\nIf-Match: \"x\"\r\n\r\n", 412),
        ("a range", "GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=99-\r\n\r\n", 416),
        ("no request", "nonsense\r\n\r\n", 400),
        ("no host", "GET / HTTP/1.1\r\n\r\n", 400),
        ("a bad body", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
        ("too long a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", 413),
        ("too long a target", &long, 414),
        ("too many fields", &fields, 431),
        ("an expectation", "GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417),
        ("no proxy", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501),
    ] {
        let mut peer = Peer::new(&Http::new(Api));
        peer.send(wire);
        uses_the_custom_page(what, &peer, status);
    }
    let mut slow = Peer::new(&Http::new(Api));
    slow.send("GET / HT").late();
    uses_the_custom_page("a slow head", &slow, 408);
    let mut busy = Peer::new(&Http::new(Api));
    busy.no_slots = true;
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    uses_the_custom_page("a full house", &busy, 503);
}

fn uses_the_custom_page(what: &str, peer: &Peer, status: u16) {
    let text = peer.text();
    assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {text}");
    let lower = text.to_lowercase();
    assert!(lower.contains("content-type: application/json"), "{what}: {text}");
    assert!(lower.contains("access-control-allow-origin: *"), "{what}: {text}");
    assert!(text.ends_with(&format!("{{\"error\":{status}}}")), "{what}: {text}");
}

#[test]
fn a_faulty_error_page_falls_back_to_the_plain_one() {
    struct Hopeless(fn() -> Response);
    impl RequestHandler for Hopeless {
        fn error_response(&self, _: Option<&Request>, _: &Error) -> Option<Response> {
            Some((self.0)())
        }
    }
    for (what, page) in [
        ("it panics", (|| panic!("in the page")) as fn() -> Response),
        ("it can't be sent", || Response::text("a").with_header("a b", "c")),
        ("it has no status", || Response::new(99)),
    ] {
        for wire in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "nonsense\r\n\r\n"] {
            let mut peer = Peer::new(&Http::new(Hopeless(page)));
            peer.send(wire);
            assert!(peer.text().starts_with("HTTP/1.1 500 "), "{what}: {}", peer.text());
            assert!(peer.text().contains("text/html"), "{what}: {}", peer.text());
        }
    }
}

#[test]
fn unserved_requests_are_rejected_from_the_head() {
    let app = || {
        Routes::new()
            .get("/page", |_: &(), _| Ok(Response::text("page")))
            .mount("/files", StaticFileHandler::new("www").unwrap().prefix("/files").unwrap())
            .with_state(())
    };
    for (what, target, status, allow) in [
        ("no method", "/page", 405, Some("GET, HEAD, OPTIONS")),
        ("no path", "/no", 404, None),
        ("a folder", "/files/a", 405, Some("GET, HEAD, OPTIONS")),
    ] {
        for fields in
            ["Content-Length: 10000000", "Transfer-Encoding: chunked", "Content-Length: 5\r\nExpect: 100-continue"]
        {
            let mut peer = Peer::new(&Http::new(app()));
            peer.send(format!("POST {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"));
            let answers = Answer::all(&peer.said, &[]);
            assert_eq!(answers[0].status, status, "{what}, {fields}: {}", peer.text());
            assert_eq!(answers[0].field("allow"), allow, "{what}, {fields}: {}", peer.text());
            assert!(!peer.text().contains("100 Continue"), "{what}, {fields}");
        }
    }
}

#[test]
fn the_most_specific_route_handles_a_request() {
    let shown = |request: &Request, name: &str| Ok(Response::text(request.path_param::<String>(name)?));
    let app = Routes::new()
        .get("/", |_: &(), _| Ok(Response::text("root")))
        .get("/users/{id}", move |_, request| shown(request, "id"))
        .get("/users/me", |_, _| Ok(Response::text("me")))
        .get("/users/{id}/notes/{n}", |_, request| {
            let (id, n): (String, u64) = (request.path_param("id")?, request.path_param("n")?);
            Ok(Response::text(format!("{id} {n}")))
        })
        .put("/users/{id}", |_, _| Ok(Response::no_content()))
        .get("/files/{*path}", move |_, request| shown(request, "path"))
        .get("/caf\u{e9}/{x}", move |_, request| shown(request, "x"))
        .get("/100%", |_, _| Ok(Response::text("percent")))
        .get("/wrong", move |_, request| shown(request, "nobody"))
        .nest("/admin", Routes::new().get("/users", |_, _| Ok(Response::text("admins"))))
        .merge(
            Routes::new()
                .get("/merged", |_, _| Ok(Response::text("merged")))
                .delete("/100%", |_, _| Ok(Response::no_content()))
                .mount("/merged/files", handler_fn(|request| Ok(Response::text(request.path().to_owned())))),
        )
        .mount("/mounted", handler_fn(|request| Ok(Response::text(request.path().to_owned()))))
        .with_state(());
    let http = Http::new(app);
    for (method, target, status, text) in [
        ("GET", "/", 200, "root"),
        ("GET", "/users/7", 200, "7"),
        ("GET", "/users/7?a=b", 200, "7"),
        ("GET", "/users/me", 200, "me"),
        ("GET", "/merged", 200, "merged"),
        ("GET", "/merged/files/a", 200, "/a"),
        ("DELETE", "/100%25", 204, ""),
        ("GET", "/users/", 404, ""),
        ("GET", "/users", 404, ""),
        ("GET", "/users/7/", 404, ""),
        ("GET", "/users/a%2Fb", 404, ""),
        ("GET", "/users/a%252Fb", 200, "a%2Fb"),
        ("GET", "/users/a%25", 200, "a%"),
        ("GET", "/users/caf%C3%A9", 200, "caf\u{e9}"),
        ("GET", "/users/%ff", 200, "\u{fffd}"),
        ("GET", "/users/a%2fb/notes/3", 404, ""),
        ("GET", "/users//7", 301, ""),
        ("GET", "/users/7/../8", 301, ""),
        ("PUT", "/users/../users/7", 400, ""),
        ("GET", "/../users/7", 400, ""),
        ("GET", "/users/a/notes/x", 404, ""),
        ("GET", "/users/a/notes/-1", 404, ""),
        ("GET", "/%75sers/7", 200, "7"),
        ("GET", "/files/a/b%20c/d", 200, "a/b c/d"),
        ("GET", "/files/a/b%2Fc/d", 404, ""),
        ("GET", "/files/a/../../x", 301, ""),
        ("GET", "/files/x%2f..%2f..", 404, ""),
        ("GET", "/files/", 404, ""),
        ("GET", "/caf%C3%A9/%7Bx%7D", 200, "{x}"),
        ("GET", "/100%25", 200, "percent"),
        ("GET", "/wrong", 500, ""),
        ("GET", "/admin/users", 200, "admins"),
        ("GET", "/admin", 404, ""),
        ("GET", "/mounted", 200, "/"),
        ("GET", "/mounted/", 200, "/"),
        ("GET", "/mounted/a/b", 200, "/a/b"),
        ("DELETE", "/mounted/%C3%A9/b", 200, "/é/b"),
        ("GET", "/mounted/../x", 301, ""),
        ("GET", "/mountedx", 404, ""),
        ("GET", "http://a/users/7", 200, "7"),
        ("HEAD", "/users/7", 200, ""),
        ("PUT", "/users/7", 204, ""),
        ("OPTIONS", "/users/7", 204, ""),
        ("POST", "/users/7", 405, ""),
        ("TRACE", "/users/7", 405, ""),
    ] {
        let request = Request::new(Method::from_bytes(method.as_bytes()).unwrap(), target).unwrap();
        let sent = http.respond(&request);
        assert_eq!(sent.status(), status, "{method} {target}: {sent:?}");
        assert!(status >= 400 || sent.text() == text, "{method} {target}: {sent:?}");
        let allow = matches!(method, "OPTIONS" | "POST" | "TRACE").then_some("GET, PUT, HEAD, OPTIONS");
        assert!(sent.header("allow") == allow, "{method} {target}: {sent:?}");
    }
}

/// No pattern matches a part of a percent-encoding.
#[test]
fn path_parameters_can_have_fixed_text_around_them() {
    let shown = |request: &Request| Ok(Response::text(request.path_param::<String>("x")?));
    let http = Http::new(
        Routes::new()
            .get("/a/{x}F", move |_: &(), request| shown(request))
            .get("/b/{x}5", move |_, request| shown(request))
            .get("/c/%2{x}", move |_, request| shown(request))
            .get("/d/img-{x}.png", move |_, request| shown(request))
            .get("/f/{{x}}/{x}", move |_, request| shown(request))
            .with_state(()),
    );
    for (target, found) in [
        ("/a/bF", Some("b")),
        ("/a/F", None),
        ("/b/%25", None),
        ("/b/%255", Some("%")),
        ("/c/%252F", Some("F")),
        ("/c/%252", None),
        ("/d/img-1.png", Some("1")),
        ("/d/img-.png", None),
        ("/d/img-/.png", None),
        ("/f/%7Bx%7D/1", Some("1")), // braces are not part of a name
    ] {
        let sent = http.respond(&Request::get(target));
        assert_eq!((sent.status() == 200).then(|| sent.text()), found, "{target}: {sent:?}");
    }
}

/// Functions take a reference to the state, while threads hold it. A function that begins a thread takes an `Arc`.
#[test]
fn a_state_can_be_shared_with_threads() {
    #[derive(Default)]
    struct Count(AtomicU64);
    impl Count {
        fn add(&self, _: &Request) -> Result<Response> {
            Ok(Response::text(format!("{}", self.0.fetch_add(1, Relaxed) + 1)))
        }
        fn add_in_a_thread(self: &Arc<Self>, _: &Request) -> Result<Response> {
            let count = Arc::clone(self);
            let before = std::thread::spawn(move || count.0.fetch_add(1, Relaxed)).join().unwrap();
            Ok(Response::text(format!("{}", before + 1)))
        }
        fn check(&self, _: &Request, _: &mut BodyPlan) -> Result<()> {
            _ = self.0.fetch_add(10, Relaxed);
            Ok(())
        }
    }
    let count = Arc::new(Count::default());
    let shared = Routes::new().get("/", Count::add).post("/", Count::add).before_body(Count::check);
    let owned = Routes::new().get("/", Count::add_in_a_thread).with_state(Arc::clone(&count));
    let server = testing::serve(shared.mount("/thread", owned).with_shared_state(Arc::clone(&count)));
    server.get("/").assert_text("1");
    server.post("/", "x").assert_text("12");
    server.get("/thread").assert_text("13");
    count.0.store(100, Relaxed);
    server.get("/").assert_text("101");
}

#[test]
fn invalid_patterns_panic() {
    let nothing = |_: &(), _: &Request| Ok(Response::no_content());
    let many: String = (0..26).map(|name| format!("/{{n{name}}}")).collect();
    let few: String = (0..25).map(|name| format!("/{{n{name}}}")).collect();
    drop(Routes::new().get(&few, nothing).with_state(()));
    type Mistake = Box<dyn FnOnce() + std::panic::UnwindSafe>;
    let named = |pattern: &'static str| -> Mistake {
        Box::new(move || drop(Routes::new().get(pattern, nothing).with_state(())))
    };
    let rows: [(&str, Mistake); 15] = [
        ("it has more than 25 names", named(many.leak())),
        ("\"a}\" is not a valid name", named("/{a}}b}")),
        ("\"a}\" is not a valid name", named("/{a}}}2")),
        ("\"/x\" is not a valid name", named("/{/x}")),
        ("\"a b\" is not a valid name", named("/{{x}}/{a b}")),
        ("uses a name twice", named("/{a}/b/{a}")),
        ("uses a name twice", named("/{a}/{*a}")),
        ("\"a\" does not begin with a slash", Box::new(move || drop(Routes::new().get("a", nothing)))),
        ("two functions for GET", Box::new(move || drop(Routes::new().get("/a", nothing).get("/a", nothing)))),
        (
            "can't be distinguished from",
            Box::new(move || drop(Routes::new().get("/{a}", nothing).get("/{b}", nothing).with_state(()))),
        ),
        ("is not a valid pattern", Box::new(move || drop(Routes::new().get("/{", nothing).with_state(())))),
        (
            "two handlers are mounted",
            Box::new(|| {
                let handler = || handler_fn(|_| Ok(Response::new(200)));
                drop(Routes::<()>::new().mount("/a", handler()).mount("/a", handler()));
            }),
        ),
        (
            "two handlers are mounted",
            Box::new(|| {
                let handler = || handler_fn(|_| Ok(Response::new(200)));
                drop(Routes::<()>::new().mount("/a/{x}", handler()).mount("/a/{y}", handler()));
            }),
        ),
        (
            "a fallback already",
            Box::new(|| {
                let handler = || handler_fn(|_| Ok(Response::new(200)));
                drop(Routes::<()>::new().fallback(handler()).fallback(handler()));
            }),
        ),
        ("`body_limit` needs a route before it: ", Box::new(|| drop(Routes::<()>::new().body_limit(1)))),
    ];
    for (expected, mistake) in rows {
        let panic = std::panic::catch_unwind(mistake).expect_err(expected);
        let text =
            panic.downcast_ref::<String>().cloned().or(panic.downcast_ref::<&str>().map(|text| text.to_string()));
        assert!(text.as_ref().is_some_and(|text| text.contains(expected)), "{expected}: {text:?}");
    }
}

/// Its body is received like any other: no handler is called early to find out whether it has the method.
#[test]
fn an_unimplemented_method_is_a_501() {
    struct OnlyGet;
    impl RequestHandler for OnlyGet {
        fn do_get(&self, _: &Request) -> Result<Response> {
            Ok(Response::text("got"))
        }
    }
    for http in [Http::new(Box::new(OnlyGet) as Box<dyn RequestHandler>), Http::new(Box::new(Leaves(OnlyGet)))] {
        for _ in 0..2 {
            let mut peer = Peer::new(&http);
            peer.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n");
            assert_eq!(peer.text(), "HTTP/1.1 100 Continue\r\n\r\n");
            peer.send(vec![b'x'; 100_000]);
            assert!(peer.text().contains("HTTP/1.1 501 ") && peer.is_open(), "{}", peer.text());
        }
    }
}

#[test]
fn single_valued_response_fields_stay_single() {
    let etag = || modest::ETag::strong("a").unwrap();
    for (what, response, expected) in [
        ("one type", Response::text("a").with_added_header("content-type", "text/x"), "200 content-type: text/x"),
        ("one tag", Response::text("a").with_etag(etag()).with_added_header("etag", "\"b\""), "200 etag: \"b\""),
        ("one location", Response::redirect("/a").with_added_header("location", "/b"), "303 location: /b"),
        ("an invalid tag", Response::text("a").with_header("etag", "a"), "500"),
        ("an invalid date", Response::text("a").with_header("date", "today"), "500"),
        (
            "a date",
            Response::text("a").with_header("date", "Thu, 16 Jun 2022 06:34:59 GMT"),
            "200 date: Thu, 16 Jun 2022 06:34:59 GMT",
        ),
        ("an invalid time", Response::text("a").with_header("last-modified", "1655361299"), "500"),
        (
            "a length that is removed",
            Response::text("a").with_header("content-length", "5").without_header("content-length"),
            "200 content-length: 1",
        ),
        (
            "a close that is removed",
            Response::text("a").with_header("connection", "close").without_header("connection"),
            "200 connection: ",
        ),
        ("a status of 600", Response::new(600), "500"),
        ("a status of 100", Response::new(100), "500"),
    ] {
        let http = Http::new(handler_fn({
            let response = Mutex::new(Some(response));
            move |_| Ok(response.lock().unwrap().take().unwrap())
        }));
        let sent = http.respond(&Request::get("/"));
        let (status, field) = expected.split_once(' ').unwrap_or((expected, ""));
        assert_eq!(sent.status().as_str(), status, "{what}: {sent:?}");
        if let Some((name, value)) = field.split_once(": ") {
            let values: Vec<_> = sent.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
            let expected: Vec<_> = Some(value).filter(|value| !value.is_empty()).into_iter().collect();
            assert_eq!(values, expected, "{what}");
        }
    }
}

#[test]
fn statuses_without_content_have_no_type() {
    for status in [204, 205, 304] {
        let http = Http::new(handler_fn(move |_| Err(Error::new(status, "nothing to say"))));
        let sent = http.respond(&Request::get("/"));
        assert_eq!((sent.status().as_u16(), sent.header("content-type"), sent.text()), (status, None, ""));
    }
}

#[test]
fn a_416_keeps_selected_response_fields() {
    let http = Http::new(handler_fn(|_| {
        Ok(Response::text("0123456789")
            .with_header("content-security-policy", "default-src 'none'")
            .with_header("content-language", "en")
            .with_header("content-range", "bytes 0-1/2")
            .with_header("vary", "origin"))
    }));
    let sent = http.respond(&Request::get("/").with_header("range", "bytes=99-"));
    assert_eq!(sent.status(), 416);
    assert_eq!(sent.header("content-security-policy"), Some("default-src 'none'"));
    assert_eq!((sent.header("content-language"), sent.header("vary")), (None, Some("origin")));
    assert_eq!(sent.header("content-range"), Some("bytes */10"));
    let several = http.respond(&Request::get("/").with_header("range", "bytes=0-1,4-5"));
    assert_eq!(
        (several.status().as_u16(), several.header("content-range")),
        (206, None),
        "each part has its own Content-Range"
    );
}

/// A field with the method to use, as in some frameworks.
struct Overrides;

impl RequestHandler for Overrides {
    fn do_get(&self, _: &Request) -> Result<Response> {
        Ok(Response::text("got"))
    }

    fn do_post(&self, request: &Request) -> Result<Response> {
        match request.header("x-http-method-override") {
            Some("DELETE") => self.do_delete(request), // not implemented
            _ => Ok(Response::text("posted")),
        }
    }
}

#[test]
fn calling_a_default_method_disables_nothing() {
    let http = Http::new(Overrides);
    let post = |fields: &str| {
        let mut peer = Peer::new(&http);
        peer.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: 1\r\n\r\nx"));
        peer.text()[9..12].to_owned()
    };
    assert_eq!(post(""), "200");
    assert_eq!(post("X-HTTP-Method-Override: DELETE\r\n"), "501");
    assert_eq!(post(""), "200");
}

/// A page in place of a response keeps its cookies, so it is for one user if the response is.
#[test]
fn a_page_with_cookies_is_as_private_as_its_response() {
    struct Own(&'static str, &'static str);
    impl RequestHandler for Own {
        fn do_get(&self, _: &Request) -> Result<Response> {
            let response = Response::text("a").with_header("etag", "\"a\"").with_header("cache-control", self.0);
            Ok(response.with_header("set-cookie", "s=1"))
        }

        fn error_response(&self, _: Option<&Request>, _: &Error) -> Option<Response> {
            let page = Response::text("page");
            Some(if self.1.is_empty() { page } else { page.with_header("cache-control", self.1) })
        }
    }
    for (response, page, expected) in [
        ("private, no-store", "public, max-age=600", Some("private, no-store")),
        ("private", "public, max-age=600", Some("private")),
        ("private", "no-store", Some("no-store")),
        ("private", "", Some("private")),
        ("max-age=9", "public, max-age=600", Some("public, max-age=600")),
        ("max-age=9", "", None),
    ] {
        let sent = Http::new(Own(response, page)).respond(&Request::get("/").with_header("if-match", "\"b\""));
        let found = (sent.status().as_u16(), sent.header("set-cookie"), sent.header("cache-control"));
        assert_eq!(found, (412, Some("s=1"), expected), "{response}; {page}: {sent:?}");
        assert_eq!(sent.headers().get_all("cache-control").iter().count(), usize::from(expected.is_some()));
    }
}

#[test]
fn a_layer_can_respond_to_unserved_requests() {
    struct OnlyGet;
    impl RequestHandler for OnlyGet {
        fn do_get(&self, _: &Request) -> Result<Response> {
            Ok(Response::text("got"))
        }
    }
    fn logs_in(request: &Request, next: Next<'_>) -> Result<Response> {
        match (request.method().as_str(), request.path()) {
            ("POST", "/login") => Ok(Response::text(request.text()?)),
            ("GET", "/health") => Ok(Response::text("well")),
            _ => next.run(request),
        }
    }
    let routes = || Routes::new().get("/", |_: &(), _| Ok(Response::text("got"))).with_state(());
    for (what, http) in [
        ("a handler", Http::new(Box::new(OnlyGet.layer(layer_fn(logs_in))) as Box<dyn RequestHandler>)),
        ("routes", Http::new(Box::new(routes().layer(layer_fn(logs_in))))),
    ] {
        let ask = |wire: &str| {
            let mut peer = Peer::new(&http);
            peer.send(wire);
            let answers = Answer::all(&peer.said, &[]);
            (answers[0].status, answers[0].text())
        };
        let login = "POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nada";
        let other = "POST /other HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nada";
        for round in 0..3 {
            assert_eq!(ask(login), (200, "ada".into()), "{what}, {round}");
            assert!(ask(other).0 >= 404, "{what}, {round}");
        }
        assert!(
            what == "a handler" || ask("GET /health HTTP/1.1\r\nHost: a\r\n\r\n") == (200, "well".into()),
            "{what}"
        );
        // A long body without a route is still rejected from the head.
        let long = "POST /other HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n";
        assert!(what == "a handler" || ask(long).0 >= 404, "{what}");
    }
}

#[test]
fn finish_response_runs_once() {
    struct Counts(Mutex<usize>);
    impl RequestHandler for Counts {
        fn do_get(&self, request: &Request) -> Result<Response> {
            match request.path() {
                "/file" => Ok(Response::file("/no/such/file")),
                "/field" => Ok(Response::text("a").with_header("a b", "c")),
                _ => Ok(Response::text("0123456789").with_header("vary", "origin").with_header("set-cookie", "a=1")),
            }
        }

        fn finish_response(&self, _: &Request, response: Response) -> Response {
            *self.0.lock().unwrap() += 1;
            response.with_added_header("vary", "cookie").with_added_header("x-once", "1")
        }
    }
    for (path, fields, status) in [
        ("/", "", 200),
        ("/", "Range: bytes=99-\r\n", 416),
        ("/", "If-Match: \"x\"\r\n", 412),
        ("/file", "", 404),
        ("/field", "", 500),
    ] {
        let counts = Arc::new(Counts(Mutex::default()));
        let mut peer = Peer::new(&Http::new(counts.clone()));
        peer.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        let text = peer.text();
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {fields}: {text}");
        assert_eq!((*counts.0.lock().unwrap(), text.matches("X-Once: 1").count()), (1, 1), "{path} {fields}: {text}");
        if path == "/" {
            for kept in ["Vary: origin", "Vary: cookie", "Set-Cookie: a=1"] {
                assert!(text.contains(kept), "{kept} in {text}");
            }
        }
    }
}

#[test]
fn hooks_of_skipped_handlers_do_not_run() {
    struct Members;
    impl Layer for Members {
        fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
            let name = request.header("x-name").ok_or(Error::new(401, "who?").with_header("www-authenticate", "X"))?;
            request.put(User::new(name));
            Ok(())
        }
    }
    /// Needs the layer around it.
    struct Relies;
    impl RequestHandler for Relies {
        fn do_get(&self, _: &Request) -> Result<Response> {
            Ok(Response::text("hello"))
        }
        fn finish_response(&self, request: &Request, response: Response) -> Response {
            response.with_header("x-user", request.value::<User>().expect("a user, which `Members` has stored").name())
        }
        fn log_request(&self, record: &LogRecord<'_>) {
            record.user().expect("a user, which `Members` has stored");
        }
    }
    for http in [
        Http::new(Box::new(Relies.layer(Members)) as Box<dyn RequestHandler>),
        Http::new(Box::new(Leaves(Relies).layer(Members))),
        Http::new(Box::new(
            Routes::<()>::new().mount("/x", Relies).layer(Members).fallback(Relies.layer(Members)).with_state(()),
        )),
    ] {
        let declined = http.respond(&Request::get("/x"));
        assert_eq!((declined.status().as_u16(), declined.header("www-authenticate")), (401, Some("X")));
        let mut peer = Peer::new(&http);
        peer.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(peer.text().starts_with("HTTP/1.1 401 ") && peer.is_open(), "{}", peer.text());
        let accepted = http.respond(&Request::get("/x").with_header("x-name", "ada"));
        assert_eq!((accepted.text(), accepted.header("x-user")), ("hello", Some("ada")));
    }
}

#[test]
fn panicking_hooks_do_not_lose_the_response() {
    struct Panics;
    impl RequestHandler for Panics {
        fn do_get(&self, _: &Request) -> Result<Response> {
            Ok(Response::text("hello"))
        }
        fn do_post(&self, _: &Request) -> Result<Response> {
            Ok(Response::text("posted"))
        }
        fn before_body(&self, _: &Request, plan: &mut BodyPlan) -> Result<()> {
            plan.progress(|_| panic!("in progress"));
            Ok(())
        }
        fn log_request(&self, _: &LogRecord<'_>) {
            panic!("in log_request");
        }
    }
    let http = Http::new(Panics);
    let mut peer = Peer::new(&http);
    peer.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((peer.text().matches("200 OK").count(), peer.is_open()), (2, true), "{}", peer.text());
    let mut peer = Peer::new(&http);
    peer.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    assert!(peer.text().starts_with("HTTP/1.1 500 "), "{}", peer.text());
}

#[test]
fn circular_delegation_is_detected() {
    struct Itself;
    impl RequestHandler for Itself {
        fn delegate(&self, _: &Request) -> Option<&dyn RequestHandler> {
            Some(self)
        }
        fn do_get(&self, _: &Request) -> Result<Response> {
            Ok(Response::text("itself"))
        }
    }
    assert_eq!(Http::new(Itself).respond(&Request::get("/")).text(), "itself");
    /// An `Arc` of its own owner: delegation without end.
    struct Circle(Arc<std::sync::OnceLock<Arc<Circle>>>);
    impl RequestHandler for Circle {
        fn delegate(&self, _: &Request) -> Option<&dyn RequestHandler> {
            self.0.get().map(|inner| inner as &dyn RequestHandler)
        }
    }
    let slot = Arc::new(std::sync::OnceLock::new());
    let (first, second) = (Arc::new(Circle(slot.clone())), Arc::new(Circle(slot.clone())));
    slot.set(first.clone()).ok().unwrap();
    assert_eq!(Http::new(second).respond(&Request::get("/")).status(), 500);
}

#[test]
fn a_page_takes_missing_fields_from_the_error() {
    struct Plain;
    impl RequestHandler for Plain {
        fn error_response(&self, _: Option<&Request>, error: &Error) -> Option<Response> {
            Some(Response::text(error.message().unwrap_or("?")))
        }
        fn do_get(&self, _: &Request) -> Result<Response> {
            Err(Error::new(401, "who?").with_header("www-authenticate", "Basic"))
        }
    }
    let sent = Http::new(Plain).respond(&Request::get("/"));
    assert_eq!((sent.status().as_u16(), sent.header("www-authenticate"), sent.text()), (401, Some("Basic"), "who?"));
}

#[test]
fn composed_handlers_have_their_methods() {
    let hello = || handler_fn(|_| Ok(Response::text("hello")));
    let router = Routes::new().get("/", |_: &(), _| Ok(Response::text("hello"))).with_state(());
    let layered = hello().layer(layer_fn(|request, next| next.run(request)));
    for handler in [Box::new(hello()) as Box<dyn RequestHandler>, Box::new(router), Box::new(layered)] {
        assert_eq!(handler.do_get(&Request::get("/")).unwrap().into_bytes().unwrap(), b"hello");
    }
}

#[test]
fn options_asterisk_is_not_a_path() {
    let http = Http::new(Routes::new().get("/", |_: &(), _| Ok(Response::text("root"))).with_state(()));
    for wire in ["OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"]
    {
        let mut peer = Peer::new(&http);
        peer.send(wire);
        assert!(peer.text().starts_with("HTTP/1.1 204 "), "{wire}: {}", peer.text());
    }
}

#[test]
fn all_checks_of_a_route_apply() {
    let refuses = |_: &(), _: &Request, _: &mut BodyPlan| -> Result<()> { Err(Error::new(401, "who?")) };
    let nothing = |_: &(), _: &Request| Ok(Response::no_content());
    for routes in [
        Routes::new().post("/", nothing).before_body(refuses).body_limit(100),
        Routes::new().post("/", nothing).body_limit(100).before_body(refuses),
        Routes::new().post("/", nothing).before_body(refuses).before_body(|_, _, _| Ok(())),
    ] {
        assert_eq!(Http::new(routes.with_state(())).respond(&Request::post("/", "x")).status(), 401);
    }
    let http = Http::new(Routes::new().post("/", nothing).body_limit(1).before_body(|_, _, _| Ok(())).with_state(()));
    let mut peer = Peer::new(&http);
    peer.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxx");
    assert!(peer.text().starts_with("HTTP/1.1 413 "), "{}", peer.text());
}

#[test]
fn routes_within_routes() {
    let named = |name: &'static str| move |_: &(), _: &Request| Ok(Response::text(name));
    let tagged =
        |tag: &'static str| layer_fn(move |request, next| Ok(next.run(request)?.with_added_header("x-tag", tag)));
    let inner = Routes::new().get("/", named("root")).get("/{id}", named("one")).layer(tagged("a")).layer(tagged("b"));
    let app = Routes::new()
        .post("/admin", named("posted"))
        .nest("/admin", inner)
        .mount("/admin", handler_fn(|_| Ok(Response::text("mounted"))))
        .mount("/admin/deep", handler_fn(|_| Ok(Response::text("deeper"))))
        .get("/plain", named("plain"))
        .with_state(());
    let http = Http::new(app);
    for (method, target, text, tags) in [
        ("GET", "/admin", "root", "a b"),
        ("POST", "/admin", "posted", ""),
        ("GET", "/admin/7", "one", "a b"),
        ("GET", "/admin/", "mounted", ""),
        ("GET", "/admin/7/8", "mounted", ""),
        ("GET", "/admin/deep/8", "deeper", ""),
        ("GET", "/plain", "plain", ""),
    ] {
        let sent = http.respond(&Request::new(method.parse().unwrap(), target).unwrap());
        let found: Vec<_> = sent.headers().get_all("x-tag").iter().map(|tag| tag.to_str().unwrap()).collect();
        assert_eq!((sent.text(), found.join(" ").as_str()), (text, tags), "{method} {target}: {sent:?}");
    }
}

#[test]
fn closing_with_a_declined_body_lingers() {
    struct Declines;
    impl RequestHandler for Declines {
        fn before_body(&self, _: &Request, _: &mut BodyPlan) -> Result<()> {
            Err(Error::new(403, ""))
        }
    }
    let mut peer = Peer::new(&Http::new(Declines).max_requests(1));
    peer.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    assert!(peer.text().contains("Connection: close"), "{}", peer.text());
    assert_eq!(peer.next, modest::raw::Action::Linger, "the body may be on its way: {}", peer.text());
}

/// The pattern of the route that matched, from the root of the server, in each place that can ask for it; and the list
/// of all patterns.
#[test]
fn patterns_of_routes() {
    let pattern = |request: &Request| Ok(Response::text(request.route_pattern().unwrap_or("none".into())));
    let inner =
        Routes::new().get("/", move |_: &(), request| pattern(request)).get("/{number}", move |_, r| pattern(r));
    let inner = inner.fallback(handler_fn(pattern)).with_state(());
    let nested =
        Routes::new().post("/", move |_: &(), request| pattern(request)).put("/b/{*c}", move |_, r| pattern(r));
    let routes = Routes::new()
        .get("/a", move |_: &(), request| pattern(request))
        .post("/a", move |_, request| pattern(request))
        .nest("/nested/{x}", nested)
        .mount("/users/{user}/notes", inner)
        .mount("/static", handler_fn(pattern))
        .fallback(Routes::new().get("/last", move |_: &(), request| pattern(request)).with_state(()));
    let list: Vec<_> = routes.list().iter().map(|route| format!("{route}")).collect();
    let wanted = [
        "GET      /a",
        "POST     /a",
        "POST     /nested/{x}",
        "PUT      /nested/{x}/b/{*c}",
        "any      /users/{user}/notes/{*path}",
        "any      /static/{*path}",
        "any      /{*path}",
    ];
    assert_eq!(list, wanted);
    assert_eq!((routes.list()[4].method(), routes.list()[0].method()), (None, Some(&Method::GET)));
    let seen = std::sync::Arc::new(std::sync::Mutex::new(None));
    /// Reads the pattern when the response is finished, outside all routes.
    struct Sees(std::sync::Arc<std::sync::Mutex<Option<String>>>);
    impl Layer for Sees {
        fn finish_response(&self, request: &Request, response: Response) -> Response {
            *self.0.lock().unwrap() = request.route_pattern();
            response
        }
    }
    let http = Http::new(routes.with_state(()).layer(Sees(seen.clone())));
    for (method, target, wanted) in [
        ("GET", "/a?b", Some("/a")),
        ("POST", "/a", Some("/a")),
        ("POST", "/nested/y", Some("/nested/{x}")),
        ("PUT", "/nested/y/b/c/d", Some("/nested/{x}/b/{*c}")),
        ("GET", "/users/ada/notes", Some("/users/{user}/notes")),
        ("GET", "/users/ada/notes/7", Some("/users/{user}/notes/{number}")),
        ("GET", "/users/ada/notes/7/8", None),
        ("GET", "/static/a/b", Some("/static")),
        ("GET", "/last", Some("/last")),
        ("GET", "/none", None),
        ("DELETE", "/a", Some("/a")),
    ] {
        let sent = http.respond(&Request::new(method.parse().unwrap(), target).unwrap());
        let outside = seen.lock().unwrap().take();
        assert_eq!(outside.as_deref(), wanted, "{method} {target}");
        if sent.status() == 200 {
            assert_eq!(sent.text(), wanted.unwrap_or("none"), "{method} {target}");
        }
    }
}
