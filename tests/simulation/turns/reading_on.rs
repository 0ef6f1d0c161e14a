//! A handler that reads and writes by itself during its turn.

use super::*;

/// A client's action on the socket of this number.
type Does = fn(&mut Net, usize, &mut Chance);

/// A handler that reads on from its client by a second handle, whose waits have this limit. The client does these
/// actions, each after this time.
fn reading_on(
    within: Option<Duration>,
    client: &[(Duration, Does)],
    reads_on: impl FnOnce(&mut dyn BlockingInput) + Send + 'static,
) -> One {
    // Started first, so it runs when no other thread can.
    let clock = shuttle::thread::spawn(|| {
        while !with(|machine| machine.over) {
            if schedule::all_tasks_wait() {
                with(|machine| machine.advance(machine.next_due().expect("a wait with a deadline")));
            }
            shuttle::thread::sleep(Duration::ZERO);
        }
    });
    let mut one = One::new(10);
    one.limits.min_rate = Some(MinRate { bytes_per_second: 500, over: 30 * SECOND });
    one.turn();
    one.will([does(Action::Handle)]);
    one.known.lock().unwrap().reads_on = Some((within, Box::new(reads_on)));
    let (id, client) = (one.id, client.to_vec());
    let client = shuttle::thread::spawn(move || {
        for (after, what) in client {
            machine::sleep(after);
            with(|machine| machine.on_net(Some(id), |net, chance| what(net, id, chance)));
        }
    });
    one.sends(b"a");
    one.turn();
    client.join().unwrap();
    with(|machine| machine.over = true);
    clock.join().unwrap();
    assert!(one.known.lock().unwrap().reads_on.is_none());
    one
}

/// The result of this, and the time that it took.
fn time_of<R>(what: impl FnOnce() -> R) -> (R, Duration) {
    let start = super::super::sync::now();
    let result = what();
    (result, super::super::sync::now() - start)
}

#[test]
fn a_handler_reads_bytes_as_they_arrive() {
    alone(|| {
        let one = reading_on(
            None,
            &[
                (SECOND, |net, id, chance| _ = net.client_sends(id, b"bc", chance)),
                (SECOND, |net, id, _| net.client_shuts_down(id)),
            ],
            |input| {
                let mut room = [0; 10];
                assert_eq!(input.read(&mut []).unwrap(), 0, "a read into an empty buffer returns 0");
                assert_eq!(time_of(|| input.read(&mut room).unwrap()), (2, SECOND));
                assert_eq!(room[..2], *b"bc");
                assert_eq!(input.read(&mut []).unwrap(), 0);
            },
        );
        assert!(!one.link.is_peer_closed(), "the buffer was full, so the end has not been seen yet");
    });
    alone(|| {
        let one = reading_on(None, &[(SECOND, |net, id, _| net.client_shuts_down(id))], |input| {
            assert_eq!(time_of(|| input.read(&mut [0; 10]).unwrap()), (0, SECOND));
        });
        assert!(one.link.is_peer_closed());
    });
}

#[test]
fn a_handlers_wait_for_its_client_is_limited() {
    alone(|| {
        // The time of all waits counts, not the time between them.
        reading_on(
            Some(5 * SECOND),
            &[(3 * SECOND, |net, id, chance| _ = net.client_sends(id, b"b", chance))],
            |input| {
                let mut room = [0; 10];
                assert_eq!(time_of(|| input.read(&mut room).unwrap()), (1, 3 * SECOND));
                machine::sleep(10 * SECOND);
                let (result, time) = time_of(|| input.read(&mut room).map_err(|err| err.kind()));
                assert_eq!((result, time), (Err(ErrorKind::TimedOut), 2 * SECOND));
            },
        );
    });
    // The minimum rate: after a window that was fast enough, the client has another one, in which nothing arrives.
    for (bytes, late) in [(14_999, 20 * SECOND), (15_000, 50 * SECOND)] {
        alone(move || {
            let sends: Does = match bytes {
                15_000 => |net, id, chance| _ = net.client_sends(id, &[b'x'; 15_000], chance),
                _ => |net, id, chance| _ = net.client_sends(id, &[b'x'; 14_999], chance),
            };
            reading_on(None, &[(10 * SECOND, sends)], move |input| {
                let mut room = [0; 20_000];
                assert_eq!(time_of(|| input.read(&mut room).unwrap()), (bytes, 10 * SECOND));
                let (result, time) = time_of(|| input.read(&mut room).map_err(|err| err.kind()));
                assert_eq!((result, time), (Err(ErrorKind::TimedOut), late));
            });
        });
    }
}

#[test]
fn a_handler_writes_everything_before_reading_more() {
    alone(|| {
        let reads = |net: &mut Net, id: usize, _: &mut Chance| _ = net.client_reads(id, 10);
        let mut one = reading_on(Some(10 * SECOND), &[(SECOND, reads), (SECOND, reads)], |input| {
            assert_eq!(time_of(|| input.write_all(&[b'x'; 25]).unwrap()), ((), 2 * SECOND));
            let result = input.write_all(&[b'x'; 25]).map_err(|err| err.kind());
            assert_eq!(result, Err(ErrorKind::TimedOut));
        });
        assert_eq!(one.reads(100), 10);
    });
}
