//! Limits on what one client may use.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use modest::live::Signal;
use modest::raw::{Stream, streams};
use modest::{Http, LogRecord, ProxyProtocol, Request, RequestHandler, Response, Result, handler_fn};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cipher::{Cipher, sealed};
use crate::server::{Client, Gate, alone, capture_the_log, eventually, get, has_addresses, serve};

/// Whether the client gets a response. Otherwise it gets a reset.
fn is_served(client: &mut Client) -> bool {
    use std::io::Write;
    let _ = client.stream.write_all(get("/").as_bytes());
    client.answer().is_ok_and(|answer| answer.ends_with("here"))
}

#[test]
fn connections_of_one_address_are_limited() {
    let here = || handler_fn(|_| Ok(Response::text("here")));
    let server = serve(here(), |server| server.max_per_address(3));
    let mut clients: Vec<Client> = (0..3).map(|_| server.client()).collect();
    assert!(clients.iter_mut().all(is_served));
    for refused in 1..=5 {
        let mut fourth = server.client();
        let end = fourth.stream.read(&mut [0]);
        assert_eq!(
            end.map_err(|err| err.kind()),
            Err(std::io::ErrorKind::ConnectionReset),
            "the rejected connection must be reset"
        );
        server.wait_for("it is counted", |stats| stats.refused_per_address == refused);
    }
    assert!(clients.iter_mut().all(is_served), "the clients that had connected must stay");
    drop(clients.pop());
    server.wait_for("one is gone", |stats| stats.connections == 2);
    assert!(is_served(&mut server.client()), "the place of a closed connection is free again");
    assert_eq!(server.handle.stats().accepted, 4);
}

/// The clients that a proxy names are counted, and the proxy is not. A direct client with the proxy's address is counted.
#[test]
fn connections_through_a_proxy_are_limited_by_client() {
    if !has_addresses() {
        return; // no client is trusted
    }
    let here = || handler_fn(|_| Ok(Response::text("here")));
    for layered in [false, true] {
        let trusting = |inner: &dyn Fn() -> ProxyProtocol| inner().trust("127.0.0.0/8".parse().unwrap());
        let server = match layered {
            false => serve(trusting(&|| ProxyProtocol::new(here())), |server| server.max_per_address(2)),
            true => serve(trusting(&|| ProxyProtocol::new(Cipher::new(here()))), |server| server.max_per_address(2)),
        };
        let connect = |named: &str| {
            let mut client = server.client();
            client.send(format!("PROXY {named} 192.0.2.99 4321 443\r\n"));
            let rest = match layered {
                false => get("/").into_bytes(),
                true => {
                    let own = client.stream.local_addr().unwrap().to_string();
                    let named = named.strip_prefix("TCP4 ").map_or(own, |named| format!("{named}:4321"));
                    [format!("key 5a\nfrom {named}\n").into_bytes(), sealed(get("/").as_bytes(), 2)].concat()
                }
            };
            let _ = client.stream.write_all(&rest); // a refused client may already be reset
            let mut first = [0];
            let is_served = matches!(client.stream.read(&mut first), Ok(1));
            (client, is_served)
        };
        let one = "TCP4 192.0.2.1";
        let kept: Vec<_> =
            [one, "TCP4 192.0.2.2", one, "TCP4 192.0.2.2", "TCP4 192.0.2.3"].into_iter().map(connect).collect();
        assert!(kept.iter().all(|(_, is_served)| *is_served), "each has at most two connections");
        // A client on the proxy's machine is a client.
        let near: Vec<_> =
            (0..3).map(|_| connect("TCP4 127.0.0.1")).map(|(client, is_served)| (is_served, client)).collect();
        assert_eq!(near.iter().filter(|(is_served, _)| *is_served).count(), 2, "layered: {layered}");
        let proxies: Vec<_> = (0..4).map(|_| connect("UNKNOWN")).collect();
        assert!(proxies.iter().all(|(_, is_served)| *is_served), "health checks of the proxy are not counted");
        for refused in 2..=4 {
            assert!(!connect(one).1, "the third connection of a client is served, layered: {layered}");
            server.wait_for("it is counted", |stats| stats.refused_per_address == refused);
        }
        drop((kept, near, proxies));
        server.wait_for("they are gone", |stats| stats.connections == 0);
        assert!(connect(one).1, "the place of a closed connection is free again");
    }
}

