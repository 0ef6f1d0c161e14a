//! Line protocols over real sockets: the order of their lines, and the cost of many lines at once.

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use modest::raw::{Flow, LineHandler, LineSender, Lines, Refusal};
use modest::{Client as Peer, ProxyProtocol};

use crate::cipher::{Cipher, HELLO, WELCOME, opened, sealed};
use crate::server::{Client, Gate, eventually, has_addresses, is_plain, serve};

fn echo() -> Lines {
    Lines::new(|line, reply| {
        if line == "panic" {
            panic!("a handler panics, for the test");
        }
        reply.extend_from_slice(format!("{line}\n").as_bytes());
        if line == "quit" { Flow::Close } else { Flow::Continue }
    })
}

#[test]
fn each_client_has_its_own_state_and_gets_a_greeting() {
    if !is_plain() {
        return; // this client knows its own address
    }
    struct Count(String, usize);
    impl LineHandler for Count {
        fn greeting(&mut self, reply: &mut Vec<u8>) -> Flow {
            reply.extend_from_slice(format!("hello {}\n", self.0).as_bytes());
            Flow::Continue
        }

        fn line(&mut self, line: &str, reply: &mut Vec<u8>) -> Flow {
            self.1 += line.len();
            reply.extend_from_slice(format!("{}\n", self.1).as_bytes());
            Flow::Continue
        }
    }
    let server = serve(Lines::per_client(|client: &Peer| Count(client.to_string(), 0)), |server| server);
    let mut clients = [server.client(), server.client()];
    for client in &mut clients {
        let greeting = format!("hello {}\n", client.stream.local_addr().unwrap());
        client.expect(greeting).send("abc\n").expect("3\n");
    }
    for client in &mut clients {
        client.send("de\r\n\n").expect("5\n5\n");
    }
}

#[test]
fn line_handlers_can_block_and_silent_clients_hold_no_worker() {
    let gate = Gate::default();
    let at_gate = gate.clone();
    let lines = Lines::new(move |line, reply| {
        if line == "wait" {
            at_gate.pass();
        }
        reply.extend_from_slice(b"done\n");
        Flow::Continue
    });
    let server = serve(lines, |server| server.workers(2));
    let _opened = gate.opened_at_end();
    let silent: Vec<Client> = (0..300)
        .map(|number| {
            let mut client = server.client();
            if number % 2 == 0 {
                client.send("half a li");
            }
            client
        })
        .collect();
    server.wait_for("all wait", |stats| stats.parked == 300 && stats.running == 0);
    let mut blocked = server.client();
    blocked.send("wait\n");
    gate.wait_for_arrivals(1);
    server.client().ask("other\n", "done\n");
    gate.open();
    blocked.expect("done\n");
    drop(silent);
    server.wait_for("the silent are gone", |stats| stats.connections <= 2);
}

#[test]
fn many_lines_are_handled_in_order_and_delay_no_other_client() {
    let server = serve(echo(), |server| server.workers(1));
    let mut client = server.client();
    let wire: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    let mut writer = client.stream.try_clone().unwrap();
    let sent = wire.clone();
    let writing = std::thread::spawn(move || writer.write_all(sent.as_bytes()).unwrap());
    server.client().ask("other\n", "other\n");
    client.expect(wire).ask("quit\n", "quit\n").expect_end();
    writing.join().unwrap();
}

#[test]
fn replies_to_a_client_that_does_not_read_are_bounded() {
    let handled = Arc::new(AtomicUsize::new(0));
    let counted = handled.clone();
    let lines = Lines::new(move |_, reply| {
        counted.fetch_add(1, Relaxed);
        reply.resize(reply.len() + 60_000, b'x');
        Flow::Continue
    });
    let server = serve(lines, |server| server.write_timeout(Duration::from_millis(500)));
    let mut deaf = server.client();
    deaf.send("\n".repeat(10_000)); // 600 MB of replies
    server.wait_for("it is given up", |stats| stats.connections == 0);
    let handled = handled.load(Relaxed);
    assert!(handled < 1000, "{handled} lines were handled for a client that reads nothing");
}

