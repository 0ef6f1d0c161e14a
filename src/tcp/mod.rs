//! Floor 1: clients. Bytes, time and threads; no HTTP.

mod client; // who is there
mod connection; // one client, a turn at a time
mod conversation; // the stair: what the engine asks of a protocol
mod engine; // what all workers share
mod handover; // queue, rack, sleepers, slots, seats
mod input; // bytes not yet used
mod output; // pieces to write
mod server; // bind, settings, serve, stop, stats
mod sync;
mod transport; // the socket of one client
mod waiting_room; // the poller and the door
mod workers; // a worker's day // locks, atomics, parking, the queue

pub use client::Client;
pub use conversation::{Conversation, Event, IntoProtocol, Next, Protocol, Raw, Stage, Turn};
pub use engine::Stats;
pub use input::Input;
pub use output::{Output, Piece, SharedBytes};
pub use server::{Stopper, TcpServer};
