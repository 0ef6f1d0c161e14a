//! A client and the server's side of its connection, driven as the engine would drive it.

use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime};

use modest::raw::{Action, Codec, Conversation, Event, Handover, Input, Output, Piece, Protocol, Turn};
use modest::{Client, Http, RequestHandler};

/// All responses of the tests have this time.
pub const NOW: Duration = Duration::from_secs(1_655_361_299);

pub struct Peer {
    conversation: Option<Box<dyn Conversation>>,
    client: Client,
    input: Input,
    output: Output,
    coded: Option<Coded>,
    /// All bytes that the client has received.
    pub said: Vec<u8>,
    /// The last `Action` that the conversation has returned.
    pub next: Action,
    pub stopping: bool,
    pub polled: Option<std::time::Instant>,
    /// The time of all requests.
    pub wall: SystemTime,
    /// The number of turns with a permit.
    pub slots: usize,
    /// No permit is available.
    pub no_slots: bool,
}

/// The codec between the client's bytes and the conversation.
struct Coded {
    codec: Box<dyn Codec>,
    raw: Input,
    is_unopened: bool,
    is_over: bool,
}

impl Peer {
    pub fn new<H: RequestHandler>(http: &Http<H>) -> Peer {
        Peer::of(http)
    }

    pub fn of(protocol: &dyn Protocol) -> Peer {
        let client = Client::new(SocketAddr::from(([127, 0, 0, 1], 4711)));
        let conversation = protocol.meet(&client);
        let mut peer = Peer {
            conversation,
            client,
            input: Input::new(),
            output: Output::new(),
            coded: None,
            said: Vec::new(),
            next: Action::Again,
            stopping: false,
            polled: None,
            wall: SystemTime::UNIX_EPOCH + NOW,
            slots: 0,
            no_slots: false,
        };
        if peer.conversation.is_none() {
            peer.next = Action::Close;
        }
        peer.run();
        peer
    }

    /// Receives these bytes, and runs all turns that follow from them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Peer {
        if self.is_open() {
            self.below().extend(bytes.as_ref());
            self.receive();
        }
        self
    }

    /// The input for the client's bytes.
    fn below(&mut self) -> &mut Input {
        self.coded.as_mut().map_or(&mut self.input, |coded| &mut coded.raw)
    }

    /// Handles new bytes.
    fn receive(&mut self) {
        if self.open() {
            self.take_turn(None);
            self.run();
        }
    }

    /// Opens the codec's bytes. Returns whether there is something new for the conversation.
    fn open(&mut self) -> bool {
        let Some(coded) = &mut self.coded else { return true };
        coded.is_unopened = false;
        let before = self.input.bytes().len();
        let mut turn = Turn::new(&mut coded.raw, &mut self.output, &self.client);
        let opened = coded.codec.open(&mut turn, &mut self.input);
        if coded.raw.ended() && !self.input.ended() {
            self.input.cut();
        }
        if let Err(next) = opened {
            coded.is_over = true;
            self.next = next;
            let coded = self.coded.take();
            self.write(); // not through the codec
            self.coded = coded;
            return false;
        }
        self.input.bytes().len() > before || self.input.ended()
    }

    /// The client closes its sending side.
    pub fn end(&mut self) -> &mut Peer {
        if self.is_open() {
            self.below().end();
            self.receive();
        }
        self
    }

    pub fn event(&mut self, what: Event) -> &mut Peer {
        assert!(self.is_open(), "no events after the end");
        if let Some(coded) = &mut self.coded {
            coded.is_over |= what == Event::SendFailed; // the client can't receive a goodbye
        }
        self.take_turn(Some(what));
        self.run();
        self
    }

    /// The current stage times out.
    pub fn late(&mut self) -> &mut Peer {
        match self.next.clone() {
            Action::Read { stage, .. } => self.event(Event::Late(stage)),
            other => panic!("nothing is awaited that could be late: {other:?}"),
        }
    }

    pub fn is_open(&self) -> bool {
        !matches!(self.next, Action::Close | Action::Linger | Action::Abort)
    }

    /// The number of unused bytes. If there are any, a close lingers.
    pub fn unused(&self) -> usize {
        self.input.bytes().len()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.said).into_owned()
    }

    fn run(&mut self) {
        for _ in 0..100_000 {
            match self.next {
                Action::Handle if self.no_slots => self.take_turn(Some(Event::NoPermit)),
                Action::Handle => {
                    self.slots += 1;
                    self.take_turn(None);
                }
                Action::Again | Action::Brief => self.take_turn(None),
                Action::Read { .. } | Action::Idle { .. } if self.is_unopened() => {
                    if self.open() {
                        self.take_turn(None);
                    }
                }
                Action::Read { .. } if self.input.ended() => self.next = Action::Close,
                Action::Close | Action::Linger => return self.say_goodbye(),
                _ => return,
            }
        }
        panic!("the talk goes round in circles: {:?}", self.text());
    }

    fn is_unopened(&self) -> bool {
        self.coded.as_ref().is_some_and(|coded| coded.is_unopened)
    }

    /// Sends the codec's goodbye.
    fn say_goodbye(&mut self) {
        let Some(coded) = &mut self.coded else { return };
        if !std::mem::replace(&mut coded.is_over, true) {
            coded.codec.goodbye(&mut self.said);
        }
    }

    /// Passes the connection to another conversation.
    fn become_successor(&mut self, successor: Handover) {
        let Handover { conversation, client, codec, .. } = successor;
        self.conversation = Some(conversation);
        self.client = client.unwrap_or_else(|| self.client.clone());
        if let Some(codec) = codec {
            assert!(self.coded.is_none(), "codecs above codecs are tested over sockets");
            let raw = std::mem::replace(&mut self.input, Input::new());
            self.coded = Some(Coded { codec, raw, is_unopened: true, is_over: false });
        }
        self.next = Action::Again;
    }

    fn take_turn(&mut self, event: Option<Event>) {
        let mut successor = None;
        let mut turn = Turn::new(&mut self.input, &mut self.output, &self.client);
        turn.wall = self.wall;
        if self.stopping {
            turn = turn.while_shutting_down();
        }
        if event.is_none() && !matches!(self.next, Action::Handle | Action::Brief) {
            turn = turn.without_permit();
        }
        turn = turn.keeping_handover(&mut successor);
        turn.set_polled(self.polled);
        let conversation = self.conversation.as_mut().expect("a conversation that was not rejected");
        let next = match event {
            Some(event) => conversation.event(event, &mut turn),
            None => conversation.turn(&mut turn),
        };
        self.next = match (next, self.next.clone()) {
            (Action::Unchanged, Action::Read { .. } | Action::Wait { .. } | Action::Idle { .. }) => self.next.clone(),
            (Action::Unchanged, _) => Action::Close,
            (next, _) => next,
        };
        self.write();
        if let Some(successor) = successor {
            self.become_successor(*successor);
        }
    }

    /// The engine ends the idle connection.
    pub fn end_idle(&mut self) -> &mut Peer {
        assert!(matches!(self.next, Action::Idle { .. }), "{:?}", self.next);
        let conversation = self.conversation.as_mut().expect("a conversation that was not rejected");
        conversation.goodbye(&mut Turn::new(&mut self.input, &mut self.output, &self.client));
        self.next = Action::Close;
        self.write();
        self.say_goodbye();
        self
    }

    fn write(&mut self) {
        let mut plain = Vec::new();
        for piece in self.output.pieces() {
            match piece {
                Piece::Owned(bytes) => plain.extend_from_slice(bytes),
                Piece::Shared { bytes, start, end } => plain.extend_from_slice(&(**bytes).as_ref()[*start..*end]),
                Piece::File { file, start, length } => {
                    let old = plain.len();
                    plain.resize(old + *length as usize, 0);
                    file.read_exact_at(&mut plain[old..], *start).expect("as many bytes as the response promised");
                }
                other => panic!("a piece that nobody here knows: {other:?}"),
            }
        }
        self.output.clear();
        match &mut self.coded {
            Some(coded) => plain.chunks(16 * 1024).for_each(|record| coded.codec.seal(record, &mut self.said)),
            None => self.said.extend(plain),
        }
    }
}

