//! Listings that are kept, so that a second request for one costs no walk of the disk. Called by `listing`; it does not know what
//! they look like.
//!
//! One is kept as it was made: its form and order are in its key, and what somebody's rights leave out is not kept. It is kept
//! from its second request on, if the kernel tells of the folder and of all that is listed (`told`), and then:
//!
//! - it is used while nothing was told, nothing differs of what has to be asked, and it was read less than a second ago;
//! - after that second the folder is read again, beneath the same watches; if that shows the same, it goes on being used;
//! - once something was told, it is not kept anew before a pause, so that a folder which changes all the time costs hardly more
//!   than one that is not kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::{Duration, Instant};

use super::super::cache::{Cache, CacheLimits};
use super::super::find::Finder;
use super::super::fresh::{Basis, Freshness};
use super::super::watch::{self, Watch};
use super::Listing;
use super::page::Page;
use super::told::{Asked, Inodes, Told, WatchedFolder};
use crate::available_memory;

/// Bytes of listings that are kept unless set.
const BYTES: u64 = 16 << 20;

/// What is kept for this much memory.
pub fn cache_of(memory: u64) -> usize {
    (memory / 128).min(BYTES) as usize
}
/// How many listings are kept, or known to have been asked for.
const LISTINGS: usize = 1024;
/// It is not kept anew for so long, and a hundred times as long as the last making took.
const PAUSE: Duration = Duration::from_secs(1);
/// What the watch of an entry takes, in bytes.
const WATCH_SIZE: usize = 160;

/// The listings that are kept.
#[derive(Debug)]
pub(super) struct KeptListings {
    cache: Cache<Kept>,
    /// How many names may be watched at any time: half by what is kept, half by what is being made, one at a time.
    names: usize,
    making: Mutex<()>,
    /// The watches of folders: listings of one folder in several orders share it.
    watches: Mutex<Watches>,
}

/// By the path of the folder, as long as a listing of it is kept.
type Watches = HashMap<Vec<u8>, (Weak<Watch>, Inodes)>;

/// A listing that was asked for.
#[derive(Debug)]
struct Kept {
    /// When it may be kept, or kept anew.
    not_before: Instant,
    made: Option<Made>,
}

#[derive(Debug)]
struct Made {
    listing: Arc<Listing>,
    basis: Basis,
    watch: Arc<Watch>,
    asked: Vec<Asked>,
}

/// What is known of a listing.
pub(super) enum Look {
    /// It is as it was.
    Known(Arc<Listing>),
    /// It is to be made, and kept.
    Keep,
    /// It is to be made for this request.
    Once,
}

/// The right to make a listing that will be kept.
pub(super) struct Making<'a> {
    _alone: MutexGuard<'a, ()>,
    began: Instant,
}

impl Default for KeptListings {
    fn default() -> KeptListings {
        KeptListings::new(cache_of(available_memory()), watch::most_by_default())
    }
}

impl KeptListings {
    fn new(bytes: usize, names: usize) -> KeptListings {
        let files = if bytes == 0 || names == 0 { 0 } else { LISTINGS };
        let limits = CacheLimits { files, bytes_each: bytes / 4, bytes_in_all: bytes, open: names / 2 };
        KeptListings { cache: Cache::undivided(limits), names, making: Mutex::default(), watches: Mutex::default() }
    }

    pub fn set_bytes(&mut self, bytes: usize) {
        *self = KeptListings::new(bytes, self.names);
    }

    pub fn set_names(&mut self, names: usize) {
        *self = KeptListings::new(self.cache.limits().bytes_in_all, names);
    }

    pub fn clear(&self) {
        self.cache.clear();
    }

    /// Forget those that have changed.
    pub fn drop_ended(&self, freshness: &Freshness, now: Instant) {
        self.cache.retain(|kept| kept.made.as_ref().is_none_or(|made| !freshness.has_ended(&made.basis, now)));
    }

