//! One request to the backend: a thread sends it, waits for the head of the response, notifies the handler, and sends the
//! body to the client. The body of a request is written by the turns in which it arrives.
//!
//! Owners: the thread owns the reading side of the connection; the request, by `Pending`, ends the exchange when the
//! client has left or has its response. Both meet in `State`.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::header;

use crate::http::BodyStep;
use crate::http::answer::{AnswerBody, AnswerHead};
use crate::live::{Channel, Sender, Signal};
use crate::{Error, Method, Response, StatusCode};

/// How many bytes are read at a time.
const PIECE: usize = 64 * 1024;

/// A request under way.
pub(super) struct Exchange {
    /// Notified when there is an answer.
    pub(super) arrived: Signal,
    state: Mutex<State>,
    /// The same for a thread that waits.
    changed: Condvar,
    method: Method,
    /// The protocol that the client asks to switch to.
    upgrade: Option<String>,
    head: Vec<u8>,
    limit: Option<Duration>,
    _place: Place,
}

#[derive(Default)]
struct State {
    /// The connection, for the end of the exchange and for the request's body.
    upstream: Option<Arc<TcpStream>>,
    /// The backend reads no more of the request.
    is_deaf: bool,
    /// Since when the whole request is sent.
    sent: Option<Instant>,
    answer: Option<Result<Answer, Failure>>,
    /// There was an answer: a second one is dropped.
    is_answered: bool,
    /// The client has left, or its response is complete.
    is_over: bool,
    /// The body of the request is chunked, and its end is not sent yet.
    is_chunked: bool,
}

/// What the backend answers.
pub(super) enum Answer {
    /// Without a body.
    Whole(AnswerHead),
    /// With a body that the thread sends.
    Streamed(AnswerHead, Response),
    /// The connection continues as another protocol.
    Switched(AnswerHead, Upstream),
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// It does not accept connections.
    Unreachable(String),
    /// It took too long to connect.
    Unconnected(String),
    /// No response in time.
    Late,
    /// The connection ended or broke without a response.
    Ended(String),
    /// The response is not valid HTTP/1.1.
    Invalid(&'static str),
    /// Too many requests wait.
    Full,
}

/// A place among the requests under way.
pub(super) struct Place(pub(super) Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// The exchange of a request. Dropped with it: when the client has left, or has its response.
pub(super) struct Pending(pub(super) Arc<Exchange>);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Exchange {
    pub(super) fn new(
        method: Method,
        upgrade: Option<String>,
        head: Vec<u8>,
        limit: Option<Duration>,
        place: Place,
    ) -> Arc<Exchange> {
        let (arrived, state, changed) = (Signal::new(), Mutex::default(), Condvar::new());
        Arc::new(Exchange { arrived, state, changed, method, upgrade, head, limit, _place: place })
    }

    /// Connects, and sends the head.
    pub(super) fn connect(&self, connector: impl FnOnce() -> Result<TcpStream, Failure>) -> Result<(), Failure> {
        let stream = Arc::new(connector()?);
        let prepared = stream.set_nodelay(true).and_then(|()| stream.set_write_timeout(self.limit));
        prepared.map_err(|error| Failure::Ended(error.to_string()))?;
        let mut state = self.lock();
        state.upstream = Some(Arc::clone(&stream));
        if state.is_over {
            return Err(Failure::Ended("the client has left".into()));
        }
        drop(state);
        // A backend may answer before it reads: whether writing fails decides nothing.
        let _ = (&*stream).write_all(&self.head);
        Ok(())
    }

    /// Starts the thread. `first` is called on it.
    pub(super) fn run(
        self: Arc<Exchange>,
        first: impl FnOnce(&Exchange) -> Result<(), Failure> + Send + 'static,
    ) -> Result<(), Failure> {
        let thread = std::thread::Builder::new().name("proxy".into()).stack_size(256 * 1024);
        let spawned = thread.spawn(move || {
            if let Err(failure) = first(&self).and_then(|()| self.receive()) {
                self.answer(Err(failure));
            }
        });
        spawned.map(drop).map_err(|_| Failure::Full)
    }

    /// Reads the head, and sends the body to the client.
    fn receive(&self) -> Result<(), Failure> {
        let stream = self.lock().upstream.clone().ok_or(Failure::Ended("the client has left".into()))?;
        let mut upstream = Upstream { stream, buffer: Vec::new(), start: 0 };
        let head = self.read_head(&mut upstream)?;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            if self.upgrade.is_none() {
                return Err(Failure::Invalid("it switches to a protocol that no one asked for"));
            }
            self.lock().upstream = None; // which outlives the request
            self.answer(Ok(Answer::Switched(head, upstream)));
            return Ok(());
        }
        let body = head.body(&self.method).map_err(Failure::Invalid)?;
        if body.is_empty() {
            self.answer(Ok(Answer::Whole(head)));
            return Ok(());
        }
        let _ = upstream.stream.set_read_timeout(None); // a response may pause
        let is_events = head.values(&header::CONTENT_TYPE).any(|kind| kind.starts_with(b"text/event-stream"));
        let channel = Channel::new().idle_timeout(None).ends_at_shutdown(is_events);
        let (sender, response) = Response::channel_with(channel);
        self.answer(Ok(Answer::Streamed(head, response)));
        self.send(upstream, body, sender);
        Ok(())
    }

    /// Reads until a final response has begun.
    fn read_head(&self, upstream: &mut Upstream) -> Result<AnswerHead, Failure> {
        loop {
            match AnswerHead::parse(upstream.bytes()).map_err(Failure::Invalid)? {
                Some((used, head)) => {
                    upstream.start += used;
                    if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                        return Ok(head);
                    }
                }
                None => self.read_more(upstream)?,
            }
        }
    }

