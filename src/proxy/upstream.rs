//! The connection to the backend. While it waits for the response, it sends the rest of the request, so neither side
//! waits for the other. A backend may respond before or while it reads the request.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::events::Watch;
use super::failure::Failure;
use crate::Body;
use crate::http::{IntoReader, LivePlace, PollFlags, acknowledge, probe, wait_until_ready};

/// How many bytes are read at a time.
const PIECE: usize = 64 * 1024;
/// How many bytes of interim responses one request can have.
const MOST_INTERIM: usize = 256 * 1024;
/// After this much silence, TCP keepalive checks whether the backend's system still knows the connection.
const PROBED_AFTER: Duration = Duration::from_secs(30);

/// A connection to the backend, with the bytes read ahead and those still to be sent.
pub(super) struct Upstream {
    /// A non-blocking socket.
    pub(super) stream: Arc<TcpStream>,
    buffer: Vec<u8>,
    /// The bytes in the buffer that were read and not used yet.
    unused: Range<usize>,
    /// Whether bytes of a response have arrived.
    pub(super) has_received: bool,
    /// Whether a write has received the error of a reset, so that a read returns the end of the stream.
    was_reset: bool,
    /// The length of the interim responses to this request.
    interim: usize,
    /// `None` if the whole request is sent, or if the backend reads no more.
    unsent: Option<Unsent>,
    /// When the backend last read bytes of the request, or its response began to pause.
    taken: Instant,
    /// The place of a request whose connection continues as another protocol.
    pub(super) place: Option<LivePlace>,
    /// `None` unless it was kept.
    pub(super) watch: Option<Watch>,
}

struct Unsent {
    piece: Vec<u8>,
    start: usize,
    body: IntoReader,
}

