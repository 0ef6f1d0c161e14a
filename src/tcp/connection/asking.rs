//! Calls to the conversation, and the `Action` that it returns.

use std::ops::ControlFlow;

use super::super::protocol::{Action, Event, Guarded, meet};
use super::super::scheduler::{MayBlock, Work};
use super::super::sync::Instant;
use super::blocking::{BlockingSocket, Loan};
use super::bytes::LONG_HANDLER;
use super::{Connection, ConnectionTurn, Outcome, Progress, Registered, ShutdownNotice};

impl<R: Registered> Connection<R> {
    /// Asks the protocol, in the first turn, whether it accepts this client.
    pub(super) fn meet(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        let may_block = turn.begin(Work::Meet)?;
        let protocol = &turn.settings.protocols[usize::from(self.protocol)];
        let conversation = meet(&**protocol, &self.client, may_block);
        turn.read_clock();
        match conversation {
            Some(conversation) => {
                self.conversation = Guarded::new(conversation);
                self.ask(None, turn)
            }
            None => self.decline(turn),
        }
    }

    /// Calls the conversation. `may_block`: it has asked for a turn that may block.
    pub(super) fn ask(&mut self, may_block: Option<MayBlock>, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        if let Some(under_way) = &self.under_way {
            if under_way.successor.is_some() {
                return self.become_successor(turn);
            }
            if under_way.carrier.is_some() {
                return self.ask_above_codec(may_block, turn);
            }
        }
        let next = self.ask_with(&None, may_block, turn);
        self.follow(next, turn)
    }

    fn ask_above_codec(&mut self, may_block: Option<MayBlock>, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        self.carrier().into_iter().for_each(|carrier| carrier.has_news = false);
        if self.next != Action::Handle {
            let next = self.ask_with(&None, may_block, turn);
            return self.follow(next, turn);
        }
        let loan = self.lend_carrier(turn);
        let next = self.ask_with(&loan, may_block, turn);
        self.follow(next, turn)?;
        self.take_carrier_back(loan, turn)
    }

    /// Calls the conversation. If it has asked by `Handle`, it can read more of its input.
    #[inline]
    fn ask_with(&mut self, loan: &Loan, may_block: Option<MayBlock>, turn: &mut ConnectionTurn<'_>) -> Action {
        turn.questions -= 1;
        turn.output_can_wait = false;
        let handles = matches!(self.next, Action::Handle);
        let is_last = handles && turn.settings.server.takes_last_response();
        let (shutting_down, polled) = (self.causes.evicted || is_last, turn.polled);
        let (transport, link, limits) = (&self.transport, self.registration.link(), turn.settings.send_limits);
        let settings = turn.settings;
        let blocking;
        let mut lent = turn.lend(&self.client, link, polled, may_block, shutting_down);
        if handles {
            let (watched, freed) = (settings.server.watched(), &settings.current.is_freed);
            blocking = BlockingSocket { transport, link, limits, client: &self.client, loan, watched, freed };
            lent.blocking = Some(&blocking);
        }
        let next = self.conversation.turn(&mut lent);
        if may_block.is_some() {
            turn.read_clock();
        }
        next
    }

    /// Records the `Action` that the conversation returned, and the successor if it hands the connection over.
    #[inline]
    fn follow(&mut self, next: Action, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        if let Some(handover) = turn.buffers.handover.take() {
            self.under_way().successor = Some(Box::new(handover.into()));
            return self.set_next(Action::Again, turn.now);
        }
        self.set_next(next, turn.now)
    }

    pub(super) fn ask_with_permit(&mut self, work: Work, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        if matches!(self.next, Action::Handle) {
            turn.may_block = None; // each handler needs its own permit: other connections may wait for this one
        }
        let may_block = turn.begin(work)?;
        if self.registration.link().is_reset() {
            return self.fail_to_send(turn); // the response would have no reader
        }
        if turn.settings.server.is_over() {
            // One short turn may report that the response was sent.
            if self.next != Action::Brief || self.shutdown == ShutdownNotice::Over {
                return self.abort("the server has ended", turn);
            }
            self.shutdown = ShutdownNotice::Over;
        }
        let begun = turn.now;
        let (asks_more, before) = (!turn.buffers.input.is_empty(), turn.buffers.output.owed());
        let flow = self.ask(Some(may_block), turn);
        // Without input, the conversation can only continue the response that it has begun.
        if matches!(self.next, Action::Handle) && !asks_more && turn.buffers.output.owed() > before {
            self.progress = Progress::Begun;
        }
        turn.settings.current.end();
        turn.polled = None; // files may change before the next request
        if work <= Work::Begun {
            let took = turn.now.saturating_duration_since(begun);
            turn.output_can_wait &= took < LONG_HANDLER;
            turn.permit.handler_took(took);
        }
        flow
    }

    /// Passes an event to the conversation.
    pub(super) fn notify(&mut self, event: Event, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        let may_block = turn.begin(Work::Short)?;
        turn.questions = turn.questions.saturating_sub(1);
        if self.conversation.is_none() {
            return ControlFlow::Continue(());
        }
        let (link, is_last) = (self.registration.link(), self.causes.evicted);
        let mut lent = turn.lend(&self.client, link, None, Some(may_block), is_last);
        let next = self.conversation.event(event, &mut lent, may_block);
        turn.read_clock();
        self.follow(next, turn)
    }

    /// Sets the next step. The clock of a stage starts when the stage is first named. The clock of `Idle` starts each
    /// time.
    pub(super) fn set_next(&mut self, next: Action, now: Instant) -> ControlFlow<Outcome> {
        let next = match (next, &self.next) {
            (Action::Unchanged, Action::Idle { .. }) => return ControlFlow::Continue(()),
            (Action::Unchanged, Action::Read { .. } | Action::Wait { .. }) if self.stage.is_some() => {
                return ControlFlow::Continue(());
            }
            (Action::Unchanged, _) => Action::Close, // the stage has ended, or nothing was waited for
            (next, _) => next,
        };
        self.expects_more |=
            next == Action::Linger || next == Action::Close && matches!(self.next, Action::Read { .. });
        match next {
            Action::Read { stage, .. } | Action::Wait { stage, .. } if self.stage != Some(stage) => {
                self.stage = Some(stage);
                self.since = now;
            }
            Action::Idle { .. } => {
                self.stage = None;
                self.since = now;
            }
            _ => {}
        }
        // If the handler is called after a wait, it has been called before.
        let has_begun = self.progress == Progress::Begun || matches!(self.next, Action::Wait { .. });
        self.progress = if next == Action::Handle && has_begun { Progress::Begun } else { Progress::None };
        self.next = next;
        ControlFlow::Continue(())
    }
}
