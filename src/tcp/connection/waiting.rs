//! A connection with nothing to do just now, or never again: parking and its deadlines, the news of a stop,
//! the close, and lingering.

use std::time::{Duration, Instant};

use super::super::conversation::{Event, Next};
use super::super::handover::{Mark, Wish};
use super::{Connection, Errand, Lingering, Outcome, Seat, Told, TurnAtDesk};

/// How long a closing client is heard out after the last byte to it or from it, and how long in all: a refusal is read
/// only by who has sent what it was about to send.
const LINGER: Duration = Duration::from_secs(2);
const LONGEST_LINGER: Duration = Duration::from_secs(30);
/// Who came or was answered this lately may have sent its next request already when the server stops.
const LAST_REQUEST: Duration = Duration::from_millis(500);

impl<S: Seat> Connection<S> {
    /// There is nothing to read: park; but the first time after a stop, see to that first. `None`: go on.
    pub(super) fn wait(&mut self, turn: &mut TurnAtDesk<'_>, blocked: bool) -> Option<Outcome> {
        if self.read_deadline().is_some_and(|deadline| deadline <= turn.now) && !blocked {
            return self.run(Errand::Late, turn); // a steady drip may never be found waiting
        }
        if !turn.house.server.is_stopping() || self.told == Told::Yes {
            return Some(self.park(turn, blocked));
        }
        if self.told == Told::No {
            self.sweep();
            return None;
        }
        self.told = Told::Yes;
        match self.next {
            Next::Read { .. } => self.tell(Event::Stopping, turn),
            _ if blocked || turn.now < self.last_answered() + LAST_REQUEST => {}
            _ => self.next = Next::Close,
        }
        None
    }

    pub(super) fn park(&mut self, turn: &TurnAtDesk<'_>, blocked: bool) -> Outcome {
        let reads = !blocked || self.may_read_while_owing(turn);
        let resting = matches!(self.next, Next::Rest { .. }) && !blocked;
        // A rest begins when all is written: until then the clock of writing is the only one.
        let owes = blocked && matches!(self.next, Next::Rest { .. });
        let reading_deadline = if reads && !owes { self.read_deadline() } else { None };
        Outcome::Park(Wish {
            mark: Mark { readable: reads, writable: blocked, closed: false },
            deadline: reading_deadline.into_iter().chain(self.write_deadline(turn)).min(),
            resting: resting.then_some(self.since),
            // Who takes nothing and may not ask for more is told as soon as that has changed.
            told: self.told == Told::Yes || !reads,
        })
    }

    /// When the stage, or the rest, is over.
    pub(super) fn read_deadline(&self) -> Option<Instant> {
        match self.next {
            Next::Rest { .. } if self.told == Told::Yes => Some(self.last_answered() + LAST_REQUEST),
            Next::Rest { within } => self.last_answered().checked_add(within?),
            Next::Read { within, .. } => self.since.checked_add(within?),
            _ => None,
        }
    }

    pub(super) fn write_deadline(&self, turn: &TurnAtDesk<'_>) -> Option<Instant> {
        self.blocked_since?.checked_add(turn.house.write_timeout?)
    }

    /// Since when it could have asked again, or for the first time.
    fn last_answered(&self) -> Instant {
        self.wrote.map_or(self.since, |wrote| wrote.max(self.since))
    }

    /// All is written: the end, at once where the client has surely read it or never will, else half-closed first.
    /// `None`: linger.
    pub(super) fn close(&mut self, turn: &mut TurnAtDesk<'_>) -> Option<Outcome> {
        let input = &turn.desk.input;
        let all_used = input.is_empty() && !self.mark.readable && !self.midway;
        let unread_is_likely = self.wrote.is_some_and(|wrote| turn.now < wrote + LINGER);
        if input.ended() || all_used || !unread_is_likely || self.transport.shut_down_writing().is_err() {
            return Some(Outcome::Gone);
        }
        self.lingering = Some(Lingering { since: turn.now, heard: turn.now });
        self.mark.readable = true;
        None
    }

    /// Half-closed: what the client still sends is read and forgotten, until it has read the end, or time is up.
    pub(super) fn linger(&mut self, turn: &mut TurnAtDesk<'_>) -> Outcome {
        while turn.share > 0 {
            turn.desk.input.clear();
            match turn.desk.input.fill(|room| self.transport.read(room)) {
                Ok((0, _)) => return Outcome::Gone,
                Ok((count, _)) => {
                    turn.share = turn.share.saturating_sub(count);
                    self.lingering.iter_mut().for_each(|lingering| lingering.heard = turn.now);
                }
                Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => {
                    return Outcome::Park(Wish {
                        mark: Mark { readable: true, writable: false, closed: false },
                        deadline: self.linger_deadline(),
                        resting: self.lingering.as_ref().map(|lingering| lingering.since), // it has had its answer
                        told: true,
                    });
                }
                Err(_) => return Outcome::Gone,
            }
        }
        if self.linger_deadline().is_none_or(|deadline| deadline <= turn.now) { Outcome::Gone } else { Outcome::Queue }
    }

    fn linger_deadline(&self) -> Option<Instant> {
        let Lingering { since, heard } = self.lingering.as_ref()?;
        Some((*heard + LINGER).min(*since + LONGEST_LINGER))
    }
}
