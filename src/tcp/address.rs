//! The address of one end of a connection, or of a listener: an IP address and a port, or the name of a Unix socket.

use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The address of a client or of a listener.
///
/// ```
/// use modest::Address;
/// use std::net::SocketAddr;
///
/// let client = Address::from(SocketAddr::from(([127, 0, 0, 1], 4711)));
/// assert_eq!(client.to_string(), "127.0.0.1:4711");
/// assert_eq!(Address::Unix(Some("/run/app.sock".into())).to_string(), "unix:/run/app.sock");
/// assert_eq!(Address::Unix(None).to_string(), "unix:");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a port.
    Inet(SocketAddr),
    /// The path of a Unix socket, or `@name` of an abstract one. `None` if it has no name, like nearly all clients.
    Unix(Option<PathBuf>),
}

impl Address {
    /// Returns the IP address; `None` for a Unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        self.socket_addr().map(|address| address.ip())
    }

    /// Returns the port; `None` for a Unix socket.
    pub fn port(&self) -> Option<u16> {
        self.socket_addr().map(|address| address.port())
    }

    /// Returns the IP address and port; `None` for a Unix socket.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Address::Inet(address) => Some(*address),
            Address::Unix(_) => None,
        }
    }

    /// Converts an IPv4 address mapped into IPv6 (`::ffff:1.2.3.4`) to an IPv4 address.
    pub(super) fn canonical(self) -> Address {
        match self {
            Address::Inet(address) => Address::Inet(SocketAddr::new(address.ip().to_canonical(), address.port())),
            Address::Unix(_) => self,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Inet(address)
    }
}

/// Displays `127.0.0.1:8000`, `[::1]:8000`, `unix:/run/app.sock` or `unix:@name`; `unix:` without a name.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Inet(address) => address.fmt(f),
            Address::Unix(None) => f.write_str("unix:"),
            Address::Unix(Some(path)) => {
                f.write_str("unix:")?;
                write_printable(f, &path.to_string_lossy())
            }
        }
    }
}

/// Writes a name with control characters escaped, so that a client's name cannot add lines to a log.
pub fn write_printable(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.chars().try_for_each(|c| if c.is_control() { write!(f, "{}", c.escape_default()) } else { f.write_char(c) })
}
