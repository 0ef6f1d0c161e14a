//! What lies between the bytes of a client and a conversation inside another. Written by an outer conversation, asked by
//! `inner`, and by `layered` once the socket was taken.

use super::input::Input;
use super::protocol::{Next, Turn};

/// What lies between the bytes of a client and an inner conversation, for [`Inner`](crate::raw::Inner): how the former become the latter's
/// input, and its output the former.
pub trait Layer: Send {
    /// Take from `turn.input` all that something can be made of, and append to `plain` what comes of it; at the goodbye
    /// of the client [end](Input::end) it, and take and drop what follows. What is left in `turn.input` is the
    /// beginning of something, and counts as nothing until the rest comes: no more than 64 KiB. Answers of the layer's
    /// own (another key) go to `turn.output`. Of a stream that was [taken](crate::raw::Inner::take) they are sent at once if
    /// that takes no waiting, and else ahead of what is written next.
    ///
    /// Where the bytes end without a goodbye, [`Inner`](crate::raw::Inner) [cuts](Input::cut) `plain` itself.
    ///
    /// # Errors
    /// What the outer conversation says if the bytes are broken: [`Next::Abort`], or [`Next::Linger`] after an alert
    /// has been laid into `turn.output`. The inner conversation is not asked any more.
    fn open(&mut self, turn: &mut Turn<'_>, plain: &mut Input) -> Result<(), Next>;

    /// Append to `sealed` what is sent in place of these bytes, of which there are at most 16 KiB.
    fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>);

    /// Append to `sealed` what tells the client that nothing is missing. Called at most once, and last.
    fn goodbye(&mut self, sealed: &mut Vec<u8>);
}

/// A record of TLS holds no more.
pub(super) const RECORD: usize = 16 * 1024;
