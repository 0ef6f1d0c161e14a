//! Data that every Unix has. Compiled for systems other than Linux, and for tests on Linux.

use super::Accounts;

pub const WAY: &str = "CPU time and the file descriptor limit";

/// The source of the data. No files have to be opened.
pub struct Source;

impl Source {
    pub fn open() -> Source {
        Source
    }

    /// Returns `None`: FreeBSD's `/dev/fd` has only the first three descriptors unless another file system is mounted
    /// there.
    pub fn open_files(&self) -> Option<usize> {
        None
    }

    /// Returns `None`: this data is not known.
    pub fn accounts(&self) -> Option<Accounts> {
        None
    }
}
