//! What was found before, kept in a bounded space. Called by `handler`; it knows neither requests nor answers.
//! Nothing is read from disk under its locks, and nothing closed.
//!
//! What is kept is never stale. Each thing kept says by which files and folders it would show that it changed, and
//! before it is used they are looked at: device, inode, size, times of content and of inode. One look serves
//! all requests that one poll brought, as they were all sent before it. A path led elsewhere by a link shows another
//! inode; and once a second what is used is opened anew by the safe way, so that even a folder that was
//! moved out of the root and linked back is not followed for longer.

use std::collections::HashMap;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::open::{Root, Stamp};

/// How long a look is enough, until what is kept is found anew by the safe way.
const TRUSTED: Duration = Duration::from_secs(1);
/// How long a poll takes to be served, at most: beyond that its number proves nothing.
const A_POLL: Duration = Duration::from_millis(50);
/// How many files are kept open at most: descriptors are the clients' in the first place.
const MOST_OPEN: usize = 128;
const SHARDS: usize = 16; // threads seldom meet at one lock
const LONGEST_KEY: usize = 1024;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How many files.
    pub files: usize,
    /// How many bytes of content of one file.
    pub bytes_each: usize,
    /// How many bytes of content of all files.
    pub bytes_in_all: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { files: 512, bytes_each: 64 << 10, bytes_in_all: 32 << 20 }
    }
}

/// What a thing takes up, or many of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room {
    pub files: usize,
    /// How many of them are open.
    pub open: usize,
    /// Bytes of content.
    pub bytes: usize,
}

impl Room {
    fn and(self, more: Room) -> Room {
        Room { files: self.files + more.files, open: self.open + more.open, bytes: self.bytes + more.bytes }
    }

    fn less(self, gone: Room) -> Room {
        Room { files: self.files - gone.files, open: self.open - gone.open, bytes: self.bytes - gone.bytes }
    }

    fn exceeds(self, limit: Room) -> bool {
        self.files > limit.files || self.open > limit.open || self.bytes > limit.bytes
    }
}

/// Things by the path they were asked for.
#[derive(Debug)]
pub(super) struct Cache<T> {
    shards: Box<[RwLock<Shard<T>>]>,
    limits: Limits,
}

/// One thing, and how it shows that it changed.
#[derive(Debug)]
pub(super) struct Kept<T> {
    pub thing: T,
    watched: Vec<Watched>,
    room: Room,
    found: Instant,
    /// The number of the last poll after which it was looked at, plus one; 0: none.
    looked: AtomicU64,
    /// When that was, or a later look, in nanoseconds since it was found.
    looked_at: AtomicU64,
}

/// What stood at a path when the thing was found.
#[derive(Debug)]
pub(super) struct Watched {
    pub path: Vec<u8>,
    pub stamp: Stamp,
}

impl<T> Kept<T> {
    /// `poll`: the number of the poll that brought the request it was found for.
    pub fn new(thing: T, watched: Vec<Watched>, room: Room, poll: Option<u64>) -> Kept<T> {
        let looked = AtomicU64::new(poll.map_or(0, |poll| poll.saturating_add(1)));
        Kept { thing, watched, room, found: Instant::now(), looked, looked_at: AtomicU64::new(0) }
    }

    /// Whether it is what would be found now, for a request that was brought by this poll.
    pub fn is_fresh(&self, root: &Root, poll: Option<u64>) -> bool {
        // Polls are counted upwards: what was looked at after this one or a later one was looked at
        // after the request had been sent.
        let age = self.found.elapsed();
        if poll.is_some_and(|poll| self.looked.load(Acquire) > poll) {
            // Two servers may share a handler, and count their polls each for itself: a look of long ago is none.
            let looked = Duration::from_nanos(self.looked_at.load(Relaxed));
            if age.saturating_sub(looked) < A_POLL {
                return true;
            }
        }
        root.keep_up();
        let fresh = age < TRUSTED
            && self.watched.iter().all(|watched| root.look(&watched.path).is_ok_and(|stamp| stamp == watched.stamp));
        if fresh && let Some(poll) = poll {
            self.looked_at.fetch_max(age.as_nanos() as u64, Relaxed);
            self.looked.store(poll.saturating_add(1), Release);
        }
        fresh
    }
}

