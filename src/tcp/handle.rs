//! Handles of a server: shut it down and read its statistics, from any thread, including handlers, at any time. Created
//! by `server`. A handle references the engine only while the server runs, because the engine holds the handler, which
//! may hold a handle.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::background::Stop;
use super::stats::{ListenerStats, Stats};
use super::sync::{self, Instant, Mutex, lock};
use super::timers::Call;

/// The engine, as handles use it.
pub trait Control: Any + Send + Sync {
    /// Called when a shutdown is to begin after the delay.
    fn drain(&self) {}
    /// Begins the shutdown, and notifies the thread that waits for the end.
    fn begin_shutdown(&self);
    /// Calls the function after the delay, or drops it when the server exits.
    fn call_after(&self, delay: Duration, call: Call) {
        let _ = (delay, call);
    }
    /// Ends without waiting: no connection is notified of the shutdown from then on.
    fn end(&self);
    fn stats(&self) -> Stats;
    /// Returns the statistics of each listener. Empty for a server of datagrams.
    fn listeners(&self) -> Vec<ListenerStats> {
        Vec::new()
    }
}

/// Shuts a server down and reports its statistics, from any thread, at any time.
#[derive(Clone, Default)]
pub struct ServerHandle {
    shared: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    engine: Option<Arc<dyn Control>>,
    /// The delay between the call of `shutdown` and the beginning of the shutdown.
    delay: Duration,
    /// When `shutdown` was called. `shutdown_began`: when the shutdown began.
    asked: Option<Instant>,
    shutdown_began: Option<Instant>,
    /// Whether another process serves the same listeners.
    is_handed_over: bool,
    last: Stats, // the statistics at the end
    stop: Stop,  // of the background threads
}

impl ServerHandle {
    /// Begins the shutdown: no more clients are accepted, requests in progress are finished, and `serve_forever`
    /// returns. It does not wait, and can be called from anywhere, including handlers, and repeatedly. With a
    /// [delay](crate::TcpServer::shutdown_delay), clients are served as before until the delay has passed.
    pub fn shutdown(&self) {
        let mut state = lock(&self.shared);
        state.asked.get_or_insert_with(sync::now);
        if !state.delay.is_zero()
            && let Some(engine) = state.engine.clone()
        {
            drop(state);
            return engine.drain();
        }
        drop(state);
        self.begin_shutdown();
    }

    /// Begins the shutdown without a [delay](crate::TcpServer::shutdown_delay), because another process already serves
    /// the same listeners: clients need no other server, so [`is_draining`](ServerHandle::is_draining) stays false.
    pub fn hand_over(&self) {
        lock(&self.shared).is_handed_over = true;
        self.begin_shutdown();
    }

    /// Shuts down without finishing anything.
    pub fn shutdown_now(&self) {
        if let Some(engine) = self.note_shutdown() {
            engine.end();
        }
        self.stop().abandon();
    }

    /// Starts a background thread at once, for work that a handler begins
    /// ([`Request::server`](crate::Request::server)). See [`TcpServer::background`](crate::TcpServer::background). The
    /// number of such threads is not limited; for many jobs use a queue ([`Jobs`](crate::background::Jobs)). A request
    /// in progress during a shutdown can still start threads, whose [`Stop`] is set from the start.
    ///
    /// # Errors
    /// If there is no thread, or after a shutdown's last request has ended or its timeout has passed.
    pub fn background(&self, name: impl Into<String>, work: impl FnOnce(&Stop) + Send + 'static) -> io::Result<()> {
        self.stop().start(name.into(), work)
    }

    /// Returns whether a shutdown was requested. Health checks should fail from then on. The shutdown
    /// [begins](ServerHandle::is_shutting_down) when the [delay](crate::TcpServer::shutdown_delay) has passed. False
    /// if the listeners were [handed over](ServerHandle::hand_over).
    pub fn is_draining(&self) -> bool {
        let state = lock(&self.shared);
        !state.is_handed_over && (state.asked.is_some() || state.shutdown_began.is_some())
    }

    /// Returns whether a shutdown has begun.
    pub fn is_shutting_down(&self) -> bool {
        self.shutdown_began().is_some()
    }

    /// Returns the current statistics; after the end, the last ones.
    pub fn stats(&self) -> Stats {
        let state = lock(&self.shared);
        let (engine, last, stop) = (state.engine.clone(), state.last, state.stop.clone());
        drop(state);
        Stats { background: stop.count(), ..engine.map_or(last, |engine| engine.stats()) }
    }

    /// Returns the statistics of each listener, in the order in which they were given. Empty unless the server is
    /// running, and for a [`UdpServer`](crate::UdpServer).
    pub fn listeners(&self) -> Vec<ListenerStats> {
        self.engine().map_or_else(Vec::new, |engine| engine.listeners())
    }

    pub(crate) fn is_serving(&self) -> bool {
        lock(&self.shared).engine.is_some()
    }

    /// Calls the function on a worker after the delay, with a permit for short work. When the server exits, it is
    /// dropped without being called.
    pub(crate) fn call_after(&self, delay: Duration, call: Call) {
        if let Some(engine) = self.engine() {
            engine.call_after(delay, call);
        }
    }

    pub(crate) fn set_delay(&self, delay: Duration) {
        lock(&self.shared).delay = delay;
    }

    /// While a shutdown is delayed, returns when it was requested and when it begins.
    pub(crate) fn drains(&self) -> Option<(Instant, Instant)> {
        let state = lock(&self.shared);
        let asked = state.asked.filter(|_| state.shutdown_began.is_none())?;
        Some((asked, asked.checked_add(state.delay)?))
    }

    /// Begins the shutdown, when the delay has passed.
    pub(crate) fn begin_shutdown(&self) {
        if let Some(engine) = self.note_shutdown() {
            engine.begin_shutdown();
        }
    }

    pub(crate) fn shutdown_began(&self) -> Option<Instant> {
        lock(&self.shared).shutdown_began
    }

    /// Returns the `Stop` of its background threads.
    pub(crate) fn stop(&self) -> Stop {
        lock(&self.shared).stop.clone()
    }

    /// Called when a server begins to serve. A server that was shut down before this call ends at once.
    pub(crate) fn begin(&self, engine: Arc<dyn Control>) -> Serving<'_> {
        let mut state = lock(&self.shared);
        state.engine = Some(engine.clone());
        let shut_down_before = state.shutdown_began.is_some();
        drop(state);
        if shut_down_before {
            engine.end();
        }
        Serving { handle: self }
    }

    fn note_shutdown(&self) -> Option<Arc<dyn Control>> {
        let mut state = lock(&self.shared);
        state.shutdown_began.get_or_insert_with(sync::now);
        let (engine, stop) = (state.engine.clone(), state.stop.clone());
        drop(state);
        stop.set();
        engine
    }

    /// Returns the engine, while the server runs.
    pub(super) fn engine(&self) -> Option<Arc<dyn Control>> {
        lock(&self.shared).engine.clone()
    }

    #[cfg(feature = "proxy")]
    pub(crate) fn is_same(&self, other: &ServerHandle) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

/// A running server. Dropped when it has ended in any way.
pub struct Serving<'a> {
    handle: &'a ServerHandle,
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let engine = lock(&self.handle.shared).engine.take();
        if let Some(engine) = engine {
            lock(&self.handle.shared).last = engine.stats();
        }
        self.handle.stop().abandon(); // even after an error
    }
}

opaque!(ServerHandle { is_shutting_down() });
