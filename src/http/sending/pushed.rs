//! A response body that other threads push: the queued bytes, in the framing that the head announced.

use std::time::Duration;

use crate::http::live::{PushedBody, PushedEnd};
use crate::tcp::{MayBlock, Output, Waker};

/// About how many bytes are taken from the queue at a time.
const MOST: usize = 64 * 1024;

/// The part of a pushed body that is not sent yet.
pub(crate) struct PushedStream {
    body: PushedBody,
    /// Whether the body is sent in chunks (RFC 9112, section 7.1); otherwise it ends with the connection.
    chunked: bool,
    sent: u64,
    /// Whether the client has ended its side, and was sent a heartbeat to find out whether it still reads.
    is_probed: bool,
}

/// The result of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushedProgress {
    /// Bytes were written, and more may be queued.
    More,
    /// As `More`. There is also room again, so the sender has to be called in a turn that may block.
    Room,
    /// Nothing is queued. The sender calls the connection when it has sent something.
    Waiting,
    /// The end of the body.
    Done,
    /// The body is incomplete: reset the connection.
    Broken,
}

impl PushedStream {
    pub(crate) fn new(body: PushedBody, chunked: bool) -> PushedStream {
        PushedStream { body, chunked, sent: 0, is_probed: false }
    }

    pub(crate) fn attach(&self, waker: Waker) {
        self.body.attach(waker);
    }

    /// Appends the queued bytes to the output.
    pub(crate) fn write(&mut self, output: &mut Output) -> PushedProgress {
        let taken = self.body.take(MOST);
        let length: usize = taken.pieces.iter().map(|piece| piece.len()).sum();
        self.frame(length, taken.pieces.iter().map(|piece| &**piece), output);
        match taken.end {
            Some(PushedEnd::Broken) => PushedProgress::Broken,
            Some(PushedEnd::Complete) => {
                self.finish(output);
                PushedProgress::Done
            }
            None if taken.room => PushedProgress::Room,
            None if length > 0 => PushedProgress::More,
            None => PushedProgress::Waiting,
        }
    }

    /// Calls the sender.
    pub(crate) fn call_for_more(&self, may_block: MayBlock) {
        self.body.call_for_more(may_block);
    }

    /// Returns the time without bytes after which a heartbeat or the end is due.
    pub(crate) fn silence(&self) -> Option<Duration> {
        self.body.heartbeat().map(|(every, _)| every).or(self.body.idle_timeout(self.is_probed))
    }

    /// Called when nothing was sent for that time. Returns false if the connection must be reset.
    pub(crate) fn write_heartbeat(&mut self, output: &mut Output) -> bool {
        let Some((_, bytes)) = self.body.heartbeat() else { return false };
        self.frame(bytes.len(), std::iter::once(bytes), output);
        true
    }

    /// Called when the client has ended its side. To find out whether it still reads or has disconnected, a heartbeat
    /// is sent, if there is one: the system of a client that has disconnected sends a reset.
    pub(crate) fn probe(&mut self, output: &mut Output) {
        if !std::mem::replace(&mut self.is_probed, true) {
            self.write_heartbeat(output);
        }
    }

    /// Called at a shutdown. Writes the queued bytes, the farewell and the end. Returns false if the sender has to end
    /// the body.
    pub(crate) fn write_farewell(&mut self, output: &mut Output) -> bool {
        self.body.begin_shutdown();
        let has_farewell = self.body.farewell().is_some();
        if has_farewell {
            self.write_rest(output);
        }
        has_farewell
    }

    /// Writes the queued bytes, the farewell if there is one, and the end.
    pub(crate) fn write_rest(&mut self, output: &mut Output) {
        let taken = self.body.take(usize::MAX);
        let pieces = taken.pieces.iter().map(|piece| &**piece).chain(self.body.farewell());
        let length = pieces.clone().map(<[u8]>::len).sum();
        let pieces: Vec<&[u8]> = pieces.collect();
        self.frame(length, pieces.into_iter(), output);
        self.finish(output);
    }

    /// Returns how many bytes of the body were appended to the output so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Writes all pieces as one chunk, because each chunk costs a line for its size.
    fn frame<'a>(&mut self, length: usize, pieces: impl Iterator<Item = &'a [u8]>, output: &mut Output) {
        if length == 0 {
            return; // a chunk without bytes would end the body
        }
        self.sent += length as u64;
        let out = output.bytes();
        if self.chunked {
            out.extend_from_slice(format!("{length:x}\r\n").as_bytes());
        }
        pieces.for_each(|piece| out.extend_from_slice(piece));
        if self.chunked {
            out.extend_from_slice(b"\r\n");
        }
    }

    fn finish(&self, output: &mut Output) {
        if self.chunked {
            output.bytes().extend_from_slice(b"0\r\n\r\n");
        }
    }
}
