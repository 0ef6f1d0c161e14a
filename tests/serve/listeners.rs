//! Several listeners in one server, and all kinds of addresses.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use modest::raw::{Conversation, Flow, Lines, Protocol, Raw};
use modest::{Address, Client as Peer, Http, Listen, LogFormat, ProxyProtocol, Response, TcpServer, handler_fn};
use socket2::SockRef;

use crate::script::Script;
use crate::server::{Client, PATIENCE, Running, alone, capture_the_log, eventually};

fn script() -> Raw<Script> {
    Raw(Script::default())
}

/// Sends a line over any stream, and expects exactly this reply.
#[track_caller]
pub fn ask(mut stream: impl Read + Write, sent: &str, wanted: &str) {
    let went = stream.write_all(sent.as_bytes());
    let mut came = vec![0; wanted.len()];
    let read = stream.read_exact(&mut came);
    let came = String::from_utf8_lossy(&came);
    assert!(read.is_ok() && came == wanted, "sent {sent:?} ({went:?}), came {came:?} ({read:?}), wanted {wanted:?}");
}

fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

/// Connects, with a timeout for all reads.
fn connect(address: impl Into<SocketAddr>) -> TcpStream {
    Client::new(address.into()).stream
}

/// Each listener has its own protocol. The server has one set of statistics, limits and one shutdown.
#[test]
fn listeners_can_serve_different_protocols() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let shout = Lines::new(|line, reply| {
        reply.extend_from_slice(line.to_uppercase().as_bytes());
        Flow::Continue
    });
    let server = TcpServer::bind("127.0.0.1:0", script()).unwrap();
    let server = server.also_serve("127.0.0.1:0", shout).unwrap().also("127.0.0.2:0").unwrap();
    let server = server.also_serve(Listen::unix(&path), handler_fn(|_| Ok(Response::text("http")))).unwrap();
    let addresses: Vec<_> = server.local_addrs().iter().filter_map(Address::socket_addr).collect();
    let server = Running::start(server);
    for _ in 0..3 {
        Client::new(addresses[0]).ask("say one\n", "one\n");
        Client::new(addresses[1]).ask("say two\n", "SAY TWO");
        Client::new(addresses[2]).ask("say three\n", "three\n");
        ask(UnixStream::connect(&path).unwrap(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\n");
    }
    server.wait_for("all are counted", |stats| stats.accepted == 12);
}

/// A handler added to a server logs in the format of the first one, unless it has its own, even behind TLS and proxies.
#[test]
fn one_format_of_the_log_for_all_listeners() {
    alone("listeners::one_format_of_the_log_for_all_listeners", || {
        let lines = capture_the_log(|record| (record.target() == "modest::access").then(|| record.args().to_string()));
        log::set_max_level(log::LevelFilter::Info);
        let hello = || handler_fn(|_| Ok(Response::text("hello")));
        let formats = [
            (Some(LogFormat::Json), None, "{\"time\":"),
            (Some(LogFormat::Json), Some(LogFormat::Common), "127.0.0.1 - - ["),
            (None, None, ""),
        ];
        for (first, own, wanted) in formats {
            let second = match own {
                Some(format) => Http::new(hello()).access_log(format),
                None => Http::new(hello()),
            };
            let server = TcpServer::bind("127.0.0.1:0", Http::new(hello()).access_log(first)).unwrap();
            let server = server.also_serve("127.0.0.1:0", second).unwrap();
            let server = server.also_serve("127.0.0.1:0", ProxyProtocol::new(hello()).serve_untrusted(true)).unwrap();
            let addresses: Vec<_> = server.local_addrs().iter().filter_map(Address::socket_addr).collect();
            let server = Running::start(server);
            Client::new(addresses[1]).ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\n");
            if first.is_some() {
                eventually("it is logged", || lines.lock().unwrap().len() == 1);
            }
            Client::new(addresses[2]).ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\n");
            if first.is_some() {
                eventually("it is logged", || lines.lock().unwrap().len() == 2);
            }
            drop(server); // so that all is logged
            let lines = std::mem::take(&mut *lines.lock().unwrap());
            let proxied = if first.is_some() { "{\"time\":" } else { "" };
            let begins: Vec<_> =
                lines.iter().zip([wanted, proxied]).map(|(line, wanted)| line.starts_with(wanted)).collect();
            assert_eq!(begins, vec![true; if first.is_some() { 2 } else { 0 }], "{first:?}, {own:?}: {lines:?}");
        }
    });
}

#[test]
fn the_number_of_listeners_is_limited() {
    let mut server = TcpServer::bind("127.0.0.1:0", script()).unwrap();
    for number in 1..256 {
        server = server.also_serve("127.0.0.1:0", script()).unwrap_or_else(|err| panic!("{number}: {err}"));
    }
    let err = server.also_serve("127.0.0.1:0", script()).expect_err("a 257th");
    assert!(err.to_string().contains("at most 256"), "{err}");
}

#[test]
fn one_server_listens_at_several_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let mut server = TcpServer::bind(Listen::unix(&path), script()).unwrap();
    server = server.also("127.0.0.1:0").unwrap().also(("127.0.0.2", 0)).unwrap();
    if has_ipv6() {
        server = server.also("[::1]:0").unwrap();
    }
    let addresses = server.local_addrs().to_vec();
    assert_eq!(addresses[0], Address::Unix(Some(path.clone())), "{addresses:?}");
    assert_eq!(addresses[1], Address::Inet(server.local_addr()), "the first IP address");
    assert_eq!(addresses[1].port(), server.port());
    assert_eq!(addresses[2].ip(), Some([127, 0, 0, 2].into()), "{addresses:?}");
    let server = Running::start(server);
    ask(UnixStream::connect(&path).unwrap(), "say unix\n", "unix\n");
    for address in addresses.iter().filter_map(Address::socket_addr) {
        Client::new(address).ask(format!("say {address}\n"), format!("{address}\n"));
    }
    let connections = server.handle.stats().accepted;
    assert_eq!(connections as usize, addresses.len());
    let by_listener = server.handle.listeners();
    let told: Vec<_> = by_listener.iter().map(|stats| (&stats.address, stats.accepted)).collect();
    assert_eq!(told, addresses.iter().map(|address| (address, 1)).collect::<Vec<_>>());
}

