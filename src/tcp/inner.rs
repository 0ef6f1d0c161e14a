//! A conversation inside another, which carries its bytes in a form of its own: TLS, a framing, a compression.
//! Called by such an outer conversation once a turn; it does for the inner one what `connection` does for the outer.

use log::debug;

use super::client::Client;
use super::input::Input;
use super::layer::{Layer, RECORD};
use super::layered::layered;
use super::output::Output;
use super::protocol::{Conversation, Event, Next, Protocol, Turn};
use super::stream::Stream;

/// A conversation inside another, and its side of the bytes.
///
/// The outer conversation has the inner protocol [meet](Inner::meet) the client, in a turn that may block, when it
/// knows enough of it: after a handshake. From then on it passes on each turn, event and goodbye, and a stream that is taken,
/// with a [`Layer`], and returns what it gets back. That keeps for the inner conversation what the engine promises: the clock of its stages,
/// which half a record does not renew; permits for its handlers; no more asked of it until what it laid out is written,
/// and at most some 64 KiB of that sealed ahead, parts of files as well, which are read in turns that may block; a
/// goodbye after an end and none after an abort; a client that said none is seen as [cut off](Input::was_cut).
///
/// The stages of an inner conversation are passed on as they are: an outer one takes numbers from `u32::MAX` down for
/// those of its own.
///
/// ```
/// use modest::raw::{Conversation, Event, Inner, Input, Layer, Next, Stream, Turn};
///
/// /// Bytes with each bit inverted; a zero is a goodbye.
/// struct Inverted;
///
/// impl Layer for Inverted {
///     fn open(&mut self, turn: &mut Turn<'_>, plain: &mut Input) -> Result<(), Next> {
///         let bytes = turn.input.bytes();
///         let count = bytes.len();
///         let text = bytes.iter().take_while(|byte| **byte != 0).map(|byte| !byte).collect::<Vec<u8>>();
///         plain.extend(&text);
///         if text.len() < count {
///             plain.end();
///         }
///         turn.input.consume(count);
///         Ok(())
///     }
///
///     fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) {
///         sealed.extend(plain.iter().map(|byte| !byte));
///     }
///
///     fn goodbye(&mut self, sealed: &mut Vec<u8>) {
///         sealed.push(0);
///     }
/// }
///
/// struct Outer(Inner);
///
/// impl Conversation for Outer {
///     fn turn(&mut self, turn: &mut Turn<'_>) -> Next {
///         self.0.turn(&mut Inverted, turn)
///     }
///
///     fn event(&mut self, what: Event, turn: &mut Turn<'_>) -> Next {
///         self.0.event(what, &mut Inverted, turn)
///     }
///
///     fn goodbye(&mut self, turn: &mut Turn<'_>) {
///         self.0.goodbye(&mut Inverted, turn);
///     }
///
///     fn take(self: Box<Self>, stream: Stream) {
///         self.0.take(Inverted, stream);
///     }
///
///     fn owed(&self) -> u64 {
///         self.0.owed()
///     }
///
///     fn kept(&self) -> usize {
///         self.0.kept()
///     }
///
///     fn drop_may_block(&self) -> bool {
///         self.0.drop_may_block()
///     }
/// }
/// ```
pub struct Inner {
    conversation: Box<dyn Conversation>,
    client: Client,
    input: Input,
    output: Output,
    next: Next,              // what the inner conversation said last
    known: (usize, bool),    // of its input, when it was asked last: how much it left, and whether that was the end
    granted: Option<Permit>, // what was asked for last: the next turn has it
    waits: bool,             // the engine was told what it waits for
    midway: bool,            // it ended while more was awaited of the client
    said_goodbye: bool,
}

/// What a turn may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Permit {
    Brief,
    Handle,
}

/// How far its output was sealed.
enum Sealed {
    All,
    /// As much as may be owed.
    Enough,
    /// Up to part of a file, which is not to be read in this turn.
    File,
    /// Part of a file can't be had.
    Short,
}

/// So much may be owed to the client and not be written yet.
const SEALED_AHEAD: u64 = 64 * 1024;
/// So much of a file is read at once.
const STRETCH: usize = 64 * 1024;

