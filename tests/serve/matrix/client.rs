//! The client of a case: it sends requests and collects everything that it reads.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::app::{App, content};
use super::{Behaviour, BodyKind, Case, Ending, Exchange, Random, ResponseKind};
use crate::server::{Client, PATIENCE, Running};

/// The bytes that a client has read.
#[derive(Debug, Default)]
pub struct Seen {
    pub responses: Vec<Answer>,
    /// The bytes after the responses.
    pub rest: Vec<u8>,
    /// The end of the connection. `None`: the client has closed it.
    pub end: Option<End>,
    /// Whether the client has sent all its requests.
    pub sent_all: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Clean,
    Reset,
}

/// A final response.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// Whether the end of the connection is its end.
    pub until_close: bool,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} and {} bytes", self.head, self.body.len())
    }
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn says_close(&self) -> bool {
        self.until_close || self.field("connection").is_some_and(|value| value == "close")
    }
}

/// The text of the new protocol after an upgrade.
pub fn tail(id: usize) -> Vec<u8> {
    format!("what exchange {id} says in the new protocol\n").into_bytes()
}

/// Head and body of a request. They are sent separately if the body waits for a 100.
fn wire(exchange: &Exchange, id: usize) -> (Vec<u8>, Vec<u8>) {
    let Exchange { body, length, reading, response, size, old, close } = *exchange;
    let method = if body == BodyKind::None { "GET" } else { "POST" };
    let version = if old { "1.0" } else { "1.1" };
    let half = length / 2;
    let mut head = format!(
        "{method} /?id={id}&reading={reading:?}&half={half}&response={response:?}&size={size} HTTP/{version}\r\nHost: a\r\n"
    );
    if body == BodyKind::None {
        head = head.replace("reading=Half", "reading=Unread");
    }
    if close {
        head += "Connection: close\r\n";
    }
    if matches!(response, ResponseKind::Upgrade | ResponseKind::Switch) {
        head += "Connection: Upgrade\r\nUpgrade: echo\r\n";
    }
    let mut bytes = content(length);
    match body {
        BodyKind::None => bytes.clear(),
        BodyKind::Length | BodyKind::CutShort => head += &format!("Content-Length: {length}\r\n"),
        BodyKind::HeldBack => head += &format!("Content-Length: {length}\r\nExpect: 100-continue\r\n"),
        BodyKind::Chunked | BodyKind::CutShortChunked => {
            head += "Transfer-Encoding: chunked\r\n";
            let chunks =
                bytes.chunks(7_000).map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
            bytes = chunks.collect::<Vec<_>>().concat();
            bytes.extend_from_slice(b"0\r\n\r\n");
        }
    }
    match body {
        BodyKind::CutShort => bytes.truncate(half),
        BodyKind::CutShortChunked => bytes.truncate(bytes.len() - 6),
        _ => {}
    }
    head += "\r\n";
    let mut bytes = [head.into_bytes(), bytes];
    if matches!(response, ResponseKind::Upgrade | ResponseKind::Switch) && !is_cut(body) {
        bytes[1].extend(tail(id));
    }
    bytes.into()
}

pub fn is_cut(body: BodyKind) -> bool {
    matches!(body, BodyKind::CutShort | BodyKind::CutShortChunked)
}

pub fn run(case: &Case, server: &Running, app: &App) -> Seen {
    let mut random = Random(case.seed ^ 0xc11e);
    let client = server.client();
    thread::scope(|threads| {
        if case.ending == Ending::Shutdown {
            let (handle, patience) = (server.handle.clone(), random.below(2_000));
            threads.spawn(move || {
                app.wait_for_a_call(patience);
                handle.shutdown();
            });
        }
        match case.behaviour {
            Behaviour::Vanishing => vanish(case, client, &mut random),
            Behaviour::NeverReading => read_nothing(case, server, client),
            _ => talk(case, client, random),
        }
    })
}

