//! Sending to one client from any thread, by a bounded queue. Handlers and other threads fill it; `session` sends the
//! queued frames, and holds no worker while it waits.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use super::message::{Close, Message};
use crate::Client;
use crate::live::SendError;
use crate::mutex::{lock, wait};
use crate::raw::{Output, Piece, Waker};

/// A handle of one client. Clones refer to the same client. Keep a clone to send from any thread at any time.
///
/// Two handles are equal if they refer to the same client, so they can be stored in a set.
#[derive(Clone)]
pub struct Socket(Arc<Shared>);

struct Shared {
    client: Client,
    protocol: Option<String>,
    limit: usize,
    state: Mutex<State>,
    /// Notified when there is room, and when the connection has ended.
    room: Condvar,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Frame>,
    /// The bytes of all frames that count towards the limit.
    bytes: usize,
    /// The bytes of the frames that do not count.
    uncounted: usize,
    /// The thread that runs the client's own handler.
    handler: Option<ThreadId>,
    /// How many threads wait for room.
    waiting: usize,
    /// Whether a message was refused, so that the handler is called when there is room.
    awaits_room: bool,
    /// The waker of the connection, when it has begun.
    waker: Option<Waker>,
    end: End,
}

struct Frame {
    bytes: Arc<Vec<u8>>,
    /// Whether it counts towards the limit. Frames of the client's own handler do not, because nothing is sent while it
    /// runs.
    counts: bool,
}

#[derive(Default)]
enum End {
    #[default]
    Open,
    /// The connection is to be closed with this after the queued messages.
    Closing(Close),
    /// The queue was full: the connection is to be reset.
    TooSlow,
    /// The queue has ended: nothing more is sent.
    Over,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Queued {
    /// All frames are in the output.
    Empty,
    More,
    /// All frames are in the output, and the connection is to be closed.
    Close(Close),
    TooSlow,
}

/// After this many bytes no further frame is written at once.
const AT_ONCE: usize = 64 * 1024;
/// Frames up to this length are copied into one piece of output. Longer ones are shared with other clients.
const COPIED: usize = 4096;

impl Socket {
    pub(super) fn new(client: Client, protocol: Option<String>, limit: usize) -> Socket {
        Socket(Arc::new(Shared { client, protocol, limit, state: Mutex::default(), room: Condvar::new() }))
    }

    /// Sends this message without waiting: adds it to the queue ([`WebSocket::queue`](super::WebSocket::queue)), which
    /// is sent to the client while its handler is not running. A client that disconnects before that does not get it.
    ///
    /// Messages that the client's own handler sends while it runs do not count towards the queue, because the client
    /// can read nothing until then. They are sent before its next message is read.
    ///
    /// # Errors
    /// [`SendError::Full`] if the queue is full because the client reads too slowly: its queue is dropped, and the
    /// connection is reset. [`SendError::Gone`] after that, and if the client has disconnected or was closed.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.push(&message.into().encode()).map(call)
    }

