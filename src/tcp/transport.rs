//! The socket of one client: reads and writes that never wait. Used by `connection` alone.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry};
use rustix::net::SendFlags;
use socket2::SockRef;

use super::output::{First, Output};

/// A client's stream.
pub struct Transport {
    stream: TcpStream,
    wishes_to_write: bool, // the poller has been told once; edges come from then on
}

/// How far a write came.
pub enum Written {
    /// Nothing is owed any more.
    All,
    /// The client takes no more for now.
    Blocked,
    /// The share is used up.
    Share,
    /// A file is shorter than was promised.
    Short,
    /// The client is gone.
    Gone,
    /// The next piece is part of a file, and files are not read here.
    File,
}

impl Transport {
    pub fn new(stream: TcpStream) -> Transport {
        Transport { stream, wishes_to_write: false }
    }

    /// Read once.
    pub fn read(&self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&self.stream).read(room) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                result => return result,
            }
        }
    }

    /// Write what is owed, up to a share, which is less by what was written afterwards. Tells how far it came.
    pub fn write(&self, output: &mut Output, files: bool, share: &mut usize) -> Written {
        loop {
            if output.begins_with_file() && !files {
                return Written::File;
            }
            if *share == 0 && !output.is_empty() {
                return Written::Share;
            }
            let mut slices = Vec::new();
            match output.first(&mut slices) {
                First::Nothing => return Written::All,
                First::Bytes { file_follows } => {
                    let wished: usize = slices.iter().map(|slice| slice.len()).sum();
                    match self.send(&slices, file_follows) {
                        Ok(count) => {
                            drop(slices);
                            output.advance(count);
                            *share = share.saturating_sub(count);
                            if count < wished {
                                // It took less than there was: no need to hear WouldBlock as well.
                                return Written::Blocked;
                            }
                        }
                        Err(err) => return Written::from(&err),
                    }
                }
                First::File { file, start, length } => match self.send_file(file, start, *length, *share) {
                    Ok(0) => return Written::Short,
                    Ok(count) => {
                        *length -= count as u64;
                        *share = share.saturating_sub(count);
                    }
                    Err(err) => return Written::from(&err),
                },
            }
        }
    }

    fn send(&self, slices: &[IoSlice<'_>], file_follows: bool) -> io::Result<usize> {
        loop {
            let result = match slices {
                // The head of a file goes out in one segment with its first bytes.
                [one] if file_follows => {
                    Ok(rustix::net::send(&self.stream, one, SendFlags::MORE | SendFlags::NOSIGNAL)?)
                }
                [one] => (&self.stream).write(one),
                many => (&self.stream).write_vectored(many),
            };
            match result {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                result => return result,
            }
        }
    }

    fn send_file(&self, file: &File, start: &mut u64, length: u64, share: usize) -> io::Result<usize> {
        let count = usize::try_from(length).unwrap_or(usize::MAX).min(share);
        loop {
            match rustix::fs::sendfile(&self.stream, file, Some(start), count) {
                Err(rustix::io::Errno::INTR) => continue,
                result => return Ok(result?),
            }
        }
    }

    /// Have the poller tell when more can be written.
    pub fn wish_to_write(&mut self, registry: &Registry, token: mio::Token) -> io::Result<()> {
        if !self.wishes_to_write {
            // Registering anew also tells of what became writable just before.
            registry.reregister(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)?;
            self.wishes_to_write = true;
        }
        Ok(())
    }

    /// Nothing more will be written; the client sees the end of the stream and may still send.
    pub fn shut_down_writing(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// End it so that the client sees a reset and not an end.
    pub fn reset(&self) {
        // Fails only where the connection is gone already.
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

impl From<&io::Error> for Written {
    fn from(err: &io::Error) -> Written {
        match err.kind() {
            io::ErrorKind::WouldBlock => Written::Blocked,
            // What the disk could not give is a broken promise; what the client does not take is its own leaving.
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
