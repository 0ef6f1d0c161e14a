//! What a connection keeps from turn to turn of what its client has sent: counted, and refused where there is no memory for it.

use std::ops::ControlFlow;

use super::super::kept::{FREE, KeptBytes};
use super::super::protocol::{Event, Next};
use super::super::scheduler::Work;
use super::{Connection, ConnectionTurn, Outcome, Registered};

/// Of what is owed, so much at most is counted: the rest is one response, and its handler's.
const OWED: u64 = 64 * 1024;

impl<R: Registered> Connection<R> {
    /// Whether there is memory for what the connection keeps after a turn that ended so. An idle one keeps nothing.
    pub(super) fn has_memory(&mut self, outcome: &Outcome, turn: &ConnectionTurn<'_>) -> bool {
        let is_over = matches!(outcome, Outcome::Closed | Outcome::Take);
        let (arrived, owes_nothing) = (turn.buffers.arrived(), turn.buffers.owes_nothing());
        let is_idle = matches!(self.next, Next::Idle { .. }) && arrived == 0 && owes_nothing;
        if (is_over || is_idle) && self.under_way.is_none() {
            return true;
        }
        let conversation = self.conversation.as_ref().filter(|_| !is_over && !is_idle);
        let sent = conversation.map_or(0, |conversation| arrived + conversation.kept());
        let owed = if is_over { 0 } else { turn.buffers.owed_memory().min(OWED) as usize };
        if sent + owed <= FREE && self.under_way.is_none() {
            return true;
        }
        let kept = turn.settings.server.kept();
        let fits = KeptBytes::set(&mut self.under_way().kept, sent + owed, kept);
        let goes_on = match outcome {
            Outcome::AwaitPermit(work) => *work != Work::Handler, // what was begun is not broken off
            _ => self.is_lingering(),
        };
        fits || goes_on || sent <= FREE
    }

    /// There is no memory for what it keeps: its conversation is told, and what is not used of its input is dropped. A client that does
    /// not take what it is owed takes no refusal, either: it is reset. So it is where there is no permit to refuse it with.
    pub(super) fn refuse_more(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        turn.settings.server.kept().refuse();
        if !turn.buffers.owes_nothing() || self.tell(Event::NoMemory, turn).is_break() {
            return self.abort("there is no memory for what it has sent", turn);
        }
        match self.next {
            Next::Close | Next::Linger | Next::Again | Next::Brief => {
                turn.buffers.drop_arrived();
                self.midway = true; // its client may still be sending
                ControlFlow::Continue(())
            }
            _ => self.abort("there is no memory for what it has sent", turn),
        }
    }
}