    /// Sends this message without waiting. A full queue does not end the connection: the handler's
    /// [`drained`](super::WebSocketHandler::drained) is called when the queue is empty again. Messages of the client's
    /// own handler also count here.
    ///
    /// # Errors
    /// [`SendError::Full`] if the queue is full; [`SendError::Gone`] if the client has disconnected or was closed.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let frame = message.into().encode();
        let mut state = lock(&self.0.state);
        let queued = state.bytes + state.uncounted;
        if matches!(state.end, End::Open) && queued > 0 && queued + frame.len() > self.0.limit {
            state.awaits_room = true;
            return Err(SendError::Full);
        }
        state.takes(self.0.limit, 0)?;
        let waker = state.add(&frame, true);
        drop(state);
        call(waker);
        Ok(())
    }

    /// Sends this message, and waits for room in the queue up to the limit (`None`: without a limit), so that the
    /// client sets the pace. Call it from other threads; in the client's own handler it never waits.
    ///
    /// # Errors
    /// [`SendError::Full`] if there was no room in time; [`SendError::Gone`] as soon as the client disconnects.
    pub fn send_timeout(
        &self,
        message: impl Into<Message>,
        limit: impl Into<Option<Duration>>,
    ) -> Result<(), SendError> {
        let frame = message.into().encode();
        let deadline = limit.into().and_then(|limit| Instant::now().checked_add(limit));
        let mut state = lock(&self.0.state);
        while state.takes(self.0.limit, frame.len()) == Err(SendError::Full) {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(SendError::Full);
            }
            state.waiting += 1;
            state = wait(&self.0.room, state, left);
            state.waiting -= 1;
        }
        state.takes(self.0.limit, frame.len())?;
        let counts = !state.is_own();
        let waker = state.add(&frame, counts);
        drop(state);
        call(waker);
        Ok(())
    }

    /// Closes the connection after the queued messages, with this code (1000: normal; 3000 to 4999: your own) and
    /// reason, of which up to 123 bytes are sent. The client has to close as well, within the
    /// [`close_timeout`](super::WebSocket::close_timeout).
    ///
    /// # Panics
    /// If a server must not send this code (RFC 6455, section 7.4).
    pub fn close(&self, code: u16, reason: impl Into<String>) {
        assert!(Close::may_be_sent(code), "a server must not close with {code}");
        let waker = {
            let mut state = lock(&self.0.state);
            if !matches!(state.end, End::Open) {
                return;
            }
            state.end = End::Closing(Close::new(code, reason));
            self.0.room.notify_all();
            state.waker.clone()
        };
        call(waker);
    }

    /// Returns whether nothing more can be sent, because the client has disconnected or was closed.
    pub fn is_gone(&self) -> bool {
        !matches!(lock(&self.0.state).end, End::Open)
    }

    /// Returns the client.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// Returns the negotiated subprotocol: one of [`WebSocket::protocols`](super::WebSocket::protocols).
    pub fn protocol(&self) -> Option<&str> {
        self.0.protocol.as_deref()
    }

    /// Adds a frame. Returns the waker for the caller to call without the lock.
    fn push(&self, frame: &Arc<Vec<u8>>) -> Result<Option<Waker>, SendError> {
        let mut state = lock(&self.0.state);
        if state.takes(self.0.limit, frame.len()) == Err(SendError::Full) {
            state.end = End::TooSlow;
            let (waker, frames) = (state.waker.clone(), state.clear());
            self.0.room.notify_all();
            drop(state);
            drop(frames);
            if let Some(waker) = waker {
                waker.abort();
            }
            return Err(SendError::Full);
        }
        state.takes(self.0.limit, frame.len())?;
        let counts = !state.is_own();
        Ok(state.add(frame, counts))
    }

    /// Sets the waker that is called for each new frame. Check the queue afterwards.
    pub(super) fn attach(&self, waker: Waker) {
        lock(&self.0.state).waker = Some(waker);
    }

    pub(super) fn write_to(&self, output: &mut Output) -> Queued {
        let mut state = lock(&self.0.state);
        let mut laid_out = 0;
        while laid_out < AT_ONCE
            && let Some(Frame { bytes: frame, counts }) = state.frames.pop_front()
        {
            laid_out += frame.len();
            *state.room_of(counts) -= frame.len();
            write(frame, output);
        }
        if state.waiting > 0 && laid_out > 0 {
            self.0.room.notify_all();
        }
        match &state.end {
            End::TooSlow => Queued::TooSlow,
            _ if !state.frames.is_empty() => Queued::More,
            End::Closing(close) => Queued::Close(close.clone()),
            End::Open | End::Over => {
                state.frames = VecDeque::new(); // a waiting client uses no memory here
                Queued::Empty
            }
        }
    }

    /// Returns whether the handler is to be called when all frames are written, because there is room again.
    pub(super) fn awaits_room(&self) -> bool {
        lock(&self.0.state).awaits_room
    }

    /// Called before the handler is called for that.
    pub(super) fn take_room(&self) {
        lock(&self.0.state).awaits_room = false;
    }

    /// Calls a method of the client's own handler on this thread.
    pub(super) fn handling<T>(&self, call: impl FnOnce() -> T) -> T {
        struct Ends<'a>(&'a Socket);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                lock(&self.0.0.state).handler = None;
            }
        }
        lock(&self.0.state).handler = Some(thread::current().id());
        let _ends = Ends(self);
        call()
    }

    pub(super) fn is_too_slow(&self) -> bool {
        matches!(lock(&self.0.state).end, End::TooSlow)
    }

    /// Writes all accepted frames, and ends the queue.
    pub(super) fn end_and_write(&self, output: &mut Output) {
        let mut state = lock(&self.0.state);
        if !matches!(state.end, End::TooSlow) {
            state.end = End::Over;
        }
        let left = state.clear();
        self.0.room.notify_all();
        drop(state);
        left.into_iter().for_each(|frame| write(frame.bytes, output));
    }

    /// Ends the queue: nothing more is sent.
    pub(super) fn end(&self) {
        let mut state = lock(&self.0.state);
        state.end = End::Over;
        self.0.room.notify_all();
        let left = (state.clear(), state.waker.take());
        drop(state);
        drop(left);
    }
}

