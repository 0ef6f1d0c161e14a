//! The poller, with the acceptor beside it. Held by one worker at a time (see `scheduler`). It knows only the tokens of
//! connections.

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
    /// When to check for slow handlers next, at the latest (`None`: never). The worker that polls does.
    pub next_look: Option<Instant>,
}

/// Tokens that are not a connection's: those of listeners, in their order, and of the waker.
const WAKER: usize = usize::MAX;
const LISTENERS: usize = WAKER - MOST_LISTENERS;
const MOST_LISTENERS: usize = 1024;
const EVENTS: usize = 1024;

impl PollWaker for Waker {
    fn wake(&self) {
        // It fails only if the kernel has no memory. Then the waiting worker returns at its deadline.
        let _ = Waker::wake(self);
    }
}

impl Poller {
    /// Creates a poller for these listeners, and its waker.
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

    /// For registering clients, also while a worker waits.
    pub fn registry(&self) -> io::Result<Registry> {
        self.poll.registry().try_clone()
    }

    /// Waits for events until this time (`None`: for ever).
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
            // A signal, or the process was stopped and continues: there may be events all the same.
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

    /// The events of the poll. Those of listeners go to the acceptor.
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

    /// No more clients: the kernel refuses new ones, unless another process also has the listener.
    pub fn close_listeners(&mut self) {
        for mut listener in self.acceptor.close() {
            // The poller forgets a listener by itself only if no other process has it. Otherwise it would report
            // clients of others.
            let _ = self.poll.registry().deregister(listener.socket());
        }
    }

    /// The acceptor.
    pub fn acceptor(&mut self) -> &mut Acceptor {
        &mut self.acceptor
    }
}
