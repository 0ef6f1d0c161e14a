//! Who is at the other end of a connection.

use std::fmt;
use std::net::IpAddr;

use super::address::Address;

/// The client of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    address: Address,
}

impl Client {
    /// A client at this address; the server makes its own, tests make theirs.
    /// An IPv4 address mapped into IPv6 (`::ffff:1.2.3.4`) is taken for what it is.
    pub fn new(address: impl Into<Address>) -> Client {
        Client { address: address.into().canonical() }
    }

    /// Its address (Python's `client_address`).
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The IP address without the port; none of a client that came by a Unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.ip()
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}
