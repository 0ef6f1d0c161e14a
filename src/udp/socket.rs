//! The kernel's services for datagrams: receive, send, and wait for a datagram or a bell.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SocketAddrAny, sendto};
use rustix::time::Timespec;

use crate::tcp::{Address, DatagramSocket, NO_SIGNAL, has_ended, receive_from};

/// How long a reply waits for the reader of a Unix socket, which may never read.
const LONGEST_SEND: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Socket(DatagramSocket);

/// The destination of a reply; `None` if the sender has no address.
pub type ReplyTo = Option<SocketAddrAny>;

impl Socket {
    pub fn new(socket: DatagramSocket) -> io::Result<Socket> {
        socket.socket.set_cloexec(true)?;
        socket.socket.set_nonblocking(false)?; // so that a reply waits for room; receiving uses a flag of its own
        socket.socket.set_write_timeout(Some(LONGEST_SEND))?;
        Ok(Socket(socket))
    }

    pub fn address(&self) -> &Address {
        &self.0.address
    }

    /// Receives the next datagram without waiting, as much of it as fits in the buffer. Returns its length and its
    /// sender, or `None` if there is no datagram.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, ReplyTo)>> {
        match receive_from(&self.0.socket, buffer) {
            Ok((length, from)) => Ok(Some((length, from))),
            Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(None),
            // An earlier reply did not arrive. This is reported once, if another process has connected the socket.
            Err(Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH) => Ok(None),
            Err(err) => Err(err.into()),
        }
    }

    /// Called if the socket was ready and had no datagram.
    ///
    /// # Errors
    /// If it was shut down, so that it stays like this.
    pub fn check_open(&self) -> io::Result<()> {
        if has_ended(&self.0.socket) { Err(io::Error::other("the socket was shut down")) } else { Ok(()) }
    }

    /// Sends a datagram, completely or not at all.
    pub fn send(&self, bytes: &[u8], to: Option<&SocketAddrAny>) -> io::Result<()> {
        let to = to.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the client has no address"))?;
        loop {
            match sendto(&self.0.socket, bytes, NO_SIGNAL, to) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing"));
                }
                Err(err) => return Err(err.into()),
            }
        }
    }
}

/// Returns whether sending failed because of the datagram or this system, and not because of the client's address.
pub fn is_ours(err: &io::Error) -> bool {
    let code = err.raw_os_error().map(Errno::from_raw_os_error);
    code.is_some_and(|code| [Errno::MSGSIZE, Errno::NOBUFS, Errno::NOMEM].contains(&code))
}

/// Ends the current wait for datagrams, and all later ones.
#[derive(Debug)]
pub struct Bell {
    sender: UnixStream,
    receiver: UnixStream,
}

impl Bell {
    pub fn new() -> io::Result<Bell> {
        let (sender, receiver) = UnixStream::pair()?;
        sender.set_nonblocking(true)?;
        Ok(Bell { sender, receiver })
    }

    pub fn ring(&self) {
        // The write fails only if the pipe is full of earlier signals, and then the waiting thread notices as well.
        let _ = (&self.sender).write(&[0]);
    }

    /// Waits for a datagram at one of these sockets, or for the bell, up to the limit. Returns which sockets may have a
    /// datagram.
    pub fn wait(&self, sockets: &[std::sync::Arc<Socket>], limit: Option<Duration>) -> io::Result<Vec<bool>> {
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let mut all: Vec<PollFd<'_>> =
            sockets.iter().map(|socket| PollFd::new(&socket.0.socket, PollFlags::IN)).collect();
        all.push(PollFd::new(&self.receiver, PollFlags::IN));
        match poll(&mut all, limit.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(vec![false; sockets.len()]),
            Err(err) => return Err(err.into()),
        }
        Ok(all[..sockets.len()].iter().map(|socket| !socket.revents().is_empty()).collect())
    }
}
