//! The meaning of a file's metadata: whether its content can change without a trace, which validators its times allow,
//! and who can read it. Any level can use it. It reads no clock.
//!
//! A date or tag is sent only when no later change of the file can have the same date or tag (RFC 9110, section 8.8.1).
//! In the same way, a file is read again until no later change can have the same [`Stamp`].

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest time in which two changes can have the same timestamp, if timestamps have nanoseconds. It is zero for
/// fuzz targets, whose runs are too short to wait. The kernels on which they run (Linux 6.13, tmpfs) assign a new
/// timestamp to a file that was read.
const TIMESTAMP_TICK: Duration = Duration::from_millis(if cfg!(fuzzing) { 0 } else { 20 });

/// How many seconds can be between the mtime and the ctime of a file that was written under another name and renamed.
const RENAMED_WITHIN: i64 = 2;

/// Seconds since 1970, and nanoseconds to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileTime {
    pub(crate) seconds: i64,
    pub(crate) nanos: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileTimes {
    pub(crate) modified: FileTime,
    /// ctime: the last change of content or inode; users cannot set it.
    pub(crate) changed: FileTime,
}

/// Identifies the content of a file that is not [recent](FileTimes::are_recent): other content has another stamp.
#[cfg(any(feature = "tls", feature = "users"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Device, inode and size.
    file: (u64, u64, u64),
    pub(crate) times: FileTimes,
}

#[cfg(any(feature = "tls", feature = "users"))]
impl Stamp {
    pub(crate) fn of(found: &Metadata) -> Stamp {
        Stamp { file: (found.dev(), found.ino(), found.size()), times: FileTimes::of(found) }
    }
}

/// Reads a file with settings, up to 16 MiB. A device, such as `/dev/zero`, may have no end.
#[cfg(any(feature = "tls", feature = "users"))]
pub(crate) fn read_whole(file: std::fs::File) -> std::io::Result<Vec<u8>> {
    use std::io::{Error, ErrorKind, Read as _};
    const LONGEST: u64 = 16 << 20;
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > LONGEST {
        true => Err(Error::new(ErrorKind::InvalidData, "it is longer than 16 MiB")),
        false => Ok(bytes),
    }
}

/// Returns the error with the path before it and without the system's error number.
#[cfg(any(feature = "cookies", feature = "sessions", feature = "users"))]
pub(crate) fn named(path: &std::path::Path, error: std::io::Error) -> std::io::Error {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    std::io::Error::new(error.kind(), format!("{}: {text}", path.display()))
}

/// Logs a warning if every user of the system can read or change this file with a secret: a key or a password.
#[cfg(any(feature = "cookies", feature = "tls"))]
pub(crate) fn check_secret(path: &std::path::Path) {
    // An error is reported where the file is read.
    if std::fs::metadata(path).is_ok_and(|found| is_exposed(found.mode())) {
        let path = path.display();
        log::warn!("every user of this system has access to the secret in {path}; 'chmod o= {path}' prevents that");
    }
}

#[cfg(any(feature = "cookies", feature = "tls"))]
fn is_exposed(mode: u32) -> bool {
    mode & 0o006 != 0
}

impl FileTimes {
    pub(crate) fn of(found: &Metadata) -> FileTimes {
        let time = |seconds, nanos: i64| FileTime { seconds, nanos: nanos as u32 };
        FileTimes {
            modified: time(found.mtime(), found.mtime_nsec()),
            changed: time(found.ctime(), found.ctime_nsec()),
        }
    }

    /// Returns the date to send, without regard to `until_dated`: the ctime if the mtime is in the future, because
    /// Last-Modified must not be (section 8.8.2.1).
    pub(crate) fn date(&self, now: SystemTime) -> FileTime {
        if self.modified > FileTime::from(now) { self.changed } else { self.dated() }
    }

    /// Returns whether the last change was so shortly before `now` that another change could have the same timestamps.
    pub(crate) fn are_recent(&self, now: SystemTime) -> bool {
        FileTime::from(now) < self.changed.plus(self.tick())
    }

    /// Returns when the file got its name: the mtime, or the ctime if that is a second or two later. In that case the
    /// file was written under another name and renamed, and the previous file of this name may have been sent with a
    /// date equal to the mtime.
    pub(crate) fn dated(&self) -> FileTime {
        match self.changed.seconds.checked_sub(self.modified.seconds) {
            Some(1..=RENAMED_WITHIN) => self.changed,
            _ => self.modified,
        }
    }

    /// Returns how long to wait until the file's date can be sent. Dates count seconds, so a later change within the
    /// second would have the same date. `None`: the date can be sent now.
    pub(crate) fn until_dated(&self, date: FileTime, now: SystemTime) -> Option<Duration> {
        let second = FileTime { seconds: date.seconds, nanos: 0 };
        second.until(Duration::from_secs(1) + self.tick(), now)
    }

