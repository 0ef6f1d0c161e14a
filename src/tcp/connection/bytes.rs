//! Writes the output and reads input. Never waits.

use std::ops::ControlFlow;
use std::time::Duration;

use log::Level;

use super::super::protocol::Action;
use super::super::sys;
use super::super::transport::Written;
use super::{Connection, ConnectionTurn, Outcome, Progress, Registered, Work};

/// Input is read while at most this much output is unsent.
const OWED_WHILE_READING: u64 = 64 * 1024;

/// How much output can wait to be written together with the output of the next handler.
const OWED_BY_SHORT_HANDLERS: u64 = 16 * 1024;

/// After a handler that took this long, the output does not wait for the next one, which may take as long.
pub(super) const LONG_HANDLER: Duration = Duration::from_millis(1);

pub(super) enum Received {
    News,
    Nothing,
    EndAgain,
    /// Bytes of an incomplete record.
    Part,
    /// The client violated the protocol of the codec: continue with this `Action`.
    Broken(Action),
    TooMuch,
    Gone,
}

impl<R: Registered> Connection<R> {
    pub(super) fn write(&mut self, turn: &mut ConnectionTurn<'_>) -> Written {
        let has_codec = self.has_codec();
        if turn.buffers.output.is_empty() && (!has_codec || turn.buffers.sealed.is_empty()) {
            return Written::All;
        }
        let before = self.transport.sent();
        let reads_files = turn.may_read_files();
        let written = match has_codec {
            true => self.write_sealed(turn),
            false => self.transport.write(&mut turn.buffers.output, reads_files, &mut turn.share),
        };
        let count = self.transport.sent() - before;
        if count > 0 {
            self.wrote = Some(turn.now);
            self.pace().into_iter().for_each(|pace| pace.took(count));
        }
        if let Written::Blocked = written {
            let token = sys::Token(self.token().to_usize());
            if let Err(err) = self.transport.want_to_write(turn.settings.registry, token) {
                turn.log(Level::Error, format_args!("can't wait for {} to read: {err}", self.client));
                return Written::Gone;
            }
        }
        written
    }

    /// Calls the next handler if the output can be written together with its response. With 16 pipelined requests,
    /// `hello` takes less than half of the CPU time of a write per response. `None`: the output must be written first.
    #[cold]
    #[inline(never)] // most requests arrive alone
    pub(super) fn ask_before_writing(&mut self, turn: &mut ConnectionTurn<'_>) -> Option<ControlFlow<Outcome>> {
        if !self.output_waits(turn) {
            return None;
        }
        match self.ask_with_permit(Work::Handler, turn) {
            ControlFlow::Break(Outcome::AwaitPermit(_)) => None, // which may take a long time
            flow => Some(flow),
        }
    }

    /// Returns whether the output is written together with the output of the next handler.
    fn output_waits(&self, turn: &ConnectionTurn<'_>) -> bool {
        self.next == Action::Handle
            && self.progress != Progress::Begun
            && turn.questions > 0
            && turn.share > 0
            && turn.buffers.output.owed() <= OWED_BY_SHORT_HANDLERS
            && !turn.buffers.has_spent()
            && turn.permit.handlers_are_short()
    }

    pub(super) fn may_read_while_owing(&self, turn: &ConnectionTurn<'_>) -> bool {
        matches!(self.next, Action::Read { .. } | Action::Wait { .. } | Action::Idle { .. })
            && turn.buffers.owed() <= OWED_WHILE_READING
            && !turn.buffers.has_spent() // they wait for a permit, and there would be more of them
            && !turn.settings.server.input_memory().is_full() // the response would also be unsent output
    }

    /// Called when the client has closed its sending side, and the conversation has been notified.
    fn after_the_end(&mut self) -> Received {
        match self.next {
            Action::Wait { .. } if self.registration.link().is_reset() => Received::Gone,
            Action::Wait { .. } => {
                self.transport.find_out_if_it_is_gone();
                Received::Nothing
            }
            _ => Received::EndAgain,
        }
    }

    /// Called when no more can be read ahead. If the conversation waits for something other than bytes, further bytes
    /// stay in the kernel until it has used some.
    #[cold]
    fn full(&self) -> Received {
        match self.next {
            Action::Wait { .. } if self.registration.link().is_reset() => Received::Gone,
            Action::Wait { .. } => Received::Nothing,
            _ => Received::TooMuch,
        }
    }

    /// Reads once, if the connection is marked as readable.
    pub(super) fn receive(&mut self, turn: &mut ConnectionTurn<'_>) -> Received {
        if self.has_codec() {
            return self.receive_above_codec(turn);
        }
        if turn.buffers.input.ended() {
            return self.after_the_end();
        }
        self.read(false, turn)
    }

    fn receive_above_codec(&mut self, turn: &mut ConnectionTurn<'_>) -> Received {
        let Some(carrier) = self.carrier() else { return Received::Nothing };
        let is_unopened = carrier.is_unopened;
        if std::mem::take(&mut carrier.has_news) {
            return Received::News;
        }
        if turn.buffers.input.ended() {
            return self.after_the_end();
        }
        if turn.buffers.input.is_full() {
            return self.full();
        }
        if is_unopened {
            return self.open(turn);
        }
        match self.read(true, turn) {
            Received::News => self.open(turn),
            other => other,
        }
    }

    /// Reads once, for the codec or for the conversation.
    #[inline]
    fn read(&mut self, for_codec: bool, turn: &mut ConnectionTurn<'_>) -> Received {
        let input = if for_codec { &mut turn.buffers.raw } else { &mut turn.buffers.input };
        if input.is_full() {
            return self.full();
        }
        if !self.readiness.readable {
            return Received::Nothing;
        }
        match input.fill(|room| self.transport.read(room)) {
            Ok((0, _)) => {
                input.end();
                self.registration.link().peer_closed(false);
                Received::News
            }
            Ok((count, filled)) => {
                if !filled && !self.readiness.closed {
                    self.readiness.readable = false; // a short read: the next bytes cause a new edge
                }
                turn.share = turn.share.saturating_sub(count);
                self.pace().into_iter().for_each(|pace| pace.received(count));
                if std::mem::replace(&mut turn.has_read, true) {
                    turn.polled = None; // these bytes may be younger than the poll
                }
                Received::News
            }
            Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => {
                self.readiness.readable = false;
                Received::Nothing
            }
            Err(err) => {
                turn.log(Level::Debug, format_args!("{} is gone: {err}", self.client));
                Received::Gone
            }
        }
    }
}
