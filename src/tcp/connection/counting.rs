//! Counts the received and unused bytes of a connection between turns, and rejects them if there is no memory.

use std::ops::ControlFlow;

use super::super::input_memory::{FREE, InputBytes};
use super::super::protocol::{Action, Event};
use super::super::scheduler::Work;
use super::{Connection, ConnectionTurn, Outcome, Registered};

/// At most this much unsent output is counted. Output beyond that is a response that a handler has created in memory.
const OWED: u64 = 64 * 1024;

impl<R: Registered> Connection<R> {
    /// Returns whether there is memory for the connection's bytes after this turn. An idle connection has no bytes.
    pub(super) fn has_memory(&mut self, outcome: &Outcome, turn: &ConnectionTurn<'_>) -> bool {
        let is_over = matches!(outcome, Outcome::Closed | Outcome::Take);
        let arrived = turn.buffers.arrived();
        let is_idle = arrived == 0 && matches!(self.next, Action::Idle { .. }) && turn.buffers.owes_nothing();
        if (is_over || is_idle) && self.under_way.is_none() {
            return true;
        }
        let has_kept = !is_over && !is_idle && !self.conversation.is_none();
        let sent = if has_kept { arrived + self.conversation.kept() } else { 0 };
        let owed = if is_over { 0 } else { turn.buffers.owed_memory().min(OWED) as usize };
        if sent + owed <= FREE && self.under_way.is_none() {
            return true;
        }
        let memory = turn.settings.server.input_memory();
        let fits = InputBytes::set(&mut self.under_way().input_bytes, sent + owed, memory);
        let goes_on = match outcome {
            Outcome::AwaitPermit(work) => *work != Work::Handler, // a handler that has begun is not interrupted
            _ => self.is_lingering(),
        };
        fits || goes_on || sent <= FREE
    }

    /// Called if there is no memory for the connection's bytes: notifies the conversation, and drops the unused input.
    /// A client that does not read its output cannot get a rejection, so it is reset. It is also reset if no permit is
    /// free.
    pub(super) fn refuse_more(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        turn.settings.server.input_memory().refuse();
        if !turn.buffers.owes_nothing() || self.notify(Event::NoMemory, turn).is_break() {
            return self.abort("there is no memory for its bytes", turn);
        }
        match self.next {
            Action::Close | Action::Linger | Action::Again | Action::Brief => {
                turn.buffers.drop_arrived();
                self.expects_more = true; // the client may still be sending
                ControlFlow::Continue(())
            }
            _ => self.abort("there is no memory for its bytes", turn),
        }
    }
}
