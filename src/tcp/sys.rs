//! Sockets, the poller and what else the kernel does for a server, under one name each.
//! The engine takes them from here and nowhere else, so that the simulation can run its very files on a simulated
//! machine (`tests/simulation`).

pub use mio::{Events, Interest, Poll, Registry, Token, Waker};
pub use rustix::event::PollFlags;
pub use rustix::fs::sendfile;
pub use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
pub use socket2::{SockRef, Socket};

use std::ffi::OsString;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use mio::event::Source;
use mio::unix::SourceFd;
use rustix::event::{PollFd, poll};
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, acceptfrom_with};
use rustix::time::Timespec;
use socket2::{SockFilter, TcpKeepalive};

use super::address::Address;

/// A socket that listens, TCP or Unix, and does not block.
#[derive(Debug)]
pub struct ListeningSocket(OwnedFd);

/// The stream of one client, TCP or of a Unix socket, which does not block.
pub struct ClientStream(OwnedFd);

impl ListeningSocket {
    /// Accept one connection.
    pub fn accept(&self) -> io::Result<(ClientStream, Address)> {
        let (stream, address) = acceptfrom_with(&self.0, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        Ok((ClientStream(stream), address_of(address)))
    }

    /// Whether somebody waits to be accepted at this moment.
    pub fn somebody_waits(&self) -> io::Result<bool> {
        let no_time = Timespec { tv_sec: 0, tv_nsec: 0 };
        Ok(poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&no_time))? > 0)
    }

    /// From now on nobody can begin to connect: whoever has connected can still be accepted, and then none is left to be
    /// reset when the socket is closed. Of a socket that no other process has: it ends for all.
    ///
    /// # Errors
    /// If the kernel does not do that.
    pub fn refuse_newcomers(&self) -> io::Result<()> {
        let socket = SockRef::from(&self.0);
        match socket.local_addr()?.as_socket() {
            Some(_) => socket.attach_filter(NO_SYN),
            None => socket.shutdown(Shutdown::Read), // unix_stream_connect: ECONNREFUSED
        }
    }
}

/// A filter by which a TCP socket that listens drops each SYN that comes, and nothing else: last ACKs are let through.
/// Who is dropped tries again after a second. (The packet begins with the TCP header; of its flags SYN is 2, ACK 16.)
const NO_SYN: &[SockFilter] = &[
    SockFilter::new(0x30, 0, 0, 13),       // load the byte of the flags
    SockFilter::new(0x54, 0, 0, 18),       // SYN and ACK of it
    SockFilter::new(0x15, 0, 1, 2),        // SYN alone?
    SockFilter::new(0x06, 0, 0, 0),        // drop it
    SockFilter::new(0x06, 0, 0, u32::MAX), // take it whole
];

/// Of a socket that listens, and does not block.
impl From<OwnedFd> for ListeningSocket {
    fn from(socket: OwnedFd) -> ListeningSocket {
        ListeningSocket(socket)
    }
}

impl ClientStream {
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        SockRef::from(self).shutdown(how)
    }
}

/// A second handle of the same socket. It is closed only with the last of them.
pub fn second_handle(stream: &ClientStream) -> io::Result<ClientStream> {
    stream.0.try_clone().map(ClientStream)
}

/// Wait until one of these can be done with the stream, or for so long: it may be for less.
pub fn wait_until_ready(stream: &ClientStream, what: PollFlags, limit: Option<Duration>) -> io::Result<()> {
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    match poll(&mut [PollFd::new(stream, what)], limit.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(err) => Err(err.into()),
    }
}

/// Reset a socket at once, whoever waits on it: its client sees that something was broken off, and a thread that reads or
/// writes has an error. A Unix socket has no reset: it ends both ways.
pub fn cut_off(socket: &Socket) {
    // It fails of a Unix socket, where the client is gone, and in Linux 6.4 and 6.5 while a thread waits: then the thread is
    // woken by an end, and what is left when it closes is a reset.
    if rustix::net::connect_unspec(socket).is_err() {
        let _ = socket.set_linger(Some(Duration::ZERO));
        let _ = socket.shutdown(Shutdown::Both);
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for ClientStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

macro_rules! may_be_polled {
    ($($socket:ty),*) => {
        $(impl Source for $socket {
            fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
                SourceFd(&self.0.as_raw_fd()).register(registry, token, interest)
            }

            fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
                SourceFd(&self.0.as_raw_fd()).reregister(registry, token, interest)
            }

            fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
                SourceFd(&self.0.as_raw_fd()).deregister(registry)
            }
        })*
    };
}

may_be_polled!(ListeningSocket, ClientStream);

/// The address as the kernel tells it. A Unix socket without a name has none at all.
pub fn address_of(address: Option<SocketAddrAny>) -> Address {
    let Some(address) = address else { return Address::Unix(None) };
    if address.address_family() != AddressFamily::UNIX {
        return SocketAddr::try_from(address).map_or(Address::Unix(None), Address::Inet);
    }
    let Ok(address) = SocketAddrUnix::try_from(address) else { return Address::Unix(None) };
    let name = match (address.path_bytes(), address.abstract_name()) {
        (Some(path), _) => Some(path.to_vec()),
        (None, Some(name)) if !name.is_empty() => Some([b"@", name].concat()),
        (None, _) => None,
    };
    Address::Unix(name.map(|name| OsString::from_vec(name).into()))
}

/// How many bytes wait in the kernel to be sent or to be acknowledged; `None`: it does not tell, as of a Unix socket.
pub fn unacknowledged(stream: &ClientStream) -> Option<u64> {
    let socket = SockRef::from(stream);
    let (local, peer) = (socket.local_addr().ok()?, socket.peer_addr().ok()?);
    super::unacknowledged::unacknowledged(local.as_socket()?, peer.as_socket()?)
}

/// The stream as a socket that blocks.
pub fn blocking(stream: ClientStream) -> io::Result<Socket> {
    let socket = Socket::from(stream.0);
    socket.set_nonblocking(false)?;
    Ok(socket)
}

/// The socket as a stream that may be polled.
pub fn polled(socket: &Socket) -> io::Result<ClientStream> {
    let socket = socket.try_clone()?;
    socket.set_nonblocking(true)?;
    Ok(ClientStream(socket.into()))
}

/// Have the kernel ask the client's, after so long a silence and as often as that, whether the connection is still known there.
/// A Unix socket has no such thing, and needs none: its poller tells.
pub fn probe(stream: &ClientStream, after: Duration) {
    let probes = TcpKeepalive::new().with_time(after).with_interval(after);
    let _ = SockRef::from(stream).set_tcp_keepalive(&probes);
}
