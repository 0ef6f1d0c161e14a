//! A connection with a conversation above a codec: the rules of the engine hold as without one.

use super::super::input::Input;
use super::super::protocol::Codec;
use super::*;

/// A frame: a byte with the length, then the bytes. Length 0 is a goodbye, and 127 is an error.
pub struct Framed;

const BROKEN: u8 = 127;

impl Codec for Framed {
    fn open(&mut self, turn: &mut Turn<'_>, plain: &mut Input) -> Result<(), Action> {
        while let [length, rest @ ..] = turn.input.bytes() {
            let length = *length;
            match (length, rest.get(..usize::from(length))) {
                (BROKEN, _) => {
                    turn.output.bytes().push(BROKEN);
                    return Err(Action::Linger);
                }
                (_, None) => return Ok(()),
                (0, _) => plain.end(),
                _ if plain.ended() => {}
                (_, Some(bytes)) => plain.extend(bytes),
            }
            turn.input.consume(1 + usize::from(length));
        }
        Ok(())
    }

    fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) {
        for record in plain.chunks(100) {
            sealed.push(record.len() as u8);
            sealed.extend_from_slice(record);
        }
    }

    fn goodbye(&mut self, sealed: &mut Vec<u8>) {
        sealed.push(0);
    }
}

/// These bytes as frames.
fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::new();
    Framed.seal(bytes, &mut sealed);
    sealed
}

/// The content of the bytes that a client has received, and their end: a goodbye, the reply to an invalid frame, within
/// a frame, or between two frames.
fn opened(said: &str) -> (String, &'static str) {
    let (mut rest, mut plain) = (said.as_bytes(), Vec::new());
    while let [length, after @ ..] = rest {
        match (*length, after.get(..usize::from(*length))) {
            (0, _) => return (String::from_utf8(plain).unwrap(), "goodbye"),
            (BROKEN, _) => return (String::from_utf8(plain).unwrap(), "alert"),
            (_, None) => return (String::from_utf8(plain).unwrap(), "torn"),
            (length, Some(bytes)) => {
                plain.extend(bytes);
                rest = &after[usize::from(length)..];
            }
        }
    }
    (String::from_utf8(plain).unwrap(), "open")
}

/// A connection above this many layers, whose conversation takes these steps.
fn above(layers: usize, room: usize, steps: impl IntoIterator<Item = Step>) -> One {
    let mut one = One::new(room);
    one.will((0..layers).map(|_| Step { layers: true, ..does(Action::Again) }));
    one.will(steps);
    one.turn();
    one.heard();
    one
}

#[test]
fn a_partial_frame_renews_no_deadline() {
    alone(|| {
        for layers in [1, 2] {
            let mut one = above(layers, MUCH, [does(half(1)), does(half(1)), does(idle())]);
            let mut sent = framed(b"ab");
            (1..layers).for_each(|_| sent = framed(&sent));
            let last = sent.pop().unwrap();
            for (passed, byte) in sent.into_iter().enumerate() {
                one.pass(SECOND);
                one.sends(&[byte]);
                let left = SECOND * (9 - passed as u32);
                let After::Parked { deadline, eviction: "begun", .. } = one.turn() else { panic!("not parked") };
                assert_eq!((deadline, one.heard()), (Some(left), vec![]), "{layers} layers, {byte}");
            }
            one.sends(&[last]);
            let After::Parked { eviction: "begun", .. } = one.turn() else { panic!("not parked") };
            assert_eq!(one.heard(), ["ab"]);
            // An incomplete frame does not extend the time.
            one.pass(10 * SECOND);
            one.sends(&[9]);
            assert_eq!(one.late(), idling(60 * SECOND));
            assert_eq!(one.heard(), ["Late(Stage(1))"]);
        }
    });
}

#[test]
fn received_bytes_are_opened_before_they_are_handled() {
    alone(|| {
        // The client's bytes, the steps of the conversation, and the end that the client sees.
        let whole = [framed(b"a"), framed(b"b")].concat();
        for (sent, ends, heard, seen) in [
            (&whole[..], false, &["ab"][..], "open"),
            (&whole[..3], false, &["a"], "open"),
            (&[&whole[..], &[0]].concat(), false, &["ab."], "goodbye"),
            (&[0], false, &["."], "goodbye"),
            (&[&[0][..], &whole].concat(), false, &["."], "goodbye"),
            (&whole[..3], true, &["a", "."], "goodbye"),
            (&[], true, &["."], "goodbye"),
            (&[BROKEN], false, &[], "alert"),
            (&[&whole[..], &[BROKEN]].concat(), false, &[], "alert"),
        ] {
            let mut one = above(1, MUCH, []);
            if !sent.is_empty() {
                one.sends(sent);
            }
            if ends {
                one.shuts_down();
            }
            one.turn();
            assert_eq!(one.heard(), heard, "{sent:?}");
            assert_eq!(opened(&one.sees().0).1, seen, "{sent:?}");
        }
    });
}

