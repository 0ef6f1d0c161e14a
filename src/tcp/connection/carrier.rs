//! The codec between a connection's socket and its conversation opens input and seals output. For everything else, a
//! connection with a codec is handled like one without.

use std::ops::ControlFlow;

use log::debug;

use super::super::client::Client;
use super::super::contain::contain;
use super::super::input::Input;
use super::super::output::Output;
use super::super::protocol::{Action, ContainedCodec, RECORD, SEALED_AHEAD, Successor, Turn, contained};
use super::super::scheduler::{MayBlock, Work};
use super::super::transport::Written;
use super::bytes::Received;
use super::stacked::Stacked;
use super::{Connection, ConnectionTurn, Outcome, Progress, Registered};

/// A connection's codec, and the bytes below it that are kept between turns.
pub struct Carrier {
    pub(super) codec: ContainedCodec,
    /// Whether bytes have arrived that were not passed to the codec.
    pub(super) is_unopened: bool,
    /// Whether bytes were opened that were not passed to the conversation.
    pub(super) has_news: bool,
    /// Whether nothing more is sealed, because the goodbye was sealed or the client violated the protocol.
    pub(super) is_over: bool,
    pub(super) unread: Box<[u8]>,
    pub(super) ended: bool,
    /// Whether the input was cut off, without a goodbye.
    cut: bool,
    owed: Option<Box<Output>>,
}

/// How much of the conversation's output is sealed.
enum Sealed {
    All,
    /// As much output as can be sealed ahead.
    Enough,
    /// The output before a part of a file, which must not be read in this turn.
    File,
    /// The output before a part of a file that is shorter than announced.
    Short,
}

/// How much of a file is read at once.
const STRETCH: usize = 64 * 1024;

impl Carrier {
    fn new(codec: ContainedCodec) -> Carrier {
        let (unread, owed) = (Box::default(), None);
        let (has_news, is_over, ended, cut) = (false, false, false, false);
        Carrier { codec, is_unopened: true, has_news, is_over, unread, ended, cut, owed }
    }

    /// Lets the codec open all complete records in `turn.input`.
    ///
    /// # Errors
    /// If the client violated the protocol: how to continue.
    pub(super) fn open(&mut self, turn: &mut Turn<'_>, plain: &mut Input) -> Result<(), Action> {
        self.is_unopened = false;
        let opened = self.codec.open(turn, plain);
        self.is_over |= opened.is_err();
        if opened.is_ok() && turn.input.ended() && !plain.ended() {
            plain.cut();
        }
        opened
    }

    fn seal(
        &mut self,
        output: &mut Output,
        sealed: &mut Output,
        may_block: Option<MayBlock>,
        client: &Client,
    ) -> Sealed {
        while sealed.owed() < SEALED_AHEAD as u64 {
            if output.begins_with_file() {
                let Some(may_block) = may_block else { return Sealed::File };
                if let Err(err) = output.load_part(STRETCH, may_block) {
                    debug!("{client}: a file is shorter than its response promised: {err}");
                    return Sealed::Short;
                }
            }
            let bytes = output.front();
            if bytes.is_empty() {
                return Sealed::All;
            }
            let count = bytes.len().min(RECORD);
            self.codec.seal(&bytes[..count], sealed.bytes());
            output.consume(count);
        }
        if output.is_empty() { Sealed::All } else { Sealed::Enough }
    }

    /// Returns how many bytes are sealed and unsent between turns.
    pub(super) fn owed(&self) -> u64 {
        self.owed.as_ref().map_or(0, |owed| owed.owed())
    }

    /// Returns the opened input that was not used.
    pub(super) fn opened(&self, unused: &[u8], ended: bool) -> Input {
        let mut plain = Input::new();
        plain.begin(unused, ended);
        if self.cut {
            plain.cut();
        }
        plain
    }

    /// Moves the bytes below the codec to the worker's buffers, at the beginning of a turn.
    pub(super) fn unpack(&mut self, raw: &mut Input, sealed: &mut Output, plain: &mut Input) {
        raw.begin(&std::mem::take(&mut self.unread), self.ended);
        if self.cut {
            plain.cut();
        }
        if let Some(owed) = self.owed.take() {
            *sealed = *owed;
        }
    }

    /// Moves the bytes below the codec back, at the end of a turn.
    pub(super) fn pack(&mut self, raw: &mut Input, sealed: &mut Output, plain: &Input) {
        (self.unread, self.ended, self.cut) = (raw.bytes().into(), raw.ended(), plain.was_cut());
        raw.clear();
        match sealed.is_empty() {
            true => sealed.clear(),
            false => {
                let mut owed = std::mem::take(sealed);
                owed.shrink();
                self.owed = Some(Box::new(owed));
            }
        }
    }
}

impl<R: Registered> Connection<R> {
    pub(super) fn carrier(&mut self) -> Option<&mut Carrier> {
        self.under_way.as_mut()?.carrier.as_deref_mut()
    }

    pub(super) fn has_codec(&self) -> bool {
        self.under_way.as_ref().is_some_and(|under_way| under_way.carrier.is_some())
    }