    /// Returns the longest tick of the file system's clock. Such clocks tick every 4 to 10 ms. Those without
    /// nanoseconds tick every second or two.
    fn tick(&self) -> Duration {
        if self.changed.nanos == 0 { Duration::from_secs(2) } else { TIMESTAMP_TICK }
    }
}

impl FileTime {
    /// Converts to a `SystemTime`, if the time is in its range.
    pub(crate) fn to_system_time(self) -> Option<SystemTime> {
        let whole = Duration::from_secs(self.seconds.unsigned_abs());
        let start = if self.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
        start?.checked_add(Duration::from_nanos(u64::from(self.nanos)))
    }

    /// Returns how long it takes until this time is `age` ago, or `None` if it already is.
    pub(crate) fn until(self, age: Duration, now: SystemTime) -> Option<Duration> {
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
            Err(before) => {
                let before = before.duration();
                let nanos = (1_000_000_000 - before.subsec_nanos()) % 1_000_000_000;
                let seconds = 0_i64.saturating_sub_unsigned(before.as_secs());
                FileTime { seconds: seconds.saturating_sub(i64::from(nanos > 0)), nanos }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(any(feature = "cookies", feature = "tls"))]
    #[test]
    fn exposed_secrets_are_recognized() {
        for (mode, expected) in [(0o100_600, false), (0o100_640, false), (0o100_644, true), (0o100_602, true)] {
            assert_eq!(is_exposed(mode), expected, "{mode:o}");
        }
    }

    #[test]
    fn times_before_1970_are_converted_exactly() {
        for (seconds, nanos) in [(1, 5), (0, 0), (-1, 0), (-1, 1), (-1, 999_999_999), (-2, 0), (i64::MIN, 0)] {
            let time = FileTime { seconds, nanos };
            assert_eq!(time.to_system_time().map(FileTime::from), Some(time));
        }
    }

    #[test]
    fn recent_changes_are_recognized() {
        let times = |seconds, nanos| FileTimes {
            modified: FileTime { seconds: 0, nanos: 0 },
            changed: FileTime { seconds, nanos },
        };
        for (changed, now, expected) in [
            (times(100, 500_000_000), Duration::from_millis(100_500), true),
            (times(100, 500_000_000), Duration::from_millis(100_519), true),
            (times(100, 500_000_000), Duration::from_millis(100_520), false),
            (times(100, 990_000_000), Duration::from_millis(101_009), true),
            (times(100, 990_000_000), Duration::from_millis(101_010), false),
            (times(100, 0), Duration::from_millis(101_999), true), // a clock without nanoseconds
            (times(100, 0), Duration::from_millis(102_000), false),
            (times(200, 1), Duration::from_millis(100_000), true), // a clock that was set back
            (times(i64::MAX, 999_999_999), Duration::from_millis(1), true),
            (times(i64::MIN, 0), Duration::from_millis(1), false),
        ] {
            assert_eq!(changed.are_recent(UNIX_EPOCH + now), expected, "{changed:?} at {now:?}");
        }
    }

    #[test]
    fn a_renamed_file_is_dated_by_the_rename() {
        let at = |seconds, nanos| FileTime { seconds, nanos };
        for (modified, changed, expected) in [
            (at(100, 7), at(100, 7), at(100, 7)),
            (at(100, 7), at(100, 900), at(100, 7)), // within one second, which `until_dated` waits for
            (at(100, 999_999_999), at(101, 0), at(101, 0)),
            (at(100, 0), at(102, 999_999_999), at(102, 999_999_999)),
            (at(100, 999_999_999), at(103, 0), at(100, 999_999_999)), // dated back
            (at(101, 0), at(100, 5), at(101, 0)),                     // dated ahead
            (at(i64::MIN, 0), at(i64::MAX, 0), at(i64::MIN, 0)),
            (at(i64::MAX, 0), at(i64::MIN, 0), at(i64::MAX, 0)),
        ] {
            let times = FileTimes { modified, changed };
            assert_eq!(times.dated(), expected, "modified {modified:?}, changed {changed:?}");
        }
    }

    #[test]
    fn a_date_identifies_content_only_after_a_wait() {
        let at = |seconds, nanos| FileTime { seconds, nanos };
        let times = |changed| FileTimes { modified: at(0, 0), changed };
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
            let wait = times(changed).until_dated(date, UNIX_EPOCH + Duration::from_millis(now));
            assert_eq!(wait, expected.map(Duration::from_millis), "{date:?}, changed {changed:?}, at {now} ms");
        }
    }
}
