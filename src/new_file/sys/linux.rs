//! Calls of Linux.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::path::Arg;

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
pub fn rename_new(from: &OwnedFd, name: &[u8], to: impl AsFd + Copy, new: &[u8]) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE) {
        // Not supported by this file system or this kernel, or forbidden by a sandbox.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
            super::rename_new_portably(from, name, to, new)
        }
        renamed => renamed,
    }
}
