//! A server that misbehaves on purpose, for tests of clients.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::{TestServer, serve};
use crate::http::sent::{Chunks, read_exactly, read_line};
use crate::mutex::lock;
use crate::raw::{Stream, streams};

/// Starts a server on a free port of `127.0.0.1`, for a test of a client. The script is called for each connection, in
/// a separate thread, and can send any bytes. The server is stopped when the value is dropped.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
/// use modest::testing;
///
/// let fake = testing::fake_server(|client| {
///     while client.request().is_some() {
///         client.send("HTTP/1.1 299 Strange\r\nContent-Length: 100\r\n\r\nonly this");
///         return; // hangs up
///     }
/// });
/// let mut stream = TcpStream::connect(fake.address())?; // the client to be tested
/// stream.write_all(b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
/// let mut response = String::new();
/// stream.read_to_string(&mut response)?;
/// assert!(response.ends_with("only this"));
/// assert_eq!(fake.requests()[0].line(), "GET /a HTTP/1.1");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
/// If there is no free port or no thread.
pub fn fake_server(script: impl Fn(&mut FakeClient<'_>) + Send + Sync + 'static) -> FakeServer {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    let server = serve(streams(move |stream: &mut Stream| {
        stream.set_timeout(None)?;
        script(&mut FakeClient { stream, seen: &seen });
        Ok(())
    }));
    FakeServer { server, requests }
}

/// A server that misbehaves: [`fake_server`].
#[derive(Debug)]
#[must_use = "it is stopped when it is dropped"]
pub struct FakeServer {
    server: TestServer,
    requests: Arc<Mutex<Vec<FakeRequest>>>,
}

impl FakeServer {
    /// Returns the address of the fake server.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns the URL of a path on the server: `http://127.0.0.1:40123/path`.
    pub fn url(&self, path: &str) -> String {
        self.server.url(path)
    }

    /// Returns the requests that the script has read so far.
    pub fn requests(&self) -> Vec<FakeRequest> {
        lock(&self.requests).clone()
    }
}

/// A client of a [`FakeServer`], as its script sees it. When the script returns, the connection ends normally.
#[derive(Debug)]
pub struct FakeClient<'a> {
    stream: &'a mut Stream,
    seen: &'a Mutex<Vec<FakeRequest>>,
}

impl FakeClient<'_> {
    /// Reads a whole request: its head, and a body with a length or in chunks. `None` if the client has disconnected,
    /// or the server is stopped.
    pub fn request(&mut self) -> Option<FakeRequest> {
        let request = FakeRequest::read(self.stream).ok()?;
        lock(self.seen).push(request.clone());
        Some(request)
    }

    /// Sends bytes as they are. Returns whether the client was still there.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends one chunk of a chunked body.
    pub fn chunk(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let bytes = bytes.as_ref();
        self.send([format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat())
    }

    /// Sends bytes one at a time, with a pause before each.
    pub fn send_slowly(&mut self, bytes: impl AsRef<[u8]>, pause: Duration) -> bool {
        bytes.as_ref().iter().all(|byte| {
            thread::sleep(pause);
            self.send([*byte])
        })
    }

    /// Does nothing for this time.
    pub fn pause(&mut self, time: Duration) {
        thread::sleep(time);
    }

    /// Sends nothing until the client has disconnected, or the server is stopped.
    pub fn stall(&mut self) {
        while self.stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {}
    }

    /// Resets the connection when the script returns.
    pub fn reset(&mut self) {
        self.stream.reset();
    }

    /// Returns the connection itself, for anything else.
    pub fn stream(&mut self) -> &mut Stream {
        self.stream
    }
}

/// A request that a [`FakeServer`] has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeRequest {
    line: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl FakeRequest {
    /// Returns the request line, as sent.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Returns the first field of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Returns all fields, in order.
    pub fn headers(&self) -> &[(String, String)] {
        &self.fields
    }

    /// Returns the body, decoded from chunks.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    fn read(from: &mut Stream) -> io::Result<FakeRequest> {
        let (line, fields) = (read_line(from)?, read_fields(from)?);
        let mut request = FakeRequest { line, fields, body: Vec::new() };
        let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        match request.header("transfer-encoding") {
            Some(_) => _ = Chunks::new(from, true).read_to_end(&mut request.body)?,
            None => read_exactly(from, length, &mut request.body)?,
        }
        Ok(request)
    }
}

fn read_fields(from: &mut Stream) -> io::Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = read_line(from)?;
        let Some((name, value)) = line.split_once(':') else { return Ok(fields) };
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
}
