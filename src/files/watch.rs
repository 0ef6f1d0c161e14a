//! Changes reported by the kernel (inotify), so that cached content can be used without checking the disk. Called by
//! `fresh`.
//!
//! # Why it is sufficient
//! A change is queued before the system call that makes it returns (inotify(7); `fsnotify` runs within it). A client
//! that sends a request after an edit sends it after the event was queued. So if the queue was read since the request
//! arrived, and no event concerns an entry, the entry is as valid as after checking the disk.
//!
//! For an entry these are watched:
//! - the file itself and its sidecars, by inode: a change by another name (a hard link) is also reported;
//! - its folder: names that appear, disappear or are replaced; those that the entry depends on count;
//! - each folder from the root down to it, for being moved, deleted or locked; and each folder on the way to the root,
//!   for the names on that way. These change seldom, and then all earlier results are invalid.
//!
//! A listing shows the size and date of each entry, so each is watched by inode like a file. A folder in it is also
//! watched for its names, because they change its date. Watching only the listed folder is not enough: it gets no
//! events for writes by another name of a file, by a descriptor that was opened by such a name, or into a folder in it.
//!
//! Watches are set on descriptors (`/proc/self/fd`) that were opened without following a link and whose metadata is the
//! same as when the entry was made: never on something that replaced it. Content in memory is read once more after its
//! watch is set: a write that was in progress before has then ended, or is reported when it does.
//!
//! # What is not reported
//! A file system that is mounted over a folder, and asynchronous writes (`io_submit`): for these, `fresh` checks the
//! disk once a second. Writes through a shared mapping to a page that is already dirty, which the kernel does not date
//! either: for these it reads again every half minute. File systems that change elsewhere (network, FUSE, the layers of
//! an overlay), and folders that find names in other spellings than the reported ones, are not watched (`TELLING`,
//! `CASEFOLD`). Without `/proc`, without watches left (`fs.inotify.max_user_watches`) or instances, or with a link in
//! the path, an entry is not watched, and the disk is checked.

use std::collections::HashMap;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::codings::ContentCoding;
use super::open::Root;
use super::stat::{FileStat, Identity, Kind, stat_of};

mod watched; // which entries an event concerns

use watched::{Place, Watched, mark};

/// File systems that report every change, because each is made through this kernel: ext2 to ext4, XFS, Btrfs, F2FS,
/// Bcachefs, tmpfs and ramfs; and those that never change, SquashFS and EROFS. By the numbers in statfs(2). ZFS can
/// find a name by other bytes than the reported ones.
const TELLING: [u64; 9] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0xca45_1a4e, 0x0102_1994, 0x8584_58f6, 0x7371_7368, 0xe0f5_e1e2];

/// `FS_CASEFOLD_FL` of a folder (`chattr +F`): ext4, F2FS, Bcachefs and tmpfs find its names in other spellings than
/// the reported ones, such as the other case. XFS created with that option does so for the case of ASCII only, without
/// a flag. Therefore names are compared in lower case everywhere.
const CASEFOLD: u32 = 0x4000_0000;

/// More events than this at once count as lost: the queue has no more unless `fs.inotify.max_queued_events` was raised.
const MOST_NEWS: usize = 20_000;

/// After this many watches have been removed, their events are read: the queue has room for 16,384 by default.
const ENDS: usize = 1024;

/// Room for this many bytes of events in one read; a name takes up to 272.
const NEWS: usize = 4096;

/// The events of a file: its content, its metadata, its number of links.
const FILE: WatchFlags = WatchFlags::MODIFY.union(SELF);
/// The events of a served folder: its names. `ATTRIB` reports its own permissions.
const FOLDER: WatchFlags = NAMES.union(SELF).union(WatchFlags::ONLYDIR);
/// The events of a folder in a listing: also its date, which `utimensat` can set without `ATTRIB`. So writes to files
/// in it are also reported, by their names: these do not concern the folder, but take room in the queue.
const LISTED_FOLDER: WatchFlags = FOLDER.union(WatchFlags::MODIFY);
/// The events of a folder on the way to the root.
const ABOVE: WatchFlags = NAMES.union(GONE).union(WatchFlags::ONLYDIR);
const NAMES: WatchFlags =
    WatchFlags::CREATE.union(WatchFlags::DELETE).union(WatchFlags::MOVED_FROM).union(WatchFlags::MOVED_TO);
