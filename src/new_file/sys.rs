//! System calls of new files: the Linux code, and the code for every Unix (on Linux with `--cfg modest_portable`, for
//! tests).

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::path::Arg;
use rustix::process::geteuid;

#[cfg(all(target_os = "linux", not(modest_portable)))]
pub use linux::{PASS, link_unnamed, open_unnamed, rename_new};
#[cfg(not(all(target_os = "linux", not(modest_portable))))]
pub use portable::{PASS, link_unnamed, open_unnamed, rename_new};

#[cfg(all(target_os = "linux", not(modest_portable)))]
mod linux {
    use std::os::fd::AsRawFd;

    use rustix::fs::{CWD, RenameFlags};

    use super::*;

    /// To pass through a folder, or to change names in it, without reading it.
    pub const PASS: OFlags = OFlags::PATH.union(OFlags::CLOEXEC).union(OFlags::DIRECTORY);

    /// Creates a file without a name in a folder. `OPNOTSUPP`: there are no such files.
    pub fn open_unnamed(folder: &OwnedFd, mode: Mode) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::TMPFILE;
        rustix::fs::openat(folder, ".", flags, mode).map_err(|errno| match errno {
            // An old kernel opens the folder itself, or a sandbox forbids the flag.
            Errno::ISDIR | Errno::INVAL | Errno::NOSYS | Errno::PERM => Errno::OPNOTSUPP,
            errno => errno,
        })
    }

    /// Gives a name to an unnamed file.
    pub fn link_unnamed(file: impl AsFd, folder: impl AsFd, name: impl Arg + Copy) -> rustix::io::Result<()> {
        let descriptor = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        match rustix::fs::linkat(CWD, &descriptor, &folder, name, AtFlags::SYMLINK_FOLLOW) {
            // Without /proc, the kernel allows this to root, and since Linux 6.10 to the process that opened the file.
            Err(Errno::NOENT) => rustix::fs::linkat(file, "", folder, name, AtFlags::EMPTY_PATH),
            linked => linked,
        }
    }

    /// Renames within a file system, and fails with `EXIST` if the new name exists.
    pub fn rename_new(from: &OwnedFd, name: &[u8], to: &OwnedFd, new: &[u8]) -> rustix::io::Result<()> {
        match rustix::fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE) {
            // Not supported by this file system or this kernel, or forbidden by a sandbox.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                super::rename_new_portably(from, name, to, new)
            }
            renamed => renamed,
        }
    }
}

#[cfg(not(all(target_os = "linux", not(modest_portable))))]
mod portable {
    use super::*;

    /// To pass through a folder, or to change names in it. The folder has to be readable.
    pub const PASS: OFlags = super::READ.union(OFlags::DIRECTORY);

    /// Fails: these systems have no unnamed files.
    pub fn open_unnamed(_: &OwnedFd, _: Mode) -> rustix::io::Result<OwnedFd> {
        Err(Errno::OPNOTSUPP)
    }

    /// Fails: these systems have no unnamed files.
    pub fn link_unnamed(_: impl AsFd, _: impl AsFd, _: impl Arg + Copy) -> rustix::io::Result<()> {
        Err(Errno::OPNOTSUPP)
    }

    /// Renames within a file system, and fails with `EXIST` if the new name exists.
    pub fn rename_new(from: &OwnedFd, name: &[u8], to: &OwnedFd, new: &[u8]) -> rustix::io::Result<()> {
        #[cfg(target_vendor = "apple")]
        match rustix::fs::renameat_with(from, name, to, new, rustix::fs::RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOTSUP) => {} // not supported by this file system
            renamed => return renamed,
        }
        super::rename_new_portably(from, name, to, new)
    }
}

/// Flags that never block in an open, and never set a controlling terminal.
pub const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Renames within a file system, and fails with `EXIST` if the new name exists: for systems without such a call.
///
/// A file gets its new name by a link, which fails if the name exists. For a folder the name is looked up first. If
/// another program creates something there in between, it stays, unless it is an empty folder.
fn rename_new_portably(from: &OwnedFd, name: &[u8], to: &OwnedFd, new: &[u8]) -> rustix::io::Result<()> {
    let entry = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if is_sticky_for(&rustix::fs::fstat(from)?, &entry) {
        return Err(Errno::PERM); // neither name could be unlinked after the link
    }
    let kind = FileType::from_raw_mode(entry.st_mode);
    if kind != FileType::Directory {
        rustix::fs::linkat(from, name, to, new, AtFlags::empty())?;
        return rustix::fs::unlinkat(from, name, AtFlags::empty()).inspect_err(|_| {
            let _ = rustix::fs::unlinkat(to, new, AtFlags::empty());
        });
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

/// Returns whether this process can't unlink the entry, because the folder is sticky and both belong to other users.
pub fn is_sticky_for(folder: &Stat, entry: &Stat) -> bool {
    let is_sticky = Mode::from_raw_mode(folder.st_mode).contains(Mode::SVTX);
    is_sticky && ![entry.st_uid, folder.st_uid, 0].contains(&geteuid().as_raw())
}

#[cfg(test)]
mod tests;
