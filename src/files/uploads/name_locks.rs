//! Locks of names: mutexes that requests hold while they change a name. Used by `uploads`. The locks that clients hold
//! are in `dav_locks`.
//!
//! A name is identified by its folder (device and inode), not by a path. Clones of one `Uploads` share a table, so a
//! lock applies at all paths at which the folder is served.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::dav_locks::{DavLocks, Named};
use crate::mutex::{lock, try_lock};

/// Locks by name, so changes of different names rarely wait for each other.
const LOCKS: usize = 16;

#[derive(Debug, Default)]
pub(super) struct NameLocks {
    names: [Mutex<()>; LOCKS],
    keys: RandomState,
    moves: RwLock<()>,
    moves_of_links: Mutex<()>,
    /// The WebDAV locks of these names.
    pub dav: DavLocks,
}

impl NameLocks {
    /// Prevents all other changes. Held while a WebDAV lock is created, so that no lock is created between the check
    /// and the end of a change, and while a folder is moved or deleted, so that no file is stored in it at that time.
    /// Locks are always taken in one order, so there is no deadlock.
    pub fn hold_all(&self) -> Vec<MutexGuard<'_, ()>> {
        self.names.iter().map(lock).collect()
    }

    /// Prevents all other changes of this name, and of the folders above it.
    pub fn hold(&self, name: &Named) -> MutexGuard<'_, ()> {
        lock(&self.names[self.keys.hash_one(name) as usize % LOCKS])
    }

    /// Prevents moves that take links along. Only a move can bring a link to another place. Taken before all other
    /// locks.
    pub fn hold_links(&self) -> RwLockReadGuard<'_, ()> {
        self.moves.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prevents other moves, for a move that takes links along. Such a move can take a long time, so it does not wait
    /// for another one: `None` is returned instead.
    pub fn hold_moves(&self) -> Option<(MutexGuard<'_, ()>, RwLockWriteGuard<'_, ()>)> {
        let only = try_lock(&self.moves_of_links)?;
        Some((only, self.moves.write().unwrap_or_else(PoisonError::into_inner)))
    }
}
