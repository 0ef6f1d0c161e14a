//! A connection with nothing to do: parking, deadlines, eviction, and the start of a shutdown.

use std::ops::ControlFlow;
use std::time::Duration;

use super::super::protocol::{Action, Event, Stage};
use super::super::scheduler::{Eviction, Readiness, Wait, Work};
use super::super::sync::{self, Instant};
use super::{Connection, ConnectionTurn, Outcome, Progress, Registered, ShutdownNotice};

/// When the server shuts down, a client that connected or got a response within this time may have sent its next
/// request, and a client that has begun a message can complete it within this time.
pub(super) const LAST_REQUEST: Duration = Duration::from_millis(500);

impl<R: Registered> Connection<R> {
    /// Called at a shutdown: the connection is read from once more, even if it is not readable.
    pub fn begin_shutdown(&mut self) {
        self.shutdown = ShutdownNotice::ReadOnceMore;
        self.readiness.readable = true;
    }

    /// Called if there is nothing to read: parks the connection, after pending events were passed to the conversation.
    pub(super) fn wait(&mut self, turn: &mut ConnectionTurn<'_>, blocked: bool) -> ControlFlow<Outcome> {
        if !blocked && matches!(self.next, Action::Idle { .. }) {
            (self.since, self.progress) = (self.last_responded(), Progress::Resting);
        }
        if std::mem::take(&mut turn.is_late) || !blocked && (self.is_over_time(turn) || self.window_is_over(turn)) {
            return self.be_late(turn); // a client that sends without a pause may never be found waiting
        }
        // A conversation that is called without a pause is notified of a shutdown between two calls.
        let server = turn.settings.server;
        let shuts_down = server.is_shutting_down();
        turn.server_is_over = shuts_down && server.is_over();
        let is_over_soon = shuts_down && !turn.server_is_over && self.lacks_notice();
        if self.registration.link().is_called() && !(is_over_soon && turn.was_called) {
            turn.was_called = true;
            turn.begin(Work::Short)?; // otherwise the call would be lost
            self.registration.link().take_call();
            return self.notify(Event::Called, turn);
        }
        if self.causes.evicted {
            // The last read returned no complete request, and the room is needed.
            match self.next {
                Action::Read { stage, evictable: true, .. } if turn.gives_up_half => {
                    self.notify(Event::Late(stage), turn)?;
                    return match self.next {
                        Action::Abort => ControlFlow::Continue(()), // its output is incomplete
                        _ => self.set_next(Action::Close, turn.now),
                    };
                }
                Action::Idle { .. } | Action::Read { evictable: true, .. } => return self.end_idle(turn),
                _ => {}
            }
        }
        if !is_over_soon {
            return ControlFlow::Break(self.park(turn, blocked));
        }
        if self.shutdown == ShutdownNotice::None {
            self.begin_shutdown();
            return ControlFlow::Continue(());
        }
        self.shutdown = if self.has_effect() {
            self.notify(Event::ShuttingDown, turn)?;
            ShutdownNotice::Notified
        } else {
            if let Action::Read { .. } = self.next {
                self.since = turn.now; // its new time limit begins
            }
            ShutdownNotice::Begun
        };
        ControlFlow::Continue(())
    }

    /// Returns whether the conversation waits with something in progress that has an effect.
    fn has_effect(&self) -> bool {
        matches!(self.next, Action::Read { evictable: false, .. } | Action::Wait { .. })
    }

    /// Returns whether a shutdown that has begun changes something for this connection.
    fn lacks_notice(&self) -> bool {
        match self.shutdown {
            ShutdownNotice::None | ShutdownNotice::ReadOnceMore => true,
            ShutdownNotice::Begun => self.has_effect(),
            ShutdownNotice::Notified | ShutdownNotice::Late | ShutdownNotice::Over => false,
        }
    }

    /// Returns whether the time limits of a shutdown apply.
    fn is_last(&self) -> bool {
        matches!(self.shutdown, ShutdownNotice::Begun | ShutdownNotice::Notified | ShutdownNotice::Late)
    }

    pub(super) fn park(&mut self, turn: &ConnectionTurn<'_>, blocked: bool) -> Outcome {
        if self.begins_to_wait_for_more(turn) {
            self.transport.acknowledge();
        }
        let reads = !blocked || self.may_read_while_owing(turn);
        // Idle time begins when all output is written. Until then only the write timeout applies.
        let owes = blocked && matches!(self.next, Action::Idle { .. });
        let time_limit = if reads && !owes { self.time_limit() } else { None };
        let pace = self.measure(turn, reads, blocked);
        let eviction = match self.next {
            _ if blocked => Eviction::Never,
            Action::Idle { .. } => Eviction::Idle(turn.now),
            Action::Read { evictable: true, .. } => Eviction::Begun(self.since),
            _ => Eviction::Never,
        };
        Outcome::Park(Wait {
            // A call always makes the connection ready, because it may be an abort. While this much output is unsent,
            // the conversation does not get the call. It stays recorded in the link, and no further call is made until
            // then.
            interest: Readiness { readable: reads, writable: blocked, called: true, ..Readiness::NONE },
            deadline: time_limit.into_iter().chain(pace).min(),
            eviction,
            // A connection that does not read now is notified of the shutdown when it reads again. Once the server
            // has exited, no connection is notified.
            shutdown_seen: self.is_last() || !reads || turn.server_is_over,
        })
    }

