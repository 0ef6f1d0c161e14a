//! The context of a turn: the buffers and settings of its worker, its permit, its share.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use log::Level;

use super::super::client::Client;
use super::super::input::Input;
use super::super::output::Output;
use super::super::protocol::{Handover, Protocol, ServerState, Turn};
use super::super::scheduler::{Link, MayBlock, Work};
use super::super::slow_handlers::CurrentHandler;
use super::super::sync::Instant;
use super::super::sys::Registry;
use super::{Outcome, SendLimits};

/// The permit of a turn, as a connection uses it. Implemented by `workers`.
pub trait PermitAccess {
    /// Acquires a permit for this work and announces that the following code may block. For a handler, a permit that
    /// was used for one before goes to connections that wait. `None`: there is none, wait for one.
    fn begin(&mut self, work: Work, now: Instant) -> Option<MayBlock>;

    /// Records the duration of a handler.
    fn handler_took(&mut self, wall: Duration);

    /// Whether handlers usually end within 100 µs.
    fn handlers_are_short(&self) -> bool;

    /// Announces that a logger is called, which may block. It has no permit.
    fn begin_to_log(&mut self, now: Instant);
}

/// A record of TLS, with its head and tag, is no longer.
const RECORD: usize = 18 * 1024;

/// The buffers that a worker lends to the connection that it serves.
#[derive(Default)]
pub struct Buffers {
    pub input: Input,
    pub output: Output,
    /// Below a connection's layer: received bytes, and sealed output.
    pub(super) raw: Input,
    pub(super) sealed: Output,
}

impl Buffers {
    /// How many bytes are unsent.
    pub(super) fn owed(&self) -> u64 {
        self.output.owed() + self.sealed.owed()
    }

    /// How many of them are in memory that only this connection uses.
    pub(super) fn owed_memory(&self) -> u64 {
        self.output.owed_memory() // what is sealed is bounded, and counted with the connection
    }

    /// Whether shared pieces are sent, and still to be dropped. Above a layer a piece is spent once it is sealed, and
    /// its client has none of it.
    pub(super) fn has_spent(&self) -> bool {
        self.output.has_spent() && self.sealed.is_empty()
    }

    /// How many bytes are received and unused.
    pub(super) fn arrived(&self) -> usize {
        // The beginning of a record is counted with the connection.
        self.input.bytes().len() + self.raw.bytes().len().saturating_sub(RECORD)
    }

    /// They will not be used.
    pub(super) fn drop_arrived(&mut self) {
        for input in [&mut self.input, &mut self.raw] {
            input.consume(input.bytes().len());
        }
    }

    pub(super) fn owes_nothing(&self) -> bool {
        self.output.is_empty() && self.sealed.is_empty()
    }
}

/// What all turns of one worker have in common.
pub struct TurnSettings<'a> {
    pub protocols: &'a [Arc<dyn Protocol>],
    pub registry: &'a Registry,
    pub send_limits: &'a SendLimits,
    pub server: &'a dyn ServerState,
    pub current: &'a CurrentHandler,
}

/// How many bytes a turn can move, in or out, and how often it can call the conversation. One MiB of a file, with its
/// head, is one `sendfile` and one turn of 0.1 to 0.3 ms. With 512 KiB it was three of each, and 2 MiB were no faster.
pub(super) const SHARE: usize = (1024 + 16) * 1024;
pub(super) const QUESTIONS: usize = 64;

/// The context of a connection for one turn.
pub(super) struct ConnectionTurn<'a> {
    pub(super) buffers: &'a mut Buffers,
    pub(super) permit: &'a mut dyn PermitAccess,
    pub(super) settings: &'a TurnSettings<'a>,
    pub(super) polled: Option<Instant>, // when the poll that brought its bytes returned
    pub(super) now: Instant,
    pub(super) wall: Option<SystemTime>, // the same moment, once it was needed
    pub(super) share: usize,
    pub(super) questions: usize,
    pub(super) may_block: Option<MayBlock>, // with the permit that is held, from `begin`
    pub(super) has_read: bool,
    pub(super) is_late: bool, // a deadline has passed; checked once received bytes are read
    pub(super) gives_up_half: bool, // room is short, and a message is incomplete; also checked then
    pub(super) handover: Option<Box<Handover>>, // given by the conversation that was asked
    pub(super) output_can_wait: bool, // for the output of the next handler, by the same conversation
}

impl ConnectionTurn<'_> {
    /// The following code may block: acquires a permit, unless a suitable one is held.
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

    /// Drops the shared pieces that are sent, with a permit. If there is none, unsent pieces are written without one.
    #[inline]
    pub(super) fn drop_spent(&mut self) -> ControlFlow<Outcome> {
        if self.buffers.has_spent() {
            let may_block = self.begin(Work::Short)?;
            self.buffers.output.drop_of_others(may_block);
        }
        ControlFlow::Continue(())
    }

    /// If its permit is suitable for reading a part of a file. One for meeting clients is not: a slow disk would keep
    /// new clients waiting.
    pub(super) fn may_read_files(&self) -> Option<MayBlock> {
        self.may_block.filter(|held| held.allows(Work::Short))
    }

    /// Logs, which may block. Announces it first.
    pub(super) fn log(&mut self, level: Level, text: fmt::Arguments<'_>) {
        if level <= log::max_level() {
            self.permit.begin_to_log(self.now);
            log::log!(level, "{text}");
        }
    }

    /// The part of it that a conversation sees.
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
            handover: Some(&mut self.handover),
            output_can_wait: Some(&mut self.output_can_wait),
        }
    }

    /// The part of it that a layer sees.
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
