//! One listening socket: made by `listen`, accepted from by `acceptor`.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;

use super::address::Address;
use super::sys::ListeningSocket;

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    file: Option<SocketFile>, // dropped, and so removed, while the socket is open: see `SocketFile::is_ours`
    socket: ListeningSocket,
    address: Address,
    queue: usize,
    owner: Option<u32>, // the process that has made it, and handed it to nobody
    protocol: u8,       // which of its server's protocols is served here
}

impl Listener {
    /// This socket, at this address. At most `queue` clients can have connected and wait to be accepted.
    pub fn new(socket: ListeningSocket, address: Address, queue: usize) -> Listener {
        Listener { file: None, socket, address, queue, owner: None, protocol: 0 }
    }

    /// The same, where another than the first protocol of its server is served.
    pub fn with_protocol(mut self, number: u8) -> Listener {
        self.protocol = number;
        self
    }

    /// Which of its server's protocols is served here.
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    /// The same, made by this process, and known to nobody else.
    pub fn made_here(mut self) -> Listener {
        self.owner = Some(process::id());
        self
    }

    /// The same with the file that the socket stands for.
    pub fn with_file(mut self, file: SocketFile) -> Listener {
        self.file = Some(file);
        self
    }

    /// Where it listens, with the real port.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A descriptor of the same socket, for another process to accept from.
    pub fn shared(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// How many may have connected and wait to be accepted.
    pub fn longest_queue(&self) -> usize {
        self.queue
    }

    /// For accepting, and for the poller.
    pub fn socket(&mut self) -> &mut ListeningSocket {
        &mut self.socket
    }

    /// Nobody comes any more, if no other process can have this socket; who has connected can still be accepted. True: it
    /// is so. Else who connects between the last accept and the end of the socket is reset.
    pub fn refuse_newcomers(&mut self) -> bool {
        self.file = None; // removed first: a Unix socket at which nobody listens is not to be found
        self.owner == Some(process::id()) && self.socket.refuse_newcomers().is_ok()
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
