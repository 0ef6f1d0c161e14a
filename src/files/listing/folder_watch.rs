//! Sets watches for a folder and its entries, so that the kernel reports their changes. Called by `entries` while a
//! folder is read for the cache.
//!
//! A folder is watched before its names are read, and an entry before its metadata is read. So every later change is
//! reported. An entry that cannot be watched (a link, the root of a mounted file system) is checked before each use.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::FileType;

use super::super::find::Finder;
use super::super::folders::same_folder;
use super::super::open::Symlinks;
use super::super::path;
use super::super::stat::{FileStat, Identity, Kind, stat_of};
use super::super::watch::Watch;

/// How many entries can be checked before each use; a folder with more of them is not cached.
const MAX_CHECKED: usize = 16;

/// The watch of a folder that is being read, with all its entries.
pub(super) struct Watching<'a> {
    finder: &'a Finder,
    path: &'a [u8],
    watch: Setting,
    checked: Vec<Checked>,
    /// How many entries can be watched.
    most: usize,
    device: Option<(u32, u32)>,
    inodes: Inodes,
}

enum Setting {
    /// A new watch: entries are added as they are found.
    New(Watch),
    /// The watch of an earlier reading, which contains all entries.
    Set(WatchedFolder),
}

#[derive(Clone, Debug)]
pub(super) struct WatchedFolder {
    pub watch: Arc<Watch>,
    inodes: Inodes,
}

/// A sum over the inodes of a folder and its entries. It shows whether they are the watched ones. Mounting a file
/// system changes them without a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Inodes(u64);

impl Inodes {
    fn add(&mut self, ((major, minor), inode): Identity) {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15; // spreads values that differ in few bits
        let device = (u64::from(major) << 32 | u64::from(minor)).wrapping_mul(ODD).rotate_left(29);
        self.0 = self.0.wrapping_add((inode ^ device).wrapping_mul(ODD).rotate_left(31).wrapping_mul(ODD));
    }
}

/// An entry that is checked: its path, and the metadata of its target.
#[derive(Debug)]
pub(super) struct Checked(Vec<u8>, Option<FileStat>);

impl Checked {
    /// Returns whether its target is unchanged.
    pub fn holds(&self, finder: &Finder) -> bool {
        stat_of_path(finder, &self.0) == self.1
    }
}

/// Returns the visible metadata of an entry; for a link, of its target, if links are followed there.
fn stat_of_path(finder: &Finder, path: &[u8]) -> Option<FileStat> {
    let stat = finder.root.stat_itself(path).ok().filter(|stat| stat.kind != Kind::Link);
    stat.or_else(|| finder.root.stat_checked(path).ok())
}

impl<'a> Watching<'a> {
    /// Watches the folder; `None`: it cannot be watched. `before`: the watch of an earlier reading, if that is still
    /// valid.
    pub fn new(finder: &'a Finder, path: &'a [u8], before: Option<WatchedFolder>, most: usize) -> Option<Watching<'a>> {
        let watch = match before {
            Some(before) => Setting::Set(before),
            None => Setting::New(finder.freshness.watch_listing(&finder.root, path)?),
        };
        Some(Watching { finder, path, watch, checked: Vec::new(), most, device: None, inodes: Inodes::default() })
    }

    /// Returns `None` if the folder being read is not the watched one.
    pub fn begin(mut self, folder: &OwnedFd) -> Option<Watching<'a>> {
        same_folder(&self.finder.root, self.path, folder)?;
        let identity = stat_of(folder).ok()?.identity();
        self.device = Some(identity.0);
        self.inodes.add(identity);
        Some(self)
    }

    /// Watches an entry whose metadata is read next. `None`: its changes cannot be detected.
    pub fn expect(mut self, folder: &OwnedFd, name: &CStr, kind: FileType) -> Option<Watching<'a>> {
        let is_folder = match kind {
            FileType::RegularFile => false,
            FileType::Directory => true,
            FileType::Symlink => return Some(self),
            _ => return None,
        };
        if let Setting::New(watch) = &mut self.watch {
            self.most = self.most.checked_sub(1)?;
            watch.add(folder, name, is_folder).ok()?;
        }
        Some(self)
    }

    /// Records the metadata of an entry. `None`: too many have to be checked.
    pub fn found(mut self, name: &CStr, kind: FileType, stat: Option<&FileStat>) -> Option<Watching<'a>> {
        let is_mounted = stat.is_some_and(|stat| Some(stat.identity().0) != self.device);
        let is_followed = kind == FileType::Symlink && self.finder.root.symlinks != Symlinks::Deny;
        if is_mounted || is_followed {
            if self.checked.len() == MAX_CHECKED {
                return None;
            }
            self.checked.push(Checked(path::join(self.path, name.to_bytes()), stat.copied()));
        }
        if let Some(stat) = stat.filter(|_| kind != FileType::Symlink) {
            self.inodes.add(stat.identity());
        }
        Some(self)
    }

    /// Returns the watched entries and the checked ones. `None`: not all entries are watched.
    pub fn end(self) -> Option<(WatchedFolder, Vec<Checked>)> {
        let watched = match self.watch {
            Setting::New(watch) => WatchedFolder { watch: Arc::new(watch), inodes: self.inodes },
            Setting::Set(watched) => watched,
        };
        (watched.inodes == self.inodes).then_some((watched, self.checked))
    }
}
