//! The context of a turn: the buffers and settings of the worker, the permit, and the turn's share.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use log::Level;

use super::super::client::Client;
use super::super::contain::contain;
use super::super::input::Input;
use super::super::output::Output;
use super::super::protocol::{Handover, Protocol, ServerState, Successor, Turn};
use super::super::scheduler::{Link, MayBlock, Work};
use super::super::slow_handlers::CurrentHandler;
use super::super::sync::{self, Instant};
use super::super::sys::Registry;
use super::{Outcome, SendLimits};

/// The permit of a turn, as a connection uses it. Implemented by `workers`.
pub trait PermitAccess {
    /// Acquires a permit for this work and announces that the following code may block. A permit that was used for a
    /// handler is passed to waiting connections before another handler is called. `None`: no permit is free, wait for
    /// one.
    fn begin(&mut self, work: Work, now: Instant) -> Option<MayBlock>;

    fn handler_took(&mut self, wall: Duration);

    /// Returns whether handlers usually end within 100 µs.
    fn handlers_are_short(&self) -> bool;

    /// Announces that a logger is called, which may block, without a permit.
    fn begin_to_log(&mut self, now: Instant);
}

/// The maximum length of a TLS record with its head and tag.
const RECORD: usize = 18 * 1024;

/// The buffers that a worker lends to the connection that it serves.
#[derive(Default)]
pub struct Buffers {
    pub input: Input,
    pub output: Output,
    /// Below a connection's codec: received bytes, and sealed output.
    pub(super) raw: Input,
    pub(super) sealed: Output,
    /// Set by the conversation in this turn.
    pub(super) handover: Option<Box<Handover>>,
}

impl Drop for Buffers {
    /// A turn that hands its connection over and then panics leaves the successor here.
    fn drop(&mut self) {
        drop(self.handover.take().map(Successor::from));
    }
}

impl Buffers {
    /// Returns how many bytes are unsent.
    pub(super) fn owed(&self) -> u64 {
        self.output.owed() + self.sealed.owed()
    }

    /// Returns how many of the unsent bytes are in memory that only this connection uses.
    pub(super) fn owed_memory(&self) -> u64 {
        self.output.owed_memory() // sealed bytes are bounded, and counted with the connection
    }

    /// Returns whether shared pieces were sent and are still to be dropped. Above a codec, a piece counts as sent when
    /// it is sealed, before the client gets any of it.
    pub(super) fn has_spent(&self) -> bool {
        self.output.has_spent() && self.sealed.is_empty()
    }

    /// Returns how many bytes are received and unused.
    pub(super) fn arrived(&self) -> usize {
        // The beginning of a record is counted with the connection.
        self.input.bytes().len() + self.raw.bytes().len().saturating_sub(RECORD)
    }

    /// Drops the received bytes, because they will not be used.
    pub(super) fn drop_arrived(&mut self) {
        for input in [&mut self.input, &mut self.raw] {
            input.consume(input.bytes().len());
        }
    }

    pub(super) fn owes_nothing(&self) -> bool {
        self.output.is_empty() && self.sealed.is_empty()
    }
}

pub struct TurnSettings<'a> {
    pub protocols: &'a [Arc<dyn Protocol>],
    pub registry: &'a Registry,
    pub send_limits: &'a SendLimits,
    pub server: &'a dyn ServerState,
    pub current: &'a CurrentHandler,
}

/// How many bytes a turn can move, in or out; `QUESTIONS`: how often it can call the conversation. A file of 1 MiB,
/// with its head, takes one `sendfile` and one turn of 0.1 to 0.3 ms. With a share of 512 KiB it takes three of each,
/// and 2 MiB are not faster.
pub(super) const SHARE: usize = (1024 + 16) * 1024;
pub(super) const QUESTIONS: usize = 64;

