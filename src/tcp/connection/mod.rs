//! One client: write what is owed, ask the conversation, read what it wants; a fair share a turn, never waiting.
//!
//! Called by `workers`, a turn at a time; `waiting` is the part of it that has nothing to do just now, or never again;
//! it uses `transport` for bytes and the stair for meaning.
//! What becomes of it afterwards is an [`Outcome`]; it parks, queues and enters permits by its worker's scheduler.

mod waiting;

use std::time::{Duration, Instant, SystemTime};

use log::{debug, error};
use mio::Registry;

use super::client::Client;
use super::input::Input;
use super::output::Output;
use super::protocol::{Conversation, Event, Next, Protocol, ServerState, Stage, Turn};
use super::scheduler::{Readiness, Token, Wait};
use super::transport::{Transport, Written};

/// A connection, with all that must be remembered of it between turns. Buffers belong to the worker.
pub struct Connection<S> {
    transport: Transport,
    client: Client,
    conversation: Option<Box<dyn Conversation>>,
    next: Next,
    stage: Option<Stage>,
    since: Instant,                 // the stage's or the rest's beginning
    wrote: Option<Instant>,         // when the client last took something of what was owed
    blocked_since: Option<Instant>, // since when it takes nothing
    readiness: Readiness,
    poll: Option<u64>,
    cause: Option<Cause>,
    shutdown_seen: ShutdownNotice,
    midway: bool, // it ended while more was awaited of the client
    lingering: Option<Lingering>,
    unused: Vec<u8>,
    ended: bool,
    owed: Output,
    registration: S, // given back when the connection is dropped, after the stream above is closed
}

/// Where a connection sits.
pub trait Registered {
    fn token(&self) -> Token;
}

/// What else than readiness brought a connection to its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A deadline has passed.
    Late,
    /// No permit was to be had.
    NoPermit,
    /// It rests, and its descriptor is wanted.
    Evicted,
}

/// Half-closed, and heard out.
struct Lingering {
    since: Instant,
    heard: Instant, // when its last byte came
}

/// How far the news of a stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ShutdownNotice {
    No,
    ReadOnceMore,
    Yes,
}

/// What becomes of a connection after a turn.
pub enum Outcome {
    /// Wait for this.
    Park(Wait),
    /// Its share is used up: others first.
    Requeue,
    /// It wants a (fresh) permit.
    AwaitPermit,
    /// It is over.
    Closed,
}

/// The permit a turn is taken in.
pub trait PermitAccess {
    /// Whether there is one.
    fn is_held(&self) -> bool;
    /// Use a permit for one turn of the conversation that may block: the one that is guard, unless it was used so already
    /// and others stand in line for it, or else a free one. False: stand in line.
    fn spend(&mut self, now: Instant) -> bool;
    /// Have a permit for reading a file. False: stand in line.
    fn take_for_file(&mut self, now: Instant) -> bool;
}

/// What a worker lends to a connection for a turn.
pub struct Buffers {
    pub input: Input,
    pub output: Output,
}

/// What a turn needs to know of the server.
pub struct EngineContext<'a> {
    pub protocol: &'a dyn Protocol,
    pub registry: &'a Registry,
    pub write_timeout: Option<Duration>,
    pub server: &'a dyn ServerState,
}

/// Bytes a turn may move in each direction, and how often it may ask the conversation.
const SHARE: usize = 512 * 1024;
const QUESTIONS: usize = 64;
/// With no more than this owed, reading goes on.
const OWED_WHILE_READING: u64 = 64 * 1024;

impl<S: Registered> Connection<S> {
    /// A connection that was just accepted.
    pub fn new(transport: Transport, client: Client, registration: S, now: Instant) -> Connection<S> {
        Connection {
            transport,
            client,
            conversation: None,
            next: Next::Again,
            stage: None,
            since: now,
            wrote: None,
            blocked_since: None,
            readiness: Readiness::NONE,
            poll: None,
            cause: None,
            shutdown_seen: ShutdownNotice::No,
            midway: false,
            lingering: None,
            unused: Vec::new(),
            ended: false,
            owed: Output::new(),
            registration,
        }
    }

    /// Who it is.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its registration's number.
    pub fn token(&self) -> Token {
        self.registration.token()
    }

    /// The poller, or its registration, saw this.
    pub fn saw(&mut self, readiness: Readiness) {
        self.readiness.merge(readiness);
    }

    /// These bytes were brought by this poll; `None` where other things have happened since.
    pub fn brought_by(&mut self, poll: Option<u64>) {
        self.poll = poll;
    }

    /// Send it on an cause.
    pub fn caused_by(&mut self, cause: Cause) {
        self.cause = Some(cause);
    }

