//! Sockets, the poller and other services of the kernel, under one name each. The engine uses only these, so that the
//! simulation can run its files on a simulated machine (`tests/simulation`).
//!
//! Differences between systems are in `linux` and `portable`, under the same names. `portable` uses calls that every
//! Unix has. `--cfg modest_portable` selects it on Linux, for tests.

#[cfg(all(target_os = "linux", not(modest_portable)))]
#[path = "linux/mod.rs"]
mod system;
#[cfg(not(all(target_os = "linux", not(modest_portable))))]
#[path = "portable.rs"]
mod system;

pub use mio::{Events, Interest, Poll, Registry, Token, Waker};
pub use rustix::event::PollFlags;
pub use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
pub use socket2::{SockRef, Socket};
pub use system::{
    MORE, NO_SIGNAL, ThreadId, WAYS, abstract_address, acknowledge, cut_off, has_ended, is_listening, memory,
    metadata_of_descriptor, monotonic_nanos, notify_address, receive_from, reset, sendfile, thread_id,
};

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use mio::event::Source;
use mio::unix::SourceFd;
use rustix::event::{PollFd, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix};
use rustix::time::Timespec;
use socket2::TcpKeepalive;

use super::address::Address;

/// A listening socket, TCP or Unix, which does not block.
#[derive(Debug)]
pub struct ListeningSocket(OwnedFd);

/// The stream of one client, TCP or Unix, which does not block.
pub struct ClientStream(OwnedFd);

impl ListeningSocket {
    pub fn accept(&self) -> io::Result<(ClientStream, Address)> {
        let (stream, address) = system::accept(&self.0)?;
        Ok((ClientStream(stream), address_of(address)))
    }

    pub fn has_waiting_clients(&self) -> io::Result<bool> {
        let no_time = Timespec { tv_sec: 0, tv_nsec: 0 };
        Ok(poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&no_time))? > 0)
    }

    /// Refuses clients that begin to connect from now on. Connected clients can still be accepted, so none is left to
    /// be reset when the socket is closed. Only for a socket that no other process has, because it affects all of them.
    ///
    /// # Errors
    /// If the kernel does not support this.
    pub fn refuse_new_clients(&self) -> io::Result<()> {
        system::refuse_new_clients(SockRef::from(&self.0))
    }
}

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

/// Returns a second handle of the same socket, which is closed only with the last handle.
pub fn second_handle(stream: &ClientStream) -> io::Result<ClientStream> {
    stream.0.try_clone().map(ClientStream)
}

/// Waits until the stream is ready for `what`, up to this time. It may return earlier.
pub fn wait_until_ready(stream: &impl AsFd, what: PollFlags, limit: Option<Duration>) -> io::Result<()> {
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    match poll(&mut [PollFd::new(stream, what)], limit.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(err) => Err(err.into()),
    }
}

/// Ends a socket both ways, and resets it when it is closed.
fn end_both_ways(socket: &impl AsFd) {
    let socket = SockRef::from(socket);
    let _ = socket.set_linger(Some(Duration::ZERO));
    let _ = socket.shutdown(Shutdown::Both);
}

/// Limits how many unsent bytes the kernel holds for a client, or for all clients of a listening socket. If the kernel
/// does not count unsent bytes separately, the limit applies to the whole buffer, up to `MOST_BUFFERED`.
///
/// # Errors
/// If neither limit can be set.
pub fn limit_unsent(socket: &impl AsFd, most: u32) -> io::Result<()> {
    let socket = SockRef::from(socket);
    let buffer = (most as usize).min(MOST_BUFFERED);
    system::limit_unsent(&socket, most).or_else(|_| socket.set_send_buffer_size(buffer))
}

/// The largest buffer of a socket in which unsent bytes are not counted separately. It has room again once about a
/// third of it was read, so with the kernel's usual 4 MiB a client that reads slowly would seem to read nothing for
/// long.
const MOST_BUFFERED: usize = 256 << 10;

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

