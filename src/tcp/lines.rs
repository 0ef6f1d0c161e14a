//! Line protocols: a handler of one line at a time, with or without a state for each client. A protocol on top of
//! `protocol`, as any user could write one.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::protocol::{Conversation, Event, IntoProtocol, Next, Protocol, Stage, Turn};
use super::sync;

/// A protocol of lines, for [`TcpServer::bind`](crate::TcpServer::bind): each line that a client sends is given to a
/// handler, which appends its answer to a reply and says how to go on.
///
/// A line ends with LF or CR LF, which the handler does not see; what stands behind the last end of a line is a line,
/// too, once the client has sent its last byte, but not if the stream [was cut](crate::raw::Input::was_cut). The reply is
/// sent as it is: a handler writes its own ends of lines. Lines are answered in order, and clients need not wait for an
/// answer before they send the next line.
///
/// Handlers may block: [`TcpServer::workers`](crate::TcpServer::workers) of them run at once. Clients that are idle,
/// slow to speak or slow to read cost none. A handler that runs for long is in the log by the first word of its line.
///
/// ```no_run
/// use modest::raw::{Flow, Lines};
/// use modest::TcpServer;
///
/// let shout = Lines::new(|line, reply| {
///     reply.extend_from_slice(format!("{}\r\n", line.to_uppercase()).as_bytes());
///     if line == "bye" { Flow::Close } else { Flow::Continue }
/// });
/// TcpServer::bind("127.0.0.1:7000", shout)?.serve_forever()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "serves nobody until it is given to `TcpServer::bind`"]
pub struct Lines {
    make: Box<MakeHandler>,
    config: Arc<Config>,
}

type MakeHandler = dyn Fn(&Client) -> Box<dyn LineHandler> + Send + Sync;

#[derive(Clone)]
struct Config {
    line_limit: usize,
    line_timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
}

/// A line stays in the input until it is complete, and at most 64 KiB are read ahead.
const LONGEST_LINE: usize = 60 * 1024;

impl Lines {
    /// One closure for all clients. It gets a line and the reply to append to.
    pub fn new<F>(handler: F) -> Lines
    where
        F: Fn(&str, &mut Vec<u8>) -> Flow + Send + Sync + 'static,
    {
        let handler = Arc::new(handler);
        Lines::per_client(move |_| Shared(handler.clone()))
    }

    /// A handler of its own for each client, with whatever it has to remember.
    ///
    /// It is made when the client has connected, as is its [greeting](LineHandler::greeting): it may block, but should
    /// be brief.
    pub fn per_client<H: LineHandler + 'static>(make: impl Fn(&Client) -> H + Send + Sync + 'static) -> Lines {
        let config = Config {
            line_limit: 8 * 1024,
            line_timeout: Some(Duration::from_secs(30)),
            idle_timeout: Some(Duration::from_secs(300)),
        };
        Lines { make: Box::new(move |client| Box::new(make(client))), config: Arc::new(config) }
    }

    /// The longest line, in bytes, without its end. Default: 8 KiB; at most 60 KiB. Past it:
    /// [`Refusal::TooLong`].
    pub fn line_limit(self, bytes: usize) -> Lines {
        self.with(|config| config.line_limit = bytes.min(LONGEST_LINE))
    }

    /// How long a line may take, from its first bytes to its end. Default: 30 seconds; `None`: no limit. Past it:
    /// [`Refusal::Late`].
    pub fn line_timeout(self, limit: impl Into<Option<Duration>>) -> Lines {
        let limit = limit.into();
        self.with(|config| config.line_timeout = limit)
    }

    /// How long a client may be silent between lines. Default: 5 minutes; `None`: for ever. Past it the connection is
    /// closed without a word.
    pub fn idle_timeout(self, limit: impl Into<Option<Duration>>) -> Lines {
        let limit = limit.into();
        self.with(|config| config.idle_timeout = limit)
    }

    fn with(mut self, change: impl FnOnce(&mut Config)) -> Lines {
        change(Arc::make_mut(&mut self.config));
        self
    }
}

/// How to go on after a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "is heard only if it is returned"]
pub enum Flow {
    /// With the next line.
    Continue,
    /// Not at all: the connection is closed once the reply is sent.
    Close,
}

