//! Tests of the proxy in one process, with backends of `testing`.

use std::io::BufRead;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::live::Broadcast;
use crate::testing::{self, End, FakeServer};
use crate::{Http, Next, Routes, TcpServer, handler_fn, layer_fn};

/// Returns a backend that gives every request this status.
fn backend(status: u16) -> FakeServer {
    testing::fake_server(move |client| {
        while client.request().is_some() {
            client.send(format!("HTTP/1.1 {status} x\r\nContent-Length: 1\r\n\r\nx"));
        }
    })
}

fn proxy(backend: &FakeServer) -> ReverseProxy {
    ReverseProxy::new(&backend.url("")).unwrap()
}

/// The right to read a path is not the right to have it deleted by another name.
#[test]
fn a_request_that_only_reads_has_no_other_method() {
    let backend = backend(200);
    let server = testing::serve(proxy(&backend));
    let names = ["X-HTTP-Method", "X-HTTP-Method-Override", "X-Method_Override", "X-Method"];
    for (method, passes) in
        [("GET", false), ("HEAD", false), ("OPTIONS", false), ("PROPFIND", false), ("PUT", false), ("POST", true)]
    {
        let request = testing::TestRequest::new(method.parse().unwrap(), "/");
        server.send(names.iter().fold(request, |request, name| request.with_header(*name, "DELETE")));
        let passed = backend.requests().pop().unwrap();
        assert!(names.iter().all(|name| passed.header(name).is_some() == passes), "{method}: {passed:?}");
    }
}

/// A backend whose socket holds back the body until the head is acknowledged, which a kernel delays by 40 ms, if the
/// connection was used before. Of a hundred requests, one is without this delay even on a busy machine.
#[cfg(all(target_os = "linux", not(modest_portable)))]
#[test]
fn no_acknowledgement_is_delayed() {
    use std::io::{BufReader, Write};
    for length in [10, 5_000, 200_000] {
        let backend = std::net::TcpListener::bind("127.0.0.1:0").unwrap(); // its connections do not set TCP_NODELAY
        let server = testing::serve(ReverseProxy::new(&format!("http://{}", backend.local_addr().unwrap())).unwrap());
        std::thread::spawn(move || {
            let mut client = BufReader::new(backend.accept().unwrap().0);
            while (&mut client).lines().map_while(Result::ok).any(|line| line.is_empty()) {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                let halves = ["x".repeat(length / 2), "x".repeat(length - length / 2)];
                for part in [head].iter().chain(&halves) {
                    client.get_mut().write_all(part.as_bytes()).unwrap();
                }
            }
        });
        let is_fast = || {
            let begun = Instant::now();
            assert_eq!(server.get("/").text().len(), length);
            begun.elapsed() < Duration::from_millis(35)
        };
        is_fast(); // a new connection has no delay
        assert!((0..100).any(|_| is_fast()), "{length}: a hundred requests were delayed");
    }
}

/// The bodies of another server are not compressed here, so its responses do not depend on `Accept-Encoding`.
#[cfg(feature = "compress")]
#[test]
fn responses_do_not_vary_by_a_coding_that_is_never_applied() {
    for (method, status) in [("GET", "200 OK"), ("HEAD", "200 OK"), ("GET", "304 Not Modified")] {
        let backend = testing::fake_server(move |client| {
            let body = if (method, status) == ("GET", "200 OK") { "x".repeat(4400) } else { String::new() };
            while client.request().is_some() {
                let fields = "Content-Type: text/html\r\nETag: \"a\"\r\nContent-Length: 4400";
                client.send(format!("HTTP/1.1 {status}\r\n{fields}\r\n\r\n{body}"));
            }
        });
        let server = testing::serve(proxy(&backend).layer(crate::layers::Compress::new()));
        let request = testing::TestRequest::new(method.parse().unwrap(), "/").with_header("accept-encoding", "gzip");
        let sent = server.send(request);
        let found = ["vary", "content-encoding", "etag"].map(|name| sent.header(name));
        assert_eq!(found, [None, None, Some("\"a\"")], "{method} {status}");
    }
}