/// Registers a socket that is not a client's with the poller, for bytes and the end of the stream.
#[cfg(feature = "proxy")]
pub fn watch(registry: &Registry, socket: &impl AsRawFd, token: Token) -> io::Result<()> {
    registry.register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)
}

/// Removes such a socket from the poller.
#[cfg(feature = "proxy")]
pub fn unwatch(registry: &Registry, socket: &impl AsRawFd) -> io::Result<()> {
    registry.deregister(&mut SourceFd(&socket.as_raw_fd()))
}

/// Returns the address as returned by the kernel. A Unix socket without a name has none.
pub fn address_of(address: Option<SocketAddrAny>) -> Address {
    let Some(address) = address else { return Address::Unix(None) };
    if address.address_family() != AddressFamily::UNIX {
        return SocketAddr::try_from(address).map_or(Address::Unix(None), Address::Inet);
    }
    let Ok(address) = SocketAddrUnix::try_from(address) else { return Address::Unix(None) };
    let name = match (address.path_bytes(), system::abstract_name(&address)) {
        (Some(path), _) => Some(path.to_vec()),
        (None, Some(name)) if !name.is_empty() => Some([b"@", name].concat()),
        (None, _) => None,
    };
    Address::Unix(name.map(|name| OsString::from_vec(name).into()))
}

/// Returns how many bytes in the kernel are unsent or unacknowledged; `None` if it does not report that, as for a Unix
/// socket.
pub fn unacknowledged(stream: &impl AsFd) -> Option<u64> {
    let socket = SockRef::from(stream);
    let (local, peer) = (socket.local_addr().ok()?, socket.peer_addr().ok()?);
    system::unacknowledged(local.as_socket()?, peer.as_socket()?)
}

/// Returns whether the connection has ended, and another thread has received the error. The kernel reports a reset
/// once: to a read, or to a write. After that, a read returns the end of the stream. Call it only if this side has not
/// ended its direction, because a socket also has no peer once both sides have ended theirs.
pub fn error_was_taken(socket: &impl AsFd) -> bool {
    let has_no_peer = matches!(rustix::net::getpeername(socket), Err(Errno::NOTCONN | Errno::INVAL));
    has_no_peer && SockRef::from(socket).take_error().is_ok_and(|error| error.is_none())
}

/// Converts the stream into a blocking socket.
pub fn blocking(stream: ClientStream) -> io::Result<Socket> {
    let socket = Socket::from(stream.0);
    socket.set_nonblocking(false)?;
    Ok(socket)
}

/// Returns another descriptor of this socket.
pub fn another(socket: &Socket) -> io::Result<Socket> {
    socket.try_clone()
}

/// Converts the socket into a stream for polling.
pub fn polled(socket: Socket) -> io::Result<ClientStream> {
    socket.set_nonblocking(true)?;
    Ok(ClientStream(socket.into()))
}

/// Makes the kernel check, after this much silence, whether the peer's system still knows the connection. Clients
/// inherit it from their listener. A Unix socket does not need it: its poller reports the end.
pub fn probe(stream: &impl AsFd, after: Duration) {
    let probes = TcpKeepalive::new().with_time(after).with_interval(after.min(PROBED_EVERY));
    let _ = SockRef::from(stream).set_tcp_keepalive(&probes);
}

/// The time between probes that are not answered.
const PROBED_EVERY: Duration = Duration::from_secs(15);

/// Sends as much of a part of a file as fits into the socket, through a buffer of this thread, for systems and file
/// systems without `sendfile`.
fn send_copy(stream: impl AsFd, file: &File, start: &mut u64, count: usize) -> rustix::io::Result<usize> {
    thread_local!(static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(COPIED, 0);
        let room = &mut buffer[..count.min(COPIED)];
        let read = file.read_at(room, *start).map_err(|err| Errno::from_io_error(&err).unwrap_or(Errno::IO))?;
        if read == 0 {
            return Ok(0);
        }
        let sent = send(stream, &room[..read], NO_SIGNAL)?;
        *start += sent as u64;
        Ok(sent)
    })
}

/// How many bytes of a file are copied at a time.
const COPIED: usize = 64 << 10;

#[cfg(test)]
mod tests;
