//! The needs of a gateway to another kind of application, such as the WSGI server of `python/`: paths as sent, bodies
//! that outlive their request, unchanged responses, bodies that are pulled piece by piece, and sockets for several
//! processes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use modest::{Http, Listen, Request, RequestHandler, Response, Routes, TcpServer, handler_fn, testing};

/// Sends this, and returns the whole reply.
fn talk(address: std::net::SocketAddr, request: &str) -> String {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    String::from_utf8(received).unwrap()
}

#[test]
fn lenient_paths_reach_handlers_and_mounts() {
    let shown = |name: &'static str| {
        handler_fn(move |request: &Request| {
            Ok(Response::text(format!("{name} {} {}", request.path(), request.raw_path())))
        })
    };
    let app = || Routes::new().mount("/files", shown("files")).fallback(shown("app")).with_state(());
    let server = testing::serve(Http::new(app()).strict_paths(false));
    for (target, expected) in [
        ("/a", "app /a /a"),
        ("//a", "app /a //a"),
        ("/a//b%2Fc", "app /a/b/c /a//b%2Fc"),
        ("/a%20b//", "app /a b/ /a%20b//"),
        ("/files/x", "files /x /x"),
        ("//files//x", "files /x "),
        ("/files%2Fx", "files /x "),
    ] {
        let answer = talk(server.address(), &format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        let body = answer.rsplit("\r\n").next().unwrap();
        assert!(body.starts_with(expected), "{target}: {answer}");
    }
    for (method, target, status) in [
        ("GET", "/a/../b", "301"),
        ("POST", "/a/../b", "400"),
        ("GET", "/a%2F..%2Fb", "404"),
        ("GET", "/%00", "400"),
        ("GET", "/..", "400"),
    ] {
        let answer =
            talk(server.address(), &format!("{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{target}: {answer}");
    }
    let strict = testing::serve(Http::new(app()));
    let answer = talk(strict.address(), "GET /a//b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 301"), "{answer}");
}

/// A body in memory or in a file is read after its handler has returned.
#[test]
fn bodies_outlive_their_requests() {
    let server = testing::serve(handler_fn(|request| Ok(Response::stream(request.body().try_clone()?.into_reader()))));
    for length in [0, 1, 1000, 65_536, 65_537, 3_000_000] {
        let body: Vec<u8> = (0..length).map(|number| (number % 251) as u8).collect();
        assert_eq!(server.post("/", body.clone()).body(), body, "{length} bytes");
    }
}

#[test]
fn fields_are_given_in_order_as_sent() {
    let request = Request::get("/").with_header("X-B", "1").with_header("x-a", "2").with_header("X-B", "3");
    let fields: Vec<_> = request.fields().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    let text = |(name, value): &(Vec<u8>, Vec<u8>)| format!("{}={}", name.escape_ascii(), value.escape_ascii());
    let shown = fields.iter().map(text).collect::<Vec<_>>().join(" ");
    assert!(shown.to_lowercase().contains("x-b=1 x-a=2 x-b=3"), "{shown}");
}

#[test]
fn files_are_sent_from_the_given_offset() {
    let mut file = tempfile::NamedTempFile::new().unwrap().into_file();
    file.write_all(b"0123456789").unwrap();
    let file = Arc::new(file);
    for (start, length, range, expected) in [
        (0, 10, None, "0123456789"),
        (3, 7, None, "3456789"),
        (3, 4, None, "3456"),
        (10, 0, None, ""),
        (3, 7, Some("bytes=1-2"), "45"),
        (3, 7, Some("bytes=-2"), "89"),
    ] {
        let shared: Arc<File> = Arc::clone(&file);
        let http = Http::new(handler_fn(move |_| Ok(Response::open_file_at(Arc::clone(&shared), start, length))));
        let request = Request::get("/");
        let request = range.into_iter().fold(request, |request, range| request.with_header("range", range));
        assert_eq!(http.respond(&request).text(), expected, "{start} {length} {range:?}");
    }
}

