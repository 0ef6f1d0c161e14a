//! The socket of one client: reads and writes that never wait. Used only by `connection`.

use std::fs::File;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use super::output::{First, Output};
use super::scheduler::MayBlock;
use super::sys::{self, ClientStream, Interest, RecvFlags, Registry, SendAncillaryBuffer, SockRef, Socket};

/// A client's stream: TCP or Unix.
pub struct Transport {
    stream: ClientStream,
    wants_to_write: bool, // the poller reports writability, because it was requested once
    sent: u64,
    trusted: bool,   // the client has read much, so the kernel can buffer more for it
    is_probed: bool, // TCP keepalive checks whether the client is gone
    is_broken: bool, // the output is incomplete
}

/// `listen` limits the unsent bytes that the kernel buffers per client. After a client has read this much, the kernel's
/// usual limit of 4 MB applies. CPU time for a file of 1 GiB compared to nginx, by the limit of unsent bytes: 256 KiB
/// 4.4, 512 KiB 2.1, 1 MiB 1.6, 2 MiB 1.2, the kernel's limit 1.1.
const TRUSTED_AFTER: u64 = 1024 * 1024;

/// If a part of a file is at most this long, the head waits in the kernel (`MSG_MORE`) for the first bytes of the file.
/// CPU time on loopback if the head is sent at once, relative to waiting, of the server alone, and of server and client
/// together: 80 KiB 1.2 and 1.17, 256 KiB 0.6 and 0.9, 512 KiB 1.0 and 1.7, 768 KiB 0.3 and 1.1, 1 MiB 0.27 and 1.05.
const TOGETHER: u64 = 512 * 1024;

/// If a client that has closed its sending side is silent for this long, TCP keepalive checks its system.
const PROBED_AFTER: Duration = Duration::from_secs(15);

pub enum Written {
    All,
    /// The client accepts no more for now.
    Blocked,
    Share,
    /// A file is shorter than announced.
    Short,
    Gone,
    /// The next piece is part of a file, and files are not read in this turn.
    File,
}

impl Transport {
    /// Wraps a stream that is registered with the poller for reading. Until [`end`](Transport::end) is called, closing
    /// it resets the connection, even if the process ends.
    pub fn new(stream: ClientStream) -> Transport {
        // This fails only if the connection is already broken. Closing a Unix socket resets it only if it has unread
        // bytes, so its client has to compare lengths.
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        Transport { stream, wants_to_write: false, sent: 0, trusted: false, is_probed: false, is_broken: false }
    }

    pub fn read(&self, room: &mut [u8]) -> io::Result<usize> {
        let (count, _) = rustix::io::retry_on_intr(|| sys::recv(&self.stream, &mut *room, RecvFlags::empty()))?;
        Ok(count)
    }

    /// Writes the output, up to the share, which is reduced by the number of written bytes. Returns why it has stopped.
    pub fn write(&mut self, output: &mut Output, may_block: Option<MayBlock>, share: &mut usize) -> Written {
        let written = self.write_up_to(output, may_block, share);
        if !self.trusted && self.sent > TRUSTED_AFTER {
            self.trusted = true;
            // If this fails, large responses are only slower. A Unix socket has no such limit.
            let _ = sys::limit_unsent(&self.stream, u32::MAX);
        }
        written
    }

    fn write_up_to(&mut self, output: &mut Output, may_block: Option<MayBlock>, share: &mut usize) -> Written {
        loop {
            if *share == 0 && !output.is_empty() {
                return Written::Share;
            }
            let (length, sent) = match output.first() {
                First::Nothing => return Written::All,
                First::Bytes { bytes, file_follows } => (bytes.len(), self.send(bytes, file_follows)),
                First::Slices(slices) => (slices.iter().map(|slice| slice.len()).sum(), self.send_all(&slices)),
                First::File { file, start, length } => {
                    let Some(may_block) = may_block else { return Written::File };
                    match self.send_file(file, start, (*length).min(*share as u64), may_block) {
                        Ok(0) => return Written::Short,
                        Ok(count) => {
                            *length -= count as u64;
                            self.sent += count as u64;
                            *share = share.saturating_sub(count);
                            continue;
                        }
                        Err(err) => return Written::from(&err),
                    }
                }
            };
            match sent {
                Ok(count) => {
                    output.advance(count);
                    self.sent += count as u64;
                    *share = share.saturating_sub(count);
                    if count < length {
                        return Written::Blocked; // a short write: no further call is needed to get a WouldBlock
                    }
                }
                Err(err) => return Written::from(&err),
            }
        }
    }

