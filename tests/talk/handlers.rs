//! Handlers of users: methods, errors, panics, pages, the access log.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use modest::raw::Action;
use modest::{
    Client, Error, Http, LogFormat, LogRecord, Method, Request, RequestHandler, RequestId, Response, Result, User,
    handler_fn,
};

use crate::peer::{Answer, Peer};

/// Keeps the lines of its access log.
#[derive(Default)]
struct Logged(Mutex<Vec<String>>);

impl RequestHandler for Logged {
    fn do_get(&self, request: &Request) -> Result<Response> {
        match request.path() {
            "/panic" => panic!("in the handler"),
            "/error" => Err(std::io::Error::other("the secret cause"))?,
            "/status" => Err(Error::new(418, "a <teapot>").with_header("x-pot", "1")),
            "/break" => Ok(Response::text("a").with_header("x", "a\r\nb: c")),
            "/stream" => Ok(Response::stream(std::io::Read::take(std::io::repeat(b'x'), 100_000))),
            _ => Ok(Response::text("hello")),
        }
    }

    fn error_response(&self, request: Option<&Request>, error: &Error) -> Option<Response> {
        let page = format!("own page for {}: {:?}", request?.path(), error.message());
        Some(Response::text(page).with_status(error.status()))
    }

    fn verify_client(&self, client: &Client) -> bool {
        client.address().port() == Some(4711)
    }

    fn log_request(&self, record: &LogRecord<'_>) {
        self.0.lock().unwrap().push(format!("{record} {}", record.bytes()));
    }
}