#[test]
fn forwarded_responses_are_sent_unchanged() {
    let given = |request: &Request| -> modest::Result<Response> {
        let response = match request.path() {
            "/reason" => Response::text("a").with_status(299).with_reason("As Given"),
            "/changed" => Response::text("a").with_reason("As Given").with_status(404),
            "/control" => Response::text("a").with_reason("As\nGiven"),
            "/tag" => Response::text("a").with_forwarded_header("etag", "unquoted"),
            "/date" => Response::text("a").with_forwarded_header("last-modified", "yesterday"),
            "/newline" => Response::text("a").with_forwarded_header("etag", "a\nb"),
            "/cached" => Response::text("a").with_reason("As Given").with_header("etag", "\"1\""),
            _ => Response::no_content(),
        };
        Ok(response)
    };
    let server = testing::serve(handler_fn(given));
    for (path, expected) in [
        ("/reason", "HTTP/1.1 299 As Given\r\n"),
        ("/changed", "HTTP/1.1 404 Not Found\r\n"),
        ("/control", "HTTP/1.1 500 "),
        ("/tag", "\r\nETag: unquoted\r\n"),
        ("/date", "\r\nLast-Modified: yesterday\r\n"),
        ("/newline", "HTTP/1.1 500 "),
        ("/cached", "HTTP/1.1 304 Not Modified\r\n"),
    ] {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"1\", unquoted\r\nConnection: close\r\n\r\n");
        let answer = talk(server.address(), &request);
        assert!(answer.contains(expected), "{path}: {answer}");
    }
}

/// Pieces that are created when they are requested.
struct Counted {
    made: Arc<(Mutex<usize>, Condvar)>,
    dropped: Arc<AtomicUsize>,
    left: usize,
}

const PIECE: usize = 64 * 1024;

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        self.left -= 1;
        *self.made.0.lock().unwrap() += 1;
        self.made.1.notify_all();
        buffer.fill(b'x');
        Ok(buffer.len())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, SeqCst);
    }
}

