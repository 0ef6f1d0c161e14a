//! Whether cached content is still valid. Called by `handler` before each use.
//!
//! Nothing stale is served: an entry is used only if its sources were unchanged when the request arrived. To find
//! out, either the kernel reports changes (see `watch`), or device, inode, size, mtime and ctime of each path that it
//! depends on are compared.
//!
//! # Four times
//! - All requests that a *poll* reports had arrived when it returned. A check that begins after that (reading the
//!   kernel's reports, or a comparison) is valid for all of them, so one check serves them all
//!   ([`Request::polled`](crate::Request::polled)).
//! - A file is cached only when its last change is older than a *tick* of its file system's clock
//!   (`FileStat::is_recent`). Any later change then has a different time, so a comparison finds it.
//! - *Trust* in a comparison ends after a second. Then the paths are opened and checked again, so a folder that was
//!   moved out of the root and linked back is followed for at most a second. Watched entries do not need this, because
//!   the kernel reports that a folder was moved. Changes that it does not report are found by a comparison every second
//!   and a reading every half minute.
//! - An entry is watched at its second *comparison*, that is, if it was found valid once before. So a client that
//!   requests each file once sets no watches. The entry is then created again, and the new entry takes over the watch.
//!
//! A listing is cached only while its changes are reported, and for a second: comparing each of its entries means
//! reading it. Listings have an inotify queue of their own, so that reports on ten thousand names in a folder do not
//! fill the queue for files.

use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use super::open::Root;
use super::stat::{FileStat, Kind};
use super::watch::{Watch, Watcher};

/// How long a comparison is trusted.
const TRUST: Duration = Duration::from_secs(1);
/// How long a watched entry is used before it is created again.
const RENEWED: Duration = Duration::from_secs(30);
/// The shortest time between two removals of invalid entries.
const DROPPED_AFTER: Duration = Duration::from_secs(1);
/// The number of the comparison at which an entry is watched.
const WATCHED_AT: u32 = 2;

/// The files and folders that an entry depends on. The entry is valid as long as none of them has changed.
#[derive(Debug)]
pub(super) struct Evidence {
    /// The folder, and files in it, with their metadata when they were looked up.
    paths: Vec<(Vec<u8>, FileStat)>,
    /// Only changes of these names in the folder count.
    pub names: Vec<Vec<u8>>,
    /// When the path must be looked up again even without a change, because the content depends on the age of a file.
    until: Option<Instant>,
    created: Instant,
    /// When the last comparison began, in nanoseconds since `created`, plus one; 0: never.
    compared: AtomicU64,
    comparisons: AtomicU32,
    watch: OnceLock<Arc<Watch>>,
    /// The watch for the entry that replaces this one.
    next_watch: OnceLock<Arc<Watch>>,
}

/// Checks with the kernel or the disk.
#[derive(Debug)]
pub(super) struct Freshness {
    watcher: Option<Arc<Watcher>>,
    /// The watcher of listings, created when the first listing is cached.
    of_listings: OnceLock<Option<Arc<Watcher>>>,
    started: Instant,
    /// When entries were last dropped, in nanoseconds since `started`.
    dropped: AtomicU64,
}

/// Returns when a folder can be read for a cache again, after a reading that began at this time and ends now. So a
/// folder that changes all the time costs hardly more than without the cache.
pub(super) fn next_reading(began: Instant) -> Instant {
    began + Duration::from_secs(1) + 100 * began.elapsed()
}

impl Evidence {
    /// `stat` is the folder's metadata, read before the names in it were looked up.
    pub fn new(folder: Vec<u8>, stat: FileStat, names: Vec<Vec<u8>>) -> Evidence {
        Evidence::of(vec![(folder, stat)], names)
    }

    fn of(paths: Vec<(Vec<u8>, FileStat)>, names: Vec<Vec<u8>>) -> Evidence {
        Evidence {
            paths,
            names,
            until: None,
            created: Instant::now(),
            compared: AtomicU64::new(0),
            comparisons: AtomicU32::new(0),
            watch: OnceLock::new(),
            next_watch: OnceLock::new(),
        }
    }

    /// Returns the basis of a folder that is watched for all names in it.
    pub fn watched(folder: Vec<u8>, stat: FileStat, watch: Watch) -> Evidence {
        Evidence { watch: OnceLock::from(Arc::new(watch)), ..Evidence::new(folder, stat, Vec::new()) }
    }

