//! A single connection, turn by turn: its next step, its next wake-up, and the bytes that its client sees. The runs
//! check whole conversations; these tests check exact limits of time and bytes, which random runs rarely reach.
//!
//! Nothing runs beside it, and there are no faults. A turn takes the time that the test sets, and sent bytes arrive at
//! once.

mod coded; // above a codec
mod ending; // at once, after lingering, cut off
mod moving; // bytes, permits, the end of a turn
mod reading_on; // a handler that reads on within its turn
mod tasks; // tasks of a worker: polls, and wake-ups before code that blocks
mod waiting; // deadlines and timeouts

use std::collections::VecDeque;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::{self, Duration};

use shuttle::{Config, FailurePersistence, Runner};

use super::client::Client;
use super::connection::{Buffers, Connection, MinRate, Outcome, PermitAccess, Registered, SendLimits, TurnSettings};
use super::input_memory::InputMemory;
use super::live::Live;
use super::output::{Piece, SharedBytes};
use super::protocol::{Action, BlockingInput, Conversation, Event, Handover, Protocol, ServerState, Stage, Turn};
use super::scheduler::{Eviction, Link, MayBlock, Readiness, Token, Wait, Waker, Work};
use super::slow_handlers::SlowHandlers;
use super::stream::Stream;
use super::sync::Instant;
use super::sys::{ListeningSocket, Registry};
use super::transport::Transport;
use super::watched_sockets::WatchedSockets;
use crate::machine::{self, Chance, with};
use crate::net::{Cause, Net, Read};
use crate::plan::{Faults, Plan};
use crate::schedule::{self, Seeded};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The steps of the conversation for its turns and events, in order; after them it is idle.
#[derive(Clone)]
struct Step {
    says: Vec<u8>,
    file: u64,
    shares: Vec<SharedBytes>,
    uses: usize,
    next: Action,
    /// Continue above a codec.
    layers: bool,
    /// The output of this step can be sent together with the output of the next handler.
    waits: bool,
}

fn does(next: Action) -> Step {
    Step { says: Vec::new(), file: 0, shares: Vec::new(), uses: usize::MAX, next, layers: false, waits: false }
}

impl Step {
    fn saying(self, bytes: &[u8]) -> Step {
        Step { says: bytes.to_vec(), ..self }
    }

    fn sharing(mut self, bytes: SharedBytes) -> Step {
        self.shares.push(bytes);
        self
    }

    fn using(self, uses: usize) -> Step {
        Step { uses, ..self }
    }

    fn with_file(self, file: u64) -> Step {
        Step { file, ..self }
    }
}

fn idle() -> Action {
    Action::Idle { within: Some(60 * SECOND) }
}

/// Data about a connection, from both sides.
#[derive(Default)]
struct Known {
    steps: VecDeque<Step>,
    /// The events of the conversation.
    heard: Vec<String>,
    drop_may_block: bool,
    goodbye: &'static [u8],
    /// The time of the poll that found its bytes.
    polled: Option<time::Instant>,
    /// The number of unsent bytes, as reported at its end.
    unsent: Option<u64>,
    drop_panics: bool,
    /// Another action when it is dropped.
    drops: Option<Drops>,
    /// Wakers to call it with, one for each turn.
    wakers: Vec<Waker>,
    /// The action of the next turn of its handler with a handle to read on, and the time limit of its waits.
    reads_on: Option<(Option<Duration>, ReadsOn)>,
    /// The time that each of its turns takes.
    takes: Duration,
    /// The action with its stream.
    streams: Option<Streams>,
}

type Shared = Arc<Mutex<Known>>;
type Drops = Arc<dyn Fn() + Send + Sync>;
type Streams = Box<dyn FnOnce(Stream) + Send>;
type ReadsOn = Box<dyn FnOnce(&mut dyn BlockingInput) + Send>;

struct Scripted(Shared);

