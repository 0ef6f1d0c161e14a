//! Calls to the conversation, and the `Next` that it returns.

use std::ops::ControlFlow;

use super::super::protocol::{Event, Next};
use super::super::scheduler::Work;
use super::super::sync::{self, Instant};
use super::blocking::BlockingSocket;
use super::{Connection, ConnectionTurn, Outcome, Registered};

impl<R: Registered> Connection<R> {
    /// The first turn: does the protocol accept this client?
    pub(super) fn meet(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        turn.begin(Work::Meet)?;
        let protocol = &turn.settings.protocols[usize::from(self.protocol)];
        match protocol.meet(&self.client) {
            Some(conversation) => {
                self.conversation = Some(conversation);
                self.ask(turn)
            }
            None => self.turn_away(turn),
        }
    }

    /// Calls the conversation.
    pub(super) fn ask(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        turn.questions -= 1;
        let Some(conversation) = &mut self.conversation else { return self.abort("nobody to talk with", turn) };
        let is_last = self.next == Next::Handle && turn.settings.server.takes_last_answer();
        let (shutting_down, polled) = (self.causes.evicted || is_last, turn.polled);
        let link = self.registration.link();
        let blocking = BlockingSocket { transport: &self.transport, link, limits: *turn.settings.send_limits };
        let mut lent = turn.lend(&self.client, link, polled, shutting_down);
        lent.blocking = Some(&blocking);
        let next = conversation.turn(&mut lent);
        self.set_next(next, turn.now)
    }

    pub(super) fn ask_with_permit(&mut self, work: Work, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        if self.next == Next::Handle {
            turn.may_block = None; // each handler needs its own permit: other connections may wait for this one
        }
        turn.begin(work)?;
        if self.registration.link().is_reset() {
            return self.fail_to_send(turn); // the response would have no reader
        }
        if turn.settings.server.is_over() {
            return self.abort("the server is over", turn);
        }
        let asks_more = !turn.buffers.input.is_empty();
        let flow = self.ask(turn);
        // Without input it can only go on with the response that it has begun.
        self.begun |= self.next == Next::Handle && !asks_more && !turn.buffers.output.is_empty();
        turn.settings.current.end();
        turn.polled = None; // the file system may be older than the next request
        let end = sync::now();
        if work <= Work::Begun {
            turn.permit.handler_took(end.saturating_duration_since(turn.now));
        }
        (turn.now, turn.wall) = (end, None); // a handler may take its time
        flow
    }

    /// Passes an event to the conversation.
    pub(super) fn tell(&mut self, event: Event, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        turn.begin(Work::Short)?;
        turn.questions = turn.questions.saturating_sub(1);
        let Some(conversation) = &mut self.conversation else { return ControlFlow::Continue(()) };
        let shutting_down = self.causes.evicted;
        let next =
            conversation.event(event, &mut turn.lend(&self.client, self.registration.link(), None, shutting_down));
        self.set_next(next, turn.now)
    }

    /// The clock of a stage starts when the stage is first named. That of `Idle` starts each time.
    pub(super) fn set_next(&mut self, next: Next, now: Instant) -> ControlFlow<Outcome> {
        let next = match (next, &self.next) {
            (Next::Unchanged, Next::Idle { .. }) => return ControlFlow::Continue(()),
            (Next::Unchanged, Next::Read { .. } | Next::Wait { .. }) if self.stage.is_some() => {
                return ControlFlow::Continue(());
            }
            (Next::Unchanged, _) => Next::Close, // of a stage that is over, or of no wait
            (next, _) => next,
        };
        self.midway |= next == Next::Linger || next == Next::Close && matches!(self.next, Next::Read { .. });
        match next {
            Next::Read { stage, .. } | Next::Wait { stage, .. } if self.stage != Some(stage) => {
                self.stage = Some(stage);
                self.since = now;
            }
            Next::Idle { .. } => {
                self.stage = None;
                self.since = now;
            }
            _ => {}
        }
        self.begun &= next == Next::Handle;
        self.next = next;
        ControlFlow::Continue(())
    }
}
