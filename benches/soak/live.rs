//! Listeners to events over HTTP that are silent, do not read, disconnect or all reconnect at once; beside clients that
//! send requests.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::built::{Built, read_until};
use crate::calls::share;
use crate::watch::Watch;
use crate::{Seen, seen, serve};

const LISTENERS: usize = 10_000;
const SECOND: Duration = Duration::from_secs(1);

fn start(address: &str) -> Built {
    serve::start_with(&[(serve::LIVE, address)])
}

/// A listener that has received the head of its response.
fn listen(server: &Built) -> TcpStream {
    let mut client = server.connect();
    client.write_all(b"GET /events HTTP/1.1\r\nHost: soak\r\n\r\n").expect("bytes sent to the server");
    let head = read_until(&mut client, b"\r\n\r\n").expect("a head");
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head));
    client
}

/// Sends one request after another, with this many clients. Returns the time of each response.
fn asked(server: &Built, clients: usize, during: impl FnOnce()) -> Vec<Duration> {
    let over = AtomicBool::new(false);
    let ask_on = || {
        let mut client = server.connect();
        client.set_nodelay(true).unwrap();
        let (mut times, mut answer) = (Vec::new(), [0; 1024]);
        while !over.load(Relaxed) {
            let began = Instant::now();
            client.write_all(b"GET /ask HTTP/1.1\r\nHost: soak\r\n\r\n").expect("bytes sent to the server");
            let mut count = 0;
            while !answer[..count].ends_with(b"\r\n\r\nok\n") {
                count += client.read(&mut answer[count..]).expect("a response");
            }
            times.push(began.elapsed());
            sleep(Duration::from_millis(1)); // a fixed rate: the test measures response times, not the processors
        }
        times
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(ask_on)).collect();
        during();
        over.store(true, Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

fn threads(server: &Built) -> usize {
    std::fs::read_dir(format!("/proc/{}/task", server.pid().as_raw_nonzero())).map_or(0, Iterator::count)
}

/// The server's own numbers of connections and listeners.
fn numbers(server: &Built) -> (usize, usize) {
    let said = server.get("/numbers").body;
    let mut numbers = said.split_whitespace().map(|number| number.parse().expect("a number"));
    (numbers.next().expect("connections"), numbers.next().expect("listeners"))
}

pub fn dashboard() -> Seen {
    let server = start("127.0.0.1:0");
    let watch = Watch::of(server.pid());
    server.get("/ask");
    sleep(SECOND / 2); // until all workers have started
    let (memory, threads_alone) = (watch.memory(), threads(&server));
    let rounds = |during: &dyn Fn()| -> Vec<Duration> {
        let mut times: Vec<Duration> = (0..3).flat_map(|_| asked(&server, 4, during)).collect();
        times.sort_unstable();
        times
    };
    let mut alone = rounds(&|| sleep(2 * SECOND));
    let listeners: Vec<TcpStream> = (0..LISTENERS).map(|_| listen(&server)).collect();
    sleep(SECOND / 2);
    let each = watch.memory().saturating_sub(memory) as f64 / LISTENERS as f64;
    let more_threads = threads(&server) - threads_alone;
    let (ticks, switches) = watch.over(3 * SECOND);
    let mut silent = rounds(&|| sleep(2 * SECOND));
    let mut beside = rounds(&|| {
        for _ in 0..2 {
            assert_eq!(server.ask("POST", "/say", &[], "news").status, 204);
            sleep(SECOND);
        }
    });
    let (alone, silent) =
        ((share(&mut alone, 500), share(&mut alone, 990)), (share(&mut silent, 500), share(&mut silent, 990)));
    let beside = (share(&mut beside, 500), share(&mut beside, 990));
    drop(listeners);
    let unchanged = silent.1 < 2 * alone.1 + Duration::from_millis(2);
    seen(
        ticks == 0 && switches == 0 && more_threads == 0 && each < 2.0 && unchanged,
        format!(
            "{each:.2} KiB each, {more_threads} threads more, {ticks} ticks and {switches} switches in 3 silent s; a request has its \
             response after (p50, p99) {:.1?}, {:.1?}, beside silent listeners {:.1?}, {:.1?}, with an event for all each second {:.1?}, {:.1?}",
            alone.0, alone.1, silent.0, silent.1, beside.0, beside.1
        ),
    )
}

/// A thousand listeners read nothing, and events come faster than any client reads.
pub fn deaf() -> Seen {
    let server = start("127.0.0.1:0");
    let watch = Watch::of(server.pid());
    let deaf: Vec<TcpStream> = (0..1000).map(|_| listen(&server)).collect();
    let before = watch.memory();
    let mut most = 0;
    let began = Instant::now();
    let mut times = asked(&server, 2, || {
        // The system buffers some events for each listener, then the queue does, then the connection ends.
        while numbers(&server).1 > 0 && began.elapsed() < 60 * SECOND {
            assert_eq!(server.ask("POST", "/flood", &[], "").status, 204);
            most = most.max(watch.memory());
        }
    });
    let took = began.elapsed();
    let gone = watch.until(5 * SECOND, |_| numbers(&server).0 <= 1);
    let (more, p99) = (most.saturating_sub(before) / 1024, share(&mut times, 990));
    drop(deaf);
    seen(
        gone.is_some() && more < 256 && p99 < SECOND,
        format!(
            "given up after {took:.1?}, and gone {gone:.0?} later; {more} MiB at most for all; beside them p99 {p99:.1?}"
        ),
    )
}

/// A thousand clients listen, the server ends, another one replaces it, and all clients reconnect at once. Then all
/// disconnect.
pub fn storm() -> Seen {
    let first = start("127.0.0.1:0");
    let address = first.address.to_string();
    let listeners: Vec<TcpStream> = (0..1000).map(|_| listen(&first)).collect();
    let began = Instant::now();
    first.stop();
    let stopped = began.elapsed();
    let told = listeners.into_iter().filter(|mut client| {
        let mut rest = String::new();
        client.read_to_string(&mut rest).is_ok() && rest.ends_with("retry: 1000\n\n\r\n0\r\n\r\n")
    });
    let told = told.count();
    let second = start(&address);
    let watch = Watch::of(second.pid());
    second.get("/ask");
    let open = watch.descriptors();
    let began = Instant::now();
    let listeners: Vec<TcpStream> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| (0..125).map(|_| listen(&second)).collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let back = began.elapsed();
    assert_eq!(second.ask("POST", "/say", &[], "news").status, 204);
    let heard = listeners.iter().filter(|listener| {
        let mut event = [0; 17];
        let mut listener: &TcpStream = listener;
        listener.read_exact(&mut event).is_ok() && event == *b"c\r\ndata: news\n\n\r\n"
    });
    let heard = heard.count();
    drop(listeners);
    // A client that has closed only its sending side can still read. So the next event shows which clients are gone.
    assert_eq!(second.ask("POST", "/say", &[], "news").status, 204);
    let left = watch.until(5 * SECOND, |watch| watch.descriptors() <= open);
    seen(
        told == 1000 && heard == 1000 && left.is_some() && back < 5 * SECOND,
        format!(
            "stopped after {stopped:.0?}, {told} got `retry`; all have reconnected after {back:.0?}, {heard} got the next event; all are closed after {left:.0?}"
        ),
    )
}