const SELF: WatchFlags = WatchFlags::ATTRIB.union(GONE);
const GONE: WatchFlags = WatchFlags::DELETE_SELF.union(WatchFlags::MOVE_SELF);

/// Reports which of the watched entries can be used.
#[derive(Debug)]
pub(super) struct Watcher {
    inotify: OwnedFd,
    started: Instant,
    /// When the last complete reading of events began, in nanoseconds since `started`, plus one; 0: never.
    read: AtomicU64,
    /// Incremented whenever all earlier results become invalid.
    epoch: AtomicU64,
    /// Whether a change of an entry was reported since the last check.
    has_told: AtomicBool,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    watches: HashMap<i32, Watched>,
    /// The watches of folders that are served, by path, as found in this epoch.
    folders: HashMap<Vec<u8>, (i32, Identity)>,
    /// The way to the root, as found in this epoch; `None`: not yet.
    above: Option<Above>,
    /// How often the root had been replaced when this epoch began: another watcher may have noticed it.
    replaced: u64,
}

/// How a replacement of the root is noticed.
#[derive(Debug)]
enum Above {
    /// By these watches.
    Watched(Vec<i32>),
    /// A folder on the way cannot be watched: the disk is checked once per poll, by one `statx`.
    Asked,
}

/// The folders on the way to the root, open, with the names that are looked up in them; `None` if one cannot be
/// watched.
type Way = Option<Vec<(OwnedFd, Box<[u8]>)>>;

/// A watched entry. Dropping it ends the watch.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: Arc<Watcher>,
    epoch: u64,
    changed: Arc<AtomicBool>,
    places: Vec<Place>,
}

impl Table {
    /// Drops what was watched by this.
    fn forget(&mut self, wd: i32) {
        if let Some(path) = self.watches.remove(&wd).and_then(Watched::into_path) {
            self.folders.remove(&path);
        }
    }
}

