//! Line protocols: a handler of one line at a time, with or without a state per client. It uses only the public
//! interface of `protocol`.

mod sender; // lines from other threads

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::contain::{Contained, contain};
use super::protocol::{Action, Conversation, Event, IntoProtocol, Protocol, Stage, Turn};
use super::sync;
pub use sender::LineSender;
use sender::Sending;

/// A protocol of lines, for [`TcpServer::bind`](crate::TcpServer::bind). A handler gets each line of a client, appends
/// to a reply, and returns whether to continue.
///
/// A line ends with LF or CR LF, which the handler does not see. When the client has closed its sending side, bytes
/// after the last line end also count as a line, unless the stream [was cut](crate::raw::Input::was_cut). The reply is
/// sent unchanged, so a handler writes its own line ends. Lines are answered in order, and clients can send further
/// lines before they read the replies.
///
/// Handlers may block: up to [`TcpServer::workers`](crate::TcpServer::workers) of them run at once. Clients that are
/// idle, slow to send or slow to read hold no worker. A slow handler is logged with the first word of its line.
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
#[must_use = "serves no client until it is passed to `TcpServer::bind`"]
pub struct Lines {
    make: Box<MakeHandler>,
    verify: Option<Box<VerifyClient>>,
    config: Arc<Config>,
}

type MakeHandler = dyn Fn(&Client) -> Box<dyn LineHandler> + Send + Sync;
type VerifyClient = dyn Fn(&Client) -> bool + Send + Sync;

#[derive(Clone)]
struct Config {
    line_limit: usize,
    line_timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    push_limit: usize,
}

/// The maximum of the line limit: a line stays in the input until it is complete, and up to 64 KiB are read ahead.
const LONGEST_LINE: usize = 60 * 1024;

impl Lines {
    /// Uses one closure for all clients. It gets a line and the reply to append to.
    pub fn new<F>(handler: F) -> Lines
    where
        F: Fn(&str, &mut Vec<u8>) -> Flow + Send + Sync + 'static,
    {
        let handler = Arc::new(handler);
        Lines::per_client(move |_| Shared(handler.clone()))
    }

    /// Creates a handler for each client, with its own state.
    ///
    /// The handler is created when the client has connected, and its [greeting](LineHandler::greeting) is sent.
    /// Creating it may block, but should be short.
    pub fn per_client<H: LineHandler + 'static>(make: impl Fn(&Client) -> H + Send + Sync + 'static) -> Lines {
        let config = Config {
            line_limit: 8 * 1024,
            line_timeout: Some(Duration::from_secs(30)),
            idle_timeout: Some(Duration::from_secs(300)),
            push_limit: 64 * 1024,
        };
        Lines { make: Box::new(move |client| Box::new(make(client))), verify: None, config: Arc::new(config) }
    }

    /// Sets the maximum length of a line in bytes, without its end; a longer one is rejected with `the line is too
    /// long`. Default: 8 KiB; maximum: 60 KiB. It is a [`Refusal::TooLong`]. Then the connection is closed.
    pub fn line_limit(self, bytes: usize) -> Lines {
        self.with(|config| config.line_limit = bytes.min(LONGEST_LINE))
    }

    /// Sets how long a line can take, from its first byte to its end; a slower one is rejected with `the line took too
    /// long`. Default: 30 seconds; `None`: no limit. It is a [`Refusal::Late`]. Then the connection is closed.
    pub fn line_timeout(self, limit: impl Into<Option<Duration>>) -> Lines {
        self.with(|config| config.line_timeout = limit.into())
    }

    /// Sets how long a client can be silent between lines; then the connection is closed without a reply. Default: 5
    /// minutes; `None`: no limit.
    ///
    /// If [`max_connections`](crate::TcpServer::max_connections) clients are connected, a silent client is disconnected
    /// earlier, for a new client.
    pub fn idle_timeout(self, limit: impl Into<Option<Duration>>) -> Lines {
        self.with(|config| config.idle_timeout = limit.into())
    }

    /// Sets how many bytes of a [`LineSender`] can wait for their client to read; beyond it, sending fails. Default: 64
    /// KiB. If nothing waits, a longer text is also accepted. Up to 64 KiB that are already output do not count.
    pub fn push_limit(self, bytes: usize) -> Lines {
        self.with(|config| config.push_limit = bytes)
    }

    /// Serves only clients for which this closure returns true (Python's `verify_request`). Default: every client is
    /// served. It is called when a client has connected, and may block for a short time. A rejected client sees the end
    /// of the stream.
    pub fn verify_client(mut self, verify: impl Fn(&Client) -> bool + Send + Sync + 'static) -> Lines {
        self.verify = Some(Box::new(verify));
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Config)) -> Lines {
        change(Arc::make_mut(&mut self.config));
        self
    }
}

/// How to continue after a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "has an effect only if it is returned"]
#[non_exhaustive]
pub enum Flow {
    /// Handle the next line.
    Continue,
    /// Close the connection when the reply is sent.
    Close,
}

