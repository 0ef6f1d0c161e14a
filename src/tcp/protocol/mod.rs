//! The protocol interface: how the engine calls a protocol, and what a protocol can return. Called by `connection`,
//! once per turn; implemented by `http` and by any raw protocol. It does not depend on HTTP. A conversation never
//! handles a socket, a thread or a lock.

mod codec;
mod guarded; // conversations, as the engine calls them
mod handover; // handing a connection over // code below a conversation

use std::any::Any;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{self, Duration, SystemTime};

use super::client::Client;
use super::input::Input;
use super::input_memory::InputMemory;
use super::live::{Live, LiveKind, LivePlace, LiveRefusal};
use super::memory::CONNECTION;
use super::output::Output;
use super::scheduler::{Link, MayBlock, Waker};
use super::slow_handlers::CurrentHandler;
pub use super::stage::Stage;
use super::stream::Stream;
use super::sync::{self, Instant};
use super::watched_sockets::WatchedSockets;
pub use codec::Codec;
pub(super) use codec::{RECORD, SEALED_AHEAD};
pub use guarded::{Guarded, meet};
pub use handover::Handover;
pub(super) use handover::{ContainedCodec, Successor, contained};

/// A protocol to be served: it meets each client and returns the conversation with it.
///
/// Required: `meet`. Pass it to [`TcpServer::bind`](crate::TcpServer::bind) inside [`Raw`].
pub trait Protocol: Send + Sync + 'static {
    /// Called once for each accepted client, on a worker, before a byte of this protocol is read. `None` rejects the
    /// client, which sees the end of the stream (Python's `verify_request`).
    ///
    /// `meet` may block for a short time: it holds a permit that handlers and other new clients may need.
    fn meet(&self, client: &Client) -> Option<Box<dyn Conversation>>;

    /// Returns whether the connection will name another client ([`Handover::with_client`]), because this one is a
    /// proxy. It does not count for [`TcpServer::max_per_address`](crate::TcpServer::max_per_address); the named client
    /// does. Called when the connection is accepted: it must not block. Default: false.
    fn is_proxy(&self, client: &Client) -> bool {
        let _ = client;
        false
    }

    /// Returns how much memory a connection may need, in bytes, including the kernel's part, but without the bytes that
    /// its conversation [keeps](Conversation::kept). By default,
    /// [`TcpServer::max_connections`](crate::TcpServer::max_connections) is the number of connections that fit in half
    /// of the [memory](crate::TcpServer::memory).
    ///
    /// Default: 8 KiB.
    fn connection_memory(&self) -> u64 {
        CONNECTION
    }

    /// Returns the names of this protocol in TLS (ALPN, RFC 7301), in order of preference: the default of
    /// `Tls::application_protocols`. Default: none, and no name is negotiated.
    fn application_protocols(&self) -> &'static [&'static str] {
        &[]
    }

    /// Returns the response to a client without TLS that sends this first byte to a port with TLS. Default:
    /// `None`; the client gets an alert of TLS.
    fn response_without_tls(&self, first: u8, now: SystemTime) -> Option<Vec<u8>> {
        let _ = (first, now);
        None
    }

    /// Returns the settings that protocols added by [`TcpServer::also_serve`](crate::TcpServer::also_serve) take over
    /// from the first one: the format of the access log.
    #[doc(hidden)]
    fn shared_settings(&self) -> Option<&(dyn Any + Send + Sync)> {
        None
    }

    /// Takes over these settings, unless the protocol has its own.
    #[doc(hidden)]
    fn take_over(&self, settings: &(dyn Any + Send + Sync)) {
        let _ = settings;
    }
}

/// The protocol's state for one client: it consumes bytes and returns output.
///
/// Dropped when the connection has ended, in any way.
pub trait Conversation: Send {
    /// Consumes bytes of `turn.input`, appends output to `turn.output`, and returns what comes next.
    ///
    /// The first turn comes right after the client was accepted, possibly without a byte, so a server can send first.
    /// After [`Action::Read`] and [`Action::Idle`] the next turn comes with new bytes or with the end of the stream.
    /// After [`Action::Handle`] and [`Action::Brief`] it comes with a permit and may block; any other turn must not
    /// block.
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action;

