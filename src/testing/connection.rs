//! A client that a test controls. It can be slow, silent or half-closed, or send bytes that are not HTTP.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::{PATIENCE, SentResponse, TestRequest, Within, value_of};
use crate::Method;

/// A connection on which a test sends any bytes: [`TestServer::open`](super::TestServer::open). Dropping it
/// disconnects.
///
/// ```
/// use std::time::Duration;
/// use modest::testing::{self, End};
/// use modest::{Http, Response, handler_fn};
///
/// let app = Http::new(handler_fn(|_| Ok(Response::text("hello")))).head_timeout(Duration::from_millis(50));
/// let server = testing::serve(app);
/// let mut slow = server.open();
/// slow.send("GET / HTTP/1.1\r\nHost:"); // the rest never follows
/// assert_eq!(slow.response("GET").status(), 408);
/// assert_eq!(slow.end(), End::Closed);
/// ```
pub struct TestConnection(BufReader<Within>);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With the end of the stream.
    Closed,
    /// By a reset: the received bytes may be incomplete.
    Reset,
}

impl TestConnection {
    pub(super) fn connect(address: SocketAddr, receive_buffer: Option<usize>) -> io::Result<TestConnection> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?; // set before connecting, because the window would be larger otherwise
        }
        socket.connect_timeout(&address.into(), PATIENCE)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(TestConnection(BufReader::new(Within::new(stream))))
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// If the server reads nothing for 30 seconds. If it has disconnected, the call has no effect, and its response can
    /// still be read.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut TestConnection {
        if let Err(error) = self.stream().write_all(bytes.as_ref())
            && matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
        {
            panic!("the server read nothing for 30 seconds");
        }
        self
    }

    /// Sends bytes one at a time, with a pause after each.
    ///
    /// # Panics
    /// As [`send`](TestConnection::send).
    #[track_caller]
    pub fn send_slowly(&mut self, bytes: impl AsRef<[u8]>, pause: Duration) -> &mut TestConnection {
        for byte in bytes.as_ref() {
            self.send([*byte]);
            thread::sleep(pause);
        }
        self
    }

    /// Sends a request that keeps the connection.
    ///
    /// # Panics
    /// As [`send`](TestConnection::send).
    #[track_caller]
    pub fn send_request(&mut self, request: impl Into<TestRequest>) -> &mut TestConnection {
        let request = request.into();
        let bytes = [request.head_with("keep-alive"), request.body.clone()].concat();
        self.send(bytes)
    }

    /// Sends the end of the stream. Reading is still possible.
    pub fn half_close(&mut self) -> &mut TestConnection {
        let _ = self.stream().shutdown(Shutdown::Write); // fails only if the server has disconnected
        self
    }

    /// Waits for a response to a request with this method.
    ///
    /// # Panics
    /// If there is no well-formed response within 30 seconds.
    #[track_caller]
    pub fn response(&mut self, method: &str) -> SentResponse {
        let method = method.parse().unwrap_or(Method::GET);
        self.0.get_mut().begin();
        let response = SentResponse::read(&mut self.0, &method);
        self.0.get_mut().end = None;
        value_of(response, format_args!("no response to {method}"))
    }

    /// Waits for this number of bytes.
    ///
    /// # Panics
    /// If the connection ends before, or none arrive for 30 seconds.
    #[track_caller]
    pub fn receive(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count);
        let read = (&mut self.0).take(count as u64).read_to_end(&mut bytes);
        let why = read.err().map_or_else(|| "the end of the connection".to_owned(), |error| error.to_string());
        let received = String::from_utf8_lossy(&bytes);
        assert!(bytes.len() == count, "expected {count} bytes; received {}, then {why}: {received:?}", bytes.len());
        bytes
    }

    /// Reads to the end.
    ///
    /// # Panics
    /// If nothing arrives for 30 seconds.
    #[track_caller]
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Ok(_) => (bytes, End::Closed),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                (bytes, End::Reset)
            }
            Err(error) => panic!("the connection has no end: {error}"),
        }
    }

    /// Waits for the end, and drops what arrives before.
    ///
    /// # Panics
    /// As [`rest`](TestConnection::rest).
    #[track_caller]
    pub fn end(&mut self) -> End {
        self.rest().1
    }

    /// Disconnects with a reset, like a client that crashes.
    pub fn reset(self) {
        let _ = SockRef::from(self.stream()).set_linger(Some(Duration::ZERO)); // fails only if it has ended
    }

    fn stream(&self) -> &TcpStream {
        &self.0.get_ref().stream
    }
}

opaque!(TestConnection);

/// A request whose response has not arrived yet: [`TestServer::begin`](super::TestServer::begin). Dropping it
/// disconnects.
#[derive(Debug)]
pub struct TestPending {
    pub(super) connection: TestConnection,
    pub(super) method: Method,
}

impl TestPending {
    /// Waits for the response.
    ///
    /// # Panics
    /// If there is no well-formed response within 30 seconds.
    #[track_caller]
    pub fn response(mut self) -> SentResponse {
        self.connection.response(self.method.as_str())
    }
}
