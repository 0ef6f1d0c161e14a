//! Unix sockets: data over them, the permission to connect, and their files.

use std::fs;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use modest::raw::{Raw, Stream, streams};
use modest::{IntoProtocol, Listen, LogRecord, ProxyProtocol, Request, RequestHandler, Response, Result, TcpServer};
use tempfile::TempDir;

use crate::listeners::ask;
use crate::script::Script;
use crate::server::{Gate, PATIENCE, Running, eventually, get};

/// A folder, and the path of a socket in it.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    (folder, path)
}

fn bind(path: &Path) -> io::Result<TcpServer> {
    TcpServer::bind(Listen::unix(path), Raw(Script::default()))
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn all_features_work_over_a_unix_socket() {
    let (_folder, path) = place();
    let script = Script::default();
    let server = TcpServer::bind(format!("unix:{}", path.display()), Raw(script.clone())).unwrap();
    assert_eq!(server.local_addrs()[0].to_string(), format!("unix:{}", path.display()));
    let server = Running::start(server.workers(2).shutdown_timeout(PATIENCE));
    let mut client = connect(&path);
    ask(&client, "say me\nsay you\n", "me\nyou\n");
    ask(&client, "big 3000000\n", &"x".repeat(3_000_000)); // more than the socket holds, so the server has to wait
    ask(&client, "file 3000000 3000000\n", &format!("head:{}", "f".repeat(3_000_000)));
    ask(&client, "read 100\n", "late\n");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"", "nothing must follow `late`");
    ask(connect(&path), "refuse\n", "refused\n");
    let mut cut = connect(&path);
    cut.write_all(b"file 1000 10\n").unwrap();
    let end = cut.read_to_end(&mut rest);
    assert!(rest.len() < 1005, "a file that is too short: {} bytes and {end:?}", rest.len());
    server.wait_for("all are gone", |stats| stats.connections == 0);
    let mut leaving = connect(&path);
    leaving.write_all(b"big 30000000\n").unwrap();
    leaving.read_exact(&mut [0; 1000]).unwrap();
    drop(leaving);
    server.wait_for("a client that leaves is noticed", |stats| stats.connections == 0);
}

fn serve(path: &Path, handler: impl IntoProtocol, settings: impl FnOnce(TcpServer) -> TcpServer) -> Running {
    Running::start(settings(TcpServer::bind(Listen::unix(path), handler).unwrap()))
}

/// An echo of lines, until one line ends it; after that nothing is read.
fn echo(stream: &mut Stream) -> io::Result<()> {
    assert_eq!(stream.client().ip(), None);
    let mut line = String::new();
    while line != "enough\n" {
        line.clear();
        match stream.read_line(&mut line) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => return stream.write_all(b"goodbye\n"),
            read => read.map(drop)?,
        }
        stream.write_all(line.as_bytes())?;
    }
    Ok(())
}

#[test]
fn connections_leave_the_engine_and_come_back_to_linger() {
    let (_folder, path) = place();
    let mut server = serve(&path, streams(echo), |server| server.shutdown_timeout(PATIENCE));
    let mut clients: Vec<UnixStream> = (0..10).map(|_| connect(&path)).collect();
    clients.iter().for_each(|client| ask(client, "one\ntwo\n", "one\ntwo\n"));
    server.wait_for("each has a thread", |stats| stats.streams == 10);
    for mut client in clients.drain(5..) {
        ask(&client, "enough\n", "enough\n");
        server.wait_for("it lingers", |stats| stats.connections > stats.streams);
        client.write_all(&[b'x'; 50_000]).expect("bytes that are received and dropped");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).expect("an end, and no reset because of unread bytes");
        assert_eq!(rest, b"");
    }
    server.wait_for("half of them are gone", |stats| (stats.streams, stats.connections) == (5, 5));
    server.handle.shutdown();
    for mut client in clients {
        let mut rest = String::new();
        client.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "goodbye\n", "the client must see the end");
    }
    assert!(server.wait_for_end() < PATIENCE / 2, "the shutdown waited for a stream that had ended");
}

