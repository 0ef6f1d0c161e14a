//! A connection with nothing to do just now: parking and its deadlines, lateness, giving way, the news of a shutdown.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::super::protocol::{Event, Next};
use super::super::scheduler::{Eviction, Readiness, Wait};
use super::{Connection, ConnectionTurn, Outcome, Registered, ShutdownNotice};

/// Who came or was answered this lately may have sent its next request already when the server shuts down.
const LAST_REQUEST: Duration = Duration::from_millis(500);

impl<R: Registered> Connection<R> {
    /// The server shuts down: read once more, whatever the readiness says.
    pub fn begin_shutdown(&mut self) {
        self.shutdown = ShutdownNotice::ReadOnceMore;
        self.readiness.readable = true;
    }

    /// There is nothing to read: park, but first tell the conversation what it does not know yet.
    pub(super) fn wait(&mut self, turn: &mut ConnectionTurn<'_>, blocked: bool) -> ControlFlow<Outcome> {
        if !blocked && self.read_deadline().is_some_and(|deadline| deadline <= turn.now) {
            return self.be_late(turn); // a steady drip may never be found waiting
        }
        if self.registration.link().is_called() {
            turn.begin(super::Work::Short)?;
            self.registration.link().take_call();
            return self.tell(Event::Called, turn);
        }
        if self.causes.evicted && matches!(self.next, Next::Idle { .. } | Next::Read { evictable: true, .. }) {
            return self.end_idle(turn); // no request came in the last read: the room is wanted
        }
        if !turn.settings.server.is_shutting_down() || self.shutdown == ShutdownNotice::Seen {
            return ControlFlow::Break(self.park(turn, blocked));
        }
        if self.shutdown == ShutdownNotice::None {
            self.begin_shutdown();
            return ControlFlow::Continue(());
        }
        match self.next {
            Next::Read { .. } => self.tell(Event::ShuttingDown, turn)?,
            _ if blocked || turn.now < self.last_answered() + LAST_REQUEST => {}
            _ => self.end_idle(turn)?,
        }
        self.shutdown = ShutdownNotice::Seen;
        ControlFlow::Continue(())
    }

    pub(super) fn park(&mut self, turn: &ConnectionTurn<'_>, blocked: bool) -> Outcome {
        let reads = !blocked || self.may_read_while_owing(turn);
        // Being idle begins when all is written: until then the clock of writing is the only one.
        let owes = blocked && matches!(self.next, Next::Idle { .. });
        let read_deadline = if reads && !owes { self.read_deadline() } else { None };
        let eviction = match self.next {
            _ if blocked => Eviction::Never,
            Next::Idle { .. } => Eviction::Idle,
            Next::Read { evictable: true, .. } => Eviction::Begun(self.since),
            _ => Eviction::Never,
        };
        Outcome::Park(Wait {
            // A call is heard while the conversation may be told of it: see `wait`.
            interest: Readiness { readable: reads, writable: blocked, called: reads, ..Readiness::NONE },
            deadline: read_deadline.into_iter().chain(self.write_deadline(turn)).min(),
            eviction,
            // Who takes nothing and may not ask for more is told as soon as that has changed.
            shutdown_seen: self.shutdown == ShutdownNotice::Seen || !reads,
        })
    }

    /// A deadline has passed, or one that was.
    pub(super) fn be_late(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        if self.lingering.is_some() {
            return ControlFlow::Break(Outcome::Closed);
        }
        if self.write_deadline(turn).is_some_and(|deadline| deadline <= turn.now) {
            return self.fail_to_send(turn);
        }
        if self.read_deadline().is_none_or(|deadline| turn.now < deadline) {
            return ControlFlow::Continue(());
        }
        match self.next {
            Next::Read { stage, .. } => {
                turn.begin(super::Work::Short)?;
                self.stage = None; // named once more, it begins anew
                self.tell(Event::Late(stage), turn)
            }
            Next::Idle { .. } if turn.buffers.output.is_empty() => {
                self.end_idle(turn)?;
                match turn.buffers.output.is_empty() {
                    true => ControlFlow::Break(Outcome::Closed),
                    false => ControlFlow::Continue(()), // a goodbye
                }
            }
            _ => ControlFlow::Continue(()),
        }
    }

    /// Room is short. Who lingers has had its answer; who is idle is read from once more, and what came is answered
    /// and is the last; half a message is given up.
    pub(super) fn give_way(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        match self.next {
            _ if self.lingering.is_some() => ControlFlow::Break(Outcome::Closed),
            Next::Read { stage, evictable: true, .. } => {
                self.tell(Event::Late(stage), turn)?;
                self.set_next(Next::Close, turn.now)
            }
            _ => {
                self.readiness.readable = true;
                ControlFlow::Continue(())
            }
        }
    }

    /// When the stage, or being idle, is over.
    pub(super) fn read_deadline(&self) -> Option<Instant> {
        match self.next {
            Next::Idle { .. } if self.shutdown == ShutdownNotice::Seen => Some(self.last_answered() + LAST_REQUEST),
            Next::Idle { within } => self.last_answered().checked_add(within?),
            Next::Read { within, .. } => self.since.checked_add(within?),
            _ => None,
        }
    }

    pub(super) fn write_deadline(&self, turn: &ConnectionTurn<'_>) -> Option<Instant> {
        self.blocked_since?.checked_add(turn.settings.write_timeout?)
    }

    /// Since when it could have asked again, or for the first time.
    fn last_answered(&self) -> Instant {
        self.wrote.map_or(self.since, |wrote| wrote.max(self.since))
    }
}