/// A backend does not get the session of this server, by which it could act as the user.
#[cfg(feature = "sessions")]
#[test]
fn the_cookies_of_sessions_stay_here() {
    use crate::layers::{MemorySessions, Sessions};
    let backend = backend(200);
    let outer = Sessions::new(MemorySessions::new()).cookie_name("outer");
    let server = testing::serve(proxy(&backend).layer(Sessions::new(MemorySessions::new())).layer(outer));
    let id = "0123456789abcdef".repeat(2);
    for (sent, passed) in [
        (format!("a=1; modest-session={id}; session={id};b=\"2\""), Some(format!("a=1; session={id}; b=\"2\""))),
        (format!("modest-session={id};outer={id}"), None),
        ("a=1;b".to_owned(), Some("a=1;b".to_owned())),
    ] {
        server.send(testing::TestRequest::new(Method::GET, "/").with_header("cookie", &*sent));
        let request = backend.requests().pop().unwrap();
        assert_eq!(request.header("cookie"), passed.as_deref(), "{sent}");
    }
}

/// The password that a layer of this server has checked is for this server, and the browser sends it from any page.
#[test]
fn a_password_that_was_checked_here_stays_here() {
    use crate::layers::{BasicAuth, BearerAuth};
    use crate::{Layer, User};
    let (basic, bearer) = ("Basic YTph", "Bearer t");
    type Make = fn() -> Option<Box<dyn Layer>>;
    let by_password: Make =
        || Some(Box::new(BasicAuth::checked_by("r", |_, _, _| Some(User::new("a"))).optional(true)));
    let by_token: Make = || Some(Box::new(BearerAuth::new("r").token("t", User::new("a"))));
    for (layer, setting, field, passes) in [
        ((|| None) as Make, None, Some(basic), true),
        (|| None, None, Some(bearer), true),
        (|| None, Some(false), Some(basic), false),
        (by_password, None, Some(basic), false),
        (by_password, Some(true), Some(basic), true),
        (by_password, None, None, true),
        (by_token, None, Some(bearer), false),
        (by_token, Some(true), Some(bearer), true),
    ] {
        let backend = testing::fake_server(|client| {
            while client.request().is_some() {
                client.send("HTTP/1.1 401 x\r\nContent-Length: 0\r\nWWW-Authenticate: Basic realm=\"backend\"\r\n\r\n");
            }
        });
        let proxy = setting.into_iter().fold(proxy(&backend), ReverseProxy::authorization);
        let server = testing::serve(proxy.layer(layer()));
        let send = |method: Method, more: &[(&str, &str)]| {
            let fields = field.iter().map(|value| ("authorization", *value)).chain(more.iter().copied());
            let request = testing::TestRequest::new(method, "/");
            server.send(fields.fold(request, |request, (name, value)| request.with_header(name, value)))
        };
        let sent = send(Method::GET, &[]);
        let passed = backend.requests().pop().unwrap();
        let what = format!("{field:?}, {setting:?}: {passed:?}, {sent:?}");
        assert_eq!(passed.header("authorization"), field.filter(|_| passes), "{what}");
        let challenges =
            sent.headers().get_all("www-authenticate").iter().any(|challenge| challenge == "Basic realm=\"backend\"");
        assert_eq!(challenges, passes, "{what}");
        let forged = send(Method::DELETE, &[("sec-fetch-site", "cross-site")]);
        assert_eq!(forged.status(), if passes { 401 } else { 403 }, "{what}");
    }
}

/// The backend gets the name of a session's user, and can't tell that a page of another site has sent the request.
#[cfg(feature = "sessions")]
#[test]
fn requests_of_other_sites_do_not_use_a_session_of_this_server() {
    use crate::layers::{Csrf, MemorySessions, Session, Sessions};
    let backend = backend(200);
    let app = |csrf: Option<Csrf>| {
        let routes = Routes::new().post("/in", |_: &(), request| {
            Session::of(request)?.log_in(crate::User::new("ada"));
            Ok(Response::text(""))
        });
        let routes = routes.fallback(proxy(&backend)).with_state(());
        routes.layer(csrf).layer(Sessions::new(MemorySessions::new()))
    };
    for has_csrf in [true, false] {
        let server = testing::serve(app(has_csrf.then(Csrf::new)));
        for (logs_in, method, upgrades, site, expected) in [
            (true, Method::GET, true, "same-site", 403),
            (true, Method::GET, true, "cross-site", 403),
            (true, Method::POST, false, "same-site", 403),
            (true, Method::POST, false, "same-origin", 200),
            (true, Method::GET, false, "cross-site", 200), // only reads
            (true, Method::GET, true, "same-origin", 200),
            (false, Method::GET, true, "cross-site", 200), // the backend decides
        ] {
            let mut browser = server.browser();
            if logs_in {
                browser.post_form("/in", &[]).assert_status(200);
            }
            let request = testing::TestRequest::new(method.clone(), "/b").with_header("sec-fetch-site", site);
            let request = match upgrades {
                true => request.with_header("connection", "upgrade").with_header("upgrade", "websocket"),
                false => request,
            };
            let sent = browser.send(request);
            assert_eq!(sent.status(), expected, "{has_csrf} {logs_in} {method} {upgrades} {site}: {sent:?}");
        }
    }
}

