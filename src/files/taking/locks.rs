//! What holds a name while it is changed: locks that requests wait for, and those that WebDAV clients have taken. Used by `taking`.
//!
//! A name is known by the folder that it is in (device and inode), not by a path. Clones of one `Uploads` have one table: so a lock holds
//! wherever that folder is served.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::dav_locks::DavLocks;
pub(super) use super::dav_locks::Named;

/// Locks by name: changes of different names seldom wait for each other.
const LOCKS: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Locks {
    names: [Mutex<()>; LOCKS],
    keys: RandomState,
    pub dav: DavLocks,
}

impl Locks {
    /// No one else changes what has one of these names. They are taken in one order, so that no request waits for a lock whose
    /// owner waits for its own.
    pub fn hold<const N: usize>(&self, names: [Named; N]) -> Vec<MutexGuard<'_, ()>> {
        let mut places: Vec<usize> = names.iter().map(|at| self.keys.hash_one(at) as usize % LOCKS).collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().map(|place| self.names[place].lock().unwrap_or_else(PoisonError::into_inner)).collect()
    }
}
