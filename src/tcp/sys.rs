//! Sockets, the poller and other services of the kernel, under one name each. The engine takes them only from here, so
//! that the simulation can run its own files on a simulated machine (`tests/simulation`).

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

/// A listening socket, TCP or Unix, which does not block.
#[derive(Debug)]
pub struct ListeningSocket(OwnedFd);

/// The stream of one client, TCP or Unix, which does not block.
pub struct ClientStream(OwnedFd);

impl ListeningSocket {
    /// Accepts one connection.
    pub fn accept(&self) -> io::Result<(ClientStream, Address)> {
        let (stream, address) = acceptfrom_with(&self.0, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        Ok((ClientStream(stream), address_of(address)))
    }

    /// Whether a client is waiting to be accepted now.
    pub fn somebody_waits(&self) -> io::Result<bool> {
        let no_time = Timespec { tv_sec: 0, tv_nsec: 0 };
        Ok(poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&no_time))? > 0)
    }

    /// From now on no client can begin to connect. Connected clients can still be accepted, and then none is left to be
    /// reset when the socket is closed. Only for a socket that no other process has, because it applies to all.
    ///
    /// # Errors
    /// If the kernel does not support that.
    pub fn refuse_newcomers(&self) -> io::Result<()> {
        let socket = SockRef::from(&self.0);
        match socket.local_addr()?.as_socket() {
            Some(_) => socket.attach_filter(NO_SYN),
            None => socket.shutdown(Shutdown::Read), // unix_stream_connect: ECONNREFUSED
        }
    }
}

/// A filter that makes a listening TCP socket drop each SYN, and nothing else: last ACKs pass. A client whose SYN is
/// dropped retries after a second. (The packet begins with the TCP header; of its flags SYN is 2, ACK 16.)
const NO_SYN: &[SockFilter] = &[
    SockFilter::new(0x30, 0, 0, 13),       // load the byte of the flags
    SockFilter::new(0x54, 0, 0, 18),       // SYN and ACK of it
    SockFilter::new(0x15, 0, 1, 2),        // SYN alone?
    SockFilter::new(0x06, 0, 0, 0),        // drop it
    SockFilter::new(0x06, 0, 0, u32::MAX), // accept the whole packet
];

/// Takes a listening socket that does not block.
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

/// A second handle of the same socket, which is closed only with the last handle.
pub fn second_handle(stream: &ClientStream) -> io::Result<ClientStream> {
    stream.0.try_clone().map(ClientStream)
}

/// Waits until the stream is ready for this, or up to this time. It may return earlier.
pub fn wait_until_ready(stream: &ClientStream, what: PollFlags, limit: Option<Duration>) -> io::Result<()> {
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    match poll(&mut [PollFd::new(stream, what)], limit.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(err) => Err(err.into()),
    }
}

/// Resets a socket at once, even if a thread waits on it: its client sees that the response was interrupted, and a
/// thread that reads or writes gets an error. A Unix socket cannot be reset: it ends both ways.
pub fn cut_off(socket: &Socket) {
    // It fails for a Unix socket, if the client has disconnected, and in Linux 6.4 and 6.5 while a thread waits. Then
    // an end wakes the thread, and closing it resets the rest.
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

/// The address as returned by the kernel. A Unix socket without a name has none.
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

/// How many bytes in the kernel are unsent or unacknowledged; `None` if it does not report that, as for a Unix socket.
pub fn unacknowledged(stream: &ClientStream) -> Option<u64> {
    let socket = SockRef::from(stream);
    let (local, peer) = (socket.local_addr().ok()?, socket.peer_addr().ok()?);
    super::unacknowledged::unacknowledged(local.as_socket()?, peer.as_socket()?)
}

/// Converts the stream into a blocking socket.
pub fn blocking(stream: ClientStream) -> io::Result<Socket> {
    let socket = Socket::from(stream.0);
    socket.set_nonblocking(false)?;
    Ok(socket)
}

/// Converts the socket into a stream for polling.
pub fn polled(socket: &Socket) -> io::Result<ClientStream> {
    let socket = socket.try_clone()?;
    socket.set_nonblocking(true)?;
    Ok(ClientStream(socket.into()))
}

/// Makes the kernel probe the client's system, after this much silence and at that interval, for whether it still knows
/// the connection. Not needed for a Unix socket: its poller reports the end.
pub fn probe(stream: &ClientStream, after: Duration) {
    let probes = TcpKeepalive::new().with_time(after).with_interval(after);
    let _ = SockRef::from(stream).set_tcp_keepalive(&probes);
}
