//! Responses that the server replaces by a page: none loses the id of a session.

use super::*;
use crate::layers::{Cors, RequestIds};
use crate::{Response, Routes, TcpServer, live::Broadcast};

/// A page that the server sends in place of a response has the fields of all layers, such as the new id of a session.
#[test]
fn a_replaced_response_loses_no_session() {
    let log_in = |request: &Request| Session::of(request).map(|session| session.log_in(User::new("ada")));
    let app = Routes::new()
        .get("/who", |_: &Broadcast, request| Ok(Response::text(request.user().unwrap_or("nobody".into()))))
        .get("/hold", |events, request| Ok(Response::events(events.listen(request)?)))
        .get("/events", move |events, request| {
            log_in(request)?;
            Ok(Response::events(events.listen(request)?))
        })
        .get("/length", move |_, request| {
            log_in(request)?;
            Ok(Response::text("four").with_header("content-length", "5"))
        })
        .get("/status", move |_, request| {
            log_in(request)?;
            Ok(Response::text("x").with_status(crate::StatusCode::CONTINUE))
        })
        .get("/upgrade", move |_, request| {
            log_in(request)?;
            Ok(Response::upgrade("x", drop))
        })
        .get("/no-thread", move |_, request| {
            log_in(request)?;
            Ok(Response::upgrade("x", |mut stream| drop(std::io::copy(&mut stream, &mut std::io::sink()))))
        })
        .get("/range", move |_, request| {
            log_in(request)?;
            Ok(Response::text("four"))
        })
        .with_state(Broadcast::new());
    let app = app.layer(Sessions::new(MemorySessions::new())).layer(Cors::new().any_origin()).layer(RequestIds::new());
    let server = TcpServer::bind("127.0.0.1:0", app).unwrap().max_live(1).max_streams(1);
    let server = testing::start(server.queue_timeout(Duration::from_millis(50)));
    let mut stream = server.open();
    stream.send("GET /no-thread HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    assert!(stream.receive(12).ends_with(b" 101"));
    let _listener = server.events("/hold");
    let upgrade = &[("connection", "upgrade"), ("upgrade", "x")][..];
    for (target, fields, status) in [
        ("/events", &[][..], 503),
        ("/length", &[], 500),
        ("/status", &[], 500),
        ("/upgrade", &[], 426),
        ("/no-thread", upgrade, 503),
        ("/range", &[("range", "bytes=9-")], 416),
    ] {
        let mut browser = server.browser();
        let request = fields
            .iter()
            .chain(&[("origin", "http://elsewhere.example")])
            .fold(TestRequest::new(Method::GET, target), |request, (name, value)| request.with_header(*name, *value));
        let sent = browser.send(request);
        assert_eq!(sent.status(), status, "{target}: {sent:?}");
        for field in ["access-control-allow-origin", "x-request-id", "set-cookie"] {
            assert!(sent.header(field).is_some(), "{target}: no {field} in {sent:?}");
        }
        let cached = sent.header("cache-control").unwrap_or_default();
        assert!(["private", "no-store"].iter().any(|word| cached.contains(word)), "{target}: {sent:?}");
        assert_eq!(browser.get("/who").text(), "ada", "{target}: {sent:?}");
    }
}
