//! A response body that other threads push: the queued bytes, in the framing that the head announced.

use std::time::Duration;

use super::stream::StreamFraming;
use crate::http::live::{AtShutdown, PushedBody, PushedEnd};
use crate::tcp::Output;

/// About how many bytes are taken from the queue at a time.
const MOST: usize = 64 * 1024;

/// The part of a pushed body that is not sent yet.
pub(crate) struct PushedStream {
    pub(crate) body: PushedBody,
    framing: StreamFraming,
    /// How many bytes of the body were appended to the output so far.
    pub(crate) sent: u64,
    /// Why the body can't be completed: the sender has sent more or fewer bytes than the head announced.
    pub(crate) fault: Option<String>,
    /// Whether the client has closed its sending side, and was sent a heartbeat to find out whether it still reads.
    is_probed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushedProgress {
    /// Bytes were written, and more may be queued.
    More,
    /// As `More`. There is also room again, so the sender has to be called in a turn that may block.
    Room,
    /// Nothing is queued. The sender calls the connection when it has sent something.
    Waiting,
    Done,
    /// The body is incomplete: reset the connection.
    Broken,
}

impl PushedStream {
    pub(crate) fn new(body: PushedBody, framing: StreamFraming) -> PushedStream {
        PushedStream { body, framing, sent: 0, fault: None, is_probed: false }
    }

    pub(crate) fn write(&mut self, output: &mut Output) -> PushedProgress {
        let taken = self.body.take(MOST);
        let pieces: Vec<&[u8]> = taken.pieces.iter().map(|piece| &**piece).collect();
        self.frame(&pieces, output);
        match taken.end {
            _ if self.fault.is_some() => PushedProgress::Broken,
            Some(PushedEnd::Broken) => PushedProgress::Broken,
            Some(PushedEnd::Complete) => self.finish(output),
            None if taken.room => PushedProgress::Room,
            None if !pieces.is_empty() => PushedProgress::More,
            None => PushedProgress::Waiting,
        }
    }

    /// Returns the time without bytes after which a heartbeat or the end is due.
    pub(crate) fn silence(&self) -> Option<Duration> {
        self.body.heartbeat().map(|(every, _)| every).or(self.body.idle_timeout(self.is_probed))
    }

    /// Called when nothing was sent for that time. Returns false if the connection must be reset.
    pub(crate) fn write_heartbeat(&mut self, output: &mut Output) -> bool {
        let Some((_, bytes)) = self.body.heartbeat() else { return false };
        self.frame(&[bytes], output);
        self.fault.is_none()
    }

    /// Called when the client has closed its sending side. To find out whether it still reads or has disconnected, a
    /// heartbeat is sent, if there is one: the system of a client that has disconnected sends a reset.
    pub(crate) fn probe(&mut self, output: &mut Output) {
        if !std::mem::replace(&mut self.is_probed, true) {
            self.write_heartbeat(output);
        }
    }

    /// Ends the body at a shutdown. `Waiting`: its sender has to end it.
    pub(crate) fn write_farewell(&mut self, output: &mut Output) -> PushedProgress {
        match self.body.at_shutdown() {
            AtShutdown::Ends(_) => self.write_rest(output),
            AtShutdown::Continues => PushedProgress::Waiting,
            #[cfg(feature = "proxy")]
            AtShutdown::Breaks => PushedProgress::Broken,
        }
    }

    /// Appends the queued bytes, and the end of a body that ends only with the server: for a response without a
    /// connection.
    pub(crate) fn write_now(&mut self, output: &mut Output) -> PushedProgress {
        match self.body.at_shutdown() {
            AtShutdown::Ends(_) => self.write_rest(output),
            _ => self.write(output),
        }
    }

    /// Writes the queued bytes, the last ones at a shutdown if there are any, and the end, unless the sender has
    /// aborted it.
    pub(crate) fn write_rest(&mut self, output: &mut Output) -> PushedProgress {
        let taken = self.body.take_last();
        if taken.end == Some(PushedEnd::Broken) {
            return PushedProgress::Broken;
        }
        let farewell = if let AtShutdown::Ends(bytes) = self.body.at_shutdown() { Some(bytes) } else { None };
        let pieces: Vec<&[u8]> = taken.pieces.iter().map(|piece| &**piece).chain(farewell).collect();
        self.frame(&pieces, output);
        self.finish(output)
    }

    /// Writes all pieces as one chunk, because each chunk costs a line for its size. No piece is written if the body
    /// would become longer than announced: a client would read the rest as the next response.
    fn frame(&mut self, pieces: &[&[u8]], output: &mut Output) {
        let length = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        if length == 0 || self.fault.is_some() {
            return; // a chunk without bytes would end the body
        }
        if let StreamFraming::Remaining(left) = &mut self.framing {
            match left.checked_sub(length as u64) {
                Some(rest) => *left = rest,
                None => return self.fault = Some("the body is longer than its Content-Length".into()),
            }
        }
        self.sent += length as u64;
        let (out, is_chunk) = (output.bytes(), self.framing == StreamFraming::Chunked);
        if is_chunk {
            out.extend_from_slice(format!("{length:x}\r\n").as_bytes());
        }
        pieces.iter().for_each(|piece| out.extend_from_slice(piece));
        if is_chunk {
            out.extend_from_slice(b"\r\n");
        }
    }

    fn finish(&mut self, output: &mut Output) -> PushedProgress {
        match self.framing {
            _ if self.fault.is_some() => return PushedProgress::Broken,
            StreamFraming::Remaining(left @ 1..) => {
                self.fault = Some(format!("the body ended {left} bytes too early"));
                return PushedProgress::Broken;
            }
            StreamFraming::Chunked => output.bytes().extend_from_slice(b"0\r\n\r\n"),
            StreamFraming::Remaining(0) | StreamFraming::UntilClose => {}
        }
        PushedProgress::Done
    }
}