#[test]
fn rejections_by_address_are_logged_at_debug_level() {
    alone("bounds::rejections_by_address_are_logged_at_debug_level", || {
        let lines =
            capture_the_log(|record| Some(record.args().to_string()).filter(|text| text.starts_with("rejected")));
        let server = serve(handler_fn(|_| Ok(Response::text("here"))), |server| server.max_per_address(1));
        let mut first = server.client();
        assert!(is_served(&mut first));
        let mut wanted = Vec::new();
        for level in [log::LevelFilter::Info, log::LevelFilter::Debug] {
            log::set_max_level(level);
            let mut second = server.client();
            let address = second.stream.local_addr().unwrap();
            second.stream.read(&mut [0]).expect_err("a reset");
            assert!(is_served(&mut first), "the first client is served after another poll");
            if level == log::LevelFilter::Debug {
                wanted.push(format!("rejected {address}: its address has the maximum number of connections"));
                eventually("it is logged", || !lines.lock().unwrap().is_empty());
            }
            assert_eq!(*lines.lock().unwrap(), wanted, "at level {level}");
        }
    });
}

#[test]
fn requests_per_connection_are_limited() {
    let http = Http::new(handler_fn(|_| Ok(Response::text("here")))).max_requests(3);
    let server = serve(http, |server| server);
    let mut client = server.client();
    client.send([get("/1"), get("/2"), get("/3"), get("/4")].concat());
    for number in 1..=3 {
        let answer = client.answer().expect("a response");
        assert_eq!(answer.contains("\r\nConnection: close\r\n"), number == 3, "{number}: {answer:?}");
    }
    client.expect_end();
}

#[test]
fn an_old_connection_closes_after_its_next_response() {
    let age = Duration::from_millis(300);
    let http = Http::new(handler_fn(|_| Ok(Response::text("here")))).max_connection_age(age);
    let server = serve(http, |server| server);
    let mut client = server.client();
    let first = client.fetch(get("/"));
    assert!(!first.contains("Connection: close"), "{first:?}");
    std::thread::sleep(age); // until the connection has this age
    let last = client.fetch(get("/"));
    assert!(last.contains("\r\nConnection: close\r\n"), "{last:?}");
    client.expect_end();
}

/// `/stuck` waits at a gate; all handled requests are counted.
#[derive(Clone, Default)]
struct Stuck {
    gate: Gate,
    handled: Arc<AtomicUsize>,
    logged: Arc<Mutex<Vec<u16>>>,
}

impl RequestHandler for Stuck {
    fn do_get(&self, request: &Request) -> Result<Response> {
        self.handled.fetch_add(1, SeqCst);
        if request.path() == "/stuck" {
            self.gate.pass();
        }
        Ok(Response::text("here"))
    }

    fn do_post(&self, request: &Request) -> Result<Response> {
        Ok(Response::text(format!("{} bytes", request.body().len())))
    }

    fn log_request(&self, record: &LogRecord<'_>) {
        self.logged.lock().unwrap().push(record.status().as_u16());
    }
}

#[track_caller]
fn has_retry_after(answer: &str, status: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:?}");
    assert!(answer.contains("\r\nRetry-After: 1\r\n"), "{answer:?}");
}

fn post(length: usize) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{}", "b".repeat(length))
}

#[test]
fn a_request_without_a_worker_gets_retry_after() {
    let app = Stuck::default();
    let server =
        serve(app.clone(), |server| server.workers(1).queue_limit(1).queue_timeout(Duration::from_millis(200)));
    let _end = app.gate.opened_at_end();
    server.client().send(get("/stuck"));
    app.gate.wait_for_arrivals(1);
    let mut queued = server.client();
    queued.send(get("/"));
    server.wait_for("it waits", |stats| stats.waiting == 1);
    has_retry_after(&server.client().fetch(get("/")), "503"); // the queue is full
    has_retry_after(&queued.answer().expect("a response"), "503"); // the request waited too long
    let mut body = server.client();
    body.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    has_retry_after(&body.answer().expect("a response"), "503"); // rejected before its body
    assert_eq!(server.handle.stats().refused, 3);
}

