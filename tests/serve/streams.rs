//! Connections that leave the engine: blocking streams in their own threads.

use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use modest::raw::{Action, Conversation, Event, Protocol, Raw, Stream, StreamHandler, Turn, streams};
use modest::{Client as Peer, ProxyProtocol};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::server::{Client, Gate, PATIENCE, alone, is_plain, serve, shows_resets};
use crate::system::used_sockets_are_reset;

/// An echo of lines, like Python's echo server.
fn echo(stream: &mut Stream) -> io::Result<()> {
    let mut line = String::new();
    while stream.read_line(&mut line)? > 0 {
        stream.write_all(line.as_bytes())?;
        line.clear();
    }
    Ok(())
}

#[test]
fn lines_are_echoed_including_those_already_received() {
    let server = serve(streams(echo), |server| server);
    let mut clients: Vec<Client> = (0..20).map(|_| server.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("first {number}\nsecond"));
    }
    for (number, client) in clients.iter_mut().enumerate() {
        client.expect(format!("first {number}\n")).send(" half\n").expect("second half\n");
    }
    server.wait_for("each has a thread", |stats| stats.streams == 20 && stats.connections == 20);
    clients.iter_mut().for_each(|client| client.half_close().expect_end());
    server.wait_for("all are gone", |stats| stats.streams == 0 && stats.connections == 0);
}

/// The end of a stream needs no other descriptor. Its client gets everything that was written, even if it sends bytes
/// that no handler reads.
#[test]
fn a_stream_ends_without_a_free_descriptor() {
    const LENGTH: usize = 100_000;
    alone("streams::a_stream_ends_without_a_free_descriptor", || {
        let gate = Gate::default();
        let at_gate = gate.clone();
        let before = getrlimit(Resource::Nofile);
        let handler = move |stream: &mut Stream| {
            stream.read_line(&mut String::new())?;
            socket2::SockRef::from(&*stream).set_send_buffer_size(2 * LENGTH)?;
            stream.write_all(&[b'x'; LENGTH])?;
            at_gate.pass();
            setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: before.maximum })?;
            Ok(())
        };
        let server = serve(streams(handler), |server| server);
        let mut client = server.client();
        socket2::SockRef::from(&client.stream).set_recv_buffer_size(5000).unwrap();
        client.send("a line\n");
        gate.wait_for_arrivals(1);
        client.send("unread");
        gate.open();
        server.wait_for("the handler has returned", |stats| stats.streams == 0);
        let (received, end) = client.read_to_any_end();
        setrlimit(Resource::Nofile, before).unwrap();
        assert_eq!((received.len(), end), (LENGTH, None));
    });
}

/// A raw conversation that reads one line and then takes the socket.
struct Sniffs(Gate);

impl Protocol for Sniffs {
    fn meet(&self, _: &Peer) -> Option<Box<dyn Conversation>> {
        Some(Box::new(Sniffs(self.0.clone())))
    }
}

impl Conversation for Sniffs {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        let Some(end) = turn.input.bytes().iter().position(|byte| *byte == b'\n') else {
            return if turn.input.ended() { Action::Close } else { Action::Idle { within: None } };
        };
        turn.input.consume(end + 1);
        turn.output.bytes().extend_from_slice(b"taken\n");
        Action::Take
    }

    fn event(&mut self, what: Event, turn: &mut Turn<'_>) -> Action {
        turn.output.bytes().extend_from_slice(format!("{what:?}\n").as_bytes());
        Action::Close
    }

    fn take(self: Box<Self>, mut stream: Stream) {
        let mut rest = [0; 4];
        stream.read_exact(&mut rest).expect("four bytes");
        if &rest == b"wait" {
            self.0.pass();
        }
        assert_ne!(&rest, b"boom", "this handler panics on purpose");
        stream.write_all(&rest).expect("bytes sent to the client");
    }
}

