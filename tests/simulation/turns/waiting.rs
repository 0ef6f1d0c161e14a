//! The waits of a connection and their deadlines: stages, idle connections, eviction, a shutdown, clients that are slow
//! or gone.

use super::*;

#[test]
fn a_stage_has_one_deadline() {
    alone(|| {
        // The first step, the step five seconds later, and the time that is left then.
        for (first, then, after) in [
            (read(1, 10), read(1, 10), reading(5 * SECOND)),
            (read(1, 10), read(2, 10), reading(10 * SECOND)),
            (read(1, 10), Action::Unchanged, reading(5 * SECOND)),
            (read(1, 10), idle(), idling(60 * SECOND)),
            (idle(), idle(), idling(60 * SECOND)),
            (idle(), Action::Unchanged, idling(55 * SECOND)),
            (idle(), read(1, 10), reading(10 * SECOND)),
        ] {
            let mut one = One::new(MUCH);
            one.will([does(first.clone()), does(then.clone())]);
            one.turn();
            one.pass(5 * SECOND);
            one.sends(b"a");
            assert_eq!(one.turn(), after, "{first:?}, {then:?}");
        }
        // An idle connection ends its stage.
        let mut one = One::new(MUCH);
        one.will([does(read(1, 10)), does(idle()), does(read(1, 10))]);
        one.turn();
        for _ in 0..2 {
            one.pass(5 * SECOND);
            one.sends(b"a");
            one.turn();
        }
        one.pass(SECOND);
        assert_eq!(one.late(), reading(9 * SECOND));
    });
}

#[test]
fn lateness_is_reported_at_the_deadline() {
    alone(|| {
        for (passed, after, heard) in
            [(9_999 * MS, reading(MS), None), (10_000 * MS, reading(10 * SECOND), Some("Late(Stage(1))"))]
        {
            // At its deadline, or by an event at that time.
            for late in [true, false] {
                let mut one = One::new(MUCH);
                one.will([does(read(1, 10)), does(read(1, 10))]);
                one.turn();
                one.heard();
                one.pass(passed);
                assert_eq!(if late { one.late() } else { one.turn() }, after, "after {passed:?}");
                assert_eq!(one.heard(), Vec::from_iter(heard));
            }
        }
        // A stage without a valid next step ends the wait.
        let mut one = One::new(MUCH);
        one.will([does(read(1, 10)).saying(b"x"), does(Action::Unchanged).saying(b"late")]);
        one.turn();
        one.pass(10 * SECOND);
        assert_eq!(one.late(), lingering(2 * SECOND));
        assert_eq!(one.sees(), ("xlate".to_owned(), "end"));
    });
}

#[test]
fn an_idle_client_is_sent_the_goodbye_before_closing() {
    alone(|| {
        for goodbye in ["", "bye"] {
            let mut one = One::new(MUCH);
            one.known.lock().unwrap().goodbye = goodbye.as_bytes();
            one.will([does(idle())]);
            one.turn();
            one.pass(60 * SECOND - MS);
            assert_eq!(one.late(), idling(MS));
            one.pass(MS);
            assert_eq!(one.late(), After::Closed);
            assert_eq!(one.heard(), ["met", "", "goodbye"]);
            assert_eq!(one.sees(), (goodbye.to_owned(), "end"));
        }
    });
}

#[test]
fn only_idle_and_unfinished_connections_are_evicted() {
    alone(|| {
        let since = |eviction| After::Parked {
            readable: true,
            writable: false,
            deadline: Some(10 * SECOND),
            eviction,
            told: false,
        };
        for (next, parked, after, heard) in [
            (idle(), idling(60 * SECOND), After::Closed, Some("goodbye")),
            (half(1), since("begun"), After::Closed, Some("Late(Stage(1)) (the last)")),
            (read(1, 10), since("never"), since("never"), None),
        ] {
            let mut one = One::new(MUCH);
            one.will([does(next.clone())]);
            assert_eq!(one.turn(), parked, "{next:?}");
            one.heard();
            assert_eq!(one.evict(), after, "{next:?}");
            assert_eq!(one.heard(), Vec::from_iter(heard), "{next:?}");
        }
    });
}

/// The conversation knows whether its output is complete.
#[test]
fn an_evicted_message_ends_as_its_conversation_decides() {
    alone(|| {
        let ends = [(half(1), "end"), (Action::Handle, "end"), (Action::Close, "end"), (Action::Abort, "reset")];
        for (decided, end) in ends {
            let mut one = One::new(MUCH);
            one.will([does(half(1)).saying(b"x"), does(decided.clone())]);
            one.turn();
            one.pass(3 * SECOND); // an end without lingering
            assert_eq!(one.evict(), After::Closed, "{decided:?}");
            assert_eq!(one.sees(), ("x".to_owned(), end), "{decided:?}");
        }
    });
}

