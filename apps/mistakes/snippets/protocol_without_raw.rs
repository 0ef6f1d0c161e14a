//~ E0277
//~ `Echo` can't be served
//~ a `Protocol` in `Raw(..)`
use modest::raw::{Conversation, Action, Protocol, Turn};
use modest::{Client, TcpServer};

struct Echo;

impl Protocol for Echo {
    fn meet(&self, _: &Client) -> Option<Box<dyn Conversation>> {
        Some(Box::new(Echo))
    }
}

impl Conversation for Echo {
    fn turn(&mut self, _: &mut Turn<'_>) -> Action {
        Action::Idle { within: None }
    }
}

fn main() {
    drop(TcpServer::bind("127.0.0.1:8000", Echo));
}
