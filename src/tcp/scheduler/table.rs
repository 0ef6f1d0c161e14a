//! A shard of the table of connections: the events and the deadline that each parked connection waits for.
//! [`ShardedTable`](super::ShardedTable) is the whole table.
//!
//! A connection moves by value. While a worker holds it, its entry stays here and records the events that arrive.
//! Parking the connection then finds the recorded events and returns the connection, so no readiness is lost. An entry
//! contains the exact deadline. An ordered set of 16 ms buckets has one hint per entry, not later than the deadline,
//! which is checked again when its bucket is due. So a busy client changes the set once per minute. Connections that
//! can be evicted are in lists, oldest first, linked through the entries, so parking and evicting take constant time.
//! The entry of a busy client changes its place in the list at most once in 64 ms, and before it would be evicted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::super::sync::Instant;
use super::link::Link;
use super::token::Token;

/// The readiness that the poller reported for a connection, or that a connection waits for. It is a hint: it causes a
/// read, and has no other effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    pub readable: bool,
    pub writable: bool,
    /// The end of the stream follows the bytes.
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

/// The event for which a parked connection waits.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// The events that make it ready.
    pub interest: Readiness,
    pub deadline: Option<Instant>,
    /// Whether it can be evicted when room is needed.
    pub eviction: Eviction,
    /// Whether it has been notified of the shutdown. After the shutdown has begun, a connection that has not is not
    /// parked.
    pub shutdown_seen: bool,
}

/// Whether a parked connection can be evicted when room is needed, in the order of eviction; see [`LEAST_AGE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// The client has had its response, and the connection has been half-closed since then.
    Lingering(Instant),
    /// Idle since then.
    Idle(Instant),
    /// An incomplete message has been arriving since then.
    Begun(Instant),
    Never,
}

/// The entry of one connection. It fills one cache line. Times are in ns since the table was created.
#[repr(align(64))]
struct Entry<C> {
    generation: u32,
    previous: u32, // in its list
    next: u32,
    list: u8,      // an index into `lists`, or NO_LIST
    hint_high: u8, // the high and the low bits of the bucket of its hint; NO_HINT: none
    hint_low: u32,
    note: Readiness,
    interest: Readiness,
    connection: Option<C>,   // while it is parked
    deadline: u64,           // `NEVER`: no deadline
    since: u64,              // the time of its place in its list
    younger: u32,            // how much later than `since` it came, in ns
    link: Option<Arc<Link>>, // while the entry is in use
}

impl<C> Entry<C> {
    fn hint(&self) -> usize {
        usize::from(self.hint_high) << 32 | self.hint_low as usize
    }

    fn set_hint(&mut self, bucket: usize) {
        (self.hint_high, self.hint_low) = ((bucket >> 32) as u8, bucket as u32);
    }
}

#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

/// All entries of a shard. Protected by one lock, under which nothing blocks and no system call is made. The fields are
/// ordered so that the words that each turn changes are on the cache line of the lock.
#[repr(C)]
pub struct ConnectionTable<C> {
    entries: Vec<Entry<C>>,
    lists: [List; LISTS],
    parked: u32,
    shutdown: bool,
    free: Vec<u32>,
    hints: BTreeSet<usize>, // the bucket, and in the low bits the entry
}

/// The number of eviction lists, in the order of eviction.
pub const LISTS: usize = 3;
const BUCKET: Duration = Duration::from_millis(16);
/// No bucket; compares as later than all. Buckets have 40 bits, which is 557 years. 32 bits would be 795 days.
pub const NO_HINT: usize = (1 << 40) - 1;
/// The bits of an entry's number in a hint.
const INDEX_BITS: u32 = 24;
const NEVER: u64 = u64::MAX;
const NONE: u32 = u32::MAX;
const NO_LIST: u8 = 3;
/// How long a connection must have been in its list before it can be evicted. The next request of a client that just
/// got a response may be on its way, and an incomplete message may soon be complete.
pub const LEAST_AGE: [Duration; LISTS] = [Duration::ZERO, Duration::from_millis(250), Duration::from_secs(1)];
/// An entry that is parked again within this time keeps its place, and records by how much it is younger. It is moved
/// to its right place when a connection is to be evicted. (Moving it writes to three other entries, often those of
/// other workers: two competing threads take 60 ns more per hand-over.)
const KEEPS_ITS_PLACE: u64 = Duration::from_millis(64).as_nanos() as u64;

