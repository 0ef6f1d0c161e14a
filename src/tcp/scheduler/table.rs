//! A shard of the table of connections: what each parked one waits for, and until when. [`ShardedTable`](super::ShardedTable)
//! is the whole.
//!
//! A connection moves by value. While a worker holds it, its entry stays behind and notes the events that come for it;
//! who parks it finds the note and goes on instead: no readiness is lost.
//! An entry holds the true deadline; an ordered set of 16 ms buckets holds one hint an entry, no later than the
//! deadline, which is looked at again when its bucket is due: a client that talks all day costs the set one change a
//! minute. Connections that may be evicted stand in lists, the oldest first, threaded through the entries: parking and
//! evicting take constant time. A client that talks all day changes its place there once in 64 ms, and before it would be
//! evicted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::link::Link;
use super::token::Token;

/// What the poller saw of a connection, or what a connection waits for. A hint: it causes a read, never a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    pub readable: bool,
    pub writable: bool,
    /// The end of the stream is there behind the bytes.
    pub closed: bool,
    /// The connection is broken both ways.
    pub reset: bool,
    /// Another thread called it.
    pub called: bool,
}

impl Readiness {
    pub const NONE: Readiness =
        Readiness { readable: false, writable: false, closed: false, reset: false, called: false };

    pub fn merge(&mut self, other: Readiness) {
        self.readable |= other.readable;
        self.writable |= other.writable;
        self.closed |= other.closed;
        self.reset |= other.reset;
        self.called |= other.called;
    }

    fn meets(self, interest: Readiness) -> bool {
        self.readable && interest.readable || self.writable && interest.writable || self.called && interest.called
    }
}

/// What a parked connection waits for.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// The events it is to be taken up for.
    pub interest: Readiness,
    /// Until when.
    pub deadline: Option<Instant>,
    /// Whether it may be evicted when room is short.
    pub eviction: Eviction,
    /// It has been told that the server shuts down; who has not is not parked again once that has begun.
    pub shutdown_seen: bool,
}

/// Whether a parked connection may be evicted when room is short, in the order in which that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// It has had its answer, and is half-closed since then.
    Lingering(Instant),
    /// Nothing is under way since then.
    Idle(Instant),
    /// A message has begun to arrive and means nothing yet, since then: it may be evicted after [`BEGUN_FOR`].
    Begun(Instant),
    /// Never.
    Never,
}

/// One connection's entry: a cache line. Times are in ns since the table was made.
#[repr(align(64))]
struct Entry<C> {
    generation: u32,
    previous: u32, // in its list
    next: u32,
    list: u8, // an index into `lists`, or NO_LIST
    taken: bool,
    note: Readiness,
    interest: Readiness,
    connection: Option<C>, // here while it is parked
    deadline: u64,         // NEVER: none
    since: u64,            // what its place in its list goes by
    younger: u32,          // so many ns than its place says
    hint: u32,             // the bucket of its hint; NO_HINT: none
    link: Option<Arc<Link>>,
}

/// A list through the entries, the oldest first.
#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

/// All entries of a shard. One lock around it; nothing that blocks, and no system call, happens under that lock.
/// In this order what each turn changes is on the cache line of the lock.
#[repr(C)]
pub struct ConnectionTable<C> {
    entries: Vec<Entry<C>>,
    lists: [List; LISTS],
    parked: u32,
    shutdown: bool,
    free: Vec<u32>,
    hints: BTreeSet<(u32, u32)>, // bucket, entry
    beginning: Instant,
}

/// The lists of those that may be evicted, in the order in which that is done.
pub const LISTS: usize = 3;
pub const BUCKET: Duration = Duration::from_millis(16);
/// No bucket, and later than all.
pub const NO_HINT: u32 = u32::MAX;
const NEVER: u64 = u64::MAX;
const NONE: u32 = u32::MAX;
const NO_LIST: u8 = 3;
/// A message that began to arrive this long ago, and is not understood yet, gives way to a newcomer when room is short.
pub const BEGUN_FOR: Duration = Duration::from_secs(1);
/// An entry that is parked again within this time keeps its place, and notes by how much it is younger: it is put where it
/// belongs when somebody is to be evicted. (To move it writes to three others, which are other workers' as often as not:
/// two threads that contend take 60 ns more for each hand-over.)
const KEEPS_ITS_PLACE: u64 = Duration::from_millis(64).as_nanos() as u64;