    pub(super) fn write_sealed(&mut self, turn: &mut ConnectionTurn<'_>) -> Written {
        let Some(carrier) = self.under_way.as_mut().and_then(|under_way| under_way.carrier.as_mut()) else {
            return Written::All;
        };
        let (may_block, buffers) = (turn.may_read_files(), &mut *turn.buffers);
        // More is sealed only when everything sealed is written, because unwritten bytes are stored with the
        // connection.
        loop {
            match self.transport.write(&mut buffers.sealed, None, &mut turn.share) {
                Written::All => {}
                other => return other,
            }
            match carrier.seal(&mut buffers.output, &mut buffers.sealed, may_block, &self.client) {
                Sealed::All if buffers.sealed.is_empty() => return Written::All,
                Sealed::All | Sealed::Enough => {}
                // Write the sealed bytes first.
                Sealed::File if !buffers.sealed.is_empty() => {}
                Sealed::File => return Written::File,
                Sealed::Short => return Written::Short,
            }
        }
    }

    /// Lets the codec open all complete records that have arrived.
    pub(super) fn open(&mut self, turn: &mut ConnectionTurn<'_>) -> Received {
        let Some(under_way) = &mut self.under_way else { return Received::Nothing };
        let Some(carrier) = &mut under_way.carrier else { return Received::Nothing };
        let mut plain = std::mem::take(&mut turn.buffers.input);
        let before = plain.bytes().len();
        let opened = carrier.open(&mut turn.lend_below(&self.client, self.registration.link()), &mut plain);
        let is_news = plain.bytes().len() > before || plain.ended();
        turn.buffers.input = plain;
        match opened {
            Ok(()) if is_news => Received::News,
            Ok(()) => Received::Part,
            Err(next) => Received::Broken(next),
        }
    }

    /// Called when the client has violated the protocol of the codec. If output is left that is not sealed, the client
    /// sees a reset.
    pub(super) fn break_off(&mut self, next: Action, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        let next = if turn.buffers.output.is_empty() { next } else { Action::Abort };
        self.set_next(next, turn.now)
    }

    /// Ends the codec, once. Returns whether there is something to write.
    pub(super) fn end_codec(&mut self, turn: &mut ConnectionTurn<'_>) -> bool {
        let Some(carrier) = self.carrier().filter(|carrier| !carrier.is_over) else { return false };
        carrier.is_over = true;
        carrier.codec.goodbye(turn.buffers.sealed.bytes());
        !turn.buffers.sealed.is_empty()
    }

    /// Sends the goodbye of the codec, if it has not ended, without waiting. Returns whether the client gets it.
    pub(super) fn send_goodbye(&mut self) -> bool {
        let Some(carrier) = self.carrier().filter(|carrier| !carrier.is_over) else { return true };
        let mut sealed = Output::new();
        let is_sealed = contain("the goodbye of a codec", || carrier.codec.goodbye(sealed.bytes())).is_some();
        is_sealed && matches!(self.transport.write(&mut sealed, None, &mut { SEALED_AHEAD }), Written::All)
    }

    /// Gives the connection to the successor, when all output of its predecessor is written.
    pub(super) fn become_successor(&mut self, turn: &mut ConnectionTurn<'_>) -> ControlFlow<Outcome> {
        if self.conversation.drop_may_block() {
            turn.begin(Work::Short)?; // the old conversation is dropped below
        }
        let successor = self.under_way.as_mut().and_then(|under_way| under_way.successor.take());
        let Some(Successor { conversation, client, is_named, codec, place }) = successor.map(|successor| *successor)
        else {
            return ControlFlow::Continue(());
        };
        self.conversation = conversation;
        if let Some(client) = client {
            if (is_named || client.ip() != self.client.ip()) && !self.registration.recount(&client) {
                return self.abort("the client's address has the maximum number of connections", turn);
            }
            self.client = client;
        }
        if let Some(codec) = codec {
            self.put_codec_below(codec, turn);
        }
        if place.is_some() {
            self.under_way().place = place.map(Box::new);
        }
        (self.stage, self.since, self.progress, self.expects_more) = (None, turn.now, Progress::None, false);
        self.shutdown = super::ShutdownNotice::None; // the successor was not notified yet
        ControlFlow::Continue(())
    }

    /// Puts a codec below the conversation. The codec gets the unused input.
    fn put_codec_below(&mut self, codec: ContainedCodec, turn: &mut ConnectionTurn<'_>) {
        let buffers = &mut *turn.buffers;
        let under_way = self.under_way.get_or_insert_default();
        let carrier = match under_way.carrier.take() {
            None => {
                std::mem::swap(&mut buffers.input, &mut buffers.raw);
                buffers.input.clear();
                Carrier::new(codec)
            }
            Some(below) => {
                let between = std::mem::take(&mut buffers.input);
                let stacked = Stacked::new(below.codec, codec, between);
                Carrier { codec: contained(Box::new(stacked)), is_unopened: true, ..*below }
            }
        };
        under_way.carrier = Some(Box::new(carrier));
    }
}