impl<T> Cache<T> {
    pub fn new(limits: Limits) -> Cache<T> {
        let shards = if limits.files < 16 * SHARDS { 1 } else { SHARDS };
        Cache { shards: (0..shards).map(|_| RwLock::new(Shard::default())).collect(), limits }
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// What is kept under a key; whether it is fresh is another question.
    pub fn get(&self, key: &[u8]) -> Option<Arc<Kept<T>>> {
        let shard = self.shard(key).read().unwrap_or_else(PoisonError::into_inner);
        let slot = &shard.slots[*shard.places.get(key)?];
        slot.used.store(true, Relaxed);
        Some(Arc::clone(&slot.kept))
    }

    /// Keep a thing in place of what was kept under that key. What is too large is not kept.
    pub fn put(&self, key: &[u8], kept: Arc<Kept<T>>) {
        let shards = self.shards.len();
        let limit = Room {
            files: self.limits.files / shards,
            open: MOST_OPEN / shards,
            bytes: self.limits.bytes_in_all / shards,
        };
        let mut gone = Vec::new(); // dropped, and files closed, after the lock is given back
        let mut shard = self.shard(key).write().unwrap_or_else(PoisonError::into_inner);
        gone.extend(shard.remove(key));
        if key.len() > LONGEST_KEY || kept.room.exceeds(limit) {
            return;
        }
        while shard.room.and(kept.room).exceeds(limit) {
            gone.extend(shard.remove_one());
        }
        shard.insert(key, kept);
        drop(shard);
    }

    /// Forget what is kept under a key.
    pub fn forget(&self, key: &[u8]) {
        let gone = self.shard(key).write().unwrap_or_else(PoisonError::into_inner).remove(key);
        drop(gone);
    }

    /// Forget everything, and so close every file that nobody is sending.
    pub fn clear(&self) {
        for shard in &self.shards {
            let gone = std::mem::take(&mut *shard.write().unwrap_or_else(PoisonError::into_inner));
            drop(gone);
        }
    }

    fn shard(&self, key: &[u8]) -> &RwLock<Shard<T>> {
        // The end of a path differs most. Somebody may aim at one shard: it is as bounded as all of them.
        let end = &key[key.len().saturating_sub(16)..];
        let mixed = end.iter().fold(key.len(), |sum, &byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        &self.shards[mixed % self.shards.len()]
    }
}

/// A part of the cache with a lock of its own. What was used since the hand last passed is passed over once.
#[derive(Debug)]
struct Shard<T> {
    places: HashMap<Arc<[u8]>, usize>,
    slots: Vec<Slot<T>>,
    hand: usize,
    room: Room,
}

#[derive(Debug)]
struct Slot<T> {
    key: Arc<[u8]>,
    kept: Arc<Kept<T>>,
    used: AtomicBool,
}

impl<T> Default for Shard<T> {
    fn default() -> Shard<T> {
        Shard { places: HashMap::new(), slots: Vec::new(), hand: 0, room: Room::default() }
    }
}

impl<T> Shard<T> {
    fn insert(&mut self, key: &[u8], kept: Arc<Kept<T>>) {
        let key: Arc<[u8]> = Arc::from(key);
        self.room = self.room.and(kept.room);
        self.places.insert(Arc::clone(&key), self.slots.len());
        self.slots.push(Slot { key, kept, used: AtomicBool::new(false) });
    }

    fn remove(&mut self, key: &[u8]) -> Option<Arc<Kept<T>>> {
        let place = self.places.remove(key)?;
        let slot = self.slots.swap_remove(place);
        if let Some(moved) = self.slots.get(place) {
            self.places.insert(Arc::clone(&moved.key), place);
        }
        self.room = self.room.less(slot.kept.room);
        Some(slot.kept)
    }

    fn remove_one(&mut self) -> Option<Arc<Kept<T>>> {
        while !self.slots.is_empty() {
            self.hand %= self.slots.len();
            let slot = &self.slots[self.hand];
            if !slot.used.swap(false, Relaxed) {
                let key = Arc::clone(&slot.key);
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

    fn thing(number: usize, files: usize, bytes: usize) -> Arc<Kept<usize>> {
        Arc::new(Kept::new(number, Vec::new(), Room { files, open: 0, bytes }, None))
    }

    fn kept(cache: &Cache<usize>) -> Vec<usize> {
        let mut kept: Vec<usize> = (0..100).filter(|number| cache.get(&[*number as u8]).is_some()).collect();
        kept.sort_unstable();
        kept
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let cache = Cache::new(Limits { files: 4, bytes_each: 100, bytes_in_all: 100 });
        for number in 0..100 {
            cache.put(&[number as u8], thing(number, 1, 10));
        }
        assert_eq!(kept(&cache).len(), 4, "by files");
        for number in 0..100 {
            cache.put(&[number as u8], thing(number, 1, 50));
        }
        assert_eq!(kept(&cache).len(), 2, "by bytes");
        cache.put(b"large", thing(0, 1, 101));
        assert!(cache.get(b"large").is_none(), "larger than all there is");
        cache.put(b"many", thing(0, 5, 1));
        assert!(cache.get(b"many").is_none(), "more files than there may be");
        cache.put(&[b'k'; LONGEST_KEY + 1], thing(0, 1, 1));
        assert!(cache.get(&[b'k'; LONGEST_KEY + 1]).is_none(), "too long a key");
        assert_eq!(kept(&cache).len(), 2, "and nothing was lost for it");
        cache.clear();
        assert!(kept(&cache).is_empty());
        let none = Cache::new(Limits { files: 0, bytes_each: 0, bytes_in_all: 0 });
        none.put(b"a", thing(0, 1, 0));
        assert!(none.get(b"a").is_none(), "no room at all");
    }

    #[test]
    fn few_are_kept_open() {
        let cache = Cache::new(Limits { files: 1000, ..Limits::default() });
        for number in 0..1000_u16 {
            let room = Room { files: 1, open: 1, bytes: 0 };
            cache.put(&number.to_be_bytes(), Arc::new(Kept::new((), Vec::new(), room, None)));
        }
        let open = (0..1000_u16).filter(|number| cache.get(&number.to_be_bytes()).is_some()).count();
        assert!(open <= MOST_OPEN, "{open}");
    }

    #[test]
    fn what_is_used_stays() {
        let cache = Cache::new(Limits { files: 4, bytes_each: 1, bytes_in_all: 100 });
        cache.put(b"hot", thing(0, 1, 1));
        for number in 0..100 {
            assert!(cache.get(b"hot").is_some(), "before {number}");
            cache.put(&[number as u8], thing(number, 1, 1));
        }
    }

    #[test]
    fn replaced_and_forgotten() {
        let cache = Cache::new(Limits { files: 4, bytes_each: 1, bytes_in_all: 4 });
        for number in 0..10 {
            cache.put(b"a", thing(number, 1, 4));
            assert_eq!(cache.get(b"a").map(|kept| kept.thing), Some(number));
        }
        cache.forget(b"a");
        assert!(cache.get(b"a").is_none());
        cache.forget(b"a");
        cache.put(b"b", thing(1, 1, 4));
        assert!(cache.get(b"b").is_some(), "its room was given back");
    }
}
