//! Limits how many of something can exist at once. Used by `archive` and `taking`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A number of slots. There is no way to wait for one.
#[derive(Debug)]
pub(super) struct Slots {
    most: usize,
    taken: Arc<AtomicUsize>,
}

/// One slot, released when it is dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<AtomicUsize>);

impl Slots {
    pub fn new(most: usize) -> Slots {
        Slots { most, taken: Arc::default() }
    }

    /// Takes a slot, or returns `None` if all are taken.
    pub fn take(&self) -> Option<Slot> {
        // Relaxed: no other memory is synchronized by this counter.
        let one_more = |taken: usize| (taken < self.most).then_some(taken + 1);
        self.taken.fetch_update(Relaxed, Relaxed, one_more).ok()?;
        Some(Slot(Arc::clone(&self.taken)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_limited() {
        let slots = Slots::new(2);
        let first = slots.take();
        let second = slots.take();
        assert!(first.is_some() && second.is_some() && slots.take().is_none());
        drop(first);
        assert!(slots.take().is_some(), "the returned slot is free again");
        assert!(Slots::new(0).take().is_none());
    }
}
