//! The system's calls for files, under one name each. Differences between systems are in `linux` and `portable`, under
//! the same names. `portable` uses calls that every Unix has. `--cfg modest_portable` selects it on Linux, for tests.
//! Used by all of `files`.

#[cfg(all(target_os = "linux", not(modest_portable)))]
#[path = "linux.rs"]
mod system;
#[cfg(not(all(target_os = "linux", not(modest_portable))))]
#[path = "portable.rs"]
mod system;

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::metadata::FileTime;
pub use crate::new_file::sys::{PASS, READ, is_sticky_for, rename_new};
use system::WAYS;
pub use system::{
    Changes, FIND, for_each_entry, is_fixed, max_watches, open_beneath, reports_changes, stat, stat_of, with_path_of,
};
#[cfg(feature = "webdav")]
pub use system::{read_properties, write_properties};

/// Which links are followed on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    None,
    Beneath,
}

/// Returns whether a file has content although its size is 0: a file system that creates content when it is read, such
/// as that of /proc, knows no sizes. Such a file system has no blocks.
pub fn hides_size(file: impl AsFd, size: u64) -> bool {
    size == 0
        && rustix::fs::fstatvfs(&file).is_ok_and(|system| system.f_blocks == 0)
        && rustix::io::pread(&file, &mut [0], 0) != Ok(0)
}

/// Device and inode.
pub type Identity = ((u32, u32), u64);

/// The metadata that distinguishes one version of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStat {
    pub kind: Kind,
    /// The permissions and the bits above them.
    pub mode: Mode,
    pub size: u64,
    pub modified: FileTime,
    /// ctime: the last change of content or inode; users cannot set it.
    pub changed: FileTime,
    device: (u32, u32),
    inode: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
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

/// The kind of an inotify watch, which determines the changes that are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A file: its content, its metadata, its number of links.
    File,
    /// A served folder: its names, and its own permissions.
    Folder,
    /// A folder on the way to the root: its names.
    Above,
}

pub struct Change<'a> {
    pub watch: i32,
    /// The name in the watched folder. `None`: the watched inode itself changed.
    pub name: Option<&'a [u8]>,
    /// Reports were lost.
    pub is_lost: bool,
    pub is_end: bool,
    /// The content of a named file was written, and nothing else.
    pub is_write: bool,
}

/// Returns the call that is used for each purpose.
pub fn ways() -> Vec<(&'static str, &'static str)> {
    let has_openat2 = open_beneath_works();
    let mut ways = vec![
        ("paths below a folder", if has_openat2 { "openat2" } else { "a walk, folder by folder" }),
        ("mounts in a folder that is deleted", if system::reports_mounts() { "statx" } else { "by their device" }),
        ("changes of files", if are_changes_reported() { "inotify" } else { "the disk is checked" }),
    ];
    ways.extend(WAYS);
    ways
}

/// Returns whether the kernel reports changes to this process.
pub fn are_changes_reported() -> bool {
    Changes::new().is_ok()
}

fn open_beneath_works() -> bool {
    let here = rustix::fs::openat(rustix::fs::CWD, ".", PASS, Mode::empty());
    here.and_then(|here| open_beneath(&here, b".", PASS, Links::Beneath)).is_ok()
}

/// Opens a name in a folder, and never what a link leads to (`LOOP` or `NOTDIR`).
pub fn open_entry(folder: &OwnedFd, name: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let opened = rustix::fs::openat(folder, name, flags | OFlags::NOFOLLOW, Mode::empty());
    // FreeBSD's error for a link.
    opened.map_err(|errno| if errno == Errno::MLINK { Errno::LOOP } else { errno })
}

/// Calls `fstatat`, for systems and sandboxes without `statx`.
fn stat_portably(at: impl AsFd, path: impl Arg, follows: bool) -> rustix::io::Result<FileStat> {
    let flags = if follows { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    rustix::fs::statat(at, path, flags).map(FileStat::from)
}

impl From<Stat> for FileStat {
    #[allow(clippy::unnecessary_cast, clippy::cast_lossless, reason = "the types differ from system to system")]
    fn from(found: Stat) -> FileStat {
        let device = found.st_dev as u64;
        FileStat {
            kind: FileType::from_raw_mode(found.st_mode).into(),
            mode: Mode::from_raw_mode(found.st_mode),
            size: found.st_size as u64,
            modified: FileTime { seconds: found.st_mtime as i64, nanos: found.st_mtime_nsec as u32 },
            changed: FileTime { seconds: found.st_ctime as i64, nanos: found.st_ctime_nsec as u32 },
            device: ((device >> 32) as u32, device as u32),
            inode: found.st_ino as u64,
        }
    }
}

/// A name and its kind, of each entry of a folder but `.` and `..`.
type Entry<'a> = (&'a CStr, FileType);

#[cfg(test)]
mod tests;
