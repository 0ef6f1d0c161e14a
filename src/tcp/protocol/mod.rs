//! The protocol interface: what the engine asks of a protocol, and what a protocol may answer.
//! Called by `connection`, once a turn; implemented by `http` and by any raw protocol.
//! It knows nothing of HTTP, and a conversation never sees a socket, a thread or a lock.

mod handover; // what a connection becomes
mod layer; // what is below a conversation

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{self, Duration, SystemTime};

use super::client::Client;
use super::input::Input;
use super::kept::Kept;
use super::live::{Live, LiveKind, LivePlace, LiveRefusal};
use super::memory::CONNECTION;
use super::output::Output;
use super::scheduler::{Link, Waker};
use super::slow_handlers::CurrentHandler;
use super::stream::Stream;
use super::sync::{self, Instant};
pub use handover::Handover;
pub use layer::Layer;
pub(super) use layer::RECORD;

/// What a server serves: it meets each client and says how to talk with it.
///
/// To write: `meet`. Give it to [`TcpServer::bind`](crate::TcpServer::bind) inside [`Raw`].
pub trait Protocol: Send + Sync + 'static {
    /// Called once for each accepted client, on a worker, before a byte is read.
    /// `None` turns the client away: it sees the end of the stream (Python's `verify_request`).
    ///
    /// It runs with a permit for short work: while it blocks it holds up nobody but clients that need one, too.
    fn meet(&self, client: &Client) -> Option<Box<dyn Conversation>>;

    /// How much memory a connection may need, in bytes, with what the kernel needs for it, and without what its conversation
    /// [keeps](Conversation::kept). The default of [`TcpServer::max_connections`](crate::TcpServer::max_connections) is as many as fit
    /// in half of the [memory](crate::TcpServer::memory).
    ///
    /// By default 8 KiB.
    fn connection_memory(&self) -> u64 {
        CONNECTION
    }
}

/// One client's side of a protocol: bytes in, pieces out.
///
/// Dropped when the connection is over, whatever ended it.
pub trait Conversation: Send {
    /// Use up what `turn.input` holds, append answers to `turn.output`, say what comes next.
    ///
    /// The first turn comes right after the client was accepted, maybe without a byte: a server may speak first.
    /// After [`Next::Read`] and [`Next::Idle`] the next turn comes with new bytes or with the end of the stream;
    /// after [`Next::Handle`] with a permit, where it may block; anywhere else it must not block.
    fn turn(&mut self, turn: &mut Turn<'_>) -> Next;

    /// Something other than bytes happened. It should be brief: it runs with a permit for short work.
    ///
    /// By default the connection is closed after what is owed.
    fn event(&mut self, what: Event, turn: &mut Turn<'_>) -> Next {
        let _ = (what, turn);
        Next::Close
    }

    /// The connection's socket, after [`Next::Take`], on a thread of this client's own: it may block as long as it likes.
    ///
    /// By default the connection is closed.
    fn take(self: Box<Self>, stream: Stream) {
        drop(stream);
    }

    /// The connection is idle ([`Next::Idle`]) and about to be closed: past its limit, for a newcomer, or because the
    /// server shuts down. What is laid into the output is sent first; a protocol that ends with a goodbye (the
    /// `close_notify` of TLS) says it here. It must not block: it runs without a permit.
    ///
    /// By default nothing is said.
    fn goodbye(&mut self, turn: &mut Turn<'_>) {
        let _ = turn;
    }

    /// Whether dropping this conversation, as it is now, may block (it waits for a child process, it closes a large
    /// file): then a permit is waited for first. By default it may.
    fn drop_may_block(&self) -> bool {
        true
    }

    /// How many bytes of what its client sent it keeps by itself, of a message that is not complete or not answered:
    /// they count for [`TcpServer::input_quota`](crate::TcpServer::input_quota), as do those that it leaves in `turn.input`. Asked
    /// at the end of a turn, unless the connection is idle.
    ///
    /// By default none.
    fn kept(&self) -> usize {
        0
    }
}

/// What a conversation has before it in one turn.
#[non_exhaustive]
pub struct Turn<'a> {
    /// Bytes that arrived and were not used yet.
    pub input: &'a mut Input,
    /// Where the answers go. It is written before the next turn as far as the client takes it.
    pub output: &'a mut Output,
    /// Who is there.
    pub client: &'a Client,
    /// When this turn began, by the wall clock: for `Date`.
    pub wall: SystemTime,
    pub(crate) now: Instant,
    pub(crate) polled: Option<Instant>,
    pub(super) link: Option<&'a Arc<Link>>,
    pub(super) server: Option<&'a dyn ServerState>,
    pub(super) shutting_down: bool,
    pub(super) current: Option<&'a CurrentHandler>,
    pub(super) blocking: Option<&'a dyn BlockingSource>,
    pub(super) handover: Option<&'a mut Option<Box<Handover>>>,
}

