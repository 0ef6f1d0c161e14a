//! Good and bad clients together, for any time: no resource may grow, and the good clients must not notice the bad
//! ones. If nginx is installed, it gets the same clients at the same time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use rustix::process::{Pid, Signal, kill_process};

use crate::built::{Answer, Built, folder, modest};
use crate::watch::Watch;
use crate::{Seen, seen};

/// The duration in seconds; 30 unless the environment sets it.
const SECONDS: &str = "SOAK_SECONDS";
const LARGE: usize = 8 << 20;
const SAMPLES: u32 = 24;
/// The limit of a server's memory growth, from the maximum in the second quarter to the maximum in the last one. The
/// allocator may keep that much.
const GROWTH: f64 = 1.1;

/// A server that is measured.
struct Server {
    name: &'static str,
    address: SocketAddr,
    processes: Vec<Watch>,
    takes: bool, // accepts files from clients
    over: AtomicBool,
    right: AtomicU64,
    wrong: Mutex<BTreeMap<String, u64>>,
}

/// The resources of its processes at one time.
#[derive(Clone, Copy)]
struct Sample {
    memory: u64, // KiB
    descriptors: usize,
    threads: usize,
}

pub fn mixed() -> Seen {
    let seconds = std::env::var(SECONDS).map_or(30, |text| text.parse().expect("a number of seconds"));
    let site = folder(&[("index.html", "here\n"), ("up/keep", ""), ("style.css", &"p { margin: 0 }\n".repeat(500))]);
    File::create(site.path().join("large")).and_then(|file| file.set_len(LARGE as u64)).expect("a large file");
    (0..300).for_each(|n| fs::create_dir_all(site.path().join(format!("names/{n}"))).expect("a folder"));
    let words = ["-p", "0", "-q", "--upload", "--allow-delete", "--archive", "--compress", "--metrics"];
    let built = Built::start(modest([site.path().as_os_str()]).args(words));
    let peer = Nginx::start(site.path());
    let mut servers = vec![Server::new("modest", built.address, vec![Watch::of(built.pid())], true)];
    servers.extend(peer.as_ref().map(|nginx| Server::new("nginx", nginx.address, nginx.processes(), false)));
    // Files that are kept open are not a leak, so they are requested once before the measurement.
    ["/", "/style.css", "/large", "/names/"].into_iter().for_each(|path| drop(built.get(path)));
    let before = servers[0].sample();
    let samples = thread::scope(|scope| {
        for server in &servers {
            for (number, client) in CLIENTS.iter().enumerate() {
                if server.takes || !client.needs_taking {
                    for _ in 0..client.count {
                        scope.spawn(move || server.be(client, number));
                    }
                }
            }
        }
        let began = Instant::now();
        let samples: Vec<Vec<Sample>> = (1..=SAMPLES)
            .map(|count| {
                let at = began + Duration::from_secs(seconds) * count / SAMPLES;
                sleep(at.saturating_duration_since(Instant::now()));
                servers.iter().map(Server::sample).collect()
            })
            .collect();
        servers.iter().for_each(|server| server.over.store(true, Relaxed));
        samples
    });
    pause(1500); // deleted files that were kept open are closed by the first request after a second (docs/files.md)
    drop(built.get("/"));
    let alone = |watch: &Watch| watch.descriptors() <= before.descriptors + 2;
    let left = servers[0].processes[0].until(Duration::from_secs(90), alone);
    let figures = built.get("/metrics").body;
    let idle = [
        "modest_connections{state=\"parked\"} 0",
        "modest_connections{state=\"waiting\"} 0",
        "modest_handlers_running 1",
    ];
    let idle = idle.iter().filter(|line| figures.lines().any(|found| found == **line)).count() == idle.len();
    let uploads = fs::read_dir(site.path().join("up")).map_or(0, Iterator::count);
    let told: Vec<String> = servers.iter().enumerate().map(|(at, server)| server.tell(at, &samples)).collect();
    let quarter = |quarter: usize| samples.chunks(samples.len() / 4).nth(quarter).into_iter().flatten();
    let most = |in_quarter| quarter(in_quarter).map(|all| all[0].memory).max().unwrap_or(0) as f64;
    let threads = |in_quarter| quarter(in_quarter).map(|all| all[0].threads).max();
    let holds = servers[0].wrong.lock().expect("no panic").is_empty()
        && most(3) <= most(1) * GROWTH + 2048.0
        && threads(3) <= threads(1)
        && left.is_some()
        && idle
        && uploads == 1;
    seen(
        holds,
        format!(
            "{seconds} s; {}; then descriptors back after {left:.0?}, no client connected: {idle}, {} files left over",
            told.join("; "),
            uploads - 1
        ),
    )
}

