//! A bounded cache by path: of files, names in folders, compressed files and listings, each with limits of its own. The
//! caller decides whether an entry is fresh. No value is dropped, and so no file is closed, while a lock is held.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use rustix::process::{Resource, getrlimit};

use crate::available_memory;

const SHARDS: usize = 16; // little contention per lock
const MAX_KEY: usize = 1024;
/// The size of an entry without its content, in bytes. It is counted so that many small files cannot exceed the limit.
const ENTRY_SIZE: usize = 256;

#[derive(Clone, Copy, Debug)]
pub(super) struct CacheLimits {
    pub files: usize,
    /// Bytes of content of one file.
    pub bytes_each: usize,
    pub bytes_in_all: usize,
    /// How many files are kept open.
    pub open: usize,
}

impl Default for CacheLimits {
    fn default() -> CacheLimits {
        let bytes_in_all = CacheLimits::bytes_for(available_memory());
        CacheLimits { files: 8192, bytes_each: 64 << 10, bytes_in_all, open: open_by_default() }
    }
}

impl CacheLimits {
    /// Returns the default size in bytes for this much memory.
    pub fn bytes_for(memory: u64) -> usize {
        (memory / 32).min(64 << 20) as usize
    }
}

/// Returns the default number of files kept open: an eighth of the process's descriptors, because clients need the
/// others.
pub(super) fn open_by_default() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    (limit / 8).min(4096) as usize
}

/// The size of one entry, or of several.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    files: usize,
    open: usize,
    bytes: usize,
}

impl Usage {
    fn plus(self, more: Usage) -> Usage {
        Usage { files: self.files + more.files, open: self.open + more.open, bytes: self.bytes + more.bytes }
    }

    fn minus(self, removed: Usage) -> Usage {
        Usage { files: self.files - removed.files, open: self.open - removed.open, bytes: self.bytes - removed.bytes }
    }

    fn exceeds(self, limit: Usage) -> bool {
        self.files > limit.files || self.open > limit.open || self.bytes > limit.bytes
    }
}

/// Entries by path.
#[derive(Debug)]
pub(super) struct Cache<T> {
    shards: Box<[RwLock<Shard<T>>]>,
    pub limits: CacheLimits,
}

impl<T> Cache<T> {
    pub fn new(limits: CacheLimits) -> Cache<T> {
        let small = limits.files < 16 * SHARDS || limits.open < 2 * SHARDS;
        Cache::in_shards(if small { 1 } else { SHARDS }, limits)
    }

    /// Creates a cache with one lock, so that one entry can take most of the space.
    pub fn undivided(limits: CacheLimits) -> Cache<T> {
        Cache::in_shards(1, limits)
    }

    fn in_shards(shards: usize, limits: CacheLimits) -> Cache<T> {
        Cache { shards: (0..shards).map(|_| RwLock::new(Shard::default())).collect(), limits }
    }

    pub fn get(&self, key: &[u8]) -> Option<Arc<T>> {
        let shard = self.shard(key).read().unwrap_or_else(PoisonError::into_inner);
        let entry = &shard.entries[*shard.index.get(key)?];
        if !entry.used.load(Relaxed) {
            // stored only if it changes: otherwise the cache line would move between workers
            entry.used.store(true, Relaxed);
        }
        Some(Arc::clone(&entry.value))
    }

    /// Inserts an entry of this many bytes and open files, in place of any with the same key. An entry that is too
    /// large is not stored.
    pub fn put(&self, key: &[u8], value: Arc<T>, (bytes, open): (usize, usize)) {
        let shards = self.shards.len();
        let CacheLimits { files, bytes_in_all, open: all_open, .. } = self.limits;
        let limit = Usage { files: files / shards, open: all_open / shards, bytes: bytes_in_all / shards };
        let usage = Usage { files: 1, open, bytes: bytes + key.len() + ENTRY_SIZE };
        let mut removed = Vec::new(); // dropped, and files closed, after the lock is released
        let mut shard = self.shard(key).write().unwrap_or_else(PoisonError::into_inner);
        removed.extend(shard.remove(key));
        if key.len() > MAX_KEY || usage.exceeds(limit) {
            return;
        }
        while shard.usage.plus(usage).exceeds(limit) {
            removed.extend(shard.evict_one());
        }
        shard.insert(key, value, usage);
        drop(shard);
    }

