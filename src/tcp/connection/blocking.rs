//! Reads from a client while its handler runs, through a second handle of the same socket, and through the connection's
//! codec if it has one. It waits in `poll`. The engine does not read during that time. Afterwards it reads all
//! remaining bytes; readiness that was reported before costs at most one read that returns nothing.

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::super::client::Client;
use super::super::input::Input;
use super::super::output::Output;
use super::super::pace::{Pace, SendLimits};
use super::super::protocol::{Action, BlockingInput, BlockingSource, RECORD, Stage, Turn};
use super::super::scheduler::Link;
use super::super::sync::{self, AtomicBool, Mutex, Ordering, lock};
use super::super::sys::{self, ClientStream, PollFlags, RecvFlags};
use super::super::transport::Transport;
use super::super::watched_sockets::{SocketWatcher, WatchedPlace, WatchedSockets};
use super::carrier::Carrier;
use super::{Connection, ConnectionTurn, Outcome, Registered};

pub(super) struct BlockingSocket<'a> {
    pub transport: &'a Transport,
    pub link: &'a Arc<Link>,
    pub limits: &'a SendLimits,
    pub client: &'a Client,
    pub loan: &'a Loan,
    pub watched: &'a Arc<WatchedSockets>,
    pub freed: &'a Arc<AtomicBool>,
}

/// The codec of a connection, if it has one, during a turn of its conversation. A reader takes it out, and puts it back
/// when dropped.
pub(super) type Loan = Option<Arc<Mutex<Option<Box<Lent>>>>>;

/// The parts of a connection with a codec that a reader needs.
pub(super) struct Lent {
    carrier: Box<Carrier>,
    raw: Input,
    plain: Input,
    broken: Option<Action>,
}

struct SecondHandle {
    stream: Arc<WatchedStream>,
    /// The wait for the client ends when the server exits.
    _place: WatchedPlace,
    link: Arc<Link>,
    limits: SendLimits,
    pace: Pace,
    /// How much longer the handler can wait for the client.
    left: Option<Duration>,
    /// Whether the bytes that arrived before the first wait were acknowledged.
    has_acknowledged: bool,
}

struct WatchedStream {
    socket: ClientStream,
    /// Whether the server has ended the wait for the client.
    is_over: AtomicBool,
    /// Set with it: the exiting server waits for this worker, whose handler no longer waits for the client.
    worker_is_freed: Arc<AtomicBool>,
}

/// A second handle, read through the codec.
struct CodedHandle {
    below: SecondHandle,
    lent: Option<Box<Lent>>,
    home: Arc<Mutex<Option<Box<Lent>>>>,
    client: Client,
}

/// All bytes that one handle reads count as one stage.
const MESSAGE: Stage = Stage(0);

impl BlockingSource for BlockingSocket<'_> {
    fn blocking_input(&self, within: Option<Duration>) -> io::Result<Box<dyn BlockingInput>> {
        let socket = self.transport.second_handle()?;
        let worker_is_freed = Arc::clone(self.freed);
        let stream = Arc::new(WatchedStream { socket, is_over: AtomicBool::new(false), worker_is_freed });
        let unwatched = || io::Error::other("the server has ended, or watches too many sockets");
        let place = self.watched.add(Arc::clone(&stream) as Arc<dyn SocketWatcher>).ok_or_else(unwatched)?;
        let (link, limits) = (Arc::clone(self.link), *self.limits);
        let (pace, has_acknowledged) = (Pace::default(), false);
        let below = SecondHandle { stream, _place: place, link, limits, pace, left: within, has_acknowledged };
        let Some(home) = self.loan else { return Ok(Box::new(below)) };
        match lock(home).take() {
            Some(lent) => {
                let (lent, home, client) = (Some(lent), home.clone(), self.client.clone());
                Ok(Box::new(CodedHandle { below, lent, home, client }))
            }
            None => Err(io::Error::other("the turn is already reading")),
        }
    }
}

impl<R: Registered> Connection<R> {
    /// Lends the codec to the turn of a conversation that can read more.
    pub(super) fn lend_carrier(&mut self, turn: &mut ConnectionTurn<'_>) -> Loan {
        let carrier = self.under_way().carrier.take()?;
        let raw = std::mem::take(&mut turn.buffers.raw);
        let lent = Lent { carrier, raw, plain: Input::new(), broken: None };
        Some(Arc::new(Mutex::new(Some(Box::new(lent)))))
    }

