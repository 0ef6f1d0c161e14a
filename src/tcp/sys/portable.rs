//! Calls that every Unix has. Compiled for systems other than Linux, and on Linux for tests.

use std::fs::{self, File, Metadata};
use std::io::{self, IoSliceMut};
use std::net;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Instant;

use rustix::io::{Errno, FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendFlags, SocketAddrAny, SocketAddrUnix, SocketType, acceptfrom,
    getpeername, getsockname, recvmsg, sockopt,
};
use socket2::{SockAddr, SockRef};

/// The call that is used for each purpose.
pub const WAYS: &[(&str, &str)] = &[
    ("readiness", if cfg!(target_os = "linux") { "epoll" } else { "kqueue" }),
    ("files to clients", "copies"),
    ("unsent bytes", "a limit of each socket's buffer; any progress of a client within a window suffices"),
    (
        "clients at a shutdown",
        "clients that connect at the last moment are reset, and streams that don't end are closed",
    ),
    ("state of threads", "unknown: a long handler counts as waiting"),
    ("listening sockets", "a stream socket with an address and no peer"),
    ("abstract Unix sockets", "no"),
    ("memory", "2 GiB assumed"),
];

/// With this flag, a write to a disconnected client causes an error instead of a signal. For Apple's systems see
/// `accept`.
#[cfg(not(target_vendor = "apple"))]
pub const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
pub const NO_SIGNAL: SendFlags = SendFlags::empty();
/// No flag: bytes are sent at once.
pub const MORE: SendFlags = SendFlags::empty();

/// The memory that a machine is assumed to have.
const ASSUMED_MEMORY: u64 = 2 << 30;

/// An offset, so that times up to a year before the first call can be represented.
const BEFORE: u64 = 366 * 24 * 3600 * 1_000_000_000;

pub fn accept(listener: &OwnedFd) -> rustix::io::Result<(OwnedFd, Option<SocketAddrAny>)> {
    let (stream, address) = acceptfrom(listener)?;
    fcntl_setfd(&stream, FdFlags::CLOEXEC)?;
    ioctl_fionbio(&stream, true)?;
    #[cfg(target_vendor = "apple")]
    let _ = SockRef::from(&stream).set_nosigpipe(true); // fails only if the client has disconnected
    Ok((stream, address))
}

/// Returns an error: these systems have no call that refuses new clients and keeps the connected ones.
pub fn refuse_new_clients(_: SockRef<'_>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub fn sendfile(stream: impl AsFd, file: &File, start: &mut u64, count: usize) -> rustix::io::Result<usize> {
    super::send_copy(stream, file, start, count)
}

/// Returns an error: these systems do not count unsent bytes separately.
pub fn limit_unsent(_: &SockRef<'_>, _: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Does nothing: these systems acknowledge when they will.
pub fn acknowledge(_: &impl AsFd) {}

/// Shuts a socket down in both directions, even if a thread waits on it: a thread that reads gets the end, and a thread
/// that writes gets an error. Closing the socket then resets the connection, so the client sees that the response was
/// interrupted, unless all written bytes have arrived.
pub fn cut_off(socket: &impl AsFd) {
    super::end_both_ways(socket);
}

/// Returns whether the peer has closed its sending side. If bytes of it have not been read, this is not known, and it
/// counts as not ended.
pub fn has_ended(socket: &impl AsFd) -> bool {
    rustix::net::recv(socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT).is_ok_and(|(_, count)| count == 0)
}

/// Leaves it to closing the socket.
pub fn reset(_: &impl AsFd) {}

/// Not supported: only Linux has Unix sockets without a file.
pub fn abstract_name(_: &SocketAddrUnix) -> Option<&[u8]> {
    None
}

pub fn abstract_address(_: &[u8]) -> io::Result<SockAddr> {
    Err(io::Error::new(io::ErrorKind::InvalidInput, "only Linux has abstract sockets; give the path of a file"))
}

/// Parses the address of a socket for notifications, which is a path.
pub fn notify_address(socket: &[u8]) -> io::Result<SocketAddr> {
    SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(socket))
}

/// Returns whether this seems to be a listening socket: a stream socket with an address and without a peer.
pub fn is_listening(socket: impl AsFd) -> rustix::io::Result<bool> {
    if sockopt::socket_type(&socket)? != SocketType::STREAM || getpeername(&socket) != Err(Errno::NOTCONN) {
        return Ok(false);
    }
    let name = getsockname(&socket)?;
    let is_bound = match net::SocketAddr::try_from(name.clone()) {
        Ok(address) => address.port() != 0,
        Err(_) => SocketAddrUnix::try_from(name).is_ok_and(|name| name.path_bytes().is_some()),
    };
    Ok(is_bound)
}

pub fn metadata_of_descriptor(number: u32) -> io::Result<Metadata> {
    fs::metadata(format!("/dev/fd/{number}"))
}

/// Receives a datagram without waiting: as many of its bytes as fit, its length, and its sender. The length of a
/// datagram that does not fit is returned as one more than the buffer's.
pub fn receive_from(socket: impl AsFd, buffer: &mut [u8]) -> rustix::io::Result<(usize, Option<SocketAddrAny>)> {
    let room = &mut [IoSliceMut::new(buffer)];
    let received = recvmsg(socket, room, &mut RecvAncillaryBuffer::default(), RecvFlags::DONTWAIT)?;
    let lost = usize::from(received.flags.contains(ReturnFlags::TRUNC));
    Ok((received.bytes + lost, received.address))
}

pub fn memory() -> u64 {
    ASSUMED_MEMORY
}

/// Returns the time by the clock of `std`, which can pause, for example while a Mac sleeps.
pub fn monotonic_nanos() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    BEFORE + START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Returns `None`: these kernels do not report how many bytes have not arrived.
pub fn unacknowledged(_: net::SocketAddr, _: net::SocketAddr) -> Option<u64> {
    None
}

/// A thread. Its state cannot be read on these systems.
#[derive(Debug)]
pub struct ThreadId;

pub fn thread_id() -> ThreadId {
    ThreadId
}

impl ThreadId {
    /// Returns false: the state is unknown.
    pub fn is_runnable(&self) -> bool {
        false
    }
}
