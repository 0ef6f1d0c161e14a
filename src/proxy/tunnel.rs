//! Copies bytes in both directions after a 101, until both directions have ended. It runs on the thread of the client's
//! stream and one more. When one direction has ended, the other can continue until it has been silent for too long. A
//! client that reads too slowly is disconnected, because its backend may have ended long before.
//!
//! The end of a side is passed on to the other. If a direction is cut, by an error, by silence or because the server
//! exits, its destination is reset, so that incomplete data does not look complete.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::upstream::Upstream;
use crate::ServerHandle;
use crate::http::{PacedWriter, SocketWatcher, WatchedPlace, cut_off, error_was_taken};
use crate::mutex::{lock, wait};
use crate::raw::{Stream, StreamWriter};

/// Copies both ways. `patience` limits how long one direction can be silent after the other has ended. During a
/// shutdown it continues until the shutdown timeout.
pub(super) fn join(mut stream: Stream, upstream: Upstream, patience: Option<Duration>, server: &ServerHandle) {
    stream.outlive_shutdown();
    if let Err(error) = copy_both(&mut stream, upstream, patience, server) {
        log::debug!("proxy: an upgraded connection ended: {error}");
    }
}

fn copy_both(
    stream: &mut Stream,
    upstream: Upstream,
    patience: Option<Duration>,
    server: &ServerHandle,
) -> io::Result<()> {
    let begun = begin(stream, upstream, patience, server);
    let (tunnel, _place, downstream) = begun.inspect_err(|_| stream.reset())?;
    let copied = io::copy(stream, &mut Noted { to: &*tunnel.backend, tunnel: &tunnel });
    let up = tunnel.end(Way::Up, copied, || {
        let _ = tunnel.backend.shutdown(Shutdown::Write); // fails if the backend has ended it
        SockRef::from(&*tunnel.backend).set_linger(None)
    });
    let down = downstream.join().unwrap_or_else(|_| Err(io::Error::other("its thread panicked")));
    if down.is_err() {
        stream.reset();
    }
    down.and(up)
}

/// Starts the thread that copies to the client.
fn begin(
    stream: &Stream,
    upstream: Upstream,
    patience: Option<Duration>,
    server: &ServerHandle,
) -> io::Result<(Arc<Tunnel>, WatchedPlace, JoinHandle<io::Result<()>>)> {
    upstream.stream.set_nonblocking(false)?;
    // Until the end of the client's data is sent, a close resets the connection, even when the process ends.
    SockRef::from(&*upstream.stream).set_linger(Some(Duration::ZERO))?;
    let backend = Arc::clone(&upstream.stream);
    let state = Mutex::new(State { ended: Vec::new(), passed: Instant::now(), is_cut: false });
    let tunnel = Arc::new(Tunnel { client: stream.writer(), backend, patience, state, changed: Condvar::new() });
    let unwatched = || io::Error::other("the server has ended, or watches too many sockets");
    let place = server.at_end(Arc::clone(&tunnel) as Arc<dyn SocketWatcher>).ok_or_else(unwatched)?;
    let (down, to_client) = (Arc::clone(&tunnel), stream.paced_writer()?);
    let thread = std::thread::Builder::new().name("proxy".into()).stack_size(256 * 1024);
    let downstream = thread.spawn(move || down.copy_down(upstream, to_client))?;
    Ok((tunnel, place, downstream))
}

/// Both sides, so that the direction that ends first can end the other.
struct Tunnel {
    client: StreamWriter,
    backend: Arc<TcpStream>,
    patience: Option<Duration>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

struct State {
    /// The directions whose end was read. It is passed on.
    ended: Vec<Way>,
    /// When bytes were last copied.
    passed: Instant,
    /// Whether the directions that have not ended are cut. An end that they read is then not the end of the data.
    is_cut: bool,
}

impl Tunnel {
    fn copy_down(&self, upstream: Upstream, client: PacedWriter) -> io::Result<()> {
        let mut noted = Noted { to: client, tunnel: self };
        let copied = noted.write_all(upstream.bytes()).and_then(|()| io::copy(&mut &*upstream.stream, &mut noted));
        self.end(Way::Down, copied, || noted.to.end())
    }

