//! Copies bytes in both directions after a 101, until both directions have ended. It runs on the thread of the client's
//! stream and one more. When one direction has ended, the other can continue until it has been silent for too long. A
//! client that reads too little is disconnected, because its backend may have ended long before.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::upstream::Upstream;
use crate::http::PacedWriter;
use crate::raw::{Stream, StreamWriter};

/// Copies both ways. The end of one side is passed on to the other; an error ends both. `patience` limits how long one
/// direction can be silent after the other has ended.
pub(super) fn join(stream: Stream, upstream: Upstream, patience: Option<Duration>) {
    if let Err(error) = copy_both(stream, upstream, patience) {
        log::debug!("proxy: a connection of another protocol ended: {error}");
    }
}

fn copy_both(mut stream: Stream, upstream: Upstream, patience: Option<Duration>) -> io::Result<()> {
    upstream.stream.set_nonblocking(false)?;
    let backend = Arc::clone(&upstream.stream);
    let state = Mutex::new(State { ended: 0, passed: Instant::now() });
    let tunnel = Arc::new(Tunnel { client: stream.writer(), backend, patience, state, changed: Condvar::new() });
    let (down, to_client) = (Arc::clone(&tunnel), stream.paced_writer()?);
    let thread = std::thread::Builder::new().name("proxy".into()).stack_size(256 * 1024);
    let downstream = thread.spawn(move || down.copy_down(upstream, to_client))?;
    let copied = io::copy(&mut stream, &mut Noted { to: &*tunnel.backend, tunnel: &tunnel }).map(drop);
    let _ = tunnel.backend.shutdown(Shutdown::Write); // an error: the backend has ended it
    tunnel.end(copied.as_ref().err().map(|_| Shutdown::Both));
    let ended = downstream.join().unwrap_or(Ok(())).and(copied);
    if ended.is_err() {
        stream.reset(); // the client has not received everything
    }
    ended
}

/// Both sides, so that the direction that ends first can end the other.
struct Tunnel {
    client: StreamWriter,
    backend: Arc<TcpStream>,
    patience: Option<Duration>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// How many directions have ended.
    ended: usize,
    /// When bytes were last copied.
    passed: Instant,
}

impl Tunnel {
    fn copy_down(&self, upstream: Upstream, client: PacedWriter) -> io::Result<()> {
        let mut noted = Noted { to: client, tunnel: self };
        let copied = noted.write_all(upstream.bytes()).and_then(|()| io::copy(&mut &*upstream.stream, &mut noted));
        let ended = copied.and_then(|_| noted.to.end());
        // An error, whose stream is reset, must not look like its end to a client that begins to read now.
        self.end(ended.as_ref().err().map(|_| Shutdown::Read));
        ended
    }