/// The rejection of a request whose bytes find no memory while it waits for a worker is sent, and is the last response.
#[test]
fn a_request_without_memory_gets_retry_after() {
    let app = Stuck::default();
    let server = serve(app.clone(), |server| server.workers(1).input_quota(2000));
    let _end = app.gate.opened_at_end();
    let mut stuck = server.client();
    stuck.send(get("/stuck"));
    app.gate.wait_for_arrivals(1);
    let long = get("/").replace("\r\n\r\n", &format!("\r\nX: {}\r\n\r\n", "x".repeat(3000)));
    for sent in [long.clone(), long + &get("/"), get("/") + &post(3000), get("/").repeat(100)] {
        let rejected = || server.client().send(&sent).half_close().read_to_any_end();
        // A client is reset if no permit is free for its rejection, as can happen for a moment on a busy machine.
        let mut attempts = (0..10).map(|_| rejected()).skip_while(|(bytes, end)| bytes.is_empty() && end.is_some());
        let (bytes, end) = attempts.next().expect("a response in one of ten attempts");
        let answer = String::from_utf8_lossy(&bytes);
        has_retry_after(&answer, "503");
        assert!(answer.contains("\r\nConnection: close\r\n") && end.is_none(), "{answer:?}, {end:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer:?}");
    }
}

/// Requests behind one that finds no worker are not begun, and its response announces that.
#[test]
fn the_rejection_of_a_pipelined_request_is_the_last_response() {
    let app = Stuck::default();
    let server = serve(app.clone(), |server| server.workers(1).queue_limit(0));
    let _end = app.gate.opened_at_end();
    let mut stuck = server.client();
    stuck.send(get("/stuck"));
    app.gate.wait_for_arrivals(1);
    for (sent, is_last) in [(get("/"), false), (get("/").repeat(2), true), (get("/") + &post(3), true)] {
        let mut client = server.client();
        let answer = client.fetch(&sent);
        has_retry_after(&answer, "503");
        assert_eq!(answer.contains("\r\nConnection: close\r\n"), is_last, "{sent:?}: {answer:?}");
        client.half_close().expect_end();
    }
    app.gate.open();
    server.wait_for("nobody works", |stats| stats.running == 0);
    assert_eq!(*app.logged.lock().unwrap(), [503, 503, 503, 200]);
}

#[test]
fn the_reason_for_requests_without_a_worker_is_logged_once_in_a_while() {
    alone("bounds::the_reason_for_requests_without_a_worker_is_logged_once_in_a_while", || {
        let lines =
            capture_the_log(|record| Some(record.args().to_string()).filter(|text| text.starts_with("rejected")));
        log::set_max_level(log::LevelFilter::Warn);
        let app = Stuck::default();
        let server = serve(app.clone(), |server| server.workers(1).queue_limit(0));
        let _end = app.gate.opened_at_end();
        server.client().send(get("/stuck"));
        app.gate.wait_for_arrivals(1);
        for _ in 0..5 {
            has_retry_after(&server.client().fetch(get("/")), "503");
        }
        assert_eq!(server.handle.stats().refused, 5);
        eventually("it is logged", || !lines.lock().unwrap().is_empty());
        let lines = lines.lock().unwrap();
        let why = ": all workers are in handlers (queue_timeout, queue_limit)";
        assert!(matches!(&lines[..], [line] if line.ends_with(why)), "{lines:?}");
    });
}

/// Refusals since the last line about them are counted when the server ends.
#[test]
fn all_refusals_are_counted_in_the_log() {
    alone("bounds::all_refusals_are_counted_in_the_log", || {
        let lines = capture_the_log(|record| {
            Some(record.args().to_string()).filter(|text| text.ends_with("more since the last such line"))
        });
        log::set_max_level(log::LevelFilter::Warn);
        let app = Stuck::default();
        let mut server = serve(app.clone(), |server| server.workers(1).queue_limit(0));
        let _end = app.gate.opened_at_end();
        let mut stuck = server.client();
        stuck.send(get("/stuck"));
        app.gate.wait_for_arrivals(1);
        for _ in 0..5 {
            has_retry_after(&server.client().fetch(get("/")), "503");
        }
        server.handle.shutdown();
        app.gate.open();
        server.wait_for_end();

        let gate = Gate::default();
        let at_gate = gate.clone();
        let handler = move |_: &mut Stream| {
            at_gate.pass();
            Ok(())
        };
        let mut server = serve(streams(handler), |server| server.max_streams(1).queue_limit(0));
        let _end = gate.opened_at_end();
        let _first = server.client();
        gate.wait_for_arrivals(1);
        (0..3).for_each(|_| server.client().expect_end());
        gate.open();
        server.handle.shutdown();
        server.wait_for_end();

        let expected = [
            "clients are rejected, because all workers are in handlers (queue_timeout, queue_limit): 4 more since the \
             last such line",
            "there is no thread for a stream, because the maximum number (max_streams) is reached: 2 more since the \
             last such line",
        ];
        assert_eq!(*lines.lock().unwrap(), expected);
    });
}