#[test]
fn the_access_log_has_a_line_for_each_response() {
    let handler = Arc::new(Logged::default());
    let http = Http::new(handler.clone());
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    for wire in [
        get("/"),
        "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        get("/stream"),
        get("/%22%0a"),
        "nonsense\x1b\"\\\r\n".into(),
        "\x16\x03\x01".into(),
        get("/panic"),
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n".into(),
    ] {
        Peer::new(&http).send(wire);
    }
    let lines = handler.0.lock().unwrap();
    let expected = [
        (r#""GET / HTTP/1.1" 200 -"#, Some(5)),
        (r#""HEAD / HTTP/1.1" 200 -"#, Some(0)),
        (r#""GET /stream HTTP/1.1" 200 -"#, Some(100_000)),
        (r#""GET /%22%0a HTTP/1.1" 200 -"#, Some(5)),
        (r#""nonsense\x1b\x22\x5c" 400 -"#, None),
        (r#""\x16\x03\x01" 400 -"#, None),
        (r#""GET /panic HTTP/1.1" 500 -"#, Some("own page for /panic: None".len())),
        (r#""POST / HTTP/1.1" 400 -"#, None),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, (end, bytes)) in lines.iter().zip(expected) {
        let wanted = format!("127.0.0.1 - - [16/Jun/2022 06:34:59] {end} ");
        let (start, count) = line.split_at(line.rfind(' ').unwrap() + 1);
        assert_eq!(start, wanted);
        assert!(bytes.is_none_or(|bytes| count == bytes.to_string()), "{line}");
    }
}

#[test]
fn access_lines_can_use_another_time_zone() {
    struct Zones(Mutex<Vec<String>>);
    impl RequestHandler for Zones {
        fn log_request(&self, record: &LogRecord<'_>) {
            for hours in [-8, 0, 2] {
                self.0.lock().unwrap().push(record.clone().with_offset(hours * 3600).to_string());
            }
        }
    }
    let zones = Arc::new(Zones(Mutex::default()));
    Peer::new(&Http::new(zones.clone())).send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    for (line, time) in
        zones.0.lock().unwrap().iter().zip(["15/Jun/2022 22:34:59", "16/Jun/2022 06:34:59", "16/Jun/2022 08:34:59"])
    {
        assert!(line.contains(time), "{line}");
    }
}

#[test]
fn errors_and_panics() {
    for (path, status, body, open) in [
        ("/error", 500, "own page for /error: None", true),
        ("/status", 418, "own page for /status: Some(\"a <teapot>\")", true),
        ("/break", 500, "own page for /break: None", true),
        ("/panic", 500, "own page for /panic: None", false),
    ] {
        let mut peer = Peer::new(&Http::new(Logged::default()));
        peer.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = &Answer::all(&peer.said, &[])[0];
        assert_eq!((answer.status, peer.is_open()), (status, open), "{path}: {}", peer.text());
        assert!(answer.text().contains(body), "{path}: {}", peer.text());
        assert!(!peer.text().contains("secret"), "the cause is for the log: {}", peer.text());
    }
}

#[test]
fn a_client_is_rejected_before_a_byte_is_read() {
    struct Closed;
    impl RequestHandler for Closed {
        fn verify_client(&self, _: &Client) -> bool {
            false
        }
    }
    assert_eq!(Peer::new(&Http::new(Closed)).next, Action::Close);
    assert!(Peer::new(&Http::new(Logged::default())).is_open());
}

#[test]
fn each_method_has_its_function() {
    struct Methods;
    macro_rules! methods {
        ($($name:ident),*) => {$(
            fn $name(&self, _: &Request) -> Result<Response> {
                Ok(Response::text(stringify!($name)))
            }
        )*};
    }
    impl RequestHandler for Methods {
        methods!(do_get, do_head, do_post, do_put, do_delete, do_patch, do_options, do_other);
    }
    struct Nothing;
    impl RequestHandler for Nothing {}
    for (method, name) in [
        ("GET", "do_get"),
        ("HEAD", "do_head"),
        ("POST", "do_post"),
        ("PUT", "do_put"),
        ("DELETE", "do_delete"),
        ("PATCH", "do_patch"),
        ("OPTIONS", "do_options"),
        ("TRACE", "do_other"),
        ("PROPFIND", "do_other"),
        ("get", "do_other"),
    ] {
        let request = Request::new(Method::from_bytes(method.as_bytes()).unwrap(), "/").unwrap();
        let boxed: Box<dyn RequestHandler> = Box::new(Arc::new(Methods));
        assert_eq!(Http::new(boxed).respond(&request).text(), if method == "HEAD" { "" } else { name }, "{method}");
        assert_eq!(Http::new(Nothing).respond(&request).status(), 501, "{method}");
    }
    let head_as_get = Request::new(Method::HEAD, "/").unwrap();
    assert_eq!(Http::new(Logged::default()).respond(&head_as_get).status(), 200);
    let closure = Http::new(handler_fn(|request: &Request| Ok(Response::text(request.method().to_string()))));
    assert_eq!(closure.respond(&Request::new(Method::DELETE, "/").unwrap()).status(), 200);
    assert_eq!(closure.respond(&Request::new(Method::TRACE, "/").unwrap()).status(), 501);
}

#[test]
fn a_record_does_not_panic_at_any_time() {
    struct Times;
    impl RequestHandler for Times {
        fn log_request(&self, record: &LogRecord<'_>) {
            for time in [
                SystemTime::UNIX_EPOCH - Duration::from_secs(1 << 40),
                SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 50),
            ] {
                assert!(
                    record.clone().with_time(time).with_offset(i32::MIN).to_string().starts_with("127.0.0.1 - - [")
                );
            }
        }
    }
    assert!(Peer::new(&Http::new(Times)).send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").is_open());
}

/// Gives each request an id and a user, as layers do, and keeps the log lines in one format.
struct Formatted(LogFormat, Mutex<Vec<String>>);

impl RequestHandler for Formatted {
    fn do_get(&self, request: &Request) -> Result<Response> {
        request.put(RequestId("7f".into()));
        request.put(User::new("ada \"the\" first"));
        Ok(Response::text("0123456789"))
    }

    fn log_request(&self, record: &LogRecord<'_>) {
        self.1.lock().unwrap().push(record.clone().with_format(self.0).with_offset(-5400).to_string());
    }
}

#[test]
fn the_access_log_in_each_format() {
    let wire = b"GET /a?b HTTP/1.1\r\nHost: a.example\r\nReferer: http://x/\"\r\nUser-Agent: \\t\xe9\r\n\r\n";
    let nothing = b"\x16\x03\x01\r\n\r\n";
    for (format, line, rejected) in [
        (
            LogFormat::Python,
            r#"127.0.0.1 - ada\x20\x22the\x22\x20first [16/Jun/2022 05:04:59] "GET /a?b HTTP/1.1" 200 -"#,
            r#"127.0.0.1 - - [16/Jun/2022 05:04:59] "\x16\x03\x01" 400 -"#,
        ),
        (
            LogFormat::Common,
            r#"127.0.0.1 - ada\x20\x22the\x22\x20first [16/Jun/2022:05:04:59 -0130] "GET /a?b HTTP/1.1" 200 10"#,
            r#"127.0.0.1 - - [16/Jun/2022:05:04:59 -0130] "\x16\x03\x01" 400 "#,
        ),
        (
            LogFormat::Combined,
            "127.0.0.1 - ada\\x20\\x22the\\x22\\x20first [16/Jun/2022:05:04:59 -0130] \"GET /a?b HTTP/1.1\" 200 10 \
             \"http://x/\\x22\" \"\\x5ct\u{fffd}\"",
            r#"127.0.0.1 - - [16/Jun/2022:05:04:59 -0130] "\x16\x03\x01" 400 "#,
        ),
        (
            LogFormat::Json,
            "{\"time\":\"2022-06-16T05:04:59-01:30\",\"client\":\"127.0.0.1\",\"method\":\"GET\",\"target\":\"/a?b\",\
             \"status\":200,\"bytes\":10,\"seconds\":0.0,\"id\":\"7f\",\"user\":\"ada \\\"the\\\" first\",\
             \"host\":\"a.example\",\"referer\":\"http://x/\\\"\",\"user_agent\":\"\\\\t\u{fffd}\"}",
            "{\"time\":\"2022-06-16T05:04:59-01:30\",\"client\":\"127.0.0.1\",\
             \"line\":\"\\u0016\\u0003\\u0001\",\"status\":400,",
        ),
    ] {
        let handler = Arc::new(Formatted(format, Mutex::default()));
        let http = Http::new(handler.clone());
        Peer::new(&http).send(wire);
        Peer::new(&http).send(nothing);
        let lines = handler.1.lock().unwrap();
        let seconds = lines[0].find("\"seconds\":").map(|at| at + 10);
        let first = match seconds {
            Some(at) => format!("{}0.0{}", &lines[0][..at], &lines[0][at + lines[0][at..].find(',').unwrap()..]),
            None => lines[0].clone(),
        };
        assert_eq!(first, line, "{format:?}");
        assert!(lines[1].starts_with(rejected), "{format:?}: {}", lines[1]);
        if format == LogFormat::Json {
            for line in lines.iter() {
                let parsed: serde_json::Value = serde_json::from_str(line).unwrap();
                assert!(parsed["seconds"].as_f64().is_some_and(|seconds| (0.0..10.0).contains(&seconds)), "{line}");
            }
        }
    }
}

/// Implements POST for one path, and calls another default method for the others.
struct Partly;

impl RequestHandler for Partly {
    fn do_post(&self, request: &Request) -> Result<Response> {
        match request.path() {
            "/there" => Ok(Response::text("there")),
            _ => self.do_other(request),
        }
    }
}

#[test]
fn a_method_that_calls_an_unimplemented_one_is_implemented() {
    let http = Http::new(Partly);
    for (path, status) in [("/a", "501"), ("/there", "200"), ("/a", "501"), ("/there", "200")] {
        let mut peer = Peer::new(&http);
        peer.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"));
        assert!(peer.text().starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {}", peer.text());
    }
}

/// A file that was just written gets its date once its second has passed. An older file has both validators at once.
#[test]
fn a_file_has_the_validators_that_no_later_change_can_have() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    let http = Http::new({
        let path = path.clone();
        handler_fn(move |_| Ok(Response::file(&path)))
    });
    let sent = |content: &str| {
        std::fs::write(&path, content).unwrap();
        let written = std::fs::metadata(&path).unwrap().modified().unwrap();
        let second = Duration::from_secs(written.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
        loop {
            let before = SystemTime::now();
            let sent = http.respond(&Request::get("/"));
            let age = before.duration_since(SystemTime::UNIX_EPOCH + second).unwrap();
            assert_eq!(sent.text(), content);
            if sent.header("last-modified").is_some() {
                break sent;
            }
            assert!(age < Duration::from_secs(3), "no date, {age:?} after the second began: {sent:?}");
        }
    };
    let (one, two) = (sent("one"), sent("two"));
    for name in ["last-modified", "etag"] {
        assert!(one.header(name).is_some() && one.header(name) != two.header(name), "{name}: {one:?} {two:?}");
    }
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    let dated_back = http.respond(&Request::get("/"));
    assert_eq!(dated_back.header("last-modified"), Some("Sun, 09 Sep 2001 01:46:40 GMT"), "{dated_back:?}");
    let tagged = two.header("etag").unwrap();
    let same = http.respond(&Request::get("/").with_header("if-none-match", tagged));
    assert_eq!(same.status(), 200, "a file with new times counts as changed: {same:?}");
}
