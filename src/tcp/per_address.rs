//! Counts the connections of each address. `workers/polling.rs` calls it for each new client if the server has such a
//! limit, and resets the client if there is no place. A client that a proxy names is counted at the handover. `live`
//! counts waiting connections in the same way. The table has one entry per connected address, so it is never larger
//! than the number of connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::network::IpNetwork;
use super::sync::{AtomicU64, Mutex, Ordering, lock};

/// The connections of each address, if they are limited.
pub struct PerAddress {
    limit: Option<usize>,
    counts: Mutex<HashMap<IpNetwork, usize>>, // with a random hash key, because clients choose their addresses
    refused: AtomicU64,
}

/// One counted connection of an address. Dropping it decrements the count.
pub struct CountedConnection {
    // `None` without a limit, so that a connection needs only one word
    counted: Option<Box<(Arc<PerAddress>, IpNetwork)>>,
}

impl PerAddress {
    pub fn new(limit: Option<usize>) -> Arc<PerAddress> {
        Arc::new(PerAddress { limit, counts: Mutex::default(), refused: AtomicU64::new(0) })
    }

    /// Returns a place for a client, or `None` if its address has reached the limit. A client without an address is not
    /// counted.
    pub fn admit(self: &Arc<Self>, client: Option<IpAddr>) -> Option<CountedConnection> {
        let (Some(limit), Some(address)) = (self.limit, client) else {
            return Some(CountedConnection { counted: None });
        };
        let network = IpNetwork::of_client(address);
        let mut counts = lock(&self.counts);
        let count = counts.entry(network).or_default();
        if *count >= limit {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        *count += 1;
        Some(CountedConnection { counted: Some(Box::new((self.clone(), network))) })
    }

    /// Counts a connection for its new client. Returns `false`, and changes nothing, if the new client's
    /// address has reached the limit.
    pub fn exchange(self: &Arc<Self>, counted: &mut CountedConnection, client: Option<IpAddr>) -> bool {
        let network = client.map(IpNetwork::of_client);
        if counted.counted.as_ref().map(|counted| counted.1) == network {
            return true;
        }
        match self.admit(client) {
            Some(place) => {
                *counted = place;
                true
            }
            None => false,
        }
    }

    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        let Some((table, network)) = self.counted.take().map(|counted| *counted) else { return };
        let mut counts = lock(&table.counts);
        match counts.get_mut(&network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&network)),
        }
        let length = counts.len();
        if counts.capacity() > 4 * KEPT.max(length) {
            counts.shrink_to(2 * KEPT.max(length)); // after a crowd
        }
    }
}

/// A table of up to this size is kept after many addresses were connected.
const KEPT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(address: &str) -> Option<IpAddr> {
        Some(address.parse().unwrap())
    }

    #[test]
    fn each_address_has_its_own_limit_and_frees_its_slots() {
        let table = PerAddress::new(Some(2));
        let first = table.admit(ip("192.0.2.1"));
        let second = table.admit(ip("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some() && table.admit(ip("192.0.2.1")).is_none());
        assert!(table.admit(ip("192.0.2.2")).is_some() && table.admit(None).is_some());
        drop(first);
        assert!(table.admit(ip("192.0.2.1")).is_some());
        assert_eq!(table.refused(), 1);
        drop(second);
        assert_eq!(lock(&table.counts).len(), 0, "an address without connections has no entry");
    }

    #[test]
    fn a_connection_of_another_client_is_counted_for_that_one() {
        let table = PerAddress::new(Some(1));
        let mut proxied: Vec<_> = (0..3).map(|_| table.admit(None).unwrap()).collect();
        assert!(table.exchange(&mut proxied[0], ip("192.0.2.1")));
        assert!(table.exchange(&mut proxied[0], ip("192.0.2.1")), "it is counted already");
        assert!(!table.exchange(&mut proxied[1], ip("192.0.2.1")));
        assert!(table.exchange(&mut proxied[1], ip("192.0.2.2")) && table.exchange(&mut proxied[2], None));
        assert!(table.admit(ip("192.0.2.2")).is_none());
        assert!(table.exchange(&mut proxied[1], ip("192.0.2.3")) && table.admit(ip("192.0.2.2")).is_some());
        drop(proxied);
        assert_eq!(lock(&table.counts).len(), 0);
    }

    #[test]
    fn ipv6_addresses_are_counted_per_network() {
        let table = PerAddress::new(Some(1));
        let _first = table.admit(ip("2001:db8:0:1::1"));
        assert!(table.admit(ip("2001:db8:0:1:ffff::9")).is_none());
        assert!(table.admit(ip("2001:db8:0:2::1")).is_some());
    }

    #[test]
    fn the_table_shrinks_after_a_crowd() {
        let table = PerAddress::new(Some(1));
        let crowd: Vec<_> = (0..100_000).map(|number| table.admit(Some(IpAddr::V4(number.into())))).collect();
        assert!(lock(&table.counts).capacity() >= 100_000);
        drop(crowd);
        assert!(lock(&table.counts).capacity() <= 4 * KEPT, "{}", lock(&table.counts).capacity());
    }
}