#[test]
fn a_rejection_reaches_a_client_that_is_still_sending() {
    let server = serve(echo(), |server| server);
    let mut client = server.client();
    client.send("first\n");
    for _ in 0..64 {
        if client.stream.write_all(&[b'x'; 64 * 1024]).is_err() {
            break;
        }
    }
    client.expect("first\nthe line is too long\r\n").half_close().expect_end();
}

#[test]
fn idle_and_line_timeouts_end_waits() {
    let limit = Duration::from_millis(100);
    let server = serve(echo().idle_timeout(limit).line_timeout(limit), |server| server);
    for (sent, wanted) in [("", ""), ("a\n", "a\n"), ("half", "the line took too long\r\n")] {
        let start = Instant::now();
        let mut client = server.client();
        client.send(sent).expect(wanted).half_close().expect_end();
        assert!(start.elapsed() >= limit || wanted.is_empty() || sent.ends_with('\n'), "{sent:?}");
    }
    server.client().expect_end();
}

#[test]
fn a_panic_costs_one_client() {
    let server = serve(echo(), |server| server);
    let mut bystander = server.client();
    bystander.ask("here\n", "here\n");
    server.client().send("panic\n").expect_reset();
    // Replies to lines that arrived together with it are sent.
    server.client().send("one\ntwo\npanic\nthree\n").expect("one\ntwo\n").expect_reset();
    bystander.ask("still here\n", "still here\n");
}

/// Two panics of one client cost that client: `closed` can panic for the same reason as the call before, such as a
/// poisoned lock, and must not end the process.
#[test]
fn two_panics_cost_one_client() {
    struct Panics(&'static str, Arc<AtomicUsize>);
    impl Panics {
        fn call(&self, name: &str) {
            assert!(self.0 != name, "for the test");
        }
    }
    impl LineHandler for Panics {
        fn opened(&mut self, _: &LineSender) {
            self.call("opened");
        }

        fn greeting(&mut self, _: &mut Vec<u8>) -> Flow {
            self.call("greeting");
            Flow::Continue
        }

        fn line(&mut self, _: &str, _: &mut Vec<u8>) -> Flow {
            self.call("line");
            Flow::Close
        }

        fn closed(&mut self, _: &LineSender) {
            self.1.fetch_add(1, Relaxed);
            panic!("for the test");
        }
    }
    for at in ["opened", "greeting", "line", "nowhere"] {
        let closed = Arc::new(AtomicUsize::new(0));
        let count = closed.clone();
        let server = serve(Lines::per_client(move |_| Panics(at, count.clone())), |server| server);
        for number in 1..=3 {
            let mut client = server.client();
            let _ = client.stream.write_all(b"x\n"); // the reset can arrive before
            client.read_to_any_end();
            eventually("`closed` is called once", || closed.load(Relaxed) == number);
        }
        server.wait_for("all are gone", |stats| stats.connections == 0);
    }
}

#[test]
fn a_shutdown_ends_idle_clients_and_serves_pending_lines() {
    let gate = Gate::default();
    let at_gate = gate.clone();
    let lines = Lines::new(move |line, reply| {
        if line == "wait" {
            at_gate.pass();
        }
        reply.extend_from_slice(b"done\n");
        Flow::Continue
    });
    let mut server = serve(lines, |server| server);
    let _opened = gate.opened_at_end();
    let (mut idle, mut busy) = (server.client(), server.client());
    busy.send("wait\nmore\n");
    gate.wait_for_arrivals(1);
    server.handle.shutdown();
    idle.expect_end();
    gate.open();
    busy.expect("done\ndone\n").expect_end();
    drop((idle, busy));
    server.wait_for_end();
}

#[test]
fn lines_work_inside_a_cipher_and_behind_a_proxy() {
    if !has_addresses() {
        return; // no client is trusted
    }
    let trusted = "127.0.0.1".parse().unwrap();
    let server = serve(ProxyProtocol::new(Cipher::new(echo())).trust(trusted), |server| server);
    let mut client = server.client();
    client.send("PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n").send(HELLO).expect(WELCOME).send(sealed(b"a\nquit\n", 2));
    assert_eq!(opened(&client.read_to_end()).0, b"a\nquit\n");
    eventually("it is gone", || server.handle.stats().connections == 0);
}

#[test]
fn a_client_can_be_rejected() {
    let server = serve(echo().verify_client(|_| false), |server| server);
    server.client().send("hello\n").expect_end();
    let server = serve(echo().verify_client(|_| true), |server| server);
    server.client().ask("hello\n", "hello\n");
}

/// Every client gets every line; a line `late` is sent by another thread while the handler still runs.
#[derive(Clone, Default)]
struct Chat(Arc<Mutex<Vec<LineSender>>>);

impl Chat {
    fn say(&self, line: &str) {
        self.0.lock().unwrap().retain(|client| client.send(format!("{line}\n")).is_ok());
    }
}

impl LineHandler for Chat {
    fn opened(&mut self, sender: &LineSender) {
        sender.send("first\n").unwrap();
        self.0.lock().unwrap().push(sender.clone());
    }

    fn greeting(&mut self, reply: &mut Vec<u8>) -> Flow {
        reply.extend_from_slice(b"welcome\n");
        Flow::Continue
    }

    fn line(&mut self, line: &str, reply: &mut Vec<u8>) -> Flow {
        let chat = self.clone();
        let line = line.to_owned();
        let flow = if line == "bye" { Flow::Close } else { Flow::Continue };
        std::thread::spawn(move || chat.say(&line)).join().unwrap();
        reply.extend_from_slice(b"said\n");
        flow
    }
}

#[test]
fn other_threads_send_lines_to_clients_that_wait() {
    let chat = Chat::default();
    let made = chat.clone();
    let server = serve(Lines::per_client(move |_| made.clone()), |server| server);
    let mut clients: Vec<Client> = (0..50).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| _ = client.expect("welcome\nfirst\n"));
    server.wait_for("they wait without a worker", |stats| stats.parked == 50 && stats.running == 0);
    chat.say("news");
    clients.iter_mut().for_each(|client| _ = client.expect("news\n"));
    clients[0].send("hello\n").expect("said\nhello\n"); // after the reply of the handler
    clients[1..].iter_mut().for_each(|client| _ = client.expect("hello\n"));
    clients[0].send("bye\n").expect("said\nbye\n"); // also after the last reply
    drop(clients);
    server.wait_for("they are gone", |stats| stats.connections == 0);
    eventually("it is known", || {
        chat.say("to nobody");
        chat.0.lock().unwrap().is_empty()
    });
}