#[test]
fn unused_input_is_read_first_and_a_panic_is_a_reset() {
    let server = serve(Raw(Sniffs(Gate::default())), |server| server);
    server.client().send("a line\nrest").expect("taken\nrest").expect_end();
    let mut late = server.client();
    late.send("a line\nre").expect("taken\n").send("st").expect("rest").expect_end();
    let mut broken = server.client();
    broken.send("a line\nboom").expect("taken\n").expect_reset();
    server.wait_for("all are gone", |stats| (stats.streams, stats.connections, stats.permits) == (0, 0, 0));
}

/// When the client closes its sending side, a read returns the end of the stream, even after this side has ended its
/// direction.
#[test]
fn each_order_of_ends_is_read_as_an_end() {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let handler = move |stream: &mut Stream| {
        let mut order = [0; 2];
        stream.read_exact(&mut order)?;
        stream.write_all(b"hello")?;
        if &order == b"we" {
            stream.shutdown_write()?;
        }
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest).map_err(|error| error.kind());
        tell.lock().unwrap().send((end, rest)).unwrap();
        Ok(())
    };
    let server = serve(streams(handler), |server| server);
    for order in ["we", "it"] {
        for length in [0, 5, 100_000] {
            let mut client = server.client();
            client.send(order).expect("hello");
            if order == "we" {
                client.expect_end();
            }
            client.send(vec![b'x'; length]).half_close();
            let (end, rest) = told.recv_timeout(PATIENCE).unwrap();
            assert_eq!((end, rest.len()), (Ok(length), length), "{order} {length}");
        }
    }
}

/// A client that closes its sending side and then closes with unread bytes causes a reset, but has sent everything. One
/// that closes without having closed its sending side may have more to send, even if a write has received the error of
/// the reset.
#[test]
fn a_reset_is_an_end_only_after_an_end() {
    if !is_plain() {
        return; // other transports end in other ways
    }
    let (gate, (tell, told)) = (Gate::default(), std::sync::mpsc::channel());
    let (at_gate, tell) = (gate.clone(), std::sync::Mutex::new(tell));
    let handler = move |stream: &mut Stream| {
        let mut word = [0; 4];
        stream.read_exact(&mut word)?;
        let mut writer = stream.writer();
        writer.write_all(b"unread")?;
        let writes =
            (&word == b"both").then(|| thread::spawn(move || while writer.write_all(&[b'x'; 60_000]).is_ok() {}));
        if writes.is_none() {
            at_gate.pass();
        }
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest).map_err(|error| error.kind());
        writes.into_iter().for_each(|thread| thread.join().unwrap());
        tell.lock().unwrap().send((end, rest.len())).unwrap();
        Ok(())
    };
    let server = serve(streams(handler), |server| server);
    let _opened = gate.opened_at_end();
    let mut client = server.client();
    client.send("wait").send([b'x'; 5000]).half_close();
    gate.wait_for_arrivals(1);
    drop(client);
    gate.open();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), (Ok(5000), 5000));
    for _ in 0..20 {
        let mut client = server.client();
        client.send("both").send([b'x'; 5000]);
        client.stream.peek(&mut [0]).unwrap(); // the handler writes
        drop(client);
        let (end, _) = told.recv_timeout(PATIENCE).unwrap();
        assert_eq!(end, Err(io::ErrorKind::ConnectionReset));
    }
}

#[test]
fn a_stream_without_a_thread_waits_until_the_queue_timeout() {
    let gate = Gate::default();
    let settings =
        |server: modest::TcpServer| server.max_streams(1).queue_limit(1).queue_timeout(Duration::from_millis(300));
    let server = serve(Raw(Sniffs(gate.clone())), settings);
    let _end = gate.opened_at_end();
    let (mut first, mut second, mut third) = (server.client(), server.client(), server.client());
    first.send("a line\nwait").expect("taken\n");
    gate.wait_for_arrivals(1);
    second.send("a line\nrest").expect("taken\n");
    third.send("a line\nrest").expect("taken\n");
    third.expect("NoThread\n").expect_end(); // one waits already
    second.expect("NoThread\n").expect_end(); // it has waited for too long
    let mut fourth = server.client();
    fourth.send("a line\nrest").expect("taken\n");
    gate.open();
    first.expect("wait").expect_end();
    fourth.expect("rest").expect_end();
}

