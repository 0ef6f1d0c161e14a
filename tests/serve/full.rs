//! A full server: the order in which connections are evicted for new ones, and connections that never are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use modest::raw::Raw;
use modest::{BodyPlan, Client as Peer, Error, Http, LogRecord, Request, RequestHandler, Response, Result, TcpServer};

use crate::script::Script;
use crate::server::{Client, Gate, PATIENCE, Running, get, serve};

/// `/handle` waits at a gate in the handler. A rejected request whose line begins with `/` and a number waits at the
/// gate of this number while it is logged, outside any handler. `/rejected` is rejected before its body. Everything
/// else gets a response at once.
#[derive(Clone, Default)]
struct App {
    handler: Gate,
    logs: [Gate; 2],
    meeting: Gate,
    to_meet: Arc<AtomicUsize>, // this many clients wait at `meeting` before they are accepted
}

impl RequestHandler for App {
    fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
        if request.path() == "/rejected" { Err(Error::new(403, "rejected")) } else { Ok(()) }
    }

    fn do_get(&self, request: &Request) -> Result<Response> {
        if request.path() == "/handle" {
            self.handler.pass();
        }
        Ok(Response::text("here"))
    }

    fn do_post(&self, request: &Request) -> Result<Response> {
        Ok(Response::text(format!("{} bytes", request.body().len())))
    }

    fn verify_client(&self, _: &Peer) -> bool {
        if self.to_meet.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
            self.meeting.pass();
        }
        true
    }

    fn log_request(&self, record: &LogRecord<'_>) {
        let line = record.to_string();
        for (number, gate) in self.logs.iter().enumerate() {
            if line.contains(&format!("GET  /{number} ")) {
                gate.pass();
            }
        }
    }
}

fn with_room_for(clients: usize) -> impl FnOnce(TcpServer) -> TcpServer {
    move |server| server.workers(4).max_connections(clients).shutdown_timeout(PATIENCE)
}

#[track_caller]
fn is_answered(client: &mut Client) {
    let answer = client.fetch(get("/"));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("here"), "{answer:?}");
}

/// This many clients that have sent these bytes and were accepted.
fn clients(server: &Running, count: usize, sent: &str) -> Vec<Client> {
    let before = server.handle.stats();
    let mut clients = Vec::from_iter((0..count).map(|_| server.client()));
    clients.iter_mut().for_each(|client| {
        client.send(sent);
    });
    server.wait_for("all are let in", |stats| stats.accepted == before.accepted + count as u64);
    server.wait_for("all wait", |stats| stats.parked == before.parked + count);
    clients
}

#[test]
fn a_request_arriving_during_eviction_is_served() {
    // A server with one handler has four workers. All of them are blocked, and none polls: one in the handler, two
    // while they accept clients, one in the log. Then one poll finds another request that will block its worker, and
    // two new clients. One gets the place of a client that has left. For the other one the idle client is chosen for
    // eviction, but no worker is free to evict it while that request is in progress. A request that the idle client
    // sends meanwhile is in the socket before the connection ends.
    let app = App::default();
    let server = serve(app.clone(), |server| server.workers(1).max_connections(6));
    let _end = (app.handler.opened_at_end(), app.meeting.opened_at_end());
    let _logs_end = app.logs.each_ref().map(|log| log.opened_at_end());
    let mut idle = server.client();
    is_answered(&mut idle);
    thread::sleep(Duration::from_millis(300)); // it can be evicted when it has been idle for 250 ms
    let (mut handled, mut first, mut second) = (server.client(), server.client(), server.client());
    server.wait_for("all are accepted", |stats| stats.parked == 4);
    handled.send(get("/handle"));
    app.handler.wait_for_arrivals(1);
    app.to_meet.store(2, Relaxed);
    let _unmet = [server.client(), server.client()];
    app.meeting.wait_for_arrivals(2);
    first.send("GET  /0 HTTP/1.1\r\n\r\n").half_close(); // so that it has nothing unread, and is not evicted first
    app.logs[0].wait_for_arrivals(1);
    second.send("GET  /1 HTTP/1.1\r\n\r\n");
    let _newcomers = [server.client(), server.client()];
    app.logs[0].open();
    app.logs[1].wait_for_arrivals(1);
    // If the connection ended before the request was sent, the client knows that, and the test proves nothing.
    idle.stream.set_nonblocking(true).unwrap();
    let ended_before = matches!(idle.stream.peek(&mut [0]), Ok(0));
    idle.stream.set_nonblocking(false).unwrap();
    if ended_before {
        return;
    }
    idle.send(get("/"));
    app.logs[1].open();
    app.meeting.open();
    app.handler.open();
    let answer = idle.answer();
    let answer = answer.unwrap_or_else(|(came, err)| panic!("sent a GET, came {came:?} and then {err}"));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("here"), "{answer:?}");
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer:?}");
}

