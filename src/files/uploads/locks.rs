//! Locks of names: mutexes that requests hold while they change a name, and WebDAV locks. Used by `uploads`.
//!
//! A name is identified by its folder (device and inode), not by a path. Clones of one `Uploads` share a table, so a
//! lock applies at all paths at which the folder is served.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard};

use super::dav_locks::DavLocks;
pub(super) use super::dav_locks::Named;
use crate::mutex::lock;

/// Locks by name, so changes of different names seldom wait for each other.
const LOCKS: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Locks {
    names: [Mutex<()>; LOCKS],
    keys: RandomState,
    pub dav: DavLocks,
}

impl Locks {
    /// Prevents all changes while a WebDAV lock is created. So the lock is created either before a change is checked or
    /// after the change is done.
    pub fn hold_all(&self) -> Vec<MutexGuard<'_, ()>> {
        self.names.iter().map(lock).collect()
    }

    /// Prevents all other changes of these names. Locks are always taken in one order, so there is no deadlock.
    pub fn hold<const N: usize>(&self, names: [Named; N]) -> Vec<MutexGuard<'_, ()>> {
        let mut places: Vec<usize> = names.iter().map(|at| self.keys.hash_one(at) as usize % LOCKS).collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().map(|place| lock(&self.names[place])).collect()
    }
}
