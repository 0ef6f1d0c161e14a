//! Whether a response was sent: `on_sent` and `tee`, for each kind of body, behind the layers that change bodies, and
//! for each kind of request and end.

use std::io::{Cursor, Read, Write};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};

use modest::layers::{Compress, ETags};
use modest::{Error, Layer, LogRecord, Next, Request, RequestHandler, Response, Result, handler_fn, layer_fn};

use crate::server::{Gate, PATIENCE, Running, eventually, get, serve};

const SHORT: usize = 1_000;
const LONG: usize = 150_000;
/// More than all buffers between server and client can hold.
const ENDLESS: usize = 40_000_000;

const BODIES: [&str; 7] = ["bytes", "shared", "chunks", "stream", "sized-stream", "file", "channel"];

/// The data that the handler gets: the path of the request, whether its response was sent whole, and the bytes of
/// `tee`.
type Report = (String, bool, Vec<u8>);

fn content(length: usize) -> Vec<u8> {
    let mut content = b"abcdefghij\n".repeat(length / 11 + 1);
    content.truncate(length);
    content
}

fn response(kind: &str, length: usize) -> Result<Response> {
    let bytes = content(length);
    Ok(match kind {
        "bytes" => Response::bytes(bytes),
        "shared" => Response::shared(Arc::new(bytes)),
        "chunks" => Response::chunks(bytes.chunks(10_000).map(<[u8]>::to_vec).collect::<Vec<_>>()),
        "stream" => Response::stream(Cursor::new(bytes)),
        "sized-stream" => Response::sized_stream(Cursor::new(bytes), length as u64),
        "file" => {
            let mut file = tempfile::NamedTempFile::new()?;
            file.write_all(&bytes)?;
            Response::file(file.path())
        }
        "channel" => {
            let (sender, response) = Response::channel();
            thread::spawn(move || {
                for piece in bytes.chunks(10_000) {
                    if sender.send_timeout(piece, PATIENCE).is_err() {
                        return;
                    }
                }
                sender.finish();
            });
            response
        }
        other => unreachable!("{other}"),
    }
    .with_content_type("text/plain"))
}

/// Serves `/KIND/LENGTH`, behind the layers with these names.
fn server(layers: &str) -> (Running, mpsc::Receiver<Report>) {
    let (reports, received) = mpsc::channel();
    let reports = Mutex::new(reports);
    let app = handler_fn(move |request: &Request| {
        let (_, rest) = request.path().split_once('/').expect("a path");
        let (kind, length) = rest.split_once('/').expect("a kind and a length");
        let (path, reports) = (request.path().to_owned(), reports.lock().unwrap().clone());
        let copy = Arc::new(Mutex::new(Vec::new()));
        let into = copy.clone();
        let response = response(kind, length.parse()?)?.tee(move |bytes| into.lock().unwrap().extend_from_slice(bytes));
        Ok(response.with_header("etag", "\"x\"").on_sent(move |is_whole| {
            let _ = reports.send((path, is_whole, std::mem::take(&mut *copy.lock().unwrap())));
        }))
    });
    let app: Box<dyn RequestHandler> = match layers {
        "" => Box::new(app),
        "Compress" => Box::new(app.layer(Compress::new())),
        "ETags" => Box::new(app.layer(ETags::new())),
        "ETags, Compress" => Box::new(app.layer(ETags::new()).layer(Compress::new())),
        "begins" => Box::new(app.layer(layer_fn(|request, next| {
            let begins = next.run(request)?.map_body(|read| read.take(7));
            Ok(begins.unwrap_or_else(|unchanged| unchanged))
        }))),
        "counts" => Box::new(app.layer(layer_fn(|request, next| Ok(next.run(request)?.on_sent(|_| ()))))),
        other => unreachable!("{other}"),
    };
    (serve(app, |server| server), received)
}

/// Whether this is a head, and the whole content that it announces.
fn is_complete(received: &[u8], has_content: bool) -> bool {
    let Some(at) = received.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let (head, content) = (String::from_utf8_lossy(&received[..at]).to_lowercase(), &received[at + 4..]);
    match head.split_once("\r\ncontent-length: ") {
        _ if !has_content => content.is_empty(),
        Some((_, rest)) => content.len() == rest.lines().next().unwrap().parse::<usize>().unwrap(),
        None => content.ends_with(b"0\r\n\r\n"),
    }
}

