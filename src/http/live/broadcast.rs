//! One message, many listeners: each has a bounded queue of its own, and none holds a worker.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use http::{StatusCode, header};

use super::event::ServerEvent;
use super::pushed::{AtShutdown, Pushed, PushedBody, SendError};
use crate::http::error::Error;
use crate::http::request::Request;
use crate::mutex::lock;
use crate::tcp::{IpNetwork, Waker};

/// Sends server-sent events to all listeners: [`Response::events`](crate::Response::events). Clones share the
/// listeners.
///
/// ```
/// use modest::live::Broadcast;
/// use modest::{Request, Response, Result, Routes};
///
/// struct Dashboard {
///     news: Broadcast,
/// }
///
/// impl Dashboard {
///     fn listen(&self, request: &Request) -> Result<Response> {
///         Ok(Response::events(self.news.listen(request)?))
///     }
///
///     fn publish(&self, request: &Request) -> Result<Response> {
///         let listeners = self.news.send(request.text()?);
///         Ok(Response::text(format!("sent to {listeners} listeners\n")))
///     }
/// }
///
/// let app = Routes::new()
///     .get("/news", Dashboard::listen) // in a page: new EventSource("/news").onmessage = ...
///     .post("/news", Dashboard::publish)
///     .with_state(Dashboard { news: Broadcast::new().history(100) });
/// ```
///
/// Its settings come first: a setting of a `Broadcast` that has clones panics.
///
/// A listener costs no worker, and no CPU time while nothing is sent. When the server shuts down, the streams end with
/// a hint to reconnect after one second. When the last clone is dropped, for example with a closed chat room, they end
/// after the queued events.
#[derive(Clone)]
pub struct Broadcast(Arc<Shared>);

struct Shared {
    settings: Settings,
    /// The start of the ids of this run, so that ids of an earlier run are recognized.
    run: u64,
    state: Mutex<State>,
}

struct Settings {
    queue: usize,
    overflow: Overflow,
    history: usize,
    max_listeners: usize,
    max_per_address: usize,
    heartbeat: Option<Duration>,
}

#[derive(Default)]
struct State {
    listeners: Vec<Entry>,
    /// At this number of listeners, disconnected listeners are removed.
    prune_at: usize,
    /// The last events, with their ids.
    history: VecDeque<(String, Arc<[u8]>)>,
    sent: u64,
}

struct Entry {
    pushed: Weak<Pushed>,
    address: Option<IpNetwork>,
}

/// The action for a listener that reads so slowly that its queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The connection is reset. An `EventSource` reconnects, and gets the missed events from the
    /// [history](Broadcast::history).
    #[default]
    Disconnect,
    /// The oldest events in the queue are dropped.
    Skip,
}

/// A listener of a [`Broadcast`]: [`Broadcast::listen`].
#[must_use = "receives events only through `Response::events`"]
pub struct Listener {
    pub(crate) body: PushedBody,
}

impl Listener {
    /// Adds an event for this listener only, before all later ones, for example the state that later events change.
    /// Read the state after [`listen`](Broadcast::listen), so that no change is missed. The event does not count
    /// towards the [queue](Broadcast::queue). If the listener has reconnected with an id of the
    /// [history](Broadcast::history), the event follows the missed events.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    /// use modest::live::Broadcast;
    /// use modest::{Request, Response, Result};
    ///
    /// struct Counter {
    ///     count: AtomicU64,
    ///     changes: Broadcast,
    /// }
    ///
    /// impl Counter {
    ///     fn listen(&self, request: &Request) -> Result<Response> {
    ///         let listener = self.changes.listen(request)?;
    ///         Ok(Response::events(listener.with_event(self.count.load(Relaxed).to_string())))
    ///     }
    /// }
    /// # let _ = Counter::listen;
    /// ```
    pub fn with_event(self, event: impl Into<ServerEvent>) -> Listener {
        self.body.preload([Arc::from(event.into().encode().into_bytes())].into_iter());
        self
    }
}

default_is_new!(Broadcast);

