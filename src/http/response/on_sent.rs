//! The function that is called when it is known whether a response was sent.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::tcp::{MayBlock, message_of};

/// A function that is called once with whether the whole response was written to the client's socket.
pub(crate) struct OnSent(Option<Box<dyn FnOnce(bool) + Send>>);

impl OnSent {
    pub(super) fn new(call: impl FnOnce(bool) + Send + 'static) -> OnSent {
        OnSent(Some(Box::new(call)))
    }

    /// Called when the whole response was written.
    pub(crate) fn sent(mut self, _: MayBlock) {
        self.call(true);
    }

    /// Drops the function without a call, because there is no response yet.
    pub(crate) fn discard(mut self) {
        self.0 = None;
    }

    fn call(&mut self, whole: bool) {
        let Some(call) = self.0.take() else { return };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| call(whole))) {
            let message = message_of(panic);
            log::error!("a function of `Response::on_sent` panicked: {message}");
        }
    }
}

impl Drop for OnSent {
    fn drop(&mut self) {
        self.call(false);
    }
}

opaque!(OnSent);