/// A request that has waited was handled before, so its response is not replaced by a 503 that suggests to send it again.
#[test]
fn a_request_that_has_waited_is_not_rejected() {
    let (signal, gate) = (Signal::new(), Gate::default());
    let (waited, stuck, has_waited) = (signal.clone(), gate.clone(), AtomicBool::new(false));
    let app = handler_fn(move |request| match request.path() {
        "/stuck" => {
            stuck.pass();
            Ok(Response::text("stuck"))
        }
        "/wait" if has_waited.swap(true, SeqCst) => Ok(Response::text("notified")),
        "/wait" => Ok(Response::wait_for(waited.ticket(), None)),
        _ => Ok(Response::text("here")),
    });
    let server = serve(app, |server| server.workers(1).queue_limit(1).queue_timeout(Duration::from_millis(100)));
    let _end = gate.opened_at_end();
    let mut waits = server.client();
    waits.send(get("/wait"));
    server.wait_for("it waits", |stats| stats.long_polls == 1);
    server.client().send(get("/stuck"));
    gate.wait_for_arrivals(1);
    signal.notify();
    server.wait_for("it waits for a permit", |stats| stats.waiting == 1);
    for _ in 0..3 {
        has_retry_after(&server.client().fetch(get("/")), "503"); // a new request is rejected in the meantime
    }
    gate.open();
    assert!(waits.answer().expect("a response").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_body_without_space_gets_retry_after() {
    let server = serve(Http::new(Stuck::default()).body_memory_quota(0).body_quota(10), |server| server);
    has_retry_after(&server.client().fetch(post(11)), "507");
    assert!(server.client().fetch(post(10)).ends_with("10 bytes"));
}

#[test]
fn a_body_without_a_file_descriptor_gets_retry_after() {
    alone("bounds::a_body_without_a_file_descriptor_gets_retry_after", || {
        let server = serve(Http::new(Stuck::default()).body_memory(10), |server| server);
        let mut client = server.client();
        assert!(client.fetch(post(11)).ends_with("11 bytes"));
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: before.maximum }).unwrap();
        let answer = client.fetch(post(11));
        setrlimit(Resource::Nofile, before).unwrap();
        has_retry_after(&answer, "503");
    });
}

#[test]
fn a_request_reset_while_queued_is_not_handled() {
    let app = Stuck::default();
    let server = serve(app.clone(), |server| server.workers(1));
    let _end = app.gate.opened_at_end();
    let mut stuck = server.client();
    stuck.send(get("/stuck"));
    app.gate.wait_for_arrivals(1);
    let mut gone: Vec<Client> = (0..3).map(|_| server.client()).collect();
    gone.iter_mut().for_each(|client| {
        client.send(get("/"));
    });
    let mut patient = server.client();
    server.wait_for("three wait", |stats| stats.waiting == 3);
    patient.send(get("/"));
    server.wait_for("the fourth also waits", |stats| stats.waiting == 4);
    for client in gone {
        socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    // The poll that sees this request, or an earlier one, also sees the resets.
    server.client().send("GET  / HTTP/1.1\r\n\r\n").expect("HTTP/1.1 400 ");
    app.gate.open();
    assert!(patient.answer().is_ok_and(|answer| answer.ends_with("here")));
    server.wait_for("they are gone", |stats| stats.connections <= 3);
    assert_eq!(app.handled.load(SeqCst), 2, "two requests are handled: the stuck one and the patient one");
}
