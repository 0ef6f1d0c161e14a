//! A connection with nothing to do just now, or never again: parking and its deadlines, the news of a stop,
//! the close, and lingering.

use std::time::{Duration, Instant};

use super::super::protocol::{Event, Next};
use super::super::scheduler::{Readiness, Wait};
use super::{Cause, Connection, ConnectionTurn, Lingering, Outcome, Registered, ShutdownNotice};

/// How long a closing client is heard out after the last byte to it or from it, and how long in all: a refusal is read
/// only by who has sent what it was about to send.
const LINGER: Duration = Duration::from_secs(2);
const LONGEST_LINGER: Duration = Duration::from_secs(30);
/// Who came or was answered this lately may have sent its next request already when the server stops.
const LAST_REQUEST: Duration = Duration::from_millis(500);

impl<S: Registered> Connection<S> {
    /// There is nothing to read: park; but the first time after a stop, see to that first. `None`: go on.
    pub(super) fn wait(&mut self, turn: &mut ConnectionTurn<'_>, blocked: bool) -> Option<Outcome> {
        if self.read_deadline().is_some_and(|deadline| deadline <= turn.now) && !blocked {
            return self.handle_cause(Cause::Late, turn); // a steady drip may never be found waiting
        }
        if !turn.context.server.is_shutting_down() || self.shutdown_seen == ShutdownNotice::Yes {
            return Some(self.park(turn, blocked));
        }
        if self.shutdown_seen == ShutdownNotice::No {
            self.sweep();
            return None;
        }
        self.shutdown_seen = ShutdownNotice::Yes;
        match self.next {
            Next::Read { .. } => self.tell(Event::ShuttingDown, turn),
            _ if blocked || turn.now < self.last_answered() + LAST_REQUEST => {}
            _ => self.next = Next::Close,
        }
        None
    }

    pub(super) fn park(&mut self, turn: &ConnectionTurn<'_>, blocked: bool) -> Outcome {
        let reads = !blocked || self.may_read_while_owing(turn);
        let idle_since = matches!(self.next, Next::Idle { .. }) && !blocked;
        // A rest begins when all is written: until then the clock of writing is the only one.
        let owes = blocked && matches!(self.next, Next::Idle { .. });
        let reading_deadline = if reads && !owes { self.read_deadline() } else { None };
        Outcome::Park(Wait {
            readiness: Readiness { readable: reads, writable: blocked, closed: false },
            deadline: reading_deadline.into_iter().chain(self.write_deadline(turn)).min(),
            idle_since: idle_since.then_some(self.since),
            // Who takes nothing and may not ask for more is shutdown_seen as soon as that has changed.
            shutdown_seen: self.shutdown_seen == ShutdownNotice::Yes || !reads,
        })
    }

    /// When the stage, or the rest, is over.
    pub(super) fn read_deadline(&self) -> Option<Instant> {
        match self.next {
            Next::Idle { .. } if self.shutdown_seen == ShutdownNotice::Yes => Some(self.last_answered() + LAST_REQUEST),
            Next::Idle { within } => self.last_answered().checked_add(within?),
            Next::Read { within, .. } => self.since.checked_add(within?),
            _ => None,
        }
    }

    pub(super) fn write_deadline(&self, turn: &ConnectionTurn<'_>) -> Option<Instant> {
        self.blocked_since?.checked_add(turn.context.write_timeout?)
    }

    /// Since when it could have asked again, or for the first time.
    fn last_answered(&self) -> Instant {
        self.wrote.map_or(self.since, |wrote| wrote.max(self.since))
    }

    /// All is written: the end, at once where the client has surely read it or never will, else half-closed first.
    /// `None`: linger.
    pub(super) fn close(&mut self, turn: &mut ConnectionTurn<'_>) -> Option<Outcome> {
        let input = &turn.buffers.input;
        let all_used = input.is_empty() && !self.readiness.readable && !self.midway;
        let unread_is_likely = self.wrote.is_some_and(|wrote| turn.now < wrote + LINGER);
        if input.ended() || all_used || !unread_is_likely || self.transport.shut_down_writing().is_err() {
            return Some(Outcome::Closed);
        }
        self.lingering = Some(Lingering { since: turn.now, heard: turn.now });
        self.readiness.readable = true;
        None
    }

    /// Half-closed: what the client still sends is read and forgotten, until it has read the end, or time is up.
    pub(super) fn linger(&mut self, turn: &mut ConnectionTurn<'_>) -> Outcome {
        while turn.share > 0 {
            turn.buffers.input.clear();
            match turn.buffers.input.fill(|room| self.transport.read(room)) {
                Ok((0, _)) => return Outcome::Closed,
                Ok((count, _)) => {
                    turn.share = turn.share.saturating_sub(count);
                    self.lingering.iter_mut().for_each(|lingering| lingering.heard = turn.now);
                }
                Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => {
                    return Outcome::Park(Wait {
                        readiness: Readiness { readable: true, writable: false, closed: false },
                        deadline: self.linger_deadline(),
                        idle_since: self.lingering.as_ref().map(|lingering| lingering.since), // it has had its answer
                        shutdown_seen: true,
                    });
                }
                Err(_) => return Outcome::Closed,
            }
        }
        if self.linger_deadline().is_none_or(|deadline| deadline <= turn.now) {
            Outcome::Closed
        } else {
            Outcome::Requeue
        }
    }

    fn linger_deadline(&self) -> Option<Instant> {
        let Lingering { since, heard } = self.lingering.as_ref()?;
        Some((*heard + LINGER).min(*since + LONGEST_LINGER))
    }
}
