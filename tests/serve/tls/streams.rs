//! Blocking streams inside TLS: reads and writes of a handler that has taken its connection.

use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use modest::raw::{Stream, streams};
use modest::{IntoProtocol, ProxyProtocol, Response, Tls, handler_fn};

use super::{Authority, Inside, Site, config};
use crate::server::{Gate, PATIENCE, serve};

/// An echo of lines, like Python's echo server.
fn echo(stream: &mut Stream) -> io::Result<()> {
    let mut line = String::new();
    while stream.read_line(&mut line)? > 0 {
        stream.write_all(line.as_bytes())?;
        line.clear();
    }
    Ok(())
}

/// A channel for the results of handlers, in order.
fn told<T: Send + 'static>() -> (impl Fn(T) + Send + Sync + 'static, Receiver<T>) {
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    (move |value| drop(sender.lock().unwrap().send(value)), receiver)
}

fn end(client: &mut Inside) {
    client.0.conn.send_close_notify();
    client.0.conn.complete_io(&mut client.0.sock).unwrap();
}

/// Sends these bytes one by one.
fn drip(client: &mut Inside, bytes: &[u8]) {
    for byte in bytes {
        client.0.sock.write_all(&[*byte]).unwrap();
    }
}

/// These bytes in a record, which is not sent.
fn sealed(client: &mut Inside, bytes: &[u8]) -> Vec<u8> {
    client.0.conn.writer().write_all(bytes).unwrap();
    let mut record = Vec::new();
    while client.0.conn.wants_write() {
        client.0.conn.write_tls(&mut record).unwrap();
    }
    record
}

#[test]
fn lines_are_echoed_by_both_tls_versions() {
    let site = Site::new(streams(echo));
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let mut clients: Vec<Inside> =
            (0..10).map(|_| site.client_with(Arc::new(config(&site.authority, &[version])))).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(format!("first {number}\nsecond"));
        }
        for (number, client) in clients.iter_mut().enumerate() {
            client.expect(format!("first {number}\n")).send(" half\n").expect("second half\n");
        }
        site.server.wait_for("each has a thread", |stats| stats.streams == 10);
        for client in &mut clients {
            end(client);
            assert_eq!(client.read_to_end().expect("a goodbye"), b"");
        }
        site.server.wait_for("all are gone", |stats| stats.streams == 0 && stats.connections == 0);
    }
}

#[test]
fn bytes_can_arrive_one_at_a_time() {
    let site = Site::new(streams(echo));
    let mut client = site.client();
    client.shake_hands().unwrap();
    let record = sealed(&mut client, b"a line\n");
    drip(&mut client, &record);
    client.expect("a line\n");
}

/// The upgrade and all bytes after it are encrypted.
#[test]
fn http_is_upgraded_to_a_stream() {
    let app = handler_fn(|_| {
        Ok(Response::upgrade("shout", |mut stream| {
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|count| count > 0) {
                let secured = stream.client().tls().is_some();
                stream.write_all(format!("{secured} {}", line.to_uppercase()).as_bytes()).unwrap();
                line.clear();
            }
        }))
    });
    let site = Site::new(app);
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\nat once\n");
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let mut byte = [0];
        client.0.read_exact(&mut byte).unwrap();
        head.push(char::from(byte[0]));
    }
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n") && head.contains("shout"), "{head}");
    client.expect("true AT ONCE\n").send("again\n").expect("true AGAIN\n");
    end(&mut client);
    assert_eq!(client.read_to_end().expect("a goodbye"), b"");
}

#[test]
fn a_tls_stream_behind_a_proxy_has_client_and_server_name() {
    let who = |stream: &mut Stream| {
        let client = stream.client().clone();
        writeln!(stream, "{client} {}", client.tls().and_then(|tls| tls.server_name()).unwrap_or("nobody"))
    };
    let authority = Authority::new();
    let tls = Tls::new(authority.identity(&["a.example"])).unwrap().protect(streams(who));
    let server = serve(ProxyProtocol::new(tls).trust("127.0.0.0/8".parse().unwrap()), |server| server);
    let mut stream = server.client();
    stream.send("PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n");
    let config = Arc::new(config(&authority, &[&rustls::version::TLS13]));
    let mut client = Inside::over(stream.stream.try_clone().unwrap(), config, "a.example");
    assert_eq!(client.read_to_end().expect("a goodbye"), b"192.0.2.7:4711 a.example\n");
}

