//! Servers for tests, with small clients, and a server that misbehaves, for tests of clients. Uses the public API, and
//! the parsers of `http` for responses and dates.

mod asserting; // assertions about responses
mod browser; // a client that keeps its cookies
mod connection; // a client that is slow, silent or broken
mod events; // a client of an event stream
mod fake; // a server that misbehaves on purpose
mod request; // a request with its fields, its form or its files
#[cfg(feature = "websocket")]
mod websocket; // a WebSocket client

use std::fmt::{self, Display};
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

#[cfg(feature = "websocket")]
use http::HeaderMap;

use crate::http::SentResponse;
use crate::{IntoProtocol, Method, ServerHandle, Stats, TcpServer};
pub use browser::Browser;
pub use connection::{End, TestConnection, TestPending};
pub use events::{TestEvent, TestEvents};
pub use fake::{FakeClient, FakeRequest, FakeServer, fake_server};
pub use request::TestRequest;
#[cfg(feature = "websocket")]
pub use websocket::TestWebSocket;

/// How long the client waits for a whole response.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the server waits for handlers and streams when it is dropped.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// Serves this handler on a free port of `127.0.0.1`, for a test. The server shuts down when the value is dropped, and
/// waits up to one second for handlers and streams.
///
/// ```
/// use modest::{Response, handler_fn, testing};
///
/// let server = testing::serve(handler_fn(|request| Ok(Response::text(request.text()?.to_uppercase()))));
/// assert_eq!(server.post("/", "hello").text(), "HELLO");
/// ```
///
/// # Panics
/// If there is no free port or no thread.
#[track_caller]
pub fn serve(handler: impl IntoProtocol) -> TestServer {
    let server = TcpServer::bind("127.0.0.1:0", handler);
    start(value_of(server, format_args!("no server for the test")).shutdown_timeout(SHUTDOWN))
}

/// Starts a server with its own settings, for a test. It is shut down when the value is dropped, with its own
/// [shutdown timeout](TcpServer::shutdown_timeout).
///
/// ```
/// use modest::{Response, TcpServer, handler_fn, testing};
///
/// let server = TcpServer::bind("127.0.0.1:0", handler_fn(|_| Ok(Response::text("hello"))))?.workers(2);
/// assert_eq!(testing::start(server).get("/").text(), "hello");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
/// If it has no IP address, or if there is no thread.
#[track_caller]
pub fn start(server: TcpServer) -> TestServer {
    let (address, handle) = (server.local_addr(), server.handle());
    let thread = thread::Builder::new().name("server".into()).spawn(move || server.serve_forever());
    let thread = value_of(thread, format_args!("no server for the test"));
    TestServer { address, handle, thread: Some(thread) }
}

