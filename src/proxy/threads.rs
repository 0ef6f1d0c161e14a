//! The threads of exchanges. A thread whose exchange has ended waits some seconds for another one. Called by
//! `exchange`.

use std::io;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

/// How long a thread waits for another exchange.
const IDLE: Duration = Duration::from_secs(10);
const STACK: usize = 256 * 1024;

type Job = Box<dyn FnOnce() + Send>;

/// The threads that wait for an exchange. They end when this is dropped. The channel has no capacity, so a job is
/// accepted only if a thread waits.
pub(super) struct Threads {
    jobs: Sender<Job>,
    waiting: Receiver<Job>,
}

impl Threads {
    pub(super) fn new() -> Threads {
        let (jobs, waiting) = bounded(0);
        Threads { jobs, waiting }
    }

    /// Runs a job on a thread that waits for one, or on a new thread.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let Err(error) = self.jobs.try_send(Box::new(job)) else { return Ok(()) };
        let (first, waiting) = (error.into_inner(), self.waiting.clone());
        let thread = std::thread::Builder::new().name("proxy".into()).stack_size(STACK);
        let work = move || {
            first();
            while let Ok(job) = waiting.recv_timeout(IDLE) {
                job();
            }
        };
        thread.spawn(work).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread::{self, ThreadId};

    use super::*;

    /// Runs a job, waits until the job and what it holds are dropped, and returns the id of the thread that it ran on.
    fn run(threads: &Threads) -> ThreadId {
        let (done, ran) = channel();
        threads.run(move || done.send(thread::current().id()).unwrap()).unwrap();
        let id = ran.recv().unwrap();
        assert!(ran.recv().is_err(), "the job is dropped");
        id
    }

    #[test]
    fn a_waiting_thread_is_used_again() {
        let threads = Threads::new();
        let mut used: Vec<ThreadId> = (0..1000).map(|_| run(&threads)).collect();
        used.sort_unstable_by_key(|id| format!("{id:?}"));
        used.dedup();
        assert!(used.len() < 1000, "{} threads for 1000 jobs", used.len()); // the next job may come before a thread waits
    }

    #[test]
    fn busy_threads_get_no_further_job() {
        let threads = Threads::new();
        let (go, gate) = channel::<()>();
        threads.run(move || gate.recv().unwrap()).unwrap();
        run(&threads);
        go.send(()).unwrap(); // the first job still waited
    }
}