#[test]
fn every_end_but_an_abort_has_a_goodbye() {
    alone(|| {
        for next in [Action::Close, Action::Linger, Action::Abort] {
            let mut one = above(1, MUCH, [does(idle()), does(next.clone()).saying(b"x")]);
            one.sends(&framed(b"a"));
            one.turn();
            let (said, end) = one.sees();
            assert_eq!(end == "reset", next == Action::Abort, "{next:?}: {end}");
            match end {
                // The client may lose any part of what was sent before.
                "reset" => assert_ne!(opened(&said).1, "goodbye", "{next:?}"),
                _ => assert_eq!(opened(&said), ("x".to_owned(), "goodbye"), "{next:?}"),
            }
        }
        for evicted in [false, true] {
            let mut one = above(1, MUCH, [does(idle())]);
            one.known.lock().unwrap().goodbye = b"bye";
            one.pass(60 * SECOND);
            assert_eq!(if evicted { one.evict() } else { one.late() }, After::Closed);
            assert_eq!(opened(&one.sees().0), ("bye".to_owned(), "goodbye"));
        }
    });
}

#[test]
fn files_are_read_only_in_turns_that_can_block() {
    alone(|| {
        const LENGTH: u64 = 300_000;
        let mut one = above(1, 1000, [does(idle()), does(idle()).saying(b"head").with_file(LENGTH)]);
        one.permits.none_for = vec![Work::Short];
        one.sends(&framed(b"a"));
        assert_eq!(one.turn(), After::Awaits(Work::Short), "a file must not be read without a permit");
        one.permits.none_for.clear();
        let (mut said, mut rounds) = (String::new(), 0);
        while opened(&said).0.len() < LENGTH as usize + 4 {
            one.connection().saw(Readiness { writable: true, ..Readiness::NONE });
            one.turn();
            said += &one.sees().0;
            rounds += 1;
            assert!(rounds < 1000);
        }
        let (plain, end) = opened(&said);
        assert_eq!((plain.len() as u64, end), (LENGTH + 4, "open"));
    });
}

#[test]
fn sealed_but_unsent_bytes_are_counted_and_reset() {
    alone(|| {
        let mut one = above(1, 10, [does(idle()), does(idle()).saying(&[b'x'; 100])]);
        one.sends(&framed(b"a"));
        one.turn();
        let connection = one.connection.take().unwrap();
        drop(connection.cut_off());
        assert_eq!(one.sees().1, "reset");
        assert_eq!(one.known.lock().unwrap().unsent, Some(91), "each piece has one byte for its length");
    });
}

/// When the server ends, an idle connection gets its goodbye, or is reset if its client does not read it.
#[test]
fn idle_connections_end_with_a_goodbye() {
    alone(|| {
        for (size, is_whole, end) in [(8, true, "end"), (9, false, "reset")] {
            for (layers, room) in [(1, 10), (2, 13)] {
                let mut one = above(layers, room, [does(idle()).saying(&vec![b'x'; size])]);
                drop(one.connection.take().unwrap().cut_off());
                let (said, seen) = one.sees();
                assert_eq!((opened(&said).1 == "goodbye", seen), (is_whole, end), "{layers} layers, {size} bytes");
            }
        }
    });
}

#[test]
fn an_event_can_leave_the_wait_unchanged() {
    alone(|| {
        let steps = [does(idle()), does(Action::Unchanged).saying(&[b'x'; 2000])];
        let mut one = above(1, MUCH, steps);
        one.pass(5 * SECOND);
        one.link.note_call();
        let After::Parked { eviction: "idle", .. } = one.turn() else { panic!("not parked") };
        assert_eq!(opened(&one.sees().0), ("x".repeat(2000), "open"));
    });
}

#[test]
fn a_handler_keeps_reading_through_the_layer() {
    alone(|| {
        let steps = [does(idle()), does(Action::Handle).using(0), does(idle()).using(4)];
        let mut one = above(1, MUCH, steps);
        one.permits.none_for = vec![Work::Handler];
        one.sends(&[framed(b"a"), framed(b"bcd"), framed(b"ef")].concat()[..8]); // the last byte is missing
        assert_eq!(one.turn(), After::Awaits(Work::Handler));
        assert_eq!(one.heard(), ["abcd"]);
        one.permits.none_for.clear();
        let id = one.id;
        one.known.lock().unwrap().reads_on = Some((
            Some(SECOND),
            Box::new(move |input| {
                with(|machine| machine.on_net(None, |net, chance| net.client_sends(id, b"f\x03ghi\x02j", chance)));
                let mut room = [0; 4];
                let count = input.read(&mut room).unwrap();
                assert_eq!(&room[..count], b"efgh", "decrypted data fills the buffer");
                input.write_all(b"100").unwrap();
            }),
        ));
        one.turn();
        assert_eq!(one.heard(), ["abcd", "i"], "the decrypted rest is received as new data");
        assert_eq!(opened(&one.sees().0), ("100".to_owned(), "open"));
        one.sends(b"k");
        one.turn();
        assert_eq!(one.heard(), ["jk"], "nothing is lost between the two");
    });
}

#[test]
fn a_broken_frame_during_a_handlers_read_ends_the_connection() {
    alone(|| {
        let mut one = above(1, MUCH, [does(idle()), does(Action::Handle), does(idle())]);
        one.permits.none_for = vec![Work::Handler];
        one.sends(&framed(b"a"));
        one.turn();
        one.permits.none_for.clear();
        let id = one.id;
        one.known.lock().unwrap().reads_on = Some((
            Some(SECOND),
            Box::new(move |input| {
                with(|machine| machine.on_net(None, |net, chance| net.client_sends(id, &[BROKEN], chance)));
                for _ in 0..2 {
                    assert_eq!(input.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::InvalidData);
                }
            }),
        ));
        one.turn();
        assert_eq!(opened(&one.sees().0), (String::new(), "alert"));
    });
}