/// The way in which the bytes of a row arrive.
#[derive(Clone, Copy, Debug)]
pub enum Road {
    Whole,
    /// One byte at a time.
    ByteByByte,
    /// In two pieces, split before this byte.
    Cut(usize),
}

impl Road {
    pub fn all(length: usize) -> impl Iterator<Item = Road> {
        [Road::Whole, Road::ByteByByte].into_iter().chain((1..length).map(Road::Cut))
    }

    pub fn send(self, bytes: &[u8], peer: &mut Peer) {
        match self {
            Road::Whole => {
                peer.send(bytes);
            }
            Road::ByteByByte => bytes.chunks(1).for_each(|byte| {
                peer.send(byte);
            }),
            Road::Cut(at) => {
                peer.send(&bytes[..at]).send(&bytes[at..]);
            }
        }
    }
}

/// A response, read by a strict client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// All final responses in these bytes. `heads`: the numbers of those to HEAD.
    pub fn all(said: &[u8], heads: &[usize]) -> Vec<Answer> {
        let mut answers = Vec::new();
        let mut rest = said;
        while !rest.is_empty() {
            let (answer, after) = Answer::first(rest, heads.contains(&answers.len()));
            rest = after;
            if answer.status >= 200 {
                answers.push(answer);
            }
        }
        answers
    }

    fn first(said: &[u8], to_head: bool) -> (Answer, &[u8]) {
        let shown = String::from_utf8_lossy(said);
        let end = said.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| panic!("no head: {shown:?}"));
        let head = std::str::from_utf8(&said[..end]).expect("the head of a response in ASCII");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).expect("a status line");
        let status: u16 = status[..3].parse().expect("a status");
        let fields: Vec<_> = lines
            .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("no field: {line:?}")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut answer = Answer { status, fields, body: Vec::new() };
        let mut rest = &said[end + 4..];
        if to_head || status < 200 || status == 204 || status == 304 {
        } else if let Some(length) = answer.field("content-length") {
            let length: usize = length.parse().expect("a length");
            assert!(rest.len() >= length, "the body is too short: {shown:?}");
            answer.body = rest[..length].to_vec();
            rest = &rest[length..];
        } else if answer.field("transfer-encoding") == Some("chunked") {
            rest = answer.unchunk(rest);
        } else {
            answer.body = rest.to_vec();
            rest = &[];
        }
        (answer, rest)
    }

    fn unchunk<'a>(&mut self, mut rest: &'a [u8]) -> &'a [u8] {
        loop {
            let end = rest.windows(2).position(|two| two == b"\r\n").expect("a chunk size");
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).expect("ASCII"), 16).expect("hex");
            self.body.extend_from_slice(&rest[end + 2..end + 2 + size]);
            assert_eq!(&rest[end + 2 + size..end + 4 + size], b"\r\n");
            rest = &rest[end + 4 + size..];
            if size == 0 {
                return rest;
            }
        }
    }
}
