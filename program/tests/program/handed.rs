//! Sockets that the program inherits: by number, from systemd, and from one process to the next.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Instant;

use crate::built::{Built, PATIENCE, example, folder, modest, root, run};
use crate::is_rejected_by_the_system;
use rustix::process::{Pid, Signal, kill_process};

/// A shell that runs these commands and then the program with these arguments. Its stdin is the program's.
fn shell(before: &str, words: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{before}\nexec \"$@\""), "sh", env!("CARGO_BIN_EXE_modest")]).args(words);
    command.current_dir(root()).stdout(Stdio::piped());
    command
}

/// The program, started with this socket as its stdin (a shell may move it), and its banners.
struct Started {
    child: Child,
    out: ChildStdout,
}

impl Started {
    fn new(mut command: Command, stdin: impl Into<OwnedFd>) -> Started {
        let mut child = command.stdin(stdin.into()).stderr(Stdio::null()).spawn().expect("a process");
        let out = child.stdout.take().expect("piped");
        Started { child, out }
    }

    /// Returns the next line of the program's output.
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while self.out.read(&mut byte).is_ok_and(|count| count == 1) && byte != *b"\n" {
            line.extend(byte);
        }
        String::from_utf8(line).expect("text")
    }

    /// Stops the program, and waits for its end.
    fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends one request on a connection, and returns the whole response.
