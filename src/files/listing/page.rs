//! A listing in memory: what was made, and the same compressed once it is asked for so. Called by `listing`.

use std::sync::Arc;
#[cfg(feature = "compress")]
use std::sync::OnceLock;

#[cfg(feature = "compress")]
use super::super::compressed::gzip;
use super::entries::Reservation;

/// What fits into one packet as it is gains nothing.
#[cfg(feature = "compress")]
const MIN_COMPRESSED: usize = 1024;

/// What was made. Clients that read slowly have it for as long as they do, so its bytes are reserved if it is kept.
#[derive(Debug)]
pub(super) struct Page {
    text: Vec<u8>,
    /// `None`: it is made for one request.
    reservation: Option<Reservation>,
    /// `None`: it would not become half of its size.
    #[cfg(feature = "compress")]
    packed: OnceLock<Option<Arc<Vec<u8>>>>,
}

impl Page {
    pub fn new(text: Vec<u8>, reservation: Option<Reservation>) -> Page {
        Page {
            text,
            reservation,
            #[cfg(feature = "compress")]
            packed: OnceLock::new(),
        }
    }

    /// Whether it may be kept.
    pub fn is_kept(&self) -> bool {
        self.reservation.is_some()
    }

    /// Bytes that a page of this length takes, also compressed.
    pub fn size(length: usize) -> usize {
        length + length / 2
    }

    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// It in gzip, compressed by the first who asks, if it is kept; others wait for that.
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
