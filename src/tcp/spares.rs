//! Threads that wait to take over the number of a worker whose handler keeps its thread. Called by `workers`.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::sync::{self, Condvar, Mutex, lock, wait};

/// The waiting threads, and the numbers for them.
pub struct Spares<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

/// There are at least as many idle threads as reservations and numbers together.
struct State<T> {
    idle: usize,
    reserved: usize,
    numbers: VecDeque<T>,
    is_over: bool,
}

/// How long a thread without a number waits for one. Afterwards it ends, and drops its thread-local values.
const REST: Duration = Duration::from_secs(10);

impl<T> Spares<T> {
    pub fn new() -> Spares<T> {
        let state = State { idle: 0, reserved: 0, numbers: VecDeque::new(), is_over: false };
        Spares { state: Mutex::new(state), changed: Condvar::default() }
    }

    /// Reserves a thread. If there is none, `start` starts one that calls [`take`](Spares::take).
    pub fn reserve(&self, start: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.reserved += 1;
        if state.idle >= state.reserved + state.numbers.len() {
            return Ok(());
        }
        state.idle += 1;
        drop(state);
        start().inspect_err(|_| {
            let mut state = lock(&self.state);
            state.reserved -= 1;
            state.idle -= 1;
        })
    }

    pub fn release(&self) {
        lock(&self.state).reserved -= 1;
    }

    /// Passes a number to one of these reserved threads. Drops it after the end.
    pub fn hand_over(&self, number: T, reserved: usize) {
        let mut state = lock(&self.state);
        state.reserved -= reserved;
        if state.is_over {
            drop(state);
            return drop(number);
        }
        state.numbers.push_back(number);
        drop(state);
        self.changed.notify_one();
    }

    /// Waits for a number, on a thread that had one.
    pub fn rest(&self) -> Option<T> {
        lock(&self.state).idle += 1;
        self.take()
    }

    /// Waits for a number, on a thread that was started for one. `None`: the thread is to end.
    pub fn take(&self) -> Option<T> {
        let until = sync::now() + REST;
        let mut state = lock(&self.state);
        loop {
            let number = state.numbers.pop_front();
            let left = until.saturating_duration_since(sync::now());
            let is_superfluous = left.is_zero() && state.idle > state.reserved;
            if number.is_some() || state.is_over || is_superfluous {
                state.idle -= 1;
                return number;
            }
            let left = if left.is_zero() { REST } else { left };
            state = wait(&self.changed, state, Some(left));
        }
    }

    /// Called when the server exits and no thread waits for a number.
    pub fn end(&self) {
        lock(&self.state).is_over = true;
        self.changed.notify_all();
    }
}
