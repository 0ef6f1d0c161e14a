//! Limits how much of something can exist at once. Any level can use it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A number of slots: for archives or streams, or bytes of memory. Clones share them. There is no way to wait for one.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    most: usize,
    taken: Arc<AtomicUsize>,
}

/// Some of the slots, released when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Slots,
    pub number: usize,
}

impl Slots {
    pub fn new(most: usize) -> Slots {
        Slots { most, taken: Arc::default() }
    }

    pub fn take(&self) -> Option<Slot> {
        let mut slot = self.none();
        slot.resize(1).then_some(slot)
    }

    /// Returns no slots, for a later [`resize`](Slot::resize).
    pub fn none(&self) -> Slot {
        Slot { slots: self.clone(), number: 0 }
    }
}

impl Slot {
    /// Changes the number of slots held to this many. If there are too few, returns false and changes
    /// nothing.
    pub fn resize(&mut self, number: usize) -> bool {
        let Slots { most, taken } = &self.slots;
        let resized =
            |taken: usize| Some(taken - self.number + number).filter(|sum| number <= self.number || sum <= most);
        // Relaxed: no other memory is synchronized by this counter.
        let is_resized = taken.fetch_update(Relaxed, Relaxed, resized).is_ok();
        if is_resized {
            self.number = number;
        }
        is_resized
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.taken.fetch_sub(self.number, Relaxed);
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

    #[test]
    fn held_memory_is_bounded() {
        const MAX_HELD: usize = 8 << 20;
        let slots = Slots::new(MAX_HELD);
        let reserve = |bytes| {
            let mut slot = slots.none();
            slot.resize(bytes).then_some(slot)
        };
        let mut first = reserve(MAX_HELD / 2).expect("space for half of the limit");
        let second = reserve(MAX_HELD / 2).expect("space for the other half");
        assert!(reserve(1).is_none(), "a reservation beyond the limit was accepted");
        assert!(!first.resize(MAX_HELD / 2 + 1), "a reservation grew beyond the limit");
        assert!(first.resize(10), "less");
        let third = reserve(MAX_HELD / 2 - 10).expect("a failed resize and a failed reservation must hold no memory");
        assert_eq!(slots.taken.load(Relaxed), MAX_HELD);
        drop((first, second, third));
        assert_eq!(slots.taken.load(Relaxed), 0);
    }
}
