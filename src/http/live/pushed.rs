//! Bytes that any thread pushes to one client: a bounded queue between a `Sender` or a `Broadcast` and a response. The
//! connection takes the queued bytes and waits, without a worker, to be called for more.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::tee::Tee;
use crate::mutex::{lock, wait};
use crate::tcp::{self, Contained, Instant, MayBlock, Waker, contain};

pub(crate) struct Pushed {
    state: Mutex<State>,
    /// Notified when there is room, and when the connection has ended.
    room: Condvar,
    /// The maximum number of queued bytes.
    limit: usize,
    /// The bytes of a heartbeat, and the time without other bytes after which they are sent. They reveal clients that
    /// have disconnected.
    pub(crate) heartbeat: Option<(Duration, &'static [u8])>,
    /// The maximum time without bytes.
    pub(crate) idle: Option<Duration>,
    /// The maximum time without bytes for a client that has closed its sending side, if that is shorter.
    pub(crate) half_closed: Option<Duration>,
    pub(crate) at_shutdown: AtShutdown,
}

/// The effect of a shutdown on a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum AtShutdown {
    /// The sender has to end it.
    #[default]
    Continues,
    /// These bytes are its last.
    Ends(&'static [u8]),
    /// It is cut off: only its sender knows whether more follows.
    #[cfg(feature = "proxy")]
    Breaks,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<Arc<[u8]>>,
    /// The number of preloaded pieces at the front. They do not count towards the limit.
    preloaded: usize,
    bytes: usize,
    /// How many threads wait for room.
    waiting: usize,
    /// Whether a piece was rejected because the queue was full, and nothing has been taken from the queue since.
    awaits_room: bool,
    /// The number of rejected pieces that were not sent again.
    unsent: usize,
    /// Whether a later piece was queued while one was unsent.
    has_passed: bool,
    /// Called when there is room after a rejected piece. The connection takes the function out while it calls it.
    on_drain: Option<OnDrain>,
    end: Option<PushedEnd>,
    /// The waker of the connection, once it waits for pieces.
    waker: Option<Waker>,
    /// Whether the connection has ended, or never began.
    gone: bool,
    shutting_down: bool,
}

type OnDrain = Box<dyn FnMut() + Send>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushedEnd {
    Complete,
    /// The body is incomplete, and the connection is reset.
    Broken,
}

/// The reason why bytes could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The queue is full because the client reads too slowly. There may be room later.
    Full,
    /// The client has disconnected, or the response has ended.
    Gone,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Full => "the client reads too slowly",
            SendError::Gone => "the client has disconnected",
        })
    }
}

impl std::error::Error for SendError {}

impl Pushed {
    pub(crate) fn new(limit: usize) -> Pushed {
        let (state, room) = (Mutex::default(), Condvar::new());
        Pushed {
            state,
            room,
            limit,
            heartbeat: None,
            idle: None,
            half_closed: None,
            at_shutdown: AtShutdown::default(),
        }
    }

    /// Adds a piece to the queue. Returns the waker for the caller to call without the lock.
    pub(crate) fn push(&self, piece: Arc<[u8]>) -> Result<Option<Waker>, SendError> {
        self.push_into(lock(&self.state), piece)
    }

