//! A listing in memory, and its compressed form once a client requests it. Called by `listing`.

use std::sync::Arc;
#[cfg(feature = "compress")]
use std::sync::OnceLock;

#[cfg(feature = "compress")]
use super::super::compressed::gzip;
use crate::slots::Slot;

/// Compressing gains nothing if the page fits in one packet.
#[cfg(feature = "compress")]
const MIN_COMPRESSED: usize = 1024;

/// A page in memory. A slow client keeps it there while it reads, so memory is reserved for a cached page.
#[derive(Debug)]
pub(super) struct Page {
    text: Vec<u8>,
    /// `None` if it is for one request only.
    reservation: Option<Slot>,
    /// `None`: compression would not halve its size.
    #[cfg(feature = "compress")]
    packed: OnceLock<Option<Arc<Vec<u8>>>>,
}

impl Page {
    pub fn new(text: Vec<u8>, reservation: Option<Slot>) -> Page {
        Page {
            text,
            reservation,
            #[cfg(feature = "compress")]
            packed: OnceLock::new(),
        }
    }

    pub fn is_kept(&self) -> bool {
        self.reservation.is_some()
    }

    /// Returns how many bytes a page of this length uses, including its compressed form.
    pub fn size(length: usize) -> usize {
        length + length / 2
    }

    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Returns the page in gzip, if it is cached. The first request compresses it, and others wait.
    #[cfg(feature = "compress")]
    pub fn packed(&self) -> Option<Arc<Vec<u8>>> {
        if !self.is_kept() || self.text.len() < MIN_COMPRESSED {
            return None;
        }
        let pack = || gzip(&self.text).ok().filter(|packed| packed.len() <= self.text.len() / 2).map(Arc::new);
        self.packed.get_or_init(pack).clone()
    }

    #[cfg(not(feature = "compress"))]
    pub fn packed(&self) -> Option<Arc<Vec<u8>>> {
        None
    }
}

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}
