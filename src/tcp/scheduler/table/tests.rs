//! Tests of the table of connections.

use super::super::super::sync;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn table() -> (ConnectionTable<u32>, Instant) {
    (ConnectionTable::new(), Instant::SOME)
}

fn insert(table: &mut ConnectionTable<u32>) -> Token {
    table.insert(|token| Arc::new(Link::new(token, Default::default()))).token()
}

fn wait(deadline: Option<Instant>, eviction: Eviction) -> Wait {
    let interest = Readiness { readable: true, ..Readiness::NONE };
    Wait { interest, deadline, eviction, shutdown_seen: false }
}

const READABLE: Readiness = Readiness { readable: true, ..Readiness::NONE };

#[test]
fn merged_events_keep_all_readiness() {
    let [readable, writable, closed, reset, called] = std::array::from_fn(|one| {
        let is = |field| field == one;
        Readiness { readable: is(0), writable: is(1), closed: is(2), reset: is(3), called: is(4) }
    });
    let mut all = Readiness::NONE;
    for one in [readable, writable, closed, reset, called] {
        let mut twice = one;
        twice.merge(one);
        assert_eq!(twice, one);
        let before = all;
        all.merge(one);
        assert_ne!(all, before, "merging {one:?} changed nothing");
        all.merge(Readiness::NONE);
        all.merge(before);
    }
    assert_eq!(all, Readiness { readable: true, writable: true, closed: true, reset: true, called: true });
}

#[test]
fn an_entry_has_at_most_one_deadline_hint() {
    let (mut table, now) = table();
    for second in 0..10_000 {
        let token = insert(&mut table);
        let deadline = Some(now + Duration::from_secs(86_400 + second));
        assert!(table.park(token, 0, wait(deadline, Eviction::Never)).is_ok());
        table.remove(token);
    }
    assert_eq!((table.hints.len(), table.parked()), (1, 0), "after 10,000 connections in one entry");
    let token = insert(&mut table);
    for round in 0..1_000 {
        let soon = now + 2 * SECOND * round;
        for deadline in [soon + 2 * SECOND, soon + 3600 * SECOND] {
            assert!(table.park(token, 0, wait(Some(deadline), Eviction::Never)).is_ok());
            table.late(soon);
            assert!(table.event(token, READABLE).is_some());
        }
        assert!(table.hints.len() <= 1, "{} hints after {round} rounds", table.hints.len());
    }
}

#[test]
fn late_connections_are_returned_after_their_deadline() {
    let (mut table, now) = table();
    let tokens: Vec<Token> = (0..3).map(|_| insert(&mut table)).collect();
    for (number, deadline) in [(0, 5), (1, 1), (2, 3)] {
        let wait = wait(Some(now + deadline * SECOND), Eviction::Never);
        assert!(table.park(tokens[number], number as u32, wait).is_ok());
    }
    let margin = 2 * BUCKET;
    let mut late = |now| table.late(now).into_iter().map(|(connection, _)| connection).collect::<Vec<u32>>();
    assert!(late(now + SECOND / 2).is_empty());
    assert_eq!(late(now + SECOND + margin), [1]);
    assert_eq!(late(now + 5 * SECOND + margin), [2, 0]);
}

#[test]
fn a_bucket_is_checked_when_its_time_is_over() {
    let (mut table, now) = table();
    let token = insert(&mut table);
    assert!(table.park(token, 7, wait(Some(now + BUCKET / 4), Eviction::Never)).is_ok());
    assert!(table.late(now + BUCKET / 2).is_empty());
    assert_eq!(table.late(now + BUCKET), [(7, Readiness::NONE)]);
}

#[test]
fn late_connections_are_returned_with_their_readiness() {
    let (mut table, now) = table();
    let token = insert(&mut table);
    let interest = Readiness { writable: true, ..Readiness::NONE };
    assert!(table.park(token, 7, Wait { interest, ..wait(Some(now), Eviction::Never) }).is_ok());
    assert!(table.event(token, READABLE).is_none(), "an event that the connection does not wait for must not wake it");
    assert_eq!(table.late(now + SECOND), [(7, READABLE)]);
}

#[test]
fn a_deadline_holds_after_years() {
    let (mut table, now) = table();
    for years in [1, 3, 100] {
        let now = now + years * 366 * 86_400 * SECOND;
        let token = insert(&mut table);
        assert!(table.park(token, years, wait(Some(now + SECOND), Eviction::Never)).is_ok());
        assert!(table.late(now).is_empty(), "{years} years");
        let due = begins(table.first_hint() + 1);
        assert!(due > now + SECOND && due <= now + SECOND + BUCKET, "{due:?}");
        assert_eq!(table.late(now + SECOND + 2 * BUCKET), [(years, Readiness::NONE)]);
        table.remove(token);
    }
}

