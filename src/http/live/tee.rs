//! A function that copies the body of a response while it is sent. Called by `pushed`, and by the reader of other
//! bodies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::tcp::Contained;

type CopyPiece = Box<dyn FnMut(&[u8]) + Send>;

/// A function that is called with each piece of a body.
pub(crate) struct Tee {
    call: Contained<CopyPiece>,
    has_all: HasAll,
}

/// Whether the function was called with the whole body.
#[derive(Clone, Default)]
pub(crate) struct HasAll(Arc<AtomicBool>);

impl Tee {
    pub(crate) fn new(call: impl FnMut(&[u8]) + Send + 'static) -> Tee {
        let call = Contained::new("dropping a function of `Response::tee`", Box::new(call) as CopyPiece);
        Tee { call, has_all: HasAll::default() }
    }

    pub(crate) fn has_all(&self) -> HasAll {
        self.has_all.clone()
    }

    pub(crate) fn copy(&mut self, piece: &[u8]) {
        (*self.call)(piece);
    }

    pub(crate) fn complete(&self) {
        self.has_all.0.store(true, Relaxed);
    }
}

impl HasAll {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Relaxed)
    }
}