/// The bytes that a handler reads, and their end.
fn reads(tell: impl Fn((Vec<u8>, Option<ErrorKind>, bool)) + Send + Sync + 'static) -> impl IntoProtocol {
    streams(move |stream: &mut Stream| {
        let mut all = Vec::new();
        let result = stream.read_to_end(&mut all);
        assert_eq!(stream.read(&mut [0]).map_err(|err| err.kind()).err(), result.as_ref().err().map(|err| err.kind()));
        tell((all, result.err().map(|err| err.kind()), stream.was_cut()));
        stream.write_all(b"heard")
    })
}

#[test]
fn a_goodbye_is_an_end_and_a_cut_an_error() {
    let (tell, found) = told();
    let site = Site::new(reads(tell));
    for says_goodbye in [true, false, true] {
        let mut client = site.client();
        client.send("something");
        if says_goodbye {
            end(&mut client);
        }
        client.0.sock.shutdown(Shutdown::Write).unwrap();
        let error = (!says_goodbye).then_some(ErrorKind::UnexpectedEof);
        assert_eq!(found.recv_timeout(PATIENCE).unwrap(), (b"something".to_vec(), error, !says_goodbye));
        assert_eq!(client.read_to_end().expect("a goodbye"), b"heard");
    }
}

#[test]
fn a_protocol_violation_is_an_error_and_gets_an_alert() {
    let (tell, found) = told();
    let site = Site::new(streams(move |stream: &mut Stream| {
        let mut all = Vec::new();
        let read = stream.read_to_end(&mut all).map_err(|err| err.kind());
        let wrote = stream.write(b"x").map_err(|err| err.kind());
        tell((all, read, wrote, stream.was_cut()));
        Ok(())
    }));
    let mut client = site.client();
    client.send("something").shake_hands().unwrap();
    client.0.sock.write_all(&[23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]).unwrap();
    let err = client.read_to_end().expect_err("an alert").to_string();
    assert!(err.contains("BadRecordMac") || err.contains("DecryptError"), "{err}");
    let wanted = (b"something".to_vec(), Err(ErrorKind::InvalidData), Err(ErrorKind::BrokenPipe), true);
    assert_eq!(found.recv_timeout(PATIENCE).unwrap(), wanted);
}

/// An incomplete record gives no bytes, so the timeout of a read applies, however slowly the record arrives.
#[test]
fn silent_and_dripping_clients_time_out() {
    let (tell, found) = told();
    let site = Site::new(streams(move |stream: &mut Stream| {
        stream.set_timeout(Duration::from_millis(300))?;
        let start = Instant::now();
        let mut byte = [0];
        let late = stream.read(&mut byte).map_err(|err| err.kind());
        tell((late, start.elapsed()));
        stream.write_all(b"late\n")?;
        stream.set_timeout(None)?;
        stream.read_exact(&mut byte)?;
        stream.write_all(&byte)
    }));
    for drips in [false, true] {
        let mut client = site.client();
        client.shake_hands().unwrap();
        let record = sealed(&mut client, b"x");
        let mut sent = 0;
        let (late, took) = loop {
            if let Ok(found) = found.recv_timeout(Duration::from_millis(50)) {
                break found;
            }
            if drips && sent < record.len() - 1 {
                client.0.sock.write_all(&record[sent..=sent]).unwrap();
                sent += 1;
            }
        };
        assert!(matches!(late, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)), "{late:?}");
        // If each byte extended the time, the timeout would come only after the last one.
        let is_first = took >= Duration::from_millis(290) && sent < record.len() - 1;
        assert!(is_first, "{took:?}, drips: {drips}, {sent} of {} bytes", record.len());
        client.0.sock.write_all(&record[sent..]).unwrap();
        assert_eq!(client.read_to_end().expect("a goodbye"), b"late\nx");
    }
}

const MUCH: usize = 8 << 20;

fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Two threads on each side: neither waits for the other.
#[test]
fn large_data_flows_both_ways_at_once() {
    let (tell, found) = told();
    let site = Site::new(streams(move |stream: &mut Stream| {
        let mut writer = stream.writer();
        let writing =
            thread::spawn(move || writer.write_all(&noise(MUCH)).and_then(|()| writer.shutdown(Shutdown::Write)));
        let mut all = Vec::new();
        stream.read_to_end(&mut all)?;
        tell(all == noise(MUCH));
        writing.join().expect("no panic")
    }));
    // The client reads nothing before it has sent everything.
    let mut client = site.client();
    client.shake_hands().unwrap();
    for part in noise(MUCH).chunks(16_000) {
        let record = sealed(&mut client, part);
        client.0.sock.write_all(&record).expect("bytes sent to a server whose output is not read");
    }
    end(&mut client);
    assert!(found.recv_timeout(PATIENCE).expect("a report that everything has arrived"), "other bytes");
    assert!(client.read_to_end().expect("a goodbye") == noise(MUCH));
}

