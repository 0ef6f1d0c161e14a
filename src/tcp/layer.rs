//! The interface between the bytes of a client and a conversation inside another. Implemented by an outer conversation,
//! called by `inner`, and by `layered` once the socket has been taken.

use super::input::Input;
use super::protocol::{Next, Turn};

/// Converts between the bytes of a client and those of an inner conversation, for [`Inner`](crate::raw::Inner).
pub trait Layer: Send {
    /// Takes from `turn.input` everything that can be opened, and appends the result to `plain`. At the client's
    /// goodbye it [ends](Input::end) `plain`, and drops what follows. What is left in `turn.input` is incomplete and
    /// counts as nothing until the rest arrives, up to 64 KiB. The layer's own replies (such as another key) go to
    /// `turn.output`. For a [taken](crate::raw::Inner::take) stream they are sent at once if that needs no waiting, and
    /// otherwise before the next write.
    ///
    /// If the bytes end without a goodbye, [`Inner`](crate::raw::Inner) [cuts](Input::cut) `plain` itself.
    ///
    /// # Errors
    /// What the outer conversation returns if the bytes are invalid: [`Next::Abort`], or [`Next::Linger`] after an
    /// alert has been appended to `turn.output`. The inner conversation gets no further turn.
    fn open(&mut self, turn: &mut Turn<'_>, plain: &mut Input) -> Result<(), Next>;

    /// Appends to `sealed` what is sent for these bytes, of which there are up to 16 KiB.
    fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>);

    /// Appends to `sealed` the goodbye, which means that nothing is missing. Called at most once, and last.
    fn goodbye(&mut self, sealed: &mut Vec<u8>);
}

/// The maximum length of a TLS record.
pub(super) const RECORD: usize = 16 * 1024;