/// Lines of other threads are not activity of their client: its idle time passes, and a shutdown does not wait for it.
#[test]
fn pushed_lines_do_not_keep_a_client() {
    for (limit, shuts_down) in [(Some(Duration::from_millis(300)), false), (None, true)] {
        let chat = Chat::default();
        let made = chat.clone();
        let mut server = serve(Lines::per_client(move |_| made.clone()).idle_timeout(limit), |server| server);
        let mut client = server.client();
        client.expect("welcome\nfirst\n");
        let handle = server.handle.clone();
        let took = thread::scope(|scope| {
            scope.spawn(move || {
                let mut said = 0;
                while !chat.0.lock().unwrap().is_empty() {
                    chat.say("news");
                    thread::sleep(Duration::from_millis(1));
                    said += 1;
                    if shuts_down && said == 100 {
                        handle.shutdown();
                    }
                }
            });
            let (received, _) = client.read_to_any_end();
            assert!(received.ends_with(b"news\n"));
            if shuts_down { server.wait_for_end() } else { Duration::ZERO }
        });
        assert!(took < Duration::from_secs(5), "the shutdown must not wait for its timeout: {took:?}");
    }
}

/// Lines that `send` has accepted are sent, however the connection ends: before the last reply of the server or after
/// it.
#[test]
fn accepted_lines_are_sent_before_an_end() {
    #[derive(Clone, Default)]
    struct Pushes(Gate, Arc<Mutex<Option<LineSender>>>);
    impl LineHandler for Pushes {
        fn opened(&mut self, sender: &LineSender) {
            *self.1.lock().unwrap() = Some(sender.clone());
        }

        fn line(&mut self, line: &str, reply: &mut Vec<u8>) -> Flow {
            self.0.pass(); // in the meantime, the test sends
            reply.extend_from_slice(format!("{line}\n").as_bytes());
            if line == "quit" { Flow::Close } else { Flow::Continue }
        }

        fn refuse(&mut self, _: Refusal, reply: &mut Vec<u8>) {
            reply.extend_from_slice(b"refused\n");
        }
    }
    for (sent, ends, expected) in [
        ("a\n", "half-close", "a\npushed\n"),
        ("a", "half-close", "a\npushed\n"),
        ("a\n", "shutdown", "a\npushed\n"),
        ("a\nb", "shutdown", "a\npushed\n"),
        ("quit\n", "", "quit\npushed\n"),
        ("a\nthis is too long\n", "", "a\npushed\nrefused\n"),
    ] {
        let pushes = Pushes::default();
        let made = pushes.clone();
        let mut server = serve(Lines::per_client(move |_| made.clone()).line_limit(10), |server| server);
        let _opened = pushes.0.opened_at_end();
        let mut client = server.client();
        client.send(sent);
        if ends == "half-close" {
            client.half_close();
        }
        pushes.0.wait_for_arrivals(1);
        if ends == "shutdown" {
            server.handle.shutdown();
        }
        let sender = pushes.1.lock().unwrap().take().unwrap();
        sender.send("pushed\n").unwrap();
        pushes.0.open();
        let (received, _) = client.read_to_any_end();
        assert_eq!(String::from_utf8_lossy(&received), expected, "{sent:?}, {ends}");
        drop(client);
        server.handle.shutdown();
        server.wait_for_end();
        assert!(sender.send("late\n").is_err());
    }
}

