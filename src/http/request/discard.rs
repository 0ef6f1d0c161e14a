//! The rest of a request whose body was declined: received and dropped, so that its connection can be kept.

use super::chunked::{ChunkedDecoder, Step};
use super::framing::BodyLength;

/// The longest declined body that is received and dropped, in bytes, framing included; beyond it the connection is
/// closed, which costs the client less.
const MAX_DISCARDED: u64 = 64 * 1024;

/// A body that is being dropped.
pub(crate) struct DiscardedBody {
    decoder: Decoder,
    /// How many bytes may still be spent on it.
    budget: u64,
}

enum Decoder {
    Sized(u64),
    Chunked(ChunkedDecoder),
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
    /// `None`: it is known to be too long.
    pub(crate) fn new(length: BodyLength) -> Option<DiscardedBody> {
        let decoder = match length {
            BodyLength::None => Decoder::Sized(0),
            BodyLength::Known(length) if length <= MAX_DISCARDED => Decoder::Sized(length),
            BodyLength::Known(_) => return None,
            BodyLength::Chunked => Decoder::Chunked(ChunkedDecoder::new()),
        };
        Some(DiscardedBody { decoder, budget: MAX_DISCARDED })
    }

    /// How many bytes of input were used, and how far it is.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> (usize, DiscardProgress) {
        let (used, progress) = match &mut self.decoder {
            Decoder::Sized(left) => {
                let count = (*left).min(bytes.len() as u64);
                *left -= count;
                (count as usize, if *left == 0 { DiscardProgress::Done } else { DiscardProgress::More })
            }
            Decoder::Chunked(decoder) => drop_chunks(decoder, bytes),
        };
        // An incomplete line stays in the input, where `chunked` bounds it.
        let spent = used as u64 > self.budget;
        self.budget = self.budget.saturating_sub(used as u64);
        (used, if spent { DiscardProgress::TooMuch } else { progress })
    }
}

fn drop_chunks(decoder: &mut ChunkedDecoder, bytes: &[u8]) -> (usize, DiscardProgress) {
    let mut used = 0;
    loop {
        match decoder.step(&bytes[used..], usize::MAX) {
            Ok((count, Step::Data(_))) => used += count,
            Ok((count, Step::NeedInput)) => return (used + count, DiscardProgress::More),
            Ok((count, Step::End)) => return (used + count, DiscardProgress::Done),
            Err(_) => return (used, DiscardProgress::TooMuch),
        }
    }
}
