//! Handlers that keep their threads: what belongs to a thread belongs to one request.

use std::cell::Cell;
use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use modest::background::{Jobs, Stop};
use modest::raw::{Stream, streams};
use modest::{
    Http, OrStatus, Request, RequestHandler, Response, Result, TcpServer, handler_fn, keep_thread, keep_thread_if,
};

use crate::matrix::Random;
use crate::server::{Client, Gate, PATIENCE, Running, alone, capture_the_log, eventually, get, serve};

thread_local! {
    /// The request that this thread belongs to.
    static OWNER: Cell<usize> = const { Cell::new(0) };
}

const PIECE: usize = 1000;

#[derive(Default)]
struct Counts {
    requests: AtomicUsize,
    /// Requests that met another request's thread.
    mixed: AtomicUsize,
    /// Functions that began and ended.
    works: (AtomicUsize, AtomicUsize),
    threads: Mutex<HashSet<ThreadId>>,
}

/// Leaves the thread as nobody's, however the function ends.
struct Owned<'a>(&'a Counts);

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        OWNER.set(0);
        self.0.works.1.fetch_add(1, Relaxed);
    }
}

impl Counts {
    /// `/plain`, `/stream/N` (pieces), `/panic` (after one piece), `/dropped` (the response is another).
    fn respond(self: &Arc<Self>, request: &Request) -> Result<Response> {
        let me = self.requests.fetch_add(1, Relaxed) + 1;
        self.threads.lock().unwrap().insert(thread::current().id());
        self.mixed.fetch_add(usize::from(OWNER.get() != 0), Relaxed);
        let path = request.path().to_owned();
        if path == "/plain" {
            return Ok(Response::text("plain"));
        }
        let pieces: usize = path.strip_prefix("/stream/").map_or(1, |number| number.parse().unwrap());
        let (sender, response) = Response::channel();
        let counts = Arc::clone(self);
        let panics = path == "/panic";
        keep_thread(move || {
            let _owned = Owned(&counts);
            for _ in 0..pieces {
                counts.mixed.fetch_add(usize::from(OWNER.get() != me), Relaxed);
                if sender.send_timeout([b'x'; PIECE], None).is_err() {
                    return;
                }
            }
            assert!(!panics, "for the test");
        })
        .or_status(503)?;
        self.works.0.fetch_add(1, Relaxed);
        OWNER.set(me);
        match path.as_str() {
            "/dropped" => Ok(Response::text("another")),
            _ => Ok(response.with_header("content-length", pieces * PIECE)),
        }
    }
}

fn app(counts: &Arc<Counts>) -> Http<impl RequestHandler> {
    let counts = Arc::clone(counts);
    Http::new(handler_fn(move |request| counts.respond(request)))
}

fn all_over(server: &Running, counts: &Counts) {
    server.wait_for("no request is handled", |stats| stats.running == 0);
    eventually("each function has run", || counts.works.0.load(Relaxed) == counts.works.1.load(Relaxed));
    assert_eq!(counts.mixed.load(Relaxed), 0, "calls on the thread of another request");
}

/// Clients of all kinds at once, chosen by a seed: those that read, that disconnect, and that read nothing for a while.
#[test]
fn no_request_meets_the_thread_of_another() {
    for (seed, workers, streams) in [(1, 1, 1), (2, 1, 3), (3, 3, 2), (4, 4, 256)] {
        let counts = Arc::new(Counts::default());
        let server = serve(app(&counts), |server| server.workers(workers).max_streams(streams));
        let ask = |number: usize| {
            let mut random = Random((seed * 100 + number) as u64);
            let mut client = server.client();
            for _ in 0..40 {
                let target = match random.below(6) {
                    0 | 1 => "/plain".to_owned(),
                    2 => "/dropped".to_owned(),
                    3 => "/panic".to_owned(),
                    _ => format!("/stream/{}", [1, 3, 10, 100][random.below(4)]),
                };
                client.send(get(&target));
                if random.below(4) == 0 {
                    let mut some = [0; 5000];
                    let _ = client.stream.read(&mut some[..random.below(5000) + 1]);
                    client = server.client(); // the other is closed with unread bytes
                    continue;
                }
                let answer = client.answer();
                let fits = match &answer {
                    Ok(answer) if answer.starts_with("HTTP/1.1 503 ") => target != "/plain",
                    Ok(answer) => answer.starts_with("HTTP/1.1 200 "),
                    Err(_) => target == "/panic",
                };
                assert!(fits, "seed {seed}, {target}: {answer:?}");
                if answer.is_ok_and(|answer| answer.to_lowercase().contains("connection: close")) || target == "/panic"
                {
                    client = server.client();
                }
            }
        };
        thread::scope(|scope| (0..8).for_each(|number| drop(scope.spawn(move || ask(number)))));
        all_over(&server, &counts);
        server.client().ask(get("/plain"), "HTTP/1.1 200 OK\r\n");
    }
}