impl Upstream {
    /// Prepares a request; nothing is sent yet.
    pub(super) fn new(stream: Arc<TcpStream>, head: Vec<u8>, body: Body) -> io::Result<Upstream> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        probe(&*stream, PROBED_AFTER);
        let unsent = Some(Unsent { piece: head, start: 0, body: body.into_reader() });
        let (buffer, taken) = (vec![0; PIECE], Instant::now());
        let (unused, has_received, was_reset, interim, place, watch) = (0..0, false, false, 0, None, None);
        Ok(Upstream { stream, buffer, unused, has_received, was_reset, interim, unsent, taken, place, watch })
    }

    /// Returns whether all bytes read were used, and the head of the request was sent.
    pub(super) fn is_at_end(&self) -> bool {
        self.unused.is_empty() && self.unsent.as_ref().is_none_or(|unsent| unsent.start == unsent.piece.len())
    }

    /// Returns bytes that were read and not used yet.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.unused.clone()]
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.unused.start += count;
    }

    /// Marks an interim response of this length as used. Returns false if all interim responses together are too long.
    pub(super) fn consume_interim(&mut self, count: usize) -> bool {
        self.consume(count);
        self.interim += count;
        self.interim <= MOST_INTERIM
    }

    /// Returns whether the time for the response has passed.
    pub(super) fn is_late(&self, limit: Option<Duration>) -> bool {
        limit.is_some_and(|limit| self.taken.elapsed() >= limit)
    }

    /// Reads more bytes, and sends unsent bytes while it waits. Returns 0 at the end. The limit counts from when the
    /// backend last read bytes of the request.
    pub(super) fn fill(&mut self, limit: Option<Duration>) -> Result<usize, Failure> {
        let mut has_waited = false;
        loop {
            // Checked before more is sent: the kernel accepts a little from time to time even if the backend reads
            // nothing.
            let is_late = has_waited && self.is_late(limit);
            let has_sent = !is_late && self.send_some()?;
            match self.read() {
                Ok(count) => return Ok(count),
                Err(error) if !is_retried(&error) => return Err(Failure::Ended(error.to_string())),
                // After the read: the whole process may have been stopped, and the response may have arrived by now.
                Err(_) if is_late => return Err(Failure::Late),
                Err(_) => {}
            }
            if !has_sent {
                let left = limit.map(|limit| limit.saturating_sub(self.taken.elapsed()));
                self.acknowledge();
                self.wait(left).map_err(|error| Failure::Ended(error.to_string()))?;
                has_waited = true;
            }
        }
    }

    /// Reads more of a body, as [`Upstream::fill`] does. The limit counts from now.
    pub(super) fn fill_body(&mut self, limit: Option<Duration>) -> Result<usize, Failure> {
        self.taken = Instant::now();
        self.fill(limit)
    }

    /// Sends the head of a request on a pooled connection. Returns false if the backend reads too slowly.
    pub(super) fn send_head(&mut self, head: &[u8]) -> bool {
        (self.has_received, self.interim, self.unsent, self.taken) = (false, 0, None, Instant::now());
        (&*self.stream).write(head).is_ok_and(|count| count == head.len())
    }

    /// Returns whether there may be something to receive on a pooled connection, since the last call.
    pub(super) fn is_ready(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.events.take_ready())
    }

    /// Reads bytes that have arrived. `None`: there are none. 0: the end.
    pub(super) fn receive(&mut self) -> io::Result<Option<usize>> {
        let count = match self.read() {
            Err(error) if is_retried(&error) => return Ok(None),
            read => read?,
        };
        // There is no further event for bytes that are left in the socket.
        if let Some(watch) = self.watch.as_ref().filter(|_| self.unused.end == self.buffer.len()) {
            watch.events.record(false);
        }
        Ok(Some(count))
    }

    fn read(&mut self) -> io::Result<usize> {
        self.buffer.copy_within(self.unused.clone(), 0);
        self.unused = 0..self.unused.len();
        if self.buffer.len() < self.unused.end + PIECE {
            self.buffer.resize(self.unused.end + PIECE, 0);
        }
        let count = (&*self.stream).read(&mut self.buffer[self.unused.end..])?;
        if count == 0 && self.was_reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.unused.end += count;
        self.has_received |= count > 0;
        Ok(count)
    }

    /// Sends as much as the backend accepts. Returns whether any bytes were sent.
    fn send_some(&mut self) -> Result<bool, Failure> {
        let Some(unsent) = &mut self.unsent else { return Ok(false) };
        if !unsent.prepare().map_err(|error| Failure::Unread(error.to_string()))? {
            self.unsent = None;
            return Ok(false);
        }
        match (&*self.stream).write(&unsent.piece[unsent.start..]) {
            Ok(count) => {
                unsent.start += count;
                self.taken = Instant::now();
                Ok(count > 0)
            }
            Err(error) if is_retried(&error) => Ok(false),
            // The backend may have responded without reading everything, so a failed write is not an error. But the
            // kernel reports a reset once. (After the end of the backend's bytes the error would be another one.)
            Err(error) => {
                self.was_reset = error.kind() == io::ErrorKind::ConnectionReset;
                self.unsent = None;
                Ok(false)
            }
        }
    }

    /// Called before waiting for more of a response: the backend may send no more of it until the bytes that have
    /// arrived are acknowledged.
    pub(super) fn acknowledge(&self) {
        if self.has_received {
            acknowledge(&*self.stream);
        }
    }

    /// Waits until bytes arrive, or until unsent bytes can be sent.
    fn wait(&self, limit: Option<Duration>) -> io::Result<()> {
        let what = if self.unsent.is_some() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        wait_until_ready(&*self.stream, what, limit)
    }
}

impl Unsent {
    /// Reads the next piece of the body if the current one is sent. Returns false if there are no more.
    fn prepare(&mut self) -> io::Result<bool> {
        if self.start == self.piece.len() {
            self.piece.resize(PIECE, 0);
            let count = self.body.read(&mut self.piece)?;
            self.piece.truncate(count);
            self.start = 0;
        }
        Ok(!self.piece.is_empty())
    }
}

fn is_retried(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
