//! One client: write what is owed, ask the conversation, read what it wants; a fair share a turn, never waiting.
//!
//! Called by `workers`, a turn at a time; `waiting` is the part of it that has nothing to do just now, `closing` the part
//! that ends it; it uses `transport` for bytes and `protocol` for meaning.
//! What becomes of it after a turn is an [`Outcome`]: the worker parks it, queues it or asks for its permit.

mod closing; // the end: shutdown, lingering, reset
mod pace; // how fast the client sends and takes
mod taking; // leaving the engine
mod waiting; // parking, its deadlines, the news of a shutdown

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use log::{debug, error};

use super::client::Client;
use super::input::Input;
use super::output::Output;
use super::protocol::{Conversation, Event, Next, Protocol, ServerState, Stage, Turn};
use super::scheduler::{Link, Readiness, Token, Wait, Work};
use super::slow_handlers::CurrentHandler;
use super::sync;
use super::sys::{self, Registry};
use super::transport::{Transport, Written};
pub use closing::Leftover;
use closing::Lingering;
use pace::Pace;
pub use pace::{MinRate, SendLimits};
pub use taking::Parts;

/// A connection, with all that must be remembered of it between turns. Buffers belong to the worker.
pub struct Connection<R> {
    transport: Transport,
    client: Client,
    conversation: Option<Box<dyn Conversation>>,
    next: Next,
    stage: Option<Stage>,
    since: Instant,          // the beginning of the stage, or of being idle
    wrote: Option<Instant>,  // when the client last took something of what was owed
    pace: Option<Box<Pace>>, // while it is waited for with something owed, or within a message
    polled: Option<Instant>, // when the poll that brought its bytes returned
    readiness: Readiness,
    causes: Causes,
    shutdown: ShutdownNotice,
    midway: bool, // it ended while more was awaited of the client
    begun: bool,  // a handler has given out a part of its answer, and is asked for more
    ended: bool,  // the client has sent its last byte
    lingering: Option<Box<Lingering>>,
    unused: Vec<u8>,
    owed: Option<Box<Output>>,
    registration: R, // dropped last, after the stream above is closed
}

/// A connection's entry in the table, and whoever counts it.
pub trait Registered {
    fn link(&self) -> &Arc<Link>;
}

/// What else than readiness brings a connection to its turn. Several may come before the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    /// A deadline has passed.
    pub late: bool,
    /// No permit was to be had.
    pub no_permit: bool,
    /// No thread was to be had.
    pub no_thread: bool,
    /// Room is short: its descriptor is wanted.
    pub evicted: bool,
    /// Its client is gone, and the conversation has not been told.
    pub gone: bool,
    /// It is over, and waits for a permit to be dropped with.
    pub dropped: bool,
}

/// How far a connection knows of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ShutdownNotice {
    None,
    ReadOnceMore,
    Seen,
}

/// What becomes of a connection after a turn.
pub enum Outcome {
    /// Wait for this.
    Park(Wait),
    /// Its share is used up: others first.
    Requeue,
    /// It needs a permit for this work.
    AwaitPermit(Work),
    /// It leaves the engine, for a thread of its own.
    Take,
    /// It is over.
    Closed,
}

/// The permit a turn runs with, as far as a connection deals with it. Implemented by `workers`.
pub trait PermitAccess {
    /// Have a permit for this work and say that what follows may block. For a handler a permit that was used for one
    /// already is given up to those who wait. False: none is to be had, wait for one.
    fn begin(&mut self, work: Work, now: Instant) -> bool;
}

/// The buffers that a worker lends to whichever connection it serves.
#[derive(Default)]
pub struct Buffers {
    pub input: Input,
    pub output: Output,
}

/// What all turns of one worker have in common.
pub struct TurnSettings<'a> {
    pub protocol: &'a dyn Protocol,
    pub registry: &'a Registry,
    pub send_limits: &'a SendLimits,
    pub server: &'a dyn ServerState,
    pub current: &'a CurrentHandler,
}

