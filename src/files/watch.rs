//! Changes reported by the kernel (by inotify, on systems that have it), so that cached content can be used without
//! checking the disk. Called by `fresh`.
//!
//! # Why it is sufficient
//! A change is queued before the system call that makes it returns (inotify(7); `fsnotify` runs within it). So a
//! request that a client sends after an edit is sent after the event was queued. If the queue is read after the request
//! arrived, and no event concerns an entry, the entry is as valid as after checking the disk.
//!
//! For each entry, the following are watched:
//! - the file itself and its sidecars, by inode: a change by another name (a hard link) is also reported;
//! - its folder: names that appear, disappear or are replaced, if the entry depends on them;
//! - each folder from the root down to the file, in case it is moved, deleted or becomes inaccessible; and each folder
//!   above the root, for the name that leads to the root. These change rarely, and a change makes all earlier results
//!   invalid.
//!
//! A listing shows the size and date of each entry, so each is watched by inode like a file. A listed folder within it
//! is also watched for its names, because a change of them changes its date. Watching only the folder of the listing is
//! not enough: it gets no events for writes through another name of a file, through a descriptor opened by such a name,
//! or into a subfolder.
//!
//! A watch is set on a descriptor (`/proc/self/fd`) that was opened without following a link and whose metadata is the
//! same as when the entry was created. So it is never set on a file that replaced the entry's. Content in memory is
//! read once more after its watch is set, because a write may have been in progress. A write that is still in progress
//! then is reported when it ends.
//!
//! # What is not reported
//! The kernel does not report that a file system is mounted over a folder, nor asynchronous writes (`io_submit`). For
//! these, `fresh` checks the disk once a second. A write through a shared mapping to a page that is already dirty is
//! not reported and does not change the file's times. For these, `fresh` reads content again every half minute. File
//! systems that other machines or programs can change (network, FUSE, the layers of an overlay) are not watched
//! (`TELLING`), nor are folders that find names in spellings other than the reported ones (`CASEFOLD`). An entry is
//! also not watched if there is no `/proc`, if the user has no watches (`fs.inotify.max_user_watches`) or instances
//! left, or if its path contains a link. The disk is then checked instead.

use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::io::Errno;

use super::codings::ContentCoding;
use super::open::Root;
use super::path;
use super::stat::{FileStat, Identity, Kind, stat_of};
use super::sys::{self, Change, Changes, Subject};
use crate::mutex::lock;

mod inode; // the entries that an event concerns

use inode::{Watched, WatchedList, mark};

/// After removing this many watches, their events are read, because by default the queue has room for 16,384 events.
const ENDS: usize = 1024;

/// Reports which of the watched entries can be used.
#[derive(Debug)]
pub(super) struct Watcher {
    changes: Changes,
    started: Instant,
    /// When the last complete reading of events began, in nanoseconds since `started`, plus one; 0: never.
    read: AtomicU64,
    /// Incremented whenever all earlier results become invalid.
    epoch: AtomicU64,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    watches: HashMap<i32, Watched>,
    /// The watches of folders that are served, by path, as found in this epoch.
    folders: HashMap<Vec<u8>, (i32, Identity)>,
    /// The folders above the root, as found in this epoch. `None`: not looked up yet.
    above: Option<Above>,
    /// How often the root had been replaced when this epoch began, because another watcher may notice a replacement
    /// first.
    replaced: u64,
}

/// How a replacement of the root is noticed.
#[derive(Debug)]
enum Above {
    /// These watches report it.
    Watched(Vec<i32>),
    /// A folder on the way cannot be watched, so one `statx` per poll checks the disk.
    Asked,
}

/// Open descriptors of the folders above the root, each with the name that is looked up in it. `None`: one of them
/// cannot be watched.
type Way = Option<Vec<(OwnedFd, Box<[u8]>)>>;

/// A watched entry. Dropping it ends the watch.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: Arc<Watcher>,
    epoch: u64,
    changed: Arc<AtomicBool>,
    places: Vec<WatchedList>,
}