    /// Called for everything except bytes. It runs with a permit for short work, so it should be short.
    ///
    /// Default: closes the connection after its output is written.
    fn event(&mut self, what: Event, turn: &mut Turn<'_>) -> Action {
        let _ = (what, turn);
        Action::Close
    }

    /// Called with the connection's socket after [`Action::Take`], on a thread of this client's own. It may block for
    /// any time.
    ///
    /// Default: closes the connection.
    fn take(self: Box<Self>, stream: Stream) {
        drop(stream);
    }

    /// Called before an idle connection ([`Action::Idle`]) is closed, after its time limit, for a new client, or
    /// because the server shuts down. The output is sent before the connection is closed. A protocol that ends with a
    /// goodbye (`close_notify` in TLS) appends it here. It must not block: it runs without a permit.
    ///
    /// Default: nothing.
    fn goodbye(&mut self, turn: &mut Turn<'_>) {
        let _ = turn;
    }

    /// Returns whether dropping this conversation in its current state may block, because it waits for a child process
    /// or closes a large file, for example. Then it is dropped with a permit. Default: true.
    fn drop_may_block(&self) -> bool {
        true
    }

    /// Called before the conversation is dropped, if the connection is cut off: reset with unsent output, or when the
    /// server exits (for several at once, in any order). A conversation that logs its message does so here. It must not
    /// block. `unsent`: how many bytes of the output are not sent.
    #[doc(hidden)]
    fn cut_off(&mut self, unsent: u64) {
        let _ = unsent;
    }

    /// Returns how many bytes of its client the conversation itself keeps, for a message that is incomplete or has no
    /// response yet. They count for [`TcpServer::input_quota`](crate::TcpServer::input_quota), like the bytes that it
    /// leaves in `turn.input`. Called at the end of a turn, unless the connection is idle.
    ///
    /// Default: 0.
    fn kept(&self) -> usize {
        0
    }
}

/// The context of a conversation in one turn.
#[non_exhaustive]
pub struct Turn<'a> {
    /// Bytes that have arrived and were not consumed.
    pub input: &'a mut Input,
    /// The output. It is written before the next turn, as far as the client reads it.
    pub output: &'a mut Output,
    /// The client.
    pub client: &'a Client,
    /// The wall-clock time when this turn began.
    pub wall: SystemTime,
    pub(crate) now: Instant,
    pub(crate) polled: Option<Instant>,
    pub(super) link: Option<&'a Arc<Link>>,
    pub(super) server: Option<&'a dyn ServerState>,
    pub(super) shutting_down: bool,
    pub(super) current: Option<&'a CurrentHandler>,
    pub(super) may_block: Option<MayBlock>,
    pub(super) blocking: Option<&'a dyn BlockingSource>,
    pub(super) handover: Option<&'a mut Option<Box<Handover>>>,
    pub(super) output_can_wait: Option<&'a mut bool>,
}

/// The socket, for a conversation that reads more bytes in a turn that may block.
pub trait BlockingSource {
    fn blocking_input(&self, within: Option<Duration>) -> io::Result<Box<dyn BlockingInput>>;
}

/// A reader of the bytes after the turn's input, used during the turn.
pub trait BlockingInput: Send {
    /// Reads once, and waits for bytes if there are none. Returns 0 if the client has sent its last byte.
    ///
    /// # Errors
    /// `TimedOut` if the client is too slow; otherwise those of the socket.
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize>;

    /// Sends these bytes now, before the turn's output.
    ///
    /// # Errors
    /// As [`read`](BlockingInput::read).
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// The server, as far as conversations can see it.
pub trait ServerState {
    fn is_shutting_down(&self) -> bool;

    /// Returns whether the shutdown timeout has passed: work in progress is no longer finished.
    fn is_over(&self) -> bool;

    /// Returns whether the calling connection has to end with its next response, because room is needed. It returns
    /// true once for each place that is needed.
    fn takes_last_response(&self) -> bool;

    /// Counts a connection that got no permit. If a warning is due, returns its end, which counts the warnings left
    /// out.
    fn count_without_permit(&self, now: Instant) -> Option<String>;

    /// Returns the places of connections that wait for something other than their client.
    fn live(&self) -> &Arc<Live>;

    /// Returns the memory for received and unused bytes.
    fn input_memory(&self) -> &Arc<InputMemory>;

