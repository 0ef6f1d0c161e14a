//! Floor 1: clients. Bytes, time and threads; no HTTP.
//! Each room uses only what stands below it.

mod server; // bind, settings, serve, stop, stats

mod workers; // a worker's day

mod engine; // what all workers share

mod connection; // one client, a turn at a time
mod poller; // the poller and the acceptor

mod scheduler; // queue, poller, idle, permits, table
mod transport; // the socket of one client

mod protocol; // the protocol interface: what the engine asks of a protocol
mod sync; // locks, atomics, parking, the queue

mod client; // who is there
mod input; // bytes not yet used
mod output; // pieces to write

pub use client::Client;
pub use engine::Stats;
pub use input::Input;
pub use output::{Output, Piece, SharedBytes};
pub use protocol::{Conversation, Event, IntoProtocol, Next, Protocol, Raw, Stage, Turn};
pub use server::{ServerHandle, TcpServer};