#[test]
fn binding_an_address_twice_names_it_in_the_error() {
    let server = TcpServer::bind("127.0.0.1:0", script()).unwrap();
    let address = server.local_addr();
    let err = server.also(address).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::AddrInUse, "{err}");
    assert_eq!(err.to_string(), format!("can't listen at {address}: address already in use"));
    assert!(TcpStream::connect(address).is_err(), "the first one is closed as well");
}

/// The order in which clients are accepted; true for a Unix socket.
#[derive(Clone, Default)]
struct Order(Arc<Mutex<Vec<bool>>>);

impl Protocol for Order {
    fn meet(&self, client: &Peer) -> Option<Box<dyn Conversation>> {
        self.0.lock().unwrap().push(client.ip().is_none());
        None
    }
}

#[test]
fn a_crowd_at_one_listener_does_not_keep_others_waiting() {
    const CROWD: usize = 500;
    for crowd_is_unix in [true, false] {
        let place = || {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("socket");
            let order = Order::default();
            let server = TcpServer::bind("127.0.0.1:0", Raw(order.clone())).unwrap().also(Listen::unix(&path)).unwrap();
            let address = server.local_addr();
            let by_unix = || drop(UnixStream::connect(&path).unwrap());
            let by_tcp = || drop(TcpStream::connect(address).unwrap());
            for _ in 0..CROWD {
                if crowd_is_unix { by_unix() } else { by_tcp() }
            }
            if crowd_is_unix {
                by_tcp()
            } else {
                by_unix()
            }
            let server = Running::start(server);
            server.wait_for("all are accepted", |stats| stats.accepted as usize > CROWD && stats.connections == 0);
            let order = order.0.lock().unwrap();
            order.iter().position(|is_unix| *is_unix != crowd_is_unix).expect("a client of the other kind")
        };
        // The client is accepted second, but its worker may not run while others accept the crowd, so one good round is
        // enough. Behind the crowd it would be the last one each time.
        let places: Vec<usize> = (0..5).map(|_| place()).collect();
        assert!(
            places.iter().any(|place| *place < 64),
            "the few clients were accepted as numbers {places:?} of {CROWD}"
        );
    }
}

