//! The end of a connection. It is closed at once if the client has closed its sending side or no unread bytes are
//! likely, half-closed for a while if the client may still be sending (RFC 9112, section 9.6), and reset if its output
//! is incomplete.

use std::ops::ControlFlow;
use std::time::Duration;

use log::Level;

use super::super::client::Client;
use super::super::output::Piece;
use super::super::protocol::{Action, Conversation, Event, Guarded};
use super::super::scheduler::{Eviction, Readiness, Wait};
use super::super::sync::Instant;
use super::super::transport::Transport;
use super::waiting::LAST_REQUEST;
use super::{Connection, ConnectionTurn, Outcome, Registered, SHARE, ShutdownNotice, UnderWay};

/// The rest of a connection that was cut off. Its destructors may block. Each is contained.
pub struct Leftover {
    conversation: Guarded,
    unsent: u64,
    is_reset: bool,
    _under_way: Option<Box<UnderWay>>,
}

impl Leftover {
    /// Returns whether the connection was reset, because something was in progress.
    pub fn is_reset(&self) -> bool {
        self.is_reset
    }

    /// Lets the conversation log its message.
    pub fn notify(&mut self) {
        self.conversation.cut_off(self.unsent);
    }
}

/// Half-closed: further bytes are read and dropped.
pub struct Lingering {
    since: Instant,
    last_byte: Instant, // when the client's last byte arrived, before a shutdown
    left: usize,        // how many more bytes are accepted
}

impl Lingering {
    fn new(now: Instant, most: usize) -> Lingering {
        Lingering { since: now, last_byte: now, left: most }
    }
}

/// How long a half-closed connection is read from, after its start and after each byte of its client. Many clients read
/// a rejection only after they have sent everything.
const LINGER: Duration = Duration::from_secs(2);
/// How long a half-closed connection is read from, in all.
const LONGEST_LINGER: Duration = Duration::from_secs(30);
/// How many bytes are read from a client that may still be sending.
const MOST_AFTER_CLOSE: usize = 1024 * 1024;
/// How many bytes are read from a client that certainly is still sending, such as a client that reads the rejection of
/// its upload only after sending all of it.
const MOST_AFTER_LINGER: usize = 64 * 1024 * 1024;
/// If more than this was written in the last turn, it has probably not arrived at the end of the turn.
const LARGE: usize = 64 * 1024;

impl<R: Registered> Connection<R> {
    /// Creates the end of a connection that was outside the engine. It is half-closed when these bytes are written.
    /// Without bytes it is already half-closed.
    pub fn returned(
        transport: Transport,
        client: Client,
        registration: R,
        owed: Vec<u8>,
        now: Instant,
    ) -> Connection<R> {
        let mut connection = Connection::new(transport, client, registration, 0, now);
        if owed.is_empty() {
            connection.next = Action::Close;
            connection.under_way().lingering = Some(Lingering::new(now, MOST_AFTER_LINGER));
        } else {
            (connection.next, connection.expects_more) = (Action::Linger, true);
            connection.under_way().owed.insert(Box::default()).push(Piece::Owned(owed));
        }
        connection
    }

    /// Ends a connection that is still there when the server ends. An incomplete response must not look complete, so the
    /// connection is reset, unless its output is complete. The socket is closed at once. Dropping the rest may block,
    /// and must not delay the end of other connections.
    pub fn cut_off(mut self) -> Leftover {
        let sealed = self.carrier().map_or(0, |carrier| carrier.owed());
        let owed = self.under_way.as_ref().and_then(|under_way| under_way.owed.as_ref());
        let unsent = owed.map_or(0, |owed| owed.owed()) + sealed;
        // A connection that waits to be dropped has ended, and its unsent bytes were counted.
        let unsent = if self.causes.dropped { 0 } else { unsent };
        let is_reset = !self.causes.dropped && (unsent > 0 || !self.is_complete() || !self.send_goodbye());
        if is_reset {
            self.transport.reset();
        }
        self.transport.end();
        self.count_unsent(unsent);
        drop(self.transport);
        drop(self.registration);
        Leftover { conversation: self.conversation, unsent, is_reset, _under_way: self.under_way }
    }

