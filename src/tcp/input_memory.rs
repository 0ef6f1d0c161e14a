//! The memory for received and unused bytes: incomplete heads, heads whose body is incomplete, requests that wait
//! behind a response; and unsent output, up to a limit. `connection` counts the bytes at the end of each turn. A client
//! with few of them is not counted.

use std::sync::Arc;

use super::sync::{AtomicU64, AtomicUsize, Ordering};

/// The total of a server.
pub struct InputMemory {
    limit: usize,
    used: AtomicUsize,
    refused: AtomicU64,
}

/// The share of one connection, released when it is dropped.
pub struct InputBytes {
    memory: Arc<InputMemory>,
    bytes: usize,
}

/// A connection with at most this many bytes is not counted, and one with more is counted in full. Most heads are
/// shorter. The limit of connections bounds the bytes that are not counted.
pub const FREE: usize = 2048;

impl InputMemory {
    pub fn new(limit: Option<u64>) -> Arc<InputMemory> {
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        Arc::new(InputMemory { limit, used: AtomicUsize::new(0), refused: AtomicU64::new(0) })
    }

    pub fn is_full(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.limit
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

impl InputBytes {
    /// Sets the number of bytes of a connection. Returns false if the total has grown over the limit. The bytes are
    /// counted in any case, because they exist.
    pub fn set(place: &mut Option<InputBytes>, bytes: usize, memory: &Arc<InputMemory>) -> bool {
        let bytes = if bytes > FREE { bytes } else { 0 };
        let before = place.as_ref().map_or(0, |place| place.bytes);
        if bytes == before {
            return true;
        }
        // Relaxed: no other data depends on the count.
        let used = match bytes.checked_sub(before) {
            Some(more) => memory.used.fetch_add(more, Ordering::Relaxed).saturating_add(more),
            None => memory.used.fetch_sub(before - bytes, Ordering::Relaxed),
        };
        match place {
            Some(place) => place.bytes = bytes,
            None => *place = Some(InputBytes { memory: memory.clone(), bytes }),
        }
        if bytes == 0 {
            *place = None;
        }
        bytes < before || used <= memory.limit
    }
}

impl Drop for InputBytes {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_bytes_are_counted_limited_and_released() {
        let memory = InputMemory::new(Some(10_000));
        let (mut first, mut second) = (None, None);
        for (place, bytes, fits, used) in [
            (0, FREE, true, 0),
            (0, 6000, true, 6000),
            (1, 4000, true, 10_000),
            (1, 4001, false, 10_001),
            (1, 4001, true, 10_001),
            (0, 5000, true, 9001),
            (1, 100, true, 5000),
            (0, 20_000, false, 20_000),
        ] {
            let place = if place == 0 { &mut first } else { &mut second };
            assert_eq!((InputBytes::set(place, bytes, &memory), memory.used()), (fits, used), "{bytes}");
        }
        assert!(memory.is_full() && second.is_none());
        drop(first);
        assert_eq!(memory.used(), 0);
        let unlimited = InputMemory::new(None);
        assert!(InputBytes::set(&mut second, usize::MAX / 2, &unlimited) && !unlimited.is_full());
    }
}
