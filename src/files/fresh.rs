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
//!   there a comparison once a second and a reading every half minute find what is not told.
//! - An entry is watched at its second *try*, that is, when it was compared and found true before: so a client that asks
//!   for each file once sets no watches. Then it is made once more, and the new one takes over the watch.
//!
//! A listing is kept only while it is told of, and for a second: to compare each of its entries is to read it anew. Listings have
//! a queue of their own, so that what is told of ten thousand names in a folder does not fill that of files.

use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use super::open::Root;
use super::stat::{FileStat, Kind};
use super::watch::{Watch, Watcher};

/// How long a comparison is trusted.
const TRUST: Duration = Duration::from_secs(1);
/// How long what is watched is used without being made anew.
const RENEWED: Duration = Duration::from_secs(30);
/// Entries that can't be used any more are dropped that often, at most.
const DROPPED_AFTER: Duration = Duration::from_secs(1);
/// At which comparison an entry is watched.
const WATCHED_AT: u32 = 2;

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
    comparisons: AtomicU32,
    watch: OnceLock<Arc<Watch>>,
    /// For the entry that takes the place of this one.
    next_watch: OnceLock<Arc<Watch>>,
}

/// Asks the kernel, or the disk.
#[derive(Debug)]
pub(super) struct Freshness {
    watcher: Option<Arc<Watcher>>,
    /// Of listings: made for the first that is kept.
    of_listings: OnceLock<Option<Arc<Watcher>>>,
    /// Whether something is kept of which nothing tells when it can't be used any more: it is not watched, and its time will be over,
    /// or it was told of before it was kept.
    keeps_untold: AtomicBool,
    started: Instant,
    /// When entries were last dropped, in nanoseconds since `started`.
    dropped: AtomicU64,
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
            comparisons: AtomicU32::new(0),
            watch: OnceLock::new(),
            next_watch: OnceLock::new(),
        }
    }

    /// That of a folder which is watched for all names in it.
    pub fn watched(folder: Vec<u8>, stat: FileStat, watch: Watch) -> Basis {
        Basis { watch: OnceLock::from(Arc::new(watch)), ..Basis::new(folder, stat, Vec::new()) }
    }

    /// That of a folder's listing, which was read since the watch was set, from `began` on: it is read again a second later, for what
    /// is not told.
    pub fn of_listing(watch: &Arc<Watch>, began: Instant) -> Basis {
        Basis {
            paths: Vec::new(),
            folder: Vec::new(),
            names: Vec::new(),
            until: began.checked_add(TRUST),
            created: began,
            compared: AtomicU64::new(1),
            comparisons: AtomicU32::new(0),
            watch: OnceLock::from(Arc::clone(watch)),
            next_watch: OnceLock::new(),
        }
    }

    /// Take over the watch of an earlier entry, if that was made of the same: what was read since it was set needs no other.
    pub fn take_over(&mut self, before: &Basis) {
        if let Some(watch) = before.watch().filter(|watch| watch.holds() && before.paths == self.paths) {
            self.watch = OnceLock::from(Arc::clone(watch));
        }
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

    #[cfg(test)]
    pub fn is_watched(&self) -> bool {
        self.watch.get().is_some()
    }

    /// By which the kernel tells of it, or will of the entry that takes its place.
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

    /// `Acquire`: who sees that somebody compared sees what that one saw.
    fn since_compared(&self, begin: Instant) -> Option<Duration> {
        let compared = self.compared.load(Acquire).checked_sub(1)?;
        Some(begin.saturating_duration_since(self.created + Duration::from_nanos(compared)))
    }
}

impl Freshness {
    /// `watched`: whether the kernel is asked to tell.
    pub fn new(watched: bool) -> Freshness {
        Freshness {
            watcher: watched.then(Watcher::new).flatten(),
            of_listings: OnceLock::new(),
            keeps_untold: AtomicBool::new(false),
            started: Instant::now(),
            dropped: AtomicU64::new(0),
        }
    }

    /// Whether a new look-up would give the same, for a request that was brought by the poll that returned then.
    pub fn holds(&self, basis: &Basis, root: &Root, polled: Option<Instant>) -> bool {
        let begin = polled.unwrap_or_else(Instant::now);
        if basis.until.is_some_and(|until| until <= begin) {
            return false;
        }
        match basis.watch.get() {
            Some(watch) => {
                watch.catch_up(root, begin);
                let is_trusted = || basis.since_compared(begin).is_some_and(|since| since < TRUST);
                let is_old = begin.saturating_duration_since(basis.created) >= RENEWED;
                watch.holds() && !is_old && (is_trusted() || self.compare(basis, root, begin))
            }
            None if basis.next_watch.get().is_some() => false,
            None if polled.is_some() && basis.compared.load(Acquire) >= basis.nanos(begin) => true,
            None => {
                begin.saturating_duration_since(basis.created) < TRUST && self.compare_and_watch(basis, root, begin)
            }
        }
    }

    /// An entry has been put where `has_ended` is asked of it.
    pub fn keeps(&self, basis: &Basis) {
        if basis.watch().is_none_or(|watch| !watch.holds()) {
            self.keeps_untold.store(true, Relaxed);
        }
    }

