//! The memory that this process can use, and the default limits that depend on it. Read once, at the first call.

use rustix::process::{Resource, getrlimit};

use super::sync::{self, OnceLock};
use super::sys;

/// Returns how much memory this process can use, in bytes: the machine's, or the smallest limit of its control groups
/// (version 2: `memory.max` and `memory.high`; version 1: `memory.limit_in_bytes`). On systems other than Linux, which
/// report it only to `unsafe` code, it is assumed to be 2 GiB.
///
/// The default limits of [`TcpServer`](crate::TcpServer::memory), [`Http`](crate::Http::memory) and
/// [`StaticFileHandler`](crate::StaticFileHandler::memory) depend on it.
pub fn available_memory() -> u64 {
    static AVAILABLE: OnceLock<u64> = OnceLock::new();
    *AVAILABLE.get_or_init(sys::memory)
}

/// The memory of a connection that no other quota counts: about 4 KiB with the kernel's part, and 2 KiB of uncounted
/// input.
pub const CONNECTION: u64 = 8 * 1024;
/// The memory of a connection with TLS. Its keys take about 4 KiB, and a client that reads slowly has up to 64 KiB of
/// records that are sealed ahead. For many such clients, 74 KiB were measured for each, with buffers of rustls of 4 KiB
/// that it no longer has.
pub const TLS_CONNECTION: u64 = 80 * 1024;
/// The minimum of the default for `max_connections`.
const LEAST_CONNECTIONS: usize = 16;
/// The maximum of the default for `input_quota`.
const INPUT_QUOTA: u64 = 256 * 1024 * 1024;
/// Descriptors reserved for files and the program itself: this many, or an eighth if that is more, but at most half.
const KEPT: u64 = 64;

/// Returns the default number of handlers that run at once.
pub fn default_workers() -> usize {
    (4 * sync::cores()).max(16)
}

/// Returns how many connections fit in half of the memory.
pub fn connections_in(memory: u64, each: u64) -> usize {
    usize::try_from(memory / 2 / each.max(1)).unwrap_or(usize::MAX).max(LEAST_CONNECTIONS)
}

/// Returns how many connections the file descriptor limit allows.
pub fn connections_by_descriptors() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let kept = (files / 8).max(KEPT).min(files / 2);
    usize::try_from(files - kept).unwrap_or(usize::MAX).max(1)
}

/// Returns the part of the memory for received and unused bytes.
pub fn input_quota(memory: u64) -> u64 {
    (memory / 8).min(INPUT_QUOTA)
}
