//! All combinations of request bodies, responses, clients and ends, chosen by a seed. In any case a response is
//! complete or visibly broken, a handler is called at most once per request, the access log has one line per request,
//! and nothing is left in memory.
//!
//! `cargo test --test serve matrix` runs a few cases, `MODEST_MATRIX=20000 MODEST_SEED=7` runs many others. A failure
//! prints its case, with the seed that runs only this case (`MODEST_SEED=... MODEST_MATRIX=1`). `MODEST_TRANSPORT`
//! chooses the transport.

mod app; // the application
pub mod client; // its clients
mod judge; // the valid outcomes

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use modest::Http;

use self::app::App;
use crate::server::{PATIENCE, serve};

/// The number of cases without `MODEST_MATRIX`.
const CASES: u64 = 120;

/// After this many failures a thread runs no further cases.
const MOST_FAILED: usize = 5;

/// Pseudorandom numbers, equal for equal seeds.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// The kinds of request bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    None,
    Length,
    Chunked,
    /// With `Expect: 100-continue`.
    HeldBack,
    /// The connection ends before the announced length.
    CutShort,
    CutShortChunked,
}

/// The way in which the handler uses the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Received before the handler is called, and read.
    Whole,
    /// Received before, and not read.
    Ignored,
    /// Written to a writer of the handler.
    Saved,
    /// Read while it arrives.
    Streamed,
    /// Half of it is read while it arrives.
    Half,
    /// None of it is read.
    Unread,
}

/// The kinds of responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseKind {
    Bytes,
    File,
    Stream,
    SizedStream,
    Channel,
    /// Bytes after a long poll.
    Wait,
    /// Another protocol, in its own thread.
    Upgrade,
    /// Another protocol, without a thread.
    Switch,
    /// A stream that fails after half of its bytes.
    Broken,
    /// A panic.
    Panic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// One request at a time, each in one piece.
    Whole,
    /// One request at a time, in small pieces. Responses are also read in small pieces.
    Slow,
    /// All requests at once.
    Pipelined,
    /// All requests at once, and then a half-close.
    HalfClosed,
    /// All requests at once, except the end of the last one, which never comes.
    Stalling,
    /// A part of the requests, then a close.
    Vanishing,
    /// All requests at once, and nothing is read before the server closes the connection.
    NeverReading,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client closes when it has all responses.
    KeepAlive,
    /// The last request has `Connection: close`.
    Close,
    /// The last request is HTTP/1.0.
    Old,
    /// The server shuts down in the meantime.
    Shutdown,
    /// The client stays until the server closes the connection.
    Idle,
}

#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    pub body: BodyKind,
    pub length: usize,
    pub reading: Reading,
    pub response: ResponseKind,
    pub size: usize,
    pub old: bool,
    pub close: bool,
}

#[derive(Clone, Debug)]
pub struct Case {
    pub seed: u64,
    pub exchanges: Vec<Exchange>,
    pub behaviour: Behaviour,
    pub ending: Ending,
}

const LENGTHS: [usize; 6] = [0, 1, 100, 5_000, 70_000, 150_000];
pub const SIZES: [usize; 6] = [0, 1, 1_000, 20_000, 100_000, 700_000];

