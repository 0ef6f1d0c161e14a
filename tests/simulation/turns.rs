//! One connection alone, turn by turn: what it does next, when it is to be woken, and what its client sees. The runs ask what
//! becomes of whole conversations; here are the bounds of times and bytes, which chance rarely meets to the point.
//!
//! Nothing runs beside it and nothing goes wrong: a turn's time is the one that is told, and bytes are there once they are sent.

use std::collections::VecDeque;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shuttle::{Config, FailurePersistence, Runner};

use super::client::Client;
use super::connection::{Buffers, Connection, MinRate, Outcome, PermitAccess, Registered, SendLimits, TurnSettings};
use super::live::Live;
use super::output::Piece;
use super::protocol::{BlockingInput, Conversation, Event, Next, Protocol, ServerState, Stage, Turn};
use super::scheduler::{Eviction, Link, Readiness, Token, Wait, Work};
use super::slow_handlers::SlowHandlers;
use super::sys::{ListeningSocket, Registry};
use super::transport::Transport;
use crate::machine::{self, Chance, with};
use crate::net::{Cause, Net, Read};
use crate::plan::{Faults, Plan};
use crate::schedule::{self, Seeded};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// What the conversation does when it is asked or told something, one after the other; after that it is idle.
#[derive(Clone)]
struct Step {
    says: Vec<u8>,
    file: u64,
    uses: usize,
    next: Next,
}

fn does(next: Next) -> Step {
    Step { says: Vec::new(), file: 0, uses: usize::MAX, next }
}

impl Step {
    fn saying(self, bytes: &[u8]) -> Step {
        Step { says: bytes.to_vec(), ..self }
    }

    fn using(self, uses: usize) -> Step {
        Step { uses, ..self }
    }
}

fn idle() -> Next {
    Next::Idle { within: Some(60 * SECOND) }
}

/// What is known of it all, from both sides.
#[derive(Default)]
struct Known {
    steps: VecDeque<Step>,
    /// What the conversation was asked and told.
    heard: Vec<String>,
    /// What it lays out for another layer.
    owed: u64,
    drop_may_block: bool,
    goodbye: &'static [u8],
    /// When the poll came that brought its bytes.
    polled: Option<Instant>,
    /// What was told as unsent at its end.
    unsent: Option<u64>,
    drop_panics: bool,
    /// What it does in its next turn with a handle to read on by, and for how long it may be waited for.
    reads_on: Option<(Option<Duration>, ReadsOn)>,
    /// How long each of its turns takes.
    takes: Duration,
}

type Shared = Arc<Mutex<Known>>;
type ReadsOn = Box<dyn FnOnce(&mut dyn BlockingInput) + Send>;

struct Scripted(Shared);

impl Scripted {
    fn step(&self, what: String, turn: &mut Turn<'_>) -> Next {
        let mut known = self.0.lock().unwrap();
        let evicted = if turn.is_shutting_down() { " (the last)" } else { "" };
        known.heard.push(format!("{what}{evicted}"));
        known.polled = turn.polled;
        with(|machine| machine.advance(machine.nanos() + known.takes.as_nanos() as u64));
        if let Some((within, reads_on)) = known.reads_on.take() {
            drop(known);
            reads_on(&mut *turn.blocking_input(within).expect("there is a socket"));
            known = self.0.lock().unwrap();
        }
        let step = known.steps.pop_front().unwrap_or_else(|| does(idle()));
        turn.output.bytes().extend(step.says);
        if step.file > 0 {
            let file = tempfile::tempfile().expect("a file");
            file.set_len(step.file).expect("of zeros");
            turn.output.push(Piece::File { file: Arc::new(file), start: 0, length: step.file });
        }
        turn.input.consume(step.uses.min(turn.input.bytes().len()));
        step.next
    }
}

impl Conversation for Scripted {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Next {
        let end = if turn.input.ended() { "." } else { "" };
        let what = match turn.input.bytes() {
            bytes if bytes.len() > 20 => format!("{} bytes{end}", bytes.len()),
            bytes => format!("{}{end}", String::from_utf8_lossy(bytes)),
        };
        self.step(what, turn)
    }

    fn event(&mut self, what: Event, turn: &mut Turn<'_>) -> Next {
        self.step(format!("{what:?}"), turn)
    }

    fn goodbye(&mut self, turn: &mut Turn<'_>) {
        let mut known = self.0.lock().unwrap();
        known.heard.push("goodbye".to_owned());
        turn.output.bytes().extend_from_slice(known.goodbye);
    }

    fn drop_may_block(&self) -> bool {
        self.0.lock().unwrap().drop_may_block
    }

    fn owed(&self) -> u64 {
        self.0.lock().unwrap().owed
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
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

    fn left_unsent(&self, bytes: u64) {
        assert!(self.known.lock().unwrap().unsent.replace(bytes).is_none(), "told twice");
    }
}

/// Permits for all, but for these works; and what was asked for.
#[derive(Default)]
struct Permits {
    none_for: Vec<Work>,
    asked: Vec<Work>,
    took: Vec<Duration>,
    logged: usize,
}

impl PermitAccess for Permits {
    fn begin(&mut self, work: Work, _now: Instant) -> bool {
        self.asked.push(work);
        !self.none_for.contains(&work)
    }

