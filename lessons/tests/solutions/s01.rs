//! Page 1.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// Exercise 1: the request as the response.
fn echo(request: &[u8]) -> Vec<u8> {
    [b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", request].concat()
}

/// Exercise 2: `Content-Length` counts bytes. `ï` is one character and two bytes, so the length of "naïve" is 6.
fn response(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())
}

/// Exercise 3: the loop, without the code for a client.
fn serve(listener: &TcpListener, handler: impl Fn(TcpStream) -> io::Result<()>) {
    for client in listener.incoming() {
        if let Err(error) = client.and_then(&handler) {
            println!("lost a client: {error}");
        }
    }
}

#[test]
fn the_request_line_is_echoed() {
    assert!(echo(b"GET / HTTP/1.1\r\n").ends_with(b"\r\n\r\nGET / HTTP/1.1\r\n"));
}

#[test]
fn lengths_are_bytes() {
    for (text, length) in [("", 0), ("naive", 5), ("naïve", 6), ("🍰", 4)] {
        assert!(response(text).contains(&format!("Content-Length: {length}\r\n")), "{text}");
    }
}

#[test]
fn an_error_ends_one_client() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        serve(&listener, |mut client| {
            let mut byte = [0];
            client.read_exact(&mut byte)?;
            if byte == *b"!" { Err(io::Error::other("as ordered")) } else { client.write_all(&byte) }
        })
    });
    for (sent, expected) in [("!", ""), ("a", "a"), ("", ""), ("b", "b")] {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(sent.as_bytes()).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut received = String::new();
        let _ = client.read_to_string(&mut received); // may be a reset
        assert_eq!(received, expected, "after {sent:?}");
    }
}
