//! The life of a server, from the start of the workers to the end of the last. The thread in `serve_forever` waits for
//! its changes.

use std::io;
use std::time::Duration;

use super::sync::{self, Condvar, Instant, Mutex, PoisonError, lock, wait};

#[derive(Default)]
pub struct Lifecycle {
    stage: Mutex<Stage>,
    progress: Condvar,
}

#[derive(Default)]
struct Stage {
    shutdown: Option<Noticed>,
    accepting_is_over: bool,
    workers: usize,
    died: Vec<usize>,
    failure: Option<io::Error>,
}

/// Whether the thread in `serve_forever` has noticed the shutdown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Noticed {
    No,
    Yes,
}

/// The next task of the thread in `serve_forever`.
pub enum Duty {
    /// A shutdown has begun: notify systemd. Returned once.
    NoteShutdown,
    /// These workers died of a panic outside a turn: start others in their place.
    Replace(Vec<usize>),
    /// A shutdown is delayed, and half of the delay has passed: connections are to end with their next response.
    LastResponses,
    /// The delay has passed, or the server can no longer accept clients.
    BeginShutdown,
    /// Everything is done, or the time is up.
    End,
}

impl Lifecycle {
    pub fn worker_begins(&self) {
        lock(&self.stage).workers += 1;
    }

    /// Called when a thread has ended. `me`: its number, if it is a worker; `died`: by a panic.
    pub fn worker_ended(&self, me: Option<usize>, died: bool) {
        let mut stage = lock(&self.stage);
        stage.workers -= 1;
        stage.died.extend(me.filter(|_| died));
        self.progress.notify_all();
    }

    /// Called when the server can no longer accept clients, with the error that `serve_forever` returns.
    pub fn fail(&self, err: io::Error) {
        lock(&self.stage).failure.get_or_insert(err);
        self.progress.notify_all();
    }

    /// Returns the error that made the server end, if any.
    pub fn failure(&self) -> Option<io::Error> {
        lock(&self.stage).failure.take()
    }

    pub fn shutdown_begins(&self) {
        lock(&self.stage).shutdown.get_or_insert(Noticed::No);
        self.progress.notify_all();
    }

    /// Called when the listeners are closed, and every connection is or will be notified of the shutdown.
    pub fn accepting_is_over(&self) {
        lock(&self.stage).accepting_is_over = true;
        self.progress.notify_all();
    }

    /// Makes the waiting thread check again, after a change that is not stored here.
    pub fn notify(&self) {
        let _stage = lock(&self.stage); // a thread that has checked the condition holds the lock until it waits
        self.progress.notify_all();
    }

    /// Waits for the next duty. `is_over`: the shutdown timeout has passed; `is_finished`: nothing is left to wait for;
    /// `deadline`: a duty, and when it is due if no other comes before.
    pub fn wait(
        &self,
        is_over: impl Fn() -> bool,
        is_finished: impl Fn() -> bool,
        deadline: impl Fn() -> Option<(Instant, Duty)>,
    ) -> Duty {
        let mut stage = lock(&self.stage);
        loop {
            if stage.shutdown == Some(Noticed::No) {
                stage.shutdown = Some(Noticed::Yes);
                return Duty::NoteShutdown;
            }
            if stage.failure.is_some() && stage.shutdown.is_none() {
                return Duty::BeginShutdown;
            }
            if is_over() || stage.accepting_is_over && is_finished() {
                return Duty::End;
            }
            if !stage.died.is_empty() {
                return Duty::Replace(std::mem::take(&mut stage.died));
            }
            stage = match deadline() {
                None => wait(&self.progress, stage, None),
                Some((deadline, duty)) => {
                    let left = deadline.saturating_duration_since(sync::now());
                    if left.is_zero() {
                        return duty;
                    }
                    wait(&self.progress, stage, Some(left))
                }
            };
        }
    }

    /// Waits up to this limit until all workers have ended, except those that are stuck. Returns whether they have.
    pub fn wait_for_workers(&self, stuck: impl Fn() -> usize, limit: Duration) -> bool {
        let stage = lock(&self.stage);
        let (stage, _) = self
            .progress
            .wait_timeout_while(stage, limit, |stage| stage.workers > stuck())
            .unwrap_or_else(PoisonError::into_inner);
        stage.workers == 0
    }
}
