//! Page 3: reads a head from a blocking socket by a deadline. Used by steps 4 and 5.

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::head::{Head, Rejection, parse};

/// Reads once, and waits until the deadline at most.
pub fn read_by(client: &mut TcpStream, deadline: Instant, buffer: &mut [u8]) -> io::Result<usize> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    client.set_read_timeout(Some(left))?;
    client.read(buffer)
}

/// Reads until the head is complete. `None`: the client left before that.
pub fn read_head(client: &mut TcpStream, within: Duration) -> io::Result<Option<Result<Head, Rejection>>> {
    let deadline = Instant::now() + within;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 1024]);
    loop {
        let length = read_by(client, deadline, &mut buffer)?;
        if length == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&buffer[..length]);
        match parse(&bytes) {
            Ok(None) => {}
            Ok(Some((head, _))) => return Ok(Some(Ok(head))),
            Err(rejection) => return Ok(Some(Err(rejection))),
        }
    }
}

/// Returns whether a read has timed out: the kernel reports `WouldBlock`, and `read_by` reports `TimedOut`.
pub fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
