//! The listener: accepting new connections, and backing off while that can't be done. Part of the poller's side: held by
//! one worker at a time. It logs nothing itself, for a logger may block: what is to be said is returned.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::sys::{self, TcpListener, TcpStream};

/// The listener, until the server shuts down.
pub struct Acceptor {
    listener: Option<TcpListener>,
    pending: bool, // edge-triggered: somebody may still be waiting
    paused_until: Option<Instant>,
    pause: Duration,
    to_evict: usize,
    complained: Option<Instant>,
    failing_since: Option<Instant>,
}

/// What came of accepting.
pub enum Accepted {
    Client(TcpStream, SocketAddr),
    Nobody,
    /// Out of descriptors or memory: room must be made first.
    NoRoom(io::Error),
    /// It failed so many times in a row that it is not the clients' doing.
    Failing(io::Error),
}

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const MOST_EVICTED: usize = 64;
const COMPLAINTS: Duration = Duration::from_secs(60);
/// accept(2) also fails for clients that are gone already: so many in a row are not.
const FAILURES: usize = 16;
/// Accepting that has failed for so long will not recover.
const FAILED_FOR_GOOD: Duration = Duration::from_secs(5);

impl Acceptor {
    pub fn new(listener: TcpListener) -> Acceptor {
        Acceptor {
            listener: Some(listener),
            pending: true,
            paused_until: None,
            pause: FIRST_PAUSE,
            to_evict: 1,
            complained: None,
            failing_since: None,
        }
    }

    /// The poller saw somebody waiting.
    pub fn wake(&mut self) {
        self.pending = true;
    }

    /// Whether there may be somebody to accept, and accepting is not paused.
    pub fn is_due(&self, now: Instant) -> bool {
        self.listener.is_some() && self.pending && self.paused_until.is_none_or(|until| until <= now)
    }

    /// When a pause ends.
    pub fn paused_until(&self) -> Option<Instant> {
        self.paused_until.filter(|_| self.pending && self.listener.is_some())
    }

    /// Accept one connection.
    pub fn accept(&mut self) -> Accepted {
        let Some(listener) = &self.listener else { return Accepted::Nobody };
        let mut failures = 0;
        loop {
            match listener.accept() {
                Ok((stream, address)) => {
                    self.paused_until = None;
                    self.failing_since = None;
                    self.pause = FIRST_PAUSE;
                    return Accepted::Client(stream, address);
                }
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    self.failing_since = None;
                    self.nobody_is_left();
                    return Accepted::Nobody;
                }
                Err(err) if is_about_room(&err) => return Accepted::NoRoom(err),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                // That client is gone, or its network is unwell (accept(2) passes such errors on): the next one.
                Err(_) if failures < FAILURES => failures += 1,
                Err(err) => return Accepted::Failing(err),
            }
        }
    }

    /// Whether a client is waiting at this moment. If none is, the next one causes an event.
    pub fn somebody_waits(&mut self) -> bool {
        let Some(listener) = &self.listener else { return false };
        match sys::somebody_waits(listener) {
            Ok(false) => {
                self.nobody_is_left(); // or a full server would look for them again and again
                false
            }
            Ok(true) => true,
            Err(_) => false,
        }
    }

    fn nobody_is_left(&mut self) {
        self.pending = false;
        self.to_evict = 1;
        self.paused_until = None;
    }

    /// There is no room for a newcomer: how many connections are to be evicted for those who wait.
    /// One at first, then twice as many each time that was not enough.
    pub fn evictions(&mut self) -> usize {
        let count = self.to_evict;
        self.to_evict = (2 * count).min(MOST_EVICTED);
        count
    }

    /// Accept nobody for a while, at most until `by`; the pause grows while there is no room.
    pub fn pause(&mut self, now: Instant, by: Option<Instant>) {
        let until = now + self.pause;
        self.paused_until = Some(by.map_or(until, |by| until.min(by)));
        self.pause = (2 * self.pause).min(LONGEST_PAUSE);
    }

    /// Accepting fails: pause. Tells whether it is the first time, and whether it has lasted too long to go on.
    pub fn failed(&mut self, now: Instant) -> (bool, bool) {
        let first = self.failing_since.is_none();
        let since = *self.failing_since.get_or_insert(now);
        self.pause(now, None);
        (first, now.saturating_duration_since(since) >= FAILED_FOR_GOOD)
    }

    /// Whether it is time to tell the log that there is no room: once a minute is enough.
    pub fn may_complain(&mut self, now: Instant) -> bool {
        let due = self.complained.is_none_or(|last| now.saturating_duration_since(last) > COMPLAINTS);
        if due {
            self.complained = Some(now);
        }
        due
    }

    /// A descriptor is free again.
    pub fn end_pause(&mut self) {
        self.paused_until = None;
    }

    /// No more clients: the kernel refuses who connects now.
    pub fn close(&mut self) {
        self.listener = None;
        self.paused_until = None;
    }

    /// Whether it is closed for good.
    pub fn is_closed(&self) -> bool {
        self.listener.is_none()
    }
}

fn is_about_room(err: &io::Error) -> bool {
    err.raw_os_error().is_some_and(|code| {
        [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].contains(&Errno::from_raw_os_error(code))
    })
}
