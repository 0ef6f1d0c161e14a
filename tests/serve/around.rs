//! A conversation around another, over real sockets: the needs of a cipher.

use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use modest::raw::{Action, Conversation, Event, Protocol, Raw, Stream, Turn, streams};
use modest::{Client as Peer, Http, Response, TcpServer, handler_fn};

use crate::cipher::{ALERT, Cipher, End, GOODBYE, HELLO, WELCOME, opened, raw, sealed};
use crate::script::Script;
use crate::server::{Client, PATIENCE, Running, eventually, serve};

/// A client after its handshake.
struct Inside {
    client: Client,
}

impl Inside {
    fn new(server: &Running) -> Inside {
        let mut client = server.client();
        client.send(HELLO).expect(WELCOME);
        Inside { client }
    }

    fn send(&mut self, plain: impl AsRef<[u8]>) -> &mut Inside {
        self.client.send(sealed(plain.as_ref(), 16 * 1024));
        self
    }

    #[track_caller]
    fn expect(&mut self, wanted: impl AsRef<[u8]>) -> &mut Inside {
        let wanted = wanted.as_ref();
        let mut plain = Vec::new();
        while plain.len() < wanted.len() {
            let mut length = [0; 2];
            self.client.stream.read_exact(&mut length).expect("a record");
            let mut record = vec![0; 2 + usize::from(u16::from_be_bytes(length))];
            record[..2].copy_from_slice(&length);
            self.client.stream.read_exact(&mut record[2..]).expect("a whole record");
            plain.extend(opened(&record).0);
        }
        assert_eq!(plain.escape_ascii().to_string(), wanted.escape_ascii().to_string());
        self
    }

    fn read_to_end(&mut self) -> (Vec<u8>, End) {
        opened(&self.client.read_to_end())
    }

    #[track_caller]
    fn expect_goodbye(&mut self) {
        assert_eq!(self.read_to_end(), (Vec::new(), End::Goodbye));
    }
}

fn scripted(script: &Script, settings: impl FnOnce(TcpServer) -> TcpServer) -> Running {
    serve(raw(script.clone()), settings)
}

#[test]
fn bytes_are_echoed_at_any_record_size() {
    let server = scripted(&Script { greeting: Some("welcome\n"), ..Script::default() }, |server| server);
    let mut client = Inside::new(&server);
    client.expect("welcome\n").send("say one\nsay two\n").expect("one\ntwo\n");
    for byte in HELLO.as_bytes() {
        client.client.send(sealed(&[*byte], 1)); // records of one byte
    }
    client.expect("what?\nwhat?\n");
    for byte in sealed(b"say three\n", 100) {
        client.client.send([byte]);
    }
    client.expect("three\n").send("bye\n").expect_goodbye();
}

#[test]
fn http_sees_the_client_that_the_handshake_named() {
    let server = serve(
        Cipher::new(handler_fn(|request| Ok(Response::text(format!("you are {}\n", request.client_address()))))),
        |server| server,
    );
    let mut client = Inside::new(&server);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let (said, end) = client.read_to_end();
    let said = String::from_utf8(said).unwrap();
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with("\r\n\r\nyou are 10.9.8.7:1234\n"), "{said}");
    assert_eq!(end, End::Goodbye);
}

#[test]
fn a_client_rejected_inside_sees_the_end() {
    let server = scripted(&Script { turns_away: true, ..Script::default() }, |server| server);
    Inside::new(&server).client.expect_end();
}

/// A stream that is taken through two layers gets all bytes that came before, in both layers.
#[test]
fn a_stream_is_taken_through_two_layers() {
    let echo = |stream: &mut Stream| {
        let mut line = String::new();
        while stream.read_line(&mut line)? > 0 {
            stream.write_all(line.as_bytes())?;
            line.clear();
        }
        stream.write_all(if stream.was_cut() { b"cut" } else { b"end" })
    };
    let server = serve(Cipher::new(Cipher::new(streams(echo))), |server| server);
    for at_once in [true, false] {
        let mut client = Inside::new(&server);
        let said = [HELLO.as_bytes(), &sealed(b"a line\n", 3), &GOODBYE].concat();
        if at_once {
            client.send(&said).client.send(GOODBYE);
        } else {
            said.iter().for_each(|byte| {
                client.send([*byte]);
            });
            client.client.send(GOODBYE);
        }
        let (outer, end) = client.read_to_end();
        let inner = outer.strip_prefix(WELCOME.as_bytes()).expect("the handshake");
        assert_eq!((end, opened(inner)), (End::Goodbye, (b"a line\nend".to_vec(), End::Goodbye)));
    }
}

