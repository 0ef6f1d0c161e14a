//! Who waits for what, until when: a seat for each connection, taken or empty.
//!
//! A connection moves by value. While a worker holds it, its seat stays behind and notes the events that come for it,
//! and who parks it finds the note and goes on instead: no readiness is lost.
//! Deadlines cost little: the seat holds the true one, and a map of 16 ms buckets one live hint a seat, which is looked
//! at again when its bucket is due.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What the poller saw of a connection, or what a connection waits for. A hint: it causes a read, never a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    pub readable: bool,
    pub writable: bool,
    /// The end of the stream is there behind the bytes.
    pub closed: bool,
}

impl Readiness {
    pub const NONE: Readiness = Readiness { readable: false, writable: false, closed: false };

    pub fn merge(&mut self, other: Readiness) {
        self.readable |= other.readable;
        self.writable |= other.writable;
        self.closed |= other.closed;
    }

    fn answers(self, wait: Readiness) -> bool {
        self.readable && wait.readable || self.writable && wait.writable
    }
}

/// A seat's number and the generation of who sits there: an event for who left long ago finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    index: u32,
    generation: u32,
}

impl Token {
    pub fn to_usize(self) -> usize {
        (self.generation as usize) << 32 | self.index as usize
    }

    pub fn from_usize(number: usize) -> Token {
        Token { index: number as u32, generation: (number >> 32) as u32 }
    }
}

/// What a parked connection waits for.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// The events it wants to be woken by.
    pub readiness: Readiness,
    /// Until when.
    pub deadline: Option<Instant>,
    /// Nothing is under way, since then: the oldest of these are let go when room is short.
    pub idle_since: Option<Instant>,
    /// It has been shutdown_seen that the server stops; who has not is not parked again after the sweep.
    pub shutdown_seen: bool,
}

/// What became of a wait to park.
pub enum Parked<C> {
    /// It sits; `ring`: its deadline is earlier than the one the poller waits for.
    Sits { ring: bool },
    /// Something came meanwhile: go on with it.
    GoOn(C, Readiness),
}

struct Entry<C> {
    generation: u32,
    note: Readiness,
    wait: Readiness,
    place: Place<C>,
    deadline: Option<Instant>,
    idle_since: Option<Instant>,
    hint: Option<u64>, // the bucket of the one live hint
}

enum Place<C> {
    Empty,     // nobody's
    Away,      // somebody holds the connection
    Parked(C), // the connection is here
}

/// All table. One lock around it; nothing that blocks happens under that lock.
pub struct ConnectionTable<C> {
    table: Vec<Entry<C>>,
    empty: Vec<u32>,
    hints: BTreeMap<u64, Vec<u32>>, // of table, whoever sits there by then
    beginning: Instant,
    parked: usize,
    swept: bool,
    waited_for: Option<u64>, // the bucket at which the waiting poller will return by itself (MAX: never)
}

const BUCKET: Duration = Duration::from_millis(16);

impl<C> ConnectionTable<C> {
    pub fn new(beginning: Instant) -> ConnectionTable<C> {
        ConnectionTable {
            table: Vec::new(),
            empty: Vec::new(),
            hints: BTreeMap::new(),
            beginning,
            parked: 0,
            swept: false,
            waited_for: None,
        }
    }

    /// A seat for a newcomer, whose connection is away, in the scheduler of who asks.
    pub fn take(&mut self) -> Token {
        let index = self.empty.pop().unwrap_or_else(|| {
            self.table.push(Entry {
                generation: 0,
                note: Readiness::NONE,
                wait: Readiness::NONE,
                place: Place::Empty,
                deadline: None,
                idle_since: None,
                hint: None,
            });
            self.table.len() as u32 - 1
        });
        let seat = &mut self.table[index as usize];
        seat.place = Place::Away;
        Token { index, generation: seat.generation }
    }

    /// Give the seat back: its connection is gone.
    pub fn leave(&mut self, token: Token) {
        let Some(seat) = self.table.get_mut(token.index as usize) else { return };
        if seat.generation != token.generation {
            return;
        }
        // Wrapping at 31 bits keeps the token of the listener and of the waker free (see `poller`).
        seat.generation = (seat.generation + 1) & 0x7FFF_FFFF;
        seat.note = Readiness::NONE;
        seat.deadline = None;
        seat.idle_since = None; // the hint stays: it serves whoever comes next
        if let Place::Parked(_) = std::mem::replace(&mut seat.place, Place::Empty) {
            self.parked -= 1;
        }
        self.empty.push(token.index);
    }

    /// Sit down and wait, unless something came meanwhile.
    pub fn park(&mut self, token: Token, connection: C, wait: Wait) -> Parked<C> {
        let swept = self.swept;
        let seat = &mut self.table[token.index as usize];
        debug_assert!(matches!(seat.place, Place::Away) && seat.generation == token.generation);
        if seat.note.answers(wait.readiness) || (swept && !wait.shutdown_seen) {
            return Parked::GoOn(connection, std::mem::take(&mut seat.note));
        }
        seat.place = Place::Parked(connection);
        seat.wait = wait.readiness;
        seat.deadline = wait.deadline;
        seat.idle_since = wait.idle_since;
        self.parked += 1;
        Parked::Sits { ring: self.hint_at(token.index) }
    }