    /// Takes the codec back after the turn.
    pub(super) fn take_carrier_back(&mut self, loan: Loan, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        let Some(home) = loan else { return ControlFlow::Continue(()) };
        let Some(lent) = lock(&home).take() else {
            return self.abort("a reader has outlived its turn", turn);
        };
        let Lent { mut carrier, raw, plain, broken } = *lent;
        carrier.has_news = !plain.is_empty() || plain.ended();
        self.under_way().carrier = Some(carrier);
        turn.buffers.raw = raw;
        let input = &mut turn.buffers.input;
        input.extend(plain.bytes());
        if plain.was_cut() {
            input.cut();
        } else if plain.ended() {
            input.end();
        }
        match broken {
            Some(next) => self.break_off(next, turn),
            None => ControlFlow::Continue(()),
        }
    }
}

impl BlockingInput for CodedHandle {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let CodedHandle { below, lent: Some(lent), client, .. } = self else { return Ok(0) };
        while lent.plain.is_empty() && !lent.plain.ended() {
            lent.receive(below, client)?;
        }
        let count = lent.plain.bytes().read(room)?;
        lent.plain.consume(count);
        Ok(count)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(lent) = &mut self.lent else { return Ok(()) };
        let mut sealed = Vec::new();
        bytes.chunks(RECORD).for_each(|record| lent.carrier.codec.seal(record, &mut sealed));
        self.below.write_all(&sealed)
    }
}

impl Drop for CodedHandle {
    fn drop(&mut self) {
        *lock(&self.home) = self.lent.take();
    }
}

impl Lent {
    fn receive(&mut self, below: &mut SecondHandle, client: &Client) -> io::Result<()> {
        let broke = || io::Error::new(io::ErrorKind::InvalidData, "the client broke the protocol");
        if self.broken.is_some() || self.raw.is_full() {
            self.broken.get_or_insert(Action::Abort);
            return Err(broke());
        }
        if !self.carrier.is_unopened {
            let (count, _) = self.raw.fill(|room| below.read(room))?;
            if count == 0 {
                self.raw.end();
            }
        }
        let mut said = Output::new();
        let opened = self.carrier.open(&mut Turn::new(&mut self.raw, &mut said, client), &mut self.plain);
        let mut bytes = Vec::new();
        said.append_to(&mut bytes);
        below.write_all(&bytes)?;
        opened.map_err(|next| {
            self.broken = Some(next);
            broke()
        })
    }
}

impl BlockingInput for SecondHandle {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::retry_on_intr(|| sys::recv(&self.stream.socket, &mut *room, RecvFlags::empty())) {
                Ok((0, _)) if !room.is_empty() => {
                    self.stream.check_server()?;
                    self.link.peer_closed(false);
                    return Ok(0);
                }
                Ok((count, _)) => {
                    self.pace.received(count);
                    return Ok(count);
                }
                Err(rustix::io::Errno::AGAIN) => {
                    if !std::mem::replace(&mut self.has_acknowledged, true) {
                        sys::acknowledge(&self.stream.socket); // the client may send no more until then
                    }
                    self.wait(PollFlags::IN)?
                }
                Err(err) => return self.stream.check_server().and(Err(err.into())),
            }
        }
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match rustix::io::retry_on_intr(|| sys::send(&self.stream.socket, bytes, sys::NO_SIGNAL)) {
                Ok(count) => bytes = &bytes[count..],
                Err(rustix::io::Errno::AGAIN) => self.wait(PollFlags::OUT)?,
                Err(err) => return self.stream.check_server().and(Err(err.into())),
            }
        }
        Ok(())
    }
}

impl SocketWatcher for WatchedStream {
    fn server_ended(&self) {
        self.worker_is_freed.store(true, Ordering::SeqCst);
        self.is_over.store(true, Ordering::SeqCst); // before the wait ends
        sys::cut_off(&self.socket);
    }
}

impl WatchedStream {
    /// Fails after the server has exited, when errors of the socket are no longer caused by the client.
    fn check_server(&self) -> io::Result<()> {
        match self.is_over.load(Ordering::SeqCst) {
            true => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server is shutting down")),
            false => Ok(()),
        }
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
        let start = sync::now();
        let window = self.pace.park(start, Some(MESSAGE), false, self.limits);
        let limit = self.left.into_iter().chain(window).min();
        sys::wait_until_ready(&self.stream.socket, what, limit)?;
        let end = sync::now();
        self.pace.resume(end);
        let waited = end.saturating_duration_since(start);
        self.left = self.left.map(|left| left.saturating_sub(waited));
        Ok(())
    }
}
