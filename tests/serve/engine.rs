//! The promises of `tcp`, for any protocol.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use modest::raw::{Event, Raw};

use crate::script::Script;
use crate::server::{Client, PATIENCE, serve};

#[test]
fn bytes_come_back_in_order() {
    let server = serve(Raw(Script::default()), |server| server);
    let mut client = server.client();
    client.send("say one\nsay two\n").expect("one\ntwo\n");
    for byte in b"say three\n" {
        client.send([*byte]);
    }
    client.expect("three\n");
}

#[test]
fn a_server_can_send_first() {
    let server = serve(Raw(Script { greeting: Some("welcome\n"), ..Script::default() }), |server| server);
    server.client().expect("welcome\n");
}

#[test]
fn a_rejected_client_sees_the_end() {
    let server = serve(Raw(Script { turns_away: true, ..Script::default() }), |server| server);
    server.client().expect_end();
    server.wait_for("the rejected client is gone", |stats| stats.accepted == 1 && stats.connections == 0);
}

#[test]
fn a_half_closed_client_gets_the_whole_response() {
    let server = serve(Raw(Script::default()), |server| server);
    let mut client = server.client();
    client.send("big 20000000\nsay end\n").half_close();
    let answer = client.read_to_end();
    assert_eq!((answer.len(), &answer[answer.len() - 5..]), (20_000_004 + 1 - 1, &b"xend\n"[..]));
}

#[test]
fn silent_clients_hold_no_worker() {
    let server = serve(Raw(Script::default()), |server| server.workers(2));
    let silent: Vec<Client> = (0..500)
        .map(|number| {
            let mut client = server.client();
            if number % 2 == 0 {
                client.send("half a li");
            }
            client
        })
        .collect();
    server.wait_for("all wait", |stats| stats.parked == 500);
    server.client().send("block nothing\n");
    server.wait_for("one handler runs", |stats| stats.running == 1);
    server.client().send("say me\n").expect("me\n");
    drop(silent);
    server.wait_for("the silent are gone", |stats| stats.connections <= 2);
}

#[test]
fn blocked_handlers_delay_no_client_and_the_queue_is_served() {
    let script = Script::default();
    let server = serve(Raw(script.clone()), |server| server.workers(4));
    let mut asleep: Vec<Client> = (0..4).map(|_| server.client()).collect();
    asleep.iter_mut().for_each(|client| {
        client.send("block first\n");
    });
    server.wait_for("four handlers run", |stats| stats.running == 4);
    // Clients are still accepted, and requests that need no handler are served. Deadlines hold.
    server.client().send("say me\n").expect("me\n");
    server.client().send("read 50\n").expect("late\n").expect_end();
    let mut fifth = server.client();
    fifth.send("block second\n");
    server.wait_for("the fifth waits for a permit", |stats| stats.waiting == 1);
    script.open("second");
    script.open("first");
    fifth.expect("done\n");
    asleep.iter_mut().for_each(|client| {
        client.expect("done\n");
    });
}

#[test]
fn a_full_queue_and_a_long_wait_are_rejected() {
    let script = Script::default();
    let server =
        serve(Raw(script.clone()), |server| server.workers(1).queue_limit(1).queue_timeout(Duration::from_millis(200)));
    let (mut first, mut second, mut third) = (server.client(), server.client(), server.client());
    first.send("block gate\n");
    server.wait_for("the first runs", |stats| stats.running == 1);
    second.send("block gate\n");
    server.wait_for("the second waits for a permit", |stats| stats.waiting == 1);
    third.send("block gate\n").expect("no permit\n").expect_end();
    second.expect("no permit\n").expect_end();
    script.open("gate");
    first.expect("done\n");
    assert_eq!(script.events(), [Event::NoPermit, Event::NoPermit]);
    assert_eq!(server.handle.stats().refused, 2);
}