fn vanish(case: &Case, mut client: Client, random: &mut Random) -> Seen {
    let all: Vec<u8> = case
        .exchanges
        .iter()
        .enumerate()
        .flat_map(|(id, exchange)| <[_; 2]>::from(wire(exchange, id)).concat())
        .collect();
    let count = if random.one_in(2) { random.below(all.len()) } else { all.len() };
    let _ = client.stream.write_all(&all[..count]);
    if random.one_in(2) {
        let _ = client.stream.set_read_timeout(Some(Duration::from_millis(20)));
        let _ = client.stream.read(&mut vec![0; 1 + random.below(100_000)]);
    }
    if random.one_in(2) {
        let _ = socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO));
    }
    Seen::default()
}

fn read_nothing(case: &Case, server: &Running, mut client: Client) -> Seen {
    client.stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let sent_all = case.exchanges.iter().enumerate().all(|(id, exchange)| {
        let (head, body) = wire(exchange, id);
        client.stream.write_all(&head).and_then(|()| client.stream.write_all(&body)).is_ok()
    });
    if case.exchanges.last().is_some_and(|last| matches!(last.response, ResponseKind::Upgrade | ResponseKind::Switch)) {
        let _ = client.stream.shutdown(Shutdown::Write); // the new protocol has no timeout
    }
    server.wait_for("it is given up", |stats| stats.connections == 0);
    let mut reader = Reading { case, seen: Seen { sent_all, ..Seen::default() }, used: 0, tell: channel().0 };
    reader.read(&mut client.stream, || 16 * 1024);
    reader.seen
}

/// Messages for the writing side.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Continue,
    /// A final response, and whether the connection continues.
    Response(bool),
}

fn talk(case: &Case, client: Client, mut random: Random) -> Seen {
    let (tell, news) = channel();
    let mut stream = client.stream.try_clone().unwrap();
    let mut sizes = Random(random.next());
    thread::scope(|threads| {
        let writer = threads.spawn(move || write_all(case, &mut stream, &news, &mut random));
        let mut reader = Reading { case, seen: Seen::default(), used: 0, tell };
        let mut left_small = if case.behaviour == Behaviour::Slow { 20_000 } else { 0_usize };
        reader.read(&mut &client.stream, || {
            let size = if left_small > 0 { 1 + sizes.below(2_000) } else { 16 * 1024 };
            left_small = left_small.saturating_sub(size);
            size
        });
        drop(reader.tell);
        if case.ending != Ending::Idle || reader.seen.end.is_some() {
            let _ = client.stream.shutdown(Shutdown::Both);
        }
        reader.seen.sent_all = writer.join().unwrap();
        reader.seen
    })
}

/// Sends all requests. Returns false if the connection ended before.
fn write_all(case: &Case, stream: &mut TcpStream, news: &Receiver<News>, random: &mut Random) -> bool {
    let waits = matches!(case.behaviour, Behaviour::Whole | Behaviour::Slow);
    let mut together = Vec::new();
    for (id, exchange) in case.exchanges.iter().enumerate() {
        let (head, body) = wire(exchange, id);
        if !waits {
            together.extend([head, body].concat());
            continue;
        }
        if exchange.body == BodyKind::HeldBack {
            if !send(case, stream, &head, random) {
                return false;
            }
            match news.recv() {
                Ok(News::Continue) => {}
                Ok(News::Response(_)) | Err(_) => return false, // the server does not want the body
            }
            if !send(case, stream, &body, random) {
                return false;
            }
        } else if !send(case, stream, &[head, body].concat(), random) {
            return false;
        }
        if is_cut(exchange.body) {
            break;
        }
        let is_last = id + 1 == case.exchanges.len();
        loop {
            match news.recv() {
                Ok(News::Continue) => {}
                Ok(News::Response(goes_on)) if goes_on || is_last => break,
                Ok(News::Response(_)) | Err(_) => return is_last,
            }
        }
    }
    if !waits && stream.write_all(&together).is_err() {
        return false;
    }
    let last = case.exchanges.last().expect("at least one exchange");
    let stalls = case.behaviour == Behaviour::Stalling && is_cut(last.body);
    let ends = is_cut(last.body) || matches!(last.response, ResponseKind::Upgrade | ResponseKind::Switch);
    let ends = ends && !stalls;
    if case.behaviour == Behaviour::HalfClosed || ends {
        let _ = stream.shutdown(Shutdown::Write);
    }
    true
}