    fn handler_took(&mut self, wall: Duration) {
        self.took.push(wall);
    }

    fn begin_to_log(&mut self, _now: Instant) {
        self.logged += 1;
    }
}

struct Server {
    live: Arc<Live>,
    shuts_down: bool,
}

impl ServerState for Server {
    fn is_shutting_down(&self) -> bool {
        self.shuts_down
    }

    fn live(&self) -> &Arc<Live> {
        &self.live
    }
}

/// A connection, its client, and what its worker has. One at a time: each has a machine of its own.
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

/// What became of a turn.
#[derive(Debug, PartialEq)]
enum After {
    Parked { readable: bool, writable: bool, deadline: Option<Duration>, eviction: &'static str, told: bool },
    Requeued,
    Awaits(Work),
    Taken,
    Closed,
}

impl One {
    /// With so many bytes of room for what the server sends.
    fn new(room: usize) -> One {
        let mut chance = Chance::new(1);
        let mut plan = Plan::new(&mut chance);
        (plan.listeners, plan.faults, plan.accept_fails_from, plan.clock_step) = (1, Faults::default(), None, 1);
        (plan.descriptors, plan.max_connections, plan.clients) = (1000, 1000, Vec::new());
        machine::begin(plan, chance, false);
        let listener = ListeningSocket::from(OwnedFd::from(File::open("/dev/null").expect("it is there")));
        let id = with(|machine| {
            let connected = machine.on_net(None, |net, chance| net.connect((1 << 21, room), chance));
            connected.flatten().expect("there is room")
        });
        let (stream, address) = listener.accept().expect("somebody has connected");
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
            server: Server { live: Live::new(10, None), shuts_down: false },
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
        self.connection.as_mut().expect("it is there")
    }

    fn sends(&mut self, bytes: &[u8]) {
        let sent = with(|machine| machine.on_net(None, |net, chance| net.client_sends(self.id, bytes, chance)));
        assert_eq!(sent, Some(bytes.len()));
        self.connection().saw(Readiness { readable: true, ..Readiness::NONE });
    }

    /// Its last byte was sent.
    fn shuts_down(&mut self) {
        with(|machine| machine.on_net(None, |net, _| net.client_shuts_down(self.id)));
        self.connection().saw(Readiness { readable: true, closed: true, ..Readiness::NONE });
    }

    fn is_gone(&mut self) {
        with(|machine| machine.on_net(None, |net, _| net.reset_by_client(self.id)));
    }

    /// So many bytes at most; how many there were.
    fn reads(&mut self, most: usize) -> usize {
        match with(|machine| machine.on_net(None, |net, _| net.client_reads(self.id, most))) {
            Read::Bytes(bytes) => bytes.len(),
            _ => 0,
        }
    }

    /// What the client reads up to the end, and how that is.
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

    /// The time passes.
    fn pass(&self, time: Duration) {
        with(|machine| machine.advance(machine.nanos() + time.as_nanos() as u64));
    }

    /// What was asked of the conversation since the last time.
    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.known.lock().unwrap().heard)
    }

