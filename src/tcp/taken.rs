//! Connections that have left the engine, each on a thread of its own. Limits their number, queues connections that
//! wait for a thread, and keeps the sockets, so that a shutdown can end them. Called by `workers`.

use std::collections::HashMap;
use std::sync::Arc;

use super::scheduler::{Admission, Class, Permits, Work};
use super::stream::SocketSink;
use super::sync::{AtomicUsize, Instant, Mutex, Ordering, lock};

/// The permits for threads, and the sockets of the streams.
pub struct Taken<C> {
    state: Mutex<State<C>>,
    waiting: AtomicUsize, // how many connections wait for a thread; written under the lock
}

struct State<C> {
    permits: Permits<C>,
    sockets: HashMap<u64, Arc<SocketSink>>,
    entered: u64,
    threads: u64, // started so far
    shutting_down: bool,
    ended: bool,
}

impl<C> Taken<C> {
    /// Creates the records. `permits` limits the number of threads, and how long connections wait for one.
    pub fn new(permits: Permits<C>) -> Taken<C> {
        let sockets = HashMap::new();
        Taken {
            state: Mutex::new(State { permits, sockets, entered: 0, threads: 0, shutting_down: false, ended: false }),
            waiting: AtomicUsize::new(0),
        }
    }

    pub fn admit(&self, connection: C, now: Instant) -> Admission<C> {
        self.with_permits(|permits| permits.exchange(None, connection, Work::Handler, now))
    }

    /// Takes a thread for something other than a connection, if one is free.
    pub fn try_admit(&self) -> Option<Class> {
        self.with_permits(|permits| permits.try_acquire(Work::Handler))
    }

    /// Returns the number of the next thread, for its name.
    pub fn next_thread(&self) -> u64 {
        let mut state = lock(&self.state);
        state.threads += 1;
        state.threads
    }

    /// Releases a thread. Returns the connection that gets it: the connection that has waited longest.
    pub fn release(&self, thread: Class) -> Option<C> {
        self.with_permits(|permits| permits.release(thread)).map(|(connection, _)| connection)
    }

    /// Removes and returns the connections that have waited too long for a thread.
    pub fn late(&self, now: Instant) -> Vec<C> {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        self.with_permits(|permits| permits.late(now))
    }

    /// Returns when the first waiting connection has waited too long.
    pub fn deadline(&self) -> Option<Instant> {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return None; // a connection that waits from now on wakes the poller
        }
        self.with_permits(|permits| permits.deadline())
    }

    /// Records that a stream begins. Returns its number, for [`Taken::leave`].
    pub fn enter(&self, socket: &Arc<SocketSink>) -> u64 {
        let mut state = lock(&self.state);
        if state.ended {
            socket.cut_off();
        } else if state.shutting_down {
            socket.shut_down_soon();
        }
        state.entered += 1;
        let number = state.entered;
        state.sockets.insert(number, socket.clone());
        number
    }

    /// Records that a stream has ended.
    pub fn leave(&self, number: u64) {
        let socket = lock(&self.state).sockets.remove(&number);
        drop(socket); // closed without the lock
    }

    pub fn count(&self) -> usize {
        lock(&self.state).sockets.len()
    }

    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub fn refused(&self) -> u64 {
        lock(&self.state).permits.refused()
    }

    /// Called when the server shuts down: ends reads.
    pub fn begin_shutdown(&self) {
        let mut state = lock(&self.state);
        state.shutting_down = true;
        state.sockets.values().for_each(|socket| socket.shut_down());
    }

    /// Called when the server ends: cuts off all streams, so that no thread continues to wait for a client, and no
    /// interrupted response looks complete. Returns the connections that waited for a thread.
    pub fn end(&self) -> Vec<C> {
        let mut state = lock(&self.state);
        state.ended = true;
        state.sockets.values().for_each(|socket| socket.cut_off());
        drop(state);
        self.with_permits(Permits::drain)
    }

    fn with_permits<R>(&self, change: impl FnOnce(&mut Permits<C>) -> R) -> R {
        let mut state = lock(&self.state);
        let result = change(&mut state.permits);
        self.waiting.store(state.permits.queued(), Ordering::Relaxed);
        result
    }
}