#[test]
fn lingering_connections_are_evicted_before_idle_ones() {
    let server = serve(Raw(Script::default()), |server| server.max_connections(2));
    let (mut idle, mut lingering) = (server.client(), server.client());
    idle.ask("say idle\n", "idle\n");
    lingering.ask("refuse\n", "refused\n").expect_end();
    server.wait_for("one is idle, one lingers", |stats| stats.parked == 2);
    server.client().ask("say new\n", "new\n");
    idle.ask("say still here\n", "still here\n");
}

#[test]
fn the_longest_idle_connection_is_evicted_first() {
    let server = serve(App::default(), with_room_for(3));
    let mut idle = clients(&server, 3, "");
    // The last client sends the first request. The first two send one after it, so the last one is idle for longest.
    for number in [2, 0, 1] {
        is_answered(&mut idle[number]);
        server.wait_for("it is idle", |stats| stats.parked == 3);
    }
    let mut newcomer = server.client();
    is_answered(&mut newcomer);
    idle[2].expect_end();
    is_answered(&mut idle[0]);
    is_answered(&mut idle[1]);
}

#[test]
fn idle_connections_are_evicted_before_partial_heads() {
    let server = serve(App::default(), with_room_for(2));
    let mut half = clients(&server, 1, "GET / HTTP/1.1\r\nHo");
    thread::sleep(Duration::from_millis(1200)); // an incomplete head can be evicted after a second
    let mut idle = clients(&server, 1, "");
    is_answered(&mut server.client());
    idle[0].expect_end();
    assert!(server.handle.stats().evicted > 0, "{:?}", server.handle.stats());
    half[0].send("st: a\r\n\r\n");
    assert!(
        half[0].answer().is_ok_and(|answer| answer.ends_with("here")),
        "a client with half a head was evicted before an idle one"
    );
}

#[test]
fn partial_messages_without_effect_are_evictable_after_a_second() {
    for (what, half) in [
        ("heads", "GET / HTTP/1.1\r\nHo"),
        ("rejected bodies", "POST /rejected HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345"),
        ("rejected chunks", "POST /rejected HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123"),
    ] {
        let server = serve(Http::new(App::default()).body_timeout(PATIENCE), with_room_for(64));
        let _halves = clients(&server, 64, half);
        let start = Instant::now();
        is_answered(&mut server.client());
        // They can be evicted after one second; their own timeout is ten or more. The limit leaves time for a slow
        // machine.
        let took = start.elapsed();
        assert!(took < Duration::from_secs(7), "with 64 half {what} a new client had its response after {took:?}");
    }
}

#[test]
fn the_oldest_partial_head_is_evicted_first() {
    let http = Http::new(App::default()).head_timeout(PATIENCE);
    let server = serve(http, with_room_for(2));
    let mut old = clients(&server, 1, "GET / HTTP/1.1\r\nHo");
    thread::sleep(Duration::from_millis(500)); // so that it is older by this time
    let mut young = clients(&server, 1, "GET / HTTP/1.1\r\nHo");
    let start = Instant::now();
    is_answered(&mut server.client());
    let took = start.elapsed();
    young[0].send("st: a\r\n\r\n");
    assert!(young[0].answer().is_ok_and(|answer| answer.ends_with("here")), "the younger connection was evicted first");
    let answer = old[0].answer();
    assert!(
        !matches!(&answer, Ok(answer) if answer.contains(" 200 ")),
        "the older connection was not evicted: {answer:?}"
    );
    assert!(took < PATIENCE / 2, "with two incomplete heads a new client had its response after {took:?}");
}