impl Scripted {
    fn step(&self, what: String, turn: &mut Turn<'_>) -> Action {
        let mut known = self.0.lock().unwrap();
        let evicted = if turn.is_shutting_down() { " (the last)" } else { "" };
        known.heard.push(format!("{what}{evicted}"));
        known.polled = turn.polled();
        known.wakers.push(turn.waker());
        with(|machine| machine.advance(machine.nanos() + known.takes.as_nanos() as u64));
        let input = known.reads_on.as_ref().and_then(|(within, _)| turn.blocking_input(*within));
        if let Some(mut input) = input {
            let (_, reads_on) = known.reads_on.take().expect("a request to read on, which was just seen");
            drop(known);
            reads_on(&mut *input);
            known = self.0.lock().unwrap();
        }
        let step = known.steps.pop_front().unwrap_or_else(|| does(idle()));
        turn.output.bytes().extend(step.says);
        for bytes in step.shares {
            let end = (*bytes).as_ref().len();
            turn.output.push(Piece::Shared { bytes, start: 0, end });
        }
        if step.file > 0 {
            let file = tempfile::tempfile().expect("a file");
            file.set_len(step.file).expect("of zeros");
            turn.output.push(Piece::File { file: Arc::new(file), start: 0, length: step.file });
        }
        turn.input.consume(step.uses.min(turn.input.bytes().len()));
        if step.waits {
            turn.let_output_wait();
        }
        if step.layers {
            let successor = Box::new(Scripted(self.0.clone()));
            return turn.hand_over(Handover::to(successor).with_codec(coded::Framed));
        }
        step.next
    }
}

impl Conversation for Scripted {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        let end = if turn.input.ended() { "." } else { "" };
        let what = match turn.input.bytes() {
            bytes if bytes.len() > 20 => format!("{} bytes{end}", bytes.len()),
            bytes => format!("{}{end}", String::from_utf8_lossy(bytes)),
        };
        self.step(what, turn)
    }

    fn event(&mut self, what: Event, turn: &mut Turn<'_>) -> Action {
        self.step(format!("{what:?}"), turn)
    }

    fn goodbye(&mut self, turn: &mut Turn<'_>) {
        let mut known = self.0.lock().unwrap();
        known.heard.push("goodbye".to_owned());
        turn.output.bytes().extend_from_slice(known.goodbye);
    }

    fn take(self: Box<Self>, stream: Stream) {
        let streams = self.0.lock().unwrap().streams.take().expect("a conversation that has asked for the stream");
        streams(stream);
    }

    fn drop_may_block(&self) -> bool {
        self.0.lock().unwrap().drop_may_block
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let drops = self.0.lock().unwrap().drops.clone();
        drops.iter().for_each(|drops| drops());
        if !std::thread::panicking() && self.0.lock().unwrap().drop_panics {
            std::panic::resume_unwind(Box::new("a conversation panics when it is dropped"));
        }
    }
}

struct Meets(Shared);

impl Protocol for Meets {
    fn meet(&self, _: &Client) -> Option<Box<dyn Conversation>> {
        self.0.lock().unwrap().heard.push("met".to_owned());
        Some(Box::new(Scripted(self.0.clone())))
    }
}

struct Entry {
    link: Arc<Link>,
    known: Shared,
}

impl Registered for Entry {
    fn link(&self) -> &Arc<Link> {
        &self.link
    }

    fn recount(&mut self, _: &Client) -> bool {
        true
    }

    fn left_unsent(&self, bytes: u64) {
        assert!(self.known.lock().unwrap().unsent.replace(bytes).is_none(), "the unsent bytes were reported twice");
    }
}

/// Permits for all work except these kinds, and the permits that were requested.
#[derive(Default)]
struct Permits {
    none_for: Vec<Work>,
    asked: Vec<Work>,
    took: Vec<Duration>,
    logged: usize,
}

impl PermitAccess for Permits {
    fn begin(&mut self, work: Work, _now: Instant) -> Option<MayBlock> {
        self.asked.push(work);
        (!self.none_for.contains(&work)).then(|| MayBlock::pretended(work))
    }

    fn handler_took(&mut self, wall: Duration) {
        self.took.push(wall);
    }

    fn handlers_are_short(&self) -> bool {
        self.took.iter().all(|wall| *wall < Duration::from_micros(100))
    }

    fn begin_to_log(&mut self, _now: Instant) {
        self.logged += 1;
    }
}

struct Server {
    live: Arc<Live>,
    input_memory: Arc<InputMemory>,
    watched: Arc<WatchedSockets>,
    shuts_down: bool,
}