/// Also at the end of an idle client, while a thread sends without a pause.
#[test]
fn accepted_lines_are_sent_before_an_idle_end() {
    #[derive(Clone, Default)]
    struct Listens(Arc<Mutex<Option<LineSender>>>);
    impl LineHandler for Listens {
        fn opened(&mut self, sender: &LineSender) {
            *self.0.lock().unwrap() = Some(sender.clone());
        }

        fn line(&mut self, _: &str, _: &mut Vec<u8>) -> Flow {
            Flow::Continue
        }
    }
    for (limit, shuts_down, pause) in [
        (Some(Duration::from_millis(200)), false, Duration::from_micros(100)),
        (Some(Duration::from_millis(200)), false, Duration::from_millis(2)),
        (None, true, Duration::from_micros(100)),
        (None, true, Duration::from_millis(2)),
    ] {
        for _ in 0..5 {
            let listens = Listens::default();
            let made = listens.clone();
            let mut server = serve(Lines::per_client(move |_| made.clone()).idle_timeout(limit), |server| server);
            let mut client = server.client();
            eventually("it listens", || listens.0.lock().unwrap().is_some());
            let sender = listens.0.lock().unwrap().take().unwrap();
            let handle = server.handle.clone();
            let sending = thread::spawn(move || {
                let begun = Instant::now();
                let mut accepted = 0;
                while sender.send("news\n").is_ok() {
                    accepted += 1;
                    if shuts_down && begun.elapsed() > Duration::from_millis(50) {
                        handle.shutdown();
                    }
                    thread::sleep(pause);
                }
                accepted
            });
            let received = client.read_to_any_end().0.len() / "news\n".len();
            assert_eq!(received, sending.join().unwrap(), "{limit:?}, {shuts_down}, {pause:?}");
            server.handle.shutdown();
            server.wait_for_end();
        }
    }
}

/// A handler learns how each connection ends, once, and so does everyone who has its sender.
#[test]
fn the_end_of_a_connection_is_reported() {
    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<(LineSender, bool)>>>);
    impl LineHandler for Notes {
        fn opened(&mut self, sender: &LineSender) {
            self.0.lock().unwrap().push((sender.clone(), false));
        }

        fn line(&mut self, line: &str, _: &mut Vec<u8>) -> Flow {
            assert!(line != "panic", "a handler panics, for the test");
            if line == "quit" { Flow::Close } else { Flow::Continue }
        }

        fn closed(&mut self, sender: &LineSender) {
            assert!(sender.is_gone() && sender.send("late").is_err());
            let mut notes = self.0.lock().unwrap();
            let note = notes.iter_mut().find(|(known, was_closed)| known.is_gone() && !was_closed).unwrap();
            note.1 = true;
        }
    }
    let notes = Notes::default();
    let made = notes.clone();
    let mut server = serve(Lines::per_client(move |_| made.clone()).line_limit(10), |server| server);
    for (number, sent) in ["quit\n", "panic\n", "this is too long\n", "half", "shutdown\n"].into_iter().enumerate() {
        let mut client = server.client();
        eventually("it is met", || notes.0.lock().unwrap().len() == number + 1);
        assert!(!notes.0.lock().unwrap()[number].0.is_gone(), "{sent:?}");
        client.send(sent);
        match sent {
            "half" => drop(client.half_close()),
            "shutdown\n" => server.handle.shutdown(),
            _ => {}
        }
        eventually("it is closed", || notes.0.lock().unwrap()[number].1);
    }
    server.wait_for_end();
    assert!(notes.0.lock().unwrap().iter().all(|(sender, was_closed)| sender.is_gone() && *was_closed));
}