impl Eviction {
    /// Returns the list of the entry, and the time of its place in the list.
    fn list(self) -> (u8, Option<Instant>) {
        match self {
            Eviction::Lingering(since) => (0, Some(since)),
            Eviction::Idle(since) => (1, Some(since)),
            Eviction::Begun(since) => (BEGUN as u8, Some(since)),
            Eviction::Never => (NO_LIST, None),
        }
    }
}

/// The list of incomplete messages.
pub const BEGUN: usize = 2;

impl<C> ConnectionTable<C> {
    pub fn new() -> ConnectionTable<C> {
        ConnectionTable {
            entries: Vec::new(),
            lists: [List { first: NONE, last: NONE }; LISTS],
            parked: 0,
            shutdown: false,
            free: Vec::new(),
            hints: BTreeSet::new(),
        }
    }

    /// Creates an entry for a new connection, which the caller holds.
    pub fn insert(&mut self, link: impl FnOnce(Token) -> Arc<Link>) -> Arc<Link> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry {
                generation: 0,
                previous: NONE,
                next: NONE,
                list: NO_LIST,
                hint_high: 0,
                hint_low: 0,
                note: Readiness::NONE,
                interest: Readiness::NONE,
                connection: None,
                deadline: NEVER,
                since: 0,
                younger: 0,
                link: None,
            });
            let index = self.entries.len() - 1;
            assert!(index < 1 << INDEX_BITS, "no process has this many descriptors");
            self.entries[index].set_hint(NO_HINT);
            index as u32
        });
        let entry = &mut self.entries[index as usize];
        let link = link(Token { index, generation: entry.generation });
        entry.link = Some(link.clone());
        link
    }

    /// Frees the entry of a connection that has ended.
    pub fn remove(&mut self, token: Token) {
        if self.get(token).is_none() {
            return;
        }
        self.unlist(token.index);
        let entry = &mut self.entries[token.index as usize];
        // Wrapping at 31 bits keeps the tokens of the listeners and of the waker free (see `poller`).
        entry.generation = (entry.generation + 1) & 0x7FFF_FFFF;
        entry.note = Readiness::NONE;
        entry.deadline = NEVER; // the hint stays: it serves the entry's next connection
        entry.link = None;
        if entry.connection.take().is_some() {
            self.parked -= 1;
        }
        self.free.push(token.index);
    }

    /// Parks a connection. Returns the bucket of its deadline if that is a new hint.
    ///
    /// # Errors
    /// If an event for it has arrived, or a shutdown that it has not seen: returns the connection and its events.
    #[inline]
    pub fn park(&mut self, token: Token, connection: C, wait: Wait) -> Result<Option<usize>, (C, Readiness)> {
        let shutdown = self.shutdown;
        let entry = &mut self.entries[token.index as usize];
        debug_assert!(entry.link.is_some() && entry.connection.is_none() && entry.generation == token.generation);
        if entry.note.meets(wait.interest) || (shutdown && !wait.shutdown_seen) {
            return Err((connection, std::mem::take(&mut entry.note)));
        }
        entry.connection = Some(connection);
        entry.interest = wait.interest;
        self.parked += 1;
        let deadline = wait.deadline.map_or(NEVER, Instant::nanos);
        self.entries[token.index as usize].deadline = deadline;
        self.list(token.index, wait.eviction);
        Ok(self.hint(token.index))
    }

    /// Called when an event has arrived. Returns the connection if it is parked and waits for the event; otherwise
    /// records the event.
    #[inline]
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

    /// Returns the connections whose deadline has passed, with the events recorded while they waited for others.
    pub fn late(&mut self, now: Instant) -> Vec<(C, Readiness)> {
        let mut late = Vec::new();
        let now = now.nanos();
        let due = bucket_at(now);
        while self.first_hint() < due
            && let Some(hint) = self.hints.pop_first()
        {
            let index = hint as u32 & ((1 << INDEX_BITS) - 1);
            let entry = &mut self.entries[index as usize];
            entry.set_hint(NO_HINT);
            if entry.connection.is_none() {
                continue; // parking it sets a new hint
            }
            if entry.deadline <= now {
                late.extend(self.take(index));
            } else {
                self.hint(index);
            }
        }
        late
    }

    /// Returns the first of a list, or the next after this one, and the time of its place.
    pub fn next_in(&self, list: usize, after: Option<u32>) -> Option<(Instant, u32)> {
        let index = after.map_or(self.lists[list].first, |after| self.entries[after as usize].next);
        let entry = self.entries.get(index as usize)?; // NONE is the index of no entry
        Some((Instant::from_nanos(entry.since), index))
    }

    /// Moves an entry that is younger than its place to the right place. Returns the entry that is then in the old
    /// place, or `None` if the place was right.
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
        Some((Instant::from_nanos(self.entries[now_there as usize].since), now_there))
    }

    /// Removes this entry from its list, and returns its connection, unless that is in use.
    pub fn evict(&mut self, index: u32) -> Option<C> {
        self.unlist(index);
        self.take(index).map(|(connection, _)| connection)
    }

    /// Removes a connection that is in use from its list.
    pub fn leave(&mut self, token: Token) {
        if self.get(token).is_some() {
            self.unlist(token.index);
        }
    }

    /// Another thread calls this connection: returns it if it is parked. Otherwise records the call.
    pub fn call(&mut self, token: Token) -> Option<(C, Readiness)> {
        self.event(token, Readiness { called: true, ..Readiness::NONE })
    }

    /// Returns all parked connections. From now on no connection is parked that has not been notified of the shutdown.
    pub fn begin_shutdown(&mut self) -> Vec<C> {
        self.shutdown = true;
        self.drain()
    }

    pub fn drain(&mut self) -> Vec<C> {
        (0..self.entries.len() as u32).filter_map(|index| self.take(index)).map(|(connection, _)| connection).collect()
    }

    /// Returns the bucket of the first hint, or [`NO_HINT`].
    pub fn first_hint(&self) -> usize {
        self.hints.first().map_or(NO_HINT, |hint| hint >> INDEX_BITS)
    }

    pub fn parked(&self) -> usize {
        self.parked as usize
    }

    fn get(&mut self, token: Token) -> Option<&mut Entry<C>> {
        self.entries
            .get_mut(token.index as usize)
            .filter(|entry| entry.link.is_some() && entry.generation == token.generation)
    }

    /// Takes a parked connection out. Its entry keeps its place in the list, so that a message that arrives byte by
    /// byte does not become younger each time it is parked.
    fn take(&mut self, index: u32) -> Option<(C, Readiness)> {
        let entry = &mut self.entries[index as usize];
        let connection = entry.connection.take()?;
        entry.interest = Readiness::NONE;
        self.parked -= 1;
        Some((connection, std::mem::take(&mut entry.note)))
    }

    /// Puts an entry at the end of its list, unless it is already in the list for the same message, or was listed a
    /// short time ago.
    fn list(&mut self, index: u32, eviction: Eviction) {
        let (list, since) = eviction.list();
        let since = since.map_or(0, Instant::nanos);
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

    /// Inserts an entry into a list, before another one, or at the end.
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

    /// Sets a hint for this entry's deadline, in place of a later one. Returns its bucket if it is new.
    fn hint(&mut self, index: u32) -> Option<usize> {
        let entry = &self.entries[index as usize];
        if entry.deadline == NEVER {
            return None;
        }
        let (bucket, old) = (bucket_at(entry.deadline), entry.hint());
        if old <= bucket {
            return None;
        }
        if old != NO_HINT {
            self.hints.remove(&(old << INDEX_BITS | index as usize));
        }
        self.entries[index as usize].set_hint(bucket);
        self.hints.insert(bucket << INDEX_BITS | index as usize);
        Some(bucket)
    }
}

pub fn bucket(when: Instant) -> usize {
    bucket_at(when.nanos())
}

fn bucket_at(nanos: u64) -> usize {
    ((nanos / BUCKET.as_nanos() as u64) as usize).min(NO_HINT - 1)
}

pub fn begins(bucket: usize) -> Instant {
    Instant::from_nanos((bucket as u64).saturating_mul(BUCKET.as_nanos() as u64))
}

#[cfg(test)]
mod tests;
