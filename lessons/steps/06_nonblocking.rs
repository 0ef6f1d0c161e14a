//! One thread, all clients, and no call that waits. `cargo run -q --bin step06 [ADDRESS]`

use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use lessons::client::{Client, handle};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Accepts everyone who has connected.
fn accept(listener: &TcpListener, clients: &mut Vec<Client<TcpStream>>) {
    loop {
        match listener.accept().and_then(|(socket, _)| socket.set_nonblocking(true).map(|()| socket)) {
            Ok(socket) => clients.push(Client::new(socket, TIMEOUT)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => return println!("cannot accept: {error}"),
        }
    }
}

/// One turn with a client. Returns whether it stays.
fn stays(client: &mut Client<TcpStream>) -> bool {
    let stays = client.turn(handle).unwrap_or_else(|error| {
        println!("lost a client: {error}");
        false
    });
    stays && Instant::now() < client.deadline
}

fn main() -> io::Result<()> {
    let listener = TcpListener::bind(std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into()))?;
    listener.set_nonblocking(true)?;
    let mut clients = Vec::new();
    loop {
        accept(&listener, &mut clients);
        clients.retain_mut(stays);
        thread::sleep(Duration::from_millis(1)); // otherwise the loop takes a whole core
    }
}
