//! Who is ready: the poller, and the acceptor beside it. Held by one worker at a time (see `scheduler`).
//! Knows nothing of connections but their tokens.

use std::io;
use std::time::Duration;

use super::acceptor::Acceptor;
use super::listener::Listener;
use super::scheduler::{PollWaker, Readiness, Token};
use super::sync::{self, Instant};
use super::sys::{self, Events, Interest, Poll, Registry, Waker};

/// The poller and the acceptor.
pub struct Poller {
    poll: Poll,
    events: Events,
    acceptor: Acceptor,
    /// When to look for slow handlers next, at the latest (`None`: never). Whoever polls does.
    pub next_look: Option<Instant>,
}

/// Tokens that are no connection's: those of listeners, in their order, and of the waker.
const WAKER: usize = usize::MAX;
const LISTENERS: usize = WAKER - MOST_LISTENERS;
const MOST_LISTENERS: usize = 1024;
const EVENTS: usize = 1024;

impl PollWaker for Waker {
    fn wake(&self) {
        // It fails only without memory in the kernel; whoever waits then returns at its deadline.
        let _ = Waker::wake(self);
    }
}

impl Poller {
    /// A poller for these listeners, and what wakes it.
    pub fn new(mut listeners: Vec<Listener>) -> io::Result<(Poller, Waker)> {
        if listeners.len() > MOST_LISTENERS {
            return Err(io::Error::other(format!("a server has at most {MOST_LISTENERS} listeners")));
        }
        let poll = Poll::new()?;
        for (number, listener) in listeners.iter_mut().enumerate() {
            poll.registry().register(listener.socket(), sys::Token(LISTENERS + number), Interest::READABLE)?;
        }
        let waker = Waker::new(poll.registry(), sys::Token(WAKER))?;
        let (events, acceptor) = (Events::with_capacity(EVENTS), Acceptor::new(listeners));
        Ok((Poller { poll, events, acceptor, next_look: Some(sync::now()) }, waker))
    }

    /// To register clients with, also while somebody waits.
    pub fn registry(&self) -> io::Result<Registry> {
        self.poll.registry().try_clone()
    }

    /// Wait for events, until then (`None`: for ever).
    ///
    /// # Errors
    /// None are expected of a poller of our own: the caller should say so, and not poll again at once.
    pub fn wait(&mut self, until: Option<Instant>, now: Instant) -> io::Result<()> {
        let until = until.into_iter().chain(self.acceptor.due_at()).min();
        // mio rounds up to whole milliseconds: nobody returns before the time, and looks, and waits for nothing again.
        let timeout = until.map(|until| until.saturating_duration_since(now));
        self.poll(timeout)
    }

    /// Look for events without waiting.
    pub fn look(&mut self) -> io::Result<()> {
        self.poll(Some(Duration::ZERO))
    }

    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let polled = match self.poll.poll(&mut self.events, timeout) {
            // A signal, or the process was stopped and goes on: there may be events all the same.
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

    /// What the poll brought. That of listeners is passed on to the acceptor.
    pub fn events(&mut self) -> impl Iterator<Item = (Token, Readiness)> + '_ {
        let acceptor = &mut self.acceptor;
        self.events.iter().filter_map(move |event| match event.token() {
            sys::Token(WAKER) => None,
            sys::Token(number) if number >= LISTENERS => {
                acceptor.wake(number - LISTENERS);
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

    /// No more clients: the kernel refuses who connects now, unless another process has the listener, too.
    pub fn close_listeners(&mut self) {
        for mut listener in self.acceptor.close() {
            // The poller forgets by itself only a listener that nobody else has: it would tell of clients of others.
            let _ = self.poll.registry().deregister(listener.socket());
        }
    }

    /// The acceptor.
    pub fn acceptor(&mut self) -> &mut Acceptor {
        &mut self.acceptor
    }
}