    /// Returns the basis of a folder's listing, which was read since the watch was set, from `began` on. It is read
    /// again a second later, for changes that are not reported.
    pub fn of_listing(watch: &Arc<Watch>, began: Instant) -> Evidence {
        let (until, compared) = (began.checked_add(TRUST), AtomicU64::new(1));
        let watch = OnceLock::from(Arc::clone(watch));
        Evidence { until, created: began, compared, watch, ..Evidence::of(Vec::new(), Vec::new()) }
    }

    /// Takes over the watch of an earlier entry, if that depended on the same files. Called before their content is
    /// read, so that everything is read after the watch was set.
    pub fn take_over(&mut self, before: &Evidence) {
        if let Some(watch) = before.watch().filter(|watch| watch.holds() && before.paths == self.paths) {
            self.watch = OnceLock::from(Arc::clone(watch));
        }
    }

    /// Adds a path that the entry depends on.
    pub fn add(&mut self, path: Vec<u8>, stat: FileStat) {
        self.paths.push((path, stat));
    }

    /// Makes the entry invalid this long after it was created.
    pub fn ends_after(&mut self, time: Duration) {
        let end = self.created.checked_add(time);
        self.until = self.until.into_iter().chain(end).min();
    }

    /// Records that the entry was found after this poll had returned: requests that arrived with it need no comparison.
    pub fn found_at(&mut self, polled: Option<Instant>) {
        if let Some(polled) = polled {
            self.created = polled;
            self.compared = AtomicU64::new(1);
        }
    }

    /// Returns whether a further change could be missed, because a file or folder changed within the last tick.
    pub fn is_recent(&self, now: SystemTime) -> bool {
        self.paths.iter().any(|(_, stat)| stat.is_recent(now))
    }

    /// Returns a basis of the folder alone, for content that does not depend on the files in it.
    pub fn of_folder(&self) -> Evidence {
        let compared = AtomicU64::new(self.compared.load(Relaxed));
        Evidence { created: self.created, compared, ..Evidence::of(self.paths[..1].to_vec(), self.names.clone()) }
    }

    #[cfg(test)]
    pub fn is_watched(&self) -> bool {
        self.watch.get().is_some()
    }

    /// Returns the watch for changes of this entry, or of the entry that replaces it.
    fn watch(&self) -> Option<&Arc<Watch>> {
        self.watch.get().or(self.next_watch.get())
    }

    fn nanos(&self, when: Instant) -> u64 {
        (when.saturating_duration_since(self.created).as_nanos() as u64).saturating_add(1)
    }

    fn compare(&self, root: &Root, begin: Instant) -> bool {
        let same = self.paths.iter().all(|(path, known)| root.stat_unchecked(path).is_ok_and(|stat| stat == *known));
        if same {
            self.compared.fetch_max(self.nanos(begin), Release);
        }
        same
    }

    /// Returns whether the last comparison is trusted, for a request that arrived this long after the creation.
    /// `Acquire`: a thread that sees another's comparison also sees what that one saw.
    fn is_trusted(&self, age: Duration) -> bool {
        let compared = self.compared.load(Acquire);
        compared != 0 && age < TRUST + Duration::from_nanos(compared - 1)
    }
}

impl Freshness {
    /// `watched`: whether the kernel's reports are used.
    pub fn new(watched: bool) -> Freshness {
        Freshness {
            watcher: watched.then(Watcher::new).flatten(),
            of_listings: OnceLock::new(),
            started: Instant::now(),
            dropped: AtomicU64::new(0),
        }
    }

    /// Returns whether a new lookup would have the same result, for a request that the poll of this time reported.
    pub fn holds(&self, basis: &Evidence, root: &Root, polled: Option<Instant>) -> bool {
        let begin = polled.unwrap_or_else(Instant::now);
        if basis.until.is_some_and(|until| until <= begin) {
            return false;
        }
        match basis.watch.get() {
            Some(watch) => {
                watch.catch_up(root, begin);
                let age = begin.saturating_duration_since(basis.created);
                watch.holds() && age < RENEWED && (basis.is_trusted(age) || self.compare(basis, root, begin))
            }
            None if basis.next_watch.get().is_some() => false,
            None if polled.is_some() && basis.compared.load(Acquire) >= basis.nanos(begin) => true,
            None => {
                begin.saturating_duration_since(basis.created) < TRUST && self.compare_and_watch(basis, root, begin)
            }
        }
    }

