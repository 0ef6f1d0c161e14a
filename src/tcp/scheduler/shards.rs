//! The table of connections, in shards with a lock each, so that two workers rarely need the same lock. A connection's
//! token contains its shard. This module combines the first hint and the order of eviction of all shards.

use std::ops::DerefMut;
use std::sync::Arc;

use super::super::sync::{AtomicUsize, Instant, Mutex, MutexGuard, Ordering, SHARDS, fence};
use super::link::Link;
use super::table::{ConnectionTable, LEAST_AGE, NO_HINT, Readiness, Wait, begins, bucket};
use super::token::Token;
use super::{Padded, lock};

pub enum Parked<C> {
    /// The connection is parked. `wake`: its deadline is earlier than the time until which the poller waits.
    Parked { wake: bool },
    /// An event arrived in the meantime: continue with the connection.
    Ready(C, Readiness),
}

pub struct Evicted<C> {
    pub connections: Vec<C>,
    pub more_at: Option<Instant>,
}

/// All connections of a server. No thread holds two of the locks, except during an eviction, which locks all shards in
/// order.
pub struct ShardedTable<C> {
    shards: Vec<Padded<Mutex<ConnectionTable<C>>>>,
    /// No hint is earlier than this bucket, except a hint whose worker has released the shard's lock and not written
    /// this word yet.
    earliest: Padded<AtomicUsize>,
    /// The bucket at which the waiting poller returns by itself (`NO_HINT`: never); 0: the poller does not wait.
    waited_for: Padded<AtomicUsize>,
    next: AtomicUsize, // the shard of the next new connection
}

impl<C> ShardedTable<C> {
    pub fn new() -> ShardedTable<C> {
        ShardedTable {
            shards: (0..SHARDS).map(|_| Padded(Mutex::new(ConnectionTable::new()))).collect(),
            earliest: Padded(AtomicUsize::new(NO_HINT)),
            waited_for: Padded(AtomicUsize::new(0)),
            next: AtomicUsize::new(0),
        }
    }

    /// Creates an entry for a new connection, which the caller holds.
    pub fn insert(&self, link: impl FnOnce(Token) -> Arc<Link>) -> Arc<Link> {
        let shard = self.next.fetch_add(1, Ordering::Relaxed) % SHARDS;
        lock(&self.shards[shard]).insert(|Token { index, generation }| {
            link(Token { index: index * SHARDS as u32 + shard as u32, generation })
        })
    }

    /// Frees the entry of a connection that has ended.
    pub fn remove(&self, token: Token) {
        let (mut shard, token) = self.shard(token);
        shard.remove(token);
    }

    /// Parks a connection, unless an event has arrived for it.
    pub fn park(&self, token: Token, connection: C, wait: Wait) -> Parked<C> {
        let parked = {
            let (mut shard, token) = self.shard(token);
            shard.park(token, connection, wait)
        };
        match parked {
            Ok(None) => Parked::Parked { wake: false },
            Ok(Some(hint)) => {
                self.earliest.fetch_min(hint, Ordering::SeqCst);
                // Partner: `Polling::begin`. Either the poller sees this hint, or this thread sees that the poller
                // waits.
                fence(Ordering::SeqCst);
                Parked::Parked { wake: hint < self.waited_for.load(Ordering::SeqCst) }
            }
            Err((connection, readiness)) => Parked::Ready(connection, readiness),
        }
    }

    /// Handles an event: returns the connection if it is parked and waits for that event. Otherwise records the event.
    pub fn event(&self, token: Token, readiness: Readiness) -> Option<(C, Readiness)> {
        let (mut shard, token) = self.shard(token);
        shard.event(token, readiness)
    }

    /// Handles a call by another thread: returns the connection if it is parked. Otherwise records the call.
    pub fn call(&self, token: Token) -> Option<(C, Readiness)> {
        let (mut shard, token) = self.shard(token);
        shard.call(token)
    }

    /// Removes and returns the connections whose deadline has passed, with their recorded events. Called by the worker
    /// that holds the poller.
    pub fn late(&self, now: Instant) -> Vec<(C, Readiness)> {
        let mut late = Vec::new();
        if self.earliest.load(Ordering::SeqCst) >= bucket(now) {
            return late;
        }
        // A hint that is set in a shard after its check lowers this word after this store, because the shard's lock
        // orders them.
        self.earliest.store(NO_HINT, Ordering::SeqCst);
        let mut first = NO_HINT;
        for shard in &self.shards {
            let mut shard = lock(shard);
            late.append(&mut shard.late(now));
            first = first.min(shard.first_hint());
        }
        self.earliest.fetch_min(first, Ordering::SeqCst);
        late
    }