    /// The server stops: read once more, whatever the readiness says.
    pub fn sweep(&mut self) {
        self.shutdown_seen = ShutdownNotice::ReadOnceMore;
        self.readiness.readable = true;
    }

    /// The server ends before this connection does: what was cut off must not look like an end.
    pub fn cut_off(&self) {
        if !matches!(self.next, Next::Idle { .. }) || !self.owed.is_empty() {
            self.transport.reset();
        }
    }

    /// Take a turn.
    pub fn turn(
        &mut self,
        buffers: &mut Buffers,
        permit_held: &mut dyn PermitAccess,
        context: &EngineContext<'_>,
        now: Instant,
    ) -> Outcome {
        self.unpack(buffers);
        let mut turn = ConnectionTurn {
            buffers,
            permit_held,
            context,
            now,
            wall: None,
            share: SHARE,
            questions: QUESTIONS,
            has_read: false,
        };
        let outcome = self.run(&mut turn);
        self.pack(buffers, &outcome);
        outcome
    }

    fn unpack(&mut self, buffers: &mut Buffers) {
        buffers.input.begin(&self.unused, self.ended);
        self.unused = Vec::new();
        if !self.owed.is_empty() {
            std::mem::swap(&mut buffers.output, &mut self.owed);
        }
    }

    fn pack(&mut self, buffers: &mut Buffers, outcome: &Outcome) {
        if !matches!(outcome, Outcome::AwaitPermit) {
            self.poll = None;
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
            std::mem::swap(&mut buffers.output, &mut self.owed);
            self.owed.shrink();
        }
    }

    fn run(&mut self, turn: &mut ConnectionTurn<'_>) -> Outcome {
        if let Some(cause) = self.cause.take()
            && let Some(outcome) = self.handle_cause(cause, turn)
        {
            return outcome;
        }
        loop {
            if self.lingering.is_some() {
                return self.linger(turn);
            }
            let blocked = match self.write(turn) {
                Written::All => false,
                Written::Blocked => true,
                Written::Share => return Outcome::Requeue,
                Written::File if turn.permit_held.take_for_file(turn.now) => continue,
                Written::File => return Outcome::AwaitPermit,
                Written::Short => return self.abort("a file is shorter than its answer promised"),
                Written::Gone => return self.fail_to_send(turn),
            };
            if blocked && !self.may_read_while_owing(turn) {
                return self.park(turn, true);
            }
            if turn.questions == 0 || turn.share == 0 {
                return Outcome::Requeue;
            }
            match self.next {
                Next::Again => self.ask(turn),
                Next::Handle if turn.permit_held.spend(turn.now) => self.ask_with_permit(turn),
                Next::Handle => return Outcome::AwaitPermit,
                Next::Read { .. } | Next::Idle { .. } => match self.receive(turn) {
                    Received::News => self.ask(turn),
                    Received::TheEndAgain => self.next = Next::Close,
                    Received::TooMuch => return self.abort("the conversation left 64 KiB unused and wants more"),
                    Received::Gone => return self.fail_to_send(turn),
                    Received::Nothing => {
                        if let Some(outcome) = self.wait(turn, blocked) {
                            return outcome;
                        }
                    }
                },
                Next::Close => {
                    if let Some(outcome) = self.close(turn) {
                        return outcome;
                    }
                }
                Next::Abort => return self.abort("the conversation broke off"),
            }
        }
    }

    /// An cause; `None`: go on with the turn.
    fn handle_cause(&mut self, cause: Cause, turn: &mut ConnectionTurn<'_>) -> Option<Outcome> {
        match cause {
            Cause::Evicted => Some(Outcome::Closed),
            Cause::NoPermit => {
                // A file that can't be written, or a handler that can't be asked.
                if !turn.buffers.output.is_empty() {
                    return Some(self.abort("no permit to go on writing a file"));
                }
                self.tell(Event::NoPermit, turn);
                if self.next == Next::Handle {
                    self.next = Next::Close; // or it would be asked again and again
                }
                None
            }
            Cause::Late if self.lingering.is_some() => Some(Outcome::Closed),
            Cause::Late if self.write_deadline(turn).is_some_and(|deadline| deadline <= turn.now) => {
                Some(self.fail_to_send(turn))
            }
            Cause::Late => match self.next {
                Next::Read { stage, .. } if self.read_deadline().is_some_and(|deadline| deadline <= turn.now) => {
                    self.stage = None; // named once more, it begins anew
                    self.tell(Event::Late(stage), turn);
                    None
                }
                Next::Idle { .. }
                    if turn.buffers.output.is_empty()
                        && self.read_deadline().is_some_and(|deadline| deadline <= turn.now) =>
                {
                    Some(Outcome::Closed)
                }
                _ => None,
            },
        }
    }