#[test]
fn a_shutdown_leaves_time_for_a_last_request() {
    alone(|| {
        let left = |eviction, deadline| After::Parked {
            readable: true,
            writable: false,
            deadline: Some(deadline),
            eviction,
            told: true,
        };
        for (next, passed, after, heard) in [
            (idle(), Duration::ZERO, left("idle", 500 * MS), None),
            (idle(), 499 * MS, left("idle", MS), None),
            (idle(), 500 * MS, After::Closed, Some("goodbye")),
            (idle(), 501 * MS, After::Closed, Some("goodbye")),
            (read(1, 10), 5000 * MS, left("never", 5 * SECOND), Some("ShuttingDown (the last)")),
            (half(1), Duration::ZERO, left("begun", 500 * MS), None),
            (half(1), 5000 * MS, left("begun", 500 * MS), None),
        ] {
            // The connection is notified of the shutdown, or finds that it has begun.
            for told in [true, false] {
                let mut one = One::new(MUCH);
                one.will([does(next.clone()), does(next.clone())]);
                one.turn();
                one.heard();
                one.pass(passed);
                one.server.shuts_down = true;
                if told {
                    one.connection().begin_shutdown();
                }
                assert_eq!(one.turn(), after, "{next:?}, after {passed:?}");
                assert_eq!(one.heard(), Vec::from_iter(heard), "{next:?}, after {passed:?}");
            }
        }
        // A client that reads its last output slowly has time to read all of it, and half a second more.
        let mut one = One::new(10);
        one.will([does(idle()).saying(&[b'x'; 25])]);
        one.turn();
        one.pass(SECOND);
        one.server.shuts_down = true;
        one.connection().begin_shutdown();
        assert_eq!(one.turn(), held_up(true, Some(LOOK - SECOND), true));
        one.reads(10);
        assert_eq!(one.turn(), held_up(true, Some(LOOK), true));
        one.reads(10);
        assert_eq!(one.turn(), left("idle", 500 * MS));
        one.pass(500 * MS);
        assert_eq!(one.late(), After::Closed);
    });
}

/// A message that begins to have an effect during a shutdown is announced too.
#[test]
fn each_message_in_progress_gets_one_notice_of_a_shutdown() {
    alone(|| {
        for before in [idle(), half(1), read(1, 10)] {
            for after in [read(2, 10), Action::Wait { stage: Stage(2), within: Some(10 * SECOND) }, idle(), half(2)] {
                let has_effect =
                    |next: &Action| matches!(next, Action::Wait { .. } | Action::Read { evictable: false, .. });
                let mut one = One::new(MUCH);
                let first = if has_effect(&before) { vec![does(before.clone())] } else { Vec::new() };
                one.will([does(before.clone())].into_iter().chain(first));
                one.turn();
                one.server.shuts_down = true;
                one.connection().begin_shutdown();
                one.turn();
                one.will([does(after.clone()).using(1), does(after.clone())]);
                one.sends(b"x");
                one.turn();
                one.turn();
                let notices = one.heard().iter().filter(|what| what.starts_with("ShuttingDown")).count();
                let expected = usize::from(has_effect(&before) || has_effect(&after));
                assert_eq!(notices, expected, "{before:?}, then {after:?}");
            }
        }
    });
}

#[test]
fn reading_continues_while_little_output_is_pending() {
    alone(|| {
        // The size of the output and the next step; then whether the connection reads, and its deadline.
        let much = 65_536 + 10;
        for (says, next, readable, deadline) in [
            (20, read(1, 1), true, SECOND),
            (20, read(1, 10), true, LOOK),
            (20, idle(), true, LOOK),
            (20, Action::Idle { within: Some(SECOND) }, true, LOOK), // a connection with unsent output is not idle
            (much, read(1, 1), true, SECOND),
            (much + 1, read(1, 1), false, LOOK),
            (much + 1, idle(), false, LOOK),
            (20, half(1), true, LOOK),
            (20, Action::Again, false, LOOK),
            (20, Action::Handle, false, LOOK),
        ] {
            let mut one = One::new(10);
            one.will([does(next.clone()).saying(&vec![b'x'; says])]);
            assert_eq!(one.turn(), held_up(readable, Some(deadline), !readable), "{says}, {next:?}");
            assert_eq!(one.permits.asked, [Work::Meet]);
        }
        // A client can be late with a message while it still has output to read.
        let mut one = One::new(10);
        one.will([does(read(1, 10)).saying(&[b'x'; 30])]);
        one.turn();
        one.heard();
        one.pass(SECOND);
        one.reads(10);
        assert_eq!(one.turn(), held_up(true, Some(LOOK), false));
        one.reads(10);
        one.pass(9 * SECOND);
        assert_eq!(one.turn(), idling(60 * SECOND));
        assert_eq!(one.heard(), ["Late(Stage(1))"]);
    });
}

#[test]
fn a_connection_with_pending_output_is_not_idle() {
    alone(|| {
        let mut one = One::new(10);
        one.will([does(Action::Idle { within: Some(SECOND) }).saying(&[b'x'; 30])]);
        assert_eq!(one.turn(), held_up(true, Some(LOOK), false));
        one.pass(LOOK);
        assert_eq!(one.late(), held_up(true, Some(30 * SECOND), false));
        for _ in 0..3 {
            one.reads(10);
            one.turn();
        }
        assert_eq!(one.turn(), idling(SECOND));
    });
}