/// The socket, for a conversation that reads on in a turn that may block.
pub trait BlockingSource {
    fn blocking_input(&self, within: Option<Duration>) -> io::Result<Box<dyn BlockingInput>>;
}

/// The bytes behind those of a turn's input, read while the turn lasts.
pub trait BlockingInput: Send {
    /// Read once; wait for bytes if there are none. 0: the client has sent its last.
    ///
    /// # Errors
    /// `TimedOut` if the client is too slow; else those of the socket, of a client that is gone.
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize>;

    /// Send these bytes now. They go ahead of whatever is in the turn's output.
    ///
    /// # Errors
    /// As [`read`](BlockingInput::read).
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// The server, as far as a conversation may know of it.
pub trait ServerState {
    fn is_shutting_down(&self) -> bool;

    /// The shutdown has ended: nothing more is to be finished.
    fn is_over(&self) -> bool;

    /// Whether the connection that asks is to end with its next answer, because room is short. As many are told so as are wanted.
    fn takes_last_answer(&self) -> bool;

    /// The places of connections that wait for something other than their client.
    fn live(&self) -> &Arc<Live>;

    /// The memory for what clients have sent and nobody has used yet.
    fn kept(&self) -> &Arc<Kept>;
}

impl<'a> Turn<'a> {
    /// A turn of one's own, for testing a conversation without a server.
    pub fn new(input: &'a mut Input, output: &'a mut Output, client: &'a Client) -> Turn<'a> {
        Turn {
            input,
            output,
            client,
            wall: SystemTime::now(),
            now: sync::now(),
            polled: None,
            link: None,
            server: None,
            shutting_down: false,
            current: None,
            blocking: None,
            handover: None,
        }
    }

    /// The same turn in a server that is shutting down, for tests.
    pub fn while_shutting_down(mut self) -> Turn<'a> {
        self.shutting_down = true;
        self
    }

    /// When this turn began.
    pub fn now(&self) -> time::Instant {
        sync::to_std(self.now)
    }

    /// Say when this turn began: for tests of what takes time.
    pub fn set_now(&mut self, now: time::Instant) {
        self.now = sync::from_std(now);
    }

    /// When the poll that brought these bytes returned: they had arrived by then, so what was looked up on disk since
    /// is as fresh as a look now. `None`: the bytes may be younger than any poll; ask the disk.
    pub fn polled(&self) -> Option<time::Instant> {
        self.polled.map(sync::to_std)
    }

    /// Say when a poll brought the bytes of this turn; `None`: no poll did. For tests.
    pub fn set_polled(&mut self, polled: Option<time::Instant>) {
        self.polled = polled.map(sync::from_std);
    }

    /// Whether the server is shutting down, or this connection is to give way to another: say so in the answer, and
    /// close. After a handler that took its time it may be so although it was not before.
    pub fn is_shutting_down(&self) -> bool {
        self.shutting_down || self.server.is_some_and(ServerState::is_shutting_down)
    }

    /// A place among the connections that wait for something other than their client, to be held while it does. `None`: there
    /// is no server.
    ///
    /// # Errors
    /// If as many wait as may.
    pub(crate) fn live_place(&self, kind: LiveKind, ip: Option<IpAddr>) -> Result<Option<LivePlace>, LiveRefusal> {
        self.server.map(|server| server.live().admit(kind, ip)).transpose()
    }