#[test]
fn an_incomplete_handshake_times_out() {
    let server = serve(raw(Script::default()).handshake(Duration::from_millis(50)), |server| server);
    server.client().send("key 5a\n").expect("whoami\n").send("from").expect_end();
}

#[test]
fn a_slow_reader_gets_everything_and_costs_64_kib() {
    let cipher = raw(Script::default());
    let most_owed = cipher.most_owed.clone();
    let server = serve(cipher, |server| server);
    for line in ["big 20000000\nbye\n", "file 20000000 20000000\nbye\n"] {
        let mut client = Inside::new(&server);
        client.send(line);
        std::thread::sleep(Duration::from_millis(100)); // the speed of the reader, not a wait for an event
        let (said, end) = client.read_to_end();
        let head = if line.starts_with("file") { 5 } else { 0 };
        assert_eq!((said.len(), end), (20_000_000 + head, End::Goodbye), "{line}");
    }
    let most = most_owed.load(Relaxed);
    assert!((64 * 1024..90 * 1024).contains(&most), "{most} bytes waited to be written");
}

#[test]
fn sending_a_file_waits_for_no_handler() {
    let script = Script::default();
    let server = scripted(&script, |server| server.workers(1));
    let mut blocked = Inside::new(&server);
    blocked.send("block gate\n");
    server.wait_for("the handler runs", |stats| stats.running == 1);
    let mut client = Inside::new(&server); // this client is accepted as well
    client.send("file 3000000 3000000\nbye\n");
    let (said, end) = client.read_to_end();
    assert_eq!((said.len(), end), (3_000_005, End::Goodbye));
    script.open("gate");
    blocked.expect("done\n");
}

#[test]
fn an_incomplete_response_ends_in_a_reset() {
    let server = scripted(&Script::default(), |server| server);
    for line in ["file 300000 100000\n", "abort\n", "panic\n", "panic late\n"] {
        let mut client = Inside::new(&server);
        client.send(line).client.expect_reset();
    }
}

#[test]
fn a_rejection_reaches_a_client_that_is_still_sending() {
    let server = scripted(&Script::default(), |server| server);
    let mut client = Inside::new(&server);
    client.send("refuse\n");
    let record = sealed(&[b'b'; 16 * 1024], 16 * 1024);
    for _ in 0..50 {
        // Less than the 1 MiB that the server reads after a close.
        if client.client.stream.write_all(&record).is_err() {
            break;
        }
    }
    client.expect("refused\n");
    client.client.half_close();
    client.expect_goodbye();
}

#[test]
fn a_broken_record_gets_an_alert() {
    let server = scripted(&Script::default(), |server| server);
    let mut client = Inside::new(&server);
    client.send("say me\n").expect("me\n").client.send(ALERT).send([b'x'; 100_000]);
    assert_eq!(client.client.half_close().read_to_end(), ALERT);
}