impl Table {
    fn forget(&mut self, wd: i32) {
        if let Some(path) = self.watches.remove(&wd).and_then(Watched::into_path) {
            self.folders.remove(&path);
        }
    }
}

impl Watcher {
    /// `None` if the kernel reports no changes to this process.
    pub fn new() -> Option<Arc<Watcher>> {
        Some(Arc::new(Watcher {
            changes: Changes::new().ok()?,
            started: Instant::now(),
            read: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            table: Mutex::default(),
        }))
    }

    /// Reads the events up to this time, unless another thread has begun to read after it.
    pub fn catch_up(&self, root: &Root, until: Instant) {
        let until = self.nanos(until);
        // Acquire: a thread that sees this also sees what was marked before it was stored.
        if self.read.load(Acquire) >= until {
            return;
        }
        let mut table = lock(&self.table);
        if self.read.load(Acquire) >= until {
            return; // the thread that held the lock has read them
        }
        let until = until.min(self.nanos(Instant::now())); // no request has arrived later than now
        let is_lost = self.read_news(&mut table).is_err();
        if matches!(table.above, Some(Above::Asked)) {
            root.reopen_if_replaced();
        }
        let replaced = root.location.replaced();
        if is_lost || replaced != table.replaced {
            self.begin_epoch(&mut table);
            table.replaced = replaced;
        }
        self.read.fetch_max(until, Release);
    }

    fn nanos(&self, when: Instant) -> u64 {
        when.saturating_duration_since(self.started).as_nanos() as u64 + 1
    }

    #[cfg(test)]
    pub fn watched(&self) -> usize {
        lock(&self.table).watches.len()
    }

    /// Makes all earlier results invalid. Called when a change was found that had not been reported.
    pub fn forget_all(&self, root: &Root) {
        let mut table = lock(&self.table);
        self.begin_epoch(&mut table);
        table.replaced = root.location.replaced();
    }

    /// Watches these files, all in one folder, and names that appear or disappear in it: these names, or any with
    /// `None`.
    ///
    /// Check afterwards that the files are unchanged: changes before the first watch are not reported.
    ///
    /// # Errors
    /// The reason why one of them cannot be watched.
    pub fn watch(
        self: &Arc<Self>,
        root: &Root,
        files: &[(Vec<u8>, FileStat)],
        folder: &[u8],
        names: Option<&[Vec<u8>]>,
    ) -> rustix::io::Result<Watch> {
        let (watcher, epoch, changed) = (Arc::clone(self), self.epoch.load(Relaxed), Arc::new(AtomicBool::new(false)));
        // declared first, so dropped after the table is unlocked
        let mut watch = Watch { watcher, epoch, changed, places: Vec::new() };
        // Everything is opened and checked before the table is locked: a file system that does not answer delays no
        // other thread.
        let knows_way = lock(&self.table).above.is_some();
        let way = if knows_way { None } else { way_to(root)? };
        let paths = path::folders_above(folder).chain((!folder.is_empty()).then_some(folder));
        let folders =
            paths.map(|path| Ok((path, open_to_watch(root, path)?))).collect::<rustix::io::Result<Vec<_>>>()?;
        let open = |(path, known): &(Vec<u8>, FileStat)| {
            let (file, stat) = open_to_watch(root, path)?;
            if stat == *known { Ok(file) } else { Err(Errno::STALE) }
        };
        let files = files.iter().map(open).collect::<rustix::io::Result<Vec<_>>>()?;

        let mut table = lock(&self.table);
        if self.epoch.load(Relaxed) != epoch {
            return Err(Errno::AGAIN);
        }
        if table.above.is_none() {
            let above = if knows_way { return Err(Errno::AGAIN) } else { self.add_way(&mut table, way)? };
            table.above = Some(above);
        }
        let mut wd = 0;
        for (path, (file, stat)) in &folders {
            wd = self.add_folder(&mut table, path, file, stat.identity())?;
            table.watches.entry(wd).or_default().folder().beneath += 1;
            watch.places.push(WatchedList::Beneath(wd));
        }
        let watched = table.watches.entry(wd).or_default().folder(); // belongs to the folder that was added last
        match names {
            None => {
                watched.any_name.push(Arc::clone(&watch.changed));
                watch.places.push(WatchedList::AnyName(wd));
            }
            Some(names) => {
                for name in names.iter().map(|name| name.to_ascii_lowercase().into_boxed_slice()) {
                    watched.names.entry(name.clone()).or_default().push(Arc::clone(&watch.changed));
                    watch.places.push(WatchedList::Name(wd, name));
                }
            }
        }
        for file in &files {
            let wd = self.changes.watch(file, Subject::File)?;
            table.watches.entry(wd).or_default().entries.push(Arc::clone(&watch.changed));
            watch.places.push(WatchedList::Inode(wd));
        }
        drop(table);
        Ok(watch)
    }

