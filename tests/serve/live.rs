//! Responses that wait for something other than their client: events, pushed bytes, long polls, other protocols. Four
//! workers serve all of them.

use std::io::{BufRead, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use modest::live::{Broadcast, ChannelOptions, Overflow, SendError, Sender, ServerEvent, Signal, Unsent};
use modest::raw::{Action, Conversation, Event, Turn};
use modest::{Error, Http, Request, Response, Result, Routes, Stats, TcpServer, handler_fn};

use crate::server::{Client, Running, eventually, has_addresses, serve, shows_resets};

/// An application with all kinds of waiting responses.
#[derive(Clone)]
struct House {
    news: Broadcast,
    lines: Arc<Mutex<Vec<String>>>,
    changed: Signal,
    senders: Arc<Mutex<Vec<Sender>>>,
    asked: Arc<AtomicUsize>,
}

impl House {
    fn new(news: Broadcast) -> House {
        let (lines, senders, asked) = Default::default();
        House { news, lines, changed: Signal::new(), senders, asked }
    }

    fn news(&self, request: &Request) -> Result<Response> {
        Ok(Response::events(self.news.listen(request)?))
    }

    fn pushed(&self, _: &Request) -> Result<Response> {
        let (sender, response) = Response::channel();
        self.senders.lock().unwrap().push(sender);
        Ok(response)
    }

    fn silent(&self, _: &Request) -> Result<Response> {
        let (sender, response) = Response::channel_with(ChannelOptions::new().idle_timeout(Duration::from_secs(1)));
        self.senders.lock().unwrap().push(sender);
        Ok(response)
    }

    fn poll(&self, request: &Request) -> Result<Response> {
        self.asked.fetch_add(1, SeqCst);
        let from: usize = request.parse_param("from")?;
        let within = Duration::from_millis(request.parse_param("within").unwrap_or(20_000));
        let ticket = self.changed.ticket();
        let lines = self.lines.lock().unwrap();
        match lines.get(from..) {
            Some(news) if !news.is_empty() => Ok(Response::text(news.join(","))),
            _ if request.is_late() => Ok(Response::text("late")),
            _ => Ok(Response::wait_for(ticket, within)),
        }
    }

    fn say(&self, line: &str) {
        self.lines.lock().unwrap().push(line.to_owned());
        self.changed.notify();
    }

    fn sender(&self, running: &Running) -> Sender {
        running.wait_for("the handler has returned", |stats| stats.running == 0 && stats.parked > 0);
        self.senders.lock().unwrap().pop().expect("a sender")
    }

    fn serve(&self) -> Running {
        self.serve_with(|server| server)
    }

    fn serve_with(&self, settings: impl FnOnce(TcpServer) -> TcpServer) -> Running {
        let routes = Routes::new()
            .get("/news", House::news)
            .get("/pushed", House::pushed)
            .get("/silent", House::silent)
            .get("/poll", House::poll)
            .get("/short", |_, _| Ok(Response::text("short")))
            .get("/shout", |_, _| Ok(Response::upgrade("shout", shout).with_header("x-shout", "loud")))
            .get("/echo", |_, _| Ok(Response::switch_to("echo", Echo)))
            .with_state(self.clone());
        serve(Http::new(routes).access_log(None), |server| {
            settings(server.workers(4).max_streams(1).write_timeout(Duration::from_secs(600)))
        })
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// The head of a response, including the empty line.
fn head(client: &mut Client) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head += &client.line();
    }
    head
}

/// The next chunk.
fn chunk(client: &mut Client) -> String {
    let size = client.line();
    let size = usize::from_str_radix(size.trim_end(), 16).unwrap_or_else(|_| panic!("no size: {size:?}"));
    let mut text = vec![0; size];
    client.stream.read_exact(&mut text).unwrap_or_else(|error| panic!("a chunk of {size} bytes: {error}"));
    client.expect("\r\n");
    String::from_utf8(text).expect("text")
}

#[test]
fn events_reach_every_listener() {
    let house = House::new(Broadcast::new());
    let running = house.serve();
    let mut listeners: Vec<Client> = (0..50).map(|_| running.client()).collect();
    for listener in &mut listeners {
        let head = head(listener.send(get("/news")));
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        for field in ["Content-Type: text/event-stream", "Cache-Control: no-store", "Transfer-Encoding: chunked"] {
            assert!(head.contains(field), "{field}: {head}");
        }
    }
    assert_eq!(house.news.send("first"), 50);
    assert_eq!(house.news.send(ServerEvent::new("a\nb").with_name("second")), 50);
    for listener in &mut listeners {
        let mut text = chunk(listener);
        while !text.contains("b\n\n") {
            text += &chunk(listener);
        }
        assert_eq!(text, "data: first\n\nevent: second\ndata: a\ndata: b\n\n");
    }
    running.wait_for("they wait without a worker", |stats| (stats.parked, stats.running, stats.waiting) == (50, 0, 0));
    drop(listeners);
    running.wait_for("they are gone", |stats| stats.connections == 0);
    assert_eq!(house.news.send("to nobody"), 0);
}

#[test]
fn listeners_do_not_block_new_connections() {
    let house = House::new(Broadcast::new());
    let running = house.serve();
    let listeners: Vec<Client> = (0..200)
        .map(|_| {
            let mut client = running.client();
            head(client.send(get("/news")));
            client
        })
        .collect();
    for _ in 0..20 {
        assert!(running.client().fetch(get("/short")).ends_with("short"));
    }
    assert_eq!(house.news.send("x"), listeners.len());
}

#[test]
fn a_reconnecting_client_gets_missed_events() {
    let house = House::new(Broadcast::new().history(3));
    let running = house.serve();
    let mut first = running.client();
    head(first.send(get("/news")));
    for number in 1..=5 {
        house.news.send(format!("{number}"));
    }
    let mut text = String::new();
    while !text.contains("data: 5\n\n") {
        text += &chunk(&mut first);
    }
    let ids: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert_eq!(ids.len(), 5, "{text}");
    for (last, missed) in [(ids[4], ""), (ids[3], "5"), (ids[2], "45"), (ids[0], "345"), ("of another run", "345")] {
        let mut again = running.client();
        head(again.send(format!("GET /news HTTP/1.1\r\nHost: a\r\nLast-Event-ID: {last}\r\n\r\n")));
        house.news.send(ServerEvent::new("end").with_id(ids[4])); // a newer event in the history
        let mut text = String::new();
        while !text.contains("data: end\n\n") {
            text += &chunk(&mut again);
        }
        let got: String =
            text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "end").collect();
        assert!(got == missed || last != "of another run" && got.len() <= missed.len(), "{last}: {got}, not {missed}");
        if last == ids[4] {
            break; // later events have another history
        }
    }
}

