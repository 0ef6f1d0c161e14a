//! One listening socket: made by `listen`, accepted from by `acceptor`.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrAny, SocketType, getsockname, sockopt};
use socket2::SockRef;

use super::address::Address;
use super::sys::{ClientStream, Interest, ListeningSocket, Registry, Token};

/// Of what has not been sent yet, the kernel keeps no more than this for a client: 200 that don't read cost it
/// 800 MB otherwise.
const NOT_SENT: u32 = 128 * 1024;

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    file: Option<SocketFile>, // dropped, and so removed, while the socket is open: see `SocketFile::is_ours`
    socket: ListeningSocket,
    address: Address,
    queue: usize,
}

/// Clients that have connected to a socket of somebody else's making may wait in a queue of unknown length: no more
/// than this, which is more than any.
const UNKNOWN_QUEUE: usize = 1 << 16;

impl Listener {
    /// Take a socket that listens. What is set here is inherited by every client's socket.
    pub fn new(socket: OwnedFd) -> io::Result<Listener> {
        let name = check(&socket)?;
        let options = SockRef::from(&socket);
        if name.address_family() != AddressFamily::UNIX {
            options.set_tcp_nodelay(true)?;
            options.set_tcp_notsent_lowat(NOT_SENT)?;
        }
        options.set_nonblocking(true)?;
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?; // those that were handed over are without
        let (address, socket) = (Address::of_socket(Some(name)), ListeningSocket::new(socket));
        Ok(Listener { file: None, socket, address, queue: UNKNOWN_QUEUE })
    }

    /// The same, with the file that the socket stands for, and with a queue that holds so many.
    pub fn with(mut self, file: Option<SocketFile>, backlog: u32) -> Listener {
        self.file = file;
        self.queue = backlog as usize + 1; // the kernel lets one more in
        self
    }

    /// Where it listens, with the real port.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How many may have connected and wait to be accepted.
    pub fn longest_queue(&self) -> usize {
        self.queue
    }

    /// Accept one connection. Nothing waits.
    pub fn accept(&self) -> rustix::io::Result<(ClientStream, Address)> {
        self.socket.accept()
    }

    /// Whether somebody waits to be accepted at this moment.
    pub fn somebody_waits(&self) -> rustix::io::Result<bool> {
        self.socket.somebody_waits()
    }

    /// Have the poller tell when somebody waits.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE)
    }

    /// Out of the poller.
    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut self.socket)
    }

    /// Nobody finds the way to it any more, if that is a file; who has found it can still be accepted.
    pub fn remove_file(&mut self) {
        self.file = None;
    }
}

/// The name of a socket; an error unless it listens, and its streams are TCP's or a Unix socket's.
pub fn check(socket: &OwnedFd) -> io::Result<SocketAddrAny> {
    let invalid = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    if sockopt::socket_type(socket)? != SocketType::STREAM || !sockopt::socket_acceptconn(socket)? {
        return invalid("it is no stream socket that listens");
    }
    let name: SocketAddrAny = getsockname(socket)?;
    match name.address_family() {
        AddressFamily::INET | AddressFamily::INET6 | AddressFamily::UNIX => Ok(name),
        _ => invalid("it is neither a TCP nor a Unix socket"),
    }
}

/// The file of a Unix socket that is listened at; removed when dropped, if it is still that file.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// The file at this path.
    pub fn at(path: &Path) -> io::Result<SocketFile> {
        let path = std::path::absolute(path)?; // the process may go to another folder meanwhile
        let found = fs::symlink_metadata(&path)?;
        Ok(SocketFile { path, device: found.dev(), inode: found.ino() })
    }

    /// While the socket is open its inode exists, and no other file gets the number.
    fn is_ours(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_ours() {
            let _ = fs::remove_file(&self.path); // what stays behind is found to be stale by the next server
        }
    }
}
