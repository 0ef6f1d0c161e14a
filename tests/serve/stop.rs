//! Shutdowns of all kinds: from outside, from within, before the start, with clients in each state.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use modest::raw::{Action, Conversation, Event, Protocol, Raw, Turn};
use modest::{Client as Peer, Listen, Request, Response, ServerHandle, Stats, TcpServer, handler_fn};

use crate::script::Script;
use crate::server::{Client, PATIENCE, Process, Running, eventually, get, serve, serve_alone};

#[test]
fn a_shutdown_ends_idle_connections_at_once() {
    let mut server = serve(Raw(Script::default()), |server| server.shutdown_timeout(PATIENCE));
    let mut idle: Vec<Client> = (0..300).map(|_| server.client()).collect();
    server.wait_for("all wait", |stats| stats.parked == 300);
    server.handle.shutdown();
    let took = server.wait_for_end();
    assert!(took < PATIENCE / 4, "{took:?} to stop with idle clients");
    idle.iter_mut().for_each(Client::expect_end);
    assert!(TcpStream::connect(server.address).is_err(), "the port is still open");
}

#[test]
fn a_shutdown_finishes_requests_in_progress() {
    let script = Script::default();
    let mut server = serve(Raw(script.clone()), |server| server.workers(1).shutdown_timeout(PATIENCE));
    let (mut client, mut waiting) = (server.client(), server.client());
    client.send("block gate\n");
    server.wait_for("the handler runs", |stats| stats.running == 1);
    waiting.send("block gate\n");
    server.wait_for("another waits for a permit", |stats| stats.waiting == 1);
    server.handle.shutdown();
    // The shutdown has begun when no client can connect.
    while TcpStream::connect(server.address).is_ok() {}
    script.open("gate");
    client.expect("done\n");
    waiting.expect("done\n");
    drop((client, waiting));
    server.wait_for_end();
}

#[test]
fn a_partial_request_is_closed_at_shutdown() {
    let script = Script::default();
    let mut server = serve(Raw(script.clone()), |server| server.shutdown_timeout(PATIENCE));
    let mut client = server.client();
    client.send("say x\nread 20000\n").expect("x\n");
    server.wait_for("it waits", |stats| stats.parked == 1);
    server.handle.shutdown();
    client.expect_end();
    server.wait_for_end();
    assert_eq!(script.events(), [Event::ShuttingDown]);
}

#[test]
fn the_shutdown_timeout_applies_to_running_handlers() {
    let script = Script::default();
    let mut server =
        serve(Raw(script.clone()), |server| server.workers(1).shutdown_timeout(Duration::from_millis(200)));
    let mut client = server.client();
    client.send("block never\n");
    server.wait_for("the handler runs", |stats| stats.running == 1);
    server.handle.shutdown();
    let took = server.wait_for_end();
    assert!(took < PATIENCE / 2, "{took:?} with a grace of 200 ms");
    script.open("never");
    // The thread of the handler ends by itself. Its client gets an end or the response, and does not hang.
    let _ = client.stream.set_read_timeout(Some(PATIENCE));
    let _ = client.read_to_end();
}

#[test]
fn a_successor_makes_the_delay_needless() {
    let hand_over: fn(&ServerHandle) = ServerHandle::hand_over;
    let after_shutdown: fn(&ServerHandle) = |handle| {
        handle.shutdown();
        assert!(handle.is_draining() && !handle.is_shutting_down());
        handle.hand_over();
    };
    for (what, end) in [("at once", hand_over), ("within the delay", after_shutdown)] {
        let script = Script::default();
        let settings = |server: TcpServer| server.workers(1).shutdown_delay(PATIENCE * 4).shutdown_timeout(PATIENCE);
        let mut server = serve(Raw(script.clone()), settings);
        let mut client = server.client();
        client.send("block gate\n");
        server.wait_for("the handler runs", |stats| stats.running == 1);
        end(&server.handle);
        assert!(server.handle.is_shutting_down(), "{what}");
        assert!(!server.handle.is_draining(), "{what}: health checks would fail");
        script.open("gate");
        client.expect("done\n");
        drop(client);
        let took = server.wait_for_end();
        assert!(took < PATIENCE, "{what}: {took:?}");
    }
}

