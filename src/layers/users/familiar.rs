//! Addresses that have sent a correct password before. They have slots of their own, which a flood from other addresses
//! cannot take.

use std::net::IpAddr;
use std::sync::Mutex;

use super::super::buckets::Latest;
use crate::IpNetwork;
use crate::mutex::lock;

/// The latest addresses.
#[derive(Default)]
pub struct Familiar(Mutex<Latest<IpNetwork, ()>>);

const MOST: usize = 32_768;

impl Familiar {
    /// Records that this address has sent a correct password.
    pub fn note(&self, client: Option<IpAddr>) {
        let Some(key) = client.map(IpNetwork::of_client) else { return };
        lock(&self.0).set(key, (), MOST);
    }

    pub fn has(&self, client: Option<IpAddr>) -> bool {
        let Some(key) = client.map(IpNetwork::of_client) else { return false };
        lock(&self.0).get(&key).is_some()
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
        assert!(familiar.0.lock().unwrap().len() <= 2 * MOST);
    }
}