#[test]
fn a_panicking_stream_closes_its_connection() {
    let (_folder, path) = place();
    let server = serve(&path, streams(|_: &mut Stream| panic!("for the test")), |server| server);
    let mut rest = Vec::new();
    let _end_or_reset = connect(&path).read_to_end(&mut rest);
    assert_eq!(rest, b"");
    server.wait_for("it is gone", |stats| (stats.streams, stats.connections, stats.accepted) == (0, 0, 1));
}

#[test]
fn clients_without_an_address_are_not_counted_by_address() {
    let (_folder, path) = place();
    let server = serve(&path, Raw(Script::default()), |server| server.max_per_address(1));
    let clients: Vec<UnixStream> = (0..5).map(|_| connect(&path)).collect();
    clients.iter().for_each(|client| ask(client, "say me\n", "me\n"));
    assert_eq!(server.handle.stats().refused_per_address, 0);
}

#[test]
fn clients_without_an_address_are_in_no_trusted_network() {
    let (_folder, path) = place();
    let trusting = |script| {
        let protocol = ProxyProtocol::new(Raw(script));
        protocol.trust("0.0.0.0/0".parse().unwrap()).trust("::/0".parse().unwrap())
    };
    let server = serve(&path, trusting(Script::default()), |server| server);
    let mut came = Vec::new();
    connect(&path).read_to_end(&mut came).unwrap();
    assert_eq!(came, b"", "a rejected client gets no bytes");
    drop(server);
    let _server = serve(&path, trusting(Script::default()).serve_untrusted(true), |server| server);
    ask(connect(&path), "say me\n", "me\n");
}

/// A proxy that connects to a Unix socket names its clients, who count towards the limit per address.
#[test]
fn proxies_at_a_unix_socket_name_their_clients() {
    let (_folder, path) = place();
    let app = modest::handler_fn(|request: &Request| Ok(Response::text(format!("{}\n", request.client_address()))));
    let protocol = ProxyProtocol::new(app).unix_sockets(true);
    let server = serve(&path, protocol, |server| server.max_per_address(1));
    let request = get("/");
    let begin = |header: &str| {
        let mut stream = connect(&path);
        stream.write_all(format!("{header}{request}").as_bytes()).unwrap();
        stream
    };
    let first = begin("PROXY TCP4 203.0.113.7 192.0.2.1 4321 443\r\n");
    let mut line = String::new();
    let mut received = io::BufReader::new(&first);
    while !line.contains("203.0.113.7:4321") {
        line.clear();
        assert!(received.read_line(&mut line).unwrap() > 0, "the client is not named");
    }
    for (header, is_served) in [
        ("PROXY TCP4 203.0.113.7 192.0.2.1 4322 443\r\n", false), // the second of this address
        ("PROXY TCP4 203.0.113.8 192.0.2.1 4322 443\r\n", true),
        ("PROXY UNKNOWN\r\n", true),
        ("", false),
    ] {
        let stream = begin(header);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = (&stream).read_to_end(&mut answer);
        assert_eq!(answer.starts_with(b"HTTP/1.1 200 "), is_served, "{header:?}: {}", answer.escape_ascii());
    }
    drop(server);
}

/// Responds with the client's address, and keeps the lines of the access log.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl RequestHandler for Told {
    fn do_get(&self, request: &Request) -> Result<Response> {
        assert_eq!(request.client().ip(), None);
        Ok(Response::text(format!("{}\n", request.client_address())))
    }

    fn log_request(&self, record: &LogRecord<'_>) {
        self.0.lock().unwrap().push(record.to_string());
    }
}

