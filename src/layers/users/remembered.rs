//! Pairs of name and password that were right a while ago, so that not each request costs a slow hash.
//!
//! A password is not kept: only SHA-256 of a random key of this process, the name, the hash in the file and the password. Who
//! reads the memory of the process could guess passwords with it as long as the pair is remembered; whoever can do that
//! reads them from requests, too. As the file's hash is a part of it, a changed password is forgotten by itself.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::super::credentials::equal;

/// One pair for each user at most.
pub struct Remembered {
    key: [u8; 32],
    /// How long after it was last used.
    pub time: Duration,
    pairs: Mutex<HashMap<String, Pair>>,
}

struct Pair {
    digest: Digest,
    used: Instant,
}

/// What stands for a pair.
pub type Digest = [u8; 32];

impl Remembered {
    pub fn new(key: [u8; 32], time: Duration) -> Remembered {
        Remembered { key, time, pairs: Mutex::default() }
    }

    /// What stands for this pair. Each part but the last has its length in front: no two triples have the same bytes.
    pub fn digest(&self, name: &str, hash: &str, password: &str) -> Digest {
        let mut sha = Sha256::new();
        sha.update(self.key);
        for part in [name, hash] {
            sha.update((part.len() as u64).to_le_bytes());
            sha.update(part);
        }
        sha.update(password);
        sha.finalize().into()
    }

    /// Whether this pair was right, not longer ago than it is remembered.
    pub fn has(&self, name: &str, digest: &Digest, now: Instant) -> bool {
        let mut pairs = self.pairs();
        let Some(pair) = pairs.get_mut(name) else { return false };
        let is_known = now.saturating_duration_since(pair.used) < self.time && equal(digest, &pair.digest);
        if is_known {
            pair.used = now;
        }
        is_known
    }

    /// This pair is right.
    pub fn put(&self, name: &str, digest: Digest, now: Instant) {
        self.pairs().insert(name.to_owned(), Pair { digest, used: now });
    }

    /// Forget who is not known any more, and who was away for too long.
    pub fn retain(&self, is_known: impl Fn(&str) -> bool, now: Instant) {
        let is_used = |pair: &Pair| now.saturating_duration_since(pair.used) < self.time;
        self.pairs().retain(|name, pair| is_known(name) && is_used(pair));
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.pairs().len()
    }

    fn pairs(&self) -> MutexGuard<'_, HashMap<String, Pair>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
