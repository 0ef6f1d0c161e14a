//! Page 16.
//!
//! Exercise 2: it depends on the line. `release` passes a permit to a connection that waits; `state < limit` in
//! `acquire` bounds the queue. The first lines of each test in tests/laws.rs name the invariant that it checks.
//! Exercise 3: `lessons/test 16`.

use std::path::Path;

/// Exercise 1: the way of a request that arrives byte by byte. The decision is made in the last two: HTTP names the stage
/// and its limit when it returns `Next::Read`, and answers `Event::Late` with a 408.
const WAY: [&str; 8] = [
    "tcp/acceptor.rs",
    "tcp/scheduler/shards.rs",
    "tcp/scheduler/queue.rs",
    "tcp/connection/turn.rs",
    "http/request/head.rs",
    "tcp/connection/waiting.rs",
    "http/connection/mod.rs",
    "http/connection/events.rs",
];

#[test]
fn the_files_of_the_way() {
    for file in WAY {
        assert!(Path::new("../src").join(file).exists(), "{file}");
    }
    let events = std::fs::read_to_string("../src/http/connection/events.rs").unwrap();
    assert!(events.contains("REQUEST_TIMEOUT"), "the 408");
}