#[test]
fn event_ids_with_any_characters_are_found() {
    let house = House::new(Broadcast::new().history(10));
    let running = house.serve();
    let ids = ["1", "two words", "Grüße", "你好", "🦀", "a:b", "%41", "x".repeat(1000).as_str()].map(str::to_owned);
    for id in &ids {
        house.news.send(ServerEvent::new(format!("of {id}")).with_id(id));
    }
    house.news.send(ServerEvent::new("the last").with_id("end"));
    for (at, id) in ids.iter().enumerate() {
        let mut client = running.client();
        head(client.send(format!("GET /news HTTP/1.1\r\nHost: a\r\nLast-Event-ID: {id}\r\n\r\n")));
        let came = chunk(&mut client);
        let missed: Vec<&str> = came.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert_eq!(missed.len(), ids.len() - at, "after {id:?}: {came}");
    }
}

/// A room that is closed: the last clone of its broadcast is dropped.
#[test]
fn streams_end_with_their_broadcast() {
    let room = Arc::new(Mutex::new(Some(Broadcast::new())));
    let rooms = Arc::clone(&room);
    let running = serve(
        handler_fn(move |request: &Request| {
            let room = rooms.lock().unwrap().clone().ok_or_else(|| Error::new(404, "the room is closed"))?;
            let listener = room.listen(request)?;
            if request.path() == "/last" {
                *rooms.lock().unwrap() = None; // before its stream begins
            }
            Ok(Response::events(listener))
        }),
        |server| server.workers(1),
    );
    let mut listeners: Vec<Client> = (0..3).map(|_| running.client()).collect();
    for listener in &mut listeners {
        head(listener.send(get("/room")));
    }
    running.wait_for("all listen", |stats| stats.event_listeners == 3);
    let clone = room.lock().unwrap().clone().unwrap();
    assert_eq!(clone.send("bye"), 3);
    drop(clone); // not the last one
    let mut last = running.client();
    head(last.send(get("/last")));
    for listener in &mut listeners {
        assert_eq!(chunk(listener), "data: bye\n\n");
    }
    listeners.push(last);
    for listener in &mut listeners {
        assert_eq!(listener.line(), "0\r\n");
        listener.expect("\r\n");
        let again = listener.fetch(get("/room"));
        assert!(again.starts_with("HTTP/1.1 404 "), "{again}");
    }
    running.wait_for("nobody listens", |stats| stats.event_listeners == 0);
}

#[test]
fn listeners_are_limited() {
    let house = House::new(Broadcast::new().max_listeners(3));
    let running = house.serve();
    let mut listeners: Vec<Client> = (0..3).map(|_| running.client()).collect();
    for listener in &mut listeners {
        head(listener.send(get("/news")));
    }
    let refused = running.client().fetch(get("/news"));
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("Retry-After: "), "{refused}");
    listeners.pop();
    running.wait_for("one has left", |stats| stats.connections <= 3);
    let mut last = String::new();
    for _ in 0..1000 {
        let mut client = running.client();
        last = head(client.send(get("/news")));
        if last.starts_with("HTTP/1.1 200 ") {
            return;
        }
        thread::yield_now();
    }
    panic!("no room for another: {last}");
}

#[test]
fn listeners_per_address_are_limited() {
    if !has_addresses() {
        return;
    }
    let house = House::new(Broadcast::new().max_per_address(1));
    let running = house.serve();
    let mut first = running.client();
    head(first.send(get("/news")));
    let refused = running.client().fetch(get("/news"));
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
}

#[test]
fn a_slow_listener_is_disconnected_or_skips_events() {
    for overflow in [Overflow::Disconnect, Overflow::Skip] {
        let house = House::new(Broadcast::new().queue(100_000).overflow(overflow));
        let running = house.serve();
        let mut slow = running.client();
        head(slow.send(get("/news")));
        // More than the sockets hold; the client reads none of it.
        let event = "x".repeat(50_000);
        for number in 0..1000 {
            house.news.send(format!("{number} {event}"));
        }
        house.news.send("the last");
        match overflow {
            Overflow::Skip => {
                let mut text = String::new();
                while !text.ends_with("data: the last\n\n") {
                    text = chunk(&mut slow);
                }
                // The skipped events do not make the stream incomplete.
                running.handle.shutdown();
                assert_eq!(chunk(&mut slow), "retry: 1000\n\n");
                slow.expect("0\r\n\r\n").expect_end();
            }
            _ => {
                assert_eq!(house.news.listeners(), 0);
                assert!(slow.expect_reset() < 49_000_000);
            }
        }
    }
}

/// A dropped connection is reset at once, even if it has a lot of unsent output.
#[test]
fn a_dropped_client_is_reset_at_once() {
    type GiveUp = fn(&House, &Running);
    let cases: [(&str, &str, GiveUp); 2] = [
        ("/news", "a listener whose queue is full", |house, _| {
            let event = "x".repeat(50_000);
            while house.news.listeners() > 0 {
                house.news.send(event.as_str());
            }
        }),
        ("/pushed", "an aborted body", |house, running| {
            let sender = house.sender(running);
            while sender.send("x".repeat(50_000)).is_ok() {}
            sender.abort();
        }),
    ];
    for (path, what, give_up) in cases {
        let house = House::new(Broadcast::new().queue(1_000_000));
        let running = house.serve();
        let mut deaf = running.client();
        head(deaf.send(get(path)));
        give_up(&house, &running);
        // The client reads nothing, so otherwise the connection would exist until the write timeout of 30 s.
        running.wait_for(&format!("{what} is gone"), |stats| stats.connections == 0);
        deaf.expect_reset();
    }
}

#[test]
fn heartbeats_are_sent_during_silence() {
    let house = House::new(Broadcast::new().heartbeat(Duration::from_millis(20)));
    let running = house.serve();
    let mut listener = running.client();
    head(listener.send(get("/news")));
    for _ in 0..3 {
        assert_eq!(chunk(&mut listener), ":\n\n");
    }
    house.news.send("x");
    while chunk(&mut listener) != "data: x\n\n" {}
}

