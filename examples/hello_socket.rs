//! A server without a protocol: prints what it receives and always sends the same bytes.
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
    may_block: bool, // writing to stdout can block, so it needs a turn after `Next::Handle`
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
        let _ = io::stdout().write_all(arrived).and_then(|()| io::stdout().flush()); // a client is greeted even if this fails
        turn.input.consume(arrived.len());
        turn.output.bytes().extend_from_slice(b"HTTP/1.1 200 OK\r\n\r\nHello, World!");
        Next::Close // the response has no length: it ends where the stream ends
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8888".into());
    let server = TcpServer::bind(address, Raw(HelloSocket))?;
    println!("Listening at {} ...", server.local_addr());
    server.serve_forever()
}