impl Inner {
    /// Have this protocol meet the client. To be called in a turn that may block ([`Next::Brief`]).
    /// `None`: it turns the client away; the outer conversation says [`Next::Linger`].
    pub fn meet(protocol: &dyn Protocol, client: Client) -> Option<Inner> {
        let conversation = protocol.meet(&client)?;
        Some(Inner {
            conversation,
            client,
            input: Input::new(),
            output: Output::new(),
            next: Next::Again,
            known: (0, false),
            granted: None,
            waits: false,
            midway: false,
            said_goodbye: false,
        })
    }

    /// Who the inner conversation talks with.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// One turn of the outer conversation: what it is to return.
    pub fn turn(&mut self, layer: &mut dyn Layer, turn: &mut Turn<'_>) -> Next {
        let permit = self.granted.take();
        let next = self.run(permit, false, layer, turn);
        self.grant(next)
    }

    /// An event of the outer conversation: what it is to return.
    pub fn event(&mut self, what: Event, layer: &mut dyn Layer, turn: &mut Turn<'_>) -> Next {
        self.granted = None;
        let next = self.conversation.event(what, &mut turn.within(&mut self.input, &mut self.output, &self.client));
        self.set_next(next, matches!(what, Event::Late(_)));
        match what {
            Event::SendFailed => return Next::Close,
            // As the engine would.
            Event::NoPermit if self.next == Next::Handle => self.next = Next::Close,
            Event::NoThread if self.next == Next::Take => self.next = Next::Close,
            _ => {}
        }
        let next = self.run(Some(Permit::Brief), true, layer, turn);
        self.grant(next)
    }

    /// The goodbye of the outer conversation, and of the inner one before it.
    pub fn goodbye(&mut self, layer: &mut dyn Layer, turn: &mut Turn<'_>) {
        self.conversation.goodbye(&mut turn.within(&mut self.input, &mut self.output, &self.client));
        if let Sealed::All = self.seal(false, layer, turn) {
            self.end(layer, turn);
        }
    }

    /// The outer conversation [takes](Conversation::take) its socket, because the inner one asked for that: it has a stream
    /// that reads and writes through this layer.
    pub fn take(self, layer: impl Layer + 'static, stream: Stream) {
        let Inner { conversation, client, input, .. } = self;
        conversation.take(layered(stream, Box::new(layer), input, client));
    }

    /// Whether dropping the inner conversation may block.
    pub fn drop_may_block(&self) -> bool {
        self.conversation.drop_may_block() || self.output.has_others()
    }

    /// How many bytes the inner conversation has laid out that are not sealed yet: for [`Conversation::owed`].
    pub fn owed(&self) -> u64 {
        self.output.owed() + self.conversation.owed()
    }

    /// How many bytes of what the client sent are not used by the inner conversation, or kept by it: for [`Conversation::kept`].
    pub fn kept(&self) -> usize {
        self.input.bytes().len() + self.conversation.kept()
    }

    /// Seal what is laid out, and ask the inner conversation if it is its turn: at most once, so that the engine
    /// measures its turns, writes what it says and looks at the clock between them.
    fn run(&mut self, permit: Option<Permit>, mut asked: bool, layer: &mut dyn Layer, turn: &mut Turn<'_>) -> Next {
        let mut opened = false;
        loop {
            match self.seal(permit.is_some(), layer, turn) {
                Sealed::All => {}
                Sealed::Enough => return Next::Again,
                Sealed::File => return Next::Brief,
                Sealed::Short => return Next::Abort,
            }
            match &self.next {
                Next::Again if !asked && turn.output.is_empty() => {}
                Next::Handle if !asked && permit == Some(Permit::Handle) => {}
                Next::Brief if !asked && permit.is_some() => {}
                Next::Read { .. } | Next::Wait { .. } | Next::Idle { .. } if !asked => {
                    match self.receive(layer, turn) {
                        Ok(all) => opened = all,
                        Err(next) => return next,
                    }
                }
                Next::Read { .. } | Next::Wait { .. } | Next::Idle { .. } => {
                    let is_left = !opened && !turn.input.is_empty();
                    let more_came = !self.waits && (is_left || turn.input.ended() || self.has_news());
                    return if more_came { Next::Again } else { self.wait() };
                }
                Next::Close | Next::Linger => {
                    self.end(layer, turn);
                    // The engine can't see what the inner conversation has left, nor what it was waiting for.
                    return if self.midway || !self.input.is_empty() { Next::Linger } else { Next::Close };
                }
                next => return next.clone(),
            }
            self.ask(turn);
            asked = true;
        }
    }

