//! The user's side of the server: a protocol whose clients choose its actions.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead, Write};
use std::panic::resume_unwind;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::machine::{self, Key, after, note, switch, wait_for, with};
use crate::plan::{Ask, HALF, LONGEST_WAIT, Meeting};
use crate::tcp::{
    Action, Client, Conversation, Event, Output, Piece, Protocol, SharedBytes, Stage, Stream, Turn, Waker,
};

thread_local! {
    static SUBSCRIBERS: RefCell<Vec<(usize, Waker)>> = const { RefCell::new(Vec::new()) };
    /// The requests of each connection's client, by number.
    static ASKS: RefCell<Vec<(Meeting, Vec<Ask>)>> = const { RefCell::new(Vec::new()) };
}

pub const GREETING: &[u8] = b"hello\n";
pub const LATE: &[u8] = b"late\n";
pub const REFUSED: &[u8] = b"refused\n";

/// Begins a new run.
pub fn begin() {
    subscribers().clear();
    ASKS.with_borrow_mut(Vec::clear);
}

pub fn subscribers() -> Vec<Waker> {
    SUBSCRIBERS.with_borrow_mut(std::mem::take).into_iter().map(|(_, waker)| waker).collect()
}

/// Sets the requests of this connection's client.
pub fn expect(id: usize, meeting: Meeting, asks: Vec<Ask>) {
    ASKS.with_borrow_mut(|all| {
        assert_eq!(all.len(), id, "connections are numbered in the order of their arrival");
        all.push((meeting, asks));
    });
}

/// Announces news: calls all subscribers, and sometimes aborts one of them.
pub fn call_subscribers() {
    let subscribers = SUBSCRIBERS.with_borrow(Vec::clone);
    let (ids, wakers): (Vec<usize>, Vec<Waker>) = subscribers.into_iter().unzip();
    with(|machine| machine.counts.news += 1);
    if with(|machine| machine.chance.one_in(2)) {
        Waker::wake_all(&wakers);
    } else {
        wakers.iter().for_each(|waker| {
            waker.wake();
        });
    }
    if let (Some(id), Some(waker)) = (ids.last(), wakers.last())
        && with(|machine| machine.chance.one_in(machine.plan.abort_one_in))
    {
        note!("{id} is aborted");
        with(|machine| {
            let facts = &mut machine.net.sockets[*id].facts;
            facts.aborted |= !facts.may_close; // a lingering connection has ended already
            (facts.may_break, facts.may_close) = (true, true);
        });
        waker.abort();
    }
}

/// User code that waits on behalf of this connection.
pub fn blocking<R>(id: usize, code: impl FnOnce() -> R) -> R {
    struct Blocked(usize);
    impl Drop for Blocked {
        fn drop(&mut self) {
            with(|machine| {
                machine.counts.blocked -= 1;
                let now = machine.nanos();
                let facts = &mut machine.net.sockets[self.0].facts;
                (facts.blocked, facts.blocked_until) = (false, now);
            });
        }
    }
    with(|machine| {
        machine.counts.blocked += 1;
        machine.net.sockets[id].facts.blocked = true;
        machine.wake(Key::Socket(id)); // its client may be able to continue now
    });
    note!("user code of {id} blocks");
    let _blocked = Blocked(id);
    code()
}

/// Waits until this client has this many responses, for a limited time.
pub fn wait_for_answers(client: usize, count: usize) {
    let until = after(LONGEST_WAIT);
    wait_for(Key::Counts, until, |machine| (machine.counts.answers[client] >= count).then_some(()));
}

/// The bytes of files and responses.
fn pattern(start: usize, size: usize) -> &'static [u8] {
    static PATTERN: OnceLock<Vec<u8>> = OnceLock::new();
    let pattern = PATTERN.get_or_init(|| (0..1 << 20).map(|at| b'a' + (at % 23) as u8).collect());
    &pattern[start..start + size]
}

const FILE_LENGTH: usize = 64 * 1024;

fn file() -> Arc<File> {
    static FILE: OnceLock<Arc<File>> = OnceLock::new();
    let make = || {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(pattern(0, FILE_LENGTH)).expect("a file to write");
        Arc::new(file)
    };
    FILE.get_or_init(make).clone()
}

fn body_start(number: usize, ask: Ask) -> usize {
    match ask {
        Ask::FileShort(size) => FILE_LENGTH - size / 2,
        _ => number * 7,
    }
}

fn head(number: usize, size: usize) -> String {
    format!("{number}:{size}:")
}

/// The correct response to this request.
pub fn answer(number: usize, ask: Ask) -> Vec<u8> {
    let size = size_of_answer(ask);
    let mut bytes = head(number, size).into_bytes();
    bytes.extend_from_slice(pattern(body_start(number, ask), size));
    bytes.push(b'\n');
    bytes
}

