//! A server in its own thread, and clients with timeouts.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::transport;
use modest::{Address, IntoProtocol, ServerHandle, Stats, TcpServer};

pub use crate::transport::{has_addresses, is_plain, shows_resets};

/// No step of these tests takes this long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running server, which is stopped when it is dropped.
pub struct Running {
    pub address: SocketAddr, // without a meaning for Unix sockets
    pub handle: ServerHandle,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Serves this, with these settings, at a free port.
pub fn serve(handler: impl IntoProtocol, settings: impl FnOnce(TcpServer) -> TcpServer) -> Running {
    Running::start(settings(transport::bind(handler)))
}

impl Running {
    /// Begins to serve. Earlier connections are in the backlog.
    pub fn start(server: TcpServer) -> Running {
        let address = server.local_addrs().iter().find_map(Address::socket_addr);
        let (address, handle) = (address.unwrap_or(([127, 0, 0, 1], 0).into()), server.handle());
        let thread = thread::spawn(move || server.serve_forever());
        Running { address, handle, thread: Some(thread) }
    }

    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Waits until the statistics fulfil the condition.
    pub fn wait_for(&self, what: &str, fact: impl Fn(&Stats) -> bool) -> Stats {
        let start = Instant::now();
        loop {
            let stats = self.handle.stats();
            if fact(&stats) {
                return stats;
            }
            assert!(start.elapsed() < PATIENCE, "timeout while waiting until {what}: {stats:?}");
            thread::sleep(Duration::from_micros(100));
        }
    }

    /// Waits for the end, and returns its result. An outer `Err` is a panic.
    pub fn result(&mut self) -> thread::Result<io::Result<()>> {
        self.thread.take().expect("a server that was not waited for yet").join()
    }

    /// Whether `serve_forever` has returned.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end, and returns how long that took.
    pub fn wait_for_end(&mut self) -> Duration {
        let start = Instant::now();
        self.thread.take().expect("a server that was not waited for yet").join().expect("no panic").expect("no error");
        start.elapsed()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.shutdown_now();
        if let Some(serving) = self.thread.take()
            && let Ok(result) = serving.join()
            && !thread::panicking()
        {
            result.expect("serve_forever without an error");
        }
    }
}

/// A client with a timeout for each step.
pub struct Client {
    pub stream: TcpStream,
}

impl Client {
    pub fn new(address: SocketAddr) -> Client {
        let stream = transport::connect(address).expect("a connection to the server");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.set_nodelay(true); // a Unix socket does not have this option
        Client { stream }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        self.stream.write_all(bytes.as_ref()).expect("bytes sent to the server");
        self
    }

    /// Expects exactly these bytes next.
    #[track_caller]
    pub fn expect(&mut self, wanted: impl AsRef<[u8]>) -> &mut Client {
        let wanted = wanted.as_ref();
        let mut came = vec![0; wanted.len()];
        let mut length = 0;
        while length < wanted.len() {
            match transport::read(&mut self.stream, &mut came[length..]) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(err) => panic!("waiting for {:?}: {err}", wanted.escape_ascii().to_string()),
            }
        }
        assert_eq!(
            came[..length].escape_ascii().to_string(),
            wanted.escape_ascii().to_string(),
            "left: what was received, right: what was expected"
        );
        self
    }

