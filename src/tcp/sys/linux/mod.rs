//! Calls that only Linux has. If a sandbox or an old kernel forbids one, the portable code is used.

mod cgroups; // limits of memory
mod unacknowledged; // unacknowledged bytes, by the kernel's count

use std::fs::{self, File, Metadata, read, read_link};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendFlags, SocketAddrAny, SocketAddrUnix, SocketFlags, acceptfrom_with, recvfrom, sockopt,
};
use rustix::time::{ClockId, Timespec, clock_gettime};
use socket2::{SockAddr, SockFilter, SockRef};

pub use unacknowledged::unacknowledged;

/// The system call that is used for each purpose.
pub const WAYS: &[(&str, &str)] = &[
    ("readiness", "epoll"),
    ("files to clients", "sendfile, or copies where it is forbidden"),
    ("unsent bytes", "TCP_NOTSENT_LOWAT, and sock_diag where it is permitted"),
    ("clients at a shutdown", "new clients are refused, and streams that don't end are reset"),
    ("state of threads", "/proc"),
    ("listening sockets", "SO_ACCEPTCONN"),
    ("abstract Unix sockets", "yes"),
    ("memory", "that of the machine, or the limit of the control group"),
];

/// With this flag, a write to a disconnected client causes an error instead of a signal.
pub const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
/// With this flag, bytes wait for further bytes, so that both are sent in one segment.
pub const MORE: SendFlags = SendFlags::MORE;

/// Accepts a non-blocking stream, with its client's address.
pub fn accept(listener: &OwnedFd) -> rustix::io::Result<(OwnedFd, Option<SocketAddrAny>)> {
    acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
}

/// Refuses clients that begin to connect from now on.
pub fn refuse_new_clients(socket: SockRef<'_>) -> io::Result<()> {
    match socket.local_addr()?.as_socket() {
        Some(_) => socket.attach_filter(NO_SYN),
        None => socket.shutdown(Shutdown::Read), // unix_stream_connect: ECONNREFUSED
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

/// Sends as much of a part of a file as fits into the socket.
pub fn sendfile(stream: impl AsFd, file: &File, start: &mut u64, count: usize) -> rustix::io::Result<usize> {
    match rustix::fs::sendfile(&stream, file, Some(start), count) {
        // A sandbox forbids it, or this file system does not support it.
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => super::send_copy(stream, file, start, count),
        sent => sent,
    }
}

/// Limits how many unsent bytes the kernel holds.
pub fn limit_unsent(socket: &SockRef<'_>, most: u32) -> io::Result<()> {
    socket.set_tcp_notsent_lowat(most)
}

/// Acknowledges at once what has arrived, instead of after 40 ms (TCP_QUICKACK). A peer with Nagle's algorithm sends
/// a short rest only then. The kernel forgets the setting after the next bytes are sent.
pub fn acknowledge(socket: &impl AsFd) {
    let _ = rustix::net::sockopt::set_tcp_quickack(socket, true);
}

/// Resets a socket at once, even if a thread waits on it. Its client sees that the response was interrupted, and a
/// thread that reads or writes gets an error. A Unix socket cannot be reset, so it is shut down in both directions.
pub fn cut_off(socket: &impl AsFd) {
    // This fails for a Unix socket, if the client has disconnected, and in Linux 6.4 and 6.5 while a thread waits. Then
    // shutting the socket down wakes the thread, and closing it resets the connection.
    if rustix::net::connect_unspec(socket).is_err() {
        super::end_both_ways(socket);
    }
}

/// Returns whether the peer has closed its sending side, even if bytes of it have not been read.
pub fn has_ended(socket: &impl AsFd) -> bool {
    let mut polled = [PollFd::new(socket, PollFlags::RDHUP)];
    poll(&mut polled, Some(&Timespec::default())).is_ok_and(|count| count > 0)
}

/// Resets a socket, before it is closed. A Unix socket cannot be reset.
pub fn reset(socket: &impl AsFd) {
    let _ = rustix::net::connect_unspec(socket); // if it fails, closing the socket resets it
}

/// Returns the name of an abstract Unix socket, which has no file.
pub fn abstract_name(address: &SocketAddrUnix) -> Option<&[u8]> {
    address.abstract_name()
}

/// Returns the address of an abstract Unix socket.
pub fn abstract_address(name: &[u8]) -> io::Result<SockAddr> {
    SockAddr::unix(Path::new(std::ffi::OsStr::from_bytes(&[b"\0", name].concat())))
}

/// Parses the address of systemd's socket for notifications: a path, or an abstract name after `@`.
pub fn notify_address(socket: &[u8]) -> io::Result<SocketAddr> {
    match socket {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path)),
    }
}

pub fn is_listening(socket: impl AsFd) -> rustix::io::Result<bool> {
    sockopt::socket_acceptconn(socket)
}

/// Returns the metadata of an inherited descriptor, by its number.
pub fn metadata_of_descriptor(number: u32) -> io::Result<Metadata> {
    fs::metadata(format!("/proc/self/fd/{number}"))
}

/// Receives a datagram without waiting: as many of its bytes as fit, its length, and its sender.
pub fn receive_from(socket: impl AsFd, buffer: &mut [u8]) -> rustix::io::Result<(usize, Option<SocketAddrAny>)> {
    let (_, length, from) = recvfrom(socket, buffer, RecvFlags::DONTWAIT | RecvFlags::TRUNC)?;
    Ok((length, from))
}

/// Returns how much memory this process can use.
pub fn memory() -> u64 {
    let info = rustix::system::sysinfo();
    let machine = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit));
    cgroups::smallest_limit(Path::new("/")).map_or(machine, |limit| limit.min(machine))
}

/// Returns the time by the clock that `std` also uses.
pub fn monotonic_nanos() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// A thread whose state can be read.
#[derive(Debug)]
pub struct ThreadId(Option<PathBuf>);

/// Returns the id of this thread. Costs a system call.
pub fn thread_id() -> ThreadId {
    ThreadId(read_link("/proc/thread-self").ok().map(|thread| Path::new("/proc").join(thread).join("stat")))
}

impl ThreadId {
    /// Returns whether the thread is running or waiting for a core: state `R` in proc(5). Takes three system calls,
    /// about 5 µs. False without `/proc`.
    pub fn is_runnable(&self) -> bool {
        let stat = self.0.as_ref().and_then(|path| read(path).ok()).unwrap_or_default();
        // The state follows the name, which is in parentheses and can contain parentheses.
        let name_ends = stat.iter().rposition(|byte| *byte == b')');
        name_ends.is_some_and(|at| stat[at..].starts_with(b") R"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread::yield_now;

    #[test]
    fn a_thread_is_runnable_unless_it_waits() {
        assert!(thread_id().is_runnable(), "the thread that calls is runnable");
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let waits = std::thread::spawn(move || {
            tell.send(thread_id()).unwrap();
            ended.recv().unwrap_err();
        });
        let id = told.recv().unwrap();
        while id.is_runnable() {
            yield_now(); // until the other thread waits
        }
        drop(end);
        waits.join().unwrap();
        assert!(!id.is_runnable(), "a thread that has ended is not runnable");
        assert!(!ThreadId(None).is_runnable(), "without /proc a thread counts as not runnable");
    }
}
