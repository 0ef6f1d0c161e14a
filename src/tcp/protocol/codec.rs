//! Code between the bytes of a client and a conversation: TLS, a framing, a compression. A `Handover` puts it on a
//! connection. `connection` calls it, or `coded` if the socket is taken.

use super::super::input::Input;
use super::{Action, Turn};

/// Code between the bytes of a client and a conversation. It decodes input and encodes output.
///
/// A conversation that has completed its handshake puts a codec on its connection with
/// [`Turn::hand_over`](crate::raw::Turn::hand_over). From then on, the conversation above the codec is treated like one
/// without a codec:
///
/// - Half a record does not restart the clock of a stage.
/// - At most about 64 KiB are sealed and unsent.
/// - Parts of files are read in turns that may block.
/// - The goodbye is sent at each end that is not an abort.
///
/// ```
/// use modest::raw::{Conversation, Handover, Input, Codec, Action, Protocol, Turn};
/// use modest::Client;
/// use std::sync::Arc;
///
/// /// Bytes with each bit inverted; a zero is a goodbye.
/// struct Inverted;
///
/// impl Codec for Inverted {
///     fn open(&mut self, turn: &mut Turn<'_>, plain: &mut Input) -> Result<(), Action> {
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
///     fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
///         if turn.input.is_empty() {
///             return Action::Idle { within: None };
///         }
///         turn.input.consume(1);
///         match self.0.meet(turn.client) {
///             Some(conversation) => turn.hand_over(Handover::to(conversation).with_codec(Inverted)),
///             None => Action::Linger,
///         }
///     }
/// }
/// ```
pub trait Codec: Send {
    /// Takes all complete records from `turn.input`, and appends their content to `plain`. At the goodbye of the client
    /// it [ends](Input::end) `plain`, and discards all later bytes. Bytes that stay in `turn.input` are the beginning
    /// of a record, at most 64 KiB. They have no effect until the rest arrives. The codec appends its own responses
    /// (such as a new key) to `turn.output`. On a stream that was [taken](crate::raw::Conversation::take) they are sent
    /// at once if the socket has room, otherwise before the next write.
    ///
    /// If the bytes end without a goodbye, the engine [cuts](Input::cut) `plain`.
    ///
    /// # Errors
    /// If the bytes are malformed: [`Action::Abort`], or [`Action::Linger`] after an alert was appended to
    /// `turn.output`. The conversation gets no further turn.
    fn open(&mut self, turn: &mut Turn<'_>, plain: &mut Input) -> Result<(), Action>;

    /// Encodes output: appends to `sealed` the bytes that are sent instead of `plain` (at most 16 KiB).
    fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>);

    /// Appends to `sealed` the goodbye, which shows the client that nothing is missing. Called at most once, and last.
    fn goodbye(&mut self, sealed: &mut Vec<u8>);
}

/// The maximum content of a TLS record.
pub(in super::super) const RECORD: usize = 16 * 1024;
/// The limit of bytes of a connection that are sealed and unsent.
pub(in super::super) const SEALED_AHEAD: usize = 64 * 1024;