    /// Takes up to `count` connections that can be evicted: half-closed ones first, then idle ones, both in the
    /// order in which they were parked, then incomplete messages, in the order in which they began.
    pub fn evict(&self, count: usize, now: Instant) -> Evicted<C> {
        let mut shards: Vec<_> = self.shards.iter().map(|shard| lock(shard)).collect();
        evict(&mut shards, count, now)
    }

    /// Called when a connection leaves the engine. Its entry stays, and it can no longer be evicted.
    pub fn leave(&self, token: Token) {
        let (mut shard, token) = self.shard(token);
        shard.leave(token);
    }

    /// Removes and returns all parked connections. From now on, only connections that have been notified of the
    /// shutdown are parked.
    pub fn begin_shutdown(&self) -> Vec<C> {
        self.shards.iter().flat_map(|shard| lock(shard).begin_shutdown()).collect()
    }

    pub fn drain(&self) -> Vec<C> {
        self.shards.iter().flat_map(|shard| lock(shard).drain()).collect()
    }

    /// Called when the poller is about to wait. The caller then executes a SeqCst fence and calls
    /// [`ShardedTable::deadline`].
    pub fn begin_wait(&self) {
        self.waited_for.store(NO_HINT, Ordering::SeqCst);
    }

    /// Returns until when the poller may wait. Stores the result, so that a worker that parks a connection with an
    /// earlier deadline wakes the poller.
    pub fn deadline(&self) -> Option<Instant> {
        let first = self.earliest.load(Ordering::SeqCst);
        self.waited_for.store(first, Ordering::SeqCst);
        (first != NO_HINT).then(|| begins(first + 1))
    }

    /// Called when the poller no longer waits.
    pub fn end_wait(&self) {
        self.waited_for.store(0, Ordering::SeqCst);
    }

    pub fn parked(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).parked()).sum()
    }

    /// Locks the shard of a connection. Returns it with the connection's token in the shard.
    fn shard(&self, token: Token) -> (MutexGuard<'_, ConnectionTable<C>>, Token) {
        let shard = &self.shards[token.index as usize % SHARDS];
        (lock(shard), Token { index: token.index / SHARDS as u32, ..token })
    }
}