    /// Returns whether invalid entries are to be dropped now. Returns true to one caller per second at most.
    pub fn is_time_to_drop(&self, root: &Root, now: Instant) -> bool {
        let nanos = now.saturating_duration_since(self.started).as_nanos() as u64;
        let dropped = self.dropped.load(Relaxed);
        if nanos.saturating_sub(dropped) < DROPPED_AFTER.as_nanos() as u64
            || self.dropped.compare_exchange(dropped, nanos, Relaxed, Relaxed).is_err()
        {
            return false;
        }
        self.watchers().for_each(|watcher| watcher.catch_up(root, now));
        true
    }

    /// Returns whether an entry is invalid: a change was reported, or it is not watched and no longer trusted.
    pub fn has_ended(&self, basis: &Evidence, now: Instant) -> bool {
        match basis.watch() {
            Some(watch) => !watch.holds(),
            None => now.saturating_duration_since(basis.created) >= TRUST,
        }
    }

    fn watchers(&self) -> impl Iterator<Item = &Arc<Watcher>> {
        self.watcher.iter().chain(self.of_listings.get().and_then(Option::as_ref))
    }

    /// Watches all names in a folder. `None` if that is not possible.
    pub fn watch_folder(&self, root: &Root, folder: &[u8]) -> Option<Watch> {
        watch(self.watcher.as_ref()?, root, &[], folder, None)
    }

    /// Watches all names in a folder that is listed. Its entries are added as they are found. `None` if that is not
    /// possible.
    pub fn watch_listing(&self, root: &Root, folder: &[u8]) -> Option<Watch> {
        let watcher = self.of_listings.get_or_init(|| self.watcher.as_ref().and_then(|_| Watcher::new()));
        watch(watcher.as_ref()?, root, &[], folder, None)
    }

    /// Returns how many inodes are watched for listings.
    #[cfg(test)]
    pub fn watched_for_listings(&self) -> usize {
        self.of_listings.get().and_then(Option::as_ref).map_or(0, |watcher| watcher.watched())
    }

    /// Checks whether the root's path is another folder now, and if so opens it.
    pub fn ask_for_root(&self, root: &Root) {
        if root.reopen_if_replaced() {
            self.watchers().for_each(|watcher| watcher.forget_all(root));
        }
    }

    fn compare(&self, basis: &Evidence, root: &Root, begin: Instant) -> bool {
        self.ask_for_root(root);
        basis.compare(root, begin)
    }

    /// The watch is set before the comparison, which finds earlier changes.
    fn compare_and_watch(&self, basis: &Evidence, root: &Root, begin: Instant) -> bool {
        let is_time = basis.comparisons.fetch_add(1, Relaxed) + 1 == WATCHED_AT;
        let files: Vec<_> =
            basis.paths.iter().filter(|(_, stat)| is_time && stat.kind == Kind::File).cloned().collect();
        let watcher = self.watcher.as_ref().filter(|_| is_time);
        let watch = watcher.and_then(|watcher| watch(watcher, root, &files, &basis.paths[0].0, Some(&basis.names)));
        let same = self.compare(basis, root, begin);
        let Some(watch) = watch.filter(|_| same) else { return same };
        let takes = if files.is_empty() { &basis.watch } else { &basis.next_watch };
        let _ = takes.set(Arc::new(watch));
        files.is_empty() // the content of files is read again
    }
}

/// Watches as [`Watcher::watch`] does, and logs why that is not possible.
fn watch(
    watcher: &Arc<Watcher>,
    root: &Root,
    files: &[(Vec<u8>, FileStat)],
    folder: &[u8],
    names: Option<&[Vec<u8>]>,
) -> Option<Watch> {
    let log = |errno: &_| log::debug!(target: "modest::files", "/{} can't be watched: {errno}", folder.escape_ascii());
    watcher.watch(root, files, folder, names).inspect_err(log).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry is checked once more if a change was reported, and the report read, after the entry was created and
    /// before it was cached.
    #[test]
    fn an_entry_stale_when_cached_is_dropped() {
        if !crate::files::sys::are_changes_reported() {
            return;
        }
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir(top.path().join("d")).unwrap();
        let root = Root::open(top.path()).unwrap();
        let freshness = Freshness::new(true);
        let watch = freshness.watch_folder(&root, b"d").expect("a watch of the folder");
        let basis = Evidence::watched(b"d".to_vec(), root.stat_itself(b"d").unwrap(), watch);
        std::fs::write(top.path().join("d/new"), "").unwrap();
        let at = |seconds| freshness.started + Duration::from_secs(seconds);
        assert!(freshness.is_time_to_drop(&root, at(3600)), "the change was reported");
        assert!(freshness.is_time_to_drop(&root, at(3604)) && freshness.has_ended(&basis, at(3604)));
    }
}
