//! Copies bytes in both directions after a 101, until both directions have ended. It runs on the thread of the client's
//! stream and one more. When one direction has ended, the other can continue until it has been silent for too long. A
//! client that reads too little is disconnected, because its backend may have ended long before.
//!
//! The end of a side is passed on to the other. If a direction is cut, by an error or by silence, the side that it leads
//! to is reset, and gets no end before that. So nobody takes a part for the whole.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::upstream::Upstream;
use crate::http::PacedWriter;
use crate::raw::{Stream, StreamWriter};

/// How long a write can wait before it checks whether the tunnel was cut.
const LOOK: Duration = Duration::from_secs(1);

/// Copies both ways. `patience` limits how long one direction can be silent after the other has ended.
pub(super) fn join(stream: Stream, upstream: Upstream, patience: Option<Duration>) {
    if let Err(error) = copy_both(stream, upstream, patience) {
        log::debug!("proxy: a connection of another protocol ended: {error}");
    }
}

fn copy_both(mut stream: Stream, upstream: Upstream, patience: Option<Duration>) -> io::Result<()> {
    upstream.stream.set_nonblocking(false)?;
    upstream.stream.set_write_timeout(Some(LOOK))?;
    let backend = Arc::clone(&upstream.stream);
    let state = Mutex::new(State { ended: 0, passed: Instant::now(), is_cut: false });
    let tunnel = Arc::new(Tunnel { client: stream.writer(), backend, patience, state, changed: Condvar::new() });
    let (down, to_client) = (Arc::clone(&tunnel), stream.paced_writer()?.returning_after(LOOK)?);
    let thread = std::thread::Builder::new().name("proxy".into()).stack_size(256 * 1024);
    let downstream = thread.spawn(move || down.copy_down(upstream, to_client))?;
    let mut to_backend = tunnel.guarded(&*tunnel.backend);
    let copied = io::copy(&mut stream, &mut to_backend).map(drop);
    let up = tunnel.end(copied, || tunnel.backend.shutdown(Shutdown::Write).or(Ok(()))); // it may have ended itself
    let down = downstream.join().unwrap_or_else(|_| Err(io::Error::other("its thread panicked")));
    if up.is_err() {
        // It is reset when it is closed. This fails only if the connection is already broken.
        let _ = socket2::SockRef::from(&*tunnel.backend).set_linger(Some(Duration::ZERO));
    }
    if down.is_err() {
        stream.reset();
    }
    down.and(up)
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
    /// Whether directions that have not ended are cut: what they read is not the end of its side.
    is_cut: bool,
}

impl Tunnel {
    fn copy_down(&self, upstream: Upstream, client: PacedWriter) -> io::Result<()> {
        let mut client = self.guarded(client);
        let copied = client.write_all(upstream.bytes()).and_then(|()| io::copy(&mut &*upstream.stream, &mut client));
        self.end(copied.map(drop), || client.repeated(PacedWriter::end))
    }

    fn guarded<W>(&self, to: W) -> Guarded<'_, W> {
        Guarded { to, tunnel: self }
    }

    /// Called when one direction has ended. Passes its end on, unless it was cut. Waits for the other direction, and
    /// cuts it when it has been silent for too long. After an error it is cut at once, because it may be blocked by a
    /// side that no longer reads.
    fn end(&self, copied: io::Result<()>, pass_on: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let ended = copied.and_then(|()| self.check()).and_then(|()| pass_on());
        if ended.is_err() {
            self.cut();
        }
        let mut state = self.lock();
        state.ended += 1;
        state.passed = Instant::now();
        self.changed.notify_all();
        let Some(patience) = self.patience else { return ended };
        while state.ended < 2 && !state.is_cut {
            let left = patience.saturating_sub(state.passed.elapsed());
            if left.is_zero() {
                drop(state);
                self.cut();
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        ended
    }

    /// Cuts the directions that have not ended. Reading returns the end at once, and writing fails after up to `LOOK`.
    /// No end is sent: a side that begins to read now could take it for the end of the other.
    fn cut(&self) {
        self.lock().is_cut = true;
        // They may already be closed.
        let _ = (self.client.shutdown(Shutdown::Read), self.backend.shutdown(Shutdown::Read));
    }

    fn check(&self) -> io::Result<()> {
        match self.lock().is_cut {
            true => Err(io::Error::new(ErrorKind::ConnectionAborted, "the other direction failed or was silent")),
            false => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A writer that records when bytes are copied, and fails once the tunnel is cut.
struct Guarded<'a, W> {
    to: W,
    tunnel: &'a Tunnel,
}

impl<W> Guarded<'_, W> {
    /// Repeats a call that returns early when it has waited for some time.
    fn repeated<T>(&mut self, mut call: impl FnMut(&mut W) -> io::Result<T>) -> io::Result<T> {
        loop {
            self.tunnel.check()?;
            match call(&mut self.to) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }
}

impl<W: Write> Write for Guarded<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.repeated(|to| to.write(bytes))?;
        self.tunnel.lock().passed = Instant::now();
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.repeated(W::flush)
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

    /// When one side has ended, the tunnel is reset after a time of silence, and the place is free again.
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
                // The other side has not ended, so this must not look like its end.
                let end = one.read(&mut [0]).map_err(|error| error.kind());
                assert_eq!(end, Err(ErrorKind::ConnectionReset), "{first}: after the other side was silent");
                assert!(silent.elapsed() > limit / 2, "{first}: after {:?}", silent.elapsed());
            },
        );
    }
}