#[test]
fn a_shutdown_ends_event_streams_and_polls() {
    let house = House::new(Broadcast::new());
    let mut running = house.serve();
    let mut listener = running.client();
    head(listener.send(get("/news")));
    let mut poll = running.client();
    poll.send(get("/poll?from=0"));
    running.wait_for("both wait", |stats| stats.event_listeners == 1 && stats.long_polls == 1 && stats.running == 0);
    running.handle.shutdown();
    assert_eq!(chunk(&mut listener), "retry: 1000\n\n");
    listener.expect("0\r\n\r\n").expect_end();
    let answer = String::from_utf8(poll.read_to_end()).unwrap();
    assert!(answer.ends_with("\r\n\r\nlate"), "{answer}");
    assert!(running.wait_for_end() < Duration::from_secs(5), "the shutdown must not wait for its timeout");
}

/// A shutdown does not cut off a body in progress, because it could look complete.
#[test]
fn a_shutdown_waits_for_a_pushed_body() {
    let house = House::new(Broadcast::new());
    let mut running = house.serve();
    let mut client = running.client();
    head(client.send(get("/pushed")));
    let sender = house.sender(&running);
    sender.send("half\n").unwrap();
    assert_eq!(chunk(&mut client), "half\n");
    assert!(!sender.is_shutting_down());
    running.handle.shutdown();
    eventually("the sender sees the shutdown", || sender.is_shutting_down());
    sender.send("whole\n").unwrap();
    drop(sender);
    assert_eq!(chunk(&mut client), "whole\n");
    client.expect("0\r\n\r\n").expect_end();
    assert!(running.wait_for_end() < Duration::from_secs(5), "the shutdown must not wait for its timeout");
}

/// A body that its sender has aborted, or in which a refused piece is missing, does not become complete because a
/// shutdown ends the others.
#[test]
fn a_shutdown_completes_no_broken_body() {
    let (called, mut expected) = (Arc::new(AtomicUsize::new(0)), 0);
    let calls = Arc::clone(&called);
    let app = handler_fn(move |request| {
        calls.fetch_add(1, SeqCst);
        let (sender, response) = Response::channel_with(ChannelOptions::new().queue(8).ends_at_shutdown(true));
        let (sender, refused) = (Arc::new(sender), request.path().contains("refused"));
        sender.send("the half")?;
        if refused {
            assert_eq!(sender.send("missing"), Err(SendError::Full));
        }
        let (later, path) = (Arc::downgrade(&sender), request.path().to_owned());
        sender.on_drain(move || {
            if path.ends_with("passed") {
                let _ = later.upgrade().map(|sender| sender.send("later"));
            }
        });
        if request.path().starts_with("/early") {
            eventually("the shutdown begins", || request.server().is_shutting_down());
        }
        match request.path() {
            "/early-aborted" => Arc::into_inner(sender).unwrap().abort(),
            "/early-refused" | "/early" => {} // dropped
            _ => request.put(sender),         // until the end of the response
        }
        Ok(response)
    });
    let app = Arc::new(app);
    for (path, is_whole) in [
        ("/early", true),
        ("/early-aborted", false),
        ("/early-refused", false),
        ("/late", true),
        ("/late-refused", true), // a piece that is not sent yet comes after the end
        ("/late-refused-and-passed", false),
    ] {
        for version in ["1.0", "1.1"] {
            let mut running = serve(Http::new(Arc::clone(&app)), |server| server);
            let mut client = running.client();
            client.send(format!("GET {path} HTTP/{version}\r\nHost: a\r\n\r\n"));
            let mut received = Vec::new();
            expected += 1;
            match path.starts_with("/early") {
                true => eventually("the handler runs", || called.load(SeqCst) == expected),
                false => {
                    let last = if path.ends_with("passed") { "later" } else { "half" };
                    while !String::from_utf8_lossy(&received).contains(last) {
                        let mut piece = [0; 100];
                        let count = client.stream.read(&mut piece).unwrap();
                        received.extend(&piece[..count]);
                    }
                }
            }
            running.handle.shutdown();
            let (rest, end) = client.read_to_any_end();
            received.extend(rest);
            let case = format!("{path} HTTP/{version}: {} {end:?}", String::from_utf8_lossy(&received));
            assert_eq!(end.is_none(), is_whole || !shows_resets(), "{case}");
            assert_eq!(received.ends_with(b"\r\n0\r\n\r\n"), is_whole && version == "1.1", "{case}");
            running.wait_for_end();
        }
    }
}

/// A long poll that has its response no longer waits, even if its client reads slowly.
#[test]
fn a_long_poll_that_has_its_response_no_longer_waits() {
    let app = handler_fn(|request| match (request.is_late(), request.path()) {
        (false, _) => Ok(Response::wait_for(Signal::new().ticket(), Duration::from_millis(1))),
        (true, "/bytes") => Ok(Response::bytes(vec![b'x'; 48 << 20])), // more than the buffers of a connection hold
        (true, _) => Ok(Response::stream(std::io::repeat(b'x'))),
    });
    let running = serve(app, |server| server.max_live(1));
    let mut clients: Vec<_> = ["/bytes", "/stream"].map(|path| (path, running.client())).into();
    for (path, client) in &mut clients {
        client.send(get(path)).expect("HTTP/1.1 200 OK\r\n");
        running.wait_for(&format!("{path}: it does not count"), |stats| stats.long_polls == 0);
    }
    assert_eq!(running.handle.stats().connections, 2);
}

/// Without memory for what the client sends, a body in progress ends in a reset, and is logged.
#[test]
fn a_lack_of_memory_completes_no_body() {
    let house = House::new(Broadcast::new());
    let running = house.serve_with(|server| server.input_quota(2000));
    for version in ["1.0", "1.1"] {
        let mut client = running.client();
        client.send(format!("GET /pushed HTTP/{version}\r\nHost: a\r\n\r\n"));
        head(&mut client);
        let sender = house.sender(&running);
        let _ = client.stream.write_all(&[b'x'; 30_000]);
        let (received, end) = client.read_to_any_end();
        assert!(end.is_some() || !shows_resets(), "HTTP/{version}: {:?}", String::from_utf8_lossy(&received));
        assert!(!received.ends_with(b"0\r\n\r\n"), "HTTP/{version}");
        drop(sender);
    }
}

