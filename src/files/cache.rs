//! A bounded cache of files, with their fields and sidecars. Called by `handler`; it knows neither requests nor responses.
//! No file is read or closed while a lock is held.
//!
//! Nothing stale is served. Each entry has the paths that it depends on, and before it is used they are compared by
//! `statx`: device, inode, size, mtime and ctime. One comparison serves all requests whose poll returned before it
//! began, as they had all arrived by then. If a link now leads elsewhere, the inode differs; and after one second an entry is looked
//! up anew through the checked open, so that even a folder that was moved out of the root and linked back is not
//! followed for longer.

use std::collections::HashMap;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::open::{FileStat, Root};

/// How long an entry may be validated by comparison, until it is looked up anew through the checked open.
const MAX_AGE: Duration = Duration::from_secs(1);
/// How many files are kept open at most: descriptors are needed for clients first.
const MAX_OPEN: usize = 128;
const SHARDS: usize = 16; // little contention for one lock
const MAX_KEY: usize = 1024;

/// The size of the cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheLimits {
    /// Number of files.
    pub files: usize,
    /// Bytes of content of one file.
    pub bytes_each: usize,
    /// Bytes of content of all files.
    pub bytes_in_all: usize,
}

impl Default for CacheLimits {
    fn default() -> CacheLimits {
        CacheLimits { files: 512, bytes_each: 64 << 10, bytes_in_all: 32 << 20 }
    }
}

/// What one entry, or several, occupy.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CacheUsage {
    pub files: usize,
    /// How many of them are open.
    pub open: usize,
    /// Bytes of content.
    pub bytes: usize,
}

impl CacheUsage {
    fn plus(self, more: CacheUsage) -> CacheUsage {
        CacheUsage { files: self.files + more.files, open: self.open + more.open, bytes: self.bytes + more.bytes }
    }

    fn minus(self, removed: CacheUsage) -> CacheUsage {
        CacheUsage {
            files: self.files - removed.files,
            open: self.open - removed.open,
            bytes: self.bytes - removed.bytes,
        }
    }

    fn exceeds(self, limit: CacheUsage) -> bool {
        self.files > limit.files || self.open > limit.open || self.bytes > limit.bytes
    }
}

/// Entries by request path.
#[derive(Debug)]
pub(super) struct Cache<T> {
    shards: Box<[RwLock<Shard<T>>]>,
    limits: CacheLimits,
}

/// A cached value, and the paths it depends on.
#[derive(Debug)]
pub(super) struct Cached<T> {
    pub value: T,
    watched: Vec<WatchedPath>,
    usage: CacheUsage,
    created: Instant,
    /// When the last comparison with the file system began, in nanoseconds since `created`, plus one; 0: never.
    compared: AtomicU64,
}

/// The state of a path when the value was created.
#[derive(Debug)]
pub(super) struct WatchedPath {
    pub path: Vec<u8>,
    pub stat: FileStat,
}

impl<T> Cached<T> {
    /// `polled`: when the poll that brought the request returned. The value was looked up after that.
    pub fn new(value: T, watched: Vec<WatchedPath>, usage: CacheUsage, polled: Option<Instant>) -> Cached<T> {
        let compared = AtomicU64::new(u64::from(polled.is_some()));
        Cached { value, watched, usage, created: polled.unwrap_or_else(Instant::now), compared }
    }

    /// Whether a new look-up would give the same, for a request that was brought by the poll that returned then.
    pub fn is_fresh(&self, root: &Root, polled: Option<Instant>) -> bool {
        // The request had arrived when its poll returned: a comparison that began since then is as good as a new one.
        let nanos_of = |when: Instant| when.saturating_duration_since(self.created).as_nanos() as u64;
        if polled.is_some_and(|polled| self.compared.load(Acquire) > nanos_of(polled)) {
            return true;
        }
        let begin = polled.unwrap_or_else(Instant::now); // or a moment later, which is as good
        root.reopen_if_replaced();
        let fresh = begin.saturating_duration_since(self.created) < MAX_AGE
            && self
                .watched
                .iter()
                .all(|watched| root.stat_unchecked(&watched.path).is_ok_and(|stat| stat == watched.stat));
        if fresh {
            self.compared.fetch_max(nanos_of(begin).saturating_add(1), Release);
        }
        fresh
    }
}