    /// Returns whether a message is incomplete whose last part has just arrived, once per stage. Output has acknowledged
    /// that part.
    fn begins_to_wait_for_more(&self, turn: &ConnectionTurn<'_>) -> bool {
        matches!(self.next, Action::Read { .. })
            && turn.has_read
            && self.since == turn.now
            && self.wrote != Some(turn.now)
    }

    /// Begins to measure the client, which the server now waits for: for the rest of a message, or to read output.
    /// Returns when to check whether the client is fast enough.
    fn measure(&mut self, turn: &ConnectionTurn<'_>, reads: bool, blocked: bool) -> Option<Instant> {
        let receiving = self.measured_stage().filter(|_| reads);
        if receiving.is_none() && !blocked {
            self.under_way.iter_mut().for_each(|under_way| under_way.pace = None);
            return None;
        }
        let now = sync::now(); // not the time of the turn, which may have waited for a disk
        let limits = *turn.settings.send_limits;
        let pace = self.under_way().pace.get_or_insert_default();
        now.checked_add(pace.park(now, receiving, blocked, limits)?)
    }

    /// Returns the stage that requires the minimum rate.
    fn measured_stage(&self) -> Option<Stage> {
        match self.next {
            Action::Read { stage, at_min_rate: true, .. } => Some(stage),
            _ => None,
        }
    }

    /// Returns whether it is time to check whether the client sends fast enough.
    fn window_is_over(&mut self, turn: &ConnectionTurn<'_>) -> bool {
        let stage = self.measured_stage();
        match (self.pace(), stage, turn.settings.send_limits.min_rate) {
            (Some(pace), Some(stage), Some(rate)) => pace.receive_time(stage, rate).is_zero(),
            _ => false,
        }
    }

    fn sends_too_slowly(&mut self, turn: &ConnectionTurn<'_>) -> bool {
        let stage = self.measured_stage();
        match (self.pace(), stage, turn.settings.send_limits.min_rate) {
            (Some(pace), Some(stage), Some(rate)) => pace.sends_too_slowly(stage, rate),
            _ => false,
        }
    }

    fn takes_too_little(&mut self, turn: &ConnectionTurn<'_>) -> bool {
        let transport = &self.transport;
        let limits = *turn.settings.send_limits;
        let pace = self.under_way.as_mut().and_then(|under_way| under_way.pace.as_mut());
        pace.is_some_and(|pace| pace.takes_too_little(limits, || transport.arrived()))
    }

    /// Called when a deadline has passed, after reading the bytes that have arrived and writing the output as far as
    /// possible.
    pub(super) fn be_late(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        if !turn.buffers.owes_nothing() && self.takes_too_little(turn) {
            return self.fail_to_send(turn);
        }
        let is_over_time = self.is_over_time(turn);
        if !is_over_time && !self.sends_too_slowly(turn) {
            return ControlFlow::Continue(());
        }
        if self.is_last() && !self.has_effect() {
            self.shutdown = ShutdownNotice::Late;
        }
        match self.next {
            Action::Read { stage, .. } | Action::Wait { stage, .. } => {
                turn.begin(Work::Short)?;
                self.stage = None; // if it is named again, its clock starts again
                self.notify(Event::Late(stage), turn)
            }
            Action::Idle { .. } if turn.buffers.owes_nothing() => {
                self.end_idle(turn)?;
                match turn.buffers.output.is_empty() && !self.has_codec() {
                    true => ControlFlow::Break(Outcome::Closed),
                    false => ControlFlow::Continue(()), // a goodbye is written first
                }
            }
            _ => ControlFlow::Continue(()),
        }
    }

    /// Called if room is needed. A half-closed connection is closed, because its client has had its response. Any other
    /// connection is read from once more: a complete request gets a response, and is the last. An incomplete message is
    /// dropped.
    pub(super) fn give_way(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        if self.is_lingering() {
            return ControlFlow::Break(Outcome::Closed);
        }
        turn.gives_up_half = matches!(self.next, Action::Read { evictable: true, .. });
        self.readiness.readable = true;
        ControlFlow::Continue(())
    }

    fn is_over_time(&self, turn: &ConnectionTurn<'_>) -> bool {
        self.time_limit().is_some_and(|limit| limit <= turn.now)
    }

    /// Returns the time at which the stage or the idle time ends.
    fn time_limit(&self) -> Option<Instant> {
        match self.next {
            Action::Idle { .. } if self.is_last() => Some(self.last_responded() + LAST_REQUEST),
            Action::Idle { within } => self.last_responded().checked_add(within?),
            Action::Read { within, evictable: true, .. } if self.is_last() => {
                Some(self.since + within.map_or(LAST_REQUEST, |within| within.min(LAST_REQUEST)))
            }
            Action::Read { within, .. } | Action::Wait { within, .. } => self.since.checked_add(within?),
            _ => None,
        }
    }

    /// Returns since when the client could have sent a request.
    fn last_responded(&self) -> Instant {
        match self.progress {
            Progress::Resting => self.since,
            _ => self.wrote.map_or(self.since, |wrote| wrote.max(self.since)),
        }
    }
}