impl Watcher {
    /// `None`: the user has the maximum number of instances (`fs.inotify.max_user_instances`).
    pub fn new() -> Option<Arc<Watcher>> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
        Some(Arc::new(Watcher {
            inotify,
            started: Instant::now(),
            read: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            has_told: AtomicBool::new(false),
            table: Mutex::default(),
        }))
    }

    /// Reads the events until then, unless another thread has begun to since.
    pub fn catch_up(&self, root: &Root, until: Instant) {
        let until = self.nanos(until);
        // Acquire: a thread that sees this also sees what was marked before it was stored.
        if self.read.load(Acquire) >= until {
            return;
        }
        let mut table = self.table();
        if self.read.load(Acquire) >= until {
            return; // by the thread that had the lock
        }
        let until = until.min(self.nanos(Instant::now())); // nobody can have asked later
        let is_lost = self.read_news(&mut table).is_err();
        if matches!(table.above, Some(Above::Asked)) {
            root.reopen_if_replaced();
        }
        let replaced = root.location().replaced();
        if is_lost || replaced != table.replaced {
            self.begin_epoch(&mut table);
            table.replaced = replaced;
        }
        self.read.fetch_max(until, Release);
    }

    fn nanos(&self, when: Instant) -> u64 {
        when.saturating_duration_since(self.started).as_nanos() as u64 + 1
    }

    /// How many inodes are watched.
    #[cfg(test)]
    pub fn watched(&self) -> usize {
        self.table().watches.len()
    }

    /// Something has changed without a report.
    pub fn forget_all(&self, root: &Root) {
        let mut table = self.table();
        self.begin_epoch(&mut table);
        table.replaced = root.location().replaced();
    }

    /// Whether a change of an entry was reported since the last call.
    pub fn take_told(&self) -> bool {
        self.has_told.swap(false, Acquire)
    }

    /// Watches these files, all in one folder, and names that come or go in it: these names, or any with `None`.
    ///
    /// The files must then be found unchanged: what happened before the first watch was set is not reported.
    ///
    /// # Errors
    /// Why it can't be watched.
    pub fn watch(
        self: &Arc<Self>,
        root: &Root,
        files: &[(Vec<u8>, FileStat)],
        folder: &[u8],
        names: Option<&[Vec<u8>]>,
    ) -> rustix::io::Result<Watch> {
        let (watcher, epoch, changed) = (Arc::clone(self), self.epoch.load(Relaxed), Arc::new(AtomicBool::new(false)));
        let mut watch = Watch { watcher, epoch, changed, places: Vec::new() }; // dropped after the table is unlocked
        // Everything is opened and checked before the table is locked: a file system that does not answer delays no
        // other thread.
        let knows_way = self.table().above.is_some();
        let way = if knows_way { None } else { way_to(root)? };
        let ends = memchr::memchr_iter(b'/', folder).chain((!folder.is_empty()).then_some(folder.len()));
        let paths = std::iter::once(0).chain(ends).map(|end| &folder[..end]);
        let folders = paths.map(|path| Ok((path, telling(root, path)?))).collect::<rustix::io::Result<Vec<_>>>()?;
        let open = |(path, known): &(Vec<u8>, FileStat)| {
            let (file, stat) = telling(root, path)?;
            if stat == *known { Ok(file) } else { Err(Errno::STALE) }
        };
        let files = files.iter().map(open).collect::<rustix::io::Result<Vec<_>>>()?;

        let mut table = self.table();
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
            watch.places.push(Place::Beneath(wd));
        }
        let watched = table.watches.entry(wd).or_default().folder(); // that of the last
        match names {
            None => {
                watched.any_name.push(Arc::clone(&watch.changed));
                watch.places.push(Place::AnyName(wd));
            }
            Some(names) => {
                for name in names.iter().map(|name| name.to_ascii_lowercase().into_boxed_slice()) {
                    watched.names.entry(name.clone()).or_default().push(Arc::clone(&watch.changed));
                    watch.places.push(Place::Name(wd, name));
                }
            }
        }
        for file in &files {
            let wd = self.add(file, FILE)?;
            table.watches.entry(wd).or_default().entries.push(Arc::clone(&watch.changed));
            watch.places.push(Place::Inode(wd));
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
                self.begin_epoch(table); // another folder is there without a report: a file system was mounted
                Err(Errno::AGAIN)
            }
            None => {
                let wd = self.add(folder, FOLDER)?;
                let known = &mut table.watches.entry(wd).or_default().folder().path;
                if let Some(other) = known.replace(path.to_vec()) {
                    table.folders.remove(&other); // mounted at both: the watch of one of them ends with it
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
            match self.add(&folder, ABOVE) {
                Ok(wd) => {
                    table.watches.entry(wd).or_default().folder().above.push(name.to_ascii_lowercase().into());
                    above.push(wd);
                }
                Err(errno) => {
                    self.forget_way(table, above);
                    // It can be passed through, but not read.
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

    fn add(&self, file: &OwnedFd, flags: WatchFlags) -> rustix::io::Result<i32> {
        let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        // The same inode has one watch, which gets more events.
        inotify::add_watch(&self.inotify, path, flags | WatchFlags::MASK_ADD)
    }

    fn read_news(&self, table: &mut Table) -> rustix::io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); NEWS];
        let mut news = Reader::new(&self.inotify, &mut buffer);
        for _ in 0..MOST_NEWS {
            match news.next() {
                Ok(event) => {
                    self.tell(table, event.wd(), event.events(), event.file_name().map(|name| name.to_bytes()))
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::OVERFLOW) // it is written to as fast as events are read
    }

    fn tell(&self, table: &mut Table, wd: i32, what: ReadFlags, name: Option<&[u8]>) {
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            return self.begin_epoch(table); // some news is lost
        }
        if name.is_some() && what.difference(ReadFlags::ISDIR) == ReadFlags::MODIFY {
            return; // see `LISTED_FOLDER`
        }
        let Some(watched) = table.watches.get(&wd) else { return }; // not watched any more
        let mut ends = false;
        match name {
            Some(name) => {
                let name = &name.to_ascii_lowercase()[..]; // see `CASEFOLD`
                watched.tell_of(name);
                // A sidecar of that name: see `find`.
                let stems =
                    ContentCoding::ALL.iter().filter_map(|coding| name.strip_suffix(coding.suffix().as_bytes()));
                stems.for_each(|stem| watched.tell_of(stem));
                ends |= watched.leads_to_root_by(name);
            }
            None => {
                mark(&watched.entries);
                ends |= watched.is_on_a_way();
            }
        }
        if what.contains(ReadFlags::IGNORED) {
            watched.tell_all();
            table.forget(wd); // another folder can get its name and its inode
        }
        if ends {
            self.begin_epoch(table);
        }
        self.has_told.store(true, Release); // a thread that sees this sees what is marked above
    }

    /// All earlier results become invalid, and folders are looked up again. Watches stay as long as entries do.
    fn begin_epoch(&self, table: &mut Table) {
        self.epoch.fetch_add(1, Relaxed); // published with `read`
        self.has_told.store(true, Release);
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
            let _ = inotify::remove_watch(&self.inotify, wd); // an error: the kernel has removed it itself
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The default maximum number of watched entries of listed folders: a quarter of the watches that the user can have.
pub(super) fn most_by_default() -> usize {
    let told = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches");
    told.ok().and_then(|most| most.trim().parse::<usize>().ok()).map_or(2048, |most| most / 4)
}

/// The folders on the way to the root, unless one of them is on a file system that does not report changes.
fn way_to(root: &Root) -> rustix::io::Result<Way> {
    let mut way = Some(Vec::new());
    root.location().walk(|folder, name| {
        if !tells(folder)? || folds_case(folder)? {
            way = None;
        }
        if let Some(way) = &mut way {
            way.push((rustix::io::fcntl_dupfd_cloexec(folder, 0)?, Box::from(name)));
        }
        Ok(())
    })?;
    Ok(way)
}

/// A path without links, on a file system that reports changes.
fn telling(root: &Root, path: &[u8]) -> rustix::io::Result<(OwnedFd, FileStat)> {
    let file = root.find_without_links(path)?;
    let stat = stat_of(&file)?;
    let tells = tells(&file)? && (stat.kind != Kind::Folder || !folds_case(&file)?);
    if tells { Ok((file, stat)) } else { Err(Errno::OPNOTSUPP) }
}

fn tells(file: &OwnedFd) -> rustix::io::Result<bool> {
    Ok(TELLING.contains(&(rustix::fs::fstatfs(file)?.f_type as u64)))
}

/// Whether a folder finds names in other spellings. If it cannot be read, that is unknown, and it is not watched.
fn folds_case(folder: &OwnedFd) -> rustix::io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = match rustix::fs::openat(folder, c".", flags, Mode::empty()) {
        Err(Errno::ACCESS) => return Ok(false),
        opened => opened?,
    };
    match rustix::fs::ioctl_getflags(folder) {
        Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(false), // no such flags there
        flags => Ok(flags?.bits() & CASEFOLD != 0),
    }
}

impl Watch {
    /// Also watches an entry of an open folder: the content and metadata of a file, and the names in a folder. What is
    /// found of it from now on is valid as long as this holds.
    ///
    /// Only for a watcher of listings: a file is reported once, so a log that is written all day does not fill the
    /// queue.
    ///
    /// # Errors
    /// Why it can't be watched.
    pub fn add(&mut self, folder: &OwnedFd, name: &CStr, is_folder: bool) -> rustix::io::Result<()> {
        let path = [format!("/proc/self/fd/{}/", folder.as_raw_fd()).as_bytes(), name.to_bytes()].concat();
        let flags = if is_folder { LISTED_FOLDER } else { FILE.union(WatchFlags::ONESHOT) };
        let mut table = self.watcher.table();
        let wd =
            inotify::add_watch(&self.watcher.inotify, path, flags | WatchFlags::DONT_FOLLOW | WatchFlags::MASK_ADD)?;
        let watched = table.watches.entry(wd).or_default();
        watched.entries.push(Arc::clone(&self.changed));
        self.places.push(Place::Inode(wd));
        if is_folder {
            watched.folder().any_name.push(Arc::clone(&self.changed));
            self.places.push(Place::AnyName(wd));
        }
        Ok(())
    }

    /// How many places are watched.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Reads the events until then.
    pub fn catch_up(&self, root: &Root, until: Instant) {
        self.watcher.catch_up(root, until);
    }

    /// Whether there was no event until the last [`catch_up`](Watcher::catch_up).
    pub fn holds(&self) -> bool {
        !self.changed.load(Relaxed) && self.epoch == self.watcher.epoch.load(Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut table = self.watcher.table();
        for (number, place) in self.places.drain(..).enumerate() {
            // Each end is an event as well, and more than the queue holds would count as lost events.
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
