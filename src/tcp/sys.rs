//! Sockets, the poller and what else the kernel does for a server, under one name each.
//! The engine takes them from here and nowhere else, so that the simulation can run its very files on a simulated
//! machine (`tests/simulation`).

pub use mio::{Events, Interest, Poll, Registry, Token, Waker};
pub use rustix::fs::sendfile;
pub use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
pub use socket2::{SockRef, Socket};

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use mio::event::Source;
use mio::unix::SourceFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{SocketFlags, acceptfrom_with};
use rustix::time::Timespec;

use super::address::Address;

/// The stream of a client, TCP or of a Unix socket: it never blocks, and may be polled.
pub struct ClientStream(OwnedFd);

/// A socket that listens, TCP or Unix: it never blocks, and may be polled.
#[derive(Debug)]
pub struct ListeningSocket(OwnedFd);

impl ListeningSocket {
    /// A socket that listens and does not block.
    pub fn new(socket: OwnedFd) -> ListeningSocket {
        ListeningSocket(socket)
    }

    /// Accept one connection.
    pub fn accept(&self) -> rustix::io::Result<(ClientStream, Address)> {
        let (stream, address) = acceptfrom_with(&self.0, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        Ok((ClientStream(stream), Address::of_socket(address)))
    }

    /// Whether somebody waits to be accepted at this moment.
    pub fn somebody_waits(&self) -> rustix::io::Result<bool> {
        let no_time = Timespec { tv_sec: 0, tv_nsec: 0 };
        Ok(poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&no_time))? > 0)
    }
}

impl ClientStream {
    /// End one half of it, or both.
    pub fn shutdown(&self, half: Shutdown) -> io::Result<()> {
        SockRef::from(self).shutdown(half)
    }
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

/// How many bytes wait in the kernel to be sent or to be acknowledged; `None`: it does not tell, as of a Unix socket.
pub fn unacknowledged(stream: &ClientStream) -> Option<u64> {
    let socket = SockRef::from(stream);
    let (local, peer) = (socket.local_addr().ok()?, socket.peer_addr().ok()?);
    super::unacknowledged::unacknowledged(local.as_socket()?, peer.as_socket()?)
}

impl AsFd for ClientStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

macro_rules! polled_by_its_descriptor {
    ($($socket:ty),*) => {
        $(impl Source for $socket {
            fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
                SourceFd(&self.0.as_raw_fd()).register(registry, token, interests)
            }

            fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
                SourceFd(&self.0.as_raw_fd()).reregister(registry, token, interests)
            }

            fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
                SourceFd(&self.0.as_raw_fd()).deregister(registry)
            }
        })*
    };
}

polled_by_its_descriptor!(ClientStream, ListeningSocket);