/// An end that the shutdown has caused is an error. So half a message does not look complete.
#[test]
fn a_shutdown_ends_reading_but_still_allows_writing() {
    let gate = Gate::default();
    let before_reading = gate.clone();
    let goodbye = move |stream: &mut Stream| {
        before_reading.pass();
        let mut all = String::new();
        let ended = stream.read_to_string(&mut all).map_err(|error| error.kind());
        assert!(stream.is_shutting_down());
        let expected = if all == "whole" { Ok(5) } else { Err(ErrorKind::ConnectionAborted) };
        assert_eq!(ended, expected, "{all}");
        assert_eq!(stream.read(&mut [0]).map_err(|error| error.kind()), expected.map(|_| 0), "{all}");
        writeln!(stream, "goodbye after {all}")
    };
    let mut server = serve(streams(goodbye), |server| server.shutdown_timeout(PATIENCE));
    // Other systems report no end behind unread bytes.
    let count = if cfg!(all(target_os = "linux", not(modest_portable))) { 3 } else { 2 };
    let sent = || ["", "half", "whole"].into_iter().take(count);
    let mut clients: Vec<Client> = sent().map(|_| server.client()).collect();
    for (client, sent) in clients.iter_mut().zip(sent()) {
        client.send(sent);
        if sent == "whole" {
            client.half_close();
        }
    }
    gate.wait_for_arrivals(count);
    server.handle.shutdown();
    gate.open();
    clients.iter_mut().zip(sent()).for_each(|(client, sent)| {
        client.expect(format!("goodbye after {sent}\n")).expect_end();
    });
    drop(clients);
    assert!(server.wait_for_end() < PATIENCE / 2, "the shutdown waited for a stream that had ended");
}

/// A read that waits when the server exits fails like one during the shutdown.
#[test]
fn an_end_without_waiting_cuts_reading() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let handler = move |stream: &mut Stream| {
        stream.write_all(b"begun\n")?;
        let ends = [stream.read_to_end(&mut Vec::new()), stream.read(&mut [0])];
        tell.lock().unwrap().send(ends.map(|end| end.map_err(|error| error.kind()))).unwrap();
        Ok(())
    };
    let mut server = serve(streams(handler), |server| server);
    let mut clients: Vec<Client> = ["", "half"].iter().map(|_| server.client()).collect();
    for (client, sent) in clients.iter_mut().zip(["", "half"]) {
        client.send(sent).expect("begun\n");
    }
    server.handle.shutdown_now();
    for _ in &clients {
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), [Err(ErrorKind::ConnectionAborted); 2]);
    }
    server.wait_for_end();
}

/// Output that a timeout has cut does not look complete, whether the handler writes through a buffer or not.
#[test]
fn output_cut_by_a_timeout_ends_in_a_reset() {
    type Writes = fn(&mut Stream) -> std::io::Result<()>;
    let plainly: Writes = |stream| (0..1000).try_for_each(|_| stream.write_all(&[b'x'; 65_536]));
    let formatted: Writes = |stream| (0..1000).try_for_each(|_| write!(stream, "{:60000}", 1));
    let buffered: Writes = |stream| {
        let mut writer = std::io::BufWriter::with_capacity(1 << 20, stream.writer());
        (0..1000).try_for_each(|_| writer.write_all(&[b'x'; 65_536]))
    };
    for writes in [plainly, formatted, buffered] {
        for is_ignored in [false, true] {
            let handler = move |stream: &mut Stream| {
                stream.set_timeout(Duration::from_millis(100))?;
                let written = writes(stream);
                assert!(written.is_err());
                if is_ignored { Ok(()) } else { written }
            };
            if is_ignored && std::ptr::fn_addr_eq(writes, buffered) {
                continue; // only the handler knows what is missing
            }
            let server = serve(streams(handler), |server| server);
            let mut client = server.client();
            server.wait_for("its thread has ended", |stats| stats.accepted == 1 && stats.streams == 0);
            let end = std::io::copy(&mut client.stream, &mut std::io::sink());
            assert!(end.is_err(), "the output looks complete: {end:?}");
        }
    }
}