/// Writes until the client accepts no more, and ends. Reports how much it has written.
fn floods(tell: impl Fn(usize) + Send + Sync + 'static) -> impl IntoProtocol {
    streams(move |stream: &mut Stream| {
        stream.set_timeout(Duration::from_millis(100))?;
        let mut count = 0_usize;
        let late = loop {
            match stream.write(&noise(1 << 20)[count % (1 << 20)..]) {
                Ok(more) => count += more,
                Err(err) => break err.kind(),
            }
        };
        assert!(matches!(late, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{late:?}");
        assert!(stream.flush().is_err(), "flushing must fail while bytes are left");
        tell(count);
        Ok(())
    })
}

fn read_flood(client: &mut Inside, count: usize) {
    let all = client.read_to_end().expect("a goodbye");
    assert_eq!(all.len(), count);
    let unit = noise(1 << 20);
    assert!(all.chunks(1 << 20).all(|part| *part == unit[..part.len()]), "other bytes");
}

/// The client gets all written bytes and the goodbye, although the writing thread has ended long before. This also
/// holds during a shutdown.
#[test]
fn a_slow_reader_gets_the_rest_from_the_engine() {
    for shuts_down in [false, true] {
        let (tell, found) = told();
        let mut site = Site::new(floods(tell));
        let mut client = site.client();
        client.shake_hands().unwrap();
        let count = found.recv_timeout(PATIENCE).expect("a report after the timeout");
        site.server.wait_for("the thread is gone", |stats| stats.streams == 0 && stats.connections == 1);
        if shuts_down {
            site.server.handle.shutdown();
        }
        read_flood(&mut client, count);
        drop(client);
        if shuts_down {
            assert!(site.server.wait_for_end() < PATIENCE / 2, "the shutdown waited for a stream that had ended");
        } else {
            site.server.wait_for("it is gone", |stats| stats.connections == 0);
        }
    }
}

#[test]
fn unsent_engine_output_ends_in_a_reset_without_a_goodbye() {
    let (tell, found) = told();
    let authority = Authority::new();
    let tls = Tls::new(authority.identity(&["a.example"])).unwrap().protect(floods(tell));
    let mut server = serve(tls, |server| server.shutdown_timeout(Duration::from_millis(200)));
    let config = Arc::new(config(&authority, &[&rustls::version::TLS13]));
    let mut client = Inside::new(server.address, config, "a.example");
    client.shake_hands().unwrap();
    found.recv_timeout(PATIENCE).expect("a report after the timeout");
    server.wait_for("the thread is gone", |stats| stats.streams == 0 && stats.connections == 1);
    server.handle.shutdown();
    assert!(server.wait_for_end() < PATIENCE / 2, "the shutdown waited for a client that does not read");
    let err = client.read_to_end().expect_err("no goodbye");
    assert!(matches!(err.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{err}");
}

#[test]
fn closing_the_write_side_keeps_reading_open() {
    let site = Site::new(streams(|stream: &mut Stream| {
        stream.write_all(b"all of it")?;
        stream.shutdown_write()?;
        assert_eq!(stream.write(b"more").map_err(|err| err.kind()), Err(ErrorKind::BrokenPipe));
        let mut all = String::new();
        stream.read_to_string(&mut all)?;
        assert_eq!(all, "heard");
        Ok(())
    }));
    let mut client = site.client();
    assert_eq!(client.read_to_end().expect("a goodbye"), b"all of it");
    client.send("heard");
    end(&mut client);
    client.0.sock.shutdown(Shutdown::Write).unwrap();
    site.server.wait_for("no panic, and no wait", |stats| stats.streams == 0 && stats.connections == 0);
}

/// As with a plain socket, another thread can end the reading.
#[test]
fn another_thread_can_end_a_read() {
    for how in [Shutdown::Read, Shutdown::Both] {
        let (tell, found) = told();
        let site = Site::new(streams(move |stream: &mut Stream| {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            let writer = stream.writer();
            let ending = thread::spawn(move || writer.shutdown(how));
            let read = stream.read_line(&mut line).map_err(|err| err.kind());
            tell((read, stream.was_cut()));
            ending.join().expect("no panic")
        }));
        let mut client = site.client();
        client.send("begin\n");
        assert_eq!(found.recv_timeout(PATIENCE).unwrap(), (Ok(0), false), "{how:?}");
        assert_eq!(client.read_to_end().expect("a goodbye"), b"");
    }
}

#[test]
fn a_panic_is_a_reset_without_a_goodbye() {
    let site = Site::new(streams(|stream: &mut Stream| {
        stream.write_all(b"half\n")?;
        panic!("for the test");
    }));
    let mut client = site.client();
    let err = client.read_to_end().expect_err("no goodbye");
    assert!(matches!(err.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{err}");
    site.server.wait_for("all are gone", |stats| (stats.streams, stats.connections, stats.permits) == (0, 0, 0));
}

#[test]
fn a_shutdown_ends_reading_but_still_allows_writing() {
    let goodbye = |stream: &mut Stream| {
        let mut all = Vec::new();
        let ended = stream.read_to_end(&mut all).map_err(|error| error.kind());
        // `close_notify` is the end, and without it the shutdown has ended the stream.
        assert_eq!(ended, if all == b"whole" { Ok(5) } else { Err(ErrorKind::ConnectionAborted) });
        while !stream.is_shutting_down() {
            std::thread::sleep(Duration::from_micros(100));
        }
        assert!(!stream.was_cut());
        stream.write_all(b"goodbye\n")
    };
    let mut site = Site::new(streams(goodbye));
    let mut clients: Vec<Inside> = (0..3).map(|_| site.client()).collect();
    clients.iter_mut().for_each(|client| client.shake_hands().unwrap());
    clients[1].send("half");
    clients[2].send("whole");
    end(&mut clients[2]);
    site.server.wait_for("each has a thread", |stats| stats.streams == 3);
    site.server.handle.shutdown();
    clients.iter_mut().for_each(|client| assert_eq!(client.read_to_end().expect("a goodbye"), b"goodbye\n"));
    drop(clients);
    assert!(site.server.wait_for_end() < PATIENCE / 2, "the shutdown waited for a stream that had ended");
}

#[test]
fn output_cut_off_by_a_shutdown_ends_without_a_goodbye() {
    let (tell, found) = told();
    let authority = Authority::new();
    let floods = move |stream: &mut Stream| {
        let error = std::iter::repeat_with(|| stream.write_all(&[b'x'; 65_536])).find_map(Result::err);
        tell(error.map(|error| error.kind()));
        Ok(())
    };
    let tls = Tls::new(authority.identity(&["a.example"])).unwrap().protect(streams(floods));
    let mut server = serve(tls, |server| server.shutdown_timeout(Duration::from_millis(200)));
    let config = Arc::new(config(&authority, &[&rustls::version::TLS13]));
    let mut client = Inside::new(server.address, config, "a.example");
    client.0.read_exact(&mut [0]).unwrap();
    server.handle.shutdown();
    assert!(server.wait_for_end() < PATIENCE / 2, "the shutdown waited for a stream whose client does not read");
    assert!(found.recv_timeout(PATIENCE).is_ok(), "the thread of the stream must end");
    let err = client.read_to_end().expect_err("no goodbye");
    assert!(matches!(err.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{err}");
}

#[test]
fn a_missing_thread_is_reported_inside_tls() {
    let gate = Gate::default();
    let there = gate.clone();
    let authority = Authority::new();
    let app = handler_fn(move |_| {
        let there = there.clone();
        Ok(Response::upgrade("wait", move |mut stream| {
            there.pass();
            stream.write_all(b"passed").unwrap();
        }))
    });
    let tls = Tls::new(authority.identity(&["a.example"])).unwrap().protect(app);
    let server = serve(tls, |server| server.max_streams(1).queue_limit(0));
    let _opened = gate.opened_at_end();
    let config = Arc::new(config(&authority, &[&rustls::version::TLS13]));
    let ask = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: wait\r\n\r\n";
    let mut clients = [0; 2].map(|_| Inside::new(server.address, config.clone(), "a.example"));
    clients[0].send(ask);
    gate.wait_for_arrivals(1);
    clients[1].send(ask);
    let refused = clients[1].read_to_end().expect("a goodbye");
    assert!(refused.starts_with(b"HTTP/1.1 503 "), "{}", refused.escape_ascii());
    gate.open();
    let upgraded = clients[0].read_to_end().expect("a goodbye");
    assert!(upgraded.starts_with(b"HTTP/1.1 101 ") && upgraded.ends_with(b"\r\n\r\npassed"), "{upgraded:?}");
}
