//! Verified pairs of name and password. A request with one of them costs no slow hash.
//!
//! No password is stored: only the SHA-256 of a random key of this process, the client, the name, the hash in the file
//! and the password. An attacker who reads the memory of the process could guess passwords with this digest while the
//! pair is remembered, but could also read passwords from requests. The file's hash is included, so that a changed
//! password is no longer remembered. The client is included, so that a pair of one client is unknown for all others.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::IpNetwork;
use crate::mutex::lock;

/// Digests of pairs, and when each was last used.
pub struct Remembered {
    key: [u8; 32],
    /// How long a pair is remembered after its last use.
    pub time: Duration,
    used: Mutex<HashMap<Digest, Instant>>,
}

/// The digest of a client, a name, its hash and a password.
pub type Digest = [u8; 32];

const MOST: usize = 65_536;

impl Remembered {
    pub fn new(key: [u8; 32], time: Duration) -> Remembered {
        Remembered { key, time, used: Mutex::default() }
    }

    /// Computes the digest. Each part except the key and the last is preceded by its length, so different
    /// tuples have different bytes.
    pub fn digest(&self, client: Option<IpNetwork>, name: &str, hash: &str, password: &str) -> Digest {
        let mut sha = Sha256::new();
        sha.update(self.key);
        let client = client.map(|client| client.to_string()).unwrap_or_default();
        for part in [&client, name, hash] {
            sha.update((part.len() as u64).to_le_bytes());
            sha.update(part);
        }
        sha.update(password);
        sha.finalize().into()
    }

    /// Returns whether this pair is remembered. The duration of the lookup depends on the digest, which cannot be
    /// computed without the key.
    pub fn has(&self, digest: &Digest, now: Instant) -> bool {
        let mut used = lock(&self.used);
        let Some(last) = used.get_mut(digest) else { return false };
        let is_known = now.saturating_duration_since(*last) < self.time;
        if is_known {
            *last = now;
        }
        is_known
    }

    /// Remembers a verified pair, and drops pairs that were not used for too long.
    pub fn put(&self, digest: Digest, now: Instant) {
        let mut used = lock(&self.used);
        used.retain(|_, last| now.saturating_duration_since(*last) < self.time);
        if used.len() >= MOST {
            used.clear();
        }
        used.insert(digest, now);
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        lock(&self.used).len()
    }
}