#[test]
fn a_shutdown_does_not_wait_for_stuck_streams() {
    let gate = Gate::default();
    let stuck = gate.clone();
    let blocks = move |_: &mut Stream| {
        stuck.pass();
        Ok(())
    };
    let mut server = serve(streams(blocks), |server| server.shutdown_timeout(Duration::from_millis(200)));
    let _end = gate.opened_at_end();
    let mut client = server.client();
    gate.wait_for_arrivals(1);
    server.handle.shutdown();
    assert!(server.wait_for_end() < PATIENCE / 2, "the shutdown waited for a stream that is stuck");
    if used_sockets_are_reset() {
        client.expect_reset(); // its output so far is incomplete
    }
}

#[test]
fn writing_after_the_shutdown_timeout_is_an_error_and_a_reset() {
    let (told, failed) = std::sync::mpsc::channel();
    let floods = move |stream: &mut Stream| {
        let error = std::iter::repeat_with(|| stream.write_all(&[b'x'; 65_536])).find_map(Result::err);
        let _ = told.send(error.map(|error| error.kind()));
        Ok(())
    };
    let mut server = serve(streams(floods), |server| server.shutdown_timeout(Duration::from_millis(200)));
    let mut client = server.client();
    server.wait_for("it writes", |stats| stats.streams == 1);
    server.handle.shutdown();
    assert!(server.wait_for_end() < PATIENCE / 2, "the shutdown waited for a stream whose client does not read");
    assert!(failed.recv_timeout(PATIENCE).is_ok(), "the thread of the stream must end");
    client.expect_reset();
}

