//! The queue between the receiving thread and the workers. One lock, under which no user code runs.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::datagram::{Datagram, DatagramHandler};
use super::socket::Bell;
use crate::tcp::sync::{self, Condvar, Instant, Mutex, MutexGuard, lock, wait};
use crate::tcp::{Control, Stats, contain, text_of};

pub struct Pool {
    state: Mutex<State>,
    work: Condvar,  // notified when there is a datagram, or when none will follow
    ended: Condvar, // notified when a worker has ended, or the wait for workers has ended
    pub bell: Bell, // ends the wait for datagrams
    queue_limit: usize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Datagram>,
    received: u64,
    dropped: u64,
    running: usize,
    idle: usize,  // workers that wait for work
    waking: bool, // an idle worker was notified and has not woken up yet
    workers: usize,
    stopping: bool, // the receiving thread ends
    is_last: bool,  // it has ended: queued datagrams are the last
    over: bool,     // queued datagrams are not handled any more
}

impl Pool {
    pub fn new(queue_limit: usize) -> io::Result<Pool> {
        let state = Mutex::new(State::default());
        Ok(Pool { state, work: Condvar::new(), ended: Condvar::new(), bell: Bell::new()?, queue_limit })
    }

    pub fn is_stopping(&self) -> bool {
        lock(&self.state).stopping
    }

    /// Queues a datagram. If the queue is full, drops it and returns false.
    pub fn push(&self, datagram: Datagram) -> bool {
        let mut state = lock(&self.state);
        state.received += 1;
        let has_room = state.queue.len() < self.queue_limit.max(1);
        if has_room {
            state.queue.push_back(datagram);
            self.wake_one(state);
        } else {
            state.dropped += 1;
        }
        has_room
    }

    /// Wakes an idle worker for a queued datagram, unless a worker is already waking up: that worker wakes the next one
    /// before it runs its handler. So a burst needs one wake per worker instead of one per datagram.
    fn wake_one(&self, mut state: MutexGuard<'_, State>) {
        if state.idle > 0 && !state.waking && !state.queue.is_empty() {
            state.waking = true;
            drop(state);
            self.work.notify_one();
        }
    }

    /// Waits for the next datagram. `None` if there are no more. `has_handled`: the worker has handled one before.
    fn next(&self, has_handled: bool) -> Option<Datagram> {
        let mut state = lock(&self.state);
        state.running -= usize::from(has_handled);
        loop {
            if let Some(datagram) = state.queue.pop_front() {
                state.running += 1;
                self.wake_one(state);
                return Some(datagram);
            }
            if state.is_last {
                return None;
            }
            state.idle += 1;
            state = wait(&self.work, state, None);
            state.idle -= 1;
            state.waking = false;
        }
    }

    /// Called when nothing more is received: the workers end when the queue is empty.
    pub fn end_input(&self) {
        lock(&self.state).is_last = true;
        self.work.notify_all();
    }

    /// Waits until all workers have ended, up to the deadline, or until the wait is ended.
    pub fn wait_for_workers(&self, deadline: Option<Instant>) {
        let mut state = lock(&self.state);
        while state.workers > 0 && !state.over {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(sync::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return;
            }
            state = wait(&self.ended, state, left);
        }
    }
}

impl Control for Pool {
    fn begin_shutdown(&self) {
        lock(&self.state).stopping = true;
        self.bell.ring();
    }

    fn end(&self) {
        let mut state = lock(&self.state);
        (state.stopping, state.over) = (true, true);
        let unhandled = std::mem::take(&mut state.queue);
        state.dropped += unhandled.len() as u64;
        drop(state);
        self.ended.notify_all();
        self.bell.ring();
        log_dropped(unhandled.len() as u64, "the shutdown timeout has passed");
    }

    fn stats(&self) -> Stats {
        let state = lock(&self.state);
        Stats {
            accepted: state.received,
            waiting: state.queue.len(),
            running: state.running,
            refused: state.dropped,
            ..Stats::default()
        }
    }
}

/// Logs how many datagrams were dropped, if any.
pub fn log_dropped(count: u64, why: &str) {
    if count > 0 {
        contain("the logger", || log::warn!("{count} datagrams were dropped: {why}"));
    }
}

/// Starts a worker, which handles datagrams until there are no more.
pub fn start_worker(pool: &Arc<Pool>, me: usize, handler: &Arc<dyn DatagramHandler>) -> io::Result<()> {
    lock(&pool.state).workers += 1;
    let (at_work, handler) = (AtWork(Arc::clone(pool)), Arc::clone(handler));
    sync::spawn(format!("modest-udp-{me}"), None, move || {
        let mut next = at_work.0.next(false);
        while let Some(datagram) = next {
            handle(&*handler, &datagram);
            drop(datagram);
            next = at_work.0.next(true);
        }
        contain("the destructor of a handler", || drop(handler)); // it may hold the last reference
    })
}

fn handle(handler: &dyn DatagramHandler, datagram: &Datagram) {
    contain("the handler of a datagram", || {
        if let Err(err) = handler.handle(datagram) {
            let level = if datagram.is_unreachable() { log::Level::Debug } else { log::Level::Error };
            log::log!(level, "the datagram from {}: {}", datagram.client(), text_of(err));
        }
    });
}

/// The entry of a worker. Dropped when the worker ends, or could not be started.
struct AtWork(Arc<Pool>);

impl Drop for AtWork {
    fn drop(&mut self) {
        lock(&self.0.state).workers -= 1;
        self.0.ended.notify_all();
    }
}