    /// Returns the sockets that handlers wait for.
    fn watched(&self) -> &Arc<WatchedSockets>;
}

impl<'a> Turn<'a> {
    /// Creates a turn for testing a conversation without a server.
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
            may_block: Some(MayBlock::on_own_thread()),
            blocking: None,
            handover: None,
            output_can_wait: None,
        }
    }

    /// Makes this the turn of a server that is shutting down, for tests.
    pub fn while_shutting_down(mut self) -> Turn<'a> {
        self.shutting_down = true;
        self
    }

    /// Makes this a turn that must not block, for tests of this crate's own conversations.
    #[doc(hidden)]
    pub fn without_permit(mut self) -> Turn<'a> {
        self.may_block = None;
        self
    }

    /// Returns when this turn began.
    pub fn now(&self) -> time::Instant {
        sync::to_std(self.now)
    }

    /// Sets when this turn began, for tests of time limits.
    pub fn set_now(&mut self, now: time::Instant) {
        self.now = sync::from_std(now);
    }

    /// Reads the wall clock again, after code that may have taken long. A test without a server keeps its own time.
    pub(crate) fn read_wall_clock(&mut self) {
        if self.server.is_some() {
            self.wall = SystemTime::now();
        }
    }

    /// Returns when the poll that reported these bytes ended. The bytes had arrived by then, so a check of the file
    /// system made after that time is as good as a new one. `None`: the bytes may have arrived after the last poll, so
    /// check the file system.
    #[doc(hidden)]
    pub fn polled(&self) -> Option<time::Instant> {
        self.polled.map(sync::to_std)
    }

    /// Sets when the poll that reported the bytes of this turn returned, for tests. `None`: no poll reported them.
    #[doc(hidden)]
    pub fn set_polled(&mut self, polled: Option<time::Instant>) {
        self.polled = polled.map(sync::from_std);
    }

    /// Returns the proof that this turn may block. There is one after [`Action::Handle`] and [`Action::Brief`], in an
    /// [`Event`], and without a server.
    pub(crate) fn may_block(&self) -> Option<MayBlock> {
        self.may_block
    }

    /// Returns whether the server is shutting down, or this connection has to make room for another. The protocol
    /// should then announce the end in its response, and close. It can become true while a handler runs.
    pub fn is_shutting_down(&self) -> bool {
        self.shutting_down || self.server_is_shutting_down()
    }

    pub(crate) fn server_is_shutting_down(&self) -> bool {
        self.server.is_some_and(ServerState::is_shutting_down)
    }

    /// Returns whether the shutdown timeout has passed.
    pub(crate) fn server_is_over(&self) -> bool {
        self.server.is_some_and(ServerState::is_over)
    }

    /// Returns a place among the connections that wait for something other than their client. Hold it while the
    /// connection waits. `None` if there is no server.
    ///
    /// # Errors
    /// If the limit is reached.
    pub(crate) fn live_place(&self, kind: LiveKind, ip: Option<IpAddr>) -> Result<Option<LivePlace>, LiveRefusal> {
        self.server.map(|server| server.live().admit(kind, ip)).transpose()
    }

    /// Records that a handler begins in this turn, and what it was called for (about 200 bytes are kept). If it runs
    /// longer than [`TcpServer::slow_handler`](crate::TcpServer::slow_handler), it is logged under this name. Call it
    /// after [`Action::Handle`]. It applies to this turn.
    pub fn handler_begins(&self, what: impl AsRef<[u8]>) {
        if let Some(current) = self.current {
            current.begin(what.as_ref(), self.client, self.now);
        }
    }

    /// Returns a reader of the bytes that follow, for a turn that may block ([`Action::Handle`]). It enforces the
    /// server's minimum rate, and waits for the client no longer than `within` in total. It must be dropped before the
    /// end of the turn; bytes that were read and not used are put back into the input. `None` if there is no socket (in
    /// a test), or no descriptor for a second handle.
    pub(crate) fn blocking_input(&self, within: Option<Duration>) -> Option<Box<dyn BlockingInput>> {
        self.blocking?.blocking_input(within).ok()
    }

    /// Hands the connection over to another conversation, for example after a handshake, the header of a proxy, or an
    /// upgrade. The output of this conversation is written first. Return the result from the turn. The successor, or
    /// its codec, gets the unused input.
    ///
    /// A turn created by [`Turn::new`] belongs to no connection. It drops the successor, unless the test
    /// [keeps](Turn::keeping_handover) it.
    pub fn hand_over(&mut self, handover: Handover) -> Action {
        match &mut self.handover {
            Some(slot) => {
                drop(slot.replace(Box::new(handover)).map(Successor::from)); // only the last one follows
                Action::Again
            }
            None => {
                drop(Successor::from(Box::new(handover)));
                Action::Close
            }
        }
    }

    /// Allows the output to be written together with the output of the turn after [`Action::Handle`]. It waits only if
    /// handlers are short. Used for responses to several requests that have arrived at once.
    pub(crate) fn let_output_wait(&mut self) {
        if let Some(can_wait) = &mut self.output_can_wait {
            **can_wait = true;
        }
    }

    /// Stores the [handover](Turn::hand_over) of this turn in `slot`, for tests without a server.
    pub fn keeping_handover(mut self, slot: &'a mut Option<Box<Handover>>) -> Turn<'a> {
        self.handover = Some(slot);
        self
    }

    /// Returns this turn with other input and output, for a codec above another.
    pub(super) fn within<'b>(&'b self, input: &'b mut Input, output: &'b mut Output) -> Turn<'b> {
        let Turn { client, now, wall, polled, link, server, shutting_down, current, .. } = *self;
        let (may_block, blocking, handover) = (None, None, None);
        Turn {
            input,
            output,
            client,
            now,
            wall,
            polled,
            link,
            server,
            shutting_down,
            current,
            may_block,
            blocking,
            handover,
            output_can_wait: None,
        }
    }

    /// Returns a waker, which calls this connection from any thread: its conversation then gets [`Event::Called`]. (In
    /// a turn made by [`Turn::new`] it does nothing.)
    pub fn waker(&self) -> Waker {
        Waker::new(self.link.cloned().unwrap_or_else(Link::alone))
    }
}