fn send(case: &Case, stream: &mut TcpStream, bytes: &[u8], random: &mut Random) -> bool {
    if case.behaviour != Behaviour::Slow {
        return stream.write_all(bytes).is_ok();
    }
    let mut at = 0;
    while at < bytes.len() {
        let count = (1 + random.below(1 + bytes.len() / 10)).min(bytes.len() - at);
        if stream.write_all(&bytes[at..at + count]).is_err() {
            return false;
        }
        at += count;
        thread::yield_now();
    }
    true
}

/// The reading side.
struct Reading<'a> {
    case: &'a Case,
    seen: Seen,
    used: usize, // bytes of `seen.rest` that belong to final responses
    tell: Sender<News>,
}

impl Reading<'_> {
    /// Reads until the client has all responses and no reason to stay, or until the end.
    fn read(&mut self, stream: &mut impl Read, mut size: impl FnMut() -> usize) {
        let start = Instant::now();
        let mut buffer = [0; 16 * 1024];
        loop {
            let size = size();
            match stream.read(&mut buffer[..size]) {
                Ok(0) => self.seen.end = Some(End::Clean),
                Ok(count) => self.seen.rest.extend_from_slice(&buffer[..count]),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) if matches!(err.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
                    self.seen.end = Some(End::Reset);
                }
                Err(err) => {
                    panic!(
                        "after {:?}: {err}; {:?}, and {} bytes",
                        start.elapsed(),
                        self.seen.responses,
                        self.seen.rest.len()
                    )
                }
            }
            assert!(start.elapsed() < 2 * PATIENCE, "it never ends: {:?}", self.seen.responses);
            self.parse();
            let leaves = self.seen.responses.len() == self.case.exchanges.len()
                && !matches!(self.case.ending, Ending::Idle | Ending::Close | Ending::Old)
                && self.seen.responses.last().is_some_and(|last| last.status != 101 && !last.says_close());
            if self.seen.end.is_some() || leaves {
                break;
            }
        }
        self.seen.rest.drain(..self.used);
    }

    fn parse(&mut self) {
        loop {
            let ended = self.seen.end == Some(End::Clean);
            if self.seen.responses.last().is_some_and(|last| last.status == 101) {
                return; // the rest is another protocol
            }
            match parse(&self.seen.rest[self.used..], ended, false) {
                Some((answer, used)) => {
                    self.used += used;
                    if answer.status == 100 {
                        let _ = self.tell.send(News::Continue);
                        continue;
                    }
                    let _ = self.tell.send(News::Response(!answer.says_close()));
                    self.seen.responses.push(answer);
                }
                None => return,
            }
        }
    }
}

/// The next response, if it is complete, and its length. `is_to_head`: the request was a HEAD.
pub fn parse(bytes: &[u8], ended: bool, is_to_head: bool) -> Option<(Answer, usize)> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
    let head = String::from_utf8(bytes[..end].to_vec()).expect("a head in UTF-8");
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|status| status.parse().ok());
    let mut answer = Answer {
        status: status.unwrap_or_else(|| panic!("no head: {head:?}")),
        head,
        body: Vec::new(),
        until_close: false,
    };
    if is_to_head || answer.status < 200 || answer.status == 204 || answer.status == 304 {
        return Some((answer, end));
    }
    if let Some(length) = answer.field("content-length") {
        let length: usize = length.parse().expect("a number");
        answer.body = bytes.get(end..end + length)?.to_vec();
        return Some((answer, end + length));
    }
    if answer.field("transfer-encoding").is_some() {
        let (body, length) = chunks(&bytes[end..])?;
        answer.body = body;
        return Some((answer, end + length));
    }
    answer.until_close = true;
    answer.body = bytes[end..].to_vec();
    ended.then_some((answer, bytes.len()))
}

fn chunks(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line = memchr::memmem::find(&bytes[at..], b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..at + line]).expect("a size");
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|err| panic!("{size:?}: {err}"));
        at += line + 2;
        let chunk = bytes.get(at..at + size + 2)?;
        assert!(chunk.ends_with(b"\r\n"), "a chunk of {size} has no end");
        body.extend_from_slice(&chunk[..size]);
        at += size + 2;
        if size == 0 {
            return Some((body, at));
        }
    }
}