    /// Waits for bytes as long as the response may take.
    fn read_more(&self, upstream: &mut Upstream) -> Result<(), Failure> {
        let waited = self.lock().sent.map_or(Duration::ZERO, |sent| sent.elapsed());
        let left = self.limit.map(|limit| limit.saturating_sub(waited));
        if left == Some(Duration::ZERO) {
            return Err(Failure::Late);
        }
        let _ = upstream.stream.set_read_timeout(left.map(|left| left.max(Duration::from_millis(1))));
        match upstream.fill() {
            Ok(0) if upstream.bytes().is_empty() => Err(Failure::Ended("it sent nothing".into())),
            Ok(0) => Err(Failure::Invalid("its head is incomplete")),
            Ok(_) => Ok(()),
            Err(error) if is_timeout(&error) => Ok(()), // the request's body may still arrive
            Err(error) => Err(Failure::Ended(error.to_string())),
        }
    }

    /// Sends the body to the client, at the client's pace.
    fn send(&self, mut upstream: Upstream, body: AnswerBody, sender: Sender) {
        match upstream.copy_to(body, &sender) {
            Ok(()) => sender.finish(),
            Err(why) => {
                if !self.lock().is_over {
                    let line = self.head.split(|&byte| byte == b'\r').next().unwrap_or_default();
                    log::warn!("proxy: the response to {:?} broke off: {why}", String::from_utf8_lossy(line));
                }
                sender.abort();
            }
        }
    }

    fn answer(&self, answer: Result<Answer, Failure>) {
        let mut state = self.lock();
        if !state.is_answered && !state.is_over {
            state.is_answered = true;
            state.answer = Some(answer);
            drop(state);
            self.changed.notify_all();
            self.arrived.notify();
        }
    }

    pub(super) fn take_answer(&self) -> Option<Result<Answer, Failure>> {
        self.lock().answer.take()
    }

    /// Waits for the answer on this thread: for a server that shuts down.
    pub(super) fn wait_for_answer(&self, limit: Option<Duration>) -> Option<Result<Answer, Failure>> {
        let limit = limit.unwrap_or(Duration::from_secs(3600));
        let waited = self.changed.wait_timeout_while(self.lock(), limit, |state| state.answer.is_none());
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        Some(state.answer.take().unwrap_or(Err(Failure::Late)))
    }

