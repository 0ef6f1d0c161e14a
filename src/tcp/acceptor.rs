//! Accepts new connections from all listeners in turn, and pauses while that is not possible. One worker at a time
//! holds it, together with the poller. It returns its messages instead of logging them, because a logger may block.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::address::Address;
use super::listener::Listener;
use super::sync::{AtomicU64, Instant, Ordering};
use super::sys::ClientStream;
use crate::log_limit::LogLimit;

/// The listeners, until the server shuts down.
pub struct Acceptor {
    listeners: Vec<ListenerState>,
    next: usize,   // the listener to accept from next
    pending: bool, // clients may be waiting at any listener
    full: Pause,   // there is no room, for clients of any listener
    to_evict: usize,
    complaints: LogLimit<Instant>,
    pub closes_at: Option<Instant>, // set when new clients are refused: the last handshakes can complete until then
    pub is_closed: bool,
}

/// One listener, and whether clients may be waiting there.
struct ListenerState {
    listener: Listener,
    pending: bool,    // edge-triggered: clients may still be waiting
    is_closing: bool, // waiting clients are accepted, and new ones refused
    failing: Pause,
    failing_since: Option<Instant>,
    accepted: Arc<AtomicU64>,
}

/// A pause of accepting. Its length doubles each time, up to a second.
struct Pause {
    until: Option<Instant>,
    length: Duration,
}

pub enum Accepted {
    /// A client, and the number of the protocol for it.
    Client(ClientStream, Address, u8),
    Nobody,
    /// No descriptors or no memory: room must be made first.
    NoRoom(io::Error),
    /// A listener pauses, because it failed so often in a row that clients are not the cause. `first`: it did not fail
    /// before. `for_good`: it has failed for so long that the server shuts down.
    Failing {
        err: io::Error,
        first: bool,
        for_good: bool,
    },
}

/// How long the last handshakes are awaited. Their SYN arrived before new clients were refused, and they complete one
/// round trip later, which is far less than this in a local network. The last ACK of a distant client may arrive too
/// late; then that client is reset.
pub const LAST_HANDSHAKES: Duration = Duration::from_millis(10);
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const MOST_EVICTED: usize = 64;
const COMPLAINTS: Duration = Duration::from_secs(60);
/// accept(2) also fails for clients that have disconnected. After this many failures in a row, the cause is not a
/// client.
const FAILURES: usize = 16;
/// If accepting has failed for this long, it will not recover.
const FAILED_FOR_GOOD: Duration = Duration::from_secs(5);

impl Acceptor {
    pub fn new(listeners: Vec<Listener>) -> Acceptor {
        Acceptor {
            listeners: listeners.into_iter().map(ListenerState::new).collect(),
            next: 0,
            pending: true,
            full: Pause::NONE,
            to_evict: 1,
            complaints: LogLimit::new(COMPLAINTS),
            closes_at: None,
            is_closed: false,
        }
    }

    /// Returns the address of each listener, and how many clients it has accepted.
    pub fn counts(&self) -> Vec<(Address, Arc<AtomicU64>)> {
        self.listeners.iter().map(|state| (state.listener.address().clone(), state.accepted.clone())).collect()
    }

    /// Called when the poller reports waiting clients at this listener.
    pub fn wake(&mut self, number: usize) {
        if let Some(state) = self.listeners.get_mut(number) {
            state.pending = true;
            self.pending = true;
        }
    }

    /// Returns whether clients may be waiting and accepting is not paused.
    pub fn is_due(&self, now: Instant) -> bool {
        self.pending && self.full.is_over(now) && self.listeners.iter().any(|state| state.is_due(now))
    }

    /// Returns when there is something to do without an event: at the end of a pause, or when it is time to close.
    pub fn due_at(&self) -> Option<Instant> {
        let pending = self.listeners.iter().filter(|state| state.pending);
        let paused = pending.filter_map(|state| state.failing.until.max(self.full.until));
        paused.chain(self.closes_at.filter(|_| !self.is_closed)).min()
    }

    /// Accepts one connection, from the next listener with waiting clients, so that all listeners take turns.
    pub fn accept(&mut self, now: Instant) -> Accepted {
        for _ in 0..self.listeners.len() {
            let at = self.next % self.listeners.len();
            self.next = at + 1;
            let state = &mut self.listeners[at];
            if !state.is_due(now) {
                continue;
            }
            match state.accept(now) {
                Accepted::Nobody => {}
                client @ Accepted::Client(..) => {
                    self.full = Pause::NONE;
                    return client;
                }
                other => return other,
            }
        }
        self.note_empty_backlogs();
        Accepted::Nobody
    }

    /// Returns whether a client is waiting now. If not, the next client causes an event.
    pub fn has_waiting_clients(&mut self) -> bool {
        let mut has_waiting_clients = false;
        for state in self.listeners.iter_mut().filter(|state| state.pending) {
            // If an error prevents the check, it is repeated later. While no client waits, a full server need not check
            // again.
            if let Ok(waits) = state.listener.socket().has_waiting_clients() {
                state.pending = waits;
                has_waiting_clients |= waits;
            }
        }
        self.note_empty_backlogs();
        has_waiting_clients
    }