/// Handles the lines of one client: see [`Lines::per_client`]. To write: `line`.
///
/// ```
/// use modest::raw::{Flow, LineHandler, Lines};
///
/// /// Adds up the numbers that its client sends.
/// struct Sum(i64);
///
/// impl LineHandler for Sum {
///     fn greeting(&mut self, reply: &mut Vec<u8>) -> Flow {
///         reply.extend_from_slice(b"numbers, please\r\n");
///         Flow::Continue
///     }
///
///     fn line(&mut self, line: &str, reply: &mut Vec<u8>) -> Flow {
///         let Ok(number) = line.parse::<i64>() else { return Flow::Close };
///         self.0 = self.0.saturating_add(number);
///         reply.extend_from_slice(format!("{}\r\n", self.0).as_bytes());
///         Flow::Continue
///     }
/// }
///
/// let lines = Lines::per_client(|_client| Sum(0));
/// ```
pub trait LineHandler: Send {
    /// What is said before the client has said anything. Default: nothing.
    fn greeting(&mut self, reply: &mut Vec<u8>) -> Flow {
        let _ = reply;
        Flow::Continue
    }

    /// One line, without its end. May block.
    fn line(&mut self, line: &str, reply: &mut Vec<u8>) -> Flow;

    /// One line as it came: for protocols that are not all text. May block.
    ///
    /// By default it is given to `line` if it is UTF-8, and is a [`Refusal::NotUtf8`] if it is not: what is not
    /// text is not guessed at.
    fn bytes(&mut self, line: &[u8], reply: &mut Vec<u8>) -> Flow {
        match std::str::from_utf8(line) {
            Ok(line) => self.line(line, reply),
            Err(_) => {
                self.refuse(Refusal::NotUtf8, reply);
                Flow::Close
            }
        }
    }

    /// What is said to a client that is refused; then the connection is closed. It may block, but should be brief.
    /// Default: the refusal as a line of its own.
    fn refuse(&mut self, why: Refusal, reply: &mut Vec<u8>) {
        reply.extend_from_slice(format!("{why}\r\n").as_bytes());
    }
}

/// Why a client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Its line has more bytes than [`Lines::line_limit`].
    TooLong,
    /// Its line is not UTF-8.
    NotUtf8,
    /// Its line did not end within [`Lines::line_timeout`], or has to give way to another client.
    Late,
    /// All workers are in handlers, and have been for too long
    /// ([`TcpServer::queue_timeout`](crate::TcpServer::queue_timeout)), or too many others wait for one.
    TooBusy,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::TooLong => "the line is too long",
            Refusal::NotUtf8 => "the line is not UTF-8",
            Refusal::Late => "the line took too long",
            Refusal::TooBusy => "too busy right now",
        })
    }
}

/// One closure for all clients.
struct Shared<F>(Arc<F>);

impl<F: Fn(&str, &mut Vec<u8>) -> Flow + Send + Sync> LineHandler for Shared<F> {
    fn line(&mut self, line: &str, reply: &mut Vec<u8>) -> Flow {
        (self.0)(line, reply)
    }
}

impl Protocol for Lines {
    fn meet(&self, client: &Client) -> Option<Box<dyn Conversation>> {
        let mut handler = (self.make)(client);
        let mut greeting = Vec::new();
        let state = match handler.greeting(&mut greeting) {
            Flow::Continue => State::Reading,
            Flow::Close => State::Closing,
        };
        let config = self.config.clone();
        Some(Box::new(LineConversation { handler, config, greeting, state, stage: 0, searched: 0 }))
    }
}

impl IntoProtocol for Lines {
    type Protocol = Lines;

    fn into_protocol(self) -> Lines {
        self
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("line_limit", &self.config.line_limit).finish_non_exhaustive()
    }
}

struct LineConversation {
    handler: Box<dyn LineHandler>,
    config: Arc<Config>,
    greeting: Vec<u8>, // until it is said
    state: State,
    stage: u32,      // each line has a number of its own
    searched: usize, // so many bytes of the input have no end of a line in them
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// A line is awaited.
    Reading,
    /// A line is there (may block).
    Handling,
    /// A line is too long: that is to be said (may block).
    Refusing,
    /// All is said.
    Closing,
}

/// What the input begins with.
enum Found {
    /// A line of so many bytes, and of so many with its end.
    Line(usize, usize),
    /// More than a line may have.
    TooLong,
    /// Part of a line.
    Part,
    Nothing,
}

