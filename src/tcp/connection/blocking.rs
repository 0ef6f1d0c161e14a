//! Reading on from a client while its handler runs: by a second handle of the same socket, waiting in `poll`. The
//! engine's own reads see every byte that is left, and the readiness recorded meanwhile costs at most one read without
//! bytes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::super::protocol::{BlockingInput, BlockingSource, Stage};
use super::super::scheduler::Link;
use super::super::sync;
use super::super::sys::{self, ClientStream, PollFlags, RecvFlags, SendFlags};
use super::super::transport::Transport;
use super::pace::{Pace, SendLimits};

/// The socket of a turn.
pub(super) struct BlockingSocket<'a> {
    pub transport: &'a Transport,
    pub link: &'a Arc<Link>,
    pub limits: SendLimits,
}

/// The second handle.
struct SecondHandle {
    stream: ClientStream,
    link: Arc<Link>,
    limits: SendLimits,
    pace: Pace,
    /// How much longer it can wait for the client.
    left: Option<Duration>,
}

/// Everything read by one handle is one message.
const MESSAGE: Stage = Stage(0);

impl BlockingSource for BlockingSocket<'_> {
    fn blocking_input(&self, within: Option<Duration>) -> io::Result<Box<dyn BlockingInput>> {
        let stream = self.transport.second_handle()?;
        let (link, limits) = (Arc::clone(self.link), self.limits);
        Ok(Box::new(SecondHandle { stream, link, limits, pace: Pace::default(), left: within }))
    }
}

impl BlockingInput for SecondHandle {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::retry_on_intr(|| sys::recv(&self.stream, &mut *room, RecvFlags::empty())) {
                Ok((0, _)) if !room.is_empty() => {
                    self.link.peer_closed(false);
                    return Ok(0);
                }
                Ok((count, _)) => {
                    self.pace.received(count);
                    return Ok(count);
                }
                Err(rustix::io::Errno::AGAIN) => self.wait(PollFlags::IN)?,
                Err(err) => return Err(err.into()),
            }
        }
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match rustix::io::retry_on_intr(|| sys::send(&self.stream, bytes, SendFlags::NOSIGNAL)) {
                Ok(count) => bytes = &bytes[count..],
                Err(rustix::io::Errno::AGAIN) => self.wait(PollFlags::OUT)?,
                Err(err) => return Err(err.into()),
            }
        }
        Ok(())
    }
}

impl SecondHandle {
    /// Waits for the client, within its limits: the minimum rate, and the total time.
    fn wait(&mut self, what: PollFlags) -> io::Result<()> {
        let rate = self.limits.min_rate;
        if self.left.is_some_and(|left| left.is_zero())
            || rate.is_some_and(|rate| self.pace.sends_too_slowly(MESSAGE, rate))
        {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let window = rate.map(|rate| self.pace.receive_time(MESSAGE, rate));
        let limit = self.left.into_iter().chain(window).min();
        let start = sync::now();
        self.pace.park(start, Some(MESSAGE), false);
        sys::wait_until_ready(&self.stream, what, limit)?;
        let end = sync::now();
        self.pace.resume(end);
        let waited = end.saturating_duration_since(start);
        self.left = self.left.map(|left| left.saturating_sub(waited));
        Ok(())
    }
}
