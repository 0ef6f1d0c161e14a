//! The end of a connection: at once or after lingering, or cut off; and its unsent output.

use super::*;

#[test]
fn a_connection_closes_at_once_or_after_lingering() {
    alone(|| {
        // The conversation's first step, the client's bytes, and the step after them.
        for (met, sent, then, ended, after) in [
            (idle(), "a", does(Action::Close).saying(b"bye"), false, After::Closed),
            (idle(), "ab", does(Action::Close).saying(b"bye").using(1), false, lingering(2 * SECOND)),
            (idle(), "ab", does(Action::Close).saying(b"bye").using(1), true, After::Closed),
            (idle(), "ab", does(Action::Close).using(1), false, After::Closed), // it has received no output
            (idle(), "a", does(Action::Linger).saying(b"bye"), false, lingering(2 * SECOND)),
            (idle(), "a", does(Action::Linger).saying(b"bye"), true, After::Closed),
            (read(1, 60), "a", does(Action::Close).saying(b"bye"), false, lingering(2 * SECOND)),
            (read(1, 60), "a", does(Action::Close).saying(b"bye"), true, After::Closed),
        ] {
            let mut one = One::new(MUCH);
            one.will([does(met.clone()), then]);
            one.turn();
            one.sends(sent.as_bytes());
            if ended {
                one.shuts_down();
            }
            assert_eq!(one.turn(), after, "{met:?}, {sent}, ended: {ended}");
            assert_eq!(one.sees().1, "end");
        }
    });
}

#[test]
fn unread_clients_are_lingered_for() {
    alone(|| {
        let mut one = One::new(MUCH);
        one.will([does(Action::Close).saying(b"go away")]);
        assert_eq!(one.turn(), lingering(2 * SECOND));
        assert_eq!(one.sees(), ("go away".to_owned(), "end"));
        drop(one);

        // A client whose earlier input was read to its end needs no lingering.
        let mut one = One::new(MUCH);
        one.will([does(read(1, 60)), does(idle()), does(Action::Close).saying(b"bye")]);
        one.turn();
        one.sends(b"a");
        one.turn();
        one.sends(b"b");
        assert_eq!(one.turn(), After::Closed);
    });
}

#[test]
fn a_response_sent_long_ago_needs_no_lingering() {
    alone(|| {
        for (passed, after) in [(1999 * MS, lingering(2 * SECOND)), (2000 * MS, After::Closed)] {
            let mut one = One::new(MUCH);
            one.will([does(read(1, 60)).saying(b"x"), does(Action::Close)]);
            one.turn();
            one.pass(passed);
            one.sends(b"a");
            assert_eq!(one.turn(), after, "after {passed:?}");
        }
    });
}

#[test]
fn eviction_lingers_only_if_a_response_could_be_lost() {
    alone(|| {
        for (uses, after) in [(2, After::Closed), (1, lingering(2 * SECOND))] {
            let mut one = One::new(MUCH);
            one.will([does(idle()), does(Action::Close).saying(b"bye").using(uses)]);
            one.turn();
            one.sends(b"ab");
            assert_eq!(one.evict(), after, "{uses} bytes used of 2");
            assert_eq!(one.heard(), ["met", "", "ab (the last)"]);
        }
    });
}

/// Its request may have arrived after the poll that chose it.
#[test]
fn an_evicted_connection_is_read_from_once_more() {
    alone(|| {
        let mut one = One::new(MUCH);
        one.will([does(idle()), does(Action::Close).saying(b"bye")]);
        one.turn();
        one.heard();
        one.sends_unseen(b"a");
        assert_eq!(one.evict(), After::Closed);
        assert_eq!(one.heard(), ["a (the last)"]);
    });
}