    fn add_folder(
        &self,
        table: &mut Table,
        path: &[u8],
        folder: &OwnedFd,
        identity: Identity,
    ) -> rustix::io::Result<i32> {
        match table.folders.get(path) {
            Some((wd, known)) if *known == identity => Ok(*wd),
            Some(_) => {
                self.begin_epoch(table); // the path is another folder without a report: a file system was mounted
                Err(Errno::AGAIN)
            }
            None => {
                let wd = self.changes.watch(folder, Subject::Folder)?;
                let known = &mut table.watches.entry(wd).or_default().folder().path;
                if let Some(other) = known.replace(path.to_vec()) {
                    // the folder is mounted at both paths, and the watch of one of them ends with it
                    table.folders.remove(&other);
                }
                table.folders.insert(path.to_vec(), (wd, identity));
                Ok(wd)
            }
        }
    }

    fn add_way(&self, table: &mut Table, way: Way) -> rustix::io::Result<Above> {
        let Some(way) = way else { return Ok(Above::Asked) };
        let mut above = Vec::new();
        for (folder, name) in way {
            match self.changes.watch(&folder, Subject::Above) {
                Ok(wd) => {
                    table.watches.entry(wd).or_default().folder().above.push(name.to_ascii_lowercase().into());
                    above.push(wd);
                }
                Err(errno) => {
                    self.forget_way(table, above);
                    // The folder can be passed through, but not read.
                    return if errno == Errno::ACCESS { Ok(Above::Asked) } else { Err(errno) };
                }
            }
        }
        Ok(Above::Watched(above))
    }

    fn forget_way(&self, table: &mut Table, above: Vec<i32>) {
        for wd in above {
            table.watches.entry(wd).or_default().folder().above.clear();
            self.remove_if_unused(table, wd);
        }
    }

    fn read_news(&self, table: &mut Table) -> rustix::io::Result<()> {
        self.changes.read(|change| self.report(table, change))
    }

    fn report(&self, table: &mut Table, change: &Change<'_>) {
        if change.is_lost {
            return self.begin_epoch(table);
        }
        if change.name.is_some() && change.is_write {
            return; // an event of a folder in a listing: it does not concern that folder, but takes space in the queue
        }
        let wd = change.watch;
        let Some(watched) = table.watches.get(&wd) else { return }; // no longer watched
        let mut ends = false;
        match change.name {
            Some(name) => {
                // Some file systems find names in another case.
                let name = &name.to_ascii_lowercase()[..];
                watched.report_change(name);
                // The name may be that of a sidecar of one of these names: see `find`.
                let stems =
                    ContentCoding::ALL.iter().filter_map(|coding| name.strip_suffix(coding.suffix().as_bytes()));
                stems.for_each(|stem| watched.report_change(stem));
                ends |= watched.leads_to_root_by(name);
            }
            None => {
                mark(&watched.entries);
                ends |= watched.is_on_a_way();
            }
        }
        if change.is_end {
            watched.report_all();
            table.forget(wd); // a new folder can get the same name and inode
        }
        if ends {
            self.begin_epoch(table);
        }
    }

