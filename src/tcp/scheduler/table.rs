//! The table of connections: what each parked one waits for, and until when.
//!
//! A connection moves by value. While a worker holds it, its entry stays behind and notes the events that come for it;
//! who parks it finds the note and goes on instead: no readiness is lost.
//! An entry holds the true deadline; an ordered set of 16 ms buckets holds one hint an entry, no later than the
//! deadline, which is looked at again when its bucket is due: a client that talks all day costs the set one change a
//! minute. Connections that may be evicted stand in lists, the oldest first, threaded through the entries: parking and
//! evicting take constant time.

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
    /// It has had its answer, and is half-closed.
    Lingering,
    /// Nothing is under way.
    Idle,
    /// A message has begun to arrive and means nothing yet, since then: it may be evicted after [`BEGUN_FOR`].
    Begun(Instant),
    /// Never.
    Never,
}

/// What became of a connection that was to be parked.
pub enum Parked<C> {
    /// It is parked; `wake`: its deadline is earlier than the one the poller waits for.
    Parked { wake: bool },
    /// Something came meanwhile: go on with it.
    Ready(C, Readiness),
}

/// Those that were evicted, and when more may be.
pub struct Evicted<C> {
    pub connections: Vec<C>,
    pub more_at: Option<Instant>,
}

/// One connection's entry: 64 bytes, a cache line. Times are in ns since the table was made.
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
    begun: u64,            // what its place in the list of begun messages goes by
    hint: u32,             // the bucket of its hint; NO_HINT: none
    link: Option<Arc<Link>>,
}

/// A list through the entries, the oldest first.
#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

/// All entries. One lock around it; nothing that blocks, and no system call, happens under that lock.
pub struct ConnectionTable<C> {
    entries: Vec<Entry<C>>,
    free: Vec<u32>,
    hints: BTreeSet<(u32, u32)>, // bucket, entry
    lists: [List; 3],
    beginning: Instant,
    parked: usize,
    shutdown: bool,
    waited_for: Option<u32>, // the bucket at which the waiting poller will return by itself (MAX: never)
}

const BUCKET: Duration = Duration::from_millis(16);
const NO_HINT: u32 = u32::MAX;
const NEVER: u64 = u64::MAX;
const NONE: u32 = u32::MAX;
const NO_LIST: u8 = 3;
/// A message that began to arrive this long ago, and is not understood yet, gives way to a newcomer when room is short.
pub const BEGUN_FOR: Duration = Duration::from_secs(1);
/// Entries of connections that are in a worker's hands are passed over, so many at most.
const MOST_PASSED_OVER: usize = 256;

impl Eviction {
    fn list(self) -> u8 {
        match self {
            Eviction::Lingering => 0,
            Eviction::Idle => 1,
            Eviction::Begun(_) => 2,
            Eviction::Never => NO_LIST,
        }
    }
}