/// Bytes a turn may move in each direction, and how often it may ask the conversation.
const SHARE: usize = 512 * 1024;
const QUESTIONS: usize = 64;
/// With no more than this owed, reading goes on.
const OWED_WHILE_READING: u64 = 64 * 1024;

impl<R: Registered> Connection<R> {
    /// A connection that was just accepted.
    pub fn new(transport: Transport, client: Client, registration: R, now: Instant) -> Connection<R> {
        Connection {
            transport,
            client,
            conversation: None,
            next: Next::Again,
            stage: None,
            since: now,
            wrote: None,
            pace: None,
            polled: None,
            readiness: Readiness::NONE,
            causes: Causes::default(),
            shutdown: ShutdownNotice::None,
            midway: false,
            begun: false,
            ended: false,
            lingering: None,
            unused: Vec::new(),
            owed: None,
            registration,
        }
    }

    /// Who it is.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The token of its table entry.
    pub fn token(&self) -> Token {
        self.registration.link().token()
    }

    /// The poller saw this, now or while the connection was elsewhere.
    pub fn saw(&mut self, readiness: Readiness) {
        self.readiness.merge(readiness);
    }

    /// Its bytes were brought by the poll that returned then; `None` where other things have happened since.
    pub fn brought_by(&mut self, polled: Option<Instant>) {
        self.polled = polled;
    }

    /// What brings it to its next turn, besides readiness.
    pub fn causes(&mut self) -> &mut Causes {
        &mut self.causes
    }

    /// Take a turn.
    pub fn turn(
        &mut self,
        buffers: &mut Buffers,
        permit: &mut dyn PermitAccess,
        settings: &TurnSettings<'_>,
        now: Instant,
    ) -> Outcome {
        self.unpack(buffers);
        if let Some(pace) = &mut self.pace {
            pace.resume(self.polled.unwrap_or(now));
        }
        let mut turn = ConnectionTurn {
            buffers,
            permit,
            settings,
            now,
            wall: None,
            share: SHARE,
            questions: QUESTIONS,
            may_block: None,
            has_read: false,
        };
        let outcome = self.run(&mut turn);
        self.pack(buffers, &outcome);
        outcome
    }

    fn unpack(&mut self, buffers: &mut Buffers) {
        buffers.input.begin(&self.unused, self.ended);
        self.unused = Vec::new();
        if let Some(owed) = self.owed.take() {
            buffers.output = *owed;
        }
    }

    fn pack(&mut self, buffers: &mut Buffers, outcome: &Outcome) {
        if !matches!(outcome, Outcome::AwaitPermit(_)) {
            self.polled = None;
        }
        if let Outcome::Closed = outcome {
            if !buffers.output.is_empty() {
                self.transport.reset(); // a part must not look like the whole
            }
            buffers.output.clear();
            return;
        }
        if self.lingering.is_some() {
            buffers.input.clear();
        }
        if !buffers.input.is_empty() {
            self.unused = buffers.input.bytes().to_vec();
        }
        self.ended = buffers.input.ended();
        if buffers.output.is_empty() {
            buffers.output.clear();
        } else {
            let mut owed = std::mem::take(&mut buffers.output);
            owed.shrink();
            self.owed = Some(Box::new(owed));
        }
    }

    fn run(&mut self, turn: &mut ConnectionTurn<'_>) -> Outcome {
        let mut flow = self.handle_causes(turn);
        loop {
            match flow {
                ControlFlow::Continue(()) => flow = self.step(turn),
                ControlFlow::Break(outcome) => return outcome,
            }
        }
    }

