//! Cached listings of any format, so that further requests do not read the disk. Called by `listing`.
//!
//! The key contains format and order. A listing that depends on a user's rights is not cached. Any other listing is
//! cached from its second request on, if the kernel reports changes of the folder and of everything listed (`folder_watch`):
//!
//! - A listing is used as long as no change was reported, the entries that must be checked are unchanged, and it was
//!   read less than a second ago.
//! - After that second the folder is read again, under the same watches. If the result is equal, the listing stays in
//!   use.
//! - After a change the folder is cached again only after a pause (`fresh::next_reading`).

use std::sync::Arc;
use std::time::Instant;

use super::super::cache::{Cache, CacheLimits};
use super::super::find::Finder;
use super::super::fresh::{Evidence, Freshness, next_reading};
use super::super::watch;
use super::Listing;
use super::folder_watch::{Checked, WatchedFolder, Watching};
use super::page::Page;
use crate::available_memory;
use crate::slots::{Slot, Slots};

/// The default limit of cached bytes.
const BYTES: u64 = 16 << 20;

/// Returns the size of the cache for this much memory.
pub fn cache_of(memory: u64) -> usize {
    (memory / 128).min(BYTES) as usize
}
/// How many listings are cached, or recorded as requested once.
const LISTINGS: usize = 1024;
const WATCH_SIZE: usize = 160;

#[derive(Debug)]
pub struct KeptListings {
    cache: Cache<RequestedListing>,
    /// How many names can be watched at a time: half for cached listings, half for one that is being created.
    names: usize,
    making: Slots,
}

#[derive(Debug)]
struct RequestedListing {
    /// When it can be cached, or cached again.
    not_before: Instant,
    made: Option<Made>,
}

#[derive(Debug)]
struct Made {
    listing: Arc<Listing>,
    basis: Evidence,
    watched: WatchedFolder,
    checked: Vec<Checked>,
}

pub(super) enum Look {
    Known(Arc<Listing>),
    /// Create it and cache it. The watch of the cached one, if it was not changed.
    Keep(Option<WatchedFolder>),
    Once,
}

/// The right to create a listing that will be cached.
pub(super) struct Making<'a> {
    _alone: Slot,
    began: Instant,
    /// The watch under which the folder is read. `None`: not all changes of the folder are reported.
    pub watching: Option<Watching<'a>>,
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
        KeptListings { cache: Cache::undivided(limits), names, making: Slots::new(1) }
    }

    pub fn set_bytes(&mut self, bytes: usize) {
        *self = KeptListings::new(bytes, self.names);
    }

    /// Sets how many names are watched for cached listings.
    pub fn set_names(&mut self, names: usize) {
        *self = KeptListings::new(self.cache.limits.bytes_in_all, names);
    }

    pub fn clear(&self) {
        self.cache.clear();
    }

    /// Drops listings that have changed.
    pub fn drop_ended(&self, freshness: &Freshness, now: Instant) {
        self.cache.retain(|kept| kept.made.as_ref().is_none_or(|made| !freshness.has_ended(&made.basis, now)));
    }

    /// Returns the maximum length of a cached listing, in bytes.
    pub fn longest(&self) -> usize {
        self.cache.limits.bytes_each
    }

    /// Looks up a listing, for a request whose bytes this poll reported.
    pub(super) fn look(&self, key: &[u8], finder: &Finder, polled: Option<Instant>) -> Look {
        if self.cache.limits.files == 0 {
            return Look::Once;
        }
        let kept = self.cache.get(key);
        let Some(kept) = kept else {
            self.wait(key, Instant::now());
            return Look::Once;
        };
        match &kept.made {
            Some(made) if made.holds(finder, polled) => Look::Known(Arc::clone(&made.listing)),
            Some(made) if made.watched.watch.holds() => Look::Keep(Some(made.watched.clone())),
            made => {
                if made.is_some() {
                    self.wait(key, kept.not_before); // its watches are removed
                }
                if kept.not_before <= Instant::now() { Look::Keep(None) } else { Look::Once }
            }
        }
    }

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
        self.cache.put(key, Arc::new(RequestedListing { not_before, made: None }), (0, 0));
    }

    /// Returns the right to create a listing that will be cached, or `None` if another request is creating one.
    pub(super) fn begin<'a>(
        &self,
        finder: &'a Finder,
        path: &'a [u8],
        before: Option<WatchedFolder>,
    ) -> Option<Making<'a>> {
        let alone = self.making.take()?;
        let began = Instant::now();
        let before = before.filter(|before| before.watch.holds());
        // Watches can use a quarter of the memory.
        let most = (self.names / 2).min(self.longest() / WATCH_SIZE);
        Some(Making { _alone: alone, began, watching: Watching::new(finder, path, before, most) })
    }

    /// Caches a new listing, or begins a pause.
    pub(super) fn end(&self, key: &[u8], making: Making<'_>, listing: &Arc<Listing>) {
        let Making { _alone, began, watching } = making;
        let not_before = next_reading(began);
        let Some((watched, checked)) = watching.and_then(Watching::end) else { return self.wait(key, not_before) };
        let names = watched.watch.len();
        let bytes = listing.kept().map_or(0, |page| Page::size(page.len())) + names * WATCH_SIZE;
        let basis = Evidence::of_listing(&watched.watch, began);
        let made = Some(Made { listing: Arc::clone(listing), basis, watched, checked });
        self.cache.put(key, Arc::new(RequestedListing { not_before, made }), (bytes, names));
    }
}

impl Made {
    fn holds(&self, finder: &Finder, polled: Option<Instant>) -> bool {
        finder.freshness.holds(&self.basis, &finder.root, polled)
            && self.checked.iter().all(|checked| checked.holds(finder))
    }
}
