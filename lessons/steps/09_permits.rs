//! Four handlers at once, sixteen that wait, and always a worker for the rest. `cargo run -q --bin step09 [ADDRESS]`

use std::io;
use std::sync::atomic::AtomicBool;

use lessons::client::handle;
use lessons::engine::{Action, Conversation, Event, Turn, serve};
use lessons::head::{parse, response};

/// One request and one response.
pub struct Once;

impl Conversation for Once {
    fn turn(&mut self, turn: Turn) -> Action {
        let (next, text) = match (parse(turn.input), turn.event) {
            (Ok(None), _) => return Action::Read,
            (Err((status, reason)), _) => (Action::Close, response(status, &format!("{reason}\n"))),
            (Ok(Some(_)), Event::Ready) => return Action::Handle, // not now: ask for a permit first
            (Ok(Some(_)), Event::NoPermit) => (Action::Close, response(503, "busy\n")),
            (Ok(Some((head, _))), Event::Permit) => (Action::Close, handle(&head)),
        };
        turn.output.extend_from_slice(text.as_bytes());
        next
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    serve(&address, || Box::new(Once), &AtomicBool::new(false))
}
