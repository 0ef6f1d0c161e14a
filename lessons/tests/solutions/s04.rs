//! Page 4.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

/// Exercise 1: a place that is freed when it is dropped, and a panic drops it as well.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(taken: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        // Counting and comparing atomically: two threads cannot both take the last place.
        taken.fetch_update(SeqCst, SeqCst, |now| (now < most).then_some(now + 1)).ok()?;
        Some(Self(Arc::clone(taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Exercise 2: up to N connections from one address. An address without connections has no entry, so the table is bounded.
#[derive(Clone, Default)]
struct PerAddress(Arc<Mutex<HashMap<IpAddr, usize>>>);

struct Admitted(PerAddress, IpAddr);

impl PerAddress {
    fn admit(&self, address: IpAddr, most: usize) -> Option<Admitted> {
        let key = network(address);
        let mut table = self.0.lock().unwrap();
        let count = table.entry(key).or_default();
        if *count == most {
            return None;
        }
        *count += 1;
        Some(Admitted(self.clone(), key))
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut table = self.0.0.lock().unwrap();
        let count = table.get_mut(&self.1).unwrap();
        *count -= 1;
        if *count == 0 {
            table.remove(&self.1);
        }
    }
}

/// Exercise 3: a provider gives each customer a network of 2^64 addresses, whose first 64 bits are the same.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(six) => match six.to_ipv4_mapped() {
            Some(four) => four.into(), // ::ffff:192.0.2.1 is an IPv4 client of a socket for both
            None => Ipv6Addr::from_bits(six.to_bits() >> 64 << 64).into(),
        },
        four => four,
    }
}

#[test]
fn a_panic_releases_its_place() {
    let taken = Arc::new(AtomicUsize::new(0));
    let place = Place::take(&taken, 1).unwrap();
    assert!(Place::take(&taken, 1).is_none());
    let ended = thread::spawn(move || {
        let _place = place;
        std::panic::resume_unwind(Box::new("a handler panics")); // without a message on stderr
    });
    assert!(ended.join().is_err());
    assert!(Place::take(&taken, 1).is_some());
}

#[test]
fn connections_per_address_are_limited() {
    let table = PerAddress::default();
    let admit = |address: &str| table.admit(address.parse().unwrap(), 2);
    let (one, _two) = (admit("192.0.2.1"), admit("192.0.2.1"));
    assert!(one.is_some() && admit("192.0.2.1").is_none() && admit("::ffff:192.0.2.1").is_none());
    assert!(admit("192.0.2.2").is_some());
    drop(one);
    assert!(admit("192.0.2.1").is_some());
    let (_three, _four) = (admit("2001:db8::1"), admit("2001:db8::2"));
    assert!(admit("2001:db8:0:0:ffff::3").is_none(), "the same network");
    assert!(admit("2001:db8:0:1::1").is_some(), "another network");
}
