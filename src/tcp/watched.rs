//! Sockets that requests wait for, other than those of clients: connections to a backend. The polling worker finds
//! out that one is ready, and takes up the connections that wait for it. Registered through a `ServerHandle`.

use std::sync::Arc;

use super::scheduler::Waker;
use super::sync::{Mutex, MutexGuard, PoisonError};

/// The owner of a watched socket.
pub trait SocketWatcher: Send + Sync {
    /// Called when bytes or the end may have arrived, and at the end of the server. Returns the connections to be
    /// called. Runs while the poller is held, so it must not block.
    fn ready(&self, is_closed: bool) -> Vec<Waker>;
}

/// The watched sockets of a server, by number.
#[derive(Default)]
pub struct WatchedSockets(Mutex<Watchers>);

#[derive(Default)]
struct Watchers {
    by_number: Vec<Option<Arc<dyn SocketWatcher>>>,
    free: Vec<usize>,
    is_over: bool,
}

/// The maximum number of watched sockets.
pub const MOST_WATCHED: usize = 1 << 16;

impl WatchedSockets {
    /// Adds a socket, and returns its number. `None` if there are too many of them, or if the server is over.
    pub fn add(&self, watcher: Arc<dyn SocketWatcher>) -> Option<usize> {
        let mut watchers = self.watchers();
        if watchers.is_over {
            return None;
        }
        if let Some(number) = watchers.free.pop() {
            watchers.by_number[number] = Some(watcher);
            return Some(number);
        }
        let number = watchers.by_number.len();
        if number >= MOST_WATCHED {
            return None;
        }
        watchers.by_number.push(Some(watcher));
        Some(number)
    }

    /// Removes a socket. An event for it that was polled before may reach the next one with its number.
    pub fn remove(&self, number: usize) {
        let mut watchers = self.watchers();
        let watcher = watchers.by_number.get_mut(number).and_then(Option::take);
        if watcher.is_some() {
            watchers.free.push(number);
        }
        drop(watchers);
        drop(watcher); // without the lock
    }

    /// Handles an event. Returns the connections to be called.
    pub fn ready(&self, number: usize, is_closed: bool) -> Vec<Waker> {
        let watcher = self.watchers().by_number.get(number).cloned().flatten();
        watcher.map_or_else(Vec::new, |watcher| watcher.ready(is_closed))
    }

    /// Called at the end of the server, after which no socket is watched.
    pub fn end(&self) {
        let mut watchers = self.watchers();
        watchers.is_over = true;
        let left = std::mem::take(&mut watchers.by_number);
        drop(watchers);
        for watcher in left.into_iter().flatten() {
            watcher.ready(true);
        }
    }

    fn watchers(&self) -> MutexGuard<'_, Watchers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Counted(Mutex<Vec<bool>>);

    impl SocketWatcher for Counted {
        fn ready(&self, is_closed: bool) -> Vec<Waker> {
            self.0.lock().unwrap().push(is_closed);
            Vec::new()
        }
    }

    #[test]
    fn events_reach_the_watcher_with_their_number() {
        let (sockets, watchers) = (WatchedSockets::default(), [(); 4].map(|()| Arc::new(Counted::default())));
        let add = |at: usize| sockets.add(Arc::clone(&watchers[at]) as Arc<dyn SocketWatcher>);
        assert_eq!([add(0), add(1), add(2)], [Some(0), Some(1), Some(2)]);
        sockets.ready(1, false);
        sockets.remove(1);
        sockets.remove(1);
        sockets.ready(1, false);
        sockets.ready(7, false);
        assert_eq!([add(3), add(3)], [Some(1), Some(3)], "a number is used again, once");
        sockets.ready(1, true);
        sockets.end();
        assert_eq!(add(0), None);
        sockets.remove(1);
        let seen = watchers.map(|watcher| watcher.0.lock().unwrap().clone());
        assert_eq!(seen, [vec![true], vec![false], vec![true], vec![true, true, true]]);
    }
}
