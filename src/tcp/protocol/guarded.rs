//! A conversation as the engine holds it: its methods that may block need a [`MayBlock`].

use super::super::client::Client;
use super::super::contain::contain;
use super::super::scheduler::MayBlock;
use super::super::stream::Stream;
use super::{Action, Conversation, Event, Protocol, Turn};

pub fn meet(protocol: &dyn Protocol, client: &Client, _: MayBlock) -> Option<Box<dyn Conversation>> {
    protocol.meet(client)
}

/// A conversation, or none. Only `connection` calls it. If its destructor panics, the panic is logged, and has no
/// other effect. (It is not a `Contained` value, because each connection has one, and this needs less memory.)
#[derive(Default)]
pub struct Guarded(Option<Box<dyn Conversation>>);

impl Guarded {
    pub fn new(conversation: Box<dyn Conversation>) -> Guarded {
        Guarded(Some(conversation))
    }

    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the conversation, whose destructor is then the caller's.
    pub fn into_inner(mut self) -> Option<Box<dyn Conversation>> {
        self.0.take()
    }

    /// Takes a turn. [`Turn::may_block`] decides whether it may block.
    #[inline]
    pub fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        match &mut self.0 {
            Some(conversation) => conversation.turn(turn),
            None => Action::Abort,
        }
    }

    #[inline]
    pub fn event(&mut self, what: Event, turn: &mut Turn<'_>, _: MayBlock) -> Action {
        match &mut self.0 {
            Some(conversation) => conversation.event(what, turn),
            None => Action::Abort,
        }
    }

    pub fn goodbye(&mut self, turn: &mut Turn<'_>) {
        if let Some(conversation) = &mut self.0 {
            conversation.goodbye(turn);
        }
    }

    /// Passes the socket to the conversation, on a thread of its own.
    pub fn take(self, stream: Stream) {
        if let Some(conversation) = self.into_inner() {
            conversation.take(stream);
        }
    }

    pub fn cut_off(&mut self, unsent: u64) {
        if let Some(conversation) = &mut self.0 {
            contain("a conversation, at the end", || conversation.cut_off(unsent));
        }
    }

    pub fn kept(&self) -> usize {
        self.0.as_ref().map_or(0, |conversation| conversation.kept())
    }

    pub fn drop_may_block(&self) -> bool {
        self.0.as_ref().is_some_and(|conversation| conversation.drop_may_block())
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let conversation = self.0.take();
        contain("dropping a conversation", || drop(conversation));
    }
}
