//! The layers of the library, in connections.

use std::time::Duration;

use modest::layers::{Cors, JsonErrors, RateLimit, RequestIds, Timeout};
use modest::{Error, Http, Method, Request, RequestHandler, Response, Routes, handler_fn, layer_fn};

use crate::peer::{Answer, Peer};

/// The system clock shows a time years ago here, because it was set in the meantime.
#[test]
fn setting_the_clock_makes_no_request_late() {
    let hello = handler_fn(|request| Ok(Response::text(format!("{}", request.elapsed() < Duration::from_secs(60)))));
    let mut peer = Peer::new(&Http::new(hello.layer(Timeout::new(Duration::from_secs(60)))));
    peer.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(peer.text().starts_with("HTTP/1.1 200 ") && peer.text().ends_with("true"), "{}", peer.text());
}

/// A page beside an API. Only the API uses JSON.
fn page_and_api() -> Http<impl RequestHandler> {
    let note = |_: &(), request: &Request| match request.path_param::<u32>("id")? {
        0 => Err("the database is gone".into()),
        1 => Err(Error::new(404, "there is no note 1")),
        id => Ok(Response::json(&id)),
    };
    let api = Routes::new().get("/notes/{id}", note).post("/notes", |_, _| Ok(Response::no_content())).body_limit(10);
    let api = api.layer(JsonErrors).layer(Cors::new().origin("https://app.example")).layer(RequestIds::new());
    Http::new(Routes::new().get("/", |_, _| Err(Error::new(404, ""))).nest("/api", api).with_state(()))
}

#[test]
fn errors_as_json() {
    let all = || Http::new(handler_fn(|_| Err(Error::new(599, "").with_header("retry-after", 9))).layer(JsonErrors));
    let (routes, whole) = (page_and_api(), all());
    let post = "POST /api/notes HTTP/1.1\r\nHost: a\r\nContent-Length:";
    for (what, mut peer, wire, status, title, detail) in [
        (
            "an error",
            Peer::new(&routes),
            "GET /api/notes/1 HTTP/1.1\r\nHost: a",
            404,
            "Not Found",
            "there is no note 1",
        ),
        ("a cause", Peer::new(&routes), "GET /api/notes/0 HTTP/1.1\r\nHost: a", 500, "Internal Server Error", ""),
        (
            "no method",
            Peer::new(&routes),
            "PUT /api/notes HTTP/1.1\r\nHost: a",
            405,
            "Method Not Allowed",
            "This path does not support PUT.",
        ),
        ("too long", Peer::new(&routes), &format!("{post} 11"), 413, "Content Too Large", "the body is too large"),
        ("no name", Peer::new(&whole), "GET / HTTP/1.1\r\nHost: a", 599, "", ""),
        ("no host", Peer::new(&whole), "GET / HTTP/1.1", 400, "Bad Request", "an HTTP/1.1 request needs a Host field"),
        ("no head", Peer::new(&whole), "nonsense", 400, "Bad Request", "the request line has no valid method"),
    ] {
        peer.send(format!("{wire}\r\n\r\n"));
        let answer = &Answer::all(&peer.said, &[])[0];
        let kind = answer.field("content-type");
        assert_eq!((answer.status, kind), (status, Some("application/problem+json")), "{what}: {}", peer.text());
        let problem: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
        let told = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            (&problem["status"], told("title")),
            (&serde_json::json!(status), title.into()),
            "{what}: {problem}"
        );
        assert_eq!(told("detail"), detail, "{what}");
        assert_eq!(
            problem.get("request_id").map(|_| told("request_id")).as_deref(),
            answer.field("x-request-id"),
            "{what}"
        );
        assert_eq!(wire.contains("/api"), problem.get("request_id").is_some(), "{what}");
        assert_eq!(answer.field("retry-after"), (status == 599).then_some("9"), "{what}");
        assert_eq!(answer.field("allow").is_some(), status == 405, "{what}");
    }
    for target in ["/", "/nothing", "/api", "/api/nothing"] {
        let mut peer = Peer::new(&routes);
        peer.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(peer.text().contains("text/html"), "{target} is none of these routes: {}", peer.text());
    }
}

/// Layers also get the responses of a path that has no function for the method.
#[test]
fn layers_around_routes_cover_only_their_paths() {
    let preflight = "Origin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n";
    for (method, target, fields, status, allows) in [
        ("OPTIONS", "/api/notes", preflight, 204, true),
        ("OPTIONS", "/api/notes", "Origin: https://app.example\r\n", 204, true),
        ("OPTIONS", "/api/notes", "", 204, false),
        ("PUT", "/api/notes", "Origin: https://app.example\r\n", 405, true),
        ("PUT", "/api/notes", "Origin: https://app.example\r\nContent-Length: 10000000\r\n", 405, true),
        ("OPTIONS", "/", preflight, 204, false),
        ("PUT", "/", "Origin: https://app.example\r\n", 405, false),
    ] {
        let mut peer = Peer::new(&page_and_api());
        peer.send(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        let answer = &Answer::all(&peer.said, &[])[0];
        let found = (answer.status, answer.field("access-control-allow-origin").is_some());
        assert_eq!(found, (status, allows), "{method} {target} {fields}: {}", peer.text());
    }
}

#[test]
fn a_layer_around_one_route() {
    let tag = |tag: &'static str| layer_fn(move |request, next| Ok(next.run(request)?.with_added_header("x-tag", tag)));
    let named = |name: &'static str| move |_: &(), _: &Request| Ok(Response::text(name));
    let routes = Routes::new()
        .get("/a", named("a"))
        .layer_last(tag("inner"))
        .layer_last(tag("outer"))
        .post("/a", named("posted"))
        .get("/b", named("b"))
        .layer(tag("all"))
        .get("/c", named("c"))
        .layer_last(RateLimit::new(2, Duration::from_secs(3600)));
    let http = Http::new(routes.with_state(()));
    for (method, target, status, tags) in [
        (Method::GET, "/a", 200, "inner outer all"),
        (Method::HEAD, "/a", 200, "inner outer all"),
        (Method::POST, "/a", 200, "all"),
        (Method::OPTIONS, "/a", 204, "all"),
        (Method::GET, "/b", 200, "all"),
        (Method::GET, "/c", 200, ""),
        (Method::GET, "/c", 200, ""),
        (Method::GET, "/c", 429, ""),
        (Method::GET, "/b", 200, "all"),
    ] {
        let sent = http.respond(&Request::new(method.clone(), target).unwrap());
        let found: Vec<_> = sent.headers().get_all("x-tag").iter().map(|tag| tag.to_str().unwrap()).collect();
        assert_eq!((sent.status().as_u16(), &*found.join(" ")), (status, tags), "{method} {target}: {sent:?}");
    }
    let nobody = std::panic::catch_unwind(|| drop(Routes::<()>::new().layer_last(tag("none"))));
    let said = nobody.expect_err("there is no route").downcast::<String>().unwrap();
    assert_eq!(*said, "`layer_last` needs a route before it: a mount, a nest or a fallback is none");
}
