//! Reads frames from the bytes of one turn, and writes the replies to pings and closes, with the codec of
//! `tungstenite`, which reads until its input is used up. It gets one frame at a time, so it is empty between two
//! messages and need not be kept.

use std::io::{self, Cursor, Read, Write};

use tungstenite::error::Error;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::OpCode;
use tungstenite::protocol::{Message as Frame, Role, WebSocketConfig, WebSocketContext};

use super::message::{Close, Message};
use crate::raw::{Input, Output};

/// The codec of one connection, from the first byte of a message to its last.
pub(super) struct Codec {
    context: Box<WebSocketContext>,
    /// How many bytes of this frame the context has not received yet.
    left: u64,
    /// Whether a fragmented message is in progress.
    in_fragments: bool,
    /// How many bytes of the message in progress it has.
    pub(super) held: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    Message(Message),
    Nothing,
    /// The client has closed. If it was the first to close, the response has been written.
    Closed(Close),
    /// The client violated the protocol: close with this code.
    Broken(Close),
}

/// The stream of the context: reads from the input, and writes to the output.
struct Pipe<'a> {
    input: &'a mut Input,
    output: &'a mut Output,
    left: &'a mut u64,
}

/// How much the context reads at once, and the size of its buffer.
const READ: usize = 4096;

impl Codec {
    /// Creates a codec. `most` is the maximum length of a message in bytes.
    pub(super) fn new(most: usize) -> Codec {
        let config =
            WebSocketConfig::default().read_buffer_size(READ).max_message_size(Some(most)).max_frame_size(Some(most));
        let context = Box::new(WebSocketContext::new(Role::Server, Some(config)));
        Codec { context, left: 0, in_fragments: false, held: 0 }
    }

    /// Returns whether a message has begun but is incomplete.
    pub(super) fn is_midway(&self) -> bool {
        self.left > 0 || self.in_fragments
    }

    /// Reads up to the end of one message. Responds to pings on the way.
    pub(super) fn receive(&mut self, input: &mut Input, output: &mut Output) -> Received {
        let before = input.bytes().len();
        let received = self.receive_frames(input, output);
        self.held += before - input.bytes().len();
        if !self.is_midway() {
            self.held = 0;
        }
        received
    }

    fn receive_frames(&mut self, input: &mut Input, output: &mut Output) -> Received {
        loop {
            if self.left == 0 && !self.begin_frame(input) {
                return Received::Nothing;
            }
            let mut pipe = Pipe { input: &mut *input, output: &mut *output, left: &mut self.left };
            let result = self.context.read(&mut pipe);
            let answered = self.context.flush(&mut pipe); // a ping or a close
            match result {
                Ok(Frame::Text(text)) => return Received::Message(Message::Text(text.as_str().to_owned())),
                Ok(Frame::Binary(bytes)) => return Received::Message(Message::Binary(bytes.into())),
                Ok(Frame::Close(frame)) => return Received::Closed(Close::received(frame)),
                Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_)) => {}
                Err(Error::Io(_)) => {
                    // The only error of `Pipe` is `WouldBlock`.
                    if self.left > 0 {
                        return Received::Nothing;
                    }
                }
                Err(err) => return Received::Broken(fault(&err)),
            }
            debug_assert!(answered.is_ok(), "writing to memory does not fail: {answered:?}");
        }
    }

    /// Determines the length of the next frame. Returns false if its head is incomplete.
    fn begin_frame(&mut self, input: &Input) -> bool {
        let mut head = Cursor::new(input.bytes());
        match FrameHeader::parse(&mut head) {
            Ok(Some((header, length))) => {
                self.left = length.saturating_add(head.position());
                if let OpCode::Data(_) = header.opcode {
                    self.in_fragments = !header.is_final;
                }
                true
            }
            Ok(None) => false,
            Err(_) => {
                self.left = input.bytes().len() as u64; // the context reports the same error
                true
            }
        }
    }

    /// Begins the closing handshake, or writes why the connection fails.
    pub(super) fn close(&mut self, close: &Close, input: &mut Input, output: &mut Output) {
        let mut pipe = Pipe { input, output, left: &mut self.left };
        // Writing to memory does not fail. A client that has closed already gets nothing more.
        let _ = self.context.close(&mut pipe, Some(close.frame()));
    }
}