fn get(mut stream: impl Read + Write) -> io::Result<String> {
    stream.write_all(b"GET /robots.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn get_at(address: SocketAddr) -> io::Result<String> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    get(stream)
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn banner(address: SocketAddr) -> String {
    format!("Serving HTTP on {} port {} (http://{address}/) ...", address.ip(), address.port())
}

#[test]
fn a_socket_is_taken_over_by_its_number() {
    for (before, word) in [("", "fd:0"), ("exec 3<&0 0</dev/null", "fd:3"), ("exec 7<&0 0</dev/null", "fd:7")] {
        let (listener, address) = listener();
        let mut started = Started::new(shell(before, &["www", "-b", word]), listener);
        assert_eq!(started.line(), banner(address), "{word}");
        let answer = get_at(address).unwrap();
        assert!(answer.starts_with("HTTP/1.1 "), "{word}: {answer:?}");
        started.stop();
        assert!(TcpStream::connect(address).is_err(), "{word}: the old process still listens");
    }
}

/// A socket on loopback that another program has opened is protected against DNS rebinding as one that this program
/// opens: `writes_need_a_host_name_of_this_machine`.
#[test]
fn writes_at_a_socket_of_another_program_need_a_host_name_of_this_machine() {
    let inbox = folder(&[("a.txt", "a")]);
    for (at, status) in [("127.0.0.1:0", "421"), ("0.0.0.0:0", "201")] {
        let listener = TcpListener::bind(at).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut started =
            Started::new(shell("", &[inbox.path().to_str().unwrap(), "--upload", "-b", "fd:0"]), listener);
        assert!(started.line().starts_with("Serving HTTP on "));
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let sent = "PUT /b.txt HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";
        stream.write_all(sent.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{at}: {answer}");
        started.stop();
    }
}

#[test]
fn a_descriptor_that_is_not_listening_is_rejected() {
    for (before, word, said) in [
        ("", "fd:0", "this descriptor is not a listening socket"),
        ("exec 3</dev/null", "fd:3", "this descriptor is not a listening socket"),
        ("", "fd:999", "there is no such descriptor"),
        ("", "fd:1", "this descriptor is not a listening socket"),
    ] {
        let (status, out, err) = run(&mut shell(before, &["www", "-b", word]));
        assert_eq!((status, out.as_str()), (Some(1), ""), "{before} {word}: {err}");
        assert_eq!(err, format!("modest: can't listen at {word}: {said}\n"), "{before}");
    }
    let (connected, other) = UnixStream::pair().unwrap();
    let mut command = shell("exec 3<&0 0</dev/null", &["www", "-b", "fd:3"]);
    let output = command.stdin(OwnedFd::from(connected)).output().unwrap();
    let said = "modest: can't listen at fd:3: this descriptor is not a listening socket\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), said);
    drop(other);
}

#[test]
fn datagram_sockets_are_taken_over_by_number_and_from_systemd() {
    let shell = |before: &str, word: &str| {
        let mut command = Command::new("sh");
        let program = example("udp_upper");
        command.args(["-c", &format!("{before}\nexec \"$@\""), "sh"]).arg(program.get_program()).arg(word);
        command.stdout(Stdio::piped());
        command
    };
    let names = "exec 3<&0 0</dev/null\nexport LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=log";
    for (before, word) in [("", "fd:0"), ("exec 7<&0 0</dev/null", "fd:7"), (names, "systemd"), (names, "systemd:log")]
    {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let mut started = Started::new(shell(before, word), socket);
        assert_eq!(started.line(), format!("Receiving at {address}"), "{word}");
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send_to(b"hello", address).unwrap();
        let mut reply = [0; 10];
        let count = client.recv(&mut reply).unwrap();
        assert_eq!(&reply[..count], b"HELLO", "{word}");
        started.stop();
    }
    let (listener, _) = listener();
    for (before, word) in [("", "fd:0"), ("exec 3<&0 0</dev/null", "fd:3"), (names, "systemd")] {
        let output = shell(before, word).stdin(OwnedFd::from(listener.try_clone().unwrap())).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("is not a socket for datagrams"), "{word}: {said}");
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut command = self::shell("exec 3<&0 0</dev/null", &["www", "-b", "fd:3"]);
    let output = command.stdin(OwnedFd::from(socket)).output().unwrap();
    let said = "modest: can't listen at fd:3: this descriptor is not a listening socket\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), said);
}

#[test]
fn sockets_passed_by_systemd_are_served() {
    let two = "exec 3<&0 4<&0 0</dev/null\n";
    for (before, word, banners) in [
        ("exec 3<&0 0</dev/null\nexport LISTEN_FDS=1 LISTEN_PID=$$", "systemd", 1),
        ("exec 3<&0 0</dev/null\nexport LISTEN_FDS=1", "systemd", 1),
        ("exec 3<&0 0</dev/null\nexport LISTEN_FDS=1 LISTEN_PID=$$", "", 1), // without an option for the socket
        (&format!("{two}export LISTEN_FDS=2 LISTEN_PID=$$"), "systemd", 2),
        (&format!("{two}export LISTEN_FDS=2 LISTEN_PID=$$ LISTEN_FDNAMES=http:admin"), "systemd", 2),
        (&format!("{two}export LISTEN_FDS=2 LISTEN_PID=$$ LISTEN_FDNAMES=http:admin"), "systemd:admin", 1),
        (&format!("{two}export LISTEN_FDS=2 LISTEN_PID=$$ LISTEN_FDNAMES=web:web"), "systemd:web", 2),
    ] {
        let (listener, address) = listener();
        let words = if word.is_empty() { vec!["www"] } else { vec!["www", "-b", word] };
        let mut started = Started::new(shell(before, &words), listener);
        for _ in 0..banners {
            assert_eq!(started.line(), banner(address), "{before}");
        }
        let answer = get_at(address).unwrap();
        assert!(answer.starts_with("HTTP/1.1 "), "{before}: {answer:?}");
        started.stop();
    }
}

#[test]
fn a_socket_systemd_did_not_pass_is_an_error() {
    for (before, word, said) in [
        ("unset LISTEN_FDS", "systemd", "no sockets were handed over: LISTEN_FDS is not set"),
        ("export LISTEN_FDS=1 LISTEN_PID=1", "systemd", "no sockets were handed over to process "),
        ("export LISTEN_FDS=0 LISTEN_PID=$$", "systemd", "no such socket was handed over"),
        ("export LISTEN_FDS=x LISTEN_PID=$$", "systemd", "the variable LISTEN_FDS is not a number"),
        ("export LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=a", "systemd:b", "no such socket was handed over"),
        ("exec 3</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$", "systemd", "fd:3: this descriptor is not a"),
    ] {
        let (status, out, err) = run(&mut shell(before, &["www", "-b", word]));
        assert_eq!((status, out.as_str()), (Some(1), ""), "{before}: {err}");
        let expected = format!("modest: can't listen at {word}: {said}");
        assert!(err.starts_with(&expected) && err.lines().count() == 1, "{before}: {err}");
    }
}

/// A socket without a file, and the value of `NOTIFY_SOCKET` that names it. `None` if the program can't use one on this
/// system.
#[cfg(target_os = "linux")]
fn abstract_socket() -> Option<(UnixDatagram, String)> {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("modest-notify-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let is_supported = modest::system_services().contains(&("abstract Unix sockets", "yes"));
    is_supported.then(|| (UnixDatagram::bind_addr(&address).unwrap(), format!("@{name}")))
}

#[cfg(not(target_os = "linux"))]
fn abstract_socket() -> Option<(UnixDatagram, String)> {
    None
}

#[test]
fn systemd_is_notified_of_start_and_stop() {
    let files = folder(&[("file.txt", "inside")]);
    let path = files.path().join("notify");
    let file = (UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap().to_owned());
    for (socket, variable) in [file].into_iter().chain(abstract_socket()) {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let heard = || {
            let mut message = [0; 100];
            let count = socket.recv(&mut message).unwrap_or_else(|err| panic!("{variable}: no message: {err}"));
            String::from_utf8_lossy(&message[..count]).into_owned()
        };
        let mut command = modest(["-p", "0"]);
        let modest = Built::start(command.current_dir(&files).env("NOTIFY_SOCKET", &variable));
        assert_eq!(heard(), "READY=1", "{variable}");
        let mut client = modest.connect(); // an incomplete request, so that the shutdown takes some time
        client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n").unwrap();
        assert_eq!(modest.get("/file.txt").body, "inside");
        modest.signal(Signal::TERM);
        assert_eq!(heard(), "STOPPING=1", "{variable}");
        drop(client);
        let (status, _, err) = modest.end();
        assert!(status.success(), "{err:?}");
    }
}

/// If systemd passed a socket that no option names, the start fails: its connections would never be served.
#[test]
fn a_passed_socket_that_no_option_names_is_rejected() {
    let (socket, _) = listener();
    let handed = "exec 3<&0 0</dev/null\nexport LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=modest.socket";
    for words in [&["www", "-p", "0"][..], &["www", "-b", "127.0.0.1:0"], &["www", "--config", "/dev/null", "-p", "0"]]
    {
        let (status, out, err) = run(&mut shell(handed, words));
        assert_eq!((status, &*out, err.lines().count()), (Some(2), "", 1), "{words:?}: {err}");
        assert!(err.contains("systemd passed fd:3 (modest.socket), which"), "{words:?}: {err}");
    }
    let words = ["www", "-b", "127.0.0.1:0", "-b", "systemd"];
    let mut started = Started::new(shell(handed, &words), socket.try_clone().unwrap());
    assert!(started.line().starts_with("Serving HTTP"));
    started.stop();
}

/// With a passed socket the shutdown waits for no client, so the server can end before the notifying thread has seen
/// the shutdown. systemd is notified nevertheless.
#[test]
fn systemd_is_notified_even_of_a_very_fast_stop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap(); // the program has ended by then, so all its notifications have arrived
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for run in 0..100 {
        let mut command = shell("", &["www", "-q", "-b", "fd:0"]);
        command.env("NOTIFY_SOCKET", &path);
        let mut started = Started::new(command, listener.try_clone().unwrap());
        assert!(started.line().starts_with("Serving HTTP"));
        started.stop();
        for expected in ["READY=1", "STOPPING=1"] {
            let mut message = [0; 100];
            let count = socket.recv(&mut message).unwrap_or_else(|err| panic!("run {run}: no {expected}: {err}"));
            assert_eq!(String::from_utf8_lossy(&message[..count]), expected, "run {run}");
        }
    }
}

#[test]
fn a_failed_systemd_notification_is_logged_and_delays_nothing() {
    let modest = Built::start(modest(["www", "-p", "0"]).env("NOTIFY_SOCKET", "/no/such/socket"));
    assert!(modest.get("/").status == 200);
    let (status, _, err) = modest.stop();
    let told = err.iter().filter(|line| line.contains("can't notify systemd")).count();
    assert!(status.success() && told == 2, "{err:?}");
}

/// The addresses that clients connect to.
#[derive(Clone)]
enum Place {
    Inet(SocketAddr),
    Unix(PathBuf),
}

impl Place {
    fn get(&self) -> io::Result<String> {
        match self {
            Place::Inet(address) => get_at(*address),
            Place::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                get(stream)
            }
        }
    }
}

/// Servers replace each other at one listening socket while clients connect repeatedly. No connection may fail.
#[test]
fn a_successor_takes_over_without_one_failed_connection() {
    const SUCCESSORS: usize = 6;
    let files = folder(&[("robots.txt", "here")]);
    let path = files.path().join("socket");
    let (tcp, address) = listener();
    let unix = UnixListener::bind(&path).unwrap();
    let cases: [(Box<dyn Fn() -> OwnedFd>, Place); 2] = [
        (Box::new(move || tcp.try_clone().unwrap().into()), Place::Inet(address)),
        (Box::new(move || unix.try_clone().unwrap().into()), Place::Unix(path.clone())),
    ];
    for (socket, place) in cases {
        let start = || {
            let mut command = modest(["-q", "-b", "fd:0"]);
            command.current_dir(&files).stdout(Stdio::piped());
            let mut started = Started::new(command, socket());
            assert!(started.line().starts_with("Serving HTTP on "), "the banner");
            started
        };
        let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
        let clients = |count: usize| {
            let (started, before) = (Instant::now(), answered.load(SeqCst));
            while answered.load(SeqCst) < before + count {
                assert!(started.elapsed() < PATIENCE, "{} clients were answered", answered.load(SeqCst) - before);
                thread::sleep(std::time::Duration::from_micros(100));
            }
        };
        let mut serving = start();
        let failures: Vec<String> = thread::scope(|scope| {
            let load: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let mut failures = Vec::new();
                        while !over.load(SeqCst) {
                            match place.get() {
                                Ok(answer) if answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("here") => {}
                                other => failures.push(format!("{other:?}")),
                            }
                            answered.fetch_add(1, SeqCst);
                        }
                        failures
                    })
                })
                .collect();
            let end = OverAtEnd(&over);
            for _ in 0..SUCCESSORS {
                clients(100);
                let successor = start();
                clients(20);
                std::mem::replace(&mut serving, successor).stop();
            }
            clients(100);
            drop(end);
            load.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        let answered = answered.load(SeqCst);
        assert!(failures.is_empty(), "{} of {answered} clients failed, first: {}", failures.len(), failures[0]);
        serving.stop();
    }
    assert!(fs::exists(&path).unwrap(), "the socket file of the process that created it must stay");
}

