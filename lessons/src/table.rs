//! Page 8: stores where each client is (parked or away), so that no event is lost. `C` is the type of a client, with no
//! requirements.

use std::collections::HashMap;
use std::mem::replace;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mio::Token;

/// Where a client is. A client moves by value, so it is in one place at a time.
enum Place<C> {
    Parked(C),
    Away { event: bool }, // queued or with a worker; whether something arrived
}

/// All clients.
pub struct Table<C>(Mutex<HashMap<Token, Place<C>>>);

/// Locks, even after a panic: no invariant of these lessons is violated while a lock is held.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<C> Default for Table<C> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<C> Table<C> {
    /// Adds a client, parked.
    pub fn add(&self, token: Token, client: C) {
        lock(&self.0).insert(token, Place::Parked(client));
    }

    /// Called for an event. Returns the client, for the queue, if it was parked. Otherwise the event is noted.
    pub fn wake(&self, token: Token) -> Option<C> {
        let mut table = lock(&self.0);
        let place = table.get_mut(&token)?;
        match replace(place, Place::Away { event: false }) {
            Place::Parked(client) => Some(client),
            Place::Away { .. } => {
                *place = Place::Away { event: true };
                None
            }
        }
    }

    /// Parks a client after its turn, or returns it if an event arrived during the turn.
    pub fn park(&self, token: Token, client: C) -> Option<C> {
        let mut table = lock(&self.0);
        let place = table.get_mut(&token)?;
        match replace(place, Place::Away { event: false }) {
            Place::Away { event: true } => Some(client),
            _ => {
                *place = Place::Parked(client);
                None
            }
        }
    }

    /// Removes a client that has disconnected.
    pub fn remove(&self, token: Token) {
        lock(&self.0).remove(&token);
    }

    /// Drops parked clients for which `stays` returns false.
    pub fn retain(&self, stays: impl Fn(&C) -> bool) {
        lock(&self.0).retain(|_, place| !matches!(place, Place::Parked(client) if !stays(client)));
    }

    /// Returns the number of clients.
    pub fn count(&self) -> usize {
        lock(&self.0).len()
    }
}