impl<T> Cache<T> {
    pub fn new(limits: CacheLimits) -> Cache<T> {
        let shards = if limits.files < 16 * SHARDS { 1 } else { SHARDS };
        Cache { shards: (0..shards).map(|_| RwLock::new(Shard::default())).collect(), limits }
    }

    pub fn limits(&self) -> CacheLimits {
        self.limits
    }

    /// The entry of a key; whether it is fresh is not checked.
    pub fn get(&self, key: &[u8]) -> Option<Arc<Cached<T>>> {
        let shard = self.shard(key).read().unwrap_or_else(PoisonError::into_inner);
        let entry = &shard.entries[*shard.index.get(key)?];
        entry.used.store(true, Relaxed);
        Some(Arc::clone(&entry.cached))
    }

    /// Insert an entry, replacing that of the same key. One that is too large is not kept.
    pub fn put(&self, key: &[u8], cached: Arc<Cached<T>>) {
        let shards = self.shards.len();
        let limit = CacheUsage {
            files: self.limits.files / shards,
            open: MAX_OPEN / shards,
            bytes: self.limits.bytes_in_all / shards,
        };
        let mut removed = Vec::new(); // dropped, and files closed, after the lock is released
        let mut shard = self.shard(key).write().unwrap_or_else(PoisonError::into_inner);
        removed.extend(shard.remove(key));
        if key.len() > MAX_KEY || cached.usage.exceeds(limit) {
            return;
        }
        while shard.usage.plus(cached.usage).exceeds(limit) {
            removed.extend(shard.evict_one());
        }
        shard.insert(key, cached);
        drop(shard);
    }

    /// Remove the entry of a key.
    pub fn forget(&self, key: &[u8]) {
        let removed = self.shard(key).write().unwrap_or_else(PoisonError::into_inner).remove(key);
        drop(removed);
    }

    /// Remove all entries, and so close every file that is not being sent.
    pub fn clear(&self) {
        for shard in &self.shards {
            let removed = std::mem::take(&mut *shard.write().unwrap_or_else(PoisonError::into_inner));
            drop(removed);
        }
    }

    fn shard(&self, key: &[u8]) -> &RwLock<Shard<T>> {
        // Paths differ most at their end. An attacker may aim at one shard: each is bounded.
        let end = &key[key.len().saturating_sub(16)..];
        let mixed = end.iter().fold(key.len(), |sum, &byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        &self.shards[mixed % self.shards.len()]
    }
}

/// A part of the cache with its own lock. Eviction by the CLOCK algorithm: entries used since the hand last passed stay.
#[derive(Debug)]
struct Shard<T> {
    index: HashMap<Arc<[u8]>, usize>,
    entries: Vec<Entry<T>>,
    hand: usize,
    usage: CacheUsage,
}

#[derive(Debug)]
struct Entry<T> {
    key: Arc<[u8]>,
    cached: Arc<Cached<T>>,
    used: AtomicBool,
}

impl<T> Default for Shard<T> {
    fn default() -> Shard<T> {
        Shard { index: HashMap::new(), entries: Vec::new(), hand: 0, usage: CacheUsage::default() }
    }
}

impl<T> Shard<T> {
    fn insert(&mut self, key: &[u8], cached: Arc<Cached<T>>) {
        let key: Arc<[u8]> = Arc::from(key);
        self.usage = self.usage.plus(cached.usage);
        self.index.insert(Arc::clone(&key), self.entries.len());
        self.entries.push(Entry { key, cached, used: AtomicBool::new(false) });
    }

