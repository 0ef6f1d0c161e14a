//! A server on a thread of its own, and clients that don't wait for ever.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use modest::{IntoProtocol, ServerHandle, Stats, TcpServer};

/// Nothing in these tests takes this long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running server; stopped and waited for when dropped.
pub struct Running {
    pub address: SocketAddr,
    pub handle: ServerHandle,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Serve this, with these settings, on a free port.
pub fn serve(handler: impl IntoProtocol, settings: impl FnOnce(TcpServer) -> TcpServer) -> Running {
    let server = settings(TcpServer::bind("127.0.0.1:0", handler).expect("a free port"));
    let (address, handle) = (server.local_addr(), server.handle());
    let thread = thread::spawn(move || server.serve_forever());
    Running { address, handle, thread: Some(thread) }
}

impl Running {
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Wait until the numbers are so.
    pub fn wait_for(&self, what: &str, fact: impl Fn(&Stats) -> bool) -> Stats {
        let start = Instant::now();
        loop {
            let stats = self.handle.stats();
            if fact(&stats) {
                return stats;
            }
            assert!(start.elapsed() < PATIENCE, "never: {what}; the numbers are {stats:?}");
            thread::yield_now();
        }
    }

    /// Wait for the end; how long it took.
    pub fn wait_for_end(&mut self) -> Duration {
        let start = Instant::now();
        self.thread.take().expect("waited for once").join().expect("no panic").expect("no error");
        start.elapsed()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.shutdown_now();
        if let Some(thread) = self.thread.take()
            && let Ok(result) = thread.join()
        {
            result.expect("serve_forever ends well");
        }
    }
}

/// One client, with a limit to everything it waits for.
pub struct Client {
    pub stream: TcpStream,
}

impl Client {
    pub fn new(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        self.stream.write_all(bytes.as_ref()).expect("the server takes it");
        self
    }

    /// Exactly these bytes come next.
    #[track_caller]
    pub fn expect(&mut self, wanted: impl AsRef<[u8]>) -> &mut Client {
        let wanted = wanted.as_ref();
        let mut came = vec![0; wanted.len()];
        let mut length = 0;
        while length < wanted.len() {
            match self.stream.read(&mut came[length..]) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(err) => panic!("waiting for {:?}: {err}", wanted.escape_ascii().to_string()),
            }
        }
        assert_eq!(
            came[..length].escape_ascii().to_string(),
            wanted.escape_ascii().to_string(),
            "left: what came, right: what was expected"
        );
        self
    }

    /// What comes up to the next end of a line.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).expect("a line to its end");
            line.extend(byte);
        }
        String::from_utf8(line).expect("text")
    }

    /// Everything until the end of the stream.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        self.stream.read_to_end(&mut all).unwrap_or_else(|err| {
            panic!("after {} bytes, {:?}: {err}", all.len(), all[..all.len().min(200)].escape_ascii().to_string())
        });
        all
    }

    /// The end of the stream comes next.
    #[track_caller]
    pub fn expect_end(&mut self) {
        assert_eq!(self.read_to_end().escape_ascii().to_string(), "", "nothing but the end was expected");
    }

    /// A reset comes, after whatever else.
    #[track_caller]
    pub fn expect_reset(&mut self) -> usize {
        let mut all = Vec::new();
        let err = self.stream.read_to_end(&mut all).expect_err("a reset");
        assert_eq!(err.kind(), io::ErrorKind::ConnectionReset, "after {} bytes", all.len());
        all.len()
    }

    /// Nothing more will be sent.
    pub fn half_close(&mut self) -> &mut Client {
        self.stream.shutdown(Shutdown::Write).unwrap();
        self
    }
}
