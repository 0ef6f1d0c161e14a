//! Locks, atomics, parking and the queue, under one name each.
//! `scheduler` takes them from here and nowhere else, so that the model check can run that very file on others
//! (`tests/laws.rs`).

pub use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
pub use std::sync::{Mutex, MutexGuard, PoisonError};
pub use std::thread::{Thread, current, park, park_timeout};

/// A queue that any thread may push to and pop from.
pub struct Queue<T> {
    sender: crossbeam_channel::Sender<T>,
    receiver: crossbeam_channel::Receiver<T>,
}

impl<T> Queue<T> {
    pub fn new() -> Queue<T> {
        let (sender, receiver) = crossbeam_channel::unbounded();
        Queue { sender, receiver }
    }

    pub fn push(&self, item: T) {
        // The receiver lives as long as the sender, beside it.
        let _ = self.sender.send(item);
    }

    pub fn pop(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }

    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    pub fn len(&self) -> usize {
        self.receiver.len()
    }
}