fn size_of_answer(ask: Ask) -> usize {
    match ask {
        Ask::Say(size)
        | Ask::Handle(size)
        | Ask::Sleep(_, size)
        | Ask::Last(_, size)
        | Ask::Stream(_, size)
        | Ask::Shared(_, size)
        | Ask::File(size)
        | Ask::FileShort(size)
        | Ask::Bye(size)
        | Ask::Refuse(size)
        | Ask::Subscribe(size)
        | Ask::Take(size)
        | Ask::PanicBytes(size)
        | Ask::PanicPart(size) => size,
        _ => 3,
    }
}

/// The bytes of a request.
pub fn request(number: usize, ask: Ask) -> Vec<u8> {
    let mut bytes = format!("ask {number}").into_bytes();
    if !ask.is_half() {
        bytes.push(b'\n');
    }
    if matches!(ask, Ask::Refuse(_)) {
        bytes.extend(std::iter::repeat_n(b'j', 300));
    }
    bytes
}

pub struct Script;

impl Protocol for Script {
    fn meet(&self, client: &Client) -> Option<Box<dyn Conversation>> {
        let id = crate::tcp::sys::id_of(client.address());
        let (meeting, asks) = ASKS.with_borrow(|all| all[id].clone());
        with(|machine| machine.net.sockets[id].facts.met = true);
        note!("{id} is met: {meeting:?}, {asks:?}");
        match meeting {
            Meeting::Block(limit) => blocking(id, || machine::sleep(limit)),
            Meeting::Refuse => return None,
            Meeting::Panic => break_off(id),
            Meeting::Plain | Meeting::Greet => {}
        }
        with(|machine| machine.counts.conversations += 1);
        let state = State::New { greets: meeting == Meeting::Greet };
        Some(Box::new(Talk { id, asks, done: 0, state, drop: OnDrop::Nothing, subscribed: false }))
    }
}

struct Talk {
    id: usize,
    asks: Vec<Ask>,
    done: usize, // requests received so far
    state: State,
    drop: OnDrop,
    subscribed: bool,
}

enum State {
    New {
        greets: bool,
    },
    Waiting,
    /// In a handler for this request, after this many turns and bytes of its response.
    Handling {
        number: usize,
        ask: Ask,
        turns: usize,
        given: usize,
    },
}

#[derive(Clone, Copy)]
enum OnDrop {
    Nothing,
    Panic,
    Wait(usize, usize),
    Block(Duration),
}

impl Conversation for Talk {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        match std::mem::replace(&mut self.state, State::Waiting) {
            State::New { greets: true } => turn.output.bytes().extend_from_slice(GREETING),
            State::Handling { number, ask, turns, given } => return self.handle(number, ask, turns, given, turn),
            _ => {}
        }
        let input = turn.input.bytes();
        let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return self.rest(turn) };
        let line = std::str::from_utf8(&input[4..end]).expect("a request");
        let number: usize = line.parse().expect("the number of the request");
        assert_eq!(number, self.done, "requests must arrive in order, each once");
        let ask = self.asks[number];
        note!("{} asks for {ask:?}", self.id);
        self.done += 1;
        if !matches!(ask, Ask::Refuse(_)) {
            turn.input.consume(end + 1);
        }
        match ask {
            Ask::Abort => {
                self.may_break();
                return Action::Abort;
            }
            Ask::PanicTurn => break_off(self.id),
            Ask::PanicPayload => {
                self.may_break();
                resume_unwind(Box::new(Bomb));
            }
            Ask::PanicBytes(_) => {
                turn.output.push(Piece::Shared { bytes: Counted::shared(self.id, number, 5, true), start: 0, end: 5 });
                break_off(self.id);
            }
            Ask::Handle(_)
            | Ask::Sleep(..)
            | Ask::Last(..)
            | Ask::Wait(..)
            | Ask::Stream(..)
            | Ask::PanicHandler
            | Ask::PanicPart(_)
            | Ask::Call => {
                self.state = State::Handling { number, ask, turns: 0, given: 0 };
                return Action::Handle;
            }
            Ask::Take(_) | Ask::TakePanic => return Action::Take,
            Ask::Subscribe(_) => {
                SUBSCRIBERS.with_borrow_mut(|subscribers| subscribers.push((self.id, turn.waker())));
                self.subscribed = true;
            }
            Ask::FileShort(_) => self.may_break(),
            Ask::DropPanics => self.drop = OnDrop::Panic,
            Ask::DropWaits(client, count) => self.drop = OnDrop::Wait(client, count),
            Ask::DropBlocks(limit) => self.drop = OnDrop::Block(limit),
            _ => {}
        }
        with(|machine| machine.net.sockets[self.id].facts.drop_blocks = self.drop_may_block());
        give_out(self.id, number, ask, turn.output);
        if let Ask::Bye(_) | Ask::Refuse(_) = ask {
            self.may_close();
            return Action::Close;
        }
        if self.subscribed {
            tell_news(turn.output);
        }
        self.go_on(turn)
    }

    fn event(&mut self, what: Event, turn: &mut Turn<'_>) -> Action {
        note!("{} gets {what:?}", self.id);
        switch();
        match what {
            Event::ShuttingDown if with(|machine| machine.counts.shutdown_now && !machine.counts.failed) => {
                machine::fail(format!("{}: a server that ends at once notifies nothing", self.id));
            }
            Event::Called => {
                if self.subscribed {
                    tell_news(turn.output);
                }
                return self.go_on(turn);
            }
            Event::Late(_) => {
                match self.asks.get(self.done) {
                    Some(Ask::HalfPanic) => break_off(self.id),
                    Some(Ask::HalfBlock(limit)) => blocking(self.id, || machine::sleep(*limit)),
                    _ => {}
                }
                turn.output.bytes().extend_from_slice(LATE);
            }
            Event::NoPermit if matches!(self.state, State::Handling { given: 1.., .. }) => {
                // With further input the engine can't know this.
                if turn.input.is_empty() {
                    machine::fail(format!("{}: there is no permit to go on with", self.id));
                }
                self.may_break();
                return Action::Abort;
            }
            Event::NoPermit | Event::NoThread => {
                with(|machine| machine.counts.refused += 1);
                turn.output.bytes().extend_from_slice(REFUSED);
                if matches!(self.state, State::Handling { ask: Ask::Last(..), .. }) {
                    self.may_close();
                    return Action::Linger; // its client sends on
                }
            }
            _ => {}
        }
        self.may_close();
        Action::Close
    }

    fn drop_may_block(&self) -> bool {
        !matches!(self.drop, OnDrop::Nothing)
    }

    fn take(mut self: Box<Self>, stream: Stream) {
        note!("{} is taken", self.id);
        let _counted = Taken::new();
        self.drop = OnDrop::Nothing; // its drop needs a permit
        self.answer_all(stream);
    }
}