fn write(frame: Arc<Vec<u8>>, output: &mut Output) {
    if frame.len() <= COPIED {
        output.bytes().extend_from_slice(&frame);
    } else {
        output.push(Piece::Shared { start: 0, end: frame.len(), bytes: frame });
    }
}

/// Calls the connection, without a lock.
fn call(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl State {
    /// Returns whether the client's own handler is sending.
    fn is_own(&self) -> bool {
        self.handler.is_some_and(|handler| handler == thread::current().id())
    }

    /// Returns an error if a message of this length is not accepted. An empty queue accepts any message.
    fn takes(&self, limit: usize, length: usize) -> Result<(), SendError> {
        match self.end {
            End::Open if self.bytes > 0 && self.bytes + length > limit && !self.is_own() => Err(SendError::Full),
            End::Open => Ok(()),
            _ => Err(SendError::Gone),
        }
    }

    /// Returns the counter for frames that count towards the limit, or for those that do not.
    fn room_of(&mut self, counts: bool) -> &mut usize {
        if counts { &mut self.bytes } else { &mut self.uncounted }
    }

    fn add(&mut self, frame: &Arc<Vec<u8>>, counts: bool) -> Option<Waker> {
        *self.room_of(counts) += frame.len();
        self.frames.push_back(Frame { bytes: Arc::clone(frame), counts });
        self.waker.clone()
    }

    fn clear(&mut self) -> VecDeque<Frame> {
        (self.bytes, self.uncounted) = (0, 0);
        std::mem::take(&mut self.frames)
    }
}

/// Sends a message to all these clients. Returns how many could accept it. The message is encoded once, and the clients
/// are woken together, so ten thousand cost little more than one. A client that reads too slowly is reset, as by
/// [`Socket::send`].
pub fn broadcast<'a>(sockets: impl IntoIterator<Item = &'a Socket>, message: impl Into<Message>) -> usize {
    let frame = message.into().encode();
    let mut wakers = Vec::new();
    let mut reached = 0;
    for socket in sockets {
        if let Ok(waker) = socket.push(&frame) {
            reached += 1;
            wakers.extend(waker);
        }
    }
    Waker::wake_all(&wakers);
    reached
}

impl PartialEq for Socket {
    fn eq(&self, other: &Socket) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Socket {}

impl Hash for Socket {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("client", &self.0.client).field("is_gone", &self.is_gone()).finish()
    }
}
