//! Calls that every Unix has. Compiled for systems other than Linux, and on Linux for tests.

use std::ffi::CStr;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Dir, OFlags};
use rustix::io::Errno;
use rustix::path::Arg;

use super::{Change, Entry, FileStat, Links, Subject};

/// The call that is used for each purpose.
pub const WAYS: &[(&str, &str)] = &[
    ("new files", "a hidden name until they are complete"),
    ("renames without replacing", "a link; for folders, an empty folder that is replaced"),
    ("folders that can be entered and not read", "their files are not served"),
];

/// Only to find a file or a folder.
pub const FIND: OFlags = super::READ;

/// Fails: these systems have no call that opens a path and fails if it leads outside a folder.
pub fn open_beneath(_: &OwnedFd, _: &[u8], _: OFlags, _: Links) -> rustix::io::Result<OwnedFd> {
    Err(Errno::NOSYS)
}

/// Returns `false`: these systems have no common call for it. A mount has another device, as a rule.
pub fn is_fixed(_: &OwnedFd, _: &[u8]) -> rustix::io::Result<bool> {
    Ok(false)
}

/// See [`is_fixed`].
pub fn reports_mounts() -> bool {
    false
}

pub fn stat(at: impl AsFd, path: impl Arg + Copy, follows: bool) -> rustix::io::Result<FileStat> {
    super::stat_portably(at, path, follows)
}

pub fn stat_of(file: impl AsFd) -> rustix::io::Result<FileStat> {
    rustix::fs::fstat(file).map(FileStat::from)
}

pub fn for_each_entry<E: From<Errno>>(
    folder: &OwnedFd,
    mut visit: impl FnMut(Entry<'_>) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") && visit((name, entry.file_type()))?.is_break() {
            return Ok(());
        }
    }
    // A removed folder that is still open looks empty.
    if rustix::fs::fstat(folder)?.st_nlink == 0 { Err(Errno::NOENT.into()) } else { Ok(()) }
}

/// Calls the function with the path of an open folder; `None`: the system does not reveal it.
#[cfg(target_vendor = "apple")]
pub fn with_path_of<R>(folder: &OwnedFd, with: impl FnOnce(&[u8]) -> R) -> Option<R> {
    Some(with(rustix::fs::getpath(folder).ok()?.as_bytes()))
}

#[cfg(not(target_vendor = "apple"))]
pub fn with_path_of<R>(_: &OwnedFd, _: impl FnOnce(&[u8]) -> R) -> Option<R> {
    None
}

/// Returns false: changes are not reported.
pub fn reports_changes(_: &OwnedFd, _: bool) -> rustix::io::Result<bool> {
    Ok(false)
}

/// Returns `None`: these systems have no watches.
pub fn max_watches() -> Option<usize> {
    None
}

/// Changes reported by the kernel: none. The disk is checked.
#[derive(Debug)]
pub struct Changes(std::convert::Infallible);

impl Changes {
    /// # Errors
    /// Always.
    pub fn new() -> rustix::io::Result<Changes> {
        Err(Errno::NOSYS)
    }

    pub fn watch(&self, _: &OwnedFd, _: Subject) -> rustix::io::Result<i32> {
        match self.0 {}
    }

    pub fn watch_entry(&self, _: &OwnedFd, _: &CStr, _: bool) -> rustix::io::Result<i32> {
        match self.0 {}
    }

    pub fn end(&self, _: i32) {}

    pub fn read(&self, _: impl FnMut(&Change<'_>)) -> rustix::io::Result<()> {
        match self.0 {}
    }

    #[cfg(test)]
    pub fn descriptor(&self) -> &OwnedFd {
        match self.0 {}
    }
}

/// Not all of these systems have extended attributes.
#[cfg(feature = "webdav")]
pub fn read_properties(_: impl AsFd, _: &mut [u8]) -> rustix::io::Result<usize> {
    Ok(0)
}

/// Not all of these systems have extended attributes.
#[cfg(feature = "webdav")]
pub fn write_properties(_: impl AsFd, _: &[u8]) -> rustix::io::Result<()> {
    Err(Errno::NOTSUP)
}