    /// Whether there may be entries that can't be used any more: asked of the kernel once a second, for one who asks.
    pub fn is_time_to_drop(&self, root: &Root, now: Instant) -> bool {
        let nanos = now.saturating_duration_since(self.started).as_nanos() as u64;
        let dropped = self.dropped.load(Relaxed);
        if nanos.saturating_sub(dropped) < DROPPED_AFTER.as_nanos() as u64
            || self.dropped.compare_exchange(dropped, nanos, Relaxed, Relaxed).is_err()
        {
            return false;
        }
        let take_told = |watcher: &Arc<Watcher>| {
            watcher.catch_up(root, now);
            watcher.take_told()
        };
        // Set again by `has_ended` and by the next news. All are asked.
        let told = self.watchers().filter(|watcher| take_told(watcher)).count();
        self.keeps_untold.swap(false, Relaxed) || told > 0
    }

    /// Whether an entry can't be used any more: it was told of a change, or is not watched and no longer trusted.
    pub fn has_ended(&self, basis: &Basis, now: Instant) -> bool {
        match basis.watch() {
            Some(watch) => !watch.holds(),
            None => {
                let has_ended = now.saturating_duration_since(basis.created) >= TRUST;
                if !has_ended {
                    self.keeps_untold.store(true, Relaxed);
                }
                has_ended
            }
        }
    }

    fn watchers(&self) -> impl Iterator<Item = &Arc<Watcher>> {
        self.watcher.iter().chain(self.of_listings.get().and_then(Option::as_ref))
    }

    /// Watch all names in a folder. `None`: it can't be.
    pub fn watch_folder(&self, root: &Root, folder: &[u8]) -> Option<Watch> {
        let watch = self.watcher.as_ref()?.watch(root, &[], folder, None);
        watch.inspect_err(|errno| tell_why_not(folder, *errno)).ok()
    }

    /// Watch all names in a folder that is listed; its entries are added as they are found. `None`: it can't be.
    pub fn watch_listing(&self, root: &Root, folder: &[u8]) -> Option<Watch> {
        let watcher = self.of_listings.get_or_init(|| self.watcher.as_ref().and_then(|_| Watcher::new()));
        let watch = watcher.as_ref()?.watch(root, &[], folder, None);
        watch.inspect_err(|errno| tell_why_not(folder, *errno)).ok()
    }

    /// How many inodes are watched for listings.
    #[cfg(test)]
    pub fn watched_for_listings(&self) -> usize {
        self.of_listings.get().and_then(Option::as_ref).map_or(0, |watcher| watcher.watched())
    }

    /// Ask whether another folder stands at the root's path now, and open that.
    pub fn ask_for_root(&self, root: &Root) {
        if root.reopen_if_replaced() {
            self.watchers().for_each(|watcher| watcher.forget_all(root));
        }
    }

    fn compare(&self, basis: &Basis, root: &Root, begin: Instant) -> bool {
        self.ask_for_root(root);
        basis.compare(root, begin)
    }

    /// The watch is set before the comparison, which finds what happened until then.
    fn compare_and_watch(&self, basis: &Basis, root: &Root, begin: Instant) -> bool {
        let is_time = basis.comparisons.fetch_add(1, Relaxed) + 1 == WATCHED_AT;
        let files: Vec<_> =
            basis.paths.iter().filter(|(_, stat)| is_time && stat.kind == Kind::File).cloned().collect();
        let watcher = self.watcher.as_ref().filter(|_| is_time);
        let watch = watcher.and_then(|watcher| {
            let watch = watcher.watch(root, &files, &basis.folder, Some(&basis.names));
            watch.inspect_err(|errno| tell_why_not(&basis.folder, *errno)).ok()
        });
        let same = self.compare(basis, root, begin);
        let Some(watch) = watch.filter(|_| same) else { return same };
        let takes = if files.is_empty() { &basis.watch } else { &basis.next_watch };
        let _ = takes.set(Arc::new(watch));
        files.is_empty() // what was read of files is read once more
    }
}

fn tell_why_not(folder: &[u8], errno: rustix::io::Errno) {
    log::debug!(target: "modest::files", "/{} can't be watched: {errno}", folder.escape_ascii());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was told of between its making and its keeping, and asked for since, is asked about once more.
    #[test]
    fn what_had_ended_when_it_was_kept_is_dropped() {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir(top.path().join("d")).unwrap();
        let root = Root::open(top.path()).unwrap();
        let freshness = Freshness::new(true);
        let watch = freshness.watch_folder(&root, b"d").expect("it can be watched");
        let basis = Basis::watched(b"d".to_vec(), root.stat_itself(b"d").unwrap(), watch);
        std::fs::write(top.path().join("d/new"), "").unwrap();
        let at = |seconds| freshness.started + Duration::from_secs(seconds);
        assert!(freshness.is_time_to_drop(&root, at(3600)), "it is told of");
        freshness.keeps(&basis);
        assert!(freshness.is_time_to_drop(&root, at(3604)) && freshness.has_ended(&basis, at(3604)));
    }
}
