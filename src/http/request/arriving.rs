//! A body that is received while its handler runs. The handler reads it through `body`, piece by piece or as a whole,
//! and its thread waits for the client. `connection` creates it in the turn in which the handler is called, and takes
//! the rest back when the handler has returned.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::{fmt, io};

use http::StatusCode;

use super::chunked::Step;
use super::decoder::BodyDecoder;
use super::discard::UnreadBody;
use super::framing::BodyLength;
use super::incoming::{Incoming, Need};
use super::quotas::{BodyLimits, TOO_LARGE};
use super::stored::StoredBody;
use crate::http::error::Error;
use crate::http::rejection::Rejection;
use crate::mutex::lock;
use crate::tcp::{BlockingInput, Input};

/// Called with the number of bytes of a body received so far.
pub(crate) type Progress = Arc<dyn Fn(u64) + Send + Sync>;

pub(crate) struct ArrivingBody {
    length: BodyLength,
    whole: OnceLock<StoredBody>,
    receiving: Mutex<Receiving>,
}

struct Receiving {
    arrival: Arrival,
    state: State,
}

/// The source of the bytes.
pub(crate) struct Arrival {
    pub input: Box<dyn BlockingInput>,
    /// Bytes that arrived before the handler was called. Later: bytes that were read ahead.
    pub unread: Input,
    /// Whether `100 Continue` is to be sent before the first read.
    pub owes_continue: bool,
    pub limits: BodyLimits,
    pub progress: Option<Progress>,
}

enum State {
    Untouched,
    Streaming {
        decoder: BodyDecoder,
        received: u64,
    },
    /// The whole body has been decoded. Contains its length.
    Complete(u64),
    Failed(Failure),
}

/// The reason why the rest of the body cannot be received.
#[derive(Clone)]
struct Failure {
    kind: io::ErrorKind,
    error: Error,
}

/// The state of a body when its handler has returned.
pub(crate) struct ArrivingEnd {
    /// Bytes of this request and the next ones that were read ahead.
    pub unread: Input,
    /// The part that the handler has not read.
    pub rest: Option<UnreadBody>,
    pub whole: Option<StoredBody>,
}

/// A read of at least this length goes into the reader's buffer directly.
const LARGE_READ: usize = 8 * 1024;

impl ArrivingBody {
    pub(crate) fn new(length: BodyLength, arrival: Arrival) -> ArrivingBody {
        let receiving = Mutex::new(Receiving { arrival, state: State::Untouched });
        ArrivingBody { length, whole: OnceLock::new(), receiving }
    }

    /// Returns the announced length, or otherwise the length received so far.
    pub(crate) fn len(&self) -> u64 {
        match (self.whole.get(), self.length) {
            (Some(whole), _) => whole.len(),
            (None, BodyLength::Known(length)) => length,
            (None, _) => lock(&self.receiving).state.received(),
        }
    }

    /// Returns whether the body is known to be empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0 && matches!(lock(&self.receiving).state, State::Complete(_))
    }

    pub(crate) fn whole(&self) -> io::Result<&StoredBody> {
        if let Some(whole) = self.whole.get() {
            return Ok(whole);
        }
        let mut receiving = lock(&self.receiving);
        if let Some(whole) = self.whole.get() {
            return Ok(whole); // another thread received it
        }
        let whole = receiving.receive(self.length)?;
        Ok(self.whole.get_or_init(|| whole))
    }

    /// `at` is the number of bytes that this reader has read before.
    pub(crate) fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut receiving = lock(&self.receiving);
        match self.whole.get() {
            Some(whole) => whole.read_at(buffer, at),
            None => receiving.read(self.length, buffer),
        }
    }

    pub(crate) fn expect_unread(&self) -> io::Result<()> {
        match self.whole.get().is_none() && self.received() > 0 {
            true => Err(is_partly_read()),
            false => Ok(()),
        }
    }

    pub(crate) fn received(&self) -> u64 {
        lock(&self.receiving).state.received()
    }

    pub(crate) fn end(self) -> ArrivingEnd {
        let Receiving { arrival, state } = self.receiving.into_inner().unwrap_or_else(PoisonError::into_inner);
        // A client that still waits for `100 Continue` may never send the body.
        let rest = |decoder| UnreadBody::new(decoder, !arrival.owes_continue, arrival.limits.body);
        let rest = match state {
            State::Untouched => Some(rest(BodyDecoder::new(self.length))),
            State::Streaming { decoder, .. } => Some(rest(decoder)),
            State::Complete(_) => None,
            State::Failed(_) => Some(UnreadBody::without_end(arrival.limits.body)),
        };
        ArrivingEnd { unread: arrival.unread, rest, whole: self.whole.into_inner() }
    }
}

fn is_partly_read() -> io::Error {
    io::Error::other("part of the body was read as a stream, so the whole body is no longer available")
}

/// Shows the state without waiting for the client.
impl fmt::Debug for ArrivingBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.whole.get(), self.length) {
            (Some(whole), _) => whole.fmt(f),
            (None, BodyLength::Known(length)) => write!(f, "Body({length} bytes, still coming)"),
            (None, _) => write!(f, "Body(still coming)"),
        }
    }
}

impl Receiving {
    fn receive(&mut self, length: BodyLength) -> io::Result<StoredBody> {
        // If a panic interrupts the read, it is unknown where the body ends.
        let interrupted =
            Failure::of(Rejection::new(StatusCode::INTERNAL_SERVER_ERROR, "the body could not be stored"));
        let incoming = match std::mem::replace(&mut self.state, State::Failed(interrupted)) {
            State::Untouched => Incoming::new(length, None, &self.arrival.limits).map_err(Failure::of),
            State::Failed(failure) => Err(failure),
            state @ (State::Streaming { .. } | State::Complete(_)) => {
                self.state = state;
                return Err(is_partly_read());
            }
        };
        let received = incoming.and_then(|incoming| self.arrival.receive(incoming));
        self.state = match &received {
            Ok(whole) => State::Complete(whole.len()),
            Err(failure) => State::Failed(failure.clone()),
        };
        received.map_err(io::Error::from)
    }