/// A sender that always has more bytes learns of a shutdown, and so does its response.
#[test]
fn a_body_that_never_waits_ends_at_a_shutdown() {
    for ends in [false, true] {
        let app = handler_fn(move |_| {
            let (sender, response) = Response::channel_with(ChannelOptions::new().queue(100).ends_at_shutdown(ends));
            let sender = Arc::new(Mutex::new(Some((sender, None::<Unsent>))));
            let fill = {
                let sender = Arc::clone(&sender);
                move || {
                    let mut place = sender.lock().unwrap();
                    let Some((sender, unsent)) = &mut *place else { return };
                    let mut next = unsent.take().map_or(Ok(()), Unsent::try_send);
                    while next.is_ok() {
                        next = sender.try_send([b'x'; 60]);
                    }
                    *unsent = next.err();
                    if sender.is_shutting_down() && !ends {
                        *unsent = None;
                        place.take().unwrap().0.finish();
                    }
                }
            };
            fill();
            sender.lock().unwrap().as_ref().unwrap().0.on_drain(fill);
            Ok(response)
        });
        let mut running = serve(app, |server| server);
        let mut client = running.client();
        head(client.send(get("/")));
        chunk(&mut client);
        running.handle.shutdown();
        let took = thread::scope(|scope| {
            let reads = scope.spawn(|| client.read_to_any_end());
            let took = running.wait_for_end();
            let (said, end) = reads.join().unwrap();
            assert!(said.ends_with(b"0\r\n\r\n") && end.is_none(), "{ends}: {end:?}");
            took
        });
        assert!(took < Duration::from_secs(5), "the shutdown must not wait for its timeout: {took:?}");
    }
}

#[test]
fn a_silent_sender_times_out() {
    let house = House::new(Broadcast::new());
    let running = house.serve();
    let mut client = running.client();
    head(client.send(get("/silent")));
    let sender = house.sender(&running);
    sender.send("x\n").unwrap();
    assert_eq!(chunk(&mut client), "x\n");
    client.expect_reset();
    eventually("the sender sees that the client is gone", || sender.is_gone());
}

#[test]
fn live_connections_are_limited_in_total_and_per_address() {
    for (in_all, per_address, status) in [(3, None, "503"), (10, Some(3), "429")] {
        if per_address.is_some() && !has_addresses() {
            continue;
        }
        let house = House::new(Broadcast::new());
        let running = house.serve_with(|server| server.max_live(in_all).max_live_per_address(per_address));
        let mut waiting: Vec<Client> = (0..3).map(|_| running.client()).collect();
        waiting[0].send(get("/poll?from=0"));
        head(waiting[1].send(get("/news")));
        head(waiting[2].send(upgrade("/echo", "echo")));
        let wait = |what: &str, wanted| {
            let numbers = |stats: &Stats| (stats.event_listeners, stats.long_polls, stats.websockets);
            running.wait_for(what, |stats| numbers(stats) == wanted)
        };
        wait("one of each kind waits", (1, 1, 1));
        for request in [get("/poll?from=0"), get("/news"), get("/pushed"), upgrade("/echo", "echo")] {
            let mut client = running.client();
            let refused = client.fetch(&request);
            let is_so =
                refused.starts_with(&format!("HTTP/1.1 {status} ")) && refused.contains("\r\nRetry-After: 5\r\n");
            assert!(is_so, "{request}: {refused}");
            assert!(client.fetch(get("/short")).ends_with("short"), "{request}: the connection must stay open");
        }
        assert!(
            house.senders.lock().unwrap().pop().expect("a sender").is_gone(),
            "the sender must know that its client is gone"
        );
        assert_eq!(wait("they still wait", (1, 1, 1)).refused_live, 4);
        // A long poll that is handled again keeps its place.
        house.changed.notify();
        eventually("it was asked again", || house.asked.load(SeqCst) == 3);
        wait("it waits again", (1, 1, 1));
        house.say("news");
        assert!(waiting[0].answer().unwrap().ends_with("news"));
        drop(waiting.drain(1..));
        wait("all have left", (0, 0, 0));
        head(running.client().send(get("/news")));
    }
}

/// Waiting clients are not evicted for new clients, and leave room for them.
#[test]
fn waiting_clients_are_not_evicted_and_leave_room() {
    let house = House::new(Broadcast::new());
    let running = house.serve_with(|server| server.max_connections(16));
    let mut listeners: Vec<Client> = (0..14).map(|_| running.client()).collect();
    for listener in &mut listeners {
        assert!(head(listener.send(get("/news"))).starts_with("HTTP/1.1 200 "));
    }
    for request in [get("/news"), get("/poll?from=0"), upgrade("/echo", "echo")] {
        let refused = running.client().fetch(&request);
        assert!(refused.starts_with("HTTP/1.1 503 "), "{request}: {refused}");
    }
    let mut idle = Vec::new(); // kept, so that each new client needs the place of another one
    for number in 0..20 {
        let mut client = running.client();
        let answer = client.fetch(get("/short"));
        assert!(answer.ends_with("short"), "client {number}: {answer}");
        idle.push(client);
    }
    assert_eq!(house.news.send("x"), 14);
    for listener in &mut listeners {
        assert_eq!(chunk(listener), "data: x\n\n");
    }
}

#[test]
fn an_http_1_0_client_gets_events_until_the_end() {
    let house = House::new(Broadcast::new());
    let running = house.serve();
    let mut listener = running.client();
    let head = head(listener.send("GET /news HTTP/1.0\r\n\r\n"));
    assert!(!head.contains("chunked") && head.contains("Connection: close"), "{head}");
    house.news.send("x");
    listener.expect("data: x\n\n");
}

