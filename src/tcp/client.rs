//! The client of a connection, and how the connection is encrypted.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::address::Address;

/// The client of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client(Kind);

/// An enum is one word smaller than an address and an option. Each connection has two of these, and most connections
/// are not encrypted here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Plain(Address),
    Secured(Arc<(Address, TlsInfo)>),
}

/// How a connection is encrypted: the result of the handshake. Created by [`Tls`](crate::Tls), by another conversation
/// that encrypts, or by tests.
///
/// ```
/// use modest::{Client, Request, TlsInfo};
/// use std::net::SocketAddr;
///
/// let client = Client::new(SocketAddr::from(([127, 0, 0, 1], 4711)));
/// let client = client.with_tls(TlsInfo::new("TLSv1.3").with_server_name("a.example"));
/// let request = Request::get("/").with_client(client);
/// assert!(request.is_secure());
/// assert_eq!(request.client().tls().and_then(TlsInfo::server_name), Some("a.example"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsInfo {
    version: &'static str,
    cipher: &'static str,
    server_name: Option<Box<str>>,
    application_protocol: Option<Box<[u8]>>,
    peer_certificates: Vec<Box<[u8]>>,
    resumed: bool,
}

impl Client {
    /// Creates a client with this address, for tests. An IPv4 address mapped into IPv6 (`::ffff:1.2.3.4`) becomes an
    /// IPv4 address.
    pub fn new(address: impl Into<Address>) -> Client {
        Client(Kind::Plain(address.into().canonical()))
    }

    /// Sets how the connection is encrypted.
    pub fn with_tls(self, tls: TlsInfo) -> Client {
        Client(Kind::Secured(Arc::new((self.address().clone(), tls))))
    }

    /// Returns the address of the client (Python's `client_address`).
    pub fn address(&self) -> &Address {
        match &self.0 {
            Kind::Plain(address) => address,
            Kind::Secured(both) => &both.0,
        }
    }

    /// Returns the IP address without the port; `None` for a Unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address().ip()
    }

    /// Returns how this connection is encrypted, or `None` if this server does not encrypt it. (A proxy in front may
    /// encrypt the connection to the client.)
    pub fn tls(&self) -> Option<&TlsInfo> {
        match &self.0 {
            Kind::Plain(_) => None,
            Kind::Secured(both) => Some(&both.1),
        }
    }
}

impl TlsInfo {
    /// Creates a description of a session with this version: `TLSv1.3`, `TLSv1.2`.
    pub fn new(version: &'static str) -> TlsInfo {
        TlsInfo { version, ..TlsInfo::default() }
    }

    /// Sets the cipher suite.
    pub fn with_cipher(self, cipher: &'static str) -> TlsInfo {
        TlsInfo { cipher, ..self }
    }

    /// Sets the name of this server that the client has sent.
    pub fn with_server_name(self, name: &str) -> TlsInfo {
        TlsInfo { server_name: Some(name.into()), ..self }
    }

    /// Sets the negotiated application protocol.
    pub fn with_application_protocol(self, name: &[u8]) -> TlsInfo {
        TlsInfo { application_protocol: Some(name.into()), ..self }
    }

    /// Sets the certificates of the client (DER), its own first.
    pub fn with_peer_certificates<'a>(self, chain: impl IntoIterator<Item = &'a [u8]>) -> TlsInfo {
        TlsInfo { peer_certificates: chain.into_iter().map(Box::from).collect(), ..self }
    }

    /// Sets whether the session was resumed.
    pub fn with_resumed(self, resumed: bool) -> TlsInfo {
        TlsInfo { resumed, ..self }
    }

    /// Returns the version, as OpenSSL and Python write it: `TLSv1.3`, `TLSv1.2`.
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// Returns the cipher suite by its name in the registry of IANA, as Python and OpenSSL write it for TLS 1.3:
    /// `TLS_AES_256_GCM_SHA384`. Empty if it is unknown.
    pub fn cipher(&self) -> &'static str {
        self.cipher
    }

    /// Returns the name of this server that the client has sent (SNI, RFC 6066, section 3). A request's host may
    /// differ.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Returns the negotiated protocol (ALPN, RFC 7301), such as `http/1.1`; `None` if the client offered none.
    pub fn application_protocol(&self) -> Option<&[u8]> {
        self.application_protocol.as_deref()
    }

    /// Returns the certificates of the client in DER, its own first, verified against the
    /// [trusted](crate::Tls::client_certificates) ones. Empty if none were requested, or the client has none.
    pub fn peer_certificates(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.peer_certificates.iter().map(|der| &**der)
    }

    /// Returns whether the session was resumed from an earlier connection.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_no_larger_than_its_address() {
        assert_eq!(size_of::<Client>(), size_of::<Address>());
    }
}
