//! The entries that depend on an inode. Used by `watch`. It makes no system calls.
//!
//! There is one `Watched` for each entry of a listing, so the parts that only folders need are boxed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The cache entries to notify of changes of an inode.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// Entries that depend on the inode itself.
    pub entries: Vec<Arc<AtomicBool>>,
    folder: Option<Box<Folder>>,
}

#[derive(Debug, Default)]
pub(super) struct Folder {
    /// Entries that depend on all names in it.
    pub any_name: Vec<Arc<AtomicBool>>,
    /// Entries that depend on these names, in lower case like all names here.
    pub names: HashMap<Box<[u8]>, Vec<Arc<AtomicBool>>>,
    /// Names in the folder that lead to the root.
    pub above: Vec<Box<[u8]>>,
    /// How many entries are below the folder.
    pub beneath: usize,
    /// The key of the folder in `Table::folders`.
    pub path: Option<Vec<u8>>,
}

/// A list of a `Watched` that an entry can be in. Each keeps the inode watched.
#[derive(Debug)]
pub(super) enum WatchedList {
    Inode(i32),
    Name(i32, Box<[u8]>),
    AnyName(i32),
    Beneath(i32),
}

impl WatchedList {
    pub fn wd(&self) -> i32 {
        let (WatchedList::Inode(wd) | WatchedList::Name(wd, _) | WatchedList::AnyName(wd) | WatchedList::Beneath(wd)) =
            self;
        *wd
    }
}

impl Watched {
    pub fn folder(&mut self) -> &mut Folder {
        self.folder.get_or_insert_default()
    }

    /// Called when something with this name was created, deleted or changed.
    pub fn report_change(&self, name: &[u8]) {
        if let Some(folder) = &self.folder {
            mark(&folder.any_name);
            folder.names.get(name).into_iter().for_each(|entries| mark(entries));
        }
    }

    /// Called when the kernel reports no more changes of names in the folder.
    pub fn report_all(&self) {
        if let Some(folder) = &self.folder {
            folder.names.values().chain([&folder.any_name]).for_each(|entries| mark(entries));
        }
    }

    pub fn leads_to_root_by(&self, name: &[u8]) -> bool {
        self.folder.as_ref().is_some_and(|folder| folder.above.iter().any(|above| **above == *name))
    }

    /// Returns whether the folder is above an entry or above the root.
    pub fn is_on_a_way(&self) -> bool {
        self.folder.as_ref().is_some_and(|folder| folder.beneath > 0 || !folder.above.is_empty())
    }

    pub fn forget(&mut self, place: WatchedList, changed: &Arc<AtomicBool>) {
        let others = |entry: &Arc<AtomicBool>| !Arc::ptr_eq(entry, changed);
        match place {
            WatchedList::Inode(_) => self.entries.retain(others),
            WatchedList::AnyName(_) => self.folder().any_name.retain(others),
            WatchedList::Name(_, name) => {
                let names = &mut self.folder().names;
                let entries = names.get_mut(&name).map(|entries| {
                    entries.retain(others);
                    entries.is_empty()
                });
                if entries == Some(true) {
                    names.remove(&name);
                }
            }
            WatchedList::Beneath(_) => self.folder().beneath = self.folder().beneath.saturating_sub(1),
        }
    }

    pub fn into_path(self) -> Option<Vec<u8>> {
        self.folder.and_then(|folder| folder.path)
    }

    pub fn is_unused(&self) -> bool {
        self.entries.is_empty() && self.folder.as_ref().is_none_or(|folder| folder.is_unused())
    }
}

impl Folder {
    fn is_unused(&self) -> bool {
        self.any_name.is_empty() && self.names.is_empty() && self.above.is_empty() && self.beneath == 0
    }
}

pub(super) fn mark(entries: &[Arc<AtomicBool>]) {
    entries.iter().for_each(|changed| changed.store(true, Relaxed)); // published with `Watcher::read`
}