/// A sender ends its connection in any state, once: `close` after all that was sent and replied, `abort` with a reset.
#[test]
fn senders_end_their_connections() {
    type End = fn(&LineSender);
    struct Member {
        senders: Arc<Mutex<Vec<LineSender>>>,
        closed: Arc<AtomicUsize>,
        gate: Gate,
        end: End,
        at_once: bool,
    }
    impl LineHandler for Member {
        fn opened(&mut self, sender: &LineSender) {
            self.senders.lock().unwrap().push(sender.clone());
            if self.at_once {
                sender.send("first\n").unwrap();
                (self.end)(sender);
            }
        }

        fn line(&mut self, line: &str, reply: &mut Vec<u8>) -> Flow {
            reply.extend_from_slice(format!("{line}\n").as_bytes());
            match line {
                "end" => (self.end)(&self.senders.lock().unwrap()[0]),
                "wait" => self.gate.pass(),
                _ => {}
            }
            Flow::Continue
        }

        fn closed(&mut self, sender: &LineSender) {
            assert!(sender.is_gone());
            self.closed.fetch_add(1, Relaxed);
        }
    }
    let close: End = |sender| {
        sender.close();
        sender.close();
    };
    let abort: End = |sender| {
        sender.abort();
        sender.close(); // has no effect. In the other order the connection may have ended before the reset.
    };
    for (end, is_reset) in [(close, false), (abort, true)] {
        for (what, sent, expected) in [
            ("while it is idle", "", "news\n"),
            ("in the middle of a line", "ha", "news\n"),
            ("by its handler", "one\nend\nmore\n", "one\nend\n"),
            ("while its handler runs", "wait\nmore\n", "wait\nnews\n"),
            ("before its first turn", "", "first\n"),
        ] {
            let (senders, closed, gate) = (Arc::default(), Arc::<AtomicUsize>::default(), Gate::default());
            let (kept, counted, at_gate) = (Arc::clone(&senders), closed.clone(), gate.clone());
            let at_once = what == "before its first turn";
            let make = move |_: &Peer| {
                let (senders, closed, gate) = (Arc::clone(&kept), counted.clone(), at_gate.clone());
                Member { senders, closed, gate, end, at_once }
            };
            let server = serve(Lines::per_client(make), |server| server);
            let mut client = server.client();
            client.send(sent);
            let from_here = match what {
                "while it is idle" | "in the middle of a line" => {
                    eventually("it is met", || !senders.lock().unwrap().is_empty());
                    server.wait_for("it waits", |stats| stats.parked == 1);
                    true
                }
                "while its handler runs" => {
                    gate.wait_for_arrivals(1);
                    true
                }
                _ => false,
            };
            if from_here {
                let sender: LineSender = senders.lock().unwrap()[0].clone();
                sender.send("news\n").unwrap();
                end(&sender);
            }
            gate.open();
            match is_reset {
                true => _ = client.expect_reset(),
                false => client.expect(expected).expect_end(),
            }
            eventually("it is closed", || closed.load(Relaxed) == 1);
            let sender = senders.lock().unwrap()[0].clone();
            assert_eq!(sender.send("late\n").unwrap_err().kind(), ErrorKind::BrokenPipe, "{what}");
            end(&sender);
            drop(client);
            server.wait_for("it is gone", |stats| stats.connections == 0);
            assert_eq!(closed.load(Relaxed), 1, "{what}");
        }
    }
}

