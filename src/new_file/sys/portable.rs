//! Calls that every Unix has. Compiled for systems other than Linux, and on Linux for tests.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::path::Arg;

/// To pass through a folder, or to change names in it. The folder has to be readable.
pub const PASS: OFlags = super::READ.union(OFlags::DIRECTORY);

/// Fails: these systems have no unnamed files.
pub fn open_unnamed(_: &OwnedFd, _: Mode) -> rustix::io::Result<OwnedFd> {
    Err(Errno::OPNOTSUPP)
}

pub fn link_unnamed(_: impl AsFd, _: impl AsFd, _: impl Arg + Copy) -> rustix::io::Result<()> {
    Err(Errno::OPNOTSUPP)
}

pub fn rename_new(from: &OwnedFd, name: &[u8], to: impl AsFd + Copy, new: &[u8]) -> rustix::io::Result<()> {
    #[cfg(target_vendor = "apple")]
    match rustix::fs::renameat_with(from, name, to, new, rustix::fs::RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOTSUP) => {} // not supported by this file system
        renamed => return renamed,
    }
    super::rename_new_portably(from, name, to, new)
}
