//! Page 3.
//!
//! Exercise 3: `StreamRequestHandler.timeout` is passed to `settimeout`, so it bounds one `read`: a client that sends a
//! byte now and then is never late. `BaseServer.timeout` is another one: how long `handle_request` waits for a client.

use std::io::{self, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Exercise 1: writes all bytes, and waits until the deadline at most.
fn write_by(client: &mut TcpStream, deadline: Instant, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        client.set_write_timeout(Some(left))?;
        match client.write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::TimedOut.into()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Exercise 2: at least `rate` bytes per second since the start, judged from `grace` on. The caller has the clock.
struct MinRate {
    rate: u64,
    grace: Duration,
    received: u64,
}

impl MinRate {
    /// Notes bytes that arrived `since` the start. Returns whether the client is fast enough.
    fn is_met(&mut self, since: Duration, bytes: u64) -> bool {
        self.received += bytes;
        since < self.grace || u128::from(self.received) * 1000 >= u128::from(self.rate) * since.as_millis()
    }
}

#[test]
fn a_client_that_does_not_read_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _reader = TcpStream::connect(listener.local_addr().unwrap()).unwrap(); // reads nothing
    let mut client = listener.accept().unwrap().0;
    let error = write_by(&mut client, Instant::now() + Duration::from_millis(50), &vec![0; 50_000_000]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn a_client_below_the_minimum_rate_is_detected() {
    let mut client = MinRate { rate: 100, grace: Duration::from_secs(2), received: 0 };
    for (seconds, bytes, expected) in
        [(1, 0, true), (2, 0, false), (3, 300, true), (4, 0, false), (5, 1000, true), (13, 0, true), (14, 0, false)]
    {
        assert_eq!(client.is_met(Duration::from_secs(seconds), bytes), expected, "{seconds} s");
    }
}
