//! Writing through a codec, and the codec's own responses. They are sealed in order, and sent by the first thread that
//! can.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::super::client::Client;
use super::super::input::Input;
use super::super::output::Output;
use super::super::protocol::{Action, ContainedCodec, RECORD, SEALED_AHEAD, Turn};
use super::super::stream::Sink;
use super::super::sync::{self, AtomicBool, Mutex, Ordering, lock, try_lock};

/// Shared by the reading thread and the writing threads.
pub struct Coded {
    below: Arc<dyn Sink>,
    /// Bytes that are sealed and unsent. The sending thread holds this lock, and may wait for the client. It is locked
    /// before `state`.
    pending: Mutex<Vec<u8>>,
    /// Locked only to open or to seal.
    state: Mutex<State>,
    reading_ends: AtomicBool, // whether this side has ended reading
    limit: Mutex<Option<Duration>>,
}

struct State {
    codec: ContainedCodec,
    /// Responses of the codec itself to input that it opened. They are sent after everything sealed before.
    answers: Vec<u8>,
    /// Whether nothing more is sealed, because the goodbye was written or the client violated the protocol.
    is_over: bool,
}

impl Coded {
    pub fn new(below: Arc<dyn Sink>, codec: ContainedCodec) -> Coded {
        Coded {
            below,
            pending: Mutex::default(),
            state: Mutex::new(State { codec, answers: Vec::new(), is_over: false }),
            reading_ends: AtomicBool::new(false),
            limit: Mutex::default(),
        }
    }

    pub fn reading_has_ended(&self) -> bool {
        self.reading_ends.load(Ordering::Acquire)
    }

    /// Sends the pending bytes: all of them, or as many as can be sent within the write timeout. Returns whether all
    /// were sent.
    fn push(&self, pending: &mut Vec<u8>, waits: bool) -> io::Result<bool> {
        let limit = *lock(&self.limit);
        let start = sync::now();
        let mut sent = 0;
        let result = loop {
            if sent == pending.len() {
                break Ok(true);
            }
            match self.below.send_some(&pending[sent..], waits) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => sent += count,
                Err(err) if sent > 0 && is_late(&err) => break Ok(false),
                Err(err) => break Err(err),
            }
            if limit.is_some_and(|limit| sync::now().saturating_duration_since(start) >= limit) {
                break Ok(sent == pending.len());
            }
        };
        pending.drain(..sent);
        result
    }

    /// Sends the codec's own responses if no other thread is sending and the socket has room. Otherwise they are sent
    /// before the next write. Call it after adding to `answers`, and after unlocking `pending`: the later of these two
    /// calls then sends the bytes.
    fn send_answers(&self) {
        while !lock(&self.state).answers.is_empty() {
            let Some(mut pending) = try_lock(&self.pending) else { return };
            pending.append(&mut lock(&self.state).answers);
            let _ = self.push(&mut pending, false); // the next write returns the error
        }
    }

    /// Opens these bytes into `plain`, or returns the `Action` after a violation of the protocol.
    pub fn open(&self, raw: &mut Input, plain: &mut Input, client: &Client) -> Result<(), Action> {
        let mut output = Output::new();
        let mut state = lock(&self.state);
        let result = state.codec.open(&mut Turn::new(raw, &mut output, client), plain);
        output.append_to(&mut state.answers);
        state.is_over |= result.is_err();
        let are_many = state.answers.len() > SEALED_AHEAD;
        drop(state);
        if are_many {
            let mut pending = lock(&self.pending);
            pending.append(&mut lock(&self.state).answers);
            let _ = self.push(&mut pending, true);
        }
        self.send_answers();
        result
    }
}

