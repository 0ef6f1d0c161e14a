//! Files and folders in a served folder that no request needs: those that a killed process left behind, and
//! folders that are removed. Called by `uploads`, with folders that `open` has found below the root. Each call here
//! identifies a file by such a folder and one segment.
//!
//! Files left behind by a killed process (see `crate::new_file`) are removed by the next upload to that folder, with
//! folders that it was removing.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, flock, openat, unlinkat};
use rustix::io::Errno;

use super::open::OpenFolder;
use super::stat::{Identity, Kind, stat_in, stat_of};
use super::sys;
use crate::mutex::lock;
use crate::new_file::removable::{is_removable, is_set_aside};
use crate::new_file::{MAX_DRAWS, PREFIX};

/// How many names of a folder are checked for files left behind.
const MAX_SWEPT: usize = 10_000;
/// How many searched folders are remembered.
const MAX_KNOWN: usize = 4096;

/// Folders that were searched for files left behind by a killed process.
#[derive(Debug, Default)]
pub(super) struct Swept(Mutex<HashSet<Identity>>);

impl Swept {
    /// Has this folder searched again by the next upload: something in it could not be removed.
    pub fn forget(&self, folder: &OpenFolder) {
        if let Ok(identity) = folder.identity() {
            lock(&self.0).remove(&identity);
        }
    }

    /// Removes files that no process is writing, once per folder.
    pub fn sweep(&self, folder: &OpenFolder) {
        let Ok(identity) = folder.identity() else { return };
        let mut known = lock(&self.0);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        if known.insert(identity) {
            drop(known);
            if let Err(errno) = sweep(folder) {
                log::debug!(target: "modest::files", "can't search for files of failed uploads: {errno}");
            }
        }
    }
}

fn sweep(folder: &OwnedFd) -> rustix::io::Result<()> {
    let listed = openat(folder, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for entry in Dir::read_from(&listed)?.take(MAX_SWEPT) {
        let entry = entry?;
        let name = entry.file_name();
        if !name.to_bytes().starts_with(PREFIX.as_bytes()) || is_set_aside(name.to_bytes()) {
            continue;
        }
        let is_removable = is_removable(name.to_bytes());
        // Only folders with such names can still be needed. Fails for a folder.
        if is_removable && unlinkat(folder, name, AtFlags::empty()).is_ok() {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        // The creator of a file or a folder holds a lock on it. Without locks nothing else is removed, because it may
        // belong to another process.
        if let Ok(file) = openat(folder, name, flags, Mode::empty())
            && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            // If it is already gone, nothing is left to do.
            let _ = match is_removable {
                true => remove_tree(folder, name.to_bytes()),
                false => unlinkat(folder, name, AtFlags::empty()),
            };
        }
    }
    Ok(())
}

/// An open folder whose contents are being removed.
struct Level {
    identity: Identity,
    /// The folders in it, without their files. The last one is next.
    folders: Vec<Vec<u8>>,
    /// How often the last one was not empty.
    tries: usize,
}

/// Removes a folder with everything in it, at any depth: only one folder is open at a time. An entry that is gone
/// counts as removed, because another request can remove it at the same time. `BUSY`: something is mounted in it, which
/// is left unchanged.
pub(super) fn remove_tree(at: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
    let top = stat_of(at)?.identity();
    let reopen = || rustix::io::fcntl_dupfd_cloexec(at, 0);
    let mut open = reopen()?;
    let mut levels = vec![Level { identity: top, folders: vec![name.to_vec()], tries: 0 }];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.folders.last() else {
            levels.pop();
            let Some(above) = levels.last() else { break };
            open = match openat(&open, "..", sys::PASS, Mode::empty()) {
                Ok(folder) if stat_of(&folder)?.identity() == above.identity => folder,
                _ => {
                    levels.truncate(1); // it was moved or removed, so begin again at the top
                    reopen()?
                }
            };
            continue;
        };
        // Fails for the place of a mount before anything below it is looked at.
        match unlinkat(&open, &**name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {
                level.folders.pop();
                level.tries = 0;
            }
            // If another program has just created something in it, it is tried again.
            Err(Errno::NOTEMPTY | Errno::EXIST) if level.tries < MAX_DRAWS => {
                level.tries += 1;
                let folder = sys::open_entry(&open, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC);
                match folder.and_then(|folder| Ok((remove_files(&folder, top)?, folder))) {
                    Ok((inner, folder)) => {
                        levels.push(inner);
                        open = folder;
                    }
                    Err(Errno::NOENT) => {}
                    Err(errno) => return Err(errno),
                }
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Removes everything in a folder except for its folders. `XDEV`: the folder is on another file system than `top`.
fn remove_files(folder: &OwnedFd, top: Identity) -> rustix::io::Result<Level> {
    let identity = stat_of(folder)?.identity();
    if identity.0 != top.0 {
        return Err(Errno::XDEV);
    }
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    sys::for_each_entry(folder, |(name, kind)| {
        let is_folder = match kind {
            FileType::Unknown => stat_in(folder, name).is_ok_and(|found| found.kind == Kind::Folder),
            kind => kind == FileType::Directory,
        };
        if is_folder { &mut folders } else { &mut files }.push(name.to_bytes().to_vec());
        Ok::<_, Errno>(ControlFlow::Continue(()))
    })?;
    for name in files {
        match unlinkat(folder, &*name, AtFlags::empty()) {
            Err(Errno::NOENT) => {}
            removed => removed?,
        }
    }
    Ok(Level { identity, folders, tries: 0 })
}

#[cfg(test)]
mod tests;
