//! Calls that only Linux has. If a sandbox or an old kernel forbids one, the portable code is used.

use std::ffi::CStr;
use std::fs::read_to_string;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::fs::{Statx, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::path::{Arg, DecInt};

use super::{Change, Entry, FileStat, Links, Subject};
use crate::metadata::FileTime;

/// The system call that is used for each purpose.
pub const WAYS: &[(&str, &str)] = &[
    ("new files", "O_TMPFILE, or a hidden name where the file system has no unnamed files"),
    ("renames without replacing", "renameat2, or a link"),
    ("folders that can be entered and not read", "their files are served"),
];

/// Only to find a file or a folder. With `O_PATH`, `openat2` accepts no flags for reading.
pub const FIND: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// How many bytes of a folder are read at a time.
const READ_SIZE: usize = 32 << 10;

/// Opens a path below a folder, in one call that fails if it leads outside. `NOSYS`: there is no such call.
pub fn open_beneath(folder: &OwnedFd, path: &[u8], flags: OFlags, links: Links) -> rustix::io::Result<OwnedFd> {
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let resolve = if links == Links::None { beneath | ResolveFlags::NO_SYMLINKS } else { beneath };
    rustix::fs::openat2(folder, path, flags, Mode::empty(), resolve)
}

/// Returns whether no user can unlink an entry: something is mounted there, even a file or a folder of
/// this file system, or it is immutable or append-only.
pub fn is_fixed(folder: &OwnedFd, name: &[u8]) -> rustix::io::Result<bool> {
    let fixed = StatxAttributes::MOUNT_ROOT | StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    match rustix::fs::statx(folder, name, flags, StatxFlags::empty()) {
        Err(Errno::NOSYS | Errno::PERM) => Ok(false),
        found => found.map(|found| found.stx_attributes.intersects(fixed)),
    }
}

/// Returns whether the kernel reports mounts (since Linux 5.8).
pub fn reports_mounts() -> bool {
    let here = rustix::fs::statx(CWD, ".", AtFlags::empty(), StatxFlags::empty());
    here.is_ok_and(|here| here.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT))
}

