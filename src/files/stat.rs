//! The metadata of a file, and the meaning of its times. Used by all of `files`.

use std::os::fd::OwnedFd;
use std::time::SystemTime;

use rustix::path::Arg;

pub(super) use super::sys::{FileStat, Identity, Kind, stat, stat_of};
use crate::http::date;
pub(super) use crate::http::date::civil;
pub(super) use crate::metadata::FileTime;
use crate::metadata::FileTimes;

impl FileStat {
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

/// Returns whether its owner can execute an open file.
#[cfg(feature = "archive")]
pub(super) fn is_executable(file: &std::fs::File) -> bool {
    rustix::fs::fstat(file).is_ok_and(|found| found.st_mode & 0o100 != 0)
}

/// Returns the metadata of a name in an open folder, without following a link.
pub(super) fn stat_in(folder: &OwnedFd, name: impl Arg + Copy) -> rustix::io::Result<FileStat> {
    stat(folder, name, false)
}
