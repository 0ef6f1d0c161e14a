//! Tests of the test clients, against servers that send known bytes.

use super::*;
use crate::live::{Broadcast, ServerEvent};
use crate::{Cookie, Http, Response, SameSite, handler_fn};

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

/// The fields that Chromium sends for a page of the server, and for a page of another site.
#[test]
fn a_browser_names_the_site_and_keeps_cookies_to_it() {
    let server = serve(handler_fn(|request| {
        let cookies = [("strict", SameSite::Strict), ("lax", SameSite::Lax), ("none", SameSite::None)];
        let response = Response::text(
            ["sec-fetch-site", "origin", "cookie"].map(|name| request.header(name).unwrap_or("-").to_owned()).join(" "),
        );
        let set = |response: Response, (name, site)| response.with_cookie(Cookie::new(name, "1").with_same_site(site));
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

#[cfg(feature = "websocket")]
#[test]
fn websockets() {
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
    server.websocket("/").close();
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