#[test]
fn a_panic_costs_one_connection() {
    let server = serve(Raw(Script::default()), |server| server.workers(1));
    let mut bystander = server.client();
    for line in ["panic\n", "panic late\n"].repeat(20) {
        let mut client = server.client();
        client.send(line).expect_reset(); // the output so far is incomplete
    }
    bystander.send("say still here\n").expect("still here\n");
    server.wait_for("the others are gone, with their permits", |stats| (stats.connections, stats.running) == (1, 0));
}

#[test]
fn a_woken_worker_updates_its_clock() {
    // The turn of a woken worker begins at the wake-up, not when the worker fell asleep. Otherwise its connection would
    // seem to have been idle, or in the queue, for that time.
    let script = Script::default();
    let server = serve(Raw(script.clone()), |server| server);
    for gate in ["one", "two"] {
        let (mut blocker, mut others) = (server.client(), Vec::from_iter((0..20).map(|_| server.client())));
        server.client().send("read 1000\n").expect("late\n"); // all workers have slept for this time
        blocker.send(format!("block {gate}\n"));
        for client in &mut others {
            client.send("age\n");
        }
        let ages: Vec<u64> = others.iter_mut().map(|client| client.line().trim().parse().unwrap()).collect();
        assert!(ages.iter().all(|age| *age < 900), "ages of turns in ms: {ages:?}");
        script.open(gate);
        blocker.expect("done\n");
    }
}

#[test]
fn a_slow_trickle_does_not_extend_a_stages_deadline() {
    let server = serve(Raw(Script::default()), |server| server);
    let mut client = server.client();
    client.send("read 300\n");
    let start = Instant::now();
    let mut dripping = client.stream.try_clone().unwrap();
    let told = Arc::new(AtomicBool::new(false));
    let is_told = Arc::clone(&told);
    let drip = std::thread::spawn(move || {
        while !is_told.load(Relaxed) && dripping.write_all(b".").is_ok() {
            std::thread::sleep(Duration::from_millis(20)); // the speed of the sender, not a wait for an event
        }
    });
    client.expect("late\n");
    told.store(true, Relaxed);
    assert!(start.elapsed() >= Duration::from_millis(300), "late before its time: {:?}", start.elapsed());
    assert!(start.elapsed() < PATIENCE / 2, "the drip renewed the clock: {:?}", start.elapsed());
    drop(client);
    drip.join().unwrap();
}

#[test]
fn a_rejection_reaches_a_client_that_is_still_sending() {
    let server = serve(Raw(Script::default()), |server| server);
    for round in 0..20 {
        let mut client = server.client();
        client.send("refuse\n");
        // More than the buffers of the sockets hold: if the server does not read on, this fails with a reset.
        for _ in 0..64 {
            if client.stream.write_all(&[b'b'; 64 * 1024]).is_err() {
                break;
            }
        }
        let mut answer = [0; 8];
        client.stream.read_exact(&mut answer).unwrap_or_else(|err| panic!("round {round}: {err}"));
        assert_eq!(&answer, b"refused\n");
    }
}

#[test]
fn a_late_client_that_keeps_sending_still_reads_the_end() {
    let server = serve(Raw(Script::default()), |server| server);
    for _ in 0..20 {
        let mut client = server.client();
        client.send("read 1\n");
        server.wait_for("the connection is accepted", |stats| stats.accepted > 0);
        client.expect("late\n").send("ok\nok\n").send("ok\n").half_close().expect_end();
    }
}

#[test]
fn an_incomplete_response_ends_in_a_reset() {
    let server = serve(Raw(Script::default()), |server| server);
    server.client().send("abort\n").expect_reset();
    let count = server.client().send("file 300000 100000\n").expect_reset();
    assert!(count <= 100_005, "{count} bytes arrived of a file of 100,000");
}

