//! `UdpServer` over real sockets: replies, dropped datagrams, panics, and the end of serving.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use modest::{Client, Datagram, DatagramHandler, Listen, ServerHandle, TcpServer, UdpServer};

/// Much longer than any step takes; only a failing test waits this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// The log lines of the servers of all tests.
struct Heard(Mutex<Vec<String>>);

static HEARD: Heard = Heard(Mutex::new(Vec::new()));

impl log::Log for Heard {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap().push(format!("{} {}", record.level(), record.args()));
    }

    fn flush(&self) {}
}

/// Log lines with this end.
fn heard(end: &str) -> Vec<String> {
    HEARD.0.lock().unwrap().iter().filter(|line| line.ends_with(end)).cloned().collect()
}

fn install_log_capture() {
    let _ = log::set_logger(&HEARD); // another test may have done this already
    log::set_max_level(log::LevelFilter::Warn);
}

/// A server that runs until it is dropped.
struct Running {
    handle: ServerHandle,
    serving: Option<JoinHandle<io::Result<()>>>,
}

impl Running {
    fn start(server: UdpServer) -> Running {
        let handle = server.handle();
        Running { handle, serving: Some(thread::spawn(move || server.serve_forever())) }
    }

    fn stop(&mut self) -> io::Result<()> {
        self.handle.shutdown();
        self.join()
    }