    /// Adds a piece to the queue, and waits for room until the deadline.
    pub(super) fn push_before(&self, deadline: Option<Instant>, piece: Arc<[u8]>) -> Result<Option<Waker>, SendError> {
        let mut state = lock(&self.state);
        while state.takes(self.limit, piece.len()) == Err(SendError::Full) {
            state.waiting += 1;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(tcp::now()));
            state = wait(&self.room, state, left);
            state.waiting -= 1;
            if left == Some(Duration::ZERO) {
                break;
            }
        }
        self.push_into(state, piece)
    }

    fn push_into(&self, mut state: MutexGuard<'_, State>, piece: Arc<[u8]>) -> Result<Option<Waker>, SendError> {
        let takes = state.takes(self.limit, piece.len());
        if takes == Err(SendError::Full) {
            state.awaits_room = true;
            state.unsent += 1;
        }
        takes?;
        state.has_passed = state.unsent > 0;
        state.bytes += piece.len();
        state.pieces.push_back(piece);
        Ok(state.waker.clone())
    }

    /// Inserts shared pieces at the front of the queue, after those inserted earlier. They do not count towards the
    /// limit.
    pub(crate) fn preload(&self, pieces: impl Iterator<Item = Arc<[u8]>>) {
        let mut state = lock(&self.state);
        for piece in pieces {
            let at = state.preloaded;
            state.pieces.insert(at, piece);
            state.preloaded += 1;
        }
    }

    /// Adds a piece to the queue. If there is no room, drops the oldest queued pieces that were not preloaded.
    pub(crate) fn push_newest(&self, piece: Arc<[u8]>) -> Result<Option<Waker>, SendError> {
        let mut state = lock(&self.state);
        while state.takes(self.limit, piece.len()) == Err(SendError::Full) {
            let oldest = state.preloaded;
            let Some(dropped) = state.pieces.remove(oldest) else { break };
            state.bytes -= dropped.len();
        }
        self.push_into(state, piece)
    }

    /// Marks the body as complete. Returns the waker of the connection.
    pub(crate) fn complete(&self) -> Option<Waker> {
        let mut state = lock(&self.state);
        state.end.get_or_insert(PushedEnd::Complete);
        state.waker.clone()
    }

    /// Interrupts the body and drops the queued bytes. Returns the waker to abort the connection, which may be waiting
    /// for its client to read.
    pub(crate) fn break_off(&self) -> Option<Waker> {
        let mut state = lock(&self.state);
        if state.end == Some(PushedEnd::Complete) {
            return None;
        }
        state.end = Some(PushedEnd::Broken);
        (state.bytes, state.preloaded) = (0, 0);
        self.room.notify_all();
        let left = std::mem::take(&mut state.pieces);
        let waker = state.waker.clone();
        drop(state);
        drop(left);
        waker
    }

    pub(crate) fn is_gone(&self) -> bool {
        lock(&self.state).gone
    }

    /// Adds a piece that was rejected before to the queue.
    pub(super) fn push_again(&self, piece: Arc<[u8]>) -> Result<Option<Waker>, SendError> {
        let mut state = lock(&self.state);
        state.unsent -= 1;
        self.push_into(state, piece)
    }

    /// Returns whether a rejected piece was not sent again.
    pub(super) fn has_gap(&self) -> bool {
        lock(&self.state).unsent > 0
    }

    pub(super) fn is_shutting_down(&self) -> bool {
        lock(&self.state).shutting_down
    }

    /// Sets a function that is called when there is room after a rejected piece. If there is room now, returns the
    /// waker of the connection.
    pub(super) fn on_drain(&self, call: impl FnMut() + Send + 'static) -> Option<Waker> {
        let mut call = Contained::new("dropping a function of `on_drain`", call);
        let call: OnDrain = Box::new(move || (*call)());
        let mut state = lock(&self.state);
        let before = if state.gone { None } else { state.on_drain.replace(call) };
        let waker = state.waker.clone().filter(|_| state.awaits_room); // a send has failed before
        drop(state);
        drop(before);
        waker
    }
}

impl State {
    /// Returns an error if a piece of this length is not accepted. An empty queue accepts any piece.
    fn takes(&self, limit: usize, length: usize) -> Result<(), SendError> {
        match self {
            State { gone: true, .. } | State { end: Some(_), .. } => Err(SendError::Gone),
            State { bytes: 1.., .. } if self.bytes + length > limit => Err(SendError::Full),
            _ => Ok(()),
        }
    }

    fn take_next(&mut self) -> Option<Arc<[u8]>> {
        let piece = self.pieces.pop_front()?;
        match self.preloaded {
            0 => self.bytes -= piece.len(),
            _ => self.preloaded -= 1,
        }
        Some(piece)
    }
}

/// The connection's end of the queue. After it is dropped, the sender sees that the client has disconnected.
pub(crate) struct PushedBody {
    pushed: Arc<Pushed>,
    /// Called with each piece that is sent, in this order.
    pub(crate) tees: Vec<Tee>,
}

pub(crate) struct Taken {
    pub(crate) pieces: Vec<Arc<[u8]>>,
    /// How the body ends, if no more pieces follow.
    pub(crate) end: Option<PushedEnd>,
    /// Whether the sender is to be called, because there is room again.
    pub(crate) room: bool,
}

impl PushedBody {
    pub(crate) fn new(pushed: Arc<Pushed>) -> PushedBody {
        PushedBody { pushed, tees: Vec::new() }
    }

    /// Inserts pieces at the front of the queue: see [`Pushed::preload`].
    pub(super) fn preload(&self, pieces: impl Iterator<Item = Arc<[u8]>>) {
        self.pushed.preload(pieces);
    }

    /// Sets the waker that is called for each new piece. Call [`take`](Self::take) afterwards.
    pub(crate) fn attach(&self, waker: Waker) {
        lock(&self.pushed.state).waker = Some(waker);
    }

    /// Takes queued pieces, up to about this many bytes.
    pub(crate) fn take(&mut self, most: usize) -> Taken {
        self.take_from(lock(&Arc::clone(&self.pushed).state), most)
    }

    /// Ends the body, unless its sender has ended it, and takes all pieces. A body that lacks a rejected piece in its
    /// middle is incomplete.
    pub(crate) fn take_last(&mut self) -> Taken {
        let pushed = Arc::clone(&self.pushed);
        let mut state = lock(&pushed.state);
        let end = if state.has_passed { PushedEnd::Broken } else { PushedEnd::Complete };
        state.end.get_or_insert(end);
        self.take_from(state, usize::MAX)
    }

