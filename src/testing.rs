//! A server for tests, and a small client for it. It uses only the public API.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::http::SentResponse;
use crate::{IntoProtocol, Method, ServerHandle, TcpServer};

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
pub fn serve(handler: impl IntoProtocol) -> TestServer {
    let server = TcpServer::bind("127.0.0.1:0", handler).and_then(|server| {
        let server = server.shutdown_timeout(SHUTDOWN);
        let address = server.local_addr();
        let handle = server.handle();
        let thread = thread::Builder::new().name("server".into()).spawn(move || server.serve_forever())?;
        Ok(TestServer { address, handle, thread: Some(thread) })
    });
    server.unwrap_or_else(|error| panic!("no server for the test: {error}"))
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
    /// The address of the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path on it: `http://127.0.0.1:40123/path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The handle of the server, for statistics and for a shutdown during the test.
    pub fn handle(&self) -> &ServerHandle {
        &self.handle
    }

    /// Sends a GET on a new connection and returns the response.
    ///
    /// # Panics
    /// If there is no well-formed response within 30 seconds.
    pub fn get(&self, target: &str) -> SentResponse {
        self.send(TestRequest::new(Method::GET, target))
    }

    /// Sends a POST with this body and returns the response.
    ///
    /// # Panics
    /// As [`get`](TestServer::get).
    pub fn post(&self, target: &str, body: impl Into<Vec<u8>>) -> SentResponse {
        self.send(TestRequest::new(Method::POST, target).with_body(body))
    }

    /// Sends a POST with this value as JSON and returns the response.
    ///
    /// # Panics
    /// As [`get`](TestServer::get); also if it can't be serialized.
    #[cfg(feature = "json")]
    pub fn post_json<T: serde::Serialize + ?Sized>(&self, target: &str, value: &T) -> SentResponse {
        self.send(TestRequest::new(Method::POST, target).with_json(value))
    }

    /// Sends any request and returns the response.
    ///
    /// # Panics
    /// As [`get`](TestServer::get).
    pub fn send(&self, request: TestRequest) -> SentResponse {
        let TestRequest { method, target, .. } = &request;
        match self.try_send(&request) {
            Ok(response) => response,
            Err(error) => panic!("{method} {target}: {error}"),
        }
    }

    fn try_send(&self, request: &TestRequest) -> io::Result<SentResponse> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // A server may respond before it has read the whole request. Then the rest cannot be written, and the response
        // counts.
        let sent = stream.write_all(&request.head()).and_then(|()| stream.write_all(&request.body));
        let within = Within { stream, end: Instant::now() + PATIENCE };
        SentResponse::read(&mut BufReader::new(within), &request.method).map_err(|error| sent.err().unwrap_or(error))
    }
}

/// Reads until a deadline, however slowly the bytes arrive.
struct Within {
    stream: TcpStream,
    end: Instant,
}

impl Read for Within {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no whole response within 30 seconds"));
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buffer)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.handle.shutdown();
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(_)) | Some(Ok(Err(_))) = ended
            && !thread::panicking()
        {
            panic!("the server of the test did not end well: {ended:?}");
        }
    }
}

/// A request to a [`TestServer`].
///
/// ```
/// use modest::testing::TestRequest;
/// use modest::{Method, Response, handler_fn, testing};
///
/// let server = testing::serve(handler_fn(|request| Ok(Response::text(request.header("x-key").unwrap_or("?").to_owned()))));
/// let request = TestRequest::new(Method::PUT, "/").with_header("x-key", "7").with_body("hello");
/// assert_eq!(server.send(request).text(), "7");
/// ```
#[derive(Clone, Debug)]
#[must_use = "is sent only by `TestServer::send`"]
pub struct TestRequest {
    method: Method,
    target: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl TestRequest {
    /// A request with this method and target, and with `Host: localhost`.
    pub fn new(method: Method, target: impl Into<String>) -> TestRequest {
        TestRequest { method, target: target.into(), fields: Vec::new(), body: Vec::new() }
    }

    /// Adds a field, which is sent unchanged, valid or not. `Host` replaces the default one. `Content-Length` and
    /// `Transfer-Encoding` replace the body's field.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> TestRequest {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// Sets the body, and its `Content-Length`.
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> TestRequest {
        self.body = body.into();
        self
    }

    /// Sets the body to this value as JSON, with its `Content-Length` and `Content-Type`.
    ///
    /// ```
    /// use modest::testing::{self, TestRequest};
    /// use modest::{Method, Response, handler_fn};
    ///
    /// let server = testing::serve(handler_fn(|request| Ok(Response::json(&request.json::<[u32; 2]>()?.iter().sum::<u32>()))));
    /// let request = TestRequest::new(Method::PUT, "/").with_json(&[1, 2]);
    /// assert_eq!(server.send(request).json::<u32>(), 3);
    /// ```
    ///
    /// # Panics
    /// If the value cannot be serialized.
    #[cfg(feature = "json")]
    pub fn with_json<T: serde::Serialize + ?Sized>(self, value: &T) -> TestRequest {
        let body = serde_json::to_vec(value).expect("the value is JSON");
        self.with_header("Content-Type", "application/json").with_body(body)
    }

    fn head(&self) -> Vec<u8> {
        let has = |name: &str| self.fields.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !has("host") {
            head.push_str("Host: localhost\r\n");
        }
        if !has("connection") {
            head.push_str("Connection: close\r\n");
        }
        let has_body = !self.body.is_empty() || [Method::POST, Method::PUT, Method::PATCH].contains(&self.method);
        if has_body && !has("content-length") && !has("transfer-encoding") {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}
