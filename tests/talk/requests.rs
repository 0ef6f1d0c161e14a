//! Requests as handlers see them.

use std::io::Read;

use modest::{HeaderValue, Method, Request, Version};

#[test]
fn targets_are_split_into_path_and_query() {
    for (method, target, raw_path, path, query) in [
        ("GET", "/", "/", "/", None),
        ("GET", "/a/b?c=d", "/a/b", "/a/b", Some("c=d")),
        ("GET", "/?", "/", "/", Some("")),
        ("GET", "/caf%C3%A9", "/caf%C3%A9", "/café", None),
        ("GET", "/%2541", "/%2541", "/%41", None),
        ("GET", "/%ff", "/%ff", "/\u{fffd}", None),
        // an invalid path: the client gets a response without a handler
        ("GET", "/a%2Fb%00", "/a%2Fb%00", "/a%2Fb%00", None),
        ("GET", "/a+b", "/a+b", "/a+b", None),
        ("GET", "//a/../b", "//a/../b", "//a/../b", None),
        ("GET", "http://example.org", "/", "/", None),
        ("GET", "http://example.org?q", "/", "/", Some("q")),
        ("GET", "HTTP://example.org:8000/a%20b?q", "/a%20b", "/a b", Some("q")),
        ("OPTIONS", "*", "*", "*", None),
    ] {
        let request = Request::new(Method::from_bytes(method.as_bytes()).unwrap(), target).unwrap();
        let seen = (request.raw_path(), request.path(), request.query(), request.target());
        assert_eq!(seen, (raw_path, path, query, target), "{target}");
    }
    let request = Request::get("http://a/b?q=é&\"<>\"&%&c").with_header("x", "y").with_header("z", "é");
    assert_eq!(request.target(), "http://a/b?q=%C3%A9&%22%3C%3E%22&%&c");
    assert_eq!((request.param("q").as_deref(), request.param("\"<>\"").as_deref()), (Some("é"), Some("")));
    assert_eq!((request.host(), request.header("x"), request.header("z")), (Some("a"), Some("y"), Some("é")));
    for target in ["", "a", "/?a b", "/?\t", "/?é\x7f", "/ ", "/\r\n", "/#", "/é", "/%", "/ HTTP/1.1\r\nX: y\r\n\r\n"]
    {
        assert!(Request::new(Method::GET, target).is_err(), "{target:?}");
    }
}

#[test]
fn parameters_are_decoded_in_their_order() {
    let request = Request::get("/?a=1&b=two+words&a=3&%C3%A9=%26&empty=&bare&=x");
    let all: Vec<_> = request.params().collect();
    let expected = [("a", "1"), ("b", "two words"), ("a", "3"), ("é", "&"), ("empty", ""), ("bare", ""), ("", "x")];
    assert_eq!(all.len(), expected.len());
    for ((name, value), wanted) in all.iter().zip(expected) {
        assert_eq!((&**name, &**value), wanted);
    }
    assert_eq!(request.param("a").as_deref(), Some("1"));
    assert_eq!(request.param("none"), None);
    assert_eq!(Request::get("/").param("a"), None);
}

