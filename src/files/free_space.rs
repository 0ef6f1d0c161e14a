//! Whether the file system has room for new files, beyond a reserve. Called by `uploads`.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{StatVfs, fstatvfs};

use crate::new_file::NewFile;

/// mke2fs.conf(5), `inode_ratio`.
const BYTES_PER_INODE: u64 = 16 << 10;

/// Writes to a new file as long as the file system has room beyond the reserve.
pub(super) struct Writer {
    pub to: Arc<NewFile>,
    /// In bytes.
    pub reserve: u64,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !has_room(self.to.file(), bytes.len() as u64, self.reserve) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        (&*self.to).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns whether this many bytes fit, beyond the reserve. A file system without a size counts as unlimited.
pub(super) fn has_room(on: impl AsFd, bytes: u64, reserve: u64) -> bool {
    fstatvfs(on).map_or(true, |found| has_bytes(&found, bytes, reserve))
}

fn has_bytes(found: &StatVfs, bytes: u64, reserve: u64) -> bool {
    found.f_blocks == 0 || found.f_bavail.saturating_mul(found.f_frsize) >= bytes.saturating_add(reserve)
}

/// Returns whether the file system has room and an inode for one more file of this many bytes, beyond the reserve. A
/// file system without a count of inodes counts as unlimited, and so does one that reports no free inode, such as
/// rclone's: if it has none, creating a file fails.
pub(super) fn may_add(on: impl AsFd, bytes: u64, reserve: u64) -> bool {
    let Ok(found) = fstatvfs(on) else { return true };
    has_bytes(&found, bytes, reserve) && has_inode(found.f_files, found.f_favail, reserve)
}

fn has_inode(inodes: u64, free: u64, reserve: u64) -> bool {
    free == 0 || inodes == 0 || free > reserved_inodes(inodes, reserve)
}

/// Returns the number of reserved inodes: as many as ext4 creates for this many bytes, or fewer if the file system has
/// few.
fn reserved_inodes(inodes: u64, reserve: u64) -> u64 {
    (reserve / BYTES_PER_INODE).min(inodes / 16)
}

#[cfg(test)]
mod tests;
