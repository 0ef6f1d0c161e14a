//! Who is ready, and who knocks: the poller and the acceptor. PollerGuard by one worker at a time (see `scheduler`).
//! Uses mio; knows nothing of connections but their tokens.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Waker};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::scheduler::{PollWaker, Readiness, Token};

/// The poller and the acceptor.
pub struct Poller {
    poll: Poll,
    events: Events,
    acceptor: Acceptor,
}

const LISTENER: mio::Token = mio::Token(usize::MAX);
const WAKER: mio::Token = mio::Token(usize::MAX - 1);
const EVENTS: usize = 1024;

impl PollWaker for Waker {
    fn wake(&self) {
        // It fails only without memory in the kernel; whoever waits then returns at its deadline.
        let _ = self.wake();
    }
}

impl Poller {
    /// A waiting room with this listener for a acceptor, and its waker.
    pub fn new(listener: std::net::TcpListener) -> io::Result<(Poller, Waker)> {
        let poll = Poll::new()?;
        listener.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listener);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        Ok((Poller { poll, events: Events::with_capacity(EVENTS), acceptor: Acceptor::new(listener) }, waker))
    }

    /// To register clients with, also while somebody waits.
    pub fn registry(&self) -> io::Result<Registry> {
        self.poll.registry().try_clone()
    }

    /// Wait for events, until then (`None`: for ever).
    pub fn wait(&mut self, until: Option<Instant>, now: Instant) {
        let until = until.into_iter().chain(self.acceptor.paused_until).min();
        // mio rounds up to whole milliseconds: nobody returns before the time, and looks, and waits for nothing again.
        let timeout = until.map(|until| until.saturating_duration_since(now));
        self.poll(timeout);
    }

    /// Look for events without waiting.
    pub fn look(&mut self) {
        self.poll(Some(Duration::ZERO));
    }

    fn poll(&mut self, timeout: Option<Duration>) {
        if let Err(err) = self.poll.poll(&mut self.events, timeout)
            && err.kind() != io::ErrorKind::Interrupted
        {
            // Can't happen with a poller of our own; if it does, go on by the clock and don't spin.
            log::error!("the poller failed: {err}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What the poll brought. Knocks at the acceptor are kept for [`Acceptor`].
    pub fn events(&mut self) -> impl Iterator<Item = (Token, Readiness)> + '_ {
        let acceptor = &mut self.acceptor;
        self.events.iter().filter_map(move |event| match event.token() {
            LISTENER => {
                acceptor.pending = true;
                None
            }
            WAKER => None,
            token => {
                let closed = event.is_read_closed() || event.is_error();
                let readiness = Readiness {
                    readable: event.is_readable() || closed,
                    writable: event.is_writable() || event.is_error() || event.is_write_closed(),
                    closed,
                };
                Some((Token::from_usize(token.0), readiness))
            }
        })
    }

    /// The acceptor.
    pub fn acceptor(&mut self) -> &mut Acceptor {
        &mut self.acceptor
    }
}

/// Where clients come in.
pub struct Acceptor {
    listener: Option<TcpListener>,
    pending: bool, // edge-triggered: somebody may still be waiting
    paused_until: Option<Instant>,
    pause: Duration,
    to_evict: usize,
    complained: Option<Instant>,
}

/// Who came in.
pub enum Accepted {
    Client(TcpStream, SocketAddr),
    Nobody,
    /// Out of descriptors or memory: room must be made first.
    NoRoom(io::Error),
}

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const MOST_LET_GO: usize = 64;
const COMPLAINTS: Duration = Duration::from_secs(60);

impl Acceptor {
    fn new(listener: TcpListener) -> Acceptor {
        Acceptor {
            listener: Some(listener),
            pending: true,
            paused_until: None,
            pause: FIRST_PAUSE,
            to_evict: 1,
            complained: None,
        }
    }

    /// Whether somebody may be waiting who can be let in now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.listener.is_some() && self.pending && self.paused_until.is_none_or(|until| until <= now)
    }

    /// Let one client in.
    pub fn accept(&mut self) -> Accepted {
        let Some(listener) = &self.listener else { return Accepted::Nobody };
        loop {
            match listener.accept() {
                Ok((stream, address)) => {
                    self.paused_until = None;
                    self.pause = FIRST_PAUSE;
                    return Accepted::Client(stream, address);
                }
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    self.nobody_is_left();
                    return Accepted::Nobody;
                }
                Err(err) if is_about_room(&err) => return Accepted::NoRoom(err),
                // That client left, or its network is unwell (accept(2) scheduler on such errors): the next one.
                Err(err) => log::debug!("a client that pending is gone: {err}"),
            }
        }
    }

    /// Whether a client is waiting outside at this moment. If none is, the next one knocks anew.
    pub fn somebody_waits(&mut self) -> bool {
        let Some(listener) = &self.listener else { return false };
        let mut wait = [PollFd::new(listener, PollFlags::IN)];
        let no_time = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        match rustix::event::poll(&mut wait, Some(&no_time)) {
            Ok(0) => {
                self.nobody_is_left(); // or a full context would look for them again and again
                false
            }
            Ok(_) => true,
            Err(_) => false,
        }
    }

    fn nobody_is_left(&mut self) {
        self.pending = false;
        self.to_evict = 1;
        self.paused_until = None;
    }

    /// There is no room for a newcomer: how many idle_since clients are to be let go for those who wait.
    /// One at first, then twice as many each time that was not enough.
    pub fn make_room(&mut self) -> usize {
        let count = self.to_evict;
        self.to_evict = (2 * count).min(MOST_LET_GO);
        count
    }

    /// Let nobody in for a while; the pause grows while there is no room.
    pub fn pause(&mut self, now: Instant) {
        self.paused_until = Some(now + self.pause);
        self.pause = (2 * self.pause).min(LONGEST_PAUSE);
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

    /// No more clients: whoever knocks now is refused by the kernel.
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
