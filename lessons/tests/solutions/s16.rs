//! Page 16.
//!
//! Exercise 2: seven tests fail, among them `a_blocking_handler_delays_no_other_client`. `release` no longer passes a permit for
//! handlers to a connection that waits for one. So a connection waits for a permit although a suitable one is free.
//! Exercise 3: `lessons/test 16`.

use std::path::Path;

/// Exercise 1: the way of a request that arrives byte by byte. The decision is made in the last two: HTTP names the stage
/// and its limit when it returns `Action::Read`, and responds to `Event::Late` with a 408.
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
fn files_named_in_the_lesson_exist() {
    for file in WAY {
        assert!(Path::new("../src").join(file).exists(), "{file}");
    }
    let events = std::fs::read_to_string("../src/http/connection/events.rs").unwrap();
    assert!(events.contains("REQUEST_TIMEOUT"), "the 408");
}

#[test]
fn the_line_of_exercise_2() {
    let permits = std::fs::read_to_string("../src/tcp/scheduler/permits.rs").unwrap();
    let release = permits.split("pub fn release").nth(1).and_then(|rest| rest.split("\n    }\n").next()).unwrap();
    assert_eq!(release.matches("<=").count(), 1, "{release}");
    let laws = std::fs::read_to_string("../tests/laws.rs").unwrap();
    assert!(laws.contains("fn a_blocking_handler_delays_no_other_client"), "the test that fails");
}