    /// Write what is owed, then do what the conversation said last.
    fn step(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        if self.lingering.is_some() {
            return self.linger(turn);
        }
        let blocked = match self.write(turn) {
            Written::All => false,
            Written::Blocked => true,
            Written::Share => return ControlFlow::Break(Outcome::Requeue),
            Written::File => return turn.begin(Work::Short), // the disk may take its time
            Written::Short => return self.abort("a file is shorter than its answer promised"),
            Written::Gone => return self.fail_to_send(turn),
        };
        if blocked && !self.may_read_while_owing(turn) {
            return ControlFlow::Break(self.park(turn, true));
        }
        if turn.questions == 0 || turn.share == 0 {
            return ControlFlow::Break(Outcome::Requeue);
        }
        match self.next {
            Next::Again if self.conversation.is_none() => self.meet(turn),
            Next::Again => self.ask(turn),
            Next::Handle if self.begun => self.ask_with_permit(Work::Begun, turn),
            Next::Handle => self.ask_with_permit(Work::Handler, turn),
            Next::Brief => self.ask_with_permit(Work::Short, turn),
            Next::Read { .. } | Next::Idle { .. } => match self.receive(turn) {
                Received::News => self.ask(turn),
                Received::EndAgain => self.set_next(Next::Close, turn.now),
                Received::TooMuch => self.abort("the conversation left 64 KiB unused and wants more"),
                Received::Gone => self.fail_to_send(turn),
                Received::Nothing => self.wait(turn, blocked),
            },
            Next::Take => ControlFlow::Break(Outcome::Take),
            Next::Close | Next::Linger => self.close(turn),
            Next::Unchanged => unreachable!("`set_next` keeps what was said before"),
            Next::Abort => self.abort("the conversation broke off"),
        }
    }

    /// What else than readiness brought it here.
    fn handle_causes(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        if self.causes == Causes::default() {
            return ControlFlow::Continue(());
        }
        if self.causes.dropped {
            return ControlFlow::Break(Outcome::Closed);
        }
        if self.causes.gone {
            return self.fail_to_send(turn);
        }
        if self.causes.no_permit {
            self.tell(Event::NoPermit, turn)?;
            self.causes.no_permit = false;
            if self.next == Next::Handle {
                self.set_next(Next::Close, turn.now)?; // or it would be asked again and again
            }
        }
        if self.causes.no_thread {
            self.tell(Event::NoThread, turn)?;
            self.causes.no_thread = false;
            if self.next == Next::Take {
                self.set_next(Next::Close, turn.now)?;
            }
        }
        if self.causes.evicted {
            self.give_way(turn)?;
        }
        if self.causes.late {
            self.be_late(turn)?;
            self.causes.late = false;
        }
        ControlFlow::Continue(())
    }

    /// The first turn: does the protocol want this client?
    fn meet(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        turn.begin(Work::Meet)?;
        match turn.settings.protocol.meet(&self.client) {
            Some(conversation) => {
                self.conversation = Some(conversation);
                self.ask(turn)
            }
            None => self.turn_away(turn),
        }
    }

    /// Ask the conversation what comes next.
    fn ask(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        turn.questions -= 1;
        let Some(conversation) = &mut self.conversation else { return self.abort("nobody to talk with") };
        let shutting_down = self.causes.evicted;
        let next =
            conversation.turn(&mut turn.lend(&self.client, self.registration.link(), self.polled, shutting_down));
        self.set_next(next, turn.now)
    }

    fn ask_with_permit(&mut self, work: Work, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        if self.next == Next::Handle {
            turn.may_block = None; // each handler asks for itself: others may be waiting for the permit
        }
        turn.begin(work)?;
        if self.registration.link().is_reset() {
            return self.fail_to_send(turn); // nobody is there to read the answer
        }
        let asks_more = !turn.buffers.input.is_empty();
        let flow = self.ask(turn);
        // Without input nothing else can have been asked: it goes on with what it has given out a part of.
        self.begun |= self.next == Next::Handle && !asks_more && !turn.buffers.output.is_empty();
        turn.settings.current.end();
        self.polled = None; // what the disk says now may be older than the next request
        (turn.now, turn.wall) = (sync::now(), None); // a handler may take its time
        flow
    }

    /// Tell the conversation of an event.
    fn tell(&mut self, event: Event, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        turn.begin(Work::Short)?;
        turn.questions = turn.questions.saturating_sub(1);
        let Some(conversation) = &mut self.conversation else { return ControlFlow::Continue(()) };
        let shutting_down = self.causes.evicted;
        let next =
            conversation.event(event, &mut turn.lend(&self.client, self.registration.link(), None, shutting_down));
        self.set_next(next, turn.now)
    }