    fn join(&mut self) -> io::Result<()> {
        self.serving.take().map_or(Ok(()), |serving| serving.join().expect("the serving thread did not panic"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.shutdown_now();
        let _ = self.join();
    }
}

fn upper(datagram: &Datagram) -> io::Result<()> {
    datagram.reply(datagram.bytes().to_ascii_uppercase())
}

fn client_of(server: SocketAddr) -> UdpSocket {
    let any: SocketAddr = if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }.parse().unwrap();
    let client = UdpSocket::bind(any).unwrap();
    client.connect(server).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

fn ask(client: &UdpSocket, bytes: &[u8]) -> Vec<u8> {
    client.send(bytes).unwrap();
    let mut reply = vec![0; 70_000];
    let length = client.recv(&mut reply).unwrap();
    reply[..length].to_vec()
}

/// Waits until the server's statistics fulfil the condition.
fn until(server: &ServerHandle, what: &str, is_so: impl Fn(modest::Stats) -> bool) {
    let start = Instant::now();
    while !is_so(server.stats()) {
        assert!(start.elapsed() < PATIENCE, "{what}: {:?}", server.stats());
        thread::sleep(Duration::from_micros(100));
    }
}

fn has_ipv6() -> bool {
    UdpSocket::bind("[::1]:0").is_ok()
}

#[test]
fn replies_come_from_the_address_the_client_used() {
    let server = UdpServer::bind("127.0.0.1:0", upper).unwrap();
    let mut addresses = vec![server.local_addr()];
    let server = if has_ipv6() {
        let server = server.also(("::1", 0)).unwrap();
        addresses.extend(server.local_addrs()[1].socket_addr());
        server
    } else {
        server
    };
    let mut running = Running::start(server);
    for address in addresses {
        assert_ne!(address.port(), 0);
        let client = client_of(address); // connected: it receives from no other address
        for said in [&b"hello"[..], b"", b"\0\xff", &[b'x'; 8192]] {
            assert_eq!(ask(&client, said), said.to_ascii_uppercase(), "{address}: {} bytes", said.len());
        }
    }
    let stats = running.handle.stats();
    assert_eq!(stats.refused, 0, "{stats:?}");
    running.stop().unwrap();
}

#[test]
fn datagrams_arrive_at_every_local_address() {
    let server = UdpServer::bind(":0", upper).unwrap();
    let port = server.local_addr().port();
    let _running = Running::start(server);
    for host in ["127.0.0.1", "::1"].iter().filter(|host| has_ipv6() || !host.contains(':')) {
        let client = client_of(SocketAddr::new(host.parse().unwrap(), port));
        assert_eq!(ask(&client, b"hello"), b"HELLO", "{host}");
    }
}

#[test]
fn a_datagram_has_its_sender_and_length() {
    let tell = |datagram: &Datagram| {
        let (length, truncated) = (datagram.length(), datagram.is_truncated());
        datagram.reply(format!("{} {} {length} {truncated}", datagram.client(), datagram.bytes().len()))
    };
    let server = UdpServer::bind("127.0.0.1:0", tell).unwrap().max_packet_size(100);
    let client = client_of(server.local_addr());
    let me = client.local_addr().unwrap();
    let _running = Running::start(server);
    for (length, expected) in [(0, "0 0 false"), (99, "99 99 false"), (100, "100 100 false"), (101, "100 101 true")] {
        let reply = ask(&client, &vec![b'x'; length]);
        assert_eq!(String::from_utf8(reply).unwrap(), format!("{me} {expected}"), "{length} bytes");
    }
}

#[test]
fn an_error_and_a_panic_cost_one_datagram() {
    install_log_capture();
    let moody = |datagram: &Datagram| match datagram.bytes() {
        b"panic" => panic!("for the test"),
        b"panic in panic" => {
            struct Bomb;
            impl Drop for Bomb {
                fn drop(&mut self) {
                    panic!("again");
                }
            }
            panic::panic_any(Bomb)
        }
        b"error" => Err(io::Error::other("for the test")),
        b"too long" => datagram.reply(vec![0; 70_000]), // gives an error and does not panic
        _ => upper(datagram),
    };
    let server = UdpServer::bind("127.0.0.1:0", moody).unwrap().workers(1);
    let client = client_of(server.local_addr());
    let running = Running::start(server);
    for said in ["panic", "error", "too long", "panic in panic"] {
        client.send(said.as_bytes()).unwrap();
        assert_eq!(ask(&client, b"hello"), b"HELLO", "after {said}");
    }
    until(&running.handle, "nobody runs", |stats| stats.running == 0);
    let line = format!("ERROR the datagram from {}: for the test", client.local_addr().unwrap());
    assert_eq!(heard(&line), [line]);
    let too_long = |line: &&String| line.contains(&client.local_addr().unwrap().to_string());
    assert_eq!(HEARD.0.lock().unwrap().iter().filter(too_long).count(), 2, "a reply that is too long is an error");
}

#[test]
fn rejected_clients_get_no_reply() {
    struct Choosy;
    impl DatagramHandler for Choosy {
        fn handle(&self, datagram: &Datagram) -> io::Result<()> {
            upper(datagram)
        }
        fn verify_client(&self, client: &Client) -> bool {
            match client.address().port() {
                Some(port) if port % 2 == 1 => panic!("an odd port"),
                port => port.is_some_and(|port| port % 4 == 0),
            }
        }
    }
    let server = UdpServer::bind("127.0.0.1:0", Choosy).unwrap();
    let address = server.local_addr();
    let _running = Running::start(server);
    let clients: Vec<UdpSocket> = (0..64).map(|_| client_of(address)).collect();
    let port = |client: &UdpSocket| client.local_addr().unwrap().port();
    for client in &clients {
        client.send(b"hello").unwrap();
    }
    let wanted = clients.iter().find(|client| port(client) % 4 == 0).expect("a suitable port among 64");
    assert_eq!(ask(wanted, b"hello"), b"HELLO");
    for client in clients.iter().filter(|client| port(client) % 4 != 0) {
        client.set_nonblocking(true).unwrap();
        // its datagram was sent before that of the client that got a reply
        assert!(client.recv(&mut [0; 10]).is_err(), "{}", port(client));
    }
}

/// A handler that reports its start and then waits until it may continue.
fn held() -> (impl DatagramHandler, Receiver<Vec<u8>>, Sender<()>) {
    let (begun, begins) = channel();
    let (go, gate) = channel::<()>();
    let (begun, gate) = (Mutex::new(begun), Mutex::new(gate));
    let handler = move |datagram: &Datagram| {
        begun.lock().unwrap().send(datagram.bytes().to_vec()).unwrap();
        let _ = gate.lock().unwrap().recv();
        upper(datagram)
    };
    (handler, begins, go)
}

#[test]
fn datagrams_beyond_the_queue_are_dropped_and_counted() {
    install_log_capture();
    let (handler, begins, go) = held();
    let server = UdpServer::bind("127.0.0.1:0", handler).unwrap().workers(1).queue_limit(2);
    let client = client_of(server.local_addr());
    let mut running = Running::start(server);
    client.send(b"a").unwrap();
    assert_eq!(begins.recv_timeout(PATIENCE).unwrap(), b"a");
    for said in [b"b", b"c", b"d", b"e", b"f"] {
        client.send(said).unwrap();
    }
    until(&running.handle, "all have come", |stats| stats.accepted == 6);
    let stats = running.handle.stats();
    assert_eq!((stats.running, stats.waiting, stats.refused), (1, 2, 3), "{stats:?}");
    drop(go); // all handlers continue
    let mut replies = Vec::new();
    for _ in 0..3 {
        let mut reply = [0; 10];
        let length = client.recv(&mut reply).unwrap();
        replies.extend_from_slice(&reply[..length]);
    }
    assert_eq!(replies, b"ABC", "one worker keeps the order");
    running.stop().unwrap();
    assert_eq!(running.handle.stats().refused, 3, "the counters stay readable after the end");
    // only this test causes this line
    let warnings = heard(" datagrams were dropped: all workers are busy and the queue is full");
    let told = warnings.iter().map(|line| line.split(' ').nth(1).unwrap().parse::<u64>().unwrap());
    assert!(told.sum::<u64>() == 3 && warnings.len() <= 2, "one warning at once and one at the end: {warnings:?}");
}

#[test]
fn at_most_one_handler_per_worker_runs() {
    let (handler, begins, go) = held();
    let server = UdpServer::bind("127.0.0.1:0", handler).unwrap().workers(3);
    let client = client_of(server.local_addr());
    let running = Running::start(server);
    for said in [b"a", b"b", b"c", b"d"] {
        client.send(said).unwrap();
    }
    // The handlers wait one after the other, because the gate has a lock; but all have started.
    for _ in 0..3 {
        begins.recv_timeout(PATIENCE).unwrap();
    }
    until(&running.handle, "three run and one waits", |stats| (stats.running, stats.waiting) == (3, 1));
    drop(go);
    until(&running.handle, "all are handled", |stats| (stats.running, stats.waiting) == (0, 0));
}

#[test]
fn a_shutdown_ends_a_blocked_receive_at_once() {
    let server = UdpServer::bind("127.0.0.1:0", upper).unwrap();
    let address = server.local_addr();
    let mut running = Running::start(server);
    // The server runs and has no datagram in progress, so it can only be waiting for one.
    assert_eq!(ask(&client_of(address), b"a"), b"A");
    until(&running.handle, "nothing is in hand", |stats| (stats.running, stats.waiting) == (0, 0));
    let start = Instant::now();
    running.stop().unwrap();
    assert!(start.elapsed() < PATIENCE / 3, "{:?}", start.elapsed());
}

#[test]
fn a_shutdown_before_the_start_and_a_second_start() {
    let server = UdpServer::bind("127.0.0.1:0", upper).unwrap();
    server.handle().shutdown();
    server.serve_forever().unwrap();
    assert!(server.handle().is_shutting_down());
    assert!(server.serve_forever().is_err(), "a server can serve only once");
}

#[test]
fn a_handler_can_shut_down_and_queued_datagrams_are_handled() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (go, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let handler = {
        let seen = seen.clone();
        move |datagram: &Datagram| {
            if datagram.bytes() == b"stop" {
                gate.lock().unwrap().recv().unwrap();
                datagram.server().shutdown();
                datagram.server().shutdown();
            }
            seen.lock().unwrap().push(datagram.bytes().to_vec());
            Ok(())
        }
    };
    let server = UdpServer::bind("127.0.0.1:0", handler).unwrap().workers(1);
    let client = client_of(server.local_addr());
    let mut running = Running::start(server);
    for said in ["stop", "one", "two"] {
        client.send(said.as_bytes()).unwrap();
    }
    until(&running.handle, "all are queued", |stats| stats.waiting == 2);
    go.send(()).unwrap();
    running.join().unwrap();
    assert_eq!(*seen.lock().unwrap(), [&b"stop"[..], b"one", b"two"]);
}

/// Datagrams that are received while the shutdown begins are handled as well.
#[test]
fn datagrams_received_before_a_shutdown_are_handled() {
    let begun = Instant::now();
    let mut at_once = 0;
    while at_once < 20 {
        let handled = Arc::new(AtomicU64::new(0));
        let count = handled.clone();
        let count = move |_: &Datagram| {
            count.fetch_add(1, Relaxed);
            Ok(())
        };
        let server = UdpServer::bind("127.0.0.1:0", count).unwrap().queue_limit(usize::MAX);
        let client = client_of(server.local_addr());
        let mut running = Running::start(server);
        let handle = running.handle.clone();
        let flood = thread::spawn(move || {
            while !handle.is_shutting_down() {
                let _ = client.send(b"a");
            }
        });
        until(&running.handle, "datagrams come", |stats| stats.accepted > 50);
        let before = running.handle.stats().accepted;
        running.stop().unwrap();
        flood.join().unwrap();
        let stats = running.handle.stats();
        assert_eq!((stats.accepted, stats.refused), (handled.load(Relaxed), 0), "{stats:?}");
        at_once += u64::from(stats.accepted > before);
        assert!(begun.elapsed() < PATIENCE, "no datagram arrives during a shutdown");
    }
}

/// A socket that another process shuts down can never be received from again, although the system always reports it as
/// ready. (The portable code cannot see this on Linux, where its call finds nothing to read.)
#[cfg(all(target_os = "linux", not(modest_portable)))]
#[test]
fn a_socket_that_was_shut_down_ends_the_server() {
    let inet = UdpSocket::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let unix = UnixDatagram::bind(folder.path().join("server")).unwrap();
    let sockets: [(OwnedFd, OwnedFd); 2] =
        [(inet.try_clone().unwrap().into(), inet.into()), (unix.try_clone().unwrap().into(), unix.into())];
    let endings = sockets.map(|(socket, theirs)| {
        let mut running = Running::start(UdpServer::from_socket(socket, upper).unwrap());
        let _ = rustix::net::shutdown(&theirs, rustix::net::Shutdown::Read); // for UDP it takes effect, and returns an error
        thread::spawn(move || running.join())
    });
    for ending in endings {
        let error = ending.join().unwrap().unwrap_err().to_string();
        assert!(error.starts_with("receiving at ") && error.ends_with(": the socket was shut down"), "{error}");
    }
}

#[test]
fn the_wait_for_a_stuck_handler_is_bounded() {
    for now in [false, true] {
        let (handler, begins, go) = held();
        let limit = if now { None } else { Some(Duration::from_millis(20)) };
        let server = UdpServer::bind("127.0.0.1:0", handler).unwrap().workers(1).shutdown_timeout(limit);
        let client = client_of(server.local_addr());
        let mut running = Running::start(server);
        client.send(b"a").unwrap();
        begins.recv_timeout(PATIENCE).unwrap();
        client.send(b"b").unwrap();
        until(&running.handle, "the second one is queued", |stats| stats.waiting == 1);
        if now {
            running.handle.shutdown_now();
        }
        running.stop().unwrap();
        let stats = running.handle.stats();
        assert_eq!((stats.waiting, stats.refused), (0, 1), "the queued one is counted as dropped");
        drop(go);
    }
}

#[test]
fn datagrams_of_a_unix_socket() {
    install_log_capture();
    let folder = tempfile::tempdir().unwrap();
    let (path, mine) = (folder.path().join("server"), folder.path().join("client"));
    drop(UnixDatagram::bind(&path).unwrap()); // the file of an earlier server
    let server = UdpServer::bind(Listen::unix(&path).mode(0o600), upper).unwrap();
    let mut running = Running::start(server);
    let client = UnixDatagram::bind(&mine).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let nobody = UnixDatagram::unbound().unwrap(); // no reply can reach it, which is not logged
    let mut reply = [0; 100];
    for _ in 0..3 {
        nobody.send_to(b"hello", &path).unwrap();
        client.send_to(b"hello", &path).unwrap();
        let length = client.recv(&mut reply).unwrap();
        assert_eq!(&reply[..length], b"HELLO");
    }
    let taken = UdpServer::bind(Listen::unix(&path), upper).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse, "{taken}");
    running.stop().unwrap();
    assert!(!path.exists(), "the socket file is removed with the server");
    assert_eq!(heard("the client has no address"), [""; 0], "datagrams without an address must not fill the log");
}

#[test]
fn a_unix_client_that_reads_nothing_blocks_a_handler_briefly() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mine) = (folder.path().join("server"), folder.path().join("client"));
    let (told, tells) = channel();
    let told = Mutex::new(told);
    let handler = move |datagram: &Datagram| {
        let sent = datagram.reply("x");
        told.lock().unwrap().send(sent.as_ref().map_err(io::Error::kind).err()).unwrap();
        sent
    };
    let _running = Running::start(UdpServer::bind(Listen::unix(&path), handler).unwrap().workers(1));
    let client = UnixDatagram::bind(&mine).unwrap();
    loop {
        client.send_to(b"hello", &path).unwrap();
        match tells.recv_timeout(PATIENCE).unwrap() {
            None => {} // there was space in its queue
            Some(kind) => break assert_eq!(kind, io::ErrorKind::TimedOut),
        }
    }
    drop(client);
    let nobody = UnixDatagram::bind(folder.path().join("other")).unwrap();
    nobody.set_read_timeout(Some(PATIENCE)).unwrap();
    nobody.send_to(b"hello", &path).unwrap();
    assert_eq!(nobody.recv(&mut [0; 10]).unwrap(), 1, "the next datagram is served");
}

