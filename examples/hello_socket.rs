//! Two servers without HTTP. `cargo run --example hello_socket 127.0.0.1:8888 echo` sends back what it receives.
//! Without `echo` it prints what it receives and always sends the same bytes: `curl http://127.0.0.1:8888/`.

use std::io::{self, Write};
use std::time::Duration;

use modest::raw::{Action, Conversation, Protocol, Raw, Turn};
use modest::{Client, TcpServer};

const SILENCE: Option<Duration> = Some(Duration::from_secs(600));

/// The smallest protocol.
struct Echo;

impl Conversation for Echo {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        turn.output.bytes().extend_from_slice(turn.input.bytes());
        turn.input.consume(turn.input.bytes().len());
        Action::Idle { within: SILENCE }
    }
}

impl Protocol for Echo {
    fn meet(&self, _: &Client) -> Option<Box<dyn Conversation>> {
        Some(Box::new(Echo))
    }
}

/// Prints what it receives. Printing can block, so it needs a turn after `Action::Handle`.
struct HelloSocket;

#[derive(Default)]
struct Greeting {
    may_block: bool,
}

impl Protocol for HelloSocket {
    fn meet(&self, _: &Client) -> Option<Box<dyn Conversation>> {
        Some(Box::new(Greeting::default()))
    }
}

impl Conversation for Greeting {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        if turn.input.is_empty() {
            return if turn.input.ended() { Action::Close } else { Action::Idle { within: SILENCE } };
        }
        if !self.may_block {
            self.may_block = true;
            return Action::Handle;
        }
        let arrived = turn.input.bytes();
        // the client gets its response even if this fails
        let _ = io::stdout().write_all(arrived).and_then(|()| io::stdout().flush());
        turn.input.consume(arrived.len());
        turn.output.bytes().extend_from_slice(b"HTTP/1.1 200 OK\r\n\r\nHello, World!");
        Action::Close // the response has no length: it ends where the stream ends
    }
}

fn main() -> io::Result<()> {
    let _log = modest::log_to_stderr(); // logs warnings and errors
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8888".into());
    let server = match std::env::args().nth(2).as_deref() {
        Some("echo") => TcpServer::bind(address, Raw(Echo))?,
        _ => TcpServer::bind(address, Raw(HelloSocket))?,
    };
    println!("Listening at {} ...", server.local_addr());
    server.serve_forever()
}