    pub fn forget(&self, key: &[u8]) {
        let removed = self.shard(key).write().unwrap_or_else(PoisonError::into_inner).remove(key);
        drop(removed);
    }

    /// Removes the entries that are no longer needed. Other threads can read the cache in the meantime.
    pub fn retain(&self, keep: impl Fn(&T) -> bool) {
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            let unneeded = shard.entries.iter().filter(|entry| !keep(&entry.value));
            let keys: Vec<_> = unneeded.map(|entry| Arc::clone(&entry.key)).collect();
            drop(shard);
            keys.iter().for_each(|key| self.forget(key));
        }
    }

    /// Removes all entries, and so closes every file that is not being sent.
    pub fn clear(&self) {
        for shard in &self.shards {
            let removed = std::mem::take(&mut *shard.write().unwrap_or_else(PoisonError::into_inner));
            drop(removed);
        }
    }

    fn shard(&self, key: &[u8]) -> &RwLock<Shard<T>> {
        // Paths differ most at their end. An attacker may fill one shard, but each shard is bounded.
        let end = &key[key.len().saturating_sub(16)..];
        let mixed = end.iter().fold(key.len(), |sum, &byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        &self.shards[mixed % self.shards.len()]
    }
}

/// A part of the cache with its own lock. Entries are evicted by the CLOCK algorithm: those used since the hand last
/// passed stay. A new entry counts as unused until it is requested again, so a client that requests every file once
/// evicts no entry in use.
#[derive(Debug)]
struct Shard<T> {
    index: HashMap<Arc<[u8]>, usize>,
    entries: Vec<Entry<T>>,
    hand: usize,
    usage: Usage,
}

#[derive(Debug)]
struct Entry<T> {
    key: Arc<[u8]>,
    value: Arc<T>,
    usage: Usage,
    used: AtomicBool,
}

impl<T> Default for Shard<T> {
    fn default() -> Shard<T> {
        Shard { index: HashMap::new(), entries: Vec::new(), hand: 0, usage: Usage::default() }
    }
}

impl<T> Shard<T> {
    fn insert(&mut self, key: &[u8], value: Arc<T>, usage: Usage) {
        let key: Arc<[u8]> = Arc::from(key);
        self.usage = self.usage.plus(usage);
        self.index.insert(Arc::clone(&key), self.entries.len());
        self.entries.push(Entry { key, value, usage, used: AtomicBool::new(false) });
    }

    fn remove(&mut self, key: &[u8]) -> Option<Arc<T>> {
        let position = self.index.remove(key)?;
        let entry = self.entries.swap_remove(position);
        if let Some(moved) = self.entries.get(position) {
            self.index.insert(Arc::clone(&moved.key), position);
        }
        self.usage = self.usage.minus(entry.usage);
        Some(entry.value)
    }

