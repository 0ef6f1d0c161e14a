//! The kernel tells what changed (inotify): so what is kept can be used without asking the disk. Called by `fresh`.
//!
//! # Why it is enough
//! A change is queued before the system call that makes it returns (inotify(7); `fsnotify` runs within it). Whoever sends
//! a request after an edit sends it after the news was queued; so if the queue was read since the request arrived, and
//! nothing in it concerns an entry, the entry is as true as if the disk had been asked.
//!
//! What is watched for an entry:
//! - the file itself and its sidecars, by inode: so a change by another name of it (a hard link) is told, too;
//! - its folder: names that appear, disappear or are replaced, of which those count that the entry depends on;
//! - each folder from the root down to it, for being moved, deleted or locked; and each folder on the way to the root, for
//!   the names on that way. These change seldom, and then nothing that was told before counts any longer.
//!
//! Watches are set on descriptors (`/proc/self/fd`) that were opened without following a link and whose metadata is what it
//! was when the entry was made: never on what another has put in their place meanwhile.
//!
//! # What is not told
//! Writes through a shared mapping, a file system mounted over a folder; and file systems that change elsewhere (network,
//! FUSE, the layers of an overlay). The latter are not watched: see `TELLING`. For the former, `fresh` asks the disk once
//! a second. Without `/proc`, without watches left (`fs.inotify.max_user_watches`) or instances, or with a link in the path,
//! an entry is not watched, and the disk is asked.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::codings::ContentCoding;
use super::open::Root;
use super::stat::{FileStat, stat_of};

/// File systems that tell of every change, for each is made through this kernel: ext2 to ext4, XFS, Btrfs, F2FS, Bcachefs,
/// tmpfs and ramfs; and those that never change, SquashFS and EROFS. By the numbers in statfs(2). ZFS may know a name by other
/// bytes than those it tells.
const TELLING: [u64; 9] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0xca45_1a4e, 0x0102_1994, 0x8584_58f6, 0x7371_7368, 0xe0f5_e1e2];

/// Room for this many bytes of news in one read; a name takes 272 at most.
const NEWS: usize = 4096;

/// Entries that no longer hold are dropped that often, at most.
const DROPPED_AFTER: Duration = Duration::from_secs(1);

/// What is watched of a file: its content, its metadata, its number of links.
const FILE: WatchFlags = WatchFlags::MODIFY.union(SELF);
/// What is watched of a folder that is served: its names. `ATTRIB` tells of its own permissions.
const FOLDER: WatchFlags = NAMES.union(SELF).union(WatchFlags::ONLYDIR);
/// What is watched of a folder on the way to the root.
const ABOVE: WatchFlags = NAMES.union(GONE).union(WatchFlags::ONLYDIR);
const NAMES: WatchFlags =
    WatchFlags::CREATE.union(WatchFlags::DELETE).union(WatchFlags::MOVED_FROM).union(WatchFlags::MOVED_TO);
const SELF: WatchFlags = WatchFlags::ATTRIB.union(GONE);
const GONE: WatchFlags = WatchFlags::DELETE_SELF.union(WatchFlags::MOVE_SELF);

/// Tells which of the entries that are watched may be used.
#[derive(Debug)]
pub(super) struct Watcher {
    inotify: OwnedFd,
    started: Instant,
    /// When the last reading of all news began, in nanoseconds since `started`, plus one; 0: never.
    read: AtomicU64,
    /// Counts the times at which nothing that was told before counts any longer.
    epoch: AtomicU64,
    /// Whether an entry was told of a change since somebody asked.
    has_told: AtomicBool,
    /// When somebody asked, in nanoseconds since `started`.
    asked: AtomicU64,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    watches: HashMap<i32, Watched>,
    /// The watches of folders that are served, by path, as found in this epoch.
    folders: HashMap<Vec<u8>, i32>,
    /// The watches of the folders on the way to the root, as found in this epoch; `None`: not yet.
    above: Option<Vec<i32>>,
    /// Whether a file system tells, by device.
    telling: HashMap<(u32, u32), bool>,
}