#[test]
fn every_response_is_reported_once_and_copied_whole() {
    let requests = [
        ("GET", ""),
        ("GET", "Accept-Encoding: gzip\r\n"),
        ("HEAD", ""),
        ("GET", "Range: bytes=1-2\r\n"),
        ("GET", "If-None-Match: \"x\"\r\n"),
    ];
    for layers in ["", "Compress", "ETags", "ETags, Compress", "begins", "counts"] {
        let (server, reports) = server(layers);
        for kind in BODIES {
            for length in [0, SHORT, LONG] {
                for (method, field) in requests {
                    let path = format!("/{kind}/{length}");
                    let head = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{field}Connection: close\r\n\r\n");
                    let received = server.client().send(&head).read_to_end();
                    let row = format!(
                        "behind {layers:?}: {head:?}, then {:?}",
                        received[..received.len().min(300)].escape_ascii().to_string()
                    );
                    let has_content = method == "GET" && !received.starts_with(b"HTTP/1.1 304 ");
                    assert!(is_complete(&received, has_content), "{row}");
                    let (told, is_whole, copy) = reports.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{row}"));
                    assert_eq!(told, path, "{row}");
                    let all = content(length);
                    // A layer that sends the beginning of the body, in memory or not, changes no pushed body.
                    let is_cut = layers == "begins" && kind != "channel";
                    let is_in_memory = ["bytes", "shared"].contains(&kind);
                    let copied = format!("{} of {length} bytes were copied; {row}", copy.len());
                    match &received[9..12] {
                        b"200" | b"206" if has_content && !(is_cut && length > 7) => {
                            assert!(is_whole && copy == all, "{copied}");
                        }
                        // A range that the body does not have gets a 416 in its place.
                        b"416" => assert!(!is_whole && (copy == all || copy.is_empty()), "{copied}"),
                        _ if is_in_memory => assert!(is_whole && copy == all, "{copied}"),
                        _ => assert!(is_whole == (copy == all) || length == 0 && !is_whole, "{copied}"),
                    }
                }
            }
        }
        assert!(reports.try_recv().is_err(), "behind {layers:?}: a second report");
    }
}

#[test]
fn a_response_that_its_client_leaves_is_reported_as_incomplete() {
    for layers in ["", "ETags"] {
        let (server, reports) = server(layers);
        for kind in BODIES {
            let path = format!("/{kind}/{ENDLESS}");
            let mut client = server.client();
            client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
            client.stream.read_exact(&mut [0; 9]).unwrap();
            drop(client);
            let (told, is_whole, copy) = reports.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{path}: no report"));
            assert_eq!((&told, is_whole), (&path, false), "behind {layers:?}");
            assert!(content(ENDLESS).starts_with(&copy), "{path} behind {layers:?}: {} bytes", copy.len());
        }
        assert!(reports.try_recv().is_err(), "behind {layers:?}: a second report");
    }
}

/// A handler that returns after the server gave up waiting for it: its short response is still sent whole.
#[test]
fn a_response_after_the_end_of_its_server_is_reported_as_sent() {
    let (gate, (reports, received)) = (Gate::default(), mpsc::channel());
    let reports = Mutex::new(reports);
    let passes = gate.clone();
    let mut server = serve(
        handler_fn(move |_| {
            passes.pass();
            let reports = reports.lock().unwrap().clone();
            Ok(Response::text("here").on_sent(move |is_whole| reports.send(is_whole).unwrap()))
        }),
        |server| server.workers(1).shutdown_timeout(Duration::from_millis(50)),
    );
    let _end = gate.opened_at_end();
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    gate.wait_for_arrivals(1);
    server.handle.shutdown();
    server.wait_for_end();
    gate.open();
    assert!(received.recv_timeout(PATIENCE).expect("a report"));
    let answer = client.read_to_end();
    assert!(is_complete(&answer, true), "{:?}", answer.escape_ascii().to_string());
}

/// `Date` and the time in the log are those of the response, even if its handler took long (RFC 9110, section 6.6.1).
#[test]
fn no_date_is_before_the_end_of_the_handler() {
    struct Logs(Mutex<mpsc::Sender<(String, SystemTime)>>);
    impl Layer for Logs {
        fn handle(&self, request: &Request, next: Next<'_>) -> Result<Response> {
            next.run(request)
        }

        fn log_request(&self, record: &LogRecord<'_>) {
            let path = record.request().map(|request| request.path().to_owned()).unwrap_or_default();
            let _ = self.0.lock().unwrap().send((path, record.time()));
        }
    }
    let app = handler_fn(|request: &Request| {
        let begun = SystemTime::now();
        eventually("the second after the next", || begun.elapsed().is_ok_and(|took| took > Duration::from_secs(1)));
        match request.path() {
            "/panic" => panic!("for the test"),
            "/error" => Err(Error::new(404, "for the test")),
            kind => Ok(response(&kind[1..], SHORT)?.with_last_modified(SystemTime::now())),
        }
    });
    let (sender, logged) = mpsc::channel();
    let server = serve(app.layer(Logs(Mutex::new(sender))), |server| server.workers(BODIES.len() + 2));
    let paths: Vec<String> = BODIES.iter().chain(&["error", "panic"]).map(|kind| format!("/{kind}")).collect();
    let begun = SystemTime::now();
    let mut clients: Vec<_> = paths.iter().map(|_| server.client()).collect();
    for (client, path) in clients.iter_mut().zip(&paths) {
        client.send(get(path));
    }
    let second = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970").as_secs();
    for (client, path) in clients.iter_mut().zip(&paths) {
        let answer = client.answer().unwrap();
        let field = |name| answer.lines().find_map(|line| line.strip_prefix(name)).map(date);
        let sent = field("Date: ").expect("a date");
        assert!(sent > second(begun), "{path}: {answer}");
        if let Some(modified) = field("Last-Modified: ") {
            assert!(modified > second(begun), "{path}: {answer}");
        }
    }
    for _ in &paths {
        let (path, time) = logged.recv_timeout(PATIENCE).expect("a record of each request");
        assert!(time > begun + Duration::from_secs(1), "{path}: logged with a time before its response");
    }
}

/// Seconds since 1970.
fn date(text: &str) -> u64 {
    let time = httpdate::parse_http_date(text).unwrap_or_else(|_| panic!("{text}"));
    time.duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970").as_secs()
}
