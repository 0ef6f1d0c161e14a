//! How it is known that what is kept is still true. Called by `handler` before each use.
//!
//! Nothing stale is served: an entry is used only if nothing that it was made of has changed when the request arrived. That
//! is told by the kernel (see `watch`), or else by comparing device, inode, size, mtime and ctime of each path that it
//! depends on.
//!
//! # Four times
//! - A *poll* brings requests: they had all arrived when it returned. News that is read, or a comparison that begins, after
//!   that is as good as one made for each of them, so one serves them all ([`Request::polled`](crate::Request::polled)).
//! - A file is kept only once its last change is older than the *tick* of its file system's clock (`FileStat::is_recent`):
//!   a later change has other times then, so a comparison finds it.
//! - *Trust* in a comparison ends after a second: the paths are opened anew, checked, so that a folder that was moved out of
//!   the root and linked back is not followed for longer. What is watched needs none of this, for a moved folder is told;
//!   there a comparison once a second finds what is not told (a mount, writes through a shared mapping).
//! - An entry is watched at its second *try*, that is, when it was compared and found true before: so a client that asks
//!   for each file once sets no watches.

use std::sync::atomic::{
    AtomicU8, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use super::open::Root;
use super::stat::{FileStat, Kind};
use super::watch::{Watch, Watcher};

/// How long a comparison is trusted.
const TRUST: Duration = Duration::from_secs(1);
/// At which comparison an entry is watched.
const WATCHED_AT: u8 = 2;

/// What an entry was made of: it is true as long as nothing of it has changed.
#[derive(Debug)]
pub(super) struct Basis {
    /// Folders and files, with their metadata when they were looked up.
    paths: Vec<(Vec<u8>, FileStat)>,
    /// The folder that the files lie in, and the names in it that count: a change of others is none.
    folder: Vec<u8>,
    names: Vec<Vec<u8>>,
    /// When it is to be looked up anew, though nothing changes: what depends on the age of a file.
    until: Option<Instant>,
    created: Instant,
    /// When the last comparison began, in nanoseconds since `created`, plus one; 0: never.
    compared: AtomicU64,
    comparisons: AtomicU8,
    watch: OnceLock<Watch>,
}

/// Asks the kernel, or the disk.
#[derive(Debug)]
pub(super) struct Freshness {
    watcher: Option<Arc<Watcher>>,
}

impl Basis {
    /// `folder`: examined before the names in it.
    pub fn new(folder: Vec<u8>, stat: FileStat, names: Vec<Vec<u8>>) -> Basis {
        Basis {
            paths: vec![(folder.clone(), stat)],
            folder,
            names,
            until: None,
            created: Instant::now(),
            compared: AtomicU64::new(0),
            comparisons: AtomicU8::new(0),
            watch: OnceLock::new(),
        }
    }

    /// That of a folder which is watched for all names in it.
    pub fn watched(folder: Vec<u8>, stat: FileStat, watch: Watch) -> Basis {
        Basis { watch: OnceLock::from(watch), ..Basis::new(folder, stat, Vec::new()) }
    }

    /// It depends on this, too.
    pub fn add(&mut self, path: Vec<u8>, stat: FileStat) {
        self.paths.push((path, stat));
    }

    /// It may be otherwise after this time.
    pub fn ends_after(&mut self, time: Duration) {
        let end = self.created.checked_add(time);
        self.until = self.until.into_iter().chain(end).min();
    }

    /// It was found when this poll had returned: requests of that poll need no comparison.
    pub fn found_at(&mut self, polled: Option<Instant>) {
        if let Some(polled) = polled {
            self.created = polled;
            self.compared = AtomicU64::new(1);
        }
    }

    /// Whether a change could be missed, for something of it was changed a moment ago.
    pub fn is_recent(&self, now: SystemTime) -> bool {
        self.paths.iter().any(|(_, stat)| stat.is_recent(now))
    }

    /// The same for what depends on the folder alone, and not on the files in it.
    pub fn of_folder(&self) -> Basis {
        let (folder, names) = (self.folder.clone(), self.names.clone());
        Basis {
            paths: self.paths[..1].to_vec(),
            created: self.created,
            compared: AtomicU64::new(self.compared.load(Relaxed)),
            ..Basis::new(folder, self.paths[0].1, names)
        }
    }

    /// Which names in the folder count.
    pub fn set_names(&mut self, names: Vec<Vec<u8>>) {
        self.names = names;
    }

    /// Whether it is watched and was told of a change.
    pub fn has_ended(&self) -> bool {
        self.watch.get().is_some_and(|watch| !watch.holds())
    }

    fn nanos(&self, when: Instant) -> u64 {
        (when.saturating_duration_since(self.created).as_nanos() as u64).saturating_add(1)
    }

    fn compare(&self, root: &Root, begin: Instant) -> bool {
        root.reopen_if_replaced();
        let same = self.paths.iter().all(|(path, known)| root.stat_unchecked(path).is_ok_and(|stat| stat == *known));
        if same {
            self.compared.fetch_max(self.nanos(begin), Release);
        }
        same
    }

    /// `Acquire`: who sees that somebody compared sees what that one saw.
    fn since_compared(&self, begin: Instant) -> Option<Duration> {
        let compared = self.compared.load(Acquire).checked_sub(1)?;
        Some(begin.saturating_duration_since(self.created + Duration::from_nanos(compared)))
    }
}

impl Freshness {
    /// `watched`: whether the kernel is asked to tell.
    pub fn new(watched: bool) -> Freshness {
        Freshness { watcher: watched.then(Watcher::new).flatten() }
    }

    /// Whether a new look-up would give the same, for a request that was brought by the poll that returned then.
    pub fn holds(&self, basis: &Basis, root: &Root, polled: Option<Instant>) -> bool {
        let begin = polled.unwrap_or_else(Instant::now);
        if basis.until.is_some_and(|until| until <= begin) {
            return false;
        }
        match basis.watch.get() {
            Some(watch) => {
                self.catch_up(begin);
                watch.holds()
                    && (basis.since_compared(begin).is_some_and(|since| since < TRUST) || basis.compare(root, begin))
            }
            None if polled.is_some() && basis.compared.load(Acquire) >= basis.nanos(begin) => true,
            None => {
                begin.saturating_duration_since(basis.created) < TRUST && self.compare_and_watch(basis, root, begin)
            }
        }
    }

    /// Whether entries can be dropped because they were told of changes.
    pub fn is_time_to_drop(&self, polled: Option<Instant>) -> bool {
        self.watcher.as_ref().zip(polled).is_some_and(|(watcher, polled)| watcher.is_time_to_drop(polled))
    }

    /// Watch all names in a folder. `None`: it can't be.
    pub fn watch_folder(&self, root: &Root, folder: &[u8]) -> Option<Watch> {
        self.watcher.as_ref()?.watch_names(root, folder)
    }

    fn catch_up(&self, begin: Instant) {
        if let Some(watcher) = &self.watcher {
            watcher.catch_up(begin);
        }
    }

    /// The watch is set before the comparison, which finds what happened until then.
    fn compare_and_watch(&self, basis: &Basis, root: &Root, begin: Instant) -> bool {
        let is_time = basis.comparisons.fetch_add(1, Relaxed).saturating_add(1) == WATCHED_AT;
        let watch = self.watcher.as_ref().filter(|_| is_time).and_then(|watcher| {
            let files: Vec<_> = basis.paths.iter().filter(|(_, stat)| stat.kind == Kind::File).cloned().collect();
            watcher.watch(root, &files, &basis.folder, &basis.names)
        });
        let same = basis.compare(root, begin);
        if let Some(watch) = watch.filter(|_| same) {
            let _ = basis.watch.set(watch);
        }
        same
    }
}
