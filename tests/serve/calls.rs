//! Connections that other threads call: they wait without a worker.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use modest::raw::{Action, Conversation, Event, Protocol, Raw, Turn, Waker};
use modest::{Client as Peer, Stats};

use crate::server::{Client, serve, shows_resets};

/// `say X` sends X to all clients, `echo X` only to the sender, `loop` makes the connection call itself forever.
#[derive(Clone, Default)]
struct Room(Arc<Mutex<Chat>>);

#[derive(Default)]
struct Chat {
    said: Vec<String>,
    wakers: Vec<Waker>,
}

struct Listener {
    room: Room,
    heard: usize,
    listens: bool,
}

impl Protocol for Room {
    fn meet(&self, _: &Peer) -> Option<Box<dyn Conversation>> {
        Some(Box::new(Listener { room: self.clone(), heard: 0, listens: false }))
    }
}

impl Conversation for Listener {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        if !std::mem::replace(&mut self.listens, true) {
            let mut chat = self.room.0.lock().unwrap();
            self.heard = chat.said.len();
            chat.wakers.push(turn.waker());
            turn.output.bytes().extend_from_slice(b"here\n");
        }
        while let Some(end) = turn.input.bytes().iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&turn.input.bytes()[..end]).into_owned();
            turn.input.consume(end + 1);
            if let Some(word) = line.strip_prefix("say ") {
                self.room.say(word);
            } else {
                turn.output.bytes().extend_from_slice(format!("{line}\n").as_bytes());
            }
        }
        if turn.input.ended() { Action::Close } else { Action::Idle { within: None } }
    }

    fn event(&mut self, what: Event, turn: &mut Turn<'_>) -> Action {
        if what != Event::Called {
            return Action::Close;
        }
        let chat = self.room.0.lock().unwrap();
        for word in &chat.said[self.heard..] {
            turn.output.bytes().extend_from_slice(format!("{word}\n").as_bytes());
        }
        self.heard = chat.said.len();
        Action::Idle { within: None }
    }
}

impl Room {
    /// Sends this to all clients, and returns how many there are.
    fn say(&self, word: &str) -> usize {
        let mut chat = self.0.lock().unwrap();
        chat.said.push(word.to_owned());
        let wakers = chat.wakers.clone();
        drop(chat);
        Waker::wake_all(&wakers)
    }
}

#[test]
fn every_client_receives_messages_from_threads_and_clients() {
    let room = Room::default();
    let server = serve(Raw(room.clone()), |server| server.workers(2));
    let mut clients: Vec<Client> = (0..100).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| {
        client.expect("here\n");
    });
    assert_eq!(room.say("from outside"), 100);
    clients[7].send("say from the seventh\n");
    clients.iter_mut().for_each(|client| {
        client.expect("from outside\nfrom the seventh\n");
    });
    // Many calls in a row reach a connection once or more often, and no message before them is lost.
    let speakers: Vec<_> = (0..4)
        .map(|number| {
            let room = room.clone();
            thread::spawn(move || (0..50).for_each(|word| assert_eq!(room.say(&format!("{number}/{word:02}")), 100)))
        })
        .collect();
    speakers.into_iter().for_each(|speaker| speaker.join().unwrap());
    let all = room.0.lock().unwrap().said[2..].join("\n") + "\n";
    for client in &mut clients {
        let mut came = vec![0; all.len()];
        client.stream.read_exact(&mut came).expect("everything that was sent");
        assert_eq!(String::from_utf8(came).unwrap(), all);
    }
}

#[test]
fn calling_a_closed_connection_reports_it() {
    let room = Room::default();
    let server = serve(Raw(room.clone()), |server| server);
    let mut leaving = server.client();
    leaving.expect("here\n");
    assert_eq!(room.say("one"), 1);
    leaving.expect("one\n");
    drop(leaving);
    server.wait_for("it has left", |stats| stats.connections == 0);
    assert_eq!(room.say("two"), 0);
    let waker = room.0.lock().unwrap().wakers[0].clone();
    assert!(waker.is_over() && !waker.wake());
}

#[test]
fn a_blocked_client_gets_its_calls_once_it_reads() {
    let room = Room::default();
    let server = serve(Raw(room.clone()), |server| server.workers(1));
    let mut client = server.client();
    client.expect("here\n");
    let word = "x".repeat(64 * 1024);
    for _ in 0..200 {
        room.say(&word);
        thread::yield_now();
    }
    for _ in 0..200 {
        client.expect(format!("{word}\n"));
    }
    client.send("and on\n").expect("and on\n");
}

/// A connection can be aborted while it waits for a request, and while it waits for its client to read.
#[test]
fn an_abort_ends_a_connection_in_any_state() {
    let room = Room::default();
    let server = serve(Raw(room.clone()), |server| server.workers(1).min_rate(None).write_timeout(None));
    let mut clients: Vec<Client> = (0..40).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| {
        client.expect("here\n");
    });
    // Every other client has a response that it will never read completely.
    for client in clients.iter_mut().step_by(2) {
        let line = "x".repeat(60_000) + "\n";
        let mut stream = client.stream.try_clone().unwrap();
        stream.set_nonblocking(true).unwrap();
        let start = Instant::now();
        while stream.write(line.as_bytes()).is_ok() {
            assert!(start.elapsed() < Duration::from_secs(10), "the server reads without a limit");
        }
    }
    let wakers = room.0.lock().unwrap().wakers.clone();
    assert_eq!(wakers.len(), 40);
    thread::scope(|scope| {
        for half in [&wakers[..20], &wakers[20..]] {
            scope.spawn(move || half.iter().for_each(|waker| assert!(waker.abort())));
            scope.spawn(move || {
                for waker in half {
                    waker.wake();
                }
            });
        }
    });
    server.wait_for("all are gone", |stats| stats.connections == 0);
    assert!(wakers.iter().all(|waker| waker.is_over() && !waker.abort()));
    for mut client in clients {
        client.stream.set_nonblocking(false).unwrap();
        let (_, end) = client.read_to_any_end();
        assert!(end == Some(std::io::ErrorKind::ConnectionReset) || !shows_resets(), "{end:?}");
    }
}

/// 1,000 idle listeners cost nothing, and a message reaches all of them. (`benches/soak/live.rs` does this with 10,000,
/// and measures the delay.)
#[test]
fn many_silent_listeners_cost_nothing() {
    let room = Room::default();
    let server = serve(Raw(room.clone()), |server| server.workers(4));
    let mut clients: Vec<Client> = (0..1000).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| {
        client.expect("here\n");
    });
    // The workers stop polling one after the other. From then on nothing happens.
    let is_quiet = |stats: &Stats| {
        thread::sleep(Duration::from_millis(100)); // the time in which nothing may happen
        server.handle.stats().polls - stats.polls <= 1
    };
    server.wait_for("silence", |stats| stats.parked == 1000 && stats.permits == 0 && is_quiet(stats));
    assert_eq!(room.say("news"), 1000);
    clients.iter_mut().for_each(|client| {
        client.expect("news\n");
    });
}
