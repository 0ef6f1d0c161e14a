//! New connections to the backend, and the threads that make them. A thread whose exchange has ended waits a few
//! seconds for the next exchange.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::backend::Backend;
use super::failure::Failure;

/// How long a thread waits for another exchange.
const IDLE: Duration = Duration::from_secs(10);
const STACK: usize = 256 * 1024;

type Job = Box<dyn FnOnce() + Send>;

/// Shared by a proxy and its exchanges.
pub(super) struct Connector {
    pub(super) backend: Backend,
    /// How long an attempt to connect to each address of the backend can take.
    limit: Duration,
    /// Has no capacity, so a job is accepted only if a thread waits. The threads end when this is dropped.
    jobs: Sender<Job>,
    waiting: Receiver<Job>,
}

impl Connector {
    pub(super) fn new(backend: Backend, limit: Duration) -> Connector {
        let (jobs, waiting) = bounded(0);
        Connector { backend, limit, jobs, waiting }
    }

    pub(super) fn connect(&self) -> Result<TcpStream, Failure> {
        let addresses = self.backend.addresses().map_err(|error| Failure::Unreachable(error.to_string()))?;
        let mut failure = Failure::Unreachable("its name has no address".into());
        for address in addresses {
            match TcpStream::connect_timeout(&address, self.limit) {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = Failure::of_connect(address, &error),
            }
        }
        Err(failure)
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

    fn connector() -> Connector {
        Connector::new(Backend::parse("http://127.0.0.1:1").unwrap(), Duration::from_secs(1))
    }

    /// Runs a job, waits until the job and what it holds are dropped, and returns the id of the thread that it ran on.
    fn run(connector: &Connector) -> ThreadId {
        let (done, ran) = channel();
        connector.run(move || done.send(thread::current().id()).unwrap()).unwrap();
        let id = ran.recv().unwrap();
        assert!(ran.recv().is_err(), "the job is dropped");
        id
    }

    #[test]
    fn a_waiting_thread_is_reused() {
        let connector = connector();
        let mut used: Vec<ThreadId> = (0..1000).map(|_| run(&connector)).collect();
        used.sort_unstable_by_key(|id| format!("{id:?}"));
        used.dedup();
        // The next job may come before a thread waits.
        assert!(used.len() < 1000, "{} threads for 1000 jobs", used.len());
    }

    #[test]
    fn busy_threads_get_no_further_job() {
        let connector = connector();
        let (go, gate) = channel::<()>();
        connector.run(move || gate.recv().unwrap()).unwrap();
        run(&connector);
        go.send(()).unwrap(); // the first job still waited
    }
}
