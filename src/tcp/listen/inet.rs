//! Sockets at IP addresses and at the addresses of a host name: listeners, and sockets for datagrams.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use socket2::Socket;

use super::{Bound, Settings};

/// How often another port is tried for port 0, if the port that was free for the first address of a name is not free
/// for the next address.
const TRIES: usize = 16;

pub fn open_host<S: Bound>(host: &str, port: u16, settings: &Settings) -> io::Result<Vec<S>> {
    if matches!(host, "" | "*") {
        return Ok(vec![open_every(port, settings)?]);
    }
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![S::at_address(SocketAddr::new(ip, port), settings)?]);
    }
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in (host, port).to_socket_addrs()? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    for _ in 1..TRIES {
        match open_all(&addresses, settings) {
            Err(err) if err.kind() == io::ErrorKind::AddrInUse && port == 0 => {}
            done => return done,
        }
    }
    open_all(&addresses, settings)
}

/// Listens at all these addresses, with one port. Addresses that this machine does not have are left out, unless it has
/// none of them.
fn open_all<S: Bound>(addresses: &[SocketAddr], settings: &Settings) -> io::Result<Vec<S>> {
    let mut listeners: Vec<S> = Vec::new();
    let mut absent = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    for address in addresses {
        let mut address = *address;
        if let Some(port) = listeners.first().and_then(Bound::port) {
            address.set_port(port);
        }
        match S::at_address(address, settings) {
            Ok(listener) => listeners.push(listener),
            Err(err) if is_absent(&err) => absent = err,
            Err(err) => return Err(err),
        }
    }
    if listeners.is_empty() { Err(absent) } else { Ok(listeners) }
}

/// Listens at every address of this machine: over IPv6, which includes IPv4, if the system has it.
fn open_every<S: Bound>(port: u16, settings: &Settings) -> io::Result<S> {
    match S::at_address((Ipv6Addr::UNSPECIFIED, port).into(), settings) {
        Err(err) if is_absent(&err) && !settings.ipv6_only => {
            S::at_address((Ipv4Addr::UNSPECIFIED, port).into(), settings)
        }
        done => done,
    }
}

/// Returns whether the machine does not have this address, or no address of its family.
fn is_absent(err: &io::Error) -> bool {
    use rustix::io::Errno;
    err.raw_os_error()
        .is_some_and(|code| [Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT].contains(&Errno::from_raw_os_error(code)))
}

pub fn bind(socket: &Socket, address: SocketAddr, settings: &Settings) -> io::Result<()> {
    if settings.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(settings.ipv6_only)?; // independent of the system's default (`net.ipv6.bindv6only`)
    }
    socket.bind(&address.into())
}