    fn take_from(&mut self, mut state: MutexGuard<'_, State>, most: usize) -> Taken {
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        while bytes < most
            && let Some(piece) = state.take_next()
        {
            bytes += piece.len();
            pieces.push(piece);
        }
        if state.waiting > 0 && bytes > 0 {
            self.pushed.room.notify_all();
        }
        let end = if state.pieces.is_empty() { state.end } else { None };
        let has_room = bytes > 0 || state.pieces.is_empty();
        let room = has_room && state.on_drain.is_some() && std::mem::take(&mut state.awaits_room);
        drop(state);
        let mut copy = || pieces.iter().for_each(|piece| self.tees.iter_mut().for_each(|tee| tee.copy(piece)));
        if contain("a function of `Response::tee`", &mut copy).is_none() {
            return Taken { pieces: Vec::new(), end: Some(PushedEnd::Broken), room: false };
        }
        if end == Some(PushedEnd::Complete) {
            self.tees.iter().for_each(Tee::complete);
        }
        Taken { pieces, end, room }
    }

    /// Calls the sender's function, which can send more.
    pub(crate) fn call_for_more(&self, _: MayBlock) {
        let Some(mut on_drain) = lock(&self.pushed.state).on_drain.take() else { return };
        on_drain();
        let mut state = lock(&self.pushed.state);
        let left = match state.gone || state.on_drain.is_some() {
            true => Some(on_drain), // the function has been replaced
            false => state.on_drain.replace(on_drain),
        };
        drop(state);
        drop(left);
    }

    pub(crate) fn heartbeat(&self) -> Option<(Duration, &'static [u8])> {
        self.pushed.heartbeat
    }

    /// Returns the maximum time without bytes, for a client that has closed its sending side or not.
    pub(crate) fn idle_timeout(&self, is_half_closed: bool) -> Option<Duration> {
        self.pushed.idle.into_iter().chain(self.pushed.half_closed.filter(|_| is_half_closed)).min()
    }

    pub(crate) fn at_shutdown(&self) -> AtShutdown {
        self.pushed.at_shutdown
    }

    /// Records that the server is shutting down, so that the sender can check it. Returns false if it was recorded
    /// before.
    pub(crate) fn begin_shutdown(&self) -> bool {
        !std::mem::replace(&mut lock(&self.pushed.state).shutting_down, true)
    }
}

impl Drop for PushedBody {
    fn drop(&mut self) {
        let mut state = lock(&self.pushed.state);
        state.gone = true;
        let left = (std::mem::take(&mut state.pieces), state.on_drain.take());
        state.waker = None;
        if state.waiting > 0 {
            self.pushed.room.notify_all(); // a system call even if no sender waits
        }
        drop(state);
        drop(left);
    }
}

/// Settings of a body that other threads send: [`Response::channel_with`](crate::Response::channel_with).
///
/// ```
/// use std::time::Duration;
/// use modest::Response;
/// use modest::live::ChannelOptions;
///
/// let (sender, response) = Response::channel_with(ChannelOptions::new().queue(1 << 20).idle_timeout(Duration::from_secs(60)));
/// # drop((sender, response));
/// ```
#[derive(Clone, Debug)]
pub struct ChannelOptions {
    pub(crate) queue: usize,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) at_shutdown: AtShutdown,
    pub(crate) half_close_timeout: Option<Duration>,
}

default_is_new!(ChannelOptions);

impl ChannelOptions {
    /// Creates the default settings.
    pub fn new() -> ChannelOptions {
        ChannelOptions {
            queue: 64 * 1024,
            idle_timeout: Some(Duration::from_secs(3600)),
            at_shutdown: AtShutdown::default(),
            half_close_timeout: None,
        }
    }

    /// Sets how many bytes can be queued; a send beyond it fails with [`SendError::Full`]. Default: 64 KiB. An empty
    /// queue also accepts a longer piece.
    pub fn queue(mut self, bytes: usize) -> ChannelOptions {
        self.queue = bytes;
        self
    }

    /// Sets whether a shutdown ends the body as complete after the queued bytes, for streams of events, which have no
    /// end of their own. Default: false; the sender has to end the body within the shutdown timeout.
    pub fn ends_at_shutdown(mut self, ends: bool) -> ChannelOptions {
        self.at_shutdown = if ends { AtShutdown::Ends(b"") } else { AtShutdown::Continues };
        self
    }

    #[cfg(feature = "proxy")]
    pub(crate) fn breaks_at_shutdown(mut self) -> ChannelOptions {
        self.at_shutdown = AtShutdown::Breaks;
        self
    }

    /// Sets the maximum time without bytes for a client that has closed its sending side. It may have disconnected, or
    /// still be reading. Default: the [idle timeout](ChannelOptions::idle_timeout).
    #[cfg(feature = "proxy")]
    pub(crate) fn half_close_timeout(mut self, limit: Duration) -> ChannelOptions {
        self.half_close_timeout = Some(limit);
        self
    }

    /// Sets the maximum time without bytes; then the connection is reset, so that a client that has vanished does not
    /// keep its place. Default: one hour; `None`: no limit.
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> ChannelOptions {
        self.idle_timeout = limit.into();
        self
    }
}
