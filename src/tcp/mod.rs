//! Floor 1: clients. Bytes, time and threads; no HTTP.
//! Each module uses only what stands below it.

mod server; // bind, settings, serve

mod handle; // shutdown and stats, from anywhere
mod workers; // what a worker does all day

mod engine; // what all workers share
mod lifecycle; // from the start of the workers to the end of the last

mod connection; // one client, a turn at a time
mod listen; // addresses, and the sockets made of them
mod poller; // who is ready
mod protocol; // the protocol interface: what the engine asks of a protocol

mod acceptor; // accepting, from all listeners
mod scheduler; // ready queue, poller, idle workers, permits, the table of connections
mod transport; // the socket of one client

mod contain; // where panics of user code end
mod sync; // locks, atomics, parking, queues

mod listener; // one listening socket
mod notify; // what systemd is told

mod client; // who is there

mod address; // where somebody is
mod input; // bytes not yet used
mod output; // pieces to write

pub use address::Address;
pub use client::Client;
pub use engine::Stats;
pub use handle::ServerHandle;
pub use input::Input;
pub use listen::Listen;
pub use output::{Output, Piece, SharedBytes};
pub use protocol::{Conversation, Event, IntoProtocol, Next, Protocol, Raw, Stage, Turn};
pub use scheduler::Waker;
pub use server::TcpServer;
