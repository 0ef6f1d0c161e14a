//! Lines that other threads send to a client: a bounded queue between a `LineSender` and the conversation.

use std::hash::{Hash, Hasher};
use std::io;
use std::sync::Arc;

use super::super::protocol::{Action, Turn};
use super::super::scheduler::Waker;
use super::super::sync::{AtomicU8, Mutex, Ordering, lock};

/// Sends to the client of a [`LineHandler`](crate::raw::LineHandler), from any thread:
/// [`LineHandler::opened`](crate::raw::LineHandler::opened). Clones share the client.
///
/// Unsent bytes are bounded ([`Lines::push_limit`](crate::raw::Lines::push_limit)) and hold no worker. They follow the
/// reply of a running handler, and do not count for [`Lines::idle_timeout`](crate::raw::Lines::idle_timeout).
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use modest::raw::{Flow, LineHandler, LineSender, Lines};
///
/// /// Every client gets every line.
/// #[derive(Clone, Default)]
/// struct Chat(Arc<Mutex<Vec<LineSender>>>);
///
/// impl LineHandler for Chat {
///     fn opened(&mut self, sender: &LineSender) {
///         self.0.lock().unwrap().push(sender.clone());
///     }
///
///     fn line(&mut self, line: &str, _: &mut Vec<u8>) -> Flow {
///         self.0.lock().unwrap().retain(|client| client.send(format!("{line}\r\n")).is_ok());
///         Flow::Continue
///     }
/// }
///
/// let chat = Chat::default();
/// let lines = Lines::per_client(move |_client| chat.clone()).idle_timeout(None);
/// ```
#[derive(Clone)]
pub struct LineSender(Arc<Pushed>);

struct Pushed {
    state: Mutex<PushedState>,
    limit: usize,
    /// How the connection is to end: [`OPEN`], [`CLOSING`] or [`ABORTING`]. Changed with the lock.
    end: AtomicU8,
}

const OPEN: u8 = 0;
const CLOSING: u8 = 1;
const ABORTING: u8 = 2;

#[derive(Default)]
struct PushedState {
    bytes: Vec<u8>,
    waker: Option<Waker>,
    gone: bool,
}

impl LineSender {
    pub(super) fn new(limit: usize) -> LineSender {
        LineSender(Arc::new(Pushed { state: Mutex::default(), limit, end: AtomicU8::new(OPEN) }))
    }

    /// Sends this text unchanged, so it must contain its own line end. It does not wait. Accepted text is also sent
    /// if the client closes its sending side, if the connection ends after the running handler or has been idle for too
    /// long, or at a shutdown. It is not sent if the connection is reset, for example after a panic of the handler or at
    /// the shutdown timeout.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if the client reads so slowly that its queue is full, and
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) if it has disconnected or was closed.
    pub fn send(&self, text: impl AsRef<[u8]>) -> io::Result<()> {
        let text = text.as_ref();
        let mut state = lock(&self.0.state);
        if state.gone || self.ending() != OPEN {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !state.bytes.is_empty() && state.bytes.len() + text.len() > self.0.limit {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "the client reads too slowly"));
        }
        state.bytes.extend_from_slice(text);
        let waker = state.waker.clone();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Ends the connection, after everything that was sent before and the reply of a running handler. Lines of the
    /// client that no handler has begun to handle are dropped. It does not wait, and can be called repeatedly. To end
    /// the connection of a client that does not read, use [`abort`](LineSender::abort).
    pub fn close(&self) {
        if let Some(waker) = self.begin_end(CLOSING).filter(|_| !self.is_gone()) {
            waker.wake();
        }
    }

    /// Resets the connection, without sending the rest of its output. Use it to drop a client that reads too slowly.
    pub fn abort(&self) {
        if let Some(waker) = self.begin_end(ABORTING) {
            waker.abort();
        }
    }

    /// Makes `send` fail, and the conversation end with its next turn.
    fn begin_end(&self, end: u8) -> Option<Waker> {
        let state = lock(&self.0.state);
        self.0.end.fetch_max(end, Ordering::SeqCst);
        state.waker.clone()
    }

    fn ending(&self) -> u8 {
        self.0.end.load(Ordering::SeqCst)
    }

    /// Returns whether the connection has ended.
    pub fn is_gone(&self) -> bool {
        lock(&self.0.state).gone
    }

    /// Called in the first turn: from now on, `send` calls the connection.
    fn attach(&self, waker: Waker) {
        lock(&self.0.state).waker = Some(waker);
    }

    /// From now on, `send` fails. Returns what was sent before. `abort` still has an effect, because the client may not
    /// read the rest of the output.
    fn end(&self) -> Vec<u8> {
        let mut state = lock(&self.0.state);
        state.gone = true;
        std::mem::take(&mut state.bytes)
    }

    /// Called when the connection has ended, so no call reaches it.
    fn detach(&self) {
        let left = lock(&self.0.state).waker.take();
        drop(left); // without the lock
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.0.state).bytes)
    }
}

/// Two senders are equal if they send to the same client.
impl PartialEq for LineSender {
    fn eq(&self, other: &LineSender) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for LineSender {}

impl Hash for LineSender {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

opaque!(LineSender { is_gone() });

pub(super) struct Sending {
    sender: LineSender,
    is_attached: bool, // whether other threads can send: at first only if there is no clone of the sender
}

impl Sending {
    pub(super) fn new(sender: LineSender) -> Sending {
        Sending { sender, is_attached: false }
    }

    /// Passes the sender to the handler, which can clone it.
    pub(super) fn open(&mut self, opened: impl FnOnce(&LineSender)) {
        opened(&self.sender);
        self.is_attached = Arc::strong_count(&self.sender.0) == 1;
    }

    pub(super) fn write(&mut self, turn: &mut Turn<'_>) {
        if !std::mem::replace(&mut self.is_attached, true) {
            self.sender.attach(turn.waker());
        }
        let mut bytes = self.sender.take();
        if !bytes.is_empty() {
            turn.output.bytes().append(&mut bytes);
        }
    }

    /// Returns how the connection is to end, if a sender ends it.
    pub(super) fn ending(&self) -> Option<Action> {
        match self.sender.ending() {
            OPEN => None,
            CLOSING => Some(Action::Close),
            _ => Some(Action::Abort),
        }
    }

    /// Writes what was sent, and ends the sender in the same step: everything is written that `send` has accepted.
    pub(super) fn write_last(&mut self, turn: &mut Turn<'_>) {
        turn.output.bytes().append(&mut self.sender.end());
    }

    /// Called when the connection has ended. Returns the sender, which is gone.
    pub(super) fn end(&mut self) -> &LineSender {
        self.sender.end();
        self.sender.detach();
        &self.sender
    }
}
