//! One client: write what is owed, ask the conversation, read what it wants; a fair share a turn, never waiting.
//!
//! Called by `workers`, a turn at a time; `waiting` is the part of it that has nothing to do just now, or never again;
//! it uses `transport` for bytes and the stair for meaning.
//! What becomes of it afterwards is an [`Outcome`]; it parks, queues and enters slots by its worker's hands.

mod waiting;

use std::time::{Duration, Instant, SystemTime};

use log::{debug, error};
use mio::Registry;

use super::client::Client;
use super::conversation::{Conversation, Event, MayStop, Next, Protocol, Stage, Turn};
use super::handover::{Mark, Token, Wish};
use super::input::Input;
use super::output::Output;
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
    mark: Mark,
    poll: Option<u64>,
    errand: Option<Errand>,
    told: Told,
    midway: bool, // it ended while more was awaited of the client
    lingering: Option<Lingering>,
    unused: Vec<u8>,
    ended: bool,
    owed: Output,
    seat: S, // given back when the connection is dropped, after the stream above is closed
}

/// Where a connection sits.
pub trait Seat {
    fn token(&self) -> Token;
}

/// What else than readiness brought a connection to its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// A deadline has passed.
    Late,
    /// No slot was to be had.
    NoSlot,
    /// It rests, and its descriptor is wanted.
    LetGo,
}

/// Half-closed, and heard out.
struct Lingering {
    since: Instant,
    heard: Instant, // when its last byte came
}

/// How far the news of a stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    No,
    ReadOnceMore,
    Yes,
}

/// What becomes of a connection after a turn.
pub enum Outcome {
    /// Wait for this.
    Park(Wish),
    /// Its share is used up: others first.
    Queue,
    /// It wants a (fresh) slot.
    Enter,
    /// It is over.
    Gone,
}

/// The slot a turn is taken in.
pub trait Pass {
    /// Whether there is one.
    fn is_held(&self) -> bool;
    /// Use a slot for one turn of the conversation that may block: the one that is held, unless it was used so already
    /// and others stand in line for it, or else a free one. False: stand in line.
    fn spend(&mut self, now: Instant) -> bool;
    /// Have a slot for reading a file. False: stand in line.
    fn take_for_file(&mut self, now: Instant) -> bool;
}

/// What a worker lends to a connection for a turn.
pub struct Desk {
    pub input: Input,
    pub output: Output,
}

/// What a turn needs to know of the server.
pub struct House<'a> {
    pub protocol: &'a dyn Protocol,
    pub registry: &'a Registry,
    pub write_timeout: Option<Duration>,
    pub server: &'a dyn MayStop,
}

/// Bytes a turn may move in each direction, and how often it may ask the conversation.
const SHARE: usize = 512 * 1024;
const QUESTIONS: usize = 64;
/// With no more than this owed, reading goes on.
const OWED_WHILE_READING: u64 = 64 * 1024;

impl<S: Seat> Connection<S> {
    /// A connection that was just accepted.
    pub fn new(transport: Transport, client: Client, seat: S, now: Instant) -> Connection<S> {
        Connection {
            transport,
            client,
            conversation: None,
            next: Next::Again,
            stage: None,
            since: now,
            wrote: None,
            blocked_since: None,
            mark: Mark::NONE,
            poll: None,
            errand: None,
            told: Told::No,
            midway: false,
            lingering: None,
            unused: Vec::new(),
            ended: false,
            owed: Output::new(),
            seat,
        }
    }

    /// Who it is.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its seat's number.
    pub fn token(&self) -> Token {
        self.seat.token()
    }

    /// The poller, or its seat, saw this.
    pub fn saw(&mut self, mark: Mark) {
        self.mark.merge(mark);
    }

    /// These bytes were brought by this poll; `None` where other things have happened since.
    pub fn brought_by(&mut self, poll: Option<u64>) {
        self.poll = poll;
    }

    /// Send it on an errand.
    pub fn send_on(&mut self, errand: Errand) {
        self.errand = Some(errand);
    }

    /// The server stops: read once more, whatever the mark says.
    pub fn sweep(&mut self) {
        self.told = Told::ReadOnceMore;
        self.mark.readable = true;
    }

    /// The server ends before this connection does: what was cut off must not look like an end.
    pub fn cut_off(&self) {
        if !matches!(self.next, Next::Rest { .. }) || !self.owed.is_empty() {
            self.transport.reset();
        }
    }

