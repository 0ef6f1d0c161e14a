//! The same tests over another transport. `MODEST_TRANSPORT=tls cargo test --test serve ends::` runs those of `ends`
//! inside TLS, `proxy` behind a PROXY header, and `unix` over a Unix socket; `run_over` runs a part of a suite over
//! one of them. Used by the suites `serve` and `conformance`.
//!
//! The tests see no difference. `bind` wraps the server, and a client that connects to it goes through a bridge, or has
//! a Unix socket in place of a TCP one. The bridge keeps the kind of each end: a goodbye becomes an end, and an end
//! without a goodbye or a reset becomes a reset. A Unix socket is reset only if it has unread bytes, so its client has
//! to compare lengths.

mod authority; // the certificates of servers

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use modest::{Identity, IntoProtocol, ProxyProtocol, TcpServer, Tls};
use rustix::event::{PollFd, PollFlags, poll};
use rustls::{ClientConfig, ClientConnection};

pub use authority::{Authority, builder, config};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Plain,
    Tls,
    Proxy,
    Unix,
}

/// The transport of this run.
pub fn transport() -> Transport {
    match std::env::var("MODEST_TRANSPORT").as_deref() {
        Ok("tls") => Transport::Tls,
        Ok("proxy") => Transport::Proxy,
        Ok("unix") => Transport::Unix,
        Ok("plain") | Err(_) => Transport::Plain,
        Ok(other) => panic!("MODEST_TRANSPORT={other}: expected plain, tls, proxy or unix"),
    }
}

/// Whether clients and server have one connection, without additional bytes.
pub fn is_plain() -> bool {
    transport() == Transport::Plain
}

/// Whether a reset can be distinguished from an end.
pub fn shows_resets() -> bool {
    transport() != Transport::Unix
}

/// Whether a target may name `https`.
pub fn is_secured() -> bool {
    transport() == Transport::Tls
}

/// Whether clients have IP addresses.
pub fn has_addresses() -> bool {
    transport() != Transport::Unix
}

/// The certificate of all servers, and the settings of their clients.
static SITE: LazyLock<(Identity, Arc<ClientConfig>)> = LazyLock::new(|| {
    let authority = Authority::new();
    (authority.identity(&["a.example"]), Arc::new(config(&authority, &[&rustls::version::TLS13])))
});

/// The servers of this run by the TCP address of each, with the path of its Unix socket.
static SERVERS: LazyLock<Mutex<HashMap<SocketAddr, PathBuf>>> = LazyLock::new(Mutex::default);

/// A server of this handler on a free port, over the transport of this run. Clients must use `connect`.
pub fn bind(handler: impl IntoProtocol) -> TcpServer {
    let address = "127.0.0.1:0";
    let server = match transport() {
        Transport::Plain | Transport::Unix => TcpServer::bind(address, handler),
        Transport::Tls => TcpServer::bind(address, Tls::new(SITE.0.clone()).unwrap().protect(handler)),
        Transport::Proxy => TcpServer::bind(address, ProxyProtocol::new(handler).trust("127.0.0.0/8".parse().unwrap())),
    };
    with_unix_socket(server.expect("a free port"))
}

fn with_unix_socket(server: TcpServer) -> TcpServer {
    let address = server.local_addr();
    // A file, which every Unix has. The server removes it.
    let path = std::env::temp_dir().join(format!("modest-test-{}-{}", std::process::id(), address.port()));
    let server = match transport() {
        Transport::Unix => server.also(format!("unix:{}", path.display()).as_str()).expect("a free name"),
        _ => server,
    };
    SERVERS.lock().unwrap().insert(address, path);
    server
}

/// A client's connection.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let Some(path) = SERVERS.lock().unwrap().get(&address).cloned() else { return TcpStream::connect(address) };
    match transport() {
        Transport::Plain => TcpStream::connect(address),
        Transport::Unix => {
            let stream = OwnedFd::from(UnixStream::connect(path)?);
            Ok(TcpStream::from(stream)) // reading and writing are equal for both
        }
        Transport::Proxy => {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(b"PROXY TCP4 127.0.0.1 127.0.0.1 1000 80\r\n")?;
            Ok(stream)
        }
        Transport::Tls => {
            let stream = TcpStream::connect(address)?;
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let near = TcpStream::connect(listener.local_addr()?)?;
            let (far, _) = listener.accept()?;
            // A client that does not read is sent less than the megabytes of other sockets, because each byte is encrypted.
            for socket in [&stream, &near, &far].map(socket2::SockRef::from) {
                socket.set_recv_buffer_size(8 * HELD)?;
                socket.set_send_buffer_size(8 * HELD)?;
            }
            let name = "a.example".try_into().unwrap();
            let session = ClientConnection::new(SITE.1.clone(), name).unwrap();
            thread::spawn(move || Bridge::new(far, stream, session).run());
            Ok(near)
        }
    }
}

