//! The cache of a `StaticFileHandler`: files, folders with an index file, and missing names. Called by `handler`.

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::super::find::FoundFile;
use super::super::fresh::Evidence;
use super::super::open::OpenError;
use super::super::path;
use super::{CachedPath, FileRequest, MAX_KEPT_OPEN, StaticFileHandler, What};

impl StaticFileHandler {
    /// Returns the cached result for a path, if it is still fresh.
    pub(super) fn kept(&self, key: &[u8], asked: FileRequest<'_>) -> Option<Arc<CachedPath>> {
        let kept = self.cache.get(key)?;
        self.finder.freshness.holds(&kept.basis, &self.finder.root, asked.polled).then_some(kept)
    }

    /// Like `kept`, with the index file in place of its folder.
    pub(super) fn kept_file(&self, key: &[u8], asked: FileRequest<'_>) -> Option<Arc<CachedPath>> {
        let kept = self.kept(key, asked)?;
        match &kept.what {
            What::File(_) | What::Missing => Some(kept),
            What::Index(path) => self.kept(path, asked).filter(|kept| matches!(kept.what, What::File(_))),
        }
    }

    /// Drops invalid entries, so that deleted files release their space and watches are removed.
    pub(super) fn drop_ended(&self, now: Instant) {
        let freshness = &self.finder.freshness;
        self.cache.retain(|kept| !freshness.has_ended(&kept.basis, now));
        self.finder.folders.drop_ended(freshness, now);
        self.listings.kept.drop_ended(freshness, now);
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

    /// Prepares a file, and caches it by its path. If it is the index file of a folder, that is also cached, by the
    /// folder's `key`.
    pub(super) fn keep(
        &self,
        key: &[u8],
        mut found: FoundFile,
        asked: FileRequest<'_>,
        now: SystemTime,
    ) -> io::Result<Arc<CachedPath>> {
        let path = found.path.clone();
        if path != key {
            if found.is_sure {
                self.put(key, What::Index(path.clone()), found.basis.of_folder(), asked, now);
            }
            found.basis.names = vec![path::name(&path).to_vec()];
        }
        if let Some(before) = self.cache.get(&path) {
            found.basis.take_over(&before.basis);
        }
        let (resource, basis) = self.preparer.prepare(found, self.cache.limits.bytes_each, now)?;
        Ok(self.put(&path, What::File(resource), basis, asked, now))
    }

    /// Caches what was found at a path, unless it is a large file, or changed so recently that a further change could
    /// be missed.
    pub(super) fn put(
        &self,
        key: &[u8],
        what: What,
        mut basis: Evidence,
        asked: FileRequest<'_>,
        now: SystemTime,
    ) -> Arc<CachedPath> {
        basis.found_at(asked.polled);
        let kept = Arc::new(CachedPath { what, basis });
        let is_large = matches!(&kept.what, What::File(resource) if resource.longest() > MAX_KEPT_OPEN);
        if !is_large && !kept.basis.is_recent(now) {
            let (bytes, open) = kept.size();
            self.cache.put(key, Arc::clone(&kept), (bytes, open));
            if open > 0 {
                self.open_files.close_later(&self.cache, asked.request);
            }
        }
        kept
    }
}