#[test]
fn head_for_an_event_stream_has_no_body() {
    let house = House::new(Broadcast::new());
    let running = house.serve();
    let mut client = running.client();
    head(client.send("HEAD /news HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert!(client.fetch(get("/short")).ends_with("short"), "the connection must stay open");
    assert_eq!(house.news.send("x"), 0);
}

#[test]
fn another_thread_can_send_the_body() {
    let house = House::new(Broadcast::new());
    let running = house.serve();
    let mut client = running.client();
    head(client.send(get("/pushed")));
    let sender = house.sender(&running);
    sender.send("one\n").unwrap();
    assert_eq!(chunk(&mut client), "one\n");
    thread::spawn(move || {
        sender.send("two\n").unwrap();
        sender.send("").unwrap();
        sender.send("three\n").unwrap();
    });
    let mut text = chunk(&mut client);
    if text == "two\n" {
        text += &chunk(&mut client);
    }
    assert_eq!(text, "two\nthree\n");
    client.expect("0\r\n\r\n");
    assert!(client.fetch(get("/short")).ends_with("short"), "the connection must stay open");
}

#[test]
fn a_sender_sees_a_full_queue_and_a_disconnect() {
    let house = House::new(Broadcast::new());
    let running = house.serve();
    let mut client = running.client();
    head(client.send(get("/pushed")));
    let sender = house.sender(&running);
    assert!(!sender.is_gone());
    // The client reads nothing, so the sockets become full, and then the queue.
    let refused = (0..10_000).find_map(|_| sender.send(vec![b'x'; 10_000]).err());
    assert_eq!(refused, Some(SendError::Full), "the queue is bounded");
    drop(client);
    running.wait_for("the client has disconnected", |stats| stats.connections == 0);
    assert_eq!(sender.send("x"), Err(SendError::Gone));
    assert!(sender.is_gone());
}

#[test]
fn an_aborted_body_looks_broken() {
    type End = fn(Sender);
    let ends: [(&str, End); 2] = [
        ("aborted", Sender::abort),
        ("dropped by a panic", |sender| {
            let panicked = thread::spawn(move || {
                let _sender = sender;
                panic!("amid the body");
            });
            assert!(panicked.join().is_err());
        }),
    ];
    for (how, end) in ends {
        let house = House::new(Broadcast::new());
        let running = house.serve();
        let mut client = running.client();
        head(client.send(get("/pushed")));
        let sender = house.sender(&running);
        sender.send("half\n").unwrap();
        assert_eq!(chunk(&mut client), "half\n", "{how}");
        end(sender);
        client.expect_reset();
    }
}

#[test]
fn long_polls_hold_no_worker() {
    let house = House::new(Broadcast::new());
    let running = house.serve();
    let mut polls: Vec<Client> = (0..100).map(|_| running.client()).collect();
    for poll in &mut polls {
        poll.send(get("/poll?from=0"));
    }
    running.wait_for("all wait", |stats| stats.long_polls == 100 && stats.parked == 100);
    assert!(running.client().fetch(get("/short")).ends_with("short"));
    house.say("news");
    for poll in &mut polls {
        assert!(poll.answer().unwrap().ends_with("\r\n\r\nnews"));
        assert!(poll.fetch(get("/short")).ends_with("short"), "the connection must stay open");
    }
    assert_eq!(house.asked.load(SeqCst), 200, "each poll is handled twice");
    assert_eq!(house.changed.waiting(), 0);
}

#[test]
fn a_change_between_check_and_wait_is_not_missed() {
    let house = House::new(Broadcast::new());
    let running = house.serve();
    let mut clients: Vec<Client> = (0..8).map(|_| running.client()).collect();
    for number in 0..200 {
        let (house, wanted) = (house.clone(), format!("\r\n\r\n{number}"));
        for client in &mut clients {
            client.send(get(&format!("/poll?from={number}")));
        }
        let saying = thread::spawn(move || house.say(&number.to_string()));
        for client in &mut clients {
            let answer = client.answer().unwrap();
            assert!(answer.ends_with(&wanted), "{number}: {answer}");
        }
        saying.join().unwrap();
    }
}

#[test]
fn a_late_poll_gets_the_timeout_response() {
    let house = House::new(Broadcast::new());
    let running = house.serve();
    let mut poll = running.client();
    poll.send(get("/poll?from=9&within=200"));
    // Changes for other clients do not extend the time of a poll.
    let start = std::time::Instant::now();
    let answer = thread::scope(|scope| {
        let noise = scope.spawn(|| {
            while start.elapsed() < Duration::from_millis(150) {
                house.say("other");
                thread::sleep(Duration::from_millis(30)); // fewer than nine lines in all
            }
        });
        noise.join().unwrap();
        poll.answer().unwrap()
    });
    assert!(answer.ends_with("\r\n\r\nlate"), "{answer}");
    assert!(start.elapsed() >= Duration::from_millis(190), "{:?}", start.elapsed());
}

#[test]
fn a_poll_of_a_disconnected_client_is_forgotten() {
    let house = House::new(Broadcast::new());
    let running = house.serve();
    let mut poll = running.client();
    poll.send(get("/poll?from=0"));
    running.wait_for("it waits", |stats| stats.long_polls == 1 && stats.parked == 1);
    drop(poll);
    running.wait_for("it is gone", |stats| stats.connections == 0);
    house.say("to nobody");
    assert_eq!(house.asked.load(SeqCst), 1);
}

#[test]
fn a_request_behind_a_poll_waits_its_turn() {
    let house = House::new(Broadcast::new());
    let running = house.serve();
    let mut client = running.client();
    client.send(get("/poll?from=0") + &get("/short"));
    running.wait_for("it waits", |stats| stats.long_polls == 1 && stats.parked == 1);
    house.say("news");
    assert!(client.answer().unwrap().ends_with("news"));
    assert!(client.answer().unwrap().ends_with("short"));
}

/// Blocking, in its own thread.
fn shout(mut stream: modest::raw::Stream) {
    let mut line = String::new();
    while stream.read_line(&mut line).is_ok_and(|count| count > 0) {
        if stream.write_all(line.to_uppercase().as_bytes()).is_err() {
            return;
        }
        line.clear();
    }
}

/// Without a thread.
struct Echo;

impl Conversation for Echo {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        turn.output.bytes().extend_from_slice(turn.input.bytes());
        turn.input.consume(turn.input.bytes().len());
        if turn.input.ended() { Action::Close } else { Action::Idle { within: None } }
    }

    fn event(&mut self, _: Event, _: &mut Turn<'_>) -> Action {
        Action::Close
    }
}

fn upgrade(path: &str, protocol: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: x, {protocol}\r\n\r\n")
}

/// The responses before an upgrade can fill the socket of a client that reads nothing, so that the head of the 101 does
/// not fit. On a Unix socket this happens with every eighth of these lengths.
#[test]
fn an_upgrade_waits_for_its_client_as_long_as_a_response() {
    let app = Routes::new()
        .get("/long/{length}", |_, request| Ok(Response::bytes(vec![b'x'; request.path_param("length")?])))
        .get("/up", |_, _| Ok(Response::upgrade("any", drop)))
        .with_state(());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let server = TcpServer::bind(format!("unix:{}", path.display()), app).unwrap();
    let running = Running::start(server.write_timeout(Duration::from_millis(500)).min_rate(None));
    let ask = |length: usize| {
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all((get(&format!("/long/{length}")) + &upgrade("/up", "any")).as_bytes()).unwrap();
        client
    };
    let _clients: Vec<UnixStream> = (1..64).map(|part| ask(part * 8 * 1024)).collect();
    running.wait_for("each client is served or disconnected", |stats| stats.accepted == 63 && stats.connections == 0);
}

#[test]
fn a_connection_switches_to_another_protocol() {
    let house = House::new(Broadcast::new());
    let running = house.serve();
    for (path, protocol, said, heard) in
        [("/shout", "shout", "hello\n", "HELLO\n"), ("/echo", "Echo", "hello\n", "hello\n")]
    {
        // Bytes right behind the request belong to the new protocol.
        let mut client = running.client();
        let head = head(client.send(upgrade(path, protocol) + said));
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{path}: {head}");
        let lower = head.to_lowercase();
        assert!(lower.contains("\r\nconnection: upgrade\r\n"), "{path}: {head}");
        assert!(lower.contains(&format!("\r\nupgrade: {}\r\n", protocol.to_lowercase())), "{path}: {head}");
        assert!(!lower.contains("content-length") && !lower.contains("transfer-encoding"), "{path}: {head}");
        assert_eq!(lower.contains("x-shout: loud"), path == "/shout", "{path}: {head}");
        client.expect(heard);
        client.ask("again\n", heard.replace("hello", "again").replace("HELLO", "AGAIN"));
        drop(client);
        running.wait_for("it has ended", |stats| stats.connections == 0 && stats.streams == 0);
    }
}

#[test]
fn a_missing_upgrade_request_is_a_426() {
    let house = House::new(Broadcast::new());
    let running = house.serve();
    for request in [
        get("/shout"),
        upgrade("/shout", "other"),
        "GET /shout HTTP/1.1\r\nHost: a\r\nUpgrade: shout\r\n\r\n".to_owned(),
        "GET /shout HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\n".to_owned(),
        "GET /shout HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_owned(),
    ] {
        let head = head(running.client().send(&request)).to_lowercase();
        assert!(head.starts_with("http/1.1 426 "), "{request}: {head}");
        let options = head.lines().find_map(|line| line.strip_prefix("connection: ")).unwrap_or_default();
        assert!(options.ends_with("upgrade") && head.contains("\r\nupgrade: shout\r\n"), "{request}: {head}");
    }
}

/// The name of a protocol is a token, which a slash and a second token can follow (RFC 9110, section 7.8).
#[test]
fn an_invalid_name_of_a_protocol_is_a_500() {
    let app = Routes::new()
        .get("/up", |_, request| Ok(Response::upgrade(request.parse_param::<String>("name")?, drop)))
        .get("/to", |_, request| Ok(Response::switch_to(request.parse_param::<String>("name")?, Echo)))
        .with_state(());
    let running = serve(Http::new(app).access_log(None), |server| server);
    for (name, asked, expected) in [
        ("shout", "shout", 101),
        ("shout/1.0", "shout/1.0", 101),
        ("shout/1.0", "shout", 426),
        ("", "shout", 500),
        ("a%20b", "a b", 500),
        ("a%2Cb", "a, b", 500),
        ("a/", "a/", 500),
        ("/1", "/1", 500),
        ("a/1/2", "a/1/2", 500),
        ("a%0D%0Ab:%20c", "a", 500),
    ] {
        for path in ["/up", "/to"] {
            let request = upgrade(&format!("{path}?name={name}"), asked);
            let answer = head(running.client().send(&request));
            assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{request}: {answer}");
        }
    }
}

/// A client expects HTTP after any other status. So no handler and no layer can change it.
#[test]
fn a_switch_of_protocols_has_its_own_status() {
    let status = |request: &Request| request.parse_param::<u16>("status");
    let tunnel = |request: &Request| {
        let status: u16 = request.header("status").map_or(200, |status| status.parse().unwrap());
        Ok(Response::tunnel(drop).with_status(status))
    };
    let app = Routes::new()
        .get("/up", move |_, request| Ok(Response::upgrade("shout", drop).with_status(status(request)?)))
        .get("/to", move |_, request| Ok(Response::switch_to("shout", Echo).with_status(status(request)?)))
        .with_state(());
    let running = serve(Http::new(app).on_connect(tunnel), |server| server);
    for status in [101, 200, 201, 204, 205, 206, 304, 403, 412, 416, 426, 500, 503, 600] {
        for path in ["/up", "/to"] {
            let request = upgrade(&format!("{path}?status={status}"), "shout");
            let answer = head(running.client().send(request));
            let expected = if status == 101 { 101 } else { 500 };
            assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{path} {status}: {answer}");
        }
        let connect = format!("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nStatus: {status}\r\n\r\n");
        let answer = head(running.client().send(connect));
        let expected = if status == 200 { 200 } else { 500 };
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "CONNECT {status}: {answer}");
    }
}

