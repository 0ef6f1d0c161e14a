//! A listener that another process has shut down: accepting fails forever, and only accepting does.

use std::net::{Shutdown, TcpListener};
use std::time::{Duration, Instant};

use modest::TcpServer;
use modest::raw::Raw;
use rustix::time::{ClockId, clock_gettime};
use socket2::SockRef;

use crate::script::Script;
use crate::server::{Client, PATIENCE, Running, alone};

/// A server whose listener can be shut down, and a client that it has served.
fn with_a_shared_listener() -> (Running, TcpListener, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let hold = listener.try_clone().expect("a descriptor");
    let server = TcpServer::from_listener(listener, Raw(Script::default())).expect("a listener with an address");
    let server = Running::start(server.workers(4).shutdown_timeout(PATIENCE));
    let mut client = server.client();
    client.ask("say me\n", "me\n");
    server.wait_for("it rests", |stats| stats.parked == 1);
    (server, hold, client)
}

fn shut_down(listener: &TcpListener) {
    SockRef::from(listener).shutdown(Shutdown::Both).expect("a listener can be shut down");
}

/// The processor time of this process.
fn busy() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

#[test]
fn connected_clients_are_served_while_accept_fails() {
    alone("accepting::connected_clients_are_served_while_accept_fails", || {
        let (mut server, listener, mut client) = with_a_shared_listener();
        shut_down(&listener);
        for round in 0..20 {
            client.ask(format!("say {round}\n"), format!("{round}\n"));
        }
        server.handle.shutdown_now();
        assert!(server.result().is_ok(), "serve_forever panicked"); // an error or none: it depends on which comes first
    });
}

#[test]
fn a_server_that_cannot_accept_fails_without_using_cpu() {
    alone("accepting::a_server_that_cannot_accept_fails_without_using_cpu", || {
        let (mut server, listener, client) = with_a_shared_listener();
        let (start, before) = (Instant::now(), busy());
        shut_down(&listener);
        // The server waits before it gives up, because some errors pass.
        while !server.has_ended() && start.elapsed() < Duration::from_secs(15) {
            std::thread::sleep(Duration::from_millis(5)); // waits without using much of the measured time
        }
        let (took, burnt) = (start.elapsed(), busy() - before);
        assert!(burnt < took / 10 + Duration::from_millis(100), "{burnt:?} of processor time in {took:?}");
        assert!(server.has_ended(), "serve_forever has not returned after {took:?}");
        let result = server.result();
        assert!(matches!(result, Ok(Err(_))), "serve_forever: {result:?}");
        drop(client);
    });
}

#[test]
fn a_server_that_cannot_accept_stops_at_once() {
    alone("accepting::a_server_that_cannot_accept_stops_at_once", || {
        let (mut server, listener, mut client) = with_a_shared_listener();
        shut_down(&listener);
        let start = Instant::now();
        server.handle.shutdown();
        let result = server.result();
        // An idle client has half a second for a last request.
        let took = start.elapsed();
        assert!(took < PATIENCE / 2, "{took:?} to stop, serve_forever: {result:?}");
        assert!(result.is_ok(), "serve_forever: {result:?}");
        client.expect_end();
    });
}
