//! Tests of the test clients, against servers that send known bytes.

use std::cell::Cell;

use super::*;
use crate::live::{Broadcast, ServerEvent};
use crate::{Cookie, Http, Request, Response, SameSite, handler_fn};

/// One request for `respond` and for a server.
#[test]
fn a_request_is_the_same_with_and_without_a_socket() {
    let app = || {
        handler_fn(|request| {
            let fields: Vec<_> = request.header_all("x").map(|value| value.escape_ascii().to_string()).collect();
            let shown = format!("{} {} {fields:?} {:?}", request.method(), request.target(), request.host());
            Ok(Response::text(format!("{shown} {}", request.text()?)))
        })
    };
    let (http, server) = (Http::new(app()), serve(app()));
    for request in [
        Request::get("/a?b=c"),
        Request::post("/", "hello").with_header("x", "1").with_header("x", "2"),
        Request::post("/", ""),
        Request::new(Method::DELETE, "/").unwrap().with_header("host", "example.org:8000"),
    ] {
        assert_eq!(server.send(&request).text(), http.respond(&request).text(), "{request:?}");
    }
}

#[test]
fn a_browser_follows_cookie_attributes() {
    let server = serve(handler_fn(|request| {
        let response = Response::text(request.header("cookie").unwrap_or("none").to_owned());
        let set = request.params().fold(response, |response, (name, value)| match value.split_once(';') {
            Some((value, path)) => response.with_cookie(Cookie::new(name, value).with_path(path)),
            None if value == "-" => response.with_cookie(Cookie::removal(name).with_path("/")),
            None => response.with_cookie(Cookie::new(name, value)),
        });
        Ok(set)
    }));
    let mut ada = server.browser();
    for (target, sent) in [
        ("/?a=1;/", "none"),
        ("/x?b=2;/", "a=1"),
        ("/x", "a=1; b=2"),
        ("/x?a=3;/x", "a=1; b=2"),
        ("/x/y", "a=3; a=1; b=2"), // the longest path comes first
        ("/xy", "a=1; b=2"),
        ("/x?a=-", "a=3; a=1; b=2"),
        ("/x", "a=3; b=2"),
        ("/", "b=2"),
        ("/d/e?c=4", "b=2"), // a cookie of the page's folder
        ("/d/f", "c=4; b=2"),
        ("/", "b=2"),
    ] {
        assert_eq!(ada.get(target).text(), sent, "{target}");
    }
    assert_eq!((ada.cookie("b"), ada.cookie("z")), (Some("2"), None));
    ada.set_cookie("z", "9");
    assert!(ada.get("/").text().ends_with("z=9"));
    assert_eq!(server.browser().get("/").text(), "none");
}

/// Sets a cookie for each line of a body, and shows the cookies of any other request.
fn setting() -> TestServer {
    serve(handler_fn(|request| {
        let response = Response::text(request.header("cookie").unwrap_or("-").to_owned());
        Ok(request.text()?.lines().fold(response, |response, line| response.with_added_header("set-cookie", line)))
    }))
}

