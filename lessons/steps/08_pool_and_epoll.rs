//! Four workers; waiting clients are parked in a table and cost no thread. `cargo run -q --bin step08 [ADDRESS]`

use std::io::{self, ErrorKind};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use lessons::client::{Client, handle};
use lessons::table::{Table, lock};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const WORKERS: usize = 4;
const TIMEOUT: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(100);
const LISTENER: Token = Token(0);

type Ready = (Token, Client<TcpStream>);

/// A worker takes a turn with each client that is ready.
fn work(table: &Table<Client<TcpStream>>, queue: &Mutex<Receiver<Ready>>) {
    loop {
        let next = lock(queue).recv();
        let Ok((token, mut client)) = next else { return };
        loop {
            let stays = client.turn(handle).unwrap_or(false);
            if !stays {
                table.remove(token);
                break;
            }
            match table.park(token, client) {
                Some(again) => client = again,
                None => break,
            }
        }
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let mut listener = TcpListener::bind(address.parse().map_err(io::Error::other)?)?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (sender, receiver) = channel();
    let (table, receiver) = (Table::default(), Mutex::new(receiver));
    let (mut events, mut next) = (Events::with_capacity(1024), 1);
    thread::scope(|scope| {
        let sender = sender; // if this thread fails, the queue ends, and with it the workers
        (0..WORKERS).for_each(|_| drop(scope.spawn(|| work(&table, &receiver))));
        loop {
            match poll.poll(&mut events, Some(TICK)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in events.iter().filter(|event| event.token() != LISTENER) {
                if let Some(client) = table.wake(event.token()) {
                    let _ = sender.send((event.token(), client)); // fails only without workers
                }
            }
            while let Ok((mut socket, _)) = listener.accept() {
                let both = Interest::READABLE | Interest::WRITABLE;
                poll.registry().register(&mut socket, Token(next), both)?;
                table.add(Token(next), Client::new(socket, TIMEOUT));
                next += 1;
            }
            let now = Instant::now();
            table.retain(|client| client.deadline > now);
        }
    })
}