#[test]
fn a_stream_has_a_timeout_and_can_be_shared_by_two_threads() {
    let both = |stream: &mut Stream| {
        let mut writer = stream.writer();
        let writing = thread::spawn(move || (0..1000).try_for_each(|number| writeln!(writer, "{number}")));
        let none = stream.set_timeout(Duration::ZERO).map_err(|err| err.kind());
        assert_eq!(none, Err(io::ErrorKind::InvalidInput));
        stream.set_timeout(Duration::from_nanos(1))?;
        assert!(stream.read(&mut [0; 8]).is_err(), "a timeout under a microsecond must not mean none");
        stream.set_timeout(Duration::from_millis(100))?;
        let start = Instant::now();
        let late = stream.read(&mut [0; 8]).expect_err("nobody writes");
        assert!(matches!(late.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{late}");
        assert!(start.elapsed() >= Duration::from_millis(90));
        writing.join().expect("no panic")?;
        stream.write_all(b"late\n")
    };
    let server = serve(streams(both), |server| server);
    let all = server.client().read_to_end();
    let lines: Vec<String> = (0..1000).map(|number| number.to_string()).chain(["late".to_owned()]).collect();
    assert_eq!(String::from_utf8(all).unwrap(), lines.join("\n") + "\n");
}

#[test]
fn a_stream_behind_a_proxy_has_the_proxied_client() {
    let who = |stream: &mut Stream| {
        let client = stream.client().to_string();
        writeln!(stream, "{client}")
    };
    let behind = ProxyProtocol::new(streams(who)).trust("127.0.0.0/8".parse().unwrap());
    let server = serve(behind, |server| server);
    server.client().send("PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n").expect("192.0.2.7:4711\n").expect_end();
}

/// One `write!` is one write, so a client that reads once gets the whole reply, as from Python's server.
#[test]
fn a_formatted_reply_arrives_in_one_piece() {
    let replies = |stream: &mut Stream| {
        let mut line = String::new();
        while stream.read_line(&mut line)? > 0 {
            writeln!(stream, "{}: {} of {} bytes, {:?}", 1, line.trim_end(), line.len(), Some(2.5))?;
            line.clear();
        }
        Ok(())
    };
    let server = serve(streams(replies), |server| server);
    let mut client = server.client();
    for number in 0..200 {
        client.send("hello\n");
        let mut came = [0; 1000];
        let count = client.stream.read(&mut came).unwrap();
        assert_eq!(came[..count].escape_ascii().to_string(), "1: hello of 6 bytes, Some(2.5)\\n", "reply {number}");
    }
}

#[test]
fn lines_of_two_writers_do_not_mix() {
    const LENGTH: usize = 300_000;
    let talk = |stream: &mut Stream| {
        let mut writer = stream.writer();
        thread::scope(|threads| {
            threads.spawn(move || (0..10).for_each(|_| writeln!(writer, "{}", "b".repeat(LENGTH)).unwrap()));
            (0..10).for_each(|_| writeln!(stream, "{}", "a".repeat(LENGTH)).unwrap());
        });
        Ok(())
    };
    let server = serve(streams(talk), |server| server);
    let mut client = server.client();
    let all = client.read_to_end();
    let lines: Vec<&[u8]> = all.split_inclusive(|byte| *byte == b'\n').collect();
    let whole = |line: &&[u8]| line.len() == LENGTH + 1 && line[..LENGTH].iter().all(|byte| *byte == line[0]);
    assert_eq!((lines.len(), lines.iter().filter(|line| whole(line)).count()), (20, 20));
}

/// A client can determine neither how long a thread waits for it nor how much memory its line needs.
#[test]
fn streams_have_limits_by_default() {
    struct Impatient;
    impl modest::raw::StreamHandler for Impatient {
        fn handle(&self, stream: &mut Stream) -> io::Result<()> {
            let mut line = String::new();
            let result = stream.read_line(&mut line);
            let kind = result.map_err(|err| err.kind());
            writeln!(stream, "{kind:?}, {line:?}")
        }
        fn timeout(&self) -> Option<Duration> {
            Some(Duration::from_millis(50))
        }
    }
    let server = serve(streams(Impatient), |server| server);
    server.client().send("half").expect("Err(WouldBlock), \"half\"\n");

    let reads = |stream: &mut Stream| {
        let mut line = Vec::new();
        let result = stream.read_until(b'\n', &mut line).map_err(|err| err.kind());
        writeln!(stream, "{result:?}, {}", line.len() <= 1024 * 1024)?;
        stream.set_line_limit(3);
        let result = Read::by_ref(stream).lines().next().map(|line| line.map_err(|err| err.kind()));
        writeln!(stream, "{result:?}")
    };
    let server = serve(streams(reads), |server| server);
    let mut client = server.client();
    let most = "x".repeat(1024 * 1024 - 1) + "\n";
    client.send(most).expect("Ok(1048576), true\n").send("ab\n").expect("Some(Ok(\"ab\"))\n").expect_end();
    let mut client = server.client();
    let mut sending = client.stream.try_clone().unwrap();
    let sender = thread::spawn(move || while sending.write_all(&[b'x'; 100_000]).is_ok() {});
    client.expect("Err(FileTooLarge), true\n");
    drop((client, server));
    sender.join().unwrap();
}

#[test]
fn a_client_can_be_rejected_without_a_thread() {
    struct Nobody;
    impl StreamHandler for Nobody {
        fn verify_client(&self, _: &Peer) -> bool {
            false
        }

        fn handle(&self, _: &mut Stream) -> io::Result<()> {
            panic!("nobody is let in")
        }
    }
    let server = serve(streams(Nobody), |server| server);
    server.client().send("hello\n").expect_end();
}

/// Each thread has a number, as in Python, and each stream has its server and its socket.
#[test]
fn a_stream_has_its_server_its_socket_and_a_numbered_thread() {
    let tells = |stream: &mut Stream| {
        let no_delay = rustix::net::sockopt::tcp_nodelay(&*stream).is_ok();
        let name = thread::current().name().unwrap_or_default().to_owned();
        writeln!(stream, "{name} {no_delay} {}", stream.server().stats().streams)?;
        stream.server().shutdown();
        Ok(())
    };
    let mut server = serve(streams(tells), |server| server);
    let is_tcp = crate::server::has_addresses();
    server.client().expect(format!("modest-stream-1 {is_tcp} 1\n"));
    server.wait_for_end();
}

/// A client whose system has vanished is found in each state of its connection: the kernel has a keepalive timer for
/// it.
#[cfg(target_os = "linux")]
#[test]
fn silent_connections_have_a_keepalive_timer() {
    if !crate::server::has_addresses() {
        return; // a Unix socket
    }
    let server = serve(modest::handler_fn(|_| Ok(modest::Response::text(""))), |server| server);
    let client = server.client();
    server.wait_for("it is connected", |stats| stats.connections == 1);
    let port = |address: std::net::SocketAddr| format!(":{:04X} ", address.port());
    let (own, other) = (port(client.stream.peer_addr().unwrap()), port(client.stream.local_addr().unwrap()));
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    // proc_pid_net_tcp: sl, local_address, rem_address, st, tx_queue:rx_queue, tr:when
    let row = table.lines().find(|row| row.find(&own).zip(row.find(&other)).is_some_and(|(own, other)| own < other));
    let timer = row.and_then(|row| row.split_whitespace().nth(5)).unwrap_or_else(|| panic!("{own}{other}: {table}"));
    let (kind, ticks) = timer.split_once(':').unwrap();
    assert!(kind == "02" && u64::from_str_radix(ticks, 16).unwrap() <= 6000, "keepalive, within 60 s: {timer}");
}

#[test]
fn a_stream_can_be_reset() {
    let cut = |stream: &mut Stream| {
        stream.write_all(b"incomplete")?;
        stream.reset();
        Ok(())
    };
    let server = serve(streams(cut), |server| server);
    let mut client = server.client();
    client.expect("incomplete");
    client.expect_reset();
}

/// A writer in another thread keeps no stream open, however it ends.
#[test]
fn a_writer_does_not_outlive_its_stream() {
    for (end, writes) in [("panic", true), ("reset", true), ("return", true), ("return", false)] {
        let (sender, writers) = mpsc::channel();
        let sender = Mutex::new(sender);
        let server = serve(
            streams(move |stream: &mut Stream| {
                sender.lock().unwrap().send(stream.writer()).unwrap();
                stream.read_exact(&mut [0])?;
                assert_ne!(end, "panic", "this handler panics on purpose");
                if end == "reset" {
                    stream.reset();
                }
                Ok(())
            }),
            |server| server,
        );
        let mut client = server.client();
        let mut writer = writers.recv_timeout(PATIENCE).expect("a writer");
        // A client that does not read, and a thread that waits for it.
        let writing = writes.then(|| thread::spawn(move || writer.write_all(&vec![b'x'; 64 << 20])));
        if writes {
            client.expect("x"); // it has begun
        }
        client.send("x");
        match writing {
            Some(writing) => {
                server.wait_for("the stream has ended", |stats| stats.streams == 0);
                let (_, error) = client.read_to_any_end();
                assert!(error.is_some() || !shows_resets() || !used_sockets_are_reset(), "{end}: no reset");
                assert!(writing.join().unwrap().is_err(), "{end}: all was written");
            }
            None => {
                client.expect_end();
                // After the linger, the system resets a client that continues to send.
                let begun = Instant::now();
                while client.stream.write_all(&[0; 100_000]).is_ok() {
                    assert!(begun.elapsed() < PATIENCE, "it can still send");
                }
            }
        }
        server.wait_for("all are gone", |stats| (stats.streams, stats.connections) == (0, 0));
    }
}