/// Settings. Call these before creating listeners or clones.
impl Broadcast {
    /// Creates a broadcast with default settings and no listeners.
    pub fn new() -> Broadcast {
        let settings = Settings {
            queue: 64 * 1024,
            overflow: Overflow::default(),
            history: 0,
            max_listeners: 10_000,
            max_per_address: usize::MAX,
            heartbeat: Some(Duration::from_secs(15)),
        };
        let run = RandomState::new().build_hasher().finish();
        Broadcast(Arc::new(Shared { settings, run, state: Mutex::default() }))
    }

    /// Sets how many bytes can be queued per listener; then [`overflow`](Broadcast::overflow) decides. Default: 64 KiB.
    /// An empty queue also accepts a longer event.
    pub fn queue(self, bytes: usize) -> Broadcast {
        self.with(|settings| settings.queue = bytes)
    }

    /// Sets whether a listener whose queue is full is reset at once or misses the oldest events ([`Overflow::Skip`]).
    /// Default: [`Overflow::Disconnect`].
    pub fn overflow(self, overflow: Overflow) -> Broadcast {
        self.with(|settings| settings.overflow = overflow)
    }

    /// Sets how many events are kept for listeners that reconnect; then the oldest is dropped. Default: 0. An
    /// `EventSource` sends the id of the last event it received. Events without an id get one.
    pub fn history(self, events: usize) -> Broadcast {
        self.with(|settings| settings.history = events)
    }

    /// Sets the maximum number of listeners; a further listener gets 503 with `Retry-After`. Default: 10,000.
    pub fn max_listeners(self, number: usize) -> Broadcast {
        self.with(|settings| settings.max_listeners = number)
    }

    /// Sets the maximum number of listeners per IPv4 address or IPv6 /64; a further listener gets 429 with
    /// `Retry-After`. Default: no limit. The address is [`Request::client_ip`](crate::Request::client_ip). All clients
    /// behind a proxy that is not [trusted](crate::layers::TrustedProxies) have the same address.
    pub fn max_per_address(self, number: usize) -> Broadcast {
        self.with(|settings| settings.max_per_address = number)
    }

    /// Sends a comment after this time without an event, to find clients that have disconnected and to keep proxies
    /// from closing the connection. Default: 15 seconds; `None`: never.
    pub fn heartbeat(self, every: impl Into<Option<Duration>>) -> Broadcast {
        self.with(|settings| settings.heartbeat = every.into())
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Broadcast {
        let shared = Arc::get_mut(&mut self.0).expect("set the options of a Broadcast before cloning it");
        change(&mut shared.settings);
        self
    }
}

impl Broadcast {
    /// Sends an event to all listeners, and returns in how many queues it is. Does not wait for them.
    pub fn send(&self, event: impl Into<ServerEvent>) -> usize {
        let mut event = event.into();
        let mut state = lock(&self.0.state);
        state.sent += 1;
        if self.0.settings.history > 0 && event.id.is_none() {
            event.id = Some(format!("{:x}-{}", self.0.run, state.sent));
        }
        let piece: Arc<[u8]> = Arc::from(event.encode().into_bytes());
        if let Some(id) = event.id.filter(|_| self.0.settings.history > 0) {
            if state.history.len() == self.0.settings.history {
                state.history.pop_front();
            }
            state.history.push_back((id, Arc::clone(&piece)));
        }
        let (mut wakers, mut too_slow) = (Vec::new(), Vec::new());
        let mut reached = 0;
        state.listeners.retain(|listener| {
            let Some(pushed) = listener.pushed.upgrade() else { return false };
            let is_there = self.send_piece(&pushed, &piece, &mut wakers, &mut too_slow);
            reached += usize::from(is_there);
            is_there
        });
        drop(state);
        Waker::wake_all(&wakers);
        for waker in too_slow {
            waker.abort();
        }
        reached
    }

    /// Queues a piece for this listener. Returns whether the listener is still connected.
    fn send_piece(
        &self,
        pushed: &Pushed,
        piece: &Arc<[u8]>,
        wakers: &mut Vec<Waker>,
        too_slow: &mut Vec<Waker>,
    ) -> bool {
        let waker = match self.0.settings.overflow {
            Overflow::Skip => pushed.push_newest(Arc::clone(piece)),
            Overflow::Disconnect => pushed.push(Arc::clone(piece)),
        };
        match waker {
            Ok(waker) => {
                wakers.extend(waker);
                true
            }
            Err(SendError::Full) => {
                too_slow.extend(pushed.break_off());
                false
            }
            Err(SendError::Gone) => false,
        }
    }