    /// Returns whether nothing follows the output so far.
    fn is_complete(&self) -> bool {
        let link = self.registration.link();
        match self.next {
            Action::Close | Action::Linger => self.is_lingering() || !link.is_aborted(),
            // The call of another thread can mean more output.
            Action::Idle { .. } => !link.is_called() && !link.is_aborted(),
            _ => false,
        }
    }

    /// Counts unsent bytes at the end of the connection.
    pub(super) fn count_unsent(&self, owed: u64) {
        if owed > 0 {
            self.registration.left_unsent(owed);
        }
    }

    /// Called after a panic: the output is incomplete.
    pub fn panicked(&mut self) {
        self.transport.reset();
        self.causes.dropped = true;
    }

    /// Drops a connection that has ended: first closes its socket, and then passes the conversation to this function,
    /// whose caller logs panics of the destructor.
    pub fn drop_by(self, drop_conversation: impl FnOnce(Option<Box<dyn Conversation>>)) {
        let Connection { transport, mut conversation, under_way, registration, .. } = self;
        drop(transport);
        if let Some(unsent) = under_way.as_ref().map(|under_way| under_way.unsent).filter(|unsent| *unsent > 0) {
            conversation.cut_off(unsent);
        }
        drop_conversation(conversation.into_inner());
        drop(under_way);
        drop(registration);
    }

    /// Returns whether dropping the connection may block, because of its conversation, of the next one, or of shared
    /// pieces in its output.
    pub fn drop_may_block(&self) -> bool {
        let under_way = self.under_way.as_ref();
        let owed = under_way.and_then(|under_way| under_way.owed.as_ref());
        self.conversation.drop_may_block()
            || under_way.is_some_and(|under_way| under_way.successor.is_some())
            || owed.is_some_and(|owed| owed.has_others())
    }

    /// Ends the connection when all output is written. Closing a socket with unread bytes causes a reset, which
    /// destroys output that the client has not read. So the connection is closed at once only if it is certain that
    /// nothing has arrived. Otherwise it is half-closed first.
    pub(super) fn close(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        if self.end_codec(turn) {
            return ControlFlow::Continue(());
        }
        let has_ended = if self.has_codec() { turn.buffers.raw.ended() } else { turn.buffers.input.ended() };
        let unread_is_likely = self.wrote.is_some_and(|wrote| turn.now < wrote + LINGER);
        // The room is needed, so the connection is kept only if a last request got a response.
        let gives_way = self.causes.evicted && (turn.gives_up_half || self.wrote != Some(turn.now));
        if has_ended || !unread_is_likely || gives_way {
            return ControlFlow::Break(Outcome::Closed);
        }
        let has_more = !turn.buffers.input.is_empty() || !turn.buffers.raw.is_empty();
        let is_still_sending = self.expects_more || self.readiness.readable || has_more;
        if is_still_sending || self.is_on_its_way(turn) || self.has_arrived(turn) {
            return self.begin_lingering(turn);
        }
        ControlFlow::Break(Outcome::Closed)
    }

    /// Returns whether much of the output is certainly still on its way. By the time it arrives, the client may have
    /// sent more bytes.
    fn is_on_its_way(&mut self, turn: &ConnectionTurn<'_>) -> bool {
        let blocked_before = self.pace().is_some();
        !self.causes.evicted && (blocked_before || SHARE - turn.share > LARGE)
    }

    /// Returns whether the client has sent unread bytes. The readiness is not enough: an event that arrived while a
    /// worker held the connection is in the table, and an event that no poll has returned yet is unknown.
    fn has_arrived(&self, turn: &mut ConnectionTurn<'_>) -> bool {
        turn.buffers.input.fill(|room| self.transport.read(room)).is_ok_and(|(count, _)| count > 0)
    }

