//! The metadata of a file, and the meaning of its times. Used by all of `files`.

use std::os::fd::{AsFd, OwnedFd};
use std::time::SystemTime;

use rustix::fs::{FileType, Mode};
use rustix::path::Arg;

use super::sys::{self, Metadata};
use crate::http::date;
pub(super) use crate::http::date::civil;
pub(super) use crate::metadata::FileTime;
use crate::metadata::FileTimes;

/// Device and inode.
pub(super) type Identity = ((u32, u32), u64);

/// The metadata that distinguishes one version of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStat {
    pub kind: Kind,
    pub mode: Mode,
    pub size: u64,
    pub modified: FileTime,
    /// ctime: the last change of content or inode; users cannot set it.
    pub changed: FileTime,
    device: (u32, u32),
    inode: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
    /// FIFOs, sockets, devices.
    Other,
}

impl FileStat {
    pub fn identity(&self) -> Identity {
        (self.device, self.inode)
    }

    /// See [`FileTimes::are_recent`].
    pub fn is_recent(&self, now: SystemTime) -> bool {
        self.times().are_recent(now)
    }

    /// See [`FileTimes::dated`].
    pub fn dated(&self) -> FileTime {
        self.times().dated()
    }

    pub fn times(&self) -> FileTimes {
        FileTimes { modified: self.modified, changed: self.changed }
    }
}

/// Returns a time in seconds since 1970 as an HTTP date (RFC 9110, section 5.6.7), if its year has four digits.
pub(super) fn http_date(seconds: i64) -> Option<String> {
    date::text(FileTime { seconds, nanos: 0 }.to_system_time()?)
}

/// Returns the metadata of an open file.
pub(super) fn stat_of(file: impl AsFd) -> rustix::io::Result<FileStat> {
    sys::stat_of(file).map(FileStat::from)
}

/// Returns whether its owner can execute an open file.
#[cfg(feature = "archive")]
pub(super) fn is_executable(file: impl AsFd) -> bool {
    rustix::fs::fstat(file).is_ok_and(|found| found.st_mode & 0o100 != 0)
}

/// Returns the metadata of a name in an open folder, without following a link.
pub(super) fn stat_in(folder: &OwnedFd, name: impl Arg + Copy) -> rustix::io::Result<FileStat> {
    stat(folder, name, false)
}

/// Returns the metadata of a path; if it ends in a link, of the link's target.
pub(super) fn stat(at: impl AsFd, path: impl Arg + Copy, follows: bool) -> rustix::io::Result<FileStat> {
    sys::stat(at, path, follows).map(FileStat::from)
}

impl From<FileType> for Kind {
    fn from(kind: FileType) -> Kind {
        match kind {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Link,
            _ => Kind::Other,
        }
    }
}

impl From<Metadata> for FileStat {
    fn from(found: Metadata) -> FileStat {
        let time = |(seconds, nanos)| FileTime { seconds, nanos };
        FileStat {
            kind: found.kind.into(),
            mode: found.mode,
            size: found.size,
            modified: time(found.modified),
            changed: time(found.changed),
            device: found.device,
            inode: found.inode,
        }
    }
}