    fn read(&mut self, length: BodyLength, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if let State::Untouched = self.state {
            self.state = State::Streaming { decoder: BodyDecoder::new(length), received: 0 };
        }
        match &mut self.state {
            State::Streaming { decoder, received } => match self.arrival.read(decoder, received, buffer) {
                Ok(count) => {
                    if count == 0 || matches!(decoder, BodyDecoder::Sized(0)) {
                        self.state = State::Complete(*received);
                    }
                    Ok(count)
                }
                Err(failure) => {
                    self.state = State::Failed(failure.clone());
                    Err(failure.into())
                }
            },
            State::Failed(failure) => Err(failure.clone().into()),
            State::Complete(_) | State::Untouched => Ok(0),
        }
    }
}

impl Arrival {
    fn receive(&mut self, mut incoming: Incoming) -> Result<StoredBody, Failure> {
        loop {
            let (used, need) = incoming.feed(self.unread.bytes(), &self.limits).map_err(Failure::of)?;
            self.unread.consume(used);
            if used > 0 {
                self.report_progress(incoming.received());
            }
            match need {
                Need::Input => self.fill()?,
                Need::Spool => incoming.spool(&self.limits).map_err(Failure::of)?,
                Need::Nothing => return Ok(incoming.finish()),
            }
        }
    }

    /// Reads the next bytes. Returns 0 at the end of the body.
    fn read(&mut self, decoder: &mut BodyDecoder, received: &mut u64, buffer: &mut [u8]) -> Result<usize, Failure> {
        loop {
            if let BodyDecoder::Sized(left @ 1..) = decoder
                && self.unread.is_empty()
                && buffer.len() >= LARGE_READ
            {
                let most = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                self.send_continue()?;
                let count = match self.unread.ended() {
                    true => 0,
                    false => self.input.read(&mut buffer[..most]).map_err(Failure::of_client)?,
                };
                if count == 0 {
                    self.unread.end();
                    return Err(Failure::cut_short());
                }
                *left -= count as u64;
                *received += count as u64;
                self.report_progress(*received);
                return Ok(count);
            }
            let (used, step) = decoder.step(self.unread.bytes(), buffer.len()).map_err(Failure::of)?;
            let count = match step {
                Step::Data(data) => {
                    buffer[..data.len()].copy_from_slice(data);
                    data.len()
                }
                Step::NeedInput | Step::End => 0,
            };
            let (is_end, needs_input) = (step == Step::End, step == Step::NeedInput);
            self.unread.consume(used);
            *received += count as u64;
            if received.saturating_add(decoder.announced()) > self.limits.body {
                return Err(Failure::of(TOO_LARGE));
            }
            if count > 0 {
                self.report_progress(*received);
            }
            match needs_input {
                true => self.fill()?,
                false if count > 0 || is_end => return Ok(count),
                false => {}
            }
        }
    }

    fn fill(&mut self) -> Result<(), Failure> {
        if self.unread.ended() {
            return Err(Failure::cut_short());
        }
        self.send_continue()?;
        match self.unread.fill(|room| self.input.read(room)).map_err(Failure::of_client)? {
            (0, _) => {
                self.unread.end();
                Err(Failure::cut_short())
            }
            _ => Ok(()),
        }
    }

    fn send_continue(&mut self) -> Result<(), Failure> {
        // RFC 9110, section 10.1.1: no 100 if the body has begun to arrive.
        if std::mem::take(&mut self.owes_continue) && self.unread.is_empty() && !self.unread.ended() {
            self.input.write_all(CONTINUE).map_err(Failure::of_client)?;
        }
        Ok(())
    }

    fn report_progress(&self, received: u64) {
        if let Some(progress) = &self.progress {
            progress(received);
        }
    }
}

/// The interim response that makes the client send its body.
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl State {
    fn received(&self) -> u64 {
        match self {
            State::Streaming { received, .. } | State::Complete(received) => *received,
            State::Untouched | State::Failed(_) => 0,
        }
    }
}

impl Failure {
    fn of(rejection: impl Into<Error>) -> Failure {
        let error = rejection.into();
        let kind = match error.status() {
            StatusCode::BAD_REQUEST => io::ErrorKind::InvalidData,
            StatusCode::PAYLOAD_TOO_LARGE => io::ErrorKind::FileTooLarge,
            StatusCode::INSUFFICIENT_STORAGE => io::ErrorKind::StorageFull,
            _ => io::ErrorKind::Other,
        };
        Failure { kind, error }
    }

    fn cut_short() -> Failure {
        let error = Rejection::bad_request("the body is incomplete").into();
        Failure { kind: io::ErrorKind::UnexpectedEof, error }
    }

    fn of_client(err: io::Error) -> Failure {
        let error = match err.kind() {
            io::ErrorKind::TimedOut => Rejection::new(StatusCode::REQUEST_TIMEOUT, "the body arrived too slowly"),
            io::ErrorKind::InvalidData => Rejection::bad_request("the client violated the protocol of its connection"),
            io::ErrorKind::ConnectionAborted => Rejection::busy("the server shut down before the body had arrived"),
            _ => Rejection::bad_request("the client has disconnected"),
        };
        Failure { kind: err.kind(), error: error.into() }
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> io::Error {
        failure.error.into_io(failure.kind)
    }
}