#[test]
fn timeouts_and_missing_permits_are_reported_inside() {
    let script = Script::default();
    let server = scripted(&script, |server| server.workers(1).queue_limit(1).queue_timeout(PATIENCE));
    let mut late = Inside::new(&server);
    late.send("read 50\n").client.send(&sealed(b"half a record", 100)[..3]);
    late.expect("late\n").expect_goodbye();
    let [mut first, mut second, mut third] = [(); 3].map(|()| Inside::new(&server));
    first.send("block gate\n");
    server.wait_for("the first runs", |stats| stats.running == 1);
    second.send("block gate\n");
    server.wait_for("the second waits", |stats| stats.waiting == 1);
    third.send("block gate\n").expect("no permit\n").expect_goodbye();
    script.open("gate");
    first.expect("done\n");
    second.expect("done\n");
    assert!(matches!(script.events()[..], [Event::Late(_), Event::NoPermit]), "{:?}", script.events());
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_reported_inside() {
    let script = Script::default();
    let server = scripted(&script, |server| server.workers(1).write_timeout(Duration::from_millis(300)));
    let mut deaf: Vec<Inside> = (0..10).map(|_| Inside::new(&server)).collect();
    for (number, client) in deaf.iter_mut().enumerate() {
        client.send(if number % 2 == 0 { "big 30000000\n" } else { "file 30000000 30000000\n" });
    }
    Inside::new(&server).send("say me\n").expect("me\n");
    server.wait_for("the deaf are given up", |stats| stats.connections == 0);
    assert_eq!(script.events(), [Event::SendFailed; 10]);
}

#[test]
fn silent_clients_hold_no_worker_and_get_a_goodbye() {
    let mut server = scripted(&Script::default(), |server| server.workers(2));
    let mut silent: Vec<Inside> = (0..200)
        .map(|number| {
            let mut client = Inside::new(&server);
            if number % 2 == 0 {
                client.client.send(&sealed(b"say half", 100)[..5]);
            }
            client
        })
        .collect();
    server.wait_for("all wait", |stats| stats.parked == 200);
    Inside::new(&server).send("say me\n").expect("me\n").send("bye\n");
    server.handle.shutdown();
    silent.iter_mut().for_each(Inside::expect_goodbye);
    drop(silent);
    server.wait_for_end();
}

#[test]
fn a_shutdown_waits_for_a_body_in_progress() {
    let app = handler_fn(|request| Ok(Response::bytes(request.bytes()?)));
    let mut server = serve(Cipher::new(app), |server| server);
    let mut client = Inside::new(&server);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
    server.wait_for("it waits for the rest", |stats| stats.parked == 1);
    server.handle.shutdown();
    eventually("nobody is accepted", || TcpStream::connect(server.address).is_err());
    client.send("def");
    let (said, end) = client.read_to_end();
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("\r\nconnection: close\r\n") || said.contains("\r\nConnection: close\r\n"), "{said}");
    assert!(said.ends_with("\r\n\r\nabcdef") && end == End::Goodbye, "{end:?}: {said}");
    drop(client);
    server.wait_for_end();
}

#[test]
fn a_cut_body_reaches_no_handler() {
    let called = Arc::new(AtomicBool::new(false));
    let is_called = called.clone();
    let app = handler_fn(move |_| {
        is_called.store(true, Relaxed);
        Ok(Response::text("whole"))
    });
    let server = serve(Cipher::new(app), |server| server);
    for goodbye in [true, false] {
        let mut client = Inside::new(&server);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
        if goodbye {
            client.client.send(GOODBYE);
        }
        client.client.half_close();
        let (said, end) = client.read_to_end();
        assert!(said.starts_with(b"HTTP/1.1 400 ") && end == End::Goodbye, "{}", said.escape_ascii());
    }
    assert!(!called.load(Relaxed));
}

#[test]
fn an_idle_client_gets_a_goodbye_despite_partial_records() {
    let app = || handler_fn(|_| Ok(Response::text("here")));
    let limit = Duration::from_millis(300);
    let server = serve(Cipher::new(Http::new(app()).idle_timeout(limit)), |server| server);
    Inside::new(&server).expect_goodbye();
    let mut client = Inside::new(&server);
    let start = Instant::now();
    let mut dripping = client.client.stream.try_clone().unwrap();
    let drip = std::thread::spawn(move || {
        for byte in sealed(b"GET /", 1000) {
            std::thread::sleep(limit / 3); // the speed of the sender, not a wait for an event
            if dripping.write_all(&[byte]).is_err() {
                break;
            }
        }
    });
    client.expect_goodbye();
    assert!(start.elapsed() < PATIENCE / 2, "the drip renewed the clock: {:?}", start.elapsed());
    drop(client);
    drip.join().unwrap();
}

#[test]
fn an_evicted_client_gets_a_goodbye() {
    let server = scripted(&Script::default(), |server| server.max_connections(1));
    let mut idle = Inside::new(&server);
    server.wait_for("it is idle", |stats| stats.parked == 1);
    let mut newcomer = Inside::new(&server);
    newcomer.send("say me\n").expect("me\n");
    idle.expect_goodbye();
}