/// With one worker, requests are handled while functions wait for their clients. The limit is that of streams, and threads
/// are used again.
#[test]
fn a_kept_thread_is_replaced() {
    let counts = Arc::new(Counts::default());
    let server = serve(app(&counts), |server| server.workers(1).max_streams(2));
    let mut readers: Vec<_> = (0..2).map(|_| server.client()).collect();
    for reader in &mut readers {
        reader.send(get("/stream/100000")).expect("HTTP/1.1 200 OK\r\n"); // 100 MB do not fit into any buffer
    }
    server.wait_for("two are kept", |stats| stats.streams == 2);
    for _ in 0..50 {
        server.client().ask(get("/plain"), "HTTP/1.1 200 OK\r\n");
    }
    let refused = server.client().fetch(get("/stream/1"));
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    drop(readers);
    server.wait_for("their clients are gone", |stats| stats.streams == 0);
    for _ in 0..100 {
        let whole = server.client().fetch(get("/stream/10"));
        assert!(whole.len() > 10 * PIECE, "{whole}");
        server.wait_for("the thread is free", |stats| stats.streams == 0);
    }
    all_over(&server, &counts);
    let threads = counts.threads.lock().unwrap().len();
    assert!(threads <= 8, "{threads} threads for two kept ones and four workers");
}

/// A shutdown waits for a function after its response has ended, as for a request: it can still add jobs.
#[test]
fn a_shutdown_waits_for_kept_threads() {
    for ending in ["keep-alive", "close"] {
        let (jobs, gate) = (Jobs::new(1), Gate::default());
        let (done, results) = mpsc::channel();
        let (queue, at_gate) = (jobs.clone(), gate.clone());
        let app = handler_fn(move |_| {
            let (jobs, gate) = (jobs.clone(), at_gate.clone());
            keep_thread(move || {
                gate.pass();
                thread::sleep(Duration::from_millis(1500)); // longer than workers have to end
                jobs.push("job").expect("the shutdown waits for this function");
            })
            .or_status(503)?;
            Ok(Response::text("ok").with_header("connection", ending))
        });
        let mut server = serve(Http::new(app), move |server| {
            let work = move |stop: &Stop| queue.for_each(stop, |job| done.send(job).unwrap());
            server.shutdown_timeout(PATIENCE).background("jobs", work)
        });
        let _opened = gate.opened_at_end();
        server.client().ask(get("/"), "HTTP/1.1 200 OK\r\n");
        gate.wait_for_arrivals(1);
        server.wait_for("only the function is left", |stats| stats.connections == 0 && stats.background == 1);
        server.handle.shutdown();
        gate.open();
        server.wait_for_end();
        assert_eq!(results.try_iter().collect::<Vec<_>>(), ["job"], "{ending}");
    }
}