    fn evict_one(&mut self) -> Option<Arc<T>> {
        while !self.entries.is_empty() {
            self.hand %= self.entries.len();
            let entry = &self.entries[self.hand];
            self.hand += 1; // skips the entry that replaces an evicted one: it is the newest
            if !entry.used.swap(false, Relaxed) {
                let key = Arc::clone(&entry.key);
                return self.remove(&key);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(files: usize, bytes_in_all: usize, open: usize) -> CacheLimits {
        CacheLimits { files, bytes_each: 100, bytes_in_all, open }
    }

    fn put(cache: &Cache<usize>, key: &[u8], number: usize, bytes: usize) {
        cache.put(key, Arc::new(number), (bytes, 0));
    }

    fn cached(cache: &Cache<usize>) -> Vec<usize> {
        (0..100).filter(|number| cache.get(&[*number as u8]).is_some()).collect()
    }

    #[test]
    fn the_cache_stays_within_its_limits() {
        let room = 4 * (ENTRY_SIZE + 25);
        let cache = Cache::new(limits(4, room, 0));
        for number in 0..100 {
            put(&cache, &[number as u8], number, 10);
        }
        assert_eq!(cached(&cache).len(), 4, "bounded by the number of files");
        for number in 0..100 {
            put(&cache, &[number as u8], number, room / 2 - ENTRY_SIZE - 1);
        }
        assert_eq!(cached(&cache).len(), 2, "bounded by bytes");
        put(&cache, b"large", 0, room);
        assert!(cache.get(b"large").is_none(), "an entry larger than the cache is not stored");
        put(&cache, &[b'k'; MAX_KEY + 1], 0, 1);
        assert!(cache.get(&[b'k'; MAX_KEY + 1]).is_none(), "an entry with too long a key is not stored");
        assert_eq!(cached(&cache).len(), 2, "nothing was evicted for the rejected entries");
        cache.clear();
        assert!(cached(&cache).is_empty());
        let none = Cache::new(limits(0, 0, 0));
        put(&none, b"a", 0, 0);
        assert!(none.get(b"a").is_none(), "a cache of 0 bytes stores nothing");
    }

    #[test]
    fn few_files_are_kept_open() {
        let cache = Cache::new(limits(1000, 1 << 20, 160));
        for number in 0..1000_u16 {
            cache.put(&number.to_be_bytes(), Arc::new(()), (0, 1));
        }
        let open = (0..1000_u16).filter(|number| cache.get(&number.to_be_bytes()).is_some()).count();
        assert!((100..=160).contains(&open), "{open}");
    }

    #[test]
    fn used_entries_stay_cached() {
        let cache = Cache::new(limits(4, 1 << 20, 0));
        put(&cache, b"hot", 0, 1);
        for number in 0..100 {
            assert!(cache.get(b"hot").is_some(), "before {number}");
            put(&cache, &[number as u8], number, 1);
        }
    }

    /// Entries that are no longer used are evicted for new ones, even if the new ones are used in a cycle.
    #[test]
    fn entries_no_longer_used_are_evicted() {
        let cache = Cache::new(limits(100, 1 << 20, 0));
        for round in 0..3 {
            for number in 0..100_u8 {
                if cache.get(&[b'o', number]).is_none() {
                    assert_eq!(round, 0, "{number}");
                    put(&cache, &[b'o', number], 0, 1);
                }
            }
        }
        let missed = [(); 8].map(|()| {
            let missed: Vec<u8> = (0..50).filter(|number| cache.get(&[b'n', *number]).is_none()).collect();
            missed.iter().for_each(|number| put(&cache, &[b'n', *number], 0, 1));
            missed.len()
        });
        assert_eq!(missed.last(), Some(&0), "{missed:?}");
    }

    #[test]
    fn retain_keeps_matching_entries() {
        let cache = Cache::new(limits(1000, 1 << 20, 0));
        (0..100).for_each(|number| put(&cache, &[number as u8], number, 1));
        cache.retain(|number| number % 3 == 0);
        assert_eq!(cached(&cache), (0..100).filter(|number| number % 3 == 0).collect::<Vec<_>>());
    }

    #[test]
    fn entries_can_be_replaced_and_forgotten() {
        let cache = Cache::new(limits(4, ENTRY_SIZE + 5, 0));
        for number in 0..10 {
            put(&cache, b"a", number, 4);
            assert_eq!(cache.get(b"a"), Some(Arc::new(number)));
        }
        cache.forget(b"a");
        assert!(cache.get(b"a").is_none());
        cache.forget(b"a");
        put(&cache, b"b", 1, 4);
        assert!(cache.get(b"b").is_some(), "the space of the removed entry is free again");
    }
}