/// Evicts from the lists of all shards in one order: the next connection is the oldest of the first ones of all shards.
/// The entry of a connection that is in use is removed from its list when it is found, and is listed again when it is
/// parked.
fn evict<C>(shards: &mut [impl DerefMut<Target = ConnectionTable<C>>], count: usize, now: Instant) -> Evicted<C> {
    let mut evicted = Evicted { connections: Vec::new(), more_at: None };
    for (list, least_age) in LEAST_AGE.into_iter().enumerate() {
        let mut next: Vec<_> = shards.iter().map(|shard| shard.next_in(list, None)).collect();
        while evicted.connections.len() < count {
            let heads = next.iter().enumerate().filter_map(|(at, next)| next.map(|(since, index)| (since, at, index)));
            let Some((since, at, index)) = heads.min() else { break };
            if since + least_age > now {
                evicted.more_at = Some(since + least_age);
                return evicted;
            }
            if let Some(now_there) = shards[at].put_right(index) {
                next[at] = Some(now_there);
                continue;
            }
            next[at] = shards[at].next_in(list, Some(index));
            evicted.connections.extend(shards[at].evict(index));
        }
    }
    evicted
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Eviction;
    use super::super::table::LISTS;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const READABLE: Readiness = Readiness { readable: true, ..Readiness::NONE };

    /// Three shards without their locks, because the locks differ between builds (`sync`).
    struct Shards(Vec<ConnectionTable<u32>>, Vec<Token>);

    impl Shards {
        fn new(connections: usize) -> Shards {
            let mut shards = Shards((0..3).map(|_| ConnectionTable::new()).collect(), Vec::new());
            for number in 0..connections {
                let link = shards.0[number % 3].insert(|token| Arc::new(Link::new(token, None)));
                shards.1.push(link.token());
            }
            shards
        }

        fn park(&mut self, number: usize, eviction: Eviction) {
            let wait = Wait { interest: READABLE, deadline: None, eviction, shutdown_seen: false };
            assert!(self.0[number % 3].park(self.1[number], number as u32, wait).is_ok());
        }

        fn take(&mut self, number: usize) {
            assert!(self.0[number % 3].event(self.1[number], READABLE).is_some());
        }

        fn evict(&mut self, count: usize, now: Instant) -> (Vec<u32>, Option<Instant>) {
            let mut shards: Vec<_> = self.0.iter_mut().collect();
            let Evicted { connections, more_at } = evict(&mut shards, count, now);
            (connections, more_at)
        }
    }

    #[test]
    fn eviction_order_is_lingering_then_idle_then_oldest_begun() {
        let now = Instant::SOME;
        let mut shards = Shards::new(7);
        let later = now + 10 * SECOND;
        for (number, eviction) in [
            (0, Eviction::Begun(now + SECOND)),
            (1, Eviction::Begun(now + 2 * SECOND)),
            (2, Eviction::Idle(now)),
            (3, Eviction::Idle(now + SECOND)),
            (4, Eviction::Never),
            (5, Eviction::Lingering(now + 3 * SECOND)),
            (6, Eviction::Begun(now + 9 * SECOND + SECOND / 2)),
        ] {
            shards.park(number, eviction);
        }
        // Another byte of a message does not make it younger. A new idle time begins at the end of the list.
        for (number, eviction) in [(0, Eviction::Begun(now + SECOND)), (2, Eviction::Idle(now + 2 * SECOND))] {
            shards.take(number);
            shards.park(number, eviction);
        }
        assert_eq!(shards.evict(2, later).0, [5, 3]);
        shards.take(2);
        let passed_over = shards.evict(9, later);
        assert_eq!(passed_over, (vec![0, 1], Some(later + SECOND / 2)), "without 2, which a worker holds");
        assert_eq!(shards.0.iter().map(|shard| shard.parked()).sum::<usize>(), 2);
        for number in 0..7 {
            shards.0[number % 3].remove(shards.1[number]);
        }
        assert!((0..LISTS).all(|list| shards.0.iter().all(|shard| shard.next_in(list, None).is_none())));
    }

    #[test]
    fn connections_in_use_are_skipped_once_by_eviction() {
        const IN_USE: usize = 1000;
        let now = Instant::SOME;
        let mut shards = Shards::new(IN_USE + 2);
        for number in 0..IN_USE + 2 {
            shards.park(number, Eviction::Idle(now + Duration::from_millis(number as u64)));
        }
        (0..IN_USE).for_each(|number| shards.take(number));
        let later = now + 10 * SECOND;
        assert_eq!(shards.evict(1, later), (vec![IN_USE as u32], None));
        shards.park(7, Eviction::Idle(now + 2 * SECOND));
        assert_eq!(shards.evict(9, later), (vec![IN_USE as u32 + 1, 7], None), "the connection is in the list again");
    }

    #[test]
    fn connections_are_evictable_after_a_minimum_age() {
        for (eviction, age) in [
            (Eviction::Lingering as fn(Instant) -> Eviction, Duration::ZERO),
            (Eviction::Idle, Duration::from_millis(250)),
            (Eviction::Begun, SECOND),
        ] {
            let now = Instant::SOME;
            let mut shards = Shards::new(1);
            shards.park(0, eviction(now));
            if let Some(nearly) = age.checked_sub(Duration::from_nanos(1)) {
                assert_eq!(shards.evict(1, now + nearly), (vec![], Some(now + age)));
            }
            assert_eq!(shards.evict(1, now + age), (vec![0], None));
        }
    }

    #[test]
    fn eviction_order_follows_time_across_shards() {
        let now = Instant::SOME;
        let mut shards = Shards::new(50);
        let mut since = [None; 50];
        let mut random: u32 = 1;
        for step in 0..400 {
            random = random.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            let number = (random >> 16) as usize % 50;
            if since[number].is_some() {
                shards.take(number);
            }
            let time = now + SECOND / 200 * step;
            since[number] = Some(time);
            shards.park(number, Eviction::Idle(time));
        }
        let mut expected: Vec<u32> = (0..50).filter(|number| since[*number as usize].is_some()).collect();
        expected.sort_by_key(|number| since[*number as usize]);
        let (first, rest) = expected.split_at(7);
        assert!(rest.len() > 10);
        let later = now + 10 * SECOND;
        assert_eq!(shards.evict(first.len(), later).0, first);
        assert_eq!(shards.evict(50, later).0, rest);
    }
}
