//! The input, output and permits of one turn.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
fn a_conversation_knows_when_its_bytes_were_polled() {
    alone(|| {
        for (after, by_a_poll) in [(Duration::ZERO, true), (2 * 3600 * SECOND, true), (Duration::ZERO, false)] {
            let mut one = One::new(MUCH);
            one.will([does(idle())]);
            one.turn();
            one.pass(after);
            one.sends(b"a");
            let polled = by_a_poll.then(super::super::sync::now);
            one.connection().brought_by(polled);
            one.pass(MS);
            one.turn();
            let told = one.known.lock().unwrap().polled;
            assert_eq!(told, polled.map(super::super::sync::to_std), "{after:?}");
        }
    });
}

#[test]
fn a_connection_has_a_name_and_a_client() {
    alone(|| {
        let mut one = One::new(MUCH);
        let id = one.id;
        assert_eq!(super::super::sys::id_of(one.connection().client().address()), id);
        assert_eq!(one.connection().token(), one.link.token());
    });
}

#[test]
fn a_turn_is_bounded() {
    alone(|| {
        // 64 calls of the conversation.
        let mut one = One::new(MUCH);
        one.will(std::iter::repeat_n(does(Action::Again), 70));
        assert_eq!(one.turn(), After::Requeued);
        assert_eq!(one.heard().len(), 1 + 64);
        assert_eq!(one.turn(), idling(60 * SECOND));
        drop(one);

        // 1 MiB of a file.
        let mut one = One::new(MUCH);
        one.will([Step { file: 2_000_000, ..does(idle()) }]);
        assert_eq!(one.turn(), After::Requeued);
        assert!((1 << 20..(1 << 20) + (1 << 16)).contains(&one.reads(MUCH)));
        assert_eq!(one.turn(), idling(60 * SECOND));
        drop(one);

        // The same amount of input.
        let mut one = One::new(MUCH);
        one.sends(&vec![b'x'; 2_000_000]);
        assert_eq!(one.turn(), After::Requeued);
        assert_eq!(one.heard(), [vec!["met", ""], vec!["65536 bytes"; 17]].concat());
        assert_eq!(one.turn(), idling(60 * SECOND));
    });
}

#[test]
fn a_read_that_fills_the_buffer_is_repeated() {
    alone(|| {
        let mut one = One::new(MUCH);
        one.turn();
        one.heard();
        one.sends(&vec![b'x'; 65_536 + 30]);
        one.turn();
        assert_eq!(one.heard(), ["65536 bytes", "30 bytes"]);
        // The end after it has the same effect.
        one.sends(b"a");
        one.shuts_down();
        assert_eq!(one.turn(), After::Closed);
        assert_eq!(one.heard(), ["a", "."]);
    });
}

#[test]
fn output_waits_only_for_that_of_a_short_handler() {
    alone(|| {
        let short = Duration::from_micros(99);
        // Whether the handler is called before the client reads. One byte of the output fits into the client's buffer.
        for (what, waits, length, took, called) in [
            ("it can wait", true, 2, short, true),
            ("it can't", false, 2, short, false),
            ("handlers are long", true, 2, short * 2, false),
            ("as much as can wait", true, 16 * 1024, short, true),
            ("more", true, 16 * 1024 + 1, short, false),
        ] {
            let mut one = One::new(1);
            one.permits.took.push(took);
            one.will([Step { waits, ..does(Action::Handle).saying(&vec![b'x'; length]) }, does(idle()).saying(b"y")]);
            one.turn();
            assert_eq!(one.heard(), ["met", "", ""][..2 + usize::from(called)], "{what}");
        }
        // It does not wait for a permit.
        let mut one = One::new(MUCH);
        one.permits.none_for.push(Work::Handler);
        one.will([Step { waits: true, ..does(Action::Handle).saying(b"said") }]);
        assert_eq!((one.turn(), one.sees()), (After::Awaits(Work::Handler), ("said".to_owned(), "open")));
    });
}