    /// The bytes up to and including the next line end.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).expect("a complete line");
            line.extend(byte);
        }
        String::from_utf8(line).expect("text")
    }

    /// All bytes until the end of the stream.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        self.stream.read_to_end(&mut all).unwrap_or_else(|err| {
            panic!("after {} bytes, {:?}: {err}", all.len(), all[..all.len().min(200)].escape_ascii().to_string())
        });
        all
    }

    /// Expects the end of the stream next.
    #[track_caller]
    pub fn expect_end(&mut self) {
        assert_eq!(self.read_to_end().escape_ascii().to_string(), "", "expected nothing but the end");
    }

    /// Expects a reset after any other bytes; or an end, for a transport without resets.
    #[track_caller]
    pub fn expect_reset(&mut self) -> usize {
        let mut all = Vec::new();
        match self.stream.read_to_end(&mut all) {
            Ok(_) => assert!(!shows_resets(), "an end where a reset was expected, after {} bytes", all.len()),
            Err(err) => assert_eq!(err.kind(), io::ErrorKind::ConnectionReset, "after {} bytes", all.len()),
        }
        all.len()
    }

    /// Sends this, and expects exactly this reply.
    #[track_caller]
    pub fn ask(&mut self, sent: impl AsRef<[u8]>, wanted: impl AsRef<[u8]>) -> &mut Client {
        let (sent, wanted) = (sent.as_ref(), wanted.as_ref());
        let went = self.stream.write_all(sent);
        let mut came = vec![0; wanted.len()];
        let mut length = 0;
        let mut end = None;
        while length < wanted.len() && end.is_none() {
            match transport::read(&mut self.stream, &mut came[length..]) {
                Ok(0) => end = Some("the end of the stream".to_owned()),
                Ok(count) => length += count,
                Err(err) => end = Some(end_by(&err)),
            }
        }
        assert!(
            came[..length] == *wanted,
            "sent \"{}\" ({went:?}), came \"{}\" and then {}, wanted \"{}\"",
            sent.escape_ascii(),
            came[..length].escape_ascii(),
            end.unwrap_or_default(),
            wanted.escape_ascii(),
        );
        self
    }

    /// Sends this request, and returns head and content of its response by `Content-Length`.
    #[track_caller]
    pub fn fetch(&mut self, request: impl AsRef<[u8]>) -> String {
        let request = request.as_ref();
        let went = self.stream.write_all(request);
        self.answer().unwrap_or_else(|(came, err)| {
            panic!("sent \"{}\" ({went:?}), came {came:?} and then {err}", request.escape_ascii())
        })
    }

    /// Head and content of the next response by `Content-Length`. An error has the bytes so far and the reason.
    pub fn answer(&mut self) -> Result<String, (String, String)> {
        let mut came = Vec::new();
        let mut wanted = usize::MAX;
        while came.len() < wanted {
            let mut byte = [0];
            let why = match transport::read(&mut self.stream, &mut byte) {
                Ok(0) => Some("the end of the stream".to_owned()),
                Ok(_) => None,
                Err(err) => Some(end_by(&err)),
            };
            if let Some(why) = why {
                return Err((String::from_utf8_lossy(&came).into_owned(), why));
            }
            came.extend(byte);
            if wanted == usize::MAX && came.ends_with(b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&came).to_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                wanted = came.len() + length.map_or(0, |length| length.parse().expect("a number"));
            }
        }
        Ok(String::from_utf8_lossy(&came).into_owned())
    }

    /// All bytes until the end, and the error of the end. `None`: a clean end.
    pub fn read_to_any_end(&mut self) -> (Vec<u8>, Option<io::ErrorKind>) {
        let mut all = Vec::new();
        let end = self.stream.read_to_end(&mut all).err().map(|err| err.kind());
        (all, end)
    }

    /// Closes the sending side.
    pub fn half_close(&mut self) -> &mut Client {
        self.stream.shutdown(Shutdown::Write).unwrap();
        self
    }
}

/// The description of an error of a stream that is read with [`PATIENCE`].
fn end_by(err: &io::Error) -> String {
    match err.kind() {
        io::ErrorKind::WouldBlock => format!("nothing for {PATIENCE:?}"),
        _ => err.to_string(),
    }
}

/// Waits until the condition holds.
#[track_caller]
pub fn eventually(what: &str, fact: impl Fn() -> bool) {
    let start = Instant::now();
    while !fact() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_micros(100));
    }
}

/// A GET request for this target.
pub fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// A gate at which code of the server waits until the test opens it.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<Crowd>, Condvar)>);

#[derive(Default)]
struct Crowd {
    arrived: usize,
    open: bool,
}

/// Opens a gate when it is dropped, so that a failing test leaves no thread behind. Create it after the server.
pub struct OpenedAtEnd(Gate);

impl Gate {
    /// Waits here until the gate is open.
    pub fn pass(&self) {
        let mut crowd = self.crowd();
        crowd.arrived += 1;
        self.0.1.notify_all();
        drop(self.0.1.wait_while(crowd, |crowd| !crowd.open).unwrap());
    }

    pub fn open(&self) {
        self.crowd().open = true;
        self.0.1.notify_all();
    }

