//! One client's connection. A turn writes output, calls the conversation and reads input. It is limited to a fair
//! share, and never waits.
//!
//! Called by `workers`, once per turn. This file has the state and the course of a turn. `asking` calls the
//! conversation, `bytes` uses the socket, `waiting` parks the connection, and `closing` ends it. After a turn its
//! [`Outcome`] determines what the worker does with it: park, queue, or wait for a permit.

mod turn; // the context of a turn
mod asking; // the conversation
mod blocking; // reading while a handler runs
mod bytes; // the socket
mod carrier; // a codec between socket and conversation
mod closing; // the end: shutdown, lingering, reset
mod counting; // received and unused bytes
mod stacked; // a codec above another
mod taking; // leaving the engine
mod waiting; // parking, deadlines, the start of a shutdown

use std::ops::ControlFlow;
use std::sync::Arc;

use log::Level;

use super::client::Client;
use super::input_memory::InputBytes;
use super::live::LivePlace;
use super::output::Output;
use super::pace::Pace;
pub use super::pace::{MinRate, SendLimits};
use super::protocol::{Action, Event, Guarded, Stage, Successor};
use super::scheduler::{Link, Readiness, Token, Wait, Work};
use super::sync::Instant;
use super::transport::{Transport, Written};
use bytes::Received;
use carrier::Carrier;
pub use closing::Leftover;
use closing::Lingering;
pub use taking::Parts;
pub use turn::{Buffers, PermitAccess, TurnSettings};
use turn::{ConnectionTurn, QUESTIONS, SHARE};

/// A connection, with everything that is kept between turns. Buffers belong to the worker.
pub struct Connection<R> {
    transport: Transport,
    client: Client,
    conversation: Guarded,
    next: Action,
    stage: Option<Stage>,
    since: Instant,          // the beginning of the stage, or of `Idle`
    wrote: Option<Instant>,  // when the client last read some of the output
    polled: Option<Instant>, // when the poll that reported its bytes returned
    readiness: Readiness,
    causes: Causes,
    shutdown: ShutdownNotice,
    expects_more: bool, // the conversation ended while more was expected from the client
    protocol: u8,       // the index of its protocol
    progress: Progress,
    ended: bool, // the client has sent its last byte
    under_way: Option<Box<UnderWay>>,
    registration: R, // dropped last, after the stream above is closed
}

/// State that is only needed while something is in progress. An idle connection has none.
#[derive(Default)]
struct UnderWay {
    unused: Box<[u8]>,
    owed: Option<Box<Output>>,
    unsent: u64,             // how many bytes of the output were not sent, when the connection has ended
    pace: Option<Box<Pace>>, // while the client is waited for, with unsent output or within a message
    lingering: Option<Lingering>,
    input_bytes: Option<InputBytes>, // its share of the memory for all connections
    /// A codec, for example TLS. Idle connections also have it.
    carrier: Option<Box<Carrier>>,
    /// The conversation that follows when all output is written.
    successor: Option<Box<Successor>>,
    /// The place of a conversation that waits for something other than its client.
    place: Option<Box<LivePlace>>,
}

impl UnderWay {
    fn is_nothing(&self) -> bool {
        self.unused.is_empty()
            && self.owed.is_none()
            && self.pace.is_none()
            && self.lingering.is_none()
            && self.input_bytes.is_none()
            && self.carrier.is_none()
            && self.successor.is_none()
            && self.place.is_none()
    }
}

/// A connection's entry in the table, and its place in the counts.
pub trait Registered {
    fn link(&self) -> &Arc<Link>;

    /// Called when the connection now belongs to another client. Returns whether its address can have one more
    /// connection.
    fn recount(&mut self, client: &Client) -> bool;

    /// Called when the connection ends with this many bytes unsent.
    fn left_unsent(&self, bytes: u64);
}