    /// How long a listing may be that is kept, in bytes.
    pub fn longest(&self) -> usize {
        self.cache.limits().bytes_each
    }

    /// What is known of a listing, for a request that was brought by this poll.
    pub fn look(&self, key: &[u8], finder: &Finder, polled: Option<Instant>) -> Look {
        if self.cache.limits().files == 0 {
            return Look::Once;
        }
        let kept = self.cache.get(key);
        let Some(kept) = kept else {
            self.wait(key, Instant::now());
            return Look::Once;
        };
        match &kept.made {
            Some(made) if made.holds(finder, polled) => Look::Known(Arc::clone(&made.listing)),
            Some(made) if made.watch.holds() => Look::Keep,
            Some(_) => {
                self.wait(key, kept.not_before); // its watches go
                if kept.not_before <= Instant::now() { Look::Keep } else { Look::Once }
            }
            None if kept.not_before <= Instant::now() => Look::Keep,
            None => Look::Once,
        }
    }

    /// How many are kept.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        let count = std::cell::Cell::new(0);
        self.cache.retain(|kept| {
            count.set(count.get() + usize::from(kept.made.is_some()));
            true
        });
        count.get()
    }

    fn wait(&self, key: &[u8], not_before: Instant) {
        self.cache.put(key, Arc::new(Kept { not_before, made: None }), (0, 0));
    }

    /// The right to make one; `None`: somebody else makes one.
    pub fn begin(&self) -> Option<Making<'_>> {
        let alone = match self.making.try_lock() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(Making { _alone: alone, began: Instant::now() })
    }

    /// To be read beneath its watch. `None`: it can't be watched.
    pub fn told<'a>(&self, finder: &'a Finder, path: &'a [u8]) -> Option<Told<'a>> {
        let known = lock(&self.watches).get(path).cloned();
        let before = known.and_then(|(watch, inodes)| Some(WatchedFolder { watch: watch.upgrade()?, inodes }));
        let before = before.filter(|before| before.watch.holds());
        // A quarter of what there is for it goes for its watches.
        let most = (self.names / 2).min(self.longest() / WATCH_SIZE);
        Told::new(finder, path, before, most)
    }

    /// Keep what was made, or make a pause.
    pub fn end(
        &self,
        freshness: &Freshness,
        (key, path): (&[u8], &[u8]),
        making: Making<'_>,
        made: Option<(Arc<Listing>, Told<'_>)>,
    ) {
        let Making { began, .. } = making;
        let not_before = began + PAUSE + 100 * began.elapsed();
        let made = made.and_then(|(listing, told)| Some((listing, told.end()?)));
        self.remember(path, made.as_ref().map(|(_, (watched, _))| watched));
        let Some((listing, (watched, asked))) = made else { return self.wait(key, not_before) };
        let names = watched.watch.len();
        let bytes = listing.kept().map_or(0, |page| Page::size(page.len())) + names * WATCH_SIZE;
        let basis = Basis::of_listing(&watched.watch, began);
        let made = Some(Made { listing, basis, watch: watched.watch, asked });
        let kept = Arc::new(Kept { not_before, made });
        self.cache.put(key, Arc::clone(&kept), (bytes, names));
        kept.made.iter().for_each(|made| freshness.keeps(&made.basis));
    }

    fn remember(&self, path: &[u8], watched: Option<&WatchedFolder>) {
        let mut watches = lock(&self.watches);
        watches.retain(|_, (watch, _)| watch.strong_count() > 0);
        match watched {
            Some(WatchedFolder { watch, inodes }) => watches.insert(path.to_vec(), (Arc::downgrade(watch), *inodes)),
            None => watches.remove(path),
        };
    }
}

impl Made {
    fn holds(&self, finder: &Finder, polled: Option<Instant>) -> bool {
        finder.freshness.holds(&self.basis, &finder.root, polled) && self.asked.iter().all(|asked| asked.holds(finder))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
