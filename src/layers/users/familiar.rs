//! Addresses that have sent a correct password before. They have slots of their own, which a flood from other addresses
//! cannot take.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use super::super::buckets::{ClientKey, client_key};

/// The latest addresses, in two generations. When `recent` is full, it becomes `older`, and the previous `older` is
/// dropped.
#[derive(Default)]
pub struct Familiar(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    recent: HashSet<ClientKey>,
    older: HashSet<ClientKey>,
}

const MOST: usize = 32_768;

impl Familiar {
    /// Records that this address has sent a correct password.
    pub fn note(&self, client: Option<IpAddr>) {
        let Some(key) = client.map(client_key) else { return };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.recent.len() >= MOST && !known.recent.contains(&key) {
            known.older = std::mem::take(&mut known.recent);
        }
        known.recent.insert(key);
    }

    pub fn has(&self, client: Option<IpAddr>) -> bool {
        let Some(key) = client.map(client_key) else { return false };
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.recent.contains(&key) || known.older.contains(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_addresses_are_remembered() {
        let familiar = Familiar::default();
        let address = |number: u32| Some(IpAddr::from(number.to_be_bytes()));
        (0..100_000).for_each(|number| familiar.note(address(number)));
        assert!(familiar.has(address(99_999)) && familiar.has(address(70_000)) && !familiar.has(address(5)));
        familiar.note(None);
        assert!(!familiar.has(None));
        let known = familiar.0.lock().unwrap();
        assert!(known.recent.len() + known.older.len() <= 2 * MOST);
    }
}
