//! Clients that wrk does not support: of WebSockets, event streams and datagrams. Used by `benches/loads.py`.
//!
//! `bench-load echo ws|udp ADDRESS CONNECTIONS SECONDS`: each connection sends a text and waits for the same text. All send, then all read.
//! `bench-load all ws|events ADDRESS CONNECTIONS SECONDS`: one client sends a text, and all connections read it.
//!
//! It prints `READY` once it is connected, starts at a line of input, and ends with `DONE TEXTS MICROSECONDS P50 P99 P999`: how many texts it has
//! received, and how long a round took. Each text is compared with what was sent; anything else ends the program.

mod clients;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use clients::{Client, connect, text};

const THREADS: usize = 2;

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, kind, address, connections, seconds] = &words[..] else { panic!("see the head of load/src/main.rs") };
    let connections = connections.parse().expect("a number of connections");
    let time = Duration::from_secs_f64(seconds.parse().expect("a number of seconds"));
    let shares = shares(what, kind, address, connections)?;
    println!("READY");
    io::stdin().read_line(&mut String::new())?;
    let mut times = match what.as_str() {
        "echo" => echo(shares, time),
        _ => all(shares, kind, address, time)?,
    };
    let total: Duration = times.iter().sum();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_micros();
    let took = if what == "echo" { total / THREADS as u32 } else { total };
    let texts = times.len() * if what == "echo" { connections / THREADS } else { connections };
    println!("DONE {texts} {} {} {} {}", took.as_micros(), at(0.5), at(0.99), at(0.999));
    io::stdin().read_line(&mut String::new())?; // the CPU time of the server is read before the clients leave
    Ok(())
}

/// The connections of each thread.
fn shares(what: &str, kind: &str, address: &str, connections: usize) -> io::Result<Vec<Vec<Box<dyn Client>>>> {
    let path = if what == "echo" { "/echo" } else { "/chat" };
    let share = || (0..connections / THREADS).map(|_| connect(kind, address, path)).collect();
    (0..THREADS).map(|_| share()).collect()
}

/// Returns the time of each round of each thread.
fn echo(shares: Vec<Vec<Box<dyn Client>>>, time: Duration) -> Vec<Duration> {
    let threads: Vec<_> =
        shares.into_iter().map(|share| std::thread::spawn(move || echo_on_one(share, time))).collect();
    threads.into_iter().flat_map(|thread| thread.join().expect("a thread of the load")).collect()
}

fn echo_on_one(mut clients: Vec<Box<dyn Client>>, time: Duration) -> Vec<Duration> {
    let (began, mut times) = (Instant::now(), Vec::new());
    while began.elapsed() < time {
        let (start, text) = (Instant::now(), text(times.len()));
        clients.iter_mut().for_each(|client| client.send(&text).expect("sending"));
        clients.iter_mut().for_each(|client| client.expect(&text).expect("the echo"));
        times.push(start.elapsed());
    }
    std::mem::forget(clients); // they leave when the program ends
    times
}

/// Returns the time in which each text has reached all.
fn all(shares: Vec<Vec<Box<dyn Client>>>, kind: &str, address: &str, time: Duration) -> io::Result<Vec<Duration>> {
    let barrier = Arc::new(Barrier::new(THREADS + 1));
    for mut clients in shares {
        let barrier = barrier.clone();
        std::thread::spawn(move || {
            for number in 0.. {
                barrier.wait();
                let text = text(number);
                clients.iter_mut().for_each(|client| client.expect(&text).expect("a text for all"));
                barrier.wait();
            }
        });
    }
    let mut publish = publisher(kind, address)?;
    let (began, mut times) = (Instant::now(), Vec::new());
    while began.elapsed() < time {
        barrier.wait();
        let start = Instant::now();
        publish(&text(times.len()))?;
        barrier.wait();
        times.push(start.elapsed());
    }
    Ok(times)
}

type Publish = Box<dyn FnMut(&str) -> io::Result<()>>;

fn publisher(kind: &str, address: &str) -> io::Result<Publish> {
    if kind == "ws" {
        let mut guest = connect("ws", address, "/chat")?; // it gets its own texts as well
        return Ok(Box::new(move |text| guest.send(text).and_then(|()| guest.expect(text))));
    }
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let address = address.to_owned();
    Ok(Box::new(move |text| {
        let length = text.len();
        write!(
            stream,
            "POST /publish HTTP/1.1\r\nHost: {address}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{text}"
        )?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        if head.starts_with(b"HTTP/1.1 204") { Ok(()) } else { Err(io::Error::other(String::from_utf8_lossy(&head))) }
    }))
}
