//! The unread rest of a request's body. It is received and dropped, while the response is sent or after it.
//! `connection` creates one whenever part of a body is left. It decides what follows a response, whatever kind of
//! response it is.

use super::chunked::Step;
use super::decoder::BodyDecoder;
use crate::tcp::Input;

/// The longest rest that is received and dropped in order to keep the connection, in bytes with framing. For a longer
/// rest a new connection costs the client less.
const MAX_DISCARDED: u64 = 64 * 1024;

/// The part of a body that has not arrived.
pub(crate) struct UnreadBody {
    decoder: BodyDecoder,
    /// Whether it will certainly be sent. A client that waits for `100 Continue` may or may not send it.
    is_certain: bool,
    /// The maximum length that the handler has accepted.
    limit: u64,
    /// How many bytes were dropped.
    dropped: u64,
}

/// The progress of discarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiscardProgress {
    More,
    Done,
    /// It is too long or malformed: its end cannot be found.
    TooMuch,
}

impl UnreadBody {
    /// The part of the body that this decoder has not seen. `limit` is the maximum length of a body.
    pub(crate) fn new(decoder: BodyDecoder, is_certain: bool, limit: u64) -> UnreadBody {
        UnreadBody { decoder, is_certain, limit, dropped: 0 }
    }

    /// For a body whose end is unknown.
    pub(crate) fn without_end(limit: u64) -> UnreadBody {
        UnreadBody::new(BodyDecoder::Sized(u64::MAX), false, limit)
    }

    /// Whether the rest is dropped after the response, so that the next request can be read.
    pub(crate) fn keeps_the_connection(&self) -> bool {
        self.is_certain && self.dropped.saturating_add(self.decoder.announced()) <= MAX_DISCARDED
    }

    /// Drops what has arrived, before the next request is read.
    pub(crate) fn drop_before_the_next(&mut self, input: &mut Input) -> DiscardProgress {
        self.drop_up_to(MAX_DISCARDED, input)
    }

    /// Drops what has arrived while the response is sent: up to as much as the handler would have accepted.
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
        // An incomplete line stays in the input; `chunked` limits its length.
        if self.dropped > most { DiscardProgress::TooMuch } else { progress }
    }
}