/// The next step of a connection, returned by a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "has an effect only if it is returned"]
pub enum Action {
    /// Wait for more bytes, up to `within` from the beginning of this stage (`None`: no limit). After that the
    /// conversation gets [`Event::Late`]. If it returns this with 64 KiB of unused input, the connection is reset, so
    /// reject such messages before. After the end of the stream, this means [`Action::Close`].
    Read {
        /// The stage for which the bytes are needed.
        stage: Stage,
        /// How long the whole stage can take.
        within: Option<Duration>,
        /// Whether the message so far has no effect (an incomplete head). Then this connection can be evicted for a new
        /// client when room is needed and the stage is over one second old, and a shutdown leaves the message 500 ms.
        /// After that the conversation gets [`Event::Late`].
        evictable: bool,
        /// Whether these bytes must arrive at the server's minimum rate
        /// ([`TcpServer::min_rate`](crate::TcpServer::min_rate)) while the server waits for them. Below that rate, the
        /// conversation gets [`Event::Late`].
        at_min_rate: bool,
    },
    /// Wait for a call ([`Waker`]), up to `within` from the beginning of this stage (`None`: no limit). After that the
    /// conversation gets [`Event::Late`]. Bytes that arrive cause a turn, as after [`Action::Read`]. The end of the
    /// client's bytes causes one turn. The connection stays open, because the client may still read. A client that has
    /// disconnected is noticed when something is sent to it, or after about a minute.
    Wait {
        /// The stage of the wait.
        stage: Stage,
        /// How long the whole stage can take.
        within: Option<Duration>,
    },
    /// Nothing is in progress. Idle connections are evicted when room is needed, and ended by a shutdown, up to 500 ms
    /// after their last response. After the limit (`None`: no limit) the connection is closed. The limit counts from
    /// when the client has read the last response. Output for a call ([`Event::Called`]) does not extend it.
    Idle {
        /// How long the client can be silent.
        within: Option<Duration>,
    },
    /// The next turn may block indefinitely. It comes with a permit, or [`Event::NoPermit`] comes instead. Directly
    /// after [`Action::Wait`], the wait for the permit has no limit: the message is already being handled.
    Handle,
    /// The next turn may block for a short time: to read part of a file, or to let another protocol meet the client. It
    /// comes with a permit for short work, one of which is reserved. The wait for it has no limit.
    Brief,
    /// The previous [`Action::Read`], [`Action::Wait`] or [`Action::Idle`] and its clock stay in force: after bytes
    /// that have no effect yet, or in response to [`Event::Called`]. In response to [`Event::Late`], or if the previous
    /// action is none of these three, it means [`Action::Close`].
    Unchanged,
    /// Call this conversation again once the output is written.
    Again,
    /// Leave the engine once all output is written: [`Conversation::take`] is called with the socket, on a thread of
    /// its own. If no thread is free ([`TcpServer::max_streams`](crate::TcpServer::max_streams)), the connection waits
    /// for one, as long as for a permit. After that the conversation gets [`Event::NoThread`].
    Take,
    /// Close the connection after its output is written. If this is returned for bytes or for lateness after
    /// [`Action::Read`], or with bytes left in the input, the client may still be sending. Then the connection stays
    /// half-closed for 2 seconds, or up to 30 while bytes arrive, so that the client can read the output. If nothing
    /// was written in the last 2 seconds, it is closed at once.
    Close,
    /// Close the connection after its output is written, as for a client that may still be sending. Like
    /// [`Action::Close`], it closes the connection at once if the client has closed its sending side, or if nothing was
    /// written in the last 2 seconds.
    Linger,
    /// Reset the connection at once: an incomplete response must not look complete.
    Abort,
}

