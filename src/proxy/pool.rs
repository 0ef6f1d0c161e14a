//! The connections that are kept for further requests. A thread owns each of them. While it waits, it is blocked on the
//! socket, so the end of a connection and bytes without a request are noticed at once. A worker with a request takes a
//! connection, checks it and sends the request, in one step under its lock. Called by `exchange`.

use std::io::{self, Write};
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crate::http::{PollFlags, wait_until_ready};
use crate::mutex::lock;

/// The kept connections of a proxy. They are closed when this is dropped.
pub(super) struct ConnectionPool<J> {
    /// The maximum number of them.
    pub(super) most: usize,
    /// How long one is kept without a request.
    pub(super) limit: Option<Duration>,
    /// The last one is taken first, so that those that are not needed grow old.
    waiting: Mutex<Vec<Arc<KeptConnection<J>>>>,
}

/// A kept connection, for the thread that owns it and for the workers.
struct KeptConnection<J> {
    stream: Arc<TcpStream>,
    state: Mutex<State<J>>,
}

enum State<J> {
    Free,
    /// A request was sent.
    Taken(J),
    Closed,
}

/// A kept connection that waits for a request. Dropping it takes the connection out.
pub(super) struct Waiting<J> {
    connection: Arc<KeptConnection<J>>,
    kept: Weak<ConnectionPool<J>>,
    limit: Option<Duration>,
}

impl<J> ConnectionPool<J> {
    pub(super) fn new(most: usize, limit: Option<Duration>) -> Arc<ConnectionPool<J>> {
        Arc::new(ConnectionPool { most, limit, waiting: Mutex::default() })
    }

    /// Returns whether any connection is kept.
    pub(super) fn is_on(&self) -> bool {
        self.most > 0 && self.limit != Some(Duration::ZERO)
    }

    /// Sends a request on a kept connection, whose thread gets the job. `begin` is called with each connection before
    /// that and returns the bytes to send. Returns the job if there is no connection.
    pub(super) fn send(&self, mut job: J, begin: impl for<'a> Fn(&'a J, &Arc<TcpStream>) -> &'a [u8]) -> Result<(), J> {
        loop {
            let Some(connection) = lock(&self.waiting).pop() else { return Err(job) };
            match connection.send(job, &begin) {
                Ok(()) => return Ok(()),
                Err(unsent) => job = unsent,
            }
        }
    }

    /// Keeps a connection on which nothing is left to be read or sent.
    pub(super) fn keep(self: &Arc<Self>, stream: &Arc<TcpStream>) -> Option<Waiting<J>> {
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= self.most {
            return None;
        }
        let connection = Arc::new(KeptConnection { stream: Arc::clone(stream), state: Mutex::new(State::Free) });
        waiting.push(Arc::clone(&connection));
        Some(Waiting { connection, kept: Arc::downgrade(self), limit: self.limit })
    }

    /// Closes the connection that has waited longest. A backend that serves one connection at a time reads no other one
    /// before that.
    pub(super) fn close_oldest(&self) {
        let mut waiting = lock(&self.waiting);
        let oldest = (!waiting.is_empty()).then(|| waiting.remove(0));
        drop(waiting);
        oldest.iter().for_each(|connection| connection.close());
    }
}

impl<J> Drop for ConnectionPool<J> {
    fn drop(&mut self) {
        lock(&self.waiting).drain(..).for_each(|connection| connection.close());
    }
}

impl<J> KeptConnection<J> {
    fn send(&self, job: J, begin: &impl for<'a> Fn(&'a J, &Arc<TcpStream>) -> &'a [u8]) -> Result<(), J> {
        let mut state = lock(&self.state);
        if !matches!(*state, State::Free) || !is_silent(&self.stream) {
            drop(state);
            self.close();
            return Err(job);
        }
        let bytes = begin(&job, &self.stream);
        // The head fits into a socket that is empty. If not, the thread finds the end instead of a response.
        if !(&*self.stream).write(bytes).is_ok_and(|count| count == bytes.len()) {
            end(&self.stream);
        }
        *state = State::Taken(job);
        Ok(())
    }

    /// Ends a connection that is not in use. Its thread notices that.
    fn close(&self) {
        let mut state = lock(&self.state);
        if matches!(*state, State::Free) {
            *state = State::Closed;
            end(&self.stream);
        }
    }
}

impl<J> Waiting<J> {
    /// Waits for a request. `None` if none comes in time, if the backend ends the connection or sends something, or if
    /// the proxy is dropped. It looks for a request after each `period`, even if the backend is silent.
    pub(super) fn next(&mut self, period: Option<Duration>) -> Option<J> {
        let begun = Instant::now();
        loop {
            let left = self.limit.map(|limit| limit.saturating_sub(begun.elapsed()));
            let waited =
                wait_until_ready(&*self.connection.stream, PollFlags::IN, left.into_iter().chain(period).min());
            let mut state = lock(&self.connection.state);
            match mem::replace(&mut *state, State::Closed) {
                State::Taken(job) => {
                    self.kept = Weak::new(); // it is no longer there
                    return Some(job);
                }
                State::Free if waited.is_ok() && left != Some(Duration::ZERO) && is_silent(&self.connection.stream) => {
                    *state = State::Free;
                }
                State::Free | State::Closed => return None,
            }
        }
    }
}

impl<J> Drop for Waiting<J> {
    fn drop(&mut self) {
        let left = mem::replace(&mut *lock(&self.connection.state), State::Closed);
        if let Some(kept) = self.kept.upgrade() {
            lock(&kept.waiting).retain(|connection| !Arc::ptr_eq(connection, &self.connection));
        }
        drop(left); // without a lock
    }
}

/// Returns whether the backend has sent nothing, and has not ended the connection.
fn is_silent(stream: &TcpStream) -> bool {
    stream.peek(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

fn end(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Both); // an error: the backend has ended it
}
