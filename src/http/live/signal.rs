//! Something has changed: long polls wait for it without a worker, and are handled again.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::tcp::Waker;

/// Something that may change, and that requests wait for: [`Response::wait_for`](crate::Response::wait_for). Clones are
/// the same one.
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
///         let ticket = self.changed.ticket(); // before the look, so that no change is missed between
///         let lines = self.lines.lock().unwrap();
///         match lines.get(from..) {
///             Some(news) if !news.is_empty() => Ok(Response::json(news)),
///             _ if request.is_late() => Ok(Response::no_content()), // nothing came
///             _ => Ok(Response::wait_for(ticket, Duration::from_secs(30))), // then it is asked again
///         }
///     }
/// }
/// ```
#[derive(Clone, Default)]
pub struct Signal(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// How often it was notified.
    version: u64,
    /// By numbers of their own.
    waiting: HashMap<u64, Waker>,
    registered: u64,
}

/// A request that waits, until this is dropped.
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

/// A moment in the life of a [`Signal`]: whatever is notified after it is not missed. [`Signal::ticket`].
#[derive(Clone)]
pub struct Ticket {
    signal: Signal,
    version: u64,
}

/// A request that waits for a signal, within so long.
pub(crate) struct Wait {
    pub(crate) ticket: Ticket,
    pub(crate) within: Option<Duration>,
}

impl Signal {
    /// One that has not been notified yet.
    pub fn new() -> Signal {
        Signal::default()
    }

    /// Something has changed: all requests that wait are handled again, by and by. It does not wait for them.
    pub fn notify(&self) {
        let waiting = {
            let mut state = self.lock();
            state.version += 1;
            std::mem::take(&mut state.waiting)
        };
        let waiting: Vec<Waker> = waiting.into_values().collect();
        Waker::wake_all(&waiting);
    }

    /// This moment: to be taken before the look that finds nothing yet.
    pub fn ticket(&self) -> Ticket {
        Ticket { signal: self.clone(), version: self.lock().version }
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Have this connection called when the signal is notified, until what is returned is dropped. `None`: it was, since the
    /// ticket was taken.
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

    /// Whether the signal was notified since the ticket was taken.
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