/// A request that a backend may have executed is not rejected later because its user has logged out.
#[cfg(feature = "sessions")]
#[test]
fn a_logout_during_the_backends_work_rejects_nothing() {
    use crate::layers::{MemorySessions, Session, Sessions};
    let (entered, enter) = crossbeam_channel::bounded::<()>(0);
    let (leave, left) = crossbeam_channel::bounded::<()>(0);
    let backend = testing::fake_server(move |client| {
        while client.request().is_some() {
            entered.send(()).unwrap();
            left.recv().unwrap();
            client.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
        }
    });
    let app = Routes::new()
        .post("/in", |_: &(), request| {
            Session::of(request)?.log_in(crate::User::new("ada"));
            Ok(Response::text(""))
        })
        .post("/out", |_, request| {
            Session::of(request)?.log_out();
            Ok(Response::text(""))
        })
        .mount("/b", proxy(&backend))
        .with_state(());
    let server = testing::serve(app.layer(Sessions::new(MemorySessions::new())));
    for (late_body, out_before, status) in [(false, false, 200), (true, false, 200), (true, true, 403)] {
        let mut ada = server.browser();
        ada.post_form("/in", &[]).assert_status(200);
        let cookie = ada.cookie("modest-session").unwrap().to_owned();
        let head = format!("POST /b/ HTTP/1.1\r\nHost: a\r\nCookie: modest-session={cookie}\r\nContent-Length: 1\r\n");
        let mut slow = server.open();
        if late_body {
            slow.send(head + "Expect: 100-continue\r\n\r\n").receive("HTTP/1.1 100 Continue\r\n\r\n".len());
            if out_before {
                ada.post_form("/out", &[]).assert_status(200);
            }
            slow.send("x");
        } else {
            slow.send(head + "\r\nx");
        }
        if !out_before {
            enter.recv().unwrap();
            ada.post_form("/out", &[]).assert_status(200);
            leave.send(()).unwrap();
        }
        slow.response("POST").assert_status(status);
    }
}

/// Each server uses the connections that it watches, and closes them when it ends.
#[test]
fn a_proxy_of_two_servers_keeps_connections_of_both() {
    let (sender, ended) = std::sync::mpsc::channel();
    let backend = testing::fake_server(move |client| {
        let mut requests = 0;
        while client.request().is_some() {
            requests += 1;
            client.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
        }
        let _ = sender.send(requests); // the test may have ended
    });
    let proxy = Arc::new(proxy(&backend).idle_timeout(None));
    let (one, other) = (testing::serve(Arc::clone(&proxy)), testing::serve(Arc::clone(&proxy)));
    for _ in 0..4 {
        assert_eq!([one.get("/").text(), other.get("/").text()], ["x", "x"]);
    }
    for server in [other, one] {
        drop(server);
        let requests = ended.recv_timeout(Duration::from_secs(20));
        assert_eq!(requests, Ok(4), "an idle connection ends with its server, and with no other");
    }
}

/// A connection that is idle for too long ends, even if an earlier server has ended.
#[test]
fn idle_connections_end_in_time_at_each_server() {
    let (sender, ended) = std::sync::mpsc::channel();
    let backend = testing::fake_server(move |client| {
        while client.request().is_some() {
            client.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
        }
        let _ = sender.send(()); // the test may have ended
    });
    let proxy = Arc::new(proxy(&backend).idle_timeout(Duration::from_millis(300)));
    let is_ended = || ended.recv_timeout(Duration::from_secs(20)).is_ok();
    for round in 0..3 {
        let (first, second) = (testing::serve(Arc::clone(&proxy)), testing::serve(Arc::clone(&proxy)));
        assert_eq!([first.get("/").text(), second.get("/").text()], ["x", "x"]);
        drop(first); // its connection was kept first
        assert!(is_ended() && is_ended(), "round {round}");
    }
}

