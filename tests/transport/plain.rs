//! The transport of a build without TLS: TCP itself.

use std::io;
use std::net::{SocketAddr, TcpStream};

use modest::{IntoProtocol, TcpServer};

pub fn bind(handler: impl IntoProtocol) -> TcpServer {
    TcpServer::bind("127.0.0.1:0", handler).expect("a free port")
}

pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(address)
}

pub fn is_plain() -> bool {
    true
}

pub fn shows_resets() -> bool {
    true
}

pub fn has_addresses() -> bool {
    true
}

pub fn is_secured() -> bool {
    false
}