/// A running handler. There are no more running handlers than permits.
struct Handling;

impl Handling {
    fn new() -> Handling {
        let (handling, most) = with(|machine| {
            machine.counts.handling += 1;
            (machine.counts.handling, machine.plan.handlers)
        });
        if handling > most {
            machine::fail(format!("{handling} handlers run, with permits for {most}"));
        }
        Handling
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        with(|machine| machine.counts.handling -= 1);
    }
}

/// The thread of a stream.
struct Taken;

impl Taken {
    fn new() -> Taken {
        with(|machine| machine.counts.streams += 1);
        Taken
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        with(|machine| machine.counts.streams -= 1);
    }
}

impl Talk {
    /// Responds to the request that took the connection, and to all later ones, in a separate thread, until the client
    /// disconnects or the server ends.
    fn answer_all(&mut self, mut stream: Stream) {
        loop {
            let ask = self.asks[self.done - 1];
            if ask == Ask::TakePanic {
                break_off(self.id);
            }
            if stream.write_all(&answer(self.done - 1, ask)).is_err() {
                return;
            }
            let mut line = String::new();
            match stream.read_line(&mut line) {
                Ok(1..) if line.ends_with('\n') => {}
                _ => return,
            }
            assert_eq!(line.trim_end(), format!("ask {}", self.done), "requests must arrive in order, each once");
            self.done += 1;
        }
    }

    /// A turn of a handler.
    fn handle(&mut self, number: usize, ask: Ask, turns: usize, given: usize, turn: &mut Turn<'_>) -> Action {
        let _counted = Handling::new();
        match ask {
            Ask::Sleep(limit, _) | Ask::Last(limit, _) => blocking(self.id, || machine::sleep(limit)),
            Ask::Wait(client, count) => blocking(self.id, || wait_for_answers(client, count)),
            Ask::PanicHandler => break_off(self.id),
            Ask::PanicPart(_) if turns > 0 => break_off(self.id),
            Ask::Call => call_subscribers(),
            _ => switch(),
        }
        let all = answer(number, ask);
        let parts = match ask {
            Ask::Stream(parts, _) => parts,
            Ask::PanicPart(_) => 2,
            _ => 1,
        };
        let end = if turns + 1 == parts { all.len() } else { all.len() * (turns + 1) / parts };
        turn.output.bytes().extend_from_slice(&all[given..end]);
        if turns + 1 < parts {
            self.state = State::Handling { number, ask, turns: turns + 1, given: end };
            with(|machine| machine.net.sockets[self.id].facts.begun = true);
            return Action::Handle;
        }
        with(|machine| machine.net.sockets[self.id].facts.begun = false);
        if let Ask::Last(..) = ask {
            self.may_close();
            return Action::Close;
        }
        self.go_on(turn)
    }