#[test]
fn an_undelivered_reply_ends_nothing() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (address, mine) = (socket.local_addr().unwrap(), client.local_addr().unwrap());
    socket.connect(mine).unwrap(); // so that the system reports undelivered replies
    let (handler, begins, go) = held();
    let _running = Running::start(UdpServer::from_socket(socket, handler).unwrap().workers(1));
    client.send_to(b"hello", address).unwrap();
    begins.recv_timeout(PATIENCE).unwrap();
    drop(client);
    go.send(()).unwrap();
    drop(go);
    let client = UdpSocket::bind(mine).unwrap();
    client.connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut reply = [0; 10];
    let start = Instant::now();
    loop {
        // Both sockets at this port can receive the first reply.
        client.send(b"again").unwrap();
        match client.recv(&mut reply) {
            Ok(length) if &reply[..length] == b"AGAIN" => break,
            _ => assert!(start.elapsed() < PATIENCE),
        }
    }
}

#[test]
fn existing_sockets_can_be_served() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    let server = UdpServer::from_socket(socket, upper).unwrap();
    assert_eq!(server.local_addr(), address);
    let _running = Running::start(server);
    assert_eq!(ask(&client_of(address), b"hello"), b"HELLO");
}

#[test]
fn unavailable_addresses_are_reported() {
    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let stream = TcpListener::bind("127.0.0.1:0").unwrap();
    for (address, kind) in [
        (Listen::at(taken.as_str()), io::ErrorKind::AddrInUse),
        (Listen::at("nonsense"), io::ErrorKind::InvalidInput),
        (Listen::at("127.0.0.1:0").backlog(5), io::ErrorKind::InvalidInput),
        (Listen::at("fd:999"), io::ErrorKind::NotFound),
        (Listen::at(stream), io::ErrorKind::InvalidInput),
    ] {
        let named = format!("{address:?}");
        let err = UdpServer::bind(address, upper).unwrap_err();
        assert_eq!(err.kind(), kind, "{named}: {err}");
        assert!(err.to_string().starts_with("can't receive at "), "{named}: {err}");
    }
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(TcpServer::from_listener(datagrams, modest::handler_fn(|_| Ok(modest::Response::no_content()))).is_err());
}