    fn ask(&mut self, turn: &Turn<'_>) {
        let next = self.conversation.turn(&mut turn.within(&mut self.input, &mut self.output, &self.client));
        self.known = (self.input.bytes().len(), self.input.ended());
        self.set_next(next, false);
    }

    /// As the engine does.
    fn set_next(&mut self, next: Next, late: bool) {
        let next = match (next, &self.next) {
            (Next::Unchanged, Next::Read { .. } | Next::Wait { .. } | Next::Idle { .. }) if !late => return,
            (Next::Unchanged, _) => Next::Close,
            (next, _) => next,
        };
        self.midway |= next == Next::Linger || next == Next::Close && matches!(self.next, Next::Read { .. });
        self.next = next;
        self.waits = false;
    }

    /// Something came that the inner conversation has not seen.
    fn has_news(&self) -> bool {
        self.input.bytes().len() > self.known.0 || self.input.ended() != self.known.1
    }

    /// It wants bytes: open what came, if it has not seen less. True: all was opened, and what is left means nothing
    /// yet.
    /// `Err`: there is nothing to ask it, and this is what comes next.
    fn receive(&mut self, layer: &mut dyn Layer, turn: &mut Turn<'_>) -> Result<bool, Next> {
        if self.has_news() {
            return Ok(false);
        }
        if self.input.ended() && matches!(self.next, Next::Wait { .. }) {
            return Err(self.wait());
        }
        if self.input.ended() {
            self.set_next(Next::Close, false);
            return Err(Next::Again);
        }
        if self.input.is_full() {
            debug!("{} is cut off: the inner conversation left 64 KiB unused and wants more", self.client);
            return Err(Next::Abort);
        }
        layer.open(turn, &mut self.input)?;
        if self.has_news() {
            return Ok(true);
        }
        if turn.input.ended() {
            self.input.cut();
            return Ok(true);
        }
        Err(self.wait())
    }

    /// The engine is told once what is waited for: told again, a client that is idle would seem to begin anew.
    fn wait(&mut self) -> Next {
        self.input.shrink();
        self.output = Output::new();
        match std::mem::replace(&mut self.waits, true) {
            true => Next::Unchanged,
            false => self.next.clone(),
        }
    }

    fn grant(&mut self, next: Next) -> Next {
        self.granted = match next {
            Next::Handle => Some(Permit::Handle),
            Next::Brief => Some(Permit::Brief),
            _ => None,
        };
        self.waits &= next == Next::Unchanged || next == self.next;
        next
    }

    fn seal(&mut self, may_block: bool, layer: &mut dyn Layer, turn: &mut Turn<'_>) -> Sealed {
        while turn.output.owed() < SEALED_AHEAD {
            if self.output.begins_with_file() {
                if !may_block {
                    return Sealed::File;
                }
                if let Err(err) = self.output.load_file(STRETCH) {
                    debug!("{} is cut off: a file is shorter than its answer promised: {err}", self.client);
                    return Sealed::Short;
                }
            }
            let bytes = self.output.front();
            if bytes.is_empty() {
                return Sealed::All;
            }
            let count = bytes.len().min(RECORD);
            layer.seal(&bytes[..count], turn.output.bytes());
            self.output.consume(count);
            turn.output.take_over_spent(&mut self.output);
        }
        if self.output.is_empty() { Sealed::All } else { Sealed::Enough }
    }

    fn end(&mut self, layer: &mut dyn Layer, turn: &mut Turn<'_>) {
        if !std::mem::replace(&mut self.said_goodbye, true) {
            layer.goodbye(turn.output.bytes());
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("client", &self.client).field("next", &self.next).finish_non_exhaustive()
    }
}