impl Action {
    /// Returns an [`Action::Read`] for a message in progress: its connection is not evicted.
    pub fn read(stage: Stage, within: impl Into<Option<Duration>>) -> Action {
        Action::Read { stage, within: within.into(), evictable: false, at_min_rate: false }
    }

    /// Returns an [`Action::Read`] for a long message that must arrive at the server's minimum rate.
    pub fn read_at_min_rate(stage: Stage, within: impl Into<Option<Duration>>) -> Action {
        Action::Read { stage, within: within.into(), evictable: false, at_min_rate: true }
    }
}

/// An event of a conversation, except the arrival of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The bytes of this stage did not arrive in time, or arrived too slowly.
    Late(Stage),
    /// There was no permit for [`Action::Handle`], because the queue is full or the wait was too long. Returning it
    /// again means [`Action::Close`].
    NoPermit,
    /// There was no thread for [`Action::Take`]. Returning it again means [`Action::Close`].
    NoThread,
    /// There is no memory for the unused input of this client, or for the bytes that the conversation
    /// [keeps](Conversation::kept), because [`TcpServer::input_quota`](crate::TcpServer::input_quota) is reached. If
    /// the conversation continues, the connection is reset.
    NoMemory,
    /// Another thread called a [`Waker`]. The conversation gets this event while it waits ([`Action::Read`],
    /// [`Action::Wait`], [`Action::Idle`]) or as soon as it waits again, once for all calls so far.
    Called,
    /// The server shuts down while the conversation waits ([`Action::Read`], unless it is evictable, or
    /// [`Action::Wait`]). Finish the message, or close.
    ShuttingDown,
    /// The client has disconnected, or has read nothing for too long or below the minimum rate, or part of a file in
    /// the output can't be read, or [`Waker::abort`] was called. The output and further output are not sent.
    SendFailed,
}

/// A raw protocol in place of a handler: `TcpServer::bind(address, Raw(Echo))`.
#[derive(Clone, Copy, Debug)]
pub struct Raw<P>(pub P);

/// The argument of [`TcpServer::bind`](crate::TcpServer::bind): a `RequestHandler`, [`Http`](crate::Http) with
/// settings, or [`Raw`] around a [`Protocol`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be served",
    label = "this is neither a `RequestHandler` nor wrapped in `Raw(..)`",
    note = "wrap a closure in `handler_fn(|request| ..)` and a `Protocol` in `Raw(..)`; pass routes as `routes.with_state(state)`",
    note = "any other type must implement `RequestHandler`"
)]
pub trait IntoProtocol {
    /// The protocol that is served.
    type Protocol: Protocol;

    /// Converts the argument into a protocol.
    fn into_protocol(self) -> Self::Protocol;
}

impl<P: Protocol> IntoProtocol for Raw<P> {
    type Protocol = P;

    fn into_protocol(self) -> P {
        self.0
    }
}