pub(super) struct ConnectionTurn<'a> {
    pub(super) buffers: &'a mut Buffers,
    pub(super) permit: &'a mut dyn PermitAccess,
    pub(super) settings: &'a TurnSettings<'a>,
    pub(super) polled: Option<Instant>, // when the poll that reported its bytes returned
    pub(super) now: Instant,
    pub(super) wall: Option<SystemTime>, // the wall-clock time of the same moment, when needed
    pub(super) share: usize,
    pub(super) questions: usize,
    pub(super) may_block: Option<MayBlock>, // from `begin`, while a permit is held
    pub(super) has_read: bool,
    pub(super) was_called: bool,      // the conversation got a call of another thread
    pub(super) server_is_over: bool,  // the server has ended, so nobody is notified of the shutdown
    pub(super) is_late: bool,         // a deadline has passed; checked once received bytes are read
    pub(super) gives_up_half: bool,   // room is needed, and a message is incomplete; also checked after reading
    pub(super) output_can_wait: bool, // set by the conversation: its output can wait for that of the next handler
}

impl ConnectionTurn<'_> {
    /// Acquires a permit for the following code, which may block, unless a suitable permit is held.
    pub(super) fn begin(&mut self, work: Work) -> ControlFlow<Outcome, MayBlock> {
        if let Some(held) = self.may_block.filter(|held| held.allows(work)) {
            return ControlFlow::Continue(held);
        }
        let Some(may_block) = self.permit.begin(work, self.now) else {
            return ControlFlow::Break(Outcome::AwaitPermit(work));
        };
        self.may_block = Some(may_block);
        ControlFlow::Continue(may_block)
    }

    /// Updates the time after code that may have taken long. The deadline of what the client sends next begins there.
    pub(super) fn read_clock(&mut self) {
        (self.now, self.wall) = (sync::now(), None);
    }

    /// Drops the sent shared pieces, with a permit. If no permit is free, unsent pieces are written first, which needs
    /// none.
    #[inline]
    pub(super) fn drop_spent(&mut self) -> ControlFlow<Outcome> {
        if self.buffers.has_spent() {
            let may_block = self.begin(Work::Short)?;
            self.buffers.output.drop_of_others(may_block);
        }
        ControlFlow::Continue(())
    }

    /// Returns the permit if it is suitable for reading a part of a file. A permit for meeting clients is not, because
    /// a slow disk would keep new clients waiting.
    pub(super) fn may_read_files(&self) -> Option<MayBlock> {
        self.may_block.filter(|held| held.allows(Work::Short))
    }

    /// Announces code that may block, and logs.
    pub(super) fn log(&mut self, level: Level, text: fmt::Arguments<'_>) {
        if level <= log::max_level() {
            self.permit.begin_to_log(self.now);
            contain("the logger", || log::log!(level, "{text}"));
        }
    }

    /// Returns the turn that a conversation gets.
    pub(super) fn lend<'a>(
        &'a mut self,
        client: &'a Client,
        link: &'a Arc<Link>,
        polled: Option<Instant>,
        may_block: Option<MayBlock>,
        shutting_down: bool,
    ) -> Turn<'a> {
        let wall = *self.wall.get_or_insert_with(SystemTime::now);
        Turn {
            input: &mut self.buffers.input,
            output: &mut self.buffers.output,
            client,
            wall,
            now: self.now,
            polled,
            link: Some(link),
            server: Some(self.settings.server),
            shutting_down,
            current: Some(self.settings.current),
            may_block,
            blocking: None,
            handover: Some(&mut self.buffers.handover),
            output_can_wait: Some(&mut self.output_can_wait),
        }
    }

    /// Returns the turn that a codec gets.
    pub(super) fn lend_below<'a>(&'a mut self, client: &'a Client, link: &'a Arc<Link>) -> Turn<'a> {
        let wall = *self.wall.get_or_insert_with(SystemTime::now);
        Turn {
            input: &mut self.buffers.raw,
            output: &mut self.buffers.sealed,
            client,
            wall,
            now: self.now,
            polled: self.polled,
            link: Some(link),
            server: Some(self.settings.server),
            shutting_down: false,
            current: Some(self.settings.current),
            may_block: None,
            blocking: None,
            handover: None,
            output_can_wait: None,
        }
    }
}
