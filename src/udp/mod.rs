//! Datagrams, beside the floors of clients and of HTTP: each is a message of its own, so there is no connection, no
//! conversation and no poller; one thread receives, a pool of workers handles. Takes addresses, locks and threads from
//! `tcp`, and nothing of its engine.
//! Each module uses only what stands below it.

mod server; // bind, settings, receive

mod pool; // the queue, and the workers who handle what is in it

mod datagram; // a datagram, and who handles it

mod socket; // receiving, sending, and the bell that ends a wait

pub use datagram::{Datagram, DatagramHandler};
pub use server::UdpServer;
