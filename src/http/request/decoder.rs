//! Finds the end of a body by its framing: a length, or chunks. It stores no bytes.

use super::chunked::{ChunkedDecoder, Step};
use super::framing::BodyLength;
use crate::http::rejection::Rejection;

#[derive(Clone, Debug)]
pub(crate) enum BodyDecoder {
    /// This many bytes have not arrived.
    Sized(u64),
    Chunked(ChunkedDecoder),
}

impl BodyDecoder {
    pub(crate) fn new(length: BodyLength) -> BodyDecoder {
        match length {
            BodyLength::None => BodyDecoder::Sized(0),
            BodyLength::Known(length) => BodyDecoder::Sized(length),
            BodyLength::Chunked => BodyDecoder::Chunked(ChunkedDecoder::new()),
        }
    }

    /// Returns how many bytes of input are used, and what they are: up to `max` bytes of the body at a time. If there
    /// is data and `max` is 0, the data is empty.
    pub(crate) fn step<'a>(&mut self, bytes: &'a [u8], max: usize) -> Result<(usize, Step<'a>), Rejection> {
        match self {
            BodyDecoder::Sized(0) => Ok((0, Step::End)),
            BodyDecoder::Sized(_) if bytes.is_empty() => Ok((0, Step::NeedInput)),
            BodyDecoder::Sized(left) => {
                let count = (*left).min(bytes.len().min(max) as u64);
                *left -= count;
                Ok((count as usize, Step::Data(&bytes[..count as usize])))
            }
            BodyDecoder::Chunked(decoder) => decoder.step(bytes, max),
        }
    }

    /// Returns how many bytes of the body are announced and not decoded yet, if known.
    pub(crate) fn announced(&self) -> u64 {
        match self {
            BodyDecoder::Sized(left) => *left,
            BodyDecoder::Chunked(decoder) => decoder.remaining(),
        }
    }
}