    /// Called when one direction has ended. Passes its end on, and waits for the other direction, which is cut when it
    /// has been silent for too long. After an error both directions are cut at once, because the other one may be
    /// blocked by a side that no longer reads.
    fn end(&self, way: Way, copied: io::Result<u64>, pass_on: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let ended = copied.and_then(|_| self.note_end(way)).and_then(|()| pass_on());
        if ended.is_err() {
            let mut state = lock(&self.state);
            state.ended.retain(|ended| *ended != way);
            self.cut(state);
            return ended;
        }
        let Some(patience) = self.patience else { return ended };
        let mut state = lock(&self.state);
        while state.ended.len() < 2 && !state.is_cut {
            let left = patience.saturating_sub(state.passed.elapsed());
            if left.is_zero() {
                self.cut(state);
                break;
            }
            state = wait(&self.changed, state, Some(left));
        }
        ended
    }

    /// Records that the end of a direction was read. Fails if the backend was reset: a write in the other direction can
    /// have received that error without having reported it yet. (A reset of the client is found by its stream.)
    fn note_end(&self, way: Way) -> io::Result<()> {
        let mut state = lock(&self.state);
        if state.is_cut {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the other direction failed or was silent"));
        }
        if way == Way::Down && state.ended.is_empty() && error_was_taken(&*self.backend) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        state.ended.push(way);
        state.passed = Instant::now();
        self.changed.notify_all();
        Ok(())
    }

