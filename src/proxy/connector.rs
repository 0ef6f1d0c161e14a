//! New connections to the backend, and the threads that make them.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::backend::Backend;
use super::failure::Failure;
use super::threads::Threads;

/// Shared by a proxy and its exchanges.
pub(super) struct Connector {
    pub(super) backend: Backend,
    /// How long an attempt to connect to each address of the backend can take.
    limit: Duration,
    threads: Threads,
}

impl Connector {
    pub(super) fn new(backend: Backend, limit: Duration) -> Connector {
        Connector { backend, limit, threads: Threads::new() }
    }

    /// Connects on the calling thread.
    pub(super) fn connect(&self) -> Result<TcpStream, Failure> {
        let addresses = self.backend.to_socket_addrs().map_err(|error| Failure::Unreachable(error.to_string()))?;
        let mut failure = Failure::Unreachable("its name has no address".into());
        for address in addresses {
            match TcpStream::connect_timeout(&address, self.limit) {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = Failure::of_connect(address, &error),
            }
        }
        Err(failure)
    }

    /// Runs a job on a thread.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.run(job)
    }
}
