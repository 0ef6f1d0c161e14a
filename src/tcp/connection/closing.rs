//! A connection's end: at once where the client has read all it was sent or never will, half-closed for a while where it
//! may still be sending (RFC 9112, section 9.6), and reset where what it was sent is not whole.

use std::ops::ControlFlow;
use std::time::Duration;

use log::Level;

use super::super::client::Client;
use super::super::contain::contain;
use super::super::output::{Output, Piece};
use super::super::protocol::{Conversation, Event, Next};
use super::super::scheduler::{Eviction, Readiness, Wait};
use super::super::sync::Instant;
use super::super::transport::Transport;
use super::{Connection, ConnectionTurn, Outcome, Registered, SHARE, UnderWay};

/// What a connection leaves behind that was cut off. What its destructors do may block; they may panic.
pub struct Leftover {
    conversation: Option<Box<dyn Conversation>>,
    owed: Option<Box<Output>>,
}

impl Drop for Leftover {
    fn drop(&mut self) {
        contain("a conversation, while it was dropped", || drop(self.conversation.take()));
        contain("what was to be sent, while it was dropped", || drop(self.owed.take()));
    }
}

/// Half-closed: what still comes is read and dropped.
pub struct Lingering {
    since: Instant,
    heard: Instant, // when its last byte came
    left: usize,    // how many bytes may still come
}

impl Lingering {
    fn new(now: Instant, most: usize) -> Lingering {
        Lingering { since: now, heard: now, left: most }
    }
}

/// How long a closing client is read from after the last byte to it or from it, and how long in all: a refusal is read
/// only by who has sent what it was about to send.
const LINGER: Duration = Duration::from_secs(2);
const LONGEST_LINGER: Duration = Duration::from_secs(30);
/// How many bytes are read of a client that may be sending, and of one that surely is: the rest of an upload, say, whose client
/// reads its refusal only then.
const MOST_AFTER_CLOSE: usize = 1024 * 1024;
const MOST_AFTER_LINGER: usize = 64 * 1024 * 1024;
/// More than this, written in the last turn, has hardly arrived by its end.
const LARGE: usize = 64 * 1024;

impl<R: Registered> Connection<R> {
    /// A connection that was outside the engine, and ends: as soon as this is written it is half-closed. Where nothing is
    /// owed it is so already.
    pub fn returned(
        transport: Transport,
        client: Client,
        registration: R,
        owed: Vec<u8>,
        now: Instant,
    ) -> Connection<R> {
        let mut connection = Connection::new(transport, client, registration, 0, now);
        if owed.is_empty() {
            connection.next = Next::Close;
            connection.under_way().lingering = Some(Lingering::new(now, MOST_AFTER_LINGER));
        } else {
            (connection.next, connection.midway) = (Next::Linger, true);
            connection.under_way().owed.insert(Box::default()).push(Piece::Owned(owed));
        }
        connection
    }

    /// The server ends before this connection does: what was cut off must not look like an end. The socket is closed at
    /// once; what else there is may block when it is dropped, and then holds up no other connection's end.
    pub fn cut_off(mut self) -> Leftover {
        let under_way = self.under_way.take().map_or_else(UnderWay::default, |under_way| *under_way);
        let sealed = under_way.carrier.map_or(0, |carrier| carrier.owed());
        let owed = under_way.owed;
        if !matches!(self.next, Next::Idle { .. }) || owed.is_some() || sealed > 0 {
            self.transport.reset();
        }
        self.transport.end();
        self.count_unsent(owed.as_ref().map_or(0, |owed| owed.owed()) + sealed);
        drop(self.transport);
        drop(self.registration);
        Leftover { conversation: self.conversation, owed }
    }

    /// It is over, and this many bytes are owed.
    pub(super) fn count_unsent(&self, owed: u64) {
        if owed > 0 {
            self.registration.left_unsent(owed);
        }
    }

    /// A panic ended it: whatever was sent is not whole.
    pub fn panicked(&mut self) {
        self.transport.reset();
        self.causes.dropped = true;
    }

    /// Whether dropping it may block: its conversation, or pieces that a conversation laid into its output.
    pub fn drop_may_block(&self) -> bool {
        let owed = self.under_way.as_ref().and_then(|under_way| under_way.owed.as_ref());
        self.conversation.as_ref().is_some_and(|conversation| conversation.drop_may_block())
            || owed.is_some_and(|owed| owed.has_others())
    }

