//! The figures of a server.

use super::address::Address;

/// What a server is doing at this moment, and has done so far. What they mean of datagrams:
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
    /// Connections that are ready and wait for a worker.
    pub ready: usize,
    /// Connections that wait for a permit, nearly all of them because all workers are in handlers.
    pub waiting: usize,
    /// Workers that are in a handler, or in other code that may block.
    pub running: usize,
    /// Connections that have left the engine, each with a thread of its own.
    pub streams: usize,
    /// Clients that listen: to events ([`Response::events`](crate::Response::events)), or to bytes that other threads push
    /// ([`Response::channel`](crate::Response::channel)).
    pub listeners: usize,
    /// Requests that wait for a signal ([`Response::wait_for`](crate::Response::wait_for)).
    pub long_polls: usize,
    /// Connections that have changed their protocol and have no thread
    /// ([`Response::switch_to`](crate::Response::switch_to)): WebSockets, unless there are others.
    pub websockets: usize,
    /// Requests refused so far because all workers were in handlers for too long.
    pub refused: u64,
    /// Clients refused so far because their address had as many connections as it may.
    pub refused_per_address: u64,
    /// Listeners, polls and WebSockets refused so far because as many waited as may, in all or of their address.
    pub refused_live: u64,
    /// Clients refused so far because what all have sent, and nobody has used yet, took as much memory as it may
    /// ([`TcpServer::input_quota`](crate::TcpServer::input_quota)).
    pub refused_input: u64,
    /// Bytes that clients have sent and nobody has used yet, as far as they count for that.
    pub input: usize,
    /// Permits that are taken, by workers that run something or are about to. None is while nothing happens.
    pub permits: usize,
    /// How often the kernel was asked who is ready.
    pub polls: u64,
    /// How often a worker was woken.
    pub wakes: u64,
    /// Connections that were closed so far because room was short: idle ones, for those who waited to be accepted.
    pub evicted: u64,
    /// Bytes of answers that were given up so far because a client left, or took too little: what was laid out for it, and the
    /// rest of the files in it, less what its socket took.
    pub unsent: u64,
}

/// What came by one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerStats {
    /// Where it listens, with the real port.
    pub address: Address,
    /// Clients accepted there so far, those who were refused for their address, too.
    pub accepted: u64,
}
