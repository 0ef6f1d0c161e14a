//! Of which entries of a folder the kernel tells. Called by `entries` while a folder is read that is to be kept.
//!
//! An entry is watched before its metadata is read, and the folder before its names are: so whatever changes afterwards is told. Where
//! an entry can't be watched as what is shown of it, a link or the root of a mounted file system, it is asked about before each use.

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

/// How many entries are asked about before each use; a folder with more of them is not kept.
const MAX_ASKED: usize = 16;

/// The watch of a folder that is being read, with all its entries.
pub(super) struct Told<'a> {
    finder: &'a Finder,
    /// The path of the folder.
    path: &'a [u8],
    watch: Setting,
    asked: Vec<Asked>,
    /// How many entries may be watched.
    most: usize,
    device: Option<(u32, u32)>,
    inodes: Inodes,
}

enum Setting {
    /// Entries are added as they are found.
    New(Watch),
    /// All are watched, from an earlier reading on.
    Set(WatchedFolder),
}

/// A folder that is watched, with these in it.
#[derive(Clone, Debug)]
pub(super) struct WatchedFolder {
    pub watch: Arc<Watch>,
    pub inodes: Inodes,
}

/// A sum over the inodes of a folder and its entries: whether they are those that are watched. None but a mounted file system makes them others, and that is
/// not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Inodes(u64);

impl Inodes {
    fn add(&mut self, ((major, minor), inode): Identity) {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15; // spreads what differs in few bits
        let device = (u64::from(major) << 32 | u64::from(minor)).wrapping_mul(ODD).rotate_left(29);
        self.0 = self.0.wrapping_add((inode ^ device).wrapping_mul(ODD).rotate_left(31).wrapping_mul(ODD));
    }
}

/// An entry that is asked about: its path, and what was found then of what it leads to.
#[derive(Debug)]
pub(super) struct Asked(Vec<u8>, Option<FileStat>);

impl Asked {
    /// Whether the same is found now.
    pub fn holds(&self, finder: &Finder) -> bool {
        stat_of_path(finder, &self.0) == self.1
    }
}

/// What is shown of an entry: of a link, what it leads to, if it is followed there.
fn stat_of_path(finder: &Finder, path: &[u8]) -> Option<FileStat> {
    let stat = finder.root.stat_itself(path).ok().filter(|stat| stat.kind != Kind::Link);
    stat.or_else(|| finder.root.stat_checked(path).ok())
}

impl<'a> Told<'a> {
    /// The folder is watched from now on; `None`: it can't be. `before`: as an earlier reading left it, if that still holds.
    pub fn new(finder: &'a Finder, path: &'a [u8], before: Option<WatchedFolder>, most: usize) -> Option<Told<'a>> {
        let watch = match before {
            Some(before) => Setting::Set(before),
            None => Setting::New(finder.freshness.watch_listing(&finder.root, path)?),
        };
        Some(Told { finder, path, watch, asked: Vec::new(), most, device: None, inodes: Inodes::default() })
    }

    /// It is this one that is read. `None`: another one is watched.
    pub fn begin(mut self, folder: &OwnedFd) -> Option<Told<'a>> {
        same_folder(&self.finder.root, self.path, folder)?;
        let identity = stat_of(folder).ok()?.identity();
        self.device = Some(identity.0);
        self.inodes.add(identity);
        Some(self)
    }

    /// An entry is about to be looked at. `None`: it can't be known what becomes of it.
    pub fn expect(mut self, folder: &OwnedFd, name: &CStr, kind: FileType) -> Option<Told<'a>> {
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

    /// This was found of it. `None`: too many have to be asked about.
    pub fn found(mut self, name: &CStr, kind: FileType, stat: Option<&FileStat>) -> Option<Told<'a>> {
        let is_mounted = stat.is_some_and(|stat| Some(stat.identity().0) != self.device);
        let is_followed = kind == FileType::Symlink && self.finder.root.symlinks() != Symlinks::Deny;
        if is_mounted || is_followed {
            if self.asked.len() == MAX_ASKED {
                return None;
            }
            self.asked.push(Asked(path::join(self.path, name.to_bytes()), stat.copied()));
        }
        if let Some(stat) = stat.filter(|_| kind != FileType::Symlink) {
            self.inodes.add(stat.identity());
        }
        Some(self)
    }

    /// What is watched, and what is asked about. `None`: not all that was found is watched.
    pub fn end(self) -> Option<(WatchedFolder, Vec<Asked>)> {
        let watched = match self.watch {
            Setting::New(watch) => WatchedFolder { watch: Arc::new(watch), inodes: self.inodes },
            Setting::Set(watched) => watched,
        };
        (watched.inodes == self.inodes).then_some((watched, self.asked))
    }
}