#[test]
fn a_slow_reader_does_not_delay_the_shutdown() {
    let script = Script::default();
    let mut server =
        serve(Raw(script.clone()), |server| server.workers(1).shutdown_timeout(Duration::from_millis(200)));
    let mut slow = [server.client(), server.client()];
    slow[0].send("big 30000000\n");
    slow[1].send("file 30000000 30000000\n");
    server.wait_for("both have unsent output", |stats| stats.parked == 2);
    server.handle.shutdown();
    let took = server.wait_for_end();
    assert!(took < PATIENCE / 4, "{took:?} with a grace of 200 ms");
    // A worker that still had one of the connections would hold the protocol.
    eventually("no worker is left", || Arc::strong_count(&script.events) == 1);
}

#[test]
fn a_slow_reader_gets_its_response_within_the_timeout() {
    let mut server = serve(Raw(Script::default()), |server| server.workers(1).shutdown_timeout(PATIENCE));
    let mut slow = server.client();
    slow.send("big 30000000\n");
    server.wait_for("it has unsent output", |stats| stats.parked == 1);
    server.handle.shutdown();
    while TcpStream::connect(server.address).is_ok() {}
    assert_eq!(slow.read_to_end().len(), 30_000_000);
    assert!(server.wait_for_end() < PATIENCE / 2);
}

#[test]
fn a_new_connection_can_send_one_request_at_shutdown() {
    // The client has half a second for this, so a machine that hangs longer needs another round.
    let answered = (0..5).any(|_| {
        let script = Script::default();
        let mut server = serve(Raw(script.clone()), |server| server.workers(1).shutdown_timeout(PATIENCE));
        let (mut client, mut witness) = (server.client(), server.client());
        witness.send("say x\nread 20000\n").expect("x\n");
        server.wait_for("both have come", |stats| stats.parked == 2);
        server.handle.shutdown();
        witness.expect_end(); // now the other connection has seen the shutdown, or is about to
        let _ = client.stream.write_all(b"say me\n");
        let mut answer = [0; 3];
        let answered = client.stream.read_exact(&mut answer).is_ok() && &answer == b"me\n";
        server.wait_for_end();
        answered
    });
    assert!(answered, "the connection was closed before it could send a request");
}

/// Sends requests on new connections until connecting fails. Returns how many of the connections got no response.
fn ask_anew<S: Read + Write>(connect: impl Fn() -> Option<S>) -> usize {
    let mut lost = 0;
    while let Some(mut stream) = connect() {
        let mut answer = [0; 3];
        let asked = stream.write_all(b"say me\n").and_then(|()| stream.read_exact(&mut answer));
        lost += usize::from(asked.is_err() || &answer != b"me\n");
    }
    lost
}

fn rounds_of_reconnecting(server: impl Fn() -> Running, ask: impl Fn(&Running) -> usize + Sync) {
    let round = || {
        let mut server = server();
        let lost = thread::scope(|scope| {
            let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| ask(&server))).collect();
            server.wait_for("some have come", |stats| stats.accepted > 200);
            server.handle.shutdown();
            clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>()
        });
        server.wait_for_end();
        lost
    };
    let lost: Vec<usize> = (0..60).map(|_| round()).filter(|lost| *lost > 0).collect();
    assert!(lost.is_empty(), "in some of 60 rounds, this many connected clients got no response: {lost:?}");
}

