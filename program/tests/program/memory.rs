//! The built program with clients that try to use up its memory: it stays within `--memory`, and serves new clients.
//! The resulting limits are those of docs/deploy.md.
//!
//! `MEMORY_CLIENTS=19000 cargo test --release --test memory` is the long form, with as many clients as there are
//! descriptors.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::built::{Built, root};
use rustix::process::{Resource, getrlimit, setrlimit};

const MIB: usize = 1024 * 1024;

/// The peak memory of the process, in bytes, without the program's file, which is large without optimization.
fn peak(built: &Built) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", built.pid().as_raw_nonzero())).unwrap();
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    };
    value("VmHWM:") - value("RssFile:")
}

fn clients() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    std::env::var("MEMORY_CLIENTS").map_or(3000, |number| number.parse().unwrap())
}

/// Another client that sends these bytes and then nothing. It never blocks: bytes that do not fit into the socket are
/// left out.
fn send(built: &Built, bytes: &[u8]) -> Option<TcpStream> {
    let mut client = TcpStream::connect_timeout(&built.address, Duration::from_secs(10)).ok()?;
    client.set_nonblocking(true).unwrap();
    match client.write(bytes) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => None,
        _ => Some(client),
    }
}

fn head(method: &str, fields: &str, cookie: usize) -> Vec<u8> {
    format!("{method} /new HTTP/1.1\r\nHost: a\r\n{fields}Cookie: {}\r\n", "c".repeat(cookie)).into_bytes()
}

/// The first records of a ClientHello of 60,000 bytes.
fn half_a_handshake() -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..3 {
        bytes.extend_from_slice(&[22, 3, 1, 0x40, 0]);
        let body = if number == 0 { vec![1, 0, 0xEA, 0x60] } else { Vec::new() };
        bytes.extend_from_slice(&body);
        bytes.resize(bytes.len() + 0x4000 - body.len(), 0);
    }
    bytes
}

/// Several folders together keep as many files open as one does: an eighth of the descriptors.
#[cfg(target_os = "linux")]
#[test]
fn several_folders_share_the_open_files() {
    const FOLDERS: usize = 8;
    const FILES: usize = 20;
    let folder = crate::built::folder(&[]);
    let path = |at: usize| folder.path().join(at.to_string());
    for at in 0..FOLDERS {
        std::fs::create_dir(path(at)).unwrap();
        (0..FILES).for_each(|file| std::fs::write(path(at).join(file.to_string()), [b'x'; 100_000]).unwrap());
    }
    let places = (0..FOLDERS).map(|at| format!("/{at}={}", path(at).display()));
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 256; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_modest"), "-p", "0", "-q"]);
    let built = Built::start(shell.args(places));
    let open = || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", built.pid().as_raw_nonzero())).unwrap();
        let targets = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        targets.filter(|target| target.starts_with(folder.path()) && target.is_file()).count()
    };
    for (at, file) in (0..FOLDERS).flat_map(|at| (0..FILES).map(move |file| (at, file))) {
        let answer = built.get(&format!("/{at}/{file}"));
        assert_eq!((answer.status, answer.body.len()), (200, 100_000), "/{at}/{file}");
    }
    let most = open();
    assert!((1..=256 / 8).contains(&most), "{most} files are open");
}

/// The rows of the table in docs/deploy.md.
#[test]
fn the_table_of_sizes_matches_the_code() {
    let page = std::fs::read_to_string(root().join("docs/deploy.md")).unwrap();
    let row = |line: &str| -> Vec<u64> {
        let number = |cell: &str| {
            let digits: String = cell.chars().filter(char::is_ascii_digit).collect();
            let unit = if cell.contains("MiB") {
                MIB
            } else if cell.contains("KiB") {
                1024
            } else {
                1
            };
            digits.parse::<u64>().unwrap_or_else(|_| panic!("no number in {cell:?}")) * unit as u64
        };
        line.trim_matches('|').split('|').map(number).collect()
    };
    let table = page.split("| `--compress-cache` |").nth(1).expect("the table of default limits");
    let rows: Vec<_> = table.lines().skip(2).take_while(|line| line.starts_with('|')).map(row).collect();
    assert!(rows.len() > 3, "{rows:?}");
    for row in rows {
        let limits = modest::DefaultLimits::for_memory(row[0]);
        let expected = [
            row[0],
            limits.connections as u64,
            limits.tls_connections as u64,
            limits.input_quota,
            limits.body_memory_quota,
            limits.file_cache,
            limits.listing_cache,
            limits.compressed_cache,
        ];
        assert_eq!(row, expected);
    }
}

#[test]
fn memory_hungry_clients_do_not_grow_a_small_server() {
    let body = |head: Vec<u8>, length: usize| [head, b"\r\n".to_vec(), vec![b'b'; length]].concat();
    let pipelined = b"GET /missing HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1800);
    let rows: [(&str, &[&str], Vec<u8>); 7] = [
        ("half heads", &[], head("GET", "", 30_000)),
        (
            "bodies that are kept in memory",
            &["--upload"],
            body(
                head("POST", "Content-Length: 65000\r\nContent-Type: multipart/form-data; boundary=a\r\n", 10),
                64_000,
            ),
        ),
        ("bodies on their way to a file", &["--upload"], body(head("PUT", "Content-Length: 1000000\r\n", 10), 64_000)),
        (
            "chunks",
            &["--upload"],
            body(head("PUT", "Transfer-Encoding: chunked\r\n", 10), 0)
                .into_iter()
                .chain(*b"ffff\r\n")
                .chain([b'b'; 64_000])
                .collect(),
        ),
        (
            "large heads whose bodies do not arrive",
            &["--upload"],
            body(head("PUT", "Content-Length: 10\r\n", 30_000), 1),
        ),
        ("requests whose responses the client does not read", &[], pipelined),
        ("half handshakes", &["--tls-self-signed"], half_a_handshake()),
    ];
    for (what, options, bytes) in rows {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.txt"), "hello\n").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_modest"));
        command.args(["--memory", "64m", "--port", "0", "--quiet"]).args(options).arg(folder.path());
        let built = Built::start(&mut command);
        let begun = Instant::now();
        let mut held: Vec<TcpStream> = (0..clients()).filter_map(|_| send(&built, &bytes)).collect();
        if options.contains(&"--tls-self-signed") {
            let newcomer = Command::new("curl")
                .args(["-ksf", "--max-time", "20"])
                .arg(format!("https://{}/a.txt", built.address))
                .output();
            if let Ok(output) = newcomer {
                assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\n", "{what}: {output:?}");
            }
        } else {
            for _ in 0..20 {
                assert_eq!(built.get("/a.txt").body, "hello\n", "{what}: a newcomer");
            }
        }
        let peak = peak(&built);
        println!("{what}: {} MiB at most, under {} clients, {:?}", peak / MIB, held.len(), begun.elapsed());
        assert!(peak < 64 * MIB, "{what}: {} MiB", peak / MIB);
        held.clear();
        drop(built);
    }
}
