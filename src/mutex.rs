//! Locking of mutexes. Below all floors. (`tcp` locks those of `sync`, which model checks replace.)

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, and ignores poisoning: no panic under a lock can leave a change incomplete.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
