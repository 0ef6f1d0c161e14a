//! The unread rest of a request's body, which is received and dropped while the response is sent, or after it. Created
//! by `connection` and `arriving` whenever part of a body is left. It decides whether the next request can follow the
//! response.

use super::chunked::Step;
use super::decoder::BodyDecoder;
use crate::tcp::Input;

/// The longest rest that is received and dropped to keep the connection, in bytes including framing. If the rest is
/// longer, a new connection costs the client less.
const MAX_DISCARDED: u64 = 64 * 1024;

/// The part of a body that has not arrived.
pub(crate) struct UnreadBody {
    decoder: BodyDecoder,
    /// Whether the client will certainly send it. A client that waits for `100 Continue` may or may not.
    is_certain: bool,
    /// The maximum length that the handler has accepted.
    limit: u64,
    dropped: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiscardProgress {
    More,
    Done,
    /// The rest is too long or malformed, so its end cannot be found.
    TooMuch,
}

impl UnreadBody {
    /// Creates the rest of a body after the part that this decoder has decoded. `limit` is the maximum length of a
    /// body.
    pub(crate) fn new(decoder: BodyDecoder, is_certain: bool, limit: u64) -> UnreadBody {
        UnreadBody { decoder, is_certain, limit, dropped: 0 }
    }

    /// Creates the rest of a body whose end is unknown.
    pub(crate) fn without_end(limit: u64) -> UnreadBody {
        UnreadBody::new(BodyDecoder::Sized(u64::MAX), false, limit)
    }

    /// Returns whether the rest is dropped after the response, so that the next request can be read.
    pub(crate) fn keeps_the_connection(&self) -> bool {
        self.is_certain && self.dropped.saturating_add(self.decoder.announced()) <= MAX_DISCARDED
    }

    /// Drops bytes that have arrived, before the next request is read.
    pub(crate) fn drop_before_the_next(&mut self, input: &mut Input) -> DiscardProgress {
        self.drop_up_to(MAX_DISCARDED, input)
    }

    /// Drops bytes that arrive while the response is sent, up to the length that the handler would have accepted.
    pub(crate) fn drop_meanwhile(&mut self, input: &mut Input) -> DiscardProgress {
        self.drop_up_to(self.limit.max(MAX_DISCARDED), input)
    }

    fn drop_up_to(&mut self, most: u64, input: &mut Input) -> DiscardProgress {
        loop {
            let Ok((count, step)) = self.decoder.step(input.bytes(), usize::MAX) else {
                return DiscardProgress::TooMuch;
            };
            let progress = match step {
                Step::NeedInput => Some(DiscardProgress::More),
                Step::End => Some(DiscardProgress::Done),
                Step::Data(_) => None,
            };
            input.consume(count);
            self.dropped += count as u64;
            match progress {
                // An incomplete line stays in the input; `chunked` limits its length.
                Some(_) if self.dropped > most => return DiscardProgress::TooMuch,
                Some(progress) => return progress,
                None => {}
            }
        }
    }
}
