//! A body that is read while it is sent.
//! Made by `answer`; pulled by `conversation` in turns that may block.

use std::io;

use crate::tcp::Output;

/// What is left to read of an answer's body.
pub(crate) struct Source {}

/// What came of one pull.
pub(crate) enum Pulled {
    /// There is, or may be, more.
    More,
    /// All of it is in the output.
    Done,
    /// The promise can't be kept: abort.
    Broken(io::Error),
}

impl Source {
    /// Read once, at most 64 KiB, into the output, framed as the head promised.
    pub(crate) fn pull(&mut self, output: &mut Output) -> Pulled {
        let _ = output;
        Pulled::Done
    }

    /// How many bytes of body went into the output so far.
    pub(crate) fn sent(&self) -> u64 {
        0
    }
}
