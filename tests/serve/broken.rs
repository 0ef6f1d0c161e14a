//! A broken response must end with a reset, and a complete response must end normally.

use std::io::{self, ErrorKind, Read};

use modest::raw::Raw;
use modest::{Client as Peer, IntoProtocol, Request, RequestHandler, Response, Result, TcpServer};

use crate::script::Script;
use crate::server::{Client, Running, get, serve};

#[test]
fn a_partial_response_before_a_panic_ends_in_a_reset() {
    let server = serve(Raw(Script::default()), |server| server.workers(1));
    for lines in ["say half\npanic\n", "say half\npanic late\n"] {
        let mut client = server.client();
        client.send(lines);
        let (came, end) = client.read_to_any_end();
        let came = came.escape_ascii();
        assert_eq!(end, Some(ErrorKind::ConnectionReset), "sent {lines:?}, came \"{came}\" and then (left; None: FIN)");
    }
}

/// Gives three bytes three times, then one byte, and panics.
struct Breaking(usize);

impl Read for Breaking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0 += 1;
        if self.0 > 3 {
            buffer[0] = b'!';
            panic!("a body panics while it is read");
        }
        buffer[..3].fill(b'x');
        Ok(3)
    }
}

#[test]
fn a_panicking_stream_sends_what_was_read_and_then_a_reset() {
    struct App;
    impl RequestHandler for App {
        fn do_get(&self, request: &Request) -> Result<Response> {
            match request.path() {
                "/sized" => Ok(Response::sized_stream(Breaking(0), 100)),
                _ => Ok(Response::stream(Breaking(0))),
            }
        }
    }
    let server = serve(App, |server| server);
    let sized = ("GET /sized HTTP/1.1\r\nHost: a\r\n\r\n", "xxxxxxxxx");
    let chunked = ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "3\r\nxxx\r\n3\r\nxxx\r\n3\r\nxxx\r\n");
    let to_the_end = ("GET / HTTP/1.0\r\n\r\n", "xxxxxxxxx");
    for (request, wanted) in [sized, chunked, to_the_end] {
        let mut client = server.client();
        client.send(request);
        let (came, end) = client.read_to_any_end();
        let head = came.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(came.len(), |at| at + 4);
        let content = &came[head..];
        assert!(
            wanted.as_bytes().starts_with(content),
            "sent {request:?}, wanted content {wanted:?}, came {} bytes, of them 0: {}, that begin with \"{}\"",
            content.len(),
            content.iter().filter(|byte| **byte == 0).count(),
            content[..content.len().min(100)].escape_ascii(),
        );
        assert_eq!(end, Some(ErrorKind::ConnectionReset), "sent {request:?}, and the end was (left; None: FIN)");
    }
}

/// A client that has sent these bytes before it is accepted.
fn early(handler: impl IntoProtocol, sent: &str) -> (Client, Running) {
    let server = TcpServer::bind("127.0.0.1:0", handler).expect("a free port");
    let mut client = Client::new(server.local_addr());
    client.send(sent);
    (client, Running::start(server))
}

#[test]
fn a_client_rejected_after_sending_sees_a_clean_end() {
    struct Nobody;
    impl RequestHandler for Nobody {
        fn verify_client(&self, _: &Peer) -> bool {
            false
        }
    }
    let script = Script { turns_away: true, ..Script::default() };
    for (what, (mut client, _server)) in
        [("meet: None", early(Raw(script), "say me\n")), ("verify_request: false", early(Nobody, &get("/")))]
    {
        let (came, end) = client.read_to_any_end();
        assert_eq!((came.len(), end), (0, None), "{what}: bytes and error; None: FIN");
    }
}
