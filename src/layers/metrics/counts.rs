//! Counters of requests. Workers add to separate counters, which are summed when the page is requested.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use crate::{Method, StatusCode};

/// Methods with their own label. All others are `other`, because clients can invent any number of methods.
pub const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "other"];

/// The upper bounds of the durations, in microseconds.
pub const BUCKETS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000, 60_000_000,
];

/// The number of shards. Threads that count at the same time rarely share a shard.
const SHARDS: usize = 8;
const STATUSES: usize = 500;

#[derive(Default)]
pub struct Counts([Shard; SHARDS]);

/// The counters of each method, created when the method first occurs.
#[derive(Default)]
struct Shard([OnceLock<Box<OfMethod>>; METHODS.len()]);

/// The counters of one method, on cache lines of their own. Aligned to two lines, because the processor prefetches the
/// adjacent line.
#[repr(align(128))]
struct OfMethod {
    received: AtomicU64,
    sent: AtomicU64,
    /// The number of durations in each bucket. The last bucket has those above all bounds.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    nanoseconds: AtomicU64,
    statuses: [AtomicU64; STATUSES],
}

pub struct Sums {
    pub method: &'static str,
    pub received: u64,
    pub sent: u64,
    /// For each bound, the number of requests up to that duration. The last element is the total number of requests.
    pub cumulated: [u64; BUCKETS.len() + 1],
    pub nanoseconds: u64,
    pub statuses: Vec<(usize, u64)>,
}

thread_local! {
    /// The shard of this thread, chosen at its first request so that threads are distributed evenly.
    static SHARD: Cell<Option<usize>> = const { Cell::new(None) };
}

impl Counts {
    pub fn received(&self, method: &Method, bytes: u64) {
        if bytes > 0 {
            self.of(method.as_str()).received.fetch_add(bytes, Relaxed);
        }
    }

    /// `method` is `None` if the head could not be read.
    pub fn responded(&self, method: Option<&Method>, status: StatusCode, bytes: u64, took: Duration) {
        let of = self.of(method.map_or("other", Method::as_str));
        of.sent.fetch_add(bytes, Relaxed);
        let microseconds = took.as_nanos().div_ceil(1000);
        let bucket = BUCKETS.iter().position(|&bound| microseconds <= u128::from(bound)).unwrap_or(BUCKETS.len());
        of.buckets[bucket].fetch_add(1, Relaxed);
        of.nanoseconds.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        of.statuses[usize::from(status.as_u16()).saturating_sub(100).min(STATUSES - 1)].fetch_add(1, Relaxed);
    }

    /// Returns the sums of the methods that have occurred.
    pub fn sums(&self) -> impl Iterator<Item = Sums> + '_ {
        METHODS.iter().enumerate().filter_map(|(at, method)| self.sum(at, method))
    }

    fn sum(&self, at: usize, method: &'static str) -> Option<Sums> {
        let met: Vec<&OfMethod> = self.0.iter().filter_map(|shard| shard.0[at].get().map(|of| &**of)).collect();
        let sum = |count: &dyn Fn(&OfMethod) -> &AtomicU64| met.iter().map(|of| count(of).load(Relaxed)).sum::<u64>();
        let mut cumulated = [0; BUCKETS.len() + 1];
        let mut before = 0;
        for (place, cumulated) in cumulated.iter_mut().enumerate() {
            before += sum(&|of| &of.buckets[place]);
            *cumulated = before;
        }
        let statuses = (0..STATUSES).map(|place| (place + 100, sum(&|of| &of.statuses[place])));
        let sums = Sums {
            method,
            received: sum(&|of| &of.received),
            sent: sum(&|of| &of.sent),
            cumulated,
            nanoseconds: sum(&|of| &of.nanoseconds),
            statuses: statuses.filter(|(_, count)| *count > 0).collect(),
        };
        (!met.is_empty()).then_some(sums)
    }

    fn of(&self, method: &str) -> &OfMethod {
        let at = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1);
        self.0[shard()].0[at].get_or_init(Default::default)
    }
}

fn shard() -> usize {
    let drawn = SHARD.get().unwrap_or_else(|| RandomState::new().hash_one(thread::current().id()) as usize % SHARDS);
    SHARD.set(Some(drawn));
    drawn
}

impl Default for OfMethod {
    fn default() -> OfMethod {
        let zero = || AtomicU64::new(0);
        OfMethod {
            received: zero(),
            sent: zero(),
            buckets: std::array::from_fn(|_| zero()),
            nanoseconds: zero(),
            statuses: std::array::from_fn(|_| zero()),
        }
    }
}