/// A request is passed on only once. A second exchange would get the first one's response, or wait without end.
#[test]
fn a_request_is_passed_on_only_once() {
    let (first, second) = (backend(404), backend(200));
    let (one, other) = (proxy(&first), proxy(&second));
    let either = handler_fn(move |request: &Request| match one.do_get(request) {
        Ok(response) if response.status() == 404 => other.do_get(request),
        result => result,
    });
    assert_eq!(testing::serve(either).get("/").status(), 500, "the next proxy, after a 404");
    assert!(second.requests().is_empty());

    let inner = proxy(&second);
    let around = layer_fn(move |request: &Request, next: Next<'_>| match inner.do_get(request)? {
        response if response.is_to_wait() => Ok(response),
        _ => next.run(request),
    });
    assert_eq!(testing::serve(proxy(&first).layer(around)).get("/").status(), 500, "a proxy inside a layer's");

    let failing = testing::fake_server(|client| _ = client.request());
    let retried = proxy(&failing);
    let again = handler_fn(move |request: &Request| retried.do_get(request).or_else(|_| retried.do_get(request)));
    assert_eq!(testing::serve(again).get("/").status(), 500, "the same proxy, after an error");
    assert_eq!(failing.requests().len(), 1);
}

/// Interim responses are limited in bytes and in time, on a new connection and on a kept one. One that does not end
/// would otherwise hold a thread, or a worker.
#[test]
fn interim_responses_are_limited() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let backend = testing::fake_server(move |client| {
        while let Some(request) = client.request() {
            match request.line().split(' ').nth(1).unwrap_or_default() {
                "/flood" => while client.send(interim.repeat(100)) {},
                "/slow" => while client.send_slowly(interim, Duration::from_millis(10)) {},
                "/many" => _ = client.send(interim.repeat(1000)),
                _ => {}
            }
            client.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
        }
    });
    for (path, timeout, status) in [("/flood", 60_000, 502), ("/slow", 500, 504), ("/many", 60_000, 200)] {
        let server = testing::serve(proxy(&backend).response_timeout(Duration::from_millis(timeout)));
        for connection in ["new", "kept"] {
            if connection == "kept" {
                assert_eq!(server.get("/").status(), 200);
            }
            assert_eq!(server.get(path).status(), status, "{path} on a {connection} connection");
        }
    }
}

/// RFC 9110, sections 7.6.3 and 15.5.22.
#[test]
fn a_response_has_the_version_and_the_upgrade_of_its_backend() {
    let backend = testing::fake_server(|client| {
        while let Some(request) = client.request() {
            client.send(match request.line().split(' ').nth(1) {
                Some("/old") => "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
                Some("/upgrade") => {
                    "HTTP/1.1 426 x\r\nConnection: upgrade\r\nUpgrade: TLS/1.3\r\nContent-Length: 0\r\n\r\n"
                }
                _ => "HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n",
            });
        }
    });
    let server = testing::serve(proxy(&backend));
    for (path, via, upgrade, connection) in [
        ("/old", "1.0 modest", None, "close"),
        ("/upgrade", "1.1 modest", Some("TLS/1.3"), "close, upgrade"),
        ("/", "1.1 modest", None, "close"),
    ] {
        let sent = server.get(path);
        let found = ["via", "upgrade", "connection"].map(|name| sent.header(name));
        assert_eq!(found, [Some(via), upgrade, Some(connection)], "{path}");
    }
}

/// A failure that another program caused, or the limits of this process, has its own status and a cause for the log.
#[test]
fn failures_to_connect_have_a_status_and_a_cause() {
    use rustix::io::Errno;
    let address = "127.0.0.1:1".parse().unwrap();
    for (errno, status) in [(Errno::CONNREFUSED, 502), (Errno::MFILE, 503), (Errno::NFILE, 503), (Errno::TIMEDOUT, 504)]
    {
        let error = Error::from(Failure::of_connect(address, &errno.into()));
        assert_eq!((error.status().as_u16(), error.cause().is_some()), (status, true), "{errno}");
    }
    for failure in [Failure::Late, Failure::Full] {
        assert!(Error::from(failure).cause().is_some());
    }
}