    fn go_on(&self, turn: &Turn<'_>) -> Action {
        if turn.input.bytes().contains(&b'\n') { Action::Again } else { self.rest(turn) }
    }

    fn rest(&self, turn: &Turn<'_>) -> Action {
        if self.subscribed && turn.input.ended() {
            let within = Some(Duration::from_secs(20));
            return Action::Wait { stage: Stage(self.done as u32), within }; // the client may still read the news
        }
        if turn.input.is_empty() {
            return Action::Idle { within: Some(with(|machine| machine.plan.idle)) };
        }
        // Half a request has a short limit; a complete one in segments has a long one.
        let is_half = self.asks.get(self.done).is_some_and(|ask| ask.is_half());
        let within = Some(if is_half { HALF } else { Duration::from_secs(60) });
        Action::Read { stage: Stage(self.done as u32), within, evictable: true, at_min_rate: false }
    }

    fn may_break(&self) {
        with(|machine| machine.net.sockets[self.id].facts.may_break = true);
    }

    fn may_close(&self) {
        with(|machine| machine.net.sockets[self.id].facts.may_close = true);
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        note!("the conversation of {} is dropped", self.id);
        with(|machine| machine.counts.conversations -= 1);
        match self.drop {
            OnDrop::Nothing => {}
            OnDrop::Panic if std::thread::panicking() => {}
            OnDrop::Panic => resume_unwind(Box::new("a conversation panics when it is dropped")),
            OnDrop::Wait(client, count) => blocking(self.id, || wait_for_answers(client, count)),
            OnDrop::Block(limit) => blocking(self.id, || machine::sleep(limit)),
        }
    }
}

/// Writes the response. Its kind determines the pieces.
fn give_out(id: usize, number: usize, ask: Ask, output: &mut Output) {
    let size = size_of_answer(ask);
    match ask {
        Ask::Shared(pieces, _) => {
            output.bytes().extend_from_slice(head(number, size).as_bytes());
            let bytes = Counted::shared(id, number, size, false);
            for piece in 0..pieces {
                let (start, end) = (size * piece / pieces, size * (piece + 1) / pieces);
                output.push(Piece::Shared { bytes: bytes.clone(), start, end });
            }
            output.bytes().push(b'\n');
        }
        Ask::File(_) | Ask::FileShort(_) => {
            output.bytes().extend_from_slice(head(number, size).as_bytes());
            let start = body_start(number, ask) as u64;
            output.push(Piece::File { file: file(), start, length: size as u64 });
            output.bytes().push(b'\n');
        }
        _ => output.bytes().extend_from_slice(&answer(number, ask)),
    }
}

fn tell_news(output: &mut Output) {
    let news = with(|machine| machine.counts.news);
    output.bytes().extend_from_slice(format!("news {news}\n").as_bytes());
}

/// Panics without running the panic hook.
fn break_off(id: usize) -> ! {
    with(|machine| machine.net.sockets[id].facts.may_break = true);
    note!("user code of {id} panics");
    resume_unwind(Box::new("user code panics, as it was asked to"));
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            resume_unwind(Box::new("what a panic left behind panics when it is dropped"));
        }
    }
}

/// Shared bytes that are counted.
struct Counted {
    id: usize,
    number: usize,
    bytes: Vec<u8>,
    panics: bool,
}

impl Counted {
    /// The shared bytes of the response to this request.
    fn shared(id: usize, number: usize, size: usize, panics: bool) -> SharedBytes {
        with(|machine| {
            machine.counts.shared_bytes += 1;
            machine.net.sockets[id].facts.shared.push(number);
        });
        Arc::new(Counted { id, number, bytes: pattern(number * 7, size).to_vec(), panics })
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        with(|machine| {
            machine.counts.shared_bytes -= 1;
            machine.net.sockets[self.id].facts.shared.retain(|number| *number != self.number);
        });
        if self.panics && !std::thread::panicking() {
            resume_unwind(Box::new("bytes panic when they are dropped"));
        }
    }
}

/// A logger that panics, blocks, or lets other threads run.
pub struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let (panics, blocks) = with(|machine| {
            machine.note(|| format!("log: {}", record.args()));
            (machine.happens(machine.plan.faults.logger), machine.happens(machine.plan.faults.logger))
        });
        switch();
        if blocks {
            with(|machine| machine.counts.logging += 1);
            machine::sleep(Duration::from_millis(50));
            with(|machine| machine.counts.logging -= 1);
        }
        if panics {
            resume_unwind(Box::new("the logger panics"));
        }
    }

    fn flush(&self) {}
}