    /// All is written: the end. A close with bytes unread is a reset, which destroys what the client has not read yet, so the
    /// connection is closed at once only if it is known that nothing has arrived; else it is half-closed first.
    pub(super) fn close(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        if self.end_layer(turn) {
            return ControlFlow::Continue(());
        }
        let has_ended = if self.is_layered() { turn.buffers.raw.ended() } else { turn.buffers.input.ended() };
        let unread_is_likely = self.wrote.is_some_and(|wrote| turn.now < wrote + LINGER);
        // The room is wanted; only a last request that was answered is a reason to keep it.
        let gives_way = self.causes.evicted && (turn.gives_up_half || self.wrote != Some(turn.now));
        if has_ended || !unread_is_likely || gives_way {
            return ControlFlow::Break(Outcome::Closed);
        }
        let has_more = !turn.buffers.input.is_empty() || !turn.buffers.raw.is_empty();
        let is_still_sending = self.midway || self.readiness.readable || has_more;
        if is_still_sending || self.is_on_its_way(turn) || self.has_arrived(turn) {
            return self.begin_lingering(turn);
        }
        ControlFlow::Break(Outcome::Closed)
    }

    /// Whether much of what was written is surely on its way to the client: by the time it has arrived, the client may have
    /// sent something.
    fn is_on_its_way(&mut self, turn: &ConnectionTurn<'_>) -> bool {
        let blocked_before = self.pace().is_some();
        !self.causes.evicted && (blocked_before || SHARE - turn.share > LARGE)
    }

    /// Whether the client has sent bytes that nobody has read. The readiness does not say: an event that came while a worker
    /// held the connection is noted in the table, and one that no poll has brought yet is nowhere.
    fn has_arrived(&self, turn: &mut ConnectionTurn<'_>) -> bool {
        turn.buffers.input.fill(|room| self.transport.read(room)).is_ok_and(|(count, _)| count > 0)
    }

    /// Idle, and it is to end: a conversation whose protocol has a goodbye says it.
    pub(super) fn end_idle(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        if let Some(conversation) = &mut self.conversation {
            conversation.goodbye(&mut turn.lend(&self.client, self.registration.link(), None, true));
        }
        self.set_next(Next::Close, turn.now)
    }

    /// The protocol does not want this client: the end of the stream is all it sees, also if it has sent something.
    pub(super) fn turn_away(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        self.next = Next::Close;
        self.begin_lingering(turn)
    }

    fn begin_lingering(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        if self.transport.shut_down_writing().is_err() {
            return ControlFlow::Break(Outcome::Closed);
        }
        let most = if self.next == Next::Linger { MOST_AFTER_LINGER } else { MOST_AFTER_CLOSE };
        self.under_way().lingering = Some(Lingering::new(turn.now, most));
        self.readiness.readable = true;
        self.causes.evicted = false; // it is among the first to be evicted once more
        ControlFlow::Continue(())
    }

    /// Half-closed: what the client still sends is read and dropped, until it has read the end, or time is up.
    pub(super) fn linger(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        while turn.share > 0 {
            turn.buffers.input.clear();
            match turn.buffers.input.fill(|room| self.transport.read(room)) {
                Ok((0, _)) => return ControlFlow::Break(Outcome::Closed),
                Ok((count, _)) => {
                    turn.share = turn.share.saturating_sub(count);
                    if self.has_sent_too_much(count, turn.now) {
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

    /// So many bytes more: whether these are more than are read of it.
    fn has_sent_too_much(&mut self, count: usize, now: Instant) -> bool {
        let Some(lingering) = self.under_way.as_mut().and_then(|under_way| under_way.lingering.as_mut()) else {
            return true;
        };
        lingering.heard = now;
        lingering.left = lingering.left.saturating_sub(count);
        lingering.left == 0
    }

    fn has_lingered(&self, turn: &ConnectionTurn<'_>) -> bool {
        self.linger_deadline().is_none_or(|deadline| deadline <= turn.now)
    }

    pub(super) fn fail_to_send(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        self.causes.gone = true; // in case there is no permit to tell it with
        self.tell(Event::SendFailed, turn)?;
        ControlFlow::Break(Outcome::Closed)
    }

    pub(super) fn abort(&mut self, why: &str, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        turn.log(Level::Debug, format_args!("reset {}: {why}", self.client));
        self.transport.reset();
        ControlFlow::Break(Outcome::Closed)
    }

    fn linger_deadline(&self) -> Option<Instant> {
        let Lingering { since, heard, .. } = self.under_way.as_ref()?.lingering.as_ref()?;
        Some((*heard + LINGER).min(*since + LONGEST_LINGER))
    }
}