/// Who is to hear of the news of one inode.
#[derive(Debug, Default)]
struct Watched {
    /// Of its own.
    entries: Vec<Arc<AtomicBool>>,
    /// Of all names in it.
    any_name: Vec<Arc<AtomicBool>>,
    /// Of these names in it.
    names: HashMap<Box<[u8]>, Vec<Arc<AtomicBool>>>,
    /// Names in it that lead to the root.
    above: Vec<Box<[u8]>>,
    /// How many entries lie beneath it.
    beneath: usize,
    /// Its key among the folders of this epoch.
    path: Option<Vec<u8>>,
}

/// Where an entry stands in the table: each gives a watch to an inode.
#[derive(Debug)]
enum Place {
    Inode(i32),
    Name(i32, Box<[u8]>),
    AnyName(i32),
    Beneath(i32),
}

/// An entry is watched. Dropped, it is no longer.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: Arc<Watcher>,
    epoch: u64,
    changed: Arc<AtomicBool>,
    places: Vec<Place>,
}

impl Watcher {
    /// `None`: the kernel gives none, for the user has as many as may be (`fs.inotify.max_user_instances`).
    pub fn new() -> Option<Arc<Watcher>> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
        Some(Arc::new(Watcher {
            inotify,
            started: Instant::now(),
            read: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            has_told: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            table: Mutex::default(),
        }))
    }

    /// Read what has been told until then, unless somebody has begun to since.
    pub fn catch_up(&self, until: Instant) {
        let until = until.saturating_duration_since(self.started).as_nanos() as u64 + 1;
        // Acquire: who sees this sees, too, what was marked before it was stored.
        if self.read.load(Acquire) >= until {
            return;
        }
        let mut table = self.table();
        if self.read.load(Acquire) >= until {
            return; // by whoever had the lock
        }
        if self.read_news(&mut table).is_err() {
            self.begin_epoch(&mut table);
        }
        self.read.fetch_max(until, Release);
    }

    /// Whether entries no longer hold, so that they can be dropped: true once in a while, for one who asks.
    pub fn is_time_to_drop(&self, now: Instant) -> bool {
        if !self.has_told.load(Relaxed) {
            return false;
        }
        let now = now.saturating_duration_since(self.started).as_nanos() as u64;
        let asked = self.asked.load(Relaxed);
        let is_time = now.saturating_sub(asked) >= DROPPED_AFTER.as_nanos() as u64;
        is_time
            && self.asked.compare_exchange(asked, now, Relaxed, Relaxed).is_ok()
            && self.has_told.swap(false, Relaxed)
    }

    /// Watch a folder for whatever comes or goes in it. `None`: it can't be.
    pub fn watch_names(self: &Arc<Self>, root: &Root, folder: &[u8]) -> Option<Watch> {
        self.add_watch(folder, |table, watch| {
            let wd = self.add_folders(table, watch, root, folder)?;
            table.watches.entry(wd).or_default().any_name.push(Arc::clone(&watch.changed));
            watch.places.push(Place::AnyName(wd));
            Ok(())
        })
    }

    /// Watch these files, all in one folder, and these names in it. `None`: it can't be.
    ///
    /// The files must then be found unchanged: what happened before the first watch was set is not told.
    pub fn watch(
        self: &Arc<Self>,
        root: &Root,
        files: &[(Vec<u8>, FileStat)],
        folder: &[u8],
        names: &[Vec<u8>],
    ) -> Option<Watch> {
        self.add_watch(folder, |table, watch| {
            let wd = self.add_folders(table, watch, root, folder)?;
            for name in names {
                let name: Box<[u8]> = Box::from(&name[..]);
                let watched = table.watches.entry(wd).or_default();
                watched.names.entry(name.clone()).or_default().push(Arc::clone(&watch.changed));
                watch.places.push(Place::Name(wd, name));
            }
            files.iter().try_for_each(|(path, stat)| self.add_file(table, watch, root, path, stat))
        })
    }

    fn add_watch(
        self: &Arc<Self>,
        folder: &[u8],
        add: impl FnOnce(&mut Table, &mut Watch) -> rustix::io::Result<()>,
    ) -> Option<Watch> {
        let mut table = self.table();
        let (watcher, epoch, changed) = (Arc::clone(self), self.epoch.load(Relaxed), Arc::new(AtomicBool::new(false)));
        let mut watch = Watch { watcher, epoch, changed, places: Vec::new() };
        let result = add(&mut table, &mut watch);
        drop(table); // a watch that is dropped leaves the table
        match result {
            Ok(()) => Some(watch),
            Err(errno) => {
                log::debug!(target: "modest::files", "/{} can't be watched: {errno}", folder.escape_ascii());
                None
            }
        }
    }

    fn add_file(
        &self,
        table: &mut Table,
        watch: &mut Watch,
        root: &Root,
        path: &[u8],
        stat: &FileStat,
    ) -> rustix::io::Result<()> {
        let file = root.find_without_links(path)?;
        if stat_of(&file)? != *stat {
            return Err(Errno::STALE);
        }
        let wd = self.add(table, &file, FILE)?;
        table.watches.entry(wd).or_default().entries.push(Arc::clone(&watch.changed));
        watch.places.push(Place::Inode(wd));
        Ok(())
    }

    /// Watch all folders on the way to the root and from there to this one, whose watch is returned.
    fn add_folders(&self, table: &mut Table, watch: &mut Watch, root: &Root, folder: &[u8]) -> rustix::io::Result<i32> {
        if table.above.is_none() {
            self.watch_above(table, root)?;
        }
        let ends = memchr::memchr_iter(b'/', folder).chain((!folder.is_empty()).then_some(folder.len()));
        for end in std::iter::once(0).chain(ends) {
            self.watch_folder(table, watch, root, &folder[..end])?;
        }
        table.folders.get(folder).copied().ok_or(Errno::STALE) // the last of them
    }

    fn watch_folder(&self, table: &mut Table, watch: &mut Watch, root: &Root, path: &[u8]) -> rustix::io::Result<()> {
        let wd = match table.folders.get(path) {
            Some(wd) => *wd,
            None => {
                let wd = self.add(table, &root.find_without_links(path)?, FOLDER)?;
                table.folders.insert(path.to_vec(), wd);
                table.watches.entry(wd).or_default().path = Some(path.to_vec());
                wd
            }
        };
        table.watches.entry(wd).or_default().beneath += 1;
        watch.places.push(Place::Beneath(wd));
        Ok(())
    }

    fn watch_above(&self, table: &mut Table, root: &Root) -> rustix::io::Result<()> {
        let mut above = Vec::new();
        let result = root.location().walk(|folder, name| {
            let wd = self.add(table, folder, ABOVE)?;
            table.watches.entry(wd).or_default().above.push(Box::from(name));
            above.push(wd);
            Ok(())
        });
        match result {
            Ok(()) => table.above = Some(above),
            Err(_) => self.forget_above(table, above),
        }
        result
    }

    fn forget_above(&self, table: &mut Table, above: Vec<i32>) {
        for wd in above {
            table.watches.entry(wd).or_default().above.clear();
            self.remove_if_unused(table, wd);
        }
    }

    fn add(&self, table: &mut Table, file: &OwnedFd, flags: WatchFlags) -> rustix::io::Result<i32> {
        let device = stat_of(file)?.device();
        let telling = match table.telling.get(&device) {
            Some(telling) => *telling,
            None => {
                let kind = rustix::fs::fstatfs(file)?.f_type as u64;
                let telling = TELLING.contains(&kind);
                table.telling.insert(device, telling);
                telling
            }
        };
        if !telling {
            return Err(Errno::OPNOTSUPP);
        }
        let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        // The same inode has one watch: it gets more to tell.
        inotify::add_watch(&self.inotify, path, flags | WatchFlags::MASK_ADD)
    }

    fn read_news(&self, table: &mut Table) -> rustix::io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); NEWS];
        let mut news = Reader::new(&self.inotify, &mut buffer);
        loop {
            match news.next() {
                Ok(event) => {
                    self.tell(table, event.wd(), event.events(), event.file_name().map(|name| name.to_bytes()))
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    fn tell(&self, table: &mut Table, wd: i32, what: ReadFlags, name: Option<&[u8]>) {
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            return self.begin_epoch(table); // some news is lost
        }
        let Some(watched) = table.watches.get(&wd) else { return }; // watched no longer
        self.has_told.store(true, Relaxed);
        let mut ends = false;
        match name {
            Some(name) => {
                watched.tell_of(name);
                mark(&watched.any_name);
                // A sidecar of that name: see `find`.
                let stems =
                    ContentCoding::ALL.iter().filter_map(|coding| name.strip_suffix(coding.suffix().as_bytes()));
                stems.for_each(|stem| watched.tell_of(stem));
                ends |= watched.above.iter().any(|above| **above == *name);
            }
            None => {
                mark(&watched.entries);
                ends |= watched.beneath > 0 || !watched.above.is_empty();
            }
        }
        if what.contains(ReadFlags::IGNORED) {
            watched.names.values().chain([&watched.any_name]).for_each(|entries| mark(entries));
            table.watches.remove(&wd);
        }
        if ends {
            self.begin_epoch(table);
        }
    }

    /// Nothing that was told before counts any longer, and folders are found anew. Watches stay as long as entries do.
    fn begin_epoch(&self, table: &mut Table) {
        self.epoch.fetch_add(1, Relaxed); // published with `read`
        self.has_told.store(true, Relaxed);
        for wd in std::mem::take(&mut table.folders).into_values() {
            table.watches.entry(wd).or_default().path = None;
            self.remove_if_unused(table, wd);
        }
        let above = table.above.take();
        self.forget_above(table, above.unwrap_or_default());
    }

    fn remove_if_unused(&self, table: &mut Table, wd: i32) {
        if table.watches.get(&wd).is_some_and(Watched::is_unused) {
            if let Some(path) = table.watches.remove(&wd).and_then(|watched| watched.path) {
                table.folders.remove(&path);
            }
            let _ = inotify::remove_watch(&self.inotify, wd); // an error: the kernel has removed it itself
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    fn tell_of(&self, name: &[u8]) {
        self.names.get(name).into_iter().for_each(|entries| mark(entries));
    }

    fn is_unused(&self) -> bool {
        self.entries.is_empty()
            && self.any_name.is_empty()
            && self.names.is_empty()
            && self.above.is_empty()
            && self.beneath == 0
    }
}

fn mark(entries: &[Arc<AtomicBool>]) {
    entries.iter().for_each(|changed| changed.store(true, Relaxed)); // published with `Watcher::read`
}

impl Watch {
    /// Whether nothing was told, until the last [`catch_up`](Watcher::catch_up).
    pub fn holds(&self) -> bool {
        !self.changed.load(Relaxed) && self.epoch == self.watcher.epoch.load(Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut table = self.watcher.table();
        for place in self.places.drain(..) {
            let (Place::Inode(wd) | Place::Name(wd, _) | Place::AnyName(wd) | Place::Beneath(wd)) = place;
            let Some(watched) = table.watches.get_mut(&wd) else { continue };
            let others = |entry: &Arc<AtomicBool>| !Arc::ptr_eq(entry, &self.changed);
            match place {
                Place::Inode(_) => watched.entries.retain(others),
                Place::AnyName(_) => watched.any_name.retain(others),
                Place::Name(_, name) => {
                    let entries = watched.names.get_mut(&name).map(|entries| {
                        entries.retain(others);
                        entries.is_empty()
                    });
                    if entries == Some(true) {
                        watched.names.remove(&name);
                    }
                }
                Place::Beneath(_) => watched.beneath = watched.beneath.saturating_sub(1),
            }
            self.watcher.remove_if_unused(&mut table, wd);
        }
    }
}

#[cfg(test)]
mod tests;