impl State {
    /// Seals these bytes, unless the codec has ended.
    fn seal(&mut self, plain: &[u8], pending: &mut Vec<u8>) -> io::Result<()> {
        pending.append(&mut self.answers);
        if self.is_over {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        plain.chunks(RECORD).for_each(|record| self.codec.seal(record, pending));
        Ok(())
    }

    fn seal_goodbye(&mut self, pending: &mut Vec<u8>) {
        pending.append(&mut self.answers);
        if !std::mem::replace(&mut self.is_over, true) {
            self.codec.goodbye(pending);
        }
    }
}

impl Sink for Coded {
    /// Seals as many bytes as fit beside the pending ones, and counts them as sent.
    fn send_some(&self, bytes: &[u8], waits: bool) -> io::Result<usize> {
        let mut pending =
            if waits { lock(&self.pending) } else { try_lock(&self.pending).ok_or(io::ErrorKind::WouldBlock)? };
        if pending.len() >= SEALED_AHEAD {
            self.push(&mut pending, waits)?;
        }
        let count = bytes.len().min(SEALED_AHEAD.saturating_sub(pending.len()));
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        lock(&self.state).seal(&bytes[..count], &mut pending)?;
        if let Err(err) = self.push(&mut pending, waits)
            && !is_late(&err)
        {
            return Err(err);
        } // the rest is sent before the next write
        drop(pending);
        self.send_answers();
        Ok(count)
    }

    fn flush(&self) -> io::Result<()> {
        let mut pending = lock(&self.pending);
        pending.append(&mut lock(&self.state).answers);
        if !self.push(&mut pending, true)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        drop(pending);
        self.send_answers();
        self.below.flush()
    }

    fn end(&self) -> io::Result<()> {
        let mut pending = lock(&self.pending);
        lock(&self.state).seal_goodbye(&mut pending);
        if !self.push(&mut pending, true)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.below.end()
    }

    fn finish(&self, last: &[u8]) -> io::Result<Vec<u8>> {
        // While another thread is in `write`, that thread's bytes are incomplete.
        let mut pending = try_lock(&self.pending).ok_or(io::ErrorKind::WouldBlock)?;
        let mut state = lock(&self.state);
        if !last.is_empty() {
            state.seal(last, &mut pending)?;
        }
        state.seal_goodbye(&mut pending);
        let rest = std::mem::take(&mut *pending);
        self.below.finish(&rest)
    }

    fn end_reading(&self) {
        self.reading_ends.store(true, Ordering::Release);
        self.below.end_reading();
    }

    fn set_timeout(&self, limit: Option<Duration>) {
        *lock(&self.limit) = limit;
        self.below.set_timeout(limit);
    }
}

fn is_late(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex as StdMutex};

    use super::*;
    use crate::tcp::protocol::{Codec, contained};

    /// A client that accepts some bytes, and then blocks writers.
    #[derive(Default)]
    struct Slow {
        // how many bytes it still accepts, the number of waiting writers, and the received bytes
        state: StdMutex<(usize, usize, Vec<u8>)>,
        changed: Condvar,
    }

    impl Slow {
        fn take(&self, more: usize) {
            self.state.lock().unwrap().0 += more;
            self.changed.notify_all();
        }

        fn wait_for_writers(&self, count: usize) {
            drop(self.changed.wait_while(self.state.lock().unwrap(), |state| state.1 < count).unwrap());
        }

        fn has(&self) -> String {
            String::from_utf8(self.state.lock().unwrap().2.clone()).unwrap()
        }
    }

    impl Sink for Slow {
        fn send_some(&self, bytes: &[u8], waits: bool) -> io::Result<usize> {
            let mut state = self.state.lock().unwrap();
            if state.0 == 0 && !waits {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            state.1 += 1;
            self.changed.notify_all();
            state = self.changed.wait_while(state, |state| state.0 == 0).unwrap();
            let count = bytes.len().min(state.0);
            state.0 -= count;
            state.1 -= 1;
            state.2.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }

        fn end(&self) -> io::Result<()> {
            Ok(())
        }

        fn finish(&self, last: &[u8]) -> io::Result<Vec<u8>> {
            let count = if last.is_empty() { 0 } else { self.send_some(last, false).unwrap_or(0) };
            Ok(last[count..].to_vec())
        }
    }

    /// A codec that sends capitals, and responds to each question mark.
    struct Shouts;

    impl Codec for Shouts {
        fn open(&mut self, turn: &mut Turn<'_>, plain: &mut Input) -> Result<(), Action> {
            for byte in turn.input.bytes() {
                match byte {
                    b'?' => turn.output.bytes().push(b'!'),
                    _ => plain.extend(&[byte.to_ascii_lowercase()]),
                }
            }
            turn.input.consume(turn.input.bytes().len());
            Ok(())
        }

        fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) {
            sealed.extend(plain.to_ascii_uppercase());
        }

