//! Tests of the clients, against servers that send what the clients should read.

use super::*;
use crate::live::{Broadcast, ServerEvent};
use crate::{Cookie, Http, Response, handler_fn};

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
fn a_browser_keeps_cookies_as_told() {
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
        ("/d/e?c=4", "b=2"), // of the folder of the page
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