impl<C> ConnectionTable<C> {
    pub fn new(beginning: Instant) -> ConnectionTable<C> {
        ConnectionTable {
            entries: Vec::new(),
            free: Vec::new(),
            hints: BTreeSet::new(),
            lists: [List { first: NONE, last: NONE }; 3],
            beginning,
            parked: 0,
            shutdown: false,
            waited_for: None,
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
                begun: 0,
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

    /// Park a connection, unless something came for it meanwhile.
    pub fn park(&mut self, token: Token, connection: C, wait: Wait) -> Parked<C> {
        let shutdown = self.shutdown;
        let entry = &mut self.entries[token.index as usize];
        debug_assert!(entry.taken && entry.connection.is_none() && entry.generation == token.generation);
        if entry.note.meets(wait.interest) || (shutdown && !wait.shutdown_seen) {
            return Parked::Ready(connection, std::mem::take(&mut entry.note));
        }
        entry.connection = Some(connection);
        entry.interest = wait.interest;
        self.parked += 1;
        let deadline = wait.deadline.map_or(NEVER, |deadline| self.nanos(deadline));
        self.entries[token.index as usize].deadline = deadline;
        self.list(token.index, wait.eviction);
        Parked::Parked { wake: self.hint(token.index) }
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
        let now = self.nanos(now);
        let due = self.bucket(now);
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

    /// Take up to `count` of those that may be evicted: lingering ones first, then the longest idle, then the messages
    /// that began longest ago.
    pub fn evict(&mut self, count: usize, now: Instant) -> Evicted<C> {
        let begun_by = self.nanos(now).checked_sub(BEGUN_FOR.as_nanos() as u64);
        let mut evicted = Evicted { connections: Vec::new(), more_at: None };
        let mut passed_over = 0;
        for list in 0..self.lists.len() as u8 {
            let mut index = self.lists[list as usize].first;
            while index != NONE && evicted.connections.len() < count && passed_over < MOST_PASSED_OVER {
                let entry = &self.entries[index as usize];
                let next = entry.next;
                if list == Eviction::Begun(now).list() && begun_by.is_none_or(|by| entry.begun > by) {
                    evicted.more_at = Some(self.beginning + Duration::from_nanos(entry.begun) + BEGUN_FOR);
                    return evicted;
                }
                match self.take(index) {
                    Some((connection, _)) => {
                        self.unlist(index);
                        evicted.connections.push(connection);
                    }
                    None => passed_over += 1,
                }
                index = next;
            }
        }
        evicted
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

    /// Until when the poller may wait. It is remembered, so that who parks with an earlier deadline wakes it.
    pub fn begin_wait(&mut self) -> Option<Instant> {
        let first = self.hints.first().map(|(bucket, _)| *bucket);
        self.waited_for = Some(first.unwrap_or(u32::MAX));
        first.map(|bucket| self.beginning + BUCKET * bucket.saturating_add(1))
    }

    /// The poller waits no longer.
    pub fn end_wait(&mut self) {
        self.waited_for = None;
    }

    pub fn parked(&self) -> usize {
        self.parked
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

    /// Put an entry at the end of its list, unless it stands there for the same message already.
    fn list(&mut self, index: u32, eviction: Eviction) {
        let list = eviction.list();
        let begun = match eviction {
            Eviction::Begun(begun) => self.nanos(begun),
            _ => 0,
        };
        let entry = &self.entries[index as usize];
        if entry.list == list && (list == NO_LIST || (list == 2 && entry.begun == begun)) {
            return;
        }
        self.unlist(index);
        if list == NO_LIST {
            return;
        }
        let last = std::mem::replace(&mut self.lists[list as usize].last, index);
        match last {
            NONE => self.lists[list as usize].first = index,
            last => self.entries[last as usize].next = index,
        }
        let entry = &mut self.entries[index as usize];
        (entry.list, entry.begun, entry.previous, entry.next) = (list, begun, last, NONE);
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

    /// Set a hint for this entry's deadline, in place of a later one; tells whether the poller waits too long.
    fn hint(&mut self, index: u32) -> bool {
        let entry = &self.entries[index as usize];
        if entry.deadline == NEVER {
            return false;
        }
        let (bucket, old) = (self.bucket(entry.deadline), entry.hint);
        if old <= bucket {
            return false;
        }
        if old != NO_HINT {
            self.hints.remove(&(old, index));
        }
        self.entries[index as usize].hint = bucket;
        self.hints.insert((bucket, index));
        self.waited_for.is_some_and(|waited_for| bucket < waited_for)
    }

    fn nanos(&self, when: Instant) -> u64 {
        u64::try_from(when.saturating_duration_since(self.beginning).as_nanos()).unwrap_or(NEVER - 1)
    }

    fn bucket(&self, nanos: u64) -> u32 {
        u32::try_from(nanos / BUCKET.as_nanos() as u64).unwrap_or(NO_HINT - 1).min(NO_HINT - 1)
    }
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
            assert!(matches!(table.park(token, 0, wait(deadline, Eviction::Never)), Parked::Parked { .. }));
            table.remove(token);
        }
        assert_eq!(table.hints.len(), 1, "hints after 10,000 connections in one entry");
        let token = insert(&mut table);
        for round in 0..1_000 {
            let soon = now + 2 * SECOND * round;
            for deadline in [soon + 2 * SECOND, soon + 3600 * SECOND] {
                table.park(token, 0, wait(Some(deadline), Eviction::Never));
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
            table.park(tokens[number], number as u32, wait(Some(now + deadline * SECOND), Eviction::Never));
        }
        let margin = 2 * BUCKET;
        assert_eq!(table.late(now + SECOND / 2), Vec::<u32>::new());
        assert_eq!(table.late(now + SECOND + margin), [1]);
        assert_eq!(table.late(now + 5 * SECOND + margin), [2, 0]);
    }

    #[test]
    fn evicted_are_the_lingering_then_the_longest_idle_then_the_oldest_begun() {
        let (mut table, now) = table();
        let tokens: Vec<Token> = (0..7).map(|_| insert(&mut table)).collect();
        let later = now + 10 * SECOND;
        for (number, eviction) in [
            (0, Eviction::Begun(now + SECOND)),
            (1, Eviction::Begun(now + 2 * SECOND)),
            (2, Eviction::Idle),
            (3, Eviction::Idle),
            (4, Eviction::Never),
            (5, Eviction::Lingering),
            (6, Eviction::Begun(later - SECOND / 2)),
        ] {
            table.park(tokens[number], number as u32, wait(None, eviction));
        }
        // A byte more of a message makes it no younger; a new idle time begins at the end.
        for (number, eviction) in [(0, Eviction::Begun(now + SECOND)), (2, Eviction::Idle)] {
            assert!(table.event(tokens[number], READABLE).is_some());
            table.park(tokens[number], number as u32, wait(None, eviction));
        }
        assert_eq!(table.evict(2, later).connections, [5, 3]);
        // Who is in a worker's hands is passed over.
        assert!(table.event(tokens[2], READABLE).is_some());
        let evicted = table.evict(9, later);
        assert_eq!((evicted.connections, evicted.more_at), (vec![0, 1], Some(later + SECOND / 2)));
        assert_eq!(table.parked(), 2);
        tokens.into_iter().for_each(|token| table.remove(token));
        assert!(table.lists.iter().all(|list| (list.first, list.last) == (NONE, NONE)));
    }

    #[test]
    fn an_entry_is_a_cache_line() {
        assert!(size_of::<Entry<Box<u8>>>() <= 64, "{} bytes", size_of::<Entry<Box<u8>>>());
    }
}
