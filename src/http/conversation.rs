//! Placeholder.
use std::sync::Arc;

use super::handler::RequestHandler;
use super::settings::Shared;
use crate::tcp::{Conversation, Next, Turn};

pub(crate) struct Talk<H> {
    shared: Arc<Shared<H>>,
}

impl<H> Talk<H> {
    pub(crate) fn new(shared: Arc<Shared<H>>) -> Talk<H> {
        Talk { shared }
    }
}

impl<H: RequestHandler> Conversation for Talk<H> {
    fn turn(&mut self, _turn: &mut Turn<'_>) -> Next {
        let _ = &self.shared;
        Next::Close
    }
}
