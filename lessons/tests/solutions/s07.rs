//! Page 7.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::time::Duration;

use mio::net::UnixStream;
use mio::{Events, Interest, Poll, Token};

/// Exercise 2: the earliest deadline is the first. An entry with the old deadline has to be removed when it moves, or
/// the client is dropped too early.
#[derive(Default)]
struct Deadlines(BTreeSet<(u64, usize)>);

impl Deadlines {
    fn set(&mut self, client: usize, old: Option<u64>, new: u64) {
        old.map(|old| self.0.remove(&(old, client)));
        self.0.insert((new, client));
    }

    /// Removes and returns all clients whose deadline has passed.
    fn late(&mut self, now: u64) -> Vec<usize> {
        let on_time = self.0.split_off(&(now + 1, 0));
        std::mem::replace(&mut self.0, on_time).into_iter().map(|(_, client)| client).collect()
    }
}

/// Exercise 3: the state that the two threads share, and the state of the worker.
#[derive(Clone, Copy, Default, PartialEq)]
struct Memory {
    has_client: bool,
    announced: bool,
    woken: bool,
    saw_empty: bool,
    sleeps: bool,
}

type Step = fn(&mut Memory);

const LOOK: Step = |memory| memory.saw_empty = !memory.has_client;
const ANNOUNCE: Step = |memory| memory.announced = true;
const SLEEP: Step = |memory| memory.sleeps = memory.saw_empty;
const SLEEP_AND_SAY_SO: Step = |memory| {
    memory.sleeps = memory.saw_empty;
    memory.announced = memory.saw_empty;
};
const ADD: Step = |memory| memory.has_client = true;
const WAKE: Step = |memory| memory.woken = memory.announced;

/// Returns in how many orders of the steps the worker sleeps although a client waits, and the number of all orders.
fn lost(worker: &[Step], other: &[Step]) -> (usize, usize) {
    fn run(memory: Memory, worker: &[Step], other: &[Step]) -> (usize, usize) {
        if worker.is_empty() && other.is_empty() {
            return (usize::from(memory.sleeps && memory.has_client && !memory.woken), 1);
        }
        let mut sum = (0, 0);
        for (first, worker, other) in [
            (worker.first(), worker.get(1..).unwrap_or(&[]), other),
            (other.first(), worker, other.get(1..).unwrap_or(&[])),
        ] {
            if let Some(step) = first {
                let mut next = memory;
                step(&mut next);
                let (lost, all) = run(next, worker, other);
                sum = (sum.0 + lost, sum.1 + all);
            }
        }
        sum
    }
    run(Memory::default(), worker, other)
}

/// Exercise 1: the writing end is reported at once, since there is room, and then only when there is room *again*.
#[test]
fn a_writable_socket_is_reported_on_the_edge_only() {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let mut poll = Poll::new().unwrap();
    poll.registry().register(&mut ours, Token(1), Interest::WRITABLE).unwrap();
    let mut events = Events::with_capacity(8);
    let mut reported = |wait: u64| {
        poll.poll(&mut events, Some(Duration::from_millis(wait))).unwrap();
        !events.is_empty()
    };
    assert!(reported(1000), "the socket is writable");
    assert!(!reported(0), "still writable, and no event is reported");
    while ours.write(&[0; 65_536]).is_ok() {}
    assert!(!reported(0), "full");
    while theirs.read(&mut [0; 65_536]).is_ok() {}
    assert!(reported(1000), "the socket is writable again");
}

#[test]
fn deadlines_in_order() {
    let mut deadlines = Deadlines::default();
    for (client, old, new) in [(1, None, 50), (2, None, 30), (3, None, 40), (2, Some(30), 60)] {
        deadlines.set(client, old, new);
    }
    assert_eq!(deadlines.late(39), []);
    assert_eq!(deadlines.late(50), [3, 1]);
    assert_eq!(deadlines.late(100), [2]);
}

#[test]
fn a_worker_that_sleeps_unannounced_misses_a_wake_up() {
    assert_eq!(lost(&[LOOK, SLEEP_AND_SAY_SO], &[ADD, WAKE]), (1, 6));
    assert_eq!(lost(&[ANNOUNCE, LOOK, SLEEP], &[ADD, WAKE]), (0, 10));
}
