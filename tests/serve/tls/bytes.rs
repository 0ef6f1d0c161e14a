//! Data inside TLS: files, ranges, uploads, pipelines, other protocols.

use std::io::{Read, Write};

use modest::raw::{Flow, Lines, Raw};
use modest::{Http, Request, RequestHandler, Response, Result, StaticFileHandler, handler_fn};

use super::{Folder, Site};
use crate::script::Script;
use crate::server::get;

struct Sums;

impl RequestHandler for Sums {
    fn do_get(&self, request: &Request) -> Result<Response> {
        match request.path() {
            "/panic" => panic!("as asked"),
            "/stream" => Ok(Response::stream(std::io::repeat(b'x').take(3_000_000))),
            path => Ok(Response::text(path.to_owned())),
        }
    }

    fn do_post(&self, request: &Request) -> Result<Response> {
        let (mut sum, mut count) = (0_u64, 0_u64);
        let mut buffer = [0; 8192];
        let mut body = request.reader();
        loop {
            let length = body.read(&mut buffer)?;
            if length == 0 {
                return Ok(Response::text(format!("{count} {sum}")));
            }
            count += length as u64;
            sum = buffer[..length].iter().fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        }
    }
}

/// Bytes without repetitions.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 56) as u8
        })
        .collect()
}

#[test]
fn files_and_ranges_are_the_same_as_without_tls() {
    let folder = Folder::new();
    let large = noise(20_000_001);
    folder.write("large", &large);
    folder.write("small", &large[..1000]);
    let site = Site::new(StaticFileHandler::new(folder.path()).unwrap());
    let mut client = site.client();
    for _ in 0..2 {
        assert!(client.fetch(get("/large")) == large);
        assert!(client.fetch(get("/small")) == large[..1000]);
    }
    for range in [0..1, 0..16384, 16383..16385, 65535..200_000, 1_000_000..3_500_000, 20_000_000..20_000_001] {
        let field = format!("Range: bytes={}-{}", range.start, range.end - 1);
        let came = client.fetch(format!("GET /large HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n"));
        assert!(came == large[range], "{field}");
    }
}

#[test]
fn a_stream_arrives_completely() {
    let site = Site::new(Sums);
    let mut client = site.client();
    client.send("GET /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let said = client.read_to_end().expect("a goodbye");
    assert_eq!(said.iter().filter(|byte| **byte == b'x').count(), 3_000_000);
}

#[test]
fn a_large_upload_arrives_completely() {
    let site = Site::new(Http::new(Sums).body_limit(100_000_000));
    let body = noise(20_000_000);
    let sum = body.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    let mut client = site.client();
    for _ in 0..2 {
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
        client.send(&body);
        assert_eq!(String::from_utf8(client.answer().unwrap()).unwrap(), format!("{} {sum}", body.len()));
    }
}

#[test]
fn pipelined_requests_get_responses_in_order() {
    let site = Site::new(Sums);
    let mut client = site.client();
    for _ in 0..3 {
        let all: String = (0..200).map(|number| get(&format!("/{number}"))).collect();
        client.send(all);
        for number in 0..200 {
            assert_eq!(client.answer().unwrap(), format!("/{number}").into_bytes());
        }
    }
    // The same request in records of one byte.
    for byte in get("/b").as_bytes() {
        client.send([*byte]);
    }
    assert_eq!(client.answer().unwrap(), b"/b");
}

#[test]
fn keys_can_be_renewed() {
    let site = Site::new(Sums);
    let mut client = site.client();
    for number in 0..40 {
        assert_eq!(client.text("/a"), "/a", "{number}");
        client.0.conn.refresh_traffic_keys().unwrap();
    }
}

/// A client that requests new keys and sends nothing else causes work, so the server ends the connection.
#[test]
fn key_renewals_are_limited() {
    let site = Site::new(Sums);
    let mut client = site.client();
    assert_eq!(client.text("/a"), "/a");
    let mut refused = None;
    for number in 0..1000 {
        client.0.conn.refresh_traffic_keys().unwrap();
        if client.0.flush().is_err() {
            refused = Some(number);
            break;
        }
        // It gets its responses and finally the alert.
        client.0.sock.set_nonblocking(true).unwrap();
        let read = client.0.conn.read_tls(&mut client.0.sock);
        client.0.sock.set_nonblocking(false).unwrap();
        if matches!(read, Ok(0)) || read.is_ok() && client.0.conn.process_new_packets().is_err() {
            refused = Some(number);
            break;
        }
    }
    assert!(refused.is_some_and(|number| number > 16), "{refused:?}");
}

#[test]
fn lines_are_served_over_tls() {
    let shout = Lines::new(|line, reply| {
        reply.extend_from_slice(format!("{}\r\n", line.to_uppercase()).as_bytes());
        if line == "bye" { Flow::Close } else { Flow::Continue }
    });
    let site = Site::new(shout);
    let mut client = site.client();
    client.send("a\r\nb").send("c\r\n").expect("A\r\nBC\r\n").send("bye\r\n");
    assert_eq!(client.read_to_end().expect("a goodbye"), b"BYE\r\n");
}

#[test]
fn a_handler_that_panics_costs_one_connection() {
    let site = Site::new(Sums);
    let mut other = site.client();
    assert_eq!(other.text("/a"), "/a");
    let mut client = site.client();
    assert!(client.text("/panic").contains("500"));
    assert_eq!(other.text("/b"), "/b");
    let site = Site::new(Raw(Script::default()));
    for line in ["panic\n", "panic late\n", "abort\n", "file 300000 100000\n"] {
        let mut client = site.client();
        client.send(line);
        assert!(client.read_to_end().is_err(), "{line}: the connection must not end with a goodbye");
    }
}

#[test]
fn closures_can_be_handlers() {
    let site = Site::new(handler_fn(|request: &Request| Ok(Response::text(request.scheme()))));
    assert_eq!(site.client().text("/"), "https");
}

#[test]
fn a_target_can_have_the_https_scheme() {
    let site = Site::new(Sums);
    assert_eq!(site.client().text("https://a/b"), "/b");
    assert_eq!(site.client().text("http://a/b"), "/b");
}

#[test]
fn websockets_work() {
    use modest::websocket::{Message, Socket, WebSocket, WebSocketHandler};

    struct Echo;

    impl WebSocketHandler for Echo {
        fn message(&mut self, message: Message, socket: &Socket) -> Result<()> {
            Ok(socket.send(message)?)
        }
    }

    let site = Site::new(handler_fn(|request: &Request| WebSocket::new().accept(request, Echo)));
    let (mut socket, _) = tungstenite::client("wss://a.example/", site.client().0).expect("a handshake");
    for length in [0, 1, 20_000, 1_000_000] {
        let text = "x".repeat(length);
        socket.send(tungstenite::Message::text(text.clone())).unwrap();
        assert!(socket.read().unwrap().into_text().unwrap().as_str() == text, "{length}");
    }
    socket.close(None).unwrap();
    assert!(matches!(socket.read(), Ok(tungstenite::Message::Close(_))));
}
