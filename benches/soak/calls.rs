//! Ten thousand listeners, messages to all of them, and other clients that send requests meanwhile.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::built::Built;
use crate::watch::Watch;
use crate::{Seen, seen, serve};

const LISTENERS: usize = 10_000;
const BROADCASTS: usize = 10;
/// Clients that send requests meanwhile, as fast as they get responses.
const ASKING: usize = 4;

/// The listeners, any of which may have something to read.
struct Listeners {
    streams: Vec<TcpStream>,
    poll: Poll,
    events: Events,
}

impl Listeners {
    fn new(server: &Built) -> Listeners {
        let poll = Poll::new().expect("a poller");
        let mut streams = Vec::new();
        for number in 0..LISTENERS {
            let mut stream = server.connect();
            stream.write_all(b"listen\n").expect("bytes sent to the server");
            stream.read_exact(&mut [0; 3]).expect("ok");
            stream.set_nonblocking(true).unwrap();
            let descriptor = stream.as_raw_fd();
            let source = &mut SourceFd(&descriptor);
            poll.registry().register(source, Token(number), Interest::READABLE).expect("a registered socket");
            streams.push(stream);
        }
        Listeners { streams, poll, events: Events::with_capacity(1024) }
    }

    /// Waits until each listener has read this number of bytes.
    fn read(&mut self, bytes: usize) {
        let mut left = vec![bytes; self.streams.len()];
        let mut waiting = self.streams.len();
        let mut buffer = [0; 4096];
        while waiting > 0 {
            self.poll.poll(&mut self.events, Some(Duration::from_secs(20))).expect("a poll");
            assert!(!self.events.is_empty(), "{waiting} listeners got no event");
            for number in self.events.iter().map(|event| event.token().0) {
                loop {
                    match self.streams[number].read(&mut buffer) {
                        Ok(0) => panic!("a listener has an end"),
                        Ok(count) => {
                            left[number] -= count;
                            waiting -= usize::from(left[number] == 0);
                        }
                        Err(err) if err.kind() == ErrorKind::WouldBlock => break,
                        Err(err) => panic!("a listener: {err}"),
                    }
                }
            }
        }
    }
}

/// Sends one request after another. Returns the time of each response.
fn ask_on(mut client: TcpStream, over: &AtomicBool) -> Vec<Duration> {
    let mut times = Vec::new();
    while !over.load(Relaxed) {
        let began = Instant::now();
        client.write_all(b"ask\n").expect("bytes sent to the server");
        client.read_exact(&mut [0; 3]).expect("ok");
        times.push(began.elapsed());
    }
    times
}

/// The time within which this many of a thousand responses arrived.
pub fn share(times: &mut [Duration], of_a_thousand: usize) -> Duration {
    times.sort_unstable();
    times[times.len() * of_a_thousand / 1000]
}

pub fn broadcasts() -> Seen {
    let server = serve::start_with(&[(serve::NEWS, "yes")]);
    let watch = Watch::of(server.pid());
    let mut speaker = server.connect();
    speaker.set_nodelay(true).unwrap();
    let mut listeners = Listeners::new(&server);
    sleep(Duration::from_millis(500));
    let (ticks, switches) = watch.over(Duration::from_secs(3));
    let asking = |over: &AtomicBool, during: &mut dyn FnMut()| {
        over.store(false, Relaxed);
        thread::scope(|scope| {
            let clients: Vec<_> = (0..ASKING).map(|_| scope.spawn(|| ask_on(server.connect(), over))).collect();
            during();
            over.store(true, Relaxed);
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
        })
    };
    let over = AtomicBool::new(false);
    let mut alone = asking(&over, &mut || sleep(Duration::from_secs(2)));
    let (mut heard, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..BROADCASTS {
        beside.extend(asking(&over, &mut || {
            let began = Instant::now();
            speaker.write_all(b"say\n").expect("bytes sent to the server");
            listeners.read(b"news\n".len());
            heard.push(began.elapsed());
        }));
        speaker.read_exact(&mut [0; 3]).expect("ok");
        sleep(Duration::from_millis(100));
    }
    let (median, longest) = (share(&mut heard, 500), *heard.last().expect("some"));
    let (alone, p50, p99) = (share(&mut alone, 990), share(&mut beside, 500), share(&mut beside, 990));
    let holds = ticks == 0 && switches == 0 && median < Duration::from_millis(200) && p99 < Duration::from_millis(20);
    seen(
        holds,
        format!(
            "{ticks} ticks, {switches} switches in 3 silent s; all have it after {median:.0?}, at most {longest:.0?}; \
             beside them p50 {p50:.1?}, p99 {p99:.1?}, without p99 {alone:.1?}"
        ),
    )
}
