//! Where panics of user code end: in handlers, destructors, hooks and loggers.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::error;

/// Run code that may panic; `None`: it did (the panic hook has told where), and `what` panicked is logged.
pub fn contain<R>(what: &str, code: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(result) => Some(result),
        Err(payload) => {
            forget(catch_unwind(AssertUnwindSafe(|| drop(payload))));
            forget(catch_unwind(|| error!("{what} panicked")));
            None
        }
    }
}

/// The payload of a panic may panic itself when it is dropped: what comes of that is leaked.
fn forget<T>(result: std::thread::Result<T>) {
    if let Err(payload) = result {
        mem::forget(payload);
    }
}
