//! The Redis commands PING, GET, SET, DEL and INCR, in both kinds of protocol: with one thread per client, and in turns.
//! `cargo run --example miniredis 127.0.0.1:6379 turns` (or `threads`), then `redis-cli`, or `telnet 127.0.0.1 6379`.

use std::collections::HashMap;
use std::io::{self, BufRead, ErrorKind::InvalidData, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use modest::raw::{Action, Conversation, Protocol, Raw, Stage, Stream, Turn, streams};
use modest::{Client, TcpServer};

#[derive(Clone, Default)]
struct Store(Arc<Mutex<HashMap<Vec<u8>, Vec<u8>>>>);

const LONGEST: usize = 32 * 1024; // bytes in a command; the input of a turn holds 64 KiB
const SILENCE: Duration = Duration::from_secs(600);

/// Reads one command: an array of bulk strings, or words in a line. Returns `None` if there is no input, and
/// `InvalidData` if the command is malformed.
fn read_command(from: &mut impl BufRead) -> io::Result<Option<Vec<Vec<u8>>>> {
    if from.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut left = LONGEST;
    let line = read_line(from, &mut left)?;
    if !line.starts_with(b"*") {
        return Ok(Some(line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).map(Vec::from).collect()));
    }
    let mut words = Vec::new();
    for _ in 0..number(&line, b'*', LONGEST).ok_or_else(|| malformed("invalid multibulk length"))? {
        let line = read_line(from, &mut left)?;
        let length = number(&line, b'$', left).ok_or_else(|| malformed("invalid bulk length"))?;
        left -= length;
        let mut word = vec![0; length + 2];
        from.read_exact(&mut word)?;
        if word.split_off(length) != b"\r\n" {
            return Err(malformed("expected the end of a line"));
        }
        words.push(word);
    }
    Ok(Some(words))
}

fn read_line(from: &mut impl BufRead, left: &mut usize) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    *left -= from.take(*left as u64).read_until(b'\n', &mut line)?;
    match line.strip_suffix(b"\n") {
        Some(line) => Ok(line.strip_suffix(b"\r").unwrap_or(line).to_vec()),
        None if *left == 0 => Err(malformed("command too long")),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Returns the number after this mark, if it is at most `most`.
fn number(line: &[u8], mark: u8, most: usize) -> Option<usize> {
    let number = std::str::from_utf8(line.strip_prefix(&[mark])?).ok()?.parse().ok()?;
    Some(number).filter(|number| *number <= most)
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(InvalidData, format!("-ERR Protocol error: {why}\r\n"))
}

impl Store {
    fn reply(&self, words: &[Vec<u8>]) -> Vec<u8> {
        let Some((name, arguments)) = words.split_first() else { return Vec::new() };
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*name.to_ascii_uppercase(), arguments) {
            (b"PING", []) => b"+PONG\r\n".to_vec(),
            (b"PING", [said]) => bulk(said),
            (b"GET", [key]) => values.get(key).map_or(b"$-1\r\n".to_vec(), |value| bulk(value)),
            (b"SET", [key, value]) => {
                values.insert(key.clone(), value.clone());
                b"+OK\r\n".to_vec()
            }
            (b"DEL", [_, ..]) => {
                let count = arguments.iter().filter(|key| values.remove(*key).is_some()).count();
                format!(":{count}\r\n").into_bytes()
            }
            (b"INCR", [key]) => {
                let value = values.entry(key.clone()).or_insert(b"0".to_vec());
                let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
                let next = number.and_then(|number| number.checked_add(1));
                let Some(next) = next else { return b"-ERR value is not an integer or out of range\r\n".to_vec() };
                *value = next.to_string().into_bytes();
                format!(":{next}\r\n").into_bytes()
            }
            (b"PING" | b"GET" | b"SET" | b"DEL" | b"INCR", _) => b"-ERR wrong number of arguments\r\n".to_vec(),
            _ => b"-ERR unknown command\r\n".to_vec(),
        }
    }
}

fn bulk(value: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

/// The blocking kind: reads commands until the client ends. Each client has a thread.
fn talk(store: &Store, stream: &mut Stream) -> io::Result<()> {
    stream.set_timeout(SILENCE)?;
    loop {
        match read_command(stream) {
            Ok(Some(words)) => stream.write_all(&store.reply(&words))?,
            Err(error) if error.kind() == InvalidData => return write!(stream, "{error}"),
            Ok(None) | Err(_) => return Ok(()), // the end of the stream, or a timeout
        }
    }
}

/// The protocol in turns: handles the input that has arrived and returns what to wait for. No client has a thread.
impl Protocol for Store {
    fn meet(&self, _: &Client) -> Option<Box<dyn Conversation>> {
        Some(Box::new(self.clone()))
    }
}

impl Conversation for Store {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        let mut rest = turn.input.bytes();
        let mut used = 0;
        let next = loop {
            match read_command(&mut rest) {
                Ok(Some(words)) => turn.output.bytes().extend(self.reply(&words)),
                Err(error) if error.kind() == InvalidData => {
                    turn.output.bytes().extend(error.to_string().bytes());
                    break Action::Linger;
                }
                _ if turn.input.ended() => break Action::Close,
                Ok(None) => break Action::Idle { within: Some(SILENCE) },
                Err(_) => break Action::read_at_min_rate(Stage(0), None), // the rest of a command
            }
            used = turn.input.bytes().len() - rest.len();
            if turn.output.bytes().len() > LONGEST {
                break Action::Again; // send this before handling more commands
            }
        };
        turn.input.consume(used);
        next
    }
}

fn main() -> io::Result<()> {
    let _log = modest::log_to_stderr(); // logs warnings and errors
    let (address, store) = (std::env::args().nth(1).unwrap_or("127.0.0.1:6379".into()), Store::default());
    let server = match std::env::args().nth(2).as_deref() {
        Some("threads") => TcpServer::bind(address, streams(move |stream: &mut Stream| talk(&store, stream)))?,
        _ => TcpServer::bind(address, Raw(store))?,
    };
    println!("Listening at {} ...", server.local_addr());
    server.serve_forever()
}
