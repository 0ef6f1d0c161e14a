//! The names in folders, cached until the kernel reports that one was added or removed. So most lookups find out
//! without the disk that a name is missing, that a file has no sidecars, or that a name is a regular file that can be
//! opened at once. Called by `find`.
//!
//! Only hashes of names are stored, with a random key per process. A missing name whose hash equals that of an existing
//! one is looked up on the disk. So "missing" is certain here, and "exists" is a guess.
//!
//! Cached listings have the same pause after a change (`fresh::next_reading`). But without a cached listing the folder
//! is read for each request, and a cached listing is renewed under the same watches. So each module has its own rule
//! for when to read.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Instant, SystemTime};

use rustix::fs::{Dir, FileType};

use super::cache::{Cache, CacheLimits};
use super::fresh::{Evidence, Freshness, next_reading};
use super::open::Root;
use super::rights::Unjudged;
use super::stat::{FileStat, Kind, stat_in, stat_of};

/// The maximum number of folders, and the bytes of all their hashes.
const LIMITS: CacheLimits = CacheLimits { files: 1024, bytes_each: 0, bytes_in_all: 8 << 20, open: 0 };
/// Folders with more names are not kept: reading them takes too long.
const MAX_NAMES: usize = 100_000;
/// A folder is read at its fourth lookup, so that a folder requested only once is not read.
const READ_AT: u32 = 4;

#[derive(Debug)]
pub(super) struct Folders {
    cache: Cache<Folder>,
    keys: RandomState,
}

/// A folder that is requested often: its names, once they are read.
#[derive(Debug)]
enum Folder {
    Requested { times: AtomicU32, not_before: Instant },
    Known(Arc<Names>, Instant),
}

/// The current names in a folder.
#[derive(Debug)]
pub(super) struct Names {
    pub stat: FileStat,
    basis: Evidence,
    keys: RandomState,
    files: HashSet<u64>,
    others: HashSet<u64>,
}

impl Names {
    /// Returns whether this name may exist.
    pub fn contains(&self, name: &[u8]) -> bool {
        let hash = self.keys.hash_one(name);
        self.files.contains(&hash) || self.others.contains(&hash)
    }

    /// Returns whether this was the name of a regular file when the folder was read.
    pub fn is_file(&self, name: &[u8]) -> bool {
        self.files.contains(&self.keys.hash_one(name))
    }
}

impl Folders {
    pub fn new() -> Folders {
        Folders { cache: Cache::new(LIMITS), keys: RandomState::new() }
    }

    pub fn clear(&self) {
        self.cache.clear();
    }

    /// Drops the names of folders that have changed.
    pub fn drop_ended(&self, freshness: &Freshness, now: Instant) {
        self.cache.retain(|folder| match folder {
            Folder::Known(names, _) => !freshness.has_ended(&names.basis, now),
            Folder::Requested { .. } => true,
        });
    }

    /// Returns the names in a folder, if they are known and valid for requests that arrived with this poll.
    pub fn names(
        &self,
        freshness: &Freshness,
        root: &Root,
        path: &[u8],
        polled: Option<Instant>,
    ) -> Option<Arc<Names>> {
        let known = self.cache.get(path);
        let not_before = match known.as_deref() {
            Some(Folder::Known(names, not_before)) => {
                if freshness.holds(&names.basis, root, polled) {
                    return Some(Arc::clone(names));
                }
                Some(*not_before)
            }
            Some(Folder::Requested { times, not_before }) => {
                let is_time = times.fetch_add(1, Relaxed) + 1 >= READ_AT && *not_before <= Instant::now();
                // Several requests can find that the folder is due; one of them reads it.
                return if is_time && times.swap(0, Relaxed) >= READ_AT {
                    self.read(freshness, root, path)
                } else {
                    None
                };
            }
            None => None,
        };
        self.wait(path, not_before);
        None
    }

    fn wait(&self, path: &[u8], not_before: Option<Instant>) {
        let asked = Folder::Requested { times: AtomicU32::new(1), not_before: not_before.unwrap_or_else(Instant::now) };
        self.cache.put(path, Arc::new(asked), (0, 0));
    }

    /// The root is checked first, because the request that asks for the names uses them without a further check. The
    /// watch is set before the folder is read, so changes in between are reported.
    fn read(&self, freshness: &Freshness, root: &Root, path: &[u8]) -> Option<Arc<Names>> {
        let begin = Instant::now();
        freshness.ask_for_root(root);
        self.wait(path, Some(next_reading(begin))); // other requests do not read it in the meantime
        let names = self.try_read(freshness, root, path);
        let not_before = next_reading(begin);
        let Some(names) = names.map(Arc::new) else {
            self.wait(path, Some(not_before));
            return None;
        };
        let bytes = (names.files.capacity() + names.others.capacity()) * 9; // hashbrown: the hash and a control byte
        self.cache.put(path, Arc::new(Folder::Known(Arc::clone(&names), not_before)), (bytes, 0));
        Some(names)
    }

    fn try_read(&self, freshness: &Freshness, root: &Root, path: &[u8]) -> Option<Names> {
        let watch = freshness.watch_folder(root, path)?;
        let folder = root.open_folder(&Unjudged(path)).ok()?;
        let stat = stat_of(&folder).ok()?;
        if stat.is_recent(SystemTime::now()) {
            return None;
        }
        let (mut files, mut others, mut shown) = (HashSet::new(), HashSet::new(), None);
        for entry in Dir::read_from(&folder).ok()? {
            let entry = entry.ok()?;
            if files.len() + others.len() == MAX_NAMES {
                return None;
            }
            let name = entry.file_name().to_bytes();
            if shown.is_none() {
                shown = other_case(name);
            }
            let is_file = entry.file_type() == FileType::RegularFile;
            if is_file { &mut files } else { &mut others }.insert(self.keys.hash_one(name));
        }
        let folds = |name: &Vec<u8>| {
            let is_listed = [&files, &others].iter().any(|names| names.contains(&self.keys.hash_one(&name[..])));
            !is_listed && stat_in(&folder, &name[..]).is_ok()
        };
        if shown.as_ref().is_some_and(folds) {
            return None; // the file system also finds a name in other spellings
        }
        same_folder(root, path, &folder)?;
        let basis = Evidence::watched(path.to_vec(), stat, watch);
        Some(Names { stat, basis, keys: self.keys.clone(), files, others })
    }
}

/// Returns the name with the case of its first letter changed, or `None` if it has no letter.
fn other_case(name: &[u8]) -> Option<Vec<u8>> {
    let letter = name.iter().position(u8::is_ascii_alphabetic)?;
    let mut name = name.to_vec();
    name[letter] ^= 0x20; // in ASCII, the case
    Some(name)
}

/// Returns `None` unless the watched folder is the folder that was read, which means that its path contains no link.
pub(super) fn same_folder(root: &Root, path: &[u8], folder: &OwnedFd) -> Option<()> {
    let found = root.stat_without_links(path).ok()?;
    (found.kind == Kind::Folder && found.identity() == stat_of(folder).ok()?.identity()).then_some(())
}
