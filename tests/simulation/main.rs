//! The engine on a simulated machine: the very files of `src/tcp`, with simulated threads, locks, sockets, poller, disk
//! and clock, faults by chance, and clients that know what each answer is.
//!
//! `cargo test --test simulation` runs some thousand seeds.
//! `SIMULATION_RUNS=1000000 cargo test --release --test simulation` runs a million.
//! `SIMULATION_SEED=n cargo test --test simulation` runs that one, and prints what happened in it if it fails.
//!
//! What is checked:
//! - Every whole request is answered once and rightly, or its connection is visibly broken (reset), and that only for a
//!   reason; an end after a part of an answer is a failure.
//! - Whenever everybody waits, no client waits that somebody could serve: lost wakes do not hide behind the next deadline.
//! - No more handlers run at once than there are permits.
//! - No permit, connection, conversation, byte of output, socket or worker is left over.
//! - A shutdown ends within its timeout, and finishes what was asked before it.
//! - Nobody goes round in circles (steps are bounded), and no worker dies.
//!
//! Beside the runs, `turns` looks at one connection alone, to the byte and the millisecond, and at one worker alone.
//!
//! `defects.py` puts known defects back, and tells how many runs it takes to find each.

mod client;
mod machine;
mod net;
mod plan;
mod run;
mod schedule;
mod user;

/// The engine, all of it but `sync` and `sys`; the list of `src/tcp/mod.rs` without protocols, and without what only
/// signals and the true kernel need. Unix sockets and `notify` are compiled, and not used.
#[allow(dead_code, unused_imports, reason = "what only users of the library need")]
#[path = "../../src/tcp"]
mod tcp {
    mod acceptor;
    mod address;
    #[allow(dead_code)] // no thread beside requests is started
    mod background;
    mod client;
    mod clock;
    mod connection;
    mod contain;
    mod engine;
    mod handle;
    mod input;
    mod kept;
    mod lifecycle;
    mod listen;
    mod listener;
    mod live;
    mod memory;
    mod notify;
    mod output;
    mod per_address;
    mod poller;
    mod protocol;
    mod scheduler;
    mod server;
    mod slow_handlers;
    mod stats;
    mod stream;
    mod taken;
    mod timers;
    mod transport;
    mod workers;

    #[path = "../../tests/simulation/layered.rs"]
    mod layered;
    #[path = "../../tests/simulation/sync.rs"]
    mod sync;
    #[path = "../../tests/simulation/sys.rs"]
    pub mod sys;
    #[path = "../../tests/simulation/turns/mod.rs"]
    mod turns;

    pub use address::Address;
    pub use client::Client;
    pub use clock::Instant;
    pub use handle::ServerHandle;
    pub use input::Input;
    pub use listen::Listen;
    pub use output::{Output, Piece, SharedBytes};
    pub use protocol::{Conversation, Event, IntoProtocol, Next, Protocol, Raw, Stage, Turn};
    pub use scheduler::Waker;
    pub use server::TcpServer;
    pub use stats::Stats;
    pub use stream::Stream;
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn the_engine_keeps_its_invariants() {
    if let Some(seed) = number("SIMULATION_SEED") {
        let result = run::run(seed..seed + 1, true);
        if let Err((_, why)) = result {
            machine::log_of_failure().iter().for_each(|line| println!("{line}"));
            panic!("{why}");
        }
        return;
    }
    let runs = number("SIMULATION_RUNS").unwrap_or(4000);
    let threads = number("SIMULATION_THREADS").unwrap_or(2);
    run::many(number("SIMULATION_FIRST").unwrap_or(0), runs, threads);
}