    /// An event came: if its connection waits for that here, it is yours; else the event is noted.
    pub fn event(&mut self, token: Token, readiness: Readiness) -> Option<(C, Readiness)> {
        let seat = self.table.get_mut(token.index as usize)?;
        if seat.generation != token.generation {
            return None;
        }
        seat.note.merge(readiness);
        if !seat.note.answers(seat.wait) {
            return None;
        }
        self.lift(token.index)
    }

    /// Those whose deadline has passed.
    pub fn late(&mut self, now: Instant) -> Vec<C> {
        let mut late = Vec::new();
        let due = self.bucket(now);
        while let Some(entry) = self.hints.first_entry() {
            if *entry.key() >= due {
                break;
            }
            let (bucket, table) = entry.remove_entry();
            for index in table {
                self.look_at_hint(index, bucket, now, &mut late);
            }
        }
        late
    }

    fn look_at_hint(&mut self, index: u32, bucket: u64, now: Instant, late: &mut Vec<C>) {
        let seat = &mut self.table[index as usize];
        if seat.hint != Some(bucket) {
            return; // not the live one
        }
        seat.hint = None;
        match (&seat.place, seat.deadline) {
            (Place::Parked(_), Some(deadline)) if deadline <= now => {
                late.extend(self.lift(index).map(|(connection, _)| connection));
            }
            (Place::Parked(_), Some(_)) => {
                self.hint_at(index);
            }
            _ => {} // who is away lays a new hint when it parks
        }
    }

    /// Up to `count` of those who rest, the longest idle_since first.
    pub fn evict(&mut self, count: usize) -> Vec<C> {
        let mut idle_since: Vec<(Instant, u32)> = (0..)
            .zip(&self.table)
            .filter(|(_, seat)| matches!(seat.place, Place::Parked(_)))
            .filter_map(|(index, seat)| Some((seat.idle_since?, index)))
            .collect();
        if idle_since.len() > count {
            idle_since.select_nth_unstable(count);
            idle_since.truncate(count);
        }
        idle_since.sort_unstable();
        idle_since.into_iter().filter_map(|(_, index)| self.lift(index)).map(|(connection, _)| connection).collect()
    }

    /// Everybody who is parked. From now on nobody parks who has not been shutdown_seen of the stop.
    pub fn sweep(&mut self) -> Vec<C> {
        self.swept = true;
        self.empty_out()
    }

    /// Everybody who is parked.
    pub fn empty_out(&mut self) -> Vec<C> {
        (0..self.table.len() as u32).filter_map(|index| self.lift(index)).map(|(connection, _)| connection).collect()
    }

    /// Until when the poller may wait. It is remembered, so that who parks with an earlier deadline rings.
    pub fn wait_for(&mut self) -> Option<Instant> {
        let first = self.hints.first_key_value().map(|(bucket, _)| *bucket);
        self.waited_for = Some(first.unwrap_or(u64::MAX));
        first.map(|bucket| self.beginning + BUCKET * (bucket.min(u32::MAX as u64 - 1) as u32 + 1))
    }

    /// The poller waits no longer.
    pub fn waited(&mut self) {
        self.waited_for = None;
    }

    pub fn parked(&self) -> usize {
        self.parked
    }

    fn lift(&mut self, index: u32) -> Option<(C, Readiness)> {
        let seat = &mut self.table[index as usize];
        match std::mem::replace(&mut seat.place, Place::Away) {
            Place::Parked(connection) => {
                seat.wait = Readiness::NONE;
                self.parked -= 1;
                Some((connection, std::mem::take(&mut seat.note)))
            }
            other => {
                seat.place = other;
                None
            }
        }
    }

    /// Lay a hint for this seat's deadline, unless a live one comes first; tells whether the poller waits too long.
    fn hint_at(&mut self, index: u32) -> bool {
        let seat = &self.table[index as usize];
        let Some(deadline) = seat.deadline else { return false };
        let bucket = self.bucket(deadline);
        if seat.hint.is_some_and(|hint| hint <= bucket) {
            return false;
        }
        self.table[index as usize].hint = Some(bucket);
        self.hints.entry(bucket).or_default().push(index);
        self.waited_for.is_some_and(|waited_for| bucket < waited_for)
    }

    fn bucket(&self, when: Instant) -> u64 {
        (when.saturating_duration_since(self.beginning).as_millis() / BUCKET.as_millis()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A seat has one live hint, whoever comes and goes there.
    #[test]
    fn hints_do_not_pile_up() {
        let now = Instant::now();
        let mut table = ConnectionTable::new(now);
        for second in 0..10_000 {
            let token = table.take();
            let deadline = Some(now + Duration::from_secs(86_400 + second));
            let wait = Wait { readiness: Readiness::NONE, deadline, idle_since: None, shutdown_seen: false };
            assert!(matches!(table.park(token, (), wait), Parked::Sits { .. }));
            table.leave(token);
        }
        let hints: usize = table.hints.values().map(Vec::len).sum();
        assert_eq!(hints, 1, "hints after 10,000 guests in one seat");
    }
}
