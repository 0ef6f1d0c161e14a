//! A folder of 100,000 names.

use std::fs::File;
use std::io::Read;
use std::sync::OnceLock;
use std::thread::{self, sleep};
use std::time::Duration;

use tempfile::TempDir;

use crate::built::{Built, folder, modest};
use crate::crowd::{answered, crowd, fresh};
use crate::watch::Watch;
use crate::{Seen, seen};

const LIST: &[u8] = b"GET /many/ HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n";

fn start() -> Built {
    static SITE: OnceLock<TempDir> = OnceLock::new(); // created once; in /tmp, where it is not removed
    let site = SITE.get_or_init(|| {
        let site = folder(&[("index.html", "here\n"), ("many/0", "")]);
        for number in 1..100_000 {
            File::create(site.path().join(format!("many/a file with the number {number}.txt"))).expect("one more");
        }
        site
    });
    let server = Built::start(&mut modest([site.path().as_os_str(), "-p".as_ref(), "0".as_ref(), "-q".as_ref()]));
    fresh(&server, 50);
    server
}

pub fn listings() -> Seen {
    let server = start();
    let watch = Watch::of(server.pid());
    let memory = watch.memory();
    let (peak, beside, bytes) = thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|_| {
                let server = &server;
                scope.spawn(move || {
                    let mut buffer = vec![0; 1 << 20];
                    let mut client = crowd(server, 1, LIST).remove(0);
                    std::iter::from_fn(|| client.read(&mut buffer).ok().filter(|count| *count > 0)).sum::<usize>()
                })
            })
            .collect();
        sleep(Duration::from_millis(100));
        let beside = fresh(&server, 50);
        let mut peak = 0;
        while clients.iter().any(|client| !client.is_finished()) {
            peak = peak.max(watch.memory());
            sleep(Duration::from_millis(10));
        }
        (peak, beside, clients.into_iter().map(|client| client.join().unwrap()).min())
    });
    let (peak, after) = (peak.saturating_sub(memory), watch.memory().saturating_sub(memory));
    // Sixteen handlers that compute share the cores with the new client and with the worker that serves it. With two
    // cores that is about 20 ms if each of them runs for 3 ms before the next one.
    let holds = peak < 128 << 10 && beside.p50 < Duration::from_millis(50) && bytes > Some(5_000_000);
    seen(holds, format!("{peak} KiB at the peak, {after} after; beside them {beside}"))
}

pub fn deaf() -> Seen {
    let server = start();
    let watch = Watch::of(server.pid());
    let memory = watch.memory();
    let mut deaf = crowd(&server, 200, LIST);
    watch.until(Duration::from_secs(60), |watch| watch.over(Duration::from_millis(500)).0 == 0);
    let held = watch.memory().saturating_sub(memory);
    let fresh = fresh(&server, 100);
    let served = answered(&mut deaf, "HTTP/1.1 200");
    drop(deaf);
    seen(held < 192 << 10, format!("{held} KiB, {served} of 200 in progress, 503 for the others; {fresh}"))
}
