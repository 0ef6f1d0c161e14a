//! A notification for long polls, which wait for it without a worker and are then handled again.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::tcp::Waker;

/// A notification that requests wait for: [`Response::wait_for`](crate::Response::wait_for). Clones share it.
///
/// ```
/// use std::sync::Mutex;
/// use std::time::Duration;
/// use modest::live::Signal;
/// use modest::{Request, Response, Result};
///
/// #[derive(Default)]
/// struct Board {
///     lines: Mutex<Vec<String>>,
///     changed: Signal,
/// }
///
/// impl Board {
///     fn add(&self, request: &Request) -> Result<Response> {
///         self.lines.lock().unwrap().push(request.text()?.into_owned());
///         self.changed.notify();
///         Ok(Response::no_content())
///     }
///
///     /// `GET /lines?from=3` waits for the line after the third.
///     fn read(&self, request: &Request) -> Result<Response> {
///         let from: usize = request.parse("from")?;
///         let ticket = self.changed.ticket(); // before reading the lines, so that no change is missed
///         let lines = self.lines.lock().unwrap();
///         match lines.get(from..) {
///             Some(news) if !news.is_empty() => Ok(Response::json(news)),
///             _ if request.is_late() => Ok(Response::no_content()), // the time is up
///             _ => Ok(Response::wait_for(ticket, Duration::from_secs(30))), // then `read` is called again
///         }
///     }
/// }
/// ```
#[derive(Clone, Default)]
pub struct Signal(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// How many times it was notified.
    version: u64,
    /// The wakers, by registration number.
    waiting: HashMap<u64, Waker>,
    registered: u64,
}

/// A waiting request, until this is dropped.
pub(crate) struct Registered {
    signal: Signal,
    number: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let waker = self.signal.lock().waiting.remove(&self.number);
        drop(waker); // without the lock
    }
}

/// A point in time of a [`Signal`], returned by [`Signal::ticket`]. No later notification is missed.
#[derive(Clone)]
pub struct Ticket {
    signal: Signal,
    version: u64,
}

/// A request that waits for a signal, with its time limit.
pub(crate) struct Wait {
    pub(crate) ticket: Ticket,
    pub(crate) within: Option<Duration>,
    /// Waits on when the server shuts down, for up to the shutdown timeout.
    pub(crate) outlasts_shutdown: bool,
}

impl Signal {
    /// Creates a signal that has not been notified.
    pub fn new() -> Signal {
        Signal::default()
    }

    /// Notifies the signal: all waiting requests are handled again soon. Does not wait for them.
    pub fn notify(&self) {
        let waiting = {
            let mut state = self.lock();
            state.version += 1;
            std::mem::take(&mut state.waiting)
        };
        let waiting: Vec<Waker> = waiting.into_values().collect();
        Waker::wake_all(&waiting);
    }

    /// The current point in time. Take the ticket before you check the state that the request waits for.
    pub fn ticket(&self) -> Ticket {
        Ticket { signal: self.clone(), version: self.lock().version }
    }

    /// The number of waiting requests.
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Registers this connection to be called when the signal is notified, until the returned value is dropped. `None`
    /// if it has been notified since the ticket was taken.
    pub(crate) fn register(&self, waker: Waker) -> Option<Registered> {
        let mut state = self.signal.lock();
        if state.version != self.version {
            return None;
        }
        state.registered += 1;
        let number = state.registered;
        state.waiting.insert(number, waker);
        Some(Registered { signal: self.signal.clone(), number })
    }

    /// Whether the signal has been notified since the ticket was taken.
    pub fn is_over(&self) -> bool {
        self.signal.lock().version != self.version
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Signal").field("version", &state.version).field("waiting", &state.waiting.len()).finish()
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("version", &self.version).finish_non_exhaustive()
    }
}