#[test]
fn a_stream_without_a_thread_is_a_503_not_a_101() {
    let house = House::new(Broadcast::new());
    let running = serve(
        Http::new(
            Routes::new().get("/shout", |_: &House, _| Ok(Response::upgrade("shout", shout))).with_state(house.clone()),
        ),
        |server| server.workers(4).max_streams(1).queue_timeout(Duration::from_millis(50)),
    );
    let mut first = running.client();
    head(first.send(upgrade("/shout", "shout")));
    let second = running.client().fetch(upgrade("/shout", "shout"));
    assert!(second.starts_with("HTTP/1.1 503 "), "{second}");
    first.ask("still here\n", "STILL HERE\n");
}

/// The example of `Response::channel`: its sender waits for its client.
#[test]
fn a_waiting_sender_sends_everything() {
    let app = modest::handler_fn(|_: &Request| {
        let (sender, response) = Response::channel();
        thread::spawn(move || {
            for number in 1..=100_000 {
                if sender.send_timeout(format!("{number}\n"), Duration::from_secs(30)).is_err() {
                    return;
                }
            }
            sender.finish();
        });
        Ok(response)
    });
    let running = serve(Http::new(app).access_log(None), |server| server);
    let mut client = running.client();
    let head = head(client.send("GET / HTTP/1.0\r\n\r\n"));
    let (came, end) = client.read_to_any_end();
    let wanted: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    assert!(came == wanted.as_bytes() && end.is_none(), "{head}{} of {} bytes, {end:?}", came.len(), wanted.len());
}

/// A rejected piece is missing, so the body must look incomplete unless the sender calls `finish`.
#[test]
fn an_incomplete_body_does_not_look_complete() {
    type Then = fn(Sender);
    for (what, refused, then, whole) in [
        ("dropped", false, drop as Then, true),
        ("dropped after a refusal", true, drop as Then, false),
        ("finished after a refusal", true, Sender::finish as Then, true),
        ("refused, sent and dropped", true, |sender| sender.send_timeout("x", Duration::from_secs(30)).unwrap(), false),
    ] {
        let house = House::new(Broadcast::new());
        let running = house.serve();
        let mut client = running.client();
        head(client.send("GET /pushed HTTP/1.0\r\n\r\n"));
        let sender = house.sender(&running);
        if refused {
            while sender.send(vec![b'x'; 60_000]).is_ok() {}
        }
        let reading = thread::spawn(move || client.read_to_any_end());
        then(sender);
        let (came, end) = reading.join().unwrap();
        let looks_whole = end.is_none() && shows_resets() || whole && end.is_none();
        assert_eq!(looks_whole, whole, "{what}: {} bytes, {end:?}", came.len());
    }
}