    /// Adds a listener, which gets the events that are sent from now on. With a [history](Broadcast::history) and
    /// `Last-Event-ID`, it first gets the events after the event that
    /// `Last-Event-ID` of the request names, or the whole history if that event is no longer known. These events do not
    /// count towards the listener's [queue](Broadcast::queue).
    ///
    /// An `EventSource` gives up after a status other than 200. A page that then creates another `EventSource` cannot
    /// set header fields, so the query parameter `last-event-id` has the same effect as the field.
    ///
    /// # Errors
    /// 503 if the maximum number of listeners is reached, 429 if it is reached for this address.
    pub fn listen(&self, request: &Request) -> Result<Listener, Error> {
        let settings = &self.0.settings;
        let address = request.client_ip().map(IpNetwork::of_client);
        let mut state = lock(&self.0.state);
        if state.listeners.len() >= state.prune_at.max(64).min(settings.max_listeners) {
            let is_there = |listener: &Entry| listener.pushed.upgrade().is_some_and(|pushed| !pushed.is_gone());
            state.listeners.retain(is_there);
            state.prune_at = 2 * state.listeners.len();
        }
        let refused = |status, message| Err(Error::new(status, message).with_header(header::RETRY_AFTER, "5"));
        if state.listeners.len() >= settings.max_listeners {
            return refused(StatusCode::SERVICE_UNAVAILABLE, "too many listeners");
        }
        if settings.max_per_address < usize::MAX && address.is_some() {
            let same = state.listeners.iter().filter(|listener| listener.address == address);
            let there = |listener: &&Entry| listener.pushed.upgrade().is_some_and(|pushed| !pushed.is_gone());
            if same.filter(there).count() >= settings.max_per_address {
                return refused(StatusCode::TOO_MANY_REQUESTS, "too many listeners from this address");
            }
        }
        let mut pushed = Pushed::new(settings.queue);
        pushed.heartbeat = settings.heartbeat.map(|every| (every, &b":\n\n"[..]));
        pushed.at_shutdown = AtShutdown::Ends(b"retry: 1000\n\n");
        let pushed = Arc::new(pushed);
        let last = request.header("last-event-id").map(Into::into).or_else(|| request.param("last-event-id"));
        if let Some(last) = last {
            let known = state.history.iter().position(|(id, _)| *id == *last).map_or(0, |at| at + 1);
            pushed.preload(state.history.range(known..).map(|(_, piece)| Arc::clone(piece)));
        }
        state.listeners.push(Entry { pushed: Arc::downgrade(&pushed), address });
        Ok(Listener { body: PushedBody::new(pushed) })
    }

    /// Returns the number of listeners. Some of them may have disconnected.
    pub fn listeners(&self) -> usize {
        lock(&self.0.state).listeners.len()
    }
}

impl Drop for Shared {
    /// Ends the streams: no event can follow.
    fn drop(&mut self) {
        let listeners = std::mem::take(&mut lock(&self.state).listeners);
        let listeners = listeners.iter().filter_map(|listener| listener.pushed.upgrade());
        Waker::wake_all(&listeners.filter_map(|pushed| pushed.complete()).collect::<Vec<_>>());
    }
}

opaque!(Broadcast { listeners() });

opaque!(Listener);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_of_one_broadcast_and_come_first() {
        let news = Broadcast::new();
        let run = news.0.run;
        let news = news.queue(10).history(2).max_listeners(3).max_per_address(4).heartbeat(None);
        assert_eq!((news.0.run, news.0.settings.history), (run, 2));
        let copy = news.clone();
        let late = std::panic::catch_unwind(|| drop(copy.history(5)));
        assert!(late.is_err(), "a setting of a broadcast with a clone");
        assert_eq!(news.0.settings.history, 2);
    }
}