/// Which cookies browsers keep (RFC 6265, section 5; draft RFC 6265bis, section 5). Each line is the `Set-Cookie` of a
/// response from `/a/b/c`.
#[test]
fn cookies_are_kept_as_by_browsers() {
    let server = setting();
    let (full, over) = (format!("a={}", "x".repeat(4095)), format!("a={}", "x".repeat(4096)));
    for (lines, at, sent) in [
        // 5.1.1 and 5.2.1: Expires
        (&["a=1", "a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"][..], "/a/b/", "-"),
        (&["a=1; expires=Thu, 01-Jan-1970 00:00:00 GMT"], "/a/b/", "-"),
        (&["a=1; Expires=Thursday, 01-Jan-70 00:00:00 GMT"], "/a/b/", "-"),
        (&["a=1; Expires=Tuesday, 31-Dec-69 00:00:00 GMT"], "/a/b/", "a=1"),
        (&["a=1; Expires=Thu Jan  1 00:00:00 1970"], "/a/b/", "-"),
        (&["a=1; Expires=Fri, 31 Dec 9999 23:59:59 GMT"], "/a/b/", "a=1"),
        (&["a=1; Expires=yesterday"], "/a/b/", "a=1"),
        (&["a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Expires=x"], "/a/b/", "-"),
        // 5.2.2: Max-Age, which counts before Expires (5.3, step 3)
        (&["a=1", "a=2; Max-Age=0"], "/a/b/", "-"),
        (&["a=1; MAX-AGE=-1"], "/a/b/", "-"),
        (&["a=1; Max-Age=-99999999999999999999999"], "/a/b/", "-"),
        (&["a=1; Max-Age=99999999999999999999999"], "/a/b/", "a=1"),
        (&["a=1; Max-Age=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], "/a/b/", "-"),
        (&["a=1; Max-Age=50; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], "/a/b/", "a=1"),
        (&["a=1; Max-Age=0; Expires=Fri, 31 Dec 9999 23:59:59 GMT"], "/a/b/", "-"),
        (&["a=1; Max-Age=+0", "b=2; Max-Age=0x", "c=3; Max-Age=", "d=4; Max-Age=0.5"], "/a/b/", "a=1; b=2; c=3; d=4"),
        (&["a=1; Max-Age=0; Max-Age=x"], "/a/b/", "-"),
        // 5.2.3 and 5.3, steps 5 and 6: Domain
        (&["a=1; Domain=evil.example", "b=2; Domain=ocalhost", "c=3; Domain=a.localhost"], "/a/b/", "-"),
        (
            &["a=1; Domain=localhost", "b=2; Domain=.LOCALHOST", "c=3; Domain=", "d=4; Domain"],
            "/a/b/",
            "a=1; b=2; c=3; d=4",
        ),
        (&["a=1; Domain=localhost", "a=2"], "/a/b/", "a=2"),
        (&["a=1; Domain=evil.example; Domain=localhost"], "/a/b/", "a=1"),
        // 5.2.4 and 5.1.4: Path
        (&["a=1; Path=/; Path=foo"], "/", "-"),
        (&["a=1; Path=/; Path=foo"], "/a/b/x", "a=1"),
        (&["a=1; Path=/x; Path = / "], "/", "a=1"),
        (&["a=1; Path=/; Path"], "/", "-"),
        // 5.2: names, values and white space
        (&[" a = 1 2 ;Path=/"], "/", "a=1 2"),
        (&["a=\"1\"", "b==1=", "c="], "/a/b/", "a=\"1\"; b==1=; c="),
        (&["novalue", "=1", " = 1", "", ";"], "/a/b/", "-"),
        (&["a=1;; ;=; Secure =x; x"], "/a/b/", "a=1"),
        (&["A=1", "a=2"], "/a/b/", "A=1; a=2"),
        (&[&full], "/a/b/", &full),
        (&[&over], "/a/b/", "-"),
        // 5.3, step 11, and 5.4: a replaced cookie keeps its place
        (&["a=1", "b=2", "a=3"], "/a/b/", "a=3; b=2"),
        (&["a=1", "b=2", "a=; Max-Age=0", "a=3"], "/a/b/", "b=2; a=3"),
        (&["a=1; Path=/", "b=2", "a=3"], "/a/b/", "b=2; a=3; a=1"),
        // 6265bis 4.1.3 and 5.7: prefixes, and Secure, which `http://localhost` can set
        (&["a=1; Secure"], "/a/b/", "a=1"),
        (&["__Secure-a=1", "__secure-b=2", "__Secure-c=3; Path=/"], "/a/b/", "-"),
        (&["__Secure-a=1; secure"], "/a/b/", "__Secure-a=1"),
        (&["__Host-a=1; Path=/", "__host-b=2; Path=/"], "/", "-"),
        (&["__Host-a=1; Secure", "__Host-b=2; Secure; Path=/a", "__Host-c=3; Secure; Path=/; Path"], "/a/b/", "-"),
        (&["__Host-a=1; Secure; Path=/; Domain=localhost"], "/", "-"),
        (&["__HOST-a=1; Secure; Path=/", "__Host=2", "_"], "/a/b/", "__Host=2; __HOST-a=1"),
        (&["__Host-a=1; Secure; Path=/", "__Host-a=; Max-Age=0; Path=/"], "/", "__Host-a=1"),
        (&["a=1; SameSite=None", "b=2; SameSite=Lax; samesite=NONE"], "/a/b/", "-"),
        (&["a=1; SameSite=None; Secure", "b=2; SameSite=None; SameSite=x"], "/a/b/", "a=1; b=2"),
    ] {
        let mut ada = server.browser();
        for line in lines {
            ada.send(TestRequest::new(Method::POST, "/a/b/c").with_body(*line));
        }
        assert_eq!(ada.get(at).text(), sent, "{lines:?}");
    }
    for (host, line, is_kept) in [
        ("www.shop.example:81", "a=1; Domain=shop.example", true),
        ("WWW.Shop.Example", "a=1; Domain=.Shop.EXAMPLE", true),
        ("shop.example", "a=1; Domain=shop.example", true),
        ("shop.example", "a=1; Domain=www.shop.example", false),
        ("shop.example", "a=1; Domain=hop.example", false),
        ("shop.example", "a=1; Domain=example", false), // a public suffix
        ("shop.example", "a=1; Domain=localhost", false),
        ("127.0.0.1:8000", "a=1; Domain=127.0.0.1", true),
        ("127.0.0.1:8000", "a=1; Domain=0.0.1", false),
    ] {
        let mut ada = server.browser();
        ada.send(TestRequest::new(Method::POST, "/").with_header("Host", host).with_body(line));
        assert_eq!(ada.cookie("a").is_some(), is_kept, "{host} {line}");
    }
    // A removal needs the domain of the cookie.
    let mut ada = server.browser();
    for (line, left) in [
        ("a=1; Domain=shop.example", Some("1")),
        ("a=; Max-Age=0", Some("1")),
        ("a=; Max-Age=0; Domain=.shop.example", None),
    ] {
        ada.send(TestRequest::new(Method::POST, "/").with_header("Host", "shop.example").with_body(line));
        assert_eq!(ada.cookie("a"), left, "{line}");
    }
    ada.set_cookie("__Host-a", "1");
    ada.get("/").assert_text("__Host-a=1");
}

#[test]
fn a_cookie_expires_while_it_is_stored() {
    let server = setting();
    let mut ada = server.browser();
    let long_after = Instant::now() + PATIENCE;
    ada.send(TestRequest::new(Method::POST, "/").with_body("a=1; Max-Age=1"));
    while ada.cookie("a").is_some() && Instant::now() < long_after {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(ada.cookie("a"), None);
    ada.get("/").assert_text("-");
}

#[test]
fn a_form_is_sent_as_by_a_page_of_the_server() {
    let server = serve(handler_fn(|request| {
        let form = request.form()?;
        let fields: Vec<_> = form.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Ok(Response::text(format!("{fields:?} {:?}", request.header("sec-fetch-site"))))
    }));
    let sent = server.browser().post_form("/", &[("a b", "c&d=é"), ("e", "")]);
    assert_eq!(sent.text(), "[\"a b=c&d=é\", \"e=\"] Some(\"same-origin\")");
}

#[test]
fn requests_have_their_method() {
    let server = serve(handler_fn(|request| {
        let length = request.header("content-length").unwrap_or("-").to_owned();
        Ok(Response::text(format!("{} {} {length} {}", request.method(), request.target(), request.text()?)))
    }));
    server.put("/a?b", "text").assert_text("PUT /a?b 4 text");
    server.put("/", "").assert_text("PUT / 0 ");
    server.delete("/a").assert_text("DELETE /a - ");
}

/// Shows the parts of a form: name, file name, media type and content.
fn form_app() -> impl crate::RequestHandler {
    handler_fn(|request| {
        let mut form = request.form_data()?;
        let mut shown = Vec::new();
        while let Some(part) = form.next_part()? {
            let head =
                (part.name().to_owned(), part.file_name().map(str::to_owned), part.content_type().map(str::to_owned));
            shown.push((head, part.bytes(1 << 20)?));
        }
        Ok(Response::text(format!("{shown:?}")))
    })
}

#[test]
fn forms_have_fields_and_files() {
    let server = serve(form_app());
    let all: Vec<u8> = (0..=255).collect();
    let delimiter: &[u8] = b"\r\n--form-boundary-0--\r\n--form-boundary-1\r\n";
    let fields = [("title", "Tea & \"cake\""), ("a \"b\"\r\nc", ""), ("title", "é\r\n--form-boundary-2")];
    let files = [("photo", "tea.jpg", &all[..]), ("photo", "a \"b\".txt", delimiter), ("none", "", b"")];
    let own = |text: &str| text.to_owned();
    let of_fields = fields.map(|(name, value)| ((own(name), None, None), value.as_bytes().to_vec()));
    let kinds = ["image/jpeg", "text/plain; charset=utf-8", "application/octet-stream"];
    let of_files = files.iter().zip(kinds);
    let of_files =
        of_files.map(|((name, file, content), kind)| ((own(name), Some(own(file)), Some(own(kind))), content.to_vec()));
    let expected: Vec<_> = of_fields.into_iter().chain(of_files).collect();
    for sent in [
        server.browser().post_form_data("/", &fields, &files),
        server.send(TestRequest::new(Method::PUT, "/").with_form_data(&fields, &files)),
    ] {
        sent.assert_status(200).assert_text(&format!("{expected:?}"));
    }
    server.browser().post_form_data("/", &[], &[]).assert_status(200).assert_text("[]");
}

/// HTML Standard, form submission: the content and the name of a file keep their line breaks.
#[test]
fn line_breaks_of_forms_are_sent_as_crlf() {
    let server = serve(handler_fn(|request| Ok(Response::text(request.text()?.into_owned()))));
    let fields = [("a\nb", "1\n2\r3\r\n4\n\r5")];
    let sent = server.browser().post_form("/", &fields);
    sent.assert_text("a%0D%0Ab=1%0D%0A2%0D%0A3%0D%0A4%0D%0A%0D%0A5");
    let sent = server.browser().post_form_data("/", &fields, &[("c\rd", "e\nf", b"6\n7\r")]);
    sent.assert_contains("name=\"a%0D%0Ab\"\r\n\r\n1\r\n2\r\n3\r\n4\r\n\r\n5\r\n");
    sent.assert_contains("name=\"c%0D%0Ad\"; filename=\"e%0Af\"\r\n").assert_contains("\r\n\r\n6\n7\r\r\n--");
}

/// Redirects with `?to=` and the status of the path, and shows any other request. A redirect sets a cookie.
fn redirecting() -> TestServer {
    serve(handler_fn(|request| {
        let status: Option<u16> = request.path().trim_start_matches('/').parse().ok();
        if let (Some(status), Some(to)) = (status, request.param("to")) {
            let cookie = Cookie::new(format!("c{status}"), "1").with_path("/");
            return Ok(Response::new(status).with_header("location", &*to).with_cookie(cookie));
        }
        let fields = ["content-type", "origin", "sec-fetch-site", "x-a", "cookie"];
        let fields = fields.map(|name| request.header(name).unwrap_or("-").to_owned()).join(" ");
        Ok(Response::text(format!("{} {} {:?} {fields}", request.method(), request.target(), request.text()?)))
    }))
}

#[test]
fn a_browser_follows_redirects_as_chromium_does() {
    let server = redirecting();
    let browser = || server.browser().follow_redirects(true);
    let own = "http://localhost same-origin";
    for (method, status, expected) in [
        (Method::GET, 301, "GET /x \"\" text/plain - same-origin b c301=1"),
        (Method::GET, 302, "GET /x \"\" text/plain - same-origin b c302=1"),
        (Method::GET, 303, "GET /x \"\" text/plain - same-origin b c303=1"),
        (Method::GET, 307, "GET /x \"\" text/plain - same-origin b c307=1"),
        (Method::GET, 308, "GET /x \"\" text/plain - same-origin b c308=1"),
        (Method::POST, 301, "GET /x \"\" - - same-origin b c301=1"),
        (Method::POST, 302, "GET /x \"\" - - same-origin b c302=1"),
        (Method::POST, 303, "GET /x \"\" - - same-origin b c303=1"),
        (Method::POST, 307, &format!("POST /x \"body\" text/plain {own} b c307=1")),
        (Method::POST, 308, &format!("POST /x \"body\" text/plain {own} b c308=1")),
        (Method::PUT, 302, &format!("PUT /x \"body\" text/plain {own} b c302=1")),
        (Method::PUT, 303, "GET /x \"\" - - same-origin b c303=1"),
        (Method::DELETE, 301, &format!("DELETE /x \"body\" text/plain {own} b c301=1")),
    ] {
        let body = if method == Method::GET { "" } else { "body" };
        let request = TestRequest::new(method, format!("/{status}?to=/x")).with_header("x-a", "b").with_body(body);
        let sent = browser().send(request.with_header("Content-Type", "text/plain"));
        sent.assert_status(200).assert_text(expected);
    }
    let head = browser().send(TestRequest::new(Method::HEAD, "/303?to=/x"));
    assert!(head.asked().unwrap().starts_with("HEAD /x "), "{head:?}");
    // A response that is not a redirect, or leads to no page of the server, is returned.
    for target in ["/300?to=/x", "/201?to=/x", "/302?to=https://localhost/", "/302?to=//other.example/"] {
        let sent = browser().get(target);
        assert_eq!(Some(sent.status().as_str()), target.get(1..4), "{target}");
        assert!(sent.header("location").is_some(), "{target}");
    }
    browser().get("/302?to=/a/../%C3%BC%3Fb%20c").assert_contains("GET /%C3%BC?b%20c ");
    // A redirect does not make a page of another site one of this site: its POST sends only certain cookies.
    let mut ada = browser();
    ada.set_cookie("lax", "1");
    let foreign =
        |status: u16| TestRequest::new(Method::POST, format!("/{status}?to=/x")).with_header("Origin", "null");
    ada.send(foreign(307)).assert_text("POST /x \"\" - null cross-site - -");
    ada.send(foreign(303)).assert_text("GET /x \"\" - - cross-site - lax=1; c307=1; c303=1");
    let mut still = server.browser();
    still.get("/302?to=/x").assert_status(302).assert_header("location", "/x");
    assert_eq!(still.cookie("c302"), Some("1"));
}

#[test]
fn a_browser_follows_20_redirects() {
    let server = serve(handler_fn(|request| match request.parse_param::<u32>("left")? {
        0 => Ok(Response::text("there")),
        left => Ok(Response::redirect(format!("?left={}", left - 1))),
    }));
    server.browser().follow_redirects(true).get("/a?left=20").assert_text("there");
    let loops = std::panic::AssertUnwindSafe(|| server.browser().follow_redirects(true).get("/a?left=21"));
    let panic = std::panic::catch_unwind(loops).unwrap_err();
    assert_eq!(panic.downcast_ref::<String>().unwrap(), "GET /a?left=0: more than 20 redirects");
}

/// Locations as Chromium resolves them, from the page `/a/b?c=/d/`.
#[test]
fn locations_are_resolved_as_by_browsers() {
    let server = redirecting();
    let own = server.url("");
    let resolve = |location: &str| browser::resolve(location, "/a/b?c=/d/", &["http://localhost".into(), own.clone()]);
    for (location, target) in [
        ("/", "/"),
        ("/x?y=/../z#f", "/x?y=/../z"),
        ("x", "/a/x"),
        ("./", "/a/"),
        (".", "/a/"),
        ("..", "/"),
        ("../../../x", "/x"),
        ("../x/./y/..", "/x/"),
        ("/x//y", "/x//y"),
        ("?q", "/a/b?q"),
        ("#f", "/a/b?c=/d/"),
        ("", "/a/b?c=/d/"),
        ("./x:y", "/a/x:y"),
        ("http://localhost", "/"),
        ("http://localhost/x?y", "/x?y"),
        ("//localhost/x", "/x"),
        (&server.url("/x"), "/x"),
        // URL Standard, section 4.4: the case, white space, slashes and the port
        ("HTTP://LOCALHOST:80/X", "/X"),
        ("http://localhost:/x", "/x"),
        ("http://localhost?q", "/?q"),
        ("\t /x \n", "/x"),
        ("ht\ttp://local\nhost/\rx", "/x"),
        ("///localhost/x", "/x"),
        ("http:\\\\/localhost\\x", "/x"),
        ("http:/x", "/x"),
        ("http:x", "/a/x"),
        ("http:", "/a/b?c=/d/"),
        ("1:x", "/a/1:x"),
        ("x?http://other.example/", "/a/x?http://other.example/"),
        // dot segments
        ("/%2e%2E/z", "/z"),
        ("x/.%2e/y/%2e", "/a/y/"),
        ("/%2e%2e%2e/%252e%252e/x", "/%2e%2e%2e/%252e%252e/x"),
        ("/a//../b", "/a/b"),
        // section 1.3: percent-encoding
        ("/ü é%20%zz", "/%C3%BC%20%C3%A9%20%zz"),
        ("/\"<>^`{}|[]'\u{7f}", "/%22%3C%3E%5E%60%7B%7D|[]'%7F"),
        ("?ü \"<>'^`{}|\\", "/a/b?%C3%BC%20%22%3C%3E%27^`{}|\\"),
    ] {
        assert_eq!(resolve(location).as_deref(), Some(target), "{location}");
    }
    for location in [
        "https://localhost/",
        "http://localhost:1/",
        "http://localhost.example/",
        "http://localhost@other.example/",
        "http://other.example/",
        "//other.example/x",
        "/\\other.example/x",
        "\\\\other.example",
        "mailto:ada@localhost",
        "x:y",
        "https:x",
        "HTTPS://localhost/",
        "java\tscript:1",
        "http://",
        "///other.example/x",
        "http:/\\other.example",
        "http://localhost:8080/",
    ] {
        assert_eq!(resolve(location), None, "{location}");
    }
}

/// The fields that Chromium sends for a page of the server, and for a page of another site.
#[test]
fn a_browser_names_the_site_and_follows_same_site_rules() {
    let server = serve(handler_fn(|request| {
        let cookies = [("strict", SameSite::Strict), ("lax", SameSite::Lax), ("none", SameSite::None)];
        let response = Response::text(
            ["sec-fetch-site", "origin", "cookie"].map(|name| request.header(name).unwrap_or("-").to_owned()).join(" "),
        );
        let cookie = |name, site| Cookie::new(name, "1").with_same_site(site).with_secure();
        let set = |response: Response, (name, site)| response.with_cookie(cookie(name, site));
        Ok(cookies.into_iter().fold(response, set).with_cookie(Cookie::new("usual", "1")))
    }));
    let mut ada = server.browser();
    ada.get("/");
    let all = "strict=1; lax=1; none=1; usual=1";
    for (method, field, sent) in [
        (Method::GET, None, format!("same-origin - {all}")),
        (Method::POST, None, format!("same-origin http://localhost {all}")),
        (Method::POST, Some(("Host", "a.example:81")), format!("same-origin http://a.example:81 {all}")),
        (Method::POST, Some(("Origin", "http://localhost")), format!("same-origin http://localhost {all}")),
        (Method::POST, Some(("Origin", "HTTP://LocalHost:80")), format!("same-origin HTTP://LocalHost:80 {all}")),
        (Method::POST, Some(("Origin", "https://localhost")), "cross-site https://localhost none=1".to_owned()),
        (Method::POST, Some(("Host", "LocalHost:80")), format!("same-origin http://localhost {all}")),
        (Method::POST, Some(("Origin", "null")), "cross-site null none=1".to_owned()),
        (Method::GET, Some(("Sec-Fetch-Site", "none")), format!("none - {all}")),
        (Method::POST, Some(("Sec-Fetch-Site", "same-site")), format!("same-site https://other.example {all}")),
        (Method::POST, Some(("Sec-Fetch-Site", "cross-site")), "cross-site https://other.example none=1".to_owned()),
        (Method::GET, Some(("Sec-Fetch-Site", "cross-site")), "cross-site - lax=1; none=1; usual=1".to_owned()),
    ] {
        let request = TestRequest::new(method, "/");
        let request = field.iter().fold(request, |request, (name, value)| request.with_header(*name, *value));
        assert_eq!(ada.send(request.clone()).text(), sent, "{request:?}");
    }
}

#[test]
fn events_as_they_come() {
    let broadcast = Broadcast::new();
    let channel = broadcast.clone();
    let server = serve(handler_fn(move |request| match request.path() {
        "/ends" => Ok(Response::text(": comment\n\nid: 1\ndata\n\ndata: a\ndata:b\nevent: e\n\ndata: half")
            .with_content_type("text/event-stream")),
        "/none" => Err(crate::Error::new(404, "")),
        _ => Ok(Response::events(channel.listen(request)?)),
    }));
    let mut events = server.events("/");
    for number in 0..3 {
        broadcast.send(ServerEvent::new(format!("line\n{number}")).with_name("n").with_id(number.to_string()));
        let event = events.next_event().unwrap();
        assert_eq!((event.name, event.data, event.id.is_empty()), ("n".into(), format!("line\n{number}"), false));
    }
    let all: Vec<_> = server.events("/ends").map(|event| (event.name, event.id, event.data)).collect();
    let event = |name: &str, data: &str| (name.to_owned(), "1".to_owned(), data.to_owned());
    assert_eq!(all, [event("message", ""), event("e", "a\nb")]);
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.events("/none")));
    assert!(failed.is_err());
}

#[test]
fn heartbeats_do_not_extend_the_wait_for_an_event() {
    let broadcast = Broadcast::new().heartbeat(Duration::from_millis(5));
    let server = serve(handler_fn(move |request| Ok(Response::events(broadcast.listen(request)?))));
    let mut events = server.events("/");
    events.within().patience = Duration::from_millis(100);
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| events.next_event())).unwrap_err();
    assert_eq!(failed.downcast_ref::<String>().unwrap(), "no event: timed out after 100ms");
}

#[cfg(feature = "websocket")]
#[test]
fn pings_do_not_extend_the_wait_for_a_message() {
    use crate::websocket::{Message, Socket, WebSocket, WebSocketHandler};
    struct Silent;
    impl WebSocketHandler for Silent {
        fn message(&mut self, _: Message, _: &Socket) -> crate::Result<()> {
            Ok(())
        }
    }
    let settings = WebSocket::new().ping_interval(Duration::from_millis(5));
    let server = serve(handler_fn(move |request| settings.accept(request, Silent)));
    let mut socket = server.websocket("/");
    socket.within().patience = Duration::from_millis(100);
    let waits: [fn(&mut TestWebSocket); 2] = [|socket| drop(socket.receive()), |socket| drop(socket.end())];
    for wait in waits {
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| wait(&mut socket))).unwrap_err();
        let message = failed.downcast_ref::<String>().unwrap();
        assert!(message.ends_with("timed out after 100ms"), "{message}");
    }
}