    /// A handler begins in this turn, called for this (some 200 bytes of it are kept). Should it run for longer than
    /// [`TcpServer::slow_handler`](crate::TcpServer::slow_handler), the log is told of it by this name.
    /// To be said after [`Next::Handle`]; it is over with the turn.
    pub fn handler_begins(&self, what: impl AsRef<[u8]>) {
        if let Some(current) = self.current {
            current.begin(what.as_ref(), self.client, self.now);
        }
    }

    /// Something that reads on from the client while this turn lasts, which may block ([`Next::Handle`]): at the server's
    /// least rate, and waiting for the client no longer than this in all. It must be dropped before the turn is over, and
    /// what it read and nobody used goes back to the input. `None`: there is no socket (a test), or no descriptor for it.
    pub(crate) fn blocking_input(&self, within: Option<Duration>) -> Option<Box<dyn BlockingInput>> {
        self.blocking?.blocking_input(within).ok()
    }

    /// The connection goes on with another conversation, once everything this one has appended to the output is written:
    /// after a handshake, the header of a proxy, an upgrade. To be returned from the turn. What is unused of the input is the
    /// successor's, or its layer's.
    ///
    /// A turn made by [`Turn::new`] belongs to no connection: the successor is dropped, unless the test
    /// [keeps](Turn::keeping_handover) it.
    pub fn hand_over(&mut self, handover: Handover) -> Next {
        match &mut self.handover {
            Some(slot) => {
                **slot = Some(Box::new(handover));
                Next::Again
            }
            None => Next::Close,
        }
    }

    /// This turn, with a place for what is [handed over](Turn::hand_over) in it: for tests without a server.
    pub fn keeping_handover(mut self, slot: &'a mut Option<Box<Handover>>) -> Turn<'a> {
        self.handover = Some(slot);
        self
    }

    /// This turn with other bytes: for a layer above another.
    pub(super) fn within<'b>(&'b self, input: &'b mut Input, output: &'b mut Output) -> Turn<'b> {
        let Turn { client, now, wall, polled, link, server, shutting_down, current, .. } = *self;
        let (blocking, handover) = (None, None);
        Turn { input, output, client, now, wall, polled, link, server, shutting_down, current, blocking, handover }
    }

    /// Something that calls this connection from any thread: its conversation is then told [`Event::Called`].
    /// (In a turn of one's own, made by [`Turn::new`], it calls nobody.)
    pub fn waker(&self) -> Waker {
        Waker::new(self.link.cloned().unwrap_or_else(Link::alone))
    }
}

/// What the bytes being waited for are to a conversation: an opaque number of its own choosing.
///
/// The clock of a stage starts when the stage is first named and no byte renews it: dripping wins nothing.
/// Named again after [`Next::Handle`] or [`Next::Again`] it is still the same stage; only [`Next::Idle`], another
/// stage, and its own lateness end it. So give each message that has a limit a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stage(pub u32);

