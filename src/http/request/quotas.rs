//! Quotas for bodies: how much memory and disk all bodies of one server can use together, and the share of each body.
//! `stored` reserves bytes, and dropping a reservation releases them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

use super::framing::BodyLength;
use crate::http::rejection::Rejection;
use crate::tcp::available_memory;

#[derive(Clone, Debug)]
pub(crate) struct BodyLimits {
    /// The maximum length of a body; a longer one gets 413.
    pub body: u64,
    /// How many bytes of a body stay in memory. A longer body goes to a file.
    pub memory: usize,
    /// The folder of temporary files.
    pub folder: Arc<PathBuf>,
    /// The quotas of all bodies together.
    pub quotas: BodyQuotas,
}

pub(crate) const TOO_LARGE: Rejection = Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");

impl BodyLimits {
    /// Rejects a body whose announced length is over the limit.
    pub(crate) fn check_length(&self, length: BodyLength) -> Result<(), Rejection> {
        match length {
            BodyLength::Known(length) if length > self.body => Err(TOO_LARGE),
            _ => Ok(()),
        }
    }
}

const MIB: u64 = 1024 * 1024;

impl Default for BodyLimits {
    fn default() -> BodyLimits {
        BodyLimits {
            body: 16 * MIB,
            memory: 64 * 1024,
            folder: Arc::new(PathBuf::from("/var/tmp")),
            quotas: BodyQuotas::default(),
        }
    }
}

/// Returns the quota of bodies for this much memory.
pub(crate) fn memory_quota(memory: u64) -> u64 {
    (memory / 8).min(256 * MIB)
}

/// The quotas of all bodies of one server. Bodies in memory and bodies in files have separate quotas, so neither kind
/// can use up the space of the other. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct BodyQuotas(Arc<Quotas>);

#[derive(Debug)]
struct Quotas {
    memory: BodyQuota,
    files: BodyQuota,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    Memory,
    File,
}

#[derive(Debug)]
struct BodyQuota {
    /// `u64::MAX`: no limit, and nothing is counted.
    limit: u64,
    used: AtomicU64,
}

impl Default for BodyQuotas {
    fn default() -> BodyQuotas {
        BodyQuotas::new(memory_quota(available_memory()), 1024 * MIB)
    }
}

impl BodyQuotas {
    pub(crate) fn new(memory: u64, files: u64) -> BodyQuotas {
        let room = |limit| BodyQuota { limit, used: AtomicU64::new(0) };
        BodyQuotas(Arc::new(Quotas { memory: room(memory), files: room(files) }))
    }

    /// Returns unused quotas, with another limit for this place.
    pub(crate) fn with_limit(&self, place: Medium, limit: u64) -> BodyQuotas {
        match place {
            Medium::Memory => BodyQuotas::new(limit, self.0.files.limit),
            Medium::File => BodyQuotas::new(self.0.memory.limit, limit),
        }
    }

    /// Returns whether one of the quotas has this many bytes left.
    pub(crate) fn allow(&self, bytes: u64) -> bool {
        self.0.memory.fits(bytes) || self.0.files.fits(bytes)
    }

    /// Returns whether the quota of bodies in files has this many bytes left.
    pub(crate) fn have_room_in_files(&self, bytes: u64) -> bool {
        self.0.files.fits(bytes)
    }

    fn room(&self, place: Medium) -> &BodyQuota {
        match place {
            Medium::Memory => &self.0.memory,
            Medium::File => &self.0.files,
        }
    }
}

impl BodyQuota {
    fn fits(&self, bytes: u64) -> bool {
        bytes <= self.limit.saturating_sub(self.used.load(Ordering::Relaxed))
    }

    // Relaxed: no other memory is synchronized by this counter.
    fn take(&self, bytes: u64) -> bool {
        let more = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.limit == u64::MAX || self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        if self.limit != u64::MAX {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

/// The bytes reserved for one body, in memory or on disk. Released when dropped.
pub(crate) struct Reservation {
    quotas: BodyQuotas,
    pub(crate) place: Medium,
    bytes: u64,
    /// Bytes in memory that are still to be written to a file.
    pending: u64,
}

impl Reservation {
    pub(crate) fn new(quotas: &BodyQuotas) -> Reservation {
        Reservation { quotas: quotas.clone(), place: Medium::Memory, bytes: 0, pending: 0 }
    }

    /// Reserves this many more bytes. If the memory quota is used up, the whole reservation moves to the disk quota. If
    /// that is also used up, returns false and changes nothing.
    pub(crate) fn grow(&mut self, bytes: u64) -> bool {
        let grown = self.quotas.room(self.place).take(bytes);
        if grown {
            self.bytes = self.bytes.saturating_add(bytes);
        }
        grown || self.place == Medium::Memory && self.move_to_file(bytes)
    }

    /// Moves the reservation to the disk quota, with this many more bytes. If there is no room, returns false and
    /// changes nothing.
    pub(crate) fn move_to_file(&mut self, more: u64) -> bool {
        let taken = if self.place == Medium::Memory { self.bytes.saturating_add(more) } else { more };
        if !self.quotas.room(Medium::File).take(taken) {
            return false;
        }
        if self.place == Medium::Memory {
            self.quotas.room(Medium::Memory).give_back(self.bytes);
            self.bytes = 0;
        }
        self.place = Medium::File;
        self.bytes = self.bytes.saturating_add(taken);
        true
    }

    /// Reserves memory for this many more bytes that wait to be written to the file. Returns false if the memory quota
    /// has no room for them.
    pub(crate) fn pend(&mut self, bytes: u64) -> bool {
        let has_room = self.quotas.room(Medium::Memory).take(bytes);
        if has_room {
            self.pending += bytes;
        }
        has_room
    }

    /// Releases the memory of bytes that have been written to the file.
    pub(crate) fn end_pending(&mut self) {
        self.quotas.room(Medium::Memory).give_back(std::mem::take(&mut self.pending));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.quotas.room(self.place).give_back(self.bytes);
        self.end_pending();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(quotas: &BodyQuotas) -> (u64, u64) {
        let used = |place| quotas.room(place).used.load(Ordering::Relaxed);
        (used(Medium::Memory), used(Medium::File))
    }

    #[test]
    fn a_full_memory_budget_falls_back_to_files() {
        let quotas = BodyQuotas::new(10, 30);
        let mut first = Reservation::new(&quotas);
        assert!(first.grow(6) && first.place == Medium::Memory);
        let mut second = Reservation::new(&quotas);
        assert!(second.grow(4) && second.grow(1) && second.place == Medium::File);
        assert_eq!(used(&quotas), (6, 5));
        assert!(second.grow(25) && !second.grow(1));
        assert!(!first.grow(5) && !first.move_to_file(0) && first.place == Medium::Memory);
        assert_eq!(used(&quotas), (6, 30));
        drop(second);
        assert!(first.move_to_file(1) && first.grow(23) && !first.grow(1));
        assert_eq!(used(&quotas), (0, 30));
        drop(first);
        assert_eq!(used(&quotas), (0, 0));
    }

    #[test]
    fn nothing_is_counted_without_a_limit() {
        let quotas = BodyQuotas::new(0, u64::MAX);
        let mut many: Vec<Reservation> = (0..3).map(|_| Reservation::new(&quotas)).collect();
        assert!(many.iter_mut().all(|body| body.grow(u64::MAX) && body.grow(1)));
        assert!(quotas.allow(u64::MAX));
        drop(many);
        assert_eq!(used(&quotas), (0, 0));
    }
}
