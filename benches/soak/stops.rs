//! Signals: a pause that loses nothing, shutdowns under load.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::built::{Built, folder, modest};
use crate::crowd::{GET, GET_AND_CLOSE, answered, crowd};
use crate::watch::Watch;
use crate::{Seen, seen};

fn start() -> (tempfile::TempDir, Built) {
    let site = folder(&[("index.html", "here\n")]);
    std::fs::File::create(site.path().join("large")).and_then(|file| file.set_len(100_000_000)).expect("a large file");
    let server = Built::start(&mut modest([site.path().as_os_str(), "-p".as_ref(), "0".as_ref(), "-q".as_ref()]));
    (site, server)
}

pub fn stopped_for_a_while() -> Seen {
    let (_site, server) = start();
    server.signal(Signal::STOP);
    let mut clients = crowd(&server, 200, GET);
    sleep(Duration::from_secs(1));
    server.signal(Signal::CONT);
    let count = answered(&mut clients, "HTTP/1.1 200");
    seen(count == 200, format!("{count} of 200 answered"))
}

/// The number of requests of one client by their outcome.
type Ends = BTreeMap<&'static str, usize>;

/// Sends one request after another until a response has `close`.
fn ask_on(mut client: TcpStream, ends: &mut Ends) {
    let mut buffer = [0; 4096];
    loop {
        if client.write_all(GET).is_err() {
            *ends.entry("cut off while asking").or_default() += 1;
            return;
        }
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nhere\n") {
            match client.read(&mut buffer) {
                Ok(count) if count > 0 => answer.extend_from_slice(&buffer[..count]),
                _ => {
                    *ends.entry("an end instead of an answer").or_default() += 1;
                    return;
                }
            }
        }
        *ends.entry("answered").or_default() += 1;
        if answer.windows(17).any(|part| part == b"Connection: close") {
            return;
        }
    }
}

/// Sends requests on new connections until connecting fails.
fn ask_anew(server: &Built, ends: &mut Ends) {
    loop {
        // Rejected, or reset because the listener was closed meanwhile: the connection was not accepted, and no request
        // was sent.
        let Ok(mut client) = TcpStream::connect(server.address) else { return };
        let mut answer = Vec::new();
        let whole = client.write_all(GET_AND_CLOSE).and_then(|()| client.read_to_end(&mut answer));
        let how = match whole {
            Ok(_) if answer.ends_with(b"here\n") => "answered",
            Ok(_) => "an end instead of an answer",
            Err(_) => "reset",
        };
        *ends.entry(how).or_default() += 1;
    }
}

fn lost(ends: &[Ends]) -> Seen {
    let mut all = Ends::new();
    ends.iter().flatten().for_each(|(how, count)| *all.entry(how).or_default() += count);
    seen(all.len() == 1 && all.contains_key("answered"), format!("{all:?}"))
}

fn rounds(count: usize, clients: usize, ask: impl Fn(&Built, &mut Ends) + Sync) -> Seen {
    let mut ends = Vec::new();
    for _ in 0..count {
        let (_site, server) = start();
        ends.extend(thread::scope(|scope| {
            let all: Vec<_> = (0..clients)
                .map(|_| {
                    let (server, ask) = (&server, &ask);
                    scope.spawn(move || {
                        let mut ends = Ends::new();
                        ask(server, &mut ends);
                        ends
                    })
                })
                .collect();
            sleep(Duration::from_millis(300));
            server.signal(Signal::TERM);
            all.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
        }));
    }
    lost(&ends)
}

pub fn under_load() -> Seen {
    rounds(6, 64, |server, ends| ask_on(server.connect(), ends))
}

pub fn a_connection_each() -> Seen {
    rounds(6, 32, ask_anew)
}

pub fn with_deaf() -> Seen {
    let (_site, server) = start();
    let watch = Watch::of(server.pid());
    let deaf = crowd(&server, 20, b"GET /large HTTP/1.1\r\nHost: soak\r\n\r\n");
    sleep(Duration::from_millis(500));
    server.signal(Signal::TERM);
    let began = Instant::now();
    let (ticks, _) = watch.over(Duration::from_secs(3));
    let (status, ..) = server.end();
    drop(deaf);
    let took = began.elapsed();
    let holds = ticks <= 2 && status.success() && took < Duration::from_millis(10_900);
    seen(holds, format!("{ticks} ticks in 3 s, {status}, {took:.1?} in all"))
}
