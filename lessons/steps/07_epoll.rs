//! One thread that sleeps until the kernel reports a client. `cargo run -q --bin step07 [ADDRESS]`

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use lessons::client::{Client, handle};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const TIMEOUT: Duration = Duration::from_secs(10);
const LISTENER: Token = Token(0);

struct Server {
    poll: Poll,
    listener: TcpListener,
    clients: HashMap<Token, Client<TcpStream>>,
    next: usize, // the token of the next client; never used twice
}

impl Server {
    /// Accepts everyone who has connected: with edge triggering, until `WouldBlock`.
    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((socket, _)) => self.add(socket),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return println!("cannot accept: {error}"),
            }
        }
    }

    fn add(&mut self, mut socket: TcpStream) {
        let token = Token(self.next);
        self.next += 1;
        match self.poll.registry().register(&mut socket, token, Interest::READABLE | Interest::WRITABLE) {
            Ok(()) => drop(self.clients.insert(token, Client::new(socket, TIMEOUT))),
            Err(error) => println!("cannot watch a client: {error}"),
        }
    }

    /// One turn with the client that was reported.
    fn turn(&mut self, token: Token) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        let stays = client.turn(handle).unwrap_or_else(|error| {
            println!("lost a client: {error}");
            false
        });
        if !stays {
            self.clients.remove(&token); // closes the socket, which also takes it out of the epoll
        }
    }

    /// Drops late clients, and returns how long the rest may sleep: `None` is forever.
    fn next_deadline(&mut self) -> Option<Duration> {
        let now = Instant::now();
        self.clients.retain(|_, client| client.deadline > now);
        self.clients.values().map(|client| client.deadline - now).min()
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let mut listener = TcpListener::bind(address.parse().map_err(io::Error::other)?)?;
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut server = Server { poll, listener, clients: HashMap::new(), next: 1 };
    let mut events = Events::with_capacity(1024);
    loop {
        let timeout = server.next_deadline();
        match server.poll.poll(&mut events, timeout) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            match event.token() {
                LISTENER => server.accept(),
                token => server.turn(token),
            }
        }
    }
}
