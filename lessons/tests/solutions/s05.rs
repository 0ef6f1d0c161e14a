//! Page 5.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// Exercise 1: a panic ends the job and not the worker.
fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            println!("a handler panicked");
        }
    }
}

/// Exercise 2: a minute of 500 requests per second, of which 400 can be served, and clients that leave after 10 s.
/// Returns how many responses found their client.
fn useful(limit: usize) -> usize {
    let (mut queue, mut useful) = (VecDeque::new(), 0);
    for second in 0..60 {
        for _ in 0..500 {
            if queue.len() < limit {
                queue.push_back(second); // otherwise 503: the client can try elsewhere, at once
            }
        }
        for arrived in queue.drain(..queue.len().min(400)) {
            useful += usize::from(second - arrived < 10);
        }
    }
    useful
}

/// Exercise 3: an overloaded worker takes the newest first, whose client is still there and has waited least. The
/// oldest are rejected when they are too old. Times are in milliseconds.
fn next(queue: &mut VecDeque<u64>, now: u64, patience: u64) -> (Option<u64>, usize) {
    let late = queue.iter().take_while(|queued| now - **queued > patience).count();
    queue.drain(..late);
    (queue.pop_back(), late)
}

#[test]
fn a_worker_survives_panics() {
    let ((enqueue, dequeue), (tell, told)) = (channel::<Job>(), channel());
    let queue = Mutex::new(dequeue);
    thread::scope(|scope| {
        scope.spawn(|| work(&queue));
        for _ in 0..8 {
            enqueue.send(Box::new(|| std::panic::resume_unwind(Box::new("a handler panics")))).unwrap();
        }
        enqueue.send(Box::new(move || tell.send("alive").unwrap())).unwrap();
        assert_eq!(told.recv(), Ok("alive"));
        drop(enqueue); // ends the worker
    });
}

#[test]
fn a_short_queue_serves_more() {
    assert_eq!(useful(400), 24_000, "every response finds its client");
    assert!(useful(usize::MAX) < 20_500, "{}: from second 40 on, all have left", useful(usize::MAX));
}

#[test]
fn the_newest_first() {
    let mut queue = VecDeque::from([0, 500, 3000, 3900]);
    assert_eq!(next(&mut queue, 4000, 2000), (Some(3900), 2));
    assert_eq!(next(&mut queue, 4000, 2000), (Some(3000), 0));
    assert_eq!(next(&mut queue, 4000, 2000), (None, 0));
}