/// A kind of client: its repeated action, and the number of such clients.
struct Kind {
    name: &'static str,
    count: usize,
    needs_taking: bool,
    act: fn(&Server, u64) -> io::Result<()>,
}

const fn kind(name: &'static str, count: usize, act: fn(&Server, u64) -> io::Result<()>) -> Kind {
    Kind { name, count, needs_taking: false, act }
}

/// Good clients report errors; bad clients ignore them.
const CLIENTS: &[Kind] = &[
    kind("keeps its connection", 4, |server, _| {
        let mut client = server.connect()?;
        for (head, status) in [
            ("GET / HTTP/1.1\r\n", 200),
            ("HEAD /style.css HTTP/1.1\r\n", 200),
            ("GET /style.css HTTP/1.1\r\nAccept-Encoding: gzip\r\n", 200),
            ("GET /nothing HTTP/1.1\r\n", 404),
            ("GET /large HTTP/1.1\r\nRange: bytes=5000000-6000000\r\n", 206),
            ("GET /names/ HTTP/1.1\r\n", 200),
        ] {
            server.ask(&mut client, head, b"", &[status])?;
            pause(20);
        }
        Ok(())
    }),
    kind("a connection each", 2, |server, _| {
        server.ask(&mut server.connect()?, "GET / HTTP/1.1\r\nConnection: close\r\n", b"", &[200])?;
        pause(20);
        Ok(())
    }),
    kind("downloads slowly", 2, |server, _| {
        let mut client = server.connect()?;
        client.write_all(b"GET /large HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n")?;
        let (mut left, mut buffer) = (0, vec![0; 64 << 10]);
        loop {
            match client.read(&mut buffer)? {
                0 => break,
                count => left += count,
            }
            pause(10);
        }
        server.expect(left > LARGE && left < LARGE + 1000, || format!("a download of {left} bytes"));
        Ok(())
    }),
    Kind {
        name: "uploads and deletes",
        count: 2,
        needs_taking: true,
        act: |server, turn| {
            let mut client = server.connect()?;
            let (path, body) = (format!("/up/{:?}-{turn}", thread::current().id()), vec![b'x'; 300_000]);
            server.ask(&mut client, &format!("PUT {path} HTTP/1.1\r\n"), &body, &[201])?;
            server.ask(&mut client, &format!("GET {path} HTTP/1.1\r\n"), b"", &[200])?;
            server.ask(&mut client, &format!("DELETE {path} HTTP/1.1\r\n"), b"", &[204])?;
            pause(50);
            Ok(())
        },
    },
    Kind {
        name: "takes archives",
        count: 1,
        needs_taking: true,
        act: |server, _| {
            let mut client = server.connect()?;
            client.write_all(b"GET /names/?archive=zip HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n")?;
            let mut all = Vec::new();
            client.read_to_end(&mut all)?;
            server.expect(all.ends_with(b"\r\n0\r\n\r\n"), || format!("an archive of {} bytes", all.len()));
            pause(200);
            Ok(())
        },
    },
    kind("uploads are aborted", 2, |server, turn| {
        let mut client = server.connect()?;
        write!(client, "PUT /up/broken-{turn} HTTP/1.1\r\nHost: soak\r\nContent-Length: 10000000\r\n\r\n")?;
        client.write_all(&vec![b'x'; 100_000])?;
        reset(&client, turn % 2 == 0);
        pause(50);
        Ok(())
    }),
    kind("leaves in a download", 2, |server, turn| {
        let mut client = server.connect()?;
        client.write_all(b"GET /large HTTP/1.1\r\nHost: soak\r\n\r\n")?;
        client.read_exact(&mut [0; 10_000])?;
        reset(&client, turn % 2 == 0);
        pause(30);
        Ok(())
    }),
    kind("half a head", 30, |server, turn| {
        let mut client = server.connect()?;
        client.write_all(&b"GET / HTTP/1.1\r\nHost: so"[..1 + turn as usize % 23])?;
        client.read_to_end(&mut Vec::new()).map(drop)
    }),
    kind("drips", 4, |server, _| {
        let mut client = server.connect()?;
        for byte in b"GET / HTTP/1.1\r\nHost: soak\r\nX: ".iter().chain([b'x'; 200].iter()) {
            client.write_all(&[*byte])?;
            pause(200);
        }
        Ok(())
    }),
    kind("asks and is deaf", 8, |server, _| {
        let mut client = server.connect()?;
        client.write_all(b"GET /large HTTP/1.1\r\nHost: soak\r\n\r\n")?;
        for _ in 0..350 {
            if server.over.load(Relaxed) {
                break;
            }
            pause(100);
        }
        Ok(())
    }),
    kind("talks nonsense", 2, |server, turn| {
        let nonsense: [&[u8]; 8] = [
            b"GET / HTTP/9.9\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
            b"GET /%zz/../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\0\0\0\0\0\0\0\0\r\n\r\n",
            b"BREW /pot HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
            &[b'A'; 70_000],
        ];
        let mut client = server.connect()?;
        client.write_all(nonsense[turn as usize % nonsense.len()])?;
        client.shutdown(std::net::Shutdown::Write)?;
        client.read_to_end(&mut Vec::new())?;
        pause(30);
        Ok(())
    }),
    kind("a hundred connect and leave", 1, |server, _| {
        let all: Vec<_> = (0..100).map_while(|_| server.connect().ok()).collect();
        pause(1000);
        all.iter().for_each(|client| reset(client, true));
        pause(2000);
        Ok(())
    }),
];

