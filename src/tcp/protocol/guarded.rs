//! A conversation as the engine holds it: its methods that may block need a [`MayBlock`].

use super::super::client::Client;
use super::super::scheduler::MayBlock;
use super::super::stream::Stream;
use super::{Action, Conversation, Event, Protocol, Turn};

/// Lets a protocol meet a client.
pub fn meet(protocol: &dyn Protocol, client: &Client, _: MayBlock) -> Option<Box<dyn Conversation>> {
    protocol.meet(client)
}

/// A conversation that only `connection` calls.
pub struct Guarded(Box<dyn Conversation>);

impl Guarded {
    pub fn new(conversation: Box<dyn Conversation>) -> Guarded {
        Guarded(conversation)
    }

    /// Takes a turn. [`Turn::may_block`] decides whether it may block.
    #[inline]
    pub fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        self.0.turn(turn)
    }

    #[inline]
    pub fn event(&mut self, what: Event, turn: &mut Turn<'_>, _: MayBlock) -> Action {
        self.0.event(what, turn)
    }

    pub fn goodbye(&mut self, turn: &mut Turn<'_>) {
        self.0.goodbye(turn);
    }

    /// Passes the socket to the conversation, on a thread of its own.
    pub fn take(self, stream: Stream) {
        self.0.take(stream);
    }

    pub fn kept(&self) -> usize {
        self.0.kept()
    }

    pub fn drop_may_block(&self) -> bool {
        self.0.drop_may_block()
    }
}
