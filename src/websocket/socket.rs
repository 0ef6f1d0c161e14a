//! Sending to one client from any thread: a bounded queue, and a call to the connection that sends it. Filled by
//! handlers and other threads; emptied by `session`, which holds no worker while it waits.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::message::{Close, Message};
use crate::Client;
use crate::live::SendError;
use crate::raw::{Output, Piece, Waker};

/// One client. Clones refer to the same client: keep one to send from any thread, whether a handler runs or not.
///
/// Two are equal if they refer to the same client, so they can be kept in a set.
#[derive(Clone)]
pub struct Socket(Arc<Shared>);

struct Shared {
    client: Client,
    protocol: Option<String>,
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Complete frames, and their total length.
    frames: VecDeque<Arc<Vec<u8>>>,
    bytes: usize,
    /// The connection, once it has begun.
    waker: Option<Waker>,
    end: End,
}

/// The state of the end.
#[derive(Default)]
enum End {
    #[default]
    Open,
    /// To be closed with this after the queued messages.
    Closing(Close),
    /// The queue was full: the connection is to be reset.
    TooSlow,
    /// Nothing more is sent.
    Over,
}

/// The result of writing the queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Queued {
    /// All of it is in the output.
    Empty,
    /// There is more.
    More,
    /// All is in the output, and the connection is to be closed.
    Close(Close),
    /// It was full.
    TooSlow,
}

/// How much is written at once, at most, plus one frame.
const AT_ONCE: usize = 64 * 1024;
/// Frames up to this length are copied into one piece of output. Longer ones are shared with other clients.
const COPIED: usize = 4096;

impl Socket {
    pub(super) fn new(client: Client, protocol: Option<String>, limit: usize) -> Socket {
        Socket(Arc::new(Shared { client, protocol, limit, state: Mutex::default() }))
    }

    /// Sends this message without waiting: adds it to a queue ([`WebSocket::queue`](super::WebSocket::queue)), from
    /// which the client is served while its handler is not running.
    ///
    /// # Errors
    /// [`SendError::Full`] if the client reads too slowly: its queue is full and is dropped, and the connection is
    /// reset. [`SendError::Gone`] after that, and if the client has left or was closed.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let waker = self.push(&message.into().encode())?;
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Closes after the queued messages, with this code (1000: normal; 3000 to 4999: your own) and reason, of which the
    /// first 123 bytes are sent. The client has [`close_timeout`](super::WebSocket::close_timeout) to answer.
    ///
    /// # Panics
    /// If a server must not send this code (RFC 6455, section 7.4).
    pub fn close(&self, code: u16, reason: impl Into<String>) {
        assert!(Close::may_be_sent(code), "no server may close with {code}");
        let waker = {
            let mut state = self.lock();
            if !matches!(state.end, End::Open) {
                return;
            }
            state.end = End::Closing(Close::new(code, reason));
            state.waker.clone()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether nothing can be sent any more: the client has left, or was closed.
    pub fn is_gone(&self) -> bool {
        !matches!(self.lock().end, End::Open)
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// The negotiated subprotocol: one of [`WebSocket::protocols`](super::WebSocket::protocols).
    pub fn protocol(&self) -> Option<&str> {
        self.0.protocol.as_deref()
    }

    /// Adds a frame. Returns the waker for the caller to call without the lock.
    fn push(&self, frame: &Arc<Vec<u8>>) -> Result<Option<Waker>, SendError> {
        let mut state = self.lock();
        if !matches!(state.end, End::Open) {
            return Err(SendError::Gone);
        }
        // An empty queue accepts any message.
        if state.bytes > 0 && state.bytes + frame.len() > self.0.limit {
            state.end = End::TooSlow;
            let (waker, frames) = (state.waker.clone(), state.clear());
            drop(state);
            drop(frames);
            if let Some(waker) = waker {
                waker.abort();
            }
            return Err(SendError::Full);
        }
        state.bytes += frame.len();
        state.frames.push_back(Arc::clone(frame));
        Ok(state.waker.clone())
    }

    /// Sets the waker that is called for each new frame. Check the queue afterwards.
    pub(super) fn attach(&self, waker: Waker) {
        self.lock().waker = Some(waker);
    }

    /// Writes queued frames to the output.
    pub(super) fn write_to(&self, output: &mut Output) -> Queued {
        let mut state = self.lock();
        let mut laid_out = 0;
        while laid_out < AT_ONCE
            && let Some(frame) = state.frames.pop_front()
        {
            laid_out += frame.len();
            state.bytes -= frame.len();
            if frame.len() <= COPIED {
                output.bytes().extend_from_slice(&frame);
            } else {
                output.push(Piece::Shared { start: 0, end: frame.len(), bytes: frame });
            }
        }
        match &state.end {
            End::TooSlow => Queued::TooSlow,
            _ if !state.frames.is_empty() => Queued::More,
            End::Closing(close) => Queued::Close(close.clone()),
            End::Open | End::Over => {
                state.frames = VecDeque::new(); // nothing is kept for a waiting client
                Queued::Empty
            }
        }
    }

    /// Whether its queue was full.
    pub(super) fn is_too_slow(&self) -> bool {
        matches!(self.lock().end, End::TooSlow)
    }

    /// Nothing more is sent.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.end = End::Over;
        let left = (state.clear(), state.waker.take());
        drop(state);
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn clear(&mut self) -> VecDeque<Arc<Vec<u8>>> {
        self.bytes = 0;
        std::mem::take(&mut self.frames)
    }
}

/// Send this to all of these; how many of them were there to take it. The message is encoded once, and the clients are
/// called together: so ten thousand cost little more than one. Who reads too slowly is closed, as by [`Socket::send`].
pub fn broadcast<'a>(sockets: impl IntoIterator<Item = &'a Socket>, message: impl Into<Message>) -> usize {
    let frame = message.into().encode();
    let mut wakers = Vec::new();
    let mut heard = 0;
    for socket in sockets {
        if let Ok(waker) = socket.push(&frame) {
            heard += 1;
            wakers.extend(waker);
        }
    }
    Waker::wake_all(&wakers);
    heard
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
