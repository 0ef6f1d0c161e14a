//! The metadata of a file, and the meaning of its times. Used by all of `files`.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::FileType;
use rustix::path::Arg;

use super::sys::{self, Metadata};

/// The longest time in which two changes can have the same timestamp, if timestamps have nanoseconds. A run of a fuzz
/// target is shorter; the kernels it runs on give a file that was read a new timestamp (Linux 6.13, tmpfs).
const TIMESTAMP_TICK: Duration = Duration::from_millis(if cfg!(fuzzing) { 0 } else { 20 });

/// A program that writes a new file and then renames it does so within this many seconds, each counted as whole.
const RENAMED_WITHIN: i64 = 2;

/// Device and inode.
pub(super) type Identity = ((u32, u32), u64);

/// The metadata that distinguishes one version of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStat {
    pub kind: Kind,
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

/// Seconds since 1970, and nanoseconds forward from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileTime {
    pub seconds: i64,
    pub nanos: u32,
}

impl FileStat {
    pub fn identity(&self) -> Identity {
        (self.device, self.inode)
    }

    /// Whether the last change was so shortly before `now` that another one could have the same timestamps.
    pub fn is_recent(&self, now: SystemTime) -> bool {
        FileTime::from(now) < self.changed.plus(self.tick())
    }

    /// When it became the content at its name: the mtime, or the ctime if that is a second or two later. Then it was
    /// written under another name and renamed, and earlier content at this name may have been sent with the second of
    /// its mtime.
    pub fn dated(&self) -> FileTime {
        match self.changed.seconds.checked_sub(self.modified.seconds) {
            Some(1..=RENAMED_WITHIN) => self.changed,
            _ => self.modified,
        }
    }

    /// How long until the file's date can be sent, which counts seconds: until no further change can have the same
    /// date. `None`: now.
    pub fn until_dated(&self, date: FileTime, now: SystemTime) -> Option<Duration> {
        let second = FileTime { seconds: date.seconds, nanos: 0 };
        second.until(Duration::from_secs(1) + self.tick(), now)
    }

    /// File system clocks tick every 4 to 10 ms, those without nanoseconds every second or two.
    fn tick(&self) -> Duration {
        if self.changed.nanos == 0 { Duration::from_secs(2) } else { TIMESTAMP_TICK }
    }
}

impl FileTime {
    /// As a `SystemTime`, if in its range.
    pub fn to_system_time(self) -> Option<SystemTime> {
        let whole = Duration::from_secs(self.seconds.unsigned_abs());
        let start = if self.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
        start?.checked_add(Duration::from_nanos(u64::from(self.nanos)))
    }

    /// How long until this time is `age` ago; `None` if it is already.
    pub fn until(self, age: Duration, now: SystemTime) -> Option<Duration> {
        let end = self.plus(age);
        match end.to_system_time() {
            Some(end) => end.duration_since(now).ok().filter(|wait| !wait.is_zero()),
            None if end.seconds < 0 => None,
            None => Some(Duration::MAX),
        }
    }

    fn plus(self, by: Duration) -> FileTime {
        let nanos = self.nanos + by.subsec_nanos();
        let seconds = self.seconds.saturating_add(by.as_secs() as i64).saturating_add(i64::from(nanos / 1_000_000_000));
        FileTime { seconds, nanos: nanos % 1_000_000_000 }
    }
}

impl From<SystemTime> for FileTime {
    fn from(time: SystemTime) -> FileTime {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => FileTime { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() },
            Err(_) => FileTime { seconds: 0, nanos: 0 }, // a clock before 1970 is wrong anyway
        }
    }
}

/// The metadata of an open file.
pub(super) fn stat_of(file: impl AsFd) -> rustix::io::Result<FileStat> {
    sys::stat_of(file).map(FileStat::from)
}

/// Whether its owner can execute an open file.
#[cfg(feature = "archive")]
pub(super) fn is_executable(file: impl AsFd) -> bool {
    rustix::fs::fstat(file).is_ok_and(|found| found.st_mode & 0o100 != 0)
}

/// The metadata of a name in an open folder, without following a link.
pub(super) fn stat_in(folder: &OwnedFd, name: impl Arg + Copy) -> rustix::io::Result<FileStat> {
    stat(folder, name, false)
}