#[test]
fn unread_bytes_cause_lingering() {
    alone(|| {
        for (size, meanwhile, after) in
            [(3, "", After::Closed), (3, "x", lingering(2 * SECOND)), (70_000, "", lingering(2 * SECOND))]
        {
            let mut one = One::new(MUCH);
            one.will([does(idle()), does(Action::Handle), does(Action::Close).saying(&vec![b'x'; size])]);
            one.turn();
            one.sends(b"a");
            one.permits.none_for = vec![Work::Handler];
            one.turn();
            one.sends_unseen(meanwhile.as_bytes());
            one.permits.none_for.clear();
            assert_eq!(one.turn(), after, "{size} bytes were sent, and {meanwhile:?} had arrived");
        }
    });
}

/// A lingering connection.
fn half_closed() -> One {
    let mut one = One::new(MUCH);
    one.will([does(Action::Linger).saying(b"bye")]);
    assert_eq!(one.turn(), lingering(2 * SECOND));
    one
}

#[test]
fn lingering_ends_after_silence_or_a_fixed_limit() {
    alone(|| {
        let mut one = half_closed();
        for second in 1..=29 {
            one.pass(SECOND);
            one.sends(b"x");
            assert_eq!(one.turn(), lingering(SECOND * (30 - second).min(2)), "after {second} s");
        }
        one.pass(SECOND);
        assert_eq!(one.late(), After::Closed);
        assert_eq!(one.heard(), ["met", ""]);

        // Lingering has a limit within one turn as well.
        for (passed, after) in [(29_999 * MS, After::Requeued), (30_000 * MS, After::Closed)] {
            let mut one = half_closed();
            one.pass(passed);
            one.sends(&vec![b'x'; 2_000_000]);
            assert_eq!(one.turn(), after, "after {passed:?}");
        }
    });
}

/// A client that sends without a pause delays a shutdown no longer than a silent one.
#[test]
fn bytes_do_not_prolong_lingering_during_a_shutdown() {
    alone(|| {
        let mut one = half_closed();
        one.pass(SECOND);
        one.sends(b"x");
        assert_eq!(one.turn(), lingering(2 * SECOND));
        one.server.shuts_down = true;
        one.pass(SECOND);
        one.sends(b"x");
        assert_eq!(one.turn(), lingering(SECOND));
        one.pass(SECOND);
        one.sends(b"x");
        assert_eq!(one.turn(), After::Closed);
    });
}

#[test]
fn lingering_ends_with_the_client_or_for_a_newcomer() {
    alone(|| {
        type Cause = fn(&mut One) -> After;
        let causes: [(&str, Cause); 3] = [
            ("the end", |one| {
                one.shuts_down();
                one.turn()
            }),
            ("a reset", |one| {
                one.is_gone();
                one.connection().saw(Readiness { readable: true, ..Readiness::NONE });
                one.turn()
            }),
            ("room is short", One::evict),
        ];
        for (what, cause) in causes {
            let mut one = half_closed();
            assert_eq!(cause(&mut one), After::Closed, "{what}");
            assert_eq!(one.heard(), ["met", ""], "{what}");
        }
    });
}

#[test]
fn cut_off_responses_are_reset_and_counted() {
    alone(|| {
        let long = vec![b'x'; 100];
        for (step, seen, unsent) in [
            (does(idle()), "end", None),
            (does(idle()).saying(&long), "reset", Some(90)),
            (does(read(1, 10)), "reset", None),
        ] {
            let mut one = One::new(10);
            one.will([step]);
            one.turn();
            one.known.lock().unwrap().drop_panics = true;
            let connection = one.connection.take().unwrap();
            drop(connection.cut_off()); // a panic there has no effect
            assert_eq!(one.sees().1, seen);
            assert_eq!(one.known.lock().unwrap().unsent, unsent);
        }
    });
}