    /// Take a turn.
    pub fn turn(&mut self, desk: &mut Desk, pass: &mut dyn Pass, house: &House<'_>, now: Instant) -> Outcome {
        self.unpack(desk);
        let mut turn =
            TurnAtDesk { desk, pass, house, now, wall: None, share: SHARE, questions: QUESTIONS, has_read: false };
        let outcome = self.walk(&mut turn);
        self.pack(desk, &outcome);
        outcome
    }

    fn unpack(&mut self, desk: &mut Desk) {
        desk.input.begin(&self.unused, self.ended);
        self.unused = Vec::new();
        if !self.owed.is_empty() {
            std::mem::swap(&mut desk.output, &mut self.owed);
        }
    }

    fn pack(&mut self, desk: &mut Desk, outcome: &Outcome) {
        if !matches!(outcome, Outcome::Enter) {
            self.poll = None;
        }
        if let Outcome::Gone = outcome {
            if !desk.output.is_empty() {
                self.transport.reset(); // a part must not look like the whole
            }
            desk.output.clear();
            return;
        }
        if self.lingering.is_some() {
            desk.input.clear();
        }
        if !desk.input.is_empty() {
            self.unused = desk.input.bytes().to_vec();
        }
        self.ended = desk.input.ended();
        if desk.output.is_empty() {
            desk.output.clear();
        } else {
            std::mem::swap(&mut desk.output, &mut self.owed);
            self.owed.shrink();
        }
    }