#[test]
fn clients_connected_before_a_stop_are_served() {
    // A client whose SYN was dropped tries again a second later, and finds no listener.
    let connect = |address: SocketAddr| TcpStream::connect_timeout(&address, Duration::from_millis(50)).ok();
    rounds_of_reconnecting(
        || serve(Raw(Script::default()), |server| server.shutdown_timeout(PATIENCE)),
        |server| ask_anew(|| connect(server.address)),
    );
}

#[test]
fn clients_are_served_while_a_server_sharing_the_port_stops() {
    let bind =
        |address: SocketAddr| TcpServer::bind(Listen::at(address).reuse_port(true), Raw(Script::default())).unwrap();
    let stays = Running::start(bind(([127, 0, 0, 1], 0).into()));
    let over = AtomicBool::new(false);
    let lost: usize = thread::scope(|scope| {
        let (stays, over) = (&stays, &over);
        let connect = move || if over.load(Relaxed) { None } else { TcpStream::connect(stays.address).ok() };
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(move || ask_anew(connect))).collect();
        // After each round, a client whose SYN was dropped waits for a second.
        for _ in 0..5 {
            let mut leaves = Running::start(bind(stays.address));
            leaves.wait_for("some have come", |stats| stats.accepted > 50);
            leaves.handle.shutdown();
            leaves.wait_for_end();
        }
        over.store(true, Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    let are_refused = super::system::way_of("clients at a shutdown").starts_with("new clients are refused");
    assert!(lost == 0 || !are_refused, "{lost} clients connected but got no response");
}

#[test]
fn unix_clients_connected_before_a_stop_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = &folder.path().join("socket");
    let connect = |path: &Path| match UnixStream::connect(path) {
        Ok(stream) => Some(stream),
        Err(err) if [ErrorKind::NotFound, ErrorKind::ConnectionRefused].contains(&err.kind()) => None,
        Err(err) => panic!("{err}"),
    };
    rounds_of_reconnecting(
        || {
            let server = TcpServer::bind(Listen::unix(path), Raw(Script::default())).unwrap();
            Running::start(server.shutdown_timeout(PATIENCE))
        },
        |_| ask_anew(|| connect(path)),
    );
}

#[test]
fn a_stop_before_the_start() {
    let server = TcpServer::bind("127.0.0.1:0", Raw(Script::default())).unwrap();
    server.handle().shutdown();
    server.serve_forever().unwrap();
    assert!(server.serve_forever().is_err(), "a server can serve only once");
}

#[test]
fn stops_at_any_moment() {
    for round in 0..24 {
        let mut server = serve(Raw(Script::default()), |server| server.workers(2));
        let mut clients: Vec<Client> = Vec::new();
        if round % 2 == 0 {
            clients.extend((0..round % 7).map(|_| server.client()));
        }
        for client in &mut clients {
            client.send("say x\nsay y\n");
        }
        if round % 3 == 0 {
            std::thread::yield_now();
        }
        server.handle.shutdown();
        server.handle.shutdown();
        let took = server.wait_for_end();
        assert!(took < PATIENCE / 2, "round {round}: {took:?}");
    }
}

#[test]
fn a_handler_can_shut_down_its_server() {
    let app = handler_fn(|request| {
        let server = request.server();
        let running = server.stats().running;
        server.shutdown();
        Ok(Response::text(format!("{running} running, {}", server.is_shutting_down())))
    });
    let mut server = serve(app, |server| server.shutdown_timeout(PATIENCE));
    let answer = server.client().fetch(get("/"));
    assert!(answer.ends_with("1 running, true") && answer.contains("\r\nConnection: close\r\n"), "{answer:?}");
    server.wait_for_end();
    assert_eq!(Request::get("/").server().stats(), Stats::default(), "a request of a test has no server");
}

/// An incomplete response ends with a reset, even if the process ends.
#[test]
fn a_response_still_being_written_is_visibly_truncated() {
    struct Slow(usize);
    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0 += 1;
            if self.0 > 1 {
                thread::sleep(Duration::from_secs(2)); // a slow read
            }
            buffer[0] = b'x';
            Ok(1)
        }
    }
    let test = "stop::a_response_still_being_written_is_visibly_truncated";
    let Some(process) = Process::of_test(test) else {
        let app = handler_fn(|request: &Request| {
            if request.path() == "/stop" {
                request.server().shutdown();
            }
            Ok(Response::stream(Slow(0)))
        });
        let server = TcpServer::bind("127.0.0.1:0", app).unwrap().shutdown_timeout(Duration::from_millis(100));
        return serve_alone(&server);
    };
    let mut client = Client::new(process.address);
    client.send("GET /stop HTTP/1.0\r\n\r\n").expect("HTTP/1.1 200 OK\r\n").expect_reset();

    let killed = Process::of_test(test).expect("another");
    let mut client = Client::new(killed.address);
    client.send("GET / HTTP/1.0\r\n\r\n").expect("HTTP/1.1 200 OK\r\n");
    drop(killed);
    client.expect_reset();
}

