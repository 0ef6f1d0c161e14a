//! Who is at the other end of a connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The client of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    address: SocketAddr,
}

impl Client {
    /// A client at this address; the server makes its own, tests make theirs.
    /// An IPv4 address mapped into IPv6 (`::ffff:1.2.3.4`) is taken for what it is.
    pub fn new(address: SocketAddr) -> Client {
        Client { address: SocketAddr::new(address.ip().to_canonical(), address.port()) }
    }

    /// Address and port (Python's `client_address`).
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address without the port.
    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}