    /// The clock of a stage starts when it is first named, that of being idle whenever it is.
    fn set_next(&mut self, next: Next, now: Instant) -> ControlFlow<Outcome> {
        let next = match (next, self.next) {
            (Next::Unchanged, Next::Idle { .. }) => return ControlFlow::Continue(()),
            (Next::Unchanged, Next::Read { .. }) if self.stage.is_some() => return ControlFlow::Continue(()),
            (Next::Unchanged, _) => Next::Close, // of a stage that is over, or of no wait
            (next, _) => next,
        };
        self.midway |= next == Next::Linger || next == Next::Close && matches!(self.next, Next::Read { .. });
        match next {
            Next::Read { stage, .. } if self.stage != Some(stage) => {
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

    fn write(&mut self, turn: &mut ConnectionTurn<'_>) -> Written {
        if turn.buffers.output.is_empty() {
            return Written::All;
        }
        let before = self.transport.sent();
        let written = self.transport.write(&mut turn.buffers.output, turn.may_block.is_some(), &mut turn.share);
        let count = self.transport.sent() - before;
        if count > 0 {
            self.wrote = Some(turn.now);
            self.pace.iter_mut().for_each(|pace| pace.took(count));
        }
        if let Written::Blocked = written {
            let token = sys::Token(self.token().to_usize());
            if let Err(err) = self.transport.want_to_write(turn.settings.registry, token) {
                error!("can't wait for {} to read: {err}", self.client);
                return Written::Gone;
            }
        }
        written
    }

    fn may_read_while_owing(&self, turn: &ConnectionTurn<'_>) -> bool {
        matches!(self.next, Next::Read { .. } | Next::Idle { .. }) && turn.buffers.output.owed() <= OWED_WHILE_READING
    }

    /// Read once, if its readiness says that there is something.
    fn receive(&mut self, turn: &mut ConnectionTurn<'_>) -> Received {
        let input = &mut turn.buffers.input;
        if input.ended() {
            return Received::EndAgain;
        }
        if input.is_full() {
            return Received::TooMuch;
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
                    self.readiness.readable = false; // a short read: the next bytes give an edge of their own
                }
                turn.share = turn.share.saturating_sub(count);
                self.pace.iter_mut().for_each(|pace| pace.received(count));
                if std::mem::replace(&mut turn.has_read, true) {
                    self.polled = None; // younger than the poll
                }
                Received::News
            }
            Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => {
                self.readiness.readable = false;
                Received::Nothing
            }
            Err(err) => {
                debug!("{} is gone: {err}", self.client);
                Received::Gone
            }
        }
    }
}

enum Received {
    News,
    Nothing,
    EndAgain,
    TooMuch,
    Gone,
}

/// What a connection has before it for one turn.
struct ConnectionTurn<'a> {
    buffers: &'a mut Buffers,
    permit: &'a mut dyn PermitAccess,
    settings: &'a TurnSettings<'a>,
    now: Instant,
    wall: Option<SystemTime>, // the same moment, once it was asked for
    share: usize,
    questions: usize,
    may_block: Option<Work>, // a permit for this is held, and others know that this worker may be away
    has_read: bool,
}

impl ConnectionTurn<'_> {
    /// What follows may block.
    fn begin(&mut self, work: Work) -> ControlFlow<Outcome> {
        if self.may_block.is_none_or(|held| held > work) {
            if !self.permit.begin(work, self.now) {
                return ControlFlow::Break(Outcome::AwaitPermit(work));
            }
            self.may_block = Some(work);
        }
        ControlFlow::Continue(())
    }

    /// The part of it that a conversation sees.
    fn lend<'a>(
        &'a mut self,
        client: &'a Client,
        link: &'a Arc<Link>,
        polled: Option<Instant>,
        shutting_down: bool,
    ) -> Turn<'a> {
        let wall = *self.wall.get_or_insert_with(SystemTime::now);
        let (input, output) = (&mut self.buffers.input, &mut self.buffers.output);
        let server = Some(self.settings.server);
        let current = Some(self.settings.current);
        Turn { input, output, client, now: self.now, wall, polled, link: Some(link), server, shutting_down, current }
    }
}
