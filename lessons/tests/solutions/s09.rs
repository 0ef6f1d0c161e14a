//! Page 9.

use std::sync::atomic::AtomicBool;

use lessons::engine::{Action, Conversation, Event, Turn};
use lessons::permits::{Admission, PERMITS, Permits, QUEUE};

#[path = "../../steps/09_permits.rs"]
#[expect(dead_code, reason = "its main")]
mod step;

/// Exercise 1: a turn is a function from bytes to bytes and an `Action`.
fn turn(input: &[u8], event: Event) -> (Action, String) {
    let (mut input, mut output) = (input.to_vec(), Vec::new());
    let next =
        step::Once.turn(Turn { input: &mut input, output: &mut output, event, stopping: &AtomicBool::new(false) });
    (next, String::from_utf8(output).unwrap())
}

/// Exercise 3: work that is expected to be short takes a handler's permit if one is free, and otherwise the reserved one.
struct Kinds {
    handlers: usize,
    reserved: usize,
}

#[derive(Debug, PartialEq)]
enum Kind {
    Handler,
    Reserved,
}

impl Kinds {
    fn for_handler(&mut self) -> Option<Kind> {
        self.handlers = self.handlers.checked_sub(1)?;
        Some(Kind::Handler)
    }

    fn for_download(&mut self) -> Option<Kind> {
        self.for_handler().or_else(|| {
            self.reserved = self.reserved.checked_sub(1)?;
            Some(Kind::Reserved)
        })
    }
}

#[test]
fn turns_run_without_a_server() {
    let request = b"GET /cake HTTP/1.1\r\nHost: me\r\n\r\n";
    for length in 0..request.len() {
        assert!(turn(&request[..length], Event::Ready) == (Action::Read, String::new()), "{length} bytes");
    }
    assert!(turn(request, Event::Ready) == (Action::Handle, String::new()));
    for (input, event, expected) in [
        (&request[..], Event::Permit, "HTTP/1.1 200 OK\r\n"),
        (request, Event::NoPermit, "HTTP/1.1 503 Service Unavailable\r\n"),
        (b"cake\r\n\r\n", Event::Ready, "HTTP/1.1 400 Bad Request\r\n"),
    ] {
        let (next, output) = turn(input, event);
        assert!(next == Action::Close && output.starts_with(expected), "{output}");
    }
}

/// Exercise 2: there are as many handlers as permits. Each handler has one permit and waits for a second one, so no
/// permit is ever returned.
#[test]
fn handlers_that_need_two_permits_deadlock() {
    let permits = Permits::default();
    for handler in 0..PERMITS {
        assert!(matches!(permits.acquire(handler), Admission::Granted(_)));
    }
    for handler in 0..PERMITS {
        assert!(matches!(permits.acquire(handler), Admission::Waits), "handler {handler} waits for the others");
    }
}

#[test]
fn the_queue_is_bounded_and_ordered() {
    let permits = Permits::default();
    for number in 0..PERMITS + QUEUE {
        assert!(!matches!(permits.acquire(number), Admission::Full(_)), "{number}");
    }
    assert!(matches!(permits.acquire(99), Admission::Full(99)));
    assert_eq!(permits.release(), Some(PERMITS), "the one that has waited longest");
}

#[test]
fn stuck_handlers_do_not_stop_downloads() {
    let mut kinds = Kinds { handlers: PERMITS, reserved: 1 };
    while kinds.for_handler().is_some() {}
    assert_eq!(kinds.for_download(), Some(Kind::Reserved));
    assert_eq!((kinds.for_download(), kinds.for_handler()), (None, None));
}
