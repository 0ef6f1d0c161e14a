//! Downloads in progress while all handlers block: a part of a file needs no permit for handlers, and a stream waits
//! for one.

use std::fs::File;
use std::io::{Read, Write};
use std::time::Duration;

use modest::raw::Raw;
use modest::{Request, RequestHandler, Response, Result, StaticFileHandler, TcpServer, handler_fn};

use crate::script::Script;
use crate::server::{Client, Gate, PATIENCE, get, serve};

/// More than the kernel buffers for a client that does not read yet.
const SIZE: usize = 30_000_000;

/// Two handlers at once; requests that wait for one are soon rejected.
fn two_handlers(server: TcpServer) -> TcpServer {
    server.workers(2).queue_limit(16).queue_timeout(Duration::from_secs(2)).shutdown_timeout(PATIENCE)
}

/// Checks the rest of a download with this many bytes. The head may already have been read.
#[track_caller]
fn finish(what: &str, mut client: Client, size: usize) {
    let (came, end) = client.read_to_any_end();
    assert!(
        end.is_none() && came.len() >= size,
        "{what}, while both handlers are stuck: {} bytes came of {size}, and then {end:?} (None: FIN)",
        came.len()
    );
}

#[test]
fn a_part_of_a_file_is_sent_while_all_handlers_are_stuck() {
    let script = Script::default();
    let server = serve(Raw(script.clone()), two_handlers);
    let mut begun = server.client();
    begun.ask(format!("file {SIZE} {SIZE}\nbye\n"), "head:f");
    let mut stuck = [server.client(), server.client()];
    stuck.iter_mut().for_each(|client| {
        client.send("block gate\n");
    });
    server.wait_for("both handlers are stuck", |stats| stats.running >= 2 && stats.parked >= 1);
    let mut new = server.client();
    new.ask(format!("file {SIZE} {SIZE}\nbye\n"), "head:f");
    let threads = std::thread::spawn(move || finish("begun before", begun, SIZE - 1));
    finish("begun afterwards", new, SIZE - 1);
    threads.join().expect("the thread that was started before");
    script.open("gate");
    stuck.iter_mut().for_each(|client| {
        client.expect("done\n");
    });
}

#[test]
fn a_started_download_finishes_while_all_handlers_are_stuck() {
    struct Site(StaticFileHandler, Gate);
    impl RequestHandler for Site {
        fn do_get(&self, request: &Request) -> Result<Response> {
            if request.path() == "/stuck" {
                self.1.pass();
            }
            self.0.do_get(request)
        }
    }
    let folder = tempfile::tempdir().unwrap();
    File::create(folder.path().join("large")).unwrap().write_all(&vec![b'f'; SIZE]).unwrap();
    File::create(folder.path().join("stuck")).unwrap();
    let gate = Gate::default();
    let site = Site(StaticFileHandler::new(folder.path()).unwrap(), gate.clone());
    let server = serve(site, two_handlers);
    let _end = gate.opened_at_end();
    let mut client = server.client();
    client.ask("GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\n");
    let mut stuck = [server.client(), server.client()];
    stuck.iter_mut().for_each(|client| {
        client.send(get("/stuck"));
    });
    gate.wait_for_arrivals(2);
    finish("a download", client, SIZE);
}

#[test]
fn a_started_stream_waits_for_a_handler_without_limit() {
    // More than two sockets in a row buffer, with up to 32 MiB received and 4 MiB sent each (Linux 6.18).
    const SIZE: usize = 100_000_000;
    let gate = Gate::default();
    let _end = gate.opened_at_end();
    let there = gate.clone();
    let app = handler_fn(move |request: &Request| {
        if request.path() == "/stuck" {
            there.pass();
            return Ok(Response::text("free"));
        }
        Ok(Response::stream(std::io::repeat(b's').take(SIZE as u64)))
    });
    // One request can wait, for at most 2 s.
    let server = serve(app, |server| two_handlers(server).queue_limit(1));
    let mut streams = [server.client(), server.client()];
    streams.iter_mut().for_each(|client| {
        client.ask("GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\n");
    });
    server.wait_for("both have unsent output", |stats| stats.parked == 2);
    let mut stuck = [server.client(), server.client()];
    stuck.iter_mut().for_each(|client| {
        client.send(get("/stuck"));
    });
    gate.wait_for_arrivals(2);
    let streams = streams.map(|client| std::thread::spawn(move || finish("a stream", client, SIZE)));
    server.wait_for("both wait for a handler", |stats| stats.waiting == 2);
    // A new request without any part of a response is rejected when its time has passed.
    let mut new = server.client();
    new.ask(get("/stuck"), "HTTP/1.1 503 ");
    gate.open();
    streams.into_iter().for_each(|stream| stream.join().expect("a stream"));
}

#[test]
fn a_pipelined_request_has_the_usual_queue_timeout() {
    let (first, second) = (Gate::default(), Gate::default());
    let _ends = (first.opened_at_end(), second.opened_at_end());
    let gates = (first.clone(), second.clone());
    let app = handler_fn(move |request: &Request| {
        match request.path() {
            "/first" => gates.0.pass(),
            "/second" => gates.1.pass(),
            _ => {}
        }
        Ok(Response::text("here"))
    });
    // Long enough on a busy machine for all steps before the first handler ends.
    let server = serve(app, |server| two_handlers(server).workers(1).queue_timeout(Duration::from_secs(3)));
    let mut stuck = [server.client(), server.client()];
    let mut client = server.client();
    // Clients whose handshake is not complete would wait for a handler as well.
    stuck.iter_mut().chain([&mut client]).for_each(|client| drop(client.fetch(get("/"))));
    stuck[0].send(get("/first"));
    first.wait_for_arrivals(1);
    client.send([get("/a"), get("/b")].concat());
    server.wait_for("it waits for a handler", |stats| stats.waiting == 1);
    stuck[1].send(get("/second"));
    server.wait_for("another waits behind it", |stats| stats.waiting == 2);
    first.open();
    assert!(client.answer().expect("an answer").starts_with("HTTP/1.1 200 "));
    // The first response may not have been sent completely when the second request waits for a handler. That does not
    // give the second one more time.
    assert!(client.answer().expect("another").starts_with("HTTP/1.1 503 "));
}