#[test]
fn a_failing_listener_ends_the_server_with_a_named_error() {
    let failing = TcpListener::bind("127.0.0.1:0").unwrap();
    let hold = failing.try_clone().unwrap();
    let address = failing.local_addr().unwrap();
    let (script, stopped) = (Script::default(), Arc::new(AtomicBool::new(false)));
    let stopping = Arc::clone(&stopped);
    let server = TcpServer::bind("127.0.0.1:0", Raw(script.clone())).unwrap().also(failing).unwrap();
    let server = server.shutdown_timeout(Duration::from_millis(200)).background("until the end", move |stop| {
        while stop.wait(PATIENCE) {}
        stopping.store(true, Relaxed);
    });
    let mut server = Running::start(server);
    let mut stuck = server.client();
    stuck.send("block gate\n");
    server.wait_for("a handler is stuck", |stats| stats.running == 1);
    Client::new(address).ask("say one\n", "one\n");
    SockRef::from(&hold).shutdown(Shutdown::Both).unwrap();
    let start = Instant::now();
    let mut served_for = Duration::ZERO;
    while !server.has_ended() && start.elapsed() < PATIENCE {
        // The server can end at any moment, also between a connect and its response.
        let mut answer = [0; 3];
        let answered = TcpStream::connect(server.address)
            .and_then(|mut client| client.write_all(b"say on\n").and_then(|()| client.read_exact(&mut answer)));
        if answered.is_ok() {
            served_for = start.elapsed();
        }
        thread::sleep(Duration::from_millis(5)); // it serves for seconds, or is about to end
    }
    assert!(served_for > Duration::from_secs(2), "the other listener served for {served_for:?}");
    assert!(server.has_ended(), "the shutdown timeout does not apply: {:?}", server.handle.stats());
    assert!(stopped.load(Relaxed) && server.handle.is_shutting_down(), "background threads were not stopped");
    script.open("gate");
    let err = server.result().expect("no panic").expect_err("one listener failed");
    let expected = format!("can't accept connections at {address}: ");
    assert!(err.to_string().starts_with(&expected), "{err}");
}

#[test]
fn addresses_can_be_written_as_in_python_and_go() {
    let six = has_ipv6();
    let every = if six { "::" } else { "0.0.0.0" };
    let (four_ip, six_ip) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
    let (only_four, only_six, both) = (&[four_ip][..], &[six_ip][..], &[four_ip, six_ip][..]);
    let owned = "127.0.0.1:0".to_owned();
    let in_socket = SocketAddr::from(([127, 0, 0, 1], 0));
    for (listen, first, answers) in [
        (Listen::at("127.0.0.1:0"), "127.0.0.1", only_four),
        (Listen::at("127.0.0.1:0".to_owned()), "127.0.0.1", only_four),
        (Listen::at(&owned), "127.0.0.1", only_four),
        (Listen::at(("127.0.0.1", 0)), "127.0.0.1", only_four),
        (Listen::at(("127.0.0.1".to_owned(), 0)), "127.0.0.1", only_four),
        (Listen::at((Ipv4Addr::LOCALHOST, 0)), "127.0.0.1", only_four),
        (Listen::at((four_ip, 0)), "127.0.0.1", only_four),
        (Listen::at(in_socket), "127.0.0.1", only_four),
        (Listen::at(TcpListener::bind(in_socket).unwrap()), "127.0.0.1", only_four),
        (Listen::at("0.0.0.0:0"), "0.0.0.0", only_four),
        (Listen::at(":0"), every, both),
        (Listen::at("*:0"), every, both),
        (Listen::at(("", 0)), every, both),
        (Listen::at(("*", 0)), every, both),
        (Listen::at("[::]:0"), "::", both),
        (Listen::at(("::", 0)), "::", both),
        (Listen::at(("[::]", 0)), "::", both),
        (Listen::at((Ipv6Addr::UNSPECIFIED, 0)), "::", both),
        (Listen::at("[::]:0").ipv6_only(true), "::", only_six),
        (Listen::at("[::1]:0"), "::1", only_six),
        (Listen::at((six_ip, 0)), "::1", only_six),
    ] {
        let said = format!("{listen:?}");
        if !six && (first.starts_with("::") || first == every && first != "0.0.0.0") {
            continue;
        }
        let server = TcpServer::bind(listen, script()).unwrap_or_else(|err| panic!("{said}: {err}"));
        let (ip, port) = (server.local_addr().ip(), server.local_addr().port());
        assert_eq!(ip.to_string(), first, "{said}");
        let _server = Running::start(server);
        for client in both.iter().filter(|ip| six || ip.is_ipv4()) {
            let connected = TcpStream::connect((*client, port));
            assert_eq!(connected.is_ok(), answers.contains(client), "{said}, a client of {client}: {connected:?}");
        }
    }
}