/// Complete output is not reset when the server ends, even if the connection is not closed yet.
#[test]
fn complete_output_is_not_cut_off() {
    alone(|| {
        let share = vec![b'x'; 1040 * 1024];
        type Then = fn(&mut One);
        let shares = |next| does(next).sharing(Arc::new(b"shared"));
        let rows: [(&str, Step, Then, (&str, bool)); 8] = [
            ("half-closed", does(Action::Linger).saying(b"bye"), |_| {}, ("end", false)),
            ("not closed yet", does(Action::Close).saying(&share), |_| {}, ("end", false)),
            ("to be aborted", does(Action::Abort).saying(&share), |_| {}, ("reset", true)),
            ("aborted", does(Action::Close).saying(&share), is_aborted, ("reset", true)),
            ("called", does(idle()), is_called, ("reset", true)),
            ("idle, with sent bytes to be dropped", shares(idle()), |_| {}, ("end", false)),
            ("closing, with sent bytes to be dropped", shares(Action::Close), |_| {}, ("end", false)),
            ("waits to be dropped", does(Action::Close), waits_to_be_dropped, ("end", false)),
        ];
        for (what, step, then, expected) in rows {
            let mut one = One::new(2 * MUCH);
            one.will([step]);
            one.permits.none_for = vec![Work::Short];
            one.outcome();
            then(&mut one);
            let left = one.connection.take().unwrap().cut_off();
            assert_eq!((one.sees().1, left.is_reset()), expected, "{what}");
            assert_eq!(one.known.lock().unwrap().unsent, None, "{what}");
        }
    });
}

fn is_aborted(one: &mut One) {
    one.link.note_abort();
}

fn is_called(one: &mut One) {
    one.link.note_call();
}

/// A connection that has ended, and for which there is no permit to drop it.
fn waits_to_be_dropped(one: &mut One) {
    assert!(matches!(one.outcome(), Outcome::Closed));
    one.connection().causes().dropped = true;
}

#[test]
fn unsent_bytes_are_counted_once() {
    alone(|| {
        let mut one = One::new(10);
        one.will([does(idle()).sharing(Arc::new([b'x'; 15]))]);
        one.turn();
        one.link.note_abort();
        waits_to_be_dropped(&mut one);
        assert_eq!(one.known.lock().unwrap().unsent.take(), Some(5));
        drop(one.connection.take().unwrap().cut_off());
        assert_eq!(one.known.lock().unwrap().unsent, None);
        assert_eq!(one.sees().1, "reset");
    });
}

#[test]
fn unsent_bytes_are_counted_at_the_end() {
    alone(|| {
        for (says, unsent) in [(10, None), (15, Some(5))] {
            let mut one = One::new(10);
            one.will([does(idle()).saying(&vec![b'x'; says])]);
            one.turn();
            one.link.note_abort();
            assert_eq!(one.turn(), After::Closed);
            assert_eq!(one.known.lock().unwrap().unsent, unsent);
            assert_eq!(one.sees().1, "reset");
        }
    });
}

#[test]
fn an_aborted_connection_does_not_wait() {
    alone(|| {
        // A conversation can abort a client that reads nothing: at once, or when another thread calls it.
        for called in [false, true] {
            let mut one = One::new(10);
            let says = |next| does(next).saying(&[b'x'; 100]);
            one.will(if called { vec![says(idle()), does(Action::Abort)] } else { vec![says(Action::Abort)] });
            if called {
                assert_eq!(one.turn(), held_up(true, Some(LOOK), false));
                one.link.note_call();
            }
            assert_eq!(one.turn(), After::Closed);
            assert_eq!(one.known.lock().unwrap().unsent, Some(90));
            assert_eq!(one.sees().1, "reset");
        }
    });
}

#[test]
fn conversations_report_whether_a_drop_can_block() {
    alone(|| {
        for may_block in [true, false] {
            let mut one = One::new(MUCH);
            assert!(!one.connection().drop_may_block(), "nothing is left to drop");
            one.turn();
            one.known.lock().unwrap().drop_may_block = may_block;
            assert_eq!(one.connection().drop_may_block(), may_block);
        }
    });
}