#[test]
fn an_old_event_does_not_reach_a_later_connection() {
    let called = Readiness { called: true, ..Readiness::NONE };
    let (mut table, _) = table();
    let gone = insert(&mut table);
    table.remove(gone);
    let token = insert(&mut table);
    assert_eq!((token.index, token.generation), (gone.index, 1));
    assert!(table.call(gone).is_none(), "a call for a removed connection is ignored");
    table.remove(gone);
    for (interest, meets) in [(READABLE, false), (called, true)] {
        assert!(table.park(token, 7, Wait { interest, ..wait(None, Eviction::Never) }).is_ok());
        assert_eq!(table.call(token), meets.then_some((7, called)));
        table.drain();
    }
    assert_eq!(table.call(token), None, "a call to a connection that a worker holds is only recorded");
    let parked = table.park(token, 7, Wait { interest: called, ..wait(None, Eviction::Never) });
    assert_eq!(parked, Err((7, called)), "parking returns the recorded call");
}

#[test]
fn a_client_disconnect_is_noted_in_its_link() {
    sync::test(|| {
        for (closed, reset, expected) in [
            (false, false, [false, false]),
            (true, false, [true, false]),
            (false, true, [true, true]),
            (true, true, [true, true]),
        ] {
            let (mut table, _) = table();
            let link = table.insert(|token| Arc::new(Link::new(token, None)));
            assert_eq!(table.event(link.token(), Readiness { closed, reset, ..READABLE }), None);
            assert_eq!([link.is_peer_closed(), link.is_reset()], expected, "closed: {closed}, reset: {reset}");
        }
    });
}

#[test]
fn parked_connections_are_woken_by_a_shutdown() {
    let (mut table, _) = table();
    let tokens: Vec<Token> = (0..3).map(|_| insert(&mut table)).collect();
    let waits = wait(None, Eviction::Never);
    for token in [0, 1, 2] {
        assert!(table.park(tokens[token], token as u32, waits).is_ok());
    }
    assert!(table.event(tokens[1], READABLE).is_some());
    assert_eq!((table.begin_shutdown(), table.parked()), (vec![0, 2], 0));
    assert_eq!(table.park(tokens[1], 1, waits), Err((1, Readiness::NONE)));
    assert_eq!(table.park(tokens[1], 1, Wait { shutdown_seen: true, ..waits }), Ok(None));
    assert_eq!((table.drain(), table.drain(), table.parked()), (vec![1], vec![], 0));
}

/// A connection that is parked again within 64 ms keeps its place in the order of eviction, and its entry records
/// by how much it is younger. An incomplete message keeps its place as long as it is the same message.
#[test]
fn a_soon_reparked_connection_keeps_its_place() {
    const WHILE: Duration = Duration::from_nanos(KEEPS_ITS_PLACE);
    const MOMENT: Duration = Duration::from_nanos(1);
    type Row = (&'static str, fn(Instant) -> Eviction, Duration, bool);
    let eviction: [Row; 8] = [
        ("idle", Eviction::Idle, Duration::ZERO, true),
        ("idle", Eviction::Idle, WHILE - MOMENT, true),
        ("idle", Eviction::Idle, WHILE, false),
        ("idle", Eviction::Idle, 10 * SECOND, false),
        ("lingering", Eviction::Lingering, WHILE - MOMENT, true),
        ("lingering", Eviction::Lingering, WHILE, false),
        ("begun", Eviction::Begun, Duration::ZERO, true),
        ("begun", Eviction::Begun, MOMENT, false),
    ];
    for (what, eviction, later, keeps) in eviction {
        let (mut table, now) = table();
        let tokens = [insert(&mut table), insert(&mut table)];
        for (token, since) in [(0, now), (1, now), (0, now + later)] {
            assert!(table.park(tokens[token], 0, wait(None, eviction(since))).is_ok());
            assert!(table.event(tokens[token], READABLE).is_some());
        }
        let list = usize::from(eviction(now).list().0);
        let first = if keeps { 0 } else { 1 };
        let told = format!("{what}, {later:?} later");
        assert_eq!(table.next_in(list, None), Some((now, first)), "{told}");
        let (since, index) = table.next_in(list, Some(first)).expect("both connections in the list");
        assert_eq!((since, index), (if keeps { now } else { now + later }, 1 - first), "{told}");
        let younger = if keeps { later.as_nanos() as u32 } else { 0 };
        assert_eq!(table.entries[0].younger, younger, "{told}");
    }
}

#[test]
fn an_entry_is_a_cache_line() {
    assert_eq!(size_of::<Entry<Box<u8>>>(), 64);
}