/// Ends the load even if the test fails. Otherwise the failed test would wait for the load.
struct OverAtEnd<'a>(&'a AtomicBool);

impl Drop for OverAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// With `--user`, a socket in a folder with the setgid bit has the group of the folder, so nginx in that group can
/// connect. If the group can write to the folder, the file is removed at the end.
#[test]
fn a_unix_socket_has_the_group_of_a_setgid_folder() {
    if !rustix::process::geteuid().is_root() || is_rejected_by_the_system(&["--user"]) {
        return;
    }
    let files = folder(&[("www/a.txt", "a")]);
    fs::set_permissions(files.path(), PermissionsExt::from_mode(0o755)).unwrap();
    for (mode, is_removed) in [(0o2770, true), (0o2750, false)] {
        let run_folder = files.path().join(format!("run-{mode:o}"));
        fs::create_dir(&run_folder).unwrap();
        chown(&run_folder, None, Some(65533)).unwrap();
        fs::set_permissions(&run_folder, PermissionsExt::from_mode(mode)).unwrap();
        let socket = run_folder.join("socket");
        let bind = format!("unix:{}", socket.display());
        let mut command = shell("", &["www", "-b", &bind, "--socket-mode", "660", "--user", "65534:65533"]);
        command.current_dir(&files);
        let mut server = Started::new(command, fs::File::open("/dev/null").unwrap());
        assert!(server.line().contains("Serving"));
        let found = fs::symlink_metadata(&socket).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (0, 65533, 0o660));
        server.stop();
        assert_eq!(socket.exists(), !is_removed, "{mode:o}");
    }
}