/// An overload is logged at once, and then at most once in ten seconds. Other failures are logged each time.
#[test]
fn an_overload_does_not_flood_the_log() {
    let (proxy, now) = (ReverseProxy::new("http://127.0.0.1:1").unwrap(), Instant::now());
    let full = "the limit of requests in progress is reached (`at_once`, `--proxy-at-once`)";
    let later = format!("{full}; 2 more since the last such line");
    for (seconds, failure, expected) in [
        (0, Failure::Full, Some(full)),
        (1, Failure::Full, None),
        (2, Failure::Late, Some("the response timed out (`response_timeout`, `--proxy-timeout`)")),
        (9, Failure::NoThread, None),
        (10, Failure::Full, Some(later.as_str())),
        (11, Failure::Full, None),
        (20, Failure::NoDescriptor("x".into()), Some("x; 1 more since the last such line")),
        (40, Failure::Full, Some(full)),
    ] {
        let error = proxy.logged_at_times(failure.into(), now + Duration::from_secs(seconds));
        assert_eq!(error.cause().map(ToString::to_string).as_deref(), expected, "after {seconds} s");
        assert!(error.status() == 504 || error.headers().contains_key("retry-after"), "after {seconds} s");
    }
}

/// A backend that crashes while it still gets the request has not ended its response, even if it announced no length.
#[test]
fn a_reset_is_not_the_end_of_a_response() {
    let backend = testing::fake_server(|client| {
        let mut line = String::new();
        while client.stream().read_line(&mut line).unwrap_or(0) > 2 {
            line.clear();
        }
        client.send("HTTP/1.1 200 OK\r\n\r\n");
        client.send(vec![b'x'; 1_500_000]);
        client.reset();
    });
    let server = testing::serve(proxy(&backend));
    for version in ["1.0", "1.1"].repeat(5) {
        let mut client = server.open();
        client.send(format!("POST / HTTP/{version}\r\nHost: a\r\nContent-Length: 6000000\r\n\r\n"));
        client.send(vec![b'y'; 6_000_000]);
        let (received, end) = client.rest();
        assert_eq!(end, End::Reset, "HTTP/{version}: after {} bytes", received.len());
    }
}

/// A backend that stops in the middle of a response would otherwise hold a thread and a place for as long as the client
/// waits. The limit is for each pause, not for the whole response.
#[test]
fn a_response_that_pauses_for_too_long_is_cut_off() {
    let backend = testing::fake_server(|client| {
        while let Some(request) = client.request() {
            let head = "HTTP/1.1 200 OK\r\n";
            match request.line().split(' ').nth(1).unwrap_or_default() {
                "/length" => client.send(format!("{head}Content-Length: 9\r\n\r\nx")),
                "/chunks" => client.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")),
                "/events" => client.send(format!("{head}Content-Type: text/event-stream\r\n\r\n: x\n\n")),
                "/close" => client.send(format!("{head}\r\nx")),
                "/often" => {
                    client.send(format!("{head}Content-Length: 15\r\n\r\n"));
                    client.send_slowly("123456789012345", Duration::from_millis(100));
                    continue;
                }
                _ => {
                    client.send(format!("{head}Content-Length: 1\r\n\r\nx"));
                    continue;
                }
            };
            client.stall();
        }
    });
    let server = testing::serve(proxy(&backend).at_once(1).pause_timeout(Duration::from_secs(1)));
    for connection in ["new", "kept"] {
        for path in ["/length", "/chunks", "/events", "/close"] {
            if connection == "kept" {
                assert_eq!(server.get("/").status(), 200);
            }
            let mut client = server.open();
            client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
            let (received, end) = client.rest();
            let text = String::from_utf8_lossy(&received);
            assert!(text.starts_with("HTTP/1.1 200 OK") && text.contains('x'), "{path}, {connection}: {text}");
            assert_eq!(end, End::Reset, "{path} on a {connection} connection: {text}");
        }
    }
    assert_eq!(server.get("/often").text(), "123456789012345");
}