#[test]
fn files_are_sent_completely() {
    let server = serve(Raw(Script::default()), |server| server.workers(1));
    for size in [1, 1000, 70_000, 5_000_000] {
        let mut client = server.client();
        client.send(format!("file {size} {size}\nsay end\nbye\n"));
        let answer = client.read_to_end();
        assert_eq!(answer.len(), 5 + size + 4, "a file of {size} bytes");
        assert!(answer.starts_with(b"head:f") && answer.ends_with(b"fend\n"), "a file of {size} bytes");
    }
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_delays_no_other() {
    let script = Script::default();
    let server = serve(Raw(script.clone()), |server| server.workers(1).write_timeout(Duration::from_millis(300)));
    let mut deaf: Vec<Client> = (0..20).map(|_| server.client()).collect();
    for (number, client) in deaf.iter_mut().enumerate() {
        client.send(if number % 2 == 0 { "big 30000000\n" } else { "file 30000000 30000000\n" });
    }
    server.client().send("block open\n");
    script.open("open");
    server.client().send("say me\n").expect("me\n");
    server.wait_for("the deaf are given up", |stats| stats.connections == 0);
    assert_eq!(script.events(), [Event::SendFailed; 20]);
}

#[test]
fn reading_from_a_client_that_does_not_read_is_bounded() {
    let server = serve(Raw(Script::default()), |server| server);
    let client = server.client();
    client.stream.set_nonblocking(true).unwrap();
    // Each reply is twice as long as its line: unsent output stops the reading, which stops the client.
    let line = format!("say {}\n", "y".repeat(1000)).repeat(60);
    let mut sent = 0usize;
    let start = Instant::now();
    let mut last = Instant::now();
    while last.elapsed() < Duration::from_millis(500) && start.elapsed() < PATIENCE {
        match (&client.stream).write(line.as_bytes()) {
            Ok(count) => {
                sent += count;
                last = Instant::now();
            }
            Err(_) => std::thread::yield_now(),
        }
    }
    assert!(sent < 40_000_000, "{sent} bytes were taken from a client that reads nothing");
    server.client().send("say me\n").expect("me\n");
}

#[test]
fn many_clients_at_once() {
    let server = serve(Raw(Script::default()), |server| server.workers(4));
    let clients: Vec<_> = (0..16)
        .map(|number| {
            let address = server.address;
            std::thread::spawn(move || {
                for round in 0..200 {
                    let mut client = Client::new(address);
                    let word = format!("{number}/{round}\n");
                    client.send(format!("say {word}")).expect(&word).send(format!("say {word}bye\n"));
                    client.expect(&word).expect_end();
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    // A permit is returned a moment after its connection is gone.
    let stats = server.wait_for("all are gone", |stats| (stats.connections, stats.ready, stats.running) == (0, 0, 0));
    assert_eq!(stats.accepted, 3200);
}

#[test]
fn a_full_server_without_waiting_clients_is_quiet() {
    let server = serve(Raw(Script::default()), |server| server.workers(1).max_connections(2));
    let (mut client, mut other) = (server.client(), server.client());
    client.send("say x\n").expect("x\n");
    other.send("read 300\n");
    let before = server.wait_for("both wait", |stats| stats.parked == 2).polls;
    other.expect("late\n");
    let polled = server.handle.stats().polls - before;
    assert!(polled < 50, "{polled} polls in 300 ms in which nothing happened");
}

#[test]
fn on_ready_is_called_once_clients_are_accepted() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let server =
        modest::TcpServer::bind("127.0.0.1:0", modest::handler_fn(|_| Ok(modest::Response::text("hello")))).unwrap();
    let (address, handle) = (server.local_addr(), server.handle());
    let server = server.on_ready(move || sender.send(handle).unwrap());
    let serving = std::thread::spawn(move || server.serve_forever());
    let handle = receiver.recv().unwrap();
    assert!(std::net::TcpStream::connect(address).is_ok());
    handle.shutdown();
    serving.join().unwrap().unwrap();
    assert!(receiver.recv().is_err(), "the sender must be dropped after its one call");
}
