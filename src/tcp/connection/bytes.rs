//! Bytes in and out: writes the output, reads input; never waits.

use std::ops::ControlFlow;

use log::Level;

use super::super::protocol::Next;
use super::super::sys;
use super::super::transport::Written;
use super::{Connection, ConnectionTurn, Outcome, Registered, Work};

/// Up to this much unsent output, reading goes on.
const OWED_WHILE_READING: u64 = 64 * 1024;

/// Up to this much output waits for that of the next handler.
const OWED_BY_SHORT_HANDLERS: u64 = 16 * 1024;

/// The result of reading.
pub(super) enum Received {
    News,
    Nothing,
    EndAgain,
    /// Bytes that mean nothing yet.
    Part,
    /// The client broke the protocol of the layer: this comes next.
    Broken(Next),
    TooMuch,
    Gone,
}

impl<R: Registered> Connection<R> {
    pub(super) fn write(&mut self, turn: &mut ConnectionTurn<'_>) -> Written {
        let is_layered = self.is_layered();
        if turn.buffers.output.is_empty() && (!is_layered || turn.buffers.sealed.is_empty()) {
            return Written::All;
        }
        let before = self.transport.sent();
        let reads_files = turn.may_read_files();
        let written = match is_layered {
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

    /// Calls the next handler if the output can be written together with its response. With 16 requests at once, `hello`
    /// takes less than half of the CPU time. `None`: the output is to be written first.
    #[cold]
    #[inline(never)] // most requests arrive alone
    pub(super) fn ask_before_writing(&mut self, turn: &mut ConnectionTurn<'_>) -> Option<ControlFlow<Outcome>> {
        if !self.output_waits(turn) {
            return None;
        }
        match self.ask_with_permit(Work::Handler, turn) {
            ControlFlow::Break(Outcome::AwaitPermit(_)) => None, // which may take long
            flow => Some(flow),
        }
    }

    fn output_waits(&self, turn: &ConnectionTurn<'_>) -> bool {
        self.next == Next::Handle
            && !self.begun
            && turn.questions > 0
            && turn.share > 0
            && turn.buffers.output.owed() <= OWED_BY_SHORT_HANDLERS
            && !turn.buffers.has_spent()
            && turn.permit.handlers_are_short()
    }

    pub(super) fn may_read_while_owing(&self, turn: &ConnectionTurn<'_>) -> bool {
        matches!(self.next, Next::Read { .. } | Next::Wait { .. } | Next::Idle { .. })
            && turn.buffers.owed() <= OWED_WHILE_READING
            && !turn.buffers.has_spent() // they wait for a permit, and more would come
            && !turn.settings.server.kept().is_full() // the response would be unsent output as well
    }

    /// The client has sent its last byte, and the conversation knows.
    fn after_the_end(&mut self) -> Received {
        match self.next {
            Next::Wait { .. } if self.registration.link().is_reset() => Received::Gone,
            Next::Wait { .. } => {
                self.transport.find_out_if_it_is_gone();
                Received::Nothing
            }
            _ => Received::EndAgain,
        }
    }

    /// No more can be read ahead. Of a client whose conversation waits for something else, the rest stays in the kernel
    /// until the conversation has used some of it.
    #[cold]
    fn full(&self) -> Received {
        match self.next {
            Next::Wait { .. } if self.registration.link().is_reset() => Received::Gone,
            Next::Wait { .. } => Received::Nothing,
            _ => Received::TooMuch,
        }
    }

    /// Reads once, if the readiness indicates that there is something.
    pub(super) fn receive(&mut self, turn: &mut ConnectionTurn<'_>) -> Received {
        if self.is_layered() {
            return self.receive_above_layer(turn);
        }
        if turn.buffers.input.ended() {
            return self.after_the_end();
        }
        self.read(false, turn)
    }

    fn receive_above_layer(&mut self, turn: &mut ConnectionTurn<'_>) -> Received {
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

    /// Read once, for the layer or for the conversation.
    #[inline]
    fn read(&mut self, for_layer: bool, turn: &mut ConnectionTurn<'_>) -> Received {
        let input = if for_layer { &mut turn.buffers.raw } else { &mut turn.buffers.input };
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
                    turn.polled = None; // younger than the poll
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
