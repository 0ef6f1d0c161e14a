//! Buckets of tokens, one a client, in a table of bounded size. Used by `rate_limit` and by `users`.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{Error, StatusCode};

/// For each key a bucket of tokens, which come back evenly.
pub(super) struct Buckets<K> {
    /// The time in which one token comes back, in nanoseconds.
    pub interval: u64,
    /// How many tokens a bucket holds.
    pub burst: u32,
    /// How many keys are remembered.
    pub most: usize,
    /// Times in the table are counted from here.
    start: Instant,
    table: Mutex<Table<K>>,
}

/// For each key when its bucket is full again, in nanoseconds ("theoretical arrival time" of the generic cell rate
/// algorithm). Those who asked lately are in `recent`; when that is half of what is allowed, it becomes `older`, and what
/// was older is forgotten: so the table is bounded and needs no search for whom to forget.
struct Table<K> {
    recent: HashMap<K, u64>,
    older: HashMap<K, u64>,
}

impl<K: Eq + Hash + Copy> Buckets<K> {
    /// `interval` in nanoseconds, not zero; `most` at least 2.
    pub fn new(interval: u64, burst: u32, most: usize) -> Buckets<K> {
        let table = Mutex::new(Table { recent: HashMap::new(), older: HashMap::new() });
        Buckets { interval, burst, most, start: Instant::now(), table }
    }

    /// In nanoseconds since the start.
    pub fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Take a token, or say after how long there will be one.
    pub fn take(&self, key: K, now: u64) -> Result<(), Duration> {
        self.take_unless(key, now, || false).map(drop)
    }

    /// The same, but the token stays if `is_free`, which is returned. It is asked only if there is a token, and with the
    /// table locked: nobody else takes that token meanwhile.
    pub fn take_unless(&self, key: K, now: u64, is_free: impl FnOnce() -> bool) -> Result<bool, Duration> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = table.full_at(key).max(now);
        let empty_at = now.saturating_add(self.interval.saturating_mul(u64::from(self.burst)));
        let after = full_at.saturating_add(self.interval);
        let (full_at, taken) = match after.saturating_sub(empty_at) {
            0 if is_free() => (full_at, Ok(true)),
            0 => (after, Ok(false)),
            wait => (full_at, Err(Duration::from_nanos(wait))),
        };
        table.set(key, full_at, self.most / 2); // who is refused is remembered, too
        taken
    }

    /// How many keys are remembered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        let table = self.table.lock().unwrap();
        table.recent.len() + table.older.len()
    }

    /// Give back a token that was taken.
    pub fn give_back(&self, key: K) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = table.full_at(key).saturating_sub(self.interval);
        table.set(key, full_at, self.most / 2);
    }
}

impl<K: Eq + Hash> Table<K> {
    fn full_at(&self, key: K) -> u64 {
        self.recent.get(&key).or_else(|| self.older.get(&key)).copied().unwrap_or(0)
    }

    fn set(&mut self, key: K, full_at: u64, most: usize) {
        if self.recent.len() >= most && !self.recent.contains_key(&key) {
            self.older.clear();
            std::mem::swap(&mut self.recent, &mut self.older);
        }
        self.recent.insert(key, full_at);
    }
}

/// A client, as its address or the network that it has.
pub(super) type ClientKey = u128;

/// 429, and after how many seconds to come again.
pub(super) fn too_many(message: &str, wait: Duration) -> Error {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Error::new(StatusCode::TOO_MANY_REQUESTS, message).with_header("retry-after", seconds)
}

/// An IPv4 address has the key that it would have as one of IPv6 (`::ffff:1.2.3.4`), which no network of IPv6 has.
pub(super) fn client_key(address: IpAddr) -> ClientKey {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
    }
}