#[test]
fn a_blocked_sender_learns_of_a_disconnect() {
    let house = House::new(Broadcast::new());
    let running = house.serve();
    let mut client = running.client();
    head(client.send(get("/pushed")));
    let sender = house.sender(&running);
    let waiting = thread::spawn(move || while sender.send_timeout(vec![b'x'; 60_000], None).is_ok() {});
    running.wait_for("it is full", |stats| stats.parked == 1);
    drop(client);
    waiting.join().unwrap();
}

/// More than the queue of a listener holds.
#[test]
fn all_missed_events_come_from_the_history() {
    let house = House::new(Broadcast::new().history(100));
    let running = house.serve();
    for number in 0..100 {
        house.news.send(ServerEvent::new(format!("{number} {}", "x".repeat(1000))).with_id(format!("{number}")));
    }
    let mut client = running.client();
    head(client.send("GET /news HTTP/1.1\r\nHost: a\r\nLast-Event-ID: 0\r\n\r\n"));
    house.news.send("end");
    let mut text = String::new();
    while !text.contains("data: end\n") {
        text += &chunk(&mut client);
    }
    let came: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    let wanted: Vec<String> = (1..100).map(|number| number.to_string()).collect();
    assert_eq!(came[..99], wanted);
}

/// A half-closed client can still read, so it gets all data.
#[test]
fn a_half_closed_client_still_receives_events() {
    let house = House::new(Broadcast::new());
    let running = house.serve();
    let mut listener = running.client();
    head(listener.send("GET /news HTTP/1.0\r\n\r\n"));
    let mut pushed = running.client();
    head(pushed.send(get("/pushed")));
    let sender = house.sender(&running);
    let mut poll = running.client();
    poll.send(get("/poll?from=0"));
    running.wait_for("all wait", |stats| stats.event_listeners == 2 && stats.long_polls == 1);
    for client in [&mut listener, &mut pushed, &mut poll] {
        client.half_close();
    }
    // The server sends something to find out whether the clients are still there, if the protocol allows that.
    listener.expect(":\n\n");
    poll.expect("HTTP/1.1 100 Continue\r\n\r\n");
    running.wait_for("all wait on", |stats| stats.parked == 3);
    house.news.send("news");
    sender.send("pushed\n").unwrap();
    sender.finish();
    house.say("line");
    listener.expect("data: news\n\n");
    pushed.expect("7\r\npushed\n\r\n0\r\n\r\n").expect_end();
    assert!(poll.answer().unwrap().ends_with("line"));
    poll.expect_end();
    drop(listener);
    house.news.send("more");
    house.news.send("and more");
    running.wait_for("it is gone", |stats| stats.connections == 0);
}

/// In other protocols a disconnect is noticed from the client's system or when data is sent.
#[test]
fn a_disconnect_is_noticed_when_sending() {
    let house = House::new(Broadcast::new());
    let running = house.serve();
    let mut client = running.client();
    head(client.send(get("/pushed")));
    let sender = house.sender(&running);
    drop(client);
    eventually("the sender must know that its client is gone", || sender.send("x").is_err());
    running.wait_for("it is gone", |stats| stats.connections == 0);
}

/// A source that never blocks: it sends until the queue is full, and continues when it is called.
#[test]
fn on_drain_is_called_when_there_is_room() {
    const PIECES: usize = 500;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let app = handler_fn(move |_| {
        let (sender, response) = Response::channel();
        let (sender, counted) = (Arc::new(Mutex::new(Some((sender, 0, None)))), counted.clone());
        let source = Arc::clone(&sender);
        let go_on = move || {
            counted.fetch_add(1, SeqCst);
            let mut source = source.lock().unwrap();
            let Some((sender, sent, unsent)) = &mut *source else { return };
            while *sent < PIECES {
                let tried = match Option::take(unsent) {
                    Some(unsent) => Unsent::try_send(unsent),
                    None => sender.try_send(vec![b'x'; 10_000]),
                };
                match tried {
                    Ok(()) => *sent += 1,
                    Err(left) if left.error() == SendError::Full => {
                        *unsent = Some(left);
                        return;
                    }
                    Err(_) => break,
                }
            }
            drop(source.take()); // all is sent, so the response is complete
        };
        go_on();
        if let Some((sender, ..)) = &*sender.lock().unwrap() {
            sender.on_drain(go_on);
        }
        Ok(response)
    });
    let running = serve(Http::new(app).access_log(None), |server| server.workers(2));
    let mut client = running.client();
    head(client.send(get("/")));
    let mut length = 0;
    while length < PIECES * 10_000 {
        let size = usize::from_str_radix(client.line().trim_end(), 16).unwrap();
        client.expect(vec![b'x'; size]).expect("\r\n");
        length += size;
    }
    client.expect("0\r\n\r\n");
    assert!(calls.load(SeqCst) > PIECES * 10_000 / 70_000, "{} calls", calls.load(SeqCst));
    // A client that disconnects ends it as well: no further call, and nothing is kept.
    let mut client = running.client();
    head(client.send(get("/")));
    drop(client);
    running.wait_for("it is forgotten", |stats| stats.connections <= 1 && stats.running == 0);
}

/// The call drops its closure, which holds a sender. Dropping a sender locks the queue.
#[test]
fn on_drain_can_be_set_again_by_its_own_call() {
    let app = handler_fn(|_| {
        let (sender, response) = Response::channel();
        let sender = Arc::new(sender);
        let held = Arc::clone(&sender);
        sender.on_drain(move || held.on_drain(|| {}));
        while sender.send(vec![b'x'; 10_000]).is_ok() {}
        Ok(response)
    });
    let running = serve(Http::new(app).access_log(None), |server| server.workers(1));
    for _ in 0..3 {
        let mut client = running.client();
        head(client.send(get("/")));
        client.expect_reset(); // the sender was dropped after a rejected send
    }
}

