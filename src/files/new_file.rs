//! New files below the folder: written without a name, and named when they are complete. Called by `uploads`, with
//! folders that `open` has found below the root. Each call here identifies a file by such a folder and one segment.
//!
//! A file is visible only when it is complete: until then it is unnamed (`O_TMPFILE`). One system call (`linkat`) gives
//! it a name, and fails if the name exists, even as a link. On a file system without unnamed files it first gets a name
//! that begins with [`path::UPLOAD`]. Such files are never served, and are removed if the upload fails. Files left
//! behind by a killed process are removed by the next upload to that folder, with folders that it was removing. A file
//! is replaced by a rename: readers see the old one or the new one.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, StatVfs, fchmod, flock, fstatvfs, mkdirat, openat, renameat,
    unlinkat,
};
use rustix::io::Errno;

use super::open::OpenFolder;
use super::path;
use super::stat::{FileStat, Identity, Kind, stat_in, stat_of};
use super::sys;
use crate::mutex::lock;

/// How many names of a folder are checked for files left behind.
const MAX_SWEPT: usize = 10_000;
/// How many searched folders are remembered.
const MAX_KNOWN: usize = 4096;
/// mke2fs.conf(5), `inode_ratio`.
const BYTES_PER_INODE: u64 = 16 << 10;
/// Follows [`path::UPLOAD`] in the names of folders that can be removed.
const REMOVABLE: &str = "removable-";
/// How often an unused name is drawn, and how often a folder in which something is created is removed. If a sweep that
/// never pauses removes two of three files first, one creation in 10¹¹ fails.
const MAX_DRAWS: usize = 64;

/// A file that is being written.
#[derive(Debug)]
pub(super) struct NewFile {
    file: File,
    /// The folder and the temporary name, on a file system without unnamed files.
    named: Mutex<Option<(OwnedFd, String)>>,
    written: AtomicU64,
}

/// Whether unnamed files are used. Tests disable them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unnamed {
    IfThereAre,
    #[cfg(test)]
    Never,
}

impl NewFile {
    /// Creates an unnamed file in this folder. It can also be read.
    pub fn create(folder: &OwnedFd, unnamed: Unnamed) -> rustix::io::Result<NewFile> {
        let made = match unnamed {
            Unnamed::IfThereAre => sys::open_unnamed(folder, MODE),
            #[cfg(test)]
            Unnamed::Never => Err(Errno::OPNOTSUPP),
        };
        match made {
            Ok(file) => Ok(NewFile { file: file.into(), named: Mutex::new(None), written: AtomicU64::new(0) }),
            Err(Errno::OPNOTSUPP) => NewFile::create_named(folder),
            Err(errno) => Err(errno),
        }
    }

    fn create_named(folder: &OwnedFd) -> rustix::io::Result<NewFile> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let at = rustix::io::fcntl_dupfd_cloexec(folder, 0)?;
        let (file, name) = create_held(draw_name, |name| openat(folder, name, flags, MODE))?;
        Ok(NewFile { file: file.into(), named: Mutex::new(Some((at, name))), written: AtomicU64::new(0) })
    }

    /// Returns how many bytes were written.
    pub fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Returns the file, to read what was written.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Syncs it to the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Gives it this name in this folder, on the same file system.
    ///
    /// # Errors
    /// `EXIST`: the name exists.
    pub fn name(&self, folder: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
        let mut named = lock(&self.named);
        match &*named {
            None => sys::link_unnamed(&self.file, folder, name),
            Some((from, temporary)) => {
                sys::rename_new(from, temporary.as_bytes(), folder, name)?;
                *named = None;
                Ok(())
            }
        }
    }

    /// Replaces the file of that name, and keeps its mode: `chmod 640` survives an upload.
    pub fn replace(&self, folder: &OwnedFd, name: &[u8], existing: FileStat) -> rustix::io::Result<()> {
        if existing.kind == Kind::File {
            // Before the file has a name. A file system without modes rejects it, and does not need it.
            let _ = fchmod(&self.file, existing.mode & Mode::from_raw_mode(0o777));
        }
        let mut named = lock(&self.named);
        if let Some((from, temporary)) = &*named {
            renameat(from, temporary, folder, name)?;
            *named = None;
            return Ok(());
        }
        let _ = flock(&self.file, FlockOperation::NonBlockingLockExclusive); // a sweep leaves it alone
        let temporary = draw_name();
        sys::link_unnamed(&self.file, folder, &temporary)?;
        renameat(folder, &temporary, folder, name).inspect_err(|_| {
            // It keeps the temporary name, by which it can be renamed later. It is removed with this value.
            *named = rustix::io::fcntl_dupfd_cloexec(folder, 0).ok().map(|folder| (folder, temporary.clone()));
            if named.is_none() {
                let _ = unlinkat(folder, &temporary, AtFlags::empty());
            }
        })
    }
}

