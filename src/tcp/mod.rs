//! Floor 1: clients. Bytes, time and threads; no HTTP.
//! Each module uses only what stands below it.

mod server; // bind, settings, serve

mod handle; // shutdown and stats, from anywhere
mod workers; // what a worker does all day

mod engine; // what all workers share
mod lifecycle; // from the start of the workers to the end of the last

mod connection; // one client, a turn at a time
mod poller;
mod protocol; // the protocol interface: what the engine asks of a protocol // who is ready

mod acceptor; // the listener
mod scheduler; // ready queue, poller, idle workers, permits, the table of connections
mod transport; // the socket of one client

mod per_address; // how many connections an address has

mod unacknowledged; // what the kernel still holds for a client

mod contain; // where panics of user code end
mod sync; // locks, atomics, parking, queues

mod slow; // handlers that run for long

mod client; // who is there
mod input; // bytes not yet used
mod output; // pieces to write

pub use client::Client;
pub use engine::Stats;
pub use handle::ServerHandle;
pub use input::Input;
pub use output::{Output, Piece, SharedBytes};
pub use protocol::{Conversation, Event, IntoProtocol, Next, Protocol, Raw, Stage, Turn};
pub use scheduler::Waker;
pub use server::TcpServer;
