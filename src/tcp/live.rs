//! Connections that wait for something other than their client: how many of each kind there are, and their limit. They
//! are not evicted, so without a limit they could take all places. Conversations get a place from their turn.

use std::net::IpAddr;
use std::sync::Arc;

use super::per_address::{CountedConnection, PerAddress};
use super::sync::{AtomicU64, AtomicUsize, Ordering};

/// The event for which a connection waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveKind {
    /// Bytes that other threads push to the connection.
    Listener,
    /// A signal.
    Poll,
    /// Events of another protocol.
    Switched,
}

/// The reason why a connection cannot wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveRefusal {
    /// The limit is reached.
    Full,
    /// The limit of this address is reached.
    FullForAddress,
}

/// Counts the waiting connections of one server, and limits them.
pub struct Live {
    limit: usize,
    per_address: Arc<PerAddress>,
    taken: AtomicUsize,
    of_each_kind: [AtomicUsize; 3],
    refused: AtomicU64,
}

/// The place of one connection. Dropping it frees the place.
pub struct LivePlace {
    live: Arc<Live>,
    kind: LiveKind,
    _address: CountedConnection,
}

impl Live {
    pub fn new(limit: usize, per_address: Option<usize>) -> Arc<Live> {
        let (taken, of_each_kind, refused) = Default::default();
        Arc::new(Live { limit, per_address: PerAddress::new(per_address), taken, of_each_kind, refused })
    }

    pub fn admit(self: &Arc<Self>, kind: LiveKind, address: Option<IpAddr>) -> Result<LivePlace, LiveRefusal> {
        // Relaxed: no other data depends on the counts.
        let take = |taken: usize| (taken < self.limit).then_some(taken + 1);
        if self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(LiveRefusal::Full);
        }
        let Some(place) = self.per_address.admit(address) else {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            return Err(LiveRefusal::FullForAddress);
        };
        self.of_each_kind[kind as usize].fetch_add(1, Ordering::Relaxed);
        Ok(LivePlace { live: self.clone(), kind, _address: place })
    }

    pub fn count(&self, kind: LiveKind) -> usize {
        self.of_each_kind[kind as usize].load(Ordering::Relaxed)
    }

    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed) + self.per_address.refused()
    }
}

impl LivePlace {
    pub fn set_kind(&mut self, kind: LiveKind) {
        self.live.of_each_kind[self.kind as usize].fetch_sub(1, Ordering::Relaxed);
        self.live.of_each_kind[kind as usize].fetch_add(1, Ordering::Relaxed);
        self.kind = kind;
    }
}

impl Drop for LivePlace {
    fn drop(&mut self) {
        self.live.of_each_kind[self.kind as usize].fetch_sub(1, Ordering::Relaxed);
        self.live.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_counted_and_released() {
        let live = Live::new(3, Some(2));
        let (one, other) = (Some([192, 0, 2, 1].into()), Some([192, 0, 2, 2].into()));
        let places: Vec<_> =
            [LiveKind::Listener, LiveKind::Poll].into_iter().map(|kind| live.admit(kind, one).ok().unwrap()).collect();
        assert_eq!(live.admit(LiveKind::Listener, one).err(), Some(LiveRefusal::FullForAddress));
        let third = live.admit(LiveKind::Switched, other);
        assert_eq!(live.admit(LiveKind::Poll, other).err(), Some(LiveRefusal::Full));
        let counts =
            |live: &Live| [LiveKind::Listener, LiveKind::Poll, LiveKind::Switched].map(|kind| live.count(kind));
        assert_eq!((counts(&live), live.refused()), ([1, 1, 1], 2));
        let mut third = third.ok().unwrap();
        third.set_kind(LiveKind::Poll);
        assert_eq!(counts(&live), [1, 2, 0]);
        drop((places, third));
        assert_eq!(counts(&live), [0, 0, 0]);
        let again: Vec<_> = (0..3).map(|_| live.admit(LiveKind::Poll, None)).collect();
        assert!(again.iter().all(Result::is_ok), "clients without an address count only towards the total");
    }
}
