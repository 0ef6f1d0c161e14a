//! The statistics of a server.

use super::address::Address;

/// The current state of a server, and counts since its start. For datagrams see
/// [`UdpServer::stats`](crate::UdpServer::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Clients accepted so far.
    pub accepted: u64,
    /// Clients connected now.
    pub connections: usize,
    /// Connections that wait for their client.
    pub parked: usize,
    /// Connections that are ready for a turn and wait for a worker.
    pub ready: usize,
    /// Connections that wait for a permit, nearly all because all workers are in handlers.
    pub waiting: usize,
    /// Workers in a handler, or in other code that may block.
    pub running: usize,
    /// Connections that have left the engine, each with a thread of its own, and handlers that have kept their threads
    /// ([`keep_thread`](crate::keep_thread)).
    pub streams: usize,
    /// Connections that wait for a thread of their own ([`TcpServer::max_streams`](crate::TcpServer::max_streams)).
    pub waiting_streams: usize,
    /// Listeners of events ([`Response::events`](crate::Response::events)) or of bytes that other threads push
    /// ([`Response::channel`](crate::Response::channel)).
    pub event_listeners: usize,
    /// Requests that wait for a signal ([`Response::wait_for`](crate::Response::wait_for)).
    pub long_polls: usize,
    /// Connections that have switched to another protocol and have no thread of their own
    /// ([`Response::switch_to`](crate::Response::switch_to)), mostly WebSockets.
    pub websockets: usize,
    /// Requests rejected so far because all workers were in handlers for too long, or too many requests waited for one.
    pub refused: u64,
    /// Clients rejected so far because their address had the maximum number of connections.
    pub refused_per_address: u64,
    /// Listeners, polls and WebSockets rejected so far because of the limit in total or per address.
    pub refused_live: u64,
    /// Clients rejected so far because of [`TcpServer::input_quota`](crate::TcpServer::input_quota).
    pub refused_input: u64,
    /// Connections that were refused a thread of their own so far.
    pub refused_streams: u64,
    /// The bytes counted for `input_quota`: received and unused, heads of requests in progress, and up to 64 KiB of
    /// unsent output per client.
    pub input: usize,
    /// Permits in use. 0 while the server is idle.
    pub permits: usize,
    /// How often the kernel was polled.
    pub polls: u64,
    /// Wake-ups of workers.
    pub wakes: u64,
    /// Connections closed so far to make room for new ones: idle, half-closed, or with an incomplete head.
    pub evicted: u64,
    /// Background threads ([`TcpServer::background`](crate::TcpServer::background)).
    pub background: usize,
    /// Bytes of output that were dropped so far because a client disconnected or read too slowly: output in memory and
    /// rests of files that the socket had not accepted.
    pub unsent: u64,
}

/// The statistics of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerStats {
    /// Its address, with the real port.
    pub address: Address,
    /// Clients accepted by this listener so far, including those rejected because of their address.
    pub accepted: u64,
}
