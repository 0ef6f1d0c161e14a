//! Messages and closes, and their encoding.

use std::sync::Arc;

use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};

/// A complete message. A `&str`, a `String` and bytes can be converted into a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text; in a page, a string.
    Text(String),
    /// Bytes; in a page, a `Blob` or an `ArrayBuffer`.
    Binary(Vec<u8>),
}

/// How the connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Close {
    /// The close code (RFC 6455, section 7.4.1). Clients mostly send 1000 or 1001. 1005 means that the client sent no
    /// code, and 1006 that the connection ended without a close. If the server was the first to close, this is its
    /// code.
    pub code: u16,
    /// The reason as text, often empty.
    pub reason: String,
}

impl Message {
    /// Returns the text of a text message.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Message::Text(text) => Some(text),
            Message::Binary(_) => None,
        }
    }

    /// Returns the bytes of any message.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    pub(super) fn encode(self) -> Arc<Vec<u8>> {
        let frame = match self {
            Message::Text(text) => Frame::message(text, OpCode::Data(Data::Text), true),
            Message::Binary(bytes) => Frame::message(bytes, OpCode::Data(Data::Binary), true),
        };
        let mut bytes = Vec::with_capacity(frame.len());
        let written = frame.format(&mut bytes);
        debug_assert!(written.is_ok(), "writing to memory does not fail");
        Arc::new(bytes)
    }
}

impl Close {
    /// The maximum length of a reason in bytes: a control frame has up to 125 bytes, two of them for the code.
    const REASON: usize = 123;

    /// Creates a close with this code and reason, to test a handler with it. A reason of more than 123 bytes is cut.
    pub fn new(code: u16, reason: impl Into<String>) -> Close {
        let mut reason = reason.into();
        let end = (0..=Close::REASON.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end));
        reason.truncate(end.unwrap_or_default());
        Close { code, reason }
    }

    /// Returns the close of a connection that ended without a close frame.
    pub(super) fn abnormal() -> Close {
        Close::new(1006, "")
    }

    pub(super) fn too_slow() -> Close {
        Close::new(1008, "read too slowly")
    }

    pub(super) fn received(frame: Option<CloseFrame>) -> Close {
        frame.map_or(Close::new(1005, ""), |frame| Close::new(frame.code.into(), frame.reason.as_str()))
    }

    pub(super) fn frame(&self) -> CloseFrame {
        CloseFrame { code: self.code.into(), reason: self.reason.as_str().into() }
    }

    /// Returns whether an endpoint can send this code (RFC 6455, section 7.4).
    pub(super) fn may_be_sent(code: u16) -> bool {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Message {
        Message::Text(text.to_owned())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Message {
        Message::Text(text)
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Message {
        Message::Binary(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Message {
        Message::Binary(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_kinds() {
        for (message, head) in [
            (Message::from(""), &[0x81, 0][..]),
            ("abc".into(), &[0x81, 3]),
            (Message::from(&[1u8, 2][..]), &[0x82, 2]),
            (vec![0u8; 125].into(), &[0x82, 125]),
            (vec![0u8; 126].into(), &[0x82, 126, 0, 126]),
            (vec![0u8; 65_536].into(), &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let bytes = message.clone().encode();
            let (start, rest) = bytes.split_at(head.len());
            assert!(start == head && rest == message.as_bytes(), "{} bytes: {start:?}", message.as_bytes().len());
        }
    }

    #[test]
    fn reasons_fit_into_a_frame() {
        for (reason, length) in [("", 0), ("gone", 4), (&"x".repeat(123), 123), (&"x".repeat(124), 123)] {
            assert_eq!(Close::new(1000, reason).reason.len(), length, "{reason}");
        }
        assert_eq!(Close::new(1000, "é".repeat(62)).reason, "é".repeat(61), "a reason is cut between two characters");
    }
}
