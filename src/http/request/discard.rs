//! The rest of a request whose body was declined: received and dropped, so that its connection can be kept.

use super::chunked::Step;
use super::decoder::BodyDecoder;

/// The longest declined body that is received and dropped, in bytes, framing included; beyond it the connection is
/// closed, which costs the client less.
const MAX_DISCARDED: u64 = 64 * 1024;

/// A body that is being dropped.
pub(crate) struct DiscardedBody {
    decoder: BodyDecoder,
    /// How many bytes may still be spent on it.
    budget: u64,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiscardProgress {
    More,
    Done,
    /// It is too long, or not well-formed: its end can't be found.
    TooMuch,
}

impl DiscardedBody {
    /// What this decoder has not seen yet. `None`: it is known to be too long.
    pub(crate) fn new(decoder: BodyDecoder) -> Option<DiscardedBody> {
        match decoder {
            BodyDecoder::Sized(left) if left > MAX_DISCARDED => None,
            decoder => Some(DiscardedBody { decoder, budget: MAX_DISCARDED }),
        }
    }

    /// How many bytes of input were used, and how far it is.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> (usize, DiscardProgress) {
        let mut used = 0;
        let progress = loop {
            match self.decoder.step(&bytes[used..], usize::MAX) {
                Ok((count, Step::Data(_))) => used += count,
                Ok((count, Step::NeedInput)) => {
                    used += count;
                    break DiscardProgress::More;
                }
                Ok((count, Step::End)) => {
                    used += count;
                    break DiscardProgress::Done;
                }
                Err(_) => break DiscardProgress::TooMuch,
            }
        };
        // An incomplete line stays in the input, where `chunked` bounds it.
        let spent = used as u64 > self.budget;
        self.budget = self.budget.saturating_sub(used as u64);
        (used, if spent { DiscardProgress::TooMuch } else { progress })
    }
}