#[test]
fn a_call_from_another_thread_reaches_the_inner_conversation() {
    type Calls = Arc<Mutex<Vec<Box<dyn Fn() + Send>>>>;
    struct Called(Calls);
    impl Protocol for Called {
        fn meet(&self, _: &Peer) -> Option<Box<dyn Conversation>> {
            Some(Box::new(Called(self.0.clone())))
        }
    }
    impl Conversation for Called {
        fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
            let waker = turn.waker();
            self.0.lock().unwrap().push(Box::new(move || assert!(waker.wake())));
            if turn.input.ended() { Action::Close } else { Action::Idle { within: None } }
        }

        fn event(&mut self, what: Event, turn: &mut Turn<'_>) -> Action {
            assert_eq!(what, Event::Called);
            turn.output.bytes().extend_from_slice(b"called\n");
            Action::Unchanged
        }
    }
    let calls = Calls::default();
    let bare = serve(Raw(Called(calls.clone())), |server| server);
    let mut client = bare.client();
    for _ in 0..3 {
        eventually("it has had its turn", || !calls.lock().unwrap().is_empty());
        calls.lock().unwrap()[0]();
        client.expect("called\n");
    }
    calls.lock().unwrap().clear();
    let server = serve(raw(Called(calls.clone())), |server| server);
    let mut client = Inside::new(&server);
    for _ in 0..3 {
        client.client.send(&sealed(b"half a record", 100)[..1]); // half a record changes nothing
        eventually("it has had its turn", || !calls.lock().unwrap().is_empty());
        calls.lock().unwrap()[0]();
        client.expect("called\n");
        client.client.send(&sealed(b"half a record", 100)[1..]);
    }
}

#[test]
fn a_cipher_inside_a_cipher() {
    let server = serve(Cipher::new(raw(Script::default())), |server| server);
    let mut client = Inside::new(&server);
    client.send(HELLO).expect(WELCOME).send(sealed(b"say me\nbye\n", 3));
    let (said, end) = client.read_to_end();
    assert_eq!((opened(&said), end), ((b"me\n".to_vec(), End::Goodbye), End::Goodbye));
    let mut idle = Inside::new(&server);
    idle.send(HELLO).expect(WELCOME);
    server.handle.shutdown();
    let (said, end) = idle.read_to_end();
    assert_eq!((opened(&said), end), ((Vec::new(), End::Goodbye), End::Goodbye));
}

#[test]
fn bodies_of_all_sizes_pass_through() {
    let app = handler_fn(|request| Ok(Response::bytes(request.bytes()?)));
    let server = serve(Cipher::new(Http::new(app).body_memory(1000)), |server| server);
    for size in [0, 1, 16_383, 16_384, 65_536, 1_000_000] {
        let body: Vec<u8> = (0..size).map(|number| (number % 251) as u8).collect();
        let mut client = Inside::new(&server);
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n");
        let wire = sealed(&[head.as_bytes(), &body].concat(), 5000);
        let mut writer = client.client.stream.try_clone().unwrap();
        let writing = std::thread::spawn(move || writer.write_all(&wire).unwrap());
        let (said, end) = client.read_to_end();
        writing.join().unwrap();
        assert!(said.ends_with(&[b"\r\n\r\n", &body[..]].concat()) && end == End::Goodbye, "{size}: {}", said.len());
    }
}

#[test]
fn unchanged_continues_a_wait_and_otherwise_closes() {
    /// Returns `Unchanged` except for a first word: `i` for idle, `r` for read; without a word, from the first turn on.
    struct Stubborn {
        from_the_first: bool,
        said: bool,
    }
    let stubborn = |from_the_first| Raw(Stubborn { from_the_first, said: false });
    impl Protocol for Stubborn {
        fn meet(&self, _: &Peer) -> Option<Box<dyn Conversation>> {
            Some(Box::new(Stubborn { ..*self }))
        }
    }
    impl Conversation for Stubborn {
        fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
            let within = Some(Duration::from_millis(300));
            match turn.input.bytes() {
                _ if self.from_the_first => Action::Unchanged,
                [] => Action::Idle { within: None },
                _ if std::mem::replace(&mut self.said, true) => Action::Unchanged,
                [b'i', ..] => Action::Idle { within },
                _ => Action::read(modest::raw::Stage(1), within),
            }
        }

        fn event(&mut self, _: Event, turn: &mut Turn<'_>) -> Action {
            turn.output.bytes().extend_from_slice(b"late");
            Action::Unchanged
        }
    }
    serve(stubborn(true), |server| server).client().expect_end();
    let server = serve(stubborn(false), |server| server);
    for (word, heard) in [(b"i", ""), (b"r", "late")] {
        let mut client = server.client();
        client.send(word);
        let start = Instant::now();
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        let mut dripping = client.stream.try_clone().unwrap();
        let drip = std::thread::spawn(move || {
            while !is_over.load(Relaxed) && dripping.write_all(b".").is_ok() {
                std::thread::sleep(Duration::from_millis(20)); // the speed of the sender, not a wait for an event
            }
        });
        client.expect(heard);
        let _ = client.read_to_any_end();
        over.store(true, Relaxed);
        assert!(start.elapsed() < PATIENCE / 2, "the drip renewed the clock: {:?}", start.elapsed());
        drip.join().unwrap();
    }
}