#[test]
fn a_new_partial_head_is_not_evicted() {
    let server = serve(App::default(), with_room_for(4));
    let mut halves = clients(&server, 4, "GET / HTTP/1.1\r\nHo");
    let mut newcomer = server.client();
    newcomer.send(get("/"));
    thread::sleep(Duration::from_millis(400)); // less than a second, so none can be evicted
    for half in &mut halves {
        half.send("st: a\r\n\r\n");
        let answer = half.answer();
        assert!(matches!(&answer, Ok(answer) if answer.ends_with("here")), "after the rest of a head: {answer:?}");
    }
    let answer = newcomer.answer();
    assert!(matches!(&answer, Ok(answer) if answer.ends_with("here")), "the new client: {answer:?}");
}

#[test]
fn a_request_in_progress_is_never_evicted() {
    let app = App::default();
    let server = serve(app.clone(), with_room_for(2));
    let _end = app.handler.opened_at_end();
    let mut body = clients(&server, 1, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345");
    let mut handled = server.client();
    handled.send(get("/handle"));
    app.handler.wait_for_arrivals(1);
    let mut newcomer = server.client();
    newcomer.send(get("/"));
    thread::sleep(Duration::from_millis(1500)); // an incomplete head could be evicted now
    body[0].send("67890");
    let answer = body[0].answer();
    assert!(matches!(&answer, Ok(answer) if answer.ends_with("10 bytes")), "after the rest of a body: {answer:?}");
    app.handler.open();
    let answer = handled.answer();
    assert!(matches!(&answer, Ok(answer) if answer.ends_with("here")), "a slow handler: {answer:?}");
    let answer = newcomer.answer();
    assert!(matches!(&answer, Ok(answer) if answer.ends_with("here")), "the new client: {answer:?}");
}

/// There is one busy client more than the limit. Each request gets a response, and each evicted client is notified.
#[test]
fn evicted_busy_clients_lose_no_request() {
    const CLIENTS: usize = 12;
    let app = modest::handler_fn(|request: &modest::Request| {
        thread::sleep(Duration::from_millis(1)); // the time of a handler
        Ok(modest::Response::text(format!("{} bytes", request.body().len())))
    });
    let server = serve(Http::new(app).access_log(None), |server| server.max_connections(CLIENTS - 1));
    let until = Instant::now() + Duration::from_secs(3);
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let lost: Vec<String> = thread::scope(|threads| {
        let busy = || {
            let mut client = server.client();
            while Instant::now() < until {
                client.send(post);
                match client.answer() {
                    Ok(answer) if !answer.ends_with("3 bytes") => return Some(answer),
                    Ok(answer) if answer.contains("Connection: close") => client = server.client(),
                    Ok(_) => {}
                    Err((came, why)) => return Some(format!("{came:?}, {why}")),
                }
            }
            None
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| threads.spawn(busy)).collect();
        clients.into_iter().filter_map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(lost, Vec::<String>::new(), "{:?}", server.handle.stats());
}

/// Streams that have left the engine keep their places while they live, and delay no other client.
#[test]
fn streams_do_not_prevent_evicting_idle_clients() {
    const STREAMS: usize = 300;
    let app = modest::handler_fn(|request: &modest::Request| {
        Ok(match request.path() {
            "/stream" => {
                modest::Response::upgrade("any", |mut stream| drop(std::io::copy(&mut stream, &mut std::io::sink())))
            }
            _ => modest::Response::text("here"),
        })
    });
    let room = |server: modest::TcpServer| server.max_connections(STREAMS + 2).max_streams(STREAMS);
    let server = serve(Http::new(app).access_log(None), room);
    let streams: Vec<_> = (0..STREAMS)
        .map(|_| {
            let mut client = server.client();
            is_answered(&mut client);
            client.send("GET /stream HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: any\r\n\r\n");
            client.expect("HTTP/1.1 101 ");
            client
        })
        .collect();
    let mut idle = [server.client(), server.client()];
    idle.iter_mut().for_each(is_answered);
    is_answered(&mut server.client());
    idle[0].expect_end();
    drop(streams);
}
