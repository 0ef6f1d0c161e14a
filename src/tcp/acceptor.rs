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

/// The listeners, until the server shuts down.
pub struct Acceptor {
    listeners: Vec<ListenerState>,
    next: usize,   // the listener to accept from next
    pending: bool, // clients may be waiting at any listener
    full: Pause,   // there is no room, for clients of any listener
    to_evict: usize,
    complained: Option<Instant>,
    closes_at: Option<Instant>, // set when new clients are refused: the last handshakes can complete until then
    is_closed: bool,
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

/// The result of accepting.
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
            complained: None,
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
        let due = self.complained.is_none_or(|last| now.saturating_duration_since(last) > COMPLAINTS);
        if due {
            self.complained = Some(now);
        }
        due
    }

    /// Called when a descriptor is free again.
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

    /// Returns when to accept for the last time, if new clients are refused.
    pub fn closes_at(&self) -> Option<Instant> {
        self.closes_at
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

    /// Returns whether accepting has ended.
    pub fn is_closed(&self) -> bool {
        self.is_closed
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
                    return Accepted::Client(stream, address, self.listener.protocol());
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

/// The reason for which accept(2) failed.
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
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::super::sys::ListeningSocket;
    use super::*;

    /// Returns an acceptor without listeners. The rules for missing room need none.
    fn acceptor() -> Acceptor {
        Acceptor::new(Vec::new())
    }

    #[test]
    fn evictions_double_until_no_client_waits() {
        let mut acceptor = acceptor();
        let counts: Vec<usize> = (0..9).map(|_| acceptor.evictions()).collect();
        assert_eq!(counts, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
        acceptor.evicted_nobody();
        assert_eq!((acceptor.evictions(), acceptor.evictions()), (32, 64));
        acceptor.pause(Instant::SOME, None);
        assert!(!acceptor.has_waiting_clients());
        assert_eq!(
            (acceptor.evictions(), acceptor.full.until),
            (1, None),
            "without waiting clients, the number of evictions starts again at one"
        );
    }

    #[test]
    fn warnings_are_logged_once_a_minute() {
        let (mut acceptor, now) = (acceptor(), Instant::SOME);
        for (seconds, due) in [(0, true), (0, false), (59, false), (60, false), (61, true), (62, false), (122, true)] {
            assert_eq!(acceptor.may_complain(now + Duration::from_secs(seconds)), due, "after {seconds} s");
        }
    }

    #[test]
    fn pauses_double_up_to_a_second_and_can_be_shortened() {
        let (mut pause, now) = (Pause::NONE, Instant::SOME);
        for wanted in [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000] {
            let wanted = Duration::from_millis(wanted);
            pause.begin(now, None);
            assert_eq!(pause.until, Some(now + wanted));
            assert!(
                !pause.is_over(now + (wanted - Duration::from_nanos(1))) && pause.is_over(now + wanted),
                "{wanted:?}"
            );
        }
        for (by, wanted) in [(3, 3), (3000, 1000)] {
            pause.begin(now, Some(now + Duration::from_millis(by)));
            assert_eq!(pause.until, Some(now + Duration::from_millis(wanted)), "a pause that may last up to {by} ms");
        }
        assert!(Pause::NONE.is_over(now));
    }

    #[test]
    fn the_last_accept_stays_due_until_done() {
        let (mut acceptor, now) = (acceptor(), Instant::SOME);
        assert_eq!((acceptor.due_at(), acceptor.closes_at()), (None, None));
        assert_eq!(acceptor.refuse_new_clients(now), now, "a server without listeners need not wait for handshakes");
        assert_eq!((acceptor.due_at(), acceptor.closes_at()), (Some(now), Some(now)));
        assert_eq!((acceptor.prepare_to_close(), acceptor.is_closed()), (0, false));
        assert_eq!(acceptor.close().count(), 0);
        assert_eq!((acceptor.due_at(), acceptor.is_closed()), (None, true));
    }

    /// Returns a listener that is never polled, because the simulation has no kernel.
    fn listener(address: Address, queue: usize) -> Listener {
        let (socket, _) = UnixStream::pair().unwrap();
        Listener::new(ListeningSocket::from(OwnedFd::from(socket)), address, queue)
    }

    fn inet() -> Address {
        Address::Inet(([127, 0, 0, 1], 80).into())
    }

    #[test]
    fn accept_errors_are_classified() {
        for (error, open, closing) in [
            (Errno::AGAIN, Refusal::NobodyWaits, Refusal::NobodyWaits),
            (Errno::INVAL, Refusal::OfOne, Refusal::NobodyWaits),
            (Errno::MFILE, Refusal::NoRoom, Refusal::NoRoom),
            (Errno::NFILE, Refusal::NoRoom, Refusal::NoRoom),
            (Errno::NOBUFS, Refusal::NoRoom, Refusal::NoRoom),
            (Errno::NOMEM, Refusal::NoRoom, Refusal::NoRoom),
            (Errno::CONNABORTED, Refusal::OfOne, Refusal::OfOne),
            (Errno::INTR, Refusal::OfOne, Refusal::OfOne),
        ] {
            let said = [false, true].map(|is_closing| Refusal::of(&error.into(), is_closing));
            assert_eq!(said, [open, closing], "{error}");
        }
    }

    #[test]
    fn a_failing_listener_is_logged_once_and_finally_closed() {
        let (mut state, now) = (ListenerState::new(listener(inet(), 1)), Instant::SOME);
        let mut fails = |recovers: bool, after: Duration| {
            if recovers {
                state.recovered();
            }
            let now = now + after;
            let Accepted::Failing { first, for_good, .. } = state.failed(&Errno::PERM.into(), now) else {
                unreachable!("it says so");
            };
            (first, for_good, state.failing.until.unwrap() - now)
        };
        let (second, moment) = (Duration::from_secs(1), Duration::from_nanos(1));
        for (what, recovers, after, told, for_good, pause) in [
            ("the first", false, second, true, false, 5),
            ("the next", false, 2 * second, false, false, 10),
            ("just before it is for good", false, 6 * second - moment, false, false, 20),
            ("for good", false, 6 * second, false, true, 40),
            ("another first", true, 20 * second, true, false, 5),
            ("and its end", false, 25 * second, false, true, 10),
        ] {
            assert_eq!(fails(recovers, after), (told, for_good, Duration::from_millis(pause)), "{what}");
        }
    }

    /// The acceptor is due when the first pause of a listener with waiting clients ends, but not before the server's
    /// own pause is over.
    #[test]
    fn the_acceptor_is_due_at_the_end_of_a_pause() {
        let now = Instant::SOME;
        let at = |ms: u64| Some(now + Duration::from_millis(ms));
        for (what, pending, failing, full, due) in [
            ("no pause", [true, true], [None, None], None, None),
            ("one fails", [true, true], [None, at(5)], None, at(5)),
            ("both fail", [true, true], [at(7), at(5)], None, at(5)),
            ("there is no room", [true, true], [None, None], at(3), at(3)),
            ("one fails for longer, the other has nobody", [false, true], [None, at(5)], at(3), at(5)),
            ("and for less", [false, true], [None, at(5)], at(9), at(9)),
            ("nobody waits", [false, false], [at(7), at(5)], at(3), None),
        ] {
            let mut acceptor = Acceptor::new(vec![listener(inet(), 1), listener(inet(), 1)]);
            acceptor.full.until = full;
            for (state, (pending, until)) in acceptor.listeners.iter_mut().zip(pending.into_iter().zip(failing)) {
                (state.pending, state.failing.until) = (pending, until);
            }
            assert_eq!(acceptor.due_at(), due, "{what}");
        }
    }

    #[test]
    fn handshakes_are_awaited_where_new_clients_are_refused() {
        let now = Instant::SOME;
        let tcp = || listener(inet(), 3).made_here();
        let unix = || listener(Address::Unix(None), 5).made_here();
        let is_refusal_possible = tcp().refuse_new_clients();
        // another process may have the same listener, so new clients are not refused
        let handed = || listener(inet(), 7);
        for (what, listeners, waits, queues) in [
            ("TCP", vec![tcp()], LAST_HANDSHAKES, 3),
            ("a Unix socket, which has none", vec![unix()], Duration::ZERO, 5),
            ("one that was handed over", vec![handed()], Duration::ZERO, 7),
            ("TCP first", vec![tcp(), unix(), handed()], LAST_HANDSHAKES, 15),
            ("TCP last", vec![unix(), tcp()], LAST_HANDSHAKES, 8),
        ] {
            let mut acceptor = Acceptor::new(listeners);
            let counts: Vec<u64> = acceptor.counts().iter().map(|(_, count)| count.load(Ordering::Relaxed)).collect();
            assert_eq!(counts, vec![0; acceptor.listeners.len()], "{what}");
            acceptor.pause(now, None);
            for state in &mut acceptor.listeners {
                state.pending = false;
                state.failing.begin(now, None);
            }
            let waits = if is_refusal_possible { waits } else { Duration::ZERO };
            assert_eq!(acceptor.refuse_new_clients(now), now + waits, "{what}");
            assert!(!acceptor.is_due(now));
            assert_eq!(acceptor.prepare_to_close(), queues, "{what}");
            assert!(acceptor.is_due(now), "accepting is due in spite of this pause: {what}");
        }
    }
}
