//! Thousands of clients, and the response times of a new one beside them.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::built::Built;

pub const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: soak\r\n\r\n";
pub const GET_AND_CLOSE: &[u8] = b"GET / HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n";

/// This many clients that have sent these bytes. Includes connections that the server closes during that time.
pub fn crowd(server: &Built, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let all: Vec<TcpStream> = (0..count).map(|_| server.connect()).collect();
    all.iter().for_each(|mut client| drop(client.write_all(bytes)));
    all
}

/// The number of clients that have a response that begins like this.
pub fn answered(crowd: &mut [TcpStream], with: &str) -> usize {
    let met = |client| first_bytes(client, with.len()).is_ok_and(|bytes| bytes == with.as_bytes());
    crowd.iter_mut().map(met).filter(|met| *met).count()
}

fn first_bytes(client: &mut TcpStream, count: usize) -> io::Result<Vec<u8>> {
    client.set_read_timeout(Some(Duration::from_secs(3)))?;
    let mut bytes = vec![0; count];
    client.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The response times of new clients.
pub struct Fresh {
    pub p50: Duration,
    pub p99: Duration,
}

pub fn fresh(server: &Built, count: usize) -> Fresh {
    let mut times: Vec<Duration> = (0..count)
        .map(|_| {
            let began = Instant::now();
            let mut client = server.connect();
            client.write_all(GET).unwrap();
            let came = client.read(&mut [0; 4096]).unwrap();
            assert!(came > 0, "a new client got an end instead of a response");
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    Fresh { p50: times[count / 2], p99: times[count * 99 / 100] }
}

impl std::fmt::Display for Fresh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "fresh: p50 {:.0?}, p99 {:.0?}", self.p50, self.p99)
    }
}