    /// Sends contiguous bytes in one system call. The head of a file waits in the kernel for the file's first bytes, so
    /// that both are in one segment, unless the file is long and needs many segments.
    fn send(&self, bytes: &[u8], file_follows: u64) -> io::Result<usize> {
        let is_together = (1..=TOGETHER).contains(&file_follows);
        let flags = if is_together { sys::NO_SIGNAL.union(sys::MORE) } else { sys::NO_SIGNAL };
        Ok(rustix::io::retry_on_intr(|| sys::send(&self.stream, bytes, flags))?)
    }

    fn send_all(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let nothing_else = &mut SendAncillaryBuffer::default();
        Ok(rustix::io::retry_on_intr(|| sys::sendmsg(&self.stream, slices, nothing_else, sys::NO_SIGNAL))?)
    }

    fn send_file(&self, file: &File, start: &mut u64, most: u64, _: MayBlock) -> io::Result<usize> {
        let count = usize::try_from(most).unwrap_or(usize::MAX);
        Ok(rustix::io::retry_on_intr(|| sys::sendfile(&self.stream, file, start, count))?)
    }

    /// Returns a second handle, for reading while a handler runs.
    pub fn second_handle(&self) -> io::Result<ClientStream> {
        sys::second_handle(&self.stream)
    }

    /// Registers a socket with the poller again. If another thread still has it, it gets another descriptor.
    pub fn from_socket(socket: Arc<Socket>, registry: &Registry, token: sys::Token) -> io::Result<Transport> {
        let socket = Arc::try_unwrap(socket).or_else(|shared| sys::another(&shared))?;
        let mut stream = sys::polled(socket)?;
        registry.register(&mut stream, token, Interest::READABLE)?;
        Ok(Transport::new(stream))
    }

    /// Removes the socket from the poller and makes it blocking. Without the poller, TCP keepalive detects that the
    /// client's system is gone.
    pub fn into_socket(mut self, registry: &Registry) -> io::Result<Socket> {
        self.find_out_if_it_is_gone();
        registry.deregister(&mut self.stream)?;
        sys::blocking(self.stream)
    }

    /// Acknowledges at once what has arrived: the client may send no more until then.
    pub fn acknowledge(&self) {
        sys::acknowledge(&self.stream);
    }

    /// Returns how many bytes the socket has accepted in all.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Returns how many of the sent bytes have arrived, if the kernel reports it.
    pub fn arrived(&self) -> Option<u64> {
        let held = sys::unacknowledged(&self.stream)?;
        Some(self.sent.saturating_sub(held))
    }

    /// Makes the poller report when more can be written.
    pub fn want_to_write(&mut self, registry: &Registry, token: sys::Token) -> io::Result<()> {
        if !self.wants_to_write {
            // Registering again also reports writability that has begun just before.
            registry.reregister(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)?;
            self.wants_to_write = true;
        }
        Ok(())
    }

    /// Makes TCP keepalive find out whether the client still reads. (A system forgets a closed connection after a
    /// minute.) It costs three system calls. Called when the client has closed its sending side and the connection
    /// waits.
    pub fn find_out_if_it_is_gone(&mut self) {
        if !std::mem::replace(&mut self.is_probed, true) {
            sys::probe(&self.stream, PROBED_AFTER);
        }
    }

    /// Ends the output: the client sees the end of the stream, and can still send.
    pub fn shut_down_writing(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Called if the output is incomplete: resets the connection, or closing it does.
    pub fn reset(&mut self) {
        self.is_broken = true;
        sys::reset(&self.stream); // now, as in `end`
    }

    /// Called if the output is complete: closing the connection is then a normal end, unless it was marked as broken.
    ///
    /// The client sees the end now, even if another thread has a handle of the socket. In recent versions of Linux
    /// (seen with 6.18), a poll in another thread can hold the socket for a moment, and then close(2) takes effect when
    /// that poll returns, which can be much later.
    pub fn end(&self) {
        if !self.is_broken {
            let _ = SockRef::from(&self.stream).set_linger(None);
            let _ = self.stream.shutdown(Shutdown::Both); // fails only if the client is gone
        }
    }
}

impl From<&io::Error> for Written {
    fn from(err: &io::Error) -> Written {
        match err.kind() {
            io::ErrorKind::WouldBlock => Written::Blocked,
            // An error of the disk makes the response incomplete. Any other error means that the client has
            // disconnected.
            _ if is_of_the_disk(err) => Written::Short,
            _ => Written::Gone,
        }
    }
}

fn is_of_the_disk(err: &io::Error) -> bool {
    use rustix::io::Errno;
    err.raw_os_error().is_some_and(|code| {
        [Errno::IO, Errno::INVAL, Errno::OVERFLOW, Errno::STALE, Errno::NXIO].contains(&Errno::from_raw_os_error(code))
    })
}