#[cfg(feature = "websocket")]
#[test]
fn websockets_send_and_receive_messages() {
    use crate::websocket::{Message, Socket, WebSocketHandler, accept};
    struct Echo;
    impl WebSocketHandler for Echo {
        fn message(&mut self, message: Message, socket: &Socket) -> crate::Result<()> {
            match message.as_text() {
                Some("bye") => socket.close(1000, ""),
                _ => socket.send(message)?,
            }
            Ok(())
        }
    }
    let server = serve(handler_fn(|request| accept(request, Echo)));
    let mut socket = server.websocket("/");
    for message in [Message::from("one"), Message::from(vec![0, 255]), Message::from("")] {
        socket.send(message.clone());
        assert_eq!(socket.receive(), Some(message));
    }
    socket.send("bye");
    assert_eq!(socket.receive(), None);
    assert_eq!(socket.end().code, 1000);
    server.websocket("/").close();
    let mut socket = server.websocket("/");
    server.handle().shutdown();
    assert_eq!(socket.end().code, 1001);
    for _ in 0..50 {
        let server = serve(handler_fn(|request| accept(request, Echo)));
        let mut socket = server.websocket("/"); // the worker can still be in its first turn
        server.handle().shutdown_now();
        assert_eq!(socket.end().code, 1006);
    }
}

