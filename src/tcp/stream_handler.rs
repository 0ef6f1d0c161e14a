//! Handlers that talk to a client through a blocking stream: Python's `StreamRequestHandler`. The conversations of this
//! protocol leave the engine in their first turn.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::contain::text_of;
use super::protocol::{Action, Conversation, Event, IntoProtocol, Protocol, Raw, Turn};
use super::stream::Stream;
use super::sync::{self, Instant, Mutex, lock};
use crate::log_limit::{LogLimit, and_others};

/// Handles each client through a blocking stream, like Python's `StreamRequestHandler`. Each client has a thread of its
/// own, up to [`TcpServer::max_streams`](crate::TcpServer::max_streams) threads. Served by [`streams`].
///
/// Required: `handle`. Called in this order: `verify_client`, `timeout`, `handle`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't handle streams",
    label = "this does not implement `StreamHandler`",
    note = "a closure must give the type of its argument and return `std::io::Result<()>`: `|stream: &mut Stream| ..`"
)]
pub trait StreamHandler: Send + Sync + 'static {
    /// Handles this client. The connection ends normally when the stream is dropped, and is reset after the error of a
    /// write. An error is logged with the client's address; at level debug if it means that the client has
    /// disconnected, that the stream [was cut](Stream::was_cut), that a timeout has passed or that the server shuts
    /// down.
    fn handle(&self, stream: &mut Stream) -> io::Result<()>;

    /// Returns whether to serve this client (Python's `verify_request`). It is called on a worker when the client has
    /// connected, and may block for a short time. A rejected client sees the end of the stream, and gets no thread.
    /// Default: true.
    fn verify_client(&self, client: &Client) -> bool {
        let _ = client;
        true
    }

    /// Returns how long a read, and how long a write, can wait for the client (Python's `timeout`), so that silent
    /// clients do not hold all threads. Default: 60 seconds; `None`: no limit. A closure can [set
    /// it](Stream::set_timeout) for each stream.
    fn timeout(&self) -> Option<Duration> {
        Some(Duration::from_secs(60))
    }
}

impl<F: Fn(&mut Stream) -> io::Result<()> + Send + Sync + 'static> StreamHandler for F {
    fn handle(&self, stream: &mut Stream) -> io::Result<()> {
        self(stream)
    }
}

/// Serves a [`StreamHandler`] or a closure: pass the result to [`TcpServer::bind`](crate::TcpServer::bind).
///
/// ```no_run
/// use std::io::{BufRead, Write};
/// use modest::raw::{Stream, streams};
/// use modest::TcpServer;
///
/// let echo = |stream: &mut Stream| {
///     let mut line = String::new();
///     while stream.read_line(&mut line)? > 0 {
///         stream.write_all(line.as_bytes())?;
///         line.clear();
///     }
///     Ok(())
/// };
/// TcpServer::bind("127.0.0.1:7000", streams(echo))?.serve_forever()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn streams<H: StreamHandler>(handler: H) -> impl IntoProtocol {
    let refused = LogLimit::new(BETWEEN_WARNINGS)
        .of("there is no thread for a stream, because the maximum number (max_streams) is reached");
    Raw(Streams(Arc::new(StreamServer { handler: Box::new(handler), refused: Mutex::new(refused) })))
}

/// The minimum time between two warnings about streams without a thread.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(10);

struct StreamServer {
    handler: Box<dyn StreamHandler>,
    /// The log of clients for which there was no thread.
    refused: Mutex<LogLimit<Instant>>,
}

struct Streams(Arc<StreamServer>);

struct StreamConversation(Arc<StreamServer>);

impl Protocol for Streams {
    fn meet(&self, client: &Client) -> Option<Box<dyn Conversation>> {
        self.0
            .handler
            .verify_client(client)
            .then(|| Box::new(StreamConversation(self.0.clone())) as Box<dyn Conversation>)
    }
}

impl Conversation for StreamConversation {
    fn turn(&mut self, _: &mut Turn<'_>) -> Action {
        Action::Take
    }

    fn event(&mut self, what: Event, turn: &mut Turn<'_>) -> Action {
        if what == Event::NoThread {
            let mut refused = lock(&self.0.refused);
            refused.count(1);
            if let Some(count) = refused.due(sync::now()) {
                drop(refused);
                let more = and_others(count);
                log::warn!(
                    "no thread for {}{more}: the maximum number of streams (max_streams) is reached",
                    turn.client
                );
            }
        }
        Action::Close
    }

    fn take(self: Box<Self>, mut stream: Stream) {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, WouldBlock};
        use io::ErrorKind::{InvalidData, UnexpectedEof};
        let handled = stream.set_timeout(self.0.handler.timeout()).and_then(|()| self.0.handler.handle(&mut stream));
        let Err(err) = handled else { return };
        if stream.writer.has_failed() {
            stream.reset(); // a `BufWriter` may have kept output back
        }
        let is_of_client = match err.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset | TimedOut | WouldBlock => true,
            InvalidData | UnexpectedEof => stream.was_cut(),
            _ => false,
        };
        let client = stream.client().clone();
        drop(stream); // the error is user code, whose panic would reset it
        let text = text_of(err);
        match is_of_client {
            true => log::debug!("{client}: the stream handler ended: {text}"),
            false => log::error!("{client}: the stream handler failed: {text}"),
        }
    }

    fn drop_may_block(&self) -> bool {
        false // it only drops a reference to the shared handler
    }
}

/// The socket, for its options and its peer (`SO_PEERCRED`). Read and write only through the stream, which has bytes
/// that were read ahead, and inside TLS the decrypted bytes. Don't make the socket non-blocking.
///
/// ```no_run
/// use modest::TcpServer;
/// use modest::raw::{Stream, streams};
/// use std::io::Write;
///
/// let who = |stream: &mut Stream| {
///     let peer = rustix::net::sockopt::socket_peercred(&*stream)?; // of a Unix socket
///     writeln!(stream, "you are user {}", peer.uid.as_raw())
/// };
/// TcpServer::bind("unix:/run/who.sock", streams(who))?.serve_forever()?;
/// # Ok::<(), std::io::Error>(())
/// ```
impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.writer.socket.as_fd()
    }
}

/// The descriptor of the socket (Python's `fileno`).
impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.writer.socket.as_raw_fd()
    }
}
