//! The rest of a request's body that nobody reads: received and dropped, while its response is under way or after it.
//! Made by `connection` wherever a body is left; what follows a response depends on it, whatever kind of response it is.

use super::chunked::Step;
use super::decoder::BodyDecoder;
use crate::tcp::Input;

/// The longest rest that is received and dropped so that the connection can be kept, in bytes, framing included; beyond it
/// the connection is closed, which costs the client less.
const MAX_DISCARDED: u64 = 64 * 1024;

/// What is still to come of a body.
pub(crate) struct UnreadBody {
    decoder: BodyDecoder,
    /// It is sure to be sent. A client that waits for `100 Continue` may send it or not.
    is_certain: bool,
    /// How long a body its handler has accepted.
    limit: u64,
    /// How many bytes were dropped.
    dropped: u64,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiscardProgress {
    More,
    Done,
    /// It is too long, or not well-formed: its end can't be found.
    TooMuch,
}

impl UnreadBody {
    /// What this decoder has not seen yet. `limit`: how long a body may be.
    pub(crate) fn new(decoder: BodyDecoder, is_certain: bool, limit: u64) -> UnreadBody {
        UnreadBody { decoder, is_certain, limit, dropped: 0 }
    }

    /// Of a body whose end is not known.
    pub(crate) fn without_end(limit: u64) -> UnreadBody {
        UnreadBody::new(BodyDecoder::Sized(u64::MAX), false, limit)
    }

    /// Whether it is dropped after the response, and the next request awaited behind it.
    pub(crate) fn keeps_the_connection(&self) -> bool {
        self.is_certain && self.dropped.saturating_add(self.decoder.announced()) <= MAX_DISCARDED
    }

    /// Drop what has come, before the next request is read.
    pub(crate) fn drop_before_the_next(&mut self, input: &mut Input) -> DiscardProgress {
        self.drop_up_to(MAX_DISCARDED, input)
    }

    /// Drop what has come while the response is under way: as much as the handler would have taken.
    pub(crate) fn drop_meanwhile(&mut self, input: &mut Input) -> DiscardProgress {
        self.drop_up_to(self.limit.max(MAX_DISCARDED), input)
    }

    fn drop_up_to(&mut self, most: u64, input: &mut Input) -> DiscardProgress {
        let progress = loop {
            let (count, step) = match self.decoder.step(input.bytes(), usize::MAX) {
                Ok((count, step)) => (count, Some(step)),
                Err(_) => return DiscardProgress::TooMuch,
            };
            let progress = match step {
                Some(Step::NeedInput) => Some(DiscardProgress::More),
                Some(Step::End) => Some(DiscardProgress::Done),
                _ => None,
            };
            input.consume(count);
            self.dropped += count as u64;
            if let Some(progress) = progress {
                break progress;
            }
        };
        // An incomplete line stays in the input, where `chunked` bounds it.
        if self.dropped > most { DiscardProgress::TooMuch } else { progress }
    }
}