#[test]
fn events_and_websockets_are_requests_with_fields_and_cookies() {
    let app = handler_fn(|request| {
        let field = |name: &str| request.header(name).unwrap_or("-").to_owned();
        let names = ["host", "accept", "cookie", "origin", "sec-fetch-site", "last-event-id"];
        let text = names.map(field).join("|");
        if request.path() != "/websocket" {
            let events = Response::text(format!("data: {text}\n\n")).with_content_type("text/event-stream");
            return Ok(events.with_cookie(Cookie::new("seen", "events")));
        }
        #[cfg(feature = "websocket")]
        {
            struct Says(String);
            impl crate::websocket::WebSocketHandler for Says {
                fn opened(&mut self, socket: &crate::websocket::Socket) -> crate::Result<()> {
                    Ok(socket.send(self.0.as_str())?)
                }
                fn message(&mut self, _: crate::websocket::Message, _: &crate::websocket::Socket) -> crate::Result<()> {
                    Ok(())
                }
            }
            let settings = crate::websocket::WebSocket::new().origin("https://a.example");
            Ok(settings.accept(request, Says(text))?.with_cookie(Cookie::new("seen", "websocket")))
        }
        #[cfg(not(feature = "websocket"))]
        Err(crate::Error::new(404, ""))
    });
    let server = serve(app);
    let data = |mut events: super::TestEvents| events.next_event().unwrap().data;
    let request = |target: &str| TestRequest::new(Method::GET, target).with_header("last-event-id", "7");
    assert_eq!(data(server.events(&"/events".to_owned())), "localhost|text/event-stream|-|-|-|-");
    let asked = request("/events").with_header("Accept", "*/*").with_header("host", "a.test");
    assert_eq!(data(server.events(asked)), "a.test|*/*|-|-|-|7");
    let mut browser = server.browser();
    browser.set_cookie("name", "Ada");
    assert_eq!(data(browser.events("/events")), "localhost|text/event-stream|name=Ada|-|same-origin|-");
    assert_eq!(browser.cookie("seen"), Some("events"));

    #[cfg(feature = "websocket")]
    {
        let text = |mut socket: super::TestWebSocket| socket.receive().unwrap().as_text().unwrap().to_owned();
        assert_eq!(text(server.websocket("/websocket")), "localhost|-|-|-|-|-");
        let asked = request("/websocket").with_header("host", "a.test").with_header("cookie", "a=1");
        assert_eq!(text(server.websocket(asked)), "a.test|-|a=1|-|-|7");
        let own = "localhost|-|name=Ada; seen=events|http://localhost|same-origin|-";
        assert_eq!(text(browser.websocket("/websocket")), own);
        assert_eq!(browser.cookie("seen"), Some("websocket"));
        // These cookies are `SameSite=Lax` by default: another site's page can't make a browser send them.
        let foreign = TestRequest::new(Method::GET, "/websocket").with_header("Origin", "https://a.example");
        assert_eq!(text(browser.websocket(foreign)), "localhost|-|-|https://a.example|cross-site|-");
        for request in [
            TestRequest::new(Method::GET, "/websocket").with_header("Origin", "https://b.example"),
            TestRequest::new(Method::POST, "/websocket"),
            TestRequest::new(Method::GET, "/websocket").with_header("a b", "c"),
        ] {
            let text = format!("{request:?}");
            let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.websocket(request)));
            assert!(opened.is_err(), "{text}");
        }
    }
}