/// After `serve_forever` has returned, no stream is read.
#[test]
fn a_stream_ends_within_one_read_after_the_stop() {
    struct Drips(Arc<AtomicUsize>);
    impl Read for Drips {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            thread::sleep(Duration::from_millis(100)); // a slow read
            self.0.fetch_add(1, Relaxed);
            buffer[0] = b'x';
            Ok(1)
        }
    }
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = reads.clone();
    let app = handler_fn(move |_: &Request| Ok(Response::stream(Drips(counted.clone()))));
    let mut server = serve(app, |server| server.shutdown_timeout(Duration::from_millis(50)));
    let mut client = server.client();
    client.send("GET / HTTP/1.0\r\n\r\n").expect("HTTP/1.1 200 OK\r\n");
    server.handle.shutdown();
    server.wait_for_end();
    let before = reads.load(Relaxed);
    client.expect_reset();
    let after = reads.load(Relaxed) - before;
    assert!(after <= 1, "{after} reads after the end");
}

#[test]
fn a_panic_in_a_hook_ends_the_server() {
    let server = TcpServer::bind("127.0.0.1:0", handler_fn(|_: &Request| Ok(Response::text("x")))).unwrap();
    let mut running = Running::start(server.on_ready(|| panic!("on purpose")));
    let panic = running.result().expect_err("the panic goes on");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
    assert!(TcpStream::connect(running.address).is_err(), "the port is still open");
}

/// A conversation that always asks for short turns gets at most one of them after the end.
#[test]
fn short_turns_end_with_the_server() {
    #[derive(Default)]
    struct Counts {
        turns: AtomicUsize,
        is_dropped: AtomicBool,
    }
    struct Shorts(Arc<Counts>);
    struct Short(Arc<Counts>);
    impl Protocol for Shorts {
        fn meet(&self, _: &Peer) -> Option<Box<dyn Conversation>> {
            Some(Box::new(Short(self.0.clone())))
        }
    }
    impl Conversation for Short {
        fn turn(&mut self, _: &mut Turn<'_>) -> Action {
            self.0.turns.fetch_add(1, Relaxed);
            thread::sleep(Duration::from_millis(1)); // short work
            Action::Brief
        }
    }
    impl Drop for Short {
        fn drop(&mut self) {
            self.0.is_dropped.store(true, Relaxed);
        }
    }
    let counts = Arc::new(Counts::default());
    let settings = |server: TcpServer| server.workers(1).shutdown_timeout(Duration::from_millis(50));
    let mut running = serve(Raw(Shorts(counts.clone())), settings);
    let _client = running.client();
    eventually("it has turns", || counts.turns.load(Relaxed) > 10);
    running.handle.shutdown();
    running.wait_for_end();
    let before = counts.turns.load(Relaxed);
    eventually("the conversation is dropped", || counts.is_dropped.load(Relaxed));
    let after = counts.turns.load(Relaxed);
    assert!(after <= before + 1, "{before} turns, then {after}");
}