    /// Invalidates all earlier results, so that folders are looked up again. Watches stay as long as entries do.
    fn begin_epoch(&self, table: &mut Table) {
        self.epoch.fetch_add(1, Relaxed); // published with `read`
        for (wd, _) in std::mem::take(&mut table.folders).into_values() {
            table.watches.entry(wd).or_default().folder().path = None;
            self.remove_if_unused(table, wd);
        }
        if let Some(Above::Watched(above)) = table.above.take() {
            self.forget_way(table, above);
        }
    }

    fn remove_if_unused(&self, table: &mut Table, wd: i32) {
        if table.watches.get(&wd).is_some_and(Watched::is_unused) {
            table.forget(wd);
            self.changes.end(wd);
        }
    }
}

/// Returns the default maximum number of watched entries of listed folders: a quarter of the watches that the user can
/// have.
pub(super) fn most_by_default() -> usize {
    sys::max_watches().map_or(2048, |most| most / 4)
}

/// Returns the folders on the way to the root, unless one of them is on a file system that does not report changes.
fn way_to(root: &Root) -> rustix::io::Result<Way> {
    let mut way = Some(Vec::new());
    root.location.walk(|folder, name| {
        if !sys::reports_changes(folder, true)? {
            way = None;
        }
        if let Some(way) = &mut way {
            way.push((rustix::io::fcntl_dupfd_cloexec(folder, 0)?, Box::from(name)));
        }
        Ok(())
    })?;
    Ok(way)
}

/// Returns the file at a path without links, on a file system that reports changes.
fn open_to_watch(root: &Root, path: &[u8]) -> rustix::io::Result<(OwnedFd, FileStat)> {
    let file = root.find_without_links(path)?;
    let stat = stat_of(&file)?;
    let reports = sys::reports_changes(&file, stat.kind == Kind::Folder)?;
    if reports { Ok((file, stat)) } else { Err(Errno::OPNOTSUPP) }
}

impl Watch {
    /// Adds a watch for an entry of an open folder: the content and metadata of a file, and the names in a folder.
    /// Metadata that is read from now on is valid as long as this watch [`holds`](Watch::holds).
    ///
    /// Only for the watcher of listings: changes of a file are reported once, so that a log that is written all day
    /// does not fill the queue.
    /// # Errors
    /// The reason why it cannot be watched.
    pub fn add(&mut self, folder: &OwnedFd, name: &CStr, is_folder: bool) -> rustix::io::Result<()> {
        let mut table = lock(&self.watcher.table);
        let wd = self.watcher.changes.watch_entry(folder, name, is_folder)?;
        let watched = table.watches.entry(wd).or_default();
        watched.entries.push(Arc::clone(&self.changed));
        self.places.push(WatchedList::Inode(wd));
        if is_folder {
            watched.folder().any_name.push(Arc::clone(&self.changed));
            self.places.push(WatchedList::AnyName(wd));
        }
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Reads the events until then.
    pub fn catch_up(&self, root: &Root, until: Instant) {
        self.watcher.catch_up(root, until);
    }

    /// Returns whether no change was reported up to the last [`catch_up`](Watcher::catch_up).
    pub fn holds(&self) -> bool {
        !self.changed.load(Relaxed) && self.epoch == self.watcher.epoch.load(Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut table = lock(&self.watcher.table);
        for (number, place) in self.places.drain(..).enumerate() {
            // Each removed watch causes an event as well. If these events overflowed the queue, other events would be
            // lost.
            if number % ENDS == ENDS - 1 && self.watcher.read_news(&mut table).is_err() {
                self.watcher.begin_epoch(&mut table);
            }
            let wd = place.wd();
            let Some(watched) = table.watches.get_mut(&wd) else { continue };
            watched.forget(place, &self.changed);
            self.watcher.remove_if_unused(&mut table, wd);
        }
    }
}

#[cfg(test)]
mod tests;
