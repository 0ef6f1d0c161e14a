//! Handlers that run an interpreter, which need one lock and a large stack: `TcpServer::parallelism` and `stack_size`.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Mutex, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use modest::{Http, Response, handler_fn};

use crate::server::{Running, get, serve};

const CLIENTS: usize = 24;
const REQUESTS: usize = 50;
/// The longest time for rounds of a measurement.
const MANY_ROUNDS: Duration = Duration::from_secs(90);

/// Handlers on the default stack of 2 MiB would end the process.
#[test]
fn handlers_have_the_stack_that_was_set() {
    fn bytes_used(calls: usize) -> usize {
        let frame = std::hint::black_box([0_u8; 4096]);
        frame.len() + if calls == 0 { 0 } else { bytes_used(calls - 1) }
    }
    let app = handler_fn(|_| Ok(Response::text((bytes_used(1000) > 4_000_000).to_string())));
    let server = serve(Http::new(app), |server| server.stack_size(64 << 20));
    let response = server.client().fetch(get("/"));
    assert!(response.ends_with("true"), "{response}");
}

/// Sends requests by some clients at once, each after the response to the one before.
fn send(server: &Running, clients: usize, requests: usize) {
    let client = || {
        let mut client = server.client();
        for _ in 0..requests {
            let response = client.fetch(get("/"));
            assert!(response.ends_with("ok"), "{response}");
        }
    };
    thread::scope(|scope| (0..clients).for_each(|_| drop(scope.spawn(client))));
}

/// Each handler waits until all workers are in handlers.
#[test]
fn handlers_that_wait_for_each_other_all_run() {
    const WORKERS: usize = 4;
    let all = Barrier::new(WORKERS);
    let app = handler_fn(move |_| {
        all.wait();
        Ok(Response::text("ok"))
    });
    let server = serve(Http::new(app), |server| server.workers(WORKERS).parallelism(1));
    send(&server, WORKERS, 20);
}

/// Without the setting nearly every handler finds the lock taken. The best of some rounds counts, because a handler that
/// is pre-empted by another test seems to wait for something else. So rounds are repeated until most of the others have
/// ended.
#[test]
fn handlers_that_compute_are_not_started_to_wait_for_a_lock() {
    let (lock, waited) = (Mutex::new(()), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&waited);
    let app = handler_fn(move |_| {
        let begun = Instant::now();
        let _held = match lock.try_lock() {
            Ok(held) => held,
            Err(TryLockError::WouldBlock) => {
                counted.fetch_add(1, Relaxed);
                let held = lock.lock().expect("no handler panics");
                modest::waited_for_lock(begun.elapsed());
                held
            }
            Err(TryLockError::Poisoned(_)) => panic!("a handler has panicked"),
        };
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(300) {}
        Ok(Response::text("ok"))
    });
    let server = serve(Http::new(app), |server| server.workers(4).parallelism(1));
    let round = || {
        waited.store(0, Relaxed);
        send(&server, CLIENTS, REQUESTS);
        let waited = waited.load(Relaxed);
        println!("{waited} of {} handlers waited for the lock", CLIENTS * REQUESTS);
        waited
    };
    let few = CLIENTS * REQUESTS / 10;
    let begun = Instant::now();
    while round() >= few {
        assert!(begun.elapsed() < MANY_ROUNDS, "in each round at least {few} handlers waited for the lock");
        thread::sleep(Duration::from_secs(1)); // the rounds must not slow down the other tests
    }
}