    fn turn(&mut self) -> After {
        let now = super::sync::now();
        let protocols: [Arc<dyn Protocol>; 1] = [Arc::new(Meets(self.known.clone()))];
        let settings = TurnSettings {
            protocols: &protocols,
            registry: &Registry,
            send_limits: &self.limits,
            server: &self.server,
            current: self.slow.current(0),
        };
        let connection = self.connection.as_mut().expect("it is there");
        match connection.turn(&mut self.buffers, &mut self.permits, &settings, now) {
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

    /// A deadline has passed.
    fn late(&mut self) -> After {
        self.connection().causes().late = true;
        self.turn()
    }

    /// Room is short.
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
    assert_eq!(called, eviction != "lingering", "a call is heard until the end");
    let deadline = wait.deadline.map(|deadline| deadline.checked_duration_since(now).expect("it is to come"));
    After::Parked { readable, writable, deadline, eviction, told: wait.shutdown_seen }
}

/// On a machine of its own.
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

/// Read this stage, for so many seconds.
fn read(stage: u32, seconds: u32) -> Next {
    Next::read(Stage(stage), SECOND * seconds)
}

fn half(stage: u32) -> Next {
    Next::Read { stage: Stage(stage), within: Some(10 * SECOND), evictable: true, at_min_rate: false }
}

const MUCH: usize = 1 << 22;

#[test]
fn an_end_comes_at_once_or_after_lingering() {
    alone(|| {
        // What the conversation does when it is met, what the client sends then, and what the conversation does with that.
        for (met, sent, then, ended, after) in [
            (idle(), "a", does(Next::Close).saying(b"bye"), false, After::Closed),
            (idle(), "ab", does(Next::Close).saying(b"bye").using(1), false, lingering(2 * SECOND)),
            (idle(), "ab", does(Next::Close).saying(b"bye").using(1), true, After::Closed),
            (idle(), "ab", does(Next::Close).using(1), false, After::Closed), // it has been told nothing
            (idle(), "a", does(Next::Linger).saying(b"bye"), false, lingering(2 * SECOND)),
            (idle(), "a", does(Next::Linger).saying(b"bye"), true, After::Closed),
            (read(1, 60), "a", does(Next::Close).saying(b"bye"), false, lingering(2 * SECOND)),
            (read(1, 60), "a", does(Next::Close).saying(b"bye"), true, After::Closed),
        ] {
            let mut one = One::new(MUCH);
            one.will([does(met.clone()), then]);
            one.turn();
            one.sends(sent.as_bytes());
            if ended {
                one.shuts_down();
            }
            assert_eq!(one.turn(), after, "{met:?}, {sent}, ended: {ended}");
            assert_eq!(one.sees().1, "end");
        }
    });
}

#[test]
fn who_is_not_wanted_or_has_not_been_read_from_may_be_sending() {
    alone(|| {
        let mut one = One::new(MUCH);
        one.will([does(Next::Close).saying(b"go away")]);
        assert_eq!(one.turn(), lingering(2 * SECOND));
        assert_eq!(one.sees(), ("go away".to_owned(), "end"));
        drop(one);

        // What was read to its end some messages ago is no reason to linger.
        let mut one = One::new(MUCH);
        one.will([does(read(1, 60)), does(idle()), does(Next::Close).saying(b"bye")]);
        one.turn();
        one.sends(b"a");
        one.turn();
        one.sends(b"b");
        assert_eq!(one.turn(), After::Closed);
    });
}

#[test]
fn who_was_answered_long_ago_has_read_it() {
    alone(|| {
        for (passed, after) in [(1999 * MS, lingering(2 * SECOND)), (2000 * MS, After::Closed)] {
            let mut one = One::new(MUCH);
            one.will([does(read(1, 60)).saying(b"x"), does(Next::Close)]);
            one.turn();
            one.pass(passed);
            one.sends(b"a");
            assert_eq!(one.turn(), after, "after {passed:?}");
        }
    });
}

#[test]
fn who_is_evicted_does_not_linger() {
    alone(|| {
        let mut one = One::new(MUCH);
        one.will([does(idle()), does(Next::Close).saying(b"bye").using(1)]);
        one.turn();
        one.sends(b"ab");
        assert_eq!(one.evict(), After::Closed);
        assert_eq!(one.heard(), ["met", "", "ab (the last)"]);
    });
}

/// One that lingers.
fn half_closed() -> One {
    let mut one = One::new(MUCH);
    one.will([does(Next::Linger).saying(b"bye")]);
    assert_eq!(one.turn(), lingering(2 * SECOND));
    one
}

#[test]
fn lingering_ends_after_a_silence_and_in_any_case() {
    alone(|| {
        let mut one = half_closed();
        for second in 1..=29 {
            one.pass(SECOND);
            one.sends(b"x");
            assert_eq!(one.turn(), lingering(SECOND * (30 - second).min(2)), "after {second} s");
        }
        assert_eq!(one.late(), After::Closed);
        assert_eq!(one.heard(), ["met", ""]);

        // It is not read for ever in one turn, either.
        for (passed, after) in [(29_999 * MS, After::Requeued), (30_000 * MS, After::Closed)] {
            let mut one = half_closed();
            one.pass(passed);
            one.sends(&vec![b'x'; 2_000_000]);
            assert_eq!(one.turn(), after, "after {passed:?}");
        }
    });
}

#[test]
fn lingering_ends_with_the_client_or_for_a_newcomer() {
    alone(|| {
        type Cause = fn(&mut One) -> After;
        let causes: [(&str, Cause); 3] = [
            ("the end", |one| {
                one.shuts_down();
                one.turn()
            }),
            ("a reset", |one| {
                one.is_gone();
                one.connection().saw(Readiness { readable: true, ..Readiness::NONE });
                one.turn()
            }),
            ("room is short", One::evict),
        ];
        for (what, cause) in causes {
            let mut one = half_closed();
            assert_eq!(cause(&mut one), After::Closed, "{what}");
            assert_eq!(one.heard(), ["met", ""], "{what}");
        }
    });
}

#[test]
fn what_is_cut_off_looks_so_and_what_it_owed_is_counted() {
    alone(|| {
        let long = vec![b'x'; 100];
        for (step, within, seen, unsent) in [
            (does(idle()), 0, "end", None),
            (does(idle()), 3, "end", Some(3)),
            (does(idle()).saying(&long), 0, "reset", Some(90)),
            (does(idle()).saying(&long), 90, "reset", Some(180)),
            (does(read(1, 10)), 0, "reset", None),
        ] {
            let mut one = One::new(10);
            one.known.lock().unwrap().owed = within;
            one.will([step]);
            one.turn();
            one.known.lock().unwrap().drop_panics = true;
            let connection = one.connection.take().unwrap();
            drop(connection.cut_off()); // and it is no matter that this panics
            assert_eq!(one.sees().1, seen);
            assert_eq!(one.known.lock().unwrap().unsent, unsent);
        }
    });
}

#[test]
fn what_was_owed_at_an_end_is_counted() {
    alone(|| {
        for (says, within, unsent) in
            [(10, 0, None), (15, 0, Some(5)), (0, 3, Some(3)), (15, 3, Some(8)), (15, 5, Some(10))]
        {
            let mut one = One::new(10);
            one.known.lock().unwrap().owed = within;
            one.will([does(idle()).saying(&vec![b'x'; says])]);
            one.turn();
            one.link.note_abort();
            assert_eq!(one.turn(), After::Closed);
            assert_eq!(one.known.lock().unwrap().unsent, unsent);
            assert_eq!(one.sees().1, "reset");
        }
    });
}

#[test]
fn what_is_broken_off_waits_for_nobody() {
    alone(|| {
        // Whoever reads nothing is given up by its conversation: at once, or when another thread calls it.
        for called in [false, true] {
            let mut one = One::new(10);
            let says = |next| does(next).saying(&[b'x'; 100]);
            one.will(if called { vec![says(idle()), does(Next::Abort)] } else { vec![says(Next::Abort)] });
            if called {
                assert_eq!(one.turn(), held_up(true, Some(LOOK), false));
                one.link.note_call();
            }
            assert_eq!(one.turn(), After::Closed);
            assert_eq!(one.known.lock().unwrap().unsent, Some(90));
            assert_eq!(one.sees().1, "reset");
        }
    });
}

#[test]
fn whether_a_drop_may_block_is_asked() {
    alone(|| {
        for may_block in [true, false] {
            let mut one = One::new(MUCH);
            assert!(!one.connection().drop_may_block(), "there is nothing to drop");
            one.turn();
            one.known.lock().unwrap().drop_may_block = may_block;
            assert_eq!(one.connection().drop_may_block(), may_block);
        }
    });
}

#[test]
fn a_conversation_knows_when_its_bytes_were_polled() {
    alone(|| {
        for (after, kept) in
            [(Duration::from_nanos(10_000_500), true), (Duration::ZERO, true), (2 * 3600 * SECOND, false)]
        {
            let mut one = One::new(MUCH);
            one.will([does(idle())]);
            one.turn();
            one.pass(after);
            one.sends(b"a");
            let polled = super::sync::now();
            one.connection().brought_by(Some(polled));
            one.pass(MS);
            one.turn();
            let told = one.known.lock().unwrap().polled;
            let error = told.map(|told| told.checked_duration_since(polled).expect("not before it"));
            assert_eq!(error.is_some(), kept, "{after:?}");
            assert!(error.is_none_or(|error| error <= Duration::from_micros(1)), "{error:?}");
        }
    });
}

#[test]
fn a_connection_has_a_name_and_a_client() {
    alone(|| {
        let mut one = One::new(MUCH);
        let id = one.id;
        assert_eq!(super::sys::id_of(one.connection().client().address()), id);
        assert_eq!(one.connection().token(), one.link.token());
    });
}

#[test]
fn a_turn_has_an_end() {
    alone(|| {
        // 64 questions.
        let mut one = One::new(MUCH);
        one.will(std::iter::repeat_n(does(Next::Again), 70));
        assert_eq!(one.turn(), After::Requeued);
        assert_eq!(one.heard().len(), 1 + 64);
        assert_eq!(one.turn(), idling(60 * SECOND));
        drop(one);

        // A MiB of a file.
        let mut one = One::new(MUCH);
        one.will([Step { file: 2_000_000, ..does(idle()) }]);
        assert_eq!(one.turn(), After::Requeued);
        assert!((1 << 20..(1 << 20) + (1 << 16)).contains(&one.reads(MUCH)));
        assert_eq!(one.turn(), idling(60 * SECOND));
        drop(one);

        // And as much that comes.
        let mut one = One::new(MUCH);
        one.sends(&vec![b'x'; 2_000_000]);
        assert_eq!(one.turn(), After::Requeued);
        assert_eq!(one.heard(), [vec!["met", ""], vec!["65536 bytes"; 17]].concat());
        assert_eq!(one.turn(), idling(60 * SECOND));
    });
}

#[test]
fn a_read_that_fills_its_room_is_followed_by_another() {
    alone(|| {
        let mut one = One::new(MUCH);
        one.turn();
        one.heard();
        one.sends(&vec![b'x'; 65_536 + 30]);
        one.turn();
        assert_eq!(one.heard(), ["65536 bytes", "30 bytes"]);
        // So is one with the end behind it.
        one.sends(b"a");
        one.shuts_down();
        assert_eq!(one.turn(), After::Closed);
        assert_eq!(one.heard(), ["a", "."]);
    });
}

#[test]
fn permits_are_for_what_follows() {
    alone(|| {
        use Work::{Begun, Handler, Meet, Short};
        let part = || does(Next::Handle).saying(b"part");
        let rows: [(&str, &[Step], &[Work], usize); 8] = [
            ("nothing", &[does(idle())], &[Meet], 0),
            ("short work, twice", &[does(Next::Brief), does(Next::Brief)], &[Meet, Short], 0),
            ("handlers that say nothing yet", &[does(Next::Handle), does(Next::Handle)], &[Meet, Handler, Handler], 2),
            ("an answer in parts", &[does(Next::Handle), part(), part()], &[Meet, Handler, Begun, Begun], 3),
            (
                "of which one is empty",
                &[does(Next::Handle), part(), does(Next::Handle)],
                &[Meet, Handler, Begun, Begun],
                3,
            ),
            (
                "a whole answer, and another",
                &[does(Next::Handle), does(Next::Again).saying(b"whole"), does(Next::Handle)],
                &[Meet, Handler, Handler],
                2,
            ),
            (
                "an answer in parts, and another",
                &[does(Next::Handle), part(), does(Next::Again), does(Next::Handle)],
                &[Meet, Handler, Begun, Handler],
                3,
            ),
            ("a handler, and short work", &[does(Next::Handle), does(Next::Brief)], &[Meet, Handler], 1),
        ];
        for (what, steps, asked, handlers) in rows {
            let mut one = One::new(MUCH);
            one.known.lock().unwrap().takes = 5 * MS;
            one.will(steps.to_vec());
            one.turn();
            assert_eq!(one.permits.asked, asked, "{what}");
            assert_eq!(one.permits.took.len(), handlers, "{what}");
            assert!(one.permits.took.iter().all(|took| *took >= 5 * MS), "{what}: {:?}", one.permits.took);
        }
        // With more of the input unused it may be another answer that is asked for.
        let mut one = One::new(MUCH);
        one.will([does(idle()), does(Next::Handle).using(1), part().using(1), part()]);
        one.turn();
        one.sends(b"abc");
        one.permits.asked.clear();
        one.turn();
        assert_eq!(one.permits.asked, [Handler, Handler, Handler]);
    });
}

#[test]
fn who_asks_again_for_what_is_not_to_be_had_is_closed() {
    alone(|| {
        for (asks, event, says, after) in [
            (Next::Handle, "NoPermit", Next::Handle, After::Closed),
            (Next::Handle, "NoPermit", idle(), idling(60 * SECOND)),
            (Next::Take, "NoThread", Next::Take, After::Closed),
            (Next::Take, "NoThread", idle(), idling(60 * SECOND)),
        ] {
            let mut one = One::new(MUCH);
            one.permits.none_for = vec![Work::Handler];
            one.will([does(idle()), does(asks.clone()), does(says.clone())]);
            one.turn();
            one.sends(b"a");
            let first = if asks == Next::Take { After::Taken } else { After::Awaits(Work::Handler) };
            assert_eq!(one.turn(), first);
            one.connection().causes().no_permit = asks == Next::Handle;
            one.connection().causes().no_thread = asks == Next::Take;
            assert_eq!(one.turn(), after, "{asks:?}, then {says:?}");
            assert_eq!(one.heard(), ["met", "", "a", event]);
        }
    });
}

#[test]
fn a_stage_has_one_clock() {
    alone(|| {
        // What is said first, what five seconds later, and how long is left then.
        for (first, then, after) in [
            (read(1, 10), read(1, 10), reading(5 * SECOND)),
            (read(1, 10), read(2, 10), reading(10 * SECOND)),
            (read(1, 10), Next::Unchanged, reading(5 * SECOND)),
            (read(1, 10), idle(), idling(60 * SECOND)),
            (idle(), idle(), idling(60 * SECOND)),
            (idle(), Next::Unchanged, idling(55 * SECOND)),
            (idle(), read(1, 10), reading(10 * SECOND)),
        ] {
            let mut one = One::new(MUCH);
            one.will([does(first.clone()), does(then.clone())]);
            one.turn();
            one.pass(5 * SECOND);
            one.sends(b"a");
            assert_eq!(one.turn(), after, "{first:?}, {then:?}");
        }
        // Being idle ends a stage.
        let mut one = One::new(MUCH);
        one.will([does(read(1, 10)), does(idle()), does(read(1, 10))]);
        one.turn();
        for _ in 0..2 {
            one.pass(5 * SECOND);
            one.sends(b"a");
            one.turn();
        }
        one.pass(SECOND);
        assert_eq!(one.late(), reading(9 * SECOND));
    });
}

#[test]
fn lateness_is_told_when_it_is_so() {
    alone(|| {
        for (passed, after, heard) in
            [(9_999 * MS, reading(MS), None), (10_000 * MS, reading(10 * SECOND), Some("Late(Stage(1))"))]
        {
            // By its deadline, by bytes that mean nothing at just that time, or by an event without bytes.
            for late in [true, false] {
                let mut one = One::new(MUCH);
                one.will([does(read(1, 10)), does(read(1, 10))]);
                one.turn();
                one.heard();
                one.pass(passed);
                assert_eq!(if late { one.late() } else { one.turn() }, after, "after {passed:?}");
                assert_eq!(one.heard(), Vec::from_iter(heard));
            }
        }
        // A stage that is over is not waited on.
        let mut one = One::new(MUCH);
        one.will([does(read(1, 10)).saying(b"x"), does(Next::Unchanged).saying(b"late")]);
        one.turn();
        one.pass(10 * SECOND);
        assert_eq!(one.late(), lingering(2 * SECOND));
        assert_eq!(one.sees(), ("xlate".to_owned(), "end"));
    });
}

#[test]
fn who_is_idle_for_too_long_hears_a_goodbye_if_there_is_one() {
    alone(|| {
        for goodbye in ["", "bye"] {
            let mut one = One::new(MUCH);
            one.known.lock().unwrap().goodbye = goodbye.as_bytes();
            one.will([does(idle())]);
            one.turn();
            one.pass(60 * SECOND - MS);
            assert_eq!(one.late(), idling(MS));
            one.pass(MS);
            assert_eq!(one.late(), After::Closed);
            assert_eq!(one.heard(), ["met", "", "goodbye"]);
            assert_eq!(one.sees(), (goodbye.to_owned(), "end"));
        }
    });
}

#[test]
fn room_is_made_by_who_has_not_begun() {
    alone(|| {
        let since = |eviction| After::Parked {
            readable: true,
            writable: false,
            deadline: Some(10 * SECOND),
            eviction,
            told: false,
        };
        for (next, parked, after, heard) in [
            (idle(), idling(60 * SECOND), After::Closed, Some("goodbye")),
            (half(1), since("begun"), After::Closed, Some("Late(Stage(1)) (the last)")),
            (read(1, 10), since("never"), since("never"), None),
        ] {
            let mut one = One::new(MUCH);
            one.will([does(next.clone())]);
            assert_eq!(one.turn(), parked, "{next:?}");
            one.heard();
            assert_eq!(one.evict(), after, "{next:?}");
            assert_eq!(one.heard(), Vec::from_iter(heard), "{next:?}");
        }
    });
}

#[test]
fn a_shutdown_is_told_and_leaves_time_for_a_last_request() {
    alone(|| {
        let left = |eviction, deadline| After::Parked {
            readable: true,
            writable: false,
            deadline: Some(deadline),
            eviction,
            told: true,
        };
        for (next, passed, after, heard) in [
            (idle(), Duration::ZERO, left("idle", 500 * MS), None),
            (idle(), 499 * MS, left("idle", MS), None),
            (idle(), 500 * MS, After::Closed, Some("goodbye")),
            (idle(), 501 * MS, After::Closed, Some("goodbye")),
            (read(1, 10), 5000 * MS, left("never", 5 * SECOND), Some("ShuttingDown (the last)")),
        ] {
            // It is told to begin, or finds that it has begun.
            for told in [true, false] {
                let mut one = One::new(MUCH);
                one.will([does(next.clone()), does(next.clone())]);
                one.turn();
                one.heard();
                one.pass(passed);
                one.server.shuts_down = true;
                if told {
                    one.connection().begin_shutdown();
                }
                assert_eq!(one.turn(), after, "{next:?}, after {passed:?}");
                assert_eq!(one.heard(), Vec::from_iter(heard), "{next:?}, after {passed:?}");
            }
        }
        // Who reads slowly what it was told last has all the time it takes, and half a second more.
        let mut one = One::new(10);
        one.will([does(idle()).saying(&[b'x'; 25])]);
        one.turn();
        one.pass(SECOND);
        one.server.shuts_down = true;
        one.connection().begin_shutdown();
        assert_eq!(one.turn(), held_up(true, Some(LOOK - SECOND), true));
        one.reads(10);
        assert_eq!(one.turn(), held_up(true, Some(LOOK), true));
        one.reads(10);
        assert_eq!(one.turn(), left("idle", 500 * MS));
        one.pass(500 * MS);
        assert_eq!(one.late(), After::Closed);
    });
}

/// When the kernel is first asked, with a limit of 30 s.
const LOOK: Duration = Duration::from_millis(1875);

#[test]
fn with_little_owed_reading_goes_on() {
    alone(|| {
        // How much is owed, and what comes next: whether it is read, and the deadline.
        let much = 65_536 + 10;
        for (says, next, readable, deadline) in [
            (20, read(1, 1), true, SECOND),
            (20, read(1, 10), true, LOOK),
            (20, idle(), true, LOOK),
            (20, Next::Idle { within: Some(SECOND) }, true, LOOK), // who is not answered yet is not idle
            (much, read(1, 1), true, SECOND),
            (much + 1, read(1, 1), false, LOOK),
            (much + 1, idle(), false, LOOK),
            (20, half(1), true, LOOK),
            (20, Next::Again, false, LOOK),
            (20, Next::Handle, false, LOOK),
        ] {
            let mut one = One::new(10);
            one.will([does(next.clone()).saying(&vec![b'x'; says])]);
            assert_eq!(one.turn(), held_up(readable, Some(deadline), !readable), "{says}, {next:?}");
            assert_eq!(one.permits.asked, [Work::Meet]);
        }
        // Who has a message to send and an answer to take may be late with both.
        let mut one = One::new(10);
        one.will([does(read(1, 10)).saying(&[b'x'; 30])]);
        one.turn();
        one.heard();
        one.pass(SECOND);
        one.reads(10);
        assert_eq!(one.turn(), held_up(true, Some(LOOK), false));
        one.reads(10);
        one.pass(9 * SECOND);
        assert_eq!(one.turn(), idling(60 * SECOND));
        assert_eq!(one.heard(), ["Late(Stage(1))"]);
    });
}

#[test]
fn who_is_not_answered_yet_is_not_idle() {
    alone(|| {
        let mut one = One::new(10);
        one.will([does(Next::Idle { within: Some(SECOND) }).saying(&[b'x'; 30])]);
        assert_eq!(one.turn(), held_up(true, Some(LOOK), false));
        one.pass(LOOK);
        assert_eq!(one.late(), held_up(true, Some(30 * SECOND), false));
        for _ in 0..3 {
            one.reads(10);
            one.turn();
        }
        assert_eq!(one.turn(), idling(SECOND));
    });
}

#[test]
fn who_takes_nothing_is_given_up() {
    alone(|| {
        let mut one = One::new(10);
        one.will([does(read(1, 1000)).saying(&[b'x'; 100])]);
        one.turn();
        one.heard();
        for _ in 0..3 {
            one.pass(29 * SECOND);
            assert!(matches!(one.late(), After::Parked { .. }));
            one.reads(10);
            assert!(matches!(one.turn(), After::Parked { .. }));
        }
        one.pass(LOOK);
        assert!(matches!(one.late(), After::Parked { .. }));
        // Turns in which it takes nothing do not help.
        for _ in 0..2 {
            one.pass(14 * SECOND);
            assert!(matches!(one.turn(), After::Parked { .. }));
        }
        one.pass(2 * SECOND);
        assert_eq!(one.heard(), [""; 0]);
        assert_eq!(one.late(), After::Closed);
        assert_eq!(one.heard(), ["SendFailed"]);
        assert_eq!(one.sees().1, "reset");
    });
}

#[test]
fn who_sends_too_slowly_is_late() {
    alone(|| {
        let next = || Next::read_at_min_rate(Stage(1), 1000 * SECOND);
        let over = 30 * SECOND;
        for (bytes, late, heard) in
            [(14_999, true, "Late(Stage(1))"), (14_999, false, "Late(Stage(1))"), (15_000, true, "")]
        {
            let mut one = One::new(MUCH);
            one.limits.min_rate = Some(MinRate { bytes_per_second: 500, over });
            one.will([does(next()), does(next()), does(next())]);
            assert_eq!(one.turn(), reading(over));
            one.pass(10 * SECOND);
            one.sends(&vec![b'x'; bytes]);
            assert_eq!(one.turn(), reading(20 * SECOND));
            one.heard();
            one.pass(20 * SECOND);
            assert_eq!(if late { one.late() } else { one.turn() }, reading(over), "{bytes}");
            assert_eq!(one.heard().concat(), heard);
        }
        // Only where the protocol wants it so.
        let mut one = One::new(MUCH);
        one.limits.min_rate = Some(MinRate { bytes_per_second: 500, over });
        one.will([does(read(1, 100))]);
        assert_eq!(one.turn(), reading(100 * SECOND));
        one.pass(40 * SECOND);
        assert_eq!(one.late(), reading(60 * SECOND));
    });
}

#[test]
fn a_client_that_is_gone_is_told_of() {
    alone(|| {
        let mut one = One::new(MUCH);
        one.turn();
        one.heard();
        one.is_gone();
        one.connection().saw(Readiness { readable: true, ..Readiness::NONE });
        assert_eq!(one.turn(), After::Closed);
        assert_eq!(one.heard(), ["SendFailed"]);
    });
}

#[test]
fn who_logs_says_so_first() {
    alone(|| {
        log::set_max_level(log::LevelFilter::Warn); // as the runs do
        let mut one = One::new(10);
        one.will([does(idle()).saying(&[b'x'; 100])]);
        with(|machine| machine.plan.faults.register = 1000);
        assert_eq!(one.turn(), After::Closed);
        assert_eq!(one.permits.logged, 1);
        drop(one);
        let mut one = One::new(10);
        one.will([does(Next::Abort)]);
        assert_eq!(one.turn(), After::Closed);
        assert_eq!(one.permits.logged, 0, "nobody wants to hear of that");
    });
}

/// What a client does with the socket of this number.
type Does = fn(&mut Net, usize, &mut Chance);

/// A handler that reads on from its client by a second handle, which waits for so long at most; the client does these things,
/// each so long after the one before.
fn reading_on(
    within: Option<Duration>,
    client: &[(Duration, Does)],
    reads_on: impl FnOnce(&mut dyn BlockingInput) + Send + 'static,
) -> One {
    // The first that is started: it runs when nobody else can.
    let clock = shuttle::thread::spawn(|| {
        while !with(|machine| machine.over) {
            if schedule::everybody_waits() {
                with(|machine| machine.advance(machine.next_due().expect("somebody waits for ever")));
            }
            shuttle::thread::sleep(Duration::ZERO);
        }
    });
    let mut one = One::new(10);
    one.limits.min_rate = Some(MinRate { bytes_per_second: 500, over: 30 * SECOND });
    one.turn();
    one.known.lock().unwrap().reads_on = Some((within, Box::new(reads_on)));
    let (id, client) = (one.id, client.to_vec());
    let client = shuttle::thread::spawn(move || {
        for (after, what) in client {
            machine::sleep(after);
            with(|machine| machine.on_net(Some(id), |net, chance| what(net, id, chance)));
        }
    });
    one.sends(b"a");
    one.turn();
    client.join().unwrap();
    with(|machine| machine.over = true);
    clock.join().unwrap();
    assert!(one.known.lock().unwrap().reads_on.is_none());
    one
}

/// How long this takes.
fn time_of<R>(what: impl FnOnce() -> R) -> (R, Duration) {
    let start = super::sync::now();
    let result = what();
    (result, super::sync::now() - start)
}

#[test]
fn a_handler_reads_on_as_bytes_come() {
    alone(|| {
        let one = reading_on(
            None,
            &[
                (SECOND, |net, id, chance| _ = net.client_sends(id, b"bc", chance)),
                (SECOND, |net, id, _| net.client_shuts_down(id)),
            ],
            |input| {
                let mut room = [0; 10];
                assert_eq!(input.read(&mut []).unwrap(), 0, "there is no room");
                assert_eq!(time_of(|| input.read(&mut room).unwrap()), (2, SECOND));
                assert_eq!(room[..2], *b"bc");
                assert_eq!(input.read(&mut []).unwrap(), 0);
            },
        );
        assert!(!one.link.is_peer_closed(), "there was no room to find an end with");
    });
    alone(|| {
        let one = reading_on(None, &[(SECOND, |net, id, _| net.client_shuts_down(id))], |input| {
            assert_eq!(time_of(|| input.read(&mut [0; 10]).unwrap()), (0, SECOND));
        });
        assert!(one.link.is_peer_closed());
    });
}

#[test]
fn a_handler_waits_for_its_client_no_longer_than_it_may() {
    alone(|| {
        // Each wait counts, and what lies between them does not.
        reading_on(
            Some(5 * SECOND),
            &[(3 * SECOND, |net, id, chance| _ = net.client_sends(id, b"b", chance))],
            |input| {
                let mut room = [0; 10];
                assert_eq!(time_of(|| input.read(&mut room).unwrap()), (1, 3 * SECOND));
                machine::sleep(10 * SECOND);
                let (result, time) = time_of(|| input.read(&mut room).map_err(|err| err.kind()));
                assert_eq!((result, time), (Err(ErrorKind::TimedOut), 2 * SECOND));
            },
        );
    });
    // The least rate: whoever was fast enough has another window, in which nothing comes.
    for (bytes, late) in [(14_999, 20 * SECOND), (15_000, 50 * SECOND)] {
        alone(move || {
            let sends: Does = match bytes {
                15_000 => |net, id, chance| _ = net.client_sends(id, &[b'x'; 15_000], chance),
                _ => |net, id, chance| _ = net.client_sends(id, &[b'x'; 14_999], chance),
            };
            reading_on(None, &[(10 * SECOND, sends)], move |input| {
                let mut room = [0; 20_000];
                assert_eq!(time_of(|| input.read(&mut room).unwrap()), (bytes, 10 * SECOND));
                let (result, time) = time_of(|| input.read(&mut room).map_err(|err| err.kind()));
                assert_eq!((result, time), (Err(ErrorKind::TimedOut), late));
            });
        });
    }
}

#[test]
fn a_handler_writes_all_before_it_reads_on() {
    alone(|| {
        let reads = |net: &mut Net, id: usize, _: &mut Chance| _ = net.client_reads(id, 10);
        let mut one = reading_on(Some(10 * SECOND), &[(SECOND, reads), (SECOND, reads)], |input| {
            assert_eq!(time_of(|| input.write_all(&[b'x'; 25]).unwrap()), ((), 2 * SECOND));
            let result = input.write_all(&[b'x'; 25]).map_err(|err| err.kind());
            assert_eq!(result, Err(ErrorKind::TimedOut));
        });
        assert_eq!(one.reads(100), 10);
    });
}
