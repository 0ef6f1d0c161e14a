//! Datagrams, beside the floors of connections and of HTTP. Each is a message of its own, so there is no connection, no
//! conversation and no poller: one thread receives, and a pool of workers handles. Takes addresses, locks and threads
//! from `tcp`, and nothing of its engine. Each module uses only those below it.

mod server; // bind, settings, receive

mod pool; // the queue, and the workers

mod datagram; // a datagram, and its handler

mod socket; // receiving, sending, and the bell that ends a wait

pub use datagram::{Datagram, DatagramHandler};
pub use server::UdpServer;