    /// Ends an idle connection, with the goodbye of its protocol.
    pub(super) fn end_idle(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        self.conversation.goodbye(&mut turn.lend(&self.client, self.registration.link(), None, None, true));
        self.set_next(Action::Close, turn.now)
    }

    /// Ends a connection whose client the protocol declines. The client sees the end of the stream, even if it has sent
    /// bytes.
    pub(super) fn decline(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        self.next = Action::Close;
        self.begin_lingering(turn)
    }

    fn begin_lingering(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        if self.transport.shut_down_writing().is_err() {
            return ControlFlow::Break(Outcome::Closed);
        }
        let most = if self.next == Action::Linger { MOST_AFTER_LINGER } else { MOST_AFTER_CLOSE };
        self.under_way().lingering = Some(Lingering::new(turn.now, most));
        self.readiness.readable = true;
        self.causes.evicted = false; // it can be evicted again, among the first
        ControlFlow::Continue(())
    }

    /// Reads and drops the bytes of a half-closed connection, until the stream ends or the time has passed.
    pub(super) fn linger(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        while turn.share > 0 {
            turn.buffers.input.clear();
            match turn.buffers.input.fill(|room| self.transport.read(room)) {
                Ok((0, _)) => return ControlFlow::Break(Outcome::Closed),
                Ok((count, _)) => {
                    turn.share = turn.share.saturating_sub(count);
                    if self.has_sent_too_much(count, turn) {
                        return ControlFlow::Break(Outcome::Closed);
                    }
                }
                Err(err) if err.kind() == std::io::ErrorKind::WouldBlock && !self.has_lingered(turn) => {
                    return ControlFlow::Break(Outcome::Park(Wait {
                        interest: Readiness { readable: true, ..Readiness::NONE },
                        deadline: self.linger_deadline(),
                        eviction: Eviction::Lingering(turn.now),
                        shutdown_seen: true,
                    }));
                }
                Err(_) => return ControlFlow::Break(Outcome::Closed),
            }
        }
        ControlFlow::Break(if self.has_lingered(turn) { Outcome::Closed } else { Outcome::Requeue })
    }

    /// Counts dropped bytes, and returns whether the limit is reached. During a shutdown, bytes do not prolong the
    /// time: the client has had its response, and the exit of the server does not wait for more than [`LINGER`].
    fn has_sent_too_much(&mut self, count: usize, turn: &ConnectionTurn<'_>) -> bool {
        let Some(lingering) = self.under_way.as_mut().and_then(|under_way| under_way.lingering.as_mut()) else {
            return true;
        };
        if !turn.settings.server.is_shutting_down() {
            lingering.last_byte = turn.now;
        }
        lingering.left = lingering.left.saturating_sub(count);
        lingering.left == 0
    }

    fn has_lingered(&self, turn: &ConnectionTurn<'_>) -> bool {
        self.linger_deadline().is_none_or(|deadline| deadline <= turn.now)
    }

    pub(super) fn fail_to_send(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        self.causes.gone = true; // in case there is no permit for the event
        self.notify(Event::SendFailed, turn)?;
        ControlFlow::Break(Outcome::Closed)
    }

    pub(super) fn abort(&mut self, why: &str, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        turn.log(Level::Debug, format_args!("reset {}: {why}", self.client));
        self.transport.reset();
        ControlFlow::Break(Outcome::Closed)
    }

    fn linger_deadline(&self) -> Option<Instant> {
        let Lingering { since, last_byte, .. } = self.under_way.as_ref()?.lingering.as_ref()?;
        if self.shutdown == ShutdownNotice::Late {
            return Some(*since + LAST_REQUEST); // its bytes do not delay the exit of the server
        }
        Some((*last_byte + LINGER).min(*since + LONGEST_LINGER))
    }
}