    fn note_empty_backlogs(&mut self) {
        self.pending = self.listeners.iter().any(|state| state.pending);
        if !self.pending {
            self.to_evict = 1;
            self.full.until = None;
        }
    }

    /// Returns how many connections to evict for new clients. One at first, then twice as many each time that was not
    /// enough.
    pub fn evictions(&mut self) -> usize {
        let count = self.to_evict;
        self.to_evict = (2 * count).min(MOST_EVICTED);
        count
    }

    /// Called when no connection could be evicted: the number stays the same for the next time.
    pub fn evicted_nobody(&mut self) {
        self.to_evict = (self.to_evict / 2).max(1);
    }

    /// Pauses accepting, until `by` at most. The pause grows while there is no room.
    pub fn pause(&mut self, now: Instant, by: Option<Instant>) {
        self.full.begin(now, by);
    }

    /// Returns whether to log that there is no room, at most once a minute.
    pub fn may_complain(&mut self, now: Instant) -> bool {
        self.complaints.count(1);
        self.complaints.due(now).is_some()
    }

    pub fn end_pause(&mut self) {
        self.full.until = None;
    }

    /// Called when the shutdown begins. Refuses new clients, if possible. Returns when to accept for the last time.
    pub fn refuse_new_clients(&mut self, now: Instant) -> Instant {
        let mut handshakes = false;
        for state in &mut self.listeners {
            state.is_closing = true;
            handshakes |= state.listener.refuse_new_clients() && state.listener.address().ip().is_some();
        }
        *self.closes_at.insert(if handshakes { now + LAST_HANDSHAKES } else { now })
    }

    /// Prepares the last accept at every listener. Returns how many clients can be waiting at most.
    pub fn prepare_to_close(&mut self) -> usize {
        self.end_pause();
        self.pending = true;
        self.listeners.iter_mut().fold(0, |waiting, state| {
            state.pending = true;
            state.failing.until = None;
            waiting + state.listener.longest_queue()
        })
    }

    /// Ends accepting. Returns the listeners, which are closed when they are dropped.
    pub fn close(&mut self) -> impl Iterator<Item = Listener> + '_ {
        self.is_closed = true;
        self.listeners.drain(..).map(|state| state.listener)
    }
}

impl ListenerState {
    fn new(listener: Listener) -> ListenerState {
        ListenerState {
            listener,
            pending: true,
            is_closing: false,
            failing: Pause::NONE,
            failing_since: None,
            accepted: Arc::default(),
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.pending && self.failing.is_over(now)
    }

    fn accept(&mut self, now: Instant) -> Accepted {
        let mut failures = 0;
        loop {
            match self.listener.socket().accept() {
                Ok((stream, address)) => {
                    self.recovered();
                    self.accepted.fetch_add(1, Ordering::Relaxed);
                    return Accepted::Client(stream, address, self.listener.protocol);
                }
                Err(err) => match Refusal::of(&err, self.is_closing) {
                    Refusal::NobodyWaits => {
                        self.recovered();
                        self.pending = false;
                        return Accepted::Nobody;
                    }
                    Refusal::NoRoom => return Accepted::NoRoom(err),
                    Refusal::OfOne if failures < FAILURES => failures += 1,
                    Refusal::OfOne => return self.failed(&err, now),
                },
            }
        }
    }

    fn recovered(&mut self) {
        self.failing_since = None;
        self.failing = Pause::NONE;
    }

    fn failed(&mut self, err: &io::Error, now: Instant) -> Accepted {
        let first = self.failing_since.is_none();
        let since = *self.failing_since.get_or_insert(now);
        self.failing.begin(now, None);
        let said = format!("can't accept connections at {}: {err}", self.listener.address());
        Accepted::Failing {
            err: io::Error::new(err.kind(), said),
            first,
            for_good: now.saturating_duration_since(since) >= FAILED_FOR_GOOD,
        }
    }
}

impl Pause {
    const NONE: Pause = Pause { until: None, length: FIRST_PAUSE };

    fn begin(&mut self, now: Instant, by: Option<Instant>) {
        let until = now + self.length;
        self.until = Some(by.map_or(until, |by| until.min(by)));
        self.length = (2 * self.length).min(LONGEST_PAUSE);
    }

    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    NobodyWaits,
    /// No descriptors or no memory.
    NoRoom,
    /// The client has disconnected, its network has an error (accept(2) returns such errors), or a signal arrived: try
    /// the next client.
    OfOne,
}

impl Refusal {
    /// Classifies an error. `is_closing`: new clients are refused, so a Unix socket without waiting clients returns
    /// EINVAL.
    fn of(err: &io::Error, is_closing: bool) -> Refusal {
        match err.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::AGAIN) => Refusal::NobodyWaits,
            Some(Errno::INVAL) if is_closing => Refusal::NobodyWaits,
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Refusal::NoRoom,
            _ => Refusal::OfOne,
        }
    }
}

#[cfg(test)]
mod tests;
