//! Token buckets, one per client, in a table of bounded size, and the 429 of a client without tokens. Used by
//! `rate_limit`, `guesses` (wrong passwords) and `sessions` (new sessions).

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::mutex::lock;
use crate::{Error, IpNetwork, Request, StatusCode};

/// A bucket of tokens per key. Buckets are refilled at a constant rate.
pub(super) struct Buckets<K> {
    /// The time after which a bucket gets one token, in nanoseconds.
    pub interval: u64,
    pub burst: u32,
    /// The maximum number of keys, at least 2.
    pub most: usize,
    /// The origin of the times in the table.
    start: Instant,
    /// For each key the time at which its bucket is full again, in nanoseconds ("theoretical arrival time" of the
    /// generic cell rate algorithm).
    table: Mutex<Latest<K, u64>>,
}

/// Values of the latest keys. Recent keys are in `recent`. When that is full, it becomes `older`, and the previous
/// `older` is dropped. So the table is bounded, and no search for old keys is needed.
pub(super) struct Latest<K, V> {
    recent: HashMap<K, V>,
    older: HashMap<K, V>,
}

impl<K: Eq + Hash + Copy> Buckets<K> {
    /// Creates buckets that hold this many tokens, and get as many per period. `what` names the tokens.
    ///
    /// # Panics
    /// If the number is zero, or the rate is over one per nanosecond.
    pub fn new(number: u32, per: Duration, what: &str) -> Buckets<K> {
        assert!(number > 0, "the number of {what} must be at least 1");
        let interval = u64::try_from(per.as_nanos() / u128::from(number)).unwrap_or(u64::MAX);
        assert!(interval > 0, "{number} {what} in {per:?} is not a possible rate");
        Buckets { interval, burst: number, most: 65_536, start: Instant::now(), table: Mutex::default() }
    }

    /// Returns the nanoseconds since the start.
    pub fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Takes a token, or returns the time until there is one.
    pub fn take(&self, key: K, now: u64) -> Result<(), Duration> {
        self.take_unless(key, now, || false).map(drop)
    }

    /// Takes a token unless `is_free` returns true, and returns that result. `is_free` is called only if there is a
    /// token. The table is locked in the meantime, so no other request can take that token.
    pub fn take_unless(&self, key: K, now: u64, is_free: impl FnOnce() -> bool) -> Result<bool, Duration> {
        let mut table = lock(&self.table);
        let full_at = table.get(&key).copied().unwrap_or_default().max(now);
        let empty_at = now.saturating_add(self.interval.saturating_mul(u64::from(self.burst)));
        let after = full_at.saturating_add(self.interval);
        let (full_at, taken) = match after.saturating_sub(empty_at) {
            0 if is_free() => (full_at, Ok(true)),
            0 => (after, Ok(false)),
            wait => (full_at, Err(Duration::from_nanos(wait))),
        };
        table.set(key, full_at, self.most / 2); // a rejected key is also remembered
        taken
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.table.lock().unwrap().len()
    }

    /// Returns a token that was taken.
    pub fn give_back(&self, key: K) {
        let mut table = lock(&self.table);
        let full_at = table.get(&key).copied().unwrap_or_default().saturating_sub(self.interval);
        table.set(key, full_at, self.most / 2);
    }
}

impl<K, V> Default for Latest<K, V> {
    fn default() -> Latest<K, V> {
        Latest { recent: HashMap::new(), older: HashMap::new() }
    }
}

impl<K: Eq + Hash, V> Latest<K, V> {
    pub fn get(&self, key: &K) -> Option<&V> {
        self.recent.get(key).or_else(|| self.older.get(key))
    }

    /// `most`: the maximum number of recent keys.
    pub fn set(&mut self, key: K, value: V, most: usize) {
        if self.recent.len() >= most && !self.recent.contains_key(&key) {
            self.older.clear();
            std::mem::swap(&mut self.recent, &mut self.older);
        }
        self.recent.insert(key, value);
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.recent.len() + self.older.len()
    }
}

impl Buckets<IpNetwork> {
    /// Takes a token for the client of a request. A client of a Unix socket is not limited.
    ///
    /// # Errors
    /// 429 with this message, if the client has none left.
    pub fn take_for(&self, request: &Request, message: &str) -> Result<(), Error> {
        let Some(client) = request.client_ip().map(IpNetwork::of_client) else { return Ok(()) };
        self.take(client, self.now()).map_err(|wait| too_many(message, wait))
    }
}

/// Returns a 429 with the number of seconds to wait.
pub(super) fn too_many(message: &str, wait: Duration) -> Error {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Error::new(StatusCode::TOO_MANY_REQUESTS, message).with_header("retry-after", seconds)
}