impl ServerState for Server {
    fn is_shutting_down(&self) -> bool {
        self.shuts_down
    }

    fn is_over(&self) -> bool {
        false
    }

    fn takes_last_response(&self) -> bool {
        false
    }

    fn count_without_permit(&self, _: Instant) -> Option<String> {
        None
    }

    fn live(&self) -> &Arc<Live> {
        &self.live
    }

    fn input_memory(&self) -> &Arc<InputMemory> {
        &self.input_memory
    }

    fn watched(&self) -> &Arc<WatchedSockets> {
        &self.watched
    }
}

/// A connection, its client, and the data of its worker. Only one at a time, because each has its own machine.
struct One {
    connection: Option<Connection<Entry>>,
    known: Shared,
    link: Arc<Link>,
    buffers: Buffers,
    permits: Permits,
    server: Server,
    limits: SendLimits,
    slow: SlowHandlers,
    id: usize,
    _listener: ListeningSocket,
}

/// The outcome of a turn.
#[derive(Debug, PartialEq)]
enum After {
    Parked { readable: bool, writable: bool, deadline: Option<Duration>, eviction: &'static str, told: bool },
    Requeued,
    Awaits(Work),
    Taken,
    Closed,
}

impl One {
    /// With a buffer of this size for the server's output.
    fn new(room: usize) -> One {
        let mut chance = Chance::new(1);
        let mut plan = Plan::new(&mut chance);
        (plan.listeners, plan.faults, plan.accept_fails_from, plan.clock_step) = (1, Faults::default(), None, 1);
        (plan.descriptors, plan.max_connections, plan.clients) = (1000, 1000, Vec::new());
        machine::begin(plan, chance, false);
        let listener = ListeningSocket::from(OwnedFd::from(File::open("/dev/null").expect("/dev/null")));
        let id = with(|machine| {
            let connected = machine.on_net(None, |net, chance| net.connect((1 << 21, room), chance));
            connected.flatten().expect("space in the table")
        });
        let (stream, address) = listener.accept().expect("a client");
        let known = Shared::default();
        let link = Arc::new(Link::new(Token::from_usize(id + 10), None));
        let entry = Entry { link: link.clone(), known: known.clone() };
        let connection = Connection::new(Transport::new(stream), Client::new(address), entry, 0, super::sync::now());
        One {
            connection: Some(connection),
            known,
            link,
            buffers: Buffers::default(),
            permits: Permits::default(),
            server: Server {
                live: Live::new(10, None),
                input_memory: InputMemory::new(None),
                watched: Arc::default(),
                shuts_down: false,
            },
            limits: SendLimits { min_rate: None, write_timeout: Some(30 * SECOND) },
            slow: SlowHandlers::new(None, 1),
            id,
            _listener: listener,
        }
    }

    fn will(&self, steps: impl IntoIterator<Item = Step>) {
        self.known.lock().unwrap().steps.extend(steps);
    }

    fn connection(&mut self) -> &mut Connection<Entry> {
        self.connection.as_mut().expect("a connection")
    }

    fn sends(&mut self, bytes: &[u8]) {
        self.sends_unseen(bytes);
        self.connection().saw(Readiness { readable: true, ..Readiness::NONE });
    }

    /// Sends bytes that no poll has found yet.
    fn sends_unseen(&mut self, bytes: &[u8]) {
        let sent = with(|machine| machine.on_net(None, |net, chance| net.client_sends(self.id, bytes, chance)));
        assert_eq!(sent, Some(bytes.len()));
    }

    /// Closes the client's sending side.
    fn shuts_down(&mut self) {
        with(|machine| machine.on_net(None, |net, _| net.client_shuts_down(self.id)));
        self.connection().saw(Readiness { readable: true, closed: true, ..Readiness::NONE });
    }

    fn is_gone(&mut self) {
        with(|machine| machine.on_net(None, |net, _| net.reset_by_client(self.id)));
    }

    /// The client reads at most this many bytes. Returns their number.
    fn reads(&mut self, most: usize) -> usize {
        match with(|machine| machine.on_net(None, |net, _| net.client_reads(self.id, most))) {
            Read::Bytes(bytes) => bytes.len(),
            _ => 0,
        }
    }