/// Layers and handlers are called when a request begins and when its response has begun, and not for each piece of it.
#[test]
fn a_response_in_many_pieces_calls_the_handler_twice() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
    let backend = testing::fake_server(move |client| {
        while let Some(request) = client.request() {
            match request.line().starts_with("GET /slow") {
                true => client.send_slowly(head, Duration::from_millis(1)),
                false => client.send(head),
            };
        }
    });
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let count = layer_fn(move |request: &Request, next: Next<'_>| {
        counted.fetch_add(1, Ordering::Relaxed);
        next.run(request)
    });
    let server = testing::serve(proxy(&backend).layer(count));
    for connection in ["new", "kept"] {
        calls.store(0, Ordering::Relaxed);
        assert_eq!(server.get("/slow").text(), "x");
        assert_eq!(calls.load(Ordering::Relaxed), 2, "on a {connection} connection");
    }
}

/// A handler that passes on what it has created itself gets an error. Its client's request would otherwise cause
/// requests without end, because the handler is called again after each response.
#[test]
fn a_request_that_a_handler_created_is_not_passed_on() {
    let backend = backend(200);
    let made = proxy(&backend);
    let server = testing::serve(handler_fn(move |_| made.do_post(&Request::post("/own", "pay 100"))));
    assert_eq!(server.post("/", "x").status(), 500);
    assert!(backend.requests().is_empty());
}

/// `Http::respond` has no connection that could wait for the response, even if a client has sent the request. Nothing
/// is sent to the backend, and the client's request itself can still be passed on.
#[test]
fn a_request_that_cannot_wait_is_not_passed_on() {
    for rewrites in [false, true] {
        let (backend, own) = (backend(200), backend(200));
        let apart = Http::new(proxy(&backend));
        let apart = if rewrites { apart.rewrite(|_| Some("/other".to_owned())) } else { apart };
        let proxy = proxy(&own);
        let server = testing::serve(handler_fn(move |request| match apart.respond(request).status().as_u16() {
            500 => proxy.pass(request),
            status => Err(Error::new(status, "")),
        }));
        for sent in [server.get("/"), server.post("/", "x")] {
            assert_eq!((sent.status().as_u16(), backend.requests().len()), (200, 0), "rewrites: {rewrites}");
        }
        assert_eq!(own.requests().len(), 2);
    }
}

/// A client that gets 503 sends its request again. So a request that the backend has executed gets its response, even
/// beyond the limits of connections that wait.
#[test]
fn an_executed_request_is_not_refused() {
    let backend = backend(200);
    let around = Routes::new()
        .get("/events", |events: &Broadcast, request| Ok(Response::events(events.listen(request)?)))
        .fallback(proxy(&backend))
        .with_state(Broadcast::new());
    let server = TcpServer::bind("127.0.0.1:0", around).unwrap().max_live(1).max_live_per_address(1);
    let server = testing::start(server);
    let _listener = server.events("/events");
    for _ in 0..3 {
        assert_eq!(server.get("/a").status(), 200);
        assert_eq!(server.post("/b", "x").status(), 200);
    }
    assert_eq!(backend.requests().len(), 6);
}

/// A layer can have the handler called before the body has arrived. The length that the backend gets is that of the
/// whole body: it must not take the body for another request.
#[test]
fn a_streamed_body_is_passed_on_with_its_length() {
    use std::io::{Read, Write};
    let backend = backend(200);
    let (called, calls) = std::sync::mpsc::channel();
    let streams = crate::before_body_fn(|_, plan| {
        plan.stream();
        Ok(())
    });
    let notifies = layer_fn(move |request: &Request, next: Next<'_>| {
        let _ = called.send(());
        next.run(request)
    });
    let server = testing::serve(proxy(&backend).layer(notifies).layer(streams));
    let body = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for (fields, sent) in
        [("Transfer-Encoding: chunked", chunk), (&format!("Content-Length: {}", body.len()), body.into())]
    {
        let mut client = std::net::TcpStream::connect(server.address()).unwrap();
        write!(client, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n\r\n").unwrap();
        calls.recv().unwrap(); // the handler is called before the body is sent
        client.write_all(sent.as_bytes()).unwrap();
        let mut response = String::new();
        client.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 200"), "{fields}: {response}");
        let requests = backend.requests();
        let last = requests.last().unwrap();
        assert_eq!((last.line(), last.body()), ("POST / HTTP/1.1", body.as_bytes()), "{fields}");
        assert_eq!(last.header("content-length"), Some(&*body.len().to_string()), "{fields}");
    }
    assert_eq!(backend.requests().len(), 2);
}
