//! Floor 1: clients. Bytes, time and threads; no HTTP.
//! Each module uses only what stands below it.

mod server; // bind, settings, serve

mod lines; // line protocols

mod inner; // a conversation inside another
mod proxy; // the PROXY protocol around another

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

mod contain; // where panics of user code end
mod sync; // locks, atomics, parking, queues

mod client; // who is there
mod input; // bytes not yet used
mod network; // networks of addresses
mod output; // pieces to write

pub use client::Client;
pub use engine::Stats;
pub use handle::ServerHandle;
pub use inner::{Inner, Layer};
pub use input::Input;
pub use lines::{Flow, LineHandler, Lines, Refusal};
pub use network::{InvalidNetwork, IpNetwork};
pub use output::{Output, Piece, SharedBytes};
pub use protocol::{Conversation, Event, IntoProtocol, Next, Protocol, Raw, Stage, Turn};
pub use proxy::ProxyProtocol;
pub use scheduler::Waker;
pub use server::TcpServer;
