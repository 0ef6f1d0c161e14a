//! A cipher for tests, which is weak and short but uses all that TLS needs from the engine: a handshake in which both
//! sides send before the inner protocol accepts the client, records, a goodbye, an alert.
//!
//! The client sends `key 5a\n` (a byte in hex), receives `whoami\n`, sends `from ADDRESS\n`, and receives `ok\n`. Then
//! both sides send records: a length in two bytes, and this many bytes, each xor the key. A record without bytes is a
//! goodbye. A record that is too long is invalid, and the reply is the alert `ff ff`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use modest::raw::{Action, Codec, Conversation, Handover, Input, Protocol, Raw, Stage, Turn};
use modest::{Client, IntoProtocol};

pub const ALERT: [u8; 2] = [0xff, 0xff];
const LONGEST: usize = 16 * 1024;

/// A protocol inside the cipher.
#[derive(Clone)]
pub struct Cipher {
    inner: Arc<dyn Protocol>,
    handshake: Duration,
    /// The maximum length of unsent output of any client at a time when more output was sealed.
    pub most_owed: Arc<AtomicU64>,
}

impl Cipher {
    pub fn new(inner: impl IntoProtocol) -> Cipher {
        let inner = Arc::new(inner.into_protocol());
        Cipher { inner, handshake: Duration::from_secs(60), most_owed: Arc::default() }
    }

    /// The time limit of the handshake.
    pub fn handshake(mut self, limit: Duration) -> Cipher {
        self.handshake = limit;
        self
    }
}

impl Protocol for Cipher {
    fn meet(&self, _: &Client) -> Option<Box<dyn Conversation>> {
        Some(Box::new(Ciphered { cipher: self.clone(), state: State::Greeting }))
    }
}

impl IntoProtocol for Cipher {
    type Protocol = Cipher;

    fn into_protocol(self) -> Cipher {
        self
    }
}

struct Ciphered {
    cipher: Cipher,
    state: State,
}

enum State {
    Greeting,
    Naming(Key),
    Meeting(Key, Client),
}

const HANDSHAKE: Stage = Stage(u32::MAX);

impl Conversation for Ciphered {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        if let State::Meeting(key, client) = &self.state {
            let Some(inner) = self.cipher.inner.meet(client) else { return Action::Linger };
            return turn.hand_over(Handover::to(inner).with_client(client.clone()).with_codec(key.clone()));
        }
        let Some(length) = turn.input.bytes().iter().position(|byte| *byte == b'\n') else {
            return match turn.input.ended() {
                true => Action::Abort,
                false => Action::Read {
                    stage: HANDSHAKE,
                    within: Some(self.cipher.handshake),
                    evictable: true,
                    at_min_rate: false,
                },
            };
        };
        let line = String::from_utf8_lossy(&turn.input.bytes()[..length]).into_owned();
        turn.input.consume(length + 1);
        match &self.state {
            State::Greeting => {
                let byte = line.strip_prefix("key ").and_then(|hex| u8::from_str_radix(hex, 16).ok());
                let Some(byte) = byte else { return Action::Abort };
                self.state = State::Naming(Key { byte, most_owed: self.cipher.most_owed.clone() });
                turn.output.bytes().extend_from_slice(b"whoami\n");
                Action::Again
            }
            State::Naming(key) => {
                let address =
                    line.strip_prefix("from ").and_then(|address| address.parse::<std::net::SocketAddr>().ok());
                let Some(address) = address else { return Action::Abort };
                self.state = State::Meeting(key.clone(), Client::new(address));
                turn.output.bytes().extend_from_slice(b"ok\n");
                Action::Brief // the inner protocol may block while it accepts the client
            }
            _ => unreachable!("see above"),
        }
    }

    fn drop_may_block(&self) -> bool {
        false
    }
}

#[derive(Clone)]
struct Key {
    byte: u8,
    most_owed: Arc<AtomicU64>,
}

impl Codec for Key {
    fn open(&mut self, turn: &mut Turn<'_>, plain: &mut Input) -> Result<(), Action> {
        while let Some((length, rest)) = turn.input.bytes().split_first_chunk() {
            let length = usize::from(u16::from_be_bytes(*length));
            if length > LONGEST {
                turn.output.bytes().extend_from_slice(&ALERT);
                return Err(Action::Linger);
            }
            let Some(sealed) = rest.get(..length) else { break };
            match length {
                _ if plain.ended() => {}
                0 => plain.end(),
                _ => plain.extend(&xor(sealed, self.byte)),
            }
            turn.input.consume(2 + length);
        }
        Ok(())
    }

    fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) {
        assert!(plain.len() <= LONGEST, "{} bytes for a record", plain.len());
        sealed.extend_from_slice(&(plain.len() as u16).to_be_bytes());
        sealed.extend(xor(plain, self.byte));
        self.most_owed.fetch_max(sealed.len() as u64, Relaxed);
    }

    fn goodbye(&mut self, sealed: &mut Vec<u8>) {
        sealed.extend_from_slice(&[0, 0]);
    }
}

fn xor(bytes: &[u8], key: u8) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ key).collect()
}

/// The bytes that a client sends first.
pub const HELLO: &str = "key 5a\nfrom 10.9.8.7:1234\n";
/// The reply to [`HELLO`].
pub const WELCOME: &str = "whoami\nok\n";
const KEY: u8 = 0x5a;

/// These bytes as a client sends them, in records of this length.
pub fn sealed(plain: &[u8], record: usize) -> Vec<u8> {
    let records = plain.chunks(record);
    records.flat_map(|bytes| [&(bytes.len() as u16).to_be_bytes()[..], &xor(bytes, KEY)].concat()).collect()
}

/// The goodbye of a client.
pub const GOODBYE: [u8; 2] = [0, 0];

/// The end of the bytes that a client has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Goodbye,
    Alert,
    /// Between two records.
    None,
    /// Within a record.
    Torn,
}

/// The decrypted bytes after the handshake, and their end.
pub fn opened(mut bytes: &[u8]) -> (Vec<u8>, End) {
    let mut plain = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length));
        let end = match rest.get(..length) {
            _ if *bytes.first_chunk::<2>().unwrap() == ALERT => End::Alert,
            None => return (plain, End::Torn),
            Some([]) => End::Goodbye,
            Some(sealed) => {
                plain.extend(xor(sealed, KEY));
                bytes = &rest[length..];
                continue;
            }
        };
        assert!(rest.is_empty(), "{} bytes come after the end ({end:?})", rest.len());
        return (plain, end);
    }
    (plain, if bytes.is_empty() { End::None } else { End::Torn })
}

/// `Raw`, for files that import only this one.
pub fn raw(protocol: impl Protocol) -> Cipher {
    Cipher::new(Raw(protocol))
}
