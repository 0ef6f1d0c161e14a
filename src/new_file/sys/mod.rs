//! The system's calls for new files, under one name each. Differences between systems are in `linux` and `portable`,
//! under the same names. `--cfg modest_portable` selects `portable` on Linux, for tests. `files::sys` uses them also.

#[cfg(all(target_os = "linux", not(modest_portable)))]
#[path = "linux.rs"]
mod system;
#[cfg(not(all(target_os = "linux", not(modest_portable))))]
#[path = "portable.rs"]
mod system;

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::geteuid;

pub use system::{PASS, link_unnamed, open_unnamed, rename_new};

/// Flags that never block in an open, and never set a controlling terminal.
pub const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Renames within a file system, and fails with `EXIST` if the new name exists: for systems without such a call.
///
/// A file gets its new name by a link, which fails if the name exists. On a file system without links, an empty file is
/// created under the new name and then replaced. For a folder the name is looked up first. If another program creates
/// something there in between, it stays, unless it is an empty folder.
fn rename_new_portably(from: &OwnedFd, name: &[u8], to: impl AsFd + Copy, new: &[u8]) -> rustix::io::Result<()> {
    let entry = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if is_sticky_for(&rustix::fs::fstat(from)?, &entry) {
        return Err(Errno::PERM); // neither name could be unlinked after the link
    }
    let kind = FileType::from_raw_mode(entry.st_mode);
    if kind != FileType::Directory {
        return match rustix::fs::linkat(from, name, to, new, AtFlags::empty()) {
            // FUSE file systems without links return various errors, such as rclone's EIO.
            Err(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP | Errno::IO) => rename_without_links(from, name, to, new),
            linked => linked.and_then(|()| {
                rustix::fs::unlinkat(from, name, AtFlags::empty()).inspect_err(|_| {
                    let _ = rustix::fs::unlinkat(to, new, AtFlags::empty());
                })
            }),
        };
    }
    match rustix::fs::statat(to, new, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => return Err(Errno::EXIST),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    match rustix::fs::renameat(from, name, to, new) {
        Err(Errno::NOTEMPTY | Errno::NOTDIR) => Err(Errno::EXIST),
        renamed => renamed,
    }
}

/// Takes the new name with an empty file, and replaces that. Another program can see the empty file. If one replaces it
/// between the last look and the rename, its file is lost: such a file system has no way to prevent that.
fn rename_without_links(from: &OwnedFd, name: &[u8], to: impl AsFd + Copy, new: &[u8]) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let empty = rustix::fs::fstat(rustix::fs::openat(to, new, flags, Mode::from_raw_mode(0o600))?)?;
    let is_there = || {
        rustix::fs::statat(to, new, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|found| (found.st_dev, found.st_ino, found.st_size) == (empty.st_dev, empty.st_ino, 0))
    };
    let renamed = if is_there() { rustix::fs::renameat(from, name, to, new) } else { Err(Errno::EXIST) };
    if renamed.is_err() && is_there() {
        let _ = rustix::fs::unlinkat(to, new, AtFlags::empty());
    }
    renamed
}

/// Returns whether this process can't unlink the entry, because the folder is sticky and both belong to other users.
pub fn is_sticky_for(folder: &Stat, entry: &Stat) -> bool {
    let is_sticky = Mode::from_raw_mode(folder.st_mode).contains(Mode::SVTX);
    is_sticky && ![entry.st_uid, folder.st_uid, 0].contains(&geteuid().as_raw())
}

#[cfg(test)]
mod tests;
