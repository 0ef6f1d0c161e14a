//! Sockets that handlers wait for outside the table of connections, so that the exiting server can end the wait:
//! connections to a backend, and clients that send the body of a request while its handler runs. The poller also
//! reports events of those that are registered with it (`watched_socket`), and their watcher names the connections that
//! wait for them.

use std::sync::Arc;

use super::scheduler::Waker;
use super::sync::{Mutex, lock};

/// The owner of a watched socket.
pub trait SocketWatcher: Send + Sync {
    /// Called when bytes or the end may have arrived, if the socket is registered with the poller. Returns the
    /// connections to be called. Runs while the poller is held, so it must not block. An event for a socket that was
    /// polled before may reach the next one with its number, so this must be harmless at any time. Default: does
    /// nothing.
    fn ready(&self, is_closed: bool) -> Vec<Waker> {
        let _ = is_closed;
        Vec::new()
    }

    /// Called when the server exits, after which nothing may wait for the socket. It must not block.
    fn server_ended(&self);
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

/// A place among the watched sockets, until it is dropped.
pub struct WatchedPlace {
    sockets: Arc<WatchedSockets>,
    pub number: usize,
}

/// The maximum number of watched sockets.
pub const MOST_WATCHED: usize = 1 << 16;

impl WatchedSockets {
    /// Adds a socket. `None` if there are too many of them, or if the server has ended.
    pub fn add(self: &Arc<Self>, watcher: Arc<dyn SocketWatcher>) -> Option<WatchedPlace> {
        let mut watchers = lock(&self.0);
        if watchers.is_over {
            return None;
        }
        let number = match watchers.free.pop() {
            Some(number) => number,
            None if watchers.by_number.len() == MOST_WATCHED => return None,
            None => {
                watchers.by_number.push(None);
                watchers.by_number.len() - 1
            }
        };
        watchers.by_number[number] = Some(watcher);
        Some(WatchedPlace { sockets: Arc::clone(self), number })
    }

    /// Handles an event. Returns the connections to be called.
    pub fn ready(&self, number: usize, is_closed: bool) -> Vec<Waker> {
        let watcher = lock(&self.0).by_number.get(number).cloned().flatten();
        watcher.map_or_else(Vec::new, |watcher| watcher.ready(is_closed))
    }

    /// Called when the server exits, after which no socket is watched.
    pub fn end(&self) {
        let mut watchers = lock(&self.0);
        watchers.is_over = true;
        let left = std::mem::take(&mut watchers.by_number);
        drop(watchers);
        for watcher in left.into_iter().flatten() {
            watcher.server_ended();
        }
    }
}

impl Drop for WatchedPlace {
    fn drop(&mut self) {
        let mut watchers = lock(&self.sockets.0);
        let watcher = watchers.by_number.get_mut(self.number).and_then(Option::take);
        if watcher.is_some() {
            watchers.free.push(self.number);
        }
        drop(watchers);
        drop(watcher); // without the lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Counted(Mutex<Vec<&'static str>>);

    impl SocketWatcher for Counted {
        fn ready(&self, is_closed: bool) -> Vec<Waker> {
            self.0.lock().unwrap().push(if is_closed { "closed" } else { "ready" });
            Vec::new()
        }

        fn server_ended(&self) {
            self.0.lock().unwrap().push("end");
        }
    }

    #[test]
    fn events_reach_the_watcher_with_their_number() {
        let (sockets, watchers) = (Arc::new(WatchedSockets::default()), [(); 4].map(|()| Arc::new(Counted::default())));
        let add = |at: usize| sockets.add(Arc::clone(&watchers[at]) as Arc<dyn SocketWatcher>);
        let numbers = |places: &[Option<WatchedPlace>]| {
            places.iter().map(|place| place.as_ref().unwrap().number).collect::<Vec<_>>()
        };
        let mut places = vec![add(0), add(1), add(2)];
        assert_eq!(numbers(&places), [0, 1, 2]);
        sockets.ready(1, false);
        drop(places.remove(1));
        sockets.ready(1, false);
        sockets.ready(7, false);
        places.extend([add(3), add(3)]);
        assert_eq!(numbers(&places), [0, 2, 1, 3], "a number is used again, once");
        sockets.ready(1, true);
        sockets.end();
        assert!(add(0).is_none());
        sockets.ready(0, true);
        drop(places);
        let seen = watchers.map(|watcher| watcher.0.lock().unwrap().clone());
        assert_eq!(seen, [vec!["end"], vec!["ready"], vec!["end"], vec!["closed", "end", "end"]]);
    }
}
