//! Sends back what it receives, to any number of clients at once. A silent client holds no worker.
//! `cargo run --example echo`, then `cargo run --example echo_client` or `telnet 127.0.0.1 8080`.

use std::io::{self, Write};
use std::time::Duration;

use modest::raw::{Action, Conversation, Protocol, Raw, Turn};
use modest::{Client, TcpServer};

struct Echo;

impl Protocol for Echo {
    fn meet(&self, _: &Client) -> Option<Box<dyn Conversation>> {
        Some(Box::new(Echoing { may_block: false }))
    }
}

struct Echoing {
    may_block: bool, // writing to stdout can block, so it needs a turn after `Action::Handle`
}

impl Conversation for Echoing {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        if turn.input.is_empty() {
            return if turn.input.ended() {
                Action::Close
            } else {
                Action::Idle { within: Some(Duration::from_secs(600)) }
            };
        }
        self.may_block = !self.may_block;
        if self.may_block {
            return Action::Handle;
        }
        let arrived = turn.input.bytes();
        // Not `println!`, which panics if the reader of stdout has gone.
        let _ = writeln!(io::stdout(), "got request from {}: {}", turn.client, arrived.len());
        turn.output.bytes().extend_from_slice(arrived);
        turn.input.consume(arrived.len());
        Action::Again
    }
}

fn main() -> io::Result<()> {
    let _log = modest::log_to_stderr(); // logs warnings and errors
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let server = TcpServer::bind(address, Raw(Echo))?;
    println!("Listening at {} ...", server.local_addr());
    server.serve_forever()
}
