//! Records which handlers of the chain have been called for a request, and which of them rejected it. Stored in the
//! request; used by the chain.

use std::any::TypeId;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use crate::http::error::Error;
use crate::http::on_drop::OnDrop;
use crate::mutex::lock;

/// How far a request has come in the chain of layers and handlers. Only one thread at a time handles a request.
///
/// A request can pass the chain several times: with its head, with its body, and once more after each wait. A handler's
/// first decision applies to all passes, unless a layer checks the request again.
#[derive(Default)]
pub(crate) struct ChainProgress {
    /// How many handlers have been called, from the outermost inwards.
    reached: AtomicU32,
    /// The depth of the handler that rejected the request, plus one. 0: none did.
    refused_at: AtomicU32,
    /// Whether the request is handled outside its connection.
    is_apart: AtomicBool,
    /// Whether time has passed since the handlers made their decisions, so that layers check them again.
    is_old: AtomicBool,
    /// Boxed, because most requests do not need it.
    more: Mutex<Option<Box<More>>>,
}

#[derive(Default)]
struct More {
    refusal: Option<Error>,
    /// The handlers to which others have passed the request, with their depths.
    entered: Vec<(u32, Handler)>,
}

/// Identifies a handler by its address and its type, because two handlers of different types can have one address.
pub(crate) type Handler = (usize, TypeId);

impl ChainProgress {
    /// Records that the handler at this depth is called. Returns whether it is the first time.
    pub(crate) fn reach(&self, depth: u32) -> bool {
        let is_new = self.reached.load(Relaxed) <= depth;
        if is_new {
            self.reached.store(depth + 1, Relaxed);
        }
        is_new
    }

    /// Returns whether the handler at this depth has been called.
    pub(crate) fn has_reached(&self, depth: u32) -> bool {
        self.reached.load(Relaxed) > depth
    }

    /// Records the handler to which the request is passed at this depth. If the request was passed to another handler
    /// before, records from this depth inwards are dropped.
    pub(crate) fn enter(&self, depth: u32, handler: Handler) {
        let mut more = lock(&self.more);
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

    /// Records that the handler at this depth rejects the request. Handlers inside it are not called.
    pub(crate) fn refuse(&self, depth: u32, error: &Error) {
        lock(&self.more).get_or_insert_default().refusal = Some(error.clone());
        self.refused_at.store(depth + 1, Relaxed);
    }

    /// Returns the error of the handler at this depth if it has rejected the request.
    pub(crate) fn refusal_at(&self, depth: u32) -> Option<Error> {
        match self.refused_at.load(Relaxed) == depth + 1 {
            true => lock(&self.more).as_ref().and_then(|more| more.refusal.clone()),
            false => None,
        }
    }

    /// Lets layers check their decisions again in the next pass.
    pub(crate) fn set_old(&self, is_old: bool) {
        self.is_old.store(is_old, Relaxed);
    }

    /// Returns whether layers have to check their decisions again in this pass.
    pub(crate) fn is_old(&self) -> bool {
        self.is_old.load(Relaxed)
    }

    /// Returns whether the request is handled outside its connection, which then can't wait for a response.
    #[cfg(feature = "proxy")]
    pub(crate) fn is_apart(&self) -> bool {
        self.is_apart.load(Relaxed)
    }

    /// Does what [`anew`](ChainProgress::anew) does, outside the connection of the request.
    pub(crate) fn apart<T>(&self, call: impl FnOnce() -> T) -> T {
        let earlier = self.is_apart.swap(true, Relaxed);
        let _restore = OnDrop(|| self.is_apart.store(earlier, Relaxed));
        self.anew(call)
    }

    /// Lets another chain handle the request, as if no handler had been called yet. Afterwards the earlier state is
    /// restored.
    pub(crate) fn anew<T>(&self, call: impl FnOnce() -> T) -> T {
        let (reached, refused_at) = (self.reached.swap(0, Relaxed), self.refused_at.swap(0, Relaxed));
        let mut more = lock(&self.more).take();
        let _restore = OnDrop(|| {
            self.reached.store(reached, Relaxed);
            self.refused_at.store(refused_at, Relaxed);
            *lock(&self.more) = more.take();
        });
        call()
    }
}
