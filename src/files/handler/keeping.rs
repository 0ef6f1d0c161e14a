//! The cache of a `StaticFileHandler` for files and missing names. Called by `handler`.

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::super::find::FoundFile;
use super::super::fresh::Basis;
use super::super::open::OpenError;
use super::super::path;
use super::{Asked, Kept, MAX_KEPT_OPEN, StaticFileHandler, What};

impl StaticFileHandler {
    /// Returns the cached result for a path, if it is still fresh.
    pub(super) fn kept(&self, key: &[u8], asked: Asked<'_>) -> Option<Arc<Kept>> {
        let kept = self.cache.get(key)?;
        self.finder.freshness.holds(&kept.basis, &self.finder.root, asked.polled).then_some(kept)
    }

    /// Drops invalid entries, so that deleted files release their space and watches are removed.
    pub(super) fn drop_ended(&self, now: Instant) {
        let freshness = &self.finder.freshness;
        self.cache.retain(|kept| !freshness.has_ended(&kept.basis, now));
        self.missing.retain(|basis| !freshness.has_ended(basis, now));
        self.finder.folders.drop_ended(freshness, now);
        self.listings.drop_ended(freshness, now);
    }

    pub(super) fn is_known_missing(&self, key: &[u8], asked: Asked<'_>) -> bool {
        let known = self.missing.get(key);
        known.is_some_and(|basis| self.finder.freshness.holds(&basis, &self.finder.root, asked.polled))
    }

    /// Tries once more after closing the cached files, if no descriptors are left.
    pub(super) fn retry_after_clearing_cache<T>(
        &self,
        find: impl Fn() -> Result<T, OpenError>,
    ) -> Result<T, OpenError> {
        find().or_else(|error| match error {
            OpenError::Busy(_) => {
                self.cache.clear();
                find()
            }
            error => Err(error),
        })
    }

    /// Prepares a file, and caches it by its path if it is old enough. If it is the index file of a folder, it is also
    /// cached by the folder's `key`.
    pub(super) fn keep(
        &self,
        key: &[u8],
        mut found: FoundFile,
        asked: Asked<'_>,
        now: SystemTime,
    ) -> io::Result<Arc<Kept>> {
        let path = found.path.clone();
        let keeps = !found.basis.is_recent(now);
        found.basis.found_at(asked.polled);
        if path != key && keeps && found.is_sure {
            let basis = found.basis.of_folder();
            let index = Arc::new(Kept { what: What::Index(path.clone()), basis });
            self.cache.put(key, Arc::clone(&index), (path.len(), 0));
            self.finder.freshness.keeps(&index.basis);
        }
        if path != key {
            found.basis.set_names(vec![path::name(&path).to_vec()]);
        }
        if let Some(before) = self.cache.get(&path) {
            found.basis.take_over(&before.basis);
        }
        let (resource, basis) = self.preparer.prepare(found, self.cache.limits().bytes_each, now)?;
        let kept = Arc::new(Kept { what: What::File(resource), basis });
        self.put(&path, &kept, keeps, asked);
        Ok(kept)
    }

    pub(super) fn put(&self, key: &[u8], kept: &Arc<Kept>, keeps: bool, asked: Asked<'_>) {
        if let What::File(resource) = &kept.what
            && keeps
            && resource.longest() <= MAX_KEPT_OPEN
        {
            self.cache.put(key, Arc::clone(kept), resource.held());
            self.finder.freshness.keeps(&kept.basis);
            if kept.is_open() {
                self.open_files.close_later(&self.cache, asked.request);
            }
        }
    }

    pub(super) fn keep_missing(&self, key: &[u8], mut basis: Basis, asked: Asked<'_>, now: SystemTime) {
        if !basis.is_recent(now) {
            basis.found_at(asked.polled);
            let basis = Arc::new(basis);
            self.missing.put(key, Arc::clone(&basis), (0, 0));
            self.finder.freshness.keeps(&basis);
        }
    }
}
