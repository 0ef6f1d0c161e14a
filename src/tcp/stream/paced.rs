//! A writer with the limits of a response, for output that the server only passes on.

use std::io::{self, ErrorKind, Write};

use super::{LEAST_TIMEOUT, SendLimits, Stream, StreamWriter};
use crate::tcp::pace::Pace;
use crate::tcp::{sync, sys};

/// A writer whose client must read at the server's [minimum rate](crate::TcpServer::min_rate) and cannot pause for
/// longer than its [write timeout](crate::TcpServer::write_timeout). Otherwise writing fails with
/// [`TimedOut`](ErrorKind::TimedOut). Only time in which a write waits for the client counts.
pub struct PacedWriter {
    writer: StreamWriter,
    limits: SendLimits,
    pace: Pace,
    /// How many bytes were written.
    written: u64,
}

impl Stream {
    /// Returns a paced writer for any thread. Until it is dropped, writes by other writers of this stream can end
    /// early, with [`WouldBlock`](ErrorKind::WouldBlock). Dropping it removes their timeout.
    ///
    /// # Errors
    /// If the socket cannot have a timeout.
    pub(crate) fn paced_writer(&self) -> io::Result<PacedWriter> {
        let limits = self.registration().map(|registration| registration.send_limits());
        let limits = limits.unwrap_or(SendLimits { min_rate: None, write_timeout: None });
        let look = limits.first_look().map(|look| look.max(LEAST_TIMEOUT));
        self.writer.socket.set_write_timeout(look)?;
        Ok(PacedWriter { writer: self.writer(), limits, pace: Pace::default(), written: 0 })
    }
}

impl PacedWriter {
    /// Sends the end of the stream.
    ///
    /// # Errors
    /// If the client has disconnected, or reads too slowly.
    #[cfg(feature = "proxy")]
    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.paced(|writer| writer.sink.end().map(|()| 0)).map(drop)
    }

    /// Repeats the call, which sends some bytes, while the client reads enough.
    fn paced(&mut self, mut call: impl FnMut(&mut StreamWriter) -> io::Result<usize>) -> io::Result<usize> {
        loop {
            self.pace.park(sync::now(), None, true, self.limits);
            let sent = call(&mut self.writer);
            self.pace.resume(sync::now());
            if let Ok(count) = sent {
                self.pace.took(count as u64);
                self.written += count as u64;
            }
            if self.takes_too_little() {
                return Err(io::Error::new(ErrorKind::TimedOut, "the client reads too slowly"));
            }
            match sent {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                sent => return sent,
            }
        }
    }

    fn takes_too_little(&mut self) -> bool {
        let (socket, written) = (&self.writer.socket, self.written);
        let arrived = || sys::unacknowledged(&**socket).map(|held| written.saturating_sub(held));
        self.pace.takes_too_little(self.limits, arrived)
    }
}

impl Write for PacedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.paced(|writer| writer.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.paced(|writer| writer.flush().map(|()| 0)).map(drop)
    }
}

impl Drop for PacedWriter {
    fn drop(&mut self) {
        let _ = self.writer.socket.set_write_timeout(None); // fails only if the connection is broken
    }
}