    /// Ask the conversation what comes next.
    fn ask(&mut self, turn: &mut ConnectionTurn<'_>) {
        turn.questions -= 1;
        let conversation = match &mut self.conversation {
            Some(conversation) => conversation,
            none => match turn.context.protocol.meet(&self.client) {
                Some(conversation) => none.insert(conversation),
                None => {
                    // Turned away: the end, and not a byte was read.
                    turn.buffers.input.end();
                    return self.set_next(Next::Close, turn.now);
                }
            },
        };
        let next = conversation.turn(&mut turn.lend(&self.client, self.poll));
        self.set_next(next, turn.now);
    }

    fn ask_with_permit(&mut self, turn: &mut ConnectionTurn<'_>) {
        self.ask(turn);
        self.poll = None; // what the disk says now may be older than the next request
        (turn.now, turn.wall) = (Instant::now(), None); // a handler may take its time
    }

    fn tell(&mut self, event: Event, turn: &mut ConnectionTurn<'_>) {
        turn.questions = turn.questions.saturating_sub(1);
        if let Some(conversation) = &mut self.conversation {
            let next = conversation.event(event, &mut turn.lend(&self.client, None));
            self.set_next(next, turn.now);
        }
    }

    /// The clock of a stage starts when it is first named, that of a rest whenever it is.
    fn set_next(&mut self, next: Next, now: Instant) {
        self.midway |= next == Next::Close && matches!(self.next, Next::Read { .. });
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
        self.next = next;
    }

    fn write(&mut self, turn: &mut ConnectionTurn<'_>) -> Written {
        if turn.buffers.output.is_empty() {
            self.blocked_since = None;
            return Written::All;
        }
        let before = turn.share;
        let written = self.transport.write(&mut turn.buffers.output, turn.permit_held.is_held(), &mut turn.share);
        if turn.share != before {
            self.wrote = Some(turn.now);
            self.blocked_since = None;
        }
        if let Written::Blocked = written {
            self.blocked_since.get_or_insert(turn.now);
            let token = mio::Token(self.token().to_usize());
            if let Err(err) = self.transport.wish_to_write(turn.context.registry, token) {
                error!("can't wait for {} to read: {err}", self.client);
                return Written::Gone;
            }
        }
        written
    }

    fn may_read_while_owing(&self, turn: &ConnectionTurn<'_>) -> bool {
        matches!(self.next, Next::Read { .. } | Next::Idle { .. }) && turn.buffers.output.owed() <= OWED_WHILE_READING
    }

    /// Read once, if the readiness says that there is something.
    fn receive(&mut self, turn: &mut ConnectionTurn<'_>) -> Received {
        let input = &mut turn.buffers.input;
        if input.ended() {
            return Received::TheEndAgain;
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
                Received::News
            }
            Ok((count, filled)) => {
                if !filled && !self.readiness.closed {
                    self.readiness.readable = false; // a short read: the next bytes give an edge of their own
                }
                turn.share = turn.share.saturating_sub(count);
                if std::mem::replace(&mut turn.has_read, true) {
                    self.poll = None; // younger than the poll
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

    fn fail_to_send(&mut self, turn: &mut ConnectionTurn<'_>) -> Outcome {
        self.tell(Event::SendFailed, turn);
        Outcome::Closed
    }

    fn abort(&mut self, why: &str) -> Outcome {
        debug!("reset {}: {why}", self.client);
        self.transport.reset();
        Outcome::Closed
    }
}

enum Received {
    News,
    Nothing,
    TheEndAgain,
    TooMuch,
    Gone,
}

/// What a connection has before it for one turn.
struct ConnectionTurn<'a> {
    buffers: &'a mut Buffers,
    permit_held: &'a mut dyn PermitAccess,
    context: &'a EngineContext<'a>,
    now: Instant,
    wall: Option<SystemTime>, // the same moment, once it was asked for
    share: usize,
    questions: usize,
    has_read: bool,
}

impl ConnectionTurn<'_> {
    /// The part of it that a conversation sees.
    fn lend<'a>(&'a mut self, client: &'a Client, poll: Option<u64>) -> Turn<'a> {
        let wall = *self.wall.get_or_insert_with(SystemTime::now);
        let EngineContext { server, .. } = *self.context;
        let (input, output) = (&mut self.buffers.input, &mut self.buffers.output);
        Turn { input, output, client, now: self.now, wall, poll, server: Some(server), stopping: false }
    }
}