#[test]
fn each_step_asks_for_its_kind_of_permit() {
    alone(|| {
        use Work::{Begun, Handler, Meet, Short};
        let part = || does(Action::Handle).saying(b"part");
        let wait = || does(Action::Wait { stage: Stage(1), within: None });
        let rows: [(&str, &[Step], &[Work], usize); 8] = [
            ("nothing", &[does(idle())], &[Meet], 0),
            ("short work, twice", &[does(Action::Brief), does(Action::Brief)], &[Meet, Short], 0),
            (
                "handlers that send nothing yet",
                &[does(Action::Handle), does(Action::Handle)],
                &[Meet, Handler, Handler],
                2,
            ),
            ("a response in parts", &[does(Action::Handle), part(), part()], &[Meet, Handler, Begun, Begun], 3),
            (
                "a response in parts, one of them empty",
                &[does(Action::Handle), part(), does(Action::Handle)],
                &[Meet, Handler, Begun, Begun],
                3,
            ),
            (
                "a whole response, and another",
                &[does(Action::Handle), does(Action::Again).saying(b"whole"), does(Action::Handle)],
                &[Meet, Handler, Handler],
                2,
            ),
            (
                "a response in parts, and another",
                &[does(Action::Handle), part(), does(Action::Again), does(Action::Handle)],
                &[Meet, Handler, Begun, Handler],
                3,
            ),
            ("a handler, and short work", &[does(Action::Handle), does(Action::Brief)], &[Meet, Handler], 1),
        ];
        for (what, steps, asked, handlers) in rows {
            let mut one = One::new(MUCH);
            one.known.lock().unwrap().takes = 5 * MS;
            one.will(steps.to_vec());
            one.turn();
            assert_eq!(one.permits.asked, asked, "{what}");
            assert_eq!(one.permits.took.len(), handlers, "{what}");
            assert!(one.permits.took.iter().all(|took| *took >= 5 * MS), "{what}: {:?}", one.permits.took);
        }
        // A handler that has waited for a call is not rejected afterwards, but the next message can be.
        {
            let mut one = One::new(MUCH);
            one.will([does(Action::Handle), wait(), does(Action::Handle), does(Action::Again), does(Action::Handle)]);
            one.turn();
            one.permits.asked.clear();
            one.link.note_call();
            one.turn();
            assert_eq!(one.permits.asked, [Short, Begun, Handler]);
        }
        // With more unused input, the conversation may wait for another response.
        let mut one = One::new(MUCH);
        one.will([does(idle()), does(Action::Handle).using(1), part().using(1), part()]);
        one.turn();
        one.sends(b"abc");
        one.permits.asked.clear();
        one.turn();
        assert_eq!(one.permits.asked, [Handler, Handler, Handler]);
    });
}

#[test]
fn asking_again_for_a_denied_permit_closes_the_connection() {
    alone(|| {
        for (asks, event, says, after) in [
            (Action::Handle, "NoPermit", Action::Handle, After::Closed),
            (Action::Handle, "NoPermit", idle(), idling(60 * SECOND)),
            (Action::Take, "NoThread", Action::Take, After::Closed),
            (Action::Take, "NoThread", idle(), idling(60 * SECOND)),
        ] {
            let mut one = One::new(MUCH);
            one.permits.none_for = vec![Work::Handler];
            one.will([does(idle()), does(asks.clone()), does(says.clone())]);
            one.turn();
            one.sends(b"a");
            let first = if asks == Action::Take { After::Taken } else { After::Awaits(Work::Handler) };
            assert_eq!(one.turn(), first);
            one.connection().causes().no_permit = asks == Action::Handle;
            one.connection().causes().no_thread = asks == Action::Take;
            assert_eq!(one.turn(), after, "{asks:?}, then {says:?}");
            assert_eq!(one.heard(), ["met", "", "a", event]);
        }
    });
}

/// Shared bytes whose destructor is user code.
struct Bytes(Vec<u8>, Arc<AtomicBool>);

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.1.store(true, Ordering::Relaxed);
    }
}

#[test]
fn shared_bytes_are_dropped_with_a_permit_only() {
    alone(|| {
        for ends in [idle(), Action::Close] {
            let dropped = Arc::new(AtomicBool::new(false));
            let mut one = One::new(80);
            one.will([does(ends.clone()).sharing(Arc::new(Bytes(vec![b'x'; 100], dropped.clone())))]);
            one.permits.none_for = vec![Work::Short];
            one.turn();
            one.reads(80);
            one.connection().saw(Readiness { writable: true, ..Readiness::NONE });
            assert_eq!(one.turn(), After::Awaits(Work::Short), "{ends:?}");
            assert!(!dropped.load(Ordering::Relaxed), "{ends:?}: dropped before there was a permit");
            one.permits.none_for.clear();
            one.turn();
            assert!(dropped.load(Ordering::Relaxed), "{ends:?}: not dropped with a permit");
        }
    });
}

/// Pieces in memory are sent while all permits are in use. Nothing more is read until they are dropped.
#[test]
fn a_response_in_shared_pieces_needs_no_permit_to_be_sent() {
    alone(|| {
        for ends in [idle(), Action::Close, Action::Again] {
            let dropped: [Arc<AtomicBool>; 3] = std::array::from_fn(|_| Arc::default());
            let count = || dropped.iter().filter(|dropped| dropped.load(Ordering::Relaxed)).count();
            let bytes = |at: usize| Arc::new(Bytes(vec![b'x'; 50], dropped[at].clone()));
            let mut one = One::new(40);
            one.will([(0..3).fold(does(ends.clone()), |step, at| step.sharing(bytes(at)))]);
            one.turn();
            one.permits.none_for = vec![Work::Short];
            for sent in [40, 80, 120] {
                assert_eq!(one.reads(40), 40, "{ends:?}");
                one.connection().saw(Readiness { writable: true, ..Readiness::NONE });
                match one.turn() {
                    After::Parked { readable, writable, .. } => assert!(!readable && writable, "{ends:?}, {sent}"),
                    after => assert_eq!((sent, after), (120, After::Awaits(Work::Short)), "{ends:?}"),
                }
            }
            assert_eq!((one.reads(40), count()), (30, 0), "{ends:?}: everything must be sent, and nothing dropped");
            one.permits.none_for.clear();
            one.turn();
            assert_eq!(count(), 3, "{ends:?}");
        }
    });
}