    /// All bytes that the client reads, and the end after them.
    fn sees(&mut self) -> (String, &'static str) {
        let mut all = Vec::new();
        loop {
            match with(|machine| machine.on_net(None, |net, _| net.client_reads(self.id, usize::MAX))) {
                Read::Bytes(bytes) => all.extend(bytes),
                Read::Nothing => return (String::from_utf8(all).unwrap(), "open"),
                Read::End => return (String::from_utf8(all).unwrap(), "end"),
                Read::Reset(Cause::Asked) => return (String::from_utf8(all).unwrap(), "reset"),
                Read::Reset(cause) => panic!("{cause:?}"),
            }
        }
    }

    /// Advances the time.
    fn pass(&self, time: Duration) {
        with(|machine| machine.advance(machine.nanos() + time.as_nanos() as u64));
    }

    /// The events of the conversation since the last call.
    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.known.lock().unwrap().heard)
    }

    fn outcome(&mut self) -> Outcome {
        let now = super::sync::now();
        let protocols: [Arc<dyn Protocol>; 1] = [Arc::new(Meets(self.known.clone()))];
        let settings = TurnSettings {
            protocols: &protocols,
            registry: &Registry,
            send_limits: &self.limits,
            server: &self.server,
            current: self.slow.current(0),
        };
        let connection = self.connection.as_mut().expect("a connection");
        connection.turn(&mut self.buffers, &mut self.permits, &settings, now)
    }

    fn turn(&mut self) -> After {
        match self.outcome() {
            Outcome::Park(wait) => parked(wait),
            Outcome::Requeue => After::Requeued,
            Outcome::AwaitPermit(work) => After::Awaits(work),
            Outcome::Take => After::Taken,
            Outcome::Closed => {
                self.connection = None;
                After::Closed
            }
        }
    }

    /// Runs a turn after a deadline has passed.
    fn late(&mut self) -> After {
        self.connection().causes().late = true;
        self.turn()
    }

    /// Runs a turn after the connection was chosen for eviction.
    fn evict(&mut self) -> After {
        self.connection().causes().evicted = true;
        self.turn()
    }
}

fn parked(wait: Wait) -> After {
    let now = super::sync::now();
    let Readiness { readable, writable, called, .. } = wait.interest;
    let (eviction, since) = match wait.eviction {
        Eviction::Lingering(since) => ("lingering", Some(since)),
        Eviction::Idle(since) => ("idle", Some(since)),
        Eviction::Begun(since) => ("begun", Some(since)),
        Eviction::Never => ("never", None),
    };
    assert!(since.is_none_or(|since| since <= now));
    assert_eq!(called, eviction != "lingering", "a call must be received until the end");
    let deadline = wait.deadline.map(|deadline| deadline - now);
    assert!(wait.deadline.is_none_or(|deadline| deadline >= now), "the deadline must be in the future");
    After::Parked { readable, writable, deadline, eviction, told: wait.shutdown_seen }
}

/// Runs a test on a separate machine.
fn alone(test: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 256 * 1024;
    config.failure_persistence = FailurePersistence::None;
    Runner::new(Seeded::new(0..1), config).run(test);
}

fn reading(deadline: Duration) -> After {
    After::Parked { readable: true, writable: false, deadline: Some(deadline), eviction: "never", told: false }
}

fn idling(deadline: Duration) -> After {
    After::Parked { readable: true, writable: false, deadline: Some(deadline), eviction: "idle", told: false }
}

fn lingering(deadline: Duration) -> After {
    After::Parked { readable: true, writable: false, deadline: Some(deadline), eviction: "lingering", told: true }
}

fn held_up(readable: bool, deadline: Option<Duration>, told: bool) -> After {
    After::Parked { readable, writable: true, deadline, eviction: "never", told }
}

/// Reads this stage, within this many seconds.
fn read(stage: u32, seconds: u32) -> Action {
    Action::read(Stage(stage), SECOND * seconds)
}

fn half(stage: u32) -> Action {
    Action::Read { stage: Stage(stage), within: Some(10 * SECOND), evictable: true, at_min_rate: false }
}

const MUCH: usize = 1 << 22;

/// The time of the first check with the kernel, with a limit of 30 s.
const LOOK: Duration = Duration::from_millis(1875);