#[test]
fn fields_are_found_in_any_case() {
    let request = Request::get("/")
        .with_header("X-One", "1")
        .with_header("x-one", "2")
        .with_header("bytes", b"\xff")
        .with_header("cookie", "a=1; b=\"two\"; c")
        .with_header("Cookie", "d=4; a=5");
    assert_eq!(request.header("X-ONE"), Some("1"));
    assert_eq!(request.header_all("x-one").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(request.header("bytes"), None);
    assert_eq!(request.header("none"), None);
    assert_eq!(request.headers().get_all("x-one").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(request.headers()["bytes"], HeaderValue::from_bytes(b"\xff").unwrap());
    let cookies: Vec<_> = request.cookies().collect();
    assert_eq!(cookies, [("a", "1"), ("b", "two"), ("d", "4"), ("a", "5")]);
    for (name, value) in [("a", Some("1")), ("b", Some("two")), ("c", None), ("d", Some("4")), ("e", None)] {
        assert_eq!(request.cookie(name), value, "{name}");
    }
    assert_eq!(request.version(), Version::HTTP_11);
    assert_eq!(request.client_address().to_string(), "127.0.0.1:0");
}

#[test]
fn the_target_names_the_host_before_the_field() {
    assert_eq!(Request::get("/").host(), Some("localhost"));
    assert_eq!(Request::get("/").with_header("Host", "a:80").host(), Some("a:80"));
    assert_eq!(Request::get("http://b:81/").with_header("Host", "a:80").host(), Some("b:81"), "RFC 9112, 3.2.2");
    assert_eq!(Request::get("/").with_header("Host", "").host(), None);
}

#[test]
fn text_must_be_utf_8() {
    let request = Request::get("/").with_body("héllo");
    assert_eq!(request.header("content-length"), Some("6"));
    assert_eq!(request.body().len(), 6);
    assert_eq!(&*request.bytes().unwrap(), "héllo".as_bytes());
    assert_eq!(request.text().unwrap(), "héllo");
    let mut text = String::new();
    request.reader().read_to_string(&mut text).unwrap();
    assert_eq!(text, "héllo");
    assert!(Request::get("/").body().is_empty());
    let with_type = |kind: &str| Request::get("/").with_header("content-type", kind).with_body(b"\xff".to_vec());
    assert_eq!(with_type("text/plain").text().unwrap_err().status(), 400);
    // The body is not UTF-8: 400 for supported charsets.
    for (kind, status) in [
        ("text/plain; charset=latin1", 415),
        ("text/plain; x=\"a; charset=latin1\"", 400),
        ("text/plain; x=\"a\\\"; charset=utf-8\"; charset=latin1", 415),
        ("text/plain; x=\"a\"; charset=\"UTF-8\"", 400),
        ("text/plain; x=\"never ended; charset=latin1", 400),
        ("text/plain;charset = latin1", 415),
        ("text/plain; ; charset=latin1", 415),
        ("text/plain", 400),
    ] {
        let found = with_type(kind).text().unwrap_err().status();
        assert_eq!(found, status, "{kind}");
    }
    assert_eq!(with_type("text/plain; Charset=\"UTF-8\"").text().unwrap_err().status(), 400);
}

#[test]
fn malformed_forms_are_rejected() {
    let send = |kind: &str, body: &str| Request::get("/").with_header("content-type", kind).with_body(body).form();
    let form = send("application/x-www-form-urlencoded; charset=utf-8", "a=1&b=two+w%C3%B6rter&a=3&bare&=").unwrap();
    let all: Vec<_> = form.iter().collect();
    assert_eq!(all, [("a", "1"), ("b", "two wörter"), ("a", "3"), ("bare", ""), ("", "")]);
    assert_eq!((form.get("a"), form.get("c")), (Some("1"), None));
    assert_eq!(form.get_all("a").collect::<Vec<_>>(), ["1", "3"]);
    for (kind, body, status) in [
        ("text/plain", "a=1", 415),
        ("multipart/form-data", "a=1", 415),
        ("application/x-www-form-urlencoded", "a=%4", 400),
        ("application/x-www-form-urlencoded", "a=%zz", 400),
        ("application/x-www-form-urlencoded", "a=%ff", 400),
        ("application/x-www-form-urlencoded", &"a&".repeat(10_001), 413),
    ] {
        assert_eq!(send(kind, body).unwrap_err().status(), status, "{kind}: {:.20}", body);
    }
    assert_eq!(
        Request::get("/").with_body("a=1").form().unwrap_err().status(),
        415,
        "a form without a type must be rejected"
    );
}

#[test]
fn json_needs_its_media_type() {
    let send = |kind: &str, body: &str| {
        let request = Request::get("/").with_body(body);
        let request = if kind.is_empty() { request } else { request.with_header("content-type", kind) };
        request.json::<Vec<u32>>().map_err(|err| err.status().as_u16())
    };
    for (kind, body, expected) in [
        ("application/json", "[1, 2]", Ok(vec![1, 2])),
        ("Application/JSON; charset=utf-8", "[1]", Ok(vec![1])),
        ("application/problem+json", "[]", Ok(vec![])),
        ("", "[3]", Err(415)), // the type that a page of another site can make a browser send
        ("text/plain", "[1]", Err(415)),
        ("application/x-www-form-urlencoded", "[1]", Err(415)),
        ("application/json", "[1", Err(400)),
        ("application/json", "{\"a\": 1}", Err(400)),
        ("application/json", "", Err(400)),
    ] {
        assert_eq!(send(kind, body), expected, "{kind}: {body}");
    }
}

#[test]
fn a_cookie_that_is_not_utf_8_hides_no_other() {
    let request = Request::get("/").with_header("cookie", b"a=\xff; b=2; \xfe=3; c=4".as_slice());
    for (name, value) in [("a", None), ("b", Some("2")), ("c", Some("4"))] {
        assert_eq!(request.cookie(name), value, "{name}");
    }
}
