//! Clients that are silent, incomplete, slow, do not read, use much memory, or are too many.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Command;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use rustix::process::{Resource, Rlimit, prlimit};
use tempfile::TempDir;

use crate::built::{Built, folder, modest};
use crate::crowd::{GET, answered, crowd, fresh};
use crate::watch::{Watch, socket_memory};
use crate::{Seen, seen};

/// A folder with a page and a sparse file of 100 MB.
fn site() -> (TempDir, Built) {
    let site = folder(&[("index.html", "here\n")]);
    File::create(site.path().join("large")).and_then(|file| file.set_len(100_000_000)).expect("a large file");
    let mut command: Command = modest([site.path().as_os_str(), "-p".as_ref(), "0".as_ref(), "-q".as_ref()]);
    let server = Built::start(&mut command);
    fresh(&server, 50);
    (site, server)
}

pub fn late() -> Seen {
    let (_site, server) = site();
    let server = &server;
    let took = |first: &'static [u8], drip: &'static [u8]| {
        let mut client = server.connect();
        client.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
        client.write_all(first).unwrap();
        let began = Instant::now();
        for byte in drip.chunks(1) {
            if client.write_all(byte).is_err() || began.elapsed() > Duration::from_secs(15) {
                break;
            }
            sleep(Duration::from_millis(200));
            client.set_nonblocking(true).unwrap();
            let here = client.peek(&mut [0]).is_ok();
            client.set_nonblocking(false).unwrap();
            if here {
                break;
            }
        }
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        (began.elapsed().as_secs_f64(), String::from_utf8_lossy(&answer).get(9..12).unwrap_or("").to_owned())
    };
    let drip = b"a long field: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let (silent, half, dripped) = thread::scope(|scope| {
        let silent = scope.spawn(move || took(b"", b""));
        let half = scope.spawn(move || took(b"GET / HTTP/1.1\r\nHo", b""));
        let dripped = scope.spawn(move || took(b"GET / HTTP/1.1\r\n", drip));
        (silent.join().unwrap(), half.join().unwrap(), dripped.join().unwrap())
    });
    let near = |time: f64, wanted: f64| time > wanted - 1.0 && time < wanted + 3.0;
    let holds = near(silent.0, 60.0) && near(half.0, 10.0) && near(dripped.0, 10.0);
    seen(
        holds && silent.1.is_empty() && half.1 == "408" && dripped.1 == "408",
        format!("{silent:?}, {half:?}, {dripped:?}"),
    )
}

pub fn deaf() -> Seen {
    let (_site, server) = site();
    let watch = Watch::of(server.pid());
    let (memory, sockets, open) = (watch.memory(), socket_memory(), watch.descriptors());
    let deaf = crowd(&server, 200, b"GET /large HTTP/1.1\r\nHost: soak\r\n\r\n");
    sleep(Duration::from_secs(2));
    let (memory, sockets) = (watch.memory().saturating_sub(memory), socket_memory().saturating_sub(sockets));
    let (ticks, _) = watch.over(Duration::from_secs(3));
    let fresh = fresh(&server, 200);
    let gone = watch.until(Duration::from_secs(40), |watch| watch.descriptors() <= open + 4);
    drop(deaf);
    let holds = memory < 8 << 10 && sockets < 128 << 10 && ticks <= 3 && gone.is_some();
    seen(
        holds,
        format!("{memory} KiB, {sockets} KiB of sockets, {ticks} ticks in 3 s, {fresh}, gone after 5 s and {gone:.0?}"),
    )
}

pub fn pipelining() -> Seen {
    let (_site, server) = site();
    let watch = Watch::of(server.pid());
    let memory = watch.memory();
    let greedy: Vec<_> = (0..20).map(|_| server.connect()).collect();
    let requests = GET.repeat(1000);
    let sent: usize = thread::scope(|scope| {
        let all: Vec<_> = greedy
            .iter()
            .map(|mut client| {
                let requests = &requests;
                scope.spawn(move || {
                    client.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
                    std::iter::from_fn(|| client.write(requests).ok()).take(100_000).sum::<usize>()
                })
            })
            .collect();
        all.into_iter().map(|client| client.join().unwrap()).sum()
    });
    let memory = watch.memory().saturating_sub(memory);
    let (ticks, _) = watch.over(Duration::from_secs(1));
    seen(
        memory < 16 << 10 && ticks <= 1,
        format!("{memory} KiB, {} KB taken, {ticks} ticks, {}", sent / 1000, fresh(&server, 200)),
    )
}

pub fn half_heads() -> Seen {
    let (_site, server) = site();
    let watch = Watch::of(server.pid());
    let alone = fresh(&server, 1000);
    let memory = watch.memory();
    let half = crowd(&server, 5000, b"GET / HTTP/1.1\r\nHost: so");
    sleep(Duration::from_millis(500));
    let each = watch.memory().saturating_sub(memory) as f64 / 5000.0;
    let beside = fresh(&server, 1000);
    drop(half);
    seen(beside.p99 < Duration::from_millis(10) && each < 1.0, format!("{beside}; alone {alone}; {each:.2} KiB each"))
}

pub fn idle() -> Seen {
    let (_site, server) = site();
    let watch = Watch::of(server.pid());
    let memory = watch.memory();
    let mut idle = crowd(&server, 10_000, GET);
    let count = answered(&mut idle, "HTTP/1.1 200");
    sleep(Duration::from_millis(500));
    let each = watch.memory().saturating_sub(memory) as f64 / 10_000.0;
    let (ticks, switches) = watch.over(Duration::from_secs(5));
    let holds = count == 10_000 && each <= 0.55 && ticks == 0 && switches == 0;
    seen(holds, format!("{count} answered, {each:.2} KiB each, {ticks} ticks, {switches} switches"))
}

pub fn come_and_go() -> Seen {
    let (_site, server) = site();
    let watch = Watch::of(server.pid());
    let (memory, open) = (watch.memory(), watch.descriptors());
    thread::scope(|scope| {
        for number in 0..8 {
            let server = &server;
            scope.spawn(move || {
                for round in 0..2500 {
                    let mut client = server.connect();
                    if round % 2 == 0 {
                        let _ = client.write_all(&GET[..number * 3]);
                    }
                    if round % 3 == 0 {
                        let _ = set_socket_linger(&client, Some(Duration::ZERO)); // disconnects with a reset
                    }
                }
            });
        }
    });
    let back = watch.until(Duration::from_secs(5), |watch| watch.descriptors() <= open + 1);
    let memory = watch.memory().saturating_sub(memory);
    seen(
        back.is_some() && memory < 8 << 10,
        format!("{memory} KiB more, descriptors back after {back:.0?}, {}", fresh(&server, 200)),
    )
}

pub fn few_descriptors() -> Seen {
    let (_site, server) = site();
    let watch = Watch::of(server.pid());
    prlimit(Some(server.pid()), Resource::Nofile, Rlimit { current: Some(64), maximum: Some(64) })
        .expect("a process of this user");
    let idle = crowd(&server, 300, b"");
    sleep(Duration::from_secs(1));
    let (ticks, _) = watch.over(Duration::from_secs(3));
    let beside_idle = fresh(&server, 20);
    let half = crowd(&server, 100, b"GET / HTTP");
    sleep(Duration::from_secs(1));
    let (more_ticks, _) = watch.over(Duration::from_secs(3));
    drop((idle, half));
    let after = fresh(&server, 20);
    seen(
        ticks + more_ticks <= 3,
        format!("{ticks} and {more_ticks} ticks in 3 s; {beside_idle}; and after them {after}"),
    )
}