        fn goodbye(&mut self, sealed: &mut Vec<u8>) {
            sealed.push(b'.');
        }
    }

    fn shouts() -> (Arc<Slow>, Arc<Coded>) {
        let slow = Arc::<Slow>::default();
        (slow.clone(), Arc::new(Coded::new(slow, contained(Box::new(Shouts)))))
    }

    fn hear(coded: &Coded, said: &[u8]) -> Input {
        let (mut raw, mut plain) = (Input::new(), Input::new());
        raw.extend(said);
        coded.open(&mut raw, &mut plain, &Client::new(std::net::SocketAddr::from(([127, 0, 0, 1], 1)))).unwrap();
        plain
    }

    #[test]
    fn ending_during_a_write_sends_no_goodbye() {
        let (slow, coded) = shouts();
        let there = coded.clone();
        let writer = std::thread::spawn(move || there.send_some(b"abc", true));
        slow.wait_for_writers(1);
        assert_eq!(coded.finish(&[]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        slow.take(100);
        assert_eq!(writer.join().unwrap().unwrap(), 3);
        assert_eq!((slow.has().as_str(), coded.finish(&[]).unwrap()), ("ABC", vec![]));
        assert_eq!(slow.has(), "ABC.");
        assert_eq!(coded.send_some(b"d", true).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn replies_do_not_block_and_are_sent_by_the_current_writer() {
        let (slow, coded) = shouts();
        assert_eq!(hear(&coded, b"A?B").bytes(), b"ab"); // the codec's response waits
        let there = coded.clone();
        let writer = std::thread::spawn(move || there.send_some(b"abc", true));
        slow.wait_for_writers(1);
        assert_eq!(hear(&coded, b"?C?").bytes(), b"c");
        slow.take(100);
        writer.join().unwrap().unwrap();
        assert_eq!(slow.has(), "!ABC!!");
        hear(&coded, b"?");
        assert_eq!(slow.has(), "!ABC!!!");
    }

    #[test]
    fn excess_replies_wait_for_the_client() {
        let (slow, coded) = shouts();
        let there = coded.clone();
        let reader = std::thread::spawn(move || hear(&there, &[b'?'; SEALED_AHEAD + 1]));
        slow.wait_for_writers(1);
        slow.take(usize::MAX);
        assert!(reader.join().unwrap().is_empty());
        assert_eq!(slow.has(), "!".repeat(SEALED_AHEAD + 1));
    }

    /// A client that has disconnected.
    struct Gone;

    impl Sink for Gone {
        fn send_some(&self, _: &[u8], _: bool) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }

        fn end(&self) -> io::Result<()> {
            Ok(())
        }

        fn finish(&self, _: &[u8]) -> io::Result<Vec<u8>> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }

    #[test]
    fn a_disconnected_client_is_an_immediate_error() {
        let coded = Coded::new(Arc::new(Gone), contained(Box::new(Shouts)));
        let errors = [coded.send_some(b"a", true).err(), coded.flush().err(), coded.end().err()];
        let kinds = errors.map(|error| error.map(|error| error.kind()));
        assert_eq!(kinds, [Some(io::ErrorKind::ConnectionReset); 3]);
        assert_eq!(coded.finish(&[]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn bytes_sealed_ahead_are_limited() {
        let (slow, coded) = shouts();
        slow.take(1);
        coded.set_timeout(Some(Duration::ZERO));
        let much = vec![b'a'; 100_000];
        assert_eq!(coded.send_some(&much, true).unwrap(), 65_536);
        slow.take(1);
        assert_eq!(coded.send_some(&much, true).unwrap(), 1, "sealed output takes the place of output that was sent");
        let left = coded.finish(&[]).unwrap();
        assert_eq!((left.len(), slow.has().len()), (65_536, 2), "the unsent bytes include the goodbye");
    }

    #[test]
    fn unsent_bytes_are_handed_over_at_the_end() {
        let (slow, coded) = shouts();
        slow.take(2);
        coded.set_timeout(Some(Duration::ZERO));
        assert_eq!(coded.send_some(b"abcd", true).unwrap(), 4);
        assert_eq!((slow.has().as_str(), coded.finish(&[]).unwrap()), ("AB", b"CD.".to_vec()));
    }
}