#[test]
fn a_host_name_binds_all_its_addresses_with_one_port() {
    let server = TcpServer::bind("localhost:0", script()).unwrap();
    let addresses: Vec<SocketAddr> = server.local_addrs().iter().filter_map(Address::socket_addr).collect();
    let stands_for: Vec<SocketAddr> = std::net::ToSocketAddrs::to_socket_addrs("localhost:0").unwrap().collect();
    assert!(!addresses.is_empty() && addresses.iter().all(|one| one.port() == addresses[0].port()), "{addresses:?}");
    for ip in stands_for.iter().map(SocketAddr::ip) {
        let bindable = TcpListener::bind((ip, 0)).is_ok();
        assert_eq!(addresses.iter().any(|one| one.ip() == ip), bindable, "{ip} of {stands_for:?}: {addresses:?}");
    }
    let _server = Running::start(server);
    addresses.into_iter().for_each(|address| ask(connect(address), "say it\n", "it\n"));
}

#[test]
fn errors_name_the_address_and_the_cause() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let at = |text: &str| Listen::at(text.to_owned());
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for (listen, kind, expected) in [
        (Listen::at(taken), ErrorKind::AddrInUse, format!("can't listen at {taken}: address already in use")),
        (at("127.0.0.1"), ErrorKind::InvalidInput, "can't listen at 127.0.0.1: the port is missing".into()),
        (at("localhost"), ErrorKind::InvalidInput, "can't listen at localhost: the port is missing".into()),
        (at("*"), ErrorKind::InvalidInput, "can't listen at *: the port is missing".into()),
        (at(""), ErrorKind::InvalidInput, "can't listen at \"\": the port is missing".into()),
        (at("::1"), ErrorKind::InvalidInput, "can't listen at ::1: the port is missing; ".into()),
        (at("8000"), ErrorKind::InvalidInput, "can't listen at 8000: the host is missing".into()),
        (at("a\nb"), ErrorKind::InvalidInput, "can't listen at a\\nb: the port is missing".into()),
        (at("127.0.0.1:http"), ErrorKind::InvalidInput, "can't listen at 127.0.0.1:http: a port is a number".into()),
        (at("192.0.2.1:80"), ErrorKind::AddrNotAvailable, "can't listen at 192.0.2.1:80: cannot assign".into()),
        (at("a b:80"), ErrorKind::Other, "can't listen at a b:80: failed to lookup".into()),
        (at("unix:"), ErrorKind::InvalidInput, "can't listen at unix:: the path is missing".into()),
        (at("unix:/no/such/x"), ErrorKind::NotFound, "can't listen at unix:/no/such/x: no such file".into()),
        // More than the descriptors that other tests can have open at the same time.
        (at("fd:999999999"), ErrorKind::NotFound, "can't listen at fd:999999999: there is no such descriptor".into()),
        (at("fd:2"), ErrorKind::InvalidInput, "can't listen at fd:2: this descriptor is not a".into()),
        (at("systemd"), ErrorKind::NotFound, "can't listen at systemd: no sockets were handed over".into()),
        (
            at("127.0.0.1:0").mode(0o600),
            ErrorKind::InvalidInput,
            "can't listen at 127.0.0.1:0: a mode applies only".into(),
        ),
        (
            at("unix:x").reuse_port(true),
            ErrorKind::InvalidInput,
            "can't listen at unix:x: reuse_port applies only".into(),
        ),
        (at("unix:@x").mode(0o600), ErrorKind::InvalidInput, "can't listen at unix:@x: a mode applies only".into()),
        (at("fd:3").ipv6_only(true), ErrorKind::InvalidInput, "can't listen at fd:3: ipv6_only applies only".into()),
        (
            Listen::at(std::os::fd::OwnedFd::from(udp)),
            ErrorKind::InvalidInput,
            "can't listen at 127.0.0.1:".into(), // and the port
        ),
    ] {
        let said = format!("{listen:?}");
        let err = TcpServer::bind(listen, script()).map(|server| server.local_addrs().to_vec());
        let err = err.expect_err(&said);
        assert!(err.to_string().starts_with(&expected), "{said}: {err}, expected: {expected}");
        let kind = if kind == ErrorKind::Other { err.kind() } else { kind }; // a failed lookup has no kind of its own
        assert_eq!(err.kind(), kind, "{said}: {err}");
        assert_eq!(err.to_string().lines().count(), 1, "{said}: {err}");
    }
}

#[test]
fn several_servers_share_a_port_if_all_enable_it() {
    let first = TcpServer::bind(Listen::at("127.0.0.1:0").reuse_port(true), script()).unwrap();
    let address = first.local_addr();
    let second = TcpServer::bind(Listen::at(address).reuse_port(true), script()).unwrap();
    let err = TcpServer::bind(address, script()).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::AddrInUse, "{err}");
    let (first, second) = (Running::start(first), Running::start(second));
    let mut clients: Vec<Client> = (0..64).map(|_| first.client()).collect();
    for client in &mut clients {
        client.ask("say it\n", "it\n");
    }
    let (at_first, at_second) = (first.handle.stats().accepted, second.handle.stats().accepted);
    // The kernel chooses at random: the probability of all clients at one server is 1 in 2^63.
    assert!(at_first + at_second == 64 && at_first > 0 && at_second > 0, "{at_first} and {at_second}");
}

