//! Where panics of user code end: in handlers, destructors, hooks and loggers.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::error;

/// What panicked, and the payload of the panic, to be logged.
#[must_use]
pub struct Panicked {
    what: &'static str,
    payload: Box<dyn Any + Send>,
}

/// Runs code that may panic (the panic hook has logged where).
///
/// # Errors
/// If it panicked. Logging that may block: the logger, and the destructor of the payload, are user code.
pub fn catch<R>(what: &'static str, code: impl FnOnce() -> R) -> Result<R, Panicked> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|payload| Panicked { what, payload })
}

/// Runs code that may panic, where it may block. `None` if it panicked, which is logged.
pub fn contain<R>(what: &'static str, code: impl FnOnce() -> R) -> Option<R> {
    catch(what, code).map_err(Panicked::tell).ok()
}

impl Panicked {
    /// Tell the logger.
    pub fn tell(self) {
        let Panicked { what, payload } = self;
        forget(catch_unwind(AssertUnwindSafe(|| drop(payload))));
        forget(catch_unwind(|| error!("{what} panicked")));
    }
}

/// The payload of a panic may panic itself when it is dropped: what comes of that is leaked.
fn forget<T>(result: std::thread::Result<T>) {
    if let Err(payload) = result {
        mem::forget(payload);
    }
}