#[test]
fn a_connection_does_what_the_test_wants() {
    let app = || handler_fn(|request| Ok(Response::text(request.text()?.to_uppercase())));
    let server = serve(Http::new(app()).head_timeout(Duration::from_millis(100)));
    let mut client = server.open();
    client
        .send_slowly("POST / HTTP/1.1\r\nHost: a\r\n", Duration::from_micros(100))
        .send("Content-Length: 5\r\n\r\nhello");
    client.response("POST").assert_status(200).assert_text("HELLO");
    client.send("GET").half_close();
    client.response("GET").assert_status(400);
    assert_eq!(client.end(), End::Closed);
    let mut silent = server.open();
    silent.send("GET / ");
    silent.response("GET").assert_status(408);
    let gone = server.open();
    server.wait_until("it is connected", |stats| stats.connections == 1);
    gone.reset();
    server.wait_until("it is gone", |stats| stats.connections == 0);
}

#[test]
fn a_client_that_reads_nothing_is_noticed() {
    let app = handler_fn(|_| Ok(Response::bytes(vec![b'x'; 30_000_000])));
    let server = TcpServer::bind("127.0.0.1:0", app).unwrap().write_timeout(Duration::from_millis(100));
    let server = start(server);
    let mut deaf = server.open_narrow(4096);
    deaf.send_request(Request::get("/"));
    server.wait_until("it is dropped", |stats| stats.accepted == 1 && stats.connections == 0);
    assert_eq!(deaf.end(), End::Reset);
}