/// Handles the lines of one client: see [`Lines::per_client`]. Required: `line`. Called first: `opened`, then
/// `greeting`. Called last: `closed`.
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
    /// Called when the client has connected, with a sender. Other threads can send lines to the client at any time with
    /// a clone of it. It may block, but should be short. Default: nothing.
    fn opened(&mut self, sender: &LineSender) {
        let _ = sender;
    }

    /// Called before the client has sent anything. Default: no greeting.
    fn greeting(&mut self, reply: &mut Vec<u8>) -> Flow {
        let _ = reply;
        Flow::Continue
    }

    /// Handles one line, without its end. May block.
    fn line(&mut self, line: &str, reply: &mut Vec<u8>) -> Flow;

    /// Handles one line as bytes, for protocols that are not only text. May block.
    ///
    /// Default: passes it to `line` if it is UTF-8, and otherwise to `refuse` with [`Refusal::NotUtf8`].
    fn bytes(&mut self, line: &[u8], reply: &mut Vec<u8>) -> Flow {
        match std::str::from_utf8(line) {
            Ok(line) => self.line(line, reply),
            Err(_) => {
                self.refuse(Refusal::NotUtf8, reply);
                Flow::Close
            }
        }
    }

    /// Called for a client that is rejected; then the connection is closed. It may block, but should be short. Default:
    /// replies with the reason as a line.
    fn refuse(&mut self, why: Refusal, reply: &mut Vec<u8>) {
        reply.extend_from_slice(format!("{why}\r\n").as_bytes());
    }

    /// Called once and last, when the connection has ended, for any reason. Its sender [is gone](LineSender::is_gone).
    /// It may block, but should be short. Default: nothing.
    fn closed(&mut self, sender: &LineSender) {
        let _ = sender;
    }
}

/// The reason why a client is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// A line is longer than [`Lines::line_limit`].
    TooLong,
    /// A line is not UTF-8.
    NotUtf8,
    /// A line did not end within [`Lines::line_timeout`], or within 500 ms of a shutdown, or the connection had to make
    /// room for another client.
    Late,
    /// All workers have been in handlers for too long ([`TcpServer::queue_timeout`](crate::TcpServer::queue_timeout)),
    /// too many requests wait for a worker, or there is no memory for the client's lines
    /// ([`TcpServer::input_quota`](crate::TcpServer::input_quota)).
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
        if self.verify.as_ref().is_some_and(|verify| !verify(client)) {
            return None;
        }
        // From here on, `closed` is called when the connection has ended, even if the handler panics.
        let mut conversation = LineConversation {
            handler: Contained::new("dropping a handler of lines", (self.make)(client)),
            config: self.config.clone(),
            greeting: Vec::new(),
            sender: Sending::new(LineSender::new(self.config.push_limit)),
            state: State::Reading,
            stage: 0,
            searched: 0,
        };
        let begin = || {
            conversation.sender.open(|sender| conversation.handler.opened(sender));
            conversation.handler.greeting(&mut conversation.greeting)
        };
        match catch_unwind(AssertUnwindSafe(begin)) {
            Ok(Flow::Close) => conversation.state = State::Closing,
            Ok(_) => {}
            Err(payload) => {
                // The drop calls `closed`, which can panic for the same reason. During the first panic, that would
                // abort.
                contain("dropping a handler of lines", || drop(conversation));
                resume_unwind(payload)
            }
        }
        Some(Box::new(conversation))
    }
}

into_itself!(Lines);

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("line_limit", &self.config.line_limit).finish_non_exhaustive()
    }
}

struct LineConversation {
    handler: Contained<Box<dyn LineHandler>>,
    config: Arc<Config>,
    greeting: Vec<u8>, // until it is sent
    sender: Sending,
    state: State,
    stage: u32,      // each line has its own number
    searched: usize, // this many bytes of the input contain no line end
}

enum State {
    /// Waiting for a line.
    Reading,
    /// A line has arrived (may block).
    Handling,
    /// The handler has panicked (may block). Replies to earlier lines are written before the panic is passed on.
    Panicked(Box<dyn Any + Send>),
    /// A line is too long, and is to be rejected (may block).
    Refusing,
    Closing,
}

enum Found {
    /// The length of a line, without and with its end.
    Line(usize, usize),
    TooLong,
    Part,
    Nothing,
}

