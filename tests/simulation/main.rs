//! The engine on a simulated machine. It compiles the files of `src/tcp` with simulated threads, locks, sockets,
//! poller, disk and clock. Faults happen at random, and the clients know each response.
//!
//! `cargo test --test simulation` runs a few thousand seeds. `SIMULATION_RUNS=1000000 cargo test --release --test
//! simulation` runs a million. `SIMULATION_SEED=n cargo test --test simulation` runs this seed, and prints its events
//! if it fails.
//!
//! The checks:
//! - Each complete request gets one correct response, or its connection is visibly broken (reset) for a known reason. A
//!   normal end after a part of a response is a failure.
//! - Whenever all threads wait, no client waits for the server without a reason: a lost wake is not hidden by the next
//!   deadline.
//! - At most as many handlers run at once as there are permits.
//! - No permit, connection, conversation, byte of output, socket or worker is left at the end.
//! - A shutdown ends within its timeout, and finishes earlier requests.
//! - No loop is endless (steps are bounded), and no worker dies.
//!
//! In addition, `turns` tests a single connection to the byte and the millisecond, and a single worker.
//!
//! `defects.py` puts known defects back, and prints the number of runs until each is found.

mod client;
mod machine;
mod net;
mod plan;
mod run;
mod schedule;
mod user;
#[macro_use]
#[path = "../../src/opaque.rs"]
mod opaque;
#[path = "../../src/log_limit.rs"]
mod log_limit;

/// All of the engine except `sync` and `sys`. This is the list of `src/tcp/mod.rs` without protocols, and without
/// modules that need signals or the real kernel. Unix sockets and `notify` are compiled but not used.
#[allow(dead_code, unused_imports, reason = "what only users of the library need")]
#[path = "../../src/tcp"]
mod tcp {
    mod acceptor;
    mod address;
    #[allow(dead_code)] // no background thread is started
    mod background;
    mod client;
    mod clock;
    mod connection;
    mod contain;
    mod engine;
    mod handle;
    mod input;
    mod input_memory;
    mod lifecycle;
    mod listen;
    mod listener;
    mod live;
    mod memory;
    mod network;
    mod notify;
    mod output;
    mod pace;
    mod per_address;
    mod poller;
    mod protocol;
    mod scheduler;
    mod server;
    mod slow_handlers;
    mod spares;
    mod stage;
    mod stats;
    mod stream;
    mod taken;
    mod timers;
    mod transport;
    #[allow(dead_code)] // no socket is watched
    mod watched_sockets;
    mod workers;

    #[path = "../../tests/simulation/coded.rs"]
    mod coded;
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
    pub use protocol::{Action, Conversation, Event, IntoProtocol, Protocol, Raw, Stage, Turn};
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
