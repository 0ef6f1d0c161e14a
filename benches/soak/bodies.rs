//! Request and response bodies: endless ones, too many at once, and handlers that panic.

use std::io::{Read, Write};
use std::thread::{self, sleep};
use std::time::Duration;

use crate::crowd::{answered, crowd, fresh};
use crate::watch::Watch;
use crate::{Seen, seen, serve};

const MIB: usize = 1 << 20;

pub fn endless() -> Seen {
    let server = serve::start();
    fresh(&server, 50);
    let watch = Watch::of(server.pid());
    let (memory, open) = (watch.memory(), watch.descriptors());
    let deaf = crowd(&server, 200, b"GET /endless HTTP/1.1\r\nHost: soak\r\n\r\n");
    sleep(Duration::from_secs(2));
    let held = watch.memory().saturating_sub(memory);
    let (ticks, _) = watch.over(Duration::from_secs(2));
    let fresh = fresh(&server, 200);
    drop(deaf);
    let back = watch.until(Duration::from_secs(5), |watch| watch.descriptors() <= open + 1);
    seen(
        held < 32 << 10 && ticks <= 2 && back.is_some(),
        format!("{held} KiB, {ticks} ticks in 2 s, {fresh}, back after {back:.0?}"),
    )
}

pub fn panics() -> Seen {
    let server = serve::start();
    let mut told = 0;
    for _ in 0..20 {
        let mut clients = crowd(&server, 50, b"GET /panic HTTP/1.1\r\nHost: soak\r\n\r\n");
        told += answered(&mut clients, "HTTP/1.1 500");
    }
    seen(told == 1000, format!("{told} responses with 500; {}", fresh(&server, 200)))
}

fn post(length: usize) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: soak\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n").into_bytes()
}

/// Sends 70 bodies, of which 64 have space. A body takes its space when it arrives, and is rejected if there is none.
/// The space of a rejected body is free only when the body is dropped, so sometimes more than six bodies are rejected.
pub fn all_together() -> Seen {
    let server = serve::start();
    let server = &server;
    let body = vec![b'b'; 16 * MIB];
    let (refused, taken) = thread::scope(|scope| {
        let clients: Vec<_> = crowd(server, 70, &post(16 * MIB))
            .into_iter()
            .map(|mut client| {
                let body = &body;
                scope.spawn(move || {
                    let _ = client.write_all(&body[1..]); // all but the last byte
                    let mut said = [0; 12];
                    client.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
                    let told = client.read_exact(&mut said).is_ok();
                    (client, told.then_some(said))
                })
            })
            .collect();
        let all: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        let (mut waiting, told): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, said)| said.is_none());
        let refused = told.iter().filter(|(_, said)| said.is_some_and(|said| &said == b"HTTP/1.1 507")).count();
        waiting.iter_mut().for_each(|(client, _)| drop(client.write_all(b"b")));
        let mut waiting: Vec<_> = waiting.into_iter().map(|(client, _)| client).collect();
        (refused, answered(&mut waiting, "HTTP/1.1 200"))
    });
    sleep(Duration::from_millis(500));
    let mut after = crowd(server, 1, &[post(MIB), body[..MIB].to_vec()].concat());
    let room = answered(&mut after, "HTTP/1.1 200");
    let holds = (6..=16).contains(&refused) && refused + taken == 70 && room == 1;
    seen(holds, format!("{refused} got a 507, {taken} were accepted; afterwards {room} of 1 was accepted"))
}

pub fn burst() -> Seen {
    let server = serve::start();
    let (server, watch) = (&server, Watch::of(server.pid()));
    let memory = watch.memory();
    let request = [post(4 * MIB), vec![b'b'; 4 * MIB]].concat();
    let request = &request;
    let peak = thread::scope(|scope| {
        let clients: Vec<_> =
            (0..16).map(|_| scope.spawn(move || (0..5).all(|_| server.talk(request).len() > 4 * MIB))).collect();
        let mut peak = 0;
        while clients.iter().any(|client| !client.is_finished()) {
            peak = peak.max(watch.memory());
            sleep(Duration::from_millis(10));
        }
        assert!(clients.into_iter().all(|client| client.join().unwrap()), "each client must have a response");
        peak
    });
    let after = watch.memory();
    seen(peak < 256 << 10, format!("{memory} KiB before, {peak} at the peak, {after} after"))
}

/// The memory that remains after a burst, for each setting of the allocator: see docs/options.md.
pub fn returned() -> Seen {
    const IN_MEMORY: (&str, &str) = (serve::BODY_MEMORY, "2000000");
    const TRIM: (&str, &str) = ("MALLOC_TRIM_THRESHOLD_", "131072");
    let settings: [(&str, &[(&str, &str)]); 4] = [
        ("to files, as usual", &[]),
        ("in memory", &[IN_MEMORY]),
        ("in memory, trimmed", &[IN_MEMORY, TRIM]),
        ("in memory, trimmed, two arenas", &[IN_MEMORY, TRIM, ("MALLOC_ARENA_MAX", "2")]),
    ];
    let figures = settings.map(|(name, variables)| (name, after_a_burst(variables)));
    let holds = figures[2..].iter().all(|(_, (before, _, after))| after.saturating_sub(*before) < 16 << 10);
    let text = figures.map(|(name, (before, peak, after))| format!("{name}: {before} KiB, {peak}, {after}"));
    seen(holds, format!("before, at the peak, after; {}", text.join("; ")))
}

fn after_a_burst(variables: &[(&str, &str)]) -> (u64, u64, u64) {
    let server = serve::start_with(variables);
    let watch = Watch::of(server.pid());
    fresh(&server, 100);
    let before = watch.memory();
    let mut peak = 0;
    for _ in 0..4 {
        let body = vec![b'b'; MIB];
        let mut clients = crowd(&server, 64, &post(MIB));
        clients.iter_mut().for_each(|client| client.write_all(&body[1..]).expect("bytes sent to the server"));
        sleep(Duration::from_millis(300)); // everything has arrived by then
        peak = peak.max(watch.memory());
        clients.iter_mut().for_each(|client| client.write_all(b"b").expect("bytes sent to the server"));
        assert_eq!(answered(&mut clients, "HTTP/1.1 200"), 64);
    }
    fresh(&server, 100);
    sleep(Duration::from_secs(1));
    (before, peak, watch.memory())
}