/// Lines that arrived together are handled in one turn, up to this many lines, this much output, and this much time in
/// handlers. Then the output is sent, and other connections come first.
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
            // A CR at the end may belong to the line end.
            None if bytes.strip_suffix(b"\r").unwrap_or(bytes).len() > limit => Found::TooLong,
            None if bytes.is_empty() || turn.input.was_cut() => Found::Nothing,
            None if turn.input.ended() => Found::Line(bytes.len(), bytes.len()),
            None => Found::Part,
        }
    }

    /// Returns what comes next, depending on the input. During a shutdown, a client that has had a reply gets no
    /// further one. The engine ends the connection of a client that has sent nothing.
    fn read(&mut self, answered: bool, turn: &mut Turn<'_>) -> Action {
        let found = self.find(turn);
        self.state = match found {
            Found::Line(..) => State::Handling,
            Found::TooLong => State::Refusing,
            Found::Part | Found::Nothing => State::Reading,
        };
        match found {
            Found::Line(..) => Action::Handle,
            Found::TooLong => Action::Brief,
            _ if turn.input.ended() => self.close(turn),
            _ if answered && turn.is_shutting_down() => self.close(turn),
            Found::Part => Action::Read {
                stage: Stage(self.stage),
                within: self.config.line_timeout,
                evictable: true,
                at_min_rate: false,
            },
            Found::Nothing => Action::Idle { within: self.config.idle_timeout },
        }
    }

    /// Handles the lines that have arrived. May block.
    fn handle(&mut self, turn: &mut Turn<'_>) -> Action {
        let start = sync::now();
        let mut reply = Vec::new(); // each line gets an empty one: this, or the output if that is empty
        for _ in 0..LINES {
            let Found::Line(length, whole) = self.find(turn) else { break };
            turn.handler_begins(first_word(&turn.input.bytes()[..length]).as_bytes());
            let line = &turn.input.bytes()[..length];
            let is_first = turn.output.pieces().next().is_none();
            let to = if is_first { turn.output.bytes() } else { &mut reply };
            let flow = match catch_unwind(AssertUnwindSafe(|| self.handler.bytes(line, to))) {
                Ok(flow) => flow,
                Err(payload) => {
                    to.clear();
                    self.state = State::Panicked(payload);
                    return Action::Brief;
                }
            };
            if !is_first {
                turn.output.bytes().append(&mut reply);
            }
            turn.input.consume(whole);
            self.searched = 0;
            self.stage = self.stage.wrapping_add(1);
            if flow == Flow::Close || self.sender.ending().is_some() {
                return self.close(turn);
            }
            if turn.output.owed() > REPLIES || sync::now() - start > TIME {
                break;
            }
        }
        self.read(true, turn)
    }

    /// Passes on the panic of a handler, whose line is still in the input.
    fn pass_on_panic(&mut self, turn: &Turn<'_>) -> Action {
        if let Found::Line(length, _) = self.find(turn) {
            turn.handler_begins(first_word(&turn.input.bytes()[..length]).as_bytes());
        }
        match std::mem::replace(&mut self.state, State::Closing) {
            State::Panicked(payload) => resume_unwind(payload),
            _ => Action::Abort,
        }
    }

    /// Ends the connection after everything that senders were allowed to send.
    fn close(&mut self, turn: &mut Turn<'_>) -> Action {
        self.state = State::Closing;
        self.sender.write_last(turn);
        self.sender.ending().unwrap_or(Action::Close)
    }

    fn refuse(&mut self, why: Refusal, turn: &mut Turn<'_>) -> Action {
        self.state = State::Closing;
        self.sender.write_last(turn);
        let mut reply = Vec::new();
        self.handler.refuse(why, &mut reply);
        turn.output.bytes().append(&mut reply);
        Action::Linger
    }
}

/// Calls `closed`. Runs with a permit, because `drop_may_block` is true.
impl Drop for LineConversation {
    fn drop(&mut self) {
        let accepted = self.sender.end();
        contain("LineHandler::closed", || self.handler.closed(accepted));
    }
}

/// Returns the name of a slow handler in the log: only the first word, because the rest of the line may be
/// confidential.
fn first_word(line: &[u8]) -> Cow<'_, str> {
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    String::from_utf8_lossy(&line[..end.min(LONGEST_WORD)])
}

const LONGEST_WORD: usize = 32;

impl Conversation for LineConversation {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        if !self.greeting.is_empty() {
            turn.output.bytes().append(&mut std::mem::take(&mut self.greeting));
        }
        self.sender.write(turn);
        match self.state {
            State::Reading | State::Handling if self.sender.ending().is_some() => self.close(turn),
            State::Reading => self.read(false, turn),
            State::Handling => self.handle(turn),
            State::Panicked(_) => self.pass_on_panic(turn),
            State::Refusing => self.refuse(Refusal::TooLong, turn),
            State::Closing => self.close(turn),
        }
    }

    /// The end of an idle connection, at its time limit, for a new client or at a shutdown.
    fn goodbye(&mut self, turn: &mut Turn<'_>) {
        self.sender.write_last(turn);
    }

    fn event(&mut self, what: Event, turn: &mut Turn<'_>) -> Action {
        if let State::Panicked(_) = self.state {
            return Action::Abort; // the handler is not called again
        }
        match what {
            Event::Late(_) => self.refuse(Refusal::Late, turn),
            Event::NoPermit | Event::NoThread | Event::NoMemory => self.refuse(Refusal::TooBusy, turn),
            Event::Called if self.sender.ending().is_some() => self.close(turn),
            Event::Called => {
                self.sender.write(turn);
                Action::Unchanged
            }
            Event::ShuttingDown | Event::SendFailed => Action::Close,
        }
    }
}