impl Server {
    fn new(name: &'static str, address: SocketAddr, processes: Vec<Watch>, takes: bool) -> Server {
        let (over, right, wrong) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::default());
        Server { name, address, processes, takes, over, right, wrong }
    }

    /// Repeats the action until the end. A connection error of a good client also counts.
    fn be(&self, kind: &Kind, number: usize) {
        const GOOD: usize = 5;
        for turn in 0.. {
            if self.over.load(Relaxed) {
                return;
            }
            if let Err(error) = (kind.act)(self, turn) {
                self.expect(number >= GOOD, || format!("{}: {error}", kind.name));
                pause(10);
            }
        }
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let client = TcpStream::connect_timeout(&self.address, Duration::from_secs(10))?;
        client.set_read_timeout(Some(Duration::from_secs(20)))?;
        client.set_write_timeout(Some(Duration::from_secs(20)))?;
        Ok(client)
    }

    /// One request and its response, whose status must be one of these.
    fn ask(&self, client: &mut TcpStream, head: &str, body: &[u8], statuses: &[u16]) -> io::Result<()> {
        write!(client, "{head}Host: soak\r\nContent-Length: {}\r\n\r\n", body.len())?;
        client.write_all(body)?;
        let method = head.split(' ').next().unwrap_or_default();
        let mut bytes = Vec::new();
        let answer = read(client, method == "HEAD", &mut bytes)
            .map_err(|error| io::Error::other(format!("{error} after {} bytes for {method}", bytes.len())))?;
        self.expect(statuses.contains(&answer.status), || format!("{method} not {statuses:?} but {}", answer.status));
        Ok(())
    }

    fn expect(&self, right: bool, what: impl Fn() -> String) {
        match right {
            true => _ = self.right.fetch_add(1, Relaxed),
            false => *self.wrong.lock().expect("no panic").entry(what()).or_default() += 1,
        }
    }

    fn sample(&self) -> Sample {
        Sample {
            memory: self.processes.iter().map(Watch::memory).sum(),
            descriptors: self.processes.iter().map(Watch::descriptors).sum(),
            threads: self.processes.iter().map(Watch::threads).sum(),
        }
    }

    /// Memory, descriptors and threads: the maximum of each quarter.
    fn tell(&self, at: usize, samples: &[Vec<Sample>]) -> String {
        let most = |of: fn(&Sample) -> usize| {
            let quarters = samples.chunks(samples.len() / 4);
            let most = quarters.map(|quarter| quarter.iter().map(|all| of(&all[at])).max().unwrap_or(0).to_string());
            most.collect::<Vec<_>>().join(", ")
        };
        let (memory, descriptors) = (most(|sample| sample.memory as usize), most(|sample| sample.descriptors));
        let (right, wrong) = (self.right.load(Relaxed), self.wrong.lock().expect("no panic"));
        format!(
            "{}: {right} right, wrong {wrong:?}, by quarters: {memory} KiB, {descriptors} descriptors, {} threads",
            self.name,
            most(|sample| sample.threads)
        )
    }
}

