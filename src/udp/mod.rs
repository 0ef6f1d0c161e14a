//! Datagrams, next to the modules for connections and HTTP. Each datagram is a message of its own, so there is no
//! connection, no conversation and no poller: one thread receives, and a pool of workers handles. It uses addresses,
//! locks and threads of `tcp`, but not its engine. Each module uses only those below it.

mod server; // bind, settings, receive
mod pool; // the queue, and the workers
mod datagram; // a datagram, and its handler
mod socket; // receiving, sending, and waking the receiving thread

pub use datagram::{Datagram, DatagramHandler};
pub use server::UdpServer;