#[test]
fn http_works_over_a_unix_socket_without_client_addresses() {
    let (folder, path) = place();
    let told = Told::default();
    let _server = Running::start(TcpServer::bind(Listen::unix(&path), told.clone()).unwrap());
    // A client that is bound to a name, which contains something that a log must escape.
    let own = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    let name = folder.path().join("a\nclient");
    own.bind(&socket2::SockAddr::unix(&name).unwrap()).unwrap();
    own.connect(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    let named = format!("unix:{}/a\\nclient\n", folder.path().display());
    let own = UnixStream::from(std::os::fd::OwnedFd::from(own));
    for (mut client, expected) in [(connect(&path), "unix:\n".to_owned()), (own, named)] {
        client.write_all(get("/").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(&expected), "{answer:?}");
    }
    let lines = told.0.lock().unwrap();
    assert!(lines.iter().all(|line| line.starts_with("unix: - - [")) && lines.len() == 2, "{lines:?}");
}

#[test]
fn an_abstract_socket_is_a_clear_error_elsewhere() {
    if super::system::way_of("abstract Unix sockets") == "no" {
        let err = TcpServer::bind("unix:@name", Raw(Script::default())).unwrap_err();
        assert!(err.to_string().contains("only Linux has abstract sockets"), "{err}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_abstract_socket_has_no_file() {
    if super::system::way_of("abstract Unix sockets") == "no" {
        return;
    }
    let name = format!("modest-test-{}", std::process::id());
    let server = TcpServer::bind(format!("unix:@{name}"), Raw(Script::default())).unwrap();
    assert_eq!(server.local_addrs()[0].to_string(), format!("unix:@{name}"));
    let err = TcpServer::bind(format!("unix:@{name}"), Raw(Script::default())).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::AddrInUse, "{err}");
    let _server = Running::start(server);
    let address =
        <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name).unwrap();
    ask(UnixStream::connect_addr(&address).unwrap(), "say me\n", "me\n");
    assert!(!Path::new(&format!("@{name}")).exists());
}

/// An object that a test has created at a path. The object exists until this is dropped.
type Made = Box<dyn std::any::Any>;

/// Its name, how to create it, and the error of a server that binds there. `None`: the server replaces it.
type Case = (&'static str, fn(&Path) -> Made, Option<&'static str>);

fn made<T: 'static>(made: io::Result<T>) -> Made {
    Box::new(made.unwrap())
}

#[test]
fn an_existing_file_at_the_path_stays_unless_it_is_stale() {
    let cases: [Case; 9] = [
        ("nothing", |_| made(Ok(())), None),
        ("a stale socket", |path| made(UnixListener::bind(path).map(drop)), None),
        ("a stale datagram socket", |path| made(UnixDatagram::bind(path).map(drop)), None),
        ("a live socket", |path| made(UnixListener::bind(path)), Some("address already in use")),
        (
            "a live socket whose queue is full",
            |path| {
                let listener = UnixListener::bind(path).unwrap();
                let probe = |_| {
                    let probe = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
                    probe.set_nonblocking(true).unwrap();
                    probe.connect(&socket2::SockAddr::unix(path).unwrap()).map(|()| probe)
                };
                let queue: Vec<_> = (0..10_000).map(probe).map_while(io::Result::ok).collect();
                Box::new((listener, queue))
            },
            Some("address already in use"),
        ),
        ("a live datagram socket", |path| made(UnixDatagram::bind(path)), Some("address already in use")),
        ("a file", |path| made(fs::write(path, "mine")), Some("a file that is not a socket")),
        ("a folder", |path| made(fs::create_dir(path)), Some("a file that is not a socket")),
        (
            "a link to a stale socket",
            |path| {
                let there = path.with_extension("there");
                drop(UnixListener::bind(&there).unwrap());
                made(symlink(&there, path))
            },
            Some("a file that is not a socket"),
        ),
    ];
    for (what, make, in_use) in cases {
        let (_folder, path) = place();
        let _made = make(&path);
        let before = fs::symlink_metadata(&path).map(|found| (found.file_type(), found.len()));
        match (bind(&path), in_use) {
            (Ok(server), None) => {
                let _server = Running::start(server);
                ask(connect(&path), "say me\n", "me\n");
            }
            (Err(err), Some(expected)) => {
                let named = format!("can't listen at unix:{}: ", path.display());
                let text = err.to_string();
                assert!(text.starts_with(&named) && text.contains(expected), "{what}: {text}");
                assert_eq!(err.kind(), ErrorKind::AddrInUse, "{what}");
                let after = fs::symlink_metadata(&path).map(|found| (found.file_type(), found.len()));
                assert_eq!(before.ok(), after.ok(), "{what} was changed");
            }
            (found, _) => panic!("{what}: {found:?}, expected {in_use:?}"),
        }
    }
}