#[test]
fn the_backlog_bounds_waiting_connections() {
    for (listen, holds) in [
        (Listen::at("127.0.0.1:0").backlog(3), 4),
        (Listen::at(TcpListener::bind("127.0.0.1:0").unwrap()).backlog(5), 6),
    ] {
        let server = TcpServer::bind(listen, script()).unwrap();
        let address = server.local_addr();
        let mut waiting = Vec::new();
        // The kernel ignores a connection beyond the queue, and the client repeats it after a second.
        while let Ok(client) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            waiting.push(client);
            assert!(waiting.len() <= holds, "{} wait", waiting.len());
        }
        assert_eq!(waiting.len(), holds);
        let _server = Running::start(server);
        waiting.into_iter().for_each(|client| ask(client, "say it\n", "it\n"));
    }
}

#[test]
fn descriptors_of_all_kinds_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let tcp = TcpServer::from_listener(TcpListener::bind("127.0.0.1:0").unwrap(), script()).unwrap();
    let tcp = Running::start(tcp);
    tcp.client().ask("say tcp\n", "tcp\n");
    let unix = TcpServer::from_listener(UnixListener::bind(&path).unwrap(), script()).unwrap();
    assert_eq!(unix.port(), None);
    let unix = Running::start(unix);
    ask(UnixStream::connect(&path).unwrap(), "say unix\n", "unix\n");
    drop(unix);
    assert!(path.exists(), "a server removes only socket files that it created");
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let made = TcpServer::from_listener(socket, script());
    match made {
        Err(err) => {
            assert_eq!(err.kind(), ErrorKind::InvalidInput, "a socket that is bound and does not listen: {err}")
        }
        Ok(_) => assert_eq!(super::system::way_of("listening sockets"), "a stream socket with an address and no peer"),
    }
}

/// A server that shares its listener with this test, as it could with another process. The response of a handler delays
/// its shutdown.
fn stopping_with_a_shared_listener() -> (Running, Script, Client, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let hold = listener.try_clone().unwrap();
    let script = Script::default();
    let server = TcpServer::from_listener(listener, Raw(script.clone())).unwrap();
    let server = Running::start(server.workers(2).shutdown_timeout(PATIENCE));
    let mut client = server.client();
    client.send("block gate\n");
    server.wait_for("the handler runs", |stats| stats.running == 1);
    (server, script, client, hold)
}

#[test]
fn clients_of_a_successor_do_not_wake_a_stopping_server() {
    let (mut server, script, mut client, listener) = stopping_with_a_shared_listener();
    server.handle.shutdown();
    // The server has closed its listener when a client stays in the queue.
    let start = Instant::now();
    loop {
        let _client = TcpStream::connect(server.address).unwrap();
        let accepted = server.handle.stats().accepted;
        thread::sleep(Duration::from_millis(20)); // time for the old server to accept it, if it still accepts
        match listener.accept() {
            Ok(_) if server.handle.stats().accepted == accepted => break,
            _ => assert!(start.elapsed() < PATIENCE, "the server still accepts although it shuts down"),
        }
    }
    let before = server.handle.stats().polls;
    for _ in 0..200 {
        let _client = TcpStream::connect(server.address).unwrap();
        listener.accept().expect("a client that stays in the queue for a successor");
        thread::yield_now();
    }
    script.open("gate");
    client.expect("done\n");
    drop(client);
    server.wait_for_end();
    let polls = server.handle.stats().polls - before;
    assert!(polls < 100, "{polls} polls while 200 clients connected to a successor");
}

#[test]
fn a_stop_finishes_while_a_shared_listener_gets_clients() {
    let (mut server, script, mut client, listener) = stopping_with_a_shared_listener();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    let _ = TcpStream::connect_timeout(&server.address, Duration::from_millis(50));
                    while listener.accept().is_ok() {} // as a successor does
                }
            });
        }
        server.handle.shutdown();
        script.open("gate");
        client.expect("done\n");
        let start = Instant::now();
        while !server.has_ended() && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(5)); // there is no notification when a thread ends
        }
        over.store(true, Relaxed);
    });
    assert!(server.has_ended(), "the server still accepts clients");
    let result: io::Result<()> = server.result().expect("no panic");
    result.expect("no error");
}
