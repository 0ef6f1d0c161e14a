//! CONNECT for a program that is a proxy; lines that end in LF; a server for one request.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use modest::testing::{self, End, TestServer};
use modest::{Error, Http, OrStatus, Request, Response, handler_fn};

use crate::server::PATIENCE;

/// Sends back what it gets, in capitals, to one client.
fn upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            stream.write_all(&bytes[..count].to_ascii_uppercase()).unwrap();
        }
        stream.write_all(b"bye").unwrap();
    });
    address
}

fn proxy(allowed: String) -> TestServer {
    let app = handler_fn(|request| Ok(Response::text(request.path())));
    testing::serve(Http::new(app).on_connect(move |request| {
        if request.header("proxy-authorization") != Some("secret") {
            return Err(Error::new(407, "").with_header("proxy-authenticate", "Secret"));
        }
        let destination = request.host().filter(|host| *host == allowed).or_status(403)?;
        let mut to = TcpStream::connect(destination).or_status(502)?;
        let mut from = to.try_clone()?;
        Ok(Response::tunnel(move |mut stream| {
            let mut back = stream.writer();
            let answers =
                thread::spawn(move || io::copy(&mut from, &mut back).and_then(|_| back.shutdown(Shutdown::Both)));
            let _ = io::copy(&mut stream, &mut to).and_then(|_| to.shutdown(Shutdown::Write));
            let _ = answers.join();
        }))
    }))
}

#[test]
fn a_program_can_be_a_proxy_with_tunnels() {
    let allowed = upstream();
    let proxy = proxy(allowed.clone());
    let ask = |destination: &str, field: &str| {
        let mut client = proxy.open();
        client.send(format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n{field}\r\n\r\n"));
        client
    };
    let mut tunnel = ask(&allowed, "Proxy-Authorization: secret");
    tunnel.send("early"); // a TLS client sends its first bytes without waiting
    let head = tunnel.receive(15);
    assert_eq!(String::from_utf8_lossy(&head), "HTTP/1.1 200 OK");
    let mut rest = Vec::new();
    while !rest.ends_with(b"\r\n\r\n") {
        rest.extend(tunnel.receive(1));
    }
    let head = String::from_utf8(rest).unwrap().to_ascii_lowercase();
    for absent in ["content-length", "transfer-encoding", "upgrade", "connection"] {
        assert!(!head.contains(absent), "{absent}: {head}");
    }
    assert_eq!(tunnel.receive(5), b"EARLY");
    tunnel.send("hello").half_close();
    assert_eq!(tunnel.rest(), (b"HELLObye".to_vec(), End::Closed));
    for (destination, field, status) in [
        (&*allowed, "X: y", 407),
        ("10.0.0.1:80", "Proxy-Authorization: secret", 403),
        (&allowed, "Content-Length: 1", 400),
    ] {
        let mut client = ask(destination, field);
        client.send("GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"); // bytes for the tunnel, and no request
        client.response("GET").assert_status(status);
        let (rest, _) = client.rest();
        assert!(rest.is_empty(), "{status}: {}", rest.escape_ascii());
    }
    let mut other = proxy.open();
    other.send_request(Request::get("/path")).response("GET").assert_text("/path");
}

#[test]
fn a_tunnel_is_for_connect_only() {
    let server = testing::serve(handler_fn(|_| Ok(Response::tunnel(|_| ()))));
    server.get("/").assert_status(500);
    let mut client = server.open();
    client.send("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n").response("GET").assert_status(501);
}

#[test]
fn lines_can_end_in_lf_where_it_is_accepted_and_chunks_cannot() {
    let app = || {
        Http::new(handler_fn(|request| {
            Ok(Response::text(format!("{} {:?} {}", request.path(), request.header("a"), request.text()?)))
        }))
    };
    let (strict, lenient) = (testing::serve(app()), testing::serve(app().accept_bare_lf(true)));
    for (sent, status, text) in [
        ("GET /x HTTP/1.1\nHost: h\na: b\n\n", 200, "/x Some(\"b\") "),
        ("\n\nGET /x HTTP/1.1\nHost: h\na:b\r\n\n", 200, "/x Some(\"b\") "),
        ("POST /x HTTP/1.1\nHost: h\nContent-Length: 2\n\nhi", 200, "/x None hi"),
        ("POST /x HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n2\r\nhi\r\n0\r\n\r\n", 200, "/x None hi"),
        ("POST /x HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n2\nhi\n0\n\n", 400, ""),
        ("GET /x HTTP/1.1\nHost: h\na: b\r\r\n\n", 400, ""),
        ("GET /x HTTP/1.1\nHost: h\na: b\rc: d\n\n", 400, ""),
        ("GET /x HTTP/1.1\nHost: h\n a: b\n\n", 400, ""),
    ] {
        let mut client = lenient.open();
        let response = client.send(sent).half_close().response("GET");
        assert!(response.status() == status && response.text().contains(text), "{sent:?}: {response:?}");
        strict.open().send(sent).half_close().response("GET").assert_status(400);
    }
}

#[test]
fn serve_one_returns_what_its_handler_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = thread::spawn(move || {
        let _preconnected = TcpStream::connect(address).unwrap(); // as browsers do
        ["/favicon.ico", "/?code=7", "/?code=8"].map(|target| {
            let mut stream = TcpStream::connect(address).ok()?;
            write!(stream, "GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").ok()?;
            stream.shutdown(Shutdown::Write).ok()?;
            let mut response = String::new();
            stream.read_to_string(&mut response).ok()?;
            Some(response)
        })
    });
    let code = modest::serve_one(listener, PATIENCE, |request| {
        let code: u32 = request.param("code").or_status(404)?.parse()?;
        Ok((Response::text("thank you"), Some(code)))
    });
    assert_eq!(code.unwrap(), Some(7));
    let [icon, redirect, late] = client.join().unwrap();
    assert!(icon.unwrap().starts_with("HTTP/1.1 404"));
    assert!(redirect.unwrap().ends_with("thank you"));
    assert!(late.is_none_or(|late| !late.contains("thank you")), "a server that has ended must not respond");
    let none = modest::serve_one("127.0.0.1:0", Duration::from_millis(1), |_| Ok((Response::new(200), Some(()))));
    assert_eq!(none.unwrap(), None);
}