    /// Called when one direction has ended. Waits for the other direction, and ends both sides when that has been
    /// silent for too long. After an error both are ended at once, because the other direction may be blocked by a side
    /// that no longer reads: the client's side in this way.
    fn end(&self, after_error: Option<Shutdown>) {
        if let Some(how) = after_error {
            self.end_both(how);
        }
        let mut state = self.lock();
        state.ended += 1;
        state.passed = Instant::now();
        self.changed.notify_all();
        let Some(patience) = self.patience else { return };
        while state.ended < 2 {
            let left = patience.saturating_sub(state.passed.elapsed());
            if left.is_zero() {
                return self.end_both(Shutdown::Both);
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn end_both(&self, client: Shutdown) {
        // They may already be closed.
        let _ = (self.client.shutdown(client), self.backend.shutdown(Shutdown::Both));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A writer that records when bytes are copied.
struct Noted<'a, W> {
    to: W,
    tunnel: &'a Tunnel,
}

impl<W: Write> Write for Noted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.tunnel.lock().passed = Instant::now();
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use crate::{ReverseProxy, ServerHandle, TcpServer};

    const PATIENCE: Duration = Duration::from_secs(30);

    fn read_head(stream: &mut TcpStream) -> String {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(stream.read(&mut byte).unwrap(), 1, "{:?}", String::from_utf8_lossy(&head));
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap()
    }

    /// Repeats a request until the backend accepts it. It is rejected while an earlier tunnel has the only place, which
    /// becomes free shortly after both sides have seen the end.
    fn request(server: &TcpServer, backend: &TcpListener) -> (TcpStream, TcpStream) {
        backend.set_nonblocking(true).unwrap();
        let begun = Instant::now();
        loop {
            let mut client = TcpStream::connect(server.local_addr().to_string()).unwrap();
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").unwrap();
            client.set_nonblocking(true).unwrap();
            while client.peek(&mut [0]).is_err() {
                if let Ok((upstream, _)) = backend.accept() {
                    [&client, &upstream].iter().for_each(|stream| stream.set_nonblocking(false).unwrap());
                    return (client, upstream);
                }
                assert!(begun.elapsed() < PATIENCE, "the request did not reach the backend");
                std::thread::yield_now();
            }
        }
    }

    /// Shuts the server down when dropped, even if a check fails.
    struct Serving(ServerHandle);

    impl Drop for Serving {
        fn drop(&mut self) {
            self.0.shutdown();
        }
    }

    /// Both sides of an upgraded connection.
    fn tunnel(server: &TcpServer, backend: &TcpListener) -> (TcpStream, TcpStream) {
        let (mut client, mut upstream) = request(server, backend);
        read_head(&mut upstream);
        upstream.write_all(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").unwrap();
        let head = read_head(&mut client);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        (client, upstream)
    }

    /// Runs a check twice: with the client as the first side, and with the backend.
    fn for_each_side(set: impl Fn(ReverseProxy) -> ReverseProxy, check: impl Fn(&str, TcpStream, TcpStream)) {
        let backend = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", backend.local_addr().unwrap());
        let server = TcpServer::bind("127.0.0.1:0", set(ReverseProxy::new(&url).unwrap())).unwrap();
        std::thread::scope(|scope| {
            let _serving = Serving(server.handle());
            scope.spawn(|| server.serve_forever().unwrap());
            for first in ["client", "backend"] {
                let (client, upstream) = tunnel(&server, &backend);
                let (one, other) = if first == "client" { (client, upstream) } else { (upstream, client) };
                check(first, one, other);
            }
        });
    }

    /// Writes until nothing more is accepted for a while. Returns how many bytes were accepted.
    fn fill(stream: &mut TcpStream) -> usize {
        stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        std::iter::from_fn(|| stream.write(&[b'x'; 65_536]).ok()).sum()
    }

    /// Neither side reads, and one is reset. The other is ended without waiting.
    #[test]
    fn a_reset_ends_a_tunnel_that_is_full() {
        for_each_side(
            |proxy| proxy.half_close_timeout(None),
            |first, mut one, mut other| {
                fill(&mut one);
                fill(&mut other);
                drop(one); // with unread bytes: a reset
                other.set_read_timeout(Some(PATIENCE)).unwrap();
                let rest = std::io::copy(&mut other, &mut std::io::sink());
                let is_ended = rest.as_ref().map_or_else(|error| error.kind() != ErrorKind::WouldBlock, |_| true);
                assert!(is_ended, "{first}: {rest:?}");
            },
        );
    }

    /// A client that reads nothing loses its place, even if it sends, and even if the backend has ended.
    #[test]
    fn a_client_that_reads_nothing_is_disconnected() {
        let limit = Duration::from_secs(2); // longer than everything before `request` takes
        let backend = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", backend.local_addr().unwrap());
        let proxy = ReverseProxy::new(&url).unwrap().at_once(1).half_close_timeout(None);
        let server = TcpServer::bind("127.0.0.1:0", proxy).unwrap().write_timeout(limit).min_rate(None);
        std::thread::scope(|scope| {
            let _serving = Serving(server.handle());
            scope.spawn(|| server.serve_forever().unwrap());
            let (mut client, mut upstream) = tunnel(&server, &backend);
            fill(&mut upstream);
            client.write_all(b"x").unwrap();
            upstream.shutdown(Shutdown::Write).unwrap();
            let (_next, _) = request(&server, &backend);
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            let rest = std::io::copy(&mut client, &mut std::io::sink());
            assert_eq!(
                rest.map_err(|error| error.kind()),
                Err(ErrorKind::ConnectionReset),
                "a response that was cut off must end in a reset"
            );
        });
    }

    /// A client that reads slowly gets everything.
    #[test]
    fn a_client_that_reads_slowly_is_served() {
        let limit = Duration::from_secs(1);
        let backend = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", backend.local_addr().unwrap());
        let server = TcpServer::bind("127.0.0.1:0", ReverseProxy::new(&url).unwrap()).unwrap();
        let server = server.write_timeout(limit).min_rate((500, limit));
        std::thread::scope(|scope| {
            let _serving = Serving(server.handle());
            scope.spawn(|| server.serve_forever().unwrap());
            let (mut client, mut upstream) = tunnel(&server, &backend);
            let (begun, mut sent) = (Instant::now(), 0);
            while begun.elapsed() < 3 * limit {
                sent += fill(&mut upstream);
                sent -= client.read(&mut [0; 65_536]).unwrap();
            }
            drop(upstream);
            let rest = std::io::copy(&mut client, &mut std::io::sink()).unwrap();
            assert_eq!(rest, sent as u64);
        });
    }

    /// When one side has ended, the other is ended after a time of silence, and the place is free again.
    #[test]
    fn a_tunnel_ends_after_its_first_side() {
        let limit = Duration::from_secs(1); // long enough for this thread to run meanwhile on a busy machine
        for_each_side(
            |proxy| proxy.half_close_timeout(limit).at_once(1),
            |first, mut one, mut other| {
                one.shutdown(Shutdown::Write).unwrap();
                assert_eq!(other.read(&mut [0]).unwrap(), 0, "{first}: the end of one side must be passed on");
                // The other side can continue for longer than the limit if it sends.
                let begun = Instant::now();
                while begun.elapsed() < 2 * limit {
                    other.write_all(b"x").unwrap();
                    assert_eq!(one.read(&mut [0]).unwrap(), 1, "{first}");
                }
                let silent = Instant::now();
                assert_eq!(
                    one.read(&mut [0]).unwrap(),
                    0,
                    "{first}: the tunnel must end once the other side is silent"
                );
                assert!(silent.elapsed() > limit / 2, "{first}: after {:?}", silent.elapsed());
            },
        );
    }
}
