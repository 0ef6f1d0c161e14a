//! The defaults of limits that depend on the memory, collected from their modules for programs that display or document
//! them.

use crate::files::StaticFileHandler;
use crate::http::body_memory_quota;
use crate::tcp::{
    CONNECTION, TLS_CONNECTION, connections_by_descriptors, connections_in, default_workers, input_quota,
};

/// The default limits for an amount of memory: of [`TcpServer::memory`](crate::TcpServer::memory),
/// [`Http::memory`](crate::Http::memory) and [`StaticFileHandler::memory`](crate::StaticFileHandler::memory).
///
/// ```
/// use modest::DefaultLimits;
///
/// let small = DefaultLimits::for_memory(64 << 20);
/// assert_eq!((small.connections, small.tls_connections), (4096, 409));
/// assert_eq!((small.input_quota, small.body_memory_quota), (8 << 20, 8 << 20));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DefaultLimits {
    /// The memory, in bytes.
    pub memory: u64,
    /// The default of [`TcpServer::workers`](crate::TcpServer::workers), which depends on the number of processors.
    pub workers: usize,
    /// [`TcpServer::max_connections`](crate::TcpServer::max_connections) for this memory, without TLS.
    pub connections: usize,
    /// [`TcpServer::max_connections`](crate::TcpServer::max_connections) for this memory, with TLS.
    pub tls_connections: usize,
    /// The number of file descriptors limits both of the above to this many.
    pub connections_by_descriptors: usize,
    /// [`TcpServer::input_quota`](crate::TcpServer::input_quota), in bytes.
    pub input_quota: u64,
    /// [`Http::body_memory_quota`](crate::Http::body_memory_quota), in bytes.
    pub body_memory_quota: u64,
    /// The bytes of [`StaticFileHandler::cache`](crate::StaticFileHandler::cache).
    pub file_cache: u64,
    /// [`StaticFileHandler::open_files`](crate::StaticFileHandler::open_files), which depends on the file descriptor
    /// limit.
    pub open_files: usize,
    /// [`StaticFileHandler::listing_cache`](crate::StaticFileHandler::listing_cache), in bytes.
    pub listing_cache: u64,
    /// [`StaticFileHandler::compressed_cache`](crate::StaticFileHandler::compressed_cache), in bytes.
    pub compressed_cache: u64,
}

impl DefaultLimits {
    /// Returns the defaults for this much memory, in bytes.
    pub fn for_memory(memory: u64) -> DefaultLimits {
        let [file_cache, listing_cache, compressed_cache] = StaticFileHandler::caches_in(memory);
        DefaultLimits {
            memory,
            workers: default_workers(),
            connections: connections_in(memory, CONNECTION),
            tls_connections: connections_in(memory, TLS_CONNECTION),
            connections_by_descriptors: connections_by_descriptors(),
            input_quota: input_quota(memory),
            body_memory_quota: body_memory_quota(memory),
            file_cache,
            open_files: StaticFileHandler::open_by_default(),
            listing_cache,
            compressed_cache,
        }
    }
}
