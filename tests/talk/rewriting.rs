//! `Http::rewrite`: a new path is parsed, checked and routed like a received one, and the received one is not.

use modest::layers::{BasicAuth, PathRights};
use modest::testing::{self, TestRequest};
use modest::{Http, Method, Request, RequestHandler, Response, Routes, User, handler_fn};

/// The new path is the decoded value of `?to=/a`.
fn to(request: &Request) -> Option<String> {
    request.param("to").map(|to| to.into_owned())
}

fn shown(request: &Request) -> Response {
    let query = request.query().unwrap_or("none");
    Response::text(format!("{} {query} {} {}", request.path(), request.target(), request.text().unwrap_or_default()))
}

#[test]
fn a_new_path_is_as_good_as_a_received_one() {
    let http = Http::new(handler_fn(|request| Ok(shown(request)))).rewrite(to);
    let server = testing::serve(Http::new(handler_fn(|request| Ok(shown(request)))).rewrite(to));
    for (sent, status, wanted) in [
        ("/a", 200, "/a none /a "),
        ("/a?to=/b", 200, "/b none /a?to=/b "),
        ("/a?to=/b?c=d", 200, "/b c=d /a?to=/b?c=d "),
        ("/a?to=/b%2520c", 200, "/b c none /a?to=/b%2520c "),
        ("/a?to=/b?to=/c", 200, "/b to=/c /a?to=/b?to=/c "), // only once
        ("/a?to=/b?%C3%A9", 200, "/b %C3%A9 /a?to=/b?%C3%A9 "), // in its encoded form
        ("//a?to=/b", 200, "/b none //a?to=/b "),
        ("/a?to=/b/../c?d", 301, "/c?d"),
        ("/a?to=//c", 301, "/c"),
        ("/a?to=/../c", 400, ""),
        ("/a?to=/b%25", 500, ""),
        ("/a?to=/b%20c", 500, ""),
        ("/a?to=/b%0D%0Ac", 500, ""),
        ("/a?to=b", 500, ""),
        ("/a?to=", 500, ""),
        ("/a?to=http://b/c", 500, ""),
    ] {
        for (how, answer, body) in [
            ("respond", http.respond(&Request::get(sent)), ""),
            ("respond with a body", http.respond(&Request::post(sent, "body")), "body"),
            ("get", server.get(sent), ""),
            ("post", server.post(sent, "body"), "body"),
        ] {
            let is_moved = answer.status() == 301;
            let came = if is_moved { answer.header("location").unwrap_or_default() } else { answer.text() };
            let wanted = match status {
                200 => format!("{wanted}{body}"),
                _ => wanted.to_owned(),
            };
            let status = if status == 301 && !body.is_empty() { 400 } else { status };
            assert_eq!(answer.status(), status, "{how} {sent}: {answer:?}");
            assert!(answer.status().as_u16() >= 400 || came == wanted, "{how} {sent}: {answer:?}");
        }
    }
}

#[test]
fn rights_and_routes_are_those_of_the_new_path() {
    let routes = Routes::new()
        .get("/open", |_: &(), _| Ok(Response::text("open")))
        .get("/secret/{name}", |_, request| Ok(Response::text(request.path_param::<String>("name")?)))
        .post("/open", |_, request| Ok(Response::text(request.text()?)))
        .with_state(());
    let rights = PathRights::new().allow("/=*:all".parse().unwrap()).allow("/secret=ada:all".parse().unwrap());
    let ada = BasicAuth::checked_by("here", |_, name, _| (name == "ada").then(|| User::new(name))).optional(true);
    let server = testing::serve(Http::new(routes.layer(rights).layer(ada)).rewrite(to));
    for (method, target, user, status, wanted) in [
        ("GET", "/secret/a", false, 401, ""),
        ("GET", "/secret/a", true, 200, "a"),
        ("GET", "/open?to=/secret/b", false, 401, ""),
        ("GET", "/open?to=/secret/b", true, 200, "b"),
        ("GET", "/open?to=/%2573ecret/b", false, 401, ""),
        ("GET", "/secret/a?to=/open", false, 200, "open"),
        ("GET", "/secret/a?to=/none", false, 404, ""),
        ("DELETE", "/secret/a?to=/open", false, 405, ""),
        ("POST", "/secret/a?to=/open", false, 200, "body"),
        ("POST", "/open?to=/secret/a", false, 401, ""),
    ] {
        let mut request = TestRequest::new(method.parse::<Method>().unwrap(), target);
        if user {
            request = request.with_header("Authorization", "Basic YWRhOng=");
        }
        if method == "POST" {
            request = request.with_body("body");
        }
        let answer = server.send(request);
        assert_eq!(answer.status(), status, "{method} {target}: {answer:?}");
        assert!(status != 200 || answer.text() == wanted, "{method} {target}: {answer:?}");
    }
}

#[test]
fn a_closure_that_panics_is_an_error() {
    let server = testing::serve(Http::new(handler_fn(|_| Ok(Response::text("")))).rewrite(|_| panic!("as it should")));
    for answer in [server.get("/"), server.post("/", "body")] {
        assert_eq!(answer.status(), 500, "{answer:?}");
    }
    let asterisk = server.send(TestRequest::new(Method::OPTIONS, "*"));
    assert_eq!(asterisk.status(), 204, "is not passed to the closure: {asterisk:?}");
}