/// Returns the close code for an error (RFC 6455, section 7.4.1).
fn fault(err: &Error) -> Close {
    match err {
        Error::Utf8(_) => Close::new(1007, "text must be UTF-8"),
        Error::Capacity(_) => Close::new(1009, "the message is too long"),
        Error::Protocol(err) => Close::new(1002, err.to_string()),
        err => Close::new(1002, err.to_string()),
    }
}

impl Read for Pipe<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(*self.left).unwrap_or(usize::MAX);
        let count = left.min(self.input.bytes().len()).min(room.len());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        room[..count].copy_from_slice(&self.input.bytes()[..count]);
        self.input.consume(count);
        *self.left -= count as u64;
        Ok(count)
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.bytes().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A ping without a payload.
pub(super) const PING: [u8; 2] = [0x89, 0];

#[cfg(test)]
mod tests {
    use super::*;

    /// Each conversation: what arrives, what is received, how many bytes of an incomplete message are held, and whether
    /// there is one.
    #[test]
    fn conversations() {
        let huge = [&[0x82, 0xff][..], &[0xff; 8], &[0; 4]].concat();
        type Step<'a> = (&'a [u8], &'a str, usize, bool);
        let conversations: [&[Step<'_>]; 5] = [
            &[
                (&[0x82], "nothing", 0, false),
                (&[0x84, 0, 0, 0, 0, 1], "nothing", 7, true),
                (&[2], "nothing", 8, true),
                (&[3, 4], "message [1, 2, 3, 4]", 0, false),
                (&[0x89, 0x80, 0, 0, 0, 0], "nothing", 0, false), // a ping
                (&[0x82, 0x88, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8], "message [1, 2, 3, 4, 5, 6, 7, 8]", 0, false),
                (&[0x02, 0x81, 0, 0, 0, 0, 1, 0x89], "nothing", 7, true), // and the first byte of a ping
                (&[0x80, 0, 0, 0, 0], "nothing", 13, true),
                (&[0x80, 0x87, 0, 0, 0, 0, 2, 3, 4, 5, 6, 7, 8], "message [1, 2, 3, 4, 5, 6, 7, 8]", 0, false),
                (&[0x88, 0x82, 0, 0, 0, 0, 3, 233], "closed 1001", 0, false),
            ],
            // longer than the limit: in one frame, and together
            &[(&[0x82, 0x89, 0, 0, 0, 0], "broken 1009", 6, true)],
            &[
                (&[0x02, 0x81, 0, 0, 0, 0, 1], "nothing", 7, true),
                (&[0x80, 0x88, 0, 0, 0, 0, 2, 3, 4, 5, 6, 7, 8, 9], "broken 1009", 0, false),
            ],
            &[(&huge, "broken 1009", 14, true)],
            &[
                (&[0x83, 0x80], "nothing", 0, false), // an unknown kind of frame
                (&[0, 0, 0, 0], "broken 1002", 0, false),
            ],
        ];
        for (number, conversation) in conversations.into_iter().enumerate() {
            let (mut codec, mut input, mut output) = (Codec::new(8), Input::new(), Output::new());
            for (at, &(bytes, expected, held, is_midway)) in conversation.iter().enumerate() {
                input.extend(bytes);
                let received = match codec.receive(&mut input, &mut output) {
                    Received::Message(message) => format!("message {:?}", message.as_bytes()),
                    Received::Nothing => String::from("nothing"),
                    Received::Closed(close) => format!("closed {}", close.code),
                    Received::Broken(close) => format!("broken {}", close.code),
                };
                let found = (&*received, codec.held, codec.is_midway());
                assert_eq!(found, (expected, held, is_midway), "conversation {number}, step {at}");
            }
        }
    }
}
