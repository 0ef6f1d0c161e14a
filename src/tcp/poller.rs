//! The poller, with the acceptor beside it. Held by one worker at a time (see `scheduler`). It identifies connections
//! by their tokens.

use std::io;
use std::time::Duration;

use super::acceptor::Acceptor;
use super::listener::Listener;
use super::scheduler::{PollWaker, Readiness, Token};
use super::sync::{self, Instant};
use super::sys::{self, Events, Interest, Poll, Registry, Waker};
use super::watched_sockets::MOST_WATCHED;

pub struct Poller {
    poll: Poll,
    events: Events,
    acceptor: Acceptor,
    /// The watched sockets that the last poll found ready, and whether their peer has ended them.
    pub watched: Vec<(usize, bool)>,
    /// The latest time at which the polling worker has to check for slow handlers again. `None`: never.
    pub next_look: Option<Instant>,
}

/// The token of the waker. Together with those of the listeners, in their order, and those of watched sockets, these
/// are not tokens of connections.
const WAKER: usize = usize::MAX;
const LISTENERS: usize = WAKER - MOST_LISTENERS;
const MOST_LISTENERS: usize = 1024;
/// The token of the first watched socket.
pub const WATCHED: usize = LISTENERS - MOST_WATCHED;
const EVENTS: usize = 1024;

impl PollWaker for Waker {
    fn wake(&self) {
        // Waking fails only if the kernel has no memory. Then the waiting worker returns at its deadline.
        let _ = Waker::wake(self);
    }
}

impl Poller {
    pub fn new(mut listeners: Vec<Listener>) -> io::Result<(Poller, Waker)> {
        if listeners.len() > MOST_LISTENERS {
            return Err(io::Error::other(format!("expected at most {MOST_LISTENERS} listeners for one server")));
        }
        let poll = Poll::new()?;
        for (number, listener) in listeners.iter_mut().enumerate() {
            poll.registry().register(listener.socket(), sys::Token(LISTENERS + number), Interest::READABLE)?;
        }
        let waker = Waker::new(poll.registry(), sys::Token(WAKER))?;
        let (events, acceptor) = (Events::with_capacity(EVENTS), Acceptor::new(listeners));
        Ok((Poller { poll, events, acceptor, watched: Vec::new(), next_look: Some(sync::now()) }, waker))
    }

    /// Returns the registry for clients, which can also be used while a worker waits.
    pub fn registry(&self) -> io::Result<Registry> {
        self.poll.registry().try_clone()
    }

    /// Waits for events until this time (`None`: forever).
    ///
    /// # Errors
    /// None are expected. The caller should log them, and not poll again at once.
    pub fn wait(&mut self, until: Option<Instant>, now: Instant) -> io::Result<()> {
        let until = until.into_iter().chain(self.acceptor.due_at()).min();
        // mio rounds up to whole milliseconds, so no worker returns early, finds nothing, and waits again.
        let timeout = until.map(|until| until.saturating_duration_since(now));
        self.poll(timeout)
    }

    /// Polls without waiting.
    pub fn look(&mut self) -> io::Result<()> {
        self.poll(Some(Duration::ZERO))
    }

    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let polled = match self.poll.poll(&mut self.events, timeout) {
            // A signal arrived, or the process was stopped and continues. There may be events in any case.
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {
                self.poll.poll(&mut self.events, Some(Duration::ZERO))
            }
            polled => polled,
        };
        match polled {
            Err(err) if err.kind() != io::ErrorKind::Interrupted => {
                self.events.clear();
                Err(err)
            }
            _ => Ok(()),
        }
    }

    /// Iterates over the poll's events of connections. Passes events of listeners to the acceptor, and stores those of
    /// watched sockets.
    pub fn events(&mut self) -> impl Iterator<Item = (Token, Readiness)> + '_ {
        let (acceptor, watched) = (&mut self.acceptor, &mut self.watched);
        self.events.iter().filter_map(move |event| match event.token() {
            sys::Token(WAKER) => None,
            sys::Token(number) if number >= LISTENERS => {
                acceptor.wake(number - LISTENERS);
                None
            }
            sys::Token(number) if number >= WATCHED => {
                watched.push((number - WATCHED, event.is_read_closed() || event.is_error()));
                None
            }
            token => {
                let reset = event.is_error() || event.is_read_closed() && event.is_write_closed();
                let closed = event.is_read_closed() || event.is_error();
                let readiness = Readiness {
                    readable: event.is_readable() || closed,
                    writable: event.is_writable() || event.is_error() || event.is_write_closed(),
                    closed,
                    reset,
                    called: false,
                };
                Some((Token::from_usize(token.0), readiness))
            }
        })
    }

    /// Closes the listeners. The kernel then refuses new clients, unless another process also has the listener.
    pub fn close_listeners(&mut self) {
        for mut listener in self.acceptor.close() {
            // The kernel removes a closed listener from the poller only if no other process has it. Otherwise the
            // poller would report clients of the other process.
            let _ = self.poll.registry().deregister(listener.socket());
        }
    }

    pub fn acceptor(&mut self) -> &mut Acceptor {
        &mut self.acceptor
    }
}