    /// Cuts the directions that have not ended: nothing more is read from their source, and their destination is reset.
    /// Both wake a thread that waits.
    fn cut(&self, mut state: MutexGuard<'_, State>) {
        state.is_cut = true;
        // They may already be closed.
        if !state.ended.contains(&Way::Up) {
            let _ = self.client.shutdown(Shutdown::Read);
            cut_off(&*self.backend);
        }
        if !state.ended.contains(&Way::Down) {
            let _ = self.backend.shutdown(Shutdown::Read);
            self.client.cut_off();
        }
        self.changed.notify_all();
    }
}

/// When the server exits, both directions are cut, so no thread waits for a silent backend.
impl SocketWatcher for Tunnel {
    fn server_ended(&self) {
        self.cut(lock(&self.state));
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
        lock(&self.tunnel.state).passed = Instant::now();
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

    use crate::testing::{self, TestServer};
    use crate::{ReverseProxy, TcpServer};

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
    fn request(server: &TestServer, backend: &TcpListener) -> (TcpStream, TcpStream) {
        backend.set_nonblocking(true).unwrap();
        let begun = Instant::now();
        loop {
            let mut client = TcpStream::connect(server.address()).unwrap();
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").unwrap();
            client.set_nonblocking(true).unwrap();
            while client.peek(&mut [0]).is_err() {
                if let Ok((upstream, _)) = backend.accept() {
                    [&client, &upstream].iter().for_each(|stream| stream.set_nonblocking(false).unwrap());
                    return (client, upstream);
                }
                assert!(begun.elapsed() < PATIENCE, "the request did not reach the backend");
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    }

    /// Returns a server with a proxy, both with these settings, and its backend.
    fn serve(
        proxy: impl FnOnce(ReverseProxy) -> ReverseProxy,
        server: impl FnOnce(TcpServer) -> TcpServer,
    ) -> (TestServer, TcpListener) {
        let backend = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", backend.local_addr().unwrap());
        let handler = proxy(ReverseProxy::new(&url).unwrap());
        (testing::start(server(TcpServer::bind("127.0.0.1:0", handler).unwrap())), backend)
    }

    /// Both sides of an upgraded connection.
    fn tunnel(server: &TestServer, backend: &TcpListener) -> (TcpStream, TcpStream) {
        let (mut client, mut upstream) = request(server, backend);
        read_head(&mut upstream);
        upstream.write_all(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").unwrap();
        let head = read_head(&mut client);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        (client, upstream)
    }

    /// Runs a check twice: with the client as the first side, and with the backend.
    fn for_each_side(set: impl Fn(ReverseProxy) -> ReverseProxy, check: impl Fn(&str, TcpStream, TcpStream)) {
        let (server, backend) = serve(set, |server| server);
        for first in ["client", "backend"] {
            let (client, upstream) = tunnel(&server, &backend);
            let (one, other) = if first == "client" { (client, upstream) } else { (upstream, client) };
            check(first, one, other);
        }
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
        let (server, backend) = serve(
            |proxy| proxy.at_once(1).half_close_timeout(None),
            |server| server.write_timeout(limit).min_rate(None),
        );
        let (mut client, mut upstream) = tunnel(&server, &backend);
        fill(&mut upstream);
        client.write_all(b"x").unwrap();
        upstream.shutdown(Shutdown::Write).unwrap();
        let (_next, _) = request(&server, &backend);
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let rest = std::io::copy(&mut client, &mut std::io::sink()).map_err(|error| error.kind());
        assert_eq!(rest, Err(ErrorKind::ConnectionReset), "a response that was cut off must end in a reset");
    }

    #[test]
    fn a_client_that_reads_slowly_is_served() {
        let mut limit = Duration::from_secs(1);
        while let Err((longest, problem)) = read_slowly(limit) {
            // On a busy machine, the test itself can pause for longer than the limit.
            assert!(longest > limit / 2, "with a limit of {limit:?}, after pauses of up to {longest:?}: {problem}");
            limit *= 2;
        }
    }

    /// Reads a little of what a backend sends, again and again, for three times this limit, then the rest. If something
    /// is missing, returns the longest time that a read and the one before it took, and what has happened.
    fn read_slowly(limit: Duration) -> Result<(), (Duration, String)> {
        let (server, backend) = serve(|proxy| proxy, |server| server.write_timeout(limit).min_rate((500, limit)));
        let (mut client, mut upstream) = tunnel(&server, &backend);
        // On systems that do not count unsent bytes, smaller steps are not noticed.
        let is_counted = !crate::system_services().iter().any(|(_, way)| way.starts_with("a limit of each socket's"));
        let step = if is_counted { 65_536 } else { 262_144 };
        let (begun, mut sent, mut longest, mut before) = (Instant::now(), 0, Duration::ZERO, Instant::now());
        while begun.elapsed() < 3 * limit {
            sent += fill(&mut upstream);
            let now = Instant::now();
            let read = client.read_exact(&mut vec![0; step]);
            longest = longest.max(before.elapsed());
            read.map_err(|error| (longest, format!("after {:?}: {error}", begun.elapsed())))?;
            (sent, before) = (sent - step, now);
        }
        drop(upstream);
        let rest = std::io::copy(&mut client, &mut std::io::sink());
        let is_whole = rest.as_ref().is_ok_and(|rest| *rest == sent as u64);
        if is_whole { Ok(()) } else { Err((longest.max(before.elapsed()), format!("{rest:?} in place of {sent}"))) }
    }

    /// A write to the backend has received the error of a reset. Before it is reported, the other direction reads an
    /// end.
    /// (Other systems can discard the bytes before a reset, or report it differently.)
    #[cfg(target_os = "linux")]
    #[test]
    fn an_end_after_the_error_of_a_write_is_a_reset() {
        use std::io;
        use std::sync::{Arc, Condvar, Mutex};

        use super::{State, Tunnel, Way};
        use crate::raw::{Stream, streams};

        let (results, ended) = std::sync::mpsc::channel();
        let check = move |stream: &mut Stream| {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let (backend, peer) = (TcpStream::connect(listener.local_addr()?)?, listener.accept()?.0);
            (&peer).write_all(b"x")?;
            (&backend).write_all(b"unread")?;
            peer.peek(&mut [0])?;
            drop(peer); // with unread bytes: a reset
            let write = || (&backend).write(b"x").err().map(|error| error.kind());
            let written = std::iter::repeat_with(write).find_map(|error| error);
            let read = [(); 2].map(|()| (&backend).read(&mut [0; 9]).map_err(|error| error.kind()));
            let state = Mutex::new(State { ended: Vec::new(), passed: Instant::now(), is_cut: false });
            let (backend, changed) = (Arc::new(backend), Condvar::new());
            let tunnel = Tunnel { client: stream.writer(), backend, patience: None, state, changed };
            let noted = tunnel.note_end(Way::Down).map_err(|error| error.kind());
            results.send((written, read, noted)).map_err(io::Error::other)
        };
        let server = testing::start(TcpServer::bind("127.0.0.1:0", streams(check)).unwrap());
        let _client = TcpStream::connect(server.address()).unwrap();
        let (written, read, noted) = ended.recv_timeout(PATIENCE).unwrap();
        assert_eq!((written, read), (Some(ErrorKind::ConnectionReset), [Ok(1), Ok(0)]), "without a tunnel");
        assert_eq!(noted, Err(ErrorKind::ConnectionReset));
    }

    /// On systems that cannot reset a socket while a thread waits on it, the end looks normal.
    #[track_caller]
    fn assert_reset(end: Result<u64, ErrorKind>, what: &str) {
        if crate::system_services().iter().any(|(_, way)| way.contains("streams that don't end are reset")) {
            assert_eq!(end, Err(ErrorKind::ConnectionReset), "{what}");
        }
    }

    /// A reset is passed on as a reset, even if a write has received its error.
    #[test]
    fn a_reset_does_not_end_a_tunnel_normally() {
        for read in [0, 1_000_000] {
            for_each_side(
                |proxy| proxy.half_close_timeout(None),
                |first, mut one, mut other| {
                    fill(&mut other);
                    one.read_exact(&mut vec![0; read]).unwrap();
                    one.write_all(&[b'y'; 5_000]).unwrap();
                    drop(one); // with unread bytes: a reset
                    other.set_read_timeout(Some(PATIENCE)).unwrap();
                    let rest = std::io::copy(&mut other, &mut std::io::sink());
                    let end = rest.map_err(|error| error.kind());
                    assert_reset(end, &format!("{first} after {read} bytes"));
                },
            );
        }
    }

    /// When both sides have ended theirs, the socket no longer has a peer, as after a reset.
    #[test]
    fn both_ends_of_a_tunnel_are_passed_on() {
        for_each_side(
            |proxy| proxy.half_close_timeout(None),
            |first, mut one, mut other| {
                for text in ["there", "and back"] {
                    one.write_all(text.as_bytes()).unwrap();
                    one.shutdown(Shutdown::Write).unwrap();
                    other.set_read_timeout(Some(PATIENCE)).unwrap();
                    let mut received = String::new();
                    other.read_to_string(&mut received).unwrap();
                    assert_eq!(received, text, "{first}");
                    std::mem::swap(&mut one, &mut other);
                }
            },
        );
    }

    /// During a shutdown a tunnel continues. When the server exits, both sides are reset, because neither has ended,
    /// and no thread or socket is left.
    #[test]
    fn a_tunnel_ends_when_the_server_exits() {
        let (server, backend) =
            serve(|proxy| proxy.half_close_timeout(None), |server| server.shutdown_timeout(Duration::from_secs(3)));
        let (client, upstream) = tunnel(&server, &backend);
        upstream.set_read_timeout(Some(PATIENCE)).unwrap();
        let pass = || {
            for (mut from, mut to) in [(&client, &upstream), (&upstream, &client)] {
                from.write_all(b"x").unwrap();
                assert_eq!(to.read(&mut [0]).unwrap(), 1, "a direction was ended by the shutdown");
            }
        };
        pass(); // the tunnel has begun
        server.handle().shutdown();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(300) {
            pass();
        }
        drop(server); // waits until the server has ended
        for (mut side, name) in [(client, "client"), (upstream, "backend")] {
            let end = side.read(&mut [0]).map_err(|error| error.kind());
            assert_reset(end.map(|count| count as u64), &format!("the {name} of a tunnel that was cut off"));
        }
    }

    /// When one side has ended, the tunnel is reset after a time of silence, and the place is free again.
    #[test]
    fn a_tunnel_ends_after_its_first_side() {
        let limit = Duration::from_secs(1); // long enough for this thread to run, even on a busy machine
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
                // The other side has not ended, so this must not look like its end, if the system can reset.
                let closes = |(_, way): &(_, &str)| way.contains("streams that don't end are closed");
                let closes = crate::system_services().iter().any(closes);
                let end = one.read(&mut [0]).map_err(|error| error.kind());
                let expected = if closes { Ok(0) } else { Err(ErrorKind::ConnectionReset) };
                assert_eq!(end, expected, "{first}: after the other side was silent");
                assert!(silent.elapsed() > limit / 2, "{first}: after {:?}", silent.elapsed());
            },
        );
    }
}