#[test]
fn the_first_events_of_a_listener_come_before_those_of_all() {
    let news = Broadcast::new().history(10);
    let channel = news.clone();
    let app = handler_fn(move |request| {
        let listener = channel.listen(request)?;
        channel.send(ServerEvent::new("for all").with_id("2"));
        Ok(Response::events(listener.with_event("state one").with_event("state two")))
    });
    let server = modest::testing::serve(app);
    let data = |events: &mut modest::testing::TestEvents, count| -> Vec<String> {
        events.take(count).map(|event| event.data).collect()
    };
    let mut first = server.events("/");
    assert_eq!(data(&mut first, 3), ["state one", "state two", "for all"]);
    let mut again = server.events("/?last-event-id=unknown");
    assert_eq!(data(&mut again, 4), ["for all", "state one", "state two", "for all"]);
    assert_eq!(data(&mut first, 1), ["for all"]);
}

#[test]
fn a_signal_by_key_wakes_only_its_own_polls() {
    let (signals, asked) = (modest::live::Signals::new(), Arc::new(Mutex::new(Vec::new())));
    let (waits, asks) = (signals.clone(), asked.clone());
    let app = handler_fn(move |request| {
        let id: u32 = request.parse_param("id")?;
        asks.lock().unwrap().push(id);
        let is_again = asks.lock().unwrap().iter().filter(|known| **known == id).count() > 1;
        let ticket = waits.ticket(id);
        Ok(if is_again { Response::text(format!("done {id}")) } else { Response::wait_for(ticket, None) })
    });
    let server = modest::testing::serve(app);
    let polls: Vec<_> = (0..20).map(|id| server.begin(Request::get(&format!("/?id={id}")))).collect();
    server.wait_until("all wait", |stats| stats.long_polls == 20);
    asked.lock().unwrap().sort();
    signals.notify(&7);
    server.wait_until("one is done", |stats| stats.long_polls == 19);
    assert_eq!(asked.lock().unwrap()[20..], [7], "no other handler was called");
    assert_eq!(signals.waiting(), 19);
    signals.notify_all();
    for (id, poll) in polls.into_iter().enumerate() {
        poll.response().assert_text(&format!("done {id}"));
    }
}

/// For each kind of body and of end: whether all of it was written.
#[test]
fn a_response_reports_whether_it_was_sent_whole() {
    let (told, tells) = std::sync::mpsc::channel();
    let told = Mutex::new(told);
    let big = || vec![b'x'; 30_000_000];
    let app = handler_fn(move |request| {
        let told = told.lock().unwrap().clone();
        let name = request.path().to_owned();
        let response = match request.path() {
            "/text" => Response::text("whole"),
            "/big" => Response::bytes(big()),
            "/stream" => Response::chunks(vec!["a", "b"]),
            "/big-stream" => Response::stream(std::io::Cursor::new(big())),
            "/broken-stream" => Response::sized_stream(&b"short"[..], 10),
            "/pushed" => {
                let (sender, response) = Response::channel();
                sender.send("pushed")?;
                sender.finish();
                response
            }
            "/switch" => Response::switch_to("echo", Echo),
            "/upgrade" => Response::upgrade("echo", drop),
            "/news" => Response::events(Broadcast::new().listen(request)?),
            "/invalid" => Response::text("a").with_header("a", "b\r\nc"),
            "/tagged" => Response::text("a").with_etag(modest::ETag::strong("a").unwrap()),
            _ => Response::new(304),
        };
        Ok(response.on_sent(move |whole| told.send((name, whole)).unwrap()))
    });
    let server = modest::testing::serve(app);
    let next = |path: &str| {
        let (name, whole) = tells.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("{path}: no call"));
        assert_eq!(name, path);
        whole
    };
    for path in ["/text", "/big", "/stream", "/big-stream", "/pushed", "/304"] {
        server.get(path);
        assert!(next(path), "{path}");
    }
    for (field, value, status) in [("if-match", "\"x\"", 412), ("range", "bytes=999999999-", 416)] {
        let sent = server.send(Request::get("/tagged").with_header(field, value));
        assert_eq!((sent.status().as_u16(), next("/tagged")), (status, false), "another response was sent");
    }
    let mut kept = server.open();
    for _ in 0..2 {
        kept.send_request(Request::get("/text")).response("GET").assert_text("whole");
        assert!(next("/text"), "before the connection ends");
    }
    for path in ["/big", "/big-stream", "/broken-stream", "/invalid"] {
        let mut client = server.open_narrow(4096);
        client.send_request(Request::get(path)).receive(10);
        drop(client);
        assert!(!next(path), "{path}");
    }
    // A switch of protocols is sent with its head.
    for path in ["/switch", "/upgrade"] {
        for (asked, whole) in [("echo", true), ("other", false)] {
            server.open().send(upgrade(path, asked).as_bytes()).receive(10);
            assert_eq!(next(path), whole, "{path} to {asked}");
        }
    }
    let mut listener = server.open();
    listener.send(get("/news").as_bytes()).receive(10);
    drop(server); // the shutdown ends the stream
    assert!(next("/news"));
    drop(listener);
    assert!(tells.try_recv().is_err(), "a second report");
}

/// The body that other threads send is as long as its head announces, or the connection is reset. Otherwise a client would
/// read the next response as the rest of this one, or the rest of this one as the next response.
#[test]
fn a_pushed_body_has_its_announced_length() {
    fn respond(request: &Request) -> Result<Response> {
        if request.path() == "/next" {
            return Ok(Response::text("next"));
        }
        let announced: u64 = request.parse_param("length")?;
        let (sender, response) = Response::channel();
        for piece in request.param("pieces").unwrap_or_default().split(',') {
            sender.send(piece.to_owned())?;
        }
        sender.finish();
        Ok(response.with_header("content-length", announced))
    }
    let running = serve(Http::new(handler_fn(respond)).access_log(None), |server| server);
    for (length, pieces, is_whole) in [
        (0, "", true),
        (5, "12345", true),
        (5, "12,345", true),
        (5, "1234", false),
        (5, "", false),
        (5, "123456", false),
        (5, "12345,6", false),
        (0, "1", false),
    ] {
        for version in ["1.1", "1.0"] {
            let case = format!("length={length} pieces={pieces} HTTP/{version}");
            let mut client = running.client();
            let first = format!("GET /?length={length}&pieces={pieces} HTTP/{version}\r\nHost: a\r\n\r\n");
            client.send(first + "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let (received, reset) = client.read_to_any_end();
            let received = String::from_utf8_lossy(&received).into_owned();
            assert_eq!(reset.is_none(), is_whole || !shows_resets(), "{case}: {received:?} {reset:?}");
            let body = received.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            let own = &body[..body.find("HTTP/1.1 200").unwrap_or(body.len())];
            match is_whole {
                true => assert_eq!(own, pieces.replace(',', ""), "{case}: {received:?}"),
                false => assert!(own == body && own.len() <= length, "{case}: {received:?}"),
            }
        }
    }
}
