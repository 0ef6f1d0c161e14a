//! The functions that are called when it is known whether a response was sent.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::http::live::HasAll;
use crate::http::request::LogScope;
use crate::tcp::{MayBlock, contain, message_of};

/// Functions that are called once with whether the whole response was written to the client's socket, and each tee has
/// all of its body.
#[derive(Default)]
pub(crate) struct OnSent {
    calls: Vec<Box<dyn FnOnce(bool) + Send>>,
    copies: Vec<HasAll>,
}

impl OnSent {
    pub(super) fn add(&mut self, call: impl FnOnce(bool) + Send + 'static) {
        let scope = LogScope::current(); // of the request
        self.calls.push(Box::new(move |whole| {
            scope.run(|| {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| call(whole))) {
                    let message = message_of(panic);
                    log::error!("a function of `Response::on_sent` panicked: {message}");
                }
            });
        }));
    }

    pub(super) fn with_copies(mut self, copies: Vec<HasAll>) -> OnSent {
        self.copies = copies;
        self
    }

    /// Called when the whole response was written.
    pub(crate) fn sent(mut self, _: MayBlock) {
        let has_all = self.copies.iter().all(HasAll::get);
        self.call(has_all);
    }

    /// Drops the functions without a call, because there is no response yet.
    pub(crate) fn discard(mut self) {
        for call in std::mem::take(&mut self.calls) {
            contain("dropping a function of `Response::on_sent`", || drop(call));
        }
    }

    fn call(&mut self, whole: bool) {
        std::mem::take(&mut self.calls).into_iter().for_each(|call| call(whole));
    }
}

impl Drop for OnSent {
    fn drop(&mut self) {
        self.call(false);
    }
}

opaque!(OnSent);