/// The metadata of a path, or of what a link at its end leads to.
pub(super) fn stat(at: impl AsFd, path: impl Arg + Copy, follows: bool) -> rustix::io::Result<FileStat> {
    sys::stat(at, path, follows).map(FileStat::from)
}

impl From<Metadata> for FileStat {
    fn from(found: Metadata) -> FileStat {
        let kind = match found.kind {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Link,
            _ => Kind::Other,
        };
        let time = |(seconds, nanos)| FileTime { seconds, nanos };
        FileStat {
            kind,
            size: found.size,
            modified: time(found.modified),
            changed: time(found.changed),
            device: found.device,
            inode: found.inode,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn young_changes() {
        let stat = |seconds, nanos| FileStat {
            kind: Kind::File,
            size: 0,
            modified: FileTime { seconds: 0, nanos: 0 },
            changed: FileTime { seconds, nanos },
            device: (0, 0),
            inode: 0,
        };
        for (changed, now, expected) in [
            (stat(100, 500_000_000), Duration::from_millis(100_500), true),
            (stat(100, 500_000_000), Duration::from_millis(100_519), true),
            (stat(100, 500_000_000), Duration::from_millis(100_520), false),
            (stat(100, 990_000_000), Duration::from_millis(101_009), true),
            (stat(100, 990_000_000), Duration::from_millis(101_010), false),
            (stat(100, 0), Duration::from_millis(101_999), true), // a clock without nanoseconds
            (stat(100, 0), Duration::from_millis(102_000), false),
            (stat(200, 1), Duration::from_millis(100_000), true), // a clock that was set back
            (stat(i64::MAX, 999_999_999), Duration::from_millis(1), true),
            (stat(i64::MIN, 0), Duration::from_millis(1), false),
        ] {
            assert_eq!(changed.is_recent(UNIX_EPOCH + now), expected, "{changed:?} at {now:?}");
        }
    }

    #[test]
    fn dated_by_the_rename_that_brought_it() {
        let at = |seconds, nanos| FileTime { seconds, nanos };
        for (modified, changed, expected) in [
            (at(100, 7), at(100, 7), at(100, 7)),
            (at(100, 7), at(100, 900), at(100, 7)), // within the second: told once that is over
            (at(100, 999_999_999), at(101, 0), at(101, 0)),
            (at(100, 0), at(102, 999_999_999), at(102, 999_999_999)),
            (at(100, 999_999_999), at(103, 0), at(100, 999_999_999)), // dated back
            (at(101, 0), at(100, 5), at(101, 0)),                     // dated ahead
            (at(i64::MIN, 0), at(i64::MAX, 0), at(i64::MIN, 0)),
            (at(i64::MAX, 0), at(i64::MIN, 0), at(i64::MAX, 0)),
        ] {
            let stat = FileStat { kind: Kind::File, size: 0, modified, changed, device: (0, 0), inode: 0 };
            assert_eq!(stat.dated(), expected, "modified {modified:?}, changed {changed:?}");
        }
    }

    #[test]
    fn told_by_date() {
        let at = |seconds, nanos| FileTime { seconds, nanos };
        let stat =
            |changed| FileStat { kind: Kind::File, size: 0, modified: at(0, 0), changed, device: (0, 0), inode: 0 };
        for (date, changed, now, expected) in [
            (at(100, 0), at(100, 1), 100_000, Some(1020)),
            (at(100, 999_999_999), at(100, 1), 100_999, Some(21)),
            (at(100, 5), at(100, 5), 101_019, Some(1)),
            (at(100, 5), at(100, 5), 101_020, None),
            (at(100, 0), at(100, 0), 101_020, Some(1980)), // a clock without nanoseconds
            (at(100, 0), at(100, 0), 103_000, None),
            (at(-100, 0), at(100, 1), 100_000, None), // dated back
            (at(i64::MIN, 0), at(100, 1), 100_000, None),
        ] {
            let wait = stat(changed).until_dated(date, UNIX_EPOCH + Duration::from_millis(now));
            assert_eq!(wait, expected.map(Duration::from_millis), "{date:?}, changed {changed:?}, at {now} ms");
        }
    }
}