impl Eviction {
    /// Its list, and what its place there goes by.
    fn list(self) -> (u8, Option<Instant>) {
        match self {
            Eviction::Lingering(since) => (0, Some(since)),
            Eviction::Idle(since) => (1, Some(since)),
            Eviction::Begun(since) => (BEGUN as u8, Some(since)),
            Eviction::Never => (NO_LIST, None),
        }
    }
}

/// The list of begun messages.
pub const BEGUN: usize = 2;

impl<C> ConnectionTable<C> {
    pub fn new(beginning: Instant) -> ConnectionTable<C> {
        ConnectionTable {
            entries: Vec::new(),
            lists: [List { first: NONE, last: NONE }; LISTS],
            parked: 0,
            shutdown: false,
            free: Vec::new(),
            hints: BTreeSet::new(),
            beginning,
        }
    }

    /// An entry for a new connection, which is in the hands of who asks.
    pub fn insert(&mut self, link: impl FnOnce(Token) -> Arc<Link>) -> Arc<Link> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry {
                generation: 0,
                previous: NONE,
                next: NONE,
                list: NO_LIST,
                taken: false,
                note: Readiness::NONE,
                interest: Readiness::NONE,
                connection: None,
                deadline: NEVER,
                since: 0,
                younger: 0,
                hint: NO_HINT,
                link: None,
            });
            self.entries.len() as u32 - 1
        });
        let entry = &mut self.entries[index as usize];
        entry.taken = true;
        let link = link(Token { index, generation: entry.generation });
        entry.link = Some(link.clone());
        link
    }

    /// The connection is gone: its entry is free.
    pub fn remove(&mut self, token: Token) {
        if self.get(token).is_none() {
            return;
        }
        self.unlist(token.index);
        let entry = &mut self.entries[token.index as usize];
        // Wrapping at 31 bits keeps the tokens of the listeners and of the waker free (see `poller`).
        entry.generation = (entry.generation + 1) & 0x7FFF_FFFF;
        entry.taken = false;
        entry.note = Readiness::NONE;
        entry.deadline = NEVER; // the hint stays: it serves the entry's next connection
        entry.link = None;
        if entry.connection.take().is_some() {
            self.parked -= 1;
        }
        self.free.push(token.index);
    }

    /// Park a connection, and tell the bucket of its deadline if that is a new hint; unless something came for the
    /// connection meanwhile.
    pub fn park(&mut self, token: Token, connection: C, wait: Wait) -> Result<Option<u32>, (C, Readiness)> {
        let shutdown = self.shutdown;
        let entry = &mut self.entries[token.index as usize];
        debug_assert!(entry.taken && entry.connection.is_none() && entry.generation == token.generation);
        if entry.note.meets(wait.interest) || (shutdown && !wait.shutdown_seen) {
            return Err((connection, std::mem::take(&mut entry.note)));
        }
        entry.connection = Some(connection);
        entry.interest = wait.interest;
        self.parked += 1;
        let deadline = wait.deadline.map_or(NEVER, |deadline| nanos(self.beginning, deadline));
        self.entries[token.index as usize].deadline = deadline;
        self.list(token.index, wait.eviction);
        Ok(self.hint(token.index))
    }

    /// An event came: if its connection waits for that here, it is returned; else the event is noted.
    pub fn event(&mut self, token: Token, readiness: Readiness) -> Option<(C, Readiness)> {
        let entry = self.get(token)?;
        entry.note.merge(readiness);
        if let Some(link) = entry.link.as_ref().filter(|_| readiness.closed || readiness.reset) {
            link.peer_closed(readiness.reset);
        }
        if !entry.note.meets(entry.interest) {
            return None;
        }
        self.take(token.index)
    }

    /// Those whose deadline has passed.
    pub fn late(&mut self, now: Instant) -> Vec<C> {
        let mut late = Vec::new();
        let now = nanos(self.beginning, now);
        let due = bucket_at(now);
        while let Some(&(bucket, index)) = self.hints.first()
            && bucket < due
        {
            self.hints.pop_first();
            let entry = &mut self.entries[index as usize];
            entry.hint = NO_HINT;
            if entry.connection.is_none() {
                continue; // whoever parks it sets a new hint
            }
            if entry.deadline <= now {
                late.extend(self.take(index).map(|(connection, _)| connection));
            } else {
                self.hint(index);
            }
        }
        late
    }

    /// The first of a list, or the next after this one, and since when it stands there.
    pub fn next_in(&self, list: usize, after: Option<u32>) -> Option<(Instant, u32)> {
        let index = after.map_or(self.lists[list].first, |after| self.entries[after as usize].next);
        let entry = self.entries.get(index as usize)?; // NONE: there is no such entry
        Some((self.beginning + Duration::from_nanos(entry.since), index))
    }

    /// Put one that is younger than its place says where it belongs. Tells which is in its place then; `None`: it was right.
    pub fn put_right(&mut self, index: u32) -> Option<(Instant, u32)> {
        let Entry { list, since, younger, next, .. } = self.entries[index as usize];
        if younger == 0 {
            return None;
        }
        let since = since + u64::from(younger);
        let mut later = next;
        while let Some(entry) = self.entries.get(later as usize)
            && entry.since <= since
        {
            later = entry.next;
        }
        self.unlist(index);
        self.insert_before(later, index, list, since);
        let now_there = if later == next { index } else { next };
        Some((self.beginning + Duration::from_nanos(self.entries[now_there as usize].since), now_there))
    }

    /// Take this one of a list, unless it is in a worker's hands.
    pub fn evict(&mut self, index: u32) -> Option<C> {
        let (connection, _) = self.take(index)?;
        self.unlist(index);
        Some(connection)
    }

    /// Another thread calls this connection: it is returned if it is parked, else the call is noted.
    pub fn call(&mut self, token: Token) -> Option<(C, Readiness)> {
        self.event(token, Readiness { called: true, ..Readiness::NONE })
    }

    /// All that are parked. From now on no connection is parked that has not been told of the shutdown.
    pub fn begin_shutdown(&mut self) -> Vec<C> {
        self.shutdown = true;
        self.drain()
    }

    /// All that are parked.
    pub fn drain(&mut self) -> Vec<C> {
        (0..self.entries.len() as u32).filter_map(|index| self.take(index)).map(|(connection, _)| connection).collect()
    }

    /// The bucket of the first hint, or [`NO_HINT`].
    pub fn first_hint(&self) -> u32 {
        self.hints.first().map_or(NO_HINT, |(bucket, _)| *bucket)
    }

    pub fn parked(&self) -> usize {
        self.parked as usize
    }

    fn get(&mut self, token: Token) -> Option<&mut Entry<C>> {
        self.entries.get_mut(token.index as usize).filter(|entry| entry.taken && entry.generation == token.generation)
    }

    /// Take a parked connection out. It keeps its place in its list: a message that arrives byte by byte does not
    /// become younger by being parked again.
    fn take(&mut self, index: u32) -> Option<(C, Readiness)> {
        let entry = &mut self.entries[index as usize];
        let connection = entry.connection.take()?;
        entry.interest = Readiness::NONE;
        self.parked -= 1;
        Some((connection, std::mem::take(&mut entry.note)))
    }

    /// Put an entry at the end of its list, unless it stands there for the same message already, or since lately.
    fn list(&mut self, index: u32, eviction: Eviction) {
        let (list, since) = eviction.list();
        let since = since.map_or(0, |since| nanos(self.beginning, since));
        let entry = &mut self.entries[index as usize];
        let younger = since.saturating_sub(entry.since);
        let keeps_its_place = if usize::from(list) == BEGUN { since == entry.since } else { younger < KEEPS_ITS_PLACE };
        if entry.list == list && (list == NO_LIST || keeps_its_place) {
            entry.younger = younger as u32;
            return;
        }
        self.unlist(index);
        if list != NO_LIST {
            self.insert_before(NONE, index, list, since);
        }
    }

    /// Put an entry into a list, in front of that one, or at the end.
    fn insert_before(&mut self, next: u32, index: u32, list: u8, since: u64) {
        let ends = &mut self.lists[list as usize];
        let previous = match self.entries.get_mut(next as usize) {
            Some(next) => std::mem::replace(&mut next.previous, index),
            None => std::mem::replace(&mut ends.last, index),
        };
        match previous {
            NONE => ends.first = index,
            previous => self.entries[previous as usize].next = index,
        }
        let entry = &mut self.entries[index as usize];
        (entry.list, entry.since, entry.younger, entry.previous, entry.next) = (list, since, 0, previous, next);
    }

    fn unlist(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        let list = std::mem::replace(&mut entry.list, NO_LIST);
        if list == NO_LIST {
            return;
        }
        let (previous, next) = (entry.previous, entry.next);
        match previous {
            NONE => self.lists[list as usize].first = next,
            previous => self.entries[previous as usize].next = next,
        }
        match next {
            NONE => self.lists[list as usize].last = previous,
            next => self.entries[next as usize].previous = previous,
        }
    }

    /// Set a hint for this entry's deadline, in place of a later one; its bucket, if it is new.
    fn hint(&mut self, index: u32) -> Option<u32> {
        let entry = &self.entries[index as usize];
        if entry.deadline == NEVER {
            return None;
        }
        let (bucket, old) = (bucket_at(entry.deadline), entry.hint);
        if old <= bucket {
            return None;
        }
        if old != NO_HINT {
            self.hints.remove(&(old, index));
        }
        self.entries[index as usize].hint = bucket;
        self.hints.insert((bucket, index));
        Some(bucket)
    }
}