/// Reads from a stream. If the machine was stopped during a read, a read with a timeout is interrupted, and begins again.
pub fn read(stream: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(bytes) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Whether each test is run over each transport.
pub fn runs_all() -> bool {
    std::env::var("MODEST_TRANSPORTS").is_ok_and(|transports| transports == "all")
}

/// Runs a third of these tests of this program, another one each day, over this transport; all of them with
/// `MODEST_TRANSPORTS=all`. They are in another process, because a variable selects the transport. Tests that depend on
/// properties of a transport are left out, with a comment in each.
pub fn run_over(transport: &str, tests: &[&str]) {
    if !is_plain() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder"); // for Unix sockets that a test has not removed
    let run = |arguments: &[&str]| {
        let mut command = Command::new(std::env::current_exe().expect("a program"));
        command.env("MODEST_TRANSPORT", transport).env("TMPDIR", folder.path());
        let output = command.args(arguments).output().expect("the tests in another process");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "over {transport}:\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    let listed = run(&[&["--list"], tests].concat());
    let mut names: Vec<&str> = listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    assert!(!names.is_empty(), "no tests: {tests:?}");
    if !runs_all() {
        let today = SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_secs() / 86_400;
        names.sort_by_cached_key(|name| BuildHasherDefault::<DefaultHasher>::new().hash_one((today, transport, name)));
        names.truncate(names.len().div_ceil(3));
    }
    let said = run(&[&["--exact"], &names[..]].concat());
    assert!(said.contains(&format!("{} passed", names.len())), "{said}");
}

/// The bridge between a test's bytes and a server's records.
struct Bridge {
    near: TcpStream,
    far: TcpStream,
    session: ClientConnection,
    /// Bytes from the server that the test has not read.
    opened: Vec<u8>,
    /// The test has closed its sending side.
    near_ended: bool,
    /// The server has sent its goodbye.
    far_ended: bool,
    /// The test has received the goodbye.
    end_shown: bool,
}

/// The maximum that is buffered in each direction, in addition to the buffers of the sockets.
const HELD: usize = 16 * 1024;

impl Bridge {
    fn new(near: TcpStream, far: TcpStream, session: ClientConnection) -> Bridge {
        for stream in [&near, &far] {
            stream.set_nodelay(true).unwrap();
            stream.set_nonblocking(true).unwrap();
        }
        Bridge { near, far, session, opened: Vec::new(), near_ended: false, far_ended: false, end_shown: false }
    }

    /// Runs until both directions have ended. A broken side becomes a reset on the other side.
    fn run(mut self) {
        if self.relay().is_err() {
            for stream in [&self.near, &self.far] {
                let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
            }
        }
    }

    fn relay(&mut self) -> io::Result<()> {
        while !(self.near_ended && self.end_shown) {
            self.wait()?;
            self.take_from_near()?;
            self.take_from_far()?;
            self.give()?;
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<()> {
        let (mut near, mut far) = (PollFlags::empty(), PollFlags::empty());
        near.set(PollFlags::IN, self.takes_from_near());
        near.set(PollFlags::OUT, !self.opened.is_empty());
        far.set(PollFlags::IN, !self.far_ended && self.opened.len() < HELD);
        far.set(PollFlags::OUT, self.session.wants_write());
        let mut both =
            [PollFd::from_borrowed_fd(self.near.as_fd(), near), PollFd::from_borrowed_fd(self.far.as_fd(), far)];
        if self.far_ended && !self.session.wants_write() {
            both[1] = PollFd::from_borrowed_fd(self.near.as_fd(), near); // its hang-up is known
        }
        poll(&mut both, None)?;
        match both[0].revents().contains(PollFlags::ERR) {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }

    /// rustls buffers at most 64 KiB itself, also during a handshake.
    fn takes_from_near(&self) -> bool {
        !self.near_ended && !self.session.wants_write() && !self.session.is_handshaking()
    }

    fn take_from_near(&mut self) -> io::Result<()> {
        if !self.takes_from_near() {
            return Ok(());
        }
        let mut bytes = [0; HELD];
        match self.near.read(&mut bytes) {
            Ok(0) => {
                self.near_ended = true;
                self.session.send_close_notify();
            }
            Ok(count) => self.session.writer().write_all(&bytes[..count])?,
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            Err(err) => return Err(err),
        }
        Ok(())
    }

    fn take_from_far(&mut self) -> io::Result<()> {
        if self.far_ended || self.opened.len() >= HELD {
            return Ok(());
        }
        match self.session.read_tls(&mut self.far) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()), // an end without a goodbye
            Ok(_) => {
                let state = self.session.process_new_packets().map_err(io::Error::other)?;
                let mut plain = vec![0; state.plaintext_bytes_to_read()];
                self.session.reader().read_exact(&mut plain)?;
                self.opened.extend(plain);
                self.far_ended = state.peer_has_closed();
            }
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            Err(err) if self.opened.is_empty() => return Err(err),
            Err(_) => {} // earlier bytes are passed on first
        }
        Ok(())
    }

    fn give(&mut self) -> io::Result<()> {
        while !self.opened.is_empty() {
            match self.near.write(&self.opened) {
                Ok(count) => drop(self.opened.drain(..count)),
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => break,
                Err(err) => return Err(err),
            }
        }
        if self.far_ended && self.opened.is_empty() && !std::mem::replace(&mut self.end_shown, true) {
            self.near.shutdown(Shutdown::Write)?;
        }
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.far) {
                Ok(_) => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => break,
                // After its goodbye a server accepts nothing.
                Err(_) if self.far_ended => {
                    self.near_ended = true;
                    return Ok(());
                }
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }
}