/// The reasons for a turn, apart from readiness. Several can occur before the next turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    /// A deadline has passed.
    pub late: bool,
    pub no_permit: bool,
    pub no_thread: bool,
    /// Its descriptor is needed for a new client.
    pub evicted: bool,
    /// The client has disconnected, and the conversation has not got the event yet.
    pub gone: bool,
    /// The connection has ended. It waits for a permit, because dropping it may block.
    pub dropped: bool,
}

/// Whether a connection has been notified of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ShutdownNotice {
    None,
    ReadOnceMore,
    /// The time limits of a shutdown apply. The conversation has not had `Event::ShuttingDown`, because nothing with an
    /// effect was in progress.
    Begun,
    /// The conversation has had `Event::ShuttingDown`.
    Notified,
    /// The client has not completed its message within the time limit.
    Late,
    /// The server has ended, and the connection has had its last turn.
    Over,
}

/// How far a connection has come in its current state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    None,
    /// A handler was called, and is called again for the rest of its response.
    Begun,
    /// The connection is idle, and its client has read the last response. Output of other threads does not change that.
    Resting,
}

/// The next step for a connection after a turn.
pub enum Outcome {
    /// The connection is parked with this.
    Park(Wait),
    /// The share of the turn is used up: other connections come first.
    Requeue,
    /// The connection needs a permit for this work.
    AwaitPermit(Work),
    /// The connection leaves the engine, for a thread of its own.
    Take,
    Closed,
}