/// The bucket of this time.
pub fn bucket(beginning: Instant, when: Instant) -> u32 {
    bucket_at(nanos(beginning, when))
}

fn bucket_at(nanos: u64) -> u32 {
    u32::try_from(nanos / BUCKET.as_nanos() as u64).unwrap_or(NO_HINT - 1).min(NO_HINT - 1)
}

fn nanos(beginning: Instant, when: Instant) -> u64 {
    u64::try_from(when.saturating_duration_since(beginning).as_nanos()).unwrap_or(NEVER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn table() -> (ConnectionTable<u32>, Instant) {
        let now = Instant::now();
        (ConnectionTable::new(now), now)
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
    fn an_entry_has_one_hint_whatever_its_deadlines() {
        let (mut table, now) = table();
        for second in 0..10_000 {
            let token = insert(&mut table);
            let deadline = Some(now + Duration::from_secs(86_400 + second));
            assert!(table.park(token, 0, wait(deadline, Eviction::Never)).is_ok());
            table.remove(token);
        }
        assert_eq!(table.hints.len(), 1, "hints after 10,000 connections in one entry");
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
    fn who_is_late_is_returned_once_its_deadline_has_passed() {
        let (mut table, now) = table();
        let tokens: Vec<Token> = (0..3).map(|_| insert(&mut table)).collect();
        for (number, deadline) in [(0, 5), (1, 1), (2, 3)] {
            let wait = wait(Some(now + deadline * SECOND), Eviction::Never);
            assert!(table.park(tokens[number], number as u32, wait).is_ok());
        }
        let margin = 2 * BUCKET;
        assert_eq!(table.late(now + SECOND / 2), Vec::<u32>::new());
        assert_eq!(table.late(now + SECOND + margin), [1]);
        assert_eq!(table.late(now + 5 * SECOND + margin), [2, 0]);
    }

    #[test]
    fn an_entry_is_a_cache_line() {
        assert_eq!(size_of::<Entry<Box<u8>>>(), 64);
    }
}
