//! The conversation with one client from its first byte. It checks whether the client uses TLS, does the handshake, and
//! hands the connection over to the inner protocol. Expensive steps (keys, signatures, certificates) run in turns that
//! may block, and only for complete records.

use std::sync::Arc;
use std::time::Duration;

use log::debug;
use rustls::server::UnbufferedServerConnection;

use super::session::Session;
use super::{Parts, record};
use crate::tcp::{self, Action, Codec, Conversation, Event, Handover, Input, MayBlock, Protocol, Stage, Turn};

pub struct Handshakes {
    pub timeout: Option<Duration>,
    pub limit: usize,
    /// The protocol for clients that do not use TLS.
    pub plain: Option<Arc<dyn Protocol>>,
}

impl Default for Handshakes {
    fn default() -> Handshakes {
        Handshakes { timeout: Some(Duration::from_secs(10)), limit: 64 * 1024, plain: None }
    }
}

pub struct Secured {
    parts: Arc<Parts>,
    state: State,
}

enum State {
    /// Before the first complete record.
    First,
    /// In the handshake, which has used this many bytes.
    Handshake(Session, usize),
    /// The inner protocol meets the client next.
    Meeting(Session),
    /// The client does not use TLS: the protocol for such clients meets it next.
    MeetingPlain,
}

const HANDSHAKE: Stage = Stage(u32::MAX);

/// A fatal alert, `protocol_version` (RFC 8446, section 6.2), for a client that does not use TLS or uses SSL 2.
const PROTOCOL_VERSION: &[u8] = &[21, 3, 1, 0, 2, 2, 70];

impl Secured {
    pub fn new(parts: Arc<Parts>) -> Secured {
        Secured { parts, state: State::First }
    }

    /// Handles the first byte and the first record.
    fn begin(&mut self, turn: &mut Turn<'_>) -> Action {
        match turn.input.bytes().first() {
            None if turn.input.ended() => return Action::Close, // a port scan
            None => return self.read(),
            Some(&first) if record::is_tls(first) => {}
            Some(&first) => return self.begin_plain(first, turn),
        }
        if record::whole(turn.input.bytes()).is_none() {
            return self.await_record(turn);
        }
        let Some(may_block) = turn.may_block() else { return Action::Brief };
        match UnbufferedServerConnection::new(self.parts.live.config(turn.now, may_block)) {
            Ok(connection) => {
                self.state = State::Handshake(Session::new(connection), 0);
                self.shake_hands(turn)
            }
            Err(err) => {
                debug!("{}: the handshake can't be started: {err}", turn.client);
                Action::Abort
            }
        }
    }

    /// Handles a client that does not use TLS. If it is rejected, it may still be sending.
    fn begin_plain(&mut self, first: u8, turn: &mut Turn<'_>) -> Action {
        if self.parts.handshakes.plain.is_some() {
            self.state = State::MeetingPlain;
            return Action::Brief;
        }
        debug!("{} is rejected: it does not use TLS", turn.client);
        let response = self.parts.inner.response_without_tls(first, turn.wall);
        turn.output.bytes().extend_from_slice(response.as_deref().unwrap_or(PROTOCOL_VERSION));
        Action::Linger
    }

    /// Handles all complete records, one at a time.
    fn shake_hands(&mut self, turn: &mut Turn<'_>) -> Action {
        let asks_for_certificates = self.parts.live.asks_for_certificates();
        let State::Handshake(session, sent) = &mut self.state else { return Action::Close };
        while session.is_handshaking() {
            let Some(length) = record::whole(turn.input.bytes()) else { return self.await_record(turn) };
            let is_cheap = session.has_agreed() && !asks_for_certificates;
            if !is_cheap && turn.may_block().is_none() {
                return Action::Brief;
            }
            *sent += length;
            if *sent > self.parts.handshakes.limit {
                debug!("{}: its handshake is longer than {} bytes", turn.client, self.parts.handshakes.limit);
                return Action::Abort;
            }
            if let Err(err) = session.feed(length, turn, &mut Input::new()) {
                debug!("{}: the handshake failed: {err}", turn.client);
                return Action::Linger;
            }
        }
        if let State::Handshake(session, _) = std::mem::replace(&mut self.state, State::First) {
            self.state = State::Meeting(session);
        }
        Action::Brief
    }

    /// Lets the inner protocol meet the client, whose identity is now known.
    fn meet(&mut self, may_block: MayBlock, turn: &mut Turn<'_>) -> Action {
        let State::Meeting(mut session) = std::mem::replace(&mut self.state, State::First) else {
            return Action::Close;
        };
        let client = turn.client.clone().with_tls(session.info());
        match tcp::meet(&*self.parts.inner, &client, may_block) {
            Some(inner) => turn.hand_over(Handover::to(inner).with_client(client).with_codec(session)),
            None => end_with_goodbye(session, turn),
        }
    }

    fn meet_plain(&mut self, may_block: MayBlock, turn: &mut Turn<'_>) -> Action {
        let plain = self.parts.handshakes.plain.as_ref();
        match plain.and_then(|plain| tcp::meet(&**plain, turn.client, may_block)) {
            Some(conversation) => turn.hand_over(Handover::to(conversation)),
            None => Action::Linger,
        }
    }

    fn await_record(&self, turn: &Turn<'_>) -> Action {
        if turn.input.ended() {
            debug!("{}: the handshake was cut off", turn.client);
            return Action::Close;
        }
        self.read()
    }

    fn read(&self) -> Action {
        let within = self.parts.handshakes.timeout;
        Action::Read { stage: HANDSHAKE, within, evictable: true, at_min_rate: false }
    }
}

/// Ends the connection with a goodbye, because no output is missing.
fn end_with_goodbye(mut session: Session, turn: &mut Turn<'_>) -> Action {
    session.goodbye(turn.output.bytes());
    Action::Linger
}

impl Conversation for Secured {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        match (&self.state, turn.may_block()) {
            (State::First, _) => self.begin(turn),
            (State::Handshake(..), _) => self.shake_hands(turn),
            (State::Meeting(_), Some(may_block)) => self.meet(may_block, turn),
            (State::MeetingPlain, Some(may_block)) => self.meet_plain(may_block, turn),
            (State::Meeting(_) | State::MeetingPlain, None) => Action::Brief,
        }
    }

    fn event(&mut self, what: Event, turn: &mut Turn<'_>) -> Action {
        match what {
            Event::Called => Action::Unchanged,
            Event::Late(_) => {
                debug!("{}: the handshake took too long", turn.client);
                Action::Close
            }
            _ => Action::Close,
        }
    }

    fn drop_may_block(&self) -> bool {
        false
    }

    fn kept(&self) -> usize {
        match &self.state {
            State::Handshake(_, sent) => *sent,
            State::First | State::Meeting(_) | State::MeetingPlain => 0,
        }
    }
}