#[test]
fn a_client_that_reads_nothing_is_dropped() {
    alone(|| {
        let mut one = One::new(10);
        one.will([does(read(1, 1000)).saying(&[b'x'; 100])]);
        one.turn();
        one.heard();
        for _ in 0..3 {
            one.pass(29 * SECOND);
            assert!(matches!(one.late(), After::Parked { .. }));
            one.reads(10);
            assert!(matches!(one.turn(), After::Parked { .. }));
        }
        one.pass(LOOK);
        assert!(matches!(one.late(), After::Parked { .. }));
        // Turns without progress of the client do not extend its time.
        for _ in 0..2 {
            one.pass(14 * SECOND);
            assert!(matches!(one.turn(), After::Parked { .. }));
        }
        one.pass(2 * SECOND);
        assert_eq!(one.heard(), [""; 0]);
        assert_eq!(one.late(), After::Closed);
        assert_eq!(one.heard(), ["SendFailed"]);
        assert_eq!(one.sees().1, "reset");
    });
}

#[test]
fn a_client_that_sends_too_slowly_is_late() {
    alone(|| {
        let next = || Action::read_at_min_rate(Stage(1), 1000 * SECOND);
        let over = 30 * SECOND;
        for (bytes, late, heard) in
            [(14_999, true, "Late(Stage(1))"), (14_999, false, "Late(Stage(1))"), (15_000, true, "")]
        {
            let mut one = One::new(MUCH);
            one.limits.min_rate = Some(MinRate { bytes_per_second: 500, over });
            one.will([does(next()), does(next()), does(next())]);
            assert_eq!(one.turn(), reading(over));
            one.pass(10 * SECOND);
            one.sends(&vec![b'x'; bytes]);
            assert_eq!(one.turn(), reading(20 * SECOND));
            one.heard();
            one.pass(20 * SECOND);
            assert_eq!(if late { one.late() } else { one.turn() }, reading(over), "{bytes}");
            assert_eq!(one.heard().concat(), heard);
        }
        // Only if the protocol requires it.
        let mut one = One::new(MUCH);
        one.limits.min_rate = Some(MinRate { bytes_per_second: 500, over });
        one.will([does(read(1, 100))]);
        assert_eq!(one.turn(), reading(100 * SECOND));
        one.pass(40 * SECOND);
        assert_eq!(one.late(), reading(60 * SECOND));
    });
}

/// In each case the client has done its part before the process is stopped for many times the limit.
#[test]
fn a_stop_of_the_process_is_not_time_of_the_client() {
    alone(|| {
        let over = 30 * SECOND;
        let limits = SendLimits { min_rate: Some(MinRate { bytes_per_second: 500, over }), write_timeout: Some(over) };
        let stop = 600 * SECOND;
        for is_late in [false, true] {
            let after_a_stop = |one: &mut One| if is_late { one.late() } else { one.turn() };

            let next = || Action::read_at_min_rate(Stage(1), 10_000 * SECOND);
            let mut one = One::new(MUCH);
            one.limits = limits;
            one.will([does(next()), does(next())]);
            assert_eq!(one.turn(), reading(over));
            one.heard();
            one.sends(&[b'x'; 20_000]);
            one.pass(stop);
            assert_eq!(after_a_stop(&mut one), reading(over));
            assert_eq!(one.heard(), ["20000 bytes"], "a client that sends; late: {is_late}");

            drop(one); // each has a machine of its own

            // The kernel has been asked once, and then the client reads.
            let mut one = One::new(20_000);
            one.limits = limits;
            one.will([does(read(1, 10_000)).saying(&[b'x'; 200_000])]);
            one.turn();
            one.pass(LOOK);
            one.late();
            one.reads(20_000);
            one.pass(stop);
            after_a_stop(&mut one);
            assert!(matches!(one.late(), After::Parked { .. }), "a client that reads; late: {is_late}");
        }
    });
}

#[test]
fn a_client_disconnect_is_reported() {
    alone(|| {
        let mut one = One::new(MUCH);
        one.turn();
        one.heard();
        one.is_gone();
        one.connection().saw(Readiness { readable: true, ..Readiness::NONE });
        assert_eq!(one.turn(), After::Closed);
        assert_eq!(one.heard(), ["SendFailed"]);
    });
}

#[test]
fn logging_is_announced_before_it_happens() {
    alone(|| {
        log::set_max_level(log::LevelFilter::Warn); // as in the runs
        let mut one = One::new(10);
        one.will([does(idle()).saying(&[b'x'; 100])]);
        with(|machine| machine.plan.faults.register = 1000);
        assert_eq!(one.turn(), After::Closed);
        assert_eq!(one.permits.logged, 1);
        drop(one);
        let mut one = One::new(10);
        one.will([does(Action::Abort)]);
        assert_eq!(one.turn(), After::Closed);
        assert_eq!(one.permits.logged, 0, "such an error is not logged");
    });
}