/// A client that reads nothing is dropped by `abort`, whatever is unsent.
#[test]
fn a_client_that_does_not_read_can_be_aborted() {
    let chat = Chat::default();
    let made = chat.clone();
    let server = serve(Lines::per_client(move |_| made.clone()), |server| server);
    let _client = server.client();
    eventually("it is met", || !chat.0.lock().unwrap().is_empty());
    let sender = chat.0.lock().unwrap()[0].clone();
    let line = "x".repeat(10_000) + "\n";
    eventually("its queue is full", || sender.send(&line).is_err());
    server.wait_for("it waits for its client", |stats| stats.parked == 1);
    assert!(!sender.is_gone());
    sender.abort();
    server.wait_for("it is gone", |stats| stats.connections == 0);
    assert!(sender.is_gone());
}

/// A connection that is about to end, but whose client does not read the rest of its output, can be aborted.
#[test]
fn an_ending_connection_can_be_aborted() {
    struct Last(Arc<Mutex<Option<LineSender>>>, Flow);
    impl LineHandler for Last {
        fn opened(&mut self, sender: &LineSender) {
            *self.0.lock().unwrap() = Some(sender.clone());
        }

        fn line(&mut self, _: &str, reply: &mut Vec<u8>) -> Flow {
            reply.resize(64 << 20, b'x');
            if self.1 == Flow::Continue {
                self.0.lock().unwrap().iter().for_each(LineSender::close);
            }
            self.1
        }
    }
    for flow in [Flow::Continue, Flow::Close] {
        let made = Arc::<Mutex<Option<LineSender>>>::default();
        let kept = Arc::clone(&made);
        let server = serve(Lines::per_client(move |_| Last(Arc::clone(&kept), flow)), |server| server);
        let mut client = server.client();
        client.send("all\n");
        eventually("it is ending", || made.lock().unwrap().as_ref().is_some_and(LineSender::is_gone));
        server.wait_for("it waits for its client", |stats| stats.parked == 1);
        let sender = made.lock().unwrap().clone().unwrap();
        sender.close();
        sender.abort();
        server.wait_for("it is gone", |stats| stats.connections == 0);
        client.expect_reset();
    }
}

#[test]
fn output_of_other_threads_is_bounded() {
    let chat = Chat::default();
    let made = chat.clone();
    let lines = Lines::per_client(move |_| made.clone()).push_limit(100_000);
    let server = serve(lines, |server| server.write_timeout(Duration::from_secs(60)));
    let mut deaf = server.client();
    deaf.expect("welcome\nfirst\n");
    let sender = chat.0.lock().unwrap()[0].clone();
    let line = "x".repeat(10_000) + "\n";
    let (mut sent, mut error) = (0, None);
    while error.is_none() {
        assert!(sent < 10_000, "100 MB were sent to a client that reads nothing");
        match sender.send(&line) {
            Ok(()) => sent += 1,
            Err(full) => error = Some(full.kind()),
        }
    }
    assert_eq!(error, Some(ErrorKind::WouldBlock));
    deaf.expect(line.repeat(sent));
    eventually("there is room again", || sender.send("end\n").is_ok());
    deaf.expect("end\n");
}

/// A handler can clear its own reply, but no reply to another line.
#[test]
fn each_line_has_a_reply_of_its_own() {
    struct Clears;
    impl LineHandler for Clears {
        fn greeting(&mut self, reply: &mut Vec<u8>) -> Flow {
            reply.extend_from_slice(b"hello\n");
            Flow::Continue
        }

        fn line(&mut self, line: &str, reply: &mut Vec<u8>) -> Flow {
            assert!(reply.is_empty(), "{line} gets another reply");
            reply.extend_from_slice(format!("{line}\n").as_bytes());
            if line == "clear" {
                reply.clear();
                reply.extend_from_slice(b"cleared\n");
            }
            Flow::Continue
        }

        fn refuse(&mut self, _: Refusal, reply: &mut Vec<u8>) {
            reply.clear();
            reply.extend_from_slice(b"too long\n");
        }
    }
    let server = serve(Lines::per_client(|_: &Peer| Clears).line_limit(10), |server| server);
    let long = "x".repeat(11);
    server.client().send(format!("a\nb\nclear\nc\n{long}\n")).expect("hello\na\nb\ncleared\nc\ntoo long\n");
}
