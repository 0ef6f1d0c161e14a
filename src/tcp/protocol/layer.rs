//! What is between the bytes of a client and a conversation: TLS, a framing, a compression. Given to a connection by a
//! `Handover`, driven by `connection`, and by `layered` once the socket is taken.

use super::super::input::Input;
use super::{Next, Turn};

/// What is between the bytes of a client and a conversation: it makes input of the former and bytes of the output.
///
/// A conversation that has shaken hands gives its connection a layer with
/// [`Turn::hand_over`](crate::raw::Turn::hand_over). From then on the engine keeps all its promises for the conversation
/// above the layer: the clock of its stages, which half a record does not renew; at most some 64 KiB sealed and not yet
/// written; parts of files read in turns that may block; a goodbye after an end, and none after an abort.
///
/// ```
/// use modest::raw::{Conversation, Handover, Input, Layer, Next, Protocol, Turn};
/// use modest::Client;
/// use std::sync::Arc;
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
/// /// A first conversation. Its handshake is one byte of the client.
/// struct Greeting(Arc<dyn Protocol>);
///
/// impl Conversation for Greeting {
///     fn turn(&mut self, turn: &mut Turn<'_>) -> Next {
///         if turn.input.is_empty() {
///             return Next::Idle { within: None };
///         }
///         turn.input.consume(1);
///         match self.0.meet(turn.client) {
///             Some(conversation) => turn.hand_over(Handover::to(conversation).with_layer(Inverted)),
///             None => Next::Linger,
///         }
///     }
/// }
/// ```
pub trait Layer: Send {
    /// Takes from `turn.input` everything that is whole, and appends to `plain` what comes of it. At the goodbye
    /// of the client it [ends](Input::end) `plain`, and takes and drops what follows. Bytes that stay in `turn.input` are the
    /// beginning of something, at most 64 KiB; they count as nothing until the rest arrives. The layer's own
    /// responses (another key) go to `turn.output`. On a stream that was [taken](crate::raw::Conversation::take) they are
    /// sent at once if the socket has room, otherwise ahead of what is written next.
    ///
    /// Where the bytes end without a goodbye, the engine [cuts](Input::cut) `plain` itself.
    ///
    /// # Errors
    /// What comes next if the bytes are broken: [`Next::Abort`], or [`Next::Linger`] after an alert
    /// was appended to `turn.output`. The conversation is not asked again.
    fn open(&mut self, turn: &mut Turn<'_>, plain: &mut Input) -> Result<(), Next>;

    /// Appends to `sealed` what is sent in place of these bytes, of which there are at most 16 KiB.
    fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>);

    /// Appends to `sealed` what shows the client that nothing is missing. Called at most once, and last.
    fn goodbye(&mut self, sealed: &mut Vec<u8>);
}

/// A record of TLS holds no more.
pub(in super::super) const RECORD: usize = 16 * 1024;