/// One whole response: by its length, or chunked.
fn read(client: &mut TcpStream, head_only: bool, bytes: &mut Vec<u8>) -> io::Result<Answer> {
    let mut more = |bytes: &mut Vec<u8>| {
        let mut buffer = [0; 16 << 10];
        match client.read(&mut buffer)? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
        Ok(())
    };
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        more(bytes)?;
    };
    let answer = Answer::read(&String::from_utf8_lossy(&bytes[..head]));
    let length = answer.field("content-length").and_then(|length| length.parse::<usize>().ok());
    let is_whole = |bytes: &[u8]| match length {
        _ if head_only || answer.status == 204 => true,
        Some(length) => bytes.len() >= head + length,
        None => bytes.ends_with(b"\r\n0\r\n\r\n"),
    };
    while !is_whole(bytes) {
        more(bytes)?;
    }
    Ok(answer)
}

fn reset(client: &TcpStream, by_reset: bool) {
    if by_reset {
        let _ = set_socket_linger(client, Some(Duration::ZERO));
    }
}

fn pause(milliseconds: u64) {
    sleep(Duration::from_millis(milliseconds));
}

/// nginx on this folder, with its default limits.
struct Nginx {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// `None`: nginx is not installed.
    fn start(site: &std::path::Path) -> Option<Nginx> {
        let own = tempfile::tempdir().expect("a folder");
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let (own_path, site) = (own.path().display(), site.display());
        let settings = format!(
            "daemon off; user root; worker_processes 2; pid {own_path}/pid; error_log {own_path}/error;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; sendfile on; server {{ listen {address}; root {site}; autoindex on; }} }}\n"
        );
        let file = own.path().join("nginx.conf");
        fs::write(&file, settings).expect("a file");
        let silent = || Stdio::null();
        let child = Command::new("nginx").arg("-c").arg(&file).stdout(silent()).stderr(silent()).spawn().ok()?;
        let nginx = Nginx { child, address, _folder: own };
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if began.elapsed() > Duration::from_secs(10) {
                return None;
            }
            pause(20);
        }
        Some(nginx)
    }

    fn processes(&self) -> Vec<Watch> {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let ids = children.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?));
        ids.map(Watch::of).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}
