//! Sockets for datagrams, at the addresses that listeners support. Used only by `udp`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::net::{SocketType, getsockname, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::super::address::Address;
use super::super::listener::SocketFile;
use super::super::sys::address_of;
use super::inherited::Kind;
use super::{Bound, Settings, inet, invalid, unix};

#[derive(Debug)]
pub(crate) struct DatagramSocket {
    _file: Option<SocketFile>, // removes the file when dropped; dropped before the socket is closed
    pub(crate) socket: Socket,
    pub(crate) address: Address,
}

impl Bound for DatagramSocket {
    const KIND: Kind = Kind::Datagrams;

    fn at_address(address: SocketAddr, settings: &Settings) -> io::Result<DatagramSocket> {
        // Without SO_REUSEADDR, which would let another process take the datagrams.
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        inet::bind(&socket, address, settings)?;
        bound(socket, None)
    }

    fn at_path(path: &Path, settings: &Settings) -> io::Result<DatagramSocket> {
        let (socket, file) = unix::open_datagrams(path, settings)?;
        bound(socket, file)
    }

    fn of_socket(socket: OwnedFd, _: &Settings) -> io::Result<DatagramSocket> {
        if sockopt::socket_type(&socket)? != SocketType::DGRAM {
            return Err(invalid("it is not a socket for datagrams"));
        }
        bound(socket.into(), None)
    }

    fn port(&self) -> Option<u16> {
        self.address.port()
    }
}

fn bound(socket: Socket, file: Option<SocketFile>) -> io::Result<DatagramSocket> {
    let address = address_of(Some(getsockname(&socket)?));
    Ok(DatagramSocket { _file: file, socket, address })
}
