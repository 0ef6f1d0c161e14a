//! Which handlers of the chain were asked to accept a request, and which of them refused it. Kept in the request; used by the chain.

use std::any::TypeId;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::http::error::Error;

/// How deep the pass down the chain has come. One thread handles a request at a time.
///
/// A request may pass the chain several times: from its head, with its body, and once more after each wait. The decision that a
/// handler made the first time holds for all of them.
#[derive(Default)]
pub(crate) struct Asked {
    /// How many handlers were asked, from the outermost on.
    reached: AtomicU32,
    /// The depth of the one that refused, plus one. 0: none did.
    refused_at: AtomicU32,
    /// Most requests have none: that costs a word.
    more: Mutex<Option<Box<More>>>,
}

#[derive(Default)]
struct More {
    refusal: Option<Error>,
    /// The handlers that others have left the request to, with their depths.
    entered: Vec<(u32, Handler)>,
}

/// Which handler it is: its address, and its type, as one may be at the address of another.
pub(crate) type Handler = (usize, TypeId);

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

    /// Notes which handler the request is left to at this depth. If it was left to another one before, nothing that was asked there
    /// counts: not from this depth on.
    pub(crate) fn enter(&self, depth: u32, handler: Handler) {
        let mut more = self.more();
        let more = more.get_or_insert_default();
        match more.entered.iter().find(|(known, _)| *known == depth) {
            Some((_, known)) if *known == handler => return,
            Some(_) => {
                self.reached.store(depth.min(self.reached.load(Relaxed)), Relaxed);
                if self.refused_at.load(Relaxed) > depth {
                    self.refused_at.store(0, Relaxed);
                }
                more.entered.retain(|(known, _)| *known < depth);
            }
            None => {}
        }
        more.entered.push((depth, handler));
    }

    /// Notes that the handler at this depth refuses the request. None inside it is asked.
    pub(crate) fn refuse(&self, depth: u32, error: &Error) {
        self.more().get_or_insert_default().refusal = Some(error.clone());
        self.refused_at.store(depth + 1, Relaxed);
    }

    /// The error of the handler at this depth if it has refused the request.
    pub(crate) fn refusal_at(&self, depth: u32) -> Option<Error> {
        match self.refused_at.load(Relaxed) == depth + 1 {
            true => self.more().as_ref().and_then(|more| more.refusal.clone()),
            false => None,
        }
    }

    /// Has another chain handle the request, as if no handler had been asked yet; afterwards all is as before.
    pub(crate) fn anew<T>(&self, call: impl FnOnce() -> T) -> T {
        struct Restore<'a>(&'a Asked, u32, u32, Option<Box<More>>);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.reached.store(self.1, Relaxed);
                self.0.refused_at.store(self.2, Relaxed);
                *self.0.more() = self.3.take();
            }
        }
        let (reached, refused_at) = (self.reached.swap(0, Relaxed), self.refused_at.swap(0, Relaxed));
        let _restore = Restore(self, reached, refused_at, self.more().take());
        call()
    }

    fn more(&self) -> MutexGuard<'_, Option<Box<More>>> {
        self.more.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