    pub fn opened_at_end(&self) -> OpenedAtEnd {
        OpenedAtEnd(self.clone())
    }

    fn crowd(&self) -> MutexGuard<'_, Crowd> {
        self.0.0.lock().unwrap()
    }

    /// Waits until this many threads have come to the gate.
    #[track_caller]
    pub fn wait_for_arrivals(&self, count: usize) {
        let waited = self.0.1.wait_timeout_while(self.crowd(), PATIENCE, |crowd| crowd.arrived < count);
        let arrived = waited.unwrap().0.arrived;
        assert!(arrived >= count, "{arrived} of {count} handlers have reached the gate");
    }
}

impl Drop for OpenedAtEnd {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Collects the log lines for which `line` returns a text. Use it in a separate process: see [`alone`].
pub fn capture_the_log(line: fn(&log::Record<'_>) -> Option<String>) -> &'static Mutex<Vec<String>> {
    struct Heard {
        line: fn(&log::Record<'_>) -> Option<String>,
        lines: Mutex<Vec<String>>,
    }
    impl log::Log for Heard {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            self.lines.lock().unwrap().extend((self.line)(record));
        }
        fn flush(&self) {}
    }
    let heard: &Heard = Box::leak(Box::new(Heard { line, lines: Mutex::default() }));
    log::set_logger(heard).expect("the only logger of this process");
    &heard.lines
}

/// Sets a logger that panics at each line. Use it in a separate process: see [`alone`].
pub fn set_a_logger_that_panics(level: log::LevelFilter) {
    struct Panics;
    impl log::Log for Panics {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            panic!("the logger panics at {:?}", record.args().to_string());
        }
        fn flush(&self) {}
    }
    log::set_logger(&Panics).expect("the only logger of this process");
    log::set_max_level(level);
}

/// Runs this part of a test in a separate process: there it can abort, hang, set a logger or measure processor time
/// without harm to other tests. `test` is the full name of the calling test, which does nothing else.
#[track_caller]
pub fn alone(test: &str, part: impl FnOnce()) {
    const ALONE: &str = "MODEST_TEST_ALONE";
    if std::env::var(ALONE).is_ok_and(|value| value == test) {
        return part();
    }
    let mut child = Command::new(std::env::current_exe().expect("a program"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE, test)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a process");
    let said = [read_all(child.stdout.take().unwrap()), read_all(child.stderr.take().unwrap())];
    let start = Instant::now();
    let status = loop {
        match child.try_wait().expect("the status of the child") {
            Some(status) => break status,
            None if start.elapsed() > 2 * PATIENCE => {
                child.kill().expect("a signal to the child");
                break child.wait().expect("the status of the child");
            }
            None => thread::sleep(Duration::from_millis(5)), // there is no notification when a process ends
        }
    };
    let [out, err] = said.map(|said| said.join().expect("no panic"));
    assert!(status.success() && out.contains("1 passed"), "{test}, alone: {status}\n{out}\n{err}");
}

fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut all = Vec::new();
        let _ = pipe.read_to_end(&mut all);
        String::from_utf8_lossy(&all).into_owned()
    })
}

/// A server in a separate process, which is killed at the end.
pub struct Process {
    pub child: Child,
    pub address: SocketAddr,
}

const PROCESS: &str = "MODEST_TEST_PROCESS";

impl Process {
    /// Runs the test of this full name again in another process. The test calls this first. In the new process it gets
    /// `None`, and calls [`serve_alone`].
    pub fn of_test(test: &str) -> Option<Process> {
        if std::env::var(PROCESS).is_ok_and(|value| value == test) {
            return None;
        }
        let mut command = Command::new(std::env::current_exe().expect("a program"));
        command.args([test, "--exact", "--nocapture"]).env(PROCESS, test);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a process");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let port = lines.find_map(|line| line.expect("text").strip_prefix("port ").map(|port| port.parse().unwrap()));
        Some(Process { child, address: ([127, 0, 0, 1], port.expect("the port of the child")).into() })
    }
}

/// Prints the address and serves, in a separate process.
pub fn serve_alone(server: &TcpServer) {
    println!("\nport {}", server.local_addr().port());
    server.serve_forever().expect("serve_forever without an error");
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
