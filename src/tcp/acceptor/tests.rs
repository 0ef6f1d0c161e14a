//! Tests of the acceptor: limits, errors, and the order of listeners.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::super::sys::ListeningSocket;
use super::*;

/// Returns an acceptor without listeners. The rules for missing room need none.
fn acceptor() -> Acceptor {
    Acceptor::new(Vec::new())
}

#[test]
fn evictions_double_until_no_client_waits() {
    let mut acceptor = acceptor();
    let counts: Vec<usize> = (0..9).map(|_| acceptor.evictions()).collect();
    assert_eq!(counts, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
    acceptor.evicted_nobody();
    assert_eq!((acceptor.evictions(), acceptor.evictions()), (32, 64));
    acceptor.pause(Instant::SOME, None);
    assert!(!acceptor.has_waiting_clients());
    assert_eq!(
        (acceptor.evictions(), acceptor.full.until),
        (1, None),
        "without waiting clients, the number of evictions starts again at one"
    );
}

#[test]
fn pauses_double_up_to_a_second_and_can_be_shortened() {
    let (mut pause, now) = (Pause::NONE, Instant::SOME);
    for wanted in [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000] {
        let wanted = Duration::from_millis(wanted);
        pause.begin(now, None);
        assert_eq!(pause.until, Some(now + wanted));
        assert!(!pause.is_over(now + (wanted - Duration::from_nanos(1))) && pause.is_over(now + wanted), "{wanted:?}");
    }
    for (by, wanted) in [(3, 3), (3000, 1000)] {
        pause.begin(now, Some(now + Duration::from_millis(by)));
        assert_eq!(pause.until, Some(now + Duration::from_millis(wanted)), "a pause that may last up to {by} ms");
    }
    assert!(Pause::NONE.is_over(now));
}

#[test]
fn the_last_accept_stays_due_until_done() {
    let (mut acceptor, now) = (acceptor(), Instant::SOME);
    assert_eq!((acceptor.due_at(), acceptor.closes_at), (None, None));
    assert_eq!(acceptor.refuse_new_clients(now), now, "a server without listeners need not wait for handshakes");
    assert_eq!((acceptor.due_at(), acceptor.closes_at), (Some(now), Some(now)));
    assert_eq!((acceptor.prepare_to_close(), acceptor.is_closed), (0, false));
    assert_eq!(acceptor.close().count(), 0);
    assert_eq!((acceptor.due_at(), acceptor.is_closed), (None, true));
}

/// Returns a listener that is never polled, because the simulation has no kernel.
fn listener(address: Address, queue: usize) -> Listener {
    let (socket, _) = UnixStream::pair().unwrap();
    Listener::new(ListeningSocket::from(OwnedFd::from(socket)), address, queue)
}

fn inet() -> Address {
    Address::Inet(([127, 0, 0, 1], 80).into())
}

#[test]
fn accept_errors_are_classified() {
    for (error, open, closing) in [
        (Errno::AGAIN, Refusal::NobodyWaits, Refusal::NobodyWaits),
        (Errno::INVAL, Refusal::OfOne, Refusal::NobodyWaits),
        (Errno::MFILE, Refusal::NoRoom, Refusal::NoRoom),
        (Errno::NFILE, Refusal::NoRoom, Refusal::NoRoom),
        (Errno::NOBUFS, Refusal::NoRoom, Refusal::NoRoom),
        (Errno::NOMEM, Refusal::NoRoom, Refusal::NoRoom),
        (Errno::CONNABORTED, Refusal::OfOne, Refusal::OfOne),
        (Errno::INTR, Refusal::OfOne, Refusal::OfOne),
    ] {
        let said = [false, true].map(|is_closing| Refusal::of(&error.into(), is_closing));
        assert_eq!(said, [open, closing], "{error}");
    }
}

#[test]
fn a_failing_listener_is_logged_once_and_finally_closed() {
    let (mut state, now) = (ListenerState::new(listener(inet(), 1)), Instant::SOME);
    let mut fails = |recovers: bool, after: Duration| {
        if recovers {
            state.recovered();
        }
        let now = now + after;
        let Accepted::Failing { first, for_good, .. } = state.failed(&Errno::PERM.into(), now) else {
            unreachable!("it says so");
        };
        (first, for_good, state.failing.until.unwrap() - now)
    };
    let (second, moment) = (Duration::from_secs(1), Duration::from_nanos(1));
    for (what, recovers, after, told, for_good, pause) in [
        ("the first", false, second, true, false, 5),
        ("the next", false, 2 * second, false, false, 10),
        ("just before it is for good", false, 6 * second - moment, false, false, 20),
        ("for good", false, 6 * second, false, true, 40),
        ("another first", true, 20 * second, true, false, 5),
        ("and its end", false, 25 * second, false, true, 10),
    ] {
        assert_eq!(fails(recovers, after), (told, for_good, Duration::from_millis(pause)), "{what}");
    }
}

/// The acceptor is due when the first pause of a listener with waiting clients ends, but not before the server's
/// own pause has ended.
#[test]
fn the_acceptor_is_due_at_the_end_of_a_pause() {
    let now = Instant::SOME;
    let at = |ms: u64| Some(now + Duration::from_millis(ms));
    for (what, pending, failing, full, due) in [
        ("no pause", [true, true], [None, None], None, None),
        ("one fails", [true, true], [None, at(5)], None, at(5)),
        ("both fail", [true, true], [at(7), at(5)], None, at(5)),
        ("there is no room", [true, true], [None, None], at(3), at(3)),
        ("one fails for longer, the other has nobody", [false, true], [None, at(5)], at(3), at(5)),
        ("and for less", [false, true], [None, at(5)], at(9), at(9)),
        ("nobody waits", [false, false], [at(7), at(5)], at(3), None),
    ] {
        let mut acceptor = Acceptor::new(vec![listener(inet(), 1), listener(inet(), 1)]);
        acceptor.full.until = full;
        for (state, (pending, until)) in acceptor.listeners.iter_mut().zip(pending.into_iter().zip(failing)) {
            (state.pending, state.failing.until) = (pending, until);
        }
        assert_eq!(acceptor.due_at(), due, "{what}");
    }
}

#[test]
fn handshakes_are_awaited_where_new_clients_are_refused() {
    let now = Instant::SOME;
    let tcp = || listener(inet(), 3).made_here();
    let unix = || listener(Address::Unix(None), 5).made_here();
    let is_refusal_possible = tcp().refuse_new_clients();
    // another process may have the same listener, so new clients are not refused
    let handed = || listener(inet(), 7);
    for (what, listeners, waits, queues) in [
        ("TCP", vec![tcp()], LAST_HANDSHAKES, 3),
        ("a Unix socket, which has none", vec![unix()], Duration::ZERO, 5),
        ("one that was handed over", vec![handed()], Duration::ZERO, 7),
        ("TCP first", vec![tcp(), unix(), handed()], LAST_HANDSHAKES, 15),
        ("TCP last", vec![unix(), tcp()], LAST_HANDSHAKES, 8),
    ] {
        let mut acceptor = Acceptor::new(listeners);
        let counts: Vec<u64> = acceptor.counts().iter().map(|(_, count)| count.load(Ordering::Relaxed)).collect();
        assert_eq!(counts, vec![0; acceptor.listeners.len()], "{what}");
        acceptor.pause(now, None);
        for state in &mut acceptor.listeners {
            state.pending = false;
            state.failing.begin(now, None);
        }
        let waits = if is_refusal_possible { waits } else { Duration::ZERO };
        assert_eq!(acceptor.refuse_new_clients(now), now + waits, "{what}");
        assert!(!acceptor.is_due(now));
        assert_eq!(acceptor.prepare_to_close(), queues, "{what}");
        assert!(acceptor.is_due(now), "accepting is due in spite of this pause: {what}");
    }
}