/// Removes the file if it is incomplete.
impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some((folder, name)) = self.named.get_mut().unwrap_or_else(PoisonError::into_inner).take()
            && let Err(errno) = unlinkat(folder, &name, AtFlags::empty())
            && errno != Errno::NOENT
        {
            log::error!(target: "modest::files", "can't remove {name} of a failed upload: {errno}");
        }
    }
}

/// Writes to a new file as long as the file system has room beyond the reserve.
pub(super) struct Writer {
    pub to: Arc<NewFile>,
    /// In bytes.
    pub reserve: u64,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !has_room(&self.to.file, bytes.len() as u64, self.reserve) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let count = (&self.to.file).write(bytes)?;
        self.to.written.fetch_add(count as u64, Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns whether this many bytes fit, beyond the reserve. A file system without a size counts as unlimited.
pub(super) fn has_room(on: impl AsFd, bytes: u64, reserve: u64) -> bool {
    fstatvfs(on).map_or(true, |found| has_bytes(&found, bytes, reserve))
}

fn has_bytes(found: &StatVfs, bytes: u64, reserve: u64) -> bool {
    found.f_blocks == 0 || found.f_bavail.saturating_mul(found.f_frsize) >= bytes.saturating_add(reserve)
}

/// Returns whether the file system has room and an inode for one more file of this many bytes, beyond the reserve. A
/// file system without a count of inodes counts as unlimited.
pub(super) fn may_add(on: impl AsFd, bytes: u64, reserve: u64) -> bool {
    let Ok(found) = fstatvfs(on) else { return true };
    has_bytes(&found, bytes, reserve)
        && (found.f_files == 0 || found.f_favail > reserved_inodes(found.f_files, reserve))
}

/// Returns the number of reserved inodes: as many as ext4 creates for this many bytes, or fewer if the file system has
/// few.
fn reserved_inodes(inodes: u64, reserve: u64) -> u64 {
    (reserve / BYTES_PER_INODE).min(inodes / 16)
}

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
        if !path::is_upload(name.to_bytes()) || name.to_bytes().starts_with(set_aside().as_bytes()) {
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

/// Removes a folder with everything in it, at any depth: only one folder is open at a time. An entry that is gone counts
/// as removed, because another request can remove it at the same time. `BUSY`: something is mounted in it, which is left
/// unchanged.
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

/// The mode of any new file: the umask applies.
const MODE: Mode = Mode::from_raw_mode(0o666);

/// Creates a folder that a later upload removes, unless it has another name before the returned descriptor is closed.
pub(super) fn create_removable(folder: &OwnedFd) -> rustix::io::Result<(OwnedFd, String)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    create_held(draw_removable, |name| {
        mkdirat(folder, name, Mode::from_raw_mode(0o777))?; // minus the umask
        let opened = sys::open_entry(folder, name.as_bytes(), flags);
        opened.map_err(|errno| if errno == Errno::NOENT { Errno::EXIST } else { errno }) // a sweep has removed it
    })
}

/// Creates an entry with a hidden name, and locks it against sweeps. If a sweep has found it first, another is created.
fn create_held(
    draw: fn() -> String,
    create: impl Fn(&str) -> rustix::io::Result<OwnedFd>,
) -> rustix::io::Result<(OwnedFd, String)> {
    for _ in 0..MAX_DRAWS {
        let name = draw();
        let held = match create(&name) {
            Err(Errno::EXIST) => continue,
            held => held?,
        };
        match flock(&held, FlockOperation::NonBlockingLockExclusive) {
            // A sweep has locked it first, and removes it.
            Err(Errno::WOULDBLOCK) => {}
            // The sweep has removed it.
            _ if rustix::fs::fstat(&held).is_ok_and(|stat| stat.st_nlink == 0) => {}
            _ => return Ok((held, name)), // on a file system without locks there are no sweeps (see `sweep`)
        }
    }
    Err(Errno::EXIST)
}

/// Returns a random name, which is almost certainly unused and never served.
pub(super) fn draw_name() -> String {
    format!("{}{}", path::UPLOAD, draw())
}

/// Returns such a name for a folder that nobody needs unless this process renames it: an incomplete copy, or a folder
/// that was deleted or replaced.
pub(super) fn draw_removable() -> String {
    format!("{}{REMOVABLE}{}", path::UPLOAD, draw())
}

/// Returns such a name for an entry while it is replaced. If this process is killed meanwhile, the entry keeps the name,
/// and is never removed.
pub(super) fn draw_set_aside() -> String {
    set_aside() + &draw()
}

fn set_aside() -> String {
    format!("{}replaced-", path::UPLOAD)
}

fn draw() -> String {
    format!("{:016x}", RandomState::new().hash_one(()))
}

pub(super) fn is_removable(name: &[u8]) -> bool {
    let drawn = name.strip_prefix(path::UPLOAD.as_bytes()).and_then(|rest| rest.strip_prefix(REMOVABLE.as_bytes()));
    drawn.is_some_and(|drawn| drawn.len() == 16 && drawn.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests;
