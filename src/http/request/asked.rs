//! Which handlers of the chain were asked to accept a request, and which of them refused it. Kept in the request; used by the chain.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::http::error::Error;

/// How deep the pass down the chain has come. One thread handles a request at a time.
#[derive(Default)]
pub(crate) struct Asked {
    /// How many handlers were asked, from the outermost on.
    reached: AtomicU32,
    /// The depth of the one that refused, plus one. 0: none did.
    refused_at: AtomicU32,
    refusal: Mutex<Option<Error>>,
}

impl Asked {
    /// Notes that the handler at this depth is asked. Returns whether it had not been before.
    pub(crate) fn reach(&self, depth: u32) -> bool {
        let is_new = self.reached.load(Relaxed) <= depth;
        if is_new {
            self.reached.store(depth + 1, Relaxed);
        }
        is_new
    }

    /// Whether the handler at this depth was asked.
    pub(crate) fn has_reached(&self, depth: u32) -> bool {
        self.reached.load(Relaxed) > depth
    }

    /// Notes that the handler at this depth refuses the request. None inside it is asked.
    pub(crate) fn refuse(&self, depth: u32, error: &Error) {
        *self.refusal() = Some(error.clone());
        self.refused_at.store(depth + 1, Relaxed);
    }

    /// What the handler at this depth said if it has refused the request.
    pub(crate) fn refusal_at(&self, depth: u32) -> Option<Error> {
        match self.refused_at.load(Relaxed) == depth + 1 {
            true => self.refusal().clone(),
            false => None,
        }
    }

    /// Has another chain handle the request, as if no handler had been asked yet; afterwards all is as before.
    pub(crate) fn anew<T>(&self, call: impl FnOnce() -> T) -> T {
        struct Restore<'a>(&'a Asked, u32, u32, Option<Error>);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.reached.store(self.1, Relaxed);
                self.0.refused_at.store(self.2, Relaxed);
                *self.0.refusal() = self.3.take();
            }
        }
        let (reached, refused_at) = (self.reached.swap(0, Relaxed), self.refused_at.swap(0, Relaxed));
        let _restore = Restore(self, reached, refused_at, self.refusal().take());
        call()
    }

    fn refusal(&self) -> MutexGuard<'_, Option<Error>> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
