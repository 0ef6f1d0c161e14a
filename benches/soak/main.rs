//! Attacks on the release build: clients that are slow, do not read, use much memory, disconnect or are too
//! many. `cargo bench --bench soak [-- WORD]` runs the rows whose names contain the word, or all (some four minutes).
//! It prints the result of each row beside the requirement, and fails if a requirement is not met. It needs 11,000
//! descriptors and 2 GiB in `/var/tmp`.

#[path = "../../tests/built/mod.rs"]
mod built; // a program that a test starts and uses
mod crowd; // thousands of clients
mod serve; // a server of handlers, in a separate process
mod watch; // memory, processor and descriptors of a process

mod bodies; // bodies
mod calls; // broadcasts
mod clients; // incomplete and slow clients
mod folders; // large folders
mod handshakes; // incomplete handshakes
mod live; // listeners to events
mod mixed; // good and bad clients together, for a long time
mod stops; // signals

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The result of a row, and whether it meets the requirement.
pub struct Seen {
    pub text: String,
    pub holds: bool,
}

pub fn seen(holds: bool, text: impl Into<String>) -> Seen {
    Seen { text: text.into(), holds }
}

/// The name of a row, its requirement, and the test.
type Row = (&'static str, &'static str, fn() -> Seen);

const ROWS: &[Row] = &[
    ("late: silence, half a head, a head byte by byte", "60 s, 10 s, 10 s", clients::late),
    (
        "deaf: 200 request 100 MB and don't read",
        "no CPU, closed after 30 s, < 8 MiB, < 128 MiB of sockets",
        clients::deaf,
    ),
    ("greedy: 20 pipeline and don't read", "< 16 MiB, no CPU when the buffers are full", clients::pipelining),
    ("5,000 half heads", "p99 of new requests < 10 ms, < 1 KiB each", clients::half_heads),
    ("5,000 half handshakes", "p99 < 10 ms, of new handshakes < 50 ms, < 3 KiB each, no CPU", handshakes::halves),
    ("10,000 idle", "<= 0.55 KiB each, no CPU and no switch in 5 s", clients::idle),
    ("20,000 come and go", "memory and descriptors are released", clients::come_and_go),
    ("64 descriptors, 300 clients", "no CPU, and new clients are served", clients::few_descriptors),
    ("200 endless responses that no client reads", "< 32 MiB, no CPU; then everything is released", bodies::endless),
    ("1,000 panics", "1,000 responses with 500, and the server continues", bodies::panics),
    (
        "70 bodies of 16 MiB at once",
        "6 to 16 get a 507, the others are accepted; then there is room",
        bodies::all_together,
    ),
    ("16 clients upload 4 MiB repeatedly", "< 256 MiB at the peak", bodies::burst),
    ("64 uploads of 1 MiB at once, 4 times", "with a trimming allocator, < 16 MiB more afterwards", bodies::returned),
    ("100,000 names, 16 requests", "< 128 MiB; beside them p50 < 50 ms", folders::listings),
    ("100,000 names, 200 request them and don't read", "< 192 MiB, and new clients are served", folders::deaf),
    (
        "10,000 listen, broadcasts to all, 4 send requests",
        "no CPU and no switch in silence; all have the event in 200 ms; p99 of requests < 20 ms",
        calls::broadcasts,
    ),
    (
        "10,000 listen to events on 4 workers, 4 send requests",
        "no CPU, no switch, no thread; < 2 KiB each; requests are as fast as without them",
        live::dashboard,
    ),
    (
        "1,000 listen and read nothing, events come faster than any client reads",
        "all are disconnected, < 256 MiB, p99 of requests < 1 s",
        live::deaf,
    ),
    ("1,000 listen, a restart, all come back at once", "all reconnect, and get the event", live::storm),
    (
        "mixed: good and bad clients together, for SOAK_SECONDS (30)",
        "no wrong response to a good client; memory, descriptors and threads don't grow, and all are released",
        mixed::mixed,
    ),
    ("SIGSTOP, 200 requests, SIGCONT", "all get a response", stops::stopped_for_a_while),
    ("SIGTERM, 64 clients that keep asking, 6 times", "no response is lost", stops::under_load),
    ("SIGTERM, 32 clients with a connection per request", "no response is lost", stops::a_connection_each),
    ("SIGTERM, 20 downloads that no client reads", "no CPU until the shutdown timeout, then the end", stops::with_deaf),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if words.first().is_some_and(|word| word == "serve") {
        return serve::serve();
    }
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).expect("the soft limit can be raised");
    let mut failed = 0;
    for (name, expected, row) in ROWS {
        if !words.iter().all(|word| name.contains(word.as_str())) {
            continue;
        }
        let began = std::time::Instant::now();
        let seen = row();
        let verdict = if seen.holds { "holds" } else { "FAILS" };
        failed += usize::from(!seen.holds);
        println!(
            "{verdict}  {name}\n       wanted: {expected}\n       seen:   {} ({:.0?})",
            seen.text,
            began.elapsed()
        );
    }
    if failed > 0 {
        println!("{failed} failed");
        std::process::exit(1);
    }
}