/// A server in a test: [`serve`].
#[derive(Debug)]
#[must_use = "it is shut down when it is dropped"]
pub struct TestServer {
    address: SocketAddr,
    handle: ServerHandle,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl TestServer {
    /// Returns the address of the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of a path on the server: `http://127.0.0.1:40123/path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns the handle of the server, for statistics and for a shutdown during the test.
    pub fn handle(&self) -> &ServerHandle {
        &self.handle
    }

    /// Sends a GET on a new connection and returns the response.
    ///
    /// # Panics
    /// If there is no well-formed response within 30 seconds.
    #[track_caller]
    pub fn get(&self, target: &str) -> SentResponse {
        self.send(TestRequest::new(Method::GET, target))
    }

    /// Sends a POST with this body and returns the response.
    ///
    /// # Panics
    /// As [`get`](TestServer::get).
    #[track_caller]
    pub fn post(&self, target: &str, body: impl Into<Vec<u8>>) -> SentResponse {
        self.send(TestRequest::new(Method::POST, target).with_body(body))
    }

    /// Sends a PUT with this body and returns the response.
    ///
    /// # Panics
    /// As [`get`](TestServer::get).
    #[track_caller]
    pub fn put(&self, target: &str, body: impl Into<Vec<u8>>) -> SentResponse {
        self.send(TestRequest::new(Method::PUT, target).with_body(body))
    }

    /// Sends a DELETE and returns the response.
    ///
    /// # Panics
    /// As [`get`](TestServer::get).
    #[track_caller]
    pub fn delete(&self, target: &str) -> SentResponse {
        self.send(TestRequest::new(Method::DELETE, target))
    }

    /// Sends a POST with this value as JSON and returns the response.
    ///
    /// # Panics
    /// Panics as [`get`](TestServer::get) does, and if the value can't be serialized.
    #[cfg(feature = "json")]
    #[track_caller]
    pub fn post_json<T: serde::Serialize + ?Sized>(&self, target: &str, value: &T) -> SentResponse {
        self.send(TestRequest::new(Method::POST, target).with_json(value))
    }

    /// Sends any request and returns the response. The request is a [`TestRequest`], or a [`Request`](crate::Request)
    /// as for [`Http::respond`](crate::Http::respond), so that the same test can run with and without a socket.
    ///
    /// ```
    /// use modest::{Request, Response, handler_fn, testing};
    ///
    /// let server = testing::serve(handler_fn(|request| Ok(Response::text(request.text()?.to_uppercase()))));
    /// assert_eq!(server.send(Request::post("/", "hello").with_header("x", "y")).text(), "HELLO");
    /// ```
    ///
    /// # Panics
    /// As [`get`](TestServer::get).
    #[track_caller]
    pub fn send(&self, request: impl Into<TestRequest>) -> SentResponse {
        let request = request.into();
        let TestRequest { method, target, .. } = &request;
        value_of(self.try_send(&request), format_args!("{method} {target}"))
    }

    /// Sends a request without waiting for the response, for long polls and for handlers that wait.
    ///
    /// ```
    /// use std::sync::{Arc, OnceLock};
    /// use modest::live::Signal;
    /// use modest::{Request, Response, handler_fn, testing};
    ///
    /// let (result, done) = (Arc::new(OnceLock::new()), Signal::new());
    /// let (known, signal) = (result.clone(), done.clone());
    /// let server = testing::serve(handler_fn(move |_| {
    ///     let ticket = signal.ticket();
    ///     Ok(known.get().map_or_else(|| Response::wait_for(ticket, None), |text: &String| Response::text(text)))
    /// }));
    /// let poll = server.begin(Request::get("/"));
    /// server.wait_until("it waits", |stats| stats.long_polls == 1);
    /// result.set("ready".to_owned()).unwrap();
    /// done.notify();
    /// assert_eq!(poll.response().text(), "ready");
    /// ```
    ///
    /// # Panics
    /// If there is no connection.
    #[track_caller]
    pub fn begin(&self, request: impl Into<TestRequest>) -> TestPending {
        let request = request.into();
        let mut connection = self.open();
        connection.send([request.head(), request.body].concat());
        TestPending { connection, method: request.method }
    }

    /// Opens a connection on which the test sends any bytes, for a client that is slow, silent or half-closed.
    ///
    /// # Panics
    /// If there is no connection.
    #[track_caller]
    pub fn open(&self) -> TestConnection {
        self.open_with(None)
    }

    /// Opens a connection with a small receive buffer, so that the server soon notices that the test reads nothing. The
    /// system may double the number, and has a minimum of about 2 KiB.
    ///
    /// # Panics
    /// If there is no connection.
    #[track_caller]
    pub fn open_narrow(&self, receive_buffer: usize) -> TestConnection {
        self.open_with(Some(receive_buffer))
    }

    #[track_caller]
    fn open_with(&self, receive_buffer: Option<usize>) -> TestConnection {
        let connection = TestConnection::connect(self.address, receive_buffer);
        value_of(connection, format_args!("no connection to {}", self.address))
    }

    /// Waits until `fact` is true for the statistics of the server, and returns them. `what` names it in the panic.
    ///
    /// # Panics
    /// If that takes over 30 seconds.
    #[track_caller]
    pub fn wait_until(&self, what: &str, fact: impl Fn(&Stats) -> bool) -> Stats {
        let end = Instant::now() + PATIENCE;
        loop {
            let stats = self.handle.stats();
            if fact(&stats) {
                return stats;
            }
            assert!(Instant::now() < end, "timeout after 30 seconds while waiting until {what}: {stats:?}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Returns a client that keeps its cookies.
    pub fn browser(&self) -> Browser<'_> {
        Browser::new(self)
    }

    /// Sends a GET for events on a new connection, and returns them as they come. Takes a target, or a request with
    /// fields such as `Authorization` or `Last-Event-ID`. [`Browser::events`] sends cookies.
    ///
    /// ```
    /// use modest::live::Broadcast;
    /// use modest::{Response, handler_fn, testing};
    ///
    /// let prices = Broadcast::new();
    /// let (channel, listener) = (prices.clone(), prices.clone());
    /// let server = testing::serve(handler_fn(move |request| Ok(Response::events(listener.listen(request)?))));
    /// let mut events = server.events("/");
    /// channel.send("7");
    /// assert_eq!(events.next_event().unwrap().data, "7");
    /// ```
    ///
    /// # Panics
    /// If there is no response within 30 seconds, or it is not a 200 with `text/event-stream`.
    #[track_caller]
    pub fn events(&self, request: impl Into<TestRequest>) -> TestEvents {
        let request = request.into();
        let has_accept = request.field("accept").is_some();
        let request = if has_accept { request } else { request.with_header("Accept", "text/event-stream") };
        let TestRequest { method, target, .. } = &request;
        let events = self.connect().and_then(|mut stream| {
            stream.write_all(&request.head())?;
            TestEvents::new(BufReader::new(Within::new(stream)))
        });
        let events = value_of(events, format_args!("{method} {target}"));
        let is_stream =
            events.response().header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
        assert!(
            is_stream && events.response().status() == 200,
            "{method} {target}: no events: {:?}",
            events.response()
        );
        events
    }

    /// Opens a WebSocket on a new connection. Takes a target, or a request with fields such as `Authorization` or
    /// `Origin`. [`Browser::websocket`] sends cookies.
    ///
    /// ```
    /// use modest::websocket::{self, Message, Socket, WebSocketHandler};
    /// use modest::{Result, handler_fn, testing};
    ///
    /// struct Echo;
    ///
    /// impl WebSocketHandler for Echo {
    ///     fn message(&mut self, message: Message, socket: &Socket) -> Result<()> {
    ///         Ok(socket.send(message)?)
    ///     }
    /// }
    ///
    /// let server = testing::serve(handler_fn(|request| websocket::accept(request, Echo)));
    /// let mut socket = server.websocket("/");
    /// socket.send("hello");
    /// assert_eq!(socket.receive().unwrap().as_text(), Some("hello"));
    /// ```
    ///
    /// A test of a rejection sends the same request with [`send`](TestServer::send), which returns the response.
    ///
    /// # Panics
    /// If the server does not accept it within 30 seconds, if the method is not GET, or if a field is invalid.
    #[cfg(feature = "websocket")]
    #[track_caller]
    pub fn websocket(&self, request: impl Into<TestRequest>) -> TestWebSocket {
        self.open_websocket(&request.into()).0
    }

    /// Opens a WebSocket, and also returns the fields of the response.
    #[cfg(feature = "websocket")]
    #[track_caller]
    fn open_websocket(&self, request: &TestRequest) -> (TestWebSocket, HeaderMap) {
        let url = format!("ws://{}{}", self.address, request.target);
        let stream = self.connect().map_err(|error| error.to_string());
        let socket = stream.and_then(|stream| TestWebSocket::connect(&url, request, Within::new(stream)));
        value_of(socket, format_args!("{url}"))
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    fn try_send(&self, request: &TestRequest) -> io::Result<SentResponse> {
        let mut stream = self.connect()?;
        // A server may respond before it has read the whole request. Writing the rest then fails, and only the response
        // matters.
        let sent = stream.write_all(&request.head()).and_then(|()| stream.write_all(&request.body));
        let mut within = Within::new(stream);
        within.begin();
        let response = SentResponse::read(&mut BufReader::new(within), &request.method);
        response.map(|response| response.to(request.text())).map_err(|error| sent.err().unwrap_or(error))
    }
}

/// Returns the value. An error fails the test at the line that calls the public function.
#[track_caller]
fn value_of<T, E: Display>(result: Result<T, E>, what: fmt::Arguments<'_>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error}"),
    }
}

/// A stream with a deadline for all reads together, or, without a deadline, with a time limit for each read.
#[derive(Debug)]
struct Within {
    stream: TcpStream,
    end: Option<Instant>,
    patience: Duration,
}

impl Within {
    fn new(stream: TcpStream) -> Within {
        Within { stream, end: None, patience: PATIENCE }
    }

    /// Begins the time for all further reads together. Heartbeats and pings do not extend it.
    #[track_caller]
    fn begin(&mut self) {
        self.end = Some(Instant::now() + self.patience);
    }
}

impl Read for Within {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let late = || io::Error::new(ErrorKind::TimedOut, format!("timed out after {:?}", self.patience));
        let left = self.end.map_or(self.patience, |end| end.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Err(late());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buffer).map_err(|error| if error.kind() == ErrorKind::WouldBlock { late() } else { error })
    }
}

/// For WebSockets. The stream has a time limit for each write.
impl Write for Within {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.handle.shutdown();
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(_)) | Some(Ok(Err(_))) = ended
            && !thread::panicking()
        {
            panic!("the server of the test failed: {ended:?}");
        }
    }
}

#[cfg(test)]
mod tests;
