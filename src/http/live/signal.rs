//! Notifications for long polls: a request waits for one without a worker and is then handled again.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crate::mutex::lock;
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
///         let from: usize = request.parse_param("from")?;
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
    version: u64,
    /// The wakers, by registration number.
    waiting: HashMap<u64, Waker>,
    registered: u64,
}

/// The registration of a waiting request, removed when dropped.
pub(crate) struct Registered {
    signal: Signal,
    number: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let waker = lock(&self.signal.0).waiting.remove(&self.number);
        drop(waker); // without the lock
    }
}

/// A point in time of a [`Signal`], returned by [`Signal::ticket`]. A request that waits with it misses no later
/// notification.
#[derive(Clone)]
pub struct Ticket {
    signal: Signal,
    version: u64,
}

/// A request that waits for a signal, with its time limit.
pub(crate) struct Wait {
    pub(crate) ticket: Ticket,
    pub(crate) within: Option<Duration>,
    /// The backend whose response it waits for, if any. Such a request keeps waiting when the server shuts down, for up
    /// to the shutdown timeout. Its time begins with each wait, and the request is not late afterwards.
    pub(crate) backend: Option<Arc<dyn BackendWait>>,
}

/// A value of a request that was passed on to a backend, which may have executed it. So it can no longer be rejected.
pub(crate) struct PassedOn;

/// A wait for the response of a backend, which may arrive in many pieces.
pub(crate) trait BackendWait: Send + Sync {
    /// Receives the bytes that have arrived. Returns the ticket for further ones and how long to wait for them (`None`:
    /// no limit), or `None` when the handler can be called, because there is a response or a failure. Does not block.
    fn advance(&self) -> Option<(Ticket, Option<Duration>)>;
}

impl Signal {
    /// Creates a signal that has not been notified.
    pub fn new() -> Signal {
        Signal::default()
    }

    /// Notifies the signal: all waiting requests are handled again soon. Does not wait for them.
    pub fn notify(&self) {
        Waker::wake_all(&self.take_waiting());
    }

    /// Notifies the signal, and returns the wakers of the waiting requests, which the caller has to call.
    pub(crate) fn take_waiting(&self) -> Vec<Waker> {
        let waiting = {
            let mut state = lock(&self.0);
            state.version += 1;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_values().collect()
    }

    /// Returns the current point in time. Take the ticket before you check the state that the request waits for.
    pub fn ticket(&self) -> Ticket {
        Ticket { signal: self.clone(), version: lock(&self.0).version }
    }

    /// Returns the number of waiting requests.
    pub fn waiting(&self) -> usize {
        lock(&self.0).waiting.len()
    }
}

impl Ticket {
    /// Registers this connection to be called when the signal is notified, until the returned value is dropped. `None`
    /// if it has been notified since the ticket was taken.
    pub(crate) fn register(&self, waker: Waker) -> Option<Registered> {
        let mut state = lock(&self.signal.0);
        if state.version != self.version {
            return None;
        }
        state.registered += 1;
        let number = state.registered;
        state.waiting.insert(number, waker);
        Some(Registered { signal: self.signal.clone(), number })
    }