    fn remove(&mut self, key: &[u8]) -> Option<Arc<Cached<T>>> {
        let position = self.index.remove(key)?;
        let entry = self.entries.swap_remove(position);
        if let Some(moved) = self.entries.get(position) {
            self.index.insert(Arc::clone(&moved.key), position);
        }
        self.usage = self.usage.minus(entry.cached.usage);
        Some(entry.cached)
    }

    fn evict_one(&mut self) -> Option<Arc<Cached<T>>> {
        while !self.entries.is_empty() {
            self.hand %= self.entries.len();
            let entry = &self.entries[self.hand];
            if !entry.used.swap(false, Relaxed) {
                let key = Arc::clone(&entry.key);
                return self.remove(&key);
            }
            self.hand += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(number: usize, files: usize, bytes: usize) -> Arc<Cached<usize>> {
        Arc::new(Cached::new(number, Vec::new(), CacheUsage { files, open: 0, bytes }, None))
    }

    fn cached(cache: &Cache<usize>) -> Vec<usize> {
        let mut cached: Vec<usize> = (0..100).filter(|number| cache.get(&[*number as u8]).is_some()).collect();
        cached.sort_unstable();
        cached
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let cache = Cache::new(CacheLimits { files: 4, bytes_each: 100, bytes_in_all: 100 });
        for number in 0..100 {
            cache.put(&[number as u8], value(number, 1, 10));
        }
        assert_eq!(cached(&cache).len(), 4, "by files");
        for number in 0..100 {
            cache.put(&[number as u8], value(number, 1, 50));
        }
        assert_eq!(cached(&cache).len(), 2, "by bytes");
        cache.put(b"large", value(0, 1, 101));
        assert!(cache.get(b"large").is_none(), "larger than all there is");
        cache.put(b"many", value(0, 5, 1));
        assert!(cache.get(b"many").is_none(), "more files than there may be");
        cache.put(&[b'k'; MAX_KEY + 1], value(0, 1, 1));
        assert!(cache.get(&[b'k'; MAX_KEY + 1]).is_none(), "too long a key");
        assert_eq!(cached(&cache).len(), 2, "and nothing was lost for it");
        cache.clear();
        assert!(cached(&cache).is_empty());
        let none = Cache::new(CacheLimits { files: 0, bytes_each: 0, bytes_in_all: 0 });
        none.put(b"a", value(0, 1, 0));
        assert!(none.get(b"a").is_none(), "no room at all");
    }

    #[test]
    fn few_are_kept_open() {
        let cache = Cache::new(CacheLimits { files: 1000, ..CacheLimits::default() });
        for number in 0..1000_u16 {
            let usage = CacheUsage { files: 1, open: 1, bytes: 0 };
            cache.put(&number.to_be_bytes(), Arc::new(Cached::new((), Vec::new(), usage, None)));
        }
        let open = (0..1000_u16).filter(|number| cache.get(&number.to_be_bytes()).is_some()).count();
        assert!(open <= MAX_OPEN, "{open}");
    }

    #[test]
    fn what_is_used_stays() {
        let cache = Cache::new(CacheLimits { files: 4, bytes_each: 1, bytes_in_all: 100 });
        cache.put(b"hot", value(0, 1, 1));
        for number in 0..100 {
            assert!(cache.get(b"hot").is_some(), "before {number}");
            cache.put(&[number as u8], value(number, 1, 1));
        }
    }

    #[test]
    fn replaced_and_forgotten() {
        let cache = Cache::new(CacheLimits { files: 4, bytes_each: 1, bytes_in_all: 4 });
        for number in 0..10 {
            cache.put(b"a", value(number, 1, 4));
            assert_eq!(cache.get(b"a").map(|cached| cached.value), Some(number));
        }
        cache.forget(b"a");
        assert!(cache.get(b"a").is_none());
        cache.forget(b"a");
        cache.put(b"b", value(1, 1, 4));
        assert!(cache.get(b"b").is_some(), "its room was given back");
    }
}
