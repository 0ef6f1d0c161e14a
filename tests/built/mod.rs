//! A built program that a test starts and uses from outside. Used by `command` and `examples`. It waits for events (a
//! line, an end, a response), each within `PATIENCE`, and never sleeps. Plain `cargo test` builds the examples first;
//! `cargo test --test examples` runs the last build.
#![allow(dead_code)] // each test file uses its own part

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Much longer than any step takes; only a failing test waits this long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running program, which is killed when this is dropped.
pub struct Built {
    child: Child,
    out: Lines,
    err: Option<Lines>,
    /// The line that contains the address.
    pub banner: String,
    pub address: SocketAddr,
}

/// Lines of a pipe, which a thread reads as they arrive.
struct Lines(Mutex<Receiver<String>>);

impl Built {
    /// Starts a program, and waits until it prints its address.
    pub fn start(command: &mut Command) -> Built {
        Built::start_with(command, Stdio::piped())
    }

    /// Like `start`, with another stderr.
    pub fn start_with(command: &mut Command, stderr: impl Into<Stdio>) -> Built {
        let mut child = command
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let out = Lines::of(child.stdout.take().expect("piped"));
        let err = child.stderr.take().map(Lines::of);
        let Some(banner) = out.next() else {
            let said: Vec<String> = err.iter().flat_map(Lines::rest).collect();
            panic!("{command:?} ended before it listened: {:?}, {said:?}", child.wait());
        };
        let address = address_in(&banner).unwrap_or_else(|| panic!("no address in {banner:?}"));
        Built { child, out, err, banner, address }
    }

    pub fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap_or_else(|error| panic!("{}: {error}", self.address));
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.set_write_timeout(Some(PATIENCE)).unwrap();
        client
    }

    /// Sends these bytes, and returns the whole reply until the end of the connection.
    pub fn talk(&self, bytes: impl AsRef<[u8]>) -> String {
        let bytes = bytes.as_ref();
        let mut client = self.connect();
        client.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap_or_else(|error| {
            panic!("{:?}: {error} after {:?}", String::from_utf8_lossy(bytes), String::from_utf8_lossy(&answer))
        });
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Sends a request on a new connection.
    pub fn ask(&self, method: &str, target: &str, fields: &[&str], body: &str) -> Answer {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
        fields.iter().for_each(|field| request.push_str(&format!("{field}\r\n")));
        if !body.is_empty() {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        Answer::read(&self.talk(format!("{request}\r\n{body}")))
    }

    pub fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, &[], "")
    }

    /// The next line on stdout; `None` at its end.
    pub fn out_line(&self) -> Option<String> {
        self.out.next()
    }

    /// The next line on stderr; `None` at its end.
    pub fn err_line(&self) -> Option<String> {
        self.err.as_ref().expect("a piped stderr").next()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits until the program ends. Returns the status, and the remaining lines of stdout and stderr.
    pub fn end(mut self) -> (ExitStatus, Vec<String>, Vec<String>) {
        let out = self.out.rest();
        let err = self.err.iter().flat_map(Lines::rest).collect();
        (self.child.wait().unwrap(), out, err)
    }

    /// Stops the program, and waits until it ends.
    pub fn stop(self) -> (ExitStatus, Vec<String>, Vec<String>) {
        self.signal(Signal::TERM);
        self.end()
    }
}

impl Drop for Built {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Lines {
        let (sender, receiver) = channel();
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
                line.clear();
                if sender.send(text).is_err() {
                    return;
                }
            }
        });
        Lines(Mutex::new(receiver))
    }

    fn next(&self) -> Option<String> {
        match self.0.lock().unwrap().recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line and no end of the program within {PATIENCE:?}"),
        }
    }

    fn rest(&self) -> Vec<String> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// A parsed response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn read(text: &str) -> Answer {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no whole head in {text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status in {head:?}"));
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields(name).first().copied()
    }

    /// The values of all its lines.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// The body with its chunks joined.
    pub fn unchunked(&self) -> String {
        let (mut rest, mut whole) = (self.body.as_str(), String::new());
        while let Some((size, more)) = rest.split_once("\r\n") {
            let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("no chunk size: {size:?}"));
            if size == 0 {
                break;
            }
            whole.push_str(&more[..size]);
            rest = &more[size + 2..];
        }
        whole
    }
}

/// Runs a command that ends by itself.
pub fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// An example as built by `cargo test`, beside the folder of this test.
pub fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built: cargo build --examples", path.display());
    let mut command = Command::new(path);
    command.current_dir(root());
    command
}

/// The root of the workspace, which has its lock.
pub fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().find(|folder| folder.join("Cargo.lock").exists()).expect("a lock")
}

/// The program `modest`.
pub fn modest<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Command {
    // `apps` has no such program, and uses the rest of this file.
    let Some(program) = option_env!("CARGO_BIN_EXE_modest") else { panic!("not built for this test") };
    let mut command = Command::new(program);
    command.args(words).current_dir(root());
    // Variables of tests are not settings of the program.
    std::env::vars_os()
        .filter(|(name, _)| name.as_encoded_bytes().starts_with(b"MODEST_"))
        .for_each(|(name, _)| _ = command.env_remove(name));
    command
}

/// Waits until the condition holds.
pub fn wait_for(is_so: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "the condition did not hold within {PATIENCE:?}");
        thread::sleep(Duration::from_micros(100));
    }
}

/// A new folder with these files, removed when this is dropped.
pub fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path: PathBuf = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder
}

/// Base64 with padding (RFC 4648, section 4).
pub fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |group: &[u8]| {
        let bits = group.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        let digit = move |at| if at > group.len() { b'=' } else { DIGITS[(bits >> (18 - 6 * at)) as usize & 63] };
        [digit(0), digit(1), digit(2), digit(3)].map(char::from)
    };
    text.as_bytes().chunks(3).flat_map(digits).collect()
}

/// Whether the connection has ended without an error and without another byte.
pub fn ended(client: &mut TcpStream) -> bool {
    matches!(client.read(&mut [0]), Ok(0))
}

/// The next response of a connection that stays open, by its length.
pub fn read_answer(client: &mut TcpStream) -> Answer {
    let head = String::from_utf8(read_until(client, b"\r\n\r\n").unwrap()).unwrap();
    let mut answer = Answer::read(&head);
    let length = answer.field("content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or_else(|| panic!("no length: {head}"))];
    client.read_exact(&mut body).unwrap();
    answer.body = String::from_utf8_lossy(&body).into_owned();
    answer
}

/// All bytes up to and including these.
pub fn read_until(client: &mut TcpStream, last: &[u8]) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(last) {
        client.read_exact(&mut byte)?;
        read.push(byte[0]);
    }
    Ok(read)
}

pub fn address_in(line: &str) -> Option<SocketAddr> {
    let word = match line.split_once("http://").or_else(|| line.split_once("https://")) {
        Some((_, url)) => url.split(['/', ')', ' ']).next(),
        None => line.split(' ').find(|word| word.parse::<SocketAddr>().is_ok()),
    };
    word?.parse().ok()
}