/// Each way to misbehave, as a client of the standard library sees it.
#[test]
fn a_fake_server_misbehaves_as_its_script_says() {
    let fake = fake_server(|client| {
        while let Some(request) = client.request() {
            match request.line().split(' ').nth(1).unwrap_or_default() {
                "/strange" => client.send("HTTP/1.1 299 Strange Things\r\nContent-Length: 2\r\n\r\nok"),
                "/short" => {
                    client.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort");
                    return;
                }
                "/hang-up" => return,
                "/reset" => return client.reset(),
                "/stall" => return client.stall(),
                "/echo" => {
                    let body = request.body();
                    client.send(
                        [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body]
                            .concat(),
                    )
                }
                "/chunks" => {
                    client.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                    client.pause(Duration::from_millis(1));
                    client.chunk("one") && client.chunk("two") && client.chunk("")
                }
                _ => client.send_slowly("HTTP/1.1 204 \r\n\r\n", Duration::from_micros(100)),
            };
        }
    });
    let open = || TestConnection::connect(fake.address(), None).unwrap();
    let mut kept = open();
    for (target, status, text) in [("/strange", 299, "ok"), ("/chunks", 200, "onetwo"), ("/slow", 204, "")] {
        kept.send_request(Request::get(target)).response("GET").assert_status(status).assert_text(text);
    }
    kept.send_request(TestRequest::new(Method::POST, "/echo").with_body("hello")).response("POST").assert_text("hello");
    kept.send("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    kept.response("POST").assert_text("abcde");
    for (target, sent, end) in
        [("/short", "short", End::Closed), ("/hang-up", "", End::Closed), ("/reset", "", End::Reset)]
    {
        let (bytes, found) = open().send_request(Request::get(target)).rest();
        assert_eq!((String::from_utf8_lossy(&bytes).ends_with(sent), found), (true, end), "{target}: {bytes:?}");
    }
    let mut stalled = open();
    stalled.send_request(Request::get("/stall").with_header("x-a", "b")).half_close();
    assert_eq!(stalled.rest(), (Vec::new(), End::Closed));
    let last = fake.requests().pop().unwrap();
    assert_eq!((last.line(), last.header("X-A"), last.body()), ("GET /stall HTTP/1.1", Some("b"), &b""[..]));
    assert_eq!(fake.requests().len(), 9);
}

#[test]
fn assertions_print_both_sides() {
    let server = serve(handler_fn(|_| Ok(Response::json(&[1]).with_header("x-a", "b"))));
    let sent = server.send(Request::post("/things", "new"));
    sent.assert_status(200).assert_header("x-a", "b").assert_no_header("x-b").assert_text("[1]").assert_contains("1");
    type Wrong = fn(&SentResponse);
    let rows: [(Wrong, &str); 6] = [
        (|sent| _ = sent.assert_status(404), "status: expected 404, found 200"),
        (|sent| _ = sent.assert_header("x-a", "c"), "x-a: expected Some(\"c\"), found Some(\"b\")"),
        (|sent| _ = sent.assert_no_header("x-a"), "x-a: expected None, found Some(\"b\")"),
        (|sent| _ = sent.assert_text("[2]"), "body: expected \"[2]\", found \"[1]\""),
        (|sent| _ = sent.assert_contains("2"), "body: expected to find \"2\""),
        #[cfg(feature = "json")]
        (|sent| _ = sent.assert_json(&[2]), "body: expected Array [Number(2)], found Array [Number(1)]"),
        #[cfg(not(feature = "json"))]
        (|sent| _ = sent.assert_status(404), "status"),
    ];
    for (wrong, expected) in rows {
        let panic = std::panic::catch_unwind(|| wrong(&sent)).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        for part in [expected, "POST /things HTTP/1.1\r\n", "\r\n\r\nnew\n", "200 OK\n", "x-a: b\n", "[1]\n---"] {
            assert!(message.contains(part), "{part:?} in {message}");
        }
    }
}

thread_local! {
    /// Whether this thread's last panic was at a line of this file.
    static PANICKED_HERE: Cell<bool> = const { Cell::new(false) };
}

/// A failed test shows the line that called, not a line of this module.
#[test]
fn failures_are_reported_where_the_test_calls() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICKED_HERE.set(panic.location().is_some_and(|at| at.file() == file!()));
        before(panic);
    }));
    let server = serve(handler_fn(|request| match request.path() {
        "/cut" => Ok(Response::sized_stream(io::empty(), 5)),
        "/again" => Ok(Response::redirect("/again")),
        _ => Ok(Response::text("text")),
    }));
    let rows: &[(&str, &dyn Fn())] = &[
        ("get", &|| drop(server.get("/cut"))),
        ("post", &|| drop(server.post("/cut", ""))),
        ("put", &|| drop(server.put("/cut", ""))),
        ("delete", &|| drop(server.delete("/cut"))),
        #[cfg(feature = "json")]
        ("post_json", &|| drop(server.post_json("/cut", &1))),
        ("send", &|| drop(server.send(Request::get("/cut")))),
        ("pending", &|| drop(server.begin(Request::get("/cut")).response())),
        ("response", &|| drop(server.open().send_request(Request::get("/cut")).response("GET"))),
        ("receive", &|| drop(server.open().half_close().receive(1))),
        ("events", &|| drop(server.events("/"))),
        #[cfg(feature = "websocket")]
        ("websocket", &|| drop(server.websocket("/"))),
        ("browser", &|| drop(server.browser().get("/cut"))),
        ("form", &|| drop(server.browser().post_form("/cut", &[]))),
        ("files", &|| drop(server.browser().post_form_data("/cut", &[], &[]))),
        ("redirects", &|| drop(server.browser().follow_redirects(true).get("/again"))),
        ("events of a browser", &|| drop(server.browser().events("/"))),
        #[cfg(feature = "websocket")]
        ("websocket of a browser", &|| drop(server.browser().websocket("/"))),
        #[cfg(feature = "json")]
        ("json", &|| drop(server.get("/").json::<String>())),
        ("target", &|| drop(Request::get("no slash"))),
        ("field", &|| drop(Request::get("/").with_header("a b", "c"))),
    ];
    for (what, fails) in rows {
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(fails));
        assert_eq!((failed.is_err(), PANICKED_HERE.get()), (true, true), "{what}");
    }
}
