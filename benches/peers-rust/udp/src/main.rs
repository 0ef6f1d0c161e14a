//! A loop over a blocking socket, on one thread: it measures the cost of the two system calls for each datagram.

use std::net::UdpSocket;

fn main() -> std::io::Result<()> {
    let socket = UdpSocket::bind(std::env::args().nth(1).unwrap_or("127.0.0.1:9999".into()))?;
    let mut buffer = [0; 8192];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..length], from)?;
    }
}