/// With one worker: many clients that read nothing each get only a few pieces, and a client that reads is served.
fn a_pulled_body_holds_no_worker(protect: impl FnOnce(Http<Box<dyn RequestHandler>>) -> (TcpServer, Connect)) {
    let (made, dropped) = (Arc::new((Mutex::new(0), Condvar::new())), Arc::new(AtomicUsize::new(0)));
    let (counted, of) = (Arc::clone(&made), Arc::clone(&dropped));
    let app = handler_fn(move |request| match request.path() {
        "/quick" => Ok(Response::text("quick")),
        _ => {
            let body = Counted { made: Arc::clone(&counted), dropped: Arc::clone(&of), left: 10_000 };
            Ok(Response::stream(body))
        }
    });
    let (server, connect) = protect(Http::new(Box::new(app) as Box<dyn RequestHandler>));
    let server = server.workers(1);
    let handle = server.handle();
    let serving = std::thread::spawn(move || server.serve_forever());
    let mut slow: Vec<Box<dyn ReadWrite>> = (0..20).map(|_| connect()).collect();
    for client in &mut slow {
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        client.flush().unwrap();
        client.read_exact(&mut [0; 1000]).unwrap();
    }
    for _ in 0..50 {
        let mut quick = connect();
        quick.write_all(b"GET /quick HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        quick.flush().unwrap();
        let mut answer = Vec::new();
        let _ = quick.read_to_end(&mut answer);
        assert!(answer.ends_with(b"quick"), "{}", answer.escape_ascii());
    }
    let count = *made.0.lock().unwrap();
    assert!(count * PIECE < 20 * (16 << 20), "{count} pieces were generated for clients that read nothing");
    drop(slow);
    while dropped.load(SeqCst) < 20 {
        std::thread::sleep(Duration::from_micros(100));
    }
    handle.shutdown();
    serving.join().unwrap().unwrap();
}

trait ReadWrite: Read + Write {}
impl<S: Read + Write> ReadWrite for S {}

type Connect = Box<dyn Fn() -> Box<dyn ReadWrite>>;

#[test]
fn a_pulled_body_holds_no_worker_over_tcp() {
    a_pulled_body_holds_no_worker(|http| {
        let server = TcpServer::bind("127.0.0.1:0", http).unwrap();
        let address = server.local_addr();
        (server, Box::new(move || Box::new(TcpStream::connect(address).unwrap())))
    });
}

#[test]
fn a_pulled_body_holds_no_worker_over_tls() {
    use modest::Tls;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::ServerName;

    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (chain, secret) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    std::fs::write(&chain, certificate.pem()).unwrap();
    std::fs::write(&secret, key.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let config = Arc::new(config);
    a_pulled_body_holds_no_worker(|http| {
        let tls = Tls::from_pem_files(&chain, &secret).unwrap();
        let server = TcpServer::bind("127.0.0.1:0", tls.protect(http)).unwrap();
        let address = server.local_addr();
        let connect = move || -> Box<dyn ReadWrite> {
            let name = ServerName::try_from("localhost").unwrap();
            let session = rustls::ClientConnection::new(Arc::clone(&config), name).unwrap();
            Box::new(rustls::StreamOwned::new(session, TcpStream::connect(address).unwrap()))
        };
        (server, Box::new(connect))
    });
}

/// A parent process binds, and other processes serve its sockets one after the other. The file of a Unix socket stays
/// as long as the parent runs.
#[test]
fn listeners_are_shared() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shared.sock");
    let nothing = || handler_fn(|_| Err(modest::Error::new(503, "")));
    let parent = TcpServer::bind("127.0.0.1:0", nothing()).unwrap().also(Listen::unix(&path)).unwrap();
    let address = parent.local_addr();
    for round in ["one", "two"] {
        let mut sockets = parent.shared_listeners().unwrap().into_iter();
        let child = TcpServer::from_listener(
            sockets.next().unwrap(),
            handler_fn(move |_| Ok(Response::text(round).with_close())),
        );
        let child = child.unwrap().also(sockets.next().unwrap()).unwrap();
        assert_eq!(child.local_addr(), address);
        assert!(sockets.next().is_none() && parent.shared_listeners().unwrap()[0].as_raw_fd() > 2);
        let handle = child.handle();
        let serving = std::thread::spawn(move || child.serve_forever());
        assert!(talk(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").ends_with(round));
        handle.shutdown();
        serving.join().unwrap().unwrap();
        assert!(path.exists(), "a child must not remove the socket file of its parent");
    }
    drop(parent);
    assert!(!path.exists() && TcpStream::connect(address).is_err());
}

/// A parent refuses new clients at its sockets. A server of these sockets still gets the clients that have connected.
#[test]
fn a_parent_refuses_clients() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shared.sock");
    let nothing = || handler_fn(|_| Err(modest::Error::new(503, "")));
    let parent = TcpServer::bind("127.0.0.1:0", nothing()).unwrap().also(Listen::unix(&path)).unwrap();
    let address = parent.local_addr();
    let mut sockets = parent.shared_listeners().unwrap().into_iter();
    let late = || handler_fn(|_| Ok(Response::text("late").with_close()));
    let child = TcpServer::from_listener(sockets.next().unwrap(), late()).unwrap();
    let child = child.also(sockets.next().unwrap()).unwrap();
    let mut clients: [Box<dyn ReadWrite>; 2] =
        [Box::new(TcpStream::connect(address).unwrap()), Box::new(UnixStream::connect(&path).unwrap())];
    assert!(parent.refuse_clients().unwrap() < Duration::from_secs(1));
    assert!(UnixStream::connect(&path).is_err());
    if cfg!(target_os = "linux") && !cfg!(modest_portable) {
        assert!(TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err());
    }
    std::thread::scope(|scope| {
        scope.spawn(|| child.serve_forever().unwrap());
        for client in &mut clients {
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            let mut response = String::new();
            client.read_to_string(&mut response).unwrap();
            assert!(response.ends_with("late"), "{response}");
        }
        assert!(child.refuse_clients().is_err(), "refuse_clients must fail while the server serves");
        child.handle().shutdown();
    });
}
