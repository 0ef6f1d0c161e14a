//! One listening socket: made by `listen`, used by `acceptor`. Its end removes the file of a Unix socket.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;

use super::address::Address;
use super::sys::ListeningSocket;

#[derive(Debug)]
pub struct Listener {
    // removes the file when dropped, while the socket is still open: see `SocketFile::is_ours`
    file: Option<SocketFile>,
    socket: ListeningSocket,
    address: Address,
    queue: usize,
    owner: Option<u32>, // the process that created the socket, if it has not passed it to another process
    pub protocol: u8,   // the number of the protocol for its clients
}

impl Listener {
    /// Creates a listener of this socket, at this address. Up to `queue` connected clients can wait to be accepted.
    pub fn new(socket: ListeningSocket, address: Address, queue: usize) -> Listener {
        Listener { file: None, socket, address, queue, owner: None, protocol: 0 }
    }

    /// Sets the number of the protocol for its clients.
    pub fn with_protocol(mut self, number: u8) -> Listener {
        self.protocol = number;
        self
    }

    /// Marks the socket as created by this process, and not passed to another process.
    pub fn made_here(mut self) -> Listener {
        self.owner = Some(process::id());
        self
    }

    pub fn with_file(mut self, file: SocketFile) -> Listener {
        self.file = Some(file);
        self
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Returns a descriptor of the same socket, for another process to accept from.
    pub fn shared(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// Returns how many connected clients can wait to be accepted.
    pub fn longest_queue(&self) -> usize {
        self.queue
    }

    /// Returns the socket, for accepting and for the poller.
    pub fn socket(&mut self) -> &mut ListeningSocket {
        &mut self.socket
    }

    /// Refuses new clients, if no other process can have this socket. Connected clients can still be accepted. Returns
    /// false if new clients cannot be refused: then clients that connect between the last accept and the end of the
    /// socket are reset.
    pub fn refuse_new_clients(&mut self) -> bool {
        self.file = None; // removed first, so that no client finds a Unix socket without a server
        self.owner == Some(process::id()) && self.socket.refuse_new_clients().is_ok()
    }
}

/// The file of a listening Unix socket. Dropping this removes the file, unless another file has replaced it. In a
/// process that was forked since, the file stays.
#[derive(Debug)]
pub struct SocketFile {
    process: u32,
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    pub fn at(path: &Path) -> io::Result<SocketFile> {
        let path = std::path::absolute(path)?; // the process may change its working folder later
        let found = fs::symlink_metadata(&path)?;
        Ok(SocketFile { process: process::id(), path, device: found.dev(), inode: found.ino() })
    }

    /// Returns whether the path is still the file of this process's socket. While the socket is open its inode exists,
    /// so no other file can have its number.
    fn is_ours(&self) -> bool {
        let is_this = |found: fs::Metadata| (found.dev(), found.ino()) == (self.device, self.inode);
        self.process == process::id() && fs::symlink_metadata(&self.path).is_ok_and(is_this)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_ours() {
            let _ = fs::remove_file(&self.path); // the next server recognizes a file left behind as stale
        }
    }
}