impl Case {
    fn new(seed: u64) -> Case {
        use {Behaviour as B, BodyKind as K, Ending as E, Reading as R, ResponseKind as S};
        let mut random = Random(seed);
        let behaviour = random.of(&[
            B::Whole,
            B::Slow,
            B::Pipelined,
            B::HalfClosed,
            B::Vanishing,
            B::NeverReading,
            B::Pipelined,
            B::Stalling,
        ]);
        let ending = random.of(&[E::KeepAlive, E::Close, E::Old, E::Shutdown, E::Idle]);
        let count = 1 + random.below(3);
        let exchanges = (1..=count).map(|number| {
            let is_last = number == count;
            let old = is_last && ending == E::Old;
            let mut body =
                random.of(&[K::None, K::Length, K::Length, K::Chunked, K::HeldBack, K::CutShort, K::CutShortChunked]);
            if is_last && behaviour == B::Stalling {
                body = random.of(&[K::CutShort, K::CutShortChunked]);
            }
            if matches!(body, K::CutShort | K::CutShortChunked) && (!is_last || behaviour == B::NeverReading)
                || old && matches!(body, K::Chunked | K::CutShortChunked | K::HeldBack)
            {
                body = K::Length;
            }
            let mut response = random.of(&[
                S::Bytes,
                S::File,
                S::Stream,
                S::SizedStream,
                S::Channel,
                S::Wait,
                S::Upgrade,
                S::Switch,
                S::Broken,
                S::Panic,
            ]);
            let ends = matches!(response, S::Upgrade | S::Switch | S::Broken | S::Panic);
            if ends && (!is_last || old) || matches!(response, S::Upgrade | S::Switch) && body == K::HeldBack {
                response = S::Bytes;
            }
            let reading = random.of(&[R::Whole, R::Whole, R::Ignored, R::Saved, R::Streamed, R::Half, R::Unread]);
            let (length, size) = (random.of(&LENGTHS), random.of(&SIZES));
            let length = match body {
                K::CutShort | K::CutShortChunked => length.max(2),
                K::HeldBack => length.max(1),
                _ => length,
            };
            Exchange {
                body,
                length,
                reading,
                response,
                size,
                old,
                close: is_last && ending == E::Close && !matches!(response, S::Upgrade | S::Switch),
            }
        });
        Case { seed, exchanges: exchanges.collect(), behaviour, ending }
    }

    fn run(&self) {
        let app = Arc::new(App::new());
        let http = Http::new(Arc::clone(&app)).access_log(None);
        let http = match (self.ending, self.behaviour) {
            (Ending::Idle, _) | (_, Behaviour::NeverReading) => http.idle_timeout(Duration::from_millis(400)),
            _ => http,
        };
        let http = match self.behaviour {
            Behaviour::Stalling => http.body_timeout(Duration::from_millis(300)),
            _ => http,
        };
        let grace = if self.behaviour == Behaviour::NeverReading { Duration::from_millis(200) } else { PATIENCE };
        let mut server = serve(http, |server| {
            let write_timeout =
                Duration::from_millis(if self.behaviour == Behaviour::NeverReading { 200 } else { 20_000 });
            server.workers(4).write_timeout(write_timeout).shutdown_timeout(grace)
        });
        let seen = client::run(self, &server, &app);
        if self.ending == Ending::Shutdown {
            server.handle.shutdown();
            server.wait_for_end();
        } else {
            server.wait_for("all have ended", |stats| {
                stats.connections == 0
                    && stats.running == 0
                    && stats.input == 0
                    && stats.streams == 0
                    && stats.long_polls == 0
            });
        }
        drop(server);
        app.wait_until_all_is_dropped();
        judge::judge(self, &seen, &app.calls(), &app.lines());
    }
}

/// A number in the environment.
pub fn number(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().expect("a number"))
}

#[test]
fn each_response_is_whole_or_visibly_broken() {
    let first = number("MODEST_SEED").unwrap_or(1);
    let count = number("MODEST_MATRIX").unwrap_or(CASES);
    let next = AtomicU64::new(first);
    let work = || {
        let mut failed = Vec::new();
        loop {
            let seed = next.fetch_add(1, SeqCst);
            if seed >= first + count || failed.len() >= MOST_FAILED {
                return failed;
            }
            let case = Case::new(seed);
            if catch_unwind(AssertUnwindSafe(|| case.run())).is_err() {
                eprintln!("MODEST_SEED={seed} MODEST_MATRIX=1: {case:?}\n");
                failed.push(seed);
            }
        }
    };
    let failed = thread::scope(|threads| {
        let workers = [(); 6].map(|()| threads.spawn(work));
        workers.map(|worker| worker.join().expect("a worker that catches panics")).concat()
    });
    assert!(failed.is_empty(), "of {count} cases from {first}, these fail, as printed above: {failed:?}");
}