    /// The writer of the request's body.
    pub(super) fn writer(self: &Arc<Exchange>, is_chunked: bool) -> BodyWriter {
        self.lock().is_chunked = is_chunked;
        BodyWriter { exchange: Arc::clone(self), is_chunked }
    }

    /// The request is complete: from now on the backend may take as long as the limit allows.
    pub(super) fn end_body(&self) {
        let mut state = self.lock();
        if state.sent.is_none() {
            state.sent = Some(Instant::now());
            let is_chunked = std::mem::take(&mut state.is_chunked);
            drop(state);
            if is_chunked {
                self.write(b"0\r\n\r\n");
            }
        }
    }

    /// Writes bytes of the request's body. After an error the rest is dropped: the backend may have answered without
    /// reading it, and the client gets that answer.
    fn write(&self, bytes: &[u8]) {
        let upstream = {
            let state = self.lock();
            state.upstream.clone().filter(|_| !state.is_deaf)
        };
        let Some(upstream) = upstream else { return };
        if let Err(error) = (&*upstream).write_all(bytes) {
            self.lock().is_deaf = true;
            if is_timeout(&error) {
                self.answer(Err(Failure::Late));
            }
        }
    }

    /// Ends the exchange: the connection is closed, and the thread ends.
    fn end(&self) {
        let mut state = self.lock();
        state.is_over = true;
        let left = state.answer.take();
        if let Some(upstream) = state.upstream.take() {
            let _ = upstream.shutdown(Shutdown::Both); // it may be closed already
        }
        drop(state);
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the body of a request to the backend while it arrives.
pub(super) struct BodyWriter {
    exchange: Arc<Exchange>,
    is_chunked: bool,
}

impl Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.is_chunked {
            true if bytes.is_empty() => {}
            true => self.exchange.write(&[format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()),
            false => self.exchange.write(bytes),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The reading side of a connection to the backend, with what was read ahead.
pub(super) struct Upstream {
    pub(super) stream: Arc<TcpStream>,
    buffer: Vec<u8>,
    start: usize,
}

impl Upstream {
    /// What was read and not used.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Reads more. 0: the end.
    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let before = self.buffer.len();
        self.buffer.resize(before + PIECE, 0);
        let read = loop {
            match (&*self.stream).read(&mut self.buffer[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
        read
    }

    /// Sends the body until its end. The error says why it is incomplete.
    fn copy_to(&mut self, mut body: AnswerBody, sender: &Sender) -> Result<(), String> {
        loop {
            let (used, step) = body.step(self.bytes())?;
            match step {
                BodyStep::Data(piece) => sender.send_timeout(piece, None).map_err(|error| error.to_string())?,
                BodyStep::End => return Ok(()),
                BodyStep::NeedInput => {
                    self.start += used;
                    match self.fill().map_err(|error| error.to_string())? {
                        0 if matches!(body, AnswerBody::UntilClose) => return Ok(()),
                        0 => return Err("the connection ended before the response did".into()),
                        _ => continue,
                    }
                }
            }
            self.start += used;
        }
    }
}

impl Failure {
    pub(super) fn of_connect(address: SocketAddr, error: &io::Error) -> Failure {
        let why = format!("{address}: {error}");
        if is_timeout(error) { Failure::Unconnected(why) } else { Failure::Unreachable(why) }
    }
}

/// The client's response; the cause is logged.
impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        let (status, text) = match &failure {
            Failure::Unreachable(_) => (502, "The application for this path is not running."),
            Failure::Unconnected(_) => (504, "The application for this path did not accept the connection in time."),
            Failure::Late => (504, "The application for this path did not respond in time."),
            Failure::Ended(_) => (502, "The application for this path ended the connection without a response."),
            Failure::Invalid(_) => (502, "The response of the application for this path is not valid HTTP/1.1."),
            Failure::Full => {
                let busy = Error::new(503, "Too many requests wait for the application for this path.");
                return busy.with_header("retry-after", "5");
            }
        };
        let error = Error::new(status, text);
        match failure {
            Failure::Unreachable(why) | Failure::Unconnected(why) | Failure::Ended(why) => error.with_cause(why),
            Failure::Invalid(why) => error.with_cause(why),
            Failure::Late | Failure::Full => error,
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}