    fn walk(&mut self, turn: &mut TurnAtDesk<'_>) -> Outcome {
        if let Some(errand) = self.errand.take()
            && let Some(outcome) = self.run(errand, turn)
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
                Written::Share => return Outcome::Queue,
                Written::File if turn.pass.take_for_file(turn.now) => continue,
                Written::File => return Outcome::Enter,
                Written::Short => return self.abort("a file is shorter than its answer promised"),
                Written::Gone => return self.fail_to_send(turn),
            };
            if blocked && !self.may_read_while_owing(turn) {
                return self.park(turn, true);
            }
            if turn.questions == 0 || turn.share == 0 {
                return Outcome::Queue;
            }
            match self.next {
                Next::Again => self.ask(turn),
                Next::Handle if turn.pass.spend(turn.now) => self.ask_in_slot(turn),
                Next::Handle => return Outcome::Enter,
                Next::Read { .. } | Next::Rest { .. } => match self.hear(turn) {
                    Heard::News => self.ask(turn),
                    Heard::TheEndAgain => self.next = Next::Close,
                    Heard::TooMuch => return self.abort("the conversation left 64 KiB unused and wants more"),
                    Heard::Gone => return self.fail_to_send(turn),
                    Heard::Nothing => {
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

    /// An errand; `None`: go on with the turn.
    fn run(&mut self, errand: Errand, turn: &mut TurnAtDesk<'_>) -> Option<Outcome> {
        match errand {
            Errand::LetGo => Some(Outcome::Gone),
            Errand::NoSlot => {
                // A file that can't be written, or a handler that can't be asked.
                if !turn.desk.output.is_empty() {
                    return Some(self.abort("no slot to go on writing a file"));
                }
                self.tell(Event::NoSlot, turn);
                if self.next == Next::Handle {
                    self.next = Next::Close; // or it would be asked again and again
                }
                None
            }
            Errand::Late if self.lingering.is_some() => Some(Outcome::Gone),
            Errand::Late if self.write_deadline(turn).is_some_and(|deadline| deadline <= turn.now) => {
                Some(self.fail_to_send(turn))
            }
            Errand::Late => match self.next {
                Next::Read { stage, .. } if self.read_deadline().is_some_and(|deadline| deadline <= turn.now) => {
                    self.stage = None; // named once more, it begins anew
                    self.tell(Event::Late(stage), turn);
                    None
                }
                Next::Rest { .. }
                    if turn.desk.output.is_empty()
                        && self.read_deadline().is_some_and(|deadline| deadline <= turn.now) =>
                {
                    Some(Outcome::Gone)
                }
                _ => None,
            },
        }
    }

    /// Ask the conversation what comes next.
    fn ask(&mut self, turn: &mut TurnAtDesk<'_>) {
        turn.questions -= 1;
        let conversation = match &mut self.conversation {
            Some(conversation) => conversation,
            none => match turn.house.protocol.meet(&self.client) {
                Some(conversation) => none.insert(conversation),
                None => {
                    // Turned away: the end, and not a byte was read.
                    turn.desk.input.end();
                    return self.set_next(Next::Close, turn.now);
                }
            },
        };
        let next = conversation.turn(&mut turn.lend(&self.client, self.poll));
        self.set_next(next, turn.now);
    }

    fn ask_in_slot(&mut self, turn: &mut TurnAtDesk<'_>) {
        self.ask(turn);
        self.poll = None; // what the disk says now may be older than the next request
        (turn.now, turn.wall) = (Instant::now(), None); // a handler may take its time
    }

    fn tell(&mut self, event: Event, turn: &mut TurnAtDesk<'_>) {
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
            Next::Rest { .. } => {
                self.stage = None;
                self.since = now;
            }
            _ => {}
        }
        self.next = next;
    }

    fn write(&mut self, turn: &mut TurnAtDesk<'_>) -> Written {
        if turn.desk.output.is_empty() {
            self.blocked_since = None;
            return Written::All;
        }
        let before = turn.share;
        let written = self.transport.write(&mut turn.desk.output, turn.pass.is_held(), &mut turn.share);
        if turn.share != before {
            self.wrote = Some(turn.now);
            self.blocked_since = None;
        }
        if let Written::Blocked = written {
            self.blocked_since.get_or_insert(turn.now);
            let token = mio::Token(self.token().to_usize());
            if let Err(err) = self.transport.wish_to_write(turn.house.registry, token) {
                error!("can't wait for {} to read: {err}", self.client);
                return Written::Gone;
            }
        }
        written
    }

    fn may_read_while_owing(&self, turn: &TurnAtDesk<'_>) -> bool {
        matches!(self.next, Next::Read { .. } | Next::Rest { .. }) && turn.desk.output.owed() <= OWED_WHILE_READING
    }

    /// Read once, if the mark says that there is something.
    fn hear(&mut self, turn: &mut TurnAtDesk<'_>) -> Heard {
        let input = &mut turn.desk.input;
        if input.ended() {
            return Heard::TheEndAgain;
        }
        if input.is_full() {
            return Heard::TooMuch;
        }
        if !self.mark.readable {
            return Heard::Nothing;
        }
        match input.fill(|room| self.transport.read(room)) {
            Ok((0, _)) => {
                input.end();
                Heard::News
            }
            Ok((count, filled)) => {
                if !filled && !self.mark.closed {
                    self.mark.readable = false; // a short read: the next bytes give an edge of their own
                }
                turn.share = turn.share.saturating_sub(count);
                if std::mem::replace(&mut turn.has_read, true) {
                    self.poll = None; // younger than the poll
                }
                Heard::News
            }
            Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => {
                self.mark.readable = false;
                Heard::Nothing
            }
            Err(err) => {
                debug!("{} is gone: {err}", self.client);
                Heard::Gone
            }
        }
    }

    fn fail_to_send(&mut self, turn: &mut TurnAtDesk<'_>) -> Outcome {
        self.tell(Event::SendFailed, turn);
        Outcome::Gone
    }

    fn abort(&mut self, why: &str) -> Outcome {
        debug!("reset {}: {why}", self.client);
        self.transport.reset();
        Outcome::Gone
    }
}

enum Heard {
    News,
    Nothing,
    TheEndAgain,
    TooMuch,
    Gone,
}

/// What a connection has before it for one turn.
struct TurnAtDesk<'a> {
    desk: &'a mut Desk,
    pass: &'a mut dyn Pass,
    house: &'a House<'a>,
    now: Instant,
    wall: Option<SystemTime>, // the same moment, once it was asked for
    share: usize,
    questions: usize,
    has_read: bool,
}

impl TurnAtDesk<'_> {
    /// The part of it that a conversation sees.
    fn lend<'a>(&'a mut self, client: &'a Client, poll: Option<u64>) -> Turn<'a> {
        let wall = *self.wall.get_or_insert_with(SystemTime::now);
        let House { server, .. } = *self.house;
        let (input, output) = (&mut self.desk.input, &mut self.desk.output);
        Turn { input, output, client, now: self.now, wall, poll, server: Some(server), stopping: false }
    }
}