#[test]
fn the_socket_file_is_removed_with_its_own_server() {
    let (_folder, path) = place();
    for stop in [modest::ServerHandle::shutdown, modest::ServerHandle::shutdown_now] {
        let mut server = Running::start(bind(&path).unwrap());
        ask(connect(&path), "say me\n", "me\n");
        stop(&server.handle);
        server.wait_for_end();
        assert!(!path.exists(), "the socket file was not removed");
    }
    drop(bind(&path).unwrap());
    assert!(!path.exists(), "the socket file of a server that never served was not removed");
    let mut server = Running::start(bind(&path).unwrap());
    fs::remove_file(&path).unwrap();
    let _successor = UnixListener::bind(&path).unwrap();
    server.handle.shutdown();
    server.wait_for_end();
    assert!(path.exists(), "the socket file of another server was removed");
}

#[test]
fn clients_connected_before_a_shutdown_are_served() {
    let (_folder, path) = place();
    let server = bind(&path).unwrap();
    let clients: Vec<UnixStream> = (0..200).map(|_| connect(&path)).collect();
    clients.iter().for_each(|mut client| client.write_all(b"say me\n").unwrap());
    let mut server = Running::start(server.shutdown_timeout(PATIENCE));
    server.wait_for("it has begun to accept them", |stats| stats.accepted > 0);
    server.handle.shutdown();
    server.wait_for_end();
    clients.into_iter().for_each(|client| ask(client, "", "me\n"));
}

#[test]
fn the_socket_file_has_the_configured_mode() {
    let (_folder, path) = place();
    for mode in [0o600, 0o660, 0o666] {
        let _server = TcpServer::bind(Listen::unix(&path).mode(mode), Raw(Script::default())).unwrap();
        let found = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{found:o} for {mode:o}");
    }
}

#[test]
fn a_path_that_is_too_long_is_reported() {
    let path = PathBuf::from("/tmp").join("x".repeat(200));
    let err = bind(&path).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidInput, "{err}");
    assert!(err.to_string().contains("path must be shorter"), "{err}");
}

#[test]
fn one_of_many_servers_takes_over_a_stale_socket() {
    for _ in 0..20 {
        let (_folder, path) = place();
        drop(UnixListener::bind(&path).unwrap());
        let servers: Vec<_> = std::thread::scope(|scope| {
            let binding: Vec<_> = (0..8).map(|_| scope.spawn(|| bind(&path))).collect();
            binding.into_iter().map(|server| server.join().unwrap()).collect()
        });
        let (bound, refused): (Vec<_>, Vec<_>) = servers.into_iter().partition(|server| server.is_ok());
        assert_eq!(bound.len(), 1, "{refused:?}");
        let server = bound.into_iter().next().unwrap().unwrap();
        let _server = Running::start(server);
        ask(connect(&path), "say me\n", "me\n");
    }
}

#[test]
fn a_stream_that_outlives_its_server_holds_no_resources() {
    let (_folder, path) = place();
    let gate = Gate::default();
    let kept = Arc::new(());
    let (stuck, of_the_server) = (gate.clone(), kept.clone());
    let blocks = move |_: &mut Stream| {
        let _kept = &of_the_server;
        stuck.pass();
        Ok(())
    };
    let mut server = serve(&path, streams(blocks), |server| server.shutdown_timeout(Duration::from_millis(100)));
    let _end = gate.opened_at_end();
    let _client = connect(&path);
    gate.wait_for_arrivals(1);
    server.handle.shutdown();
    server.wait_for_end();
    // A Unix socket has no reset: its end succeeds, and the stream returns to an engine that has ended.
    gate.open();
    eventually("the server is dropped with all that it held", || Arc::strong_count(&kept) == 1);
}
