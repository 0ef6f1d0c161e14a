//! Sockets for datagrams, at the addresses that listeners support. Used only by `udp`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::{SocketType, getsockname, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::super::address::Address;
use super::super::listener::SocketFile;
use super::super::sys::address_of;
use super::inherited::Kind;
use super::{Listen, Place, Settings, about, inet, inherited, invalid, parse, unix};

/// A socket that receives datagrams.
#[derive(Debug)]
pub(crate) struct DatagramSocket {
    _file: Option<SocketFile>, // removes the file when dropped; dropped before the socket is closed
    pub(crate) socket: Socket,
    pub(crate) address: Address,
}

impl inet::Bound for DatagramSocket {
    fn port(&self) -> Option<u16> {
        self.address.port()
    }
}

impl Listen {
    /// Binds sockets for datagrams. A name can have several addresses.
    pub(crate) fn open_datagrams(self) -> io::Result<Vec<DatagramSocket>> {
        let named = self.place.to_string();
        self.open_datagrams_unnamed().map_err(|err| about(&format!("can't receive at {named}"), &err))
    }

    fn open_datagrams_unnamed(self) -> io::Result<Vec<DatagramSocket>> {
        let Listen { place, settings } = self;
        let place = match place {
            Place::Text(text) => parse::place(&text)?,
            place => place,
        };
        settings.check_for(&place)?;
        if settings.backlog.is_some() {
            return Err(invalid("a backlog is only for listeners, not for datagrams"));
        }
        match place {
            Place::Host(host, port) => inet::open_host(&host, port, &settings, open_inet),
            Place::Inet(address) => Ok(vec![open_inet(address, &settings)?]),
            Place::Unix(path) => {
                let (socket, file) = unix::open_datagrams(&path, &settings)?;
                Ok(vec![bound(socket, file)?])
            }
            Place::Made(socket) => Ok(vec![made_elsewhere(socket)?]),
            Place::Text(_) => Err(invalid("it is not an address")),
            Place::Descriptor(number) => Ok(vec![made_elsewhere(inherited::descriptor(number, Kind::Datagrams)?)?]),
            Place::Systemd(name) => {
                let sockets = inherited::of_systemd(name.as_deref(), Kind::Datagrams)?;
                sockets.into_iter().map(made_elsewhere).collect()
            }
        }
    }
}

fn open_inet(address: SocketAddr, settings: &Settings) -> io::Result<DatagramSocket> {
    // Without SO_REUSEADDR, which would let another process take the datagrams.
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    inet::bind(&socket, address, settings)?;
    bound(socket, None)
}

fn made_elsewhere(socket: OwnedFd) -> io::Result<DatagramSocket> {
    if sockopt::socket_type(&socket)? != SocketType::DGRAM {
        return Err(invalid("it is not a socket for datagrams"));
    }
    bound(socket.into(), None)
}

fn bound(socket: Socket, file: Option<SocketFile>) -> io::Result<DatagramSocket> {
    let address = address_of(Some(getsockname(&socket)?));
    Ok(DatagramSocket { _file: file, socket, address })
}
