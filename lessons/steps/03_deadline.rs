//! A client has one second for its head. One client at a time. `cargo run -q --bin step03 [ADDRESS]`

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use lessons::head::{Head, Rejection, parse, response};

const HEAD_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads once, and waits until the deadline at most.
fn read_by(client: &mut TcpStream, deadline: Instant, buffer: &mut [u8]) -> io::Result<usize> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    client.set_read_timeout(Some(left))?;
    client.read(buffer)
}

/// Reads until the head is complete. `None`: the client left before that.
fn read_head(client: &mut TcpStream) -> io::Result<Option<Result<Head, Rejection>>> {
    let deadline = Instant::now() + HEAD_TIMEOUT;
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
fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn serve(mut client: TcpStream) -> io::Result<()> {
    client.set_write_timeout(Some(HEAD_TIMEOUT))?;
    let response = match read_head(&mut client) {
        Ok(None) => return Ok(()),
        Ok(Some(Ok(head))) => response(200, &format!("Hello, {}!\n", head.target)),
        Ok(Some(Err((status, reason)))) => response(status, &format!("{reason}\n")),
        Err(error) if is_late(&error) => response(408, "your request took too long\n"),
        Err(error) => return Err(error),
    };
    client.write_all(response.as_bytes())
}

fn main() -> io::Result<()> {
    let listener = TcpListener::bind(std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into()))?;
    for client in listener.incoming() {
        if let Err(error) = client.and_then(serve) {
            println!("lost a client: {error}");
        }
    }
    Ok(())
}
