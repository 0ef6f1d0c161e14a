//! Page 6.
//!
//! Exercise 3: at most nine reads of 1,024 bytes. `parse` in `Client::read` rejects a head once it has 8 KiB, and a
//! rejection is output, which ends the loop.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use lessons::client::{Client, handle};

/// Exercise 1: a socket that gives and takes `piece` bytes, and then `WouldBlock` once.
struct Pieces {
    input: Vec<u8>,
    output: Vec<u8>,
    piece: usize,
    is_ready: bool,
}

impl Pieces {
    fn turn(&mut self) -> io::Result<()> {
        self.is_ready = !self.is_ready;
        if self.is_ready { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
    }
}

impl Read for Pieces {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.turn()?;
        let length = self.piece.min(self.input.len()).min(room.len());
        room[..length].copy_from_slice(&self.input[..length]);
        self.input.drain(..length);
        Ok(length)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.turn()?;
        let length = self.piece.min(bytes.len());
        self.output.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Exercise 2: how many bytes `drain` moves for a response that goes out in pieces. A position moves none.
fn moved(length: u64, piece: u64) -> u64 {
    (0..=length).step_by(piece as usize).skip(1).map(|written| length - written).sum()
}

#[test]
fn pieces_change_nothing() {
    for piece in 1..=40 {
        let input = b"GET /cake HTTP/1.1\r\nHost: me\r\n\r\n".to_vec();
        let socket = Pieces { input, output: Vec::new(), piece, is_ready: false };
        let mut client = Client::new(socket, Duration::from_secs(10));
        while client.turn(handle).unwrap() {}
        let output = String::from_utf8_lossy(&client.socket.output).into_owned();
        assert!(output.starts_with("HTTP/1.1 200 OK\r\n") && output.ends_with("Hello, /cake!\n"), "{piece}: {output}");
    }
}

#[test]
fn drain_moves_a_gigabyte() {
    assert_eq!(moved(10, 4), 6 + 2);
    assert!(moved(12_000_000, 65_536) > 1_000_000_000);
}