/// The number of functions that outlive the server is in the log.
#[test]
fn kept_threads_that_outlive_the_server_are_logged() {
    alone("kept::kept_threads_that_outlive_the_server_are_logged", || {
        let log = capture_the_log(|record| Some(record.args().to_string()));
        log::set_max_level(log::LevelFilter::Warn);
        let gate = Gate::default();
        let at_gate = gate.clone();
        let app = handler_fn(move |_| {
            let gate = at_gate.clone();
            keep_thread(move || gate.pass()).or_status(503)?;
            Ok(Response::text("ok"))
        });
        let mut server = serve(Http::new(app), |server| server.shutdown_timeout(Duration::from_millis(50)));
        let _opened = gate.opened_at_end();
        server.client().ask(get("/"), "HTTP/1.1 200 OK\r\n");
        gate.wait_for_arrivals(1);
        server.wait_for("only the function is left", |stats| stats.connections == 0);
        server.handle.shutdown();
        server.wait_for_end();
        let log = log.lock().unwrap();
        let expected = "the server ends now, and functions of kept threads have not ended: 1";
        assert_eq!(log.iter().filter(|line| *line == expected).count(), 1, "{log:?}");
    });
}

/// At the timeout of a shutdown, a function learns that its client is gone, and the server does not wait for one that
/// does not end.
#[test]
fn a_shutdown_waits_for_kept_threads_no_longer_than_its_timeout() {
    let gate = Gate::default();
    let at_gate = gate.clone();
    let app = handler_fn(move |request| {
        let (sender, response) = Response::channel();
        let (gate, stuck) = (at_gate.clone(), request.path() == "/stuck");
        keep_thread(move || {
            if stuck {
                gate.pass();
            } else {
                while sender.send_timeout([b'x'; PIECE], None).is_ok() {}
            }
        })
        .or_status(503)?;
        Ok(response)
    });
    let mut server = serve(Http::new(app), |server| server.shutdown_timeout(Duration::from_millis(300)));
    let _opened = gate.opened_at_end();
    let mut clients = [server.client(), server.client()];
    clients[0].send(get("/endless")).expect("HTTP/1.1 200 OK\r\n");
    clients[1].send(get("/stuck")).expect("HTTP/1.1 200 OK\r\n");
    gate.wait_for_arrivals(1);
    server.handle.shutdown();
    let took = server.wait_for_end();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// A stream that waits for a place gets it on a thread of its own. So it delays neither the other functions of a kept
/// thread nor the exit of the server, which waits for its pool.
#[test]
fn a_stream_gets_no_kept_thread() {
    let gate = Gate::default();
    let at_gate = gate.clone();
    let app = handler_fn(move |_| {
        let (sender, response) = Response::channel();
        let gate = at_gate.clone();
        keep_thread(move || gate.pass()).or_status(503)?;
        keep_thread(move || sender.send("late").unwrap()).or_status(503)?;
        Ok(response.with_header("content-length", 4))
    });
    let (names, streams_run_on) = mpsc::channel();
    let silent = move |stream: &mut Stream| {
        names.send(thread::current().name().map(str::to_owned)).unwrap();
        stream.read(&mut [0]).map(drop)
    };
    let server = TcpServer::bind("127.0.0.1:0", app).unwrap().max_streams(2);
    let server = server.also_serve("127.0.0.1:0", streams(silent)).unwrap();
    let of_streams = server.local_addrs()[1].socket_addr().unwrap();
    let server = Running::start(server);
    let _opened = gate.opened_at_end();
    let mut client = server.client();
    client.send(get("/"));
    gate.wait_for_arrivals(1);
    let _silent = Client::new(of_streams);
    server.wait_for("a stream waits for a place", |stats| stats.waiting_streams == 1);
    gate.open();
    let answer = client.answer();
    assert!(answer.as_ref().is_ok_and(|answer| answer.ends_with("late")), "{answer:?}");
    let name = streams_run_on.recv_timeout(PATIENCE).unwrap();
    assert!(name.as_ref().is_some_and(|name| name.starts_with("modest-stream-")), "{name:?}");
}

#[test]
fn only_handlers_of_a_server_keep_their_threads() {
    let of_a_test = |what: &str, kept: io::Result<()>| {
        let error = kept.expect_err(what);
        assert_eq!(error.to_string(), "only a handler of a server can keep its thread", "{what}");
    };
    of_a_test("outside", keep_thread(|| unreachable!("no thread was kept")));
    let http = Http::new(handler_fn(|_| keep_thread(|| {}).or_status(503).map(|()| Response::text(""))));
    assert_eq!(http.respond(&Request::get("/")).status(), 503);
    let again = Arc::new(Mutex::new(None));
    let result = Arc::clone(&again);
    let app = handler_fn(move |_| {
        let result = Arc::clone(&result);
        keep_thread(move || *result.lock().unwrap() = Some(keep_thread(|| {}))).or_status(503)?;
        Ok(Response::text("kept"))
    });
    let server = serve(Http::new(app), |server: TcpServer| server);
    server.client().ask(get("/"), "HTTP/1.1 200 OK\r\n");
    eventually("the function has run", || again.lock().unwrap().is_some());
    of_a_test("a kept thread", again.lock().unwrap().take().unwrap());
}

/// A function that panics, or panics when it is dropped, or keeps its thread again, loses no place among the streams.
#[test]
fn a_panic_of_the_decision_loses_no_place() {
    struct PanicsAtDrop;
    impl Drop for PanicsAtDrop {
        fn drop(&mut self) {
            panic!("for the test");
        }
    }
    let ran = Arc::new(AtomicUsize::new(0));
    let runs = Arc::clone(&ran);
    let app = handler_fn(move |request| {
        let runs = Arc::clone(&runs);
        match request.path() {
            "/panic" => keep_thread_if(|| panic!("for the test"), || ()),
            "/drop" => {
                let value = PanicsAtDrop;
                keep_thread_if(move || std::mem::size_of_val(&value) > 0, || ())
            }
            "/nested" => {
                let again = Cell::new(true);
                let decide = move || {
                    if again.take() {
                        let runs = Arc::clone(&runs);
                        keep_thread(move || _ = runs.fetch_add(1, Relaxed)).unwrap();
                    }
                    false
                };
                keep_thread_if(decide, || ())
            }
            _ => keep_thread(move || _ = runs.fetch_add(1, Relaxed)),
        }
        .or_status(503)?;
        Ok(Response::text("ok"))
    });
    let server = serve(Http::new(app), |server| server.workers(2).max_streams(3));
    let mut expected = 0;
    for path in ["/panic", "/drop", "/nested"].iter().cycle().take(12).chain(["/"].iter().cycle().take(4)) {
        // Places are free again a moment after the response.
        eventually("there is a place", || server.client().fetch(get(path)).starts_with("HTTP/1.1 200 "));
        expected += usize::from(["/nested", "/"].contains(path));
        eventually("what was kept has run", || ran.load(Relaxed) == expected);
    }
}

/// A thread that is not needed after the turn stays in the pool, and its place among the streams is free again.
#[test]
fn a_thread_is_kept_only_if_it_is_needed() {
    let (threads, ran) = (Arc::new(Mutex::new(HashSet::new())), Arc::new(AtomicUsize::new(0)));
    let (seen, runs) = (Arc::clone(&threads), Arc::clone(&ran));
    let app = handler_fn(move |request| {
        seen.lock().unwrap().insert(thread::current().id());
        let (is_needed, runs) = (request.path() == "/needed", Arc::clone(&runs));
        keep_thread_if(move || is_needed, move || _ = runs.fetch_add(1, Relaxed)).or_status(503)?;
        Ok(Response::text("ok"))
    });
    let server = serve(Http::new(app), |server| server.workers(1).max_streams(1));
    let mut client = server.client();
    for _ in 0..200 {
        client.ask(get("/"), "HTTP/1.1 200 OK\r\n").answer().unwrap();
    }
    assert_eq!(ran.load(Relaxed), 0);
    let count = threads.lock().unwrap().len();
    assert!(count <= 4, "{count} threads for four workers");
    client.ask(get("/needed"), "HTTP/1.1 200 OK\r\n").answer().unwrap();
    eventually("it has run", || ran.load(Relaxed) == 1);
}