impl<R: Registered> Connection<R> {
    /// Returns a connection that was just accepted.
    pub fn new(transport: Transport, client: Client, registration: R, protocol: u8, now: Instant) -> Connection<R> {
        Connection {
            transport,
            client,
            conversation: Guarded::default(),
            next: Action::Again,
            stage: None,
            since: now,
            wrote: None,
            polled: None,
            // The first bytes have mostly arrived before a connection is accepted, so reading at once saves a poll and
            // a turn. (One connection per request: 0.93 of the CPU time of polling first.)
            readiness: Readiness { readable: true, ..Readiness::NONE },
            causes: Causes::default(),
            shutdown: ShutdownNotice::None,
            expects_more: false,
            protocol,
            progress: Progress::None,
            ended: false,
            under_way: None,
            registration,
        }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn token(&self) -> Token {
        self.registration.link().token()
    }

    /// Records readiness that the poller has reported, now or while a worker held the connection.
    pub fn saw(&mut self, readiness: Readiness) {
        self.readiness.merge(readiness);
    }

    /// Records when the poll that reported its bytes returned. `None`: that is too long ago.
    pub fn brought_by(&mut self, polled: Option<Instant>) {
        self.polled = polled;
    }

    /// Returns the reasons for its next turn, apart from readiness.
    pub fn causes(&mut self) -> &mut Causes {
        &mut self.causes
    }

    pub fn turn(
        &mut self,
        buffers: &mut Buffers,
        permit: &mut dyn PermitAccess,
        settings: &TurnSettings<'_>,
        now: Instant,
    ) -> Outcome {
        self.unpack(buffers);
        let polled = self.polled;
        if let Some(pace) = self.pace() {
            pace.resume(polled.unwrap_or(now).min(now));
        }
        let mut turn = ConnectionTurn {
            buffers,
            permit,
            settings,
            polled,
            now,
            wall: None,
            share: SHARE,
            questions: QUESTIONS,
            may_block: None,
            has_read: false,
            was_called: false,
            server_is_over: false,
            is_late: false,
            gives_up_half: false,
            output_can_wait: false,
        };
        let flow = self.handle_causes(&mut turn);
        let mut outcome = self.run(flow, &mut turn);
        if !self.has_memory(&outcome, &turn) {
            let flow = self.refuse_more(&mut turn);
            outcome = self.run(flow, &mut turn);
            self.has_memory(&outcome, &turn);
        }
        self.polled = turn.polled.filter(|_| matches!(outcome, Outcome::AwaitPermit(_)));
        self.pack(buffers, &outcome);
        outcome
    }

    fn unpack(&mut self, buffers: &mut Buffers) {
        let Some(under_way) = &mut self.under_way else { return buffers.input.begin(&[], self.ended) };
        buffers.input.begin(&under_way.unused, self.ended);
        under_way.unused = Box::default();
        if let Some(owed) = under_way.owed.take() {
            buffers.output = *owed;
        }
        if let Some(carrier) = &mut under_way.carrier {
            carrier.unpack(&mut buffers.raw, &mut buffers.sealed, &mut buffers.input);
        }
    }

    fn pack(&mut self, buffers: &mut Buffers, outcome: &Outcome) {
        if let Outcome::Closed = outcome {
            let owed = buffers.owed();
            if owed > 0 {
                self.transport.reset(); // a partial response must not look complete
                self.under_way().unsent = owed;
            }
            self.transport.end();
            if !self.causes.dropped {
                self.count_unsent(owed);
            }
            // Shared pieces are dropped with the connection: a permit is held then, because their destructors may
            // block.
            if let Some(rest) = buffers.output.clear_or_take() {
                self.under_way().owed = Some(Box::new(rest));
            }
            buffers.raw.clear();
            buffers.sealed.clear();
            return;
        }
        if self.is_lingering() {
            buffers.input.clear();
            buffers.raw.clear();
        }
        if !buffers.input.is_empty() {
            self.under_way().unused = buffers.input.bytes().into();
        }
        self.ended = buffers.input.ended();
        if let Some(carrier) = self.under_way.as_mut().and_then(|under_way| under_way.carrier.as_mut()) {
            carrier.pack(&mut buffers.raw, &mut buffers.sealed, &buffers.input);
        }
        if buffers.output.is_empty() && !buffers.output.has_spent() {
            buffers.output.clear();
        } else {
            let mut owed = std::mem::take(&mut buffers.output);
            owed.shrink();
            self.under_way().owed = Some(Box::new(owed));
        }
        self.under_way.take_if(|under_way| under_way.is_nothing());
    }

    fn under_way(&mut self) -> &mut UnderWay {
        self.under_way.get_or_insert_default()
    }

    fn pace(&mut self) -> Option<&mut Pace> {
        self.under_way.as_mut()?.pace.as_deref_mut()
    }

    fn is_lingering(&self) -> bool {
        self.under_way.as_ref().is_some_and(|under_way| under_way.lingering.is_some())
    }

    fn run(&mut self, mut flow: ControlFlow<Outcome>, turn: &mut ConnectionTurn<'_>) -> Outcome {
        loop {
            match flow {
                ControlFlow::Continue(()) => flow = self.step(turn),
                ControlFlow::Break(outcome) => return outcome,
            }
        }
    }

    /// Writes the output, then follows the `Action` that the conversation returned last.
    fn step(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        if self.is_lingering() {
            return self.linger(turn);
        }
        if self.registration.link().is_aborted() {
            self.transport.reset();
            return self.fail_to_send(turn);
        }
        if turn.output_can_wait
            && !turn.buffers.output.is_empty()
            && let Some(flow) = self.ask_before_writing(turn)
        {
            return flow;
        }
        let written = self.write(turn);
        let undropped = turn.drop_spent();
        let blocked = match written {
            Written::All => {
                undropped?;
                false
            }
            Written::Blocked => true,
            Written::Share => return ControlFlow::Break(Outcome::Requeue),
            Written::File => return turn.begin(Work::Short).map_continue(|_| ()), // the disk may be slow
            Written::Short => {
                let why = "a response was cut off: its file is shorter than announced, or can't be read";
                turn.log(Level::Warn, format_args!("{}: {why}", self.client));
                self.transport.reset();
                return self.fail_to_send(turn);
            }
            Written::Gone => return self.fail_to_send(turn),
        };
        // A reset does not wait.
        if blocked && !matches!(self.next, Action::Abort) && !self.may_read_while_owing(turn) {
            return match std::mem::take(&mut turn.is_late) {
                true => self.be_late(turn),
                false => ControlFlow::Break(self.park(turn, true)),
            };
        }
        if turn.questions == 0 || turn.share == 0 {
            return ControlFlow::Break(Outcome::Requeue);
        }
        match self.next {
            Action::Again if self.conversation.is_none() => self.meet(turn),
            Action::Again => self.ask(None, turn),
            Action::Handle if self.progress == Progress::Begun => self.ask_with_permit(Work::Begun, turn),
            Action::Handle => self.ask_with_permit(Work::Handler, turn),
            Action::Brief => self.ask_with_permit(Work::Short, turn),
            Action::Read { .. } | Action::Wait { .. } | Action::Idle { .. } => match self.receive(turn) {
                Received::News => self.ask(None, turn),
                Received::EndAgain => self.set_next(Action::Close, turn.now),
                Received::TooMuch => self.abort("the conversation asks for more bytes with 64 KiB unused", turn),
                Received::Gone => self.fail_to_send(turn),
                Received::Part => ControlFlow::Continue(()),
                Received::Broken(next) => self.break_off(next, turn),
                Received::Nothing => self.wait(turn, blocked),
            },
            Action::Take => ControlFlow::Break(Outcome::Take),
            Action::Close | Action::Linger => self.close(turn),
            Action::Unchanged => unreachable!("`set_next` keeps the previous `Action`"),
            Action::Abort => self.abort("the conversation aborted the connection", turn),
        }
    }

    /// Handles the causes of this turn, apart from readiness.
    fn handle_causes(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        if self.causes == Causes::default() {
            return ControlFlow::Continue(());
        }
        if self.causes.dropped {
            return ControlFlow::Break(Outcome::Closed);
        }
        if self.causes.gone {
            return self.fail_to_send(turn);
        }
        if self.causes.no_permit {
            self.notify(Event::NoPermit, turn)?;
            self.causes.no_permit = false;
            if let Some(others) = turn.settings.server.count_without_permit(turn.now) {
                let why = "all workers are in handlers (queue_timeout, queue_limit)";
                turn.log(Level::Warn, format_args!("rejected {}{others}: {why}", self.client));
            }
            if self.next == Action::Handle {
                self.set_next(Action::Close, turn.now)?; // otherwise it would be called again and again
            }
        }
        if self.causes.no_thread {
            self.notify(Event::NoThread, turn)?;
            self.causes.no_thread = false;
            if self.next == Action::Take {
                self.set_next(Action::Close, turn.now)?;
            }
        }
        if self.causes.evicted {
            self.give_way(turn)?;
        }
        // The process may have been stopped, so bytes that have arrived are read, and output is written, before a
        // deadline is judged.
        if std::mem::take(&mut self.causes.late) {
            turn.is_late = true;
            self.readiness.readable = true;
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::input_memory::InputMemory;
    use super::*;

    fn kept_bytes() -> Option<InputBytes> {
        let mut kept = None;
        InputBytes::set(&mut kept, 10_000, &InputMemory::new(None));
        kept
    }

    #[test]
    fn an_idle_connection_has_nothing_in_progress() {
        for (under_way, is_nothing) in [
            (UnderWay::default(), true),
            (UnderWay { unused: Box::new([1]), ..UnderWay::default() }, false),
            (UnderWay { owed: Some(Box::default()), ..UnderWay::default() }, false),
            (UnderWay { pace: Some(Box::default()), ..UnderWay::default() }, false),
            (UnderWay { input_bytes: kept_bytes(), ..UnderWay::default() }, false),
        ] {
            assert_eq!(under_way.is_nothing(), is_nothing);
        }
    }

    #[test]
    fn a_connection_is_small() {
        // With a registration of three words: 176 bytes with what the allocator adds.
        let size = size_of::<Connection<[usize; 3]>>();
        assert!(size <= 176, "{size} bytes"); // 168; a simulated socket has a word more
        assert!(size_of::<Link>() <= 24, "{} bytes of a link", size_of::<Link>());
    }
}
