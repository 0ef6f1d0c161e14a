//! Sockets, the poller and what else the kernel does for a server, under one name each.
//! The engine takes them from here and nowhere else, so that the simulation can run its very files on a simulated
//! machine (`tests/simulation`).

pub use mio::net::{TcpListener, TcpStream};
pub use mio::{Events, Interest, Poll, Registry, Token, Waker};
pub use rustix::fs::sendfile;
pub use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
pub use socket2::{SockRef, Socket};

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

/// Whether somebody waits to be accepted at this moment.
pub fn somebody_waits(listener: &TcpListener) -> rustix::io::Result<bool> {
    let no_time = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&no_time))? > 0)
}

/// The stream as a socket that blocks.
pub fn blocking(stream: TcpStream) -> io::Result<Socket> {
    let socket = Socket::from(OwnedFd::from(stream));
    socket.set_nonblocking(false)?;
    Ok(socket)
}

/// The socket as a stream that may be polled.
pub fn polled(socket: &Socket) -> io::Result<TcpStream> {
    let socket = socket.try_clone()?;
    socket.set_nonblocking(true)?;
    Ok(TcpStream::from_std(socket.into()))
}

/// How many bytes wait in the kernel to be sent or to be acknowledged; `None`: it does not tell.
pub fn unacknowledged(stream: &TcpStream) -> Option<u64> {
    super::unacknowledged::unacknowledged(stream.local_addr().ok()?, stream.peer_addr().ok()?)
}