/// What comes next, by the word of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "is heard only if it is returned"]
pub enum Next {
    /// More bytes are wanted, within so long of this stage's beginning (`None`: no limit); else [`Event::Late`].
    /// A conversation that wants more with 64 KiB unused is reset: refuse before. After the end of the stream it means
    /// [`Next::Close`].
    Read {
        /// What the bytes are for.
        stage: Stage,
        /// How long the whole stage may take.
        within: Option<Duration>,
        /// Whether what was begun means nothing yet (half a head), so that this connection may be evicted for a
        /// newcomer when room is short and the stage is over a second old. It is then told [`Event::Late`].
        evictable: bool,
        /// Whether these bytes must keep up the server's least rate
        /// ([`TcpServer::min_rate`](crate::TcpServer::min_rate)), as long as they are waited for: else
        /// [`Event::Late`], too.
        at_min_rate: bool,
    },
    /// Nothing is awaited of the client, but a call ([`Waker`]), or the time: within so long of this stage's beginning, else
    /// [`Event::Late`]. Bytes that come are told as after [`Next::Read`]. The end of what the client sends is told once, and
    /// ends nothing: it may still read. That it is gone shows when something is sent to it, or after about a minute.
    Wait {
        /// What is awaited.
        stage: Stage,
        /// How long the whole stage may take.
        within: Option<Duration>,
    },
    /// Nothing is under way. Idle clients are evicted when room is short, and ended at once by a shutdown.
    /// Past the limit (`None`: no limit) the connection is closed without a word.
    Idle {
        /// How long the client may stay silent.
        within: Option<Duration>,
    },
    /// The next turn may block, for as long as it likes: it comes with a permit, once one is to be had, or with
    /// [`Event::NoPermit`].
    Handle,
    /// The next turn may block, but only briefly: it reads a stretch of a file, it has another protocol meet the
    /// client. It comes with a permit for short work, one of which is kept from handlers; the wait for it has no limit.
    Brief,
    /// Wait on as before: what was said last, [`Next::Read`], [`Next::Wait`] or [`Next::Idle`], holds, and its clock goes on. For bytes
    /// that mean nothing yet. In answer to lateness, or after anything else, it means [`Next::Close`].
    Unchanged,
    /// Ask again once the output is written.
    Again,
    /// Leave the engine, once all output is written: [`Conversation::take`] is called with the socket, on a thread of its
    /// own. Where none is free ([`TcpServer::max_streams`](crate::TcpServer::max_streams)) the connection waits for one
    /// as it would for a handler; past that it is told [`Event::NoThread`].
    Take,
    /// The end, after what is owed. Said in answer to bytes or to lateness after [`Next::Read`], or with bytes left in
    /// the input, it means that the client may still be sending and might not have read the answer: then
    /// the connection lingers, half-closed, so that it can.
    Close,
    /// The end, as [`Next::Close`] of a client that may still be sending, whatever went before.
    Linger,
    /// Reset at once: a broken promise of length must not look like an end.
    Abort,
}

impl Next {
    /// [`Next::Read`] of a message that is under way: its connection is not evicted.
    pub fn read(stage: Stage, within: impl Into<Option<Duration>>) -> Next {
        Next::Read { stage, within: within.into(), evictable: false, at_min_rate: false }
    }

    /// [`Next::Read`] of what a client should send steadily, however much that is: at the server's least rate.
    pub fn read_at_min_rate(stage: Stage, within: impl Into<Option<Duration>>) -> Next {
        Next::Read { stage, within: within.into(), evictable: false, at_min_rate: true }
    }
}

/// What can happen to a conversation besides bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The bytes of this stage did not come in time, or too slowly.
    Late(Stage),
    /// No permit was to be had for a turn asked for by [`Next::Handle`]: the queue is full, or the wait was too long.
    /// Asking for one again is a [`Next::Close`].
    NoPermit,
    /// No thread was to be had, asked for by [`Next::Take`]. Asking for one again is a [`Next::Close`].
    NoThread,
    /// There is no memory for what this client has sent and the conversation did not use, or [keeps](Conversation::kept): what all
    /// have sent is more than [`TcpServer::input_quota`](crate::TcpServer::input_quota). A conversation that goes on is reset.
    NoMemory,
    /// Another thread called, by a [`Waker`]. It is told while the conversation waits ([`Next::Read`], [`Next::Wait`], [`Next::Idle`]),
    /// and else as soon as it does, once for all calls so far.
    Called,
    /// The server shuts down while something is awaited ([`Next::Read`], [`Next::Wait`]): go on with what was begun, or close.
    ShuttingDown,
    /// The client took nothing for too long, or is gone. What is said after this is not sent.
    SendFailed,
}

/// A raw protocol in the place of a handler: `TcpServer::bind(address, Raw(Echo))`.
#[derive(Clone, Copy, Debug)]
pub struct Raw<P>(pub P);

/// What [`TcpServer::bind`](crate::TcpServer::bind) takes: a `RequestHandler`, [`Http`](crate::Http) with settings,
/// or [`Raw`] around a [`Protocol`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be served",
    label = "neither a request handler nor in `Raw(..)`",
    note = "a closure is given as `handler_fn(|request| ..)`, a `Protocol` as `Raw(..)`, routes with their state as `routes.serve(state)`",
    note = "anything else implements `RequestHandler`"
)]
pub trait IntoProtocol {
    /// The protocol that is served in the end.
    type Protocol: Protocol;

    /// Make a protocol of it.
    fn into_protocol(self) -> Self::Protocol;
}

impl<P: Protocol> IntoProtocol for Raw<P> {
    type Protocol = P;

    fn into_protocol(self) -> P {
        self.0
    }
}
