//! A server without a protocol: whatever arrives is printed, and answered with the same few bytes.
//! `cargo run --example hello_socket`, then `telnet 127.0.0.1 8888`, `curl http://127.0.0.1:8888/` or a browser.

use std::io::{self, Write};
use std::time::Duration;

use modest::raw::{Conversation, Next, Protocol, Raw, Turn};
use modest::{Client, TcpServer};

struct HelloSocket;

impl Protocol for HelloSocket {
    fn meet(&self, _: &Client) -> Option<Box<dyn Conversation>> {
        Some(Box::new(Greeting { may_block: false }))
    }
}

struct Greeting {
    may_block: bool, // printing may: it is done in a turn that was asked for with `Next::Handle`
}

impl Conversation for Greeting {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Next {
        if turn.input.is_empty() {
            return if turn.input.ended() {
                Next::Close
            } else {
                Next::Idle { within: Some(Duration::from_secs(600)) }
            };
        }
        if !self.may_block {
            self.may_block = true;
            return Next::Handle;
        }
        let arrived = turn.input.bytes();
        let _ = io::stdout().write_all(arrived).and_then(|()| io::stdout().flush()); // read along or not: all are greeted
        turn.input.consume(arrived.len());
        turn.output.bytes().extend_from_slice(b"HTTP/1.1 200 OK\r\n\r\nHello, World!");
        Next::Close // without a length, the end of the stream is the end of the answer
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8888".into());
    let server = TcpServer::bind(address, Raw(HelloSocket))?;
    println!("Listening at {} ...", server.local_addr());
    server.serve_forever()
}