    /// Returns whether the signal has been notified since the ticket was taken.
    pub fn is_over(&self) -> bool {
        lock(&self.signal.0).version != self.version
    }
}

/// A [`Signal`] for each key, so that a finished job, for example, wakes only the requests that wait for that job.
/// Clones share the signals. Keys without waiting requests are removed from time to time.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
/// use std::time::Duration;
/// use modest::live::Signals;
/// use modest::{Request, Response, Result};
///
/// #[derive(Default)]
/// struct Work {
///     done: Mutex<HashMap<u64, String>>,
///     finished: Signals<u64>,
/// }
///
/// impl Work {
///     fn finish(&self, id: u64, result: String) {
///         self.done.lock().unwrap().insert(id, result);
///         self.finished.notify(&id);
///     }
///
///     fn result(&self, request: &Request) -> Result<Response> {
///         let id = request.path_param("id")?;
///         let ticket = self.finished.ticket(id); // before the check, so that no change is missed
///         match self.done.lock().unwrap().get(&id) {
///             Some(result) => Ok(Response::text(result)),
///             None if request.is_late() => Ok(Response::no_content()),
///             None => Ok(Response::wait_for(ticket, Duration::from_secs(30))),
///         }
///     }
/// }
/// # let _ = (Work::finish, Work::result);
/// ```
pub struct Signals<K>(Arc<Mutex<Keyed<K>>>);

struct Keyed<K> {
    /// A signal lives as long as its tickets.
    signals: HashMap<K, Weak<Mutex<State>>>,
    /// Keys without tickets are removed when there are this many keys.
    prune_at: usize,
}

const FIRST_PRUNING: usize = 64;

impl<K: Eq + Hash> Signals<K> {
    /// Creates signals that have not been notified.
    pub fn new() -> Signals<K> {
        Signals(Arc::new(Mutex::new(Keyed { signals: HashMap::new(), prune_at: FIRST_PRUNING })))
    }

    /// Returns the current point in time of a key: [`Signal::ticket`].
    pub fn ticket(&self, key: K) -> Ticket {
        let mut keyed = lock(&self.0);
        if let Some(signal) = keyed.signals.get(&key).and_then(Weak::upgrade) {
            return Signal(signal).ticket();
        }
        if keyed.signals.len() >= keyed.prune_at {
            keyed.signals.retain(|_, signal| signal.strong_count() > 0);
            keyed.prune_at = (2 * keyed.signals.len()).max(FIRST_PRUNING);
        }
        let signal = Signal::new();
        keyed.signals.insert(key, Arc::downgrade(&signal.0));
        signal.ticket()
    }

    /// Notifies the requests that wait for this key.
    pub fn notify<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let signal = lock(&self.0).signals.remove(key).and_then(|signal| signal.upgrade());
        if let Some(signal) = signal {
            Signal(signal).notify(); // without the lock
        }
    }

    /// Notifies the requests that wait for any key.
    pub fn notify_all(&self) {
        let signals = std::mem::take(&mut lock(&self.0).signals);
        signals.into_values().filter_map(|signal| signal.upgrade()).for_each(|signal| Signal(signal).notify());
    }

    /// Returns the number of waiting requests.
    pub fn waiting(&self) -> usize {
        let signals: Vec<_> = lock(&self.0).signals.values().filter_map(Weak::upgrade).collect();
        signals.into_iter().map(|signal| Signal(signal).waiting()).sum()
    }
}

impl<K: Eq + Hash> Default for Signals<K> {
    fn default() -> Signals<K> {
        Signals::new()
    }
}

impl<K> Clone for Signals<K> {
    fn clone(&self) -> Signals<K> {
        Signals(Arc::clone(&self.0))
    }
}

opaque!(Signals<K>);

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.0);
        f.debug_struct("Signal").field("version", &state.version).field("waiting", &state.waiting.len()).finish()
    }
}

opaque!(Ticket { version });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_wakes_its_own_tickets_only() {
        let signals: Signals<String> = Signals::new();
        let (one, two, again) = (signals.ticket("1".into()), signals.ticket("2".into()), signals.ticket("1".into()));
        signals.notify("3");
        assert!(!one.is_over() && !two.is_over() && !again.is_over());
        signals.notify("1");
        assert!(one.is_over() && !two.is_over() && again.is_over());
        assert!(!signals.ticket("1".into()).is_over(), "a later ticket waits for the next notification");
        signals.notify_all();
        assert!(two.is_over());
    }

    #[test]
    fn keys_without_tickets_take_no_memory() {
        let signals: Signals<usize> = Signals::new();
        let kept = signals.ticket(usize::MAX);
        for key in 0..10_000 {
            drop(signals.ticket(key));
        }
        assert!(lock(&signals.0).signals.len() <= 2 * FIRST_PRUNING, "{}", lock(&signals.0).signals.len());
        signals.notify(&usize::MAX);
        assert!(kept.is_over());
    }
}
