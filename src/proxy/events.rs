//! The events of a pooled connection, which the poller of a server watches. Called by `pool` and `upstream`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::http::WatchedSocket;
use crate::live::Signal;

#[derive(Default)]
pub(super) struct Events {
    /// Notified when bytes or the end may have arrived. The request on the connection waits for it.
    pub(super) arrived: Signal,
    /// Whether there was an event since the last read began.
    is_ready: AtomicBool,
    /// Whether the backend has ended the connection.
    is_closed: AtomicBool,
    /// Whether the connection waits for a request.
    is_idle: AtomicBool,
}

/// The watch of a pooled connection, until it is dropped.
pub(super) struct Watch {
    pub(super) events: Arc<Events>,
    pub(super) registration: WatchedSocket,
}

// All operations are SeqCst: an event is recorded before `is_idle` is read, and `is_idle` is written before the records
// are read. So at least one of the two sides sees the write of the other.
impl Events {
    /// Records an event. Returns whether the connection is idle.
    pub(super) fn record(&self, is_closed: bool) -> bool {
        self.is_ready.store(true, Ordering::SeqCst);
        self.is_closed.fetch_or(is_closed, Ordering::SeqCst);
        self.is_idle.load(Ordering::SeqCst)
    }

    /// Called when the connection begins to wait for a request. Returns whether there may be something to receive.
    pub(super) fn begin_idle(&self) -> bool {
        self.is_idle.store(true, Ordering::SeqCst);
        self.is_ready.load(Ordering::SeqCst) || self.is_closed()
    }

    /// Called before the next request is sent.
    pub(super) fn end_idle(&self) {
        self.is_idle.store(false, Ordering::SeqCst);
        self.is_ready.store(false, Ordering::SeqCst);
    }

    /// Returns whether there may be something to receive. One event can be for bytes and for the end after them, and a
    /// read returns the bytes first.
    pub(super) fn take_ready(&self) -> bool {
        self.is_ready.swap(false, Ordering::SeqCst) || self.is_closed()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }
}
