//! Reading through a codec: opens all complete records that have arrived.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::time::Duration;

use log::debug;

use super::super::client::Client;
use super::super::input::Input;
use super::super::protocol::Action;
use super::super::stream::{LEAST_TIMEOUT, Source};
use super::super::sync::{self, Instant};
use super::super::sys::{self, Socket};
use super::sealing::Coded;

pub struct Opened {
    below: Box<dyn Source>,
    shared: Arc<Coded>,
    socket: Arc<Socket>,
    client: Client,
    raw: Input,
    plain: Input,
    limit: Option<Duration>,
    is_broken: bool,
    /// Whether the codec may hold bytes that it has received and not opened.
    is_unopened: bool,
}

impl Opened {
    pub fn new(
        below: Box<dyn Source>,
        shared: Arc<Coded>,
        socket: Arc<Socket>,
        client: Client,
        plain: Input,
    ) -> Opened {
        Opened {
            below,
            shared,
            socket,
            client,
            raw: Input::new(),
            plain,
            limit: None,
            is_broken: false,
            is_unopened: true,
        }
    }

    /// Reads until some bytes are opened, or to the end.
    fn receive(&mut self) -> io::Result<()> {
        let deadline = self.limit.and_then(|limit| sync::now().checked_add(limit));
        self.read_more()?;
        if !self.wants_more() {
            return Ok(());
        }
        // Only the beginning of a record has arrived: the wait for the rest continues with the same deadline.
        let result = self.receive_until(deadline);
        self.socket.set_read_timeout(self.limit)?;
        result
    }

    fn receive_until(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        while self.wants_more() {
            if let Some(deadline) = deadline {
                match deadline.saturating_duration_since(sync::now()) {
                    Duration::ZERO => return Err(io::ErrorKind::TimedOut.into()),
                    left => self.socket.set_read_timeout(Some(left.max(LEAST_TIMEOUT)))?,
                }
            }
            self.read_more()?;
        }
        Ok(())
    }

    fn wants_more(&self) -> bool {
        self.plain.is_empty() && !self.plain.ended()
    }

    fn read_more(&mut self) -> io::Result<()> {
        if self.is_broken {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the client broke the protocol"));
        }
        if self.raw.is_full() {
            self.break_off(&Action::Abort, "an incomplete record has more than 64 KiB");
            return Ok(());
        }
        if !std::mem::take(&mut self.is_unopened) {
            let (count, _) = self.raw.fill(|room| self.below.read(room))?;
            if count == 0 {
                self.raw.end();
            }
        }
        if let Err(next) = self.shared.open(&mut self.raw, &mut self.plain, &self.client) {
            self.break_off(&next, "the client broke the protocol");
            return Ok(());
        }
        if self.raw.ended() && !self.plain.ended() {
            match self.shared.reading_has_ended() {
                true => self.plain.end(),
                false => self.plain.cut(),
            }
        }
        Ok(())
    }

    /// Ends the stream with an error, after the bytes that were opened before.
    fn break_off(&mut self, next: &Action, why: &str) {
        debug!("the stream of {} was cut off: {why}", self.client);
        self.is_broken = true;
        if *next == Action::Abort {
            sys::cut_off(&self.socket);
        }
    }
}

impl Source for Opened {
    fn was_cut(&self) -> bool {
        self.is_broken || self.plain.is_empty() && self.plain.was_cut()
    }

    fn set_timeout(&mut self, limit: Option<Duration>) {
        self.limit = limit;
        self.below.set_timeout(limit);
    }
}

impl Read for Opened {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(bytes)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Opened {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.wants_more() {
            self.receive()?;
        }
        Ok(self.plain.bytes())
    }

    fn consume(&mut self, count: usize) {
        self.plain.consume(count.min(self.plain.bytes().len()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::protocol::{Codec, Turn, contained};
    use super::super::super::stream::SocketSink;
    use super::*;

    /// A client that has sent these bytes.
    struct Said(&'static [u8]);

    impl Source for Said {}

    impl Read for Said {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.0.read(bytes)
        }
    }

    impl BufRead for Said {
        fn fill_buf(&mut self) -> io::Result<&[u8]> {
            Ok(self.0)
        }

        fn consume(&mut self, count: usize) {
            self.0.consume(count);
        }
    }

    /// A codec that passes letters unchanged and treats all other bytes as violations of the protocol.
    struct Letters(Action);

    impl Codec for Letters {
        fn open(&mut self, turn: &mut Turn<'_>, plain: &mut Input) -> Result<(), Action> {
            let count = turn.input.bytes().iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
            plain.extend(&turn.input.bytes()[..count]);
            turn.input.consume(count);
            if turn.input.is_empty() { Ok(()) } else { Err(self.0.clone()) }
        }

        fn seal(&mut self, _: &[u8], _: &mut Vec<u8>) {}

        fn goodbye(&mut self, _: &mut Vec<u8>) {}
    }

    #[test]
    fn a_broken_stream_is_aborted_if_the_codec_requires_it() {
        for (next, is_cut_off) in [(Action::Abort, true), (Action::Linger, false)] {
            let (socket, client) = Socket::pair(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            let socket = Arc::new(socket);
            let coded =
                Arc::new(Coded::new(Arc::new(SocketSink::new(socket.clone())), contained(Box::new(Letters(next)))));
            let whose = Client::new(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
            let mut opened = Opened::new(Box::new(Said(b"abc.def")), coded, socket, whose, Input::new());
            assert_eq!(opened.fill_buf().unwrap(), b"abc");
            opened.consume(3);
            for _ in 0..2 {
                assert_eq!(opened.fill_buf().unwrap_err().kind(), io::ErrorKind::InvalidData);
            }
            assert!(opened.was_cut());
            assert_eq!((&client).read(&mut [0]).is_ok(), is_cut_off, "whether the client sees an end");
        }
    }
}
