//! Data that every Unix has. Compiled for systems other than Linux, and for tests on Linux.

use super::Accounts;

/// Which data the metrics have of the process.
pub const WAY: &str = "CPU time and the limit of descriptors";

/// There is nothing to open.
pub struct Source;

impl Source {
    pub fn open() -> Source {
        Source
    }

    /// Not known: FreeBSD's `/dev/fd` has only the first three unless another file system is mounted there.
    pub fn open_files(&self) -> Option<usize> {
        None
    }

    /// Not known.
    pub fn accounts(&self) -> Option<Accounts> {
        None
    }
}