/// Returns the metadata of a path; if it ends in a link, of the link's target if links are followed.
pub fn stat(at: impl AsFd, path: impl Arg + Copy, follows: bool) -> rustix::io::Result<FileStat> {
    let links = if follows { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    match rustix::fs::statx(&at, path, links | AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS) {
        Err(Errno::NOSYS | Errno::PERM) => super::stat_portably(at, path, follows),
        found => found.map(FileStat::from),
    }
}

/// Returns the metadata of an open file.
pub fn stat_of(file: impl AsFd) -> rustix::io::Result<FileStat> {
    match rustix::fs::statx(&file, c"", AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS) {
        Err(Errno::NOSYS | Errno::PERM) => rustix::fs::fstat(file).map(FileStat::from),
        found => found.map(FileStat::from),
    }
}

impl From<Statx> for FileStat {
    fn from(found: Statx) -> FileStat {
        FileStat {
            kind: FileType::from_raw_mode(u32::from(found.stx_mode)).into(),
            mode: Mode::from_raw_mode(u32::from(found.stx_mode)),
            size: found.stx_size,
            modified: FileTime { seconds: found.stx_mtime.tv_sec, nanos: found.stx_mtime.tv_nsec },
            changed: FileTime { seconds: found.stx_ctime.tv_sec, nanos: found.stx_ctime.tv_nsec },
            device: (found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
        }
    }
}

/// Calls `visit` for each entry of a folder, until a call returns an error.
///
/// # Errors
/// Errors of the system, `NOENT` for a folder that was removed, and errors that `visit` returns.
pub fn for_each_entry<E: From<Errno>>(
    folder: &OwnedFd,
    mut visit: impl FnMut(Entry<'_>) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let mut buffer = Vec::with_capacity(READ_SIZE);
    let mut entries = RawDir::new(folder, buffer.spare_capacity_mut());
    // For a removed folder that is still open the kernel returns ENOENT, which `Dir` would treat as the end of the
    // entries.
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") && visit((name, entry.file_type()))?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Calls the function with the path of an open folder; `None`: the system does not reveal it. Each upload into a folder
/// asks for it, so nothing is allocated.
pub fn with_path_of<R>(folder: &OwnedFd, with: impl FnOnce(&[u8]) -> R) -> Option<R> {
    const DESCRIPTORS: &[u8] = b"/proc/self/fd/";
    let number = DecInt::from_fd(folder);
    let (mut link, mut path) = ([0; 40], [MaybeUninit::uninit(); 4096]);
    let length = DESCRIPTORS.len() + number.as_bytes().len();
    link[..DESCRIPTORS.len()].copy_from_slice(DESCRIPTORS);
    link[DESCRIPTORS.len()..length].copy_from_slice(number.as_bytes());
    let link = CStr::from_bytes_with_nul(&link[..=length]).ok()?;
    let (path, _) = rustix::fs::readlinkat_raw(CWD, link, &mut path[..]).ok()?;
    Some(with(path))
}

fn path_of_descriptor(file: impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

/// File systems that report every change, because each is made through this kernel: ext2 to ext4, XFS, Btrfs, F2FS,
/// Bcachefs, tmpfs and ramfs; and SquashFS and EROFS, which never change. The numbers are from statfs(2). ZFS is
/// missing, because it can find a file by a name that differs from the reported one.
const TELLING: [u64; 9] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0xca45_1a4e, 0x0102_1994, 0x8584_58f6, 0x7371_7368, 0xe0f5_e1e2];

/// `FS_CASEFOLD_FL` of a folder (`chattr +F`): ext4, F2FS, Bcachefs and tmpfs find its names in spellings other than
/// the reported ones, such as the other case. XFS created with that option does so for the case of ASCII only, without
/// a flag. Therefore names are compared in lower case everywhere.
const CASEFOLD: u32 = 0x4000_0000;

pub fn reports_changes(file: &OwnedFd, is_folder: bool) -> rustix::io::Result<bool> {
    let of_system = rustix::fs::fstatfs(file)?.f_type as u64;
    Ok(TELLING.contains(&of_system) && !(is_folder && folds_case(file)?))
}

/// Returns whether a folder finds names in other spellings. If the flag cannot be read, the folder is not watched.
fn folds_case(folder: &OwnedFd) -> rustix::io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = match rustix::fs::openat(folder, c".", flags, Mode::empty()) {
        Err(Errno::ACCESS) => return Ok(false),
        opened => opened?,
    };
    match rustix::fs::ioctl_getflags(folder) {
        // this file system has no such flags
        Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(false),
        flags => Ok(flags?.bits() & CASEFOLD != 0),
    }
}

/// Returns how many files and folders this user can watch.
pub fn max_watches() -> Option<usize> {
    read_to_string("/proc/sys/fs/inotify/max_user_watches").ok()?.trim().parse().ok()
}

/// More events than this at once count as lost: the queue has no more unless `fs.inotify.max_queued_events` was raised.
const MOST_NEWS: usize = 20_000;

/// How many bytes of events one read returns at most. An event with a name takes up to 272.
const NEWS: usize = 4096;

const NAMES: WatchFlags =
    WatchFlags::CREATE.union(WatchFlags::DELETE).union(WatchFlags::MOVED_FROM).union(WatchFlags::MOVED_TO);
const SELF: WatchFlags = WatchFlags::ATTRIB.union(GONE);
const GONE: WatchFlags = WatchFlags::DELETE_SELF.union(WatchFlags::MOVE_SELF);
const FOLDER: WatchFlags = NAMES.union(SELF).union(WatchFlags::ONLYDIR);

/// Changes reported by the kernel: inotify.
#[derive(Debug)]
pub struct Changes(OwnedFd);

impl Changes {
    /// # Errors
    /// If the user has the maximum number of instances (`fs.inotify.max_user_instances`).
    pub fn new() -> rustix::io::Result<Changes> {
        inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map(Changes)
    }

    /// Watches an open file or folder. If the inode is already watched, its watch also reports these changes from now
    /// on.
    pub fn watch(&self, file: &OwnedFd, subject: Subject) -> rustix::io::Result<i32> {
        let flags = match subject {
            Subject::File => WatchFlags::MODIFY | SELF,
            Subject::Folder => FOLDER,
            Subject::Above => NAMES | GONE | WatchFlags::ONLYDIR,
        };
        inotify::add_watch(&self.0, path_of_descriptor(file), flags | WatchFlags::MASK_ADD)
    }

    /// Watches an entry of a listed folder. A file is watched until the first report. A folder is also watched for
    /// `MODIFY`: that is the only event if `utimensat` sets the modification time alone. So writes to files in the
    /// folder are also reported, with their names.
    pub fn watch_entry(&self, folder: &OwnedFd, name: &CStr, is_folder: bool) -> rustix::io::Result<i32> {
        let path = [path_of_descriptor(folder).as_bytes(), b"/", name.to_bytes()].concat();
        let flags = match is_folder {
            true => FOLDER | WatchFlags::MODIFY,
            false => WatchFlags::MODIFY | SELF | WatchFlags::ONESHOT,
        };
        inotify::add_watch(&self.0, path, flags | WatchFlags::DONT_FOLLOW | WatchFlags::MASK_ADD)
    }

    pub fn end(&self, watch: i32) {
        let _ = inotify::remove_watch(&self.0, watch); // on an error, the kernel has already removed it
    }

    /// Reads the changes that were reported until now.
    ///
    /// # Errors
    /// If changes were lost.
    pub fn read(&self, mut tell: impl FnMut(&Change<'_>)) -> rustix::io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); NEWS];
        let mut news = Reader::new(&self.0, &mut buffer);
        for _ in 0..MOST_NEWS {
            match news.next() {
                Ok(event) => tell(&Change {
                    watch: event.wd(),
                    name: event.file_name().map(CStr::to_bytes),
                    is_lost: event.events().contains(ReadFlags::QUEUE_OVERFLOW),
                    is_end: event.events().contains(ReadFlags::IGNORED),
                    is_write: event.events().difference(ReadFlags::ISDIR) == ReadFlags::MODIFY,
                }),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::OVERFLOW) // events arrive as fast as they are read
    }

    /// Returns the descriptor, for tests.
    #[cfg(test)]
    pub fn descriptor(&self) -> &OwnedFd {
        &self.0
    }
}

/// The attribute of a file for the properties of WebDAV.
#[cfg(feature = "webdav")]
const PROPERTIES: &str = "user.modest.properties";

/// Reads the properties of a file. `RANGE`: they are longer than the buffer.
#[cfg(feature = "webdav")]
pub fn read_properties(file: impl AsFd, bytes: &mut [u8]) -> rustix::io::Result<usize> {
    rustix::fs::fgetxattr(file, PROPERTIES, bytes)
}

/// Stores the properties of a file, or removes them.
#[cfg(feature = "webdav")]
pub fn write_properties(file: impl AsFd, bytes: &[u8]) -> rustix::io::Result<()> {
    if !bytes.is_empty() {
        return rustix::fs::fsetxattr(file, PROPERTIES, bytes, rustix::fs::XattrFlags::empty());
    }
    match rustix::fs::fremovexattr(file, PROPERTIES) {
        Err(rustix::io::Errno::NODATA) => Ok(()),
        result => result,
    }
}