/// Lines that came at once are handled at once, but no more than this in one turn, and none after this much is to be
/// sent, or after handlers have taken this long: answers are sent, and others have their turn.
const LINES: usize = 64;
const REPLIES: u64 = 16 * 1024;
const TIME: Duration = Duration::from_millis(1);

impl LineConversation {
    fn find(&mut self, turn: &Turn<'_>) -> Found {
        let bytes = turn.input.bytes();
        let limit = self.config.line_limit;
        let end = memchr::memchr(b'\n', &bytes[self.searched..]).map(|at| self.searched + at);
        self.searched = end.unwrap_or(bytes.len());
        match end {
            Some(end) => match bytes[..end].strip_suffix(b"\r").map_or(end, <[u8]>::len) {
                length if length > limit => Found::TooLong,
                length => Found::Line(length, end + 1),
            },
            // A CR at the end may be part of the line's end.
            None if bytes.strip_suffix(b"\r").unwrap_or(bytes).len() > limit => Found::TooLong,
            None if bytes.is_empty() || turn.input.was_cut() => Found::Nothing,
            None if turn.input.ended() => Found::Line(bytes.len(), bytes.len()),
            None => Found::Part,
        }
    }

    /// What comes next, by what is in the input. In a shutdown, who has had an answer has had its last, and who has not
    /// spoken yet is ended by the engine in time.
    fn read(&mut self, answered: bool, turn: &Turn<'_>) -> Next {
        let found = self.find(turn);
        self.state = match found {
            Found::Line(..) => State::Handling,
            Found::TooLong => State::Refusing,
            Found::Part | Found::Nothing => State::Reading,
        };
        match found {
            Found::Line(..) => Next::Handle,
            Found::TooLong => Next::Brief,
            _ if turn.input.ended() => Next::Close,
            Found::Part if turn.is_shutting_down() => Next::Close,
            Found::Nothing if answered && turn.is_shutting_down() => Next::Close,
            Found::Part => Next::Read {
                stage: Stage(self.stage),
                within: self.config.line_timeout,
                evictable: true,
                at_min_rate: false,
            },
            Found::Nothing => Next::Idle { within: self.config.idle_timeout },
        }
    }

    /// May block: handle the lines that are there.
    fn handle(&mut self, turn: &mut Turn<'_>) -> Next {
        let start = sync::now();
        for _ in 0..LINES {
            let Found::Line(length, whole) = self.find(turn) else { break };
            turn.handler_begins(first_word(&turn.input.bytes()[..length]).as_bytes());
            let flow = self.handler.bytes(&turn.input.bytes()[..length], turn.output.bytes());
            turn.input.consume(whole);
            self.searched = 0;
            self.stage = self.stage.wrapping_add(1);
            if flow == Flow::Close {
                self.state = State::Closing;
                return Next::Close;
            }
            if turn.output.owed() > REPLIES || sync::now() - start > TIME {
                break;
            }
        }
        self.read(true, turn)
    }

    fn refuse(&mut self, why: Refusal, turn: &mut Turn<'_>) -> Next {
        self.state = State::Closing;
        self.handler.refuse(why, turn.output.bytes());
        Next::Linger
    }
}

/// What a slow handler is called in the log: what follows the first word may be nobody else's business.
fn first_word(line: &[u8]) -> Cow<'_, str> {
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    String::from_utf8_lossy(&line[..end.min(LONGEST_WORD)])
}

const LONGEST_WORD: usize = 32;

impl Conversation for LineConversation {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Next {
        if !self.greeting.is_empty() {
            turn.output.bytes().append(&mut std::mem::take(&mut self.greeting));
        }
        match self.state {
            State::Reading => self.read(false, turn),
            State::Handling => self.handle(turn),
            State::Refusing => self.refuse(Refusal::TooLong, turn),
            State::Closing => Next::Close,
        }
    }

    fn event(&mut self, what: Event, turn: &mut Turn<'_>) -> Next {
        match what {
            Event::Late(_) => self.refuse(Refusal::Late, turn),
            Event::NoPermit | Event::NoThread | Event::NoMemory => self.refuse(Refusal::TooBusy, turn),
            Event::Called => Next::Unchanged,
            Event::ShuttingDown | Event::SendFailed => Next::Close,
        }
    }
}
